//! Profiles: what was found on one host, for one device.
//!
//! A profile is a file, so that one host can be judged on another, and hosts can be compared.

use std::collections::BTreeMap;
use std::fmt;

use toml::{Table as Toml, Value as TomlValue};
use uapi::{Errno, Generation};

use crate::capability::{self, Capability, Kind};
use crate::machine::{Bdf, Vendor};
use crate::text::{Result, Source, Table, Value as Item, read_file};

/// The value of a capability that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// It is there.
    Flag,
    /// So much of it.
    Number(u32),
    /// This of several.
    Word(String),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("yes"),
            Self::Number(number) => number.fmt(f),
            Self::Word(word) => f.write_str(word),
        }
    }
}

/// Why a capability is not there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A call is refused.
    Refused {
        /// The call, with what matters of its argument.
        call: String,
        /// How it is refused.
        errno: Errno,
    },
    /// No call is refused, and it does not work all the same.
    Silent {
        /// The call that a program would take for it.
        call: String,
        /// What happens instead.
        what: String,
    },
    /// It was not tried, since this other one is not there.
    Needs(Capability),
    /// The kernel drives no IOMMU.
    NoIommu,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused { call, errno } => write!(f, "{call} = {errno}"),
            Self::Silent { call, what } => write!(f, "{call} succeeds, but {what}"),
            Self::Needs(other) => write!(f, "needs {other}"),
            Self::NoIommu => f.write_str("there is no IOMMU that the kernel drives"),
        }
    }
}

/// What was found of a capability.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// It is there.
    Present(Value),
    /// It is not.
    Absent(Cause),
    /// Nothing that may be asked tells, for this reason.
    Unknown(String),
}

/// Where something was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Host {
    /// The host, or the machine and the kernel it stands for.
    pub name: String,
    /// The generation of the kernel's ABI, as its answers tell.
    pub kernel: Option<Generation>,
    /// What `uname -r` says.
    pub release: Option<String>,
    /// The device.
    pub device: Option<Bdf>,
    /// The kind of its IOMMU.
    pub iommu: Option<Vendor>,
    /// Registers of that IOMMU, by name: `CAP`, `ECAP`; `IDR0`; `EFR`.
    pub registers: BTreeMap<String, u64>,
}

impl Host {
    /// Its name, and its kernel where it is known: `node7@6.15`.
    pub fn label(&self) -> String {
        let kernel = self.kernel.map_or(String::new(), |kernel| format!("@{kernel}"));
        format!("{}{kernel}", self.name)
    }
}

/// What was found on one host, for one device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Profile {
    /// Where.
    pub host: Host,
    findings: BTreeMap<Capability, Finding>,
}

impl Profile {
    /// Nothing found yet.
    pub fn new(host: Host) -> Self {
        Self { host, findings: BTreeMap::new() }
    }

    /// Notes a finding.
    pub fn set(&mut self, capability: Capability, finding: Finding) {
        self.findings.insert(capability, finding);
    }

    /// What was found of a capability.
    pub fn get(&self, capability: Capability) -> Finding {
        let found = self.findings.get(&capability).cloned();
        found.unwrap_or_else(|| Finding::Unknown("the profile does not say".to_owned()))
    }

    /// Every finding, in the order of the capabilities.
    pub fn findings(&self) -> impl Iterator<Item = (Capability, &Finding)> {
        self.findings.iter().map(|(capability, finding)| (*capability, finding))
    }

    /// The value of a capability, if it is there.
    pub fn value(&self, capability: Capability) -> Option<&Value> {
        match self.findings.get(&capability)? {
            Finding::Present(value) => Some(value),
            _ => None,
        }
    }

    /// The call or the lack from which the absence of a capability follows, and whose it is. A capability
    /// needs only earlier ones, so this ends.
    pub fn root(&self, capability: Capability) -> Option<(Capability, &Cause)> {
        let mut at = capability;
        loop {
            match self.findings.get(&at)? {
                Finding::Absent(Cause::Needs(other)) if *other < at => at = *other,
                Finding::Absent(cause) => return Some((at, cause)),
                _ => return None,
            }
        }
    }

    /// Reads a profile file.
    pub fn load(name: &str) -> Result<Self> {
        Self::parse(name, &read_file(name)?)
    }

