//! The device `dmatest`, by its registers: it makes the accesses that it is told to.
//! `crates/devices/src/dmatest/spec.rs` has the whole of it.

use std::time::{Duration, Instant};

use vfio_bindings::bindings::vfio::*;
use vfio_ioctls::VfioDevice;

use crate::Result;

const ID: u64 = 0x00;
const STATUS: u64 = 0x08;
const RUNNING: u32 = 1;
const DOORBELL: u64 = 0x0c;
const SCRIPT: u64 = 0x1000;
const RESULTS: u64 = 0x2000;

const COMMAND: u64 = 0x04;
const COMMAND_MASTER: u16 = 1 << 2;

const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Clone, Copy)]
#[repr(u32)]
pub enum Action {
    Read = 1,
    Write = 2,
    /// Of 8 bytes.
    Add = 4,
}

/// What became of an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// With the IOMMU's reason.
    Refused(u32),
    Other(u32),
}

pub struct DmaTest<'d>(&'d VfioDevice);

impl<'d> DmaTest<'d> {
    /// Lets the device reach memory.
    pub fn new(device: &'d VfioDevice) -> Result<Self> {
        let mut command = [0; 2];
        device.region_read(VFIO_PCI_CONFIG_REGION_INDEX, &mut command, COMMAND);
        let command = u16::from_le_bytes(command) | COMMAND_MASTER;
        device.region_write(VFIO_PCI_CONFIG_REGION_INDEX, &command.to_le_bytes(), COMMAND);
        let it = Self(device);
        match it.get(ID).to_le_bytes() == *b"dmat" {
            true => Ok(it),
            false => Err("the device is no dmatest".into()),
        }
    }

    fn get(&self, register: u64) -> u32 {
        let mut bytes = [0; 4];
        self.0.region_read(VFIO_PCI_BAR0_REGION_INDEX, &mut bytes, register);
        u32::from_le_bytes(bytes)
    }

    /// An access of so many bytes, and its end. What is written has a 1 in every 8 bytes.
    pub fn run(
        &self,
        action: Action,
        address: u64,
        size: u32,
        pasid: Option<u32>,
    ) -> Result<Outcome> {
        let words = [
            action as u64 | u64::from(pasid.is_some()) << 32,
            address,
            u64::from(pasid.unwrap_or(0)) | u64::from(size) << 32,
            1,
            0,
            PATIENCE.as_millis() as u64,
            0,
            0,
        ];
        let operation: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        self.0.region_write(VFIO_PCI_BAR0_REGION_INDEX, &operation, SCRIPT);
        self.0.region_write(VFIO_PCI_BAR0_REGION_INDEX, &1_u32.to_le_bytes(), DOORBELL);
        let until = Instant::now() + 2 * PATIENCE;
        while self.get(STATUS) == RUNNING {
            if Instant::now() > until {
                return Err("the device does not answer".into());
            }
            std::thread::yield_now();
        }
        Ok(match self.get(RESULTS) {
            1 => Outcome::Done,
            2 => Outcome::Refused(self.get(RESULTS + 4)),
            other => Outcome::Other(other),
        })
    }
}
