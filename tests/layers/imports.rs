//! The modules of a crate and the imports between their files, read from their text. Owns how a path leads to the file that
//! defines the name; never decides which imports are allowed.
//!
//! A name that a module re-exports counts as imported from the file that defines it. Calls of methods name no path and are not
//! seen.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::tokens::{Token, tokens, without_test_items};

/// Name of a module in the list of modules.
type Id = usize;

/// Files of a package, as modules.
pub(crate) struct Modules {
    all: Vec<Module>,
}

/// File of a package.
pub(crate) struct Module {
    /// Path of the module, such as `broker::chat`; `lib` or `main` for the root of a crate.
    pub(crate) path: String,
    /// Whether only tests compile it.
    pub(crate) is_test: bool,
    /// `None` for the root of a crate.
    parent: Option<Id>,
    root: Id,
    children: BTreeMap<String, Id>,
    tokens: Vec<Token>,
    uses: Vec<Use>,
    /// Names of the items that stand in this file.
    items: BTreeSet<String>,
}

/// Name that a `use` declaration brings into a file.
struct Use {
    path: Vec<String>,
    /// Name in the importing file; `*` for all of a module.
    name: String,
    is_public: bool,
    line: usize,
}

/// A path by which one file names something in another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Import {
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) line: usize,
    /// Path as it is written.
    pub(crate) path: String,
    /// Whether only tests compile the importing file.
    pub(crate) is_test: bool,
}

/// A place to which a path leads.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Target {
    Module(Id),
    /// An item that is defined in this file.
    Item(Id),
}

impl Modules {
    /// Reads a library (`lib.rs`), a binary (`main.rs`) or both from their directory.
    pub(crate) fn read(directory: &Path) -> Self {
        let mut modules = Modules { all: Vec::new() };
        for root in ["lib", "main"] {
            let file = directory.join(root).with_extension("rs");
            if file.exists() {
                modules.add(root.to_owned(), &file, directory.to_owned(), None, false);
            }
        }
        modules
    }