    /// Reads a profile; `name` is for errors.
    pub fn parse(name: &str, text: &str) -> Result<Self> {
        Source { name, text }.parse(read)
    }

    /// The profile as a file.
    pub fn to_toml(&self) -> String {
        let [mut present, mut absent, mut unknown] = [Toml::new(), Toml::new(), Toml::new()];
        for (capability, finding) in &self.findings {
            let name = capability.name().to_owned();
            match finding {
                Finding::Present(value) => present.insert(name, write_value(value)),
                Finding::Absent(cause) => absent.insert(name, write_cause(cause)),
                Finding::Unknown(reason) => unknown.insert(name, reason.clone().into()),
            };
        }
        let parts = [
            ("host", write_host(&self.host)),
            ("present", present),
            ("absent", absent),
            ("unknown", unknown),
        ];
        let mut text =
            String::from("# What softiommu found. Read it with softiommu check --profile.\n");
        for (name, part) in parts.into_iter().filter(|(_, part)| !part.is_empty()) {
            text.push_str(&format!("\n[{name}]\n"));
            for (key, value) in part {
                text.push_str(&format!("{key} = {value}\n"));
            }
        }
        text
    }
}

fn write_value(value: &Value) -> TomlValue {
    match value {
        Value::Flag => true.into(),
        Value::Number(number) => i64::from(*number).into(),
        Value::Word(word) => word.clone().into(),
    }
}

fn write_cause(cause: &Cause) -> TomlValue {
    let pairs: Vec<(&str, String)> = match cause {
        Cause::Refused { call, errno } => {
            vec![("call", call.clone()), ("errno", errno.to_string())]
        }
        Cause::Silent { call, what } => vec![("call", call.clone()), ("silent", what.clone())],
        Cause::Needs(other) => vec![("needs", other.to_string())],
        Cause::NoIommu => vec![("missing", "iommu".to_owned())],
    };
    let pairs = pairs.into_iter().map(|(key, value)| (key.to_owned(), value.into()));
    pairs.collect::<Toml>().into()
}

fn write_host(host: &Host) -> Toml {
    let mut table = Toml::new();
    let mut text = |key: &str, value: Option<String>| {
        if let Some(value) = value {
            table.insert(key.to_owned(), value.into());
        }
    };
    text("name", Some(host.name.clone()));
    text("kernel", host.kernel.map(|kernel| kernel.to_string()));
    text("release", host.release.clone());
    text("device", host.device.map(|device| device.to_string()));
    text("iommu", host.iommu.map(|iommu| iommu.to_string()));
    let registers: Toml = host
        .registers
        .iter()
        .map(|(name, value)| (name.clone(), format!("{value:#x}").into()))
        .collect();
    if !registers.is_empty() {
        table.insert("registers".to_owned(), registers.into());
    }
    table
}

fn read(file: &Table<'_, '_>) -> Result<Profile> {
    if file.get("host").is_none() {
        const MACHINE: &str = "this file is a machine, not a profile: give it to --machine; compare and \
            baseline take what softiommu probe --machine finds on it, and shipped machines by name, as \
            spr@6.15";
        const REQUIREMENT: &str = "this file is a requirement, not a profile: check takes it as its first \
            argument, compare and baseline with --requirement";
        file.refuse_others(&[
            ("variant", REQUIREMENT),
            ("iommu", MACHINE),
            ("device", MACHINE),
            ("summary", MACHINE),
        ])?;
    }
    let mut profile = Profile::new(file.need("host")?.table(read_host)?);
    let mut each = |key, read: fn(Capability, &Item<'_, '_>) -> Result<Finding>| {
        let Some(table) = file.get(key) else { return Ok(Vec::new()) };
        table.names(|name, value| {
            let capability = Capability::by_name(name);
            let capability = capability.ok_or_else(|| value.unknown_key(capability::names()))?;
            if profile.findings.contains_key(&capability) {
                return Err(value.bad("it is in another table already"));
            }
            profile.set(capability, read(capability, value)?);
            Ok(())
        })
    };
    each("present", |capability, value| {
        const INSTEAD: &str = "what is not there goes to [absent]";
        read_value(capability, value, INSTEAD).map(Finding::Present)
    })?;
    each("absent", |capability, value| {
        value.table(|table| read_cause(capability, table)).map(Finding::Absent)
    })?;
    each("unknown", |_, value| Ok(Finding::Unknown(value.string()?.to_owned())))?;
    Ok(profile)
}

