//! `plugins.toml` as it is written, and what becomes of each `[[plugin]]`. Owns its keys, and what is refused of their values;
//! never looks into a script or a program.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::num::NonZeroU64;
use std::path::{self, Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;

use super::{Hook, OnFailure, PluginConfig, PluginKind};
use crate::config::error::ConfigError;
use crate::config::file::{ANYTHING, File, Key, Span, TABLES};
use crate::config::values::size;
use crate::limits::{
    COMMAND_CHARS_MAX, COMMAND_HELP_CHARS_MAX, COMMANDS_MAX, PLUGIN_TICK_S_MAX, PLUGIN_TIMEOUT_MS_DEFAULT,
    PLUGIN_TIMEOUT_MS_MAX, PLUGINS_MAX,
};
use crate::message::{PeerName, quoted, repeated};
use crate::protocol::is_reserved_command;

/// `plugins.toml` as it is written.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct PluginsKeys {
    plugin: Vec<Spanned<PluginKeys>>,
}

/// A `[[plugin]]` as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct PluginKeys {
    name: Option<Spanned<String>>,
    kind: Option<PluginKind>,
    path: Option<Spanned<PathBuf>>,
    arguments: Option<Spanned<Vec<Spanned<String>>>>,
    hooks: Option<Spanned<Vec<Spanned<String>>>>,
    timeout_ms: Option<UpTo<PLUGIN_TIMEOUT_MS_MAX>>,
    #[serde(default)]
    on_failure: OnFailure,
    tick_s: Option<Spanned<UpTo<PLUGIN_TICK_S_MAX>>>,
    user: Option<Spanned<String>>,
    #[serde(default, deserialize_with = "size", rename = "memory_max")]
    memory_bytes_max: Option<u64>,
    cpu_s_max: Option<Spanned<NonZeroU64>>,
    settings: Option<Spanned<toml::Table>>,
    commands: Option<Spanned<BTreeMap<Spanned<String>, Spanned<String>>>>,
}

/// A whole number from 1.
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "u64")]
struct UpTo<const MAX: u64>(u64);

impl<const MAX: u64> TryFrom<u64> for UpTo<MAX> {
    type Error = &'static str;

    fn try_from(number: u64) -> Result<Self, Self::Error> {
        if (1..=MAX).contains(&number) { Ok(UpTo(number)) } else { Err("it is out of range") }
    }
}

/// What would be right for a hook.
const HOOKS_MEND: &str =
    "the hooks are connect, login, message, command, mail, logged, join, leave, delivered, tick, start, stop, reload";

