//! A guest's PASID table on an SMMUv3: the story, and what becomes of accesses, faults and answers.

use client::y2020::{ContextTable, Fault};
use uapi::y2020::bind::*;
use uapi::y2020::fault::*;
use uapi::y2020::transport::*;
use uapi::y2020::v5_10::{iommu_page_response, iommu_pasid_table_config};
use zerocopy::{FromBytes, IntoBytes};

use super::refusals::{call, valid};
use super::*;

/// Where the guest's context descriptors are, and log2 of how many.
pub const CONTEXTS: u64 = 0x300_0000;
const CONTEXTS_LOG2: u32 = 8;

/// By a nesting container of an SMMU: the PASIDs are the guest's.
struct WithTable {
    container: Container,
    device: Device,
    faults: Faults,
    contexts: ContextTable,
    request: Option<PageRequest>,
}

pub const PASID: u32 = 1;

impl WithTable {
    fn new(bench: &Bench, layout: Layout) -> Self {
        let Of2020 { container, device, faults, .. } = bench.of_2020(layout);
        let contexts = container.context_table(CONTEXTS, CONTEXTS_LOG2).unwrap();
        // under VFIO a program says it
        engine::Model::set_bus_master(&*bench.device, true);
        Self { container, device, faults, contexts, request: None }
    }

    /// With the table set, of which a PASID walks a page table.
    fn bound(bench: &Bench, memory: &SharedBuffer) -> (Self, PageTable) {
        let mut it = Self::new(bench, Layout::V5_10);
        let mut table = it.memory(memory).unwrap();
        table.map(VA, MEMORY, true).unwrap();
        table.map(VA + PAGE, MEMORY + PAGE, false).unwrap();
        it.bind(&table).unwrap();
        (it, table)
    }

    fn forget(&self) -> Result<(), Failed> {
        self.container.forget_context(PASID)?;
        self.container.forget_asid(PASID, Reach::Pasid)
    }

    /// What is told of an access that was refused.
    fn told(&self) -> Option<(u32, Option<u32>, Option<u64>, u32)> {
        let told = self.faults.next().unwrap().map(|fault| match fault {
            Fault::Unrecoverable(it) => (it.reason(), it.pasid(), it.address(), it.rights()),
            Fault::Page(request) => panic!("{request:?}"),
        });
        assert_eq!(self.faults.next().unwrap(), None);
        told
    }
}

impl Sva for WithTable {
    fn memory(&mut self, memory: &SharedBuffer) -> Result<PageTable, Failed> {
        self.container.map(MEMORY, memory)?;
        self.container.set_pasid_table(&self.contexts)?;
        self.container.forget_all()?;
        self.container.stage1_table(TABLE, 8 * PAGE as usize)
    }

    fn bind(&mut self, table: &PageTable) -> Result<u32, Failed> {
        self.contexts.set(PASID, table.root().unwrap()).unwrap();
        self.forget().map(|()| PASID)
    }

    fn fault(&mut self) -> io::Result<Option<(Option<u32>, u64, bool)>> {
        self.request = self.faults.next()?.map(request);
        Ok(self.request.map(|it| (it.pasid(), it.address(), it.is_last())))
    }

    fn respond(&mut self, response: Response) -> io::Result<()> {
        self.faults.respond(&self.request.take().unwrap(), response)
    }

    fn invalidate(&mut self, address: u64) -> Result<(), Failed> {
        self.container.forget_asid(PASID, Reach::Pages { address, count: 1 })
    }

    fn unbind(&mut self, _: &PageTable) -> Result<(), Failed> {
        self.contexts.clear(PASID).unwrap();
        self.forget()
    }
}

pub fn grace(kernel: &str) -> Bench {
    bench(Machine::by_name("grace").unwrap(), kernel)
}

fn request(fault: Fault) -> PageRequest {
    match fault {
        Fault::Page(request) => request,
        Fault::Unrecoverable(other) => panic!("{other:?}"),
    }
}

