//! What the type1 container's calls tell of the hardware (`drivers/iommu/iommufd/vfio_compat.c`): page
//! sizes, and whether all devices are kept coherent.

use profile::Machine;
use uapi::iommufd::*;
use uapi::vfio::*;

use crate::amd::{DT, PA, efr, genoa};
use crate::file::File;
use crate::host::{Host, IOAS, MEMORY};
use crate::smmuv3::grace;
use crate::table::{ByKernel, Table};
use crate::vtd::{NP, cap, ecap, sm_off, spr};

/// Chooses the first IOAS for the container's calls.
fn choose(host: &mut Host) {
    let op = IOMMU_VFIO_IOAS_SET;
    host.call(&mut iommu_vfio_ioas { ioas_id: IOAS, op, ..Default::default() }).unwrap();
}

/// `iova_pgsizes` with one hwpt in the IOAS.
fn page_sizes(host: &mut Host, flags: u32) -> u64 {
    choose(host);
    host.hwpt(flags).expect("a hwpt");
    let argsz = size_of::<vfio_iommu_type1_info>() as u32;
    let mut info = vfio_iommu_type1_info { argsz, ..Default::default() };
    host.vfio(host.fd, VFIO_IOMMU_GET_INFO, &mut info).unwrap();
    info.iova_pgsizes
}

const K4: u64 = 1 << 12;
const K64: u64 = 1 << 16;
const M2: u64 = 1 << 21;
const G1: u64 = 1 << 30;
const G512: u64 = 1 << 39;
const T256: u64 = 1 << 48;

