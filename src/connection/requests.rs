//! The reading half of a session: decodes requests and submits them to the broker, one batch at a time. Owns where a batch ends; never
//! handles a request.

use std::mem;
use std::sync::Arc;

use smol::lock::{Mutex, Semaphore};

use super::passwords;
use super::rate_limiter::RateLimiter;
use super::reader::{DecodeOutcome, LineReader, ReadOutcome};
use super::shared::Shared;
use super::writer::Progress;
use crate::broker::{EndReason, Event};
use crate::config::Limits;
use crate::limits::BATCH_REQUESTS_MAX;
use crate::message::SessionId;
use crate::plugin::MessageSender;
use crate::protocol::Submission;
use crate::source::Source;
use crate::transport::Transport;

/// End of a client's requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReaderEnd {
    /// The client ended its input, and everything in it was submitted.
    Input,
    /// The client quit: what it sent after that is not read.
    Quit,
    /// The server stops.
    Stop,
    /// The connection broke.
    Broken,
    /// The session begins with an HTTP request.
    Http,
    /// The broker closed the session, for example because the name of the login could not be looked up.
    BrokerClosed,
}

/// Reads the requests of one session.
pub(super) struct RequestReader<'c, 's, T> {
    reader: &'c mut LineReader<'s, T>,
    session: SessionId,
    /// Permit for a batch: one of a connection is in flight at a time, after the welcome.
    permits: Arc<Semaphore>,
    sender: MessageSender<'c>,
    shared: &'c Shared,
    progress: &'c Progress,
    /// Decoded requests that belong to the next batches.
    held: Vec<Submission>,
}

impl<'c, 's, T: Transport> RequestReader<'c, 's, T> {
    pub(super) fn new(
        reader: &'c mut LineReader<'s, T>,
        (session, permits): (SessionId, Arc<Semaphore>),
        sender: MessageSender<'c>,
        shared: &'c Shared,
        progress: &'c Progress,
    ) -> Self {
        RequestReader { reader, session, permits, sender, shared, progress, held: Vec::new() }
    }

    /// Submits requests until there are no more, and reports the end to the broker. `filtering` is locked while plugins filter a batch or its
    /// passwords are checked: the batch is submitted even if the connection ends meanwhile. All requests that were read are submitted before more is read.
    pub(super) async fn run(&mut self, filtering: &Mutex<()>) -> ReaderEnd {
        let mut rate_limiter = RateLimiter::new(self.shared.limits.messages_per_s);
        loop {
            let permit = self.permits.acquire_arc().await;
            // When the server stops, the rest of what was read is submitted at once.
            if !rate_limiter.is_ready() && !self.reader.unless_stopped(rate_limiter.ready()).await {
                rate_limiter = RateLimiter::new(0);
            }
            let mut requests = match self.next_batch(rate_limiter.allowed().min(BATCH_REQUESTS_MAX)).await {
                Ok(requests) => requests,
                Err(end) => {
                    self.report_end(end).await;
                    return end;
                }
            };
            rate_limiter.take(requests.len());
            let quits = requests.last().is_some_and(Submission::is_quit);
            let Shared { broker, plugins, .. } = self.shared;
            let (session, set) = (self.session, plugins.current());
            if requests.first().is_some_and(Submission::has_passwords) {
                let _filtering = filtering.lock().await;
                let source = Source::of(self.reader.transport().peer_address());
                Box::pin(passwords::prepare(&mut requests, self.sender.name, source, self.shared)).await;
                broker.send(Event::Requests { session, requests, permit: Some(permit) }).await;
            } else if set.concerns(&requests) {
                let _filtering = filtering.lock().await;
                // Boxed, because the future of a connection always takes the memory of its largest state.
                let requests = Box::pin(set.filter(self.sender, requests)).await;
                broker.send(Event::Requests { session, requests, permit: Some(permit) }).await;
            } else {
                broker.send(Event::Requests { session, requests, permit: Some(permit) }).await;
            }
            if quits {
                return ReaderEnd::Quit;
            }
        }
    }

    /// Reports to the broker that no more requests come. After `/quit` the broker knows it; a broken connection only leaves.
    async fn report_end(&self, end: ReaderEnd) {
        let reason = match end {
            ReaderEnd::Input => EndReason::Client,
            ReaderEnd::Stop => EndReason::Shutdown,
            ReaderEnd::Quit | ReaderEnd::Broken | ReaderEnd::Http | ReaderEnd::BrokerClosed => return,
        };
        self.shared.broker.send(Event::End { session: self.session, reason }).await;
    }

    /// Returns the next batch, once there is a request.
    async fn next_batch(&mut self, requests_max: usize) -> Result<Vec<Submission>, ReaderEnd> {
        loop {
            let batch = self.decode_batch(requests_max)?;
            if !batch.is_empty() {
                return Ok(batch);
            }
            match self.reader.fill().await {
                ReadOutcome::Some => {}
                ReadOutcome::End => return Err(ReaderEnd::Input),
                ReadOutcome::Reset => return Err(ReaderEnd::Broken),
                ReadOutcome::Stop => return Err(ReaderEnd::Stop),
            }
        }
    }

