//! A relay that does not answer.

use std::{num::NonZero, thread, time::Duration};

use serde_json::json;
use testkit::{Encode, Feed, Ingest, Origin, eventually, judge};

use crate::stage::{flows_on, output, pull, relay, setup};

/// What it was not told in time it never takes: the answer, its status and the next reload say the same.
#[tokio::test]
async fn a_relay_that_is_stuck_for_a_while_keeps_its_configuration_until_the_next_reload() {
    needs_two_lanes();
    let (origin, encode, ingest) = (Origin::start().await, Encode::live("main"), Ingest::start().await);
    let feed = origin.serve("main", Feed::of(&encode));
    let config = format!(
        "{}{}",
        relay("stuck", &[]),
        relay("other", &[pull("primary", feed.url(), ""), output("1", &ingest.url("key"), "")])
    );
    let relayd = setup(&config).variable("RELAYD_TEST_HOOKS", "1").start().await;
    ingest.published(20).await;

    assert_eq!(relayd.send("POST", "/api/v1/relays/stuck/wedge", STUCK_FOR_MS).await.status, 204);
    relayd.rewrite(|config| {
        let titled = |config: String, name: &str| {
            config.replace(&format!("name = \"{name}\"\n"), &format!("name = \"{name}\"\ntitle = \"new\"\n"))
        };
        titled(titled(config.to_owned(), "stuck"), "other")
    });
    let response = relayd.reload().await;
    let not_applied = "relay stuck: title: \"\" -> \"new\" (the relay does not answer)";
    let told = |changes: &[&str], not_applied: &[&str]| json!({ "changes": changes, "needs_restart": [], "not_applied": not_applied });
    assert_eq!(
        (response.status, response.json()),
        (200, told(&["relay other: title: \"\" -> \"new\""], &[not_applied]))
    );
    relayd.logs(&format!("reload: not applied: {not_applied}")).await;

    // It is asked behind the request that it did not take.
    eventually("the relay answers again", ANSWERS_AGAIN, async || {
        let response = relayd.get("/api/v1/relays/stuck").await;
        if response.status == 200 { Ok(()) } else { Err(response.text()) }
    })
    .await;
    assert_eq!(relayd.status("stuck").await["title"], "");
    let response = relayd.reload().await;
    assert_eq!((response.status, response.json()), (200, told(&["relay stuck: title: \"\" -> \"new\""], &[])));
    assert_eq!(relayd.status("stuck").await["title"], "new");
    assert_eq!(relayd.reload().await.json(), told(&[], &[]));
    judge::clean(&flows_on(&ingest).await, &encode);
}

/// One that is stuck for ever is told of by each reload, and the others go on.
#[tokio::test]
async fn a_relay_that_is_stuck_for_ever_is_told_of_each_time() {
    needs_two_lanes();
    let config = format!("{}{}", relay("stuck", &[]), relay("other", &[]));
    let relayd = setup(&config).variable("RELAYD_TEST_HOOKS", "1").start().await;
    assert_eq!(relayd.send("POST", "/api/v1/relays/stuck/wedge", b"").await.status, 204);
    for title in ["one", "two"] {
        relayd.rewrite(|config| {
            let lines = config.lines().filter(|line| !line.starts_with("title"));
            let titled = |line: &str| {
                let title = if line == "name = \"stuck\"" { format!("title = {title:?}\n") } else { String::new() };
                format!("{line}\n{title}")
            };
            lines.map(titled).collect::<String>()
        });
        let json = relayd.reload().await.json();
        let not_applied = format!("relay stuck: title: \"\" -> {title:?} (the relay does not answer)");
        assert_eq!((&json["changes"], &json["not_applied"]), (&json!([]), &json!([not_applied])));
    }
    assert_eq!(relayd.get("/api/v1/relays/other").await.status, 200);
}

/// The relay that is stuck takes its lane with it, and there is a lane for each core.
fn needs_two_lanes() {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    assert!(cores >= 2, "on one core no relay goes on while another is stuck");
}

/// Far longer than a reload waits for an answer (3 s), so that it is stuck all that time, however late the reload is asked for.
const STUCK_FOR_MS: &[u8] = b"10000";
/// It is stuck that long, and then as slow as the machine.
const ANSWERS_AGAIN: Duration = Duration::from_secs(30);
