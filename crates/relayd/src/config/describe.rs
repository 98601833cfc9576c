//! The configuration for people: what `--check` prints, and what a reload changes. Secrets show as `***`.

use std::fmt::{self, Display};
use std::time::Duration;

use relay::{FailoverPolicy, Flush, LogPolicy, OnFault, OnFormatChange, OnLag, OutputPolicy, Rate, RetryPolicy};
use relay::{Revert, Standby, TimelinePolicy};
use rtmp::ingest::IngestLimits;

use super::units::Size;
use super::{
    Config, InputConfig, InputSource, LimitsConfig, LogFormat, Loops, OnDuplicate, OutputConfig, PemFile, RelayConfig,
    Secret, VodItem,
};

impl Config {
    /// Every resolved value, one per line under the table that it belongs to, in the file's order.
    pub fn describe(&self) -> String {
        let tables = self.tables();
        let lines = |table: &Table| {
            let facts = table.facts.iter().map(|fact| format!("  {} = {}\n", fact.key, fact.shown));
            let part = table.name.part.as_ref().map_or_else(String::new, |part| format!(", {part}"));
            format!("{}{part}\n{}", table.name.whole, facts.collect::<String>())
        };
        tables.iter().map(lines).collect::<Vec<_>>().join("\n")
    }

    /// What differs in `new`. A change that the mask hides is named without its values.
    pub fn changes(&self, new: &Self) -> Changes {
        let mut changes = Changes::default();
        let (old_tables, new_tables) = (self.tables(), new.tables());
        let find = |tables: &[Table], name: &TableName| tables.iter().position(|table| table.name == *name);
        // A relay that comes or goes is told as a whole.
        let is_told = |among: &[Table], name: &TableName| {
            name.part.is_none() || find(among, &TableName { part: None, ..name.clone() }).is_some()
        };
        for table in &old_tables {
            match find(&new_tables, &table.name) {
                Some(other) => table.changes(&new_tables[other], &mut changes),
                None if is_told(&new_tables, &table.name) => changes.live.push(format!("{} removed", table.name)),
                None => {}
            }
        }
        for Table { name, .. } in &new_tables {
            if find(&old_tables, name).is_none() && is_told(&old_tables, name) {
                changes.live.push(format!("{name} added"));
            }
        }
        for relay in &new.relays {
            let Some(old) = self.relays.iter().find(|old| old.name == relay.name) else { continue };
            let inputs = order(&old.inputs, &relay.inputs, |input| &input.name);
            let outputs = order(&old.outputs, &relay.outputs, |output| &output.id);
            for (what, order) in [("inputs", inputs), ("outputs", outputs)] {
                let line = order.map(|order| format!("relay {}: {what} in the order {order}", relay.name));
                changes.live.extend(line);
            }
        }
        changes
    }

    fn tables(&self) -> Vec<Table> {
        let mut log = Table::new("log");
        log.fact("level", &self.log.level);
        log.fact(
            "format",
            match self.log.format {
                LogFormat::Text => "text",
                LogFormat::Json => "json",
            },
        );
        let mut tables = vec![log];
        if let Some(admin) = &self.admin {
            let mut table = Table::new("admin");
            table.fact("listen", admin.listen);
            let token = admin.token.as_ref().map_or("", Secret::expose);
            table.hidden("token", if token.is_empty() { "none" } else { "***" }, token);
            table.fact("hosts", list(&admin.hosts));
            tables.push(table);
        }
        if let Some(ingest) = &self.ingest {
            let mut table = Table::new("ingest");
            table.fact("listen", ingest.listen);
            let tls = ingest.tls.as_ref();
            table.fact("tls_listen", tls.map_or_else(|| "none".to_owned(), |tls| tls.listen.to_string()));
            table.file("tls_cert", tls.map(|tls| &tls.cert));
            table.file("tls_key", tls.map(|tls| &tls.key));
            tables.push(table);
        }
        let mut table = Table::new("network");
        table.fact("allow", list(&self.network.allow));
        let folder = self.network.vod_dir.as_ref().map(|folder| folder.display().to_string());
        table.fact("vod_dir", folder.unwrap_or_else(|| "none".to_owned()));
        tables.push(table);
        tables.push(limits_table(&self.limits));
        for relay in &self.relays {
            tables.push(relay_table(relay));
            tables.extend(relay.inputs.iter().map(|input| input_table(&relay.name, input)));
            tables.extend(relay.outputs.iter().map(|output| output_table(&relay.name, output)));
        }
        tables
    }
}

/// What differs between two configurations, one line each, secrets masked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// What can be changed while running.
    pub live: Vec<String>,
    /// What cannot.
    pub needs_restart: Vec<String>,
}

/// A part of the configuration that comes and goes as a whole.
struct Table {
    name: TableName,
    facts: Vec<Fact>,
}

/// `relay a`, or `relay a` and its `output 1`.
#[derive(Clone, PartialEq, Eq)]
struct TableName {
    whole: String,
    part: Option<String>,
}

impl Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.whole)?;
        self.part.as_ref().map_or(Ok(()), |part| write!(f, ": {part}"))
    }
}

struct Fact {
    key: &'static str,
    shown: String,
    /// What `shown` masks, to notice a change. Never printed.
    exact: Vec<u8>,
}

