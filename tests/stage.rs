//! Configurations in a few words, and the daemon that runs them.

use serde_json::Value;
use testkit::{Ingest, Record, Relayd, Setup};

/// The daemon with a configuration, not started yet.
pub(crate) fn setup(config: &str) -> Setup {
    Setup::new(env!("CARGO_BIN_EXE_relayd"), config)
}

/// The daemon with a configuration, ready.
pub(crate) async fn start(config: &str) -> Relayd {
    setup(config).start().await
}

/// A relay of inputs, outputs and tables, in the order given.
pub(crate) fn relay(name: &str, parts: &[String]) -> String {
    format!("[[relay]]\nname = \"{name}\"\n{}", parts.concat())
}

/// A pull input that is tried again soon. `more` is further keys, one per line.
pub(crate) fn pull(name: &str, url: &str, more: &str) -> String {
    format!(
        "[[relay.input]]\nname = \"{name}\"\nurl = \"{url}\"\nretry = {{ min = \"100ms\", max = \"300ms\" }}\n{more}\n"
    )
}

/// A push input.
pub(crate) fn push(name: &str, key: &str) -> String {
    push_with(name, key, "")
}

/// A push input with further keys, one per line.
pub(crate) fn push_with(name: &str, key: &str, more: &str) -> String {
    format!("[[relay.input]]\nname = \"{name}\"\ntype = \"push\"\nkey = \"{key}\"\n{more}\n")
}

/// A vod input.
pub(crate) fn vod(name: &str, urls: &[&str], loops: i32) -> String {
    format!("[[relay.input]]\nname = \"{name}\"\ntype = \"vod\"\nurls = {urls:?}\nloops = {loops}\n")
}

/// An output that is tried again soon. `more` is further keys, one per line.
pub(crate) fn output(id: &str, url: &str, more: &str) -> String {
    format!(
        "[[relay.output]]\nid = \"{id}\"\nurl = \"{url}\"\nretry = {{ min = \"100ms\", max = \"400ms\" }}\n{more}\n"
    )
}

/// The `[relay.failover]` table.
pub(crate) fn failover(keys: &str) -> String {
    format!("[relay.failover]\n{keys}\n")
}

/// More frames of the newest session than now.
pub(crate) async fn flows_on(ingest: &Ingest) -> Record {
    let now = ingest.records().last().map_or(0, |record| record.frames().count());
    ingest.published(now + 60).await
}

/// An input of a relay's status.
pub(crate) fn input_of<'a>(status: &'a Value, name: &str) -> &'a Value {
    one_of(&status["inputs"], "name", name)
}

/// An output of a relay's status.
pub(crate) fn output_of<'a>(status: &'a Value, id: &str) -> &'a Value {
    one_of(&status["outputs"], "id", id)
}

fn one_of<'a>(list: &'a Value, key: &str, value: &str) -> &'a Value {
    let found = list.as_array().and_then(|list| list.iter().find(|one| one[key] == value));
    found.unwrap_or_else(|| panic!("no {value} in {list}"))
}

/// What the process holds in memory, in bytes.
pub(crate) async fn resident(relayd: &Relayd) -> usize {
    let metrics = relayd.get("/metrics").await.text();
    let line = metrics.lines().find_map(|line| line.strip_prefix("process_resident_memory_bytes ")).unwrap();
    line.parse().unwrap()
}
