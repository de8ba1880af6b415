//! The calls that the value of each feature offers, and that none of them is refused.

use client::feature::*;
use client::{Failed, SharedBuffer, System};
use profile::{Kernel, Machine};
use proptest::prelude::*;
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

const TABLE: GuestTable = GuestTable { address: AT, width: 48 };

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
    assert_eq!(device.faults().next().unwrap(), []);
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
    device.set_table(TABLE)?;
    device.invalidate(Invalidation::All)?;
    device.invalidate(Invalidation::Pages { start: 0, count: 1 })?;
    device.set_table(TABLE)
}

pub fn guest_sva(device: &mut GuestSva) -> Result<(), Failed> {
    let page = page();
    device.map(AT, &page)?;
    let pasid = device.alloc_pasid().expect("a PASID");
    let binding = device.bind(pasid, TABLE)?;
    device.invalidate(&binding, Invalidation::Pages { start: 0x1000, count: 3 })?;
    device.invalidate(&binding, Invalidation::All)?;
    assert_eq!(device.next_fault().unwrap(), []);
    let pasid = device.unbind(binding)?;
    device.free_pasid(pasid);
    Ok(())
}

/// What a program may do next with guest SVA.
#[derive(Clone, Copy, Debug)]
enum Step {
    Bind { width_57: bool, address: u64 },
    Invalidate { which: usize, start: u64, count: u64 },
    Unbind { which: usize },
    NextFault,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let address = (0..1_u64 << 36).prop_map(|page| page << 12);
    let step = prop_oneof![
        (any::<bool>(), address).prop_map(|(width_57, address)| Step::Bind { width_57, address }),
        (any::<usize>(), 0..1_u64 << 36, 0..100_u64).prop_map(|(which, page, count)| {
            Step::Invalidate { which, start: page << 12, count }
        }),
        any::<usize>().prop_map(|which| Step::Unbind { which }),
        Just(Step::NextFault),
    ];
    prop::collection::vec(step, 1..40)
}

/// Whether a refusal is one that asking is there to prevent.
fn is_incompatible(failed: &Failed) -> bool {
    [Errno::ENOTTY, Errno::EOPNOTSUPP, Errno::E2BIG, Errno::EINVAL].contains(&failed.errno)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_was_given_is_not_refused(steps in steps()) {
        for (machine, kernel) in [("spr", "6.15"), ("spr", "7.3"), ("grace", "6.17"), ("grace", "7.3")] {
            let machine = Machine::by_name(machine).unwrap();
            let kernel = Kernel::by_name(kernel).unwrap();
            let system = System::software(machine, kernel).unwrap();
            let device = system.device(machine.devices[0].address);
            let wide = device.probe().unwrap();
            let wide = wide.value(profile::Capability::GuestAddressWidth);
            let wide = wide == Some(&profile::finding::Value::Number(57));
            let mut sva = device.negotiate(&GUEST_SVA).unwrap().unwrap();
            let mut bindings = Vec::new();
            for step in &steps {
                let done = match *step {
                    Step::Bind { width_57, address } => {
                        let Some(pasid) = sva.alloc_pasid() else { continue };
                        let width = if width_57 && wide { 57 } else { 48 };
                        sva.bind(pasid, GuestTable { address, width }).map(|it| bindings.push(it))
                    }
                    _ if bindings.is_empty() => continue,
                    Step::Invalidate { which, start, count } => {
                        let binding = &bindings[which % bindings.len()];
                        sva.invalidate(binding, Invalidation::Pages { start, count })
                    }
                    Step::Unbind { which } => {
                        let binding = bindings.swap_remove(which % bindings.len());
                        sva.unbind(binding).map(|pasid| sva.free_pasid(pasid))
                    }
                    Step::NextFault => {
                        prop_assert_eq!(sva.next_fault().unwrap(), []);
                        Ok(())
                    }
                };
                if let Err(failed) = done {
                    prop_assert!(!is_incompatible(&failed), "{failed}");
                    prop_assert!(false, "{failed}");
                }
            }
        }
    }
}
