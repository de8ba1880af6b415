//! Machines that differ from a shipped one in a value or two: its file, with the text changed.

use profile::Machine;

macro_rules! files {
    ($($name:literal)+) => {
        &[$(($name, include_str!(concat!("../../../../profiles/machines/", $name, ".toml")))),+]
    };
}

const FILES: &[(&str, &str)] = files!("spr" "icx" "grace" "genoa" "riscv" "none");

/// The text of a machine's file.
#[derive(Clone, Debug)]
pub struct File(String);

impl File {
    /// The file of a shipped machine.
    pub fn of(name: &str) -> Self {
        let (_, text) = FILES.iter().find(|(known, _)| *known == name).expect("a shipped machine");
        Self((*text).to_owned())
    }

    /// Gives a key of the first `[[table]]` another value, or its first.
    pub fn set(self, table: &str, key: &str, value: &str) -> Self {
        let head = format!("[[{table}]]\n");
        let from = self.0.find(&head).expect("the table") + head.len();
        let until = self.0[from..].find("\n\n").map_or(self.0.len(), |at| from + at);
        let old = self.0[from..until].lines().find(|line| line.starts_with(&format!("{key} = ")));
        let line = format!("{key} = {value}");
        let rest = match old {
            Some(old) => self.0[from..].replacen(old, &line, 1),
            None => format!("{line}\n{}", &self.0[from..]),
        };
        Self(format!("{}{rest}", &self.0[..from]))
    }

    /// Takes a key of the first `[[table]]` away, and its source with it.
    pub fn unset(self, table: &str, key: &str) -> Self {
        let head = format!("[[{table}]]\n");
        let from = self.0.find(&head).expect("the table");
        let keep = |line: &&str| !line.starts_with(&format!("{key} = "));
        let rest: String = self.0[from..].lines().filter(keep).flat_map(|it| [it, "\n"]).collect();
        Self(format!("{}{rest}", &self.0[..from]))
    }

    /// Takes ATS from the first device, and PRI with it, which needs it.
    pub fn without_ats(self) -> Self {
        self.set("device", "ats", "false").set("device", "pri", "false")
    }

    /// Turns bits of a register of the first IOMMU over.
    pub fn flip(self, register: &str, bits: u64) -> Self {
        let line = self.0.lines().find_map(|line| line.strip_prefix(&format!("{register} = 0x")));
        let value = u64::from_str_radix(line.expect("a hexadecimal register"), 16).unwrap();
        self.set("iommu", register, &format!("{:#x}", value ^ bits))
    }

    /// Appends tables.
    pub fn add(self, text: &str) -> Self {
        Self(format!("{}\n{text}", self.0))
    }

    /// Reads it.
    pub fn machine(&self) -> Machine {
        Machine::parse("changed.toml", &self.0).unwrap_or_else(|bad| panic!("{bad}\n{}", self.0))
    }
}
