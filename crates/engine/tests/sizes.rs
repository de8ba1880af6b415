//! The size cases of every command under every kernel, made from the kernels' own headers.
//!
//! A program and a kernel are seldom built from the same header. The first word of each argument tells
//! how large the program's struct is, and one rule reconciles it with the kernel's
//! (`drivers/iommu/iommufd/main.c`, `iommufd_fops_ioctl`; `copy_struct_from_user`):
//!
//! | the program's struct is | the kernel |
//! |---|---|
//! | shorter than the last field that a call needs | refuses: `EINVAL` |
//! | smaller, from an older header | takes what is missing as 0, and answers no more than it was given |
//! | equal | - |
//! | larger, its tail zero | does the same, and leaves the tail alone |
//! | larger, anything else in its tail | refuses, since it cannot know what is asked: `E2BIG` |
//! | of a command of the future | refuses: `ENOTTY` |
//!
//! Which commands a release has, and how large their structs are, is read from `conformance/headers`,
//! not from the tables that the engine itself uses. VFIO devices have other rules, at the end. The file
//! is long because the two tables are.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use engine::{Caller, Engine, Node};
use mem::{AddressSpace, PAGE_SIZE};
use profile::{Kernel, Machine};
use serde_json::Value;
use testkit::Client;
use uapi::Generation::*;
use uapi::iommufd::*;
use uapi::selftest::*;
use uapi::{Command, Errno, Generation};

/// What a system call returns.
type Answer = Result<i64, Errno>;

/// A command: the names of its ioctl number, its struct and the last field that a call needs, the end
/// of that field; a call that does something, as values of fields, and what is answered to it.
struct Row(&'static str, &'static str, &'static str, usize, Fields, Answer);

type Fields = &'static [(&'static str, u64)];

