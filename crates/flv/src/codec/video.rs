//! VideoTagHeader and ExVideoTagHeader.

use super::Reader;

/// What a video tag body is, by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VideoPeek {
    /// The codec.
    pub codec: VideoCodec,
    /// The frame type on the wire, which says little when `packet` is not [`VideoPacket::Frames`].
    pub frame: FrameType,
    /// What the body carries.
    pub packet: VideoPacket,
    /// True for the Enhanced RTMP form.
    pub enhanced: bool,
    /// Where the codec's own bytes begin in the body; never past its end.
    pub payload: usize,
}

impl VideoPeek {
    /// True when `body`, which this was read from, is an AVC frame that no other frame refers to: the first slice's
    /// nal_ref_idc is 0 (ITU-T H.264, 7.4.1). Only NAL units with 4-byte lengths are looked at, and only the first few.
    pub fn is_unreferenced(&self, body: &[u8]) -> bool {
        if self.codec != VideoCodec::Avc || self.packet != VideoPacket::Frames {
            return false;
        }
        let mut rest = body.get(self.payload..).unwrap_or_default();
        for _ in 0..MAX_NAL_UNITS {
            let Some((len, behind)) = rest.split_first_chunk() else {
                return false;
            };
            let len = u32::from_be_bytes(*len) as usize;
            let (Some(&head), Some(next)) = (behind.first(), behind.get(len..)) else {
                return false;
            };
            match head & 0x1F {
                1..=5 if len > 0 => return head & 0x60 == 0,
                _ => rest = next,
            }
        }
        false
    }
}

/// CodecID (FLV spec v10.1, E.4.3.1, and its extensions in use) or FourCC (E-RTMP v2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VideoCodec {
    /// 2: Sorenson H.263.
    H263,
    /// 3 and 6.
    ScreenVideo,
    /// 4 and 5.
    Vp6,
    /// 7 and `avc1`.
    Avc,
    /// 12: HEVC as servers and players had it before Enhanced RTMP.
    HevcLegacy,
    /// `hvc1`.
    Hevc,
    /// `av01` and 13.
    Av1,
    /// `vp08` and 14.
    Vp8,
    /// `vp09` and 15.
    Vp9,
    /// `vvc1`.
    Vvc,
    /// Not known, or not to be told.
    Other,
}

/// Frame type (FLV spec v10.1, E.4.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FrameType {
    /// 1.
    Key,
    /// 2.
    Inter,
    /// 3: no other frame needs it.
    Disposable,
    /// 4: a keyframe made by a server.
    GeneratedKey,
    /// 5: no frame but a command.
    Command,
    /// 0, 6 and 7.
    Other,
}

/// What a video tag body carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum VideoPacket {
    /// Decoder configuration.
    Header,
    /// Coded frames.
    Frames,
    /// End of the sequence.
    End,
    /// Properties of the picture, such as its colours.
    Metadata,
    /// A command to the player: seek start or seek end.
    Command,
    /// Packets of one or several tracks, not looked into.
    Multitrack,
    /// Unknown packet types, and bodies that end too early.
    Other,
}

/// Reads the header of a video tag body (FLV spec v10.1, E.4.3.1; E-RTMP v2, ExVideoTagHeader); None when it is empty.
pub fn video(body: &[u8]) -> Option<VideoPeek> {
    let (&first, rest) = body.split_first()?;
    let frame = frame_type(first >> 4 & 7);
    let mut reader = Reader { rest };
    let is_enhanced = first & IS_EX_HEADER != 0;
    let (codec, packet) = if is_enhanced {
        enhanced(first & 0x0F, frame, &mut reader).unwrap_or((VideoCodec::Other, VideoPacket::Other))
    } else {
        legacy(first & 0x0F, frame, &mut reader)
    };
    let is_hollow = matches!(packet, VideoPacket::Header | VideoPacket::Frames) && reader.rest.is_empty();
    let packet = if is_hollow { VideoPacket::Other } else { packet };
    Some(VideoPeek { codec, frame, packet, enhanced: is_enhanced, payload: body.len() - reader.rest.len() })
}

