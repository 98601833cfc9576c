//! ffmpeg as encoder, source, publisher and server.

use std::path::{Path, PathBuf};

use testkit::TempDir;

use crate::clip::{Clip, Track};
use crate::programs::{self, Running, command, free_port, start, succeed};

/// H.264 with B-frames and a keyframe each second, and AAC, in one FLV file.
pub(crate) struct Encoded {
    pub(crate) path: PathBuf,
    pub(crate) clip: Clip,
}

/// An encode of its own: no two names or sizes have a packet in common.
pub(crate) async fn encode(folder: &TempDir, name: &str, size: &str, seconds: u32) -> Encoded {
    let path = folder.path().join(format!("{name}.flv"));
    let seed = name.bytes().fold(7, |seed: u32, byte| seed.wrapping_mul(31).wrapping_add(byte.into())) % 10_000;
    let mut ffmpeg = command("ffmpeg");
    ffmpeg.args(["-v", "error", "-f", "lavfi", "-i"]).arg(format!("testsrc2=size={size}:rate=25,hue=h={}", seed % 360));
    ffmpeg.args(["-f", "lavfi", "-i"]).arg(format!("anoisesrc=color=pink:sample_rate=44100:seed={seed}"));
    ffmpeg.args(["-t", &seconds.to_string(), "-c:v", "libx264", "-preset", "superfast", "-pix_fmt", "yuv420p"]);
    ffmpeg.args(["-bf", "2", "-b_strategy", "0", "-g", "25", "-keyint_min", "25", "-sc_threshold", "0"]);
    ffmpeg.args(["-c:a", "aac", "-b:a", "64k"]).arg(&path);
    succeed(ffmpeg).await;

    let clip = Clip::read(&path).await;
    let video = clip.track(Track::Video);
    assert_eq!(video.len() as u32, 25 * seconds);
    assert_eq!(video.iter().filter(|packet| packet.key).count() as u32, seconds);
    assert!(video.windows(2).any(|pair| pair[1].pts < pair[0].pts), "the encoder made no B-frames");
    assert!(clip.track(Track::Audio).len() as u32 > 40 * seconds);
    Encoded { path, clip }
}

/// An HTTP-FLV server that plays a file in real time to its one client and ends.
pub(crate) async fn serve(folder: &TempDir, name: &str, file: &Path) -> (Running, String) {
    let port = free_port();
    (serve_at(folder, name, file, port).listening(port).await, url_at(port))
}

/// The same on a port of one's choice, without waiting: ffmpeg listens no longer once its client is there, and a client
/// that already tries is there before anyone has looked.
pub(crate) fn serve_at(folder: &TempDir, name: &str, file: &Path, port: u16) -> Running {
    let mut ffmpeg = play(file);
    ffmpeg.args(["-f", "flv", "-listen", "1", &url_at(port)]);
    start(ffmpeg, name, folder.path())
}

/// Where [`serve_at`] serves.
pub(crate) fn url_at(port: u16) -> String {
    format!("http://127.0.0.1:{port}/live.flv")
}

/// A publisher that plays a file in real time to an RTMP server and ends.
pub(crate) fn publish(folder: &TempDir, file: &Path, url: &str) -> Running {
    let mut ffmpeg = play(file);
    ffmpeg.args(["-f", "flv", url]);
    start(ffmpeg, "publisher", folder.path())
}

/// An RTMP server that writes what its one publisher sends to `received.flv`, and ends with it.
pub(crate) async fn receive(folder: &TempDir) -> (Running, String, PathBuf) {
    let port = free_port();
    let url = format!("rtmp://127.0.0.1:{port}/live/x");
    let path = folder.path().join("received.flv");
    let mut ffmpeg = command("ffmpeg");
    ffmpeg.args(["-v", "error", "-listen", "1", "-i", &url, "-c", "copy"]).arg(&path);
    (start(ffmpeg, "server", folder.path()).listening(port).await, url, path)
}

/// What ffmpeg complains about when it decodes all of a file.
pub(crate) async fn decode(file: &Path) -> String {
    let mut ffmpeg = command("ffmpeg");
    // The null muxer wants no timestamps; without `-copyts` ffmpeg would smooth what is to be seen.
    ffmpeg.args(["-v", "warning", "-copyts", "-i"]).arg(file).args(["-f", "null", "-"]);
    let finished = programs::run(ffmpeg).await;
    assert!(finished.status.success(), "{}", finished.stderr);
    finished.stderr
}

fn play(file: &Path) -> tokio::process::Command {
    let mut ffmpeg = command("ffmpeg");
    ffmpeg.args(["-v", "error", "-re", "-i"]).arg(file);
    ffmpeg.args(["-c", "copy", "-flvflags", "no_duration_filesize"]);
    ffmpeg
}