/// The fourth column is the smallest size: `IOCTL_OP(number, function, struct, last)` in `main.c` of
/// 6.11 to 6.14 and 6.17 to 7.3; it never changed (`reference/uapi.md`, section 1.2). What a call
/// names is in [`World`].
#[rustfmt::skip] // one command, one line
const COMMANDS: &[Row] = &[
    Row("IOMMU_DESTROY",                 "iommu_destroy",                 "id",                  8, &[("id", SPARE)],                                                                     Ok(0)),
    Row("IOMMU_IOAS_ALLOC",              "iommu_ioas_alloc",              "out_ioas_id",        12, &[],                                                                                  Ok(0)),
    Row("IOMMU_IOAS_ALLOW_IOVAS",        "iommu_ioas_allow_iovas",        "allowed_iovas",      24, &[("ioas_id", SPARE)],                                                                Ok(0)),
    Row("IOMMU_IOAS_COPY",               "iommu_ioas_copy",               "src_iova",           40, &[("flags", 6), ("dst_ioas_id", SPARE), ("src_ioas_id", IOAS), ("length", PAGE_SIZE), ("src_iova", IOVA)], Ok(0)),
    Row("IOMMU_IOAS_IOVA_RANGES",        "iommu_ioas_iova_ranges",        "out_iova_alignment", 32, &[("ioas_id", IOAS), ("num_iovas", 1), ("allowed_iovas", DATA)],                      Ok(0)),
    Row("IOMMU_IOAS_MAP",                "iommu_ioas_map",                "iova",               40, &[("flags", 6), ("ioas_id", SPARE), ("user_va", DATA), ("length", PAGE_SIZE)],        Ok(0)),
    Row("IOMMU_IOAS_UNMAP",              "iommu_ioas_unmap",              "length",             24, &[("ioas_id", IOAS), ("iova", IOVA), ("length", PAGE_SIZE)],                          Ok(0)),
    Row("IOMMU_OPTION",                  "iommu_option",                  "val64",              24, &[("option_id", 1), ("op", 1), ("object_id", IOAS)],                                  Ok(0)),
    Row("IOMMU_VFIO_IOAS",               "iommu_vfio_ioas",               "__reserved",         12, &[("ioas_id", IOAS), ("op", 1)],                                                      Ok(0)),
    Row("IOMMU_HWPT_ALLOC",              "iommu_hwpt_alloc",              "__reserved",         24, &[("dev_id", DEVICE), ("pt_id", IOAS)],                                               Ok(0)),
    Row("IOMMU_GET_HW_INFO",             "iommu_hw_info",                 "__reserved",         32, &[("dev_id", DEVICE), ("data_len", 8), ("data_uptr", DATA)],                          Ok(0)),
    Row("IOMMU_HWPT_SET_DIRTY_TRACKING", "iommu_hwpt_set_dirty_tracking", "__reserved",         16, &[("flags", 1), ("hwpt_id", PARENT)],                                                 Ok(0)),
    Row("IOMMU_HWPT_GET_DIRTY_BITMAP",   "iommu_hwpt_get_dirty_bitmap",   "data",               48, &[("hwpt_id", PARENT), ("iova", IOVA), ("length", PAGE_SIZE), ("page_size", PAGE_SIZE), ("data", DATA)], Ok(0)),
    Row("IOMMU_HWPT_INVALIDATE",         "iommu_hwpt_invalidate",         "__reserved",         32, &[("hwpt_id", NESTED), ("data_uptr", DATA), ("data_type", 0xdead_beef), ("entry_len", 8), ("entry_num", 1)], Ok(0)),
    Row("IOMMU_FAULT_QUEUE_ALLOC",       "iommu_fault_alloc",             "out_fault_fd",       16, &[],                                                                                  Ok(0)),
    Row("IOMMU_IOAS_MAP_FILE",           "iommu_ioas_map_file",           "iova",               40, &[("flags", 6), ("ioas_id", SPARE), ("fd", 99), ("length", PAGE_SIZE)],               Err(Errno::EBADF)),
    Row("IOMMU_VIOMMU_ALLOC",            "iommu_viommu_alloc",            "out_viommu_id",      24, &[("type", 0xdead_beef), ("dev_id", DEVICE), ("hwpt_id", PARENT)],                    Ok(0)),
    Row("IOMMU_VDEVICE_ALLOC",           "iommu_vdevice_alloc",           "virt_id",            24, &[("viommu_id", VIOMMU), ("dev_id", DEVICE), ("virt_id", 5)],                         Ok(0)),
    Row("IOMMU_IOAS_CHANGE_PROCESS",     "iommu_ioas_change_process",     "__reserved",          8, &[("__reserved", 1)],                                                                 Err(Errno::EOPNOTSUPP)),
    Row("IOMMU_VEVENTQ_ALLOC",           "iommu_veventq_alloc",           "out_veventq_fd",     28, &[("viommu_id", VIOMMU), ("type", 0xbeef_beef), ("veventq_depth", 2)],                Ok(0)),
    Row("IOMMU_HW_QUEUE_ALLOC",          "iommu_hw_queue_alloc",          "length",             40, &[("viommu_id", VIOMMU), ("type", 0xdead_beef), ("nesting_parent_iova", IOVA), ("length", PAGE_SIZE)], Ok(0)),
    Row("IOMMU_IOAS_NOIOMMU_GET_PA",     "iommu_ioas_noiommu_get_pa",     "out_phys",           40, &[("ioas_id", IOAS), ("iova", IOVA), ("length", 1)],                                  Err(Errno::EOPNOTSUPP)),
    Row("IOMMU_TEST_CMD",                "iommu_test_cmd",                "last",               68, &[("op", 2), ("id", IOAS)],                                                           Ok(0)),
];

/// `struct iommu_test_cmd` before 6.7, when its union was two words shorter (`iommufd_test.h` of 6.4):
/// the offset of `last`, the smallest size, the size. It is no stable ABI, and the only command whose
/// minimum ever changed.
const TEST_CMD_BEFORE_6_7: (usize, usize, usize) = (48, 52, 56);

impl Row {
    fn is_test(&self) -> bool {
        self.0 == "IOMMU_TEST_CMD"
    }

    fn min_size(&self, generation: Generation) -> usize {
        if self.is_test() && generation < V6_7 { TEST_CMD_BEFORE_6_7.1 } else { self.3 }
    }
}

/// What the header of a release says about the argument of a call.
#[derive(Debug, PartialEq)]
struct Argument {
    ioctl: u32,
    size: usize,
    /// Offset and length of each field in bytes.
    fields: BTreeMap<String, (usize, usize)>,
}

