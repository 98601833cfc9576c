//! The egress policy, `[network]`: where relays made over an API may connect to, and which files they may read.
//!
//! Who may use the API must not reach, through relayd, what only this machine can reach: the metadata services that
//! hand out a cloud's credentials, neighbours on its own link, and, when the API is open to other machines, what
//! listens on loopback. Relays of the configuration file are trusted.

mod cidr;

use std::{
    fs::{self, File},
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    os::{fd::AsRawFd, unix::fs::OpenOptionsExt},
    path::{Component, Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
};

use rustix::fs::OFlags;
use thiserror::Error;

pub use self::cidr::Cidr;
use crate::config::{Config, NetworkConfig, Origin};

/// What a relay's tasks may reach.
#[derive(Clone, Debug)]
pub enum Egress {
    /// Everything: the configuration file says so.
    Trusted,
    /// What the policy lets through.
    Limited(Arc<EgressPolicy>),
}

impl Egress {
    /// For an object of this origin.
    pub fn of(origin: Origin, policy: &Arc<EgressPolicy>) -> Self {
        match origin {
            Origin::File => Self::Trusted,
            Origin::Api => Self::Limited(Arc::clone(policy)),
        }
    }

    /// Whether an address may be connected to.
    pub fn check(&self, address: IpAddr) -> Result<(), EgressError> {
        match self {
            Self::Trusted => Ok(()),
            Self::Limited(policy) => policy.check(address),
        }
    }

    /// The addresses that may be connected to, of those that a name has. An error when it has some and none may.
    pub fn pass(&self, mut addresses: Vec<SocketAddr>) -> Result<Vec<SocketAddr>, EgressError> {
        let mut refused = None;
        addresses.retain(|address| self.check(address.ip()).map_err(|error| refused = Some(error)).is_ok());
        match refused {
            Some(error) if addresses.is_empty() => Err(error),
            _ => Ok(addresses),
        }
    }

    /// The file at this path, opened. Waits for the disk, and for nobody else.
    pub fn open(&self, path: &Path) -> Result<File, OpenError> {
        match self {
            Self::Trusted => open_file(path).map_err(OpenError::Unreadable),
            Self::Limited(policy) => policy.open(path).map_err(OpenError::Refused),
        }
    }
}

/// Why a file was not opened.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The policy's word.
    #[error(transparent)]
    Refused(EgressError),
    /// The system's word.
    #[error(transparent)]
    Unreadable(io::Error),
}

/// A regular file. A pipe or a device would be waited for without end, already when it is opened; what takes the file's
/// place after the look at it is opened without waiting, and judged as well.
fn open_file(path: &Path) -> io::Result<File> {
    let regular = |is_file: bool| if is_file { Ok(()) } else { Err(io::Error::other("it is no regular file")) };
    regular(path.metadata()?.is_file())?;
    let file = open_without_waiting(path)?;
    regular(file.metadata()?.is_file())?;
    Ok(file)
}

/// Opening a pipe would wait for whoever writes to it.
fn open_without_waiting(path: &Path) -> io::Result<File> {
    File::options().read(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(path)
}

/// What is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EgressError {
    /// An address that may not be connected to.
    #[error("the egress policy refuses {address}, which is {kind}; network.allow can name it")]
    Address {
        /// Which.
        address: IpAddr,
        /// What is wrong with it.
        kind: &'static str,
    },
    /// There is no place for files.
    #[error("the egress policy refuses files: network.vod_dir is not set")]
    NoFolder,
    /// A file elsewhere.
    #[error("the egress policy refuses a file that is not below network.vod_dir")]
    Outside,
    /// A file below `vod_dir` that cannot be read.
    #[error("the file cannot be read: {0}")]
    File(io::ErrorKind),
}

/// `[network]`, decided. No socket and no clock. A reload changes it for every connection to come.
#[derive(Debug)]
pub struct EgressPolicy(RwLock<Arc<Rules>>);

#[derive(Clone, Debug)]
struct Rules {
    allow: Vec<Cidr>,
    vod_dir: Option<PathBuf>,
    loopback_is_denied: bool,
}

impl EgressPolicy {
    /// The policy of a configuration.
    pub fn of(config: &Config) -> Self {
        Self(RwLock::new(Arc::new(Rules::of(config))))
    }

