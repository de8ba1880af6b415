//! Which IOVAs are free.

use std::collections::BTreeMap;

use mem::PAGE_SIZE;
use profile::{Kernel, Quirk};

use super::Ioas;
use crate::Refusal;
use crate::objects::ObjectId;
use crate::task::Task;

/// The largest alignment that a chosen IOVA gets from its memory (`HPAGE_SIZE`).
const MAX_ALIGNMENT: u64 = 2 << 20;

/// Who reserved a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// The domain of a hwpt: IOVAs outside its aperture.
    Domain(ObjectId),
    /// A device that is attached: IOVAs where interrupt messages or other things are.
    Device(ObjectId),
    /// The mock device's `ADD_RESERVED`; stays until the IOAS is destroyed.
    Test,
}

/// IOVAs that cannot be mapped. Reserved ranges may overlap.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reserved {
    pub start: u64,
    pub last: u64,
    pub owner: Owner,
}

/// The union of all areas, as runs that do not touch.
///
/// Linux walks every area to find a hole; a million adjacent mappings are one run here, and the hole
/// found is the same.
#[derive(Debug, Default)]
pub(super) struct Occupied {
    runs: BTreeMap<u64, u64>,
}

impl Occupied {
    pub fn insert(&mut self, mut start: u64, mut last: u64) {
        if let Some((before, end)) = self.runs.range(..start).next_back()
            && end.checked_add(1) == Some(start)
        {
            start = *before;
        }
        if let Some(next) = last.checked_add(1)
            && let Some(end) = self.runs.remove(&next)
        {
            last = end;
        }
        self.runs.insert(start, last);
    }

    pub fn remove(&mut self, start: u64, last: u64) {
        let Some((run, end)) = self.runs.range(..=start).next_back().map(|(s, e)| (*s, *e)) else {
            return;
        };
        self.runs.remove(&run);
        if run < start {
            self.runs.insert(run, start - 1);
        }
        if end > last {
            self.runs.insert(last + 1, end);
        }
    }

    /// The run that holds `at`, or the first after it.
    fn next(&self, at: u64) -> Option<(u64, u64)> {
        let holding = self.runs.range(..=at).next_back().filter(|(_, last)| **last >= at);
        holding.or_else(|| self.runs.range(at..).next()).map(|(start, last)| (*start, *last))
    }
}

/// A range of the search and its rule (`__alloc_iova_check_range`).
#[derive(Clone, Copy)]
struct Wanted {
    length: u64,
    alignment: u64,
    page_offset: u64,
    /// Whether a hole of one byte can be used.
    one_byte: bool,
}

impl Wanted {
    /// The first place in `start..=last` that fits.
    fn fit(&self, start: u64, last: u64) -> Option<u64> {
        let aligned = start.checked_add(self.alignment - 1)? & !(self.alignment - 1);
        let at = aligned | self.page_offset;
        let room = at < last || (at == last && self.one_byte);
        (room && last - at >= self.length - 1).then_some(at)
    }
}

impl Ioas {
    /// Finds a free range of `length` bytes for memory at `address` (`iopt_alloc_iova`). Never 0.
    pub fn alloc_iova(&self, kernel: &Kernel, address: u64, length: u64) -> Result<u64, Refusal> {
        if length == 0 || length >= u64::MAX / 2 {
            return Err(Refusal::Overflow { field: "length", value: length });
        }
        let mut alignment = length.next_power_of_two();
        if address != 0 {
            alignment = alignment.min(1 << address.trailing_zeros());
        }
        if kernel.has(Quirk::IovaAlignmentCapped) {
            alignment = alignment.min(MAX_ALIGNMENT);
        }
        if alignment < self.iova_alignment {
            let rule = "less aligned than the IOAS demands";
            return Err(Refusal::Invalid { field: "address", value: address, rule });
        }
        let one_byte = !kernel.has(Quirk::IovaHoleOfTwo);
        let wanted = Wanted { length, alignment, page_offset: address % PAGE_SIZE, one_byte };
        for (start, last) in self.allowed_spans() {
            let Some(start) = wanted.fit(start, last) else { continue };
            if let Some(iova) = self.first_hole(start, last, wanted) {
                return Ok(iova);
            }
        }
        Err(Refusal::NoSpace { length })
    }

