//! Verdicts: whether a whole feature will work, and what is missing.

use crate::capability::{Capability, DeviceNeed, Provision, Setting};
use crate::finding::{Cause, Finding, Host, Profile, Value};
use crate::requirement::{Need, Requirement};

/// Whether a requirement is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is.
    Satisfied,
    /// Something is missing.
    Missing,
    /// Nothing is known to be missing, and something is not known.
    Unknown,
}

/// The judgement of a requirement on a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The requirement's name.
    pub requirement: String,
    /// The form of it that was judged.
    pub variant: String,
    /// Where.
    pub host: Host,
    /// Needs that are met, with the value found.
    pub satisfied: Vec<(Need, Value)>,
    /// Needs that are not.
    pub missing: Vec<Missing>,
    /// Needs of which nothing is known, and why.
    pub unknown: Vec<(Need, String)>,
    /// Where a program that did not ask would have failed; none when everything is there, or nothing
    /// fails in spite of what is missing.
    pub first_failure: Option<Failure>,
}

/// A call that is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The call, with what matters of its argument.
    pub call: String,
    /// How it is refused.
    pub errno: uapi::Errno,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} = {}", self.call, self.errno)
    }
}

/// A need that is not met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The need.
    pub need: Need,
    /// Why.
    pub why: String,
    /// What would provide it: each of these, together.
    pub remedies: Vec<Remedy>,
}

/// Something that would provide what is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// A newer kernel: this generation or a later one.
    Kernel(uapi::Generation),
    /// A setting of firmware or kernel.
    Setting(String),
    /// Other hardware.
    Hardware(String),
}

impl std::fmt::Display for Remedy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Kernel(since) => write!(f, "a newer kernel: Linux {since}"),
            Self::Setting(says) => write!(f, "a setting: {says}"),
            Self::Hardware(says) => write!(f, "other hardware: {says}"),
        }
    }
}

impl Verdict {
    /// Judges a requirement on what was found.
    pub fn of(requirement: &Requirement, profile: &Profile) -> Self {
        let variant = requirement.variant_for(profile.host.iommu);
        let mut verdict = Self {
            requirement: requirement.name.clone(),
            variant: variant.name.clone(),
            host: profile.host.clone(),
            satisfied: Vec::new(),
            missing: Vec::new(),
            unknown: Vec::new(),
            first_failure: None,
        };
        for need in &variant.needs {
            match (profile.meets(need), profile.get(need.capability)) {
                (Some(true), Finding::Present(value)) => {
                    verdict.satisfied.push((need.clone(), value));
                }
                (_, Finding::Unknown(reason)) => verdict.unknown.push((need.clone(), reason)),
                (_, finding) => verdict.miss(need, &finding, profile),
            }
        }
        verdict
    }

    fn miss(&mut self, need: &Need, finding: &Finding, profile: &Profile) {
        let why = match finding {
            Finding::Present(value) => format!("{} is {value}", need.capability),
            Finding::Absent(cause) => cause.to_string(),
            Finding::Unknown(reason) => reason.clone(),
        };
        if let (None, Some((_, Cause::Refused { call, errno }))) =
            (&self.first_failure, profile.root(need.capability))
        {
            self.first_failure = Some(Failure { call: call.clone(), errno: *errno });
        }
        // on another kind of IOMMU nothing else would help
        let foreign = self.missing.iter().any(|it| it.need.capability == Capability::Iommu);
        let remedies = if foreign { Vec::new() } else { remedies(need, finding, profile) };
        self.missing.push(Missing { need: need.clone(), why, remedies });
    }

    /// Whether the requirement is met.
    pub fn outcome(&self) -> Outcome {
        match (self.missing.is_empty(), self.unknown.is_empty()) {
            (false, _) => Outcome::Missing,
            (true, false) => Outcome::Unknown,
            (true, true) => Outcome::Satisfied,
        }
    }

    /// Why it is so, in one line: where a program fails, else what is missing, else what is not known.
    pub fn reason(&self) -> String {
        if self.host.iommu.is_none()
            && let Some(missing) = self.missing.first()
            && missing.need.capability == Capability::Iommu
        {
            return missing.why.clone();
        }
        if let Some(failure) = &self.first_failure {
            return failure.to_string();
        }
        if let Some(missing) = self.missing.first() {
            return format!("{}: {}", missing.need.capability, missing.why);
        }
        let unknown = self.unknown.first();
        unknown.map_or(String::new(), |(need, reason)| format!("{}: {reason}", need.capability))
    }

    /// Whether the requirement is met.
    pub fn is_satisfied(&self) -> bool {
        self.outcome() == Outcome::Satisfied
    }
}

