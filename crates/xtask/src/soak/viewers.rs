//! Those who watch `/live`, and those who listen to events.

use std::{collections::BTreeMap, net::SocketAddr, time::Duration};

use flv::{DemuxLimits, Demuxer};
use testkit::http;
use tokio::time::{Instant, sleep, timeout_at};

/// Watches for a while. The stream has to be sound, and its timestamps must not go back.
pub(crate) async fn watch(admin: SocketAddr, relay: &str, time: Duration) -> Result<(), String> {
    let end = Instant::now() + time;
    let target = format!("/live/{relay}.flv");
    let mut stream = http::open(admin, "GET", &target, &[], b"").await.map_err(|error| error.to_string())?;
    if stream.status != 200 {
        return Err(format!("{target} answers {}", stream.status));
    }
    let mut demuxer = Demuxer::new(DemuxLimits::default());
    let mut last: BTreeMap<u8, u32> = BTreeMap::new();
    // Silence is for the judges of the outputs; the viewer leaves when its time is up.
    while let Ok(piece) = timeout_at(end, stream.next()).await {
        let piece = piece.map_err(|error| format!("{target}: {error}"))?;
        demuxer.push(piece.ok_or_else(|| format!("{target} ended"))?);
        while let Some(tag) = demuxer.next_tag().map_err(|error| format!("{target}: {error}"))? {
            let before = last.insert(tag.kind.type_id(), tag.timestamp);
            if let Some(before) = before.filter(|&before| tag.timestamp.wrapping_sub(before) >= 1 << 31) {
                return Err(format!("{target}: {tag:?} after {before}"));
            }
        }
    }
    Ok(())
}

/// Asks for the stream and reads nothing of it.
pub(crate) async fn freeze(admin: SocketAddr, relay: &str, time: Duration) -> Result<(), String> {
    let stream = http::open(admin, "GET", &format!("/live/{relay}.flv"), &[], b"").await;
    let _stream = stream.map_err(|error| error.to_string())?;
    sleep(time).await;
    Ok(())
}

/// Listens to the daemon's events until it ends, and counts them by type and reason.
pub(crate) async fn listen(admin: SocketAddr) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    let Ok(mut stream) = http::open(admin, "GET", "/api/v1/events", &[], b"").await else { return counts };
    let mut text = String::new();
    while let Ok(Some(piece)) = stream.next().await {
        text += &String::from_utf8_lossy(&piece);
        while let Some((line, rest)) = text.split_once('\n') {
            let event: Option<serde_json::Value> =
                line.strip_prefix("data:").and_then(|data| serde_json::from_str(data.trim()).ok());
            if let Some(event) = event {
                let word = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
                *counts.entry(format!("{} {}", word("type"), word("reason"))).or_default() += 1;
            }
            text = rest.to_owned();
        }
    }
    counts
}
