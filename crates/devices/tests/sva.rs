//! Guest SVA in this process: a guest's page table, bound by PASID through the client, under the accesses of
//! `dmatest`, with page requests and with stalls.

use std::sync::Arc;
use std::time::{Duration, Instant};

use client::feature::{
    Binding, FaultGroup, GUEST_SVA, GuestSva, Invalidation, PageTable, Response,
};
use client::{SharedBuffer, System};
use devices::dmatest::{Action, DmaTest, Operation, Outcome, Settings, Status};
use engine::Engine;
use profile::{Kernel, Machine};

const PAGE: u64 = 4096;
const LONG: Duration = Duration::from_secs(20);
/// Where the guest's memory and its page table are.
const MEMORY: u64 = 0x100_0000;
const TABLE: u64 = 0x200_0000;
/// The process's addresses.
const VA: u64 = 0x5555_0000_0000;

struct Bench {
    machine: &'static str,
    device: Arc<DmaTest>,
    sva: GuestSva,
    memory: SharedBuffer,
    table: PageTable,
}

/// A guest whose process has a first page, which can be written, and a second, which cannot.
fn bench(machine: &'static str) -> (Bench, Binding) {
    let facts = Machine::by_name(machine).unwrap();
    let engine = Engine::new(facts, Kernel::newest());
    let device = DmaTest::new(engine.dma(0).unwrap(), Settings::default()).unwrap();
    let device = Arc::new(device);
    assert!(engine.plug(0, Arc::clone(&device) as _));
    let system = System::of(engine).unwrap();
    let address = facts.devices[0].address;
    let mut sva = system.device(address).negotiate(&GUEST_SVA).unwrap().unwrap();
    let memory = SharedBuffer::new(8 * PAGE as usize).unwrap();
    sva.map(MEMORY, &memory).unwrap();
    let mut table = sva.page_table(TABLE, 8 * PAGE as usize).unwrap();
    table.map(VA, MEMORY, true).unwrap();
    table.map(VA + PAGE, MEMORY + PAGE, false).unwrap();
    let pasid = sva.alloc_pasid().unwrap();
    let binding = sva.bind(pasid, table.root().unwrap()).unwrap();
    // under VFIO a program says it
    engine::Model::set_bus_master(&*device, true);
    (Bench { machine, device, sva, memory, table }, binding)
}

impl Bench {
    /// An operation of the binding's PASID, that has missing pages brought.
    fn operation(&self, action: Action, address: u64, binding: &Binding) -> Operation {
        let operation = Operation::new(action, address).pasid(binding.pasid().number());
        let operation = operation.timeout(LONG);
        if self.machine == "grace" { operation } else { operation.page_requests(0x1f) }
    }

    fn run(&self, action: Action, address: u64, binding: &Binding) -> Outcome {
        self.device.run(&[self.operation(action, address, binding)]).remove(0)
    }

    fn fault(&self) -> FaultGroup {
        let until = Instant::now() + LONG;
        loop {
            if let Some(group) = self.sva.next_fault().unwrap() {
                return group;
            }
            assert!(Instant::now() < until, "{}: no page request came", self.machine);
            std::thread::yield_now();
        }
    }
}

const MACHINES: [&str; 2] = ["spr", "grace"];
const READ: Action = Action::Read { size: 8 };
const WRITE: Action = Action::Write { size: 8, pattern: 0x0807_0605_0403_0201 };

#[test]
fn addresses_of_the_process() {
    for machine in MACHINES {
        let (bench, binding) = bench(machine);
        bench.memory.store_at(PAGE as usize - 4, b"abcdefgh");
        let across = bench.run(READ, VA + PAGE - 4, &binding);
        assert_eq!((across.status, across.bytes), (Status::Done, b"abcdefgh".to_vec()));
        assert_eq!(bench.run(WRITE, VA + 8, &binding).status, Status::Done, "{machine}");
        let mut seen = [0; 16];
        bench.memory.load(&mut seen);
        assert_eq!(seen, [0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8], "{machine}");
        let added = bench.run(Action::AtomicAdd { addend: 5 }, VA, &binding);
        assert_eq!((added.status, added.value), (Status::Done, 0), "{machine}");
        // another PASID has no table
        let pasid = binding.pasid().number() + 1;
        let other = bench.device.run(&[Operation::new(READ, VA).pasid(pasid)]).remove(0);
        assert!(matches!(other.status, Status::Refused { .. }), "{machine}: {other:?}");
    }
}

