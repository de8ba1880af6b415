//! Requirements: the files under `profiles/requirements`, and those of users.
//!
//! A requirement names what a whole feature is composed of, so that calls which depend on each other
//! are checked together, before the feature is offered to anybody. Its order is the order in which a
//! program comes to them: the first that is missing is where a program that did not ask would fail.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use thiserror::Error;

use crate::capability::{self, Capability, Kind};
use crate::finding::{Finding, Profile, Value, read_value};
use crate::machine::Vendor;
use crate::names::{instead_of, shipped};
use crate::text::{BadFile, Result, Source, Table, Value as Item, is_path, read_file};

/// What a feature is composed of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// The name, as `check` takes it.
    pub name: String,
    /// What the feature is, in one line.
    pub summary: String,
    /// Its forms on different hardware; at least one.
    pub variants: Vec<Variant>,
}

/// A form of a feature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variant {
    /// Its name.
    pub name: String,
    /// The kind of IOMMU that it is for; none for all.
    pub iommu: Option<Vendor>,
    /// What it needs, in a program's order, with all that must be there before each.
    pub needs: Vec<Need>,
}

/// A capability that is needed, and how much of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Need {
    /// The capability.
    pub capability: Capability,
    /// The value: a flag, a number to reach, a word to be.
    pub value: Value,
}

impl Need {
    /// Whether a value is enough.
    pub fn is_met_by(&self, value: &Value) -> bool {
        match (&self.value, value) {
            (Value::Number(least), Value::Number(number)) => number >= least,
            (wanted, value) => wanted == value,
        }
    }
}

impl std::fmt::Display for Need {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.value {
            Value::Flag => self.capability.fmt(f),
            Value::Number(least) => write!(f, "{} >= {least}", self.capability),
            Value::Word(word) => write!(f, "{} = {word}", self.capability),
        }
    }
}

/// A requirement cannot be had.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NoRequirement {
    /// No shipped requirement has this name.
    #[error("unknown requirement \"{name}\"; {remedy}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// What to do.
        remedy: String,
    },
    /// Its file is wrong.
    #[error(transparent)]
    Bad(#[from] BadFile),
}

shipped!("requirements": "guest-sva" "nested" "passthrough" "live-migration" "pasid" "page-faults");

static REQUIREMENTS: LazyLock<Vec<Requirement>> = LazyLock::new(|| {
    FILES.iter().map(|file| file.parse(read).expect("profiles/requirements is tested")).collect()
});

impl Requirement {
    /// Every requirement that is shipped.
    pub fn all() -> &'static [Self] {
        &REQUIREMENTS
    }

    /// The shipped requirement with this name.
    pub fn by_name(name: &str) -> Result<&'static Self, NoRequirement> {
        REQUIREMENTS.iter().find(|requirement| requirement.name == name).ok_or_else(|| {
            let names = REQUIREMENTS.iter().map(|requirement| requirement.name.as_str());
            NoRequirement::Unknown { name: name.to_owned(), remedy: instead_of(name, names) }
        })
    }

    /// The shipped requirement with this name, or, where it has a slash or ends with `.toml`, the one in
    /// the file of this name.
    pub fn load(name: &str) -> Result<Self, NoRequirement> {
        if !is_path(name) {
            return Self::by_name(name).cloned();
        }
        Ok(Self::parse(name, &read_file(name)?)?)
    }

    /// Reads a requirement file; `name` is for errors.
    pub fn parse(name: &str, text: &str) -> Result<Self> {
        Source { name, text }.parse(read)
    }

    /// The form that is meant on a host: the one for its IOMMU, else the first.
    pub fn variant_for(&self, iommu: Option<Vendor>) -> &Variant {
        let fits = |variant: &&Variant| variant.iommu.is_none() || variant.iommu == iommu;
        self.variants.iter().find(fits).unwrap_or(&self.variants[0])
    }
}

