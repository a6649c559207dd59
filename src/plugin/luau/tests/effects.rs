//! Effects: what a call may do besides its answer, and the words for mistakes that a script can catch.

use super::*;
use crate::limits::{EFFECTS_MAX, VALUE_BYTES_MAX, VALUE_KEY_BYTES_MAX};
use crate::message::Room;

#[test]
fn effects_are_part_of_the_answer() {
    let body = "
        chat.send('bob', 'to one')
        chat.send({ 'bob', '#home' }, 'to many')
        chat.join('#Home')
        chat.leave('#home')
        store.set('count', (store.get('count') or 0) + 1)
        store.set('count', store.get('count') + 1)
        store.set('gone', nil)
        return { drop = true }";
    let answer = Case::on_message(body).load().message("hi").unwrap();
    let room = Room::parse("#home").unwrap();
    let effects = vec![
        sent(&["bob"], "to one"),
        sent(&["bob", "#home"], "to many"),
        Effect::Join(room.clone()),
        Effect::Leave(room),
        set("count", Some(json!(1))),
        set("count", Some(json!(2))),
        set("gone", None),
    ];
    assert_eq!(answer, Answer { verdict: Verdict::Drop, effects });
}

#[test]
fn failed_call_has_no_effects() {
    let body = "
        store.set('last', m.text)
        if m.text == 'bad' then error('bad') end
        if m.text == 'unfit' then return 5 end
        chat.send('bob', store.get('last'))";
    let script = Case::on_message(body).load();
    assert!(script.message("bad").is_err());
    assert!(script.message("unfit").is_err());
    assert_eq!(script.effects("good"), [set("last", Some(json!("good"))), sent(&["bob"], "good")]);
}

#[test]
fn calls_of_a_batch_see_the_values_that_earlier_ones_set() {
    let body = "
        if m.text ~= 'look' then store.set('n', (store.get('n') or 0) + 1) end
        if m.text == 'bad' then error('bad') end
        return { text = tostring(store.get('n')) }";
    let script = Case::on_message(body).load();
    let texts = |texts: &[&str]| {
        let calls = texts.iter().map(|text| message(text)).collect();
        let answers = future::block_on(script.script.call_all(calls, Some(PATIENT)));
        answers.into_iter().map(|answer| answer.map(|answer| answer.verdict).ok()).collect::<Vec<_>>()
    };
    let seen = |n: &str| Some(replaced(n));
    assert_eq!(texts(&["a", "b", "bad", "look", "c"]), [seen("1"), seen("2"), None, seen("2"), seen("3")]);
    assert_eq!(texts(&["look"]), [seen("nil")], "the host never got these values");
}

