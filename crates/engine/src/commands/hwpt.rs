//! The `IOMMU_HWPT_*` commands (`drivers/iommu/iommufd/hw_pagetable.c`).

use std::sync::Arc;

use mem::PAGE_SIZE;
use profile::Quirk;
use uapi::iommufd::{
    IOMMU_HWPT_DATA_NONE, IOMMU_HWPT_DIRTY_TRACKING_ENABLE, IOMMU_HWPT_FAULT_ID_VALID,
    IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR, iommu_hwpt_alloc, iommu_hwpt_get_dirty_bitmap,
    iommu_hwpt_invalidate, iommu_hwpt_set_dirty_tracking,
};

use super::general::unused;
use crate::Refusal;
use crate::bitmap::Bitmap;
use crate::call::{Answer, Call, Handler, device_id};
use crate::device::Device;
use crate::events::FaultObject;
use crate::hw::Requests;
use crate::hwpt::{NestedHwpt, PagingHwpt};
use crate::ioas::Ioas;
use crate::ioas::map::last_byte;
use crate::objects::{Object, ObjectId};
use crate::state::State;
use crate::task::{Source, Task, UserData};

/// More requests than any program has (`IOMMU_HWPT_INVALIDATE_ENTRY_NUM_MAX`).
const MAX_REQUESTS: u32 = 1 << 19;

pub(crate) struct HwptAlloc;

impl Handler for HwptAlloc {
    type Cmd = iommu_hwpt_alloc;

    fn run(call: &mut Call<'_, iommu_hwpt_alloc>) -> Result<(), Refusal> {
        let cmd = call.cmd;
        if !call.task.has(Quirk::HwptFlags) {
            unused("flags", cmd.flags.into())?;
        }
        unused("__reserved", cmd.__reserved.into())?;
        let untyped = cmd.data_type == IOMMU_HWPT_DATA_NONE && cmd.data_len != 0;
        let empty = cmd.data_type != IOMMU_HWPT_DATA_NONE && cmd.data_len == 0;
        if untyped || (empty && call.task.has(Quirk::HwptDataNeedsLength)) {
            let rule = "data with no type, or a type with no data";
            return Err(Refusal::Invalid { field: "data_len", value: cmd.data_len.into(), rule });
        }
        let context = call.context;
        let mut state = context.state.lock();
        let device = device_id(&state, cmd.dev_id)?;
        let source = Source::Caller(cmd.data_uptr);
        let data = UserData { kind: cmd.data_type, source, len: cmd.data_len };
        let id = alloc_on(&mut state, &mut call.task, device, &cmd, data)?;
        // from here on the hwpt is undone with the call
        call.publish_on_success(id);
        if cmd.flags & IOMMU_HWPT_FAULT_ID_VALID != 0 {
            state.objects.get::<FaultObject>(cmd.fault_id)?;
            let fault = ObjectId(cmd.fault_id);
            state.objects.hold(fault);
            match state.objects.peek(id) {
                Some(Object::Paging(_)) => {
                    state.objects.at_mut::<PagingHwpt>(id).fault = Some(fault);
                }
                _ => state.objects.at_mut::<NestedHwpt>(id).fault = Some(fault),
            }
        }
        call.cmd.out_hwpt_id = id.0;
        call.answer = Answer::Whole;
        Ok(())
    }
}

fn alloc_on(
    state: &mut State,
    task: &mut Task<'_>,
    device: ObjectId,
    cmd: &iommu_hwpt_alloc,
    data: UserData,
) -> Result<ObjectId, Refusal> {
    let pt = ObjectId(cmd.pt_id);
    if !task.has(Quirk::HwptPtIdEinval) {
        state.objects.get::<Ioas>(cmd.pt_id)?;
    }
    let wrong = Refusal::WrongKind { wanted: "IOAS, nesting parent or vIOMMU", id: pt };
    match state.objects.find(cmd.pt_id) {
        Ok(Object::Ioas(_)) => {
            let data = (data.len != 0).then_some(data);
            state.paging_alloc(task, pt, device, cmd.flags, data, None)
        }
        Ok(Object::Paging(_)) => state.nested_alloc(task, pt, device, cmd.flags, data),
        Ok(Object::Viommu(viommu)) => {
            if !Arc::ptr_eq(&viommu.hw, &state.objects.at::<Device>(device).hw) {
                let rule = "the device is behind another IOMMU than the vIOMMU";
                return Err(Refusal::Invalid { field: "dev_id", value: cmd.dev_id.into(), rule });
            }
            state.nested_alloc_viommu(task, pt, cmd.flags, data)
        }
        _ => Err(wrong),
    }
}

/// Where the domain of a paging hwpt is: its IOAS, and its place there.
fn domain_of(state: &State, hwpt: u32) -> Result<(ObjectId, usize, bool), Refusal> {
    let it = state.objects.get::<PagingHwpt>(hwpt)?;
    let domains = &state.objects.at::<Ioas>(it.ioas).domains;
    let place = domains.iter().position(|domain| domain.hwpt == ObjectId(hwpt));
    let missing = Refusal::NoSuchObject { kind: "paging hwpt", id: ObjectId(hwpt) };
    place.map(|place| (it.ioas, place, it.dirty_ops)).ok_or(missing)
}

