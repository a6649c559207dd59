//! Limits of the server and its clients, each with its unit in its name. The relations between them are checked when the crate is
//! compiled. Owns numbers only; never logic.

/// Characters of a name, as code points after the mapping; `protocol.md`, "Names".
pub const NAME_CHARS_MAX: usize = 32;

/// Characters of a name before the mapping. No mapping turns more than four characters into one, and the library scans the whole
/// name again for some characters, so that a longer name would cost much.
pub const UNMAPPED_NAME_CHARS_MAX: usize = 4 * NAME_CHARS_MAX;

/// Characters of a value that an error quotes.
pub const QUOTED_CHARS_MAX: usize = 40;

/// Bytes of a request id; `protocol.md`, "JSON lines".
pub const REQUEST_ID_BYTES_MAX: usize = 64;

/// Bytes of one JSON line, without its end.
pub const JSON_LINE_BYTES_MAX: usize = 64 * 1024;

/// Bytes of names after which a part of a list ends, and the next one waits until this one is written; the last name may exceed them.
pub const LIST_PART_BYTES: usize = OUTBOX_BYTES_MIN;

/// Bytes of one line of `/who`, after which the next line begins.
pub const WHO_LINE_BYTES_MAX: usize = 512;

/// Bytes of one plain line, without its end.
pub const LINE_BYTES_MAX: usize = 8192;

/// Bytes of one line before the login, in every protocol. A stranger can open many connections, and an unfinished line stays in memory.
pub const LOGIN_LINE_BYTES_MAX: usize = 8192;

/// Bytes of a Telnet subnegotiation that is skipped; a longer one makes its line invalid.
pub const SUBNEGOTIATION_BYTES_MAX: usize = 1024;

/// Bytes of a room's topic, as a client sends it.
pub const TOPIC_BYTES_MAX: usize = 512;

/// Bytes of a stored text: each control character of a line (one byte) may become U+FFFD (three), and other hidden characters are longer.
pub const TEXT_BYTES_MAX: usize = 3 * LINE_BYTES_MAX;

/// Destinations of one line without duplicates, unless the configuration says otherwise.
pub const DESTINATIONS_DEFAULT: u64 = 256;

/// Messages that `/history` shows without a count.
pub const HISTORY_MESSAGES_DEFAULT: usize = 20;

/// Messages that one `/history` shows at most.
pub const HISTORY_MESSAGES_MAX: usize = 1000;

/// Bytes of messages after which one `/history` stops, as they are encoded and with their recipients; the last message may exceed them. A
/// thousand messages of 300 letters fit.
pub const HISTORY_BYTES_MAX: usize = 512 * 1024;

/// Newest messages for a peer that one `/history NAME` scans.
pub const HISTORY_SCAN_MESSAGES_MAX: usize = 50_000;

/// Messages that a `/history NAME` reads from the inbox index at a time.
pub const HISTORY_CHUNK_MESSAGES: usize = INBOX_ROW_MESSAGES_MAX;

/// Messages of the log that a history scans at a time for those of one sender.
pub const HISTORY_WINDOW_MESSAGES: usize = 256;

/// Bytes of a token in the search index; of a longer word the index contains the start and a hash.
pub const SEARCH_TOKEN_BYTES_MAX: usize = 64;

/// Tokens of one search that are looked up in the search index; the other words are checked in the text of each match.
pub const SEARCH_TERMS_MAX: usize = 32;

/// Messages that one step adds to the search index.
pub const SEARCH_STEP_MESSAGES_MAX: usize = 128;

/// Bytes of text that one step adds to the search index; the last message may exceed them.
pub const SEARCH_STEP_BYTES_MAX: usize = 8 * 1024;

/// Words of one search.
pub const SEARCH_WORDS_MAX: usize = 128;

/// Peers and rooms that one query of the search index names: a query for all rooms of a peer that is in a thousand takes tens of
/// milliseconds.
pub const SEARCH_GROUP_RECIPIENTS: usize = 32;

/// Microseconds that a search may spend in the search index without a result. Words that are frequent and never occur in the same message
/// make the index read all of them.
pub const SEARCH_QUERY_US_MAX: u64 = 3000;

