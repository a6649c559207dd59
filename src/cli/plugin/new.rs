//! `holdline plugin new`: writes the start of a plugin, and names it in `plugins.toml`. Owns what is written where, and that nothing
//! is left of what does not load; never overwrites.

use std::fmt::Write as _;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use bpaf::{OptionParser, Parser, construct, long, positional};
use holdline::config::{self, ConfigError, Flags};
use holdline::message::PeerName;
use holdline::plugin::{self, LoadError};

/// The directory, beside `plugins.toml`, in which scripts and programs are.
const DIRECTORY: &str = "plugins";

/// What is to be begun.
#[derive(Clone, Debug)]
pub(crate) struct NewPluginArgs {
    /// Where `plugins.toml` is.
    pub(crate) flags: Flags,
    /// In which language.
    start: &'static Template,
    /// What it is called.
    name: PeerName,
}

/// A plugin that does something already; `NAME` in it is its name.
#[derive(Debug)]
struct Template {
    /// What `--kind` calls it.
    kind: &'static str,
    /// How the name of its file ends.
    extension: &'static str,
    /// The rights of its file.
    mode: u32,
    /// Its file.
    text: &'static str,
    /// What `plugins.toml` says of it.
    entry: &'static str,
    /// What it does.
    does: &'static str,
    /// What to write to it.
    example: &'static str,
}

const TEMPLATES: [Template; 3] = [
    Template {
        kind: "luau",
        extension: "luau",
        mode: 0o644,
        text: include_str!("templates/notes.luau"),
        entry: include_str!("templates/luau.toml"),
        does: "a script that keeps a list",
        example: "milk",
    },
    Template {
        kind: "sh",
        extension: "sh",
        mode: 0o755,
        text: include_str!("templates/machine.sh"),
        entry: include_str!("templates/sh.toml"),
        does: "a program that tells how this machine is; it wants jq",
        example: "disk",
    },
    Template {
        kind: "python",
        extension: "py",
        mode: 0o755,
        text: include_str!("templates/dice.py"),
        entry: include_str!("templates/python.toml"),
        does: "a program that rolls dice; it wants python3",
        example: "2d6",
    },
];

