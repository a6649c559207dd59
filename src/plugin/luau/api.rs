//! Functions behind `chat`, `store` and `log` of a script; the prelude wraps them. Owns the effects of the current call; never
//! carries them out.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use mlua::{FromLuaMulti, IntoLuaMulti, Lua, Table, Value};
use parking_lot::{Mutex, MutexGuard};
use serde::de::Error as _;
use serde_json::Value as Json;

use super::deadline::Deadline;
use super::table::KnownTable;
use super::value::{kind, to_json, to_lua};
use crate::limits::{
    ANSWER_BYTES_MAX, DESTINATIONS_DEFAULT, EFFECTS_BYTES_MAX, EFFECTS_MAX, HISTORY_MESSAGES_DEFAULT,
    HISTORY_MESSAGES_MAX, LINE_BYTES_MAX, SCRIPT_LOG_LINES_MAX, VALUE_KEY_BYTES_MAX,
};
use crate::message::{Destination, PeerName, Room, Seq, Text, printable};
use crate::plugin::answer::{parse_destinations, parse_text};
use crate::plugin::{Effect, Failure, Host};
use crate::protocol::{HistoryRequest, Reply, Request, json};
use crate::timeout::{Elapsed, timeout_at};

/// Functions behind `chat`, `store` and `log`.
#[derive(Debug)]
pub(super) struct ScriptApi {
    name: PeerName,
    host: Arc<OnceLock<Host>>,
    deadline: Arc<Deadline>,
    current: Mutex<CurrentCall>,
}

/// State of the current call.
#[derive(Debug, Default)]
struct CurrentCall {
    /// Whether a hook is being called. The top level of a script can request nothing.
    is_called: bool,
    effects: Vec<Effect>,
    effects_bytes: usize,
    log_lines: u64,
    /// Values set by earlier calls of the batch, which the host may not have yet.
    set_before: BTreeMap<String, Option<Json>>,
}

/// Reason why a function has no result.
enum ApiError {
    /// Mistake of the script, which may catch the error.
    Fault(String),
    /// Limit of time or memory, or an error of the VM.
    Vm(mlua::Error),
}

impl From<String> for ApiError {
    fn from(what: String) -> Self {
        ApiError::Fault(what)
    }
}

impl From<Failure> for ApiError {
    fn from(failure: Failure) -> Self {
        ApiError::Fault(failure.to_string())
    }
}

impl From<mlua::Error> for ApiError {
    fn from(error: mlua::Error) -> Self {
        ApiError::Vm(error)
    }
}

impl ScriptApi {
    /// Returns the functions for a script. They fail until there is a host.
    pub(super) fn new(name: PeerName, host: Arc<OnceLock<Host>>, deadline: Arc<Deadline>) -> Self {
        ScriptApi { name, host, deadline, current: Mutex::default() }
    }

    /// Returns a table of the functions, for the prelude.
    pub(super) fn functions(self: &Arc<Self>, lua: &Lua) -> mlua::Result<Table> {
        let functions = lua.create_table()?;
        self.add(lua, &functions, "log", |api, _, line: mlua::LuaString| {
            api.log(&line.as_bytes());
            Ok(())
        })?;
        self.add(lua, &functions, "send", |api, _, (to, text)| api.send(&to, &text))?;
        self.add(lua, &functions, "join", |api, _, room| api.join("chat.join", &room, Effect::Join))?;
        self.add(lua, &functions, "leave", |api, _, room| api.join("chat.leave", &room, Effect::Leave))?;
        self.add(lua, &functions, "history", |api, lua, options| api.history(lua, options))?;
        self.add(lua, &functions, "search", |api, lua, options| api.search(lua, options))?;
        self.add(lua, &functions, "who", |api, lua, ()| api.request(lua, "chat.who", Request::Who))?;
        self.add(lua, &functions, "get", |api, lua, key| api.get(lua, &key))?;
        self.add(lua, &functions, "set", |api, _, (key, value)| api.set(&key, &value))?;
        Ok(functions)
    }

    /// Adds a function that returns an error text, or nil and its result.
    fn add<A, R>(
        self: &Arc<Self>,
        lua: &Lua,
        functions: &Table,
        name: &str,
        function: fn(&ScriptApi, &Lua, A) -> Result<R, ApiError>,
    ) -> mlua::Result<()>
    where
        A: FromLuaMulti + 'static,
        R: IntoLuaMulti + 'static,
    {
        let api = Arc::clone(self);
        let function = lua.create_function(move |lua, arguments: A| match function(&api, lua, arguments) {
            Ok(result) => (Value::Nil, result).into_lua_multi(lua),
            Err(ApiError::Fault(what)) => what.into_lua_multi(lua),
            Err(ApiError::Vm(error)) => Err(error),
        })?;
        functions.raw_set(name, function)
    }

    /// Starts a batch: the host has the values of all earlier batches.
    pub(super) fn begin_batch(&self) {
        self.current().set_before.clear();
    }

    /// Starts a call.
    pub(super) fn begin(&self) {
        self.current().is_called = true;
    }

