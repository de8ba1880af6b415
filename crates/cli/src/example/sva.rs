//! The story of guest SVA: asked for as a whole, then used, or refused before anything depends on it.
//!
//! A guest's process lets a device use its own page table: the device reaches memory by the process's own
//! addresses, asks for the page that is missing, and uses what it remembers until it is told to forget it.

use std::io;
use std::time::Instant;

use client::feature::{
    Binding, FaultGroup, GUEST_SVA, GuestSva, Invalidation, PASSTHROUGH, PageTable, Pasid,
    Passthrough, Response,
};
use client::{Device, Failed, Function, Region, SharedBuffer, System};
use profile::Verdict;
use profile::machine::Vendor;

use super::dmatest::{Access, DmaTest, GROUP, Outcome, PATIENCE, REGIONS, Status};
use super::{At, Step, say};

/// Where the guest's memory is, and how much.
const MEMORY: u64 = 0x10_0000;
const SIZE: usize = 64 * 1024;
/// Where the guest's page table is, and how much room it has.
const TABLE: u64 = 0x20_0000;
/// The root, and two tables of each level below: two pages may be on both sides of a border of any.
const TABLE_SIZE: usize = 7 * PAGE;
const PAGE: usize = 4096;

/// What the pages hold. The second begins as an empty page of the process.
const GREETING: &[u8; 8] = b"page one";
const REPLY: &[u8; 8] = b"changed!";
const LATER: &[u8; 8] = b"page two";

pub fn story(function: &Function) -> Step<()> {
    let kind = function.iommu.vendor.map_or("an IOMMU of no kind known here", |it| it.name());
    let iommu = &function.iommu.name;
    say("device", format!("{} behind {iommu} ({kind})", function.address));
    let device = System::host().device(function.address);
    match device.negotiate(&GUEST_SVA).at("asking for guest SVA")? {
        Ok(sva) => guest_sva(sva, function.iommu.vendor),
        Err(verdict) => refused(&device, &verdict),
    }
}

/// A guest's process, its memory and its page table.
struct Guest {
    sva: GuestSva,
    memory: SharedBuffer,
    table: PageTable,
    /// Whether the device itself asks for missing pages; else its accesses stall.
    asks: bool,
}

fn guest_sva(mut sva: GuestSva, vendor: Option<Vendor>) -> Step<()> {
    say("guest-sva", "satisfied: everything that it is composed of is there");
    let driver = take_device(|index| sva.region(index))?;
    let memory = SharedBuffer::new(SIZE).at("mmap")?;
    sva.map(MEMORY, &memory).at("mapping the guest's memory")?;
    let last = MEMORY + SIZE as u64 - 1;
    say(
        "guest memory",
        format!("guest-physical {MEMORY:#x}..={last:#x} is memory of this process"),
    );
    let none = || io::Error::other("the device has no PASID left");
    let pasid = sva.alloc_pasid().ok_or_else(none).at("taking a PASID")?;
    say("PASID", format!("{} for a process of the guest", pasid.number()));
    let table = sva.page_table(TABLE, TABLE_SIZE).at("mapping the page table's memory")?;
    let asks = vendor != Some(Vendor::ArmSmmuv3);
    let mut guest = Guest { sva, memory, table, asks };
    guest.map(0, 0, "the first page")?;
    let root = guest.table.root().at("naming the page table")?;
    let binding = guest.sva.bind(pasid, root).at("binding the page table")?;
    let number = binding.pasid().number();
    say("bind", format!("PASID {number} walks the guest's page table at {TABLE:#x}"));
    let Some(device) = driver else {
        guest.unbind(binding)?;
        return Ok(());
    };
    guest.reads_and_writes(&device, &binding)?;
    guest.misses_a_page(&device, &binding)?;
    guest.changes_a_page(&device, &binding)?;
    let pasid = guest.unbind(binding)?;
    let outcome = device.read(guest.access(&pasid, 0), 8).at("reading after the end")?;
    refusal(&outcome).at("reading after the end")
}

impl Guest {
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
    fn access(&self, pasid: &Pasid, page: usize) -> Access {
        Access { address: self.va(page), pasid: Some(pasid.number()), asks: false }
    }

