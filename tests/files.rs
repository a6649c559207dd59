//! Files that somebody else owns, may write or planted: the configuration, the plugins, the data directory and what is in it. Owns
//! what the server and the commands refuse, and what they accept; never what the files contain.

mod support;

use std::fs::{self, Permissions};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use support::{TestClient, TestServer, holdline, refusal, wait_for_exit};
use tempfile::TempDir;

/// A user who is not trusted; usually nobody.
const STRANGER: u32 = 65534;

/// A user whom this system does not know, with a group of its own.
const NORMAL_USER: u32 = 54321;

const PLUGINS: &str = r##"
[[plugin]]
name = "echo"
kind = "luau"
path = "plugins/echo.luau"
hooks = ["mail"]

[[plugin]]
name = "cat"
kind = "process"
path = "plugins/cat.sh"
"##;

// Files of others

/// A change of a file or a directory in the working directory, and the words with which the server refuses it.
struct Planted {
    path: &'static str,
    change: fn(&Path),
    words: &'static str,
    /// Command that is shown, before the path.
    command: &'static str,
}

const PLANTED: &[Planted] = &[
    Planted {
        path: "",
        change: give,
        words: "belongs to user nobody (mode 755), but only root may own",
        command: "chown root",
    },
    Planted {
        path: "",
        change: |path| set_mode(path, 0o777),
        words: "belongs to user root, and everyone may write to it (mode 777)",
        command: "chmod o-w",
    },
    Planted { path: "..", change: give, words: "belongs to user nobody (mode", command: "chown root" },
    Planted { path: "holdline.toml", change: give, words: "belongs to user nobody (mode 644)", command: "chown root" },
    Planted {
        path: "holdline.toml",
        change: |path| set_mode(path, 0o666),
        words: "belongs to user root, and everyone may write to it (mode 666)",
        command: "chmod o-w",
    },
    Planted { path: "plugins.toml", change: give, words: "belongs to user nobody (mode 644)", command: "chown root" },
    Planted {
        path: "plugins.toml",
        change: give_to_users,
        words: "belongs to user root, and the group nogroup may write to it (mode 664)",
        command: "chmod g-w",
    },
    Planted { path: "plugins", change: give, words: "belongs to user nobody (mode 755)", command: "chown root" },
    Planted {
        path: "plugins/echo.luau",
        change: |path| set_mode(path, 0o646),
        words: "everyone may write to it (mode 646)",
        command: "chmod o-w",
    },
    Planted { path: "plugins/cat.sh", change: give, words: "belongs to user nobody (mode 755)", command: "chown root" },
    Planted {
        path: "plugins.toml",
        change: link_of_stranger,
        words: "belongs to user nobody (mode 777)",
        command: "chown -h root",
    },
    Planted { path: "../data", change: give, words: "belongs to user nobody (mode 700)", command: "chown root" },
    Planted {
        path: "../data",
        change: |path| set_mode(path, 0o777),
        words: "everyone may write to it (mode 777)",
        command: "chmod o-w",
    },
    Planted { path: "../data/holdline.db", change: give, words: "belongs to user nobody", command: "chown root" },
    Planted {
        path: "../data/holdline.db",
        change: |path| set_mode(path, 0o606),
        words: "everyone may write to it (mode 606)",
        command: "chmod o-w",
    },
    Planted { path: "../data/holdline.lock", change: give, words: "belongs to user nobody", command: "chown root" },
    Planted {
        path: "../data/holdline.db-wal",
        change: |path| {
            fs::write(path, "").unwrap();
            give(path);
        },
        words: "belongs to user nobody",
        command: "chown root",
    },
    Planted {
        path: "../data/holdline.db",
        change: link_of_stranger,
        words: "belongs to user nobody (mode 777)",
        command: "chown -h root",
    },
];

#[test]
fn file_that_a_stranger_owns_or_may_write_is_refused_until_the_command_that_is_shown_was_run() {
    if is_skipped(is_root(), "a file of another user") {
        return;
    }
    let mut server = with_plugins();
    for Planted { path, change, words, command } in PLANTED {
        assert!(server.terminate().success(), "{}", server.log());
        let found = server.path(path);
        // A file that is a link is meant itself.
        let real = match found.file_name() {
            Some(name) if !path.is_empty() => found.parent().unwrap().canonicalize().unwrap().join(name),
            _ => found.canonicalize().unwrap(),
        };
        change(&real);
        let line = refused(&server);
        assert!(line.contains(words), "{path}: {line}");
        let command = format!("{command} {}", real.display());
        assert!(line.trim_end().ends_with(&command), "{path}: `{command}` is not in: {line}");
        let mended = Command::new("sh").args(["-c", &command]).output().unwrap();
        assert!(mended.status.success(), "{mended:?}");
        server.start_again();
    }
}