    /// Ends the current call, and returns its effects in order.
    pub(super) fn end(&self) -> Vec<Effect> {
        let mut current = self.current();
        current.is_called = false;
        current.effects_bytes = 0;
        let lines_over = std::mem::take(&mut current.log_lines).saturating_sub(SCRIPT_LOG_LINES_MAX);
        let effects = std::mem::take(&mut current.effects);
        drop(current);
        if lines_over > 0 {
            self.write(&format!(
                "({lines_over} more lines of this call were left out; at most {SCRIPT_LOG_LINES_MAX} are logged)"
            ));
        }
        effects
    }

    /// Notes the values of a successful call, so that later calls of the batch see them.
    pub(super) fn note_values(&self, effects: &[Effect]) {
        for effect in effects {
            if let Effect::Set { key, value } = effect {
                self.current().set_before.insert(key.clone(), value.clone());
            }
        }
    }

    fn current(&self) -> MutexGuard<'_, CurrentCall> {
        self.current.lock()
    }

    fn log(&self, line: &[u8]) {
        let lines = {
            let mut current = self.current();
            current.log_lines += 1;
            current.log_lines
        };
        if lines <= SCRIPT_LOG_LINES_MAX {
            self.write(&String::from_utf8_lossy(&line[..line.len().min(LINE_BYTES_MAX)]));
        }
    }

    fn write(&self, line: &str) {
        match self.host.get() {
            Some(host) => host.log(line),
            None => log::info!("plugin {}: {}", self.name, printable(line)),
        }
    }

    fn send(&self, to: &Value, text: &Value) -> Result<(), ApiError> {
        let to = parse_destinations(&names(to)?).map_err(|failure| at("chat.send", failure))?;
        let text = string("chat.send", "the text", text, ANSWER_BYTES_MAX)?;
        let text: Text = parse_text(&text).map_err(|failure| at("chat.send", failure))?;
        self.push("chat.send", Effect::Send { id: None, to, text })
    }

    fn join(&self, function: &str, room: &Value, effect: fn(Room) -> Effect) -> Result<(), ApiError> {
        let room =
            Room::parse(&string(function, "the room", room, LINE_BYTES_MAX)?).map_err(|bad| at(function, bad))?;
        self.push(function, effect(room))
    }

    /// `chat.history { with = "bob", before = 42, limit = 50 }`
    fn history(&self, lua: &Lua, options: Option<Value>) -> Result<Value, ApiError> {
        let function = "chat.history";
        let read = |options| -> mlua::Result<_> {
            let options = KnownTable::new(&options, LINE_BYTES_MAX, &["with", "before", "limit"])?;
            Ok((options.text("with")?, options.number("before")?, options.number("limit")?))
        };
        let read = options.map(read).transpose().map_err(|error| mistake(function, error))?;
        let (with, before, limit) = read.unwrap_or_default();
        let with = with.map(|with| Destination::parse(&with)).transpose().map_err(|bad| at(function, bad))?;
        let count = parse_limit(function, limit)?;
        self.request(lua, function, Request::History(HistoryRequest { with, before: before.map(Seq::new), count }))
    }

    /// `chat.search { text = "boiler", limit = 20 }`
    fn search(&self, lua: &Lua, options: Value) -> Result<Value, ApiError> {
        let function = "chat.search";
        let read = |options| -> mlua::Result<_> {
            let options = KnownTable::new(&options, LINE_BYTES_MAX, &["text", "limit"])?;
            let text = options.text("text")?.ok_or_else(|| mlua::Error::missing_field("text"))?;
            Ok((text, options.number("limit")?))
        };
        let (text, limit) = read(options).map_err(|error| mistake(function, error))?;
        let words = Text::clean(&text).ok_or_else(|| at(function, "the text has no words"))?;
        self.request(lua, function, Request::Search { words, count: parse_limit(function, limit)? })
    }

    /// Sends a request to the broker, and blocks until the reply or the deadline of the call.
    fn request(&self, lua: &Lua, function: &str, request: Request) -> Result<Value, ApiError> {
        let host = self.host_of_call(function)?;
        match block_until(self.deadline.end(), host.ask(request)) {
            Ok(Ok(reply)) => Ok(reply_to_lua(lua, &reply)?),
            Ok(Err(refusal)) => Err(at(function, refusal.message)),
            // The VM stops the script at its next check.
            Err(Elapsed) => Err(at(function, "no reply in time")),
        }
    }

    fn get(&self, lua: &Lua, key: &Value) -> Result<Value, ApiError> {
        let key = parse_key("store.get", key)?;
        let host = self.host_of_call("store.get")?;
        let value = self.current().value(&key).unwrap_or_else(|| host.get(&key));
        Ok(to_lua(lua, &value)?)
    }

    fn set(&self, key: &Value, value: &Value) -> Result<(), ApiError> {
        let key = parse_key("store.set", key)?;
        let value = match value {
            Value::Nil => None,
            value => Some(to_json(value).map_err(|what| at("store.set", what))?),
        };
        self.push("store.set", Effect::Set { key, value })
    }

    fn push(&self, function: &str, effect: Effect) -> Result<(), ApiError> {
        self.host_of_call(function)?;
        let mut current = self.current();
        let bytes = current.effects_bytes + bytes_of(&effect);
        if current.effects.len() == EFFECTS_MAX {
            return Err(at(function, format_args!("the call has more than {EFFECTS_MAX} effects")));
        }
        if bytes > EFFECTS_BYTES_MAX {
            return Err(at(function, format_args!("the effects of the call have more than {EFFECTS_BYTES_MAX} bytes")));
        }
        current.effects_bytes = bytes;
        current.effects.push(effect);
        Ok(())
    }

    fn host_of_call(&self, function: &str) -> Result<&Host, ApiError> {
        match self.host.get() {
            Some(host) if self.current().is_called => Ok(host),
            _ => Err(at(function, "not available at the top level; call it in start() or in another hook")),
        }
    }
}

