//! Messages that were sent, called lines here, and the fate of each. Owns their texts, which begin with the number of
//! the line.

use crate::limits::TEXT_BYTES_MAX;
use crate::message::{Seq, Text};

/// Recipient of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::simulation) enum Target {
    Peer(usize),
    Room(usize),
}

/// Message that a client sent or an operator wrote into the table `outbox`.
pub(in crate::simulation) struct SentLine {
    /// Session that sent it last. `None` if it was written into the table `outbox`.
    pub(in crate::simulation) session: Option<usize>,
    pub(in crate::simulation) sender: usize,
    pub(in crate::simulation) to: Vec<Target>,
    /// Bytes of the text after the number.
    pub(in crate::simulation) padding: usize,
    /// Number of the id that the sender gave it.
    pub(in crate::simulation) id: Option<usize>,
    /// Number of times that it was sent.
    pub(in crate::simulation) attempts: u32,
    /// `Oracle::restarts` when it was sent last.
    pub(in crate::simulation) restarts: u64,
    pub(in crate::simulation) fate: Fate,
    /// Every place in the log: several only if the id was forgotten in between.
    pub(in crate::simulation) copies: Vec<Seq>,
    /// Step in which its turn last failed.
    pub(in crate::simulation) failed_at: u64,
    /// Last turn in which it may be decided.
    pub(in crate::simulation) turn_max: u64,
}

/// Outcome of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::simulation) enum Fate {
    /// It is not decided, or its turn is not committed.
    InFlight,
    /// Its turn could not be committed.
    Failed,
    Committed(Seq),
    /// The sender got the error that it was not sent.
    Refused,
}

/// Padding of every text.
static DOTS: [u8; TEXT_BYTES_MAX] = [b'.'; TEXT_BYTES_MAX];

/// Returns a text that begins with a number.
pub(in crate::simulation) fn text(number: usize, padding: usize) -> Text {
    let mut text = number.to_string();
    text.push_str(str::from_utf8(&DOTS[..padding]).expect("dots are"));
    Text::stored(text)
}

/// Whether these bytes are padding.
pub(in crate::simulation) fn is_padding(bytes: &[u8]) -> bool {
    *bytes == DOTS[..bytes.len()]
}

/// Parses the number with which a text begins. Returns it and its length in bytes.
pub(in crate::simulation) fn number(text: &[u8]) -> (usize, usize) {
    let (mut number, mut digits) = (0, 0);
    while let Some(digit @ b'0'..=b'9') = text.get(digits) {
        number = 10 * number + usize::from(digit - b'0');
        digits += 1;
    }
    assert!(digits > 0, "the text {:?} does not begin with a number", String::from_utf8_lossy(text));
    (number, digits)
}

impl SentLine {
    pub(in crate::simulation) fn peers(&self) -> impl Iterator<Item = usize> {
        self.to.iter().filter_map(|to| if let Target::Peer(peer) = to { Some(*peer) } else { None })
    }

    pub(in crate::simulation) fn rooms(&self) -> impl Iterator<Item = usize> {
        self.to.iter().filter_map(|to| if let Target::Room(room) = to { Some(*room) } else { None })
    }
}
