//! What is between those who call and the program: lines that are not written yet, and calls that are not answered yet. Owns
//! the ids, and the bounds of both; never does I/O.

use std::collections::{BTreeSet, HashMap};
use std::io::Write;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use smol::Timer;

use super::notify::Notify;
use crate::config::Hook;
use crate::limits::{PROCESS_CALLS_MAX, PROCESS_HEARD_BYTES_MAX, PROCESS_UNWRITTEN_BYTES_MAX};
use crate::plugin::answer::RawAnswer;
use crate::plugin::{Answer, Call, Failure};

/// An answer that is to come.
pub(super) struct PendingAnswer {
    /// Of the call.
    id: u64,
    /// When the call was handed in.
    asked: Instant,
    answer: oneshot::AsyncReceiver<Result<Answer, Failure>>,
}

impl PendingAnswer {
    /// The answer, when it comes.
    pub(super) async fn answer(&mut self) -> Result<Answer, Failure> {
        (&mut self.answer).await.unwrap_or_else(|_| Err(Failure::ended("the program is gone")))
    }
}

/// The exchange of one plugin, over all the lives of its program.
pub(super) struct Exchange {
    state: Mutex<ExchangeState>,
    /// Held by the caller whose turn it is: who came first goes first.
    turn: smol::lock::Mutex<()>,
    /// There is something to write.
    work: Notify,
    /// There may be room for the call whose turn it is.
    room: Notify,
    /// What was to be written is being written.
    taken: Notify,
    /// Something was not kept for the program.
    overfull: Notify,
}

struct ExchangeState {
    standing: InputState,
    /// Lines to be written.
    unwritten: Vec<u8>,
    /// Calls that the program has in hand, or will have; not those that were given up.
    unanswered: HashMap<u64, PendingCall>,
    /// Those of them for whose answers somebody waits.
    awaited: BTreeSet<u64>,
    /// Since when it is the turn of the first of these.
    turn_since: Instant,
    /// No two calls have the same, not of two lives either.
    next_id: u64,
    /// When the program said something last, or was asked something while it owed no answer.
    quiet_since: Instant,
    /// It was told more than is kept for it, so that something is missing.
    is_overfull: bool,
}

struct PendingCall {
    hook: Hook,
    answer: oneshot::Sender<Result<Answer, Failure>>,
}

/// Whether the program can be told anything.
enum InputState {
    Open,
    /// It has closed its input.
    StdinClosed,
    /// It does not run, for this reason.
    Closed(String),
}

impl Exchange {
    /// An open one: what is asked before the program runs waits for it.
    pub(super) fn new() -> Self {
        let state = ExchangeState {
            standing: InputState::Open,
            unwritten: Vec::new(),
            unanswered: HashMap::new(),
            awaited: BTreeSet::new(),
            turn_since: Instant::now(),
            next_id: 1,
            quiet_since: Instant::now(),
            is_overfull: false,
        };
        let (work, room, taken, overfull) = (Notify::new(), Notify::new(), Notify::new(), Notify::new());
        Exchange { state: Mutex::new(state), turn: smol::lock::Mutex::new(()), work, room, taken, overfull }
    }

    /// Hands in a call, as soon as there is room for it.
    pub(super) async fn call(&self, call: &Call) -> Result<PendingAnswer, Failure> {
        let _turn = self.turn.lock().await;
        loop {
            if let Some(answering) = self.try_call(call)? {
                self.work.ring();
                return Ok(answering);
            }
            self.room.rung().await;
        }
    }

    /// `None`: there is no room.
    fn try_call(&self, call: &Call) -> Result<Option<PendingAnswer>, Failure> {
        let mut state = self.state();
        match &state.standing {
            InputState::Open if state.has_room() => Ok(Some(state.push(call))),
            InputState::Open => Ok(None),
            InputState::StdinClosed => Err(Failure::down("the program has closed its standard input")),
            InputState::Closed(why) => Err(Failure::down(why.clone())),
        }
    }

