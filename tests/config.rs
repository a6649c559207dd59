//! Configuration of the binary: flags, files and the environment, and the errors for mistakes in them. Owns the texts,
//! as snapshots; never looks inside.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};

use expect_test::{Expect, expect};
use tempfile::TempDir;

/// Directory in which `holdline` is started.
struct Place(TempDir);

impl Place {
    /// Creates an empty directory.
    fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    /// Adds this file, and its directory.
    fn with(self, name: &str, text: impl AsRef<[u8]>) -> Place {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        self
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn holdline(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_holdline"));
        command.args(arguments).current_dir(self.path()).env_remove("HOLDLINE_LOG").stdin(Stdio::null());
        command
    }

    /// Checks the output and how the command ends.
    fn check(&self, arguments: &[&str], expected: Expect) {
        expected.assert_eq(&outcome(&mut self.holdline(arguments)));
    }
}

/// Both outputs and the exit code; a server is killed as soon as it serves, and `serves` is the last line.
fn outcome(command: &mut Command) -> String {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut written = String::new();
    for line in BufReader::new(child.stderr.take().unwrap()).lines() {
        written += &(line.unwrap() + "\n");
        if written.contains(" INFO ") {
            child.kill().unwrap();
            child.wait().unwrap();
            return written + "serves\n";
        }
    }
    child.stdout.take().unwrap().read_to_string(&mut written).unwrap();
    let code = child.wait().unwrap().code().unwrap();
    written + &format!("exit {code}\n")
}

/// Checks how a `holdline.toml` with this text is refused.
fn check_file(text: impl AsRef<[u8]>, expected: Expect) {
    Place::new().with("holdline.toml", text).check(&[], expected);
}

/// Checks how a `plugins.toml` with this text is refused, beside a script and a program.
fn check_plugins(text: &str, expected: Expect) {
    let place = Place::new().with("manners.luau", "").with("door.sh", "");
    place.with("plugins.toml", text).check(&["--listen=127.0.0.1:0"], expected);
}

/// Checks how a script of five lines followed by these is refused.
fn check_script(lines: &str, expected: Expect) {
    let script = "[[plugin]]\nname = \"manners\"\nkind = \"luau\"\npath = \"manners.luau\"\nhooks = [\"message\"]\n";
    check_plugins(&format!("{script}{lines}"), expected);
}

/// Checks how a program of four lines followed by these is refused.
fn check_program(lines: &str, expected: Expect) {
    let program = "[[plugin]]\nname = \"door\"\nkind = \"process\"\npath = \"door.sh\"\n";
    check_plugins(&format!("{program}{lines}"), expected);
}

/// Checks how these arguments are refused.
fn check_arguments(arguments: &[&str], expected: Expect) {
    Place::new().check(arguments, expected);
}

/// Checks that these arguments start a server in this directory. Returns what it logs until it serves.
fn serves(place: &Place, arguments: &[&str]) -> String {
    let log = outcome(&mut place.holdline(arguments));
    assert!(log.ends_with("serves\n"), "{log}");
    log
}

#[test]
fn server_starts_with_and_without_the_subcommand_serve() {
    let place = Place::new();
    for arguments in [&["--listen", "127.0.0.1:0"] as &[_], &["serve", "--listen=localhost:0", "--data=d"]] {
        let log = serves(&place, arguments);
        assert_eq!(log.lines().count(), 2, "quiet but for one line: {log}");
        let (time, rest) = log.split_once(' ').unwrap();
        assert_eq!((time.len(), &time[10..11], &time[23..]), (24, "T", "Z"), "{log}");
        assert!(rest.starts_with("INFO "), "{log}");
    }
}

#[test]
fn open_server_logs_a_warning() {
    let place = Place::new().with("holdline.toml", "listen = [\"127.0.0.1:0\", \"0.0.0.0:0\"]\nopen = true");
    let log = serves(&place, &[]);
    assert_eq!(log.matches(" WARN ").count(), 1, "{log}");
    assert!(log.contains(" WARN 0.0.0.0:0 can be reached from other machines"), "{log}");
}

#[test]
fn empty_list_of_plugins_is_valid() {
    serves(&Place::new().with("plugins.toml", "# none\n"), &["--listen=127.0.0.1:0"]);
    serves(&Place::new().with("none.toml", "plugin = []"), &["--listen=127.0.0.1:0", "--plugins=none.toml"]);
}

#[test]
fn file_with_all_defaults_changes_nothing() {
    let defaults = r#"
        listen = ["127.0.0.1:0"]
        data = "holdline-data"
        plugins = "plugins.toml"
        durability = "power-loss"
        open = false

        [limits]
        mailbox_max = 10000
    "#;
    serves(&Place::new().with("holdline.toml", defaults), &[]);
}

#[test]
fn invalid_keys_are_refused() {
    check_file(
        "# a comment\n\nlisen = [\"127.0.0.1:7878\"]\n",
        expect![[r#"
            holdline: holdline.toml:3: unknown key `lisen`; known keys: listen, data, plugins, durability, open, accounts, tls, limits, retention
            exit 2
        "#]],
    );
    check_file(
        "[limits]\nmailbox = 5",
        expect![[r#"
            holdline: holdline.toml:2: unknown key `limits.mailbox`; known keys: connections_max, connections_per_address_max, connects_per_address_per_s, login_timeout_s, dead_after_s, messages_per_s, destinations_max, mailbox_max, room_waiting_max, unknown_names_max, rooms_max
            exit 2
        "#]],
    );
    check_file(
        "[limits]\nopen = true",
        expect![[r#"
            holdline: holdline.toml:2: unknown key `limits.open`; `open` belongs above the first [table]; known keys: connections_max, connections_per_address_max, connects_per_address_per_s, login_timeout_s, dead_after_s, messages_per_s, destinations_max, mailbox_max, room_waiting_max, unknown_names_max, rooms_max
            exit 2
        "#]],
    );
    check_file(
        "mailbox_max = 5",
        expect![[r#"
            holdline: holdline.toml:1: unknown key `mailbox_max`; `mailbox_max` belongs in the table `limits`; known keys: listen, data, plugins, durability, open, accounts, tls, limits, retention
            exit 2
        "#]],
    );
    check_file(
        "data = \"a\"\n\ndata = \"b\"",
        expect![[r#"
            holdline: holdline.toml:3: `data` is set twice; remove one of them
            exit 2
        "#]],
    );
    check_file(
        "[limits]\n[limits]",
        expect![[r#"
            holdline: holdline.toml:2: `limits` is set twice; remove one of them
            exit 2
        "#]],
    );
}

#[test]
fn invalid_types_are_refused() {
    check_file(
        "\ndata = 5",
        expect![[r#"
            holdline: holdline.toml:2: data = 5 is not valid; expected a directory, such as "holdline-data"
            exit 2
        "#]],
    );
    check_file(
        "data = [\n  \"a\",\n]",
        expect![[r#"
            holdline: holdline.toml:1: data = [ … is not valid; expected a directory, such as "holdline-data"
            exit 2
        "#]],
    );
    check_file(
        "[data]\npath = \"a\"",
        expect![[r#"
            holdline: holdline.toml:1: data is a table; expected a directory, such as "holdline-data"
            exit 2
        "#]],
    );
    check_file(
        "plugins = true",
        expect![[r#"
            holdline: holdline.toml:1: plugins = true is not valid; expected a file, such as "plugins.toml"
            exit 2
        "#]],
    );
    check_file(
        "durability = 5",
        expect![[r#"
            holdline: holdline.toml:1: durability = 5 is not valid; use "power-loss" or "crash"
            exit 2
        "#]],
    );
    check_file(
        "durability.crash = {}",
        expect![[r#"
            holdline: holdline.toml:1: durability is a table; use "power-loss" or "crash"
            exit 2
        "#]],
    );
    check_file(
        "open = \"yes\"",
        expect![[r#"
            holdline: holdline.toml:1: open = "yes" is not valid; use true or false
            exit 2
        "#]],
    );
    check_file(
        "open = 1.5",
        expect![[r#"
            holdline: holdline.toml:1: open = 1.5 is not valid; use true or false
            exit 2
        "#]],
    );
    check_file(
        "limits = 5",
        expect![[r#"
            holdline: holdline.toml:1: limits = 5 is not valid; expected a table: [limits] on its own line, with its keys below
            exit 2
        "#]],
    );
    check_file(
        "[[limits]]\nmailbox_max = 5",
        expect![[r#"
            holdline: holdline.toml:1: limits = [[limits]] is not valid; expected a table: [limits] on its own line, with its keys below
            exit 2
        "#]],
    );
    check_file(
        "[limits]\nmailbox_max = \"many\"",
        expect![[r#"
            holdline: holdline.toml:2: limits.mailbox_max = "many" is not valid; expected a number of messages, such as 10000, or 0 for no limit
            exit 2
        "#]],
    );
    check_file(
        "[limits.mailbox_max]",
        expect![[r#"
            holdline: holdline.toml:1: limits.mailbox_max is a table; expected a number of messages, such as 10000, or 0 for no limit
            exit 2
        "#]],
    );
    check_file(
        "listen = \"127.0.0.1:7878\"",
        expect![[r#"
            holdline: holdline.toml:1: listen = "127.0.0.1:7878" is not valid; expected a list of HOST:PORT, such as ["127.0.0.1:7878"]
            exit 2
        "#]],
    );
    check_file(
        "listen = [\n  \"127.0.0.1:7878\",\n  7878,\n]",
        expect![[r#"
            holdline: holdline.toml:3: 7878 in listen is not valid; expected a list of HOST:PORT, such as ["127.0.0.1:7878"]
            exit 2
        "#]],
    );
}

#[test]
fn invalid_values_are_refused() {
    check_file(
        "\n\n\ndurability = \"power\"",
        expect![[r#"
            holdline: holdline.toml:4: durability = "power" is not valid; use "power-loss" or "crash"
            exit 2
        "#]],
    );
    check_file(
        "[limits]\nmailbox_max = -1",
        expect![[r#"
            holdline: holdline.toml:2: limits.mailbox_max = -1 is not valid; expected a number of messages, such as 10000, or 0 for no limit
            exit 2
        "#]],
    );
    check_file(
        "[retention]\nmax_age = \"long\"",
        expect![[r#"
            holdline: holdline.toml:2: retention.max_age = "long" is not valid; expected a time, such as "90 days", "12h" or "1 year"; leave it out to keep everything
            exit 2
        "#]],
    );
    check_file(
        "[retention]\nmax_age = \"0s\"",
        expect![[r#"
            holdline: holdline.toml:2: retention.max_age = "0s" is not valid; expected a time, such as "90 days", "12h" or "1 year"; leave it out to keep everything
            exit 2
        "#]],
    );
    check_file(
        "[retention]\nmax_age = 90",
        expect![[r#"
            holdline: holdline.toml:2: retention.max_age = 90 is not valid; expected a time, such as "90 days", "12h" or "1 year"; leave it out to keep everything
            exit 2
        "#]],
    );
    check_file(
        "[retention]\nmax_size = \"large\"",
        expect![[r#"
            holdline: holdline.toml:2: retention.max_size = "large" is not valid; expected a size, such as "500 MB" or "2 GiB"; leave it out to keep everything
            exit 2
        "#]],
    );
    check_file(
        "[retention]\nmax_size = \"0 MB\"",
        expect![[r#"
            holdline: holdline.toml:2: retention.max_size = "0 MB" is not valid; expected a size, such as "500 MB" or "2 GiB"; leave it out to keep everything
            exit 2
        "#]],
    );
    check_file(
        "[retention]\nmax_size = true",
        expect![[r#"
            holdline: holdline.toml:2: retention.max_size = true is not valid; expected a size, such as "500 MB" or "2 GiB"; leave it out to keep everything
            exit 2
        "#]],
    );
    check_file(
        "limits = { mailbox_max = 99999999999999999999 }",
        expect![[r#"
            holdline: holdline.toml:1: limits.mailbox_max = 99999999999999999999 is not valid; expected a number of messages, such as 10000, or 0 for no limit
            exit 2
        "#]],
    );
    check_file(
        "data = \"\"",
        expect![[r#"
            holdline: holdline.toml:1: data = "" is not a path; write one, or leave it out for the default
            exit 2
        "#]],
    );
    check_file(
        "plugins = \"a\\u0000b\"",
        expect![[r#"
            holdline: holdline.toml:1: plugins = "a\u0000b" is not a path; write one, or leave it out for the default
            exit 2
        "#]],
    );
    check_file(
        "plugins = \"absent.toml\"",
        expect![[r#"
            holdline: holdline.toml:1: plugins = "absent.toml" does not exist; correct the path, or leave it out for the default
            exit 2
        "#]],
    );
}

#[test]
fn invalid_addresses_are_refused() {
    check_file(
        "listen = []",
        expect![[r#"
            holdline: holdline.toml:1: listen = [] lists no address; add one, or leave it out for the default
            exit 2
        "#]],
    );
    check_file(
        "listen = [\n  \"127.0.0.1:7878\",\n  \"localhost\",\n]",
        expect![[r#"
            holdline: holdline.toml:3: "localhost" in listen is not an address; expected HOST:PORT, such as 127.0.0.1:7878, [::1]:7878 or localhost:7878, with a port up to 65535
            exit 2
        "#]],
    );
    check_arguments(
        &["--listen", "::1:7878"],
        expect![[r#"
            holdline: --listen "::1:7878" is not an address; expected HOST:PORT, such as 127.0.0.1:7878, [::1]:7878 or localhost:7878, with a port up to 65535
            exit 2
        "#]],
    );
    check_arguments(
        &["--listen", ":7878"],
        expect![[r#"
            holdline: --listen ":7878" is not an address; expected HOST:PORT, such as 127.0.0.1:7878, [::1]:7878 or localhost:7878, with a port up to 65535
            exit 2
        "#]],
    );
    check_arguments(
        &["--listen", "localhost:78780"],
        expect![[r#"
            holdline: --listen "localhost:78780" is not an address; expected HOST:PORT, such as 127.0.0.1:7878, [::1]:7878 or localhost:7878, with a port up to 65535
            exit 2
        "#]],
    );
    check_arguments(
        &["--listen", ""],
        expect![[r#"
            holdline: --listen "" is not an address; expected HOST:PORT, such as 127.0.0.1:7878, [::1]:7878 or localhost:7878, with a port up to 65535
            exit 2
        "#]],
    );
    check_file(
        "listen = [\"127.0.0.1:7878\", \"0.0.0.0:7878\"]",
        expect![[r#"
            holdline: holdline.toml:1: "0.0.0.0:7878" in listen can be reached from other machines, and anyone there could log in as anyone who has no password, and listen on the way; either set required = true below [accounts] and a certificate below [tls], or, on a network that you trust, use --open or open = true; otherwise listen on 127.0.0.1
            exit 2
        "#]],
    );
    check_arguments(
        &["--listen", "127.0.0.1:7878", "--listen", "[::]:7878"],
        expect![[r#"
            holdline: --listen "[::]:7878" can be reached from other machines, and anyone there could log in as anyone who has no password, and listen on the way; either set required = true below [accounts] and a certificate below [tls], or, on a network that you trust, use --open or open = true; otherwise listen on 127.0.0.1
            exit 2
        "#]],
    );
}

/// The reason is in the words of the system.
#[test]
fn unknown_host_is_refused() {
    let log = outcome(&mut Place::new().holdline(&["--listen=no-such-host.invalid:7878"]));
    assert!(log.starts_with("holdline: --listen \"no-such-host.invalid:7878\" cannot be resolved ("), "{log}");
    assert!(log.ends_with("; use another host, or an IP address\nexit 2\n"), "{log}");
}

#[test]
fn invalid_syntax_is_refused() {
    check_file(
        "data = holdline-data",
        expect![[r#"
            holdline: holdline.toml:1: `data = holdline-data` is not TOML: string values must be quoted, expected literal string; expected KEY = VALUE, with strings in double quotes
            exit 2
        "#]],
    );
    check_file(
        "open = True",
        expect![[r#"
            holdline: holdline.toml:1: `open = True` is not TOML: invalid boolean, expected `true`; expected KEY = VALUE, with strings in double quotes
            exit 2
        "#]],
    );
    check_file(
        "open = false\ndata = \"log\n",
        expect![[r#"
            holdline: holdline.toml:2: `data = "log` is not TOML: invalid basic string, expected `"`; expected KEY = VALUE, with strings in double quotes
            exit 2
        "#]],
    );
    check_file(
        "[limits\n",
        expect![[r#"
            holdline: holdline.toml:1: `[limits` is not TOML: unclosed table, expected `]`; expected KEY = VALUE, with strings in double quotes
            exit 2
        "#]],
    );
    check_file(
        "data\n",
        expect![[r#"
            holdline: holdline.toml:1: `data` is not TOML: key with no value, expected `=`; expected KEY = VALUE, with strings in double quotes
            exit 2
        "#]],
    );
    check_file(
        b"data = \"log\"\n# caf\xe9\n",
        expect![[r#"
        holdline: holdline.toml:2: this line is not UTF-8; save the file as UTF-8
        exit 2
    "#]],
    );
}

#[test]
fn unreadable_files_are_refused() {
    check_arguments(
        &["--config", "absent.toml"],
        expect![[r#"
            holdline: --config "absent.toml" does not exist; correct the path, or leave it out for the default
            exit 2
        "#]],
    );
    check_arguments(
        &["--config", ""],
        expect![[r#"
            holdline: --config "" is not a path; write one, or leave it out for the default
            exit 2
        "#]],
    );
    check_arguments(
        &["--config", "."],
        expect![[r#"
            holdline: cannot read .: Is a directory (os error 21)
            exit 2
        "#]],
    );
    check_arguments(
        &["--plugins", "absent.toml"],
        expect![[r#"
            holdline: --plugins "absent.toml" does not exist; correct the path, or leave it out for the default
            exit 2
        "#]],
    );
    check_arguments(
        &["--data", ""],
        expect![[r#"
            holdline: --data "" is not a path; write one, or leave it out for the default
            exit 2
        "#]],
    );
    Place::new().with("conf/chat.toml", "\nopen = 1").check(
        &["--config=conf/chat.toml"],
        expect![[r#"
            holdline: conf/chat.toml:2: open = 1 is not valid; use true or false
            exit 2
        "#]],
    );
    Place::new().with("holdline.toml", "data = 1").check(
        &["history"],
        expect![[r#"
            holdline: holdline.toml:1: data = 1 is not valid; expected a directory, such as "holdline-data"
            exit 2
        "#]],
    );
}

#[test]
fn invalid_list_of_plugins_is_refused() {
    check_plugins(
        "[plugin]\nname = \"manners\"",
        expect![[r#"
            holdline: plugins.toml:1: plugin is a table; expected [[plugin]] on its own line, with the keys of a plugin below
            exit 2
        "#]],
    );
    check_plugins(
        "[[plugins]]\nname = \"manners\"",
        expect![[r#"
            holdline: plugins.toml:1: unknown key `plugins`; known keys: plugin
            exit 2
        "#]],
    );
    check_plugins(
        "name = \"manners\"",
        expect![[r#"
            holdline: plugins.toml:1: unknown key `name`; `name` belongs in the table `plugin`; known keys: plugin
            exit 2
        "#]],
    );
    check_plugins(
        "plugin = \"manners\"",
        expect![[r#"
            holdline: plugins.toml:1: plugin = "manners" is not valid; expected [[plugin]] on its own line, with the keys of a plugin below
            exit 2
        "#]],
    );
    check_plugins(
        "plugin = [1]",
        expect![[r#"
            holdline: plugins.toml:1: 1 in plugin is not valid; expected [[plugin]] on its own line, with the keys of a plugin below
            exit 2
        "#]],
    );
    check_plugins(
        "[[plugin]\n",
        expect![[r#"
            holdline: plugins.toml:1: `[[plugin]` is not TOML: unclosed array table, expected `]`; expected KEY = VALUE, with strings in double quotes
            exit 2
        "#]],
    );
    check_plugins(
        "[[plugin]]\n\n[[plugin]]\nnam = \"manners\"",
        expect![[r#"
            holdline: plugins.toml:4: unknown key `plugin.nam`; known keys: name, kind, path, arguments, env, hooks, timeout_ms, on_failure, tick_s, take_name, user, memory_max, cpu_s_max, processes_max, settings, commands
            exit 2
        "#]],
    );
    check_plugins(
        "plugin = [{ nam = \"manners\" }]",
        expect![[r#"
            holdline: plugins.toml:1: unknown key `plugin.nam`; known keys: name, kind, path, arguments, env, hooks, timeout_ms, on_failure, tick_s, take_name, user, memory_max, cpu_s_max, processes_max, settings, commands
            exit 2
        "#]],
    );
}

#[test]
fn plugin_without_required_keys_is_refused() {
    check_plugins(
        "# mine\n\n[[plugin]]\n",
        expect![[r#"
            holdline: plugins.toml:3: this [[plugin]] has no name; expected a name, such as "manners"
            exit 2
        "#]],
    );
    check_plugins(
        "[[plugin]]\nname = \"manners\"",
        expect![[r#"
        holdline: plugins.toml:1: this [[plugin]] has no kind; use "luau" or "process"
        exit 2
    "#]],
    );
    check_plugins(
        "[[plugin]]\nname = \"manners\"\nkind = \"luau\"",
        expect![[r#"
            holdline: plugins.toml:1: this [[plugin]] has no path; expected a file, such as "plugins/manners.luau"
            exit 2
        "#]],
    );
    check_plugins(
        "[[plugin]]\nname = \"manners\"\nkind = \"luau\"\npath = \"manners.luau\"",
        expect![[r#"
            holdline: plugins.toml:1: a script without hooks is never called; the hooks are connect, login, message, command, mail, logged, join, leave, delivered, tick, start, stop, reload
            exit 2
        "#]],
    );
    check_plugins(
        "[[plugin]]\nname = \"manners\"\nkind = \"luau\"\npath = \"manners.luau\"\nhooks = []",
        expect![[r#"
            holdline: plugins.toml:5: a script without hooks is never called; the hooks are connect, login, message, command, mail, logged, join, leave, delivered, tick, start, stop, reload
            exit 2
        "#]],
    );
}

#[test]
fn invalid_keys_of_plugins_are_refused() {
    check_script(
        "hook = \"message\"",
        expect![[r#"
            holdline: plugins.toml:6: unknown key `plugin.hook`; known keys: name, kind, path, arguments, env, hooks, timeout_ms, on_failure, tick_s, take_name, user, memory_max, cpu_s_max, processes_max, settings, commands
            exit 2
        "#]],
    );
    check_script(
        "user = \"nobody\"",
        expect![[r#"
            holdline: plugins.toml:6: plugin.user = "nobody" works only with kind = "process"; remove it
            exit 2
        "#]],
    );
    check_script(
        "arguments = [\"--quiet\"]",
        expect![[r#"
            holdline: plugins.toml:6: plugin.arguments = ["--quiet"] works only with kind = "process"; remove it
            exit 2
        "#]],
    );
    check_script(
        "cpu_s_max = 5",
        expect![[r#"
            holdline: plugins.toml:6: plugin.cpu_s_max = 5 works only with kind = "process"; remove it
            exit 2
        "#]],
    );
    check_script(
        "processes_max = 5",
        expect![[r#"
        holdline: plugins.toml:6: plugin.processes_max = 5 works only with kind = "process"; remove it
        exit 2
    "#]],
    );
    check_script(
        "[plugin.env]\nTZ = \"UTC\"",
        expect![[r#"
        holdline: plugins.toml:6: plugin.env works only with kind = "process"; remove it
        exit 2
    "#]],
    );
    check_script(
        "[plugin.setings]\nwords = []",
        expect![[r#"
            holdline: plugins.toml:6: unknown key `plugin.setings`; known keys: name, kind, path, arguments, env, hooks, timeout_ms, on_failure, tick_s, take_name, user, memory_max, cpu_s_max, processes_max, settings, commands
            exit 2
        "#]],
    );
    check_script(
        "mailbox_max = 5",
        expect![[r#"
            holdline: plugins.toml:6: unknown key `plugin.mailbox_max`; known keys: name, kind, path, arguments, env, hooks, timeout_ms, on_failure, tick_s, take_name, user, memory_max, cpu_s_max, processes_max, settings, commands
            exit 2
        "#]],
    );
}

#[test]
fn invalid_types_of_plugin_keys_are_refused() {
    check_plugins(
        "[[plugin]]\nname = 5",
        expect![[r#"
            holdline: plugins.toml:2: plugin.name = 5 is not valid; expected a name, such as "manners"
            exit 2
        "#]],
    );
    check_plugins(
        "[[plugin]]\nname = \"a\"\nkind = true",
        expect![[r#"
            holdline: plugins.toml:3: plugin.kind = true is not valid; use "luau" or "process"
            exit 2
        "#]],
    );
    check_program(
        "path = \"again\"",
        expect![[r#"
            holdline: plugins.toml:5: `path` is set twice; remove one of them
            exit 2
        "#]],
    );
    check_program(
        "arguments = \"--quiet\"",
        expect![[r#"
            holdline: plugins.toml:5: plugin.arguments = "--quiet" is not valid; expected a list of strings, such as ["--quiet"]
            exit 2
        "#]],
    );
    check_program(
        "arguments = [\"--level\", 5]",
        expect![[r#"
            holdline: plugins.toml:5: 5 in plugin.arguments is not valid; expected a list of strings, such as ["--quiet"]
            exit 2
        "#]],
    );
    check_program(
        "hooks = \"message\"",
        expect![[r#"
            holdline: plugins.toml:5: plugin.hooks = "message" is not valid; the hooks are connect, login, message, command, mail, logged, join, leave, delivered, tick, start, stop, reload
            exit 2
        "#]],
    );
    check_program(
        "hooks = [\"message\", 5]",
        expect![[r#"
            holdline: plugins.toml:5: 5 in plugin.hooks is not valid; the hooks are connect, login, message, command, mail, logged, join, leave, delivered, tick, start, stop, reload
            exit 2
        "#]],
    );
    check_program(
        "hooks = { message = true }",
        expect![[r#"
        holdline: plugins.toml:5: plugin.hooks is a table; the hooks are connect, login, message, command, mail, logged, join, leave, delivered, tick, start, stop, reload
        exit 2
    "#]],
    );
    check_script(
        "timeout_ms = \"fast\"",
        expect![[r#"
            holdline: plugins.toml:6: plugin.timeout_ms = "fast" is not valid; expected a number of milliseconds from 1 to 60000, such as 200
            exit 2
        "#]],
    );
    check_script(
        "on_failure = false",
        expect![[r#"
            holdline: plugins.toml:6: plugin.on_failure = false is not valid; use "pass" or "reject"
            exit 2
        "#]],
    );
    check_script(
        "tick_s = 1.5",
        expect![[r#"
            holdline: plugins.toml:6: plugin.tick_s = 1.5 is not valid; expected a number of seconds from 1 to 604800, such as 60
            exit 2
        "#]],
    );
    check_program(
        "user = 1000",
        expect![[r#"
            holdline: plugins.toml:5: plugin.user = 1000 is not valid; expected a user of the system, such as "nobody"
            exit 2
        "#]],
    );
    check_script(
        "memory_max = 64",
        expect![[r#"
            holdline: plugins.toml:6: plugin.memory_max = 64 is not valid; expected a size, such as "64 MB"
            exit 2
        "#]],
    );
    check_program(
        "cpu_s_max = \"5 s\"",
        expect![[r#"
            holdline: plugins.toml:5: plugin.cpu_s_max = "5 s" is not valid; expected a number of seconds from 1, such as 600
            exit 2
        "#]],
    );
    check_program(
        "processes_max = 0",
        expect![[r#"
        holdline: plugins.toml:5: plugin.processes_max = 0 is not valid; expected a number of processes from 1, such as 64
        exit 2
    "#]],
    );
    check_program(
        "env = [\"TZ\"]",
        expect![[r#"
        holdline: plugins.toml:5: plugin.env = ["TZ"] is not valid; expected a table: [plugin.env] on its own line, with a line for each variable below, such as TZ = "Europe/Berlin"
        exit 2
    "#]],
    );
    check_program(
        "env = { TZ = 1 }",
        expect![[r#"
        holdline: plugins.toml:5: plugin.env.TZ = 1 is not valid; expected a string, such as "Europe/Berlin"
        exit 2
    "#]],
    );
    check_program(
        "env = { \"\" = 'y' }",
        expect![[r#"
            holdline: plugins.toml:5: "" is not the name of a variable; use A-Z, a-z, 0-9 and "_", not starting with a digit
            exit 2
        "#]],
    );
    check_program(
        "env = { \"A=B\" = 'y' }",
        expect![[r#"
            holdline: plugins.toml:5: "A=B" is not the name of a variable; use A-Z, a-z, 0-9 and "_", not starting with a digit
            exit 2
        "#]],
    );
    check_program(
        "env = { 2ND = 'y' }",
        expect![[r#"
            holdline: plugins.toml:5: "2ND" is not the name of a variable; use A-Z, a-z, 0-9 and "_", not starting with a digit
            exit 2
        "#]],
    );
    check_program(
        "env = { HOLDLINE_X = 'y' }",
        expect![[r#"
            holdline: plugins.toml:5: "HOLDLINE_X" begins with HOLDLINE_, as the variables that holdline sets; use another name
            exit 2
        "#]],
    );
    check_program(
        "env = { TZ = \"a\\u0000\" }",
        expect![[r#"
        holdline: plugins.toml:5: plugin.env.TZ = "a\u0000" contains U+0000, which a variable cannot contain; remove it
        exit 2
    "#]],
    );
    check_script(
        "settings = [\"heck\"]",
        expect![[r#"
            holdline: plugins.toml:6: plugin.settings = ["heck"] is not valid; expected a table: [plugin.settings] on its own line, with its keys below
            exit 2
        "#]],
    );
    check_script(
        "commands = \"weather\"",
        expect![[r#"
            holdline: plugins.toml:6: plugin.commands = "weather" is not valid; expected a table: [plugin.commands] on its own line, with a line for each command below, such as weather = "PLACE: the weather there"
            exit 2
        "#]],
    );
    check_script(
        "[plugin.commands]\nweather = 5",
        expect![[r#"
            holdline: plugins.toml:7: plugin.commands.weather = 5 is not valid; expected a line of 1 to 200 characters for /help, such as "PLACE: the weather there"
            exit 2
        "#]],
    );
    check_script(
        "[plugin.commands.weather]\nhelp = \"the weather\"",
        expect![[r#"
            holdline: plugins.toml:6: plugin.commands.weather is a table; expected a line of 1 to 200 characters for /help, such as "PLACE: the weather there"
            exit 2
        "#]],
    );
    check_script(
        "[[plugin.commands]]\nweather = \"the weather\"",
        expect![[r#"
            holdline: plugins.toml:6: plugin.commands = [[plugin.commands]] is not valid; expected a table: [plugin.commands] on its own line, with a line for each command below, such as weather = "PLACE: the weather there"
            exit 2
        "#]],
    );
}

#[test]
fn invalid_values_of_plugins_are_refused() {
    check_plugins(
        "[[plugin]]\nname = \"bob smith\"",
        expect![[r#"
            holdline: plugins.toml:2: plugin.name is not valid: "bob smith" contains a blank; a name is 1 to 32 letters, marks or digits of any script, "-", "_" or ".", and starts with a letter or a digit
            exit 2
        "#]],
    );
    check_plugins(
        "[[plugin]]\nname = \"\"",
        expect![[r#"
            holdline: plugins.toml:2: plugin.name is not valid: a name is missing; a name is 1 to 32 letters, marks or digits of any script, "-", "_" or ".", and starts with a letter or a digit
            exit 2
        "#]],
    );
    check_plugins(
        "[[plugin]]\nname = \"a\"\nkind = \"lua\"",
        expect![[r#"
            holdline: plugins.toml:3: plugin.kind = "lua" is not valid; use "luau" or "process"
            exit 2
        "#]],
    );
    check_plugins(
        "[[plugin]]\nname = \"a\"\nkind = \"embedded\"",
        expect![[r#"
            holdline: plugins.toml:3: plugin.kind = "embedded" is not valid; use "luau" or "process"
            exit 2
        "#]],
    );
    check_program(
        "hooks = [\n  \"message\",\n  \"massage\",\n]",
        expect![[r#"
            holdline: plugins.toml:7: "massage" in plugin.hooks is not a hook; the hooks are connect, login, message, command, mail, logged, join, leave, delivered, tick, start, stop, reload
            exit 2
        "#]],
    );
    check_script(
        "timeout_ms = 0",
        expect![[r#"
            holdline: plugins.toml:6: plugin.timeout_ms = 0 is not valid; expected a number of milliseconds from 1 to 60000, such as 200
            exit 2
        "#]],
    );
    check_script(
        "timeout_ms = 60001",
        expect![[r#"
            holdline: plugins.toml:6: plugin.timeout_ms = 60001 is not valid; expected a number of milliseconds from 1 to 60000, such as 200
            exit 2
        "#]],
    );
    check_script(
        "timeout_ms = -1",
        expect![[r#"
            holdline: plugins.toml:6: plugin.timeout_ms = -1 is not valid; expected a number of milliseconds from 1 to 60000, such as 200
            exit 2
        "#]],
    );
    check_script(
        "on_failure = \"drop\"",
        expect![[r#"
            holdline: plugins.toml:6: plugin.on_failure = "drop" is not valid; use "pass" or "reject"
            exit 2
        "#]],
    );
    check_program(
        "hooks = [\"tick\"]\ntick_s = 0",
        expect![[r#"
            holdline: plugins.toml:6: plugin.tick_s = 0 is not valid; expected a number of seconds from 1 to 604800, such as 60
            exit 2
        "#]],
    );
    check_program(
        "hooks = [\"tick\"]\ntick_s = 604801",
        expect![[r#"
            holdline: plugins.toml:6: plugin.tick_s = 604801 is not valid; expected a number of seconds from 1 to 604800, such as 60
            exit 2
        "#]],
    );
    check_program(
        "arguments = [\"a\\u0000b\"]",
        expect![[r#"
            holdline: plugins.toml:5: "a\u0000b" in plugin.arguments contains U+0000, which an argument cannot contain; remove it
            exit 2
        "#]],
    );
    check_program(
        "user = \"\"",
        expect![[r#"
            holdline: plugins.toml:5: plugin.user = "" is not valid; expected a user of the system, such as "nobody"
            exit 2
        "#]],
    );
    check_program(
        "user = \"a\\u0000b\"",
        expect![[r#"
            holdline: plugins.toml:5: plugin.user = "a\u0000b" is not valid; expected a user of the system, such as "nobody"
            exit 2
        "#]],
    );
    check_script(
        "memory_max = \"large\"",
        expect![[r#"
            holdline: plugins.toml:6: plugin.memory_max = "large" is not valid; expected a size, such as "64 MB"
            exit 2
        "#]],
    );
    check_script(
        "memory_max = \"0 MB\"",
        expect![[r#"
            holdline: plugins.toml:6: plugin.memory_max = "0 MB" is not valid; expected a size, such as "64 MB"
            exit 2
        "#]],
    );
    check_program(
        "cpu_s_max = 0",
        expect![[r#"
            holdline: plugins.toml:5: plugin.cpu_s_max = 0 is not valid; expected a number of seconds from 1, such as 600
            exit 2
        "#]],
    );
    check_script(
        "settings.most = 9223372036854775808",
        expect![[r#"
            holdline: plugins.toml:6: plugin.settings.most = 9223372036854775808 is not valid; expected a string, or a number that fits 64 bits
            exit 2
        "#]],
    );
    check_script(
        "[plugin.settings.deep]\nmost = [1, 9223372036854775808]",
        expect![[r#"
            holdline: plugins.toml:7: 9223372036854775808 in plugin.settings.deep.most is not valid; expected a string, or a number that fits 64 bits
            exit 2
        "#]],
    );
    check_script(
        "\n[plugin.settings]\nmost = inf",
        expect![[r#"
            holdline: plugins.toml:7: plugin.settings contains nan or inf, which JSON cannot express; write it as a string
            exit 2
        "#]],
    );
}

#[test]
fn invalid_ticks_are_refused() {
    check_program(
        "hooks = [\"tick\"]",
        expect![[r#"
            holdline: plugins.toml:5: the hook "tick" needs plugin.tick_s; expected a number of seconds from 1 to 604800, such as 60
            exit 2
        "#]],
    );
    check_script(
        "tick_s = 60",
        expect![[r#"
            holdline: plugins.toml:6: plugin.tick_s has no effect without the hook "tick"; add the hook, or remove tick_s
            exit 2
        "#]],
    );
}

#[test]
fn invalid_commands_are_refused() {
    check_program(
        "hooks = [\"command\"]",
        expect![[r#"
            holdline: plugins.toml:5: the hook "command" needs plugin.commands; expected a table: [plugin.commands] on its own line, with a line for each command below, such as weather = "PLACE: the weather there"
            exit 2
        "#]],
    );
    check_program(
        "hooks = [\"command\"]\n[plugin.commands]",
        expect![[r#"
            holdline: plugins.toml:5: the hook "command" needs plugin.commands; expected a table: [plugin.commands] on its own line, with a line for each command below, such as weather = "PLACE: the weather there"
            exit 2
        "#]],
    );
    check_script(
        "\n[plugin.commands]\nweather = \"PLACE: the weather there\"",
        expect![[r#"
            holdline: plugins.toml:7: plugin.commands has no effect without the hook "command"; add the hook, or remove commands
            exit 2
        "#]],
    );
    check_program(
        "hooks = [\"command\"]\n[plugin.commands]\nWeather = \"PLACE: the weather there\"",
        expect![[r#"
            holdline: plugins.toml:7: "Weather" is not a command name; use 1 to 32 of a-z, 0-9 and "-", starting with a letter
            exit 2
        "#]],
    );
    check_program(
        "hooks = [\"command\"]\n[plugin.commands]\n\"/weather\" = \"PLACE: the weather there\"",
        expect![[r#"
            holdline: plugins.toml:7: "/weather" is not a command name; use 1 to 32 of a-z, 0-9 and "-", starting with a letter
            exit 2
        "#]],
    );
    check_program(
        "hooks = [\"command\"]\n[plugin.commands]\n2day = \"the day\"",
        expect![[r#"
            holdline: plugins.toml:7: "2day" is not a command name; use 1 to 32 of a-z, 0-9 and "-", starting with a letter
            exit 2
        "#]],
    );
    check_program(
        "hooks = [\"command\"]\n[plugin.commands]\nthe-weather-of-the-day-after-tomorrow = \"the weather\"",
        expect![[r#"
            holdline: plugins.toml:7: "the-weather-of-the-day-after-tomorrow" is not a command name; use 1 to 32 of a-z, 0-9 and "-", starting with a letter
            exit 2
        "#]],
    );
    check_program(
        "hooks = [\"command\"]\n[plugin.commands]\nweather = \"\"",
        expect![[r#"
            holdline: plugins.toml:7: plugin.commands.weather = "" is not valid; expected a line of 1 to 200 characters for /help, such as "PLACE: the weather there"
            exit 2
        "#]],
    );
    check_program(
        "hooks = [\"command\"]\n[plugin.commands]\nweather = \"\"\"PLACE:\nthe weather there\"\"\"",
        expect![[r#"
            holdline: plugins.toml:7: plugin.commands.weather = """PLACE: … is not valid; expected a line of 1 to 200 characters for /help, such as "PLACE: the weather there"
            exit 2
        "#]],
    );
    check_program(
        "hooks = [\"command\"]\n[plugin.commands]\nweather = \"the weather\"\nwho = \"who knows?\"",
        expect![[r#"
            holdline: plugins.toml:8: "who" is a command of holdline itself; use another name
            exit 2
        "#]],
    );
}

#[test]
fn help_text_of_a_command_is_bounded() {
    let lines = |text: &str| format!("hooks = [\"command\"]\n[plugin.commands]\nweather = \"{text}\"");
    check_program(
        &lines(&"é".repeat(201)),
        expect![[r#"
            holdline: plugins.toml:7: plugin.commands.weather = "ééééééééééééééééééééééééééééééééééééééé… is not valid; expected a line of 1 to 200 characters for /help, such as "PLACE: the weather there"
            exit 2
        "#]],
    );
    let script = format!("name = \"sky\"\nkind = \"luau\"\npath = \"sky.luau\"\n{}", lines(&"é".repeat(200)));
    let place = Place::new().with("sky.luau", "function command() end");
    let place = place.with("plugins.toml", format!("[[plugin]]\n{script}"));
    serves(&place, &["--listen=127.0.0.1:0"]);
}

#[test]
fn duplicates_among_plugins_are_refused() {
    let plugin = |name: &str, command: &str| {
        format!(
            "[[plugin]]\nname = \"{name}\"\nkind = \"luau\"\npath = \"manners.luau\"\nhooks = [\"command\"]\n\
             commands.{command} = \"what it does\"\n"
        )
    };
    check_plugins(
        &(plugin("manners", "weather") + &plugin("Manners", "moon")),
        expect![[r#"
            holdline: plugins.toml:8: plugin.name = "Manners" is also the name of the plugin in line 2; rename one of them
            exit 2
        "#]],
    );
    check_plugins(
        &(plugin("manners", "weather") + &plugin("sky", "weather")),
        expect![[r#"
            holdline: plugins.toml:12: "weather" is also a command of the plugin in line 6; rename one of them
            exit 2
        "#]],
    );
}

#[test]
fn too_many_plugins_are_refused() {
    let plugin = |number: usize| format!("[[plugin]]\nname = \"p{number}\"\nkind = \"process\"\npath = \"door.sh\"\n");
    check_plugins(
        &(0..101).map(plugin).collect::<String>(),
        expect![[r#"
            holdline: plugins.toml:401: there are more than 100 plugins; remove some
            exit 2
        "#]],
    );
    let command = |number: usize| format!("c{number} = \"what it does\"\n");
    check_program(
        &format!("hooks = [\"command\"]\n[plugin.commands]\n{}", (0..101).map(command).collect::<String>()),
        expect![[r#"
            holdline: plugins.toml:107: the plugins have more than 100 commands together; remove some
            exit 2
        "#]],
    );
}

#[test]
fn unusable_files_of_plugins_are_refused() {
    let plugin =
        |path: &str| format!("[[plugin]]\nname = \"a\"\nkind = \"luau\"\npath = \"{path}\"\nhooks = [\"message\"]");
    check_plugins(
        &plugin("plugins/manners.luau"),
        expect![[r#"
            holdline: plugins.toml:4: plugin.path = "plugins/manners.luau" names ./plugins/manners.luau, which does not exist; a path is relative to the directory of this file
            exit 2
        "#]],
    );
    check_plugins(
        &plugin(""),
        expect![[r#"
            holdline: plugins.toml:4: plugin.path = "" names ./, which is not a file; a path is relative to the directory of this file
            exit 2
        "#]],
    );
    check_plugins(
        &plugin("."),
        expect![[r#"
            holdline: plugins.toml:4: plugin.path = "." names ./., which is not a file; a path is relative to the directory of this file
            exit 2
        "#]],
    );
    check_plugins(
        &plugin("manners.luau/a"),
        expect![[r#"
            holdline: plugins.toml:4: plugin.path = "manners.luau/a" names ./manners.luau/a, which cannot be read (Not a directory (os error 20)); a path is relative to the directory of this file
            exit 2
        "#]],
    );
    check_plugins(
        &plugin("a\\u0000b"),
        expect![[r#"
            holdline: plugins.toml:4: plugin.path = "a\u0000b" names ./a�b, which cannot be read (file name contained an unexpected NUL byte); a path is relative to the directory of this file
            exit 2
        "#]],
    );
    Place::new()
        .with("manners.luau", "")
        .with("conf/chat.toml", plugin("manners.luau"))
        .check(&["--plugins=conf/chat.toml"], expect![[r#"
            holdline: conf/chat.toml:4: plugin.path = "manners.luau" names conf/manners.luau, which does not exist; a path is relative to the directory of this file
            exit 2
        "#]]);
    Place::new().with("plugins.toml/a", "").check(
        &[],
        expect![[r#"
            holdline: cannot read plugins.toml: Is a directory (os error 21)
            exit 2
        "#]],
    );
}

/// `holdline plugin check` reports the mistakes in a script or a program too; its own tests cover them.
#[test]
fn plugin_that_does_not_load_is_refused() {
    let place = Place::new().with("manners.luau", "function message(").with("door.sh", "");
    let plugin = "name = \"a\"\nkind = \"luau\"\npath = \"manners.luau\"\nhooks = [\"message\"]";
    let log = outcome(&mut place.with("plugins.toml", format!("[[plugin]]\n{plugin}")).holdline(&[]));
    assert!(log.contains("manners.luau:1: ") && log.ends_with("\nexit 2\n"), "{log}");
}

#[test]
fn invalid_arguments_are_refused() {
    check_arguments(
        &["--lisen", "127.0.0.1:7878"],
        expect![[r#"
            holdline: no such flag: `--lisen`, did you mean `--listen`? (see holdline --help)
            exit 2
        "#]],
    );
    check_arguments(
        &["--listen"],
        expect![[r#"
            holdline: `--listen` requires an argument `ADDR` (see holdline --help)
            exit 2
        "#]],
    );
    check_arguments(
        &["--data", "--open"],
        expect![[r#"
            holdline: `--data` requires an argument `DIR`, got a flag `--open`, try `--data=--open` to use it as an argument (see holdline --help)
            exit 2
        "#]],
    );
    check_arguments(
        &["--data=a", "--data=b"],
        expect![[r#"
            holdline: argument `--data` cannot be used multiple times in this context (see holdline --help)
            exit 2
        "#]],
    );
    check_arguments(
        &["sevre"],
        expect![[r#"
            holdline: no such command or positional: `sevre`, did you mean `serve`? (see holdline --help)
            exit 2
        "#]],
    );
    check_arguments(
        &["serve", "--last=3"],
        expect![[r#"
            holdline: no such flag: `--last`, did you mean `--listen`? (see holdline --help)
            exit 2
        "#]],
    );
    check_arguments(
        &["--last=3"],
        expect![[r#"
            holdline: flag `--last` is not valid in this context, did you mean to pass it to command `search`? (see holdline --help)
            exit 2
        "#]],
    );
    check_arguments(
        &["history", "--open"],
        expect![[r#"
            holdline: no such flag: `--open`, did you mean `--json`? (see holdline --help)
            exit 2
        "#]],
    );
    check_arguments(
        &["history", "--last=0"],
        expect![[r#"
            holdline: couldn't parse `0`: --last must be a whole number from 1 (see holdline --help)
            exit 2
        "#]],
    );
    check_arguments(
        &["history", "--last", "all"],
        expect![[r#"
            holdline: couldn't parse `all`: --last must be a whole number from 1 (see holdline --help)
            exit 2
        "#]],
    );
}

/// Other tests cover the mistakes in names.
#[test]
fn invalid_name_is_refused() {
    let log = outcome(&mut Place::new().holdline(&["history", "--with", "bob smith"]));
    assert!(log.starts_with("holdline: couldn't parse `bob smith`: --with: "), "{log}");
    assert!(log.ends_with("\nexit 2\n"), "{log}");
}

#[test]
fn invalid_log_level_is_refused() {
    let place = Place::new();
    let check = |level: &str, expected: Expect| {
        expected.assert_eq(&outcome(place.holdline(&["history"]).env("HOLDLINE_LOG", level)));
    };
    check(
        "loud",
        expect![[r#"
        holdline: HOLDLINE_LOG = "loud" is not valid; use error, warn, info, debug or trace
        exit 2
    "#]],
    );
    check(
        "off",
        expect![[r#"
        holdline: HOLDLINE_LOG = "off" is not valid; use error, warn, info, debug or trace
        exit 2
    "#]],
    );
    for level in ["", "info", "Debug", "TRACE"] {
        let log = outcome(place.holdline(&["--listen=127.0.0.1:0"]).env("HOLDLINE_LOG", level));
        assert!(log.ends_with("serves\n"), "{level}: {log}");
    }
}

#[test]
fn help_and_version_are_printed() {
    check_arguments(
        &["--version"],
        expect![[r#"
        holdline 0.1.0
        exit 0
    "#]],
    );
    check_arguments(
        &["--help"],
        expect![[r#"
            A chat server for small devices; nc is enough as a client

            Usage:
                holdline [serve] [--listen=ADDR]... [--data=DIR] [--config=FILE] [--plugins=FILE] [--open]
                holdline send [--to=NAMES] [--as=NAME] [--server=ADDR] [--pin=FP] [--id=PREFIX] [--timeout=S] [TEXT]
                holdline send --queue=DIR [--to=NAMES] [TEXT]
                holdline send --drain=DIR [--once] [--as=NAME] [--server=ADDR] [--pin=FP] [--timeout=S]
                holdline tail [--as=NAME] [--server=ADDR] [--pin=FP] [--json] [--after=SEQ] [--count=N]
                holdline history [--data=DIR] [--config=FILE] [--with=NAME] [--before=N] [--last=N] [--json]
                holdline search [--data=DIR] [--config=FILE] [--with=NAME] [--before=N] [--last=N] [--json] WORDS...
                holdline doctor [--data=DIR] [--config=FILE]
                holdline backup [--data=DIR] [--config=FILE] FILE
                holdline peer remove [--data=DIR] [--config=FILE] [--yes] NAME
                holdline room remove [--data=DIR] [--config=FILE] [--yes] ROOM
                holdline reload [--data=DIR] [--config=FILE] [--plugins=FILE]
                holdline plugin check [--config=FILE] [--plugins=FILE]
                holdline plugin new [--config=FILE] [--plugins=FILE] --kind=KIND NAME
                holdline plugin test [--data=DIR] [--config=FILE] [--plugins=FILE] [--last=N] NAME
                holdline tls fingerprint [--data=DIR] [--config=FILE]

            Available options:
                -V, --version       Prints the version
                    --listen=ADDR   HOST:PORT to listen on; may be repeated [default: 127.0.0.1:7878]
                    --data=DIR      Directory of the database [default: holdline-data]
                    --config=FILE   Configuration file [default: holdline.toml, if it exists]
                    --plugins=FILE  List of the plugins, in order [default: plugins.toml, if it exists]
                    --open          Allows addresses that other machines can reach, though anyone there can log
                                    in as anyone without a password
                -h, --help          Prints help information

            Available commands:
                serve               Runs the server, like holdline without a subcommand
                send                Sends a text, or the lines of standard input
                tail                Prints messages as they arrive
                history             Prints the log
                search              Searches the log for words
                doctor              Examines the database and reports problems
                backup              Copies the database to a file
                reload              Makes the running server reload its plugins
                peer                Removes a peer
                room                Removes a room
                plugin              Checks plugins, creates one, or tries one
                tls                 Shows the server's certificate

            HOLDLINE_LOG sets the level of the log: error, warn, info (the default), debug or trace.
            Example:
                holdline --data=/var/lib/holdline
                nc localhost 7878                    # in another terminal
            exit 0
        "#]],
    );
    check_arguments(
        &["serve", "--help"],
        expect![[r#"
            Runs the server until SIGINT or SIGTERM

            Usage: holdline serve [--listen=ADDR]... [--data=DIR] [--config=FILE] [--plugins=FILE] [--open]

            Flags win over the configuration file.

            Available options:
                    --listen=ADDR   HOST:PORT to listen on; may be repeated [default: 127.0.0.1:7878]
                    --data=DIR      Directory of the database [default: holdline-data]
                    --config=FILE   Configuration file [default: holdline.toml, if it exists]
                    --plugins=FILE  List of the plugins, in order [default: plugins.toml, if it exists]
                    --open          Allows addresses that other machines can reach, though anyone there can log
                                    in as anyone without a password
                -h, --help          Prints help information

            Example:
                holdline serve --listen=192.168.1.10:7878 --open --data=/var/lib/holdline
            exit 0
        "#]],
    );
    check_arguments(
        &["plugin", "--help"],
        expect![[r#"
            Checks, creates and tests plugins

            Usage: holdline plugin COMMAND ...

            Available options:
                -h, --help  Prints help information

            Available commands:
                check       Loads all plugins and reports mistakes
                new         Creates a working plugin to start from
                test        Runs a plugin over the log, without carrying out anything

            Example:
                holdline plugin new notes --kind=luau
            exit 0
        "#]],
    );
    check_arguments(
        &["plugin", "check", "--help"],
        expect![[r#"
            Reads plugins.toml and loads every plugin, as the server does when it starts

            Usage: holdline plugin check [--config=FILE] [--plugins=FILE]

            Exits with 0 if all plugins are fine, and with 2 if one is not.

            Available options:
                    --config=FILE   Configuration file [default: holdline.toml, if it exists]
                    --plugins=FILE  List of the plugins, in order [default: plugins.toml, if it exists]
                -h, --help          Prints help information

            Example:
                holdline plugin check && holdline reload
            exit 0
        "#]],
    );
    check_arguments(
        &["plugin", "new", "--help"],
        expect![[r#"
            Creates a working plugin and adds it to plugins.toml

            Usage: holdline plugin new [--config=FILE] [--plugins=FILE] --kind=KIND NAME

            It creates a file in plugins/ and appends an entry to plugins.toml. Existing files and entries stay
            unchanged.

            Available positional items:
                NAME                Name of the plugin, also in the chat

            Available options:
                    --config=FILE   Configuration file [default: holdline.toml, if it exists]
                    --plugins=FILE  List of the plugins, in order [default: plugins.toml, if it exists]
                    --kind=KIND     Language: luau (runs inside holdline), sh (needs jq), or python
                -h, --help          Prints help information

            Example:
                holdline plugin new notes --kind=luau
            exit 0
        "#]],
    );
    check_arguments(
        &["plugin", "test", "--help"],
        expect![[r#"
            Runs a plugin over the newest messages of the log and prints what it would have done; carries out
            nothing

            Usage: holdline plugin test [--data=DIR] [--config=FILE] [--plugins=FILE] [--last=N] NAME

            It calls the hooks message, logged, and (for messages to NAME) mail. A server may be running. Exits
            with 1 if a call failed.

            Available positional items:
                NAME                Name of the plugin in plugins.toml

            Available options:
                    --data=DIR      Directory of the database [default: holdline-data]
                    --config=FILE   Configuration file [default: holdline.toml, if it exists]
                    --plugins=FILE  List of the plugins, in order [default: plugins.toml, if it exists]
                    --last=N        Number of newest messages [default: 100]
                -h, --help          Prints help information

            Example:
                holdline plugin test manners --last=20 --data=/var/lib/holdline
            exit 0
        "#]],
    );
    check_arguments(
        &["history", "--help"],
        expect![[r#"
            Prints the log, oldest message first; the server may be running

            Usage: holdline history [--data=DIR] [--config=FILE] [--with=NAME] [--before=N] [--last=N] [--json]

            Available options:
                    --data=DIR     Directory of the database [default: holdline-data]
                    --config=FILE  Configuration file [default: holdline.toml, if it exists]
                    --with=NAME    Only messages that NAME sent or could read, or messages in the room '#NAME'
                    --before=N     Only messages before seq N, which --json shows
                    --last=N       Number of newest messages [default: 20]
                    --json         Prints each message as a JSON object, with its text unchanged
                -h, --help         Prints help information

            Example:
                holdline history --with=alice --last=5
            exit 0
        "#]],
    );
}

/// A reader that ends early, as `head` does, is not a mistake.
#[test]
fn closed_pipe_is_not_an_error() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = Place::new().holdline(&["--help"]).stdout(writer).output().unwrap();
    assert_eq!((String::from_utf8(output.stderr).unwrap(), output.status.code()), (String::new(), Some(0)));
}

/// The database is expected where the server would put it: flag, then file, then default.
#[test]
fn history_without_a_database_is_refused() {
    let place = Place::new().with("conf/chat.toml", "data = \"log\"");
    let check = |arguments: &[&str], directory: &str| {
        let log = outcome(&mut place.holdline(arguments));
        assert!(log.starts_with("holdline: ") && log.ends_with("\nexit 1\n"), "{log}");
        assert!(log.contains(directory), "{directory} is not in: {log}");
        assert!(!place.path().join(directory).exists(), "reading made {directory}");
    };
    check(&["history"], "holdline-data");
    check(&["history", "--config=conf/chat.toml"], "conf/log");
    check(&["history", "--config=conf/chat.toml", "--data=mine"], "mine");
}
