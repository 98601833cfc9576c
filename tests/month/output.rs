//! An output without a socket: what its session writes is read by every make of peer.

use std::{collections::VecDeque, time::Instant};

use bytes::Bytes;
use flv::Class;
use relay::{Batch, Cursor, Log, OutputPolicy, Placed, Reading, SET_DATA_FRAME, Stretch};
use rtmp::wire::{CHUNK_SIZE, MediaWriter};
use testkit::readers::{Message, Personality, Reader};

/// What the log should hold, kept beside it.
#[derive(Debug, Default)]
pub(crate) struct Relayed {
    entries: VecDeque<Placed>,
    first: u64,
    headers: [Option<Placed>; 3],
}

impl Relayed {
    pub(crate) fn push(&mut self, placed: Placed, log: &Log) {
        let slot = match placed.class {
            Class::Metadata => Some(0),
            Class::VideoHeader => Some(1),
            Class::AudioHeader => Some(2),
            _ => None,
        };
        if let Some(slot) = slot {
            self.headers[slot] = Some(placed.clone());
        }
        self.entries.push_back(placed);
        let gone = log.start() - self.first;
        self.entries.drain(..gone as usize);
        self.first = log.start();
        assert_eq!(self.first + self.entries.len() as u64, log.end());
    }

    fn get(&self, number: u64) -> Option<&Placed> {
        self.entries.get(number.checked_sub(self.first)? as usize)
    }
}

/// One publish session from its join on.
#[derive(Debug)]
pub(crate) struct Output {
    cursor: Cursor,
    writer: Option<MediaWriter>,
    /// The entry that comes next, and the DTS at which the session began.
    next: Option<(u64, i64)>,
    readers: Vec<Reader>,
    pieces: Vec<Bytes>,
    bytes: Vec<u8>,
    /// The highest timestamp sent, before any modulus.
    reached: i64,
    messages: u64,
    /// How often it sent just what all outputs in step send, and how often it read the log by itself.
    stepped: u64,
    read: u64,
    /// Edges of timestamps that were crossed in step.
    edges_in_step: Vec<i64>,
    /// It is never in step.
    alone: bool,
}

impl Output {
    pub(crate) fn new(personalities: &[Personality]) -> Self {
        let reader = |&personality: &Personality| Reader::new(personality).with_chunk_size(CHUNK_SIZE);
        Self {
            cursor: Cursor::new(OutputPolicy::default()),
            writer: None,
            next: None,
            readers: personalities.iter().map(reader).collect(),
            pieces: Vec::new(),
            bytes: Vec::new(),
            reached: 0,
            messages: 0,
            stepped: 0,
            read: 0,
            edges_in_step: Vec::new(),
            alone: false,
        }
    }

    /// One that always reads the log by itself.
    pub(crate) fn alone(self) -> Self {
        Self { alone: true, ..self }
    }

    /// The highest timestamp sent, before any modulus.
    pub(crate) fn reached(&self) -> i64 {
        self.reached
    }

    /// Messages that every reader has read.
    pub(crate) fn messages(&self) -> u64 {
        self.messages
    }

    /// How often it sent just what all outputs in step send, and how often it read the log by itself.
    pub(crate) fn ways(&self) -> (u64, u64) {
        (self.stepped, self.read)
    }

    /// Edges of timestamps that were crossed in step.
    pub(crate) fn edges_in_step(&self) -> &[i64] {
        &self.edges_in_step
    }

    /// Sends what there is, as a flusher does, and sees that every reader makes of it what went into the log. `stretch` is
    /// what is new since it was last called.
    pub(crate) fn pump(&mut self, stretch: Option<&Stretch>, log: &Log, relayed: &Relayed, now: Instant) {
        let before = self.reached;
        let in_step = !self.alone && stretch.is_some_and(|stretch| self.step(stretch, now));
        if in_step {
            self.stepped += 1;
        } else {
            if !self.read(log, now) {
                return;
            }
            self.read += 1;
        }
        self.bytes.clear();
        for piece in self.pieces.drain(..) {
            self.bytes.extend_from_slice(&piece);
        }
        for reader in &mut self.readers {
            reader.push(&self.bytes);
        }
        if self.next.is_none() {
            let entry_point = log.entry_point().expect("the cursor has found one");
            let base = relayed.get(entry_point).expect("it is held").dts;
            for header in relayed.headers.iter().flatten() {
                self.expect(header, base, base);
            }
            self.next = Some((entry_point, base));
        }
        let (mut next, base) = self.next.expect("set above");
        while let Some(placed) = relayed.get(next) {
            let is_header = matches!(placed.class, Class::Metadata | Class::VideoHeader | Class::AudioHeader);
            // Audio from before the first keyframe belongs to no session.
            if placed.dts >= base || is_header {
                self.expect(placed, placed.dts, base);
            }
            next += 1;
        }
        self.next = Some((next, base));
        if in_step {
            self.edges_in_step.extend(EDGES.into_iter().filter(|edge| (before + 1..=self.reached).contains(edge)));
        }
        for reader in &mut self.readers {
            assert_eq!(reader.next(), Ok(None));
            assert!(reader.between_messages(), "{:?} has read short", reader.personality());
        }
    }

    fn step(&mut self, stretch: &Stretch, now: Instant) -> bool {
        let Some(writer) = &mut self.writer else { return false };
        let in_step = self.cursor.step(stretch, now, || writer.continue_with(stretch.run()));
        if in_step {
            self.pieces.extend(stretch.run().slices().iter().cloned());
        }
        in_step
    }

    /// False if there is no place to begin yet.
    fn read(&mut self, log: &Log, now: Instant) -> bool {
        let (writer, pieces) = (&mut self.writer, &mut self.pieces);
        let reading = self.cursor.read(log, now, Batch { tags: u64::MAX, bytes: usize::MAX }, |form, dts| {
            writer.get_or_insert_with(|| MediaWriter::new(1, dts)).write_at(form, dts, pieces);
        });
        match reading {
            Reading::NoEntryPoint => false,
            Reading::Read { more: false, .. } => true,
            other => panic!("{other:?} at {now:?}"),
        }
    }

    fn expect(&mut self, placed: &Placed, dts: i64, base: i64) {
        let timestamp = dts.max(base) - base;
        self.reached = self.reached.max(timestamp);
        self.messages += 1;
        let (type_id, prefix) = match placed.class {
            Class::Metadata => (18, SET_DATA_FRAME),
            Class::Audio | Class::AudioHeader => (8, &[][..]),
            _ => (9, &[][..]),
        };
        for reader in &mut self.readers {
            let personality = reader.personality();
            let message = reader.next().unwrap_or_else(|offence| panic!("{personality:?}: {offence}"));
            let Message { type_id: its_type, timestamp: its_time, payload, .. } =
                message.unwrap_or_else(|| panic!("{personality:?} misses {:?} at {timestamp}", placed.class));
            let want = (type_id, timestamp as u32 & personality.mask());
            assert_eq!((its_type, its_time), want, "{personality:?} at {timestamp}");
            let body = payload.strip_prefix(prefix).expect("the name that servers expect before metadata");
            assert!(body == placed.body, "{personality:?} reads another body at {timestamp}");
        }
    }
}

/// From here on a timestamp needs the extended field, has its highest bit set, begins again at 0.
pub(crate) const EDGES: [i64; 3] = [0x00FF_FFFF, 1 << 31, 1 << 32];
