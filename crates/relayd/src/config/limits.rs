//! `[limits]`: what peers may take.

use std::time::Duration;

use flv::amf0;
use relay::Rate;
use rtmp::ingest::IngestLimits;

/// `[limits]`: what strangers, publishers, sources and HTTP clients may take before they are closed.
///
/// Two more limits stand where they belong: `max_tag_size` of an input, and `[relay.log] max_bytes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitsConfig {
    /// Connections to the ingest.
    pub ingest_connections: usize,
    /// Those of one IPv4 address, or of one IPv6 network of 64 bits.
    pub ingest_per_address: usize,
    /// Those that have not been let in yet.
    pub ingest_unauthenticated: usize,
    /// From the connection to the end of its handshakes, TLS and RTMP.
    pub handshake_timeout: Duration,
    /// From the connection to its publish command.
    pub publish_timeout: Duration,
    /// What a key that is not accepted costs its client, and up to half as much again.
    pub refusal_delay: Duration,
    /// What a publisher's chunks may hold.
    pub rtmp: IngestLimits,
    /// Values in onMetaData; depth and strings are those of commands.
    pub metadata_values: usize,
    /// Redirects that a pull follows.
    pub redirects: usize,
    /// Header fields of an HTTP server's answer.
    pub http_headers: usize,
    /// Bytes of an answer's header fields.
    pub http_head: usize,
    /// Times that a source's framing may be lost and found again; one more loses the input.
    pub resyncs: Rate,
    /// Bytes in which it must be found again.
    pub resync_window: usize,
    /// Connections to the HTTP side, through all listeners that it has and had.
    pub admin_connections: usize,
    /// Those of one IPv4 address, or of one IPv6 network of 64 bits.
    pub admin_per_address: usize,
    /// Header fields of a request.
    pub admin_headers: usize,
    /// Bytes of a request's head.
    pub admin_head: usize,
    /// From the connection, or the answer before, to the end of a request's head.
    pub admin_head_timeout: Duration,
    /// Bytes of a request's body.
    pub admin_body: usize,
    /// From the end of a request's head to the end of its body.
    pub admin_body_timeout: Duration,
    /// How long a client may take no byte of what waits to be sent to it.
    pub admin_write_timeout: Duration,
    /// What the connections of a listener that has moved, or is gone, may still take.
    pub admin_drain: Duration,
    /// Viewers of `/live` at a time.
    pub viewers: usize,
    /// Listeners to `/api/v1/events` at a time.
    pub event_listeners: usize,
}

impl LimitsConfig {
    /// What onMetaData may hold.
    pub fn metadata(&self) -> amf0::Limits {
        amf0::Limits { values: self.metadata_values, ..self.rtmp.amf }
    }
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            ingest_connections: 1_024,
            ingest_per_address: 64,
            ingest_unauthenticated: 256,
            handshake_timeout: Duration::from_secs(5),
            publish_timeout: Duration::from_secs(10),
            refusal_delay: Duration::from_secs(1),
            rtmp: IngestLimits::default(),
            metadata_values: 4_096,
            // CDNs redirect once or twice; more is a loop.
            redirects: 5,
            http_headers: 100,
            http_head: 64 << 10,
            resyncs: Rate { count: 10, window: Duration::from_secs(10) },
            resync_window: 1 << 20,
            admin_connections: 256,
            // A proxy is one address: all viewers and listeners may come from there, and some to ask besides.
            admin_per_address: 192,
            admin_headers: 100,
            admin_head: 16 << 10,
            admin_head_timeout: Duration::from_secs(10),
            admin_body: 64 << 10,
            admin_body_timeout: Duration::from_secs(10),
            admin_write_timeout: Duration::from_secs(10),
            admin_drain: Duration::from_secs(30),
            viewers: 64,
            event_listeners: 64,
        }
    }
}
