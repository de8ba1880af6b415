//! Information, transfers, mapping, reset.

use std::sync::Arc;

use engine::{Model, Msix, Vectors};
use mem::{AddressSpace, PAGE_SIZE};
use profile::{Kernel, Machine};
use testkit::host::{Host, MEMORY, UNMAPPED};
use uapi::Errno;
use uapi::vfio::*;
use zerocopy::{FromBytes, IntoBytes};

use crate::bench::*;

#[test]
fn nothing_works_before_a_bind() {
    let mut bench = Bench::unbound();
    let calls = [
        VFIO_DEVICE_GET_INFO,
        VFIO_DEVICE_GET_REGION_INFO,
        VFIO_DEVICE_GET_IRQ_INFO,
        VFIO_DEVICE_RESET,
    ];
    for cmd in calls {
        assert_eq!(bench.call(cmd, &[32; 8], 32).0, Err(Errno::EINVAL), "{cmd:#x}");
    }
    assert_eq!(bench.pread(MEMORY, 0, 0), INVAL);
    assert_eq!(bench.pwrite(MEMORY, 4, 0), INVAL);
    assert_eq!(bench.witness.seen(), []);
    let other: Arc<Witness> = Arc::default();
    assert!(!bench.host.engine.plug(0, Arc::clone(&other) as _));
    assert!(!bench.host.engine.plug(9, other));
}

