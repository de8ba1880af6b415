//! A guest's process that lets a device use its page table: the same story by whichever API.
//!
//! The device reaches memory by the process's own addresses, asks for the page that is missing, and uses what
//! it remembers until it is told to forget it.

use std::io;
use std::time::Instant;

use client::feature::PageTable;
use client::{Failed, SharedBuffer};

use super::dmatest::{Access, DmaTest, GROUP, Outcome, PATIENCE, Status};
use super::{At, Step, say};

/// Where the guest's memory is, and how much.
pub const MEMORY: u64 = 0x10_0000;
pub const SIZE: usize = 64 * 1024;
/// Where the guest's page table is, and how much room it has.
const TABLE: u64 = 0x20_0000;
/// The root, and two tables of each level below: two pages may be on both sides of a border of any.
const TABLE_SIZE: usize = 7 * PAGE;
const PAGE: usize = 4096;

/// What the pages hold. The second begins as an empty page of the process.
pub const GREETING: &[u8; 8] = b"page one";
const REPLY: &[u8; 8] = b"changed!";
const LATER: &[u8; 8] = b"page two";

/// What a guest asks of an API.
pub trait Api {
    /// Places memory at a guest-physical address.
    fn map(&self, address: u64, memory: &SharedBuffer) -> Result<(), Failed>;

    /// An empty page table in as much new memory, which the guest has at an address.
    fn page_table(&self, address: u64, length: usize) -> Result<PageTable, Failed>;

    /// A PASID for a process of the guest.
    fn take_pasid(&mut self) -> io::Result<u32>;

    /// Lets it walk a page table.
    fn bind(&mut self, table: &PageTable) -> io::Result<()>;

    /// The page request that has come: its PASID and address.
    fn next_fault(&mut self) -> io::Result<Option<(Option<u32>, u64)>>;

    /// The page is there now.
    fn respond(&mut self) -> io::Result<()>;

    /// The table has changed for so many addresses.
    fn invalidate(&mut self, start: u64, length: u64) -> Result<(), Failed>;

    /// The PASID walks no table any more.
    fn unbind(&mut self, table: &PageTable) -> Result<(), Failed>;
}

/// A guest's process, its memory and its page table.
struct Guest<'a> {
    api: &'a mut dyn Api,
    memory: SharedBuffer,
    table: PageTable,
    pasid: u32,
    /// Whether the device itself asks for missing pages; else its accesses stall.
    asks: bool,
}

/// Tells the story, with a device if there is one that is known.
pub fn story(api: &mut dyn Api, device: Option<&DmaTest>, asks: bool) -> Step<()> {
    let memory = SharedBuffer::new(SIZE).at("mmap")?;
    api.map(MEMORY, &memory).at("mapping the guest's memory")?;
    let last = MEMORY + SIZE as u64 - 1;
    say(
        "guest memory",
        format!("guest-physical {MEMORY:#x}..={last:#x} is memory of this process"),
    );
    let pasid = api.take_pasid().at("taking a PASID")?;
    say("PASID", format!("{pasid} for a process of the guest"));
    let table = api.page_table(TABLE, TABLE_SIZE).at("mapping the page table's memory")?;
    let mut guest = Guest { api, memory, table, pasid, asks };
    guest.map(0, 0, "the first page")?;
    guest.api.bind(&guest.table).at("binding the page table")?;
    say("bind", format!("PASID {pasid} walks the guest's page table at {TABLE:#x}"));
    let Some(device) = device else { return guest.unbind() };
    guest.reads_and_writes(device)?;
    guest.misses_a_page(device)?;
    guest.changes_a_page(device)?;
    guest.unbind()?;
    let outcome = device.read(guest.access(0), 8).at("reading after the end")?;
    refusal(&outcome).at("reading after the end")
}

