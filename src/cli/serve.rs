//! `holdline serve`: runs the server until a signal stops it. Owns its flags and the warning about open addresses; never uses a
//! socket.

use bpaf::{OptionParser, Parser, construct, long};
use holdline::config::{Config, Flags};
use holdline::server::{ServeError, Server};

/// Returns `serve` with its flags and their help.
pub(crate) fn options() -> OptionParser<Flags> {
    flags()
        .to_options()
        .descr("Runs the server until SIGINT or SIGTERM")
        .header("Flags win over the configuration file.")
        .footer("Example:\n\n        holdline serve --listen=192.168.1.10:7878 --open --data=/var/lib/holdline")
}

/// Returns the flags of `serve`.
pub(crate) fn flags() -> impl Parser<Flags> {
    let listen = long("listen")
        .argument::<String>("ADDR")
        .help("HOST:PORT to listen on; may be repeated [default: 127.0.0.1:7878]")
        .many();
    let data = super::flags::data_flag();
    let config = super::flags::config_flag();
    let plugins = super::flags::plugins_flag();
    let open = long("open").switch().help(
        "Allows addresses that other machines can reach, though anyone there can log in as anyone without a password",
    );
    construct!(Flags { listen, data, config, plugins, open })
}

/// Runs the server.
pub(crate) fn run(config: &Config) -> Result<(), ServeError> {
    for address in config.exposed() {
        if config.requires_tls() {
            log::info!("{address} can be reached from other machines, over TLS and by names with a password");
        } else if config.accounts.required {
            log::warn!(
                "{address} can be reached from other machines, by names with a password; without TLS, others can listen"
            );
        } else {
            log::warn!(
                "{address} can be reached from other machines, and anyone who reaches it can log in as anyone without a password"
            );
        }
    }
    let mut server = Server::bind(config)?;
    server.adopt_orphans()?;
    server.run()
}