/// Times that a search is interrupted for that before it looks up only one of its words in the index. A repeated query gets further if the
/// disk is what takes the time.
pub const SEARCH_INTERRUPTS_MAX: u32 = 16;

/// Microseconds that one turn spends on the search index while it catches up with the log; other requests wait that long.
pub const SEARCH_TURN_US: u64 = 2000;

/// Pages of the search index that FTS5 merges in one step. A full step adds two pages, and in a long log each page is merged six
/// to eight times; with a lower limit, FTS5 would have to merge many pages at once in the end.
pub const SEARCH_STEP_MERGE_PAGES: usize = 16;

/// Pages of the search index that FTS5 merges when messages are removed. The messages of one removal took about two pages, and
/// the marks of their removal take as many until a merge drops both.
pub const SEARCH_REMOVAL_MERGE_PAGES: usize = 8;

/// Matches in the search index that one `/search` scans.
pub const SEARCH_SCAN_MESSAGES_MAX: usize = 20_000;

/// Matches from before the peer joined their room, after which a search queries the index again, without the rooms that the peer
/// joined too late; doubles each time.
pub const SEARCH_REFUSED_MESSAGES_MIN: usize = 256;

/// Free bytes of a connection's buffer before a read. Most lines are shorter, and a crowd that logs in at once has as many
/// buffers. A client that fills its buffer gets a larger one.
pub const READ_BYTES_MIN: usize = 1024;

/// Lines of one connection that are parsed before other connections have their turn.
pub const LINES_AT_ONCE_MAX: usize = 1024;

/// Bytes of one read, and so of all the lines of one connection that the broker is handling.
pub const READ_BYTES_MAX: usize = 64 * 1024;

/// Seconds that a connection may take to log in, unless the configuration says otherwise.
pub const LOGIN_TIMEOUT_S_DEFAULT: u64 = 30;

/// Refused names and passwords after which a connection is closed.
pub const LOGIN_REFUSALS_MAX: usize = 3;

/// Requests of one connection in one batch, which the broker handles at a time. A message counts once for each [`WEIGHT_DESTINATIONS`] and for each
/// [`WEIGHT_TEXT_BYTES`] of its text; a single message may exceed the limit.
pub const BATCH_REQUESTS_MAX: usize = 1024;

/// Destinations of a message that weigh as much as a request. The larger a turn, the less each takes: the bytes of several messages are
/// written to a client at once.
pub const WEIGHT_DESTINATIONS: usize = 16;

/// Bytes of a message's text that take as long as some more destinations.
pub const WEIGHT_TEXT_BYTES: usize = 256;

/// Bytes of a reply to a request, about: an error, or a notice.
pub const WEIGHT_REPLY_BYTES: usize = 256;

/// Events in the broker's inbox. As many again may be left over from a turn.
pub const INBOX_EVENTS_MAX: usize = 1024;

/// Requests of one turn, counted as those of a batch.
pub const TURN_REQUESTS_MAX: usize = 4096;

/// Bytes that are queued for one session and not written yet. What exceeds them stays in the log, and the session replays it.
/// As many as fit, if all outboxes together hold much.
pub const OUTBOX_BYTES_MAX: usize = 256 * 1024;

/// Bytes that one session may always have queued, however much all outboxes hold; a single message may exceed them.
pub const OUTBOX_BYTES_MIN: usize = 16 * 1024;

/// Bytes in all outboxes together, histories that are being read included. A session may queue as many as are free, within the two limits
/// above.
pub const OUTBOXES_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Bytes of messages that are acknowledged together. A broken connection repeats no more than these.
pub const MARK_BYTES_MAX: usize = 1024;

/// Milliseconds until the first poll of what a client's system has acknowledged; doubles while nothing is.
pub const ACK_POLL_MS_MIN: u64 = 2;

/// Longest time in milliseconds between two such polls.
pub const ACK_POLL_MS_MAX: u64 = 1000;

/// Bytes of a password.
pub const PASSWORD_BYTES_MAX: usize = 256;

/// Memory that hashing one password takes, in KiB. See `auth/hashing.rs` for the choice of these three.
pub const PASSWORD_HASH_KIB: u32 = 7168;