impl Table {
    fn new(whole: impl Into<String>) -> Self {
        Self { name: TableName { whole: whole.into(), part: None }, facts: Vec::new() }
    }

    fn part(whole: String, part: String) -> Self {
        Self { name: TableName { whole, part: Some(part) }, facts: Vec::new() }
    }

    fn fact(&mut self, key: &'static str, value: impl Display) {
        self.hidden(key, value, "");
    }

    fn hidden(&mut self, key: &'static str, shown: impl Display, exact: impl AsRef<[u8]>) {
        self.facts.push(Fact { key, shown: shown.to_string(), exact: exact.as_ref().to_vec() });
    }

    fn file(&mut self, key: &'static str, file: Option<&PemFile>) {
        let path = file.map_or_else(|| "none".to_owned(), |file| file.path.display().to_string());
        self.hidden(key, path, file.map_or(&[][..], |file| &file.pem));
    }

    fn duration(&mut self, key: &'static str, value: Duration) {
        self.fact(key, humantime::format_duration(value));
    }

    fn retry(&mut self, retry: &RetryPolicy) {
        self.duration("retry.min", retry.min);
        self.duration("retry.max", retry.max);
        let never = || "never".to_owned();
        self.fact(
            "retry.give_up_after",
            retry.give_up_after.map_or_else(never, |after| humantime::format_duration(after).to_string()),
        );
    }

    fn changes(&self, new: &Self, changes: &mut Changes) {
        for Fact { key, shown, exact } in &new.facts {
            if LISTS.contains(key) {
                continue;
            }
            let line = match self.facts.iter().find(|fact| fact.key == *key) {
                Some(old) if old.shown != *shown => format!("{}: {key}: {} -> {shown}", self.name, old.shown),
                Some(old) if old.exact != *exact => format!("{}: {key}: changed", self.name),
                Some(_) => continue,
                None => format!("{}: {key}: {shown}", self.name),
            };
            let is_this =
                |(whole, fixed): &(&str, &str)| self.name.whole == *whole && (fixed == key || fixed.is_empty());
            let needs_restart = self.name.part.is_none() && NEED_RESTART.iter().any(is_this);
            if needs_restart { &mut changes.needs_restart } else { &mut changes.live }.push(line);
        }
    }
}

fn limits_table(limits: &LimitsConfig) -> Table {
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

/// The new order of a list, when those that were in it before stand otherwise.
fn order<T>(old: &[T], new: &[T], name: impl Fn(&T) -> &String) -> Option<String> {
    let common = |these: &[T], those: &[T]| -> Vec<String> {
        let is_common = |it: &&T| those.iter().any(|other| name(other) == name(it));
        these.iter().filter(is_common).map(|it| name(it).clone()).collect()
    };
    (common(old, new) != common(new, old)).then(|| list(new.iter().map(&name)))
}

fn relay_table(relay: &RelayConfig) -> Table {
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

fn input_table(relay: &str, input: &InputConfig) -> Table {
    let mut table = Table::part(format!("relay {relay}"), format!("input {}", input.name));
    match &input.source {
        InputSource::Pull(pull) => {
            table.fact("type", "pull");
            table.hidden("url", &pull.url, pull.url.expose());
            let names = pull.headers.iter().map(|(name, value)| format!("{name}: {value}"));
            let exact = pull.headers.iter().map(|(name, value)| format!("{name}: {}\n", value.expose()));
            table.hidden("headers", list(names), exact.collect::<String>());
            table.duration("connect_timeout", pull.connect_timeout);
            table.fact("max_tag_size", Size(pull.max_tag_size.into()));
            table.retry(&pull.retry);
        }
        InputSource::Push(push) => {
            table.fact("type", "push");
            let app = push.key.expose().split('/').next().unwrap_or("");
            table.hidden("key", format!("{app}/{}", push.key), push.key.expose());
            let tx_key = push.tx_key.as_ref().map_or("", Secret::expose);
            table.hidden("auth.tx_key", if tx_key.is_empty() { "none" } else { "***" }, tx_key);
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
            let exact = vod.items.iter().map(|item| match item {
                VodItem::File(path) => format!("{}\n", path.display()),
                VodItem::Http(url) => format!("{}\n", url.expose()),
            });
            table.hidden("urls", list(shown), exact.collect::<String>());
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

fn output_table(relay: &str, output: &OutputConfig) -> Table {
    let mut table = Table::part(format!("relay {relay}"), format!("output {}", output.id));
    table.fact("name", format!("{:?}", output.name));
    let target = &output.target;
    let exact = [target.tc_url().as_ref(), b"\n", target.key.as_bytes()].concat();
    table.hidden("url", target, exact);
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

fn list<T: Display>(items: impl IntoIterator<Item = T>) -> String {
    let items: Vec<_> = items.into_iter().map(|item| item.to_string()).collect();
    if items.is_empty() { "none".to_owned() } else { items.join(", ") }
}

fn rate(rate: Rate) -> String {
    format!("{}/{}", rate.count, humantime::format_duration(rate.window))
}

/// Facts that `--check` shows and that other tables tell of.
const LISTS: [&str; 2] = ["inputs", "outputs"];
/// What is set up once, when the process starts: a key, or (`""`) a whole table.
const NEED_RESTART: [(&str, &str); 2] = [("log", "format"), ("limits", "")];
