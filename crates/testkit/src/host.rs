//! A program that has `/dev/iommu` and the VFIO devices of a machine open.

use std::sync::Arc;

use engine::{Engine, Node};
use mem::AddressSpace;
use profile::{Kernel, Machine};
use uapi::iommufd::*;
use uapi::vfio::*;
use uapi::{Command, Errno, Generation};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::Client;

/// The IOAS that every host begins with.
pub const IOAS: u32 = 1;
/// The first device; the others follow.
pub const DEVICE: u32 = 2;
/// An ID that nobody has.
pub const NOBODY: u32 = 99;

/// Memory to map and to put arguments in: 16 pages.
pub const MEMORY: u64 = 0x20_0000;
/// Where no memory is.
pub const UNMAPPED: u64 = 0xdead_0000;

const NP: u32 = IOMMU_HWPT_ALLOC_NEST_PARENT;
const FAULT: u32 = IOMMU_HWPT_FAULT_ID_VALID;

/// A program, with an IOAS and its devices bound to one iommufd.
#[derive(Debug)]
pub struct Host {
    /// The program.
    pub client: Client,
    /// The machine.
    pub engine: Arc<Engine>,
    /// `/dev/iommu`
    pub fd: i32,
    /// The VFIO devices, in the order of their nodes.
    pub cards: Vec<i32>,
}

impl Host {
    /// Binds every device of a machine: IOAS 1, devices from 2.
    pub fn new(machine: &Machine, kernel: &'static Kernel) -> Self {
        let mut host = Self::unbound(machine, kernel);
        for index in 0..host.cards.len() {
            let id = host.bind(index, host.fd);
            assert_eq!(id, Ok(DEVICE + index as u32), "bind of device {index}");
        }
        host
    }

    /// Opens everything and binds nothing.
    pub fn unbound(machine: &Machine, kernel: &'static Kernel) -> Self {
        let engine = Engine::new(machine, kernel);
        let mut client = Client::new();
        client.memory.map(MEMORY, 16, true);
        let fd = client.open_on(&engine);
        let mut host = Self { client, engine, fd, cards: Vec::new() };
        for number in 0.. {
            let Ok(card) = host.open_card(number) else { break };
            host.cards.push(card);
        }
        assert_eq!(host.ioas(), IOAS);
        host
    }

    /// The generation of the user API that the kernel has.
    pub fn generation(&self) -> Generation {
        self.engine.kernel().generation()
    }

    /// Opens `/dev/vfio/devices/vfioN`.
    pub fn open_card(&mut self, number: u32) -> Result<i32, Errno> {
        let engine = Arc::clone(&self.engine);
        let file = engine.open(&mut self.client, Node::VfioDevice(number));
        let file = file.map_err(|refusal| refusal.errno())?;
        engine::Caller::install(&mut self.client, file)
    }

    /// Puts bytes where `data_uptr` and the like may point to.
    pub fn put(&mut self, bytes: &[u8]) -> u64 {
        self.client.memory.write(MEMORY, bytes).unwrap();
        MEMORY
    }

    /// A command with the size that a program of this release gives it.
    pub fn call<C: Command>(&mut self, cmd: &mut C) -> Result<(), Errno> {
        let size = C::size_in(self.generation()).unwrap_or(size_of::<C>()) as u32;
        let mut bytes = cmd.as_bytes().to_vec();
        bytes[..4].copy_from_slice(&size.to_ne_bytes());
        *cmd = C::read_from_bytes(&bytes).unwrap();
        self.client.call(self.fd, cmd).map(|_| ())
    }

    /// A call on a VFIO device with any argument; what is written back replaces it.
    pub fn vfio<A>(&mut self, card: i32, cmd: u32, argument: &mut A) -> Result<(), Errno>
    where
        A: FromBytes + IntoBytes + Immutable,
    {
        let at = self.client.scratch(argument.as_bytes());
        let result = self.client.ioctl(card, cmd, at);
        let mut bytes = vec![0; size_of::<A>()];
        self.client.memory.read(at, &mut bytes).unwrap();
        *argument = A::read_from_bytes(&bytes).unwrap();
        result.map(|_| ()).map_err(|refusal| refusal.errno())
    }

    /// One IOAS more: its ID.
    pub fn ioas(&mut self) -> u32 {
        let mut cmd = iommu_ioas_alloc::default();
        self.call(&mut cmd).expect("an IOAS");
        cmd.out_ioas_id
    }

    /// `IOMMU_DESTROY`
    pub fn destroy(&mut self, id: u32) -> Result<(), Errno> {
        self.call(&mut iommu_destroy { id, ..Default::default() })
    }

    /// The lowest free ID.
    pub fn next_id(&mut self) -> u32 {
        let id = self.ioas();
        self.destroy(id).unwrap();
        id
    }

    /// One fault queue more: its ID.
    pub fn fault_queue(&mut self) -> u32 {
        let mut cmd = iommu_fault_alloc::default();
        self.call(&mut cmd).expect("a fault queue");
        cmd.out_fault_id
    }

