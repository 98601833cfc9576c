//! Sessions against the server of another implementation.

use rml_rtmp::{
    handshake::{Handshake, HandshakeProcessResult, PeerType},
    sessions::{ServerSession, ServerSessionConfig, ServerSessionEvent, ServerSessionResult},
};

use super::*;
use crate::wire::{MediaWriter, Track, WireForm};

/// rml_rtmp's server, which accepts whatever is asked of it.
struct Oracle {
    handshake: Option<Handshake>,
    server: ServerSession,
    said: Vec<u8>,
    events: Vec<ServerSessionEvent>,
}

impl Oracle {
    fn new() -> Self {
        let (server, results) = ServerSession::new(ServerSessionConfig::new()).unwrap();
        let handshake = Some(Handshake::new(PeerType::Server));
        let mut oracle = Self { handshake, server, said: Vec::new(), events: Vec::new() };
        oracle.results(results);
        oracle
    }

    fn hear(&mut self, bytes: &[u8]) {
        let mut bytes = bytes.to_vec();
        if let Some(handshake) = &mut self.handshake {
            let waiting = std::mem::take(&mut self.said);
            match handshake.process_bytes(&bytes).unwrap() {
                HandshakeProcessResult::InProgress { response_bytes } => {
                    self.said = [response_bytes, waiting].concat();
                    return;
                }
                HandshakeProcessResult::Completed { remaining_bytes, .. } => {
                    self.said = waiting;
                    self.handshake = None;
                    bytes = remaining_bytes;
                }
            }
        }
        let results = self.server.handle_input(&bytes).unwrap();
        self.results(results);
    }

    fn results(&mut self, results: Vec<ServerSessionResult>) {
        for result in results {
            match result {
                ServerSessionResult::OutboundResponse(packet) => self.said.extend(packet.bytes),
                ServerSessionResult::RaisedEvent(event) => {
                    if let ServerSessionEvent::ConnectionRequested { request_id, .. }
                    | ServerSessionEvent::PublishStreamRequested { request_id, .. } = event
                    {
                        let results = self.server.accept_request(request_id).unwrap();
                        self.results(results);
                    }
                    self.events.push(event);
                }
                ServerSessionResult::UnhandleableMessageReceived(message) => panic!("{message:?}"),
            }
        }
    }

    fn talk_to(&mut self, session: &mut Publish) {
        while let Some(output) = session.take_output() {
            self.hear(&output);
            session.handle_input(&std::mem::take(&mut self.said)).unwrap();
        }
    }
}

#[test]
fn another_implementation_takes_the_stream() {
    let (mut session, mut oracle) = (session_to("rtmp://h/live/k?sign=1"), Oracle::new());
    oracle.talk_to(&mut session);
    let Some(PublishEvent::Started { stream_id }) = session.next_event() else { panic!("at {}", session.step()) };
    oracle.events.clear();

    let mut writer = MediaWriter::new(stream_id, 1000);
    let mut previous = [None, None];
    for n in 0..50_i64 {
        let (track, dts) = if n % 2 == 0 { (Track::Video, 1000 + n * 20) } else { (Track::Audio, 1003 + n * 20) };
        let body = vec![n as u8; 1 + n as usize * 311];
        let wire = WireForm::new(track, dts, previous[n as usize % 2].replace(dts), &[&body]);
        let mut out = Vec::new();
        writer.write(&wire, &mut out);
        out.iter().for_each(|piece| oracle.hear(piece));
        if n % 10 == 0 {
            let ping = oracle.server.send_ping_request().unwrap().0;
            session.handle_input(&ping.bytes).unwrap();
            oracle.talk_to(&mut session);
        }
    }
    session.close();
    oracle.talk_to(&mut session);

    let (mut media, mut pongs, mut finished) = (0_i64, 0, false);
    for event in oracle.events {
        let (is_video, timestamp, data) = match event {
            ServerSessionEvent::VideoDataReceived { timestamp, data, .. } => (true, timestamp, data),
            ServerSessionEvent::AudioDataReceived { timestamp, data, .. } => (false, timestamp, data),
            ServerSessionEvent::PingResponseReceived { .. } => {
                pongs += 1;
                continue;
            }
            ServerSessionEvent::PublishStreamFinished { stream_key, .. } => {
                assert_eq!(stream_key, "k?sign=1");
                finished = true;
                continue;
            }
            _ => continue,
        };
        assert_eq!(is_video, media % 2 == 0);
        assert_eq!(i64::from(timestamp.value), media * 20 + if is_video { 0 } else { 3 });
        assert_eq!(data, vec![media as u8; 1 + media as usize * 311]);
        media += 1;
    }
    assert_eq!((media, pongs, finished), (50, 5, true));
}
