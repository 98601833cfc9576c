//! Ranges of addresses: `10.0.0.0/8`, `fd00::/8`, or one address.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

/// A range of addresses of one family. IPv4 written as IPv6 is IPv4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    network: IpAddr,
    prefix: u8,
}

impl Cidr {
    pub(super) const fn v4(address: [u8; 4], prefix: u8) -> Self {
        let [a, b, c, d] = address;
        Self { network: IpAddr::V4(Ipv4Addr::new(a, b, c, d)), prefix }
    }

    pub(super) const fn v6(address: [u16; 8], prefix: u8) -> Self {
        let [a, b, c, d, e, f, g, h] = address;
        Self { network: IpAddr::V6(Ipv6Addr::new(a, b, c, d, e, f, g, h)), prefix }
    }

    /// `address/prefix`, or an address alone. `None` for anything else, and when bits behind the prefix are set: then
    /// it is not clear what was meant.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) if prefix.bytes().all(|byte| byte.is_ascii_digit()) => {
                (address, Some(prefix.parse().ok()?))
            }
            Some(_) => return None,
            None => (text, None),
        };
        let written: IpAddr = address.parse().ok()?;
        let network = written.to_canonical();
        let prefix = match prefix {
            None => bits(network),
            Some(prefix) if written.is_ipv4() == network.is_ipv4() => prefix,
            Some(prefix) => u8::checked_sub(prefix, 96)?,
        };
        let range = Self { network, prefix };
        (prefix <= bits(network) && behind(network, prefix) == 0).then_some(range)
    }

    /// Whether the address lies in it.
    pub fn contains(&self, address: IpAddr) -> bool {
        let difference = match (self.network, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => u128::from(network.to_bits() ^ address.to_bits()),
            (IpAddr::V6(network), IpAddr::V6(address)) => network.to_bits() ^ address.to_bits(),
            _ => return false,
        };
        difference.checked_shr(u32::from(bits(self.network) - self.prefix)).unwrap_or(0) == 0
    }

    /// Whether all of another range lies in it.
    pub fn encloses(&self, other: &Self) -> bool {
        self.prefix <= other.prefix && self.contains(other.network)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

fn bits(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

/// The bits of an address behind a prefix.
fn behind(address: IpAddr, prefix: u8) -> u128 {
    let all = match address {
        IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
        IpAddr::V6(address) => address.to_bits(),
    };
    all.checked_shl(u32::from(prefix)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_an_address_and_a_prefix_without_bits_behind_it() {
        for (text, shown) in [
            ("10.0.0.0/8", "10.0.0.0/8"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("192.0.2.1", "192.0.2.1/32"),
            ("fd00::/8", "fd00::/8"),
            ("::/0", "::/0"),
            ("::1", "::1/128"),
            ("::ffff:10.0.0.0/104", "10.0.0.0/8"),
            ("::ffff:192.0.2.1", "192.0.2.1/32"),
        ] {
            assert_eq!(Cidr::parse(text).map(|range| range.to_string()).as_deref(), Some(shown), "{text}");
        }
        for text in [
            "",
            "/",
            "10.0.0.0/",
            "10.0.0.0/33",
            "10.0.0.1/8",
            "10.0.0.0/-1",
            "10.0.0.0/+8",
            "10.0.0/8",
            "fd00::1/8",
            "::/129",
            "10.0.0.0/8/8",
            "localhost",
            "::ffff:10.0.0.0/95",
            "fe80::1%1",
            "10.0.0.0/999",
            " 10.0.0.0/8",
        ] {
            assert_eq!(Cidr::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_range_holds_what_shares_its_prefix() {
        for (range, inside, outside) in [
            ("10.0.0.0/8", "10.255.255.255", "11.0.0.0"),
            ("192.0.2.128/25", "192.0.2.128", "192.0.2.127"),
            ("192.0.2.1", "192.0.2.1", "192.0.2.0"),
            ("0.0.0.0/0", "255.255.255.255", "::"),
            ("fe80::/10", "febf:ffff::1", "fec0::"),
            ("::/0", "ffff::", "1.2.3.4"),
            ("10.0.0.0/8", "::ffff:10.1.2.3", "::10.1.2.3"),
        ] {
            let cidr = Cidr::parse(range).unwrap();
            assert!(cidr.contains(inside.parse().unwrap()), "{range} {inside}");
            assert!(!cidr.contains(outside.parse().unwrap()), "{range} {outside}");
        }
        let encloses = |a: &str, b: &str| Cidr::parse(a).unwrap().encloses(&Cidr::parse(b).unwrap());
        assert!(encloses("10.0.0.0/8", "10.0.0.0/8") && encloses("10.0.0.0/8", "10.1.0.0/16"));
        assert!(!encloses("10.1.0.0/16", "10.0.0.0/8") && !encloses("10.0.0.0/8", "11.0.0.0/16"));
    }
}