/// Passes over that memory.
pub const PASSWORD_HASH_PASSES: u32 = 5;

/// Threads that may hash one password.
pub const PASSWORD_HASH_LANES: u32 = 1;

/// Passwords that wait to be hashed.
pub const PASSWORDS_WAITING_MAX: usize = 256;

/// Passwords of one source that wait to be hashed.
pub const PASSWORDS_WAITING_PER_SOURCE_MAX: usize = 4;

/// Wrong passwords from which on the next one must wait.
pub const PENALTY_FREE_FAILURES: u32 = 3;

/// Longest time in seconds that the next password must wait after wrong ones, and the time after which these are forgotten.
pub const PENALTY_S_MAX: u64 = 300;

/// Sources, and names, whose wrong passwords are remembered.
pub const PENALTIES_REMEMBERED_MAX: usize = 10_000;

/// Seconds between two looks at the files of the certificate.
pub const TLS_FILES_POLL_S: u64 = 10;

/// Bytes that the TLS state of a connection holds before they fit into the socket, and before the handshake is done.
pub const TLS_BUFFER_BYTES_MAX: usize = 64 * 1024;

/// Bytes that a message counts for in a page, besides its text and names: the keys of a frame, the number and the time.
pub const MESSAGE_OVERHEAD_BYTES: usize = 160;

/// Bytes that each name in a list counts for, besides its letters: its memory.
pub const NAME_OVERHEAD_BYTES: usize = 40;

/// Bytes of the messages in one page for a replaying session, as they are encoded and with their recipients; the last message may exceed them.
pub const PAGE_BYTES_MAX: usize = 128 * 1024;

/// Messages of one page.
pub const PAGE_MESSAGES_MAX: usize = 2048;

/// Pages that one turn reads for all replaying sessions.
pub const TURN_PAGES_MAX: usize = 256;

/// Bytes of the messages in all pages of one turn, counted as in one page.
pub const TURN_PAGES_BYTES_MAX: usize = 1024 * 1024;

/// Milliseconds after the announcement that a peer came online or went offline, until the next one about the same peer.
pub const PRESENCE_MS: u64 = 1000;

/// Deliveries of one turn: its messages, each counted once for each session that gets it. Those of a single request may exceed them.
pub const TURN_DELIVERIES_MAX: usize = 8192;

/// Sessions that get a message which never waits for the deliveries of others: a name with some devices, or a few names.
pub const FEW_RECEIVERS_MAX: usize = 4;

/// Names that are looked up for one turn; those of a single request may exceed them.
pub const TURN_LOOKUPS_MAX: usize = 512;

/// Microseconds that the lookups of peers for one turn may take; other requests wait that long. The rest are looked up for the next turn.
pub const LOOKUP_TURN_US: u64 = 2000;

/// Offline peers that the broker caches; it looks up the others when they are named.
pub const OFFLINE_PEERS_CACHED_MAX: usize = 4096;

/// Messages that may wait for one peer, unless the configuration says otherwise.
pub const MAILBOX_MESSAGES_DEFAULT: u64 = 10_000;

/// Messages of a room that may wait for one of its members, unless the configuration says otherwise.
pub const ROOM_WAITING_MESSAGES_DEFAULT: u64 = 10_000;

/// Parts of [`ROOM_WAITING_MESSAGES_DEFAULT`] and of its configured value: each time that one more of them waits, the floor of the room is
/// raised. A floor that was raised with each message would be written with each message.
pub const FLOOR_STEPS: u64 = 8;

/// Parts of `max_size`: the messages of one room that may wait for a member take one of them at most.
pub const ROOM_WAITING_PARTS: u64 = 4;

/// Messages of a room whose size is read to estimate the bytes of all that wait, once after a start.
pub const FLOOR_SAMPLE_MESSAGES: usize = 64;

/// Messages by which a floor is raised at once because of their bytes.
pub const FLOOR_STEP_MESSAGES_MAX: usize = 4096;

/// Rooms for which the store caches how many messages they have above their floors; it counts the others when they get a message.
pub const FLOORS_CACHED_MAX: usize = 16 * 1024;

/// Messages in a full mailbox whose senders are read when its peer is looked up: an estimate of who filled it is enough.
pub const MAILBOX_SAMPLE_MESSAGES: usize = 64;

