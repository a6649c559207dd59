//! Any bytes as `holdline.toml`, as `plugins.toml` and as `--listen`: they are refused in one line that names the place,
//! or mean what TOML makes of them. Owns these properties; never which bytes are tried.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use holdline::config::{
    Config, ConfigError, Durability, Flags, Hook, Limits, PluginConfig, PluginKind, Retention, data_directory,
    load_plugins,
};
use holdline::message::PeerName;
use holdline::protocol::is_reserved_command;
use tempfile::TempDir;
use toml::de::DeTable;
use toml::{Table, Value};

use crate::words::check_shown;

/// Most characters of a refusal without the name of its file: far more than the longest of today.
const REFUSAL_CHARS_MAX: usize = 500;

/// Documentation, which lists every key.
const DOCUMENTATION: &str = include_str!("../../docs/configuration.md");

/// Checks the properties for these bytes.
pub(crate) fn check(input: &[u8]) {
    let place = Place::get();
    fs::write(place.path("chat.toml"), input).expect("a file can be written");
    check_settings(place, input);
    check_plugins(place, input);
    let first = input.split(|byte| *byte == b'\n').next().and_then(|line| str::from_utf8(line).ok());
    check_listen(place, first.unwrap_or_default());
}

/// Directory with the input as `chat.toml`, an `empty.toml`, and files that plugins may name.
struct Place(TempDir);

