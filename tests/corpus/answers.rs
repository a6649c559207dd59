//! Rules for what a plugin answers, of whatever kind it is: the verdict fits the hook, and texts, effects and failures are bounded. Owns
//! the rules; never a plugin.

use holdline::limits::{
    ANSWER_BYTES_MAX, DESTINATIONS_DEFAULT, EFFECTS_BYTES_MAX, EFFECTS_MAX, FAILURE_CHARS_MAX, VALUE_BYTES_MAX,
    VALUE_KEY_BYTES_MAX,
};
use holdline::message::{Destination, PeerName, Seq, Text, Timestamp};
use holdline::plugin::{
    Answer, Call, CommandCall, ConnectCall, Effect, Failure, Hook, LoggedCall, LoginCall, MessageCall, OnFailure,
    PluginConfig, PluginKind, Verdict,
};

/// Returns the entry of a plugin that has all hooks of [`calls`].
pub(crate) fn config(kind: PluginKind, path: &std::path::Path) -> PluginConfig {
    let hooks = [Hook::Message, Hook::Command, Hook::Login, Hook::Logged];
    PluginConfig {
        kind,
        path: path.to_owned(),
        directory: std::env::temp_dir(),
        on_failure: OnFailure::Reject,
        ..PluginConfig::embedded(PeerName::parse("tester").expect("a name"), &hooks)
    }
}

/// Returns one call of each of these hooks.
pub(crate) fn calls() -> [Call; 4] {
    let name = |name| PeerName::parse(name).expect("a name");
    let (from, to) = (name("alice"), vec![Destination::parse("#home").expect("a room")]);
    let text = Text::verbatim("hi").expect("a text");
    let connection = ConnectCall { address: [127, 0, 0, 1].into(), protocol: "json", tls: false };
    let (seq, at, away) = (Seq::new(7), Timestamp::from_millis(0), vec![name("bob")]);
    [
        Call::Message(MessageCall { from: from.clone(), to: to.clone(), text: text.clone() }),
        Call::Command(CommandCall { from: from.clone(), command: "roll".to_owned(), arguments: "2d6".to_owned() }),
        Call::Login(LoginCall { name: from.clone(), password: None, connection }),
        Call::Logged(LoggedCall { seq, at, from, to, text, away }),
    ]
}

/// Checks the answer to a call of this hook.
pub(crate) fn check_answer(hook: Hook, answer: &Result<Answer, Failure>) {
    match answer {
        Ok(Answer { verdict, effects }) => {
            check_verdict(hook, verdict);
            assert!(effects.len() <= EFFECTS_MAX, "{} effects", effects.len());
            let bytes: usize = effects.iter().map(check_effect).sum();
            assert!(bytes <= EFFECTS_BYTES_MAX, "the effects have {bytes} bytes");
        }
        Err(failure) => {
            let text = failure.to_string();
            assert!(!text.trim().is_empty(), "the failure has no reason");
            assert!(text.chars().count() <= FAILURE_CHARS_MAX + 1, "the reason is too long: {text:?}");
        }
    }
}

fn check_verdict(hook: Hook, verdict: &Verdict) {
    let is_allowed = match (hook, verdict) {
        (_, Verdict::Pass) => true,
        (Hook::Message | Hook::Command | Hook::Login, Verdict::Reject(text)) => text.len() <= ANSWER_BYTES_MAX,
        (Hook::Message, Verdict::Drop) | (Hook::Login, Verdict::Allow) => true,
        (Hook::Message, Verdict::Replace { to, text }) => {
            assert!(to.is_some() || text.is_some(), "nothing is replaced");
            to.as_deref().is_none_or(is_bounded) && text.as_ref().is_none_or(|text| text.len() <= ANSWER_BYTES_MAX)
        }
        (Hook::Command, Verdict::Reply(text)) => text.len() <= ANSWER_BYTES_MAX,
        _ => false,
    };
    assert!(is_allowed, "{hook:?}: {verdict:?}");
}

fn is_bounded(to: &[Destination]) -> bool {
    (1..=DESTINATIONS_DEFAULT as usize).contains(&to.len())
}

/// Checks an effect. Returns its size.
fn check_effect(effect: &Effect) -> usize {
    match effect {
        Effect::Send { to, text, .. } => {
            assert!(is_bounded(to) && (1..=ANSWER_BYTES_MAX).contains(&text.len()), "{effect:?}");
            text.len()
        }
        Effect::Set { key, value } => {
            let bytes = value.as_ref().map_or(0, |value| value.to_string().len());
            assert!((1..=VALUE_KEY_BYTES_MAX).contains(&key.len()) && bytes <= VALUE_BYTES_MAX, "{effect:?}");
            key.len() + bytes
        }
        Effect::Join(_) | Effect::Leave(_) => 0,
    }
}