/// Of several devices' profiles that in which a requirement is met, or the least of it is missing; without
/// a requirement, that of the device that can do most. Of equal ones the first; none of none.
pub fn best_of(profiles: Vec<Profile>, requirement: Option<&Requirement>) -> Option<Profile> {
    let lack = |profile: &Profile| match requirement {
        Some(requirement) => {
            let verdict = Verdict::of(requirement, profile);
            (verdict.missing.len(), verdict.unknown.len())
        }
        None => {
            let present =
                |(_, finding): &(Capability, &Finding)| matches!(finding, Finding::Present(_));
            (usize::MAX - profile.findings().filter(present).count(), 0)
        }
    };
    profiles.into_iter().min_by_key(lack)
}

/// What would provide a need on a host that has it not: only what is not proven to be there.
fn remedies(need: &Need, finding: &Finding, profile: &Profile) -> Vec<Remedy> {
    let (capability, host) = (need.capability, &profile.host);
    if matches!(finding, Finding::Absent(Cause::NoIommu)) {
        return vec![Remedy::Hardware(format!("an IOMMU that is switched on: {}", need.value))];
    }
    if capability == Capability::Iommu {
        return vec![Remedy::Hardware(format!("an IOMMU of another kind: {}", need.value))];
    }
    let Some(provision) = capability.provision(host.iommu) else {
        return vec![Remedy::Hardware(other_iommus(capability, host))];
    };
    let mut remedies = Vec::new();
    if host.kernel.is_some_and(|kernel| kernel < provision.since) {
        remedies.push(Remedy::Kernel(provision.since));
    }
    match finding {
        // what it needs is missing too, and has its own remedy
        Finding::Absent(Cause::Needs(_)) => return remedies,
        Finding::Present(_) => {
            remedies.push(Remedy::Hardware(format!("an IOMMU and a device with {need}")));
            return remedies;
        }
        _ => {}
    }
    let lacking = lacking_fields(provision, host);
    if !lacking.is_empty() {
        remedies.push(Remedy::Hardware(format!("an IOMMU with {}", lacking.join(", "))));
    }
    if remedies.is_empty() {
        let proven = Proven::of(profile);
        let settings = provision.settings.iter().filter(|it| !proven.settings.contains(*it));
        remedies.extend(settings.map(|it| Remedy::Setting(it.says.clone())));
        let device = provision.device.iter().filter(|it| !proven.device.contains(*it));
        remedies.extend(device.map(|it| Remedy::Hardware(it.says().to_owned())));
    }
    remedies
}

/// What must be there, since something that takes it is.
#[derive(Default)]
struct Proven {
    settings: Vec<&'static Setting>,
    device: Vec<DeviceNeed>,
}

impl Proven {
    fn of(profile: &Profile) -> Self {
        let mut proven = Self::default();
        let present = profile.findings().filter(|(_, it)| matches!(it, Finding::Present(_)));
        for (capability, _) in present {
            if let Some(provision) = capability.provision(profile.host.iommu) {
                proven.settings.extend(&provision.settings);
                proven.device.extend(&provision.device);
            }
        }
        proven
    }
}

/// The fields that the host's registers do not have.
fn lacking_fields(provision: &Provision, host: &Host) -> Vec<&'static str> {
    let lacks = |field: &&crate::registers::Field| {
        host.registers.get(field.register()).is_some_and(|register| !field.is_set(*register))
    };
    provision.fields.iter().filter(lacks).map(|field| field.name).collect()
}

