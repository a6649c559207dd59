//! Exchange between the server and a program: lines that are not written yet, and calls that are not answered yet. Owns the ids
//! of the calls, and the bounds of both; never does I/O.

use std::collections::{BTreeSet, HashMap};
use std::io::Write;
use std::mem;
use std::time::{Duration, Instant};

use event_listener::Event;
use parking_lot::{Mutex, MutexGuard};
use smol::Timer;

use crate::config::Hook;
use crate::limits::{PROCESS_CALLS_MAX, PROCESS_UNREAD_BYTES_MAX, PROCESS_UNWRITTEN_BYTES_MAX};
use crate::message::RequestId;
use crate::plugin::answer::RawAnswer;
use crate::plugin::{Answer, Call, Failure};
use crate::protocol::{Reply, json};

/// Reason why a program gets no calls although it runs.
const STDIN_CLOSED: &str = "the program has closed its standard input";

/// Answer to a call in flight.
pub(super) struct PendingAnswer {
    /// Id of the call.
    id: u64,
    /// Time at which the call was submitted.
    called_at: Instant,
    answer: oneshot::AsyncReceiver<Result<Answer, Failure>>,
}

impl PendingAnswer {
    /// Waits for the answer.
    pub(super) async fn answer(&mut self) -> Result<Answer, Failure> {
        (&mut self.answer).await.unwrap_or_else(|_| Err(Failure::ended("the program is gone")))
    }
}

/// Exchange of one plugin. It outlives the single runs of its program.
pub(super) struct Exchange {
    state: Mutex<ExchangeState>,
    /// Held by the caller whose turn it is, so that calls are sent in the order in which they were made.
    turn: smol::lock::Mutex<()>,
    /// Notified when there are lines to write.
    lines_added: Event,
    /// Notified when there may be room for the next call.
    room_made: Event,
    /// Notified when the lines are being written.
    lines_taken: Event,
    /// Notified when a reply was dropped because the program does not read.
    overfull: Event,
}

struct ExchangeState {
    input: InputState,
    /// Lines to write.
    unwritten: Vec<u8>,
    /// Calls that the program has or will get. Calls that timed out are not among them.
    pending: HashMap<u64, PendingCall>,
    /// Pending calls of deciding hooks, which hold up a client.
    awaited: BTreeSet<u64>,
    /// Time at which the first of `awaited` became the first.
    turn_since: Instant,
    /// Id of the next call. No two calls have the same id, across restarts of the program too.
    next_id: u64,
    /// Time of the program's last output, or of the first call after it owed no answer.
    quiet_since: Instant,
    /// Whether a reply was dropped because the program does not read.
    is_overfull: bool,
}

struct PendingCall {
    hook: Hook,
    answer: oneshot::Sender<Result<Answer, Failure>>,
}

/// Standard input of the program.
enum InputState {
    Open,
    /// The program has closed its standard input.
    Closed,
    /// The program does not run.
    Down {
        /// Way in which it ended.
        end: String,
        /// Time of its restart; `None` if the plugin was stopped.
        restart: Option<Instant>,
    },
}

impl Exchange {
    /// Returns an open exchange: calls before the start of the program wait for it.
    pub(super) fn new() -> Self {
        let state = ExchangeState {
            input: InputState::Open,
            unwritten: Vec::new(),
            pending: HashMap::new(),
            awaited: BTreeSet::new(),
            turn_since: Instant::now(),
            next_id: 1,
            quiet_since: Instant::now(),
            is_overfull: false,
        };
        Exchange {
            state: Mutex::new(state),
            turn: smol::lock::Mutex::new(()),
            lines_added: Event::new(),
            room_made: Event::new(),
            lines_taken: Event::new(),
            overfull: Event::new(),
        }
    }

    /// Submits a call as soon as there is room for it.
    pub(super) async fn call(&self, call: &Call) -> Result<PendingAnswer, Failure> {
        let _turn = self.turn.lock().await;
        let answer = wait_for(&self.room_made, || self.try_call(call).transpose()).await?;
        self.lines_added.notify(1);
        Ok(answer)
    }

