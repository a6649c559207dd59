//! Processes of the machine, as /proc shows them: proc(5). Owns what is read there; finds nothing on systems without it.

use std::fs;

use rustix::process::getpid;

/// Ids of all processes. None if /proc shows another PID namespace, where ids mean other processes.
pub(super) fn processes() -> impl Iterator<Item = i32> {
    let shows_this_one = fs::read_link("/proc/self").is_ok_and(|id| id.to_str() == Some(&getpid().to_string()));
    let entries = if shows_this_one { fs::read_dir("/proc").ok() } else { None };
    entries.into_iter().flatten().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
}

/// Returns RLIMIT_LOCKS of a process: the hard limit.
pub(super) fn locks_max(id: i32) -> Option<u64> {
    let limits = fs::read_to_string(format!("/proc/{id}/limits")).ok()?;
    let hard = limits.lines().find_map(|line| line.strip_prefix("Max file locks")?.split_whitespace().nth(1));
    hard?.parse().ok()
}

/// Whether a process has not ended. One that has ended stays until its parent has waited for it.
pub(super) fn is_alive(id: i32) -> bool {
    state_and_parent(id).is_some_and(|(state, _)| !matches!(state, 'Z' | 'X'))
}

/// Whether a process has ended, and this process must wait for it.
pub(super) fn is_ended_child(id: i32) -> bool {
    state_and_parent(id) == Some(('Z', getpid().as_raw_pid()))
}

fn state_and_parent(id: i32) -> Option<(char, i32)> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    Some((fields.next()?.chars().next()?, fields.next()?.parse().ok()?))
}
