//! Calls: the fields that a hook gets, the answers that it may return, and the words of its failures.

use super::*;
use crate::plugin::{CommandCall, ConnectCall};

#[test]
fn message_call_has_its_fields() {
    let body = "return { text = `{m.hook} {m.from} {table.concat(m.to, '+')} {#m.to} {m.text}` }";
    let script = Case::on_message(body).load();
    assert_eq!(script.message("hi").unwrap().verdict, replaced("message alice bob+#home 2 hi"));
}

#[test]
fn other_calls_have_the_fields_of_json() {
    let text = "
        local function fields(t)
            local pairs_of = {}
            for key, value in t do
                table.insert(pairs_of, `{key}={if type(value) == 'table' then table.concat(value, '+') else value}`)
            end
            table.sort(pairs_of)
            return table.concat(pairs_of, ' ')
        end
        function logged(m) log(fields(m)) store.set('fields', fields(m)) end
        function command(m) return { answer = fields(m) } end
        function connect(m) return { reject = fields(m) } end
        function start(m) store.set('start', m.settings.list) end
        function stop(m) store.set('stop', m.hook) end";
    let hooks = [Hook::Logged, Hook::Command, Hook::Connect, Hook::Start, Hook::Stop];
    let script = Case::new(text, &hooks).load();
    let fields = "at=1970-01-01T00:00:00.000Z away=bob from=alice hook=logged seq=7 text=hi to=bob";
    assert_eq!(script.call(logged("hi")).unwrap().effects, [set("fields", Some(json!(fields)))]);
    let command = CommandCall { from: name("alice"), command: "roll".into(), arguments: "2d6".into() };
    let answer = script.call(Call::Command(command)).unwrap();
    assert_eq!(answer.verdict, Verdict::Reply("arguments=2d6 command=roll from=alice hook=command".into()));
    let connect = ConnectCall { address: "::1".parse().unwrap(), protocol: "plain", tls: false };
    let answer = script.call(Call::Connect(connect)).unwrap();
    assert_eq!(answer.verdict, Verdict::Reject("address=::1 hook=connect protocol=plain tls=false".into()));
    let start = script.call(Call::Start { settings: json!({ "list": [1, 2.5, "three"] }) }).unwrap();
    assert_eq!(start.effects, [set("start", Some(json!([1, 2.5, "three"])))]);
    assert_eq!(script.call(Call::Stop).unwrap().effects, [set("stop", Some(json!("stop")))]);
    assert_eq!(script.message("hi"), Ok(Answer::default()), "the script has no hook message");
}

#[test]
fn return_value_is_the_answer() {
    let answers = [
        ("", Verdict::Pass),
        ("return nil", Verdict::Pass),
        ("return {}", Verdict::Pass),
        ("return { reject = 'why' }", Verdict::Reject("why".into())),
        ("return { drop = true }", Verdict::Drop),
        (
            "return { text = 'b', to = { 'carol', 'carol' } }",
            Verdict::Replace { to: Some(to(&["carol"])), text: Some(text("b")) },
        ),
    ];
    for (body, verdict) in answers {
        assert_eq!(Case::on_message(body).load().message("hi"), Ok(verdict.into()), "{body}");
    }
    let failures = [
        ("return 5", "message returned a number; return nothing, or a table such as { reject = \"reason\" }"),
        ("return 'no'", "message returned a string; return nothing, or a table such as { reject = \"reason\" }"),
        ("return false", "message returned a boolean; return nothing, or a table such as { reject = \"reason\" }"),
        ("return { allow = true }", "the answer to message has a verdict that this hook does not allow"),
        ("return { drop = true, text = 'x' }", "the answer to message has two verdicts"),
        ("return { text = ' ' }", "the text is empty"),
        ("return { to = {} }", "the message has no recipient"),
        ("return { error = 'no idea' }", "message failed: no idea"),
    ];
    for (body, failure) in failures {
        assert_eq!(Case::on_message(body).load().message("hi"), Err(failure.into()), "{body}");
    }
    let unfit = [
        ("return { rejct = 'why' }", "unknown field `rejct`, expected one of"),
        ("return { reject = 5 }", "invalid type: integer `5`, expected a string"),
        ("return { reject = print }", "unsupported value type `function`"),
        ("return { drop = 'yes' }", "invalid type: string \"yes\", expected a boolean"),
        ("return { to = 'carol' }", "invalid type: string, expected table"),
        ("return { to = { 5 } }", "invalid type: integer `5`, expected a string"),
        ("return { 'why' }", "invalid type"),
        ("return { reject = '\\xff' }", "invalid"),
        ("local t = {} t.to = { t } return t", ""),
        ("return { to = table.create(25, ('x'):rep(1e6)) }", "the value has more than 65536 bytes"),
        ("return { to = table.create(1e5, true) }", "the value has more than 65536 bytes"),
        ("return { [('x'):rep(1e6)] = true }", "the value has more than 65536 bytes"),
        ("return { text = buffer.create(1e6) }", "the value has more than 65536 bytes"),
    ];
    for (body, words) in unfit {
        let failure = Case::on_message(body).load().message("hi").unwrap_err();
        let what = failure.strip_prefix("message returned an invalid answer: ").unwrap_or_else(|| panic!("{failure}"));
        assert!(what.contains(words), "{body}: {failure}");
    }
}

#[test]
fn error_has_its_line() {
    let errors = [
        ("\n\n local x = m.none.field", "message failed: test.luau:3: attempt to index nil with 'field'"),
        ("\n error('this is wrong')", "message failed: test.luau:2: this is wrong"),
        ("\n chat.send('no one!', 'hi')", "message failed: test.luau:2: chat.send: \"no one!\" contains"),
        ("\n\n m.text:find('(')", "message failed: test.luau:3: unfinished capture"),
        ("\n string.find()", "message failed: test.luau:2: invalid argument #1 to 'find' (string expected, got nil)"),
        ("\n store.set('k', print)", "message failed: test.luau:2: store.set: a function cannot be stored"),
        ("\n table.sort({ 1, 'x' })", "message failed: test.luau:2: attempt to compare"),
        ("\n error('one\\ntwo')", "message failed: test.luau:2: one"),
        ("\n error('\\27[31m')", "message failed: test.luau:2: \u{fffd}[31m"),
        ("\n error(setmetatable({}, { __tostring = error }))", "message failed: "),
        ("\n error()", "message failed: "),
    ];
    for (body, words) in errors {
        let failure = Case::on_message(body).load().message("hi").unwrap_err();
        assert!(failure.starts_with(words), "{body}: {failure}");
        assert!(
            !failure.contains('\n') && !failure.contains("traceback") && !failure.contains("holdline"),
            "{failure}"
        );
    }
    let long = Case::on_message("error(('x'):rep(100000))").load().message("hi").unwrap_err();
    assert!(long.len() < 600 && long.ends_with("x…"), "{long}");
}
