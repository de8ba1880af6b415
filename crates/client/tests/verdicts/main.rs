//! Verdicts are held against programs: for every machine, every machine with one thing changed, every
//! kernel and every requirement.

mod features;
mod machines;
mod programs;
mod provisions;
