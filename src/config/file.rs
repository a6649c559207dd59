//! One TOML file, and mistakes in it explained: serde finds them, this file says file, line, key, value and what would be
//! right. Owns the words of these refusals; never knows what a key means.

use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Error};

use super::error::ConfigError;
use crate::message::repeated;

/// What a refusal says about a key; that there is such a key is serde's to know.
pub(super) struct Key {
    /// Its name, with the tables it is in: `limits.mailbox_max`; a `*` at its end is every name.
    pub(super) path: &'static str,
    /// The kind of its value, in the words of [`DeValue::type_str`]; or [`TABLES`], or [`ANYTHING`]. An array is one of strings.
    pub(super) kind: &'static str,
    /// What would be right.
    pub(super) fix: &'static str,
}

/// The kind of a list of tables, each below a `[[header]]`.
pub(super) const TABLES: &str = "tables";

/// The kind of what is handed on as it is.
pub(super) const ANYTHING: &str = "anything";

impl Key {
    fn is_at(&self, path: &str) -> bool {
        self.path.strip_suffix('*').map_or(self.path == path, |table| path.starts_with(table))
    }
}

/// A file that was read, and whose text is not yet understood.
pub(super) struct File {
    /// As it was named.
    path: PathBuf,
    /// All of it.
    text: String,
}

/// Bytes of the file's text.
pub(super) type Span = Range<usize>;

impl File {
    /// Reads the file; none if it does not exist.
    pub(super) fn read(path: &Path) -> Result<Option<File>, ConfigError> {
        let path = path.to_owned();
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(ConfigError::Unreadable { path, source }),
        };
        match String::from_utf8(bytes) {
            Ok(text) => Ok(Some(File { path, text })),
            Err(error) => {
                let line = line_at(error.as_bytes(), error.utf8_error().valid_up_to());
                let problem = "this line is not UTF-8; save the file as UTF-8".to_owned();
                Err(ConfigError::Malformed { path, line, problem })
            }
        }
    }

    /// Understands the text as `T`, all of whose keys are among `keys`.
    pub(super) fn parse<T: DeserializeOwned>(&self, keys: &[Key]) -> Result<T, ConfigError> {
        let table = DeTable::parse(&self.text).map_err(|error| self.not_toml(&error))?;
        toml::from_str(&self.text).map_err(|error| {
            let span = error.span().unwrap_or_default();
            let problem = Mistake { file: self, span: &span, keys }.in_table(table.get_ref(), "");
            self.malformed(span, problem.unwrap_or_else(|| error.message().to_owned()))
        })
    }

    /// The directory of the file.
    pub(super) fn directory(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }

    /// Where a value stands, in the words that open a refusal: `holdline.toml:2: data = "log"`.
    pub(super) fn origin(&self, key: &str, value: Span) -> String {
        format!("{}:{}: {key} = {}", self.path.display(), self.line(&value), self.shown(value))
    }

    /// Where an element of a list stands: `holdline.toml:1: "127.0.0.1:7878" in listen`.
    pub(super) fn element_origin(&self, key: &str, element: Span) -> String {
        format!("{}:{}: {} in {key}", self.path.display(), self.line(&element), self.shown(element))
    }

    /// A refusal of the line where `span` begins.
    pub(super) fn malformed(&self, span: Span, problem: impl Into<String>) -> ConfigError {
        ConfigError::Malformed { path: self.path.clone(), line: self.line(&span), problem: problem.into() }
    }

    /// A refusal of an element of a list.
    pub(super) fn impossible_element(&self, key: &str, element: Span, problem: impl Into<String>) -> ConfigError {
        ConfigError::Impossible { setting: self.element_origin(key, element), problem: problem.into() }
    }

    /// A refusal of the value of a key.
    pub(super) fn impossible(&self, key: &str, value: Span, problem: impl Into<String>) -> ConfigError {
        ConfigError::Impossible { setting: self.origin(key, value), problem: problem.into() }
    }

    /// The line, from 1, where `span` begins.
    pub(super) fn line(&self, span: &Span) -> usize {
        line_at(self.text.as_bytes(), span.start)
    }

    fn not_toml(&self, error: &Error) -> ConfigError {
        let span = error.span().unwrap_or_default();
        if error.message() == "duplicate key" {
            let problem = format!("`{}` is there twice; keep one of them", repeated(&self.text[span.clone()]));
            return self.malformed(span, problem);
        }
        let line = repeated(self.text.lines().nth(self.line(&span) - 1).unwrap_or_default().trim());
        let hint = "KEY = VALUE is wanted, a string in double quotes";
        self.malformed(span, format!("`{line}` is not TOML: {}; {hint}", error.message()))
    }

    /// A value as it is written, or the first line of it.
    fn shown(&self, value: Span) -> String {
        let text = &self.text[value];
        text.split_once('\n').map_or_else(|| repeated(text), |(first, _)| format!("{} …", repeated(first.trim_end())))
    }
}

