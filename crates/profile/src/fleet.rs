//! Hosts beside each other: what a virtual machine would lose by moving, and what all of them have.
//!
//! It is to IOMMUs what libvirt's `cpu-compare` and `cpu-baseline` are to CPUs.

use crate::capability::Capability;
use crate::finding::{Cause, Finding, Host, Profile, Value};
use crate::requirement::Requirement;

/// How the second of two hosts compares with the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relation {
    /// They have the same.
    Identical,
    /// The second has all that the first has, and more.
    Superset,
    /// The second has less.
    Subset,
    /// Each has something that the other has not.
    Incompatible,
    /// Nothing is known to be lost, and something is not known.
    Unknown,
}

/// A capability that differs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The capability.
    pub capability: Capability,
    /// What the first has of it, in words.
    pub from: String,
    /// What the second has of it, in words.
    pub to: String,
}

/// What moving from one host to another changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Less, or nothing, or another.
    pub lost: Vec<Change>,
    /// More.
    pub gained: Vec<Change>,
    /// What one of them does not know.
    pub unknown: Vec<Change>,
}

impl Comparison {
    /// How the second host compares with the first.
    pub fn relation(&self) -> Relation {
        match (self.lost.is_empty(), self.gained.is_empty()) {
            (false, true) => Relation::Subset,
            (false, false) => Relation::Incompatible,
            _ if !self.unknown.is_empty() => Relation::Unknown,
            (true, false) => Relation::Superset,
            (true, true) => Relation::Identical,
        }
    }
}

/// What a virtual machine would lose or gain by moving from one host to another. Of a requirement, if one
/// is given: then what counts is whether each of its needs is met.
pub fn compare(from: &Profile, to: &Profile, only: Option<&Requirement>) -> Comparison {
    let mut comparison = Comparison::default();
    let mut note = |capability, order: Order| {
        let (a, b) = (from.get(capability), to.get(capability));
        let change = Change { capability, from: in_words(&a), to: in_words(&b) };
        match order {
            Order::Same => {}
            Order::Less => comparison.lost.push(change),
            Order::More => comparison.gained.push(change),
            Order::Unknown => comparison.unknown.push(change),
        }
    };
    match only {
        None => {
            Capability::ALL.iter().for_each(|it| note(*it, order_of(&from.get(*it), &to.get(*it))))
        }
        Some(requirement) => {
            for need in &requirement.variant_for(from.host.iommu).needs {
                let order = match (from.meets(need), to.meets(need)) {
                    (Some(true), Some(false)) => Order::Less,
                    (Some(false) | None, Some(true)) => Order::More,
                    (Some(true), None) | (None, Some(false)) => Order::Unknown,
                    _ => Order::Same,
                };
                note(need.capability, order);
            }
        }
    }
    comparison
}

/// How the second of two findings compares with the first.
enum Order {
    Same,
    Less,
    More,
    Unknown,
}

fn order_of(from: &Finding, to: &Finding) -> Order {
    match (from, to) {
        (Finding::Present(a), Finding::Present(b)) => match (a, b) {
            _ if a == b => Order::Same,
            (Value::Number(a), Value::Number(b)) if a < b => Order::More,
            _ => Order::Less,
        },
        (Finding::Present(_), Finding::Absent(_)) => Order::Less,
        // what the first may have may be lost
        (Finding::Present(_), Finding::Unknown(_)) | (Finding::Unknown(_), Finding::Absent(_)) => {
            Order::Unknown
        }
        (Finding::Absent(_) | Finding::Unknown(_), Finding::Present(_)) => Order::More,
        (Finding::Absent(_), _) | (Finding::Unknown(_), Finding::Unknown(_)) => Order::Same,
    }
}

/// The largest set of capabilities that all hosts have.
pub fn baseline(hosts: &[Profile]) -> Profile {
    let names: Vec<_> = hosts.iter().map(|profile| profile.host.label()).collect();
    let mut common = Profile::new(Host {
        name: format!("baseline of {}", names.join(", ")),
        kernel: hosts.iter().filter_map(|profile| profile.host.kernel).min(),
        iommu: same(hosts.iter().map(|profile| profile.host.iommu)).flatten(),
        ..Host::default()
    });
    for capability in Capability::ALL {
        let findings = hosts.iter().map(|profile| (&profile.host, profile.get(*capability)));
        if let Some(finding) = findings.reduce(less) {
            common.set(*capability, name_the_host(finding));
        }
    }
    common
}

/// The lesser of two findings, and the host that it is of.
fn less<'h>(a: (&'h Host, Finding), b: (&'h Host, Finding)) -> (&'h Host, Finding) {
    match (&a.1, &b.1) {
        (Finding::Absent(_), _) => a,
        (_, Finding::Absent(_)) => b,
        (Finding::Unknown(_), _) => a,
        (_, Finding::Unknown(_)) => b,
        (Finding::Present(Value::Number(x)), Finding::Present(Value::Number(y))) => {
            if x <= y {
                a
            } else {
                b
            }
        }
        (Finding::Present(x), Finding::Present(y)) if x == y => a,
        (Finding::Present(x), Finding::Present(y)) => {
            let what = format!("here it is {y}, elsewhere {x}");
            let call = "no call fails".to_owned();
            (b.0, Finding::Absent(Cause::Silent { call, what }))
        }
    }
}

