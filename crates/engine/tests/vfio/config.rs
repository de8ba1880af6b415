//! Configuration space (`drivers/vfio/pci/vfio_pci_config.c`).

use std::fs;
use std::sync::Arc;

use engine::{Msix, Vectors};
use mem::AddressSpace;
use profile::machine::{Express, PasidCapability};
use profile::{Kernel, Machine};
use proptest::collection::vec;
use proptest::prelude::*;
use uapi::Errno;

use crate::bench::*;
use crate::recorded::{Controller, recorded};
use testkit::host::{MEMORY, UNMAPPED};

/// The bytes of `hexdump -C` until its last line.
fn dump(text: &str) -> Vec<u8> {
    let mut bytes: Vec<u8> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with("0x")) {
        if line == "*" {
            continue;
        }
        let at = usize::from_str_radix(&line[..8], 16).unwrap();
        // a star stands for lines like the one before
        while bytes.len() < at {
            bytes.extend_from_within(bytes.len() - 16..);
        }
        let end = line.find('|').unwrap_or(line.len());
        let words = line[8..end].split_whitespace();
        bytes.extend(words.map(|word| u8::from_str_radix(word, 16).unwrap()));
    }
    bytes
}

#[test]
fn the_recorded_controller() {
    let text = fs::read_to_string(recorded("vfio-nvme-config-space.txt")).unwrap();
    let mut expected = dump(&text);
    assert_eq!(expected.len(), 4096);
    let mut bench = Bench::unbound_on("q35", "7.3", Vectors::default(), false);
    // with another device behind it
    let machine = Machine::by_name("q35").unwrap();
    bench.host = testkit::host::Host::unbound(machine, Kernel::newest());
    assert!(bench.host.engine.plug(0, Controller::new()));
    let mut bench = bench.bound();
    let mut found = bench.load(CONFIG, 4096);
    // bus mastering is off when a program gets it, and the BAR is elsewhere
    assert_eq!((expected[4], found[4]), (7, 3));
    assert_eq!(expected[0x10] & 0xf, found[0x10] & 0xf);
    for bytes in [&mut expected, &mut found] {
        bytes[4] = 0;
        bytes[0x10..0x18].fill(0);
    }
    let differing: Vec<_> = (0..4096).filter(|at| expected[*at] != found[*at]).collect();
    assert_eq!(differing, []);
}

#[test]
fn header() {
    let mut bench = Bench::new();
    let header = bench.load(CONFIG, 64);
    // vendor, device, memory on, capabilities, revision and class of spr's device
    assert_eq!(header[..16], [0x86, 0x80, 0x25, 0x0b, 3, 1, 0x10, 0, 0, 0, 0x80, 8, 0, 0, 0, 0]);
    let bar = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap());
    let first = bar(&header[16..24]);
    assert_eq!((first & 0xfff, first >> 44), (0xc, 2), "{first:#x}");
    assert_eq!(header[28..0x34], [0; 0x18]);

    // how large a BAR is
    bench.store(CONFIG + 16, &[0xff; 24]);
    let sized = bench.load(CONFIG + 16, 24);
    assert_eq!(bar(&sized[..8]), !(SIZE - 1) | 0xc);
    assert_eq!(sized[8..], [0xf0, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);

    // what else may be written
    bench.witness.seen();
    bench.store(CONFIG, &[0xff; 16]);
    let header = bench.load(CONFIG, 16);
    assert_eq!(header, [0x86, 0x80, 0x25, 0x0b, 0x47, 5, 0x10, 0, 0, 0, 0x80, 8, 0xff, 0, 0, 0]);
    assert_eq!(bench.witness.seen(), [Seen::Master(true)]);
    let before = bench.load(CONFIG + 0x28, 0x18);
    bench.store(CONFIG + 0x28, &[0xff; 0x18]);
    let mut after = bench.load(CONFIG + 0x28, 0x18);
    assert_eq!(after[0x14], 0xff, "interrupt line");
    after[0x14] = before[0x14];
    assert_eq!(after, before);
}

/// Identities and places.
type List<T> = Vec<(T, T)>;

