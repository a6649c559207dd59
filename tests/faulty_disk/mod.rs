//! A disk that loses power, is full or fails when the test makes it. It is a real file system in memory: the server,
//! SQLite and the kernel's page cache use it like any other. Owns the mount, and what the test may do to it; never looks
//! at what is written.
//!
//! Requires `/dev/fuse`, and the right to mount (root, or `fusermount3`). Leaves out renaming, links and times.
//!
//! It fails as hard as disks may. What a program wrote is on the medium once its file was synced, and a name once its
//! directory was. When the power is cut, each sector that was not synced has reached the medium or not, or holds
//! something older, whatever came before or after it. A sync that failed may have written some pages and forgets the
//! others: the next sync knows nothing of them, as on Linux. It never lies about a sync, and never loses what was
//! synced.

mod medium;
mod mounted;

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use fastrand::Rng;
pub(crate) use fuser::Errno;
use fuser::{BackgroundSession, MountOption, ReplyEmpty, Session};
use rustix::mount::{UnmountFlags, unmount};
use tempfile::TempDir;

use self::medium::Medium;
use self::mounted::Mounted;
use super::support::eventually;

/// Time limit for everything. Only failing tests reach it; no test waits for it to pass.
const DEADLINE: Duration = Duration::from_secs(30);

/// Number of the newest operations that a failing test shows.
const TRACED_OPERATIONS: usize = 60;

/// Mounted disk; unmounted when it is dropped, after its users.
pub(crate) struct FaultyDisk {
    /// `None` while there is no power.
    session: Option<BackgroundSession>,
    shared: Arc<Shared>,
    mount_point: TempDir,
}

/// Syncs of a disk that wait until this is dropped.
pub(crate) struct HeldSyncs<'d> {
    disk: &'d FaultyDisk,
}

/// Kind of operation that programs perform on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Reading bytes.
    Read,
    /// Writing bytes; creating, removing, extending and truncating files and directories.
    Write,
    /// Syncing a file or a directory.
    Sync,
}

/// State that the test's thread and the file system's thread share.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Signals that the power was cut, or that a sync is blocked.
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    medium: Medium,
    random: Rng,
    /// Share of unsynced data that survives, between 0 and 1.
    luck: f64,
    power: Power,
    /// Writes and syncs so far.
    operations: usize,
    /// Bytes that fit on the medium.
    room_bytes: usize,
    faults: Vec<Fault>,
    /// Syncs that wait for the test; `None` while they need not wait.
    held: Option<Vec<HeldSync>>,
    /// Names of the files and directories that were synced.
    syncs: Vec<String>,
    /// Newest operations, the oldest first.
    trace: VecDeque<String>,
}

#[derive(Debug)]
enum Power {
    On,
    /// Power that fails instead of the last of this many writes and syncs; if a file is named, only its operations
    /// count.
    Until {
        operations: usize,
        file: Option<&'static str>,
    },
    Off,
}

/// Operation that fails.
#[derive(Debug)]
struct Fault {
    operation: Operation,
    error: Errno,
    /// Number of failures left.
    times: usize,
}

/// Sync that has not been answered.
#[derive(Debug)]
struct HeldSync {
    number: u64,
    reply: ReplyEmpty,
}

