//! Exits and restarts: what becomes of pending calls, and when a program is started again.

use super::*;

#[test]
fn program_that_does_not_answer_is_restarted() {
    let mut script = Script::new("ask; [ -e lived ] && answer; touch lived; exec sleep 1000");
    script.timeouts.silence = Duration::from_millis(200);
    script.run(async |process, recorder| {
        let failure = ask(process, "x").await;
        assert_eq!(failure, "! the program did not answer and wrote no line for 0.2 s; no answer to message");
        assert_eq!(ask_until_back(process).await, "pass");
        assert!(
            recorder.failures()[0].starts_with("the program did not answer and wrote no line for 0.2 s; restarting")
        );
    });
}

#[test]
fn exit_in_the_middle_of_a_line_fails_pending_calls() {
    let script = Script::new(
        r#"
        [ -e lived ] || { touch lived; ask; answer; ask; ask; say $$; printf '{"id":"%s"' "$id"; exit 3; }
        while ask; do answer; done
        "#,
    );
    script.run(async |process, recorder| {
        let answers = process.call_all(vec![message("1"), message("2"), message("3")], None).await;
        let answers: Vec<_> = answers.into_iter().map(words).collect();
        let gone = "! the program ended with exit status 3; no answer to message";
        assert_eq!(answers, ["pass", gone, gone]);
        assert_eq!(ask_until_back(process).await, "pass");
        assert_eq!(recorder.failures(), ["the program ended with exit status 3; restarting in 1 ms"]);
        assert!(!exists(&recorder.logged()[0]), "the process must be waited for");
    });
}

#[test]
fn last_output_before_the_exit_counts() {
    let script = Script::new(
        r#"[ -e lived ] && exec sleep 1000; touch lived; ask; echo '{"type":"ping","id":"p"}'; say why; answer; exit 1"#,
    );
    script.run(async |process, recorder| {
        assert_eq!(ask(process, "x").await, "pass");
        until(|| !recorder.failures().is_empty()).await;
        assert_eq!(recorder.logged(), ["why"]);
        assert_eq!(recorder.seen().submitted.len(), 1);
    });
}

#[test]
fn calls_fail_at_once_while_the_program_is_down() {
    let mut script = Script::new("kill -SEGV $$");
    script.never_restarts();
    script.run(async |process, recorder| {
        until(|| !recorder.failures().is_empty()).await;
        assert_eq!(recorder.failures(), ["the program was ended by SIGSEGV; restarting in 60000 ms"]);
        let failure = "! the program was ended by SIGSEGV; not restarted yet";
        assert_eq!(ask(process, "x").await, failure);
        push(process, "dropped");
    });
}

#[test]
fn restart_delays_grow_until_the_program_works() {
    let mut script = Script::new("exit 1");
    script.timeouts.restart_max = Duration::from_millis(4);
    script.run(async |_, recorder| {
        until(|| recorder.failures().len() >= 5).await;
        let failures = recorder.failures();
        let pauses: Vec<_> = failures[..5].iter().filter_map(|failure| failure.split(' ').rev().nth(1)).collect();
        assert_eq!(pauses, ["1", "2", "4", "4", "4"]);
    });
    let mut script = Script::new("exit 1");
    script.timeouts.restart_max = Duration::from_millis(4);
    script.timeouts.steady = Duration::ZERO;
    script.run(async |_, recorder| {
        until(|| recorder.failures().len() >= 3).await;
        assert!(recorder.failures()[..3].iter().all(|failure| failure.ends_with("in 1 ms")));
    });
}

#[test]
fn failed_start_is_repeated() {
    let mut script = Script::new("");
    let path = script.directory.path().join("helper");
    fs::copy("/bin/sh", &path).unwrap();
    script.config.path = path.clone();
    let process = Process { timeouts: script.timeouts, ..Process::load(&script.config).unwrap() };
    fs::remove_file(path).unwrap();
    let recorder = Recorder::default();
    let tried = async {
        until(|| recorder.failures().len() >= 2).await;
        process.stop().await;
    };
    smol::block_on(in_time(future::zip(process.supervise(&recorder), tried)));
    assert_eq!(
        recorder.failures()[0],
        "the program could not be started: No such file or directory (os error 2); if the file exists, check the interpreter in its first \
         line; restarting in 1 ms"
    );
}

#[test]
#[cfg(target_os = "linux")]
fn many_restarts_leave_no_descriptor_and_no_zombie() {
    let script = Script::new("say $$ $(readlink /proc/$$/fd/0 /proc/$$/fd/1 /proc/$$/fd/2); exit 1");
    let logged = script.run(async |_, recorder| {
        until(|| recorder.failures().len() >= 50).await;
        recorder.logged()
    });
    assert!(logged.len() >= 20, "{logged:?}");
    let open_here = || {
        let links = fs::read_dir("/proc/self/fd").unwrap().filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
        links.map(|link| link.display().to_string()).collect::<Vec<_>>()
    };
    // Another test may reuse the number of a pipe.
    let pipes: Vec<&str> = logged.iter().flat_map(|line| line.split(' ').skip(1)).collect();
    let left = || open_here().into_iter().filter(|open| pipes.contains(&open.as_str())).count();
    smol::block_on(in_time(until(|| left() == 0)));
    // Descriptors of processes that have ended; another test may hold one for a moment.
    let gone = || {
        let infos =
            fs::read_dir("/proc/self/fdinfo").unwrap().filter_map(|entry| fs::read_to_string(entry.ok()?.path()).ok());
        infos.filter(|info| info.contains("Pid:\t-1\n")).count()
    };
    smol::block_on(in_time(until(|| gone() == 0)));
    assert!(logged.iter().all(|line| !exists(line.split(' ').next().unwrap())));
}