impl Place {
    /// Returns the directory that all inputs share: they are checked one after the other.
    fn get() -> &'static Place {
        static PLACE: OnceLock<Place> = OnceLock::new();
        PLACE.get_or_init(|| {
            let place = Place(tempfile::tempdir().expect("a temporary directory can be created"));
            for name in ["empty.toml", "a.luau", "a.sh"] {
                fs::write(place.path(name), "").expect("a file can be written");
            }
            place
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Returns flags with these files, so that no other is read, and with an address, so that no host is looked up.
    fn flags(&self, config: &str, plugins: &str) -> Flags {
        let (config, plugins) = (Some(self.path(config)), Some(self.path(plugins)));
        Flags { config, plugins, listen: vec!["127.0.0.1:1".to_owned()], ..Flags::default() }
    }
}

fn check_settings(place: &Place, input: &[u8]) {
    let flags = place.flags("chat.toml", "empty.toml");
    let (config, data) = (Config::load(&flags), data_directory(&flags));
    match (&config, &data) {
        (Ok(config), Ok(data)) => assert_eq!(config.data, *data),
        (Err(refusal), Err(again)) => assert_eq!(refusal.to_string(), again.to_string()),
        _ => panic!("the server and `history` disagree: {config:?}, {data:?}"),
    }
    match (config, table(input)) {
        (Ok(config), Some(table)) => check_meaning(place, &config, &table),
        (Ok(config), None) => assert!(is_toml(input), "{config:?}"),
        (Err(refusal), table) => {
            check_refusal(&refusal, &place.path("chat.toml"), input);
            assert_ne!(table.map(|table| is_possible(&table)), Some(Some(true)), "{refusal}");
        }
    }
}

/// Returns the input as TOML, if it is TOML and no number in it needs the 64th bit.
fn table(input: &[u8]) -> Option<Table> {
    toml::from_str(str::from_utf8(input).ok()?).ok()
}

fn is_toml(input: &[u8]) -> bool {
    str::from_utf8(input).is_ok_and(|text| DeTable::parse(text).is_ok())
}

/// Checks that each value is the one in the file, or the default.
fn check_meaning(place: &Place, config: &Config, table: &Table) {
    assert_ne!(is_possible(table), Some(false), "{table:?} was accepted");
    assert!(table.iter().all(|(key, value)| is_documented("", key, value)), "{table:?} was accepted");
    let default = Config::default();
    let data = table.get("data").and_then(Value::as_str).map_or(default.data, |data| place.path(data));
    assert_eq!(config.data, data);
    let crash = table.get("durability").and_then(Value::as_str) == Some("crash");
    assert_eq!(config.durability, if crash { Durability::Crash } else { Durability::PowerLoss });
    assert_eq!(config.open, table.get("open").and_then(Value::as_bool).unwrap_or_default());
    check_limits(&config.limits, table.get("limits").unwrap_or(&Value::Table(Table::new())));
    check_retention(&config.retention, table.get("retention").unwrap_or(&Value::Table(Table::new())));
}

fn check_limits(limits: &Limits, written: &Value) {
    for (key, limit) in numbers(limits) {
        let (_, default) =
            numbers(&Limits::default()).into_iter().find(|(name, _)| *name == key).expect("every limit has a default");
        let expected = written.get(key).and_then(Value::as_integer).map_or(default, i64::unsigned_abs);
        assert_eq!(limit, expected, "{key}");
    }
}

fn numbers(limits: &Limits) -> [(&'static str, u64); 10] {
    [
        ("connections_max", limits.connections_max),
        ("connections_per_address_max", limits.connections_per_address_max),
        ("connects_per_address_per_s", limits.connects_per_address_per_s),
        ("login_timeout_s", limits.login_timeout_s),
        ("dead_after_s", limits.dead_after_s),
        ("messages_per_s", limits.messages_per_s),
        ("destinations_max", limits.destinations_max),
        ("mailbox_max", limits.mailbox_max),
        ("unknown_names_max", limits.unknown_names_max),
        ("rooms_max", limits.rooms_max),
    ]
}

/// Checks that the age and the size are set if the file sets them, and are not zero.
fn check_retention(retention: &Retention, written: &Value) {
    let Retention { max_age, max_size_bytes } = *retention;
    let (age, size) = (written.get("max_age"), written.get("max_size"));
    assert_eq!((max_age.is_some(), max_size_bytes.is_some()), (age.is_some(), size.is_some()), "{written:?}");
    assert!(
        max_age.is_none_or(|age| age > Duration::ZERO) && max_size_bytes.is_none_or(|size| size > 0),
        "{written:?}"
    );
    if let Some(days) = age.and_then(|age| number_before(" days", age)) {
        assert_eq!(max_age.map(|age| age.as_secs()), days.checked_mul(24 * 60 * 60), "{written:?}");
    }
    if let Some(megabytes) = size.and_then(|size| number_before(" MB", size)) {
        assert_eq!(max_size_bytes, Some(megabytes.saturating_mul(1_000_000)), "{written:?}");
    }
}

fn number_before(unit: &str, value: &Value) -> Option<u64> {
    let number = value.as_str()?.strip_suffix(unit)?;
    number.parse().ok().filter(|_| number.starts_with(|c: char| c.is_ascii_digit()))
}

/// Whether a file is valid by the rules of the keys that are known here. `None` if it has others.
fn is_possible(table: &Table) -> Option<bool> {
    let possible = table.iter().map(|(key, value)| match (&**key, value) {
        ("listen", Value::Array(entries)) => Some(!entries.is_empty() && entries.iter().all(Value::is_str)),
        ("data" | "plugins", Value::String(path)) => Some(!path.is_empty() && !path.contains('\0')),
        ("durability", Value::String(word)) => Some(word == "power-loss" || word == "crash"),
        ("open", value) => Some(value.is_bool()),
        ("limits", Value::Table(limits)) => all(limits.iter().map(|(key, value)| is_possible_limit(key, value))),
        ("retention", Value::Table(retention)) => all(retention.values().map(is_possible_retention)),
        ("listen" | "data" | "plugins" | "durability" | "limits" | "retention", _) => Some(false),
        _ => None,
    });
    all(possible)
}

fn is_possible_limit(key: &str, value: &Value) -> Option<bool> {
    is_documented("limits.", key, value).then(|| value.as_integer().is_some_and(|max| max >= 0))
}

/// Only the libraries know which texts are an age or a size.
fn is_possible_retention(value: &Value) -> Option<bool> {
    (!value.is_str()).then_some(false)
}

fn is_documented(prefix: &str, key: &str, value: &Value) -> bool {
    match value {
        Value::Table(table) => {
            table.iter().all(|(inner, value)| is_documented(&format!("{prefix}{key}."), inner, value))
        }
        _ => DOCUMENTATION.contains(&format!("`{prefix}{key}`")),
    }
}

/// Whether all are true. `None` if one is unknown.
fn all(answers: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    answers.into_iter().collect::<Option<Vec<_>>>().map(|answers| !answers.contains(&false))
}

fn check_plugins(place: &Place, input: &[u8]) {
    let file = place.path("chat.toml");
    let (plugins, config) = (load_plugins(&file), Config::load(&place.flags("empty.toml", "chat.toml")));
    match (plugins, config) {
        (Ok(plugins), Ok(_)) => match table(input) {
            Some(table) => check_entries(place, &plugins, &table),
            None => assert!(is_toml(input), "{plugins:?}"),
        },
        (Err(refusal), Err(again)) => {
            assert_eq!(refusal.to_string(), again.to_string());
            check_refusal(&refusal, &file, input);
            assert!(!table(input).is_some_and(lists_none), "{refusal}");
        }
        (plugins, config) => panic!("a start and a reload disagree: {plugins:?}, {config:?}"),
    }
}

/// Whether a file of plugins lists none.
fn lists_none(table: Table) -> bool {
    table.iter().all(|(key, value)| key == "plugin" && value.as_array().is_some_and(Vec::is_empty))
}

/// Checks that each plugin is the one in the file, and that no two share a name or a command.
fn check_entries(place: &Place, plugins: &[PluginConfig], table: &Table) {
    let entries = table.get("plugin").and_then(Value::as_array).map_or(&[] as &[_], Vec::as_slice);
    assert_eq!(plugins.len(), entries.len(), "{table:?}");
    for (plugin, entry) in plugins.iter().zip(entries) {
        let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default();
        assert_eq!(Ok(&plugin.name), PeerName::parse(text("name")).as_ref());
        assert_eq!(plugin.kind == PluginKind::Luau, text("kind") == "luau");
        assert_eq!(plugin.path, place.path(text("path")));
        assert!(plugin.path.is_file(), "{plugin:?}");
        let hooks = entry.get("hooks").and_then(Value::as_array).map_or(&[] as &[_], Vec::as_slice);
        assert!(hooks.iter().all(|name| plugin.hooks.iter().any(|hook| name.as_str() == Some(hook.as_str()))));
        let keys = entry.as_table().expect("an entry is a table").keys();
        assert!(keys.into_iter().all(|key| DOCUMENTATION.contains(&format!("| `{key}` |"))), "{entry:?}");
        assert_eq!(plugin.hooks_into(Hook::Tick), plugin.tick.is_some(), "{plugin:?}");
        assert_eq!(plugin.hooks_into(Hook::Command), !plugin.commands.is_empty(), "{plugin:?}");
        check_commands(plugin);
    }
    let names: BTreeSet<_> = plugins.iter().map(|plugin| &plugin.name).collect();
    let commands: Vec<_> = plugins.iter().flat_map(|plugin| &plugin.commands).map(|(name, _)| name).collect();
    assert_eq!(names.len(), plugins.len(), "{table:?}");
    assert_eq!(commands.iter().collect::<BTreeSet<_>>().len(), commands.len(), "{table:?}");
}

/// Checks that `/help` can show each command on a line of its own.
fn check_commands(plugin: &PluginConfig) {
    for (name, help) in &plugin.commands {
        assert!(!is_reserved_command(name) && name.is_ascii(), "{name:?}");
        assert!(!name.contains(char::is_whitespace) && !help.contains(char::is_control), "{name:?}: {help:?}");
    }
}

/// Checks that a refusal is one line, and names the file and a line that it has.
fn check_refusal(refusal: &ConfigError, file: &Path, input: &[u8]) {
    let text = refusal.to_string();
    check_shown(&text);
    assert!(text.chars().count() <= file.as_os_str().len() + REFUSAL_CHARS_MAX, "the refusal is too long: {text:?}");
    let place = text.strip_prefix(&format!("{}:", file.display()));
    let (line, problem) =
        place.and_then(|rest| rest.split_once(": ")).unwrap_or_else(|| panic!("the refusal names no place: {text}"));
    let lines = 1 + input.iter().filter(|byte| **byte == b'\n').count();
    let line: usize = line.parse().unwrap_or_else(|_| panic!("the refusal names no line: {text}"));
    assert!((1..=lines).contains(&line), "the file has {lines} lines: {text}");
    assert!(!problem.trim().is_empty(), "{text}");
}

/// Checks that an address is accepted if it is loopback or `open` is set, and that an entry that is not `HOST:PORT` is
/// refused. An entry with a host is skipped, because the host would be looked up.
fn check_listen(place: &Place, entry: &str) {
    let address = entry.parse::<SocketAddr>().ok();
    let (host, port) = entry.rsplit_once(':').unwrap_or((entry, ""));
    let may_be_host = !host.is_empty() && !host.contains([':', '[', ']']) && port.parse::<u16>().is_ok();
    if address.is_none() && may_be_host {
        return;
    }
    for open in [false, true] {
        let flags = Flags { listen: vec![entry.to_owned()], open, ..place.flags("empty.toml", "empty.toml") };
        match (Config::load(&flags), address) {
            (Ok(config), Some(address)) => {
                assert_eq!(config.listen, [address]);
                assert!(open || config.exposed().next().is_none(), "{address} is exposed");
            }
            (Err(refusal @ ConfigError::Exposed { .. }), Some(address)) => {
                check_shown(&refusal.to_string());
                assert!(!open && !address.ip().is_loopback(), "{refusal}");
            }
            (Err(refusal @ ConfigError::Invalid { .. }), None) => check_shown(&refusal.to_string()),
            (config, _) => panic!("{entry:?}: {config:?}"),
        }
    }
}
