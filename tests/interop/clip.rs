//! Media files as lists of packets, as ffprobe reads them.

use std::path::Path;

use serde_json::Value;

use crate::programs::{command, succeed};

/// The tracks that every clip here has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Track {
    Video,
    Audio,
}

/// One packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) track: Track,
    /// In ms.
    pub(crate) dts: i64,
    /// In ms.
    pub(crate) pts: i64,
    pub(crate) key: bool,
    /// Of the packet's bytes.
    pub(crate) md5: String,
}

/// The packets of a file, in the file's order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Clip(pub(crate) Vec<Packet>);

impl Clip {
    /// Reads a file or a URL whose timestamps are in ms. Panics when ffprobe complains.
    pub(crate) async fn read(media: impl AsRef<Path>) -> Self {
        Self::read_with(media, &[]).await
    }

    /// The same, with options for ffprobe.
    pub(crate) async fn read_with(media: impl AsRef<Path>, options: &[&str]) -> Self {
        let mut ffprobe = command("ffprobe");
        ffprobe.args(["-v", "error", "-of", "json", "-show_data_hash", "md5"]);
        ffprobe.args(["-show_entries", "packet=codec_type,dts,pts,flags,data_hash"]).args(options);
        ffprobe.arg(media.as_ref());
        let printed = succeed(ffprobe).await.stdout;
        let printed: Value = serde_json::from_slice(&printed).expect("ffprobe prints JSON");
        Self(printed["packets"].as_array().expect("a list of packets").iter().map(packet).collect())
    }

    /// The packets of a track.
    pub(crate) fn track(&self, track: Track) -> Vec<&Packet> {
        self.0.iter().filter(|packet| packet.track == track).collect()
    }
}

fn packet(packet: &Value) -> Packet {
    let time = |name| packet[name].as_i64().unwrap_or_else(|| panic!("no {name} in {packet}"));
    Packet {
        track: match packet["codec_type"].as_str() {
            Some("video") => Track::Video,
            Some("audio") => Track::Audio,
            _ => panic!("neither audio nor video: {packet}"),
        },
        dts: time("dts"),
        pts: time("pts"),
        key: packet["flags"].as_str().is_some_and(|flags| flags.contains('K')),
        md5: packet["data_hash"].as_str().expect("a hash was asked for").to_owned(),
    }
}
