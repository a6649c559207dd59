//! From an entry of `plugins.toml` to a plugin that can be asked. Owns which kind is which implementor; never starts anything.

use std::fmt;
use std::fs;
use std::path::Path;
use std::time::SystemTime;

use super::{Plugin, Process, ProcessError, Script, ScriptError};
use crate::config::{PluginConfig, PluginKind};

/// Why a plugin cannot be loaded, in words that name the file, what is wrong and the mend.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// A script.
    #[error(transparent)]
    Script(#[from] ScriptError),
    /// A program.
    #[error(transparent)]
    Process(#[from] ProcessError),
}

/// Loads what an entry names: a script is compiled, a program is looked for.
pub fn load(config: PluginConfig) -> Result<LoadedPlugin, LoadError> {
    let stamp = stamp(&config.path);
    let plugin: Box<dyn Plugin> = match config.kind {
        PluginKind::Luau => Box::new(Script::load(&config)?),
        PluginKind::Process => Box::new(Process::load(&config)?),
        PluginKind::Embedded => unreachable!("no file names such a plugin"),
    };
    Ok(LoadedPlugin { config, plugin, stamp })
}

/// A plugin that is ready, and by what it was made.
pub struct LoadedPlugin {
    /// Its entry.
    pub config: PluginConfig,
    /// What answers its calls.
    pub plugin: Box<dyn Plugin>,
    /// How its file was.
    stamp: Option<FileStamp>,
}

/// By what it is known that a file has changed.
type FileStamp = (u64, SystemTime);

impl LoadedPlugin {
    /// A plugin that is part of the program.
    pub fn embedded(config: PluginConfig, plugin: Box<dyn Plugin>) -> Self {
        LoadedPlugin { config, plugin, stamp: None }
    }

    /// Whether this entry would be loaded to the same.
    pub(super) fn is_still(&self, config: &PluginConfig) -> bool {
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