/// Where capabilities are, in both lists.
fn lists(bench: &mut Bench) -> (List<u8>, List<u16>) {
    let bytes = bench.load(CONFIG, 256);
    let mut caps = Vec::new();
    let mut at = bytes[0x34];
    while at != 0 {
        caps.push((bytes[at as usize], at));
        at = bytes[at as usize + 1];
    }
    let mut extended = Vec::new();
    let mut at = 0x100;
    while at != 0 && bench.pread(MEMORY, 4, CONFIG + u64::from(at)).is_ok() {
        let word = u32::from_le_bytes(bench.load(CONFIG + u64::from(at), 4).try_into().unwrap());
        extended.push((word as u16, at));
        at = (word >> 20) as u16;
    }
    (caps, extended)
}

#[test]
fn capabilities() {
    const MSIX: (u8, u8) = (0x11, 0x40);
    const MSI: (u8, u8) = (5, 0xc0);
    const EXPRESS: (u8, u8) = (0x10, 0x80);
    const POWER: (u8, u8) = (1, 0x60);
    const ATS: u16 = 0xf;
    let msix = Some(Msix { vectors: 4, table: (0, 0), pending: (0, 0x800) });
    let pasid = Some(PasidCapability { width: 5, execute: false, privileged: false });
    type Change = fn(&mut profile::machine::Device);
    type Row<'a> = (&'a str, Vectors, Change, &'a [(u8, u8)], &'a [(u16, u16)]);
    let none = Vectors::default();
    #[rustfmt::skip] // one device, one line
    let rows: &[Row<'_>] = &[
        ("nothing",          none,                                |_| (),                    &[EXPRESS, POWER],            &[(0, 0x100)]),
        ("all interrupts",   Vectors { pin: true, msi: 8, msix }, |_| (),                    &[MSIX, MSI, EXPRESS, POWER], &[(0, 0x100)]),
        ("an old bus",       none,                                |d| d.express = None,      &[POWER],                     &[]),
        ("ATS",              none,                                |d| d.ats = true,          &[EXPRESS, POWER],            &[(ATS, 0x100)]),
        ("ATS and PRI",      none,                                |d| (d.ats, d.pri) = (true, true), &[EXPRESS, POWER],    &[(ATS, 0x100), (0x13, 0x108)]),
        ("SR-IOV",           none,                                |d| d.total_vfs = 7,       &[EXPRESS, POWER],            &[(0x10, 0x100)]),
        ("PRI of another",   none,                                |d| (d.ats, d.pri, d.virtual_function) = (true, true, true), &[EXPRESS, POWER], &[(ATS, 0x100)]),
    ];
    for hidden in [None, pasid] {
        for (what, vectors, change, caps, extended) in rows {
            let mut machine = Machine::by_name("spr").unwrap().clone();
            let device = &mut machine.devices[0];
            (device.ats, device.pri, device.pasid) = (false, false, hidden);
            change(device);
            let mut bench = Bench::unbound_of(&machine, Kernel::newest(), *vectors, false).bound();
            // PASID is never seen
            assert_eq!(lists(&mut bench), (caps.to_vec(), extended.to_vec()), "{what}, {hidden:?}");
        }
    }
}

#[test]
fn an_old_bus_has_a_small_space() {
    let mut machine = Machine::by_name("q35").unwrap().clone();
    machine.devices[0].express = None;
    let mut bench =
        Bench::unbound_of(&machine, Kernel::newest(), Vectors::default(), false).bound();
    assert_eq!(bench.pread(MEMORY, 256, CONFIG), Ok(256));
    assert_eq!(bench.pread(MEMORY, 4, CONFIG + 256), EFAULT);
    machine.devices[0].express = Some(Express::Endpoint);
    let mut bench =
        Bench::unbound_of(&machine, Kernel::newest(), Vectors::default(), false).bound();
    assert_eq!(bench.pread(MEMORY, 4096, CONFIG), Ok(4096));
}