impl Guest<'_> {
    /// The address by which the process knows a page of the memory.
    fn va(&self, page: usize) -> u64 {
        self.memory.address() + (page * PAGE) as u64
    }

    /// The address by which the guest knows it.
    fn physical(page: usize) -> u64 {
        MEMORY + (page * PAGE) as u64
    }

    /// Enters a page of the memory into the page table, under the address of a page of the process.
    fn map(&mut self, at: usize, page: usize, name: &str) -> Step<()> {
        let (va, address) = (self.va(at), Self::physical(page));
        self.table.map(va, address, true).at("entering a page")?;
        say("guest maps", format!("{va:#x} to guest-physical {address:#x}, {name}"));
        Ok(())
    }

    /// An access of the process's own address of a page.
    fn access(&self, page: usize) -> Access {
        Access { address: self.va(page), pasid: Some(self.pasid), asks: false }
    }

    fn reads_and_writes(&self, device: &DmaTest) -> Step<()> {
        let access = self.access(0);
        self.memory.store(GREETING);
        let outcome = device.read(access, 8).at("reading by the device")?;
        read(&outcome, GREETING).at("reading by the device")?;
        say("device reads", format!("{:?} at {:#x}", text(&outcome.bytes), access.address));
        let outcome = device.write(access, *REPLY).at("writing by the device")?;
        done(&outcome).at("writing by the device")?;
        let mut seen = [0; 8];
        self.memory.load(&mut seen);
        same(&seen, REPLY).at("writing by the device")?;
        say("device writes", format!("{:?} there, and the process sees it", text(&seen)));
        Ok(())
    }

    /// The device misses a page, the guest brings it, and the device goes on.
    fn misses_a_page(&mut self, device: &DmaTest) -> Step<()> {
        const STEP: &str = "a page fault";
        let access = Access { asks: self.asks, ..self.access(1) };
        self.memory.store_at(PAGE, LATER);
        device.start_read(access, 8).at(STEP)?;
        say("device misses", format!("{:#x}, which is not in the table", access.address));
        let (pasid, address) = self.next_fault().at(STEP)?;
        if (pasid, address / PAGE as u64) != (access.pasid, access.address / PAGE as u64) {
            let what = format!("it is another: PASID {pasid:?}, {address:#x}");
            return Err(io::Error::other(what)).at(STEP);
        }
        let how = match self.asks {
            true => format!("group {GROUP}"),
            false => "its access waits in the IOMMU".to_owned(),
        };
        say("page request", format!("PASID {} wants to read {address:#x} ({how})", self.pasid));
        self.map(1, 1, "the second page")?;
        self.api.respond().at("answering the page request")?;
        say("page response", "success: the page is there");
        let outcome = device.wait().at(STEP)?;
        read(&outcome, LATER).at(STEP)?;
        if outcome.attempts != 2 {
            let what = format!("the access was tried {} times", outcome.attempts);
            return Err(io::Error::other(what)).at(STEP);
        }
        say("device reads", format!("{:?}: it has tried again", text(&outcome.bytes)));
        Ok(())
    }

    fn next_fault(&mut self) -> io::Result<(Option<u32>, u64)> {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(fault) = self.api.next_fault()? {
                return Ok(fault);
            }
            if Instant::now() > until {
                return Err(io::Error::other("no page request came"));
            }
            std::thread::yield_now();
        }
    }

    /// What the device has translated it may use until it is told that the table has changed.
    fn changes_a_page(&mut self, device: &DmaTest) -> Step<()> {
        const STEP: &str = "a page that changes";
        let access = self.access(0);
        self.map(0, 1, "the second page, and tells nobody")?;
        let outcome = device.read(access, 8).at(STEP)?;
        let page = match read(&outcome, LATER) {
            // what caches need not keep, no program may count on
            Ok(()) => "the second page at once, as nothing was kept",
            Err(_) => {
                read(&outcome, REPLY).at(STEP)?;
                "still the first page, as it was translated"
            }
        };
        say("device reads", format!("{:?} there: {page}", text(&outcome.bytes)));
        self.api.invalidate(access.address, PAGE as u64).at("invalidating")?;
        say("invalidate", format!("the page at {:#x}, of PASID {}", access.address, self.pasid));
        let outcome = device.read(access, 8).at(STEP)?;
        read(&outcome, LATER).at(STEP)?;
        say("device reads", format!("{:?} there: the second page", text(&outcome.bytes)));
        Ok(())
    }

    fn unbind(&mut self) -> Step<()> {
        self.api.unbind(&self.table).at("unbinding the page table")?;
        say("unbind", format!("PASID {} walks no page table any more", self.pasid));
        Ok(())
    }
}

/// The access must be refused now.
pub fn refusal(outcome: &Outcome) -> io::Result<()> {
    match outcome.status {
        Status::Refused(_) => {
            say("device reads", outcome.status);
            Ok(())
        }
        status => Err(io::Error::other(format!("it is not refused: {status}"))),
    }
}

pub fn done(outcome: &Outcome) -> io::Result<()> {
    match outcome.status {
        Status::Done => Ok(()),
        status => Err(io::Error::other(status.to_string())),
    }
}

pub fn read(outcome: &Outcome, wanted: &[u8]) -> io::Result<()> {
    done(outcome)?;
    same(&outcome.bytes, wanted)
}

pub fn same(seen: &[u8], wanted: &[u8]) -> io::Result<()> {
    match seen == wanted {
        true => Ok(()),
        false => Err(io::Error::other(format!("{:?} came instead", text(seen)))),
    }
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