    /// Submits a call. `None` if there is no room for it.
    fn try_call(&self, call: &Call) -> Result<Option<PendingAnswer>, Failure> {
        let mut state = self.state();
        match &state.input {
            InputState::Open if state.has_room() => Ok(Some(state.push(call))),
            InputState::Open => Ok(None),
            InputState::Closed => Err(Failure::down(STDIN_CLOSED)),
            InputState::Down { end, restart: Some(_) } => Err(Failure::down(format!("{end}; not restarted yet"))),
            InputState::Down { end, restart: None } => Err(Failure::down(end.clone())),
        }
    }

    /// Passes an answer to its call. Returns false if no call waits for it.
    pub(super) fn answer(&self, id: &str, answer: Result<RawAnswer, Failure>) -> bool {
        let Ok(id) = id.parse::<u64>() else { return false };
        let Some(call) = self.state().take(id) else { return false };
        self.room_made.notify(1);
        let verdict = answer.and_then(|answer| answer.verdict(call.hook));
        call.answer.send(verdict.map(Answer::from)).is_ok()
    }

    /// Whether the id is that of a pending call that no client waits for.
    pub(super) fn is_notification(&self, id: &str) -> bool {
        let Ok(id) = id.parse::<u64>() else { return false };
        self.state().pending.get(&id).is_some_and(|call| !call.hook.decides())
    }

    /// Returns how much of its time a call has left. The time is over when the program has been silent for `timeout`, or when it
    /// has answered all awaited calls before this one and does not answer this one for `timeout`. `None` gives the call up.
    pub(super) fn time_left(&self, pending: &PendingAnswer, timeout: Duration) -> Option<Duration> {
        let mut state = self.state();
        let mut since = state.quiet_since.max(pending.called_at);
        if state.awaited.first() == Some(&pending.id) {
            since = since.min(state.turn_since);
        }
        let left = timeout.checked_sub(since.elapsed()).filter(|left| !left.is_zero());
        if left.is_none() {
            drop(state.take(pending.id));
            self.room_made.notify(1);
        }
        left
    }

    /// Whether the program owes no answer, or has been silent for this long while it owes one.
    pub(super) fn is_quiet(&self, silence: Duration) -> bool {
        self.state().silent_since().is_none_or(|since| since.elapsed() >= silence)
    }

    /// Records that the program has written something.
    pub(super) fn note_output(&self) {
        self.state().quiet_since = Instant::now();
    }

    /// Waits until the program has been silent for this long while it owed an answer.
    pub(super) async fn until_silent(&self, silence: Duration) {
        loop {
            let until = self.state().silent_since().unwrap_or_else(Instant::now) + silence;
            if until <= Instant::now() {
                return;
            }
            Timer::at(until).await;
        }
    }

    /// Queues a reply to a request of the program, or an announcement. Drops it if the program does not read, which
    /// [`Exchange::until_overfull`] reports.
    pub(super) fn push_reply(&self, id: Option<&RequestId>, reply: &Reply) {
        self.push(|out| json::encode_reply(id, reply, out));
    }

    /// Queues a line that `encode` appends, with its newline.
    pub(super) fn push(&self, encode: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state();
        if !matches!(state.input, InputState::Open) || state.is_overfull {
            return;
        }
        if state.unwritten.len() >= PROCESS_UNREAD_BYTES_MAX {
            state.is_overfull = true;
            self.overfull.notify(1);
            return;
        }
        encode(&mut state.unwritten);
        self.lines_added.notify(1);
    }

    /// Waits until a line was dropped because the program does not read.
    pub(super) async fn until_overfull(&self) {
        wait_for(&self.overfull, || self.state().is_overfull.then_some(())).await;
    }

    /// Waits until few bytes are unwritten. Requests of the program wait for this, because their replies are queued.
    pub(super) async fn until_drained(&self) {
        let is_drained = || self.state().unwritten.len() < PROCESS_UNWRITTEN_BYTES_MAX;
        wait_for(&self.lines_taken, || is_drained().then_some(())).await;
    }

    /// Takes all lines to write, once there are any.
    pub(super) async fn take_lines(&self) -> Vec<u8> {
        let take = || Some(mem::take(&mut self.state().unwritten)).filter(|lines| !lines.is_empty());
        let lines = wait_for(&self.lines_added, take).await;
        self.room_made.notify(1);
        self.lines_taken.notify(1);
        lines
    }

