//! A relay, its inputs and its outputs, told.

use relay::{
    FailoverPolicy, Flush, LogPolicy, OnFault, OnFormatChange, OnLag, OutputPolicy, Revert, Standby, TimelinePolicy,
};

use super::table::{Table, list, rate};
use crate::config::{InputConfig, InputSource, Loops, OnDuplicate, OutputConfig, RelayConfig, VodItem, units::Size};

pub(super) fn relay_table(relay: &RelayConfig) -> Table {
    let mut table = Table::new(format!("relay {}", relay.name));
    table.fact("title", format!("{:?}", relay.title));
    table.fact("autostart", relay.autostart);
    table.fact("inputs", list(relay.inputs.iter().map(|input| &input.name)));
    table.fact("outputs", list(relay.outputs.iter().map(|output| &output.id)));
    let FailoverPolicy {
        standby,
        stall_timeout,
        no_video,
        no_audio,
        keyframe_overdue,
        slow_ratio,
        exact_wait,
        revert,
        revert_after,
        min_dwell,
        max_reverts,
        hold,
    } = &relay.failover;
    table.fact(
        "failover.standby",
        match standby {
            Standby::Hot => "hot",
            Standby::Cold => "cold",
        },
    );
    table.duration("failover.stall_timeout", *stall_timeout);
    table.duration("failover.no_video", *no_video);
    table.duration("failover.no_audio", *no_audio);
    table.duration("failover.keyframe_overdue", *keyframe_overdue);
    table.fact("failover.slow_ratio", slow_ratio);
    table.duration("failover.exact_wait", *exact_wait);
    table.fact(
        "failover.revert",
        match revert {
            Revert::Auto => "auto",
            Revert::Manual => "manual",
        },
    );
    table.duration("failover.revert_after", *revert_after);
    table.duration("failover.min_dwell", *min_dwell);
    table.fact("failover.max_reverts", rate(*max_reverts));
    table.duration("failover.hold", *hold);
    let TimelinePolicy { max_jump, on_fault, fault_limit } = &relay.timeline;
    table.duration("timeline.max_jump", *max_jump);
    table.fact(
        "timeline.on_fault",
        match on_fault {
            OnFault::Repair => "repair",
            OnFault::Failover => "failover",
        },
    );
    table.fact("timeline.fault_limit", rate(*fault_limit));
    let LogPolicy { max_time, max_bytes } = relay.log;
    table.duration("log.max_time", max_time);
    table.fact("log.max_bytes", Size(max_bytes as u64));
    table
}

pub(super) fn input_table(relay: &str, input: &InputConfig) -> Table {
    let mut table = Table::part(format!("relay {relay}"), format!("input {}", input.name));
    match &input.source {
        InputSource::Pull(pull) => {
            table.fact("type", "pull");
            table.hidden("url", &pull.url, [pull.url.expose().as_bytes()]);
            let names = pull.headers.iter().map(|(name, value)| format!("{name}: {value}"));
            let parts = pull.headers.iter().flat_map(|(name, value)| [name.as_bytes(), value.expose().as_bytes()]);
            table.hidden("headers", list(names), parts);
            table.duration("connect_timeout", pull.connect_timeout);
            table.fact("max_tag_size", Size(pull.max_tag_size.into()));
            table.retry(&pull.retry);
        }
        InputSource::Push(push) => {
            table.fact("type", "push");
            let app = push.key.expose().split('/').next().unwrap_or("");
            table.hidden("key", format!("{app}/{}", push.key), [push.key.expose().as_bytes()]);
            table.secret("auth.tx_key", push.tx_key.as_ref());
            table.fact(
                "on_duplicate",
                match push.on_duplicate {
                    OnDuplicate::Reject => "reject",
                    OnDuplicate::Replace => "replace",
                },
            );
            table.duration("replace_after", push.replace_after);
            table.duration("idle_timeout", push.idle_timeout);
        }
        InputSource::Vod(vod) => {
            table.fact("type", "vod");
            let shown = vod.items.iter().map(|item| match item {
                VodItem::File(path) => format!("file:{}", path.display()),
                VodItem::Http(url) => url.to_string(),
            });
            let parts = vod.items.iter().map(|item| match item {
                VodItem::File(path) => path.as_os_str().as_encoded_bytes(),
                VodItem::Http(url) => url.expose().as_bytes(),
            });
            table.hidden("urls", list(shown), parts);
            table.fact(
                "loops",
                match vod.loops {
                    Loops::Forever => "-1".to_owned(),
                    Loops::Times(times) => times.to_string(),
                },
            );
            table.duration("connect_timeout", vod.connect_timeout);
            table.fact("max_tag_size", Size(vod.max_tag_size.into()));
            table.retry(&vod.retry);
        }
    }
    table
}

pub(super) fn output_table(relay: &str, output: &OutputConfig) -> Table {
    let mut table = Table::part(format!("relay {relay}"), format!("output {}", output.id));
    table.fact("name", format!("{:?}", output.name));
    let target = &output.target;
    table.hidden("url", target, [&target.app[..], target.key.as_bytes()]);
    table.fact("enabled", output.enabled);
    let OutputPolicy { flush, max_lag, max_lag_bytes, on_lag, on_format_change } = output.policy;
    table.fact(
        "flush",
        match flush {
            Flush::Frame => "frame".to_owned(),
            Flush::Every(interval) => humantime::format_duration(interval).to_string(),
        },
    );
    table.duration("max_lag", max_lag);
    table.fact("max_lag_bytes", Size(max_lag_bytes as u64));
    table.fact(
        "on_lag",
        match on_lag {
            OnLag::Skip => "skip",
            OnLag::Reconnect => "reconnect",
        },
    );
    table.fact(
        "on_format_change",
        match on_format_change {
            OnFormatChange::Inband => "inband",
            OnFormatChange::Reconnect => "reconnect",
        },
    );
    table.duration("connect_timeout", output.connect_timeout);
    table.duration("write_timeout", output.write_timeout);
    table.retry(&output.retry);
    table.file("ca_file", output.tls.ca.as_ref());
    table.fact("insecure_tls", output.tls.insecure);
    table.fact("bind", output.bind.map_or_else(|| "any".to_owned(), |address| address.to_string()));
    table
}
