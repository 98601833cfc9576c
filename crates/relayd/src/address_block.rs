//! What counts as one address, where connections are counted by their addresses.

use std::net::IpAddr;

/// An IPv4 address, or an IPv6 network of 64 bits: IPv6 is handed out in such.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum AddressBlock {
    V4([u8; 4]),
    V6([u8; 8]),
}

impl AddressBlock {
    pub(crate) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.octets()),
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, h, ..] = address.octets();
                Self::V6([a, b, c, d, e, f, g, h])
            }
        }
    }
}
