//! The `IOMMU_IOAS_*` commands (`drivers/iommu/iommufd/ioas.c`).

use std::collections::BTreeMap;
use std::sync::Arc;

use mem::{AddressSpace, PAGE_SIZE};
use profile::Quirk;
use uapi::Errno;
use uapi::iommufd::{
    IOMMU_IOAS_MAP_FIXED_IOVA, IOMMU_IOAS_MAP_READABLE, IOMMU_IOAS_MAP_WRITEABLE, iommu_ioas_alloc,
    iommu_ioas_allow_iovas, iommu_ioas_change_process, iommu_ioas_copy, iommu_ioas_iova_ranges,
    iommu_ioas_map, iommu_ioas_map_file, iommu_ioas_noiommu_get_pa, iommu_ioas_unmap,
    iommu_iova_range,
};
use uapi::selftest::MOCK_FLAGS_ACCESS_SYZ;

use super::general::unused;
use crate::Refusal;
use crate::call::{Answer, Call, Handler};
use crate::file::Kind;
use crate::ioas::map::{Piece, Unmap, Unmapping, last_byte};
use crate::ioas::{Ioas, Prot};
use crate::objects::{Object, ObjectId};
use crate::pages::{AccountMode, Pages, Source};
use crate::state::State;
use crate::task::Task;

pub(crate) struct IoasAlloc;

impl Handler for IoasAlloc {
    type Cmd = iommu_ioas_alloc;

    fn run(call: &mut Call<'_, iommu_ioas_alloc>) -> Result<(), Refusal> {
        unused("flags", call.cmd.flags.into())?;
        call.task.allocate()?;
        let id = call.context.state.lock().objects.add(Ioas::default());
        call.publish_on_success(id);
        call.cmd.out_ioas_id = id.0;
        call.answer = Answer::Whole;
        Ok(())
    }
}

pub(crate) struct IovaRanges;

impl Handler for IovaRanges {
    type Cmd = iommu_ioas_iova_ranges;
    const ANSWERS_REFUSED: bool = true;

    fn run(call: &mut Call<'_, iommu_ioas_iova_ranges>) -> Result<(), Refusal> {
        let cmd = &mut call.cmd;
        unused("__reserved", cmd.__reserved.into())?;
        let state = call.context.state.lock();
        let ioas = state.objects.get::<Ioas>(cmd.ioas_id)?;
        let given = cmd.num_iovas;
        let ranges = ioas.usable();
        for (index, (start, last)) in (0..given).zip(&ranges) {
            let range = iommu_iova_range { start: *start, last: *last };
            let at = cmd.allowed_iovas.wrapping_add(u64::from(index) * 16);
            call.task.store(at, &range, "allowed_iovas")?;
        }
        cmd.num_iovas = ranges.len() as u32;
        cmd.out_iova_alignment = ioas.iova_alignment;
        call.answer = Answer::Whole;
        if cmd.num_iovas > given {
            return Err(Refusal::ArrayTooShort { given, needed: cmd.num_iovas });
        }
        Ok(())
    }
}

pub(crate) struct AllowIovas;

impl Handler for AllowIovas {
    type Cmd = iommu_ioas_allow_iovas;

    fn run(call: &mut Call<'_, iommu_ioas_allow_iovas>) -> Result<(), Refusal> {
        let cmd = call.cmd;
        unused("__reserved", cmd.__reserved.into())?;
        let mut state = call.context.state.lock();
        let ioas = state.objects.get_mut::<Ioas>(cmd.ioas_id)?;
        let allowed = load_ranges(&mut call.task, cmd.allowed_iovas, cmd.num_iovas)?;
        ioas.set_allowed(allowed)
    }
}