#[test]
fn script_can_catch_its_mistakes() {
    let mistakes = [
        ("chat.send('', 'hi')", "chat.send: "),
        ("chat.send({}, 'hi')", "chat.send: the message has no recipient"),
        ("chat.send({ 'bob', 5 }, 'hi')", "chat.send: the recipient is a number, not a string"),
        ("chat.send(nil, 'hi')", "chat.send: the recipient is a nil, not a string"),
        ("chat.send('bob', ' ')", "chat.send: the text is empty"),
        ("chat.send('bob')", "chat.send: the text is a nil, not a string"),
        ("chat.send('bob', '\\xff')", "chat.send: the text is not UTF-8"),
        ("chat.send('bob', ('x'):rep(8193))", "chat.send: the text has 8193 bytes; at most 8192 are allowed"),
        ("chat.send(table.create(1e5, 'bob'), 'x')", "chat.send: the message has more than 256 recipients"),
        ("chat.join('home')", "chat.join: \"home\" does not start with \"#\""),
        ("chat.leave()", "chat.leave: the room is a nil, not a string"),
        ("chat.who()", "chat.who: there is no server in a dry run"),
        ("chat.history()", "chat.history: there is no server in a dry run"),
        ("chat.history({ with = 'bob', before = 5, limit = 5 })", "chat.history: there is no server in a dry run"),
        (
            "chat.history({ wiht = 'bob' })",
            "chat.history: unknown field `wiht`, expected one of `with`, `before`, `limit`",
        ),
        ("chat.history({ with = '#' })", "chat.history: a name is missing"),
        ("chat.history({ limit = 0 })", "chat.history: limit is 0; 1 to 1000 are allowed"),
        ("chat.history({ limit = -1 })", "chat.history: limit is -1; 1 to 1000 are allowed"),
        ("chat.history({ limit = 0.5 })", "chat.history: invalid type: floating point `0.5`, expected a whole number"),
        ("chat.history({ before = '5' })", "chat.history: invalid type: string \"5\", expected a whole number"),
        ("chat.history({ with = false })", "chat.history: invalid type: boolean `false`, expected a string"),
        ("chat.history({ with = {} })", "chat.history: invalid type: table, expected a string"),
        ("chat.history({ 'bob' })", "chat.history: invalid type: integer `1`, expected a key"),
        ("chat.history('bob')", "chat.history: invalid type: string, expected table"),
        ("chat.search({ text = 'x', limit = 1001 })", "chat.search: limit is 1001; 1 to 1000 are allowed"),
        ("chat.search({})", "chat.search: missing field `text`"),
        ("chat.search({ text = ' ' })", "chat.search: the text has no words"),
        ("store.get()", "store.get: the key is a nil, not a string"),
        ("store.set('', 1)", "store.set: the key has 0 bytes; 1 to 128 are allowed"),
        ("store.set(('x'):rep(129), 1)", "store.set: the key has 129 bytes; 1 to 128 are allowed"),
        ("store.set('k', 0/0)", "store.set: NaN cannot be stored"),
        ("store.set('k', math.huge)", "store.set: inf cannot be stored"),
        ("store.set('k', { { f = print } })", "store.set: a function cannot be stored"),
        ("store.set('k', '\\xff')", "store.set: a string that is not UTF-8 cannot be stored"),
        (
            "local t = {} t.t = t store.set('k', t)",
            "store.set: tables are nested deeper than 32, or a table contains itself",
        ),
        (
            "local t = {} for _ = 1, 40 do t = { t, t } end store.set('k', t)",
            "store.set: tables are nested deeper than 32",
        ),
        (
            "local t = {} for _ = 1, 30 do t = { t, t } end store.set('k', t)",
            "store.set: the value has more than 65536 bytes as JSON",
        ),
        ("store.set('k', ('x'):rep(65536))", "store.set: the value has more than 65536 bytes as JSON"),
        ("store.set('k', ('\\n'):rep(40000))", "store.set: the value has more than 65536 bytes as JSON"),
        ("store.set('k', table.create(1e6, 0))", "store.set: the value has more than 65536 bytes as JSON"),
        ("store.set('k', { 1, nil, 3 })", "store.set: a table must be a list without gaps, or have only string keys"),
        ("store.set('k', { 1, 2, k = 3 })", "store.set: a table must be a list without gaps, or have only string keys"),
        ("store.set('k', { [5] = 3 })", "store.set: a table must be a list without gaps, or have only string keys"),
        ("('x'):rep(2^20):find(('x'):rep(65))", "a pattern of 65 bytes is too long for a text of 1048576 bytes"),
        ("table.move({}, 1, 2^31 - 1, 1)", "cannot move more than 1048576 elements at once"),
        ("os.date(('x'):rep(257))", "the date format has more than 256 bytes"),
    ];
    for (wrong, words) in mistakes {
        let body = format!("local ok, what = pcall(function() {wrong} end) return {{ text = what }}");
        let answer = Case::on_message(&body).load().message("hi").unwrap();
        let Verdict::Replace { text: Some(text), .. } = &answer.verdict else { panic!("{wrong}: {answer:?}") };
        let text = text.as_str().split_once(".luau:1: ").map_or(text.as_str(), |(_, text)| text);
        assert!(text.starts_with(words), "{wrong}: {text}");
        assert_eq!(answer.effects, [], "{wrong}");
    }
}

#[test]
fn values_keep_their_type() {
    let values = [
        ("true", json!(true)),
        ("5", json!(5)),
        ("-2.5", json!(-2.5)),
        ("2^53", json!(9_007_199_254_740_992_i64)),
        ("'text'", json!("text")),
        ("{}", json!({})),
        ("{ 1, { 'two' }, { three = 3 } }", json!([1, ["two"], { "three": 3 }])),
        ("{ a = { b = { c = 'd' } } }", json!({ "a": { "b": { "c": "d" } } })),
        ("('x'):rep(65534)", json!("x".repeat(VALUE_BYTES_MAX - 2))),
    ];
    for (value, json) in values {
        let body = format!("store.set('k', {value}) store.set('again', store.get('k'))");
        let effects = Case::on_message(&body).load().effects("hi");
        assert_eq!(effects, [set("k", Some(json.clone())), set("again", Some(json))], "{value}");
    }
    let key = "k".repeat(VALUE_KEY_BYTES_MAX);
    assert_eq!(Case::on_message("store.set(('k'):rep(128), 1)").load().effects("hi"), [set(&key, Some(json!(1)))]);
}

#[test]
fn effects_are_bounded() {
    let script = Case::on_message("for i = 1, tonumber(m.text) do store.set('k', i) end").load();
    assert_eq!(script.effects(&EFFECTS_MAX.to_string()).len(), EFFECTS_MAX);
    let failure = "message failed: test.luau:1: store.set: the call has more than 256 effects";
    assert_eq!(script.message(&(EFFECTS_MAX + 1).to_string()), Err(failure.into()));
    let script = Case::on_message("for i = 1, tonumber(m.text) do store.set('k', ('x'):rep(60000)) end").load();
    assert_eq!(script.effects("4").len(), 4);
    let failure = "message failed: test.luau:1: store.set: the effects of the call have more than 262144 bytes";
    assert_eq!(script.message("5"), Err(failure.into()));
    assert_eq!(script.effects("4").len(), 4, "a failed call does not count");
}
