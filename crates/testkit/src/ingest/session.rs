//! One publisher's connection.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, Bytes};
use flv::Kind;
use flv::amf0::{self, Limits, Value};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, sleep_until};

use super::chunks;
use super::record::{Command, Ended, Received};
use super::replies;
use super::script::{Script, Step};
use super::{Control, Shared, socket::Socket};
use crate::readers::{Message, Personality, Reader};

/// Serves a connection to its end and records how it ended.
pub(super) async fn run(tcp: TcpStream, script: Script, index: usize, shared: Arc<Shared>) {
    let mut control = shared.control.subscribe();
    let generation = control.borrow().generation;
    let serving = async {
        let socket = match Socket::accept(tcp, index, &shared).await {
            Ok(socket) => socket,
            Err(error) => return Ended::NoTls(error.to_string()),
        };
        let session = Session {
            socket,
            script,
            index,
            shared: shared.clone(),
            reader: Reader::new(Personality::Spec),
            chunk_size: 128,
            silent: false,
        };
        session.serve(generation).await
    };
    let ended = tokio::select! {
        // It knows how to end abruptly, and does unless it is in the middle of something.
        biased;
        ended = serving => ended,
        _ = control.wait_for(|control| control.generation != generation) => Ended::Dropped,
    };
    if let Some(audience) = &shared.audience {
        audience.ended(index, &ended);
    }
    shared.update(index, |record| {
        record.ended = Some(ended);
        record.ended_at = Some(Instant::now());
    });
}

struct Session {
    socket: Socket,
    script: Script,
    index: usize,
    shared: Arc<Shared>,
    reader: Reader,
    /// Of what the server sends.
    chunk_size: usize,
    /// Nothing is answered any more.
    silent: bool,
}

/// What a connection comes to.
enum Stop {
    Ended(Ended),
    /// The publisher is gone.
    Gone,
}

impl From<io::Error> for Stop {
    fn from(_: io::Error) -> Self {
        Self::Gone
    }
}

impl Session {
    async fn serve(mut self, generation: u64) -> Ended {
        let stop = match self.handshake().await {
            Ok(()) => self.messages(generation).await,
            Err(_) => Stop::Gone,
        };
        match stop {
            Stop::Ended(ended) => ended,
            Stop::Gone if self.reader.between_messages() => Ended::Closed,
            Stop::Gone => Ended::Cut,
        }
    }

    async fn handshake(&mut self) -> io::Result<()> {
        let mut c0c1 = [0; 1537];
        self.socket.read_exact(&mut c0c1).await?;
        if self.script.never_answer == Some(Step::Handshake) {
            self.silent = true;
            return Ok(());
        }
        // The plain handshake: S1 with a zero version, S2 the echo of C1 (RTMP 1.0, 5.2).
        let mut answer = [0; 1 + 1536 + 1536];
        answer[0] = 3;
        fastrand::Rng::with_seed(1).fill(&mut answer[9..1537]);
        answer[1537..].copy_from_slice(&c0c1[1..]);
        self.socket.write_all(&answer).await?;
        let mut c2 = [0; 1536];
        self.socket.read_exact(&mut c2).await?;
        Ok(())
    }

    async fn messages(&mut self, generation: u64) -> Stop {
        let mut control = self.shared.control.subscribe();
        let mut buffer = vec![0; 16 * 1024];
        let mut next_ping = None;
        loop {
            let started = self.started();
            if let (None, Some(started), Some(every)) = (next_ping, started, self.script.ping_every) {
                next_ping = Some(started + every);
            }
            let reset = started.zip(self.script.reset_after).map(|(started, after)| started + after);
            let deaf = started.zip(self.script.stop_reading_after).map(|(started, after)| started + after);
            let Control { paused, generation: newest, abruptly, .. } = *control.borrow_and_update();
            if newest != generation {
                if abruptly {
                    let _ = self.socket.below().set_zero_linger();
                }
                return Stop::Ended(Ended::Dropped);
            }
            let limit = match (started, self.script.read_bytes_per_sec) {
                (Some(_), Some(rate)) => buffer.len().min(rate.max(1) as usize),
                _ => buffer.len(),
            };
            let reading = !paused && deaf.is_none_or(|at| Instant::now() < at);
            let step = tokio::select! {
                read = self.socket.read(&mut buffer[..limit]), if reading => match read {
                    Ok(0) => Err(Stop::Gone),
                    Ok(read) => self.received(&buffer[..read]).await,
                    Err(error) => Err(error.into()),
                },
                () = at(next_ping) => {
                    next_ping = next_ping.zip(self.script.ping_every).map(|(last, every)| last + every);
                    self.send(2, 4, 0, &replies::user_control(6, 1234)).await.map_err(Stop::from)
                }
                () = at(reset) => {
                    let _ = self.socket.below().set_zero_linger();
                    Err(Stop::Ended(Ended::Dropped))
                }
                () = at(deaf), if reading => Ok(()),
                changed = control.changed() => changed.map_err(|_| Stop::Ended(Ended::Dropped)),
            };
            if let Err(stop) = step {
                return stop;
            }
        }
    }

