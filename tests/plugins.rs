//! Plugins: what each hook may do, in which order plugins are called, and what becomes of those that fail. Owns the
//! behaviour that both kinds have in common; never how a kind runs.

mod support;

use serde_json::json;
use support::{JsonClient, TestClient, TestServer, chat, eventually};

/// Starts a server with one script, `p.luau`, named `p`.
fn with_script(hooks: &str, more: &str, script: &str) -> TestServer {
    TestServer::with_files(&[("plugins.toml", &entry("p", hooks, more)), ("p.luau", script)])
}

/// An entry of `plugins.toml` for a script.
fn entry(name: &str, hooks: &str, more: &str) -> String {
    let hooks: Vec<String> = hooks.split(' ').map(|hook| format!("{hook:?}")).collect();
    let hooks = hooks.join(", ");
    format!("[[plugin]]\nname = {name:?}\nkind = \"luau\"\npath = \"{name}.luau\"\nhooks = [{hooks}]\n{more}\n")
}

// Messages before they are logged

#[test]
fn message_may_pass_or_be_replaced_dropped_or_rejected() {
    let script = r#"
        function message(m)
            if m.text == "heck" then return { reject = "mind your language" } end
            if m.text == "psst" then return { drop = true } end
            if m.text == "loud" then return { text = m.text:upper() .. " " .. m.from .. " " .. m.to[1] } end
            if m.text == "wrong" then return { to = { "carol" } } end
        end
    "#;
    let server = with_script("message", "", script);
    chat(
        &server,
        "
        alice > alice
        bob   > bob
        carol > carol
        alice > bob: hello
        bob   < from alice: hello
        alice > bob: heck
        alice ! rejected
        alice > bob: psst
        alice > bob: loud
        bob   < from alice: LOUD alice bob
        alice > bob: wrong
        carol < from alice: wrong
        alice > /ping 1
        alice * pong 1
        ",
    );
    assert_eq!(
        server.sqlite("select recipients, text from history order by seq"),
        "bob|hello\nbob|LOUD alice bob\ncarol|wrong"
    );
}

#[test]
fn plugins_are_called_in_order_and_each_sees_the_result_of_the_one_before() {
    let plugins = entry("one", "message", "") + &entry("two", "message", "") + &entry("three", "message", "");
    let adds = |what: &str| format!("function message(m) return {{ text = m.text .. {what:?} }} end");
    let rejects = r#"function message(m) if m.text:find("no1") then return { reject = "no" } end return { text = m.text .. "2" } end"#;
    let server = TestServer::with_files(&[
        ("plugins.toml", &plugins),
        ("one.luau", &adds("1")),
        ("two.luau", rejects),
        ("three.luau", &adds("3")),
    ]);
    let mut alice = TestClient::login(&server, "alice");
    alice.send("alice: a");
    alice.send("alice: no");
    alice.send("alice: b");
    assert_eq!(alice.next_message(), "from alice: a123");
    assert_eq!(alice.next_message(), "! rejected: no (two); not sent");
    assert_eq!(alice.next_message(), "from alice: b123");
}

#[test]
fn programs_get_the_outcome_of_each_message() {
    let script = r#"
        function message(m)
            if m.text == "heck" then return { reject = "mind your language" } end
            if m.text == "psst" then return { drop = true } end
            return { text = m.text .. "!" }
        end
    "#;
    let server = with_script("message", "", script);
    let mut alice = JsonClient::login(&server, "alice");
    let send = |id: &str, text: &str| json!({"type": "send", "id": id, "to": ["bob"], "text": text});
    let answer = alice.ask(send("1", "heck"));
    assert_eq!((&answer["code"], &answer["id"]), (&json!("rejected"), &json!("1")));
    assert_eq!(answer["message"], "mind your language (p); not sent");
    assert_eq!(alice.ask(send("2", "psst"))["message"], "the message was dropped (p); not sent");
    let first = alice.ask(send("3", "hi"));
    assert_eq!((&first["type"], &first["seq"]), (&json!("accepted"), &json!(1)));
    assert_eq!(alice.ask(send("3", "hi"))["seq"], 1, "what it was is what counts for an id");
    assert_eq!(alice.ask(send("3", "hi!"))["code"], "id_reused");
    assert_eq!(server.sqlite("select text from history"), "hi!");
}

