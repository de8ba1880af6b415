//! The story of guest SVA by today's API: asked for as a whole, then used, or refused before anything depends
//! on it.

use std::io;

use client::feature::{
    Binding, FaultGroup, GUEST_SVA, GuestSva, Invalidation, PASSTHROUGH, PageTable, Pasid,
    Passthrough, Response,
};
use client::{Device, Failed, Function, Region, SharedBuffer, System};
use profile::Verdict;
use profile::machine::Vendor;

use super::dmatest::{Access, DmaTest, REGIONS};
use super::guest::{self, Api, GREETING, MEMORY, SIZE, read, refusal, text};
use super::{At, Step, say};

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

/// By `/dev/iommu`.
struct Today {
    sva: GuestSva,
    pasid: Option<Pasid>,
    bound: Option<Binding>,
    group: Option<FaultGroup>,
}

fn guest_sva(sva: GuestSva, vendor: Option<Vendor>) -> Step<()> {
    say("guest-sva", "satisfied: everything that it is composed of is there");
    let device = take_device(|index| sva.region(index))?;
    let asks = vendor != Some(Vendor::ArmSmmuv3);
    let mut today = Today { sva, pasid: None, bound: None, group: None };
    guest::story(&mut today, device.as_ref(), asks)
}

impl Api for Today {
    fn map(&self, address: u64, memory: &SharedBuffer) -> Result<(), Failed> {
        self.sva.map(address, memory)
    }

    fn page_table(&self, address: u64, length: usize) -> Result<PageTable, Failed> {
        self.sva.page_table(address, length)
    }

    fn take_pasid(&mut self) -> io::Result<u32> {
        let none = || io::Error::other("the device has no PASID left");
        let pasid = self.sva.alloc_pasid().ok_or_else(none)?;
        Ok(self.pasid.insert(pasid).number())
    }

    fn bind(&mut self, table: &PageTable) -> io::Result<()> {
        let root = table.root().map_err(io::Error::other)?;
        if let Some(pasid) = self.pasid.take() {
            self.bound = Some(self.sva.bind(pasid, root).map_err(io::Error::other)?);
        }
        Ok(())
    }

    fn next_fault(&mut self) -> io::Result<Option<(Option<u32>, u64)>> {
        self.group = self.sva.next_fault()?;
        match self.group.as_ref().map(|group| group.faults.as_slice()) {
            None => Ok(None),
            Some([fault]) => Ok(Some((fault.pasid, fault.address))),
            Some(others) => Err(io::Error::other(format!("more than one: {others:?}"))),
        }
    }

    fn respond(&mut self) -> io::Result<()> {
        match self.group.take() {
            Some(group) => self.sva.respond(group, Response::Success),
            None => Ok(()),
        }
    }

    fn invalidate(&mut self, start: u64, length: u64) -> Result<(), Failed> {
        match &self.bound {
            Some(bound) => self.sva.invalidate(bound, Invalidation::Range { start, length }),
            None => Ok(()),
        }
    }

    fn unbind(&mut self, _: &PageTable) -> Result<(), Failed> {
        match self.bound.take() {
            Some(bound) => self.sva.unbind(bound).map(|pasid| self.sva.free_pasid(pasid)),
            None => Ok(()),
        }
    }
}

/// Takes the device, if its driver is ours.
pub fn take_device(region: impl Fn(u32) -> Result<Region, Failed>) -> Step<Option<DmaTest>> {
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
