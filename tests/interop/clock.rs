//! The system's clock is set while the daemon runs, by libfaketime: a day ahead, then two days back.

use std::{fs, time::Duration};

use testkit::{DEADLINE, Encode, Feed, Ingest, Origin, Signal, TempDir, eventually, judge};

use crate::programs::command;
use crate::stage::{flows_on, input_of, output, pull, relay, setup};

/// Twins go on, and the one takes over from the other, as if nothing had been.
#[tokio::test]
async fn a_clock_that_jumps_is_told_and_moves_nothing_else() {
    // The library comes with the program; `$LIB` is ld.so(8)'s word for where Debian keeps it.
    drop(command("faketime"));
    let folder = TempDir::new();
    let time = folder.write("time", "+0");
    let (origin, encode, ingest) = (Origin::start().await, Encode::live("main"), Ingest::start().await);
    let (feed, other) = (origin.serve("a", Feed::of(&encode)), origin.serve("b", Feed::of(&encode)));
    let parts = [pull("primary", feed.url(), ""), pull("backup", other.url(), ""), output("1", &ingest.url("key"), "")];
    let mut relayd = setup(&relay("r", &parts))
        .variable("LD_PRELOAD", "/usr/$LIB/faketime/libfaketimeMT.so.1")
        .variable("FAKETIME_TIMESTAMP_FILE", &time.display().to_string())
        .variable("FAKETIME_NO_CACHE", "1")
        .variable("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .start()
        .await;
    ingest.published(40).await;
    relayd.until("r", "both inputs", |status| !input_of(status, "backup")["aligned_with"].is_null()).await;

    for (told, offset) in [("+1d", "seconds=86"), ("-1d", "seconds=-17")] {
        // At once: an empty file would be a time, too.
        fs::rename(folder.write("next", told), &time).unwrap();
        eventually("the jump is told", TWO_LOOKS, async || {
            let log = relayd.stderr();
            let is_told = log.lines().any(|line| line.contains("clock has jumped") && line.contains(offset));
            if is_told { Ok(()) } else { Err(log) }
        })
        .await;
        judge::clean(&flows_on(&ingest).await, &encode);
    }
    feed.kill();
    relayd.until("r", "the backup feeds", |status| status["active_input"] == "backup").await;
    judge::clean(&flows_on(&ingest).await, &encode);
    assert_eq!(ingest.records().len(), 1, "the output reconnected");
    let status = relayd.status("r").await;
    let faults = input_of(&status, "primary")["dts_faults"].as_object().unwrap();
    assert!(!faults.is_empty() && faults.values().all(|count| count == 0), "{status}");
    // Its own end, not a kill: the library tidies up behind itself.
    relayd.signal(Signal::TERM);
    assert_eq!(relayd.wait_exit(DEADLINE).await.code(), Some(0));
}

/// The clock is looked at every ten seconds.
const TWO_LOOKS: Duration = Duration::from_secs(20);
