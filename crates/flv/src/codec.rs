//! The first bytes of audio and video tag bodies, legacy and Enhanced. Nothing here looks further than the codec
//! headers, except [`VideoPeek::is_unreferenced`], which looks at the first NAL units of a frame.

mod audio;
mod video;

pub use audio::{AudioCodec, AudioPacket, AudioPeek, audio};
pub use video::{FrameType, VideoCodec, VideoPacket, VideoPeek, video};

/// Takes bytes off the front of a tag body.
struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    fn u8(&mut self) -> Option<u8> {
        self.array().map(|[byte]: [u8; 1]| byte)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (bytes, rest) = self.rest.split_first_chunk()?;
        self.rest = rest;
        Some(*bytes)
    }

    fn skip(&mut self, len: usize) -> Option<()> {
        self.rest = self.rest.get(len..)?;
        Some(())
    }

    /// Skips ModEx prefixes and returns the packet type behind them; audio and video share the form (E-RTMP v2,
    /// "ExAudioTagHeader" and "ExVideoTagHeader"). None when the body ends within.
    fn behind_mod_ex(&mut self, mut packet_type: u8) -> Option<u8> {
        while packet_type == MOD_EX {
            let mut len = usize::from(self.u8()?) + 1;
            if len == 256 {
                len = usize::from(u16::from_be_bytes(self.array()?)) + 1;
            }
            self.skip(len)?;
            packet_type = self.u8()? & 0x0F;
        }
        Some(packet_type)
    }
}

/// The packet type of a ModEx prefix, the same for audio and video (E-RTMP v2).
const MOD_EX: u8 = 7;

#[cfg(test)]
mod tests;
