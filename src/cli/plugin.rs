//! `holdline plugin`: tools for authors of plugins. Owns the arguments of its subcommands, and the output of `check`; never
//! decides what a plugin can be.

pub(crate) mod dry_run;
pub(crate) mod new;

use std::io;

use bpaf::{OptionParser, Parser, construct};
use holdline::config::{Flags, Hook, PluginConfig};
use holdline::plugin;

use self::dry_run::TestPluginArgs;
use self::new::NewPluginArgs;

/// Subcommand of `holdline plugin`.
#[derive(Clone, Debug)]
pub(crate) enum PluginCommand {
    /// Load all plugins and report mistakes.
    Check(Flags),
    /// Create a plugin.
    New(NewPluginArgs),
    /// Run a plugin over the log without effects.
    Test(TestPluginArgs),
}

/// Failure to write the results.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the results")]
pub(crate) struct CheckError(#[source] io::Error);

/// Returns the parser of the subcommands.
pub(crate) fn options() -> OptionParser<PluginCommand> {
    let check = super::flags::plugins_flags()
        .to_options()
        .descr("Reads plugins.toml and loads every plugin, as the server does when it starts")
        .header("Exits with 0 if all plugins are fine, and with 2 if one is not.")
        .footer("Example:\n\n        holdline plugin check && holdline reload")
        .command("check")
        .help("Loads all plugins and reports mistakes")
        .map(PluginCommand::Check);
    let new = new::options().command("new").help("Creates a working plugin to start from").map(PluginCommand::New);
    let test = dry_run::options()
        .command("test")
        .help("Runs a plugin over the log, without carrying out anything")
        .map(PluginCommand::Test);
    construct!([check, new, test])
        .to_options()
        .descr("Checks, creates and tests plugins")
        .footer("Example:\n\n        holdline plugin new notes --kind=luau")
}

/// Loads plugins, and prints the result for each. Returns true if all are fine.
pub(crate) fn check(plugins: Vec<PluginConfig>) -> Result<bool, CheckError> {
    if plugins.is_empty() {
        super::output::show("there are no plugins").map_err(CheckError)?;
    }
    let mut is_fine = true;
    for entry in plugins {
        let description = describe(&entry);
        match plugin::load(entry) {
            Ok(_) => super::output::show(&format!("{description}: fine")).map_err(CheckError)?,
            Err(error) => {
                super::output::report(error);
                is_fine = false;
            }
        }
    }
    Ok(is_fine)
}

/// Describes an entry as `/plugins` does: `manners (luau, message, mail)`.
fn describe(entry: &PluginConfig) -> String {
    let hooks = entry.hooks.iter().copied().map(Hook::as_str);
    let facts: Vec<_> = [entry.kind.as_str()].into_iter().chain(hooks).collect();
    format!("{} ({})", entry.name, facts.join(", "))
}
