//! What a stream's own tags tell about its next one.

use super::header::TagHeader;

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Dialect {
    /// None before the first tag: it may carry any.
    stream_id: Option<u32>,
    last_trailer: Option<u32>,
}

impl Dialect {
    /// What is known behind damage.
    pub(super) fn of_stream_id(stream_id: Option<u32>) -> Self {
        Self { stream_id, last_trailer: None }
    }

    /// Whether the StreamID is 0, as specified, or the one that the stream has.
    pub(super) fn knows(&self, header: &TagHeader) -> bool {
        header.stream_id == 0 || self.stream_id.is_none_or(|id| id == header.stream_id)
    }

    /// Whether a PreviousTagSize after a body of `size` bytes is one that encoders write: with the tag header, with one
    /// byte less, without the header, or a running total, with or without the PreviousTagSize fields themselves.
    pub(super) fn explains(&self, trailer: [u8; 4], size: u32) -> bool {
        let trailer = u32::from_be_bytes(trailer);
        // 0 is what encoders write that know no sizes at all: it says nothing, even of an empty body.
        let is_own_size = [size + 11, size + 10, size].contains(&trailer) && trailer != 0;
        let step = self.last_trailer.map(|last| trailer.wrapping_sub(last));
        is_own_size || step.is_some_and(|step| step == size + 11 || step == size + 15)
    }

    pub(super) fn observe_stream_id(&mut self, stream_id: u32) {
        self.stream_id = Some(stream_id);
    }

    pub(super) fn observe_trailer(&mut self, trailer: [u8; 4]) {
        self.last_trailer = Some(u32::from_be_bytes(trailer));
    }
}
