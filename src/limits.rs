//! Every bound of the server in one place, each with its unit in its name, and the relations between them checked when it
//! is compiled. Owns numbers only; never logic.

/// Characters (code points, after mapping) of a name; `protocol.md`, "Names".
pub const NAME_CHARS_MAX: usize = 32;

/// Characters of a name before it is mapped: no mapping makes one of more than four, and the library looks through a whole
/// name again for some of its characters.
pub const UNMAPPED_CHARS_MAX: usize = 4 * NAME_CHARS_MAX;

/// Characters of a value that an error repeats.
pub const QUOTED_CHARS_MAX: usize = 40;

/// Bytes of the id of a request; `protocol.md`, "JSON lines".
pub const REQUEST_ID_BYTES_MAX: usize = 64;

/// Bytes of one JSON line, its end not counted.
pub const JSON_LINE_BYTES_MAX: usize = 64 * 1024;

/// Bytes of a line of `/who` after which the next one begins.
pub const HERE_LINE_BYTES_MAX: usize = 512;

/// Bytes of one plain line, its end not counted.
pub const LINE_BYTES_MAX: usize = 8192;

/// Bytes of a Telnet subnegotiation that is skipped over; a longer one spoils its line.
pub const SUBNEGOTIATION_BYTES_MAX: usize = 1024;

/// Bytes of a room's topic, as a client sends it.
pub const TOPIC_BYTES_MAX: usize = 512;

/// Bytes of a stored text: each control character of a line (one byte) may become U+FFFD (three).
pub const TEXT_BYTES_MAX: usize = 3 * LINE_BYTES_MAX;

/// Destinations of one line, after the same name twice was made one, unless the configuration says otherwise.
pub const DESTINATIONS_DEFAULT: u64 = 256;

/// Messages that `/history` shows without a count.
pub const HISTORY_MESSAGES_DEFAULT: usize = 20;

/// Messages that one `/history` shows at most.
pub const HISTORY_MESSAGES_MAX: usize = 1000;

/// Bytes of text after which one `/history` stops.
pub const HISTORY_BYTES_MAX: usize = 256 * 1024;

/// Newest messages for a peer that one `/history NAME` scans.
pub const HISTORY_SCAN_MESSAGES_MAX: usize = 50_000;

/// Messages that a `/history NAME` reads from the inbox index at a time.
pub const HISTORY_LOOK_MESSAGES: usize = 1000;

/// Bytes of a token in the search index; of a longer word the index contains the start and a hash.
pub const SEARCH_TOKEN_BYTES_MAX: usize = 64;

/// Tokens of one search that are looked up in the search index; the other words are checked in the text of each match.
pub const SEARCH_TERMS_MAX: usize = 32;

/// Messages that one step adds to the search index.
pub const SEARCH_STEP_MESSAGES_MAX: usize = 128;

/// Bytes of text that one step adds to the search index; the last message may exceed them.
pub const SEARCH_STEP_BYTES_MAX: usize = 8 * 1024;

/// Milliseconds that one turn spends on the search index while it catches up with the log; other requests wait that long.
pub const SEARCH_TURN_MS: u64 = 8;

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

/// Free bytes that a connection's buffer has at least when it reads: most lines are shorter, and a crowd that logs in at once
/// has as many buffers. Whoever fills them gets larger ones.
pub const READ_BYTES_MIN: usize = 1024;

/// Lines of one connection that are looked at before the others have their turn.
pub const LINES_AT_ONCE_MAX: usize = 1024;

/// Bytes that one read takes at most, and so of all the lines that one connection has in the broker's hands.
pub const READ_BYTES_MAX: usize = 64 * 1024;

/// Seconds that a connection may take to log in, unless the configuration says otherwise.
pub const LOGIN_TIMEOUT_S_DEFAULT: u64 = 30;

/// Refused logins after which a connection is closed.
pub const LOGIN_REFUSALS_MAX: usize = 3;

/// Requests that one connection has in the broker's hands.
pub const BATCH_REQUESTS_MAX: usize = 1024;

