//! Which kernel is this? Answers that tell releases apart on a machine without any device.
//!
//! A program cannot ask `/dev/iommu` for a version. It can ask for something that one release knows and
//! another does not, in a call that must fail anyway: no object has ID 0, so a call that names it gets
//! no further than `ENOENT`, and how far it gets tells the release. Nothing is left behind, and the
//! hardware does not matter.
//!
//! The probes are those of `reference/uapi.md`, section 1.10, where they were derived and not run. What
//! is expected here was read again in the kernel's source; where that differs, it wins, and the row says
//! so. It is about the releases that the generations stand for (`profiles/kernels.toml`): 6.12 is
//! 6.12.117, a long-term release with back-ports of much newer behaviour.

use engine::Engine;
use mem::PAGE_SIZE;
use profile::{Kernel, Machine};
use testkit::Client;
use uapi::Generation::*;
use uapi::iommufd::*;
use uapi::vfio::*;
use uapi::{Command, Errno, Generation};
use zerocopy::IntoBytes;

/// What a system call returns.
type Answer = Result<u64, Errno>;

const OK: Answer = Ok(0);
const ENOENT: Answer = Err(Errno::ENOENT);
const ENXIO: Answer = Err(Errno::ENXIO);
const E2BIG: Answer = Err(Errno::E2BIG);
const EFAULT: Answer = Err(Errno::EFAULT);
const ENODEV: Answer = Err(Errno::ENODEV);
const EINVAL: Answer = Err(Errno::EINVAL);
const ENOTTY: Answer = Err(Errno::ENOTTY);
const EOPNOTSUPP: Answer = Err(Errno::EOPNOTSUPP);

/// What is asked, how, and the answers, each from a release on.
type Probe = (&'static str, fn(&mut Program) -> Answer, &'static [(Generation, Answer)]);

/// Whether the kernel has a command at all: a known number with size 0 is `EINVAL`.
#[rustfmt::skip] // one command, one line
const COMMANDS: &[Probe] = &[
    ("DESTROY",                 no_size::<iommu_destroy>,                 &[(V6_2, EINVAL)]),
    ("IOAS_ALLOC",              no_size::<iommu_ioas_alloc>,              &[(V6_2, EINVAL)]),
    ("IOAS_ALLOW_IOVAS",        no_size::<iommu_ioas_allow_iovas>,        &[(V6_2, EINVAL)]),
    ("IOAS_COPY",               no_size::<iommu_ioas_copy>,               &[(V6_2, EINVAL)]),
    ("IOAS_IOVA_RANGES",        no_size::<iommu_ioas_iova_ranges>,        &[(V6_2, EINVAL)]),
    ("IOAS_MAP",                no_size::<iommu_ioas_map>,                &[(V6_2, EINVAL)]),
    ("IOAS_UNMAP",              no_size::<iommu_ioas_unmap>,              &[(V6_2, EINVAL)]),
    ("OPTION",                  no_size::<iommu_option>,                  &[(V6_2, EINVAL)]),
    ("VFIO_IOAS",               no_size::<iommu_vfio_ioas>,               &[(V6_2, EINVAL)]),
    ("HWPT_ALLOC",              no_size::<iommu_hwpt_alloc>,              &[(V6_2, ENOTTY), (V6_6,  EINVAL)]),
    ("GET_HW_INFO",             no_size::<iommu_hw_info>,                 &[(V6_2, ENOTTY), (V6_6,  EINVAL)]),
    ("HWPT_SET_DIRTY_TRACKING", no_size::<iommu_hwpt_set_dirty_tracking>, &[(V6_2, ENOTTY), (V6_7,  EINVAL)]),
    ("HWPT_GET_DIRTY_BITMAP",   no_size::<iommu_hwpt_get_dirty_bitmap>,   &[(V6_2, ENOTTY), (V6_7,  EINVAL)]),
    ("HWPT_INVALIDATE",         no_size::<iommu_hwpt_invalidate>,         &[(V6_2, ENOTTY), (V6_8,  EINVAL)]),
    ("FAULT_QUEUE_ALLOC",       no_size::<iommu_fault_alloc>,             &[(V6_2, ENOTTY), (V6_11, EINVAL)]),
    ("IOAS_MAP_FILE",           no_size::<iommu_ioas_map_file>,           &[(V6_2, ENOTTY), (V6_13, EINVAL)]),
    ("VIOMMU_ALLOC",            no_size::<iommu_viommu_alloc>,            &[(V6_2, ENOTTY), (V6_13, EINVAL)]),
    ("VDEVICE_ALLOC",           no_size::<iommu_vdevice_alloc>,           &[(V6_2, ENOTTY), (V6_13, EINVAL)]),
    ("IOAS_CHANGE_PROCESS",     no_size::<iommu_ioas_change_process>,     &[(V6_2, ENOTTY), (V6_13, EINVAL)]),
    ("VEVENTQ_ALLOC",           no_size::<iommu_veventq_alloc>,           &[(V6_2, ENOTTY), (V6_15, EINVAL)]),
    ("HW_QUEUE_ALLOC",          no_size::<iommu_hw_queue_alloc>,          &[(V6_2, ENOTTY), (V6_17, EINVAL)]),
    ("IOAS_NOIOMMU_GET_PA",     no_size::<iommu_ioas_noiommu_get_pa>,     &[(V6_2, ENOTTY), (V7_3,  EINVAL)]),
];

