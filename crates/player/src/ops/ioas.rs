//! Address spaces: `IOMMU_IOAS_*`, `IOMMU_DESTROY`, `IOMMU_OPTION`, `IOMMU_VFIO_IOAS`.

use crate::abi::{
    iommu_destroy, iommu_ioas_alloc, iommu_ioas_allow_iovas, iommu_ioas_copy,
    iommu_ioas_iova_ranges, iommu_ioas_map, iommu_ioas_map_file, iommu_ioas_unmap, iommu_option,
    iommu_vfio_ioas,
};
use crate::player::{Kind, Mapping, Player, arena_offset, say};
use crate::sys;

pub fn alloc(p: &mut Player) {
    let mut c = iommu_ioas_alloc { flags: p.zeroish(), ..Default::default() };
    if p.call(&mut c) {
        p.allocated(Kind::Ioas, c.out_ioas_id);
    }
}

pub fn destroy(p: &mut Player) {
    let id = p.any_id();
    p.call(&mut iommu_destroy { id, ..Default::default() });
    say!(p, " [{id}]");
}

/// Flags of a new mapping: mostly fixed or not, readable and writable.
fn map_flags(p: &mut Player) -> u32 {
    let usual = if p.rng.chance(50) {
        7
    } else if p.rng.chance(50) {
        6
    } else {
        p.rng.below(8)
    };
    p.flags(usual)
}

/// Maps memory of the arena, in four of five cases apart from what is mapped already.
pub fn map(p: &mut Player) {
    let visible = if p.rng.chance(80) { 0 } else { p.known_mappings() };
    p.forget_related();
    let mut c = iommu_ioas_map {
        flags: map_flags(p),
        ioas_id: p.of(Kind::Ioas),
        __reserved: p.zeroish(),
        user_va: p.va(),
        length: p.len(),
        iova: p.iova_among(visible),
        ..Default::default()
    };
    let asked = c;
    let done = p.call(&mut c);
    say!(p, " [f{:x} i{} va{} ", asked.flags, asked.ioas_id, arena_offset(asked.user_va));
    say!(p, "len{:x} iova{:x}] iova={:x}", asked.length, asked.iova, c.iova);
    if done {
        let iommu_ioas_map { user_va: va, length: len, ioas_id: ioas, .. } = asked;
        p.keep_mapping(Mapping { iova: c.iova, len, va, ioas });
    }
}

/// Maps part of the arena's memfd, sometimes past its end or off a page.
pub fn map_file(p: &mut Player) {
    let mut c = iommu_ioas_map_file {
        flags: p.flags(7),
        ioas_id: p.of(Kind::Ioas),
        fd: if p.rng.chance(95) { p.memfd } else { -1 },
        start: p.pages(260) + if p.rng.chance(5) { 17 } else { 0 },
        length: p.len(),
        iova: p.iova(),
        ..Default::default()
    };
    let asked = c;
    p.call(&mut c);
    say!(p, " [f{:x} i{} st{:x} ", asked.flags, asked.ioas_id, asked.start);
    say!(p, "len{:x} iova{:x}] iova={:x}", asked.length, asked.iova, c.iova);
}

/// Unmaps a mapping, a piece of the address space, or all of it.
pub fn unmap(p: &mut Player) {
    let mut c = iommu_ioas_unmap { iova: p.iova(), length: p.len(), ..Default::default() };
    c.ioas_id = match p.related() {
        Some(mapping) if p.rng.chance(85) => mapping.ioas,
        _ => p.of(Kind::Ioas),
    };
    if p.rng.chance(10) {
        (c.iova, c.length) = (0, u64::MAX);
    }
    let asked = c;
    p.call(&mut c);
    say!(p, " [i{} iova{:x} len{:x}] len={:x}", asked.ioas_id, asked.iova, asked.length, c.length);
}

/// Copies a mapping to another place. The length is chosen before the source, so it follows the mapping
/// of an earlier step.
pub fn copy(p: &mut Player) {
    let usual = if p.rng.chance(60) { 7 } else { 6 };
    let mut c = iommu_ioas_copy {
        flags: p.flags(usual),
        dst_ioas_id: p.of(Kind::Ioas),
        src_ioas_id: p.of(Kind::Ioas),
        length: p.len(),
        src_iova: p.iova(),
        ..Default::default()
    };
    if let Some(mapping) = p.related()
        && p.rng.chance(85)
    {
        c.src_ioas_id = mapping.ioas;
    }
    c.dst_iova = if p.rng.chance(70) { 0x100_0000 + p.pages(4096) } else { p.iova() };
    let asked = c;
    p.call(&mut c);
    say!(p, " [f{:x} d{} s{} ", asked.flags, asked.dst_ioas_id, asked.src_ioas_id);
    say!(
        p,
        "len{:x} {:x}<-{:x}] diova={:x}",
        asked.length,
        asked.dst_iova,
        asked.src_iova,
        c.dst_iova
    );
}

/// Asks for up to eight ranges and prints every word that was filled in.
pub fn iova_ranges(p: &mut Player) {
    let mut ranges = [0u64; 16];
    let mut c = iommu_ioas_iova_ranges {
        ioas_id: p.of(Kind::Ioas),
        num_iovas: p.rng.below(9),
        allowed_iovas: sys::address(&mut ranges),
        ..Default::default()
    };
    p.call(&mut c);
    say!(p, " num={} align={:x}", c.num_iovas, c.out_iova_alignment);
    for word in ranges.iter().filter(|word| **word != 0) {
        say!(p, " {word:x}");
    }
}

/// Allows up to three ranges, which may overlap.
pub fn allow_iovas(p: &mut Player) {
    let mut ranges = [0u64; 8];
    let count = p.rng.below(4);
    let mut base = 0x100_0000;
    for range in ranges.chunks_exact_mut(2).take(count as usize) {
        range[0] = base + u64::from(p.rng.below(4)) * 0x10_0000;
        range[1] = range[0] + 0xf_ffff + u64::from(p.rng.below(3)) * 0x100_0000;
        base += if p.rng.chance(80) { 0x400_0000 } else { 0x4_0000 };
    }
    let ioas_id = p.of(Kind::Ioas);
    let allowed_iovas = sys::address(&mut ranges);
    p.call(&mut iommu_ioas_allow_iovas {
        ioas_id,
        num_iovas: count,
        allowed_iovas,
        ..Default::default()
    });
    say!(p, " [i{ioas_id} n{count}]");
}

pub fn option(p: &mut Player) {
    let mut c = iommu_option {
        option_id: if p.rng.chance(95) { p.rng.below(2) } else { 7 },
        op: if p.rng.chance(95) { p.rng.below(2) as u16 } else { 3 },
        object_id: if p.rng.chance(50) { 0 } else { p.of(Kind::Ioas) },
        val64: p.rng.below(3).into(),
        ..Default::default()
    };
    let asked = c;
    p.call(&mut c);
    say!(p, " [o{} op{} obj{} v{}]", asked.option_id, asked.op, asked.object_id, asked.val64);
    say!(p, " val={}", c.val64);
}

pub fn vfio_ioas(p: &mut Player) {
    let mut c = iommu_vfio_ioas {
        ioas_id: p.of(Kind::Ioas),
        op: if p.rng.chance(95) { p.rng.below(3) as u16 } else { 9 },
        ..Default::default()
    };
    let asked = c;
    p.call(&mut c);
    say!(p, " [i{} op{}] id={}", asked.ioas_id, asked.op, c.ioas_id);
}
