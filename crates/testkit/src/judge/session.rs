//! One session, message by message: for tests that run too long to keep what was sent.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use flv::Class;

use crate::encode::{Encode, Id, Track};
use crate::ingest::Received;

/// Where frames may come from.
#[derive(Clone, Debug)]
pub enum Source {
    /// A live encode.
    Live(Encode),
    /// The first so many ms of an encode, over and over; a multiple of [`Source::SEAMLESS`].
    Loop(Encode, u64),
}

/// A place where a track does not go on with the very next frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Break {
    /// The last frame before it.
    pub before: Id,
    /// The first frame behind it.
    pub after: Id,
    /// How many frames of the source are missing; None where the track goes on elsewhere: in another encode, or earlier.
    pub missing: Option<u64>,
}

/// What must hold for a session without knowing what comes later: frames are genuine, timestamps never go back, audio and
/// video lie on one clock that moves at breaks only, headers come once, messages are well formed. It remembers where
/// things stand, and no messages.
#[derive(Debug)]
pub struct Session {
    sources: Arc<[Source]>,
    tolerance: i64,
    /// By type: the chunk stream, the last timestamp, the last sequence header.
    chunk_streams: BTreeMap<u8, u32>,
    times: BTreeMap<u8, u32>,
    headers: BTreeMap<u8, Bytes>,
    stream_id: Option<u32>,
    places: BTreeMap<Track, Place>,
    /// Timestamp minus position, of the newest frames.
    offsets: BTreeMap<Track, i64>,
    /// The same of the first frames since the last break.
    bases: BTreeMap<Track, i64>,
}

#[derive(Clone, Debug)]
struct Place {
    id: Id,
    /// How often a loop has begun anew.
    rounds: u64,
}

impl Source {
    /// Where both tracks of a file end together, in ms: anything else leaves a seam that is not the relay's.
    pub const SEAMLESS: u64 = 320;

    fn encode(&self) -> &Encode {
        match self {
            Self::Live(encode) | Self::Loop(encode, _) => encode,
        }
    }

    /// The frames of a track in one round; without end for a live encode.
    fn round(&self, track: Track) -> u64 {
        match (self, track) {
            (Self::Live(_), _) => u64::MAX,
            (Self::Loop(_, ms), Track::Video) => ms / 40,
            (Self::Loop(_, ms), Track::Audio) => ms * 3 / 64,
        }
    }

    fn length(&self) -> u64 {
        match self {
            Self::Live(_) => 0,
            Self::Loop(_, ms) => *ms,
        }
    }
}

impl Session {
    /// A session that has not begun. Audio and video may be `tolerance` ms apart.
    pub fn new(sources: Arc<[Source]>, tolerance: i64) -> Self {
        Self {
            sources,
            tolerance,
            chunk_streams: BTreeMap::new(),
            times: BTreeMap::new(),
            headers: BTreeMap::new(),
            stream_id: None,
            places: BTreeMap::new(),
            offsets: BTreeMap::new(),
            bases: BTreeMap::new(),
        }
    }

    /// Judges the next message. An error is an offence that nothing excuses; whether a break is one, the caller knows.
    pub fn take(&mut self, message: &Received) -> Result<Option<Break>, String> {
        self.form(message)?;
        let time = self.times.entry(message.kind.type_id()).or_insert(message.timestamp);
        let step = message.timestamp.wrapping_sub(*time);
        if step >= 1 << 31 {
            return Err(format!("{message:?} after {time}"));
        }
        *time = message.timestamp;
        match message.class() {
            Class::VideoHeader | Class::AudioHeader => {
                let before = self.headers.insert(message.kind.type_id(), message.body.clone());
                let again = before.is_some_and(|before| before == message.body);
                if again { Err(format!("{message:?} is sent twice")) } else { Ok(None) }
            }
            Class::Key | Class::Inter | Class::Disposable | Class::Audio => self.frame(message),
            _ => Ok(None),
        }
    }