    async fn received(&mut self, bytes: &[u8]) -> Result<(), Stop> {
        let rate = self.shared.control.borrow().read_bytes_per_sec.or(self.script.read_bytes_per_sec);
        if let (Some(rate), Some(_)) = (rate, self.started()) {
            sleep(Duration::from_secs_f64(bytes.len() as f64 / f64::from(rate.max(1)))).await;
        }
        if self.silent && self.script.never_answer == Some(Step::Handshake) {
            return Ok(());
        }
        self.reader.push(bytes);
        loop {
            match self.reader.next() {
                Ok(Some(message)) => self.message(message).await?,
                Ok(None) => return Ok(()),
                Err(offence) => return Err(Stop::Ended(Ended::Protocol(offence))),
            }
        }
    }

    async fn message(&mut self, message: Message) -> Result<(), Stop> {
        let chunk_size = self.reader.chunk_size();
        self.shared.update(self.index, |record| {
            record.chunk_streams.insert(message.chunk_stream);
            record.chunk_size = chunk_size;
        });
        let mut payload = message.payload.clone();
        match message.type_id {
            3 => {
                let number = payload.try_get_u32().ok();
                self.shared.update(self.index, |record| record.acknowledged = number);
            }
            4 if payload.try_get_u16() == Ok(7) => self.shared.update(self.index, |record| record.pongs += 1),
            20 => return self.command(payload).await,
            type_id => {
                if let Some(kind) = Kind::from_type_id(type_id) {
                    self.media(kind, &message);
                }
            }
        }
        Ok(())
    }

    fn media(&self, kind: Kind, message: &Message) {
        let received = Received {
            kind,
            timestamp: message.timestamp,
            body: message.payload.clone(),
            chunk_stream: message.chunk_stream,
            form: message.form,
            stream_id: message.stream_id,
            at: Instant::now(),
        };
        match &self.shared.audience {
            Some(audience) => audience.received(self.index, &received),
            None => self.shared.update(self.index, |record| record.messages.push(received)),
        }
    }

    async fn command(&mut self, payload: Bytes) -> Result<(), Stop> {
        let offence = |text: String| Stop::Ended(Ended::Protocol(text));
        let values = amf0::decode_all(payload, &Limits::default()).map_err(|error| offence(error.to_string()))?;
        let mut values = values.into_iter();
        let name = values.next().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default();
        let transaction = values.next().and_then(|value| value.as_number()).unwrap_or_default();
        let command = Command { name, transaction, arguments: values.collect() };
        self.shared.update(self.index, |record| record.commands.push(command.clone()));
        if self.silent {
            return Ok(());
        }
        match command.name.as_str() {
            "connect" => self.connect(&command).await,
            "releaseStream" => Ok(self.release_stream(&command).await?),
            "FCPublish" => Ok(self.fc_publish(&command).await?),
            "createStream" => Ok(self.create_stream(&command).await?),
            "publish" => self.publish(&command).await,
            _ => Ok(()),
        }
    }

    async fn connect(&mut self, command: &Command) -> Result<(), Stop> {
        let props = command.arguments.first().and_then(Value::as_props);
        let text =
            |name| props.and_then(|props| props.get(name)).and_then(Value::as_str).unwrap_or_default().to_owned();
        let (app, tc_url) = (text("app"), text("tcUrl"));
        self.shared.update(self.index, |record| (record.app, record.tc_url) = (app, tc_url));
        if self.stays_silent_at(Step::Connect) {
            return Ok(());
        }
        if self.script.reject_connect {
            let info = replies::info("error", "NetConnection.Connect.Rejected", "no");
            self.reply("_error", command.transaction, &[Value::Null, info]).await?;
            return Err(self.close().await);
        }
        self.send(2, 5, 0, &self.script.acknowledge_every.unwrap_or(2_500_000).to_be_bytes()).await?;
        self.send(2, 6, 0, &[0, 0x26, 0x25, 0xA0, 2]).await?;
        let announced = match (self.script.chunk_size, self.script.interleave_control) {
            (Some(bytes), _) => bytes,
            // Small chunks leave room between them.
            (None, true) => 64,
            (None, false) => 4096,
        };
        self.send(2, 1, 0, &announced.to_be_bytes()).await?;
        self.chunk_size = announced as usize;
        let info = replies::info("status", "NetConnection.Connect.Success", "ok");
        Ok(self.reply("_result", command.transaction, &[replies::server_properties(), info]).await?)
    }

