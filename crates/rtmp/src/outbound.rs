//! What a session sends: commands and control messages, serialised by rml_rtmp on chunk streams 2 and 6.

use bytes::{BufMut, Bytes, BytesMut};
use flv::amf0::{self, Value};
use rml_rtmp::{chunk_io::ChunkSerializer, messages::MessagePayload, time::RtmpTimestamp};

use crate::wire::CHUNK_SIZE;

/// Bytes waiting to be sent.
pub(crate) struct Outbound {
    serializer: ChunkSerializer,
    queue: BytesMut,
}

impl Outbound {
    pub(crate) fn new() -> Self {
        Self { serializer: ChunkSerializer::new(), queue: BytesMut::new() }
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(crate) fn take(&mut self) -> Option<Bytes> {
        (!self.queue.is_empty()).then(|| self.queue.split().freeze())
    }

    /// Bytes from before there are chunks.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.queue.put_slice(bytes);
    }

    /// SetChunkSize (RTMP 1.0, 5.4.1): to be sent before any message that the default of 128 bytes would split.
    pub(crate) fn set_chunk_size(&mut self) {
        let packet = self.serializer.set_max_chunk_size(CHUNK_SIZE as u32, RtmpTimestamp::new(0));
        self.queue.put_slice(&packet.expect("4096 is a valid chunk size").bytes);
    }

    /// Acknowledgement of `total` bytes received (RTMP 1.0, 5.4.3): a running total modulo 2^32.
    pub(crate) fn acknowledgement(&mut self, total: u64) {
        self.message(ACKNOWLEDGEMENT, 0, Bytes::copy_from_slice(&(total as u32).to_be_bytes()));
    }

    /// Window Acknowledgement Size (RTMP 1.0, 5.4.4).
    pub(crate) fn window(&mut self, bytes: u32) {
        self.message(WINDOW, 0, Bytes::copy_from_slice(&bytes.to_be_bytes()));
    }

    /// Set Peer Bandwidth of the dynamic kind (RTMP 1.0, 5.4.5).
    pub(crate) fn peer_bandwidth(&mut self, bytes: u32) {
        let [a, b, c, d] = bytes.to_be_bytes();
        self.message(PEER_BANDWIDTH, 0, Bytes::copy_from_slice(&[a, b, c, d, 2]));
    }

    /// A user control event with its 32-bit argument (RTMP 1.0, 7.1.7).
    pub(crate) fn user_control(&mut self, event: u16, argument: [u8; 4]) {
        let mut payload = BytesMut::with_capacity(6);
        payload.put_u16(event);
        payload.put_slice(&argument);
        self.message(USER_CONTROL, 0, payload.freeze());
    }

    /// An AMF0 command (RTMP 1.0, 7.1.1). Its values must fit one chunk.
    pub(crate) fn command(&mut self, stream_id: u32, values: &[Value]) {
        let mut payload = BytesMut::new();
        for value in values {
            amf0::encode(value, &mut payload);
        }
        self.message(COMMAND, stream_id, payload.freeze());
    }

    fn message(&mut self, type_id: u8, stream_id: u32, data: Bytes) {
        debug_assert!(data.len() <= CHUNK_SIZE, "uncompressed messages of several chunks are not serialised correctly");
        let message = MessagePayload { timestamp: RtmpTimestamp::new(0), type_id, message_stream_id: stream_id, data };
        let packet = self.serializer.serialize(&message, true, false);
        self.queue.put_slice(&packet.expect("a short message is written to memory").bytes);
    }
}

const ACKNOWLEDGEMENT: u8 = 3;
const USER_CONTROL: u8 = 4;
const WINDOW: u8 = 5;
const PEER_BANDWIDTH: u8 = 6;
const COMMAND: u8 = 20;
