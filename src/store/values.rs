//! PluginValues that plugins store under keys. Owns the SQL on the table `value`; never interprets a value or limits its size.

use rusqlite::{Connection, Statement, params};

use crate::database::column::text;
use crate::message::PeerId;

/// Prepared statements on the table `value`.
pub(super) struct PluginValues<'c> {
    upsert: Statement<'c>,
    remove: Statement<'c>,
    all: Statement<'c>,
}

impl<'c> PluginValues<'c> {
    pub(super) fn new(connection: &'c Connection) -> rusqlite::Result<Self> {
        Ok(PluginValues {
            upsert: connection.prepare(
                "insert into value (peer, key, value) values (?1, ?2, ?3)
                 on conflict (peer, key) do update set value = excluded.value",
            )?,
            remove: connection.prepare("delete from value where peer = ?1 and key = ?2")?,
            all: connection.prepare("select key, value from value where peer = ?1 order by key")?,
        })
    }

    /// Stores a value under a key; `None` removes the key.
    pub(super) fn set(&mut self, peer: PeerId, key: &str, value: Option<&str>) -> rusqlite::Result<()> {
        match value {
            Some(value) => self.upsert.execute(params![peer.get(), key, value]).map(drop),
            None => self.remove.execute(params![peer.get(), key]).map(drop),
        }
    }

    /// Reads all keys and values of a peer, sorted by key.
    pub(super) fn all(&mut self, peer: PeerId) -> rusqlite::Result<Vec<(String, String)>> {
        self.all.query_map([peer.get()], |row| Ok((text(row, 0)?, text(row, 1)?)))?.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::database::schema;

    #[test]
    fn each_peer_has_the_last_value_of_a_key_until_it_is_removed() {
        let home = tempfile::tempdir().unwrap();
        let connection = schema::open(&home.path().join("holdline.db")).unwrap();
        let mut values = PluginValues::new(&connection).unwrap();
        let (bot, other) = (PeerId::new(1), PeerId::new(2));
        for (peer, key, value) in [
            (bot, "tea", Some("20")),
            (bot, "a", Some("[1,\"x\"]")),
            (other, "tea", Some("null")),
            (bot, "tea", Some("5")),
        ] {
            values.set(peer, key, value).unwrap();
        }
        let pairs = |values: &mut PluginValues<'_>, peer| values.all(peer).unwrap();
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(pairs(&mut values, bot), [pair("a", "[1,\"x\"]"), pair("tea", "5")]);
        assert_eq!(pairs(&mut values, other), [pair("tea", "null")]);
        values.set(bot, "tea", None).unwrap();
        values.set(bot, "never", None).unwrap();
        assert_eq!(pairs(&mut values, bot), [pair("a", "[1,\"x\"]")]);
        assert_eq!(pairs(&mut values, other), [pair("tea", "null")]);
    }
}
