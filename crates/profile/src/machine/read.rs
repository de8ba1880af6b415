//! Reading the file of a machine. What no machine can be is refused here.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Amd, ArmSmmuv3, Bdf, Caching, Container, Device, Express, Hardware, IntelVtd, Iommu, Machine,
    PasidCapability, Riscv, Vendor,
};
use crate::text::{Result, Table, Value};

pub(super) fn read(file: &Table<'_, '_>) -> Result<Machine> {
    const PROFILE: &str = "this file is a profile, not a machine: check takes it with --profile";
    const REQUIREMENT: &str =
        "this file is a requirement, not a machine: check takes it as its first argument";
    file.refuse_others(&[("host", PROFILE), ("variant", REQUIREMENT)])?;
    let mut unsourced = Vec::new();
    let (mut names, mut places) = (BTreeSet::new(), BTreeSet::new());
    let iommus = file.each("iommu", |table| {
        let iommu = iommu(table)?;
        sources(table, &mut unsourced)?;
        if !names.insert(iommu.name.clone()) {
            return Err(table.need("name")?.bad("another IOMMU has this name"));
        }
        if place(&iommu.hardware).is_some_and(|place| !places.insert(place)) {
            return Err(table.need("address")?.bad("another IOMMU has this address"));
        }
        Ok(iommu)
    })?;
    let mut seen = BTreeSet::new();
    let devices = file.each("device", |table| {
        let (device, group) = device(table, &iommus)?;
        sources(table, &mut unsourced)?;
        if !seen.insert(device.address) {
            return Err(table.need("address")?.bad("another device has this address"));
        }
        if places.contains(&Place::Function(device.address)) {
            return Err(table.need("address")?.bad("an IOMMU is this function"));
        }
        Ok((device, group))
    })?;
    Ok(Machine {
        name: name(&file.need("name")?)?,
        summary: file.need("summary")?.string()?.to_owned(),
        test_command: flag(file, "test_command", false)?,
        vfio_device_cdev: flag(file, "vfio_device_cdev", true)?,
        vfio_container: container(file)?,
        unsafe_interrupts: flag(file, "unsafe_interrupts", false)?,
        caches: caches(file)?,
        iommus,
        devices: in_groups(devices)?,
        unsourced,
    })
}

fn caches(file: &Table<'_, '_>) -> Result<Caching> {
    let Some(value) = file.get("caches") else { return Ok(Caching::Hardware) };
    let known: Vec<_> = Caching::ALL.iter().map(|it| (it.name(), *it)).collect();
    value.one_of("way to cache", &known)
}

fn container(file: &Table<'_, '_>) -> Result<Container> {
    let Some(value) = file.get("vfio_container") else { return Ok(Container::Type1) };
    let known: Vec<_> = Container::ALL.iter().map(|it| (it.name(), *it)).collect();
    value.one_of("VFIO container", &known)
}

/// Where an IOMMU is, if its file says.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    Memory(u64),
    Function(Bdf),
}

fn place(hardware: &Hardware) -> Option<Place> {
    match hardware {
        Hardware::IntelVtd(IntelVtd { address, .. })
        | Hardware::ArmSmmuv3(ArmSmmuv3 { address, .. }) => Some(Place::Memory(*address)),
        Hardware::Amd(unit) => Some(Place::Function(unit.address)),
        Hardware::Riscv(_) => None,
    }
}

/// Puts devices without a group in one of their own, and sorts them. A group has one IOMMU.
fn in_groups(devices: Vec<(Device, Option<Value<'_, '_>>)>) -> Result<Vec<Device>> {
    let mut iommus = BTreeMap::new();
    for (device, group) in &devices {
        let Some(value) = group else { continue };
        let (other, iommu) = *iommus.entry(device.group).or_insert((device.address, device.iommu));
        if iommu != device.iommu {
            let rule = format!(
                "{other} of this group is not behind the same IOMMU; give this device another \
                 number, or leave `group` out"
            );
            return Err(value.bad(rule));
        }
    }
    let mut free = (0..).filter(|group| !iommus.contains_key(group));
    let mut devices: Vec<_> = devices
        .into_iter()
        .map(|(device, group)| match group {
            Some(_) => device,
            // there are more numbers than devices
            None => Device { group: free.next().unwrap_or(u32::MAX), ..device },
        })
        .collect();
    devices.sort_by_key(|device| device.address);
    Ok(devices)
}

