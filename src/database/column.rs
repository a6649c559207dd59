//! Columns as they are read: somebody may have written any value by hand. Owns what a wrong value counts as, so that it concerns its
//! own row alone; never reports it, which `holdline doctor` does.

use rusqlite::Row;
use rusqlite::types::ValueRef;

use crate::limits::STORED_NUMBER_MAX;
use crate::message::{PeerId, PeerName, Seq, Text};

/// Reads a number that the server counts up. Anything else counts as 0, and a number out of range as the nearest one in it.
pub(crate) fn number(row: &Row<'_>, column: usize) -> rusqlite::Result<i64> {
    Ok(match row.get_ref(column)? {
        ValueRef::Integer(number) => number.clamp(0, STORED_NUMBER_MAX),
        _ => 0,
    })
}

/// Reads the place of a message.
pub(crate) fn seq(row: &Row<'_>, column: usize) -> rusqlite::Result<Seq> {
    number(row, column).map(Seq::new)
}

/// Reads the id of a peer. No peer has the id 0.
pub(crate) fn peer(row: &Row<'_>, column: usize) -> rusqlite::Result<PeerId> {
    number(row, column).map(PeerId::new)
}

/// Reads an integer of any size; 0 if it is none.
pub(crate) fn integer(row: &Row<'_>, column: usize) -> rusqlite::Result<i64> {
    Ok(row.get_ref(column)?.as_i64().unwrap_or(0))
}

/// Reads a text and replaces what is not UTF-8: one damaged message must not hide the rest of it, or other messages.
pub(crate) fn text(row: &Row<'_>, column: usize) -> rusqlite::Result<String> {
    let bytes = row.get_ref(column)?.as_bytes().unwrap_or_default();
    Ok(String::from_utf8_lossy(bytes).into_owned())
}

/// Reads the name of a peer.
pub(crate) fn name(row: &Row<'_>, column: usize) -> rusqlite::Result<PeerName> {
    match row.get_ref(column)?.as_str() {
        Ok(name) => Ok(PeerName::stored(name)),
        Err(_) => text(row, column).map(|name| PeerName::stored(&name)),
    }
}

/// Reads a text that may be absent.
pub(crate) fn optional_text(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Text>> {
    match row.get_ref(column)? {
        ValueRef::Null => Ok(None),
        _ => text(row, column).map(|text| Some(Text::stored(text))),
    }
}