/// What the kernel knows of a command.
///
/// On 6.12 `reference/uapi.md` is right for 6.12.0, which cannot be told from 6.11. 6.12.117 answers four
/// of these as newer kernels do; then 6.13 answers as 6.11 again.
#[rustfmt::skip] // one answer, one line
const BEHAVIOUR: &[Probe] = &[
    ("a data type and a length for it", data_type, &[
        (V6_2,  ENOTTY),
        (V6_6,  E2BIG), // 24 bytes, no data
        (V6_7,  ENOENT),
    ]),
    ("a data type and no length", data_type_alone, &[
        (V6_2,  ENOTTY),
        (V6_6,  E2BIG),
        (V6_7,  ENOENT), // 6.7.0; 6.7.7 has the check of 6.8
        (V6_8,  EINVAL),
    ]),
    ("capabilities, which are an answer", capabilities, &[
        (V6_2,  ENOTTY),
        (V6_6,  E2BIG), // 32 bytes, no capabilities
        (V6_7,  ENOENT),
    ]),
    ("a fault queue", fault_id, &[
        (V6_2,  ENOTTY),
        (V6_6,  E2BIG),
        (V6_11, ENOENT),
    ]),
    ("to invalidate an IOAS", invalidate_ioas, &[
        (V6_2,  ENOTTY),
        (V6_8,  ENOENT), // looks for a nested hwpt only
        (V6_13, EINVAL), // for any object; 6.12.117 has no back-port of this
    ]),
    ("a PASID width, which is an answer", pasid_width, &[
        (V6_2,  ENOTTY),
        (V6_6,  EOPNOTSUPP), // reserved
        (V6_12, ENOENT),     // back-port; uapi.md: EOPNOTSUPP
        (V6_13, EOPNOTSUPP),
        (V6_15, ENOENT),
    ]),
    ("hardware information of a type", info_of_type, &[
        (V6_2,  ENOTTY),
        (V6_6,  EOPNOTSUPP),
        (V6_17, ENOENT),
    ]),
    ("a vIOMMU with data", viommu_data, &[
        (V6_2,  ENOTTY),
        (V6_13, E2BIG), // 24 bytes, no data
        (V6_17, ENOENT),
    ]),
    ("to map the descriptor", map_descriptor, &[
        (V6_2,  ENODEV), // no mmap at all
        (V6_17, ENXIO),
    ]),
    ("to invalidate half a million entries", invalidate_many, &[
        (V6_2,  ENOTTY),
        (V6_8,  ENOENT),
        (V6_12, EINVAL), // back-port; uapi.md: ENOENT
        (V6_13, ENOENT),
        (V7_2,  EINVAL), // 7.2.6
    ]),
    ("a queue of half a million events", deep_queue, &[
        (V6_2,  ENOTTY),
        (V6_15, ENOENT),
        (V7_2,  EINVAL), // 7.2.6
    ]),
    ("to unmap nothing, as type1", unmap_nothing, &[
        (V6_2,  ENOENT),
        (V6_12, OK), // back-port; uapi.md: ENOENT
        (V6_13, ENOENT),
        (V6_18, OK), // 6.17.8 not, though later releases of 6.17
    ]),
    ("a page response at a bad address", bad_response, &[
        (V6_2,  ENOTTY), // no fault queue
        (V6_11, Ok(8)),  // the bytes that were not copied, as if they were written
        (V6_12, EFAULT), // back-port; uapi.md: 8
        (V6_13, Ok(8)),
        (V7_1,  EFAULT), // uapi.md leaves 7.0 open: 7.0.0 answers 8
    ]),
];

