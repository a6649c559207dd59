//! What a load costs: the time, the server's CPU time and memory, and those of the clients who share the machine.
//! Owns when each of them is read; never makes the load.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::proc::own_cpu;
use crate::scenario::Figures;
use crate::server::Server;

/// Running, since the load began.
pub(crate) struct Meter<'a> {
    server: &'a Server,
    /// CPU time that the server had used before.
    server_cpu: Duration,
    /// CPU time that this program had used before.
    load_cpu: Duration,
    started: Instant,
}

/// Stopped, when the last message had arrived.
pub(crate) struct Reading<'a> {
    server: &'a Server,
    /// CPU time that the server had used before.
    server_cpu: Duration,
    /// CPU time that the clients used.
    load_cpu: Duration,
    elapsed: Duration,
}

impl<'a> Meter<'a> {
    /// Begins now.
    pub(crate) fn start(server: &'a Server) -> Result<Self> {
        Ok(Meter { server, server_cpu: server.cpu()?, load_cpu: own_cpu()?, started: Instant::now() })
    }

    /// Ends the time, and what the clients cost; the server may still have work to do.
    pub(crate) fn stop(self) -> Result<Reading<'a>> {
        let elapsed = self.started.elapsed();
        let load_cpu = own_cpu()?.saturating_sub(self.load_cpu);
        Ok(Reading { server: self.server, server_cpu: self.server_cpu, load_cpu, elapsed })
    }
}

impl Reading<'_> {
    /// The figures of so many messages, once the server is done with them: messages a second, and what each has cost.
    pub(crate) fn of_messages(self, messages: f64) -> Result<Figures> {
        let per_message = |cpu: Duration| Some(cpu.as_secs_f64() * 1e6 / messages);
        Ok(Figures {
            values: vec![messages / self.elapsed.as_secs_f64()],
            server_cpu_us: per_message(self.server.cpu()?.saturating_sub(self.server_cpu)),
            load_cpu_us: per_message(self.load_cpu),
            peak_bytes: Some(self.server.peak_bytes()?),
        })
    }
}
