//! Messages that somebody with a shell has written into the table `outbox`. Owns that table and `outbox_refused`; never
//! decides what becomes of a row.

use rusqlite::{Connection, Row, Statement, params};

use super::Post;
use crate::limits::{POST_BYTES_MAX, POSTS_BYTES_MAX, POSTS_MAX, REFUSED_POSTS_MAX};
use crate::message::Timestamp;

/// The tables, through statements that are prepared once.
pub(super) struct Posts<'c> {
    oldest: Statement<'c>,
    refuse: Statement<'c>,
    forget: Statement<'c>,
    remove: Statement<'c>,
}

impl<'c> Posts<'c> {
    pub(super) fn new(connection: &'c Connection) -> rusqlite::Result<Self> {
        let read = |column: &str| format!("cast(substr({column}, 1, {POST_BYTES_MAX}) as blob)");
        let [sender, recipients, text] = ["sender", "recipients", "text"].map(read);
        // Whoever wrote the row may have changed it since it was read: then it stays, and is another message.
        let is_it = format!("rowid = ?1 and {sender} is ?2 and {recipients} is ?3 and {text} is ?4");
        Ok(Posts {
            oldest: connection.prepare(&format!(
                "select rowid, {sender}, {recipients}, {text} from outbox order by rowid limit {POSTS_MAX}"
            ))?,
            refuse: connection.prepare(&format!(
                "insert into outbox_refused (at, sender, recipients, text, reason)
                 select ?5, sender, recipients, text, ?6 from outbox where {is_it}"
            ))?,
            forget: connection.prepare(&format!(
                "delete from outbox_refused where rowid <= (select max(rowid) from outbox_refused) - {REFUSED_POSTS_MAX}"
            ))?,
            remove: connection.prepare(&format!("delete from outbox where {is_it}"))?,
        })
    }

    /// The first rows, as many as one turn takes.
    pub(super) fn oldest(&mut self) -> rusqlite::Result<Vec<Post>> {
        let mut rows = self.oldest.query([])?;
        let (mut posts, mut bytes) = (Vec::new(), 0);
        while bytes < POSTS_BYTES_MAX
            && let Some(row) = rows.next()?
        {
            let post = post(row)?;
            bytes += post.bytes();
            posts.push(post);
        }
        Ok(posts)
    }

    /// It is sent, in this transaction.
    pub(super) fn remove(&mut self, post: &Post) -> rusqlite::Result<()> {
        self.remove.execute(params![post.row, post.sender, post.recipients, post.text]).map(drop)
    }

    /// It is not sent, for this reason.
    pub(super) fn refuse(&mut self, post: &Post, at: Timestamp, reason: &str) -> rusqlite::Result<()> {
        let row = params![post.row, post.sender, post.recipients, post.text, at.to_string(), reason];
        self.refuse.execute(row)?;
        self.forget.execute([])?;
        self.remove(post)
    }
}

fn post(row: &Row<'_>) -> rusqlite::Result<Post> {
    Ok(Post { row: row.get(0)?, sender: row.get(1)?, recipients: row.get(2)?, text: row.get(3)? })
}

#[cfg(test)]
mod tests {
    use rusqlite::{Connection, TransactionBehavior};
    use smol::block_on;

    use crate::config::{Durability, Retention};
    use crate::store::{FoundPosts, Store};

    #[test]
    fn while_somebody_writes_nothing_is_settled() {
        let data = tempfile::tempdir().unwrap();
        let store = Store::open(data.path(), Durability::Crash, Retention::default()).unwrap();
        let mut shell = Connection::open(data.path().join("holdline.db")).unwrap();
        let nothing = |is_settled| Ok(FoundPosts { posts: Vec::new(), is_settled });
        assert_eq!(block_on(store.posts()), nothing(true));

        let writing = shell.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
        writing.execute("insert into outbox values ('backup', 'bob', 'done')", []).unwrap();
        assert_eq!(block_on(store.posts()), nothing(false), "it may be committed already, for all that can be seen");

        writing.commit().unwrap();
        let found = block_on(store.posts()).unwrap();
        assert!(found.is_settled);
        assert_eq!(found.posts[0].text.as_deref(), Some(&b"done"[..]));
        // It was only looked at: whoever writes next may.
        shell.execute("delete from outbox", []).unwrap();
        assert_eq!(block_on(store.posts()), nothing(true));
    }
}
