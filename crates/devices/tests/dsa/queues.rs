//! Who may send what, as whom it reaches memory, and what becomes of pages that are missing.

use std::time::Duration;

use devices::Latency;
use devices::dsa::spec::{opcode, status};
use uapi::iommufd::IOMMU_HWPT_ALLOC_PASID;

use super::*;
use testkit::host::DEVICE;

const PASID: u32 = 5;

/// A queue that is full until a millennium has passed.
fn slow() -> Settings {
    Settings { latency: Latency::Fixed(Duration::from_secs(1000)), ..Settings::default() }
}

impl Bench<Dsa> {
    /// Leaves the program's memory to requests with a PASID.
    fn attach_pasid(&mut self) {
        let pasid = IOMMU_HWPT_ALLOC_PASID;
        let memory = self.host.hwpt(pasid).unwrap();
        let other = self.host.ioas();
        let other = self.host.hwpt_of(DEVICE, other, pasid).unwrap();
        self.host.attach(other).unwrap();
        self.host.attach_pasid(PASID, memory).unwrap();
    }

    fn enqueue(&self, portal: u64, descriptor: &Descriptor) -> bool {
        self.device.enqueue(2, portal * spec::PORTAL_SIZE + 64, &descriptor.encode())
    }
}

#[test]
fn shared_queues_refuse_when_they_are_full() {
    let bench = bench_with("spr", slow());
    bench.set(spec::WQCFG + 4, 4, 3);
    bench.enable(spec::WQ_PASID_EN);
    let it = Descriptor::new(opcode::NOOP);
    assert!(bench.enqueue(0, &it));
    bench.until("the first under way", |it| it.get(spec::WQCFG + 24, 2) == 0);
    // by a limited portal up to the threshold, by an unlimited one up to the size
    let taken = (0..10).filter(|_| bench.enqueue(1, &it)).count();
    assert_eq!((taken, bench.get(spec::WQCFG + 24, 2)), (3, 3));
    let taken = (0..200).filter(|_| bench.enqueue(2, &it)).count();
    assert_eq!((taken, bench.get(spec::WQCFG + 24, 2)), (125, 128));
    assert_eq!(bench.command(command::ABORT_WQ, 2), (spec::error::DEV_NOT_EN, 0));
    bench.device.reset();
    assert!(!bench.enqueue(0, &it));
}

#[test]
fn dedicated_queues_lose_what_has_no_room() {
    let bench = bench_with("spr", slow());
    bench.enable(spec::WQ_DEDICATED);
    let it = Descriptor::new(opcode::NOOP);
    bench.send(&it);
    bench.until("the first under way", |it| it.get(spec::WQCFG + 24, 2) == 0);
    (0..200).for_each(|_| bench.send(&it));
    assert_eq!(bench.get(spec::WQCFG + 24, 2), 128);
}

#[test]
fn what_a_queue_does_not_take() {
    let shared = bench_with("spr", slow());
    shared.enable(spec::WQ_PASID_EN);
    shared.send(&Descriptor::new(opcode::NOOP));
    let dedicated = bench_with("spr", slow());
    dedicated.enable(spec::WQ_DEDICATED);
    let it = Descriptor::new(opcode::NOOP);
    assert!(!dedicated.enqueue(0, &it));
    assert!(!dedicated.device.enqueue(0, 0, &it.encode()));
    // the second queue is not enabled, and there is none beyond the last
    dedicated.device.write(2, 4 * spec::PORTAL_SIZE, &it.encode());
    assert!(!dedicated.enqueue(4, &it));
    assert!(!dedicated.device.enqueue(2, spec::PORTALS_SIZE, &it.encode()));
    // less than a descriptor is none
    (1..64).for_each(|size| dedicated.device.write(2, 0, &it.encode()[..size]));
    std::thread::sleep(Duration::from_millis(5));
    assert_eq!(dedicated.load(RECORD, 32), [0; 32]);
    assert_eq!(dedicated.command(command::DRAIN_ALL, 0), (0, 0));
    assert_eq!(shared.command(command::DRAIN_ALL, 0), (0, 0));
}

/// A command carries its PASID, a dedicated queue has one or none.
#[test]
fn pasids() {
    let cases = [
        (spec::WQ_PASID_EN, PASID),
        (spec::WQ_PASID_EN | spec::WQ_DEDICATED | PASID << spec::WQ_PASID_SHIFT, 0),
    ];
    for (mode, sent) in cases {
        let mut bench = bench_with("spr", Settings { page_requests: false, ..Settings::default() });
        bench.attach_pasid();
        bench.enable(mode);
        bench.store(FROM, &[9; 64]);
        let it = Descriptor::new(opcode::MEMMOVE).with(|it| it.head = sent);
        let send = |it: &Descriptor| match mode & spec::WQ_DEDICATED {
            0 => assert!(bench.enqueue(0, it)),
            _ => bench.send(it),
        };
        send(&it);
        bench.until("a completion record", |it| it.load(RECORD, 1) != [0]);
        assert_eq!(bench.record_at(RECORD).0, status::SUCCESS);
        assert_eq!(bench.load(TO, 64), [9; 64]);
        // in a batch, whatever its descriptors say
        bench.store(RECORD, &[0; 32]);
        let inner = Descriptor::new(opcode::MEMFILL).quiet().with(|it| {
            (it.head, it.source, it.record) = (77, 3, RECORD - 32);
        });
        send(&bench.batch(&[inner, inner]).with(|it| it.head = sent));
        bench.until("a completion record", |it| it.load(RECORD, 1) != [0]);
        assert_eq!(bench.record_at(RECORD).0, status::SUCCESS);
        assert_eq!(bench.load(TO, 8), 3u64.to_le_bytes());
        // of another nothing is reached, not even its record
        send(&it.with(|it| it.head = PASID + 1));
        if mode & spec::WQ_DEDICATED == 0 {
            assert_eq!(bench.error(), Some((status::CRA_XLAT, opcode::MEMMOVE, RECORD + 8)));
        }
    }
}

