//! One device under one scratch iommufd, and the calls on both, each with a name for people.
//!
//! The structs have their newest size. What a kernel does not know of them is zero, unless it is asked
//! for, so an older kernel takes them.

use std::fmt;
use std::io;
use std::sync::Arc;

use uapi::iommufd::*;
use uapi::vfio::*;
use uapi::{Command, Errno};
use zerocopy::{Immutable, IntoBytes};

use crate::file::{OpenFile, address, address_mut};
use crate::region::Region;
use crate::system::System;

/// A call that was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Failed {
    /// The call, with what matters of its argument: `IOMMU_HWPT_ALLOC(NEST_PARENT)`.
    pub call: String,
    /// How it was refused.
    pub errno: Errno,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}", self.call, self.errno)
    }
}

impl Failed {
    /// Whether memory or descriptors have run out, which says nothing about what there is. Some drivers
    /// answer `ENOMEM` too where the hardware cannot (`alloc_io_pgtable_ops`), but never to a mapping.
    pub(crate) fn is_for_want(&self) -> bool {
        let maps = self.call.starts_with("mmap") || self.call.starts_with("IOMMU_IOAS_MAP");
        match self.errno {
            Errno::EMFILE | Errno::ENFILE => true,
            Errno::ENOMEM => maps,
            _ => false,
        }
    }

    pub(crate) fn new(call: impl Into<String>, error: &io::Error) -> Self {
        let errno = error.raw_os_error().and_then(Errno::from_code).unwrap_or(Errno::EIO);
        Self { call: call.into(), errno }
    }
}

pub(crate) type Result<T, E = Failed> = std::result::Result<T, E>;

/// What a page table is asked to be.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Table<'d> {
    /// `IOMMU_HWPT_ALLOC_*`, without `FAULT_ID_VALID`.
    pub flags: u32,
    /// The queue for its faults.
    pub fault: Option<u32>,
    /// A vendor's data, and its type.
    pub data: Option<(u32, &'d [u8])>,
}

impl Table<'_> {
    fn call(&self) -> String {
        const FLAGS: &[(u32, &str)] = &[
            (IOMMU_HWPT_ALLOC_NEST_PARENT, "NEST_PARENT"),
            (IOMMU_HWPT_ALLOC_DIRTY_TRACKING, "DIRTY_TRACKING"),
            (IOMMU_HWPT_ALLOC_PASID, "ALLOC_PASID"),
        ];
        const TYPES: &[(u32, &str)] =
            &[(IOMMU_HWPT_DATA_VTD_S1, "VTD_S1"), (IOMMU_HWPT_DATA_ARM_SMMUV3, "ARM_SMMUV3")];
        let flags = FLAGS.iter().filter(|(flag, _)| self.flags & flag != 0).map(|(_, name)| *name);
        let fault = self.fault.map(|_| "FAULT_ID_VALID");
        let kind = self.data.map(|(kind, _)| kind);
        let data = TYPES.iter().filter(|(known, _)| Some(*known) == kind).map(|(_, name)| *name);
        let parts: Vec<_> = flags.chain(fault).chain(data).collect();
        format!("IOMMU_HWPT_ALLOC({})", parts.join(", "))
    }
}

/// A device under an iommufd.
#[derive(Debug)]
pub(crate) struct Session {
    pub iommu: OpenFile,
    device: Arc<OpenFile>,
    /// The device's ID.
    pub id: u32,
}

/// A queue of page faults: its ID and its descriptor.
#[derive(Debug)]
pub(crate) struct Queue {
    pub id: u32,
    pub file: OpenFile,
}

/// Opens `/dev/iommu` as a call with a name.
pub(crate) fn open_iommu(system: &System) -> Result<OpenFile> {
    system.open_iommu().map_err(|error| Failed::new("open(/dev/iommu)", &error))
}

/// Opens a VFIO device as a call with a name.
pub(crate) fn open_device(system: &System, number: u32) -> Result<OpenFile> {
    let call = format!("open(/dev/vfio/devices/vfio{number})");
    system.open_vfio(number).map_err(|error| Failed::new(call, &error))
}

