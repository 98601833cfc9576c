//! Wrapping wire timestamps to an endless line of milliseconds.

/// Turns the wrapping u32 timestamps of one connection into i64 milliseconds.
///
/// Sources wrap at 2^32 or, where a muxer writes 31 bits, at 2^31; both continue upwards here. A step between two
/// tags means the shorter way round (RTMP 1.0, 4: adjacent timestamps lie within 2^31 − 1 of each other).
#[derive(Clone, Debug, Default)]
pub(crate) struct Unwrap {
    last: Option<(u32, i64)>,
}

impl Unwrap {
    /// The place of `raw` on the endless line, and whether a wrap lies between it and the tag before.
    pub(crate) fn place(&mut self, raw: u32) -> (i64, bool) {
        let Some((last_raw, last)) = self.last else {
            self.last = Some((raw, i64::from(raw)));
            return (i64::from(raw), false);
        };
        let step = shortest_step(last_raw, raw);
        let value = last + step;
        self.last = Some((raw, value));
        (value, (step > 0) != (raw > last_raw) && step != 0)
    }
}

/// The signed way from one wire timestamp to the next.
fn shortest_step(from: u32, to: u32) -> i64 {
    let modulo_32 = i64::from(to.wrapping_sub(from).cast_signed());
    if modulo_32.abs() < 1 << 30 {
        return modulo_32;
    }
    // Half a circle away: a muxer of 31 bits that wraps looks just like this.
    let modulo_31 = i64::from((to.wrapping_sub(from) << 1).cast_signed() >> 1);
    if modulo_31.abs() <= NEAR_A_WRAP { modulo_31 } else { modulo_32 }
}

/// How far apart two tags around a 31-bit wrap may lie, in ms.
const NEAR_A_WRAP: i64 = 65_536;

#[cfg(test)]
mod tests {
    use super::*;

    fn line(raws: &[u32]) -> Vec<i64> {
        let mut unwrap = Unwrap::default();
        raws.iter().map(|&raw| unwrap.place(raw).0).collect()
    }

    #[test]
    fn a_32_bit_wrap_goes_on_upwards() {
        assert_eq!(line(&[u32::MAX - 10, 5, 30]), [4_294_967_285, 4_294_967_301, 4_294_967_326]);
    }

    #[test]
    fn a_31_bit_wrap_goes_on_upwards_with_tracks_on_both_sides() {
        let edge = 1i64 << 31;
        assert_eq!(
            line(&[0x7FFF_FFF0, 5, 0x7FFF_FFF8, 30]),
            [edge - 16, edge + 5, edge - 8, edge + 30],
            "audio has wrapped, video not yet"
        );
    }

    #[test]
    fn two_to_the_31_is_crossed_by_a_32_bit_source_as_any_other_value() {
        assert_eq!(line(&[0x7FFF_FFFE, 0x8000_0004]), [0x7FFF_FFFE, 0x8000_0004]);
    }

    #[test]
    fn a_wrap_is_told_and_a_rollback_is_not_a_wrap() {
        let mut unwrap = Unwrap::default();
        unwrap.place(u32::MAX);
        assert!(unwrap.place(10).1);
        assert!(!unwrap.place(50).1);
        let mut unwrap = Unwrap::default();
        unwrap.place(9_000);
        assert_eq!(unwrap.place(0), (0, false));
    }

    #[test]
    fn a_day_ahead_and_back_keeps_its_sign() {
        assert_eq!(line(&[1_000, 86_401_000, 1_000]), [1_000, 86_401_000, 1_000]);
    }
}
