//! One plugin that runs: what it is asked is bounded in time, what it does not answer is decided without it, and what it is told
//! is told again until it is dealt with. Owns what is made of its answers; never knows where the calls come from.

use std::time::Duration;

use super::load::LoadedPlugin;
use super::{Answer, Call, Effect, Failure, Host, Plugin, Verdict};
use crate::backoff::Backoff;
use crate::config::{Hook, OnFailure, PluginConfig};
use crate::limits::{OBSERVED_TRIES_MAX, PLUGIN_RETRY_MS_MAX, PLUGIN_RETRY_MS_MIN, SCREENED_MAX, SCREENED_MIN};
use crate::protocol::PluginState;
use crate::timeout::sleep;

/// A plugin, and its place in the server.
#[derive(Debug)]
pub(crate) struct RunningPlugin {
    pub(super) loaded: LoadedPlugin,
    pub(super) host: Host,
}

/// Something that a plugin is told.
#[derive(Clone, Debug)]
pub(super) struct Notification {
    pub(super) call: Call,
    /// The same when it is told again: so what it leads to is not done twice.
    pub(super) origin: String,
}

/// How far the telling of one thing after another got.
#[derive(Debug)]
pub(super) struct RetryState {
    /// How often the plugin has failed at what is first now.
    tries: u32,
    backoff: Backoff,
}

impl RunningPlugin {
    pub(super) fn config(&self) -> &PluginConfig {
        &self.loaded.config
    }

    pub(super) fn plugin(&self) -> &dyn Plugin {
        &*self.loaded.plugin
    }

    /// Asks about these, in order: a verdict on each. Of one that fails, little is asked before that is known.
    pub(super) async fn decide(&self, mut calls: Vec<Call>) -> Vec<Verdict> {
        let mut verdicts = Vec::with_capacity(calls.len());
        let mut at_once = SCREENED_MIN;
        while !calls.is_empty() {
            let others = calls.split_off(calls.len().min(at_once));
            let answers = self.ask(std::mem::replace(&mut calls, others)).await;
            at_once = if answers.iter().all(Result::is_ok) { SCREENED_MAX.min(2 * at_once) } else { 1 };
            verdicts.extend(answers.into_iter().map(|answer| self.verdict(answer)));
        }
        verdicts
    }

    async fn ask(&self, calls: Vec<Call>) -> Vec<Result<Answer, Failure>> {
        let down = |why: &str| calls.iter().map(|_| Err(Failure::down(why))).collect();
        if self.host.is_aside() {
            return down("it is set aside");
        }
        if !self.host.is_ready() {
            return down("what it keeps cannot be read yet");
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
                self.host.failed(failure);
                match self.config().on_failure {
                    OnFailure::Pass => Verdict::Pass,
                    OnFailure::Reject => {
                        Verdict::Reject("it does not answer now, and nothing passes without it".into())
                    }
                }
            }
        }
    }

    /// Tells it once, and waits so long at most.
    pub(super) async fn notify(&self, call: Call, timeout: Option<Duration>) {
        if !self.config().hooks_into(call.hook()) || self.host.is_aside() {
            return;
        }
        for answer in self.plugin().call_all(vec![call], timeout).await {
            match answer {
                Ok(Answer { effects, .. }) => self.settle(effects, None).await,
                Err(failure) => self.host.failed(failure),
            }
        }
    }

    /// Tells it of these, in order, as far as it deals with them at once. Says of how many nothing is to be told any more; where
    /// that is not all, it has waited a while.
    pub(super) async fn tell(&self, told: &[Notification], retry_state: &mut RetryState) -> usize {
        if self.host.is_aside() {
            smol::future::pending::<()>().await;
        }
        let calls = told.iter().map(|told| told.call.clone()).collect();
        let mut dealt_with = 0;
        for answer in self.plugin().call_all(calls, None).await {
            let Notification { origin, .. } = &told[dealt_with];
            match answer {
                Ok(Answer { effects, .. }) => {
                    self.settle(effects, Some(origin)).await;
                    *retry_state = RetryState::default();
                    dealt_with += 1;
                }
                Err(failure) => {
                    if retry_state.is_last(&failure) {
                        log::error!("plugin {}: {origin} is given up: {failure}", self.config().name);
                        *retry_state = RetryState::default();
                        dealt_with += 1;
                    }
                    self.host.failed(failure);
                    retry_state.pause().await;
                    break;
                }
            }
        }
        dealt_with
    }

    /// Does what a call leads to, as soon as that is possible.
    async fn settle(&self, effects: Vec<Effect>, origin: Option<&str>) {
        let effects = self.host.note(effects);
        self.perform(effects, origin).await;
    }

    /// Does what was noted, as soon as that is possible.
    pub(super) async fn perform(&self, effects: Vec<Effect>, origin: Option<&str>) {
        let mut retry_state = RetryState::default();
        while let Err(failure) = self.host.perform(effects.clone(), origin).await {
            if retry_state.backoff.is_fresh() {
                log::warn!("plugin {}: what it wants cannot be done yet: {failure}", self.config().name);
            }
            retry_state.pause().await;
        }
    }

    /// How it is, for people.
    pub(super) fn state(&self) -> PluginState {
        let config = self.config();
        let hooks = config.hooks.iter().copied().map(Hook::as_str).collect();
        PluginState { name: config.name.clone(), kind: config.kind.as_str(), hooks, state: self.host.state() }
    }
}

impl Default for RetryState {
    fn default() -> Self {
        let (min, max) = (Duration::from_millis(PLUGIN_RETRY_MS_MIN), Duration::from_millis(PLUGIN_RETRY_MS_MAX));
        RetryState { tries: 0, backoff: Backoff::new(min, max) }
    }
}

impl RetryState {
    /// Counts a failure at what is first. Says whether that is given up.
    fn is_last(&mut self, failure: &Failure) -> bool {
        self.tries += u32::from(failure.is_tried());
        self.tries >= OBSERVED_TRIES_MAX
    }

    async fn pause(&mut self) {
        sleep(self.backoff.next_delay()).await;
    }
}