/// What a write leaves, and whether what is written is looked at.
#[test]
fn writes() {
    let msix = Some(Msix { vectors: 4, table: (0, 0), pending: (0, 0x800) });
    let vectors = Vectors { pin: true, msi: 8, msix };
    type Row = (&'static str, u64, &'static [u8], &'static [u8], bool);
    #[rustfmt::skip] // one write, one line
    let rows: &[Row] = &[
        // what,               at,    written,                    read afterwards,          looked at
        ("MSI-X control",      0x42,  &[0xff, 0xff],              &[3, 0],                  false),
        ("MSI control",        0xc2,  &[0x7f, 0xff],              &[0x0e, 0],               true),
        ("MSI address",        0xc4,  &[1, 2, 3, 4, 5, 6, 7, 8],  &[1, 2, 3, 4, 5, 6, 7, 8], true),
        ("MSI data",           0xcc,  &[1, 2],                    &[1, 2],                  true),
        ("device control",     0x88,  &[0xff, 0x7f],              &[0xff, 0x79],            true),
        ("device control 2",   0xa8,  &[0xff, 0xff],              &[0, 0x80],               true),
        ("device capability",  0x84,  &[0xff; 4],                 &[0, 0x80, 0, 0x10],      true),
        ("capability header",  0x80,  &[0xff; 2],                 &[0x10, 0x60],            true),
        ("PME",                0x64,  &[0x00, 0xff],              &[8, 0],                  true),
        ("between them",       0x50,  &[0xff; 4],                 &[0; 4],                  true),
        ("extended space",     0x200, &[0xff; 4],                 &[0; 4],                  true),
        ("ATS control",        0x106, &[0xff, 0xff],              &[0, 0],                  false),
        ("vendor",             0x00,  &[0xff; 2],                 &[0x86, 0x80],            true),
        ("interrupt pin",      0x3d,  &[0xff],                    &[1],                     true),
    ];
    for (what, at, written, after, is_read) in rows {
        let mut bench = Bench::with(vectors);
        bench.store(CONFIG + at, written);
        assert_eq!(bench.load(CONFIG + at, after.len()), *after, "{what}");
        let nowhere = bench.pwrite(UNMAPPED, written.len() as u64, CONFIG + at);
        let expected = if *is_read { Err(Errno::EFAULT) } else { Ok(written.len() as u64) };
        assert_eq!(nowhere, expected, "{what}, from nowhere");
    }
}

/// In D3hot registers do not answer, and nothing is sent.
#[test]
fn power() {
    use Seen::*;
    let mut bench = Bench::new();
    bench.store(CONFIG + 4, &[7]);
    bench.store(CONFIG + 0x64, &[3]);
    assert_eq!(bench.load(CONFIG + 0x64, 1), [0xb]);
    assert_eq!(bench.pread(MEMORY, 4, 0), EIO);
    bench.store(CONFIG + 0x64, &[1]);
    assert_eq!(bench.load(CONFIG + 0x64, 1), [0xb], "there is no D1");
    bench.store(CONFIG + 0x64, &[0]);
    assert_eq!(bench.pread(MEMORY, 4, 0), Ok(4));
    assert_eq!(bench.witness.seen(), [Master(true), Master(false), Master(true), Read(0, 0, 4)]);
    // a reset wakes it
    bench.store(CONFIG + 0x64, &[3]);
    bench.witness.seen();
    let answer = bench.host.client.ioctl(bench.host.cards[0], uapi::vfio::VFIO_DEVICE_RESET, 0);
    assert_eq!(answer, Ok(0));
    assert_eq!(bench.witness.seen(), [Reset, Master(true)]);
}

/// Function-level reset by device control.
#[test]
fn function_reset() {
    let mut bench = Bench::new();
    bench.store(CONFIG + 0x88, &[0, 0x80]);
    assert_eq!(bench.witness.seen(), [Seen::Reset]);
    assert_eq!(bench.load(CONFIG + 0x88, 2), [0, 0]);
    let model: Arc<Witness> = Arc::clone(&bench.witness);
    bench.store(CONFIG + 0x88, &[0, 0x20]);
    assert_eq!(model.seen(), []);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is written where: identity and capabilities stay, and every read has an answer.
    #[test]
    fn anything_can_be_written(
        writes in vec((0..4096_u64, vec(any::<u8>(), 1..12)), 1..40),
    ) {
        let msix = Some(Msix { vectors: 4, table: (0, 0), pending: (0, 0x800) });
        let mut bench = Bench::with(Vectors { pin: true, msi: 8, msix });
        let (header, before) = (bench.load(CONFIG, 4), lists(&mut bench));
        for (at, bytes) in writes {
            bench.host.client.memory.write(MEMORY, &bytes).unwrap();
            let done = bench.pwrite(MEMORY, bytes.len() as u64, CONFIG + at);
            let fits = at + bytes.len() as u64 <= 4096;
            prop_assert_eq!(done, if fits { Ok(bytes.len() as u64) } else { EFAULT });
        }
        prop_assert_eq!((bench.load(CONFIG, 4), lists(&mut bench)), (header, before));
        prop_assert_eq!(bench.pread(MEMORY, 4096, CONFIG), Ok(4096));
    }
}
