//! Regions and interrupt of faults: what is told, read, written, mapped (`vfio_pci_dma_fault_rw`,
//! `vfio_pci_dma_fault_mmap`, `vfio_pci_ioctl_get_irq_info` of v13).

use uapi::Errno;
use uapi::vfio::*;
use zerocopy::{FromBytes, IntoBytes};

use super::bench::*;

const FAULTS: u64 = 9 << 40;
const RESPONSES: u64 = 10 << 40;
/// Bytes of the regions; answers have another size in each layout.
const FAULTS_SIZE: u64 = 0x9000;
const RESPONSES_SIZE: u64 = 0x4000;
const FAULT_IRQ: u32 = 5;

type Count = Result<u64, Errno>;
const NONE: Count = Err(Errno::EINVAL);
const BAD: Count = Err(Errno::EFAULT);

struct Opened {
    it: Bench,
    device: i32,
}

impl Opened {
    fn of(mut it: Bench, name: &str) -> Self {
        let device = it.device(name).unwrap();
        Self { it, device }
    }

    fn new(kernel: &str) -> Self {
        Self::of(Bench::new(kernel), NAMES[0])
    }

    fn pread(&mut self, va: u64, count: u64, at: u64) -> Count {
        let file = self.it.client.open_file(self.device);
        file.read(&mut self.it.client, va, count, Some(at)).map_err(|refusal| refusal.errno())
    }

    fn pwrite(&mut self, va: u64, count: u64, at: u64) -> Count {
        let file = self.it.client.open_file(self.device);
        file.write(&mut self.it.client, va, count, Some(at)).map_err(|refusal| refusal.errno())
    }

    fn ioctl(&mut self, cmd: u32, bytes: &[u8]) -> (Result<i64, Errno>, Vec<u8>) {
        self.it.call_with(self.device, cmd, bytes)
    }

    /// Regions and kinds of interrupts, and whether those of faults can be asked for.
    fn counts(&mut self) -> (u32, u32, [bool; 3]) {
        let mut words = [24, 0, 0, 0, 0, 0];
        let (answer, told) = self.ioctl(VFIO_DEVICE_GET_INFO, words.as_bytes());
        answer.unwrap();
        words.as_mut_bytes().copy_from_slice(&told);
        let region = |it: &mut Self, index| {
            it.ioctl(VFIO_DEVICE_GET_REGION_INFO, [32, 0, index, 0, 0, 0, 0, 0].as_bytes())
                .0
                .is_ok()
        };
        let regions = [region(self, 9), region(self, 10)];
        let irq = self.ioctl(VFIO_DEVICE_GET_IRQ_INFO, [16, 0, FAULT_IRQ, 0].as_bytes()).0.is_ok();
        (words[2], words[3], [regions[0], regions[1], irq])
    }
}

/// They are there for a device that can ask for pages, in a nesting container, under the API of 2020.
#[test]
fn who_has_them() {
    const PLAIN: u64 = 3;
    const ALL: (u32, u32, [bool; 3]) = (11, 6, [true; 3]);
    const NOTHING: (u32, u32, [bool; 3]) = (9, 5, [false; 3]);
    type Change = fn(&mut profile::Machine);
    type Row = (&'static str, &'static str, u64, Change, usize, (u32, u32, [bool; 3]));
    #[rustfmt::skip] // one device, one line
    let rows: &[Row] = &[
        ("nesting",               "2020",         NESTING, |_| {},                         0, ALL),
        ("... the second device", "2020",         NESTING, |_| {},                         1, ALL),
        ("... of the patches",    "2020-patches", NESTING, |_| {},                         0, ALL),
        ("no page requests",      "2020",         NESTING, |it| it.devices[0].pri = false, 0, NOTHING),
        ("... the second device", "2020",         NESTING, |it| it.devices[0].pri = false, 1, ALL),
        ("no ATS",                "2020",         NESTING, |it| it.devices[0].ats = false, 0, NOTHING),
        ("not nesting",           "2020",         PLAIN,   |_| {},                         0, NOTHING),
        ("later",                 "7.3",          PLAIN,   |_| {},                         0, NOTHING),
    ];
    for (what, kernel, kind, change, device, expected) in rows {
        let mut machine = machine();
        change(&mut machine);
        let bench = Bench::of_type(&engine(&machine, kernel), GROUP, *kind);
        let mut it = Opened::of(bench, NAMES[*device]);
        assert_eq!(it.counts(), *expected, "{kernel}, {what}");
        for region in [FAULTS, RESPONSES] {
            let there = expected == &ALL;
            assert_eq!(it.pread(BUFFER, 4, region).is_ok(), there, "{kernel}, {what}");
            assert_eq!(it.pwrite(BUFFER, 4, region).is_ok(), there, "{kernel}, {what}");
        }
    }
}

