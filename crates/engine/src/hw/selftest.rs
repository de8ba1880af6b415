//! The kernel's own mock hardware (`drivers/iommu/iommufd/selftest.c`).
//!
//! | word | meaning |
//! |---|---|
//! | mock device | has four cache registers that an invalidation clears |
//! | mock nested domain | has four TLB registers likewise |
//! | mock vIOMMU | echoes a word, in its data and in a page to be mapped |
//!
//! Its pages are 2 KiB, smaller than the CPU's, so that code which confuses the two is found.

use std::ops::RangeInclusive;

use mem::{PAGE_SIZE, SharedFile};
use profile::{Kernel, Quirk};
use uapi::iommufd::{
    IOMMU_HW_CAP_DIRTY_TRACKING, IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED, IOMMU_HW_INFO_TYPE_DEFAULT,
    IOMMU_HWPT_ALLOC_DIRTY_TRACKING, IOMMU_HWPT_ALLOC_NEST_PARENT, IOMMU_HWPT_ALLOC_PASID,
    IOMMU_HWPT_DATA_NONE,
};
use uapi::selftest::*;
use zerocopy::IntoBytes;

use super::{
    ApplyToDevice, Attach, DeviceState, Domain, Handled, Hardware, HwInfo, Nested, NestedRequest,
    PagingDomain, PagingRequest, Requests, Table, Users, ViommuMade, unfit, unsupported,
};
use crate::Refusal;
use crate::device::NO_PASID;
use crate::objects::ObjectId;
use crate::task::{Task, UserData};
use crate::viommu::Regions;

/// All powers of two from 2 KiB that three levels of tables of 512 entries can hold.
const PAGE_SIZES: u64 = ((1 << 38) - 1) & !(MOCK_PAGE_SIZE - 1);

/// All powers of two from 4 KiB that AMDv1 tables of six levels can hold.
const AMDV1_PAGE_SIZES: u64 = ((1 << 52) - 1) & !(PAGE_SIZE - 1);

/// What the default tables may translate.
const APERTURE: RangeInclusive<u64> = MOCK_APERTURE_START..=MOCK_APERTURE_LAST;

/// What 38 bits of address reach: the aperture of huge tables.
const HUGE_APERTURE_LAST: u64 = (1 << 38) - 1;

/// The mock hardware, as a kernel has it.
#[derive(Debug)]
pub(crate) struct Selftest {
    pub kernel: &'static Kernel,
}

/// A mock device.
#[derive(Debug)]
pub(crate) struct MockDevice {
    no_dirty: bool,
    /// Its tables have 1 MiB pages (before generic_pt).
    huge: bool,
    pub max_pasids: u32,
    pub cache: [u32; MOCK_DEV_CACHE_NUM as usize],
    /// The vIOMMU of the nested domain it is attached to, and its ID there.
    pub viommu: Option<ObjectId>,
    pub virt_id: u64,
    /// The next attach of the reserved PASID fails, to test the way back.
    pasid_error: bool,
}

/// A mock nested domain.
#[derive(Debug)]
pub(crate) struct MockNested {
    pub iotlb: [u32; MOCK_NESTED_DOMAIN_IOTLB_NUM as usize],
}

/// The object that the mock device's owner holds; destroying it takes the device away.
#[derive(Debug)]
pub(crate) struct MockHolder {
    pub device: ObjectId,
}

impl MockDevice {
    pub fn new(flags: u32, kernel: &Kernel) -> Result<Self, Refusal> {
        let huge = if kernel.has(Quirk::MockHuge) { MOCK_FLAGS_DEVICE_HUGE_IOVA } else { 0 };
        let pasid = if kernel.has(Quirk::MockPasid) { MOCK_FLAGS_DEVICE_PASID } else { 0 };
        if flags & !(MOCK_FLAGS_DEVICE_NO_DIRTY | huge | pasid) != 0 {
            let rule = "unknown bits";
            return Err(Refusal::Invalid { field: "dev_flags", value: flags.into(), rule });
        }
        // the device property has 0 bits without the flag, which makes one PASID: no PASID at all
        let pasid_bits = if flags & MOCK_FLAGS_DEVICE_PASID != 0 { MOCK_PASID_WIDTH } else { 0 };
        Ok(Self {
            no_dirty: flags & MOCK_FLAGS_DEVICE_NO_DIRTY != 0,
            huge: flags & MOCK_FLAGS_DEVICE_HUGE_IOVA != 0,
            max_pasids: 1 << pasid_bits,
            cache: [IOMMU_TEST_DEV_CACHE_DEFAULT; _],
            viommu: None,
            virt_id: 0,
            pasid_error: false,
        })
    }
}