/// `iommufd_ioas_load_iovas`: ranges that do not overlap.
fn load_ranges(task: &mut Task<'_>, va: u64, count: u32) -> Result<BTreeMap<u64, u64>, Refusal> {
    let mut ranges = BTreeMap::new();
    for index in 0..u64::from(count) {
        let at = va.wrapping_add(index * 16);
        let range: iommu_iova_range = task.load(at, "allowed_iovas")?;
        let (start, last) = (range.start, range.last);
        if start >= last {
            let rule = "not below the last byte";
            return Err(Refusal::Invalid { field: "start", value: start, rule });
        }
        let before = ranges.range(..=last).next_back();
        if before.is_some_and(|(_, end)| *end >= start) {
            return Err(Refusal::Invalid { field: "start", value: start, rule: "ranges overlap" });
        }
        task.allocate()?;
        ranges.insert(start, last);
    }
    Ok(ranges)
}

/// What `flags` of a mapping command say: where, and with what rights.
fn map_flags(flags: u32) -> Result<(bool, Prot), Refusal> {
    let known = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_WRITEABLE | IOMMU_IOAS_MAP_READABLE;
    unused("flags", (flags & !known).into())?;
    let prot = Prot {
        read: flags & IOMMU_IOAS_MAP_READABLE != 0,
        write: flags & IOMMU_IOAS_MAP_WRITEABLE != 0,
    };
    Ok((flags & IOMMU_IOAS_MAP_FIXED_IOVA != 0, prot))
}

fn below_max(field: &'static str, value: u64) -> Result<(), Refusal> {
    if value == u64::MAX { Err(Refusal::Overflow { field, value }) } else { Ok(()) }
}

fn has_right(task: &Task<'_>, flags: u32, prot: Prot) -> Result<(), Refusal> {
    if prot.read || prot.write || !task.has(Quirk::MapNeedsRight) {
        return Ok(());
    }
    let rule = "neither READABLE nor WRITEABLE";
    Err(Refusal::Invalid { field: "flags", value: flags.into(), rule })
}

pub(crate) struct IoasMap;

impl Handler for IoasMap {
    type Cmd = iommu_ioas_map;

    fn run(call: &mut Call<'_, iommu_ioas_map>) -> Result<(), Refusal> {
        let cmd = &mut call.cmd;
        let (fixed, prot) = map_flags(cmd.flags)?;
        unused("__reserved", cmd.__reserved.into())?;
        below_max("iova", cmd.iova)?;
        below_max("length", cmd.length)?;
        has_right(&call.task, cmd.flags, prot)?;
        let mut state = call.context.state.lock();
        state.objects.get::<Ioas>(cmd.ioas_id)?;
        let at = fixed.then_some(cmd.iova);
        let memory = (cmd.user_va, cmd.length);
        cmd.iova = map_user(&mut state, &mut call.task, cmd.ioas_id, memory, at, prot)?;
        call.answer = Answer::Whole;
        Ok(())
    }
}

/// Maps memory of the caller (`iopt_map_user_pages`).
pub(super) fn map_user(
    state: &mut State,
    task: &mut Task<'_>,
    ioas: u32,
    (va, length): (u64, u64),
    fixed: Option<u64>,
    prot: Prot,
) -> Result<u64, Refusal> {
    let pages = Pages::of_user(task, va, length, prot.write, state.account)?;
    let piece = Piece { pages, start_byte: va % PAGE_SIZE, length };
    state.objects.get_mut::<Ioas>(ioas)?.map(task, &[piece], length, fixed, prot)
}

pub(crate) struct IoasMapFile;

impl Handler for IoasMapFile {
    type Cmd = iommu_ioas_map_file;

