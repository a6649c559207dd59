//! Several hosts on one machine: network namespaces, with cables to a switch between them. Owns the namespaces and the
//! faults of the cables; never changes the network of the machine itself.
//!
//! A namespace has no name that could be left over: it exists as long as a process is in it.

use std::io::Read;
use std::net::Ipv4Addr;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::geteuid;

use super::eventually;

/// Host with a network of its own.
pub(crate) struct Host {
    namespace: Namespace,
    /// Index among the hosts of its network.
    number: u8,
}

/// Hosts on one switch, each with a cable.
pub(crate) struct Lan<const N: usize> {
    /// Hosts that the switch connects.
    pub(crate) hosts: [Host; N],
    /// Namespace with the other ends of their cables.
    switch: Namespace,
}

/// Network namespace.
struct Namespace {
    /// Process that owns the namespace; it lives as long as its standard input is open.
    holder: Child,
}

impl<const N: usize> Lan<N> {
    /// Plugs everything in. `None` with a message where that is not permitted.
    #[track_caller]
    pub(crate) fn new() -> Option<Self> {
        unless_skipped(Self::build())
    }

    fn build() -> Result<Self, String> {
        let switch = Namespace::new()?;
        switch.ip("link add name switch type bridge")?;
        switch.ip("link set dev switch up")?;
        let mut hosts = Vec::new();
        for number in 0..N {
            let host = Host::new(Namespace::beside(&switch)?, number as u8)?;
            host.plug_into(&switch)?;
            hosts.push(host);
        }
        let Ok(hosts) = hosts.try_into() else { unreachable!("a host was made for each number") };
        let lan = Lan { hosts, switch };
        lan.hosts.iter().for_each(|host| lan.wait_until_connected(host));
        Ok(lan)
    }

    /// Pulls the cable of a host. The host sees that its cable is out; the others see nothing.
    pub(crate) fn pull(&self, host: &Host) {
        self.set(host, "down");
    }

    /// Plugs the cable in again.
    pub(crate) fn plug(&self, host: &Host) {
        self.set(host, "up");
        self.wait_until_connected(host);
        // A host that failed to resolve an address would retry only once a second.
        let flushed = host.namespace.ip("neighbor flush dev cable");
        flushed.unwrap_or_else(|error| panic!("{error}"));
    }

    /// Lets nothing through in either direction, without a sign at either end: the fault is beyond the cable.
    pub(crate) fn cut(&self, host: &Host) {
        self.mute(host);
        self.set(host, "type bridge_slave flood off mcast_flood off bcast_flood off");
    }

    /// Lets everything through again.
    pub(crate) fn mend(&self, host: &Host) {
        self.set(host, "type bridge_slave flood on mcast_flood on bcast_flood on");
        self.unmute(host);
    }

    /// Lets packets to a host through, and drops packets from it: a locked port accepts only known addresses, and it
    /// forgets them all.
    pub(crate) fn mute(&self, host: &Host) {
        self.set(host, "type bridge_slave locked on learning off fdb_flush");
    }

    /// Lets packets from a host through again.
    pub(crate) fn unmute(&self, host: &Host) {
        self.set(host, "type bridge_slave locked off learning on");
    }

    /// Waits until both ends notice that the cable is in; packets sent before are lost.
    fn wait_until_connected(&self, host: &Host) {
        let is_up = |namespace: &Namespace, end: &str| {
            let state = namespace.ip(&format!("-brief link show dev {end}"));
            state.unwrap_or_else(|error| panic!("{error}")).contains(" UP ")
        };
        eventually("the cable is connected", || is_up(&host.namespace, "cable") && is_up(&self.switch, &host.port()));
    }

    fn set(&self, host: &Host, what: &str) {
        let done = self.switch.ip(&format!("link set dev {} {what}", host.port()));
        done.unwrap_or_else(|error| panic!("a port cannot be set {what}: {error}"));
    }
}

impl Host {
    /// Returns two hosts without cables.
    pub(super) fn pair() -> Result<[Host; 2], String> {
        let first = Namespace::new()?;
        let second = Namespace::beside(&first)?;
        Ok([Host::new(first, 0)?, Host::new(second, 1)?])
    }

