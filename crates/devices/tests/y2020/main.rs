//! The API of 2020 in this process: a guest-SVA client written against its structs plays the whole story, and
//! today's API the same story, with the same events.
//!
//! | module | holds |
//! |---|---|
//! | [`tables`] | an SMMU, which takes a guest's PASID table as a whole: the story, and what is told |
//! | [`refusals`] | what is refused of that |
//! | this one | the story, VT-d, and what is not there |

mod refusals;
mod tables;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use client::feature::{
    Binding, FaultGroup, GUEST_SVA, GuestSva, Invalidation, PageTable, Response,
};
use client::y2020::{Container, Device, Faults, PageRequest, Reach};
use client::{Failed, SharedBuffer, System};
use devices::dmatest::{Action, DmaTest, Operation, Outcome, Settings, Status};
use engine::Engine;
use profile::{Kernel, Machine};
use uapi::Errno;
use uapi::y2020::Layout;

const PAGE: u64 = 4096;
const LONG: Duration = Duration::from_secs(20);
/// Where the guest's memory and its page table are.
const MEMORY: u64 = 0x100_0000;
const TABLE: u64 = 0x200_0000;
/// The process's addresses.
const VA: u64 = 0x5555_0000_0000;

/// What happens in a story, as both APIs can tell it.
#[derive(Debug, PartialEq, Eq)]
enum Event {
    Dma(Status, Vec<u8>, u32),
    Asked { pasid: Option<u32>, address: u64, last: bool },
    Memory(Vec<u8>),
}

/// A guest-SVA client.
trait Sva {
    /// Memory of the guest's at [`MEMORY`], and a table in that at [`TABLE`].
    fn memory(&mut self, memory: &SharedBuffer) -> Result<PageTable, Failed>;
    fn bind(&mut self, table: &PageTable) -> Result<u32, Failed>;
    fn fault(&mut self) -> io::Result<Option<(Option<u32>, u64, bool)>>;
    fn respond(&mut self, response: Response) -> io::Result<()>;
    fn invalidate(&mut self, address: u64) -> Result<(), Failed>;
    fn unbind(&mut self, table: &PageTable) -> Result<(), Failed>;
}

/// By `/dev/iommu`.
struct Today {
    sva: GuestSva,
    bound: Option<Binding>,
    group: Option<FaultGroup>,
}

/// By a nesting container.
struct Of2020 {
    container: Container,
    device: Device,
    faults: Faults,
    pasid: u32,
    request: Option<PageRequest>,
}

impl Sva for Today {
    fn memory(&mut self, memory: &SharedBuffer) -> Result<PageTable, Failed> {
        self.sva.map(MEMORY, memory)?;
        self.sva.page_table(TABLE, 8 * PAGE as usize)
    }

    fn bind(&mut self, table: &PageTable) -> Result<u32, Failed> {
        let pasid = self.sva.alloc_pasid().expect("a free PASID");
        let number = pasid.number();
        let bound = self.sva.bind(pasid, table.root().unwrap());
        self.bound = Some(bound.map_err(|not_bound| not_bound.reason)?);
        Ok(number)
    }

    fn fault(&mut self) -> io::Result<Option<(Option<u32>, u64, bool)>> {
        self.group = self.sva.next_fault()?;
        let told = self.group.as_ref().map(|group| group.faults.last().unwrap());
        // what comes as a group is answered with its last
        Ok(told.map(|fault| (fault.pasid, fault.address, true)))
    }

    fn respond(&mut self, response: Response) -> io::Result<()> {
        self.sva.respond(self.group.take().unwrap(), response)
    }

    fn invalidate(&mut self, start: u64) -> Result<(), Failed> {
        let what = Invalidation::Range { start, length: PAGE };
        self.sva.invalidate(self.bound.as_ref().unwrap(), what)
    }

    fn unbind(&mut self, _: &PageTable) -> Result<(), Failed> {
        self.sva.unbind(self.bound.take().unwrap()).map(drop)
    }
}

impl Sva for Of2020 {
    fn memory(&mut self, memory: &SharedBuffer) -> Result<PageTable, Failed> {
        self.container.map(MEMORY, memory)?;
        self.container.page_table(TABLE, 8 * PAGE as usize)
    }

    fn bind(&mut self, table: &PageTable) -> Result<u32, Failed> {
        self.pasid = self.container.alloc_pasid(1, 0xf_ffff)?;
        self.container.bind(self.pasid, table.root().unwrap())?;
        Ok(self.pasid)
    }

    fn fault(&mut self) -> io::Result<Option<(Option<u32>, u64, bool)>> {
        self.request = self.faults.next_page()?;
        Ok(self.request.map(|it| (it.pasid(), it.address(), it.is_last())))
    }