/// Names that never logged in and that messages wait for, unless the configuration says otherwise.
pub const UNKNOWN_NAMES_DEFAULT: u64 = 10_000;

/// Seconds without a sign of life from a client's system after which its connection counts as dead, unless the configuration says
/// otherwise. The system of a client that does not read still answers probes of its closed window.
pub const DEAD_AFTER_S_DEFAULT: u64 = 150;

/// Longest time in seconds between two probes of a closed window; Linux' TCP_RTO_MAX.
const WINDOW_PROBE_S_MAX: u64 = 120;

/// Unanswered probes of an idle connection after which it counts as dead; tcp(7), TCP_KEEPCNT.
pub const KEEPALIVE_PROBES: u32 = 3;

/// Longest time in seconds until the system probes an idle connection; Linux' MAX_TCP_KEEPIDLE.
pub const KEEPALIVE_S_MAX: u64 = 32_767;

/// Connections that the system queues until the server accepts them; listen(2).
pub const LISTEN_BACKLOG_CONNECTIONS: i32 = 4096;

/// Descriptors that stay free for the database, the listeners, the signals, and connections that are rejected.
pub const DESCRIPTORS_RESERVED: u64 = 32;

/// Open connections, unless the configuration says otherwise: a LAN party with a phone and a computer for each of a thousand people.
pub const CONNECTIONS_DEFAULT: u64 = 2048;

/// Open connections from one address, unless the configuration says otherwise: half a LAN party behind one router, and a fourth of
/// all connections.
pub const CONNECTIONS_PER_ADDRESS_DEFAULT: u64 = 512;

/// Connections that one address may open in a second, unless the configuration says otherwise. A shell loop that runs `nc` for each
/// message opens about 200 while it has burst left.
pub const CONNECTS_PER_S_DEFAULT: u64 = 100;

/// Seconds of connects that one address may make at once after a pause.
pub const CONNECT_BURST_S: u64 = 4;

/// Seconds that a connection of an address that connects too fast waits until it is served; beyond that, it is refused.
pub const CONNECT_DELAY_S_MAX: u64 = 10;

/// Addresses without connections whose rate of connects is remembered.
pub const SOURCES_REMEMBERED_MAX: usize = 4096;

/// Connections over the limit that are sent the reason at a time; more are closed without a word.
pub const REJECTED_CONNECTIONS_MAX: usize = 8;

/// Milliseconds until the next attempt after `accept` failed; doubles with each failure.
pub const ACCEPT_RETRY_MS_MIN: u64 = 10;

/// Longest time in milliseconds between two attempts to accept.
pub const ACCEPT_RETRY_MS_MAX: u64 = 1000;

/// Seconds without progress after which a client that has ended its input gets no more of its backlog.
pub const CLOSING_STALL_S_MAX: u64 = 10;

/// Seconds that a client may take to close its side after the server closed its own.
pub const LINGER_S_MAX: u64 = 2;

/// Seconds that a shutdown gives clients to read what is queued for them.
pub const SHUTDOWN_S_MAX: u64 = 5;

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

/// Bytes of the prefix of a client's ids: a `-` and any line number follow it.
pub const ID_PREFIX_BYTES_MAX: usize = REQUEST_ID_BYTES_MAX - 1 - U64_DIGITS_MAX;

/// Digits of the largest line number.
const U64_DIGITS_MAX: usize = 20;

/// Lines that `holdline send` has read and not processed yet.
pub const CLIENT_INPUT_LINES_MAX: usize = 64;

/// Lines of `holdline send` in flight.
pub const SEND_WINDOW_LINES_MAX: usize = 1024;

/// Bytes of the lines in flight; the last line may exceed them.
pub const SEND_WINDOW_BYTES_MAX: usize = 256 * 1024;

/// Seconds without a reply to any line after which `holdline send` gives up, unless `--timeout` says otherwise.
pub const SEND_GIVE_UP_S_DEFAULT: u64 = 60;

/// Bytes of the database of a queue of `holdline send`.
pub const QUEUE_BYTES_MAX: i64 = 256 * 1024 * 1024;

