//! Events carried out. Each lasts until the party it disturbed is well again.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::{Value, json};
use testkit::{Relayd, Script, Signal, http};
use tokio::{
    task::{JoinError, JoinSet},
    time::{Instant, sleep, sleep_until},
};

use super::{
    events::{Event, Target},
    stage::{self, PUSHED, RELAYS, Stage, TWINS},
    viewers,
    windows::Scope,
};

/// What came of the script.
#[derive(Debug, Default)]
pub(crate) struct Played {
    /// How often each event happened.
    pub(crate) counts: BTreeMap<&'static str, u64>,
    /// What was not as it should be.
    pub(crate) failures: Vec<String>,
}

/// The opening, then one event after the other, a few at a time, until `end`; returns when all are over.
pub(crate) async fn play(stage: Arc<Stage>, relayd: Arc<Relayd>, seed: u64, start: Instant, end: Instant) -> Played {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut scene = Scene { stage, relayd, start, played: Played::default(), busy: Vec::new(), acts: JoinSet::new() };
    for round in Event::opening(&scene.stage.platforms) {
        for event in round {
            scene.begin(event);
        }
        while let Some(over) = scene.acts.join_next().await {
            scene.end(over);
        }
    }
    let mut next = Instant::now();
    loop {
        tokio::select! {
            () = sleep_until(next), if next < end => {
                next += Duration::from_millis(rng.u64(1_000..4_000));
                // A draw that falls on a busy party is made again.
                let event = (0..50).find_map(|_| Event::draw(&mut rng, &scene.stage.platforms, &scene.busy));
                if let Some(event) = event {
                    scene.begin(event);
                }
            }
            Some(over) = scene.acts.join_next() => scene.end(over),
            else => return scene.played,
        }
    }
}

/// What goes on at present.
struct Scene {
    stage: Arc<Stage>,
    relayd: Arc<Relayd>,
    start: Instant,
    played: Played,
    busy: Vec<Target>,
    acts: JoinSet<Act>,
}

type Act = (Event, Result<(), String>);

impl Scene {
    fn begin(&mut self, event: Event) {
        println!("{} {event}", clock(self.start));
        *self.played.counts.entry(event.name()).or_default() += 1;
        self.busy.extend(event.target());
        let (stage, relayd) = (Arc::clone(&self.stage), Arc::clone(&self.relayd));
        self.acts.spawn(async move { (event.clone(), act(&event, &stage, &relayd).await) });
    }

    fn end(&mut self, over: Result<Act, JoinError>) {
        match over {
            Ok((event, result)) => {
                self.busy.retain(|&target| Some(target) != event.target());
                if let Err(failure) = result {
                    println!("{} FAILED: {event}: {failure}", clock(self.start));
                    self.played.failures.push(format!("{event}: {failure}"));
                }
            }
            Err(panic) => self.played.failures.push(format!("an event: {panic}")),
        }
    }
}

/// Minutes and seconds since the start.
pub(crate) fn clock(start: Instant) -> String {
    let secs = start.elapsed().as_secs();
    format!("{:02}:{:02}", secs / 60, secs % 60)
}

async fn act(event: &Event, stage: &Stage, relayd: &Relayd) -> Result<(), String> {
    match event.target() {
        Some(Target::Inputs(PUSHED)) => disturb_publisher(event, stage, relayd).await,
        Some(Target::Inputs(relay)) => {
            well(relayd, relay).await?;
            // One of twins may be lost at any time; whatever is missing then is the daemon's doing.
            let costs = relay != TWINS || matches!(event, Event::DarkInputs { .. });
            let window = costs.then(|| stage.windows.open(Scope::Relay(relay)));
            disturb_inputs(event, stage, relayd).await?;
            let well = well(relayd, relay).await;
            if let Some(window) = window {
                stage.windows.close(window);
            }
            well
        }
        Some(Target::Output(output)) => {
            let window = stage.windows.open(Scope::Output(output));
            disturb_output(event, stage, output).await;
            stage.windows.close(window);
            live(stage, output).await
        }
        None => match *event {
            Event::Viewer { relay, secs } => {
                viewers::watch(relayd.admin(), RELAYS[relay], Duration::from_secs(secs)).await
            }
            Event::FrozenViewer { relay, secs } => {
                viewers::freeze(relayd.admin(), RELAYS[relay], Duration::from_secs(secs)).await
            }
            _ => {
                relayd.rewrite(|text| format!("{text}\n# read again\n"));
                relayd.signal(Signal::HUP);
                Ok(())
            }
        },
    }
}

