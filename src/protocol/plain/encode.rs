//! Messages and replies as lines.
//! Owns the words that a person at `nc` reads; never decides which of them.

use std::fmt;

use memchr::memchr;

use crate::limits::HERE_LINE_BYTES_MAX;
use crate::limits::{HISTORY_MESSAGES_DEFAULT, HISTORY_MESSAGES_MAX};
use crate::message::{PeerName, Text};
use crate::protocol::{PastMessage, Refusal, Reply};

/// Appends a message as it is delivered: `from NAME: TEXT`.
pub fn encode_message(sender: &PeerName, text: &Text, out: &mut Vec<u8>) {
    let sender = sender.as_str().as_bytes();
    out.reserve(b"from : \n".len() + sender.len() + text.len());
    out.extend_from_slice(b"from ");
    out.extend_from_slice(sender);
    out.extend_from_slice(b": ");
    end_line(text.as_str(), out);
}

/// Appends a reply: notices, which start with `* `, or an error, which starts with `! ` and its code.
pub fn encode_reply(reply: &Reply, out: &mut Vec<u8>) {
    match reply {
        Reply::Welcome { name, waiting: 0 } => notice(format_args!("hello {name}, /help lists the commands"), out),
        Reply::Welcome { name, waiting: 1 } => notice(format_args!("hello {name}, 1 message was kept for you"), out),
        Reply::Welcome { name, waiting } => {
            notice(format_args!("hello {name}, {waiting} messages were kept for you"), out)
        }
        Reply::Kept { peer, seen: true } => notice(format_args!("{peer} is away, kept for later"), out),
        Reply::Kept { peer, seen: false } => {
            notice(format_args!("nobody has used the name {peer} yet, kept for later"), out);
        }
        Reply::Pong { token: Some(token) } => notice(format_args!("pong {token}"), out),
        Reply::Pong { token: None } => notice(format_args!("pong"), out),
        Reply::Who { here } => encode_here(here, out),
        Reply::History { messages } => encode_history(messages, out),
        Reply::Help => encode_help(out),
        Reply::Refused(refusal) => encode_refusal(refusal, out),
        Reply::ShuttingDown => notice(format_args!("the server is shutting down, what waits for you is kept"), out),
    }
}

fn encode_here(here: &[PeerName], out: &mut Vec<u8>) {
    if here.is_empty() {
        return notice(format_args!("nobody is here"), out);
    }
    let mut start = out.len();
    for (nth, name) in here.iter().enumerate() {
        if nth == 0 {
            out.extend_from_slice(b"* here: ");
        } else if out.len() - start + ", \n".len() + name.as_str().len() <= HERE_LINE_BYTES_MAX {
            out.extend_from_slice(b", ");
        } else {
            out.push(b'\n');
            start = out.len();
            out.extend_from_slice(b"* here: ");
        }
        out.extend_from_slice(name.as_str().as_bytes());
    }
    out.push(b'\n');
}

fn encode_history(messages: &[PastMessage], out: &mut Vec<u8>) {
    if messages.is_empty() {
        return notice(format_args!("no messages"), out);
    }
    for message in messages {
        let PastMessage { at, sent, sender, recipients, text } = message;
        if *sent {
            notice(format_args!("{at} to {}: {text}", joined(recipients)), out);
        } else {
            notice(format_args!("{at} from {sender}: {text}"), out);
        }
    }
}

fn encode_help(out: &mut Vec<u8>) {
    let history = format!("your newest {HISTORY_MESSAGES_DEFAULT} messages, or COUNT up to {HISTORY_MESSAGES_MAX}");
    for (form, does) in [
        ("NAME, NAME: TEXT", "sends TEXT to each of them, here or away"),
        ("/help", "lists the commands"),
        ("/who", "who is here"),
        ("/history [NAME] [COUNT]", &*history),
        ("/ping [TOKEN]", "answers when all that you sent before is kept"),
        ("/quit", "writes what is queued for you, then closes"),
    ] {
        notice(format_args!("{form:<23}  {does}"), out);
    }
}

fn encode_refusal(refusal: &Refusal, out: &mut Vec<u8>) {
    out.extend_from_slice(b"! ");
    out.extend_from_slice(refusal.code.as_str().as_bytes());
    out.extend_from_slice(b": ");
    end_line(&refusal.message, out);
}

fn joined(names: &[PeerName]) -> String {
    names.iter().map(PeerName::as_str).collect::<Vec<_>>().join(", ")
}

fn notice(words: fmt::Arguments<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"* ");
    end_line(&words.to_string(), out);
}

/// Appends the rest of a line and its end; a newline within it, which other protocols can send, is read as a blank.
fn end_line(text: &str, out: &mut Vec<u8>) {
    let mut rest = text.as_bytes();
    while let Some(newline) = memchr(b'\n', rest) {
        let line = &rest[..newline];
        out.extend_from_slice(line.strip_suffix(b"\r").unwrap_or(line));
        out.push(b' ');
        rest = &rest[newline + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'\n');
}

#[cfg(test)]
mod tests;
