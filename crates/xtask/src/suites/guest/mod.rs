//! What a Linux in a machine of ours starts, in an initial file system.
//!
//! | program | what it does |
//! |---|---|
//! | [`DISK`] | writes its NVMe disk through Linux's driver and reads it back |
//! | [`NESTED`] | drives the controller itself on VFIO behind an IOMMU, also where nothing is mapped |

mod cpio;
mod initrd;

pub use self::initrd::{SOURCES, compile, initrd};
use crate::failure::{Failure, Result};

/// Source of a program, C.
pub const DISK: &str = include_str!("init.c");
/// Source of a program, C.
pub const NESTED: &str = include_str!("nested.c");

/// What they say at their end.
const DISK_OK: &str = "NVME-DATA-OK: ";
const NESTED_OK: &str = "NESTED-OK: ";

/// What [`DISK`] says of interrupts.
const INTERRUPTS: &str = "interrupts ";

fn require(output: &str, text: &str) -> Result {
    match output.contains(text) {
        true => Ok(()),
        false => Err(Failure::from(format!("\"{text}\" is not in its output"))),
    }
}

/// What [`NESTED`] must have said.
pub fn judge_nested(output: &str) -> Result {
    require(output, NESTED_OK)
}

/// What [`DISK`] must have said.
pub fn judge_disk(output: &str) -> Result {
    require(output, DISK_OK)?;
    let during = output.lines().find_map(|line| {
        let (_, during) = line.split_once(INTERRUPTS)?.1.split_once(" before, ")?;
        during.split(' ').next()?.parse::<u64>().ok()
    });
    match during {
        Some(1..) => Ok(()),
        _ => Err(Failure::from("it counts no interrupts of the disk".to_string())),
    }
}

/// Lines of a program, for people.
pub fn said(output: &str) -> impl Iterator<Item = &str> {
    let starts = [DISK_OK, NESTED_OK, INTERRUPTS, "identified: ", "after unmap: "];
    output.lines().filter(move |line| starts.iter().any(|start| line.starts_with(start)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_judged() {
        #[rustfmt::skip] // one output, one line
        let cases: &[(&str, Option<&str>)] = &[
            ("interrupts 3 before, 128 during\nNVME-DATA-OK: 64 MiB written and verified\n", None),
            ("interrupts 3 before, 0 during\nNVME-DATA-OK: 64 MiB\n",   Some("it counts no interrupts of the disk")),
            ("NVME-DATA-OK: 64 MiB\n",                                  Some("it counts no interrupts of the disk")),
            ("interrupts 3 before, 128 during\nNVME-DATA-BAD: read\n",  Some("\"NVME-DATA-OK: \" is not in its output")),
            ("",                                                        Some("\"NVME-DATA-OK: \" is not in its output")),
        ];
        for (output, expected) in cases {
            let told = judge_disk(output).err().map(|failure| failure.to_string());
            assert_eq!(told.as_deref(), *expected, "{output:?}");
        }
    }
}