impl Argument {
    /// The struct with these fields, `length` bytes of it, its first word saying so.
    fn bytes(&self, fields: Fields, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; self.size.max(length)];
        for (name, value) in fields {
            let (at, length) = self.fields[*name];
            bytes[at..at + length].copy_from_slice(&value.to_le_bytes()[..length]);
        }
        let claimed = u32::try_from(length).unwrap();
        bytes[..4].copy_from_slice(&claimed.to_le_bytes());
        bytes.truncate(length.max(4));
        bytes
    }
}

/// The headers of all generations, and of the test command.
struct Headers(BTreeMap<Generation, [Value; 3]>);

impl Headers {
    fn read() -> Self {
        let all = Generation::ALL.iter().map(|generation| {
            let release = match generation {
                V6_2 => "6.3".to_owned(),  // whose headers are those of 6.2
                V7_0 => "6.19".to_owned(), // `seven_zero_is_as_both_neighbours`
                other => other.to_string(),
            };
            let kinds = [("iommufd", &*release), ("vfio", &*release), ("selftest", "7.3")];
            (*generation, kinds.map(|(kind, release)| header(kind, release)))
        });
        Self(all.collect())
    }

    /// A command in a generation, if its header has it.
    fn argument(&self, row: &Row, generation: Generation) -> Option<Argument> {
        let Row(name, of, ..) = *row;
        let [iommufd, _, selftest] = &self.0[&generation];
        let header = if row.is_test() { selftest } else { iommufd };
        let number = header["constants"].get(name)?.as_u64().unwrap();
        let mut argument = described(&header["structs"][of]);
        argument.ioctl = u32::try_from(number).unwrap();
        if row.is_test() && generation < V6_7 {
            let (last, _, size) = TEST_CMD_BEFORE_6_7;
            argument.fields.insert("last".to_owned(), (last, 4));
            argument.size = size;
        }
        Some(argument)
    }

    /// Every command under every generation; without an argument where it does not know the command.
    fn each(&self) -> impl Iterator<Item = (Generation, &'static Row, Option<Argument>)> {
        let pairs = Generation::ALL.iter().flat_map(|g| COMMANDS.iter().map(|row| (*g, row)));
        pairs.map(|(generation, row)| (generation, row, self.argument(row, generation)))
    }

    /// Every command under every generation that knows it.
    fn known(&self) -> impl Iterator<Item = (Generation, &'static Row, Argument)> {
        self.each().filter_map(|(generation, row, argument)| Some((generation, row, argument?)))
    }
}

