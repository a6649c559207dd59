//! The surroundings of a program: its directory, user, descriptors and limits, and which programs are refused.

use super::*;
use crate::limits::PROCESS_ERROR_LINES_PER_S_MAX;

#[test]
fn program_gets_its_directory_name_settings_and_arguments() {
    let mut script = Script::new(r#"say "$HOLDLINE_PLUGIN $HOLDLINE_SETTINGS $1"; say "$(pwd -P)"; say "$PATH"; ask"#);
    script.config.settings = json!({ "words": ["heck", "d'oh"] });
    script.config.arguments.extend(["sh".to_owned(), "an argument".to_owned()]);
    let directory = script.directory.path().canonicalize().unwrap();
    script.run(async |_, recorder| {
        until(|| recorder.logged().len() == 3).await;
        let path = std::env::var("PATH").unwrap();
        assert_eq!(
            recorder.logged(),
            [r#"helper {"words":["heck","d'oh"]} an argument"#, directory.to_str().unwrap(), path.as_str()]
        );
    });
}

#[test]
#[cfg(target_os = "linux")]
fn program_gets_nothing_else_of_the_environment() {
    let mut script = Script::new("say $(tr '\\0' '\\n' < /proc/$$/environ | cut -d = -f 1 | sort); say $TZ $LANG; ask");
    script.config.environment = [("TZ", "Europe/Berlin"), ("LANG", "C")].map(|(k, v)| (k.into(), v.into())).to_vec();
    let inherited = |name| std::env::var_os(name).map(|_| name);
    let home = inherited("HOME").map_or(String::new(), |name| format!("{name} "));
    // The tests themselves have more variables than that.
    assert!(std::env::vars_os().count() > 6);
    script.run(async |_, recorder| {
        until(|| recorder.logged().len() == 2).await;
        assert_eq!(
            recorder.logged(),
            [format!("HOLDLINE_PLUGIN HOLDLINE_SETTINGS {home}LANG PATH TZ"), "Europe/Berlin C".to_owned()]
        );
    });
}

#[test]
#[cfg(target_os = "linux")]
fn program_can_gain_no_privileges() {
    let script = Script::new("say $(grep NoNewPrivs /proc/$$/status); ask");
    script.run(async |_, recorder| {
        until(|| !recorder.logged().is_empty()).await;
        assert_eq!(recorder.logged(), ["NoNewPrivs: 1"]);
    });
}

#[test]
#[cfg(target_os = "linux")]
fn number_of_processes_is_limited() {
    let mut script = Script::new(r#"say $(ulimit -u); /bin/true && say forked; ask"#);
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    // No other test runs processes of this user.
    script.config.user = Some("daemon".to_owned());
    script.config.processes_max = Some(1);
    script.run(async |_, recorder| {
        until(|| recorder.logged().len() == 2 || !recorder.failures().is_empty()).await;
        let logged = recorder.logged().join(" ");
        assert!(!logged.contains("forked") && logged.to_lowercase().contains("fork"), "{logged}");
    });
}

#[test]
fn program_leads_its_own_process_group() {
    let script = Script::new("say $$; say $(cut -d ' ' -f 5 /proc/$$/stat); ask");
    script.run(async |_, recorder| {
        until(|| recorder.logged().len() == 2).await;
        let logged = recorder.logged();
        assert_eq!(logged[0], logged[1]);
    });
}

#[test]
#[cfg(target_os = "linux")]
fn program_inherits_no_descriptor_of_the_server() {
    use std::os::fd::BorrowedFd;

    use rustix::io::{FdFlags, fcntl_getfd};

    // Every process inherits the descriptors that the test runner left open.
    #[allow(unsafe_code)]
    let is_inherited = |fd: i32| {
        // SAFETY: the descriptor is only queried; a closed one is an error.
        fcntl_getfd(unsafe { BorrowedFd::borrow_raw(fd) }).is_ok_and(|flags| !flags.contains(FdFlags::CLOEXEC))
    };
    // A second program, whose pipes the server holds, too.
    let other = Script::new("say running; ask");
    let open = other.run(async |_, other_recorder| {
        until(|| other_recorder.logged() == ["running"]).await;
        let script = Script::new("say $$; ask; answer; ask");
        let (process, recorder) = (Process::load(&script.config).unwrap(), Recorder::default());
        let look = async {
            // While a shell writes to its standard error, its output has another descriptor.
            assert_eq!(ask(&process, "x").await, "pass");
            until(|| !recorder.logged().is_empty()).await;
            let open = fs::read_dir(format!("/proc/{}/fd", recorder.logged()[0])).unwrap();
            let mut open: Vec<i32> =
                open.map(|entry| entry.unwrap().file_name().into_string().unwrap().parse().unwrap()).collect();
            open.sort_unstable();
            process.stop().await;
            open
        };
        future::zip(process.supervise(&recorder), look).await.1
    });
    assert!(open.starts_with(&[0, 1, 2]), "{open:?}");
    assert!(open[3..].iter().all(|fd| is_inherited(*fd)), "{open:?}");
}

#[test]
fn standard_error_is_logged_up_to_a_rate() {
    let script = Script::new("seq 1000 >&2; say last; ask");
    script.run(async |_, recorder| {
        let most = PROCESS_ERROR_LINES_PER_S_MAX as usize;
        until(|| recorder.logged().iter().any(|line| line.starts_with('('))).await;
        let logged = recorder.logged();
        assert_eq!(logged[..2], ["1", "2"]);
        assert_eq!(logged[most - 1], "20");
        // All lines come within one second, except on a very slow machine.
        let left_out = |line: &str| line.strip_prefix('(')?.split(' ').next()?.parse::<usize>().ok();
        let counted: usize = logged.iter().map(|line| left_out(line).unwrap_or(1)).sum();
        assert!(counted <= 1001 && counted > most, "{logged:?}");
    });
}

#[test]
fn memory_limit_stops_the_program() {
    let mut script = Script::new(
        r#"
        [ -e lived ] && exec sleep 1000; touch lived
        x=xxxxxxxx; while [ ${#x} -lt 134217728 ]; do x=$x$x; done
        say full; exec sleep 1000
        "#,
    );
    script.config.memory_bytes_max = Some(64 * 1024 * 1024);
    script.run(async |_, recorder| {
        until(|| !recorder.failures().is_empty() || recorder.logged() == ["full"]).await;
        // Some shells report that they are out of memory, others crash.
        assert_eq!(recorder.failures().len(), 1, "{:?}", recorder.logged());
    });
}

#[test]
fn processor_time_limit_stops_the_program() {
    let mut script = Script::new("[ -e lived ] && exec sleep 1000; touch lived; while :; do :; done");
    script.config.cpu_s_max = Some(1);
    script.run(async |_, recorder| {
        until(|| !recorder.failures().is_empty()).await;
        assert_eq!(recorder.failures(), ["the program was ended by SIGXCPU (cpu_s_max); restarting in 1 ms"]);
    });
}

#[test]
#[cfg(target_os = "linux")]
fn program_runs_as_its_user() {
    if !nix::unistd::geteuid().is_root() {
        return;
    }
    // A group of this thread alone, which the program must not have.
    rustix::thread::set_thread_groups(&[rustix::process::Gid::from_raw(4242)]).unwrap();
    let mut script = Script::new("say $(id -un) $(id -gn) $(id -Gn) $HOME $USER; say $(ulimit -v); ask");
    script.config.user = Some("nobody".to_owned());
    script.config.memory_bytes_max = Some(1024 * 1024 * 1024);
    script.run(async |_, recorder| {
        until(|| recorder.logged().len() == 2).await;
        assert_eq!(recorder.logged(), ["nobody nogroup nogroup /nonexistent nobody", "1048576"]);
    });
}

#[test]
fn program_that_cannot_be_run_is_refused() {
    let script = Script::new("");
    let directory = script.directory.path();
    fs::create_dir(directory.join("plugins")).unwrap();
    fs::write(directory.join("plugins/push.sh"), "#!/bin/sh\n").unwrap();
    let refused = |change: fn(&mut PluginConfig)| {
        let mut config = script.config.clone();
        change(&mut config);
        Process::load(&config).map(drop).unwrap_err().to_string()
    };
    assert_eq!(
        refused(|config| config.path = "plugins/pull.sh".into()),
        "path = \"plugins/pull.sh\": No such file or directory (os error 2); the path is relative to the directory of \
         plugins.toml"
    );
    assert_eq!(
        refused(|config| config.path = "plugins".into()),
        "path = \"plugins\" is not a file; name the program itself"
    );
    assert_eq!(
        refused(|config| config.path = "plugins/push.sh".into()),
        "path = \"plugins/push.sh\" is not executable; run: chmod +x plugins/push.sh"
    );
    write_executable(&directory.join("windows.sh"), "#!/bin/sh\r\nexit 0\r\n");
    assert_eq!(
        refused(|config| config.path = "windows.sh".into()),
        "path = \"windows.sh\": its first line ends with a carriage return, as on Windows, and the system takes that for a part of \
         the interpreter's name; run: sed -i 's/\\r$//' windows.sh"
    );
    write_executable(&directory.join("marked.py"), "\u{feff}#!/usr/bin/python3\n");
    assert_eq!(
        refused(|config| config.path = "marked.py".into()),
        "path = \"marked.py\": it begins with a byte order mark, so the system does not see its first line; run: sed -i \
         '1s/^\\xEF\\xBB\\xBF//' marked.py"
    );
    write_executable(&directory.join("typo.py"), "#!/usr/bin/pyhton3 -u\n");
    assert_eq!(
        refused(|config| config.path = "typo.py".into()),
        "path = \"typo.py\": its first line names the interpreter \"/usr/bin/pyhton3\", which does not exist; correct it"
    );
    for (name, start) in [("fine.sh", "#! /bin/sh -e\n"), ("empty", ""), ("none", "#!\n"), ("binary", "\x7fELF\r\n")] {
        write_executable(&directory.join(name), start);
        let config = PluginConfig { path: name.into(), ..script.config.clone() };
        assert!(Process::load(&config).is_ok(), "{name}");
    }
    assert_eq!(
        refused(|config| config.user = Some("no-such-user".to_owned())),
        "user = \"no-such-user\": this system has no such user; list them with: getent passwd"
    );
    assert_eq!(
        refused(|config| config.settings = json!({ "x": "x".repeat(70_000) })),
        "[plugin.settings] has 70008 bytes as JSON; at most 65536 are allowed, so move some of it to a file"
    );
    assert_eq!(
        refused(|config| config.arguments.push("a\0b".to_owned())),
        "arguments: \"a\u{fffd}b\" contains the character U+0000, which ends an argument; remove it"
    );
}

fn write_executable(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;

    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}