    /// With `loopback_is_denied` when an API can be used from other machines: what trusts loopback does not trust them.
    pub fn new(network: &NetworkConfig, loopback_is_denied: bool) -> Self {
        Self(RwLock::new(Arc::new(Rules::new(network, loopback_is_denied))))
    }

    /// The policy of another configuration holds from now on.
    pub fn set(&self, config: &Config) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(Rules::of(config));
    }

    /// Whether an address may be connected to. IPv6 forms that carry an IPv4 address are judged by that one as well.
    pub fn check(&self, address: IpAddr) -> Result<(), EgressError> {
        self.rules().check(address)
    }

    /// A file below `vod_dir`, every symbolic link followed. Relative paths begin there. Waits for the disk.
    ///
    /// Between the look at a path and its opening somebody may put another file there: what has been opened is judged as
    /// well.
    pub fn open(&self, path: &Path) -> Result<File, EgressError> {
        let rules = self.rules();
        let real = rules.file(path)?;
        let opened = open_without_waiting(&real).map_err(unreadable)?;
        rules.check_opened(&opened)?;
        Ok(opened)
    }

    fn rules(&self) -> Arc<Rules> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Rules {
    fn of(config: &Config) -> Self {
        let listens_beyond = config.admin.as_ref().map(|admin| admin.listen.ip().to_canonical());
        Self::new(&config.network, listens_beyond.is_some_and(|address| !address.is_loopback()))
    }

    fn new(network: &NetworkConfig, loopback_is_denied: bool) -> Self {
        Self { allow: network.allow.clone(), vod_dir: network.vod_dir.clone(), loopback_is_denied }
    }

    fn check(&self, address: IpAddr) -> Result<(), EgressError> {
        let address = address.to_canonical();
        self.check_as_written(address, address)?;
        match address {
            IpAddr::V4(_) => Ok(()),
            IpAddr::V6(outer) => embedded(outer).try_for_each(|inner| self.check_as_written(inner.into(), address)),
        }
    }

    /// Where a file really is.
    fn file(&self, path: &Path) -> Result<PathBuf, EgressError> {
        let folder = self.vod_dir.as_deref().ok_or(EgressError::NoFolder)?;
        let real = folder.canonicalize().map_err(unreadable)?;
        // Before the disk is asked: the answer must not tell which files there are elsewhere.
        let climbs = path.components().any(|part| part == Component::ParentDir);
        if climbs || !(path.is_relative() || path.starts_with(folder) || path.starts_with(&real)) {
            return Err(EgressError::Outside);
        }
        let file = real.join(path).canonicalize().map_err(unreadable)?;
        if !file.starts_with(&real) {
            return Err(EgressError::Outside);
        }
        // A pipe or a device would be waited for without end.
        if file.is_file() { Ok(file) } else { Err(EgressError::File(io::ErrorKind::InvalidInput)) }
    }

    /// The kernel's word on where an open file lies, links and renames behind it.
    fn check_opened(&self, file: &File) -> Result<(), EgressError> {
        let folder = self.vod_dir.as_deref().ok_or(EgressError::NoFolder)?;
        let lies_at = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).map_err(unreadable)?;
        if !lies_at.starts_with(folder.canonicalize().map_err(unreadable)?) {
            return Err(EgressError::Outside);
        }
        let is_file = file.metadata().map_err(unreadable)?.is_file();
        if is_file { Ok(()) } else { Err(EgressError::File(io::ErrorKind::InvalidInput)) }
    }

    /// An entry of `allow` opens a denied range only where it lies inside it: `0.0.0.0/0` names nothing on purpose, and
    /// a metadata address is opened by its own name alone.
    fn check_as_written(&self, address: IpAddr, shown: IpAddr) -> Result<(), EgressError> {
        let holds =
            |denied: &&Denied| denied.range.contains(address) && (self.loopback_is_denied || !denied.is_loopback());
        for denied in DENIED.iter().filter(holds) {
            let opens = |entry: &Cidr| entry.contains(address) && denied.range.encloses(entry);
            if !self.allow.iter().any(opens) {
                return Err(EgressError::Address { address: shown, kind: denied.kind });
            }
        }
        Ok(())
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the form of map_err")]
fn unreadable(error: io::Error) -> EgressError {
    EgressError::File(error.kind())
}

struct Denied {
    range: Cidr,
    kind: &'static str,
}

impl Denied {
    fn is_loopback(&self) -> bool {
        self.kind == LOOPBACK
    }
}

/// The IPv4 addresses that a gateway could take an IPv6 address for.
fn embedded(address: Ipv6Addr) -> impl Iterator<Item = Ipv4Addr> {
    let at = address.segments();
    let v4 = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    let last = v4(at[6], at[7]);
    let found = match at {
        // RFC 4291, 2.5.5.1: IPv4-compatible; :: and ::1 are none.
        [0, 0, 0, 0, 0, 0, high, low] if high > 0 || low > 1 => [Some(last), None],
        // RFC 2765, 2.1: IPv4-translated.
        [0, 0, 0, 0, 0xffff, 0, ..] => [Some(last), None],
        // RFC 6052, 2.1: the well-known prefix of NAT64.
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => [Some(last), None],
        // RFC 8215: NAT64 within a site; RFC 6052, 2.2: with a prefix of 96 or of 48 bits. Where one puts the address
        // the other has zeros.
        [0x64, 0xff9b, 1, high, low, next, ..] => {
            [last, v4(high, low << 8 | next >> 8)].map(|found| (found.octets()[0] != 0).then_some(found))
        }
        // RFC 3056, 2: 6to4.
        [0x2002, high, low, ..] => [Some(v4(high, low)), None],
        // RFC 4380, 4: Teredo, the server and the client, the latter inverted.
        [0x2001, 0, high, low, ..] => [Some(v4(high, low)), Some(v4(!at[6], !at[7]))],
        // RFC 5214, 6.1: ISATAP.
        [.., 0 | 0x200, 0x5efe, _, _] => [Some(last), None],
        _ => [None, None],
    };
    found.into_iter().flatten()
}

const LOOPBACK: &str = "a loopback address";
const LINK_LOCAL: &str = "a link-local address";
const METADATA: &str = "a cloud's metadata service";
const NOBODY: &str = "no address of a host";

/// What is denied unless it is allowed by name. Private ranges are not: a platform of one's own may well be there.
const DENIED: [Denied; 19] = [
    Denied { range: Cidr::v4([127, 0, 0, 0], 8), kind: LOOPBACK },
    Denied { range: Cidr::v6([0, 0, 0, 0, 0, 0, 0, 1], 128), kind: LOOPBACK },
    // Connecting to 0.0.0.0 or :: reaches this machine.
    Denied { range: Cidr::v4([0, 0, 0, 0], 8), kind: NOBODY },
    Denied { range: Cidr::v6([0; 8], 128), kind: NOBODY },
    Denied { range: Cidr::v4([224, 0, 0, 0], 4), kind: NOBODY },
    Denied { range: Cidr::v4([240, 0, 0, 0], 4), kind: NOBODY },
    Denied { range: Cidr::v6([0xff00, 0, 0, 0, 0, 0, 0, 0], 8), kind: NOBODY },
    Denied { range: Cidr::v4([169, 254, 0, 0], 16), kind: LINK_LOCAL },
    Denied { range: Cidr::v6([0xfe80, 0, 0, 0, 0, 0, 0, 0], 10), kind: LINK_LOCAL },
    // AWS, Google, Azure, Tencent (169.254.0.23 too), Oracle, OpenStack and most others.
    Denied { range: Cidr::v4([169, 254, 169, 254], 32), kind: METADATA },
    // Credentials of AWS's containers: ECS, EKS.
    Denied { range: Cidr::v4([169, 254, 170, 2], 32), kind: METADATA },
    Denied { range: Cidr::v4([169, 254, 170, 23], 32), kind: METADATA },
    Denied { range: Cidr::v4([169, 254, 0, 23], 32), kind: METADATA },
    // Alibaba Cloud, Oracle, Azure's wire server: outside of link-local.
    Denied { range: Cidr::v4([100, 100, 100, 200], 32), kind: METADATA },
    Denied { range: Cidr::v4([192, 0, 0, 192], 32), kind: METADATA },
    Denied { range: Cidr::v4([168, 63, 129, 16], 32), kind: METADATA },
    // AWS over IPv6, its containers, Google.
    Denied { range: Cidr::v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254], 128), kind: METADATA },
    Denied { range: Cidr::v6([0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23], 128), kind: METADATA },
    Denied { range: Cidr::v6([0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254], 128), kind: METADATA },
];

#[cfg(test)]
mod tests;
