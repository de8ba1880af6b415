//! What a program must not get away with: sizes, tails, pointers, counts, IDs of the wrong kind.
//!
//! Every row is checked for its errno and for leaving nothing behind: the next object gets the ID
//! it would have got anyway. The file is long because it is one table; it has one subject.

use mem::AddressSpace;
use testkit::Client;
use uapi::iommufd::*;
use uapi::selftest::*;
use uapi::{COMMANDS, Command, Errno};
use zerocopy::IntoBytes;

/// A machine with an IOAS (1), a mock device (holder 2, device 3, its hwpt 4), a nesting parent (5),
/// a fault queue (6), a nested hwpt (7) and a vIOMMU (8).
struct World {
    client: Client,
    fd: i32,
}

const IOAS: u32 = 1;
const HOLDER: u32 = 2;
const DEVICE: u32 = 3;
const HWPT: u32 = 4;
const PARENT: u32 = 5;
const FAULT: u32 = 6;
const NESTED: u32 = 7;
const VIOMMU: u32 = 8;
/// The next ID, and one that nobody has.
const FREE: u32 = 9;

const DATA: u64 = 0x20_0000;
const UNMAPPED: u64 = 0xdead_0000;

impl World {
    fn new() -> Self {
        let mut client = Client::new();
        client.memory.map(DATA, 4, true);
        let fd = client.open("selftest");
        let mut world = Self { client, fd };
        assert_eq!(world.ioas_alloc(), IOAS);
        let mut mock = test(IOMMU_TEST_OP_MOCK_DOMAIN, IOAS);
        world.ok(&mut mock);
        let ids: iommu_test_mock_domain = mock.args_as();
        assert_eq!((ids.out_stdev_id, ids.out_idev_id, ids.out_hwpt_id), (HOLDER, DEVICE, HWPT));
        let mut parent = hwpt(IOAS);
        parent.flags = IOMMU_HWPT_ALLOC_NEST_PARENT;
        world.ok(&mut parent);
        assert_eq!(parent.out_hwpt_id, PARENT);
        world.ok(&mut iommu_fault_alloc { size: 16, ..Default::default() });
        let mut nested = nested(&world);
        world.ok(&mut nested);
        assert_eq!(nested.out_hwpt_id, NESTED);
        let mut viommu = viommu();
        world.ok(&mut viommu);
        assert_eq!(viommu.out_viommu_id, VIOMMU);
        world
    }

    fn ok<C: Command>(&mut self, cmd: &mut C) {
        assert_eq!(self.client.call(self.fd, cmd), Ok(0), "{cmd:?}");
    }

    fn ioas_alloc(&mut self) -> u32 {
        let mut cmd = iommu_ioas_alloc { size: 12, ..Default::default() };
        self.ok(&mut cmd);
        cmd.out_ioas_id
    }

    /// The lowest free ID is still the same: nothing was left behind.
    fn is_unchanged(&mut self) {
        assert_eq!(self.ioas_alloc(), FREE);
        self.ok(&mut iommu_destroy { size: 8, id: FREE });
    }
}

fn test(op: u32, id: u32) -> iommu_test_cmd {
    iommu_test_cmd { size: 72, op, id, ..Default::default() }
}

fn hwpt(pt_id: u32) -> iommu_hwpt_alloc {
    iommu_hwpt_alloc { size: 48, dev_id: DEVICE, pt_id, ..Default::default() }
}

fn nested(world: &World) -> iommu_hwpt_alloc {
    let config = iommu_hwpt_selftest { iotlb: IOMMU_TEST_IOTLB_DEFAULT, pagetable_type: 0 };
    world.client.memory.write(DATA, config.as_bytes()).unwrap();
    iommu_hwpt_alloc {
        data_type: IOMMU_HWPT_DATA_SELFTEST,
        data_len: 8,
        data_uptr: DATA,
        flags: IOMMU_HWPT_FAULT_ID_VALID,
        fault_id: FAULT,
        ..hwpt(PARENT)
    }
}

fn viommu() -> iommu_viommu_alloc {
    iommu_viommu_alloc {
        size: 40,
        r#type: IOMMU_VIOMMU_TYPE_SELFTEST,
        dev_id: DEVICE,
        hwpt_id: PARENT,
        ..Default::default()
    }
}

