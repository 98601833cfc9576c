//! What all outputs that are in step read next, made ready once.

use std::time::Instant;

use rtmp::wire::Run;

use crate::{cursor::Batch, log::Log};

/// The entries from one place of the log to its end, as one run of shared forms.
///
/// An output that has read up to there, is in time and leaves nothing out would read just these
/// ([`Cursor::step`](crate::Cursor::step)): thousands of them then cost one look at the log.
#[derive(Clone, Debug)]
pub struct Stretch {
    pub(crate) from: u64,
    pub(crate) end: u64,
    /// When the first of them came into the log.
    pub(crate) oldest: Instant,
    pub(crate) min_dts: i64,
    pub(crate) bytes: u64,
    pub(crate) replaces_header: bool,
    run: Run,
}

impl Stretch {
    /// None if there is nothing from there on, if it is gone, too much for one `batch`, or not to be shared.
    pub fn new(log: &Log, from: u64, batch: Batch) -> Option<Self> {
        let oldest = log.get(from)?.arrived;
        let (end, bytes) = (log.end(), log.bytes_from(from));
        if end - from > batch.tags || bytes > batch.bytes as u64 {
            return None;
        }
        let entries = || (from..end).filter_map(|number| log.get(number));
        let run = Run::new(entries().map(|entry| &entry.wire))?;
        let min_dts = entries().map(|entry| entry.dts).min()?;
        let replaces_header = entries().any(|entry| entry.replaces_header);
        Some(Self { from, end, oldest, min_dts, bytes, replaces_header, run })
    }

    /// The entries' bytes.
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// How many entries they are.
    pub fn tags(&self) -> u64 {
        self.end - self.from
    }

    /// When the first of them came into the log.
    pub fn oldest(&self) -> Instant {
        self.oldest
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use flv::Class;
    use proptest::prelude::*;
    use rtmp::wire::MediaWriter;

    use super::*;
    use crate::{Cursor, Flush, LogPolicy, OnFormatChange, OutputPolicy, Placed};

    const BATCH: Batch = Batch { tags: 8, bytes: 4_000 };

    /// An output that reads one way or the other.
    struct Output {
        cursor: Cursor,
        writer: Option<MediaWriter>,
        stepped: u64,
    }

    impl Output {
        fn new(policy: OutputPolicy) -> Self {
            Self { cursor: Cursor::new(policy), writer: None, stepped: 0 }
        }

        fn read(&mut self, log: &Log, now: Instant) -> Vec<u8> {
            let mut out = Vec::new();
            let writer = &mut self.writer;
            let reading = self.cursor.read(log, now, BATCH, |form, dts| {
                writer.get_or_insert_with(|| MediaWriter::new(1, dts)).write_at(form, dts, &mut out);
            });
            let mut bytes = out.concat();
            bytes.extend(format!("{reading:?}").bytes());
            bytes
        }

        fn step_or_read(&mut self, stretch: Option<&Stretch>, log: &Log, now: Instant) -> Vec<u8> {
            if let (Some(stretch), Some(writer)) = (stretch, &mut self.writer)
                && self.cursor.step(stretch, now, || writer.continue_with(stretch.run()))
            {
                self.stepped += 1;
                let reading = crate::Reading::Read { tags: stretch.tags(), more: false };
                return [&stretch.run().slices().concat()[..], format!("{reading:?}").as_bytes()].concat();
            }
            self.read(log, now)
        }
    }

    fn class(draw: u8) -> Class {
        match draw {
            0 => Class::Key,
            1 => Class::VideoHeader,
            2 => Class::AudioHeader,
            3 => Class::Metadata,
            4..=6 => Class::Disposable,
            7..=11 => Class::Inter,
            _ => Class::Audio,
        }
    }

    #[test]
    fn an_output_that_keeps_up_steps() {
        let mut log = Log::new(LogPolicy::default());
        let mut output = Output::new(OutputPolicy::default());
        let (mut from, now) = (0, Instant::now());
        for n in 0..100 {
            let class = if n % 25 == 0 { Class::Key } else { Class::Inter };
            log.push(&Placed { class, dts: n * 40, body: Bytes::from_static(&[1; 100]) }, now);
            let stretch = Stretch::new(&log, from, BATCH);
            from = log.end();
            output.step_or_read(stretch.as_ref(), &log, now);
        }
        assert_eq!(output.stepped, 99);
    }

    proptest! {
        /// `(class, DTS step, body, ms that pass, read or not)`: what is skipped now is late later.
        #[test]
        fn a_step_is_what_a_read_would_have_been(
            tags in proptest::collection::vec((0u8..24, -30i64..90, 1usize..1_500, 0u64..90, 0u8..10), 1..200),
            max_lag in 200u64..2_000,
            reconnects in any::<bool>(),
            interval in proptest::option::of(1u64..1_000),
        ) {
            let on_format_change = if reconnects { OnFormatChange::Reconnect } else { OnFormatChange::Inband };
            let max_lag = Duration::from_millis(max_lag);
            let flush = interval.map_or(Flush::Frame, |ms| Flush::Every(Duration::from_millis(ms)));
            let policy = OutputPolicy { flush, max_lag, max_lag_bytes: 20_000, on_format_change, ..OutputPolicy::default() };
            let (mut reads, mut steps) = (Output::new(policy), Output::new(policy));
            let mut log = Log::new(LogPolicy { max_time: Duration::from_secs(3), max_bytes: 64 << 10 });
            let (mut from, mut now, mut dts) = (0, Instant::now(), 0i64);
            for (draw, step, len, passes, turn) in tags {
                dts += step + if draw == 0 && step == 0 { 0x0100_0000 } else { 0 };
                now += Duration::from_millis(passes);
                log.push(&Placed { class: class(draw), dts, body: Bytes::from(vec![draw; len]) }, now);
                let stretch = Stretch::new(&log, from, BATCH);
                if turn > 6 {
                    from = log.end();
                }
                if turn > 3 {
                    let read = reads.read(&log, now);
                    prop_assert_eq!(read, steps.step_or_read(stretch.as_ref(), &log, now));
                }
            }
        }
    }
}
