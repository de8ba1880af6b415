//! The calls of the API of 2020 on a container: their arguments (`vfio_iommu_type1_ioctl` of v7).

use mem::{AddressSpace, PAGE_SIZE};
use uapi::y2020::transport::*;
use uapi::y2020::v5_10::iommu_gpasid_bind_data;

use super::Type1;
use crate::function::Function;
use crate::objects::ObjectId;
use crate::task::Task;
use crate::y2020::Nesting;
use crate::{Engine, Refusal};

/// The last PASID that a request may name.
const LAST: u32 = 1 << 31;

/// Bytes of the largest data of an operation.
const MOST: usize = size_of::<iommu_gpasid_bind_data>();

impl Type1 {
    /// What the devices of a nesting container are attached to: the nesting parent, or on an SMMU, whose
    /// guests' tables come by other calls, the IOAS.
    pub(super) fn parent_for(
        &mut self,
        task: &mut Task<'_>,
        engine: &Engine,
        function: &Function,
        device: ObjectId,
    ) -> Result<ObjectId, Refusal> {
        let Some(unit) = Nesting::unit(engine, function) else { return Ok(self.ioas) };
        if self.nested.is_none() {
            let over = (self.ioas, device);
            self.nested = Some(Nesting::begin(task, engine, &self.context, over, unit)?);
        }
        Ok(self.nested.as_ref().map_or(self.ioas, Nesting::parent))
    }

    /// `VFIO_IOMMU_PASID_REQUEST`
    pub(super) fn pasid_request(&mut self, task: &Task<'_>, arg: u64) -> Result<i64, Refusal> {
        let request: vfio_iommu_type1_pasid_request = task.load(arg, "argument")?;
        super::calls::check(
            request.argsz,
            size_of_val(&request),
            request.flags,
            VFIO_PASID_REQUEST_MASK,
        )?;
        let vfio_iommu_type1_pasid_range { min, max } = request.range;
        if min > max || max > LAST {
            let rule = "not a range of numbers of 31 bits";
            return Err(Refusal::Invalid { field: "range", value: min.into(), rule });
        }
        let engine = &self.context.engine;
        let nested = self.nested.as_mut().ok_or(NOTHING_NESTED)?;
        nested.pasid_request(engine, &request)
    }

    /// `VFIO_IOMMU_NESTING_OP`
    pub(super) fn nesting_op(&mut self, task: &mut Task<'_>, arg: u64) -> Result<i64, Refusal> {
        let head: vfio_iommu_type1_nesting_op = task.load(arg, "argument")?;
        super::calls::check(head.argsz, size_of_val(&head), head.flags, VFIO_NESTING_OP_MASK)?;
        if head.flags > VFIO_IOMMU_NESTING_OP_CACHE_INVLD {
            let rule = "no such operation";
            return Err(Refusal::Invalid { field: "flags", value: head.flags.into(), rule });
        }
        let nested = self.nested.as_mut().ok_or(NOTHING_NESTED)?;
        let size = size_of_val(&head);
        let bytes = readable(&**task.memory(), arg.wrapping_add(size as u64));
        let data = (head.argsz - size as u32, bytes.as_slice());
        let mapped = self.mappings.last_key_value();
        let end = mapped.map_or(0, |(_, mapping)| mapping.last.saturating_add(1));
        let place = (&*self.context.engine, &*self.context);
        nested.operate(task, place, head.flags, data, end).map(|()| 0)
    }
}

const NOTHING_NESTED: Refusal =
    Refusal::Unsupported { field: "container without nesting, type", value: 0 };

/// As much of a program's memory as an operation may need, as far as it can be read.
fn readable(memory: &dyn AddressSpace, at: u64) -> Vec<u8> {
    let mut bytes = vec![0; MOST];
    if memory.read(at, &mut bytes).is_ok() {
        return bytes;
    }
    let in_page = (PAGE_SIZE - at % PAGE_SIZE) as usize;
    bytes.truncate(in_page.min(MOST));
    let read = memory.read(at, &mut bytes);
    if read.is_ok() { bytes } else { Vec::new() }
}