/// Makes a queue for page faults, which needs no device.
pub(crate) fn fault_queue(iommu: &OpenFile) -> Result<Queue> {
    let mut cmd = iommu_fault_alloc { size: size::<iommu_fault_alloc>(), ..Default::default() };
    let made = iommu.call(&mut cmd);
    made.map_err(|error| Failed::new("IOMMU_FAULT_QUEUE_ALLOC", &error))?;
    Ok(Queue { id: cmd.out_fault_id, file: iommu.receive(cmd.out_fault_fd) })
}

impl Queue {
    /// Closes it and destroys it.
    pub fn end(self, iommu: &OpenFile) -> Result<()> {
        drop(self.file); // it is a user of the object
        let mut cmd = iommu_destroy { size: size::<iommu_destroy>(), id: self.id };
        iommu.call(&mut cmd).map(drop).map_err(|error| Failed::new("IOMMU_DESTROY", &error))
    }
}

impl Session {
    /// Binds a device to an iommufd.
    pub fn bind(iommu: OpenFile, device: OpenFile) -> Result<Self> {
        let mut bind = vfio_device_bind_iommufd {
            argsz: size_of::<vfio_device_bind_iommufd>() as u32,
            iommufd: iommu.number(),
            ..Default::default()
        };
        device
            .ioctl(VFIO_DEVICE_BIND_IOMMUFD, &mut bind)
            .map_err(|error| Failed::new("VFIO_DEVICE_BIND_IOMMUFD", &error))?;
        Ok(Self { iommu, device: Arc::new(device), id: bind.out_devid })
    }

    /// A region of the device, by its index.
    pub fn region(&self, index: u32) -> Result<Region> {
        let argsz = size_of::<vfio_region_info>() as u32;
        let mut info = vfio_region_info { argsz, index, ..Default::default() };
        let told = self.device.ioctl(VFIO_DEVICE_GET_REGION_INFO, &mut info);
        told.map_err(|error| Failed::new("VFIO_DEVICE_GET_REGION_INFO", &error))?;
        let file = Arc::clone(&self.device);
        Ok(Region { file, start: info.offset, size: info.size })
    }

    /// Makes a command under a name.
    pub fn call<C: Command>(&self, name: impl Into<String>, cmd: &mut C) -> Result<()> {
        self.iommu.call(cmd).map(drop).map_err(|error| Failed::new(name, &error))
    }

    pub fn ioas(&self) -> Result<u32> {
        let mut cmd = iommu_ioas_alloc { size: size::<iommu_ioas_alloc>(), ..Default::default() };
        self.call("IOMMU_IOAS_ALLOC", &mut cmd)?;
        Ok(cmd.out_ioas_id)
    }

    /// Maps memory of this process at a fixed IOVA; `rights` are `IOMMU_IOAS_MAP_*`.
    pub fn map(&self, ioas: u32, iova: u64, va: u64, length: u64, rights: u32) -> Result<()> {
        const NAMES: &[(u32, &str)] =
            &[(IOMMU_IOAS_MAP_READABLE, "READABLE"), (IOMMU_IOAS_MAP_WRITEABLE, "WRITEABLE")];
        let names = NAMES.iter().filter(|(right, _)| rights & right != 0).map(|(_, name)| *name);
        let name = format!("IOMMU_IOAS_MAP({})", names.collect::<Vec<_>>().join(", "));
        let mut cmd = iommu_ioas_map {
            size: size::<iommu_ioas_map>(),
            flags: IOMMU_IOAS_MAP_FIXED_IOVA | rights,
            ioas_id: ioas,
            user_va: va,
            length,
            iova,
            ..Default::default()
        };
        self.call(name, &mut cmd)
    }

    pub fn unmap(&self, ioas: u32, iova: u64, length: u64) -> Result<u64> {
        let size = size::<iommu_ioas_unmap>();
        let mut cmd = iommu_ioas_unmap { size, ioas_id: ioas, iova, length };
        self.call("IOMMU_IOAS_UNMAP", &mut cmd)?;
        Ok(cmd.length)
    }

