//! Memory files that programs share.
//!
//! The shim tells us of every memory file that a program maps shared, so that its pages can be reached
//! after the program unmapped or closed it, or died. What nobody maps and nothing pins any more is
//! dropped from time to time.

use std::collections::HashMap;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use mem::process::SharedObjects;
use mem::{ObjectKey, SharedFile};
use parking_lot::Mutex;
use rustix::fs::OFlags;

use crate::{processes, sys};

/// Objects that are known before the first cleaning.
const FIRST_CLEANING: usize = 256;

/// The known memory files.
#[derive(Debug)]
pub(crate) struct Objects {
    known: Mutex<Known>,
}

#[derive(Debug)]
struct Known {
    files: HashMap<ObjectKey, Object>,
    clean_at: usize,
}

#[derive(Debug)]
struct Object {
    file: Arc<SharedFile>,
    writable: bool,
}

impl Default for Objects {
    fn default() -> Self {
        Self { known: Mutex::new(Known { files: HashMap::new(), clean_at: FIRST_CLEANING }) }
    }
}

impl Objects {
    /// Takes over a descriptor of a memory file; anything else is dropped.
    pub(crate) fn register(&self, fd: OwnedFd) {
        if mem::process::is_pinnable_memory(&fd)
            && let Ok(file) = SharedFile::new(fd)
        {
            self.add(file);
        }
    }
}

impl SharedObjects for Objects {
    fn find(&self, key: ObjectKey, writable: bool) -> Option<Arc<SharedFile>> {
        let known = self.known.lock();
        let object = known.files.get(&key).filter(|object| object.writable || !writable)?;
        Some(Arc::clone(&object.file))
    }

    fn add(&self, file: SharedFile) -> Arc<SharedFile> {
        let flags = rustix::fs::fcntl_getfl(file.as_fd()).unwrap_or(OFlags::PATH);
        let writable = flags & OFlags::ACCMODE == OFlags::RDWR;
        let mut known = self.known.lock();
        if let Some(object) = known.files.get(&file.key()).filter(|o| o.writable || !writable) {
            return Arc::clone(&object.file);
        }
        if known.files.len() >= known.clean_at {
            known.clean();
        }
        let block = sys::huge_page_of(file.as_fd());
        let file = Arc::new(file.with_block(block));
        known.files.insert(file.key(), Object { file: Arc::clone(&file), writable });
        file
    }
}

impl Known {
    fn clean(&mut self) {
        let us = rustix::process::getpid().as_raw_nonzero().get();
        if let Some(mapped) = processes::mapped_objects(us) {
            self.files
                .retain(|key, object| mapped.contains(key) || Arc::strong_count(&object.file) > 1);
        }
        self.clean_at = FIRST_CLEANING.max(self.files.len() * 2);
    }
}
