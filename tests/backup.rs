//! `holdline backup`: of the database of a running server, of one that was stopped or killed, and where a backup is
//! impossible. Owns the command, and that a server starts with a backup; never the layout of the database.

mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use support::{TestClient, TestServer, assert_contiguous, eventually, flood, holdline, refusal, wait_for_exit};
use tempfile::TempDir;

// Contents of a backup

#[test]
fn server_starts_from_a_backup_with_all_data() {
    let mut server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    let mut bob = TestClient::login(&server, "bob");
    alice.send("bob, carol: one");
    alice.ping();
    bob.expect("from alice: one");
    bob.send("carol: two");
    bob.ping();
    server.wait_until_delivered("bob");
    let home = Home::new();
    let text = backed_up(&server.data(), &home.file("copy.db"));
    assert!(text.contains("2 messages up to seq 2, 2 still to be delivered, "), "{text}");
    assert!(text.contains("checked"), "{text}");
    alice.send("carol: after the backup");
    alice.ping();

    restore(&mut server, &home.file("copy.db"));
    TestClient::login(&server, "bob").expect_nothing();
    let mut carol = TestClient::login(&server, "carol");
    carol.expect("from alice: one");
    carol.expect("from bob: two");
    carol.expect_nothing();
    carol.send("bob: three");
    carol.ping();
    assert_eq!(carol.history("bob"), ["from bob: two", "to bob: three"]);
    assert_eq!(server.sqlite("select group_concat(seq) from history"), "1,2,3");
    assert_eq!(server.sqlite("pragma journal_mode; pragma auto_vacuum"), "wal\n2");
}

#[test]
fn backup_during_a_flood_is_a_consistent_prefix_of_the_log() {
    let server = TestServer::with_config("[limits]\nmailbox_max = 0");
    let is_over = Arc::new(AtomicBool::new(false));
    let floods = Vec::from_iter(["alice", "bob"].map(|name| Flood::start(&server, name, &is_over)));
    let home = Home::new();
    for nth in 0..6 {
        eventually("every flood has advanced", || floods.iter().all(|flood| flood.ponged() > nth * 500));
        let before = Vec::from_iter(floods.iter().map(Flood::ponged));
        let file = home.file(&format!("{nth}.db"));
        backed_up(&server.data(), &file);
        let seqs = sqlite(&file, "select count(*), min(seq), max(seq) from message");
        let seqs = Vec::from_iter(seqs.split('|').map(|number| number.parse::<usize>().unwrap()));
        assert_eq!((seqs[1], seqs[0]), (1, seqs[2]), "there is a gap: {seqs:?}");
        for (flood, before) in floods.iter().zip(before) {
            let numbers = flood.numbers_in(&file);
            assert!(numbers.len() >= before, "{} of {before} that were accepted before", numbers.len());
            assert_eq!(numbers[0], 0);
            assert_contiguous(&numbers);
        }
    }
    is_over.store(true, Ordering::Relaxed);
    floods.into_iter().for_each(Flood::join);
}

