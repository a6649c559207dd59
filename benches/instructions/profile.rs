//! Counts of valgrind: the instructions of each function, and of each call from one function to another. Owns the form
//! of callgrind's file; never knows the purpose of a function.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

/// Instructions of a process, or of a part of its life. Functions are named by the paths of their modules.
#[derive(Default)]
pub(crate) struct Profile {
    /// Instructions of each function, without those that it called.
    pub(crate) own: HashMap<String, i64>,
    /// Instructions of each call, from and to, including everything that was called in it.
    pub(crate) calls: HashMap<(String, String), i64>,
    /// File of each function, as far as it is known.
    pub(crate) files: HashMap<String, String>,
}

/// Waiting for a lock spins as long as another thread holds it. That is chance, and not work.
const SPINNING: &str = "lock_contended";

impl Profile {
    /// Reads a file of callgrind; its format: <https://valgrind.org/docs/manual/cl-format.html>
    pub(crate) fn read(path: &Path) -> Result<Profile> {
        let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
        let profile = parse(&text).context("callgrind's file cannot be read")?;
        ensure!(
            profile.own.keys().any(|function| function.starts_with("holdline::")),
            "the server does not tell the names of its functions: cargo bench --profile profiling --bench instructions"
        );
        Ok(profile)
    }

    /// Sum of all instructions.
    pub(crate) fn instructions(&self) -> i64 {
        self.own.values().sum()
    }

    /// Instructions beyond those of another profile.
    pub(crate) fn minus(mut self, other: &Profile) -> Profile {
        for (function, instructions) in &other.own {
            *self.own.entry(function.clone()).or_default() -= instructions;
        }
        for (call, instructions) in &other.calls {
            *self.calls.entry(call.clone()).or_default() -= instructions;
        }
        self
    }
}

fn parse(text: &str) -> Option<Profile> {
    let mut profile = Profile::default();
    let (mut file, mut caller, mut callee) = (String::new(), String::new(), String::new());
    let mut is_call = false;
    for line in text.lines() {
        match line.split_once('=') {
            Some(("fl", name)) => file = name.to_string(),
            Some(("fn", name)) => {
                caller = without_depth(name);
                profile.files.insert(caller.clone(), file.clone());
            }
            Some(("cfn", name)) => callee = without_depth(name),
            Some(("calls", _)) => is_call = true,
            _ if line.starts_with(|c: char| c.is_ascii_digit()) => {
                let instructions: i64 = line.split_once(' ')?.1.parse().ok()?;
                if std::mem::take(&mut is_call) {
                    *profile.calls.entry((caller.clone(), callee.clone())).or_default() += instructions;
                } else if !caller.contains(SPINNING) {
                    *profile.own.entry(caller.clone()).or_default() += instructions;
                }
            }
            _ => {}
        }
    }
    Some(profile)
}

/// A function that calls itself has a number after its name, for each depth.
fn without_depth(name: &str) -> String {
    name.split_once('\'').map_or(name, |(name, _)| name).to_string()
}
