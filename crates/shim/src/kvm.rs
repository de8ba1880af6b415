//! KVM's calls that meet files and memory of ours.
//!
//! A guest whose store finds memory that its host may not write gets nowhere: KVM says `EFAULT`, or nothing.
//! A BAR that is mapped is such memory ([`crate::trap`]). So a slot of guest memory with one is made read only
//! for KVM, too: then the store comes to the program as an access to a device (`KVM_EXIT_MMIO`), and the
//! program makes it, as it does where a BAR is not mapped. Loads stay the guest's own.

use core::ffi::c_int;

use wire::message::Operation;
use zerocopy::{FromBytes, IntoBytes};

use crate::file::on_ours;
use crate::sys::{Raw, failure, read_memory};
use crate::trap;

/// Sets a slot of guest memory; the argument is a [`Slot`], of which the first form has the head only.
const KVM_SET_USER_MEMORY_REGION: u32 = 0x4020_ae46;
const KVM_SET_USER_MEMORY_REGION2: u32 = 0x40a0_ae49;
/// Sets an attribute of a device of KVM; the argument is a [`KvmDeviceAttr`].
const KVM_SET_DEVICE_ATTR: u32 = 0x4018_aee1;

const KVM_MEM_READONLY: u32 = 1 << 1;

/// `struct kvm_userspace_memory_region2`
#[repr(C)]
#[derive(FromBytes, IntoBytes)]
pub(crate) struct Slot {
    slot: u32,
    flags: u32,
    guest_phys_addr: u64,
    memory_size: u64,
    userspace_addr: u64,
    rest: [u64; 16],
}

/// Bytes of its head.
const HEAD: usize = 32;

impl Slot {
    pub(crate) const fn new() -> Self {
        let (slot, flags, rest) = (0, 0, [0; 16]);
        Self { slot, flags, guest_phys_addr: 0, memory_size: 0, userspace_addr: 0, rest }
    }

    /// The argument for a slot that has a device's memory, in the place of the program's; none for others.
    pub(crate) fn instead(&mut self, cmd: u32, arg: usize) -> Option<usize> {
        let size = match cmd {
            KVM_SET_USER_MEMORY_REGION => HEAD,
            KVM_SET_USER_MEMORY_REGION2 => size_of::<Self>(),
            _ => return None,
        };
        let bytes = self.as_mut_bytes().get_mut(..size)?;
        if read_memory(arg as u64, bytes) != size {
            return None;
        }
        let end = self.userspace_addr.saturating_add(self.memory_size);
        if self.memory_size == 0 || !trap::has(self.userspace_addr, end) {
            return None;
        }
        self.flags |= KVM_MEM_READONLY;
        Some(core::ptr::from_mut(self).expose_provenance())
    }
}

/// What the program gets for what the kernel has said.
pub(crate) fn answer(cmd: u32, arg: usize, result: Raw) -> Raw {
    match cmd {
        KVM_SET_DEVICE_ATTR => file(arg, result).unwrap_or(result),
        _ => result,
    }
}

/// `struct kvm_device_attr`
#[repr(C)]
#[derive(FromBytes, IntoBytes)]
struct KvmDeviceAttr {
    flags: u32,
    group: u32,
    attr: u64,
    addr: u64,
}

/// The kernel's VFIO device of KVM was given a file, and says that it is none of VFIO's, or was asked to
/// forget one that it does not have: it may be one of ours (`virt/kvm/vfio.c`, `kvm_vfio_set_file`).
fn file(arg: usize, result: Raw) -> Option<Raw> {
    const KVM_DEV_VFIO_FILE: u32 = 1;
    const KVM_DEV_VFIO_FILE_ADD: u64 = 1;
    const KVM_DEV_VFIO_FILE_DEL: u64 = 2;
    if result != failure(libc::EINVAL) && result != failure(libc::ENOENT) {
        return None;
    }
    let mut attr = KvmDeviceAttr { flags: 0, group: 0, attr: 0, addr: 0 };
    copied(arg as u64, &mut attr)?;
    let expected = match attr.attr {
        KVM_DEV_VFIO_FILE_ADD => libc::EINVAL,
        KVM_DEV_VFIO_FILE_DEL => libc::ENOENT,
        _ => return None,
    };
    if attr.group != KVM_DEV_VFIO_FILE || result != failure(expected) {
        return None;
    }
    let mut fd: c_int = -1;
    copied(attr.addr, &mut fd)?;
    // what is no file of VFIO is what the kernel has said
    on_ours(fd, || Operation::KvmFile).filter(|answer| *answer == 0)
}

/// Copies from an address that may be none; none when it is.
fn copied<T: FromBytes + IntoBytes>(from: u64, to: &mut T) -> Option<()> {
    (read_memory(from, to.as_mut_bytes()) == size_of::<T>()).then_some(())
}
