//! What the device has written, as VFIO's log of it tells.

use super::*;
use uapi::Errno;
use uapi::vfio::*;

const SET: u32 = VFIO_DEVICE_FEATURE_SET;
const GET: u32 = VFIO_DEVICE_FEATURE_GET;
const PAGE: u64 = 4096;
/// Pages that are mapped, and logged; one more is logged.
const PAGES: u64 = 4;

/// A call of a feature, with its data; the data afterwards.
fn feature<D>(bench: &mut Bench, flags: u32, data: D) -> Result<D, Errno>
where
    D: FromBytes + IntoBytes + zerocopy::Immutable,
{
    let argsz = (8 + size_of::<D>()) as u32;
    let bytes = [vfio_device_feature { argsz, flags }.as_bytes(), data.as_bytes()].concat();
    let at = bench.host.client.scratch(&bytes);
    let done = bench.host.client.ioctl(bench.host.cards[0], VFIO_DEVICE_FEATURE, at);
    done.map_err(|refusal| refusal.errno())?;
    let mut bytes = vec![0; size_of::<D>()];
    bench.host.client.memory.read(at + 8, &mut bytes).unwrap();
    Ok(D::read_from_bytes(&bytes).unwrap())
}

fn start(bench: &mut Bench) -> Result<u64, Errno> {
    let range = vfio_device_feature_dma_logging_range { iova: IOVA, length: (PAGES + 1) * PAGE };
    // behind what is mapped for the device
    let ranges = MEMORY + PAGES * PAGE;
    bench.host.client.memory.write(ranges, range.as_bytes()).unwrap();
    let control = vfio_device_feature_dma_logging_control {
        page_size: PAGE,
        num_ranges: 1,
        ranges,
        ..Default::default()
    };
    let started = feature(bench, VFIO_DEVICE_FEATURE_DMA_LOGGING_START | SET, control)?;
    Ok(started.page_size)
}

/// The pages that were written, as the bits of a number.
fn report(bench: &mut Bench) -> Result<u8, Errno> {
    let bitmap = MEMORY + PAGES * PAGE;
    bench.host.client.memory.write(bitmap, &[0]).unwrap();
    let length = (PAGES + 1) * PAGE;
    let report =
        vfio_device_feature_dma_logging_report { iova: IOVA, length, page_size: PAGE, bitmap };
    feature(bench, VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT | GET, report)?;
    let mut bits = [0];
    bench.host.client.memory.read(bitmap, &mut bits).unwrap();
    Ok(bits[0])
}

fn bench(machine: &str, dma_logging: bool) -> Bench {
    let mut bench = Bench::with(machine, Settings { dma_logging, ..Settings::default() });
    assert!(bench.host.engine.plug(0, Arc::clone(&bench.device) as _));
    let flags = IOMMU_IOAS_MAP_FIXED_IOVA | RW;
    bench.host.attach(IOAS).unwrap();
    let map = iommu_ioas_map { flags, ioas_id: IOAS, user_va: MEMORY, ..Default::default() };
    let mut map = iommu_ioas_map { iova: IOVA, length: PAGES * PAGE, ..map };
    bench.host.call(&mut map).unwrap();
    bench
}

