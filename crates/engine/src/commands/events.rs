//! `IOMMU_FAULT_QUEUE_ALLOC`, `IOMMU_VEVENTQ_ALLOC` (`drivers/iommu/iommufd/eventq.c`).

use std::sync::Arc;

use profile::Quirk;
use uapi::iommufd::{IOMMU_VEVENTQ_TYPE_DEFAULT, iommu_fault_alloc, iommu_veventq_alloc};

use super::general::unused;
use crate::call::{Answer, Call, Handler};
use crate::events::{FaultObject, FaultQueue, VeventQueue, VeventqObject};
use crate::file::{FaultFile, Kind, VeventFile};
use crate::objects::ObjectId;
use crate::viommu::Viommu;
use crate::{File, Refusal};

/// More events than any hardware holds (`VEVENTQ_MAX_DEPTH`).
const MAX_DEPTH: u32 = 1 << 19;

pub(crate) struct FaultQueueAlloc;

impl Handler for FaultQueueAlloc {
    type Cmd = iommu_fault_alloc;

    fn run(call: &mut Call<'_, iommu_fault_alloc>) -> Result<(), Refusal> {
        unused("flags", call.cmd.flags.into())?;
        call.task.allocate()?;
        let queue = Arc::new(FaultQueue::new(call.task.kernel));
        let context = Arc::clone(call.context);
        let object = {
            let mut state = context.state.lock();
            let id = state.objects.add(FaultObject { queue: Arc::clone(&queue) });
            state.objects.hold(id);
            state.objects.handle(id)
        };
        call.publish_on_success(object.id);
        let file = File::new(Kind::Fault(FaultFile { context, object, queue }));
        call.task.allocate()?;
        call.install(file, |cmd, fd| {
            cmd.out_fault_fd = fd.cast_unsigned();
            None
        });
        call.cmd.out_fault_id = object.id.0;
        call.answer = Answer::Whole;
        Ok(())
    }
}

pub(crate) struct VeventqAlloc;

impl Handler for VeventqAlloc {
    type Cmd = iommu_veventq_alloc;

    fn run(call: &mut Call<'_, iommu_veventq_alloc>) -> Result<(), Refusal> {
        let cmd = call.cmd;
        unused("flags", cmd.flags.into())?;
        unused("__reserved", cmd.__reserved.into())?;
        if cmd.r#type == IOMMU_VEVENTQ_TYPE_DEFAULT {
            return Err(Refusal::Unsupported { field: "type", value: 0 });
        }
        let limited = call.task.has(Quirk::VeventqDepthLimit);
        if cmd.veventq_depth == 0 || (limited && cmd.veventq_depth > MAX_DEPTH) {
            let (value, rule) = (cmd.veventq_depth.into(), "must be 1..=524288");
            return Err(Refusal::Invalid { field: "veventq_depth", value, rule });
        }
        let context = Arc::clone(call.context);
        let queue = Arc::new(VeventQueue::new(cmd.veventq_depth, call.task.kernel));
        let object = {
            let mut state = context.state.lock();
            let known = &state.objects.get::<Viommu>(cmd.viommu_id)?.veventqs;
            let same = |id: &&ObjectId| state.objects.at::<VeventqObject>(**id).kind == cmd.r#type;
            if known.iter().any(|id| same(&id)) {
                return Err(Refusal::Exists { what: "queue of type", value: cmd.r#type.into() });
            }
            call.task.allocate()?;
            let viommu = ObjectId(cmd.viommu_id);
            let made = VeventqObject { viommu, kind: cmd.r#type, queue: Arc::clone(&queue) };
            let id = state.objects.add(made);
            state.objects.hold(viommu);
            let it = state.objects.at_mut::<Viommu>(viommu);
            it.veventqs.push(id);
            it.events.add(&queue);
            state.objects.hold(id);
            state.objects.handle(id)
        };
        call.publish_on_success(object.id);
        let file = File::new(Kind::Vevent(VeventFile { context, object, queue }));
        call.install(file, |cmd, fd| {
            cmd.out_veventq_fd = fd.cast_unsigned();
            None
        });
        call.cmd.out_veventq_id = object.id.0;
        call.answer = Answer::Whole;
        Ok(())
    }
}
