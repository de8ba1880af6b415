//! The mock device's dma-buf.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use mem::{ObjectKey, PAGE_SIZE, PageId};

use super::Source;
use crate::Refusal;

/// The mock device's dma-buf: memory that its exporter can take away.
#[derive(Debug)]
pub struct Dmabuf {
    number: u64,
    length: u64,
    revoked: AtomicBool,
    generation: AtomicU64,
}

impl Dmabuf {
    pub(crate) fn new(length: u64) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Self { number, length, revoked: AtomicBool::new(false), generation: AtomicU64::new(0) }
    }

    /// Memory of it, as far as it may be mapped (`iopt_alloc_dmabuf_pages`).
    pub(crate) fn source(self: &Arc<Self>, start: u64, length: u64) -> Result<Source, Refusal> {
        if self.length <= start.wrapping_add(length).wrapping_sub(1) {
            let rule = "beyond the end of the dma-buf";
            return Err(Refusal::Invalid { field: "start", value: start, rule });
        }
        if self.revoked.load(Ordering::Acquire) {
            return Err(Refusal::NoDevice { what: "the dma-buf was revoked" });
        }
        let generation = self.generation.load(Ordering::Acquire);
        let start = start - start % PAGE_SIZE;
        Ok(Source::Dmabuf { buffer: Arc::clone(self), start, generation })
    }

    /// Takes the memory away, or allows new mappings again. Either way the mappings that exist lose
    /// it for good (`dma_buf_invalidate_mappings`).
    pub(crate) fn set_revoked(&self, revoked: bool) {
        self.revoked.store(revoked, Ordering::Release);
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// A page of the memory that was had in a generation, unless that was taken away.
    pub(super) fn page(&self, generation: u64, index: u64) -> Option<PageId> {
        let object = ObjectKey::Exported(self.number);
        let kept = self.generation.load(Ordering::Acquire) == generation;
        kept.then_some(PageId { object, index })
    }
}
