//! The page shared with the shim, see [`wire::page`].

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;

use parking_lot::Mutex;
use wire::page;

use crate::directory::Directory;
use crate::trouble::{Doing, Trouble};

/// Our side of the page. It is written as a file: the shim's mapping shows the same bytes.
#[derive(Debug)]
pub(crate) struct Page {
    file: File,
    live: Mutex<Live>,
}

#[derive(Debug)]
struct Live {
    files: u32,
    /// How many live cookies have this bit.
    cookies: Box<[u16]>,
    bits: Box<[u8]>,
    charged: bool,
}

impl Page {
    /// Makes the file in the run directory. `release` is what `uname -r` says.
    pub(crate) fn new(
        directory: &Directory,
        features: u32,
        release: &str,
    ) -> Result<Self, Trouble> {
        let mut bytes = vec![0; page::SIZE];
        bytes[page::FEATURES..page::FEATURES + 4].copy_from_slice(&features.to_ne_bytes());
        bytes[page::RELEASE..page::RELEASE + release.len()].copy_from_slice(release.as_bytes());
        directory.write(wire::PAGE, &bytes, false)?;
        let file = OpenOptions::new().write(true).open(directory.file(wire::PAGE));
        let live = Live {
            files: 0,
            cookies: vec![0; page::FILTER_BYTES * 8].into(),
            bits: vec![0; page::FILTER_BYTES].into(),
            charged: false,
        };
        Ok(Self { file: file.doing("opening the shared page")?, live: Mutex::new(live) })
    }

    /// Another open file, before anybody has its descriptor.
    pub(crate) fn add(&self, cookie: u64) {
        let mut live = self.live.lock();
        live.files += 1;
        self.change(&mut live, cookie, |count| count.saturating_add(1));
    }

    /// It is gone.
    pub(crate) fn remove(&self, cookie: u64) {
        let mut live = self.live.lock();
        live.files -= 1;
        self.change(&mut live, cookie, |count| count.saturating_sub(1));
    }

    /// Somebody is charged for pinned pages.
    pub(crate) fn set_charged(&self) {
        let mut live = self.live.lock();
        if !live.charged {
            live.charged = true;
            self.put(page::CHARGED, &1u32.to_ne_bytes());
        }
    }

    fn change(&self, live: &mut Live, cookie: u64, change: impl Fn(u16) -> u16) {
        let (byte, mask) = page::bit(cookie);
        let count = &mut live.cookies[byte * 8 + mask.trailing_zeros() as usize];
        *count = change(*count);
        let bits = if *count > 0 { live.bits[byte] | mask } else { live.bits[byte] & !mask };
        live.bits[byte] = bits;
        self.put(page::FILTER + byte, &[bits]);
        self.put(page::LIVE, &live.files.to_ne_bytes());
    }

    fn put(&self, offset: usize, bytes: &[u8]) {
        // The file has its size already; should the disk fail, the shim asks once too often at most.
        let _ = self.file.write_all_at(bytes, offset as u64);
    }
}
