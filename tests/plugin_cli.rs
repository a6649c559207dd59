//! `holdline plugin`, as a black box: check, new and test. Owns these commands; never tests plugins in a server.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use expect_test::{Expect, expect};
use support::{TestClient, TestServer, installed};
use tempfile::TempDir;

/// Working directory of the command.
struct Place(TempDir);

impl Place {
    fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    /// Writes a file, and creates its directory.
    fn with(self, name: &str, text: &str) -> Place {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path().join(name)).unwrap()
    }

    /// Returns the output of the command and its exit code, with `T ms` for times and `.` for the directory.
    fn run(&self, arguments: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_holdline"));
        let output = command.arg("plugin").args(arguments).current_dir(self.path()).output().unwrap();
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        let text = text.replace(&*self.path().to_string_lossy(), ".");
        without_times(&text) + &format!("exit {}\n", output.status.code().unwrap())
    }

    #[track_caller]
    fn check(&self, arguments: &[&str], expected: Expect) {
        expected.assert_eq(&self.run(arguments));
    }

    /// Runs a plugin over the log of a server.
    #[track_caller]
    fn check_dry_run(&self, server: &TestServer, arguments: &[&str], expected: Expect) {
        let data = server.data();
        self.check(&[&["test", "--data", data.to_str().unwrap()], arguments].concat(), expected);
    }
}

/// Replaces `0.4 ms` by `T ms`, and the time of a message by `TIME`.
fn without_times(output: &str) -> String {
    let line = |line: &str| {
        let words: Vec<_> = line.split(' ').collect();
        let is_millis = |place: usize| words.get(place + 1).is_some_and(|unit| unit.starts_with("ms"));
        let shown = words.iter().enumerate().map(|(place, word)| match word.trim_start_matches('(') {
            number if is_millis(place) && number.parse::<f64>().is_ok() => word.replace(number, "T"),
            time if time.ends_with('Z') && time.len() == "0000-00-00T00:00:00.000Z".len() => "TIME".to_owned(),
            _ => (*word).to_owned(),
        });
        shown.collect::<Vec<_>>().join(" ") + "\n"
    };
    output.lines().map(line).collect()
}

/// Returns an entry of `plugins.toml` for a script.
fn script(name: &str, hooks: &str) -> String {
    format!("[[plugin]]\nname = \"{name}\"\nkind = \"luau\"\npath = \"{name}.luau\"\nhooks = {hooks}\n")
}

/// Returns an entry of `plugins.toml` for a program, with enough time for a busy machine.
fn program(name: &str, hooks: &str) -> String {
    format!(
        "[[plugin]]\nname = \"{name}\"\nkind = \"process\"\npath = \"{name}.sh\"\nhooks = {hooks}\ntimeout_ms = 60000\n"
    )
}

/// Writes an executable file.
fn with_program(place: Place, name: &str, text: &str) -> Place {
    let place = place.with(name, text);
    fs::set_permissions(place.path().join(name), fs::Permissions::from_mode(0o755)).unwrap();
    place
}

/// Starts a server and logs these lines of alice.
fn logged(lines: &[&str]) -> TestServer {
    let server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    for line in lines {
        alice.send(line);
        alice.ping();
    }
    alice.quit();
    server
}

// holdline plugin check