/// Events in the broker's inbox, and as many again that a turn has left for the next.
pub const INBOX_EVENTS_MAX: usize = 1024;

/// Requests of one turn.
pub const TURN_REQUESTS_MAX: usize = 4096;

/// Bytes queued for one session and not yet written; what is over it stays in the log and is read from there.
pub const OUTBOX_BYTES_MAX: usize = 256 * 1024;

/// Bytes of messages that may be acknowledged together only: what a broken connection costs at most in doubles.
pub const MARK_BYTES_MAX: usize = 1024;

/// Milliseconds until the first look at what a client's system has acknowledged; it doubles while nothing moves.
pub const LOOK_MS_MIN: u64 = 2;

/// Milliseconds at most between two looks.
pub const LOOK_MS_MAX: u64 = 1000;

/// Bytes of the log that one page hands to a replaying feed.
pub const PAGE_BYTES_MAX: usize = 128 * 1024;

/// Messages of one page.
pub const PAGE_MESSAGES_MAX: usize = 2048;

/// Pages that one turn asks for, for all replaying feeds together.
pub const TURN_PAGES_MAX: usize = 256;

/// Bytes of the log in all the pages of one turn.
pub const TURN_PAGES_BYTES_MAX: usize = 1024 * 1024;

/// Peers without a session that the broker remembers; the others are looked up when they are named.
pub const ABSENT_PEERS_MAX: usize = 4096;

/// Messages that may wait for one peer, unless the configuration says otherwise.
pub const MAILBOX_MESSAGES_DEFAULT: u64 = 10_000;

/// Names that nobody ever logged in by and for which messages wait, unless the configuration says otherwise.
pub const UNKNOWN_NAMES_DEFAULT: u64 = 10_000;

/// Seconds without a sign of life from a client's system after which its connection counts as dead, unless the
/// configuration says otherwise. A system whose client does not read answers at least every two minutes: Linux'
/// TCP_RTO_MAX, between two probes of a closed window.
pub const DEAD_AFTER_S_DEFAULT: u64 = 150;

/// Probes of an idle connection that remain unanswered before it counts as dead; tcp(7), TCP_KEEPCNT.
pub const KEEPALIVE_PROBES: u32 = 3;

/// Seconds at most that the system waits before it probes an idle connection; Linux' MAX_TCP_KEEPIDLE.
pub const KEEPALIVE_S_MAX: u64 = 32_767;

/// Connections that the system may hold for us before we accept them; `listen(2)`.
pub const LISTEN_BACKLOG_CONNECTIONS: i32 = 4096;

/// Descriptors that are kept free for the database, the listeners, the signals, and those who are turned away.
pub const DESCRIPTORS_RESERVED: u64 = 32;

/// Connections over the limit that are being told so at a time; the others are closed without a word.
pub const TURNED_AWAY_CONNECTIONS_MAX: usize = 8;

/// Milliseconds until the first new attempt after `accept` failed; it doubles up to the next.
pub const ACCEPT_RETRY_MS_MIN: u64 = 10;

/// Milliseconds at most between two attempts to accept.
pub const ACCEPT_RETRY_MS_MAX: u64 = 1000;

/// Seconds without progress after which a client that ended its input gets no more of its backlog.
pub const CLOSING_STALL_S_MAX: u64 = 10;

/// Seconds that a client may take to close its side after we closed ours.
pub const LINGER_S_MAX: u64 = 2;

/// Seconds that a shutdown gives the clients to take what is queued for them.
pub const SHUTDOWN_S_MAX: u64 = 5;

/// Milliseconds that the store waits while another process writes to the database.
pub const DATABASE_BUSY_MS_MAX: u64 = 5000;

/// Messages in the tail, each counted once per recipient, from which on the next turn writes the tail into the inbox index.
pub const INDEX_LAG_ROWS_MAX: usize = 16 * 1024;

/// Messages in one row of the inbox index: with a `seq` of eight digits a row fits a page of the database.
pub const INBOX_ROW_MESSAGES_MAX: usize = 400;