    /// The ranges of IOVAs that may be mapped.
    pub fn iova_ranges(&self, ioas: u32) -> Result<Vec<iommu_iova_range>> {
        let mut room = 64;
        loop {
            let mut ranges = vec![iommu_iova_range::default(); room as usize];
            let mut cmd = iommu_ioas_iova_ranges {
                size: size::<iommu_ioas_iova_ranges>(),
                ioas_id: ioas,
                num_iovas: room,
                allowed_iovas: address_mut(ranges.as_mut_slice()),
                ..Default::default()
            };
            match self.call("IOMMU_IOAS_IOVA_RANGES", &mut cmd) {
                // how many there are was told
                Err(failed) if failed.errno == Errno::EMSGSIZE && cmd.num_iovas > room => {
                    room = cmd.num_iovas;
                }
                done => {
                    ranges.truncate(cmd.num_iovas as usize);
                    return done.map(|()| ranges);
                }
            }
        }
    }

    /// What the IOMMU tells of itself: the generic part, and the vendor's registers.
    pub fn hw_info(&self) -> Result<(iommu_hw_info, Vec<u8>)> {
        let mut data = vec![0; 64];
        let mut cmd = iommu_hw_info {
            size: size::<iommu_hw_info>(),
            dev_id: self.id,
            data_len: data.len() as u32,
            data_uptr: address_mut(data.as_mut_slice()),
            ..Default::default()
        };
        self.call("IOMMU_GET_HW_INFO", &mut cmd)?;
        data.truncate(cmd.data_len as usize);
        Ok((cmd, data))
    }

    /// Makes a page table on an IOAS, a nesting parent or a vIOMMU.
    pub fn hwpt(&self, pt: u32, table: Table<'_>) -> Result<u32> {
        let (data_type, data) = table.data.unwrap_or((IOMMU_HWPT_DATA_NONE, &[]));
        let fault_flag = table.fault.map_or(0, |_| IOMMU_HWPT_FAULT_ID_VALID);
        let mut cmd = iommu_hwpt_alloc {
            size: size::<iommu_hwpt_alloc>(),
            flags: table.flags | fault_flag,
            dev_id: self.id,
            pt_id: pt,
            data_type,
            data_len: data.len() as u32,
            data_uptr: if data.is_empty() { 0 } else { address(data) },
            fault_id: table.fault.unwrap_or(0),
            ..Default::default()
        };
        self.call(table.call(), &mut cmd)?;
        Ok(cmd.out_hwpt_id)
    }

    /// Attaches the device, or one of its PASIDs; what was attached is replaced.
    pub fn attach(&self, pt: u32, pasid: Option<u32>) -> Result<()> {
        let mut cmd = vfio_device_attach_iommufd_pt {
            argsz: size_of::<vfio_device_attach_iommufd_pt>() as u32,
            flags: pasid.map_or(0, |_| VFIO_DEVICE_ATTACH_PASID),
            pt_id: pt,
            pasid: pasid.unwrap_or(0),
        };
        let name = match pasid {
            None => "VFIO_DEVICE_ATTACH_IOMMUFD_PT",
            Some(_) => "VFIO_DEVICE_ATTACH_IOMMUFD_PT(PASID)",
        };
        let done = self.device.ioctl(VFIO_DEVICE_ATTACH_IOMMUFD_PT, &mut cmd);
        done.map(drop).map_err(|error| Failed::new(name, &error))
    }

    /// Attaches to a page table that was made for this; where that fails, it goes again.
    pub fn attach_new(&self, hwpt: u32, pasid: Option<u32>) -> Result<()> {
        let attached = self.attach(hwpt, pasid);
        if attached.is_err() {
            let _ = self.destroy(hwpt);
        }
        attached
    }

    /// Detaches the device, or one of its PASIDs.
    pub fn detach(&self, pasid: Option<u32>) -> Result<()> {
        let mut cmd = vfio_device_detach_iommufd_pt {
            argsz: size_of::<vfio_device_detach_iommufd_pt>() as u32,
            flags: pasid.map_or(0, |_| VFIO_DEVICE_DETACH_PASID),
            pasid: pasid.unwrap_or(0),
        };
        let done = self.device.ioctl(VFIO_DEVICE_DETACH_IOMMUFD_PT, &mut cmd);
        done.map(drop).map_err(|error| Failed::new("VFIO_DEVICE_DETACH_IOMMUFD_PT", &error))
    }

