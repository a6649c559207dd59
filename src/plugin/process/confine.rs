//! Confinement of a program's process between fork and exec: its user, its limits, and that it ends with the server. Owns the
//! one call that no library makes safe.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::unistd::{Gid, Uid, setgid, setgroups, setuid};
use rustix::process::{Pid, Resource, Rlimit, getpid, getppid, getrlimit, setrlimit};

use super::descendants::RunMark;

/// User and groups of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) user: Uid,
    pub(super) group: Gid,
    /// All groups of the user.
    pub(super) groups: Vec<Gid>,
}

/// User and limits of a program's process.
#[derive(Clone, Debug)]
pub(super) struct Confinement {
    /// User to become; `None` is the server's own.
    pub(super) identity: Option<Identity>,
    /// Bytes of address space.
    pub(super) memory_bytes_max: Option<u64>,
    /// Seconds of processor time.
    pub(super) cpu_s_max: Option<u64>,
    /// Processes and threads of the user, all of them counted. The system does not limit root.
    pub(super) processes_max: u64,
}

/// Makes the command's process confine itself before it executes the program. The calling thread must be the one that spawns
/// the command.
#[allow(unsafe_code)]
pub(super) fn confine(command: &mut Command, confinement: &Confinement, mark: RunMark) {
    let (confinement, server, thread_lasts) = (confinement.clone(), getpid(), thread_lasts());
    let enter = move || {
        set_mark(mark);
        confinement.enter(server, thread_lasts)
    };
    // SAFETY: between fork and exec only async-signal-safe operations are allowed, because another thread may have held any
    // lock. `enter` makes system calls, and neither allocates nor frees: its groups were looked up before, and its errors are
    // numbers. setgroups, setgid and setuid are those that the standard library itself calls there.
    unsafe { command.pre_exec(enter) };
}

impl Confinement {
    fn enter(&self, server: Pid, server_thread_lasts: bool) -> io::Result<()> {
        if let Some(bytes) = self.memory_bytes_max {
            limit(Resource::As, bytes, bytes)?;
        }
        if let Some(seconds) = self.cpu_s_max {
            // SIGXCPU names the reason; a program that ignores it gets SIGKILL.
            limit(Resource::Cpu, seconds, seconds.saturating_add(1))?;
        }
        limit(Resource::Nproc, self.processes_max, self.processes_max)?;
        give_up_privileges()?;
        if let Some(identity) = &self.identity {
            setgroups(&identity.groups)?;
            setgid(identity.group)?;
            setuid(identity.user)?;
        }
        // A change of user resets the signal at the parent's death, so this comes last.
        if server_thread_lasts { end_with(server) } else { Ok(()) }
    }
}

/// Lowers a limit. Never raises one, which only root can.
fn limit(resource: Resource, soft: u64, hard: u64) -> io::Result<()> {
    let most = getrlimit(resource).maximum.unwrap_or(u64::MAX);
    setrlimit(resource, Rlimit { current: Some(soft.min(most)), maximum: Some(hard.min(most)) })?;
    Ok(())
}

/// Marks this process and all its descendants. Where the system or an earlier limit forbids it, they have no mark.
#[cfg(target_os = "linux")]
fn set_mark(mark: RunMark) {
    let _ = limit(Resource::Locks, mark.limit(), mark.limit());
}

#[cfg(not(target_os = "linux"))]
fn set_mark(_: RunMark) {}

/// Makes sure that no program with the set-user-ID bit gives this process or its children more privileges: prctl(2),
/// PR_SET_NO_NEW_PRIVS.
#[cfg(target_os = "linux")]
fn give_up_privileges() -> io::Result<()> {
    Ok(rustix::thread::set_no_new_privs(true)?)
}

#[cfg(not(target_os = "linux"))]
fn give_up_privileges() -> io::Result<()> {
    Ok(())
}

/// Whether the calling thread lasts as long as the server. The system sends the signal at the parent's death when the thread
/// that forked ends, not when its process does, and only the main thread is sure to last. A program that another thread started
/// learns from the end of its input that the server has ended.
#[cfg(target_os = "linux")]
fn thread_lasts() -> bool {
    rustix::thread::gettid() == getpid()
}

/// Ends this process when the server ends: prctl(2), PR_SET_PDEATHSIG.
#[cfg(target_os = "linux")]
fn end_with(server: Pid) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    // The server may have ended before the call.
    if getppid() == Some(server) { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
}

#[cfg(not(target_os = "linux"))]
fn thread_lasts() -> bool {
    false
}

#[cfg(not(target_os = "linux"))]
fn end_with(_: Pid) -> io::Result<()> {
    Ok(())
}
