//! QEMU 11.1.3's answers, where tables alone decide: rows of `qemu11_*.txt`, by their names there.
//!
//! A write of a user's, of 0x5000 into a page, by tables that lead from entry to entry with one index
//! each. Where QEMU errs, the row has our answer and says why. Rows that a device's context decides are
//! the engine's: SMMUv3's stream tables and context descriptors (also "HA/HD + DBM clean", "EPD0=1" and
//! those of substreams), AMD's device table, VT-d's "interrupt range" and "nested" (PGTT=3 is refused).

use crate::common::{AMD, Arena, Outside, STAGE1, STAGE2, Subject, VTD_SECOND, X86, path};
use pt::{
    Access, Encode, Fault, Nested, NestedFault, Prot, Reason, Rights, Root, TableMemory,
    TableStore, map, root, walk,
};

/// A level, bits to clear in the entry there, and then bits to set.
type Change = (u8, u64, u64);

/// What came of it, in the words of no vendor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    Fine,
    Input,
    NotPresent,
    Reserved,
    Output,
    Unmarked,
    /// No right, or not for a user.
    Denied,
}

use Answer::*;

impl From<Reason> for Answer {
    fn from(reason: Reason) -> Self {
        match reason {
            Reason::Input => Input,
            Reason::NotPresent => NotPresent,
            Reason::Reserved => Reserved,
            Reason::Output => Output,
            Reason::Unmarked => Unmarked,
            Reason::Privilege | Reason::Rights(_) => Denied,
        }
    }
}

/// Tables for one page.
struct Tables {
    arena: Arena,
    root: Root,
    /// Where its entries are, by level.
    entries: Vec<u64>,
}

const INPUT: u64 = 0x1234_5000;
const OUTPUT: u64 = 0x4_1000_0000;
const ALL: Rights = Rights::all();

impl Tables {
    fn new(format: &impl Subject, input: u64) -> Self {
        let mut arena = Arena::at(0x4100_0000);
        let root = root(format, &mut arena).unwrap();
        map(format, root, input, OUTPUT, 12, Prot::new(ALL), &mut arena).unwrap();
        let mut entries: Vec<_> = path(format, root, input, &arena);
        entries.sort_by_key(|&(_, level)| level);
        Self { arena, root, entries: entries.into_iter().map(|(at, _)| at).collect() }
    }

    fn change(&mut self, changes: &[Change]) {
        for &(level, clear, set) in changes {
            let at = self.entries[usize::from(level)];
            let entry = self.arena.load(at).unwrap();
            self.arena.store(at, entry & !clear | set).unwrap();
        }
    }

    fn ask(&self, format: &impl Encode, input: u64, access: Access) -> Answer {
        match walk(format, self.root, input, access, &self.arena) {
            Ok(_) => Fine,
            Err(Fault::Refused { reason, .. }) => reason.into(),
            Err(fault) => panic!("{fault:?}"),
        }
    }

    /// The low bits of entries, the root's first.
    fn marks(&self) -> Vec<u64> {
        let entry = |&at: &u64| self.arena.load(at).unwrap() & 0xfff;
        self.entries.iter().rev().map(entry).collect()
    }
}

const P: u64 = 1;
const RW: u64 = 2;
const US: u64 = 4;
const A: u64 = 1 << 5;
const D: u64 = 1 << 6;
const PS: u64 = 1 << 7;
const XD: u64 = 1 << 63;
const ADDRESS: u64 = 0xf_ffff_ffff_f000;

/// Entries' bits afterwards, from the root on.
type Row = (&'static str, &'static [Change], Answer, [u64; 4]);