    /// Returns the modules, in the order of their declarations.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Module> {
        self.all.iter()
    }

    fn add(&mut self, path: String, file: &Path, directory: PathBuf, parent: Option<Id>, is_test: bool) -> Id {
        let source = fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let (tokens, tests) = without_test_items(&tokens(&source));
        let id = self.all.len();
        let root = parent.map_or(id, |parent| self.all[parent].root);
        let (uses, tokens) = split_uses(tokens);
        let declared = declared_modules(&tokens, file);
        let items = items(&tokens);
        let children = BTreeMap::new();
        self.all.push(Module { path, is_test, parent, root, children, tokens, uses, items });
        for name in declared {
            let prefix = if parent.is_some() { format!("{}::", self.all[id].path) } else { String::new() };
            let is_test = is_test || tests.contains(&name);
            let file = directory.join(&name).with_extension("rs");
            let child = self.add(format!("{prefix}{name}"), &file, directory.join(&name), Some(id), is_test);
            self.all[id].children.insert(name, child);
        }
        id
    }

    /// Returns all imports between different files.
    pub(crate) fn imports(&self) -> Vec<Import> {
        let mut imports: Vec<Import> = (0..self.all.len()).flat_map(|id| self.imports_of(id)).collect();
        imports.sort();
        imports.dedup_by(|later, earlier| (&later.from, &later.to) == (&earlier.from, &earlier.to));
        imports
    }

    fn imports_of(&self, id: Id) -> Vec<Import> {
        let module = &self.all[id];
        let used = module.uses.iter().filter(|import| !self.is_reexport_only(id, import));
        let used = used.filter_map(|import| {
            // To name a module is no import of anything in it; paths that begin with the name are.
            let is_glob = import.name == "*";
            let target = self.resolve(id, &import.path, &mut Vec::new())?;
            match target {
                Target::Module(to) if is_glob => Some((to, import.line, &import.path)),
                Target::Item(to) => Some((to, import.line, &import.path)),
                Target::Module(_) => None,
            }
        });
        let used: Vec<_> = used.map(|(to, line, path)| (to, line, path.join("::"))).collect();
        let inline = paths(&module.tokens).into_iter().filter_map(|(path, line)| {
            let is_local = matches!(path[0].as_str(), "crate" | "super" | "self" | "holdline");
            let is_module = module.children.contains_key(&path[0])
                || matches!(self.bound(id, &path[0], &mut Vec::new()), Some(Target::Module(_)));
            let target = (is_local || is_module).then(|| self.resolve(id, &path, &mut Vec::new()))??;
            let (Target::Item(to) | Target::Module(to)) = target;
            Some((to, line, path.join("::")))
        });
        let all = used.into_iter().chain(inline).filter(|(to, ..)| *to != id);
        let import = |(to, line, path): (Id, usize, String)| Import {
            from: module.path.clone(),
            to: self.all[to].path.clone(),
            line,
            path,
            is_test: module.is_test,
        };
        all.map(import).collect()
    }

    /// Whether a file only re-exports a name of one of its children and does not use it itself.
    fn is_reexport_only(&self, id: Id, import: &Use) -> bool {
        let module = &self.all[id];
        let Some(Target::Item(to) | Target::Module(to)) = self.resolve(id, &import.path, &mut Vec::new()) else {
            return false;
        };
        let is_descendant = self.ancestors(to).any(|ancestor| ancestor == id);
        let is_mentioned = module.tokens.iter().any(|token| token.text == import.name);
        import.is_public && is_descendant && !is_mentioned
    }

    fn ancestors(&self, id: Id) -> impl Iterator<Item = Id> {
        std::iter::successors(self.all[id].parent, |ancestor| self.all[*ancestor].parent)
    }

    /// Follows a path from a file. `None` if it leads out of the package.
    fn resolve(&self, from: Id, path: &[String], visited: &mut Vec<(Id, String)>) -> Option<Target> {
        let (first, mut rest) = path.split_first()?;
        let mut target = match first.as_str() {
            "crate" => Target::Module(self.all[from].root),
            // The binary's name for the library.
            "holdline" => Target::Module(0),
            "self" => Target::Module(from),
            "super" => Target::Module(self.all[from].parent?),
            _ => self.named(from, first, visited)?,
        };
        while let (Target::Module(id), Some((next, after))) = (target, rest.split_first()) {
            target = match next.as_str() {
                "self" => target,
                "super" => Target::Module(self.all[id].parent?),
                "*" => return Some(target),
                _ => self.named(id, next, visited).unwrap_or(Target::Item(id)),
            };
            rest = after;
        }
        Some(target)
    }

    /// Finds a name in a file: a child, an item, or an import. `None` if there is none.
    fn named(&self, id: Id, name: &str, visited: &mut Vec<(Id, String)>) -> Option<Target> {
        let module = &self.all[id];
        if let Some(child) = module.children.get(name) {
            return Some(Target::Module(*child));
        }
        if module.items.contains(name) {
            return Some(Target::Item(id));
        }
        self.bound(id, name, visited)
    }

    /// Finds a name among what a file imports.
    fn bound(&self, id: Id, name: &str, visited: &mut Vec<(Id, String)>) -> Option<Target> {
        let place = (id, name.to_owned());
        if visited.contains(&place) {
            return None;
        }
        visited.push(place);
        let uses = &self.all[id].uses;
        for import in uses.iter().filter(|import| import.name == name) {
            if let Some(found) = self.resolve(id, &import.path, visited) {
                return Some(found);
            }
        }
        for glob in uses.iter().filter(|import| import.name == "*") {
            if let Some(Target::Module(module)) = self.resolve(id, &glob.path, visited)
                && let Some(found) = self.named(module, name, visited)
            {
                return Some(found);
            }
        }
        None
    }
}

