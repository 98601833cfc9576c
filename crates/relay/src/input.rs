//! One input as the decisions see it: its connection, its repaired line, its newest tags.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use flv::{Class, Kind, Tag, amf0};

use crate::{
    alignment::{Alignment, Mark, Print},
    anchor::Anchor,
    bitrate::Bitrate,
    fault::{Fault, FaultCounts, FaultKind, Reason},
    health::{Health, Tracks, Trouble},
    policy::{FailoverPolicy, LogPolicy, OnFault, TimelinePolicy},
    repair::{Repair, Track},
    ring::{Held, Ring},
};

/// How an input comes by its media, as far as decisions depend on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputKind {
    /// relayd connects and reads.
    Pull,
    /// A publisher connects to relayd.
    Push,
    /// A list of files that plays from its first item whenever the input begins to feed.
    Vod,
}

/// Where an input's connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// Not wanted, or (push) nobody publishes.
    Idle,
    /// On the way.
    Connecting,
    /// A vod that is opened and validated and waits for its turn.
    Ready,
    /// Connected.
    Up,
    /// Told to begin anew; its task has not reported yet.
    Restarting,
    /// Waiting before the next attempt.
    Backoff,
    /// A vod that has played all its loops.
    Ended,
}

/// An input's numbers since the relay was started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InputCounters {
    /// Bytes received.
    pub bytes: u64,
    /// Audio tags received.
    pub audio_tags: u64,
    /// Video tags received.
    pub video_tags: u64,
    /// Script tags received.
    pub script_tags: u64,
    /// Tags without a body, dropped.
    pub empty_tags: u64,
    /// Tags dropped because the keyframe or the sequence header that they need had not come before them.
    pub unstarted_tags: u64,
    /// End-of-sequence tags, dropped: decoders stop at them, and the programme goes on.
    pub sequence_ends: u64,
    /// Media tags that went into the log.
    pub relayed_tags: u64,
    /// Media tags that were kept and not relayed: those of a standby, and those before a splice.
    pub passed_over_tags: u64,
    /// Script tags dropped: not onMetaData, or not sound AMF0.
    pub dropped_scripts: u64,
    /// Metadata and sequence headers too large to be taken for such.
    pub oversized_headers: u64,
    /// Connections after the first.
    pub reconnects: u64,
}

/// One input's state. Its task reports events; [`Failover`](crate::Failover) owns it.
#[derive(Debug)]
pub struct Input {
    /// Its name in the configuration.
    pub name: String,
    /// Its kind.
    pub kind: InputKind,
    pub(crate) link: Link,
    pub(crate) ring: Ring,
    pub(crate) anchor: Anchor,
    pub(crate) alignment: Alignment,
    pub(crate) counters: InputCounters,
    pub(crate) faults: FaultCounts,
    /// It has failed at least once since it was wanted.
    pub(crate) has_failed: bool,
    /// Its task has been told to connect.
    pub(crate) wanted: bool,
    /// A vod that was told to play.
    pub(crate) playing: bool,
    /// The trouble last told, so that it is told once.
    pub(crate) told: Option<Reason>,
    epoch: Instant,
    timeline: TimelinePolicy,
    repair: Repair,
    health: Health,
    ever: Tracks,
    /// The framing was lost, or a header was not taken: video waits for a keyframe.
    broken: bool,
    /// An audio header was not taken: audio waits for one that is.
    audio_waits: bool,
    has_connected: bool,
    healthy_since: Option<Instant>,
    pub(crate) bitrate: Bitrate,
}

impl Input {
    pub(crate) fn new(
        name: String,
        kind: InputKind,
        timeline: TimelinePolicy,
        ring: LogPolicy,
        epoch: Instant,
    ) -> Self {
        Self {
            name,
            kind,
            link: Link::Idle,
            ring: Ring::new(ring),
            anchor: Anchor::new(epoch),
            alignment: Alignment::new(ring.reach_ms()),
            counters: InputCounters::default(),
            faults: FaultCounts::default(),
            has_failed: false,
            wanted: false,
            playing: false,
            told: None,
            epoch,
            repair: Repair::new(timeline.max_jump),
            timeline,
            health: Health::new(epoch),
            ever: Tracks::default(),
            broken: false,
            audio_waits: false,
            has_connected: false,
            healthy_since: None,
            bitrate: Bitrate::new(epoch),
        }
    }