#[rustfmt::skip] // one row, one line
#[test]
fn vtd_first_stage() {
    let rows: &[Row] = &[
        ("ok",                       &[],                       Fine,       [0x27, 0x27, 0x27, 0x67]),
        ("leaf P=0",                 &[(0, P | A | D, 0)],      NotPresent, [0x27, 0x27, 0x27, 0x6]),
        ("leaf RW=0",                &[(0, RW, 0)],             Denied,     [0x27, 0x27, 0x27, 0x65]),
        ("leaf US=0",                &[(0, US, 0)],             Denied,     [0x27, 0x27, 0x27, 0x63]),
        ("PDE P=0",                  &[(1, P, 0)],              NotPresent, [0x27, 0x27, 0x26, 0x67]),
        ("PDE RW=0",                 &[(1, RW, 0)],             Denied,     [0x27, 0x27, 0x25, 0x67]),
        ("PDE US=0",                 &[(1, US, 0)],             Denied,     [0x27, 0x27, 0x23, 0x67]),
        ("PML4E RW=0",               &[(3, RW, 0)],             Denied,     [0x25, 0x27, 0x27, 0x67]),
        ("A/D all clear",            &[(3, A, 0), (2, A, 0), (1, A, 0), (0, A | D, 0)],
                                                                Fine,       [0x27, 0x27, 0x27, 0x67]),
        // QEMU leaves D clear: reference/hardware.md 5.2 (a)
        ("leaf A=1 D=0",             &[(0, D, 0)],              Fine,       [0x27, 0x27, 0x27, 0x67]),
        ("PML4E PS=1",               &[(3, 0, PS)],             Reserved,   [0xa7, 0x27, 0x27, 0x67]),
        ("leaf bit7 (PAT)",          &[(0, 0, PS)],             Fine,       [0x27, 0x27, 0x27, 0xe7]),
        ("leaf G",                   &[(0, 0, 1 << 8)],         Fine,       [0x27, 0x27, 0x27, 0x167]),
        ("leaf bit51",               &[(0, 0, 1 << 51)],        Reserved,   [0x27, 0x27, 0x27, 0x67]),
        ("leaf bit52",               &[(0, 0, 1 << 52)],        Fine,       [0x27, 0x27, 0x27, 0x67]),
        ("leaf XD",                  &[(0, 0, XD)],             Fine,       [0x27, 0x27, 0x27, 0x67]),
        ("PDE XD",                   &[(1, 0, XD)],             Fine,       [0x27, 0x27, 0x27, 0x67]),
        ("EAF bit10 in leaf",        &[(0, 0, 1 << 10)],        Fine,       [0x27, 0x27, 0x27, 0x467]),
        ("2M leaf ok",               &[(1, ADDRESS, D | PS)],   Fine,       [0x27, 0x27, 0xe7, 0x67]),
        ("2M leaf misaligned bit13", &[(1, ADDRESS, D | PS | 1 << 13)],
                                                                Reserved,   [0x27, 0x27, 0xe7, 0x67]),
    ];
    for &(name, changes, answer, marks) in rows {
        let mut tables = Tables::new(&X86, INPUT);
        tables.change(changes);
        assert_eq!(tables.ask(&X86, INPUT, Access::WRITE), answer, "{name}");
        assert_eq!(tables.marks(), marks, "{name}");
    }
    let tables = Tables::new(&X86, INPUT);
    assert_eq!(tables.ask(&X86, 0x8000_1234_5000, Access::WRITE), Input, "noncanonical 48");
    let high = 0xffff_8000_1234_5000;
    assert_eq!(Tables::new(&X86, high).ask(&X86, high, Access::WRITE), Fine, "canonical-high idx256+");
    // QEMU has no EAFS, and marks nothing there
    let extended = pt::format::X86_64 { extended_accessed: true, ..X86 };
    let mut tables = Tables::new(&X86, INPUT);
    tables.change(&[(3, A, 0), (2, A, 0), (1, A, 0), (0, A | D, 0)]);
    assert_eq!(tables.ask(&extended, INPUT, Access::WRITE), Fine, "EAFE=1, A/D all clear");
    assert_eq!(tables.marks(), [0x427, 0x427, 0x427, 0x467], "EAFE=1, A/D all clear");
}

