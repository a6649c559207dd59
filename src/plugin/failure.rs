//! Failures of calls. Owns which of them count toward the quarantine, and how long their texts are.

use crate::limits::FAILURE_CHARS_MAX;

/// Reason for a missing answer. Its text names the limit or the line of the script.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub struct Failure {
    what: String,
    cause: FailureCause,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FailureCause {
    /// The plugin failed at this call.
    Call,
    /// The plugin ended during the call. All calls that it had count as one failure.
    End,
    /// The plugin does not run at the moment and was not called. Not counted.
    Down,
}

impl Failure {
    /// Returns a failure of the plugin at this call.
    pub fn new(what: impl Into<String>) -> Self {
        Failure::of(what, FailureCause::Call)
    }

    /// Returns the failure of a call during which the plugin ended. The end itself is reported by [`Host::report_failure`](super::Host::report_failure).
    pub fn ended(what: impl Into<String>) -> Self {
        Failure::of(what, FailureCause::End)
    }

    /// Returns the failure of a call that was not made, because the plugin does not run at the moment.
    pub fn down(what: impl Into<String>) -> Self {
        Failure::of(what, FailureCause::Down)
    }

    fn of(what: impl Into<String>, cause: FailureCause) -> Self {
        Failure { what: shortened(what.into()), cause }
    }

    /// Whether the failure counts toward the quarantine.
    pub(super) fn counts(&self) -> bool {
        self.cause == FailureCause::Call
    }

    /// Whether the plugin was called at all.
    pub(super) fn is_tried(&self) -> bool {
        self.cause != FailureCause::Down
    }
}

/// Cuts a reason that a plugin may have made long.
pub(super) fn shortened(mut reason: String) -> String {
    if let Some((end, _)) = reason.char_indices().nth(FAILURE_CHARS_MAX) {
        reason.truncate(end);
        reason.push('…');
    }
    reason
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_reason_is_cut() {
        let reason = "é".repeat(FAILURE_CHARS_MAX);
        assert_eq!(Failure::new(reason.clone()).to_string(), reason);
        assert_eq!(Failure::ended(reason.clone() + "x").to_string(), reason + "…");
    }
}
