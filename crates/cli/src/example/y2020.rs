//! The story of guest SVA by the API of 2020: each step by itself, as far as it goes.

use std::io;

use client::feature::{GuestTable, PageTable, Response};
use client::y2020::{Container, Device, Faults, PageRequest, Reach};
use client::{Failed, Function, SharedBuffer, System};
use uapi::y2020::Layout;

use super::guest::{self, Api};
use super::sva::take_device;
use super::{At, Step, say};

/// The PASIDs of VT-d.
const PASIDS: (u32, u32) = (1, 0xf_ffff);

/// The first device that has a container with a version of the API, and how its arguments are laid out.
pub fn find(functions: &[Function]) -> Option<(&Function, Container)> {
    functions.iter().find_map(|function| {
        let container = Container::open(&System::host(), function.address, layout()).ok()?;
        let version = container.version().ok()?;
        (version > 0).then_some((function, container))
    })
}

/// A kernel of 2020 does not say which of the layouts it has: the program must have been built for it. This
/// one was built for both, and looks at the release.
fn layout() -> Layout {
    match System::host().release() {
        Some(release) if release.starts_with("5.6.") => Layout::Patches,
        _ => Layout::V5_10,
    }
}

pub fn story((function, container): (&Function, Container)) -> Step<()> {
    let iommu = &function.iommu.name;
    let kind = function.iommu.vendor.map_or("an IOMMU of no kind known here", |it| it.name());
    say("device", format!("{} behind {iommu} ({kind})", function.address));
    say("version", container.version().at("asking for the version")?);
    if let Err(failed) = container.nest() {
        say("nesting", format!("refused: {failed}"));
        return Ok(());
    }
    let Some(info) = container.info().at("asking what there is")? else {
        say("nesting", "the kernel tells of none");
        return Ok(());
    };
    say("nesting", format!("features {:#x}, PASIDs of {} bits", info.features, info.pasid_bits));
    let device = container.device().at("taking the device")?;
    let driver = take_device(|index| device.region(index))?;
    let Some(faults) = device.faults().at("looking for regions of faults")? else {
        say("faults", "none: the device has no region for them, so no page may be missing");
        return Ok(());
    };
    say("faults", "come by a region of the device");
    let mut of_2020 =
        Of2020 { container, _device: device, faults, pasid: 0, root: None, request: None };
    guest::story(&mut of_2020, driver.as_ref(), true)
}

/// By a nesting container.
struct Of2020 {
    container: Container,
    _device: Device,
    faults: Faults,
    pasid: u32,
    root: Option<GuestTable>,
    request: Option<PageRequest>,
}

impl Api for Of2020 {
    fn map(&self, address: u64, memory: &SharedBuffer) -> Result<(), Failed> {
        self.container.map(address, memory)
    }

    fn page_table(&self, address: u64, length: usize) -> Result<PageTable, Failed> {
        self.container.page_table(address, length)
    }

    fn take_pasid(&mut self) -> io::Result<u32> {
        let (min, max) = PASIDS;
        self.pasid = self.container.alloc_pasid(min, max).map_err(io::Error::other)?;
        Ok(self.pasid)
    }

    fn bind(&mut self, table: &PageTable) -> io::Result<()> {
        let root = table.root().map_err(io::Error::other)?;
        self.container.bind(self.pasid, root).map_err(io::Error::other)?;
        self.root = Some(root);
        Ok(())
    }

    fn next_fault(&mut self) -> io::Result<Option<(Option<u32>, u64)>> {
        self.request = self.faults.next_page()?;
        Ok(self.request.map(|request| (request.pasid(), request.address())))
    }

    fn respond(&mut self) -> io::Result<()> {
        match self.request.take() {
            Some(request) => self.faults.respond(&request, Response::Success),
            None => Ok(()),
        }
    }

    fn invalidate(&mut self, address: u64, length: u64) -> Result<(), Failed> {
        let count = length.div_ceil(4096);
        self.container.invalidate(self.pasid, Reach::Pages { address, count })
    }

    fn unbind(&mut self, _: &PageTable) -> Result<(), Failed> {
        if let Some(root) = self.root.take() {
            self.container.unbind(self.pasid, root)?;
        }
        self.container.free_pasid(self.pasid)
    }
}
