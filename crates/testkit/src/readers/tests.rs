use super::*;

/// `(timestamp, payload)` of everything in `stream`, in chunks of 128 bytes.
fn read(personality: Personality, stream: &[u8]) -> Vec<(u32, Bytes)> {
    let mut reader = Reader::new(personality);
    reader.push(stream);
    let messages = std::iter::from_fn(|| reader.next().unwrap());
    messages.map(|message| (message.timestamp, message.payload)).collect()
}

fn times(personality: Personality, stream: &[u8]) -> Vec<u32> {
    read(personality, stream).into_iter().map(|(timestamp, _)| timestamp).collect()
}

fn body(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 + at / 251) as u8).collect()
}

/// 200 bytes of video at 0x01000000 with the extended field in the continuation, then one more by a delta of 33.
fn beyond_24_bits() -> Vec<u8> {
    let (head, next) = (b"\x06\xFF\xFF\xFF\0\0\xC8\x09\x01\0\0\0\x01\0\0\0", b"\x46\0\0\x21\0\0\xC8\x09");
    let body = body(200);
    [&head[..], &body[..128], b"\xC6\x01\0\0\0", &body[128..], next, &body[..128], b"\xC6", &body[128..]].concat()
}

#[test]
fn messages_come_back_from_their_chunks_at_any_split() {
    let bytes = [&b"\x03\0\0\0\0\0\xC8\x14\x01\0\0\0"[..], &body(128), b"\xC3", &body(200)[128..]].concat();
    for personality in Personality::ALL {
        for split in 0..bytes.len() {
            let mut reader = Reader::new(personality);
            reader.push(&bytes[..split]);
            assert_eq!(reader.next(), Ok(None));
            assert_eq!(reader.between_messages(), split == 0);
            reader.push(&bytes[split..]);
            let message = reader.next().unwrap().expect("a whole message");
            assert_eq!((message.type_id, message.stream_id, message.chunk_stream, message.form), (20, 1, 3, 0));
            assert_eq!(message.payload, body(200));
            assert!(reader.between_messages());
        }
    }
}

#[test]
fn deltas_add_up_and_roll_over() {
    let stream = b"\x08\xFF\xFF\xFF\0\0\x01\x09\x01\0\0\0\xFF\xFF\xFF\xF0A\x48\0\0\x28\0\0\x01\x09B";
    for personality in Personality::ALL {
        let mask = personality.mask();
        assert_eq!(times(personality, stream), [0xFFFF_FFF0 & mask, 0x18], "{personality:?}");
    }
}

#[test]
fn the_extended_field_of_a_continuation_is_no_payload_but_for_librtmp() {
    for personality in [Personality::Spec, Personality::Srs, Personality::Nginx] {
        let want = [(0x0100_0000, body(200).into()), (0x0100_0021, body(200).into())];
        assert_eq!(read(personality, &beyond_24_bits()), want, "{personality:?}");
    }
    let mut reader = Reader::new(Personality::Librtmp);
    reader.push(&beyond_24_bits());
    let first = reader.next().unwrap().expect("a whole message");
    assert_eq!(first.timestamp, 0x0100_0000);
    assert_eq!(first.payload[128..132], [1, 0, 0, 0], "the field is taken for payload");
}

#[test]
fn a_continuation_without_the_field_is_read_by_librtmp_and_srs() {
    let stream = [&b"\x06\xFF\xFF\xFF\0\0\xC8\x09\x01\0\0\0\x01\0\0\0"[..], &body(128), b"\xC6", &body(200)[128..]];
    let stream = stream.concat();
    for personality in [Personality::Librtmp, Personality::Srs] {
        assert_eq!(read(personality, &stream), [(0x0100_0000, body(200).into())], "{personality:?}");
    }
    for personality in [Personality::Spec, Personality::Nginx] {
        assert_eq!(read(personality, &stream), [], "{personality:?} waits for four bytes more");
    }
}

#[test]
fn srs_takes_an_extended_delta_for_the_time_itself() {
    let stream = b"\x08\0\0\x64\0\0\x01\x09\x01\0\0\0A\x48\xFF\xFF\xFF\0\0\x01\x09\x02\0\0\0B";
    assert_eq!(times(Personality::Srs, stream), [100, 0x0200_0000]);
    for personality in [Personality::Spec, Personality::Librtmp, Personality::Nginx] {
        assert_eq!(times(personality, stream), [100, 0x0200_0064], "{personality:?}");
    }
}

#[test]
fn form_3_at_a_beginning_repeats_a_delta_and_behind_form_0_the_time_or_nothing() {
    let stream = b"\x08\0\0\x64\0\0\x01\x09\x01\0\0\0A\xC8B\x48\0\0\x28\0\0\x01\x09C\xC8D";
    for personality in [Personality::Spec, Personality::Srs, Personality::Librtmp] {
        assert_eq!(times(personality, stream), [100, 200, 240, 280], "{personality:?}");
    }
    assert_eq!(times(Personality::Nginx, stream), [100, 100, 140, 180]);
}

#[test]
fn offences_are_told() {
    let refused = |stream: &[u8]| {
        let mut reader = Reader::new(Personality::Spec);
        reader.push(stream);
        loop {
            if let Err(offence) = reader.next().map(|message| message.expect("an offence comes first")) {
                return offence;
            }
        }
    };
    assert!(refused(b"\x48\0\0\x28\0\0\x01\x09B").contains("which is new"));
    let midway = [&b"\x08\0\0\0\0\0\xC8\x09\x01\0\0\0"[..], &body(128), b"\x48\0\0\x28\0\0\x01\x09B"].concat();
    assert!(refused(&midway).contains("inside a message"));
    assert!(refused(b"\x02\0\0\0\0\0\x04\x01\0\0\0\0\0\0\0\0").contains("SetChunkSize 0"));
}

#[test]
fn chunk_sizes_are_obeyed() {
    let mut reader = Reader::new(Personality::Spec);
    reader.push(b"\x02\0\0\0\0\0\x04\x01\0\0\0\0\0\0\0\x02\x08\0\0\0\0\0\x03\x09\x01\0\0\0AB\xC8C");
    assert_eq!(reader.next().unwrap().map(|message| message.type_id), Some(1));
    assert_eq!(reader.chunk_size(), 2);
    assert_eq!(reader.next().unwrap().map(|message| message.payload), Some("ABC".into()));
}