fn read_host(table: &Table<'_, '_>) -> Result<Host> {
    let text = |key| table.get(key).map(|value| value.string().map(str::to_owned)).transpose();
    let parsed = |key| table.get(key);
    let mut registers = BTreeMap::new();
    if let Some(value) = parsed("registers") {
        value.names(|name, value| {
            let number = value.string()?.strip_prefix("0x");
            let number = number.and_then(|digits| u64::from_str_radix(digits, 16).ok());
            let number = number.ok_or_else(|| value.bad("must be as \"0x1f\""))?;
            registers.insert(name.to_owned(), number);
            Ok(())
        })?;
    }
    Ok(Host {
        name: table.need("name")?.string()?.to_owned(),
        kernel: match parsed("kernel") {
            None => None,
            Some(value) => Some(value.string()?.parse().map_err(|unknown| value.bad(unknown))?),
        },
        release: text("release")?,
        device: match parsed("device") {
            None => None,
            Some(value) => Some(value.string()?.parse().map_err(|bad| value.bad(bad))?),
        },
        iommu: parsed("iommu").as_ref().map(Vendor::read).transpose()?,
        registers,
    })
}

/// Reads a value; `instead` says where to put a flag that is false.
pub(crate) fn read_value(
    capability: Capability,
    value: &Item<'_, '_>,
    instead: &str,
) -> Result<Value> {
    match capability.kind() {
        Kind::Flag if value.flag()? => Ok(Value::Flag),
        Kind::Flag => Err(value.bad(format!("must be true; {instead}"))),
        Kind::Number => Ok(Value::Number(value.number_to(u32::MAX.into())? as u32)),
        // every word is a kind of IOMMU
        Kind::Word => Ok(Value::Word(Vendor::read(value)?.name().to_owned())),
    }
}

