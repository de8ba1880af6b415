//! Reading the file of a machine. What no machine can be is refused here.

use std::collections::BTreeSet;

use super::{
    Amd, ArmSmmuv3, Bdf, Device, Hardware, IntelVtd, Iommu, Machine, PasidCapability, Riscv, Vendor,
};
use crate::text::{Result, Table, Value};

pub(super) fn read(file: &Table<'_, '_>) -> Result<Machine> {
    let mut unsourced = Vec::new();
    let iommus = file.each("iommu", |table| {
        let iommu = iommu(table)?;
        sources(table, &mut unsourced)?;
        Ok(iommu)
    })?;
    let mut names = BTreeSet::new();
    if let Some(twice) = iommus.iter().find(|iommu| !names.insert(iommu.name.as_str())) {
        return Err(file.need("iommu")?.bad(format!("two are called \"{}\"", twice.name)));
    }
    let mut groups = 0..;
    let mut seen = BTreeSet::new();
    let mut devices = file.each("device", |table| {
        let device = device(table, &iommus, &mut groups)?;
        sources(table, &mut unsourced)?;
        if !seen.insert(device.address) {
            return Err(table.need("address")?.bad("another device has this address"));
        }
        Ok(device)
    })?;
    devices.sort_by_key(|device| device.address);
    Ok(Machine {
        name: name(&file.need("name")?)?,
        summary: file.need("summary")?.string()?.to_owned(),
        test_command: flag(file, "test_command", false)?,
        iommus,
        devices,
        unsourced,
    })
}

/// A name that can be part of a path.
fn name(value: &Value<'_, '_>) -> Result<String> {
    let name = value.string()?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.:@".contains(c);
    if name.is_empty() || !name.chars().all(plain) || name.starts_with('.') {
        return Err(value.bad("must be of letters, digits, - _ . : @"));
    }
    Ok(name.to_owned())
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
    Ok(Iommu {
        name: name(&table.need("name")?)?,
        interrupt_remapping: flag(table, "interrupt_remapping", true)?,
        hardware: match vendor {
            Vendor::IntelVtd => Hardware::IntelVtd(intel_vtd(table)?),
            Vendor::ArmSmmuv3 => Hardware::ArmSmmuv3(arm_smmuv3(table)?),
            Vendor::Amd => Hardware::Amd(amd(table)?),
            Vendor::Riscv => {
                Hardware::Riscv(Riscv { capabilities: table.need("capabilities")?.number()? })
            }
        },
    })
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

fn device(
    table: &Table<'_, '_>,
    iommus: &[Iommu],
    groups: &mut impl Iterator<Item = u32>,
) -> Result<Device> {
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
    let group = match table.get("group") {
        Some(value) => value.number_to(u32::MAX.into())? as u32,
        // as many as there are devices
        None => groups.next().unwrap_or(u32::MAX),
    };
    let (ats, pri) = (flag(table, "ats", false)?, flag(table, "pri", false)?);
    if pri && !ats {
        return Err(table.need("pri")?.bad("page requests need ATS: ats = true"));
    }
    Ok(Device {
        address: bdf(&table.need("address")?)?,
        iommu,
        vendor: table.need("vendor")?.number_to(0xffff)? as u16,
        device: table.need("device")?.number_to(0xffff)? as u16,
        revision: number("revision", 0xff)? as u8,
        class: number("class", 0xff_ffff)? as u32,
        group,
        ats,
        pri,
        pasid: table.get("pasid").map(|value| value.table(pasid)).transpose()?,
        virtual_function: flag(table, "virtual_function", false)?,
    })
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

    #[test]
    fn wrong_files_are_named() {
        const HEAD: &str = "name = \"m\"\nsummary = \"s\"\n";
        const VTD: &str = "[[iommu]]\nname = \"d\"\nkind = \"intel-vtd\"\naddress = 0\nversion = \"1.0\"\ncap = 0\necap = 0\n";
        #[rustfmt::skip] // one file, one line
        let cases: &[(&[&str], &str)] = &[
            (&["name = \"m\""],                                            "m.toml:1: `summary` is missing"),
            (&[HEAD, "[[iommu]]\nname = \"d\"\nkind = \"intel-vt\""],      "m.toml:5: `iommu[0].kind` is \"intel-vt\": no such kind of IOMMU; did you mean \"intel-vtd\"?"),
            (&[HEAD, "[[iommu]]\nname = \"a b/c\"\nkind = \"riscv\""],     "m.toml:4: `iommu[0].name` is \"a b/c\": must be of letters, digits, - _ . : @"),
            (&[HEAD, "[iommu]\nname = \"d\""],                            "m.toml:3: `iommu` is a table: must be an array: write [[iommu]]"),
            (&[HEAD, VTD, VTD],                                            "m.toml:3: `iommu` is an array: two are called \"d\""),
            (&[HEAD, VTD, "scalable_mod = true\n[iommu.source]\nscalable_mode = \"x\""], "m.toml:10: unknown key `iommu[0].scalable_mod`; did you mean `scalable_mode`?"),
            (&[HEAD, "[[iommu]]\nname = \"d\"\nkind = \"intel-vtd\"\naddress = 0\nversion = \"1.0\"\necap = 0"], "m.toml:3: `iommu[0].cap` is missing"),
            (&[HEAD, "[[device]]\naddress = \"0:0.0\"\nvendor = 1\ndevice = 1\npri = true"], "m.toml:7: `device[0].pri` is true: page requests need ATS: ats = true"),
            (&[HEAD, VTD, "eccap = 1"],                                    "m.toml:10: unknown key `iommu[0].eccap`; did you mean `ecap`?"),
            (&[HEAD, VTD, "[iommu.source]\necapp = \"x\""],                  "m.toml:11: unknown key `iommu[0].source.ecapp`; did you mean `ecap`?"),
            (&[HEAD, VTD, "[[device]]\naddress = \"0:0\"\niommu = \"d\""], "m.toml:11: `device[0].address` is \"0:0\": \"0:0\" is no PCI address; write it as 0000:6a:01.0"),
            (&[HEAD, VTD, "[[device]]\niommu = \"dd\""],                   "m.toml:11: `device[0].iommu` is \"dd\": no such IOMMU in this file; did you mean \"d\"?"),
            (&[HEAD, "[[device]]\naddress = \"0:0.0\"\nvendor = 1\ndevice = 1\npasid = { width = 21 }"], "m.toml:7: `device[0].pasid.width` is 21: must be at most 20"),
            (&[HEAD, "[[device]]\naddress = \"0:0.0\"\nvendor = 1\ndevice = 1\n[[device]]\naddress = \"0:0.0\"\nvendor = 1\ndevice = 1"], "m.toml:8: `device[1].address` is \"0:0.0\": another device has this address"),
        ];
        for (text, expected) in cases {
            let read = Machine::parse("m.toml", &text.concat());
            assert_eq!(read.map_err(|bad| bad.to_string()), Err((*expected).to_owned()));
        }
    }
}
