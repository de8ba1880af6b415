//! Machines with one thing changed.

use profile::Machine;
use profile::machine::{Amd, ArmSmmuv3, Hardware, IntelVtd, Riscv};
use profile::registers::{Field, amd, riscv, smmuv3, vtd};

/// A machine, and what was changed of a shipped one.
pub struct Variation {
    pub name: String,
    pub machine: Machine,
}

/// Every shipped machine, as it is and with one thing changed.
pub fn variations() -> Vec<Variation> {
    let mut all = Vec::new();
    for machine in Machine::all() {
        let mut add = |change: &str, machine: Machine| {
            all.push(Variation { name: format!("{} {change}", machine.name), machine });
        };
        add("as it is", machine.clone());
        for (change, machine) in iommu_changes(machine).into_iter().chain(device_changes(machine)) {
            add(&change, machine);
        }
    }
    all
}

/// The fields of a register set to 0, one after the other, and the switches the other way.
pub fn iommu_changes(machine: &Machine) -> Vec<(String, Machine)> {
    let Some(iommu) = machine.iommus.first() else { return Vec::new() };
    let mut changes = Vec::new();
    let mut with = |change: String, hardware: Hardware| {
        let mut changed = machine.clone();
        changed.iommus[0].hardware = hardware;
        changes.push((change, changed));
    };
    match iommu.hardware.clone() {
        Hardware::IntelVtd(unit) => {
            for field in vtd::ALL {
                let mut unit = unit.clone();
                match field.register() {
                    "CAP" => clear(&mut unit.cap, *field),
                    _ => clear(&mut unit.ecap, *field),
                }
                with(format!("without {}", field.name), Hardware::IntelVtd(unit));
            }
            let unit = IntelVtd { scalable_mode: false, ..unit };
            with("without scalable mode".to_owned(), Hardware::IntelVtd(unit));
        }
        Hardware::ArmSmmuv3(unit) => {
            for field in smmuv3::ALL {
                let mut unit = unit.clone();
                let idr = &mut unit.idr[smmuv3::index(*field)];
                let mut word = u64::from(*idr);
                clear(&mut word, *field);
                *idr = word as u32;
                with(format!("without {}", field.name), Hardware::ArmSmmuv3(unit));
            }
            smmuv3_switches(&unit).into_iter().for_each(|(change, unit)| {
                with(change.to_owned(), Hardware::ArmSmmuv3(unit));
            });
        }
        Hardware::Amd(unit) => {
            for field in amd::ALL {
                let mut unit = unit.clone();
                match field.register() {
                    "EFR" => clear(&mut unit.efr, *field),
                    _ => clear(&mut unit.efr2, *field),
                }
                with(format!("without {}", field.name), Hardware::Amd(unit));
            }
            let la57 = Amd { cpu_la57: false, ..unit.clone() };
            with("without LA57".to_owned(), Hardware::Amd(la57));
            with("with iommufd".to_owned(), Hardware::Amd(Amd { iommufd: true, ..unit }));
        }
        Hardware::Riscv(unit) => {
            for field in riscv::ALL {
                let mut capabilities = unit.capabilities;
                clear(&mut capabilities, *field);
                let unit = Riscv { capabilities };
                with(format!("without {}", field.name), Hardware::Riscv(unit));
            }
        }
    }
    let mut open = machine.clone();
    open.iommus[0].interrupt_remapping = false;
    changes.push(("without interrupt remapping".to_owned(), open));
    changes
}

fn smmuv3_switches(unit: &ArmSmmuv3) -> Vec<(&'static str, ArmSmmuv3)> {
    let idr = |number: usize, set: u32| {
        let mut unit = unit.clone();
        unit.idr[number] |= set;
        unit
    };
    let without_canwbs = ArmSmmuv3 { canwbs: false, ..unit.clone() };
    let forced = ArmSmmuv3 { canwbs: false, ..idr(3, 1 << smmuv3::FWB.low) };
    vec![
        ("not coherent", ArmSmmuv3 { coherent: false, ..unit.clone() }),
        ("without CANWBS", without_canwbs),
        ("with FWB instead of CANWBS", forced),
        ("without ATS of the root complex", ArmSmmuv3 { root_complex_ats: false, ..unit.clone() }),
        ("with HTTU 2", idr(0, 2 << smmuv3::HTTU.low)),
        ("with HTTU 3", idr(0, 3 << smmuv3::HTTU.low)),
        ("without stall", idr(0, 1 << smmuv3::STALL_MODEL.low)),
        ("with forced stall", idr(0, 2 << smmuv3::STALL_MODEL.low)),
        ("as an MMU-700 r1p1", ArmSmmuv3 { iidr: 0x4871_143b, ..unit.clone() }),
        ("as an MMU-700 r0p0", ArmSmmuv3 { iidr: 0x4870_043b, ..unit.clone() }),
    ]
}

fn clear(register: &mut u64, field: Field) {
    *register &= !((u64::MAX >> (63 - (field.high - field.low))) << field.low);
}

/// The capabilities of the device the other way, one after the other.
fn device_changes(machine: &Machine) -> Vec<(String, Machine)> {
    let mut changes = Vec::new();
    let mut with = |change: &str, act: fn(&mut profile::machine::Device)| {
        let mut changed = machine.clone();
        if let Some(device) = changed.devices.first_mut() {
            act(device);
            changes.push((change.to_owned(), changed));
        }
    };
    with("with a device that has ATS the other way", |device| device.ats = !device.ats);
    with("with a device that has PRI the other way", |device| device.pri = !device.pri);
    with("with a device without PASIDs", |device| device.pasid = None);
    with("with a device of one PASID bit", |device| {
        device.pasid = device.pasid.map(|it| profile::machine::PasidCapability { width: 1, ..it });
    });
    with("with a virtual function", |device| device.virtual_function = true);
    with("with a device that is not known to stall", |device| device.device = 0xffff);
    changes
}
