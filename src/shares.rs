//! Shares of a limit: who may take more of what all share. Owns the rule and the counts; never what a limit is about.
//!
//! The rule is the dynamic threshold of shared buffers (Choudhury and Hahne, "Dynamic queue length thresholds for shared-memory packet
//! switches", 1998): a holder may take more while it holds less than what is still free. It holds at two levels: for a sender within its
//! source, and for a source among all. A limit of N is what one sender alone gets. One source alone gets up to 2 N, and all together up to
//! 4 N. So whoever comes late finds as much as the greediest holds.

use std::collections::HashMap;
use std::hash::Hash;

use foldhash::HashMap as IdMap;

use crate::message::PeerId;
use crate::source::Source;

/// Holder of a share: a sender at a source. The same name at another source holds another share, so nobody uses up the share of a name
/// by logging in as it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Holder {
    /// Peer that takes.
    pub sender: PeerId,
    /// Source that it logged in from.
    pub source: Source,
}

/// Amounts of a limit that are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    /// By the holder.
    pub(crate) sender: u64,
    /// By all holders of its source.
    pub(crate) source: u64,
    /// By all holders.
    pub(crate) all: u64,
}

impl Usage {
    /// Whether the holder may take as many more, one after another.
    pub(crate) fn admits(self, limit: u64, more: u64) -> bool {
        let Some(before_last) = more.checked_sub(1).map(u128::from) else { return true };
        let Usage { sender, source, all } = self;
        let [limit, sender, source, all] = [limit, sender, source, all].map(u128::from);
        sender + source + 2 * before_last < 2 * limit && source + all + 2 * before_last < 4 * limit
    }
}

/// Amounts of one limit, by holder.
#[derive(Debug, Default)]
pub(crate) struct Shares {
    by_holder: IdMap<Holder, u64>,
    by_source: HashMap<Source, u64>,
    all: u64,
}

impl Shares {
    /// Counts an amount that a holder takes. Without a holder it counts for all.
    pub(crate) fn add(&mut self, holder: Option<Holder>, amount: u64) {
        self.all += amount;
        if let Some(holder) = holder {
            *self.by_holder.entry(holder).or_default() += amount;
            *self.by_source.entry(holder.source).or_default() += amount;
        }
    }

    /// Takes back an amount that was added for the same holder.
    pub(crate) fn remove(&mut self, holder: Option<Holder>, amount: u64) {
        self.all = self.all.saturating_sub(amount);
        if let Some(holder) = holder {
            subtract(&mut self.by_holder, holder, amount);
            subtract(&mut self.by_source, holder.source, amount);
        }
    }

    /// Returns what is taken, as a holder sees it.
    pub(crate) fn usage(&self, holder: Holder) -> Usage {
        Usage {
            sender: self.by_holder.get(&holder).copied().unwrap_or_default(),
            source: self.by_source.get(&holder.source).copied().unwrap_or_default(),
            all: self.all,
        }
    }

    /// Sum of all amounts.
    pub(crate) fn all(&self) -> u64 {
        self.all
    }

    /// Reduces all amounts in proportion, so that their sum is at most `all`.
    pub(crate) fn scale_to(&mut self, all: u64) {
        let before = std::mem::take(self);
        for (holder, amount) in before.by_holder {
            let scaled = scaled(amount, all, before.all);
            if scaled > 0 {
                self.add(Some(holder), scaled);
            }
        }
    }
}

impl Shares {
    /// Halves all amounts.
    pub(crate) fn halve(&mut self) {
        self.by_holder.values_mut().chain(self.by_source.values_mut()).for_each(|amount| *amount /= 2);
        self.all /= 2;
    }

    /// If there are more than `max` senders or sources, forgets all but the half of `max` that took the most. What the others took still
    /// counts for their sources, and for all.
    pub(crate) fn forget_small(&mut self, max: usize) {
        forget_small(&mut self.by_holder, max);
        forget_small(&mut self.by_source, max);
    }
}

