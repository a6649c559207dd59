//! Admission of connections: how many are open, in all and from each source, and how fast each source opens them. Owns the counts; never
//! touches a socket, and never waits.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::config::Limits;
use crate::limits::{
    CONNECT_BURST_S, CONNECT_DELAY_S_MAX, CONNECTIONS_DEFAULT, DESCRIPTORS_RESERVED, SOURCES_REMEMBERED_MAX,
};
use crate::protocol::{Code, Refusal};
use crate::source::Source;

/// Limits and counts, which all listeners share.
#[derive(Debug)]
pub(super) struct Admission {
    connections_max: u64,
    connections_per_address_max: u64,
    /// Time until a source may open one more connection; zero: no limit.
    connect_interval: Duration,
    open: Mutex<OpenConnections>,
}

/// Counts of the open connections.
#[derive(Debug, Default)]
struct OpenConnections {
    connections: u64,
    by_source: HashMap<Source, SourceState>,
}

/// State of one source.
#[derive(Debug)]
struct SourceState {
    /// Open connections.
    connections: u64,
    /// Time at which its token bucket is full again. Each connection moves it on by the interval.
    full_at: Instant,
}

/// Permit of one connection, which counts as open until the permit is dropped.
#[derive(Debug)]
pub(super) struct Admitted {
    admission: Arc<Admission>,
    source: Source,
    /// Time for which the connection must wait before it is served.
    pub(super) delay: Duration,
}

impl Admission {
    /// Takes the limits of the configuration, and the number of descriptors that the process may have.
    pub(super) fn new(limits: &Limits, descriptors_max: u64) -> Self {
        let room = descriptors_max.saturating_sub(DESCRIPTORS_RESERVED);
        let connections_max = match limits.connections_max {
            0 => room,
            // The default is for systems that allow as many.
            CONNECTIONS_DEFAULT => CONNECTIONS_DEFAULT.min(room),
            configured => configured,
        };
        if connections_max > room {
            log::warn!(
                "connections_max is {connections_max}, but the system allows only {room} (RLIMIT_NOFILE is {descriptors_max}): more will wait"
            );
        }
        Admission {
            connections_max,
            connections_per_address_max: Limits::or_none(limits.connections_per_address_max),
            connect_interval: match limits.connects_per_address_per_s {
                0 => Duration::ZERO,
                per_s => Duration::from_secs(1).div_f64(per_s as f64),
            },
            open: Mutex::default(),
        }
    }

    /// Admits a connection from a source at this time. Fails if a limit is reached.
    pub(super) fn admit(self: &Arc<Self>, source: Source, now: Instant) -> Result<Admitted, Refusal> {
        let mut open = self.open.lock();
        if open.connections >= self.connections_max {
            return Err(full(format!("{} connections are open (connections_max)", open.connections)));
        }
        let state = open.source(source, now);
        if state.connections >= self.connections_per_address_max {
            let words =
                format!("{} connections from {source} are open (connections_per_address_max)", state.connections);
            return Err(full(words));
        }
        let full_at = state.full_at.max(now) + self.connect_interval;
        let delay = (full_at - now).saturating_sub(self.connect_interval * self.burst());
        if delay > Duration::from_secs(CONNECT_DELAY_S_MAX) {
            let words = format!("too many connects from {source} (connects_per_address_per_s)");
            return Err(Refusal::new(Code::RateLimited, words).with_outcome("not logged in, try again later"));
        }
        state.full_at = full_at;
        state.connections += 1;
        open.connections += 1;
        Ok(Admitted { admission: self.clone(), source, delay })
    }

    /// Connections that a source may open at once.
    fn burst(&self) -> u32 {
        match self.connect_interval {
            Duration::ZERO => 0,
            interval => Duration::from_secs(CONNECT_BURST_S).div_duration_f64(interval).round().max(1.0) as u32,
        }
    }
}

impl OpenConnections {
    /// Returns the state of a source. Forgets others with full buckets and no connections if there are too many.
    fn source(&mut self, source: Source, now: Instant) -> &mut SourceState {
        let remembered_max = self.connections as usize + SOURCES_REMEMBERED_MAX;
        if self.by_source.len() >= remembered_max && !self.by_source.contains_key(&source) {
            self.by_source.retain(|_, state| state.connections > 0 || state.full_at > now);
            if self.by_source.len() >= remembered_max {
                // Every bucket is in use: each is forgotten, and begins again full.
                self.by_source.retain(|_, state| state.connections > 0);
            }
        }
        self.by_source.entry(source).or_insert(SourceState { connections: 0, full_at: now })
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut open = self.admission.open.lock();
        open.connections -= 1;
        let state = open.by_source.get_mut(&self.source).expect("a source with connections is remembered");
        state.connections -= 1;
        if state.connections == 0 && state.full_at <= Instant::now() {
            open.by_source.remove(&self.source);
        }
    }
}