    /// Creates a host without a cable.
    fn new(namespace: Namespace, number: u8) -> Result<Self, String> {
        namespace.ip("link set dev lo up")?;
        namespace.run("nc.openbsd", "-h")?;
        Ok(Host { namespace, number })
    }

    fn plug_into(&self, switch: &Namespace) -> Result<(), String> {
        let (port, holder) = (self.port(), self.namespace.holder.id());
        switch.ip(&format!("link add name {port} type veth peer name cable netns {holder}"))?;
        switch.ip(&format!("link set dev {port} master switch up"))?;
        // The port is unlocked anyway: systems that are too old to lock a port fail here.
        switch.ip(&format!("link set dev {port} type bridge_slave locked off"))?;
        self.namespace.ip(&format!("address add {}/24 dev cable", self.address()))?;
        self.namespace.ip("link set dev cable up")?;
        Ok(())
    }

    /// Port of the switch to which its cable leads.
    fn port(&self) -> String {
        format!("port{}", self.number)
    }

    /// Returns the address of the host, one of those reserved for examples; RFC 5737.
    pub(crate) fn address(&self) -> Ipv4Addr {
        Ipv4Addr::new(192, 0, 2, self.number + 1)
    }

    /// Returns a command that runs on the host, in the process that is spawned.
    pub(crate) fn command(&self, program: &str) -> Command {
        self.namespace.command(program)
    }
}

impl Namespace {
    /// Creates the first namespace of a network.
    fn new() -> Result<Self, String> {
        let mut unshare = Command::new("unshare");
        if !geteuid().is_root() {
            // A user without privileges has them in a user namespace, where the system permits one.
            unshare.args(["--user", "--map-root-user"]);
        }
        Self::held_by(unshare)
    }

    /// Creates another namespace with the same privileges.
    fn beside(other: &Namespace) -> Result<Self, String> {
        Self::held_by(other.command("unshare"))
    }

    fn held_by(mut unshare: Command) -> Result<Self, String> {
        unshare.args(["--net", "sh", "-c", "echo && exec cat"]);
        unshare.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let holder = unshare.spawn().map_err(|error| format!("unshare cannot be run: {error}"))?;
        let mut namespace = Namespace { holder };
        namespace.wait_until_held()?;
        Ok(namespace)
    }

    fn wait_until_held(&mut self) -> Result<(), String> {
        let output = self.holder.stdout.as_mut().expect("stdout is a pipe");
        if output.read_exact(&mut [0]).is_ok() {
            return Ok(());
        }
        let mut stderr = String::new();
        let _ = self.holder.stderr.as_mut().expect("stderr is a pipe").read_to_string(&mut stderr);
        Err(stderr.trim().to_owned())
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.holder.id().to_string(), "--net"]);
        if !geteuid().is_root() {
            command.args(["--user", "--preserve-credentials"]);
        }
        // On some systems only root has `ip` in its path.
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{path}:/usr/sbin:/sbin")).arg("--").arg(program);
        command
    }

    fn ip(&self, arguments: &str) -> Result<String, String> {
        self.run("ip", arguments)
    }

    /// Runs a program in the namespace. Returns its output.
    fn run(&self, program: &str, arguments: &str) -> Result<String, String> {
        let run = self.command(program).args(arguments.split(' ')).output();
        let Output { status, stdout, stderr } = run.map_err(|error| format!("nsenter cannot be run: {error}"))?;
        if status.success() {
            return Ok(String::from_utf8_lossy(&stdout).into_owned());
        }
        Err(format!("{program} {arguments}: {}", String::from_utf8_lossy(&stderr).trim()))
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.holder.kill();
        let _ = self.holder.wait();
    }
}

/// Returns what was built. If `CI` is set it must succeed; otherwise the test is skipped with a message.
#[track_caller]
pub(super) fn unless_skipped<T>(built: Result<T, String>) -> Option<T> {
    match built {
        Ok(built) => Some(built),
        Err(error) if std::env::var_os("CI").is_some() => {
            panic!("network namespaces are required in CI: {error}");
        }
        Err(error) => {
            eprintln!("skipped: network namespaces are not available here: {error}");
            None
        }
    }
}
