//! Flags that several subcommands share, and the error for a mistake on the command line. Owns their names and help.

use std::path::PathBuf;

use bpaf::{Parser, construct, long};
use holdline::config::Flags;

/// A mistake on the command line or in the environment, in words that name the flag or the variable.
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

/// `--data`, which every subcommand understands alike.
pub(super) fn data_flag() -> impl Parser<Option<PathBuf>> {
    long("data").argument::<PathBuf>("DIR").help("Directory of the database [default: holdline-data]").optional()
}

/// `--plugins`, which every subcommand understands alike.
pub(super) fn plugins_flag() -> impl Parser<Option<PathBuf>> {
    long("plugins")
        .argument::<PathBuf>("FILE")
        .help("The plugins, in order [default: plugins.toml, if it is there]")
        .optional()
}

/// `--config`, which every subcommand understands alike.
pub(super) fn config_flag() -> impl Parser<Option<PathBuf>> {
    long("config")
        .argument::<PathBuf>("FILE")
        .help("Configuration to read [default: holdline.toml, if it is there]")
        .optional()
}
