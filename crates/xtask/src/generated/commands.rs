//! The table of iommufd commands: what the ABI has, and how much of it works here.

use engine::{STATUS, Status, VFIO_STATUS, Y2020_STATUS};

/// One row a command, in the order of their numbers.
pub fn commands_table() -> String {
    let mut table =
        String::from("| command | since | what it is for | here |\n|---|---|---|---|\n");
    for command in uapi::COMMANDS {
        let (name, since, summary) = (command.name, command.since(), command.summary);
        let status = STATUS.iter().find(|(known, _)| *known == command.nr);
        let status = in_words(status.map_or(Status::Not, |(_, status)| *status));
        table += &format!("| `{name}` | {since} | {summary} | {status} |\n");
    }
    table
}

/// The same of calls on VFIO devices.
pub fn vfio_table() -> String {
    let mut table = String::from("| call | since | what it is for | here |\n|---|---|---|---|\n");
    for (name, since, summary, status) in VFIO_STATUS {
        let name = if name.contains(' ') { (*name).to_owned() } else { format!("`{name}`") };
        table += &format!("| {name} | {since} | {summary} | {} |\n", in_words(*status));
    }
    table
}

/// The same of the API of 2020.
pub fn y2020_table() -> String {
    let mut table =
        String::from("| call or region | IOMMU | what it is for | here |\n|---|---|---|---|\n");
    for (name, iommu, summary, status) in Y2020_STATUS {
        table += &format!("| `{name}` | {iommu} | {summary} | {} |\n", in_words(*status));
    }
    table
}

fn in_words(status: Status) -> String {
    match status {
        Status::Works => "works".to_owned(),
        Status::Partly(what) => format!("partly: {what}"),
        Status::Not => "not yet".to_owned(),
    }
}
