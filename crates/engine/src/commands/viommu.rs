//! `IOMMU_VIOMMU_ALLOC`, `IOMMU_VDEVICE_ALLOC`, `IOMMU_HW_QUEUE_ALLOC`
//! (`drivers/iommu/iommufd/viommu.c`).

use std::sync::Arc;

use mem::PAGE_SIZE;
use uapi::iommufd::{
    IOMMU_HW_QUEUE_TYPE_DEFAULT, IOMMU_VIOMMU_TYPE_DEFAULT, iommu_hw_queue_alloc,
    iommu_vdevice_alloc, iommu_viommu_alloc,
};

use super::general::unused;
use crate::Refusal;
use crate::access::Access;
use crate::call::{Answer, Call, Handler, device_id};
use crate::hwpt::PagingHwpt;
use crate::ioas::Ioas;
use crate::ioas::map::last_byte;
use crate::objects::ObjectId;
use crate::state::State;
use crate::task::{Source, Task, UserData};
use crate::viommu::{HwQueue, Viommu};

pub(crate) struct ViommuAlloc;

impl Handler for ViommuAlloc {
    type Cmd = iommu_viommu_alloc;

    fn run(call: &mut Call<'_, iommu_viommu_alloc>) -> Result<(), Refusal> {
        let cmd = call.cmd;
        unused("flags", cmd.flags.into())?;
        if cmd.r#type == IOMMU_VIOMMU_TYPE_DEFAULT {
            return Err(Refusal::Unsupported { field: "type", value: cmd.r#type.into() });
        }
        let mut state = call.context.state.lock();
        let device = device_id(&state, cmd.dev_id)?;
        let source = Source::Caller(cmd.data_uptr);
        let data = UserData { kind: cmd.r#type, source, len: cmd.data_len };
        let id = state.viommu_alloc(&mut call.task, device, cmd.hwpt_id, data)?;
        call.publish_on_success(id);
        call.cmd.out_viommu_id = id.0;
        call.answer = Answer::Whole;
        Ok(())
    }
}

pub(crate) struct VdeviceAlloc;

impl Handler for VdeviceAlloc {
    type Cmd = iommu_vdevice_alloc;

    fn run(call: &mut Call<'_, iommu_vdevice_alloc>) -> Result<(), Refusal> {
        let cmd = call.cmd;
        let mut state = call.context.state.lock();
        state.objects.get::<Viommu>(cmd.viommu_id)?;
        let viommu = ObjectId(cmd.viommu_id);
        let device = device_id(&state, cmd.dev_id)?;
        let id = state.vdevice_alloc(&mut call.task, viommu, device, cmd.virt_id)?;
        call.publish_on_success(id);
        call.cmd.out_vdevice_id = id.0;
        call.answer = Answer::Whole;
        Ok(())
    }
}

pub(crate) struct HwQueueAlloc;

impl Handler for HwQueueAlloc {
    type Cmd = iommu_hw_queue_alloc;

    fn run(call: &mut Call<'_, iommu_hw_queue_alloc>) -> Result<(), Refusal> {
        let cmd = call.cmd;
        unused("flags", cmd.flags.into())?;
        let unsupported = Refusal::Unsupported { field: "type", value: cmd.r#type.into() };
        if cmd.r#type == IOMMU_HW_QUEUE_TYPE_DEFAULT {
            return Err(unsupported);
        }
        last_byte("nesting_parent_iova", cmd.nesting_parent_iova, cmd.length)?;
        let mut state = call.context.state.lock();
        let hw = Arc::clone(&state.objects.get::<Viommu>(cmd.viommu_id)?.hw);
        if !hw.has_queue(cmd.r#type) {
            return Err(unsupported);
        }
        call.task.allocate()?;
        let id = state.objects.reserve();
        let made = make_queue(&mut state, &mut call.task, &cmd);
        match made {
            Ok(queue) => state.objects.fill(id, queue),
            Err(refusal) => {
                state.objects.take(id);
                return Err(refusal);
            }
        }
        let viommu = ObjectId(cmd.viommu_id);
        state.objects.hold(viommu);
        state.objects.at_mut::<Viommu>(viommu).queues.insert(cmd.index, id);
        call.publish_on_success(id);
        call.cmd.out_hw_queue_id = id.0;
        call.answer = Answer::Whole;
        Ok(())
    }
}

/// Pins the queue's memory and finds its place among the queues of the vIOMMU.
fn make_queue(
    state: &mut State,
    task: &mut Task<'_>,
    cmd: &iommu_hw_queue_alloc,
) -> Result<HwQueue, Refusal> {
    let viommu = ObjectId(cmd.viommu_id);
    let access = pin_queue(state, task, viommu, cmd)?;
    match place(state, viommu, cmd.index) {
        Ok(previous) => {
            if let Some(previous) = previous {
                state.objects.hold(previous);
            }
            Ok(HwQueue { viommu, index: cmd.index, previous, access })
        }
        Err(refusal) => {
            state.destroy(access);
            Err(refusal)
        }
    }
}

/// `iommufd_hw_queue_alloc_phys`: an access that holds the memory, which must be contiguous.
fn pin_queue(
    state: &mut State,
    task: &mut Task<'_>,
    viommu: ObjectId,
    cmd: &iommu_hw_queue_alloc,
) -> Result<ObjectId, Refusal> {
    let start = cmd.nesting_parent_iova - cmd.nesting_parent_iova % PAGE_SIZE;
    let offset = cmd.nesting_parent_iova - start;
    let out_of_range = Refusal::OutOfRange { field: "length", value: cmd.length };
    let length = offset.checked_add(cmd.length).and_then(|sum| sum.checked_add(PAGE_SIZE - 1));
    let length = length.ok_or(out_of_range)? / PAGE_SIZE * PAGE_SIZE;
    task.allocate()?;
    // kvzalloc of the page array: Linux has no memory for a list of that many pages either
    if length / PAGE_SIZE > u64::from(u32::MAX) {
        return Err(Refusal::NoMemory);
    }
    let parent = state.objects.at::<Viommu>(viommu).parent;
    let ioas = state.objects.at::<PagingHwpt>(parent).ioas;
    task.allocate()?;
    let access = state.objects.add(Access::new(PAGE_SIZE, true));
    let pinned = state.access_change_ioas(task, access, Some(ioas)).and_then(|()| {
        state.objects.at_mut::<Ioas>(ioas).access_pin(task, start, length, false, true)
    });
    let range = match pinned {
        Ok(range) => range,
        Err(refusal) => {
            state.destroy(access);
            return Err(refusal);
        }
    };
    let pages = state.objects.at::<Ioas>(ioas).access_pages(&range);
    let contiguous = pages.iter().skip(1).all(|(_, follows)| *follows);
    state.objects.at_mut::<Access>(access).items.insert(0, range);
    state.objects.hold(access);
    state.objects.publish(access);
    if !contiguous {
        state.destroy(access);
        return Err(Refusal::BadAddress { what: "the queue's memory, not contiguous," });
    }
    Ok(access)
}

/// Queues come in rising order (`mock_hw_queue_init_phys`); returns the one before.
fn place(state: &State, viommu: ObjectId, index: u32) -> Result<Option<ObjectId>, Refusal> {
    let it = state.objects.at::<Viommu>(viommu);
    if index >= it.hw.queue_count() {
        let rule = "the vIOMMU has no such queue";
        return Err(Refusal::Invalid { field: "index", value: index.into(), rule });
    }
    if it.queues.contains_key(&index) {
        return Err(Refusal::Exists { what: "queue", value: index.into() });
    }
    match index.checked_sub(1) {
        None => Ok(None),
        Some(before) => match it.queues.get(&before) {
            Some(id) => Ok(Some(*id)),
            None => Err(Refusal::Hardware { why: "queues must be made in rising order" }),
        },
    }
}
