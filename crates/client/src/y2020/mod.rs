//! A client of the API of 2020 ([`uapi::y2020`]): a device in a nesting container, and the calls on both, each by
//! itself.
//!
//! | step | call |
//! |---|---|
//! | [`Container::open`] | `VFIO_GROUP_SET_CONTAINER` |
//! | [`Container::version`] | `VFIO_CHECK_EXTENSION` |
//! | [`Container::nest`] | `VFIO_SET_IOMMU` |
//! | [`Container::info`] | `VFIO_IOMMU_GET_INFO` |
//! | [`Container::alloc_pasid`], [`Container::free_pasid`] | `VFIO_IOMMU_PASID_REQUEST` |
//! | [`Container::bind`], [`Container::unbind`], [`Container::invalidate`] | `VFIO_IOMMU_NESTING_OP` |
//! | [`Container::set_pasid_table`], [`Container::unset_pasid_table`] | `VFIO_IOMMU_SET_PASID_TABLE` |
//! | [`Container::forget_asid`], [`Container::forget_context`], [`Container::forget_all`] | `VFIO_IOMMU_CACHE_INVALIDATE` |
//! | [`Container::device`] | `VFIO_GROUP_GET_DEVICE_FD` |
//! | [`Faults`] | the regions of faults and of answers |
//!
//! On VT-d PASIDs are the host's, and each is bound to a page table. On an SMMUv3 they are the guest's, in its
//! [`ContextTable`], which is set as a whole. The calls of one are refused on the other: a number is another call
//! there.
//!
//! Nothing is asked before it is used: a kernel of 2020 has no question for the whole. [`check()`] is one, made of
//! these calls. Both layouts of the arguments can be sent, and it is for the caller to know which the kernel
//! takes.

mod check;
mod faults;

use std::sync::Arc;

use profile::machine::Bdf;
use uapi::vfio::*;
use uapi::y2020::bind::*;
use uapi::y2020::cache::*;
use uapi::y2020::transport::*;
use uapi::y2020::{Layout, v5_5, v5_10};
use zerocopy::{FromBytes, Immutable, IntoBytes};

pub use crate::contexts::{BeyondTable, ContextTable};
pub use check::{Missing, check};
pub use faults::{Fault, Faults, PageRequest, Unrecoverable};

use crate::file::OpenFile;
use crate::guest::{GuestTable, PAGE};
use crate::session::{Failed, Result};
use crate::table::{Entries, PageTable};
use crate::{Region, SharedBuffer, System};

/// A container with the group of one device.
#[derive(Debug)]
pub struct Container {
    file: OpenFile,
    group: OpenFile,
    address: Bdf,
    layout: Layout,
}

/// What an invalidation of a PASID, or of an ASID, reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Everything of it.
    Pasid,
    /// So many pages of 4 KiB from an address on.
    Pages {
        /// The first.
        address: u64,
        /// How many.
        count: u64,
    },
}

/// Room for the answer of `VFIO_IOMMU_GET_INFO`.
const INFO: usize = 1024;

fn named(call: &'static str) -> impl Fn(std::io::Error) -> Failed {
    move |error| Failed::new(call, &error)
}

impl Container {
    /// A container with the group of a device, which has no driver yet. Arguments are laid out in a way.
    pub fn open(system: &System, address: Bdf, layout: Layout) -> Result<Self> {
        let file = system.open_container().map_err(named("open(/dev/vfio/vfio)"))?;
        // a device without a group has no node
        let number = system.group(address).unwrap_or(u32::MAX);
        let group = system.open_group(number);
        let group = group.map_err(|it| Failed::new(format!("open(/dev/vfio/{number})"), &it))?;
        let mut fd = file.number();
        let set = group.ioctl(VFIO_GROUP_SET_CONTAINER, &mut fd);
        set.map_err(named("VFIO_GROUP_SET_CONTAINER"))?;
        Ok(Self { file, group, address, layout })
    }

    /// The version of the arguments that the kernel has; 0 where it does not know the question.
    pub fn version(&self) -> Result<u32> {
        let told = self.file.ioctl_of_number(VFIO_CHECK_EXTENSION, VFIO_NESTING_IOMMU_UAPI);
        told.map(i32::cast_unsigned).map_err(named("VFIO_CHECK_EXTENSION"))
    }

    /// Takes the driver that nests: the device reaches what is mapped.
    pub fn nest(&self) -> Result<()> {
        let set = self.file.ioctl_of_number(VFIO_SET_IOMMU, VFIO_TYPE1_NESTING_IOMMU);
        set.map(drop).map_err(named("VFIO_SET_IOMMU(TYPE1_NESTING)"))
    }