#[rustfmt::skip]
#[test]
fn vtd_second_stage() {
    let format = pt::format::VtdSecondStage { address_bits: 48, snoop: true, marks: false, ..VTD_SECOND };
    let rows: &[Row] = &[
        ("ok",            &[],                       Fine,       [3, 3, 3, 3]),
        ("leaf 0",        &[(0, u64::MAX, 0)],       NotPresent, [3, 3, 3, 0]),
        ("leaf R only",   &[(0, 2, 0)],              Denied,     [3, 3, 3, 1]),
        ("leaf W only",   &[(0, 1, 0)],              Fine,       [3, 3, 3, 2]),
        ("PDE R only",    &[(1, 2, 0)],              Denied,     [3, 3, 1, 3]),
        ("PML4E W only",  &[(3, 1, 0)],              Fine,       [2, 3, 3, 3]),
        ("PML4E PS",      &[(3, 0, PS)],             Reserved,   [0x83, 3, 3, 3]),
        ("leaf bit7",     &[(0, 0, PS)],             Fine,       [3, 3, 3, 0x83]),
        // accepted in scalable mode though ECAP.SC is 0 (1.4 says that it is reserved then)
        ("leaf SNP b11",  &[(0, 0, 1 << 11)],        Fine,       [3, 3, 3, 0x803]),
        // QEMU refuses it without device TLBs (TM, by older manuals); 1.4 says that it is ignored
        ("leaf TM b62",   &[(0, 0, 1 << 62)],        Fine,       [3, 3, 3, 3]),
        ("leaf bit52",    &[(0, 0, 1 << 52)],        Fine,       [3, 3, 3, 3]),
        ("leaf bit 51",   &[(0, 0, 1 << 51)],        Reserved,   [3, 3, 3, 3]),
        ("2M ok",         &[(1, ADDRESS, PS)],       Fine,       [3, 3, 0x83, 3]),
        ("2M misaligned", &[(1, ADDRESS, PS | 1 << 13)], Reserved, [3, 3, 0x83, 3]),
    ];
    for &(name, changes, answer, marks) in rows {
        let mut tables = Tables::new(&format, INPUT);
        tables.change(changes);
        assert_eq!(tables.ask(&format, INPUT, Access::WRITE), answer, "{name}");
        assert_eq!(tables.marks(), marks, "{name}; A/D b8/9 clear");
    }
    let tables = Tables::new(&format, INPUT);
    assert_eq!(tables.ask(&format, 0x4_0000_1234_5000, Access::WRITE), Input, "above MGAW");
}

/// The rows of `qemu11_vtd_edu_truth.txt`: reading, then writing. That a write is refused is seen by the
/// data there: a hit of QEMU's IOTLB makes no fault record, 5.2 (e).
#[rustfmt::skip]
#[test]
fn vtd_reads_and_writes() {
    type Row = (&'static str, &'static [Change], Answer, Answer);
    let second: &[Row] = &[
        ("RW",         &[],                 Fine,       Fine),
        ("R only",     &[(0, 2, 0)],        Fine,       Denied),
        ("W only",     &[(0, 1, 0)],        Denied,     Fine),
        ("none",       &[(0, u64::MAX, 0)], NotPresent, NotPresent),
        ("PDE W only", &[(1, 1, 0)],        Denied,     Fine),
    ];
    let first: &[Row] = &[
        ("P RW US",   &[],                 Fine,       Fine),
        ("P US (RO)", &[(0, RW, 0)],       Fine,       Denied),
        ("P RW !US",  &[(0, US, 0)],       Denied,     Denied),
        ("!P",        &[(0, P, 0)],        NotPresent, NotPresent),
        ("RO A=0",    &[(0, RW | A, 0)],   Fine,       Denied),
    ];
    check(&VTD_SECOND, second);
    check(&X86, first);

    fn check(format: &impl Subject, rows: &[Row]) {
        for &(name, changes, reads, writes) in rows {
            let mut tables = Tables::new(format, INPUT);
            tables.change(changes);
            assert_eq!(tables.ask(format, INPUT, Access::READ), reads, "{name}");
            assert_eq!(tables.ask(format, INPUT, Access::WRITE), writes, "{name}");
        }
    }
}

/// The rows of `qemu11_smmu_truth.txt`, by its input address.
const SMMU_INPUT: u64 = 0x806_0456_7000;
const AF: u64 = 1 << 10;