fn map() -> iommu_ioas_map {
    iommu_ioas_map {
        size: 40,
        flags: IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_WRITEABLE,
        ioas_id: IOAS,
        user_va: DATA,
        length: 4096,
        iova: MOCK_APERTURE_START,
        ..Default::default()
    }
}

/// Sizes of every command: 0, too small, larger with zeros, larger with something, 4 GiB.
#[test]
fn sizes() {
    for command in COMMANDS {
        let newest = command.sizes.last().unwrap().1 as u32;
        let tail_of = |size: u32, garbage: bool| {
            let mut bytes = vec![0; 64];
            bytes[..4].copy_from_slice(&size.to_ne_bytes());
            bytes.resize(size.max(64) as usize, 0);
            if garbage {
                bytes[size as usize - 1] = 1;
            }
            bytes
        };
        #[rustfmt::skip] // one size, one line
        let cases: &[(&str, u32, bool, Errno)] = &[
            ("none",               0,                             false, Errno::EINVAL),
            ("too small",          command.min_size as u32 - 1,   false, Errno::EINVAL),
            ("larger with garbage", newest + 8,                   true,  Errno::E2BIG),
            ("far with garbage",   4000,                          true,  Errno::E2BIG),
        ];
        for (name, size, garbage, errno) in cases {
            let mut world = World::new();
            let at = DATA + 4096;
            world.client.memory.write(at, &tail_of(*size, *garbage)).unwrap();
            let result = world.client.ioctl(world.fd, command.ioctl(), at);
            assert_eq!(result.unwrap_err().errno(), *errno, "{} {name}", command.name);
            world.is_unchanged();
        }
        let mut world = World::new();
        world.client.memory.write(DATA + 4096, &u32::MAX.to_ne_bytes()).unwrap();
        world.client.memory.write(DATA + 4100, &[0; 0x2000 - 4]).unwrap();
        // 4 GiB: the tail runs off the end of the memory
        let result = world.client.ioctl(world.fd, command.ioctl(), DATA + 4096);
        assert_eq!(result.unwrap_err().errno(), Errno::EFAULT, "{} 4 GiB", command.name);
        world.is_unchanged();
        let mut world = World::new();
        let result = world.client.ioctl(world.fd, command.ioctl(), UNMAPPED);
        assert_eq!(result.unwrap_err().errno(), Errno::EFAULT, "{} bad address", command.name);
        world.is_unchanged();
    }
}

/// A larger struct with zeros is the same call.
#[test]
fn larger_with_zeros() {
    let mut world = World::new();
    let mut cmd = iommu_ioas_alloc { size: 64, ..Default::default() };
    assert_eq!(world.client.call_with_tail(world.fd, &mut cmd, &[0; 52]), Ok(0));
    assert_eq!(cmd.out_ioas_id, FREE);
}

/// The numbers that are no commands.
#[test]
fn unknown_numbers() {
    let mut world = World::new();
    let at = world.client.scratch(&64_u32.to_ne_bytes());
    #[rustfmt::skip] // one number, one line
    let cases: &[(u32, u64, Errno)] = &[
        (0x3b96,      at,       Errno::ENOTTY), // a hole in the table
        (0x3b96,      UNMAPPED, Errno::EFAULT), // the size is read before the number is known
        (0x3ba1,      at,       Errno::ENOTTY), // beyond the table
        (0x3ba1,      UNMAPPED, Errno::ENOTTY), // ... where nothing is read
        (0x4000_3b81, at,       Errno::ENOTTY), // a direction bit
        (0x3c81,      at,       Errno::ENOTTY), // another letter
        (0x3b00,      at,       Errno::ENOTTY),
        (0x3b75,      at,       Errno::ENOTTY), // VFIO_IOMMU_DIRTY_PAGES
    ];
    for (number, arg, errno) in cases {
        let result = world.client.ioctl(world.fd, *number, *arg);
        assert_eq!(result.unwrap_err().errno(), *errno, "{number:#x}");
    }
    world.is_unchanged();
}

/// Rows of one command: a change to a good call, and the errno that it gets.
type Rows<C> = &'static [(&'static str, fn(&mut C), Errno)];

fn refuse<C: Command>(good: fn(&World) -> C, rows: Rows<C>) {
    for (name, change, errno) in rows {
        let mut world = World::new();
        let mut cmd = good(&world);
        change(&mut cmd);
        assert_eq!(world.client.call(world.fd, &mut cmd), Err(*errno), "{name}");
        world.is_unchanged();
    }
}