/// Messages that are read from a queue at a time.
pub const QUEUE_READ_LINES_MAX: usize = 256;

/// Milliseconds between two looks for new messages in a queue that is drained.
pub const QUEUE_POLL_MS: u64 = 200;

/// Bytes of a line of the server that a client reads.
pub const CLIENT_LINE_BYTES_MAX: usize = 256 * 1024;

/// Bytes of a client's read buffer.
pub const CLIENT_READ_BYTES: usize = 16 * 1024;

/// Messages that `holdline tail` acknowledges together.
pub const TAIL_ACK_MESSAGES_MAX: usize = 256;

/// Microseconds until `holdline tail` looks whether the reader of its pipe has read a message; doubles while it has not.
pub const PIPE_POLL_US_MIN: u64 = 20;

/// Longest time in milliseconds between two such looks.
pub const PIPE_POLL_MS_MAX: u64 = 5;

/// Seconds without a reply after which a client takes its connection for dead, if the server's system does not acknowledge anything either.
pub const SERVER_REPLY_S_MAX: u64 = 10;

/// Seconds without a reply after which a client connects again although the server's system is alive: the server may have stopped.
pub const SLOW_REPLY_S_MAX: u64 = 300;

/// Seconds without a line after which `holdline tail` sends a ping.
pub const TAIL_SILENCE_S_MAX: u64 = 30;

/// Milliseconds until a client reconnects after it lost its connection; doubles with each failure.
pub const CLIENT_RETRY_MS_MIN: u64 = 50;

/// Longest time in milliseconds between two attempts to connect.
pub const CLIENT_RETRY_MS_MAX: u64 = 5000;

/// Messages that `holdline plugin test` runs a plugin over, unless `--last` says otherwise.
pub const DRY_RUN_MESSAGES_DEFAULT: usize = 100;

/// Largest value of `--last` of `holdline plugin test`.
pub const DRY_RUN_MESSAGES_MAX: usize = 10_000;

/// Plugins that `plugins.toml` may list.
pub const PLUGINS_MAX: usize = 100;

/// Commands of all plugins together.
pub const COMMANDS_MAX: usize = 100;

/// Characters of the name of a command.
pub const COMMAND_CHARS_MAX: usize = 32;

/// Characters of a plugin command's line in `/help`.
pub const COMMAND_HELP_CHARS_MAX: usize = 200;

/// Names of offline recipients that a plugin gets with a message.
pub const AWAY_NAMES_MAX: usize = 256;

/// Bytes of a text in a plugin's reply.
pub const ANSWER_BYTES_MAX: usize = LINE_BYTES_MAX;

/// Milliseconds that a plugin may take for a reply, unless `timeout_ms` says otherwise.
pub const PLUGIN_TIMEOUT_MS_DEFAULT: u64 = 200;

/// Largest value of `timeout_ms`.
pub const PLUGIN_TIMEOUT_MS_MAX: u64 = 60_000;

/// Largest value of `tick_s`: a week.
pub const PLUGIN_TICK_S_MAX: u64 = 7 * 24 * 60 * 60;

/// Bytes of memory that a script may use, unless `memory_max` says otherwise.
pub const SCRIPT_MEMORY_BYTES_DEFAULT: u64 = 16 * 1024 * 1024;

/// Milliseconds that the server waits for a plugin to start.
pub const PLUGIN_START_MS_MAX: u64 = 5000;

/// Milliseconds that a plugin may take for its hook `stop`.
pub const PLUGIN_STOP_MS_MAX: u64 = 2000;

/// Milliseconds until a failed notification is repeated; doubles with each failure.
pub const PLUGIN_RETRY_MS_MIN: u64 = 100;

/// Longest time in milliseconds until a failed notification is repeated.
pub const PLUGIN_RETRY_MS_MAX: u64 = 1000;

/// Bytes that a message or reply to a plugin takes of its outbox, at least.
pub const SESSION_VALUE_BYTES_MIN: usize = 64;

/// Messages for a plugin that wait in memory: as many as an outbox holds, since each takes at least 64 bytes of it.
pub const PLUGIN_MAILS_MAX: usize = OUTBOX_BYTES_MAX / SESSION_VALUE_BYTES_MIN;

