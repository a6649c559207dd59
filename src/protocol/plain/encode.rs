//! Messages and replies as plain lines. Owns the words that a person at `nc` reads; never decides what is replied.

use std::fmt;

use memchr::memchr;

use crate::limits::WHO_LINE_BYTES_MAX;
use crate::message::{Destination, Message, PeerName, Room, Text};
use crate::protocol::commands::plain_commands;
use crate::protocol::{PastMessage, PluginState, Refusal, Reply};

/// Appends a message as it is delivered: `from NAME: TEXT`, or `from NAME in #ROOM: TEXT`.
pub fn encode_message(message: &Message, out: &mut Vec<u8>) {
    let Message { sender, room, text, .. } = message;
    let sender = sender.as_str().as_bytes();
    let room = room.as_ref().map_or(&b""[..], |room| room.as_str().as_bytes());
    out.reserve(b"from  in : \n".len() + sender.len() + room.len() + text.len());
    out.extend_from_slice(b"from ");
    out.extend_from_slice(sender);
    if !room.is_empty() {
        out.extend_from_slice(b" in ");
        out.extend_from_slice(room);
    }
    out.extend_from_slice(b": ");
    end_line(text.as_str(), out);
}

/// Appends a reply: notices, which start with `* `, or an error, which starts with `! ` and its code; nothing if the reply is for programs.
pub fn encode_reply(reply: &Reply, out: &mut Vec<u8>) {
    match reply {
        Reply::Welcome { name, waiting, .. } => encode_welcome(name, *waiting, out),
        Reply::StoredForLater { peer, seen: true } => notice(format_args!("{peer} is away, kept for later"), out),
        Reply::StoredForLater { peer, seen: false } => {
            notice(format_args!("nobody has used the name {peer} yet, kept for later"), out);
        }
        Reply::Alone { room } => notice(format_args!("nobody else is in {room}"), out),
        Reply::Missed { room, count } => {
            notice(format_args!("you missed {} in {room}, see /history {room}", grouped(*count)), out);
        }
        Reply::Joined { room, topic } => {
            notice(format_args!("you are in {room} now"), out);
            encode_topic(room, topic.as_ref(), out);
        }
        Reply::Topic { room, topic: None } => notice(format_args!("{room} has no topic"), out),
        Reply::Topic { room, topic } => encode_topic(room, topic.as_ref(), out),
        Reply::TopicSet { room, name, topic } => encode_topic_set(room, name, topic.as_ref(), out),
        Reply::RoomRemoved { room } => notice(format_args!("the operator has removed {room}"), out),
        Reply::Left { room } => notice(format_args!("you are no longer in {room}"), out),
        Reply::Registered { name } => {
            notice(format_args!("{name} has a password now; from now on, log in with it"), out)
        }
        Reply::PasswordChanged => notice(format_args!("your password is changed"), out),
        Reply::Pong { token: Some(token) } => notice(format_args!("pong {token}"), out),
        Reply::Pong { token: None } => notice(format_args!("pong"), out),
        Reply::Here { room, names } => encode_names(room.as_ref(), names, out),
        Reply::History { messages, .. } => encode_past(messages, "no messages", out),
        Reply::Found { messages, .. } => encode_past(messages, "no messages contain that", out),
        Reply::Help { commands } => encode_help(commands, out),
        Reply::Answer { text } => text.as_str().lines().for_each(|line| notice(format_args!("{line}"), out)),
        Reply::Plugins { plugins } => encode_plugins(plugins, out),
        Reply::Refused(refusal) => encode_refusal(refusal, out),
        Reply::ShuttingDown => notice(format_args!("the server is shutting down, what waits for you is stored"), out),
        Reply::Encoded(bytes) => out.extend_from_slice(bytes),
        Reply::Accepted { .. } | Reply::Presence { .. } | Reply::Sent(_) => {}
        Reply::Who { .. } | Reply::Set { .. } | Reply::Values { .. } => {}
    }
}

fn encode_welcome(name: &PeerName, waiting: u64, out: &mut Vec<u8>) {
    match waiting {
        0 => notice(format_args!("hello {name}, /help lists the commands"), out),
        1 => notice(format_args!("hello {name}, 1 message waits for you"), out),
        _ => notice(format_args!("hello {name}, {waiting} messages wait for you"), out),
    }
}

/// Writes a number with a comma before each three digits: 1,204.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

fn encode_topic(room: &Room, topic: Option<&Text>, out: &mut Vec<u8>) {
    if let Some(topic) = topic {
        notice(format_args!("the topic of {room}: {topic}"), out);
    }
}

