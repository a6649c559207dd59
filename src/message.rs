//! Names, ids, texts and times: valid by construction, so that nothing behind the parser checks them again.
//! Owns what they mean; never how they are written on a wire or in a table.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use precis_profiles::UsernameCaseMapped;
use precis_profiles::precis_core::Error as PrecisError;
use precis_profiles::precis_core::profile::PrecisFastInvocation;
use serde::{Serialize, Serializer};
use unicode_properties::{GeneralCategory, GeneralCategoryGroup, UnicodeGeneralCategory};

use crate::limits::{NAME_CHARS_MAX, QUOTED_CHARS_MAX, REQUEST_ID_BYTES_MAX, UNMAPPED_NAME_CHARS_MAX};

/// The last millisecond of the year 9999, the last that is written with a year of four digits.
const SHOWN_MILLIS_MAX: i64 = 253_402_300_799_999;

/// The name of a peer, mapped by RFC 8265's UsernameCaseMapped: 1 to 32 letters, marks, digits, `-`, `_`, `.`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerName(Arc<str>);

impl PeerName {
    /// Maps and checks a name. Blanks around it are not trimmed: they belong to no name.
    pub fn parse(name: &str) -> Result<Self, BadName> {
        if is_mapped_ascii_name(name) {
            return Ok(PeerName(name.into()));
        }
        let mapped = map_name(name)?;
        check_name(name, &mapped)?;
        Ok(PeerName(mapped.into()))
    }

    /// A name that was parsed before it was stored.
    pub fn stored(name: &str) -> Self {
        debug_assert_eq!(Self::parse(name).as_ref().map(Self::as_str), Ok(name), "a stored name is its own parse");
        PeerName(name.into())
    }

    /// The name as it is compared and shown.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The name of a room: `#` and a name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Room(Arc<str>);

impl Room {
    /// Maps and checks the name of a room, which is written with its `#`.
    pub fn parse(room: &str) -> Result<Self, BadName> {
        let name =
            room.strip_prefix('#').ok_or_else(|| BadName::of(room, "does not start with \"#\" as a room does"))?;
        PeerName::parse(name).map(|name| Room(format!("#{name}").into()))
    }

    /// A room that was parsed before it was stored, with its `#`.
    pub fn stored(room: &str) -> Self {
        debug_assert_eq!(Self::parse(room).as_ref().map(Self::as_str), Ok(room), "a stored room is its own parse");
        Room(room.into())
    }

    /// The name as it is compared and shown, with its `#`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whom a message is addressed to.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Destination {
    /// One peer.
    Peer(PeerName),
    /// Everyone in a room.
    Room(Room),
}

impl Destination {
    /// A room where it starts with `#`, else a peer.
    pub fn parse(name: &str) -> Result<Self, BadName> {
        if name.starts_with('#') {
            Room::parse(name).map(Destination::Room)
        } else {
            PeerName::parse(name).map(Destination::Peer)
        }
    }

    /// The name as it is compared and shown.
    pub fn as_str(&self) -> &str {
        match self {
            Destination::Peer(name) => name.as_str(),
            Destination::Room(room) => room.as_str(),
        }
    }
}

/// Says in one line, safe for a terminal, why a name is none and what a name is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{fault}; a name is 1 to {NAME_CHARS_MAX} letters, marks or digits of any script, \"-\", \"_\" or \".\", and starts with a \
     letter or a digit"
)]
pub struct BadName {
    fault: String,
}

impl BadName {
    fn missing() -> Self {
        BadName { fault: "a name is missing".to_owned() }
    }

    fn of(name: &str, fault: impl fmt::Display) -> Self {
        BadName { fault: format!("{} {fault}", quoted(name)) }
    }

    fn too_long(name: &str) -> Self {
        BadName::of(name, "is too long")
    }

    fn refused(name: &str, error: PrecisError) -> Self {
        match error {
            PrecisError::BadCodepoint(found) => match char::from_u32(found.cp) {
                Some(c) if is_name_char(c) => {
                    BadName::of(name, format_args!("holds {}, which RFC 8265 keeps out of names", quoted_char(c)))
                }
                Some(c) => BadName::of(name, format_args!("holds {}", quoted_char(c))),
                None => BadName::of(name, "is refused by RFC 8265"),
            },
            _ => {
                BadName::of(name, "is refused by RFC 8265, perhaps by its rule for scripts written from right to left")
            }
        }
    }
}

/// What a message says: never empty, and with no control characters but tabs, and newlines where a protocol can send them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Text(Box<str>);

impl Text {
    /// Trims white space and replaces every control character but the tab; `None` if nothing is left.
    pub fn clean(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.is_empty() {
            None
        } else if may_hold_control(text) {
            Some(Text(text.chars().map(without_control).collect()))
        } else {
            Some(Text(text.into()))
        }
    }