#[test]
fn backup_is_private_and_leaves_no_other_files() {
    let server = TestServer::start();
    a_few_messages(&server);
    let home = Home::new();
    let mut command = Command::new("sh");
    command.args(["-c", "umask 0; exec \"$0\" backup --data \"$1\" \"$2\"", env!("CARGO_BIN_EXE_holdline")]);
    let output = command.arg(server.data()).arg(home.file("copy.db")).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    assert_eq!(fs::metadata(home.file("copy.db")).unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(home.names(), ["copy.db"]);
}

#[test]
fn backup_may_be_written_into_the_data_directory() {
    let mut server = TestServer::start();
    a_few_messages(&server);
    backed_up(&server.data(), &server.data().join("copy.db"));
    server.restart();
    a_few_messages(&server);
    assert_eq!(server.sqlite("select count(*) from history"), "4");
    assert_eq!(sqlite(&server.data().join("copy.db"), "select count(*) from history"), "2");
}

#[test]
fn file_name_may_be_any_bytes() {
    use std::os::unix::ffi::OsStrExt;

    let server = TestServer::start();
    a_few_messages(&server);
    let home = Home::new();
    for name in [&b"file:copy?mode=ro.db"[..], b"it's a copy.db", b"\xff.db", b"-x"] {
        let file = home.directory().join(std::ffi::OsStr::from_bytes(name));
        backed_up(&server.data(), &file);
        assert!(file.exists(), "{}", file.display());
    }
    assert_eq!(home.names().len(), 4, "{:?}", home.names());
}

#[test]
fn backup_without_a_server_leaves_the_database_unchanged() {
    let mut server = TestServer::start();
    a_few_messages(&server);
    let home = Home::new();
    server.kill();
    let before = snapshot(&server.data());
    let text = backed_up(&server.data(), &home.file("killed.db"));
    assert!(text.contains("2 messages up to seq 2"), "{text}");
    assert_eq!(snapshot(&server.data()), before);

    server.start_again();
    assert!(server.terminate().success());
    let before = snapshot(&server.data());
    backed_up(&server.data(), &home.file("stopped.db"));
    assert_eq!(snapshot(&server.data()), before);
    let all = "select group_concat(text, '|') from history order by seq";
    assert_eq!(sqlite(&home.file("killed.db"), all), "one|two");
    assert_eq!(sqlite(&home.file("stopped.db"), all), "one|two");
}

#[test]
fn doctor_finds_no_fault_in_a_backup() {
    let server = TestServer::start();
    a_few_messages(&server);
    let home = Home::new();
    let restored = home.directory().join("restored");
    fs::create_dir(&restored).unwrap();
    fs::set_permissions(&restored, Permissions::from_mode(0o700)).unwrap();
    backed_up(&server.data(), &restored.join("holdline.db"));
    let output = holdline().args(["doctor", "--data"]).arg(&restored).stdout(Stdio::piped()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && text.ends_with("all is well\n"), "{text}");
}

#[test]
fn server_may_start_or_stop_during_a_backup() {
    let mut server = TestServer::start();
    many_messages(&server);
    let (data, home) = (server.data(), Home::new());
    let is_over = Arc::new(AtomicBool::new(false));
    let until = is_over.clone();
    let backups = thread::spawn(move || {
        let mut newest = 0;
        while !until.load(Ordering::Relaxed) {
            let file = home.file("copy.db");
            let output = backup(&data, &file).output().unwrap();
            if output.status.success() {
                let all = sqlite(&file, "pragma integrity_check; select count(*), max(seq) from message");
                let count = all.strip_prefix("ok\n").unwrap().split('|').map(|number| number.parse::<usize>().unwrap());
                let count = Vec::from_iter(count);
                assert!(count[0] == count[1] && count[1] >= newest, "{count:?} after {newest}");
                newest = count[1];
                fs::remove_file(file).unwrap();
            }
            let text = String::from_utf8(output.stderr).unwrap();
            assert!(text.is_empty() || text.contains("run this again"), "{text}");
        }
        newest
    });
    for _ in 0..5 {
        a_few_messages(&server);
        server.restart();
        a_few_messages(&server);
        server.kill();
        server.start_again();
    }
    is_over.store(true, Ordering::Relaxed);
    assert!(backups.join().unwrap() > 1600);
}

// Interrupted backups

#[test]
fn killed_backup_leaves_a_partial_file_that_the_next_one_removes() {
    let server = TestServer::start();
    many_messages(&server);
    let home = Home::new();
    let mut killed = Command::new("sh");
    killed.args(["-c", "umask 0; exec \"$0\" backup --data \"$1\" \"$2\"", env!("CARGO_BIN_EXE_holdline")]);
    let mut killed = killed.arg(server.data()).arg(home.file("copy.db")).stderr(Stdio::null()).spawn().unwrap();
    let left = format!("copy.db.unfinished-{}", killed.id());
    while fs::metadata(home.file(&left)).map_or(0, |found| found.len()) == 0 {
        assert!(killed.try_wait().unwrap().is_none(), "it ended before it could be killed");
    }
    killed.kill().unwrap();
    assert_eq!(wait_for_exit(&mut killed).signal(), Some(Signal::KILL.as_raw()));
    assert!(home.names().contains(&left), "{:?}", home.names());
    assert_eq!(fs::metadata(home.file(&left)).unwrap().permissions().mode() & 0o7777, 0o600);

    let of_one_that_runs = format!("copy.db.unfinished-{}", std::process::id());
    let of_another_file = format!("other.db.unfinished-{}", killed.id());
    let of_something_else = "copy.db.unfinished-letter".to_owned();
    let others = [of_one_that_runs, of_another_file, of_something_else];
    others.iter().for_each(|name| fs::write(home.file(name), "").unwrap());
    let output = backup(&server.data(), &home.file("copy.db")).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{text}");
    assert!(text.starts_with("holdline: removed ") && text.contains(&left), "{text}");
    let mut expected = Vec::from_iter(others.into_iter().chain(["copy.db".to_owned()]));
    expected.sort();
    assert_eq!(home.names(), expected);
}

#[test]
fn interrupted_backup_leaves_nothing() {
    let server = TestServer::start();
    many_messages(&server);
    let mut stopped = 0;
    while stopped == 0 {
        let home = Home::new();
        let mut backup = backup(&server.data(), &home.file("copy.db")).spawn().unwrap();
        let (pid, signal) = (Pid::from_child(&backup), |pid, signal| kill_process(pid, signal).unwrap());
        while home.names().is_empty() && backup.try_wait().unwrap().is_none() {
            thread::yield_now();
        }
        if backup.try_wait().unwrap().is_none() {
            signal(pid, Signal::TERM);
        }
        match wait_for_exit(&mut backup).code() {
            Some(130) => stopped += 1,
            code => assert_eq!(code, Some(0), "it was too fast to be stopped"),
        }
        assert!(home.names().iter().all(|name| name == "copy.db"), "{:?}", home.names());
        if home.file("copy.db").exists() {
            assert_eq!(sqlite(&home.file("copy.db"), "pragma integrity_check"), "ok");
        }
    }
}

#[test]
fn backup_on_a_full_disk_leaves_nothing() {
    let mount = tempfile::tempdir().unwrap();
    if is_skipped(shell_in_a_mount(mount.path(), "true").status().unwrap().success(), "a small disk") {
        return;
    }
    let server = TestServer::start();
    many_messages(&server);
    let script = "\"$1\" backup --data \"$2\" copy.db; echo code $?; ls -A";
    let mut command = shell_in_a_mount(mount.path(), script);
    let output = command.arg(env!("CARGO_BIN_EXE_holdline")).arg(server.data()).output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "code 1\n");
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    assert!(text.contains("copy.db") && text.contains("full") && text.contains("free some space"), "{text}");
    a_few_messages(&server);
}

