//! The binary from outside: what it makes of flags, files and the environment, and in which words it refuses a mistake.
//! Owns the words, as snapshots; never looks inside.

use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};

use expect_test::{Expect, expect};
use tempfile::TempDir;

/// A directory in which `holdline` is started.
struct Place(TempDir);

impl Place {
    /// An empty one.
    fn new() -> Place {
        Place(tempfile::tempdir().unwrap())
    }

    /// With this file in it, its directory included.
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

    /// Checks what is written, and how it ends.
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

/// Checks how a `plugins.toml` with this text is refused.
fn check_plugins(text: &str, expected: Expect) {
    Place::new().with("plugins.toml", text).check(&["--listen=127.0.0.1:0"], expected);
}

/// Checks how these arguments are refused.
fn check_arguments(arguments: &[&str], expected: Expect) {
    Place::new().check(arguments, expected);
}

/// Checks that these arguments, in this place, start a server, and returns what it logs until it serves.
fn serves(place: &Place, arguments: &[&str]) -> String {
    let log = outcome(&mut place.holdline(arguments));
    assert!(log.ends_with("serves\n"), "{log}");
    log
}

#[test]
fn it_serves_with_and_without_the_word() {
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
fn what_is_open_is_warned_of() {
    let place = Place::new().with("holdline.toml", "listen = [\"127.0.0.1:0\", \"0.0.0.0:0\"]\nopen = true");
    let log = serves(&place, &[]);
    assert_eq!(log.matches(" WARN ").count(), 1, "{log}");
    assert!(log.contains(" WARN 0.0.0.0:0 can be reached from other machines"), "{log}");
}

#[test]
fn a_list_of_no_plugins_is_fine() {
    serves(&Place::new().with("plugins.toml", "# none\n"), &["--listen=127.0.0.1:0"]);
    serves(&Place::new().with("none.toml", "plugin = []"), &["--listen=127.0.0.1:0", "--plugins=none.toml"]);
}

#[test]
fn a_file_that_spells_out_the_defaults_changes_nothing() {
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
fn keys() {
    check_file(
        "# a comment\n\nlisen = [\"127.0.0.1:7878\"]\n",
        expect![[r#"
            holdline: holdline.toml:3: unknown key `lisen`; the keys are listen, data, plugins, durability, open, limits, retention
            exit 2
        "#]],
    );
    check_file(
        "[limits]\nmailbox = 5",
        expect![[r#"
            holdline: holdline.toml:2: unknown key `limits.mailbox`; the keys of [limits] are connections_max, connections_per_address_max, login_timeout_s, dead_after_s, messages_per_s, destinations_max, mailbox_max, unknown_names_max, rooms_max
            exit 2
        "#]],
    );
    check_file(
        "[limits]\nopen = true",
        expect![[r#"
            holdline: holdline.toml:2: unknown key `limits.open`; `open` belongs above the first [table]; the keys of [limits] are connections_max, connections_per_address_max, login_timeout_s, dead_after_s, messages_per_s, destinations_max, mailbox_max, unknown_names_max, rooms_max
            exit 2
        "#]],
    );
    check_file(
        "mailbox_max = 5",
        expect![[r#"
            holdline: holdline.toml:1: unknown key `mailbox_max`; `mailbox_max` belongs below [limits]; the keys are listen, data, plugins, durability, open, limits, retention
            exit 2
        "#]],
    );
    check_file(
        "data = \"a\"\n\ndata = \"b\"",
        expect![[r#"
        holdline: holdline.toml:3: `data` is there twice; keep one of them
        exit 2
    "#]],
    );
    check_file(
        "[limits]\n[limits]",
        expect![[r#"
        holdline: holdline.toml:2: `limits` is there twice; keep one of them
        exit 2
    "#]],
    );
}

#[test]
fn types() {
    check_file(
        "\ndata = 5",
        expect![[r#"
        holdline: holdline.toml:2: data = 5 is an integer; a string is wanted, such as "holdline-data"
        exit 2
    "#]],
    );
    check_file(
        "data = [\n  \"a\",\n]",
        expect![[r#"
        holdline: holdline.toml:1: data = [ … is an array; a string is wanted, such as "holdline-data"
        exit 2
    "#]],
    );
    check_file(
        "[data]\npath = \"a\"",
        expect![[r#"
        holdline: holdline.toml:1: data is a table; a string is wanted, such as "holdline-data"
        exit 2
    "#]],
    );
    check_file(
        "plugins = true",
        expect![[r#"
        holdline: holdline.toml:1: plugins = true is a boolean; a string is wanted, such as "plugins.toml"
        exit 2
    "#]],
    );
    check_file(
        "durability = 5",
        expect![[r#"
        holdline: holdline.toml:1: durability = 5 is an integer; use "power-loss" or "crash"
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
        holdline: holdline.toml:1: open = "yes" is a string; use true or false
        exit 2
    "#]],
    );
    check_file(
        "open = 1.5",
        expect![[r#"
        holdline: holdline.toml:1: open = 1.5 is a float; use true or false
        exit 2
    "#]],
    );
    check_file(
        "limits = 5",
        expect![[r#"
        holdline: holdline.toml:1: limits = 5 is an integer; a table is wanted: [limits] on a line of its own, its keys below
        exit 2
    "#]],
    );
    check_file(
        "[[limits]]\nmailbox_max = 5",
        expect![[r#"
        holdline: holdline.toml:1: limits = [[limits]] is an array; a table is wanted: [limits] on a line of its own, its keys below
        exit 2
    "#]],
    );
    check_file(
        "[limits]\nmailbox_max = \"many\"",
        expect![[r#"
            holdline: holdline.toml:2: limits.mailbox_max = "many" is a string; a number of messages is wanted, such as 10000, or 0 for no cap
            exit 2
        "#]],
    );
    check_file(
        "[limits.mailbox_max]",
        expect![[r#"
            holdline: holdline.toml:1: limits.mailbox_max is a table; a number of messages is wanted, such as 10000, or 0 for no cap
            exit 2
        "#]],
    );
    check_file(
        "listen = \"127.0.0.1:7878\"",
        expect![[r#"
        holdline: holdline.toml:1: listen = "127.0.0.1:7878" is a string; a list of HOST:PORT is wanted, such as ["127.0.0.1:7878"]
        exit 2
    "#]],
    );
    check_file(
        "listen = [\n  \"127.0.0.1:7878\",\n  7878,\n]",
        expect![[r#"
        holdline: holdline.toml:3: 7878 in listen is an integer; a list of HOST:PORT is wanted, such as ["127.0.0.1:7878"]
        exit 2
    "#]],
    );
}

#[test]
fn values() {
    check_file(
        "\n\n\ndurability = \"power\"",
        expect![[r#"
        holdline: holdline.toml:4: durability = "power" is not possible; use "power-loss" or "crash"
        exit 2
    "#]],
    );
    check_file(
        "[limits]\nmailbox_max = -1",
        expect![[r#"
            holdline: holdline.toml:2: limits.mailbox_max = -1 is not possible; a number of messages is wanted, such as 10000, or 0 for no cap
            exit 2
        "#]],
    );
    check_file(
        "[retention]\nmax_age = \"long\"",
        expect![[r#"
        holdline: holdline.toml:2: retention.max_age = "long" is not possible; a time is wanted, such as "90 days", "12h" or "1 year"; leave it out to keep everything
        exit 2
    "#]],
    );
    check_file(
        "[retention]\nmax_age = \"0s\"",
        expect![[r#"
        holdline: holdline.toml:2: retention.max_age = "0s" is not possible; a time is wanted, such as "90 days", "12h" or "1 year"; leave it out to keep everything
        exit 2
    "#]],
    );
    check_file(
        "[retention]\nmax_age = 90",
        expect![[r#"
        holdline: holdline.toml:2: retention.max_age = 90 is an integer; a time is wanted, such as "90 days", "12h" or "1 year"; leave it out to keep everything
        exit 2
    "#]],
    );
    check_file(
        "[retention]\nmax_size = \"large\"",
        expect![[r#"
        holdline: holdline.toml:2: retention.max_size = "large" is not possible; a size is wanted, such as "500 MB" or "2 GiB"; leave it out to keep everything
        exit 2
    "#]],
    );
    check_file(
        "[retention]\nmax_size = \"0 MB\"",
        expect![[r#"
        holdline: holdline.toml:2: retention.max_size = "0 MB" is not possible; a size is wanted, such as "500 MB" or "2 GiB"; leave it out to keep everything
        exit 2
    "#]],
    );
    check_file(
        "[retention]\nmax_size = true",
        expect![[r#"
        holdline: holdline.toml:2: retention.max_size = true is a boolean; a size is wanted, such as "500 MB" or "2 GiB"; leave it out to keep everything
        exit 2
    "#]],
    );
    check_file(
        "limits = { mailbox_max = 99999999999999999999 }",
        expect![[r#"
            holdline: holdline.toml:1: limits.mailbox_max = 99999999999999999999 is not possible; a number of messages is wanted, such as 10000, or 0 for no cap
            exit 2
        "#]],
    );
    check_file(
        "data = \"\"",
        expect![[r#"
        holdline: holdline.toml:1: data = "" is no path; leave it out for the default, or name one
        exit 2
    "#]],
    );
    check_file(
        "plugins = \"a\\u0000b\"",
        expect![[r#"
        holdline: holdline.toml:1: plugins = "a\u0000b" is no path; leave it out for the default, or name one
        exit 2
    "#]],
    );
    check_file(
        "plugins = \"absent.toml\"",
        expect![[r#"
            holdline: holdline.toml:1: plugins = "absent.toml" names a file that does not exist; mend the path, or leave it out for the default
            exit 2
        "#]],
    );
}

#[test]
fn addresses() {
    check_file(
        "listen = []",
        expect![[r#"
        holdline: holdline.toml:1: listen = [] names no address; leave it out for the default, or name one
        exit 2
    "#]],
    );
    check_file(
        "listen = [\n  \"127.0.0.1:7878\",\n  \"localhost\",\n]",
        expect![[r#"
        holdline: holdline.toml:3: "localhost" in listen is no address; HOST:PORT is wanted, such as 127.0.0.1:7878, [::1]:7878 or localhost:7878, with a port up to 65535
        exit 2
    "#]],
    );
    check_arguments(
        &["--listen", "::1:7878"],
        expect![[r#"
        holdline: --listen "::1:7878" is no address; HOST:PORT is wanted, such as 127.0.0.1:7878, [::1]:7878 or localhost:7878, with a port up to 65535
        exit 2
    "#]],
    );
    check_arguments(
        &["--listen", ":7878"],
        expect![[r#"
        holdline: --listen ":7878" is no address; HOST:PORT is wanted, such as 127.0.0.1:7878, [::1]:7878 or localhost:7878, with a port up to 65535
        exit 2
    "#]],
    );
    check_arguments(
        &["--listen", "localhost:78780"],
        expect![[r#"
        holdline: --listen "localhost:78780" is no address; HOST:PORT is wanted, such as 127.0.0.1:7878, [::1]:7878 or localhost:7878, with a port up to 65535
        exit 2
    "#]],
    );
    check_arguments(
        &["--listen", ""],
        expect![[r#"
        holdline: --listen "" is no address; HOST:PORT is wanted, such as 127.0.0.1:7878, [::1]:7878 or localhost:7878, with a port up to 65535
        exit 2
    "#]],
    );
    check_file(
        "listen = [\"127.0.0.1:7878\", \"0.0.0.0:7878\"]",
        expect![[r#"
        holdline: holdline.toml:1: "0.0.0.0:7878" in listen can be reached from other machines, and nobody proves who they are yet: anyone who reaches the port can log in as anyone; if that is what you want, say so with --open or with open = true in the configuration file, otherwise listen on 127.0.0.1
        exit 2
    "#]],
    );
    check_arguments(
        &["--listen", "127.0.0.1:7878", "--listen", "[::]:7878"],
        expect![[r#"
        holdline: --listen "[::]:7878" can be reached from other machines, and nobody proves who they are yet: anyone who reaches the port can log in as anyone; if that is what you want, say so with --open or with open = true in the configuration file, otherwise listen on 127.0.0.1
        exit 2
    "#]],
    );
}

/// The reason is the system's, in its own words.
#[test]
fn an_unknown_host() {
    let log = outcome(&mut Place::new().holdline(&["--listen=no-such-host.invalid:7878"]));
    assert!(log.starts_with("holdline: --listen \"no-such-host.invalid:7878\" cannot be resolved ("), "{log}");
    assert!(log.ends_with("; name another host, or its address\nexit 2\n"), "{log}");
}

#[test]
fn syntax() {
    check_file(
        "data = holdline-data",
        expect![[r#"
        holdline: holdline.toml:1: `data = holdline-data` is not TOML: string values must be quoted, expected literal string; KEY = VALUE is wanted, a string in double quotes
        exit 2
    "#]],
    );
    check_file(
        "open = True",
        expect![[r#"
        holdline: holdline.toml:1: `open = True` is not TOML: invalid boolean, expected `true`; KEY = VALUE is wanted, a string in double quotes
        exit 2
    "#]],
    );
    check_file(
        "open = false\ndata = \"log\n",
        expect![[r#"
        holdline: holdline.toml:2: `data = "log` is not TOML: invalid basic string, expected `"`; KEY = VALUE is wanted, a string in double quotes
        exit 2
    "#]],
    );
    check_file(
        "[limits\n",
        expect![[r#"
        holdline: holdline.toml:1: `[limits` is not TOML: unclosed table, expected `]`; KEY = VALUE is wanted, a string in double quotes
        exit 2
    "#]],
    );
    check_file(
        "data\n",
        expect![[r#"
        holdline: holdline.toml:1: `data` is not TOML: key with no value, expected `=`; KEY = VALUE is wanted, a string in double quotes
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
fn files() {
    check_arguments(
        &["--config", "absent.toml"],
        expect![[r#"
            holdline: --config "absent.toml" names a file that does not exist; mend the path, or leave it out for the default
            exit 2
        "#]],
    );
    check_arguments(
        &["--config", ""],
        expect![[r#"
        holdline: --config "" is no path; leave it out for the default, or name one
        exit 2
    "#]],
    );
    check_arguments(
        &["--config", "."],
        expect![[r#"
        holdline: . cannot be read: Is a directory (os error 21)
        exit 2
    "#]],
    );
    check_arguments(
        &["--plugins", "absent.toml"],
        expect![[r#"
            holdline: --plugins "absent.toml" names a file that does not exist; mend the path, or leave it out for the default
            exit 2
        "#]],
    );
    check_arguments(
        &["--data", ""],
        expect![[r#"
        holdline: --data "" is no path; leave it out for the default, or name one
        exit 2
    "#]],
    );
    Place::new().with("conf/chat.toml", "\nopen = 1").check(
        &["--config=conf/chat.toml"],
        expect![[r#"
        holdline: conf/chat.toml:2: open = 1 is an integer; use true or false
        exit 2
    "#]],
    );
    Place::new().with("holdline.toml", "data = 1").check(
        &["history"],
        expect![[r#"
        holdline: holdline.toml:1: data = 1 is an integer; a string is wanted, such as "holdline-data"
        exit 2
    "#]],
    );
}

#[test]
fn plugins() {
    check_plugins(
        "# mine\n\n[[plugin]]\nname = \"manners\"\n\n[[plugin]]\n",
        expect![[r#"
        holdline: plugins.toml:3: this version runs no plugins yet; remove the [[plugin]] entry, or comment it out
        exit 2
    "#]],
    );
    check_plugins(
        "plugin = [{ name = \"manners\" }]",
        expect![[r#"
        holdline: plugins.toml:1: this version runs no plugins yet; remove the [[plugin]] entry, or comment it out
        exit 2
    "#]],
    );
    check_plugins(
        "[plugin]\nname = \"manners\"",
        expect![[r#"
        holdline: plugins.toml:1: plugin is a table; it is reserved for [[plugin]] tables, of which this version runs none
        exit 2
    "#]],
    );
    check_plugins(
        "[[plugins]]\nname = \"manners\"",
        expect![[r#"
        holdline: plugins.toml:1: unknown key `plugins`; the only key is plugin
        exit 2
    "#]],
    );
    check_plugins(
        "plugin = \"manners\"",
        expect![[r#"
        holdline: plugins.toml:1: plugin = "manners" is a string; it is reserved for [[plugin]] tables, of which this version runs none
        exit 2
    "#]],
    );
    check_plugins(
        "[[plugin]\n",
        expect![[r#"
        holdline: plugins.toml:1: `[[plugin]` is not TOML: unclosed array table, expected `]`; KEY = VALUE is wanted, a string in double quotes
        exit 2
    "#]],
    );
}

#[test]
fn arguments() {
    check_arguments(
        &["--lisen", "127.0.0.1:7878"],
        expect![[r#"
        holdline: no such flag: `--lisen`, did you mean `--listen`? (holdline --help tells more)
        exit 2
    "#]],
    );
    check_arguments(
        &["--listen"],
        expect![[r#"
        holdline: `--listen` requires an argument `ADDR` (holdline --help tells more)
        exit 2
    "#]],
    );
    check_arguments(
        &["--data", "--open"],
        expect![[r#"
        holdline: `--data` requires an argument `DIR`, got a flag `--open`, try `--data=--open` to use it as an argument (holdline --help tells more)
        exit 2
    "#]],
    );
    check_arguments(
        &["--data=a", "--data=b"],
        expect![[r#"
        holdline: argument `--data` cannot be used multiple times in this context (holdline --help tells more)
        exit 2
    "#]],
    );
    check_arguments(
        &["sevre"],
        expect![[r#"
        holdline: no such command or positional: `sevre`, did you mean `serve`? (holdline --help tells more)
        exit 2
    "#]],
    );
    check_arguments(
        &["serve", "--last=3"],
        expect![[r#"
        holdline: no such flag: `--last`, did you mean `--listen`? (holdline --help tells more)
        exit 2
    "#]],
    );
    check_arguments(
        &["--last=3"],
        expect![[r#"
            holdline: flag `--last` is not valid in this context, did you mean to pass it to command `search`? (holdline --help tells more)
            exit 2
        "#]],
    );
    check_arguments(
        &["history", "--open"],
        expect![[r#"
            holdline: no such flag: `--open`, did you mean `--json`? (holdline --help tells more)
            exit 2
        "#]],
    );
    check_arguments(
        &["history", "--last=0"],
        expect![[r#"
        holdline: couldn't parse `0`: --last wants a whole number from 1 (holdline --help tells more)
        exit 2
    "#]],
    );
    check_arguments(
        &["history", "--last", "all"],
        expect![[r#"
        holdline: couldn't parse `all`: --last wants a whole number from 1 (holdline --help tells more)
        exit 2
    "#]],
    );
}

/// What is wrong with a name is said elsewhere.
#[test]
fn a_bad_name() {
    let log = outcome(&mut Place::new().holdline(&["history", "--with", "bob smith"]));
    assert!(log.starts_with("holdline: couldn't parse `bob smith`: --with wants a name: "), "{log}");
    assert!(log.ends_with("\nexit 2\n"), "{log}");
}

#[test]
fn the_level_of_the_log() {
    let place = Place::new();
    let check = |level: &str, expected: Expect| {
        expected.assert_eq(&outcome(place.holdline(&["history"]).env("HOLDLINE_LOG", level)));
    };
    check(
        "loud",
        expect![[r#"
        holdline: HOLDLINE_LOG = "loud" is not possible; use error, warn, info, debug or trace
        exit 2
    "#]],
    );
    check(
        "off",
        expect![[r#"
        holdline: HOLDLINE_LOG = "off" is not possible; use error, warn, info, debug or trace
        exit 2
    "#]],
    );
    for level in ["", "info", "Debug", "TRACE"] {
        let log = outcome(place.holdline(&["--listen=127.0.0.1:0"]).env("HOLDLINE_LOG", level));
        assert!(log.ends_with("serves\n"), "{level}: {log}");
    }
}

#[test]
fn help_and_version() {
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
            A chat server for small devices, spoken to with nc

            Usage:
                holdline [serve] [--listen=ADDR]... [--data=DIR] [--config=FILE] [--plugins=FILE] [--open]
                holdline send [--to=NAMES] [--as=NAME] [--server=ADDR] [--id=PREFIX] [--timeout=S] [TEXT]
                holdline tail [--as=NAME] [--server=ADDR] [--json] [--after=SEQ] [--count=N]
                holdline history [--data=DIR] [--config=FILE] [--with=NAME] [--before=N] [--last=N] [--json]
                holdline search [--data=DIR] [--config=FILE] [--with=NAME] [--before=N] [--last=N] [--json] WORDS...
                holdline doctor [--data=DIR] [--config=FILE]
                holdline backup [--data=DIR] [--config=FILE] FILE

            Available options:
                -V, --version       Prints the version
                    --listen=ADDR   HOST:PORT to listen on, as often as wanted [default: 127.0.0.1:7878]
                    --data=DIR      Directory of the database [default: holdline-data]
                    --config=FILE   Configuration to read [default: holdline.toml, if it is there]
                    --plugins=FILE  The plugins, in order [default: plugins.toml, if it is there]
                    --open          Lets other machines connect, where anyone can log in as anyone
                -h, --help          Prints help information

            Available commands:
                serve               Runs the server; so does holdline without a command
                send                Sends a text, or lines of a program
                tail                Prints what arrives, for a program
                history             Prints the log, for people or programs
                search              Finds words in the log
                doctor              Examines the database and says what is wrong with it
                backup              Copies the database into a file

            HOLDLINE_LOG sets how much is logged: error, warn, info (the default), debug or trace.
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
                    --listen=ADDR   HOST:PORT to listen on, as often as wanted [default: 127.0.0.1:7878]
                    --data=DIR      Directory of the database [default: holdline-data]
                    --config=FILE   Configuration to read [default: holdline.toml, if it is there]
                    --plugins=FILE  The plugins, in order [default: plugins.toml, if it is there]
                    --open          Lets other machines connect, where anyone can log in as anyone
                -h, --help          Prints help information

            Example:
                holdline serve --listen=192.168.1.10:7878 --open --data=/var/lib/holdline
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
                    --config=FILE  Configuration to read [default: holdline.toml, if it is there]
                    --with=NAME    Only what NAME sent or could read; or what was sent in the room '#NAME'
                    --before=N     Only messages before seq N, as --json says it
                    --last=N       How many of the newest messages [default: 20]
                    --json         For programs: one JSON object a line, with the text as it is kept
                -h, --help         Prints help information

            Example:
                holdline history --with=alice --last=5
            exit 0
        "#]],
    );
}

/// A reader that goes early, as `head` does, is no mistake.
#[test]
fn a_closed_pipe_is_no_error() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = Place::new().holdline(&["--help"]).stdout(writer).output().unwrap();
    assert_eq!((String::from_utf8(output.stderr).unwrap(), output.status.code()), (String::new(), Some(0)));
}

/// It is looked for where the server would put it: flag, then file, then default.
#[test]
fn a_history_without_a_database() {
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
