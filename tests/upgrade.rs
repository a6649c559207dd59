//! Databases of earlier versions: their waiting messages are delivered, their history exists, and new features work in
//! them. Owns the step from one version to the next; what is refused is in `database.rs`.

mod support;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

use support::{TestClient, TestServer, eventually, holdline};
use tempfile::TempDir;

/// Made by real servers of earlier versions, all with the same content; each with the version of its schema.
const FROZEN: [(usize, &[u8]); 8] = [
    (1, include_bytes!("frozen/schema-1.db")),
    (2, include_bytes!("frozen/schema-2.db")),
    (4, include_bytes!("frozen/schema-4.db")),
    (5, include_bytes!("frozen/schema-5.db")),
    (6, include_bytes!("frozen/schema-6.db")),
    (7, include_bytes!("frozen/schema-7.db")),
    (8, include_bytes!("frozen/schema-8.db")),
    (9, include_bytes!("frozen/schema-9.db")),
];

/// Messages in each database.
const SAID: &str = "\
1|alice|bob|dinner at 7?|
2|alice|bob,carol|bring bread|
3|alice|dave|are you there?|dave
4|bob|alice|yes|
5|müller|alice,bob|Grüße|bob
6|müller|müller|note to self|
7|carol|bob|seen|bob
8|alice|bob|last|bob";

/// A server on a copy of a frozen database.
struct Upgraded {
    server: TestServer,
    /// Version that wrote the database.
    version: usize,
    _home: TempDir,
}

/// A server on a copy of each.
fn upgraded() -> impl Iterator<Item = Upgraded> {
    FROZEN.iter().map(|(version, frozen)| {
        let home = directory_with(frozen);
        let server = TestServer::with_data(home.path(), "");
        Upgraded { server, version: *version, _home: home }
    })
}

/// A private directory with this database.
fn directory_with(database: &[u8]) -> TempDir {
    let home = tempfile::tempdir().unwrap();
    fs::set_permissions(home.path(), Permissions::from_mode(0o700)).unwrap();
    let path = home.path().join("holdline.db");
    fs::write(&path, database).unwrap();
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
    home
}

/// Returns the schema version of a new database.
fn newest_version() -> String {
    TestServer::start().sqlite("pragma user_version")
}

