//! `/live/{relay}.flv`: the programme as HTTP-FLV, with the programme's own DTS.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use axum::{
    Extension,
    body::Body,
    extract::{Path, State},
    http::header::{ACCESS_CONTROL_ALLOW_ORIGIN, CACHE_CONTROL, CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use bytes::{BufMut, Bytes, BytesMut};
use flv::Kind;
use futures::{Stream, stream};
use relay::{Batch, Cursor, OutputPolicy, Reading, SET_DATA_FRAME};
use rtmp::wire::{Track, WireForm};
use tokio::{sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{Http, access::Pass, problem::Problem, seats::Seat};
use crate::fanout::{Fanout, Head};

/// The beginning of a command that shows what is served at an address; `/live/{relay}.flv` follows.
pub(crate) fn ffplay(mut address: SocketAddr, asks_for_token: bool) -> String {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    let token = if asks_for_token { "-headers 'Authorization: Bearer TOKEN' " } else { "" };
    format!("ffplay {token}http://{address}")
}

/// Answers at once; the body begins with the newest keyframe when there is one.
pub(super) async fn live(
    State(http): State<Http>,
    Extension(pass): Extension<Pass>,
    Path(file): Path<String>,
) -> Response {
    let Some(relay) = file.strip_suffix(".flv").and_then(|name| http.relay(name)) else {
        return Problem::no_such_relay().into_response();
    };
    let seat = match http.viewers.take(&http.refusals) {
        Ok(seat) => seat,
        Err(problem) => return problem.into_response(),
    };
    let viewer = Viewer::new(Arc::clone(&relay.fanout), http.cancel.clone(), pass, seat);
    let headers =
        [(CONTENT_TYPE, "video/x-flv"), (CACHE_CONTROL, "no-cache, no-store"), (ACCESS_CONTROL_ALLOW_ORIGIN, "*")];
    (headers, Body::from_stream(viewer.into_stream())).into_response()
}

/// One viewer's place. A viewer who falls too far behind is let go, which shows when the socket takes more; one whose
/// socket takes nothing is let go with its connection.
struct Viewer {
    fanout: Arc<Fanout>,
    head: watch::Receiver<Head>,
    cursor: Cursor,
    cancel: CancellationToken,
    pass: Pass,
    began: bool,
    _seat: Seat,
}

impl Viewer {
    fn new(fanout: Arc<Fanout>, cancel: CancellationToken, pass: Pass, seat: Seat) -> Self {
        let policy = OutputPolicy { max_lag: VIEWER_LAG, ..OutputPolicy::default() };
        let head = fanout.subscribe();
        Self { fanout, head, cursor: Cursor::new(policy), cancel, pass, began: false, _seat: seat }
    }

    fn into_stream(self) -> impl Stream<Item = Result<Bytes, std::convert::Infallible>> {
        stream::unfold(self, |mut viewer| async {
            let piece = viewer.next_piece().await?;
            Some((Ok(piece), viewer))
        })
    }

    async fn next_piece(&mut self) -> Option<Bytes> {
        loop {
            if self.pass.is_revoked() {
                return None;
            }
            let is_over = self.head.borrow_and_update().over;
            let mut piece = BytesMut::new();
            let reading = self.read(&mut piece);
            match reading {
                Reading::Lagged | Reading::FormatChanged { .. } => return None,
                Reading::Read { .. } if !piece.is_empty() => return Some(piece.freeze()),
                Reading::Read { .. } | Reading::NoEntryPoint if is_over => return None,
                Reading::Read { .. } | Reading::NoEntryPoint => {}
            }
            tokio::select! {
                changed = self.head.changed() => if changed.is_err() { return None },
                () = self.cancel.cancelled() => return None,
                () = self.pass.revoked() => return None,
            }
        }
    }

    fn read(&mut self, piece: &mut BytesMut) -> Reading {
        let began = &mut self.began;
        self.cursor.read(&self.fanout.log(), Instant::now().into_std(), PIECE, |form, dts| {
            let is_first = !std::mem::replace(began, true);
            if is_first {
                // What the stream holds is told by its tags; a flag for a track that never comes stalls players, one
                // that is missing does not.
                piece.put_slice(&flv::mux::file_header(true, true));
            }
            // FFmpeg takes metadata that is not stamped 0 for a track of subtitles.
            let stamp = if is_first && form.track() == Track::Data { 0 } else { dts };
            write_tag(piece, form, stamp);
        })
    }
}

fn write_tag(out: &mut BytesMut, form: &WireForm, dts: i64) {
    let (kind, prefix) = match form.track() {
        Track::Video => (Kind::Video, 0),
        Track::Audio => (Kind::Audio, 0),
        Track::Data => (Kind::Script, SET_DATA_FRAME.len()),
    };
    let len = (form.payload_len() - prefix) as u32;
    out.put_slice(&flv::mux::tag_header(kind, (dts & i64::from(u32::MAX)) as u32, len));
    let body_at = out.len();
    for slice in form.payload() {
        out.put_slice(&slice);
    }
    if prefix > 0 {
        let body = out.split_off(body_at);
        out.put_slice(&body[prefix..]);
    }
    out.put_slice(&flv::mux::trailer(len));
}

/// A viewer further behind skips to a keyframe, and is let go at twice this.
const VIEWER_LAG: Duration = Duration::from_secs(3);
/// Handed to the HTTP server at once.
const PIECE: Batch = Batch { tags: 256, bytes: 256 << 10 };

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_that_can_be_pasted() {
        let table = [
            ("127.0.0.1:8080", false, "ffplay http://127.0.0.1:8080"),
            ("192.0.2.1:80", true, "ffplay -headers 'Authorization: Bearer TOKEN' http://192.0.2.1:80"),
            ("0.0.0.0:8080", false, "ffplay http://127.0.0.1:8080"),
            ("[::]:8080", false, "ffplay http://[::1]:8080"),
        ];
        for (address, asks_for_token, command) in table {
            assert_eq!(ffplay(address.parse().unwrap(), asks_for_token), command);
        }
    }
}
