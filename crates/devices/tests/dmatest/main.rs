//! `dmatest` on machines: accesses, both kinds of page faults, its registers, its log, its end.

mod logging;
mod registers;

use std::sync::Arc;
use std::time::{Duration, Instant};

use devices::dmatest::*;
use engine::{Model, Rights};
use mem::AddressSpace;
use profile::{Kernel, Machine};
use testkit::host::{DEVICE, Host, IOAS, MEMORY, hwpt_alloc};
use uapi::iommufd::*;
use zerocopy::{FromBytes, IntoBytes};

const IOVA: u64 = 0x100_0000;
const RW: u32 = IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_WRITEABLE;
const LONG: Duration = Duration::from_secs(20);

/// A machine whose first device is a `dmatest`, and its program.
pub struct Bench {
    host: Host,
    device: Arc<DmaTest>,
}

impl Bench {
    fn new(machine: &str) -> Self {
        Self::with(machine, Settings::default())
    }

    fn with(machine: &str, settings: Settings) -> Self {
        let host = Host::new(Machine::by_name(machine).unwrap(), Kernel::newest());
        let dma = host.engine.dma(0).unwrap();
        let device = Arc::new(DmaTest::new(dma, settings).unwrap());
        Self { host, device }
    }

    /// Attached to the first IOAS, a page of which is mapped.
    fn attached(machine: &str) -> Self {
        let mut bench = Self::new(machine);
        bench.host.attach(IOAS).unwrap();
        bench.host.map(IOVA, RW).unwrap();
        bench
    }

    fn store(&self, bytes: &[u8]) {
        self.host.client.memory.write(MEMORY, bytes).unwrap();
    }

    fn load<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.host.client.memory.read(MEMORY, &mut bytes).unwrap();
        bytes
    }

    fn one(&self, operation: Operation) -> Outcome {
        let mut outcomes = self.device.run(&[operation]);
        assert_eq!(outcomes.len(), 1);
        outcomes.remove(0)
    }

    fn status(&self, operation: Operation) -> Status {
        self.one(operation).status
    }

    /// Attaches a page table whose faults come to a queue; the queue's descriptor.
    fn with_faults(&mut self) -> i32 {
        let mut queue = iommu_fault_alloc::default();
        self.host.call(&mut queue).unwrap();
        let fault_id = queue.out_fault_id;
        let flags = IOMMU_HWPT_FAULT_ID_VALID;
        let hwpt = self.host.hwpt_with(&mut iommu_hwpt_alloc { flags, fault_id, ..hwpt_alloc() });
        self.host.attach(hwpt.unwrap()).unwrap();
        queue.out_fault_fd.cast_signed()
    }

    /// The next group of page requests, once it is there.
    fn faults(&mut self, fd: i32) -> Vec<iommu_hwpt_pgfault> {
        const RECORD: usize = size_of::<iommu_hwpt_pgfault>();
        let at = self.host.client.scratch(&[]);
        let until = Instant::now() + LONG;
        loop {
            let read = self.host.client.read(fd, at, 16 * RECORD as u64).unwrap() as usize;
            if read > 0 {
                let mut bytes = vec![0; read];
                self.host.client.memory.read(at, &mut bytes).unwrap();
                let records = bytes.chunks_exact(RECORD);
                return records
                    .map(|it| iommu_hwpt_pgfault::read_from_bytes(it).unwrap())
                    .collect();
            }
            assert!(Instant::now() < until, "no page request came");
            std::thread::yield_now();
        }
    }

    fn answer(&mut self, fd: i32, cookie: u32, code: u32) {
        let response = iommu_hwpt_page_response { cookie, code };
        let at = self.host.client.scratch(response.as_bytes());
        let count = size_of::<iommu_hwpt_page_response>() as u64;
        assert_eq!(self.host.client.write(fd, at, count), Ok(count));
    }
}

fn read(address: u64, size: u32) -> Operation {
    Operation::new(Action::Read { size }, address)
}

fn write(address: u64, size: u32, pattern: u64) -> Operation {
    Operation::new(Action::Write { size, pattern }, address)
}

