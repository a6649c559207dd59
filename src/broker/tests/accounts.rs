//! Names that are registered with the login, decided before the outcome of the turn is known.

use super::*;
use crate::password::PasswordHash;

fn registration(sender: u64, name: PeerName) -> (Event, OutboxReceiver) {
    join_as(sender, name, Access::Registration(PasswordHash::new("$hash")))
}

#[test]
fn free_login_in_the_turn_that_registers_its_name_is_refused() {
    play(async |handle, store| {
        let (event, owner) = registration(1, name(2));
        handle.send(event).await;
        let (event, other) = join_as(3, name(2), Access::Free);
        handle.send(event).await;
        let (turn, reply) = store.turn().await;
        reply.send(committed(turn.entries)).unwrap();
        assert!(next_output(&owner).await.starts_with("* s2 has a password now"));
        assert_eq!(next_output(&other).await, "! bad_password: s2 has a password now; not logged in\n");
    });
}

#[test]
fn name_whose_registration_failed_is_as_unused_as_before() {
    play(async |handle, store| {
        let (event, owner) = registration(1, name(1));
        handle.send(event).await;
        let (turn, reply) = store.turn().await;
        reply.send(failed(turn.entries)).unwrap();
        assert!(next_output(&owner).await.ends_with("not registered\n"));
        let found = handle.find_account(&name(1)).await.unwrap();
        assert!(!found.is_used && found.password.is_none());
    });
}
