//! What is written into the table `outbox`: each row that can be sent is sent once, the others are refused. Owns that promise;
//! never the table.

use std::collections::BTreeMap;

use super::lines::{Fate, Sent};
use super::rooms::Rooms;
use crate::simulation::disk::Disk;
use crate::store::Post;

/// The rows, as whoever wrote them knows them.
#[derive(Default)]
pub(in crate::simulation) struct Posts {
    /// Those that are neither sent nor refused.
    rows: BTreeMap<i64, Row>,
    /// Those that were refused since a row was written: that is no promise, and the power may take it.
    refused: Vec<(i64, Row)>,
    /// Lines of this turn that were sent, and whose rows have not gone yet.
    sent: Vec<usize>,
}

/// A row.
#[derive(Clone, Copy, Debug)]
pub(in crate::simulation) struct Row {
    pub(in crate::simulation) says: Says,
    /// When it was written.
    pub(in crate::simulation) written_at: u64,
}

/// What a row says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::simulation) enum Says {
    /// The line with this number.
    Line(usize),
    /// What cannot be sent, for a reason with this code.
    Nonsense(&'static str),
}

impl Posts {
    /// Somebody has written a row.
    pub(in crate::simulation) fn written(&mut self, row: i64, says: Says, step: u64) {
        self.refused.clear();
        let before = self.rows.insert(row, Row { says, written_at: step });
        assert!(before.is_none(), "row {row} is another's");
    }

    /// A line stands in the log.
    pub(in crate::simulation) fn committed(&mut self, line: usize) {
        self.sent.push(line);
    }

    /// A row has gone, as it was sent.
    pub(in crate::simulation) fn sent(&mut self, post: &Post, sent: &[Sent]) {
        let Row { says, .. } = self.rows.remove(&post.row).expect("a row goes once");
        let Says::Line(line) = says else { panic!("a row is sent that says {says:?}") };
        assert!(matches!(sent[line].fate, Fate::Committed(_)), "the row of line {line} goes before it is sent");
        self.sent.retain(|other| *other != line);
    }

    /// A row has gone, for this reason. Says which line it was, if it was one.
    pub(in crate::simulation) fn refused(
        &mut self,
        post: &Post,
        reason: &str,
        sent: &[Sent],
        rooms: &Rooms,
    ) -> Option<usize> {
        let row = self.rows.remove(&post.row).expect("a row goes once");
        self.refused.push((post.row, row));
        let Row { says, written_at } = row;
        let code = reason.split_once(": ").expect("a reason begins with a code").0;
        match says {
            Says::Nonsense(expected) => {
                assert_eq!(code, expected, "a row is refused with {reason:?}");
                None
            }
            Says::Line(line) => {
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

    /// A turn is committed: what was sent is not there to be sent again.
    pub(in crate::simulation) fn check(&self, disk: &Disk) {
        assert!(self.sent.is_empty(), "lines {:?} are sent, and their rows stay", self.sent);
        assert!(disk.post_rows().eq(self.rows.keys().copied()), "the rows are those that nobody has dealt with");
    }

    /// The process has died. Says which lines are to be sent though they were refused.
    pub(in crate::simulation) fn died(&mut self, disk: &Disk) -> Vec<usize> {
        let is_back = |(row, _): &(i64, Row)| disk.post_rows().any(|other| other == *row);
        // Those that are not back may be yet.
        let (taken_back, refused) = std::mem::take(&mut self.refused).into_iter().partition::<Vec<_>, _>(is_back);
        self.refused = refused;
        self.rows.extend(taken_back.iter().copied());
        let line = |(_, row): &(i64, Row)| if let Says::Line(line) = row.says { Some(line) } else { None };
        self.sent.clear();
        taken_back.iter().filter_map(line).collect()
    }

    /// Nothing fails and everything is looked at: no row is left.
    pub(in crate::simulation) fn check_calm(&self) {
        assert!(self.rows.is_empty(), "rows {:?} are left", self.rows.keys());
    }
}
