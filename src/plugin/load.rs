//! Loading of plugins: from an entry of `plugins.toml` to a plugin that can be called. Owns which kind has which implementor;
//! never starts anything.

use std::fmt;
use std::fs;
use std::path::Path;
use std::time::SystemTime;

use super::{Plugin, Process, ProcessError, Script, ScriptError};
use crate::config::{PluginConfig, PluginKind};

/// Reason why a plugin cannot be loaded. Its text names the file, the mistake and the fix.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A script cannot be loaded.
    #[error(transparent)]
    Script(#[from] ScriptError),
    /// A program cannot be run.
    #[error(transparent)]
    Process(#[from] ProcessError),
}

/// Loads the plugin of an entry: compiles a script, or looks up a program.
pub fn load(config: PluginConfig) -> Result<LoadedPlugin, LoadError> {
    let stamp = stamp(&config.path);
    let plugin: Box<dyn Plugin> = match config.kind {
        PluginKind::Luau => Box::new(Script::load(&config)?),
        PluginKind::Process => Box::new(Process::load(&config)?),
        PluginKind::Embedded => unreachable!("plugins.toml cannot name an embedded plugin"),
    };
    Ok(LoadedPlugin { config, plugin, stamp })
}

/// A plugin that is ready to run, with its entry.
pub struct LoadedPlugin {
    /// Entry of `plugins.toml`.
    pub config: PluginConfig,
    /// Implementation that answers the calls.
    pub plugin: Box<dyn Plugin>,
    /// State of the file when it was loaded.
    stamp: Option<FileStamp>,
}

/// Size and modification time of a file: a change of either means that the file has changed.
type FileStamp = (u64, SystemTime);

impl LoadedPlugin {
    /// Returns a plugin that is part of the embedding program.
    pub fn embedded(config: PluginConfig, plugin: Box<dyn Plugin>) -> Self {
        LoadedPlugin { config, plugin, stamp: None }
    }

    /// Whether loading this entry would give the same plugin.
    pub(super) fn is_current(&self, config: &PluginConfig) -> bool {
        self.config == *config && self.stamp == stamp(&config.path)
    }
}

impl fmt::Debug for LoadedPlugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadedPlugin").field("config", &self.config).finish_non_exhaustive()
    }
}

fn stamp(path: &Path) -> Option<FileStamp> {
    let metadata = fs::metadata(path).ok()?;
    Some((metadata.len(), metadata.modified().ok()?))
}
