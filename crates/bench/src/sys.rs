//! The calls that need `unsafe`: a device's memory as a program maps it, and signals.
#![allow(unsafe_code)]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::ptr::{self, NonNull};

use uapi::vfio::{VFIO_DEVICE_BIND_IOMMUFD, vfio_device_bind_iommufd};

/// A page of a device's first BAR.
#[derive(Debug)]
pub struct Registers {
    start: NonNull<u32>,
    _iommu: File,
    _device: File,
}

const PAGE: usize = 4096;

impl Registers {
    /// Binds the first device, and maps so much of it from an offset on.
    pub fn map(offset: i64) -> io::Result<Self> {
        let open = |name| OpenOptions::new().read(true).write(true).open(name);
        let (iommu, device) = (open("/dev/iommu")?, open("/dev/vfio/devices/vfio0")?);
        let mut bind = vfio_device_bind_iommufd {
            argsz: size_of::<vfio_device_bind_iommufd>() as u32,
            iommufd: iommu.as_raw_fd(),
            ..Default::default()
        };
        // SAFETY: the argument is plain bytes, and says itself how many the kernel may write.
        let bound = unsafe {
            libc::ioctl(device.as_raw_fd(), VFIO_DEVICE_BIND_IOMMUFD.into(), &raw mut bind)
        };
        if bound < 0 {
            return Err(io::Error::last_os_error());
        }
        let (prot, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        // SAFETY: a new mapping at an address that the kernel chooses.
        let start =
            unsafe { libc::mmap(ptr::null_mut(), PAGE, prot, flags, device.as_raw_fd(), offset) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let start = NonNull::new(start.cast()).ok_or(io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { start, _iommu: iommu, _device: device })
    }

    /// Stores a word at the start, and loads it.
    pub fn store(&self, word: u32) -> u32 {
        // SAFETY: within the mapping; volatile, since a device has it.
        unsafe {
            self.start.write_volatile(word);
            self.start.read_volatile()
        }
    }

    /// Loads the word at the start.
    pub fn load(&self) -> u32 {
        // SAFETY: within the mapping; volatile, since a device has it.
        unsafe { self.start.read_volatile() }
    }
}

impl Drop for Registers {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and no reference into it was ever given out.
        unsafe { libc::munmap(self.start.as_ptr().cast(), PAGE) };
    }
}

extern "C" fn nothing(_: libc::c_int) {}

/// Lets `SIGUSR1` be handled by a handler that does nothing.
pub fn handle_signals() -> io::Result<()> {
    let handler: extern "C" fn(libc::c_int) = nothing;
    // SAFETY: the handler does nothing.
    match unsafe { libc::signal(libc::SIGUSR1, handler as *const () as usize) } {
        libc::SIG_ERR => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Sends this thread a signal, which is handled before this returns.
pub fn signal() {
    // SAFETY: it has a handler.
    unsafe { libc::raise(libc::SIGUSR1) };
}
