//! Content of a disk: files and directories as programs see them, what of them is on the medium, and what is still on
//! its way there. Owns what a sync keeps and what a power cut leaves; never which faults there are.

use std::collections::{BTreeMap, BTreeSet};

use fastrand::Rng;

/// Root directory; FUSE gives it this number.
pub(super) const ROOT: u64 = 1;

/// Unit that a disk writes completely or not at all.
const SECTOR_BYTES: usize = 512;

/// Sectors of a page, the unit that the system caches and writes.
const PAGE_SECTORS: usize = 8;

type Sector = [u8; SECTOR_BYTES];

/// Files and directories, by their numbers.
#[derive(Debug)]
pub(super) struct Medium {
    nodes: BTreeMap<u64, Node>,
    last: u64,
}

/// File or directory.
#[derive(Debug)]
pub(super) struct Node {
    /// Permissions; on the medium at once, as nothing depends on them.
    pub(super) mode: u16,
    /// Content.
    pub(super) content: Content,
}

/// Content of a file or a directory.
#[derive(Debug)]
pub(super) enum Content {
    File(File),
    Directory(Directory),
}

/// Bytes of a file.
#[derive(Debug)]
pub(super) struct File {
    /// Bytes as programs see them.
    bytes: Vec<u8>,
    /// Bytes as they are on the medium.
    durable: Vec<u8>,
    /// Changes since the last sync, in order; never empty. A file system truncates a file completely or not at all, and
    /// later writes depend on it.
    changes: Vec<Changes>,
}

/// Changes of a file between two truncations.
#[derive(Debug, Default)]
struct Changes {
    /// Length to which it was truncated first, if it was.
    shortened_to: Option<usize>,
    /// Changed sectors, each with all of its contents since, the oldest first.
    sectors: BTreeMap<usize, Vec<Sector>>,
    /// Greater lengths that the file had since, the oldest first.
    lengths: Vec<usize>,
}

/// Names in a directory.
#[derive(Debug, Default)]
pub(super) struct Directory {
    /// Names as programs see them.
    names: BTreeMap<String, u64>,
    /// Names as they are on the medium.
    durable: BTreeMap<String, u64>,
}

impl Medium {
    /// Creates a medium with nothing but an empty root directory.
    pub(super) fn new() -> Self {
        let root = Node { mode: 0o755, content: Content::Directory(Directory::default()) };
        Medium { nodes: BTreeMap::from([(ROOT, root)]), last: ROOT }
    }

    pub(super) fn node(&mut self, number: u64) -> Option<&mut Node> {
        self.nodes.get_mut(&number)
    }

    /// File of this number.
    pub(super) fn file(&mut self, number: u64) -> Option<&mut File> {
        match &mut self.nodes.get_mut(&number)?.content {
            Content::File(file) => Some(file),
            Content::Directory(_) => None,
        }
    }

    /// Directory of this number.
    pub(super) fn directory(&mut self, number: u64) -> Option<&mut Directory> {
        match &mut self.nodes.get_mut(&number)?.content {
            Content::Directory(directory) => Some(directory),
            Content::File(_) => None,
        }
    }

    /// Creates a file or a directory. Returns its number.
    pub(super) fn make(&mut self, parent: u64, name: &str, node: Node) -> Option<u64> {
        let number = self.last + 1;
        self.directory(parent)?.names.insert(name.to_owned(), number);
        self.nodes.insert(number, node);
        self.last = number;
        Some(number)
    }

    /// Syncs a file or a directory: its changes are on the medium.
    pub(super) fn sync(&mut self, number: u64, random: &mut Rng) {
        if let Some(node) = self.nodes.get_mut(&number) {
            node.settle(1.0, random);
        }
    }

    /// Name of this number; empty if it has none.
    pub(super) fn name(&self, number: u64) -> &str {
        self.named().find(|(_, named)| *named == number).map_or("", |(name, _)| name)
    }

    /// Numbers of the files and directories of this name.
    pub(super) fn numbers(&self, name: &str) -> Vec<u64> {
        self.named().filter(|(known, _)| *known == name).map(|(_, number)| number).collect()
    }

    /// Bytes in all files that have a name.
    pub(super) fn used_bytes(&self) -> usize {
        let bytes = |number| match &self.nodes[&number].content {
            Content::File(file) => file.bytes.len(),
            Content::Directory(_) => 0,
        };
        self.named().map(|(_, number)| bytes(number)).sum()
    }

    fn named(&self) -> impl Iterator<Item = (&str, u64)> {
        let names = self.nodes.values().filter_map(|node| match &node.content {
            Content::Directory(directory) => Some(&directory.names),
            Content::File(_) => None,
        });
        names.flatten().map(|(name, number)| (name.as_str(), *number))
    }

    /// Cuts the power: of what was not synced, each sector, each length and each name survives by luck, between 0 and 1.
    /// Programs then see what is on the medium.
    pub(super) fn cut(&mut self, luck: f64, random: &mut Rng) {
        for node in self.nodes.values_mut() {
            node.settle(luck, random);
            match &mut node.content {
                Content::File(file) => file.bytes.clone_from(&file.durable),
                Content::Directory(directory) => directory.names.clone_from(&directory.durable),
            }
        }
    }
}

impl Node {
    pub(super) fn file(mode: u16) -> Self {
        Node { mode, content: Content::File(File::new()) }
    }

    pub(super) fn directory(mode: u16) -> Self {
        Node { mode, content: Content::Directory(Directory::default()) }
    }