    /// Keeps a text as it is, white space and newlines too (`\r\n` counts as one), but replaces every other control
    /// character but the tab; `None` if it holds nothing but white space.
    pub fn kept(text: &str) -> Option<Self> {
        if text.trim().is_empty() {
            None
        } else if may_hold_control(text) {
            let text = text.replace("\r\n", "\n");
            Some(Text(text.chars().map(|c| if c == '\n' { c } else { without_control(c) }).collect()))
        } else {
            Some(Text(text.into()))
        }
    }

    /// A text that was cleaned before it was stored.
    pub fn stored(text: String) -> Self {
        debug_assert!(!text.is_empty(), "a stored text is not empty");
        Text(text.into())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its bytes.
    #[expect(clippy::len_without_is_empty, reason = "a text is never empty")]
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

/// Formats types that have an `as_str` as that text, and serializes them as it.
macro_rules! show_as_str {
    ($($name:ident),*) => {$(
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }
    )*};
}

show_as_str!(PeerName, Room, Destination, Text);

/// Defines an id: a number with a type of its own, so that no other number is taken for it.
macro_rules! id {
    ($(#[$attribute:meta])* $name:ident($number:ty)) => {
        $(#[$attribute])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
        #[serde(transparent)]
        pub struct $name($number);

        impl $name {
            /// Returns the id with this number.
            pub const fn new(number: $number) -> Self {
                $name(number)
            }

            /// Number of the id.
            pub const fn get(self) -> $number {
                self.0
            }

            /// Returns the id that follows this one.
            pub const fn next(self) -> Self {
                $name(self.0 + 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

id! {
    /// Sequence number: the position of a message in the log. The first message has 1.
    Seq(i64)
}

id! {
    /// Id of a peer in the database.
    PeerId(i64)
}

id! {
    /// Id of a room in the database. The first room has 1.
    RoomId(i64)
}

id! {
    /// Id of a session: one connection of a peer, while it is logged in. A server never uses an id twice.
    SessionId(u64)
}

impl Seq {
    /// Position before the first message.
    pub const ZERO: Seq = Seq(0);

    /// Position that no message reaches.
    pub const MAX: Seq = Seq(i64::MAX);
}

impl SessionId {
    /// Returns an id that no session of this process has had.
    pub(crate) fn unused() -> Self {
        static LAST: AtomicU64 = AtomicU64::new(0);
        SessionId(LAST.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

/// Whom a message is addressed to, as the store numbers them: peers and rooms share the numbers, and a room's is negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Recipient {
    /// One peer.
    Peer(PeerId),
    /// Everyone in a room.
    Room(RoomId),
}

impl Recipient {
    /// The recipient with this number.
    pub const fn numbered(number: i64) -> Self {
        if number < 0 { Recipient::Room(RoomId(-number)) } else { Recipient::Peer(PeerId(number)) }
    }

    /// Its number.
    pub const fn number(self) -> i64 {
        match self {
            Recipient::Peer(peer) => peer.0,
            Recipient::Room(room) => -room.0,
        }
    }

    /// The peer, if it is one.
    pub const fn peer(self) -> Option<PeerId> {
        match self {
            Recipient::Peer(peer) => Some(peer),
            Recipient::Room(_) => None,
        }
    }

    /// The room, if it is one.
    pub const fn room(self) -> Option<RoomId> {
        match self {
            Recipient::Peer(_) => None,
            Recipient::Room(room) => Some(room),
        }
    }
}

impl From<PeerId> for Recipient {
    fn from(peer: PeerId) -> Self {
        Recipient::Peer(peer)
    }
}

impl From<RoomId> for Recipient {
    fn from(room: RoomId) -> Self {
        Recipient::Room(room)
    }
}

/// By what a client wants to know the answer to a request again: 1 to 64 bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(Box<str>);

impl RequestId {
    /// `None`: it is empty, or of more than 64 bytes.
    pub fn parse(id: &str) -> Option<Self> {
        (1..=REQUEST_ID_BYTES_MAX).contains(&id.len()).then(|| RequestId(id.into()))
    }

    /// The id as the client wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Milliseconds since the beginning of 1970, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(i64);

impl Timestamp {
    /// What the system's clock says; a clock before 1970 counts as its beginning.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    /// As it is shown.
    pub fn parse(time: &str) -> Option<Self> {
        let since = humantime::parse_rfc3339(time).ok()?.duration_since(UNIX_EPOCH).ok()?;
        Some(Timestamp(i64::try_from(since.as_millis()).ok()?))
    }

    /// The time this many milliseconds after the beginning of 1970.
    pub const fn from_millis(millis: i64) -> Self {
        Timestamp(millis)
    }

    /// Milliseconds since the beginning of 1970.
    pub const fn millis(self) -> i64 {
        self.0
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// As in `2026-11-23T06:18:35.123Z`; what is before 1970 or after 9999 is shown as the nearest time between.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = Duration::from_millis(self.0.clamp(0, SHOWN_MILLIS_MAX).unsigned_abs());
        match UNIX_EPOCH.checked_add(since) {
            Some(time) => humantime::format_rfc3339_millis(time).fmt(f),
            // A system whose clock ends earlier, as with 32 bits, can still hold a log with any time in it.
            None => write!(f, "{} ms", self.0),
        }
    }
}

/// A message as one reader of it sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its place in the log.
    pub seq: Seq,
    /// When it was accepted.
    pub at: Timestamp,
    /// Who sent it.
    pub sender: PeerName,
    /// Whom it was addressed to, in that order; empty where the reader's protocol does not say it.
    pub to: Vec<Destination>,
    /// The room through which it reached the reader, or into which the reader sent it; none where it was addressed to the
    /// reader directly.
    pub room: Option<Room>,
    /// What it says.
    pub text: Text,
}

impl Message {
    /// Returns about the memory that the strings of the message take.
    pub(crate) fn string_bytes(&self) -> usize {
        let to = self.to.iter().map(|to| size_of::<Destination>() + to.as_str().len());
        self.sender.as_str().len() + self.text.len() + to.sum::<usize>()
    }
}

/// A value from outside as an error repeats it, in quotes.
pub(crate) fn quoted(value: &str) -> String {
    format!("\"{}\"", repeated(value))
}

/// The same without quotes: in one line, cut when it is long, and safe for a terminal.
pub(crate) fn repeated(value: &str) -> String {
    let mut chars = value.chars();
    let shown: String = chars.by_ref().take(QUOTED_CHARS_MAX).map(without_unseen).collect();
    let cut = if chars.next().is_some() { "…" } else { "" };
    shown + cut
}

/// A line of somebody else's as the log shows it: safe for a terminal.
pub(crate) fn printable(line: &str) -> String {
    line.chars().map(without_unseen).collect()
}

/// What a terminal would obey or not show at all, such as a byte order mark, is shown as U+FFFD.
fn without_unseen(c: char) -> char {
    if c.general_category_group() == GeneralCategoryGroup::Other { char::REPLACEMENT_CHARACTER } else { c }
}

/// A character as an error names it: by its number where it would not be seen.
fn quoted_char(c: char) -> String {
    match c.general_category_group() {
        _ if c.is_whitespace() => "a blank".to_owned(),
        GeneralCategoryGroup::Mark | GeneralCategoryGroup::Separator | GeneralCategoryGroup::Other => {
            format!("U+{:04X}", u32::from(c))
        }
        _ => format!("\"{c}\""),
    }
}

/// Whether this is a name that the mapping leaves as it is: most are, and it costs as much as all else about a message.
fn is_mapped_ascii_name(name: &str) -> bool {
    let letter_or_digit = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = name.as_bytes();
    bytes.len() <= NAME_CHARS_MAX
        && bytes.first().is_some_and(|&first| letter_or_digit(first))
        && bytes.iter().all(|&byte| letter_or_digit(byte) || matches!(byte, b'-' | b'_' | b'.'))
}

fn map_name(name: &str) -> Result<Cow<'_, str>, BadName> {
    if name.is_empty() {
        return Err(BadName::missing());
    }
    if name.chars().nth(UNMAPPED_NAME_CHARS_MAX).is_some() {
        return Err(BadName::too_long(name));
    }
    let refused = |error| BadName::refused(name, error);
    let mapped = UsernameCaseMapped::enforce(name).map_err(refused)?;
    // RFC 8264, section 7: what changes when it is mapped again is not a name.
    let again = UsernameCaseMapped::enforce(&*mapped).map_err(refused)?;
    if again == mapped { Ok(mapped) } else { Err(refused(PrecisError::Invalid)) }
}

fn check_name(name: &str, mapped: &str) -> Result<(), BadName> {
    if let Some(stranger) = mapped.chars().find(|&c| !is_name_char(c)) {
        return Err(BadName::of(name, format_args!("holds {}", quoted_char(stranger))));
    }
    if let Some(first) = mapped.chars().next().filter(|&c| !is_letter_or_digit(c)) {
        return Err(BadName::of(name, format_args!("starts with {}", quoted_char(first))));
    }
    if mapped.chars().count() > NAME_CHARS_MAX { Err(BadName::too_long(name)) } else { Ok(()) }
}

fn is_name_char(c: char) -> bool {
    matches!(c, '-' | '_' | '.') || is_letter_or_digit(c) || c.general_category_group() == GeneralCategoryGroup::Mark
}

fn is_letter_or_digit(c: char) -> bool {
    c.general_category_group() == GeneralCategoryGroup::Letter || c.general_category() == GeneralCategory::DecimalNumber
}

/// Whether a closer look is needed; it looks at bytes, without a branch for each, and 0xC2 begins a C1 control among others.
fn may_hold_control(text: &str) -> bool {
    text.bytes().fold(false, |found, byte| found | (byte < b' ' && byte != b'\t') | (byte == 0x7F) | (byte == 0xC2))
}

fn without_control(c: char) -> char {
    if c.is_control() && c != '\t' { char::REPLACEMENT_CHARACTER } else { c }
}

#[cfg(test)]
mod tests;