const MACHINES: [&str; 2] = ["spr", "grace"];

#[test]
fn accesses() {
    for machine in MACHINES {
        let bench = Bench::attached(machine);
        bench.store(b"hello, device");
        let greeting = bench.one(read(IOVA, 13));
        assert_eq!(greeting.status, Status::Done, "{machine}");
        assert_eq!((greeting.bytes.as_slice(), greeting.attempts), (&b"hello, device"[..], 1));
        assert_eq!(bench.status(write(IOVA + 1, 3, 0x00_03_02_01)), Status::Done, "{machine}");
        assert_eq!(bench.load::<5>(), [b'h', 1, 2, 3, b'o'], "{machine}");
        bench.store(&40u64.to_le_bytes());
        let sum = bench.one(Operation::new(Action::AtomicAdd { addend: 2 }, IOVA));
        assert_eq!((sum.status, sum.value), (Status::Done, 40), "{machine}");
        assert_eq!(bench.load::<8>(), 42u64.to_le_bytes(), "{machine}");
        let beyond = bench.one(read(IOVA + 0xfff, 2));
        assert!(matches!(beyond.status, Status::Refused { .. }), "{machine}: {beyond:?}");
        assert!(beyond.bytes.is_empty());
        let pasid = bench.status(read(IOVA, 1).pasid(5));
        assert!(matches!(pasid, Status::Refused { .. }), "{machine}: {pasid:?}");
    }
}

#[test]
fn a_script_goes_on_after_a_failure() {
    let mut bench = Bench::attached("spr");
    let script = [read(IOVA, 1), read(0, 1), write(IOVA, 1, 7), read(IOVA, 0)];
    let outcomes = bench.device.run(&script);
    let done: Vec<_> = outcomes.iter().map(|it| it.status == Status::Done).collect();
    assert_eq!(done, [true, false, true, true]);
    bench.host.detach().unwrap();
    assert!(matches!(bench.status(read(IOVA, 1)), Status::Refused { .. }));
    assert_eq!(bench.device.run(&[]), []);
}

#[test]
fn nonsense_is_malformed() {
    let bench = Bench::attached("spr");
    #[rustfmt::skip] // one operation, one line
    let cases = [
        read(IOVA, spec::SIZE_MAX + 1),
        read(u64::MAX, 1),
        read(IOVA, 1).pasid(1 << 20),
        read(IOVA, 1).page_requests(512),
        Operation::new(Action::AtomicAdd { addend: 1 }, IOVA + 4),
        Operation::new(Action::Await { group: 512 }, 0),
    ];
    for operation in cases {
        assert_eq!(bench.status(operation), Status::Malformed, "{operation:?}");
    }
}

#[test]
fn translations_are_kept_until_they_are_taken_away() {
    let mut bench = Bench::attached("spr");
    let rights = Rights::READ | Rights::WRITE;
    let kept = Operation::new(Action::ReadTranslated { size: 1 }, IOVA);
    assert_eq!(bench.status(kept), Status::NotTranslated);
    let granted = bench.one(Operation::new(Action::Translate { rights }, IOVA));
    assert_eq!((granted.status, granted.granted), (Status::Done, rights));
    assert_eq!(bench.status(kept), Status::Done);
    let pattern = 9;
    let wrote = Operation::new(Action::WriteTranslated { size: 1, pattern }, IOVA);
    assert_eq!(bench.status(wrote), Status::Done);
    assert_eq!(bench.load::<1>(), [9]);
    let mut cmd =
        iommu_ioas_unmap { ioas_id: IOAS, iova: IOVA, length: 4096, ..Default::default() };
    bench.host.call(&mut cmd).unwrap();
    assert_eq!(bench.status(kept), Status::NotTranslated);
    let nothing = bench.one(Operation::new(Action::Translate { rights }, IOVA));
    assert_eq!((nothing.status, nothing.granted), (Status::Done, Rights::empty()));
}