#[test]
#[rustfmt::skip] // one call, one line
fn ioas_map() {
    refuse::<iommu_ioas_map>(|_| map(), &[
        ("unknown flag before all",       |c| { c.flags |= 8; c.ioas_id = 99 },                           Errno::EOPNOTSUPP),
        ("reserved",                      |c| { c.__reserved = 1; c.ioas_id = 99 },                       Errno::EOPNOTSUPP),
        ("length of everything",          |c| { c.length = u64::MAX; c.flags = 0 },                       Errno::EOVERFLOW),
        ("last IOVA",                     |c| c.iova = u64::MAX,                                          Errno::EOVERFLOW),
        ("no right before bad ID",        |c| { c.flags = 1; c.ioas_id = 99 },                            Errno::EINVAL),
        ("no such IOAS",                  |c| c.ioas_id = 99,                                             Errno::ENOENT),
        ("ID 0",                          |c| c.ioas_id = 0,                                              Errno::ENOENT),
        ("a device's ID",                 |c| c.ioas_id = DEVICE,                                         Errno::ENOENT),
        ("memory wraps",                  |c| { c.user_va = u64::MAX - 4095; c.length = 0x2000 },         Errno::EOVERFLOW),
        ("no length",                     |c| c.length = 0,                                               Errno::EINVAL),
        ("unaligned length",              |c| c.length = 1,                                               Errno::EINVAL),
        ("unaligned IOVA",                |c| c.iova += 1,                                                Errno::EINVAL),
        ("unaligned memory",              |c| c.user_va += 1,                                             Errno::EINVAL),
        ("reserved IOVA",                 |c| c.iova = 0x1000,                                            Errno::EINVAL),
        ("IOVA wraps",                    |c| { c.iova = u64::MAX - 0xfff - 0x1000; c.length = 1 << 62 },  Errno::EOVERFLOW),
        ("memory that is not there",      |c| c.user_va = UNMAPPED,                                       Errno::EFAULT),
        ("longer than the memory",        |c| c.length = 0x10_0000,                                       Errno::EFAULT),
    ]);
}

#[test]
#[rustfmt::skip] // one call, one line
fn ioas_unmap() {
    refuse::<iommu_ioas_unmap>(|_| iommu_ioas_unmap { size: 24, ioas_id: IOAS, iova: 0, length: 4096 }, &[
        ("nothing there",                 |_| (),                                                         Errno::ENOENT),
        ("no length",                     |c| c.length = 0,                                               Errno::EINVAL),
        ("wraps",                         |c| c.iova = u64::MAX - 1,                                      Errno::EOVERFLOW),
        ("last IOVA",                     |c| c.iova = u64::MAX,                                          Errno::EOVERFLOW),
        ("a hwpt's ID",                   |c| c.ioas_id = HWPT,                                           Errno::ENOENT),
    ]);
}

#[test]
#[rustfmt::skip] // one call, one line
fn hwpt_alloc() {
    refuse::<iommu_hwpt_alloc>(|_| hwpt(IOAS), &[
        ("reserved before all",           |c| { c.__reserved = 1; c.data_len = 1 },                       Errno::EOPNOTSUPP),
        ("data without a type",           |c| { c.data_len = 8; c.dev_id = 99 },                          Errno::EINVAL),
        ("a type without data",           |c| { c.data_type = 1; c.dev_id = 99 },                         Errno::EINVAL),
        ("no such device",                |c| { c.dev_id = 99; c.pt_id = 99 },                            Errno::ENOENT),
        ("no such pt",                    |c| c.pt_id = 99,                                               Errno::EINVAL),
        ("a fault queue as pt",           |c| c.pt_id = FAULT,                                            Errno::EINVAL),
        ("a nested hwpt as pt",           |c| c.pt_id = NESTED,                                           Errno::EINVAL),
        ("unknown flag",                  |c| c.flags = 16,                                               Errno::EOPNOTSUPP),
        ("parent with faults",            |c| c.flags = 5,                                                Errno::EOPNOTSUPP),
        ("no such fault queue",           |c| { c.flags = 4; c.fault_id = 99 },                           Errno::ENOENT),
        ("an IOAS as fault queue",        |c| { c.flags = 4; c.fault_id = IOAS },                         Errno::ENOENT),
        ("nested without data",           |c| c.pt_id = PARENT,                                           Errno::EOPNOTSUPP),
        ("unknown data type",             |c| { c.data_type = 77; c.data_len = 8; c.data_uptr = DATA },   Errno::EOPNOTSUPP),
        ("data too long",                 |c| { c.data_type = 0xdead; c.data_len = 9; c.data_uptr = DATA },  Errno::EINVAL),
        ("data too short",                |c| { c.data_type = 0xdead; c.data_len = 3; c.data_uptr = DATA },  Errno::EINVAL),
        ("bad data pointer",              |c| { c.data_type = 0xdead; c.data_len = 8; c.data_uptr = UNMAPPED },  Errno::EFAULT),
    ]);
}

