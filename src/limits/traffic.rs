//! Limits of what goes over the wire and through the broker: lines, names, connections, outboxes, turns, passwords. Owns numbers only.

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

// A client that is alive and does not read stays connected, although the system's long timers are late by up to a tenth.
const _: () = assert!(DEAD_AFTER_S_DEFAULT > WINDOW_PROBE_S_MAX + WINDOW_PROBE_S_MAX / 10);
