//! Capabilities: `profiles/capabilities.toml`.
//!
//! A [`Capability`] is the name of something that a program can do with a device. Whether it is there is
//! found by making its calls; what it takes, where it is not, stands in the file.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use uapi::Generation;

use crate::machine::Vendor;
use crate::names::named;
use crate::registers::{self, Field};
use crate::text::{Result, Source, Table, Value};

named! {
    /// Something that a program can do, in the order in which a program would come to it. What it is stands
    /// in `profiles/capabilities.toml`.
    Capability:
    Iommu = "iommu",
    Iommufd = "iommufd",
    VfioDevice = "vfio-device",
    Bind = "bind",
    Attach = "attach",
    IovaWidth = "iova-width",
    HwInfo = "hw-info",
    GuestAddressWidth = "guest-address-width",
    MapFile = "map-file",
    ChangeProcess = "change-process",
    DirtyTracking = "dirty-tracking",
    FaultQueue = "fault-queue",
    PageFaults = "page-faults",
    Ats = "ats",
    NestingParent = "nesting-parent",
    NestingReadOnly = "nesting-read-only",
    NestingVtdS1 = "nesting-vtd-s1",
    InvalidateVtdS1 = "invalidate-vtd-s1",
    ViommuArmSmmuv3 = "viommu-arm-smmuv3",
    Vdevice = "vdevice",
    NestingArmSmmuv3 = "nesting-arm-smmuv3",
    InvalidateArmSmmuv3 = "invalidate-arm-smmuv3",
    VeventqArmSmmuv3 = "veventq-arm-smmuv3",
    NestingPageFaults = "nesting-page-faults",
    PasidWidth = "pasid-width",
    PasidExecute = "pasid-execute",
    PasidPrivileged = "pasid-privileged",
    PasidAttach = "pasid-attach",
    PasidNestingParent = "pasid-nesting-parent",
    PasidNesting = "pasid-nesting",
    PasidPageFaults = "pasid-page-faults",
}

/// How the values of a capability compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It is there, or not.
    Flag,
    /// A number of which more is more.
    Number,
    /// One of several words, none above another.
    Word,
}

impl Kind {
    const ALL: &'static [(&'static str, Self)] =
        &[("flag", Self::Flag), ("number", Self::Number), ("word", Self::Word)];
}

/// A capability of the PCI device itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceNeed {
    /// The ATS capability.
    Ats,
    /// The PRI capability.
    Pri,
    /// The PASID capability.
    Pasid,
    /// The PASID capability's execute permission.
    PasidExecute,
    /// The PASID capability's privileged mode.
    PasidPrivileged,
    /// It can stall, and the kernel knows so.
    Stall,
}

impl DeviceNeed {
    const ALL: &'static [(&'static str, Self)] = &[
        ("ats", Self::Ats),
        ("pri", Self::Pri),
        ("pasid", Self::Pasid),
        ("pasid-execute", Self::PasidExecute),
        ("pasid-privileged", Self::PasidPrivileged),
        ("stall", Self::Stall),
    ];

    /// The device that is needed, for people.
    pub const fn says(self) -> &'static str {
        match self {
            Self::Ats => "a device with ATS",
            Self::Pri => "a device with page requests (PRI)",
            Self::Pasid => "a device with PASIDs",
            Self::PasidExecute => "a device whose PASIDs may ask to execute",
            Self::PasidPrivileged => "a device whose PASIDs may be privileged",
            Self::Stall => "a device that the kernel knows to stall (drivers/pci/quirks.c)",
        }
    }
}

/// A switch of the system, and what to do to have it on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setting {
    /// Its key in a machine file.
    pub name: String,
    /// What to do.
    pub says: String,
}

/// What a capability takes on some kinds of IOMMU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provision {
    /// The kinds; empty for all, and for none at all.
    pub vendors: Vec<Vendor>,
    /// The first generation that gives it, and all later ones do.
    pub since: Generation,
    /// Fields of registers that must not be 0.
    pub fields: Vec<Field>,
    /// What the device itself must have.
    pub device: Vec<DeviceNeed>,
    /// Switches that must be on.
    pub settings: Vec<&'static Setting>,
}

#[derive(Debug)]
struct Facts {
    kind: Kind,
    says: String,
    after: Vec<Capability>,
    provisions: Vec<Provision>,
}

const FILE: Source<'static> = Source {
    name: "profiles/capabilities.toml",
    text: include_str!("../../../profiles/capabilities.toml"),
};