/// Rows that one statement inserts.
pub const INSERT_ROWS_MAX: usize = 64;

/// Senders whose newest message the store caches; it looks up the others when they send.
pub const SENDERS_REMEMBERED_MAX: usize = 4096;

/// Milliseconds until a cursor that moved is kept: so much of what was delivered before a crash of the process may come again.
pub const KEEP_MS_MAX: u64 = 20;

/// Milliseconds until what could not be read for a client is read again, if nothing else happens before.
pub const READ_RETRY_MS: u64 = 1000;

/// Milliseconds that what failed must work again before the log calls it mended.
pub const TROUBLE_MS_MIN: u64 = 1000;

/// Seconds without a request after which the store returns unused memory to the system.
pub const REST_S: u64 = 2;

/// Requests that wait for the store: the broker has one turn in flight, and looks up names for the next.
pub const STORE_REQUESTS_MAX: usize = 2;

/// Pages of the write-ahead log from which on the store checkpoints it.
pub const CHECKPOINT_WAL_PAGES: u32 = 1000;

/// Bytes of the write-ahead log that are rewritten at a time after a failed sync.
pub const WAL_CHUNK_BYTES: usize = 64 * 1024;

/// Bytes that the file of the write-ahead log keeps after a checkpoint.
pub const WAL_FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Messages that `holdline history` reads at a time and keeps in memory; it holds no lock while it prints them.
pub const PRINTED_MESSAGES_MAX: usize = 500;

/// Attempts to read a database that another process changes each time, without SQLite's locks.
pub const READ_ATTEMPTS_MAX: usize = 3;

/// Bytes of the database that `holdline doctor` caches.
pub const EXAMINATION_CACHE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Names of waiting recipients that a line of `holdline history` shows.
pub const PRINTED_NAMES_MAX: usize = 10;

/// Waiting messages, each counted once per recipient, at which counting stops: in a room with tens of thousands of members,
/// counting all would take too long.
pub const WAITING_COUNTED_MAX: u64 = 1_000_000;

/// Faults of the file, and rows with the same fault, that `holdline doctor` lists one by one.
pub const FAULTS_NAMED_MAX: usize = 10;

/// Milliseconds that the time of a message may be ahead of the clock, as messages arrive during the check.
pub const CLOCK_AHEAD_MS_MAX: i64 = 60_000;

/// Bytes of free disk space below which `holdline doctor` warns.
pub const FREE_DISK_BYTES_LOW: u64 = 64 * 1024 * 1024;

/// Milliseconds that a step of the retention takes; during a flood it may take longer, like the turns.
pub const RETENTION_STEP_MS: u64 = 5;

/// Messages that a step of the retention scans at least for each message of the turn before, so that it keeps up with a flood.
pub const RETENTION_MESSAGES_PER_MESSAGE: usize = 2;

/// Rows that the retention reads and removes before it checks the clock and the size of the database again: messages, and rows of
/// their recipients' inboxes. The last message may exceed the limit.
pub const RETENTION_CHUNK_ROWS: usize = 256;

/// Milliseconds between two steps of the retention while there are no turns.
pub const RETENTION_PAUSE_MS: u64 = 10;

/// Shortest time in seconds until the retention checks again for messages that are too old.
pub const RETENTION_LOOK_S_MIN: u64 = 1;

/// Longest time in seconds until the retention checks again, as the system's clock may have been set meanwhile.
pub const RETENTION_LOOK_S_MAX: u64 = 3600;

/// Shortest time in milliseconds between two passes of the retention, each of which starts at the oldest message.
pub const RETENTION_PASS_MS_MIN: u64 = 100;

/// Microseconds between two passes for each message that the first pass skipped because it waits for a recipient. Checking it again
/// takes about a hundredth of that.
pub const RETENTION_PASS_US_PER_WAITING: u64 = 100;

/// Seconds until the retention tries again after a failure.
pub const RETENTION_RETRY_S: u64 = 2;

