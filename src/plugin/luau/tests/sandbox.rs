//! The sandbox: no way out, and limits of time, memory and depth, after each of which the script continues.

use std::time::Instant;

use super::*;

#[test]
fn sandbox_has_no_way_out() {
    let body = "
        local found = {}
        for _, name in { 'require', 'loadstring', 'load', 'loadfile', 'dofile', 'io', 'package', 'debug', 'getfenv', 'setfenv',
            'newproxy', 'collectgarbage', 'gcinfo', 'vector', 'integer' } do
            if _G[name] ~= nil then table.insert(found, name) end
        end
        for _, name in { 'execute', 'exit', 'getenv', 'remove', 'rename', 'tmpname', 'setlocale' } do
            if os[name] ~= nil then table.insert(found, name) end
        end
        for _, library in { string, table, math, os, utf8, bit32, buffer, coroutine, chat, store, getmetatable('') } do
            if pcall(function() library.find = print end) then table.insert(found, 'a library that can be changed') end
        end
        local known = {}
        for name in getmetatable(_G).__index do table.insert(known, name) end
        table.sort(known)
        return { text = table.concat(found, ' ') .. '|' .. table.concat(known, ' ') }";
    let verdict = Case::on_message(body).load().message("hi").unwrap().verdict;
    let Verdict::Replace { text: Some(text), .. } = verdict else { panic!("{verdict:?}") };
    assert_eq!(
        text.as_str(),
        "|_VERSION assert bit32 buffer chat coroutine error getmetatable ipairs log math next os pairs pcall print rawequal \
         rawget rawlen rawset select setmetatable store string table tonumber tostring type typeof unpack utf8 xpcall"
    );
}

/// Returns a script that runs this body on the message `go`, and answers `fine` to every other.
fn hostile(body: &str) -> Case {
    let text = format!("function message(m)\n if m.text ~= 'go' then return {{ text = 'fine' }} end\n {body}\nend");
    Case::new(text, &[Hook::Message]).with(|config| config.timeout = HASTY)
}

/// Returns the failure of a body, and checks that the script continues. That check is repeated, for busy machines.
fn failure_of(body: &str, memory_bytes_max: u64) -> String {
    let case = hostile(body).with(|config| config.memory_bytes_max = Some(memory_bytes_max));
    let script = case.load();
    let failure = script.message("go").expect_err(body);
    let fine = (0..100).any(|_| script.message("hi") == Ok(replaced("fine").into()));
    assert!(fine, "the script must continue after {body}: {:?}", script.message("hi"));
    failure
}

#[test]
fn code_that_runs_too_long_is_stopped() {
    let endless = [
        "while true do end",
        "repeat until false",
        "for i = 1, math.huge do end",
        "while true do pcall(function() while true do end end) end",
        "while true do pcall(error) end",
        "local function f() pcall(f) pcall(f) end while true do f() end",
        "while true do xpcall(function() while true do end end, function() while true do end end) end",
        "xpcall(function() while true do end end, function() while true do end end)",
        "while true do coroutine.resume(coroutine.create(function() while true do end end)) end",
        "coroutine.wrap(function() while true do end end)()",
        "while true do pcall(coroutine.wrap(function() while true do coroutine.yield() end end)) end",
        "local function f() pcall(f) coroutine.wrap(function() pcall(f) end)() end while true do pcall(f) end",
        "string.rep('a', 30):find(('a?'):rep(30) .. ('a'):rep(30))",
        "while true do pcall(string.find, string.rep('a', 30), ('a?'):rep(30) .. ('a'):rep(30)) end",
        "string.rep('a', 30000):match('.-.-.-.-b')",
        "string.rep('a', 30000):gsub('(.-)(.-)(.-)b', '')",
        "for _ in string.rep('a', 30000):gmatch('.*.*.*b') do end",
        "return setmetatable({}, { __index = function() while true do end end }).x",
        "setmetatable({}, { __newindex = function() while true do end end }).x = 1",
        "return tostring(setmetatable({}, { __tostring = function() while true do end end }))",
        "log(setmetatable({}, { __tostring = function() while true do end end }))",
        "error(setmetatable({}, { __tostring = function() while true do end end }))",
        "return #setmetatable({}, { __len = function() while true do end end })",
        "for _ in setmetatable({}, { __iter = function() while true do end end }) do end",
        "return setmetatable({}, { __concat = function() while true do end end }) .. 'x'",
        "table.sort({ 3, 2, 1 }, function() while true do end end)",
        "while true do pcall(table.sort, table.create(1000, 0), function() error() end) end",
        "while true do pcall(table.sort, table.create(10000, 0), rawequal) end",
        "local a, b = ('x'):rep(1e6) .. 'a', ('x'):rep(1e6) .. 'b'
         local t = { a, b } while #t < 3e5 do table.move(t, 1, #t, #t + 1) end table.sort(t)",
        "string.gsub('xxx', '.', function() while true do end end)",
        "while true do chat.send('bob', 'hi') end",
        "while true do pcall(chat.send, 'bob', 'hi') end",
        "while true do pcall(store.set, 'k', ('x'):rep(60000)) end",
        "while true do pcall(chat.who) end",
        "while true do log('again') end",
        "while true do pcall(log, ('x'):rep(100000)) end",
        "while true do pcall(string.rep, 'x', 2^30) end",
        "while true do ('x'):rep(2^20):find(('x'):rep(60) .. 'y') end",
        "while true do table.move(table.create(1000, 0), 1, 1000, 2) end",
    ];
    for body in endless {
        let begun = Instant::now();
        let failure = failure_of(body, 16 * MIB);
        assert!(begun.elapsed() < PATIENT / 2, "{body} took {:?}", begun.elapsed());
        let by_effects = failure.contains("chat.send: the call has more than 256 effects");
        let by_time = failure.starts_with("message ran longer than ") && failure.ends_with("50 ms (timeout_ms)");
        assert!(by_time || by_effects, "{body}: {failure}");
    }
}