    fn reads_and_writes(&self, device: &DmaTest, binding: &Binding) -> Step<()> {
        let access = self.access(binding.pasid(), 0);
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
    fn misses_a_page(&mut self, device: &DmaTest, binding: &Binding) -> Step<()> {
        const STEP: &str = "a page fault";
        let access = Access { asks: self.asks, ..self.access(binding.pasid(), 1) };
        self.memory.store_at(PAGE, LATER);
        device.start_read(access, 8).at(STEP)?;
        say("device misses", format!("{:#x}, which is not in the table", access.address));
        let group = self.next_fault().at(STEP)?;
        self.check(&group, &access).at(STEP)?;
        let how = match self.asks {
            true => format!("group {GROUP}"),
            false => "its access waits in the IOMMU".to_owned(),
        };
        let (number, address) = (binding.pasid().number(), group.faults[0].address);
        say("page request", format!("PASID {number} wants to read {address:#x} ({how})"));
        self.map(1, 1, "the second page")?;
        self.sva.respond(group, Response::Success).at("answering the page request")?;
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

    fn next_fault(&self) -> io::Result<FaultGroup> {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(group) = self.sva.next_fault()? {
                return Ok(group);
            }
            if Instant::now() > until {
                return Err(io::Error::other("no page request came"));
            }
            std::thread::yield_now();
        }
    }

    fn check(&self, group: &FaultGroup, access: &Access) -> io::Result<()> {
        let pages = |address: u64| address / PAGE as u64;
        let expected = |fault: &client::feature::PageFault| {
            fault.pasid == access.pasid && pages(fault.address) == pages(access.address)
        };
        match group.faults.as_slice() {
            [fault] if expected(fault) => Ok(()),
            others => Err(io::Error::other(format!("it is another: {others:?}"))),
        }
    }

    /// What the device has translated it may use until it is told that the table has changed.
    fn changes_a_page(&mut self, device: &DmaTest, binding: &Binding) -> Step<()> {
        const STEP: &str = "a page that changes";
        let access = self.access(binding.pasid(), 0);
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
        let (start, length) = (access.address, PAGE as u64);
        let page = Invalidation::Range { start, length };
        self.sva.invalidate(binding, page).at("invalidating")?;
        say("invalidate", format!("the page at {start:#x}, of PASID {}", binding.pasid().number()));
        let outcome = device.read(access, 8).at(STEP)?;
        read(&outcome, LATER).at(STEP)?;
        say("device reads", format!("{:?} there: the second page", text(&outcome.bytes)));
        Ok(())
    }

    fn unbind(&mut self, binding: Binding) -> Step<Pasid> {
        let pasid = self.sva.unbind(binding).at("unbinding the page table")?;
        say("unbind", format!("PASID {} walks no page table any more", pasid.number()));
        Ok(pasid)
    }
}

/// Takes the device, if its driver is ours.
fn take_device(region: impl Fn(u32) -> Result<Region, Failed>) -> Step<Option<DmaTest>> {
    const STEP: &str = "taking the device";
    let [registers, configuration] = REGIONS.map(region);
    let configuration = configuration.at(STEP)?;
    let device = DmaTest::new(registers.at(STEP)?, &configuration).at(STEP)?;
    match &device {
        Some(device) => {
            let size = device.size() / 1024;
            say("function", format!("a dmatest: {size} KiB of registers, may reach memory now"));
        }
        None => say("function", "no dmatest, so it is not told to do anything"),
    }
    Ok(device)
}

/// What is left where guest SVA will not work: a device with memory of this process.
fn refused(device: &Device, verdict: &Verdict) -> Step<()> {
    say("guest-sva", format!("refused before anything depends on it: {}", verdict.reason()));
    for missing in &verdict.missing {
        let remedies: Vec<_> = missing.remedies.iter().map(ToString::to_string).collect();
        let remedies = if remedies.is_empty() { missing.why.clone() } else { remedies.join("; ") };
        say("  missing", format!("{}: {remedies}", missing.need));
    }
    match device.negotiate(&PASSTHROUGH).at("asking for passthrough")? {
        Err(verdict) => {
            say("passthrough", format!("refused: {}", verdict.reason()));
            Ok(())
        }
        Ok(passthrough) => pass_through(&passthrough),
    }
}

fn pass_through(passthrough: &Passthrough) -> Step<()> {
    say("passthrough", "satisfied");
    let device = take_device(|index| passthrough.region(index))?;
    let memory = SharedBuffer::new(SIZE).at("mmap")?;
    passthrough.map(MEMORY, &memory).at("IOMMU_IOAS_MAP")?;
    say("map", format!("{} KiB at IOVA {MEMORY:#x}", SIZE / 1024));
    let access = Access { address: MEMORY, pasid: None, asks: false };
    if let Some(device) = &device {
        memory.store(GREETING);
        let outcome = device.read(access, 8).at("reading by the device")?;
        read(&outcome, GREETING).at("reading by the device")?;
        say("device reads", format!("{:?} at IOVA {MEMORY:#x}", text(&outcome.bytes)));
    }
    let bytes = passthrough.unmap(MEMORY, memory.size()).at("IOMMU_IOAS_UNMAP")?;
    say("unmap", format!("{} KiB", bytes / 1024));
    let Some(device) = device else { return Ok(()) };
    let outcome = device.read(access, 8).at("reading after the end")?;
    refusal(&outcome).at("reading after the end")
}

/// The access must be refused now.
fn refusal(outcome: &Outcome) -> io::Result<()> {
    match outcome.status {
        Status::Refused(_) => {
            say("device reads", outcome.status);
            Ok(())
        }
        status => Err(io::Error::other(format!("it is not refused: {status}"))),
    }
}

fn done(outcome: &Outcome) -> io::Result<()> {
    match outcome.status {
        Status::Done => Ok(()),
        status => Err(io::Error::other(status.to_string())),
    }
}

fn read(outcome: &Outcome, wanted: &[u8]) -> io::Result<()> {
    done(outcome)?;
    same(&outcome.bytes, wanted)
}

fn same(seen: &[u8], wanted: &[u8]) -> io::Result<()> {
    match seen == wanted {
        true => Ok(()),
        false => Err(io::Error::other(format!("{:?} came instead", text(seen)))),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
