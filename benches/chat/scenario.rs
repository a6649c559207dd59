//! What a row of the table is made of: a scenario, who takes part, what is measured, and the bar that it has to reach.
//! Owns these types and their words; never runs anything.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::Result;

use crate::options::Options;
use crate::server::Contestant;

/// One kind of load, and what is measured under it.
pub(crate) struct Scenario {
    /// As `--only` and the tables call it.
    pub(crate) name: &'static str,
    /// As the chart calls it.
    pub(crate) title: &'static str,
    /// Who takes part, in the order of the table's rows.
    pub(crate) contestants: &'static [Contestant],
    /// What each run measures, in the order of [`Figures::values`].
    pub(crate) measures: &'static [Measure],
    /// How it is run.
    pub(crate) run: Run,
    /// Whether it runs only where `--only` names it.
    pub(crate) on_request: bool,
}

/// How a round of a scenario is run. Nothing is measured where this machine does not let it run, which it has then said.
pub(crate) enum Run {
    /// One contestant after the other, each with the machine to itself.
    Each(fn(Contestant, &Options) -> Result<Option<Figures>>),
    /// All of them in one, which take turns within the round.
    Together(fn(&Options) -> Result<Option<Round>>),
    /// All rounds at once, with tables of its own.
    Tables(fn(&Options) -> Result<String>),
}

/// One value of a run.
pub(crate) struct Measure {
    /// What it is; empty where the scenario's name says it.
    pub(crate) name: &'static str,
    /// Its unit.
    pub(crate) unit: &'static str,
    /// What it has to reach, and whose value it is that has to.
    pub(crate) bars: &'static [(Contestant, Bar)],
}

/// What a value has to reach. A ratio is taken within a round, and the median over all rounds counts.
#[derive(Clone, Copy)]
pub(crate) enum Bar {
    /// This many times what another measured.
    AtLeast(f64, Contestant),
    /// At most this many times what these measured together.
    AtMost(f64, &'static [Contestant]),
    /// Less than this, in the unit of the measure.
    Under(f64),
    /// Nothing at all.
    Zero,
}

/// What each contestant measured in one round of one scenario.
pub(crate) type Round = BTreeMap<Contestant, Figures>;

/// What one run of a scenario measured.
#[derive(Clone)]
pub(crate) struct Figures {
    /// One for each of the scenario's measures.
    pub(crate) values: Vec<f64>,
    /// CPU time of the server per message, where the scenario counts messages.
    pub(crate) server_cpu_us: Option<f64>,
    /// CPU time of this program per message.
    pub(crate) load_cpu_us: Option<f64>,
    /// The most memory that the server had resident.
    pub(crate) peak_bytes: Option<u64>,
}

impl Figures {
    /// Only the values of the measures.
    pub(crate) fn new(values: impl Into<Vec<f64>>) -> Figures {
        Figures { values: values.into(), server_cpu_us: None, load_cpu_us: None, peak_bytes: None }
    }
}

impl Scenario {
    /// Its name with that of one of its measures.
    pub(crate) fn name_of(&self, measure: &Measure) -> String {
        format!("{} {}", self.name, measure.name).trim_end().to_string()
    }
}

impl Bar {
    /// What the value of `who` is of what the bar compares it with; the value itself where that is an absolute number.
    /// Nothing where one of those that it is compared with did not take part.
    pub(crate) fn held_against(self, round: &Round, who: Contestant, measure: usize) -> Option<f64> {
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
