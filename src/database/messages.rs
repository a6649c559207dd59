//! Single messages of the log. Reads rows of the table `message`; never decides which.

use rusqlite::{Connection, OptionalExtension, Row, Statement};

use super::array;
use super::column::{integer, name, peer, seq, text};
use crate::limits::SENT_MESSAGE_BYTES;
use crate::message::{Destination, Message, PeerId, PeerName, Recipient, Room, Seq, Text, Timestamp};

/// Prepared statements that read the table `message`.
pub(crate) struct Messages<'c> {
    find: Statement<'c>,
    find_unaddressed: Statement<'c>,
    find_after: Statement<'c>,
    sender: Statement<'c>,
    bytes: Statement<'c>,
}

/// Row of the table `message`, with the name of the sender.
pub(crate) struct StoredMessage {
    seq: Seq,
    at: Timestamp,
    pub(crate) sender: PeerId,
    sender_name: PeerName,
    /// Column `recipients` as it is stored; empty if it was not read.
    pub(crate) recipients: String,
    text: Text,
}

impl<'c> Messages<'c> {
    pub(crate) fn new(connection: &'c Connection) -> rusqlite::Result<Self> {
        // What was sent only to a peer or a room that is being removed does not exist any more.
        let exists = "message.recipients not in (select '[' || target || ']' from purge where target is not null)";
        Ok(Messages {
            find: connection.prepare(&format!(
                "select message.at, message.sender, sender.name, message.text, message.recipients
                 from message join peer as sender on sender.id = message.sender where message.seq = ?1 and {exists}"
            ))?,
            find_unaddressed: connection.prepare(
                "select message.at, message.sender, sender.name, message.text
                 from message join peer as sender on sender.id = message.sender where message.seq = ?1",
            )?,
            find_after: connection.prepare(&format!(
                "select message.at, message.sender, sender.name, message.text, message.recipients, message.seq
                 from message join peer as sender on sender.id = message.sender
                 where message.seq > ?1 and message.seq <= 1e18 and {exists} order by message.seq limit 1"
            ))?,
            sender: connection.prepare("select sender from message where seq = ?1")?,
            bytes: connection
                .prepare("select octet_length(text) + octet_length(recipients) from message where seq = ?1")?,
        })
    }

    /// Reads a message; `None` if it was removed.
    pub(crate) fn find(&mut self, seq: Seq) -> rusqlite::Result<Option<StoredMessage>> {
        self.find.query_row([seq.get()], |row| stored(seq, text(row, 4)?, row)).optional()
    }

    /// Like [`find`](Self::find), without the column `recipients`.
    pub(crate) fn find_unaddressed(&mut self, seq: Seq) -> rusqlite::Result<Option<StoredMessage>> {
        self.find_unaddressed.query_row([seq.get()], |row| stored(seq, String::new(), row)).optional()
    }

    /// Reads the first message after `after`.
    pub(crate) fn find_after(&mut self, after: Seq) -> rusqlite::Result<Option<StoredMessage>> {
        self.find_after.query_row([after.get()], |row| stored(seq(row, 5)?, text(row, 4)?, row)).optional()
    }

    /// Reads the sender of a message; `None` if the message was removed.
    pub(crate) fn sender(&mut self, seq: Seq) -> rusqlite::Result<Option<PeerId>> {
        self.sender.query_row([seq.get()], |row| peer(row, 0)).optional()
    }
}

impl Messages<'_> {
    /// Returns the approximate bytes of a message, without reading its text; 0 if it was removed.
    pub(crate) fn bytes(&mut self, seq: Seq) -> rusqlite::Result<u64> {
        let bytes = self.bytes.query_row([seq.get()], |row| integer(row, 0)).optional()?;
        Ok(bytes.map_or(0, |bytes| SENT_MESSAGE_BYTES as u64 + bytes.cast_unsigned()))
    }
}

impl StoredMessage {
    /// Returns the place of the message in the log.
    pub(crate) fn seq(&self) -> Seq {
        self.seq
    }

    /// Returns the recipients of the message.
    pub(crate) fn numbered_recipients(&self) -> impl Iterator<Item = Recipient> + Clone {
        numbered(&self.recipients)
    }

    /// Returns the message as a recipient sees it, to whom it came through `room` or directly.
    pub(crate) fn into_message(self, to: Vec<Destination>, room: Option<Room>) -> Message {
        let StoredMessage { seq, at, sender_name, text, .. } = self;
        Message { seq, at, sender: sender_name, to, room, text }
    }
}

fn stored(seq: Seq, recipients: String, row: &Row<'_>) -> rusqlite::Result<StoredMessage> {
    Ok(StoredMessage {
        seq,
        at: Timestamp::from_millis(integer(row, 0)?),
        sender: peer(row, 1)?,
        sender_name: name(row, 2)?,
        recipients,
        text: Text::stored(text(row, 3)?),
    })
}

/// Parses the column `recipients`.
pub(crate) fn numbered(recipients: &str) -> impl Iterator<Item = Recipient> + Clone {
    array::read(recipients).map(Recipient::numbered)
}
