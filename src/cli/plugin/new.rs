//! `holdline plugin new`: creates a plugin from a template, and adds it to `plugins.toml`. Owns the files that it writes, and
//! removes them if the plugin does not load; never overwrites a file.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use bpaf::{OptionParser, Parser, construct, long, positional};
use holdline::config::{self, ConfigError, Flags};
use holdline::message::PeerName;
use holdline::plugin::{self, LoadError};

/// Directory for scripts and programs, beside `plugins.toml`.
const DIRECTORY: &str = "plugins";

/// Arguments of `plugin new`.
#[derive(Clone, Debug)]
pub(crate) struct NewPluginArgs {
    /// Location of `plugins.toml`.
    pub(crate) flags: Flags,
    /// Template for the language.
    template: &'static Template,
    /// Name of the new plugin.
    name: PeerName,
}

/// A working plugin, in which `NAME` stands for its name.
#[derive(Debug)]
struct Template {
    /// Value of `--kind`.
    kind: &'static str,
    /// Extension of its file.
    extension: &'static str,
    /// Permissions of its file.
    mode: u32,
    /// Contents of its file.
    text: &'static str,
    /// Entry for `plugins.toml`.
    entry: &'static str,
    /// Description for the user.
    description: &'static str,
    /// Message to try it with.
    example: &'static str,
}

const TEMPLATES: [Template; 3] = [
    Template {
        kind: "luau",
        extension: "luau",
        mode: 0o644,
        text: include_str!("templates/notes.luau"),
        entry: include_str!("templates/luau.toml"),
        description: "a script that keeps a list",
        example: "milk",
    },
    Template {
        kind: "sh",
        extension: "sh",
        mode: 0o755,
        text: include_str!("templates/machine.sh"),
        entry: include_str!("templates/sh.toml"),
        description: "a program that reports the load and disk space of this machine; it needs jq",
        example: "disk",
    },
    Template {
        kind: "python",
        extension: "py",
        mode: 0o755,
        text: include_str!("templates/dice.py"),
        entry: include_str!("templates/python.toml"),
        description: "a program that rolls dice; it needs python3",
        example: "2d6",
    },
];

