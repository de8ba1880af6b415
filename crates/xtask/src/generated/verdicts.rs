//! Machines, kernels, and what a requirement comes to on them.

use client::survey;
use profile::verdict::Outcome;
use profile::{Kernel, Machine, Requirement};

/// One row a machine.
pub fn machines_table() -> String {
    let mut table = String::from("| machine | what it is |\n|---|---|\n");
    for machine in Machine::all() {
        table += &format!("| `{}` | {} |\n", machine.name, machine.summary);
    }
    table
}

/// One row a kernel.
pub fn kernels_table() -> String {
    let mut table = String::from("| `--kernel` | behaves as Linux | by |\n|---|---|---|\n");
    for kernel in Kernel::all() {
        table += &format!("| {kernel} | {} | {} |\n", kernel.stands_for(), kernel.source());
    }
    table
}

/// What guest SVA comes to on every machine under every kernel, each by a dry run.
pub fn guest_sva_table() -> String {
    let requirement = Requirement::by_name("guest-sva").expect("a shipped requirement");
    let mut table = String::from(
        "| machine | kernels | guest SVA | where a program that does not ask fails |\n|---|---|---|---|\n",
    );
    for machine in Machine::all().iter().filter(|machine| !machine.test_command) {
        let surveyed = survey(requirement, machine, None);
        let spans = surveyed.map(|it| it.spans()).expect("a process may look at itself");
        for span in spans {
            let mark = match span.outcome {
                Outcome::Satisfied => "**yes**",
                Outcome::Missing => "no",
                Outcome::Unknown => "not known",
            };
            let name = &machine.name;
            table += &format!("| `{name}` | {span} | {mark} | {} |\n", span.reason);
        }
    }
    table
}
