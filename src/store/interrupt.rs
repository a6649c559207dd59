//! Interrupt of a query that takes too long within a single step. Owns the thread that waits for that; never decides what becomes of the
//! query.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};
use rusqlite::{Connection, ErrorCode, InterruptHandle};

/// Interrupt of the queries of a connection. Its thread starts with the first use, and ends when this is dropped.
pub(super) struct Interrupt {
    connection: Option<InterruptHandle>,
    timer: Arc<InterruptTimer>,
}

#[derive(Default)]
struct InterruptTimer {
    state: Mutex<TimerState>,
    changed: Condvar,
}

#[derive(Default)]
struct TimerState {
    /// Time at which the query that runs is interrupted.
    ends: Option<Instant>,
    is_closed: bool,
}

impl Interrupt {
    pub(super) fn of(connection: &Connection) -> Self {
        Interrupt { connection: Some(connection.get_interrupt_handle()), timer: Arc::default() }
    }

    /// Runs something whose queries fail after this time.
    pub(super) fn after<T>(&mut self, time: Duration, run: impl FnOnce() -> T) -> T {
        if let Some(connection) = self.connection.take() {
            let timer = self.timer.clone();
            let thread = std::thread::Builder::new().name("interrupt".into());
            // Without the thread, a query takes as long as it takes.
            let _ = thread.spawn(move || timer.run(&connection));
        }
        self.timer.set(Some(Instant::now() + time));
        let result = run();
        self.timer.set(None);
        result
    }
}

impl Drop for Interrupt {
    fn drop(&mut self) {
        self.timer.state.lock().is_closed = true;
        self.timer.changed.notify_one();
    }
}

impl InterruptTimer {
    fn set(&self, ends: Option<Instant>) {
        self.state.lock().ends = ends;
        if ends.is_some() {
            self.changed.notify_one();
        }
    }

    fn run(&self, connection: &InterruptHandle) {
        let mut state = self.state.lock();
        while !state.is_closed {
            match state.ends {
                None => self.changed.wait(&mut state),
                Some(ends) if ends <= Instant::now() => {
                    // While the lock is held, no other query can begin.
                    connection.interrupt();
                    state.ends = None;
                }
                Some(ends) => drop(self.changed.wait_until(&mut state, ends)),
            }
        }
    }
}

/// Whether a query failed because it was interrupted.
pub(super) fn is_interrupted(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted)
}