fn memory() -> SharedBuffer {
    let memory = SharedBuffer::new(8 * PAGE as usize).unwrap();
    memory.store_at(0, b"page one");
    memory.store_at(PAGE as usize, b"page two");
    memory
}

fn page(bytes: &[u8]) -> Event {
    Event::Dma(Status::Done, bytes.to_vec(), 1)
}

#[test]
fn the_story_is_the_same() {
    let today = grace("7.3");
    let expected = story(&today, &mut today.today());
    assert_eq!((&expected[7], &expected[8]), (&page(b"page one"), &page(b"page two")));
    for (kernel, layout) in [("2020", Layout::V5_10), ("2020-patches", Layout::Patches)] {
        let bench = grace(kernel);
        let mut sva = WithTable::new(&bench, layout);
        assert_eq!(story(&bench, &mut sva), expected, "{kernel}");
        let told = (IOMMU_FAULT_REASON_BAD_PASID_ENTRY, Some(PASID), None, 0);
        assert_eq!(sva.told(), Some(told), "{kernel}: of the access after the end");
    }
}

/// What is told: why, PASID, address, rights.
type Told = Option<(u32, Option<u32>, Option<u64>, u32)>;

#[test]
fn faults_that_nobody_can_repair() {
    let bench = grace("2020");
    let memory = memory();
    let (sva, table) = WithTable::bound(&bench, &memory);
    let quick = PASID + 1;
    sva.contexts.set_without_stalls(quick, table.root().unwrap()).unwrap();
    sva.container.forget_all().unwrap();
    const R: u32 = IOMMU_FAULT_PERM_READ;
    const W: u32 = IOMMU_FAULT_PERM_WRITE;
    let beyond = 1 << CONTEXTS_LOG2;
    #[rustfmt::skip] // one access, one line
    let rows: &[(&str, Option<u32>, Action, u64, Told)] = &[
        ("no page, to read",           Some(quick),  READ,  VA + 5 * PAGE + 8, Some((IOMMU_FAULT_REASON_PTE_FETCH, Some(quick), Some(VA + 5 * PAGE + 8), R))),
        ("no page, to write",          Some(quick),  WRITE, VA + 5 * PAGE,     Some((IOMMU_FAULT_REASON_PTE_FETCH, Some(quick), Some(VA + 5 * PAGE), W))),
        ("a page not to be written",   Some(quick),  WRITE, VA + PAGE,         Some((IOMMU_FAULT_REASON_PERMISSION, Some(quick), Some(VA + PAGE), W))),
        ("no descriptor",              Some(7),      READ,  VA,                Some((IOMMU_FAULT_REASON_BAD_PASID_ENTRY, Some(7), None, 0))),
        ("a PASID beyond the table",   Some(beyond), READ,  VA,                Some((IOMMU_FAULT_REASON_PASID_INVALID, None, None, 0))),
        ("no PASID: not told",         None,         READ,  VA,                None),
    ];
    for (name, pasid, action, address, expected) in rows {
        let operation = Operation::new(*action, *address).timeout(LONG);
        let operation = pasid.map_or(operation, |pasid| operation.pasid(pasid));
        let Event::Dma(status, ..) = told(bench.device.start(&[operation])) else { panic!() };
        assert!(matches!(status, Status::Refused { .. }), "{name}: {status:?}");
        assert_eq!(sva.told(), *expected, "{name}");
    }
}

/// An access without a PASID.
fn plain(bench: &Bench, address: u64) -> Event {
    told(bench.device.start(&[Operation::new(READ, address).timeout(LONG)]))
}

