//! The calls that the value of each feature offers, and that none of them is refused.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use client::feature::*;
use client::{Device, Failed, NotNegotiated, SharedBuffer, System};
use engine::{Dma, Engine, PageRequest, Rights};
use profile::{Kernel, Machine, Requirement, Verdict};
use proptest::prelude::*;
use proptest::test_runner::TestRunner;
use uapi::Errno;

const PAGE: u64 = 4096;
const AT: u64 = 0x20_0000;

/// The feature of a requirement.
pub enum FeatureName {
    Passthrough,
    LiveMigration,
    PageFaults,
    Pasid,
    Nested,
    GuestSva,
}

impl FeatureName {
    pub fn of(requirement: &str) -> Self {
        match requirement {
            "passthrough" => Self::Passthrough,
            "live-migration" => Self::LiveMigration,
            "page-faults" => Self::PageFaults,
            "pasid" => Self::Pasid,
            "nested" => Self::Nested,
            "guest-sva" => Self::GuestSva,
            other => panic!("{other} has no feature"),
        }
    }
}

fn page() -> SharedBuffer {
    SharedBuffer::new(PAGE as usize).unwrap()
}

fn table() -> GuestTable {
    GuestTable::four_levels(AT).unwrap()
}

pub fn passthrough(device: &Passthrough) -> Result<(), Failed> {
    let page = page();
    device.map(AT, &page)?;
    assert_eq!(device.unmap(AT, PAGE)?, PAGE);
    Ok(())
}

pub fn migration(device: &Migratable) -> Result<(), Failed> {
    let page = page();
    device.map(AT, &page)?;
    device.start()?;
    assert_eq!(device.written(AT, PAGE)?, [0]);
    device.stop()
}

pub fn faults(device: &FaultingDevice) -> Result<(), Failed> {
    let page = page();
    device.map(AT, &page)?;
    assert_eq!(device.faults().next().unwrap(), None);
    Ok(())
}

pub fn pasids(device: &mut Pasids) -> Result<(), Failed> {
    let page = page();
    let space = device.attach()?.expect("a PASID");
    device.map(&space, AT, &page)?;
    device.detach(space)
}

pub fn nested(device: &mut Nested) -> Result<(), Failed> {
    let page = page();
    device.map(AT, &page)?;
    device.set_table(table())?;
    device.invalidate(Invalidation::All)?;
    device.invalidate(Invalidation::Range { start: 0, length: PAGE })?;
    device.set_table(table())
}

pub fn guest_sva(device: &mut GuestSva) -> Result<(), Failed> {
    let page = page();
    device.map(AT, &page)?;
    let pasid = device.alloc_pasid().expect("a PASID");
    let binding = device.bind(pasid, table()).map_err(|it| it.reason)?;
    device.invalidate(&binding, Invalidation::Range { start: 0x1000, length: 3 * PAGE })?;
    device.invalidate(&binding, Invalidation::All)?;
    assert_eq!(device.next_fault().unwrap(), None);
    let pasid = device.unbind(binding)?;
    device.free_pasid(pasid);
    Ok(())
}

/// What a program does next; each feature makes of it what it can.
#[derive(Clone, Copy, Debug)]
struct Step {
    what: usize,
    page: u64,
    count: u64,
    which: usize,
    five_levels: bool,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (any::<usize>(), 0..1_u64 << 40, 0..100_u64, any::<usize>(), any::<bool>());
    let step = step.prop_map(|(what, page, count, which, five_levels)| Step {
        what,
        page,
        count,
        which,
        five_levels,
    });
    prop::collection::vec(step, 1..30)
}

impl Step {
    fn response(&self) -> Response {
        if self.five_levels { Response::Success } else { Response::Invalid }
    }

    /// An address that every device reaches, with no reserved one near.
    fn iova(&self) -> u64 {
        (1 + self.page % 0x7000) * PAGE
    }

    /// A table anywhere in guest-physical addresses.
    fn table(&self, five_levels: Option<FiveLevels>) -> GuestTable {
        let root = self.page * PAGE;
        let table = match five_levels {
            Some(proof) if self.five_levels => GuestTable::five_levels(root, proof),
            _ => GuestTable::four_levels(root),
        };
        table.unwrap()
    }

    fn invalidation(&self) -> Invalidation {
        match self.five_levels {
            true => Invalidation::Range { start: self.page * 16 + 1, length: self.count * 1000 },
            false => Invalidation::All,
        }
    }
}

