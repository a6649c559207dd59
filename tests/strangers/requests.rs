//! Requests: floods of names that nobody knows have their share of a turn, and no more.

use std::sync::atomic::Ordering;

use super::support::{Pair, TestClient, TestServer};

#[test]
fn flood_of_unknown_names_takes_turns() {
    let server = TestServer::with_config("limits.unknown_names_max = 10");
    Pair::login(&server).withstand(6, |stranger, over| {
        let mut client = TestClient::login(&server, &format!("mallory{stranger}"));
        let mut number = 0;
        while !over.load(Ordering::Relaxed) {
            for _ in 0..30 {
                let names = (number..number + 250).map(|name| format!("x{stranger}-{name}"));
                client.send(&format!("{}: hi", Vec::from_iter(names).join(",")));
                number += 250;
            }
            let lines = client.ping();
            let refused = lines.iter().filter(|line| line.starts_with("! mailbox_full: ")).count();
            assert_eq!(refused, 30, "{lines:?}");
        }
    });
}
