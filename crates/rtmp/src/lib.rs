//! RTMP without sockets: what a relay needs to publish, and to take in what others publish.
//!
//! | module | job |
//! |---|---|
//! | [`url`] | where to publish: server, app and stream key as raw bytes |
//! | [`wire`] | media messages as chunk bytes, made once and shared by every output |
//! | [`chunk`] | the bounded reader of a peer's chunk stream |
//! | [`publish`] | the client side of a publish session |
//! | [`ingest`] | the server side of a publish session |
//!
//! Sessions take bytes and give bytes and events; time, sockets and TLS are the caller's. A session writes commands and
//! control messages only (chunk streams 2 and 6); media goes out beside it through [`wire::MediaWriter`], and the
//! two may alternate at message boundaries because chunk headers depend on their own chunk stream alone (RTMP 1.0,
//! 5.3.1.2).
//!
//! Sources of the wire rules: Adobe "RTMP 1.0", "Video File Format v10.1" Annex E, Enhanced RTMP v2.

pub mod chunk;
mod command;
mod handshake;
pub mod ingest;
mod link;
#[cfg(feature = "oracle")]
#[doc(hidden)]
pub mod oracle;
mod outbound;
pub mod publish;
pub mod url;
pub mod wire;

pub use handshake::HandshakeError;