fn mock(state: &DeviceState) -> &MockDevice {
    match state {
        DeviceState::Selftest(device) => device,
        DeviceState::Pci(_) => unreachable!("the engine gives each model its own devices"),
    }
}

fn mock_mut(state: &mut DeviceState) -> &mut MockDevice {
    match state {
        DeviceState::Selftest(device) => device,
        DeviceState::Pci(_) => unreachable!("the engine gives each model its own devices"),
    }
}

impl Selftest {
    /// User data of a page table, which had only its first field before generic_pt.
    fn load_config(&self, task: &Task<'_>, data: UserData) -> Result<iommu_hwpt_selftest, Refusal> {
        const MIN: usize = size_of::<u32>();
        let whole = size_of::<iommu_hwpt_selftest>();
        let known = if self.kernel.has(Quirk::MockGenericPt) { whole } else { MIN };
        data.load_known(task, IOMMU_HWPT_DATA_SELFTEST, MIN, known)
    }

    /// A domain of generic_pt, of the type that the user data names.
    fn alloc_generic(
        &self,
        task: &mut Task<'_>,
        table: Table,
        data: Option<UserData>,
    ) -> Result<PagingDomain, Refusal> {
        let config = match data {
            Some(data)
                if data.kind != IOMMU_HWPT_DATA_SELFTEST && data.kind != IOMMU_HWPT_DATA_NONE =>
            {
                return Err(unsupported("data_type", data.kind));
            }
            Some(data) => self.load_config(task, data)?,
            None => iommu_hwpt_selftest::default(),
        };
        task.allocate()?;
        let (page_sizes, aperture) = match config.pagetable_type {
            MOCK_IOMMUPT_DEFAULT => (PAGE_SIZES, APERTURE),
            MOCK_IOMMUPT_HUGE => (MOCK_HUGE_PAGE_SIZE | PAGE_SIZE, 0..=HUGE_APERTURE_LAST),
            MOCK_IOMMUPT_AMDV1 if self.kernel.has(Quirk::MockAmdv1) => {
                (AMDV1_PAGE_SIZES, 0..=u64::MAX)
            }
            other => return Err(unsupported("pagetable_type", other)),
        };
        Ok(PagingDomain {
            table,
            format: None,
            page_sizes,
            aperture,
            dirty_needs_tracking: false,
            read_only: true,
            coherent: false,
            identifier: None,
        })
    }
}

impl Hardware for Selftest {
    fn hw_info(&self, device: &DeviceState, wanted: u32) -> Result<HwInfo, Refusal> {
        if wanted != IOMMU_HW_INFO_TYPE_DEFAULT && wanted != IOMMU_HW_INFO_TYPE_SELFTEST {
            return Err(unsupported("in_data_type", wanted));
        }
        let info = iommu_test_hw_info { flags: 0, test_reg: IOMMU_HW_INFO_SELFTEST_REGVAL };
        let dirty = if self.has_dirty_tracking(device) { IOMMU_HW_CAP_DIRTY_TRACKING } else { 0 };
        Ok(HwInfo {
            kind: IOMMU_HW_INFO_TYPE_SELFTEST,
            data: info.as_bytes().to_vec(),
            capabilities: dirty | IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED,
            max_pasid_log2: mock(device).max_pasids.ilog2() as u8,
        })
    }

    fn has_dirty_tracking(&self, device: &DeviceState) -> bool {
        !mock(device).no_dirty
    }