    /// Decodes a batch of what was read.
    fn decode_batch(&mut self, requests_max: usize) -> Result<Vec<Submission>, ReaderEnd> {
        let destinations_max = Limits::or_none(self.shared.limits.destinations_max);
        let mut batch = mem::take(&mut self.held);
        let mut scanned = 0;
        let mut room = BatchRoom { weight: BATCH_REQUESTS_MAX, replies: self.shared.broker.batch_replies_max() };
        let end = loop {
            if let Some(end) = batch_end(&batch, scanned, requests_max, &mut room) {
                break end;
            }
            scanned = batch.len();
            match self.reader.decode(destinations_max, &mut batch) {
                DecodeOutcome::Decoded => {}
                DecodeOutcome::NoLine => break scanned,
                DecodeOutcome::Http => return Err(ReaderEnd::Http),
            }
            if self.progress.is_broken() {
                drop_read_only(&mut batch, scanned);
            }
        };
        self.held = batch.split_off(end);
        Ok(batch)
    }
}

/// Room of a batch for further requests.
struct BatchRoom {
    /// Weight that they may have.
    weight: usize,
    /// Replies that they may cause.
    replies: usize,
}

impl BatchRoom {
    /// Takes the room of a request. Returns whether there was enough.
    fn take(&mut self, request: &Submission, before: Option<&Submission>) -> bool {
        let weight = self.weight.checked_sub(request.weight());
        let replies = self.replies.checked_sub(request.replies_after(before));
        (self.weight, self.replies) = (weight.unwrap_or(0), replies.unwrap_or(0));
        weight.is_some() && replies.is_some()
    }
}

/// Returns the number of requests in the batch, if it is complete; the requests before `scanned` were checked before, and the others have
/// this room. A request with a large reply ends a batch, so that the replies to a batch are bounded. A plugin's command has a batch of its
/// own, so that the requests before it are handled first.
fn batch_end(requests: &[Submission], scanned: usize, requests_max: usize, room: &mut BatchRoom) -> Option<usize> {
    for (index, request) in requests.iter().enumerate().skip(scanned) {
        if index == requests_max || (index > 0 && (request.is_plugin_command() || request.has_passwords())) {
            return Some(index);
        }
        let before = index.checked_sub(1).map(|before| &requests[before]);
        if !room.take(request, before) && index > 0 {
            return Some(index);
        }
        if request.has_large_reply() || request.is_quit() {
            return Some(index + 1);
        }
    }
    (requests.len() == requests_max).then_some(requests_max)
}

/// Drops the requests from index `from` on that only read: the connection is broken, so nothing can get their replies.
fn drop_read_only(requests: &mut Vec<Submission>, from: usize) {
    let unheard = requests.split_off(from);
    requests.extend(unheard.into_iter().filter(|request| !request.is_read_only()));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{WEIGHT_DESTINATIONS, WEIGHT_TEXT_BYTES};
    use crate::message::{Destination, Room, Text};
    use crate::protocol::{ClientRequest, Draft, Request, Submission};

    fn batch_sizes(requests: &[Request], requests_max: usize) -> Vec<usize> {
        let mut rest: Vec<Submission> =
            requests.iter().cloned().map(|request| ClientRequest::from(request).into()).collect();
        let mut sizes = Vec::new();
        while !rest.is_empty() {
            let mut room = BatchRoom { weight: BATCH_REQUESTS_MAX, replies: BATCH_REQUESTS_MAX };
            let end = batch_end(&rest, 0, requests_max, &mut room).unwrap_or(rest.len());
            sizes.push(end);
            rest.drain(..end);
        }
        sizes
    }

    #[test]
    fn batches_end_behind_large_replies_and_around_commands() {
        let ping = || Request::Ping { token: None };
        let command = || Request::Command { name: "roll".to_owned(), arguments: String::new() };
        assert_eq!(batch_sizes(&[ping(), ping(), ping()], 2), [2, 1]);
        assert_eq!(batch_sizes(&[ping(), Request::Who, ping()], 9), [2, 1]);
        assert_eq!(batch_sizes(&[ping(), command(), command(), ping()], 9), [1, 1, 1, 1]);
        assert_eq!(batch_sizes(&[ping(), Request::Quit, ping()], 9), [2, 1]);
    }

    #[test]
    fn batch_ends_before_a_request_with_which_it_would_be_too_heavy() {
        let send = |names: std::ops::Range<usize>, bytes: usize| {
            let to = names.map(|name| Destination::parse(&format!("n{name}")).unwrap()).collect();
            Request::Send(Draft { to, text: Text::clean(&"x".repeat(bytes)).unwrap() })
        };
        let same = vec![send(0..BATCH_REQUESTS_MAX / 4, 1); 5 * WEIGHT_DESTINATIONS];
        assert_eq!(batch_sizes(&same, BATCH_REQUESTS_MAX), [4 * WEIGHT_DESTINATIONS, WEIGHT_DESTINATIONS]);
        // Each may cause a notice of its own.
        let others = (0..9).map(|nth| send(nth..nth + BATCH_REQUESTS_MAX / 4, 1)).collect::<Vec<_>>();
        assert_eq!(batch_sizes(&others, BATCH_REQUESTS_MAX), [4, 4, 1]);
        let long = vec![send(0..1, (BATCH_REQUESTS_MAX / 2 - 1) * WEIGHT_TEXT_BYTES); 3];
        assert_eq!(batch_sizes(&long, BATCH_REQUESTS_MAX), [2, 1]);
        let heavy = vec![send(0..2 * BATCH_REQUESTS_MAX * WEIGHT_DESTINATIONS, 1); 2];
        assert_eq!(batch_sizes(&heavy, BATCH_REQUESTS_MAX), [1, 1]);
        let topics = vec![Request::ShowTopic { room: Room::parse("#a").unwrap() }; 200];
        assert_eq!(batch_sizes(&topics, BATCH_REQUESTS_MAX), [146, 54]);
    }
}