/// A name that can be part of a path.
fn name(value: &Value<'_, '_>) -> Result<String> {
    const LONGEST: usize = 64;
    let name = value.string()?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:@".contains(c);
    if name.is_empty() || !name.chars().all(plain) || name.starts_with('.') {
        return Err(value.bad("must be of letters, digits, - _ . : @"));
    }
    if name.len() > LONGEST {
        return Err(value.bad(format!("must be at most {LONGEST} characters")));
    }
    Ok(name.to_owned())
}

/// What the kernel calls an IOMMU, where that is something else (`iommu_device_sysfs_add`).
fn other_name(name: &str, hardware: &Hardware) -> Option<String> {
    let counted = |prefix: &str| {
        let number = name.strip_prefix(prefix).and_then(|digits| digits.parse::<u16>().ok());
        number.is_some_and(|number| name == format!("{prefix}{number}"))
    };
    let (is_right, right) = match hardware {
        Hardware::IntelVtd(_) => (counted("dmar"), "dmar0, dmar1 and so on".to_owned()),
        Hardware::Amd(_) => (counted("ivhd"), "ivhd0, ivhd1 and so on".to_owned()),
        Hardware::ArmSmmuv3(unit) => {
            let right = format!("smmu3.{:#018x}", unit.address);
            (name == right, right)
        }
        Hardware::Riscv(_) => {
            let device = name.strip_prefix("riscv-iommu@").unwrap_or_default();
            let right = "riscv-iommu@ and its device, as riscv-iommu@0000:00:01.0".to_owned();
            (!device.is_empty(), right)
        }
    };
    (!is_right).then_some(right)
}

/// Reads the table `source` and notes what has none.
fn sources(table: &Table<'_, '_>, unsourced: &mut Vec<String>) -> Result<()> {
    let keys = || table.keys().filter(|key| *key != "source");
    let mut sourced = BTreeSet::new();
    if let Some(source) = table.get("source") {
        source.names(|key, value| {
            // a key that could be there has a source too; that it is misspelt is told elsewhere
            if !keys().any(|known| known == key) && !table.is_asked(key) {
                return Err(value.unknown_key(keys()));
            }
            value.string()?;
            sourced.insert(key.to_owned());
            Ok(())
        })?;
    }
    unsourced.extend(keys().filter(|key| !sourced.contains(*key)).map(|key| table.path_of(key)));
    Ok(())
}

fn iommu(table: &Table<'_, '_>) -> Result<Iommu> {
    let vendor = Vendor::read(&table.need("kind")?)?;
    let named = table.need("name")?;
    let name = name(&named)?;
    let hardware = match vendor {
        Vendor::IntelVtd => Hardware::IntelVtd(intel_vtd(table)?),
        Vendor::ArmSmmuv3 => Hardware::ArmSmmuv3(arm_smmuv3(table)?),
        Vendor::Amd => Hardware::Amd(amd(table)?),
        Vendor::Riscv => {
            Hardware::Riscv(Riscv { capabilities: table.need("capabilities")?.number()? })
        }
    };
    if let Some(right) = other_name(&name, &hardware) {
        return Err(named.bad(format!("the kernel calls it {right}")));
    }
    let interrupt_remapping = flag(table, "interrupt_remapping", true)?;
    Ok(Iommu { name, interrupt_remapping, hardware })
}

fn intel_vtd(table: &Table<'_, '_>) -> Result<IntelVtd> {
    let version = table.need("version")?;
    let parts = version.string()?.split_once('.');
    let parts = parts.and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
    Ok(IntelVtd {
        address: table.need("address")?.number()?,
        version: parts.ok_or_else(|| version.bad("must be as \"6.0\""))?,
        cap: table.need("cap")?.number()?,
        ecap: table.need("ecap")?.number()?,
        scalable_mode: flag(table, "scalable_mode", true)?,
    })
}

