//! Areas come and go.

use std::sync::Arc;

use mem::PAGE_SIZE;

use super::{Area, Ioas, Prot};
use crate::Refusal;
use crate::pages::{Hold, Pages};
use crate::task::Task;

/// A piece of memory that is to be mapped.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub pages: Arc<Pages>,
    pub start_byte: u64,
    pub length: u64,
}

/// What stops an unmap, and how much was unmapped before it.
#[derive(Debug)]
pub(crate) enum Unmap {
    /// Done: this many bytes.
    Done(u64),
    /// The accesses must let go of this area first; then go on.
    Notify { start: u64, last: u64 },
    /// Stopped, after this many bytes.
    Stopped(u64, Refusal),
}

/// An unmap under way (`iopt_unmap_iova_range`).
#[derive(Debug)]
pub(crate) struct Unmapping {
    start: u64,
    last: u64,
    bytes: u64,
}

impl Unmapping {
    pub fn new(start: u64, last: u64) -> Self {
        Self { start, last, bytes: 0 }
    }
}

impl Ioas {
    /// Maps pieces one after the other, at `iova` or where there is room (`iopt_map_pages`).
    /// Returns the first IOVA.
    pub fn map(
        &mut self,
        task: &mut Task<'_>,
        pieces: &[Piece],
        length: u64,
        fixed: Option<u64>,
        prot: Prot,
    ) -> Result<u64, Refusal> {
        for _ in pieces {
            task.allocate()?;
        }
        if length & (self.iova_alignment - 1) != 0 || length == 0 {
            let rule = "0, or less aligned than the IOAS demands";
            return Err(Refusal::Invalid { field: "length", value: length, rule });
        }
        let iova = match (fixed, pieces.first()) {
            (Some(iova), _) => {
                self.check_iova(iova, length)?;
                iova
            }
            (None, Some(first)) => {
                let address = first.pages.alignment_hint(first.start_byte);
                self.alloc_iova(task.kernel, address, length)?
            }
            (None, None) => return Err(Refusal::NoSpace { length }),
        };
        let mut areas = Vec::with_capacity(pieces.len());
        let mut at = iova;
        for piece in pieces {
            areas.push(self.new_area(at, piece, prot)?);
            at = at.wrapping_add(piece.length);
        }
        if !self.domains.is_empty() {
            for area in &mut areas {
                area.hold = hold(task, area)?;
            }
            self.check_prot(iova, prot)?;
        }
        self.show(task, &areas)?;
        for area in areas {
            self.occupied.insert(area.start, area.last);
            self.areas.insert(area.start, area);
        }
        Ok(iova)
    }

    /// Writes areas into the tables of every domain, or of none.
    fn show(&self, task: &Task<'_>, areas: &[Area]) -> Result<(), Refusal> {
        let pairs = || areas.iter().flat_map(|area| self.domains.iter().map(move |it| (it, area)));
        let shown =
            pairs().try_for_each(|(it, area)| it.show(area, self.large_pages, task.physical));
        shown.inspect_err(|_| pairs().for_each(|(it, area)| it.hide(area.start..=area.last)))
    }

    /// `iopt_insert_area`
    fn new_area(&self, iova: u64, piece: &Piece, prot: Prot) -> Result<Area, Refusal> {
        if prot.write && !piece.pages.writable {
            return Err(Refusal::NotPermitted { iova });
        }
        if (piece.start_byte % PAGE_SIZE) & (self.iova_alignment - 1) != 0 {
            let rule = "the memory is less aligned than the IOAS demands";
            return Err(Refusal::Invalid { field: "start", value: piece.start_byte, rule });
        }
        let overflow = Refusal::Overflow { field: "iova", value: iova };
        let last = iova.checked_add(piece.length - 1).ok_or(overflow.clone())?;
        piece.start_byte.checked_add(piece.length - 1).ok_or(overflow)?;
        Ok(Area {
            start: iova,
            last,
            pages: Arc::clone(&piece.pages),
            start_byte: piece.start_byte,
            prot,
            hold: None,
            accesses: 0,
            locks: 0,
        })
    }

