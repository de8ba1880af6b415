//! `VFIO_IOMMU_PASID_REQUEST`

use uapi::Errno;
use uapi::y2020::transport::*;
use zerocopy::IntoBytes;

use super::bench::*;

const ALLOC: u32 = VFIO_IOMMU_FLAG_ALLOC_PASID;
const FREE: u32 = VFIO_IOMMU_FLAG_FREE_PASID;
/// The last number that a range may have.
const LAST: u32 = 1 << 31;
const NOSPC: Result<i64, Errno> = Err(Errno::ENOSPC);

/// Each refusal before the next: a row has what is wrong and everything that is checked later.
#[test]
fn refusals_in_their_order() {
    const PLAIN: u64 = 3;
    type Row = (&'static str, u64, usize, [u32; 4], Answer);
    #[rustfmt::skip] // one call, one line
    let rows: &[Row] = &[
        // what,                     type,    bytes, argsz, flags, min, max,       answer
        ("not all there",            PLAIN,   15,    [4, 8, 2, 1],                 EFAULT),
        ("too short",                PLAIN,   16,    [15, 8, 2, 1],                INVAL),
        ("no size",                  NESTING, 16,    [0, ALLOC, 1, 1],             INVAL),
        ("unknown flag",             PLAIN,   16,    [16, 8 | ALLOC, 1, 1],        INVAL),
        ("first above last",         PLAIN,   16,    [16, ALLOC, 2, 1],            INVAL),
        ("last of 32 bits",          PLAIN,   16,    [16, ALLOC, 1, LAST + 1],     INVAL),
        ("both",                     PLAIN,   16,    [16, FREE, u32::MAX, u32::MAX], INVAL),
        ("not nesting, no flags",    PLAIN,   16,    [16, 0, 1, 1],                OPNOTSUPP),
        ("not nesting, both flags",  PLAIN,   16,    [16, ALLOC | FREE, 1, 1],     OPNOTSUPP),
        ("not nesting",              PLAIN,   16,    [16, ALLOC, 1, 1],            OPNOTSUPP),
        ("not nesting, giving back", PLAIN,   16,    [16, FREE, 1, 1],             OPNOTSUPP),
        ("no flags",                 NESTING, 16,    [16, 0, 1, 1],                INVAL),
        ("both flags",               NESTING, 16,    [16, ALLOC | FREE, 1, 1],     INVAL),
        ("longer",                   NESTING, 16,    [99, ALLOC, 1, 1],            OK),
        ("the last of all",          NESTING, 16,    [16, ALLOC, LAST, LAST],      OK),
        ("what nobody has",          NESTING, 16,    [16, FREE, 0, LAST],          OK),
    ];
    for (kernel, _) in KERNELS {
        for (what, kind, bytes, words, expected) in rows {
            let mut it = Bench::of_type(&engine(&lone(), kernel), GROUP, *kind);
            let at = EDGE + PAGE - *bytes as u64;
            mem::AddressSpace::write(&*it.client.memory, at, &words.as_bytes()[..*bytes]).unwrap();
            let answer = it.call(it.container, VFIO_IOMMU_PASID_REQUEST, at).map(drop);
            assert_eq!(answer, *expected, "{kernel}: {what}");
        }
    }
}

/// The lowest that is free in a range, of all the host's.
#[test]
fn numbers() {
    // who asks: of one process two containers, and another process
    const A: usize = 0;
    const OTHER_PROCESS: usize = 1;
    type Call = (usize, u32, u32, u32, Result<i64, Errno>);
    #[rustfmt::skip] // one call, one line
    let calls: &[Call] = &[
        (A,             ALLOC, 0,        0,        Ok(0)), // the space has it, and no table can be bound to it
        (A,             ALLOC, 1,        LAST,     Ok(1)),
        (A,             ALLOC, 5,        9,        Ok(5)),
        (A,             ALLOC, 1,        LAST,     Ok(2)),
        (OTHER_PROCESS, ALLOC, 1,        LAST,     Ok(3)),
        (OTHER_PROCESS, ALLOC, 1,        3,        NOSPC),
        (A,             FREE,  3,        3,        Ok(0)), // not its own: nothing
        (OTHER_PROCESS, ALLOC, 3,        3,        NOSPC),
        (A,             FREE,  1,        4,        Ok(0)),
        (OTHER_PROCESS, ALLOC, 1,        LAST,     Ok(1)),
        (A,             ALLOC, 1,        LAST,     Ok(2)),
        (A,             ALLOC, 1,        5,        Ok(4)),
        (A,             ALLOC, 1,        5,        NOSPC),
        (A,             ALLOC, LAST,     LAST,     Ok(LAST as i64)), // beyond what a table can be bound to
        (A,             ALLOC, LAST,     LAST,     NOSPC),
        (A,             FREE,  0,        LAST,     Ok(0)),
        (A,             ALLOC, 2,        2,        Ok(2)),
        (A,             ALLOC, 1,        4,        Ok(4)),
    ];
    let engine = engine(&lone(), "2020");
    let mut programs = [Bench::on(&engine, GROUP), Bench::on(&engine, OTHER)];
    for (number, (who, flags, min, max, expected)) in calls.iter().enumerate() {
        let answer = programs[*who].request(*flags, *min, *max);
        assert_eq!(answer, *expected, "call {number}: {flags} of {min}..={max}");
    }
}

#[test]
fn a_process_has_a_quota() {
    let mut it = Bench::on(&engine(&lone(), "2020"), GROUP);
    for number in 1..=1000 {
        assert_eq!(it.alloc(1, LAST), Ok(number));
    }
    assert_eq!(it.alloc(1, LAST), NOSPC);
    it.free(500, 500).unwrap();
    assert_eq!(it.alloc(1, LAST), Ok(500));
    assert_eq!(it.alloc(1, LAST), NOSPC);
    it.free(1, 1000).unwrap();
    assert_eq!(it.alloc(1, LAST), Ok(1));
}

/// Containers of one process have one set, which ends with the last of them.
#[test]
fn containers_of_a_process_share() {
    let mut it = Bench::on(&engine(&lone(), "2020"), GROUP);
    let second = it.second_container(OTHER);
    it.pasid(1);
    let first = it.swap(second);
    assert_eq!(it.alloc(1, LAST), Ok(2), "of the second");
    let root = it.table();
    assert_eq!(it.bind(1, root), OK, "taken by the first");
    let second = it.swap(first);
    it.leave().unwrap();
    it.swap(second);
    assert_eq!(it.alloc(1, LAST), Ok(3), "the second has them still");
    assert_eq!(it.unbind(1), OK);
    it.leave().unwrap();
    it.join(it.group).unwrap();
    it.set_iommu(NESTING).unwrap();
    assert_eq!(it.alloc(1, LAST), Ok(1), "and none has");
}

/// A PASID that is given back walks no table any more.
#[test]
fn giving_back_unbinds() {
    let mut it = Bench::new("2020");
    for pasid in [1, 2, 3] {
        it.process(pasid);
    }
    let dma = it.dma(0);
    let see = || [1, 2, 3].map(|pasid| read(&dma, Some(pasid), VA).ok());
    assert_eq!(see(), [Some(1); 3]);
    it.free(2, 9).unwrap();
    assert_eq!(see(), [Some(1), None, None]);
    assert_eq!(read(&dma, Some(2), VA), unbound());
    // and begins anew
    let root = it.table();
    assert_eq!(it.bind(2, root), NOENT);
    it.process(2);
    assert_eq!(see(), [Some(1), Some(1), None]);
}

/// One that another container of the process gave back, too.
#[test]
fn giving_back_unbinds_in_all_containers() {
    let mut it = Bench::on(&engine(&lone(), "2020"), GROUP);
    let second = it.second_container(OTHER);
    let root = it.process(1);
    let first = it.swap(second);
    it.bind(1, root).unwrap();
    let see = |it: &Bench| [0, 1].map(|device| read(&it.dma(device), Some(1), VA).ok());
    assert_eq!(see(&it), [Some(1); 2]);
    it.free(1, 1).unwrap();
    assert_eq!(see(&it), [None; 2]);
    it.pasid(1);
    it.swap(first);
    assert_eq!(it.bind(1, root), OK, "nothing is bound");
    assert_eq!(see(&it), [Some(1), None]);
}

/// A PASID has a table in each container of the process, and calls are about that of their own.
#[test]
fn each_container_has_its_own_tables() {
    let mut it = Bench::on(&engine(&lone(), "2020"), GROUP);
    let second = it.second_container(OTHER);
    // so that objects have other IDs in each
    it.process(2);
    let root = it.process(1);
    let first = it.swap(second);
    let see = |it: &Bench| [0, 1].map(|device| read(&it.dma(device), Some(1), VA).ok());
    assert_eq!(it.invalidate(&of_pasid(1, 1)), INVAL, "bound, but not here");
    assert_eq!(it.unbind(1), OK);
    assert_eq!(see(&it), [Some(1), None]);
    it.bind(1, root).unwrap();
    let dmas = [0, 1].map(|device| it.dma(device));
    let see = || dmas.each_ref().map(|dma| read(dma, Some(1), VA).ok());
    for calls in [of_pasid(1, 1), of_domain(1)] {
        it.replace(root, VA, DATA[0]);
        for container in [first, second] {
            it.swap(container);
            it.invalidate(&of_domain(1)).unwrap();
        }
        assert_eq!(see(), [Some(1); 2]);
        it.replace(root, VA, DATA[1]);
        it.invalidate(&calls).unwrap();
        assert_eq!(see(), [Some(1), Some(2)]);
    }
    it.unbind(1).unwrap();
    assert_eq!(see(), [Some(1), None]);
    it.bind(1, root).unwrap();
    it.leave().unwrap();
    assert_eq!(see()[0], Some(1), "what the other group had is its own");
}
