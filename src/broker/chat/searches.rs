//! Searches that are not answered yet: the index that they need follows the log one step at a time, between the turns of others.
//! Owns their order; never what is found.

use std::collections::VecDeque;

use super::completion::Requester;
use crate::message::{Seq, Text};

/// Searches in the order in which they are continued.
pub(super) type Searches = VecDeque<PendingSearch>;

/// Search that is not answered yet. Its session submits nothing else meanwhile.
#[derive(Debug)]
pub(super) struct PendingSearch {
    /// Client that searches.
    pub(super) requester: Requester,
    /// Words that a message must contain.
    pub(super) words: Text,
    /// Newest message that the index must cover; `None` until the first step.
    pub(super) until: Option<Seq>,
    /// Number of messages at most.
    pub(super) count: usize,
}
