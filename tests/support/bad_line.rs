//! A bad line between two hosts: it loses packets, and delays the others by different times, so that they overtake each
//! other. Owns the packets in flight; never looks into one.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::eventually;
use super::hosts::{Host, unless_skipped};

/// Lost packets, of a hundred.
const LOST_PERCENT: u64 = 5;

/// Minimum delay of a packet.
const DELAY_US_MIN: u64 = 1_000;

/// Maximum delay: longer than the next packet takes to follow.
const DELAY_US_MAX: u64 = 6_000;

/// Time in which a host must take a packet; otherwise it is lost.
const TAKING: Duration = Duration::from_millis(1);

/// Time to wait for a packet before checking whether the line still exists.
const IDLE: Duration = Duration::from_millis(20);

/// Bytes of the largest packet, with a margin.
const PACKET_BYTES_MAX: usize = 2048;

/// Two hosts and the line between them.
pub(crate) struct BadLine {
    /// Hosts at the ends of the line.
    pub(crate) hosts: [Host; 2],
    /// Network interfaces at the ends of the line.
    interfaces: Vec<Interface>,
    /// Threads that carry packets, one for each direction.
    carriers: Vec<JoinHandle<Carried>>,
    /// False when the line is taken down.
    is_up: Arc<AtomicBool>,
    /// Directory of the sockets through which packets pass.
    sockets: TempDir,
}

/// Packets of one direction.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Carried {
    /// Packets that arrived.
    pub(crate) arrived: usize,
    /// Packets that were lost.
    pub(crate) lost: usize,
    /// Packets that arrived after one which had left after them.
    pub(crate) overtaken: usize,
}

/// Network interface whose packets pass through a socket: `socat`; killed when it is dropped.
struct Interface(Child);

/// Carrier of packets in one direction.
struct Carrier {
    /// Socket at which packets arrive.
    from: Arc<UnixDatagram>,
    /// Socket from which they leave: the other end accepts no other.
    to: Arc<UnixDatagram>,
    /// Address of the other end.
    end: PathBuf,
    /// Packets in flight, by due time and order of arrival.
    in_flight: BinaryHeap<Reverse<(Instant, usize, Vec<u8>)>>,
    /// Packets received so far.
    received: usize,
    /// Number of the newest packet that was passed on.
    newest: usize,
    carried: Carried,
    random: Random,
}

/// Pseudo-random numbers for the line; Knuth's MMIX.
struct Random(u64);

impl BadLine {
    /// Lays the line. `None` with a message where that is not permitted.
    #[track_caller]
    pub(crate) fn new() -> Option<Self> {
        unless_skipped(Self::lay())
    }

    fn lay() -> Result<Self, String> {
        let hosts = Host::pair()?;
        let sockets = tempfile::tempdir().expect("a temporary directory can be created");
        let is_up = Arc::new(AtomicBool::new(true));
        // Carriers first: an interface that finds none ends.
        let carriers = start_carriers(sockets.path(), &is_up).expect("sockets in a directory of our own");
        let mut line = BadLine { hosts, interfaces: Vec::new(), carriers, is_up, sockets };
        for number in 0..2 {
            let interface = Interface::start(&line.hosts[number], line.sockets.path(), number)?;
            line.interfaces.push(interface);
        }
        Ok(line)
    }

    /// Takes the line down. Returns the packets of each direction, the first host's first.
    pub(crate) fn take_down(mut self) -> Vec<Carried> {
        self.is_up.store(false, Ordering::Relaxed);
        self.carriers.drain(..).map(|carrier| carrier.join().expect("a carrier does not panic")).collect()
    }
}

impl Drop for BadLine {
    fn drop(&mut self) {
        self.is_up.store(false, Ordering::Relaxed);
    }
}

fn start_carriers(directory: &Path, is_up: &Arc<AtomicBool>) -> io::Result<Vec<JoinHandle<Carried>>> {
    let sockets = [carrier_socket(directory, 0)?, carrier_socket(directory, 1)?];
    let carriers = [(0, 1), (1, 0)].map(|(from, to)| {
        let (from, to, end) = (sockets[from].clone(), sockets[to].clone(), interface_path(directory, to));
        let is_up = is_up.clone();
        thread::spawn(move || Carrier::new(from, to, end).carry(&is_up))
    });
    Ok(carriers.into())
}