/// Messages of one connection that a plugin filters in one batch at first; grows while the plugin replies.
pub const FILTER_MESSAGES_MIN: usize = 16;

/// Messages of one connection that a plugin filters in one batch.
pub const FILTER_MESSAGES_MAX: usize = 256;

/// Lists of effects of deciding hooks that wait to be performed.
pub const EFFECTS_WAITING_MAX: usize = 256;

/// Bytes of a script's source.
pub const SCRIPT_BYTES_MAX: usize = 256 * 1024;

/// Bytes of the stack of a script's thread. Luau nests functions of its library up to 200 deep; unoptimised code needs nearly 1
/// MiB for that. Only the used part of a stack takes memory.
pub const SCRIPT_STACK_BYTES: usize = 4 * 1024 * 1024;

/// Milliseconds that the top level of a script may take, unless `timeout_ms` is longer.
pub const SCRIPT_LOAD_MS_MAX: u64 = 1000;

/// Batches of calls that wait for a script: as many that a client waits for, and as many others.
pub const SCRIPT_BATCHES_MAX: usize = 64;

/// Milliseconds that a script may need to end, beyond the timeout of its current call.
pub const SCRIPT_END_MS_MAX: u64 = 1000;

/// Bytes of a text times bytes of the pattern that a script searches in it. One step of the search may take that many
/// comparisons, which the time limit does not interrupt. The longest text may be searched for a pattern of the same length.
pub const SCRIPT_SEARCH_STEPS_MAX: usize = 64 * 1024 * 1024;

/// Elements that a script moves in a table at once; the time limit does not interrupt that either.
pub const SCRIPT_MOVED_ELEMENTS_MAX: usize = 1024 * 1024;

/// Bytes of the format in which a script writes a date; the time limit does not interrupt that either.
pub const SCRIPT_DATE_BYTES_MAX: usize = 256;

/// Lines that one call of a script may log; the rest is only counted.
pub const SCRIPT_LOG_LINES_MAX: u64 = 32;

/// Characters of the reason why a plugin failed.
pub const FAILURE_CHARS_MAX: usize = 500;

/// Bytes of a script's error that leave its VM.
pub const SCRIPT_ERROR_BYTES_MAX: usize = 4 * FAILURE_CHARS_MAX;

/// Bytes of the table that a script returns: as many as a program's answer may have.
pub const SCRIPT_ANSWER_BYTES_MAX: usize = JSON_LINE_BYTES_MAX;

/// Effects of one call of a plugin.
pub const EFFECTS_MAX: usize = 256;

/// Bytes of the effects of one call of a plugin.
pub const EFFECTS_BYTES_MAX: usize = 256 * 1024;

/// Values that a plugin may store.
pub const VALUES_MAX: usize = 1000;

/// Bytes of the key of a stored value.
pub const VALUE_KEY_BYTES_MAX: usize = 128;

/// Bytes of a stored value as JSON.
pub const VALUE_BYTES_MAX: usize = 64 * 1024;

/// Tables within tables of a value that a script stores or returns.
pub const VALUE_DEPTH_MAX: usize = 32;

/// Bytes of all stored values of a plugin.
pub const VALUES_BYTES_MAX: usize = 1024 * 1024;

/// Calls of a process in flight.
pub const PROCESS_CALLS_MAX: usize = 256;

/// Milliseconds until a process that has ended is restarted; doubles with each failure.
pub const PROCESS_RESTART_MS_MIN: u64 = 100;

/// Longest time in milliseconds until a process is restarted.
pub const PROCESS_RESTART_MS_MAX: u64 = 60_000;

/// Milliseconds that a process has to end after the request to stop, before it is killed.
pub const PROCESS_STOP_MS_MAX: u64 = 2000;

/// Milliseconds between two searches for what a process has left behind; doubles with each.
pub const PROCESS_SEARCH_MS_MIN: u64 = 1;

/// Longest time in milliseconds between two such searches.
pub const PROCESS_SEARCH_MS_MAX: u64 = 50;

/// Milliseconds between two attempts to wait for adopted processes while a program of a plugin must be waited for first.
pub const REAP_RETRY_MS: u64 = 10;

