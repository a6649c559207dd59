//! Checks of the imports of a package: none points upward, and none is part of a cycle. Owns the report.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::imports::Import;

/// Returns the index of the layer that a module is in: that of the longest name in the table that it begins with.
pub(crate) fn layer(layers: &[&str], path: &str) -> Option<usize> {
    let matching = layers.iter().enumerate().filter(|(_, layer)| is_in(path, layer));
    matching.max_by_key(|(_, layer)| layer.len()).map(|(index, _)| index)
}

fn is_in(path: &str, module: &str) -> bool {
    path.strip_prefix(module).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
}

/// Describes each import from a layer above the importing file's.
pub(crate) fn upward_imports(layers: &[&str], imports: &[Import]) -> Vec<String> {
    // Tests are on top of everything.
    let is_upward = |import: &&Import| !import.is_test && layer(layers, &import.to) > layer(layers, &import.from);
    let describe = |Import { from, to, line, path, .. }: &Import| {
        format!("{from} imports {path} from {to}, a layer above (line {line})")
    };
    imports.iter().filter(is_upward).map(describe).collect()
}

/// Describes a shortest cycle for each group of files that import each other.
pub(crate) fn cycles(imports: &[Import]) -> Vec<String> {
    let mut by_file: BTreeMap<&str, Vec<&Import>> = BTreeMap::new();
    for import in imports {
        by_file.entry(&import.from).or_default().push(import);
    }
    let mut seen: BTreeSet<&str> = BTreeSet::new();
    let mut found = Vec::new();
    for file in by_file.keys() {
        if seen.contains(file) {
            continue;
        }
        if let Some(cycle) = shortest_cycle(file, &by_file) {
            seen.extend(cycle.iter().map(|import| import.from.as_str()));
            found.push(cycle.into_iter().map(describe).collect());
        }
    }
    found
}

fn describe(Import { from, to, line, path, .. }: &Import) -> String {
    format!("{from} imports {path} from {to} (line {line})\n")
}

/// Finds a shortest way from a file back to itself.
fn shortest_cycle<'a>(start: &str, by_file: &BTreeMap<&'a str, Vec<&'a Import>>) -> Option<Vec<&'a Import>> {
    let mut arrived_by: BTreeMap<&str, &Import> = BTreeMap::new();
    let mut queue = VecDeque::from([start]);
    while let Some(file) = queue.pop_front() {
        for import in by_file.get(file).into_iter().flatten() {
            if import.to == start {
                let mut cycle = vec![*import];
                while let Some(import) = arrived_by.get(cycle[cycle.len() - 1].from.as_str()) {
                    cycle.push(import);
                }
                cycle.reverse();
                return Some(cycle);
            }
            if !arrived_by.contains_key(import.to.as_str()) {
                arrived_by.insert(&import.to, import);
                queue.push_back(&import.to);
            }
        }
    }
    None
}
