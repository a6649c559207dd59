//! Flags that several subcommands share, and the error for a mistake on the command line. Owns their names and help.

use std::path::PathBuf;

use bpaf::{Parser, construct, long};
use holdline::config::Flags;

/// Mistake on the command line or in the environment. The text names the flag or the variable.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct UsageError(pub(crate) String);

/// Flags of the subcommands that read the plugins.
pub(super) fn plugins_flags() -> impl Parser<Flags> {
    let config = config_flag();
    let plugins = plugins_flag();
    construct!(config, plugins).map(|(config, plugins)| Flags { config, plugins, ..Flags::default() })
}

/// Flags of the subcommands that read the database.
pub(super) fn database_flags() -> impl Parser<Flags> {
    let data = data_flag();
    let config = config_flag();
    construct!(data, config).map(|(data, config)| Flags { data, config, ..Flags::default() })
}

/// `--data` of all subcommands.
pub(super) fn data_flag() -> impl Parser<Option<PathBuf>> {
    long("data").argument::<PathBuf>("DIR").help("Directory of the database [default: holdline-data]").optional()
}

/// `--plugins` of all subcommands.
pub(super) fn plugins_flag() -> impl Parser<Option<PathBuf>> {
    long("plugins")
        .argument::<PathBuf>("FILE")
        .help("List of the plugins, in order [default: plugins.toml, if it exists]")
        .optional()
}

/// `--config` of all subcommands.
pub(super) fn config_flag() -> impl Parser<Option<PathBuf>> {
    long("config")
        .argument::<PathBuf>("FILE")
        .help("Configuration file [default: holdline.toml, if it exists]")
        .optional()
}
