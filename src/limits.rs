//! Limits of the server and its clients, each with its unit in its name, by area. Here are the relations between them, which are checked when
//! the crate is compiled. Owns numbers only; never logic.

mod client;
mod plugin;
mod storage;
mod traffic;

pub use self::client::*;
pub use self::plugin::*;
pub use self::storage::*;
pub use self::traffic::*;

const _: () = {
    assert!(READ_FIRST_SLICE_US <= READ_SLICE_US && READ_SLICE_US <= READ_TURN_US);
    assert!(READ_COMMIT_TURN_US_MIN <= READ_COMMIT_TURN_US_MAX);
    // A new row of the table `outbox` is sent within a second.
    assert!(OUTBOX_POLL_MS < 1000);
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
