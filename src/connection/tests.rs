//! Tests of the size of a connection.

use super::*;
use crate::transport::tcp::Tcp;

/// Bytes of the future that serves a connection: they are most of an idle connection's memory.
const CONNECTION_BYTES_MAX: usize = 1840;

fn future_bytes<F>(_: fn(Tcp, SessionId, Arc<Shared>) -> F) -> usize {
    size_of::<F>()
}

#[test]
fn connection_takes_little_memory() {
    let bytes = future_bytes(serve);
    assert!(bytes <= CONNECTION_BYTES_MAX, "{bytes} bytes");
}
