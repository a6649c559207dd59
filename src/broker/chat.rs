//! The chat: its state in memory, and the two halves of a turn as plain functions. [`decide`] takes events and lists the entries and reads
//! for the store; [`deliver`] takes the outcome and fills the outboxes. The next turn may be decided before this one is delivered. Owns the
//! state of the chat; never waits, never reads a clock.

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
mod listing;
mod lists;
mod lookup;
mod lookup_plan;
mod loudness;
mod mailbox;
mod membership;
mod observation;
mod observers;
mod posts;
mod presence;
mod purged;
mod rooms;
mod scanning;
mod scans;
mod session_outbox;
mod sessions;
mod state;
mod turn;

pub(crate) use self::sessions::taken;
pub(super) use self::state::Chat;
pub(super) use self::turn::{Turn, TurnBuilder};
