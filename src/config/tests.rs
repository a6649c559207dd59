//! Tests of valid configurations. `tests/config.rs` has the mistakes and their reports.

use std::fs;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use super::file::Key;
use super::plugins::{PLUGINS_KEYS, PluginKeys, PluginsKeys};
use super::settings::{CONFIG_FILE, CONFIG_KEYS, ConfigKeys};
use super::*;
use crate::limits::{COMMAND_HELP_CHARS_MAX, PLUGIN_TICK_S_MAX, PLUGIN_TIMEOUT_MS_DEFAULT, PLUGIN_TIMEOUT_MS_MAX};
use crate::message::PeerName;

/// Loads a configuration file with these lines. `change` sets flags.
fn load(toml: &str, change: impl FnOnce(&mut Flags)) -> (TempDir, Result<Config, ConfigError>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("chat.toml");
    fs::write(&path, toml).unwrap();
    let mut flags = Flags { config: Some(path), ..Flags::default() };
    change(&mut flags);
    let config = Config::load(&flags);
    (directory, config)
}

fn addresses(texts: &[&str]) -> Vec<SocketAddr> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

/// Reads the `plugins.toml` of this repository, too, as `cargo run` does.
#[test]
fn empty_file_is_the_default() {
    assert_eq!(load("", |_| ()).1.unwrap(), Config::default());
}

#[test]
fn documentation_shows_the_defaults() {
    let documentation = include_str!("../../docs/configuration.md");
    let (_, example) = documentation.split_once("```toml\n").unwrap();
    let (example, _) = example.split_once("```").unwrap();
    let (directory, config) = {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("plugins.toml"), "").unwrap();
        let path = directory.path().join(CONFIG_FILE);
        fs::write(&path, example).unwrap();
        (directory, Config::load(&Flags { config: Some(path), ..Flags::default() }).unwrap())
    };
    let default = Config::default();
    let data = directory.path().join(&default.data);
    let plugins = directory.path().join(&default.plugins);
    assert_eq!(config, Config { data, plugins, ..default });
    for key in CONFIG_KEYS {
        assert!(example.contains(key.path.rsplit('.').next().unwrap()), "{} is not documented", key.path);
    }
}

#[test]
fn every_key_is_read() {
    let (directory, config) = load(
        r#"
        listen = ["127.0.0.1:1", "0.0.0.0:2"]
        data = "log"
        plugins = "chat.toml.plugins"
        durability = "crash"
        open = true
        accounts.required = true
        accounts.registration = "closed"
        tls.certificate = "chat.crt"
        tls.key = "/etc/chat.key"
        limits.connections_max = 1
        limits.connections_per_address_max = 2
        limits.connects_per_address_per_s = 9
        limits.login_timeout_s = 3
        limits.dead_after_s = 4
        limits.messages_per_s = 5
        limits.destinations_max = 6
        limits.mailbox_max = 0
        limits.unknown_names_max = 7
        limits.rooms_max = 8
        limits.room_waiting_max = 9
        retention.max_age = "2 days"
        retention.max_size = "3 MiB"
        "#,
        |flags| fs::write(flags.config.as_ref().unwrap().with_file_name("chat.toml.plugins"), "plugin = []").unwrap(),
    );
    let expected = Config {
        listen: addresses(&["127.0.0.1:1", "0.0.0.0:2"]),
        data: directory.path().join("log"),
        plugins: directory.path().join("chat.toml.plugins"),
        durability: Durability::Crash,
        open: true,
        accounts: AccountsConfig { required: true, registration: Registration::Closed },
        tls: Some(TlsConfig::Files {
            certificate: directory.path().join("chat.crt"),
            key: PathBuf::from("/etc/chat.key"),
        }),
        limits: Limits {
            connections_max: 1,
            connections_per_address_max: 2,
            connects_per_address_per_s: 9,
            login_timeout_s: 3,
            dead_after_s: 4,
            messages_per_s: 5,
            destinations_max: 6,
            mailbox_max: 0,
            room_waiting_max: 9,
            unknown_names_max: 7,
            rooms_max: 8,
        },
        retention: Retention {
            max_age: Some(Duration::from_secs(2 * 24 * 3600)),
            max_size_bytes: Some(3 * 1024 * 1024),
        },
    };
    assert_eq!(config.unwrap(), expected);
}

