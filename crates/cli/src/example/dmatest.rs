//! A driver for softiommu's test device: its registers in BAR 0 (`crates/devices/src/dmatest/spec.rs`).
//!
//! It drives one operation at a time.

use std::fmt;
use std::io;
use std::time::{Duration, Instant};

use client::Region;
use uapi::vfio::{VFIO_PCI_BAR0_REGION_INDEX, VFIO_PCI_CONFIG_REGION_INDEX};

/// The regions that the driver uses.
pub const REGIONS: [u32; 2] = [VFIO_PCI_BAR0_REGION_INDEX, VFIO_PCI_CONFIG_REGION_INDEX];

/// Registers.
pub mod spec {
    pub const ID: u64 = 0x00;
    pub const ID_VALUE: u32 = u32::from_le_bytes(*b"dmat");
    pub const VERSION: u64 = 0x04;
    pub const VERSION_VALUE: u32 = 1;
    pub const STATUS: u64 = 0x08;
    pub const RUNNING: u32 = 1;
    pub const DOORBELL: u64 = 0x0c;
    pub const SCRIPT: u64 = 0x1000;
    pub const RESULTS: u64 = 0x2000;
    pub const DATA: u64 = 0x8000;
    pub const READ: u32 = 1;
    pub const WRITE: u32 = 2;
    pub const FLAG_PASID: u32 = 1 << 0;
    pub const FLAG_PAGE_REQUESTS: u32 = 1 << 2;
    pub const DONE: u32 = 1;
    pub const REFUSED: u32 = 2;
    pub const NO_MEMORY: u32 = 3;
    pub const ANSWERED_INVALID: u32 = 4;
    pub const TIMED_OUT: u32 = 5;
}

/// The command register of PCI's configuration space, and its bit for bus mastering.
const COMMAND: u64 = 0x04;
const COMMAND_MASTER: u16 = 1 << 2;

/// How long the device may take, and how long it waits for the answer to a page request.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// The group of the page requests.
pub const GROUP: u32 = 5;

/// A device that the driver has taken.
pub struct DmaTest {
    registers: Region,
}

/// An access.
#[derive(Clone, Copy)]
pub struct Access {
    pub address: u64,
    pub pasid: Option<u32>,
    /// Whether pages that are missing are asked for by page requests (ATS and PRI).
    pub asks: bool,
}

/// How an access ended.
pub struct Outcome {
    pub status: Status,
    /// What was read.
    pub bytes: Vec<u8>,
    /// How often it was tried.
    pub attempts: u32,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Status {
    Done,
    /// With the reason as the IOMMU's manual counts them.
    Refused(u32),
    NoMemory,
    AnsweredInvalid,
    TimedOut,
    Other(u32),
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Done => f.write_str("done"),
            Self::Refused(code) => write!(f, "refused by the IOMMU (reason {code:#x})"),
            Self::NoMemory => f.write_str("there is no memory"),
            Self::AnsweredInvalid => f.write_str("the page request was denied"),
            Self::TimedOut => f.write_str("the page request was not answered"),
            Self::Other(status) => write!(f, "ended with status {status}"),
        }
    }
}

impl DmaTest {
    /// Takes the device, if it is one, and lets it reach memory.
    pub fn new(registers: Region, configuration: &Region) -> io::Result<Option<Self>> {
        if registers.size() <= spec::DATA {
            return Ok(None);
        }
        let device = Self { registers };
        let known = [(spec::ID, spec::ID_VALUE), (spec::VERSION, spec::VERSION_VALUE)];
        for (register, value) in known {
            if device.get(register)? != value {
                return Ok(None);
            }
        }
        let mut command = [0; 2];
        configuration.read(COMMAND, &mut command)?;
        let command = u16::from_le_bytes(command) | COMMAND_MASTER;
        configuration.write(COMMAND, &command.to_le_bytes())?;
        Ok(Some(device))
    }

    /// Bytes of its registers.
    pub fn size(&self) -> u64 {
        self.registers.size()
    }

    pub fn read(&self, access: Access, size: usize) -> io::Result<Outcome> {
        self.start_read(access, size)?;
        self.wait()
    }

