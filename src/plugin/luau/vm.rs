//! VM of one script: its sandbox, its limits of time and memory, and the calls of its functions. Owns the texts of its failures;
//! never knows who waits for an answer.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use bytesize::ByteSize;
use mlua::chunk::{ChunkMode, Compiler};
use mlua::{Error, Function, Lua, LuaOptions, StdLib, Table, Value, Variadic, VmState};

use super::api::ScriptApi;
use super::deadline::Deadline;
use super::table::KnownTable;
use super::value::{kind, to_lua};
use super::{ScriptError, ScriptSource};
use crate::limits::{
    SCRIPT_ANSWER_BYTES_MAX, SCRIPT_DATE_BYTES_MAX, SCRIPT_ERROR_BYTES_MAX, SCRIPT_LOAD_MS_MAX,
    SCRIPT_MOVED_ELEMENTS_MAX, SCRIPT_SEARCH_STEPS_MAX,
};
use crate::message::printable;
use crate::plugin::answer::RawAnswer;
use crate::plugin::failure::shortened;
use crate::plugin::{Answer, Call, Failure, Hook, Host, MessageCall, Verdict};

/// Luau's own globals that a script has. None of them loads code, reads files, or inspects functions.
const GLOBALS: [&str; 28] = [
    "_VERSION",
    "assert",
    "bit32",
    "buffer",
    "coroutine",
    "error",
    "getmetatable",
    "ipairs",
    "math",
    "next",
    "os",
    "pairs",
    "pcall",
    "rawequal",
    "rawget",
    "rawlen",
    "rawset",
    "select",
    "setmetatable",
    "string",
    "table",
    "tonumber",
    "tostring",
    "type",
    "typeof",
    "unpack",
    "utf8",
    "xpcall",
];

/// Luau's error text when the memory limit is reached.
const NOT_ENOUGH_MEMORY: &str = "not enough memory";

/// Text between an error and the lines of the script that led to it.
const TRACEBACK: &str = "\nstack traceback:";

/// VM of a script that has run its top level, with the script's functions.
pub(super) struct Vm {
    lua: Lua,
    limits: ScriptLimits,
    deadline: Arc<Deadline>,
    api: Arc<ScriptApi>,
    prelude: Prelude,
    hooks: Vec<(Hook, Function)>,
}

/// Functions of the prelude that call those of the script, and keep errors short.
struct Prelude {
    /// Calls a function with its arguments.
    call: Function,
    /// Calls the function of `message` with the fields of a message in place of a table.
    call_message: Function,
}

impl Vm {
    /// Runs the top level of a script, and finds its functions.
    pub(super) fn new(source: &ScriptSource, host: Arc<OnceLock<Host>>) -> Result<Self, ScriptError> {
        let limits = ScriptLimits::of(source);
        let deadline = Arc::new(Deadline::new());
        let api = Arc::new(ScriptApi::new(source.config.name.clone(), host, Arc::clone(&deadline)));
        let run = run(source, &limits, &deadline, &api);
        drop(api.end());
        let faulty = |problem| ScriptError::Faulty { problem };
        if deadline.has_expired() {
            return Err(faulty(limits.located(limits.too_long("its top level", limits.load_time()))));
        }
        let (lua, prelude) = run.map_err(|error| faulty(limits.located(limits.shown("its top level", &error))))?;
        let mut hooks = Vec::with_capacity(source.config.hooks.len());
        for &hook in &source.config.hooks {
            // A metatable of the globals could run code of the script.
            let function = lua.globals().raw_get(hook.as_str()).map_err(|_| source.no_function(hook))?;
            hooks.push((hook, function));
        }
        Ok(Vm { lua, limits, deadline, api, prelude, hooks })
    }

    /// Starts a batch: the host has the values of all earlier batches.
    pub(super) fn begin_batch(&self) {
        self.api.begin_batch();
    }

    /// Calls the function of a hook, within `timeout_ms`.
    pub(super) fn call(&self, call: &Call) -> Result<Answer, Failure> {
        let hook = call.hook();
        let Some((_, function)) = self.hooks.iter().find(|(named, _)| *named == hook) else {
            return Ok(Answer::default());
        };
        self.deadline.start(Instant::now() + self.limits.timeout);
        self.api.begin();
        let verdict = self.run(hook, function, call);
        let effects = self.api.end();
        if self.deadline.has_expired() {
            return Err(Failure::new(self.limits.too_long(hook.as_str(), self.limits.timeout)));
        }
        let verdict = verdict?;
        self.api.note_values(&effects);
        Ok(Answer { verdict, effects })
    }

