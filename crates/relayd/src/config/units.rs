//! Values written as text: durations, sizes, rates, addresses and words.

use std::fmt;
use std::marker::PhantomData;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use relay::{Flush, OnFault, OnFormatChange, OnLag, Rate, Revert, Standby};
use serde::de::{Deserialize, Deserializer, Error, Visitor};

use super::{LogFormat, OnDuplicate};
use crate::egress::Cidr;

/// A value that the file gives as a string.
pub(super) struct Text<T>(pub(super) T);

/// How such a value is written.
pub(super) trait FromText: Sized {
    /// The allowed form or words, for messages.
    const FORM: &'static str;

    /// `None` when `text` is not of that form.
    fn from_text(text: &str) -> Option<Self>;
}

impl<'de, T: FromText> Deserialize<'de> for Text<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_str(TextVisitor(PhantomData))
    }
}

struct TextVisitor<T>(PhantomData<T>);

impl<T: FromText> Visitor<'_> for TextVisitor<T> {
    type Value = Text<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(T::FORM)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Self::Value, E> {
        T::from_text(text).map(Text).ok_or_else(|| E::custom(format_args!("{WRONG_VALUE}; allowed: {}", T::FORM)))
    }
}

impl FromText for Duration {
    const FORM: &'static str = r#"a duration such as "3s", "500ms" or "1m 30s""#;

    fn from_text(text: &str) -> Option<Self> {
        humantime::parse_duration(text).ok()
    }
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Size(pub(super) u64);

impl Size {
    pub(super) const fn kib(n: u64) -> Self {
        Self(n << 10)
    }
}

impl FromText for Size {
    const FORM: &'static str = r#"a size such as "512KiB", "32MiB" or "1GiB""#;

    fn from_text(text: &str) -> Option<Self> {
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at_checked(digits)?;
        let (_, bytes) = UNITS.iter().find(|(name, _)| *name == unit.trim_start_matches(' '))?;
        number.parse::<u64>().ok()?.checked_mul(*bytes).map(Self)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |(_, bytes): &&(&str, u64)| self.0 >= *bytes && self.0.is_multiple_of(*bytes);
        let (unit, bytes) = UNITS.iter().find(fits).unwrap_or(&("B", 1));
        write!(f, "{}{unit}", self.0 / bytes)
    }
}

impl FromText for Rate {
    const FORM: &'static str = r#"a number of times and a duration such as "20/10s""#;

    fn from_text(text: &str) -> Option<Self> {
        let (count, window) = text.split_once('/')?;
        if count.starts_with('+') {
            return None;
        }
        Some(Self { count: count.parse().ok()?, window: Duration::from_text(window)? })
    }
}

/// Time without success after which a retry ends; `None` is `never`.
pub(super) struct GiveUp(pub(super) Option<Duration>);

impl FromText for GiveUp {
    const FORM: &'static str = r#""never", or a duration such as "10m""#;

    fn from_text(text: &str) -> Option<Self> {
        if text == "never" { Some(Self(None)) } else { Duration::from_text(text).map(|after| Self(Some(after))) }
    }
}

impl FromText for Flush {
    const FORM: &'static str = r#""frame", or a duration such as "20ms""#;