    /// What the kernel tells of nesting; none where it tells nothing.
    pub fn info(&self) -> Result<Option<iommu_nesting_info>> {
        let mut bytes = [0; INFO];
        bytes[..4].copy_from_slice((INFO as u32).as_bytes());
        self.file.ioctl(VFIO_IOMMU_GET_INFO, &mut bytes).map_err(named("VFIO_IOMMU_GET_INFO"))?;
        let head = vfio_iommu_type1_info::read_from_prefix(&bytes);
        let first = head.map_or(0, |(head, _)| head.cap_offset);
        Ok(capability(&bytes, first, VFIO_IOMMU_TYPE1_INFO_CAP_NESTING).and_then(|bytes| {
            let found = vfio_iommu_type1_info_cap_nesting::read_from_prefix(bytes);
            found.ok().map(|(found, _)| found.info)
        }))
    }

    /// Places a buffer at a guest-physical address.
    pub fn map(&self, address: u64, buffer: &SharedBuffer) -> Result<()> {
        let mut request = vfio_iommu_type1_dma_map {
            argsz: size_of::<vfio_iommu_type1_dma_map>() as u32,
            flags: VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
            vaddr: buffer.address(),
            iova: address,
            size: buffer.size(),
        };
        let mapped = self.file.ioctl(VFIO_IOMMU_MAP_DMA, &mut request);
        mapped.map(drop).map_err(named("VFIO_IOMMU_MAP_DMA"))
    }

    /// An empty page table of VT-d's first stage, in as much new memory, which the guest gets at an address.
    pub fn page_table(&self, address: u64, length: usize) -> Result<PageTable> {
        let memory = SharedBuffer::new(length).map_err(named("mmap"))?;
        self.map(address, &memory)?;
        Ok(PageTable::new(memory, address, Entries::X86_64))
    }

    /// The same of an SMMUv3's stage 1.
    pub fn stage1_table(&self, address: u64, length: usize) -> Result<PageTable> {
        let memory = SharedBuffer::new(length).map_err(named("mmap"))?;
        self.map(address, &memory)?;
        Ok(PageTable::new(memory, address, Entries::Arm))
    }

    /// An empty table of `1 << log2_count` context descriptors of an SMMUv3, in new memory, which the guest gets
    /// at an address that is a multiple of the table's size.
    pub fn context_table(&self, address: u64, log2_count: u32) -> Result<ContextTable> {
        let memory = SharedBuffer::new(ContextTable::size(log2_count)).map_err(named("mmap"))?;
        self.map(address, &memory)?;
        Ok(ContextTable::new(memory, address, log2_count))
    }

    /// Takes one of the host's PASIDs, in a range.
    pub fn alloc_pasid(&self, min: u32, max: u32) -> Result<u32> {
        let taken = self.request(VFIO_IOMMU_FLAG_ALLOC_PASID, min, max);
        taken.map_err(named("VFIO_IOMMU_PASID_REQUEST(ALLOC)"))
    }

    /// Gives a PASID back.
    pub fn free_pasid(&self, pasid: u32) -> Result<()> {
        let given = self.request(VFIO_IOMMU_FLAG_FREE_PASID, pasid, pasid);
        given.map(drop).map_err(named("VFIO_IOMMU_PASID_REQUEST(FREE)"))
    }

    fn request(&self, flags: u32, min: u32, max: u32) -> std::io::Result<u32> {
        let argsz = size_of::<vfio_iommu_type1_pasid_request>() as u32;
        let range = vfio_iommu_type1_pasid_range { min, max };
        let mut request = vfio_iommu_type1_pasid_request { argsz, flags, range };
        self.file.ioctl(VFIO_IOMMU_PASID_REQUEST, &mut request).map(i32::cast_unsigned)
    }

    /// Lets a PASID walk a guest's page table.
    pub fn bind(&self, pasid: u32, table: GuestTable) -> Result<()> {
        let told = self.table_operation(VFIO_IOMMU_NESTING_OP_BIND_PGTBL, pasid, table);
        told.map_err(named("VFIO_IOMMU_NESTING_OP(BIND_PGTBL)"))
    }

    /// Takes it away.
    pub fn unbind(&self, pasid: u32, table: GuestTable) -> Result<()> {
        let told = self.table_operation(VFIO_IOMMU_NESTING_OP_UNBIND_PGTBL, pasid, table);
        told.map_err(named("VFIO_IOMMU_NESTING_OP(UNBIND_PGTBL)"))
    }

