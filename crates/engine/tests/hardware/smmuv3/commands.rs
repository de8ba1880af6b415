//! `IOMMU_HWPT_INVALIDATE` of a vIOMMU: commands of the guest's queue
//! (`arm_vsmmu_cache_invalidate`).

use mem::AddressSpace;
use uapi::Errno;
use uapi::iommufd::*;

use super::nested::{guest, ste};
use super::{grace, idr0};
use crate::file::File;
use crate::host::{Done, Host, IOAS, MEMORY, NOBODY, UNMAPPED};
use crate::table::{ByKernel, Table};

const NSNH_ALL: u64 = 0x30;
const NH_ALL: u64 = 0x10;
const NH_ASID: u64 = 0x11;
const NH_VA: u64 = 0x12;
const NH_VAA: u64 = 0x13;
const CFGI_CD: u64 = 0x05;
const CFGI_CD_ALL: u64 = 0x06;
const ATC_INV: u64 = 0x40;

/// Stream ID of the vDEVICE 7.
const SID: u64 = 7 << 32;

fn command(word0: u64, word1: u64) -> Vec<u8> {
    [word0.to_le_bytes(), word1.to_le_bytes()].concat()
}

const fn failed(errno: Errno, done: u32) -> Done {
    (Err(errno), done)
}

const EIO: Done = failed(Errno::EIO, 0);
const ONE: Done = (Ok(()), 1);