/// With the group they go.
#[test]
fn who_had_them() {
    let mut it = Opened::new("2020");
    it.it.client.close(it.device);
    it.it.leave().unwrap();
    it.it.join(it.it.group).unwrap();
    it.it.set_iommu(3).unwrap();
    let mut it = Opened::of(it.it, NAMES[0]);
    assert_eq!(it.counts(), (9, 5, [false; 3]));
}

/// `VFIO_DEVICE_GET_REGION_INFO`: the struct, and its three capabilities.
#[test]
fn information() {
    for (kernel, _) in KERNELS {
        for (index, size, subtype, id) in [(9, FAULTS_SIZE, 1, 6), (10, RESPONSES_SIZE, 2, 7)] {
            let head = |argsz: u32, flags: u32, cap_offset: u32| {
                let offset = u64::from(index) << 40;
                let info = vfio_region_info { argsz, flags, index, cap_offset, size, offset };
                info.as_bytes().to_vec()
            };
            let capability = |id: u16, next: u32| vfio_info_cap_header { id, version: 1, next };
            let sparse = [1, 0, 0x1000, 0, (size - 0x1000) as u32, 0];
            let whole = [
                head(92, 0xf, 32).as_slice(),
                capability(2, 48).as_bytes(),
                [4_u32, subtype].as_bytes(),
                capability(id, 60).as_bytes(),
                1_u32.as_bytes(),
                capability(1, 0).as_bytes(),
                sparse.as_bytes(),
            ]
            .concat();
            let mut it = Opened::new(kernel);
            for (argsz, expected) in [(32, head(92, 0xf, 0)), (91, head(92, 0xf, 0)), (92, whole)] {
                let mut bytes = vec![0xee; 92];
                bytes[..4].copy_from_slice(&u32::to_ne_bytes(argsz));
                bytes[8..12].copy_from_slice(&index.to_ne_bytes());
                let (answer, told) = it.ioctl(VFIO_DEVICE_GET_REGION_INFO, &bytes);
                assert_eq!(answer, Ok(0));
                assert_eq!(told[..expected.len()], expected, "{kernel}: region {index}, {argsz}");
                assert!(told[expected.len()..].iter().all(|byte| *byte == 0xee));
            }
        }
    }
    let mut it = Opened::new("2020");
    let index = [32, 0, 11, 0, 0, 0, 0, 0];
    assert_eq!(it.ioctl(VFIO_DEVICE_GET_REGION_INFO, index.as_bytes()).0, Err(Errno::EINVAL));
    // no room for capabilities
    let bytes = [92, 0, 9, 0, 0, 0, 0, 0];
    let at = EDGE + PAGE - 91;
    mem::AddressSpace::write(&*it.it.client.memory, at, bytes.as_bytes()).unwrap();
    let answer = it.it.call(it.device, VFIO_DEVICE_GET_REGION_INFO, at);
    assert_eq!(answer, Err(Errno::EFAULT));
}

/// The header of both: index, size of an entry, entries, where they are, index.
#[test]
fn headers() {
    for (kernel, response) in [("2020", 24), ("2020-patches", 20)] {
        let mut it = Opened::new(kernel);
        for (at, entry) in [(FAULTS, 64), (RESPONSES, response)] {
            assert_eq!(it.pread(BUFFER, PAGE, at), Ok(PAGE));
            let bytes = it.it.bytes(BUFFER, PAGE as usize);
            assert_eq!(bytes[..20], *[0_u32, entry, 512, 0x1000, 0].as_bytes());
            assert!(bytes[20..].iter().all(|byte| *byte == 0), "{kernel}");
        }
    }
}