#[test]
#[rustfmt::skip] // one call, one line
fn nested_alloc() {
    refuse::<iommu_hwpt_alloc>(nested, &[
        ("not a parent",                  |c| c.pt_id = HWPT,                                             Errno::EINVAL),
        ("flags of a parent",             |c| c.flags |= 1,                                               Errno::EOPNOTSUPP),
        ("unknown type",                  |c| c.data_type = 1,                                            Errno::EOPNOTSUPP),
        ("bad data pointer",              |c| c.data_uptr = UNMAPPED,                                     Errno::EFAULT),
    ]);
}

#[test]
#[rustfmt::skip] // one call, one line
fn invalidate() {
    refuse::<iommu_hwpt_invalidate>(|_| iommu_hwpt_invalidate {
        size: 32, hwpt_id: NESTED, data_uptr: DATA, data_type: 0xdead_beef, entry_len: 8, entry_num: 1,
        __reserved: 0,
    }, &[
        ("reserved",                      |c| c.__reserved = 1,                                           Errno::EOPNOTSUPP),
        ("no data",                       |c| c.data_uptr = 0,                                            Errno::EINVAL),
        ("no entry length",               |c| c.entry_len = 0,                                            Errno::EINVAL),
        ("entries longer than a page",    |c| c.entry_len = 4097,                                         Errno::EINVAL),
        ("too many entries",              |c| c.entry_num = (1 << 19) + 1,                                Errno::EINVAL),
        ("all the entries there are",     |c| c.entry_num = u32::MAX,                                     Errno::EINVAL),
        ("an IOAS",                       |c| c.hwpt_id = IOAS,                                           Errno::EINVAL),
        ("no such object",                |c| c.hwpt_id = 99,                                             Errno::ENOENT),
        ("unknown type",                  |c| c.data_type = 1,                                            Errno::EINVAL),
        ("bad data pointer",              |c| c.data_uptr = UNMAPPED,                                     Errno::EFAULT),
    ]);
}

