//! Copies between the engine and memory that is mapped.

use std::sync::Arc;

use mem::{Extent, PAGE_SIZE};

use super::{Hold, Pages, Source};
use crate::Refusal;
use crate::task::Task;

/// Bytes on their way between the engine and a mapping.
pub(crate) enum Copy<'a> {
    /// From the mapping.
    Read(&'a mut [u8]),
    /// To the mapping.
    Write(&'a [u8]),
}

impl Copy<'_> {
    pub fn len(&self) -> usize {
        match self {
            Self::Read(to) => to.len(),
            Self::Write(from) => from.len(),
        }
    }

    /// The `len` bytes from `start`.
    pub fn part(&mut self, start: usize, len: usize) -> Copy<'_> {
        match self {
            Self::Read(to) => Copy::Read(&mut to[start..start + len]),
            Self::Write(from) => Copy::Write(&from[start..start + len]),
        }
    }

    /// Copies all of it, at an offset of an extent.
    fn run(&mut self, extent: &Extent, at: u64) -> Result<(), Refusal> {
        match self {
            Self::Read(to) => extent.read(at, to),
            Self::Write(from) => extent.write(at, from),
        }
        .map_err(|_| Refusal::NotPinnable)
    }
}

/// Copies between a buffer and a range of `Pages` (`iopt_pages_rw_access`).
///
/// The three ways of Linux differ in what they demand of the memory: within the caller's own memory
/// it is a plain copy; one page of another address space needs the rights of this copy only; all else
/// pins with the rights of the mapping.
pub(crate) fn rw(
    pages: &Arc<Pages>,
    task: &mut Task<'_>,
    start_byte: u64,
    copy: &mut Copy<'_>,
    slow: bool,
) -> Result<(), Refusal> {
    let length = copy.len() as u64;
    let (first, last) = (start_byte / PAGE_SIZE, (start_byte + length - 1) / PAGE_SIZE);
    if matches!(copy, Copy::Write(_)) && !pages.writable {
        return Err(Refusal::NotPermitted { iova: start_byte });
    }
    if pages.is_dmabuf() {
        let rule = "the CPU cannot reach a dma-buf";
        return Err(Refusal::Invalid { field: "iova", value: start_byte, rule });
    }
    let user = match &*pages.source.lock() {
        Source::User { space, va } => Some((Arc::clone(space), *va)),
        _ => None,
    };
    let Some((space, va)) = user else { return rw_pinned(pages, task, start_byte, copy) };
    if space.id() == task.memory().id() && !slow {
        let at = va.wrapping_add(start_byte);
        return match copy {
            Copy::Read(to) => space.read(at, to),
            Copy::Write(from) => space.write(at, from),
        }
        .map_err(|_| Refusal::NotPinnable);
    }
    if first != last || !space.alive() {
        return rw_pinned(pages, task, start_byte, copy);
    }
    if task.should_fail() {
        let rule = "made to fail by a test";
        return Err(Refusal::Invalid { field: "iova", value: start_byte, rule });
    }
    let writing = matches!(copy, Copy::Write(_));
    let page = space.pin(va.wrapping_add(first * PAGE_SIZE), 1, writing);
    let page = page.map_err(|_| Refusal::NotPinnable)?.remove(0);
    copy.run(&page, start_byte % PAGE_SIZE)
}

fn rw_pinned(
    pages: &Arc<Pages>,
    task: &mut Task<'_>,
    start_byte: u64,
    copy: &mut Copy<'_>,
) -> Result<(), Refusal> {
    let (first, length) = (start_byte / PAGE_SIZE, copy.len() as u64);
    let last = (start_byte + length - 1) / PAGE_SIZE;
    pages.hold(task, first, last - first + 1)?.copy(start_byte, copy)
}

impl Hold {
    /// Copies from or to `offset` bytes from the start of the `Pages`.
    pub fn copy(&self, offset: u64, copy: &mut Copy<'_>) -> Result<(), Refusal> {
        let (mut offset, mut done) = (offset, 0);
        while done < copy.len() {
            let (extent, at) = self.locate(offset / PAGE_SIZE).ok_or(Refusal::NotPinnable)?;
            let in_extent = at * PAGE_SIZE + offset % PAGE_SIZE;
            let room = extent.pages * PAGE_SIZE - in_extent;
            let chunk = room.min((copy.len() - done) as u64) as usize;
            copy.part(done, chunk).run(extent, in_extent)?;
            done += chunk;
            offset += chunk as u64;
        }
        Ok(())
    }
}
