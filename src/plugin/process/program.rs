//! Program of a plugin, on disk and as a process. Owns the checks before its start, the start itself, and its end;
//! never reads what it writes.

use std::env;
use std::ffi::{CString, OsString};
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal;
use nix::unistd::{User, geteuid, getgrouplist};
use rustix::fs::Access;
use rustix::process::{Pid, Signal, kill_process_group};
use smol::process::{ChildStderr, ChildStdin, ChildStdout};

use super::children::Listed;
use super::confine::{Confinement, Identity, confine};
use super::descendants::{self, RunMark};
use crate::config::PluginConfig;
use crate::limits::{
    PROCESS_INTERPRETER_BYTES_MAX, PROCESS_SETTINGS_BYTES_MAX, PROCESS_SHARED_PROCESSES_DEFAULT,
    PROCESS_USER_PROCESSES_DEFAULT,
};
use crate::message::quoted;
use crate::timeout::timeout;
use crate::trust::{Trust, TrustError};

/// Path of a program if the server has none.
const PATH_DEFAULT: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Reason why a program cannot be run as `plugins.toml` says. Its text names the key, the value and the fix.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// The path does not exist, or cannot be read.
    #[error("path = {path:?}: {source}; the path is relative to the directory of plugins.toml")]
    NotFound {
        /// Path as written.
        path: PathBuf,
        /// Error of the system.
        source: io::Error,
    },
    /// The path is a directory or a device.
    #[error("path = {path:?} is not a file; name the program itself")]
    NotAFile {
        /// Path as written.
        path: PathBuf,
    },
    /// Another user may change the file.
    #[error(transparent)]
    Untrusted(#[from] TrustError),
    /// The file is not executable.
    #[error("path = {path:?} is not executable; run: chmod +x {}", path.display())]
    NotExecutable {
        /// Path as written.
        path: PathBuf,
    },
    /// The first line of a script ends as on Windows.
    #[error(
        "path = {path:?}: its first line ends with a carriage return, as on Windows, and the system takes that for a part of the \
             interpreter's name; run: sed -i 's/\\r$//' {}", path.display()
    )]
    CarriageReturn {
        /// Path as written.
        path: PathBuf,
    },
    /// A script begins with a byte order mark.
    #[error(
        "path = {path:?}: it begins with a byte order mark, so the system does not see its first line; run: sed -i '1s/^\\xEF\\xBB\\xBF//' {}",
        path.display()
    )]
    ByteOrderMark {
        /// Path as written.
        path: PathBuf,
    },
    /// The interpreter of a script does not exist.
    #[error("path = {path:?}: its first line names the interpreter {interpreter}, which does not exist; correct it")]
    NoInterpreter {
        /// Path as written.
        path: PathBuf,
        /// Interpreter, quoted.
        interpreter: String,
    },
    /// An argument contains the character that ends arguments.
    #[error("arguments: {argument} contains the character U+0000, which ends an argument; remove it")]
    Argument {
        /// Argument, quoted.
        argument: String,
    },
    /// The settings do not fit into the environment of a program.
    #[error(
        "[plugin.settings] has {bytes} bytes as JSON; at most {PROCESS_SETTINGS_BYTES_MAX} are allowed, so move some of \
             it to a file"
    )]
    Settings {
        /// Size as JSON.
        bytes: usize,
    },
    /// The system does not know the user.
    #[error("user = {user}: this system has no such user; list them with: getent passwd")]
    NoUser {
        /// Name, quoted.
        user: String,
    },
    /// The user could not be looked up.
    #[error("user = {user}: cannot look the user up: {source}")]
    UserLookup {
        /// Name, quoted.
        user: String,
        /// Error of the system.
        source: io::Error,
    },
    /// The server does not run as root.
    #[error("user = {user}: only root can run a program as another user; start holdline as root, or remove `user`")]
    NotRoot {
        /// Name, quoted.
        user: String,
    },
}

/// A program that can be started any number of times.
#[derive(Clone, Debug)]
pub(super) struct Program {
    path: PathBuf,
    arguments: Vec<String>,
    directory: PathBuf,
    /// All environment variables; the last one of a name counts.
    environment: Vec<(String, OsString)>,
    confinement: Confinement,
}

/// Standard streams of a program. The program inherits no other descriptor of the server.
pub(super) struct Streams {
    pub(super) stdin: ChildStdin,
    pub(super) stdout: ChildStdout,
    pub(super) stderr: ChildStderr,
}

