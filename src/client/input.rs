//! The lines that a program wants sent, read by a thread of their own, so that a slow input holds nothing up. Owns what a line
//! of the input is; never knows where it goes.

use std::io::{self, BufRead, BufReader, Read};
use std::thread;

use async_channel::{Receiver, Sender};

use super::wire::Refusal;
use crate::limits::{CLIENT_INPUT_LINES_MAX, LINE_BYTES_MAX};

/// Lines as they come, the blank ones left out.
pub struct Input(pub(super) Receiver<Line>);

/// A line of the input.
pub struct Line {
    /// Its number; the first is 1, and blank ones count.
    pub(super) number: u64,
    /// What it says, without its end, or why it cannot be sent.
    pub(super) text: Result<String, Refusal>,
}

impl Input {
    /// This text alone, as line 1; it may be of several lines itself.
    pub fn of_text(text: String) -> Self {
        let (sender, receiver) = async_channel::bounded(1);
        let sent = sender.try_send(Line::new(1, text.into_bytes()));
        debug_assert!(sent.is_ok(), "there is room for one line");
        Input(receiver)
    }

    /// Every line of this, as it comes.
    pub fn read(from: impl Read + Send + 'static) -> io::Result<Self> {
        let (sender, receiver) = async_channel::bounded(CLIENT_INPUT_LINES_MAX);
        thread::Builder::new().name("input".into()).spawn(move || read_lines(BufReader::new(from), &sender))?;
        Ok(Input(receiver))
    }
}

impl Line {
    fn new(number: u64, bytes: Vec<u8>) -> Self {
        let text = if bytes.len() > LINE_BYTES_MAX {
            Err(Refusal::new("too_long", format!("it is longer than {LINE_BYTES_MAX} bytes")))
        } else {
            String::from_utf8(bytes).map_err(|_| Refusal::new("not_utf8", "it is not UTF-8"))
        };
        Line { number, text }
    }

    fn is_blank(&self) -> bool {
        self.text.as_ref().is_ok_and(|text| text.trim().is_empty())
    }
}

/// Reads until the input ends, or until nobody wants more.
fn read_lines(mut from: impl BufRead, lines: &Sender<Line>) {
    for number in 1.. {
        let line = match read_line(&mut from) {
            Ok(Some(bytes)) => Line::new(number, bytes),
            Ok(None) => return,
            Err(error) => {
                let unreadable = Refusal::new("unreadable", format!("the input cannot be read ({error})"));
                let _ = lines.send_blocking(Line { number, text: Err(unreadable) });
                return;
            }
        };
        if !line.is_blank() && lines.send_blocking(line).is_err() {
            return;
        }
    }
}

/// The next line without its end; of one that is too long no more than shows that it is.
fn read_line(from: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    // A carriage return before the end is not part of the line.
    const KEPT_BYTES_MAX: usize = LINE_BYTES_MAX + 2;
    let mut line = Vec::new();
    let mut is_empty = true;
    loop {
        let bytes = match from.fill_buf() {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if bytes.is_empty() {
            return Ok((!is_empty).then_some(line));
        }
        is_empty = false;
        let end = memchr::memchr(b'\n', bytes);
        let part = &bytes[..end.unwrap_or(bytes.len())];
        line.extend_from_slice(&part[..part.len().min(KEPT_BYTES_MAX - line.len())]);
        let used = part.len() + usize::from(end.is_some());
        from.consume(used);
        if end.is_some() {
            if line.len() < KEPT_BYTES_MAX && line.last() == Some(&b'\r') {
                line.pop();
            }
            return Ok(Some(line));
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn read(input: Vec<u8>) -> Vec<(u64, Result<String, String>)> {
        let Input(lines) = Input::read(io::Cursor::new(input)).unwrap();
        let lines = std::iter::from_fn(move || lines.recv_blocking().ok());
        lines.map(|line| (line.number, line.text.map_err(|refusal| refusal.to_string()))).collect()
    }

    fn check(input: &[u8], expected: Expect) {
        expected.assert_eq(&format!("{:?}", read(input.to_vec())));
    }

    #[test]
    fn lines_are_numbered_and_blank_ones_left_out() {
        check(b"one\n\n \t\r\n  two \r\nlast", expect![[r#"[(1, Ok("one")), (4, Ok("  two ")), (5, Ok("last"))]"#]]);
        check(b"", expect!["[]"]);
        check(b"\n", expect!["[]"]);
    }

    #[test]
    fn a_line_that_is_not_utf8_is_told() {
        check(b"\xff\nok\n", expect![[r#"[(1, Err("not_utf8: it is not UTF-8")), (2, Ok("ok"))]"#]]);
    }

    #[test]
    fn a_line_may_have_8192_bytes_and_its_return() {
        let longest = "x".repeat(LINE_BYTES_MAX);
        assert_eq!(read(format!("{longest}\r\n{longest}").into_bytes()), [(1, Ok(longest.clone())), (2, Ok(longest))]);
    }

    #[test]
    fn a_line_that_is_too_long_is_told_and_the_next_one_read() {
        let refusal = Err("too_long: it is longer than 8192 bytes".to_owned());
        for longer in [1, 2, 3, 100_000] {
            let input = format!("{}\nok\n", "x".repeat(LINE_BYTES_MAX + longer));
            assert_eq!(read(input.into_bytes()), [(1, refusal.clone()), (2, Ok("ok".to_owned()))], "{longer}");
        }
    }
}