    /// Gives an answer to who waits for it. Says whether anybody did.
    pub(super) fn answer(&self, id: &str, answer: Result<RawAnswer, Failure>) -> bool {
        let Ok(id) = id.parse::<u64>() else { return false };
        let Some(unanswered) = self.state().take(id) else { return false };
        self.room.ring();
        let verdict = answer.and_then(|answer| answer.verdict(unanswered.hook));
        unanswered.answer.send(verdict.map(Answer::from)).is_ok()
    }

    /// Whether it is a call that tells of something, so that nobody is held up by its answer.
    pub(super) fn is_notified(&self, id: &str) -> bool {
        let Ok(id) = id.parse::<u64>() else { return false };
        self.state().unanswered.get(&id).is_some_and(|unanswered| !unanswered.hook.decides())
    }

    /// How much of its time a call has left: it is over when the program has said nothing for so long, or when it has answered all that
    /// is awaited before it and says nothing to this. `None`: nothing is left, and it is given up.
    pub(super) fn time_left(&self, answering: &PendingAnswer, timeout: Duration) -> Option<Duration> {
        let mut state = self.state();
        let mut since = state.quiet_since.max(answering.asked);
        if state.awaited.first() == Some(&answering.id) {
            since = since.min(state.turn_since);
        }
        let left = timeout.checked_sub(since.elapsed()).filter(|left| !left.is_zero());
        if left.is_none() {
            drop(state.take(answering.id));
            self.room.ring();
        }
        left
    }

    /// Whether the program has owed an answer for so long, and said nothing.
    pub(super) fn is_quiet(&self, silence: Duration) -> bool {
        self.state().asked_since().is_none_or(|since| since.elapsed() >= silence)
    }

    /// Notes that the program says something.
    pub(super) fn heard(&self) {
        self.state().quiet_since = Instant::now();
    }

    /// Waits until the program has owed an answer for so long, and said nothing.
    pub(super) async fn until_silent(&self, silence: Duration) {
        loop {
            let until = self.state().asked_since().unwrap_or_else(Instant::now) + silence;
            if until <= Instant::now() {
                return;
            }
            Timer::at(until).await;
        }
    }

    /// Has a line written that answers no call. Who does not read them at all gets no more of them.
    pub(super) fn tell(&self, line: &str) {
        let mut state = self.state();
        if !matches!(state.standing, InputState::Open) || state.is_overfull {
            return;
        }
        if state.unwritten.len() >= PROCESS_HEARD_BYTES_MAX {
            state.is_overfull = true;
            self.overfull.ring();
            return;
        }
        state.unwritten.extend_from_slice(line.as_bytes());
        state.unwritten.push(b'\n');
        self.work.ring();
    }

    /// Waits until the program was told more than is kept for it.
    pub(super) async fn until_overfull(&self) {
        while !self.state().is_overfull {
            self.overfull.rung().await;
        }
    }

    /// Waits until little is to be written: so long nothing is asked whose answer would have to be kept.
    pub(super) async fn until_read(&self) {
        while self.state().unwritten.len() >= PROCESS_UNWRITTEN_BYTES_MAX {
            self.taken.rung().await;
        }
    }

    /// Takes all that is to be written, once there is something.
    pub(super) async fn take(&self) -> Vec<u8> {
        loop {
            let lines = mem::take(&mut self.state().unwritten);
            if !lines.is_empty() {
                self.room.ring();
                self.taken.ring();
                return lines;
            }
            self.work.rung().await;
        }
    }

    /// The program reads no more. What it has read it may still answer.
    pub(super) fn mark_stdin_closed(&self) {
        let mut state = self.state();
        state.standing = InputState::StdinClosed;
        state.unwritten = Vec::new();
        self.room.ring();
        self.taken.ring();
    }

