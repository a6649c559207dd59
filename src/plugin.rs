//! Plugins: their hooks, their answers, and what they can do in the chat. Owns the chain of plugins that decide, and the life
//! cycle of each plugin; never touches client sockets or SQL.

mod answer;
mod call;
mod chain;
mod failure;
mod filter;
mod health;
mod host;
mod interface;
mod link;
mod load;
mod luau;
mod manager;
mod observe;
mod process;
mod running;

pub use self::answer::{Answer, Effect, Verdict};
pub use self::call::{
    Call, CommandCall, ConnectCall, DeliveredCall, LoggedCall, LoginCall, MailCall, MessageCall, PresenceCall,
};
pub(crate) use self::chain::{LoginVerdict, Plugins};
pub use self::failure::Failure;
pub(crate) use self::filter::MessageSender;
pub use self::host::Host;
pub use self::interface::{Pending, Plugin};
pub use self::load::{LoadError, LoadedPlugin, load};
pub use self::luau::{Script, ScriptError};
pub use self::manager::TakenName;
pub(crate) use self::manager::{PluginManager, ReloadPlan};
pub(crate) use self::process::reap_orphans;
pub use self::process::{Process, ProcessError};
pub use crate::config::{Hook, OnFailure, PluginConfig, PluginKind};