#[test]
fn doctor_says_the_same_as_the_server_about_the_data_directory() {
    if is_skipped(is_root(), "a file of another user") {
        return;
    }
    for Planted { path, change, words, command } in PLANTED.iter().filter(|planted| planted.path.len() > 8) {
        let Some(name) = path.strip_prefix("../data/") else { continue };
        let mut server = TestServer::start();
        assert!(server.terminate().success());
        let data = server.data().canonicalize().unwrap();
        change(&data.join(name));
        let (report, code) = doctor(&data);
        assert!(report.contains("problem: ") && report.contains(words), "{name}: {report}");
        assert!(report.contains(&format!("\n    {command} {}\n", data.join(name).display())), "{name}: {report}");
        assert_eq!(code, Some(1), "{report}");
    }
}

#[test]
fn reload_refuses_a_file_that_others_may_write_and_keeps_the_plugins() {
    let server = with_plugins();
    set_mode(&server.path("plugins.toml"), 0o666);
    let log = server.reload();
    assert!(log.contains("everyone may write to it (mode 666)") && log.contains("chmod o-w"), "{log}");
    let mut alice = TestClient::login(&server, "alice");
    alice.send("/plugins");
    alice.expect_notice("echo");
}

#[test]
fn links_and_pipes_in_the_data_directory_are_neither_followed_nor_waited_for() {
    let mut server = TestServer::start();
    assert!(server.terminate().success());
    let precious = server.path("precious");
    fs::write(&precious, "do not touch\n").unwrap();
    set_mode(&precious, 0o644);
    for name in ["holdline.lock", "holdline.db-wal", "holdline.db-shm", "holdline.db-journal"] {
        let path = server.data().join(name);
        let _ = fs::remove_file(&path);
        symlink(&precious, &path).unwrap();
        let line = refused(&server);
        assert!(line.contains(&format!("{name} is a symbolic link and not a file")), "{line}");
        assert!(doctor(&server.data()).0.contains(&format!("{name} is a symbolic link and not a file")));
        fs::remove_file(&path).unwrap();
    }
    let saved = server.path("saved.db");
    fs::rename(server.database(), &saved).unwrap();
    symlink(&precious, server.database()).unwrap();
    let line = refused(&server);
    assert!(line.contains("is damaged or not an SQLite database"), "{line}");
    fs::remove_file(server.database()).unwrap();
    let made = Command::new("mkfifo").arg(server.database()).status().unwrap();
    assert!(made.success());
    let line = refused(&server);
    assert!(line.contains("holdline.db is a pipe and not a file"), "{line}");
    for command in ["doctor", "history", "backup"] {
        let mut process = holdline();
        process.args([command, "--data"]).arg(server.data()).stdout(Stdio::piped());
        process.args((command == "backup").then_some("/tmp/never-made.db"));
        let mut process = process.spawn().unwrap();
        assert!(!wait_for_exit(&mut process).success(), "{command}");
    }
    fs::remove_file(server.database()).unwrap();
    fs::rename(saved, server.database()).unwrap();
    server.start_again();
    assert_eq!(fs::read_to_string(&precious).unwrap(), "do not touch\n");
    assert_eq!(fs::metadata(&precious).unwrap().mode() & 0o777, 0o644);
}

// A database elsewhere

#[test]
fn database_that_is_a_link_works_and_is_locked_where_it_is() {
    let mut server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    alice.send("bob: before");
    alice.ping();
    assert!(server.terminate().success());
    let disk = tempfile::tempdir().unwrap();
    let real = disk.path().canonicalize().unwrap().join("chat.db");
    fs::rename(server.database(), &real).unwrap();
    symlink(&real, server.database()).unwrap();
    server.start_again();
    let mut alice = TestClient::login(&server, "alice");
    alice.send("bob: after");
    alice.ping();
    assert!(real.with_extension("lock").exists() && disk.path().join("chat.db-wal").exists());

    // Another data directory that leads to the same database.
    let other = tempfile::tempdir().unwrap();
    symlink(&real, other.path().join("holdline.db")).unwrap();
    let line = refusal(at(&mut holdline(), &server.path(""), other.path()));
    assert!(line.contains(&format!("in use by process {}", server.pid())), "{line}");

    let (report, code) = doctor(&server.data());
    assert!(report.contains(&format!("holdline.db is a link to {}; the -wal", real.display())), "{report}");
    assert!(report.contains(&format!("ok: a server is running, process {}", server.pid())), "{report}");
    assert_eq!(code, Some(0), "{report}");
    let copy = disk.path().join("copy.db");
    let mut backup = holdline();
    backup.args(["backup", "--data"]).arg(server.data()).arg(&copy);
    assert!(wait_for_exit(&mut backup.spawn().unwrap()).success());
    let name = disk.path().join("chat.db-journal");
    let line = refusal(holdline().args(["backup", "--data"]).arg(server.data()).arg(name));
    assert!(line.contains("is a name that the database uses itself"), "{line}");

    server.kill();
    server.start_again();
    let mut bob = TestClient::login(&server, "bob");
    bob.expect("from alice: before");
    bob.expect("from alice: after");
}