    /// `IOMMU_HWPT_ALLOC` on the first IOAS for the first device, with a fault queue if a flag asks
    /// for one.
    pub fn hwpt(&mut self, flags: u32) -> Result<u32, Errno> {
        self.hwpt_of(DEVICE, IOAS, flags)
    }

    /// The same for any device, on any IOAS, nesting parent or vIOMMU.
    pub fn hwpt_of(&mut self, dev_id: u32, pt_id: u32, flags: u32) -> Result<u32, Errno> {
        let fault_id = if self.has_faults(flags) { self.fault_queue() } else { 0 };
        self.hwpt_with(&mut iommu_hwpt_alloc { flags, dev_id, pt_id, fault_id, ..hwpt_alloc() })
    }

    /// `IOMMU_HWPT_ALLOC` as it is; the ID.
    pub fn hwpt_with(&mut self, cmd: &mut iommu_hwpt_alloc) -> Result<u32, Errno> {
        self.call(cmd).map(|()| cmd.out_hwpt_id)
    }

    /// Whether the flags ask for a fault queue, and the release has any.
    fn has_faults(&self, flags: u32) -> bool {
        flags & FAULT != 0 && self.generation() >= Generation::V6_11
    }

    /// A nesting parent on the first IOAS.
    pub fn parent(&mut self) -> u32 {
        self.hwpt(NP).expect("a nesting parent")
    }

    /// A nested hwpt for the first device over a parent or a vIOMMU, with its data.
    pub fn nested(&mut self, pt_id: u32, flags: u32, kind: u32, data: &[u8]) -> Result<u32, Errno> {
        self.nested_of(DEVICE, pt_id, flags, kind, data)
    }

    /// The same for any device.
    pub fn nested_of(
        &mut self,
        dev_id: u32,
        pt_id: u32,
        flags: u32,
        data_type: u32,
        data: &[u8],
    ) -> Result<u32, Errno> {
        let fault_id = if self.has_faults(flags) { self.fault_queue() } else { 0 };
        let (data_uptr, data_len) = (self.put(data), data.len() as u32);
        let data = iommu_hwpt_alloc { data_type, data_len, data_uptr, ..hwpt_alloc() };
        self.hwpt_with(&mut iommu_hwpt_alloc { flags, dev_id, pt_id, fault_id, ..data })
    }

    /// `VFIO_DEVICE_BIND_IOMMUFD`; the ID of the device.
    pub fn bind(&mut self, index: usize, iommufd: i32) -> Result<u32, Errno> {
        self.bind_card(self.cards[index], iommufd)
    }

    /// The same by the descriptor of the VFIO device.
    pub fn bind_card(&mut self, card: i32, iommufd: i32) -> Result<u32, Errno> {
        let argsz = vfio_device_bind_iommufd::size_in(self.generation()).unwrap_or(16) as u32;
        let mut cmd = vfio_device_bind_iommufd { argsz, iommufd, ..Default::default() };
        self.vfio(card, VFIO_DEVICE_BIND_IOMMUFD, &mut cmd).map(|()| cmd.out_devid)
    }

    /// Attaches the first device; the hwpt that it uses now.
    pub fn attach(&mut self, pt_id: u32) -> Result<u32, Errno> {
        self.attach_of(0, pt_id)
    }

    /// The same for the VFIO device of an index.
    pub fn attach_of(&mut self, index: usize, pt_id: u32) -> Result<u32, Errno> {
        let argsz = vfio_device_attach_iommufd_pt::size_in(self.generation()).unwrap_or(12) as u32;
        let mut cmd = vfio_device_attach_iommufd_pt { argsz, pt_id, ..Default::default() };
        let card = self.cards[index];
        self.vfio(card, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &mut cmd).map(|()| cmd.pt_id)
    }

    /// Attaches a PASID of the first device.
    pub fn attach_pasid(&mut self, pasid: u32, pt_id: u32) -> Result<u32, Errno> {
        let flags = VFIO_DEVICE_ATTACH_PASID;
        let mut cmd = vfio_device_attach_iommufd_pt { argsz: 16, flags, pt_id, pasid };
        let card = self.cards[0];
        self.vfio(card, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &mut cmd).map(|()| cmd.pt_id)
    }

    /// Detaches the first device.
    pub fn detach(&mut self) -> Result<(), Errno> {
        let argsz = vfio_device_detach_iommufd_pt::size_in(self.generation()).unwrap_or(8) as u32;
        let mut cmd = vfio_device_detach_iommufd_pt { argsz, ..Default::default() };
        self.vfio(self.cards[0], VFIO_DEVICE_DETACH_IOMMUFD_PT, &mut cmd)
    }

    /// Detaches a PASID of the first device.
    pub fn detach_pasid(&mut self, pasid: u32) -> Result<(), Errno> {
        let flags = VFIO_DEVICE_DETACH_PASID;
        let mut cmd = vfio_device_detach_iommufd_pt { argsz: 12, flags, pasid };
        self.vfio(self.cards[0], VFIO_DEVICE_DETACH_IOMMUFD_PT, &mut cmd)
    }

