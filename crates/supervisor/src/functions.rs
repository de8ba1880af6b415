//! The software devices of a run: where they are in the machine, and what makes them.

use std::sync::Arc;

use devices::catalogue::{BadDevice, Entry, Recipe, Wanted};
use engine::Engine;
use profile::machine::{Bdf, Device, Express};
use profile::{Kernel, Machine};
use thiserror::Error;

use crate::Trouble;

/// A device cannot be in a machine.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NoPlace {
    /// There is no such device.
    #[error(transparent)]
    Bad(#[from] BadDevice),
    /// The machine file names a device that is none.
    #[error("machine {machine}, {address}: {reason}")]
    InMachine {
        /// The machine.
        machine: String,
        /// The PCI function.
        address: Bdf,
        /// What is wrong.
        reason: BadDevice,
    },
    /// Without an IOMMU, VFIO has no devices.
    #[error("machine {machine} has no IOMMU, and so no place for a device; take another machine")]
    NoIommu {
        /// The machine.
        machine: String,
    },
    /// Every function of a bus is taken.
    #[error("machine {machine} has no free address on bus {bus:02x} for another device")]
    Full {
        /// The machine.
        machine: String,
        /// The bus.
        bus: u8,
    },
}

/// Puts devices into a machine in place of those that it has: the first has the place of its first, and
/// so on, and what that place can do; others follow on the same bus, each in a group of its own.
pub fn place(machine: &mut Machine, wanted: &[String]) -> Result<(), NoPlace> {
    let mut devices: Vec<Device> = Vec::new();
    let places: Vec<_> = machine.devices.iter().filter(|device| device.iommu.is_some()).collect();
    for (number, text) in wanted.iter().enumerate() {
        let Entry { identity, shares_memory, .. } = Wanted::parse(text)?.entry;
        let place = match places.get(number) {
            Some(place) => (*place).clone(),
            None => next_place(machine, devices.last())?,
        };
        devices.push(Device {
            vendor: identity.vendor,
            device: identity.device,
            revision: identity.revision,
            class: identity.class,
            subsystem: identity.subsystem,
            ats: place.ats && *shares_memory,
            pri: place.pri && *shares_memory,
            pasid: place.pasid.filter(|_| *shares_memory),
            model: text.clone(),
            ..place
        });
    }
    if !devices.is_empty() {
        machine.devices = devices;
    }
    Ok(())
}

/// The place of the next device: as the one before, or behind the first IOMMU.
fn next_place(machine: &Machine, before: Option<&Device>) -> Result<Device, NoPlace> {
    let Some(before) = before else {
        if machine.iommus.is_empty() {
            return Err(NoPlace::NoIommu { machine: machine.name.clone() });
        }
        return Ok(first_place());
    };
    let bus = before.address.bus;
    let device = before.address.device + 1;
    if device > 31 {
        return Err(NoPlace::Full { machine: machine.name.clone(), bus });
    }
    let address = Bdf { device, function: 0, ..before.address };
    Ok(Device { address, group: before.group + 1, ..before.clone() })
}

/// Where the first device of a machine is that has none.
fn first_place() -> Device {
    Device {
        address: Bdf { segment: 0, bus: 0, device: 4, function: 0 },
        iommu: Some(0),
        vendor: 0,
        device: 0,
        revision: 0,
        class: 0,
        subsystem: (0, 0),
        express: Some(Express::Integrated),
        total_vfs: 0,
        group: 0,
        ats: false,
        pri: false,
        pasid: None,
        virtual_function: false,
        model: String::new(),
    }
}

/// A machine with the devices of its file, in this process, for who is client and machine in one.
pub fn equipped(machine: &Machine, kernel: &'static Kernel) -> Result<Arc<Engine>, Trouble> {
    let engine = Engine::new(machine, kernel);
    let recipes = recipes(machine, &engine)?;
    plug(&engine, recipes)?;
    Ok(engine)
}

/// How the device of each VFIO function is made, by their numbers.
pub(crate) fn recipes(machine: &Machine, engine: &Engine) -> Result<Vec<Recipe>, NoPlace> {
    let functions = (0..).map_while(|number| engine.function(number));
    let recipe = |device: &Device| {
        Wanted::parse(&device.model).map(|wanted| wanted.recipe).map_err(|reason| {
            let (machine, address) = (machine.name.clone(), device.address);
            NoPlace::InMachine { machine, address, reason }
        })
    };
    functions.map(recipe).collect()
}

/// Puts a device behind each VFIO function. Each has a thread, which must not see the signals that are
/// blocked before.
pub(crate) fn plug(engine: &Engine, recipes: Vec<Recipe>) -> Result<(), Trouble> {
    for (number, recipe) in recipes.into_iter().enumerate() {
        if let (Some(dma), Some(interrupts)) = (engine.dma(number), engine.interrupts(number)) {
            let model = recipe(dma, interrupts).map_err(|reason| {
                let model = engine.function(number).map(|it| it.model.clone());
                Trouble::NotMade { model: model.unwrap_or_default(), reason }
            })?;
            engine.plug(number, model);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where devices are, what they are, and whether they have PASIDs.
    fn placed(machine: &str, wanted: &[&str]) -> Result<Vec<String>, String> {
        let mut machine = Machine::by_name(machine).unwrap().clone();
        let wanted: Vec<_> = wanted.iter().map(|text| (*text).to_owned()).collect();
        place(&mut machine, &wanted).map_err(|trouble| trouble.to_string())?;
        let line = |it: &Device| {
            let Device { address, model, vendor, group, pasid, .. } = it;
            format!("{address} {vendor:04x} group {group} pasid {}: {model}", pasid.is_some())
        };
        Ok(machine.devices.iter().map(line).collect())
    }

    #[test]
    fn places() {
        type Row<'r> = (&'r str, &'r [&'r str], Result<&'r [&'r str], &'r str>);
        #[rustfmt::skip] // one machine, one line
        let cases: &[Row<'_>] = &[
            ("spr",  &[],                     Ok(&["0000:6a:01.0 8086 group 0 pasid true: dmatest"])),
            ("spr",  &["dmatest,latency=1us"], Ok(&["0000:6a:01.0 1234 group 0 pasid true: dmatest,latency=1us"])),
            ("spr",  &["dmatest", "dmatest"], Ok(&["0000:6a:01.0 1234 group 0 pasid true: dmatest", "0000:6a:02.0 1234 group 1 pasid true: dmatest"])),
            ("none", &["dmatest"],            Err("machine none has no IOMMU, and so no place for a device; take another machine")),
            ("spr",  &["dmatset"],            Err("unknown device \"dmatset\"; known: ")),
            ("spr",  &["dmatest"; 32],        Err("machine spr has no free address on bus 6a for another device")),
        ];
        for (machine, wanted, expected) in cases {
            match (placed(machine, wanted), expected) {
                (Ok(told), Ok(expected)) => assert_eq!(told, *expected),
                (Err(told), Err(expected)) => assert!(told.starts_with(expected), "{told}"),
                (told, _) => panic!("{machine} {wanted:?}: {told:?}"),
            }
        }
    }

    #[test]
    fn a_machine_file_with_a_device_that_is_none() {
        let mut machine = Machine::by_name("spr").unwrap().clone();
        machine.devices[0].model = "dmatset".to_owned();
        let engine = Engine::new(&machine, profile::Kernel::newest());
        let told = recipes(&machine, &engine).err().map(|trouble| trouble.to_string());
        let expected = "machine spr, 0000:6a:01.0: unknown device \"dmatset\"; known: ";
        assert!(told.is_some_and(|told| told.starts_with(expected)));
    }
}
