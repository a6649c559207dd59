//! Tables `outbox` and `outbox_refused`. Owns their rows; never decides what becomes of one.

use std::collections::BTreeMap;

use crate::limits::{POSTS_BYTES_MAX, POSTS_MAX, REFUSED_COLUMN_BYTES_MAX, REFUSED_POSTS_BYTES_MAX, REFUSED_POSTS_MAX};
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

    fn refused_bytes(&self) -> u64 {
        self.refused.iter().map(|(post, reason)| (post.bytes() + reason.len()) as u64).sum()
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
        self.refused.extend(reason.map(|reason| (refused(post), reason.clone())));
        while self.refused.len() > REFUSED_POSTS_MAX || self.refused_bytes() > REFUSED_POSTS_BYTES_MAX {
            self.refused.remove(0);
        }
    }
}

/// Row as it is stored when it is refused. The long columns of the simulation are ASCII.
fn refused(post: &Post) -> Post {
    let shortened = |column: &Option<Vec<u8>>| {
        let mut bytes = column.clone()?;
        if bytes.len() > REFUSED_COLUMN_BYTES_MAX {
            bytes.truncate(REFUSED_COLUMN_BYTES_MAX);
            bytes.extend_from_slice("…".as_bytes());
        }
        Some(bytes)
    };
    let Post { sender, recipients, text, .. } = post;
    Post { row: 0, sender: shortened(sender), recipients: shortened(recipients), text: shortened(text) }
}
