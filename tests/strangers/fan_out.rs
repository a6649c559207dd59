//! Messages to a crowd: floods to a name with many sessions, or to a room with many members, take turns with the others.

use std::sync::atomic::Ordering;
use std::thread;

use super::support::{Pair, TestClient, TestServer, flood};

/// Sessions that get each message.
const CROWD: usize = 300;

#[test]
fn flood_to_a_name_with_many_sessions_takes_turns() {
    let server = TestServer::with_config("limits.mailbox_max = 0\nlimits.connects_per_address_per_s = 0");
    let crowd: Vec<_> = (0..CROWD).map(|_| TestClient::login(&server, "mallory")).collect();
    Pair::login(&server).withstand(3, |_, over| {
        let mut client = TestClient::login(&server, "mallory");
        while !over.load(Ordering::Relaxed) {
            client.send_bytes(&flood("mallory", 0..500, 0));
            client.ping();
        }
    });
    drop(crowd);
}

#[test]
fn flood_to_a_room_with_many_members_takes_turns_and_every_member_gets_it() {
    let server = TestServer::with_config("limits.mailbox_max = 0\nlimits.connects_per_address_per_s = 0");
    let join = |name: &str| {
        let mut client = TestClient::login(&server, name);
        client.send("/join #big");
        client.ping();
        client
    };
    let mut crowd = Vec::from_iter((0..CROWD).map(|member| join(&format!("member{member}"))));
    let mut mallory = join("mallory");
    let mut pair = Pair::login(&server);
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..3 {
                mallory.send_bytes(&flood("#big", 0..500, 0));
                mallory.ping();
            }
        });
        pair.chat(60);
    });
    for member in [0, CROWD / 2, CROWD - 1] {
        for number in 0..3 * 500 {
            let line = crowd[member].next_message();
            assert!(line.contains(&format!("in #big: {}", number % 500)), "message {number}: {line}");
        }
    }
}