    fn run(call: &mut Call<'_, iommu_ioas_map_file>) -> Result<(), Refusal> {
        let cmd = &mut call.cmd;
        let (fixed, prot) = map_flags(cmd.flags)?;
        below_max("iova", cmd.iova)?;
        below_max("length", cmd.length)?;
        has_right(&call.task, cmd.flags, prot)?;
        call.context.state.lock().objects.get::<Ioas>(cmd.ioas_id)?;
        let dmabufs = call.task.has(Quirk::MapFileDmabuf);
        if dmabufs {
            last_byte("start", cmd.start, cmd.length)?;
        }
        // the caller's descriptor is looked up without the lock, which its release may need
        let source = file_source(&mut call.task, cmd);
        let leaks = call.task.has(Quirk::MapFileLeaks);
        if leaks && matches!(source, Err(Refusal::NotOpen { .. })) {
            call.context.state.lock().objects.hold(ObjectId(cmd.ioas_id));
        }
        let (source, is_dmabuf) = source?;
        if !dmabufs && cmd.length != 0 {
            last_byte("start", cmd.start, cmd.length)?;
        }
        let mut state = call.context.state.lock();
        let account = if is_dmabuf { AccountMode::User } else { state.account };
        let start_byte = cmd.start % PAGE_SIZE;
        let task = &mut call.task;
        let pages = Pages::new(task, source, prot.write, account)?;
        let piece = Piece { pages, start_byte, length: cmd.length };
        let at = fixed.then_some(cmd.iova);
        let ioas = state.objects.get_mut::<Ioas>(cmd.ioas_id)?;
        cmd.iova = ioas.map(task, &[piece], cmd.length, at, prot)?;
        call.answer = Answer::Whole;
        Ok(())
    }
}

/// The memory behind a descriptor, and whether it is a dma-buf (`iopt_map_file_pages`).
fn file_source(task: &mut Task<'_>, cmd: &iommu_ioas_map_file) -> Result<(Source, bool), Refusal> {
    if task.has(Quirk::MapFileDmabuf)
        && let Some(file) = task.caller.file(cmd.fd)
        && let Kind::Dmabuf(buffer) = &*file.0
    {
        return Ok((buffer.source(cmd.start, cmd.length)?, true));
    }
    match task.caller.shared_file(cmd.fd) {
        Ok(file) => Ok((Source::File { file, start: cmd.start - cmd.start % PAGE_SIZE }, false)),
        Err(Errno::EBADF) => Err(Refusal::NotOpen { fd: cmd.fd }),
        Err(_) => Ok((Source::OtherFile, false)),
    }
}

pub(crate) struct IoasCopy;

impl Handler for IoasCopy {
    type Cmd = iommu_ioas_copy;

    fn run(call: &mut Call<'_, iommu_ioas_copy>) -> Result<(), Refusal> {
        let cmd = &mut call.cmd;
        let mut state = call.context.state.lock();
        if call.context.engine.machine.test_command && cmd.flags & MOCK_FLAGS_ACCESS_SYZ != 0 {
            cmd.flags &= !MOCK_FLAGS_ACCESS_SYZ;
            if let Ok(ioas) = state.objects.get::<Ioas>(cmd.src_ioas_id) {
                cmd.src_iova = ioas.nth_area(cmd.src_iova);
            }
        }
        let (fixed, prot) = map_flags(cmd.flags)?;
        below_max("length", cmd.length)?;
        below_max("src_iova", cmd.src_iova)?;
        below_max("dst_iova", cmd.dst_iova)?;
        has_right(&call.task, cmd.flags, prot)?;
        let source = state.objects.get::<Ioas>(cmd.src_ioas_id)?;
        let pieces = source.pieces(&mut call.task, cmd.src_iova, cmd.length)?;
        let target = state.objects.get_mut::<Ioas>(cmd.dst_ioas_id)?;
        let at = fixed.then_some(cmd.dst_iova);
        cmd.dst_iova = target.map(&mut call.task, &pieces, cmd.length, at, prot)?;
        call.answer = Answer::Whole;
        Ok(())
    }
}

pub(crate) struct IoasUnmap;

impl Handler for IoasUnmap {
    type Cmd = iommu_ioas_unmap;

