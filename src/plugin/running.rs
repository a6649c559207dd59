//! A running plugin: its calls are bounded in time, a missing answer is replaced by the configured verdict, and notifications are
//! repeated until they are handled. Owns the handling of its answers; never knows where the calls come from.

use std::time::Duration;

use super::load::LoadedPlugin;
use super::{Answer, Call, CommandCall, Effect, Failure, Host, Plugin, Verdict};
use crate::backoff::Backoff;
use crate::config::{Hook, OnFailure, PluginConfig};
use crate::limits::{
    FILTER_MESSAGES_MAX, FILTER_MESSAGES_MIN, OBSERVATION_ATTEMPTS_MAX, PLUGIN_RETRY_MS_MAX, PLUGIN_RETRY_MS_MIN,
};
use crate::protocol::PluginState;
use crate::timeout::sleep;

/// A loaded plugin and its host.
#[derive(Debug)]
pub(crate) struct RunningPlugin {
    pub(super) loaded: LoadedPlugin,
    pub(super) host: Host,
}

/// Call of an observing hook.
#[derive(Clone, Debug)]
pub(super) struct Notification {
    pub(super) call: Call,
    /// Name of what is observed. It is the same when the call is repeated, so that its effects are not repeated.
    pub(super) origin: String,
}

/// Progress of the first notification that is not handled yet.
#[derive(Debug)]
pub(super) struct RetryState {
    /// Number of failed calls.
    tries: u32,
    pauses: Backoff,
}

impl RunningPlugin {
    pub(super) fn config(&self) -> &PluginConfig {
        &self.loaded.config
    }

    pub(super) fn plugin(&self) -> &dyn Plugin {
        &*self.loaded.plugin
    }

    /// Calls deciding hooks, in order, and returns one verdict per call. The calls go out in batches, which grow while the plugin
    /// answers and shrink to one call when it fails.
    pub(super) async fn decide(&self, mut calls: Vec<Call>) -> Vec<Verdict> {
        let mut verdicts = Vec::with_capacity(calls.len());
        let mut at_once = FILTER_MESSAGES_MIN;
        while !calls.is_empty() {
            let others = calls.split_off(calls.len().min(at_once));
            let answers = self.call_all(std::mem::replace(&mut calls, others)).await;
            at_once = if answers.iter().all(Result::is_ok) { FILTER_MESSAGES_MAX.min(2 * at_once) } else { 1 };
            verdicts.extend(answers.into_iter().map(|answer| self.verdict(answer)));
        }
        verdicts
    }

    /// Calls the hook `command`, which has nothing to continue with if the plugin fails: `on_failure` does not matter.
    pub(super) async fn answer(&self, call: CommandCall) -> Result<Verdict, Failure> {
        let mut answers = self.call_all(vec![Call::Command(call)]).await;
        match answers.pop().expect("each call has an answer") {
            Ok(Answer { verdict, effects }) => {
                self.host.apply_later(effects);
                Ok(verdict)
            }
            Err(failure) => {
                self.host.report_failure(failure.clone());
                Err(failure)
            }
        }
    }

    async fn call_all(&self, calls: Vec<Call>) -> Vec<Result<Answer, Failure>> {
        let down = |reason: &str| calls.iter().map(|_| Err(Failure::down(reason))).collect();
        if self.host.is_quarantined() {
            return down("it is quarantined");
        }
        if !self.host.is_ready() {
            return down("its values cannot be read yet");
        }
        self.plugin().call_all(calls, Some(self.config().timeout)).await
    }

    fn verdict(&self, answer: Result<Answer, Failure>) -> Verdict {
        match answer {
            Ok(Answer { verdict, effects }) => {
                self.host.apply_later(effects);
                verdict
            }
            Err(failure) => {
                self.host.report_failure(failure);
                match self.config().on_failure {
                    OnFailure::Pass => Verdict::Pass,
                    OnFailure::Reject => Verdict::Reject("the plugin does not answer; try again later".into()),
                }
            }
        }
    }

    /// Calls an observing or life-cycle hook once, and carries out the effects. A failure is not repeated.
    pub(super) async fn notify(&self, call: Call, timeout: Option<Duration>) {
        if !self.config().hooks_into(call.hook()) || self.host.is_quarantined() {
            return;
        }
        for answer in self.plugin().call_all(vec![call], timeout).await {
            match answer {
                Ok(Answer { effects, .. }) => self.apply(effects, None).await,
                Err(failure) => self.host.report_failure(failure),
            }
        }
    }

    /// Sends notifications, in order, until one fails. Returns how many are handled, or given up; after a failure it has paused.
    pub(super) async fn notify_all(&self, notifications: &[Notification], retries: &mut RetryState) -> usize {
        if self.host.is_quarantined() {
            smol::future::pending::<()>().await;
        }
        let calls = notifications.iter().map(|notification| notification.call.clone()).collect();
        let mut handled = 0;
        for answer in self.plugin().call_all(calls, None).await {
            let Notification { origin, .. } = &notifications[handled];
            match answer {
                Ok(Answer { effects, .. }) => {
                    self.apply(effects, Some(origin)).await;
                    *retries = RetryState::default();
                    handled += 1;
                }
                Err(failure) => {
                    if retries.gives_up(&failure) {
                        log::error!("plugin {}: giving up on {origin}: {failure}", self.config().name);
                        *retries = RetryState::default();
                        handled += 1;
                    }
                    self.host.report_failure(failure);
                    retries.pause().await;
                    break;
                }
            }
        }
        handled
    }

    /// Carries out the effects of a call, and repeats them until the broker accepts them.
    async fn apply(&self, effects: Vec<Effect>, origin: Option<&str>) {
        let effects = self.host.cache_values(effects);
        self.perform(effects, origin).await;
    }

    /// Carries out effects whose values are in the cache already, and repeats them until the broker accepts them.
    pub(super) async fn perform(&self, effects: Vec<Effect>, origin: Option<&str>) {
        let mut retries = RetryState::default();
        while let Err(failure) = self.host.perform(effects.clone(), origin).await {
            if retries.pauses.is_fresh() {
                log::warn!("plugin {}: its effects cannot be carried out yet: {failure}", self.config().name);
            }
            retries.pause().await;
        }
    }

    /// Returns the state of the plugin for `/plugins`.
    pub(super) fn state(&self) -> PluginState {
        state(self.config(), self.host.state(self.plugin().outage()))
    }
}

/// Returns the state of the plugin of an entry, in these words.
pub(super) fn state(config: &PluginConfig, state: String) -> PluginState {
    let hooks = config.hooks.iter().copied().map(Hook::as_str).collect();
    PluginState { name: config.name.clone(), kind: config.kind.as_str(), hooks, state }
}

impl Default for RetryState {
    fn default() -> Self {
        let pauses =
            Backoff::new(Duration::from_millis(PLUGIN_RETRY_MS_MIN), Duration::from_millis(PLUGIN_RETRY_MS_MAX));
        RetryState { tries: 0, pauses }
    }
}

impl RetryState {
    /// Counts a failure. Returns true if the notification must not be repeated again.
    fn gives_up(&mut self, failure: &Failure) -> bool {
        self.tries += u32::from(failure.is_tried());
        self.tries >= OBSERVATION_ATTEMPTS_MAX
    }

    async fn pause(&mut self) {
        sleep(self.pauses.next_delay()).await;
    }
}