    /// One chunk stream per track, a form that carries type and length, one message stream, no empty message.
    fn form(&mut self, message: &Received) -> Result<(), String> {
        let chunk_stream = *self.chunk_streams.entry(message.kind.type_id()).or_insert(message.chunk_stream);
        let stream_id = *self.stream_id.get_or_insert(message.stream_id);
        if message.form > 1
            || message.body.is_empty()
            || message.chunk_stream != chunk_stream
            || message.stream_id != stream_id
        {
            let Received { form, chunk_stream, stream_id, .. } = message;
            return Err(format!(
                "{message:?} has form {form}, chunk stream {chunk_stream}, message stream {stream_id}"
            ));
        }
        Ok(())
    }

    fn frame(&mut self, message: &Received) -> Result<Option<Break>, String> {
        let id = message.id().ok_or_else(|| format!("{message:?} carries no id"))?;
        let source = self.sources.iter().find(|source| source.encode().name() == id.encode);
        let source = source.ok_or_else(|| format!("{id:?} is of no source"))?;
        if source.encode().tag_of(&id).is_none_or(|tag| tag.body != message.body) {
            return Err(format!("the body of {id:?} differs from the source's"));
        }
        if self.places.is_empty() && (message.timestamp, message.class() == Class::Audio) != (0, false) {
            return Err(format!("the session begins with {message:?}"));
        }
        if !self.places.contains_key(&id.track) && id.track == Track::Video && message.class() != Class::Key {
            return Err(format!("the video begins with {message:?}"));
        }
        let mut rounds = 0;
        let mut found = None;
        if let Some(before) = self.places.get(&id.track) {
            let round = source.round(id.track);
            let same = before.id.encode == id.encode;
            let wraps = round < u64::MAX && id.index <= before.id.index;
            rounds = if same { before.rounds + u64::from(wraps) } else { 0 };
            let ahead = (id.index + if wraps { round } else { 0 }).checked_sub(before.id.index + 1);
            if !same || ahead != Some(0) {
                found = Some(Break { before: before.id.clone(), after: id.clone(), missing: ahead.filter(|_| same) });
            }
        }
        if let Some(found) = &found {
            if id.track == Track::Video && message.class() != Class::Key {
                return Err(format!("{message:?} is no keyframe and comes after {:?}", found.before));
            }
            self.offsets.clear();
            self.bases.clear();
        }
        let position = id.position() + rounds * source.length();
        let offset = i64::from(message.timestamp) - position.cast_signed();
        let moved = offset - *self.bases.entry(id.track).or_insert(offset);
        if moved.abs() > self.tolerance {
            return Err(format!("the clock has moved by {moved} ms at {message:?}"));
        }
        self.offsets.insert(id.track, offset);
        self.places.insert(id.track, Place { id, rounds });
        let (low, high) = (self.offsets.values().min(), self.offsets.values().max());
        if let (Some(low), Some(high)) = (low, high)
            && high - low > self.tolerance
        {
            return Err(format!("audio and video are {} ms apart at {message:?}", high - low));
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use flv::{Kind, Tag};
    use tokio::time::Instant;

    use super::*;

    fn received(tag: &Tag, timestamp: u32) -> Received {
        Received {
            kind: tag.kind,
            timestamp,
            body: tag.body.clone(),
            chunk_stream: u32::from(tag.kind.type_id()),
            form: 1,
            stream_id: 1,
            at: Instant::now(),
        }
    }

    /// Headers and the frames from position 3000 on.
    fn messages(encode: &Encode) -> Vec<Received> {
        let frames = encode.placed_from(3_000).take(200).map(|placed| placed.tag);
        let tags = encode.headers().into_iter().chain(frames);
        tags.map(|tag| received(&tag, tag.timestamp.saturating_sub(3_000))).collect()
    }

    fn judge(sources: &[Source], messages: &[Received]) -> Result<Vec<Break>, String> {
        let mut session = Session::new(sources.into(), 1);
        let breaks: Result<Vec<_>, _> = messages.iter().map(|message| session.take(message)).collect();
        Ok(breaks?.into_iter().flatten().collect())
    }

    #[test]
    fn a_good_session_has_no_breaks() {
        let encode = Encode::live("e");
        assert_eq!(judge(&[Source::Live(encode.clone())], &messages(&encode)), Ok(vec![]));
    }

    #[test]
    fn offences_are_told() {
        type Spoil = fn(&mut Vec<Received>);
        let spoils: [(&str, Spoil); 11] = [
            ("moved", |all| all.iter_mut().skip(80).for_each(|message| message.timestamp += 60)),
            ("begins with", |all| drop(all.remove(3))),
            ("begins with", |all| all.iter_mut().for_each(|message| message.timestamp += 1)),
            ("after", |all| all[60].timestamp -= 300),
            ("differs", |all| {
                let mut body = all[60].body.to_vec();
                *body.last_mut().unwrap() ^= 1;
                all[60].body = body.into();
            }),
            ("of no source", |all| all[60] = received(&Encode::live("other").tag(0).unwrap(), all[60].timestamp)),
            ("sent twice", |all| all.push(Received { timestamp: 9_999, ..all[1].clone() })),
            ("form 3", |all| all[60].form = 3),
            ("chunk stream 20", |all| all[60].chunk_stream = 20),
            ("message stream 2", |all| all[60].stream_id = 2),
            ("apart", |all| {
                let audio = all.iter_mut().filter(|message| message.class() == Class::Audio);
                audio.for_each(|message| message.timestamp += 60);
            }),
        ];
        let encode = Encode::live("e");
        for (offence, spoil) in spoils {
            let mut messages = messages(&encode);
            spoil(&mut messages);
            let told = judge(&[Source::Live(encode.clone())], &messages).unwrap_err();
            assert!(told.contains(offence), "{offence}: {told}");
        }
    }

    #[test]
    fn missing_frames_are_counted_and_a_gap_in_the_video_ends_with_a_keyframe() {
        let encode = Encode::live("e");
        let without = |from: u64, to: u64, track: Track| {
            let mut messages = messages(&encode);
            messages
                .retain(|message| message.id().is_none_or(|id| id.track != track || !(from..to).contains(&id.index)));
            judge(&[Source::Live(encode.clone())], &messages)
        };
        let breaks = without(80, 100, Track::Video).unwrap();
        assert_eq!(breaks.iter().map(|found| found.missing).collect::<Vec<_>>(), [Some(20)]);
        assert!(without(80, 90, Track::Video).unwrap_err().contains("no keyframe"));
        assert_eq!(without(150, 151, Track::Audio).unwrap()[0].missing, Some(1));
    }

    #[test]
    fn another_encode_and_repeated_frames_are_breaks_without_a_count() {
        let (first, second) = (Encode::live("first"), Encode::live("second"));
        let mut all = messages(&first)[..100].to_vec();
        let newest = all.last().unwrap().timestamp;
        all.extend(messages(&second).into_iter().skip(3).map(|message| {
            let timestamp = message.timestamp + newest + 40;
            Received { timestamp, ..message }
        }));
        let sources = [Source::Live(first.clone()), Source::Live(second)];
        let breaks = judge(&sources, &all).unwrap();
        assert_eq!(breaks.iter().map(|found| found.missing).collect::<Vec<_>>(), [None, None]);

        let mut all = messages(&first);
        let again = messages(&first).split_off(3);
        let newest = all.last().unwrap().timestamp;
        all.extend(again.into_iter().map(|message| {
            let timestamp = message.timestamp + newest + 40;
            Received { timestamp, ..message }
        }));
        let breaks = judge(&sources, &all).unwrap();
        assert_eq!(breaks.iter().map(|found| found.missing).collect::<Vec<_>>(), [None, None]);
    }

    #[test]
    fn a_loop_goes_on_with_its_first_frame() {
        let encode = Encode::live("e");
        let round: Vec<_> = encode.placed_from(0).take_while(|placed| placed.position < 3_200).collect();
        let all: Vec<_> = (0..3)
            .flat_map(|n| round.iter().map(move |placed| received(&placed.tag, placed.position as u32 + n * 3_200)))
            .collect();
        let sources = [Source::Loop(encode, 3_200)];
        assert_eq!(judge(&sources, &all), Ok(vec![]));
        let mut short = all;
        short.retain(|message| message.kind != Kind::Video || !(2_000..4_200).contains(&message.timestamp));
        assert_eq!(judge(&sources, &short).unwrap()[0].missing, Some(55));
    }
}
