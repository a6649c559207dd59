//! Size of the stripped binary, the one that is measured and shipped. Never starts it.

use std::fs;

use anyhow::{Context, Result};

use crate::options::Options;
use crate::scenario::{Bar, Figures, Measure, Run, Scenario};
use crate::server::Contestant;

/// Disk space of the server before it has any data.
pub(crate) const SCENARIO: Scenario = Scenario {
    name: "binary",
    title: "The server's binary",
    contestants: &[Contestant::Holdline],
    measures: &[Measure { name: "", unit: "MiB", bars: &[(Contestant::Holdline, Bar::Under(4.0))] }],
    run: Run::Each(run),
    on_request: false,
};

fn run(_: Contestant, options: &Options) -> Result<Option<Figures>> {
    let file = fs::metadata(&options.server).with_context(|| options.server.display().to_string())?;
    Ok(Some(Figures::new([file.len() as f64 / f64::from(1 << 20)])))
}
