//! Ids that senders give their messages. Owns promise 5, that a message with an id is sent once; never how a sender is
//! answered.

use std::collections::HashMap;

use super::lines::SentLine;
use crate::message::RequestId;
use crate::store::SendId;

/// All ids.
pub(in crate::simulation) struct MessageIds {
    /// Messages with each id, by the number of the id.
    lines: Vec<Vec<usize>>,
    /// Newest committed message with each id, and how many ids of its sender were committed before it.
    holders: HashMap<usize, (usize, usize)>,
    /// Number of messages with ids that were committed, of each sender.
    committed: HashMap<usize, usize>,
}

/// Returns the id with this number.
pub(in crate::simulation) fn request_id(number: usize) -> RequestId {
    RequestId::parse(&format!("id {number}")).expect("the id is short")
}

impl MessageIds {
    pub(in crate::simulation) fn new() -> Self {
        MessageIds { lines: Vec::new(), holders: HashMap::new(), committed: HashMap::new() }
    }

    /// Gives a message a new id. Returns its number.
    pub(in crate::simulation) fn give(&mut self, line: usize) -> usize {
        self.lines.push(vec![line]);
        self.lines.len() - 1
    }

    /// Gives a message the id of another one.
    pub(in crate::simulation) fn reuse(&mut self, id: usize, line: usize) {
        self.lines[id].push(line);
    }

    /// Checks and notes the id of a committed message.
    pub(in crate::simulation) fn committed(&mut self, line: usize, id: Option<&SendId>, sent: &[SentLine]) {
        let given = sent[line].id;
        assert_eq!(id.map(|id| &id.id), given.map(request_id).as_ref(), "line {line} has another id");
        let Some(given) = given else { return };
        let committed = self.committed.entry(sent[line].sender).or_default();
        if let Some((holder, number)) = self.holders.insert(given, (line, *committed)) {
            // A sender forgets an id only for others of its own.
            let since = *committed - number;
            assert!(
                since > 1,
                "line {line} is committed, and so was line {holder} with the same id, {since} ids before"
            );
        }
        *committed += 1;
    }

    /// Whether a message may be refused for its id: another one was committed with the id; or none was, and another one
    /// with the id has failed since this step.
    pub(in crate::simulation) fn belongs_to_another(&self, line: usize, step: u64, sent: &[SentLine]) -> bool {
        let Some(id) = sent[line].id else { return false };
        match self.holders.get(&id) {
            Some((holder, _)) => *holder != line,
            None => self.lines[id].iter().any(|other| *other != line && sent[*other].failed_at >= step),
        }
    }
}