/// Shortest time in seconds between two log lines about removed messages.
pub const RETENTION_REPORT_S_MIN: u64 = 3600;

/// Seconds for which only waiting messages must be left, and exceed the size limit, before the log reports it: messages that are
/// just being delivered count as waiting, too.
pub const RETENTION_FULL_S_MIN: u64 = 1;

/// Free pages that a step of the retention returns to the file system.
pub const RETENTION_GIVE_BACK_PAGES: u32 = 64;

/// Free pages that a small database keeps for new messages.
pub const FREE_PAGES_MIN: u64 = 64;

/// Free pages that a large database keeps for new messages; between the two limits, one for eight pages in use.
pub const FREE_PAGES_MAX: u64 = 1024;

/// Rooms that there may be, with members or without, unless the configuration says otherwise.
pub const ROOMS_DEFAULT: u64 = 10_000;

/// Rooms that one peer may be in.
pub const ROOMS_PER_PEER_MAX: usize = 1024;

/// Messages in rooms whose sender a login checks to count the waiting ones; beyond that, the peer's own messages are counted, too.
pub const WAITING_LOOKED_AT_MESSAGES_MAX: usize = 10_000;

/// Message ids that are remembered, of all senders together.
pub const SENT_IDS_MAX: usize = 1_000_000;

/// Days for which a message id is remembered, unless there are too many; `protocol.md`, promise 5.
pub const SENT_ID_DAYS_MAX: i64 = 30;

/// Old message ids that are removed for each new one, at most.
pub const SENT_IDS_FORGOTTEN_PER_ID: usize = 2;

/// Messages that a client which acknowledges them was sent, and has not acknowledged, and that are known one by one; what is
/// over it is known in pairs.
pub const UNACKNOWLEDGED_MARKS_MAX: usize = 4096;

/// Rows of the table `outbox` that one turn sends.
pub const POSTS_MAX: usize = 256;

/// Bytes of a column of the table `outbox` that are read; a longer text is too long for a message.
pub const POST_BYTES_MAX: usize = 64 * 1024;

/// Bytes of all rows of the table `outbox` that one turn sends; the last row may exceed them.
pub const POSTS_BYTES_MAX: usize = 256 * 1024;

/// Rows of the table `outbox_refused`; older ones are removed.
pub const REFUSED_POSTS_MAX: usize = 1000;

/// Milliseconds between two reads of the table `outbox`, each after a process has written to the database.
pub const OUTBOX_LOOK_MS: u64 = 250;

/// Searches that one turn carries on.
pub const TURN_SEARCHES_MAX: usize = 4;

/// Bytes of the prefix of a client's ids: `-` and any line's number follow it.
pub const ID_PREFIX_BYTES_MAX: usize = REQUEST_ID_BYTES_MAX - 1 - U64_DIGITS_MAX;

/// Digits of the largest number of a line.
const U64_DIGITS_MAX: usize = 20;

/// Lines that `holdline send` has read and not yet looked at.
pub const CLIENT_INPUT_LINES_MAX: usize = 64;

/// Lines that `holdline send` has on their way to the server.
pub const SEND_WINDOW_LINES_MAX: usize = 1024;

/// Bytes of these lines; the last one may go over.
pub const SEND_WINDOW_BYTES_MAX: usize = 256 * 1024;

/// Seconds without an answer to any line after which `holdline send` gives up, unless it is told otherwise.
pub const SEND_GIVE_UP_S_DEFAULT: u64 = 60;

/// Bytes of a line from the server that a client reads.
pub const CLIENT_LINE_BYTES_MAX: usize = 256 * 1024;

/// Bytes that a client reads at once.
pub const CLIENT_READ_BYTES: usize = 16 * 1024;

/// Messages that `holdline tail` acknowledges together at most.
pub const TAIL_ACK_MESSAGES_MAX: usize = 256;

/// Seconds that a server may take for an answer before a client takes its connection for dead.
pub const SERVER_REPLY_S_MAX: u64 = 10;

