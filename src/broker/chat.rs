//! The chat: who is online, what each feed does next, and what a turn appends, as plain functions of state and event. A turn has two
//! halves: [`decide`] takes its events and says what the store must do, [`deliver`] takes the outcome. The next turn may be decided
//! before this one is delivered. Owns the state of the chat; never waits, never reads a clock.

mod acks;
mod commands;
mod completion;
mod decide;
mod deliver;
mod delivery;
mod dirty;
mod encoded;
mod feeds;
mod fingerprint;
mod lookup;
mod mailbox;
mod membership;
mod observation;
mod observers;
mod posts;
mod rooms;
mod searches;
mod session_outbox;
mod sessions;
mod state;
mod turn;

pub(super) use self::state::Chat;
pub(super) use self::turn::{Turn, TurnBuilder};
