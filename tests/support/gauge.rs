//! Resources of a server's process: memory and descriptors, from /proc. Owns the measurement; never a limit.

use std::fs;
use std::time::Duration;

use super::server::TestServer;
use super::{eventually, wait_until_steady};

/// Time in which an idle server uses no processor time.
const SPELL: Duration = Duration::from_millis(100);

/// Resident memory of the server, in KiB.
pub(crate) fn resident_kib(server: &TestServer) -> u64 {
    memory_kib(server, "VmRSS:")
}

/// Peak of the server's resident memory since its start or [`forget_peak`], in KiB.
pub(crate) fn peak_kib(server: &TestServer) -> u64 {
    memory_kib(server, "VmHWM:")
}

/// Resets the peak to the memory that is resident now; proc(5), `clear_refs`.
pub(crate) fn forget_peak(server: &TestServer) {
    fs::write(format!("/proc/{}/clear_refs", server.pid()), "5").expect("the server belongs to this user");
}

fn memory_kib(server: &TestServer, key: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("the server runs, on Linux");
    let line = status.lines().find_map(|line| line.strip_prefix(key)).expect("a process has memory");
    line.trim().strip_suffix(" kB").and_then(|kib| kib.parse().ok()).unwrap_or_else(|| panic!("not a size: {line}"))
}

/// Number of open descriptors of the server.
pub(crate) fn descriptors(server: &TestServer) -> usize {
    fs::read_dir(format!("/proc/{}/fd", server.pid())).expect("the server runs, on Linux").count()
}

/// Waits until the server is idle: it uses no processor time for a while.
#[track_caller]
pub(crate) fn wait_until_at_rest(server: &TestServer) {
    wait_until_steady("the processor time of the server", SPELL, || processor_ticks(server));
}

/// Processor time used so far, in hundredths of a second; proc(5), `stat`.
fn processor_ticks(server: &TestServer) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{}/stat", server.pid())).expect("the server runs, on Linux");
    let (_, fields) = stat.rsplit_once(')').expect("the name of the program");
    // `utime` and `stime`; the first field here is the third of the file.
    fields.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("the text is a number")).sum()
}

/// Waits until the server has at most this many descriptors open.
#[track_caller]
pub(crate) fn wait_for_descriptors(server: &TestServer, at_most: usize) {
    eventually(&format!("at most {at_most} descriptors are open"), || descriptors(server) <= at_most);
}
