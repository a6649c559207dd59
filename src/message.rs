//! Names, ids, texts and times. A value of these types is valid by construction, so that only parsers check it. Owns their meaning;
//! never their form in a protocol or in a table.

mod database_id;
mod precis;
mod printable;

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Serialize, Serializer};
use unicode_properties::{GeneralCategory, GeneralCategoryGroup, UnicodeGeneralCategory};

use self::precis::PrecisError;
use self::printable::{is_hidden, may_hold_hidden, replace_hidden};
use crate::limits::{
    MESSAGE_OVERHEAD_BYTES, NAME_CHARS_MAX, NAME_OVERHEAD_BYTES, QUOTED_CHARS_MAX, REQUEST_ID_BYTES_MAX,
    UNMAPPED_NAME_CHARS_MAX,
};

pub use self::database_id::DatabaseId;
pub use self::printable::{printable, printable_json};

/// Last millisecond of the year 9999, the last year with four digits.
const SHOWN_MILLIS_MAX: i64 = 253_402_300_799_999;

/// Name of a peer, mapped by RFC 8265's UsernameCaseMapped: 1 to 32 letters, marks, digits, `-`, `_`, `.`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PeerName(Arc<str>);

impl PeerName {
    /// Maps and checks a name. Blanks around it are an error, and are not trimmed.
    pub fn parse(name: &str) -> Result<Self, BadName> {
        if is_mapped_ascii_name(name) {
            return Ok(PeerName(name.into()));
        }
        let mapped = map_name(name)?;
        check_name(name, &mapped)?;
        Ok(PeerName(mapped.into()))
    }

    /// Wraps a name from the database, which was parsed before it was stored. In a name that somebody wrote there by hand, replaces what
    /// no name contains.
    pub fn stored(name: &str) -> Self {
        if is_safe_name(name) { PeerName(name.into()) } else { PeerName(safe_name(name).into()) }
    }

    /// Checks that the name may be new. Those that are in use already are valid, even if they are not.
    pub(crate) fn check_new(&self) -> Result<(), BadName> {
        if precis::has_second_dot(self.as_str()) { Err(BadName::with_second_dot(self.as_str())) } else { Ok(()) }
    }

    /// Returns the name as it is compared and shown.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Name of a room: `#` and a name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Room(Arc<str>);

impl Room {
    /// Maps and checks the name of a room, with its `#`.
    pub fn parse(room: &str) -> Result<Self, BadName> {
        let name =
            room.strip_prefix('#').ok_or_else(|| BadName::of(room, "does not start with \"#\", as every room does"))?;
        PeerName::parse(name).map(|name| Room(format!("#{name}").into()))
    }

    /// Wraps a name from the database, with its `#`, as [`PeerName::stored`] does.
    pub fn stored(room: &str) -> Self {
        match room.strip_prefix('#') {
            Some(name) if is_safe_name(name) => Room(room.into()),
            Some(name) => Room(format!("#{}", safe_name(name)).into()),
            None => Room(format!("#{}{}", char::REPLACEMENT_CHARACTER, safe_name(room)).into()),
        }
    }

    /// Checks that the name may be new, as [`PeerName::check_new`] does.
    pub(crate) fn check_new(&self) -> Result<(), BadName> {
        if precis::has_second_dot(self.as_str()) { Err(BadName::with_second_dot(self.as_str())) } else { Ok(()) }
    }

    /// Returns the name as it is compared and shown, with its `#`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Destination of a message: a peer or a room, by name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Destination {
    /// A peer.
    Peer(PeerName),
    /// All members of a room.
    Room(Room),
}

impl Destination {
    /// Parses a name: of a room if it starts with `#`, else of a peer.
    pub fn parse(name: &str) -> Result<Self, BadName> {
        if name.starts_with('#') {
            Room::parse(name).map(Destination::Room)
        } else {
            PeerName::parse(name).map(Destination::Peer)
        }
    }

    /// Wraps a name from the database, as [`PeerName::stored`] does.
    pub fn stored(name: &str) -> Self {
        if name.starts_with('#') {
            Destination::Room(Room::stored(name))
        } else {
            Destination::Peer(PeerName::stored(name))
        }
    }

    /// Returns the name as it is compared and shown.
    pub fn as_str(&self) -> &str {
        match self {
            Destination::Peer(name) => name.as_str(),
            Destination::Room(room) => room.as_str(),
        }
    }
}

/// Error about a text that is not a name. It prints as one line that is safe for a terminal.
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
            PrecisError::Disallowed(c) if is_name_char(c) => {
                let fault = format_args!("contains {}, which RFC 8265 does not allow in names", quoted_char(c));
                BadName::of(name, fault)
            }
            PrecisError::Disallowed('\u{FEFF}') => {
                BadName::of(name, "contains a byte order mark (U+FEFF): send UTF-8 without one")
            }
            PrecisError::Disallowed(c) => BadName::of(name, format_args!("contains {}", quoted_char(c))),
            PrecisError::Invalid => {
                BadName::of(name, "is not allowed by RFC 8265, perhaps by its rule for right-to-left scripts")
            }
        }
    }

    fn with_second_dot(name: &str) -> Self {
        BadName::of(name, "contains U+0307 above a letter with a dot, and looks like the name without it")
    }
}