#[test]
fn without_stage_1_and_with_one_descriptor() {
    let bench = grace("2020");
    let memory = memory();
    let mut sva = WithTable::new(&bench, Layout::V5_10);
    sva.container.map(MEMORY, &memory).unwrap();
    let refused = |event| matches!(event, Event::Dma(Status::Refused { .. }, ..));
    // stage 1 bypasses at first, and has no PASIDs
    assert_eq!(plain(&bench, MEMORY), page(b"page one"));
    assert!(refused(bench.run(PASID, READ, MEMORY)));
    assert_eq!(sva.told(), Some((IOMMU_FAULT_REASON_PASID_INVALID, None, None, 0)));
    let set = |config: u8| {
        let told = iommu_pasid_table_config { config, ..valid() };
        call(&sva.container, VFIO_IOMMU_SET_PASID_TABLE, (48, 1), &told, 0)
    };
    assert_eq!(set(IOMMU_PASID_CONFIG_ABORT), Ok(()));
    assert!(refused(plain(&bench, MEMORY)));
    assert_eq!(sva.told(), None);
    assert_eq!(set(IOMMU_PASID_CONFIG_ABORT), Ok(()));
    assert_eq!(set(IOMMU_PASID_CONFIG_BYPASS), Ok(()));
    assert_eq!(plain(&bench, MEMORY), page(b"page one"));
    // one descriptor is for accesses without a PASID
    let table = sva.container.stage1_table(TABLE, 8 * PAGE as usize);
    let mut table = table.unwrap();
    table.map(VA, MEMORY + PAGE, true).unwrap();
    let one = sva.container.context_table(2 * CONTEXTS, 0).unwrap();
    one.set(0, table.root().unwrap()).unwrap();
    sva.container.set_pasid_table(&one).unwrap();
    sva.container.forget_all().unwrap();
    assert_eq!(plain(&bench, VA), page(b"page two"));
    // what is refused leaves it
    assert_eq!(set(IOMMU_PASID_CONFIG_TRANSLATE), Err(Errno::EINVAL));
    assert_eq!(set(4), Err(Errno::EINVAL));
    assert_eq!(plain(&bench, VA), page(b"page two"));
    // and an access that waits at its end is answered
    let running = bench.device.start(&[Operation::new(READ, VA + PAGE).timeout(LONG)]);
    assert_eq!(next(&mut sva), Event::Asked { pasid: None, address: VA + PAGE, last: true });
    sva.container.unset_pasid_table().unwrap();
    let Event::Dma(status, ..) = told(running) else { panic!() };
    assert_eq!(status, Status::AnsweredInvalid);
    assert_eq!(plain(&bench, MEMORY), page(b"page one"));
    assert_eq!(sva.container.unset_pasid_table(), Ok(()));
}

#[test]
fn what_an_invalidation_reaches() {
    let bench = grace("2020");
    let memory = memory();
    let (sva, mut table) = WithTable::bound(&bench, &memory);
    let read = |at: u64| bench.run(PASID, READ, at);
    type Forget = fn(&Container) -> Result<(), Failed>;
    #[rustfmt::skip] // one invalidation, one line
    let rows: &[(&str, Forget, bool)] = &[
        ("the page",          |it| it.forget_asid(PASID, Reach::Pages { address: VA, count: 1 }),            true),
        ("the page before",   |it| it.forget_asid(PASID, Reach::Pages { address: VA - PAGE, count: 1 }),     false),
        ("with the page before", |it| it.forget_asid(PASID, Reach::Pages { address: VA - PAGE, count: 2 }),  true),
        ("no page",           |it| it.forget_asid(PASID, Reach::Pages { address: VA, count: 0 }),            false),
        ("more than commands", |it| it.forget_asid(PASID, Reach::Pages { address: 0, count: 1 << 20 }),      true),
        ("beyond the end",    |it| it.forget_asid(PASID, Reach::Pages { address: VA, count: u64::MAX }),     true),
        ("the ASID",          |it| it.forget_asid(PASID, Reach::Pasid),                                      true),
        ("another ASID",      |it| it.forget_asid(PASID + 1, Reach::Pasid),                                  false),
        ("the descriptor",    |it| it.forget_context(PASID),                                                 false),
        ("all",               |it| it.forget_all(),                                                          true),
    ];
    for (name, forget, reaches) in rows {
        table.map(VA, MEMORY, true).unwrap();
        sva.container.forget_all().unwrap();
        assert_eq!(read(VA), page(b"page one"), "{name}");
        table.map(VA, MEMORY + PAGE, true).unwrap();
        forget(&sva.container).unwrap();
        let expected: &[u8] = if *reaches { b"page two" } else { b"page one" };
        assert_eq!(read(VA), page(expected), "{name}");
    }
    // a descriptor is remembered, whatever becomes of translations
    sva.contexts.clear(PASID).unwrap();
    sva.container.forget_asid(PASID, Reach::Pasid).unwrap();
    assert_eq!(read(VA), page(b"page two"));
    sva.container.forget_context(PASID + 1).unwrap();
    sva.container.forget_asid(PASID, Reach::Pasid).unwrap();
    assert_eq!(read(VA), page(b"page two"));
    sva.container.forget_context(PASID).unwrap();
    assert!(matches!(read(VA), Event::Dma(Status::Refused { .. }, ..)));
}

