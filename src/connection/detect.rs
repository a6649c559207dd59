//! What a client's first bytes say about the protocol it speaks; `protocol.md`, first table. Owns that table; never reads
//! further than it must.

use super::input::{Input, ReadOutcome};

/// The HTTP methods that are told from a login line by the blank behind them; RFC 9110, section 9, and RFC 5789.
const HTTP_METHODS: [&[u8]; 9] =
    [b"GET ", b"HEAD ", b"POST ", b"PUT ", b"DELETE ", b"OPTIONS ", b"PATCH ", b"TRACE ", b"CONNECT "];

/// The first byte of a TLS record that holds a handshake; RFC 8446, section 5.1.
const TLS_HANDSHAKE: u8 = 0x16;

/// How a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DetectedProtocol {
    /// Lines for people.
    Plain,
    /// JSON lines.
    Json,
    /// HTTP/1.1.
    Http,
    /// TLS, with any of these inside.
    Tls,
}

impl DetectedProtocol {
    /// What is answered to a client whose protocol is not spoken here.
    pub(super) fn refusal(self) -> &'static [u8] {
        match self {
            DetectedProtocol::Plain | DetectedProtocol::Json => b"",
            DetectedProtocol::Http => {
                b"HTTP/1.1 501 Not Implemented\r\nContent-Type: text/plain\r\nContent-Length: 61\r\nConnection: close\r\n\r\n\
                  holdline speaks plain lines here: try nc with this host:port\n"
            }
            // Without a certificate there is nothing to say that the client would understand.
            DetectedProtocol::Tls => b"",
        }
    }
}

/// Reads until the protocol is known. `None`: the client is gone before.
pub(super) async fn detect(input: &mut Input<'_>) -> Option<DetectedProtocol> {
    loop {
        if let Some(spoken) = spoken(input.unread()) {
            return Some(spoken);
        }
        match input.fill().await {
            ReadOutcome::Some => {}
            // Too little to be anything else, and perhaps a whole login.
            ReadOutcome::End if !input.unread().is_empty() => return Some(DetectedProtocol::Plain),
            ReadOutcome::End | ReadOutcome::Stop | ReadOutcome::Reset => return None,
        }
    }
}

/// `None`: it takes more bytes to tell.
fn spoken(first: &[u8]) -> Option<DetectedProtocol> {
    match first.first()? {
        b'{' => return Some(DetectedProtocol::Json),
        &TLS_HANDSHAKE => return Some(DetectedProtocol::Tls),
        _ => {}
    }
    if HTTP_METHODS.iter().any(|method| first.starts_with(method)) {
        return Some(DetectedProtocol::Http);
    }
    let may_become_http = HTTP_METHODS.iter().any(|method| method.starts_with(first));
    (!may_become_http).then_some(DetectedProtocol::Plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_bytes_tell_the_protocol() {
        for (first, expected) in [
            ("", None),
            ("{", Some(DetectedProtocol::Json)),
            ("\x16\x03\x01", Some(DetectedProtocol::Tls)),
            ("G", None),
            ("GET", None),
            ("GET\n", Some(DetectedProtocol::Plain)),
            ("GET ", Some(DetectedProtocol::Http)),
            ("OPTIONS * HTTP/1.1", Some(DetectedProtocol::Http)),
            ("PO", None),
            ("POP\n", Some(DetectedProtocol::Plain)),
            ("get / ", Some(DetectedProtocol::Plain)),
            ("alice\n", Some(DetectedProtocol::Plain)),
            ("\n{", Some(DetectedProtocol::Plain)),
            ("\u{feff}alice", Some(DetectedProtocol::Plain)),
        ] {
            assert_eq!(spoken(first.as_bytes()), expected, "{first:?}");
        }
    }

    #[test]
    fn the_length_in_the_http_refusal_is_true() {
        let refusal = std::str::from_utf8(DetectedProtocol::Http.refusal()).unwrap();
        let (head, body) = refusal.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{} bytes", body.len());
    }
}
