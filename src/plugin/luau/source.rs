//! Source of a script. Owns reading it, and the mistakes that it may have.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::config::{Hook, PluginConfig};
use crate::limits::{SCRIPT_BYTES_MAX, SCRIPT_MEMORY_BYTES_DEFAULT};
use crate::message::PeerName;
use crate::trust::{Trust, TrustError};

/// Reason why a script cannot be run. Its text says where the mistake is, and how to fix it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ScriptError {
    /// The file does not exist, or cannot be read.
    #[error("{} cannot be read: {error}", path.display())]
    Unreadable {
        /// File of the script.
        path: PathBuf,
        /// Error of the system.
        error: io::Error,
    },
    /// Another user may change the file.
    #[error(transparent)]
    Untrusted(#[from] TrustError),
    /// The file is too large.
    #[error("{} has more than {SCRIPT_BYTES_MAX} bytes; move its data to `store`", path.display())]
    TooLarge {
        /// File of the script.
        path: PathBuf,
    },
    /// The file is not a text.
    #[error("{}:{line}: this line is not UTF-8; save the file as UTF-8", path.display())]
    NotUtf8 {
        /// File of the script.
        path: PathBuf,
        /// Number of the line, from 1.
        line: usize,
    },
    /// The file is compiled bytecode, which Luau runs unchecked.
    #[error("{} is compiled bytecode, which the server does not run; name its source instead", path.display())]
    Bytecode {
        /// File of the script.
        path: PathBuf,
    },
    /// The script does not compile, or its top level fails.
    #[error("{problem}")]
    Faulty {
        /// Place and description of the mistake.
        problem: String,
    },
    /// The script lacks the function of a hook.
    #[error(
        "{}: the function {hook} is missing, and {name} has the hook \"{hook}\"; add a global `function {hook}(…) … end`, or remove \
         \"{hook}\" from hooks", path.display()
    )]
    NoFunction {
        /// File of the script.
        path: PathBuf,
        /// Name of the hook.
        hook: &'static str,
        /// Name of the plugin.
        name: PeerName,
    },
    /// The thread cannot be started.
    #[error("cannot start a thread for {name}: {error}")]
    Thread {
        /// Name of the plugin.
        name: PeerName,
        /// Error of the system.
        error: io::Error,
    },
}

/// Source and configuration from which a VM is made.
pub(super) struct ScriptSource {
    pub(super) config: PluginConfig,
    pub(super) text: String,
}

impl ScriptSource {
    pub(super) fn memory_bytes_max(&self) -> usize {
        let bytes_max = self.config.memory_bytes_max.unwrap_or(SCRIPT_MEMORY_BYTES_DEFAULT);
        usize::try_from(bytes_max).unwrap_or(usize::MAX)
    }

    pub(super) fn no_function(&self, hook: Hook) -> ScriptError {
        let PluginConfig { path, name, .. } = &self.config;
        ScriptError::NoFunction { path: path.clone(), hook: hook.as_str(), name: name.clone() }
    }
}

pub(super) fn read(path: &Path) -> Result<String, ScriptError> {
    let mut bytes = read_bytes(path)?;
    if bytes.len() > SCRIPT_BYTES_MAX {
        return Err(ScriptError::TooLarge { path: path.to_owned() });
    }
    // Some editors begin a file with a byte order mark.
    if bytes.starts_with("\u{FEFF}".as_bytes()) {
        bytes.drain(.."\u{FEFF}".len());
    }
    // Bytecode begins with its version, a small number.
    if bytes.first().is_some_and(|byte| *byte < b'\t') {
        return Err(ScriptError::Bytecode { path: path.to_owned() });
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + good.iter().filter(|&&byte| byte == b'\n').count();
        ScriptError::NotUtf8 { path: path.to_owned(), line }
    })
}

/// Reads a file, up to one byte more than the limit for scripts.
fn read_bytes(path: &Path) -> Result<Vec<u8>, ScriptError> {
    let unreadable = |error| ScriptError::Unreadable { path: path.to_owned(), error };
    let opened = Trust::of_this_process().find(path).and_then(|place| place.open_regular(OFlags::RDONLY, 0));
    let file = opened.map_err(|error| error.into_system().map_or_else(ScriptError::from, unreadable))?;
    let mut bytes = Vec::new();
    file.take(SCRIPT_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    Ok(bytes)
}
