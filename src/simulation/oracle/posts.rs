//! Rows written into the table `outbox`. Owns the promise that each valid row is sent once and each invalid one is
//! refused; never the table.

use std::collections::BTreeMap;

use super::lines::{Fate, SentLine};
use super::rooms::Rooms;
use crate::simulation::disk::Disk;
use crate::store::Post;

/// Rows as their writer knows them.
#[derive(Default)]
pub(in crate::simulation) struct Posts {
    /// Rows that are neither sent nor refused.
    rows: BTreeMap<i64, Row>,
    /// Rows that were refused since the last write. A refusal alone is not synced, so a power cut may undo it.
    refused: Vec<(i64, Row)>,
    /// Lines of this turn that were sent, and whose rows are not removed yet.
    sent: Vec<usize>,
}

/// Row of the table.
#[derive(Clone, Copy, Debug)]
pub(in crate::simulation) struct Row {
    pub(in crate::simulation) says: RowContent,
    /// Step in which it was written.
    pub(in crate::simulation) written_at: u64,
}

/// Content of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::simulation) enum RowContent {
    /// Text of the line with this number.
    Line(usize),
    /// Invalid columns, to be refused with this code.
    Invalid(&'static str),
}

impl Posts {
    /// Notes that a row was written.
    pub(in crate::simulation) fn written(&mut self, row: i64, says: RowContent, step: u64) {
        self.refused.clear();
        let before = self.rows.insert(row, Row { says, written_at: step });
        assert!(before.is_none(), "the number of row {row} is in use");
    }

    /// Notes that the line of a row is in the log.
    pub(in crate::simulation) fn committed(&mut self, line: usize) {
        self.sent.push(line);
    }

    /// Checks that a row that was sent is removed.
    pub(in crate::simulation) fn sent(&mut self, post: &Post, sent: &[SentLine]) {
        let Row { says, .. } = self.rows.remove(&post.row).expect("a row is removed once");
        let RowContent::Line(line) = says else { panic!("a row with {says:?} is sent") };
        assert!(matches!(sent[line].fate, Fate::Committed(_)), "the row of line {line} is removed before it is sent");
        self.sent.retain(|other| *other != line);
    }

    /// Checks that a row is refused for a good reason. Returns the number of its line, if it had one.
    pub(in crate::simulation) fn refused(
        &mut self,
        post: &Post,
        reason: &str,
        sent: &[SentLine],
        rooms: &Rooms,
    ) -> Option<usize> {
        let row = self.rows.remove(&post.row).expect("a row is removed once");
        self.refused.push((post.row, row));
        let Row { says, written_at } = row;
        let code = reason.split_once(": ").expect("a reason begins with a code").0;
        match says {
            RowContent::Invalid(expected) => {
                assert_eq!(code, expected, "a row is refused with {reason:?}");
                None
            }
            RowContent::Line(line) => {
                let may_be_empty = |room: usize| rooms.may_have_been_empty(room, written_at, 0);
                let is_due = match code {
                    "mailbox_full" => sent[line].peers().next().is_some(),
                    "not_a_member" => sent[line].rooms().any(may_be_empty),
                    _ => false,
                };
                assert!(is_due, "the row of line {line} is refused with {reason:?}");
                Some(line)
            }
        }
    }

    /// Checks after a commit that sent rows are removed, so that they are not sent again.
    pub(in crate::simulation) fn check(&self, disk: &Disk) {
        assert!(self.sent.is_empty(), "lines {:?} are sent, and their rows are not removed", self.sent);
        assert!(
            disk.post_rows().eq(self.rows.keys().copied()),
            "the table holds the rows that are neither sent nor refused"
        );
    }

    /// Takes over the state of the disk after a restart. Returns the lines that are pending again although they were
    /// refused.
    pub(in crate::simulation) fn restarted(&mut self, disk: &Disk) -> Vec<usize> {
        let is_back = |(row, _): &(i64, Row)| disk.post_rows().any(|other| other == *row);
        // Another power cut may bring back the others.
        let (taken_back, refused) = std::mem::take(&mut self.refused).into_iter().partition::<Vec<_>, _>(is_back);
        self.refused = refused;
        self.rows.extend(taken_back.iter().copied());
        let line = |(_, row): &(i64, Row)| if let RowContent::Line(line) = row.says { Some(line) } else { None };
        self.sent.clear();
        taken_back.iter().filter_map(line).collect()
    }

    /// While nothing fails: checks that no row is left.
    pub(in crate::simulation) fn check_quiescent(&self) {
        assert!(self.rows.is_empty(), "rows {:?} are left", self.rows.keys());
    }
}