    /// The allowed ranges within what is searched at all, touching ones joined.
    fn allowed_spans(&self) -> Vec<(u64, u64)> {
        let (low, high) = (PAGE_SIZE, u64::MAX - PAGE_SIZE);
        if self.allowed.is_empty() {
            return vec![(low, high)];
        }
        let mut spans: Vec<(u64, u64)> = Vec::new();
        for (start, last) in &self.allowed {
            if *last < low || *start > high {
                continue;
            }
            let (start, last) = ((*start).max(low), (*last).min(high));
            match spans.last_mut() {
                Some(before) if before.1 + 1 == start => before.1 = last,
                _ => spans.push((start, last)),
            }
        }
        spans
    }

    /// The first hole between reserved ranges and areas that fits.
    fn first_hole(&self, start: u64, last: u64, wanted: Wanted) -> Option<u64> {
        let reserved = joined(&self.reserved);
        let mut at = start;
        while at <= last {
            let area = self.occupied.next(at);
            let fixed = reserved.iter().find(|(_, end)| *end >= at).copied();
            let used = [area, fixed].into_iter().flatten().min();
            let hole_last = match used {
                Some((used_start, used_last)) if used_start <= at => {
                    at = used_last.checked_add(1)?;
                    continue;
                }
                Some((used_start, _)) => last.min(used_start - 1),
                None => last,
            };
            if let Some(iova) = wanted.fit(at, hole_last) {
                return Some(iova);
            }
            at = hole_last.checked_add(1)?;
        }
        None
    }

    /// Whether a mapping may be placed here (`iopt_check_iova`).
    pub fn check_iova(&self, iova: u64, length: u64) -> Result<(), Refusal> {
        if iova & (self.iova_alignment - 1) != 0 {
            let rule = "less aligned than the IOAS demands";
            return Err(Refusal::Invalid { field: "iova", value: iova, rule });
        }
        let overflow = Refusal::Overflow { field: "iova", value: iova };
        let last = iova.checked_add(length - 1).ok_or(overflow)?;
        if self.is_reserved(iova, last) {
            let rule = "meets a reserved range";
            return Err(Refusal::Invalid { field: "iova", value: iova, rule });
        }
        if self.first_in(iova, last).is_some() {
            return Err(Refusal::Mapped { start: iova, last });
        }
        Ok(())
    }

    /// Reserves a range (`iopt_reserve_iova`).
    pub fn reserve(
        &mut self,
        task: &mut Task<'_>,
        start: u64,
        last: u64,
        owner: Owner,
    ) -> Result<(), Refusal> {
        let allowed = self.allowed.iter().any(|(first, end)| *first <= last && *end >= start);
        if allowed || self.first_in(start, last).is_some() {
            return Err(Refusal::RangeInUse { start, last });
        }
        task.allocate()?;
        self.reserved.push(Reserved { start, last, owner });
        Ok(())
    }

    /// Gives back what an owner reserved.
    pub fn unreserve(&mut self, owner: Owner) {
        self.reserved.retain(|reserved| reserved.owner != owner);
    }

    /// Replaces the allowed ranges, all or none (`iopt_set_allow_iova`).
    pub fn set_allowed(&mut self, allowed: BTreeMap<u64, u64>) -> Result<(), Refusal> {
        let meets = allowed.iter().find(|(start, last)| self.is_reserved(**start, **last));
        if let Some((start, last)) = meets {
            return Err(Refusal::RangeInUse { start: *start, last: *last });
        }
        self.allowed = allowed;
        Ok(())
    }

    /// The IOVAs that are not reserved, as ranges.
    pub fn usable(&self) -> Vec<(u64, u64)> {
        let mut holes = Vec::new();
        let mut at = Some(0);
        for (start, last) in joined(&self.reserved) {
            if let Some(at) = at.filter(|at| *at < start) {
                holes.push((at, start - 1));
            }
            at = last.checked_add(1);
        }
        if let Some(at) = at {
            holes.push((at, u64::MAX));
        }
        holes
    }

