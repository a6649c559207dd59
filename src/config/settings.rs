//! What the flags and `holdline.toml` say together, each value with the place where it is said. Owns the keys and which of
//! both wins; never a default.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use super::error::ConfigError;
use super::file::{File, Key};
use super::values::{DURABILITY_MEND, Durability, Flags, Limits, Retention};

/// The file that is read from the current directory when `--config` names no other.
pub(super) const CONFIG_FILE: &str = "holdline.toml";

/// The problem with a path, given by the user, at which nothing is.
pub(super) const NO_SUCH_FILE: &str =
    "names a file that does not exist; mend the path, or leave it out for the default";

/// What flags and file say together; nothing where neither says anything.
#[derive(Default)]
pub(super) struct Settings {
    /// Never an empty list.
    pub(super) listen: Option<Vec<Setting<String>>>,
    /// Relative to the current directory.
    pub(super) data: Option<Setting<PathBuf>>,
    /// Relative to the current directory.
    pub(super) plugins: Option<Setting<PathBuf>>,
    /// What an accepted message survives.
    pub(super) durability: Option<Durability>,
    /// Whether others than this machine may reach the server.
    pub(super) open: Option<bool>,
    /// The default where nothing is said.
    pub(super) limits: Limits,
    /// The default where nothing is said.
    pub(super) retention: Retention,
}

/// A value, and the words with which a refusal of it begins.
pub(super) struct Setting<T> {
    /// As it was given.
    pub(super) value: T,
    /// `holdline.toml:2: data = "log"`, or `--data "log"`.
    pub(super) origin: String,
}

impl Settings {
    /// Reads the file and lets the flags win over it.
    pub(super) fn load(flags: &Flags) -> Result<Settings, ConfigError> {
        let mut settings = match Settings::file(flags)? {
            Some(file) => Settings::of_file(&file)?,
            None => Settings::default(),
        };
        if !flags.listen.is_empty() {
            let entry = |value: &String| Setting { value: value.clone(), origin: format!("--listen {value:?}") };
            settings.listen = Some(flags.listen.iter().map(entry).collect());
        }
        if let Some(path) = &flags.data {
            settings.data = Some(Setting::of_path_flag("--data", path)?);
        }
        if let Some(path) = &flags.plugins {
            settings.plugins = Some(Setting::of_path_flag("--plugins", path)?);
        }
        if flags.open {
            settings.open = Some(true);
        }
        Ok(settings)
    }

    fn file(flags: &Flags) -> Result<Option<File>, ConfigError> {
        let Some(path) = &flags.config else { return File::read(Path::new(CONFIG_FILE)) };
        let setting = Setting::of_path_flag("--config", path)?;
        File::read(path)?.map_or_else(|| Err(setting.impossible(NO_SUCH_FILE)), |file| Ok(Some(file)))
    }

    fn of_file(file: &File) -> Result<Settings, ConfigError> {
        let keys: ConfigKeys = file.parse(CONFIG_KEYS)?;
        Ok(Settings {
            listen: keys.listen.map(|entries| Setting::of_listen_key(file, entries)).transpose()?,
            data: keys.data.map(|path| Setting::of_path_key(file, "data", path)).transpose()?,
            plugins: keys.plugins.map(|path| Setting::of_path_key(file, "plugins", path)).transpose()?,
            durability: keys.durability,
            open: keys.open,
            limits: keys.limits,
            retention: keys.retention,
        })
    }
}

impl Setting<String> {
    fn of_listen_key(file: &File, entries: Spanned<Vec<Spanned<String>>>) -> Result<Vec<Self>, ConfigError> {
        if entries.get_ref().is_empty() {
            let setting = Setting { origin: file.origin("listen", entries.span()), value: () };
            return Err(setting.impossible("names no address; leave it out for the default, or name one"));
        }
        let entry = |entry: Spanned<String>| Setting {
            origin: file.element_origin("listen", entry.span()),
            value: entry.into_inner(),
        };
        Ok(entries.into_inner().into_iter().map(entry).collect())
    }
}

