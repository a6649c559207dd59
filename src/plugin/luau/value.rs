//! Luau values outside their VM: conversion to JSON, for a script's `store`, and the size of a copy. Owns which values can be stored
//! or copied; never stores them.

use mlua::serde::SerializeOptions;
use mlua::{Lua, LuaSerdeExt, Table, Value};
use serde::Serialize;
use serde_json::{Map, Number, Value as Json};

use crate::limits::{VALUE_BYTES_MAX, VALUE_DEPTH_MAX};

/// Converts a value to Luau's own types: null becomes nil, and a list a plain table.
pub(super) fn to_lua(lua: &Lua, value: &impl Serialize) -> mlua::Result<Value> {
    let plain = SerializeOptions::new();
    lua.to_value_with(
        value,
        plain.serialize_none_to_null(false).serialize_unit_to_null(false).set_array_metatable(false),
    )
}

/// Converts a value to JSON. Fails with the reason why it cannot be stored.
pub(super) fn to_json(value: &Value) -> Result<Json, String> {
    let json = ValueReader { left_bytes: VALUE_BYTES_MAX }.read(value, 0)?;
    // Escapes make the JSON longer than the bytes that were counted.
    if json.to_string().len() > VALUE_BYTES_MAX { Err(too_large()) } else { Ok(json) }
}

/// Checks that a copy of a value has at most this many bytes, before anything is copied: a small table that contains the same string
/// many times would make a large copy. Fails with the limit that the value exceeds.
pub(super) fn check_size(value: &Value, bytes_max: usize) -> Result<(), String> {
    match (CopySize { left_bytes: bytes_max }).count(value, 0) {
        Some(()) => Ok(()),
        None => Err(format!(
            "the value has more than {bytes_max} bytes, or more than {VALUE_DEPTH_MAX} tables within tables"
        )),
    }
}

/// Counter of the bytes that a copy would have.
struct CopySize {
    left_bytes: usize,
}

impl CopySize {
    /// Counts a value, and one byte for itself. `None` if it exceeds the limits.
    fn count(&mut self, value: &Value, depth: usize) -> Option<()> {
        let bytes = match value {
            Value::String(text) => text.as_bytes().len(),
            Value::Buffer(buffer) => buffer.len(),
            _ => 0,
        };
        self.left_bytes = self.left_bytes.checked_sub(bytes.checked_add(1)?)?;
        let Value::Table(table) = value else { return Some(()) };
        if depth == VALUE_DEPTH_MAX {
            return None;
        }
        for pair in table.pairs::<Value, Value>() {
            let (key, value) = pair.ok()?;
            self.count(&key, depth + 1)?;
            self.count(&value, depth + 1)?;
        }
        Some(())
    }
}

/// Returns the type of a value as `type` names it in a script.
pub(super) fn kind(value: &Value) -> &'static str {
    match value {
        Value::Integer(_) => "number",
        value => value.type_name(),
    }
}

/// Converter that counts bytes, because a small table that contains the same table many times would make large JSON.
struct ValueReader {
    left_bytes: usize,
}

impl ValueReader {
    fn read(&mut self, value: &Value, depth: usize) -> Result<Json, String> {
        self.count(1)?;
        match value {
            Value::Nil => Ok(Json::Null),
            Value::Boolean(value) => Ok(Json::Bool(*value)),
            Value::Integer(value) => Ok(Json::from(*value)),
            Value::Number(value) => {
                Number::from_f64(*value).map(Json::Number).ok_or_else(|| format!("{value} cannot be stored"))
            }
            Value::String(text) => self.read_text(text).map(Json::String),
            Value::Table(_) if depth == VALUE_DEPTH_MAX => {
                Err(format!("tables are nested deeper than {VALUE_DEPTH_MAX}, or a table contains itself"))
            }
            Value::Table(table) => match table.raw_len() {
                0 => self.read_map(table, depth + 1),
                len => self.read_list(table, len, depth + 1),
            },
            other => Err(format!("a {} cannot be stored", kind(other))),
        }
    }

    fn read_text(&mut self, text: &mlua::LuaString) -> Result<String, String> {
        let text = text.to_str().map_err(|_| "a string that is not UTF-8 cannot be stored")?;
        self.count(text.len())?;
        Ok(text.to_owned())
    }

    fn read_list(&mut self, table: &Table, len: usize, depth: usize) -> Result<Json, String> {
        self.count(len)?;
        if table.pairs::<Value, Value>().take(len + 1).count() != len {
            return Err("a table must be a list without gaps, or have only string keys".to_owned());
        }
        let element = |i| table.raw_get::<Value>(i).map_err(|error| error.to_string());
        (1..=len).map(|i| self.read(&element(i)?, depth)).collect::<Result<_, _>>().map(Json::Array)
    }

    fn read_map(&mut self, table: &Table, depth: usize) -> Result<Json, String> {
        let mut map = Map::new();
        for pair in table.pairs::<Value, Value>() {
            let (key, value) = pair.map_err(|error| error.to_string())?;
            let Value::String(key) = key else {
                return Err("a table must be a list without gaps, or have only string keys".to_owned());
            };
            map.insert(self.read_text(&key)?, self.read(&value, depth)?);
        }
        Ok(Json::Object(map))
    }

    fn count(&mut self, bytes: usize) -> Result<(), String> {
        self.left_bytes = self.left_bytes.checked_sub(bytes).ok_or_else(too_large)?;
        Ok(())
    }
}

fn too_large() -> String {
    format!("the value has more than {VALUE_BYTES_MAX} bytes as JSON")
}