    /// Marks the standard input of the program as closed. The program may still answer what it has read.
    pub(super) fn mark_stdin_closed(&self) {
        let mut state = self.state();
        state.input = InputState::Closed;
        state.unwritten = Vec::new();
        self.room_made.notify(1);
        self.lines_taken.notify(1);
    }

    /// Returns in words why the program cannot be called at the moment. `None` if it can.
    pub(super) fn outage(&self) -> Option<String> {
        match &self.state().input {
            InputState::Open => None,
            InputState::Closed => Some(STDIN_CLOSED.to_owned()),
            InputState::Down { end, restart: None } => Some(end.clone()),
            InputState::Down { end, restart: Some(restart) } => {
                let left = restart.saturating_duration_since(Instant::now());
                Some(format!("restarts in {} s: {end}", left.as_secs_f32().ceil()))
            }
        }
    }

    /// Fails all pending calls with `end`, which says how the program ended. Later calls fail, too, until the restart.
    pub(super) fn close(&self, end: &str, restart: Option<Instant>) {
        let mut state = self.state();
        state.input = InputState::Down { end: end.to_owned(), restart };
        state.unwritten = Vec::new();
        state.awaited.clear();
        for (_, PendingCall { hook, answer }) in state.pending.drain() {
            let failure = Failure::ended(format!("{end}; no answer to {}", hook.as_str()));
            // The caller may have given up.
            let _ = answer.send(Err(failure));
        }
        self.room_made.notify(1);
        self.lines_taken.notify(1);
    }

    /// Opens the exchange again, before the program is restarted.
    pub(super) fn open(&self) {
        let mut state = self.state();
        state.input = InputState::Open;
        state.is_overfull = false;
    }

    fn state(&self) -> MutexGuard<'_, ExchangeState> {
        self.state.lock()
    }
}

impl ExchangeState {
    fn has_room(&self) -> bool {
        self.pending.len() < PROCESS_CALLS_MAX && self.unwritten.len() < PROCESS_UNWRITTEN_BYTES_MAX
    }

    fn push(&mut self, call: &Call) -> PendingAnswer {
        if self.pending.is_empty() {
            self.quiet_since = Instant::now();
        }
        let id = self.next_id;
        self.next_id += 1;
        encode(call, id, &mut self.unwritten);
        let (sender, answer) = oneshot::async_channel();
        self.pending.insert(id, PendingCall { hook: call.hook(), answer: sender });
        if call.hook().decides() {
            if self.awaited.is_empty() {
                self.turn_since = Instant::now();
            }
            self.awaited.insert(id);
        }
        PendingAnswer { id, called_at: Instant::now(), answer }
    }

    fn take(&mut self, id: u64) -> Option<PendingCall> {
        if self.awaited.first() == Some(&id) {
            self.turn_since = Instant::now();
        }
        self.awaited.remove(&id);
        self.pending.remove(&id)
    }

    /// Returns the time since which the program has been silent while it owes an answer. `None` if it owes none.
    fn silent_since(&self) -> Option<Instant> {
        (!self.pending.is_empty()).then_some(self.quiet_since)
    }
}

/// Waits until `ready` returns a value. Code that changes the state that `ready` reads must notify the event.
async fn wait_for<T>(event: &Event, mut ready: impl FnMut() -> Option<T>) -> T {
    loop {
        if let Some(value) = ready() {
            return value;
        }
        let listener = event.listen();
        // A notification before there was a listener is lost.
        if let Some(value) = ready() {
            return value;
        }
        listener.await;
    }
}