/// Runs a command on a data directory. Returns its output.
#[track_caller]
fn printed(command: &str, data: &Path, arguments: &[&str]) -> String {
    let output =
        holdline().arg(command).arg("--data").arg(data).args(arguments).stdout(Stdio::piped()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        output.status.success(),
        "{command}: {}\n{text}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    text
}

#[track_caller]
fn assert_well(data: &Path) {
    let found = printed("doctor", data, &[]);
    assert!(found.ends_with("\nall is well\n"), "{found}");
}

#[test]
fn waiting_messages_are_delivered_in_order_and_once_after_an_upgrade() {
    for Upgraded { mut server, version, .. } in upgraded() {
        let mut bob = TestClient::login(&server, "bob");
        for message in ["from müller: Grüße", "from carol: seen", "from alice: last"] {
            bob.expect(message);
        }
        bob.expect_nothing();
        bob.quit();
        server.wait_until_delivered("bob");
        let mut dave = TestClient::login(&server, "dave");
        dave.expect("from alice: are you there?");
        dave.quit();
        server.wait_until_delivered("dave");
        for name in ["alice", "carol", "müller"] {
            TestClient::login(&server, name).expect_nothing();
        }
        server.restart();
        for name in ["alice", "bob", "carol", "dave", "müller"] {
            TestClient::login(&server, name).expect_nothing();
        }
        assert_eq!(server.sqlite("select count(*) from waiting"), "0", "version {version}");
    }
}

#[test]
fn all_messages_exist_after_an_upgrade() {
    for Upgraded { server, version, .. } in upgraded() {
        let history = "select seq, sender, recipients, text, waiting_for from history order by seq";
        assert_eq!(server.sqlite(history), SAID, "version {version}");
        assert_eq!(
            server.sqlite("select recipient, seq, sender, text from waiting order by recipient, seq"),
            "bob|5|müller|Grüße\nbob|7|carol|seen\nbob|8|alice|last\ndave|3|alice|are you there?"
        );
        assert_eq!(printed("history", &server.data(), &[]).lines().count(), 8);
        let mut alice = TestClient::login(&server, "alice");
        let past = [
            "to bob: dinner at 7?",
            "to bob, carol: bring bread",
            "to dave: are you there?",
            "from bob: yes",
            "from müller: Grüße",
            "to bob: last",
        ];
        assert_eq!(alice.history(""), past, "version {version}");
        assert_eq!(TestClient::login(&server, "müller").history("müller"), ["to müller: note to self"]);
    }
}

#[test]
fn new_messages_continue_the_sequence_after_an_upgrade() {
    for Upgraded { server, version, .. } in upgraded() {
        let mut alice = TestClient::login(&server, "alice");
        alice.send("bob: and now");
        alice.ping();
        assert_eq!(server.sqlite("select max(seq) from history"), "9", "version {version}");
        let mut bob = TestClient::login(&server, "bob");
        for message in ["from müller: Grüße", "from carol: seen", "from alice: last", "from alice: and now"] {
            bob.expect(message);
        }
        assert_eq!(alice.history("1"), ["to bob: and now"]);
        assert_eq!(alice.history("bob 3"), ["from bob: yes", "to bob: last", "to bob: and now"]);
    }
}

#[test]
fn rooms_and_the_table_outbox_work_after_an_upgrade() {
    for Upgraded { mut server, version, .. } in upgraded() {
        for name in ["alice", "bob", "dave"] {
            let mut client = TestClient::login(&server, name);
            client.send("/join #home");
            client.quit();
        }
        server.wait_until_delivered("bob");
        server.wait_until_delivered("dave");
        let mut alice = TestClient::login(&server, "alice");
        alice.send("/topic #home who is home");
        alice.expect_notice("the topic of #home: who is home");
        alice.send("#home: all here?");
        alice.ping();
        server.sqlite_write("insert into outbox values ('door', '#home, carol', 'somebody rings')");
        alice.expect("from door in #home: somebody rings");
        let waiting = "bob|9|alice\nbob|10|door\ncarol|10|door\ndave|9|alice\ndave|10|door";
        server.wait_until_delivered("alice");
        assert_eq!(server.sqlite("select recipient, seq, sender from waiting order by recipient, seq"), waiting);
        server.restart();
        for name in ["bob", "dave"] {
            let mut client = TestClient::login(&server, name);
            client.expect("from alice in #home: all here?");
            client.expect("from door in #home: somebody rings");
            client.expect_nothing();
        }
        TestClient::login(&server, "carol").expect("from door: somebody rings");
        eventually("every message is delivered", || server.sqlite("select count(*) from waiting") == "0");
        assert_eq!(server.sqlite("select count(*) from history"), "10", "version {version}");
    }
}

#[test]
fn upgraded_database_and_its_backup_have_the_newest_version_and_no_fault() {
    let newest = newest_version();
    for Upgraded { mut server, version, .. } in upgraded() {
        assert_eq!(server.sqlite("pragma user_version"), newest, "of version {version}");
        assert_well(&server.data());
        let elsewhere = directory_with(&[]);
        let backup = elsewhere.path().join("copy.db");
        printed("backup", &server.data(), &[backup.to_str().unwrap()]);
        assert!(server.terminate().success());
        assert_well(&server.data());

        fs::rename(backup, elsewhere.path().join("holdline.db")).unwrap();
        let restored = TestServer::with_data(elsewhere.path(), "");
        assert_eq!(restored.sqlite("pragma user_version"), newest);
        TestClient::login(&restored, "dave").expect("from alice: are you there?");
        assert_well(elsewhere.path());
    }
}

#[test]
fn upgraded_databases_have_an_identity_each() {
    let mut seen = Vec::new();
    for Upgraded { mut server, version, .. } in upgraded() {
        let identity = server.sqlite("select database from identity");
        assert_eq!(identity.len(), 32, "of version {version}: {identity}");
        server.restart();
        assert_eq!(server.sqlite("select database from identity"), identity, "of version {version}");
        assert!(!seen.contains(&identity), "of version {version}");
        seen.push(identity);
    }
}

#[test]
fn database_of_an_old_version_is_examined_in_part_and_unchanged() {
    for (version, frozen) in FROZEN {
        let home = directory_with(frozen);
        let found = printed("doctor", home.path(), &[]);
        let words =
            format!("is a database of holdline, schema version {version}; the next start upgrades it to version");
        assert!(found.contains(&words), "{found}");
        assert!(fs::read(home.path().join("holdline.db")).unwrap() == frozen, "version {version}");
    }
}
