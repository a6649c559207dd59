//! `holdline plugin new`: creates a plugin from a template, and adds it to `plugins.toml`. Owns the files that it writes, and
//! removes them if the plugin does not load; never overwrites a file.

use std::fmt::Write as _;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
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
    /// Another program changed `plugins.toml` meanwhile, so the new entry is left in it.
    #[error("another program changed {} meanwhile; take the new plugin out of it by hand", .0.display())]
    Changed(PathBuf),
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
    let _ = writeln!(report, "next: start holdline, or reload a running one: holdline reload");
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
    /// Path of `plugins.toml`.
    list: PathBuf,
    /// Contents of `plugins.toml` before; `None` if it did not exist.
    before: Option<Vec<u8>>,
    /// Text that was appended to it, at least in part.
    appended: String,
}

impl CreatedFiles {
    fn write(file: &Path, args: &NewPluginArgs) -> Result<CreatedFiles, NewError> {
        let NewPluginArgs { template, name, .. } = args;
        let directory = file.with_file_name(DIRECTORY);
        fs::create_dir_all(&directory).map_err(|source| NewError::Write { path: directory.clone(), source })?;
        let program = directory.join(format!("{name}.{}", template.extension));
        create(&program, template.mode, &fill_in(template.text, name))?;
        let before = read(file)?;
        let appended = format!("{}{}", gap(before.as_deref()), fill_in(template.entry, name));
        let created = CreatedFiles { program, list: file.to_owned(), before, appended };
        if let Err(source) = append(file, &created.appended) {
            created.remove()?;
            return Err(NewError::Write { path: file.to_owned(), source });
        }
        Ok(created)
    }

    /// Removes everything that was written. Leaves `plugins.toml` as it is if another program has changed it since.
    fn remove(&self) -> Result<(), NewError> {
        let CreatedFiles { program, list, before, appended } = self;
        let added = read(list)?.unwrap_or_default();
        let added = added.strip_prefix(before.as_deref().unwrap_or_default());
        if !added.is_some_and(|added| appended.as_bytes().starts_with(added)) {
            return Err(NewError::Changed(list.clone()));
        }
        let restored = match before {
            Some(before) => {
                OpenOptions::new().write(true).open(list).and_then(|file| file.set_len(before.len() as u64))
            }
            None => remove_file(list),
        };
        restored.map_err(|source| NewError::Write { path: list.clone(), source })?;
        remove_file(program).map_err(|source| NewError::Write { path: program.clone(), source })
    }
}

fn fill_in(template: &str, name: &PeerName) -> String {
    template.replace("NAME", name.as_str())
}

/// Reads a file; `None` if it does not exist.
fn read(path: &Path) -> Result<Option<Vec<u8>>, NewError> {
    match fs::read(path) {
        Ok(contents) => Ok(Some(contents)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(NewError::Write { path: path.to_owned(), source }),
    }
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

fn append(path: &Path, entry: &str) -> io::Result<()> {
    OpenOptions::new().append(true).create(true).open(path)?.write_all(entry.as_bytes())
}

/// Returns the newlines that separate an entry from the end of the file.
fn gap(before: Option<&[u8]>) -> &'static str {
    match before.and_then(<[u8]>::last) {
        None => "",
        Some(b'\n') => "\n",
        Some(_) => "\n\n",
    }
}

/// Removes a file, if it exists.
fn remove_file(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn list_that_another_program_changed_is_left_as_it_is() {
        let home = tempfile::tempdir().unwrap();
        let list = home.path().join("plugins.toml");
        fs::write(&list, "# mine\n").unwrap();
        let name = PeerName::parse("notes").unwrap();
        let args = NewPluginArgs { flags: Flags::default(), template: &TEMPLATES[0], name };
        let written = |contents: &str| {
            fs::write(&list, "# mine\n").unwrap();
            let created = CreatedFiles::write(&list, &args).unwrap();
            fs::write(&list, contents).unwrap();
            let removed = created.remove();
            let _ = fs::remove_file(&created.program);
            (removed.is_ok(), fs::read_to_string(&list).unwrap())
        };
        for theirs in ["# theirs\n", "# mine\n# and theirs\n", ""] {
            assert_eq!(written(theirs), (false, theirs.to_owned()));
        }
        assert_eq!(written("# mine\n"), (true, "# mine\n".to_owned()));
    }
}