/// With PRI, and with stalls: the access that missed a page succeeds after the answer.
#[test]
fn page_faults_are_answered_and_the_access_tried_again() {
    for machine in MACHINES {
        let mut bench = Bench::new(machine);
        let queue = bench.with_faults();
        let stalls = machine == "grace";
        let operation = read(IOVA + 0x123, 4).timeout(LONG);
        let operation = if stalls { operation } else { operation.page_requests(3) };
        bench.store(&[0xaa; 4096]);

        let running = bench.device.start(&[operation]);
        let faults = bench.faults(queue);
        assert_eq!(faults.len(), 1, "{machine}");
        assert_eq!((faults[0].dev_id, faults[0].perm), (DEVICE, IOMMU_PGFAULT_PERM_READ));
        assert_eq!(faults[0].flags, IOMMU_PGFAULT_FLAGS_LAST_PAGE, "{machine}");
        assert_eq!(faults[0].addr & !0xfff, IOVA, "{machine}");
        if !stalls {
            assert_eq!(faults[0].grpid, 3);
        }
        bench.host.map(IOVA, RW).unwrap();
        bench.answer(queue, faults[0].cookie, IOMMUFD_PAGE_RESP_SUCCESS);
        let outcome = &running.wait(LONG).unwrap()[0];
        assert_eq!((outcome.status, outcome.attempts), (Status::Done, 2), "{machine}");
        assert_eq!((outcome.bytes.len(), outcome.requests), (4, u32::from(!stalls)));
        assert_eq!(outcome.bytes, [0xaa; 4], "{machine}");
    }
}

#[test]
fn page_faults_that_end_otherwise() {
    for machine in MACHINES {
        let mut bench = Bench::new(machine);
        let queue = bench.with_faults();
        let write = |at: u64| {
            let operation = write(at, 0x1001, 1).timeout(LONG);
            if machine == "grace" { operation } else { operation.page_requests(1) }
        };

        // answered: no
        let running = bench.device.start(&[write(IOVA)]);
        let faults = bench.faults(queue);
        // PRI asks for the two pages at once, a stall for the first
        assert_eq!(faults.len(), if machine == "grace" { 1 } else { 2 }, "{machine}");
        assert!(faults.iter().all(|it| it.perm & IOMMU_PGFAULT_PERM_WRITE != 0), "{machine}");
        bench.answer(queue, faults[0].cookie, IOMMUFD_PAGE_RESP_INVALID);
        let outcome = &running.wait(LONG).unwrap()[0];
        assert_eq!(outcome.status, Status::AnsweredInvalid, "{machine}");

        // answered: yes, again and again, and no page came
        let running = bench.device.start(&[write(IOVA)]);
        let outcome = loop {
            if let Some(outcomes) = running.wait(Duration::ZERO) {
                break outcomes[0].clone();
            }
            let at = bench.host.client.scratch(&[]);
            let record = size_of::<iommu_hwpt_pgfault>() as u64;
            let read = bench.host.client.read(queue, at, 2 * record).unwrap();
            if read > 0 {
                let mut bytes = [0; size_of::<iommu_hwpt_pgfault>()];
                bench.host.client.memory.read(at, &mut bytes).unwrap();
                let fault = iommu_hwpt_pgfault::read_from_bytes(&bytes).unwrap();
                bench.answer(queue, fault.cookie, IOMMUFD_PAGE_RESP_SUCCESS);
            }
        };
        assert_eq!((outcome.status, outcome.attempts), (Status::NotGranted, 64), "{machine}");

        // not answered
        let outcome = bench.one(write(IOVA).timeout(Duration::from_millis(20)));
        assert_eq!(outcome.status, Status::TimedOut, "{machine}");
        bench.faults(queue);

        // detached meanwhile: the kernel answers
        let running = bench.device.start(&[write(IOVA)]);
        bench.faults(queue);
        bench.host.detach().unwrap();
        let outcome = &running.wait(LONG).unwrap()[0];
        assert_eq!(outcome.status, Status::AnsweredInvalid, "{machine}");
    }
}