#[test]
fn database_with_a_hard_link_in_another_directory_is_used_by_one_server_at_a_time() {
    let mut server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    alice.send("bob: once");
    alice.expect_nothing();
    let other = tempfile::tempdir().unwrap();
    for name in ["holdline.db", "holdline.db-wal", "holdline.db-shm"] {
        fs::hard_link(server.data().join(name), other.path().join(name)).unwrap();
    }
    let line = refusal(at(&mut holdline(), &server.path(""), other.path()));
    let words =
        format!("in use by process {}, through a hard link to its database; stop that process first", server.pid());
    assert!(line.contains(&words), "{line}");
    alice.send("bob: twice");
    alice.expect_nothing();
    assert!(server.terminate().success());
    let server = TestServer::with_data(other.path(), "");
    assert_eq!(server.sqlite("select text from history"), "once\ntwice");
}

#[test]
fn link_to_a_directory_where_others_create_files_is_refused() {
    let mut server = TestServer::start();
    assert!(server.terminate().success());
    let shared = tempfile::tempdir().unwrap();
    // As /tmp is: others could create the files that SQLite is about to create.
    set_mode(shared.path(), 0o1777);
    let real = shared.path().canonicalize().unwrap().join("chat.db");
    fs::rename(server.database(), &real).unwrap();
    symlink(&real, server.database()).unwrap();
    let line = refused(&server);
    assert!(line.contains("everyone may write to it (mode 1777)"), "{line}");
    assert!(doctor(&server.data()).0.contains("everyone may write to it (mode 1777)"));
}

// What is accepted

#[test]
fn own_files_in_a_sticky_directory_and_links_of_ones_own_are_accepted() {
    let mut server = with_plugins();
    assert!(server.terminate().success());
    set_mode(&server.path(""), 0o1777);
    fs::rename(server.path("plugins.toml"), server.path("real.toml")).unwrap();
    symlink("real.toml", server.path("plugins.toml")).unwrap();
    server.start_again();
    let mut alice = TestClient::login(&server, "alice");
    alice.send("/plugins");
    alice.expect_notice("echo");
}

#[test]
fn configuration_from_a_pipe_of_the_shell_is_accepted() {
    let Some(bash) = support::installed("bash") else { return };
    let home = tempfile::tempdir().unwrap();
    let mut shell = Command::new(bash);
    shell.args(["-c", "exec \"$0\" history --config <(sleep 0.1; echo 'data = \"/nowhere\"')"]);
    shell.arg(env!("CARGO_BIN_EXE_holdline")).current_dir(home.path());
    let output = shell.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.contains("there is no database /nowhere/holdline.db"), "{stderr}");
}

#[test]
fn group_that_the_user_is_alone_in_may_write_and_other_groups_may_not() {
    if is_skipped(is_root(), "another user") {
        return;
    }
    let user = NormalUser::new();
    let file = user.home.path().join("holdline.toml");
    for (group, mode, is_accepted) in
        [(NORMAL_USER, 0o664, true), (STRANGER, 0o664, false), (NORMAL_USER, 0o666, false)]
    {
        fs::write(&file, "data = \"data\"").unwrap();
        chown(&file, Some(NORMAL_USER), Some(group)).unwrap();
        set_mode(&file, mode);
        let output = user.command().args(["history"]).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(stderr.contains("there is no database data/holdline.db"), is_accepted, "{group} {mode:o}: {stderr}");
        assert_eq!(stderr.contains("may write to it"), !is_accepted, "{group} {mode:o}: {stderr}");
    }
    // What root owns is fine for everyone.
    chown(&file, Some(0), Some(0)).unwrap();
    set_mode(&file, 0o644);
    let output = user.command().args(["history"]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("there is no database data/holdline.db"), "{output:?}");
}

