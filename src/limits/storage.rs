//! Limits of the store: the database, its write-ahead log, retention, removals, remembered ids, the table `outbox` and reads. Owns numbers only.

use super::traffic::LINE_BYTES_MAX;

/// Milliseconds that the store waits while another process writes to the database.
pub const DATABASE_BUSY_MS_MAX: u64 = 5000;

/// Messages in the tail, each counted once per recipient, from which on the next turn writes the tail into the inbox index.
pub const INDEX_LAG_ROWS_MAX: usize = 16 * 1024;

/// Messages that are read from an inbox first, before a page or a scan has taken any.
pub const INBOX_CHUNK_MESSAGES_MIN: usize = 32;

/// Messages in one row of the inbox index: with a `seq` of eight digits a row fits a page of the database.
pub const INBOX_ROW_MESSAGES_MAX: usize = 400;

/// Rows that one statement inserts.
pub const INSERT_ROWS_MAX: usize = 64;

/// Senders whose newest message the store caches; it looks up the others when they send.
pub const SENDERS_CACHED_MAX: usize = 4096;

/// Longest time in milliseconds until a moved cursor is stored. A crash of the process repeats what was delivered in that time.
pub const CURSOR_FLUSH_MS_MAX: u64 = 20;

/// Milliseconds until a failed read for a client is repeated, if no event comes before.
pub const READ_RETRY_MS: u64 = 1000;

/// Milliseconds for which something must work again before the log reports the end of its outage.
pub const OUTAGE_OVER_MS_MIN: u64 = 1000;

/// Seconds without a request after which the store returns unused memory to the system.
pub const STORE_IDLE_S: u64 = 2;

/// Requests that wait for the store: the broker has one turn in flight, and looks up names for the next.
pub const STORE_REQUESTS_MAX: usize = 2;

/// Pages of the write-ahead log from which on the store checkpoints it.
pub const CHECKPOINT_WAL_PAGES: u32 = 1000;

/// Seconds between checkpoints of a server that has nothing to do. More of them would wear out a memory card.
pub const IDLE_CHECKPOINT_S_MIN: u64 = 600;

/// Pages of the write-ahead log from which on it is checkpointed although little space is free. With fewer, the free space is not checked.
pub const CHECKPOINT_WAL_PAGES_MIN: u32 = 64;

/// Parts of the free space of the disk of which the write-ahead log takes one, unless [`CHECKPOINT_WAL_PAGES`] are less.
pub const WAL_FREE_PARTS: u64 = 8;

/// Bytes of the disk that messages leave free, so that the write-ahead log can be copied into the database file, and logins, cursors and
/// removals can be stored.
pub const DISK_RESERVE_BYTES: u64 = 512 * 1024;

/// Bytes of the write-ahead log that are rewritten at a time after a failed sync.
pub const WAL_CHUNK_BYTES: usize = 64 * 1024;

/// Bytes that the file of the write-ahead log keeps after a checkpoint.
pub const WAL_FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Messages that `holdline history` reads at a time and keeps in memory; it holds no lock while it prints them.
pub const PRINTED_MESSAGES_MAX: usize = 500;

/// Attempts to read a database that another process changes each time, without SQLite's locks.
pub const READ_ATTEMPTS_MAX: usize = 3;

/// Largest number of a message, a peer, a room or an event. Rows with larger ones were written by hand, and are passed over: the next
/// number must be free. SQL writes it as `1e18`.
pub const STORED_NUMBER_MAX: i64 = 1_000_000_000_000_000_000;

/// Symbolic links that are followed to one file, as many as Linux follows.
pub const LINKS_FOLLOWED_MAX: usize = 40;

/// Bytes of the database that `holdline doctor` caches.
pub const EXAMINATION_CACHE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Names of waiting recipients that a line of `holdline history` shows.
pub const PRINTED_NAMES_MAX: usize = 10;

/// Waiting messages, each counted once per recipient, at which counting stops: in a room with tens of thousands of members,
/// counting all would take too long.
pub const WAITING_COUNTED_MAX: u64 = 1_000_000;

/// Faults of the file, and rows with the same fault, that `holdline doctor` lists one by one.
pub const FAULTS_NAMED_MAX: usize = 10;

/// Milliseconds that the time of a message may be ahead of the clock of `holdline doctor`, as messages arrive during its check.
pub const CLOCK_AHEAD_MS_MAX: i64 = 60_000;

/// Bytes of free disk space below which `holdline doctor` warns.
pub const FREE_DISK_BYTES_LOW: u64 = 64 * 1024 * 1024;