fn full(what: String) -> Refusal {
    Refusal::new(Code::TooManyConnections, format!("{what}; not logged in, try again later"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(connections_max: u64, connections_per_address_max: u64) -> Arc<Admission> {
        admission_of(Limits { connections_max, connections_per_address_max, ..Limits::default() })
    }

    fn admission_of(limits: Limits) -> Arc<Admission> {
        Arc::new(Admission::new(&limits, 1000))
    }

    fn admit(admission: &Arc<Admission>, address: &str) -> Result<Admitted, Refusal> {
        admission.admit(Source::of(address.parse().unwrap()), Instant::now())
    }

    fn refused(admission: &Arc<Admission>, address: &str) -> String {
        let refusal = admit(admission, address).unwrap_err();
        assert_eq!(refusal.code, Code::TooManyConnections);
        refusal.message
    }

    #[test]
    fn connection_that_ends_makes_room_for_another() {
        let admission = admission(2, 0);
        let first = admit(&admission, "192.0.2.1").unwrap();
        let _second = admit(&admission, "192.0.2.2").unwrap();
        let words = refused(&admission, "192.0.2.3");
        assert_eq!(words, "2 connections are open (connections_max); not logged in, try again later");
        drop(first);
        let _third = admit(&admission, "192.0.2.3").unwrap();
        refused(&admission, "192.0.2.1");
    }

    #[test]
    fn each_source_is_counted_by_itself() {
        let admission = admission(0, 1);
        let first = admit(&admission, "192.0.2.1").unwrap();
        let _second = admit(&admission, "2001:db8::1").unwrap();
        let words = refused(&admission, "::ffff:192.0.2.1");
        assert!(words.starts_with("1 connections from 192.0.2.1 are open (connections_per_address_max); "), "{words}");
        let words = refused(&admission, "2001:db8::2");
        assert!(words.starts_with("1 connections from 2001:db8::/64 are open "), "{words}");
        drop(first);
        drop(admit(&admission, "192.0.2.1").unwrap());
        let open = admission.open.lock();
        assert_eq!(open.by_source.values().map(|state| state.connections).sum::<u64>(), 1);
    }

    #[test]
    fn descriptors_limit_the_connections() {
        assert_eq!(admission(0, 0).connections_max, 1000 - DESCRIPTORS_RESERVED);
        assert_eq!(admission(CONNECTIONS_DEFAULT, 0).connections_max, 1000 - DESCRIPTORS_RESERVED);
        assert_eq!(admission(500, 0).connections_max, 500);
        assert_eq!(admission(5000, 0).connections_max, 5000, "the operator wants that more wait");
    }

    #[test]
    fn source_that_connects_too_fast_waits_and_then_is_refused_and_others_are_not() {
        let admission =
            admission_of(Limits { connects_per_address_per_s: 10, connections_max: 0, ..Limits::default() });
        let (source, other) = ["192.0.2.1", "192.0.2.2"].map(|address| Source::of(address.parse().unwrap())).into();
        let now = Instant::now();
        let at_once = 10 * CONNECT_BURST_S;
        for _ in 0..at_once {
            assert_eq!(admission.admit(source, now).unwrap().delay, Duration::ZERO);
        }
        for place in 1..=10 * CONNECT_DELAY_S_MAX {
            assert_eq!(admission.admit(source, now).unwrap().delay, Duration::from_millis(100 * place));
        }
        let refusal = admission.admit(source, now).unwrap_err();
        assert_eq!(refusal.code, Code::RateLimited);
        assert_eq!(admission.admit(other, now).unwrap().delay, Duration::ZERO);
        // A refused connection costs nothing: a second later there are ten more.
        let later = now + Duration::from_secs(1);
        for _ in 0..10 {
            admission.admit(source, later).unwrap();
        }
        assert_eq!(admission.admit(source, later).unwrap_err().code, Code::RateLimited);
        let much_later = now + Duration::from_secs(60);
        assert_eq!(admission.admit(source, much_later).unwrap().delay, Duration::ZERO);
    }

    #[test]
    fn rate_of_zero_is_no_limit() {
        let admission = admission_of(Limits { connects_per_address_per_s: 0, ..Limits::default() });
        let source = Source::of("192.0.2.1".parse().unwrap());
        let now = Instant::now();
        for _ in 0..10_000 {
            assert_eq!(admission.admit(source, now).unwrap().delay, Duration::ZERO);
        }
    }

    #[test]
    fn sources_that_are_remembered_are_bounded() {
        let admission = admission(0, 0);
        let now = Instant::now();
        let source = |number: usize| Source::of(std::net::Ipv4Addr::from_bits(number as u32).into());
        let held = admission.admit(source(0), now).unwrap();
        for number in 1..3 * SOURCES_REMEMBERED_MAX {
            drop(admission.admit(source(number), now).unwrap());
            assert!(admission.open.lock().by_source.len() <= SOURCES_REMEMBERED_MAX + 1);
        }
        drop(held);
        assert_eq!(admission.open.lock().connections, 0);
    }
}
