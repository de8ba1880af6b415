//! The table of iommufd commands: what the ABI has, and how much of it works here.

use engine::{STATUS, Status};

/// One row a command, in the order of their numbers.
pub fn commands_table() -> String {
    let mut table =
        String::from("| command | since | what it is for | here |\n|---|---|---|---|\n");
    for command in uapi::COMMANDS {
        let (name, since, summary) = (command.name, command.since(), command.summary);
        table += &format!("| `{name}` | {since} | {summary} | {} |\n", status(command.nr));
    }
    table
}

/// What the engine says of a command.
fn status(nr: u8) -> String {
    match STATUS.iter().find(|(known, _)| *known == nr) {
        Some((_, Status::Works)) => "works".to_owned(),
        Some((_, Status::Partly(what))) => format!("partly: {what}"),
        None => "not".to_owned(),
    }
}