fn forget_small<K: Hash + Eq, S: std::hash::BuildHasher>(amounts: &mut HashMap<K, u64, S>, max: usize) {
    if amounts.len() > max {
        let mut sorted = Vec::from_iter(amounts.values().copied());
        let (_, largest_forgotten, _) = sorted.select_nth_unstable_by_key(max / 2, |amount| std::cmp::Reverse(*amount));
        amounts.retain(|_, amount| *amount > *largest_forgotten);
    }
}

impl Usage {
    /// Reduces the amounts in proportion, so that they are parts of `all`.
    pub(crate) fn scaled_to(self, all: u64) -> Usage {
        Usage { sender: scaled(self.sender, all, self.all), source: scaled(self.source, all, self.all), all }
    }
}

fn scaled(amount: u64, all: u64, all_before: u64) -> u64 {
    if all_before <= all {
        return amount;
    }
    // The result is at most `amount`.
    (u128::from(amount) * u128::from(all) / u128::from(all_before)) as u64
}

fn subtract<K: Hash + Eq, S: std::hash::BuildHasher>(amounts: &mut HashMap<K, u64, S>, key: K, amount: u64) {
    // Rows that were written by hand may have been counted for others.
    let Some(taken) = amounts.get_mut(&key) else { return };
    *taken = taken.saturating_sub(amount);
    if *taken == 0 {
        amounts.remove(&key);
    }
}

/// Items of which each counts one against a limit, with their holders.
#[derive(Debug)]
pub(crate) struct Ledger<K> {
    holders: HashMap<K, Option<Holder>>,
    shares: Shares,
}

impl<K> Default for Ledger<K> {
    fn default() -> Self {
        Ledger { holders: HashMap::new(), shares: Shares::default() }
    }
}

impl<K: Eq + Hash> Ledger<K> {
    /// Notes that a holder has taken an item that was free.
    pub(crate) fn take(&mut self, item: K, holder: Option<Holder>) {
        let before = self.holders.insert(item, holder);
        assert!(before.is_none(), "an item is taken once");
        self.shares.add(holder, 1);
    }

    /// Notes that an item is free again, if it was taken.
    pub(crate) fn release(&mut self, item: &K) {
        if let Some(holder) = self.holders.remove(item) {
            self.shares.remove(holder, 1);
        }
    }

    /// Returns what is taken, as a holder sees it.
    pub(crate) fn usage(&self, holder: Holder) -> Usage {
        self.shares.usage(holder)
    }
}