impl FaultyDisk {
    /// Mounts an empty disk. `None` with a message where that is not permitted.
    pub(crate) fn mount(seed: u64) -> Option<Self> {
        let state = State {
            medium: Medium::new(),
            random: Rng::with_seed(seed),
            luck: 0.5,
            power: Power::On,
            operations: 0,
            room_bytes: usize::MAX,
            faults: Vec::new(),
            held: None,
            syncs: Vec::new(),
            trace: VecDeque::new(),
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), changed: Condvar::new() });
        let mount_point = tempfile::tempdir().expect("a temporary directory can be created");
        match mount(&shared, mount_point.path()) {
            Ok(session) => Some(FaultyDisk { session: Some(session), shared, mount_point }),
            Err(error) => {
                assert!(std::env::var_os("CI").is_none(), "{error}, and CI is to try the faulty disk");
                eprintln!("skipped: no file system can be mounted here: {error}");
                None
            }
        }
    }

    /// Path on the disk.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.mount_point.path().join(name)
    }

    /// Sets the share of unsynced data that survives a power cut or a failed sync: 0 for nothing, 1 for everything.
    pub(crate) fn set_luck(&self, luck: f64) {
        self.state().luck = luck;
    }

    // Power

    /// Cuts the power now: from now on no operation succeeds, and nothing changes on the medium.
    pub(crate) fn cut(&self) {
        self.state().power = Power::Off;
        self.shared.changed.notify_all();
    }

    /// Cuts the power instead of the last of this many writes and syncs.
    pub(crate) fn cut_at(&self, operations: usize) {
        self.state().power = Power::Until { operations, file: None };
    }

    /// Cuts the power instead of the last of this many writes and syncs of this file.
    pub(crate) fn cut_at_file(&self, file: &'static str, operations: usize) {
        self.state().power = Power::Until { operations, file: Some(file) };
    }

    /// Waits until the power is off.
    #[track_caller]
    pub(crate) fn wait_until_cut(&self) {
        self.wait_while(|state| !matches!(state.power, Power::Off));
    }

    /// Number of writes and syncs so far.
    pub(crate) fn operations(&self) -> usize {
        self.state().operations
    }

    /// Restores the power: mounts what luck has left on the medium. All users of the disk must have ended.
    #[track_caller]
    pub(crate) fn restore_power(&mut self) {
        self.unmount();
        {
            let mut state = self.state();
            let State { medium, luck, random, .. } = &mut *state;
            medium.cut(*luck, random);
            state.power = Power::On;
        }
        self.session = Some(mount(&self.shared, self.mount_point.path()).expect("the disk can be mounted again"));
    }

    // Faults

    /// Leaves room for only this many bytes more. Space that is already allocated can still be written.
    pub(crate) fn fill_up_to(&self, bytes: usize) {
        let mut state = self.state();
        state.room_bytes = state.medium.used_bytes() + bytes;
    }

    /// Makes room again.
    pub(crate) fn make_room(&self) {
        self.state().room_bytes = usize::MAX;
    }

    /// Lets this operation fail this many times.
    pub(crate) fn fail_times(&self, operation: Operation, error: Errno, times: usize) {
        self.state().faults.push(Fault { operation, error, times });
    }

    /// Lets this operation fail until the disk is repaired.
    pub(crate) fn fail(&self, operation: Operation, error: Errno) {
        self.fail_times(operation, error, usize::MAX);
    }

    /// Lets nothing fail any more.
    pub(crate) fn mend(&self) {
        self.state().faults.clear();
    }

    /// Drops the cached pages of this file, so that it is read from the disk again.
    pub(crate) fn forget_read(&self, file: &str) {
        let numbers = self.state().medium.numbers(file);
        let notifier = self.session.as_ref().expect("the power is on").notifier();
        for number in numbers {
            notifier.inval_inode(fuser::INodeNo(number), 0, 0).expect("the kernel drops a clean page");
        }
    }

    // Syncs

    /// Names of the files and directories that were synced since the last [`forget_syncs`](Self::forget_syncs), in
    /// order.
    pub(crate) fn syncs(&self) -> Vec<String> {
        self.state().syncs.clone()
    }

    /// Forgets the syncs so far.
    pub(crate) fn forget_syncs(&self) {
        self.state().syncs.clear();
    }

    /// Waits until this file is synced.
    #[track_caller]
    pub(crate) fn wait_for_sync_of(&self, file: &str) {
        self.wait_while(|state| !state.syncs.iter().any(|synced| synced == file));
    }

    /// Holds syncs as long as the returned value exists.
    pub(crate) fn hold_syncs(&self) -> HeldSyncs<'_> {
        self.state().held = Some(Vec::new());
        HeldSyncs { disk: self }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().unwrap()
    }

    #[track_caller]
    fn wait_while(&self, is_so: impl Fn(&State) -> bool) {
        let (state, waited) =
            self.shared.changed.wait_timeout_while(self.state(), DEADLINE, |state| is_so(state)).unwrap();
        drop(state);
        assert!(!waited.timed_out(), "the disk waited in vain");
    }

    fn unmount(&mut self) {
        let Some(session) = self.session.take() else { return };
        let mut unmounted = Ok(());
        // A program that another test is just starting holds a copy of the open descriptors until it has begun.
        eventually("no process uses the disk any more", || {
            unmounted = unmount(self.mount_point.path(), UnmountFlags::empty());
            unmounted != Err(rustix::io::Errno::BUSY)
        });
        // A user who may not unmount asks the program that may.
        let ended = if unmounted.is_ok() { session.join() } else { session.umount_and_join() };
        // A request that waits while the disk is unmounted ends with one or the other: ENODEV, which is the end, or
        // this.
        match ended {
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            ended => ended.expect("the disk was mounted"),
        }
    }
}

