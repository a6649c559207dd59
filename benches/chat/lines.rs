//! Lines that a sender writes and a receiver must read: each with a number in it, so that no two are the same. Owns
//! their form and how they become writes; never reads.

use anyhow::Result;

use crate::client::Client;

/// Bytes of a text.
pub(crate) const TEXT_BYTES: usize = 64;

/// Digits of a message's number in its text.
const NUMBER_DIGITS: usize = 10;

/// Bytes that a sender prepares for one write.
const BLOCK_BYTES: usize = 64 * 1024;

/// Lines of one sender, generated a block at a time.
pub(crate) struct Lines {
    next: Numbered,
    block: Vec<u8>,
    /// Written bytes of the block.
    written: usize,
    /// Lines generated so far, including those of the block.
    made: u32,
}

/// Line with a number in it that counts up in place.
pub(crate) struct Numbered {
    line: Vec<u8>,
    /// End of the number.
    number_end: usize,
}

impl Lines {
    /// Creates the lines that begin with this one.
    pub(crate) fn new(first: Numbered) -> Lines {
        Lines { next: first, block: Vec::new(), written: 0, made: 0 }
    }

    /// Writes until the socket takes no more, or `made_max` lines are generated. Returns true if the lines ended first.
    pub(crate) fn write_to(&mut self, sender: &mut Client, made_max: u32) -> Result<bool> {
        loop {
            let ready = self.ready(made_max);
            if ready.is_empty() {
                return Ok(true);
            }
            let written = sender.write(ready)?;
            if written == 0 {
                return Ok(false);
            }
            self.written += written;
        }
    }

    /// Bytes to write next, while no more than `made_max` lines are generated.
    fn ready(&mut self, made_max: u32) -> &[u8] {
        if self.written == self.block.len() {
            self.make_block(made_max);
        }
        &self.block[self.written..]
    }

    fn make_block(&mut self, made_max: u32) {
        self.block.clear();
        self.written = 0;
        while self.made < made_max && self.block.len() + self.next.line.len() <= BLOCK_BYTES {
            self.block.extend_from_slice(&self.next.line);
            self.next.count_up();
            self.made += 1;
        }
    }
}

impl Numbered {
    /// Creates a line with a text of [`TEXT_BYTES`] between `before` and `end`: `start`, the number 0, and padding.
    pub(crate) fn new(before: &str, start: &str, end: &str) -> Numbered {
        Numbered::sized(before, start, TEXT_BYTES, end)
    }

    /// Creates such a line with a text of another size, which has room for `start` and the number.
    pub(crate) fn sized(before: &str, start: &str, text_bytes: usize, end: &str) -> Numbered {
        let mut text = format!("{start}{:0NUMBER_DIGITS$} ", 0);
        let number_end = before.len() + start.len() + NUMBER_DIGITS;
        text.extend(('a'..='z').cycle().take(text_bytes - text.len()));
        Numbered { line: format!("{before}{text}{end}").into_bytes(), number_end }
    }

    /// Current line, with its end if it was given one.
    pub(crate) fn line(&self) -> &[u8] {
        &self.line
    }

    /// Advances to the next line.
    pub(crate) fn count_up(&mut self) {
        for digit in self.line[..self.number_end].iter_mut().rev() {
            if *digit < b'9' {
                *digit += 1;
                return;
            }
            *digit = b'0';
        }
    }
}