    fn from_text(text: &str) -> Option<Self> {
        if text == "frame" { Some(Self::Frame) } else { Duration::from_text(text).map(Self::Every) }
    }
}

impl FromText for SocketAddr {
    const FORM: &'static str = r#"an address with a port such as "127.0.0.1:8080" or "[::]:8080""#;

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl FromText for IpAddr {
    const FORM: &'static str = r#"an IP address such as "192.0.2.1" or "2001:db8::1""#;

    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

impl FromText for Cidr {
    const FORM: &'static str = r#"a range of addresses such as "10.0.0.0/8", "fd00::/8" or "192.0.2.1""#;

    fn from_text(text: &str) -> Option<Self> {
        Self::parse(text)
    }
}

/// The `type` of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum InputType {
    Pull,
    Push,
    Vod,
}

/// Spells an enum: its words in the file, each with its value.
macro_rules! words {
    ($type:ty: $first:literal => $value:expr $(, $word:literal => $more:expr)*) => {
        impl FromText for $type {
            const FORM: &'static str = concat!($first $(, ", ", $word)*);

            fn from_text(text: &str) -> Option<Self> {
                match text {
                    $first => Some($value),
                    $($word => Some($more),)*
                    _ => None,
                }
            }
        }
    };
}

words!(InputType: "pull" => Self::Pull, "push" => Self::Push, "vod" => Self::Vod);
words!(LogFormat: "text" => Self::Text, "json" => Self::Json);
words!(Standby: "hot" => Self::Hot, "cold" => Self::Cold);
words!(Revert: "auto" => Self::Auto, "manual" => Self::Manual);
words!(OnFault: "repair" => Self::Repair, "failover" => Self::Failover);
words!(OnLag: "skip" => Self::Skip, "reconnect" => Self::Reconnect);
words!(OnDuplicate: "reject" => Self::Reject, "replace" => Self::Replace);
words!(OnFormatChange: "inband" => Self::Inband, "reconnect" => Self::Reconnect);

/// How a message about a text of the wrong form begins.
pub(super) const WRONG_VALUE: &str = "wrong value";

/// Largest first, so that a size prints with the largest unit that divides it.
const UNITS: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_need_a_unit_and_no_sign() {
        assert_eq!(Duration::from_text("1m 30s"), Some(Duration::from_secs(90)));
        assert_eq!(Duration::from_text("500ms"), Some(Duration::from_millis(500)));
        assert_eq!(Duration::from_text("0s"), Some(Duration::ZERO));
        for text in ["", "3", "-1s", "3 parsecs", "s", "99999999999999999999y", "1e3s"] {
            assert_eq!(Duration::from_text(text), None, "{text:?}");
        }
    }

    #[test]
    fn sizes_count_in_powers_of_two() {
        for (text, bytes, shown) in [
            ("1B", 1, "1B"),
            ("512KiB", 512 << 10, "512KiB"),
            ("32 MiB", 32 << 20, "32MiB"),
            ("1GiB", 1 << 30, "1GiB"),
            ("1024KiB", 1 << 20, "1MiB"),
            ("1025B", 1025, "1025B"),
            ("0B", 0, "0B"),
        ] {
            assert_eq!(Size::from_text(text), Some(Size(bytes)), "{text}");
            assert_eq!(Size(bytes).to_string(), shown);
        }
        for text in ["", "32", "MiB", "32 apples", "32MB", "-1MiB", "1.5GiB", "99999999999GiB", "18446744073709551616B"]
        {
            assert_eq!(Size::from_text(text), None, "{text:?}");
        }
    }

    #[test]
    fn rates_are_a_count_per_duration() {
        assert_eq!(Rate::from_text("20/10s"), Some(Rate { count: 20, window: Duration::from_secs(10) }));
        for text in ["many", "20", "20/", "/10s", "-1/10s", "+1/10s", "20/10", "5000000000/1s"] {
            assert_eq!(Rate::from_text(text), None, "{text:?}");
        }
    }

    #[test]
    fn words_are_exact() {
        assert_eq!(Standby::from_text("cold"), Some(Standby::Cold));
        assert_eq!(Standby::from_text("Hot"), None);
        assert_eq!(InputType::FORM, "pull, push, vod");
        assert_eq!(Flush::from_text("20ms"), Some(Flush::Every(Duration::from_millis(20))));
        assert_eq!(Flush::from_text("frame"), Some(Flush::Frame));
        assert!(matches!(GiveUp::from_text("never"), Some(GiveUp(None))));
        assert!(GiveUp::from_text("ever").is_none());
    }
}