fn arm_smmuv3(table: &Table<'_, '_>) -> Result<ArmSmmuv3> {
    let register = |value: Value<'_, '_>| value.number_to(u32::MAX.into()).map(|word| word as u32);
    let idr = table.need("idr")?;
    let words = idr.items()?.into_iter().map(register).collect::<Result<Vec<_>>>()?;
    Ok(ArmSmmuv3 {
        address: table.need("address")?.number()?,
        idr: words.try_into().map_err(|_| idr.bad("must be six numbers, IDR0 to IDR5"))?,
        iidr: register(table.need("iidr")?)?,
        aidr: register(table.need("aidr")?)?,
        coherent: flag(table, "coherent", true)?,
        canwbs: flag(table, "canwbs", false)?,
        root_complex_ats: flag(table, "root_complex_ats", false)?,
    })
}

fn amd(table: &Table<'_, '_>) -> Result<Amd> {
    let va_bits = table.get("va_bits").map_or(Ok(64), |bits| {
        let number = bits.number_to(64)?;
        if number >= 32 { Ok(number as u32) } else { Err(bits.bad("must be 32..=64")) }
    })?;
    Ok(Amd {
        address: bdf(&table.need("address")?)?,
        efr: table.need("efr")?.number()?,
        efr2: table.need("efr2")?.number()?,
        va_bits,
        cpu_la57: flag(table, "cpu_la57", true)?,
        iommufd: flag(table, "iommufd", false)?,
    })
}

/// A device, and the value of its group, if the file says one; else its group is 0 for now.
fn device<'d, 't>(
    table: &Table<'d, 't>,
    iommus: &[Iommu],
) -> Result<(Device, Option<Value<'d, 't>>)> {
    let number =
        |key: &'static str, last: u64| table.get(key).map_or(Ok(0), |value| value.number_to(last));
    let iommu = match table.get("iommu") {
        None => None,
        Some(value) => {
            let name = value.string()?;
            let known = || iommus.iter().map(|iommu| iommu.name.as_str());
            let found = iommus.iter().position(|iommu| iommu.name == name);
            Some(found.ok_or_else(|| value.unknown_name("IOMMU in this file", known()))?)
        }
    };
    let named = table.get("group");
    let group = named.as_ref().map_or(Ok(0), |value| value.number_to(u32::MAX.into()))? as u32;
    let (ats, pri) = (flag(table, "ats", false)?, flag(table, "pri", false)?);
    if pri && !ats {
        return Err(table.need("pri")?.bad("page requests need ATS: ats = true"));
    }
    let device = Device {
        address: bdf(&table.need("address")?)?,
        iommu,
        vendor: table.need("vendor")?.number_to(0xffff)? as u16,
        device: table.need("device")?.number_to(0xffff)? as u16,
        revision: number("revision", 0xff)? as u8,
        class: number("class", 0xff_ffff)? as u32,
        subsystem: (
            number("subsystem_vendor", 0xffff)? as u16,
            number("subsystem_device", 0xffff)? as u16,
        ),
        express: express(table)?,
        total_vfs: number("total_vfs", 0xffff)? as u16,
        group,
        ats,
        pri,
        pasid: table.get("pasid").map(|value| value.table(pasid)).transpose()?,
        virtual_function: flag(table, "virtual_function", false)?,
        model: table.get("model").map_or(Ok("dmatest"), |value| value.string())?.to_owned(),
    };
    Ok((device, named))
}

/// What a device is on PCI Express: an endpoint, where its file does not say.
fn express(table: &Table<'_, '_>) -> Result<Option<Express>> {
    let Some(value) = table.get("express") else { return Ok(Some(Express::Endpoint)) };
    let named = Express::ALL.iter().map(|it| (it.name(), Some(*it)));
    let known: Vec<_> = named.chain([("none", None)]).collect();
    value.one_of("kind of PCI Express function", &known)
}

fn pasid(table: &Table<'_, '_>) -> Result<PasidCapability> {
    Ok(PasidCapability {
        // of zero bits: PASID 0 alone
        width: table.need("width")?.number_to(20)? as u8,
        execute: flag(table, "execute", false)?,
        privileged: flag(table, "privileged", false)?,
    })
}

fn bdf(value: &Value<'_, '_>) -> Result<Bdf> {
    value.string()?.parse().map_err(|bad| value.bad(bad))
}