#[test]
#[rustfmt::skip] // one call, one line
fn viommu_alloc() {
    refuse::<iommu_viommu_alloc>(|_| viommu(), &[
        ("flags before all",              |c| { c.flags = 1; c.dev_id = 99 },                             Errno::EOPNOTSUPP),
        ("default type",                  |c| c.r#type = 0,                                               Errno::EOPNOTSUPP),
        ("unknown type",                  |c| c.r#type = 1,                                               Errno::EOPNOTSUPP),
        ("no such device",                |c| c.dev_id = 99,                                              Errno::ENOENT),
        ("an IOAS as parent",             |c| c.hwpt_id = IOAS,                                           Errno::ENOENT),
        ("not a parent",                  |c| c.hwpt_id = HWPT,                                           Errno::EINVAL),
        ("data too long",                 |c| { c.data_len = 25; c.data_uptr = DATA },                    Errno::EINVAL),
        ("bad data pointer",              |c| { c.data_len = 24; c.data_uptr = UNMAPPED },                Errno::EFAULT),
    ]);
}

#[test]
#[rustfmt::skip] // one call, one line
fn vdevice_alloc() {
    refuse::<iommu_vdevice_alloc>(|_| iommu_vdevice_alloc {
        size: 24, viommu_id: VIOMMU, dev_id: DEVICE, virt_id: 0, ..Default::default()
    }, &[
        ("no such vIOMMU",                |c| c.viommu_id = HWPT,                                         Errno::ENOENT),
        ("no such device",                |c| c.dev_id = HOLDER,                                          Errno::ENOENT),
    ]);
}

#[test]
#[rustfmt::skip] // one call, one line
fn veventq_alloc() {
    refuse::<iommu_veventq_alloc>(|_| iommu_veventq_alloc {
        size: 32, viommu_id: VIOMMU, r#type: IOMMU_VEVENTQ_TYPE_SELFTEST, veventq_depth: 1,
        ..Default::default()
    }, &[
        ("flags",                         |c| c.flags = 1,                                                Errno::EOPNOTSUPP),
        ("reserved",                      |c| c.__reserved = 1,                                           Errno::EOPNOTSUPP),
        ("default type",                  |c| c.r#type = 0,                                               Errno::EOPNOTSUPP),
        ("no depth",                      |c| { c.veventq_depth = 0; c.viommu_id = 99 },                  Errno::EINVAL),
        ("any depth",                     |c| c.veventq_depth = u32::MAX,                                 Errno::EINVAL),
        ("no such vIOMMU",                |c| c.viommu_id = NESTED,                                       Errno::ENOENT),
    ]);
}

#[test]
#[rustfmt::skip] // one call, one line
fn hw_queue_alloc() {
    refuse::<iommu_hw_queue_alloc>(|_| iommu_hw_queue_alloc {
        size: 40, viommu_id: VIOMMU, r#type: IOMMU_HW_QUEUE_TYPE_SELFTEST, length: 4096,
        nesting_parent_iova: MOCK_APERTURE_START, ..Default::default()
    }, &[
        ("flags",                         |c| c.flags = 1,                                                Errno::EOPNOTSUPP),
        ("default type",                  |c| c.r#type = 0,                                               Errno::EOPNOTSUPP),
        ("unknown type",                  |c| c.r#type = 1,                                               Errno::EOPNOTSUPP),
        ("no length",                     |c| c.length = 0,                                               Errno::EINVAL),
        ("wraps",                         |c| c.length = u64::MAX,                                        Errno::EOVERFLOW),
        ("out of range",                  |c| { c.nesting_parent_iova = 0; c.length = u64::MAX },         Errno::ERANGE),
        ("nothing mapped",                |_| (),                                                         Errno::ENOENT),
    ]);
}

#[test]
#[rustfmt::skip] // one call, one line
fn hw_info() {
    refuse::<iommu_hw_info>(|_| iommu_hw_info { size: 40, dev_id: DEVICE, ..Default::default() }, &[
        ("unknown flag",                  |c| { c.flags = 2; c.dev_id = 99 },                             Errno::EOPNOTSUPP),
        ("reserved",                      |c| c.__reserved[2] = 1,                                        Errno::EOPNOTSUPP),
        ("no such device",                |c| c.dev_id = IOAS,                                            Errno::ENOENT),
        ("unknown type",                  |c| { c.flags = 1; c.out_data_type = 1 },                       Errno::EOPNOTSUPP),
        ("bad buffer",                    |c| { c.data_len = 8; c.data_uptr = UNMAPPED },                 Errno::EFAULT),
        ("4 GiB of buffer",               |c| { c.data_len = u32::MAX; c.data_uptr = DATA },              Errno::EFAULT),
    ]);
}

#[test]
#[rustfmt::skip] // one call, one line
fn iova_ranges() {
    refuse::<iommu_ioas_iova_ranges>(|_| iommu_ioas_iova_ranges {
        size: 32, ioas_id: IOAS, num_iovas: 1, allowed_iovas: DATA, ..Default::default()
    }, &[
        ("reserved",                      |c| c.__reserved = 1,                                           Errno::EOPNOTSUPP),
        ("too short",                     |c| c.num_iovas = 0,                                            Errno::EMSGSIZE),
        ("bad array",                     |c| c.allowed_iovas = UNMAPPED,                                 Errno::EFAULT),
        ("any count, bad array",          |c| { c.num_iovas = u32::MAX; c.allowed_iovas = UNMAPPED },     Errno::EFAULT),
    ]);
}

#[test]
#[rustfmt::skip] // one call, one line
fn allow_iovas() {
    refuse::<iommu_ioas_allow_iovas>(|_| iommu_ioas_allow_iovas {
        size: 24, ioas_id: IOAS, num_iovas: 1, allowed_iovas: DATA, ..Default::default()
    }, &[
        ("start not below last",          |_| (),                                                         Errno::EINVAL),
        ("any count",                     |c| { c.num_iovas = u32::MAX; c.allowed_iovas = UNMAPPED },     Errno::EFAULT),
        ("no such IOAS",                  |c| { c.ioas_id = 99; c.allowed_iovas = UNMAPPED },             Errno::ENOENT),
    ]);
}

#[test]
#[rustfmt::skip] // one call, one line
fn destroy() {
    refuse::<iommu_destroy>(|_| iommu_destroy { size: 8, id: 99 }, &[
        ("no such object",                |_| (),                                                         Errno::ENOENT),
        ("ID 0",                          |c| c.id = 0,                                                   Errno::ENOENT),
        ("an IOAS in use",                |c| c.id = IOAS,                                                Errno::EBUSY),
        ("a bound device",                |c| c.id = DEVICE,                                              Errno::EBUSY),
        ("an attached hwpt",              |c| c.id = HWPT,                                                Errno::EBUSY),
        ("a parent in use",               |c| c.id = PARENT,                                              Errno::EBUSY),
        ("a fault queue being read",      |c| c.id = FAULT,                                               Errno::EBUSY),
    ]);
}

#[test]
#[rustfmt::skip] // one call, one line
fn ioas_copy() {
    refuse::<iommu_ioas_copy>(|_| iommu_ioas_copy {
        size: 40, flags: 6, dst_ioas_id: IOAS, src_ioas_id: IOAS, length: 4096, dst_iova: 0, src_iova: MOCK_APERTURE_START,
    }, &[
        ("unknown flag",                  |c| { c.flags |= 8; c.src_ioas_id = 99 },   Errno::EOPNOTSUPP),
        ("length of everything",          |c| c.length = u64::MAX,                    Errno::EOVERFLOW),
        ("last source",                   |c| c.src_iova = u64::MAX,                  Errno::EOVERFLOW),
        ("last target",                   |c| c.dst_iova = u64::MAX,                  Errno::EOVERFLOW),
        ("no right",                      |c| { c.flags = 0; c.src_ioas_id = 99 },    Errno::EINVAL),
        ("no such source",                |c| c.src_ioas_id = DEVICE,                 Errno::ENOENT),
        ("no length before bad target",   |c| { c.length = 0; c.dst_ioas_id = 99 },   Errno::EINVAL),
        ("nothing mapped before bad target", |c| c.dst_ioas_id = 99,                  Errno::ENOENT),
        ("source wraps",                  |c| { c.src_iova = u64::MAX - 1; c.length = 4096 }, Errno::EOVERFLOW),
    ]);
}

#[test]
#[rustfmt::skip] // one call, one line
fn ioas_map_file() {
    refuse::<iommu_ioas_map_file>(|_| iommu_ioas_map_file {
        size: 40, flags: 6, ioas_id: IOAS, fd: 99, start: 0, length: 4096, iova: 0,
    }, &[
        ("no such descriptor",            |_| (),                                     Errno::EBADF),
        ("a negative descriptor",         |c| c.fd = -1,                              Errno::EBADF),
        ("a descriptor that is no memory", |c| c.fd = 3,                              Errno::EINVAL),
        ("unknown flag",                  |c| c.flags = 8,                            Errno::EOPNOTSUPP),
        ("no right",                      |c| c.flags = 1,                            Errno::EINVAL),
        ("no such IOAS before the file",  |c| c.ioas_id = 99,                         Errno::ENOENT),
        ("no length",                     |c| c.length = 0,                           Errno::EINVAL),
        ("wraps",                         |c| { c.start = u64::MAX; c.length = 2 },   Errno::EOVERFLOW),
    ]);
}

#[test]
#[rustfmt::skip] // one call, one line
fn options() {
    refuse::<iommu_option>(|_| iommu_option { size: 24, option_id: IOMMU_OPTION_HUGE_PAGES, op: IOMMU_OPTION_OP_SET, object_id: IOAS, ..Default::default() }, &[
        ("reserved",                      |c| c.__reserved = 1,                       Errno::EOPNOTSUPP),
        ("unknown option",                |c| c.option_id = 2,                        Errno::EOPNOTSUPP),
        ("unknown operation",             |c| c.op = 2,                               Errno::EOPNOTSUPP),
        ("unknown value",                 |c| c.val64 = 2,                            Errno::EINVAL),
        ("no IOAS",                       |c| c.object_id = 0,                        Errno::ENOENT),
        ("rlimit mode of an object",      |c| c.option_id = 0,                        Errno::EOPNOTSUPP),
        ("rlimit mode with objects",      |c| { c.option_id = 0; c.object_id = 0 },   Errno::EBUSY),
    ]);
    refuse::<iommu_vfio_ioas>(|_| iommu_vfio_ioas { size: 12, ioas_id: IOAS, op: IOMMU_VFIO_IOAS_SET, __reserved: 0 }, &[
        ("reserved",                      |c| c.__reserved = 1,                       Errno::EOPNOTSUPP),
        ("unknown operation",             |c| c.op = 3,                               Errno::EOPNOTSUPP),
        ("no IOAS",                       |c| c.ioas_id = DEVICE,                     Errno::ENOENT),
        ("none was set",                  |c| c.op = IOMMU_VFIO_IOAS_GET,             Errno::ENODEV),
    ]);
    refuse::<iommu_ioas_alloc>(|_| iommu_ioas_alloc { size: 12, ..Default::default() }, &[
        ("flags",                         |c| c.flags = 1,                            Errno::EOPNOTSUPP),
    ]);
    refuse::<iommu_fault_alloc>(|_| iommu_fault_alloc { size: 16, ..Default::default() }, &[
        ("flags",                         |c| c.flags = 1,                            Errno::EOPNOTSUPP),
    ]);
    refuse::<iommu_ioas_change_process>(|_| iommu_ioas_change_process { size: 8, ..Default::default() }, &[
        ("reserved",                      |c| c.__reserved = 1,                       Errno::EOPNOTSUPP),
    ]);
    refuse::<iommu_ioas_noiommu_get_pa>(|_| iommu_ioas_noiommu_get_pa { size: 40, ioas_id: IOAS, length: 1, ..Default::default() }, &[
        ("flags",                         |c| c.flags = 1,                            Errno::EOPNOTSUPP),
        ("no length",                     |c| c.length = 0,                           Errno::EINVAL),
        ("last IOVA",                     |c| c.iova = u64::MAX,                      Errno::EOVERFLOW),
        ("nothing mapped",                |_| (),                                     Errno::ENOENT),
        ("no IOAS",                       |c| c.ioas_id = HWPT,                       Errno::ENOENT),
    ]);
}

#[test]
#[rustfmt::skip] // one call, one line
fn dirty_tracking() {
    refuse::<iommu_hwpt_set_dirty_tracking>(|_| iommu_hwpt_set_dirty_tracking { size: 16, hwpt_id: HWPT, ..Default::default() }, &[
        ("unknown flag",                  |c| { c.flags = 2; c.hwpt_id = 99 },        Errno::EOPNOTSUPP),
        ("a nested hwpt",                 |c| c.hwpt_id = NESTED,                     Errno::ENOENT),
        ("made without tracking",         |_| (),                                     Errno::EOPNOTSUPP),
    ]);
    refuse::<iommu_hwpt_get_dirty_bitmap>(|_| iommu_hwpt_get_dirty_bitmap {
        size: 48, hwpt_id: HWPT, iova: MOCK_APERTURE_START, length: 4096, page_size: 4096, data: DATA, ..Default::default()
    }, &[
        ("unknown flag",                  |c| { c.flags = 2; c.hwpt_id = 99 },        Errno::EOPNOTSUPP),
        ("reserved",                      |c| c.__reserved = 1,                       Errno::EOPNOTSUPP),
        ("an IOAS",                       |c| c.hwpt_id = IOAS,                       Errno::ENOENT),
        ("no length",                     |c| c.length = 0,                           Errno::EINVAL),
        ("wraps",                         |c| c.length = u64::MAX,                    Errno::EOVERFLOW),
        ("unaligned",                     |c| c.iova += 1,                            Errno::EINVAL),
        ("no page size",                  |c| c.page_size = 0,                        Errno::EINVAL),
        ("larger pages than the range",   |c| c.page_size = 8192,                     Errno::EINVAL),
        ("made without tracking",         |_| (),                                     Errno::EOPNOTSUPP),
    ]);
}

#[test]
#[rustfmt::skip] // one call, one line
fn test_operations() {
    refuse::<iommu_test_cmd>(|_| test(0, IOAS), &[
        ("no operation",                  |_| (),                                     Errno::EOPNOTSUPP),
        ("an operation of the future",    |c| c.op = 24,                              Errno::EOPNOTSUPP),
        ("reserve nothing",               |c| c.op = 1,                               Errno::EINVAL),
        ("reserve everything and more",   |c| { c.op = 1; c.args = [2, u64::MAX, 0, 0, 0, 0] }, Errno::EOVERFLOW),
        ("reserve what a domain has",     |c| { c.op = 1; c.id = 99; c.args[1] = 1 }, Errno::ENOENT),
        ("device on nothing",             |c| { c.op = 2; c.id = 99 },                Errno::ENOENT),
        ("device on a device",            |c| { c.op = 2; c.id = DEVICE },            Errno::EINVAL),
        ("device with unknown flags",     |c| { c.op = 12; c.args = [0, 2 << 32, 0, 0, 0, 0] }, Errno::EINVAL),
        ("check a nested hwpt",           |c| { c.op = 3; c.id = NESTED },            Errno::ENOENT),
        ("check unaligned",               |c| { c.op = 3; c.id = HWPT; c.args[0] = 1 }, Errno::EINVAL),
        ("no access file",                |c| { c.op = 8; c.id = 77 },                Errno::EBADFD),
        ("an iommufd as access file",     |c| { c.op = 8; c.id = 3 },                 Errno::EBADFD),
        ("more than 16 MiB",              |c| { c.op = 8; c.args[1] = (16 << 20) + 1 }, Errno::ENOMEM),
        ("a limit below one element",     |c| { c.op = 9; c.args[0] = 11 },           Errno::EINVAL),
        ("dirty without tracking",        |c| { c.op = 13; c.id = HWPT; c.args = [0, 0, 4096, 4096, DATA, 0] }, Errno::EINVAL),
        ("dirty too much",                |c| { c.op = 13; c.id = HWPT; c.args = [0, 0, 1 << 60, 4096, DATA, 0] }, Errno::EOVERFLOW),
        ("no such register",              |c| { c.op = 14; c.id = NESTED; c.args[0] = 4 }, Errno::EINVAL),
        ("an event of no vIOMMU",         |c| { c.op = 17; c.args[0] = DEVICE.into() }, Errno::ENOENT),
        ("a PASID without support",       |c| { c.op = 18; c.id = HOLDER; c.args[0] = 1 | u64::from(HWPT) << 32 }, Errno::EINVAL),
        ("replace what is not attached",  |c| { c.op = 19; c.id = HOLDER; c.args[0] = 1 | u64::from(HWPT) << 32 }, Errno::EINVAL),
        ("no dma-buf",                    |c| c.op = 22,                              Errno::EINVAL),
        ("a dma-buf of 4 GiB",            |c| { c.op = 22; c.args[0] = u32::MAX.into() }, Errno::EINVAL),
        ("revoke nothing",                |c| { c.op = 23; c.args[0] = 99 },          Errno::EBADF),
        ("revoke an iommufd",             |c| { c.op = 23; c.args[0] = 3 },           Errno::EINVAL),
    ]);
}

/// A descriptor table without room: the object that would have had it is gone again.
#[test]
fn no_room_for_a_descriptor() {
    let mut world = World::new();
    world.client.descriptor_limit = 2;
    let mut cmd = iommu_fault_alloc { size: 16, ..Default::default() };
    assert_eq!(world.client.call(world.fd, &mut cmd), Err(Errno::EMFILE));
    world.is_unchanged();
}

/// Every allocation of a sequence fails once: what failed made nothing.
#[test]
fn every_allocation_fails_once() {
    for nth in 0..200 {
        let mut world = World::new();
        world.client.fail_after = Some(nth);
        let nested = world.client.call(world.fd, &mut nested(&world));
        let mock = world.client.call(world.fd, &mut test(IOMMU_TEST_OP_MOCK_DOMAIN, IOAS));
        let viommu = world.client.call(world.fd, &mut viommu());
        let mapped = world.client.call(world.fd, &mut map());
        world.client.fail_after = None;
        // a mock device is a holder and a device, on a hwpt that is there already
        let made =
            u32::from(nested.is_ok()) + 2 * u32::from(mock.is_ok()) + u32::from(viommu.is_ok());
        assert_eq!(world.ioas_alloc(), FREE + made, "failure {nth}");
        if [nested, mock, viommu, mapped].iter().all(Result::is_ok) {
            assert!(nth > 5, "nothing was made to fail");
            return;
        }
    }
    panic!("the sequence never got through");
}
