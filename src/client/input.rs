//! Lines that a program wants to send. A thread reads them, so that a slow input delays nothing else. Owns what a line of the input
//! is; never sends one.

use std::io::{self, BufRead, BufReader, Read};
use std::thread;

use async_channel::{Receiver, Sender};

use super::outgoing::{AddressedText, Addressing, IdPrefix};
use crate::limits::{CLIENT_INPUT_LINES_MAX, LINE_BYTES_MAX};
use crate::wire::ErrorFrame;

/// Source of the lines to send, with growing numbers; it leaves out blank lines.
#[derive(Clone)]
pub struct LineSource(pub(super) Receiver<InputLine>);

/// Beginning of the ids of the lines, and recipients.
pub struct LineForm {
    /// Recipients of the lines.
    pub addressing: Addressing,
    /// Beginning of the lines' ids.
    pub ids: IdPrefix,
}

/// A line of the input.
pub(super) struct InputLine {
    /// Number of the line. The first is 1, and blank lines count.
    pub(super) number: u64,
    /// Id with which the line is sent; it ends with the number.
    pub(super) id: String,
    /// Message of the line, or the reason why the line cannot be sent.
    pub(super) message: Result<AddressedText, ErrorFrame>,
}

impl LineSource {
    /// Returns a source of one line, `text`. The text may contain newlines.
    pub fn of_text(text: String, form: &LineForm) -> Self {
        let (sender, receiver) = async_channel::bounded(1);
        let sent = sender.try_send(InputLine::new(1, check(text.into_bytes()), form));
        debug_assert!(sent.is_ok(), "the channel has room for one line");
        LineSource(receiver)
    }

    /// Returns a source of all lines of `input`. Fails if no thread can be started.
    pub fn read(input: impl Read + Send + 'static, form: LineForm) -> io::Result<Self> {
        let (sender, receiver) = async_channel::bounded(CLIENT_INPUT_LINES_MAX);
        let read = move || read_lines(BufReader::new(input), &form, &sender);
        thread::Builder::new().name("input".into()).spawn(read)?;
        Ok(LineSource(receiver))
    }
}

impl InputLine {
    fn new(number: u64, text: Result<String, ErrorFrame>, form: &LineForm) -> Self {
        InputLine { number, id: form.ids.id(number), message: text.and_then(|text| form.addressing.address(text)) }
    }
}

/// Returns the text of a line. Fails if no message can contain it.
fn check(line: Vec<u8>) -> Result<String, ErrorFrame> {
    if line.len() > LINE_BYTES_MAX {
        return Err(ErrorFrame::new("too_long", format!("the line is longer than {LINE_BYTES_MAX} bytes")));
    }
    String::from_utf8(line).map_err(|_| ErrorFrame::new("not_utf8", "the line is not UTF-8"))
}

/// Reads until the input ends, or until the receiver is dropped.
fn read_lines(mut input: impl BufRead, form: &LineForm, lines: &Sender<InputLine>) {
    for number in 1.. {
        let text = match read_line(&mut input) {
            Ok(Some(line)) => check(line),
            Ok(None) => return,
            Err(error) => {
                let unreadable = ErrorFrame::new("unreadable", format!("cannot read the input ({error})"));
                let _ = lines.send_blocking(InputLine::new(number, Err(unreadable), form));
                return;
            }
        };
        let is_blank = text.as_ref().is_ok_and(|text| text.trim().is_empty());
        if !is_blank && lines.send_blocking(InputLine::new(number, text, form)).is_err() {
            return;
        }
    }
}

/// Reads the next line without its end, `\n` or `\r\n`. Of a line that is too long it returns only as much as shows that.
fn read_line(input: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    const READ_BYTES_MAX: usize = LINE_BYTES_MAX + 2;
    let mut line = Vec::new();
    if input.by_ref().take(READ_BYTES_MAX as u64).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.pop_if(|last| *last == b'\n').is_some() {
        line.pop_if(|last| *last == b'\r');
    } else if line.len() == READ_BYTES_MAX {
        input.skip_until(b'\n')?;
    }
    Ok(Some(line))
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;

    fn read(input: Vec<u8>) -> Vec<(u64, Result<String, String>)> {
        let form = LineForm { addressing: Addressing::To(Vec::new()), ids: IdPrefix::random() };
        let LineSource(lines) = LineSource::read(io::Cursor::new(input), form).unwrap();
        let lines = std::iter::from_fn(move || lines.recv_blocking().ok());
        let text = |line: InputLine| line.message.map(|message| message.text).map_err(|error| error.to_string());
        lines.map(|line| (line.number, text(line))).collect()
    }

    fn check(input: &[u8], expected: Expect) {
        expected.assert_eq(&format!("{:?}", read(input.to_vec())));
    }

    #[test]
    fn lines_are_numbered_and_blank_lines_left_out() {
        check(b"one\n\n \t\r\n  two \r\nlast", expect![[r#"[(1, Ok("one")), (4, Ok("  two ")), (5, Ok("last"))]"#]]);
        check(b"", expect!["[]"]);
        check(b"\n", expect!["[]"]);
    }

    #[test]
    fn line_that_is_not_utf8_is_an_error() {
        check(b"\xff\nok\n", expect![[r#"[(1, Err("not_utf8: the line is not UTF-8")), (2, Ok("ok"))]"#]]);
    }

    #[test]
    fn line_has_up_to_8192_bytes_without_its_carriage_return() {
        let longest = "x".repeat(LINE_BYTES_MAX);
        assert_eq!(read(format!("{longest}\r\n{longest}").into_bytes()), [(1, Ok(longest.clone())), (2, Ok(longest))]);
    }

    #[test]
    fn line_that_is_too_long_is_an_error_and_the_next_line_is_read() {
        let error = Err("too_long: the line is longer than 8192 bytes".to_owned());
        for longer in [1, 2, 3, 100_000] {
            for end in ["\n", "\r\n"] {
                let input = format!("{}{end}ok\n", "x".repeat(LINE_BYTES_MAX + longer));
                assert_eq!(read(input.into_bytes()), [(1, error.clone()), (2, Ok("ok".to_owned()))], "{longer}");
            }
        }
    }
}