#[test]
fn flags_win_over_the_file() {
    let (_, config) = load("listen = [\"127.0.0.1:1\"]\ndata = \"log\"\nplugins = \"absent\"\nopen = false", |flags| {
        flags.listen = vec!["127.0.0.1:2".to_owned(), "192.0.2.1:3".to_owned()];
        flags.data = Some(PathBuf::from("elsewhere"));
        flags.plugins = Some(PathBuf::from("plugins.toml"));
        flags.open = true;
    });
    let config = config.unwrap();
    assert_eq!(config.listen, addresses(&["127.0.0.1:2", "192.0.2.1:3"]));
    assert_eq!((config.data, config.plugins), (PathBuf::from("elsewhere"), PathBuf::from("plugins.toml")));
    assert!(config.open);
}

#[test]
fn absolute_path_stays_as_it_is() {
    let (directory, config) = load("", |flags| {
        let file = flags.config.as_ref().unwrap();
        fs::write(file, format!("data = {:?}", file.with_file_name("log"))).unwrap();
    });
    assert_eq!(config.unwrap().data, directory.path().join("log"));
}

#[test]
fn data_directory_does_not_depend_on_other_settings() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(CONFIG_FILE);
    fs::write(&path, "data = \"log\"\nplugins = \"absent\"\nlisten = [\"no port\"]").unwrap();
    let flags = Flags { config: Some(path), ..Flags::default() };
    assert_eq!(data_directory(&flags).unwrap(), directory.path().join("log"));
    assert_eq!(data_directory(&Flags { data: Some(PathBuf::from("mine")), ..flags }).unwrap(), PathBuf::from("mine"));
}

#[test]
fn duplicate_addresses_are_removed() {
    let listen = r#"listen = ["127.0.0.1:1", "[::1]:1", "127.0.0.1:1"]"#;
    assert_eq!(load(listen, |_| ()).1.unwrap().listen, addresses(&["127.0.0.1:1", "[::1]:1"]));
}

