//! Limit of open files of this process and the servers. Owns the limit; never opens any.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors of a process besides its connections.
const OTHER_FILES: u64 = 100;

/// Allows this many connections to this process and to the servers that it starts from now on, or says why it cannot.
/// They inherit the limit, so that it is the same for each.
pub(crate) fn allow_connections(connections: usize) -> Result<(), String> {
    let files = connections as u64 + OTHER_FILES;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= files) {
        return Ok(());
    }
    let raised = Rlimit { current: Some(files), maximum: limit.maximum };
    setrlimit(Resource::Nofile, raised).map_err(|error| match limit.maximum {
        Some(maximum) => format!("it needs {files} open files, and the limit is {maximum} (ulimit -Hn): {error}"),
        None => format!("it needs {files} open files: {error}"),
    })
}