impl HeldSyncs<'_> {
    /// Waits until a sync is blocked.
    #[track_caller]
    pub(crate) fn wait_for_one(&self) {
        self.disk.wait_while(|state| state.held.as_ref().is_some_and(Vec::is_empty));
    }
}

impl Drop for HeldSyncs<'_> {
    fn drop(&mut self) {
        let mut state = self.disk.state();
        let held = state.held.take().unwrap_or_default();
        state.finish(held);
    }
}

impl Drop for FaultyDisk {
    fn drop(&mut self) {
        if thread::panicking() {
            let state = self.shared.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
            eprintln!("the disk's last operations:\n{}", Vec::from_iter(state.trace.iter().cloned()).join("\n"));
            drop(state);
            // Even if it is still used: a failure here must not hide why the test failed.
            let _ = unmount(self.mount_point.path(), UnmountFlags::DETACH);
        } else {
            self.unmount();
        }
    }
}

fn mount(shared: &Arc<Shared>, path: &Path) -> std::io::Result<BackgroundSession> {
    let mut options = fuser::Config::default();
    options.mount_options = vec![MountOption::FSName("faulty-disk".to_owned())];
    Session::new(Mounted::new(Arc::clone(shared)), path, &options)?.spawn()
}

impl State {
    /// Whether an operation may continue, or the error that it gets.
    fn admit(&mut self, operation: Operation, number: u64, what: String) -> Result<(), Errno> {
        let name = self.medium.name(number).to_owned();
        self.count_down(operation, &name);
        let admitted = match self.power {
            Power::Off => Err(Errno::EIO),
            Power::On | Power::Until { .. } => self.fail_by_luck(operation, number),
        };
        self.note(format!("{operation:?} {name}: {what}{}", if admitted.is_ok() { "" } else { " FAILED" }));
        admitted
    }

    /// Cuts the power when it is time.
    fn count_down(&mut self, operation: Operation, name: &str) {
        if operation == Operation::Read {
            return;
        }
        self.operations += 1;
        let Power::Until { operations, file } = &mut self.power else { return };
        if file.is_some_and(|file| file != name) {
            return;
        }
        *operations = operations.saturating_sub(1);
        if *operations == 0 {
            self.power = Power::Off;
            self.note("the power is cut".to_owned());
        }
    }

    fn fail_by_luck(&mut self, operation: Operation, number: u64) -> Result<(), Errno> {
        let Some(place) = self.faults.iter().position(|fault| fault.operation == operation) else { return Ok(()) };
        let fault = &mut self.faults[place];
        let error = fault.error;
        fault.times -= 1;
        if fault.times == 0 {
            self.faults.remove(place);
        }
        if operation == Operation::Sync
            && let Some(file) = self.medium.file(number)
        {
            file.fail_to_sync(self.luck, &mut self.random);
        }
        Err(error)
    }

    /// Bytes that still fit.
    fn free_bytes(&self) -> usize {
        self.room_bytes.saturating_sub(self.medium.used_bytes())
    }

    fn sync(&mut self, number: u64) {
        self.medium.sync(number, &mut self.random);
        self.syncs.push(self.medium.name(number).to_owned());
    }

    fn finish(&mut self, held: Vec<HeldSync>) {
        for HeldSync { number, reply } in held {
            self.sync(number);
            reply.ok();
        }
    }

    fn note(&mut self, line: String) {
        if self.trace.len() == TRACED_OPERATIONS {
            self.trace.pop_front();
        }
        self.trace.push_back(line);
    }
}