    fn settle(&mut self, luck: f64, random: &mut Rng) {
        match &mut self.content {
            Content::File(file) => file.settle(luck, random),
            Content::Directory(directory) => directory.settle(luck, random),
        }
    }
}

impl File {
    fn new() -> Self {
        File { bytes: Vec::new(), durable: Vec::new(), changes: vec![Changes::default()] }
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Bytes from this offset on, as far as there are any.
    pub(super) fn read(&self, offset: usize, count: usize) -> &[u8] {
        let start = offset.min(self.bytes.len());
        &self.bytes[start..self.bytes.len().min(start + count)]
    }

    pub(super) fn write(&mut self, offset: usize, bytes: &[u8]) {
        let end = offset + bytes.len();
        if end > self.bytes.len() {
            self.set_len(end);
        }
        self.bytes[offset..end].copy_from_slice(bytes);
        self.touch(offset, end);
    }

    pub(super) fn set_len(&mut self, len: usize) {
        if len < self.bytes.len() {
            self.changes.push(Changes { shortened_to: Some(len), ..Changes::default() });
        } else {
            self.newest_changes().lengths.push(len);
        }
        set_len(&mut self.bytes, len);
        self.touch(len, len);
    }

    /// Fails a sync as Linux does: what did not reach the medium, by luck, counts as clean from now on. Programs still
    /// see it, but it is not written any more, unless something on the same page is written again.
    pub(super) fn fail_to_sync(&mut self, luck: f64, random: &mut Rng) {
        for changes in &mut self.changes {
            changes.sectors.retain(|_, _| random.f64() < luck);
        }
    }

    /// Lets changes reach the medium by luck: all of them for 1, none for 0.
    fn settle(&mut self, luck: f64, random: &mut Rng) {
        for changes in std::mem::replace(&mut self.changes, vec![Changes::default()]) {
            if let Some(len) = changes.shortened_to {
                if random.f64() >= luck {
                    return;
                }
                self.durable.truncate(len);
            }
            let len = survivor(changes.lengths, luck, random).unwrap_or(self.durable.len());
            set_len(&mut self.durable, len);
            for (place, held) in changes.sectors {
                if let Some(sector) = survivor(held, luck, random) {
                    put_sector(&mut self.durable, place, &sector);
                }
            }
        }
    }

    /// Marks the pages that hold these bytes as changed.
    fn touch(&mut self, start: usize, end: usize) {
        let page_bytes = PAGE_SECTORS * SECTOR_BYTES;
        for place in start / page_bytes * PAGE_SECTORS..end.div_ceil(page_bytes) * PAGE_SECTORS {
            let sector = sector_of(&self.bytes, place);
            if sector != self.newest_sector(place) {
                self.newest_changes().sectors.entry(place).or_default().push(sector);
            }
        }
    }

    /// Content of this sector if all of its changes reached the medium.
    fn newest_sector(&self, place: usize) -> Sector {
        for changes in self.changes.iter().rev() {
            if let Some(sector) = changes.sectors.get(&place).and_then(|held| held.last()) {
                return *sector;
            }
            if changes.shortened_to.is_some_and(|len| len <= place * SECTOR_BYTES) {
                return [0; SECTOR_BYTES];
            }
        }
        sector_of(&self.durable, place)
    }

    fn newest_changes(&mut self) -> &mut Changes {
        self.changes.last_mut().expect("changes are never empty")
    }
}

impl Directory {
    pub(super) fn names(&self) -> &BTreeMap<String, u64> {
        &self.names
    }

    pub(super) fn remove(&mut self, name: &str) -> Option<u64> {
        self.names.remove(name)
    }

    /// Lets changes reach the medium by luck.
    fn settle(&mut self, luck: f64, random: &mut Rng) {
        let names = BTreeSet::from_iter(self.names.keys().chain(self.durable.keys()).cloned());
        for name in names {
            if random.f64() < luck {
                match self.names.get(&name) {
                    Some(number) => self.durable.insert(name, *number),
                    None => self.durable.remove(&name),
                };
            }
        }
    }
}

/// Picks the one that has survived, of which the newest is the last. `None` if the state before all of them has.
fn survivor<T>(mut held: Vec<T>, luck: f64, random: &mut Rng) -> Option<T> {
    while let Some(newest) = held.pop() {
        if random.f64() < luck {
            return Some(newest);
        }
    }
    None
}

/// Bytes behind the end are zero.
fn set_len(bytes: &mut Vec<u8>, len: usize) {
    // As `resize` does it, which takes a hundred times as long where it is not optimised.
    bytes.truncate(len);
    bytes.extend_from_slice(&vec![0; len - bytes.len()]);
}

/// Returns the sector at this place; bytes behind the end are zero.
fn sector_of(bytes: &[u8], place: usize) -> Sector {
    let start = (place * SECTOR_BYTES).min(bytes.len());
    let there = &bytes[start..bytes.len().min(start + SECTOR_BYTES)];
    let mut sector = [0; SECTOR_BYTES];
    sector[..there.len()].copy_from_slice(there);
    sector
}

/// Puts a sector at its place; what lies behind the end is dropped.
fn put_sector(bytes: &mut [u8], place: usize, sector: &Sector) {
    let start = (place * SECTOR_BYTES).min(bytes.len());
    let end = bytes.len().min(start + SECTOR_BYTES);
    bytes[start..end].copy_from_slice(&sector[..end - start]);
}
