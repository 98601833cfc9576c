//! Every target over the committed inputs, and over mutations of them that are the same each time.

mod mutation;

use std::{fs, panic, path::Path};

use fuzz::Target;

/// One test per target, so that they run side by side and fail by name.
macro_rules! targets {
    ($($name:ident: $mutations:literal,)*) => {
        $(#[test]
        fn $name() {
            holds(stringify!($name), $mutations);
        })*

        #[test]
        fn every_target_is_tested() {
            let tested = [$(stringify!($name)),*];
            assert_eq!(fuzz::TARGETS.map(|target| target.name), tested);
        }
    };
}

// As many mutations as take a second or two without optimisation: sessions begin with a handshake, and hash much.
targets! {
    demuxer: 8000,
    amf0: 8000,
    chunks: 10_000,
    ingest: 100,
    publish: 100,
    config: 4000,
    url: 30_000,
    oracle: 200,
}

fn holds(name: &str, mutations: usize) {
    let target = fuzz::TARGETS.into_iter().find(|target| target.name == name).expect("a target of that name");
    let corpus = inputs("corpus", name);
    let regressions = inputs("regressions", name);
    assert!(corpus.len() >= 5, "only {} inputs of {name} are committed", corpus.len());
    for (file, input) in corpus.iter().chain(&regressions) {
        run(target, input, file);
    }
    let seeds: Vec<_> = corpus.into_iter().chain(regressions).map(|(_, input)| input).collect();
    for (n, input) in mutation::of(&seeds).take(mutations).enumerate() {
        run(target, &input, &format!("mutation {n}"));
    }
}

fn run(target: Target, input: &[u8], what: &str) {
    if panic::catch_unwind(|| (target.run)(input)).is_err() {
        panic!("{} breaks on {what}: {}", target.name, input.escape_ascii());
    }
}

/// The files of a folder by name; none if there is no such folder.
fn inputs(kind: &str, target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(kind).join(target);
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<_> = entries.map(|entry| entry.expect("a folder that can be read").path()).collect();
    files.sort();
    let read = |file| fs::read(file).expect("a file that can be read");
    files.iter().map(|file| (file.display().to_string(), read(file))).collect()
}