/// Text of a message. It is never empty, and contains no hidden characters (module `printable`) except tabs, and newlines if the protocol can send
/// them.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Text(Box<str>);

impl Text {
    /// Trims white space and replaces every hidden character except tabs. Returns `None` if nothing is left.
    pub fn clean(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.is_empty() { None } else { Some(Text(replace_hidden(text, "\u{FFFD}").into())) }
    }

    /// Takes a text as it is, with its white space and newlines (`\r\n` becomes one), and replaces all other hidden characters except tabs.
    /// Returns `None` if it contains only white space.
    pub fn verbatim(text: &str) -> Option<Self> {
        if text.trim().is_empty() { None } else { Some(Text(with_newlines(text).into())) }
    }

    /// Wraps a text from the database. It was cleaned before it was stored, unless another program or an older version did that. Only a
    /// text that somebody wrote there by hand is empty.
    pub fn stored(text: String) -> Self {
        match with_newlines(&text) {
            _ if text.is_empty() => Text(char::REPLACEMENT_CHARACTER.to_string().into()),
            Cow::Borrowed(_) => Text(text.into()),
            Cow::Owned(shown) => Text(shown.into()),
        }
    }

    /// Returns the length of the text as a JSON string, without its quotes; RFC 8259, section 7.
    pub(crate) fn json_bytes(&self) -> usize {
        let added = |byte: u8| match byte {
            b'"' | b'\\' | b'\n' | b'\r' | b'\t' | 0x08 | 0x0C => 1,
            0x00..0x20 => "\\u001f".len() - 1,
            _ => 0,
        };
        self.0.len() + self.0.bytes().map(added).sum::<usize>()
    }

    /// Returns the text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the length in bytes.
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
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
        #[serde(transparent)]
        pub struct $name($number);

        impl $name {
            /// Returns the id with this number.
            pub const fn new(number: $number) -> Self {
                $name(number)
            }

            /// Returns the number of the id.
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

/// Destination of a message in the database: a peer or a room, by id. Both share one column, in which a room's id is negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Recipient {
    /// A peer.
    Peer(PeerId),
    /// All members of a room.
    Room(RoomId),
}

impl Recipient {
    /// Returns the recipient with this number of the database.
    pub const fn numbered(number: i64) -> Self {
        if number < 0 { Recipient::Room(RoomId(number.saturating_neg())) } else { Recipient::Peer(PeerId(number)) }
    }

    /// Returns the number in the database.
    pub const fn number(self) -> i64 {
        match self {
            Recipient::Peer(peer) => peer.0,
            Recipient::Room(room) => room.0.saturating_neg(),
        }
    }

    /// Returns the peer; `None` if the recipient is a room.
    pub const fn peer(self) -> Option<PeerId> {
        match self {
            Recipient::Peer(peer) => Some(peer),
            Recipient::Room(_) => None,
        }
    }

    /// Returns the room; `None` if the recipient is a peer.
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

/// Id that a client gives a request, to recognise the reply: 1 to 64 bytes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RequestId(Box<str>);

impl RequestId {
    /// Checks an id. Returns `None` if it is empty, or longer than 64 bytes.
    pub fn parse(id: &str) -> Option<Self> {
        (1..=REQUEST_ID_BYTES_MAX).contains(&id.len()).then(|| RequestId(id.into()))
    }

    /// Returns the id as the client wrote it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Point in time: milliseconds since the start of 1970, UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Reads the system's clock. A time before 1970 becomes its start.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    /// Parses a time in the form in which it is shown.
    pub fn parse(time: &str) -> Option<Self> {
        let since = humantime::parse_rfc3339(time).ok()?.duration_since(UNIX_EPOCH).ok()?;
        Some(Timestamp(i64::try_from(since.as_millis()).ok()?))
    }

    /// Returns the time this many milliseconds after the start of 1970.
    pub const fn from_millis(millis: i64) -> Self {
        Timestamp(millis)
    }