/// Appends the line of a call: `{"hook":"message","id":"7",…}`. The id stands before everything that clients have written, so
/// that a shell script finds it without parsing JSON.
fn encode(call: &Call, id: u64, out: &mut Vec<u8>) {
    let start = out.len();
    let hook = call.hook().as_str();
    let written = write!(out, r#"{{"hook":"{hook}","id":"{id}""#);
    let (head, rest) = (r#"{"hook":""#.len() + hook.len() + 1, out.len());
    let encoded = serde_json::to_writer(&mut *out, call);
    debug_assert!(out[start..][..head] == out[rest..][..head], "the hook is the first field of a call");
    out.drain(rest..rest + head);
    out.push(b'\n');
    // Writing to memory cannot fail, and every call has a JSON form.
    assert!(written.is_ok() && encoded.is_ok(), "every call can be written as JSON");
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
            text: Text::verbatim(text).unwrap(),
        })
    }

    fn check(call: &Call, expected: Expect) {
        let mut line = b"before\n".to_vec();
        encode(call, 7, &mut line);
        expected.assert_eq(str::from_utf8(&line).unwrap());
    }

    #[test]
    fn call_is_a_line_that_begins_with_hook_and_id() {
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
    fn calls_wait_for_room_in_order() {
        let exchange = Exchange::new();
        smol::block_on(async {
            let mut answers = Vec::new();
            for _ in 0..PROCESS_CALLS_MAX {
                answers.push(exchange.call(&message("x")).await.unwrap());
            }
            let call = message("y");
            let mut next = Box::pin(exchange.call(&call));
            assert!(future::poll_once(&mut next).await.is_none(), "there is no room");
            // The caller has given up, but the program still has the call.
            drop(answers.remove(0));
            assert!(future::poll_once(&mut next).await.is_none(), "a dropped answer makes no room");
            assert!(!exchange.answer("1", Ok(RawAnswer::default())), "the caller has given up");
            let mut last = future::poll_once(&mut next).await.expect("there is room").unwrap();
            assert!(exchange.answer("257", Ok(RawAnswer::default())));
            assert_eq!(last.answer().await.unwrap().verdict, Verdict::Pass);
            assert!(!exchange.answer("257", Ok(RawAnswer::default())), "the call was answered already");
            assert!(!exchange.answer("999", Ok(RawAnswer::default())), "there is no such call");
        });
    }

    #[test]
    fn unread_lines_are_bounded() {
        let exchange = Exchange::new();
        smol::block_on(async {
            let long = "x".repeat(20_000);
            let call = message(&long);
            let mut calls = 0;
            while future::poll_once(exchange.call(&call)).await.is_some() {
                calls += 1;
            }
            assert_eq!(calls, PROCESS_UNWRITTEN_BYTES_MAX.div_ceil(20_061));
            assert!(future::poll_once(exchange.until_drained()).await.is_none());
            let mut overfull = Box::pin(exchange.until_overfull());
            while future::poll_once(&mut overfull).await.is_none() {
                exchange.push(|out| out.extend_from_slice(long.as_bytes()));
            }
            let lines = exchange.take_lines().await;
            assert!(
                (PROCESS_UNREAD_BYTES_MAX..PROCESS_UNREAD_BYTES_MAX + 20_100).contains(&lines.len()),
                "{}",
                lines.len()
            );
            assert!(future::poll_once(exchange.until_drained()).await.is_some());
            assert!(future::poll_once(exchange.call(&call)).await.is_some());
            assert!(future::poll_once(exchange.until_overfull()).await.is_some(), "a line was dropped");
            exchange.close("", None);
            exchange.open();
            assert!(future::poll_once(exchange.until_overfull()).await.is_none(), "a restart resets it");
        });
    }

    #[test]
    fn program_is_silent_only_while_it_owes_an_answer() {
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
            let _pending = exchange.call(&message("x")).await.unwrap();
            assert!(is_silent().await);
            exchange.answer("1", Ok(RawAnswer::default()));
            assert!(!is_silent().await);
        });
    }

    #[test]
    fn end_of_the_program_fails_pending_and_later_calls() {
        let exchange = Exchange::new();
        smol::block_on(async {
            let mut pending = exchange.call(&message("x")).await.unwrap();
            exchange.close("the program ended", Some(Instant::now() + Duration::from_millis(1500)));
            let words = |failure: Failure| failure.to_string();
            assert_eq!(
                pending.answer().await.map_err(words),
                Err("the program ended; no answer to message".to_owned())
            );
            assert_eq!(
                exchange.call(&message("x")).await.map(drop).map_err(words),
                Err("the program ended; not restarted yet".to_owned())
            );
            assert_eq!(exchange.outage().unwrap(), "restarts in 2 s: the program ended");
            exchange.open();
            assert_eq!(exchange.outage(), None);
            assert!(exchange.call(&message("x")).await.is_ok());
        });
    }
}
