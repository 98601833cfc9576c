//! AudioTagHeader and ExAudioTagHeader.

use super::Reader;

/// What an audio tag body is, by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AudioPeek {
    /// The codec.
    pub codec: AudioCodec,
    /// What the body carries.
    pub packet: AudioPacket,
    /// True for the Enhanced RTMP form.
    pub enhanced: bool,
}

/// SoundFormat (FLV spec v10.1, E.4.2.1) or FourCC (E-RTMP v2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AudioCodec {
    /// 0 and 3.
    Pcm,
    /// 1.
    Adpcm,
    /// 2, 14 (8 kHz) and `.mp3`.
    Mp3,
    /// 4, 5 and 6.
    Nellymoser,
    /// 7.
    ALaw,
    /// 8.
    MuLaw,
    /// 10 and `mp4a`.
    Aac,
    /// 11.
    Speex,
    /// `Opus`, and 13 as several servers use it.
    Opus,
    /// `fLaC`.
    Flac,
    /// `ac-3`.
    Ac3,
    /// `ec-3`.
    Eac3,
    /// Not known, or not to be told.
    Other,
}

/// What an audio tag body carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AudioPacket {
    /// Decoder configuration.
    Header,
    /// Coded audio.
    Frames,
    /// End of the sequence.
    End,
    /// Channel layouts, multitrack audio, unknown packet types, and bodies that end too early.
    Other,
}

/// Reads the header of an audio tag body (FLV spec v10.1, E.4.2.1; E-RTMP v2, ExAudioTagHeader); None when it is empty.
/// SoundFormat 9 without a plausible FourCC is an old private use of that number, and plain audio.
pub fn audio(body: &[u8]) -> Option<AudioPeek> {
    let (&first, rest) = body.split_first()?;
    Some(match first >> 4 {
        EX_HEADER => enhanced(first & 0x0F, rest).unwrap_or(AudioPeek {
            codec: AudioCodec::Other,
            packet: AudioPacket::Frames,
            enhanced: false,
        }),
        10 => AudioPeek { codec: AudioCodec::Aac, packet: aac_packet(rest), enhanced: false },
        format => AudioPeek { codec: legacy_codec(format), packet: AudioPacket::Frames, enhanced: false },
    })
}

/// AACPacketType (FLV spec v10.1, E.4.2.1). A header without configuration configures nothing.
fn aac_packet(rest: &[u8]) -> AudioPacket {
    match rest {
        [0, _, ..] => AudioPacket::Header,
        [1, ..] => AudioPacket::Frames,
        _ => AudioPacket::Other,
    }
}

fn legacy_codec(format: u8) -> AudioCodec {
    match format {
        0 | 3 => AudioCodec::Pcm,
        1 => AudioCodec::Adpcm,
        2 | 14 => AudioCodec::Mp3,
        4..=6 => AudioCodec::Nellymoser,
        7 => AudioCodec::ALaw,
        8 => AudioCodec::MuLaw,
        11 => AudioCodec::Speex,
        13 => AudioCodec::Opus,
        _ => AudioCodec::Other,
    }
}

/// None when the bytes cannot be an ExAudioTagHeader.
fn enhanced(packet_type: u8, rest: &[u8]) -> Option<AudioPeek> {
    let mut reader = Reader { rest };
    let packet_type = reader.behind_mod_ex(packet_type)?;
    let (codec, packet) = match packet_type {
        MULTITRACK => {
            let mode_and_type = reader.u8()?;
            let is_one_codec = mode_and_type >> 4 != MANY_CODECS;
            let codec = if is_one_codec { four_cc(reader.array()?)? } else { AudioCodec::Other };
            (codec, AudioPacket::Other)
        }
        0 => (four_cc(reader.array()?)?, AudioPacket::Header),
        1 => (four_cc(reader.array()?)?, AudioPacket::Frames),
        2 => (four_cc(reader.array()?)?, AudioPacket::End),
        MULTICHANNEL_CONFIG => (four_cc(reader.array()?)?, AudioPacket::Other),
        _ => return None,
    };
    Some(AudioPeek { codec, packet, enhanced: true })
}

/// None for bytes that no registered name looks like.
fn four_cc(bytes: [u8; 4]) -> Option<AudioCodec> {
    Some(match &bytes {
        b"mp4a" => AudioCodec::Aac,
        b"Opus" => AudioCodec::Opus,
        b"fLaC" => AudioCodec::Flac,
        b"ac-3" => AudioCodec::Ac3,
        b"ec-3" => AudioCodec::Eac3,
        b".mp3" => AudioCodec::Mp3,
        name if name.iter().all(|byte| byte.is_ascii_alphanumeric() || b".- ".contains(byte)) => AudioCodec::Other,
        _ => return None,
    })
}

/// SoundFormat that announces an ExAudioTagHeader (E-RTMP v2).
const EX_HEADER: u8 = 9;
const MULTICHANNEL_CONFIG: u8 = 4;
const MULTITRACK: u8 = 5;
const MANY_CODECS: u8 = 2;