    fn table_operation(
        &self,
        operation: u32,
        pasid: u32,
        table: GuestTable,
    ) -> std::io::Result<()> {
        let (version, format) = (IOMMU_GPASID_BIND_VERSION_1, IOMMU_PASID_FORMAT_INTEL_VTD);
        let stage1 = table.first_stage();
        let (gpgd, addr_width, hpasid) = (stage1.pgtbl_addr, stage1.addr_width, pasid.into());
        match self.layout {
            Layout::V5_10 => self.operate(
                operation,
                &v5_10::iommu_gpasid_bind_data {
                    argsz: size_of::<v5_10::iommu_gpasid_bind_data>() as u32,
                    version,
                    format,
                    addr_width,
                    gpgd,
                    hpasid,
                    ..Default::default()
                },
            ),
            Layout::V5_5 | Layout::Patches => self.operate(
                operation,
                &v5_5::iommu_gpasid_bind_data {
                    version,
                    format,
                    addr_width,
                    gpgd,
                    hpasid,
                    ..Default::default()
                },
            ),
        }
    }

    /// Tells the IOMMU that a guest changed the table of a PASID: it forgets what it has in its IOTLB, and
    /// the device what it keeps itself.
    pub fn invalidate(&self, pasid: u32, what: Reach) -> Result<()> {
        let cache = IOMMU_CACHE_INV_TYPE_IOTLB | IOMMU_CACHE_INV_TYPE_DEV_IOTLB;
        let told = self.send_invalidation(
            VFIO_IOMMU_NESTING_OP,
            VFIO_IOMMU_NESTING_OP_CACHE_INVLD,
            &invalidation(cache, Some((Tag::Pasid(pasid), what))),
        );
        told.map_err(named("VFIO_IOMMU_NESTING_OP(CACHE_INVLD)"))
    }

    /// Lets the device's accesses go by a guest's context descriptors: those without a PASID are refused.
    pub fn set_pasid_table(&self, table: &ContextTable) -> Result<()> {
        const TERMINATE: u8 = 0;
        let (version, format) = (PASID_TABLE_CFG_VERSION_1, IOMMU_PASID_FORMAT_SMMUV3);
        let (base_ptr, pasid_bits) = (table.start(), table.log2_count() as u8);
        let config = IOMMU_PASID_CONFIG_TRANSLATE;
        let vendor_data = iommu_pasid_smmuv3 {
            version: PASID_TABLE_SMMUV3_CFG_VERSION_1,
            s1dss: TERMINATE,
            ..Default::default()
        };
        let (call, flags) = (VFIO_IOMMU_SET_PASID_TABLE, VFIO_PASID_TABLE_FLAG_SET);
        let told = match self.layout {
            Layout::V5_10 => self.send(
                call,
                flags,
                &v5_10::iommu_pasid_table_config {
                    argsz: size_of::<v5_10::iommu_pasid_table_config>() as u32,
                    version,
                    base_ptr,
                    format,
                    pasid_bits,
                    config,
                    vendor_data,
                    ..Default::default()
                },
            ),
            Layout::V5_5 | Layout::Patches => self.send(
                call,
                flags,
                &v5_5::iommu_pasid_table_config {
                    version,
                    base_ptr,
                    format,
                    pasid_bits,
                    config,
                    smmuv3: vendor_data,
                    ..Default::default()
                },
            ),
        };
        told.map_err(named("VFIO_IOMMU_SET_PASID_TABLE(SET)"))
    }

    /// Takes it away: accesses without a PASID reach guest-physical addresses, others nothing.
    pub fn unset_pasid_table(&self) -> Result<()> {
        let told = self.send(VFIO_IOMMU_SET_PASID_TABLE, VFIO_PASID_TABLE_FLAG_UNSET, &[0_u8; 0]);
        told.map_err(named("VFIO_IOMMU_SET_PASID_TABLE(UNSET)"))
    }

    /// Tells an SMMU that a guest changed the table of an ASID.
    pub fn forget_asid(&self, asid: u32, what: Reach) -> Result<()> {
        self.forget(&invalidation(IOMMU_CACHE_INV_TYPE_IOTLB, Some((Tag::Asid(asid), what))))
    }

    /// Tells an SMMU that a guest changed the context descriptor of a PASID.
    pub fn forget_context(&self, pasid: u32) -> Result<()> {
        let cache = IOMMU_CACHE_INV_TYPE_PASID;
        self.forget(&invalidation(cache, Some((Tag::Pasid(pasid), Reach::Pasid))))
    }