#[test]
fn umask_002_needs_no_other_permissions() {
    if is_skipped(is_root(), "another user") {
        return;
    }
    let user = NormalUser::new();
    let data = user.home.path().join("holdline-data");
    fs::create_dir(&data).unwrap();
    chown(&data, Some(NORMAL_USER), Some(NORMAL_USER)).unwrap();
    set_mode(&data, 0o775);
    let mut command = user.command();
    command.args(["--listen", "127.0.0.1:0"]).stderr(Stdio::piped());
    let mut process = command.spawn().unwrap();
    let mut log = String::new();
    let mut stderr = process.stderr.take().unwrap();
    let mut byte = [0];
    while !log.contains("listening on") && stderr.read(&mut byte).unwrap() > 0 {
        log.push(char::from(byte[0]));
    }
    process.kill().unwrap();
    process.wait().unwrap();
    assert!(log.contains("listening on"), "{log}");
    assert_eq!(fs::metadata(&data).unwrap().mode() & 0o777, 0o700);
}

/// Access control lists give more users the right to write than the mode shows.
#[cfg(target_os = "linux")]
#[test]
fn access_control_list_for_a_stranger_is_refused() {
    let server = with_plugins();
    let file = server.path("plugins.toml");
    // Version 2, then tag, rights and id of each entry: the owner, the stranger, the group, the mask, and all others.
    let mut list = 2_u32.to_le_bytes().to_vec();
    for (tag, rights, id) in
        [(1, 6, u32::MAX), (2, 6, STRANGER), (4, 4, u32::MAX), (16, 6, u32::MAX), (32, 4, u32::MAX)]
    {
        list.extend(u16::to_le_bytes(tag).into_iter().chain(u16::to_le_bytes(rights)).chain(u32::to_le_bytes(id)));
    }
    let set = rustix::fs::setxattr(&file, "system.posix_acl_access", &list, rustix::fs::XattrFlags::empty());
    if set.is_err() {
        eprintln!("skipped: this file system has no access control lists");
        return;
    }
    assert!(server.reload().contains("may write to it"));
}

// Files that are not what they seem

#[test]
fn link_of_a_configuration_that_leads_nowhere_is_an_error() {
    for name in ["holdline.toml", "plugins.toml"] {
        let server = TestServer::start();
        symlink("/mnt/usb/settings.toml", server.path(name)).unwrap();
        let data = tempfile::tempdir().unwrap();
        let line = refusal(at(&mut holdline(), &server.path(""), data.path()));
        let words = "is a link to /mnt/usb/settings.toml, which does not exist; correct the link, or remove it";
        assert!(line.contains(&format!("{name} {words}")), "{line}");
        assert!(!data.path().join("holdline.db").exists());
    }
}

#[test]
fn files_that_begin_with_a_byte_order_mark_are_read() {
    let script = "\u{FEFF}function mail(m) chat.send(m.from, 'you said ' .. m.text) end";
    let server = TestServer::with_files(&[
        ("holdline.toml", "\u{FEFF}durability = \"crash\""),
        ("plugins.toml", &format!("\u{FEFF}{PLUGINS}")),
        ("plugins/echo.luau", script),
        ("plugins/cat.sh", "#!/bin/sh\nexec cat >/dev/null"),
    ]);
    let mut alice = TestClient::login(&server, "alice");
    alice.send("echo: hi");
    alice.expect("from echo: you said hi");
}

#[test]
fn directory_that_the_server_may_write_and_does_not_own_is_refused_with_its_owner_and_the_command() {
    if is_skipped(is_root(), "another user") {
        return;
    }
    let user = NormalUser::new();
    let data = user.home.path().canonicalize().unwrap().join("volume");
    fs::create_dir(&data).unwrap();
    chown(&data, Some(0), Some(NORMAL_USER)).unwrap();
    set_mode(&data, 0o775);
    let output = user.command().args(["--listen", "127.0.0.1:0", "--data"]).arg(&data).output().unwrap();
    let line = String::from_utf8_lossy(&output.stderr);
    let words = "belongs to user root (mode 775), and only its owner can keep other users from reading it";
    let command = format!("chown {NORMAL_USER} {}", data.display());
    assert!(line.contains(words) && line.trim_end().ends_with(&command), "{line}");
    let mended = Command::new("sh").args(["-c", &command]).status().unwrap();
    assert!(mended.success());
    let mut command = user.command();
    let mut process = command.args(["--listen", "127.0.0.1:0", "--data"]).arg(&data).spawn().unwrap();
    let mut start = [0; 60];
    process.stderr.take().unwrap().read_exact(&mut start).unwrap();
    process.kill().unwrap();
    process.wait().unwrap();
    assert!(String::from_utf8_lossy(&start).contains("listening on"), "{start:?}");
}

