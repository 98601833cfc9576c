//! Inputs made of other inputs, as fuzzers make them; the same sequence in every run.

use fastrand::Rng;

/// Endless; each is one of the `seeds` with a few changes.
pub(crate) fn of(seeds: &[Vec<u8>]) -> impl Iterator<Item = Vec<u8>> {
    let mut rng = Rng::with_seed(0x5EED);
    std::iter::repeat_with(move || {
        let mut input = seeds[rng.usize(..seeds.len())].clone();
        for _ in 0..=rng.usize(..4) {
            change(&mut input, seeds, &mut rng);
        }
        input
    })
}

fn change(input: &mut Vec<u8>, seeds: &[Vec<u8>], rng: &mut Rng) {
    if input.is_empty() {
        input.push(rng.u8(..));
        return;
    }
    // Most of what decides stands in front.
    let limit = if rng.bool() { input.len() } else { input.len().min(48) };
    let at = rng.usize(..limit);
    let len = rng.usize(..=(input.len() - at).min(64));
    match rng.usize(..9) {
        0 => input[at] ^= 1 << rng.u8(..8),
        1 => input[at] = rng.u8(..),
        2 => input[at] = ODD[rng.usize(..ODD.len())],
        3 => input[at] = input[at].wrapping_add(rng.u8(..8)).wrapping_sub(4),
        4 => drop(input.drain(at..at + len)),
        5 => {
            let piece = input[at..at + len].to_vec();
            input.splice(at..at, piece);
        }
        6 => {
            let other = &seeds[rng.usize(..seeds.len())];
            let from = rng.usize(..=other.len());
            let piece = other[from..other.len().min(from + 200)].to_vec();
            input.splice(at..at, piece);
        }
        7 => input.truncate(at),
        _ => {
            let bytes: Vec<u8> = (0..1 + len % 4).map(|_| rng.u8(..)).collect();
            input.splice(at..at, bytes);
        }
    }
}

const ODD: [u8; 10] = [0, 1, 2, 8, 9, 18, 0x7F, 0x80, 0xC3, 0xFF];
