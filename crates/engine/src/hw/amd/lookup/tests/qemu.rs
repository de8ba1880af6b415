//! Against QEMU: `tests/data/qemu11_amd_truth.txt`.
//!
//! The file tells what stock QEMU 11.1.3 (Debian 1:11.1.3+ds-1~bpo13+1) did for a write of its
//! `iommu-testdev` behind `amd-iommu,dma-remap=on`, driven by qtest: whether what was written is where the
//! tables say, and which events were in the log. It is an output of QEMU, not a part of it.

use pt::Access;

use super::super::{DeviceEntry, Registers};
use super::{TABLES, memory};
use crate::hw::request::Request;

const FILE: &str = include_str!("../../../../../tests/data/qemu11_amd_truth.txt");

const PRESENT: u64 = 1;
const READ: u64 = 1 << 61;
const WRITE: u64 = 1 << 62;
const DOMAIN: u16 = 5;
const PAGE: u64 = 0x40_0000;

/// What the rows change: the device's entry, and those that a walk of it meets, from the last level.
struct Bench {
    entry: [u64; 4],
    tables: [u64; 4],
    iova: u64,
    /// Where the write ends up, if it does.
    address: u64,
}

impl Bench {
    fn new() -> Self {
        let table =
            |level: u64| (TABLES + (level - 1) * 0x1000) | level << 9 | PRESENT | READ | WRITE;
        // the second level's index is 0, so that it can be skipped
        let iova = 1 << 39 | 1 << 30 | 3 << 12 | 0x120;
        Self {
            entry: DeviceEntry::host(DOMAIN, TABLES + 0x3000, 4, false).0,
            tables: [PAGE | PRESENT | READ | WRITE, table(1), table(2), table(3)],
            iova,
            address: PAGE | iova & 0xfff,
        }
    }

    /// A page that an entry of a level maps, as `next level` and address tell it.
    fn maps(&mut self, level: usize, next: u64, address: u64, size: u64) {
        self.tables[level] = address | next << 9 | PRESENT | READ | WRITE;
        self.address = PAGE | self.iova & (size - 1);
    }
}