static SETTINGS: LazyLock<Vec<Setting>> = LazyLock::new(|| {
    let read = FILE.parse(|file| {
        file.each("capability", |row| row.ignore())?;
        settings(file)
    });
    read.expect("profiles/capabilities.toml is tested")
});

static FACTS: LazyLock<BTreeMap<Capability, Facts>> =
    LazyLock::new(|| FILE.parse(read).expect("profiles/capabilities.toml is tested"));

impl Capability {
    /// The capability with this name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|capability| capability.name() == name)
    }

    /// How its values compare.
    pub fn kind(self) -> Kind {
        FACTS[&self].kind
    }

    /// What a program that has it can do.
    pub fn says(self) -> &'static str {
        &FACTS[&self].says
    }

    /// What must be there before it can be tried.
    pub fn after(self) -> &'static [Self] {
        &FACTS[&self].after
    }

    /// What it takes.
    pub fn provisions(self) -> &'static [Provision] {
        &FACTS[&self].provisions
    }

    /// What it takes on a kind of IOMMU, or, with none, without one.
    pub fn provision(self, vendor: Option<Vendor>) -> Option<&'static Provision> {
        self.provisions().iter().find(|provision| {
            provision.vendors.is_empty()
                || vendor.is_some_and(|vendor| provision.vendors.contains(&vendor))
        })
    }
}

/// A capability by name, with the nearest where there is none.
pub(crate) fn named(value: &Value<'_, '_>) -> Result<Capability> {
    let name = value.string()?;
    Capability::by_name(name).ok_or_else(|| value.unknown_name("capability", names()))
}

/// The names of all capabilities.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    Capability::ALL.iter().map(|capability| capability.name())
}

/// Every field of every register.
fn fields() -> impl Iterator<Item = Field> {
    let all =
        [registers::vtd::ALL, registers::smmuv3::ALL, registers::amd::ALL, registers::riscv::ALL];
    all.into_iter().flatten().copied()
}

fn read(file: &Table<'_, '_>) -> Result<BTreeMap<Capability, Facts>> {
    settings(file)?;
    let rows = file.each("capability", |row| {
        let capability = named(&row.need("name")?)?;
        let facts = Facts {
            kind: row.need("kind")?.one_of("kind", Kind::ALL)?,
            says: row.need("says")?.string()?.to_owned(),
            after: list(row, "after", named)?,
            provisions: row.each("on", provision)?,
        };
        Ok((capability, facts))
    })?;
    Ok(rows.into_iter().collect())
}

fn settings(file: &Table<'_, '_>) -> Result<Vec<Setting>> {
    file.each("setting", |row| {
        let name = row.need("name")?.string()?.to_owned();
        Ok(Setting { name, says: row.need("says")?.string()?.to_owned() })
    })
}

fn provision(row: &Table<'_, '_>) -> Result<Provision> {
    Ok(Provision {
        vendors: list(row, "iommu", Vendor::read)?,
        since: {
            let since = row.need("since")?;
            since.string()?.parse().map_err(|unknown| since.bad(unknown))?
        },
        fields: list(row, "fields", |value| {
            let name = value.string()?;
            let known = || fields().map(|field| field.name);
            fields()
                .find(|field| field.name == name)
                .ok_or_else(|| value.unknown_name("field", known()))
        })?,
        device: list(row, "device", |value| value.one_of("device capability", DeviceNeed::ALL))?,
        settings: list(row, "settings", |value| {
            let name = value.string()?;
            let known = || SETTINGS.iter().map(|setting| setting.name.as_str());
            let found = SETTINGS.iter().find(|setting| setting.name == name);
            found.ok_or_else(|| value.unknown_name("setting", known()))
        })?,
    })
}

/// Reads an array that may be absent.
fn list<'d, 't, T>(
    row: &Table<'d, 't>,
    key: &'static str,
    read: impl FnMut(&Value<'d, 't>) -> Result<T>,
) -> Result<Vec<T>> {
    let Some(value) = row.get(key) else { return Ok(Vec::new()) };
    value.items()?.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_has_every_capability_once() {
        FILE.parse(read).unwrap();
        for capability in Capability::ALL {
            let named = format!("[[capability]]\nname = \"{capability}\"\n");
            assert_eq!(FILE.text.matches(&named).count(), 1, "{capability}");
            assert!(!capability.says().is_empty());
            assert!(!capability.provisions().is_empty(), "{capability} is nowhere");
        }
        assert_eq!(FACTS.len(), Capability::ALL.len());
    }

    #[test]
    fn what_comes_first_comes_first() {
        for capability in Capability::ALL {
            for before in capability.after() {
                assert!(before < capability, "{capability} before {before}");
            }
        }
    }
}
