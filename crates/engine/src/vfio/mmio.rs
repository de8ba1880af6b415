//! Which memory is registers of devices.
//!
//! A program maps a BAR and may hand its address on, for another device to reach. Linux takes it for a
//! type1 container (`vaddr_get_pfns` of `vfio_iommu_type1.c`, `VM_PFNMAP`), and for no iommufd.
//!
//! *What it doesn't do*: know a BAR that the program cannot read, which has no memory of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use mem::{Extent, ObjectKey, PAGE_SIZE, SharedFile};
use parking_lot::RwLock;

use crate::ioas::map::Piece;
use crate::ioas::{Ioas, Prot};
use crate::pages::{AccountMode, Pages, Source};
use crate::task::Task;
use crate::{Model, Refusal};

/// The memory of all BARs, by identity: however a program maps it, it is known.
#[derive(Debug, Default)]
pub(crate) struct Bars(RwLock<BTreeMap<ObjectKey, Arc<SharedFile>>>);

impl Bars {
    /// Notes the BARs of a device.
    pub fn add(&self, model: &dyn Model) {
        let memory = (0..6).filter_map(|number| model.memory(number));
        self.0.write().extend(memory.map(|file| (file.key(), file)));
    }

    /// The BAR that an extent is of.
    fn of(&self, extent: &Extent) -> Option<Arc<SharedFile>> {
        self.0.read().get(&extent.first.object).cloned()
    }

    /// Whether any of them is of one.
    pub fn any_in(&self, extents: &[Extent]) -> bool {
        let bars = self.0.read();
        !bars.is_empty() && extents.iter().any(|extent| bars.contains_key(&extent.first.object))
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
        let (pages, prot) = match task.bars.of(&extent) {
            Some(file) => {
                let source = Source::File { file, start: extent.first.index * PAGE_SIZE };
                let pages = Pages::new(task, source, false, AccountMode::Nobody)?;
                // stores are a device's business, which memory does not tell it of
                (pages, Prot { write: false, ..prot })
            }
            None => {
                (Pages::of_user(task, va + done, length, prot.write, AccountMode::Type1)?, prot)
            }
        };
        let piece = Piece { pages, start_byte: 0, length };
        ioas.map(task, &[piece], length, Some(iova + done), prot)?;
        done += length;
    }
    Ok(())
}
