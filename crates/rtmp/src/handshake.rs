//! The handshake of both sides (RTMP 1.0, 5.2), done by rml_rtmp: with digests for peers that have them, plain for others.

use rml_rtmp::handshake::{Handshake as Exchange, HandshakeError as ExchangeError, HandshakeProcessResult, PeerType};

/// Why there is no RTMP connection to a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HandshakeError {
    /// The first byte is not 3: another protocol, or an encrypted variant of this one.
    #[error("the peer does not speak RTMP version 3")]
    Version,
    /// The peer's handshake cannot be answered.
    #[error("the peer's handshake is malformed")]
    Malformed,
}

/// A handshake that is not finished.
pub(crate) struct Handshake {
    exchange: Exchange,
    /// Bytes due from the peer.
    due: usize,
}

impl Handshake {
    /// The side that speaks first, and its C0 and C1.
    pub(crate) fn client() -> (Self, Vec<u8>) {
        let mut exchange = Exchange::new(PeerType::Client);
        let hello = exchange.generate_outbound_p0_and_p1().expect("random bytes and their digest always make a C1");
        (Self { exchange, due: PEER_BYTES }, hello)
    }

    /// The side that answers.
    pub(crate) fn server() -> Self {
        Self { exchange: Exchange::new(PeerType::Server), due: PEER_BYTES }
    }

    /// Takes the handshake's share off `input`. What must be sent, and whether the handshake is finished.
    pub(crate) fn feed(&mut self, input: &mut &[u8]) -> Result<(Vec<u8>, bool), HandshakeError> {
        let (share, rest) = input.split_at(self.due.min(input.len()));
        *input = rest;
        self.due -= share.len();
        match self.exchange.process_bytes(share) {
            Ok(HandshakeProcessResult::InProgress { response_bytes }) => Ok((response_bytes, false)),
            Ok(HandshakeProcessResult::Completed { response_bytes, .. }) => Ok((response_bytes, true)),
            Err(ExchangeError::BadVersionId) => Err(HandshakeError::Version),
            Err(_) => Err(HandshakeError::Malformed),
        }
    }
}

/// Version byte and two packets of 1536 bytes.
const PEER_BYTES: usize = 1 + 2 * 1536;
