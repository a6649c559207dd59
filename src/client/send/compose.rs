//! What a line of the input becomes: a request with an id, destinations and a text. Owns how a line names its destinations;
//! never sends it.

use std::fmt;
use std::hash::{BuildHasher, RandomState};

use super::super::wire::{Refusal, Request};
use crate::limits::{ID_PREFIX_BYTES_MAX, JSON_LINE_BYTES_MAX};
use crate::message::Destination;

/// To whom lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Addressing {
    /// All to these; a line is a text, as it is.
    To(Vec<Destination>),
    /// Each to whom it names itself, as on plain lines: `NAME, #ROOM: TEXT`.
    InLine,
}

impl Addressing {
    /// The request that sends a line, or why none can.
    pub(super) fn compose(&self, id: &str, line: &str) -> Result<String, Refusal> {
        let (named, text) = match self {
            Addressing::To(_) => (Vec::new(), line),
            Addressing::InLine => split(line)?,
        };
        let to = if let Addressing::To(to) = self { to } else { &named };
        let to = to.iter().map(Destination::as_str).collect();
        let request = Request::Send { id, to, text }.encode();
        if request.len() > JSON_LINE_BYTES_MAX {
            let problem = format!("with its destinations and escapes it is longer than {JSON_LINE_BYTES_MAX} bytes");
            return Err(Refusal::new("too_long", problem));
        }
        Ok(request)
    }
}

fn split(line: &str) -> Result<(Vec<Destination>, &str), Refusal> {
    let Some((names, text)) = line.split_once(':') else {
        return Err(Refusal::new(
            "bad_request",
            "it has no colon; it is to be NAME, #ROOM: TEXT, or --to says to whom",
        ));
    };
    let names = names.split(',').map(|name| Destination::parse(name.trim()));
    let names = names.collect::<Result<_, _>>().map_err(|error| Refusal::new("bad_name", error.to_string()))?;
    match text.trim() {
        "" => Err(Refusal::new("empty", "it has no text behind its colon")),
        text => Ok((names, text)),
    }
}

/// How the ids of a run begin: whoever sends the same lines again with the same prefix sends none twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdPrefix(String);

/// Says what a prefix is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a prefix is 1 to {ID_PREFIX_BYTES_MAX} printable characters of ASCII, without blanks")]
pub struct NoPrefix;

impl IdPrefix {
    /// Checks a prefix: it is to be seen, and fits into an id with any number behind it.
    pub fn parse(prefix: &str) -> Result<Self, NoPrefix> {
        let fits = (1..=ID_PREFIX_BYTES_MAX).contains(&prefix.len());
        if fits && prefix.bytes().all(|byte| byte.is_ascii_graphic()) {
            Ok(IdPrefix(prefix.to_owned()))
        } else {
            Err(NoPrefix)
        }
    }

    /// One that nobody used before.
    pub fn random() -> Self {
        // The keys of a RandomState come from the system's source of randomness, and differ from one to the next.
        let half = || RandomState::new().hash_one(std::process::id());
        IdPrefix(format!("{:016x}{:016x}", half(), half()))
    }

    /// The id of a line.
    pub(super) fn id(&self, number: u64) -> String {
        format!("{}-{number}", self.0)
    }

    /// The line of an id; none where it is not one of ours.
    pub(super) fn number(&self, id: &str) -> Option<u64> {
        id.strip_prefix(&self.0)?.strip_prefix('-')?.parse().ok()
    }
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
        match addressing.compose("i-1", line) {
            Ok(request) => expected.assert_eq(&request),
            Err(refusal) => expected.assert_eq(&refusal.to_string()),
        }
    }

    #[test]
    fn a_line_may_name_its_destinations() {
        check(
            &Addressing::InLine,
            " Bob , #Home:  dinner: at 7 ",
            expect![[r##"{"type":"send","id":"i-1","to":["bob","#home"],"text":"dinner: at 7"}"##]],
        );
        check(
            &Addressing::InLine,
            "dinner at 7",
            expect!["bad_request: it has no colon; it is to be NAME, #ROOM: TEXT, or --to says to whom"],
        );
        check(&Addressing::InLine, "bob: \t", expect!["empty: it has no text behind its colon"]);
        let refusal = Addressing::InLine.compose("i-1", "bob,,carol: hi").unwrap_err();
        assert_eq!(refusal.code(), "bad_name");
    }

    #[test]
    fn a_line_for_given_destinations_is_a_text_as_it_is() {
        let to = Addressing::To(vec![Destination::parse("bob").unwrap(), Destination::parse("#home").unwrap()]);
        check(
            &to,
            "  alice: \"hi\"\n\tthere",
            expect![[r##"{"type":"send","id":"i-1","to":["bob","#home"],"text":"  alice: \"hi\"\n\tthere"}"##]],
        );
    }

    #[test]
    fn a_request_that_the_server_would_not_read_is_not_made() {
        let to = Addressing::To((0..3000).map(|n| Destination::parse(&format!("{n:032}")).unwrap()).collect());
        assert_eq!(to.compose("i-1", "hi").unwrap_err().code(), "too_long");
    }

    #[test]
    fn an_id_is_a_prefix_and_a_number() {
        let ids = IdPrefix::parse("backup-2026-11-23").unwrap();
        assert_eq!(ids.id(3), "backup-2026-11-23-3");
        assert_eq!(ids.number("backup-2026-11-23-3"), Some(3));
        for strange in ["backup-2026-11-23", "backup-2026-11-23-", "backup-2026-11-23-x", "other-3", ""] {
            assert_eq!(ids.number(strange), None, "{strange}");
        }
    }

    #[test]
    fn an_id_fits_whatever_its_number() {
        let longest = "x".repeat(ID_PREFIX_BYTES_MAX);
        let id = IdPrefix::parse(&longest).unwrap().id(u64::MAX);
        assert_eq!(id.len(), crate::limits::REQUEST_ID_BYTES_MAX);
        for bad in ["", &format!("{longest}x"), "a b", "ü", "a\n"] {
            assert_eq!(IdPrefix::parse(bad), Err(NoPrefix), "{bad:?}");
        }
    }

    #[test]
    fn no_two_runs_have_the_same_ids() {
        assert_ne!(IdPrefix::random(), IdPrefix::random());
        assert!(IdPrefix::parse(&IdPrefix::random().to_string()).is_ok());
    }
}
