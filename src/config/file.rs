//! A TOML file and the mistakes in it. serde finds a mistake; this module reports its file, line, key and value, and how to correct
//! it. Owns the form of these reports; never knows what a key means.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Error};

use super::error::ConfigError;
use crate::message::repeated;
use crate::trust::{self, TrustError};

/// Key of a file, and the advice that is given if its value is not valid.
pub(super) struct Key {
    /// Name of the key with the tables it is in: `limits.mailbox_max`. A last name of `*` stands for any one name, and `**` for
    /// everything in the table.
    pub(super) path: &'static str,
    /// Advice, which completes `KEY = VALUE is not valid;`.
    pub(super) fix: &'static str,
}

impl Key {
    pub(super) const fn new(path: &'static str, fix: &'static str) -> Self {
        Key { path, fix }
    }

    fn is_at(&self, path: &str) -> bool {
        let within = |table| path.strip_prefix(table);
        match (self.path.strip_suffix("**"), self.path.strip_suffix('*')) {
            (Some(table), _) => within(table).is_some(),
            (None, Some(table)) => within(table).is_some_and(|name| !name.contains('.')),
            (None, None) => self.path == path,
        }
    }

    /// Whether the value at `path` is a table that may contain this key.
    fn is_below(&self, path: &str) -> bool {
        let is_direct = self.path.strip_prefix(path).is_some_and(|rest| rest.starts_with('.'));
        is_direct || self.path.ends_with("**") && self.is_at(path)
    }
}

/// A file that is read and not parsed yet.
pub(super) struct File {
    /// Path as the user wrote it.
    path: PathBuf,
    text: String,
}

/// Range of bytes in the text of a file.
pub(super) type Span = Range<usize>;

impl File {
    /// Reads a file. Returns `None` if it does not exist.
    pub(super) fn read(path: &Path) -> Result<Option<File>, ConfigError> {
        let path = path.to_owned();
        let bytes = match trust::read(&path).map_err(TrustError::into_system) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return missing(path),
            Err(Ok(error)) if error.kind() == io::ErrorKind::NotFound => return missing(path),
            Err(Ok(source)) => return Err(ConfigError::Unreadable { path, source }),
            Err(Err(untrusted)) => return Err(untrusted.into()),
        };
        match String::from_utf8(bytes) {
            Ok(text) => {
                // Some editors begin a file with a byte order mark.
                let text = text.strip_prefix('\u{FEFF}').map(str::to_owned).unwrap_or(text);
                Ok(Some(File { path, text }))
            }
            Err(error) => {
                let line = line_at(error.as_bytes(), error.utf8_error().valid_up_to());
                let problem = "this line is not UTF-8; save the file as UTF-8".to_owned();
                Err(ConfigError::Malformed { path, line, problem })
            }
        }
    }

    /// Parses the text as `T`, whose keys are `keys`.
    pub(super) fn parse<T: DeserializeOwned>(&self, keys: &[Key]) -> Result<T, ConfigError> {
        let table = DeTable::parse(&self.text).map_err(|error| self.not_toml(&error))?;
        toml::from_str(&self.text).map_err(|error| {
            let span = error.span().unwrap_or_default();
            let problem = Mistake { file: self, span: &span, keys }.in_table(table.get_ref(), "");
            self.malformed(span, problem.unwrap_or_else(|| error.message().to_owned()))
        })
    }

    /// Returns the directory of the file.
    pub(super) fn directory(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    /// Returns the place and value of a key, as errors begin: `holdline.toml:2: data = "log"`.
    pub(super) fn origin(&self, key: &str, value: Span) -> String {
        format!("{}:{}: {key} = {}", self.path.display(), self.line(&value), self.shown(value))
    }

    /// Returns the place of an element of a list: `holdline.toml:1: "127.0.0.1:7878" in listen`.
    pub(super) fn element_origin(&self, key: &str, element: Span) -> String {
        format!("{}:{}: {} in {key}", self.path.display(), self.line(&element), self.shown(element))
    }

    /// Returns an error about the line where `span` begins.
    pub(super) fn malformed(&self, span: Span, problem: impl Into<String>) -> ConfigError {
        ConfigError::Malformed { path: self.path.clone(), line: self.line(&span), problem: problem.into() }
    }

    /// Returns an error about an element of a list.
    pub(super) fn invalid_element(&self, key: &str, element: Span, problem: impl Into<String>) -> ConfigError {
        ConfigError::Invalid { setting: self.element_origin(key, element), problem: problem.into() }
    }

    /// Returns an error about the value of a key.
    pub(super) fn invalid(&self, key: &str, value: Span, problem: impl Into<String>) -> ConfigError {
        ConfigError::Invalid { setting: self.origin(key, value), problem: problem.into() }
    }

    /// Returns the number, from 1, of the line where `span` begins.
    pub(super) fn line(&self, span: &Span) -> usize {
        line_at(self.text.as_bytes(), span.start)
    }

    fn not_toml(&self, error: &Error) -> ConfigError {
        let span = error.span().unwrap_or_default();
        if error.message() == "duplicate key" {
            let problem = format!("`{}` is set twice; remove one of them", repeated(&self.text[span.clone()]));
            return self.malformed(span, problem);
        }
        let line = repeated(self.text.lines().nth(self.line(&span) - 1).unwrap_or_default().trim());
        let fix = "expected KEY = VALUE, with strings in double quotes";
        self.malformed(span, format!("`{line}` is not TOML: {}; {fix}", error.message()))
    }

    /// Returns a value as it is written, or its first line.
    fn shown(&self, value: Span) -> String {
        let text = &self.text[value];
        text.split_once('\n').map_or_else(|| repeated(text), |(first, _)| format!("{} …", repeated(first.trim_end())))
    }
}

