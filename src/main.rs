//! The binary: arguments to subcommand, and how it ends. Owns the exit code and the words `holdline: …`; never holds logic.

mod cli;

use std::process::ExitCode;

use holdline::config::{Config, ConfigError, data_directory};

use crate::cli::{Command, UsageError};

/// The code for a mistake on the command line, in the environment or in a file: it stays until someone mends it.
const EXIT_MISTAKE: u8 = 2;

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("holdline: {}", words(&error));
            if is_mistake(&error) { ExitCode::from(EXIT_MISTAKE) } else { ExitCode::FAILURE }
        }
    }
}

fn run() -> anyhow::Result<ExitCode> {
    match cli::parse()? {
        Command::Show(text) => cli::show(&text)?,
        Command::Serve(flags) => {
            cli::logging::start()?;
            cli::serve::run(&Config::load(&flags)?)?;
        }
        Command::Send(errand) => {
            let is_accepted = cli::send::run(errand)?;
            return Ok(if is_accepted { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Command::Tail(watch) => cli::tail::run(watch)?,
        Command::History(query) => {
            cli::logging::start()?;
            cli::history::run(&data_directory(&query.flags)?, &query)?;
        }
        Command::Search(wanted) => {
            cli::logging::start()?;
            cli::search::run(&data_directory(&wanted.flags)?, &wanted)?;
        }
        Command::Doctor(flags) => {
            let is_well = cli::doctor::run(&data_directory(&flags)?)?;
            return Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Command::Backup(order) => cli::backup::run(&data_directory(&order.flags)?, &order)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn is_mistake(error: &anyhow::Error) -> bool {
    error.is::<UsageError>() || error.is::<ConfigError>()
}

/// The error and its causes, `what: why`. One that quotes its cause has chosen its own words for all that follows.
fn words(error: &anyhow::Error) -> String {
    let mut said = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if said.contains(&cause) {
            break;
        }
        said = format!("{said}: {cause}");
    }
    said
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn causes_are_said_once() {
        assert_eq!(words(&anyhow!("no route").context("cannot send")), "cannot send: no route");
        let quoted = anyhow!("code 98").context("in use").context("cannot listen (in use); choose another");
        assert_eq!(words(&quoted), "cannot listen (in use); choose another");
    }
}