/// What a stall is told as, byte for byte, and what becomes of it by the code of the answer.
#[test]
fn answers_by_code() {
    let answer = |code: u32, pasid: u32| iommu_page_response {
        argsz: 24,
        version: IOMMU_PAGE_RESP_VERSION_1,
        flags: IOMMU_PAGE_RESP_PASID_VALID,
        pasid,
        code,
        ..Default::default()
    };
    #[rustfmt::skip] // one answer, one line
    let rows: &[(&str, iommu_page_response, bool, Status)] = &[
        ("the page is there",        answer(0, PASID), true,  Status::Done),
        ("... of any PASID",         answer(0, 77),    true,  Status::Done),
        ("... of none",              iommu_page_response { flags: 0, ..answer(0, 0) }, true, Status::Done),
        ("invalid",                  answer(1, PASID), true,  Status::AnsweredInvalid),
        ("failure, which is an abort", answer(2, PASID), true, Status::AnsweredInvalid),
        ("and the device asks again", answer(0, PASID), true, Status::Done),
        ("an unknown code",          answer(3, PASID), false, Status::AnsweredInvalid),
        ("an unknown version",       iommu_page_response { version: 2, ..answer(0, PASID) }, false, Status::AnsweredInvalid),
    ];
    let bench = grace("2020");
    let memory = memory();
    let (mut sva, mut table) = WithTable::bound(&bench, &memory);
    let [faults, responses] = [9, 10].map(|index| sva.device.region(index).unwrap());
    const RING: u64 = 4096;
    for (at, (name, answer, is_taken, expected)) in (0_u32..).zip(rows) {
        let page_at = VA + u64::from(2 + at) * PAGE;
        let running = bench.start(PASID, WRITE, page_at);
        let Event::Asked { .. } = next(&mut sva) else { panic!() };
        let mut record = [0; 8 + size_of::<iommu_fault_page_request>()];
        faults.read(RING + u64::from(at) * 64, &mut record).unwrap();
        let told = iommu_fault_page_request::read_from_bytes(&record[8..]).unwrap_or_default();
        let flags = IOMMU_FAULT_PAGE_REQUEST_LAST_PAGE | IOMMU_FAULT_PAGE_REQUEST_PASID_VALID;
        let expected_record = iommu_fault_page_request {
            flags,
            pasid: PASID,
            grpid: told.grpid,
            perm: IOMMU_FAULT_PERM_WRITE,
            addr: page_at,
            private_data: [0; 2],
        };
        assert_eq!(told, expected_record, "{name}");
        table.map(page_at, MEMORY, true).unwrap();
        let entry = iommu_page_response { grpid: told.grpid, ..*answer };
        responses.write(RING + u64::from(at) * 24, entry.as_bytes()).unwrap();
        let taken = responses.write(0, &(at + 1).to_ne_bytes());
        assert_eq!(taken.is_ok(), *is_taken, "{name}");
        if !is_taken {
            sva.container.unset_pasid_table().unwrap();
            sva.container.set_pasid_table(&sva.contexts).unwrap();
        }
        let Event::Dma(status, ..) = super::told(running) else { panic!() };
        assert_eq!(status, *expected, "{name}");
    }
}

