//! Processes that plugins leave behind, and other orphans of the machine that the server is the first process of. Owns which processes
//! are left; never how a plugin is called.

#![cfg(target_os = "linux")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use rustix::process::{Pid, Signal, geteuid, kill_process};
use support::{Output, TestServer, eventually, wait_for_exit};
use tempfile::TempDir;

/// Program with a child in its group, one in a session of its own, and one that has lost its parents. It writes their ids to a file.
const PROGRAM: &str = r#"#!/bin/sh
sleep 1000 & echo $! > child
setsid sh -c 'echo $$ > session; exec sleep 1000' &
(env -i setsid sh -c 'echo $$ > daemon; exec sleep 1000' &)
until [ -s session ] && [ -s daemon ]; do sleep 0.01; done
echo $$ > program
exec sleep 1000
"#;

const PLUGINS: &str = "[[plugin]]\nname = \"p\"\nkind = \"process\"\npath = \"p.sh\"\n";

/// Files with the ids of the program's processes.
const PROCESSES: [&str; 4] = ["child", "session", "daemon", "program"];

/// Waits until the program runs. Returns its processes as they are in /proc.
fn processes(server: &TestServer) -> Vec<PathBuf> {
    eventually("the program runs", || fs::read_to_string(server.path("program")).is_ok_and(|id| id.ends_with('\n')));
    let id = |file| fs::read_to_string(server.path(file)).expect("the program has written it");
    let processes: Vec<PathBuf> = PROCESSES.iter().map(|file| Path::new("/proc").join(id(file).trim())).collect();
    assert!(processes.iter().all(|process| process.exists()), "{processes:?}");
    for file in PROCESSES {
        fs::remove_file(server.path(file)).expect("it is there");
    }
    processes
}

/// Checks that no process is left, not even as a zombie.
#[track_caller]
fn assert_gone(processes: &[PathBuf]) {
    eventually("the processes are gone", || processes.iter().all(|process| !process.exists()));
}

#[test]
fn stop_of_the_server_leaves_no_descendant_of_a_plugin() {
    let mut server = TestServer::with_files(&[("plugins.toml", PLUGINS), ("p.sh", PROGRAM)]);
    let processes = processes(&server);
    assert_eq!(server.terminate().code(), Some(0));
    assert!(processes.iter().all(|process| !is_alive(process)), "{processes:?}");
}

#[test]
fn reload_leaves_no_descendant_of_the_old_program() {
    let server = TestServer::with_files(&[("plugins.toml", PLUGINS), ("p.sh", PROGRAM)]);
    let old = processes(&server);
    server.write_file("p.sh", &format!("{PROGRAM}# changed\n"));
    server.reload();
    assert_gone(&old);
    let new = processes(&server);
    assert!(new.iter().all(|process| is_alive(process)), "{new:?}");
}

#[test]
fn crash_of_a_program_leaves_none_of_its_descendants() {
    let server = TestServer::with_files(&[("plugins.toml", PLUGINS), ("p.sh", PROGRAM)]);
    let old = processes(&server);
    let program = old[3].file_name().and_then(|id| id.to_str()?.parse().ok()).and_then(Pid::from_raw);
    kill_process(program.expect("an id"), Signal::KILL).expect("it runs");
    assert_gone(&old);
    assert!(processes(&server).iter().all(|process| is_alive(process)));
}

#[test]
fn orphans_of_a_running_program_are_waited_for() {
    // A real-time signal ends the last one.
    let program = "#!/bin/sh\nfor end in exit exit 'kill -9' 'kill -34'; do\n\
                   (setsid sh -c \"echo \\$\\$ >> orphans; $end \\$\\$\" &)\ndone\nexec sleep 1000\n";
    let server = TestServer::with_files(&[("plugins.toml", PLUGINS), ("p.sh", program)]);
    let ids = || fs::read_to_string(server.path("orphans")).unwrap_or_default();
    eventually("the orphans have run", || ids().lines().count() == 4);
    let orphans: Vec<PathBuf> = ids().lines().map(|id| Path::new("/proc").join(id)).collect();
    assert_gone(&orphans);
}

#[test]
fn server_knows_how_a_program_ended_although_it_waits_for_orphans() {
    let program = "#!/bin/sh\n(setsid true &)\nexit 3\n";
    let server = TestServer::with_files(&[("plugins.toml", PLUGINS), ("p.sh", program)]);
    let ends = || Vec::from_iter(server.log().lines().filter(|line| line.contains("restarting")).map(str::to_owned));
    eventually("the program has ended a few times", || ends().len() >= 5);
    assert!(ends().iter().all(|end| end.contains("the program ended with exit status 3;")), "{:?}", ends());
}

/// A server that is the first process of a PID namespace, as in a container.
struct FirstProcess {
    unshare: Child,
    log: Arc<Output>,
    home: TempDir,
}

