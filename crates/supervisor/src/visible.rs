//! What a program sees of the machine below `/sys` and in `/dev/vfio`: files of the run directory, which
//! change when the machine does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Weak};

use engine::{Cpus, Engine, Entry};

use crate::Trouble;
use crate::directory::Directory;

/// Which processors are online.
const ONLINE: &str = "/sys/devices/system/cpu/online";

/// The files.
#[derive(Debug)]
pub(crate) struct Visible {
    /// The run's, which ends with the run: calls that are under way then change nothing.
    directory: Weak<Directory>,
    cpus: Cpus,
    shown: BTreeMap<String, Entry>,
}

impl Visible {
    /// Writes them.
    pub(crate) fn new(directory: &Arc<Directory>, engine: &Engine) -> Result<Self, Trouble> {
        let cpus = Cpus::new(&std::fs::read_to_string(ONLINE).unwrap_or_default());
        let directory = Arc::downgrade(directory);
        let mut visible = Self { directory, cpus, shown: BTreeMap::new() };
        visible.update(engine)?;
        Ok(visible)
    }

    /// Writes what has changed. What is gone goes last of all, so that what stays is never missing.
    pub(crate) fn update(&mut self, engine: &Engine) -> Result<(), Trouble> {
        let Some(directory) = self.directory.upgrade() else { return Ok(()) };
        let nodes = engine.device_nodes().into_iter();
        let nodes =
            nodes.map(|node| (format!("{}/{node}", wire::DEV_TREE), Entry::Text(String::new())));
        let files = engine.sysfs(&self.cpus).into_iter();
        let files = files.map(|(path, entry)| (format!("{}/{path}", wire::SYS_TREE), entry));
        let wanted: BTreeMap<_, _> = nodes.chain(files).collect();
        let changed = wanted.iter().filter(|(path, entry)| self.shown.get(*path) != Some(entry));
        for (path, entry) in changed {
            match entry {
                Entry::Folder => directory.folder(path)?,
                Entry::Text(text) => directory.read_only(path, text.as_bytes())?,
                Entry::Bytes(bytes) => directory.read_only(path, bytes)?,
                Entry::Closed(size) => directory.closed(path, *size)?,
                Entry::Link(to) => directory.link(path, to)?,
            }
        }
        let gone: Vec<_> = self.shown.keys().filter(|path| !wanted.contains_key(*path)).collect();
        let folders: BTreeSet<_> = wanted.keys().flat_map(|path| folders_of(path)).collect();
        for path in gone.iter().rev() {
            directory.remove(path);
            // and the folders that were there for it alone, the innermost first
            let empty =
                folders_of(path).filter(|it| !folders.contains(it) && !wanted.contains_key(*it));
            empty.for_each(|folder| directory.remove(folder));
        }
        self.shown = wanted;
        Ok(())
    }
}

/// The folders that a file is in, the innermost first.
fn folders_of(path: &str) -> impl Iterator<Item = &str> {
    path.rmatch_indices('/').map(|(end, _)| &path[..end])
}
