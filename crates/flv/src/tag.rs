//! One FLV tag, and what a relay needs to know of it.

use std::fmt;

use bytes::Bytes;

use crate::amf0;
use crate::codec::{self, AudioPacket, FrameType, VideoPacket};

/// TagType of the tags a relay handles (FLV spec v10.1, E.4.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// 8.
    Audio,
    /// 9.
    Video,
    /// 18: script data in AMF0.
    Script,
}

impl Kind {
    /// The TagType on the wire; an RTMP message type has the same value.
    pub fn type_id(self) -> u8 {
        match self {
            Self::Audio => 8,
            Self::Video => 9,
            Self::Script => 18,
        }
    }

    /// The kind of a TagType; None for every other value.
    pub fn from_type_id(id: u8) -> Option<Self> {
        match id {
            8 => Some(Self::Audio),
            9 => Some(Self::Video),
            18 => Some(Self::Script),
            _ => None,
        }
    }
}

/// An audio, video or script unit (FLV spec v10.1, E.4.1). Cloning shares the body.
#[derive(Clone, PartialEq, Eq)]
pub struct Tag {
    /// What the body holds.
    pub kind: Kind,
    /// DTS in ms as on the wire, all 32 bits unsigned: TimestampExtended is the high byte.
    pub timestamp: u32,
    /// The bytes between tag header and PreviousTagSize. May be a slice of a larger read buffer, which it keeps alive.
    pub body: Bytes,
}

impl Tag {
    /// Sorts the tag by its first bytes.
    pub fn class(&self) -> Class {
        if self.body.is_empty() {
            return Class::Empty;
        }
        match self.kind {
            Kind::Video => video_class(&self.body),
            Kind::Audio => match codec::audio(&self.body) {
                Some(peek) if peek.packet == AudioPacket::Header => Class::AudioHeader,
                _ => Class::Audio,
            },
            Kind::Script if amf0::metadata_name(&self.body) == Some(b"onMetaData") => Class::Metadata,
            Kind::Script => Class::Script,
        }
    }

    /// True for coded video that a decoder can start from.
    pub fn is_keyframe(&self) -> bool {
        self.class() == Class::Key
    }

    /// True for the decoder configuration of either track.
    pub fn is_sequence_header(&self) -> bool {
        matches!(self.class(), Class::VideoHeader | Class::AudioHeader)
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tag({:?}, {} ms, {} bytes)", self.kind, self.timestamp, self.body.len())
    }
}

/// What a relay needs to know of a tag, from its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// No body.
    Empty,
    /// Video decoder configuration.
    VideoHeader,
    /// Audio decoder configuration.
    AudioHeader,
    /// Coded video that decoding can start from.
    Key,
    /// Coded video that other frames may need.
    Inter,
    /// Coded video that no other frame needs: it may be left out.
    Disposable,
    /// End of the video sequence.
    VideoEnd,
    /// Video without a frame of the main track: metadata, commands, multitrack, unknown packets. To be forwarded, never
    /// a keyframe.
    VideoOther,
    /// Audio other than its decoder configuration.
    Audio,
    /// Script data named onMetaData.
    Metadata,
    /// Any other script data.
    Script,
}

fn video_class(body: &[u8]) -> Class {
    let Some(peek) = codec::video(body) else {
        return Class::Empty;
    };
    match (peek.packet, peek.frame) {
        (VideoPacket::Header, _) => Class::VideoHeader,
        (VideoPacket::End, _) => Class::VideoEnd,
        (VideoPacket::Frames, FrameType::Key | FrameType::GeneratedKey) => Class::Key,
        (VideoPacket::Frames, FrameType::Disposable) => Class::Disposable,
        (VideoPacket::Frames, FrameType::Inter) if peek.is_unreferenced(body) => Class::Disposable,
        (VideoPacket::Frames, FrameType::Inter) => Class::Inter,
        _ => Class::VideoOther,
    }
}

#[cfg(test)]
mod tests;