fn read(file: &Table<'_, '_>) -> Result<Requirement> {
    if file.get("variant").is_none() {
        const PROFILE: &str = "this file is a profile, not a requirement: check takes it with --profile, \
            compare and baseline as a host";
        const MACHINE: &str = "this file is a machine, not a requirement: give it to --machine";
        file.refuse_others(&[("host", PROFILE), ("iommu", MACHINE), ("device", MACHINE)])?;
    }
    let mut before: Vec<(String, Option<Vendor>)> = Vec::new();
    let requirement = Requirement {
        name: file.need("name")?.string()?.to_owned(),
        summary: file.need("summary")?.string()?.to_owned(),
        variants: file.each("variant", |table| {
            let variant = variant(table)?;
            let covers = |iommu: Option<Vendor>| iommu.is_none() || iommu == variant.iommu;
            if let Some((name, iommu)) = before.iter().find(|(_, iommu)| covers(*iommu)) {
                let kinds = iommu.map_or("every IOMMU".to_owned(), |kind| kind.to_string());
                let rule = format!("never judged, since \"{name}\" before it is for {kinds}");
                return Err(table.need("name")?.bad(rule));
            }
            before.push((variant.name.clone(), variant.iommu));
            Ok(variant)
        })?,
    };
    let variants = file.need("variant")?;
    if requirement.variants.is_empty() {
        return Err(variants.bad("there must be a [[variant]]"));
    }
    Ok(requirement)
}

fn variant(table: &Table<'_, '_>) -> Result<Variant> {
    let iommu = table.get("iommu").as_ref().map(Vendor::read).transpose()?;
    let list = table.need("needs")?;
    let items = list.items()?;
    if items.is_empty() {
        return Err(list.bad("it must name a capability"));
    }
    let kind = iommu.map(|it| Value::Word(it.name().to_owned()));
    let mut needs: Vec<_> =
        kind.map(|value| Need { capability: Capability::Iommu, value }).into_iter().collect();
    let mut named = BTreeSet::new();
    for item in items {
        add(&mut needs, need(&item, iommu, &mut named)?);
    }
    Ok(Variant { name: table.need("name")?.string()?.to_owned(), iommu, needs })
}

/// A name, or a table of one name and its value; `named` are those before it. Every word is a kind of
/// IOMMU, so it is the variant's.
fn need(
    item: &Item<'_, '_>,
    iommu: Option<Vendor>,
    named: &mut BTreeSet<Capability>,
) -> Result<Need> {
    let mut checked = |item: &Item<'_, '_>, need: Need| match (&need.value, iommu) {
        _ if !named.insert(need.capability) => Err(item.bad("it is named before")),
        (Value::Word(word), Some(kind)) if word != kind.name() => {
            Err(item.bad(format!("the variant is for {kind}")))
        }
        _ => Ok(need),
    };
    if let Ok(name) = item.string() {
        let capability = capability::named(item)?;
        return match capability.kind() {
            Kind::Flag => checked(item, Need { capability, value: Value::Flag }),
            Kind::Number => Err(item.bad(format!("needs a number: {{ {name} = 1 }}"))),
            Kind::Word => Err(item.bad(format!("needs a word: {{ {name} = \"..\" }}"))),
        };
    }
    let mut needs = item.names(|name, item| {
        let capability = Capability::by_name(name);
        let capability = capability.ok_or_else(|| item.unknown_key(capability::names()))?;
        let value = read_value(capability, item, "what is not needed is left out")?;
        checked(item, Need { capability, value })
    })?;
    match (needs.pop(), needs.is_empty()) {
        (Some(need), true) => Ok(need),
        _ => Err(item.bad("must be a capability, or one capability and its value")),
    }
}

/// Adds a need after all that must be there before it.
fn add(needs: &mut Vec<Need>, need: Need) {
    for before in need.capability.after() {
        if !needs.iter().any(|known| known.capability == *before) {
            // any value will do: what is there at all is more than nothing
            let value = match before.kind() {
                Kind::Number => Value::Number(1),
                Kind::Flag | Kind::Word => Value::Flag,
            };
            add(needs, Need { capability: *before, value });
        }
    }
    match needs.iter_mut().find(|known| known.capability == need.capability) {
        Some(known) => known.value = need.value,
        None => needs.push(need),
    }
}