/// Milliseconds that a step of the retention takes; during a flood it may take longer, like the turns.
pub const RETENTION_STEP_MS: u64 = 5;

/// Messages that a step of the retention removes at most, except during a flood; fewer if their removal takes longer than
/// [`RETENTION_STEP_MS`].
pub const RETENTION_STEP_MESSAGES_MAX: usize = 8192;

/// Messages that a step of the retention scans at least for each message of the turn before, so that it keeps up with a flood.
pub const RETENTION_MESSAGES_PER_MESSAGE: usize = 2;

/// Rows that the retention reads and removes before it checks the clock and the size of the database again: messages, and rows of
/// their recipients' inboxes. The last message may exceed the limit.
pub const RETENTION_CHUNK_ROWS: usize = 256;

/// Milliseconds between two steps of the retention while there are no turns.
pub const RETENTION_PAUSE_MS: u64 = 10;

/// Shortest time in seconds until the retention checks again for messages that are too old.
pub const RETENTION_CHECK_S_MIN: u64 = 1;

/// Longest time in seconds until the retention checks again, as the system's clock may have been set meanwhile.
pub const RETENTION_CHECK_S_MAX: u64 = 3600;

/// Seconds for which the server must run with a wall clock before the retention believes a time that is later than it can tell itself.
pub const CLOCK_PROOF_S: i64 = 6 * 60 * 60;

/// Seconds by which a clock may be set back, as when it is corrected over the network, and still count as the same clock.
pub const CLOCK_STEP_S_MAX: i64 = 60;

/// Shortest time in seconds between two writes of what the retention knows about the clock. A crash loses as much, and messages stay longer.
pub const CLOCK_SAVE_S: u64 = 3600;

/// Seconds by which the wall clock must be ahead of what the retention believes for the log to say so.
pub const CLOCK_LEAD_S_LOGGED: i64 = 24 * 60 * 60;

/// Shortest time in milliseconds between two passes of the retention, each of which starts at the oldest message.
pub const RETENTION_PASS_MS_MIN: u64 = 100;

/// Microseconds between two passes for each message that the first pass skipped because it waits for a recipient. Checking it again
/// takes about a hundredth of that.
pub const RETENTION_PASS_US_PER_WAITING: u64 = 100;

/// Seconds until the retention tries again after a failure.
pub const RETENTION_RETRY_S: u64 = 2;

/// Shortest time in seconds between two log lines about removed messages.
pub const RETENTION_REPORT_S_MIN: u64 = 3600;

/// Seconds after which the log reports that messages that wait hold back the retention. Messages that are just being delivered count as
/// waiting, too.
pub const RETENTION_HELD_S_MIN: u64 = 1;

/// Free pages that a step of the retention returns to the file system.
pub const RETENTION_RETURNED_PAGES: u32 = 64;

/// Free pages that a small database keeps for new messages.
pub const FREE_PAGES_MIN: u64 = 64;

/// Free pages that a large database keeps for new messages; between the two limits, one for eight pages in use.
pub const FREE_PAGES_MAX: u64 = 1024;

/// Parts of `max_size`: the last one is free of history, for messages that wait. While it fills, it is shared out by sender and source, and the
/// loudest are refused first.
pub const HEADROOM_PARTS: u64 = 8;

/// Approximate bytes of the database that a message takes besides its text, and again for each recipient.
pub const SENT_MESSAGE_BYTES: usize = 24;

/// Senders, and sources, whose bytes are counted, for a database that is full of messages that wait.
pub const LOUD_SENDERS_MAX: usize = 4096;

/// Peers that are named in the log because messages that wait for them hold back retention.
pub const HOLDERS_NAMED_MAX: usize = 3;

/// Peers whose waiting messages a pass of the retention counts.
pub const HOLDERS_COUNTED_MAX: usize = 4096;

/// Rooms, with members or without, unless the configuration says otherwise.
pub const ROOMS_DEFAULT: u64 = 10_000;

/// Ended memberships of one peer that are remembered, with several in the same room counted each. The oldest are forgotten: what was sent
/// during them is not shown any more.
pub const PAST_MEMBERSHIPS_MAX: usize = 256;

/// Rows of other tables that one step of the removal of a peer or a room removes.
pub const PURGE_STEP_ROWS_MAX: usize = 512;

/// Messages that one step of the removal of a peer or a room scans.
pub const PURGE_STEP_SCANNED_MAX: usize = 4096;

