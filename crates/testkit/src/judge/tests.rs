//! Every judgement lets a good session pass and notices its own offence.

use std::panic::catch_unwind;

use flv::Tag;
use tokio::time::Instant;

use super::*;

fn session(encode: &Encode, frames: usize) -> Record {
    let frames = encode.placed_from(3000).take(frames).map(|placed| placed.tag);
    let mut record = Record::default();
    for tag in encode.headers().into_iter().chain(frames) {
        record.messages.push(received(&tag, tag.timestamp.saturating_sub(3000)));
    }
    record
}

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

/// `judge` passes the session as it is and fails it once `spoil` has been at it.
fn notices(judge: fn(&Record), spoil: fn(&mut Vec<Received>)) {
    let mut record = session(&Encode::live("e"), 100);
    judge(&record);
    spoil(&mut record.messages);
    assert!(catch_unwind(|| judge(&record)).is_err(), "the offence goes unnoticed");
}

#[test]
fn a_good_session_is_clean() {
    let encode = Encode::live("e");
    clean(&session(&encode, 200), &encode);
}

#[test]
fn a_start_without_keyframe_is_noticed() {
    notices(starts_with_keyframe_at_zero, |messages| drop(messages.remove(3)));
    notices(starts_with_keyframe_at_zero, |messages| messages.iter_mut().for_each(|message| message.timestamp += 1));
}

#[test]
fn steps_back_are_noticed() {
    notices(monotonic, |messages| messages[50].timestamp = 0);
}

#[test]
fn lost_and_repeated_frames_are_noticed() {
    notices(contiguous, |messages| drop(messages.remove(50)));
    notices(contiguous, |messages| messages.insert(50, messages[50].clone()));
    notices(gaps_end_with_keyframes, |messages| {
        let inter = messages.iter().position(|message| message.class() == Class::Inter);
        messages.remove(inter.unwrap());
    });
}

#[test]
fn changed_bodies_are_noticed() {
    notices(
        |record| genuine(record, &[&Encode::live("e")]),
        |messages| {
            let mut body = messages[50].body.to_vec();
            *body.last_mut().unwrap() ^= 1;
            messages[50].body = body.into();
        },
    );
    notices(
        |record| genuine(record, &[&Encode::live("e")]),
        |messages| {
            let other = Encode::live("other").tag(0).unwrap();
            messages[50] = received(&other, messages[50].timestamp);
        },
    );
}

#[test]
fn headers_that_come_twice_are_noticed() {
    notices(headers_once, |messages| messages.push(messages[1].clone()));
}

#[test]
fn moved_clocks_are_noticed() {
    notices(|record| one_offset(record, 1), |messages| messages[60].timestamp += 5);
    notices(
        |record| in_step(record, 40),
        |messages| {
            messages.iter_mut().skip(50).filter(|message| message.kind == Kind::Audio).for_each(|m| m.timestamp += 60);
        },
    );
}

#[test]
fn odd_messages_are_noticed() {
    notices(well_formed, |messages| messages[50].form = 3);
    notices(well_formed, |messages| messages[50].chunk_stream = 20);
    notices(well_formed, |messages| messages[50].stream_id = 2);
    notices(well_formed, |messages| messages[50].body = Bytes::new());
}
