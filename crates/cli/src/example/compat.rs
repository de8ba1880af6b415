//! The argument of 2020, played: how a program finds out whether guest SVA will work, in three ways.
//!
//! One client is told to do guest SVA on two machines, both with version 1 of the API of 2020. On the first
//! everything is there; on the second the device cannot ask for pages. The client compares one version at start,
//! or looks at each call as it comes, or asks for everything together. What it does then is the same: a guest's
//! process lets a device write its buffer, of which half is not in memory yet.
//!
//! What follows is in `docs/compatibility.md`.

use std::io::{self, Write};

use client::feature::Response;
use client::y2020::{Container, check};
use client::{SharedBuffer, System};
use profile::{Kernel, Machine};
use uapi::y2020::{IOMMU_UAPI_VERSION, Layout};

use super::dmatest::{Access, DmaTest, REGIONS, Status};
use super::{At, Step, say};

/// The API that both machines have.
const KERNEL: &str = "2020";
const LAYOUT: Layout = Layout::V5_10;

/// What a program compares that was built with the next version of the header. It uses nothing new.
const NEXT: u32 = IOMMU_UAPI_VERSION + 1;

const PAGE: usize = 4096;
/// Pages of the buffer, and how many of them are in memory at first.
const PAGES: usize = 4;
const PRESENT: usize = 2;
/// Where the guest has the buffer and the table, and where the process has the buffer.
const MEMORY: u64 = 0x10_0000;
const TABLE: u64 = 0x20_0000;
const VA: u64 = 0x5555_0000_0000;

/// What the device writes into each page.
const WRITTEN: [u8; 8] = *b"from dev";

/// A machine on which the client is asked to work. Each way finds it new.
struct Host {
    machine: Machine,
}

/// What became of the work.
struct Done {
    pasid: u32,
    /// Pages that the guest was asked for, and brought.
    brought: usize,
    /// Pages that hold what the device wrote.
    written: usize,
    /// How the first page ended that did not.
    failed: Option<Status>,
}

/// Plays it on both machines.
pub fn argument() -> Step<()> {
    let machine = Machine::by_name("spr").map_err(io::Error::other).at("the machine")?;
    let whole = Host { machine: machine.clone() };
    let mut machine = machine.clone();
    machine.devices[0].pri = false;
    let lacking = Host { machine };
    say("client", "guest SVA: a device writes 4 pages of a process, 2 of which it has to ask for");

    heading(&format!(
        "machine A: everything is there, and the API has version {IOMMU_UAPI_VERSION}"
    ));
    whole.one_version(NEXT)?;
    whole.each_call()?;
    whole.together()?;

    heading(&format!(
        "machine B: the device cannot ask for pages, and the API has version {IOMMU_UAPI_VERSION}"
    ));
    lacking.one_version(IOMMU_UAPI_VERSION)?;
    lacking.each_call()?;
    lacking.together()
}

impl Host {
    fn system(&self) -> Step<System> {
        let kernel = Kernel::by_name(KERNEL).at("the kernel")?;
        let engine = supervisor::equipped(&self.machine, kernel).at("the machine")?;
        System::of(engine).at("the machine")
    }

    fn open(&self, system: &System) -> Step<Container> {
        let address = self.machine.devices[0].address;
        Container::open(system, address, LAYOUT).at("opening a container")
    }

    /// 1: one version, compared at start.
    fn one_version(&self, wanted: u32) -> Step<()> {
        let system = self.system()?;
        let found = self.open(&system)?.version().at("asking for the version")?;
        if found < wanted {
            say(
                "one version",
                format!("refused: the program was built for {wanted}, the kernel has {found}"),
            );
            more("all that it uses is there, and its guest has to do without");
            return Ok(());
        }
        say(
            "one version",
            format!("accepted: the program was built for {wanted}, the kernel has {found}"),
        );
        self.work(&system)
    }

    /// 2: flags, looked at with each call.
    fn each_call(&self) -> Step<()> {
        say("each call", "accepted: there is nothing to ask before the calls are made");
        self.work(&self.system()?)
    }

