//! What QEMU's model answered, row by row (`tests/data/qemu11_vtd.md`).

use std::collections::BTreeMap;

use profile::registers::Field;
use profile::registers::vtd::{EAFS, SMPWCS, SRS};
use pt::Access;
use uapi::iommufd::{IOMMU_VTD_S1_EAFE, IOMMU_VTD_S1_SRE, IOMMU_VTD_S1_WPE, iommu_hwpt_vtd_s1};

use super::{Ram, memory, request};
use crate::hw::vtd::lookup::structures::find;
use crate::hw::vtd::lookup::{PasidEntry, Refused, Registers, SecondStage, reason};

const TRUTH: &str = include_str!("../../../../../tests/data/qemu11_vtd_truth.txt");
const EDU: &str = include_str!("../../../../../tests/data/qemu11_vtd_edu_truth.txt");

/// A table for each level but the last, which is the page.
const ROOT: u64 = 0x10_0000;
const PAGE: u64 = 0x20_0000;
const LARGE_PAGE: u64 = 0x4000_0000;
const SOURCE: u16 = 0x08;
const SCALABLE: u64 = 1 << 10;
const RTADDR: u64 = 0x8000 | SCALABLE;

/// The tables of a row: the entries on the way to a page, less addresses.
struct Tables {
    entries: [u64; 4],
    /// Whether the entry above the last one is a page's.
    large: bool,
    iova: u64,
}

