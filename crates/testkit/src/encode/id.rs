//! The ids in tag bodies.

use std::fmt;

/// One of an encode's two tracks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Track {
    /// Video frames.
    Video,
    /// Audio frames.
    Audio,
}

/// What a tag's body says of itself: `<<name|v|17>>` behind the codec's own bytes.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Id {
    /// The encode's name.
    pub encode: String,
    /// The track.
    pub track: Track,
    /// The frame's number on its track, from 0.
    pub index: u64,
}

impl Id {
    /// The id in a body, in its first 200 bytes.
    pub fn find(body: &[u8]) -> Option<Self> {
        let head = &body[..body.len().min(200)];
        let start = head.windows(2).position(|pair| pair == b"<<")? + 2;
        let len = head[start..].windows(2).position(|pair| pair == b">>")?;
        let mut parts = std::str::from_utf8(&head[start..start + len]).ok()?.split('|');
        let encode = parts.next()?.to_owned();
        let track = match parts.next()? {
            "v" => Track::Video,
            "a" => Track::Audio,
            _ => return None,
        };
        Some(Self { encode, track, index: parts.next()?.parse().ok()? })
    }

    /// Where the tag stands in its encode, in ms: its DTS without the base.
    pub fn position(&self) -> u64 {
        match self.track {
            Track::Video => self.index * 40,
            Track::Audio => self.index * 64 / 3,
        }
    }

    /// The text that a body carries.
    pub(super) fn text(&self) -> String {
        let track = if self.track == Track::Video { 'v' } else { 'a' };
        format!("<<{}|{track}|{}>>", self.encode, self.index)
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}
