//! Detection of a client's protocol by its first bytes. Owns the rows for protocols that are detected only to be refused; never reads more
//! bytes than it needs.

use super::reader::{LineReader, ReadOutcome};
use crate::protocol::{Detected, Detector, Match, ProtocolTable};
use crate::transport::Transport;

/// The HTTP methods. The blank after the method distinguishes a request from a login line; RFC 9110, section 9, and RFC 5789.
const HTTP_METHODS: [&[u8]; 9] =
    [b"GET ", b"HEAD ", b"POST ", b"PUT ", b"DELETE ", b"OPTIONS ", b"PATCH ", b"TRACE ", b"CONNECT "];

/// The first byte of a TLS record that holds a handshake; RFC 8446, section 5.1.
const TLS_HANDSHAKE: &[u8] = &[0x16];

const HTTP_REFUSAL: &[u8] =
    b"HTTP/1.1 501 Not Implemented\r\nContent-Type: text/plain\r\nContent-Length: 56\r\nConnection: close\r\n\r\n\
      holdline is not a web server: connect with nc HOST PORT\n";

/// HTTP/1.1: refused with a page that a browser shows.
pub(crate) const HTTP: Detector = Detector { matches: match_http, then: Detected::Refused(HTTP_REFUSAL) };

/// TLS: closed without a reply, as the client could read none before a handshake.
pub(crate) const TLS: Detector =
    Detector { matches: |first| Match::prefix(first, TLS_HANDSHAKE), then: Detected::Refused(b"") };

/// Reads until the protocol is known. `None`: the client disconnected before that.
pub(super) async fn detect(reader: &mut LineReader<'_, impl Transport>, protocols: &ProtocolTable) -> Option<Detected> {
    loop {
        if let Some(detected) = protocols.detect(reader.unread(), false) {
            return Some(detected);
        }
        match reader.fill().await {
            ReadOutcome::Some => {}
            // The bytes may be a whole login without a newline.
            ReadOutcome::End => return protocols.detect(reader.unread(), true),
            ReadOutcome::Stop | ReadOutcome::Reset => return None,
        }
    }
}

fn match_http(first: &[u8]) -> Match {
    let matches = HTTP_METHODS.map(|method| Match::prefix(first, method));
    let is_any = |answer| matches.contains(&answer);
    if is_any(Match::Yes) {
        Match::Yes
    } else if is_any(Match::Undecided) {
        Match::Undecided
    } else {
        Match::No
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{json, plain};

    const PROTOCOLS: ProtocolTable =
        ProtocolTable { detectors: &[json::DETECTOR, TLS, HTTP], fallback: plain::decoder };

    /// Name of the protocol that these bytes begin.
    fn detected(first: &str, is_all: bool) -> Option<&'static str> {
        Some(match PROTOCOLS.detect(first.as_bytes(), is_all)? {
            Detected::Supported(decoder) => decoder().protocol(),
            Detected::Refused(HTTP_REFUSAL) => "http",
            Detected::Refused(_) => "tls",
        })
    }

    #[test]
    fn first_bytes_decide_the_protocol() {
        for (first, expected) in [
            ("", None),
            ("{", Some("json")),
            ("\x16\x03\x01", Some("tls")),
            ("G", None),
            ("GET", None),
            ("GET\n", Some("plain")),
            ("GET ", Some("http")),
            ("OPTIONS * HTTP/1.1", Some("http")),
            ("PO", None),
            ("POP\n", Some("plain")),
            ("get / ", Some("plain")),
            ("alice\n", Some("plain")),
            ("\n{", Some("plain")),
            ("\u{feff}alice", Some("plain")),
        ] {
            assert_eq!(detected(first, false), expected, "{first:?}");
        }
    }

    #[test]
    fn undecided_bytes_are_plain_if_no_more_come() {
        assert_eq!(detected("GET", true), Some("plain"));
        assert_eq!(detected("", true), None);
    }

    #[test]
    fn http_refusal_states_its_true_length() {
        let refusal = str::from_utf8(HTTP_REFUSAL).unwrap();
        let (head, body) = refusal.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{} bytes", body.len());
    }
}