    /// The program is gone: what was asked of it has failed with `how` it went, and what is asked from here on fails with `why`.
    pub(super) fn close(&self, how: &str, why: &str) {
        let mut state = self.state();
        state.standing = InputState::Closed(why.to_owned());
        state.unwritten = Vec::new();
        state.awaited.clear();
        for (_, PendingCall { hook, answer }) in state.unanswered.drain() {
            let failure = Failure::ended(format!("{how}, and had not answered to {}", hook.as_str()));
            // Nobody may wait for it any more.
            let _ = answer.send(Err(failure));
        }
        self.room.ring();
        self.taken.ring();
    }

    /// The program is about to be started again.
    pub(super) fn open(&self) {
        let mut state = self.state();
        state.standing = InputState::Open;
        state.is_overfull = false;
    }

    fn state(&self) -> MutexGuard<'_, ExchangeState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ExchangeState {
    fn has_room(&self) -> bool {
        self.unanswered.len() < PROCESS_CALLS_MAX && self.unwritten.len() < PROCESS_UNWRITTEN_BYTES_MAX
    }

    fn push(&mut self, call: &Call) -> PendingAnswer {
        if self.unanswered.is_empty() {
            self.quiet_since = Instant::now();
        }
        let id = self.next_id;
        self.next_id += 1;
        encode(call, id, &mut self.unwritten);
        let (sender, answer) = oneshot::async_channel();
        self.unanswered.insert(id, PendingCall { hook: call.hook(), answer: sender });
        if call.hook().decides() {
            if self.awaited.is_empty() {
                self.turn_since = Instant::now();
            }
            self.awaited.insert(id);
        }
        PendingAnswer { id, asked: Instant::now(), answer }
    }

    fn take(&mut self, id: u64) -> Option<PendingCall> {
        if self.awaited.first() == Some(&id) {
            self.turn_since = Instant::now();
        }
        self.awaited.remove(&id);
        self.unanswered.remove(&id)
    }

    /// Since when it has owed an answer and said nothing.
    fn asked_since(&self) -> Option<Instant> {
        (!self.unanswered.is_empty()).then_some(self.quiet_since)
    }
}

