//! Children of this process. Owns who waits for them when they have ended: the library that starts programs for these, this file for those
//! that the process has adopted.

use std::collections::BTreeSet;
use std::io;

use parking_lot::Mutex;
use smol::process::{Child, Command};

/// Process ids of the programs, for which the library waits. Locked during a start, because a program may end before its id is known.
static PROGRAMS: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

/// Entry of a program in the list of those that the library waits for, until it is dropped.
pub(super) struct Listed {
    id: u32,
}

impl Listed {
    /// Starts a program, and lists it.
    pub(super) fn spawn(command: &mut Command) -> io::Result<(Child, Listed)> {
        let mut programs = PROGRAMS.lock();
        let child = command.spawn()?;
        let id = child.id();
        programs.insert(id);
        Ok((child, Listed { id }))
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        PROGRAMS.lock().remove(&self.id);
    }
}

/// Waits for all children that have ended and that this process has adopted. Returns false if the library must wait for a program first:
/// try again.
#[cfg(target_os = "linux")]
pub(crate) fn reap_orphans() -> bool {
    use nix::errno::Errno;
    use nix::sys::wait::{Id, WaitPidFlag, waitid};
    use rustix::process::{Pid, WaitOptions, waitpid};

    use super::procfs;

    let programs = PROGRAMS.lock();
    let is_program = |id: i32| u32::try_from(id).is_ok_and(|id| programs.contains(&id));
    loop {
        let ended = match waitid(Id::All, WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT) {
            Ok(status) => status.pid().map(|pid| pid.as_raw()),
            // It was ended by a real-time signal, which has no name.
            Err(Errno::EINVAL) => procfs::processes().find(|id| procfs::is_ended_child(*id) && !is_program(*id)),
            Err(_) => None,
        };
        match ended.and_then(Pid::from_raw) {
            Some(id) if is_program(id.as_raw_pid()) => return false,
            Some(id) if waitpid(Some(id), WaitOptions::NOHANG).is_ok_and(|ended| ended.is_some()) => {}
            _ => return true,
        }
    }
}

/// Does nothing: only on Linux a process adopts others.
#[cfg(not(target_os = "linux"))]
pub(crate) fn reap_orphans() -> bool {
    true
}
