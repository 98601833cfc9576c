//! What publish and ingest sessions share below their commands: handshake, chunks, acknowledgements and pings.

use bytes::Bytes;

use crate::{
    chunk::{self, ChunkLimits, ChunkReader, Message},
    handshake::{Handshake, HandshakeError},
    outbound::Outbound,
};

/// Bytes that either side may send before it expects an acknowledgement, unless it says otherwise.
pub(crate) const WINDOW: u32 = 2_500_000;

/// One end of a connection.
pub(crate) struct Link {
    /// None once it is finished.
    handshake: Option<Handshake>,
    reader: ChunkReader,
    pub(crate) outbound: Outbound,
    window: u32,
    acknowledged: u64,
}

/// What the peer's bytes amount to.
pub(crate) enum Received {
    /// The handshake is finished.
    Greeted,
    /// A message that the link itself has no use for.
    Message(Message),
}

/// Why a link is of no more use.
pub(crate) enum LinkError {
    Handshake(HandshakeError),
    Chunk(chunk::Error),
    Flooded,
}

impl Link {
    /// The end that connects: its first bytes are ready to be sent.
    pub(crate) fn client(limits: ChunkLimits) -> Self {
        let (handshake, hello) = Handshake::client();
        let mut link = Self::new(handshake, limits);
        link.outbound.raw(&hello);
        link
    }

    /// The end that is connected to.
    pub(crate) fn server(limits: ChunkLimits) -> Self {
        Self::new(Handshake::server(), limits)
    }

    fn new(handshake: Handshake, limits: ChunkLimits) -> Self {
        Self {
            handshake: Some(handshake),
            reader: ChunkReader::new(limits),
            outbound: Outbound::new(),
            window: WINDOW,
            acknowledged: 0,
        }
    }

    pub(crate) fn set_limits(&mut self, limits: ChunkLimits) {
        self.reader.set_limits(limits);
    }

    pub(crate) fn is_greeted(&self) -> bool {
        self.handshake.is_none()
    }

    #[cfg(test)]
    pub(crate) fn bytes_read(&self) -> u64 {
        self.reader.bytes_read()
    }

    /// Takes bytes off `input` up to the next thing worth knowing; None when all are taken.
    pub(crate) fn receive(&mut self, input: &mut &[u8]) -> Result<Option<Received>, LinkError> {
        if let Some(handshake) = &mut self.handshake {
            let (answer, is_finished) = handshake.feed(input).map_err(LinkError::Handshake)?;
            self.outbound.raw(&answer);
            if !is_finished {
                return Ok(None);
            }
            self.handshake = None;
            return Ok(Some(Received::Greeted));
        }
        while let Some(message) = self.reader.feed(input).map_err(LinkError::Chunk)? {
            if self.outbound.len() > MAX_BACKLOG {
                return Err(LinkError::Flooded);
            }
            match message.type_id {
                ACKNOWLEDGEMENT | PEER_BANDWIDTH => {}
                USER_CONTROL => self.answer_ping(&message.payload),
                WINDOW_SIZE => self.set_window(&message.payload),
                _ => return Ok(Some(Received::Message(message))),
            }
        }
        self.acknowledge();
        Ok(None)
    }

    /// RTMP 1.0, 7.1.7: only the ping asks for an answer; events that nobody knows are none of our business.
    fn answer_ping(&mut self, payload: &Bytes) {
        if let [0, PING_REQUEST, a, b, c, d, ..] = **payload {
            self.outbound.user_control(PING_RESPONSE, [a, b, c, d]);
        }
    }

    /// A peer that asks for rarer acknowledgements than usual gets the usual ones: more never hurt.
    fn set_window(&mut self, payload: &Bytes) {
        let window = payload.first_chunk().map(|&bytes| u32::from_be_bytes(bytes));
        if let Some(window) = window.filter(|&window| window > 0) {
            self.window = window.min(WINDOW);
        }
    }

    /// Sent to peers that never asked as well: some publishers give up without (RTMP 1.0, 5.4.3). A peer that takes none
    /// gets no more: the next total says it all, and it is no reason to give the peer up.
    fn acknowledge(&mut self) {
        let total = self.reader.bytes_read();
        let is_due = total - self.acknowledged >= u64::from(self.window.div_ceil(2));
        if is_due && self.outbound.len() <= MAX_BACKLOG / 2 {
            self.acknowledged = total;
            self.outbound.acknowledgement(total);
        }
    }
}

/// Unsent bytes at which a peer that keeps asking is given up.
const MAX_BACKLOG: usize = 64 << 10;

const ACKNOWLEDGEMENT: u8 = 3;
const USER_CONTROL: u8 = 4;
const WINDOW_SIZE: u8 = 5;
const PEER_BANDWIDTH: u8 = 6;
const PING_REQUEST: u8 = 6;
const PING_RESPONSE: u16 = 7;