/// A page that is missing is brought, one that may not be written is not.
#[test]
fn faults_of_both_kinds() {
    for machine in MACHINES {
        let (mut bench, binding) = bench(machine);
        let running = bench.device.start(&[bench.operation(WRITE, VA + 2 * PAGE, &binding)]);
        let group = bench.fault();
        assert_eq!(group.faults.len(), 1);
        assert_eq!(group.faults[0].pasid, Some(binding.pasid().number()), "{machine}");
        assert_eq!(group.faults[0].address, VA + 2 * PAGE, "{machine}");
        bench.table.map(VA + 2 * PAGE, MEMORY + 2 * PAGE, true).unwrap();
        bench.sva.respond(group, Response::Success).unwrap();
        let outcome = &running.wait(LONG).unwrap()[0];
        assert_eq!((outcome.status, outcome.attempts), (Status::Done, 2), "{machine}");

        let running = bench.device.start(&[bench.operation(WRITE, VA + PAGE, &binding)]);
        let group = bench.fault();
        assert_eq!(group.faults[0].address, VA + PAGE, "{machine}");
        bench.sva.respond(group, Response::Invalid).unwrap();
        let outcome = &running.wait(LONG).unwrap()[0];
        assert_eq!(outcome.status, Status::AnsweredInvalid, "{machine}");
    }
}

#[test]
fn what_was_translated_stays_until_it_is_invalidated() {
    for machine in MACHINES {
        let (mut bench, binding) = bench(machine);
        for page in 0..3 {
            bench.memory.store_at(page * PAGE as usize, &[page as u8; 8]);
        }
        let operation = Operation::new(READ, VA).pasid(binding.pasid().number());
        let seen = |bench: &Bench| bench.device.run(&[operation])[0].bytes.first().copied();
        assert_eq!(seen(&bench), Some(0), "{machine}");
        bench.table.map(VA, MEMORY + 2 * PAGE, true).unwrap();
        assert_eq!(seen(&bench), Some(0), "{machine}");
        let elsewhere = Invalidation::Range { start: VA + PAGE, length: PAGE };
        bench.sva.invalidate(&binding, elsewhere).unwrap();
        assert_eq!(seen(&bench), Some(0), "{machine}");
        bench.sva.invalidate(&binding, Invalidation::Range { start: VA, length: 1 }).unwrap();
        assert_eq!(seen(&bench), Some(2), "{machine}");
        bench.table.map(VA, MEMORY, true).unwrap();
        assert_eq!(seen(&bench), Some(2), "{machine}");
        bench.sva.invalidate(&binding, Invalidation::All).unwrap();
        assert_eq!(seen(&bench), Some(0), "{machine}");
    }
}

/// What waits when the table is taken away is answered, and nothing is reached any more.
#[test]
fn an_unbind_answers_who_waits() {
    for machine in MACHINES {
        let (mut bench, binding) = bench(machine);
        let pasid = binding.pasid().number();
        let running = bench.device.start(&[bench.operation(READ, VA + 5 * PAGE, &binding)]);
        let group = bench.fault();
        bench.sva.unbind(binding).unwrap();
        if machine == "grace" {
            // the PASIDs are the guest's, so the kernel knows nothing of an end
            bench.sva.respond(group, Response::Invalid).unwrap();
        }
        let outcome = &running.wait(LONG).unwrap()[0];
        assert_eq!(outcome.status, Status::AnsweredInvalid, "{machine}");
        let after = bench.device.run(&[Operation::new(READ, VA).pasid(pasid)]).remove(0);
        assert!(matches!(after.status, Status::Refused { .. }), "{machine}: {after:?}");
    }
}
