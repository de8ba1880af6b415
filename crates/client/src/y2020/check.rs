//! The question that the API of 2020 has not: whether everything that guest SVA is composed of works together.
//!
//! It is asked by making the calls and undoing them, before anything depends on the answer. What is missing has
//! the name that the same thing has as a capability of today's API (`profiles/capabilities.toml`).
//!
//! *What it doesn't do*: tell of guest SVA by a guest's table of PASIDs. That an SMMUv3 takes one can be tried, but
//! nothing there says whether the device stalls: it has the regions of faults either way.

use profile::machine::Bdf;
use thiserror::Error;
use uapi::y2020::transport::*;
use uapi::y2020::{IOMMU_UAPI_VERSION, Layout};

use super::{Container, Reach};
use crate::session::Failed;
use crate::{SharedBuffer, System};

/// A part of guest SVA that is not there.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{name}: {why}")]
pub struct Missing {
    /// The capability.
    pub name: &'static str,
    /// What was tried, and what came of it.
    pub why: String,
    /// What would bring it.
    pub remedy: &'static str,
}

const NESTING: Missing = Missing {
    name: "nesting-parent",
    why: String::new(),
    remedy: "a kernel with a nesting container, and an IOMMU with nested translation",
};
const PASIDS: Missing = Missing {
    name: "pasid-width",
    why: String::new(),
    remedy: "an IOMMU with PASIDs, and PASIDs of the host that are free",
};
const TABLES: Missing = Missing {
    name: "pasid-nesting",
    why: String::new(),
    remedy: "a device with PASIDs of 20 bits",
};
const INVALIDATION: Missing =
    Missing { name: "invalidate-vtd-s1", why: String::new(), remedy: "a newer kernel" };
const PAGE_REQUESTS: Missing = Missing {
    name: "pasid-page-faults",
    why: String::new(),
    remedy: "a device that asks for pages (ATS, PRI), behind an IOMMU that takes such requests",
};

impl Missing {
    fn since(self, why: impl ToString) -> Self {
        Self { why: why.to_string(), ..self }
    }
}

/// Where the scratch memory and table are.
const MEMORY: u64 = 0x10_0000;
const SIZE: usize = 4096;

/// Whether a device will do guest SVA; each part that is missing. Nothing is left of what was tried. The device
/// must be free.
pub fn check(system: &System, address: Bdf, layout: Layout) -> Result<(), Vec<Missing>> {
    let container = open(system, address, layout).map_err(|missing| vec![missing])?;
    let mut missing = Vec::new();
    let info = container.info().ok().flatten().unwrap_or_default();
    let has = |feature: u32| info.features & feature != 0;
    if !has(IOMMU_NESTING_FEAT_CACHE_INVLD) {
        missing.push(INVALIDATION.since("the kernel tells of no CACHE_INVLD"));
    }
    match container.alloc_pasid(1, u32::from(u16::MAX)) {
        Err(failed) => missing.push(PASIDS.since(failed)),
        Ok(pasid) => missing.extend(try_table(&container, pasid).err()),
    }
    missing.extend(try_faults(&container).err());
    if missing.is_empty() { Ok(()) } else { Err(missing) }
}

fn open(system: &System, address: Bdf, layout: Layout) -> Result<Container, Missing> {
    let because = |failed: Failed| NESTING.since(failed);
    let container = Container::open(system, address, layout).map_err(because)?;
    match container.version().map_err(because)? {
        IOMMU_UAPI_VERSION => {}
        other => return Err(NESTING.since(format!("the kernel has version {other} of the API"))),
    }
    container.nest().map_err(because)?;
    Ok(container)
}

/// Binds an empty table, invalidates what it translates, and takes it away.
fn try_table(container: &Container, pasid: u32) -> Result<(), Missing> {
    let tried = try_bound_table(container, pasid);
    let freed = container.free_pasid(pasid).map_err(|failed| PASIDS.since(failed));
    tried.and(freed)
}

fn try_bound_table(container: &Container, pasid: u32) -> Result<(), Missing> {
    let because = |failed: Failed| TABLES.since(failed);
    let memory = SharedBuffer::new(SIZE).map_err(|error| TABLES.since(error))?;
    container.map(MEMORY, &memory).map_err(because)?;
    let table = container.page_table(MEMORY + SIZE as u64, SIZE).map_err(because)?;
    let root = table.root().map_err(|error| TABLES.since(error))?;
    container.bind(pasid, root).map_err(because)?;
    let invalidated = container.invalidate(pasid, Reach::Pasid);
    invalidated.map_err(|failed| INVALIDATION.since(failed))?;
    container.unbind(pasid, root).map_err(because)
}

fn try_faults(container: &Container) -> Result<(), Missing> {
    let device = container.device().map_err(|failed| PAGE_REQUESTS.since(failed))?;
    match device.faults().map_err(|failed| PAGE_REQUESTS.since(failed))? {
        Some(_) => Ok(()),
        None => Err(PAGE_REQUESTS.since("the device has no region for faults")),
    }
}
