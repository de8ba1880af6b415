//! The calls of the API of 2020, as a program makes them: by bytes, on a machine that can do all of it.
//!
//! What a row expects was read in the posted patches and in 5.10's drivers that they are for (`engine::y2020`
//! names them, and says where the engine differs on purpose), never in the engine.
//!
//! | module | holds |
//! |---|---|
//! | [`bench`] | a program with a nesting container, and a guest whose memory is mapped |
//! | [`container`] | versions, types, what a container tells, and what came later |
//! | [`pasids`] | `VFIO_IOMMU_PASID_REQUEST` |
//! | [`sizes`] | `VFIO_IOMMU_NESTING_OP`: its header, and how long its data are |
//! | [`bind`] | binding and unbinding a table |
//! | [`invalidate`] | what each invalidation lets be forgotten |
//! | [`regions`] | regions and interrupt of faults: what is told, read, written, mapped |
//! | [`faults`] | faults that come, and answers that go |
//! | [`life`] | what is left when parts go away in any order |

mod bench;
mod bind;
mod container;
mod faults;
mod invalidate;
mod life;
mod pasids;
mod regions;
mod sizes;