#[rustfmt::skip]
#[test]
fn smmu_stage1() {
    let format = pt::format::VmsaStage1 { marks: false, marks_dirty: false, ..STAGE1 };
    let passes = pt::format::VmsaStage1 { unmarked_passes: true, ..format };
    let narrow = pt::format::VmsaStage1 { address_bits: 40, ..format };
    let ignored = pt::format::VmsaStage1 { top_byte_ignored: true, ..format };
    let rows: &[(&str, pt::format::VmsaStage1, &[Change], Answer)] = &[
        ("ok",                     format,  &[],                    Fine),
        ("leaf invalid",           format,  &[(0, u64::MAX, 0)],    NotPresent),
        ("leaf type=01 at L3",     format,  &[(0, 2, 0)],           NotPresent),
        ("AF=0",                   format,  &[(0, AF, 0)],          Unmarked),
        ("AF=0 AFFD=1",            passes,  &[(0, AF, 0)],          Fine),
        ("AP2=1 RO",               format,  &[(0, 0, 1 << 7)],      Denied),
        // QEMU checks neither: 5.2 (b)
        ("AP1=0 (priv only)",      format,  &[(0, 1 << 6, 0)],      Denied),
        ("APTable noEL0 L1",       format,  &[(2, 0, 1 << 61)],     Denied),
        ("APTable RO at L1",       format,  &[(2, 0, 1 << 62)],     Denied),
        ("L0 invalid",             format,  &[(3, 1, 0)],           NotPresent),
        // QEMU takes it for a block: 5.2 (a)
        ("L0 block (reserved)",    format,  &[(3, 2, 0)],           NotPresent),
        ("OA>IPS bit47 w/ IPS=40b", narrow, &[(0, 0, 1 << 47)],     Output),
    ];
    for &(name, format, changes, answer) in rows {
        let mut tables = Tables::new(&format, SMMU_INPUT);
        tables.change(changes);
        assert_eq!(tables.ask(&format, SMMU_INPUT, Access::WRITE), answer, "{name}");
    }
    let tables = Tables::new(&format, SMMU_INPUT);
    let ask = |format, bits| tables.ask(&format, SMMU_INPUT | bits, Access::WRITE);
    assert_eq!(ask(format, 1 << 49), Input, "iova beyond T0SZ");
    assert_eq!(ask(ignored, 0x5a << 56), Fine, "TBI0=1 w/ top byte");
    assert_eq!(ask(format, 0x5a << 56), Input, "TBI0=0 w/ top byte");
}

#[rustfmt::skip]
#[test]
fn smmu_stage2() {
    let format = pt::format::VmsaStage2 { marks: false, marks_dirty: false, ..STAGE2 };
    let rows: &[(&str, &[Change], Answer)] = &[
        ("ok",           &[],                 Fine),
        ("leaf invalid", &[(0, 1, 0)],        NotPresent),
        ("S2AP=R",       &[(0, 1 << 7, 0)],   Denied),
        ("S2AP=W",       &[(0, 1 << 6, 0)],   Fine),
        ("S2AP=0",       &[(0, 3 << 6, 0)],   Denied),
        ("AF=0",         &[(0, AF, 0)],       Unmarked),
    ];
    for &(name, changes, answer) in rows {
        let mut tables = Tables::new(&format, SMMU_INPUT);
        tables.change(changes);
        assert_eq!(tables.ask(&format, SMMU_INPUT, Access::WRITE), answer, "{name}");
    }
    let tables = Tables::new(&format, SMMU_INPUT);
    assert_eq!(tables.ask(&format, SMMU_INPUT | 1 << 49, Access::WRITE), Input, "ipa beyond T0SZ");
}

/// Which stage refuses, and what for: a table of stage 1, or what the transaction is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Nest {
    Through,
    First(Answer),
    Second(Answer),
    /// Stage 2, for a table of stage 1.
    Table(Answer),
}