fn flag(table: &Table<'_, '_>, key: &'static str, default: bool) -> Result<bool> {
    table.get(key).map_or(Ok(default), |value| value.flag())
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "name = \"m\"\nsummary = \"s\"\n";
    const DEVICE: &str = "[[device]]\nvendor = 1\ndevice = 1\n";

    #[test]
    fn wrong_files_are_named() {
        const VTD: &str = "[[iommu]]\nname = \"dmar0\"\nkind = \"intel-vtd\"\naddress = 0\nversion = \"1.0\"\ncap = 0\necap = 0\n";
        const SECOND: &str = "[[iommu]]\nname = \"dmar1\"\nkind = \"intel-vtd\"\nversion = \"1.0\"\ncap = 0\necap = 0\n";
        const AMD: &str = "[[iommu]]\nkind = \"amd\"\naddress = \"0:0.2\"\nefr = 0\nefr2 = 0\n";
        const SMMU: &str =
            "[[iommu]]\nkind = \"arm-smmuv3\"\nidr = [0, 0, 0, 0, 0, 0]\niidr = 0\naidr = 0\n";
        #[rustfmt::skip] // one file, one line
        let cases: &[(&[&str], &str)] = &[
            (&["name = \"m\""],                                            "m.toml:1: `summary` is missing"),
            (&["[host]\nname = \"h\""],                                  "m.toml:1: `host` is a table: this file is a profile, not a machine: check takes it with --profile"),
            (&[HEAD, "[[variant]]\nname = \"v\""],                        "m.toml:3: `variant` is an array: this file is a requirement, not a machine: check takes it as its first argument"),
            (&[HEAD, "[[iommu]]\nname = \"d\"\nkind = \"intel-vt\""],      "m.toml:5: `iommu[0].kind` is \"intel-vt\": no such kind of IOMMU; did you mean \"intel-vtd\"?"),
            (&[HEAD, "[[iommu]]\nname = \"a b/c\"\nkind = \"riscv\""],     "m.toml:4: `iommu[0].name` is \"a b/c\": must be of letters, digits, - _ . : @"),
            (&[HEAD, "[iommu]\nname = \"d\""],                            "m.toml:3: `iommu` is a table: must be an array: write [[iommu]]"),
            (&[HEAD, VTD, VTD],                                            "m.toml:11: `iommu[1].name` is \"dmar0\": another IOMMU has this name"),
            (&[HEAD, VTD, "scalable_mod = true\n[iommu.source]\nscalable_mode = \"x\""], "m.toml:10: unknown key `iommu[0].scalable_mod`; did you mean `scalable_mode`?"),
            (&[HEAD, "[[iommu]]\nname = \"d\"\nkind = \"intel-vtd\"\naddress = 0\nversion = \"1.0\"\necap = 0"], "m.toml:3: `iommu[0].cap` is missing"),
            (&[HEAD, "[[device]]\naddress = \"0:0.0\"\nvendor = 1\ndevice = 1\npri = true"], "m.toml:7: `device[0].pri` is true: page requests need ATS: ats = true"),
            (&[HEAD, VTD, "eccap = 1"],                                    "m.toml:10: unknown key `iommu[0].eccap`; did you mean `ecap`?"),
            (&[HEAD, VTD, "[iommu.source]\necapp = \"x\""],                  "m.toml:11: unknown key `iommu[0].source.ecapp`; did you mean `ecap`?"),
            (&[HEAD, VTD, "[[device]]\naddress = \"0:0\"\niommu = \"dmar0\""], "m.toml:11: `device[0].address` is \"0:0\": \"0:0\" is no PCI address; write it as 0000:6a:01.0"),
            (&[HEAD, VTD, "[[device]]\niommu = \"dmar1\""],                "m.toml:11: `device[0].iommu` is \"dmar1\": no such IOMMU in this file; did you mean \"dmar0\"?"),
            (&[HEAD, "[[device]]\naddress = \"0:0.0\"\nvendor = 1\ndevice = 1\npasid = { width = 21 }"], "m.toml:7: `device[0].pasid.width` is 21: must be at most 20"),
            (&[HEAD, "[[device]]\naddress = \"0:0.0\"\nvendor = 1\ndevice = 1\n[[device]]\naddress = \"0:0.0\"\nvendor = 1\ndevice = 1"], "m.toml:8: `device[1].address` is \"0:0.0\": another device has this address"),
            (&[HEAD, VTD, SECOND, "address = 0"],                          "m.toml:16: `iommu[1].address` is 0: another IOMMU has this address"),
            (&[HEAD, VTD, SECOND, "address = 1\n", DEVICE, "address = \"1:0.0\"\niommu = \"dmar0\"\ngroup = 5\n", DEVICE, "address = \"1:0.1\"\ngroup = 5\niommu = \"dmar1\""], "m.toml:27: `device[1].group` is 5: 0000:01:00.0 of this group is not behind the same IOMMU; give this device another number, or leave `group` out"),
            (&[HEAD, AMD, "name = \"ivhd0\"\n", DEVICE, "address = \"0:0.2\""], "m.toml:12: `device[0].address` is \"0:0.2\": an IOMMU is this function"),
            (&[HEAD, AMD, "name = \"amd\"\n"],                           "m.toml:8: `iommu[0].name` is \"amd\": the kernel calls it ivhd0, ivhd1 and so on"),
            (&[HEAD, AMD, "name = \"ivhd00\"\n"],                        "m.toml:8: `iommu[0].name` is \"ivhd00\": the kernel calls it ivhd0, ivhd1 and so on"),
            (&[HEAD, "[[iommu]]\nname = \"dmar\"\nkind = \"intel-vtd\"\naddress = 0\nversion = \"1.0\"\ncap = 0\necap = 0\n"], "m.toml:4: `iommu[0].name` is \"dmar\": the kernel calls it dmar0, dmar1 and so on"),
            (&[HEAD, SMMU, "address = 0x12000000\nname = \"smmu3.0\""],   "m.toml:9: `iommu[0].name` is \"smmu3.0\": the kernel calls it smmu3.0x0000000012000000"),
            (&[HEAD, "[[iommu]]\nname = \"riscv-iommu@\"\nkind = \"riscv\"\ncapabilities = 0"], "m.toml:4: `iommu[0].name` is \"riscv-iommu@\": the kernel calls it riscv-iommu@ and its device, as riscv-iommu@0000:00:01.0"),
            (&["summary = \"s\"\nname = \"m1234567890123456789012345678901234567890123456789012345678901234\""], "m.toml:2: `name` is \"m1234567890123456789012345678901234567890123456789012345678901234\": must be at most 64 characters"),
        ];
        for (text, expected) in cases {
            let read = Machine::parse("m.toml", &text.concat());
            assert_eq!(read.map_err(|bad| bad.to_string()), Err((*expected).to_owned()));
        }
    }

    #[test]
    fn names_as_the_kernel_gives_them() {
        #[rustfmt::skip] // one IOMMU, one line
        let cases = [
            "name = \"dmar1023\"\nkind = \"intel-vtd\"\naddress = 0\nversion = \"1.0\"\ncap = 0\necap = 0",
            "name = \"ivhd10\"\nkind = \"amd\"\naddress = \"0:0.2\"\nefr = 0\nefr2 = 0",
            "name = \"smmu3.0x00000fff12000000\"\nkind = \"arm-smmuv3\"\naddress = 0xfff12000000\nidr = [0, 0, 0, 0, 0, 0]\niidr = 0\naidr = 0",
            "name = \"riscv-iommu@10000000.iommu\"\nkind = \"riscv\"\ncapabilities = 0",
        ];
        for text in cases {
            let read = Machine::parse("m.toml", &format!("{HEAD}[[iommu]]\n{text}"));
            assert!(read.is_ok(), "{read:?}");
        }
    }

    #[test]
    fn a_device_without_a_group_has_one_of_its_own() {
        #[rustfmt::skip] // the groups that the file says, and those that the devices are in
        let cases: &[(&[Option<u32>], &[u32])] = &[
            (&[None, None],                   &[0, 1]),
            (&[None, Some(0)],                &[1, 0]),
            (&[Some(1), None, None, Some(3)], &[1, 0, 2, 3]),
            (&[Some(7), None, Some(7)],       &[7, 0, 7]),
            (&[None, Some(u32::MAX)],         &[0, u32::MAX]),
        ];
        for (said, expected) in cases {
            let devices = said.iter().enumerate().map(|(number, group)| {
                let group = group.map_or(String::new(), |group| format!("group = {group}\n"));
                format!("{DEVICE}address = \"1:{number}.0\"\n{group}")
            });
            let text = format!("{HEAD}{}", devices.collect::<String>());
            let machine = Machine::parse("m.toml", &text).unwrap();
            let groups: Vec<_> = machine.devices.iter().map(|device| device.group).collect();
            assert_eq!(groups, *expected, "{said:?}");
        }
    }
}
