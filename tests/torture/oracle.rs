//! Checks after the torture: the promises, compared with what the senders sent, what the receivers read, and what the
//! database contains. Owns the verdict; takes no part in the run.

use std::collections::HashMap;
use std::ops::Range;

use super::RECEIVERS;
use super::receiver::{Visit, parse};
use super::sender::{Attempt, Message, Plan};
use super::support::TestServer;

/// Bytes that were acknowledged for a receiver that broke off and did not read them: what its system held, and what its
/// own buffer held.
const UNREAD_BYTES_MAX: usize = 64 * 1024;

/// Results of a run: the attempts, the visits, the crashes and the log.
pub(crate) struct Evidence {
    plan: Plan,
    attempts: Vec<Vec<Attempt>>,
    /// Visits of each receiver.
    visits: Vec<Vec<Visit>>,
    crashes: Vec<Crash>,
    log: Vec<LoggedMessage>,
    /// Messages in the log for each receiver.
    feeds: Vec<Feed>,
}

/// Message in the log.
struct LoggedMessage {
    seq: usize,
    message: Message,
    text_bytes: usize,
    recipients: String,
}

/// State of the disk while the server was dead.
pub(crate) struct Crash {
    life: u32,
    /// Newest message.
    newest: usize,
    /// Oldest undelivered message of each receiver.
    undelivered: Vec<Option<usize>>,
}

impl Crash {
    /// Reads the database while no server runs.
    pub(crate) fn look(server: &TestServer, life: u32) -> Self {
        let mut sql = "select coalesce(max(seq), 0) from history;".to_owned();
        for (name, ..) in RECEIVERS {
            sql += &format!(
                "select coalesce((select seq from waiting where recipient = '{name}' order by seq limit 1), 0);"
            );
        }
        let rows = server.sqlite(&sql);
        let mut seqs = rows.lines().map(|row| row.parse().expect("the seq is a number"));
        let newest = seqs.next().expect("the line has the newest number");
        Crash { life, newest, undelivered: seqs.map(|seq| (seq > 0).then_some(seq)).collect() }
    }
}

/// Everything in the log for one receiver, in order.
#[derive(Default)]
struct Feed {
    seqs: Vec<usize>,
    /// End of each message's line, counted from the beginning of the first.
    ends: Vec<usize>,
    places: HashMap<Message, usize>,
}

impl Feed {
    fn push(&mut self, logged: &LoggedMessage) {
        self.places.insert(logged.message, self.seqs.len());
        self.seqs.push(logged.seq);
        let line_bytes = "from : \n".len() + logged.message.sender.len() + logged.text_bytes;
        self.ends.push(self.bytes_before(self.ends.len()) + line_bytes);
    }

    fn bytes_before(&self, place: usize) -> usize {
        if place == 0 { 0 } else { self.ends[place - 1] }
    }

    fn bytes(&self, places: Range<usize>) -> usize {
        if places.is_empty() { 0 } else { self.bytes_before(places.end) - self.bytes_before(places.start) }
    }
}

impl Evidence {
    pub(crate) fn new(
        server: &TestServer,
        plan: Plan,
        attempts: Vec<Vec<Attempt>>,
        visits: Vec<Vec<Visit>>,
        crashes: Vec<Crash>,
    ) -> Self {
        assert_eq!(server.sqlite("pragma integrity_check"), "ok");
        let log = read_log(server);
        let mut feeds = Vec::from_iter(RECEIVERS.map(|_| Feed::default()));
        for logged in &log {
            for receiver in plan.recipients(logged.message) {
                feeds[receiver].push(logged);
            }
        }
        Evidence { plan, attempts, visits, crashes, log, feeds }
    }

    /// Counts, for the report of the test.
    pub(crate) fn summary(&self) -> String {
        let attempts = self.attempts.iter().flatten();
        let (connections, ponged) = attempts
            .fold((0, 0), |(connections, ponged), attempt| (connections + 1, ponged + attempt.ponged - attempt.first));
        let visits = self.visits.iter().flatten();
        let (visited, read) = visits.fold((0, 0), |(visited, read), visit| (visited + 1, read + visit.read.len()));
        format!(
            "{} kills; {ponged} messages had their pong, over {connections} connections; the log holds {}; \
             {} were to be delivered, {read} were read in {visited} visits",
            self.crashes.len(),
            self.log.len(),
            self.feeds.iter().map(|feed| feed.seqs.len()).sum::<usize>(),
        )
    }

    /// Checks every promise.
    #[track_caller]
    pub(crate) fn check(&self) {
        self.check_log();
        self.check_attempts();
        for (receiver, (name, _, connections)) in RECEIVERS.into_iter().enumerate() {
            let visits = Vec::from_iter(self.visits[receiver].iter().map(|visit| self.seen(receiver, visit)));
            if connections == 1 {
                self.check_nothing_is_missing(receiver, visits.iter());
            } else {
                // A message received by one of two connections need not reach the other.
                let mut visits = Vec::from_iter(&visits);
                visits.sort_by_key(|seen| seen.places.start);
                self.check_nothing_is_missing(receiver, visits.into_iter());
            }
            for crash in &self.crashes {
                self.check_cursor(name, receiver, crash, &visits);
            }
        }
    }

    /// Checks that the log has no gap, and contains messages as they were sent.
    fn check_log(&self) {
        for (before, logged) in self.log.iter().enumerate() {
            let LoggedMessage { seq, message, text_bytes, recipients } = logged;
            assert_eq!(*seq, before + 1, "the log has a gap");
            let expected = self.plan.recipients(*message);
            let expected = Vec::from_iter(expected.into_iter().map(|receiver| self.plan.receivers[receiver])).join(",");
            assert_eq!((recipients, *text_bytes), (&expected, self.plan.text_bytes(*message)), "{message:?}");
        }
    }