/// Work of one such step on the messages that name the peer or the room: each counts once, again for each recipient, and again for each
/// [`PURGE_WEIGHT_TEXT_BYTES`] of its text. The last message may exceed it.
pub const PURGE_STEP_WEIGHT_MAX: usize = 512;

/// Bytes of text that count as one recipient in the work of such a step.
pub const PURGE_WEIGHT_TEXT_BYTES: usize = 64;

/// Milliseconds between two such steps.
pub const PURGE_PAUSE_MS: u64 = 10;

/// Requests to remove a peer or a room that stay in the table `purge` after they are done, without their names.
pub const PURGES_DONE_MAX: i64 = 100;

/// Milliseconds after which `holdline peer remove` looks again whether the server is done.
pub const PURGE_POLL_MS: u64 = 100;

/// Polls after which it looks again whether a server still runs, and does the work itself if none does. Meanwhile a server that was killed can
/// start again.
pub const PURGE_POLLS_PER_TRY: usize = 50;

/// Rooms without members that one turn removes.
pub const EMPTIED_ROOMS_MAX: usize = 256;

/// Rooms that one peer may be a member of.
pub const ROOMS_PER_PEER_MAX: usize = 1024;

/// Message ids of one sender alone that are remembered; a share: of all senders together, four times as many.
pub const SENT_IDS_MAX: usize = 250_000;

/// Days of running time for which a message id is remembered, unless there are too many; `protocol.md`, promise 5.
pub const SENT_ID_DAYS_MAX: u64 = 30;

/// Shortest time in seconds between two writes of the running time. A crash loses as much, and ids are remembered for longer.
pub const RUNNING_SAVE_S: u64 = 3600;

/// Seconds of running time from which on a server that stops writes them.
pub const RUNNING_LAST_S_MIN: u64 = 60;

/// Old message ids that are removed for each new one, at most.
pub const SENT_IDS_REMOVED_PER_ID: usize = 2;

/// Messages sent to a client with `acks`, and not acknowledged yet, that are counted one by one; beyond that, two messages share an item.
pub const UNACKNOWLEDGED_MARKS_MAX: usize = 4096;

/// Rows of the table `outbox` that one turn sends.
pub const POSTS_MAX: usize = 256;

/// Bytes of a column of the table `outbox` that are read; a longer text is too long for a message.
pub const POST_BYTES_MAX: usize = 64 * 1024;

/// Bytes of all rows of the table `outbox` that one turn sends; the last row may exceed them.
pub const POSTS_BYTES_MAX: usize = 256 * 1024;

/// Rows of the table `outbox_refused`; older ones are removed.
pub const REFUSED_POSTS_MAX: usize = 1000;

/// Bytes of all rows of the table `outbox_refused`; the oldest above that are removed.
pub const REFUSED_POSTS_BYTES_MAX: u64 = 1024 * 1024;

/// Bytes of a column of the table `outbox_refused`; of a longer one, the start is stored.
pub const REFUSED_COLUMN_BYTES_MAX: usize = 2 * LINE_BYTES_MAX;

/// Milliseconds between two reads of the table `outbox`, each after a process has written to the database.
pub const OUTBOX_POLL_MS: u64 = 250;

/// Scans (histories, searches, counts of waiting messages) of which one turn does a slice at most.
pub const TURN_SCANS_MAX: usize = 16;

/// Scans in their first turn that go ahead of one in a later turn.
pub const FRESH_SCANS_AHEAD: usize = 3;

/// Microseconds that all reads of a turn take together; other requests wait that long. One page, one page for an observer and one slice of
/// a scan are read however long they take.
pub const READ_TURN_US: u64 = 2000;

/// Microseconds that all reads of a turn take that commits something: as long as the commit, within these limits. Clients wait for it, and a
/// session that catches up with a flood must read as fast as others send.
pub const READ_COMMIT_TURN_US_MIN: u64 = 1000;

/// See [`READ_COMMIT_TURN_US_MIN`].
pub const READ_COMMIT_TURN_US_MAX: u64 = 4000;

/// Microseconds that a scan takes in its first turn: most are done then, and a hundred others at most wait so long each.
pub const READ_FIRST_SLICE_US: u64 = 250;

/// Microseconds that a scan takes in each later turn.
pub const READ_SLICE_US: u64 = 1000;

/// Messages that a `/history NAME` reads from the inbox index at a time.
pub const HISTORY_CHUNK_MESSAGES: usize = INBOX_ROW_MESSAGES_MAX;