    fn is_reserved(&self, start: u64, last: u64) -> bool {
        self.reserved.iter().any(|reserved| reserved.start <= last && reserved.last >= start)
    }
}

/// Reserved ranges by rising IOVA, touching and overlapping ones joined.
fn joined(reserved: &[Reserved]) -> Vec<(u64, u64)> {
    let mut ranges: Vec<_> = reserved.iter().map(|r| (r.start, r.last)).collect();
    ranges.sort_unstable();
    let mut joined: Vec<(u64, u64)> = Vec::new();
    for (start, last) in ranges {
        match joined.last_mut() {
            Some(before) if before.1 == u64::MAX || before.1 + 1 >= start => {
                before.1 = before.1.max(last);
            }
            _ => joined.push((start, last)),
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Pages of the small space in which everything happens; all above is reserved.
    const PAGES: u64 = 64;

    fn ranges() -> impl Strategy<Value = Vec<(u64, u64)>> {
        prop::collection::vec((0..PAGES, 1..5_u64), 0..12)
    }

    /// An IOAS in which these pages are used and those reserved, and which pages are free.
    fn small(used: &[(u64, u64)], reserved: &[(u64, u64)]) -> (Ioas, Vec<bool>) {
        let mut ioas = Ioas::default();
        let mut free = vec![true; PAGES as usize];
        for (first, count) in used.iter().copied() {
            let pages = first..(first + count).min(PAGES);
            if pages.clone().all(|page| free[page as usize]) {
                ioas.occupied.insert(first * PAGE_SIZE, pages.end * PAGE_SIZE - 1);
                pages.for_each(|page| free[page as usize] = false);
            }
        }
        let rest = (PAGES, u64::MAX / PAGE_SIZE - PAGES);
        for (first, count) in reserved.iter().copied().chain([rest]) {
            let (start, last) = (first * PAGE_SIZE, (first + count) * PAGE_SIZE - 1);
            ioas.reserved.push(Reserved { start, last, owner: Owner::Test });
            (first..(first + count).min(PAGES)).for_each(|page| free[page as usize] = false);
        }
        (ioas, free)
    }

    proptest! {
        /// The hole found is the one that looking at every page finds.
        #[test]
        fn the_lowest_aligned_hole(
            used in ranges(), reserved in ranges(), length in 1..9_u64, shift in 0..6_u32,
        ) {
            let (ioas, free) = small(&used, &reserved);
            let address = 1_u64 << (12 + shift);
            let alignment = length.next_power_of_two().min(1 << shift);
            let lowest = (1..PAGES).filter(|page| page.is_multiple_of(alignment)).find(|page| {
                (*page..page + length).all(|page| free.get(page as usize) == Some(&true))
            });
            let found = ioas.alloc_iova(Kernel::newest(), address, length * PAGE_SIZE);
            prop_assert_eq!(found.ok(), lowest.map(|page| page * PAGE_SIZE));
        }

        /// Joined runs are the union of what was inserted, less what was removed.
        #[test]
        fn runs_are_a_union(used in ranges(), gone in 0..12_usize) {
            let (mut ioas, mut free) = small(&[], &[]);
            let mut kept = Vec::new();
            for (first, count) in used {
                let pages = first..(first + count).min(PAGES);
                if pages.clone().all(|page| free[page as usize]) {
                    ioas.occupied.insert(first * PAGE_SIZE, pages.end * PAGE_SIZE - 1);
                    pages.clone().for_each(|page| free[page as usize] = false);
                    kept.push(pages);
                }
            }
            if gone < kept.len() {
                let pages = kept.remove(gone);
                ioas.occupied.remove(pages.start * PAGE_SIZE, pages.end * PAGE_SIZE - 1);
                pages.for_each(|page| free[page as usize] = true);
            }
            for page in 0..PAGES {
                let at = page * PAGE_SIZE;
                let held = ioas.occupied.next(at).is_some_and(|(start, _)| start <= at);
                prop_assert_eq!(held, !free[page as usize]);
            }
            let mut ends = ioas.occupied.runs.iter().zip(ioas.occupied.runs.iter().skip(1));
            prop_assert!(ends.all(|((_, last), (next, _))| last + 1 < *next), "two runs touch");
        }
    }
}
