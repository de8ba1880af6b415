//! The log of what a device writes (`vfio_ioctl_device_feature_logging_start` and what follows it in
//! `drivers/vfio/vfio_main.c`; where the driver decides, mlx5 and pds).

use mem::{AddressSpace, PAGE_SIZE};
use testkit::host::{MEMORY, UNMAPPED};
use uapi::Errno;
use uapi::vfio::*;
use zerocopy::IntoBytes;

use crate::bench::*;

const GET: u32 = VFIO_DEVICE_FEATURE_GET;
const SET: u32 = VFIO_DEVICE_FEATURE_SET;
const PROBE: u32 = VFIO_DEVICE_FEATURE_PROBE;

type Control = vfio_device_feature_dma_logging_control;
type Report = vfio_device_feature_dma_logging_report;
type Answer = Result<(), Errno>;

const INVAL: Answer = Err(Errno::EINVAL);
const FAULT: Answer = Err(Errno::EFAULT);
const OVERFLOW: Answer = Err(Errno::EOVERFLOW);

/// Where arrays and bitmaps are; two pages follow.
const ARRAY: u64 = MEMORY + PAGE_SIZE;
/// Where the program's memory ends.
const END: u64 = MEMORY + 16 * PAGE_SIZE;

/// A call of the feature, with its data.
#[derive(Clone)]
struct Ask<D> {
    argsz: u32,
    flags: u32,
    at: u64,
    data: D,
    ranges: Vec<(u64, u64)>,
}

impl Ask<Control> {
    fn start(page_size: u64, ranges: &[(u64, u64)]) -> Self {
        let (num_ranges, at) = (ranges.len() as u32, ARRAY);
        let data = Control { page_size, num_ranges, __reserved: 0, ranges: at };
        let flags = VFIO_DEVICE_FEATURE_DMA_LOGGING_START | SET;
        Self { argsz: 32, flags, at: MEMORY, data, ranges: ranges.to_vec() }
    }

    /// The size of pages that is told.
    fn page_size(&self, bench: &mut Bench) -> Result<u64, Errno> {
        let array = self.data.ranges;
        let bytes: Vec<u8> =
            self.ranges.iter().flat_map(|it| [it.0, it.1]).flat_map(u64::to_ne_bytes).collect();
        if array < END {
            let room = bytes.len().min((END - array) as usize);
            bench.host.client.memory.write(array, &bytes[..room]).unwrap();
        }
        self.call(bench)?;
        let mut page_size = [0; 8];
        bench.host.client.memory.read(self.at + 8, &mut page_size).unwrap();
        Ok(u64::from_ne_bytes(page_size))
    }
}

impl Ask<Report> {
    fn report(iova: u64, length: u64, page_size: u64) -> Self {
        let data = Report { iova, length, page_size, bitmap: ARRAY };
        let flags = VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT | GET;
        Self { argsz: 40, flags, at: MEMORY, data, ranges: Vec::new() }
    }

    /// The bits that are set by it, in a bitmap of two pages.
    fn bits(&self, bench: &mut Bench) -> Result<Vec<u64>, Errno> {
        let mut bytes = [0; 2 * PAGE_SIZE as usize];
        bench.host.client.memory.write(ARRAY, &bytes).unwrap();
        self.call(bench)?;
        bench.host.client.memory.read(ARRAY, &mut bytes).unwrap();
        let set = |bit: &u64| bytes[*bit as usize / 8] >> (bit % 8) & 1 != 0;
        Ok((0..bytes.len() as u64 * 8).filter(set).collect())
    }
}

impl<D: IntoBytes + zerocopy::Immutable> Ask<D> {
    fn call(&self, bench: &mut Bench) -> Answer {
        let head = vfio_device_feature { argsz: self.argsz, flags: self.flags };
        let bytes = [head.as_bytes(), self.data.as_bytes()].concat();
        let room = bytes.len().min((END - self.at) as usize);
        bench.host.client.memory.write(self.at, &bytes[..room]).unwrap();
        let done = bench.host.client.ioctl(bench.host.cards[0], VFIO_DEVICE_FEATURE, self.at);
        done.map(drop).map_err(|refusal| refusal.errno())
    }
}

