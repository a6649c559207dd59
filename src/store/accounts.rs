//! The table of accounts: names with a password. Owns its SQL; never checks a password.

use rusqlite::{Connection, OptionalExtension, Statement, params};

use crate::database::column;
use crate::message::{PeerId, Timestamp};
use crate::password::PasswordHash;

/// Statements for the table `account`.
pub(super) struct Accounts<'c> {
    find: Statement<'c>,
    put: Statement<'c>,
    remove: Statement<'c>,
}

impl<'c> Accounts<'c> {
    pub(super) fn new(connection: &'c Connection) -> rusqlite::Result<Self> {
        Ok(Accounts {
            find: connection.prepare("select password from account where peer = ?1")?,
            put: connection.prepare("insert or replace into account (peer, password, made) values (?1, ?2, ?3)")?,
            remove: connection.prepare("delete from account where peer = ?1")?,
        })
    }

    /// Returns the password of a peer, if its name is an account. What is no text fits no password.
    pub(super) fn find(&mut self, peer: PeerId) -> rusqlite::Result<Option<PasswordHash>> {
        let found = self.find.query_row([peer.get()], |row| column::text(row, 0).map(|hash| PasswordHash::new(&hash)));
        found.optional()
    }

    /// Sets the password of a peer, or removes its account.
    pub(super) fn set(&mut self, peer: PeerId, password: Option<&PasswordHash>, at: Timestamp) -> rusqlite::Result<()> {
        match password {
            Some(password) => self.put.execute(params![peer.get(), password.as_str(), at.millis()]),
            None => self.remove.execute([peer.get()]),
        }
        .map(drop)
    }
}