/// Seconds of running after which a process that ends counts as one that worked, and is restarted without a longer delay.
pub const PROCESS_STEADY_S_MIN: u64 = 60;

/// Seconds without a line after which a process with an open call counts as hung, and within which it must read its input.
pub const PROCESS_SILENCE_S_MAX: u64 = 60;

/// Lines of a process that are parsed before others have their turn: about a quarter of a millisecond.
pub const PROCESS_LINES_AT_ONCE_MAX: usize = 128;

/// Bytes of lines that wait to be written to a process, beyond which it gets no further calls; the last line may exceed them. As
/// many bytes are being written.
pub const PROCESS_UNWRITTEN_BYTES_MAX: usize = 256 * 1024;

/// Bytes of unread replies after which a process that does not read them is killed; the last line may exceed them.
pub const PROCESS_UNREAD_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bytes of a process's settings as JSON. The system allows an environment variable 128 KiB.
pub const PROCESS_SETTINGS_BYTES_MAX: usize = 64 * 1024;

/// Bytes at the start of a script in which the system finds its interpreter; execve(2).
pub const PROCESS_INTERPRETER_BYTES_MAX: u64 = 256;

/// Bytes of the names and values of a process's `env`.
pub const PROCESS_ENVIRONMENT_BYTES_MAX: usize = 64 * 1024;

/// Processes and threads of the user of a process, unless `processes_max` says otherwise and if the process has a user of its own.
pub const PROCESS_USER_PROCESSES_DEFAULT: u64 = 256;

/// Processes and threads of the user that the server and its processes share, unless `processes_max` says otherwise. A desktop has
/// up to two thousand.
pub const PROCESS_SHARED_PROCESSES_DEFAULT: u64 = 4096;

/// Bytes of one line of a process's standard error in the log; a longer line is cut.
pub const PROCESS_ERROR_LINE_BYTES_MAX: usize = 1024;

/// Lines of a process's standard error that are logged in a second; the rest is only counted.
pub const PROCESS_ERROR_LINES_PER_S_MAX: u64 = 20;

/// Bytes of one read of a process's standard error.
pub const PROCESS_ERROR_READ_BYTES: usize = 4 * 1024;

/// Milliseconds between two such reads while lines are left out.
pub const PROCESS_ERROR_PAUSE_MS: u64 = 1;

/// Failures of a plugin within [`PLUGIN_FAILURES_S`] after which it is quarantined.
pub const PLUGIN_FAILURES_MAX: usize = 10;

/// Seconds in which the failures of a plugin are counted.
pub const PLUGIN_FAILURES_S: u64 = 600;

/// Attempts to notify a plugin of the same event.
pub const OBSERVATION_ATTEMPTS_MAX: u32 = 3;

/// Events that a plugin is notified of together.
pub const OBSERVATIONS_MAX: usize = 64;

/// Messages of an observer's own that one page skips.
pub const OBSERVED_SKIPPED_MAX: usize = 1024;

/// Observers that one turn reads for.
pub const TURN_OBSERVERS_MAX: usize = 8;

/// Events that are stored for plugins that have not seen them.
pub const EVENTS_MAX: usize = 100_000;

/// Events that one turn removes once all plugins have seen them, besides two for each event that it adds.
pub const EVENTS_REMOVED_MAX: usize = 256;

