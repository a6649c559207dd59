//! The documents: their links lead somewhere, the map of the code names files and functions that exist, and commands use the locked
//! dependencies. Owns this comparison; what the documents promise is tested elsewhere.

use std::fs;
use std::path::{Path, PathBuf};

/// Documents that name parts of the code.
const MAPS: [&str; 2] = ["ARCHITECTURE.md", "docs/internals"];

/// Directories and files that a reader of the map starts from.
const ROOTS: [&str; 4] = ["", "src", "src/broker", "tests"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the files in a directory of this package and below it, with this extension.
fn files(directory: &str, extension: &str) -> Vec<PathBuf> {
    let (mut files, mut left) = (Vec::new(), vec![root().join(directory)]);
    while let Some(path) = left.pop() {
        if path.is_dir() {
            let entries = fs::read_dir(&path).expect("a directory of this package can be read");
            left.extend(entries.map(|entry| entry.expect("its entries can be read").path()));
        } else if path.extension().is_some_and(|found| found == extension) {
            files.push(path);
        }
    }
    files.sort();
    files
}

fn documents() -> Vec<PathBuf> {
    let at_root = ["README.md", "ARCHITECTURE.md", "CHANGELOG.md", "SECURITY.md"].map(|name| root().join(name));
    at_root.into_iter().chain(files("docs", "md")).collect()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Returns the anchors of a document: its headings as links name them.
fn anchors(document: &str) -> Vec<String> {
    let headings = document.lines().filter_map(|line| line.trim_start_matches('#').strip_prefix(' '));
    let anchor = |heading: &str| {
        let anchor = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
        anchor.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
    };
    headings.map(anchor).collect()
}

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let mut broken = Vec::new();
    for path in documents() {
        let text = read(&path);
        let links = text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(link, _)| link);
        for link in links.filter(|link| !link.starts_with("http")) {
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { path.clone() } else { path.with_file_name(file) };
            let is_found =
                target.exists() && (anchor.is_empty() || anchors(&read(&target)).contains(&anchor.to_owned()));
            if !is_found {
                broken.push(format!("{}: {link}", path.display()));
            }
        }
    }
    assert!(broken.is_empty(), "links that lead nowhere:\n{}", broken.join("\n"));
}

/// Returns what a document writes as code in a line.
fn code(document: &str) -> impl Iterator<Item = &str> {
    document.lines().flat_map(|line| line.split('`').skip(1).step_by(2))
}

/// Says whether a path, a function of a type or a limit exists; anything else passes.
fn exists(name: &str, source: &str) -> bool {
    let is_word = |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let has_word =
        |word: &str| source.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|found| found == word);
    let is_path = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-');
    let is_command = name.starts_with('/');
    if !is_command && (name.contains('/') || name.ends_with(".rs")) && name.chars().all(is_path) {
        return ROOTS.iter().any(|directory| root().join(directory).join(name).exists());
    }
    if let Some((owner, item)) = name.split_once("::") {
        return !is_word(owner) || !is_word(item) || has_word(owner) && has_word(item);
    }
    let is_limit = is_word(name) && name.contains('_') && name.chars().all(|c| !c.is_ascii_lowercase());
    !is_limit || has_word(name)
}

#[test]
fn the_map_names_files_and_functions_that_exist() {
    let source: String = files("src", "rs").iter().map(|path| read(path)).collect();
    let mut missing = Vec::new();
    for document in MAPS.iter().flat_map(|map| files(map, "md")) {
        let text = read(&document);
        let names = code(&text).filter(|name| !exists(name, &source));
        missing.extend(names.map(|name| format!("{}: {name}", document.display())));
    }
    assert!(missing.is_empty(), "names that the code does not have:\n{}", missing.join("\n"));
}

#[test]
fn every_dependency_has_its_reason() {
    let manifest = read(&root().join("Cargo.toml"));
    let map = read(&root().join("ARCHITECTURE.md"));
    let (_, reasons) = map.split_once("## Dependencies").expect("the map has this section");
    let mut section = "";
    let mut names = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            section = line;
        } else if section.ends_with("dependencies]") {
            names.extend(line.split_once(" = ").map(|(name, _)| name));
        }
    }
    let is_named = |name: &str| reasons.lines().any(|line| line.split([' ', ',']).any(|word| word == name));
    let missing: Vec<_> = names.into_iter().filter(|name| !is_named(name)).collect();
    assert!(missing.is_empty(), "crates without a row in ARCHITECTURE.md: {missing:?}");
}

/// Without `--locked`, cargo may take other versions of the dependencies than those that were tested.
#[test]
fn commands_for_a_newcomer_and_the_gate_use_the_locked_dependencies() {
    let mut loose = Vec::new();
    for name in ["README.md", ".ci/run"] {
        let text = read(&root().join(name));
        let commands = text.split("cargo ").skip(1).filter_map(|rest| rest.split(['`', '\n', '#', ';']).next());
        let builds = commands.filter(|command| {
            let word = command.split_whitespace().next().unwrap_or_default();
            ["run", "test", "build", "bench", "install", "clippy", "doc", "metadata", "fetch"].contains(&word)
        });
        let count = builds.clone().count();
        assert!(count >= 4, "only {count} commands in {name}");
        loose
            .extend(builds.filter(|command| !command.contains("--locked")).map(|command| format!("{name}: {command}")));
    }
    assert!(loose.is_empty(), "commands without --locked:\n{}", loose.join("\n"));
}