fn header(kind: &str, release: &str) -> Value {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../conformance/headers");
    let file = File::open(folder.join(format!("{kind}-{release}.json.gz"))).unwrap();
    let mut text = String::new();
    flate2::read::GzDecoder::new(file).read_to_string(&mut text).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// A struct as a header describes it, its ioctl number left open.
fn described(facts: &Value) -> Argument {
    let fields = facts["fields"].as_array().unwrap().iter().map(|field| {
        let length = field[2].as_str().unwrap().parse().unwrap();
        (field[0].as_str().unwrap().to_owned(), (field[1].as_u64().unwrap() as usize, length))
    });
    Argument { ioctl: 0, size: facts["size"].as_u64().unwrap() as usize, fields: fields.collect() }
}

/// A program on the machine `selftest`, with an object of every kind that its kernel has and the calls
/// of [`COMMANDS`] name: two IOAS, a mock device (holder 3, device 4, hwpt 5), a nesting parent that
/// records dirty pages, a nested hwpt and a vIOMMU. A page is mapped at the start of the first IOAS.
struct World {
    client: Client,
    fd: i32,
}

const IOAS: u64 = 1;
const SPARE: u64 = 2;
const DEVICE: u64 = 4;
const PARENT: u64 = 6;
const NESTED: u64 = 7;
const VIOMMU: u64 = 8;

/// Where the mapping is.
const IOVA: u64 = MOCK_APERTURE_START;
/// A page of memory for data.
const DATA: u64 = 0x20_0000;
/// Where arguments are: some pages, and nothing behind [`END`].
const AT: u64 = 0x40_0000;
const END: u64 = AT + 8 * PAGE_SIZE;
/// Bytes behind the argument, to see that they are neither read nor written.
const BEHIND: [u8; 64] = [0xff; 64];

fn machine(name: &str, generation: Generation) -> Arc<Engine> {
    Engine::new(Machine::by_name(name).unwrap(), Kernel::of(generation))
}

impl World {
    /// A program that has done nothing but open `/dev/iommu`.
    fn empty(engine: &Arc<Engine>) -> Self {
        let mut client = Client::new();
        client.memory.map(DATA, 1, true);
        client.memory.map(AT, (END - AT) / PAGE_SIZE, true);
        let fd = client.open_on(engine);
        Self { client, fd }
    }

    #[rustfmt::skip] // one object, one line
    fn new(generation: Generation) -> Self {
        let mut world = Self::empty(&machine("selftest", generation));
        let [ioas, device, parent] = [IOAS, DEVICE, PARENT].map(|id| id as u32);
        world.ok(iommu_ioas_alloc { size: 12, ..Default::default() });
        world.ok(iommu_ioas_alloc { size: 12, ..Default::default() });
        world.ok(iommu_ioas_map { size: 40, flags: 7, ioas_id: ioas, user_va: DATA, length: PAGE_SIZE, iova: IOVA, ..Default::default() });
        world.ok(iommu_test_cmd { size: 72, op: IOMMU_TEST_OP_MOCK_DOMAIN, id: ioas, ..Default::default() });
        if generation >= V6_7 {
            let flags = IOMMU_HWPT_ALLOC_NEST_PARENT | IOMMU_HWPT_ALLOC_DIRTY_TRACKING;
            let hwpt = iommu_hwpt_alloc { size: 48, dev_id: device, ..Default::default() };
            world.ok(iommu_hwpt_alloc { flags, pt_id: ioas, ..hwpt });
            world.ok(iommu_hwpt_alloc { pt_id: parent, data_type: IOMMU_HWPT_DATA_SELFTEST, data_len: 4, data_uptr: DATA, ..hwpt });
        }
        if generation >= V6_13 {
            world.ok(iommu_viommu_alloc { size: 40, r#type: IOMMU_VIOMMU_TYPE_SELFTEST, dev_id: device, hwpt_id: parent, ..Default::default() });
        }
        world
    }

    fn ok<C: Command>(&mut self, mut cmd: C) -> C {
        assert_eq!(self.client.call(self.fd, &mut cmd), Ok(0), "{cmd:?}");
        cmd
    }

    fn ioctl(&mut self, ioctl: u32, at: u64) -> Answer {
        self.client.ioctl(self.fd, ioctl, at).map_err(|refusal| refusal.errno())
    }

    /// A call whose argument is these bytes at `at`; returns also what the bytes are afterwards.
    fn call(&mut self, ioctl: u32, at: u64, bytes: &[u8]) -> (Answer, Vec<u8>) {
        self.client.memory.write(at, bytes).unwrap();
        let answer = self.ioctl(ioctl, at);
        let mut after = vec![0; bytes.len()];
        self.client.memory.read(at, &mut after).unwrap();
        (answer, after)
    }

    /// The ID that the next object gets: higher than before when a refused call left something.
    fn next_id(&mut self) -> u32 {
        let id = self.ok(iommu_ioas_alloc { size: 12, ..Default::default() }).out_ioas_id;
        self.ok(iommu_destroy { size: 8, id });
        id
    }
}

/// The rows are the commands of the headers, and the minimum is where the last needed field ends.
#[test]
fn rows_are_the_commands_of_the_headers() {
    let headers = Headers::read();
    for (generation, [iommufd, ..]) in &headers.0 {
        for (name, value) in iommufd["constants"].as_object().unwrap() {
            let number = value.as_i64().filter(|_| name.starts_with("IOMMU_"));
            let is_command = number.is_some_and(|number| number >> 8 == 0x3b);
            assert!(!is_command || COMMANDS.iter().any(|row| row.0 == name), "{generation} {name}");
        }
    }
    for (generation, row, argument) in headers.known() {
        let Row(name, _, last, ..) = row;
        let (at, length) = argument.fields[*last];
        assert_eq!(at + length, row.min_size(generation), "{generation} {name}");
    }
    for row in COMMANDS {
        assert!(headers.argument(row, Generation::NEWEST).is_some(), "{} is nowhere", row.0);
    }
}

/// The header of 7.0 could not be had. What stands for it, 6.19, has the same commands as 7.1.
#[test]
fn seven_zero_is_as_both_neighbours() {
    let headers = Headers::read();
    for row in COMMANDS {
        assert_eq!(headers.argument(row, V7_0), headers.argument(row, V7_1), "{}", row.0);
    }
}

/// Equal, smaller, and larger with a zero tail: one call, one answer, and nothing is written behind what
/// both the program and the kernel have.
#[test]
fn equal_smaller_and_larger_with_zeros() {
    for (generation, row, argument) in Headers::read().known() {
        let Row(name, .., call, expected) = *row;
        let known = argument.size;
        let sized = |size: usize| {
            let sent = [argument.bytes(call, size), BEHIND.to_vec()].concat();
            let (answer, after) = World::new(generation).call(argument.ioctl, AT, &sent);
            let (written, behind) = after.split_at(size.min(known));
            assert!(sent.ends_with(behind), "{generation} {name}: size {size}, more is written");
            (answer, written[4..].to_vec())
        };
        let equal = sized(known);
        assert_eq!(equal.0, expected, "{generation} {name}");
        // all answers of these calls are numbers above 0, except the PASIDs of a device that has none
        let answers = argument.fields.iter().filter(|(field, _)| {
            expected.is_ok() && field.starts_with("out_") && *field != "out_max_pasid_log2"
        });
        for (field, (at, length)) in answers {
            let value = &equal.1[at - 4..at - 4 + length];
            assert!(value.iter().any(|byte| *byte != 0), "{generation} {name}: no {field}");
        }
        let larger = [known + 1, known + 8, known + 3 * PAGE_SIZE as usize];
        for size in (row.min_size(generation)..known).chain(larger) {
            let (answer, written) = sized(size);
            assert_eq!(answer, expected, "{generation} {name}: size {size}");
            assert_eq!(written, equal.1[..written.len()], "{generation} {name}: size {size}");
        }
    }
}

/// Shorter than what a call needs; a tail that is not zero, or not there; an argument that is not there.
#[test]
fn refused_sizes() {
    for (generation, row, argument) in Headers::read().known() {
        let Row(name, .., call, _) = *row;
        let mut world = World::new(generation);
        let next_id = world.next_id();
        let known = argument.size;
        let mut refuse = |what: &str, at, bytes: &[u8], errno| {
            let (answer, after) = world.call(argument.ioctl, at, bytes);
            assert_eq!(answer, Err(errno), "{generation} {name}: {what}");
            assert!(after == bytes, "{generation} {name}: {what} was answered");
        };
        for size in 0..row.min_size(generation) {
            refuse("too small", AT, &argument.bytes(call, size), Errno::EINVAL);
        }
        #[rustfmt::skip] // one tail, one line
        let tails: &[(&str, usize, usize)] = &[
            ("a tail of one byte",                 1,                         0),
            ("the first byte of a tail",           64,                        0),
            ("a byte within a tail",               64,                        13),
            ("the last byte of a tail",            64,                        63),
            ("the last byte of a tail of 3 pages", 3 * PAGE_SIZE as usize,    3 * PAGE_SIZE as usize - 1),
        ];
        for (what, length, garbage) in tails {
            let mut bytes = argument.bytes(call, known + length);
            bytes[known + garbage] = 1;
            refuse(what, AT, &bytes, Errno::E2BIG);
        }
        let mut claim = argument.bytes(call, known);
        claim[..4].copy_from_slice(&(known as u32 + 64).to_le_bytes());
        refuse("a tail where no memory is", END - known as u64, &claim, Errno::EFAULT);
        refuse("a struct that memory ends within", END - 4, &claim[..4], Errno::EFAULT);
        let nowhere = world.ioctl(argument.ioctl, END);
        assert_eq!(nowhere, Err(Errno::EFAULT), "{generation} {name}: no memory at all");
        assert_eq!(world.next_id(), next_id, "{generation} {name}: something was left");
    }
}

/// A number without a command is `ENOTTY`, whatever the size says. Within the kernel's table of commands
/// the size is read before the number is looked up, beyond it nothing is. `IOMMU_TEST_CMD`, which only
/// kernels for self-tests have, is far behind the others and makes their table long.
#[test]
fn commands_of_the_future() {
    let headers = Headers::read();
    for (generation, row, argument) in headers.each() {
        for name in ["selftest", "spr"] {
            let has_test = name == "selftest";
            if argument.is_some() && (has_test || !row.is_test()) {
                continue;
            }
            let newest = headers.argument(row, Generation::NEWEST).unwrap();
            let mut world = World::empty(&machine(name, generation));
            for size in [0, row.3 - 1, row.3, newest.size, newest.size + 64] {
                for garbage in [0, 1] {
                    let mut bytes = newest.bytes(&[], size);
                    bytes[4..].fill(garbage);
                    let (answer, after) = world.call(newest.ioctl, AT, &bytes);
                    assert_eq!(answer, Err(Errno::ENOTTY), "{generation} {}: {size}", row.0);
                    assert_eq!(after, bytes, "{generation} {}: {size} was answered", row.0);
                }
            }
            let expected = if has_test { Errno::EFAULT } else { Errno::ENOTTY };
            let nowhere = world.ioctl(newest.ioctl, END);
            assert_eq!(nowhere, Err(expected), "{name} {generation} {}", row.0);
        }
    }
}

/// Every field that a kernel added to a command, 6.7 to 6.17.
#[rustfmt::skip] // one struct, one line
const ADDED: &[&str] = &[
    "iommu_hw_info.out_capabilities",
    "iommu_hwpt_alloc.__reserved2", "iommu_hwpt_alloc.data_len", "iommu_hwpt_alloc.data_type", "iommu_hwpt_alloc.data_uptr", "iommu_hwpt_alloc.fault_id",
    "iommu_test_cmd.last",
    "iommu_viommu_alloc.__reserved", "iommu_viommu_alloc.data_len", "iommu_viommu_alloc.data_uptr",
];

/// A field that a later kernel added is `E2BIG` to an older one as soon as it says something, and never
/// to one that knows it.
#[test]
fn fields_of_the_future() {
    let headers = Headers::read();
    let mut added = BTreeSet::new();
    for (generation, row, argument) in headers.known() {
        let Row(_, of, .., call, _) = *row;
        for later in Generation::ALL.iter().filter(|later| **later > generation) {
            let newer = headers.argument(row, *later).unwrap();
            for (field, (at, _)) in newer.fields.iter().filter(|it| it.1.0 >= argument.size) {
                let mut bytes = newer.bytes(call, newer.size);
                bytes[*at] = 1;
                let (old, _) = World::new(generation).call(argument.ioctl, AT, &bytes);
                assert_eq!(old, Err(Errno::E2BIG), "{generation} {of}: {field} of {later}");
                let (new, _) = World::new(*later).call(argument.ioctl, AT, &bytes);
                assert_ne!(new, Err(Errno::E2BIG), "{later} {of}: {field}");
                added.insert(format!("{of}.{field}"));
            }
        }
    }
    assert!(added.iter().eq(ADDED), "{added:?}");
}

/// A call on a VFIO device: the names of its ioctl number and its struct; its sizes, each from a release
/// on, the first being the minimum; from which byte on a tail must be zero, likewise; a call that works.
struct DeviceCall(&'static str, &'static str, Since<usize>, Since<usize>, Fields);

/// Values, each from a release on.
type Since<T> = &'static [(Generation, T)];

fn since<T: Copy>(values: Since<T>, generation: Generation) -> Option<T> {
    values.iter().rfind(|(since, _)| *since <= generation).map(|(_, value)| *value)
}

/// The struct begins with `argsz`, which must reach the fields that are read. A larger one is the same
/// call, and what is behind the fields is not looked at (`drivers/vfio/device_cdev.c` of 6.11 to 7.3).
///
/// BIND follows iommufd's rule since 6.17, but there `copy_struct_from_user` is told the old size: the
/// token, which came with it, is `E2BIG`, or its address is what lay on the kernel's stack (`EFAULT`).
#[rustfmt::skip] // one call, one line
const DEVICE_CALLS: [DeviceCall; 3] = [
    DeviceCall("VFIO_DEVICE_BIND_IOMMUFD",      "vfio_device_bind_iommufd",      &[(V6_6, 16), (V6_17, 24)], &[(V6_17, 16), (V6_18, 24)], &[("iommufd", IOMMUFD)]),
    DeviceCall("VFIO_DEVICE_ATTACH_IOMMUFD_PT", "vfio_device_attach_iommufd_pt", &[(V6_6, 12), (V6_15, 16)], &[],                         &[("pt_id", IOAS)]),
    DeviceCall("VFIO_DEVICE_DETACH_IOMMUFD_PT", "vfio_device_detach_iommufd_pt", &[(V6_6, 8), (V6_15, 12)],  &[],                         &[]),
];

const OK: Answer = Ok(0);
const EINVAL: Answer = Err(Errno::EINVAL);
const EFAULT: Answer = Err(Errno::EFAULT);
const E2BIG: Answer = Err(Errno::E2BIG);
const ENOENT: Answer = Err(Errno::ENOENT);

/// Places in [`DEVICE_CALLS`].
const BIND: usize = 0;
const ATTACH: usize = 1;
const DETACH: usize = 2;

/// Flags, which make a call need more: the call; what it shows; the fields; `argsz`; how many bytes of
/// memory there are; the answers, each from a release on.
type FlagRow = (usize, &'static str, Fields, usize, usize, Since<Answer>);

/// The PASID and the token are read only with their flags, of 6.15 and 6.17; before, any flag is refused.
/// There is no hwpt 99. The device has no token.
#[rustfmt::skip] // one call, one line
const FLAGS: &[FlagRow] = &[
    (BIND,   "a token and no size for it",   &[("iommufd", IOMMUFD), ("flags", 1)],                           16, 16, &[(V6_6, EINVAL), (V6_17, EFAULT)]),
    (BIND,   "a token",                      &[("iommufd", IOMMUFD), ("flags", 1), ("token_uuid_ptr", DATA)], 24, 24, &[(V6_6, EINVAL), (V6_17, E2BIG), (V6_18, EINVAL)]),
    (BIND,   "a flag of the future",         &[("iommufd", IOMMUFD), ("flags", 2)],                           16, 16, &[(V6_6, EINVAL)]),
    (ATTACH, "a PASID and no size for it",   &[("pt_id", 99), ("flags", 1)],                                  12, 12, &[(V6_6, EINVAL)]),
    (ATTACH, "a PASID and half the size",    &[("pt_id", 99), ("flags", 1)],                                  15, 16, &[(V6_6, EINVAL)]),
    (ATTACH, "a PASID and no memory for it", &[("pt_id", 99), ("flags", 1)],                                  16, 12, &[(V6_6, EINVAL), (V6_15, EFAULT)]),
    (ATTACH, "a PASID",                      &[("pt_id", 99), ("flags", 1), ("pasid", 5)],                    16, 16, &[(V6_6, EINVAL), (V6_15, ENOENT)]),
    (ATTACH, "a flag of the future",         &[("pt_id", IOAS), ("flags", 2)],                                16, 16, &[(V6_6, EINVAL)]),
    (DETACH, "a PASID and no size for it",   &[("flags", 1)],                                                  8,  8, &[(V6_6, EINVAL)]),
    (DETACH, "a PASID and half the size",    &[("flags", 1)],                                                 11, 12, &[(V6_6, EINVAL)]),
    (DETACH, "a PASID and no memory for it", &[("flags", 1)],                                                 12,  8, &[(V6_6, EINVAL), (V6_15, EFAULT)]),
    (DETACH, "a PASID",                      &[("flags", 1), ("pasid", 5)],                                   12, 12, &[(V6_6, EINVAL), (V6_15, OK)]),
    (DETACH, "a flag of the future",         &[("flags", 2)],                                                 12, 12, &[(V6_6, EINVAL)]),
];

/// The descriptor of `/dev/iommu`, the first of a program.
const IOMMUFD: u64 = 3;

impl DeviceCall {
    /// The newest struct.
    fn newest(&self, headers: &Headers) -> Argument {
        let [_, vfio, _] = &headers.0[&Generation::NEWEST];
        let ioctl = vfio["constants"][self.0].as_u64().unwrap() as u32;
        Argument { ioctl, ..described(&vfio["structs"][self.1]) }
    }

    /// The call with these bytes, at the end of the memory of a new program that has an IOAS and, unless
    /// it is about to bind it, a bound device.
    fn answer(&self, generation: Generation, headers: &Headers, bytes: &[u8]) -> Answer {
        let engine = machine("spr", generation);
        let mut world = World::empty(&engine);
        world.ok(iommu_ioas_alloc { size: 12, ..Default::default() });
        let device = engine.open(&mut world.client, Node::VfioDevice(0)).unwrap();
        world.fd = world.client.install(device).unwrap();
        let bind = DEVICE_CALLS[BIND].newest(headers);
        let call = self.newest(headers);
        if call != bind {
            let bytes = bind.bytes(&[("iommufd", IOMMUFD)], 16);
            assert_eq!(world.call(bind.ioctl, AT, &bytes).0, OK);
        }
        world.call(call.ioctl, END - bytes.len() as u64, bytes).0
    }
}

/// The sizes of the table are those of the headers; before 6.6 there is no device to open.
#[test]
fn device_arguments_are_those_of_the_headers() {
    for (generation, [_, vfio, _]) in &Headers::read().0 {
        for DeviceCall(_, of, sizes, ..) in DEVICE_CALLS {
            let size = vfio["structs"].get(of).map(|facts| described(facts).size);
            assert_eq!(size, since(sizes, *generation), "{generation} {of}");
        }
        let opened = machine("spr", *generation).open(&mut Client::new(), Node::VfioDevice(0));
        assert_eq!(opened.is_ok(), *generation >= V6_6, "{generation}");
    }
}

#[test]
fn device_sizes() {
    let headers = Headers::read();
    let generations = &Generation::ALL[1..];
    let cases = DEVICE_CALLS.iter().flat_map(|call| generations.iter().map(move |g| (call, *g)));
    for (call, generation) in cases {
        let DeviceCall(name, _, sizes, zero_from, fields) = *call;
        let (min, newest) = (sizes[0].1, call.newest(&headers));
        let zero_from = since(zero_from, generation);
        let check = |what: &str, bytes: &[u8], expected| {
            let answer = call.answer(generation, &headers, bytes);
            assert_eq!(answer, expected, "{generation} {name}: {what}, {} bytes", bytes.len());
        };
        for size in 0..min {
            let mut bytes = newest.bytes(fields, min);
            check("memory ends within", &bytes[..size], EFAULT);
            bytes[..4].copy_from_slice(&(size as u32).to_le_bytes());
            check("smaller", &bytes, EINVAL);
        }
        for size in (min..=newest.size + 8).chain([3 * PAGE_SIZE as usize]) {
            let mut bytes = newest.bytes(fields, size);
            check("equal, or larger with zeros", &bytes, OK);
            let cut_off = size > min && zero_from.is_some();
            check("a tail where no memory is", &bytes[..min], if cut_off { EFAULT } else { OK });
            if size > min {
                *bytes.last_mut().unwrap() = 1;
                let refused = zero_from.is_some_and(|from| size > from);
                check("larger with garbage", &bytes, if refused { E2BIG } else { OK });
            }
        }
    }
}

#[test]
fn device_flags() {
    let headers = Headers::read();
    let mut wrong = Vec::new();
    for (call, what, fields, size, memory, answers) in FLAGS {
        let call = &DEVICE_CALLS[*call];
        let mut bytes = call.newest(&headers).bytes(fields, *size);
        bytes.resize(*memory, 0);
        for generation in &Generation::ALL[1..] {
            let answer = call.answer(*generation, &headers, &bytes);
            let expected = since(answers, *generation).unwrap();
            if answer != expected {
                let name = call.0;
                wrong.push(format!("{generation} {name}, {what}: {answer:?}, not {expected:?}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
