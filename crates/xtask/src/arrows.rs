//! The arrow check: who may use whom among our crates.
//!
//! Crates are named by their folder's short name: `softiommu-engine` is `engine`, `softiommu` is
//! `cli`. Normal and build dependencies count; what tests use is free.

use std::collections::BTreeMap;

use crate::failure::{Failure, Result};
use crate::workspace::{Package, Workspace};

/// For each crate, the crates of ours that it may use. A crate that has no row may not exist.
#[rustfmt::skip] // one crate, one line
const ALLOWED: &[(&str, &[&str])] = &[
    ("bench",      &["client", "devices", "engine", "mem", "profile", "testkit", "uapi"]),
    ("cli",        &["client", "devices", "profile", "report", "supervisor", "uapi"]),
    ("client",     &["engine", "mem", "profile", "uapi"]),
    ("devices",    &["engine", "mem"]),
    ("emulate",    &[]),
    ("engine",     &["mem", "profile", "pt", "uapi"]),
    ("mem",        &[]),
    ("player",     &[]), // a witness: it must not share a mistake with the engine
    ("profile",    &["uapi"]),
    ("pt",         &[]),
    ("report",     &["engine"]),
    ("shim",       &["emulate", "uapi", "wire"]),
    ("supervisor", &["devices", "engine", "mem", "profile", "uapi", "wire"]),
    ("testkit",    &["engine", "mem", "profile", "uapi"]),
    ("uapi",       &[]),
    ("wire",       &[]),
    ("xtask",      &["client", "devices", "engine", "mem", "profile", "pt", "report", "uapi", "wire"]),
];

/// The same for build dependencies: `cli` embeds the bytes of the shim.
const ALLOWED_IN_BUILD: &[(&str, &[&str])] = &[("cli", &["shim"])];

/// Checks the workspace and prints the verdict.
pub fn run(workspace: &Workspace) -> Result {
    let offences = offences(&workspace.packages);
    if offences.is_empty() {
        println!("{} crates, every arrow allowed", workspace.packages.len());
        return Ok(());
    }
    Err(Failure::from(format!(
        "the crate graph leaves the design:\n  {}\nremove the dependency, or change the design and \
         the table in crates/xtask/src/arrows.rs",
        offences.join("\n  ")
    )))
}

fn offences(packages: &[Package]) -> Vec<String> {
    let normal: BTreeMap<_, _> = ALLOWED.iter().copied().collect();
    let build: BTreeMap<_, _> = ALLOWED_IN_BUILD.iter().copied().collect();
    let mut offences = Vec::new();
    for package in packages {
        let from = short_name(&package.name);
        let Some(normal) = normal.get(from).copied() else {
            offences.push(format!("{from}: has no row in the table"));
            continue;
        };
        let build = build.get(from).copied().unwrap_or_default();
        for dependency in package.dependencies.iter().filter(|d| d.path.is_some()) {
            let to = short_name(&dependency.name);
            let (note, allowed) = match dependency.kind.as_deref() {
                Some("dev") => continue,
                Some("build") => (" (build)", build),
                _ => ("", normal),
            };
            if !allowed.contains(&to) {
                let allowed =
                    if allowed.is_empty() { "nothing of ours".into() } else { allowed.join(", ") };
                offences.push(format!("{from} -> {to}{note}: allowed is {allowed}"));
            }
        }
    }
    offences
}

fn short_name(package: &str) -> &str {
    match package {
        "softiommu" => "cli",
        _ => package.strip_prefix("softiommu-").unwrap_or(package),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::Dependency;

    #[test]
    fn only_the_tables_arrows_pass() {
        type Case =
            (&'static str, &'static str, Option<&'static str>, bool, &'static [&'static str]);
        #[rustfmt::skip] // one arrow, one line
        let cases: &[Case] = &[
            // from,             to,               kind,          ours?, offences
            ("softiommu-engine", "softiommu-mem",  None,          true,  &[]),
            ("softiommu-engine", "zerocopy",       None,          false, &[]),
            ("softiommu-mem",    "softiommu-uapi", Some("dev"),   true,  &[]),
            ("softiommu-mem",    "softiommu-uapi", None,          true,  &["mem -> uapi: allowed is nothing of ours"]),
            ("softiommu-report", "softiommu-mem",  None,          true,  &["report -> mem: allowed is engine"]),
            ("softiommu",        "softiommu-shim", Some("build"), true,  &[]),
            ("softiommu",        "softiommu-mem",  Some("build"), true,  &["cli -> mem (build): allowed is shim"]),
            ("softiommu",        "softiommu-shim", None,          true,  &["cli -> shim: allowed is client, devices, profile, report, supervisor, uapi"]),
            ("softiommu-magic",  "softiommu-mem",  None,          true,  &["magic: has no row in the table"]),
        ];
        for &(from, to, kind, ours, expected) in cases {
            let dependency = Dependency {
                name: to.into(),
                kind: kind.map(Into::into),
                path: ours.then(|| "crates/it".into()),
            };
            let package = Package { name: from.into(), dependencies: vec![dependency] };
            assert_eq!(offences(&[package]), expected, "{from} -> {to}");
        }
    }

    #[test]
    fn the_table_has_no_cycle() {
        // Take away, again and again, every crate that uses nothing of what is left.
        let mut left: BTreeMap<_, _> = ALLOWED.iter().copied().collect();
        while !left.is_empty() {
            let before = left.len();
            let names: Vec<_> = left.keys().copied().collect();
            left.retain(|_, uses| uses.iter().any(|used| names.contains(used)));
            assert!(left.len() < before, "a cycle among {names:?}");
        }
    }
}
