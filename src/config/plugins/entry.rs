//! Keys of `plugins.toml`, and the checks of each `[[plugin]]`. Owns which values are valid; never reads a script or a program.

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
use crate::config::file::{File, Key, Span};
use crate::config::values::size;
use crate::limits::{
    COMMAND_CHARS_MAX, COMMAND_HELP_CHARS_MAX, COMMANDS_MAX, PLUGIN_TICK_S_MAX, PLUGIN_TIMEOUT_MS_DEFAULT,
    PLUGIN_TIMEOUT_MS_MAX, PLUGINS_MAX, PROCESS_ENVIRONMENT_BYTES_MAX,
};
use crate::message::{PeerName, printable, quoted, repeated};
use crate::protocol::{is_command_name, is_reserved_command};

/// Keys of `plugins.toml`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::config) struct PluginsKeys {
    plugin: Vec<Spanned<PluginKeys>>,
}

/// Keys of a `[[plugin]]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::config) struct PluginKeys {
    name: Option<Spanned<String>>,
    kind: Option<PluginKind>,
    path: Option<Spanned<PathBuf>>,
    arguments: Option<Spanned<Vec<Spanned<String>>>>,
    env: Option<Spanned<BTreeMap<Spanned<String>, Spanned<String>>>>,
    hooks: Option<Spanned<Vec<Spanned<String>>>>,
    timeout_ms: Option<UpTo<PLUGIN_TIMEOUT_MS_MAX>>,
    #[serde(default)]
    on_failure: OnFailure,
    tick_s: Option<Spanned<UpTo<PLUGIN_TICK_S_MAX>>>,
    #[serde(default)]
    take_name: bool,
    user: Option<Spanned<String>>,
    #[serde(default, deserialize_with = "size", rename = "memory_max")]
    memory_bytes_max: Option<u64>,
    cpu_s_max: Option<Spanned<NonZeroU64>>,
    processes_max: Option<Spanned<NonZeroU64>>,
    settings: Option<Spanned<toml::Table>>,
    commands: Option<Spanned<BTreeMap<Spanned<String>, Spanned<String>>>>,
}

/// A whole number from 1 to `MAX`.
#[derive(Clone, Copy, Deserialize)]
#[serde(try_from = "u64")]
struct UpTo<const MAX: u64>(u64);

impl<const MAX: u64> TryFrom<u64> for UpTo<MAX> {
    type Error = &'static str;

    fn try_from(number: u64) -> Result<Self, Self::Error> {
        if (1..=MAX).contains(&number) { Ok(UpTo(number)) } else { Err("out of range") }
    }
}

/// Advice about a hook.
const HOOKS_FIX: &str =
    "the hooks are connect, login, message, command, mail, logged, join, leave, delivered, tick, start, stop, reload";

