//! A driver of NVM Express controllers, as far as reads need it. It polls for completions.
//!
//! One buffer holds everything that the controller reaches, each part in pages of its own:
//!
//! | page | holds |
//! |---|---|
//! | 0, 1 | the queues for administration: submissions, completions |
//! | 2, 3 | those for reads |
//! | 4 | what the controller tells of its namespace |
//! | from 5 on | what is read, a page for each read that is on its way |
//!
//! A store to a doorbell is dear, and under `softiommu run` a trap: the tail is told once for all commands that
//! are put in at a time, and the head once for half a queue. Numbers are those of the *NVM Express Base
//! Specification* 2.0.

use std::io::{Error, ErrorKind, Result};
use std::time::{Duration, Instant};

use client::feature::Passthrough;
use client::{Registers, SharedBuffer};
use uapi::vfio::{VFIO_PCI_BAR0_REGION_INDEX, VFIO_PCI_CONFIG_REGION_INDEX};

/// How many reads are on their way.
pub const DEPTH: u16 = 32;

const PAGE: usize = 4096;
const IDENTITY: usize = 4 * PAGE;
const DATA: usize = 5 * PAGE;
/// Where the buffer is for the controller.
const IOVA: u64 = 0x1000_0000;

/// PCI's configuration space: the command register, with memory space and bus mastering; the class.
const COMMAND: u64 = 0x04;
const MEMORY_AND_MASTER: u8 = 1 << 1 | 1 << 2;
const CLASS: u64 = 0x09;
const NVM_EXPRESS: [u8; 3] = [0x02, 0x08, 0x01];

/// Registers (3.1.3): capabilities, configuration, status, sizes and places of the first queues.
const CAP: u64 = 0x00;
const CC: u64 = 0x14;
const CSTS: u64 = 0x1c;
const AQA: u64 = 0x24;
const ASQ: u64 = 0x28;
const ACQ: u64 = 0x30;
const DOORBELLS: u64 = 0x1000;
/// As much of the BAR as is used; MSI-X follows in many controllers.
const MAPPED: u64 = 0x2000;

/// CC: entries of 64 and of 16 bytes, enable. CSTS: ready, failed.
const ENABLE: u32 = 6 << 16 | 4 << 20 | 1;
const READY: u32 = 1 << 0;
const FAILED: u32 = 1 << 1;

/// Opcodes of administration, and the one of reads.
const CREATE_SUBMISSIONS: u32 = 0x01;
const CREATE_COMPLETIONS: u32 = 0x05;
const IDENTIFY: u32 = 0x06;
const READ: u32 = 0x02;

/// A queue pair: as many entries as one page holds.
#[derive(Debug)]
struct Queues {
    number: u64,
    tail: u32,
    head: u32,
    /// The head that the controller knows.
    told: u32,
    /// The phase tag of new completions.
    phase: u64,
}

const SUBMISSIONS: u32 = 64;
const COMPLETIONS: u32 = 256;

/// A controller that is at work.
#[derive(Debug)]
pub struct Nvme {
    registers: Registers,
    /// It goes before the memory that it may reach.
    _device: Passthrough,
    memory: SharedBuffer,
    /// log2 of the bytes from a doorbell to the next.
    stride: u64,
    patience: Duration,
    administration: Queues,
    reads: Queues,
    /// How many pages the namespace has, and log2 of the blocks of one.
    pages: u64,
    blocks_log2: u32,
    random: u64,
}

