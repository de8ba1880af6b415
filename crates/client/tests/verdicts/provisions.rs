//! What `profiles/capabilities.toml` says that a capability takes is what it takes.

use client::{System, probe};
use profile::capability::DeviceNeed;
use profile::machine::{Amd, ArmSmmuv3, Hardware, Vendor};
use profile::registers::smmuv3;
use profile::{Capability, Finding, Kernel, Machine};

/// The best machine of a vendor: everything that its driver can use is there and on.
fn best(vendor: Vendor) -> Machine {
    let name = match vendor {
        Vendor::IntelVtd => "spr",
        Vendor::ArmSmmuv3 => "grace",
        Vendor::Amd => "genoa",
        Vendor::Riscv => "riscv",
    };
    let mut machine = Machine::by_name(name).unwrap().clone();
    machine.iommus[0].hardware = match machine.iommus[0].hardware.clone() {
        Hardware::ArmSmmuv3(unit) => {
            let mut idr = unit.idr;
            idr[0] |= 2 << smmuv3::HTTU.low;
            Hardware::ArmSmmuv3(ArmSmmuv3 { idr, ..unit })
        }
        Hardware::Amd(unit) => Hardware::Amd(Amd { iommufd: true, ..unit }),
        other => other,
    };
    let device = &mut machine.devices[0];
    (device.ats, device.pri) = (true, true);
    let pasid = profile::machine::PasidCapability { width: 16, execute: true, privileged: true };
    device.pasid = Some(pasid);
    machine
}

fn has(machine: &Machine, kernel: &'static Kernel, capability: Capability) -> bool {
    let profile = probe(&System::software(machine, kernel).unwrap(), None).unwrap();
    matches!(profile.get(capability), Finding::Present(_))
}

#[test]
fn the_first_kernel_of_each_capability() {
    let mut wrong = Vec::new();
    for vendor in Vendor::ALL {
        let machine = best(*vendor);
        for capability in Capability::ALL {
            let present = |kernel: &&'static Kernel| has(&machine, kernel, *capability);
            // the first from which on every kernel has it: a back-port does not count
            let lasting = Kernel::all().iter().rev().take_while(present).last();
            let found = lasting.map(Kernel::generation);
            let said = capability.provision(Some(*vendor)).map(|it| it.since);
            if found != said {
                wrong.push(format!(
                    "{vendor} {capability}: since {found:?}, the file says {said:?}"
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn each_part_is_needed() {
    let mut wrong = Vec::new();
    for vendor in Vendor::ALL {
        for capability in Capability::ALL {
            let Some(provision) = capability.provision(Some(*vendor)) else { continue };
            let mut without = |part: String, machine: Machine| {
                if has(&machine, Kernel::newest(), *capability) {
                    wrong.push(format!("{vendor} {capability} is there without {part}"));
                }
            };
            for field in &provision.fields {
                let mut machine = best(*vendor);
                clear(&mut machine, field.name);
                without(field.name.to_owned(), machine);
            }
            for need in &provision.device {
                let mut machine = best(*vendor);
                take(&mut machine, *need);
                without(need.says().to_owned(), machine);
            }
            for setting in &provision.settings {
                let mut machine = best(*vendor);
                switch_off(&mut machine, &setting.name);
                without(setting.name.clone(), machine);
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Sets a field of a register to 0.
fn clear(machine: &mut Machine, name: &str) {
    let variations = super::machines::iommu_changes(machine);
    let wanted = format!("without {name}");
    let found = variations.into_iter().find(|(change, _)| *change == wanted);
    *machine = found.expect("a field of the machine's registers").1;
}

fn take(machine: &mut Machine, need: DeviceNeed) {
    let device = &mut machine.devices[0];
    match need {
        DeviceNeed::Ats => device.ats = false,
        DeviceNeed::Pri => device.pri = false,
        DeviceNeed::Pasid => device.pasid = None,
        DeviceNeed::PasidExecute => device.pasid.as_mut().unwrap().execute = false,
        DeviceNeed::PasidPrivileged => device.pasid.as_mut().unwrap().privileged = false,
        DeviceNeed::Stall => device.device = 0xffff,
    }
}

fn switch_off(machine: &mut Machine, setting: &str) {
    if setting == "vfio_device_cdev" {
        machine.vfio_device_cdev = false;
        return;
    }
    let iommu = &mut machine.iommus[0];
    match (setting, &mut iommu.hardware) {
        ("interrupt_remapping", _) => iommu.interrupt_remapping = false,
        ("scalable_mode", Hardware::IntelVtd(unit)) => unit.scalable_mode = false,
        ("canwbs", Hardware::ArmSmmuv3(unit)) => unit.canwbs = false,
        ("root_complex_ats", Hardware::ArmSmmuv3(unit)) => unit.root_complex_ats = false,
        ("iommufd", Hardware::Amd(unit)) => unit.iommufd = false,
        _ => panic!("{setting} is no switch of this machine"),
    }
}
