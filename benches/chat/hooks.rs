//! Plugins: the cost of a `message` hook that passes everything, and the cost of a hanging plugin for clients that it
//! does not serve. Owns the plugins that are measured; the load is that of `pairs.rs`.

use std::fs;
use std::thread;

use anyhow::{Context, Result};

use crate::client::Client;
use crate::options::Options;
use crate::pairs;
use crate::probe::Probe;
use crate::sample::Sample;
use crate::scenario::{Bar, Figures, Measure, Round, Run, Scenario};
use crate::server::{Contestant, Home, Server};

/// Script and program that pass everything, compared with no plugin.
pub(crate) const COST: Scenario = Scenario {
    name: "hooks",
    title: "50 pairs at full speed, and a plugin that passes",
    contestants: &[Contestant::HoldlineCrash, Contestant::HoldlineLuau, Contestant::HoldlineProcess],
    measures: &[
        Measure { name: "", unit: "messages/s", bars: &[] },
        Measure { name: "cost", unit: "µs CPU/message", bars: &[(Contestant::HoldlineLuau, Bar::Under(3.0))] },
    ],
    run: Run::Together(run_cost),
    on_request: false,
};

/// Command that never ends, and messages that no plugin handles.
pub(crate) const HANG: Scenario = Scenario {
    name: "hooks-hang",
    title: "Beside a plugin that hangs",
    contestants: &[Contestant::HoldlineCrash],
    measures: &[
        Measure { name: "p50 of others", unit: "µs", bars: &[] },
        Measure { name: "p50 of others, in calm", unit: "µs", bars: &[] },
        Measure {
            name: "p50 of others, of that in calm",
            unit: "times",
            bars: &[(Contestant::HoldlineCrash, Bar::Under(2.0))],
        },
    ],
    run: Run::Each(run_hang),
    on_request: false,
};

const PASSES_LUAU: &str = "function message(m) end\n";

/// One line in, one line out, each with its id and nothing else.
const PASSES_PROCESS: &str = "#!/bin/sh\nexec jq --unbuffered -c '{id}'\n";

const HANGS: &str = "function command(c) while true do end end\n";

/// Messages that are timed.
const MESSAGES: usize = 2000;

fn run_cost(options: &Options) -> Result<Option<Round>> {
    let mut round = Round::new();
    let mut without_us = 0.0;
    for contestant in COST.contestants {
        let mut figures = flood(*contestant, options).with_context(|| contestant.to_string())?;
        let cpu_us = figures.server_cpu_us.context("the server's time is known")?;
        if *contestant == Contestant::HoldlineCrash {
            without_us = cpu_us;
        }
        figures.values.push(cpu_us - without_us);
        round.insert(*contestant, figures);
    }
    Ok(Some(round))
}

fn flood(contestant: Contestant, options: &Options) -> Result<Figures> {
    let home = Home::new()?;
    home.configure("durability = \"crash\"\n")?;
    match contestant {
        Contestant::HoldlineLuau => add_plugin(&home, "luau", "message", PASSES_LUAU)?,
        Contestant::HoldlineProcess => add_plugin(&home, "process", "message", PASSES_PROCESS)?,
        _ => {}
    }
    let server = Server::start_in(home, contestant, options)?;
    let figures = pairs::measure(&server, pairs::load(options))?;
    server.stop()?;
    Ok(figures)
}

fn run_hang(contestant: Contestant, options: &Options) -> Result<Option<Figures>> {
    let home = Home::new()?;
    home.configure("durability = \"crash\"\n")?;
    add_plugin(&home, "luau", "command", HANGS)?;
    let server = Server::start_in(home, contestant, options)?;
    let mut probe = Probe::login(server.address(), "calm")?;
    let calm = (0..MESSAGES).map(|_| probe.send_one()).collect::<Result<Sample>>()?;
    let mut asker = Client::login_all(server.address(), ["asker".to_owned()])?.remove(0);
    let hanging = thread::spawn(move || {
        asker.write_all(b"/hang\n")?;
        Client::barrier([&mut asker], "done")
    });
    let mut times = Vec::new();
    while !hanging.is_finished() {
        times.push(probe.send_one()?);
    }
    hanging.join().expect("it does not panic")?;
    probe.finish()?;
    server.stop()?;
    let median = |sample: Sample| sample.median().context("nothing was measured");
    let (calm, meanwhile) = (median(calm)?, median(times.into_iter().collect())?);
    Ok(Some(Figures::new([meanwhile, calm, meanwhile / calm])))
}

fn add_plugin(home: &Home, kind: &str, hook: &str, text: &str) -> Result<()> {
    let commands = if hook == "command" { "[plugin.commands]\nhang = \"never answers\"\n" } else { "" };
    let entry = format!(
        "[[plugin]]\nname = \"passes\"\nkind = \"{kind}\"\npath = \"passes\"\nhooks = [\"{hook}\"]\ntimeout_ms = 2000\n{commands}"
    );
    fs::write(home.path().join("plugins.toml"), entry)?;
    let path = home.path().join("passes");
    fs::write(&path, text)?;
    #[cfg(unix)]
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    Ok(())
}