#[rustfmt::skip]
#[test]
fn smmu_nested() {
    let stage1 = pt::format::VmsaStage1 { marks: false, marks_dirty: false, ..STAGE1 };
    let stage2 = pt::format::VmsaStage2 { marks: false, marks_dirty: false, ..STAGE2 };
    // what stage 1's entry becomes, whose entry of stage 2 becomes another, and the bits cleared there
    let none: Change = (0, 0, 0);
    let rows: &[(&str, Change, Option<u8>, u64, Nest)] = &[
        ("ok",                          none,            None,    0,      Nest::Through),
        ("S1 leaf inv",                 (0, 1, 0),       None,    0,      Nest::First(NotPresent)),
        ("S2 leaf inv (PAGE)",          none,            None,    1,      Nest::Second(NotPresent)),
        ("S2 RO page",                  none,            None,    1 << 7, Nest::Second(Denied)),
        // for QEMU it is stage 1's fault: 5.2 (c)
        ("S2 no map of S1 table",       none,            Some(0), 1,      Nest::Table(NotPresent)),
        ("S2 table page W-only (no R)", none,            Some(1), 1 << 6, Nest::Table(Denied)),
        ("S1 RO",                       (0, 0, 1 << 7),  None,    0,      Nest::First(Denied)),
    ];
    for &(name, change, of_table, cleared, expected) in rows {
        let mut first = Tables::new(&stage1, SMMU_INPUT);
        first.change(&[change]);
        let mut second = Arena::at(0x8000_0000);
        let root2 = root(&stage2, &mut second).unwrap();
        let pages: Vec<_> = first.arena.tables.keys().copied().chain([OUTPUT]).collect();
        for &page in &pages {
            map(&stage2, root2, page, page, 12, Prot::new(ALL), &mut second).unwrap();
        }
        let page = of_table.map_or(OUTPUT, |level| first.entries[usize::from(level)] & ADDRESS);
        let &(at, _) = path(&stage2, root2, page, &second).last().unwrap();
        let entry = second.load(at).unwrap();
        second.store(at, entry & !cleared).unwrap();
        let memory = Both(&first.arena, &second);
        let nested = Nested::new(stage2, root2, &memory);
        let found = match walk(&stage1, first.root, SMMU_INPUT, Access::WRITE, &nested) {
            Ok(found) => match walk(&stage2, root2, found.address, Access::WRITE, &memory) {
                Ok(_) => Nest::Through,
                Err(Fault::Refused { reason, .. }) => Nest::Second(reason.into()),
                Err(fault) => panic!("{fault:?}"),
            },
            Err(Fault::Refused { reason, .. }) => Nest::First(reason.into()),
            Err(Fault::Load { error: NestedFault { fault: Fault::Refused { reason, .. }, .. }, .. }) =>
                Nest::Table(reason.into()),
            Err(fault) => panic!("{fault:?}"),
        };
        assert_eq!(found, expected, "{name}");
    }
}

/// Two memories, side by side.
struct Both<'a>(&'a Arena, &'a Arena);

impl TableMemory for Both<'_> {
    type Error = Outside;

    fn load(&self, address: u64) -> Result<u64, Outside> {
        self.0.load(address).or_else(|Outside| self.1.load(address))
    }

    fn swap(&self, _address: u64, _old: u64, _new: u64) -> Result<bool, Outside> {
        panic!("nothing is marked")
    }
}

#[rustfmt::skip]
#[test]
fn amd_v1() {
    const IW: u64 = 1 << 62;
    let format = pt::format::AmdV1 { marks: false, ..AMD };
    let rows: &[(&str, &[Change], Answer)] = &[
        ("ok",                    &[],                              Fine),
        ("leaf PR=0",             &[(0, 1, 0)],                     NotPresent),
        ("leaf IW=0",             &[(0, IW, 0)],                    Denied),
        // QEMU ignores it: 5.2
        ("PDE IW=0",              &[(1, IW, 0)],                    Denied),
        ("2M leaf NL=0 at L2",    &[(1, ADDRESS | 7 << 9, 0)],      Fine),
        ("NL=7 8K at L1",         &[(0, 1 << 12, 7 << 9)],          Fine),
        ("NL=7 64K at L1",        &[(0, 0xf000, 7 << 9 | 0x7000)],  Fine),
        ("leaf FC bit60",         &[(0, 0, 1 << 60)],               Fine),
        ("leaf rsvd bit 57",      &[(0, 0, 1 << 57)],               Fine),
    ];
    for &(name, changes, answer) in rows {
        let mut tables = Tables::new(&format, INPUT);
        tables.change(changes);
        assert_eq!(tables.ask(&format, INPUT, Access::WRITE), answer, "{name}");
    }
    let tables = Tables::new(&format, INPUT);
    assert_eq!(tables.ask(&format, INPUT | 1 << 48, Access::WRITE), Input, "beyond mode4 (bit48)");
    // the address that is skipped over must be 0
    for (input, answer) in [(0x4000_5000, Fine), (0x4020_5000, NotPresent)] {
        let mut tables = Tables::new(&format, 0x4000_5000);
        let below = tables.arena.load(tables.entries[1]).unwrap();
        tables.change(&[(2, u64::MAX, below)]);
        assert_eq!(tables.ask(&format, input, Access::WRITE), answer, "level skip L3->T1 NL=1");
    }
}