/// A running program, with its descendants. They are killed when it is dropped.
pub(super) struct Child {
    child: smol::process::Child,
    /// Dropped after `child`, which is killed when it is dropped.
    _listed: Listed,
    /// `None` once the group is gone.
    group: Option<Pid>,
    /// RunMark of all descendants.
    mark: RunMark,
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
        let mut environment = base_environment();
        let user = config.user.as_deref().map(find_user).transpose()?;
        let identity = user.and_then(|(user, identity)| {
            environment.push(("HOME".to_owned(), user.dir.into()));
            environment.push(("USER".to_owned(), user.name.clone().into()));
            environment.push(("LOGNAME".to_owned(), user.name.into()));
            identity
        });
        environment.extend(config.environment.iter().map(|(name, value)| (name.clone(), value.into())));
        environment.push(("HOLDLINE_PLUGIN".to_owned(), config.name.as_str().into()));
        environment.push(("HOLDLINE_SETTINGS".to_owned(), settings.into()));
        let processes_default =
            if identity.is_some() { PROCESS_USER_PROCESSES_DEFAULT } else { PROCESS_SHARED_PROCESSES_DEFAULT };
        Ok(Program {
            path,
            arguments: config.arguments.clone(),
            directory: absolute(config, Path::new("."))?,
            environment,
            confinement: Confinement {
                identity,
                memory_bytes_max: config.memory_bytes_max,
                cpu_s_max: config.cpu_s_max,
                processes_max: config.processes_max.unwrap_or(processes_default),
            },
        })
    }

    /// Starts the program in its directory, and in a process group of its own.
    pub(super) fn start(&self) -> io::Result<(Child, Streams)> {
        use std::os::unix::process::CommandExt;

        let mut command = Command::new(&self.path);
        command
            .args(&self.arguments)
            .current_dir(&self.directory)
            .env_clear()
            .envs(self.environment.iter().map(|(key, value)| (key, value)))
            .process_group(0);
        let mark = RunMark::new();
        confine(&mut command, &self.confinement, mark);
        let mut command = smol::process::Command::from(command);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let (mut child, listed) = Listed::spawn(&mut command)?;
        let streams = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = streams else { unreachable!("all three are pipes") };
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        Ok((Child { child, _listed: listed, group, mark }, Streams { stdin, stdout, stderr }))
    }
}

/// Returns what a program gets of the server's own environment. The rest may contain secrets.
fn base_environment() -> Vec<(String, OsString)> {
    let path = env::var_os("PATH").unwrap_or_else(|| PATH_DEFAULT.into());
    let others = ["LANG", "HOME"].into_iter().filter_map(|name| Some((name.to_owned(), env::var_os(name)?)));
    others.chain([("PATH".to_owned(), path)]).collect()
}

fn absolute(config: &PluginConfig, path: &Path) -> Result<PathBuf, ProcessError> {
    std::path::absolute(config.directory.join(path))
        .map_err(|source| ProcessError::NotFound { path: config.path.clone(), source })
}

fn check_path(config: &PluginConfig) -> Result<PathBuf, ProcessError> {
    let (path, written) = (absolute(config, &config.path)?, || config.path.clone());
    match path.metadata() {
        Err(source) => Err(ProcessError::NotFound { path: written(), source }),
        Ok(metadata) if !metadata.is_file() => Err(ProcessError::NotAFile { path: written() }),
        Ok(_) => {
            Trust::of_this_process().find(&path)?.check_regular()?;
            match rustix::fs::access(&path, Access::EXEC_OK) {
                Ok(()) => check_interpreter(config, &path).map(|()| path),
                Err(_) => Err(ProcessError::NotExecutable { path: written() }),
            }
        }
    }
}

/// Checks the first line of a script, for which the system's own error would be that the script does not exist.
fn check_interpreter(config: &PluginConfig, path: &Path) -> Result<(), ProcessError> {
    let mut start = Vec::new();
    // A program need not be readable to be executed.
    let read = File::open(path).and_then(|file| file.take(PROCESS_INTERPRETER_BYTES_MAX).read_to_end(&mut start));
    if start.starts_with(b"\xEF\xBB\xBF#!") {
        return Err(ProcessError::ByteOrderMark { path: config.path.clone() });
    }
    let Some(line) = read.ok().and_then(|_| start.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()) else {
        return Ok(());
    };
    if line.ends_with(b"\r") {
        return Err(ProcessError::CarriageReturn { path: config.path.clone() });
    }
    let words = String::from_utf8_lossy(line);
    let Some(interpreter) = words.split_whitespace().next() else { return Ok(()) };
    match config.directory.join(interpreter).metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(ProcessError::NoInterpreter { path: config.path.clone(), interpreter: quoted(interpreter) })
        }
        _ => Ok(()),
    }
}

/// Looks up a user, and the identity to assume; `None` if the server already runs as this user.
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
    /// Returns the process id.
    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for the end of the program.
    pub(super) async fn wait(&mut self) -> Exit {
        Exit(self.child.status().await.ok())
    }

    /// Sends SIGTERM to the group, and SIGKILL after `patience`. Returns how the program ended, unless by that SIGTERM.
    pub(super) async fn stop(&mut self, patience: Duration) -> Option<Exit> {
        self.signal(Signal::TERM);
        let exit = self.wait_for(patience).await;
        self.kill(patience).await;
        exit.filter(|exit| exit.signal() != Some(Signal::TERM.as_raw()))
    }

    /// Kills the program and its descendants.
    pub(super) async fn kill(&mut self, patience: Duration) {
        self.signal(Signal::KILL);
        // A process that waits for a disk ends later; a thread of the library waits for it.
        if self.wait_for(patience).await.is_none() {
            log::warn!("process {} was killed, but has not ended yet", self.id());
        }
        if !descendants::end(self.mark, patience).await {
            log::warn!("processes that process {} has started were killed, but have not ended yet", self.id());
        }
        self.group = None;
    }

    async fn wait_for(&mut self, patience: Duration) -> Option<Exit> {
        timeout(patience, self.wait()).await.ok()
    }

    /// Sends a signal to the group. The group's id is that of its first process, which may have been waited for already. The
    /// system uses all other ids before it reuses one, and never while such a group exists.
    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            // This fails if no process is left.
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.group.is_some() {
            self.signal(Signal::KILL);
            descendants::kill_marked(self.mark);
        }
    }
}

/// Exit status of a process, if the system reports one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exit(Option<ExitStatus>);

impl Exit {
    fn signal(self) -> Option<i32> {
        self.0.and_then(|status| status.signal())
    }
}

/// Formats as in `ended with exit status 1`.
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
