//! The table of iommufd commands: what the ABI has, and how much of it works here.

use std::fmt;

/// How much of a command works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(dead_code)] // until the engine's table of handlers says which
enum Status {
    Works,
    Partly(&'static str),
    Not,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Status::Works => f.write_str("works"),
            Status::Partly(what) => write!(f, "partly: {what}"),
            Status::Not => f.write_str("not"),
        }
    }
}

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

/// To be answered by the engine's table of handlers.
fn status(_nr: u8) -> Status {
    Status::Not
}