    fn run(call: &mut Call<'_, iommu_ioas_unmap>) -> Result<(), Refusal> {
        let cmd = &mut call.cmd;
        let mut state = call.context.state.lock();
        state.objects.get::<Ioas>(cmd.ioas_id)?;
        let ioas = ObjectId(cmd.ioas_id);
        if cmd.iova == 0 && cmd.length == u64::MAX {
            cmd.length = unmap(&mut state, ioas, 0, u64::MAX).map_err(|(_, refusal)| refusal)?;
        } else {
            below_max("iova", cmd.iova)?;
            below_max("length", cmd.length)?;
            let last = last_byte("iova", cmd.iova, cmd.length)?;
            let unmapped = unmap(&mut state, ioas, cmd.iova, last);
            cmd.length = unmapped.map_err(|(_, refusal)| refusal)?;
            if cmd.length == 0 {
                return Err(Refusal::NotFound { what: "iova", value: cmd.iova });
            }
        }
        call.answer = Answer::Whole;
        Ok(())
    }
}

/// Unmaps a range, telling accesses to let go. Returns the bytes, on a refusal with it those that
/// were unmapped before.
pub(crate) fn unmap(
    state: &mut State,
    ioas: ObjectId,
    start: u64,
    last: u64,
) -> Result<u64, (u64, Refusal)> {
    let mut unmapping = Unmapping::new(start, last);
    loop {
        match state.objects.at_mut::<Ioas>(ioas).unmap_some(&mut unmapping) {
            Unmap::Done(bytes) => return Ok(bytes),
            Unmap::Stopped(bytes, refusal) => return Err((bytes, refusal)),
            Unmap::Notify { start, last } => {
                for access in state.accesses_of(ioas) {
                    state.access_drop_items(access, start, last);
                }
            }
        }
    }
}

pub(crate) struct ChangeProcess;

impl Handler for ChangeProcess {
    type Cmd = iommu_ioas_change_process;

    fn run(call: &mut Call<'_, iommu_ioas_change_process>) -> Result<(), Refusal> {
        unused("__reserved", call.cmd.__reserved.into())?;
        let state = call.context.state.lock();
        let pages: Vec<_> = all_pages(&state).collect();
        if pages.iter().any(|pages| !pages.is_file()) {
            let rule = "a mapping is not of a file";
            return Err(Refusal::Invalid { field: "iommufd", value: 0, rule });
        }
        let space: &Arc<dyn AddressSpace> = call.task.memory();
        for pages in pages.iter().filter(|pages| pages.charges_other(space)) {
            pages.charge_to(space);
        }
        Ok(())
    }
}

fn all_pages(state: &State) -> impl Iterator<Item = &Arc<Pages>> {
    let areas = state.objects.iter().filter_map(|(_, object)| match object {
        Object::Ioas(ioas) => Some(ioas.areas.values()),
        _ => None,
    });
    areas.flatten().map(|area| &area.pages)
}

pub(crate) struct NoiommuGetPa;

impl Handler for NoiommuGetPa {
    type Cmd = iommu_ioas_noiommu_get_pa;

    /// No machine has a device in no-IOMMU mode, so no IOVA has a physical address to tell.
    fn run(call: &mut Call<'_, iommu_ioas_noiommu_get_pa>) -> Result<(), Refusal> {
        let cmd = &call.cmd;
        unused("flags", cmd.flags.into())?;
        unused("__reserved", cmd.__reserved.into())?;
        if cmd.length == 0 {
            return Err(Refusal::Invalid { field: "length", value: 0, rule: "must not be 0" });
        }
        below_max("iova", cmd.iova)?;
        let state = call.context.state.lock();
        let area = state.objects.get::<Ioas>(cmd.ioas_id)?.area_at(cmd.iova);
        if area.is_none() {
            return Err(Refusal::NotFound { what: "iova", value: cmd.iova });
        }
        Err(Refusal::Unsupported { field: "ioas_id", value: cmd.ioas_id.into() })
    }
}
