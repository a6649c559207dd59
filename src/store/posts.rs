//! The table `outbox`, into which other processes insert messages to send, and `outbox_refused`, which lists those that could
//! not be sent. Owns the SQL on both; never decides whether a row is sent.

use rusqlite::{Connection, Row, Statement, params};

use super::Post;
use crate::database::column::integer;
use crate::database::words::size;
use crate::limits::{
    POST_BYTES_MAX, POSTS_BYTES_MAX, POSTS_MAX, REFUSED_COLUMN_BYTES_MAX, REFUSED_POSTS_BYTES_MAX, REFUSED_POSTS_MAX,
};
use crate::message::Timestamp;

/// Prepared statements on the tables `outbox` and `outbox_refused`.
pub(super) struct Posts<'c> {
    oldest: Statement<'c>,
    refuse: Statement<'c>,
    newest_refused: Statement<'c>,
    remove_refused: Statement<'c>,
    remove: Statement<'c>,
}

impl<'c> Posts<'c> {
    pub(super) fn new(connection: &'c Connection) -> rusqlite::Result<Self> {
        let read = |column: &str| format!("cast(substr({column}, 1, {POST_BYTES_MAX}) as blob)");
        let [sender, recipients, text] = ["sender", "recipients", "text"].map(read);
        // A column that is too long is stored as it was shortened.
        let kept = |column: &str, shortened: &str| {
            format!("iif(octet_length({column}) > {REFUSED_COLUMN_BYTES_MAX}, {shortened}, {column})")
        };
        let [kept_sender, kept_recipients, kept_text] =
            [kept("sender", "?7"), kept("recipients", "?8"), kept("text", "?9")];
        // A row that was changed since it was read is a different message, and stays.
        let is_unchanged = format!("rowid = ?1 and {sender} is ?2 and {recipients} is ?3 and {text} is ?4");
        Ok(Posts {
            oldest: connection.prepare(&format!(
                "select rowid, {sender}, {recipients}, {text} from outbox order by rowid limit {POSTS_MAX}"
            ))?,
            refuse: connection.prepare(&format!(
                "insert into outbox_refused (at, sender, recipients, text, reason)
                 select ?5, {kept_sender}, {kept_recipients}, {kept_text}, ?6 from outbox where {is_unchanged}"
            ))?,
            newest_refused: connection.prepare(
                "select rowid, coalesce(octet_length(sender), 0) + coalesce(octet_length(recipients), 0)
                     + coalesce(octet_length(text), 0) + octet_length(reason)
                 from outbox_refused order by rowid desc",
            )?,
            remove_refused: connection.prepare("delete from outbox_refused where rowid <= ?1")?,
            remove: connection.prepare(&format!("delete from outbox where {is_unchanged}"))?,
        })
    }

    /// Reads the first rows, as many as one turn sends.
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

    /// Removes a row, in the transaction that logs its message.
    pub(super) fn remove(&mut self, post: &Post) -> rusqlite::Result<()> {
        self.remove.execute(params![post.row, post.sender, post.recipients, post.text]).map(drop)
    }

    /// Moves a row to `outbox_refused`, with the reason why it is not sent.
    pub(super) fn refuse(&mut self, post: &Post, at: Timestamp, reason: &str) -> rusqlite::Result<()> {
        let [sender, recipients, text] = [&post.sender, &post.recipients, &post.text].map(shortened);
        let Post { row, sender: old_sender, recipients: old_recipients, text: old_text } = post;
        let at = at.to_string();
        self.refuse.execute(params![
            row,
            old_sender,
            old_recipients,
            old_text,
            at,
            reason,
            sender,
            recipients,
            text
        ])?;
        self.remove(post)
    }

    /// Removes the oldest rows of `outbox_refused` above its limits. Must be called after rows were moved there, in their transaction.
    pub(super) fn trim_refused(&mut self) -> rusqlite::Result<()> {
        let (mut rows, mut bytes) = (0, 0);
        let mut newest = self.newest_refused.query([])?;
        while let Some(row) = newest.next()? {
            rows += 1;
            bytes += integer(row, 1)?.cast_unsigned();
            if rows > REFUSED_POSTS_MAX || bytes > REFUSED_POSTS_BYTES_MAX {
                let last: i64 = row.get(0)?;
                drop(newest);
                let removed = self.remove_refused.execute([last])?;
                log::warn!(
                    "outbox_refused is full: its oldest rows are removed, {removed} now; it stores {REFUSED_POSTS_MAX} rows and {}",
                    size(REFUSED_POSTS_BYTES_MAX)
                );
                return Ok(());
            }
        }
        Ok(())
    }
}

/// Returns the start of a column that is longer than `outbox_refused` stores it, with an ellipsis; `None` if it has a permitted length.
fn shortened(column: &Option<Vec<u8>>) -> Option<String> {
    let bytes = column.as_ref().filter(|bytes| bytes.len() > REFUSED_COLUMN_BYTES_MAX)?;
    let text = String::from_utf8_lossy(&bytes[..REFUSED_COLUMN_BYTES_MAX]);
    // The cut may be within a character.
    Some(format!("{}…", text.trim_end_matches('\u{fffd}')))
}

fn post(row: &Row<'_>) -> rusqlite::Result<Post> {
    Ok(Post { row: row.get(0)?, sender: row.get(1)?, recipients: row.get(2)?, text: row.get(3)? })
}

#[cfg(test)]
mod tests {
    use rusqlite::{Connection, TransactionBehavior};
    use smol::block_on;

    use crate::config::{Durability, Retention};
    use crate::store::{FoundPosts, Store, StoreOptions};

    #[test]
    fn rows_are_not_settled_while_another_process_writes() {
        let data = tempfile::tempdir().unwrap();
        let store = Store::open(data.path(), StoreOptions::new(Durability::Crash, Retention::default())).unwrap();
        let mut shell = Connection::open(data.path().join("holdline.db")).unwrap();
        let nothing = |is_settled| Ok(FoundPosts { posts: Vec::new(), purge: None, is_settled });
        assert_eq!(block_on(store.posts()), nothing(true));

        let writing = shell.transaction_with_behavior(TransactionBehavior::Immediate).unwrap();
        writing.execute("insert into outbox values ('backup', 'bob', 'done')", []).unwrap();
        assert_eq!(block_on(store.posts()), nothing(false), "the row may be committed without being visible yet");

        writing.commit().unwrap();
        let found = block_on(store.posts()).unwrap();
        assert!(found.is_settled);
        assert_eq!(found.posts[0].text.as_deref(), Some(&b"done"[..]));
        // Reading the rows leaves no lock behind.
        shell.execute("delete from outbox", []).unwrap();
        assert_eq!(block_on(store.posts()), nothing(true));
    }
}