/// Accepts that there is no file, unless a link promises one.
fn missing(path: PathBuf) -> Result<Option<File>, ConfigError> {
    match path.read_link() {
        Ok(target) => Err(ConfigError::Dangling { path, target }),
        Err(_) => Ok(None),
    }
}

/// Mistake that serde found, and whose place in the file is searched.
struct Mistake<'a> {
    file: &'a File,
    /// Text that serde reports.
    span: &'a Span,
    keys: &'a [Key],
}

impl Mistake<'_> {
    /// Describes the mistake if it is in `table`: an unknown key, or a value that is not valid. `prefix` is the path of the table,
    /// with a `.` at its end.
    fn in_table(&self, table: &DeTable<'_>, prefix: &str) -> Option<String> {
        table.iter().find_map(|(name, value)| {
            let path = format!("{prefix}{}", name.get_ref());
            match self.keys.iter().find(|key| key.is_at(&path)) {
                Some(key) => self.in_value(value, &path, key),
                None => (name.span() == *self.span).then(|| unknown_key(prefix, name.get_ref(), self.keys)),
            }
        })
    }

    fn in_value(&self, value: &Spanned<DeValue<'_>>, path: &str, key: &Key) -> Option<String> {
        match value.get_ref() {
            // The span of a table is that of its header, and encloses none of its keys.
            DeValue::Table(table) => {
                let mistake = self.may_be_table(path).then(|| self.in_table(table, &format!("{path}.")));
                mistake.flatten().or_else(|| self.is_in(value).then(|| format!("{path} is a table; {}", key.fix)))
            }
            DeValue::Array(elements) => {
                let mut mistakes = elements.iter().filter_map(|element| self.in_element(element, path, key));
                mistakes.next().or_else(|| self.as_value(value, path, key))
            }
            _ => self.as_value(value, path, key),
        }
    }

    fn in_element(&self, element: &Spanned<DeValue<'_>>, path: &str, key: &Key) -> Option<String> {
        match element.get_ref() {
            DeValue::Table(table) if self.may_be_table(path) => self.in_table(table, &format!("{path}.")),
            _ => self
                .is_in(element)
                .then(|| format!("{} in {path} is not valid; {}", self.file.shown(element.span()), key.fix)),
        }
    }

    fn as_value(&self, value: &Spanned<DeValue<'_>>, path: &str, key: &Key) -> Option<String> {
        self.is_in(value).then(|| format!("{path} = {} is not valid; {}", self.file.shown(value.span()), key.fix))
    }

    fn may_be_table(&self, path: &str) -> bool {
        self.keys.iter().any(|key| key.is_below(path))
    }

    fn is_in(&self, value: &Spanned<DeValue<'_>>) -> bool {
        value.span().start <= self.span.start && self.span.end <= value.span().end
    }
}

fn unknown_key(prefix: &str, name: &str, keys: &[Key]) -> String {
    let names = keys.iter().filter_map(|key| key.path.strip_prefix(prefix)).filter(|name| !name.contains('.'));
    let known = names.collect::<Vec<_>>().join(", ");
    // The right key in the wrong table, most often below `[limits]` where the top of the file was meant.
    let elsewhere = keys.iter().find(|key| key.path.rsplit('.').next() == Some(name));
    let hint = elsewhere.map(|key| match key.path.rsplit_once('.') {
        Some((table, _)) => format!("; `{name}` belongs in the table `{table}`"),
        None => format!("; `{name}` belongs above the first [table]"),
    });
    format!("unknown key `{prefix}{}`{}; known keys: {known}", repeated(name), hint.unwrap_or_default())
}

/// Returns the number, from 1, of the line with the byte at `offset`.
fn line_at(text: &[u8], offset: usize) -> usize {
    1 + text[..offset].iter().filter(|byte| **byte == b'\n').count()
}