/// Appends the line of a call: `{"hook":"message","id":"7",…}`. Its id stands before all that others have written, so that a
/// shell finds it without understanding JSON.
fn encode(call: &Call, id: u64, out: &mut Vec<u8>) {
    let start = out.len();
    let hook = call.hook().as_str();
    let written = write!(out, r#"{{"hook":"{hook}","id":"{id}""#);
    let (head, rest) = (r#"{"hook":""#.len() + hook.len() + 1, out.len());
    let encoded = serde_json::to_writer(&mut *out, call);
    debug_assert!(out[start..][..head] == out[rest..][..head], "a call says its hook first");
    out.drain(rest..rest + head);
    out.push(b'\n');
    // Memory takes all, and every call has a form in JSON.
    assert!(written.is_ok() && encoded.is_ok(), "a call is a line of JSON");
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};
    use smol::future;

    use super::*;
    use crate::message::{Destination, PeerName, Text};
    use crate::plugin::{ConnectCall, LoginCall, MessageCall, Verdict};

    fn message(text: &str) -> Call {
        Call::Message(MessageCall {
            from: PeerName::parse("alice").unwrap(),
            to: vec![Destination::parse("bob").unwrap()],
            text: Text::kept(text).unwrap(),
        })
    }

    fn check(call: &Call, expected: Expect) {
        let mut line = b"before\n".to_vec();
        encode(call, 7, &mut line);
        expected.assert_eq(str::from_utf8(&line).unwrap());
    }

    #[test]
    fn a_call_is_a_line_with_its_id_in_front() {
        check(
            &message("a \"b\"\nc"),
            expect![[r#"
                before
                {"hook":"message","id":"7","from":"alice","to":["bob"],"text":"a \"b\"\nc"}
            "#]],
        );
        let connection = ConnectCall { address: [127, 0, 0, 1].into(), protocol: "json", tls: false };
        check(
            &Call::Login(LoginCall { name: PeerName::parse("alice").unwrap(), password: None, connection }),
            expect![[r#"
                before
                {"hook":"login","id":"7","name":"alice","address":"127.0.0.1","protocol":"json","tls":false}
            "#]],
        );
        check(
            &Call::Stop,
            expect![[r#"
                before
                {"hook":"stop","id":"7"}
            "#]],
        );
    }

    #[test]
    fn calls_wait_for_room_and_for_their_turn() {
        let exchange = Exchange::new();
        smol::block_on(async {
            let mut answering = Vec::new();
            for _ in 0..PROCESS_CALLS_MAX {
                answering.push(exchange.call(&message("x")).await.unwrap());
            }
            let call = message("y");
            let mut next = Box::pin(exchange.call(&call));
            assert!(future::poll_once(&mut next).await.is_none(), "there is no room");
            // Nobody waits for its answer any more, but the program has it still in hand.
            drop(answering.remove(0));
            assert!(future::poll_once(&mut next).await.is_none(), "there is no room yet");
            assert!(!exchange.answer("1", Ok(RawAnswer::default())), "too late");
            let mut last = future::poll_once(&mut next).await.expect("there is room").unwrap();
            assert!(exchange.answer("257", Ok(RawAnswer::default())));
            assert_eq!(last.answer().await.unwrap().verdict, Verdict::Pass);
            assert!(!exchange.answer("257", Ok(RawAnswer::default())), "it is answered already");
            assert!(!exchange.answer("999", Ok(RawAnswer::default())), "nobody asked that");
        });
    }

    #[test]
    fn what_is_not_read_is_bounded() {
        let exchange = Exchange::new();
        smol::block_on(async {
            let long = "x".repeat(20_000);
            let call = message(&long);
            let mut calls = 0;
            while future::poll_once(exchange.call(&call)).await.is_some() {
                calls += 1;
            }
            assert_eq!(calls, PROCESS_UNWRITTEN_BYTES_MAX.div_ceil(20_061));
            assert!(future::poll_once(exchange.until_read()).await.is_none());
            let mut overfull = Box::pin(exchange.until_overfull());
            while future::poll_once(&mut overfull).await.is_none() {
                exchange.tell(&long);
            }
            let lines = exchange.take().await;
            assert!(
                (PROCESS_HEARD_BYTES_MAX..PROCESS_HEARD_BYTES_MAX + 20_100).contains(&lines.len()),
                "{}",
                lines.len()
            );
            assert!(future::poll_once(exchange.until_read()).await.is_some());
            assert!(future::poll_once(exchange.call(&call)).await.is_some());
            assert!(future::poll_once(exchange.until_overfull()).await.is_some(), "something is missing still");
            exchange.close("", "");
            exchange.open();
            assert!(future::poll_once(exchange.until_overfull()).await.is_none(), "the next life begins anew");
        });
    }

    #[test]
    fn only_who_owes_an_answer_is_silent() {
        let exchange = Exchange::new();
        let is_silent = async || {
            let silent = async {
                exchange.until_silent(Duration::from_millis(5)).await;
                true
            };
            let long = async {
                Timer::after(Duration::from_millis(30)).await;
                false
            };
            future::or(silent, long).await
        };
        smol::block_on(async {
            assert!(!is_silent().await);
            let _answering = exchange.call(&message("x")).await.unwrap();
            assert!(is_silent().await);
            exchange.answer("1", Ok(RawAnswer::default()));
            assert!(!is_silent().await);
        });
    }

    #[test]
    fn who_waits_for_a_program_that_goes_is_told_how() {
        let exchange = Exchange::new();
        smol::block_on(async {
            let mut asked = exchange.call(&message("x")).await.unwrap();
            exchange.close("it is gone", "it is not back yet");
            let words = |failure: Failure| failure.to_string();
            assert_eq!(
                asked.answer().await.map_err(words),
                Err("it is gone, and had not answered to message".to_owned())
            );
            assert_eq!(
                exchange.call(&message("x")).await.map(drop).map_err(words),
                Err("it is not back yet".to_owned())
            );
            exchange.open();
            assert!(exchange.call(&message("x")).await.is_ok());
        });
    }
}