/// Seconds without a word after which `holdline tail` asks the server whether it is there.
pub const TAIL_SILENCE_S_MAX: u64 = 30;

/// Milliseconds until a client connects again after its connection was lost; it doubles up to the next.
pub const CLIENT_RETRY_MS_MIN: u64 = 50;

/// Milliseconds at most between two attempts to connect.
pub const CLIENT_RETRY_MS_MAX: u64 = 5000;

/// Messages over which `holdline plugin test` runs a plugin, unless it is told otherwise.
pub const DRY_RUN_MESSAGES_DEFAULT: usize = 100;

/// Messages over which it can be told to run one.
pub const DRY_RUN_MESSAGES_MAX: usize = 10_000;

/// Plugins that `plugins.toml` may name.
pub const PLUGINS_MAX: usize = 100;

/// Commands of all plugins together.
pub const COMMANDS_MAX: usize = 100;

/// Characters of the name of a command.
pub const COMMAND_CHARS_MAX: usize = 32;

/// Characters of what `/help` says of a command of a plugin.
pub const COMMAND_HELP_CHARS_MAX: usize = 200;

/// Names of those away that a plugin is told with a message.
pub const AWAY_NAMES_MAX: usize = 256;

/// Bytes of a text that a plugin answers with.
pub const ANSWER_BYTES_MAX: usize = LINE_BYTES_MAX;

/// Milliseconds that a plugin may take for an answer, unless `timeout_ms` says otherwise.
pub const PLUGIN_TIMEOUT_MS_DEFAULT: u64 = 200;

/// Milliseconds that `timeout_ms` may be set to.
pub const PLUGIN_TIMEOUT_MS_MAX: u64 = 60_000;

/// Seconds that `tick_s` may be set to.
pub const PLUGIN_TICK_S_MAX: u64 = 7 * 24 * 60 * 60;

/// Bytes of memory that a script may take, unless `memory_max` says otherwise.
pub const SCRIPT_MEMORY_BYTES_DEFAULT: u64 = 16 * 1024 * 1024;

/// Milliseconds that a plugin has to start, before the server goes on without waiting for it.
pub const PLUGIN_START_MS_MAX: u64 = 5000;

/// Milliseconds that a plugin has to say its last words.
pub const PLUGIN_STOP_MS_MAX: u64 = 2000;

/// Milliseconds until a plugin is told again of what it failed at; it doubles up to the next.
pub const PLUGIN_RETRY_MS_MIN: u64 = 100;

/// Milliseconds at most until then.
pub const PLUGIN_RETRY_MS_MAX: u64 = 1000;

/// Bytes that a message or reply to a plugin takes of its outbox, at least.
pub const SESSION_VALUE_BYTES_MIN: usize = 64;

/// Messages to a plugin that wait for it in memory: as many as fit into an outbox.
pub const MAILS_WAITING_MAX: usize = OUTBOX_BYTES_MAX / SESSION_VALUE_BYTES_MIN;

/// Messages of one connection that a plugin is asked about together at first; as it answers, ever more, up to the next.
pub const SCREENED_MIN: usize = 16;

/// Messages of one connection that a plugin is asked about together.
pub const SCREENED_MAX: usize = 256;

/// Lists of effects of calls that decide, which wait to be done.
pub const EFFECTS_WAITING_MAX: usize = 256;

/// Bytes of a script.
pub const SCRIPT_BYTES_MAX: usize = 256 * 1024;

/// Bytes of the stack of a script's thread. Luau nests functions of its library in one another 200 deep, for which 1 MiB is just
/// enough where nothing is optimized; a stack takes the memory that it was used for.
pub const SCRIPT_STACK_BYTES: usize = 4 * 1024 * 1024;

/// Milliseconds that the top level of a script may take, unless `timeout_ms` is longer.
pub const SCRIPT_LOAD_MS: u64 = 1000;

/// Batches of calls that may wait for a script, of those that somebody waits for and of the others each.
pub const SCRIPT_BATCHES_MAX: usize = 64;

