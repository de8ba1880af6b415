//! What is wrong with descriptors, and where that is told.

use devices::dsa::spec::{opcode, status};
use testkit::host::IOAS;
use uapi::iommufd::{IOMMU_IOAS_MAP_READABLE, IOMMU_IOAS_MAP_WRITEABLE, iommu_ioas_unmap};

use super::*;

type Change = fn(&mut Descriptor);

#[test]
fn errors() {
    let bench = bench();
    let end = IOVA + (bench::PAGES << 12);
    #[rustfmt::skip] // one error, one line
    let cases: &[(&str, u8, Change, Record)] = &[
        ("no such operation",        0x07,             |_| (),                          (status::BAD_OPCODE, 0, 0, 0, 0)),
        ("no such operation at all", 0xff,             |_| (),                          (status::BAD_OPCODE, 0, 0, 0, 0)),
        ("reserved flag",            opcode::NOOP,     |it| it.flags |= 1 << 6,         (status::INVALID_FLAGS, 0, 0, 0, 1 << 6)),
        ("flags of another",         opcode::MEMMOVE,  |it| it.flags |= 5 << 16,        (status::INVALID_FLAGS, 0, 0, 0, 5 << 16)),
        ("no result to check",       opcode::MEMFILL,  |it| it.flags |= 1 << 7,         (status::INVALID_FLAGS, 0, 0, 0, 1 << 7)),
        ("block on fault",           opcode::MEMMOVE,  |it| it.flags |= flag::BOF,      (status::INVALID_FLAGS, 0, 0, 0, flag::BOF as u64)),
        ("readback",                 opcode::MEMMOVE,  |it| it.flags |= 1 << 14,        (status::INVALID_FLAGS, 0, 0, 0, 1 << 14)),
        ("reserved bit",             opcode::NOOP,     |it| it.head = 1 << 30,          (status::NOZERO_RESERVE, 0, 0, 0, 0)),
        ("reserved bytes",           opcode::NOOP,     |it| it.reserved = 1,            (status::NOZERO_RESERVE, 0, 0, 0, 0)),
        ("reserved tail",            opcode::MEMMOVE,  |it| it.tail[2] = 1 << 63,       (status::NOZERO_RESERVE, 0, 0, 0, 0)),
        ("no such interrupt",        opcode::NOOP,     |it| { it.flags |= flag::RCI; it.handle = 9 }, (status::INT_HANDLE_INVAL, 0, 0, 0, 0)),
        ("interrupt far off",        opcode::NOOP,     |it| { it.flags |= flag::RCI; it.handle = !0 }, (status::INT_HANDLE_INVAL, 0, 0, 0, 0)),
        ("no bytes",                 opcode::MEMMOVE,  |it| it.size = 0,                (status::XFER_ERANGE, 0, 0, 0, 0)),
        ("too many bytes",           opcode::MEMMOVE,  |it| it.size = (1 << 18) + 1,    (status::XFER_ERANGE, 0, 0, 0, 0)),
        ("batch of one",             opcode::BATCH,    |it| it.size = 1,                (status::DESC_CNT_ERANGE, 0, 0, 0, 0)),
        ("batch of too many",        opcode::BATCH,    |it| it.size = 1025,             (status::DESC_CNT_ERANGE, 0, 0, 0, 0)),
        ("batch off its multiple",   opcode::BATCH,    |it| it.source += 32,            (status::DESCLIST_ALIGN, 0, 0, 0, 0)),
        ("copy over itself",         opcode::COPY_CRC, |it| it.destination = FROM + 63, (status::OVERLAP_BUFFERS, 0, 0, 0, 0)),
        ("unlike destinations",      opcode::DUALCAST, |it| it.tail[0] = TO + 0x2001,   (status::DCAST_ERR, 0, 0, 0, 0)),
        ("one destination",          opcode::DUALCAST, |it| it.tail[0] = TO,            (status::OVERLAP_BUFFERS, 0, 0, 0, 0)),
        ("nothing to read",          opcode::MEMMOVE,  |it| it.source = NOTHING,        (status::PAGE_FAULT, 0, 0, NOTHING, 0)),
        ("nothing to write",         opcode::MEMMOVE,  |it| it.destination = NOTHING,   (status::PAGE_FAULT | status::WRITE, 0, 0, NOTHING, 0)),
        ("second half not there",    opcode::COMPARE,  |it| it.destination = NOTHING,   (status::PAGE_FAULT, 0, 0, NOTHING, 0)),
        ("over the last byte",       opcode::MEMFILL,  |it| it.destination = !0,        (status::PAGE_FAULT | status::WRITE, 0, 0, !0, 0)),
        ("no seed",                  opcode::CRCGEN,   |it| { it.flags |= flag::READ_SEED; it.tail[1] = NOTHING }, (status::PAGE_FAULT, 0, 0, NOTHING, 0)),
    ];
    for (name, opcode, change, record) in cases {
        let it = Descriptor::new(*opcode).with(change);
        assert_eq!(bench.run(&it), *record, "{name}");
        // the record is written without being asked for, too
        let quiet = it.with(|it| it.flags &= !flag::RCR);
        assert_eq!(bench.run(&quiet), *record, "{name}, quiet");
        assert_eq!(bench.error(), None, "{name}");
        // and without an address, the error is told by the device
        let nowhere = it.with(|it| it.flags &= !RECORDS);
        bench.send(&nowhere);
        let told = bench.error().unwrap_or_else(|| panic!("{name}: not told"));
        assert_eq!(told, (record.0 & 0x7f, *opcode, record.3), "{name}");
    }
    // what stands before the fault is done, from either end
    let over = end - 0x8800;
    for (opcode, from, to, result, done) in [
        (opcode::MEMMOVE, over, IOVA + 0x1000, 0, 0x8000),
        (opcode::MEMFILL, 0, over, 0, 0x8000),
        (opcode::MEMMOVE, over - 0x1000, over, 1, 0),
    ] {
        let it = Descriptor::new(opcode).with(|it| {
            (it.source, it.destination, it.size) = (from, to, 0x9000);
        });
        let record = bench.run(&it);
        assert_eq!((record.1, record.2, record.3), (result, done, end), "{from:#x} to {to:#x}");
    }
}