/// Says which host it is that lacks something.
fn name_the_host((host, finding): (&Host, Finding)) -> Finding {
    match finding {
        Finding::Absent(Cause::Refused { call, errno }) => {
            Finding::Absent(Cause::Refused { call: format!("{call} on {}", host.label()), errno })
        }
        Finding::Absent(Cause::Silent { call, what }) => {
            Finding::Absent(Cause::Silent { call: format!("{call} on {}", host.label()), what })
        }
        Finding::Unknown(reason) => Finding::Unknown(format!("{}: {reason}", host.label())),
        other => other,
    }
}

fn same<T: PartialEq>(mut values: impl Iterator<Item = T>) -> Option<T> {
    let first = values.next()?;
    values.all(|value| value == first).then_some(first)
}

fn in_words(finding: &Finding) -> String {
    match finding {
        Finding::Present(value) => value.to_string(),
        Finding::Absent(cause) => format!("no: {cause}"),
        Finding::Unknown(reason) => format!("not known: {reason}"),
    }
}

#[cfg(test)]
mod tests {
    use uapi::Errno;

    use super::*;

    fn host(name: &str, findings: &[(Capability, Finding)]) -> Profile {
        let mut profile = Profile::new(Host { name: name.to_owned(), ..Host::default() });
        for (capability, finding) in findings {
            profile.set(*capability, finding.clone());
        }
        profile
    }

    fn number(number: u32) -> Finding {
        Finding::Present(Value::Number(number))
    }

    fn refused() -> Finding {
        Finding::Absent(Cause::Refused { call: "CALL".to_owned(), errno: Errno::ENOTTY })
    }

    #[test]
    fn moving_loses_and_gains() {
        use Capability::{Ats, HwInfo, PasidWidth};
        let word = |word: &str| Finding::Present(Value::Word(word.to_owned()));
        let flag = || Finding::Present(Value::Flag);
        let unknown = || Finding::Unknown("x".to_owned());
        type Counts = (usize, usize, usize);
        #[rustfmt::skip] // one pair, one line
        let cases: &[(&str, Capability, Finding, Finding, Counts)] = &[
            ("the same",       PasidWidth, number(8),    number(8),   (0, 0, 0)),
            ("a smaller one",  PasidWidth, number(8),    number(7),   (1, 0, 0)),
            ("a larger one",   PasidWidth, number(8),    number(9),   (0, 1, 0)),
            ("another word",   HwInfo,     word("a"),    word("b"),   (1, 0, 0)),
            ("gone",           Ats,        flag(),       refused(),   (1, 0, 0)),
            ("new",            Ats,        refused(),    flag(),      (0, 1, 0)),
            ("neither has it", Ats,        refused(),    refused(),   (0, 0, 0)),
            ("not known",      Ats,        flag(),       unknown(),   (0, 0, 1)),
            ("known now",      Ats,        unknown(),    flag(),      (0, 1, 0)),
            ("not known before", Ats,      unknown(),    refused(),   (0, 0, 1)),
            ("not known after", Ats,       refused(),    unknown(),   (0, 0, 0)),
            ("both unknown",   Ats,        unknown(),    unknown(),   (0, 0, 0)),
        ];
        for (name, capability, a, b, counts) in cases {
            let (a, b) =
                (host("a", &[(*capability, a.clone())]), host("b", &[(*capability, b.clone())]));
            let found = compare(&a, &b, None);
            assert_eq!(
                (found.lost.len(), found.gained.len(), found.unknown.len()),
                *counts,
                "{name}"
            );
        }
    }

    #[test]
    fn a_requirement_counts_only_what_it_needs() {
        let text = "name = \"r\"\nsummary = \"s\"\n[[variant]]\nname = \"v\"\nneeds = [{ pasid-width = 8 }]";
        let requirement = Requirement::parse("r.toml", text).unwrap();
        #[rustfmt::skip] // one pair, one line
        let cases = [
            (Some(20), Some(8),  Relation::Identical),
            (Some(20), Some(7),  Relation::Subset),
            (Some(7),  Some(20), Relation::Superset),
            (Some(7),  Some(6),  Relation::Identical),
            (Some(8),  None,     Relation::Unknown),
            (None,     Some(7),  Relation::Unknown),
            (None,     Some(8),  Relation::Superset),
            (Some(7),  None,     Relation::Identical),
            (None,     None,     Relation::Identical),
        ];
        for (a, b, relation) in cases {
            let width = |width: Option<u32>| {
                let finding = width.map_or(Finding::Unknown("x".to_owned()), number);
                host("h", &[(Capability::PasidWidth, finding)])
            };
            let found = compare(&width(a), &width(b), Some(&requirement));
            assert_eq!(found.relation(), relation, "{a:?} {b:?}");
        }
    }

    #[test]
    fn a_baseline_is_no_more_than_any_host() {
        let a = host("a", &[(Capability::PasidWidth, number(20)), (Capability::Ats, refused())]);
        let b = host("b", &[(Capability::PasidWidth, number(16)), (Capability::Bind, number(1))]);
        let common = baseline(&[a.clone(), b.clone()]);
        assert_eq!(common.get(Capability::PasidWidth), number(16));
        let missing = common.root(Capability::Ats).unwrap().1.to_string();
        assert_eq!(missing, "CALL on a = ENOTTY");
        for host in [&a, &b] {
            assert!(compare(&common, host, None).lost.is_empty());
        }
        assert_eq!(common.host.name, "baseline of a, b");
    }
}
