//! `[limits]`, told.

use rtmp::ingest::IngestLimits;

use super::table::{Table, rate};
use crate::config::{LimitsConfig, units::Size};

pub(super) fn limits_table(limits: &LimitsConfig) -> Table {
    let LimitsConfig {
        ingest_connections,
        ingest_per_address,
        ingest_unauthenticated,
        handshake_timeout,
        publish_timeout,
        refusal_delay,
        rtmp: IngestLimits { max_message, max_partial, max_unaccepted_message, max_chunk_streams, amf },
        metadata_values,
        redirects,
        http_headers,
        http_head,
        resyncs,
        resync_window,
        admin_connections,
        admin_per_address,
        admin_headers,
        admin_head,
        admin_head_timeout,
        admin_body,
        admin_body_timeout,
        admin_write_timeout,
        admin_drain,
        viewers,
        event_listeners,
    } = limits;
    let size = |bytes: &usize| Size(*bytes as u64);
    let mut table = Table::new("limits");
    table.fact("ingest_connections", ingest_connections);
    table.fact("ingest_per_address", ingest_per_address);
    table.fact("ingest_unauthenticated", ingest_unauthenticated);
    table.duration("handshake_timeout", *handshake_timeout);
    table.duration("publish_timeout", *publish_timeout);
    table.duration("refusal_delay", *refusal_delay);
    table.fact("unauthenticated_message_size", size(max_unaccepted_message));
    table.fact("message_size", size(max_message));
    table.fact("partial_bytes", size(max_partial));
    table.fact("chunk_streams", max_chunk_streams);
    table.fact("amf_depth", amf.depth);
    table.fact("amf_values", amf.values);
    table.fact("amf_string", size(&amf.string));
    table.fact("metadata_values", metadata_values);
    table.fact("redirects", redirects);
    table.fact("http_headers", http_headers);
    table.fact("http_head", size(http_head));
    table.fact("resyncs", rate(*resyncs));
    table.fact("resync_window", size(resync_window));
    table.fact("admin_connections", admin_connections);
    table.fact("admin_per_address", admin_per_address);
    table.fact("admin_headers", admin_headers);
    table.fact("admin_head", size(admin_head));
    table.duration("admin_head_timeout", *admin_head_timeout);
    table.fact("admin_body", size(admin_body));
    table.duration("admin_body_timeout", *admin_body_timeout);
    table.duration("admin_write_timeout", *admin_write_timeout);
    table.duration("admin_drain", *admin_drain);
    table.fact("viewers", viewers);
    table.fact("event_listeners", event_listeners);
    table
}
