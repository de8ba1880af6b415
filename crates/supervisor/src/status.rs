//! `/proc/PID/status` with what softiommu has pinned.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::Ordering;

use mem::{Accounts, PAGE_SIZE};
use rustix::fs::{MemfdFlags, SeekFrom};

/// A copy of the file, with the pages that the process is charged for added to two of its lines.
pub(crate) fn open(pid: u32, accounts: &Accounts) -> io::Result<OwnedFd> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let text = charge(&text, accounts);
    let copy = rustix::fs::memfd_create(c"softiommu:status", MemfdFlags::CLOEXEC)?;
    rustix::io::write(&copy, text.as_bytes())?;
    rustix::fs::seek(&copy, SeekFrom::Start(0))?;
    Ok(copy)
}

fn charge(text: &str, accounts: &Accounts) -> String {
    let pages = |name: &str| match name {
        "VmLck" => accounts.locked_vm.load(Ordering::Relaxed),
        "VmPin" => accounts.pinned_vm.load(Ordering::Relaxed),
        _ => 0,
    };
    let line = |line: &str| {
        let charged = line.split_once(':').and_then(|(name, value)| {
            let own: u64 = value.trim().strip_suffix(" kB")?.trim().parse().ok()?;
            let added = pages(name) * PAGE_SIZE / 1024;
            (added > 0).then(|| format!("{name}:\t{:8} kB\n", own + added))
        });
        charged.unwrap_or_else(|| format!("{line}\n"))
    };
    text.lines().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_lines_change() {
        let accounts = Accounts::default();
        accounts.pinned_vm.store(2, Ordering::Relaxed);
        let text = "Name:\tx\nVmLck:\t       0 kB\nVmPin:\t       4 kB\nVmRSS:\t       1 kB\n";
        let charged = "Name:\tx\nVmLck:\t       0 kB\nVmPin:\t      12 kB\nVmRSS:\t       1 kB\n";
        assert_eq!(charge(text, &accounts), charged);
    }
}
