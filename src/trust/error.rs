//! Reasons why a file is not trusted. Owns their words, and the command that mends each; never looks at a file.

use std::io;
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Group, Uid, User};
use rustix::fs::{FileType, Mode, Stat};

/// Reason why a file or a directory cannot be used. The message names it, its owner, its mode and the command to run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// A user who is neither root nor that of the server owns it.
    #[error("{fault}; check what is in it, then run as root: {command}")]
    Foreign {
        /// Path.
        path: PathBuf,
        /// Path, owner and mode, in words.
        fault: String,
        /// Command for a shell.
        command: String,
    },
    /// A user who is neither root nor that of the server may write to it.
    #[error("{fault}; check what is in it, then run: {command}")]
    Writable {
        /// Path.
        path: PathBuf,
        /// Path, owner and mode, in words.
        fault: String,
        /// Command for a shell.
        command: String,
    },
    /// A link, a directory, a pipe or a device is where a file should be.
    #[error("{} is {kind} and not a file; remove it, or move it away", path.display())]
    NotAFile {
        /// Path.
        path: PathBuf,
        /// Kind of file, in words.
        kind: &'static str,
    },
    /// The system refuses.
    #[error("cannot open {}: {source}", path.display())]
    System {
        /// Path.
        path: PathBuf,
        /// Error of the system.
        source: io::Error,
    },
}

impl TrustError {
    pub(super) fn system(path: &Path, source: impl Into<io::Error>) -> Self {
        TrustError::System { path: path.to_owned(), source: source.into() }
    }

    pub(super) fn foreign(path: &Path, stat: &Stat, server: u32) -> Self {
        let trusted = if server == 0 { "root".to_owned() } else { format!("root and {}", user(server)) };
        let fault = format!(
            "{} belongs to {} (mode {:o}), but only {trusted} may own what the server relies on",
            path.display(),
            user(stat.st_uid),
            mode(stat),
        );
        // Without -h, the command would change the file behind a link.
        let link = if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink { "-h " } else { "" };
        let command = format!("chown {link}{} {}", user_name(server), for_shell(path));
        TrustError::Foreign { path: path.to_owned(), fault, command }
    }

    /// Other users can read a file, and this process cannot change that.
    pub(crate) fn not_private(path: &Path, owner: u32, file_mode: u32, server: u32) -> Self {
        let fault = format!(
            "{} belongs to {} (mode {:o}), and only its owner can keep other users from reading it",
            path.display(),
            user(owner),
            file_mode & 0o7777,
        );
        let command = format!("chown {} {}", user_name(server), for_shell(path));
        TrustError::Foreign { path: path.to_owned(), fault, command }
    }

    /// Everyone may write to a file, or the members of a group.
    pub(super) fn writable(path: &Path, stat: &Stat, group: Option<u32>) -> Self {
        let (writers, class) = match group {
            None => ("everyone".to_owned(), "o"),
            Some(group) => (format!("the group {}", group_name(group)), "g"),
        };
        let fault = format!(
            "{} belongs to {}, and {writers} may write to it (mode {:o}), so others could change what the server does",
            path.display(),
            user(stat.st_uid),
            mode(stat),
        );
        let command = format!("chmod {class}-w {}", for_shell(path));
        TrustError::Writable { path: path.to_owned(), fault, command }
    }

    /// Returns the path of the file.
    pub(crate) fn path(&self) -> &Path {
        match self {
            TrustError::Foreign { path, .. }
            | TrustError::Writable { path, .. }
            | TrustError::NotAFile { path, .. }
            | TrustError::System { path, .. } => path,
        }
    }

    /// Returns the fault without advice, and the command that mends it; `None` if no command does.
    pub(crate) fn mending(&self) -> Option<(&str, &str)> {
        match self {
            TrustError::Foreign { fault, command, .. } | TrustError::Writable { fault, command, .. } => {
                Some((fault, command))
            }
            TrustError::NotAFile { .. } | TrustError::System { .. } => None,
        }
    }

    /// Returns the error of the system, if it is one.
    pub(crate) fn into_system(self) -> Result<io::Error, Self> {
        match self {
            TrustError::System { source, .. } => Ok(source),
            other => Err(other),
        }
    }
}

/// Describes a kind of file that is no regular one.
pub(super) fn words(kind: FileType) -> &'static str {
    match kind {
        FileType::Symlink => "a symbolic link",
        FileType::Directory => "a directory",
        FileType::Fifo => "a pipe",
        FileType::Socket => "a socket",
        _ => "a device",
    }
}

/// Quotes a path for a shell, if it needs quotes.
pub(crate) fn for_shell(path: &Path) -> String {
    let path = path.display().to_string();
    shlex::try_quote(&path).expect("no path holds U+0000").into_owned()
}

fn mode(stat: &Stat) -> u32 {
    #[allow(clippy::useless_conversion, reason = "a mode has 16 bits on some systems")]
    u32::from(Mode::from_raw_mode(stat.st_mode).as_raw_mode())
}

fn user(id: u32) -> String {
    format!("user {}", user_name(id))
}

fn user_name(id: u32) -> String {
    User::from_uid(Uid::from_raw(id)).ok().flatten().map_or_else(|| id.to_string(), |user| user.name)
}

fn group_name(id: u32) -> String {
    Group::from_gid(Gid::from_raw(id)).ok().flatten().map_or_else(|| id.to_string(), |group| group.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_is_quoted_for_the_shell_if_necessary() {
        for (path, quoted) in [
            ("/var/lib/holdline/holdline.db", "/var/lib/holdline/holdline.db"),
            ("/my data/holdline.db", "'/my data/holdline.db'"),
            ("/it's/$HOME", r#""/it's/"'$HOME'"#),
        ] {
            assert_eq!(for_shell(Path::new(path)), quoted);
        }
    }
}
