//! The ids that senders give their messages: which message has which. Owns promise 5, that none is sent twice; never how a sender
//! is told.

use std::collections::HashMap;

use super::lines::Sent;
use crate::message::RequestId;
use crate::store::SendId;

/// All ids.
pub(in crate::simulation) struct Ids {
    /// Ids that were given, by their number: the lines that have each.
    lines: Vec<Vec<usize>>,
    /// The line that was committed last with an id, and how many ids were committed before.
    holders: HashMap<usize, (usize, usize)>,
    /// How many lines with ids were committed.
    committed: usize,
    /// Ids that the store remembers.
    remembered_max: usize,
}

/// The id with this number.
pub(in crate::simulation) fn request_id(number: usize) -> RequestId {
    RequestId::parse(&format!("id {number}")).expect("it is short")
}

impl Ids {
    pub(in crate::simulation) fn new(remembered_max: usize) -> Self {
        Ids { lines: Vec::new(), holders: HashMap::new(), committed: 0, remembered_max }
    }

    /// A new id, for this line.
    pub(in crate::simulation) fn give(&mut self, line: usize) -> usize {
        self.lines.push(vec![line]);
        self.lines.len() - 1
    }

    /// An id is used for another line.
    pub(in crate::simulation) fn reuse(&mut self, id: usize, line: usize) {
        self.lines[id].push(line);
    }

    /// A message stands in the log with this id.
    pub(in crate::simulation) fn committed(&mut self, line: usize, id: Option<&SendId>, sent: &[Sent]) {
        let given = sent[line].id;
        assert_eq!(id.map(|id| &id.id), given.map(request_id).as_ref(), "line {line} has another id");
        let Some(given) = given else { return };
        if let Some((holder, number)) = self.holders.insert(given, (line, self.committed)) {
            let since = self.committed - number;
            assert!(
                since >= self.remembered_max,
                "line {line} is sent, and line {holder} with the same id was, {since} before"
            );
        }
        self.committed += 1;
    }

    /// Whether a line is refused for its id: another one was sent with it last; or none was, and another was about to be and has
    /// failed since then.
    pub(in crate::simulation) fn is_anothers(&self, line: usize, step: u64, sent: &[Sent]) -> bool {
        let Some(id) = sent[line].id else { return false };
        match self.holders.get(&id) {
            Some((holder, _)) => *holder != line,
            None => self.lines[id].iter().any(|other| *other != line && sent[*other].failed_at >= step),
        }
    }
}
