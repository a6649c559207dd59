//! Lines without a reply, in order. Owns which of them were written on this connection; never reads what they say.

use std::collections::VecDeque;

use crate::client::outgoing::line_number;
use crate::limits::{SEND_WINDOW_BYTES_MAX, SEND_WINDOW_LINES_MAX};

/// Window of lines in flight.
pub(super) struct Window {
    lines: VecDeque<PendingLine>,
    /// Number of lines that were written on this connection. They are the first ones.
    written: usize,
    /// Bytes of all lines.
    bytes: usize,
}

/// Line that has no reply yet.
struct PendingLine {
    number: u64,
    id: String,
    request: String,
}

impl Window {
    pub(super) fn new() -> Self {
        Window { lines: VecDeque::new(), written: 0, bytes: 0 }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// Whether another line fits into the window.
    pub(super) fn has_room(&self) -> bool {
        self.lines.len() < SEND_WINDOW_LINES_MAX && self.bytes < SEND_WINDOW_BYTES_MAX
    }

    /// Appends a line. Its id ends with its number.
    pub(super) fn push(&mut self, number: u64, id: String, request: String) {
        debug_assert!(self.lines.back().is_none_or(|last| last.number < number), "line numbers grow");
        debug_assert_eq!(line_number(&id), Some(number), "the id of a line ends with its number");
        self.bytes += request.len();
        self.lines.push_back(PendingLine { number, id, request });
    }

    /// Returns the first line that was not written on this connection, and marks it as written.
    pub(super) fn next_to_write(&mut self) -> Option<&str> {
        let next = self.lines.get(self.written)?;
        self.written += 1;
        Some(&next.request)
    }

    /// Removes the line with this id, which has its reply. Returns the number of the line; `None` if it is not in the window or was not
    /// written.
    pub(super) fn remove(&mut self, id: &str) -> Option<u64> {
        let number = line_number(id)?;
        let index = self.lines.binary_search_by_key(&number, |line| line.number).ok()?;
        if index >= self.written || self.lines[index].id != id {
            return None;
        }
        self.written -= 1;
        let line = self.lines.remove(index).expect("it was just found there");
        self.bytes -= line.request.len();
        Some(number)
    }

    /// Marks all lines as not written, for the next connection.
    pub(super) fn rewind(&mut self) {
        self.written = 0;
    }

    /// Returns the numbers of the first and the last line.
    pub(super) fn span(&self) -> Option<(u64, u64)> {
        Some((self.lines.front()?.number, self.lines.back()?.number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(numbers: &[u64]) -> Window {
        let mut window = Window::new();
        for number in numbers {
            window.push(*number, format!("i-{number}"), format!("line {number}"));
        }
        window
    }

    fn write_all(window: &mut Window) -> Vec<String> {
        std::iter::from_fn(|| window.next_to_write().map(str::to_owned)).collect()
    }

    #[test]
    fn lines_without_a_reply_are_written_again_in_order() {
        let mut window = window(&[1, 3, 4]);
        assert_eq!(write_all(&mut window), ["line 1", "line 3", "line 4"]);
        assert_eq!(window.remove("i-3"), Some(3));
        window.push(7, "i-7".to_owned(), "line 7".to_owned());
        assert_eq!(write_all(&mut window), ["line 7"]);
        window.rewind();
        assert_eq!(write_all(&mut window), ["line 1", "line 4", "line 7"]);
        assert_eq!(window.span(), Some((1, 7)));
    }

    #[test]
    fn only_a_written_line_is_removed_and_only_once() {
        let mut window = window(&[1, 2]);
        assert_eq!(window.remove("i-1"), None);
        write_all(&mut window);
        assert_eq!(window.remove("i-2"), Some(2));
        for other in ["i-2", "i-9", "other-1", "i", ""] {
            assert_eq!(window.remove(other), None, "{other}");
        }
        assert_eq!(window.remove("i-1"), Some(1));
        assert!(window.is_empty());
        assert_eq!(window.span(), None);
    }

    #[test]
    fn window_is_bounded_in_lines_and_in_bytes() {
        let mut window = Window::new();
        for number in 0..SEND_WINDOW_LINES_MAX {
            assert!(window.has_room());
            window.push(number as u64, format!("i-{number}"), String::new());
        }
        assert!(!window.has_room());

        let mut window = self::window(&[]);
        window.push(1, "i-1".to_owned(), "x".repeat(SEND_WINDOW_BYTES_MAX));
        assert!(!window.has_room());
        write_all(&mut window);
        assert_eq!(window.remove("i-1"), Some(1));
        assert!(window.has_room());
    }
}
