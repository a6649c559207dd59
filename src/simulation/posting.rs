//! Actions of an operator with a shell: writes rows into the table `outbox`, some of them invalid. Owns the rows; never
//! what becomes of them.

use super::oracle::{RowContent, Target, text};
use super::swarm::one_of;
use super::world::World;
use crate::limits::{LINE_BYTES_MAX, POSTS_MAX};
use crate::store::Post;

/// Columns of a row.
#[derive(Clone)]
struct Columns {
    sender: Option<Vec<u8>>,
    recipients: Option<Vec<u8>>,
    text: Option<Vec<u8>>,
}

impl World {
    pub(super) fn post_any(&mut self) -> bool {
        // Sometimes more rows than a turn takes.
        let rows = if self.rng.u32(..64) == 0 { POSTS_MAX + 10 } else { self.rng.usize(1..4) };
        for _ in 0..rows {
            self.post_row();
        }
        self.is_outbox_touched = true;
        self.step(|| format!("an operator writes {rows} rows into the outbox"))
    }

    fn post_row(&mut self) {
        let (columns, says) = if self.rng.u32(..4) == 0 { self.any_invalid_row() } else { self.any_posted_line() };
        let Columns { sender, recipients, text } = columns;
        let row = self.store.insert_post(|row| Post { row, sender, recipients, text });
        self.oracle.posts.written(row, says, self.oracle.step);
    }

    fn any_posted_line(&mut self) -> (Columns, RowContent) {
        let sender = self.any_name(2);
        let to = self.any_destinations(sender, true);
        let padding = self.rng.usize(..=self.swarm.text_bytes_max.min(LINE_BYTES_MAX - 20));
        let number = self.new_line(None, sender, to, padding);
        (self.columns(number), RowContent::Line(number))
    }

    fn columns(&self, number: usize) -> Columns {
        let sent = &self.oracle.sent[number];
        let name = |to: &Target| match to {
            Target::Peer(peer) => self.oracle.peers[*peer].name.as_str(),
            Target::Room(room) => self.oracle.rooms.name(*room).as_str(),
        };
        let recipients: Vec<&str> = sent.to.iter().map(name).collect();
        Columns {
            sender: Some(self.oracle.peers[sent.sender].name.as_str().into()),
            recipients: Some(recipients.join(", ").into()),
            text: Some(text(number, sent.padding).as_str().into()),
        }
    }

    fn any_invalid_row(&mut self) -> (Columns, RowContent) {
        let some = |bytes: &[u8]| Some(bytes.to_vec());
        let good = Columns { sender: some(b"p0"), recipients: some(b"p0"), text: some(b"nonsense") };
        let (columns, code) = match one_of(&mut self.rng, &[0, 1, 2, 3, 4, 5, 6]) {
            0 => (Columns { sender: None, ..good }, "bad_request"),
            1 => (Columns { text: None, ..good }, "bad_request"),
            2 => (Columns { sender: some(b"p 0"), ..good }, "bad_name"),
            3 => (Columns { recipients: some(b"p0,,p0"), ..good }, "bad_name"),
            4 => (Columns { text: some(b" \n "), ..good }, "empty"),
            5 => (Columns { text: some(b"\xff"), ..good }, "not_utf8"),
            _ => (Columns { text: Some(vec![b'x'; LINE_BYTES_MAX + 1]), ..good }, "too_long"),
        };
        (columns, RowContent::Invalid(code))
    }
}
