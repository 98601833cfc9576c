//! The file as written: every key optional or required as serde sees it, with its place, before any meaning.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use relay::{Flush, OnFault, OnFormatChange, OnLag, Rate, Revert, Standby};
use serde::Deserialize;
use toml::Spanned;

use super::units::{GiveUp, InputType, Size, Text};
use super::{LogFormat, OnDuplicate};
use crate::egress::Cidr;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawConfig {
    #[serde(default)]
    pub(super) log: RawLogging,
    pub(super) admin: Option<RawAdmin>,
    pub(super) ingest: Option<Spanned<RawIngest>>,
    #[serde(default)]
    pub(super) limits: RawLimits,
    #[serde(default)]
    pub(super) network: RawNetwork,
    #[serde(default)]
    pub(super) relay: Vec<RawRelay>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLogging {
    pub(super) level: Option<Spanned<String>>,
    pub(super) format: Option<Text<LogFormat>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAdmin {
    pub(super) listen: Option<Spanned<Text<SocketAddr>>>,
    pub(super) token_file: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) hosts: Vec<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawIngest {
    pub(super) listen: Option<Spanned<Text<SocketAddr>>>,
    pub(super) tls_listen: Option<Spanned<Text<SocketAddr>>>,
    pub(super) tls_cert: Option<Spanned<String>>,
    pub(super) tls_key: Option<Spanned<String>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLimits {
    pub(super) ingest_connections: Option<Spanned<i64>>,
    pub(super) ingest_per_address: Option<Spanned<i64>>,
    pub(super) ingest_unauthenticated: Option<Spanned<i64>>,
    pub(super) handshake_timeout: Option<Spanned<Text<Duration>>>,
    pub(super) publish_timeout: Option<Spanned<Text<Duration>>>,
    pub(super) refusal_delay: Option<Spanned<Text<Duration>>>,
    pub(super) unauthenticated_message_size: Option<Spanned<Text<Size>>>,
    pub(super) message_size: Option<Spanned<Text<Size>>>,
    pub(super) partial_bytes: Option<Spanned<Text<Size>>>,
    pub(super) chunk_streams: Option<Spanned<i64>>,
    pub(super) amf_depth: Option<Spanned<i64>>,
    pub(super) amf_values: Option<Spanned<i64>>,
    pub(super) amf_string: Option<Spanned<Text<Size>>>,
    pub(super) metadata_values: Option<Spanned<i64>>,
    pub(super) redirects: Option<Spanned<i64>>,
    pub(super) http_headers: Option<Spanned<i64>>,
    pub(super) http_head: Option<Spanned<Text<Size>>>,
    pub(super) resyncs: Option<Spanned<Text<Rate>>>,
    pub(super) resync_window: Option<Spanned<Text<Size>>>,
    pub(super) admin_connections: Option<Spanned<i64>>,
    pub(super) admin_per_address: Option<Spanned<i64>>,
    pub(super) admin_headers: Option<Spanned<i64>>,
    pub(super) admin_head: Option<Spanned<Text<Size>>>,
    pub(super) admin_head_timeout: Option<Spanned<Text<Duration>>>,
    pub(super) admin_body: Option<Spanned<Text<Size>>>,
    pub(super) admin_body_timeout: Option<Spanned<Text<Duration>>>,
    pub(super) admin_write_timeout: Option<Spanned<Text<Duration>>>,
    pub(super) admin_drain: Option<Spanned<Text<Duration>>>,
    pub(super) viewers: Option<Spanned<i64>>,
    pub(super) event_listeners: Option<Spanned<i64>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawNetwork {
    #[serde(default)]
    pub(super) allow: Vec<Text<Cidr>>,
    pub(super) vod_dir: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRelay {
    pub(super) name: Spanned<String>,
    pub(super) title: Option<Spanned<String>>,
    pub(super) autostart: Option<bool>,
    #[serde(default)]
    pub(super) input: Vec<Spanned<RawInput>>,
    #[serde(default)]
    pub(super) failover: RawFailover,
    #[serde(default)]
    pub(super) timeline: RawTimeline,
    #[serde(default)]
    pub(super) log: RawLog,
    #[serde(default)]
    pub(super) output: Vec<Spanned<RawOutput>>,
}

/// The keys of all types together; which of them go with `type` is decided when it is resolved.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawInput {
    pub(super) name: Spanned<String>,
    pub(super) r#type: Option<Spanned<Text<InputType>>>,
    pub(super) url: Option<Spanned<String>>,
    pub(super) headers: Option<Spanned<BTreeMap<Spanned<String>, Spanned<String>>>>,
    pub(super) key: Option<Spanned<String>>,
    pub(super) auth: Option<Spanned<RawAuth>>,
    pub(super) on_duplicate: Option<Spanned<Text<OnDuplicate>>>,
    pub(super) replace_after: Option<Spanned<Text<Duration>>>,
    pub(super) idle_timeout: Option<Spanned<Text<Duration>>>,
    pub(super) urls: Option<Spanned<Vec<Spanned<String>>>>,
    pub(super) loops: Option<Spanned<i64>>,
    pub(super) connect_timeout: Option<Spanned<Text<Duration>>>,
    pub(super) max_tag_size: Option<Spanned<Text<Size>>>,
    pub(super) retry: Option<Spanned<RawRetry>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawAuth {
    pub(super) tx_key: Option<Spanned<String>>,
    pub(super) tx_key_file: Option<Spanned<String>>,
    pub(super) tx_key_env: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRetry {
    pub(super) min: Option<Spanned<Text<Duration>>>,
    pub(super) max: Option<Spanned<Text<Duration>>>,
    pub(super) give_up_after: Option<Spanned<Text<GiveUp>>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawFailover {
    pub(super) standby: Option<Text<Standby>>,
    pub(super) stall_timeout: Option<Spanned<Text<Duration>>>,
    pub(super) no_video: Option<Spanned<Text<Duration>>>,
    pub(super) no_audio: Option<Spanned<Text<Duration>>>,
    pub(super) keyframe_overdue: Option<Spanned<Text<Duration>>>,
    pub(super) slow_ratio: Option<Spanned<f64>>,
    pub(super) exact_wait: Option<Spanned<Text<Duration>>>,
    pub(super) revert: Option<Text<Revert>>,
    pub(super) revert_after: Option<Spanned<Text<Duration>>>,
    pub(super) min_dwell: Option<Spanned<Text<Duration>>>,
    pub(super) max_reverts: Option<Spanned<Text<Rate>>>,
    pub(super) hold: Option<Spanned<Text<Duration>>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawTimeline {
    pub(super) max_jump: Option<Spanned<Text<Duration>>>,
    pub(super) on_fault: Option<Text<OnFault>>,
    pub(super) fault_limit: Option<Spanned<Text<Rate>>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawLog {
    pub(super) max_time: Option<Spanned<Text<Duration>>>,
    pub(super) max_bytes: Option<Spanned<Text<Size>>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawOutput {
    pub(super) id: Spanned<String>,
    pub(super) name: Option<Spanned<String>>,
    pub(super) url: Option<Spanned<String>>,
    pub(super) server: Option<Spanned<String>>,
    pub(super) key: Option<Spanned<String>>,
    pub(super) key_file: Option<Spanned<String>>,
    pub(super) key_env: Option<Spanned<String>>,
    pub(super) enabled: Option<bool>,
    pub(super) flush: Option<Spanned<Text<Flush>>>,
    pub(super) max_lag: Option<Spanned<Text<Duration>>>,
    pub(super) max_lag_bytes: Option<Spanned<Text<Size>>>,
    pub(super) on_lag: Option<Text<OnLag>>,
    pub(super) on_format_change: Option<Text<OnFormatChange>>,
    pub(super) connect_timeout: Option<Spanned<Text<Duration>>>,
    pub(super) write_timeout: Option<Spanned<Text<Duration>>>,
    pub(super) retry: Option<Spanned<RawRetry>>,
    pub(super) ca_file: Option<Spanned<String>>,
    pub(super) insecure_tls: Option<bool>,
    pub(super) bind: Option<Text<IpAddr>>,
}