fn other_iommus(capability: Capability, host: &Host) -> String {
    // a kind that the kernel does not drive yet is no help
    let driven = |it: &&Provision| host.kernel.is_none_or(|kernel| it.since <= kernel);
    let provisions = capability.provisions().iter().filter(driven);
    let vendors: Vec<_> = provisions.flat_map(|it| &it.vendors).map(|it| it.name()).collect();
    match host.iommu {
        Some(iommu) => format!("{iommu} has no {capability}; it is with {}", vendors.join(", ")),
        None => format!("an IOMMU: {}", vendors.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uapi::{Errno, Generation};

    use crate::machine::Vendor;

    fn requirement() -> Requirement {
        let text = "name = \"r\"\nsummary = \"s\"\n[[variant]]\nname = \"v\"\n\
                    needs = [{ pasid-width = 8 }, \"nesting-parent\", \"nesting-vtd-s1\"]";
        Requirement::parse("r.toml", text).unwrap()
    }

    /// A host on which everything is there that this requirement needs.
    fn profile() -> Profile {
        let mut profile = Profile::new(Host {
            kernel: Some(Generation::V6_15),
            iommu: Some(Vendor::IntelVtd),
            registers: [("ECAP".to_owned(), u64::MAX)].into(),
            ..Host::default()
        });
        for capability in Capability::ALL {
            let value = match capability.kind() {
                crate::capability::Kind::Flag => Value::Flag,
                crate::capability::Kind::Number => Value::Number(8),
                crate::capability::Kind::Word => Value::Word("intel-vtd".to_owned()),
            };
            profile.set(*capability, Finding::Present(value));
        }
        profile
    }

    fn refused() -> Finding {
        let call = "IOMMU_HWPT_ALLOC(NEST_PARENT)".to_owned();
        Finding::Absent(Cause::Refused { call, errno: Errno::EOPNOTSUPP })
    }

    #[test]
    fn everything_there() {
        let verdict = Verdict::of(&requirement(), &profile());
        assert!(verdict.is_satisfied() && verdict.first_failure.is_none(), "{verdict:?}");
    }

    #[test]
    fn remedies_follow_from_what_is_known() {
        type Change = fn(&mut Profile);
        const SCALABLE: &str = "a setting: scalable mode: boot without intel_iommu=sm_off (CONFIG_INTEL_IOMMU_SCALABLE_MODE_DEFAULT_ON), and leave it on in firmware";
        #[rustfmt::skip] // one change, one line
        let cases: &[(&str, Change, &[&str])] = &[
            ("an old kernel",       |p| p.host.kernel = Some(Generation::V6_6), &["a newer kernel: Linux 6.7"]),
            ("hardware without it", |p| _ = p.host.registers.insert("ECAP".into(), 0), &["other hardware: an IOMMU with ECAP.SMTS, ECAP.NEST, ECAP.SSTS"]),
            ("what is proven",      |_| (), &[]),
            ("what is not proven",  without_scalable_mode, &[SCALABLE]),
            ("another vendor",      |p| p.host.iommu = Some(Vendor::Riscv), &["other hardware: riscv has no nesting-parent; it is with intel-vtd, arm-smmuv3"]),
        ];
        for (name, change, expected) in cases {
            let mut profile = profile();
            profile.set(Capability::NestingParent, refused());
            change(&mut profile);
            let verdict = Verdict::of(&requirement(), &profile);
            assert_eq!(verdict.outcome(), Outcome::Missing, "{name}");
            let missing =
                verdict.missing.iter().find(|it| it.need.capability == Capability::NestingParent);
            let remedies: Vec<_> =
                missing.unwrap().remedies.iter().map(Remedy::to_string).collect();
            assert_eq!(remedies, *expected, "{name}");
            let failure = verdict.first_failure.unwrap().to_string();
            assert_eq!(failure, "IOMMU_HWPT_ALLOC(NEST_PARENT) = EOPNOTSUPP", "{name}");
        }
    }

    /// Everything that takes scalable mode is refused.
    fn without_scalable_mode(profile: &mut Profile) {
        for capability in Capability::ALL {
            let provision = capability.provision(profile.host.iommu);
            if provision.is_some_and(|it| it.settings.iter().any(|it| it.name == "scalable_mode")) {
                profile.set(*capability, refused());
            }
        }
    }

    #[test]
    fn another_kind_of_iommu_is_the_whole_answer() {
        let text = "name = \"r\"\nsummary = \"s\"\n[[variant]]\nname = \"v\"\niommu = \"amd\"\n\
                    needs = [\"nesting-parent\"]";
        let requirement = Requirement::parse("r.toml", text).unwrap();
        let mut profile = profile();
        profile.set(Capability::NestingParent, refused());
        let verdict = Verdict::of(&requirement, &profile);
        let told: Vec<_> = verdict
            .missing
            .iter()
            .map(|it| (it.need.to_string(), it.remedies.iter().map(Remedy::to_string).collect()))
            .collect();
        let other = "other hardware: an IOMMU of another kind: amd".to_owned();
        let expected: Vec<(String, Vec<String>)> =
            vec![("iommu = amd".to_owned(), vec![other]), ("nesting-parent".to_owned(), vec![])];
        assert_eq!(told, expected);
    }

    #[test]
    fn too_little_is_missing_and_no_call_fails() {
        let mut profile = profile();
        profile.set(Capability::PasidWidth, Finding::Present(Value::Number(7)));
        let verdict = Verdict::of(&requirement(), &profile);
        assert_eq!(verdict.missing[0].why, "pasid-width is 7");
        assert_eq!(verdict.first_failure, None);
        profile.set(Capability::PasidWidth, Finding::Unknown("x".to_owned()));
        assert_eq!(Verdict::of(&requirement(), &profile).outcome(), Outcome::Unknown);
    }
}