// Commands that write

#[test]
fn new_plugin_is_not_written_where_others_may_write() {
    let home = tempfile::tempdir().unwrap();
    set_mode(home.path(), 0o777);
    let target = home.path().join("target.toml");
    symlink(&target, home.path().join("plugins.toml")).unwrap();
    let line = refusal(holdline().args(["plugin", "new", "notes", "--kind=luau"]).current_dir(home.path()));
    assert!(line.contains("everyone may write to it (mode 777)"), "{line}");
    assert!(!target.exists() && !home.path().join("plugins").exists());
}

#[test]
fn backup_into_a_directory_of_a_stranger_writes_to_no_other_file() {
    if is_skipped(is_root(), "a directory of another user") {
        return;
    }
    let server = TestServer::start();
    let home = tempfile::tempdir().unwrap();
    give(home.path());
    let precious = server.path("precious");
    symlink(".", home.path().join("linked")).unwrap();
    for file in ["copy.db", "linked/copy.db"] {
        let file = home.path().join(file);
        let mut backup = holdline();
        backup.args(["backup", "--data"]).arg(server.data()).arg(&file).stderr(Stdio::piped());
        let output = backup.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        fs::remove_file(&file).unwrap();
        symlink(&precious, &file).unwrap();
        let line = refusal(holdline().args(["backup", "--data"]).arg(server.data()).arg(&file));
        assert!(line.contains("exists already"), "{line}");
        assert!(!precious.exists());
        fs::remove_file(&file).unwrap();
    }
}

fn with_plugins() -> TestServer {
    TestServer::with_files(&[
        ("holdline.toml", "durability = \"crash\""),
        ("plugins.toml", PLUGINS),
        ("plugins/echo.luau", "function mail(message) end"),
        ("plugins/cat.sh", "#!/bin/sh\nexec cat >/dev/null"),
    ])
}

fn at<'c>(command: &'c mut Command, home: &Path, data: &Path) -> &'c mut Command {
    command.args(["--listen", "127.0.0.1:0", "--data"]).arg(data).current_dir(home)
}

/// Starts the server, which must refuse. Returns its output.
#[track_caller]
fn refused(server: &TestServer) -> String {
    refusal(at(&mut holdline(), &server.path(""), &server.data()))
}

/// Returns what `holdline doctor` prints, and its exit code.
fn doctor(data: &Path) -> (String, Option<i32>) {
    let output = holdline().args(["doctor", "--data"]).arg(data).stdout(Stdio::piped()).output().unwrap();
    (String::from_utf8(output.stdout).unwrap(), output.status.code())
}

/// Program, run as a user with a group of its own, in a directory of this user.
struct NormalUser {
    home: TempDir,
    program: PathBuf,
}

impl NormalUser {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        chown(home.path(), Some(NORMAL_USER), Some(NORMAL_USER)).unwrap();
        set_mode(home.path(), 0o775);
        // It may be where no other user may start it.
        let program = home.path().join("holdline");
        if fs::hard_link(env!("CARGO_BIN_EXE_holdline"), &program).is_err() {
            fs::copy(env!("CARGO_BIN_EXE_holdline"), &program).unwrap();
        }
        NormalUser { home, program }
    }

    fn command(&self) -> Command {
        let mut command = Command::new("setpriv");
        let user = [format!("--reuid={NORMAL_USER}"), format!("--regid={NORMAL_USER}"), "--clear-groups".to_owned()];
        command.args(user).arg(&self.program).current_dir(self.home.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn give(path: &Path) {
    chown(path, Some(STRANGER), None).unwrap();
}

fn give_to_users(path: &Path) {
    chown(path, None, Some(STRANGER)).unwrap();
    set_mode(path, 0o664);
}

/// Puts a stranger's link to the file in its place.
fn link_of_stranger(path: &Path) {
    let real = path.with_extension("real");
    fs::rename(path, &real).unwrap();
    symlink(&real, path).unwrap();
    std::os::unix::fs::lchown(path, Some(STRANGER), None).unwrap();
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Says which test is skipped where it is not permitted. The gate permits all.
fn is_skipped(is_permitted: bool, what: &str) -> bool {
    assert!(is_permitted || std::env::var_os("CI").is_none(), "{what}: not permitted here");
    if !is_permitted {
        eprintln!("skipped: {what} cannot be had here");
    }
    !is_permitted
}