impl<K: Eq + Hash> FromIterator<(K, Option<Holder>)> for Ledger<K> {
    fn from_iter<T: IntoIterator<Item = (K, Option<Holder>)>>(items: T) -> Self {
        let mut ledger = Ledger::default();
        items.into_iter().for_each(|(item, holder)| ledger.take(item, holder));
        ledger
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: u64 = 1000;

    fn holder(sender: i64, source: u8) -> Holder {
        Holder { sender: PeerId::new(sender), source: Source::of([192, 0, 2, source].into()) }
    }

    /// Takes as much as the holder gets. Returns how much that is.
    fn take_all(shares: &mut Shares, holder: Holder) -> u64 {
        let mut taken = 0;
        while shares.usage(holder).admits(LIMIT, 1) {
            shares.add(Some(holder), 1);
            taken += 1;
        }
        taken
    }

    #[test]
    fn sender_alone_gets_the_limit() {
        let mut shares = Shares::default();
        assert_eq!(take_all(&mut shares, holder(1, 1)), LIMIT);
        assert_eq!(take_all(&mut shares, holder(1, 1)), 0);
        assert!(Usage::default().admits(1, 1) && !Usage::default().admits(1, 2));
        assert!(Usage::default().admits(u64::MAX, u64::MAX), "no limit");
        assert!(Usage::default().admits(0, 0));
    }

    #[test]
    fn several_at_once_are_admitted_if_one_after_another_are() {
        for more in [1, 2, 7, LIMIT - 1, LIMIT, LIMIT + 1] {
            for taken in [0, 1, LIMIT - 7, LIMIT] {
                let mut shares = Shares::default();
                shares.add(Some(holder(1, 1)), taken);
                shares.add(Some(holder(2, 1)), 100);
                shares.add(Some(holder(3, 2)), 1500);
                let at_once = shares.usage(holder(1, 1)).admits(LIMIT, more);
                assert_eq!(at_once, take_all(&mut shares, holder(1, 1)) >= more, "{more} after {taken}");
            }
        }
    }

    #[test]
    fn late_comer_gets_as_much_as_the_greediest() {
        let mut shares = Shares::default();
        // One stranger with any number of names, and its neighbour with one.
        for name in 0..LIMIT as i64 {
            take_all(&mut shares, holder(name, 1));
        }
        assert!(shares.all() <= 2 * LIMIT && shares.all() > LIMIT * 19 / 10, "{}", shares.all());
        assert_eq!(take_all(&mut shares, holder(9999, 2)), LIMIT, "at another source");

        let mut shares = Shares::default();
        assert_eq!(take_all(&mut shares, holder(1, 1)), LIMIT);
        assert_eq!(take_all(&mut shares, holder(2, 1)), LIMIT / 2, "at the same source");
    }

    #[test]
    fn each_further_source_finds_half_as_much() {
        let mut shares = Shares::default();
        let mut before = 4 * LIMIT;
        for source in 1..=8 {
            for name in 0..LIMIT as i64 {
                take_all(&mut shares, holder(i64::from(source) * 10_000 + name, source));
            }
            let got = shares.by_source[&holder(0, source).source];
            assert!((before / 2 - 2..=before / 2 + 2).contains(&got), "{got} after {before}");
            assert!(shares.all() <= 4 * LIMIT, "{}", shares.all());
            before = got;
        }
    }

    #[test]
    fn what_is_given_back_is_free_again() {
        let mut ledger = Ledger::from_iter([(1, None), (2, Some(holder(1, 1)))]);
        ledger.take(3, Some(holder(1, 2)));
        assert_eq!(ledger.usage(holder(1, 1)), Usage { sender: 1, source: 1, all: 3 });
        (1..=3).for_each(|item| ledger.release(&item));
        ledger.release(&2);
        assert_eq!(ledger.usage(holder(1, 1)), Usage::default());
        assert!(ledger.shares.by_holder.is_empty() && ledger.shares.by_source.is_empty());
    }

    #[test]
    fn crowd_is_forgotten_and_the_largest_holders_and_all_sums_stay() {
        let mut shares = Shares::default();
        for name in 1..=100 {
            shares.add(Some(holder(name, (name % 2) as u8)), name as u64);
        }
        shares.forget_small(100);
        assert_eq!(shares.by_holder.len(), 100);
        shares.forget_small(99);
        assert_eq!(shares.by_holder.len(), 49);
        assert_eq!(shares.usage(holder(52, 0)), Usage { sender: 52, source: 2550, all: 5050 });
        assert_eq!(shares.usage(holder(51, 1)), Usage { sender: 0, source: 2500, all: 5050 });
        shares.halve();
        assert_eq!(shares.usage(holder(52, 0)), Usage { sender: 26, source: 1275, all: 2525 });
        let mut equal = Shares::default();
        (1..=100).for_each(|source| equal.add(Some(holder(1, source)), 1));
        equal.forget_small(10);
        assert!(equal.by_holder.is_empty() && equal.by_source.is_empty() && equal.all() == 100);
    }

    #[test]
    fn amounts_are_scaled_in_proportion() {
        let mut shares = Shares::default();
        shares.add(Some(holder(1, 1)), 300);
        shares.add(Some(holder(2, 1)), 100);
        shares.add(Some(holder(3, 2)), 1);
        assert_eq!(shares.usage(holder(1, 1)).scaled_to(1000), Usage { sender: 300, source: 400, all: 1000 });
        assert_eq!(shares.usage(holder(1, 1)).scaled_to(40), Usage { sender: 29, source: 39, all: 40 });
        shares.scale_to(40);
        assert_eq!(shares.usage(holder(1, 1)), Usage { sender: 29, source: 38, all: 38 });
        shares.scale_to(0);
        assert_eq!(shares.usage(holder(1, 1)), Usage::default());
    }
}
