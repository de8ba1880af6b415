//! Virtual IOMMUs: `IOMMU_VIOMMU_ALLOC` and what is allocated on one.

use super::leftovers;
use crate::abi::{
    SELFTEST, VEVENTQ_SELFTEST, iommu_hw_queue_alloc, iommu_vdevice_alloc, iommu_veventq_alloc,
    iommu_viommu_alloc,
};
use crate::player::{Kind, Player, say};
use crate::sys;

/// Bytes of the selftest viommu's data: two words, then offset and length for `mmap`.
const SELFTEST_DATA_LEN: u32 = 24;

pub fn alloc_viommu(p: &mut Player) {
    let mut data: [u32; 10] = leftovers();
    data[..6].fill(0);
    data[0] = p.rng.below(9);
    let mut c = iommu_viommu_alloc {
        flags: p.zeroish(),
        r#type: if p.rng.chance(85) { SELFTEST } else { p.rng.below(4) },
        dev_id: p.of(Kind::Dev),
        hwpt_id: p.of(Kind::Hwpt),
        ..Default::default()
    };
    if p.rng.chance(50) {
        c.data_len = if p.rng.chance(80) { SELFTEST_DATA_LEN } else { p.rng.below(40) };
        c.data_uptr = sys::address(&mut data);
    }
    let asked = c;
    let done = p.call(&mut c);
    say!(p, " [t{:x} d{} h{} l{}]", asked.r#type, asked.dev_id, asked.hwpt_id, asked.data_len);
    if done {
        say!(p, " id={} out={} mmaplen={}", c.out_viommu_id, data[1], data[4]);
        p.remember(c.out_viommu_id);
        p.keep(Kind::Viommu, c.out_viommu_id);
    }
}

pub fn alloc_vdevice(p: &mut Player) {
    let mut c = iommu_vdevice_alloc {
        viommu_id: p.of(Kind::Viommu),
        dev_id: p.of(Kind::Dev),
        virt_id: p.rng.below(4).into(),
        ..Default::default()
    };
    let asked = c;
    let done = p.call(&mut c);
    say!(p, " [v{} d{} {}]", asked.viommu_id, asked.dev_id, asked.virt_id);
    if done {
        say!(p, " id={}", c.out_vdevice_id);
        p.remember(c.out_vdevice_id);
    }
}

pub fn alloc_veventq(p: &mut Player) {
    let mut c = iommu_veventq_alloc {
        viommu_id: p.of(Kind::Viommu),
        r#type: if p.rng.chance(85) { VEVENTQ_SELFTEST } else { p.rng.below(4) },
        veventq_depth: p.rng.below(4),
        ..Default::default()
    };
    let asked = c;
    let done = p.call(&mut c);
    say!(p, " [v{} t{:x} d{}]", asked.viommu_id, asked.r#type, asked.veventq_depth);
    if done {
        say!(p, " id={}", c.out_veventq_id);
        p.remember(c.out_veventq_id);
        p.keep_queue(c.out_veventq_fd);
    }
}

pub fn alloc_hw_queue(p: &mut Player) {
    let mut c = iommu_hw_queue_alloc {
        viommu_id: p.of(Kind::Viommu),
        r#type: if p.rng.chance(85) { SELFTEST } else { p.rng.below(3) },
        index: p.rng.below(4),
        nesting_parent_iova: p.iova(),
        length: p.len(),
        ..Default::default()
    };
    let asked = c;
    let done = p.call(&mut c);
    say!(p, " [v{} t{:x} i{} ", asked.viommu_id, asked.r#type, asked.index);
    say!(p, "{:x}+{:x}]", asked.nesting_parent_iova, asked.length);
    if done {
        say!(p, " id={}", c.out_hw_queue_id);
        p.remember(c.out_hw_queue_id);
    }
}