    fn respond(&mut self, response: Response) -> io::Result<()> {
        self.faults.respond(&self.request.take().unwrap(), response)
    }

    fn invalidate(&mut self, address: u64) -> Result<(), Failed> {
        self.container.invalidate(self.pasid, Reach::Pages { address, count: 1 })
    }

    fn unbind(&mut self, table: &PageTable) -> Result<(), Failed> {
        self.container.unbind(self.pasid, table.root().unwrap())?;
        self.container.free_pasid(self.pasid)
    }
}

/// A machine with a `dmatest`, which a client drives.
struct Bench {
    system: System,
    device: Arc<DmaTest>,
    machine: Machine,
}

fn bench(machine: &Machine, kernel: &str) -> Bench {
    let engine = Engine::new(machine, Kernel::by_name(kernel).unwrap());
    let device = DmaTest::new(engine.dma(0).unwrap(), Settings::default()).unwrap();
    let device = Arc::new(device);
    assert!(engine.plug(0, Arc::clone(&device) as _));
    Bench { system: System::of(engine).unwrap(), device, machine: machine.clone() }
}

impl Bench {
    fn open(&self, layout: Layout) -> Container {
        let container = Container::open(&self.system, self.machine.devices[0].address, layout);
        container.unwrap()
    }

    fn today(&self) -> Today {
        let device = self.system.device(self.machine.devices[0].address);
        let sva = device.negotiate(&GUEST_SVA).unwrap().unwrap();
        Today { sva, bound: None, group: None }
    }

    fn of_2020(&self, layout: Layout) -> Of2020 {
        let container = self.open(layout);
        assert_eq!(container.version(), Ok(1));
        container.nest().unwrap();
        let device = container.device().unwrap();
        let faults = device.faults().unwrap().expect("regions of faults");
        Of2020 { container, device, faults, pasid: 0, request: None }
    }

    /// An access of a process, that has missing pages brought.
    fn start(&self, pasid: u32, action: Action, address: u64) -> devices::dmatest::Running {
        let operation = Operation::new(action, address).pasid(pasid).timeout(LONG);
        let stalls = self.machine.name == "grace";
        self.device.start(&[if stalls { operation } else { operation.page_requests(0x1f) }])
    }

    /// An access that asks for nothing.
    fn run(&self, pasid: u32, action: Action, address: u64) -> Event {
        told(self.device.start(&[Operation::new(action, address).pasid(pasid).timeout(LONG)]))
    }
}

fn told(running: devices::dmatest::Running) -> Event {
    let Outcome { status, bytes, attempts, .. } = running.wait(LONG).unwrap().remove(0);
    Event::Dma(status, bytes, attempts)
}

fn next(sva: &mut dyn Sva) -> Event {
    let until = Instant::now() + LONG;
    loop {
        if let Some((pasid, address, last)) = sva.fault().unwrap() {
            return Event::Asked { pasid, address, last };
        }
        assert!(Instant::now() < until, "no page request came");
        std::thread::yield_now();
    }
}

const READ: Action = Action::Read { size: 8 };
const WRITE: Action = Action::Write { size: 8, pattern: 0x0807_0605_0403_0201 };

/// PASID, bind, DMA by virtual address, page requests of both kinds, invalidation, unbind.
fn story(bench: &Bench, sva: &mut dyn Sva) -> Vec<Event> {
    let memory = SharedBuffer::new(8 * PAGE as usize).unwrap();
    memory.store_at(0, b"page one");
    memory.store_at(PAGE as usize, b"page two");
    let mut table = sva.memory(&memory).unwrap();
    table.map(VA, MEMORY, true).unwrap();
    let pasid = sva.bind(&table).unwrap();
    // under VFIO a program says it
    engine::Model::set_bus_master(&*bench.device, true);
    let mut events = vec![bench.run(pasid, READ, VA), bench.run(pasid, WRITE, VA + 8)];
    let mut seen = [0; 16];
    memory.load(&mut seen);
    events.push(Event::Memory(seen.to_vec()));
    // a page that is brought
    let running = bench.start(pasid, READ, VA + PAGE);
    events.push(next(sva));
    table.map(VA + PAGE, MEMORY + PAGE, false).unwrap();
    sva.respond(Response::Success).unwrap();
    events.push(told(running));
    // one that is not
    let running = bench.start(pasid, WRITE, VA + PAGE);
    events.push(next(sva));
    sva.respond(Response::Invalid).unwrap();
    events.push(told(running));
    // one that changes, before and after it is told
    table.map(VA, MEMORY + PAGE, true).unwrap();
    events.push(bench.run(pasid, READ, VA));
    sva.invalidate(VA).unwrap();
    events.push(bench.run(pasid, READ, VA));
    sva.unbind(&table).unwrap();
    events.push(bench.run(pasid, READ, VA));
    events
}

