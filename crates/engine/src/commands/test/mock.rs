//! Mock devices: making them, attaching them, making them fault and report.

use std::sync::Arc;

use profile::Quirk;
use uapi::iommufd::{
    IOMMU_PGFAULT_FLAGS_LAST_PAGE, IOMMU_PGFAULT_FLAGS_PASID_VALID, iommu_hwpt_pgfault,
};
use uapi::selftest::*;
use zerocopy::IntoBytes;

use super::TestCall;
use crate::call::{Answer, Undo, device_id};
use crate::device::{Attachment, Device, NO_PASID};
use crate::dma::{Reply, Requester};
use crate::events::{FaultGroup, FaultObject, VeventqObject};
use crate::file::Kind;
use crate::hw::DeviceState;
use crate::hw::selftest::{MockDevice, MockHolder};
use crate::ioas::Ioas;
use crate::ioas::map::last_byte;
use crate::ioas::space::Owner;
use crate::objects::ObjectId;
use crate::pages::Dmabuf;
use crate::state::{PtMode, State};
use crate::viommu::Viommu;
use crate::{File, Refusal};

/// The longest dma-buf, in bytes.
const DMABUF_MAX: u64 = 512 * mem::PAGE_SIZE;

pub(super) fn add_reserved(call: &mut TestCall<'_>) -> Result<(), Refusal> {
    let args: iommu_test_add_reserved = call.cmd.args_as();
    let last = if call.task.has(Quirk::MockReservedChecked) {
        last_byte("start", args.start, args.length)?
    } else {
        args.start.wrapping_add(args.length).wrapping_sub(1)
    };
    let mut state = call.context.state.lock();
    let ioas = state.objects.get_mut::<Ioas>(call.cmd.id)?;
    ioas.reserve(&mut call.task, args.start, last, Owner::Test)
}

/// Makes a device and attaches it to the IOAS or hwpt `id` (`iommufd_test_mock_domain`).
pub(super) fn mock_domain(call: &mut TestCall<'_>, flags: u32) -> Result<(), Refusal> {
    call.task.allocate()?;
    let context = call.context;
    let mut state = context.state.lock();
    let holder = state.objects.reserve();
    let made = bind(&mut state, call, flags);
    let (device, hwpt) = made.inspect_err(|_| _ = state.objects.take(holder))?;
    state.objects.fill(holder, MockHolder { device });
    call.publish_on_success(holder);
    let mut args: iommu_test_mock_domain = call.cmd.args_as();
    args.out_hwpt_id = hwpt.0;
    args.out_stdev_id = holder.0;
    if call.task.has(Quirk::MockTellsDevice) {
        args.out_idev_id = device.0;
    }
    call.cmd.set_args(&args);
    call.answer = Answer::Whole;
    Ok(())
}

/// `iommufd_device_bind` and the first attach.
fn bind(
    state: &mut State,
    call: &mut TestCall<'_>,
    flags: u32,
) -> Result<(ObjectId, ObjectId), Refusal> {
    let mock = MockDevice::new(flags, call.task.kernel)?;
    call.task.allocate()?;
    let device = state.objects.add(Device {
        requester: Requester::new(
            Arc::clone(&call.context.engine.mock),
            call.task.physical,
            call.context.engine.machine.caches,
        ),
        hw: Arc::clone(&call.context.engine.mock),
        hw_state: DeviceState::Selftest(mock),
        group: None,
        vdevice: None,
        attached: Default::default(),
    });
    state.objects.hold(device);
    state.objects.publish(device);
    let attached = state.change_pt(&mut call.task, device, NO_PASID, call.cmd.id, PtMode::Attach);
    match attached {
        Ok(hwpt) => Ok((device, hwpt)),
        Err(refusal) => {
            state.unbind(device);
            Err(refusal)
        }
    }
}

/// The device of a mock device's holder.
pub(super) fn device_of(state: &State, holder: u32) -> Result<ObjectId, Refusal> {
    Ok(state.objects.get::<MockHolder>(holder)?.device)
}

pub(super) fn replace(call: &mut TestCall<'_>) -> Result<(), Refusal> {
    let mut args: iommu_test_mock_domain_replace = call.cmd.args_as();
    let mut state = call.context.state.lock();
    let device = device_of(&state, call.cmd.id)?;
    let mode = PtMode::Replace;
    args.pt_id = state.change_pt(&mut call.task, device, NO_PASID, args.pt_id, mode)?.0;
    call.cmd.set_args(&args);
    call.answer = Answer::Whole;
    Ok(())
}

pub(super) fn pasid_attach(call: &mut TestCall<'_>) -> Result<(), Refusal> {
    let device = pasid_change(call, PtMode::Attach)?;
    let pasid = call.cmd.args_as::<iommu_test_pasid_attach>().pasid;
    call.undo_on_failure(Undo::Pasid { device, pasid });
    Ok(())
}

pub(super) fn pasid_replace(call: &mut TestCall<'_>) -> Result<(), Refusal> {
    pasid_change(call, PtMode::Replace).map(drop)
}

