//! The table at the end: medians, spread and ratios over all rounds.
//! Owns the arithmetic over runs and the layout; never runs anything.

use std::collections::BTreeMap;
use std::fmt;

use crate::server::Contestant;
use crate::{Figures, Scenario};

/// What each contestant measured in one round of one scenario.
pub(crate) type Round = BTreeMap<Contestant, Figures>;

/// All rounds so far.
#[derive(Default)]
pub(crate) struct Report {
    results: Vec<Result>,
}

/// All rounds of one scenario.
struct Result {
    scenario: &'static Scenario,
    rounds: Vec<Round>,
}

impl Report {
    /// Adds a round that every contestant finished.
    pub(crate) fn add(&mut self, scenario: &'static Scenario, round: Round) {
        match self.results.iter_mut().find(|result| result.scenario.name == scenario.name) {
            Some(result) => result.rounds.push(round),
            None => self.results.push(Result { scenario, rounds: vec![round] }),
        }
    }
}

/// Columns of words; all others are numbers.
const SCENARIO: usize = 0;
const SERVER: usize = 1;
const UNIT: usize = 4;

/// The columns.
const HEADINGS: [&str; 9] =
    ["scenario", "server", "median", "min–max", "unit", "CPU µs/message", "load µs/message", "peak MiB", "ratio"];

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rows = vec![HEADINGS.map(String::from)];
        rows.extend(self.results.iter().flat_map(Result::rows));
        let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: [usize; HEADINGS.len()] = std::array::from_fn(width);
        for row in &rows {
            let cells = row.iter().zip(widths).enumerate().map(|(column, (cell, width))| match column {
                SCENARIO | SERVER | UNIT => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            });
            writeln!(f, "{}", cells.collect::<Vec<_>>().join("  "))?;
        }
        Ok(())
    }
}

impl Result {
    fn rows(&self) -> impl Iterator<Item = [String; HEADINGS.len()]> {
        self.scenario.contestants.iter().map(|contestant| self.row(*contestant))
    }

    fn row(&self, contestant: Contestant) -> [String; HEADINGS.len()] {
        let values = self.each(|round| Some(round.get(&contestant)?.value));
        let cpu = self.each(|round| round.get(&contestant)?.server_cpu_us);
        let load = self.each(|round| round.get(&contestant)?.load_cpu_us);
        let peak = self.each(|round| Some(round.get(&contestant)?.peak_bytes? as f64 / f64::from(1 << 20)));
        let baseline = self.scenario.contestants.first();
        let ratio = self.each(|round| Some(round.get(&contestant)?.value / round.get(baseline?)?.value));
        [
            self.scenario.name.to_string(),
            contestant.to_string(),
            median(&values, 0),
            spread(&values),
            self.scenario.unit.to_string(),
            median(&cpu, 2),
            median(&load, 2),
            median(&peak, 1),
            median(&ratio, 2),
        ]
    }

    /// One number of each round that has it, in ascending order.
    fn each(&self, number: impl Fn(&Round) -> Option<f64>) -> Vec<f64> {
        let mut numbers: Vec<_> = self.rounds.iter().filter_map(number).collect();
        numbers.sort_by(f64::total_cmp);
        numbers
    }
}

fn median(ascending: &[f64], decimals: usize) -> String {
    let middle = ascending.len() / 2;
    match ascending {
        [] => "-".to_string(),
        _ if ascending.len() % 2 == 1 => format!("{:.decimals$}", ascending[middle]),
        _ => format!("{:.decimals$}", (ascending[middle - 1] + ascending[middle]) / 2.0),
    }
}

fn spread(ascending: &[f64]) -> String {
    match ascending {
        [lowest, .., highest] => format!("{lowest:.0}–{highest:.0}"),
        _ => "-".to_string(),
    }
}