#[test]
fn code_that_takes_too_much_memory_is_stopped() {
    let large = [
        "string.rep('x', 2^30)",
        "local s = 'x' while true do s ..= s end",
        "local t = {} while true do t[#t + 1] = {} end",
        "table.create(2^26, 0)",
        "buffer.create(2^29)",
        "local t = {} while true do t[#t + 1] = coroutine.create(print) end",
        "local t = {} while true do t[#t + 1] = function() return t end end",
        "local function f(...) return f(1, ...) end f()",
        "string.format(('%s'):rep(100), table.unpack(table.create(100, ('x'):rep(1e5))))",
        "('x'):rep(1e5):gsub('x', ('y'):rep(1000))",
        "local t = {} for i = 1, 1e9 do t[i .. ''] = i end",
        "return { reject = ('x'):rep(2^30) }",
    ];
    for body in large {
        let failure = hostile(body)
            .with(|config| (config.timeout, config.memory_bytes_max) = (PATIENT, Some(4 * MIB)))
            .load()
            .message("go")
            .expect_err(body);
        assert!(failure.starts_with("message needed more than 4.0 MiB of memory (memory_max)"), "{body}: {failure}");
        failure_of(body, 4 * MIB);
    }
}

#[test]
fn script_whose_variables_fill_its_memory_is_restarted() {
    let body = "t = t or {} while true do t[#t + 1] = ('x'):rep(1000) .. #t end";
    let case = hostile(body).with(|config| (config.timeout, config.memory_bytes_max) = (PATIENT, Some(4 * MIB)));
    let script = case.load();
    for _ in 0..3 {
        assert_eq!(
            script.message("go").unwrap_err(),
            "message needed more than 4.0 MiB of memory (memory_max); its variables filled the memory, so it was restarted without \
             them"
        );
        assert_eq!(script.message("hi"), Ok(replaced("fine").into()));
    }
}

#[test]
fn garbage_does_not_fill_the_memory() {
    let body = "for i = 1, 2000 do local s = ('x'):rep(100000) .. i end for i = 1, 100000 do local t = { i } end";
    let case = Case::on_message(body).with(|config| config.memory_bytes_max = Some(4 * MIB));
    assert_eq!(case.load().message("hi"), Ok(Answer::default()));
}

#[test]
fn too_deep_nesting_fails() {
    let deep = [
        "local function f() return 1 + f() end f()",
        "local function f() return f() end f()",
        "local function f() pcall(f) error('deep') end f()",
        "local t = setmetatable({}, {}) getmetatable(t).__index = function(_, k) return t[k] end return t.x",
        "local function f() return (('x'):gsub('.', f)) end f()",
        "local function f() table.sort({ 2, 1 }, f) end f()",
        "local t = setmetatable({}, {}) getmetatable(t).__tostring = function() return tostring(t) end return tostring(t)",
        "local t = setmetatable({}, {}) getmetatable(t).__tostring = function() log(t) end log(t)",
        "local function f() coroutine.wrap(f)() end f()",
        "local function f() xpcall(error, f) f() end f()",
        "local function f() return setmetatable({}, { __lt = f, __eq = f }) < setmetatable({}, { __lt = f }) end f()",
        "('('):rep(100):find(('('):rep(100))",
        "string.rep('x', 300000):find(string.rep('x?', 200))\n error('deep')",
        "local t = {} for _ = 1, 100000 do t = { to = t } end return t",
    ];
    for body in deep {
        failure_of(body, 16 * MIB);
    }
}
