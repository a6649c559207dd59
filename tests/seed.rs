//! The session of the async-std tutorial's chat, byte for byte: a client written for it works unchanged. Owns that
//! promise alone.

mod support;

use support::{TestClient, TestServer, chat};

#[test]
fn session_of_the_first_version_still_works() {
    let server = TestServer::start();
    let mut alice = TestClient::login(&server, "alice");
    let mut bob = TestClient::login(&server, "bob");

    alice.send_bytes(b"bob: hello\n");
    assert_eq!(bob.next_message(), "from alice: hello");
    bob.send_bytes(b"alice, bob: hi!\n");
    assert_eq!(bob.next_message(), "from bob: hi!");
    assert_eq!(alice.next_message(), "from bob: hi!");

    alice.shutdown_write();
    bob.shutdown_write();
    assert_eq!(messages_of(alice), b"");
    assert_eq!(messages_of(bob), b"");
}

/// A client of the seed does not wait for greetings: it writes, and ends its input when it has nothing more to say.
#[test]
fn messages_are_byte_for_byte_those_of_the_first_version() {
    let server = TestServer::start();
    let mut bob = TestClient::connect(&server);
    bob.send_bytes(b"bob\nalice, bob: hi!");
    bob.shutdown_write();
    assert_eq!(messages_of(bob), b"from bob: hi!\n");

    let mut alice = TestClient::connect(&server);
    alice.send_bytes(b"alice");
    alice.shutdown_write();
    assert_eq!(messages_of(alice), b"from bob: hi!\n");
}

#[test]
fn session_of_the_first_version_reads_as_a_chat() {
    let server = TestServer::start();
    chat(
        &server,
        "
        alice > alice
        bob   > bob
        alice > bob: hello
        bob   < from alice: hello
        bob   > alice, bob: hi!
        bob   < from bob: hi!
        alice < from bob: hi!
        ",
    );
}

/// Returns the rest of the output until the server closes, without the notices that the seed did not have.
fn messages_of(client: TestClient) -> Vec<u8> {
    let bytes = client.read_to_end();
    bytes.split_inclusive(|byte| *byte == b'\n').filter(|line| !line.starts_with(b"* ")).flatten().copied().collect()
}
