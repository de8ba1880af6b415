//! Groups and their owners, IDs of objects, and what a close leaves.

use std::sync::Arc;

use profile::Machine;
use uapi::Errno;
use uapi::iommufd::*;

use super::{BUSY, INVAL, NOENT, PERM, spr};
use crate::file::File;
use crate::host::{DEVICE, Host, IOAS, NOBODY};
use crate::table::{Answer, ByKernel, Calls, OK, Table};

const PA: u32 = IOMMU_HWPT_ALLOC_PASID;

/// Sapphire Rapids with two more devices: the first and the second are of one group, the third is of
/// its own.
fn group() -> Machine {
    let device = |address: &str, group: u32| {
        format!(
            "[[device]]\naddress = \"{address}\"\niommu = \"dmar0\"\nvendor = 0x8086\n\
             device = 0x0b25\ngroup = {group}\nats = true\npri = true\npasid = {{ width = 20 }}\n"
        )
    };
    spr()
        .set("device", "group", "5")
        .add(&device("0000:6a:01.1", 5))
        .add(&device("0000:6a:02.0", 6))
        .machine()
}

/// Another `/dev/iommu` of the same program.
fn other(host: &mut Host) -> i32 {
    let engine = Arc::clone(&host.engine);
    host.client.open_on(&engine)
}

/// A group has one owner (`iommu_device_claim_dma_owner`).
#[test]
fn owners() {
    #[rustfmt::skip] // one order of calls, one line
    let rows: &[(&str, Answer, Calls<Answer>)] = &[
        ("two of a group, one owner",      OK,    |h| { h.bind(0, h.fd).unwrap(); h.bind(1, h.fd).map(|id| assert_eq!(id, DEVICE + 1)) }),
        ("two of a group, two owners",     PERM,  |h| { let fd = other(h); h.bind(0, h.fd).unwrap(); h.bind(1, fd).map(drop) }),
        ("two groups, two owners",         OK,    |h| { let fd = other(h); h.bind(0, h.fd).unwrap(); h.bind(2, fd).map(drop) }),
        ("refused, then its owner",        OK,    |h| { let fd = other(h); h.bind(0, h.fd).unwrap(); h.bind(1, fd).unwrap_err(); h.bind(1, h.fd).map(drop) }),
        ("the first is closed",            OK,    |h| { let fd = other(h); h.bind(0, h.fd).unwrap(); h.client.close(h.cards[0]); h.bind(1, fd).map(drop) }),
        ("one of two is closed",           PERM,  |h| { let fd = other(h); h.bind(0, h.fd).unwrap(); h.bind(1, h.fd).unwrap(); h.client.close(h.cards[0]); let card = h.open_card(0).unwrap(); h.bind_card(card, fd).map(drop) }),
        ("... for its owner",              OK,    |h| { h.bind(0, h.fd).unwrap(); h.bind(1, h.fd).unwrap(); h.client.close(h.cards[0]); let card = h.open_card(0).unwrap(); h.bind_card(card, h.fd).map(|id| assert_eq!(id, DEVICE)) }),
        ("both are closed",                OK,    |h| { let fd = other(h); h.bind(0, h.fd).unwrap(); h.bind(1, h.fd).unwrap(); h.client.close(h.cards[0]); h.client.close(h.cards[1]); let card = h.open_card(0).unwrap(); h.bind_card(card, fd).map(drop) }),
        ("the iommufd is closed, not it",  PERM,  |h| { let fd = other(h); h.bind(0, h.fd).unwrap(); h.client.close(h.fd); h.bind(1, fd).map(drop) }),
        ("the iommufd, and then it",       OK,    |h| { let fd = other(h); h.bind(0, h.fd).unwrap(); h.client.close(h.fd); h.client.close(h.cards[0]); h.bind(1, fd).map(drop) }),
        ("bound again after a close",      OK,    |h| { h.bind(0, h.fd).unwrap(); h.client.close(h.cards[0]); let card = h.open_card(0).unwrap(); h.bind_card(card, h.fd).map(|id| assert_eq!(id, DEVICE)) }),
        ("closed through the other",       INVAL, |h| { let card = h.open_card(0).unwrap(); h.bind(0, h.fd).unwrap(); h.client.close(card); let card = h.open_card(0).unwrap(); h.bind_card(card, h.fd).map(drop) }),
    ];
    let mut table = Table::default();
    for (what, answer, calls) in rows {
        table
            .each(what, &[("6.6-", *answer)], |kernel| calls(&mut Host::unbound(&group(), kernel)));
    }
}