    /// 3: everything that the feature is made of, tried together and undone.
    fn together(&self) -> Step<()> {
        let system = self.system()?;
        match check(&system, self.machine.devices[0].address, LAYOUT) {
            Ok(()) => {
                say("together", "accepted: every part was tried and undone");
                self.work(&system)
            }
            Err(missing) => {
                let names: Vec<_> = missing.iter().map(|missing| missing.name).collect();
                say("together", format!("refused before the guest starts: {}", names.join(", ")));
                for missing in missing {
                    more(&format!("{missing}"));
                    more(&format!("it takes {}", missing.remedy));
                }
                more("the guest boots without PASIDs, and loses nothing");
                Ok(())
            }
        }
    }

    /// The guest starts, and does what it was promised.
    fn work(&self, system: &System) -> Step<()> {
        let done = self.write_pages(system)?;
        more(&format!("PASID {}, bind: accepted, and the guest starts", done.pasid));
        let Done { brought, written, .. } = done;
        match done.failed {
            None => {
                let all = format!(
                    "{written} of {PAGES} pages written, {brought} of them asked for and brought"
                );
                more(&format!("{all}; nothing failed later"));
            }
            Some(status) => {
                more(&format!(
                    "page {} of {PAGES}: {status}, and no fault reached the guest",
                    written + 1
                ));
                more(&format!(
                    "{written} of {PAGES} pages written: the work is half done, and cannot be finished or undone"
                ));
                more(
                    "the guest saw page requests when it booted; they cannot be taken back while it runs",
                );
            }
        }
        Ok(())
    }

    /// The calls, each by itself: a table is bound, and the device writes the buffer page by page.
    fn write_pages(&self, system: &System) -> Step<Done> {
        const WORK: &str = "the work of the guest";
        let container = self.open(system)?;
        container.nest().at(WORK)?;
        let memory = SharedBuffer::new(PAGES * PAGE).at(WORK)?;
        container.map(MEMORY, &memory).at(WORK)?;
        let mut table = container.page_table(TABLE, 4 * PAGE).at(WORK)?;
        let [va, physical] = [VA, MEMORY].map(|start| move |page| start + (page * PAGE) as u64);
        for page in 0..PRESENT {
            table.map(va(page), physical(page), true).at(WORK)?;
        }
        let pasid = container.alloc_pasid(1, u32::from(u16::MAX)).at(WORK)?;
        let root = table.root().at(WORK)?;
        container.bind(pasid, root).at(WORK)?;
        let device = container.device().at(WORK)?;
        let faults = device.faults().at(WORK)?;
        let [registers, configuration] = REGIONS.map(|index| device.region(index));
        let driver = DmaTest::new(registers.at(WORK)?, &configuration.at(WORK)?).at(WORK)?;
        let driver = driver.ok_or_else(|| io::Error::other("its device is no dmatest")).at(WORK)?;
        let mut done = Done { pasid, brought: 0, written: 0, failed: None };
        for page in 0..PAGES {
            let access = Access { address: va(page), pasid: Some(pasid), asks: true };
            driver.start_write(access, WRITTEN).at(WORK)?;
            while driver.is_running().at(WORK)? {
                std::thread::yield_now();
                let Some(faults) = &faults else { continue };
                let Some(request) = faults.next_page().at(WORK)? else { continue };
                table.map(va(page), physical(page), true).at(WORK)?;
                faults.respond(&request, Response::Success).at(WORK)?;
                done.brought += 1;
            }
            let status = driver.wait().at(WORK)?.status;
            if status != Status::Done {
                done.failed = Some(status);
                break;
            }
        }
        let mut seen = [0; PAGES * PAGE];
        memory.load(&mut seen);
        done.written = seen.chunks(PAGE).filter(|page| page.starts_with(&WRITTEN)).count();
        container.unbind(pasid, root).at(WORK)?;
        container.free_pasid(pasid).at(WORK)?;
        Ok(done)
    }
}

fn heading(text: &str) {
    // who reads no further has heard enough
    let _ = writeln!(io::stdout(), "\n{text}");
}

/// A line more of what was said last.
fn more(what: &str) {
    say("", what);
}