const _: () = {
    assert!(READ_FIRST_SLICE_US <= READ_SLICE_US && READ_SLICE_US <= READ_TURN_US);
    assert!(READ_COMMIT_TURN_US_MIN <= READ_COMMIT_TURN_US_MAX);
    // A new row of the table `outbox` is sent within a second.
    assert!(OUTBOX_POLL_MS < 1000);
    // A client that is alive and does not read stays connected, although the system's long timers are late by up to a tenth.
    assert!(DEAD_AFTER_S_DEFAULT > WINDOW_PROBE_S_MAX + WINDOW_PROBE_S_MAX / 10);
    // The start of a column that is too long is read, and the newest refused row fits, with its reason.
    assert!(REFUSED_COLUMN_BYTES_MAX < POST_BYTES_MAX);
    assert!(4 * REFUSED_COLUMN_BYTES_MAX < REFUSED_POSTS_BYTES_MAX as usize);
    assert!(REQUEST_ID_BYTES_MAX < JSON_LINE_BYTES_MAX);
    // A client reads every line that the server writes: no text grows more than sixfold when it is encoded.
    assert!(CLIENT_LINE_BYTES_MAX >= 6 * TEXT_BYTES_MAX + JSON_LINE_BYTES_MAX);
    assert!(SEND_WINDOW_BYTES_MAX >= JSON_LINE_BYTES_MAX);
    assert!(CLIENT_RETRY_MS_MIN <= CLIENT_RETRY_MS_MAX);
    assert!(SLOW_REPLY_S_MAX * 1000 > 2 * PLUGIN_TIMEOUT_MS_MAX);
    // A dead connection is replaced before the sender gives up.
    assert!(2 * SERVER_REPLY_S_MAX < SEND_GIVE_UP_S_DEFAULT);
    assert!(RETENTION_MESSAGES_PER_MESSAGE >= 2);
    assert!(RETENTION_CHUNK_ROWS <= RETENTION_STEP_MESSAGES_MAX);
    assert!(RETENTION_CHECK_S_MIN <= RETENTION_CHECK_S_MAX);
    assert!(FREE_PAGES_MIN <= FREE_PAGES_MAX);
    assert!(READ_BYTES_MIN <= READ_BYTES_MAX);
    // The replies to a batch fit about into an outbox.
    assert!(BATCH_REQUESTS_MAX == OUTBOX_BYTES_MAX / WEIGHT_REPLY_BYTES);
    // Every batch fits into the half of a turn that floods may use.
    assert!(BATCH_REQUESTS_MAX <= TURN_REQUESTS_MAX / 2);
    // An outbox with room for a page has room for one more message of any size after it.
    assert!(PAGE_BYTES_MAX + TEXT_BYTES_MAX <= OUTBOX_BYTES_MAX);
    assert!(PAGE_BYTES_MAX == OUTBOX_BYTES_MAX / 2);
    assert!(OUTBOX_BYTES_MIN <= OUTBOX_BYTES_MAX && OUTBOX_BYTES_MAX <= OUTBOXES_BYTES_MAX);
    assert!(HISTORY_MESSAGES_DEFAULT <= HISTORY_MESSAGES_MAX);
    assert!(ACK_POLL_MS_MIN <= ACK_POLL_MS_MAX);
    // The start of a long word fits beside its hash.
    assert!(SEARCH_TOKEN_BYTES_MAX >= 32);
    assert!(SEARCH_REFUSED_MESSAGES_MIN <= SEARCH_SCAN_MESSAGES_MAX);
    // A client whose acknowledgements are polled most seldom still makes progress while it is closed.
    assert!(ACK_POLL_MS_MAX < 1000 * CLOSING_STALL_S_MAX);
    assert!(ACCEPT_RETRY_MS_MIN <= ACCEPT_RETRY_MS_MAX);
    assert!(FILTER_MESSAGES_MIN <= FILTER_MESSAGES_MAX && FILTER_MESSAGES_MAX <= PROCESS_CALLS_MAX);
    assert!(PROCESS_RESTART_MS_MIN <= PROCESS_RESTART_MS_MAX);
    assert!(PROCESS_SEARCH_MS_MIN <= PROCESS_SEARCH_MS_MAX);
    // Requests of a process are held back before its unread replies are too many.
    assert!(2 * PROCESS_UNWRITTEN_BYTES_MAX <= PROCESS_UNREAD_BYTES_MAX);
    // What is written without a check between two checkpoints fits into the reserve.
    assert!(2 * CHECKPOINT_WAL_PAGES_MIN as u64 * 4096 <= DISK_RESERVE_BYTES);
    // The write-ahead log can grow to its full size before `holdline doctor` calls the free space low.
    assert!(WAL_FILE_BYTES_MAX < FREE_DISK_BYTES_LOW);
    // A script can search any message for any other.
    assert!(LINE_BYTES_MAX * LINE_BYTES_MAX <= SCRIPT_SEARCH_STEPS_MAX);
    assert!(VALUE_BYTES_MAX + VALUE_KEY_BYTES_MAX <= EFFECTS_BYTES_MAX);
};
