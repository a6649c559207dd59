//! The VM of one script: what it may use, how long and how much, and how its functions are called. Owns the sandbox and the words
//! of its failures; never knows who waits for an answer.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use mlua::chunk::Compiler;
use mlua::{Error, Function, Lua, LuaOptions, LuaSerdeExt, StdLib, Value, Variadic, VmState};

use super::api::{ScriptApi, to_lua};
use super::deadline::Deadline;
use super::value::kind;
use super::{ScriptError, ScriptSource};
use crate::limits::{
    SCRIPT_DATE_BYTES_MAX, SCRIPT_ERROR_CHARS_MAX, SCRIPT_LOAD_MS, SCRIPT_MOVE_MAX, SCRIPT_SEARCH_MAX,
};
use crate::message::printable;
use crate::plugin::answer::RawAnswer;
use crate::plugin::{Answer, Call, Failure, Hook, Host, MessageCall, Verdict};

/// What of Luau's own globals a script has: nothing that loads code, reads files, or reaches into functions.
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

/// How Luau says that memory is over.
const NOT_ENOUGH_MEMORY: &str = "not enough memory";

/// A script that has run its top level, with its functions.
pub(super) struct Vm {
    lua: Lua,
    limits: ScriptLimits,
    deadline: Arc<Deadline>,
    api: Arc<ScriptApi>,
    /// The function of each hook. That of `message` takes the fields of a message: see the prelude.
    hooks: Vec<(Hook, Function)>,
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
        if deadline.has_stopped() {
            return Err(faulty(limits.located(limits.too_long("its top level", limits.load_time()))));
        }
        let (lua, of_message) = run.map_err(|error| faulty(limits.located(limits.shown("its top level", &error))))?;
        let mut hooks = Vec::with_capacity(source.config.hooks.len());
        for &hook in &source.config.hooks {
            let function = lua.globals().get(hook.as_str()).map_err(|_| source.no_function(hook))?;
            let called = if hook == Hook::Message { of_message.call(function) } else { Ok(function) };
            hooks.push((hook, called.map_err(|error| faulty(limits.located(limits.shown("its top level", &error))))?));
        }
        Ok(Vm { lua, limits, deadline, api, hooks })
    }

    /// What the calls before have set is with the host.
    pub(super) fn begin_batch(&self) {
        self.api.begin_batch();
    }

    /// Calls the function of a hook: it has as long as the configuration says.
    pub(super) fn call(&self, call: &Call) -> Result<Answer, Failure> {
        let hook = call.hook();
        let Some((_, function)) = self.hooks.iter().find(|(named, _)| *named == hook) else {
            return Ok(Answer::default());
        };
        self.deadline.start(Instant::now() + self.limits.timeout);
        self.api.begin();
        let verdict = self.ask(hook, function, call);
        let effects = self.api.end();
        if self.deadline.has_stopped() {
            return Err(Failure::new(self.limits.too_long(hook.as_str(), self.limits.timeout)));
        }
        let verdict = verdict?;
        self.api.keep(&effects);
        Ok(Answer { verdict, effects })
    }

    fn ask(&self, hook: Hook, function: &Function, call: &Call) -> Result<Verdict, Failure> {
        let returned = match call {
            Call::Message(MessageCall { from, to, text }) => self
                .without_limit(|lua| {
                    let to =
                        to.iter().map(|to| lua.create_string(to.as_str())).collect::<mlua::Result<Variadic<_>>>()?;
                    Ok((lua.create_string(from.as_str())?, lua.create_string(text.as_str())?, to))
                })
                .and_then(|fields| function.call(fields)),
            call => self.without_limit(|lua| to_lua(lua, call)).and_then(|call| function.call(call)),
        };
        let returned = returned.map_err(|error| self.failure(hook, &error))?;
        match returned {
            Value::Nil => Ok(Verdict::Pass),
            Value::Table(_) => self.read(hook, returned)?.verdict(hook),
            other => Err(Failure::new(format!(
                "{} returned a {}; nothing, or a table as {{ reject = \"why\" }}, is wanted",
                hook.as_str(),
                kind(&other)
            ))),
        }
    }

    /// Makes what a function is called with, which is small. That its memory is not held to the limit saves half of the time: no
    /// part of it needs to be ready to be undone.
    fn without_limit<T>(&self, make: impl FnOnce(&Lua) -> mlua::Result<T>) -> mlua::Result<T> {
        self.lua.set_memory_limit(0)?;
        let made = make(&self.lua);
        self.lua.set_memory_limit(self.limits.memory_bytes_max)?;
        made
    }

    fn read(&self, hook: Hook, returned: Value) -> Result<RawAnswer, Failure> {
        self.lua.from_value(returned).map_err(|error| match error {
            Error::DeserializeError(what) => {
                Failure::new(format!("what {} returned is no answer: {}", hook.as_str(), cut(&what)))
            }
            error => self.failure(hook, &error),
        })
    }

    fn failure(&self, hook: Hook, error: &Error) -> Failure {
        Failure::new(self.limits.shown(hook.as_str(), error))
    }

    /// Whether so much memory is in use that what comes next would fail for it too. What nothing refers to does not count.
    pub(super) fn is_full(&self) -> bool {
        let full = self.limits.memory_bytes_max / 4 * 3;
        self.lua.used_memory() > full && self.lua.gc_collect().is_ok_and(|()| self.lua.used_memory() > full)
    }
}