impl CurrentCall {
    /// Returns a value that was set and that the host may not have yet. `Some(None)` is a removed value.
    fn value(&self, key: &str) -> Option<Option<Json>> {
        let set = self.effects.iter().rev().find_map(|effect| match effect {
            Effect::Set { key: set, value } if set == key => Some(value),
            _ => None,
        });
        set.or_else(|| self.set_before.get(key)).cloned()
    }
}

/// Blocks the thread until the future resolves, or until the deadline.
pub(super) fn block_until<T>(deadline: Instant, future: impl Future<Output = T>) -> Result<T, Elapsed> {
    smol::block_on(timeout_at(deadline, future))
}

fn at(function: &str, what: impl std::fmt::Display) -> ApiError {
    ApiError::Fault(format!("{function}: {what}"))
}

/// Copies a string, unless it is too long.
fn string(function: &str, what: &str, value: &Value, bytes_max: usize) -> Result<String, ApiError> {
    match value {
        Value::String(text) if text.as_bytes().len() > bytes_max => {
            let bytes = text.as_bytes().len();
            Err(at(function, format_args!("{what} has {bytes} bytes; at most {bytes_max} are allowed")))
        }
        Value::String(text) => {
            text.to_str().map(|text| text.to_owned()).map_err(|_| at(function, format_args!("{what} is not UTF-8")))
        }
        other => Err(at(function, format_args!("{what} is a {}, not a string", kind(other)))),
    }
}

/// Reads a name, or a list of names.
fn names(to: &Value) -> Result<Vec<String>, ApiError> {
    let name = |value: &Value| string("chat.send", "the recipient", value, LINE_BYTES_MAX);
    match to {
        Value::Table(list) if list.raw_len() as u64 > DESTINATIONS_DEFAULT => {
            Err(at("chat.send", format_args!("the message has more than {DESTINATIONS_DEFAULT} recipients")))
        }
        Value::Table(list) => list.sequence_values().map(|value| name(&value?)).collect(),
        one => Ok(vec![name(one)?]),
    }
}

fn parse_key(function: &str, key: &Value) -> Result<String, ApiError> {
    match key {
        Value::String(text) if !(1..=VALUE_KEY_BYTES_MAX).contains(&text.as_bytes().len()) => {
            let bytes = text.as_bytes().len();
            Err(at(function, format_args!("the key has {bytes} bytes; 1 to {VALUE_KEY_BYTES_MAX} are allowed")))
        }
        key => string(function, "the key", key, VALUE_KEY_BYTES_MAX),
    }
}

fn parse_limit(function: &str, limit: Option<i64>) -> Result<usize, ApiError> {
    let Some(limit) = limit else { return Ok(HISTORY_MESSAGES_DEFAULT) };
    let count = usize::try_from(limit).ok().filter(|count| (1..=HISTORY_MESSAGES_MAX).contains(count));
    count.ok_or_else(|| at(function, format_args!("limit is {limit}; 1 to {HISTORY_MESSAGES_MAX} are allowed")))
}

/// Converts a reply to a table with the keys of its JSON frame; nil if it has none.
fn reply_to_lua(lua: &Lua, reply: &Reply) -> mlua::Result<Value> {
    let frame = serde_json::to_string(&json::reply_frame(None, reply)).expect("each frame is JSON");
    let frame: Json = serde_json::from_str(&frame).map_err(mlua::Error::external)?;
    to_lua(lua, &frame)
}

/// Names the function whose options have a mistake.
fn mistake(function: &str, error: mlua::Error) -> ApiError {
    match error {
        mlua::Error::DeserializeError(what) => at(function, what),
        error => ApiError::Vm(error),
    }
}

fn bytes_of(effect: &Effect) -> usize {
    match effect {
        Effect::Send { id: _, to, text } => text.len() + to.iter().map(|to| to.as_str().len()).sum::<usize>(),
        Effect::Join(room) | Effect::Leave(room) => room.as_str().len(),
        Effect::Set { key, value } => key.len() + value.as_ref().map_or(0, |value| value.to_string().len()),
    }
}