#[test]
fn transfers() {
    const LAST: u64 = FAULTS_SIZE - 1;
    const NOWHERE: u64 = 0xdead_0000;
    type Row = (&'static str, u64, u64, u64, Count, Count);
    #[rustfmt::skip] // one transfer, one line
    let rows: &[Row] = &[
        // what,                        va,      count,    position,              read,      written
        ("the index",                   BUFFER,  4,        FAULTS,                Ok(4),     Ok(4)),
        ("nothing",                     BUFFER,  0,        FAULTS,                Ok(0),     Ok(0)),
        ("nothing beyond",              BUFFER,  0,        FAULTS + FAULTS_SIZE,  Ok(0),     Ok(0)),
        ("part of it",                  BUFFER,  2,        FAULTS,                Ok(2),     NONE),
        ("a byte more",                 BUFFER,  5,        FAULTS,                Ok(5),     NONE),
        ("the second word",             BUFFER,  4,        FAULTS + 4,            Ok(4),     NONE),
        ("out of place",                BUFFER,  4,        FAULTS + 1,            Ok(4),     NONE),
        ("the kernel's index",          BUFFER,  4,        FAULTS + 16,           Ok(4),     NONE),
        ("an entry",                    BUFFER,  64,       FAULTS + PAGE,         Ok(64),    NONE),
        ("part of an entry",            BUFFER,  3,        FAULTS + PAGE + 61,    Ok(3),     NONE),
        ("header and ring",             BUFFER,  8,        FAULTS + PAGE - 4,     Ok(8),     NONE),
        ("all of it",                   BUFFER,  FAULTS_SIZE, FAULTS,             Ok(FAULTS_SIZE), NONE),
        ("the last byte",               BUFFER,  9,        FAULTS + LAST,         Ok(1),     NONE),
        ("beyond",                      BUFFER,  4,        FAULTS + FAULTS_SIZE,  NONE,      NONE),
        ("far beyond",                  BUFFER,  4,        RESPONSES - 1,         NONE,      NONE),
        ("no memory",                   NOWHERE, 4,        FAULTS,                BAD,       BAD),
        ("no memory, and beyond",       NOWHERE, 4,        FAULTS + FAULTS_SIZE,  NONE,      NONE),
        ("more than memory",            BUFFER,  1 << 40,  FAULTS,                Ok(FAULTS_SIZE), NONE),
        ("of responses: the index",     BUFFER,  4,        RESPONSES,             Ok(4),     Ok(4)),
        ("... half of it",              BUFFER,  2,        RESPONSES,             Ok(2),     NONE),
        ("... the kernel's index",      BUFFER,  4,        RESPONSES + 16,        Ok(4),     NONE),
        ("... the end of the page",     BUFFER,  4,        RESPONSES + PAGE - 2,  Ok(4),     NONE),
        ("... an entry",                BUFFER,  20,       RESPONSES + PAGE,      Ok(20),    Ok(20)),
        ("... part of one",             BUFFER,  1,        RESPONSES + PAGE + 7,  Ok(1),     Ok(1)),
        ("... all of them",             BUFFER,  0x3000,   RESPONSES + PAGE,      Ok(0x3000), Ok(0x3000)),
        ("... more",                    BUFFER,  0x9000,   RESPONSES + PAGE,      Ok(0x3000), Ok(0x3000)),
        ("... beyond",                  BUFFER,  1,        RESPONSES + 0x4000,    NONE,      NONE),
        ("... no memory",               NOWHERE, 20,       RESPONSES + PAGE,      BAD,       BAD),
        ("no region",                   BUFFER,  4,        11 << 40,              NONE,      NONE),
    ];
    for (what, va, count, position, reading, writing) in rows {
        let mut it = Opened::new("2020");
        assert_eq!(it.pread(*va, *count, *position), *reading, "reading {what}");
        mem::AddressSpace::write(&*it.it.client.memory, BUFFER, &[0; 64]).unwrap();
        assert_eq!(it.pwrite(*va, *count, *position), *writing, "writing {what}");
    }
}

/// The program's index is below 512, and nobody compares it with the kernel's.
#[test]
fn indices() {
    for (index, expected) in [(0, Ok(4)), (1, Ok(4)), (511, Ok(4)), (512, NONE), (u32::MAX, NONE)] {
        for (region, at) in [(FAULTS, 0), (RESPONSES, 0)] {
            let mut it = Opened::new("2020");
            // what is put in is no answer, and is refused
            let expected = if region == RESPONSES && index > 0 { NONE } else { expected };
            mem::AddressSpace::write(&*it.it.client.memory, BUFFER, index.as_bytes()).unwrap();
            assert_eq!(it.pwrite(BUFFER, 4, region + at), expected, "{index}");
            it.pread(BUFFER, 20, region).unwrap();
            let told = it.it.bytes(BUFFER, 20);
            let words: Vec<_> =
                told.chunks_exact(4).map(|it| u32::read_from_bytes(it).unwrap()).collect();
            let now = if index < 512 { index } else { 0 };
            let kernels = if region == RESPONSES { now } else { 0 };
            assert_eq!([words[0], words[4]], [now, kernels], "{index}");
        }
    }
}

#[test]
fn mapping() {
    const SHARED: bool = true;
    type Row = (&'static str, u64, u64, bool, Count);
    #[rustfmt::skip] // one mapping, one line
    let rows: &[Row] = &[
        ("the ring",             FAULTS + PAGE,        FAULTS_SIZE - PAGE, SHARED,  Ok(PAGE)),
        ("a page of it",         FAULTS + 8 * PAGE,    PAGE,               SHARED,  Ok(8 * PAGE)),
        ("the header",           FAULTS,               PAGE,               SHARED,  NONE),
        ("all of it",            FAULTS,               FAULTS_SIZE,        SHARED,  NONE),
        ("more than the ring",   FAULTS + PAGE,        FAULTS_SIZE,        SHARED,  NONE),
        ("beyond it",            FAULTS + FAULTS_SIZE, PAGE,               SHARED,  NONE),
        ("over all addresses",   FAULTS + PAGE,        !0xfff,             SHARED,  NONE),
        ("private",              FAULTS + PAGE,        PAGE,               !SHARED, NONE),
        ("no page",              FAULTS + PAGE + 512,  PAGE,               SHARED,  NONE),
        ("the ring of answers",  RESPONSES + PAGE,     0x3000,             SHARED,  Ok(PAGE)),
        ("... and more",         RESPONSES + PAGE,     0x4000,             SHARED,  NONE),
        ("... its header",       RESPONSES,            PAGE,               SHARED,  NONE),
        ("no region",            11 << 40,             PAGE,               SHARED,  NONE),
    ];
    let it = Opened::new("2020");
    let file = it.it.client.open_file(it.device);
    for (what, offset, length, shared, expected) in rows {
        let mapped = file.mmap(*offset, *length, *shared, false);
        let told = mapped.as_ref().map(|it| it.offset).map_err(|refusal| refusal.errno());
        assert_eq!(told, *expected, "{what}");
        assert!(mapped.is_err() || !mapped.is_ok_and(|it| it.trapped), "{what}");
    }
}

/// `VFIO_DEVICE_GET_IRQ_INFO`: a struct that is longer by `cap_offset`, and a capability.
#[test]
fn interrupt_information() {
    const OTHER: u32 = 0xeeee_eeee;
    const NOTHING: [u32; 4] = [OTHER; 4];
    const CAPABILITY: [u32; 4] = [0x1_0003, 0, 1, 1];
    type Row = (&'static str, u32, u32, Result<i64, Errno>, [u32; 5], [u32; 4]);
    #[rustfmt::skip] // one call, one line
    let rows: &[Row] = &[
        // what,               argsz, index,     answer,             the struct,                     behind it
        ("what is needed",     16,    FAULT_IRQ, Ok(0),              [36, 0x11, 5, 1, OTHER],        NOTHING),
        ("half a field more",  18,    FAULT_IRQ, Ok(0),              [36, 0x11, 5, 1, OTHER],        NOTHING),
        ("a field more",       20,    FAULT_IRQ, Ok(0),              [36, 0x11, 5, 1, 0],            NOTHING),
        ("not the capability", 35,    FAULT_IRQ, Ok(0),              [36, 0x11, 5, 1, 0],            NOTHING),
        ("all",                36,    FAULT_IRQ, Ok(0),              [36, 0x11, 5, 1, 20],           CAPABILITY),
        ("more",               99,    FAULT_IRQ, Ok(0),              [99, 0x11, 5, 1, 20],           CAPABILITY),
        ("too short",          15,    FAULT_IRQ, Err(Errno::EINVAL), [15, OTHER, 5, OTHER, OTHER],   NOTHING),
        ("no kind",            36,    6,         Err(Errno::EINVAL), [36, OTHER, 6, OTHER, OTHER],   NOTHING),
        ("another kind",       16,    4,         Ok(0),              [16, 9, 4, 1, OTHER],           NOTHING),
    ];
    for (kernel, _) in KERNELS {
        for (what, argsz, index, answer, head, behind) in rows {
            let mut it = Opened::new(kernel);
            let mut words = [OTHER; 9];
            (words[0], words[2]) = (*argsz, *index);
            let (found, told) = it.ioctl(VFIO_DEVICE_GET_IRQ_INFO, words.as_bytes());
            words.as_mut_bytes().copy_from_slice(&told);
            let expected = (*answer, head.as_slice(), behind.as_slice());
            assert_eq!((found, &words[..5], &words[5..]), expected, "{kernel}: {what}");
        }
    }
}

/// `VFIO_DEVICE_SET_IRQS`, as for the errors of PCI (`vfio_pci_set_ctx_trigger_single`).
#[test]
fn interrupt_setting() {
    const NONE: u32 = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER;
    const BOOL: u32 = VFIO_IRQ_SET_DATA_BOOL | VFIO_IRQ_SET_ACTION_TRIGGER;
    const EVENT: u32 = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER;
    const MASK: u32 = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_MASK;
    // stands for the descriptor of the eventfd
    const FD: i32 = -10;
    type Call = (u32, u32, u32, &'static [i32], Answer, u64);
    #[rustfmt::skip] // one call, one line
    let rows: &[(&str, &[Call])] = &[
        // flags, start, count, data, answer, what is counted
        ("an eventfd",          &[(EVENT, 0, 1, &[FD], OK, 0), (NONE, 0, 1, &[], OK, 1), (BOOL, 0, 1, &[1], OK, 1), (BOOL, 0, 1, &[0], OK, 0)]),
        ("nobody waits",        &[(NONE, 0, 1, &[], INVAL, 0), (BOOL, 0, 1, &[1], OK, 0), (NONE, 0, 0, &[], INVAL, 0)]),
        ("taken away",          &[(EVENT, 0, 1, &[FD], OK, 0), (NONE, 0, 0, &[], OK, 0), (NONE, 0, 1, &[], INVAL, 0)]),
        ("... by -1",           &[(EVENT, 0, 1, &[FD], OK, 0), (EVENT, 0, 1, &[-1], OK, 0), (NONE, 0, 1, &[], INVAL, 0)]),
        ("no descriptor",       &[(EVENT, 0, 1, &[FD], OK, 0), (EVENT, 0, 1, &[99], Err(Errno::EBADF), 0), (NONE, 0, 1, &[], OK, 1)]),
        ("no eventfd",          &[(EVENT, 0, 1, &[0], INVAL, 0)]),
        ("none given",          &[(EVENT, 0, 0, &[], INVAL, 0), (BOOL, 0, 0, &[], INVAL, 0)]),
        ("two",                 &[(EVENT, 0, 2, &[FD, FD], INVAL, 0), (NONE, 0, 2, &[], INVAL, 0)]),
        ("the second",          &[(EVENT, 1, 1, &[FD], INVAL, 0)]),
        ("masked",              &[(MASK, 0, 1, &[], NOTTY, 0)]),
    ];
    for (what, calls) in rows {
        let mut it = Opened::new("2020");
        let event = it.it.client.new_eventfd();
        for (flags, start, count, data, answer, counted) in *calls {
            let fd = |it: &i32| if *it == FD { event } else { *it };
            let data: Vec<u8> = match flags & VFIO_IRQ_SET_DATA_TYPE_MASK {
                VFIO_IRQ_SET_DATA_BOOL => data.iter().map(|it| *it as u8).collect(),
                _ => data.iter().flat_map(|it| fd(it).to_ne_bytes()).collect(),
            };
            let argsz = 20 + data.len() as u32;
            let head = [argsz, *flags, FAULT_IRQ, *start, *count];
            let (found, _) = it.ioctl(VFIO_DEVICE_SET_IRQS, &[head.as_bytes(), &data].concat());
            let told = (found.map(drop), it.it.client.events(event));
            assert_eq!(told, (*answer, *counted), "{what}: {flags:#x}");
        }
    }
}