impl Nvme {
    /// Takes a device, if it is such a controller, and makes it ready for reads of its first namespace.
    pub fn start(device: Passthrough) -> Result<Self> {
        let configuration = device.region(VFIO_PCI_CONFIG_REGION_INDEX).map_err(Error::other)?;
        let mut class = [0; 3];
        configuration.read(CLASS, &mut class)?;
        if class != NVM_EXPRESS {
            return Err(Error::new(ErrorKind::NotFound, "the device is no NVM Express controller"));
        }
        let mut command = [0; 2];
        configuration.read(COMMAND, &mut command)?;
        configuration.write(COMMAND, &[command[0] | MEMORY_AND_MASTER, command[1]])?;
        let memory = SharedBuffer::new(DATA + usize::from(DEPTH) * PAGE)?;
        device.map(IOVA, &memory).map_err(Error::other)?;
        let bar = device.region(VFIO_PCI_BAR0_REGION_INDEX).map_err(Error::other)?;
        let registers = bar.map(MAPPED)?;
        let (low, high) = (registers.load(CAP)?, registers.load(CAP + 4)?);
        if low & 0xffff < COMPLETIONS - 1 || high >> 16 & 0xf != 0 {
            return Err(Error::other(
                "the controller takes no queues of a page, or no pages of 4 KiB",
            ));
        }
        let mut controller = Self {
            registers,
            _device: device,
            memory,
            stride: 2 + u64::from(high & 0xf),
            patience: Duration::from_millis(500 * u64::from(low >> 24)),
            administration: Queues::new(0),
            reads: Queues::new(1),
            pages: 0,
            blocks_log2: 0,
            random: 0x2545_f491_4f6c_dd1d,
        };
        controller.enable()?;
        controller.identify()?;
        controller.create_queues()?;
        Ok(controller)
    }

    /// Makes random reads of 4 KiB for as long as it shall go on, which is asked with how many are done;
    /// then how many were made.
    pub fn read_at_random(&mut self, mut goes_on: impl FnMut(u64) -> bool) -> Result<u64> {
        let mut free: Vec<u16> = (0..DEPTH).collect();
        let (mut begun, mut done) = (0, 0);
        let mut since = Instant::now();
        loop {
            let ends = !goes_on(done);
            if ends && begun == done {
                return Ok(done);
            }
            if !ends && !free.is_empty() {
                begun += free.len() as u64;
                for slot in free.drain(..) {
                    let page = next(&mut self.random) % self.pages;
                    self.reads.put(&self.memory, self.read(slot, page));
                }
                self.tell_tail(&self.reads)?;
            }
            let before = done;
            while let Some(slot) = self.reads.take(&self.memory)? {
                free.push(slot);
                done += 1;
            }
            if done > before {
                since = Instant::now();
                self.tell_head(1, COMPLETIONS / 2)?;
            } else {
                wait(since, self.patience)?;
            }
        }
    }

    fn read(&self, slot: u16, page: u64) -> [u32; 16] {
        let block = page << self.blocks_log2;
        let mut command = [0; 16];
        command[0] = READ | u32::from(slot) << 16;
        command[1] = 1; // the namespace
        (command[6], command[7]) = halves(IOVA + (DATA + usize::from(slot) * PAGE) as u64);
        (command[10], command[11]) = halves(block);
        command[12] = (1 << self.blocks_log2) - 1;
        command
    }

    fn enable(&mut self) -> Result<()> {
        self.registers.store(CC, 0)?;
        self.until_ready(false)?;
        self.registers.store(AQA, (COMPLETIONS - 1) << 16 | (SUBMISSIONS - 1))?;
        let places =
            [(ASQ, self.administration.submissions()), (ACQ, self.administration.completions())];
        for (register, at) in places {
            let (low, high) = halves(IOVA + at as u64);
            self.registers.store(register, low)?;
            self.registers.store(register + 4, high)?;
        }
        self.registers.store(CC, ENABLE)?;
        self.until_ready(true)
    }

    fn until_ready(&self, ready: bool) -> Result<()> {
        let since = Instant::now();
        loop {
            let status = self.registers.load(CSTS)?;
            if status & FAILED != 0 && ready {
                return Err(Error::other("the controller has failed"));
            }
            if (status & READY != 0) == ready {
                return Ok(());
            }
            wait(since, self.patience)?;
        }
    }

    /// Asks for the size of the first namespace, and of its blocks.
    fn identify(&mut self) -> Result<()> {
        let mut command = [0; 16];
        (command[0], command[1]) = (IDENTIFY, 1);
        (command[6], command[7]) = halves(IOVA + IDENTITY as u64);
        self.administer(command)?;
        let mut told = [0; 192];
        self.memory.load_at(IDENTITY, &mut told);
        let blocks = u64::from_le_bytes(std::array::from_fn(|byte| told[byte]));
        // the format in use, and log2 of the bytes of its blocks
        let format = usize::from(told[26] & 0xf);
        let bytes_log2 = u32::from(told[128 + 4 * format + 2]);
        let blocks_log2 = PAGE.trailing_zeros().checked_sub(bytes_log2);
        self.blocks_log2 = blocks_log2.ok_or_else(|| Error::other("blocks are too large"))?;
        self.pages = blocks >> self.blocks_log2;
        if self.pages == 0 { Err(Error::other("the namespace is empty")) } else { Ok(()) }
    }

