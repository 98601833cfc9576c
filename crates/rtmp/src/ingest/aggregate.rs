//! Aggregate messages: several FLV tags in one (RTMP 1.0, 7.1.6).

use bytes::{Buf, Bytes};
use flv::{Kind, Tag};

use super::IngestError;

/// The tags of an aggregate message stamped with `timestamp`. Their own timestamps count from the first one's.
///
/// Their bodies are copies: a slice that is kept would keep all of the message, of which it may be the smallest part.
pub(super) fn split(mut payload: Bytes, timestamp: u32) -> Result<Vec<Tag>, IngestError> {
    let len = payload.len();
    let (mut tags, mut first, mut seen) = (Vec::new(), None, 0);
    while !payload.is_empty() {
        let pos = len - payload.len();
        let cut_off = IngestError::AggregateTruncated { pos };
        let Some(&[type_id, a, b, c, t0, t1, t2, t3, _, _, _]) = payload.first_chunk() else {
            return Err(cut_off);
        };
        let size = u32::from_be_bytes([0, a, b, c]) as usize;
        payload.advance(HEADER_LEN);
        if payload.len() < size {
            return Err(cut_off);
        }
        let body = payload.split_to(size);
        // The back pointer says nothing new, and the last one is sometimes left out.
        payload.advance(BACK_POINTER_LEN.min(payload.len()));

        seen += 1;
        if seen > MAX_TAGS {
            return Err(IngestError::AggregateTooMany(MAX_TAGS));
        }
        let own = u32::from_be_bytes([t3, t0, t1, t2]);
        let since_first = own.wrapping_sub(*first.get_or_insert(own));
        if let Some(kind) = Kind::from_type_id(type_id) {
            let body = Bytes::copy_from_slice(&body);
            tags.push(Tag { kind, timestamp: timestamp.wrapping_add(since_first), body });
        }
    }
    Ok(tags)
}

/// FLV spec v10.1, E.4.1.
const HEADER_LEN: usize = 11;
const BACK_POINTER_LEN: usize = 4;
const MAX_TAGS: usize = 4096;

#[cfg(test)]
mod tests {
    use bytes::BytesMut;

    use super::*;

    fn tag(kind: Kind, timestamp: u32, body: &'static [u8]) -> Tag {
        Tag { kind, timestamp, body: Bytes::from_static(body) }
    }

    fn aggregate(tags: &[Tag]) -> Bytes {
        let mut message = BytesMut::new();
        for Tag { kind, timestamp, body } in tags {
            flv::mux::write_tag(&mut message, *kind, *timestamp, body);
        }
        message.freeze()
    }

    #[test]
    fn tags_count_from_the_messages_time() {
        let sent = [tag(Kind::Video, 0xFFFF_FFF0, b"v"), tag(Kind::Audio, 0x05, b"au"), tag(Kind::Video, 0x18, b"")];
        let want = [tag(Kind::Video, 1000, b"v"), tag(Kind::Audio, 1021, b"au"), tag(Kind::Video, 1040, b"")];
        assert_eq!(split(aggregate(&sent), 1000).unwrap(), want);
    }

    #[test]
    fn other_types_are_left_out() {
        let mut message = aggregate(&[tag(Kind::Audio, 7, b"x"), tag(Kind::Audio, 9, b"y")]).to_vec();
        message[0] = 20;
        assert_eq!(split(message.into(), 100).unwrap(), [tag(Kind::Audio, 102, b"y")]);
    }

    #[test]
    fn a_cut_is_an_error_except_in_the_last_back_pointer() {
        let whole = aggregate(&[tag(Kind::Audio, 7, b"x"), tag(Kind::Video, 9, b"yy")]);
        for len in 1..=whole.len() {
            let result = split(whole.slice(..len), 0);
            let tags = match len {
                12..=16 => 1,
                29.. => 2,
                _ => {
                    let pos = if len < 12 { 0 } else { 16 };
                    assert_eq!(result, Err(IngestError::AggregateTruncated { pos }), "cut at {len}");
                    continue;
                }
            };
            assert_eq!(result.unwrap().len(), tags, "cut at {len}");
        }
    }

    #[test]
    fn tags_are_limited() {
        let many = vec![tag(Kind::Audio, 0, b""); MAX_TAGS + 1];
        assert_eq!(split(aggregate(&many[1..]), 0).unwrap().len(), MAX_TAGS);
        assert_eq!(split(aggregate(&many), 0), Err(IngestError::AggregateTooMany(MAX_TAGS)));
    }
}
