//! Hardware page tables: `IOMMU_HWPT_*` and `IOMMU_GET_HW_INFO`.

use super::leftovers;
use crate::abi::{
    HWPT_DATA_SELFTEST, IOTLB_DEFAULT, SELFTEST, VIOMMU_INVALIDATE_SELFTEST, iommu_hw_info,
    iommu_hwpt_alloc, iommu_hwpt_get_dirty_bitmap, iommu_hwpt_invalidate,
    iommu_hwpt_set_dirty_tracking,
};
use crate::player::{Kind, Player, say};
use crate::sys;

/// `IOMMU_HWPT_FAULT_ID_VALID`: the hwpt reports its faults to `fault_id`.
const FAULT_ID_VALID: u32 = 4;

/// The data of a nested selftest hwpt, and what an arbitrary length reaches behind it.
fn selftest_data() -> [u32; 10] {
    let mut data: [u32; 10] = leftovers();
    data[..2].copy_from_slice(&[IOTLB_DEFAULT, 0]);
    data
}

pub fn alloc(p: &mut Player) {
    let mut data = selftest_data();
    let mut c = iommu_hwpt_alloc {
        flags: alloc_flags(p),
        dev_id: p.of(Kind::Dev),
        pt_id: p.pt(),
        ..Default::default()
    };
    match p.rng.below(10) {
        0..3 => {
            (c.data_type, c.data_len) = (HWPT_DATA_SELFTEST, 8);
            c.data_uptr = sys::address(&mut data);
        }
        3 => {
            c.data_type = p.rng.below(5);
            c.data_len = p.rng.below(40);
            c.data_uptr = sys::address(&mut data);
        }
        _ => {}
    }
    if c.flags & FAULT_ID_VALID != 0 {
        c.fault_id = p.of(Kind::Fault);
    }
    let asked = c;
    let done = p.call(&mut c);
    say!(p, " [f{:x} dev{} pt{} ", asked.flags, asked.dev_id, asked.pt_id);
    say!(p, "t{:x} l{} fq{}]", asked.data_type, asked.data_len, asked.fault_id);
    if done {
        let kind = if asked.data_type == 0 { Kind::Hwpt } else { Kind::Nest };
        p.allocated(kind, c.out_hwpt_id);
    }
}

/// None, one of the four known flags, or any of them and sometimes another.
fn alloc_flags(p: &mut Player) -> u32 {
    if p.rng.chance(40) {
        0
    } else if p.rng.chance(70) {
        1 << p.rng.below(4)
    } else {
        let usual = p.rng.below(16);
        p.flags(usual)
    }
}

/// A hwpt of `dev_id` on `pt_id` with these flags; prints its ID only.
pub fn alloc_with_flags(p: &mut Player, dev_id: u32, pt_id: u32, flags: u32) {
    let mut c = iommu_hwpt_alloc { flags, dev_id, pt_id, ..Default::default() };
    if p.call(&mut c) {
        p.allocated(Kind::Hwpt, c.out_hwpt_id);
    }
}

/// A nested hwpt of `dev_id` on a known hwpt, with or without the first fault queue; prints its ID only.
pub fn alloc_selftest_nest(p: &mut Player, dev_id: u32, with_faults: bool) {
    let mut data = selftest_data();
    let mut c = iommu_hwpt_alloc {
        flags: if with_faults { FAULT_ID_VALID } else { 0 },
        dev_id,
        pt_id: p.of(Kind::Hwpt),
        data_type: HWPT_DATA_SELFTEST,
        data_len: 8,
        data_uptr: sys::address(&mut data),
        fault_id: p.first_of(Kind::Fault),
        ..Default::default()
    };
    if p.call(&mut c) {
        p.allocated(Kind::Nest, c.out_hwpt_id);
    }
}

pub fn hw_info(p: &mut Player) {
    let mut data = [0u32; 16];
    let mut c = iommu_hw_info {
        flags: p.flags(0),
        dev_id: p.of(Kind::Dev),
        data_len: if p.rng.chance(60) { 8 } else { p.rng.below(64) },
        data_uptr: sys::address(&mut data),
        ..Default::default()
    };
    let asked = c;
    if p.call(&mut c) {
        say!(p, " len={} type={:x} pasid={}", c.data_len, c.out_data_type, c.out_max_pasid_log2);
        say!(p, " caps={:x} {:x} {:x}", c.out_capabilities, data[0], data[1]);
    }
    say!(p, " [f{:x} d{} l{}]", asked.flags, asked.dev_id, asked.data_len);
}

pub fn set_dirty_tracking(p: &mut Player) {
    let usual = p.rng.below(2);
    let mut c = iommu_hwpt_set_dirty_tracking {
        flags: p.flags(usual),
        hwpt_id: p.of(Kind::Hwpt),
        ..Default::default()
    };
    let asked = c;
    p.call(&mut c);
    say!(p, " [f{} h{}]", asked.flags, asked.hwpt_id);
}

/// Asks for the dirty pages of 64 KiB and prints every word that has one.
pub fn get_dirty_bitmap(p: &mut Player) {
    let mut bitmap = [0u64; 64];
    let hwpt_id = p.of(Kind::Hwpt);
    let usual = p.rng.below(2);
    let mut c = iommu_hwpt_get_dirty_bitmap {
        hwpt_id,
        flags: p.flags(usual),
        iova: p.page_iova(),
        length: 65536,
        page_size: dirty_page_size(p),
        data: sys::address(&mut bitmap),
        ..Default::default()
    };
    let asked = c;
    p.call(&mut c);
    say!(p, " [h{} f{} {:x} ps{}]", asked.hwpt_id, asked.flags, asked.iova, asked.page_size);
    for (i, word) in bitmap.iter().enumerate().filter(|(_, word)| **word != 0) {
        say!(p, " {i}:{word:x}");
    }
}

fn dirty_page_size(p: &mut Player) -> u64 {
    if p.rng.chance(80) {
        4096
    } else if p.rng.chance(50) {
        2048
    } else {
        3000
    }
}

/// Invalidates up to three entries of a nested hwpt or a viommu. Entries are written 12 bytes apart,
/// whatever length the call names.
pub fn invalidate(p: &mut Player) {
    let mut data: [u32; 15] = leftovers();
    let entry_num = p.rng.below(4);
    for entry in data.chunks_exact_mut(3).take(entry_num as usize) {
        entry[0] = if p.rng.chance(80) { 0 } else { p.rng.below(4) };
        entry[1] = p.rng.below(5);
        entry[2] = p.rng.below(5);
    }
    let target = if p.rng.chance(70) { Kind::Nest } else { Kind::Viommu };
    let mut c = iommu_hwpt_invalidate {
        hwpt_id: p.of(target),
        data_uptr: sys::address(&mut data),
        data_type: invalidate_type(p),
        entry_len: entry_len(p),
        entry_num,
        ..Default::default()
    };
    let asked = c;
    p.call(&mut c);
    say!(p, " [h{} t{:x} l{} n{entry_num}]", asked.hwpt_id, asked.data_type, asked.entry_len);
    say!(p, " n={}", c.entry_num);
}

fn invalidate_type(p: &mut Player) -> u32 {
    if p.rng.chance(85) {
        SELFTEST
    } else if p.rng.below(2) != 0 {
        VIOMMU_INVALIDATE_SELFTEST
    } else {
        p.rng.below(3)
    }
}

fn entry_len(p: &mut Player) -> u32 {
    if p.rng.chance(50) {
        8
    } else if p.rng.chance(80) {
        12
    } else {
        p.rng.below(20)
    }
}
