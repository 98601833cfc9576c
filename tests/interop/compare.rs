//! What must hold between a recording and its source.

use std::collections::HashSet;
use std::ops::Range;

use crate::clip::{Clip, Packet, Track};

/// Where a recording lies in its source, as ranges of each track's packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) video: Range<usize>,
    pub(crate) audio: Range<usize>,
    /// Recorded DTS less the source's, in ms; one for both tracks.
    pub(crate) offset: i64,
}

/// A recording is a part of its source without a gap or a repeat: from a keyframe on and with the audio that follows it,
/// composition times and the distance between the tracks as they were.
pub(crate) fn part(source: &Clip, recording: &Clip) -> Result<Span, String> {
    let keyframe = recording.track(Track::Video).first().map(|packet| packet.md5.clone()).ok_or("no video")?;
    let start =
        source.0.iter().position(|packet| packet.md5 == keyframe).ok_or("the first frame is not the source's")?;
    if !source.0[start].key {
        return Err(format!("starts in mid-GOP: {:?}", source.0[start]));
    }
    let before = Clip(source.0[..start].to_vec());
    let after = Clip(source.0[start..].to_vec());
    let lengths = [Track::Video, Track::Audio].map(|track| run(&after, recording, track));
    let [video, audio] = lengths;
    let (video, audio) = (video?, audio?);
    let offset = one_offset(&after, recording)?;
    let skipped = |track| before.track(track).len();
    let range = |track, length| skipped(track)..skipped(track) + length;
    Ok(Span { video: range(Track::Video, video), audio: range(Track::Audio, audio), offset })
}

/// A recording is its source up to the end, from a keyframe of the first two seconds on.
pub(crate) fn whole(source: &Clip, recording: &Clip) -> Result<Span, String> {
    let span = part(source, recording)?;
    let begin = source.track(Track::Video)[span.video.start].dts - source.0[0].dts;
    if begin > 2000 {
        return Err(format!("starts {begin} ms after the source"));
    }
    to_the_end(source, &span).map(|()| span)
}

/// A part reaches the end of its source.
pub(crate) fn to_the_end(source: &Clip, span: &Span) -> Result<(), String> {
    for (track, end) in [(Track::Video, span.video.end), (Track::Audio, span.audio.end)] {
        let length = source.track(track).len();
        if end != length {
            return Err(format!("{track:?} ends after {end} of {length} packets"));
        }
    }
    Ok(())
}

/// DTS never go back on a track.
pub(crate) fn monotonic(recording: &Clip) -> Result<(), String> {
    for track in [Track::Video, Track::Audio] {
        if let Some(pair) = recording.track(track).windows(2).find(|pair| pair[1].dts < pair[0].dts) {
            return Err(format!("{track:?} goes back from {} to {}", pair[0].dts, pair[1].dts));
        }
    }
    Ok(())
}

/// Cuts a recording on each track before the first packet that is not of `first`.
pub(crate) fn split(recording: &Clip, first: &Clip) -> (Clip, Clip) {
    let known: HashSet<&str> = first.0.iter().map(|packet| packet.md5.as_str()).collect();
    cut(recording, |_, packets| packets.iter().position(|packet| !known.contains(packet.md5.as_str())))
}

/// Cuts a recording of a looped clip before each repeat of the clip's first packet of a track.
pub(crate) fn loops(recording: &Clip, clip: &Clip) -> Vec<Clip> {
    let (mut rounds, mut rest) = (Vec::new(), recording.clone());
    while !rest.0.is_empty() {
        let (round, more) = cut(&rest, |track, packets| {
            let first = clip.track(track)[0];
            packets.iter().skip(1).position(|packet| packet.md5 == first.md5).map(|index| index + 1)
        });
        rounds.push(round);
        rest = more;
    }
    rounds
}

fn cut(recording: &Clip, place: impl Fn(Track, &[&Packet]) -> Option<usize>) -> (Clip, Clip) {
    let (mut before, mut after) = (Clip::default(), Clip::default());
    for track in [Track::Video, Track::Audio] {
        let packets = recording.track(track);
        let (left, right) = packets.split_at(place(track, &packets).unwrap_or(packets.len()));
        before.0.extend(left.iter().copied().cloned());
        after.0.extend(right.iter().copied().cloned());
    }
    (before, after)
}

/// The number of packets that a recording has of a track, all of which are the first ones of the source.
fn run(source: &Clip, recording: &Clip, track: Track) -> Result<usize, String> {
    let (expected, seen) = (source.track(track), recording.track(track));
    let place = |md5: &str| expected.iter().position(|packet| packet.md5 == md5);
    for (index, packet) in seen.iter().enumerate() {
        if expected.get(index).is_none_or(|expected| expected.md5 != packet.md5) {
            let what = match place(&packet.md5) {
                Some(place) if place < index => format!("packet {place} again"),
                Some(place) => format!("packet {place}"),
                None => "a packet that is not the source's".to_owned(),
            };
            return Err(format!("{track:?}: {what} (dts {}) in place of packet {index}", packet.dts));
        }
    }
    if seen.is_empty() { Err(format!("{track:?}: nothing")) } else { Ok(seen.len()) }
}

