//! Faults that come, and answers that go.

use std::time::Duration;

use engine::{Answer as Told, Awaited, Dma, PageRequest};
use pt::Rights;
use uapi::vfio::*;
use uapi::y2020::fault::*;
use uapi::y2020::{Layout, v5_5, v5_10};
use zerocopy::{FromBytes, IntoBytes};

use super::bench::*;

const FAULTS: u64 = 9 << 40;
const RESPONSES: u64 = 10 << 40;
const ENTRIES: u32 = 512;
const PASID: u32 = 1;
const GROUP_ID: u16 = 7;

/// A program that has a device, a process bound, and an eventfd for faults.
struct Guest {
    it: Bench,
    device: i32,
    dma: Dma,
    event: i32,
}

impl Guest {
    fn new(kernel: &str) -> Self {
        let mut it = Bench::new(kernel);
        it.process(PASID);
        let device = it.device(NAMES[0]).unwrap();
        let (dma, event) = (it.dma(0), it.client.new_eventfd());
        let mut guest = Self { it, device, dma, event };
        guest.wait_by_eventfd();
        guest
    }

    fn wait_by_eventfd(&mut self) {
        let flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER;
        let head = [24, flags, 5, 0, 1, self.event.cast_unsigned()];
        self.it.call_with(self.device, VFIO_DEVICE_SET_IRQS, head.as_bytes()).0.unwrap();
    }

    fn events(&self) -> u64 {
        self.it.client.events(self.event)
    }

    fn pread(&mut self, count: usize, at: u64) -> Vec<u8> {
        let file = self.it.client.open_file(self.device);
        let read = file.read(&mut self.it.client, BUFFER, count as u64, Some(at));
        assert_eq!(read, Ok(count as u64));
        self.it.bytes(BUFFER, count)
    }

    fn pwrite(&mut self, bytes: &[u8], at: u64) -> Answer {
        mem::AddressSpace::write(&*self.it.client.memory, BUFFER, bytes).unwrap();
        let file = self.it.client.open_file(self.device);
        let written = file.write(&mut self.it.client, BUFFER, bytes.len() as u64, Some(at));
        written.map(|count| assert_eq!(count, bytes.len() as u64)).map_err(|it| it.errno())
    }

    /// The program's index of a region, and the kernel's.
    fn indices(&mut self, region: u64) -> [u32; 2] {
        let bytes = self.pread(20, region);
        [0, 16].map(|at| u32::read_from_bytes(&bytes[at..at + 4]).unwrap())
    }

    /// The faults that have come since the last time.
    fn faults(&mut self) -> Vec<iommu_fault> {
        let [mut tail, head] = self.indices(FAULTS);
        let mut told = Vec::new();
        while tail != head {
            let bytes = self.pread(64, FAULTS + PAGE + u64::from(tail) * 64);
            told.push(iommu_fault::read_from_bytes(&bytes).unwrap());
            tail = (tail + 1) % ENTRIES;
        }
        self.pwrite(tail.as_bytes(), FAULTS).unwrap();
        told
    }

    /// Puts answers in, and moves the head behind them.
    fn respond(&mut self, responses: &[v5_10::iommu_page_response]) -> Answer {
        let [mut head, _] = self.indices(RESPONSES);
        for response in responses {
            let bytes = response_bytes(self.it.layout, response);
            let at = RESPONSES + PAGE + u64::from(head) * bytes.len() as u64;
            self.pwrite(&bytes, at).unwrap();
            head = (head + 1) % ENTRIES;
        }
        let answer = self.pwrite(head.as_bytes(), RESPONSES);
        assert_eq!(self.indices(RESPONSES), [head, head], "all are taken");
        answer
    }

    fn ask(&self, pasid: u32, group: u16) {
        self.dma.request_page(request(pasid, group));
    }

    fn told(&self, group: u16) -> Option<Told> {
        self.dma.wait(Awaited::Group(group), Duration::ZERO)
    }
}

fn request(pasid: u32, group: u16) -> PageRequest {
    let (iova, rights) = (VA + PAGE + 8, Rights::READ);
    PageRequest { pasid: Some(pasid), iova, rights, privileged: false, group, last: true }
}

fn response(pasid: u32, group: u16, code: u32) -> v5_10::iommu_page_response {
    let flags = IOMMU_PAGE_RESP_PASID_VALID;
    let (argsz, version) = (24, IOMMU_PAGE_RESP_VERSION_1);
    v5_10::iommu_page_response { argsz, version, flags, pasid, grpid: group.into(), code }
}

fn response_bytes(layout: Layout, response: &v5_10::iommu_page_response) -> Vec<u8> {
    let v5_10::iommu_page_response { version, flags, pasid, grpid, code, .. } = *response;
    match layout {
        Layout::V5_10 => response.as_bytes().to_vec(),
        _ => v5_5::iommu_page_response { version, flags, pasid, grpid, code }.as_bytes().to_vec(),
    }
}