    /// Maps a page of memory at an IOVA of the first IOAS.
    pub fn map(&mut self, iova: u64, rights: u32) -> Result<(), Errno> {
        self.call(&mut iommu_ioas_map {
            flags: IOMMU_IOAS_MAP_FIXED_IOVA | rights,
            ioas_id: IOAS,
            user_va: MEMORY,
            length: 4096,
            iova,
            ..Default::default()
        })
    }

    /// The ranges of the first IOAS, and its alignment.
    pub fn ranges(&mut self) -> (Vec<(u64, u64)>, u64) {
        let mut cmd = iommu_ioas_iova_ranges {
            ioas_id: IOAS,
            num_iovas: 16,
            allowed_iovas: MEMORY,
            ..Default::default()
        };
        self.call(&mut cmd).expect("at most 16 ranges");
        let mut bytes = vec![0; 16 * cmd.num_iovas as usize];
        self.client.memory.read(MEMORY, &mut bytes).unwrap();
        let list = bytes.chunks_exact(16).map(|it| iommu_iova_range::read_from_bytes(it).unwrap());
        (list.map(|it| (it.start, it.last)).collect(), cmd.out_iova_alignment)
    }

    /// `IOMMU_GET_HW_INFO` of the first device into a buffer of 64 bytes that held 0xee.
    pub fn hw_info(&mut self, asked: Option<u32>) -> Result<(iommu_hw_info, Vec<u8>), Errno> {
        let data_uptr = self.put(&[0xee; 64]);
        let (flags, out_data_type) = match asked {
            None => (0, 0),
            Some(kind) => (IOMMU_HW_INFO_FLAG_INPUT_TYPE, kind),
        };
        let mut cmd = iommu_hw_info {
            flags,
            dev_id: DEVICE,
            data_len: 64,
            data_uptr,
            out_data_type,
            ..Default::default()
        };
        self.call(&mut cmd)?;
        let mut bytes = vec![0; 64];
        self.client.memory.read(data_uptr, &mut bytes).unwrap();
        Ok((cmd, bytes))
    }

    /// A vIOMMU of a type for the first device over a nesting parent.
    pub fn viommu(&mut self, kind: u32, hwpt_id: u32) -> Result<u32, Errno> {
        self.viommu_of(DEVICE, kind, hwpt_id)
    }

    /// The same for any device.
    pub fn viommu_of(&mut self, dev_id: u32, kind: u32, hwpt_id: u32) -> Result<u32, Errno> {
        let mut cmd = iommu_viommu_alloc { r#type: kind, dev_id, hwpt_id, ..Default::default() };
        self.call(&mut cmd).map(|()| cmd.out_viommu_id)
    }

    /// Names the first device in a vIOMMU.
    pub fn vdevice(&mut self, viommu_id: u32, virt_id: u64) -> Result<u32, Errno> {
        self.vdevice_of(DEVICE, viommu_id, virt_id)
    }

    /// The same for any device.
    pub fn vdevice_of(&mut self, dev_id: u32, viommu_id: u32, virt_id: u64) -> Result<u32, Errno> {
        let mut cmd = iommu_vdevice_alloc { viommu_id, dev_id, virt_id, ..Default::default() };
        self.call(&mut cmd).map(|()| cmd.out_vdevice_id)
    }

    /// A vEVENTQ of a type, for as many events.
    pub fn veventq(&mut self, viommu_id: u32, kind: u32, depth: u32) -> Result<u32, Errno> {
        let mut cmd = iommu_veventq_alloc {
            viommu_id,
            r#type: kind,
            veventq_depth: depth,
            ..Default::default()
        };
        self.call(&mut cmd).map(|()| cmd.out_veventq_id)
    }

    /// `IOMMU_HWPT_INVALIDATE` with entries of one length; the answer, and `entry_num` written back.
    pub fn invalidate(&mut self, hwpt_id: u32, kind: u32, entries: &[&[u8]]) -> Done {
        let data_uptr = self.put(&entries.concat());
        let entry_len = entries.first().map_or(0, |entry| entry.len() as u32);
        let entry_num = entries.len() as u32;
        self.invalidate_with(iommu_hwpt_invalidate {
            hwpt_id,
            data_uptr,
            data_type: kind,
            entry_len,
            entry_num,
            ..Default::default()
        })
    }

    /// The same as it is.
    pub fn invalidate_with(&mut self, mut cmd: iommu_hwpt_invalidate) -> Done {
        let answer = self.call(&mut cmd);
        (answer, cmd.entry_num)
    }
}

/// What `IOMMU_HWPT_INVALIDATE` answers: the result, and how many entries were done.
pub type Done = (Result<(), Errno>, u32);

/// An allocation on the first IOAS for the first device.
pub fn hwpt_alloc() -> iommu_hwpt_alloc {
    iommu_hwpt_alloc { dev_id: DEVICE, pt_id: IOAS, ..Default::default() }
}
