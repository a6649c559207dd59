//! The program of a plugin, as it lies on the disk and as it runs. Owns what is checked before it is started, how it is
//! started, and its process group; never what it says.

use std::ffi::CString;
use std::fmt;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal;
use nix::unistd::{User, geteuid, getgrouplist};
use rustix::fs::Access;
use rustix::process::{Pid, Signal, kill_process_group};
use smol::process::{ChildStderr, ChildStdin, ChildStdout};

use super::confine::{Confinement, Identity, confine};
use crate::config::PluginConfig;
use crate::limits::PROCESS_SETTINGS_BYTES_MAX;
use crate::message::quoted;
use crate::timeout::timeout;

/// Why a program cannot be run as `plugins.toml` says: what is wrong, with which value, and what mends it.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// There is nothing at its path, or nobody may look.
    #[error("path = {path:?}: {source}; a path is looked for from the directory of plugins.toml")]
    NotFound {
        /// As it was written.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A directory, or a device.
    #[error("path = {path:?} is no file; name the program itself")]
    NoFile {
        /// As it was written.
        path: PathBuf,
    },
    /// It may not be run.
    #[error("path = {path:?} is not executable; `chmod +x {}` makes it so", path.display())]
    NotExecutable {
        /// As it was written.
        path: PathBuf,
    },
    /// No program can be given such an argument.
    #[error("arguments: {argument} holds the character U+0000, which ends an argument; take it out")]
    Argument {
        /// In quotes.
        argument: String,
    },
    /// They do not fit into the environment of a program.
    #[error(
        "[plugin.settings] are {bytes} bytes as JSON; a program is handed {PROCESS_SETTINGS_BYTES_MAX} at most, so keep \
             more in a file"
    )]
    Settings {
        /// How many.
        bytes: usize,
    },
    /// The system does not know the user.
    #[error("user = {user}: there is no such user on this system; `id USER` tells which there are")]
    NoUser {
        /// In quotes.
        user: String,
    },
    /// The system could not say whether it knows the user.
    #[error("user = {user}: cannot look the user up: {source}")]
    UserLookup {
        /// In quotes.
        user: String,
        /// What the system said.
        source: io::Error,
    },
    /// Only root becomes somebody else.
    #[error("user = {user}: only root can run a program as somebody else; start holdline as root, or leave `user` out")]
    NotRoot {
        /// In quotes.
        user: String,
    },
}

/// A program that can be started, as often as it has to be.
#[derive(Clone, Debug)]
pub(super) struct Program {
    path: PathBuf,
    arguments: Vec<String>,
    directory: PathBuf,
    /// What is added to our own environment.
    environment: Vec<(&'static str, String)>,
    confinement: Confinement,
}

/// Its standard streams; nothing else of ours is open in it.
pub(super) struct Streams {
    pub(super) stdin: ChildStdin,
    pub(super) stdout: ChildStdout,
    pub(super) stderr: ChildStderr,
}

/// A program that runs, and all that it starts and that stays in its process group. Dropped, they are killed.
pub(super) struct Child {
    child: smol::process::Child,
    /// None when it is gone.
    group: Option<Pid>,
}

impl Program {
    pub(super) fn find(config: &PluginConfig) -> Result<Program, ProcessError> {
        let path = check_path(config)?;
        if let Some(argument) = config.arguments.iter().find(|argument| argument.contains('\0')) {
            return Err(ProcessError::Argument { argument: quoted(argument) });
        }
        let settings = config.settings.to_string();
        if settings.len() > PROCESS_SETTINGS_BYTES_MAX {
            return Err(ProcessError::Settings { bytes: settings.len() });
        }
        let mut environment = vec![("HOLDLINE_PLUGIN", config.name.to_string()), ("HOLDLINE_SETTINGS", settings)];
        let user = config.user.as_deref().map(find_user).transpose()?;
        let identity = user.map(|(user, identity)| {
            environment.push(("HOME", user.dir.to_string_lossy().into_owned()));
            environment.push(("USER", user.name.clone()));
            environment.push(("LOGNAME", user.name));
            identity
        });
        Ok(Program {
            path,
            arguments: config.arguments.clone(),
            directory: absolute(config, Path::new("."))?,
            environment,
            confinement: Confinement {
                identity: identity.flatten(),
                memory_bytes_max: config.memory_bytes_max,
                cpu_s_max: config.cpu_s_max,
            },
        })
    }