/// A row's name, and how it differs from the first.
type Row = (&'static str, fn(&mut Bench));

#[rustfmt::skip] // one row, one line
const ROWS: &[Row] = &[
    ("ok",                     |_| ()),
    ("leaf PR=0",              |b| b.tables[0] &= !PRESENT),
    ("leaf IW=0",              |b| b.tables[0] &= !WRITE),
    ("PDE IW=0",               |b| b.tables[1] &= !WRITE),
    ("DTE IW=0",               |b| b.entry[0] &= !WRITE),
    ("DTE V=0 (pass)",         |b| { b.entry[0] &= !1; b.address = b.iova }),
    ("DTE TV=0",               |b| b.entry[0] &= !2),
    ("DTE Mode=0 (pass)",      |b| { b.entry[0] &= !(7 << 9); b.address = b.iova }),
    ("DTE Mode=7",             |b| b.entry[0] |= 7 << 9),
    ("2M leaf NL=0 at L2",     |b| b.maps(1, 0, PAGE, 2 << 20)),
    ("NL=7 8K at L1",          |b| b.maps(0, 7, PAGE, 8 << 10)),
    ("NL=7 64K at L1",         |b| b.maps(0, 7, PAGE | 0x7000, 64 << 10)),
    ("level skip L3->T1 NL=1", |b| b.tables[2] = b.tables[1]),
    ("beyond mode4 (bit48)",   |b| b.iova |= 1 << 48),
    ("leaf FC bit60",          |b| b.tables[0] |= 1 << 60),
    ("leaf rsvd bit 57",       |b| b.tables[0] |= 1 << 57),
];

const EVENT_OF_QEMU: &str = "QEMU reads the domain and the address back as 0 (hardware.md 5.2); it says that each request is an \
     interrupt's (I, 8), and puts what is asked, of which a write is 2, where NX is, and not where Linux \
     looks for it (hardware.md 3.4)";

/// Rows that differ, what we say, and why.
#[rustfmt::skip] // one row, one line
const LISTED: &[(&str, &str, &str)] = &[
    ("leaf PR=0",            "TX_FAIL type=0x2 flags=0x20 dev=0x10 dom=0x5 addr=0x8040003120",    EVENT_OF_QEMU),
    ("leaf IW=0",            "TX_FAIL type=0x2 flags=0x70 dev=0x10 dom=0x5 addr=0x8040003120",    EVENT_OF_QEMU),
    ("beyond mode4 (bit48)", "TX_FAIL type=0x2 flags=0x20 dev=0x10 dom=0x5 addr=0x1008040003120", EVENT_OF_QEMU),
    ("PDE IW=0",             "TX_FAIL type=0x2 flags=0x70 dev=0x10 dom=0x5 addr=0x8040003120",
        "QEMU ignores what tables do not grant (hardware.md 5.2)"),
    ("DTE IW=0",             "TX_FAIL type=0x2 flags=0x70 dev=0x10 dom=0x5 addr=0x8040003120",
        "as PDE IW=0: what all of them grant is granted, the entry of the device too (hardware.md 3.3)"),
    ("DTE TV=0",             "TX_FAIL type=0x2 flags=0x20 dev=0x10 dom=0x5 addr=0x8040003120",
        "QEMU records nothing (hardware.md 5.2)"),
    ("DTE Mode=7",           "TX_FAIL type=0x1 flags=0x20 dev=0x10 dom=0x0 addr=0x8040003120",
        "QEMU records nothing (hardware.md 5.2)"),
];

/// What we say of a row.
fn ours(registers: Registers, device: u16, change: fn(&mut Bench)) -> String {
    let mut bench = Bench::new();
    change(&mut bench);
    let ram = memory();
    for (level, entry) in bench.tables.into_iter().enumerate() {
        let index = bench.iova >> (12 + 9 * level) & 0x1ff;
        ram.set(TABLES + level as u64 * 0x1000 + index * 8, entry);
    }
    let request =
        Request { pasid: None, iova: bench.iova, access: Access::WRITE, translation_only: false };
    match registers.translate(DeviceEntry(bench.entry), request, &ram) {
        Ok(found) if found.address == bench.address => "OK".to_owned(),
        Ok(found) => format!("MISMATCH {:#x}", found.address),
        Err(refused) => {
            let [first, second, low, high] = refused.record(device);
            format!(
                "TX_FAIL type={:#x} flags={:#x} dev={:#x} dom={:#x} addr={:#x}",
                second >> 28,
                second >> 16 & 0xfff,
                first & 0xffff,
                second & 0xffff,
                u64::from(high) << 32 | u64::from(low),
            )
        }
    }
}

#[test]
fn amd_qemu() {
    let (head, rows) = FILE.split_once('\n').unwrap();
    let head: Vec<_> = head.split_whitespace().collect();
    let ["testdev", "devfn", device, "EFR", efr, ..] = head[..] else { panic!("{head:?}") };
    let registers = Registers { efr: u64::from_str_radix(efr, 16).unwrap(), efr2: 0 };
    let (mut equal, mut seen) = (0, Vec::new());
    for line in rows.lines() {
        let (name, said) = line.split_at(29);
        let name = name.trim();
        let events = |of: char| "[']".contains(of);
        let theirs = said.replace(events, "").split_whitespace().collect::<Vec<_>>().join(" ");
        let row = ROWS.iter().find(|row| row.0 == name);
        let (_, change) = row.unwrap_or_else(|| panic!("how is {name:?} made?"));
        let ours = ours(registers, device.parse().unwrap(), *change);
        match LISTED.iter().find(|row| row.0 == name) {
            None => assert_eq!(ours, theirs, "{name}"),
            Some((_, listed, why)) => {
                assert_eq!(&ours, listed, "{name}: {why}");
                assert_ne!(ours, theirs, "{name} need not be listed");
            }
        }
        equal += u32::from(ours == theirs);
        seen.push(name);
    }
    println!("{equal} of {} rows equal, the others listed", seen.len());
    assert!(ROWS.iter().all(|row| seen.contains(&row.0)), "the file lacks rows: {seen:?}");
    assert!(
        LISTED.iter().all(|row| seen.contains(&row.0)),
        "listed, but not in the file: {seen:?}"
    );
}