    /// Tells an SMMU that a guest may have changed anything in its tables and context descriptors.
    pub fn forget_all(&self) -> Result<()> {
        self.forget(&invalidation(IOMMU_CACHE_INV_TYPE_IOTLB | IOMMU_CACHE_INV_TYPE_PASID, None))
    }

    fn forget(&self, info: &v5_10::iommu_cache_invalidate_info) -> Result<()> {
        let told = self.send_invalidation(VFIO_IOMMU_CACHE_INVALIDATE, 0, info);
        told.map_err(named("VFIO_IOMMU_CACHE_INVALIDATE"))
    }

    fn send_invalidation(
        &self,
        call: u32,
        flags: u32,
        info: &v5_10::iommu_cache_invalidate_info,
    ) -> std::io::Result<()> {
        match self.layout {
            Layout::V5_10 => self.send(call, flags, info),
            Layout::V5_5 | Layout::Patches => {
                let v5_10::iommu_cache_invalidate_info { version, cache, granularity, .. } = *info;
                let (padding, granu) = (Default::default(), info.granu);
                let info = v5_5::iommu_cache_invalidate_info {
                    version,
                    cache,
                    granularity,
                    padding,
                    granu,
                };
                self.send(call, flags, &info)
            }
        }
    }

    fn operate<T: IntoBytes + Immutable>(&self, flags: u32, data: &T) -> std::io::Result<()> {
        self.send(VFIO_IOMMU_NESTING_OP, flags, data)
    }

    /// A call whose argument is a size, flags, and then data.
    fn send<T: IntoBytes + Immutable>(
        &self,
        call: u32,
        flags: u32,
        data: &T,
    ) -> std::io::Result<()> {
        // all have the same head
        const HEAD: usize = size_of::<vfio_iommu_type1_nesting_op>();
        const MOST: usize = HEAD + size_of::<v5_10::iommu_gpasid_bind_data>();
        const { assert!(HEAD + size_of::<T>() <= MOST, "larger than any data") };
        let argsz = (HEAD + size_of::<T>()) as u32;
        let mut bytes = [0_u8; MOST];
        bytes[..HEAD].copy_from_slice(vfio_iommu_type1_nesting_op { argsz, flags }.as_bytes());
        bytes[HEAD..argsz as usize].copy_from_slice(data.as_bytes());
        self.call(call, &mut bytes).map(drop)
    }

    /// Any call, with an argument as it is. Errors are those of the call.
    pub fn call<T: FromBytes + IntoBytes>(
        &self,
        number: u32,
        argument: &mut T,
    ) -> std::io::Result<i32> {
        self.file.ioctl(number, argument)
    }

    /// The device.
    pub fn device(&self) -> Result<Device> {
        self.member(self.address)
    }

    /// Any device of the group.
    pub fn member(&self, address: Bdf) -> Result<Device> {
        let mut name = [0_u8; 16];
        let address = address.to_string();
        name[..address.len()].copy_from_slice(address.as_bytes());
        let given = self.group.ioctl(VFIO_GROUP_GET_DEVICE_FD, &mut name);
        let number = given.map_err(named("VFIO_GROUP_GET_DEVICE_FD"))?;
        let file = Arc::new(self.group.receive(number.cast_unsigned()));
        Ok(Device { file, layout: self.layout })
    }
}

/// A device that its group gave.
#[derive(Debug)]
pub struct Device {
    file: Arc<OpenFile>,
    layout: Layout,
}

/// Room for the answer of `VFIO_DEVICE_GET_REGION_INFO`.
const REGION_INFO: usize = 256;

impl Device {
    /// A region, by its index.
    pub fn region(&self, index: u32) -> Result<Region> {
        self.region_info(index).map(|(region, _)| region)
    }