fn carrier_socket(directory: &Path, number: usize) -> io::Result<Arc<UnixDatagram>> {
    let socket = UnixDatagram::bind(carrier_path(directory, number))?;
    socket.set_write_timeout(Some(TAKING))?;
    Ok(Arc::new(socket))
}

fn carrier_path(directory: &Path, number: usize) -> PathBuf {
    directory.join(format!("carrier{number}"))
}

fn interface_path(directory: &Path, number: usize) -> PathBuf {
    directory.join(format!("interface{number}"))
}

impl Interface {
    fn start(host: &Host, directory: &Path, number: usize) -> Result<Self, String> {
        let path = interface_path(directory, number);
        let mut socat = host.command("socat");
        socat.arg(format!("TUN:{}/24,up", host.address()));
        socat.arg(format!("UNIX-SENDTO:{},bind={}", carrier_path(directory, number).display(), path.display()));
        let spawned = socat.stdin(Stdio::null()).stderr(Stdio::piped()).spawn();
        let mut interface = Interface(spawned.map_err(|error| format!("nsenter cannot be run: {error}"))?);
        // The socket exists once the interface is up.
        eventually("a network interface is up, or refused", || path.exists() || interface.has_ended());
        if interface.has_ended() { Err(interface.complaint()) } else { Ok(interface) }
    }

    fn has_ended(&mut self) -> bool {
        self.0.try_wait().expect("the process is a child of the test").is_some()
    }

    fn complaint(&mut self) -> String {
        let stderr = self.0.stderr.take().expect("stderr is a pipe");
        io::read_to_string(stderr).unwrap_or_default().trim().to_owned()
    }
}

impl Drop for Interface {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Carrier {
    fn new(from: Arc<UnixDatagram>, to: Arc<UnixDatagram>, end: PathBuf) -> Self {
        let (in_flight, carried) = (BinaryHeap::new(), Carried::default());
        Carrier { from, to, end, in_flight, received: 0, newest: 0, carried, random: Random(0) }
    }

    /// Carries packets until the line is taken down.
    fn carry(mut self, is_up: &AtomicBool) -> Carried {
        let mut packet = [0; PACKET_BYTES_MAX];
        while is_up.load(Ordering::Relaxed) {
            self.from.set_read_timeout(Some(self.until_next_due())).expect("a time that is not zero");
            if let Ok(bytes) = self.from.recv(&mut packet) {
                self.take(&packet[..bytes]);
            }
            self.deliver_due();
        }
        self.carried
    }

    fn until_next_due(&self) -> Duration {
        let due = self.in_flight.peek().map(|Reverse((due, ..))| *due);
        let left = due.map_or(IDLE, |due| due.saturating_duration_since(Instant::now()));
        left.clamp(Duration::from_micros(1), IDLE)
    }

    fn take(&mut self, packet: &[u8]) {
        self.received += 1;
        if self.random.below(100) < LOST_PERCENT {
            self.carried.lost += 1;
            return;
        }
        let delay = DELAY_US_MIN + self.random.below(DELAY_US_MAX - DELAY_US_MIN);
        let due = Instant::now() + Duration::from_micros(delay);
        self.in_flight.push(Reverse((due, self.received, packet.to_owned())));
    }

    fn deliver_due(&mut self) {
        while let Some(Reverse((due, ..))) = self.in_flight.peek()
            && *due <= Instant::now()
            && let Some(Reverse((_, number, packet))) = self.in_flight.pop()
        {
            if self.to.send_to(&packet, &self.end).is_err() {
                self.carried.lost += 1;
                continue;
            }
            self.carried.arrived += 1;
            self.carried.overtaken += usize::from(number < self.newest);
            self.newest = self.newest.max(number);
        }
    }
}

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % end
    }
}
