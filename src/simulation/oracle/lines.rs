//! Lines that were sent, and what became of each. Owns their texts, which say the number of the line.

use crate::limits::TEXT_BYTES_MAX;
use crate::message::{Seq, Text};

/// Whom a line is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::simulation) enum To {
    Peer(usize),
    Room(usize),
}

/// One line that was sent.
pub(in crate::simulation) struct Sent {
    /// The last that sent it; none where it was written into the table `outbox`.
    pub(in crate::simulation) session: Option<usize>,
    pub(in crate::simulation) sender: usize,
    pub(in crate::simulation) to: Vec<To>,
    /// Bytes of its text behind the number.
    pub(in crate::simulation) padding: usize,
    /// The id that its sender gave it.
    pub(in crate::simulation) id: Option<usize>,
    /// How often it was sent.
    pub(in crate::simulation) attempts: u32,
    /// `Oracle::deaths`, when it was sent last.
    pub(in crate::simulation) deaths: u64,
    pub(in crate::simulation) fate: Fate,
    /// Each place in the log where it stands: several only if its id was forgotten in between.
    pub(in crate::simulation) copies: Vec<Seq>,
    /// When its turn last failed.
    pub(in crate::simulation) failed_at: u64,
    /// It is in the hands of the store by this turn, or refused.
    pub(in crate::simulation) turn_max: u64,
}

/// What became of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::simulation) enum Fate {
    /// It is on its way.
    Told,
    /// Its turn could not be committed.
    Failed,
    Committed(Seq),
    /// Its sender was told so.
    Refused,
}

/// The padding of every text.
static DOTS: [u8; TEXT_BYTES_MAX] = [b'.'; TEXT_BYTES_MAX];

/// A text that says its number.
pub(in crate::simulation) fn text(number: usize, padding: usize) -> Text {
    let mut text = number.to_string();
    text.push_str(str::from_utf8(&DOTS[..padding]).expect("dots are"));
    Text::stored(text)
}

/// Whether these bytes are the padding of a text.
pub(in crate::simulation) fn is_padding(bytes: &[u8]) -> bool {
    *bytes == DOTS[..bytes.len()]
}

/// The number with which a text begins, and the bytes that the number takes.
pub(in crate::simulation) fn number(text: &[u8]) -> (usize, usize) {
    let (mut number, mut digits) = (0, 0);
    while let Some(digit @ b'0'..=b'9') = text.get(digits) {
        number = 10 * number + usize::from(digit - b'0');
        digits += 1;
    }
    assert!(digits > 0, "a number is missing in {:?}", String::from_utf8_lossy(text));
    (number, digits)
}

impl Sent {
    pub(in crate::simulation) fn peers(&self) -> impl Iterator<Item = usize> {
        self.to.iter().filter_map(|to| if let To::Peer(peer) = to { Some(*peer) } else { None })
    }

    pub(in crate::simulation) fn rooms(&self) -> impl Iterator<Item = usize> {
        self.to.iter().filter_map(|to| if let To::Room(room) = to { Some(*room) } else { None })
    }
}
