//! The type1 calls on an iommufd (`drivers/iommu/iommufd/vfio_compat.c`).
//!
//! They mean the IOAS that `IOMMU_VFIO_IOAS` set. Their structs begin with `argsz`, which has other
//! rules than an iommufd's `size`: too small is `EINVAL`, larger is not looked at.

#![allow(non_upper_case_globals)] // the header's VFIO_TYPE1v2_IOMMU

use std::mem::{offset_of, size_of};
use std::sync::Arc;

use profile::Quirk;
use uapi::vfio::*;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::ioas::{map_user, unmap};
use crate::context::Context;
use crate::ioas::map::last_byte;
use crate::ioas::{Ioas, Prot};
use crate::objects::ObjectId;
use crate::state::State;
use crate::task::Task;
use crate::{Caller, Refusal};

/// Any ioctl that is not in the table of commands.
pub(crate) fn ioctl(
    context: &Arc<Context>,
    caller: &mut dyn Caller,
    cmd: u32,
    arg: u64,
) -> Result<i64, Refusal> {
    let mut task = context.task(caller);
    match cmd {
        VFIO_GET_API_VERSION => Ok(VFIO_API_VERSION.into()),
        VFIO_SET_IOMMU => set_iommu(&mut context.state.lock(), arg).map(|()| 0),
        VFIO_CHECK_EXTENSION => check_extension(&context.state.lock(), arg),
        VFIO_IOMMU_GET_INFO => get_info(context, &task, arg).map(|()| 0),
        VFIO_IOMMU_MAP_DMA => map_dma(context, &mut task, arg).map(|()| 0),
        VFIO_IOMMU_UNMAP_DMA => unmap_dma(context, &mut task, arg).map(|()| 0),
        _ => Err(Refusal::UnknownCommand { cmd }),
    }
}

/// The first `min` bytes of a struct, the rest 0.
fn load<T: FromBytes + IntoBytes>(task: &Task<'_>, va: u64, min: usize) -> Result<T, Refusal> {
    let mut bytes = vec![0; size_of::<T>()];
    task.memory().read(va, &mut bytes[..min]).map_err(Refusal::bad("argument"))?;
    T::read_from_bytes(&bytes).map_err(|_| Refusal::BadAddress { what: "argument" })
}

/// Checks `argsz` and the flags of a struct.
fn check(argsz: u32, min: usize, unknown_flags: u32) -> Result<(), Refusal> {
    if (argsz as usize) < min {
        return Err(Refusal::TooShort { size: argsz, min });
    }
    if unknown_flags != 0 {
        let (value, rule) = (unknown_flags.into(), "unknown flags");
        return Err(Refusal::Invalid { field: "flags", value, rule });
    }
    Ok(())
}

fn set_iommu(state: &mut State, kind: u64) -> Result<(), Refusal> {
    if kind != u64::from(VFIO_TYPE1_IOMMU) && kind != u64::from(VFIO_TYPE1v2_IOMMU) {
        let rule = "neither TYPE1 nor TYPE1v2";
        return Err(Refusal::Invalid { field: "type", value: kind, rule });
    }
    let ioas = state.compat_ioas()?;
    if kind == u64::from(VFIO_TYPE1_IOMMU) {
        // type1 may unmap parts of a mapping, which large entries cannot follow
        state.objects.at_mut::<Ioas>(ioas).set_large_pages(false)?;
    }
    Ok(())
}

fn check_extension(state: &State, kind: u64) -> Result<i64, Refusal> {
    let Ok(kind) = u32::try_from(kind) else { return Ok(0) };
    match kind {
        VFIO_TYPE1_IOMMU | VFIO_TYPE1v2_IOMMU | VFIO_UNMAP_ALL | VFIO_NOIOMMU_IOMMU => Ok(1),
        VFIO_DMA_CC_IOMMU => Ok(state.is_coherent(state.compat_ioas()?).into()),
        _ => Ok(0),
    }
}

fn map_dma(context: &Context, task: &mut Task<'_>, arg: u64) -> Result<(), Refusal> {
    const MIN: usize = size_of::<vfio_iommu_type1_dma_map>();
    let map: vfio_iommu_type1_dma_map = load(task, arg, MIN)?;
    check(map.argsz, MIN, map.flags & !(VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE))?;
    let prot = Prot {
        read: map.flags & VFIO_DMA_MAP_FLAG_READ != 0,
        write: map.flags & VFIO_DMA_MAP_FLAG_WRITE != 0,
    };
    let mut state = context.state.lock();
    let ioas = state.compat_ioas()?;
    let memory = (map.vaddr, map.size);
    map_user(&mut state, task, ioas.0, memory, Some(map.iova), prot).map(drop)
}

