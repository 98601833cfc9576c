use flv::{Kind, Tag};
use relay::{FailoverPolicy, LogPolicy, Report, TimelinePolicy};
use rtmp::ingest::{Ingest, IngestLimits};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::{
    config::{InputConfig, InputSource, LimitsConfig, NetworkConfig, OnDuplicate, Origin, PushConfig},
    egress::Egress,
    ingest::{Publisher, PushKeys},
    resolver::Resolver,
    stream::Stream,
};

/// A relay with one push input, to which nobody publishes.
fn task(failover: FailoverPolicy) -> RelayTask {
    let (limits, tls) = (Arc::new(LimitsConfig::default()), TlsConfigs::load());
    let egress = Arc::new(EgressPolicy::new(&NetworkConfig::default(), false));
    let shared = Shared {
        inputs: input::Shared {
            tls: tls.native(),
            push_keys: PushKeys::default(),
            resolver: Resolver::system(),
            egress: Egress::Trusted,
            limits: Arc::clone(&limits),
        },
        egress,
        census: Arc::new(Census::new(&limits)),
        lanes: Lanes::start().expect("threads"),
        tls,
        points: PublishPoints::default(),
        events: EventBus::default(),
        watch_with: Arc::default(),
        hooks: TestHooks::from_env(),
    };
    let push = PushConfig {
        key: "live/key".to_owned().into(),
        tx_key: None,
        on_duplicate: OnDuplicate::Reject,
        replace_after: Duration::ZERO,
        idle_timeout: Duration::from_secs(10),
    };
    let config = RelayConfig {
        name: "r".to_owned(),
        title: String::new(),
        origin: Origin::File,
        autostart: true,
        inputs: vec![InputConfig { name: "studio".to_owned(), source: InputSource::Push(push) }],
        failover,
        timeline: TimelinePolicy::default(),
        log: LogPolicy::default(),
        outputs: vec![],
    };
    RelayTask::new(config, shared, CancellationToken::new()).0
}

/// Whoever hears that a relay has started may send a publisher at once, before the input's task has its turn.
#[tokio::test]
async fn the_keys_of_a_relay_that_has_started_are_known() {
    let mut task = task(FailoverPolicy::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let stream = Stream::Plain(TcpStream::connect(address).await.expect("a connection"));
    let (guest, _pushed_out) = task.shared.census.enter(address).expect("there is room");
    let publisher = Box::new(Publisher { stream, session: Ingest::new(IngestLimits::default()), guest });
    // No task of the relay has a turn until the lane is let go.
    let (lane_is_held, held) = std::sync::mpsc::channel();
    let (_let_go, go) = std::sync::mpsc::channel::<()>();
    task.lane().handle().spawn(async move {
        lane_is_held.send(()).expect("the test waits");
        let _ = go.recv();
    });
    held.recv().expect("the lane runs");
    task.start(Instant::now());
    let admitted = task.shared.inputs.push_keys.admit((b"live", b"key"), publisher, 0, Instant::now());
    assert!(admitted.is_ok(), "{:?}", admitted.err().map(|(_, cause)| cause));
}

/// Without a hold the last frames and the end of the programme are decided at once: no output may begin with those.
#[tokio::test]
async fn what_was_relayed_before_the_programme_ends_belongs_to_it() {
    let mut task = task(FailoverPolicy { hold: Duration::ZERO, ..FailoverPolicy::default() });
    let now = Instant::now();
    task.start(now);
    let failover = &mut task.running.as_mut().expect("it runs").failover;
    failover.handle(0, Report::Connected, now);
    for body in [&[0x17, 0, 0, 0, 0, 1][..], &[0x17, 1, 0, 0, 0, 2], &[0x27, 1, 0, 0, 0, 3]] {
        failover.handle(0, Report::Tag(Tag { kind: Kind::Video, timestamp: 0, body: body.to_vec().into() }), now);
    }
    failover.handle(0, Report::Lost { reason: Reason::Eof }, now);
    task.act(now);
    let log = task.fanout.log();
    assert_eq!((log.end(), log.programme(), log.entry_point()), (3, 1, None));
}
