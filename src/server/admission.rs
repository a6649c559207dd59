//! Admission of connections by their number: all that are open, and those of each address. Owns the counts; never touches a socket.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::config::Limits;
use crate::limits::DESCRIPTORS_RESERVED;
use crate::protocol::{Code, Refusal};

/// Limits and counts, which all listeners share.
#[derive(Debug)]
pub(super) struct Admission {
    connections_max: u64,
    connections_per_address_max: u64,
    open: Mutex<OpenConnections>,
}

/// Counts of the open connections.
#[derive(Debug, Default)]
struct OpenConnections {
    connections: u64,
    /// Connections of each address; empty if there is no limit to them.
    by_address: HashMap<IpAddr, u64>,
}

/// Permit of one connection, which counts as open until the permit is dropped.
#[derive(Debug)]
pub(super) struct Admitted {
    admission: Arc<Admission>,
    address: IpAddr,
}

impl Admission {
    /// Takes the limits of the configuration, and the number of descriptors that the process may have.
    pub(super) fn new(limits: &Limits, descriptors_max: u64) -> Self {
        let room = descriptors_max.saturating_sub(DESCRIPTORS_RESERVED);
        if limits.connections_max > room {
            log::warn!(
                "connections_max is {}, but the system allows only {room} (RLIMIT_NOFILE is {descriptors_max}): more will wait",
                limits.connections_max
            );
        }
        Admission {
            connections_max: if limits.connections_max == 0 { room } else { limits.connections_max },
            connections_per_address_max: Limits::or_none(limits.connections_per_address_max),
            open: Mutex::default(),
        }
    }

    /// Admits a connection from an address. Fails if a limit is reached.
    pub(super) fn admit(self: &Arc<Self>, address: IpAddr) -> Result<Admitted, Refusal> {
        // An IPv4 address may be written as IPv6.
        let address = address.to_canonical();
        let mut open = self.open.lock();
        if open.connections >= self.connections_max {
            return Err(full(format!("{} connections are open (connections_max)", open.connections)));
        }
        if self.connections_per_address_max < u64::MAX {
            let of_address = open.by_address.entry(address).or_default();
            if *of_address >= self.connections_per_address_max {
                let words = format!("{of_address} connections from {address} are open (connections_per_address_max)");
                return Err(full(words));
            }
            *of_address += 1;
        }
        open.connections += 1;
        Ok(Admitted { admission: self.clone(), address })
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut open = self.admission.open.lock();
        open.connections -= 1;
        if let Some(of_address) = open.by_address.get_mut(&self.address) {
            *of_address -= 1;
            if *of_address == 0 {
                open.by_address.remove(&self.address);
            }
        }
    }
}

fn full(what: String) -> Refusal {
    Refusal::new(Code::TooManyConnections, format!("{what}; not logged in, try again later"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(connections_max: u64, connections_per_address_max: u64) -> Arc<Admission> {
        let limits = Limits { connections_max, connections_per_address_max, ..Limits::default() };
        Arc::new(Admission::new(&limits, 1000))
    }

    fn refused(admission: &Arc<Admission>, address: &str) -> String {
        let refusal = admission.admit(address.parse().unwrap()).unwrap_err();
        assert_eq!(refusal.code, Code::TooManyConnections);
        refusal.message
    }

    #[test]
    fn connection_that_ends_makes_room_for_another() {
        let admission = admission(2, 0);
        let first = admission.admit("192.0.2.1".parse().unwrap()).unwrap();
        let _second = admission.admit("192.0.2.2".parse().unwrap()).unwrap();
        let words = refused(&admission, "192.0.2.3");
        assert_eq!(words, "2 connections are open (connections_max); not logged in, try again later");
        drop(first);
        let _third = admission.admit("192.0.2.3".parse().unwrap()).unwrap();
        refused(&admission, "192.0.2.1");
    }

    #[test]
    fn each_address_is_counted_by_itself() {
        let admission = admission(0, 1);
        let first = admission.admit("192.0.2.1".parse().unwrap()).unwrap();
        let _second = admission.admit("2001:db8::1".parse().unwrap()).unwrap();
        let words = refused(&admission, "::ffff:192.0.2.1");
        assert!(words.starts_with("1 connections from 192.0.2.1 are open (connections_per_address_max); "), "{words}");
        drop(first);
        drop(admission.admit("192.0.2.1".parse().unwrap()).unwrap());
        assert_eq!(admission.open.lock().by_address.len(), 1);
    }

    #[test]
    fn default_limit_is_the_number_of_descriptors() {
        let admission = admission(0, 0);
        assert_eq!(admission.connections_max, 1000 - DESCRIPTORS_RESERVED);
    }
}
