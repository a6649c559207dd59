//! SIGHUP for `send` and `tail`. The server reloads at this signal, and `kill -HUP $(pidof holdline)` sends it to them, too. Owns which of
//! them outlive it; never reloads anything.
#![expect(clippy::disallowed_methods, reason = "only the descriptor is used, and nothing is printed")]

use std::io::{self, IsTerminal};

use async_signal::{Signal, Signals};

/// Makes the program outlive hangups while the result is kept, unless a person runs it on a terminal, which hangs up when it is closed.
pub(super) fn outlive() -> Option<Signals> {
    let is_on_terminal = io::stdin().is_terminal() || io::stdout().is_terminal();
    if is_on_terminal { None } else { Signals::new([Signal::Hup]).ok() }
}
