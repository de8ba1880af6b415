//! What a program does to a device, made of any bytes.
//!
//! A target plugs a device into a machine, lets a program bind and attach it, and makes accesses as the bytes
//! say, by VFIO's calls: to configuration space, to registers, and to the memory that the device reaches. A
//! target finds panics, and what takes longer than libFuzzer's `-timeout`. After a moment the device is closed, with
//! whatever it is at.
//!
//! | byte | what follows | what is done |
//! |---|---|---|
//! | 0 to 3 | region, offset (3 bytes, taken modulo what is a little beyond the end), value (8) | a write of 1, 2, 4 or 8 bytes |
//! | 4 | the same | a read of 8 bytes |
//! | 5 | the same, and 56 bytes | a write of 64 bytes, to registers |
//! | 6 | offset (2 bytes), 64 bytes | a store to memory |
//! | 7 | | a reset |
//!
//! A value whose lowest bit is 1 is an address in that memory.

use std::thread;
use std::time::Duration;

use devices::catalogue::Wanted;
use mem::AddressSpace;
use profile::{Kernel, Machine};
use testkit::host::{Host, IOAS, MEMORY};
use uapi::iommufd::*;
use uapi::vfio::*;

/// Where memory is for the device, and its bytes.
const IOVA: u64 = 0x100_0000;
const SIZE: u64 = 16 << 12;

/// VFIO's regions: where they are in the file.
const REGION: u32 = 40;
/// For how long a device may work before it is closed.
const MOMENT: Duration = Duration::from_micros(300);
/// How far beyond the end of a region accesses are.
const BEYOND: u64 = 64;
/// Configuration space.
pub const CONFIG: u64 = 7;

/// A write that makes a device ready: where in BAR 0, and what.
pub type Write = (u64, u64);

/// Does what the bytes say to a device, in some of its regions.
pub fn device(text: &str, regions: &[u64], ready: &[Write], bytes: &[u8]) {
    let mut program = Program::new(text);
    program.pwrite(CONFIG << REGION | 4, &[6, 0]);
    for (at, value) in ready {
        program.pwrite(*at, &value.to_le_bytes());
    }
    let mut bytes = bytes;
    let regions: Vec<_> = regions.iter().map(|region| program.region(*region)).collect();
    while program.step(&regions, &mut bytes).is_some() {}
    // devices work in threads of their own
    thread::sleep(MOMENT);
}

/// A program with a device.
struct Program {
    host: Host,
    card: i32,
}

impl Program {
    fn new(text: &str) -> Self {
        let mut machine = Machine::by_name("spr").unwrap().clone();
        supervisor::place(&mut machine, &[text.to_owned()]).unwrap();
        let mut host = Host::unbound(&machine, Kernel::newest());
        let (dma, interrupts) = (host.engine.dma(0).unwrap(), host.engine.interrupts(0).unwrap());
        let model = (Wanted::parse(text).unwrap().recipe)(dma, interrupts).unwrap();
        assert!(host.engine.plug(0, model));
        host.bind(0, host.fd).unwrap();
        host.attach(IOAS).unwrap();
        host.call(&mut iommu_ioas_map {
            flags: IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_WRITEABLE,
            ioas_id: IOAS,
            user_va: MEMORY,
            length: SIZE,
            iova: IOVA,
            ..Default::default()
        })
        .unwrap();
        let card = host.cards[0];
        Self { host, card }
    }

    /// Where a region is in the file, and its bytes.
    fn region(&mut self, number: u64) -> (u64, u64) {
        let argsz = size_of::<vfio_region_info>() as u32;
        let mut info = vfio_region_info { argsz, index: number as u32, ..Default::default() };
        self.host.vfio(self.card, VFIO_DEVICE_GET_REGION_INFO, &mut info).unwrap();
        (info.offset, info.size)
    }

    /// The next step; none when the bytes end.
    fn step(&mut self, regions: &[(u64, u64)], bytes: &mut &[u8]) -> Option<()> {
        let [what] = take(bytes)?;
        match what % 8 {
            6 => {
                let [low, high] = take(bytes)?;
                let at = u64::from(u16::from_le_bytes([low, high]) & !63);
                let data: [u8; 64] = take(bytes)?;
                self.host.client.memory.write(MEMORY + at, &data).unwrap();
            }
            // one that the device does not have is refused
            7 => _ = self.host.client.ioctl(self.card, VFIO_DEVICE_RESET, 0),
            what => {
                let [region, low, middle, high] = take(bytes)?;
                let (start, size) = regions[usize::from(region) % regions.len()];
                let offset = u64::from(u32::from_le_bytes([low, middle, high, 0]));
                let at = start + offset % (size + BEYOND);
                let value = u64::from_le_bytes(take(bytes)?);
                let value = if value & 1 == 0 { value } else { IOVA + (value >> 1) % SIZE };
                let value = value.to_le_bytes();
                match what {
                    4 => self.pread(at, 8),
                    5 => {
                        let rest: [u8; 56] = take(bytes)?;
                        self.pwrite(at & !63, &[&value[..], &rest].concat());
                    }
                    log2 => self.pwrite(at, &value[..1 << log2]),
                }
            }
        }
        Some(())
    }

    /// `pwrite(2)`: it may be refused, and may do less.
    fn pwrite(&mut self, at: u64, bytes: &[u8]) {
        let va = self.host.client.scratch(bytes);
        let file = self.host.client.open_file(self.card);
        let _ = file.write(&mut self.host.client, va, bytes.len() as u64, Some(at));
    }

    fn pread(&mut self, at: u64, count: u64) {
        let va = self.host.client.scratch(&vec![0; count as usize]);
        let file = self.host.client.open_file(self.card);
        let _ = file.read(&mut self.host.client, va, count, Some(at));
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (first, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*first)
}
