//! A verdict says what a program that does not ask would have come to.

use client::feature::*;
use client::{CannotAsk, Device, Failed, System, probe};
use profile::verdict::Outcome;
use profile::{Kernel, Profile, Requirement, Verdict};

use super::features::{self, FeatureName};
use super::machines::{Variation, extremes, variations};

/// What became of a program that makes the calls of a feature without asking.
fn program(device: &Device, requirement: &str) -> Result<(), Failed> {
    match FeatureName::of(requirement) {
        FeatureName::Passthrough => features::passthrough(&device.open_unasked(&PASSTHROUGH)?),
        FeatureName::LiveMigration => features::migration(&device.open_unasked(&LIVE_MIGRATION)?),
        FeatureName::PageFaults => features::faults(&device.open_unasked(&PAGE_FAULTS)?),
        FeatureName::Pasid => features::pasids(&mut device.open_unasked(&PASIDS)?),
        FeatureName::Nested => features::nested(&mut device.open_unasked(&NESTED)?),
        FeatureName::GuestSva => features::guest_sva(&mut device.open_unasked(&GUEST_SVA)?),
    }
}

/// What is wrong between a verdict and a program.
fn differs(verdict: &Verdict, program: &Result<(), Failed>) -> Option<String> {
    let told = verdict.first_failure.as_ref().map(ToString::to_string);
    let failed = program.as_ref().err().map(ToString::to_string);
    let right = match verdict.outcome() {
        Outcome::Satisfied => failed.is_none() && told.is_none(),
        // where only something silent is missing, nothing fails
        Outcome::Missing | Outcome::Unknown => told == failed,
    };
    let outcome = verdict.outcome();
    (!right).then(|| format!("{outcome:?}, to fail at {told:?}; the program at {failed:?}"))
}

fn found(system: &System) -> Result<Profile, CannotAsk> {
    let profile = probe(system, None)?;
    // what was made was undone, so asking again finds the same
    assert_eq!(probe(system, None)?, profile);
    Ok(profile)
}

#[test]
fn a_verdict_is_what_a_program_comes_to() {
    compare_all(variations(), 5000);
}

#[test]
fn a_verdict_on_registers_that_no_hardware_has() {
    compare_all(extremes(), 3000);
}

/// Compares verdicts and programs on all these machines: at least so many.
fn compare_all(machines: Vec<Variation>, least: usize) {
    let mut wrong = Vec::new();
    let mut count = 0;
    for Variation { name, machine } in machines {
        for kernel in Kernel::all() {
            let system = System::software(&machine, kernel).unwrap();
            let profile = match found(&system) {
                Ok(profile) => profile,
                // vfio-pci does not take such a device, so there is nobody to ask
                Err(CannotAsk::NoDevice(_)) if name.ends_with("not coherent") => continue,
                Err(error) => panic!("{name}, {kernel}: {error}"),
            };
            let address = machine.devices.first().map(|device| device.address);
            let device = system.device(address.unwrap_or("0000:00:00.0".parse().unwrap()));
            for requirement in Requirement::all() {
                let verdict = Verdict::of(requirement, &profile);
                let program = program(&device, &requirement.name);
                count += 1;
                if let Some(difference) = differs(&verdict, &program) {
                    wrong.push(format!("{name}, {kernel}, {}: {difference}", requirement.name));
                }
            }
        }
    }
    assert!(count > least, "{count} combinations");
    assert!(
        wrong.is_empty(),
        "{} of {count}:\n{}",
        wrong.len(),
        wrong[..wrong.len().min(40)].join("\n")
    );
}

#[test]
fn negotiating_gives_what_the_verdict_promises() {
    for machine in profile::Machine::all().iter().filter(|machine| !machine.devices.is_empty()) {
        for kernel in Kernel::all() {
            let system = System::software(machine, kernel).unwrap();
            let device = system.device(machine.devices[0].address);
            let Ok(verdict) = device.check(GUEST_SVA.requirement()) else { continue };
            match device.negotiate(&GUEST_SVA).unwrap() {
                Ok(mut sva) => {
                    assert!(verdict.is_satisfied());
                    features::guest_sva(&mut sva).unwrap();
                }
                Err(refused) => assert_eq!(refused, verdict, "{} {kernel}", machine.name),
            }
        }
    }
}