/// Advice about the keys of [`PluginsKeys`].
pub(in crate::config) const PLUGINS_KEYS: &[Key] = &[
    Key::new("plugin", "expected [[plugin]] on its own line, with the keys of a plugin below"),
    Key::new("plugin.name", r#"expected a name, such as "manners""#),
    Key::new("plugin.kind", r#"use "luau" or "process""#),
    Key::new("plugin.path", r#"expected a file, such as "plugins/manners.luau""#),
    Key::new("plugin.arguments", r#"expected a list of strings, such as ["--quiet"]"#),
    Key::new(
        "plugin.env",
        "expected a table: [plugin.env] on its own line, with a line for each variable below, such as TZ = \"Europe/Berlin\"",
    ),
    Key::new("plugin.env.*", r#"expected a string, such as "Europe/Berlin""#),
    Key::new("plugin.hooks", HOOKS_FIX),
    Key::new("plugin.timeout_ms", "expected a number of milliseconds from 1 to 60000, such as 200"),
    Key::new("plugin.on_failure", r#"use "pass" or "reject""#),
    Key::new("plugin.tick_s", "expected a number of seconds from 1 to 604800, such as 60"),
    Key::new("plugin.take_name", "use true or false"),
    Key::new("plugin.user", r#"expected a user of the system, such as "nobody""#),
    Key::new("plugin.memory_max", r#"expected a size, such as "64 MB""#),
    Key::new("plugin.cpu_s_max", "expected a number of seconds from 1, such as 600"),
    Key::new("plugin.processes_max", "expected a number of processes from 1, such as 64"),
    Key::new("plugin.settings", "expected a table: [plugin.settings] on its own line, with its keys below"),
    Key::new("plugin.settings.**", "expected a string, or a number that fits 64 bits"),
    Key::new(
        "plugin.commands",
        "expected a table: [plugin.commands] on its own line, with a line for each command below, such as \
               weather = \"PLACE: the weather there\"",
    ),
    Key::new(
        "plugin.commands.*",
        r#"expected a line of 1 to 200 characters for /help, such as "PLACE: the weather there""#,
    ),
];

/// Reads the entries of a file, in order.
pub(in crate::config) fn read(file: &File) -> Result<Vec<PluginConfig>, ConfigError> {
    let keys: PluginsKeys = file.parse(PLUGINS_KEYS)?;
    if let Some(over) = keys.plugin.get(PLUGINS_MAX) {
        return Err(file.malformed(over.span(), format!("there are more than {PLUGINS_MAX} plugins; remove some")));
    }
    let mut used = UsedNames::default();
    let entries =
        keys.plugin.into_iter().map(|keys| PluginEntry { file, header: keys.span(), keys: keys.into_inner() });
    entries.map(|entry| entry.plugin(&mut used)).collect()
}

/// Names that plugins of the file use already, each with the number of its line. No two plugins share one.
#[derive(Default)]
struct UsedNames {
    names: BTreeMap<PeerName, usize>,
    commands: BTreeMap<String, usize>,
}

/// A `[[plugin]]` and its place in the file.
struct PluginEntry<'f> {
    file: &'f File,
    header: Span,
    keys: PluginKeys,
}

impl PluginEntry<'_> {
    /// Checks the entry. Fails at its first mistake.
    fn plugin(&self, used: &mut UsedNames) -> Result<PluginConfig, ConfigError> {
        let name = self.name(used)?;
        let kind = *self.required("kind", &self.keys.kind)?;
        self.check_kind(kind)?;
        let directory = self.directory()?;
        let path = self.path(&directory)?;
        let hooks = self.hooks(kind)?;
        self.check_pair(&hooks, Hook::Tick, "tick_s", self.keys.tick_s.as_ref().map(Spanned::span))?;
        let commands = self.commands(&hooks, used)?;
        let keys = &self.keys;
        Ok(PluginConfig {
            name,
            kind,
            path,
            directory,
            arguments: self.arguments()?,
            environment: self.environment()?,
            hooks,
            timeout: Duration::from_millis(keys.timeout_ms.map_or(PLUGIN_TIMEOUT_MS_DEFAULT, |timeout| timeout.0)),
            on_failure: keys.on_failure,
            tick: keys.tick_s.as_ref().map(|tick| Duration::from_secs(tick.get_ref().0)),
            commands,
            settings: self.settings()?,
            takes_name: keys.take_name,
            user: self.user()?,
            memory_bytes_max: keys.memory_bytes_max,
            cpu_s_max: keys.cpu_s_max.as_ref().map(|seconds| seconds.get_ref().get()),
            processes_max: keys.processes_max.as_ref().map(|processes| processes.get_ref().get()),
        })
    }

    fn name(&self, used: &mut UsedNames) -> Result<PeerName, ConfigError> {
        let written = self.required("name", &self.keys.name)?;
        let name = PeerName::parse(written.get_ref())
            .map_err(|bad| self.file.malformed(written.span(), format!("plugin.name is not valid: {bad}")))?;
        match used.names.insert(name.clone(), self.file.line(&written.span())) {
            None => Ok(name),
            Some(line) => {
                let problem = format!("is also the name of the plugin in line {line}; rename one of them");
                Err(self.invalid("name", written.span(), problem))
            }
        }
    }

    /// Checks that a script has no key that is for programs only.
    fn check_kind(&self, kind: PluginKind) -> Result<(), ConfigError> {
        let PluginKeys { arguments, env, user, cpu_s_max, processes_max, .. } = &self.keys;
        let given = [
            ("arguments", arguments.as_ref().map(Spanned::span)),
            ("env", env.as_ref().map(Spanned::span)),
            ("user", user.as_ref().map(Spanned::span)),
            ("cpu_s_max", cpu_s_max.as_ref().map(Spanned::span)),
            ("processes_max", processes_max.as_ref().map(Spanned::span)),
        ];
        match given.into_iter().find_map(|(key, span)| Some((key, span?))) {
            // The span of a table is its header.
            Some(("env", span)) if kind == PluginKind::Luau => {
                Err(self.file.malformed(span, r#"plugin.env works only with kind = "process"; remove it"#))
            }
            Some((key, span)) if kind == PluginKind::Luau => {
                Err(self.invalid(key, span, r#"works only with kind = "process"; remove it"#))
            }
            _ => Ok(()),
        }
    }

    /// Returns the directory of the file as an absolute path, which means the same wherever a program runs.
    fn directory(&self) -> Result<PathBuf, ConfigError> {
        let directory = self.here();
        path::absolute(directory).map_err(|source| ConfigError::Unreadable { path: directory.to_owned(), source })
    }

    /// Returns the directory of the file, as the user wrote it.
    fn here(&self) -> &Path {
        let directory = self.file.directory();
        if directory.as_os_str().is_empty() { Path::new(".") } else { directory }
    }

    fn path(&self, directory: &Path) -> Result<PathBuf, ConfigError> {
        let written = self.required("path", &self.keys.path)?;
        let path = directory.join(written.get_ref());
        let problem = match fs::metadata(&path) {
            Ok(found) if found.is_file() => return Ok(path),
            Ok(_) => "is not a file".to_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => "does not exist".to_owned(),
            Err(error) => format!("cannot be read ({error})"),
        };
        let shown = self.here().join(repeated(&written.get_ref().to_string_lossy()));
        let problem =
            format!("names {}, which {problem}; a path is relative to the directory of this file", shown.display());
        Err(self.invalid("path", written.span(), problem))
    }

    fn arguments(&self) -> Result<Vec<String>, ConfigError> {
        let arguments = self.keys.arguments.iter().flat_map(Spanned::get_ref);
        let argument = |argument: &Spanned<String>| match argument.get_ref() {
            text if text.contains('\0') => {
                let problem = "contains U+0000, which an argument cannot contain; remove it";
                Err(self.file.invalid_element("plugin.arguments", argument.span(), problem))
            }
            text => Ok(text.clone()),
        };
        arguments.map(argument).collect()
    }

    /// Returns the environment variables, by name.
    fn environment(&self) -> Result<Vec<(String, String)>, ConfigError> {
        let mut environment = Vec::new();
        for (name, value) in self.keys.env.iter().flat_map(Spanned::get_ref) {
            self.check_variable(name, value)?;
            environment.push((name.get_ref().clone(), value.get_ref().clone()));
        }
        let bytes: usize = environment.iter().map(|(name, value)| name.len() + value.len()).sum();
        match &self.keys.env {
            Some(env) if bytes > PROCESS_ENVIRONMENT_BYTES_MAX => {
                let problem = format!(
                    "plugin.env has {bytes} bytes; at most {PROCESS_ENVIRONMENT_BYTES_MAX} are allowed, so move some of it to a file"
                );
                Err(self.file.malformed(env.span(), problem))
            }
            _ => Ok(environment),
        }
    }

    fn check_variable(&self, name: &Spanned<String>, value: &Spanned<String>) -> Result<(), ConfigError> {
        let shown = name.get_ref();
        let is_name = shown.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if shown.is_empty() || !is_name || shown.starts_with(|first: char| first.is_ascii_digit()) {
            let problem = format!(
                "{} is not the name of a variable; use A-Z, a-z, 0-9 and \"_\", not starting with a digit",
                quoted(shown)
            );
            return Err(self.file.malformed(name.span(), problem));
        }
        if shown.starts_with("HOLDLINE_") {
            let problem = format!(
                "{} begins with HOLDLINE_, as the variables that holdline sets; use another name",
                quoted(shown)
            );
            return Err(self.file.malformed(name.span(), problem));
        }
        if value.get_ref().contains('\0') {
            let problem = "contains U+0000, which a variable cannot contain; remove it";
            return Err(self.invalid(&format!("env.{shown}"), value.span(), problem));
        }
        Ok(())
    }

    /// Returns the hooks, without duplicates.
    fn hooks(&self, kind: PluginKind) -> Result<Vec<Hook>, ConfigError> {
        let mut hooks = Vec::new();
        for written in self.keys.hooks.iter().flat_map(Spanned::get_ref) {
            let hook = Hook::from_str(written.get_ref()).map_err(|_| {
                let problem = format!("is not a hook; {HOOKS_FIX}");
                self.file.invalid_element("plugin.hooks", written.span(), problem)
            })?;
            if !hooks.contains(&hook) {
                hooks.push(hook);
            }
        }
        if hooks.is_empty() && kind == PluginKind::Luau {
            let span = self.keys.hooks.as_ref().map_or(self.header.clone(), Spanned::span);
            return Err(self.file.malformed(span, format!("a script without hooks is never called; {HOOKS_FIX}")));
        }
        Ok(hooks)
    }

    /// Checks that a hook has the key that it needs, and the key its hook.
    fn check_pair(&self, hooks: &[Hook], hook: Hook, key: &str, given: Option<Span>) -> Result<(), ConfigError> {
        let (has_hook, hook) = (hooks.contains(&hook), hook.as_str());
        match given {
            None if has_hook => {
                let span = self.keys.hooks.as_ref().map_or(self.header.clone(), Spanned::span);
                let problem = format!("the hook {hook:?} needs plugin.{key}; {}", fix(key));
                Err(self.file.malformed(span, problem))
            }
            Some(span) if !has_hook => {
                let problem =
                    format!("plugin.{key} has no effect without the hook {hook:?}; add the hook, or remove {key}");
                Err(self.file.malformed(span, problem))
            }
            _ => Ok(()),
        }
    }

    /// Returns the commands in the order of the file.
    fn commands(&self, hooks: &[Hook], used: &mut UsedNames) -> Result<Vec<(String, String)>, ConfigError> {
        let given = self.keys.commands.as_ref().filter(|commands| !commands.get_ref().is_empty());
        self.check_pair(hooks, Hook::Command, "commands", given.map(Spanned::span))?;
        let mut written: Vec<_> = given.iter().flat_map(|commands| commands.get_ref()).collect();
        written.sort_by_key(|(name, _)| name.span().start);
        for (name, help) in &written {
            self.check_command(name, help)?;
            self.take_command(name, used)?;
        }
        Ok(written.into_iter().map(|(name, help)| (name.get_ref().clone(), help.get_ref().clone())).collect())
    }

    fn check_command(&self, name: &Spanned<String>, help: &Spanned<String>) -> Result<(), ConfigError> {
        if !is_command_name(name.get_ref()) {
            let problem = format!(
                "{} is not a command name; use 1 to {COMMAND_CHARS_MAX} of a-z, 0-9 and \"-\", starting with a letter",
                quoted(name.get_ref())
            );
            return Err(self.file.malformed(name.span(), problem));
        }
        let text = help.get_ref();
        let is_line = !text.trim().is_empty() && !text.contains('\t') && printable(text) == *text;
        if !is_line || text.chars().count() > COMMAND_HELP_CHARS_MAX {
            let problem = format!("is not valid; {}", fix("commands.*"));
            return Err(self.invalid(&format!("commands.{}", name.get_ref()), help.span(), problem));
        }
        Ok(())
    }

    fn take_command(&self, name: &Spanned<String>, used: &mut UsedNames) -> Result<(), ConfigError> {
        let shown = name.get_ref();
        let problem = if is_reserved_command(shown) {
            format!("{shown:?} is a command of holdline itself; use another name")
        } else if let Some(line) = used.commands.insert(shown.clone(), self.file.line(&name.span())) {
            format!("{shown:?} is also a command of the plugin in line {line}; rename one of them")
        } else if used.commands.len() > COMMANDS_MAX {
            format!("the plugins have more than {COMMANDS_MAX} commands together; remove some")
        } else {
            return Ok(());
        };
        Err(self.file.malformed(name.span(), problem))
    }

    fn settings(&self) -> Result<serde_json::Value, ConfigError> {
        let Some(settings) = &self.keys.settings else { return Ok(serde_json::Value::Object(Default::default())) };
        json(&toml::Value::Table(settings.get_ref().clone())).ok_or_else(|| {
            let problem = "plugin.settings contains nan or inf, which JSON cannot express; write it as a string";
            self.file.malformed(settings.span(), problem)
        })
    }

    fn user(&self) -> Result<Option<String>, ConfigError> {
        let Some(user) = &self.keys.user else { return Ok(None) };
        if user.get_ref().is_empty() || user.get_ref().contains('\0') {
            return Err(self.invalid("user", user.span(), format!("is not valid; {}", fix("user"))));
        }
        Ok(Some(user.get_ref().clone()))
    }

    fn required<'k, T>(&self, key: &str, value: &'k Option<T>) -> Result<&'k T, ConfigError> {
        let problem = || format!("this [[plugin]] has no {key}; {}", fix(key));
        value.as_ref().ok_or_else(|| self.file.malformed(self.header.clone(), problem()))
    }

    /// Returns an error about the value of a key of the entry.
    fn invalid(&self, key: &str, value: Span, problem: impl Into<String>) -> ConfigError {
        self.file.invalid(&format!("plugin.{key}"), value, problem)
    }
}

/// Returns the advice about a key of an entry.
fn fix(key: &str) -> &'static str {
    let key = PLUGINS_KEYS.iter().find(|known| known.path.strip_prefix("plugin.") == Some(key));
    key.map_or("", |key| key.fix)
}

/// Converts a value to JSON, with times as strings. Returns `None` if it contains a number that JSON cannot express.
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