    /// Goes on counting where `before`, which has its name, ends. Nothing else of that one stays.
    pub(crate) fn count_on(&mut self, before: &Self) {
        self.counters = before.counters;
        self.faults = before.faults;
        self.has_connected = before.has_connected;
        self.ring.count_on(&before.ring);
    }

    /// Other limits hold from now on; the connection goes on.
    pub(crate) fn set_policies(&mut self, timeline: TimelinePolicy, ring: LogPolicy) {
        self.repair.set_max_jump(timeline.max_jump);
        self.timeline = timeline;
        for class in self.ring.set_policy(ring) {
            self.refuse(class);
        }
        self.alignment.marks.set_reach(ring.reach_ms());
    }

    /// A new connection: a new line, no memory of the tags before.
    pub(crate) fn connected(&mut self, now: Instant) {
        if std::mem::replace(&mut self.has_connected, true) {
            self.counters.reconnects += 1;
        }
        self.link = Link::Up;
        self.ring.clear();
        self.anchor = Anchor::new(self.epoch);
        self.alignment = Alignment::new(self.alignment.marks.reach());
        self.repair = Repair::new(self.timeline.max_jump);
        self.health = Health::new(now);
        self.broken = false;
        self.audio_waits = false;
        self.told = None;
        self.healthy_since = Some(now);
        self.bitrate = Bitrate::new(now);
    }

    /// A vod has been validated.
    pub(crate) fn ready(&mut self, now: Instant) {
        self.disconnected(Link::Ready);
        self.healthy_since = Some(now);
    }

    /// The connection is gone.
    pub(crate) fn disconnected(&mut self, link: Link) {
        self.link = link;
        self.ring.clear();
        self.alignment = Alignment::new(self.alignment.marks.reach());
        self.playing = false;
        self.healthy_since = None;
        self.told = None;
    }

    pub(crate) fn received(&mut self, bytes: u64, now: Instant) {
        self.counters.bytes += bytes;
        self.health.bytes(now);
        self.bitrate.add(bytes, now);
    }

    /// A vod waits by itself until `at`: it is not silent before.
    pub(crate) fn is_due(&mut self, at: Instant) {
        self.health.bytes(at);
    }

    /// Takes a tag in; media lands in the ring. Returns a fault to be told.
    pub(crate) fn observe(&mut self, tag: Tag, metadata: &amf0::Limits, now: Instant) -> Option<Fault> {
        let class = tag.class();
        self.health.tag(now);
        match tag.kind {
            Kind::Audio => self.counters.audio_tags += 1,
            Kind::Video => self.counters.video_tags += 1,
            Kind::Script => self.counters.script_tags += 1,
        }
        match class {
            Class::Empty => self.counters.empty_tags += 1,
            Class::Script => self.counters.dropped_scripts += 1,
            // A body that some platform's parser would choke on is not handed on.
            Class::Metadata if amf0::scan(&tag.body, metadata).is_err() => {
                self.counters.dropped_scripts += 1;
            }
            Class::Metadata | Class::VideoHeader | Class::AudioHeader => {
                if !self.ring.observe_header(class, &tag.body) {
                    self.refuse(class);
                } else if class == Class::AudioHeader {
                    self.audio_waits = false;
                }
            }
            Class::VideoEnd => self.counters.sequence_ends += 1,
            Class::Key | Class::Inter | Class::Disposable | Class::VideoOther => {
                return self.media(Track::Video, class, tag, now);
            }
            Class::Audio => return self.media(Track::Audio, class, tag, now),
        }
        None
    }

    /// A header of this class is too large to be taken for one: what it belongs to waits for another.
    fn refuse(&mut self, class: Class) {
        self.counters.oversized_headers += 1;
        self.broken |= class == Class::VideoHeader;
        self.audio_waits |= class == Class::AudioHeader;
    }