#[test]
fn damaged_database_is_not_backed_up() {
    let mut server = TestServer::start();
    many_messages(&server);
    assert!(server.terminate().success());
    let mut bytes = fs::read(server.database()).unwrap();
    let middle = bytes.len() / 4096 / 2 * 4096;
    bytes[middle..][..8 * 4096].fill(0xa5);
    fs::write(server.database(), bytes).unwrap();
    let home = Home::new();
    let text = refusal(&mut backup(&server.data(), &home.file("copy.db")));
    assert!(text.contains("holdline doctor"), "{text}");
    assert_eq!(home.names(), [""; 0]);
}

// Refusals

#[test]
fn existing_file_is_not_overwritten() {
    let server = TestServer::start();
    a_few_messages(&server);
    let home = Home::new();
    fs::write(home.file("holiday.jpg"), "a beach").unwrap();
    std::os::unix::fs::symlink("nowhere", home.file("link")).unwrap();
    for name in ["holiday.jpg", "link"] {
        let text = refusal(&mut backup(&server.data(), &home.file(name)));
        assert!(text.contains(name) && text.contains("is not overwritten"), "{text}");
    }
    assert_eq!(fs::read(home.file("holiday.jpg")).unwrap(), b"a beach");
    assert_eq!(home.names(), ["holiday.jpg", "link"]);
}

#[test]
fn invalid_destination_is_refused() {
    let mut server = TestServer::start();
    a_few_messages(&server);
    let home = Home::new();
    fs::create_dir(home.file("usb")).unwrap();
    for (file, words) in [
        (home.file("usb"), "is a directory"),
        (home.file("other/"), "is a directory"),
        (home.file("missing/copy.db"), "No such file or directory"),
        (PathBuf::from("/"), "is not a file"),
        (PathBuf::from("/proc/copy.db"), "a directory that you may write to"),
        (PathBuf::from("-"), "standard output"),
        (PathBuf::new(), "name the file"),
        (server.database(), "is not overwritten"),
    ] {
        let text = refusal(&mut backup(&server.data(), &file));
        assert!(text.contains(words), "{}: {text}", file.display());
    }
    assert_eq!(home.names(), ["usb"]);
    assert!(server.terminate().success());
    let before = snapshot(&server.data());
    for name in ["holdline.db-wal", "holdline.db-shm", "holdline.db-journal", "../data/holdline.db-wal"] {
        let text = refusal(&mut backup(&server.data(), &server.data().join(name)));
        assert!(text.contains("is a name that the database uses itself"), "{text}");
    }
    assert_eq!(snapshot(&server.data()), before);
    refusal(holdline().arg("backup"));
}

#[test]
fn missing_database_is_reported() {
    let home = Home::new();
    let data = home.file("data");
    let refused = |words| {
        let text = refusal(&mut backup(&data, &home.file("copy.db")));
        assert!(text.contains(words) && text.contains(data.to_str().unwrap()), "{text}");
        assert!(!home.file("copy.db").exists());
    };
    refused("there is no database");
    fs::create_dir(&data).unwrap();
    refused("there is no database");
    fs::write(data.join("holdline.db"), "").unwrap();
    refused("is empty");
    fs::write(data.join("holdline.db"), "notes, and no database; more than one hundred bytes of them. ".repeat(20))
        .unwrap();
    refused("is damaged or not an SQLite database");
    assert_eq!(home.names(), ["data"]);
}