fn stop(bench: &mut Bench) -> Answer {
    bench.call(VFIO_DEVICE_FEATURE, &[8, VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP | SET], 64).0
}

fn wrote(bench: &Bench, iova: u64, bytes: usize) {
    bench.witness.log.as_ref().unwrap().wrote(iova, bytes);
}

#[test]
fn start() {
    type Row = (&'static str, fn(&mut Ask<Control>), Result<u64, Errno>);
    const INVAL: Result<u64, Errno> = Err(Errno::EINVAL);
    const FAULT: Result<u64, Errno> = Err(Errno::EFAULT);
    const OVERFLOW: Result<u64, Errno> = Err(Errno::EOVERFLOW);
    const NO_SUPPORT: Result<u64, Errno> = Err(Errno::EOPNOTSUPP);
    #[rustfmt::skip] // one call, one line
    let rows: &[Row] = &[
        // what,                         change,                                              size of pages
        ("a range",                      |_| (),                                              Ok(0x1000)),
        ("smaller pages",                |c| { c.data.page_size = 512; c.ranges[0].0 += 512 }, Ok(0x1000)),
        ("larger pages",                 |c| c.data.page_size = 0x4000,                       Ok(0x4000)),
        ("the largest",                  |c| { c.data.page_size = 2 << 20; c.ranges[0] = (0, 2 << 20) }, Ok(2 << 20)),
        ("larger than that",             |c| { c.data.page_size = 1 << 30; c.ranges[0] = (0, 1 << 30) }, Ok(2 << 20)),
        ("no power of two",              |c| c.data.page_size = 0x3000,                       Ok(0x2000)),
        ("no page size",                 |c| c.data.page_size = 0,                            INVAL),
        ("no page size and no range",    |c| { c.data.page_size = 0; c.ranges[0] = (0, 0) },  NO_SUPPORT),
        ("unaligned IOVA",               |c| c.ranges[0].0 += 512,                            INVAL),
        ("unaligned length",             |c| c.ranges[0].1 += 512,                            INVAL),
        ("wraps",                        |c| c.ranges[0].1 = 0u64.wrapping_sub(0x10000),      OVERFLOW),
        ("wraps, and is unaligned",      |c| c.ranges[0].1 = 0u64.wrapping_sub(1),            INVAL),
        ("all but the last page",        |c| c.ranges[0] = (0, 0u64.wrapping_sub(0x1000)),    Ok(0x1000)),
        ("two ranges",                   |c| c.ranges.push((0, 0x10000)),                     Ok(0x1000)),
        ("twice the same",               |c| c.ranges.push((0x10000, 0x20000)),               INVAL),
        ("one page of another",          |c| c.ranges.push((0x2f000, 0x2000)),                INVAL),
        ("no length",                    |c| c.ranges[0].1 = 0,                               NO_SUPPORT),
        ("no length, beside another",    |c| c.ranges.push((0x30000, 0)),                     Ok(0x1000)),
        ("no length, in another",        |c| c.ranges.push((0x20000, 0)),                     INVAL),
        ("no length at 0, and another",  |c| c.ranges.push((0, 0)),                           INVAL),
        ("no range",                     |c| c.data.num_ranges = 0,                           INVAL),
        ("256 ranges",                   |c| c.ranges = (0..256).map(|it| (it << 16, 0x1000)).collect(), Ok(0x1000)),
        ("257 ranges, of nowhere",       |c| { c.data.num_ranges = 257; c.data.ranges = UNMAPPED }, Err(Errno::E2BIG)),
        ("ranges of nowhere",            |c| c.data.ranges = UNMAPPED,                        FAULT),
        ("half a range",                 |c| c.data.ranges = END - 8,                         FAULT),
        ("the second of nowhere",        |c| { c.data.ranges = END - 16; c.ranges.push((0, 0)) }, FAULT),
        ("and the first is unaligned",   |c| { c.data.ranges = END - 16; c.ranges[0].0 += 1; c.ranges.push((0, 0)) }, INVAL),
        ("reserved",                     |c| c.data.__reserved = 1,                           Ok(0x1000)),
        ("get",                          |c| c.flags ^= GET | SET,                            INVAL),
        ("nothing asked",                |c| c.flags ^= SET,                                  INVAL),
        ("too short",                    |c| c.argsz = 31,                                    INVAL),
        ("not there",                    |c| c.at = END - 8,                                  FAULT),
        ("half there",                   |c| c.at = END - 24,                                 FAULT),
    ];
    for (what, change, answer) in rows {
        let mut ask = Ask::start(0x1000, &[(0x10000, 0x20000)]);
        change(&mut ask);
        // where a row says nothing of their number
        if ask.data.num_ranges == 1 {
            ask.data.num_ranges = ask.ranges.len() as u32;
        }
        let mut bench = Bench::with_log("7.3");
        assert_eq!(ask.page_size(&mut bench), *answer, "{what}");
        let started = Ask::report(0x10000, 0x1000, 0x1000).call(&mut bench) == Ok(());
        assert!(!started || answer.is_ok(), "{what}: refused, and started");
    }
}

/// What a driver without a log refuses, one with a log does not.
#[test]
fn probe() {
    const START: u32 = VFIO_DEVICE_FEATURE_DMA_LOGGING_START;
    const STOP: u32 = VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP;
    const REPORT: u32 = VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT;
    let mut bench = Bench::with_log("7.3");
    let offered = [(START, SET), (STOP, SET), (REPORT, GET)];
    for (feature, operation) in offered {
        for (asked, answer) in [(0, Ok(())), (operation, Ok(())), (GET | SET, INVAL)] {
            let words = [8, feature | asked | PROBE];
            assert_eq!(bench.call(VFIO_DEVICE_FEATURE, &words, 64).0, answer, "{words:x?}");
        }
        let words = [8, feature | operation ^ (GET | SET)];
        assert_eq!(bench.call(VFIO_DEVICE_FEATURE, &words, 64).0, INVAL, "{words:x?}");
    }
    assert_eq!(Ask::report(0, 0x1000, 0x1000).call(&mut bench), INVAL, "nothing was started");
}

#[test]
fn report() {
    type Row = (&'static str, fn(&mut Ask<Report>), Answer);
    #[rustfmt::skip] // one call, one line
    let rows: &[Row] = &[
        ("all of a range",               |_| (),                                    Ok(())),
        ("a part",                       |c| c.data.length = 0x1000,                Ok(())),
        ("a part of a page",             |c| { c.data.iova += 1; c.data.length = 1 }, Ok(())),
        ("the other range",              |c| { c.data.iova = 0x40000; c.data.length = 0x2000 }, Ok(())),
        ("no length",                    |c| c.data.length = 0,                     INVAL),
        ("more than the range",          |c| c.data.length += 1,                    INVAL),
        ("before it",                    |c| c.data.iova -= 1,                      INVAL),
        ("both ranges",                  |c| c.data.length = 0x32000,               INVAL),
        ("two that touch",               |c| { c.data.iova = 0x40000; c.data.length = 0x3000 }, INVAL),
        ("what is not logged",           |c| c.data.iova = 0x80000,                 INVAL),
        ("no page size",                 |c| c.data.page_size = 0,                  INVAL),
        ("half a page",                  |c| c.data.page_size = 2048,               INVAL),
        ("three pages",                  |c| c.data.page_size = 0x3000,             INVAL),
        ("more than the address space",  |c| c.data.page_size = 1 << 63,            Ok(())),
        ("wraps",                        |c| c.data.length = 0u64.wrapping_sub(0x10000), OVERFLOW),
        ("wraps, and half a page",       |c| { c.data.length = u64::MAX; c.data.page_size = 2048 }, INVAL),
        ("set",                          |c| c.flags ^= GET | SET,                  INVAL),
        ("too short",                    |c| c.argsz = 39,                          INVAL),
        ("not there",                    |c| c.at = END - 8,                        FAULT),
    ];
    let ranges = [(0x10000, 0x10000), (0x40000, 0x2000), (0x42000, 0x1000)];
    let started = |kernel: &str| {
        let mut bench = Bench::with_log(kernel);
        assert_eq!(Ask::start(0x1000, &ranges).page_size(&mut bench), Ok(0x1000));
        wrote(&bench, 0x10000, 1);
        bench
    };
    for kernel in ["6.6", "7.3"] {
        for (what, change, answer) in rows {
            let mut ask = Ask::report(0x10000, 0x10000, 0x1000);
            change(&mut ask);
            assert_eq!(ask.call(&mut started(kernel)), *answer, "{what}, {kernel}");
        }
    }
    for (kernel, of_started, of_stopped) in [("6.8", FAULT, FAULT), ("6.11", Ok(()), INVAL)] {
        let mut ask = Ask::report(0x10000, 0x10000, 0x1000);
        ask.data.bitmap = UNMAPPED;
        let mut bench = started(kernel);
        assert_eq!(ask.call(&mut bench), of_started, "bitmap of nowhere, {kernel}");
        stop(&mut bench).unwrap();
        assert_eq!(ask.call(&mut bench), of_stopped, "bitmap of nowhere, {kernel}");
    }
}

/// Which bits are set, and which are left for the next report.
#[test]
fn pages() {
    type Row =
        (&'static str, u64, &'static [(u64, usize)], [u64; 3], &'static [u64], &'static [u64]);
    const ALL: [u64; 3] = [0x10000, 0x10000, 0x1000];
    const HALF: [u64; 3] = [0x10000, 0x8000, 0x1000];
    #[rustfmt::skip] // one log, one line
    let rows: &[Row] = &[
        // what,                       page of the log, writes,              report, bits, bits of all pages after that
        ("nothing",                    0x1000, &[],                              ALL,  &[],       &[]),
        ("no byte",                    0x1000, &[(0x10000, 0)],                  ALL,  &[],       &[]),
        ("a byte",                     0x1000, &[(0x12fff, 1)],                  ALL,  &[2],      &[]),
        ("across a page",              0x1000, &[(0x12fff, 2)],                  ALL,  &[2, 3],   &[]),
        ("three pages",                0x1000, &[(0x12fff, 0x1002)],             ALL,  &[2, 3, 4], &[]),
        ("twice",                      0x1000, &[(0x12000, 1), (0x12800, 1)],    ALL,  &[2],      &[]),
        ("into the range",             0x1000, &[(0xf000, 0x1001)],              ALL,  &[0],      &[]),
        ("out of it",                  0x1000, &[(0x1ffff, 0x2001)],             ALL,  &[15],     &[]),
        ("beside it",                  0x1000, &[(0xffff, 1), (0x20000, 1)],     ALL,  &[],       &[]),
        ("more than it",               0x4000, &[(0, 0x40000)],                  HALF, &[0, 1, 2, 3, 4, 5, 6, 7], &[8, 9, 10, 11, 12, 13, 14, 15]),
        ("to the last address",        0x1000, &[(u64::MAX, 8)],                 ALL,  &[],       &[]),
        ("what is not asked for stays", 0x1000, &[(0x10000, 1), (0x18000, 1)],   HALF, &[0],      &[8]),
        ("larger bits",                0x1000, &[(0x10000, 1), (0x17000, 1)],    [0x10000, 0x10000, 0x4000], &[0, 1], &[]),
        ("smaller bits",               0x4000, &[(0x14000, 1)],                  ALL,  &[4, 5, 6, 7], &[]),
        ("a part of a page stays",     0x4000, &[(0x14000, 1)],                  [0x15000, 0x2000, 0x1000], &[0, 1], &[4, 5, 6, 7]),
        ("bits begin at the IOVA",     0x1000, &[(0x14000, 1)],                  [0x13800, 0x8000, 0x1000], &[0, 1], &[]),
        ("a part, and the next",       0x1000, &[(0x13000, 0x2000)],             [0x13800, 0x8000, 0x1000], &[0, 1], &[3]),
    ];
    for (what, page_size, writes, [iova, length, bit], told, left) in rows {
        let mut bench = Bench::with_log("7.3");
        let start = Ask::start(*page_size, &[(0x10000, 0x10000)]);
        assert_eq!(start.page_size(&mut bench), Ok(*page_size), "{what}");
        writes.iter().for_each(|(iova, bytes)| wrote(&bench, *iova, *bytes));
        let ask = Ask::report(*iova, *length, *bit);
        assert_eq!(ask.bits(&mut bench).as_deref(), Ok(*told), "{what}");
        let all = Ask::report(0x10000, 0x10000, 0x1000);
        assert_eq!(all.bits(&mut bench).as_deref(), Ok(*left), "{what}, after that");
        assert_eq!(all.bits(&mut bench).as_deref(), Ok(&[][..]), "{what}, at last");
    }
}

/// Bits are set and never cleared.
#[test]
fn a_bitmap_is_added_to() {
    let mut bench = Bench::with_log("7.3");
    Ask::start(0x1000, &[(0, 0x10000)]).page_size(&mut bench).unwrap();
    wrote(&bench, 0x9000, 1);
    bench.host.client.memory.write(ARRAY, &[0x81, 0x40, 0xff]).unwrap();
    Ask::report(0, 0x10000, 0x1000).call(&mut bench).unwrap();
    let mut bytes = [0; 4];
    bench.host.client.memory.read(ARRAY, &mut bytes).unwrap();
    assert_eq!(bytes, [0x81, 0x42, 0xff, 0]);
}

/// A log is started once, survives a reset, and ends with its stop or with whoever has the device.
#[test]
fn life() {
    let mut bench = Bench::with_log("7.3");
    let start = Ask::start(0x1000, &[(0, 0x10000)]);
    let all = Ask::report(0, 0x10000, 0x1000);
    assert_eq!(stop(&mut bench), Ok(()), "one that was not started");
    wrote(&bench, 0x1000, 1);
    assert_eq!(start.page_size(&mut bench), Ok(0x1000));
    assert_eq!(all.bits(&mut bench), Ok(vec![]), "what was before");
    wrote(&bench, 0x2000, 1);
    assert_eq!(start.page_size(&mut bench), Err(Errno::EINVAL), "twice");
    assert_eq!(bench.call(VFIO_DEVICE_RESET, &[], 64).0, Ok(()));
    assert_eq!(all.bits(&mut bench), Ok(vec![2]), "what was before the second");
    wrote(&bench, 0x3000, 1);
    assert_eq!(stop(&mut bench), Ok(()));
    assert_eq!(all.bits(&mut bench), Err(Errno::EINVAL), "stopped");
    assert_eq!(start.page_size(&mut bench), Ok(0x1000));
    assert_eq!(all.bits(&mut bench), Ok(vec![]), "a log of its own");

    bench.host.client.close(bench.host.cards[0]);
    let card = bench.host.open_card(0).unwrap();
    bench.host.bind_card(card, bench.host.fd).unwrap();
    bench.host.cards[0] = card;
    assert_eq!(all.bits(&mut bench), Err(Errno::EINVAL), "of who had it before");
}

/// What cannot be told back was not started.
#[test]
fn an_answer_that_cannot_be_written() {
    let mut bench = Bench::with_log("7.3");
    let ask = Ask::start(0x1000, &[(0, 0x10000)]);
    let at = UNMAPPED;
    bench.host.client.memory.map(at, 1, true);
    let head = vfio_device_feature { argsz: ask.argsz, flags: ask.flags };
    let array = vfio_device_feature_dma_logging_range { iova: 0, length: 0x10000 };
    bench.host.client.memory.write(ARRAY, array.as_bytes()).unwrap();
    let bytes = [head.as_bytes(), ask.data.as_bytes()].concat();
    bench.host.client.memory.write(at, &bytes).unwrap();
    bench.host.client.memory.protect(at, 1, false);
    let done = bench.host.client.ioctl(bench.host.cards[0], VFIO_DEVICE_FEATURE, at);
    assert_eq!(done.map(drop).map_err(|it| it.errno()), FAULT);
    assert_eq!(Ask::report(0, 0x10000, 0x1000).call(&mut bench), INVAL);
}
