//! The clients for programs, behind `holdline send` and `holdline tail`: they speak JSON lines over TCP, connect again when a
//! connection is lost, and repeat what had no answer. Owns what both have in common; never uses a module of the server.

mod account;
mod connection;
mod ended;
mod input;
#[cfg(test)]
mod scripted;
mod send;
mod tail;
mod wire;

pub use self::account::{Account, NoAddress, Password, ServerAddress};
pub use self::ended::Refused;
pub use self::input::{Input, Line};
pub use self::send::{Addressing, GaveUp, IdPrefix, NoPrefix, SendError, SendJob, Summary, send};
pub use self::tail::{Range, Sink, TailError, tail};
pub use self::wire::{Message, Refusal};