/// Each generation and the next, and the first probe of the tables that tells them apart; none where what
/// changed cannot be seen without a device. (6.18 and 6.19 can be told, but it costs an IOAS: up to 6.18
/// `IOMMU_IOAS_MAP_FILE` of a descriptor that is not open keeps it in use for good.)
#[rustfmt::skip] // one pair, one line
const NEIGHBOURS: &[(Generation, Generation, Option<&str>)] = &[
    (V6_2,  V6_6,  Some("HWPT_ALLOC")),
    (V6_6,  V6_7,  Some("HWPT_SET_DIRTY_TRACKING")),
    (V6_7,  V6_8,  Some("HWPT_INVALIDATE")),
    (V6_8,  V6_11, Some("FAULT_QUEUE_ALLOC")),
    (V6_11, V6_12, Some("a PASID width, which is an answer")), // not 6.12.0
    (V6_12, V6_13, Some("IOAS_MAP_FILE")),
    (V6_13, V6_14, None),
    (V6_14, V6_15, Some("VEVENTQ_ALLOC")),
    (V6_15, V6_17, Some("HW_QUEUE_ALLOC")),
    (V6_17, V6_18, Some("to unmap nothing, as type1")),
    (V6_18, V6_19, None),
    (V6_19, V7_0,  None),
    (V7_0,  V7_1,  Some("a page response at a bad address")),
    (V7_1,  V7_2,  Some("to invalidate half a million entries")),
    (V7_2,  V7_3,  Some("IOAS_NOIOMMU_GET_PA")),
];

/// A program that has opened `/dev/iommu`.
struct Program {
    client: Client,
    fd: i32,
}

impl Program {
    fn new(machine: &Machine, generation: Generation) -> Self {
        let mut client = Client::new();
        let fd = client.open_on(&Engine::new(machine, Kernel::of(generation)));
        Self { client, fd }
    }

    fn call<C: Command>(&mut self, cmd: &mut C) -> Answer {
        self.client.call(self.fd, cmd).map(i64::cast_unsigned)
    }

    fn ioas(&mut self) -> u32 {
        let mut cmd = iommu_ioas_alloc { size: 12, ..Default::default() };
        self.call(&mut cmd).expect("an IOAS");
        cmd.out_ioas_id
    }

    fn destroy(&mut self, id: u32) {
        self.call(&mut iommu_destroy { size: 8, id }).expect("an object that is not in use");
    }
}

/// Where nothing is mapped.
const NOWHERE: u64 = 0xdead_0000;
/// One more than a kernel with limits takes.
const TOO_MANY: u32 = (1 << 19) + 1;

fn no_size<C: Command>(program: &mut Program) -> Answer {
    program.call(&mut C::default())
}

#[rustfmt::skip] // one call, one line
fn data_type(program: &mut Program) -> Answer {
    program.call(&mut iommu_hwpt_alloc { size: 40, data_type: 1, data_len: 1, ..Default::default() })
}

fn data_type_alone(program: &mut Program) -> Answer {
    program.call(&mut iommu_hwpt_alloc { size: 40, data_type: 1, ..Default::default() })
}

fn capabilities(program: &mut Program) -> Answer {
    program.call(&mut iommu_hw_info { size: 40, out_capabilities: 1, ..Default::default() })
}

fn fault_id(program: &mut Program) -> Answer {
    program.call(&mut iommu_hwpt_alloc { size: 48, fault_id: 1, ..Default::default() })
}

fn invalidate_ioas(program: &mut Program) -> Answer {
    let hwpt_id = program.ioas();
    let mut cmd = iommu_hwpt_invalidate { size: 32, hwpt_id, ..Default::default() };
    let answer = program.call(&mut cmd);
    program.destroy(hwpt_id);
    answer
}

fn pasid_width(program: &mut Program) -> Answer {
    program.call(&mut iommu_hw_info { size: 32, out_max_pasid_log2: 1, ..Default::default() })
}

fn info_of_type(program: &mut Program) -> Answer {
    let flags = IOMMU_HW_INFO_FLAG_INPUT_TYPE;
    program.call(&mut iommu_hw_info { size: 32, flags, ..Default::default() })
}

