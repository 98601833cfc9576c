//! `GET /live/{relay}.flv` is a stream that ffmpeg and ffprobe read without a complaint.

use testkit::TempDir;

use crate::clip::Clip;
use crate::compare::{monotonic, part};
use crate::ffmpeg::{encode, serve};
use crate::programs::{command, succeed};
use crate::stage::{pull, relay, start};

#[tokio::test]
async fn players_read_the_preview_without_a_complaint() {
    let folder = TempDir::new();
    let source = encode(&folder, "source", "320x180", 12).await;
    let (_server, url) = serve(&folder, "primary", &source.path).await;
    let relayd = start(&relay("r", &[pull("primary", &url, "")])).await;
    relayd.until("r", "1 s is relayed", |status| status["timeline_ms"].as_i64() > Some(1000)).await;
    let preview = format!("http://{}/live/r.flv", relayd.admin());

    let copied = folder.path().join("copied.flv");
    let mut ffmpeg = command("ffmpeg");
    ffmpeg.args(["-v", "error", "-i", &preview, "-t", "4", "-c", "copy"]).arg(&copied);
    let mut ffprobe = command("ffprobe");
    ffprobe.args(["-v", "error", "-show_entries", "stream=codec_name,width,height,sample_rate", "-of", "csv=p=0"]);
    ffprobe.arg(&preview);
    let (_, streams, packets) =
        tokio::join!(succeed(ffmpeg), succeed(ffprobe), Clip::read_with(&preview, &["-read_intervals", "%+4"]));

    let streams = String::from_utf8_lossy(&streams.stdout).into_owned();
    let mut streams: Vec<_> = streams.lines().collect();
    streams.sort_unstable();
    assert_eq!(streams, ["aac,44100", "h264,320,180"]);
    let copied = Clip::read(&copied).await;
    for read in [&copied, &packets] {
        monotonic(read).unwrap();
        let span = part(&source.clip, read).unwrap();
        assert!(span.video.len() >= 75, "{span:?}");
    }
    let span = part(&source.clip, &packets).unwrap();
    assert_eq!(span.offset, 0, "the preview carries the relay's timeline");
}