    async fn release_stream(&mut self, command: &Command) -> io::Result<()> {
        let transaction = command.transaction;
        if self.script.error_to_release_stream {
            let info = replies::info("error", "NetConnection.Call.Failed", "no such method");
            return self.reply("_error", transaction, &[Value::Null, info]).await;
        }
        if self.script.undefined_replies {
            return self.reply("_result", transaction, &[Value::Undefined, Value::Undefined]).await;
        }
        self.reply("_result", transaction, &[Value::Null, Value::Null]).await
    }

    async fn fc_publish(&mut self, command: &Command) -> io::Result<()> {
        let transaction = command.transaction;
        if self.script.error_to_release_stream {
            return self.reply("_error", transaction, &[Value::Null]).await;
        }
        if self.script.undefined_replies {
            return self.reply("_result", transaction, &[]).await;
        }
        let info = replies::info("status", "NetStream.Publish.Start", "FCPublish");
        self.reply("onFCPublish", 0.0, &[Value::Null, info]).await
    }

    async fn create_stream(&mut self, command: &Command) -> io::Result<()> {
        if self.stays_silent_at(Step::CreateStream) {
            return Ok(());
        }
        let transaction = if self.script.zero_transaction { 0.0 } else { command.transaction };
        let id = f64::from(self.script.stream_id.unwrap_or(1));
        self.reply("_result", transaction, &[Value::Null, Value::Number(id)]).await
    }

    async fn publish(&mut self, command: &Command) -> Result<(), Stop> {
        let key = command.arguments.get(1).and_then(Value::as_str).unwrap_or_default().to_owned();
        self.shared.update(self.index, |record| record.key = key);
        if self.stays_silent_at(Step::Publish) {
            return Ok(());
        }
        let stream_id = self.script.stream_id.unwrap_or(1);
        if self.script.amf_bomb {
            self.send(3, 20, 0, &replies::bomb(100_000)).await?;
        }
        if let Some(code) = self.script.reject_publish.clone() {
            self.send(5, 20, stream_id, &replies::on_status("error", &code, "not you")).await?;
            return Err(self.close().await);
        }
        self.send(2, 4, 0, &replies::user_control(0, stream_id)).await?;
        let started = replies::on_status("status", "NetStream.Publish.Start", "go");
        self.send(5, 20, stream_id, &started).await?;
        self.shared.update(self.index, |record| record.started = Some(Instant::now()));
        if let Some(audience) = &self.shared.audience {
            audience.started(self.index);
        }
        if self.script.close_after_start {
            return Err(self.close().await);
        }
        if self.script.garbage {
            let mut noise = [0; 4096];
            fastrand::Rng::with_seed(3).fill(&mut noise);
            self.socket.write_all(&noise).await?;
        }
        if self.script.garbage_under_tls {
            let mut noise = [0; 4096];
            fastrand::Rng::with_seed(5).fill(&mut noise);
            self.socket.below().write_all(&noise).await?;
        }
        if self.script.huge_message {
            self.socket.write_all(b"\x05\0\0\0\xFF\xFF\xF0\x14\0\0\0\0").await?;
            self.socket.write_all(&[2; 4096]).await?;
        }
        Ok(())
    }

    fn started(&self) -> Option<Instant> {
        super::lock(&self.shared.records).get(self.index).and_then(|record| record.started)
    }

    fn stays_silent_at(&mut self, step: Step) -> bool {
        self.silent |= self.script.never_answer == Some(step);
        self.silent
    }

    async fn close(&mut self) -> Stop {
        // The publisher may have closed first; then there is nothing to shut down.
        let _ = self.socket.shutdown().await;
        Stop::Ended(Ended::Dropped)
    }

    async fn reply(&mut self, name: &str, transaction: f64, values: &[Value]) -> io::Result<()> {
        let mut all = vec![Value::str(name), Value::Number(transaction)];
        all.extend_from_slice(values);
        self.send(3, 20, 0, &replies::command(&all)).await
    }

    async fn send(&mut self, chunk_stream: u8, type_id: u8, stream_id: u32, payload: &[u8]) -> io::Result<()> {
        let interleave = self.script.interleave_control && type_id == 20;
        let pieces = chunks::write(chunk_stream, type_id, stream_id, payload, self.chunk_size);
        for (n, piece) in pieces.iter().enumerate() {
            if interleave && n > 0 {
                self.socket.write_all(&control_between(self.chunk_size)).await?;
            }
            self.socket.write_all(piece).await?;
        }
        if interleave {
            self.socket.write_all(&control_between(self.chunk_size)).await?;
            let done = replies::command(&[Value::str("onBWDone"), Value::Number(0.0)]);
            let done = chunks::write(4, 20, 0, &done, self.chunk_size).concat();
            self.socket.write_all(&done).await?;
        }
        Ok(())
    }
}

fn control_between(chunk_size: usize) -> Vec<u8> {
    let mut out = chunks::write(2, 3, 0, &100_u32.to_be_bytes(), chunk_size).concat();
    out.extend(chunks::write(2, 4, 0, &replies::user_control(6, 77), chunk_size).concat());
    out
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => std::future::pending().await,
    }
}