/// Why there is no new plugin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NewError {
    /// What is there already cannot be understood.
    #[error("{0}")]
    Before(#[source] ConfigError),
    /// There is one of this name.
    #[error("{} names a plugin {name} already; choose another name", file.display())]
    Taken {
        /// The list.
        file: PathBuf,
        /// The name.
        name: PeerName,
    },
    /// There is a file of this name.
    #[error("{} is there already, and is not overwritten; choose another name, or move it away", .0.display())]
    Exists(PathBuf),
    /// A file could not be written.
    #[error("{} cannot be written", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The list cannot hold one more.
    #[error("{0}; so nothing was added")]
    Refused(#[source] ConfigError),
    /// It does not run here.
    #[error("{0}; so nothing was added")]
    Load(#[source] LoadError),
    /// Standard output could not be written.
    #[error("the plugin is there, and that cannot be written")]
    Say(#[source] io::Error),
}

/// The flags of `new`, with their help.
pub(crate) fn options() -> OptionParser<NewPluginArgs> {
    let flags = super::super::plugins_flags();
    let start = long("kind")
        .argument::<String>("KIND")
        .help("Its language: luau (inside holdline), sh (wants jq), or python")
        .parse(|kind| TEMPLATES.iter().find(|start| start.kind == kind).ok_or("--kind is luau, sh or python"));
    let name = positional::<String>("NAME")
        .help("What it is called, and as whom it speaks")
        .parse(|name| PeerName::parse(&name).map_err(|error| format!("a plugin wants a name: {error}")));
    construct!(NewPluginArgs { flags, start, name })
        .to_options()
        .descr("Writes a plugin that does something already, and adds it to plugins.toml")
        .header("Nothing that is there is changed: a file is made in plugins/, and lines are added at the end of plugins.toml.")
        .footer("Example:\n\n        holdline plugin new notes --kind=luau")
}

/// Makes the plugin, and says what to do next.
pub(crate) fn run(file: &Path, args: &NewPluginArgs) -> Result<(), NewError> {
    let NewPluginArgs { start, name, .. } = args;
    if is_there(file) {
        let plugins = config::load_plugins(file).map_err(NewError::Before)?;
        if plugins.iter().any(|plugin| plugin.name == *name) {
            return Err(NewError::Taken { file: file.to_owned(), name: name.clone() });
        }
    }
    let created = CreatedFiles::write(file, args)?;
    if let Err(error) = check(file, name) {
        created.take_back()?;
        return Err(error);
    }
    let mut said = String::new();
    let (program, file) = (created.program.display(), file.display());
    let _ = writeln!(said, "made {program}: {}", start.does);
    let _ = writeln!(said, "added {name} to {file}");
    let _ = writeln!(said, "next: start holdline, or tell one that runs: kill -HUP $(pidof holdline)");
    let _ = writeln!(said, "then: write to it, as in {name}: {}", start.example);
    super::super::show(&said).map_err(NewError::Say)
}

fn is_there(file: &Path) -> bool {
    !matches!(file.try_exists(), Ok(false))
}

/// Loads what was made as the server will.
fn check(file: &Path, name: &PeerName) -> Result<(), NewError> {
    let plugins = config::load_plugins(file).map_err(NewError::Refused)?;
    for entry in plugins.into_iter().filter(|plugin| plugin.name == *name) {
        plugin::load(entry).map_err(NewError::Load)?;
    }
    Ok(())
}

/// What was written.
struct CreatedFiles {
    /// The script or program.
    program: PathBuf,
    /// The list, and of how many bytes it was; none if it was not there.
    list: (PathBuf, Option<u64>),
}

impl CreatedFiles {
    fn write(file: &Path, args: &NewPluginArgs) -> Result<CreatedFiles, NewError> {
        let NewPluginArgs { start, name, .. } = args;
        let directory = file.with_file_name(DIRECTORY);
        fs::create_dir_all(&directory).map_err(|source| NewError::Write { path: directory.clone(), source })?;
        let program = directory.join(format!("{name}.{}", start.extension));
        create(&program, start.mode, &named(start.text, name))?;
        let created = CreatedFiles { program, list: (file.to_owned(), size(file)) };
        let appended = append(file, &named(start.entry, name));
        if let Err(source) = appended {
            created.take_back()?;
            return Err(NewError::Write { path: file.to_owned(), source });
        }
        Ok(created)
    }

    /// As if nothing had been written.
    fn take_back(&self) -> Result<(), NewError> {
        let (list, size) = &self.list;
        let cut = match size {
            Some(size) => OpenOptions::new().write(true).open(list).and_then(|file| file.set_len(*size)),
            None => remove(list),
        };
        cut.map_err(|source| NewError::Write { path: list.clone(), source })?;
        remove(&self.program).map_err(|source| NewError::Write { path: self.program.clone(), source })
    }
}

fn named(template: &str, name: &PeerName) -> String {
    template.replace("NAME", name.as_str())
}

fn size(file: &Path) -> Option<u64> {
    fs::metadata(file).ok().map(|metadata| metadata.len())
}

fn create(path: &Path, mode: u32, text: &str) -> Result<(), NewError> {
    let failed = |source| NewError::Write { path: path.to_owned(), source };
    match OpenOptions::new().write(true).create_new(true).mode(mode).open(path) {
        Ok(mut file) => file.write_all(text.as_bytes()).map_err(|source| {
            let _ = remove(path);
            failed(source)
        }),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(NewError::Exists(path.to_owned())),
        Err(source) => Err(failed(source)),
    }
}

/// Adds a paragraph to a file.
fn append(path: &Path, entry: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
    let gap = gap(&mut file)?;
    file.write_all(format!("{gap}{entry}").as_bytes())
}

/// What ends the last line of the file, if that has no end, and leaves an empty one.
fn gap(file: &mut File) -> io::Result<&'static str> {
    if file.metadata()?.len() == 0 {
        return Ok("");
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(if last == *b"\n" { "\n" } else { "\n\n" })
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