    fn create_queues(&mut self) -> Result<()> {
        // in one piece, without interrupts; commands go to the completions of the same number
        let (contiguous, number) = (1, 1);
        let rows = [
            (CREATE_COMPLETIONS, self.reads.completions(), COMPLETIONS, contiguous),
            (CREATE_SUBMISSIONS, self.reads.submissions(), SUBMISSIONS, contiguous | number << 16),
        ];
        for (opcode, at, entries, flags) in rows {
            let mut command = [0; 16];
            command[0] = opcode;
            (command[6], command[7]) = halves(IOVA + at as u64);
            (command[10], command[11]) = (number | (entries - 1) << 16, flags);
            self.administer(command)?;
        }
        Ok(())
    }

    /// One command of administration, to its end.
    fn administer(&mut self, command: [u32; 16]) -> Result<()> {
        self.administration.put(&self.memory, command);
        self.tell_tail(&self.administration)?;
        let since = Instant::now();
        while self.administration.take(&self.memory)?.is_none() {
            wait(since, self.patience)?;
        }
        self.tell_head(0, 1)
    }

    fn tell_tail(&self, queues: &Queues) -> Result<()> {
        self.registers.store(self.doorbell(2 * queues.number), queues.tail)
    }

    /// Tells which completions were seen, once there are so many of them.
    fn tell_head(&mut self, number: u64, at_least: u32) -> Result<()> {
        let doorbell = self.doorbell(2 * number + 1);
        let queues = if number == 0 { &mut self.administration } else { &mut self.reads };
        if (queues.head + COMPLETIONS - queues.told) % COMPLETIONS < at_least {
            return Ok(());
        }
        queues.told = queues.head;
        self.registers.store(doorbell, queues.head)
    }

    /// Where a doorbell is.
    fn doorbell(&self, number: u64) -> u64 {
        DOORBELLS + (number << self.stride)
    }
}

impl Queues {
    fn new(number: u64) -> Self {
        Self { number, tail: 0, head: 0, told: 0, phase: 1 }
    }

    /// Where they are in the buffer.
    fn submissions(&self) -> usize {
        2 * self.number as usize * PAGE
    }

    fn completions(&self) -> usize {
        self.submissions() + PAGE
    }

    /// Puts a command in.
    fn put(&mut self, memory: &SharedBuffer, command: [u32; 16]) {
        let at = self.submissions() + 64 * self.tail as usize;
        for (word, pair) in command.chunks_exact(2).enumerate() {
            memory.store_word(at + 8 * word, u64::from(pair[0]) | u64::from(pair[1]) << 32);
        }
        self.tail = (self.tail + 1) % SUBMISSIONS;
    }

    /// Takes a completion out: of which command. An error of a command ends everything.
    fn take(&mut self, memory: &SharedBuffer) -> Result<Option<u16>> {
        // head, queue, command, and phase tag with status
        let last = memory.load_word(self.completions() + 16 * self.head as usize + 8);
        if last >> 48 & 1 != self.phase {
            return Ok(None);
        }
        self.head = (self.head + 1) % COMPLETIONS;
        self.phase ^= u64::from(self.head == 0);
        match last >> 49 {
            0 => Ok(Some((last >> 32) as u16)),
            status => Err(Error::other(format!("a command failed with status {status:#x}"))),
        }
    }
}

/// Lets some time pass, unless there was enough of it.
fn wait(since: Instant, patience: Duration) -> Result<()> {
    if since.elapsed() > patience {
        return Err(ErrorKind::TimedOut.into());
    }
    std::thread::yield_now();
    Ok(())
}

/// The lower and the upper 32 bits.
fn halves(word: u64) -> (u32, u32) {
    (word as u32, (word >> 32) as u32)
}

/// Xorshift: any number but 0, one after the other.
fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}
