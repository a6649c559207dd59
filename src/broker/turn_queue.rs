//! Queue of the events that wait for a turn. A turn takes them in the order of their arrival, except that a client with few requests does
//! not wait behind clients with many. Owns the order among connections; the order within a connection never changes.

use std::collections::{HashSet, VecDeque};

use super::event::Event;
use crate::limits::BATCH_REQUESTS_MAX;
use crate::message::SessionId;

/// Events in the order of their arrival, with at most one batch of requests of each connection.
#[derive(Debug, Default)]
pub(super) struct TurnQueue {
    events: VecDeque<WeighedEvent>,
    /// Weight of the events.
    weight: usize,
}

/// Event with its weight, for which all requests of a batch are read: once, and not in each turn for which it waits.
#[derive(Debug)]
struct WeighedEvent {
    event: Event,
    weight: usize,
}

impl From<Event> for WeighedEvent {
    fn from(event: Event) -> Self {
        WeighedEvent { weight: event.weight(), event }
    }
}

impl TurnQueue {
    pub(super) fn weight(&self) -> usize {
        self.weight
    }

    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    pub(super) fn push(&mut self, event: Event) {
        let weighed = WeighedEvent::from(event);
        assert!(weighed.weight <= BATCH_REQUESTS_MAX, "a batch of requests fits into a turn");
        self.weight += weighed.weight;
        self.events.push_back(weighed);
    }

    /// Puts events back before all others, in their order.
    pub(super) fn put_back(&mut self, events: impl DoubleEndedIterator<Item = Event>) {
        for weighed in events.rev().map(WeighedEvent::from) {
            self.weight += weighed.weight;
            self.events.push_front(weighed);
        }
    }

    /// Puts events behind all others, in their order. What waits of their sessions already comes behind them.
    pub(super) fn put_behind(&mut self, events: Vec<Event>) {
        if events.is_empty() {
            return;
        }
        let sessions: HashSet<SessionId> = events.iter().filter_map(Event::session).collect();
        let is_later = |event: &Event| event.session().is_some_and(|session| sessions.contains(&session));
        let (later, others) =
            std::mem::take(&mut self.events).into_iter().partition(|weighed| is_later(&weighed.event));
        self.events = others;
        events.into_iter().for_each(|event| self.push(event));
        let later: VecDeque<WeighedEvent> = later;
        self.events.extend(later);
    }

