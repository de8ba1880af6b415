//! Against QEMU: `tests/data/qemu11_smmu_truth.txt`.
//!
//! Each row is a change of the same tables. Stage 1 maps a page through one table a level; stage 2 maps
//! those and the page as they are, and the device's address to the page where it is the only stage.

use pt::Access;

use super::bench::{Ram, request};
use crate::hw::smmuv3::lookup::{Event, Kind, Registers, StreamEntry};

const IOVA: u64 = 0x806_0456_7000;
const DESCRIPTOR: u64 = 0x4101_0000;
/// Tables of stage 1, from the root.
const TABLES: [u64; 4] = [0x4102_0000, 0x4103_0000, 0x4104_0000, 0x4105_0000];
const PAGE: u64 = 0x410c_0000;
/// The root of stage 2, and the tables below it for memory and for the device's address.
const S2_ROOT: u64 = 0x4106_0000;
const S2_TABLES: [[u64; 3]; 2] =
    [[0x4107_0000, 0x4108_0000, 0x4109_0000], [0x410a_0000, 0x410b_0000, 0x410d_0000]];
const ADDRESS: u64 = 0x0000_ffff_ffff_f000;
const SID: u32 = 8;

struct Bench {
    registers: Registers,
    ram: Ram,
    entry: [u64; 4],
    descriptor: [u64; 3],
    iova: u64,
    /// Where the address leads if it leads anywhere.
    expected: u64,
}

fn index(address: u64, level: usize) -> u64 {
    (address >> (39 - 9 * level) & 0x1ff) * 8
}

impl Bench {
    fn new(section: &str, registers: Registers) -> Self {
        const S2AA64_S2R: u64 = 1 << 51 | 1 << 58;
        let second = [S2AA64_S2R | 0x14 << 32 | 2 << 38 | 5 << 48, S2_ROOT];
        let entry = match section {
            "s1" => [1 | 5 << 1 | DESCRIPTOR, 0, 0, 0],
            "s2" => [1 | 6 << 1, 0, second[0], second[1]],
            "nested" => [1 | 7 << 1 | DESCRIPTOR, 0, second[0], second[1]],
            other => panic!("no section {other}"),
        };
        // T0SZ 16, IPS 44 bits, EPD1, V, AA64, R, A
        let flags = 16 | 4 << 32 | 1 << 30 | 1 << 31 | 1 << 41 | 1 << 45 | 1 << 46;
        let descriptor = [flags | 0x1e20 << 48, TABLES[0], 0];
        let ram = Ram::new(0);
        let bench = Self { registers, ram, entry, descriptor, iova: IOVA, expected: PAGE };
        for level in 0..3 {
            bench.first(level, TABLES[level + 1] | 3);
        }
        bench.first(3, PAGE | 0x743);
        for page in [DESCRIPTOR, PAGE].into_iter().chain(TABLES) {
            bench.second(page, page | 0x4c3);
        }
        bench.second(IOVA, PAGE | 0x4c3);
        bench
    }

    /// Writes the entry of stage 1 of a level.
    fn first(&self, level: usize, entry: u64) {
        self.ram.set(TABLES[level] + index(IOVA, level), entry);
    }

    /// Gives the page the low and high bits of an entry of stage 1.
    fn leaf(&self, bits: u64) {
        self.first(3, PAGE | bits);
    }

    /// Writes stage 2's entry of a page, and those that lead to it.
    fn second(&self, ipa: u64, entry: u64) {
        let tables = S2_TABLES[usize::from(ipa == IOVA)];
        self.ram.set(S2_ROOT + index(ipa, 0), tables[0] | 3);
        self.ram.set(tables[0] + index(ipa, 1), tables[1] | 3);
        self.ram.set(tables[1] + index(ipa, 2), tables[2] | 3);
        self.ram.set(tables[2] + index(ipa, 3), entry);
    }

    /// What comes of it, as the file's rows have it.
    fn outcome(&self) -> String {
        self.ram.write(DESCRIPTOR, &self.descriptor);
        let request = request(None, self.iova, Access::WRITE);
        let found = StreamEntry(self.entry)
            .context(self.registers, request, &self.ram)
            .and_then(|context| context.translate(request, &self.ram));
        let result = match found {
            Ok(found) if found.address == self.expected => "OK",
            Ok(_) => "ELSEWHERE",
            Err(_) => "TX_FAIL",
        };
        let events =
            found.err().filter(|event| event.recorded).map_or(String::new(), |it| told(&it));
        let leaf = self.ram.get(TABLES[3] + index(IOVA, 3)) & !ADDRESS;
        format!("{result} gerr=0 [{events}] leaf={leaf:#x}")
    }
}