/// Takes the `use` declarations out of a file's tokens.
fn split_uses(tokens: Vec<Token>) -> (Vec<Use>, Vec<Token>) {
    let (mut uses, mut others): (Vec<Use>, Vec<Token>) = (Vec::new(), Vec::new());
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        // `impl Trait + use<'a>` is no import.
        if token.text != "use" || tokens.peek().is_some_and(|next| next.text == "<") {
            others.push(token);
            continue;
        }
        let tree: Vec<Token> = tokens.by_ref().take_while(|token| token.text != ";").collect();
        let is_public = others.last().is_some_and(|last| matches!(last.text.as_str(), "pub" | ")"));
        let mut texts = tree.iter().map(|token| token.text.as_str()).peekable();
        use_tree(&mut texts, &[], &mut |path, name| {
            uses.push(Use { path, name, is_public, line: token.line });
        });
    }
    (uses, others)
}

/// Reports each path of a `use` declaration with the name that it gets.
fn use_tree<'a>(
    tokens: &mut std::iter::Peekable<impl Iterator<Item = &'a str>>,
    prefix: &[String],
    report: &mut impl FnMut(Vec<String>, String),
) {
    let mut path = prefix.to_vec();
    let mut name = None;
    while let Some(token) = tokens.next() {
        match token {
            "::" => {}
            "{" => {
                while tokens.peek().is_some_and(|next| *next != "}") {
                    use_tree(tokens, &path, report);
                    tokens.next_if(|next| *next == ",");
                }
                tokens.next();
                return;
            }
            "as" => name = tokens.next(),
            _ => path.push(token.to_owned()),
        }
        if tokens.peek().is_none_or(|next| matches!(*next, "," | "}")) {
            break;
        }
    }
    // `{self, …}` names the module itself.
    if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
        path.pop();
    }
    let name = name.map(str::to_owned).or_else(|| path.last().cloned());
    report(path, name.unwrap_or_default());
}

/// Returns the modules that a file declares and that have files of their own.
fn declared_modules(tokens: &[Token], file: &Path) -> Vec<String> {
    let mut declared = Vec::new();
    for window in tokens.windows(3) {
        let [keyword, name, end] = window else { continue };
        if keyword.text == "mod" {
            assert_eq!(end.text, ";", "{}:{}: a module in a file of another", file.display(), name.line);
            declared.push(name.text.clone());
        }
    }
    declared
}

/// Names of the items that stand in a file, not inside another item.
fn items(tokens: &[Token]) -> BTreeSet<String> {
    let mut depth = 0;
    let mut items = BTreeSet::new();
    for (at, token) in tokens.iter().enumerate() {
        match token.text.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            "struct" | "enum" | "union" | "fn" | "const" | "static" | "type" | "trait" if depth == 0 => {
                items.extend(tokens.get(at + 1).map(|name| name.text.clone()));
            }
            "macro_rules" => items.extend(tokens.get(at + 2).map(|name| name.text.clone())),
            _ => {}
        }
    }
    items
}

/// Paths of at least two names outside of `use` declarations, with their lines.
fn paths(tokens: &[Token]) -> Vec<(Vec<String>, usize)> {
    let mut paths = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let start = at;
        at += 1;
        let is_path = tokens.get(at).is_some_and(|next| next.text == "::");
        let before = start.checked_sub(1).map(|before| tokens[before].text.as_str());
        // `pub(in crate::x)` names a module and imports nothing.
        if !is_path || matches!(before, Some("::" | "in")) {
            continue;
        }
        let mut path = vec![tokens[start].text.clone()];
        while let [separator, next, ..] = &tokens[at..]
            && separator.text == "::"
            && next.text.starts_with(|c: char| c.is_alphabetic() || c == '_')
        {
            path.push(next.text.clone());
            at += 2;
        }
        paths.push((path, tokens[start].line));
    }
    paths
}
