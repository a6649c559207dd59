//! holdline: a chat server for small devices. It is one binary that stores everything in one SQLite file; `nc` is enough as a client.
//!
//! # The path of one message
//!
//! To learn the code, read it in this order. Each step names its function.
//!
//! 1. [`server`] accepts a socket (`Acceptor::accept`), and `connection` serves it (`serve`): it detects the protocol (`detect`), reads the
//!    login (`log_in`), and sends the broker `Event::Join`.
//! 2. `RequestReader::run` reads bytes. `LineBuffer::next_line` finds the lines in them without copying, and [`protocol::plain::parse`] or
//!    [`protocol::json::parse`] turns each line into a [`ClientRequest`](protocol::ClientRequest). Parsing needs no I/O and no clock.
//! 3. Plugins may change or refuse a message (`PluginSet::filter`). Then the requests go to the inbox of the `broker` in batches
//!    (`Event::Requests`). The order of the inbox is the order of the chat.
//! 4. `Broker::run` takes a turn: the events that wait in the inbox. `Chat::decide` lists the entries that the store must apply. For a
//!    message, `broker/chat/commands/send.rs` decides whether it may be sent, and whether it was sent before.
//! 5. [`store`] applies the entries of the turn in one transaction (`Log::turn`). Now the message has its `seq`, and is on disk.
//! 6. `Chat::deliver` delivers it to the sessions of its recipients and of the members of its rooms. It is encoded once, and added to the
//!    outbox of each live session. Other sessions read it from the log later, a page at a time (`store/feed.rs`).
//! 7. `OutboxWriter::run` writes everything that waits in an outbox at once. It reports to the broker what the client has acknowledged
//!    (`Event::DeliveryReport`), and the peer's cursor moves with the next commit.
//!
//! ARCHITECTURE.md explains the design.

pub mod archive;
mod auth;
mod backoff;
mod broker;
pub mod certificate;
pub mod client;
pub mod config;
mod connection;
mod database;
pub mod fingerprint;
pub mod limits;
mod memory;
pub mod message;
mod outage_log;
pub mod password;
pub mod plugin;
pub mod protocol;
pub mod server;
pub mod shares;
#[cfg(test)]
mod simulation;
pub mod source;
pub mod store;
mod tcp_state;
mod timeout;
mod transport;
mod trust;
pub mod wire;