/// The one difference between the DTS of a recording and its source, whose tracks start with the same packets.
fn one_offset(source: &Clip, recording: &Clip) -> Result<i64, String> {
    let mut offset = None;
    for track in [Track::Video, Track::Audio] {
        for (index, (sent, seen)) in source.track(track).into_iter().zip(recording.track(track)).enumerate() {
            if seen.pts - seen.dts != sent.pts - sent.dts {
                return Err(format!("{track:?}: the composition time of packet {index} has changed"));
            }
            let (this, expected) = (seen.dts - sent.dts, *offset.get_or_insert(seen.dts - sent.dts));
            if this != expected {
                return Err(format!("{track:?}: packet {index} is off by {this} ms, those before by {expected} ms"));
            }
        }
    }
    offset.ok_or_else(|| "nothing".to_owned())
}

mod tests {
    use super::*;

    /// A second of 25 frames in two GOPs with audio between them.
    fn clip(name: &str) -> Clip {
        let packet = |track, index: i64, ms| Packet {
            track,
            dts: index * ms,
            pts: index * ms + if track == Track::Video { 80 } else { 0 },
            key: track == Track::Audio || index % 10 == 0,
            md5: format!("{name} {track:?} {index}"),
        };
        let video = (0..25).map(|index| packet(Track::Video, index, 40));
        let mut packets: Vec<_> = video.chain((0..43).map(|index| packet(Track::Audio, index, 23))).collect();
        packets.sort_by_key(|packet| packet.dts);
        Clip(packets)
    }

    fn changed(change: impl FnOnce(&mut Vec<Packet>)) -> Clip {
        let mut clip = clip("a");
        change(&mut clip.0);
        clip
    }

    fn shift<'a>(packets: impl IntoIterator<Item = &'a mut Packet>, ms: i64) {
        for packet in packets {
            packet.dts += ms;
            packet.pts += ms;
        }
    }

    #[test]
    fn the_source_itself_is_whole() {
        let span = Span { video: 0..25, audio: 0..43, offset: 0 };
        assert_eq!(whole(&clip("a"), &clip("a")), Ok(span));
        let later = changed(|packets| shift(packets, 9));
        assert_eq!(whole(&clip("a"), &later).map(|span| span.offset), Ok(9));
    }

    #[test]
    fn a_part_is_found_where_it_lies_and_is_not_the_whole() {
        let end = changed(|packets| packets.retain(|packet| packet.dts >= 400));
        let span = part(&clip("a"), &end).unwrap();
        assert_eq!((span.video.clone(), span.audio.clone()), (10..25, 18..43));
        assert_eq!(to_the_end(&clip("a"), &span), Ok(()));
        let start = changed(|packets| packets.retain(|packet| packet.dts < 900));
        assert!(part(&clip("a"), &start).is_ok());
        assert!(whole(&clip("a"), &start).is_err());
    }

    #[test]
    fn every_difference_is_found() {
        type Change = fn(&mut Vec<Packet>);
        let changes: [(&str, Change); 9] = [
            ("lost", |packets| drop(packets.remove(20))),
            ("twice", |packets| packets.insert(20, packets[20].clone())),
            ("exchanged", |packets| packets.swap(30, 33)),
            ("other bytes", |packets| packets[40].md5.push('x')),
            ("one late", |packets| packets[40].dts += 1),
            ("composition time", |packets| packets[40].pts += 1),
            ("no video", |packets| packets.retain(|packet| packet.track == Track::Audio)),
            ("no audio", |packets| packets.retain(|packet| packet.track == Track::Video)),
            ("mid-GOP", |packets| packets.retain(|packet| packet.dts >= 440)),
        ];
        for (what, change) in changes {
            assert!(part(&clip("a"), &changed(change)).is_err(), "{what}");
        }
        let tracks_apart =
            changed(|packets| shift(packets.iter_mut().filter(|packet| packet.track == Track::Audio), 5));
        assert!(part(&clip("a"), &tracks_apart).is_err());
        assert!(part(&clip("a"), &clip("b")).is_err(), "another source");
    }

    #[test]
    fn a_step_back_is_found() {
        assert_eq!(monotonic(&clip("a")), Ok(()));
        assert!(monotonic(&changed(|packets| packets[40].dts -= 60)).is_err());
    }

    #[test]
    fn sources_and_rounds_are_told_apart() {
        let (a, b) = (clip("a"), clip("b"));
        let both = Clip([a.0.clone(), b.0.clone()].concat());
        let (first, second) = split(&both, &a);
        assert_eq!((part(&a, &first).is_ok(), part(&b, &second).is_ok()), (true, true));
        let rounds = loops(&Clip([a.0.clone(), a.0.clone(), a.0[..9].to_vec()].concat()), &a);
        assert_eq!(rounds.iter().map(|round| round.0.len()).collect::<Vec<_>>(), [68, 68, 9]);
    }
}