    fn run(&self, hook: Hook, function: &Function, call: &Call) -> Result<Verdict, Failure> {
        let returned = match call {
            Call::Message(MessageCall { from, to, text }) => self
                .without_limit(|lua| {
                    let to =
                        to.iter().map(|to| lua.create_string(to.as_str())).collect::<mlua::Result<Variadic<_>>>()?;
                    Ok((lua.create_string(from.as_str())?, lua.create_string(text.as_str())?, to))
                })
                .and_then(|(from, text, to)| self.prelude.call_message.call((function, from, text, to))),
            call => self
                .without_limit(|lua| to_lua(lua, call))
                .and_then(|argument| self.prelude.call.call((function, argument))),
        };
        let returned = returned.map_err(|error| self.failure(hook, &error))?;
        match returned {
            Value::Nil => Ok(Verdict::Pass),
            Value::Table(_) => self.read(hook, &returned)?.verdict(hook),
            other => Err(Failure::new(format!(
                "{} returned a {}; return nothing, or a table such as {{ reject = \"reason\" }}",
                hook.as_str(),
                kind(&other)
            ))),
        }
    }

    /// Makes the arguments of a function without the memory limit, which they are too small to matter for. This saves half of the
    /// time, because mlua need not protect each step against a failing allocation.
    fn without_limit<T>(&self, make: impl FnOnce(&Lua) -> mlua::Result<T>) -> mlua::Result<T> {
        self.lua.set_memory_limit(0)?;
        let made = make(&self.lua);
        self.lua.set_memory_limit(self.limits.memory_bytes_max)?;
        made
    }

    fn read(&self, hook: Hook, returned: &Value) -> Result<RawAnswer, Failure> {
        raw_answer(returned).map_err(|error| match error {
            Error::DeserializeError(what) => {
                Failure::new(format!("{} returned an invalid answer: {}", hook.as_str(), cut(&what)))
            }
            error => self.failure(hook, &error),
        })
    }

    fn failure(&self, hook: Hook, error: &Error) -> Failure {
        Failure::new(self.limits.shown(hook.as_str(), error))
    }

    /// Whether so much memory is in use, not counting garbage, that the next call would fail, too.
    pub(super) fn is_full(&self) -> bool {
        let full = self.limits.memory_bytes_max / 4 * 3;
        self.lua.used_memory() > full && self.lua.gc_collect().is_ok_and(|()| self.lua.used_memory() > full)
    }
}

fn raw_answer(returned: &Value) -> mlua::Result<RawAnswer> {
    let table = KnownTable::new(returned, SCRIPT_ANSWER_BYTES_MAX, &RawAnswer::KEYS)?;
    Ok(RawAnswer {
        id: table.text("id")?,
        reject: table.text("reject")?,
        drop: table.flag("drop")?,
        text: table.text("text")?,
        to: table.texts("to")?,
        allow: table.flag("allow")?,
        answer: table.text("answer")?,
        error: table.text("error")?,
    })
}

/// Makes a VM and runs the top level of the script.
fn run(
    source: &ScriptSource,
    limits: &ScriptLimits,
    deadline: &Arc<Deadline>,
    api: &Arc<ScriptApi>,
) -> mlua::Result<(Lua, Prelude)> {
    let libraries = StdLib::COROUTINE | StdLib::TABLE | StdLib::OS | StdLib::STRING | StdLib::UTF8 | StdLib::BIT;
    // The prelude needs `debug` to find the line of an error; scripts do not get it.
    let libraries = libraries | StdLib::MATH | StdLib::BUFFER | StdLib::DEBUG;
    let lua = Lua::new_with(libraries, LuaOptions::default())?;
    lua.set_memory_limit(limits.memory_bytes_max)?;
    let prelude = install_globals(&lua, api)?;
    lua.sandbox(true)?;
    let globals = lua.globals();
    globals.raw_set("_G", &globals)?;
    globals.raw_set("name", source.config.name.as_str())?;
    globals.raw_set("settings", to_lua(&lua, &source.config.settings)?)?;
    #[cfg(test)]
    globals
        .raw_set("panic", lua.create_function(|_, ()| -> mlua::Result<()> { panic!("a test requested a panic") })?)?;
    deadline.start(Instant::now() + limits.load_time());
    let interrupted = Arc::clone(deadline);
    lua.set_interrupt(
        move |_| if interrupted.check() { Err(Error::runtime("too long")) } else { Ok(VmState::Continue) },
    );
    // Luau does not check bytecode, which could do anything to the server.
    let script = lua.load(source.text.as_str()).set_mode(ChunkMode::Text).set_name(format!("={}", limits.path));
    prelude.call.call::<()>(script.into_function()?)?;
    Ok((lua, prelude))
}

