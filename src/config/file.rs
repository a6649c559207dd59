//! One TOML file, and mistakes in it explained: serde finds them, this file says file, line, key, value and what would be
//! right. Owns the words of these refusals; never knows what a key means.

use std::fs;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use toml::de::{DeTable, DeValue, Error};

use super::ConfigError;
use crate::message::repeated;

/// What a refusal says about a key; that there is such a key is serde's to know.
pub(super) struct Key {
    /// Its name, with the tables it is in: `limits.mailbox_max`.
    pub(super) path: &'static str,
    /// The kind of its value, in the words of [`DeValue::type_str`].
    pub(super) kind: &'static str,
    /// What would be right.
    pub(super) mend: &'static str,
}

/// A file that was read, and whose text is not yet understood.
pub(super) struct File {
    /// As it was named.
    path: PathBuf,
    /// All of it.
    text: String,
}

/// Bytes of the file's text.
type Span = Range<usize>;

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
            let problem = self.explain(table.get_ref(), "", &span, keys);
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

    fn line(&self, span: &Span) -> usize {
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

    /// What serde means by an error at `span`, in the words of the file: the first key in `table` that it can be about.
    fn explain(&self, table: &DeTable<'_>, prefix: &str, span: &Span, keys: &[Key]) -> Option<String> {
        table.iter().find_map(|(name, value)| {
            let path = format!("{prefix}{}", name.get_ref());
            let Some(key) = keys.iter().find(|key| key.path == path) else {
                return (name.span() == *span).then(|| unknown_key(prefix, name.get_ref(), keys));
            };
            match value.get_ref() {
                DeValue::Table(inner) if key.kind == "table" => self.explain(inner, &format!("{path}."), span, keys),
                // Its span is that of its header alone, which encloses nothing.
                DeValue::Table(_) => Some(format!("{path} is a table; {}", key.mend)),
                _ if !encloses(&value.span(), span) => None,
                DeValue::Array(elements) if key.kind == "array" => {
                    let element = elements.iter().find(|element| encloses(&element.span(), span))?;
                    let (text, fault) = (self.shown(element.span()), wrong_kind(element.get_ref()));
                    Some(format!("{text} in {path} {fault}; {}", key.mend))
                }
                value_here => {
                    let possible_kind = value_here.type_str() == key.kind;
                    let fault = if possible_kind { "is not possible".to_owned() } else { wrong_kind(value_here) };
                    Some(format!("{path} = {} {fault}; {}", self.shown(value.span()), key.mend))
                }
            }
        })
    }

    /// A value as it is written, or the first line of it.
    fn shown(&self, value: Span) -> String {
        let text = &self.text[value];
        text.split_once('\n').map_or_else(|| repeated(text), |(first, _)| format!("{} …", repeated(first.trim_end())))
    }
}

fn unknown_key(prefix: &str, name: &str, keys: &[Key]) -> String {
    let names = keys.iter().filter_map(|key| key.path.strip_prefix(prefix)).filter(|name| !name.contains('.'));
    let names: Vec<_> = names.collect();
    let table = if prefix.is_empty() { String::new() } else { format!(" of [{}]", prefix.trim_end_matches('.')) };
    let known = match names[..] {
        [name] => format!("the only key{table} is {name}"),
        _ => format!("the keys{table} are {}", names.join(", ")),
    };
    // The right key in the wrong table, most often below `[limits]` where the top of the file was meant.
    let elsewhere = keys.iter().find(|key| key.path.rsplit('.').next() == Some(name));
    let hint = elsewhere.map(|key| match key.path.rsplit_once('.') {
        Some((table, _)) => format!("; `{name}` belongs below [{table}]"),
        None => format!("; `{name}` belongs above the first [table]"),
    });
    format!("unknown key `{prefix}{}`{}; {known}", repeated(name), hint.unwrap_or_default())
}

fn wrong_kind(value: &DeValue<'_>) -> String {
    match value.type_str() {
        kind @ ("integer" | "array") => format!("is an {kind}"),
        kind => format!("is a {kind}"),
    }
}

fn encloses(outer: &Span, inner: &Span) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
}

/// The line, from 1, of the byte at `offset`.
fn line_at(text: &[u8], offset: usize) -> usize {
    1 + text[..offset].iter().filter(|byte| **byte == b'\n').count()
}