    /// Takes the events of a turn, with at most this weight of requests. Half of these are shared evenly among the batches: a batch within
    /// its share is in the next turn, however many large batches wait. The large ones take the rest, one after the other.
    pub(super) fn take(&mut self, weight_max: usize, turn: &mut Vec<Event>) {
        let batches = self.events.iter().filter(|event| event.weight > 0).count();
        let share = weight_max / 2 / batches.max(1);
        let mut weight_left = weight_max;
        // Once an event of a session must wait, its later ones wait behind it.
        let mut held_back = HashSet::new();
        for WeighedEvent { event, weight } in std::mem::take(&mut self.events) {
            let session = event.session();
            if weight > share || session.is_some_and(|session| held_back.contains(&session)) {
                held_back.extend(session);
                self.events.push_back(WeighedEvent { event, weight });
            } else {
                weight_left -= weight;
                turn.push(event);
            }
        }
        while self.events.front().is_some_and(|event| event.weight <= weight_left)
            && let Some(WeighedEvent { event, weight }) = self.events.pop_front()
        {
            weight_left -= weight;
            turn.push(event);
        }
        self.weight -= weight_max - weight_left;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use smol::lock::Semaphore;

    use super::*;
    use crate::limits::{LINE_BYTES_MAX, READ_BYTES_MAX, TURN_REQUESTS_MAX, WEIGHT_TEXT_BYTES};
    use crate::message::{Destination, SessionId, Text};
    use crate::protocol::{ClientRequest, Draft, Request};

    /// A fourth of a turn.
    const FLOOD_REQUESTS: usize = TURN_REQUESTS_MAX / 4;

    fn batch(session: u64, requests: usize) -> Event {
        let permit = Arc::new(Semaphore::new(1)).try_acquire_arc().unwrap();
        Event::Requests {
            session: SessionId::new(session),
            requests: vec![ClientRequest::from(Request::Who).into(); requests],
            permit: Some(permit),
        }
    }

    fn leave(session: u64) -> Event {
        Event::Leave { session: SessionId::new(session) }
    }

    /// Takes a turn: the session of each event, and its number of requests.
    fn take(waiting: &mut TurnQueue) -> Vec<(u64, usize)> {
        let mut turn = Vec::new();
        waiting.take(TURN_REQUESTS_MAX, &mut turn);
        assert!(turn.iter().map(Event::weight).sum::<usize>() <= TURN_REQUESTS_MAX);
        turn.iter().map(|event| (event.session().unwrap().get(), event.weight())).collect()
    }

    fn waiting(events: impl IntoIterator<Item = Event>) -> TurnQueue {
        let mut waiting = TurnQueue::default();
        events.into_iter().for_each(|event| waiting.push(event));
        waiting
    }

    #[test]
    fn single_request_is_in_the_next_turn_behind_any_number_of_floods() {
        let floods = (1..=TURN_REQUESTS_MAX as u64 / 4).map(|session| batch(session, FLOOD_REQUESTS));
        let mut waiting = waiting(floods.chain([batch(5000, 1)]));
        assert_eq!(take(&mut waiting)[0], (5000, 1));
    }

    #[test]
    fn flood_gets_its_turn_behind_any_number_of_single_requests() {
        let lines = |first: u64| (first..first + TURN_REQUESTS_MAX as u64 / 2).map(|session| batch(session, 1));
        let mut waiting = waiting([batch(1, FLOOD_REQUESTS)].into_iter().chain(lines(10)));
        assert!(take(&mut waiting).contains(&(1, FLOOD_REQUESTS)));
        assert!(waiting.is_empty());
    }

    #[test]
    fn floods_take_turns_one_after_the_other() {
        let mut waiting = waiting((1..=6).map(|session| batch(session, FLOOD_REQUESTS)));
        let sessions = |taken: Vec<(u64, usize)>| taken.into_iter().map(|(session, _)| session).collect::<Vec<_>>();
        assert_eq!(sessions(take(&mut waiting)), [1, 2, 3, 4]);
        waiting.push(batch(1, FLOOD_REQUESTS));
        assert_eq!(sessions(take(&mut waiting)), [5, 6, 1]);
    }

    #[test]
    fn long_lines_count_more_than_short_ones() {
        let text = Text::clean(&"x".repeat(LINE_BYTES_MAX)).unwrap();
        let line = Request::Send(Draft { to: vec![Destination::parse("bob").unwrap()], text });
        let event = |session| Event::Requests {
            session: SessionId::new(session),
            requests: vec![ClientRequest::from(line.clone()).into(); READ_BYTES_MAX / LINE_BYTES_MAX],
            permit: Arc::new(Semaphore::new(1)).try_acquire_arc(),
        };
        let mut waiting = waiting((1..=100).map(event));
        let bytes_max = TURN_REQUESTS_MAX * WEIGHT_TEXT_BYTES;
        assert!(take(&mut waiting).len() <= bytes_max / READ_BYTES_MAX);
    }

    #[test]
    fn events_that_are_put_back_are_taken_first() {
        let mut waiting = waiting([batch(1, 1), batch(2, 1), batch(3, 1)]);
        let mut turn = Vec::new();
        waiting.take(TURN_REQUESTS_MAX, &mut turn);
        waiting.push(batch(4, 1));
        waiting.put_back(turn.drain(1..));
        assert_eq!(waiting.weight(), 3);
        assert_eq!(take(&mut waiting), [(2, 1), (3, 1), (4, 1)]);
        assert_eq!(waiting.weight(), 0);
    }

    #[test]
    fn rest_of_a_batch_comes_behind_others_and_before_what_follows_it() {
        // The batch of session 1 was divided twice: its last part waits already, and so does the end of session 2.
        let mut waiting = waiting([batch(1, 3), leave(2), batch(3, 1)]);
        waiting.put_behind(vec![batch(1, 2), batch(2, 1)]);
        assert_eq!(waiting.weight(), 7);
        assert_eq!(take(&mut waiting), [(3, 1), (1, 2), (2, 1), (1, 3), (2, 0)]);
        assert_eq!(waiting.weight(), 0);
    }

    #[test]
    fn events_of_a_connection_stay_in_order() {
        let floods = (1..=5).flat_map(|session| [batch(session, FLOOD_REQUESTS), leave(session)]);
        let mut waiting = waiting(floods.chain([batch(9, 1), leave(9)]));
        let first = take(&mut waiting);
        assert_eq!(first[..2], [(9, 1), (9, 0)]);
        assert_eq!(first[2..6], [(1, FLOOD_REQUESTS), (1, 0), (2, FLOOD_REQUESTS), (2, 0)]);
        let last = [(4, FLOOD_REQUESTS), (4, 0), (5, FLOOD_REQUESTS), (5, 0)];
        assert_eq!(take(&mut waiting), last);
    }
}
