//! `holdline plugin`: what helps who writes plugins. Owns the flags, and what is said of each plugin that is checked; never what
//! a plugin can be.

pub(crate) mod dry_run;
pub(crate) mod new;

use std::io;

use bpaf::{OptionParser, Parser, construct};
use holdline::config::{Flags, Hook, PluginConfig};
use holdline::plugin;

use self::dry_run::TestPluginArgs;
use self::new::NewPluginArgs;

/// What is to be done.
#[derive(Clone, Debug)]
pub(crate) enum PluginCommand {
    /// Load all plugins.
    Check(Flags),
    /// Write the start of one.
    New(NewPluginArgs),
    /// Run one over the log.
    Test(TestPluginArgs),
}

/// The findings could not be printed.
#[derive(Debug, thiserror::Error)]
#[error("the findings cannot be written")]
pub(crate) struct CheckError(#[source] io::Error);

/// The subcommands of `plugin`, with their help.
pub(crate) fn options() -> OptionParser<PluginCommand> {
    let check = super::plugins_flags()
        .to_options()
        .descr("Reads the plugins and loads each, as the server does when it starts")
        .header("Exits with 0 if all are fine, and with 2 if one is not.")
        .footer("Example:\n\n        holdline plugin check && kill -HUP $(pidof holdline)")
        .command("check")
        .help("Loads all plugins, and says what is wrong with them")
        .map(PluginCommand::Check);
    let new = new::options().command("new").help("Writes a start that works").map(PluginCommand::New);
    let test = dry_run::options()
        .command("test")
        .help("Runs a plugin over the log, and does nothing")
        .map(PluginCommand::Test);
    construct!([check, new, test])
        .to_options()
        .descr("Checks plugins, begins one, or tries one")
        .footer("Example:\n\n        holdline plugin new notes --kind=luau")
}

/// Loads these plugins, and says how each is. Whether all are fine.
pub(crate) fn check(plugins: Vec<PluginConfig>) -> Result<bool, CheckError> {
    if plugins.is_empty() {
        super::show("there are no plugins").map_err(CheckError)?;
    }
    let mut is_fine = true;
    for entry in plugins {
        let shown = shown(&entry);
        match plugin::load(entry) {
            Ok(_) => super::show(&format!("{shown}: fine")).map_err(CheckError)?,
            Err(error) => {
                eprintln!("holdline: {error}");
                is_fine = false;
            }
        }
    }
    Ok(is_fine)
}

/// `manners (luau, message, mail)`, as `/plugins` shows it.
fn shown(entry: &PluginConfig) -> String {
    let hooks = entry.hooks.iter().copied().map(Hook::as_str);
    let facts: Vec<_> = [entry.kind.as_str()].into_iter().chain(hooks).collect();
    format!("{} ({})", entry.name, facts.join(", "))
}