fn told(event: &Event) -> String {
    let [word0, word1, word2, word3] = event.record(SID, None);
    let name = match event.kind {
        Kind::BadEntry => "C_BAD_STE",
        Kind::BadDescriptor => "C_BAD_CD",
        Kind::Translation => "F_TRANSLATION",
        Kind::AddressSize => "F_ADDR_SIZE",
        Kind::Access => "F_ACCESS",
        Kind::Permission => "F_PERMISSION",
        other => panic!("{other:?} is in no row"),
    };
    let (sid, ssv) = (word0 >> 32, word0 >> 11 & 1);
    let bit = |at: u32| word1 >> at & 1;
    let (s2, read, privileged, instruction) = (bit(39), bit(35), bit(33), bit(34));
    let class = word1 >> 40 & 3;
    format!(
        "'{name} sid={sid:#x} ssv={ssv} S2={s2} RnW={read} PnU={privileged} InD={instruction} \
         class={class} addr={word2:#x} w3={word3:#x}'"
    )
}

type Change = fn(&mut Bench);

#[rustfmt::skip] // one row, one line
const ROWS: &[(&str, &str, Change)] = &[
    ("s1", "ok",                      |_| ()),
    ("s1", "leaf invalid",            |it| it.first(3, 0)),
    ("s1", "leaf type=01 at L3",      |it| it.leaf(0x441)),
    ("s1", "AF=0",                    |it| it.leaf(0x43)),
    ("s1", "AF=0 AFFD=1",             |it| { it.leaf(0x43); it.descriptor[0] |= 1 << 35 }),
    ("s1", "AP2=1 RO",                |it| it.leaf(0x4c3)),
    ("s1", "AP1=0 (priv only)",       |it| it.leaf(0x403)),
    ("s1", "APTable RO at L1",        |it| it.first(1, TABLES[2] | 1 << 62 | 3)),
    ("s1", "APTable noEL0 L1",        |it| it.first(1, TABLES[2] | 1 << 61 | 3)),
    ("s1", "L0 invalid",              |it| it.first(0, 0)),
    ("s1", "L0 block (reserved)",     |it| it.first(0, TABLES[1] | 1)),
    ("s1", "OA>IPS bit47 w/ IPS=40b", |it| { it.leaf(1 << 47 | 0x443); it.ips(2) }),
    ("s1", "iova beyond T0SZ",        |it| it.iova |= 1 << 49),
    ("s1", "CD.V=0",                  |it| it.descriptor[0] &= !(1 << 31)),
    ("s1", "CD.AA64=0",               |it| it.descriptor[0] &= !(1 << 41)),
    ("s1", "EPD0=1",                  |it| it.descriptor[0] |= 1 << 14),
    ("s1", "TBI0=1 w/ top byte",      |it| { it.iova |= 0xa5 << 56; it.descriptor[0] |= 1 << 38 }),
    ("s1", "STE.V=0",                 |it| it.entry[0] &= !1),
    ("s1", "STE Cfg=abort",           |it| it.config(0)),
    ("s1", "STE Cfg=bypass",          |it| { it.config(4); it.expected = IOVA }),
    ("s1", "STE Cfg rsvd 1",          |it| it.config(1)),
    ("s1", "HA/HD + DBM clean",       |it| { it.leaf(1 << 51 | 0xc3); it.descriptor[0] |= 3 << 42 }),
    ("s1", "S1DSS=terminate,CDMAX=4", |it| it.substreams(0)),
    ("s1", "S1DSS=bypass",            |it| it.substreams(1)),
    ("s1", "S1DSS=ssid0",             |it| it.substreams(2)),
    ("s2", "ok",                      |_| ()),
    ("s2", "leaf invalid",            |it| it.second(IOVA, 0)),
    ("s2", "S2AP=R",                  |it| it.second(IOVA, PAGE | 0x443)),
    ("s2", "S2AP=W",                  |it| it.second(IOVA, PAGE | 0x483)),
    ("s2", "S2AP=0",                  |it| it.second(IOVA, PAGE | 0x403)),
    ("s2", "AF=0",                    |it| it.second(IOVA, PAGE | 0xc3)),
    ("s2", "ipa beyond T0SZ",         |it| it.entry[2] += 4 << 32),
    ("nested", "ok",                  |_| ()),
    ("nested", "S1 leaf inv",         |it| it.first(3, 0)),
    ("nested", "S2 leaf inv (PAGE)",  |it| it.second(PAGE, 0)),
    ("nested", "S2 RO page",          |it| it.second(PAGE, PAGE | 0x443)),
    ("nested", "S2 no map of S1 table", |it| it.second(TABLES[3], 0)),
    ("nested", "S2 no map of CD",     |it| it.second(DESCRIPTOR, 0)),
    ("nested", "S2 table page W-only (no R)", |it| it.second(TABLES[2], TABLES[2] | 0x483)),
    ("nested", "S1 RO",               |it| it.leaf(0x4c3)),
];

impl Bench {
    fn ips(&mut self, ips: u64) {
        self.descriptor[0] = self.descriptor[0] & !(7 << 32) | ips << 32;
    }

    fn config(&mut self, config: u64) {
        self.entry[0] = self.entry[0] & !0xe | config << 1;
    }

