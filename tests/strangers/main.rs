//! Strangers: the worst that one client, file or script can do, next to a pair that behaves well. One module for each subject. Owns the
//! proof that nobody is crowded out; broken and hostile clients that only disturb are in `hostile`.

#![cfg(target_os = "linux")]

mod absent_member;
mod connects;
mod fan_out;
mod memory;
mod presence;
mod reads;
mod requests;
mod shares;
mod small_disk;
#[path = "../support/mod.rs"]
mod support;
