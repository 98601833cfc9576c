//! Who watches an output's server, and judges what comes as it comes.

use std::{
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use testkit::{
    Audience, Clock, Ended, Received,
    judge::{Break, Session, Source},
};
use tokio::time::Instant;

use super::windows::{Scope, Windows};

/// The judge of one output, over all its sessions. It keeps counts and offences, no media.
#[derive(Debug)]
pub(crate) struct OutputJudge {
    output: usize,
    relay: usize,
    sources: Arc<[Source]>,
    /// Of live sources: when a frame was due.
    clock: Option<Clock>,
    is_witness: bool,
    windows: Arc<Windows>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    began: Instant,
    /// The connection that publishes; none between sessions.
    session: Option<(usize, Session)>,
    /// When the newest frame came.
    newest: Option<Instant>,
    /// When the last session ended.
    ended: Option<Instant>,
    tally: Tally,
}

/// What an output has had.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) sessions: u64,
    pub(crate) frames: u64,
    pub(crate) bytes: u64,
    /// Places where the programme went on elsewhere because an input was disturbed.
    pub(crate) splices: u64,
    /// Frames missing there.
    pub(crate) missed_by_inputs: u64,
    /// Frames missing within sessions for another reason: the daemon must have counted them as skipped.
    pub(crate) left_out: u64,
    /// Frames missing at one place for both reasons.
    pub(crate) left_out_or_missed: u64,
    /// Of those left out, frames missing while nothing was done to the output.
    pub(crate) left_out_unasked: u64,
    /// The longest that a frame was on its way, where nothing was done to the output.
    pub(crate) latest: Duration,
    /// What nothing explains.
    pub(crate) offences: Vec<String>,
}

impl OutputJudge {
    pub(crate) fn new(
        output: usize,
        relay: usize,
        sources: Arc<[Source]>,
        clock: Option<Clock>,
        is_witness: bool,
        windows: Arc<Windows>,
    ) -> Self {
        Self { output, relay, sources, clock, is_witness, windows, state: Mutex::new(State::new()) }
    }

    /// Counts and offences so far.
    pub(crate) fn tally(&self) -> Tally {
        self.lock().tally.clone()
    }

    /// Takes offence at a silence that nothing explains. To be called every few seconds.
    pub(crate) fn look(&self) {
        let (mut state, now) = (self.lock(), Instant::now());
        let Some(newest) = state.newest.filter(|&newest| now - newest > LONGEST_SILENCE) else { return };
        if !self.is_explained(newest, now) {
            state.offend(&format!("silence for {:?}", now - newest));
            // Told once.
            state.newest = None;
        }
    }

    /// True when frames came within the last moments.
    pub(crate) fn is_live(&self) -> bool {
        self.lock().newest.is_some_and(|newest| newest.elapsed() < Duration::from_secs(2))
    }

    fn is_explained(&self, from: Instant, to: Instant) -> bool {
        let scopes = [Scope::Relay(self.relay), Scope::Output(self.output), Scope::Everything];
        self.windows.explain(&scopes, from, to)
    }

    /// Whose fault a break is.
    fn judge_break(&self, state: &mut State, found: &Break, message: &Received) {
        let (last, now) = (state.newest.unwrap_or(message.at), message.at);
        let inputs = [Scope::Relay(self.relay), Scope::Everything];
        // A frame is missing for the inputs' sake when it was missing at the source's time.
        let (from, to) = match self.clock {
            Some(clock) => {
                let (before, after) = (clock.at(found.before.position()), clock.at(found.after.position()));
                (before.min(after), before.max(after))
            }
            None => (last, now),
        };
        if self.windows.explain(&inputs, from, to) {
            state.tally.splices += 1;
            state.tally.missed_by_inputs += found.missing.unwrap_or(0);
            return;
        }
        let Some(missing) = found.missing else {
            // Left out for the output's sake up to where another encode goes on.
            let scopes = [Scope::Output(self.output), Scope::Relay(self.relay), Scope::Everything];
            if self.windows.touch(&inputs, from, to) && self.windows.explain(&scopes, from, to) {
                state.tally.splices += 1;
                return;
            }
            state.offend(&format!("{:?} after {:?} although no input was disturbed", found.after, found.before));
            return;
        };
        if self.windows.touch(&inputs, from, to) {
            // The output was late meanwhile: how many of them the daemon let go of, and how many it never had, is not to
            // be told from here.
            state.tally.left_out_or_missed += missing;
            return;
        }
        state.tally.left_out += missing;
        if !self.windows.explain(&[Scope::Output(self.output), Scope::Everything], last, now) {
            state.tally.left_out_unasked += missing;
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Audience for OutputJudge {
    fn started(&self, connection: usize) {
        let mut state = self.lock();
        state.tally.sessions += 1;
        state.session = Some((connection, Session::new(Arc::clone(&self.sources), TOLERANCE)));
        // Nothing is missing yet of a programme that has not begun. One that paused is not missing either: frames that a
        // stalled twin has kept back come to this session, and why the last one ended has been judged.
        if let Some(newest) = state.newest {
            let since = state.ended.map_or(newest, |ended| ended.max(newest));
            if !self.is_explained(since, Instant::now()) {
                state.offend(&format!("a new session {:?} after the last one", since.elapsed()));
            }
        }
    }

    fn received(&self, connection: usize, message: &Received) {
        let mut state = self.lock();
        let Some((of, session)) = &mut state.session else { return };
        if *of != connection {
            return;
        }
        let judged = session.take(message);
        state.tally.bytes += message.body.len() as u64;
        let Some(id) = message.id() else {
            if let Err(offence) = judged {
                state.end_with(&offence);
            }
            return;
        };
        state.tally.frames += 1;
        match judged {
            Ok(None) => {}
            Ok(Some(found)) => self.judge_break(&mut state, &found, message),
            Err(offence) => return state.end_with(&offence),
        }
        if let Some(clock) = self.clock.filter(|_| self.is_witness) {
            let late = message.at.saturating_duration_since(clock.at(id.position()));
            state.tally.latest = state.tally.latest.max(late);
        }
        state.newest = Some(message.at);
    }

    fn ended(&self, connection: usize, how: &Ended) {
        let mut state = self.lock();
        if state.session.as_ref().is_some_and(|&(of, _)| of == connection) {
            state.session = None;
        }
        let now = Instant::now();
        state.ended = Some(now);
        let explained = self.windows.explain(&[Scope::Output(self.output), Scope::Everything], now, now);
        if matches!(how, Ended::Protocol(_)) || !explained {
            state.offend(&format!("connection {connection} ended: {how:?}"));
        }
    }
}

impl State {
    fn new() -> Self {
        Self { began: Instant::now(), session: None, newest: None, ended: None, tally: Tally::default() }
    }

    fn offend(&mut self, offence: &str) {
        let seconds = self.began.elapsed().as_secs();
        let offence = format!("at {:02}:{:02}: {offence}", seconds / 60, seconds % 60);
        let offences = &mut self.tally.offences;
        if offences.len() < MAX_OFFENCES {
            offences.push(offence);
        }
    }

    /// The first offence of a session is told; what follows from it is not.
    fn end_with(&mut self, offence: &str) {
        drop(mem::take(&mut self.session));
        self.offend(offence);
    }
}

/// Audio and video may be this far apart, in ms: a splice clamps frames that overlap.
const TOLERANCE: i64 = 40;
/// A source pauses for less than this.
const LONGEST_SILENCE: Duration = Duration::from_secs(5);
/// Offences kept per output.
const MAX_OFFENCES: usize = 20;
