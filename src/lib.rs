//! holdline: a chat server for small devices. One binary, spoken to with `nc`, whose whole memory is one SQLite file.
//!
//! # The path of one message
//!
//! Read the code along it; each step names the function in which it happens.
//!
//! 1. [`server`] accepts a socket (`Acceptor::accept`), and `connection` serves it (`serve`): it finds the protocol
//!    (`detect`), asks for a name (`log_in`), and tells the broker `Event::Join`.
//! 2. `RequestReader::run` reads bytes; `LineBuffer::next_line` finds the lines in them, in place, and
//!    [`protocol::plain::parse`] or [`protocol::json::parse`] makes each a [`Request`](protocol::Request): pure, no I/O, no clock.
//! 3. A batch of requests goes into the inbox of the `broker` (`Event::Requests`), whose order is the order of the chat.
//! 4. `Broker::run` takes a turn: what is waiting in the inbox. `Chat::decide` says what the turn appends; `Chat::send` whether a message may
//!    go where it is to go, and that it was not sent before.
//! 5. [`store`] applies the turn's entries in one transaction (`Log::turn`): the message has its `seq`, and is on disk.
//! 6. `Chat::deliver` feeds it to the sessions of its recipients, and of the members of its rooms: encoded once, added to the outbox of each
//!    that is live. Those that are not get it from the log later, a page at a time (`Feed::page`).
//! 7. `OutboxWriter::run` writes all that waits in an outbox at once, and tells the broker what is acknowledged (`Event::DeliveryReport`), so that the
//!    peer's cursor moves with the next turn's commit.
//!
//! ARCHITECTURE.md has the ideas behind it.

pub mod archive;
mod backoff;
mod broker;
pub mod client;
pub mod config;
mod connection;
mod database;
pub mod limits;
mod memory;
pub mod message;
mod outage_log;
pub mod plugin;
pub mod protocol;
pub mod server;
#[cfg(test)]
mod simulation;
pub mod store;
mod timeout;
mod transport;
pub mod wire;