#[test]
fn records_that_cannot_be_written() {
    let bench = bench();
    bench.set(spec::GENCTRL, 4, spec::GENCTRL_SOFTERR_INT_EN.into());
    let cases = [(NOTHING, status::CRA_XLAT, NOTHING + 8), (RECORD + 16, status::CRA_ALIGN, 0)];
    for (record, error, fault) in cases {
        bench.send(&Descriptor::new(opcode::NOOP).with(|it| it.record = record));
        assert_eq!(bench.raised(0), 1);
        assert_eq!(bench.get(spec::INTCAUSE, 4), u64::from(spec::INTCAUSE_ERR));
        bench.set(spec::INTCAUSE, 4, u64::from(spec::INTCAUSE_ERR));
        assert_eq!(bench.get(spec::INTCAUSE, 4), 0);
        assert_eq!(bench.error(), Some((error, opcode::NOOP, fault)));
    }
    // a second one is lost, and that is told
    let nowhere = |opcode| Descriptor::new(opcode).with(|it| it.flags = 0);
    bench.send(&nowhere(0x44));
    bench.send(&nowhere(0x45));
    assert_eq!(bench.get(spec::SWERR, 8) & spec::SWERR_ACK, spec::SWERR_ACK);
    assert_eq!(bench.error(), Some((status::BAD_OPCODE, 0x44, 0)));
    // of a batch, the index is told
    let batch = bench.batch(&[nowhere(opcode::NOOP), nowhere(0x44)]);
    assert_eq!(bench.run(&batch).0, status::BATCH_FAIL);
    assert_ne!(bench.get(spec::SWERR, 8) & spec::SWERR_BATCH, 0);
    assert_eq!(bench.get(spec::SWERR + 8, 4), 1);
}

