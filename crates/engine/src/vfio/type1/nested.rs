//! The calls of the API of 2020 on a container: their arguments (`vfio_iommu_type1_ioctl` of v7, and on an SMMU of
//! Eric Auger's v13).

use mem::{AddressSpace, PAGE_SIZE};
use profile::machine::Vendor;
use uapi::y2020::Layout;
use uapi::y2020::transport::*;
use uapi::y2020::v5_10::iommu_gpasid_bind_data;

use super::Type1;
use crate::Refusal;
use crate::function::Function;
use crate::objects::ObjectId;
use crate::task::Task;
use crate::y2020::{Nested, Nesting};

/// The last PASID that a request may name.
const LAST: u32 = 1 << 31;

/// Bytes of the largest data of an operation.
const MOST: usize = size_of::<iommu_gpasid_bind_data>();

impl Type1 {
    /// What a device of a nesting container is to be attached to.
    pub(super) fn nest(
        &mut self,
        task: &mut Task<'_>,
        layout: Layout,
        function: &Function,
        device: ObjectId,
    ) -> Result<ObjectId, Refusal> {
        let nested = match &mut self.nested {
            Some(nested) => nested,
            none => {
                let over = (self.ioas, device);
                none.insert(Nested::begin(task, &self.context, layout, function, over)?)
            }
        };
        nested.add(task, function, device)
    }

    /// Whether its devices are behind SMMUs.
    pub(super) fn is_on_smmu(&self) -> bool {
        let engine = &self.context.engine;
        let mut units = self.groups.keys().flat_map(|group| engine.members(*group));
        let unit = units.find_map(|index| engine.functions[index].facts.iommu);
        unit.is_some_and(|unit| engine.machine.iommus[unit].hardware.vendor() == Vendor::ArmSmmuv3)
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
        self.nesting(VFIO_IOMMU_PASID_REQUEST)?.pasid_request(&request)
    }

    /// `VFIO_IOMMU_NESTING_OP`
    pub(super) fn nesting_op(&mut self, task: &mut Task<'_>, arg: u64) -> Result<i64, Refusal> {
        let head: vfio_iommu_type1_nesting_op = task.load(arg, "argument")?;
        super::calls::check(head.argsz, size_of_val(&head), head.flags, VFIO_NESTING_OP_MASK)?;
        if head.flags > VFIO_IOMMU_NESTING_OP_CACHE_INVLD {
            let rule = "no such operation";
            return Err(Refusal::Invalid { field: "flags", value: head.flags.into(), rule });
        }
        let (told, bytes) = follows(task, arg, head.argsz);
        let mapped = self.mappings.last_key_value();
        let end = mapped.map_or(0, |(_, mapping)| mapping.last.saturating_add(1));
        self.nesting(VFIO_IOMMU_NESTING_OP)?
            .operate(task, head.flags, (told, &bytes), end)
            .map(|()| 0)
    }

    /// The nesting on VT-d, which alone has the call `cmd`.
    fn nesting(&mut self, cmd: u32) -> Result<&mut Nesting, Refusal> {
        match &mut self.nested {
            Some(Nested::Vtd(nesting)) => Ok(nesting),
            _ => {
                let field = "on a container that nests on no VT-d, call";
                Err(Refusal::Unsupported { field, value: cmd.into() })
            }
        }
    }

    /// `VFIO_IOMMU_SET_PASID_TABLE`
    pub(super) fn set_pasid_table(&mut self, task: &mut Task<'_>, arg: u64) -> Result<(), Refusal> {
        let head: vfio_iommu_type1_set_pasid_table = task.load(arg, "argument")?;
        super::calls::check(head.argsz, size_of_val(&head), 0, 0)?;
        let (told, bytes) = follows(task, arg, head.argsz);
        match (head.flags, &mut self.nested) {
            (VFIO_PASID_TABLE_FLAG_SET, Some(Nested::Smmuv3(table))) => {
                table.set(task, (told, &bytes))
            }
            (VFIO_PASID_TABLE_FLAG_SET, _) => Err(ONE_STAGE),
            (VFIO_PASID_TABLE_FLAG_UNSET, Some(Nested::Smmuv3(table))) => table.unset(task),
            (VFIO_PASID_TABLE_FLAG_UNSET, _) => Ok(()),
            (flags, _) => {
                let rule = "to set or to unset, and not both";
                Err(Refusal::Invalid { field: "flags", value: flags.into(), rule })
            }
        }
    }

    /// `VFIO_IOMMU_CACHE_INVALIDATE`
    pub(super) fn cache_invalidate(&self, task: &mut Task<'_>, arg: u64) -> Result<(), Refusal> {
        let head: vfio_iommu_type1_cache_invalidate = task.load(arg, "argument")?;
        super::calls::check(head.argsz, size_of_val(&head), head.flags, 0)?;
        let Some(Nested::Smmuv3(table)) = &self.nested else { return Err(ONE_STAGE) };
        let (told, bytes) = follows(task, arg, head.argsz);
        table.invalidate(task, (told, &bytes))
    }
}

const ONE_STAGE: Refusal = Refusal::Unfit { rule: "the container is not one for nesting" };

/// Bytes of what all these calls begin with, before data that has a size of its own.
const HEAD: u32 = size_of::<vfio_iommu_type1_nesting_op>() as u32;

/// The data of a call: what the call says of its length, and as much as can be read.
fn follows(task: &Task<'_>, arg: u64, argsz: u32) -> (u32, Vec<u8>) {
    (argsz - HEAD, readable(&**task.memory(), arg.wrapping_add(HEAD.into())))
}

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
