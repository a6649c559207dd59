//! Message that a program wants to send: destinations and a text, and the id with which it is sent. Owns how a line names its
//! destinations; never sends a request.

use std::fmt;
use std::hash::{BuildHasher, RandomState};

use crate::limits::{ID_PREFIX_BYTES_MAX, JSON_LINE_BYTES_MAX, REQUEST_ID_BYTES_MAX};
use crate::message::Destination;
use crate::wire::{ErrorFrame, RequestFrame};

/// Recipients of the lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Addressing {
    /// Each line is a text as it is, for all these destinations.
    To(Vec<Destination>),
    /// Each line names its own destinations, as plain lines do: `NAME, #ROOM: TEXT`.
    InLine,
}

/// Text to send, and its destinations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AddressedText {
    /// Peers and rooms that it is sent to.
    pub(super) to: Vec<Destination>,
    /// Text, unchanged.
    pub(super) text: String,
}

impl Addressing {
    /// Returns the message of a line. Fails if the line does not name its destinations, or if no request can contain the message.
    pub(super) fn address(&self, line: String) -> Result<AddressedText, ErrorFrame> {
        let message = match self {
            Addressing::To(to) => AddressedText { to: to.clone(), text: line },
            Addressing::InLine => split(&line)?,
        };
        let longest_id = "x".repeat(REQUEST_ID_BYTES_MAX);
        if message.encode(&longest_id).len() > JSON_LINE_BYTES_MAX {
            let problem =
                format!("with its destinations and escapes the line is longer than {JSON_LINE_BYTES_MAX} bytes");
            return Err(ErrorFrame::new("too_long", problem));
        }
        Ok(message)
    }
}

impl AddressedText {
    /// Returns the request that sends the message.
    pub(super) fn encode(&self, id: &str) -> String {
        let to = self.to.iter().map(Destination::as_str).collect();
        RequestFrame::Send { id, to, text: &self.text }.encode()
    }
}

fn split(line: &str) -> Result<AddressedText, ErrorFrame> {
    let Some((names, text)) = line.split_once(':') else {
        return Err(ErrorFrame::new(
            "bad_request",
            "the line has no colon; write NAME, #ROOM: TEXT, or name the recipients with --to",
        ));
    };
    let names = names.split(',').map(|name| Destination::parse(name.trim()));
    let to = names.collect::<Result<_, _>>().map_err(|error| ErrorFrame::new("bad_name", error.to_string()))?;
    match text.trim() {
        "" => Err(ErrorFrame::new("empty", "the line has no text after the colon")),
        text => Ok(AddressedText { to, text: text.to_owned() }),
    }
}

/// Beginning of the ids of a run. If the same lines are sent again with the same prefix, none is sent twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdPrefix(String);

/// Error about a text that is not a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected 1 to {ID_PREFIX_BYTES_MAX} printable ASCII characters, without blanks")]
pub struct BadIdPrefix;

impl IdPrefix {
    /// Checks a prefix: printable, and short enough that an id has room for any line number after it.
    pub fn parse(prefix: &str) -> Result<Self, BadIdPrefix> {
        let fits = (1..=ID_PREFIX_BYTES_MAX).contains(&prefix.len());
        if fits && prefix.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(IdPrefix(prefix.to_owned()))
        } else {
            Err(BadIdPrefix)
        }
    }

    /// Returns a random prefix, which no run has used before.
    pub fn random() -> Self {
        // The keys of a RandomState come from the system's source of randomness, and each RandomState has others.
        let half = || RandomState::new().hash_one(std::process::id());
        IdPrefix(format!("{:016x}{:016x}", half(), half()))
    }

    /// Returns the id of the line with this number.
    pub(super) fn id(&self, number: u64) -> String {
        format!("{}-{number}", self.0)
    }
}

/// Returns the line number at the end of an id, if there is one.
pub(super) fn line_number(id: &str) -> Option<u64> {
    id.rsplit_once('-')?.1.parse().ok()
}

impl fmt::Display for IdPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn check(addressing: &Addressing, line: &str, expected: Expect) {
        match addressing.address(line.to_owned()) {
            Ok(message) => expected.assert_eq(&message.encode("i-1")),
            Err(error) => expected.assert_eq(&error.to_string()),
        }
    }

    #[test]
    fn line_names_its_destinations_before_the_colon() {
        check(
            &Addressing::InLine,
            " Bob , #Home:  dinner: at 7 ",
            expect![[r##"{"type":"send","id":"i-1","to":["bob","#home"],"text":"dinner: at 7"}"##]],
        );
        check(
            &Addressing::InLine,
            "dinner at 7",
            expect!["bad_request: the line has no colon; write NAME, #ROOM: TEXT, or name the recipients with --to"],
        );
        check(&Addressing::InLine, "bob: \t", expect!["empty: the line has no text after the colon"]);
        let error = Addressing::InLine.address("bob,,carol: hi".to_owned()).unwrap_err();
        assert_eq!(error.code(), "bad_name");
    }

    #[test]
    fn line_for_given_destinations_is_sent_unchanged() {
        let to = Addressing::To(vec![Destination::parse("bob").unwrap(), Destination::parse("#home").unwrap()]);
        check(
            &to,
            "  alice: \"hi\"\n\tthere",
            expect![[r##"{"type":"send","id":"i-1","to":["bob","#home"],"text":"  alice: \"hi\"\n\tthere"}"##]],
        );
    }

    #[test]
    fn request_that_is_too_long_for_the_server_is_an_error() {
        let to = Addressing::To((0..3000).map(|n| Destination::parse(&format!("{n:032}")).unwrap()).collect());
        assert_eq!(to.address("hi".to_owned()).unwrap_err().code(), "too_long");
    }

    #[test]
    fn id_is_the_prefix_and_the_line_number() {
        let ids = IdPrefix::parse("backup-2026-11-23").unwrap();
        assert_eq!(ids.id(3), "backup-2026-11-23-3");
        assert_eq!(line_number("backup-2026-11-23-3"), Some(3));
        for other in ["backup", "backup-2026-11-23-", "backup-2026-11-23-x", ""] {
            assert_eq!(line_number(other), None, "{other}");
        }
    }

    #[test]
    fn longest_prefix_leaves_room_for_any_line_number() {
        let longest = "x".repeat(ID_PREFIX_BYTES_MAX);
        let id = IdPrefix::parse(&longest).unwrap().id(u64::MAX);
        assert_eq!(id.len(), crate::limits::REQUEST_ID_BYTES_MAX);
        for bad in ["", &format!("{longest}x"), "a b", "ü", "a\n"] {
            assert_eq!(IdPrefix::parse(bad), Err(BadIdPrefix), "{bad:?}");
        }
    }

    #[test]
    fn random_prefixes_differ() {
        assert_ne!(IdPrefix::random(), IdPrefix::random());
        assert!(IdPrefix::parse(&IdPrefix::random().to_string()).is_ok());
    }
}
