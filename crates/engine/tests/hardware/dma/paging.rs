//! The host's own tables.

use std::sync::atomic::{AtomicBool, Ordering};

use profile::machine::Caching;

use super::*;
use crate::file::File;
use crate::host::{DEVICE, hwpt_alloc};

/// Machines, and the code by which each refuses a read where nothing is mapped, and a write where only
/// reading is allowed.
const MACHINES: [(&str, u32, u32); 5] = [
    ("spr", 0x71, 0x85),
    ("icx", 0x6, 0x5),
    ("grace", 0x10, 0x13),
    ("genoa", 2, 2),
    ("riscv", 13, 15),
];

#[test]
fn what_is_mapped_is_reached_and_nothing_else() {
    for (machine, absent, forbidden) in MACHINES {
        let mut guest = Guest::new(&File::of(machine).machine(), Kernel::newest());
        let dma = guest.dma();
        let blocked = read(&dma, None, 0x1000);
        assert!(matches!(blocked, Err(DmaFault::Refused { .. })), "{machine}: {blocked:?}");
        guest.host.attach(IOAS).unwrap();
        assert_eq!(read(&dma, None, 0x1000), Ok(1), "{machine}");
        assert_eq!(write(&dma, None, 0x2008, 9), Ok(()), "{machine}");
        assert_eq!(guest.get(0x2008), 9, "{machine}");
        assert_eq!(read(&dma, None, 0x4000_0000), refused(absent), "{machine}");
        // across pages
        let mut bytes = [0; 4096];
        dma.burst(None, |burst| burst.read(0x1800, &mut bytes)).unwrap();
        assert_eq!(bytes[0x800], 2, "{machine}");
        guest.host.map(0x4000_0000, READ).unwrap();
        assert!(read(&dma, None, 0x4000_0000).is_ok(), "{machine}");
        assert_eq!(write(&dma, None, 0x4000_0000, 1), refused(forbidden), "{machine}");
        guest.host.detach().unwrap();
        assert!(read(&dma, None, 0x1000).is_err(), "{machine}");
    }
}

#[test]
fn what_is_unmapped_is_not_reached_any_more() {
    for (machine, absent, _) in MACHINES {
        let mut guest = Guest::new(&File::of(machine).machine(), Kernel::newest());
        guest.host.attach(IOAS).unwrap();
        let dma = guest.dma();
        assert_eq!(read(&dma, None, 0x1000), Ok(1), "{machine}");
        let (ioas_id, length) = (IOAS, PAGES * PAGE);
        let mut unmap = iommu_ioas_unmap { ioas_id, iova: 0, length, ..Default::default() };
        guest.host.call(&mut unmap).unwrap();
        assert_eq!(read(&dma, None, 0x1000), refused(absent), "{machine}");
    }
}

/// What hardware remembers on the way is no part of what a device reaches.
#[test]
fn without_caches_a_device_reaches_the_same() {
    let large = |count: u64| 0x4000_0000 + count * 0x20_0000;
    for (machine, ..) in MACHINES {
        let reached = |caches: &str| {
            let mut machine = File::of(machine).machine();
            machine.caches = Caching::by_name(caches).unwrap();
            let mut guest = Guest::new(&machine, Kernel::newest());
            guest.host.attach(IOAS).unwrap();
            for page in 0..4 {
                guest.host.map(large(page), if page == 2 { READ } else { READ | WRITE }).unwrap();
                guest.host.map(large(page) + 2 * PAGE, READ | WRITE).unwrap();
            }
            let dma = guest.dma();
            let mut pages: Vec<_> = (0..PAGES + 2).map(|page| page * PAGE).collect();
            pages.extend((0..5).flat_map(|part| (0..4).map(move |page| large(part) + page * PAGE)));
            pages.extend([0xfed0_0000, 0xfee0_0000, 0xfef0_0000, 1 << 38, 1 << 47, 1 << 56]);
            let pasids = [None, Some(1)];
            let rights =
                [Rights::READ, Rights::WRITE, Rights::EXECUTE, Rights::READ | Rights::WRITE];
            let mut told = Vec::new();
            // the second time from what was remembered the first
            for privileged in [false, false, true] {
                for pasid in pasids {
                    dma.burst(pasid, |burst| {
                        burst.set_privileged(privileged);
                        for page in &pages {
                            told.push(rights.map(|rights| burst.check(*page, rights)));
                        }
                        told.push([burst.write(0x3ff8, &[7; 16]), Ok(()), Ok(()), Ok(())]);
                    });
                }
            }
            (told, guest.get(0x3ff8), guest.get(0x4000))
        };
        let by_hardware = reached("hardware");
        assert!(by_hardware.0.iter().flatten().any(Result::is_ok), "{machine}");
        for caches in ["never-keep", "never-forget"] {
            assert!(reached(caches) == by_hardware, "{machine}, {caches}");
        }
    }
}