#[test]
fn information() {
    const INFO: u32 = VFIO_DEVICE_GET_INFO;
    const REGION: u32 = VFIO_DEVICE_GET_REGION_INFO;
    const IRQ: u32 = VFIO_DEVICE_GET_IRQ_INFO;
    let (inval, efault) = (Err(Errno::EINVAL), Err(Errno::EFAULT));
    type Row = (&'static str, u32, &'static [u32], u64, Result<(), Errno>, &'static [u32]);
    #[rustfmt::skip] // one call, one line
    let rows: &[Row] = &[
        ("device",              INFO,   &[24, 7, 7, 7, 7, 7, 7],       64, Ok(()),  &[24, 3, 9, 5, 0, 0, 7]),
        ("larger",              INFO,   &[64, 7, 7, 7, 7, 7, 7],       64, Ok(()),  &[64, 3, 9, 5, 0, 0, 7]),
        ("of before 6.6",       INFO,   &[20, 7, 7, 7, 7, 7, 7],       64, Ok(()),  &[20, 3, 9, 5, 0, 7, 7]),
        ("what is needed",      INFO,   &[16, 7, 7, 7, 7, 7, 7],       64, Ok(()),  &[16, 3, 9, 5, 7, 7, 7]),
        ("too short",           INFO,   &[15, 7, 7, 7, 7, 7, 7],       64, inval,   &[15, 7, 7, 7, 7, 7, 7]),
        ("not there",           INFO,   &[24, 7, 7],                   12, efault,  &[24, 7, 7]),
        ("no room to answer",   INFO,   &[24, 7, 7, 7],                16, efault,  &[24, 3, 9, 5]),
        ("BAR0",                REGION, &[32, 7, 0, 7, 7, 7, 7, 7],    64, Ok(()),  &[32, 3, 0, 7, SIZE as u32, 0, 0, 0]),
        ("upper half of BAR0",  REGION, &[32, 7, 1, 7, 7, 7, 7, 7],    64, Ok(()),  &[32, 0, 1, 7, 0, 0, 0, 0x100]),
        ("BAR2",                REGION, &[99, 7, 2, 7, 7, 7, 7, 7],    64, Ok(()),  &[99, 3, 2, 7, 16, 0, 0, 0x200]),
        ("BAR5",                REGION, &[32, 7, 5, 7, 7, 7, 7, 7],    64, Ok(()),  &[32, 0, 5, 7, 0, 0, 0, 0x500]),
        ("ROM",                 REGION, &[32, 7, 6, 7, 7, 7, 7, 7],    64, Ok(()),  &[32, 0, 6, 7, 0, 0, 0, 0x600]),
        ("configuration space", REGION, &[32, 7, 7, 7, 7, 7, 7, 7],    64, Ok(()),  &[32, 3, 7, 7, 4096, 0, 0, 0x700]),
        ("VGA",                 REGION, &[32, 7, 8, 7, 7, 7, 7, 7],    64, inval,   &[32, 7, 8, 7, 7, 7, 7, 7]),
        ("no region",           REGION, &[32, 7, 9, 7, 7, 7, 7, 7],    64, inval,   &[32, 7, 9, 7, 7, 7, 7, 7]),
        ("too short",           REGION, &[31, 7, 0, 7, 7, 7, 7, 7],    64, inval,   &[31, 7, 0, 7, 7, 7, 7, 7]),
        ("not there",           REGION, &[32, 7, 9, 7],                16, efault,  &[32, 7, 9, 7]),
        ("pin",                 IRQ,    &[16, 7, 0, 7, 7],             64, Ok(()),  &[16, 7, 0, 0, 7]),
        ("MSI",                 IRQ,    &[16, 7, 1, 7, 7],             64, Ok(()),  &[16, 9, 1, 0, 7]),
        ("MSI-X",               IRQ,    &[16, 7, 2, 7, 7],             64, Ok(()),  &[16, 1, 2, 0, 7]),
        ("last kind",           IRQ,    &[16, 7, 4, 7, 7],             64, Ok(()),  &[16, 9, 4, 1, 7]),
        ("no kind",             IRQ,    &[16, 7, 5, 7, 7],             64, inval,   &[16, 7, 5, 7, 7]),
        ("too short",           IRQ,    &[15, 7, 0, 7, 7],             64, inval,   &[15, 7, 0, 7, 7]),
        ("not there",           IRQ,    &[16, 7],                      8,  efault,  &[16, 7]),
    ];
    for (what, cmd, words, room, answer, after) in rows {
        let mut bench = Bench::new();
        let (result, told) = bench.call(*cmd, words, *room);
        assert_eq!((result, told.as_slice()), (*answer, *after), "{what}");
    }
}

#[test]
fn transfers() {
    let last = i64::MAX as u64;
    type Row = (&'static str, u64, u64, u64, Result<u64, Errno>);
    #[rustfmt::skip] // one transfer, one line
    let rows: &[Row] = &[
        // what,                 va,       count,    position,         answer of both
        ("a register",           MEMORY,   4,        0x10,             Ok(4)),
        ("nothing",              MEMORY,   0,        0x10,             Ok(0)),
        ("nothing, nowhere",     MEMORY,   0,        99 << 40,         Ok(0)),
        ("up to the end",        MEMORY,   99,       SIZE - 3,         Ok(3)),
        ("beyond the end",       MEMORY,   1,        SIZE,             INVAL),
        ("no BAR",               MEMORY,   1,        1 << 40,          INVAL),
        ("ROM",                  MEMORY,   1,        6 << 40,          INVAL),
        ("VGA",                  MEMORY,   1,        8 << 40,          INVAL),
        ("no region",            MEMORY,   1,        9 << 40,          INVAL),
        ("no region at all",     MEMORY,   1,        last - 1,         INVAL),
        ("past all positions",   MEMORY,   2,        last,             INVAL),
        ("negative count",       MEMORY,   1 << 63,  0,                EFAULT),
        ("no memory",            UNMAPPED, 4,        0,                EFAULT),
        ("all of it",            MEMORY,   SIZE,     0,                Ok(SIZE)),
        ("configuration",        MEMORY,   4096,     CONFIG,           Ok(4096)),
        ("beyond it",            MEMORY,   4096,     CONFIG + 1,       EFAULT),
        ("a BAR first",          UNMAPPED, 4,        SIZE,             INVAL),
    ];
    for (what, va, count, position, answer) in rows {
        let mut bench = Bench::new();
        assert_eq!(bench.pread(*va, *count, *position), *answer, "reading {what}");
        assert_eq!(bench.pwrite(*va, *count, *position), *answer, "writing {what}");
    }
}

#[test]
fn accesses_reach_the_device_as_wide_as_they_can() {
    let mut bench = Bench::new();
    assert_eq!(bench.load(0x13, 6), [0x13, 0x14, 0x15, 0x16, 0x17, 0x18]);
    use Seen::*;
    assert_eq!(bench.witness.seen(), [Read(0, 0x13, 1), Read(0, 0x14, 4), Read(0, 0x18, 1)]);
    bench.store(2 << 40, &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
    let parts = [Write(2, 0, vec![1, 2, 3, 4, 5, 6, 7, 8]), Write(2, 8, vec![9, 10])];
    assert_eq!(bench.witness.seen(), parts);
    // what is there before memory ends is written
    let end = MEMORY + 16 * PAGE_SIZE;
    bench.host.client.memory.write(end - 8, &[7; 8]).unwrap();
    assert_eq!(bench.pwrite(end - 8, 16, 0), EFAULT);
    assert_eq!(bench.witness.seen(), [Write(0, 0, vec![7; 8])]);
    assert_eq!(bench.pread(end - 8, 16, 0), EFAULT);
}

#[test]
fn the_files_own_position() {
    let mut bench = Bench::new();
    let file = bench.host.client.open_file(bench.host.cards[0]);
    let client = &mut bench.host.client;
    assert_eq!(file.read(client, MEMORY, 4, None), Ok(4));
    assert_eq!(file.write(client, MEMORY, 8, None), Ok(8));
    assert_eq!(file.read(client, MEMORY, 1, None), Ok(1));
    assert!(file.has_positions());
    use Seen::*;
    let bytes = vec![0, 1, 2, 3];
    let seen = [Read(0, 0, 4), Write(0, 4, bytes), Write(0, 8, vec![0; 4]), Read(0, 12, 1)];
    assert_eq!(bench.witness.seen(), seen);
}

#[test]
fn memory_that_is_off() {
    let mut bench = Bench::new();
    bench.store(CONFIG + 4, &[0, 0]);
    assert_eq!(bench.pread(MEMORY, 4, 0), EIO);
    assert_eq!(bench.pwrite(MEMORY, 4, 0), EIO);
    assert_eq!(bench.witness.seen(), []);
    bench.store(CONFIG + 4, &[2]);
    assert_eq!(bench.pread(MEMORY, 4, 0), Ok(4));
}

#[test]
fn resets() {
    let mut bench = Bench::unbound();
    bench.host.bind(0, bench.host.fd).unwrap();
    use Seen::*;
    assert_eq!(bench.witness.seen(), [Master(false), Reset], "bind");
    bench.store(CONFIG + 4, &[6]);
    bench.store(CONFIG + 0x3c, &[9]);
    bench.witness.seen();
    let answer = bench.host.client.ioctl(bench.host.cards[0], VFIO_DEVICE_RESET, UNMAPPED);
    assert_eq!(answer, Ok(0));
    assert_eq!(bench.witness.seen(), [Reset], "reset");
    assert_eq!(bench.load(CONFIG + 4, 1), [6], "configuration is restored");
    bench.host.client.close(bench.host.cards[0]);
    assert_eq!(bench.witness.seen(), [Master(false), Reset], "close");
    let card = bench.host.open_card(0).unwrap();
    bench.host.cards[0] = card;
    bench.host.bind_card(card, bench.host.fd).unwrap();
    assert_eq!(bench.load(CONFIG + 4, 1), [3]);
    assert_eq!(bench.load(CONFIG + 0x3c, 1), [0]);
}

#[test]
fn a_function_without_a_device() {
    let mut host = Host::new(Machine::by_name("spr").unwrap(), Kernel::newest());
    let mut info = vfio_region_info { argsz: 32, ..Default::default() };
    let card = host.cards[0];
    host.vfio(card, VFIO_DEVICE_GET_REGION_INFO, &mut info).unwrap();
    assert_eq!((info.flags, info.size), (0, 0));
    let file = host.client.open_file(card);
    assert!(file.read(&mut host.client, MEMORY, 4, Some(0)).is_err());
    assert_eq!(file.read(&mut host.client, MEMORY, 64, Some(CONFIG)), Ok(64));
    let mut bytes = [0; 64];
    host.client.memory.read(MEMORY, &mut bytes).unwrap();
    assert_eq!(u16::read_from_bytes(&bytes[..2]).unwrap().as_bytes(), [0x86, 0x80]);
    assert_eq!(bytes[0x10..0x28], [0; 24]);
}

/// BARs that can be mapped (`vfio_pci_core_mmap`), and what is told of them (`vfio_get_region_info`).
#[test]
fn mapping() {
    const INVALID: Result<u64, Errno> = Err(Errno::EINVAL);
    type Row = (&'static str, u64, u64, bool, Result<u64, Errno>);
    #[rustfmt::skip] // one mapping, one line
    let rows: &[Row] = &[
        // what,               offset,             length, shared, offset in the memory
        ("all of BAR0",        0,                  SIZE,   true,  Ok(0)),
        ("its last page",      SIZE - 0x1000,      0x1000, true,  Ok(SIZE - 0x1000)),
        ("beyond it",          SIZE - 0x1000,      0x2000, true,  INVALID),
        ("outside of it",      SIZE,               0x1000, true,  INVALID),
        ("over all addresses", 0x1000,             !0xfff, true,  INVALID),
        ("private",            0,                  0x1000, false, INVALID),
        ("no page",            512,                0x1000, true,  INVALID),
        ("no BAR",             1 << 40,            0x1000, true,  INVALID),
        ("BAR2, which cannot", 2 << 40,            0x1000, true,  INVALID),
        ("ROM",                6 << 40,            0x1000, true,  INVALID),
        ("configuration",      CONFIG,             0x1000, true,  INVALID),
        ("no region",          9 << 40,            0x1000, true,  INVALID),
        ("no region at all",   u64::MAX << 12,     0x1000, true,  INVALID),
    ];
    let bench = Bench::unbound_on("spr", "7.3", Vectors::default(), true);
    let file = bench.host.client.open_file(bench.host.cards[0]);
    assert!(file.mmap(0, 0x1000, true, false).is_err(), "unbound");
    let bench = bench.bound();
    for (what, offset, length, shared, expected) in rows {
        let mapping = file.mmap(*offset, *length, *shared, false);
        let told = mapping.as_ref().map(|it| it.offset).map_err(|refusal| refusal.errno());
        assert_eq!(told, *expected, "{what}");
        let memory = bench.witness.memory(0).unwrap();
        assert!(
            mapping.is_ok_and(|it| it.trapped && it.object.key() == memory.key()) == told.is_ok()
        );
    }
}

/// The order and the room of capabilities.
#[test]
fn regions_tell_that_msix_can_be_mapped() {
    let msix = Some(Msix { vectors: 4, table: (0, 0x2000), pending: (0, 0x3000) });
    let vectors = Vectors { msix, ..Vectors::default() };
    type Row = (bool, &'static [u32], &'static [u32]);
    #[rustfmt::skip] // one call, one line
    let rows: &[Row] = &[
        (false, &[99, 7, 0, 7, 7, 7, 7, 7, 7, 7, 7], &[99, 3,  0, 7,  0x4000, 0, 0, 0, 7, 7, 7]),
        (true,  &[32, 7, 0, 7, 7, 7, 7, 7, 7, 7, 7], &[40, 15, 0, 0,  0x4000, 0, 0, 0, 7, 7, 7]),
        (true,  &[39, 7, 0, 7, 7, 7, 7, 7, 7, 7, 7], &[40, 15, 0, 0,  0x4000, 0, 0, 0, 7, 7, 7]),
        (true,  &[40, 7, 0, 7, 7, 7, 7, 7, 7, 7, 7], &[40, 15, 0, 32, 0x4000, 0, 0, 0, 0x1_0003, 0, 7]),
        (true,  &[64, 7, 0, 7, 7, 7, 7, 7, 7, 7, 7], &[64, 15, 0, 32, 0x4000, 0, 0, 0, 0x1_0003, 0, 7]),
        (true,  &[40, 7, 2, 7, 7, 7, 7, 7, 7, 7, 7], &[40, 3,  2, 7,  16,     0, 0, 0x200, 7, 7, 7]),
    ];
    for (mapped, words, expected) in rows {
        let mut bench = Bench::unbound_on("spr", "7.3", vectors, *mapped).bound();
        let (answer, told) = bench.call(VFIO_DEVICE_GET_REGION_INFO, words, 64);
        assert_eq!((answer, told.as_slice()), (Ok(()), *expected), "{words:?}");
    }
    let mut bench = Bench::unbound_on("spr", "7.3", vectors, true).bound();
    let (answer, _) = bench.call(VFIO_DEVICE_GET_REGION_INFO, &[64, 7, 0, 7, 7, 7, 7, 7], 32);
    assert_eq!(answer, Err(Errno::EFAULT), "no room for the capability");
}

/// Stores to what is mapped.
#[test]
fn stores() {
    use Seen::Write;
    let msix = Some(Msix { vectors: 4, table: (0, 0x2000), pending: (0, 0x3000) });
    let vectors = Vectors { msix, ..Vectors::default() };
    type Row = (&'static str, u64, usize, Result<(), Errno>, Vec<Seen>);
    let of = |at, length| Write(0, at, vec![7; length]);
    #[rustfmt::skip] // one store, one line
    let rows: &[Row] = &[
        ("a word",              0x10,    4,  Ok(()),              vec![of(0x10, 4)]),
        ("an odd one",          0x13,    4,  Ok(()),              vec![of(0x13, 1), of(0x14, 2), of(0x16, 1)]),
        ("16 bytes",            0x20,    16, Ok(()),              vec![of(0x20, 8), of(0x28, 8)]),
        ("a line",              0x40,    64, Ok(()),              vec![of(0x40, 64)]),
        ("a line out of place", 0x48,    64, Ok(()),              (0..8).map(|it| of(0x48 + 8 * it, 8)).collect()),
        ("table of MSI-X",      0x2000,  4,  Ok(()),              vec![]),
        ("all of it",           0x2000,  64, Ok(()),              vec![]),
        ("after it",            0x2040,  8,  Ok(()),              vec![of(0x2040, 8)]),
        ("into it",             0x1ffc,  8,  Ok(()),              vec![of(0x1ffc, 4)]),
        ("pending bits",        0x3000,  8,  Ok(()),              vec![]),
        ("over the end",        SIZE - 2, 4, Err(Errno::EINVAL),  vec![]),
        ("configuration",       CONFIG,  4,  Err(Errno::EINVAL),  vec![]),
        ("nowhere",             1 << 40, 4,  Err(Errno::EINVAL),  vec![]),
    ];
    let check = |vectors, rows: &[Row]| {
        for (what, at, length, answer, seen) in rows {
            let bench = Bench::unbound_on("spr", "7.3", vectors, true).bound();
            let file = bench.host.client.open_file(bench.host.cards[0]);
            let done = file.store(*at, &vec![7; *length]).map_err(|refusal| refusal.errno());
            assert_eq!((done, bench.witness.seen()), (*answer, seen.clone()), "{what}");
        }
    };
    check(vectors, rows);
    // a table of no whole lines
    let odd = Some(Msix { vectors: 1, table: (0, 0x2020), pending: (0, 0x3000) });
    let parts = vec![
        of(0x2000, 8),
        of(0x2008, 8),
        of(0x2010, 8),
        of(0x2018, 8),
        of(0x2030, 8),
        of(0x2038, 8),
    ];
    #[rustfmt::skip] // one store, one line
    let rows: &[Row] = &[
        ("the table in a line", 0x2000,  64, Ok(()),              parts),
        ("a line before it",    0x1fc0,  64, Ok(()),              vec![of(0x1fc0, 64)]),
        ("a line after it",     0x2040,  64, Ok(()),              vec![of(0x2040, 64)]),
    ];
    check(Vectors { msix: odd, ..vectors }, rows);
    let first = Some(Msix { vectors: 1, table: (0, 0x2000), pending: (0, 0x3000) });
    let rest = (2..8).map(|it| of(0x2000 + 8 * it, 8)).collect();
    check(
        Vectors { msix: first, ..vectors },
        &[("a line that begins with it", 0x2000, 64, Ok(()), rest)],
    );
    let mut bench = Bench::unbound_on("spr", "7.3", vectors, true).bound();
    bench.store(CONFIG + 4, &[0]);
    let file = bench.host.client.open_file(bench.host.cards[0]);
    assert_eq!(file.store(0, &[7]).map_err(|refusal| refusal.errno()), Err(Errno::EIO));
    assert!(bench.host.client.open_file(bench.host.fd).store(0, &[7]).is_err());
}

/// Commands by ENQCMD, which a device takes or not.
#[test]
fn commands() {
    const INVALID: Result<bool, Errno> = Err(Errno::EINVAL);
    let msix = Some(Msix { vectors: 3, table: (0, 0x2010), pending: (0, 0x3000) });
    let vectors = Vectors { msix, ..Vectors::default() };
    type Row = (&'static str, u64, Result<bool, Errno>, bool);
    #[rustfmt::skip] // one command, one line
    let rows: &[Row] = &[
        ("taken",          0x40,      Ok(true),  true),
        ("refused",        0x80,      Ok(false), true),
        ("out of place",   0x48,      Ok(false), false),
        ("table of MSI-X", 0x2000,    Ok(false), false),
        ("over the end",   SIZE - 32, INVALID,   false),
        ("configuration",  CONFIG,    INVALID,   false),
    ];
    let mut bench = Bench::unbound_on("spr", "7.3", vectors, true).bound();
    let file = bench.host.client.open_file(bench.host.cards[0]);
    let enqueue = |at| file.enqueue(at, &[5; 64]).map_err(|refusal| refusal.errno());
    for (what, at, answer, is_seen) in rows {
        assert_eq!(enqueue(*at), *answer, "{what}");
        let seen = [Seen::Enqueue(0, *at, vec![5; 64])];
        assert_eq!(bench.witness.seen(), if *is_seen { &seen[..] } else { &[] }, "{what}");
    }
    bench.store(CONFIG + 4, &[0]);
    assert_eq!(enqueue(0x40), Err(Errno::EIO), "memory is off");
    assert!(bench.host.client.open_file(bench.host.fd).enqueue(0, &[5; 64]).is_err());
}

/// The table of MSI-X is the system's (`vfio_pci_bar_rw`).
#[test]
fn the_table_reads_as_ones() {
    use Seen::{Read, Write};
    let msix = Some(Msix { vectors: 4, table: (0, 0x24), pending: (2, 8) });
    let mut bench = Bench::with(Vectors { msix, ..Vectors::default() });
    let bytes = bench.load(0x20, 0x48);
    assert_eq!(bytes[..4], [0x20, 0x21, 0x22, 0x23]);
    assert_eq!(bytes[4..0x44], [0xff; 0x40]);
    assert_eq!(bytes[0x44..], [0x64, 0x65, 0x66, 0x67]);
    assert_eq!(bench.witness.seen(), [Read(0, 0x20, 4), Read(0, 0x64, 4)]);
    bench.store(0x20, &[9; 0x48]);
    assert_eq!(bench.witness.seen(), [Write(0, 0x20, vec![9; 4]), Write(0, 0x64, vec![9; 4])]);
    // in another BAR it is registers, and what waits is in a third place
    assert_eq!(bench.load(2 << 40, 16), [0, 1, 2, 3, 4, 5, 6, 7, 0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(bench.witness.seen(), [Read(2, 0, 8)]);
    // nobody looks at what is dropped
    assert_eq!(bench.pwrite(UNMAPPED, 8, 0x30), Ok(8));
    assert_eq!(bench.pread(UNMAPPED, 8, 0x30), EFAULT);
}
