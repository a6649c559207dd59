//! The end of a program and of what it started: pipes, signals and processes that are left.

use super::*;

#[test]
fn children_that_hold_the_pipes_are_killed() {
    let script = Script::new("[ -e lived ] && exec sleep 1000; touch lived; sleep 1000 & say $! $$; exit 1");
    script.run(async |_, recorder| {
        until(|| !recorder.failures().is_empty()).await;
        let logged = recorder.logged();
        let (child, parent) = logged[0].split_once(' ').unwrap();
        assert!(!exists(parent));
        until(|| !is_alive(child)).await;
    });
}

#[test]
#[cfg(target_os = "linux")]
fn processes_that_left_the_group_are_killed() {
    let ways = [
        "setsid sh -c 'echo $$ >&2; exec sleep 1000' &",
        "env -i setsid sh -c 'echo $$ >&2; exec sleep 1000' &",
        "(setsid sh -c 'echo $$ >&2; exec sleep 1000' &);",
        "setsid sh -c 'setsid sh -c \"echo \\$\\$ >&2; exec sleep 1000\" & exit' &",
        "setsid sh -c 'trap \"\" TERM HUP; echo $$ >&2; exec sleep 1000 <&- >&- 2>&-' &",
    ];
    for way in ways {
        let script = Script::new(&format!("[ -e lived ] && exec sleep 1000; touch lived; {way} read -r line; exit 1"));
        script.run(async |process, recorder| {
            until(|| !recorder.logged().is_empty()).await;
            let pid = recorder.logged()[0].clone();
            assert!(is_alive(&pid), "{way}");
            push(process, "go");
            until(|| !recorder.failures().is_empty()).await;
            assert!(!is_alive(&pid), "{way}");
        });
    }
}

#[test]
#[cfg(target_os = "linux")]
fn end_of_a_program_leaves_the_processes_of_others() {
    let other = Script::new("setsid sh -c 'echo $$ >&2; exec sleep 1000' & ask; ask");
    other.run(async |_, other_recorder| {
        until(|| !other_recorder.logged().is_empty()).await;
        let script = Script::new("ask");
        let (process, recorder) = (Process::load(&script.config).unwrap(), Recorder::default());
        future::zip(process.supervise(&recorder), process.stop()).await;
        assert!(is_alive(&other_recorder.logged()[0]));
    });
}

#[test]
fn program_that_closes_its_output_is_stopped() {
    let mut script = Script::new("[ -e lived ] && exec sleep 1000; touch lived; say $$; exec >&-; exec sleep 1000");
    script.never_restarts();
    script.run(async |_, recorder| {
        until(|| !recorder.failures().is_empty()).await;
        assert_eq!(recorder.failures(), ["the program closed its standard output; restarting in 60000 ms"]);
        assert!(!exists(&recorder.logged()[0]));
    });
}

#[test]
fn program_that_closes_its_input_may_still_write() {
    let script = Script::new(
        r#"exec <&-; echo '{"type":"ping"}'; until [ -e go ]; do sleep 0.01; done; echo '{"type":"ping"}'; exec sleep 1000"#,
    );
    let go = script.directory.path().join("go");
    script.run(async |process, recorder| {
        until(|| recorder.seen().submitted.len() == 1).await;
        push(process, "dropped");
        let closed = "! the program has closed its standard input";
        until(|| {
            let answer = smol::block_on(future::poll_once(ask(process, "x")));
            answer.as_deref() == Some(closed)
        })
        .await;
        fs::write(go, "").unwrap();
        until(|| recorder.seen().submitted.len() == 2).await;
        assert!(recorder.failures().is_empty());
    });
}

#[test]
fn stopped_program_can_clean_up() {
    let script = Script::new("trap 'say bye; exit 0' TERM; say ready; while :; do read -r line; done");
    script.run(async |process, recorder| {
        until(|| recorder.logged() == ["ready"]).await;
        process.stop().await;
        assert_eq!(recorder.logged(), ["ready", "bye"]);
        assert_eq!(ask(process, "x").await, "! the program was stopped");
        assert!(recorder.failures().is_empty());
    });
}

#[test]
fn program_that_ignores_sigterm_is_killed() {
    let mut script = Script::new("trap '' TERM; say $$; while :; do sleep 1000; done");
    script.timeouts.stop = Duration::from_millis(50);
    script.run(async |process, recorder| {
        until(|| !recorder.logged().is_empty()).await;
        let (unanswered, ()) = future::zip(ask(process, "x"), process.stop()).await;
        assert_eq!(unanswered, "! the program was stopped; no answer to message");
        until(|| !exists(&recorder.logged()[0])).await;
    });
}

#[test]
fn plugin_that_never_ran_stops_at_once() {
    let script = Script::new("");
    let process = Process::load(&script.config).unwrap();
    smol::block_on(in_time(process.stop()));
    smol::block_on(in_time(process.supervise(&Recorder::default())));
}

#[test]
fn dropped_plugin_leaves_no_process() {
    let script = Script::new("trap '' TERM; sleep 1000 & say $$ $!; while :; do sleep 1000; done");
    let process = Process::load(&script.config).unwrap();
    let recorder = Recorder::default();
    let said = async {
        until(|| !recorder.logged().is_empty()).await;
    };
    smol::block_on(in_time(future::or(process.supervise(&recorder), said)));
    let logged = recorder.logged();
    let (parent, child) = logged[0].split_once(' ').unwrap();
    smol::block_on(in_time(until(|| !exists(parent) && !is_alive(child))));
}