    /// Writes 8 bytes.
    pub fn write(&self, access: Access, bytes: [u8; 8]) -> io::Result<Outcome> {
        self.start_write(access, bytes)?;
        self.wait()
    }

    pub fn start_write(&self, access: Access, bytes: [u8; 8]) -> io::Result<()> {
        self.start(spec::WRITE, access, bytes.len(), u64::from_le_bytes(bytes))
    }

    pub fn start_read(&self, access: Access, size: usize) -> io::Result<()> {
        self.start(spec::READ, access, size, 0)
    }

    fn start(&self, action: u32, access: Access, size: usize, pattern: u64) -> io::Result<()> {
        let Access { address, pasid, asks } = access;
        let flags =
            pasid.map_or(0, |_| spec::FLAG_PASID) | if asks { spec::FLAG_PAGE_REQUESTS } else { 0 };
        let words = [
            u64::from(action) | u64::from(flags) << 32,
            address,
            u64::from(pasid.unwrap_or(0)) | (size as u64) << 32,
            pattern,
            u64::from(GROUP) << 32,
            PATIENCE.as_millis() as u64,
            0,
            0,
        ];
        let operation: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.registers.write(spec::SCRIPT, &operation)?;
        self.registers.write(spec::DOORBELL, &1_u32.to_le_bytes())
    }

    pub fn is_running(&self) -> io::Result<bool> {
        Ok(self.get(spec::STATUS)? == spec::RUNNING)
    }

    pub fn wait(&self) -> io::Result<Outcome> {
        let until = Instant::now() + 2 * PATIENCE;
        while self.is_running()? {
            if Instant::now() > until {
                return Err(io::ErrorKind::TimedOut.into());
            }
            std::thread::yield_now();
        }
        let word = |index: u64| self.get(spec::RESULTS + 4 * index);
        let status = match word(0)? {
            spec::DONE => Status::Done,
            spec::REFUSED => Status::Refused(word(1)?),
            spec::NO_MEMORY => Status::NoMemory,
            spec::ANSWERED_INVALID => Status::AnsweredInvalid,
            spec::TIMED_OUT => Status::TimedOut,
            other => Status::Other(other),
        };
        let (offset, size, attempts) = (word(4)?, word(5)?, word(6)?);
        // one operation reads no more than it was told to
        let mut bytes = vec![0; size.min(4096) as usize];
        self.registers.read(spec::DATA + u64::from(offset), &mut bytes)?;
        Ok(Outcome { status, bytes, attempts })
    }

    fn get(&self, register: u64) -> io::Result<u32> {
        let mut bytes = [0; 4];
        self.registers.read(register, &mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::spec as ours;
    use devices::dmatest::spec as theirs;

    #[test]
    fn the_driver_knows_the_device() {
        macro_rules! same {
            ($($name:ident)+) => { $(assert_eq!(ours::$name, theirs::$name, stringify!($name));)+ };
        }
        same! {
            ID ID_VALUE VERSION VERSION_VALUE STATUS RUNNING DOORBELL SCRIPT RESULTS DATA READ WRITE
            FLAG_PASID FLAG_PAGE_REQUESTS DONE REFUSED NO_MEMORY ANSWERED_INVALID TIMED_OUT
        }
        let offsets = [
            (std::mem::offset_of!(theirs::Operation, flags), 4),
            (std::mem::offset_of!(theirs::Operation, address), 8),
            (std::mem::offset_of!(theirs::Operation, pasid), 16),
            (std::mem::offset_of!(theirs::Operation, size), 20),
            (std::mem::offset_of!(theirs::Operation, pattern), 24),
            (std::mem::offset_of!(theirs::Operation, group), 36),
            (std::mem::offset_of!(theirs::Operation, timeout), 40),
            (std::mem::offset_of!(theirs::Outcome, code), 4),
            (std::mem::offset_of!(theirs::Outcome, data_offset), 16),
            (std::mem::offset_of!(theirs::Outcome, data_size), 20),
            (std::mem::offset_of!(theirs::Outcome, attempts), 24),
        ];
        for (found, expected) in offsets {
            assert_eq!(found, expected);
        }
    }
}