    /// Starts it, in its directory and in a process group of its own.
    pub(super) fn start(&self) -> io::Result<(Child, Streams)> {
        use std::os::unix::process::CommandExt;

        let mut command = Command::new(&self.path);
        command
            .args(&self.arguments)
            .current_dir(&self.directory)
            .envs(self.environment.iter().map(|(key, value)| (key, value)))
            .process_group(0);
        confine(&mut command, &self.confinement);
        let mut command = smol::process::Command::from(command);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn()?;
        let streams = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = streams else { unreachable!("all three are pipes") };
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        Ok((Child { child, group }, Streams { stdin, stdout, stderr }))
    }
}

fn absolute(config: &PluginConfig, path: &Path) -> Result<PathBuf, ProcessError> {
    std::path::absolute(config.directory.join(path))
        .map_err(|source| ProcessError::NotFound { path: config.path.clone(), source })
}

fn check_path(config: &PluginConfig) -> Result<PathBuf, ProcessError> {
    let (path, written) = (absolute(config, &config.path)?, || config.path.clone());
    match path.metadata() {
        Err(source) => Err(ProcessError::NotFound { path: written(), source }),
        Ok(metadata) if !metadata.is_file() => Err(ProcessError::NoFile { path: written() }),
        Ok(_) => match rustix::fs::access(&path, Access::EXEC_OK) {
            Ok(()) => Ok(path),
            Err(_) => Err(ProcessError::NotExecutable { path: written() }),
        },
    }
}

/// The user of that name, and who to become for it: nobody, where it is us.
fn find_user(name: &str) -> Result<(User, Option<Identity>), ProcessError> {
    let lookup = |source: nix::Error| ProcessError::UserLookup { user: quoted(name), source: source.into() };
    let user = User::from_name(name).map_err(lookup)?.ok_or_else(|| ProcessError::NoUser { user: quoted(name) })?;
    if user.uid == geteuid() {
        return Ok((user, None));
    }
    if !geteuid().is_root() {
        return Err(ProcessError::NotRoot { user: quoted(name) });
    }
    let c_name = CString::new(name).map_err(|_| ProcessError::NoUser { user: quoted(name) })?;
    let groups = getgrouplist(&c_name, user.gid).map_err(lookup)?;
    let identity = Identity { user: user.uid, group: user.gid, groups };
    Ok((user, Some(identity)))
}

impl Child {
    /// Its number.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it has ended.
    pub(super) async fn wait(&mut self) -> Exit {
        Exit(self.child.status().await.ok())
    }

    /// Asks its group to end, and kills it after so long. Says how it ended if that was by itself.
    pub(super) async fn stop(&mut self, patience: Duration) -> Option<Exit> {
        self.signal(Signal::TERM);
        let exit = self.wait_for(patience).await;
        self.kill(patience).await;
        exit.filter(|exit| exit.signal() != Some(Signal::TERM.as_raw()))
    }

    /// Kills what there is of its group.
    pub(super) async fn kill(&mut self, patience: Duration) {
        self.signal(Signal::KILL);
        self.group = None;
        // One that is held up by a disk goes later, and is waited for all the same, by a thread of the library.
        if self.wait_for(patience).await.is_none() {
            log::warn!("process {} was killed, and the system does not let go of it yet", self.id());
        }
    }

    async fn wait_for(&mut self, patience: Duration) -> Option<Exit> {
        timeout(patience, self.wait()).await.ok()
    }

    /// A group has the number of the process that it began with, which may have been waited for just before. The system goes
    /// through all other numbers before it gives one again, and does not while there is such a group.
    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            // It fails where nobody is left.
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

/// How a process ended, where the system tells.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exit(Option<ExitStatus>);

impl Exit {
    fn signal(self) -> Option<i32> {
        self.0.and_then(|status| status.signal())
    }
}

/// As in `ended with exit status 1`.
impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0.and_then(|status| status.code()), self.signal().map(signal::Signal::try_from)) {
            (Some(code), _) => write!(f, "ended with exit status {code}"),
            (None, Some(Ok(signal::SIGXCPU))) => f.write_str("was ended by SIGXCPU (cpu_s_max)"),
            (None, Some(Ok(signal))) => write!(f, "was ended by {signal}"),
            (None, Some(Err(_))) => write!(f, "was ended by signal {}", self.signal().unwrap_or_default()),
            (None, None) => f.write_str("ended"),
        }
    }
}