async fn disturb_inputs(event: &Event, stage: &Stage, relayd: &Relayd) -> Result<(), String> {
    match *event {
        Event::KillInput { relay, input } => {
            let reconnects = async || {
                let status = stage::status(relayd, relay).await?;
                Ok::<_, String>(status["inputs"][input]["reconnects"].as_u64())
            };
            let before = reconnects().await?;
            stage.pulls[relay][input].kill();
            // Until it is noticed, all seems well.
            let end = Instant::now() + RECOVERY;
            while reconnects().await? == before && Instant::now() < end {
                sleep(Duration::from_millis(50)).await;
            }
        }
        Event::RefuseInput { relay, input, status, secs } => {
            let feed = &stage.pulls[relay][input];
            feed.set_status(status);
            feed.kill();
            sleep(Duration::from_secs(secs)).await;
            feed.resume();
        }
        Event::StallInput { relay, input, secs } => {
            let feed = &stage.pulls[relay][input];
            feed.stall();
            sleep(Duration::from_secs(secs)).await;
            feed.resume();
        }
        Event::DarkInputs { relay, status, secs } => {
            for feed in &stage.pulls[relay] {
                feed.set_status(status);
                feed.kill();
            }
            sleep(Duration::from_secs(secs)).await;
            for feed in &stage.pulls[relay] {
                feed.resume();
            }
        }
        Event::Switch { relay } => {
            let now = stage::status(relayd, relay).await?;
            let other = if now["selected_input"] == "primary" { "backup" } else { "primary" };
            let (target, body) = (format!("/api/v1/relays/{}/switch", RELAYS[relay]), json!({ "input": other }));
            let json = [("Content-Type", "application/json")];
            let answer = http::request(relayd.admin(), "POST", &target, &json, body.to_string().as_bytes()).await;
            let answer = answer.map_err(|error| error.to_string())?;
            if answer.status != 202 {
                return Err(format!("{}: {}", answer.status, answer.text()));
            }
        }
        _ => {}
    }
    Ok(())
}

async fn disturb_publisher(event: &Event, stage: &Stage, relayd: &Relayd) -> Result<(), String> {
    let window = stage.windows.open(Scope::Relay(PUSHED));
    match *event {
        Event::CutPublisher { secs } => {
            *stage.publisher.lock().await = None;
            sleep(Duration::from_secs(secs)).await;
            stage.publish(relayd).await;
        }
        Event::PartPublisher { secs } => {
            let publisher = stage.publisher.lock().await.take();
            if let Some(publisher) = publisher {
                publisher.close().await.map_err(|error| format!("the publisher's goodbye: {error}"))?;
            }
            sleep(Duration::from_secs(secs)).await;
            stage.publish(relayd).await;
        }
        Event::StallPublisher { secs } => {
            if let Some(publisher) = &*stage.publisher.lock().await {
                publisher.stall();
            }
            sleep(Duration::from_secs(secs)).await;
            if let Some(publisher) = &*stage.publisher.lock().await {
                publisher.resume();
            }
            if secs > SHORT_STALL {
                // The daemon has closed the connection.
                stage.publish(relayd).await;
            }
        }
        _ => {}
    }
    let well = well(relayd, PUSHED).await;
    stage.windows.close(window);
    well
}

async fn disturb_output(event: &Event, stage: &Stage, output: usize) {
    let ingest = &stage.platforms[output].ingest;
    match *event {
        Event::ResetOutput { .. } => ingest.reset(),
        Event::CloseOutput { .. } => ingest.disconnect(),
        Event::DeafOutput { secs, .. } => {
            ingest.pause();
            sleep(Duration::from_secs(secs)).await;
            ingest.unpause();
        }
        Event::SlowOutput { bytes_per_sec, secs, .. } => {
            ingest.read_slowly(Some(bytes_per_sec));
            sleep(Duration::from_secs(secs)).await;
            ingest.read_slowly(None);
        }
        Event::GoneOutput { secs, .. } => {
            ingest.stop_listening();
            sleep(Duration::from_secs(secs)).await;
            ingest.listen_again();
        }
        Event::RefuseOutput { secs, .. } => {
            ingest.behave(Script::new().reject_publish("NetStream.Publish.BadName"));
            ingest.disconnect();
            sleep(Duration::from_secs(secs)).await;
            ingest.behave(Script::new());
        }
        _ => {}
    }
}

/// Waits until every input of a relay is as it should be, and the right one feeds.
async fn well(relayd: &Relayd, relay: usize) -> Result<(), String> {
    let is_well = |status: &Value| {
        let (active, selected) = (&status["active_input"], &status["selected_input"]);
        let inputs = status["inputs"].as_array().map_or(&[][..], Vec::as_slice);
        active == selected
            && inputs.iter().all(|input| {
                let aligned = relay != TWINS || !input["aligned_with"].is_null();
                if input["name"] == *active { input["state"] == "live" } else { input["state"] == "standby" && aligned }
            })
    };
    let end = Instant::now() + RECOVERY;
    loop {
        let seen = stage::status(relayd, relay).await;
        match seen {
            Ok(status) if is_well(&status) => return Ok(()),
            Ok(status) if Instant::now() > end => {
                return Err(format!("not well within {RECOVERY:?}: {}", status["inputs"]));
            }
            Err(failure) => return Err(failure),
            Ok(_) => sleep(Duration::from_millis(200)).await,
        }
    }
}

/// Waits until frames come again.
async fn live(stage: &Stage, output: usize) -> Result<(), String> {
    let end = Instant::now() + RECOVERY;
    while !stage.platforms[output].judge.is_live() {
        if Instant::now() > end {
            return Err(format!("nothing comes within {RECOVERY:?}"));
        }
        sleep(Duration::from_millis(200)).await;
    }
    Ok(())
}

/// How long a party may take to be well again.
const RECOVERY: Duration = Duration::from_secs(45);
/// A publisher's silence up to this, in seconds, is no loss to the daemon.
const SHORT_STALL: u64 = 2;