    /// Returns the milliseconds since the start of 1970.
    pub const fn millis(self) -> i64 {
        self.0
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Shows a time as `2026-11-23T06:18:35.123Z`. A time before 1970 or after 9999 is shown as the first or last one in between.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = Duration::from_millis(self.0.clamp(0, SHOWN_MILLIS_MAX).unsigned_abs());
        match UNIX_EPOCH.checked_add(since) {
            Some(time) => humantime::format_rfc3339_millis(time).fmt(f),
            // A log may contain any time, also on a system whose clock ends earlier, such as one with 32 bits.
            None => write!(f, "{} ms", self.0),
        }
    }
}

/// A message as a recipient, or its sender, gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Sequence number.
    pub seq: Seq,
    /// Time at which the server accepted it.
    pub at: Timestamp,
    /// Name of the sender.
    pub sender: PeerName,
    /// Destinations, in the sender's order. Empty if the reader's protocol does not show them.
    pub to: Vec<Destination>,
    /// Room through which the message reached the reader, or to which the reader sent it. `None` if it was addressed to the reader
    /// directly.
    pub room: Option<Room>,
    /// Text.
    pub text: Text,
}

impl Message {
    /// Returns the bytes that the message counts for in a page: at least as many as it takes when it is encoded, in the longest of the
    /// protocols, and about as many as it takes in memory.
    pub(crate) fn counted_bytes(&self) -> usize {
        let room = self.room.as_ref().map_or(0, |room| room.as_str().len());
        let to: usize = self.to.iter().map(|to| counted_name_bytes(to.as_str())).sum();
        MESSAGE_OVERHEAD_BYTES + self.sender.as_str().len() + room + to + self.text.json_bytes()
    }
}

/// Returns the bytes that a name in a list counts for: a name of one letter takes more in memory than when it is encoded.
pub(crate) fn counted_name_bytes(name: &str) -> usize {
    NAME_OVERHEAD_BYTES + name.len()
}

/// Quotes a value from outside for an error.
pub(crate) fn quoted(value: &str) -> String {
    format!("\"{}\"", repeated(value))
}

/// Shortens a value from outside for an error: one line, safe for a terminal.
pub(crate) fn repeated(value: &str) -> String {
    let mut chars = value.chars();
    let shown: String = chars.by_ref().take(QUOTED_CHARS_MAX).map(without_invisible).collect();
    let cut = if chars.next().is_some() { "…" } else { "" };
    shown + cut
}

/// Shortens the value that an error of a JSON parser quotes; without that, the error repeats all of it.
pub(crate) fn brief(error: &serde_json::Error) -> String {
    const QUOTES: [char; 2] = ['"', '`'];
    let words = error.to_string();
    match (words.find(QUOTES), words.rfind(QUOTES)) {
        (Some(first), Some(last)) if first < last => {
            let (before, value, behind) = (&words[..=first], &words[first + 1..last], &words[last..]);
            format!("{before}{}{behind}", repeated(value))
        }
        _ => words,
    }
}

/// Replaces a character that a terminal obeys or does not show, such as a byte order mark or a joiner, by U+FFFD.
fn without_invisible(c: char) -> char {
    let is_invisible = c.general_category_group() == GeneralCategoryGroup::Other || is_hidden(c);
    if is_invisible { char::REPLACEMENT_CHARACTER } else { c }
}

/// Names a character for an error: by its number if it is invisible.
fn quoted_char(c: char) -> String {
    match c.general_category_group() {
        _ if c.is_whitespace() => "a blank".to_owned(),
        GeneralCategoryGroup::Mark | GeneralCategoryGroup::Separator | GeneralCategoryGroup::Other => {
            format!("U+{:04X}", u32::from(c))
        }
        _ => format!("\"{c}\""),
    }
}

/// Whether this is an ASCII name that the mapping does not change. Most names are, and the mapping costs as much as all other work
/// on a message.
fn is_mapped_ascii_name(name: &str) -> bool {
    let letter_or_digit = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = name.as_bytes();
    bytes.len() <= NAME_CHARS_MAX
        && bytes.first().is_some_and(|&first| letter_or_digit(first))
        && bytes.iter().all(|&byte| letter_or_digit(byte) || matches!(byte, b'-' | b'_' | b'.'))
}

/// Whether a stored name can be shown as it is.
fn is_safe_name(name: &str) -> bool {
    is_mapped_ascii_name(name)
        || !name.is_empty() && name.chars().all(is_name_char) && name.chars().nth(NAME_CHARS_MAX).is_none()
}

/// Replaces what cannot be in a name, so that it is on one line and nobody's name.
fn safe_name(name: &str) -> String {
    let safe = |c| if is_name_char(c) { c } else { char::REPLACEMENT_CHARACTER };
    name.chars().take(NAME_CHARS_MAX).map(safe).chain([char::REPLACEMENT_CHARACTER]).collect()
}

fn map_name(name: &str) -> Result<String, BadName> {
    if name.is_empty() {
        return Err(BadName::missing());
    }
    if name.chars().nth(UNMAPPED_NAME_CHARS_MAX).is_some() {
        return Err(BadName::too_long(name));
    }
    precis::enforce(name).map_err(|error| BadName::refused(name, error))
}

fn check_name(name: &str, mapped: &str) -> Result<(), BadName> {
    if let Some(invalid) = mapped.chars().find(|&c| !is_name_char(c)) {
        return Err(BadName::of(name, format_args!("contains {}", quoted_char(invalid))));
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

/// Replaces hidden characters except tabs and newlines; `\r\n` becomes a newline.
fn with_newlines(text: &str) -> Cow<'_, str> {
    match may_hold_hidden(text) && text.contains("\r\n") {
        true => replace_hidden(&text.replace("\r\n", "\n"), "\n").into_owned().into(),
        false => replace_hidden(text, "\n"),
    }
}

#[cfg(test)]
mod tests;