#[test]
fn host_name_is_resolved() {
    let listen = load(r#"listen = ["localhost:1"]"#, |_| ()).1.unwrap().listen;
    assert!(listen.iter().all(|address| address.ip().is_loopback() && address.port() == 1), "{listen:?}");
    assert!(!listen.is_empty());
}

#[test]
fn address_that_others_can_reach_needs_open() {
    for listen in ["0.0.0.0:1", "[::]:1", "192.0.2.1:1", "[::ffff:192.0.2.1]:1", "[fe80::1]:1"] {
        let toml = format!("listen = [\"127.0.0.1:1\", {listen:?}]");
        assert!(matches!(load(&toml, |_| ()).1, Err(ConfigError::Exposed { .. })), "{listen}");
        let config = load(&toml, |flags| flags.open = true).1.unwrap();
        assert_eq!(config.exposed().collect::<Vec<_>>(), addresses(&[listen]));
    }
}

#[test]
fn loopback_addresses_are_not_exposed() {
    let toml = r#"listen = ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"]"#;
    let config = load(toml, |_| ()).1.unwrap();
    assert_eq!(config.listen.len(), 4);
    assert_eq!(config.exposed().count(), 0);
}

/// Errors list the keys of our tables; serde knows the keys of the types.
#[test]
fn tables_of_keys_are_complete() {
    check_keys::<ConfigKeys>(CONFIG_KEYS, "");
    check_keys::<Limits>(CONFIG_KEYS, "limits.");
    check_keys::<Retention>(CONFIG_KEYS, "retention.");
    check_keys::<PluginsKeys>(PLUGINS_KEYS, "");
    check_keys::<PluginKeys>(PLUGINS_KEYS, "plugin.");
}

/// The advice repeats limits and names that are defined elsewhere.
#[test]
fn advice_about_plugins_is_up_to_date() {
    let fix = |path: &str| PLUGINS_KEYS.iter().find(|key| key.path == path).unwrap().fix;
    let hooks: Vec<_> = Hook::ALL.iter().map(|hook| hook.as_str()).collect();
    assert_eq!(fix("plugin.hooks"), format!("the hooks are {}", hooks.join(", ")));
    let numbers = [
        ("plugin.timeout_ms", PLUGIN_TIMEOUT_MS_MAX),
        ("plugin.tick_s", PLUGIN_TICK_S_MAX),
        ("plugin.commands.*", COMMAND_HELP_CHARS_MAX as u64),
    ];
    for (key, max) in numbers {
        assert!(fix(key).contains(&format!("1 to {max}")), "{key}");
    }
}

#[test]
fn documentation_names_every_key_of_a_plugin() {
    for documentation in [include_str!("../../docs/configuration.md"), include_str!("../../docs/plugins.md")] {
        let keys = PLUGINS_KEYS.iter().filter_map(|key| key.path.strip_prefix("plugin."));
        for key in keys.filter(|key| !key.contains('.')) {
            assert!(documentation.contains(&format!("| `{key}` |")), "{key} is not documented");
        }
    }
}

/// Loads a `plugins.toml` from a directory with two files that it may name.
fn plugins(toml: &str) -> (TempDir, Result<Vec<PluginConfig>, ConfigError>) {
    let directory = tempfile::tempdir().unwrap();
    for name in ["manners.luau", "sky.py"] {
        fs::write(directory.path().join(name), "").unwrap();
    }
    let path = directory.path().join("plugins.toml");
    fs::write(&path, toml).unwrap();
    let plugins = load_plugins(&path);
    (directory, plugins)
}

#[test]
fn plugin_without_optional_keys_has_the_defaults() {
    let toml = r#"
        [[plugin]]
        name = "Manners"
        kind = "luau"
        path = "manners.luau"
        hooks = ["message"]
    "#;
    let (directory, plugins) = plugins(toml);
    let expected = PluginConfig {
        name: PeerName::parse("manners").unwrap(),
        kind: PluginKind::Luau,
        path: directory.path().join("manners.luau"),
        directory: directory.path().to_owned(),
        arguments: Vec::new(),
        environment: Vec::new(),
        hooks: vec![Hook::Message],
        timeout: Duration::from_millis(PLUGIN_TIMEOUT_MS_DEFAULT),
        on_failure: OnFailure::Pass,
        tick: None,
        commands: Vec::new(),
        settings: json!({}),
        takes_name: false,
        user: None,
        memory_bytes_max: None,
        cpu_s_max: None,
        processes_max: None,
    };
    assert_eq!(plugins.unwrap(), [expected]);
}

#[test]
fn plugins_of_the_documentation_are_valid() {
    let documentation = include_str!("../../docs/configuration.md");
    let (_, example) = documentation.split_once("```toml\n[[plugin]]").unwrap();
    let (example, _) = example.split_once("```").unwrap();
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join("plugins")).unwrap();
    for name in ["plugins/manners.luau", "plugins/door.sh"] {
        fs::write(directory.path().join(name), "").unwrap();
    }
    let path = directory.path().join("plugins.toml");
    fs::write(&path, format!("[[plugin]]{example}")).unwrap();
    assert_eq!(load_plugins(&path).unwrap().len(), 2);
}