#[test]
fn accepted_message_with_an_id_is_accepted_again_even_if_a_plugin_would_refuse_it() {
    let server = with_script("message", "", "function message(m) end");
    let send = json!({"type": "send", "id": "1", "to": ["bob"], "text": "hi"});
    let mut alice = JsonClient::login(&server, "alice");
    assert_eq!(alice.ask(send.clone())["seq"], 1);
    server.write_file("p.luau", r#"function message(m) return { reject = "no more" } end"#);
    server.reload();
    assert_eq!(alice.ask(send)["seq"], 1);
    let other = json!({"type": "send", "id": "2", "to": ["bob"], "text": "hi"});
    assert_eq!(alice.ask(other)["code"], "rejected");
}

#[test]
fn no_plugin_is_called_for_a_message_that_was_accepted_before() {
    let script = r#"
        local calls = 0
        function message(m) calls += 1 end
        function command(c) return { answer = calls .. " calls" } end
    "#;
    let server = with_script("message command", "[plugin.commands]\ncalls = \"counts\"", script);
    let send = |id: &str, text: &str| json!({"type": "send", "id": id, "to": ["bob"], "text": text});
    let mut alice = JsonClient::login(&server, "alice");
    let accepted = alice.ask(send("1", "hi"));
    assert_eq!(accepted["seq"], 1);
    assert_eq!(alice.ask(send("1", "hi")), accepted);
    assert_eq!(alice.ask(send("1", "other"))["code"], "id_reused");
    assert_eq!(alice.ask(send("2", "new"))["seq"], 2);
    let mut carol = TestClient::login(&server, "carol");
    carol.send("/calls");
    carol.expect_notice("2 calls");
}

#[test]
fn messages_stay_in_order_behind_a_plugin() {
    let server = with_script("message", "", "function message(m) return { text = m.text .. '.' } end");
    let mut alice = TestClient::login(&server, "alice");
    let lines: String = (0..5000).map(|nth| format!("alice: {nth}\n")).collect();
    alice.send_bytes(lines.as_bytes());
    for nth in 0..5000 {
        assert_eq!(alice.next_message(), format!("from alice: {nth}."));
    }
}

// Logins

#[test]
fn plugin_may_refuse_a_connection_before_the_login() {
    let script =
        r#"function connect(c) return { reject = c.address .. " " .. c.protocol .. " " .. tostring(c.tls) } end"#;
    let server = with_script("connect", "", script);
    let mut alice = TestClient::connect(&server);
    alice.send("alice");
    assert_eq!(alice.expect_line(), "! rejected: 127.0.0.1 plain false (p); connection closed");
    assert_eq!(alice.next_line(), None);
    let mut program = JsonClient::connect(&server);
    program.send(json!({"type": "login", "name": "alice"}));
    assert_eq!(program.next_frame()["message"], "127.0.0.1 json false (p); connection closed");
}

#[test]
fn plugin_may_allow_or_refuse_a_login_or_leave_it_to_the_accounts() {
    let script = r#"
        function login(l)
            if l.password == "open" then return { allow = true } end
            if l.name == "mallory" then return { reject = "you again, from " .. l.address } end
        end
    "#;
    let server = with_script("login", "", script);
    chat(
        &server,
        "
        alice   > alice open
        alice   * hello alice, /help lists the commands
        bob     > bob
        bob     * hello bob, /help lists the commands
        carol   > carol geheim
        carol   ! bad_password
        carol   > carol
        carol   * hello carol, /help lists the commands
        mallory > mallory
        mallory ! rejected
        mallory > mallory
        mallory ! rejected
        mallory > mallory
        mallory ! rejected
        ",
    );
}

#[test]
fn name_of_a_plugin_cannot_log_in() {
    let server = with_script("message", "", "function message(m) end");
    chat(
        &server,
        "
        alice > P
        alice ! bad_name
        alice > alice
        alice * hello alice, /help lists the commands
        ",
    );
}

// Commands

#[test]
fn name_that_a_client_has_used_is_no_plugins_unless_its_entry_says_so() {
    let mut server = TestServer::start();
    TestClient::login(&server, "bob").quit();
    let mut alice = TestClient::login(&server, "alice");
    alice.send("bob: for your eyes only");
    alice.quit();
    let script = "function mail(m) log('got ' .. m.text) end";
    server.write_file("bob.luau", script);
    server.write_file("echo.luau", script);
    let both = |more: &str| entry("bob", "mail", more) + &entry("echo", "mail", "");
    let words = "a client has used this name, and the plugin would get its messages; choose another name, or allow it with take_name = true";
    let failed = |log: &str| log.ends_with(&format!("the old ones keep running: plugin bob: {words}"));
    server.write_file("plugins.toml", &both(""));
    let log = server.reload();
    assert!(failed(&log), "{log}");

    server.restart();
    server.wait_for_log(&format!("plugin bob: {words}; it does not run"));
    let mut alice = TestClient::login(&server, "alice");
    alice.send("/plugins");
    alice.expect_notice("echo (luau, mail): runs");
    alice.expect_notice(&format!("bob (luau, mail): does not run: {words}"));
    let log = server.reload();
    assert!(failed(&log), "{log}");
    assert_eq!(server.sqlite("select count(*) from waiting"), "1");

    server.write_file("plugins.toml", &both("take_name = true"));
    server.reload();
    server.wait_for_log("plugin bob: got for your eyes only");
    // From here on it is the plugin's name.
    server.write_file("plugins.toml", &both(""));
    server.restart();
    alice = TestClient::login(&server, "alice");
    alice.send("bob: again");
    server.wait_for_log("plugin bob: got again");
}

#[test]
fn plugin_keeps_its_name_when_the_database_does_not_know_who_has_used_it() {
    let mut server = with_script("mail", "", "function mail(m) log('got ' .. m.text) end");
    server.terminate();
    server.sqlite_write("update peer set source = null");
    server.start_again();
    server.wait_for_log("plugin p: its name was used before this version noted by whom");
    TestClient::login(&server, "alice").send("p: hi");
    server.wait_for_log("plugin p: got hi");
    server.restart();
    assert!(!server.log().contains("noted by whom"));
}

#[test]
fn command_of_a_plugin_is_answered_and_listed_in_help() {
    let script = r#"
        function command(c)
            if c.arguments == "nowhere" then return { reject = "there is no such place" } end
            if c.arguments == "nothing" then return end
            return { answer = c.from .. ": " .. c.command .. " in " .. c.arguments .. "\nis fine" }
        end
    "#;
    let commands = "[plugin.commands]\nweather = \"PLACE: the weather there\"";
    let server = with_script("command", commands, script);
    chat(
        &server,
        "
        alice > alice
        alice > /weather oslo or so
        alice * alice: weather in oslo or so
        alice * is fine
        alice > /weather nowhere
        alice ! rejected
        alice > /weather nothing
        alice * done
        alice > /wether oslo
        alice ! unknown_command
        ",
    );
    let mut bob = TestClient::login(&server, "bob");
    bob.send("/help");
    bob.send("/ping");
    bob.expect_notice("/weather PLACE                    the weather there");
    bob.expect_notice("pong");
    bob.send("/plugins");
    bob.expect_notice("p (luau, command): runs");
    let mut program = JsonClient::login(&server, "carol");
    let answer = program.ask(json!({"type": "command", "id": "1", "name": "weather", "arguments": "bern"}));
    assert_eq!((&answer["type"], &answer["text"]), (&json!("answer"), &json!("carol: weather in bern\nis fine")));
    let answer = program.ask(json!({"type": "plugins", "id": "2"}));
    assert_eq!(answer["plugins"], json!([{"name": "p", "kind": "luau", "hooks": ["command"], "state": "runs"}]));
    assert_eq!(program.ask(json!({"type": "command", "id": "3", "name": "nothing"}))["code"], "unknown_command");
}

// Requests of plugins

#[test]
fn plugin_is_a_peer() {
    let script = r##"
        function mail(m)
            chat.send(m.from, "you said " .. m.text .. (m.room and (" in " .. m.room) or ""))
            if m.text == "join" then chat.join("#a") end
        end
    "##;
    let server = with_script("mail", "", script);
    chat(
        &server,
        "
        alice > alice
        bob   > bob
        alice > p: hi
        alice < from p: you said hi
        alice > p: join
        alice < from p: you said join
        alice > /who
        alice * here: alice, bob, p
        alice > /join #a
        alice > #a: all
        alice < from p: you said all in #a
        ",
    );
    server.wait_until_delivered("p");
}

#[test]
fn messages_for_a_plugin_that_waited_over_a_restart_are_mail() {
    let mut server = with_script("mail", "", "function mail(m) end");
    let mut alice = TestClient::login(&server, "alice");
    alice.send("p: one");
    alice.ping();
    alice.quit();
    server.wait_until_delivered("p");
    server.terminate();
    server.write_file("plugins.toml", "");
    server.start_again();
    let mut alice = TestClient::login(&server, "alice");
    alice.send("p: two");
    alice.expect_notice("p is away, kept for later");
    server.write_file("plugins.toml", &entry("p", "mail", ""));
    server.write_file("p.luau", r#"function mail(m) chat.send(m.from, "got " .. m.text) end"#);
    server.reload();
    assert_eq!(alice.next_message(), "from p: got two");
}

#[test]
fn plugins_see_each_others_messages_but_not_their_own() {
    let plugins = entry("one", "message mail", "") + &entry("two", "message", "");
    let one = r#"
        function mail(m) chat.send(m.from, "got it") end
        function message(m) return { text = m.text .. "1" } end
    "#;
    let server = TestServer::with_files(&[
        ("plugins.toml", &plugins),
        ("one.luau", one),
        ("two.luau", r#"function message(m) return { text = m.text .. "2" } end"#),
    ]);
    let mut alice = TestClient::login(&server, "alice");
    alice.send("one: hi");
    assert_eq!(alice.next_message(), "from one: got it2");
    assert_eq!(server.sqlite("select text from history order by seq"), "hi12\ngot it2");
}

#[test]
fn values_of_a_plugin_survive_restarts() {
    let script = r#"
        function command(c)
            local times = (store.get("times") or 0) + 1
            store.set("times", times)
            store.set("by", { c.from, times })
            return { answer = tostring(times) .. " " .. tostring(store.get("by")[1]) }
        end
    "#;
    let mut server = with_script("command", "[plugin.commands]\ncount = \"counts\"", script);
    let mut alice = TestClient::login(&server, "alice");
    alice.send("/count");
    alice.expect_notice("1 alice");
    alice.send("/count");
    alice.expect_notice("2 alice");
    eventually("the value is stored", || server.sqlite("select value from value where key = 'times'") == "2");
    server.kill();
    server.start_again();
    let mut bob = TestClient::login(&server, "bob");
    bob.send("/count");
    bob.expect_notice("3 bob");
}

#[test]
fn plugin_reads_its_own_history() {
    let script = r#"
        function mail(m) end
        function command(c)
            local texts = {}
            for _, m in chat.history({ with = c.arguments, limit = 10 }).messages do table.insert(texts, m.from .. "=" .. m.text) end
            return { answer = table.concat(texts, " ") .. " " .. table.concat(chat.who().here, "+") }
        end
    "#;
    let server = with_script("mail command", "[plugin.commands]\npast = \"NAME: all\"", script);
    let mut alice = TestClient::login(&server, "alice");
    alice.send("p: one");
    alice.send("bob: secret");
    alice.send("p: two");
    alice.send("/past alice");
    alice.expect_notice("alice=one alice=two alice+p");
}

#[test]
fn replies_in_a_script_have_the_keys_of_json_frames() {
    let script = r##"
        function mail(m) end
        function start() chat.join("#home") end
        function command(c)
            local who, past = chat.who(), chat.history({ limit = 2 })
            local found = chat.search({ text = "two" })
            local lines = {
                `{who.type}: {who.here[2]}, {who.rooms[1]}, {who.topics["#home"]}`,
                `{past.type}: {#past.messages}, {past.more}, {found.type}: {#found.messages}, {found.more}`,
            }
            for _, m in past.messages do
                table.insert(lines, `{m.seq + 1} {#m.at} {m.from} {m.to[1]} {m.room} {m.text}`)
            end
            return { answer = table.concat(lines, "\n") }
        end
    "##;
    let server = with_script("start mail command", "[plugin.commands]\nshow = \"shows\"", script);
    let mut alice = TestClient::login(&server, "alice");
    alice.send("/join #home");
    alice.send("/topic #home \"é\"");
    alice.send("p: one");
    alice.send("#home: two");
    alice.send("p: three");
    alice.expect_notice("you are in #home now");
    alice.expect_notice("the topic of #home: \"é\"");
    alice.send("/show");
    for line in ["who: p, #home, \"é\"", "history: 2, true, search: 1, false"] {
        alice.expect_notice(line);
    }
    alice.expect_notice("3 24 alice #home #home two");
    alice.expect_notice("4 24 alice p nil three");
}

// Failures

#[test]
fn failing_plugin_is_skipped_or_blocks_as_configured() {
    let fails = r#"function message(m) error("oh no") end"#;
    let server = with_script("message", "", fails);
    let mut alice = TestClient::login(&server, "alice");
    alice.send("alice: hi");
    assert_eq!(alice.next_message(), "from alice: hi");
    server.wait_for_log("plugin p: ");
    assert!(server.log().contains("oh no"), "{}", server.log());

    let server = with_script("message", "on_failure = \"reject\"", fails);
    let mut alice = TestClient::login(&server, "alice");
    alice.send("alice: hi");
    assert_eq!(alice.next_message(), "! rejected: the plugin does not answer; try again later (p); not sent");
}

#[test]
fn plugin_that_fails_too_often_is_quarantined_until_a_reload() {
    let server = with_script("message", "", r#"function message(m) error("oh no") end"#);
    let mut alice = TestClient::login(&server, "alice");
    for nth in 0..12 {
        alice.send(&format!("alice: {nth}"));
        assert_eq!(alice.next_message(), format!("from alice: {nth}"));
    }
    assert_eq!(server.log().matches("oh no").count(), 10, "{}", server.log());
    assert!(server.log().contains("quarantined after 10 failures within 600 s"), "{}", server.log());
    alice.send("/plugins");
    let state = alice.expect_line();
    assert!(state.starts_with("* p (luau, message): quarantined after 10 failures, the last: "), "{state}");

    server.write_file("p.luau", r#"function message(m) return { text = m.text .. "!" } end"#);
    let log = server.reload();
    assert!(log.contains("reloaded the plugins from "), "{log}");
    alice.send("alice: hi");
    assert_eq!(alice.next_message(), "from alice: hi!");
    alice.send("/plugins");
    alice.expect_notice("p (luau, message): runs");
}

#[test]
fn script_that_runs_too_long_delays_only_the_sender() {
    let script = r#"function message(m) if m.text == "hang" then while true do end end end"#;
    let server = with_script("message", "timeout_ms = 300", script);
    let mut alice = TestClient::login(&server, "alice");
    alice.send("alice: hang");
    // A client that does not use the plugin is answered meanwhile.
    let mut bob = TestClient::login(&server, "bob");
    bob.send("/who");
    bob.expect_notice("here: alice, bob, p");
    assert!(!server.log().contains("timeout_ms"), "bob waited for alice:\n{}", server.log());
    assert_eq!(alice.next_message(), "from alice: hang");
    server.wait_for_log("300 ms (timeout_ms)");
}

// Reloads

#[test]
fn reload_keeps_connections_and_messages() {
    let server = with_script("message", "", "function message(m) return { text = m.text .. 'a' } end");
    let mut alice = TestClient::login(&server, "alice");
    alice.send("alice: 1");
    assert_eq!(alice.next_message(), "from alice: 1a");
    server.write_file("p.luau", "function message(m) return { text = m.text .. 'bc' } end");
    server.reload();
    alice.send("alice: 2");
    assert_eq!(alice.next_message(), "from alice: 2bc");
    server.write_file("plugins.toml", "");
    server.reload();
    alice.send("alice: 3");
    assert_eq!(alice.next_message(), "from alice: 3");
    alice.send("/who");
    alice.expect_notice("here: alice");
    alice.send("/plugins");
    alice.expect_notice("there are no plugins");
}

#[test]
fn failed_reload_keeps_the_plugins_and_logs_the_reason() {
    let server = with_script("message", "", "function message(m) return { text = m.text .. '!' } end");
    server.write_file("p.luau", "function message(m) return {");
    let log = server.reload();
    assert!(
        log.contains("cannot reload the plugins, the old ones keep running: ") && log.contains("p.luau:1: "),
        "{log}"
    );
    let mut alice = TestClient::login(&server, "alice");
    alice.send("alice: hi");
    assert_eq!(alice.next_message(), "from alice: hi!");
    server.write_file("plugins.toml", "[[plugin]]\nname = 1");
    let log = server.reload();
    assert!(
        log.contains("cannot reload the plugins, the old ones keep running: ") && log.contains("plugins.toml:2: "),
        "{log}"
    );
    alice.send("alice: ho");
    assert_eq!(alice.next_message(), "from alice: ho!");
}

#[test]
fn plugins_are_notified_of_start_reload_and_stop() {
    let script_that_sends = |what: &str| {
        format!(
            "function start(s) chat.send('alice', '{what} starts ' .. s.settings.word) end
             function reload(s) chat.send('alice', '{what} goes on') end
             function stop() chat.send('alice', '{what} stops') end"
        )
    };
    let settings = "[plugin.settings]\nword = \"heck\"";
    let mut server = with_script("start reload stop", settings, &script_that_sends("one"));
    let mut alice = TestClient::login(&server, "alice");
    assert_eq!(alice.next_message(), "from p: one starts heck");
    server.reload();
    assert_eq!(alice.next_message(), "from p: one goes on");
    server.write_file("p.luau", &script_that_sends("another"));
    server.reload();
    assert_eq!(alice.next_message(), "from p: another starts heck");
    assert_eq!(alice.next_message(), "from p: one stops");
    alice.quit();
    server.restart();
    let mut alice = TestClient::login(&server, "alice");
    assert_eq!(alice.next_message(), "from p: another stops");
    assert_eq!(alice.next_message(), "from p: another starts heck");
}

#[test]
fn ticks_repeat() {
    let script = "local n = 0 function tick(t) n += 1 chat.send('alice', 'tick ' .. n) end";
    let server = with_script("tick", "tick_s = 1", script);
    let mut alice = TestClient::login(&server, "alice");
    assert_eq!(alice.next_message(), "from p: tick 1");
    assert_eq!(alice.next_message(), "from p: tick 2");
}

// Events

#[test]
fn plugin_is_notified_of_each_stored_message_and_of_offline_recipients() {
    let script = r#"
        function logged(m)
            table.sort(m.away)
            chat.send("watch", m.seq .. " " .. m.from .. " to " .. table.concat(m.to, "+") .. ": " .. m.text .. ", away: " .. table.concat(m.away, "+"))
        end
    "#;
    let server = with_script("logged", "", script);
    let mut watch = TestClient::login(&server, "watch");
    let mut dora = TestClient::login(&server, "dora");
    dora.send("/join #a");
    dora.ping();
    dora.quit();
    server.wait_until_gone("dora");
    let mut alice = TestClient::login(&server, "alice");
    let mut carol = TestClient::login(&server, "carol");
    for client in [&mut alice, &mut carol] {
        client.send("/join #a");
        client.ping();
    }
    alice.send("bob, carol: one");
    assert_eq!(watch.next_message(), "from p: 1 alice to bob+carol: one, away: bob");
    alice.send("#a: two");
    assert_eq!(watch.next_message(), "from p: 3 alice to #a: two, away: dora");
    alice.send("alice: three");
    assert_eq!(watch.next_message(), "from p: 5 alice to alice: three, away: ");
}

#[test]
fn plugin_is_notified_of_joins_leaves_and_deliveries() {
    let script = r#"
        function join(j) chat.send("watch", j.name .. " came " .. tostring(j.here)) end
        function leave(l) chat.send("watch", l.name .. " went " .. tostring(l.here)) end
        function delivered(d) if d.name ~= "watch" then chat.send("watch", d.name .. " has " .. d.seq) end end
    "#;
    let server = with_script("join leave delivered", "", script);
    let mut watch = TestClient::login(&server, "watch");
    assert_eq!(watch.next_message(), "from p: watch came true");
    let bob = TestClient::login(&server, "bob");
    assert_eq!(watch.next_message(), "from p: bob came true");
    let also_bob = TestClient::login(&server, "bob");
    also_bob.quit();
    watch.send("bob: hi");
    let got = watch.next_message();
    assert!(got.starts_with("from p: bob has "), "{got}");
    bob.quit();
    assert_eq!(watch.next_message(), "from p: bob went false");
}

#[test]
fn plugins_cause_no_presence() {
    let list = entry("p", "join leave delivered", "") + &entry("other", "mail", "");
    let script = r#"
        function join(j) chat.send("watch", j.name .. " came") end
        function leave(l) chat.send("watch", l.name .. " went") end
        function delivered(d) if d.name ~= "watch" then chat.send("watch", d.name .. " got it") end end
    "#;
    let other = "function mail(m) end";
    let server = TestServer::with_files(&[("plugins.toml", &list), ("p.luau", script), ("other.luau", other)]);
    let mut watch = TestClient::login(&server, "watch");
    assert_eq!(watch.next_message(), "from p: watch came");
    watch.send("other: hi");
    eventually("other has received the message", || {
        server.sqlite("select count(*) from waiting where recipient = 'other'") == "0"
    });
    server.write_file("plugins.toml", &entry("p", "join leave delivered", ""));
    server.reload();
    TestClient::login(&server, "bob").quit();
    assert_eq!(watch.next_message(), "from p: bob came");
    assert_eq!(watch.next_message(), "from p: bob went");
}

#[test]
fn effects_of_a_plugin_happen_once_for_each_message_despite_repeated_crashes() {
    const MESSAGES: usize = 300;
    let script = r#"function logged(m) if m.from == "alice" then chat.send("sink", "saw " .. m.text) end end"#;
    let mut server = with_script("logged", "", script);
    let mut sent = 0;
    while sent < MESSAGES {
        let mut alice = TestClient::login(&server, "alice");
        for nth in sent..sent + MESSAGES / 6 {
            alice.send(&format!("bob: {nth}"));
        }
        alice.ping();
        sent += MESSAGES / 6;
        // Somewhere in the middle of its effects.
        server.kill();
        server.start_again();
    }
    let done = "select count(*) from history where sender = 'p'";
    eventually("every message is processed", || server.sqlite(done).parse::<usize>().unwrap() >= MESSAGES);
    let mut sink = TestClient::login(&server, "sink");
    for nth in 0..MESSAGES {
        assert_eq!(sink.next_message(), format!("from p: saw {nth}"));
    }
    sink.expect_nothing();
}

#[test]
fn failed_notification_is_repeated_and_finally_skipped() {
    let script = r#"
        local times = 0
        function logged(m)
            if m.text == "bad" then times += 1 error("cannot " .. times) end
            chat.send("watch", m.text)
        end
    "#;
    let server = with_script("logged", "", script);
    let mut watch = TestClient::login(&server, "watch");
    let mut alice = TestClient::login(&server, "alice");
    alice.send("bob: good");
    alice.send("bob: bad");
    alice.send("bob: better");
    assert_eq!(watch.next_message(), "from p: good");
    assert_eq!(watch.next_message(), "from p: better");
    let log = server.log();
    assert!(log.contains("cannot 3") && !log.contains("cannot 4"), "{log}");
    assert!(log.contains("giving up on "), "{log}");
}

#[test]
fn notification_that_a_plugin_has_not_processed_survives_a_restart() {
    let mut server = with_script("logged", "", "function logged(m) while true do end end");
    let mut alice = TestClient::login(&server, "alice");
    alice.send("bob: one");
    alice.ping();
    server.kill();
    server.write_file("p.luau", r#"function logged(m) chat.send("alice", "saw " .. m.text) end"#);
    server.start_again();
    let mut alice = TestClient::login(&server, "alice");
    assert_eq!(alice.next_message(), "from p: saw one");
}
