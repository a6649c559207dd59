//! Data of a process in Linux's `/proc`: CPU time, memory, bytes written, context switches. Owns reading these files;
//! never knows whose process it is.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

/// Clock ticks in a second, in which `/proc/PID/stat` counts: the same on every Linux that matters here.
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU time that this program has used so far.
pub(crate) fn own_cpu() -> Result<Duration> {
    cpu("self")
}

/// CPU time that a process has used so far, user and system; to a hundredth of a second.
pub(crate) fn cpu(process: &str) -> Result<Duration> {
    let stat = read(process, "stat")?;
    // The second field is the program's name in parentheses, which may contain blanks; utime and stime are the 14th and
    // 15th.
    let fields = stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace().skip(11).take(2));
    let ticks: Option<f64> = fields.and_then(|fields| fields.map(|field| field.parse::<f64>().ok()).sum());
    Ok(Duration::from_secs_f64(ticks.with_context(|| format!("no CPU time in {stat:?}"))? / TICKS_PER_SECOND))
}

/// A size in `status`, in bytes.
pub(crate) fn status_bytes(process: &str, name: &str) -> Result<u64> {
    Ok(field(&read(process, "status")?, name)? * 1024)
}

/// Bytes that a process has caused to be written to the medium, including those of deleted files.
pub(crate) fn written_bytes(process: &str) -> Result<u64> {
    field(&read(process, "io")?, "write_bytes:")
}

/// Resets the peak of a process's resident memory to the current value.
pub(crate) fn forget_peak(process: &str) -> Result<()> {
    let path = format!("/proc/{process}/clear_refs");
    // See proc(5).
    fs::write(&path, "5").context(path)
}

/// Times that threads of a process were taken off a core, because they waited or because others had their turn.
pub(crate) fn context_switches(process: &str) -> Result<u64> {
    let tasks = format!("/proc/{process}/task");
    let tasks = fs::read_dir(&tasks).context(tasks)?;
    tasks.map(|task| switches_of(&format!("{process}/task/{}", task?.file_name().display()))).sum()
}

fn switches_of(thread: &str) -> Result<u64> {
    let status = read(thread, "status")?;
    Ok(field(&status, "voluntary_ctxt_switches:")? + field(&status, "nonvoluntary_ctxt_switches:")?)
}

fn field(text: &str, name: &str) -> Result<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().trim_end_matches(" kB"));
    value.and_then(|value| value.parse().ok()).with_context(|| format!("no {name} in {text:?}"))
}

fn read(process: &str, file: &str) -> Result<String> {
    let path = format!("/proc/{process}/{file}");
    fs::read_to_string(&path).with_context(|| format!("{path}: the benchmark needs Linux's /proc"))
}
