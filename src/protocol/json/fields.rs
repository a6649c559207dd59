//! Fields of a frame, each still as it was written: so a mistake in one leaves the others readable, above all the id. Owns how a field is
//! read; never what it means.

use std::collections::HashSet;
use std::fmt::{self, Display};

use serde::de::{DeserializeSeed, Error as _, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::message::{brief, quoted};
use crate::protocol::Code;

/// Mistake in a frame, without what became of the frame.
#[derive(Debug)]
pub(in crate::protocol) struct FieldError {
    pub(in crate::protocol) code: Code,
    pub(in crate::protocol) what: String,
}

impl FieldError {
    pub(in crate::protocol) fn new(code: Code, what: impl Display) -> Self {
        FieldError { code, what: what.to_string() }
    }
}

/// Field as it was written; `null` counts as missing.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::protocol) struct Field<'a>(Option<&'a RawValue>);

/// Fields of all frames of clients.
#[derive(Debug, Default)]
pub(in crate::protocol) struct Fields<'a> {
    kind: Option<String>,
    pub(in crate::protocol) id: Field<'a>,
    pub(in crate::protocol) name: Field<'a>,
    pub(in crate::protocol) password: Field<'a>,
    pub(in crate::protocol) old: Field<'a>,
    pub(in crate::protocol) new: Field<'a>,
    pub(in crate::protocol) acks: Field<'a>,
    pub(in crate::protocol) to: Field<'a>,
    pub(in crate::protocol) text: Field<'a>,
    pub(in crate::protocol) seq: Field<'a>,
    pub(in crate::protocol) room: Field<'a>,
    pub(in crate::protocol) with: Field<'a>,
    pub(in crate::protocol) before: Field<'a>,
    pub(in crate::protocol) limit: Field<'a>,
    pub(in crate::protocol) arguments: Field<'a>,
}

impl<'a> Fields<'a> {
    /// Reads a line, which must be one object. After a mistake, the fields before it are known.
    pub(in crate::protocol) fn read(&mut self, line: &'a str) -> Result<(), FieldError> {
        let mut kind = Field::default();
        let mut deserializer = serde_json::Deserializer::from_str(line);
        let read = Object { fields: self, kind: &mut kind }.deserialize(&mut deserializer);
        let read = read.and_then(|()| deserializer.end());
        let kind = kind.optional_string("type");
        self.kind = kind.as_ref().ok().cloned().flatten();
        read.map_err(|error| {
            FieldError::new(Code::BadRequest, format_args!("{} is not a JSON object: {}", quoted(line), brief(&error)))
        })?;
        kind.map(drop)
    }

    /// Returns the type of the frame.
    pub(in crate::protocol) fn kind(&self) -> Result<&str, FieldError> {
        self.kind.as_deref().ok_or_else(|| missing("type", "a string"))
    }
}

impl Field<'_> {
    /// Reads a string that must be there.
    pub(in crate::protocol) fn string(self, key: &str) -> Result<String, FieldError> {
        self.optional_string(key)?.ok_or_else(|| missing(key, "a string"))
    }

    /// Reads a string that may be missing.
    pub(in crate::protocol) fn optional_string(self, key: &str) -> Result<Option<String>, FieldError> {
        self.optional(key, "a string")
    }

    /// Reads a list of strings that must be there.
    pub(in crate::protocol) fn strings(self, key: &str) -> Result<Vec<String>, FieldError> {
        self.optional(key, "a list of strings")?.ok_or_else(|| missing(key, "a list of strings"))
    }

    /// Reads a whole number, not below zero, that must be there.
    pub(in crate::protocol) fn number(self, key: &str) -> Result<i64, FieldError> {
        self.optional_number(key)?.ok_or_else(|| missing(key, NUMBER))
    }

    /// Reads a whole number, not below zero, that may be missing.
    pub(in crate::protocol) fn optional_number(self, key: &str) -> Result<Option<i64>, FieldError> {
        let number = self.optional::<i64>(key, NUMBER)?;
        number.map_or(Ok(None), |number| if number < 0 { Err(self.wrong(key, NUMBER)) } else { Ok(Some(number)) })
    }

    /// Reads a value of any type that may be missing.
    pub(in crate::protocol) fn optional<T: for<'de> Deserialize<'de>>(
        self,
        key: &str,
        expected: &str,
    ) -> Result<Option<T>, FieldError> {
        match self.0.map(RawValue::get) {
            None | Some("null") => Ok(None),
            Some(raw) => serde_json::from_str(raw).map(Some).map_err(|_| self.wrong(key, expected)),
        }
    }

    fn wrong(self, key: &str, expected: &str) -> FieldError {
        let raw = self.0.map_or("null", RawValue::get);
        FieldError::new(Code::BadRequest, format_args!("\"{key}\" is {}; expected {expected}", quoted(raw)))
    }
}

const NUMBER: &str = "a whole number from 0";

fn missing(key: &str, expected: &str) -> FieldError {
    FieldError::new(Code::BadRequest, format_args!("\"{key}\" is missing; expected {expected}"))
}

/// Reader of an object into these fields.
struct Object<'f, 'a> {
    fields: &'f mut Fields<'a>,
    kind: &'f mut Field<'a>,
}

impl<'a> Object<'_, 'a> {
    /// Returns the field of this key; `None`: no frame has such a key.
    fn field(&mut self, key: &str) -> Option<&mut Field<'a>> {
        let fields = &mut *self.fields;
        Some(match key {
            "type" => &mut *self.kind,
            "id" => &mut fields.id,
            "name" => &mut fields.name,
            "password" => &mut fields.password,
            "old" => &mut fields.old,
            "new" => &mut fields.new,
            "acks" => &mut fields.acks,
            "to" => &mut fields.to,
            "text" => &mut fields.text,
            "seq" => &mut fields.seq,
            "room" => &mut fields.room,
            "with" => &mut fields.with,
            "before" => &mut fields.before,
            "limit" => &mut fields.limit,
            "arguments" => &mut fields.arguments,
            _ => return None,
        })
    }
}

impl<'a> DeserializeSeed<'a> for Object<'_, 'a> {
    type Value = ();

    fn deserialize<D: Deserializer<'a>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'a> Visitor<'a> for Object<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<M: MapAccess<'a>>(mut self, mut map: M) -> Result<(), M::Error> {
        let mut unknown = HashSet::new();
        let mut twice = None;
        while let Some(key) = map.next_key::<String>()? {
            match self.field(&key) {
                Some(field) if field.0.is_none() => *field = Field(Some(map.next_value()?)),
                Some(_) => {
                    map.next_value::<IgnoredAny>()?;
                    twice.get_or_insert(key);
                }
                None => {
                    map.next_value::<IgnoredAny>()?;
                    if let Some(key) = unknown.replace(key) {
                        twice.get_or_insert(key);
                    }
                }
            }
        }
        // Reported last, so that the id is known wherever it is.
        twice.map_or(Ok(()), |key| Err(M::Error::custom(format_args!("{} occurs twice", quoted(&key)))))
    }
}