    pub fn fault_queue(&self) -> Result<Queue> {
        fault_queue(&self.iommu)
    }

    /// Hands over invalidation requests of a type; no request at all asks whether the type is known.
    pub fn invalidate<T: IntoBytes + Immutable>(
        &self,
        on: u32,
        kind: u32,
        requests: &[T],
    ) -> Result<()> {
        let name = match kind {
            IOMMU_HWPT_INVALIDATE_DATA_VTD_S1 => "IOMMU_HWPT_INVALIDATE(VTD_S1)",
            _ => "IOMMU_HWPT_INVALIDATE(ARM_SMMUV3)",
        };
        let mut cmd = iommu_hwpt_invalidate {
            size: size::<iommu_hwpt_invalidate>(),
            hwpt_id: on,
            data_uptr: if requests.is_empty() { 0 } else { address(requests) },
            data_type: kind,
            entry_len: size_of::<T>() as u32,
            entry_num: requests.len() as u32,
            ..Default::default()
        };
        self.call(name, &mut cmd)
    }

    pub fn viommu(&self, parent: u32) -> Result<u32> {
        let mut cmd = iommu_viommu_alloc {
            size: size::<iommu_viommu_alloc>(),
            r#type: IOMMU_VIOMMU_TYPE_ARM_SMMUV3,
            dev_id: self.id,
            hwpt_id: parent,
            ..Default::default()
        };
        self.call("IOMMU_VIOMMU_ALLOC(ARM_SMMUV3)", &mut cmd)?;
        Ok(cmd.out_viommu_id)
    }

    pub fn vdevice(&self, viommu: u32, virt_id: u64) -> Result<u32> {
        let mut cmd = iommu_vdevice_alloc {
            size: size::<iommu_vdevice_alloc>(),
            viommu_id: viommu,
            dev_id: self.id,
            virt_id,
            ..Default::default()
        };
        self.call("IOMMU_VDEVICE_ALLOC", &mut cmd)?;
        Ok(cmd.out_vdevice_id)
    }

    pub fn veventq(&self, viommu: u32, depth: u32) -> Result<Queue> {
        let mut cmd = iommu_veventq_alloc {
            size: size::<iommu_veventq_alloc>(),
            viommu_id: viommu,
            r#type: IOMMU_VEVENTQ_TYPE_ARM_SMMUV3,
            veventq_depth: depth,
            ..Default::default()
        };
        self.call("IOMMU_VEVENTQ_ALLOC(ARM_SMMUV3)", &mut cmd)?;
        let file = self.iommu.receive(cmd.out_veventq_fd);
        Ok(Queue { id: cmd.out_veventq_id, file })
    }

    pub fn set_dirty_tracking(&self, hwpt: u32, on: bool) -> Result<()> {
        let mut cmd = iommu_hwpt_set_dirty_tracking {
            size: size::<iommu_hwpt_set_dirty_tracking>(),
            flags: if on { IOMMU_HWPT_DIRTY_TRACKING_ENABLE } else { 0 },
            hwpt_id: hwpt,
            ..Default::default()
        };
        self.call("IOMMU_HWPT_SET_DIRTY_TRACKING", &mut cmd)
    }

    /// Adds the bits of pages written since the last time, one a page of `page` bytes.
    pub fn dirty_bitmap(
        &self,
        hwpt: u32,
        (iova, length): (u64, u64),
        page: u64,
        bitmap: &mut [u64],
    ) -> Result<()> {
        let mut cmd = iommu_hwpt_get_dirty_bitmap {
            size: size::<iommu_hwpt_get_dirty_bitmap>(),
            hwpt_id: hwpt,
            iova,
            length,
            page_size: page,
            data: address_mut(bitmap),
            ..Default::default()
        };
        self.call("IOMMU_HWPT_GET_DIRTY_BITMAP", &mut cmd)
    }

    /// Destroys an object.
    pub fn destroy(&self, id: u32) -> Result<()> {
        let mut cmd = iommu_destroy { size: size::<iommu_destroy>(), id };
        self.call("IOMMU_DESTROY", &mut cmd)
    }
}

pub(crate) fn size<C: Command>() -> u32 {
    size_of::<C>() as u32
}