    /// A region, and its type if it has one.
    fn region_info(&self, index: u32) -> Result<(Region, Option<vfio_region_info_cap_type>)> {
        let mut bytes = [0; REGION_INFO];
        let head = vfio_region_info { argsz: REGION_INFO as u32, index, ..Default::default() };
        bytes[..size_of_val(&head)].copy_from_slice(head.as_bytes());
        let told = self.file.ioctl(VFIO_DEVICE_GET_REGION_INFO, &mut bytes);
        told.map_err(named("VFIO_DEVICE_GET_REGION_INFO"))?;
        let info = vfio_region_info::read_from_prefix(&bytes).map_or(head, |(info, _)| info);
        let has_capabilities = info.flags & VFIO_REGION_INFO_FLAG_CAPS != 0;
        let first = if has_capabilities { info.cap_offset } else { 0 };
        let of_type = capability(&bytes, first, VFIO_REGION_INFO_CAP_TYPE);
        let of_type = of_type.and_then(|bytes| FromBytes::read_from_prefix(bytes).ok());
        let file = Arc::clone(&self.file);
        let region = Region { file, start: info.offset, size: info.size };
        Ok((region, of_type.map(|(found, _)| found)))
    }

    /// The regions by which its faults come. Behind an SMMU any device has them; on VT-d none that cannot ask for
    /// pages.
    pub fn faults(&self) -> Result<Option<Faults>> {
        let argsz = size_of::<vfio_device_info>() as u32;
        let mut info = vfio_device_info { argsz, ..Default::default() };
        self.file.ioctl(VFIO_DEVICE_GET_INFO, &mut info).map_err(named("VFIO_DEVICE_GET_INFO"))?;
        let [mut faults, mut responses] = [None, None];
        for index in VFIO_PCI_NUM_REGIONS..info.num_regions {
            let (region, of_type) = self.region_info(index)?;
            match of_type.map(|of_type| (of_type.r#type, of_type.subtype)) {
                Some((VFIO_REGION_TYPE_NESTED, VFIO_REGION_SUBTYPE_NESTED_DMA_FAULT)) => {
                    faults = Some(region);
                }
                Some((VFIO_REGION_TYPE_NESTED, VFIO_REGION_SUBTYPE_NESTED_DMA_FAULT_RESPONSE)) => {
                    responses = Some(region);
                }
                _ => {}
            }
        }
        let both = faults.zip(responses);
        Ok(both.map(|(faults, responses)| Faults { faults, responses, layout: self.layout }))
    }
}

/// What an address space is told apart by.
#[derive(Clone, Copy, Debug)]
enum Tag {
    Pasid(u32),
    Asid(u32),
}

/// An invalidation, of an address space or of all.
fn invalidation(cache: u8, of: Option<(Tag, Reach)>) -> v5_10::iommu_cache_invalidate_info {
    let mut granu = [0; 5];
    let granularity = match of {
        None => IOMMU_INV_GRANU_DOMAIN,
        Some((tag, Reach::Pasid)) => {
            let (flags, pasid, archid) = match tag {
                Tag::Pasid(pasid) => (IOMMU_INV_PASID_FLAGS_PASID, pasid.into(), 0),
                Tag::Asid(asid) => (IOMMU_INV_PASID_FLAGS_ARCHID, 0, asid),
            };
            let info = iommu_inv_pasid_info { flags, archid, pasid };
            granu.as_mut_bytes()[..size_of_val(&info)].copy_from_slice(info.as_bytes());
            IOMMU_INV_GRANU_PASID
        }
        Some((tag, Reach::Pages { address, count })) => {
            let (flags, pasid, archid) = match tag {
                Tag::Pasid(pasid) => (IOMMU_INV_ADDR_FLAGS_PASID, pasid.into(), 0),
                Tag::Asid(asid) => (IOMMU_INV_ADDR_FLAGS_ARCHID, 0, asid),
            };
            let (granule_size, nb_granules) = (PAGE, count);
            let info = iommu_inv_addr_info {
                flags,
                archid,
                pasid,
                addr: address,
                granule_size,
                nb_granules,
            };
            granu.as_mut_bytes().copy_from_slice(info.as_bytes());
            IOMMU_INV_GRANU_ADDR
        }
    };
    let argsz = size_of::<v5_10::iommu_cache_invalidate_info>() as u32;
    let (version, padding) = (IOMMU_CACHE_INVALIDATE_INFO_VERSION_1, Default::default());
    v5_10::iommu_cache_invalidate_info { argsz, version, cache, granularity, padding, granu }
}

/// The bytes from a capability with an ID on, in a chain of them.
fn capability(bytes: &[u8], first: u32, id: u16) -> Option<&[u8]> {
    let mut at = first as usize;
    while at != 0 {
        let rest = bytes.get(at..)?;
        let (header, _) = vfio_info_cap_header::read_from_prefix(rest).ok()?;
        if header.id == id {
            return Some(rest);
        }
        // a chain goes forward, whatever it says
        at = (header.next as usize).max(at + 1).min(bytes.len()) * usize::from(header.next != 0);
    }
    None
}