impl FirstProcess {
    /// Starts the server. `None` without root, which the namespace needs.
    fn start() -> Option<Self> {
        if !geteuid().is_root() {
            assert!(std::env::var_os("CI").is_none(), "PID namespaces are required in CI");
            eprintln!("skipped: only root can make a PID namespace");
            return None;
        }
        let home = tempfile::tempdir().expect("a temporary directory can be created");
        fs::write(home.path().join("plugins.toml"), PLUGINS).expect("a file can be written");
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--mount-proc", "--kill-child", "sh", "-c"]);
        // A process from before the server, as an entry point may start it.
        command.args([r#"setsid sleep 1001 & exec "$0" "$@""#, env!("CARGO_BIN_EXE_holdline")]);
        command.args(["--listen", "127.0.0.1:0", "--data", "data"]).current_dir(home.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).env_remove("HOLDLINE_LOG");
        let mut first = {
            write_program(home.path());
            let mut unshare = command.spawn().expect("unshare is installed");
            let log = Output::of(unshare.stderr.take().expect("stderr is a pipe"));
            FirstProcess { unshare, log, home }
        };
        let text = first.log.wait_until(|text| text.contains("listening on"));
        assert!(text.contains("listening on"), "{text}");
        first.wait_for_program();
        Some(first)
    }

    /// Waits until the program runs, and forgets that.
    fn wait_for_program(&mut self) {
        let program = self.home.path().join("program");
        eventually("the program runs", || program.exists());
        for file in PROCESSES {
            fs::remove_file(self.home.path().join(file)).expect("the program has written it");
        }
    }

    /// Process id of the server outside its namespace.
    fn server(&self) -> u32 {
        let id = self.unshare.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).expect("unshare runs");
        children.trim().parse().expect("unshare has one child")
    }

    fn signal(&self, signal: Signal) {
        let server = i32::try_from(self.server()).ok().and_then(Pid::from_raw).expect("an id");
        kill_process(server, signal).expect("the server runs");
    }

    /// Runs a shell in the namespace, as `docker exec` does.
    fn exec(&self, script: &str) {
        let server = self.server().to_string();
        let mut command = Command::new("nsenter");
        command.args(["--target", &server, "--pid", "--mount", "sh", "-c", script]).current_dir(self.home.path());
        assert!(command.status().expect("nsenter is installed").success());
    }

    /// Names and states of the server's children: `sleep S`.
    fn children(&self) -> Vec<String> {
        let server = self.server();
        let stats = fs::read_dir("/proc")
            .expect("/proc")
            .filter_map(|entry| fs::read_to_string(entry.ok()?.path().join("stat")).ok());
        let mut children = Vec::from_iter(stats.filter_map(|stat| {
            let (start, rest) = stat.rsplit_once(") ")?;
            let (_, name) = start.split_once(" (")?;
            let mut fields = rest.split(' ');
            let (state, parent) = (fields.next()?, fields.next()?);
            (parent == server.to_string()).then(|| format!("{name} {state}"))
        }));
        children.sort();
        children
    }

    fn wait_for_children(&self, expected: &[&str]) {
        eventually(&format!("the children are {expected:?}"), || self.children() == expected);
    }
}

impl Drop for FirstProcess {
    fn drop(&mut self) {
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
        if std::thread::panicking() {
            eprintln!("stderr of the server:\n{}", self.log.text());
        }
    }
}

fn write_program(directory: &Path) {
    use std::os::unix::fs::PermissionsExt;

    fs::write(directory.join("p.sh"), PROGRAM).expect("a file can be written");
    fs::set_permissions(directory.join("p.sh"), fs::Permissions::from_mode(0o755)).expect("it can be made executable");
}

fn is_alive(process: &Path) -> bool {
    let stat = fs::read_to_string(process.join("stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

#[test]
fn first_process_has_no_zombies_and_ends_only_what_plugins_started() {
    let Some(mut first) = FirstProcess::start() else { return };
    // The program, its daemon, and the process from before the server.
    let usual = ["sleep S", "sleep S", "sleep S"];
    first.wait_for_children(&usual);
    for nth in 0..5 {
        write_program(first.home.path());
        fs::write(first.home.path().join("p.sh"), format!("{PROGRAM}# {nth}\n")).expect("a file can be written");
        first.signal(Signal::HUP);
        first.wait_for_program();
        first.wait_for_children(&usual);
    }
    // An orphan of another part of the container.
    first.exec("(setsid sh -c 'echo $$ > other; exec sleep 1002' &) ; until [ -s other ]; do sleep 0.01; done");
    first.wait_for_children(&["sleep S"; 4]);
    write_program(first.home.path());
    first.signal(Signal::HUP);
    first.wait_for_program();
    first.wait_for_children(&["sleep S"; 4]);
    first.exec("kill $(cat other)");
    first.wait_for_children(&usual);
    first.signal(Signal::TERM);
    assert_eq!(wait_for_exit(&mut first.unshare).code(), Some(0));
}