#[test]
fn every_key_of_a_plugin_is_read_and_plugins_keep_their_order() {
    let toml = r#"
        [[plugin]]
        name = "sky"
        kind = "process"
        path = "sky.py"
        arguments = ["--level", ""]
        hooks = ["tick", "command", "tick"]
        timeout_ms = 60000
        on_failure = "reject"
        tick_s = 604800
        take_name = true
        user = "nobody"
        memory_max = "64 MB"
        cpu_s_max = 600
        processes_max = 64
        [plugin.env]
        TZ = "Europe/Berlin"
        _empty2 = ""
        [plugin.commands]
        weather = "PLACE: the weather there"
        moon = "how full it is"
        [plugin.settings]
        words = ["heck", 5, 1.5, true]
        since = 2026-11-23T06:18:35Z
        day = 2026-11-23
        deep.er = -1

        [[plugin]]
        name = "manners"
        kind = "luau"
        path = "manners.luau"
        hooks = ["message"]
        memory_max = "1 MiB"
    "#;
    let (directory, plugins) = plugins(toml);
    let plugins = plugins.unwrap();
    let sky = PluginConfig {
        name: PeerName::parse("sky").unwrap(),
        kind: PluginKind::Process,
        path: directory.path().join("sky.py"),
        directory: directory.path().to_owned(),
        arguments: vec!["--level".to_owned(), String::new()],
        environment: [("TZ", "Europe/Berlin"), ("_empty2", "")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec(),
        hooks: vec![Hook::Tick, Hook::Command],
        timeout: Duration::from_secs(60),
        on_failure: OnFailure::Reject,
        tick: Some(Duration::from_secs(7 * 24 * 60 * 60)),
        commands: [("weather", "PLACE: the weather there"), ("moon", "how full it is")]
            .map(|(name, help)| (name.to_owned(), help.to_owned()))
            .to_vec(),
        settings: json!({
            "words": ["heck", 5, 1.5, true],
            "since": "2026-11-23T06:18:35Z",
            "day": "2026-11-23",
            "deep": { "er": -1 },
        }),
        takes_name: true,
        user: Some("nobody".to_owned()),
        memory_bytes_max: Some(64_000_000),
        cpu_s_max: Some(600),
        processes_max: Some(64),
    };
    assert_eq!(plugins[0], sky);
    assert_eq!((plugins[1].name.as_str(), plugins[1].memory_bytes_max), ("manners", Some(1024 * 1024)));
}

#[test]
fn program_needs_no_hooks() {
    let (_directory, plugins) = plugins("[[plugin]]\nname = \"sky\"\nkind = \"process\"\npath = \"sky.py\"");
    assert_eq!(plugins.unwrap()[0].hooks, []);
}

#[test]
fn only_a_file_of_the_default_name_may_be_absent() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(load_plugins(&directory.path().join("plugins.toml")).unwrap(), []);
    let error = load_plugins(&directory.path().join("mine.toml")).unwrap_err();
    assert!(matches!(error, ConfigError::Unreadable { .. }), "{error}");
}

#[test]
fn path_of_the_plugins_file_does_not_depend_on_other_settings() {
    let directory = tempfile::tempdir().unwrap();
    let config = directory.path().join(CONFIG_FILE);
    fs::write(&config, "plugins = \"absent.toml\"\nlisten = [\"no port\"]").unwrap();
    let flags = Flags { config: Some(config), ..Flags::default() };
    assert_eq!(plugins_file(&flags).unwrap(), directory.path().join("absent.toml"));
    let named = Flags { plugins: Some(PathBuf::from("mine.toml")), ..flags };
    assert_eq!(plugins_file(&named).unwrap(), PathBuf::from("mine.toml"));
}

fn check_keys<T: serde::de::DeserializeOwned>(keys: &[Key], prefix: &str) {
    let Err(error) = toml::from_str::<T>("there-is-no-such-key = 1") else { panic!("an unknown key is an error") };
    let serde: Vec<_> = error.message().split('`').skip(3).step_by(2).collect();
    let ours = keys.iter().filter_map(|key| key.path.strip_prefix(prefix)).filter(|name| !name.contains('.'));
    assert_eq!(ours.collect::<Vec<_>>(), serde);
}
