//! Clients for programs, behind `holdline send` and `holdline tail`. They speak JSON lines over TCP or TLS, reconnect when a connection
//! is lost, and repeat what had no reply. Owns what both clients share; never uses a module of the server.

mod account;
mod connection;
mod error;
mod input;
mod outgoing;
mod queue;
#[cfg(test)]
mod scripted;
mod send;
mod stream;
mod tail;

pub use self::account::{Account, BadAddress, Distrust, ServerAddress, ServerTrust, UntrustedCertificate};
pub use self::error::PermanentError;
pub use self::input::{LineForm, LineSource};
pub use self::outgoing::{Addressing, BadIdPrefix, IdPrefix};
pub use self::queue::{Queue, QueueError, QueueReader};
pub use self::send::{LineOutcome, ReportError, Resumption, SendError, SendJob, SendReport, Summary, send};
pub use self::stream::untrusted_certificate;
pub use self::tail::{MessageSink, TailError, TailPosition, TailRange, tail};
pub use crate::wire::{ErrorFrame, MessageFrame};