/// Milliseconds that the end of a script may take longer than the call that it has in hand.
pub const SCRIPT_END_MS_MAX: u64 = 1000;

/// Bytes of a text times bytes of the pattern that a script looks for in it: a step of the search takes up to as many
/// comparisons, and the limit of time does not see them. The longest text may be looked through for one as long.
pub const SCRIPT_SEARCH_MAX: usize = 64 * 1024 * 1024;

/// Elements that a script moves at once in a table, for the same reason.
pub const SCRIPT_MOVE_MAX: usize = 1024 * 1024;

/// Bytes of the form in which a script writes a date, for the same reason.
pub const SCRIPT_DATE_BYTES_MAX: usize = 256;

/// Lines that one call of a script may log; those over it are counted.
pub const SCRIPT_LOG_LINES_MAX: u64 = 32;

/// Characters of a script's error, as it is shown.
pub const SCRIPT_ERROR_CHARS_MAX: usize = 500;

/// Effects of one call of a plugin.
pub const EFFECTS_MAX: usize = 256;

/// Bytes of the effects of one call of a plugin.
pub const EFFECTS_BYTES_MAX: usize = 256 * 1024;

/// Values that a plugin may keep.
pub const VALUES_MAX: usize = 1000;

/// Bytes of the key of a value.
pub const VALUE_KEY_BYTES_MAX: usize = 128;

/// Bytes of a value that a plugin keeps, as JSON.
pub const VALUE_BYTES_MAX: usize = 64 * 1024;

/// Tables within tables of a value that a script keeps.
pub const VALUE_DEPTH_MAX: usize = 32;

/// Bytes of all values of a plugin together.
pub const VALUES_BYTES_MAX: usize = 1024 * 1024;

/// Calls that a process has in hand at a time.
pub const PROCESS_CALLS_MAX: usize = 256;

/// Milliseconds until a process that has ended is started again; it doubles up to the next.
pub const PROCESS_RESTART_MS_MIN: u64 = 100;

/// Milliseconds at most until a process that has ended is started again.
pub const PROCESS_RESTART_MS_MAX: u64 = 60_000;

/// Milliseconds that a process has to end by itself once it was asked to, until it is killed.
pub const PROCESS_STOP_MS_MAX: u64 = 2000;

/// Seconds that a process lives at least when it ends as one that worked, and is started again without a longer pause.
pub const PROCESS_STEADY_S_MIN: u64 = 60;

/// Seconds without any line after which a process that was asked something counts as hung, and seconds in which it must read on.
pub const PROCESS_SILENCE_S_MAX: u64 = 60;

/// Lines of a process that are looked at before the others have their turn: a quarter of a millisecond.
pub const PROCESS_LINES_AT_ONCE_MAX: usize = 128;

/// Bytes of lines that wait until a process reads, after which nothing else is asked of it; the last may go over. As many are
/// being written.
pub const PROCESS_UNWRITTEN_BYTES_MAX: usize = 256 * 1024;

/// Bytes of lines after which a process that is answered what it asked and does not read is killed; the last may go over.
pub const PROCESS_HEARD_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bytes of a process's settings as JSON: the system gives a variable of the environment 128 KiB.
pub const PROCESS_SETTINGS_BYTES_MAX: usize = 64 * 1024;

/// Bytes of one line of a process's standard error in the log; a longer one is cut.
pub const PROCESS_ERROR_LINE_BYTES_MAX: usize = 1024;

/// Lines of a process's standard error that the log takes in a second; those over it are counted.
pub const PROCESS_ERROR_LINES_PER_S_MAX: u64 = 20;

/// Bytes of a process's standard error that are read at once.
pub const PROCESS_ERROR_READ_BYTES: usize = 4 * 1024;

/// Milliseconds between two such reads while lines are left out.
pub const PROCESS_ERROR_PAUSE_MS: u64 = 1;

/// Failures of a plugin within [`PLUGIN_FAILURES_S`] after which it is quarantined.
pub const PLUGIN_FAILURES_MAX: usize = 10;

