//! Loading: which scripts are refused, with which words, and what the top level can do.

use super::*;
use crate::limits::SCRIPT_BYTES_MAX;

#[test]
fn faulty_script_is_refused_with_line_and_fix() {
    let message = [Hook::Message];
    let refusal = |text: &str| Case::new(text, &message).refusal();
    assert_eq!(
        refusal("local x = 1\nfunction message(m)\n"),
        "test.luau:3: Expected 'end' (to close 'function' at line 2), got <eof>"
    );
    assert_eq!(refusal("\nlocal x = nil + 1"), "test.luau:2: attempt to perform arithmetic (add) on nil and number");
    assert_eq!(refusal("error('no words')"), "test.luau:1: no words");
    assert_eq!(refusal("\nerror({})").split(": ").next(), Some("test.luau:2"));
    let missing = "test.luau: the function message is missing, and tester has the hook \"message\"; add a global `function \
                   message(…) … end`, or remove \"message\" from hooks";
    assert_eq!(refusal("function mesage(m) end"), missing);
    assert_eq!(refusal("local function message(m) end"), missing);
    assert_eq!(refusal("message = 'hello'"), missing);
    assert_eq!(refusal("message = setmetatable({}, { __call = print })"), missing);
    assert_eq!(
        Case::new(b"-- one\n-- \xff\n", &message).refusal(),
        "test.luau:2: this line is not UTF-8; save the file as UTF-8"
    );
    assert_eq!(
        Case::new(" ".repeat(SCRIPT_BYTES_MAX + 1), &message).refusal(),
        "test.luau has more than 262144 bytes; move its data to `store`"
    );
    assert!(Script::load(&Case::new(" ".repeat(SCRIPT_BYTES_MAX), &[]).config).is_ok());
    let absent = Case::new("", &message).with(|config| config.path.set_extension("lua").then_some(()).unwrap());
    assert_eq!(absent.refusal(), "test.lua cannot be read: No such file or directory (os error 2)");
    let directory = Case::new("", &message).with(|config| config.path = config.directory.clone());
    assert!(directory.refusal().contains("is a directory and not a file"));
}

#[test]
fn bytecode_is_refused() {
    let bytecode =
        b"\x06\x03\x01\x01f\x01\x02\x00\x00\x01\x02\x00\x02\xa3\x00\x00\x00\x16\x00\x01\x00\x00\x00\x01\x01\x00\x00";
    let refusal = "test.luau is compiled bytecode, which the server does not run; name its source instead";
    assert_eq!(Case::new(bytecode, &[Hook::Message]).refusal(), refusal);
    for version in 0..=8 {
        assert_eq!(Case::new([version], &[Hook::Message]).refusal(), refusal);
    }
}

#[test]
fn script_with_line_ends_of_windows_works() {
    let script = Case::new("-- one\r\nfunction message(m)\r\n return { text = 'fine' }\r\nend\r\n", &[Hook::Message]);
    assert_eq!(script.load().message("hi").unwrap().verdict, replaced("fine"));
}

#[test]
fn limits_hold_for_the_top_level() {
    let endless = Case::new("while true do end", &[]).with(|config| config.timeout = HASTY);
    assert_eq!(endless.refusal(), "test.luau: its top level ran longer than 1000 ms");
    let large = Case::new("t = table.create(1e7, 0)", &[]);
    assert_eq!(large.refusal(), "test.luau: its top level needed more than 16.0 MiB of memory (memory_max)");
}

#[test]
fn source_that_is_nested_too_deep_is_refused() {
    let deep = |open: &str, inner: &str, close: &str| {
        let depth = SCRIPT_BYTES_MAX / (open.len() + close.len()) - 10;
        Case::new(format!("x = {}{inner}{}", open.repeat(depth), close.repeat(depth)), &[]).refusal()
    };
    let nested = [
        ("(", "1", ")"),
        ("{", "", "}"),
        ("{{}, ", "1", "}"),
        ("f(", "", ")"),
        ("f{", "", "}"),
        ("- ", "1", ""),
        ("not ", "1", ""),
        ("1 .. ", "1", ""),
        ("1 ^ ", "1", ""),
        ("1 + ", "1", ""),
        ("f", "", "()"),
        ("f", "", ".x"),
        ("if a then b else ", "c", ""),
        ("function() return ", "1", " end"),
        ("`{", "1", "}`"),
        ("1 x = function() do ", "", " end end"),
        ("1 do ", "", " end"),
        ("1 local x: {", "number", "}"),
        ("1 local x: () -> ", "number", ""),
        ("1 if a then b() else", " if a then end", ""),
    ];
    for (open, inner, close) in nested {
        let refusal = deep(open, inner, close);
        assert!(refusal.starts_with("test.luau:"), "{open}: {refusal}");
    }
}

#[test]
fn top_level_has_settings_and_name_and_cannot_use_the_chat() {
    let text = "
        words = settings.words
        none = settings.none
        log('at the top level', name)
        print(settings)
        local function problem(f, ...)
            local ok, what = pcall(f, ...)
            return if ok then 'no problem' else what
        end
        problems = table.concat({ problem(chat.send, 'bob', 'hi'), problem(store.get, 'key'), problem(chat.who) }, '|')
        function message(m)
            return { text = `{name} {words[1]} {#words} {none} {settings.deep.er} {problems}` }
        end";
    let settings = json!({ "words": ["heck", "darn"], "none": null, "deep": { "er": true } });
    let script = Case::new(text, &[Hook::Message]).with(|config| config.settings = settings).load();
    let nothing = "not available at the top level; call it in start() or in another hook";
    let problems = format!("chat.send: {nothing}|store.get: {nothing}|chat.who: {nothing}");
    assert_eq!(script.message("hi").unwrap().verdict, replaced(&format!("tester heck 2 nil true {problems}")));
}