/// VT-d: the second stage's sizes were counted, and are bits from 6.19 on (`CAP.SSLPS`).
#[test]
fn page_sizes_of_vtd() {
    const S2M: u64 = 1 << 34;
    const S1G: u64 = 1 << 35;
    const S512G: u64 = 1 << 36;
    const FL1GP: u64 = 1 << 56;
    const ALL: u64 = K4 | M2 | G1;
    #[rustfmt::skip] // one unit and one hwpt, one line
    let rows: &[(&str, Machine, u32, ByKernel<'_, u64>)] = &[
        ("everything",          spr(0, 0),                   0,  &[("6.11-", ALL)]),
        ("everything, parent",  spr(0, 0),                   NP, &[("6.11-", ALL)]),
        ("sm_off",              sm_off(),                    0,  &[("6.11-", ALL)]),
        ("no 1 GiB, parent",    spr(S1G, 0),                 NP, &[("6.11-", K4 | M2)]),
        ("no large, parent",    spr(S1G | S2M, 0),           NP, &[("6.11-", K4)]),
        ("1 GiB only, parent",  spr(S2M, 0),                 NP, &[("6.11-6.18", ALL), ("6.19-", K4 | G1)]),
        ("512 GiB too, parent", spr(S512G, 0),               NP, &[("6.11-6.18", K4), ("6.19-", ALL)]),
        ("no large",            spr(S1G | S2M, 0),           0,  &[("6.11-6.12", K4), ("6.13-", ALL)]),
        ("no FL1GP",            spr(FL1GP, 0),               0,  &[("6.11-6.12", ALL), ("6.13-", K4 | M2)]),
        ("no FL1GP, parent",    spr(FL1GP, 0),               NP, &[("6.11-", ALL)]),
        ("four levels",         spr(cap::FS5LP, 0),          0,  &[("6.11-", ALL)]),
        ("no FLTS, no 1 GiB",   spr(S1G, ecap::FLTS),        0,  &[("6.11-", K4 | M2)]),
    ];
    let mut table = Table::default();
    for (what, machine, flags, expected) in rows {
        table.row(what, machine, expected, |host| page_sizes(host, *flags));
    }
}

/// AMD's v1 has every power of two but 512 GiB, in short tables only those that fit; v2 and the others
/// have the sizes of their levels.
#[test]
fn page_sizes_of_the_others() {
    const V1: u64 = 0xf_ffff_ffff_f000 ^ G512;
    let all = V1 | 0xfff0_0000_0000_0000;
    let up_to = |last: u32| (u64::MAX >> (63 - last)) & V1;
    let riscv = |bits| File::of("riscv").flip("capabilities", bits).machine();
    let narrow = genoa(0, 0).set("iommu", "va_bits", "48").machine();
    #[rustfmt::skip] // one unit and one hwpt, one line
    let rows: &[(&str, Machine, u32, ByKernel<'_, u64>)] = &[
        ("AMD",            genoa(0, 0).machine(),            0,  &[("6.11", all), ("6.12-", V1)]),
        ("AMD, dirty",     genoa(0, 0).machine(),            DT, &[("6.11", all), ("6.12-", V1)]),
        ("AMD, HATS 1",    genoa(efr::hats(1), 0).machine(), 0,  &[("6.12-", V1)]),
        ("AMD, HATS 0",    genoa(efr::hats(0), 0).machine(), 0,  &[("6.12-6.18", V1), ("6.19-7.1", up_to(47)), ("7.2-", up_to(46))]),
        ("AMD, 48 bits",   narrow,                           0,  &[("6.12-7.1", V1), ("7.2-", up_to(46))]),
        ("AMD, v2",        genoa(0, 0).machine(),            PA, &[("6.15-", K4 | M2 | G1)]),
        ("AMD, v2 only",   genoa(efr::hats(3), 0).machine(), 0,  &[("6.17-", K4 | M2 | G1)]),
        ("SMMUv3",         grace(&[]).machine(),             0,  &[("6.11-", K4 | M2 | G1)]),
        ("SMMUv3, parent", grace(&[]).machine(),             NP, &[("6.13-", K4 | M2 | G1)]),
        ("SMMUv3, 4 KiB",  grace(&[(5, 6 << 4)]).machine(),  0,  &[("6.11-", K4 | M2 | G1)]),
        ("Sv57",           riscv(0),                         0,  &[("6.13-7.0", K4 | M2 | G1 | G512), ("7.1-", K4 | K64 | M2 | G1 | G512 | T256)]),
        ("Sv48",           riscv(1 << 11),                   0,  &[("6.13-7.0", K4 | M2 | G1 | G512), ("7.1-", K4 | K64 | M2 | G1 | G512)]),
        ("Sv39",           riscv(3 << 10),                   0,  &[("6.13-7.0", K4 | M2 | G1), ("7.1-", K4 | K64 | M2 | G1)]),
    ];
    let mut table = Table::default();
    for (what, machine, flags, expected) in rows {
        table.row(what, machine, expected, |host| page_sizes(host, *flags));
    }
}

/// `VFIO_DMA_CC_IOMMU`: every hwpt of the IOAS was made for a device whose writes the IOMMU can force to
/// be coherent. An IOAS without any says yes.
#[test]
fn coherent() {
    let flag = |name: &str, key, value| File::of(name).set("iommu", key, value).machine();
    #[rustfmt::skip] // one unit, one line
    let rows: &[(&str, Machine, ByKernel<'_, i64>)] = &[
        ("VT-d",            spr(0, 0),                        &[("6.6-", 1)]),
        ("VT-d, no SC",     spr(0, ecap::SC),                 &[("6.6-", 0)]),
        ("VT-d, sm_off",    sm_off(),                         &[("6.6-", 1)]),
        ("AMD",             genoa(0, 0).machine(),            &[("6.6-", 1)]),
        ("SMMUv3",          grace(&[]).machine(),             &[("6.11-6.12", 0), ("6.13-", 1)]),
        ("SMMUv3, no CANWBS", flag("grace", "canwbs", "false"), &[("6.11-", 0)]),
        ("RISC-V",          File::of("riscv").machine(),      &[("6.13-", 0)]),
    ];
    let mut table = Table::default();
    for (what, machine, expected) in rows {
        let ask = |host: &mut Host| {
            host.client.ioctl(host.fd, VFIO_CHECK_EXTENSION, VFIO_DMA_CC_IOMMU.into()).unwrap()
        };
        table.row(what, machine, expected, |host| {
            choose(host);
            assert_eq!(ask(host), 1, "without a hwpt");
            host.hwpt(0).unwrap();
            ask(host)
        });
    }
}

/// A read-only mapping by the container's call meets a nesting parent too.
#[test]
fn read_only() {
    let mut table = Table::default();
    for (what, machine, refused) in
        [("VT-d", spr(0, 0), true), ("SMMUv3", grace(&[]).machine(), false)]
    {
        for flags in [VFIO_DMA_MAP_FLAG_READ, VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE] {
            let read_only = flags == VFIO_DMA_MAP_FLAG_READ;
            let expected = if refused && read_only { Err(uapi::Errno::EINVAL) } else { Ok(()) };
            let what = format!("{what}, flags {flags}");
            table.row(&what, &machine, &[("6.13-", expected)], |host| {
                choose(host);
                host.parent();
                let argsz = size_of::<vfio_iommu_type1_dma_map>() as u32;
                let map = vfio_iommu_type1_dma_map { argsz, flags, ..Default::default() };
                let (vaddr, iova, size) = (MEMORY + 4096, 0x1000, 4096);
                let mut map = vfio_iommu_type1_dma_map { vaddr, iova, size, ..map };
                host.vfio(host.fd, VFIO_IOMMU_MAP_DMA, &mut map)
            });
        }
    }
}
