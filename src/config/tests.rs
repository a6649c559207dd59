//! What a configuration means. How a mistake in it is refused is `tests/config.rs`.

use std::fs;

use tempfile::TempDir;

use super::settings::{CONFIG_FILE, CONFIG_KEYS, ConfigKeys};
use super::*;

/// Loads a configuration file with these lines, with what `change` does to the flags.
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

/// It also reads the `plugins.toml` of this repository, as whoever runs it from here does.
#[test]
fn an_empty_file_is_the_default() {
    assert_eq!(load("", |_| ()).1.unwrap(), Config::default());
}

#[test]
fn the_documentation_shows_the_defaults() {
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
fn each_key_is_read() {
    let (directory, config) = load(
        r#"
        listen = ["127.0.0.1:1", "0.0.0.0:2"]
        data = "log"
        plugins = "chat.toml.plugins"
        durability = "crash"
        open = true
        limits.connections_max = 1
        limits.connections_per_address_max = 2
        limits.login_timeout_s = 3
        limits.dead_after_s = 4
        limits.messages_per_s = 5
        limits.destinations_max = 6
        limits.mailbox_max = 0
        limits.unknown_names_max = 7
        limits.rooms_max = 8
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
        limits: Limits {
            connections_max: 1,
            connections_per_address_max: 2,
            login_timeout_s: 3,
            dead_after_s: 4,
            messages_per_s: 5,
            destinations_max: 6,
            mailbox_max: 0,
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
fn an_absolute_path_stays() {
    let (directory, config) = load("", |flags| {
        let file = flags.config.as_ref().unwrap();
        fs::write(file, format!("data = {:?}", file.with_file_name("log"))).unwrap();
    });
    assert_eq!(config.unwrap().data, directory.path().join("log"));
}

#[test]
fn the_data_directory_needs_nothing_else_to_be_possible() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(CONFIG_FILE);
    fs::write(&path, "data = \"log\"\nplugins = \"absent\"\nlisten = [\"no port\"]").unwrap();
    let flags = Flags { config: Some(path), ..Flags::default() };
    assert_eq!(data_directory(&flags).unwrap(), directory.path().join("log"));
    assert_eq!(data_directory(&Flags { data: Some(PathBuf::from("mine")), ..flags }).unwrap(), PathBuf::from("mine"));
}

#[test]
fn an_address_stands_once() {
    let listen = r#"listen = ["127.0.0.1:1", "[::1]:1", "127.0.0.1:1"]"#;
    assert_eq!(load(listen, |_| ()).1.unwrap().listen, addresses(&["127.0.0.1:1", "[::1]:1"]));
}

#[test]
fn a_host_is_resolved() {
    let listen = load(r#"listen = ["localhost:1"]"#, |_| ()).1.unwrap().listen;
    assert!(listen.iter().all(|address| address.ip().is_loopback() && address.port() == 1), "{listen:?}");
    assert!(!listen.is_empty());
}

#[test]
fn what_others_can_reach_wants_open() {
    for listen in ["0.0.0.0:1", "[::]:1", "192.0.2.1:1", "[::ffff:192.0.2.1]:1", "[fe80::1]:1"] {
        let toml = format!("listen = [\"127.0.0.1:1\", {listen:?}]");
        assert!(matches!(load(&toml, |_| ()).1, Err(ConfigError::Exposed { .. })), "{listen}");
        let config = load(&toml, |flags| flags.open = true).1.unwrap();
        assert_eq!(config.exposed().collect::<Vec<_>>(), addresses(&[listen]));
    }
}

#[test]
fn what_only_this_machine_reaches_is_never_exposed() {
    let toml = r#"listen = ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"]"#;
    let config = load(toml, |_| ()).1.unwrap();
    assert_eq!(config.listen.len(), 4);
    assert_eq!(config.exposed().count(), 0);
}

/// Refusals list the keys, and serde decides which there are.
#[test]
fn refusals_know_the_keys_that_serde_knows() {
    check_keys::<ConfigKeys>(CONFIG_KEYS, "");
    check_keys::<Limits>(CONFIG_KEYS, "limits.");
    check_keys::<Retention>(CONFIG_KEYS, "retention.");
    check_keys::<PluginsKeys>(PLUGINS_KEYS, "");
}

fn check_keys<T: serde::de::DeserializeOwned>(keys: &[Key], prefix: &str) {
    let Err(error) = toml::from_str::<T>("there-is-no-such-key = 1") else { panic!("an unknown key was taken") };
    let serde: Vec<_> = error.message().split('`').skip(3).step_by(2).collect();
    let ours = keys.iter().filter_map(|key| key.path.strip_prefix(prefix)).filter(|name| !name.contains('.'));
    assert_eq!(ours.collect::<Vec<_>>(), serde);
}
