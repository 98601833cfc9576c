//! Who takes part: sources, platforms, and the configuration of the daemon between them.

use std::{path::Path, sync::Arc, time::Duration};

use serde_json::Value;
use testkit::{Clock, Encode, Feed, Ingest, Origin, Publisher, Relayd, Served, Setup, http, judge::Source};
use tokio::sync::Mutex;

use super::{audience::OutputJudge, windows::Windows};

/// The relays by name.
pub(crate) const RELAYS: [&str; 4] = ["twins", "others", "pushed", "files"];
/// Two connections to one encode: whatever happens to one of them costs nothing.
pub(crate) const TWINS: usize = 0;
/// Two encodes of one broadcast: the programme passes at keyframes.
pub(crate) const OTHERS: usize = 1;
/// A publisher.
pub(crate) const PUSHED: usize = 2;
/// A file in a loop.
const FILES: usize = 3;

/// Which relay an output belongs to, over and over.
const SHARES: [usize; 10] = [TWINS, OTHERS, PUSHED, FILES, TWINS, OTHERS, TWINS, OTHERS, PUSHED, FILES];
/// About 1.5 Mbit/s.
const FRAME_BYTES: (usize, usize) = (40_000, 6_000);
/// The file's length in ms.
const FILE_MS: u64 = 60 * Source::SEAMLESS;

/// Everything but the daemon.
pub(crate) struct Stage {
    pub(crate) windows: Arc<Windows>,
    /// The inputs of the twins and of the others, primary first.
    pub(crate) pulls: [[Served; 2]; 2],
    pub(crate) platforms: Vec<Platform>,
    /// Whoever publishes at the moment.
    pub(crate) publisher: Mutex<Option<Publisher>>,
    pushed: Encode,
    file: Encode,
    config: String,
    _origin: Origin,
}

/// One output's server.
pub(crate) struct Platform {
    /// The output's id.
    pub(crate) id: String,
    pub(crate) relay: usize,
    pub(crate) ingest: Ingest,
    pub(crate) judge: Arc<OutputJudge>,
    /// Nothing is ever done to it: what it gets is what the relay makes.
    pub(crate) is_witness: bool,
}

impl Stage {
    pub(crate) async fn new(outputs: usize) -> Self {
        let clock = Clock::with_lead(Duration::from_secs(3));
        let encode = |name: &str| Encode::live(name).on(clock).frame_bytes(FRAME_BYTES.0, FRAME_BYTES.1);
        let (twin, one, two) = (encode("twin"), encode("one"), encode("two").header_variant(1));
        let (pushed, file) = (encode("pushed"), encode("file"));
        let origin = Origin::start().await;
        let pulls = [
            [origin.serve("primary", Feed::of(&twin)), origin.serve("backup", Feed::of(&twin).lag(200))],
            [origin.serve("one", Feed::of(&one)), origin.serve("two", Feed::of(&two))],
        ];
        let sources: [Arc<[Source]>; 4] = [
            [Source::Live(twin)].into(),
            [Source::Live(one), Source::Live(two)].into(),
            [Source::Live(pushed.clone())].into(),
            [Source::Loop(file.clone(), FILE_MS)].into(),
        ];
        let windows = Arc::new(Windows::default());
        let mut platforms: Vec<Platform> = Vec::new();
        for (output, &relay) in SHARES.iter().cycle().take(outputs).enumerate() {
            let clock = (relay != FILES).then_some(clock);
            let is_witness = platforms.iter().all(|platform| platform.relay != relay);
            let (sources, windows) = (Arc::clone(&sources[relay]), Arc::clone(&windows));
            let judge = Arc::new(OutputJudge::new(output, relay, sources, clock, is_witness, windows));
            let ingest = Ingest::before(judge.clone()).await;
            platforms.push(Platform { id: output.to_string(), relay, ingest, judge, is_witness });
        }
        let config = config(&pulls, &platforms);
        Self { windows, pulls, platforms, publisher: Mutex::default(), pushed, file, config, _origin: origin }
    }

    /// Starts a daemon, and the publisher anew.
    pub(crate) async fn start(&self, daemon: &Path) -> Relayd {
        let setup = Setup::new(daemon, self.config.clone()).file("loop.flv", self.file.file(FILE_MS));
        let relayd = setup.start().await;
        self.publish(&relayd).await;
        relayd
    }

    /// A publisher takes the place of whoever was there.
    pub(crate) async fn publish(&self, relayd: &Relayd) {
        let mut publisher = self.publisher.lock().await;
        *publisher = None;
        let url = format!("rtmp://{}/live/soak", relayd.ingest());
        // The place may still be taken by a publisher of whom the daemon has not noticed that it is gone.
        while publisher.is_none() {
            match Publisher::start(&url, &self.pushed).await {
                Ok(started) => *publisher = Some(started),
                Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    }
}

/// A relay's status; what is wrong with the answer when there is none.
pub(crate) async fn status(relayd: &Relayd, relay: usize) -> Result<Value, String> {
    let target = format!("/api/v1/relays/{}", RELAYS[relay]);
    let answer = http::request(relayd.admin(), "GET", &target, &[], b"").await;
    let answer = answer.map_err(|error| format!("{target}: {error}"))?;
    if answer.status == 200 { Ok(answer.json()) } else { Err(format!("{target}: {}", answer.text())) }
}

fn config(pulls: &[[Served; 2]; 2], platforms: &[Platform]) -> String {
    let mut config = "[ingest]\nlisten = \"127.0.0.1:0\"\n".to_owned();
    for (relay, name) in RELAYS.iter().enumerate() {
        config += &format!("[[relay]]\nname = \"{name}\"\n");
        match relay {
            TWINS | OTHERS => {
                for (name, feed) in ["primary", "backup"].iter().zip(&pulls[relay]) {
                    let retry = "retry = { min = \"100ms\", max = \"500ms\" }";
                    config += &format!("[[relay.input]]\nname = \"{name}\"\nurl = \"{}\"\n{retry}\n", feed.url());
                }
            }
            PUSHED => config += "[[relay.input]]\nname = \"publisher\"\ntype = \"push\"\nkey = \"live/soak\"\n",
            _ => config += "[[relay.input]]\nname = \"file\"\ntype = \"vod\"\nurls = [\"file:loop.flv\"]\nloops = -1\n",
        }
        config += "[relay.failover]\nrevert_after = \"5s\"\nmin_dwell = \"2s\"\nmax_reverts = \"1000/10m\"\n";
        for platform in platforms.iter().filter(|platform| platform.relay == relay) {
            let Platform { id, ingest, .. } = platform;
            let retry = "retry = { min = \"200ms\", max = \"2s\" }";
            config += &format!("[[relay.output]]\nid = \"{id}\"\nurl = \"{}\"\n{retry}\n", ingest.url(id));
        }
    }
    config
}