fn unmap_dma(context: &Context, task: &mut Task<'_>, arg: u64) -> Result<(), Refusal> {
    const MIN: usize = size_of::<vfio_iommu_type1_dma_unmap>();
    let mut request: vfio_iommu_type1_dma_unmap = load(task, arg, MIN)?;
    check(request.argsz, MIN, request.flags & !VFIO_DMA_UNMAP_FLAG_ALL)?;
    let mut state = context.state.lock();
    let ioas = state.compat_ioas()?;
    let result = if request.flags & VFIO_DMA_UNMAP_FLAG_ALL != 0 {
        if request.iova != 0 || request.size != 0 {
            let rule = "UNMAP_ALL takes no range";
            return Err(Refusal::Invalid { field: "iova", value: request.iova, rule });
        }
        unmap(&mut state, ioas, 0, u64::MAX)
    } else {
        cut_ends(&mut state, task, ioas, request.iova, request.size)?;
        last_byte("iova", request.iova, request.size)
            .map_err(|refusal| (0, refusal))
            .and_then(|last| unmap(&mut state, ioas, request.iova, last))
    };
    drop(state);
    let all = request.flags & VFIO_DMA_UNMAP_FLAG_ALL != 0;
    let (bytes, result) = match result {
        Ok(0) if !all && !task.has(Quirk::UnmapDmaOfNothing) => {
            (0, Err(Refusal::NotFound { what: "iova", value: request.iova }))
        }
        Ok(bytes) => (bytes, Ok(())),
        Err((_, refusal)) if !task.has(Quirk::UnmapDmaReportsPart) => (0, Err(refusal)),
        Err((bytes, refusal)) => (bytes, Err(refusal)),
    };
    request.size = bytes;
    task.store(arg, &request, "argument")?;
    result
}

/// Without large pages a range may begin and end within mappings: they are cut there.
fn cut_ends(
    state: &mut State,
    task: &mut Task<'_>,
    ioas: ObjectId,
    iova: u64,
    size: u64,
) -> Result<(), Refusal> {
    let ioas = state.objects.at_mut::<Ioas>(ioas);
    if ioas.large_pages {
        return Ok(());
    }
    ioas.cut_after(task, iova.wrapping_add(size).wrapping_sub(1))?;
    if iova != 0 {
        ioas.cut_after(task, iova - 1)?;
    }
    Ok(())
}

fn get_info(context: &Context, task: &Task<'_>, arg: u64) -> Result<(), Refusal> {
    const MIN: usize = offset_of!(vfio_iommu_type1_info, cap_offset);
    let mut info: vfio_iommu_type1_info = load(task, arg, MIN)?;
    check(info.argsz, MIN, 0)?;
    let known = size_of::<vfio_iommu_type1_info>().min(info.argsz as usize);
    let state = context.state.lock();
    let ioas = state.objects.at::<Ioas>(state.compat_ioas()?);
    info.flags = VFIO_IOMMU_INFO_PGSIZES | VFIO_IOMMU_INFO_CAPS;
    // iommufd_get_pagesizes
    info.iova_pgsizes = ioas.page_sizes().max(ioas.iova_alignment);
    info.cap_offset = 0;
    let needed = capabilities(task, ioas, arg, info.argsz as usize)?;
    if info.argsz as usize >= needed {
        info.cap_offset = size_of::<vfio_iommu_type1_info>() as u32;
    }
    info.argsz = needed as u32;
    task.memory().write(arg, &info.as_bytes()[..known]).map_err(Refusal::bad("argument"))
}

/// Writes the chain of capabilities as far as each fits; returns the size needed for all.
fn capabilities(task: &Task<'_>, ioas: &Ioas, arg: u64, argsz: usize) -> Result<usize, Refusal> {
    let header = |id| vfio_info_cap_header { id, version: 1, next: 0 };
    let avail = vfio_iommu_type1_info_dma_avail {
        header: header(VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL),
        avail: u32::MAX,
    };
    let ranges = ioas.usable();
    let iovas = vfio_iommu_type1_info_cap_iova_range {
        header: header(VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE),
        nr_iovas: ranges.len() as u32,
        reserved: 0,
    };
    let mut list = iovas.as_bytes().to_vec();
    for (start, last) in ranges {
        list.extend_from_slice(vfio_iova_range { start, end: last }.as_bytes());
    }
    let first = size_of::<vfio_iommu_type1_info>();
    let align = if task.has(Quirk::InfoCapabilitiesAligned) { 8 } else { 1 };
    let second = first + size_of_val(&avail).next_multiple_of(align);
    store_if_it_fits(task, arg, first, avail.as_bytes(), argsz)?;
    store_if_it_fits(task, arg, second, list.as_slice(), argsz)?;
    if argsz >= second {
        let next = first + offset_of!(vfio_info_cap_header, next);
        task.store(arg.wrapping_add(next as u64), &(second as u32), "argument")?;
    }
    Ok(second + list.len().next_multiple_of(align))
}

fn store_if_it_fits<T: IntoBytes + Immutable + ?Sized>(
    task: &Task<'_>,
    arg: u64,
    offset: usize,
    value: &T,
    argsz: usize,
) -> Result<(), Refusal> {
    if argsz <= offset || argsz - offset < size_of_val(value) {
        return Ok(());
    }
    let at = arg.wrapping_add(offset as u64);
    task.memory().write(at, value.as_bytes()).map_err(Refusal::bad("argument"))
}