/// Removes all globals that a script may not use, and adds those of the prelude.
fn install_globals(lua: &Lua, api: &Arc<ScriptApi>) -> mlua::Result<Prelude> {
    let globals = lua.globals();
    let info: Function = globals.get::<Table>("debug")?.get("info")?;
    for pair in globals.pairs::<String, Value>() {
        let (name, _) = pair?;
        if !GLOBALS.contains(&name.as_str()) {
            globals.raw_set(name, Value::Nil)?;
        }
    }
    let limits = lua.create_table()?;
    limits.raw_set("search", SCRIPT_SEARCH_STEPS_MAX)?;
    limits.raw_set("move", SCRIPT_MOVED_ELEMENTS_MAX)?;
    limits.raw_set("date", SCRIPT_DATE_BYTES_MAX)?;
    limits.raw_set("error", SCRIPT_ERROR_BYTES_MAX)?;
    limits.raw_set("no_memory", NOT_ENOUGH_MEMORY)?;
    limits.raw_set("frame", format!("{TRACEBACK}\n"))?;
    let prelude = lua.load(include_str!("prelude.luau")).set_name("=holdline");
    let prelude = prelude.set_compiler(Compiler::new().set_debug_level(0));
    let (call, call_message) = prelude.call((api.functions(lua)?, limits, info))?;
    Ok(Prelude { call, call_message })
}

/// Limits of a script, and the texts of failures, which name them.
struct ScriptLimits {
    path: String,
    timeout: Duration,
    memory_bytes_max: usize,
}

impl ScriptLimits {
    fn of(source: &ScriptSource) -> Self {
        ScriptLimits {
            path: source.config.path.display().to_string(),
            timeout: source.config.timeout,
            memory_bytes_max: source.memory_bytes_max(),
        }
    }

    /// Returns the time for the top level, which no client waits for, and which may prepare data for the calls.
    fn load_time(&self) -> Duration {
        self.timeout.max(Duration::from_millis(SCRIPT_LOAD_MS_MAX))
    }

    fn too_long(&self, what: &str, timeout: Duration) -> String {
        let key = if timeout == self.timeout { " (timeout_ms)" } else { "" };
        format!("{what} ran longer than {} ms{key}", timeout.as_millis())
    }

    fn shown(&self, what: &str, error: &Error) -> String {
        let error = root(error);
        let (text, frames) = match error {
            Error::RuntimeError(text) => {
                let (text, frames) = text.split_once(TRACEBACK).unwrap_or((text, ""));
                (text.to_owned(), frames)
            }
            Error::SyntaxError { message, .. } => (message.clone(), ""),
            error => (error.to_string(), ""),
        };
        let text = text.lines().next().unwrap_or_default();
        if matches!(error, Error::MemoryError(_)) || text.ends_with(NOT_ENOUGH_MEMORY) {
            let memory_max = ByteSize(self.memory_bytes_max as u64).display().iec();
            return format!("{what} needed more than {memory_max} of memory (memory_max)");
        }
        format!("{what} failed: {}", cut(&self.placed(text, frames)))
    }

    /// Adds the line of the script to an error that lacks it.
    fn placed(&self, text: &str, frames: &str) -> String {
        // An error in the prelude was caused by the line of the script that called it.
        let text = text.strip_prefix("holdline:0: ").unwrap_or(text);
        match frames.lines().find_map(|frame| self.line_of(frame.trim())) {
            Some(line) if self.line_of(text).is_none() => format!("{}:{line}: {text}", self.path),
            _ => text.to_owned(),
        }
    }

    fn line_of(&self, place: &str) -> Option<u32> {
        let (line, _) = place.strip_prefix(&self.path)?.strip_prefix(':')?.split_once(':')?;
        line.parse().ok()
    }

    /// Adds the path of the script, for failures that are reported without the plugin's name.
    fn located(&self, words: String) -> String {
        match words.strip_prefix("its top level failed: ") {
            Some(words) if words.starts_with(&self.path) => words.to_owned(),
            _ => format!("{}: {words}", self.path),
        }
    }
}

/// Unwraps callback errors, down to the original error.
fn root(error: &Error) -> &Error {
    match error {
        Error::CallbackError { cause, .. } => root(cause),
        error => error,
    }
}

fn cut(words: &str) -> String {
    printable(&shortened(words.to_owned())).into_owned()
}