// Helpers

/// Directory for backups.
struct Home(TempDir);

impl Home {
    fn new() -> Self {
        Home(tempfile::tempdir().unwrap())
    }

    fn directory(&self) -> &Path {
        self.0.path()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory().join(name)
    }

    /// File names in it, in order.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.directory()).unwrap();
        let mut names = Vec::from_iter(entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()));
        names.sort();
        names
    }
}

/// Sender of numbered messages, as fast as they are accepted.
struct Flood {
    name: String,
    /// Number of messages that are certainly on disk.
    ponged: Arc<AtomicUsize>,
    thread: thread::JoinHandle<()>,
}

impl Flood {
    fn start(server: &TestServer, name: &str, is_over: &Arc<AtomicBool>) -> Self {
        let mut client = TestClient::login(server, name);
        let ponged = Arc::new(AtomicUsize::new(0));
        let (counter, is_over) = (ponged.clone(), is_over.clone());
        let thread = thread::spawn(move || {
            while !is_over.load(Ordering::Relaxed) {
                let sent = counter.load(Ordering::Relaxed);
                client.send_bytes(&flood("carol, dave", sent..sent + 100, 100));
                client.ping();
                counter.store(sent + 100, Ordering::Relaxed);
            }
        });
        Flood { name: name.to_owned(), ponged, thread }
    }

    fn ponged(&self) -> usize {
        self.ponged.load(Ordering::Relaxed)
    }

    /// Numbers of its messages in a backup, in the order of `seq`.
    fn numbers_in(&self, file: &Path) -> Vec<usize> {
        let sql = format!("select text from history where sender = '{}' order by seq", self.name);
        let number = |text: &str| text.split(' ').next().unwrap().parse().unwrap();
        sqlite(file, &sql).lines().map(number).collect()
    }

    fn join(self) {
        self.thread.join().unwrap();
    }
}

fn backup(data: &Path, file: &Path) -> Command {
    let mut command = holdline();
    command.args(["backup", "--data"]).arg(data).arg("--").arg(file);
    command
}

/// Creates a backup. Returns its one line of output.
#[track_caller]
fn backed_up(data: &Path, file: &Path) -> String {
    let output = backup(data, file).stdout(Stdio::piped()).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), 1, "{text}");
    text
}

/// Puts a backup in the place of the data, as in docs/database.md.
fn restore(server: &mut TestServer, file: &Path) {
    assert!(server.terminate().success());
    fs::remove_dir_all(server.data()).unwrap();
    fs::create_dir(server.data()).unwrap();
    fs::copy(file, server.database()).unwrap();
    server.start_again();
}

fn a_few_messages(server: &TestServer) {
    let mut alice = TestClient::login(server, "alice");
    alice.send("bob: one");
    alice.send("carol: two");
    alice.ping();
    alice.quit();
}

/// Sends some megabytes.
fn many_messages(server: &TestServer) {
    let mut alice = TestClient::login(server, "alice");
    for nth in 0..4 {
        alice.send_bytes(&flood("bob", nth * 400..(nth + 1) * 400, 2000));
        alice.ping();
    }
    alice.quit();
}

/// File names and content.
fn snapshot(data: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let files = fs::read_dir(data).unwrap().map(|file| file.unwrap().path());
    let mut files = Vec::from_iter(files.map(|path| (path.clone(), fs::read(path).unwrap())));
    files.sort();
    files
}

#[track_caller]
fn sqlite(database: &Path, sql: &str) -> String {
    let output = Command::new("sqlite3").args(["-batch", "-readonly"]).arg(database).arg(sql).output();
    let output = output.expect("the sqlite3 shell is installed");
    assert!(output.status.success() && output.stderr.is_empty(), "{sql}: {output:?}");
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

/// A shell whose working directory is a disk of one megabyte; its arguments are `$1` and so on.
fn shell_in_a_mount(mount: &Path, script: &str) -> Command {
    let script = format!("mount -t tmpfs -o size=1m,mode=700 none \"$0\" && cd \"$0\" && {script}");
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", &script]).arg(mount);
    command
}

/// Says which test is skipped where it is not permitted. The gate permits all.
fn is_skipped(is_permitted: bool, what: &str) -> bool {
    assert!(is_permitted || std::env::var_os("CI").is_none(), "{what}: not permitted here");
    if !is_permitted {
        eprintln!("skipped: {what} cannot be had here");
    }
    !is_permitted
}
