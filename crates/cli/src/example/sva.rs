//! The story of guest SVA: asked for as a whole, then used, or refused before anything depends on it.

use std::io;

use client::feature::{GUEST_SVA, GuestSva, GuestTable, Invalidation, PASSTHROUGH};
use client::{Device, Function, SharedBuffer, System};
use profile::Verdict;

use super::{At, Step, say};

/// Where the guest's memory is, and how much.
const MEMORY: u64 = 0x10_0000;
const SIZE: usize = 64 * 1024;

pub fn story(function: &Function) -> Step<()> {
    let kind = function.iommu.vendor.map_or("an IOMMU of no kind known here", |it| it.name());
    let iommu = &function.iommu.name;
    say("device", format!("{} behind {iommu} ({kind})", function.address));
    let device = System::host().device(function.address);
    match device.negotiate(&GUEST_SVA).at("asking for guest SVA")? {
        Ok(sva) => guest_sva(sva),
        Err(verdict) => refused(&device, &verdict),
    }
}

/// A guest's process lets the device use its page table.
fn guest_sva(mut sva: GuestSva) -> Step<()> {
    say("guest-sva", "satisfied: everything that it is composed of is there");
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
    let table = GuestTable::four_levels(MEMORY).at("naming the page table")?;
    let binding = sva.bind(pasid, table).at("binding the page table")?;
    let pasid = binding.pasid().number();
    say("bind", format!("PASID {pasid} walks the guest's page table at {MEMORY:#x}"));
    let pages = Invalidation::Range { start: 0x7000, length: 3 * 4096 };
    sva.invalidate(&binding, pages).at("invalidating")?;
    say("invalidate", "3 pages from 0x7000, which the guest has changed");
    let waiting = sva.next_fault().at("reading page faults")?;
    say(
        "page faults",
        waiting.map_or("none wait".to_owned(), |it| format!("{} wait", it.faults.len())),
    );
    let pasid = sva.unbind(binding).at("unbinding the page table")?;
    say("unbind", format!("PASID {} is free again", pasid.number()));
    sva.free_pasid(pasid);
    Ok(())
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
        Ok(passthrough) => {
            say("passthrough", "satisfied");
            let memory = SharedBuffer::new(SIZE).at("mmap")?;
            passthrough.map(MEMORY, &memory).at("IOMMU_IOAS_MAP")?;
            say("map", format!("{} KiB at IOVA {MEMORY:#x}", SIZE / 1024));
            let bytes = passthrough.unmap(MEMORY, memory.size()).at("IOMMU_IOAS_UNMAP")?;
            say("unmap", format!("{} KiB", bytes / 1024));
            Ok(())
        }
    }
}