/// The queue says whether it may be, and the IOMMU: VT-d takes requests of supervisors only where a table
/// says so.
#[test]
fn privilege() {
    let mode = spec::WQ_DEDICATED | spec::WQ_PASID_EN | PASID << spec::WQ_PASID_SHIFT;
    for (machine, mode, wanted) in [
        ("grace", mode, Ok(status::PRIV_BAD)),
        ("grace", mode | spec::WQ_PRIV, Ok(status::SUCCESS)),
        ("spr", mode, Ok(status::PRIV_BAD)),
        ("spr", mode | spec::WQ_PRIV, Err(status::CRA_XLAT)),
        // without a PASID nobody asks
        ("spr", spec::WQ_DEDICATED, Ok(status::SUCCESS)),
    ] {
        let mut bench = bench_with(machine, Settings::default());
        if mode & spec::WQ_PASID_EN != 0 {
            bench.attach_pasid();
        }
        bench.enable(mode);
        bench.send(&Descriptor::new(opcode::NOOP).with(|it| it.head = 1 << 31));
        bench.until("an end", |it| it.load(RECORD, 1) != [0] || it.get(spec::SWERR, 1) & 1 != 0);
        let told = bench.error().map(|(status, ..)| status);
        let told = told.map_or_else(|| Ok(bench.record_at(RECORD).0), Err);
        assert_eq!(told, wanted, "{machine} {mode:#x}");
    }
}

#[test]
fn pages_are_asked_for_and_waited_for() {
    for machine in ["spr", "grace"] {
        // on the one by page requests of the device's, on the other by stalls, of which it knows nothing
        let page_requests = machine == "spr";
        let settings = Settings { page_requests, ..Settings::default() };
        let make = |dma, interrupts| Dsa::new(dma, interrupts, settings).unwrap();
        let mut bench: Bench<Dsa> = Bench::apart(machine, make);
        bench.device.set_bus_master(true);
        let queue = bench.with_faults();
        bench.map(0, 8);
        bench.enable(spec::WQ_DEDICATED | if page_requests { spec::WQ_BOF } else { 0 });
        let data = noise(9, 0x1800);
        bench.store(FROM, &data);
        let it = Descriptor::new(opcode::MEMMOVE).with(|it| {
            it.flags |= if page_requests { flag::BOF } else { 0 };
            (it.destination, it.size) = (TO - 0x800, 0x1800);
        });
        // brought
        bench.send(&it);
        let cookie = bench.fault_at(queue, TO);
        assert_eq!(bench.load(RECORD, 1), [0], "{machine}");
        bench.map(8, 1);
        bench.answer(queue, cookie, true);
        bench.until("a completion record", |it| it.load(RECORD, 1) != [0]);
        assert_eq!(bench.record_at(RECORD), (status::SUCCESS, 0, 0, 0, 0), "{machine}");
        assert_eq!(bench.load(TO - 0x800, 0x1800), data, "{machine}");
        // refused
        bench.store(RECORD, &[0; 32]);
        bench.send(&it.with(|it| it.destination = TO + 0x800));
        let cookie = bench.fault_at(queue, TO + 0x1000);
        bench.answer(queue, cookie, false);
        bench.until("a completion record", |it| it.load(RECORD, 1) != [0]);
        let wanted =
            if machine == "spr" { status::PAGE_FAULT_ANSWERED } else { status::PAGE_FAULT };
        let record = bench.record_at(RECORD);
        assert_eq!((record.0, record.3), (wanted | status::WRITE, TO + 0x1000), "{machine}");
        // given up
        bench.send(&it.with(|it| it.destination = TO + 0x800));
        bench.fault_at(queue, TO + 0x1000);
        assert_eq!(bench.command(command::ABORT_WQ, 1), (0, 0), "{machine}");
        bench.store(RECORD, &[0; 32]);
        assert_eq!(bench.run(&Descriptor::new(opcode::NOOP)).0, status::SUCCESS, "{machine}");
    }
}

/// Without ATS, or without the flag, a missing page ends the operation.
#[test]
fn pages_that_are_not_asked_for() {
    let bench = bench_with("spr", Settings::default());
    bench.enable(spec::WQ_DEDICATED | spec::WQ_BOF | spec::WQ_ATS_DISABLE);
    for flags in [0, flag::BOF] {
        let it = Descriptor::new(opcode::MEMMOVE).with(|it| {
            it.flags |= flags;
            it.source = NOTHING;
        });
        assert_eq!(bench.run(&it), (status::PAGE_FAULT, 0, 0, NOTHING, 0));
    }
}