#[test]
fn the_story_is_the_same() {
    let spr = Machine::by_name("spr").unwrap();
    let today = bench(spr, "7.3");
    let expected = story(&today, &mut today.today());
    let page = |bytes: &[u8]| Event::Dma(Status::Done, bytes.to_vec(), 1);
    assert_eq!(expected[0], page(b"page one"));
    assert_eq!(
        (&expected[7], &expected[8]),
        (&page(b"page one"), &page(b"page two")),
        "stale, and not"
    );
    for (kernel, layout) in [("2020", Layout::V5_10), ("2020-patches", Layout::Patches)] {
        let bench = bench(spr, kernel);
        assert_eq!(story(&bench, &mut bench.of_2020(layout)), expected, "{kernel}");
    }
}

type Answer = Result<(), Errno>;

/// A step of the story, by itself.
type Step = fn(&Bench) -> Answer;

#[test]
fn what_is_not_there_is_refused_step_by_step() {
    fn nested(bench: &Bench) -> Container {
        let container = bench.open(Layout::V5_10);
        container.nest().unwrap();
        container
    }
    fn bound(bench: &Bench) -> Result<(), Errno> {
        let container = nested(bench);
        let memory = SharedBuffer::new(PAGE as usize).unwrap();
        container.map(MEMORY, &memory).unwrap();
        let table = container.page_table(TABLE, 8 * PAGE as usize).unwrap();
        let pasid = container.alloc_pasid(1, 9).map_err(|it| it.errno)?;
        container.bind(pasid, table.root().unwrap()).map_err(|it| it.errno)
    }
    let nest: Step = |bench| bench.open(Layout::V5_10).nest().map_err(|it| it.errno);
    let pasid: Step = |bench| nested(bench).alloc_pasid(1, 9).map(drop).map_err(|it| it.errno);
    let bind: Step = bound;
    let faults: Step = |bench| {
        let container = nested(bench);
        let device = container.device().unwrap();
        device.faults().unwrap().map(drop).ok_or(Errno::ENOENT)
    };
    let iommufd: Step =
        |bench| match bench.system.device(bench.machine.devices[0].address).negotiate(&GUEST_SVA) {
            Ok(Ok(_)) => Ok(()),
            _ => Err(Errno::ENOENT),
        };
    const NEST: u64 = 1 << 26;
    const PASID: u64 = 1 << 40;
    fn without(machine: &mut Machine, bit: u64) {
        if let profile::machine::Hardware::IntelVtd(unit) = &mut machine.iommus[0].hardware {
            unit.ecap &= !bit;
        }
    }
    type Change = fn(&mut Machine);
    #[rustfmt::skip] // one step, one line
    let rows: &[(&str, &str, Change, Step, Answer)] = &[
        ("nothing missing: nest",     "spr",   |_| {},                              nest,   Ok(())),
        ("... PASID",                 "spr",   |_| {},                              pasid,  Ok(())),
        ("... bind",                  "spr",   |_| {},                              bind,   Ok(())),
        ("... faults",                "spr",   |_| {},                              faults, Ok(())),
        ("no nesting: nest",          "spr",   |it| without(it, NEST),              nest,   Err(Errno::ENODEV)),
        ("another vendor: nest",      "genoa", |_| {},                              nest,   Err(Errno::EINVAL)),
        ("an SMMU: nest",             "grace", |_| {},                              nest,   Ok(())),
        ("... PASID: another call",   "grace", |_| {},                              pasid,  Err(Errno::EINVAL)),
        ("... faults",                "grace", |_| {},                              faults, Ok(())),
        ("one that cannot stall",     "grace", |it| it.devices[0].device = 1,       faults, Ok(())),
        ("unit without PASIDs: nest", "spr",   |it| without(it, PASID),             nest,   Ok(())),
        ("... PASID",                 "spr",   |it| without(it, PASID),             pasid,  Err(Errno::EOPNOTSUPP)),
        ("device without: PASID",     "spr",   |it| it.devices[0].pasid = None,     pasid,  Ok(())),
        ("... bind",                  "spr",   |it| it.devices[0].pasid = None,     bind,   Err(Errno::EINVAL)),
        ("no page requests: bind",    "spr",   |it| it.devices[0].pri = false,      bind,   Ok(())),
        ("... faults",                "spr",   |it| it.devices[0].pri = false,      faults, Err(Errno::ENOENT)),
        ("what came later",           "spr",   |_| {},                              iommufd, Err(Errno::ENOENT)),
    ];
    for (name, machine, change, step, expected) in rows {
        let mut machine = Machine::by_name(machine).unwrap().clone();
        change(&mut machine);
        assert_eq!(step(&bench(&machine, "2020")), *expected, "{name}");
    }
}