pub(crate) struct SetDirtyTracking;

impl Handler for SetDirtyTracking {
    type Cmd = iommu_hwpt_set_dirty_tracking;

    fn run(call: &mut Call<'_, iommu_hwpt_set_dirty_tracking>) -> Result<(), Refusal> {
        let cmd = &call.cmd;
        unused("flags", (cmd.flags & !IOMMU_HWPT_DIRTY_TRACKING_ENABLE).into())?;
        let mut state = call.context.state.lock();
        let (ioas, domain, dirty_ops) = domain_of(&state, cmd.hwpt_id)?;
        if !dirty_ops {
            return Err(Refusal::Unsupported { field: "hwpt_id", value: cmd.hwpt_id.into() });
        }
        let enable = cmd.flags & IOMMU_HWPT_DIRTY_TRACKING_ENABLE != 0;
        let ioas = state.objects.at_mut::<Ioas>(ioas);
        if enable {
            ioas.clean(domain);
        }
        ioas.domains[domain].set_dirty_tracking(enable);
        Ok(())
    }
}

pub(crate) struct GetDirtyBitmap;

impl Handler for GetDirtyBitmap {
    type Cmd = iommu_hwpt_get_dirty_bitmap;

    fn run(call: &mut Call<'_, iommu_hwpt_get_dirty_bitmap>) -> Result<(), Refusal> {
        let cmd = &call.cmd;
        unused("flags", (cmd.flags & !IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR).into())?;
        unused("__reserved", cmd.__reserved.into())?;
        let mut state = call.context.state.lock();
        let (ioas, domain, dirty_ops) = domain_of(&state, cmd.hwpt_id)?;
        let ioas = state.objects.at_mut::<Ioas>(ioas);
        let last = check_range(&call.task, cmd, ioas.iova_alignment)?;
        if !dirty_ops {
            return Err(Refusal::Unsupported { field: "hwpt_id", value: cmd.hwpt_id.into() });
        }
        call.task.allocate()?;
        if !call.task.has(Quirk::DirtyBitmapPinsLate) {
            let byte: u8 = call.task.load(cmd.data, "data").map_err(|_| Refusal::NoMemory)?;
            call.task.store(cmd.data, &byte, "data").map_err(|_| Refusal::NoMemory)?;
        }
        let clear = cmd.flags & IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR == 0;
        let bitmap = Bitmap::of(cmd);
        for leaf in ioas.take_dirty(domain, cmd.iova, last, clear) {
            let leaf = if call.task.has(Quirk::DirtyWholeLeaf) {
                leaf
            } else {
                leaf.within(cmd.iova, last)
            };
            bitmap.mark(&call.task, leaf);
        }
        Ok(())
    }
}

/// `iommufd_check_iova_range`: returns the last byte.
fn check_range(
    task: &Task<'_>,
    cmd: &iommu_hwpt_get_dirty_bitmap,
    alignment: u64,
) -> Result<u64, Refusal> {
    let last = if cmd.length == 0 && !task.has(Quirk::DirtyBitmapNeedsLength) {
        let wrapped = cmd.iova.checked_add(u64::MAX);
        wrapped.ok_or(Refusal::Overflow { field: "iova", value: cmd.iova })?
    } else {
        last_byte("iova", cmd.iova, cmd.length)?
    };
    let end = last.wrapping_add(1);
    let refuse = |field, value, rule| Err(Refusal::Invalid { field, value, rule });
    if (cmd.iova | end) & (alignment - 1) != 0 {
        return refuse("iova", cmd.iova, "less aligned than the IOAS demands");
    }
    if cmd.page_size == 0 {
        return refuse("page_size", 0, "must not be 0");
    }
    if (cmd.iova | end) & (cmd.page_size - 1) != 0 {
        return refuse("page_size", cmd.page_size, "the range is no whole number of pages");
    }
    Ok(last)
}

pub(crate) struct Invalidate;

impl Handler for Invalidate {
    type Cmd = iommu_hwpt_invalidate;
    const ANSWERS_REFUSED: bool = true;

    fn run(call: &mut Call<'_, iommu_hwpt_invalidate>) -> Result<(), Refusal> {
        call.answer = Answer::Whole;
        let cmd = call.cmd;
        call.cmd.entry_num = 0;
        unused("__reserved", cmd.__reserved.into())?;
        if cmd.entry_num != 0 {
            let refuse = |field, value, rule| Err(Refusal::Invalid { field, value, rule });
            if cmd.data_uptr == 0 {
                return refuse("data_uptr", 0, "requests without data");
            }
            let limits = call.task.has(Quirk::InvalidateLimits);
            if cmd.entry_len == 0 || (limits && u64::from(cmd.entry_len) > PAGE_SIZE) {
                return refuse("entry_len", cmd.entry_len.into(), "must be 1..=4096");
            }
            if limits && cmd.entry_num > MAX_REQUESTS {
                return refuse("entry_num", cmd.entry_num.into(), "must be at most 524288");
            }
        }
        let requests = Requests::of(&cmd);
        let mut state = call.context.state.lock();
        let (done, result) = state.invalidate(&mut call.task, cmd.hwpt_id, requests)?;
        call.cmd.entry_num = done;
        result
    }
}