/// Reason why no plugin was created.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NewError {
    /// The existing `plugins.toml` is invalid.
    #[error("{0}")]
    List(#[source] ConfigError),
    /// The name is taken.
    #[error("{} has a plugin {name} already; choose another name", file.display())]
    Taken {
        /// Path of `plugins.toml`.
        file: PathBuf,
        /// Name of the plugin.
        name: PeerName,
    },
    /// The file exists.
    #[error("{} exists already, and is not overwritten; choose another name, or move it away", .0.display())]
    Exists(PathBuf),
    /// A file could not be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// Path of the file.
        path: PathBuf,
        /// Error of the system.
        source: io::Error,
    },
    /// The new `plugins.toml` would be invalid.
    #[error("{0}; nothing was added")]
    Refused(#[source] ConfigError),
    /// The new plugin does not load.
    #[error("{0}; nothing was added")]
    Load(#[source] LoadError),
    /// Standard output could not be written.
    #[error("the plugin was created, but cannot write that here")]
    Report(#[source] io::Error),
}

/// Returns the parser of the arguments.
pub(crate) fn options() -> OptionParser<NewPluginArgs> {
    let flags = super::super::flags::plugins_flags();
    let template = long("kind")
        .argument::<String>("KIND")
        .help("Language: luau (runs inside holdline), sh (needs jq), or python")
        .parse(|kind| {
            TEMPLATES.iter().find(|template| template.kind == kind).ok_or("--kind must be luau, sh or python")
        });
    let name = positional::<String>("NAME")
        .help("Name of the plugin, also in the chat")
        .parse(|name| PeerName::parse(&name).map_err(|error| format!("invalid name of a plugin: {error}")));
    construct!(NewPluginArgs { flags, template, name })
        .to_options()
        .descr("Creates a working plugin and adds it to plugins.toml")
        .header("It creates a file in plugins/ and appends an entry to plugins.toml. Existing files and entries stay unchanged.")
        .footer("Example:\n\n        holdline plugin new notes --kind=luau")
}

/// Creates the plugin, and prints the next steps.
pub(crate) fn run(file: &Path, args: &NewPluginArgs) -> Result<(), NewError> {
    let NewPluginArgs { template, name, .. } = args;
    let plugins = match config::load_plugins(file) {
        Err(ConfigError::Unreadable { source, .. }) if source.kind() == io::ErrorKind::NotFound => Vec::new(),
        loaded => loaded.map_err(NewError::List)?,
    };
    if plugins.iter().any(|plugin| plugin.name == *name) {
        return Err(NewError::Taken { file: file.to_owned(), name: name.clone() });
    }
    let created = CreatedFiles::write(file, args)?;
    if let Err(error) = check(file, name) {
        created.remove()?;
        return Err(error);
    }
    let mut report = String::new();
    let (program, file) = (created.program.display(), file.display());
    let _ = writeln!(report, "created {program}: {}", template.description);
    let _ = writeln!(report, "added {name} to {file}");
    let _ = writeln!(report, "next: start holdline, or reload a running one: kill -HUP $(pidof holdline)");
    let _ = writeln!(report, "then: send it a message: {name}: {}", template.example);
    super::super::output::show(&report).map_err(NewError::Report)
}

/// Loads the new plugin as the server will.
fn check(file: &Path, name: &PeerName) -> Result<(), NewError> {
    let plugins = config::load_plugins(file).map_err(NewError::Refused)?;
    for entry in plugins.into_iter().filter(|plugin| plugin.name == *name) {
        plugin::load(entry).map_err(NewError::Load)?;
    }
    Ok(())
}

/// Files that were written.
struct CreatedFiles {
    /// Path of the script or program.
    program: PathBuf,
    /// Path of `plugins.toml`, and its size before; `None` if it did not exist.
    list: (PathBuf, Option<u64>),
}

impl CreatedFiles {
    fn write(file: &Path, args: &NewPluginArgs) -> Result<CreatedFiles, NewError> {
        let NewPluginArgs { template, name, .. } = args;
        let directory = file.with_file_name(DIRECTORY);
        fs::create_dir_all(&directory).map_err(|source| NewError::Write { path: directory.clone(), source })?;
        let program = directory.join(format!("{name}.{}", template.extension));
        create(&program, template.mode, &fill_in(template.text, name))?;
        let created = CreatedFiles { program, list: (file.to_owned(), size(file)) };
        let appended = append(file, &fill_in(template.entry, name));
        if let Err(source) = appended {
            created.remove()?;
            return Err(NewError::Write { path: file.to_owned(), source });
        }
        Ok(created)
    }

    /// Removes everything that was written.
    fn remove(&self) -> Result<(), NewError> {
        let (list, size) = &self.list;
        let restored = match size {
            Some(size) => OpenOptions::new().write(true).open(list).and_then(|file| file.set_len(*size)),
            None => remove_file(list),
        };
        restored.map_err(|source| NewError::Write { path: list.clone(), source })?;
        remove_file(&self.program).map_err(|source| NewError::Write { path: self.program.clone(), source })
    }
}

fn fill_in(template: &str, name: &PeerName) -> String {
    template.replace("NAME", name.as_str())
}

fn size(file: &Path) -> Option<u64> {
    fs::metadata(file).ok().map(|metadata| metadata.len())
}

fn create(path: &Path, mode: u32, text: &str) -> Result<(), NewError> {
    let failed = |source| NewError::Write { path: path.to_owned(), source };
    match OpenOptions::new().write(true).create_new(true).mode(mode).open(path) {
        Ok(mut file) => file.write_all(text.as_bytes()).map_err(|source| {
            let _ = remove_file(path);
            failed(source)
        }),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(NewError::Exists(path.to_owned())),
        Err(source) => Err(failed(source)),
    }
}

/// Appends an entry to a file, after an empty line.
fn append(path: &Path, entry: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
    let gap = gap(&mut file)?;
    file.write_all(format!("{gap}{entry}").as_bytes())
}

/// Returns the newlines that separate an entry from the end of the file.
fn gap(file: &mut File) -> io::Result<&'static str> {
    if file.metadata()?.len() == 0 {
        return Ok("");
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(if last == *b"\n" { "\n" } else { "\n\n" })
}

/// Removes a file, if it exists.
fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
