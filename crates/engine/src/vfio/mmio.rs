//! Which memory is registers of devices.
//!
//! A program maps a BAR and may hand its address on, for another device to reach. Linux takes it for a
//! type1 container (`vaddr_get_pfns` of `vfio_iommu_type1.c`, `VM_PFNMAP`), and for no iommufd.
//!
//! *What it doesn't do*: know a BAR that the program cannot read, which has no memory of its own.

use std::collections::BTreeSet;
use std::sync::Arc;

use mem::{Backing, Extent, ObjectKey, PAGE_SIZE};
use parking_lot::RwLock;

use crate::ioas::map::Piece;
use crate::ioas::{Ioas, Prot};
use crate::pages::{AccountMode, Pages, Source};
use crate::task::Task;
use crate::{Model, Refusal};

/// The memory of all BARs.
#[derive(Debug, Default)]
pub(crate) struct Bars(RwLock<BTreeSet<ObjectKey>>);

impl Bars {
    /// Notes the BARs of a device.
    pub fn add(&self, model: &dyn Model) {
        let memory = (0..6).filter_map(|number| model.memory(number));
        self.0.write().extend(memory.map(|file| file.key()));
    }

    /// Whether an extent is of a BAR.
    pub fn holds(&self, extent: &Extent) -> bool {
        self.0.read().contains(&extent.first.object)
    }

    /// Whether any is.
    pub fn any_in(&self, extents: &[Extent]) -> bool {
        let bars = self.0.read();
        !bars.is_empty() && extents.iter().any(|extent| bars.contains(&extent.first.object))
    }
}

/// Shows memory of the caller of which a part is registers, in whole pages. What stands is the caller's to
/// take away again when it fails.
pub(super) fn map(
    task: &mut Task<'_>,
    ioas: &mut Ioas,
    iova: u64,
    va: u64,
    size: u64,
    prot: Prot,
) -> Result<(), Refusal> {
    let extents = Arc::clone(task.memory()).pin(va, size / PAGE_SIZE, false);
    let extents = extents.ok().filter(|extents| task.bars.any_in(extents));
    let mut done = 0;
    for extent in extents.ok_or(Refusal::NotPinnable)? {
        let length = extent.pages * PAGE_SIZE;
        let (pages, prot) = match extent.backing {
            Backing::Shared(ref file) if task.bars.holds(&extent) => {
                let start = extent.first.index * PAGE_SIZE;
                let source = Source::File { file: Arc::clone(file), start };
                let pages = Pages::new(task, source, false, AccountMode::Nobody)?;
                // stores are a device's business, which memory does not tell it of
                (pages, Prot { write: false, ..prot })
            }
            _ => (Pages::of_user(task, va + done, length, prot.write, AccountMode::Type1)?, prot),
        };
        let piece = Piece { pages, start_byte: 0, length };
        ioas.map(task, &[piece], length, Some(iova + done), prot)?;
        done += length;
    }
    Ok(())
}