    fn substreams(&mut self, default: u64) {
        self.entry[0] |= 4 << 59;
        self.entry[1] |= default;
    }
}

/// Rows in which QEMU is known to be wrong: what we come to, and why.
#[rustfmt::skip] // one row, one line
const DIFFERENT: &[(&str, &str, &str, &str)] = &[
    ("s1", "AP1=0 (priv only)",
        "TX_FAIL gerr=0 ['F_PERMISSION sid=0x8 ssv=0 S2=0 RnW=0 PnU=0 InD=0 class=2 addr=0x80604567000 w3=0x0'] leaf=0x403",
        "5.2 SMMUv3 (b): QEMU does not check AP[1], the page is not for requests without privilege"),
    ("s1", "APTable noEL0 L1",
        "TX_FAIL gerr=0 ['F_PERMISSION sid=0x8 ssv=0 S2=0 RnW=0 PnU=0 InD=0 class=2 addr=0x80604567000 w3=0x0'] leaf=0x743",
        "5.2 SMMUv3 (b): QEMU does not check APTable[0], which takes the page from requests without privilege"),
    ("s1", "L0 block (reserved)",
        "TX_FAIL gerr=0 ['F_TRANSLATION sid=0x8 ssv=0 S2=0 RnW=0 PnU=0 InD=0 class=2 addr=0x80604567000 w3=0x0'] leaf=0x743",
        "5.2 SMMUv3 (a): QEMU takes a block where there is none, and then misses its access flag"),
    ("s1", "S1DSS=terminate,CDMAX=4", "OK gerr=0 [] leaf=0x743",
        "5.2 SMMUv3 (e): QEMU refuses S1CDMax; without substreams (SSIDSIZE 0) it is ignored, and S1DSS with it"),
    ("s1", "S1DSS=bypass", "OK gerr=0 [] leaf=0x743",
        "5.2 SMMUv3 (e), as above"),
    ("s1", "S1DSS=ssid0", "OK gerr=0 [] leaf=0x743",
        "5.2 SMMUv3 (e), as above"),
    ("s2", "ipa beyond T0SZ",
        "TX_FAIL gerr=0 ['F_TRANSLATION sid=0x8 ssv=0 S2=1 RnW=0 PnU=0 InD=0 class=2 addr=0x80604567000 w3=0x80604567000'] leaf=0x743",
        "5.2 SMMUv3 (d): QEMU refuses without an event"),
    ("nested", "S2 no map of S1 table",
        "TX_FAIL gerr=0 ['F_TRANSLATION sid=0x8 ssv=0 S2=1 RnW=1 PnU=0 InD=0 class=1 addr=0x80604567000 w3=0x41050000'] leaf=0x743",
        "5.2 SMMUv3 (c): QEMU reports stage 2's translation fault on a table as one of stage 1"),
];

/// Every row of QEMU's answers is what we come to, or is listed with the reason.
#[test]
fn smmuv3_qemu() {
    let file =
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/qemu11_smmu_truth.txt"));
    let (mut section, mut registers) = ("", Registers([0; 6]));
    let (mut equal, mut listed, mut wrong) = (0, 0, Vec::new());
    for line in file.lines() {
        if let Some(header) = line.strip_prefix("## ") {
            (section, registers) = read_header(header);
            continue;
        }
        let (name, answer) = read_row(line);
        let row = ROWS.iter().find(|row| (row.0, row.1) == (section, name));
        let (.., change) = row.unwrap_or_else(|| panic!("{section}: there is no row {name:?}"));
        let mut bench = Bench::new(section, registers);
        change(&mut bench);
        let ours = bench.outcome();
        let known = DIFFERENT.iter().find(|row| (row.0, row.1) == (section, name));
        match known {
            None if ours == answer => equal += 1,
            Some((.., expected, _why)) if ours == *expected && ours != answer => listed += 1,
            _ => wrong.push(format!("{section}: {name}\n  ours   {ours}\n  QEMU's {answer}")),
        }
    }
    println!("{equal} rows equal, {listed} listed");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!((equal + listed, listed), (ROWS.len(), DIFFERENT.len()), "rows of ours are missing");
}

/// A section's name and registers.
fn read_header(header: &str) -> (&str, Registers) {
    let mut words = header.split_whitespace();
    let section = words.next().unwrap();
    let mut registers = Registers([0; 6]);
    for (name, value) in words.filter_map(|word| word.split_once('=')) {
        if let Some(number) = name.strip_prefix("IDR") {
            let number: usize = number.parse().unwrap();
            registers.0[number] = u32::from_str_radix(value, 16).unwrap();
        }
    }
    (section, registers)
}

/// A row's name, and what came of it without padding.
fn read_row(line: &str) -> (&str, String) {
    let at = line.find("gerr=").unwrap_or_else(|| panic!("no row: {line}"));
    let (name, result) = line[..at].trim_end().rsplit_once(' ').unwrap();
    (name.trim_end(), format!("{result} {}", &line[at..]))
}