fn encode_topic_set(room: &Room, name: &PeerName, topic: Option<&Text>, out: &mut Vec<u8>) {
    match topic {
        Some(topic) => notice(format_args!("{name} set the topic of {room}: {topic}"), out),
        None => notice(format_args!("{name} cleared the topic of {room}"), out),
    }
}

/// Appends `* PLACE: alice, bob`, on as many lines as needed.
fn encode_names(room: Option<&Room>, names: &[PeerName], out: &mut Vec<u8>) {
    match room {
        None if names.is_empty() => return notice(format_args!("nobody is here"), out),
        Some(room) if names.is_empty() => return notice(format_args!("{room}: nobody is here"), out),
        _ => {}
    }
    let place = room.map_or("here", Room::as_str);
    let mut start = out.len();
    for (nth, name) in names.iter().enumerate() {
        let is_full = out.len() - start + ", \n".len() + name.as_str().len() > WHO_LINE_BYTES_MAX;
        if nth > 0 && !is_full {
            out.extend_from_slice(b", ");
        } else {
            if nth > 0 {
                out.push(b'\n');
            }
            start = out.len();
            for part in ["* ", place, ": "] {
                out.extend_from_slice(part.as_bytes());
            }
        }
        out.extend_from_slice(name.as_str().as_bytes());
    }
    out.push(b'\n');
}

fn encode_past(messages: &[PastMessage], none: &str, out: &mut Vec<u8>) {
    if messages.is_empty() {
        return notice(format_args!("{none}"), out);
    }
    for PastMessage { sent, message } in messages {
        let Message { at, sender, to, room, text, .. } = message;
        match room {
            _ if *sent => notice(format_args!("{at} to {}: {text}", joined(to)), out),
            Some(room) => notice(format_args!("{at} from {sender} in {room}: {text}"), out),
            None => notice(format_args!("{at} from {sender}: {text}"), out),
        }
    }
}

/// Appends the answer to `/help` before the login.
pub(in crate::protocol) fn encode_login_help(out: &mut Vec<u8>) {
    let mut line = |form: &str, help: &str| notice(format_args!("{form:<32}  {help}"), out);
    line("NAME", "log in; you are asked for the password, if the name has one");
    line("NAME PASSWORD", "log in with the password");
    line("/register NAME PASSWORD", "choose a name that nobody uses, and its password");
    line("/quit", "close the connection");
}

fn encode_help(plugin_commands: &[(String, String)], out: &mut Vec<u8>) {
    let mut line = |form: &str, help: &str| notice(format_args!("{form:<32}  {help}"), out);
    line("NAME, #ROOM: TEXT", "send TEXT to each of them, online or not");
    for command in plain_commands() {
        line(&command.form(), command.help);
    }
    for (name, help) in plugin_commands {
        let (arguments, help) = help.split_once(": ").unwrap_or(("", help));
        line(format!("/{name} {arguments}").trim_end(), help);
    }
}

fn encode_plugins(plugins: &[PluginState], out: &mut Vec<u8>) {
    if plugins.is_empty() {
        return notice(format_args!("there are no plugins"), out);
    }
    for PluginState { name, kind, hooks, state } in plugins {
        match &hooks[..] {
            [] => notice(format_args!("{name} ({kind}): {state}"), out),
            hooks => notice(format_args!("{name} ({kind}, {}): {state}", hooks.join(", ")), out),
        }
    }
}

fn encode_refusal(refusal: &Refusal, out: &mut Vec<u8>) {
    out.extend_from_slice(b"! ");
    out.extend_from_slice(refusal.code.as_str().as_bytes());
    out.extend_from_slice(b": ");
    end_line(&refusal.message, out);
}

fn joined(names: &[Destination]) -> String {
    names.iter().map(Destination::as_str).collect::<Vec<_>>().join(", ")
}

fn notice(words: fmt::Arguments<'_>, out: &mut Vec<u8>) {
    out.extend_from_slice(b"* ");
    end_line(&words.to_string(), out);
}

/// Appends the rest of a line and its end. A newline within it, which other protocols can send, becomes a blank.
fn end_line(text: &str, out: &mut Vec<u8>) {
    let mut rest = text.as_bytes();
    while let Some(newline) = memchr(b'\n', rest) {
        out.extend_from_slice(&rest[..newline]);
        out.push(b' ');
        rest = &rest[newline + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'\n');
}

#[cfg(test)]
mod tests;
