//! Capabilities and requirements: what they are, and what they take.

use profile::capability::{Kind, Provision};
use profile::{Capability, Requirement};

/// One row a capability, in the order in which a program comes to them.
pub fn capabilities_table() -> String {
    let mut table =
        String::from("| capability | value | a program that has it | after |\n|---|---|---|---|\n");
    for capability in Capability::ALL {
        let kind = match capability.kind() {
            Kind::Flag => "flag",
            Kind::Number => "number",
            Kind::Word => "word",
        };
        let after: Vec<_> = capability.after().iter().map(|it| format!("`{it}`")).collect();
        let (says, after) = (capability.says(), after.join(", "));
        table += &format!("| `{capability}` | {kind} | {says} | {after} |\n");
    }
    table
}

/// One row a capability and the kinds of IOMMU on which it takes the same.
pub fn provisions_table() -> String {
    let mut table = String::from(
        "| capability | IOMMU | since | registers | device | settings |\n|---|---|---|---|---|---|\n",
    );
    for capability in Capability::ALL {
        for provision in capability.provisions() {
            let row = provision_row(provision);
            table += &format!("| `{capability}` | {} |\n", row.join(" | "));
        }
    }
    table
}

fn provision_row(provision: &Provision) -> [String; 5] {
    let vendors: Vec<_> = provision.vendors.iter().map(|vendor| vendor.name()).collect();
    let fields: Vec<_> = provision.fields.iter().map(|field| field.name).collect();
    let device: Vec<_> = provision.device.iter().map(|need| need.says()).collect();
    let settings: Vec<_> = provision.settings.iter().map(|it| format!("`{}`", it.name)).collect();
    [
        if vendors.is_empty() { "any, or none".to_owned() } else { vendors.join(", ") },
        provision.since.to_string(),
        fields.join(", "),
        device.join(", "),
        settings.join(", "),
    ]
}

/// One row a form of a requirement.
pub fn requirements_table() -> String {
    let mut table = String::from("| requirement | what it is | on | needs |\n|---|---|---|---|\n");
    for requirement in Requirement::all() {
        let (name, summary) = (&requirement.name, &requirement.summary);
        for variant in &requirement.variants {
            let iommu = variant.iommu.map_or("any IOMMU", |vendor| vendor.name());
            let needs: Vec<_> = variant.needs.iter().map(|need| format!("`{need}`")).collect();
            let needs = needs.join(", ");
            table += &format!("| `{name}` | {summary} | {iommu} | {needs} |\n");
        }
    }
    table
}