    /// Checks that of each connection of a sender, the log contains a beginning without gaps or duplicates, in the order
    /// sent, and at least the messages before its last pong.
    fn check_attempts(&self) {
        let mut numbers_of: HashMap<(&str, u32), Vec<u32>> = HashMap::new();
        for LoggedMessage { message, .. } in &self.log {
            numbers_of.entry((message.sender, message.attempt)).or_default().push(message.number);
        }
        for attempts in &self.attempts {
            for (nth, Attempt { sender, first, ponged, sent }) in attempts.iter().enumerate() {
                let numbers = numbers_of.remove(&(*sender, nth as u32)).unwrap_or_default();
                let wrong = numbers.iter().zip(*first..).find(|(number, expected)| *number != expected);
                assert!(
                    wrong.is_none(),
                    "{sender} sent {first} to {sent}; the log contains, instead of the next: {wrong:?}"
                );
                let end = *first + numbers.len() as u32;
                assert!(
                    end >= *ponged,
                    "{sender} had a pong for all before {ponged}; the log contains {first} to {end}"
                );
                assert!(end <= *sent, "{sender} sent {first} to {sent}; the log contains {first} to {end}");
            }
        }
        assert!(numbers_of.is_empty(), "the log contains messages that no client sent: {:?}", numbers_of.keys());
    }

    /// Part of the receiver's feed that a visit read: in order, without gaps or duplicates.
    fn seen(&self, receiver: usize, visit: &Visit) -> Seen {
        let name = RECEIVERS[receiver].0;
        let places = Vec::from_iter(visit.read.iter().map(|(message, text_bytes)| {
            let place = self.feeds[receiver].places.get(message);
            let place = *place.unwrap_or_else(|| panic!("{name} read {message:?}, which is not in the log for it"));
            assert_eq!(*text_bytes, self.plan.text_bytes(*message), "{name} read {message:?} with another text");
            place
        }));
        for pair in places.windows(2) {
            assert_eq!(pair[1], pair[0] + 1, "{name} read messages of the log for it out of their order");
        }
        let start = places.first().copied().unwrap_or(0);
        Seen { life: visit.life, places: start..start + places.len(), broke_off: visit.broke_off }
    }

    /// Checks that each visit begins no later than where those before it ended, and that the last one reaches the end.
    fn check_nothing_is_missing<'v>(&self, receiver: usize, visits: impl Iterator<Item = &'v Seen>) {
        let (name, feed) = (RECEIVERS[receiver].0, &self.feeds[receiver]);
        let (mut next, mut broke_off) = (0, false);
        for seen in visits {
            if !seen.places.is_empty() {
                let missing_bytes = feed.bytes(next..seen.places.start);
                let allowed_bytes = if broke_off { UNREAD_BYTES_MAX } else { 0 };
                assert!(
                    missing_bytes <= allowed_bytes,
                    "{name} had read up to {next} of the log for it, and was next sent {:?}",
                    seen.places
                );
                next = next.max(seen.places.end);
                broke_off = false;
            }
            broke_off |= seen.broke_off;
        }
        let missing_bytes = feed.bytes(next..feed.seqs.len());
        let allowed_bytes = if broke_off { UNREAD_BYTES_MAX } else { 0 };
        assert!(missing_bytes <= allowed_bytes, "{name} never read what is after {next} of {}", feed.seqs.len());
    }

    /// Checks that no message counted as delivered at a crash before it was received, and that everything read was on
    /// disk.
    fn check_cursor(&self, name: &str, receiver: usize, crash: &Crash, visits: &[Seen]) {
        let feed = &self.feeds[receiver];
        let until_then = visits.iter().filter(|seen| seen.life <= crash.life);
        let taken = until_then.clone().map(|seen| seen.places.end).max().unwrap_or(0);
        let is_delivered = |seq: usize| crash.undelivered[receiver].map_or(seq <= crash.newest, |first| seq < first);
        let delivered = feed.seqs.partition_point(|seq| is_delivered(*seq));
        let allowed_bytes = if until_then.clone().any(|seen| seen.broke_off) { UNREAD_BYTES_MAX } else { 0 };
        assert!(
            feed.bytes(taken..delivered) <= allowed_bytes,
            "{delivered} messages counted as delivered to {name} at crash {}, which had taken {taken}",
            crash.life
        );
        let on_disk = feed.seqs.partition_point(|seq| *seq <= crash.newest);
        assert!(taken <= on_disk, "{name} had read {taken} messages at crash {}, {on_disk} were on disk", crash.life);
    }
}

/// Range of the receiver's feed that one visit read.
struct Seen {
    life: u32,
    places: Range<usize>,
    broke_off: bool,
}

fn read_log(server: &TestServer) -> Vec<LoggedMessage> {
    // The text begins with its numbers, which are shorter than this.
    let rows =
        server.sqlite("select seq, sender, recipients, length(text), substr(text, 1, 24) from history order by seq");
    let logged = |row: &str| {
        let mut columns = row.split('|');
        let mut column = || columns.next().expect("five columns");
        let (seq, sender, recipients) = (column(), column(), column().to_owned());
        let text_bytes = column().parse().expect("a length");
        let message = parse(sender, column());
        LoggedMessage { seq: seq.parse().expect("the seq is a number"), message, text_bytes, recipients }
    };
    rows.lines().map(logged).collect()
}