#[test]
fn what_batches_must_not_hold() {
    let bench = bench();
    for opcode in [opcode::BATCH, opcode::DRAIN] {
        let inner = Descriptor::new(opcode).quiet().with(|it| it.record -= 32);
        let batch = bench.batch(&[inner, inner]);
        assert_eq!(bench.run(&batch), (status::BATCH_FAIL, 0, 2, 0, 0));
        assert_eq!(bench.record_at(RECORD - 32).0, status::BAD_OPCODE);
    }
}

/// An address that is not mapped is not reached, nor is anything told by an interrupt.
#[test]
fn nothing_is_moved_from_or_to_nowhere() {
    let bench = bench();
    bench.store(TO, &[7; 64]);
    for (source, destination) in [(NOTHING, TO), (FROM, NOTHING)] {
        let it = Descriptor::new(opcode::MEMMOVE).with(|it| {
            (it.source, it.destination) = (source, destination);
        });
        assert_eq!(bench.run(&it).0 & 0x7f, status::PAGE_FAULT);
        assert_eq!(bench.load(TO, 64), [7; 64]);
        assert_eq!((0..16).map(|it| bench.raised(it)).sum::<u32>(), 0);
    }
}

#[test]
fn operations_that_the_queue_does_not_have() {
    let bench = bench_with("spr", Settings::default());
    bench.set(spec::WQCFG + 32, 8, 1 << opcode::NOOP);
    bench.enable(spec::WQ_DEDICATED);
    assert_eq!(bench.run(&Descriptor::new(opcode::NOOP)).0, status::SUCCESS);
    assert_eq!(bench.run(&Descriptor::new(opcode::MEMMOVE)).0, status::BAD_OPCODE);
}

/// A move over itself that ends by a fault in the middle goes on where its record says, and nothing is lost.
#[test]
fn moves_over_themselves_go_on_after_a_fault() {
    let rw = IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_WRITEABLE;
    let data = noise(6, 0x4000);
    for (from, to, done) in [
        (IOVA + 0x1800, IOVA + 0x1000, 0x2000),
        (IOVA + 0x1000, IOVA + 0x1800, 0x800 + 0x1000),
        (IOVA + 0x1008, IOVA + 0x1000, 0x2000),
        (IOVA + 0x1000, IOVA + 0x1008, 0x8 + 0x1000),
    ] {
        let mut bench: Bench<Dsa> = Bench::apart("spr", |dma, interrupts| {
            Dsa::new(dma, interrupts, Settings::default()).unwrap()
        });
        bench.host.attach(IOAS).unwrap();
        bench.map(0, 3);
        bench.map_with(IOMMU_IOAS_MAP_READABLE, 3, 1);
        bench.map(4, 4);
        bench.device.set_bus_master(true);
        bench.enable(spec::WQ_DEDICATED);
        bench.store(from, &data);
        let it = Descriptor::new(opcode::MEMMOVE).with(|it| {
            (it.source, it.destination, it.size) = (from, to, 0x4000);
        });
        let (status, backward, told, ..) = bench.run(&it);
        assert_eq!(status, status::PAGE_FAULT | status::WRITE, "{from:#x} to {to:#x}");
        assert_eq!((backward, told), (u8::from(to > from), done), "{from:#x} to {to:#x}");
        let (iova, length) = (IOVA + 0x3000, 0x1000);
        let mut unmap = iommu_ioas_unmap { ioas_id: IOAS, iova, length, ..Default::default() };
        bench.host.call(&mut unmap).unwrap();
        bench.map_with(rw, 3, 1);
        let rest = it.with(|it| {
            it.size -= told;
            if backward == 0 {
                (it.source, it.destination) = (from + u64::from(told), to + u64::from(told));
            }
        });
        assert_eq!(bench.run(&rest).0, status::SUCCESS);
        assert!(bench.load(to, 0x4000) == data, "{from:#x} to {to:#x}");
    }
}
