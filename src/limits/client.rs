//! Limits of `holdline send`, `holdline tail` and their queue. Owns numbers only.

use super::traffic::REQUEST_ID_BYTES_MAX;

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
