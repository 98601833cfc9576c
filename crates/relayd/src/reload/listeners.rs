//! The sockets of listeners that move.

use std::{io, net::SocketAddr};

use super::ReloadError;
use crate::{
    accept::Acceptor,
    config::Config,
    daemon::{Daemon, Listening, bind},
};

/// One for each listener that is somewhere else from now on; none where nothing changes, or nobody listens any more.
pub(super) struct Listeners {
    pub(super) admin: Option<Acceptor>,
    pub(super) ingest: Option<Acceptor>,
    pub(super) tls_ingest: Option<Acceptor>,
}

impl Listeners {
    /// Those that `new` asks for. The listeners of before go on.
    ///
    /// An address that one of them leaves and another takes is never given up: its socket changes hands.
    pub(super) async fn bind(daemon: &Daemon, new: &Config) -> Result<Self, ReloadError> {
        let tls = new.ingest.as_ref().and_then(|it| it.tls.as_ref());
        let moves = [
            Move {
                key: "admin.listen",
                old: daemon.admin.as_ref().map(|(listening, _)| listening),
                new: new.admin.as_ref().map(|it| it.listen),
            },
            Move { key: "ingest.listen", old: daemon.ingest.as_ref(), new: new.ingest.as_ref().map(|it| it.listen) },
            Move {
                key: "ingest.tls_listen",
                old: daemon.ingest_tls.as_ref().map(|(listening, _)| listening),
                new: tls.map(|it| it.listen),
            },
        ];
        let mut left: Vec<_> = moves.iter().filter_map(Move::left).collect();
        let [admin, ingest, tls_ingest] = moves;
        Ok(Self {
            admin: admin.bind(&mut left).await?,
            ingest: ingest.bind(&mut left).await?,
            tls_ingest: tls_ingest.bind(&mut left).await?,
        })
    }
}

/// A listener as it is, and where it is to be.
struct Move<'a> {
    key: &'static str,
    old: Option<&'a Listening>,
    new: Option<SocketAddr>,
}

impl Move<'_> {
    /// The socket that it needs no more.
    fn left(&self) -> Option<Acceptor> {
        let old = self.old?;
        (self.new != Some(old.address)).then(|| old.socket.clone())
    }

    /// Each of the sockets that are `left` can be taken over once.
    async fn bind(self, left: &mut Vec<Acceptor>) -> Result<Option<Acceptor>, ReloadError> {
        let Self { key, old, new } = self;
        let Some(address) = new.filter(|new| old.is_none_or(|old| old.address != *new)) else { return Ok(None) };
        if let Some(found) = left.iter().position(|socket| socket.local_addr().is_ok_and(|local| local == address)) {
            return Ok(Some(left.swap_remove(found)));
        }
        bind(address).await.map(Some).map_err(|source| {
            let is_in_use = source.kind() == io::ErrorKind::AddrInUse;
            let own = left.iter().filter_map(|socket| socket.local_addr().ok());
            let in_the_way = own.into_iter().find(|own| is_in_use && overlap(*own, address));
            ReloadError::Listen { key, address, in_the_way, source }
        })
    }
}

/// Not both can be listened on.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let any = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port() && (any || one.ip().to_canonical() == other.ip().to_canonical())
}