/// Commands of one word or two. A stream ID must be a vDEVICE's in every release; what else a command
/// may hold is judged from 7.3 on (`arm_vsmmu_validate_user_cmd`).
#[test]
fn fields() {
    const ALWAYS: ByKernel<'_, Done> = &[("6.13-", ONE)];
    const NEVER: ByKernel<'_, Done> = &[("6.13-", EIO)];
    const UNTIL: ByKernel<'_, Done> = &[("6.13-7.2", ONE), ("7.3-", EIO)];
    const VMID: u64 = 0xffff << 32;
    const ASID: u64 = 0xffff << 48;
    const NUM: u64 = 0x1f << 12;
    const SCALE: u64 = 0x1f << 20;
    const LEAF: u64 = 1;
    const TG_4K: u64 = 1 << 10;
    const TG_16K: u64 = 2 << 10;
    const SSV: u64 = 1 << 11;
    const SSID: u64 = 0xf_ffff << 12;
    const GLOBAL: u64 = 1 << 9;
    const ADDRESS: u64 = !0xfff;
    let ttl = |level: u64| level << 8;

    let plain = grace(&[]);
    let ranges = grace(&[(3, 1 << 10)]);
    let split = grace(&[(3, 1 << 10), (5, 1 << 7)]);
    let short = grace(&[(0, idr0::ASID16)]);
    let single = grace(&[(1, 20 << 6)]);
    let no_ats = grace(&[(0, idr0::ATS)]);
    #[rustfmt::skip] // one unit and one command, one line
    let rows: &[(&str, &File, u64, u64, ByKernel<'_, Done>)] = &[
        ("NSNH_ALL",                   &plain,  NSNH_ALL,                   0,                  ALWAYS),
        ("NSNH_ALL with a VMID",       &plain,  NSNH_ALL | VMID,            0,                  UNTIL),
        ("NSNH_ALL with a word",       &plain,  NSNH_ALL,                   LEAF,               UNTIL),
        ("NH_ALL",                     &plain,  NH_ALL | VMID,              0,                  ALWAYS),
        ("NH_ALL with an ASID",        &plain,  NH_ALL | ASID,              0,                  UNTIL),
        ("NH_ASID",                    &plain,  NH_ASID | VMID | ASID,      0,                  ALWAYS),
        ("NH_ASID with a leaf",        &plain,  NH_ASID,                    LEAF,               UNTIL),
        ("NH_ASID, 8-bit ASIDs",       &short,  NH_ASID | 0xff << 48,       0,                  ALWAYS),
        ("... and a ninth bit",        &short,  NH_ASID | 0x100 << 48,      0,                  UNTIL),
        ("NH_VA",                      &plain,  NH_VA | VMID | ASID,        ADDRESS | LEAF,     ALWAYS),
        ("NH_VA, 8-bit ASIDs",         &short,  NH_VA | ASID,               ADDRESS,            UNTIL),
        ("NH_VA, bit 1",               &plain,  NH_VA,                      2,                  UNTIL),
        ("NH_VA, bit 8 of word 0",     &plain,  NH_VA | 1 << 8,             0,                  UNTIL),
        ("NH_VAA",                     &plain,  NH_VAA | VMID,              ADDRESS | LEAF,     ALWAYS),
        ("NH_VAA with an ASID",        &plain,  NH_VAA | ASID,              0,                  UNTIL),
        ("a range, no RIL",            &plain,  NH_VA | NUM | SCALE,        TG_4K,              UNTIL),
        ("a granule, no RIL",          &plain,  NH_VA,                      TG_4K | ttl(3),     UNTIL),
        ("a range",                    &ranges, NH_VA | NUM | SCALE,        TG_4K | ttl(3),     ALWAYS),
        ("a range, every TTL",         &ranges, NH_VAA | NUM,               TG_4K,              ALWAYS),
        ("a range, no granule",        &ranges, NH_VA | NUM,                0,                  UNTIL),
        ("a scale, no granule",        &ranges, NH_VA | SCALE,              0,                  UNTIL),
        ("a level, no granule",        &ranges, NH_VA,                      ttl(1),             UNTIL),
        ("a granule, no range",        &ranges, NH_VA,                      TG_4K,              UNTIL),
        ("a granule and a level",      &ranges, NH_VA,                      TG_4K | ttl(1),     ALWAYS),
        ("16 KiB, level 1",            &ranges, NH_VA | NUM,                TG_16K | ttl(1),    UNTIL),
        ("... with DS",                &split,  NH_VA | NUM,                TG_16K | ttl(1),    ALWAYS),
        ("a scale above 31",           &ranges, NH_VA | 1 << 25,            TG_4K,              UNTIL),
        ("... with DS",                &split,  NH_VA | 1 << 25,            TG_4K,              ALWAYS),
        ("neither, as without RIL",    &ranges, NH_VA,                      ADDRESS,            ALWAYS),
        ("ATC_INV",                    &plain,  ATC_INV | SID,              ADDRESS | 52,       ALWAYS),
        ("ATC_INV, substream",         &plain,  ATC_INV | SID | SSV | SSID | GLOBAL, 0,         ALWAYS),
        ("ATC_INV, no SSIDs",          &single, ATC_INV | SID | SSV,        0,                  UNTIL),
        ("ATC_INV, size 53",           &plain,  ATC_INV | SID,              53,                 UNTIL),
        ("ATC_INV, bit 6",             &plain,  ATC_INV | SID,              1 << 6,             UNTIL),
        ("ATC_INV, no ATS",            &no_ats, ATC_INV | SID,              0,                  UNTIL),
        ("ATC_INV, unknown stream",    &plain,  ATC_INV | 8 << 32,          0,                  NEVER),
        ("CFGI_CD",                    &plain,  CFGI_CD | SID | SSID,       LEAF,               ALWAYS),
        ("CFGI_CD, SSV",               &plain,  CFGI_CD | SID | SSV,        0,                  UNTIL),
        ("CFGI_CD, no SSIDs",          &single, CFGI_CD | SID | 1 << 12,    0,                  UNTIL),
        ("CFGI_CD, unknown stream",    &plain,  CFGI_CD,                    0,                  NEVER),
        ("CFGI_CD_ALL",                &plain,  CFGI_CD_ALL | SID,          0,                  ALWAYS),
        ("CFGI_CD_ALL, a leaf",        &plain,  CFGI_CD_ALL | SID,          LEAF,               UNTIL),
        ("CFGI_CD_ALL, SSID",          &plain,  CFGI_CD_ALL | SID | 1 << 12, 0,                 UNTIL),
        ("CFGI_STE",                   &plain,  0x03 | SID,                 0,                  NEVER),
        ("SYNC",                       &plain,  0x46,                       0,                  NEVER),
        ("RESUME",                     &plain,  0x44 | SID,                 0,                  NEVER),
        ("EL2_ALL",                    &plain,  0x20,                       0,                  NEVER),
        ("S2_IPA",                     &plain,  0x2a,                       0,                  NEVER),
        ("nothing",                    &plain,  0,                          0,                  NEVER),
        ("every bit",                  &plain,  u64::MAX,                   u64::MAX,           NEVER),
    ];
    let mut table = Table::default();
    for (what, unit, word0, word1, expected) in rows {
        table.row(what, &unit.machine(), expected, |host| {
            let (viommu, _) = guest(host);
            host.invalidate(viommu, 1, &[&command(*word0, *word1)])
        });
    }
}

/// `entry_num` comes back as the index of the entry that was refused, whether or not those before it
/// were sent; lengths are as `copy_struct_from_user` has them.
#[test]
fn arrays() {
    let good = command(NH_ALL, 0);
    let bad = command(0, 0);
    let long = |tail: u8| [&good[..], &[tail; 8]].concat();
    let at = |index: usize, count: usize| {
        let mut list = vec![good.clone(); count];
        list[index] = bad.clone();
        list
    };
    #[rustfmt::skip] // one array, one line
    let rows: &[(&str, u32, Vec<Vec<u8>>, Done)] = &[
        ("three",                    1, vec![good.clone(); 3],            (Ok(()), 3)),
        ("two hundred",              1, vec![good.clone(); 200],          (Ok(()), 200)),
        ("the first is bad",         1, at(0, 3),                         failed(Errno::EIO, 0)),
        ("the last is bad",          1, at(2, 3),                         failed(Errno::EIO, 2)),
        ("the 63rd is bad",          1, at(62, 100),                      failed(Errno::EIO, 62)),
        ("the 64th is bad",          1, at(63, 100),                      failed(Errno::EIO, 63)),
        ("type",                     0, vec![good.clone()],               failed(Errno::EINVAL, 0)),
        ("another type",             2, vec![good.clone()],               failed(Errno::EINVAL, 0)),
        ("none",                     1, vec![],                           failed(Errno::EINVAL, 0)),
        ("none of another type",     0, vec![],                           failed(Errno::EINVAL, 0)),
        ("a word each",              1, vec![good[..8].to_vec(); 3],      (Ok(()), 3)),
        ("a byte each",              1, vec![good[..1].to_vec(); 3],      (Ok(()), 3)),
        ("longer, with zeros",       1, vec![long(0); 3],                 (Ok(()), 3)),
        ("longer, with more",        1, vec![long(0), long(1)],           failed(Errno::E2BIG, 0)),
        ("... before a bad one",     1, vec![[&bad[..], &[0; 8]].concat(), long(1)], failed(Errno::E2BIG, 0)),
    ];
    let mut table = Table::default();
    for (what, kind, entries, done) in rows {
        table.row(what, &grace(&[]).machine(), &[("6.13-", *done)], |host| {
            let (viommu, _) = guest(host);
            let entries: Vec<_> = entries.iter().map(|entry| &entry[..]).collect();
            host.invalidate(viommu, *kind, &entries)
        });
    }
}

/// What is judged before the driver is asked, and which objects have no such operation.
#[test]
fn order() {
    let inval = failed(Errno::EINVAL, 0);
    let noent = failed(Errno::ENOENT, 0);
    let fault = failed(Errno::EFAULT, 0);
    let limit = |before| [("6.13-7.1", before), ("7.2-", inval)];
    /// Commands of 16 bytes in the largest piece of memory that the kernel gives.
    const MOST: u32 = 262_144;
    type Change = fn(&mut iommu_hwpt_invalidate);
    #[rustfmt::skip] // one call, one line
    let rows: &[(&str, ByKernel<'_, Done>, Change)] = &[
        ("good",                    &[("6.13-", ONE)],                            |_| ()),
        ("reserved",                &[("6.13-", failed(Errno::EOPNOTSUPP, 0))],   |c| { c.__reserved = 1; c.hwpt_id = NOBODY }),
        ("no address, then object", &[("6.13-", inval)],                          |c| { c.data_uptr = 0; c.hwpt_id = NOBODY }),
        ("object",                  &[("6.13-", noent)],                          |c| c.hwpt_id = NOBODY),
        ("an IOAS",                 &[("6.13-", inval)],                          |c| c.hwpt_id = IOAS),
        ("the parent",              &[("6.13-", inval)],                          |c| c.hwpt_id -= 1),
        ("a vDEVICE",               &[("6.13-", inval)],                          |c| c.hwpt_id += 1),
        ("the guest's entry",       &[("6.13-", failed(Errno::EOPNOTSUPP, 0))],   |c| c.hwpt_id += 2),
        ("address",                 &[("6.13-", fault)],                          |c| c.data_uptr = UNMAPPED),
        ("address, other length",   &[("6.13-", fault)],                          |c| { c.data_uptr = UNMAPPED; c.entry_len = 8 }),
        ("type, then address",      &[("6.13-", inval)],                          |c| { c.data_uptr = UNMAPPED; c.data_type = 0 }),
        ("off the end",             &[("6.13-", fault)],                          |c| { c.data_uptr = MEMORY + 15 * 4096; c.entry_num = 257 }),
        ("too long an entry",       &limit(failed(Errno::E2BIG, 0)),              |c| c.entry_len = 4097),
        ("a page each",             &[("6.13-", ONE)],                            |c| c.entry_len = 4096),
        ("4 MiB of commands",       &[("6.13-", fault)],                          |c| { c.entry_num = MOST; c.data_uptr = UNMAPPED }),
        ("more, then type",         &[("6.13-", failed(Errno::ENOMEM, MOST + 1))], |c| { c.entry_num = MOST + 1; c.data_type = 0 }),
        ("more of one byte",        &[("6.13-", failed(Errno::ENOMEM, MOST + 1))], |c| { c.entry_num = MOST + 1; c.entry_len = 1 }),
        ("as many as can be",       &limit(failed(Errno::ENOMEM, u32::MAX)),      |c| c.entry_num = u32::MAX),
        ("as many of nobody",       &[("6.13-7.1", noent), ("7.2-", inval)],      |c| { c.entry_num = u32::MAX; c.hwpt_id = NOBODY }),
    ];
    let mut table = Table::default();
    for (what, expected, change) in rows {
        table.row(what, &grace(&[]).machine(), expected, |host: &mut Host| {
            let (hwpt_id, vdevice) = guest(host);
            assert_eq!(host.nested(hwpt_id, 0, 2, &ste(1, 5, 0)), Ok(vdevice + 1));
            let mut page = command(NH_ALL, 0);
            page.resize(4096, 0);
            page.push(1);
            let data_uptr = host.put(&page);
            let mut cmd = iommu_hwpt_invalidate { hwpt_id, data_uptr, ..Default::default() };
            (cmd.data_type, cmd.entry_len, cmd.entry_num) = (1, 16, 1);
            change(&mut cmd);
            host.invalidate_with(cmd)
        });
    }
    table.row("4 MiB", &grace(&[]).machine(), &[("6.13-", (Ok(()), MOST))], |host| {
        const FAR: u64 = 0x1000_0000;
        let (hwpt_id, _) = guest(host);
        let commands = command(NH_ALL, 0).repeat(MOST as usize);
        host.client.memory.map(FAR, commands.len() as u64 / 4096, true);
        host.client.memory.write(FAR, &commands).unwrap();
        host.invalidate_with(iommu_hwpt_invalidate {
            hwpt_id,
            data_uptr: FAR,
            data_type: 1,
            entry_len: 16,
            entry_num: MOST,
            ..Default::default()
        })
    });
    // a vDEVICE that is gone is an unknown stream
    table.row(
        "stream of a vDEVICE that is gone",
        &grace(&[]).machine(),
        &[("6.13-", EIO)],
        |host| {
            let (viommu, vdevice) = guest(host);
            host.destroy(vdevice).unwrap();
            host.invalidate(viommu, 1, &[&command(CFGI_CD | SID, 0)])
        },
    );
    table.row("a stream of 33 bits", &grace(&[]).machine(), &[("6.13-", EIO)], |host| {
        let parent = host.parent();
        let viommu = host.viommu(1, parent).unwrap();
        host.vdevice(viommu, 1 << 32).unwrap();
        host.invalidate(viommu, 1, &[&command(CFGI_CD, 0)])
    });
}