/// What is told of each request of a group, when its last has come.
#[test]
fn page_requests() {
    const VALID: u32 = IOMMU_FAULT_PAGE_REQUEST_PASID_VALID;
    const LAST: u32 = IOMMU_FAULT_PAGE_REQUEST_LAST_PAGE;
    for (kernel, needs) in [("2020", IOMMU_FAULT_PAGE_RESPONSE_NEEDS_PASID), ("2020-patches", 0)] {
        let mut it = Guest::new(kernel);
        let first = PageRequest { last: false, iova: VA, ..request(PASID, GROUP_ID) };
        it.dma.request_page(first);
        assert_eq!((it.faults(), it.events()), (vec![], 0), "the group is not whole");
        let rights = Rights::READ | Rights::WRITE;
        it.dma.request_page(PageRequest { rights, ..request(PASID, GROUP_ID) });
        let fault = |flags, perm, addr| {
            iommu_fault::page_request(iommu_fault_page_request {
                flags: VALID | needs | flags,
                pasid: PASID,
                grpid: GROUP_ID.into(),
                perm,
                addr,
                private_data: [0; 2],
            })
        };
        assert_eq!(it.events(), 1, "{kernel}");
        let expected = [fault(0, 1, VA), fault(LAST, 3, VA + PAGE)];
        assert_eq!(it.faults(), expected, "{kernel}");
        assert_eq!(it.faults(), [], "{kernel}");
        assert_eq!(it.told(GROUP_ID), None);
        assert_eq!(it.respond(&[response(PASID, GROUP_ID, 0)]), OK);
        assert_eq!(it.told(GROUP_ID), Some(Told::Success), "{kernel}");
    }
}

/// What nobody can answer is answered at once, and not told.
#[test]
fn nobody_to_ask() {
    let mut it = Guest::new("2020");
    it.ask(PASID + 1, 1);
    it.dma.request_page(PageRequest { pasid: None, ..request(PASID, 2) });
    it.dma.request_page(PageRequest { privileged: true, ..request(PASID, 3) });
    let told = [1, 2, 3].map(|group| it.told(group));
    assert_eq!(told, [Some(Told::Invalid); 3]);
    assert_eq!((it.faults(), it.events()), (vec![], 0));
}