#[test]
fn groups_of_page_requests_by_hand() {
    let mut bench = Bench::new("spr");
    let queue = bench.with_faults();
    let ask = |address, last| {
        let (rights, group) = (Rights::READ, 0x1ff);
        Operation::new(Action::RequestPage { rights, group, last }, address)
    };
    let waits = Operation::new(Action::Await { group: 0x1ff }, 0).timeout(LONG);
    let script = [ask(IOVA, false), ask(IOVA + 0x5000, false), ask(IOVA + 0x1000, true), waits];
    let running = bench.device.start(&script);
    let faults = bench.faults(queue);
    let addresses: Vec<_> = faults.iter().map(|it| it.addr - IOVA).collect();
    assert_eq!(addresses, [0, 0x5000, 0x1000]);
    bench.answer(queue, faults[0].cookie, IOMMUFD_PAGE_RESP_SUCCESS);
    let outcomes = running.wait(LONG).unwrap();
    assert!(outcomes.iter().all(|it| it.status == Status::Done), "{outcomes:?}");
    assert_eq!(outcomes.iter().map(|it| it.requests).sum::<u32>(), 3);
}

#[test]
fn a_reset_ends_what_is_under_way() {
    let mut bench = Bench::new("spr");
    let queue = bench.with_faults();
    let waits = read(IOVA, 1).page_requests(0).timeout(LONG);
    let running = bench.device.start(&[waits, waits]);
    let queued = bench.device.start(&[read(IOVA, 1)]);
    let old = bench.faults(queue);
    bench.device.reset();
    for running in [running, queued] {
        let outcomes = running.wait(LONG).unwrap();
        assert!(outcomes.iter().all(|it| it.status == Status::Cancelled), "{outcomes:?}");
    }
    // an answer that comes late is not taken for another's
    bench.answer(queue, old[0].cookie, IOMMUFD_PAGE_RESP_INVALID);
    let running = bench.device.start(&[waits]);
    let new = bench.faults(queue);
    bench.host.map(IOVA, RW).unwrap();
    bench.answer(queue, new[0].cookie, IOMMUFD_PAGE_RESP_SUCCESS);
    assert_eq!(running.wait(LONG).unwrap()[0].status, Status::Done);
}

#[test]
fn bus_mastering() {
    let settings = Settings { bus_master: false, ..Settings::default() };
    let mut bench = Bench::with("spr", settings);
    bench.host.attach(IOAS).unwrap();
    bench.host.map(IOVA, RW).unwrap();
    assert_eq!(bench.status(read(IOVA, 1)), Status::NoBusMaster);
    bench.device.set_bus_master(true);
    assert_eq!(bench.status(read(IOVA, 1)), Status::Done);
    bench.device.set_bus_master(false);
    assert_eq!(bench.status(write(IOVA, 1, 1)), Status::NoBusMaster);
    assert_eq!(bench.load::<1>(), [0]);
}

#[test]
fn a_completion_takes_its_time_and_a_reset_none() {
    let bench = Bench::attached("spr");
    let time = Duration::from_millis(20);
    bench.device.set_latency(Latency::Fixed(time));
    let begin = Instant::now();
    assert_eq!(bench.status(read(IOVA, 1)), Status::Done);
    assert!(begin.elapsed() >= time);
    bench.device.set_latency(Latency::Fixed(Duration::from_secs(1000)));
    let running = bench.device.start(&[read(IOVA, 1)]);
    bench.device.reset();
    assert!(running.wait(LONG).is_some());
}

#[test]
fn the_thread_ends_with_the_device() {
    let mut bench = Bench::new("spr");
    let queue = bench.with_faults();
    let waits = read(IOVA, 1).page_requests(0).timeout(Duration::from_secs(1000));
    bench.device.set_latency(Latency::Fixed(Duration::from_secs(1000)));
    let running = bench.device.start(&[waits]);
    bench.faults(queue);
    let begin = Instant::now();
    drop(bench.device);
    assert!(begin.elapsed() < LONG);
    let outcomes = running.wait(Duration::ZERO).unwrap();
    assert_eq!(outcomes[0].status, Status::Cancelled);
}
