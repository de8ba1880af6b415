//! What a Linux in a machine of ours starts: [`init.c`](./init.c), which writes its NVMe disk and reads it
//! back, in an initial file system.

mod cpio;
mod initrd;

pub use self::initrd::{SOURCES, compile, initrd};
use crate::failure::{Failure, Result};

/// What the program says at its end.
const OK: &str = "NVME-DATA-OK: ";

/// What it says of interrupts.
const INTERRUPTS: &str = "interrupts ";

/// What the program must have said.
pub fn judge(output: &str) -> Result {
    if !output.contains(OK) {
        return Err(Failure::from(format!("\"{OK}\" is not in its output")));
    }
    let during = output.lines().find_map(|line| {
        let (_, during) = line.split_once(INTERRUPTS)?.1.split_once(" before, ")?;
        during.split(' ').next()?.parse::<u64>().ok()
    });
    match during {
        Some(1..) => Ok(()),
        _ => Err(Failure::from("it counts no interrupts of the disk".to_string())),
    }
}

/// The lines of it, for people.
pub fn said(output: &str) -> impl Iterator<Item = &str> {
    output.lines().filter(|line| line.contains(OK) || line.starts_with(INTERRUPTS))
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
            let told = judge(output).err().map(|failure| failure.to_string());
            assert_eq!(told.as_deref(), *expected, "{output:?}");
        }
    }
}
