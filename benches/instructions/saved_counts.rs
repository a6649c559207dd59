//! Counts saved in the repository, one for each scenario. Owns the file and the verdict on a new count; never counts.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::io::ErrorKind;

use anyhow::{Context, Result};

/// Path of the file.
const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/instructions/counts.toml");

/// Comment at its beginning.
const HEADING: &str = "\
# Instructions of the server for each message, as `cargo bench --profile profiling --bench instructions -- --save` counts them.
# Another compiler, C library or processor counts others: compare what the same machine has counted.
";

/// Percent by which a count may exceed the saved one: a multiple of the noise.
const HIGHER_PERCENT_MAX: f64 = 3.0;

/// Saved counts, by scenario.
pub(crate) struct SavedCounts {
    counts: BTreeMap<String, u64>,
}

/// Comparison of a count with the saved one.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Not much higher, or the first.
    Fine,
    /// Higher than noise explains.
    TooMany,
}

impl SavedCounts {
    /// Reads the file; there are no counts before the first are saved.
    pub(crate) fn load() -> Result<SavedCounts> {
        let text = match fs::read_to_string(PATH) {
            Err(error) if error.kind() == ErrorKind::NotFound => String::new(),
            text => text.context(PATH)?,
        };
        Ok(SavedCounts { counts: toml::from_str(&text).context(PATH)? })
    }

    /// Stores a count.
    pub(crate) fn put(&mut self, scenario: &str, instructions: f64) {
        self.counts.insert(scenario.to_string(), instructions.round() as u64);
    }

    /// Writes the file.
    pub(crate) fn save(&self) -> Result<()> {
        let mut text = HEADING.to_string();
        for (scenario, count) in &self.counts {
            writeln!(text, "{scenario} = {count}")?;
        }
        fs::write(PATH, text).context(PATH)
    }

    /// Compares a count with the saved one. Returns the verdict, and its text.
    pub(crate) fn compare(&self, scenario: &str, instructions: f64) -> (Verdict, String) {
        let Some(&saved) = self.counts.get(scenario) else {
            return (Verdict::Fine, "none is saved".to_string());
        };
        let percent = 100.0 * (instructions / saved as f64 - 1.0);
        let words = format!("kept: {saved}, {percent:+.1} %");
        if percent > HIGHER_PERCENT_MAX {
            (Verdict::TooMany, format!("{words}: more than {HIGHER_PERCENT_MAX} % higher"))
        } else {
            (Verdict::Fine, words)
        }
    }
}
