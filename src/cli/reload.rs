//! `holdline reload`: makes the running server of a data directory read its plugins again. Owns the check before it, and its words; never
//! decides which process is the server.

use std::io;
use std::path::Path;

use bpaf::{OptionParser, Parser, construct};
use holdline::archive::{self, SignalError};
use holdline::config::{Flags, PluginConfig};
use holdline::plugin::{self, LoadError};

/// Error of `reload`.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReloadError {
    /// A plugin has a mistake.
    #[error(transparent)]
    Plugin(#[from] LoadError),
    /// The server cannot be found or signalled.
    #[error(transparent)]
    Server(#[from] SignalError),
    /// The outcome cannot be printed.
    #[error("cannot print the outcome")]
    Output(#[source] io::Error),
}

/// Returns the flags of `reload`, with their help.
pub(crate) fn options() -> OptionParser<Flags> {
    let (data, config, plugins) =
        (super::flags::data_flag(), super::flags::config_flag(), super::flags::plugins_flag());
    construct!(data, config, plugins)
        .map(|(data, config, plugins)| Flags { data, config, plugins, ..Flags::default() })
        .to_options()
        .descr("Checks the plugins, and makes the running server read them again; no connection ends")
        .header(
            "It checks the plugins.toml of --plugins, of the configuration file, or of the current directory: pass what the server was started with. Exits with 2 if it or a plugin has a mistake, and with 1 if no server runs. The server's log says what came of it.",
        )
        .footer("Example:\n\n        holdline reload --config=/etc/holdline.toml --data=/var/lib/holdline")
}

/// Loads the plugins as the server will, and signals the server.
pub(crate) fn run(data: &Path, plugins: Vec<PluginConfig>) -> Result<(), ReloadError> {
    for entry in plugins {
        plugin::load(entry)?;
    }
    let process = archive::signal_reload(data)?;
    let words = format!("the server (process {process}) reloads its plugins; its log says what came of it");
    super::output::show(&words).map_err(ReloadError::Output)
}
