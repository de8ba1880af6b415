//! Features: what is asked for as a whole, and used only when it was given.
//!
//! | feature | requirement | its value offers |
//! |---|---|---|
//! | [`PASSTHROUGH`] | `passthrough` | mapping memory for a device |
//! | [`LIVE_MIGRATION`] | `live-migration` | that, and which pages the device wrote |
//! | [`PAGE_FAULTS`] | `page-faults` | that, and the device's page faults |
//! | [`PASIDS`] | `pasid` | an address space for each PASID |
//! | [`NESTED`] | `nested` | a guest's page table over the host's |
//! | [`GUEST_SVA`] | `guest-sva` | guests' page tables by PASID, with page faults |
//!
//! ```
//! use client::{System, feature::GUEST_SVA};
//! use profile::{Kernel, Machine};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let system = System::software(Machine::by_name("spr")?, Kernel::by_name("6.13")?)?;
//! let device = system.device("0000:6a:01.0".parse()?);
//! match device.negotiate(&GUEST_SVA)? {
//!     Ok(_sva) => unreachable!("6.13 has no PASIDs for programs"),
//!     Err(verdict) => {
//!         let failure = verdict.first_failure.unwrap().to_string();
//!         assert_eq!(failure, "IOMMU_HWPT_ALLOC(NEST_PARENT, ALLOC_PASID) = EOPNOTSUPP");
//!     }
//! }
//! # Ok(())
//! # }
//! ```

mod faults;
mod guest_sva;
mod migration;
mod nested;
mod pasid;
mod passthrough;

use profile::Requirement;
use profile::machine::Vendor;

use crate::session::{Failed, Session};

pub use crate::guest::{FiveLevels, GuestTable, Invalidation, NotAPage};
pub use crate::table::{NotMapped, PageTable};

pub use faults::{FaultGroup, FaultingDevice, PAGE_FAULTS, PageFault, PageFaults, Response};
pub use guest_sva::{Binding, GUEST_SVA, GuestSva, NotBound, Pasid};
pub use migration::{LIVE_MIGRATION, Migratable};
pub use nested::{NESTED, Nested};
pub use pasid::{PASIDS, PasidSpace, Pasids};
pub use passthrough::{PASSTHROUGH, Passthrough};

/// Something that is asked for as a whole.
pub trait Feature {
    /// What it gives.
    type Value;

    /// What it is composed of.
    fn requirement(&self) -> &'static Requirement;

    /// Makes its calls on a bound device, in the order of the requirement.
    #[doc(hidden)]
    #[expect(private_interfaces, reason = "only this crate makes features")]
    fn set_up(&self, session: Session, iommu: Option<Vendor>) -> Result<Self::Value, Failed>;
}

/// A shipped requirement.
fn shipped(name: &str) -> &'static Requirement {
    Requirement::by_name(name).expect("profiles/requirements has every feature")
}
