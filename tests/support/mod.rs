//! Helpers of the black-box tests: servers, clients whose failures are readable, chats written as transcripts, and
//! floods of numbered messages. Owns deadlines; never looks inside the server.

#![allow(dead_code, unused_imports, reason = "each test file uses a part of it")]

#[cfg(target_os = "linux")]
pub(crate) mod bad_line;
mod chat;
mod client;
mod gauge;
#[cfg(target_os = "linux")]
pub(crate) mod hosts;
mod json;
mod lines;
mod pair;
mod process;
#[cfg(target_os = "linux")]
pub(crate) mod residents;
mod server;

use std::thread;
use std::time::{Duration, Instant};

pub(crate) use self::chat::chat;
pub(crate) use self::client::TestClient;
#[cfg(target_os = "linux")]
pub(crate) use self::client::connect_from;
pub(crate) use self::gauge::{
    descriptors, forget_peak, peak_kib, resident_kib, wait_for_descriptors, wait_until_at_rest,
};
pub(crate) use self::json::JsonClient;
pub(crate) use self::lines::{LARGE_FLOOD, LARGE_PADDING, assert_contiguous, flood, flood_number, is_notice, messages};
pub(crate) use self::pair::Pair;
pub(crate) use self::process::{Output, Program, installed, wait_for_exit};
pub(crate) use self::server::{TestServer, holdline, holdline_with, refusal};

/// Time limit for everything. Only failing tests reach it; no test waits for it to pass.
const DEADLINE: Duration = Duration::from_secs(30);

/// Time between two polls of a condition that cannot be waited for.
const POLL: Duration = Duration::from_millis(5);

/// Polls until the condition is true.
#[track_caller]
pub(crate) fn eventually(what: &str, is_so: impl FnMut() -> bool) {
    assert!(comes_true_within(DEADLINE, is_so), "never came true: {what}");
}

/// Polls until the condition is true or the time is over. Returns whether it is true.
pub(crate) fn comes_true_within(time: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let start = Instant::now();
    loop {
        if is_so() {
            return true;
        }
        if start.elapsed() >= time {
            return false;
        }
        thread::sleep(POLL);
    }
}

/// Waits until a value stays the same for this time. No barrier can say that nothing happens any more.
#[track_caller]
pub(crate) fn wait_until_steady<T: PartialEq>(what: &str, time: Duration, mut value: impl FnMut() -> T) {
    let start = Instant::now();
    let mut before = value();
    loop {
        thread::sleep(time);
        let now = value();
        if now == before {
            return;
        }
        assert!(start.elapsed() < DEADLINE, "never stayed the same: {what}");
        before = now;
    }
}
