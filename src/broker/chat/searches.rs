//! Searches that are not answered yet. The search index catches up with the log in steps, one in each turn, so a search may take several
//! turns. Owns the order of the searches; never what is found.

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
    /// Maximum number of messages.
    pub(super) count: usize,
}