impl Setting<PathBuf> {
    fn of_path_flag(flag: &str, path: &Path) -> Result<Self, ConfigError> {
        Setting { value: path.to_owned(), origin: format!("{flag} {path:?}") }.checked()
    }

    /// What a file names is relative to the file: it then means the same wherever the server is started.
    fn of_path_key(file: &File, key: &str, path: Spanned<PathBuf>) -> Result<Self, ConfigError> {
        let origin = file.origin(key, path.span());
        let Setting { value, origin } = Setting { value: path.into_inner(), origin }.checked()?;
        Ok(Setting { value: file.directory().join(value), origin })
    }

    fn checked(self) -> Result<Self, ConfigError> {
        let bytes = self.value.as_os_str().as_encoded_bytes();
        if bytes.is_empty() || bytes.contains(&0) {
            return Err(self.impossible("is no path; leave it out for the default, or name one"));
        }
        Ok(self)
    }
}

impl<T> Setting<T> {
    /// Refuses the value.
    pub(super) fn impossible(&self, problem: impl Into<String>) -> ConfigError {
        ConfigError::Impossible { setting: self.origin.clone(), problem: problem.into() }
    }
}

/// `holdline.toml` as it is written.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ConfigKeys {
    listen: Option<Spanned<Vec<Spanned<String>>>>,
    data: Option<Spanned<PathBuf>>,
    plugins: Option<Spanned<PathBuf>>,
    durability: Option<Durability>,
    open: Option<bool>,
    limits: Limits,
    retention: Retention,
}

/// What refusals say about the keys of [`ConfigKeys`].
pub(super) const CONFIG_KEYS: &[Key] = &[
    Key { path: "listen", kind: "array", fix: r#"a list of HOST:PORT is wanted, such as ["127.0.0.1:7878"]"# },
    Key { path: "data", kind: "string", fix: r#"a string is wanted, such as "holdline-data""# },
    Key { path: "plugins", kind: "string", fix: r#"a string is wanted, such as "plugins.toml""# },
    Key { path: "durability", kind: "string", fix: DURABILITY_MEND },
    Key { path: "open", kind: "boolean", fix: "use true or false" },
    Key { path: "limits", kind: "table", fix: "a table is wanted: [limits] on a line of its own, its keys below" },
    Key {
        path: "limits.connections_max",
        kind: "integer",
        fix: "a number of connections is wanted, such as 500, or 0 for as many as the system allows",
    },
    Key {
        path: "limits.connections_per_address_max",
        kind: "integer",
        fix: "a number of connections is wanted, such as 20, or 0 for no cap",
    },
    Key {
        path: "limits.login_timeout_s",
        kind: "integer",
        fix: "a number of seconds is wanted, such as 30, or 0 for no timeout",
    },
    Key {
        path: "limits.dead_after_s",
        kind: "integer",
        fix: "a number of seconds is wanted, such as 150, or 0 for what the system does by itself",
    },
    Key {
        path: "limits.messages_per_s",
        kind: "integer",
        fix: "a number of lines a second is wanted, such as 50, or 0 for no limit",
    },
    Key {
        path: "limits.destinations_max",
        kind: "integer",
        fix: "a number of names is wanted, such as 256, or 0 for no cap",
    },
    Key {
        path: "limits.mailbox_max",
        kind: "integer",
        fix: "a number of messages is wanted, such as 10000, or 0 for no cap",
    },
    Key {
        path: "limits.unknown_names_max",
        kind: "integer",
        fix: "a number of names is wanted, such as 10000, or 0 for no cap",
    },
    Key {
        path: "limits.rooms_max",
        kind: "integer",
        fix: "a number of rooms is wanted, such as 10000, or 0 for no cap",
    },
    Key {
        path: "retention",
        kind: "table",
        fix: "a table is wanted: [retention] on a line of its own, its keys below",
    },
    Key {
        path: "retention.max_age",
        kind: "string",
        fix: r#"a time is wanted, such as "90 days", "12h" or "1 year"; leave it out to keep everything"#,
    },
    Key {
        path: "retention.max_size",
        kind: "string",
        fix: r#"a size is wanted, such as "500 MB" or "2 GiB"; leave it out to keep everything"#,
    },
];
