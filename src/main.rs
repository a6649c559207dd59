//! The program: runs the subcommand of the arguments. Owns the exit codes and the form of errors, `holdline: …`; contains no logic.
#![warn(clippy::print_stdout, clippy::print_stderr)]

mod cli;

use std::process::ExitCode;

use holdline::config::{self, Config, ConfigError, data_directory, load_plugins, plugins_file};
use holdline::plugin::LoadError;
use holdline::server::ServeError;

use crate::cli::plugin::PluginCommand;
use crate::cli::reload::ReloadError;
use crate::cli::{Command, UsageError};

/// Exit code of a mistake on the command line, in the environment or in a file: a restart does not help until it is corrected.
const EXIT_MISTAKE: u8 = 2;

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            cli::report(message(&error));
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
        Command::Send(args) => {
            let is_accepted = cli::send::run(args)?;
            return Ok(if is_accepted { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Command::Tail(args) => cli::tail::run(args)?,
        Command::History(args) => {
            cli::logging::start()?;
            cli::history::run(&data_directory(&args.flags)?, &args)?;
        }
        Command::Search(args) => {
            cli::logging::start()?;
            cli::search::run(&data_directory(&args.flags)?, &args)?;
        }
        Command::Doctor(flags) => {
            let is_well = cli::doctor::run(&data_directory(&flags)?)?;
            return Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        Command::Backup(args) => cli::backup::run(&data_directory(&args.flags)?, &args)?,
        Command::Fingerprint(flags) => cli::tls::run(config::tls(&flags)?.as_ref(), &data_directory(&flags)?)?,
        Command::Remove(args) => {
            cli::logging::start()?;
            cli::remove::run(&data_directory(&args.flags)?, &args)?;
        }
        Command::Reload(flags) => {
            cli::reload::run(&data_directory(&flags)?, load_plugins(&plugins_file(&flags)?)?)?;
        }
        Command::Plugin(command) => {
            cli::logging::start()?;
            return run_plugin(&command);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn run_plugin(command: &PluginCommand) -> anyhow::Result<ExitCode> {
    match command {
        PluginCommand::Check(flags) => {
            let is_fine = cli::plugin::check(load_plugins(&plugins_file(flags)?)?)?;
            Ok(if is_fine { ExitCode::SUCCESS } else { ExitCode::from(EXIT_MISTAKE) })
        }
        PluginCommand::New(args) => {
            cli::plugin::new::run(&plugins_file(&args.flags)?, args)?;
            Ok(ExitCode::SUCCESS)
        }
        PluginCommand::Test(args) => {
            let plugins = load_plugins(&plugins_file(&args.flags)?)?;
            let is_well = cli::plugin::dry_run::run(&data_directory(&args.flags)?, plugins, args)?;
            Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    }
}

fn is_mistake(error: &anyhow::Error) -> bool {
    let is_servers = matches!(error.downcast_ref(), Some(ServeError::Config(_) | ServeError::Plugin(_)));
    let is_reloads = matches!(error.downcast_ref(), Some(ReloadError::Plugin(_)));
    is_servers
        || is_reloads
        || error.chain().any(|cause| cause.is::<UsageError>() || cause.is::<ConfigError>() || cause.is::<LoadError>())
}

/// Joins an error and its causes with colons. If an error quotes its cause, the causes after it are left out.
fn message(error: &anyhow::Error) -> String {
    let mut message = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if message.contains(&cause) {
            break;
        }
        message = format!("{message}: {cause}");
    }
    message
}

#[cfg(test)]
mod tests {
    use anyhow::anyhow;

    use super::*;

    #[test]
    fn causes_appear_once() {
        assert_eq!(message(&anyhow!("no route").context("cannot send")), "cannot send: no route");
        let quoted = anyhow!("code 98").context("in use").context("cannot listen (in use); choose another");
        assert_eq!(message(&quoted), "cannot listen (in use); choose another");
    }
}