/// An error of serde, whose meaning is looked for.
struct Mistake<'a> {
    file: &'a File,
    /// Where serde saw it.
    span: &'a Span,
    keys: &'a [Key],
}

impl Mistake<'_> {
    /// What it means, in the words of the file: the first key in `table` that it can be about.
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
            DeValue::Table(inner) if matches!(key.kind, "table" | ANYTHING) => {
                self.in_table(inner, &format!("{path}."))
            }
            // Its span is that of its header alone, which encloses nothing.
            DeValue::Table(_) => Some(format!("{path} is a table; {}", key.fix)),
            DeValue::Array(elements) if matches!(key.kind, "array" | TABLES) => {
                elements.iter().find_map(|element| self.in_element(element, path, key))
            }
            here => self.is_in(value).then(|| {
                let text = self.file.shown(value.span());
                let is_possible_kind = here.type_str() == key.kind || key.kind == ANYTHING;
                let fault = if is_possible_kind { "is not possible".to_owned() } else { wrong_kind(here) };
                format!("{path} = {text} {fault}; {}", key.fix)
            }),
        }
    }

    fn in_element(&self, element: &Spanned<DeValue<'_>>, path: &str, key: &Key) -> Option<String> {
        match element.get_ref() {
            DeValue::Table(inner) if key.kind == TABLES => self.in_table(inner, &format!("{path}.")),
            here => self.is_in(element).then(|| {
                let text = self.file.shown(element.span());
                format!("{text} in {path} {}; {}", wrong_kind(here), key.fix)
            }),
        }
    }

    fn is_in(&self, value: &Spanned<DeValue<'_>>) -> bool {
        value.span().start <= self.span.start && self.span.end <= value.span().end
    }
}

fn unknown_key(prefix: &str, name: &str, keys: &[Key]) -> String {
    let names = keys.iter().filter_map(|key| key.path.strip_prefix(prefix)).filter(|name| !name.contains('.'));
    let names: Vec<_> = names.collect();
    let table =
        if prefix.is_empty() { String::new() } else { format!(" of {}", header(prefix.trim_end_matches('.'), keys)) };
    let known = match names[..] {
        [name] => format!("the only key{table} is {name}"),
        _ => format!("the keys{table} are {}", names.join(", ")),
    };
    // The right key in the wrong table, most often below `[limits]` where the top of the file was meant.
    let elsewhere = keys.iter().find(|key| key.path.rsplit('.').next() == Some(name));
    let hint = elsewhere.map(|key| match key.path.rsplit_once('.') {
        Some((table, _)) => format!("; `{name}` belongs below {}", header(table, keys)),
        None => format!("; `{name}` belongs above the first [table]"),
    });
    format!("unknown key `{prefix}{}`{}; {known}", repeated(name), hint.unwrap_or_default())
}

/// The line above the keys of a table.
fn header(table: &str, keys: &[Key]) -> String {
    let is_list = keys.iter().any(|key| key.path == table && key.kind == TABLES);
    if is_list { format!("[[{table}]]") } else { format!("[{table}]") }
}

fn wrong_kind(value: &DeValue<'_>) -> String {
    match value.type_str() {
        kind @ ("integer" | "array") => format!("is an {kind}"),
        kind => format!("is a {kind}"),
    }
}

/// The line, from 1, of the byte at `offset`.
fn line_at(text: &[u8], offset: usize) -> usize {
    1 + text[..offset].iter().filter(|byte| **byte == b'\n').count()
}