impl Profile {
    /// What was found of a need: there enough of it, too little, not there, or not known.
    pub fn meets(&self, need: &Need) -> Option<bool> {
        match self.get(need.capability) {
            // any word will do where only its presence is asked
            Finding::Present(Value::Word(_)) if need.value == Value::Flag => Some(true),
            Finding::Present(value) => Some(need.is_met_by(&value)),
            Finding::Absent(_) => Some(false),
            Finding::Unknown(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shipped_files() {
        for (file, requirement) in FILES.iter().zip(Requirement::all()) {
            assert_eq!(file.parse(read).as_ref(), Ok(requirement), "{}", file.name);
            assert!(file.name.ends_with(&format!("/{}.toml", requirement.name)), "{}", file.name);
        }
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../profiles/requirements");
        assert_eq!(std::fs::read_dir(folder).unwrap().count(), FILES.len());
    }

    #[test]
    fn needs_bring_what_comes_before_them() {
        let text = "name = \"r\"\nsummary = \"s\"\n[[variant]]\nname = \"v\"\nneeds = [\"vdevice\", { pasid-width = 8 }]";
        let read = Requirement::parse("r.toml", text).unwrap();
        let needs: Vec<_> = read.variants[0].needs.iter().map(Need::to_string).collect();
        let expected = [
            "iommufd",
            "vfio-device",
            "bind",
            "nesting-parent",
            "viommu-arm-smmuv3",
            "vdevice",
            "pasid-width >= 8",
        ];
        assert_eq!(needs, expected);
    }

    #[test]
    fn what_is_implied_may_be_named() {
        let text = "name = \"r\"\nsummary = \"s\"\n[[variant]]\nname = \"v\"\niommu = \"amd\"\n\
                    needs = [\"pasid-attach\", { pasid-width = 8 }, \"bind\", { iommu = \"amd\" }]\n\
                    [[variant]]\nname = \"w\"\nneeds = [\"bind\"]";
        let read = Requirement::parse("r.toml", text).unwrap();
        let needs: Vec<_> = read.variants[0].needs.iter().map(Need::to_string).collect();
        let expected =
            ["iommu = amd", "iommufd", "vfio-device", "bind", "pasid-width >= 8", "pasid-attach"];
        assert_eq!(needs, expected);
        assert_eq!(read.variant_for(None).name, "w");
    }

    #[test]
    fn wrong_files_are_named() {
        const HEAD: &str = "name = \"r\"\nsummary = \"s\"\n";
        const VARIANT: &str = "[[variant]]\nname = \"v\"\n";
        #[rustfmt::skip] // one file, one line
        let cases: &[(&[&str], &str)] = &[
            (&[HEAD],                                          "r.toml:1: `variant` is missing"),
            (&["[host]\nname = \"h\""],                      "r.toml:1: `host` is a table: this file is a profile, not a requirement: check takes it with --profile, compare and baseline as a host"),
            (&[HEAD, "iommu = \"amd\"\n", VARIANT, "needs = [\"bind\"]"], "r.toml:3: unknown key `iommu`; known here: name, summary, variant"),
            (&[HEAD, "[[iommu]]\nname = \"v\""],             "r.toml:3: `iommu` is an array: this file is a machine, not a requirement: give it to --machine"),
            (&[HEAD, "[[device]]\nvendor = 1"],              "r.toml:3: `device` is an array: this file is a machine, not a requirement: give it to --machine"),
            (&[HEAD, "[[varient]]\nname = \"v\""],            "r.toml:3: unknown key `varient`; did you mean `variant`?"),
            (&[HEAD, VARIANT, "needs = [{ bind = false }]"],   "r.toml:5: `variant[0].needs[0].bind` is false: must be true; what is not needed is left out"),
            (&[HEAD, VARIANT, "needs = [{ hw-info = \"intel-vt\" }]"], "r.toml:5: `variant[0].needs[0].hw-info` is \"intel-vt\": no such kind of IOMMU; did you mean \"intel-vtd\"?"),
            (&[HEAD, VARIANT],                                 "r.toml:3: `variant[0].needs` is missing"),
            (&[HEAD, VARIANT, "needs = []"],                   "r.toml:5: `variant[0].needs` is an array: it must name a capability"),
            (&[HEAD, VARIANT, "need = [\"bind\"]"],            "r.toml:5: unknown key `variant[0].need`; did you mean `needs`?"),
            (&[HEAD, VARIANT, "needs = [\n\"bind\",\n\"nesting-parrent\"]"], "r.toml:7: `variant[0].needs[1]` is \"nesting-parrent\": no such capability; did you mean \"nesting-parent\"?"),
            (&[HEAD, VARIANT, "needs = [\"pasid-width\"]"],    "r.toml:5: `variant[0].needs[0]` is \"pasid-width\": needs a number: { pasid-width = 1 }"),
            (&[HEAD, VARIANT, "needs = [{ pasid-with = 1 }]"], "r.toml:5: unknown key `variant[0].needs[0].pasid-with`; did you mean `pasid-width`?"),
            (&[HEAD, VARIANT, "needs = [{ pasid-width = -1 }]"], "r.toml:5: `variant[0].needs[0].pasid-width` is -1: must be between 0 and 2^64 - 1"),
            (&[HEAD, VARIANT, "needs = [{ bind = true, attach = true }]"], "r.toml:5: `variant[0].needs[0]` is a table: must be a capability, or one capability and its value"),
            (&[HEAD, VARIANT, "needs = [\"bind\", \"attach\",\n\"bind\"]"], "r.toml:6: `variant[0].needs[2]` is \"bind\": it is named before"),
            (&[HEAD, VARIANT, "needs = [{ pasid-width = 20 }, { pasid-width = 4 }]"], "r.toml:5: `variant[0].needs[1].pasid-width` is 4: it is named before"),
            (&[HEAD, VARIANT, "iommu = \"amd\"\nneeds = [{ iommu = \"intel-vtd\" }]"], "r.toml:6: `variant[0].needs[0].iommu` is \"intel-vtd\": the variant is for amd"),
            (&[HEAD, VARIANT, "iommu = \"amd\"\nneeds = [{ hw-info = \"riscv\" }]"], "r.toml:6: `variant[0].needs[0].hw-info` is \"riscv\": the variant is for amd"),
            (&[HEAD, VARIANT, "needs = [\"bind\"]\n", VARIANT, "needs = [\"attach\"]"], "r.toml:7: `variant[1].name` is \"v\": never judged, since \"v\" before it is for every IOMMU"),
            (&[HEAD, VARIANT, "needs = [\"bind\"]\n", VARIANT, "iommu = \"amd\"\nneeds = [\"attach\"]"], "r.toml:7: `variant[1].name` is \"v\": never judged, since \"v\" before it is for every IOMMU"),
            (&[HEAD, VARIANT, "iommu = \"amd\"\nneeds = [\"bind\"]\n", VARIANT, "iommu = \"amd\"\nneeds = [\"attach\"]"], "r.toml:8: `variant[1].name` is \"v\": never judged, since \"v\" before it is for amd"),
            (&[HEAD, "[[variant]]\nname = \"v\"\niommu = \"vtd\"\nneeds = [\"bind\"]"], "r.toml:5: `variant[0].iommu` is \"vtd\": no such kind of IOMMU; known: intel-vtd, arm-smmuv3, amd, riscv"),
        ];
        for (text, expected) in cases {
            let read = Requirement::parse("r.toml", &text.concat());
            assert_eq!(read.map_err(|bad| bad.to_string()), Err((*expected).to_owned()));
        }
    }
}
