//! Recognition of HTTP requests among chat lines. A browser that is made to send one must not log in with it: whatever the method is, and
//! whatever the page chose to send. Owns what counts as a request; never closes a connection.

/// Bytes of ` HTTP/1.1` and its like; RFC 9112, section 2.3.
const VERSION_BYTES: usize = b" HTTP/1.1".len();

/// Whether a line before the login belongs to an HTTP request: its first line, or the header that each request has.
pub(super) fn is_http(line: &str) -> bool {
    let line = line.trim();
    before_version(line).is_some() || line.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("host:"))
}

/// Whether the line after a login is the first line of an HTTP request: METHOD TARGET HTTP/1.1. No message is, because a name holds no
/// blanks, and neither is a command.
pub(super) fn is_request_line(line: &str) -> bool {
    let Some((method, target)) = before_version(line.trim()).and_then(|request| request.split_once(' ')) else {
        return false;
    };
    let target = target.trim_start();
    !method.is_empty() && method.bytes().all(is_token) && !target.is_empty() && !target.starts_with([':', ','])
}

/// Returns the first unread line that is not blank, if it has arrived as a whole.
pub(super) fn next_line(unread: &[u8]) -> Option<&str> {
    let mut lines = unread.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n"));
    lines.find(|line| !line.trim_ascii().is_empty()).and_then(|line| str::from_utf8(line).ok())
}

/// Returns what stands before ` HTTP/1.1`, or another version, at the end of a line.
fn before_version(line: &str) -> Option<&str> {
    let (before, version) = line.split_at_checked(line.len().checked_sub(VERSION_BYTES)?)?;
    let version = version.as_bytes();
    matches!(version, [b' ', b'H', b'T', b'T', b'P', b'/', b'0'..=b'9', b'.', b'0'..=b'9']).then_some(before)
}

/// Whether the byte may stand in a method; RFC 9110, section 5.6.2.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::protocol::plain;

    #[test]
    fn request_lines_and_host_headers_are_recognized_before_the_login() {
        for line in [
            "POST / HTTP/1.1",
            " \tPOST / HTTP/1.1 \r",
            "\u{3000}post / HTTP/1.0",
            "alice / HTTP/1.1",
            "alice POST /x?y HTTP/1.1",
            "QUERY /bob: hi HTTP/1.1",
            "PRI * HTTP/2.0",
            "Host: localhost",
            " HOST:x",
            "hOsT:",
        ] {
            assert!(is_http(line), "{line:?}");
        }
        for line in [
            "",
            "alice",
            "HTTP/1.1",
            "alice http/1.1",
            "alice HTTP/1",
            "alice HTTP/1.x",
            "alice HTTP/1.1x",
            "hos",
            "host",
            "hostess:",
        ] {
            assert!(!is_http(line), "{line:?}");
        }
    }

    #[test]
    fn only_request_lines_are_recognized_after_the_login() {
        for line in [
            "POST /x HTTP/1.1",
            " post  /a:b HTTP/1.0",
            "M-SEARCH * HTTP/1.1",
            "CONNECT bob:80 HTTP/1.1",
            "GET /x y HTTP/1.1\r",
        ] {
            assert!(is_request_line(line), "{line:?}");
        }
        for line in [
            "bob: use HTTP/1.1",
            "bob : HTTP/1.1",
            "bob :GET / HTTP/1.1",
            "bob , carol: HTTP/1.1",
            "bob, carol: HTTP/1.1",
            "#kitchen: GET / HTTP/1.1",
            "/search GET HTTP/1.1",
            "host: localhost",
            "bob HTTP/1.1",
            "bøb x HTTP/1.1",
        ] {
            assert!(!is_request_line(line), "{line:?}");
        }
    }

    #[test]
    fn next_line_is_the_first_that_is_whole_and_not_blank() {
        assert_eq!(next_line(b"\r\n \nPOST\r\nbob: hi\n"), Some("POST\r\n"));
        assert_eq!(next_line(b"\nPOST / HTTP"), None);
        assert_eq!(next_line(b""), None);
    }

    proptest! {
        #[test]
        fn no_message_and_no_command_is_a_request_line(line in "[a-c#/,: \t]{1,12}[a-c:, ]{0,4} HTTP/1\\.[01]") {
            if is_request_line(&line) {
                prop_assert!(plain::parse(&line, 256).is_some_and(|parsed| parsed.is_err()), "{line:?} is a request");
            }
        }
    }
}
