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
//! | faults, and answers to page requests | [`regions`] | a fault queue, of which the device's regions are the reader |
//! | what there is | [`info`] | the unit's registers |
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
//!   a worker, whose errors nobody sees and which VT-d refuses.

mod info;
mod nesting;
pub(crate) mod pasids;
mod regions;

pub(crate) use nesting::Nesting;
pub(crate) use regions::{FaultRegions, RegionKind};
