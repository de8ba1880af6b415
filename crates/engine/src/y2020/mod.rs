//! The calls of the API of 2020, carried out by today's engine.
//!
//! They were posted for the type1 container and for VFIO devices, and never merged ([`uapi::y2020`]). A kernel
//! that has them is one of [`profile::Kernel::posted`]. What each becomes:
//!
//! | call of 2020 | module | carried out by |
//! |---|---|---|
//! | take and give back PASIDs of the host | [`pasids`] | nothing of today's: a program has all PASIDs of its device |
//! | bind a guest's page table to a PASID, unbind it | [`nesting`] | a nested hwpt over a nesting parent, attached to the PASID |
//! | invalidate caches | [`nesting`] | invalidation of those hwpts; the caches themselves where today's API cannot say it |
//! | bind a guest's PASID table, unbind it | [`tables`] | a vIOMMU, a vDEVICE, and a nested hwpt with a stream table entry, in place of the one before |
//! | invalidate caches | [`tables`] | a guest's commands, given to the vIOMMU |
//! | faults, and answers to page requests | [`regions`] | a fault queue and a vIOMMU's events, of which the device's regions are the reader |
//! | what there is | [`info`] | the unit's registers |
//!
//! A PASID table is an SMMUv3's, and what is in it is the guest's: its PASIDs are no longer the host's. A page
//! table for a PASID of the host is VT-d's. The two posts took the same numbers, so a container tells by its
//! IOMMU which call it is ([`Nested`]); 18 and 19 are
//!
//! | on VT-d | on an SMMUv3 |
//! |---|---|
//! | `VFIO_IOMMU_PASID_REQUEST` | `VFIO_IOMMU_SET_PASID_TABLE` |
//! | `VFIO_IOMMU_NESTING_OP` | `VFIO_IOMMU_CACHE_INVALIDATE` |
//!
//! Checks and their order are those of `[PATCH v7 00/16] vfio: expose virtual Shared Virtual Addressing to
//! VMs`, Liu Yi L, 10 September 2020, over `drivers/iommu/iommu.c` and `drivers/iommu/intel/svm.c` of 5.10, and
//! of `[PATCH v13 00/13] SMMUv3 Nested Stage Setup (VFIO part)`, Eric Auger, 11 April 2021. Different on purpose:
//!
//! - unbind and invalidate tell what was wrong with their data; v7 drops it and answers 0;
//! - a bind that is refused leaves a table alone that was bound before; v7 unbinds it;
//! - VT-d invalidates with every granularity that the header allows; 5.10 answers 0 and does nothing where its
//!   queue has no such descriptor;
//! - `VFIO_IOMMU_GET_INFO` tells nothing of nesting where there is nothing to tell; v7 fails as a whole;
//! - the requests of a group are told together, with the last; v13 tells each as it comes, and so tells of some
//!   that nobody asks an answer for;
//! - FAILURE reaches a device as such; VT-d of 5.10 sends the number of the header, which means nothing to it;
//! - a device that is closed takes its requests with it; 5.10 keeps them, and cannot open the device again;
//! - a response is taken by VT-d, too, and a wrong one is refused by the write that gave it; v13 takes them in
//!   a worker, whose errors nobody sees and which VT-d refuses;
//! - a PASID table has as many PASIDs as the device and the SMMU have, as in v10 to v13 of the IOMMU part; the last,
//!   v15, has one context descriptor and refuses all else. So there is v13's invalidation of a descriptor, too, and
//!   that of all, which v13 refuses;
//! - a fault whose `fetch_addr` is valid has it; v15 leaves it 0. What was asked for is told where the SMMU tells it;
//! - an SMMU through which a guest could bypass caches (without CANWBS) is none that nests, as today.

mod info;
mod nesting;
pub(crate) mod pasids;
mod regions;
mod tables;

use std::sync::Arc;

use profile::machine::Hardware as Unit;
use uapi::y2020::Layout;
use uapi::y2020::transport::vfio_iommu_type1_info_cap_nesting;

pub(crate) use nesting::Nesting;
pub(crate) use regions::{FaultRegions, RegionKind};
pub(crate) use tables::PasidTable;

use crate::Refusal;
use crate::context::Context;
use crate::function::Function;
use crate::objects::ObjectId;
use crate::task::Task;

/// What a nesting container has for a guest's tables, as long as a group is in it.
#[derive(Debug)]
pub(crate) enum Nested {
    Vtd(Nesting),
    Smmuv3(PasidTable),
}

impl Nested {
    /// Makes what devices are to be attached to, over an IOAS, for the IOMMU of one of them.
    pub fn begin(
        task: &mut Task<'_>,
        context: &Arc<Context>,
        layout: Layout,
        function: &Function,
        over: (ObjectId, ObjectId),
    ) -> Result<Self, Refusal> {
        let iommus = &context.engine.machine.iommus;
        match function.facts.iommu.map(|index| &iommus[index].hardware) {
            Some(Unit::IntelVtd(unit)) => {
                Nesting::begin(task, context, layout, over, unit).map(Self::Vtd)
            }
            _ => PasidTable::begin(task, context, layout, over).map(Self::Smmuv3),
        }
    }

    /// A device of the group; what it is to be attached to.
    pub fn add(
        &mut self,
        task: &mut Task<'_>,
        function: &Function,
        device: ObjectId,
    ) -> Result<ObjectId, Refusal> {
        match self {
            Self::Vtd(it) => it.add(function, device).map(|()| it.parent()),
            Self::Smmuv3(it) => it.add(task, function, device).map(|()| it.attached()),
        }
    }

    /// The group leaves: nothing is bound any more. Devices that are attached still are for the caller to
    /// detach, after that.
    pub fn unbind_all(&mut self) {
        match self {
            Self::Vtd(it) => it.unbind_all(),
            Self::Smmuv3(it) => it.unbind_all(),
        }
    }

    /// Ends what devices were attached to, and are no more.
    pub fn end(self) {
        match self {
            Self::Vtd(it) => it.end(),
            Self::Smmuv3(it) => it.end(),
        }
    }

    /// The capability in the answer of `VFIO_IOMMU_GET_INFO`; none of an SMMU.
    pub fn capability(&self) -> Option<vfio_iommu_type1_info_cap_nesting> {
        match self {
            Self::Vtd(it) => Some(it.capability()),
            Self::Smmuv3(_) => None,
        }
    }
}
