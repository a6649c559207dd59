//! SIGXFSZ for commands that write a database: the system sends it at a write beyond the largest size of a file (`ulimit -f`). Owns that a
//! command outlives it, so that the write fails instead; never knows the limit.

use async_signal::{Signal, Signals};

/// Makes the program outlive the signal while the result is kept. A handler, and not SIG_IGN, which programs that this one starts would
/// inherit; execve(2).
pub(super) fn outlive() -> Option<Signals> {
    Signals::new([Signal::Xfsz]).ok()
}