fn legacy(codec_id: u8, frame: FrameType, reader: &mut Reader<'_>) -> (VideoCodec, VideoPacket) {
    let codec = match codec_id {
        2 => VideoCodec::H263,
        3 | 6 => VideoCodec::ScreenVideo,
        4 | 5 => VideoCodec::Vp6,
        7 => VideoCodec::Avc,
        12 => VideoCodec::HevcLegacy,
        13 => VideoCodec::Av1,
        14 => VideoCodec::Vp8,
        15 => VideoCodec::Vp9,
        _ => VideoCodec::Other,
    };
    if frame == FrameType::Command {
        return (codec, VideoPacket::Command);
    }
    if codec_id != 7 && codec_id < 12 {
        return (codec, VideoPacket::Frames);
    }
    // AVCPacketType and CompositionTime; the newer codec numbers took over the form.
    let packet = match reader.u8() {
        Some(0) => VideoPacket::Header,
        Some(1) => VideoPacket::Frames,
        Some(2) => return (codec, VideoPacket::End),
        _ => return (codec, VideoPacket::Other),
    };
    (codec, if reader.skip(3).is_some() { packet } else { VideoPacket::Other })
}

/// None when the body ends within its header.
fn enhanced(packet_type: u8, frame: FrameType, reader: &mut Reader<'_>) -> Option<(VideoCodec, VideoPacket)> {
    let packet_type = reader.behind_mod_ex(packet_type)?;
    if packet_type != METADATA && frame == FrameType::Command {
        // A command byte stands in the FourCC's place.
        return Some((VideoCodec::Other, VideoPacket::Command));
    }
    if packet_type == MULTITRACK {
        let is_one_codec = reader.u8()? >> 4 != MANY_CODECS;
        let codec = if is_one_codec { four_cc(reader.array()?) } else { VideoCodec::Other };
        return Some((codec, VideoPacket::Multitrack));
    }
    let codec = four_cc(reader.array()?);
    Some(match packet_type {
        // The second form describes AV1 in an MPEG-2 transport stream; a decoder needs it just the same.
        0 | 5 => (codec, VideoPacket::Header),
        1 => {
            if matches!(codec, VideoCodec::Avc | VideoCodec::Hevc | VideoCodec::Vvc) {
                reader.skip(3)?;
            }
            (codec, VideoPacket::Frames)
        }
        2 => (codec, VideoPacket::End),
        3 => (codec, VideoPacket::Frames),
        METADATA => (codec, VideoPacket::Metadata),
        _ => (codec, VideoPacket::Other),
    })
}

fn frame_type(bits: u8) -> FrameType {
    match bits {
        1 => FrameType::Key,
        2 => FrameType::Inter,
        3 => FrameType::Disposable,
        4 => FrameType::GeneratedKey,
        5 => FrameType::Command,
        _ => FrameType::Other,
    }
}

fn four_cc(bytes: [u8; 4]) -> VideoCodec {
    match &bytes {
        b"avc1" => VideoCodec::Avc,
        b"hvc1" => VideoCodec::Hevc,
        b"av01" => VideoCodec::Av1,
        b"vp08" => VideoCodec::Vp8,
        b"vp09" => VideoCodec::Vp9,
        b"vvc1" => VideoCodec::Vvc,
        _ => VideoCodec::Other,
    }
}

/// The bit of the first byte that announces an ExVideoTagHeader (E-RTMP v2).
const IS_EX_HEADER: u8 = 0x80;
const METADATA: u8 = 4;
const MULTITRACK: u8 = 6;
const MANY_CODECS: u8 = 2;
/// Parameter sets, SEI and delimiters before the first slice; real streams have fewer than five.
const MAX_NAL_UNITS: usize = 16;
