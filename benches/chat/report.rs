//! Tables at the end: medians and spread over all rounds, and each bar with the values measured. Owns the columns; never
//! runs anything.

use std::fmt;

use crate::sample::{Sample, rounded};
use crate::scenario::{Bar, Figures, Measure, Round, Scenario};
use crate::server::Contestant;
use crate::table::{Align, Table};

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

/// Bar, with the values measured against it.
pub(crate) struct Verdict {
    /// Scenario of the measure.
    pub(crate) scenario: &'static Scenario,
    /// Measure.
    pub(crate) measure: &'static Measure,
    /// Contestant with the value.
    pub(crate) who: Contestant,
    /// Bar to reach.
    pub(crate) bar: Bar,
    /// Median of all rounds: a ratio, or a value if the bar is absolute.
    pub(crate) held: f64,
    /// Values of all rounds.
    compared_each: Sample,
}

impl Report {
    /// Adds a round that every contestant finished.
    pub(crate) fn add(&mut self, scenario: &'static Scenario, round: Round) {
        match self.results.iter_mut().find(|result| result.scenario.name == scenario.name) {
            Some(result) => result.rounds.push(round),
            None => self.results.push(Result { scenario, rounds: vec![round] }),
        }
    }

    /// Verdict of every bar that was measured.
    pub(crate) fn verdicts(&self) -> Vec<Verdict> {
        self.results.iter().flat_map(Result::verdicts).collect()
    }

    fn values(&self) -> Table<8> {
        let mut table = Table::new([
            ("scenario", Align::Left),
            ("server", Align::Left),
            ("median", Align::Right),
            ("min–max", Align::Right),
            ("unit", Align::Left),
            ("CPU µs/message", Align::Right),
            ("load µs/message", Align::Right),
            ("peak MiB", Align::Right),
        ]);
        for result in &self.results {
            result.add_rows(&mut table);
        }
        table
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.values())?;
        let verdicts = self.verdicts();
        if verdicts.is_empty() {
            return Ok(());
        }
        let met = verdicts.iter().filter(|verdict| verdict.is_met()).count();
        write!(f, "\n{}\n{met} of {} bars are met.\n", bars(&verdicts), verdicts.len())
    }
}

impl Result {
    fn add_rows(&self, table: &mut Table<8>) {
        for (place, measure) in self.scenario.measures.iter().enumerate() {
            for contestant in self.scenario.contestants {
                table.add(self.row(place, measure, *contestant));
            }
        }
    }

    fn row(&self, place: usize, measure: &Measure, contestant: Contestant) -> [String; 8] {
        let values = self.each(contestant, |figures| figures.values.get(place).copied());
        // These figures are for the whole run: the first of its measures has them.
        let of_run = |number: fn(&Figures) -> Option<f64>| match place {
            0 => self.each(contestant, number),
            _ => Sample::default(),
        };
        [
            self.scenario.name_of(measure),
            contestant.to_string(),
            median(&values),
            spread(&values),
            measure.unit.to_string(),
            median(&of_run(|figures| figures.server_cpu_us)),
            median(&of_run(|figures| figures.load_cpu_us)),
            median(&of_run(|figures| Some(figures.peak_bytes? as f64 / f64::from(1 << 20)))),
        ]
    }

    /// Number of each round that has it.
    fn each(&self, contestant: Contestant, number: impl Fn(&Figures) -> Option<f64>) -> Sample {
        self.rounds.iter().filter_map(|round| number(round.get(&contestant)?)).collect()
    }

    fn verdicts(&self) -> impl Iterator<Item = Verdict> {
        let bars = move |(place, measure): (usize, &'static Measure)| {
            measure.bars.iter().filter_map(move |(who, bar)| self.verdict(place, measure, *who, *bar))
        };
        self.scenario.measures.iter().enumerate().flat_map(bars)
    }

    fn verdict(&self, place: usize, measure: &'static Measure, who: Contestant, bar: Bar) -> Option<Verdict> {
        let compared_each: Sample =
            self.rounds.iter().filter_map(|round| bar.compared_by_bar(round, who, place)).collect();
        let held = compared_each.median()?;
        Some(Verdict { scenario: self.scenario, measure, who, bar, held, compared_each })
    }
}

impl Verdict {
    /// Whether the bar is reached.
    pub(crate) fn is_met(&self) -> bool {
        self.bar.is_met_by(self.held)
    }

    fn row(&self) -> [String; 6] {
        let unit = match self.bar {
            Bar::AtLeast(..) | Bar::AtMost(..) | Bar::Zero => String::new(),
            Bar::Under(_) => format!(" {}", self.measure.unit),
        };
        [
            self.scenario.name_of(self.measure),
            self.who.to_string(),
            format!("{}{unit}", self.bar),
            rounded(self.held),
            spread(&self.compared_each),
            if self.is_met() { "yes" } else { "no" }.to_string(),
        ]
    }
}

fn bars(verdicts: &[Verdict]) -> Table<6> {
    let mut table = Table::new([
        ("scenario", Align::Left),
        ("server", Align::Left),
        ("bar", Align::Left),
        ("median", Align::Right),
        ("min–max", Align::Right),
        ("met", Align::Left),
    ]);
    for verdict in verdicts {
        table.add(verdict.row());
    }
    table
}

fn median(sample: &Sample) -> String {
    sample.median().map_or_else(|| "-".to_string(), rounded)
}

fn spread(sample: &Sample) -> String {
    match sample.range() {
        Some((lowest, highest)) => format!("{}–{}", rounded(lowest), rounded(highest)),
        None => "-".to_string(),
    }
}
