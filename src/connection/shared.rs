//! The parts of a server that its connections use. Owns no state of its own.

use std::sync::Arc;

use async_channel::Receiver;

use crate::auth::Authenticator;
use crate::broker::Handle;
use crate::config::{AccountsConfig, Limits};
use crate::plugin::Plugins;
use crate::protocol::ProtocolTable;

/// Broker, plugins and settings of a server, as its connections use them.
#[derive(Debug)]
pub(crate) struct Shared {
    /// Handle of the broker, which gets the clients' requests.
    pub(crate) broker: Handle,
    /// Plugins, which filter logins and requests before the broker gets them.
    pub(crate) plugins: Arc<Plugins>,
    /// Check of passwords.
    pub(crate) authenticator: Authenticator,
    /// Names that may log in.
    pub(crate) accounts: AccountsConfig,
    /// Whether clients on other machines must use TLS.
    pub(crate) requires_tls: bool,
    /// Protocols that clients may speak.
    pub(crate) protocols: ProtocolTable,
    /// Closed when the server stops: nothing more is read.
    pub(crate) stop: Receiver<()>,
    /// Limits of a single connection.
    pub(crate) limits: Limits,
}