fn pasid_change(call: &mut TestCall<'_>, mode: PtMode) -> Result<ObjectId, Refusal> {
    let mut args: iommu_test_pasid_attach = call.cmd.args_as();
    let mut state = call.context.state.lock();
    let device = device_of(&state, call.cmd.id)?;
    args.pt_id = state.change_pt(&mut call.task, device, args.pasid, args.pt_id, mode)?.0;
    call.cmd.set_args(&args);
    call.answer = Answer::Whole;
    Ok(device)
}

pub(super) fn pasid_detach(call: &mut TestCall<'_>) -> Result<(), Refusal> {
    let pasid = call.cmd.args_as::<iommu_test_pasid_detach>().pasid;
    let mut state = call.context.state.lock();
    let device = device_of(&state, call.cmd.id)?;
    state.device_detach(device, pasid);
    Ok(())
}

/// The device asks for a page. Where nobody handles it, the hardware answers by itself.
pub(super) fn trigger_iopf(call: &mut TestCall<'_>) -> Result<(), Refusal> {
    let args: iommu_test_trigger_iopf = call.cmd.args_as();
    let state = call.context.state.lock();
    let device = device_id(&state, args.dev_id)?;
    let Some((attachment, fault)) = find_fault_handler(&state, device, args.pasid) else {
        return Ok(());
    };
    let has_pasid = args.pasid != NO_PASID;
    let pasid_flag = if has_pasid { IOMMU_PGFAULT_FLAGS_PASID_VALID } else { 0 };
    let message = iommu_hwpt_pgfault {
        flags: IOMMU_PGFAULT_FLAGS_LAST_PAGE | pasid_flag,
        dev_id: device.0,
        pasid: args.pasid,
        grpid: args.grpid,
        perm: args.perm,
        addr: args.addr,
        ..Default::default()
    };
    let group = FaultGroup {
        attachment: attachment.number,
        faults: vec![message],
        reply: Reply::default(),
    };
    state.objects.at::<FaultObject>(fault).queue.push(group);
    Ok(())
}

/// `find_fault_handler`, `drivers/iommu/io-pgfault.c`: a PASID that is not attached belongs to the
/// guest's own PASID table, if a nested hwpt is attached to the device itself.
fn find_fault_handler(
    state: &State,
    device: ObjectId,
    pasid: u32,
) -> Option<(Attachment, ObjectId)> {
    let attached = &state.objects.at::<Device>(device).attached;
    let own = attached.get(&pasid).copied();
    let attachment = own.or_else(|| {
        let rid = attached.get(&NO_PASID).copied()?;
        state.hwpt(rid.hwpt)?.nested.then_some(rid)
    })?;
    Some((attachment, state.hwpt(attachment.hwpt)?.fault?))
}

pub(super) fn trigger_vevent(call: &mut TestCall<'_>) -> Result<(), Refusal> {
    let args: iommu_test_trigger_vevent = call.cmd.args_as();
    let state = call.context.state.lock();
    let device = device_id(&state, args.dev_id)?;
    let nobody = Refusal::NotFound { what: "vIOMMU of device", value: args.dev_id.into() };
    let DeviceState::Selftest(mock) = &state.objects.at::<Device>(device).hw_state else {
        return Err(nobody);
    };
    let viommu = mock.viommu.filter(|_| mock.virt_id != 0).ok_or(nobody)?;
    let queues = &state.objects.at::<Viommu>(viommu).veventqs;
    let queues = queues.iter().map(|id| state.objects.at::<VeventqObject>(*id));
    let queue = queues.into_iter().find(|queue| queue.kind == IOMMU_VEVENTQ_TYPE_SELFTEST);
    let kind = IOMMU_VEVENTQ_TYPE_SELFTEST.into();
    let queue = queue.ok_or(Refusal::Unsupported { field: "vEVENTQ type", value: kind })?;
    let event = iommu_viommu_event_selftest { virt_id: mock.virt_id as u32 };
    queue.queue.push(event.as_bytes());
    Ok(())
}

/// Linux 7.3.4 makes the dma-buf and returns 0 instead of its descriptor, so that its own tests fail;
/// here they get the descriptor.
pub(super) fn dmabuf_get(call: &mut TestCall<'_>) -> Result<(), Refusal> {
    let args: iommu_test_dmabuf_get = call.cmd.args_as();
    let length = u64::from(args.length).next_multiple_of(mem::PAGE_SIZE);
    if length == 0 || length > DMABUF_MAX {
        let rule = "must be 1..=2097152";
        return Err(Refusal::Invalid { field: "length", value: args.length.into(), rule });
    }
    call.task.allocate()?;
    let file = File::new(Kind::Dmabuf(Arc::new(Dmabuf::new(length))));
    call.install(file, |_, fd| Some(fd.into()));
    Ok(())
}

pub(super) fn dmabuf_revoke(call: &mut TestCall<'_>) -> Result<(), Refusal> {
    let args: iommu_test_dmabuf_revoke = call.cmd.args_as();
    let file = call.task.caller.file(args.dmabuf_fd);
    let file = file.ok_or(Refusal::NotOpen { fd: args.dmabuf_fd })?;
    let Kind::Dmabuf(buffer) = &*file.0 else {
        let rule = "no dma-buf";
        let value = u64::from(args.dmabuf_fd.cast_unsigned());
        return Err(Refusal::Invalid { field: "dmabuf_fd", value, rule });
    };
    buffer.set_revoked(args.revoked != 0);
    Ok(())
}
