//! A disk that loses power, is full or fails when the test says so. It is a real file system in memory: the server,
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

/// How long anything may take at most. It only ends tests that fail: none waits for it to pass.
const DEADLINE: Duration = Duration::from_secs(30);

/// How many of the newest operations are shown when a test fails.
const TRACED_OPERATIONS: usize = 60;

/// A mounted disk; unmounted when it is dropped, after whatever uses it.
pub(crate) struct FaultyDisk {
    /// `None` while there is no power.
    session: Option<BackgroundSession>,
    shared: Arc<Shared>,
    mount_point: TempDir,
}

/// Syncs of a disk, which are done when this is dropped.
pub(crate) struct HeldSyncs<'d> {
    disk: &'d FaultyDisk,
}

/// What programs do with a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    /// Bytes are read.
    Read,
    /// Bytes are written; files and directories are made, removed, made longer or shorter.
    Write,
    /// A file or a directory is synced.
    Sync,
}

/// What the test's thread and the file system's know of each other.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// The power was cut, or a sync is held.
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    medium: Medium,
    random: Rng,
    /// The part of what is not synced that survives, between 0 and 1.
    luck: f64,
    power: Power,
    /// Writes and syncs so far.
    operations: usize,
    /// Bytes that fit on the medium.
    room_bytes: usize,
    faults: Vec<Fault>,
    /// Syncs that wait for the test to let them go; `None` while they need not wait.
    held: Option<Vec<HeldSync>>,
    /// Files and directories that were synced, by name.
    syncs: Vec<String>,
    /// The newest operations, the oldest first.
    trace: VecDeque<String>,
}

#[derive(Debug)]
enum Power {
    On,
    /// It goes off instead of the last of so many writes and syncs; only those of this file count, if there is one.
    Until {
        operations: usize,
        file: Option<&'static str>,
    },
    Off,
}

/// An operation that fails.
#[derive(Debug)]
struct Fault {
    operation: Operation,
    error: Errno,
    /// How often it does.
    times: usize,
}

/// A sync that has not been answered.
#[derive(Debug)]
struct HeldSync {
    number: u64,
    reply: ReplyEmpty,
}

impl FaultyDisk {
    /// Mounts an empty disk. `None`, and a word about it, where that is not permitted.
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
        let mount_point = tempfile::tempdir().expect("a temporary directory");
        match mount(&shared, mount_point.path()) {
            Ok(session) => Some(FaultyDisk { session: Some(session), shared, mount_point }),
            Err(error) => {
                assert!(std::env::var_os("CI").is_none(), "{error}, and CI is to try the faulty disk");
                eprintln!("skipped: no file system can be mounted here: {error}");
                None
            }
        }
    }

    /// A path on the disk.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.mount_point.path().join(name)
    }

    /// The part of what is not synced that survives a power cut or a failed sync: 0 for nothing, 1 for everything.
    pub(crate) fn set_luck(&self, luck: f64) {
        self.state().luck = luck;
    }

    // Power

    /// The power goes off now: from now on nothing can be done, and nothing changes on the medium.
    pub(crate) fn cut(&self) {
        self.state().power = Power::Off;
        self.shared.changed.notify_all();
    }

    /// The power goes off instead of the last of so many writes and syncs.
    pub(crate) fn cut_at(&self, operations: usize) {
        self.state().power = Power::Until { operations, file: None };
    }

    /// The power goes off instead of the last of so many writes and syncs of this file.
    pub(crate) fn cut_at_file(&self, file: &'static str, operations: usize) {
        self.state().power = Power::Until { operations, file: Some(file) };
    }

    /// Waits until the power is off.
    #[track_caller]
    pub(crate) fn wait_until_cut(&self) {
        self.wait_while(|state| !matches!(state.power, Power::Off));
    }

    /// How many writes and syncs there were so far.
    pub(crate) fn operations(&self) -> usize {
        self.state().operations
    }

    /// The power is back: what luck has left on the medium is mounted anew. Whoever used the disk must have ended.
    #[track_caller]
    pub(crate) fn restore_power(&mut self) {
        self.unmount();
        {
            let mut state = self.state();
            let State { medium, luck, random, .. } = &mut *state;
            medium.cut(*luck, random);
            state.power = Power::On;
        }
        self.session = Some(mount(&self.shared, self.mount_point.path()).expect("it was mounted before"));
    }

    // Faults

    /// There is no room from now on but for so many bytes more. What has its room is written as before.
    pub(crate) fn fill_up_to(&self, bytes: usize) {
        let mut state = self.state();
        state.room_bytes = state.medium.used_bytes() + bytes;
    }

    /// There is room again.
    pub(crate) fn make_room(&self) {
        self.state().room_bytes = usize::MAX;
    }

    /// This operation fails so often, and works again then.
    pub(crate) fn fail_times(&self, operation: Operation, error: Errno, times: usize) {
        self.state().faults.push(Fault { operation, error, times });
    }

    /// This operation fails until the disk is mended.
    pub(crate) fn fail(&self, operation: Operation, error: Errno) {
        self.fail_times(operation, error, usize::MAX);
    }

    /// Nothing fails any more.
    pub(crate) fn mend(&self) {
        self.state().faults.clear();
    }

    /// What the system has read of this file is read from the disk again when it is needed.
    pub(crate) fn forget_read(&self, file: &str) {
        let numbers = self.state().medium.numbers(file);
        let notifier = self.session.as_ref().expect("the power is on").notifier();
        for number in numbers {
            notifier.inval_inode(fuser::INodeNo(number), 0, 0).expect("the kernel drops a clean page");
        }
    }

    // Syncs

    /// Which files and directories were synced since they were last forgotten, in order.
    pub(crate) fn syncs(&self) -> Vec<String> {
        self.state().syncs.clone()
    }

    /// Forgets what was synced so far.
    pub(crate) fn forget_syncs(&self) {
        self.state().syncs.clear();
    }

    /// Waits until this file is among what was synced.
    #[track_caller]
    pub(crate) fn wait_for_sync_of(&self, file: &str) {
        self.wait_while(|state| !state.syncs.iter().any(|synced| synced == file));
    }

    /// Syncs wait as long as what this gives is there.
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
        // A program that another test is just starting holds a copy of what is open here, until it has begun.
        eventually("nobody uses the disk any more", || {
            unmounted = unmount(self.mount_point.path(), UnmountFlags::empty());
            unmounted != Err(rustix::io::Errno::BUSY)
        });
        // Who may not unmount asks the program that may.
        let ended = if unmounted.is_ok() { session.join() } else { session.umount_and_join() };
        // Who waits for a request while the disk is unmounted is told one or the other: ENODEV, which is the end, or this.
        match ended {
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            ended => ended.expect("the disk was mounted"),
        }
    }
}

impl HeldSyncs<'_> {
    /// Waits until a sync waits.
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
            // Whoever still uses it: what fails here must not hide why the test did.
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
    /// Whether an operation may go on, or which error it gives.
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

    /// Makes the power go off when it is time.
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