/// Devices of a group go through one hwpt: the first attaches the group, the others follow it, and a
/// replace takes all of them along.
#[test]
fn groups() {
    const ALWAYS: ByKernel<'_, Answer> = &[("6.6-", OK)];
    const NEVER: ByKernel<'_, Answer> = &[("6.6-", INVAL)];
    const SINCE_615: ByKernel<'_, Answer> = &[("6.15-", OK)];
    const NOT_615: ByKernel<'_, Answer> = &[("6.15-", INVAL)];
    fn pasid_of_second(host: &mut Host, pt: u32) -> Answer {
        host.cards.swap(0, 1);
        let answer = host.attach_pasid(7, pt).map(drop);
        host.cards.swap(0, 1);
        answer
    }
    #[rustfmt::skip] // one order of calls, one line
    let rows: &[(&str, ByKernel<'_, Answer>, Calls<Answer>)] = &[
        ("same hwpt",              ALWAYS, |h| { let a = h.hwpt(0).unwrap(); h.attach(a).unwrap(); h.attach_of(1, a).map(drop) }),
        ("another hwpt",           NEVER,  |h| { let a = h.hwpt(0).unwrap(); let b = h.hwpt(0).unwrap(); h.attach(a).unwrap(); h.attach_of(1, b).map(drop) }),
        ("another group",          ALWAYS, |h| { let a = h.hwpt(0).unwrap(); let b = h.hwpt(0).unwrap(); h.attach(a).unwrap(); h.attach_of(2, b).map(drop) }),
        ("same IOAS",              ALWAYS, |h| { let a = h.attach(IOAS).unwrap(); h.attach_of(1, IOAS).map(|b| assert_eq!(a, b)) }),
        ("another IOAS",           NEVER,  |h| { h.attach(IOAS).unwrap(); let ioas = h.ioas(); h.attach_of(1, ioas).map(drop) }),
        ("... leaves nothing",     ALWAYS, |h| { h.attach(IOAS).unwrap(); let ioas = h.ioas(); h.attach_of(1, ioas).unwrap_err(); h.destroy(ioas) }),
        ("hwpt, then its IOAS",    NEVER,  |h| { let a = h.hwpt(0).unwrap(); h.attach(a).unwrap(); h.attach_of(1, IOAS).map(drop) }),
        ("IOAS, then a hwpt",      NEVER,  |h| { h.attach(IOAS).unwrap(); let a = h.hwpt(0).unwrap(); h.attach_of(1, a).map(drop) }),
        ("replace of one",         ALWAYS, |h| { let a = h.hwpt(0).unwrap(); let b = h.hwpt(0).unwrap(); h.attach(a).unwrap(); h.attach_of(1, a).unwrap(); h.attach(b).unwrap(); h.destroy(a) }),
        ("replace of the IOAS's own", &[("6.6-", NOENT)], |h| { let own = h.attach(IOAS).unwrap(); h.attach_of(1, IOAS).unwrap(); let a = h.hwpt(0).unwrap(); h.attach(a).unwrap(); h.destroy(own) }),
        ("... moves the other",    ALWAYS, |h| { let a = h.hwpt(0).unwrap(); let b = h.hwpt(0).unwrap(); h.attach(a).unwrap(); h.attach_of(1, a).unwrap(); h.attach(b).unwrap(); h.attach_of(1, b).map(drop) }),
        ("detach of one",          &[("6.6-", BUSY)], |h| { let a = h.hwpt(0).unwrap(); h.attach(a).unwrap(); h.attach_of(1, a).unwrap(); h.detach().unwrap(); h.destroy(a) }),
        ("... holds the group",    NEVER,  |h| { let a = h.hwpt(0).unwrap(); let b = h.hwpt(0).unwrap(); h.attach(a).unwrap(); h.attach_of(1, a).unwrap(); h.detach().unwrap(); h.attach(b).map(drop) }),
        ("detach of both",         ALWAYS, |h| { let a = h.hwpt(0).unwrap(); h.attach(a).unwrap(); h.attach_of(1, a).unwrap(); h.detach().unwrap(); h.cards.swap(0, 1); h.detach().unwrap(); h.destroy(a) }),
        ("PASID, same hwpt",       SINCE_615, |h| { let a = h.hwpt(PA).unwrap(); h.attach_pasid(7, a).unwrap(); pasid_of_second(h, a) }),
        ("PASID, another hwpt",    NOT_615,   |h| { let a = h.hwpt(PA).unwrap(); let b = h.hwpt(PA).unwrap(); h.attach_pasid(7, a).unwrap(); pasid_of_second(h, b) }),
        ("PASID, other on plain",  NOT_615,   |h| { let a = h.hwpt(PA).unwrap(); let b = h.hwpt(0).unwrap(); h.attach_of(1, b).unwrap(); h.attach_pasid(7, a).map(drop) }),
        ("PASID, then other to plain", NOT_615, |h| { let a = h.hwpt(PA).unwrap(); let b = h.hwpt(0).unwrap(); h.attach_pasid(7, a).unwrap(); h.attach_of(1, b).map(drop) }),
        ("PASID 0 follows",        SINCE_615, |h| { let a = h.hwpt(0).unwrap(); h.attach_of(1, a).unwrap(); h.attach_pasid(0, a).map(drop) }),
        ("PASID 0, another hwpt",  NOT_615,   |h| { let a = h.hwpt(0).unwrap(); let b = h.hwpt(0).unwrap(); h.attach_of(1, a).unwrap(); h.attach_pasid(0, b).map(drop) }),
    ];
    let mut table = Table::default();
    for (what, expected, calls) in rows {
        table.row(what, &group(), expected, calls);
    }
}

/// Reserved ranges are a device's own: the group's second device brings them again, and they go with
/// the last.
#[test]
fn reserved_ranges_of_a_group() {
    let mut table = Table::default();
    table.row("ranges", &group(), &[("6.6-", [1, 2, 2, 2, 1])], |host| {
        let hwpt = host.hwpt(0).unwrap();
        let none = host.ranges().0.len();
        host.attach(hwpt).unwrap();
        let one = host.ranges().0.len();
        host.attach_of(1, hwpt).unwrap();
        let two = host.ranges().0.len();
        host.detach().unwrap();
        let one_again = host.ranges().0.len();
        host.cards.swap(0, 1);
        host.detach().unwrap();
        [none, one, two, one_again, host.ranges().0.len()]
    });
}

/// IDs: the lowest that is free, for every kind of object, the IOAS's own hwpt among them.
#[test]
fn ids() {
    const NEXT: u32 = DEVICE + 1;
    #[rustfmt::skip] // one order of calls, one line
    let rows: &[(&str, ByKernel<'_, Answer>, Calls<Answer>)] = &[
        ("device in use",            &[("6.6-", BUSY)],  |h| h.destroy(DEVICE)),
        ("the IOAS's own hwpt",      &[("6.6-", OK)],    |h| h.attach(IOAS).map(|id| assert_eq!(id, NEXT))),
        ("... again",                &[("6.6-", OK)],    |h| { h.attach(IOAS).unwrap(); h.attach(IOAS).map(|id| assert_eq!(id, NEXT)) }),
        ("... in use",               &[("6.6-", BUSY)],  |h| { let a = h.attach(IOAS).unwrap(); h.destroy(a) }),
        ("IOAS in use",              &[("6.6-", BUSY)],  |h| { h.attach(IOAS).unwrap(); h.destroy(IOAS) }),
        ("... gone with its device", &[("6.6-", NOENT)], |h| { let a = h.attach(IOAS).unwrap(); h.detach().unwrap(); h.destroy(a) }),
        ("new before the old goes",  &[("6.6-", OK)],    |h| { h.attach(IOAS).unwrap(); let ioas = h.ioas(); assert_eq!(h.attach(ioas), Ok(NEXT + 2)); assert_eq!(h.next_id(), NEXT); OK }),
        ("hwpt to IOAS",             &[("6.6-", OK)],    |h| { let a = h.hwpt(0).unwrap(); h.attach(a).unwrap(); assert_eq!(h.attach(IOAS), Ok(a + 1)); h.destroy(a) }),
        ("IOAS to hwpt",             &[("6.6-", NOENT)], |h| { let own = h.attach(IOAS).unwrap(); let a = h.hwpt(0).unwrap(); assert_eq!(h.attach(a), Ok(a)); h.destroy(own) }),
        ("replace that fails",       &[("6.6-", OK)],    |h| { let own = h.attach(IOAS).unwrap(); assert_eq!(h.attach(NOBODY), Err(Errno::ENOENT)); h.attach(IOAS).map(|id| assert_eq!(id, own)) }),
        ("a fault queue as pt",      &[("6.11-", INVAL)], |h| { let q = h.fault_queue(); h.attach(q).map(drop) }),
    ];
    let mut table = Table::default();
    for (what, expected, calls) in rows {
        table.row(what, &spr().machine(), expected, calls);
    }
    // objects of a vIOMMU as pt
    for nth in [0, 1, 2] {
        let what = format!("object {nth} of a vIOMMU as pt");
        table.row(&what, &File::of("grace").machine(), &[("6.15-", INVAL)], |host| {
            let parent = host.parent();
            let viommu = host.viommu(1, parent).unwrap();
            host.vdevice(viommu, 7).unwrap();
            host.veventq(viommu, 1, 16).unwrap();
            host.attach(viommu + nth).map(drop)
        });
    }
}

/// Closing the device frees its ID and what was made for it, and leaves what the program made.
#[test]
fn closing_the_device() {
    fn close(host: &mut Host) {
        let card = host.cards[0];
        host.client.close(card);
    }
    fn rebind(host: &mut Host) -> Answer {
        host.cards[0] = host.open_card(0).unwrap();
        host.bind(0, host.fd).map(drop)
    }
    #[rustfmt::skip] // one order of calls, one line
    let rows: &[(&str, ByKernel<'_, Answer>, Calls<Answer>)] = &[
        ("the device",            &[("6.6-", OK)],    |h| { close(h); assert_eq!(h.next_id(), DEVICE); OK }),
        ("a hwpt for it",         &[("6.6-", NOENT)], |h| { close(h); h.hwpt(0).map(drop) }),
        ("the IOAS",              &[("6.6-", OK)],    |h| { close(h); h.destroy(IOAS) }),
        ("the IOAS, attached",    &[("6.6-", OK)],    |h| { h.attach(IOAS).unwrap(); close(h); h.destroy(IOAS) }),
        ("... its own hwpt",      &[("6.6-", NOENT)], |h| { let a = h.attach(IOAS).unwrap(); close(h); h.destroy(a) }),
        ("... its ranges",        &[("6.6-", OK)],    |h| { h.attach(IOAS).unwrap(); close(h); assert_eq!(h.ranges(), (vec![(0, u64::MAX)], 1)); OK }),
        ("a hwpt, attached",      &[("6.6-", OK)],    |h| { let a = h.hwpt(0).unwrap(); h.attach(a).unwrap(); close(h); h.destroy(a) }),
        ("... and the IOAS",      &[("6.6-", BUSY)],  |h| { let a = h.hwpt(0).unwrap(); h.attach(a).unwrap(); close(h); h.destroy(IOAS) }),
        ("a PASID",               &[("6.15-", OK)],   |h| { let a = h.hwpt(PA).unwrap(); h.attach_pasid(7, a).unwrap(); close(h); assert_eq!(h.next_id(), DEVICE); h.destroy(a) }),
        ("many PASIDs",           &[("6.15-", OK)],   |h| { let a = h.hwpt(PA).unwrap(); for pasid in [1, 63, 1023, 1024, 0xf_ffff] { h.attach_pasid(pasid, a).unwrap(); } close(h); assert_eq!(h.next_id(), DEVICE); h.destroy(a) }),
        ("PASID 0",               &[("6.15-", OK)],   |h| { let a = h.hwpt(0).unwrap(); h.attach_pasid(0, a).unwrap(); close(h); assert_eq!(h.next_id(), DEVICE); h.destroy(a) }),
        ("device and PASID",      &[("6.15-", OK)],   |h| { let a = h.hwpt(PA).unwrap(); h.attach(a).unwrap(); h.attach_pasid(7, a).unwrap(); close(h); h.destroy(a) }),
        ("bound again",           &[("6.6-", OK)],    |h| { let a = h.hwpt(0).unwrap(); h.attach(a).unwrap(); close(h); rebind(h).unwrap(); h.attach(a).map(drop) }),
        ("... PASIDs are free",   &[("6.15-", OK)],   |h| { let a = h.hwpt(PA).unwrap(); let b = h.hwpt(PA).unwrap(); h.attach_pasid(7, a).unwrap(); close(h); rebind(h).unwrap(); h.attach_pasid(7, b).map(drop) }),
    ];
    let mut table = Table::default();
    for (what, expected, calls) in rows {
        table.row(what, &spr().machine(), expected, calls);
    }
    // a vDEVICE ends with its device from 6.17 on, and nobody gets its ID again
    #[rustfmt::skip] // one order of calls, one line
    let rows: &[(&str, ByKernel<'_, Answer>, Calls<Answer>)] = &[
        ("vIOMMU",                &[("6.13-6.15", BUSY), ("6.17-", OK)],  |h| { let p = h.parent(); let v = h.viommu(1, p).unwrap(); h.vdevice(v, 7).unwrap(); close(h); h.destroy(v) }),
        ("vDEVICE",               &[("6.13-6.15", OK), ("6.17-", NOENT)], |h| { let p = h.parent(); let v = h.viommu(1, p).unwrap(); let d = h.vdevice(v, 7).unwrap(); close(h); h.destroy(d) }),
        ("... its ID",            &[("6.17-", OK)],                       |h| { let p = h.parent(); let v = h.viommu(1, p).unwrap(); let d = h.vdevice(v, 7).unwrap(); close(h); for _ in 0..4 { assert_ne!(h.ioas(), d); } OK }),
        ("... destroyed before",  &[("6.13-", OK)],                       |h| { let p = h.parent(); let v = h.viommu(1, p).unwrap(); let d = h.vdevice(v, 7).unwrap(); h.destroy(d).unwrap(); close(h); assert_eq!((h.ioas(), h.ioas()), (DEVICE, d)); OK }),
        ("... bound again",       &[("6.17-", OK)],                       |h| { let p = h.parent(); let v = h.viommu(1, p).unwrap(); h.vdevice(v, 7).unwrap(); close(h); rebind(h).unwrap(); h.vdevice(v, 7).map(drop) }),
        ("nested, attached",      &[("6.13-", OK)],                       |h| { let p = h.parent(); let v = h.viommu(1, p).unwrap(); h.vdevice(v, 7).unwrap(); let n = h.nested(v, 0, 2, &[0; 16]).unwrap(); h.attach(n).unwrap(); close(h); h.destroy(n) }),
    ];
    for (what, expected, calls) in rows {
        table.row(what, &File::of("grace").machine(), expected, calls);
    }
}

/// Closing the iommufd first takes nothing away: the device holds it.
#[test]
fn closing_the_iommufd() {
    const DETACHED: ByKernel<'_, Answer> = &[("6.6-", OK)];
    #[rustfmt::skip] // one order of calls, one line
    let rows: &[(&str, ByKernel<'_, Answer>, Calls<Answer>)] = &[
        ("attach",              DETACHED,           |h| { h.client.close(h.fd); h.attach(IOAS).map(|id| assert_eq!(id, DEVICE + 1)) }),
        ("detach",              DETACHED,           |h| { h.attach(IOAS).unwrap(); h.client.close(h.fd); h.detach() }),
        ("replace",             DETACHED,           |h| { let a = h.hwpt(0).unwrap(); h.attach(IOAS).unwrap(); h.client.close(h.fd); h.attach(a).map(drop) }),
        ("PASID",               &[("6.15-", OK)],   |h| { let a = h.hwpt(PA).unwrap(); h.client.close(h.fd); h.attach_pasid(7, a).map(drop) }),
        ("pt",                  &[("6.6-", NOENT)], |h| { h.client.close(h.fd); h.attach(NOBODY).map(drop) }),
        ("then the device, attached", DETACHED,     |h| { h.attach(IOAS).unwrap(); h.client.close(h.fd); h.client.close(h.cards[0]); h.fd = other(h); h.cards[0] = h.open_card(0).unwrap(); assert_eq!(h.ioas(), IOAS); h.bind(0, h.fd).map(|id| assert_eq!(id, DEVICE)) }),
    ];
    let mut table = Table::default();
    for (what, expected, calls) in rows {
        table.row(what, &spr().machine(), expected, calls);
    }
}
