//! A small disk that one sender fills: the write-ahead log leaves it to the messages, and can always be copied into the database file.

use std::fs;
use std::path::Path;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use tempfile::TempDir;

use super::support::{TestClient, TestServer, flood};

/// Bytes of the disk.
const DISK_BYTES: u64 = 8 * 1024 * 1024;

/// Small file system in memory, unmounted when it is dropped.
struct SmallDisk(TempDir);

impl SmallDisk {
    /// Mounts it; `None` if that is not permitted here.
    fn mount() -> Option<Self> {
        let mount_point = tempfile::tempdir().expect("a temporary directory can be created");
        let options =
            std::ffi::CString::new(format!("size={DISK_BYTES},mode=0700")).expect("options have no zero byte");
        match mount("none", mount_point.path(), "tmpfs", MountFlags::empty(), Some(options.as_c_str())) {
            Ok(()) => Some(SmallDisk(mount_point)),
            Err(error) => {
                assert!(std::env::var_os("CI").is_none(), "{error}, and CI is to try a small disk");
                eprintln!("skipped: no file system can be mounted here: {error}");
                None
            }
        }
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = unmount(self.0.path(), UnmountFlags::DETACH);
    }
}

/// Sends messages of 2 KB to carol until 100 are refused. Returns how many were accepted.
fn fill(alice: &mut TestClient) -> usize {
    let (mut sent, mut refused) = (0, 0);
    while refused < 100 {
        alice.send_bytes(&flood("carol", sent..sent + 50, 2000));
        let answers = alice.ping();
        let errors = answers.iter().filter(|line| line.starts_with('!'));
        refused += errors.inspect(|line| assert!(line.starts_with("! storage_full: "), "{line}")).count();
        sent += 50;
        assert!(sent < 20_000, "the disk never fills");
    }
    sent - refused
}

#[test]
fn write_ahead_log_leaves_a_small_disk_to_the_messages() {
    let Some(disk) = SmallDisk::mount() else { return };
    fs::write(disk.path().join("ballast"), vec![0; 1024 * 1024]).unwrap();
    let data = disk.path().join("data");
    let mut server = TestServer::with_data(&data, "limits.mailbox_max = 0");
    let mut alice = TestClient::login(&server, "alice");
    let accepted = fill(&mut alice);
    let wal_bytes = || fs::metadata(data.join("holdline.db-wal")).unwrap().len();
    let database_bytes = || fs::metadata(data.join("holdline.db")).unwrap().len();
    println!("{accepted} messages, {} bytes of database, {} of log", database_bytes(), wal_bytes());
    assert!(wal_bytes() <= 512 * 1024, "the log has {} bytes", wal_bytes());
    assert!(database_bytes() >= DISK_BYTES * 6 / 8, "the database has {} bytes", database_bytes());

    // Logins, rooms and reads go on.
    let mut bob = TestClient::login(&server, "bob");
    bob.send("/join #home");
    assert_eq!(bob.ping(), ["* you are in #home now"]);
    assert_eq!(alice.history("20").len(), 20);

    // Space comes back with the first file that is removed, and after a crash the log is copied all the same.
    server.kill();
    server.start_again();
    let mut alice = TestClient::login(&server, "alice");
    alice.send("bob: still full");
    let errors: Vec<String> = alice.ping().into_iter().filter(|line| line.starts_with('!')).collect();
    assert!(errors.iter().all(|line| line.starts_with("! storage_full: ")), "{errors:?}");
    fs::remove_file(disk.path().join("ballast")).unwrap();
    let mut bob = TestClient::login(&server, "bob");
    alice.send("bob: there is room again");
    bob.send("/ping");
    while bob.next_message() != "from alice: there is room again" {}
    let mut carol = TestClient::login(&server, "carol");
    for _ in 0..accepted {
        assert!(carol.next_message().starts_with("from alice: "));
    }
    carol.expect_nothing();
    assert_eq!(server.sqlite("pragma integrity_check"), "ok");
}