#[test]
fn answers() {
    const SUCCESS: Option<Told> = Some(Told::Success);
    const INVALID: Option<Told> = Some(Told::Invalid);
    const FAILURE: Option<Told> = Some(Told::Failure);
    type Change = fn(&mut v5_10::iommu_page_response);
    type Row = (&'static str, Change, [(Answer, Option<Told>); 2]);
    #[rustfmt::skip] // one answer, one line; the answers to it are 5.10's and the patches'
    let rows: &[Row] = &[
        ("success",              |_| {},                     [(OK, SUCCESS), (OK, SUCCESS)]),
        ("invalid",              |it| it.code = 1,           [(OK, INVALID), (OK, INVALID)]),
        ("failure",              |it| it.code = 2,           [(OK, FAILURE), (OK, FAILURE)]),
        ("no code",              |it| it.code = 3,           [(INVAL, None), (INVAL, None)]),
        ("the device's own",     |it| it.code = 15,          [(INVAL, None), (INVAL, None)]),
        ("another group",        |it| it.grpid += 1,         [(INVAL, None), (INVAL, None)]),
        ("a group of 32 bits",   |it| it.grpid += 1 << 16,   [(INVAL, None), (INVAL, None)]),
        ("another PASID",        |it| it.pasid += 1,         [(INVAL, None), (INVAL, None)]),
        ("no PASID",             |it| it.flags = 0,          [(INVAL, None), (OK, SUCCESS)]),
        ("... and another",      |it| { it.flags = 0; it.pasid += 1 }, [(INVAL, None), (INVAL, None)]),
        ("unknown flag",         |it| it.flags |= 2,         [(INVAL, None), (INVAL, None)]),
        ("version 0",            |it| it.version = 0,        [(INVAL, None), (INVAL, None)]),
        ("version 2",            |it| it.version = 2,        [(INVAL, None), (INVAL, None)]),
        ("no size",              |it| it.argsz = 0,          [(OK, SUCCESS), (OK, SUCCESS)]),
    ];
    for (at, (kernel, _)) in KERNELS.into_iter().enumerate() {
        for (what, change, expected) in rows {
            let mut it = Guest::new(kernel);
            it.ask(PASID, GROUP_ID);
            assert_eq!(it.faults().len(), 1);
            let mut sent = response(PASID, GROUP_ID, IOMMU_PAGE_RESP_SUCCESS);
            change(&mut sent);
            let found = (it.respond(&[sent]), it.told(GROUP_ID));
            assert_eq!(found, expected[at], "{kernel}: {what}");
            // one that was not answered can be, and one that was cannot
            let again = it.respond(&[response(PASID, GROUP_ID, IOMMU_PAGE_RESP_INVALID)]);
            let later = if found.1.is_some() { (INVAL, None) } else { (OK, INVALID) };
            assert_eq!((again, it.told(GROUP_ID)), later, "{kernel}: {what}, again");
        }
    }
}

/// Several at once: a wrong one is told, and keeps no other from being taken.
#[test]
fn several_answers() {
    let mut it = Guest::new("2020");
    for group in 1..=3 {
        it.ask(PASID, group);
    }
    assert_eq!((it.faults().len(), it.events()), (3, 3));
    let wrong = response(PASID, 9, 0);
    let answer = it.respond(&[response(PASID, 3, 0), wrong, response(PASID, 1, 1)]);
    let told = [1, 2, 3].map(|group| it.told(group));
    assert_eq!((answer, told), (INVAL, [Some(Told::Invalid), None, Some(Told::Success)]));
    // by the program's mapping, too
    let file = it.it.client.open_file(it.device);
    let mapped = file.mmap(RESPONSES + PAGE, 0x3000, true, false).unwrap();
    let [head, _] = it.indices(RESPONSES);
    let bytes = response_bytes(Layout::V5_10, &response(PASID, 2, 0));
    mapped.object.write(mapped.offset + u64::from(head) * 24, &bytes).unwrap();
    it.pwrite((head + 1).as_bytes(), RESPONSES).unwrap();
    assert_eq!(it.told(2), Some(Told::Success));
    // an answer that was taken is no other's
    it.ask(PASID, 2);
    assert_eq!(it.pwrite((head + 1).as_bytes(), RESPONSES), OK);
    assert_eq!(it.told(2), None);
}

/// A group whose number is in use twice: the one that waits longest is answered first.
#[test]
fn one_answer_for_one_request() {
    let mut it = Guest::new("2020");
    it.it.process(2);
    it.ask(PASID, GROUP_ID);
    it.ask(2, GROUP_ID);
    // the device waits for the later one alone
    assert_eq!(it.respond(&[response(PASID, GROUP_ID, 0)]), OK);
    assert_eq!(it.told(GROUP_ID), None);
    assert_eq!(it.respond(&[response(2, GROUP_ID, 0)]), OK);
    assert_eq!(it.told(GROUP_ID), Some(Told::Success));
    it.ask(PASID, GROUP_ID);
    it.ask(PASID, GROUP_ID);
    assert_eq!(it.respond(&[response(PASID, GROUP_ID, 1)]), OK);
    assert_eq!(it.told(GROUP_ID), None);
    assert_eq!(it.respond(&[response(PASID, GROUP_ID, 0)]), OK);
    assert_eq!(it.told(GROUP_ID), Some(Told::Success));
}

/// After FAILURE a device does not ask, until it is reset.
#[test]
fn failure() {
    let mut it = Guest::new("2020");
    it.ask(PASID, GROUP_ID);
    assert_eq!(it.respond(&[response(PASID, GROUP_ID, IOMMU_PAGE_RESP_FAILURE)]), OK);
    assert_eq!(it.told(GROUP_ID), Some(Told::Failure));
    assert_eq!((it.faults().len(), it.events()), (1, 1));
    it.ask(PASID, GROUP_ID);
    assert_eq!(it.told(GROUP_ID), Some(Told::Failure));
    assert_eq!((it.faults(), it.events()), (vec![], 0));
    // the other device of the group may
    let other = it.it.dma(1);
    other.request_page(request(PASID, GROUP_ID));
    assert_eq!(other.wait(Awaited::Group(GROUP_ID), Duration::ZERO), None);
    it.it.call(it.device, VFIO_DEVICE_RESET, 0).unwrap();
    it.ask(PASID, GROUP_ID);
    assert_eq!((it.told(GROUP_ID), it.faults().len(), it.events()), (None, 1, 1));
}

/// What waits when its table is unbound is answered, and an answer of the program comes too late.
#[test]
fn unbinding_answers() {
    type Row = (&'static str, fn(&mut Bench));
    #[rustfmt::skip] // one way, one line
    let rows: &[Row] = &[
        ("unbound",    |it| it.unbind(PASID).unwrap()),
        ("given back", |it| it.free(PASID, PASID).unwrap()),
    ];
    for (what, end) in rows {
        let mut it = Guest::new("2020");
        it.ask(PASID, GROUP_ID);
        assert_eq!(it.told(GROUP_ID), None);
        end(&mut it.it);
        assert_eq!(it.told(GROUP_ID), Some(Told::Invalid), "{what}");
        assert_eq!(it.respond(&[response(PASID, GROUP_ID, 0)]), INVAL, "{what}");
        it.ask(PASID, GROUP_ID);
        assert_eq!(it.told(GROUP_ID), Some(Told::Invalid), "{what}");
        assert_eq!(it.faults().len(), 1, "{what}: the first alone");
    }
}

/// The ring has room for 511 faults; the next is answered at once, and nobody is told.
#[test]
fn a_full_ring() {
    let mut it = Guest::new("2020");
    for group in 0..511 {
        it.ask(PASID, group);
        assert_eq!(it.told(group), None);
    }
    assert_eq!(it.events(), 511);
    assert_eq!(it.indices(FAULTS), [0, 511]);
    it.ask(PASID, 511);
    assert_eq!((it.told(511), it.events()), (Some(Told::Invalid), 0));
    // a group that does not fit as a whole
    it.pwrite(1_u32.as_bytes(), FAULTS).unwrap();
    it.dma.request_page(PageRequest { last: false, ..request(PASID, 511) });
    it.ask(PASID, 511);
    assert_eq!((it.told(511), it.events()), (Some(Told::Invalid), 0));
    it.pwrite(2_u32.as_bytes(), FAULTS).unwrap();
    it.dma.request_page(PageRequest { last: false, ..request(PASID, 511) });
    it.ask(PASID, 511);
    assert_eq!((it.told(511), it.events()), (None, 1));
    assert_eq!(it.indices(FAULTS), [2, 1]);
    let groups: Vec<_> = it.faults().iter().map(|it| it.prm().unwrap().grpid).collect();
    assert_eq!(groups, (2..511).chain([511, 511]).collect::<Vec<_>>());
    // what is in the ring waits whatever is read of it
    let all: Vec<_> = (0..=511).map(|group| response(PASID, group, 0)).collect();
    assert_eq!(it.respond(&all[..511]), OK);
    assert_eq!(it.respond(&all[511..]), OK);
    assert!((0..=511).all(|group| it.told(group) == Some(Told::Success)));
}

/// Both rings go on at their beginning.
#[test]
fn rings_wrap() {
    for (kernel, _) in KERNELS {
        let mut it = Guest::new(kernel);
        for round in 0..1100 {
            let group = (round % 500) as u16;
            it.ask(PASID, group);
            let groups: Vec<_> = it.faults().iter().map(|it| it.prm().unwrap().grpid).collect();
            assert_eq!(groups, [u32::from(group)], "{kernel}: {round}");
            assert_eq!(it.respond(&[response(PASID, group, 0)]), OK, "{kernel}: {round}");
            assert_eq!(it.told(group), Some(Told::Success), "{kernel}: {round}");
        }
        assert_eq!(it.indices(FAULTS), [1100 % ENTRIES; 2]);
    }
}

/// An index that goes back takes all entries up to it, of which the old ones are nobody's answers.
#[test]
fn a_head_that_goes_back() {
    let mut it = Guest::new("2020");
    it.ask(PASID, 1);
    it.respond(&[response(PASID, 1, 0)]).unwrap();
    assert_eq!(it.pwrite(0_u32.as_bytes(), RESPONSES), INVAL);
    assert_eq!(it.indices(RESPONSES), [0, 0]);
    // and a tail that goes beyond makes room that there is not
    it.pwrite(5_u32.as_bytes(), FAULTS).unwrap();
    it.ask(PASID, 2);
    assert_eq!(it.indices(FAULTS), [5, 2]);
    assert_eq!(it.told(2), None);
}

/// The next program that opens the device finds it as new, and no request of before.
#[test]
fn a_device_that_is_opened_again() {
    let mut it = Guest::new("2020");
    it.ask(PASID, GROUP_ID);
    it.ask(PASID, 3);
    it.dma.request_page(PageRequest { last: false, ..request(PASID, GROUP_ID) });
    it.pwrite(1_u32.as_bytes(), FAULTS).unwrap();
    it.it.client.close(it.device);
    assert_eq!(it.told(GROUP_ID), Some(Told::Invalid), "closed");
    it.device = it.it.device(NAMES[0]).unwrap();
    assert_eq!((it.indices(FAULTS), it.indices(RESPONSES)), ([0, 0], [0, 0]));
    it.events();
    it.ask(PASID, GROUP_ID);
    assert_eq!((it.faults().len(), it.events()), (1, 0), "nobody waits by eventfd");
    assert_eq!(it.respond(&[response(PASID, GROUP_ID, 0)]), OK);
    assert_eq!(it.told(GROUP_ID), Some(Told::Success), "one answer is enough");
    it.ask(PASID, GROUP_ID);
    it.wait_by_eventfd();
    it.ask(PASID, 3);
    assert_eq!((it.faults().len(), it.events()), (2, 1));
}
