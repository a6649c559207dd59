//! Who may connect: counts the connections that are open, all of them and those of each address. Owns the counts; never
//! touches a socket.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::config::Limits;
use crate::limits::DESCRIPTORS_RESERVED;
use crate::protocol::{Code, Refusal};

/// The door: shared by all listeners.
#[derive(Debug)]
pub(super) struct Admission {
    connections_max: u64,
    connections_per_address_max: u64,
    open: Mutex<Open>,
}

/// The connections that are open.
#[derive(Debug, Default)]
struct Open {
    connections: u64,
    /// Only where there is a limit to them.
    by_address: HashMap<IpAddr, u64>,
}

/// A connection that was let in, and counts as long as this lives.
#[derive(Debug)]
pub(super) struct Admitted {
    admission: Arc<Admission>,
    address: IpAddr,
}

impl Admission {
    /// With the limits of the configuration, and as many descriptors as the process may have.
    pub(super) fn new(limits: &Limits, descriptors_max: u64) -> Self {
        let room = descriptors_max.saturating_sub(DESCRIPTORS_RESERVED);
        if limits.connections_max > room {
            log::warn!(
                "connections_max is {}, and the system allows {room} (RLIMIT_NOFILE is {descriptors_max}): those over it wait",
                limits.connections_max
            );
        }
        Admission {
            connections_max: if limits.connections_max == 0 { room } else { limits.connections_max },
            connections_per_address_max: Limits::or_none(limits.connections_per_address_max),
            open: Mutex::default(),
        }
    }

    /// Lets a connection in, or says why not.
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
    fn a_place_is_free_again_when_somebody_leaves() {
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
    fn each_address_has_its_own_places() {
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
    fn unless_told_otherwise_it_counts_the_descriptors() {
        let admission = admission(0, 0);
        assert_eq!(admission.connections_max, 1000 - DESCRIPTORS_RESERVED);
    }
}
