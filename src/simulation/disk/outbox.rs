//! Tables `outbox` and `outbox_refused`. Owns their rows; never decides what becomes of one.

use std::collections::BTreeMap;

use crate::limits::{POSTS_BYTES_MAX, POSTS_MAX, REFUSED_POSTS_MAX};
use crate::store::{Entry, Post};

/// Rows of both tables.
#[derive(Clone, Default)]
pub(super) struct Outbox {
    rows: BTreeMap<i64, Post>,
    /// Rows that were refused, without their numbers, each with the reason.
    pub(super) refused: Vec<(Post, String)>,
}

impl Outbox {
    pub(super) fn rows(&self) -> impl Iterator<Item = i64> {
        self.rows.keys().copied()
    }

    /// Returns as many rows as a turn takes.
    pub(super) fn oldest(&self) -> Vec<Post> {
        let (mut posts, mut bytes) = (Vec::new(), 0);
        for post in self.rows.values().take(POSTS_MAX) {
            if bytes >= POSTS_BYTES_MAX {
                break;
            }
            bytes += [&post.sender, &post.recipients, &post.text].into_iter().flatten().map(Vec::len).sum::<usize>();
            posts.push(post.clone());
        }
        posts
    }

    /// Inserts a row. As in SQLite, a number is used again once its row and all rows after it are removed.
    pub(super) fn insert(&mut self, row: impl FnOnce(i64) -> Post) -> i64 {
        let number = self.rows.keys().next_back().map_or(1, |last| last + 1);
        self.rows.insert(number, row(number));
        number
    }

    /// Applies an entry.
    pub(super) fn apply(&mut self, entry: &Entry) {
        let (post, reason) = match entry {
            Entry::OutboxSent(post) => (post, None),
            Entry::OutboxRefused { post, reason, .. } => (post, Some(reason)),
            _ => unreachable!("the entry is for these tables"),
        };
        let removed = self.rows.remove(&post.row);
        assert_eq!(removed.as_ref(), Some(&**post), "the row is the one that was read");
        self.refused.extend(reason.map(|reason| (Post { row: 0, ..(**post).clone() }, reason.clone())));
        let too_many = self.refused.len().saturating_sub(REFUSED_POSTS_MAX);
        self.refused.drain(..too_many);
    }
}
