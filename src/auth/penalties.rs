//! Penalties for wrong passwords: each further one makes its source, and all others that try the same name, wait longer. For a name and the
//! source of its latest login there is a penalty of their own: what others try delays the owner at home no more than the owner's mistakes
//! delay others. Owns the delays; never looks at a password.

use std::collections::HashMap;
use std::hash::Hash;
use std::time::{Duration, Instant};

use crate::limits::{PENALTIES_REMEMBERED_MAX, PENALTY_FREE_FAILURES, PENALTY_S_MAX};
use crate::message::PeerName;
use crate::source::Source;

/// Wrong passwords that were sent lately.
#[derive(Debug, Default)]
pub(super) struct Penalties {
    by_source: HashMap<Source, Penalty>,
    /// Penalties of names: for all sources together, but for the one that is known, which has its own.
    by_name: HashMap<(PeerName, Option<Source>), Penalty>,
}

/// Source that tries a name.
#[derive(Clone, Copy)]
pub(super) struct Suspect<'a> {
    pub(super) source: Source,
    pub(super) name: &'a PeerName,
    /// Whether the latest login by the name came from this source: then what others tried does not count.
    pub(super) is_known: bool,
}

impl Suspect<'_> {
    fn key(&self) -> (PeerName, Option<Source>) {
        (self.name.clone(), self.is_known.then_some(self.source))
    }
}

/// Wrong passwords of one source, or for one name.
#[derive(Clone, Copy, Debug)]
struct Penalty {
    failures: u32,
    /// Time from which another password is checked.
    free_at: Instant,
}

impl Penalties {
    /// Returns the time that a suspect must wait, if it must.
    pub(super) fn wait(&self, suspect: Suspect<'_>, now: Instant) -> Option<Duration> {
        let of_source = if suspect.is_known { None } else { self.by_source.get(&suspect.source) };
        let waits = of_source.into_iter().chain(self.by_name.get(&suspect.key()));
        waits.filter_map(|penalty| penalty.free_at.checked_duration_since(now)).filter(|wait| !wait.is_zero()).max()
    }

    /// Records a wrong password.
    pub(super) fn punish(&mut self, suspect: Suspect<'_>, now: Instant) {
        punish(&mut self.by_source, suspect.source, now);
        punish(&mut self.by_name, suspect.key(), now);
    }

    /// Forgets the owner's mistakes at home after a right password. What the source tried with other names stays.
    pub(super) fn forgive(&mut self, suspect: Suspect<'_>) {
        self.by_name.remove(&(suspect.name.clone(), Some(suspect.source)));
    }
}

fn punish<K: Eq + Hash + Clone>(penalties: &mut HashMap<K, Penalty>, key: K, now: Instant) {
    if penalties.len() >= PENALTIES_REMEMBERED_MAX && !penalties.contains_key(&key) {
        forget(penalties, now);
    }
    let penalty = penalties.entry(key).or_insert(Penalty { failures: 0, free_at: now });
    // A penalty that was over long ago is forgotten.
    if now.saturating_duration_since(penalty.free_at) > Duration::from_secs(PENALTY_S_MAX) {
        penalty.failures = 0;
    }
    penalty.failures = penalty.failures.saturating_add(1);
    penalty.free_at = now + delay(penalty.failures);
}

/// Returns the delay after this many wrong passwords: none after the first ones, then it doubles from a second on.
fn delay(failures: u32) -> Duration {
    let Some(doublings) = failures.checked_sub(PENALTY_FREE_FAILURES) else { return Duration::ZERO };
    Duration::from_secs(1u64.checked_shl(doublings).unwrap_or(PENALTY_S_MAX).clamp(1, PENALTY_S_MAX))
}

/// Makes room: forgets the penalties that are over, or else the half that is over first.
fn forget<K: Eq + Hash + Clone>(penalties: &mut HashMap<K, Penalty>, now: Instant) {
    penalties.retain(|_, penalty| penalty.free_at > now);
    if penalties.len() >= PENALTIES_REMEMBERED_MAX {
        let mut ends: Vec<Instant> = penalties.values().map(|penalty| penalty.free_at).collect();
        let middle = ends.len() / 2;
        let median = *ends.select_nth_unstable(middle).1;
        penalties.retain(|_, penalty| penalty.free_at > median);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suspect(name: &PeerName, number: usize) -> Suspect<'_> {
        Suspect { source: Source::of(std::net::Ipv4Addr::from_bits(number as u32).into()), name, is_known: false }
    }

    #[test]
    fn delay_grows_after_the_first_mistakes_and_is_bounded() {
        let name = PeerName::parse("alice").unwrap();
        let mut penalties = Penalties::default();
        let mut now = Instant::now();
        let mut delays = Vec::new();
        for _ in 0..14 {
            penalties.punish(suspect(&name, 1), now);
            let wait = penalties.wait(suspect(&name, 1), now).unwrap_or_default();
            delays.push(wait.as_secs());
            now += wait;
        }
        assert_eq!(delays, [0, 0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        let later = now + Duration::from_secs(2 * PENALTY_S_MAX);
        assert_eq!(penalties.wait(suspect(&name, 1), later), None);
        penalties.punish(suspect(&name, 1), later);
        assert_eq!(penalties.wait(suspect(&name, 1), later), None, "it begins anew");
    }

    #[test]
    fn owner_at_home_and_others_there_do_not_delay_each_other() {
        let [alice, mallory] = ["alice", "mallory"].map(|name| PeerName::parse(name).unwrap());
        let mut penalties = Penalties::default();
        let now = Instant::now();
        let owner = Suspect { is_known: true, ..suspect(&alice, 1) };
        let neighbour = Suspect { is_known: true, ..suspect(&mallory, 1) };
        let guesses =
            |penalties: &mut Penalties, suspect: Suspect<'_>| (0..9).for_each(|_| penalties.punish(suspect, now));
        guesses(&mut penalties, suspect(&mallory, 1));
        assert_eq!(penalties.wait(owner, now), None, "what a neighbour tries with other names");
        guesses(&mut penalties, owner);
        assert!(penalties.wait(owner, now).is_some());
        penalties.forgive(neighbour);
        assert!(penalties.wait(owner, now).is_some(), "a neighbour's right password forgives no guesses");
        penalties.forgive(owner);
        assert_eq!(penalties.wait(owner, now), None);
        assert!(penalties.wait(suspect(&alice, 1), now).is_some(), "the source stays suspect for other names");
    }

    #[test]
    fn penalties_that_are_remembered_are_bounded() {
        let mut penalties = Penalties::default();
        let now = Instant::now();
        for number in 0..3 * PENALTIES_REMEMBERED_MAX {
            let name = PeerName::parse(&format!("n{number}")).unwrap();
            penalties.punish(suspect(&name, number), now);
        }
        assert!(penalties.by_source.len() <= PENALTIES_REMEMBERED_MAX);
        assert!(penalties.by_name.len() <= PENALTIES_REMEMBERED_MAX);
    }
}