/// How the tables of a row differ from those of the first.
type Row = (&'static str, fn(&mut Tables));

const OK: Row = ("ok", |_| {});

#[rustfmt::skip] // one row, one line
const FIRST: &[Row] = &[
    OK,
    ("leaf P=0",                 |t| t.entries[3] = 0x6),
    ("leaf RW=0",                |t| t.entries[3] &= !2),
    ("leaf US=0",                |t| t.entries[3] &= !4),
    ("PDE P=0",                  |t| t.entries[2] &= !1),
    ("PDE RW=0",                 |t| t.entries[2] &= !2),
    ("PDE US=0",                 |t| t.entries[2] &= !4),
    ("PML4E RW=0",               |t| t.entries[0] &= !2),
    ("A/D all clear",            |t| t.entries = [0x7; 4]),
    ("leaf A=1 D=0",             |t| t.entries[3] = 0x27),
    ("PML4E PS=1",               |t| t.entries[0] |= 1 << 7),
    ("leaf bit7 (PAT)",          |t| t.entries[3] |= 1 << 7),
    ("leaf G",                   |t| t.entries[3] |= 1 << 8),
    ("leaf bit51",               |t| t.entries[3] |= 1 << 51),
    ("leaf bit52",               |t| t.entries[3] |= 1 << 52),
    ("leaf XD",                  |t| t.entries[3] |= 1 << 63),
    ("PDE XD",                   |t| t.entries[2] |= 1 << 63),
    ("EAF bit10 in leaf",        |t| t.entries[3] |= 1 << 10),
    ("2M leaf ok",               |t| t.large_page(0xe7)),
    ("2M leaf misaligned bit13", |t| t.large_page(0xe7 | 1 << 13)),
    ("noncanonical 48",          |t| t.iova = 0x8000_1234_5000),
    ("canonical-high idx256+",   |t| t.iova = 0xffff_8000_1234_5000),
    ("interrupt range 0xfeexxxxx", |t| t.iova = 0xfee0_0000),
];

#[rustfmt::skip]
const SECOND: &[Row] = &[
    OK,
    ("leaf 0",         |t| t.entries[3] = 0),
    ("leaf R only",    |t| t.entries[3] = 1),
    ("leaf W only",    |t| t.entries[3] = 2),
    ("PDE R only",     |t| t.entries[2] = 1),
    ("PML4E W only",   |t| t.entries[0] = 2),
    ("PML4E PS",       |t| t.entries[0] |= 1 << 7),
    ("leaf bit7",      |t| t.entries[3] |= 1 << 7),
    ("leaf SNP b11",   |t| t.entries[3] |= 1 << 11),
    ("leaf TM b62",    |t| t.entries[3] |= 1 << 62),
    ("leaf bit52",     |t| t.entries[3] |= 1 << 52),
    ("leaf bit 51",    |t| t.entries[3] |= 1 << 51),
    ("A/D b8/9 clear", |_| {}),
    ("above MGAW",     |t| t.iova = 0x4_0000_1234_5000),
    ("2M ok",          |t| t.large_page(0x83)),
    ("2M misaligned",  |t| t.large_page(0x83 | 1 << 13)),
];

#[rustfmt::skip]
const EDU_FIRST: &[Row] = &[
    ("P RW US",     |t| t.entries[3] = 0x7),
    ("P US (RO)",   |t| t.entries[3] = 0x25),
    ("P RW !US",    |t| t.entries[3] = 0x3),
    ("!P",          |t| t.entries[3] = 0x6),
    ("RO A=0",      |t| t.entries[3] = 0x5),
];

#[rustfmt::skip]
const EDU_SECOND: &[Row] = &[
    ("RW",         |_| {}),
    ("R only",     |t| t.entries[3] = 1),
    ("W only",     |t| t.entries[3] = 2),
    ("none",       |t| t.entries[3] = 0),
    ("PDE W only", |t| t.entries[2] = 2),
];

/// A part of a file: its tables and its unit.
struct Section {
    /// How its header begins, up to the registers.
    title: &'static str,
    rows: &'static [Row],
    entries: [u64; 4],
    entry: fn(Registers) -> PasidEntry,
    /// What our unit has besides.
    also: &'static [Field],
}

const FIRST_ENTRIES: [u64; 4] = [0x27, 0x27, 0x27, 0x67];

/// QEMU marks entries, and heeds SRE and EAFE, in units whose registers lack these: SMPWCS, SRS, EAFS.
const SECTIONS: &[Section] = &[
    Section {
        title: "first-stage (PGTT=1)",
        rows: FIRST,
        entries: FIRST_ENTRIES,
        entry: |unit| PasidEntry::first_stage(unit, ROOT, 4, false, 1),
        also: &[SMPWCS],
    },
    Section {
        title: "first-stage SRE=1,WPE=1",
        rows: FIRST,
        entries: FIRST_ENTRIES,
        entry: |unit| guest_first_stage(unit, IOMMU_VTD_S1_SRE | IOMMU_VTD_S1_WPE),
        also: &[SMPWCS, SRS],
    },
    Section {
        title: "first-stage EAFE=1",
        rows: FIRST,
        entries: FIRST_ENTRIES,
        entry: |unit| guest_first_stage(unit, IOMMU_VTD_S1_EAFE),
        also: &[SMPWCS, EAFS],
    },
    Section {
        title: "second-stage (PGTT=2)",
        rows: SECOND,
        entries: [3; 4],
        entry: |unit| PasidEntry::second_stage(unit, SECOND_STAGE, 2),
        also: &[],
    },
    Section {
        title: "nested (PGTT=3)",
        rows: FIRST,
        entries: FIRST_ENTRIES,
        entry: |unit| PasidEntry::nested(unit, &guest(0), SECOND_STAGE, 2),
        also: &[SMPWCS],
    },
    Section {
        title: "edu, VT-d second stage",
        rows: EDU_SECOND,
        entries: [3; 4],
        entry: |unit| PasidEntry::second_stage(unit, SECOND_STAGE, 2),
        also: &[],
    },
    Section {
        title: "edu, VT-d first stage",
        rows: EDU_FIRST,
        entries: FIRST_ENTRIES,
        entry: |unit| PasidEntry::first_stage(unit, ROOT, 4, false, 1),
        also: &[SMPWCS],
    },
];

const SECOND_STAGE: SecondStage =
    SecondStage { root: ROOT, levels: 4, tracks_dirty: false, snoops: false };

/// Registers of the parts whose header has none: those of the same stage.
const EDU_REGISTERS: [(&str, u64, u64); 2] = [
    ("edu, VT-d second stage", 0x80d2_008c_222f_0606, 0x4800_80f0_0f4a),
    ("edu, VT-d first stage", 0x81d2_008c_222f_0606, 0x8800_00f0_0f4a),
];

/// Where QEMU differs: part, row, what we say, why.
#[rustfmt::skip] // one row, one line
const DIFFERS: &[(&str, &str, &str, &str)] = &[
    ("first-stage (PGTT=1)", "leaf A=1 D=0", "OK ['0x27', '0x27', '0x27', '0x67']",
        "QEMU sets no D where A is set (hardware.md 5.2 a)"),
    ("first-stage EAFE=1", "ok", "OK ['0x427', '0x427', '0x427', '0x467']",
        "QEMU takes EAFE, and does not know what it says: the extended bit is set as A is (1.3)"),
    ("first-stage EAFE=1", "A/D all clear", "OK ['0x427', '0x427', '0x427', '0x467']",
        "the same"),
    ("second-stage (PGTT=2)", "leaf SNP b11", "TX_FAIL 0x7a ['0x3', '0x3', '0x3', '0x803']",
        "SNP is reserved in a unit without snoop control, as is this one (1.4); QEMU takes it in scalable mode"),
    ("second-stage (PGTT=2)", "leaf TM b62", "OK ['0x3', '0x3', '0x3', '0x3']",
        "bits 62:52 are ignored (1.4); QEMU takes bit 62 for one of the past (TM)"),
    ("edu, VT-d second stage", "R only", "READ None WRITE 0x85 data 0x0 leaf 0x1",
        "QEMU writes no record where the cached translation, of the read, refuses (5.2 e)"),
    ("edu, VT-d first stage", "P RW US", "READ None WRITE None data 0x1122334455667788 leaf 0x67",
        "QEMU sets no D where A is set, by the read (5.2 a)"),
    ("edu, VT-d first stage", "P US (RO)", "READ None WRITE 0x85 data 0x0 leaf 0x25",
        "no record where the cached translation refuses (5.2 e)"),
    ("edu, VT-d first stage", "RO A=0", "READ None WRITE 0x85 data 0x0 leaf 0x25",
        "no record where the cached translation refuses (5.2 e)"),
];

/// Reasons of legacy mode, which QEMU gives for the second stage, and what they are in scalable mode
/// (hardware.md 5.2 b).
const LEGACY: &[(u8, &[u8])] = &[
    (0x4, &[reason::SECOND_INPUT_BEYOND]),
    (0x5, &[reason::NO_WRITE, reason::SECOND_NOT_PRESENT]),
    (0x6, &[reason::NO_READ, reason::SECOND_NOT_PRESENT]),
    (0xc, &[reason::SECOND_RESERVED]),
];

fn guest(flags: u64) -> iommu_hwpt_vtd_s1 {
    iommu_hwpt_vtd_s1 { flags, pgtbl_addr: ROOT, addr_width: 48, __reserved: 0 }
}

/// Only a guest's first stage has flags; here it has no second stage below.
fn guest_first_stage(unit: Registers, flags: u64) -> PasidEntry {
    let mut words = PasidEntry::first_stage(unit, ROOT, 4, false, 1).0;
    words[2] = PasidEntry::nested(unit, &guest(flags), SECOND_STAGE, 1).0[2];
    PasidEntry(words)
}

impl Tables {
    fn large_page(&mut self, entry: u64) {
        (self.entries[2], self.large) = (entry, true);
    }

    fn at(&self, level: usize) -> u64 {
        let index = self.iova >> (39 - 9 * level) & 0x1ff;
        ROOT + 0x1000 * level as u64 + index * 8
    }

    fn page(&self) -> u64 {
        let offset = if self.large { 0x1f_ffff } else { 0xfff };
        if self.large { LARGE_PAGE | self.iova & offset } else { PAGE | self.iova & offset }
    }

    /// Everything from the root entry on.
    fn build(&self, entry: PasidEntry) -> Ram {
        let ram = memory();
        for (level, bits) in self.entries.into_iter().enumerate() {
            let next = match (level, self.large) {
                (3, _) => PAGE,
                (2, true) => LARGE_PAGE,
                _ => ROOT + 0x1000 * (level as u64 + 1),
            };
            ram.set(self.at(level), bits | next);
        }
        let (context, directory, pasids) = (0x9000, 0xa000, 0xb000);
        ram.set(RTADDR & !0xfff, context | 1);
        ram.set(context + u64::from(SOURCE) * 32, directory | 1);
        ram.set(directory, pasids | 1);
        for (word, at) in entry.0.into_iter().zip((pasids..).step_by(8)) {
            ram.set(at, word);
        }
        ram
    }

    /// The low bits of each entry.
    fn after(&self, ram: &Ram) -> Vec<String> {
        (0..4).map(|level| format!("{:#x}", ram.word(self.at(level)) & 0xfff)).collect()
    }
}

fn access(unit: Registers, ram: &Ram, iova: u64, access: Access) -> Result<u64, Refused> {
    let asked = request(iova, access);
    let entry = find(unit, RTADDR, SOURCE, asked, ram)?;
    entry.translate(unit, asked, ram).map(|found| found.address)
}

/// What we say to a row, in the words of its file, and what it says.
struct Answers {
    ours: String,
    theirs: String,
}

/// Theirs where it says the same as ours, by legacy reasons.
fn reason_of(theirs: &str, ours: Option<u8>) -> Option<u8> {
    let theirs = u8::from_str_radix(theirs.trim_start_matches("0x"), 16).unwrap();
    let same = LEGACY
        .iter()
        .any(|(legacy, meant)| *legacy == theirs && ours.is_some_and(|ours| meant.contains(&ours)));
    if same { ours } else { Some(theirs) }
}

fn hex(reason: Option<u8>) -> String {
    reason.map_or("None".into(), |reason| format!("{reason:#x}"))
}

/// A row of the test device: one write.
fn write_row(unit: Registers, tables: &Tables, ram: &Ram, row: &str) -> Answers {
    let written = access(unit, ram, tables.iova, Access::WRITE);
    let after = format!("['{}']", tables.after(ram).join("', '"));
    let (status, refused) = match written {
        Ok(address) => (if address == tables.page() { "OK" } else { "MISMATCH" }, None),
        // it went elsewhere, as a message
        Err(refused) if refused.reason == reason::MESSAGE => ("MISMATCH", None),
        Err(refused) => ("TX_FAIL", Some(refused)),
    };
    let (result, their_after) = row.split_once("A/D after=").unwrap();
    let words: Vec<_> = result.split_whitespace().collect();
    let mut their_reason = None;
    if let [_, reason, address, read] = words[..] {
        let ours = refused.map(|refused| refused.reason);
        their_reason = reason_of(reason.strip_prefix("reason=").unwrap(), ours);
        let their_address = address.strip_prefix("addr=0x").unwrap();
        if let Some(refused) = refused {
            assert_eq!(format!("{:x}", refused.address), their_address, "{row}");
            assert!(!refused.silent);
        }
        assert_eq!(read, "T=0");
    }
    let told = |status: &str, reason: Option<u8>, after: &str| match reason {
        None => format!("{status} {after}"),
        Some(reason) => format!("{status} {reason:#x} {after}"),
    };
    Answers {
        ours: told(status, refused.map(|refused| refused.reason), &after),
        theirs: told(words[0], their_reason, their_after.trim()),
    }
}

/// A row of `edu`: it reads a word, which is cleared then, and writes it back.
fn read_write_row(unit: Registers, tables: &Tables, ram: &Ram, row: &str) -> Answers {
    const DATA: u64 = 0x1122_3344_5566_7788;
    ram.set(PAGE, DATA);
    let (mut buffer, mut page) = (0, 0);
    let read = access(unit, ram, tables.iova, Access::READ);
    if let Ok(address) = read {
        buffer = ram.word(address);
    }
    let written = access(unit, ram, tables.iova, Access::WRITE);
    if let Ok(address) = written {
        assert_eq!(address, PAGE);
        page = buffer;
    }
    let leaf = tables.after(ram).pop().unwrap();
    let (read, written) = (read.err().map(|it| it.reason), written.err().map(|it| it.reason));
    let told = |read, written, data: &str, leaf: &str| {
        format!("READ {} WRITE {} data {data} leaf {leaf}", hex(read), hex(written))
    };
    // of a fault: reason, and whether it was of a read
    let fault = |name: &str, ours, is_read: &str| {
        let rest = row.split_once(name).unwrap().1.strip_prefix(" fault=").unwrap();
        let (reason, kind) = rest.strip_prefix("('")?.split_once("', ").unwrap();
        assert!(kind.starts_with(is_read), "{row}");
        reason_of(reason, ours)
    };
    let last = row.split_once("data_after=").unwrap().1;
    let (data, their_leaf) = last.split_once(" leaf=").unwrap();
    Answers {
        ours: told(read, written, &format!("{page:#x}"), &leaf),
        theirs: told(
            fault("READ", read, "1"),
            fault("WRITE", written, "0"),
            data,
            their_leaf.trim(),
        ),
    }
}

/// The part of a header, and the unit.
fn section(header: &str) -> (&'static Section, Registers) {
    let found = SECTIONS.iter().find(|section| header.starts_with(section.title));
    let section = found.unwrap_or_else(|| panic!("no such part: {header}"));
    let register = |name: &str| {
        let (_, rest) = header.split_once(name)?;
        u64::from_str_radix(rest.split_whitespace().next().unwrap(), 16).ok()
    };
    let (cap, ecap) = match (register(" CAP="), register(" ECAP=")) {
        (Some(cap), Some(ecap)) => (cap, ecap),
        _ => {
            let known = EDU_REGISTERS.iter().find(|(title, ..)| *title == section.title);
            let (_, cap, ecap) = known.unwrap();
            (*cap, *ecap)
        }
    };
    let also = section.also.iter().fold(0, |all, field| all | 1 << field.low);
    (section, Registers { cap, ecap: ecap | also, address_bits: 48 })
}

/// Every row of a file: by part and name.
fn rows(file: &str) -> BTreeMap<(&'static str, &'static str), Answers> {
    let mut answers = BTreeMap::new();
    let mut part = None;
    for line in file.lines() {
        if let Some(header) = line.strip_prefix("## ") {
            part = Some(section(header));
            continue;
        }
        let (section, unit) = part.unwrap();
        let name = line.split("  ").next().unwrap().trim();
        let rest = &line[name.len()..];
        let row = section.rows.iter().find(|(own, _)| *own == name);
        let (name, change) = row.unwrap_or_else(|| panic!("no such row: {line}"));
        let mut tables = Tables { entries: section.entries, large: false, iova: 0x1234_5000 };
        change(&mut tables);
        let ram = tables.build((section.entry)(unit));
        let both = match rest.contains("WRITE fault=") {
            true => read_write_row(unit, &tables, &ram, rest),
            false => write_row(unit, &tables, &ram, rest),
        };
        assert!(answers.insert((section.title, *name), both).is_none(), "twice: {line}");
    }
    answers
}

#[test]
fn qemu_vtd_rows() {
    let mut answers = rows(TRUTH);
    answers.extend(rows(EDU));
    let mut listed = 0;
    for (part, name, says, why) in DIFFERS {
        let answer = answers.get(&(*part, *name)).unwrap_or_else(|| panic!("{part}: {name}"));
        assert_ne!(answer.ours, answer.theirs, "{part}: {name} is listed ({why})");
        assert_eq!(answer.ours, *says, "{part}: {name}");
        listed += 1;
    }
    let differs = |key: &(&str, &str)| DIFFERS.iter().any(|it| (it.0, it.1) == *key);
    let unlisted: Vec<_> = answers
        .iter()
        .filter(|(key, answer)| !differs(key) && answer.ours != answer.theirs)
        .map(|(key, answer)| format!("{key:?}: {}, not {}", answer.ours, answer.theirs))
        .collect();
    assert!(unlisted.is_empty(), "{}", unlisted.join("\n"));
    println!("{} of {} rows equal, {listed} listed", answers.len() - listed, answers.len());
    assert_eq!(answers.len(), 55);
}

/// Without what the rows' units have besides, entries are refused, or marked by none.
#[test]
fn what_the_registers_do_not_have() {
    let bare = Registers { cap: EDU_REGISTERS[1].1, ecap: EDU_REGISTERS[1].2, address_bits: 48 };
    let tables =
        |leaf| Tables { entries: [0x27, 0x27, 0x27, leaf], large: false, iova: 0x1234_5000 };
    #[rustfmt::skip] // one case, one line
    let cases = [
        (guest_first_stage(bare, IOMMU_VTD_S1_SRE),            0x67, Some(reason::PASID_RESERVED)),
        (guest_first_stage(bare, IOMMU_VTD_S1_EAFE),           0x67, Some(reason::PASID_RESERVED)),
        (PasidEntry::first_stage(bare, ROOT, 4, false, 1),     0x67, None),
        (PasidEntry::first_stage(bare, ROOT, 4, false, 1),     0x07, Some(reason::FIRST_UNSNOOPED)),
    ];
    for (entry, leaf, expected) in cases {
        let tables = tables(leaf);
        let ram = tables.build(entry);
        let found = access(bare, &ram, tables.iova, Access::WRITE);
        assert_eq!(found.err().map(|refused| refused.reason), expected, "{entry:x?}");
    }
}