/// A table that is given back may be the next one's, and who remembers where it was must not find that.
#[test]
fn tables_that_are_taken_again_mean_nothing_for_what_was_there() {
    const LARGE: u64 = 0x20_0000;
    for (machine, absent, _) in MACHINES {
        let mut guest = Guest::new(&File::of(machine).machine(), Kernel::newest());
        guest.host.attach(IOAS).unwrap();
        guest.host.client.memory.map(0x2000_0000, LARGE / PAGE, true);
        let dma = guest.dma();
        let map = |guest: &mut Guest, iova| {
            guest.host.call(&mut iommu_ioas_map {
                flags: IOMMU_IOAS_MAP_FIXED_IOVA | READ | WRITE,
                ioas_id: IOAS,
                user_va: 0x2000_0000,
                length: LARGE,
                iova,
                ..Default::default()
            })
        };
        for (count, iova) in (0..3).map(|count| (count, 0x4000_0000 + count * LARGE)) {
            map(&mut guest, iova).unwrap();
            for page in 0..4 {
                assert!(read(&dma, None, iova + page * PAGE).is_ok(), "{machine}");
                let before = iova - LARGE + page * PAGE;
                let at_before = read(&dma, None, before);
                assert_eq!(at_before, refused(absent), "{machine}: {count}");
            }
            let mut unmap =
                iommu_ioas_unmap { ioas_id: IOAS, iova, length: LARGE, ..Default::default() };
            guest.host.call(&mut unmap).unwrap();
        }
    }
}

#[test]
fn an_unmap_waits_for_the_accesses_under_way() {
    let mut guest = Guest::new(&File::of("spr").machine(), Kernel::newest());
    guest.host.attach(IOAS).unwrap();
    let (dma, inside, over) = (guest.dma(), AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            dma.burst(None, |burst| {
                read_in(burst, 0x1000).unwrap();
                inside.store(true, Ordering::SeqCst);
                std::thread::sleep(std::time::Duration::from_millis(50));
                assert_eq!(read_in(burst, 0x1000), Ok(1));
                over.store(true, Ordering::SeqCst);
            });
        });
        while !inside.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        let (ioas_id, length) = (IOAS, PAGES * PAGE);
        let mut unmap = iommu_ioas_unmap { ioas_id, iova: 0, length, ..Default::default() };
        guest.host.call(&mut unmap).unwrap();
        assert!(over.load(Ordering::SeqCst), "the access was still under way");
    });
}

#[test]
fn written_pages_are_told_exactly() {
    const DT: u32 = IOMMU_HWPT_ALLOC_DIRTY_TRACKING;
    for machine in ["spr", "grace", "genoa"] {
        let mut guest = Guest::new(&File::of(machine).machine(), Kernel::newest());
        let mut alloc = iommu_hwpt_alloc { flags: DT, dev_id: DEVICE, ..hwpt_alloc() };
        let Ok(hwpt) = guest.host.hwpt_with(&mut alloc) else {
            assert_eq!(machine, "grace", "only this one may not track");
            continue;
        };
        guest.host.attach(hwpt).unwrap();
        let dma = guest.dma();
        let track = |guest: &mut Guest, flags| {
            let mut cmd =
                iommu_hwpt_set_dirty_tracking { hwpt_id: hwpt, flags, ..Default::default() };
            guest.host.call(&mut cmd).unwrap();
        };
        write(&dma, None, 0x1000, 1).unwrap();
        track(&mut guest, IOMMU_HWPT_DIRTY_TRACKING_ENABLE);
        assert_eq!(dirty(&mut guest, hwpt, 0), 0, "{machine}: nothing since tracking began");
        write(&dma, None, 0x3ff8, 1).unwrap();
        read(&dma, None, 0x5000).unwrap();
        write(&dma, None, 0x7ffc, 1).unwrap();
        const NO_CLEAR: u32 = IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR;
        assert_eq!(dirty(&mut guest, hwpt, NO_CLEAR), 0b1_1000_1000, "{machine}");
        assert_eq!(dirty(&mut guest, hwpt, 0), 0b1_1000_1000, "{machine}");
        assert_eq!(dirty(&mut guest, hwpt, 0), 0, "{machine}: it was cleared");
        // the translation was in the cache, and must not hide the write
        write(&dma, None, 0x3000, 1).unwrap();
        assert_eq!(dirty(&mut guest, hwpt, 0), 0b1000, "{machine}");
        track(&mut guest, 0);
    }
}

/// The dirty bitmap of the first 64 pages.
fn dirty(guest: &mut Guest, hwpt_id: u32, flags: u32) -> u64 {
    let data = guest.host.put(&[0; 8]);
    let mut cmd = iommu_hwpt_get_dirty_bitmap {
        hwpt_id,
        flags,
        iova: 0,
        length: PAGES * PAGE,
        page_size: PAGE,
        data,
        ..Default::default()
    };
    guest.host.call(&mut cmd).unwrap();
    let mut bytes = [0; 8];
    guest.host.client.memory.read(data, &mut bytes).unwrap();
    u64::from_le_bytes(bytes)
}

#[test]
fn a_refused_nesting_parent_pins_nothing() {
    let mut guest = Guest::new(&File::of("spr").machine(), Kernel::newest());
    guest.host.map(0x4000_0000, READ).unwrap();
    let refused = guest.host.hwpt(IOMMU_HWPT_ALLOC_NEST_PARENT);
    assert!(refused.is_err(), "a mapping is read-only");
    let pinned = &guest.host.client.memory.accounts().pinned_vm;
    assert_eq!(pinned.load(Ordering::Relaxed), 0);
}

#[test]
fn an_idle_device_holds_no_memory() {
    let references = |reads: bool| {
        let mut guest = Guest::new(&File::of("spr").machine(), Kernel::newest());
        guest.host.attach(IOAS).unwrap();
        let dma = guest.dma();
        if reads {
            read(&dma, None, 0x1000).unwrap();
        }
        let (ioas_id, length) = (IOAS, PAGES * PAGE);
        let mut unmap = iommu_ioas_unmap { ioas_id, iova: 0, length, ..Default::default() };
        guest.host.call(&mut unmap).unwrap();
        std::sync::Arc::strong_count(&guest.host.client.memory)
    };
    assert_eq!(references(true), references(false));
}