/// Seconds in which the failures of a plugin are counted.
pub const PLUGIN_FAILURES_S: u64 = 600;

/// Times that a plugin is told of the same thing, where it fails each time.
pub const OBSERVED_TRIES_MAX: u32 = 3;

/// Things that a plugin is told of together.
pub const OBSERVED_MAX: usize = 64;

/// Messages of an observer's own that one page skips.
pub const OBSERVED_SKIPPED_MAX: usize = 1024;

/// Observers for whom one turn reads.
pub const TURN_OBSERVED_MAX: usize = 8;

/// Events that are stored for plugins that have not seen them.
pub const EVENTS_MAX: usize = 100_000;

/// Events that one turn removes once all plugins have seen them, besides two for each event that it adds.
pub const EVENTS_FORGOTTEN_MAX: usize = 256;

const _: () = {
    // A row that was just written is sent within a second.
    assert!(OUTBOX_LOOK_MS < 1000);
    assert!(REQUEST_ID_BYTES_MAX < JSON_LINE_BYTES_MAX);
    // A client reads every line that the server writes: no text grows more than sixfold when it is encoded.
    assert!(CLIENT_LINE_BYTES_MAX >= 6 * TEXT_BYTES_MAX + JSON_LINE_BYTES_MAX);
    assert!(SEND_WINDOW_BYTES_MAX >= JSON_LINE_BYTES_MAX);
    assert!(CLIENT_RETRY_MS_MIN <= CLIENT_RETRY_MS_MAX);
    // A connection that died is made anew before the sender gives up.
    assert!(2 * SERVER_REPLY_S_MAX < SEND_GIVE_UP_S_DEFAULT);
    assert!(RETENTION_MESSAGES_PER_MESSAGE >= 2);
    assert!(RETENTION_LOOK_S_MIN <= RETENTION_LOOK_S_MAX);
    assert!(FREE_PAGES_MIN <= FREE_PAGES_MAX);
    assert!(READ_BYTES_MIN <= READ_BYTES_MAX);
    // Every batch fits the half of a turn that is left for the floods.
    assert!(BATCH_REQUESTS_MAX <= TURN_REQUESTS_MAX / 2);
    // An outbox with room for a page always has room for one more message of any size afterwards.
    assert!(PAGE_BYTES_MAX + TEXT_BYTES_MAX <= OUTBOX_BYTES_MAX);
    assert!(HISTORY_MESSAGES_DEFAULT <= HISTORY_MESSAGES_MAX);
    assert!(LOOK_MS_MIN <= LOOK_MS_MAX);
    // The start of a long word fits beside its hash.
    assert!(SEARCH_TOKEN_BYTES_MAX >= 32);
    assert!(SEARCH_REFUSED_MESSAGES_MIN <= SEARCH_SCAN_MESSAGES_MAX);
    // A client that acknowledges as seldom as we look still makes progress when it is closed.
    assert!(LOOK_MS_MAX < 1000 * CLOSING_STALL_S_MAX);
    assert!(ACCEPT_RETRY_MS_MIN <= ACCEPT_RETRY_MS_MAX);
    assert!(SCREENED_MIN <= SCREENED_MAX && SCREENED_MAX <= PROCESS_CALLS_MAX);
    assert!(PROCESS_RESTART_MS_MIN <= PROCESS_RESTART_MS_MAX);
    // What a process asks waits before what it is answered is too much.
    assert!(2 * PROCESS_UNWRITTEN_BYTES_MAX <= PROCESS_HEARD_BYTES_MAX);
    // The write-ahead log can grow to its full size before `holdline doctor` calls the free space low.
    assert!(WAL_FILE_BYTES_MAX < FREE_DISK_BYTES_LOW);
    // A message can be looked through for any word of a message.
    assert!(LINE_BYTES_MAX * LINE_BYTES_MAX <= SCRIPT_SEARCH_MAX);
    assert!(VALUE_BYTES_MAX + VALUE_KEY_BYTES_MAX <= EFFECTS_BYTES_MAX);
};