    fn alloc_paging(
        &self,
        task: &mut Task<'_>,
        device: &DeviceState,
        request: PagingRequest,
    ) -> Result<PagingDomain, Refusal> {
        const FLAGS: u32 =
            IOMMU_HWPT_ALLOC_DIRTY_TRACKING | IOMMU_HWPT_ALLOC_NEST_PARENT | IOMMU_HWPT_ALLOC_PASID;
        let dirty = request.flags & IOMMU_HWPT_ALLOC_DIRTY_TRACKING != 0;
        if request.flags & !FLAGS != 0 || (dirty && mock(device).no_dirty) {
            return Err(unsupported("flags", request.flags));
        }
        let table = Table::Selftest { dirty };
        if self.kernel.has(Quirk::MockGenericPt) {
            return self.alloc_generic(task, table, request.data);
        }
        if let Some(data) = request.data {
            return Err(unsupported("data_type", data.kind));
        }
        task.allocate()?;
        let huge = if mock(device).huge { MOCK_HUGE_PAGE_SIZE } else { 0 };
        let page_sizes = MOCK_PAGE_SIZE | huge;
        Ok(PagingDomain {
            table,
            format: None,
            page_sizes,
            aperture: APERTURE,
            dirty_needs_tracking: true,
            read_only: true,
            coherent: false,
            identifier: None,
        })
    }

    fn has_nesting(&self) -> bool {
        true
    }

    fn alloc_nested(&self, task: &mut Task<'_>, request: NestedRequest) -> Result<Nested, Refusal> {
        let NestedRequest { flags, data, .. } = request;
        if flags & !IOMMU_HWPT_ALLOC_PASID != 0 {
            return Err(unsupported("flags", flags));
        }
        if data.kind != IOMMU_HWPT_DATA_SELFTEST {
            return Err(unsupported("data_type", data.kind));
        }
        let config = self.load_config(task, data)?;
        task.allocate()?;
        Ok(Nested::Selftest(MockNested { iotlb: [config.iotlb; _] }))
    }

    fn attach(&self, device: &mut DeviceState, attach: Attach) -> Result<(), Refusal> {
        let device = mock_mut(device);
        if attach.pasid == NO_PASID {
            device.attach_rid(attach, self.kernel.has(Quirk::MockNeedsVdevice))
        } else {
            device.attach_pasid(attach)
        }
    }

    fn invalidate_nested(
        &self,
        task: &mut Task<'_>,
        nested: &mut Nested,
        _users: &Users,
        requests: Requests,
    ) -> Handled {
        let Nested::Selftest(nested) = nested else {
            return (0, Err(requests.wrong_kind()));
        };
        if requests.kind != IOMMU_HWPT_INVALIDATE_DATA_SELFTEST {
            return (0, Err(requests.wrong_kind()));
        }
        for index in 0..requests.count {
            let data = requests.at(index);
            let min = size_of::<iommu_hwpt_invalidate_selftest>();
            let cleared = data.load(task, IOMMU_HWPT_INVALIDATE_DATA_SELFTEST, min).and_then(
                |request: iommu_hwpt_invalidate_selftest| {
                    clear(&mut nested.iotlb, request.flags, request.iotlb_id)
                },
            );
            if let Err(refusal) = cleared {
                return (index, Err(refusal));
            }
        }
        (requests.count, Ok(()))
    }

    fn invalidate_viommu(
        &self,
        task: &mut Task<'_>,
        _users: &Users,
        requests: Requests,
        apply: &mut ApplyToDevice<'_>,
    ) -> Handled {
        const KIND: u32 = IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST;
        // no requests at all ask whether the type is known
        if requests.count == 0 && requests.kind == KIND {
            return (0, Ok(()));
        }
        let commands: Vec<iommu_viommu_invalidate_selftest> = match requests.load_all(task, KIND) {
            Ok(commands) => commands,
            Err(refused) => return refused,
        };
        for (done, command) in (0..).zip(&commands) {
            if let Err(refusal) = check(command.flags, command.cache_id, MOCK_DEV_CACHE_ID_MAX) {
                return (done, Err(refusal));
            }
            let found = apply(command.vdev_id.into(), &mut |device, _| {
                // checked above
                let _ = clear(&mut mock_mut(device).cache, command.flags, command.cache_id);
            });
            if !found {
                let (value, rule) = (command.vdev_id.into(), "no vDEVICE has this ID");
                return (done, Err(Refusal::Invalid { field: "vdev_id", value, rule }));
            }
        }
        (requests.count, Ok(()))
    }

    fn has_viommus(&self) -> bool {
        true
    }