fn viommu_data(program: &mut Program) -> Answer {
    let r#type = IOMMU_VIOMMU_TYPE_ARM_SMMUV3;
    program.call(&mut iommu_viommu_alloc { size: 40, r#type, data_len: 1, ..Default::default() })
}

fn map_descriptor(program: &mut Program) -> Answer {
    let mapped = program.client.open_file(program.fd).mmap(0, PAGE_SIZE, true, false);
    mapped.map(|_| 0).map_err(|refusal| refusal.errno())
}

fn invalidate_many(program: &mut Program) -> Answer {
    let mut cmd = iommu_hwpt_invalidate { size: 32, ..Default::default() };
    (cmd.data_uptr, cmd.entry_len, cmd.entry_num) = (1, 16, TOO_MANY);
    program.call(&mut cmd)
}

fn deep_queue(program: &mut Program) -> Answer {
    let mut cmd = iommu_veventq_alloc { size: 32, ..Default::default() };
    (cmd.r#type, cmd.veventq_depth) = (IOMMU_VEVENTQ_TYPE_ARM_SMMUV3, TOO_MANY);
    program.call(&mut cmd)
}

/// The type1 calls mean the IOAS that `IOMMU_VFIO_IOAS` chose.
fn unmap_nothing(program: &mut Program) -> Answer {
    let ioas_id = program.ioas();
    let (set, clear) = (IOMMU_VFIO_IOAS_SET, IOMMU_VFIO_IOAS_CLEAR);
    let mut choice = iommu_vfio_ioas { size: 12, ioas_id, op: set, __reserved: 0 };
    program.call(&mut choice).expect("an IOAS to choose");
    let unmap =
        vfio_iommu_type1_dma_unmap { argsz: 24, flags: 0, iova: PAGE_SIZE, size: PAGE_SIZE };
    let at = program.client.scratch(unmap.as_bytes());
    let answer = program.client.ioctl(program.fd, VFIO_IOMMU_UNMAP_DMA, at);
    program.call(&mut iommu_vfio_ioas { op: clear, ..choice }).expect("a choice to clear");
    program.destroy(ioas_id);
    answer.map(i64::cast_unsigned).map_err(|refusal| refusal.errno())
}

fn bad_response(program: &mut Program) -> Answer {
    let mut queue = iommu_fault_alloc { size: 16, ..Default::default() };
    program.call(&mut queue)?;
    let fd = queue.out_fault_fd.cast_signed();
    let answer = program.client.open_file(fd).write(&mut program.client, NOWHERE, 8, None);
    program.client.close(fd);
    program.destroy(queue.out_fault_id);
    answer.map_err(|refusal| refusal.errno())
}

fn probes() -> impl Iterator<Item = &'static Probe> {
    COMMANDS.iter().chain(BEHAVIOUR)
}

/// All answers of a kernel, in the order of the probes. One program asks for all of them.
fn fingerprint(machine: &Machine, generation: Generation) -> Vec<Answer> {
    let mut program = Program::new(machine, generation);
    let answers = probes().map(|(_, ask, _)| ask(&mut program)).collect();
    assert_eq!(program.ioas(), 1, "{generation}: a probe left something behind");
    answers
}

/// Every row, under every kernel. The hardware does not matter.
#[test]
fn kernels_answer_as_they_do() {
    let mut wrong = Vec::new();
    for machine in Machine::all() {
        for generation in Generation::ALL {
            let found = fingerprint(machine, *generation);
            for ((name, _, answers), answer) in probes().zip(found) {
                let expected = answers.iter().rfind(|(since, _)| since <= generation);
                let (_, expected) = *expected.expect("an answer from 6.2 on");
                if answer != expected {
                    let place = format!("{generation} on {}", machine.name);
                    wrong.push(format!("{place}, {name}: {answer:?}, not {expected:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What tells each generation from the next. Any two are different, unless all between them are alike.
#[test]
fn kernels_can_be_told_apart() {
    let machine = Machine::by_name("none").unwrap();
    let prints: Vec<_> = Generation::ALL.iter().map(|g| fingerprint(machine, *g)).collect();
    let tells = |older: usize, newer: usize| {
        let mut pairs = probes().zip(prints[older].iter().zip(&prints[newer]));
        pairs.find(|(_, (old, new))| old != new).map(|((name, ..), _)| *name)
    };

    let neighbours = Generation::ALL.windows(2).enumerate();
    let found: Vec<_> = neighbours.map(|(i, pair)| (pair[0], pair[1], tells(i, i + 1))).collect();
    for (older, newer, probe) in &found {
        println!("{older} and {newer}: {}", probe.unwrap_or("none of the probes"));
    }
    assert_eq!(found, NEIGHBOURS);

    for newer in 0..prints.len() {
        for older in 0..newer {
            let expected = NEIGHBOURS[older..newer].iter().any(|(.., probe)| probe.is_some());
            let (a, b) = (Generation::ALL[older], Generation::ALL[newer]);
            assert_eq!(tells(older, newer).is_some(), expected, "{a} and {b}");
        }
    }
}
