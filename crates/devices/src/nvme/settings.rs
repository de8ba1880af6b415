//! How a controller is made, and how it is asked for.

use std::io::{Error, ErrorKind, Result};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::storage::{Namespace, Storage};
use super::{IDENTITY, Nvme, identify};
use crate::Latency;
use crate::catalogue::{BadDevice, Entry, LATENCY, Setting, Values};

/// Namespaces, at most.
const NAMESPACES: u32 = 256;

/// How a device is made.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Bytes of each namespace; without, as many as the file has for it, or 1 GiB of memory.
    pub size: Option<u64>,
    /// A file that holds the namespaces one after the other; without, they are in memory.
    pub path: Option<PathBuf>,
    /// How many there are, 1 to 256.
    pub namespaces: u32,
    /// Bytes of a block, 512 or 4096, until the host formats a namespace.
    pub block: u32,
    /// Serial number, up to 20 characters. Drivers take controllers with the same for one, so without, each
    /// that a process makes has another.
    pub serial: Option<String>,
    /// How long completions take: the time from a batch of commands to its completions.
    pub latency: Latency,
}

impl Default for Settings {
    /// One namespace of 1 GiB of memory in blocks of 512 bytes, without latency.
    fn default() -> Self {
        Self {
            size: None,
            path: None,
            namespaces: 1,
            block: 512,
            serial: None,
            latency: Latency::None,
        }
    }
}

const DEFAULT_SIZE: u64 = 1 << 30;

const SIZE: Setting = Setting {
    name: "size",
    what: "bytes of each namespace; without, what the file has for it, or 1G of memory",
    default: "",
};
const PATH: Setting = Setting {
    name: "path",
    what: "file that holds the namespaces; without, they are in memory",
    default: "",
};
const COUNT: Setting =
    Setting { name: "namespaces", what: "how many there are, 1 to 256", default: "1" };
const BLOCK: Setting =
    Setting { name: "block", what: "bytes of a block, 512 or 4096", default: "512" };
const SERIAL: Setting = Setting {
    name: "serial",
    what: "serial number, up to 20 ASCII characters; without, each controller has another",
    default: "",
};

/// How it is asked for.
pub const ENTRY: Entry = Entry {
    name: "nvme",
    summary: "NVM Express controller with the IDs of QEMU's",
    identity: IDENTITY,
    shares_memory: false,
    settings: &[SIZE, PATH, COUNT, BLOCK, SERIAL, LATENCY],
    recipe: |values| {
        let settings = Settings::read(values)?;
        Ok(Box::new(move |dma, interrupts| Ok(Arc::new(Nvme::new(dma, interrupts, &settings)?))))
    },
};

fn invalid(what: &str) -> Error {
    Error::new(ErrorKind::InvalidInput, what)
}

impl Settings {
    fn read(values: &Values<'_>) -> std::result::Result<Self, BadDevice> {
        let given = |setting| Some(values.text(setting)).filter(|text| !text.is_empty());
        let settings = Self {
            size: given(&SIZE).map(|_| values.bytes(&SIZE)).transpose()?,
            path: given(&PATH).map(PathBuf::from),
            namespaces: values.number(&COUNT, 1..=NAMESPACES.into())? as u32,
            block: values.number(&BLOCK, 512..=4096)? as u32,
            serial: given(&SERIAL).map(str::to_owned),
            latency: values.latency()?,
        };
        if !identify::FORMATS.iter().any(|it| 1 << it == settings.block) {
            return Err(values.bad(&BLOCK, "must be 512 or 4096"));
        }
        let printable = |byte: u8| byte.is_ascii_graphic() || byte == b' ';
        if settings.serial.as_ref().is_some_and(|it| it.len() > 20 || !it.bytes().all(printable)) {
            return Err(values.bad(&SERIAL, "must be up to 20 ASCII characters"));
        }
        if settings.size.is_some_and(|size| size < 4096) {
            return Err(values.bad(&SIZE, "must be 4096 at least"));
        }
        Ok(settings)
    }

    /// The serial number.
    pub(super) fn serial(&self) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let next = || format!("softiommu-{}", NEXT.fetch_add(1, Ordering::Relaxed));
        self.serial.clone().unwrap_or_else(next)
    }

    /// The storage and the namespaces in it.
    pub(super) fn storage(&self) -> Result<(Storage, Vec<Namespace>)> {
        let Settings { size, path, namespaces: count, block, .. } = self;
        if !(1..=NAMESPACES).contains(count) {
            return Err(invalid("there can be 1 to 256 namespaces"));
        }
        let shift = block.trailing_zeros();
        if !identify::FORMATS.iter().any(|it| 1 << it == *block) {
            return Err(invalid("blocks have 512 or 4096 bytes"));
        }
        let count = u64::from(*count);
        let total =
            |bytes: u64| bytes.checked_mul(count).ok_or_else(|| invalid("that is too much"));
        let (storage, bytes) = match path {
            None => {
                let bytes = size.unwrap_or(DEFAULT_SIZE);
                (Storage::memory(total(bytes)?)?, bytes)
            }
            Some(path) => {
                let (storage, length) = Storage::file(path)?;
                let bytes = size.unwrap_or(length / count);
                if total(bytes)? > length {
                    return Err(invalid("the file is shorter than its namespaces"));
                }
                (storage, bytes)
            }
        };
        // whole blocks, of every format
        let bytes = bytes & !4095;
        if bytes == 0 {
            return Err(invalid("a namespace has 4096 bytes at least"));
        }
        let namespace = |index| Namespace { first: index * bytes, bytes, shift };
        Ok((storage, (0..count).map(namespace).collect()))
    }
}
