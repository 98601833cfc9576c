use std::{path::PathBuf, sync::Arc};

use bytes::BytesMut;
use flv::{Kind, mux};
use relay::RetryPolicy;
use testkit::TempDir;
use tokio::sync::mpsc;

use super::*;
use crate::{
    egress::Egress, ingest::PushKeys, input::Reports, resolver::Resolver, throttle::Throttle, tls::TlsConfigs,
};

/// A file of keyframes at these times.
fn slides(times: &[u32]) -> BytesMut {
    let mut file = BytesMut::from(&mux::file_header(false, true)[..]);
    for &at in times {
        mux::write_tag(&mut file, Kind::Video, at, &[0x17, 1, 0, 0, 0, 0]);
    }
    file
}

fn list(items: impl IntoIterator<Item = PathBuf>) -> VodConfig {
    VodConfig {
        items: items.into_iter().map(VodItem::File).collect(),
        loops: Loops::Times(0),
        connect_timeout: Duration::from_secs(5),
        max_tag_size: 1 << 20,
        retry: RetryPolicy::INPUT,
    }
}

fn shared() -> Shared {
    Shared {
        tls: TlsConfigs::load().native(),
        push_keys: PushKeys::default(),
        resolver: Resolver::system(),
        egress: Egress::Trusted,
        limits: Arc::default(),
    }
}

/// A turn on its own: how it ends, and what it reports.
async fn play(config: &VodConfig, backoff: &mut Backoff) -> (Ended, Vec<Report>) {
    let (shared, files) = (shared(), Files::default());
    let (reports, mut reported) = mpsc::channel(64);
    let (_relay, commands) = mpsc::channel(1);
    let mut link = Link { task: 1, reports, commands, meter: Arc::default(), throttle: Throttle::default() };
    let player = Player::new(Items { config, shared: &shared, files: &files }, backoff);
    let ended = player.play(&mut link).await.expect("the relay is there");
    drop(link);
    let mut all = Vec::new();
    while let Some(Reports { reports, .. }) = reported.recv().await {
        all.extend(reports);
    }
    (ended, all)
}

#[tokio::test]
async fn an_item_lasts_up_to_its_end_whatever_the_next_one_takes_to_open() {
    let folder = TempDir::new();
    let config = list([folder.write("slides.flv", slides(&[0, 1_000])), folder.path().join("absent.flv")]);
    let (ended, reports) = play(&config, &mut Backoff::new(config.retry)).await;
    assert!(matches!(ended, Ended::Played));
    let due = |report: &Report| if let Report::Due(at) = report { Some(*at) } else { None };
    let [second, end] = reports.iter().filter_map(due).collect::<Vec<_>>()[..] else { panic!("{reports:?}") };
    assert_eq!(end - second, Duration::from_secs(1), "the last slide's own time");
}

#[tokio::test]
async fn a_turn_counts_as_a_success_from_its_first_tag_on() {
    let folder = TempDir::new();
    let config = list([folder.write("slide.flv", slides(&[0]))]);
    let retry = config.retry;
    let mut backoff = Backoff::new(retry);
    let now = std::time::Instant::now();
    for _ in 0..10 {
        backoff.failed(now, 1.0);
    }
    let (ended, _) = play(&config, &mut backoff).await;
    assert!(matches!(ended, Ended::Failed(InputError::NoDuration)));
    let stable = std::time::Instant::now() + Duration::from_secs(30);
    assert_eq!(backoff.failed(stable, 1.0), Some(retry.min), "as if the turn had lasted for 30 s");
}
