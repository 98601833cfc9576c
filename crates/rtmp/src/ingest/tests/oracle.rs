//! Sessions against the client of another implementation.

use rml_rtmp::{
    handshake::{Handshake, HandshakeProcessResult, PeerType},
    sessions::{
        ClientSession, ClientSessionConfig, ClientSessionEvent, ClientSessionResult, PublishRequestType, StreamMetadata,
    },
    time::RtmpTimestamp,
};

use super::*;

/// rml_rtmp's client and a session that it talks to.
struct Oracle {
    client: ClientSession,
    said: Vec<u8>,
    events: Vec<ClientSessionEvent>,
}

impl Oracle {
    fn greeted(ingest: &mut Ingest) -> Self {
        let mut handshake = Handshake::new(PeerType::Client);
        ingest.handle_input(&handshake.generate_outbound_p0_and_p1().unwrap()).unwrap();
        let answer = ingest.take_output().unwrap();
        let HandshakeProcessResult::Completed { response_bytes, remaining_bytes } =
            handshake.process_bytes(&answer).unwrap()
        else {
            panic!("S0, S1 and S2 are an answer");
        };
        assert_eq!(remaining_bytes, []);
        let (client, results) = ClientSession::new(ClientSessionConfig::new()).unwrap();
        let mut oracle = Self { client, said: response_bytes, events: Vec::new() };
        oracle.results(results);
        oracle
    }

    fn results(&mut self, results: Vec<ClientSessionResult>) {
        for result in results {
            match result {
                ClientSessionResult::OutboundResponse(packet) => self.said.extend(packet.bytes),
                ClientSessionResult::RaisedEvent(event) => self.events.push(event),
                ClientSessionResult::UnhandleableMessageReceived(_) => {}
            }
        }
    }

    fn talk_to(&mut self, ingest: &mut Ingest) {
        while !self.said.is_empty() {
            ingest.handle_input(&std::mem::take(&mut self.said)).unwrap();
            while let Some(output) = ingest.take_output() {
                let results = self.client.handle_input(&output).unwrap();
                self.results(results);
            }
        }
    }
}

#[test]
fn another_implementation_publishes() {
    let mut ingest = Ingest::new(IngestLimits::default());
    let mut oracle = Oracle::greeted(&mut ingest);
    let request = oracle.client.request_connection("live".into()).unwrap();
    oracle.results(vec![request]);
    oracle.talk_to(&mut ingest);
    assert!(oracle.events.contains(&ClientSessionEvent::ConnectionRequestAccepted), "{:?}", oracle.events);

    let request = oracle.client.request_publishing("in?a=b".into(), PublishRequestType::Live).unwrap();
    oracle.results(vec![request]);
    oracle.talk_to(&mut ingest);
    let want = IngestEvent::Publish { app: "live".into(), key: StreamKey::new("in?a=b".into()) };
    assert_eq!(ingest.next_event(), Some(want));
    ingest.accept();
    let results = oracle.client.handle_input(&ingest.take_output().unwrap()).unwrap();
    oracle.results(results);
    assert!(oracle.events.contains(&ClientSessionEvent::PublishRequestAccepted), "{:?}", oracle.events);

    let mut metadata = StreamMetadata::new();
    metadata.video_width = Some(1280);
    let mut packets = vec![oracle.client.publish_metadata(&metadata).unwrap()];
    let mut want = Vec::new();
    // Over the edge where timestamps are extended.
    for n in 0..20_u32 {
        let (timestamp, body) = (0xFF_FFF0 + n * 3, Bytes::from(vec![n as u8; 1 + n as usize * 997]));
        let time = RtmpTimestamp::new(timestamp);
        let (kind, packet) = if n % 2 == 0 {
            (Kind::Video, oracle.client.publish_video_data(body.clone(), time, false))
        } else {
            (Kind::Audio, oracle.client.publish_audio_data(body.clone(), time, false))
        };
        packets.push(packet.unwrap());
        want.push(IngestEvent::Tag(Tag { kind, timestamp, body }));
    }
    oracle.results(packets);
    let results = oracle.client.stop_publishing().unwrap();
    oracle.results(results);
    oracle.talk_to(&mut ingest);

    let Some(IngestEvent::Tag(metadata)) = ingest.next_event() else { panic!("metadata comes first") };
    assert_eq!(amf0::metadata_name(&metadata.body), Some(&b"onMetaData"[..]));
    want.push(IngestEvent::Unpublished);
    let got: Vec<_> = std::iter::from_fn(|| ingest.next_event()).collect();
    assert_eq!(got, want);
}
