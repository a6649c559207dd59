//! What the process of a program does to itself before it becomes the program: whose it is, what it may take, and that it
//! ends with us. Owns the one call that no library makes safe.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;

use nix::unistd::{Gid, Uid, setgid, setgroups, setuid};
use rustix::process::{Pid, Resource, Rlimit, getpid, getppid, getrlimit, setrlimit};

/// Whose process it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) user: Uid,
    pub(super) group: Gid,
    /// All of the user's groups.
    pub(super) groups: Vec<Gid>,
}

/// What a process may be, and take.
#[derive(Clone, Debug)]
pub(super) struct Confinement {
    /// Somebody else's than ours.
    pub(super) identity: Option<Identity>,
    /// Bytes of its address space.
    pub(super) memory_bytes_max: Option<u64>,
    /// Seconds of processor time.
    pub(super) cpu_s_max: Option<u64>,
}

/// Has the command's process confine itself. It is to be started by the thread that calls this.
#[allow(unsafe_code)]
pub(super) fn confine(command: &mut Command, confinement: &Confinement) {
    let (confinement, server, lasts) = (confinement.clone(), getpid(), thread_lasts());
    let enter = move || confinement.enter(server, lasts);
    // SAFETY: between the fork and the program only what is safe in a signal handler may be done, as another thread may have
    // held any lock. `enter` makes system calls, and neither allocates nor frees: its groups were looked up before, and its
    // errors are numbers. setgroups, setgid and setuid are those that the standard library itself calls there.
    unsafe { command.pre_exec(enter) };
}

impl Confinement {
    fn enter(&self, server: Pid, server_thread_lasts: bool) -> io::Result<()> {
        if let Some(bytes) = self.memory_bytes_max {
            limit(Resource::As, bytes, bytes)?;
        }
        if let Some(seconds) = self.cpu_s_max {
            // SIGXCPU says why; SIGKILL comes to who ignores it.
            limit(Resource::Cpu, seconds, seconds.saturating_add(1))?;
        }
        if let Some(identity) = &self.identity {
            setgroups(&identity.groups)?;
            setgid(identity.group)?;
            setuid(identity.user)?;
        }
        // Becoming somebody else would undo it.
        if server_thread_lasts { end_with(server) } else { Ok(()) }
    }
}

/// No limit is raised: only root could.
fn limit(resource: Resource, soft: u64, hard: u64) -> io::Result<()> {
    let most = getrlimit(resource).maximum.unwrap_or(u64::MAX);
    setrlimit(resource, Rlimit { current: Some(soft.min(most)), maximum: Some(hard.min(most)) })?;
    Ok(())
}

/// The system ends a process with the thread that started it, not with that one's process. Only the main thread is sure to
/// last as long; from any other the end of its input has to tell the program that we are gone.
#[cfg(target_os = "linux")]
fn thread_lasts() -> bool {
    rustix::thread::gettid() == getpid()
}

/// prctl(2), PR_SET_PDEATHSIG.
#[cfg(target_os = "linux")]
fn end_with(server: Pid) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    // It may have gone before we said so.
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