/// What refusals say about the keys of [`PluginsKeys`].
pub(in crate::config) const PLUGINS_KEYS: &[Key] = &[
    Key {
        path: "plugin",
        kind: TABLES,
        fix: "[[plugin]] is wanted, on a line of its own, with the keys of a plugin below",
    },
    Key { path: "plugin.name", kind: "string", fix: r#"a name is wanted, such as "manners""# },
    Key { path: "plugin.kind", kind: "string", fix: r#"use "luau" or "process""# },
    Key { path: "plugin.path", kind: "string", fix: r#"a file is wanted, such as "plugins/manners.luau""# },
    Key { path: "plugin.arguments", kind: "array", fix: r#"a list of strings is wanted, such as ["--quiet"]"# },
    Key { path: "plugin.hooks", kind: "array", fix: HOOKS_MEND },
    Key {
        path: "plugin.timeout_ms",
        kind: "integer",
        fix: "a number of milliseconds from 1 to 60000 is wanted, such as 200",
    },
    Key { path: "plugin.on_failure", kind: "string", fix: r#"use "pass" or "reject""# },
    Key { path: "plugin.tick_s", kind: "integer", fix: "a number of seconds from 1 to 604800 is wanted, such as 60" },
    Key { path: "plugin.user", kind: "string", fix: r#"a user of the system is wanted, such as "nobody""# },
    Key { path: "plugin.memory_max", kind: "string", fix: r#"a size is wanted, such as "64 MB""# },
    Key { path: "plugin.cpu_s_max", kind: "integer", fix: "a number of seconds from 1 is wanted, such as 600" },
    Key {
        path: "plugin.settings",
        kind: "table",
        fix: "a table is wanted: [plugin.settings] on a line of its own, its keys below",
    },
    Key { path: "plugin.settings.*", kind: ANYTHING, fix: "a number of 64 bits is wanted, or a string" },
    Key {
        path: "plugin.commands",
        kind: "table",
        fix: "a table is wanted: [plugin.commands] on a line of its own, below it a line for each command, such as \
               weather = \"PLACE: the weather there\"",
    },
    Key {
        path: "plugin.commands.*",
        kind: "string",
        fix: r#"a line of 1 to 200 characters for /help is wanted, such as "PLACE: the weather there""#,
    },
];

/// Reads the entries of the file, in order.
pub(in crate::config) fn read(file: &File) -> Result<Vec<PluginConfig>, ConfigError> {
    let keys: PluginsKeys = file.parse(PLUGINS_KEYS)?;
    if let Some(over) = keys.plugin.get(PLUGINS_MAX) {
        return Err(file.malformed(over.span(), format!("this is one plugin more than {PLUGINS_MAX}; remove some")));
    }
    let mut taken = Taken::default();
    let entries = keys.plugin.into_iter().map(|keys| Entry { file, header: keys.span(), keys: keys.into_inner() });
    entries.map(|entry| entry.plugin(&mut taken)).collect()
}

/// What is given to one plugin cannot be given to another: each with the line where it was.
#[derive(Default)]
struct Taken {
    names: BTreeMap<PeerName, usize>,
    commands: BTreeMap<String, usize>,
}

/// A `[[plugin]]`, and where it stands.
struct Entry<'f> {
    file: &'f File,
    header: Span,
    keys: PluginKeys,
}

impl Entry<'_> {
    /// What it means.
    fn plugin(&self, taken: &mut Taken) -> Result<PluginConfig, ConfigError> {
        let name = self.name(taken)?;
        let kind = *self.required("kind", &self.keys.kind)?;
        self.check_kind(kind)?;
        let directory = self.directory()?;
        let path = self.path(&directory)?;
        let hooks = self.hooks(kind)?;
        self.check_pair(&hooks, Hook::Tick, "tick_s", self.keys.tick_s.as_ref().map(Spanned::span))?;
        let commands = self.commands(&hooks, taken)?;
        let keys = &self.keys;
        Ok(PluginConfig {
            name,
            kind,
            path,
            directory,
            arguments: self.arguments()?,
            hooks,
            timeout: Duration::from_millis(keys.timeout_ms.map_or(PLUGIN_TIMEOUT_MS_DEFAULT, |timeout| timeout.0)),
            on_failure: keys.on_failure,
            tick: keys.tick_s.as_ref().map(|tick| Duration::from_secs(tick.get_ref().0)),
            commands,
            settings: self.settings()?,
            user: self.user()?,
            memory_bytes_max: keys.memory_bytes_max,
            cpu_s_max: keys.cpu_s_max.as_ref().map(|seconds| seconds.get_ref().get()),
        })
    }

    fn name(&self, taken: &mut Taken) -> Result<PeerName, ConfigError> {
        let written = self.required("name", &self.keys.name)?;
        let name = PeerName::parse(written.get_ref())
            .map_err(|bad| self.file.malformed(written.span(), format!("plugin.name wants a name: {bad}")))?;
        match taken.names.insert(name.clone(), self.file.line(&written.span())) {
            None => Ok(name),
            Some(line) => {
                let problem = format!("is the name of the plugin in line {line} too; give one of them another");
                Err(self.impossible("name", written.span(), problem))
            }
        }
    }

    /// Refuses what only a program can be given.
    fn check_kind(&self, kind: PluginKind) -> Result<(), ConfigError> {
        let PluginKeys { arguments, user, cpu_s_max, .. } = &self.keys;
        let given = [
            ("arguments", arguments.as_ref().map(Spanned::span)),
            ("user", user.as_ref().map(Spanned::span)),
            ("cpu_s_max", cpu_s_max.as_ref().map(Spanned::span)),
        ];
        match given.into_iter().find_map(|(key, span)| Some((key, span?))) {
            Some((key, span)) if kind == PluginKind::Luau => {
                Err(self.impossible(key, span, r#"is for kind = "process" alone; remove it"#))
            }
            _ => Ok(()),
        }
    }

    /// Absolute, so that it means the same in whichever directory something runs.
    fn directory(&self) -> Result<PathBuf, ConfigError> {
        let directory = self.here();
        path::absolute(directory).map_err(|source| ConfigError::Unreadable { path: directory.to_owned(), source })
    }

    /// The directory of the file.
    fn here(&self) -> &Path {
        let directory = self.file.directory();
        if directory.as_os_str().is_empty() { Path::new(".") } else { directory }
    }

    fn path(&self, directory: &Path) -> Result<PathBuf, ConfigError> {
        let written = self.required("path", &self.keys.path)?;
        let path = directory.join(written.get_ref());
        let problem = match fs::metadata(&path) {
            Ok(found) if found.is_file() => return Ok(path),
            Ok(_) => "names no file".to_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => "names a file that does not exist".to_owned(),
            Err(error) => format!("names a file that cannot be looked at ({error})"),
        };
        let looked_at = self.here().join(repeated(&written.get_ref().to_string_lossy()));
        let problem = format!("{problem}, {}; a path is relative to the directory of this file", looked_at.display());
        Err(self.impossible("path", written.span(), problem))
    }

    fn arguments(&self) -> Result<Vec<String>, ConfigError> {
        let arguments = self.keys.arguments.iter().flat_map(Spanned::get_ref);
        let argument = |argument: &Spanned<String>| match argument.get_ref() {
            text if text.contains('\0') => {
                let problem = "holds U+0000, which no program can be given";
                Err(self.file.impossible_element("plugin.arguments", argument.span(), problem))
            }
            text => Ok(text.clone()),
        };
        arguments.map(argument).collect()
    }

    /// Each once.
    fn hooks(&self, kind: PluginKind) -> Result<Vec<Hook>, ConfigError> {
        let mut hooks = Vec::new();
        for written in self.keys.hooks.iter().flat_map(Spanned::get_ref) {
            let hook = Hook::from_str(written.get_ref()).map_err(|_| {
                let problem = format!("is no hook; {HOOKS_MEND}");
                self.file.impossible_element("plugin.hooks", written.span(), problem)
            })?;
            if !hooks.contains(&hook) {
                hooks.push(hook);
            }
        }
        if hooks.is_empty() && kind == PluginKind::Luau {
            let span = self.keys.hooks.as_ref().map_or(self.header.clone(), Spanned::span);
            return Err(self.file.malformed(span, format!("a script without hooks is never run; {HOOKS_MEND}")));
        }
        Ok(hooks)
    }

    /// Refuses a hook without the key that it needs, and the key without the hook.
    fn check_pair(&self, hooks: &[Hook], hook: Hook, key: &str, given: Option<Span>) -> Result<(), ConfigError> {
        let (has_hook, hook) = (hooks.contains(&hook), hook.as_str());
        match given {
            None if has_hook => {
                let span = self.keys.hooks.as_ref().map_or(self.header.clone(), Spanned::span);
                let problem = format!("{hook:?} among the hooks wants plugin.{key} too; {}", fix(key));
                Err(self.file.malformed(span, problem))
            }
            Some(span) if !has_hook => {
                let problem =
                    format!("plugin.{key} is of no use without {hook:?} among the hooks; add it, or remove {key}");
                Err(self.file.malformed(span, problem))
            }
            _ => Ok(()),
        }
    }

    /// In the order in which they stand in the file.
    fn commands(&self, hooks: &[Hook], taken: &mut Taken) -> Result<Vec<(String, String)>, ConfigError> {
        let given = self.keys.commands.as_ref().filter(|commands| !commands.get_ref().is_empty());
        self.check_pair(hooks, Hook::Command, "commands", given.map(Spanned::span))?;
        let mut written: Vec<_> = given.iter().flat_map(|commands| commands.get_ref()).collect();
        written.sort_by_key(|(name, _)| name.span().start);
        for (name, help) in &written {
            self.check_command(name, help)?;
            self.take_command(name, taken)?;
        }
        Ok(written.into_iter().map(|(name, help)| (name.get_ref().clone(), help.get_ref().clone())).collect())
    }

    fn check_command(&self, name: &Spanned<String>, help: &Spanned<String>) -> Result<(), ConfigError> {
        if !is_command(name.get_ref()) {
            let name_here = quoted(name.get_ref());
            let problem = format!(
                "{name_here} is no name of a command, which is 1 to {COMMAND_CHARS_MAX} of a-z, 0-9 and \"-\", and starts with \
                 a letter"
            );
            return Err(self.file.malformed(name.span(), problem));
        }
        let text = help.get_ref();
        let is_line = !text.trim().is_empty() && !text.contains(char::is_control);
        if !is_line || text.chars().count() > COMMAND_HELP_CHARS_MAX {
            let problem = format!("is not possible; {}", fix("commands.*"));
            return Err(self.impossible(&format!("commands.{}", name.get_ref()), help.span(), problem));
        }
        Ok(())
    }

    fn take_command(&self, name: &Spanned<String>, taken: &mut Taken) -> Result<(), ConfigError> {
        let shown = name.get_ref();
        let problem = if is_reserved_command(shown) {
            format!("{shown:?} is a command of holdline itself; give this one another name")
        } else if let Some(line) = taken.commands.insert(shown.clone(), self.file.line(&name.span())) {
            format!("{shown:?} is a command of the plugin in line {line} too; give one of them another name")
        } else if taken.commands.len() > COMMANDS_MAX {
            format!("this is one command more than {COMMANDS_MAX}, those of all plugins together; remove some")
        } else {
            return Ok(());
        };
        Err(self.file.malformed(name.span(), problem))
    }

    fn settings(&self) -> Result<serde_json::Value, ConfigError> {
        let Some(settings) = &self.keys.settings else { return Ok(serde_json::Value::Object(Default::default())) };
        json(&toml::Value::Table(settings.get_ref().clone())).ok_or_else(|| {
            let problem = "plugin.settings holds nan or inf, which cannot be handed to a plugin; write it as a string";
            self.file.malformed(settings.span(), problem)
        })
    }

    fn user(&self) -> Result<Option<String>, ConfigError> {
        let Some(user) = &self.keys.user else { return Ok(None) };
        if user.get_ref().is_empty() || user.get_ref().contains('\0') {
            return Err(self.impossible("user", user.span(), format!("is not possible; {}", fix("user"))));
        }
        Ok(Some(user.get_ref().clone()))
    }

    fn required<'k, T>(&self, key: &str, value: &'k Option<T>) -> Result<&'k T, ConfigError> {
        let problem = || format!("this [[plugin]] has no {key}; {}", fix(key));
        value.as_ref().ok_or_else(|| self.file.malformed(self.header.clone(), problem()))
    }

    /// A refusal of the value of a key of the entry.
    fn impossible(&self, key: &str, value: Span, problem: impl Into<String>) -> ConfigError {
        self.file.impossible(&format!("plugin.{key}"), value, problem)
    }
}

/// What would be right for a key of an entry.
fn fix(key: &str) -> &'static str {
    let key = PLUGINS_KEYS.iter().find(|known| known.path.strip_prefix("plugin.") == Some(key));
    key.map_or("", |key| key.fix)
}

fn is_command(name: &str) -> bool {
    (1..=COMMAND_CHARS_MAX).contains(&name.len())
        && name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// The same in JSON, which has no times: they become strings. `None`: it has no such number either.
fn json(value: &toml::Value) -> Option<serde_json::Value> {
    Some(match value {
        toml::Value::String(text) => text.as_str().into(),
        toml::Value::Integer(number) => (*number).into(),
        toml::Value::Float(number) => serde_json::Number::from_f64(*number)?.into(),
        toml::Value::Boolean(truth) => (*truth).into(),
        toml::Value::Datetime(time) => time.to_string().into(),
        toml::Value::Array(elements) => elements.iter().map(json).collect::<Option<Vec<_>>>()?.into(),
        toml::Value::Table(table) => {
            let fields = table.iter().map(|(key, value)| Some((key.clone(), json(value)?)));
            fields.collect::<Option<serde_json::Map<_, _>>>()?.into()
        }
    })
}