    fn check_viommu(&self, kind: u32) -> Result<(), Refusal> {
        if kind == IOMMU_VIOMMU_TYPE_SELFTEST { Ok(()) } else { Err(unsupported("type", kind)) }
    }

    fn init_viommu(
        &self,
        task: &mut Task<'_>,
        _parent: Table,
        data: Option<UserData>,
        regions: &mut Regions,
    ) -> Result<ViommuMade, Refusal> {
        const MIN: usize = 2 * size_of::<u32>();
        const LENGTH: u64 = 2 * PAGE_SIZE;
        let Some(data) = data else { return Ok(ViommuMade::default()) };
        let mut answer: iommu_viommu_selftest = data.load(task, IOMMU_VIOMMU_TYPE_SELFTEST, MIN)?;
        task.allocate()?;
        let file =
            SharedFile::anonymous("softiommu:viommu", LENGTH).map_err(|_| Refusal::NoMemory)?;
        file.write(0, answer.in_data.as_bytes()).map_err(|_| Refusal::NoMemory)?;
        task.allocate()?;
        let offset = regions.add(LENGTH, file);
        answer.out_data = answer.in_data;
        answer.out_mmap_length = LENGTH;
        answer.out_mmap_offset = offset;
        if let Err(refusal) = data.store(task, &answer, IOMMU_VIOMMU_TYPE_SELFTEST, MIN) {
            regions.remove(offset);
            return Err(refusal);
        }
        Ok(ViommuMade { region: Some(offset) })
    }

    fn has_queue(&self, kind: u32) -> bool {
        kind == IOMMU_HW_QUEUE_TYPE_SELFTEST
    }

    fn queue_count(&self) -> u32 {
        IOMMU_TEST_HW_QUEUE_MAX
    }
}

impl MockDevice {
    /// `mock_domain_nop_attach`
    fn attach_rid(&mut self, attach: Attach, needs_vdevice: bool) -> Result<(), Refusal> {
        let (viommu, virt_id) = match attach.domain {
            Some(Domain::Paging(Table::Selftest { dirty: true })) if self.no_dirty => {
                return Err(unfit("the device cannot track dirty pages"));
            }
            Some(Domain::Nested(_, Some((_, None)))) if needs_vdevice => {
                return Err(Refusal::NotFound { what: "vDEVICE of the device", value: 0 });
            }
            Some(Domain::Nested(_, Some((viommu, Some(virt_id))))) if needs_vdevice => {
                (Some(viommu), virt_id)
            }
            _ => (None, 0),
        };
        if viommu != self.viommu {
            (self.viommu, self.virt_id) = (viommu, virt_id);
        }
        Ok(())
    }

    /// `iommu_attach_device_pasid` and `mock_domain_set_dev_pasid_nop`
    fn attach_pasid(&mut self, attach: Attach) -> Result<(), Refusal> {
        if attach.replaces.is_none() && attach.pasid >= self.max_pasids {
            let rule = "beyond the PASIDs of the device";
            return Err(Refusal::Invalid { field: "pasid", value: attach.pasid.into(), rule });
        }
        if attach.pasid == IOMMU_TEST_PASID_RESERVED {
            let blocked = attach.domain.is_none();
            let fails = self.pasid_error && !blocked;
            self.pasid_error = !self.pasid_error && !blocked;
            if fails {
                return Err(Refusal::NoMemory);
            }
        }
        Ok(())
    }
}

/// Reads all requests of a vIOMMU, whatever length each has
/// (`iommu_copy_struct_from_full_user_array`).
fn check(flags: u32, id: u32, max: u32) -> Result<(), Refusal> {
    if flags & !IOMMU_TEST_INVALIDATE_FLAG_ALL != 0 {
        return Err(unsupported("flags", flags));
    }
    if id > max {
        return Err(Refusal::Invalid { field: "id", value: id.into(), rule: "no such register" });
    }
    Ok(())
}

/// Clears one of four registers, or all.
fn clear(registers: &mut [u32; 4], flags: u32, id: u32) -> Result<(), Refusal> {
    check(flags, id, registers.len() as u32 - 1)?;
    if flags & IOMMU_TEST_INVALIDATE_FLAG_ALL != 0 {
        *registers = [0; _];
    } else {
        registers[id as usize] = 0;
    }
    Ok(())
}
