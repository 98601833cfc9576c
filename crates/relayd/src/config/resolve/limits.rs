//! `[limits]`

use std::ops::RangeInclusive;
use std::time::Duration;

use flv::amf0;
use rtmp::ingest::IngestLimits;
use toml::Spanned;

use super::Resolver;
use super::checks::{HOUR, NOW, TICK};
use crate::config::LimitsConfig;
use crate::config::raw::RawLimits;
use crate::config::units::Size;

impl Resolver<'_> {
    pub(super) fn limits(&mut self, raw: RawLimits) -> LimitsConfig {
        let default = LimitsConfig::default();
        let of_rtmp = default.rtmp;
        // Spans are needed after the values have been taken.
        let span = |value: &Option<Spanned<_>>| value.as_ref().map(Spanned::span);
        let (partial_at, unaccepted_at) = (span(&raw.partial_bytes), span(&raw.unauthenticated_message_size));
        let publish_at = raw.publish_timeout.as_ref().map(Spanned::span);
        // Defaults give way to what is written about the larger thing.
        let max_message = self.size(raw.message_size, of_rtmp.max_message, Size::kib(4)..=LARGEST_MESSAGE);
        let (max_partial, max_unaccepted) =
            (of_rtmp.max_partial.max(max_message), of_rtmp.max_unaccepted_message.min(max_message));
        let rtmp = IngestLimits {
            max_message,
            max_partial: self.size(raw.partial_bytes, max_partial, Size::kib(4)..=Size::kib(1 << 20)),
            max_unaccepted_message: self.size(
                raw.unauthenticated_message_size,
                max_unaccepted,
                Size::kib(4)..=LARGEST_MESSAGE,
            ),
            // Control and commands take two, audio and video one or two.
            max_chunk_streams: self.count(raw.chunk_streams, of_rtmp.max_chunk_streams, 4..=65_536),
            amf: amf0::Limits {
                // Decoding uses the stack in proportion.
                depth: self.count(raw.amf_depth, of_rtmp.amf.depth, 1..=64),
                values: self.count(raw.amf_values, of_rtmp.amf.values, 16..=65_536),
                string: self.size(raw.amf_string, of_rtmp.amf.string, Size(256)..=LARGEST_MESSAGE),
            },
        };
        let handshake_timeout = self.within(raw.handshake_timeout, default.handshake_timeout, TICK..=HOUR);
        let publish_timeout = default.publish_timeout.max(handshake_timeout);
        let publish_timeout = self.within(raw.publish_timeout, publish_timeout, TICK..=HOUR);
        if let Some(span) = partial_at.filter(|_| rtmp.max_partial < rtmp.max_message) {
            self.fail(span, "smaller than message_size; allowed: message_size or more");
        }
        if let Some(span) = unaccepted_at.filter(|_| rtmp.max_unaccepted_message > rtmp.max_message) {
            self.fail(span, "larger than message_size; allowed: up to message_size");
        }
        if let Some(span) = publish_at.filter(|_| publish_timeout < handshake_timeout) {
            self.fail(span, "shorter than handshake_timeout; allowed: handshake_timeout or more");
        }
        // One address takes three quarters of them, unless more is asked for.
        let admin_connections = self.count(raw.admin_connections, default.admin_connections, MANY);
        let admin_per_address = admin_connections - admin_connections / 4;
        LimitsConfig {
            ingest_connections: self.count(raw.ingest_connections, default.ingest_connections, MANY),
            ingest_per_address: self.count(raw.ingest_per_address, default.ingest_per_address, MANY),
            ingest_unauthenticated: self.count(raw.ingest_unauthenticated, default.ingest_unauthenticated, MANY),
            handshake_timeout,
            publish_timeout,
            refusal_delay: self.within(raw.refusal_delay, default.refusal_delay, NOW..=MINUTE),
            rtmp,
            metadata_values: self.count(raw.metadata_values, default.metadata_values, 16..=65_536),
            redirects: self.count(raw.redirects, default.redirects, 0..=20),
            // The HTTP client itself takes no more: 100 fields and some 400 KiB.
            http_headers: self.count(raw.http_headers, default.http_headers, 1..=100),
            http_head: self.size(raw.http_head, default.http_head, Size::kib(1)..=Size::kib(400)),
            resyncs: self.rate(raw.resyncs, default.resyncs),
            resync_window: self.size(raw.resync_window, default.resync_window, Size::kib(16)..=Size::kib(64 << 10)),
            admin_connections,
            admin_per_address: self.count(raw.admin_per_address, admin_per_address, MANY),
            admin_headers: self.count(raw.admin_headers, default.admin_headers, 8..=1_000),
            admin_head: self.size(raw.admin_head, default.admin_head, Size::kib(8)..=Size::kib(1 << 10)),
            admin_head_timeout: self.within(raw.admin_head_timeout, default.admin_head_timeout, TICK..=HOUR),
            admin_body: self.size(raw.admin_body, default.admin_body, Size::kib(1)..=Size::kib(16 << 10)),
            admin_body_timeout: self.within(raw.admin_body_timeout, default.admin_body_timeout, TICK..=HOUR),
            admin_write_timeout: self.within(raw.admin_write_timeout, default.admin_write_timeout, TICK..=HOUR),
            admin_drain: self.within(raw.admin_drain, default.admin_drain, NOW..=HOUR),
            viewers: self.count(raw.viewers, default.viewers, 0..=10_000),
            event_listeners: self.count(raw.event_listeners, default.event_listeners, 0..=10_000),
        }
    }

    fn count(&mut self, value: Option<Spanned<i64>>, default: usize, range: RangeInclusive<usize>) -> usize {
        let Some(value) = value else { return default };
        let count = usize::try_from(*value.get_ref()).unwrap_or(usize::MAX);
        self.check(value.span(), &count, range, usize::to_string);
        count
    }
}

const MINUTE: Duration = Duration::from_secs(60);
/// Each is a descriptor.
const MANY: RangeInclusive<usize> = 1..=100_000;
/// RTMP 1.0, 5.3.1.2.1: a message's length has 24 bits.
const LARGEST_MESSAGE: Size = Size::kib((16 << 10) - 1);
