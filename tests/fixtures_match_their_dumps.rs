//! The demuxer against lists of tags that another program made.

use std::fs;
use std::path::Path;

use bytes::Bytes;
use flv::{DemuxLimits, Demuxer, Kind, Tag};
use sha2::{Digest, Sha256};

const FIXTURES: [&str; 3] = ["demo", "bframes", "audio-only"];

#[test]
fn every_tag_is_as_listed() {
    for name in FIXTURES {
        let expected = fs::read_to_string(path(name, "tags.txt")).unwrap();
        let content = Bytes::from(fs::read(path(name, "flv")).unwrap());
        for piece in [content.len(), 4096, 1400, 7, 1] {
            let dump: String = demux(&content, piece).iter().map(line).collect();
            assert!(dump == expected, "{name} in pieces of {piece}: {:?}", first_difference(&dump, &expected));
        }
    }
}

fn demux(content: &Bytes, piece: usize) -> Vec<Tag> {
    let mut demuxer = Demuxer::new(DemuxLimits::default());
    let mut tags = Vec::new();
    for start in (0..content.len()).step_by(piece) {
        demuxer.push(content.slice(start..content.len().min(start + piece)));
        while let Some(tag) = demuxer.next_tag().unwrap() {
            tags.push(tag);
        }
    }
    demuxer.finish().unwrap();
    while let Some(tag) = demuxer.next_tag().unwrap() {
        tags.push(tag);
    }
    assert_eq!(demuxer.counters().prev_size_mismatches, 0);
    assert_eq!(demuxer.position(), content.len() as u64);
    tags
}

fn line(tag: &Tag) -> String {
    let kind = match tag.kind {
        Kind::Audio => "audio",
        Kind::Video => "video",
        Kind::Script => "script",
    };
    let digest = Sha256::digest(&tag.body);
    let digits: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("{kind} {} {} {digits}\n", tag.timestamp, tag.body.len())
}

fn first_difference<'a>(ours: &'a str, theirs: &'a str) -> Option<(&'a str, &'a str)> {
    ours.lines().zip(theirs.lines()).find(|(ours, theirs)| ours != theirs)
}

fn path(name: &str, extension: &str) -> impl AsRef<Path> {
    format!("{}/../../fixtures/{name}.{extension}", env!("CARGO_MANIFEST_DIR"))
}
