//! Parts of a row of the table: scenario, contestants, measures, and the bar to reach. Owns these types and their words;
//! never runs anything.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::Result;

use crate::options::Options;
use crate::server::Contestant;

/// Kind of load, and what is measured under it.
pub(crate) struct Scenario {
    /// Name for `--only` and the tables.
    pub(crate) name: &'static str,
    /// Title in the chart.
    pub(crate) title: &'static str,
    /// Contestants, in the order of the table's rows.
    pub(crate) contestants: &'static [Contestant],
    /// Measures of each run, in the order of [`Figures::values`].
    pub(crate) measures: &'static [Measure],
    /// Way to run it.
    pub(crate) run: Run,
    /// Whether it runs only if `--only` names it.
    pub(crate) on_request: bool,
}

/// Way to run a round of a scenario. Nothing is measured if this machine does not let it run, which is then reported.
pub(crate) enum Run {
    /// One contestant after the other, each with the machine to itself.
    Each(fn(Contestant, &Options) -> Result<Option<Figures>>),
    /// All contestants in one function, which take turns within the round.
    Together(fn(&Options) -> Result<Option<Round>>),
    /// All rounds at once, with tables of their own.
    Tables(fn(&Options) -> Result<String>),
}

/// Value of a run.
pub(crate) struct Measure {
    /// Name; empty if the scenario's name says it.
    pub(crate) name: &'static str,
    /// Unit.
    pub(crate) unit: &'static str,
    /// Bars, each with the contestant that must reach it.
    pub(crate) bars: &'static [(Contestant, Bar)],
}

/// Bar for a value. A ratio is taken within a round, and the median over all rounds counts.
#[derive(Clone, Copy)]
pub(crate) enum Bar {
    /// At least this many times the value of another contestant.
    AtLeast(f64, Contestant),
    /// At most this many times the sum of these contestants.
    AtMost(f64, &'static [Contestant]),
    /// Less than this, in the unit of the measure.
    Under(f64),
    /// Zero.
    Zero,
}

/// Figures of each contestant in one round of one scenario.
pub(crate) type Round = BTreeMap<Contestant, Figures>;

/// Figures of one run of a scenario.
#[derive(Clone)]
pub(crate) struct Figures {
    /// Values, one for each of the scenario's measures.
    pub(crate) values: Vec<f64>,
    /// CPU time of the server per message, if the scenario counts messages.
    pub(crate) server_cpu_us: Option<f64>,
    /// CPU time of this program per message.
    pub(crate) load_cpu_us: Option<f64>,
    /// Peak of the server's resident memory.
    pub(crate) peak_bytes: Option<u64>,
}

impl Figures {
    /// Figures with only the values of the measures.
    pub(crate) fn new(values: impl Into<Vec<f64>>) -> Figures {
        Figures { values: values.into(), server_cpu_us: None, load_cpu_us: None, peak_bytes: None }
    }
}

impl Scenario {
    /// Name of the scenario with that of one of its measures.
    pub(crate) fn name_of(&self, measure: &Measure) -> String {
        format!("{} {}", self.name, measure.name).trim_end().to_string()
    }
}

impl Bar {
    /// Value of `who` relative to what the bar compares it with, or the value itself if the bar is absolute. `None` if a
    /// contestant of the comparison did not take part.
    pub(crate) fn compared_by_bar(self, round: &Round, who: Contestant, measure: usize) -> Option<f64> {
        let value = |contestant: &Contestant| round.get(contestant)?.values.get(measure).copied();
        let own = value(&who)?;
        match self {
            Bar::AtLeast(_, other) => Some(own / value(&other)?),
            Bar::AtMost(_, others) => Some(own / others.iter().map(value).sum::<Option<f64>>()?),
            Bar::Under(_) | Bar::Zero => Some(own),
        }
    }

    /// Whether that is enough.
    pub(crate) fn is_met_by(self, held: f64) -> bool {
        match self {
            Bar::AtLeast(ratio, _) => held >= ratio,
            Bar::AtMost(ratio, _) => held <= ratio,
            Bar::Under(limit) => held < limit,
            Bar::Zero => held == 0.0,
        }
    }
}

impl fmt::Display for Bar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bar::AtLeast(ratio, other) => write!(f, "at least {ratio} of {other}"),
            Bar::AtMost(ratio, others) => {
                let others: Vec<_> = others.iter().map(Contestant::to_string).collect();
                write!(f, "at most {ratio} of {}", others.join(" + "))
            }
            Bar::Under(limit) => write!(f, "under {limit}"),
            Bar::Zero => f.write_str("none"),
        }
    }
}
