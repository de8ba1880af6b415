//! The formats. What each is by its manual, and in `reference` of whom it is held against.

pub mod amd_v1;
pub mod riscv;
pub mod vmsa;
pub mod vtd_second_stage;
pub mod x86_64;

pub use amd_v1::AmdV1;
pub use riscv::Riscv;
pub use vmsa::{Granule, VmsaStage1, VmsaStage2};
pub use vtd_second_stage::VtdSecondStage;
pub use x86_64::X86_64;
