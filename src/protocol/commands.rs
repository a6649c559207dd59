//! Table of the commands: one row for each request of a client, with its forms in both protocols. It drives both parsers, `/help`, and
//! the names that plugins may not take. Owns the names and the texts of `/help`; never what a command does.

use super::json::fields::{FieldError, Fields};
use super::json::requests as frame;
use super::plain::arguments as line;
use super::refusal::Refusal;
use super::request::Request;
use crate::limits::{HISTORY_MESSAGES_DEFAULT, HISTORY_MESSAGES_MAX};

/// Parser of a command on a plain line, from its name and its arguments.
type ParseLine = fn(&str, &str) -> Result<Request, Refusal>;

/// Parser of a command in a JSON line, from its keys and the maximum number of destinations.
type ParseFrame = fn(&Fields<'_>, u64) -> Result<Request, FieldError>;

/// Row of the table.
#[derive(Debug)]
pub(super) struct CommandRow {
    /// Form on plain lines, if there is one.
    pub(super) plain: Option<PlainCommand>,
    /// Form as a JSON line, if there is one.
    pub(super) json: Option<JsonCommand>,
}

/// Command on a plain line: `/NAME ARGUMENTS`.
#[derive(Debug)]
pub(super) struct PlainCommand {
    /// Name with the `/`.
    pub(super) name: &'static str,
    /// Form of the arguments, for `/help`.
    pub(super) arguments: &'static str,
    /// Effect of the command, for `/help`.
    pub(super) help: &'static str,
    /// Parser of the trimmed arguments.
    pub(super) parse: ParseLine,
}

/// Command as a JSON line: an object of a type.
#[derive(Debug)]
pub(super) struct JsonCommand {
    /// Value of the key `type`.
    pub(super) kind: &'static str,
    /// Parser of the other keys.
    pub(super) parse: ParseFrame,
}

/// All commands, in the order of `/help`.
pub(super) const COMMANDS: &[CommandRow] = &[
    CommandRow { plain: None, json: json("send", frame::send) },
    CommandRow { plain: None, json: json("ack", frame::ack) },
    CommandRow {
        plain: plain("/help", "", "list the commands", |name, arguments| line::alone(name, arguments, Request::Help)),
        json: None,
    },
    CommandRow {
        plain: plain("/who", "", "who is online, and your rooms", |name, arguments| {
            line::alone(name, arguments, Request::Who)
        }),
        json: json("who", |_, _| Ok(Request::Who)),
    },
    CommandRow {
        plain: plain("/join", "#ROOM", "get what is sent there, until you leave", |name, arguments| {
            Ok(Request::Join { room: line::room(name, arguments)? })
        }),
        json: json("join", |fields, _| Ok(Request::Join { room: frame::room(fields)? })),
    },
    CommandRow {
        plain: plain("/leave", "#ROOM", "leave the room", |name, arguments| {
            Ok(Request::Leave { room: line::room(name, arguments)? })
        }),
        json: json("leave", |fields, _| Ok(Request::Leave { room: frame::room(fields)? })),
    },
    CommandRow {
        plain: plain("/topic", "#ROOM [TEXT]", "show the topic, or set it; - clears it", line::topic),
        json: json("topic", frame::topic),
    },
    CommandRow {
        plain: plain(
            "/history",
            "[NAME or #ROOM] [COUNT]",
            "your newest messages: 20, or COUNT to 1000",
            line::history,
        ),
        json: json("history", frame::history),
    },
    CommandRow {
        plain: plain("/search", "WORDS", "your newest messages that contain all WORDS", line::search),
        json: json("search", frame::search),
    },
    CommandRow {
        plain: plain("/register", "PASSWORD", "from now on, your name needs this password", line::register),
        json: json("register", frame::register),
    },
    CommandRow {
        plain: plain("/password", "OLD NEW", "change your password", line::change_password),
        json: json("password", frame::change_password),
    },
    CommandRow {
        plain: plain("/ping", "[TOKEN]", "reply once everything you sent is stored", line::ping),
        json: json("ping", |_, _| Ok(Request::Ping { token: None })),
    },
    CommandRow {
        plain: plain("/plugins", "", "list the plugins and their states", |name, arguments| {
            line::alone(name, arguments, Request::Plugins)
        }),
        json: json("plugins", |_, _| Ok(Request::Plugins)),
    },
    CommandRow { plain: None, json: json("command", frame::command) },
    CommandRow {
        plain: plain("/quit", "", "write what is queued for you, then close", |name, arguments| {
            line::alone(name, arguments, Request::Quit)
        }),
        json: None,
    },
];

// The help of `/history` contains both numbers.
const _: () = assert!(HISTORY_MESSAGES_DEFAULT == 20 && HISTORY_MESSAGES_MAX == 1000);

impl PlainCommand {
    /// Returns the form of the command, for `/help`.
    pub(super) fn form(&self) -> String {
        format!("{} {}", self.name, self.arguments).trim_end().to_owned()
    }
}

/// Names on plain lines that a later version will use.
const RESERVED_NAMES: &[&str] =
    &["devices", "invite", "ban", "unban", "bans", "kick", "remove", "talk", "msg", "where"];

/// JSON types that a later version will use.
pub(super) const RESERVED_TYPES: &[&str] = &["devices", "device_remove", "where", "remove", "mark"];

const fn plain(
    name: &'static str,
    arguments: &'static str,
    help: &'static str,
    parse: ParseLine,
) -> Option<PlainCommand> {
    Some(PlainCommand { name, arguments, help, parse })
}

const fn json(kind: &'static str, parse: ParseFrame) -> Option<JsonCommand> {
    Some(JsonCommand { kind, parse })
}

/// Returns all commands that have a form on plain lines.
pub(super) fn plain_commands() -> impl Iterator<Item = &'static PlainCommand> {
    COMMANDS.iter().filter_map(|command| command.plain.as_ref())
}

/// Returns the command of a JSON type.
pub(super) fn json_command(kind: &str) -> Option<&'static JsonCommand> {
    COMMANDS.iter().filter_map(|command| command.json.as_ref()).find(|command| command.kind == kind)
}

/// Whether the server has a command of this name, without its `/`, or may have one later: a plugin may not take it.
pub fn is_reserved_command(name: &str) -> bool {
    RESERVED_NAMES.contains(&name) || plain_commands().any(|command| command.name.strip_prefix('/') == Some(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_is_documented() {
        let docs = include_str!("../../docs/protocol.md");
        for command in plain_commands() {
            let form = command.form();
            assert!(docs.contains(&format!("`{form}`")), "docs/protocol.md lacks `{form}`");
        }
        for kind in COMMANDS.iter().filter_map(|command| command.json.as_ref()).map(|command| command.kind) {
            let form = format!("{{\"type\":\"{kind}\"");
            assert!(docs.contains(&form), "docs/protocol.md lacks {form}");
        }
    }

    #[test]
    fn names_are_unique_and_reserved() {
        for (index, command) in plain_commands().enumerate() {
            assert!(is_reserved_command(&command.name[1..]));
            assert!(plain_commands().skip(index + 1).all(|other| other.name != command.name), "{}", command.name);
        }
        assert!(is_reserved_command("password") && !is_reserved_command("weather"));
    }
}
