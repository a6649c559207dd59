//! What `plugins.toml` says of a plugin: which it is, what it is asked, what it may take. Owns what that can be; never starts a
//! plugin.

mod entry;

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use strum::{EnumString, IntoStaticStr, VariantArray};

use crate::limits::PLUGIN_TIMEOUT_MS_DEFAULT;
use crate::message::PeerName;

pub(super) use self::entry::read;
#[cfg(test)]
pub(super) use self::entry::{PLUGINS_KEYS, PluginKeys, PluginsKeys};

/// A moment at which a plugin is asked or told something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, IntoStaticStr, EnumString, VariantArray)]
#[strum(serialize_all = "lowercase")]
pub enum Hook {
    /// Somebody has connected, and not logged in yet.
    Connect,
    /// Somebody wants to log in.
    Login,
    /// A message is about to be logged.
    Message,
    /// Somebody typed one of the plugin's commands.
    Command,
    /// A message to the plugin's own name, or in one of its rooms.
    Mail,
    /// A message is on disk.
    Logged,
    /// The first connection of a peer came.
    Join,
    /// The last connection of a peer went.
    Leave,
    /// A peer has got its messages up to one of them.
    Delivered,
    /// So many seconds are over.
    Tick,
    /// The plugin begins.
    Start,
    /// The plugin ends.
    Stop,
    /// The plugins were read again, and this one goes on.
    Reload,
}

impl Hook {
    /// All hooks, in the order of the documentation.
    pub const ALL: &[Hook] = Hook::VARIANTS;

    /// Name of the hook, in `plugins.toml` and in what plugins are sent.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Whether somebody waits for the answer, so that there is a deadline to it.
    pub const fn decides(self) -> bool {
        matches!(self, Hook::Connect | Hook::Login | Hook::Message | Hook::Command)
    }

    /// Whether it tells of something that the database keeps for the plugin until it has dealt with it.
    pub const fn observes(self) -> bool {
        matches!(self, Hook::Mail | Hook::Logged | Hook::Join | Hook::Leave | Hook::Delivered)
    }
}

/// How a plugin is run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, IntoStaticStr)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum PluginKind {
    /// A script inside the server.
    Luau,
    /// A program of its own, with JSON lines on its standard input and output.
    Process,
    /// Part of the program that the server is embedded in.
    #[serde(skip)]
    Embedded,
}

impl PluginKind {
    /// Name of the kind, in `plugins.toml` and for people.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// What becomes of that about which a plugin was asked and gave no answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// As if there were no such plugin.
    #[default]
    Pass,
    /// It is refused.
    Reject,
}

/// One `[[plugin]]` of `plugins.toml`.
#[derive(Clone, Debug, PartialEq)]
pub struct PluginConfig {
    /// What it is called, and as whom it speaks.
    pub name: PeerName,
    /// How it is run.
    pub kind: PluginKind,
    /// The script, or the program; absolute.
    pub path: PathBuf,
    /// The directory of `plugins.toml`, absolute: a program runs in it.
    pub directory: PathBuf,
    /// What a program is given on its command line.
    pub arguments: Vec<String>,
    /// What it is asked and told, each once.
    pub hooks: Vec<Hook>,
    /// How long one answer may take.
    pub timeout: Duration,
    /// What becomes of that about which it gave no answer.
    pub on_failure: OnFailure,
    /// How often [`Hook::Tick`] comes; set where it is among the hooks.
    pub tick: Option<Duration>,
    /// Its commands, without their `/`, and what `/help` says of each: `PLACE: the weather there`.
    pub commands: Vec<(String, String)>,
    /// Handed to it as they are: a JSON object.
    pub settings: serde_json::Value,
    /// As whom of the system a program runs.
    pub user: Option<String>,
    /// How much memory it may take, in bytes.
    pub memory_bytes_max: Option<u64>,
    /// How many seconds of processor time a program may take in its life.
    pub cpu_s_max: Option<u64>,
}

impl PluginConfig {
    /// The entry of a plugin that is part of the program that the server is embedded in.
    pub fn embedded(name: PeerName, hooks: &[Hook]) -> Self {
        PluginConfig {
            name,
            kind: PluginKind::Embedded,
            path: PathBuf::new(),
            directory: PathBuf::new(),
            arguments: Vec::new(),
            hooks: hooks.to_vec(),
            timeout: Duration::from_millis(PLUGIN_TIMEOUT_MS_DEFAULT),
            on_failure: OnFailure::Pass,
            tick: None,
            commands: Vec::new(),
            settings: serde_json::Value::Null,
            user: None,
            memory_bytes_max: None,
            cpu_s_max: None,
        }
    }

    /// Whether it is asked or told at this moment.
    pub fn hooks_into(&self, hook: Hook) -> bool {
        self.hooks.contains(&hook)
    }
}