/// Makes the calls of a feature, in any order.
fn play(device: &Device, feature: FeatureName, steps: &[Step], dma: &Dma) -> Result<(), Failed> {
    let page = page();
    match feature {
        FeatureName::Passthrough => {
            let given = given(device.negotiate(&PASSTHROUGH));
            steps.iter().try_for_each(|step| {
                match step.what % 2 {
                    0 => given.map(step.iova(), &page),
                    _ => given.unmap(step.iova(), PAGE).map(drop),
                }
                .or_else(taken_or_free)
            })
        }
        FeatureName::LiveMigration => {
            let given = given(device.negotiate(&LIVE_MIGRATION));
            steps.iter().try_for_each(|step| match step.what % 4 {
                0 => given.map(step.iova(), &page).or_else(taken_or_free),
                1 => given.start(),
                2 => given.stop(),
                _ => given.written(step.iova(), PAGE * (1 + step.count)).map(drop),
            })
        }
        FeatureName::PageFaults => {
            let given = given(device.negotiate(&PAGE_FAULTS));
            steps.iter().try_for_each(|step| {
                miss(dma, None, step);
                while let Some(group) = given.faults().next().unwrap() {
                    given.faults().respond(group, step.response()).unwrap();
                    ANSWERED.fetch_add(1, Ordering::Relaxed);
                }
                given.map(step.iova(), &page).or_else(taken_or_free)
            })
        }
        FeatureName::Pasid => {
            let mut given = given(device.negotiate(&PASIDS));
            let mut spaces = Vec::new();
            steps.iter().try_for_each(|step| match (step.what % 3, spaces.len()) {
                (0, _) | (_, 0) => given.attach().map(|space| spaces.extend(space)),
                (1, some) => {
                    given.map(&spaces[step.which % some], step.iova(), &page).or_else(taken_or_free)
                }
                (_, some) => given.detach(spaces.swap_remove(step.which % some)),
            })
        }
        FeatureName::Nested => {
            let mut given = given(device.negotiate(&NESTED));
            steps.iter().try_for_each(|step| match step.what % 3 {
                0 => given.map(step.iova(), &page).or_else(taken_or_free),
                1 => given.set_table(step.table(given.five_levels())),
                _ => given.invalidate(step.invalidation()),
            })
        }
        FeatureName::GuestSva => play_guest_sva(given(device.negotiate(&GUEST_SVA)), steps, dma),
    }
}

/// How many page requests were answered.
static ANSWERED: AtomicUsize = AtomicUsize::new(0);

/// The device wants a page, and asks for it.
fn miss(dma: &Dma, pasid: Option<u32>, step: &Step) {
    // whether it is refused or stalls is the table's to say
    let _ = dma.burst(pasid, |burst| burst.write(step.iova(), &[1]));
    dma.request_page(PageRequest {
        pasid,
        iova: step.iova(),
        rights: Rights::READ,
        privileged: false,
        group: step.count as u16,
        last: step.five_levels,
    });
}

fn play_guest_sva(mut given: GuestSva, steps: &[Step], dma: &Dma) -> Result<(), Failed> {
    let page = page();
    let mut bindings: Vec<Binding> = Vec::new();
    steps.iter().try_for_each(|step| match (step.what % 4, bindings.len()) {
        (0, some) => {
            if some > 0 {
                miss(dma, Some(bindings[step.which % some].pasid().number()), step);
            }
            while let Some(group) = given.next_fault().unwrap() {
                given.respond(group, step.response()).unwrap();
                ANSWERED.fetch_add(1, Ordering::Relaxed);
            }
            given.map(step.iova(), &page).or_else(taken_or_free)
        }
        (1, _) | (_, 0) => {
            let Some(pasid) = given.alloc_pasid() else { return Ok(()) };
            let bound = given.bind(pasid, step.table(given.five_levels()));
            bound.map(|binding| bindings.push(binding)).map_err(|it| it.reason)
        }
        (2, some) => given.invalidate(&bindings[step.which % some], step.invalidation()),
        (_, some) => {
            let binding = bindings.swap_remove(step.which % some);
            given.unbind(binding).map(|pasid| given.free_pasid(pasid))
        }
    })
}

fn given<T>(negotiated: Result<Result<T, Verdict>, NotNegotiated>) -> T {
    negotiated.unwrap().unwrap()
}

/// That something is mapped there already, or nothing is, is the program's own doing.
fn taken_or_free(failed: Failed) -> Result<(), Failed> {
    if [Errno::EEXIST, Errno::ENOENT].contains(&failed.errno) { Ok(()) } else { Err(failed) }
}

#[test]
fn what_was_given_is_not_refused() {
    let mut given = 0;
    for machine in Machine::all().iter().filter(|machine| !machine.devices.is_empty()) {
        for kernel in Kernel::all() {
            let engine = Engine::new(machine, kernel);
            let system = System::of(Arc::clone(&engine)).unwrap();
            let device = system.device(machine.devices[0].address);
            for requirement in Requirement::all() {
                if !device.check(requirement).is_ok_and(|verdict| verdict.is_satisfied()) {
                    continue;
                }
                given += 1;
                let dma = engine.dma(0).expect("the first device is with VFIO");
                let name = &requirement.name;
                // a runner counts its cases over all that it runs
                let mut runner = TestRunner::new(ProptestConfig::with_cases(6));
                let played = runner.run(&steps(), |steps| {
                    let done = play(&device, FeatureName::of(name), &steps, &dma);
                    done.map_err(|failed| TestCaseError::fail(failed.to_string()))
                });
                played
                    .unwrap_or_else(|wrong| panic!("{name} on {} {kernel}: {wrong}", machine.name));
            }
        }
    }
    assert!(given > 150, "{given} features were given");
    let answered = ANSWERED.load(Ordering::Relaxed);
    assert!(answered > 50, "{answered} page requests were answered");
}