/// Runs the top level in a VM of its own; also gives what makes a function that takes the fields of a message of one that takes
/// its table.
fn run(
    source: &ScriptSource,
    limits: &ScriptLimits,
    deadline: &Arc<Deadline>,
    api: &Arc<ScriptApi>,
) -> mlua::Result<(Lua, Function)> {
    let libraries = StdLib::COROUTINE | StdLib::TABLE | StdLib::OS | StdLib::STRING | StdLib::UTF8 | StdLib::BIT;
    let lua = Lua::new_with(libraries | StdLib::MATH | StdLib::BUFFER, LuaOptions::default())?;
    lua.set_memory_limit(limits.memory_bytes_max)?;
    let of_message = install_globals(&lua, api)?;
    lua.sandbox(true)?;
    let globals = lua.globals();
    globals.raw_set("_G", &globals)?;
    globals.raw_set("name", source.config.name.as_str())?;
    globals.raw_set("settings", to_lua(&lua, &source.config.settings)?)?;
    #[cfg(test)]
    globals.raw_set("panic", lua.create_function(|_, ()| -> mlua::Result<()> { panic!("a test wants it") })?)?;
    deadline.start(Instant::now() + limits.load_time());
    let asked = Arc::clone(deadline);
    lua.set_interrupt(move |_| if asked.stops() { Err(Error::runtime("too long")) } else { Ok(VmState::Continue) });
    lua.load(source.text.as_str()).set_name(format!("={}", limits.path)).exec()?;
    Ok((lua, of_message))
}

/// Leaves what a script may use, and adds what the prelude makes.
fn install_globals(lua: &Lua, api: &Arc<ScriptApi>) -> mlua::Result<Function> {
    let globals = lua.globals();
    for pair in globals.pairs::<String, Value>() {
        let (name, _) = pair?;
        if !GLOBALS.contains(&name.as_str()) {
            globals.raw_set(name, Value::Nil)?;
        }
    }
    let limits = lua.create_table()?;
    limits.raw_set("search", SCRIPT_SEARCH_MAX)?;
    limits.raw_set("move", SCRIPT_MOVE_MAX)?;
    limits.raw_set("date", SCRIPT_DATE_BYTES_MAX)?;
    let prelude = lua.load(include_str!("prelude.luau")).set_name("=holdline");
    prelude.set_compiler(Compiler::new().set_debug_level(0)).call((api.functions(lua)?, limits))
}

/// What a script is held to; and the words of what goes wrong, which name it.
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

    /// Nobody waits for the top level: it may prepare what the calls use.
    fn load_time(&self) -> Duration {
        self.timeout.max(Duration::from_millis(SCRIPT_LOAD_MS))
    }

    fn too_long(&self, what: &str, timeout: Duration) -> String {
        let key = if timeout == self.timeout { " (timeout_ms)" } else { "" };
        format!("{what} ran longer than {} ms{key}", timeout.as_millis())
    }

    fn shown(&self, what: &str, error: &Error) -> String {
        let error = root(error);
        let (text, frames) = match error {
            Error::RuntimeError(text) => {
                let (text, frames) = text.split_once("\nstack traceback:").unwrap_or((text, ""));
                (text.to_owned(), frames)
            }
            Error::SyntaxError { message, .. } => (message.clone(), ""),
            error => (error.to_string(), ""),
        };
        let text = text.lines().next().unwrap_or_default();
        if matches!(error, Error::MemoryError(_)) || text.ends_with(NOT_ENOUGH_MEMORY) {
            return format!("{what} needed more than {} of memory (memory_max)", size(self.memory_bytes_max));
        }
        format!("{what} failed: {}", cut(&self.placed(text, frames)))
    }

    /// An error with the line of the script in which it came up, where it does not say so.
    fn placed(&self, text: &str, frames: &str) -> String {
        // The prelude is called by a line of the script.
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

    /// The same words where nobody knows yet which script they are about.
    fn located(&self, words: String) -> String {
        match words.strip_prefix("its top level failed: ") {
            Some(words) if words.starts_with(&self.path) => words.to_owned(),
            _ => format!("{}: {words}", self.path),
        }
    }
}

/// The error itself, out of those that were wrapped around it.
fn root(error: &Error) -> &Error {
    match error {
        Error::CallbackError { cause, .. } => root(cause),
        error => error,
    }
}

fn cut(words: &str) -> String {
    let mut chars = words.chars();
    let shown: String = chars.by_ref().take(SCRIPT_ERROR_CHARS_MAX).collect();
    let cut = if chars.next().is_some() { "…" } else { "" };
    printable(&shown) + cut
}

fn size(bytes: usize) -> String {
    let mib = 1024 * 1024;
    if bytes.is_multiple_of(mib) { format!("{} MiB", bytes / mib) } else { format!("{bytes} bytes") }
}
