//! What is made of instructions: their accesses, registers and flags.

mod flags;
mod fuzz;
mod loads;
mod machine;
mod portals;
mod stores;
mod strings;