    /// The memory mapped at a range, to be mapped elsewhere (`iopt_get_pages`).
    pub fn pieces(
        &self,
        task: &mut Task<'_>,
        iova: u64,
        length: u64,
    ) -> Result<Vec<Piece>, Refusal> {
        let last = last_byte("src_iova", iova, length)?;
        let (parts, whole) = self.contiguous(iova, last);
        let mut pieces = Vec::with_capacity(parts.len());
        for (start, first, last) in parts {
            task.allocate()?;
            let area = &self.areas[&start];
            pieces.push(Piece {
                pages: Arc::clone(&area.pages),
                start_byte: area.byte_at(first),
                length: last - first + 1,
            });
        }
        if !whole {
            return Err(Refusal::NotFound { what: "src_iova", value: iova });
        }
        Ok(pieces)
    }

    /// Unmaps every area in a range, each whole, as far as nothing stands in the way. After
    /// [`Unmap::Notify`] call again.
    pub fn unmap_some(&mut self, unmapping: &mut Unmapping) -> Unmap {
        while let Some(first) = self.first_in(unmapping.start, unmapping.last) {
            let area = &self.areas[&first];
            let last = area.last;
            if area.locks != 0 {
                let busy = Refusal::Busy { what: "the mapping", why: "a hardware queue uses it" };
                return Unmap::Stopped(unmapping.bytes, busy);
            }
            if first < unmapping.start || last > unmapping.last {
                let part = Refusal::NotFound { what: "iova", value: unmapping.start };
                return Unmap::Stopped(unmapping.bytes, part);
            }
            if area.accesses != 0 {
                unmapping.start = first;
                return Unmap::Notify { start: first, last };
            }
            self.remove(first);
            unmapping.bytes = unmapping.bytes.wrapping_add((last - first).wrapping_add(1));
            if last >= unmapping.last {
                break;
            }
            unmapping.start = last + 1;
        }
        Unmap::Done(unmapping.bytes)
    }

    fn remove(&mut self, start: u64) {
        if let Some(area) = self.areas.remove(&start) {
            self.occupied.remove(start, area.last);
            for domain in &mut self.domains {
                domain.hide(start..=area.last);
                domain.forget_dirty(start, area.last);
            }
        }
    }

    /// Makes `iova` the last byte of an area, for type1's unmap of parts (`iopt_cut_iova`).
    pub fn cut_after(&mut self, task: &mut Task<'_>, iova: u64) -> Result<(), Refusal> {
        let Some(area) = self.area_at(iova) else { return Ok(()) };
        let start = area.start;
        if iova == start || iova == area.last {
            return Ok(());
        }
        if area.pages.is_dmabuf() {
            return Err(Refusal::Unsupported { field: "size", value: iova - start + 1 });
        }
        let mask = self.iova_alignment - 1;
        let cut = iova + 1;
        let byte = area.byte_at(cut);
        let refuse = |rule| Err(Refusal::Invalid { field: "iova", value: cut, rule });
        if cut & mask != 0 || byte & mask != 0 {
            return refuse("a cut must be aligned as the IOAS demands");
        }
        task.allocate()?;
        task.allocate()?;
        if area.accesses != 0 {
            return refuse("a mapping in use by an access cannot be cut");
        }
        if area.hold.is_some() && self.large_pages {
            return refuse("a mapping that may have large pages cannot be cut");
        }
        let right = Area {
            start: cut,
            last: area.last,
            pages: Arc::clone(&area.pages),
            start_byte: byte,
            prot: area.prot,
            hold: area.hold.clone(),
            accesses: 0,
            locks: 0,
        };
        if let Some(left) = self.areas.get_mut(&start) {
            left.last = iova;
        }
        self.areas.insert(cut, right);
        Ok(())
    }
}

/// Pins what an area shows; a dma-buf has nothing to pin.
pub(super) fn hold(task: &mut Task<'_>, area: &Area) -> Result<Option<Hold>, Refusal> {
    if area.pages.is_dmabuf() {
        task.allocate()?;
        return Ok(None);
    }
    let (first, pages) = area.page_span();
    area.pages.hold(task, first, pages).map(Some)
}

/// The last byte of a range that a caller gave.
pub(crate) fn last_byte(field: &'static str, start: u64, length: u64) -> Result<u64, Refusal> {
    if length == 0 {
        return Err(Refusal::Invalid { field: "length", value: 0, rule: "must not be 0" });
    }
    start.checked_add(length - 1).ok_or(Refusal::Overflow { field, value: start })
}