fn read_cause(of: Capability, table: &Table<'_, '_>) -> Result<Cause> {
    if let Some(needs) = table.get("needs") {
        let other = capability::named(&needs)?;
        if other >= of {
            return Err(needs.bad(format!("must be a capability that comes before {of}")));
        }
        return Ok(Cause::Needs(other));
    }
    if let Some(missing) = table.get("missing") {
        return missing
            .one_of("thing that a host may lack", &[("iommu", ())])
            .map(|()| Cause::NoIommu);
    }
    let call = table.need("call")?.string()?.to_owned();
    if let Some(what) = table.get("silent") {
        return Ok(Cause::Silent { call, what: what.string()?.to_owned() });
    }
    let known: Vec<_> = Errno::ALL.iter().map(|errno| (errno.name(), *errno)).collect();
    Ok(Cause::Refused { call, errno: table.need("errno")?.one_of("error number", &known)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Profile {
        let mut profile = Profile::new(Host {
            name: "node7".to_owned(),
            kernel: Some(Generation::V6_15),
            release: Some("6.15.4".to_owned()),
            device: "0000:6a:01.0".parse().ok(),
            iommu: Some(Vendor::IntelVtd),
            registers: [("ECAP".to_owned(), u64::MAX)].into(),
        });
        let call = "IOMMU_HWPT_ALLOC(NEST_PARENT)".to_owned();
        let silent = Cause::Silent { call: call.clone(), what: "\"nothing\" happens".to_owned() };
        let errno = Errno::EOPNOTSUPP;
        profile.set(Capability::Bind, Finding::Present(Value::Flag));
        profile.set(Capability::PasidWidth, Finding::Present(Value::Number(20)));
        profile.set(Capability::HwInfo, Finding::Present(Value::Word("intel-vtd".to_owned())));
        profile.set(Capability::NestingParent, Finding::Absent(Cause::Refused { call, errno }));
        profile.set(Capability::PageFaults, Finding::Absent(silent));
        let needs = Cause::Needs(Capability::NestingParent);
        profile.set(Capability::NestingVtdS1, Finding::Absent(needs));
        profile.set(Capability::Ats, Finding::Unknown("no call tells".to_owned()));
        profile
    }

    #[test]
    fn a_file_holds_a_profile() {
        let text = sample().to_toml();
        assert_eq!(Profile::parse("p.toml", &text), Ok(sample()), "{text}");
    }

    #[test]
    fn the_root_of_an_absence() {
        let profile = sample();
        let root =
            profile.root(Capability::NestingVtdS1).map(|(of, cause)| (of, cause.to_string()));
        let call = "IOMMU_HWPT_ALLOC(NEST_PARENT) = EOPNOTSUPP".to_owned();
        assert_eq!(root, Some((Capability::NestingParent, call)));
        assert_eq!(profile.root(Capability::Bind), None);
    }

    #[test]
    fn a_circle_of_absences_ends() {
        let mut profile = sample();
        let needs = |other| Finding::Absent(Cause::Needs(other));
        profile.set(Capability::NestingParent, needs(Capability::Bind));
        profile.set(Capability::Bind, needs(Capability::NestingParent));
        let root = profile.root(Capability::NestingVtdS1).map(|(of, _)| of);
        assert_eq!(root, Some(Capability::Bind));
    }

    #[test]
    fn wrong_files_are_named() {
        const HEAD: &str = "[host]\nname = \"h\"\n";
        #[rustfmt::skip] // one file, one line
        let cases: &[(&str, &str)] = &[
            ("[present]\nbind = true",              "p.toml:1: `host` is missing"),
            ("[present]\nbnid = true",              "p.toml:4: unknown key `present.bnid`; did you mean `bind`?"),
            ("[present]\nbind = false",             "p.toml:4: `present.bind` is false: must be true; what is not there goes to [absent]"),
            ("[present]\npasid-width = true",       "p.toml:4: `present.pasid-width` is true: must be a number"),
            ("[absent]\nbind = { call = \"c\" }",   "p.toml:4: `absent.bind.errno` is missing"),
            ("[absent]\nbind = { call = \"c\", errno = \"EINVALID\" }", "p.toml:4: `absent.bind.errno` is \"EINVALID\": no such error number; did you mean \"EINVAL\"?"),
            ("[absent]\nbind = { needs = \"iommuf\" }", "p.toml:4: `absent.bind.needs` is \"iommuf\": no such capability; did you mean \"iommufd\"?"),
            ("[absent]\nbind = { needs = \"bind\" }", "p.toml:4: `absent.bind.needs` is \"bind\": must be a capability that comes before bind"),
            ("[absent]\nnesting-parent = { needs = \"bind\" }\nbind = { needs = \"nesting-parent\" }", "p.toml:5: `absent.bind.needs` is \"nesting-parent\": must be a capability that comes before bind"),
            ("[present]\nbind = true\n[unknown]\nbind = \"x\"", "p.toml:6: `unknown.bind` is \"x\": it is in another table already"),
            ("[present]\nhw-info = \"intel-vdt\"",  "p.toml:4: `present.hw-info` is \"intel-vdt\": no such kind of IOMMU; did you mean \"intel-vtd\"?"),
            ("[presnt]\nbind = true",               "p.toml:3: unknown key `presnt`; did you mean `present`?"),
        ];
        for (text, expected) in cases {
            let head = if expected.contains("`host`") { "" } else { HEAD };
            let read = Profile::parse("p.toml", &format!("{head}{text}"));
            assert_eq!(read.map_err(|bad| bad.to_string()), Err((*expected).to_owned()));
        }
    }

    #[test]
    fn other_files_are_told_apart() {
        #[rustfmt::skip] // one file, one line
        let cases: &[(&str, &str)] = &[
            ("name = \"m\"\nsummary = \"s\"",                 "p.toml:2: `summary` is \"s\": this file is a machine"),
            ("name = \"m\"\n[[iommu]]\nkind = \"riscv\"",     "p.toml:2: `iommu` is an array: this file is a machine"),
            ("name = \"m\"\n[[device]]\nvendor = 1",         "p.toml:2: `device` is an array: this file is a machine"),
            ("summary = \"s\"\n[[variant]]\nname = \"v\"",    "p.toml:2: `variant` is an array: this file is a requirement"),
            ("[present]\nbind = true",                       "p.toml:1: `host` is missing"),
            ("summary = \"s\"\n[host]\nname = \"h\"",         "p.toml:1: unknown key `summary`"),
        ];
        for (text, expected) in cases {
            let read = Profile::parse("p.toml", text).unwrap_err().to_string();
            assert!(read.starts_with(expected), "{read}");
        }
    }
}