/// Its stream table entry says so, whatever a guest's descriptor does.
#[test]
fn a_device_that_cannot_stall() {
    let mut machine = Machine::by_name("grace").unwrap().clone();
    machine.devices[0].device = 1;
    let bench = bench(&machine, "2020");
    let (sva, table) = WithTable::bound(&bench, &memory());
    let refused = |event| matches!(event, Event::Dma(Status::Refused { .. }, ..));
    assert!(refused(bench.run(PASID, READ, VA)));
    let bad = (IOMMU_FAULT_REASON_BAD_PASID_ENTRY, Some(PASID), None, 0);
    assert_eq!(sva.told(), Some(bad));
    sva.contexts.set_without_stalls(PASID, table.root().unwrap()).unwrap();
    sva.forget().unwrap();
    assert_eq!(bench.run(PASID, READ, VA), page(b"page one"));
    let missing = VA + 2 * PAGE;
    assert!(refused(bench.run(PASID, READ, missing)));
    let page_is_missing = (IOMMU_FAULT_REASON_PTE_FETCH, Some(PASID), Some(missing), 1);
    assert_eq!(sva.told(), Some(page_is_missing));
}

/// Two devices of a group are attached together; each has faults of its own.
#[test]
fn a_group_of_two() {
    let mut machine = Machine::by_name("grace").unwrap().clone();
    let mut second = machine.devices[0].clone();
    second.address = "0000:01:00.1".parse().unwrap();
    machine.devices.push(second);
    let engine = Engine::new(&machine, Kernel::by_name("2020").unwrap());
    let devices: Vec<_> = (0..2)
        .map(|number| {
            let dma = engine.dma(number).unwrap();
            let device = Arc::new(DmaTest::new(dma, Settings::default()).unwrap());
            assert!(engine.plug(number, Arc::clone(&device) as _));
            device
        })
        .collect();
    let system = System::of(engine).unwrap();
    let bench = Bench { system, device: Arc::clone(&devices[0]), machine };
    let memory = memory();
    let (mut sva, mut table) = WithTable::bound(&bench, &memory);
    let second = sva.container.member(bench.machine.devices[1].address).unwrap();
    let faults = second.faults().unwrap().unwrap();
    engine::Model::set_bus_master(&*devices[1], true);
    let missing = VA + 2 * PAGE;
    let start = |number: usize| {
        devices[number].start(&[Operation::new(READ, missing).pasid(PASID).timeout(LONG)])
    };
    let [first, second] = [start(0), start(1)];
    next(&mut sva);
    let until = Instant::now() + LONG;
    let asked = loop {
        match faults.next().unwrap() {
            Some(fault) => break request(fault),
            None => assert!(Instant::now() < until, "no page request came"),
        }
    };
    assert_eq!((asked.pasid(), asked.address()), (Some(PASID), missing));
    assert_eq!(sva.faults.next().unwrap(), None);
    table.map(missing, MEMORY, false).unwrap();
    faults.respond(&asked, Response::Success).unwrap();
    let Event::Dma(status, bytes, _) = told(second) else { panic!() };
    assert_eq!((status, bytes), (Status::Done, b"page one".to_vec()));
    // it was the second's, whatever the tags are
    assert!(faults.respond(&asked, Response::Success).is_err());
    sva.respond(Response::Invalid).unwrap();
    let Event::Dma(status, ..) = told(first) else { panic!() };
    assert_eq!(status, Status::AnsweredInvalid);
}
