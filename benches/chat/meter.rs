//! Cost of a load: time, CPU time and memory of the server, and CPU time of the clients on the same machine. Owns when
//! each of them is read; never generates the load.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::proc::own_cpu;
use crate::scenario::Figures;
use crate::server::Server;

/// Meter that runs since the load began.
pub(crate) struct Meter<'a> {
    server: &'a Server,
    /// CPU time that the server had used before.
    server_cpu: Duration,
    /// CPU time that this program had used before.
    load_cpu: Duration,
    started: Instant,
}

/// Meter that was stopped when the last message had arrived.
pub(crate) struct Reading<'a> {
    server: &'a Server,
    /// CPU time that the server had used before.
    server_cpu: Duration,
    /// CPU time that the clients used.
    load_cpu: Duration,
    elapsed: Duration,
}

impl<'a> Meter<'a> {
    /// Starts a meter.
    pub(crate) fn start(server: &'a Server) -> Result<Self> {
        Ok(Meter { server, server_cpu: server.cpu()?, load_cpu: own_cpu()?, started: Instant::now() })
    }

    /// Stops the time and the clients' CPU time; the server may still have work to do.
    pub(crate) fn stop(self) -> Result<Reading<'a>> {
        let elapsed = self.started.elapsed();
        let load_cpu = own_cpu()?.saturating_sub(self.load_cpu);
        Ok(Reading { server: self.server, server_cpu: self.server_cpu, load_cpu, elapsed })
    }
}

impl Reading<'_> {
    /// Returns the figures of this many messages once the server is done: messages per second, and the cost of each.
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
