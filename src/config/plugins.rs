//! Entries of `plugins.toml`: the kind of a plugin, its hooks, and the resources that it may use. Owns their types; never starts a
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

/// Event that a plugin is called for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, IntoStaticStr, EnumString, VariantArray)]
#[strum(serialize_all = "lowercase")]
pub enum Hook {
    /// A client connected, and has not logged in yet.
    Connect,
    /// A client requests to log in.
    Login,
    /// A message is about to be accepted.
    Message,
    /// A peer used a command of the plugin.
    Command,
    /// A message arrived for the plugin's name, or in one of its rooms.
    Mail,
    /// A message is stored on disk.
    Logged,
    /// A peer came online: its first session began.
    Join,
    /// A peer went offline: its last session ended.
    Leave,
    /// Messages were delivered to a peer.
    Delivered,
    /// The interval of the plugin (`tick_s`) is over.
    Tick,
    /// The plugin starts.
    Start,
    /// The plugin stops.
    Stop,
    /// The file of plugins was read again, and this plugin keeps running.
    Reload,
}

impl Hook {
    /// All hooks, in the order of the documentation.
    pub const ALL: &[Hook] = Hook::VARIANTS;

    /// Name of the hook, in `plugins.toml` and in what plugins are sent.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// Whether a client waits for the reply, so that the call has a deadline.
    pub const fn decides(self) -> bool {
        matches!(self, Hook::Connect | Hook::Login | Hook::Message | Hook::Command)
    }
}

/// Kind of a plugin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, IntoStaticStr)]
#[serde(rename_all = "lowercase")]
#[strum(serialize_all = "lowercase")]
pub enum PluginKind {
    /// Script that runs in the server.
    Luau,
    /// Program that reads and writes JSON lines on its standard input and output.
    Process,
    /// Part of the program that embeds the server.
    #[serde(skip)]
    Embedded,
}

impl PluginKind {
    /// Name of the kind, in `plugins.toml` and for people.
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// Outcome of a call that gets no valid reply.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// The request continues, as if the plugin did not exist.
    #[default]
    Pass,
    /// The request is refused.
    Reject,
}

/// Entry of `plugins.toml`: one `[[plugin]]`.
#[derive(Clone, Debug, PartialEq)]
pub struct PluginConfig {
    /// Name of the plugin, and of the peer that it sends as.
    pub name: PeerName,
    /// Kind of the plugin.
    pub kind: PluginKind,
    /// Absolute path of the script or the program.
    pub path: PathBuf,
    /// Absolute path of the directory of `plugins.toml`, which a program runs in.
    pub directory: PathBuf,
    /// Command-line arguments of a program.
    pub arguments: Vec<String>,
    /// Environment variables of a program, besides those that the server sets.
    pub environment: Vec<(String, String)>,
    /// Hooks of the plugin, without duplicates.
    pub hooks: Vec<Hook>,
    /// Longest time for one reply.
    pub timeout: Duration,
    /// Outcome of a call without a valid reply.
    pub on_failure: OnFailure,
    /// Interval of [`Hook::Tick`]. Set if, and only if, the plugin has that hook.
    pub tick: Option<Duration>,
    /// Commands, without their `/`, each with its line in `/help`: `PLACE: the weather there`.
    pub commands: Vec<(String, String)>,
    /// Settings that the plugin receives unchanged: a JSON object.
    pub settings: serde_json::Value,
    /// Whether the plugin may have a name that a client has used, and get the messages that wait for it.
    pub takes_name: bool,
    /// User of the system that a program runs as.
    pub user: Option<String>,
    /// Bytes of memory that the plugin may use.
    pub memory_bytes_max: Option<u64>,
    /// Seconds of processor time that a program may use until it is restarted.
    pub cpu_s_max: Option<u64>,
    /// Processes and threads that the user of a program may have while the program starts another.
    pub processes_max: Option<u64>,
}

impl PluginConfig {
    /// Returns the entry of a plugin that is part of the program that embeds the server.
    pub fn embedded(name: PeerName, hooks: &[Hook]) -> Self {
        PluginConfig {
            name,
            kind: PluginKind::Embedded,
            path: PathBuf::new(),
            directory: PathBuf::new(),
            arguments: Vec::new(),
            environment: Vec::new(),
            hooks: hooks.to_vec(),
            timeout: Duration::from_millis(PLUGIN_TIMEOUT_MS_DEFAULT),
            on_failure: OnFailure::Pass,
            tick: None,
            commands: Vec::new(),
            settings: serde_json::Value::Null,
            takes_name: false,
            user: None,
            memory_bytes_max: None,
            cpu_s_max: None,
            processes_max: None,
        }
    }

    /// Whether the plugin has this hook.
    pub fn hooks_into(&self, hook: Hook) -> bool {
        self.hooks.contains(&hook)
    }
}