#[test]
fn exactly_what_was_written() {
    let at = |page: u64, offset: u64| IOVA + page * PAGE + offset;
    let add = |address| Operation::new(Action::AtomicAdd { addend: 1 }, address);
    let translate = |address| {
        Operation::new(Action::Translate { rights: Rights::READ | Rights::WRITE }, address)
    };
    let translated =
        |address, size| Operation::new(Action::WriteTranslated { size, pattern: 1 }, address);
    let fetch = Operation::new(Action::Fetch { size: 8 }, at(0, 0));
    let read_translated = Operation::new(Action::ReadTranslated { size: 8 }, at(1, 0));
    type Row<'r> = (&'static str, &'r [Operation], u8);
    #[rustfmt::skip] // one script, one line
    let rows: &[Row<'_>] = &[
        ("nothing",                       &[],                                               0b0000),
        ("reads",                         &[read(at(0, 0), 8), read(at(1, 0xfff), 2), fetch], 0b0000),
        ("no byte",                       &[write(at(1, 0), 0, 1)],                          0b0000),
        ("a page's last byte",            &[write(at(1, 0xfff), 1, 1)],                      0b0010),
        ("across a page",                 &[write(at(1, 0xfff), 2, 1)],                      0b0110),
        ("a whole page and a byte",       &[write(at(1, 0), 0x1001, 1)],                     0b0110),
        ("all of them",                   &[write(at(0, 0), 0x4000, 1)],                     0b1111),
        ("an addition",                   &[add(at(2, 0xff8))],                              0b0100),
        ("up to what is not mapped",      &[write(at(3, 0xff8), 16, 1)],                     0b1000),
        ("what is not mapped",            &[write(at(4, 0), 8, 1)],                          0b0000),
        ("an addition there",             &[add(at(4, 0))],                                  0b0000),
        ("by a PASID that is not there",  &[write(at(0, 0), 8, 1).pasid(5)],                 0b0000),
        ("a translation alone",           &[translate(at(1, 0)), read_translated],           0b0000),
        ("a translated write",            &[translate(at(1, 0)), translated(at(1, 8), 8)],   0b0010),
        ("one that is not translated",    &[translated(at(3, 8), 8)],                        0b0000),
        ("translated, across a page",     &[write(at(1, 0xfff), 2, 1).page_requests(1)],     0b0110),
        ("reads, translated",             &[read(at(1, 0xfff), 2).page_requests(1)],         0b0000),
        ("an addition, translated",       &[add(at(2, 8)).page_requests(1)],                 0b0100),
    ];
    let mut bench = bench("spr", true);
    assert_eq!(start(&mut bench), Ok(PAGE));
    for (what, script, pages) in rows {
        bench.device.run(script);
        assert_eq!(report(&mut bench), Ok(*pages), "{what}");
        assert_eq!(report(&mut bench), Ok(0), "{what}, told already");
    }
}

/// A PASID has an address space of its own, of which the log knows nothing.
#[test]
fn not_with_a_pasid() {
    let mut bench = bench("spr", true);
    let hwpt = bench.host.hwpt(IOMMU_HWPT_ALLOC_PASID).unwrap();
    bench.host.attach(hwpt).unwrap();
    bench.host.attach_pasid(5, hwpt).unwrap();
    start(&mut bench).unwrap();
    assert_eq!(bench.status(write(IOVA, 8, 7).pasid(5)), Status::Done);
    assert_eq!(report(&mut bench), Ok(0));
    assert_eq!(bench.status(write(IOVA, 8, 7)), Status::Done);
    assert_eq!(report(&mut bench), Ok(1));
}

/// A log of the device's own does without the IOMMU's, and no device has one unless it is asked for.
#[test]
fn which_devices_have_one() {
    for (machine, dma_logging, answer) in [
        ("spr", true, Ok(PAGE)),
        ("grace", true, Ok(PAGE)),
        ("spr", false, Err(Errno::ENOTTY)),
        ("grace", false, Err(Errno::ENOTTY)),
    ] {
        let mut bench = bench(machine, dma_logging);
        assert_eq!(start(&mut bench), answer, "{machine}");
        assert_eq!(bench.status(write(IOVA + PAGE, 8, 7)), Status::Done);
        let told = report(&mut bench);
        assert_eq!(told, answer.map(|_| 0b10), "{machine}");
    }
}

/// What the device had done before a reset is told, and what it does after it.
#[test]
fn a_reset_keeps_the_log() {
    let mut bench = bench("spr", true);
    start(&mut bench).unwrap();
    bench.status(write(IOVA, 8, 7));
    bench.device.reset();
    bench.status(write(IOVA + PAGE, 8, 7));
    assert_eq!(report(&mut bench), Ok(0b11));
}
