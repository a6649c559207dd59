//! Tables that a script passes to the server: options of a function, and answers. Owns how a key is read, and the words about a mistake,
//! which is an [`Error::DeserializeError`]; never what a key means.

use mlua::{Error, Result, Value};
use serde::de::{Error as _, Expected, Unexpected};

use super::value::check_size;

/// Table without unknown keys: each key that it has, with its value.
pub(super) struct KnownTable(Vec<(&'static str, Value)>);

impl KnownTable {
    /// Reads a table that may have only these keys, and of which a copy has at most `bytes_max`.
    pub(super) fn new(value: &Value, bytes_max: usize, keys: &'static [&'static str]) -> Result<Self> {
        check_size(value, bytes_max).map_err(Error::DeserializeError)?;
        let table = value.as_table().ok_or_else(|| not_a_table(value))?;
        let mut known = Vec::new();
        for pair in table.pairs::<Value, Value>() {
            let (key, value) = pair?;
            let text = key.as_string().ok_or_else(|| wrong(&key, &"a key"))?;
            match keys.iter().find(|key| *text == key) {
                Some(key) => known.push((*key, value)),
                None => return Err(Error::unknown_field(&text.to_string_lossy(), keys)),
            }
        }
        Ok(KnownTable(known))
    }

    /// Returns a string.
    pub(super) fn text(&self, key: &str) -> Result<Option<String>> {
        self.value(key).map(text).transpose()
    }

    /// Returns a list of strings.
    pub(super) fn texts(&self, key: &str) -> Result<Option<Vec<String>>> {
        let texts = |value: &Value| match value {
            Value::Table(list) => list.sequence_values().map(|value| text(&value?)).collect(),
            other => Err(not_a_table(other)),
        };
        self.value(key).map(texts).transpose()
    }

    /// Returns a whole number.
    pub(super) fn number(&self, key: &str) -> Result<Option<i64>> {
        let number = |value: &Value| value.as_i64().ok_or_else(|| wrong(value, &"a whole number"));
        self.value(key).map(number).transpose()
    }

    /// Whether a key is `true`; it may be missing.
    pub(super) fn flag(&self, key: &str) -> Result<bool> {
        self.value(key).map_or(Ok(false), |value| value.as_boolean().ok_or_else(|| wrong(value, &"a boolean")))
    }

    fn value(&self, key: &str) -> Option<&Value> {
        self.0.iter().find(|(known, _)| *known == key).map(|(_, value)| value)
    }
}

fn text(value: &Value) -> Result<String> {
    let text = value.as_string().ok_or_else(|| wrong(value, &"a string"))?;
    let text = text.to_str().map_err(|_| Error::invalid_value(Unexpected::Other("string"), &"UTF-8"))?;
    Ok(text.to_owned())
}

fn wrong(value: &Value, expected: &dyn Expected) -> Error {
    let error = |found| Error::invalid_type(found, expected);
    match value {
        Value::Boolean(flag) => error(Unexpected::Bool(*flag)),
        Value::Number(number) => error(Unexpected::Float(*number)),
        Value::String(text) => error(Unexpected::Str(&text.to_string_lossy())),
        Value::Table(_) => error(Unexpected::Other("table")),
        other => match other.as_i64() {
            Some(number) => error(Unexpected::Signed(number)),
            None => Error::custom(format_args!("unsupported value type `{}`", other.type_name())),
        },
    }
}

fn not_a_table(value: &Value) -> Error {
    Error::invalid_type(Unexpected::Other(value.type_name()), &"table")
}
