//! Machines with something changed.

use profile::Machine;
use profile::machine::{Amd, ArmSmmuv3, Hardware, IntelVtd};
use profile::registers::{Field, amd, riscv, smmuv3, vtd};

/// A machine, and what was changed of a shipped one.
pub struct Variation {
    pub name: String,
    pub machine: Machine,
}

/// Every shipped machine, as it is and with one thing changed.
pub fn variations() -> Vec<Variation> {
    each_machine(|machine| {
        let mut changes = vec![("as it is".to_owned(), machine.clone())];
        changes.extend(iommu_changes(machine));
        changes.extend(device_changes(machine));
        let mut nodeless = machine.clone();
        nodeless.vfio_device_cdev = false;
        changes.push(("without device nodes of VFIO".to_owned(), nodeless));
        changes
    })
}

/// The fields by which a driver gives a unit up.
const DECIDING: &[Field] = &[
    vtd::SAGAW,
    vtd::MGAW,
    smmuv3::S1P,
    smmuv3::TTF,
    smmuv3::TTENDIAN,
    smmuv3::CMDQS,
    smmuv3::REL,
    smmuv3::QUEUES_PRESET,
    smmuv3::TABLES_PRESET,
];

/// Every shipped machine with registers as no hardware has them: all bits set, or those of one field.
pub fn extremes() -> Vec<Variation> {
    each_machine(|machine| {
        let Some(iommu) = machine.iommus.first() else { return Vec::new() };
        let unit = &iommu.hardware;
        let mut changes = vec![
            ("with every bit set".to_owned(), with_registers(unit, |_, word| *word = u64::MAX)),
            (
                "with every bit set, and driven".to_owned(),
                with_registers(unit, |register, word| {
                    *word |= !deciding(unit, register);
                }),
            ),
        ];
        for field in fields(unit) {
            let only = with_registers(unit, |register, word| {
                *word &= deciding(unit, register);
                *word |= if register == field.register() { mask(*field) } else { 0 };
            });
            changes.push((format!("with nothing but {}", field.name), only));
        }
        let with = |(change, unit)| (change, with_hardware(machine, unit));
        changes.into_iter().map(with).collect()
    })
}

/// The bits of a register that decide whether a unit is driven at all.
fn deciding(unit: &Hardware, register: &str) -> u64 {
    let decides = |field: &&Field| DECIDING.contains(field) && field.register() == register;
    fields(unit).iter().filter(decides).fold(0, |bits, field| bits | mask(*field))
}

fn each_machine(change: impl Fn(&Machine) -> Vec<(String, Machine)>) -> Vec<Variation> {
    let mut all = Vec::new();
    for machine in Machine::all() {
        for (change, changed) in change(machine) {
            all.push(Variation { name: format!("{} {change}", machine.name), machine: changed });
        }
    }
    all
}

/// The fields of a register set to 0, one after the other, and the switches the other way.
pub fn iommu_changes(machine: &Machine) -> Vec<(String, Machine)> {
    let Some(iommu) = machine.iommus.first() else { return Vec::new() };
    let mut changes = Vec::new();
    let mut with = |change: &str, hardware: Hardware| {
        changes.push((change.to_owned(), with_hardware(machine, hardware)));
    };
    for field in fields(&iommu.hardware) {
        let unit = with_registers(&iommu.hardware, |register, word| {
            *word &= if register == field.register() { !mask(*field) } else { u64::MAX };
        });
        with(&format!("without {}", field.name), unit);
    }
    match iommu.hardware.clone() {
        Hardware::IntelVtd(unit) => {
            let unit = IntelVtd { scalable_mode: false, ..unit };
            with("without scalable mode", Hardware::IntelVtd(unit));
        }
        Hardware::ArmSmmuv3(unit) => {
            smmuv3_switches(&unit).into_iter().for_each(|(change, unit)| {
                with(change, Hardware::ArmSmmuv3(unit));
            });
        }
        Hardware::Amd(unit) => {
            with("without LA57", Hardware::Amd(Amd { cpu_la57: false, ..unit.clone() }));
            with("with iommufd", Hardware::Amd(Amd { iommufd: true, ..unit }));
        }
        Hardware::Riscv(_) => {}
    }
    let mut open = machine.clone();
    open.iommus[0].interrupt_remapping = false;
    changes.push(("without interrupt remapping".to_owned(), open));
    changes
}

fn with_hardware(machine: &Machine, hardware: Hardware) -> Machine {
    let mut changed = machine.clone();
    changed.iommus[0].hardware = hardware;
    changed
}

/// A unit with other values of its registers, of which `change` is told the names.
fn with_registers(hardware: &Hardware, change: impl Fn(&str, &mut u64)) -> Hardware {
    let mut hardware = hardware.clone();
    match &mut hardware {
        Hardware::IntelVtd(unit) => {
            change("CAP", &mut unit.cap);
            change("ECAP", &mut unit.ecap);
        }
        Hardware::ArmSmmuv3(unit) => {
            for (number, idr) in unit.idr.iter_mut().enumerate() {
                let mut word = u64::from(*idr);
                change(&format!("IDR{number}"), &mut word);
                *idr = word as u32;
            }
        }
        Hardware::Amd(unit) => {
            change("EFR", &mut unit.efr);
            change("EFR2", &mut unit.efr2);
        }
        Hardware::Riscv(unit) => change("capabilities", &mut unit.capabilities),
    }
    hardware
}

fn fields(hardware: &Hardware) -> &'static [Field] {
    match hardware {
        Hardware::IntelVtd(_) => vtd::ALL,
        Hardware::ArmSmmuv3(_) => smmuv3::ALL,
        Hardware::Amd(_) => amd::ALL,
        Hardware::Riscv(_) => riscv::ALL,
    }
}

fn mask(field: Field) -> u64 {
    (u64::MAX >> (63 - (field.high - field.low))) << field.low
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