#[test]
fn plugins_that_load_are_fine() {
    Place::new().check(
        &["check"],
        expect![[r#"
        there are no plugins
        exit 0
    "#]],
    );
    let place = Place::new().with("manners.luau", "function message() end function mail() end");
    let place = with_program(place, "door.sh", "#!/bin/sh\n");
    let list = script("manners", r#"["message", "mail"]"#) + &program("door", "[]");
    place.with("plugins.toml", &list).check(
        &["check"],
        expect![[r#"
        manners (luau, message, mail): fine
        door (process): fine
        exit 0
    "#]],
    );
}

#[test]
fn check_reports_each_mistake_and_checks_the_other_plugins_too() {
    let place = Place::new().with("faulty.luau", "function message(\n").with("lacking.luau", "").with("door.sh", "");
    let place = place.with("manners.luau", "function message() end");
    let list = script("faulty", r#"["message"]"#)
        + &script("lacking", r#"["message"]"#)
        + &program("door", "[]")
        + &script("manners", r#"["message"]"#);
    place.with("plugins.toml", &list).check(&["check"], expect![[r#"
        manners (luau, message): fine
        holdline: ./faulty.luau:2: Expected identifier when parsing variable name, got <eof>
        holdline: ./lacking.luau: the function message is missing, and lacking has the hook "message"; add a global `function message(…) … end`, or remove "message" from hooks
        holdline: path = "./door.sh" is not executable; run: chmod +x ./door.sh
        exit 2
    "#]]);
}

#[test]
fn invalid_list_is_refused_as_the_server_refuses_it() {
    Place::new().with("plugins.toml", "[[plugin]]\n").check(
        &["check"],
        expect![[r#"
            holdline: plugins.toml:1: this [[plugin]] has no name; expected a name, such as "manners"
            exit 2
        "#]],
    );
    Place::new().check(
        &["check", "--plugins=absent.toml"],
        expect![[r#"
            holdline: cannot read absent.toml: No such file or directory (os error 2)
            exit 2
        "#]],
    );
    let place = Place::new().with("conf/holdline.toml", "plugins = \"mine.toml\"\nlisten = [\"no port\"]");
    let place = place.with("conf/mine.toml", &script("manners", r#"["message"]"#));
    let place = place.with("conf/manners.luau", "function message() end");
    place.check(
        &["check", "--config=conf/holdline.toml"],
        expect![[r#"
        manners (luau, message): fine
        exit 0
    "#]],
    );
}

// holdline plugin new

#[test]
fn new_creates_a_plugin_that_loads() {
    let place = Place::new();
    place.check(
        &["new", "Notes", "--kind=luau"],
        expect![[r#"
        created plugins/notes.luau: a script that keeps a list
        added notes to plugins.toml
        next: start holdline, or reload a running one: holdline reload
        then: send it a message: notes: milk
        exit 0
    "#]],
    );
    place.check(
        &["new", "box", "--kind=sh"],
        expect![[r#"
        created plugins/box.sh: a program that reports the load and disk space of this machine; it needs jq
        added box to plugins.toml
        next: start holdline, or reload a running one: holdline reload
        then: send it a message: box: disk
        exit 0
    "#]],
    );
    place.check(
        &["new", "--kind", "python", "dice"],
        expect![[r#"
        created plugins/dice.py: a program that rolls dice; it needs python3
        added dice to plugins.toml
        next: start holdline, or reload a running one: holdline reload
        then: send it a message: dice: 2d6
        exit 0
    "#]],
    );
    place.check(
        &["check"],
        expect![[r#"
        notes (luau, message, mail): fine
        box (process, message, mail): fine
        dice (process, message, mail): fine
        exit 0
    "#]],
    );
    expect![[r#"
        [[plugin]]
        name = "notes"
        kind = "luau"
        path = "plugins/notes.luau"
        hooks = ["message", "mail"]

        [plugin.settings]
        words = ["heck"]

        [[plugin]]
        name = "box"
        kind = "process"
        path = "plugins/box.sh"
        hooks = ["message", "mail"]

        [[plugin]]
        name = "dice"
        kind = "process"
        path = "plugins/dice.py"
        hooks = ["message", "mail"]

        [plugin.settings]
        words = ["heck"]
    "#]]
    .assert_eq(&place.read("plugins.toml"));
    let mode = |name: &str| fs::metadata(place.path().join("plugins").join(name)).unwrap().permissions().mode() & 0o111;
    assert_eq!((mode("notes.luau"), mode("box.sh") & 0o100, mode("dice.py") & 0o100), (0, 0o100, 0o100));
    for name in ["notes.luau", "box.sh", "dice.py"] {
        assert!(!place.read(&format!("plugins/{name}")).contains("NAME"), "{name}");
    }
}

#[test]
fn new_leaves_the_existing_list_unchanged() {
    for before in ["# mine\r\n\n  # two", "# mine\n", "\n\n", &script("a", "[ 'message' ]")] {
        let place = Place::new().with("plugins.toml", before).with("a.luau", "function message() end");
        let output = place.run(&["new", "notes", "--kind=luau"]);
        assert!(output.ends_with("exit 0\n"), "{output}");
        let after = place.read("plugins.toml");
        assert!(after.starts_with(before), "{after:?}");
        assert!(
            after[before.len()..].trim_start_matches('\n').starts_with("[[plugin]]\nname = \"notes\"\n"),
            "{after:?}"
        );
    }
}

#[test]
fn new_writes_beside_the_list_of_the_option() {
    let place = Place::new();
    place.check(
        &["new", "notes", "--kind=luau", "--plugins=conf/mine.toml"],
        expect![[r#"
        created conf/plugins/notes.luau: a script that keeps a list
        added notes to conf/mine.toml
        next: start holdline, or reload a running one: holdline reload
        then: send it a message: notes: milk
        exit 0
    "#]],
    );
    place.check(
        &["check", "--plugins=conf/mine.toml"],
        expect![[r#"
        notes (luau, message, mail): fine
        exit 0
    "#]],
    );
    assert!(!place.path().join("plugins.toml").exists() && !place.path().join("plugins").exists());
}

#[test]
fn new_overwrites_nothing() {
    let place = Place::new().with("plugins/notes.luau", "mine").with("plugins.toml", "# mine");
    place.check(
        &["new", "notes", "--kind=luau"],
        expect![[r#"
        holdline: plugins/notes.luau exists already, and is not overwritten; choose another name, or move it away
        exit 1
    "#]],
    );
    assert_eq!((&*place.read("plugins/notes.luau"), &*place.read("plugins.toml")), ("mine", "# mine"));
    place.check(
        &["new", "box", "--kind=sh"],
        expect![[r#"
        created plugins/box.sh: a program that reports the load and disk space of this machine; it needs jq
        added box to plugins.toml
        next: start holdline, or reload a running one: holdline reload
        then: send it a message: box: disk
        exit 0
    "#]],
    );
    place.check(
        &["new", "Box", "--kind=python"],
        expect![[r#"
        holdline: plugins.toml has a plugin box already; choose another name
        exit 1
    "#]],
    );
    assert!(!place.path().join("plugins/box.py").exists());
}

#[test]
fn failed_new_leaves_nothing() {
    let mistake = Place::new().with("plugins.toml", "plugin = 5");
    mistake.check(&["new", "notes", "--kind=luau"], expect![[r#"
        holdline: plugins.toml:1: plugin = 5 is not valid; expected [[plugin]] on its own line, with the keys of a plugin below
        exit 2
    "#]]);
    let closed = Place::new().with("plugins.toml", "plugin = []");
    closed.check(
        &["new", "notes", "--kind=luau"],
        expect![[r#"
            holdline: plugins.toml:3: `plugin` is set twice; remove one of them; nothing was added
            exit 2
        "#]],
    );
    assert_eq!((&*mistake.read("plugins.toml"), &*closed.read("plugins.toml")), ("plugin = 5", "plugin = []"));
    for place in [mistake, closed] {
        assert!(!place.path().join("plugins/notes.luau").exists());
    }
}

#[test]
fn names_and_kinds_are_checked() {
    let place = Place::new();
    place.check(&["new", "../notes", "--kind=luau"], expect![[r#"
        holdline: couldn't parse `../notes`: invalid name of a plugin: "../notes" contains "/"; a name is 1 to 32 letters, marks or digits of any script, "-", "_" or ".", and starts with a letter or a digit (see holdline --help)
        exit 2
    "#]]);
    place.check(
        &["new", "notes", "--kind=lua"],
        expect![[r#"
            holdline: couldn't parse `lua`: --kind must be luau, sh or python (see holdline --help)
            exit 2
        "#]],
    );
    place.check(
        &["new", "notes"],
        expect![[r#"
            holdline: expected `--kind=KIND` (see holdline --help)
            exit 2
        "#]],
    );
    place.check(
        &["new", "--kind=luau"],
        expect![[r#"
            holdline: expected `NAME` (see holdline --help)
            exit 2
        "#]],
    );
    assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
}

// Templates

#[test]
fn template_for_luau_keeps_a_list() {
    let server =
        logged(&["notes: list", "notes: milk", "bob, notes: bread", "bob: oh heck", "notes: list", "notes: clear"]);
    let place = Place::new();
    place.run(&["new", "notes", "--kind=luau"]);
    place.check_dry_run(
        &server,
        &["notes"],
        expect![[r#"
        TIME alice → notes: list  (waiting for notes)
            message: passes (T ms)
            mail: done (T ms)
                would send to alice: the list is empty
        TIME alice → notes: milk  (waiting for notes)
            message: passes (T ms)
            mail: done (T ms)
                would store list = ["milk"]
                would send to alice: added; on the list: 1
        TIME alice → bob, notes: bread  (waiting for bob, notes)
            message: passes (T ms)
            mail: done (T ms)
                would store list = ["milk","bread"]
                would send to alice: added; on the list: 2
        TIME alice → bob: oh heck  (waiting for bob)
            message: rejected: we do not say "heck" here (T ms)
        TIME alice → notes: list  (waiting for notes)
            message: passes (T ms)
            mail: done (T ms)
                would send to alice: milk, bread
        TIME alice → notes: clear  (waiting for notes)
            message: passes (T ms)
            mail: done (T ms)
                would remove list
                would send to alice: the list is empty now
        messages: 6, calls: 11, failures: 0; a call took T ms (median), T ms at most
        exit 0
    "#]],
    );
}

#[test]
fn template_for_sh_reports_on_the_machine() {
    if installed("jq").is_none() {
        return;
    }
    let server = logged(&["box: disk", "bob: oh heck", "bob: a\ttab, \"quotes\" and a \\", "box: 'hello' $(date)"]);
    let place = Place::new();
    place.run(&["new", "box", "--kind=sh"]);
    raise_timeout(&place);
    let output = place.run(&["test", "--data", server.data().to_str().unwrap(), "box"]);
    let answer = output.lines().find(|line| line.contains("would send") && line.contains('%')).unwrap_or(&output);
    expect![[r#"
        TIME alice → box: disk  (waiting for box)
            message: passes (T ms)
            mail: done (T ms)
                how full the disk is
        TIME alice → bob: oh heck  (waiting for bob)
            message: rejected: we do not say that here (T ms)
        TIME alice → bob: a	tab, "quotes" and a \  (waiting for bob)
            message: passes (T ms)
        TIME alice → box: 'hello' $(date)  (waiting for box)
            message: passes (T ms)
            mail: done (T ms)
                would send to alice: write load or disk
        messages: 4, calls: 6, failures: 0; a call took T ms (median), T ms at most
        exit 0
    "#]]
    .assert_eq(&output.replace(answer, "        how full the disk is"));
}

#[test]
fn template_for_python_rolls_dice() {
    if installed("python3").is_none() {
        return;
    }
    let server = logged(&["dice: 1d1", "dice: 3d1", "dice: hello", "bob: oh Heck", "bob: hello"]);
    let place = Place::new();
    place.run(&["new", "dice", "--kind=python"]);
    raise_timeout(&place);
    place.check_dry_run(
        &server,
        &["dice"],
        expect![[r#"
        TIME alice → dice: 1d1  (waiting for dice)
            message: passes (T ms)
            mail: done (T ms)
                would send to alice: 1 = 1
        TIME alice → dice: 3d1  (waiting for dice)
            message: passes (T ms)
            mail: done (T ms)
                would send to alice: 1 + 1 + 1 = 3
        TIME alice → dice: hello  (waiting for dice)
            message: passes (T ms)
            mail: done (T ms)
                would send to alice: write the number of dice and of their sides, such as 2d6
        TIME alice → bob: oh Heck  (waiting for bob)
            message: rejected: we do not say "heck" here (T ms)
        TIME alice → bob: hello  (waiting for bob)
            message: passes (T ms)
        messages: 5, calls: 8, failures: 0; a call took T ms (median), T ms at most
        exit 0
    "#]],
    );
}

/// Raises the timeout of the last plugin, for a busy machine.
fn raise_timeout(place: &Place) {
    let list = place.read("plugins.toml").replace("hooks =", "timeout_ms = 60000\nhooks =");
    fs::write(place.path().join("plugins.toml"), list).unwrap();
}

// holdline plugin test

#[test]
fn dry_run_reports_each_verdict_and_each_effect() {
    let server = logged(&["bob: hello", "bob: heck", "bob: psst", "bob: loud", "bob, carol: wrong", "p: hello"]);
    let code = r##"
        function start() log("started") end
        function stop() store.set("stopped", true) end
        function message(m)
            if m.text == "heck" then return { reject = "mind your\nlanguage" } end
            if m.text == "psst" then return { drop = true } end
            if m.text == "loud" then return { text = m.text:upper() } end
            if m.text == "wrong" then return { to = { "dave", "#home" } } end
        end
        function logged(m)
            store.set("last", { m.seq, m.from, m.to })
            if m.text == "hello" then chat.send({ "bob", "#home" }, "one\ntwo") end
        end
        function mail(m)
            chat.join("#home")
            chat.leave("#home")
            store.set("last", nil)
            chat.send("bob", tostring(store.get("last")))
        end
    "##;
    let list = script("p", r#"["start", "stop", "message", "logged", "mail"]"#);
    let place = Place::new().with("plugins.toml", &list).with("p.luau", code);
    place.check_dry_run(
        &server,
        &["p"],
        expect![[r#"
        p
            start: done (T ms)
        TIME alice → bob: hello  (waiting for bob)
            message: passes (T ms)
            logged: done (T ms)
                would store last = [1,"alice",["bob"]]
                would send to bob, #home: one two
        TIME alice → bob: heck  (waiting for bob)
            message: rejected: mind your language (T ms)
            logged: done (T ms)
                would store last = [2,"alice",["bob"]]
        TIME alice → bob: psst  (waiting for bob)
            message: dropped (T ms)
            logged: done (T ms)
                would store last = [3,"alice",["bob"]]
        TIME alice → bob: loud  (waiting for bob)
            message: replaced: LOUD (T ms)
            logged: done (T ms)
                would store last = [4,"alice",["bob"]]
        TIME alice → bob, carol: wrong  (waiting for bob, carol)
            message: replaced to dave, #home (T ms)
            logged: done (T ms)
                would store last = [5,"alice",["bob","carol"]]
        TIME alice → p: hello  (waiting for p)
            message: passes (T ms)
            logged: done (T ms)
                would store last = [6,"alice",["p"]]
                would send to bob, #home: one two
            mail: done (T ms)
                would join #home
                would leave #home
                would remove last
                would send to bob: nil
        p
            stop: done (T ms)
                would store stopped = true
        messages: 6, calls: 15, failures: 0; a call took T ms (median), T ms at most
        TIME INFO plugin p: started
        exit 0
    "#]],
    );
    place.check_dry_run(
        &server,
        &["p", "--last=1"],
        expect![[r#"
        p
            start: done (T ms)
        TIME alice → p: hello  (waiting for p)
            message: passes (T ms)
            logged: done (T ms)
                would store last = [6,"alice",["p"]]
                would send to bob, #home: one two
            mail: done (T ms)
                would join #home
                would leave #home
                would remove last
                would send to bob: nil
        p
            stop: done (T ms)
                would store stopped = true
        messages: 1, calls: 5, failures: 0; a call took T ms (median), T ms at most
        TIME INFO plugin p: started
        exit 0
    "#]],
    );
    assert_eq!(server.sqlite("select count(*) from message"), "6", "a dry run sends nothing");
}

#[test]
fn failures_are_reported_and_counted() {
    let server = logged(&["bob: one", "bob: two"]);
    let code = r#"
        function message(m)
            if m.text == "one" then error("not this one") end
            if chat.who() then return { drop = true } end
        end
        function logged(m)
            if m.text == "two" then while true do end end
        end
    "#;
    let list = script("p", r#"["message", "logged"]"#) + "on_failure = \"reject\"\ntimeout_ms = 100\n";
    let place = Place::new().with("plugins.toml", &list).with("p.luau", code);
    place.check_dry_run(&server, &["p"], expect![[r#"
        TIME alice → bob: one  (waiting for bob)
            message: no answer: message failed: ./p.luau:3: not this one; rejected (on_failure) (T ms)
            logged: done (T ms)
        TIME alice → bob: two  (waiting for bob)
            message: no answer: message failed: ./p.luau:4: chat.who: there is no server in a dry run; rejected (on_failure) (T ms)
            logged: no answer: logged ran longer than T ms (timeout_ms) (T ms)
        messages: 2, calls: 4, failures: 3; a call took T ms (median), T ms at most
        exit 1
    "#]]);
}

#[test]
fn requests_of_a_program_get_replies_as_if_carried_out() {
    let server = logged(&["bob: hello", "door: hello"]);
    // It answers a call of `message` only after the reply to what it sent.
    let code = r##"#!/bin/sh
        while read -r line; do
            id=${line#*\"id\":\"}
            case $line in *'"hook"'*) call=${id%%\"*} ;; esac
            case $line in
            *'"hook":"message"'*) echo '{"type":"send","id":"s","to":["carol"],"text":"knock knock"}' ;;
            *'"type":"accepted"'*) printf '{"id":"%s"}\n' "$call" ;;
            *'"hook":"mail"'*)
                echo '{"type":"join","id":"j","room":"#home"}'
                echo '{"type":"leave","id":"l","room":"#home"}'
                echo '{"type":"send","id":"b","to":["a b"],"text":"x"}'
                echo '{"type":"who","id":"w"}'
                ;;
            *'"id":"w"'*) printf '{"id":"%s","error":"nobody is here"}\n' "$call" ;;
            esac
        done
    "##;
    let list = program("door", r#"["message", "mail"]"#);
    let place = with_program(Place::new().with("plugins.toml", &list), "door.sh", code);
    place.check_dry_run(&server, &["door"], expect![[r#"
        TIME alice → bob: hello  (waiting for bob)
            message: passes (T ms)
                would send to carol: knock knock
        TIME alice → door: hello  (waiting for door)
            message: passes (T ms)
                would send to carol: knock knock
            mail: no answer: mail failed: nobody is here (T ms)
                would join #home
                would leave #home
                would be refused: bad_name: "a b" contains a blank; a name is 1 to 32 letters, marks or digits of any script, "-", "_" or ".", and starts with a letter or a digit; not sent
                would ask the server; there is none in a dry run
        messages: 2, calls: 3, failures: 1; a call took T ms (median), T ms at most
        exit 1
    "#]]);
}

#[test]
fn dry_run_over_nothing_explains_why() {
    let server = logged(&["bob: hello"]);
    let place = Place::new().with("p.luau", "function mail() end").with("q.luau", "function join() end");
    let place = place.with("plugins.toml", &(script("p", r#"["mail"]"#) + &script("q", r#"["join"]"#)));
    place.check_dry_run(
        &server,
        &["p"],
        expect![[r#"
        messages: 1, calls: 0; it would be called for none of the messages
        exit 0
    "#]],
    );
    place.check_dry_run(
        &server,
        &["q"],
        expect![[r#"
        messages: 1, calls: 0; it has none of the hooks message, logged and mail
        exit 0
    "#]],
    );
    place.check_dry_run(
        &server,
        &["r"],
        expect![[r#"
        holdline: there is no plugin r; there are p, q
        exit 2
    "#]],
    );
    place.check(&["test", "p", "--data=absent"], expect![[r#"
        holdline: there is no database absent/holdline.db; start the server once to create it, or choose its directory with --data DIR
        exit 1
    "#]]);
    place.check(
        &["test", "p", "--last=0"],
        expect![[r#"
            holdline: couldn't parse `0`: --last must be a whole number from 1 to 10000 (see holdline --help)
            exit 2
        "#]],
    );
    place.check(
        &["test", "p", "--last=10001"],
        expect![[r#"
            holdline: couldn't parse `10001`: --last must be a whole number from 1 to 10000 (see holdline --help)
            exit 2
        "#]],
    );
}