    fn media(&mut self, track: Track, class: Class, tag: Tag, now: Instant) -> Option<Fault> {
        match track {
            Track::Audio => self.ever.audio = true,
            Track::Video => self.ever.video = true,
        }
        let placed = self.repair.place(track, tag.timestamp, now);
        let decodable = class != Class::Key || self.ring.headers().video.is_some() || !needs_header(&tag);
        let class_seen = if decodable { class } else { Class::Inter };
        let waits = match track {
            Track::Audio => self.audio_waits,
            Track::Video => self.broken && class_seen != Class::Key,
        };
        // Audio that is not relayed is missed like audio that does not come.
        if track == Track::Video || !waits {
            self.health.media(track, class_seen, placed.dts, now);
        }
        self.anchor.observe(placed.dts, now);
        if placed.wrapped {
            self.faults.add(FaultKind::Wrap);
        }
        if let Some(fault) = placed.fault {
            self.count_fault(fault.kind, now);
        }
        if track == Track::Video && class_seen == Class::Key {
            self.broken = false;
        }
        if waits || !decodable {
            self.counters.unstarted_tags += 1;
        } else {
            let headers = Arc::clone(self.ring.headers());
            let print = Print::of(track, &tag.body);
            let (dts, raw, number) = (placed.dts, tag.timestamp, self.ring.end());
            self.alignment.marks.push(track, Mark { print, dts, raw: Some(raw), number });
            self.ring.push(Held {
                track,
                class,
                dts,
                arrived: now,
                raw,
                print,
                body: tag.body,
                relayed: false,
                headers,
            });
        }
        placed.fault
    }

    /// The framing was lost and found again: inter frames refer to frames that are gone.
    pub(crate) fn resynced(&mut self, now: Instant) {
        self.broken = true;
        self.count_fault(FaultKind::Resync, now);
    }

    fn count_fault(&mut self, kind: FaultKind, now: Instant) {
        self.faults.add(kind);
        let leave = self.timeline.on_fault == OnFault::Failover && kind != FaultKind::Repeat;
        self.health.fault(self.timeline.fault_limit, leave, now);
    }

    /// What is wrong with the connection, if there is one. A vod is paced by relayd itself: all that can be wrong with it
    /// is that it waits for its bytes.
    pub(crate) fn trouble(&mut self, policy: &FailoverPolicy, now: Instant) -> Option<Trouble> {
        if self.link != Link::Up {
            return None;
        }
        let trouble = match self.kind {
            InputKind::Vod => self.health.starvation(policy, now),
            InputKind::Pull | InputKind::Push => self.health.trouble(policy, self.ever, now),
        };
        match trouble {
            Some(_) => self.healthy_since = None,
            None => self.healthy_since = self.healthy_since.or(Some(now)),
        }
        trouble
    }

    /// The ring has a place to begin: a keyframe, or audio when three seconds brought no video.
    pub(crate) fn entry_point(&self, now: Instant) -> Option<u64> {
        if self.link != Link::Up {
            return None;
        }
        // A ring without video holds nothing but audio: its newest tag will do.
        self.ring.newest_key().or_else(|| self.ring.newest().filter(|_| self.is_audio_only(now)))
    }

    /// Three seconds have brought audio and no video.
    pub(crate) fn is_audio_only(&self, now: Instant) -> bool {
        !self.health.has_video() && now.saturating_duration_since(self.health.since()) >= AUDIO_ONLY
    }

    /// It could feed, or (vod) could be told to.
    pub(crate) fn is_usable(&self, now: Instant) -> bool {
        self.link == Link::Ready || self.entry_point(now).is_some()
    }

    /// Usable, and without trouble since when.
    pub(crate) fn healthy_since(&self, now: Instant) -> Option<Instant> {
        match self.link {
            Link::Ready => self.healthy_since,
            _ if self.is_usable(now) => self.healthy_since,
            _ => None,
        }
    }

    /// When the next keyframe is due.
    pub(crate) fn next_key(&self) -> Option<Instant> {
        self.health.next_key()
    }

    /// The usual distance of keyframes in ms, once two have come.
    pub fn gop_ms(&self) -> Option<u64> {
        self.health.gop().map(|gop| u64::try_from(gop.as_millis()).unwrap_or(u64::MAX))
    }

    /// Bits per second received lately.
    pub fn bitrate(&self) -> u64 {
        if self.link == Link::Up { self.bitrate.bits() } else { 0 }
    }

    /// Its numbers.
    pub fn counters(&self) -> InputCounters {
        InputCounters { passed_over_tags: self.ring.passed_over(), ..self.counters }
    }

    /// Its faults.
    pub fn faults(&self) -> &FaultCounts {
        &self.faults
    }
}

/// Codecs whose frames say nothing without a sequence header.
fn needs_header(tag: &Tag) -> bool {
    use flv::codec::VideoCodec::{Av1, Avc, Hevc, HevcLegacy, Vvc};
    flv::codec::video(&tag.body).is_some_and(|peek| matches!(peek.codec, Avc | Hevc | HevcLegacy | Av1 | Vvc))
}

/// This long without video makes a stream an audio stream.
const AUDIO_ONLY: Duration = Duration::from_secs(3);
