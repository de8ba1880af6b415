//! `/dev/vfio/N`.

use engine::Node;
use mem::AddressSpace;
use uapi::iommufd::*;

use super::*;
use crate::host::{DEVICE, IOAS, UNMAPPED};
use crate::table::OK;

const FIRST: &str = "0000:6a:01.0";
const SECOND: &str = "0000:6a:01.1";

fn start(kernel: &'static Kernel) -> Legacy {
    Legacy::new(&machine(), kernel)
}

/// A group is open once, and not while a device of it is bound by its character device.
#[test]
fn opening() {
    #[rustfmt::skip] // one order of calls, one line
    let rows: &[Row<Answer>] = &[
        ("again",                     BUSY,  |l| l.open_group(GROUP).map(drop)),
        ("again, after a close",      OK,    |l| { l.close(l.group); l.open_group(GROUP).map(drop) }),
        ("the other group",           OK,    |l| l.open_group(OTHER).map(drop)),
        ("no such group",             NOENT, |l| l.open_group(7).map(drop)),
        ("what a container knows",    NOTTY, |l| l.call(l.group, VFIO_SET_IOMMU, V1).map(drop)),
        ("what no file knows",        NOTTY, |l| l.call(l.group, 0x3bff, 0).map(drop)),
    ];
    always("6.2-", start, rows);
    #[rustfmt::skip] // one order of calls, one line
    let rows: &[Row<Answer>] = &[
        ("bind of a device",          BUSY,  |l| l.host.bind(0, l.host.fd).map(drop)),
        ("... before its descriptor", BUSY,  |l| l.host.bind(0, 999).map(drop)),
        ("... of another group",      OK,    |l| l.host.bind(2, l.host.fd).map(drop)),
        ("... of a closed group",     OK,    |l| { l.close(l.group); l.host.bind(0, l.host.fd).map(drop) }),
        ("a device is bound",         BUSY,  |l| { l.close(l.group); l.host.bind(1, l.host.fd).unwrap(); l.open_group(GROUP).map(drop) }),
        ("... of another group",      OK,    |l| { l.close(l.group); l.host.bind(2, l.host.fd).unwrap(); l.open_group(GROUP).map(drop) }),
        ("... and closed",            OK,    |l| { l.close(l.group); l.host.bind(1, l.host.fd).unwrap(); l.close(l.host.cards[1]); l.open_group(GROUP).map(drop) }),
        ("a bind that was refused",   OK,    |l| { l.close(l.group); l.host.bind(1, 999).unwrap_err(); l.open_group(GROUP).map(drop) }),
        ("a second bind refused",     BUSY,  |l| { l.close(l.group); l.host.bind(1, l.host.fd).unwrap(); l.host.bind(1, 999).unwrap_err(); l.open_group(GROUP).map(drop) }),
    ];
    always("6.6-", start, rows);
}

/// `VFIO_GROUP_GET_STATUS`: whether it is viable, and has a container.
#[test]
fn status() {
    #[rustfmt::skip] // one order of calls, one line
    let rows: &[Row<(bool, bool)>] = &[
        ("nothing done",         (true, false),  |l| l.status()),
        ("in a container",       (true, true),   |l| { l.put(l.group, l.container).unwrap(); l.status() }),
        ("under an iommufd",     (true, true),   |l| { l.put(l.group, l.host.fd).unwrap(); l.status() }),
        ("out again",            (true, false),  |l| { l.put(l.group, l.container).unwrap(); l.take(l.group).unwrap(); l.status() }),
        ("a device is another's", (false, false), |l| { l.put(l.group, l.host.fd).unwrap(); l.device(FIRST).unwrap(); l.take(l.group).unwrap(); l.status() }),
    ];
    always("6.2-", start, rows);
    fn sized(l: &mut Legacy, argsz: u32) -> Answer {
        l.host.vfio(l.group, VFIO_GROUP_GET_STATUS, &mut vfio_group_status { argsz, flags: 0 })
    }
    #[rustfmt::skip] // one argument, one line
    let rows: &[Row<Answer>] = &[
        ("a byte short",         INVAL,  |l| sized(l, 7)),
        ("longer",               OK,     |l| sized(l, 4000)),
        ("nowhere",              EFAULT, |l| l.call(l.group, VFIO_GROUP_GET_STATUS, UNMAPPED).map(drop)),
    ];
    always("6.2-", start, rows);
}

/// `VFIO_GROUP_SET_CONTAINER` and `VFIO_GROUP_UNSET_CONTAINER`
#[test]
fn containers() {
    fn second(l: &mut Legacy) -> i32 {
        l.open_group(OTHER).unwrap()
    }
    #[rustfmt::skip] // one order of calls, one line
    let rows: &[Row<Answer>] = &[
        ("a container",               OK,     |l| l.put(l.group, l.container)),
        ("an iommufd",                OK,     |l| l.put(l.group, l.host.fd)),
        ("not open",                  BADF,   |l| l.put(l.group, 999)),
        ("negative",                  BADF,   |l| l.put(l.group, -1)),
        ("a group",                   BADFD,  |l| l.put(l.group, l.group)),
        ("nowhere",                   EFAULT, |l| l.call(l.group, VFIO_GROUP_SET_CONTAINER, UNMAPPED).map(drop)),
        ("twice",                     INVAL,  |l| { l.put(l.group, l.container).unwrap(); l.put(l.group, l.container) }),
        ("twice, an iommufd",         INVAL,  |l| { l.put(l.group, l.host.fd).unwrap(); l.put(l.group, l.container) }),
        ("twice, not open",           BADF,   |l| { l.put(l.group, l.container).unwrap(); l.put(l.group, 999) }),
        ("twice, a group",            INVAL,  |l| { l.put(l.group, l.container).unwrap(); l.put(l.group, l.group) }),
        ("two groups in one",         OK,     |l| { let g = second(l); l.put(l.group, l.container).unwrap(); l.put(g, l.container) }),
        ("two groups in two",         OK,     |l| { let g = second(l); l.put(l.group, l.container).unwrap(); l.put(g, l.host.fd) }),
        ("out of none",               INVAL,  |l| l.take(l.group)),
        ("out",                       OK,     |l| { l.put(l.group, l.container).unwrap(); l.take(l.group) }),
        ("out twice",                 INVAL,  |l| { l.put(l.group, l.container).unwrap(); l.take(l.group).unwrap(); l.take(l.group) }),
        ("out and in",                OK,     |l| { l.put(l.group, l.container).unwrap(); l.take(l.group).unwrap(); l.put(l.group, l.host.fd) }),
        ("out of a closed one",       OK,     |l| { l.put(l.group, l.container).unwrap(); l.close(l.container); l.take(l.group) }),
        ("out, a device open",        BUSY,   |l| { l.put(l.group, l.container).unwrap(); l.call(l.container, VFIO_SET_IOMMU, V2).unwrap(); l.device(FIRST).unwrap(); l.take(l.group) }),
        ("... and closed",            OK,     |l| { l.put(l.group, l.container).unwrap(); l.call(l.container, VFIO_SET_IOMMU, V2).unwrap(); let fd = l.device(FIRST).unwrap(); l.close(fd); l.take(l.group) }),
        ("out of an iommufd, a device open", OK, |l| { l.put(l.group, l.host.fd).unwrap(); l.device(FIRST).unwrap(); l.take(l.group) }),
        ("... then into a container", PERM,   |l| { l.put(l.group, l.host.fd).unwrap(); l.device(FIRST).unwrap(); l.take(l.group).unwrap(); l.put(l.group, l.container) }),
        ("... then under it again",   OK,     |l| { l.put(l.group, l.host.fd).unwrap(); l.device(FIRST).unwrap(); l.take(l.group).unwrap(); l.put(l.group, l.host.fd) }),
    ];
    always("6.2-", start, rows);
}

/// `VFIO_GROUP_GET_DEVICE_FD`: names, and what must be there.
#[test]
fn devices() {
    const TOKEN: &str = "0000:6a:01.0 vf_token=bd8d9d2b-5a5f-4f5a-a211-f591514ba1f3";
    fn ready(l: &mut Legacy) -> &mut Legacy {
        l.put(l.group, l.container).unwrap();
        l.call(l.container, VFIO_SET_IOMMU, V2).unwrap();
        l
    }
    fn named(l: &mut Legacy, at: u64) -> Answer {
        l.call(l.group, VFIO_GROUP_GET_DEVICE_FD, at).map(drop)
    }
    fn long(l: &mut Legacy, length: usize) -> Answer {
        l.host.client.memory.write(MEMORY, &vec![b'x'; length]).unwrap();
        named(l, MEMORY)
    }
    #[rustfmt::skip] // one name, one line
    let rows: &[Row<Answer>] = &[
        ("the first",               OK,     |l| ready(l).device(FIRST).map(drop)),
        ("the second",              OK,     |l| ready(l).device(SECOND).map(drop)),
        ("twice",                   OK,     |l| { ready(l).device(FIRST).unwrap(); l.device(FIRST).map(drop) }),
        ("of another group",        NODEV,  |l| ready(l).device("0000:6a:02.0").map(drop)),
        ("no name",                 NODEV,  |l| ready(l).device("").map(drop)),
        ("a part of it",            NODEV,  |l| ready(l).device("0000:6a:01").map(drop)),
        ("more than it",            NODEV,  |l| ready(l).device("0000:6a:01.00").map(drop)),
        ("spaces behind",           OK,     |l| ready(l).device("0000:6a:01.0  ").map(drop)),
        ("a word behind",           INVAL,  |l| ready(l).device("0000:6a:01.0 x").map(drop)),
        ("a token",                 INVAL,  |l| ready(l).device(TOKEN).map(drop)),
        ("a bad token",             INVAL,  |l| ready(l).device("0000:6a:01.0 vf_token=1").map(drop)),
        ("nowhere",                 EFAULT, |l| named(ready(l), UNMAPPED)),
        ("without an end",          EFAULT, |l| { l.host.client.memory.write(MEMORY + 16 * PAGE - 2, b"xx").unwrap(); named(l, MEMORY + 16 * PAGE - 2) }),
        ("a page, and no end",      INVAL,  |l| long(l, 4096)),
        ("a page with its end",     NODEV,  |l| long(l, 4095)),
        ("no container",            INVAL,  |l| l.device(FIRST).map(drop)),
        ("no container, no name",   NODEV,  |l| l.device("x").map(drop)),
        ("no driver",               INVAL,  |l| { l.put(l.group, l.container).unwrap(); l.device(FIRST).map(drop) }),
        ("an iommufd",              OK,     |l| { l.put(l.group, l.host.fd).unwrap(); l.device(FIRST).map(drop) }),
        ("no room for a descriptor", Err(Errno::EMFILE), |l| { ready(l).host.client.descriptor_limit = 0; l.device(FIRST).map(drop) }),
    ];
    always("6.2-", start, rows);
}

/// What a device that came through its group can do.
#[test]
fn calls_on_a_device() {
    fn device(l: &mut Legacy, iommufd: bool) -> i32 {
        let fd = if iommufd { l.host.fd } else { l.container };
        l.put(l.group, fd).unwrap();
        if !iommufd {
            l.call(l.container, VFIO_SET_IOMMU, V2).unwrap();
        }
        l.device(FIRST).unwrap()
    }
    for iommufd in [false, true] {
        let mut table = Table::default();
        #[rustfmt::skip] // one call, one line
        let rows = [
            ("information",   VFIO_DEVICE_GET_INFO,          OK),
            ("reset",         VFIO_DEVICE_RESET,             OK),
            ("attach",        VFIO_DEVICE_ATTACH_IOMMUFD_PT, NOTTY),
            ("detach",        VFIO_DEVICE_DETACH_IOMMUFD_PT, NOTTY),
            ("bind",          VFIO_DEVICE_BIND_IOMMUFD,      INVAL),
            ("a group's own", VFIO_GROUP_GET_STATUS,         NOTTY),
        ];
        for (what, cmd, expected) in rows {
            table.each(what, &[("6.6-", expected)], |kernel| {
                let mut legacy = start(kernel);
                let fd = device(&mut legacy, iommufd);
                let bytes: Vec<u8> = [24_u32, 0, 3, 0, 0, 0].map(u32::to_ne_bytes).concat();
                let at = legacy.host.client.scratch(&bytes);
                legacy.call(fd, cmd, at).map(drop)
            });
        }
        // the configuration space: the vendor, and memory on
        table.each("read", &[("6.2-", 0x0b25_8086)], |kernel| {
            let mut legacy = start(kernel);
            let fd = device(&mut legacy, iommufd);
            let file = legacy.host.client.open_file(fd);
            file.read(&mut legacy.host.client, MEMORY, 4, Some(7 << 40)).unwrap();
            let mut bytes = [0; 4];
            legacy.host.client.memory.read(MEMORY, &mut bytes).unwrap();
            u32::from_le_bytes(bytes)
        });
    }
}

/// A virtual function that was taken away while a program had no more than its files open is nobody's.
#[test]
fn virtual_functions_that_are_gone() {
    const TOKEN: &str = "vf_token=bd8d9d2b-5a5f-4f5a-a211-f591514ba1f3";
    let machine = File::of("spr").set("device", "total_vfs", "2").machine();
    let physical = machine.devices[0].address;
    let start = |kernel| {
        let legacy = Legacy::new(&machine, kernel);
        legacy.host.engine.set_virtual_functions(physical, 2).unwrap();
        legacy
    };
    let mut table = Table::default();
    table.each("its character device", &[("6.6-6.15", (OK, NODEV))], |kernel| {
        let bind = |number| {
            let mut legacy = start(kernel);
            let card = legacy.host.open_card(1).unwrap();
            legacy.host.engine.set_virtual_functions(physical, number).unwrap();
            legacy.host.bind_card(card, legacy.host.fd).map(drop)
        };
        (bind(2), bind(0))
    });
    for iommufd in [false, true] {
        table.each("its group", &[("6.2-", (OK, NODEV))], |kernel| {
            let open = |number| {
                let mut legacy = start(kernel);
                legacy.put(legacy.group, legacy.host.fd).unwrap();
                let fd = legacy.device(&format!("{FIRST} {TOKEN}")).unwrap();
                legacy.close(fd);
                let group = legacy.open_group(machine.devices[0].group + 1).unwrap();
                let place = if iommufd { legacy.host.fd } else { legacy.container };
                legacy.put(group, place).unwrap();
                if !iommufd {
                    legacy.call(legacy.container, VFIO_SET_IOMMU, V2).unwrap();
                }
                legacy.host.engine.set_virtual_functions(physical, number).unwrap();
                legacy.group = group;
                legacy.device(&format!("{SECOND} {TOKEN}")).map(drop)
            };
            (open(2), open(0))
        });
    }
}

/// A bus reset names groups, where a character device names none; no bus here can be reset.
#[test]
fn bus_resets() {
    type Expected<'a> = &'a [(&'static str, Answer)];
    #[rustfmt::skip] // one call, one line
    let rows: [(_, _, Expected<'_>); 4] = [
        ("no group",   [12, 0, 0], &[("6.2", NODEV), ("6.6-", INVAL)]),
        ("a group",    [12, 0, 1], &[("6.2-", NODEV)]),
        ("with flags", [12, 1, 1], &[("6.2-", INVAL)]),
        ("too short",  [11, 0, 1], &[("6.2-", INVAL)]),
    ];
    let mut table = Table::default();
    for (what, words, expected) in rows {
        table.each(what, expected, |kernel| {
            let mut legacy = start(kernel);
            legacy.put(legacy.group, legacy.host.fd).unwrap();
            let fd = legacy.device(FIRST).unwrap();
            let at = legacy.host.client.scratch(&words.map(u32::to_ne_bytes).concat());
            legacy.call(fd, VFIO_DEVICE_PCI_HOT_RESET, at).map(drop)
        });
    }
}

/// What is held by what, and by what not.
#[test]
fn lifetimes() {
    fn used(l: &mut Legacy) -> i32 {
        l.put(l.group, l.container).unwrap();
        l.call(l.container, VFIO_SET_IOMMU, V2).unwrap();
        l.map(0x10000, 1).unwrap();
        l.device(FIRST).unwrap()
    }
    fn under(l: &mut Legacy) -> i32 {
        l.put(l.group, l.host.fd).unwrap();
        l.device(FIRST).unwrap()
    }
    #[rustfmt::skip] // one order of calls, one line
    let rows: &[Row<Answer>] = &[
        ("a device keeps its group open",    BUSY, |l| { used(l); l.close(l.group); l.open_group(GROUP).map(drop) }),
        ("... until it is closed",           OK,   |l| { let fd = used(l); l.close(l.group); l.close(fd); l.open_group(GROUP).map(drop) }),
        ("... and what is mapped",           OK,   |l| { used(l); l.close(l.group); l.close(l.container); assert!(l.read(0, 0x10000).is_some()); OK }),
        ("... until then",                   OK,   |l| { let fd = used(l); l.close(l.group); l.close(l.container); l.close(fd); assert!(l.read(0, 0x10000).is_none()); OK }),
        ("the container is closed first",    OK,   |l| { used(l); l.close(l.container); assert!(l.read(1, 0x10000).is_some()); OK }),
        ("a group without a device",         OK,   |l| { let fd = used(l); l.close(fd); assert!(l.read(0, 0x10000).is_some()); l.close(l.group); assert!(l.read(0, 0x10000).is_none()); OK }),
        ("its owner goes with it",           OK,   |l| { let fd = used(l); l.close(fd); l.close(l.group); l.group = l.open_group(GROUP).unwrap(); l.put(l.group, l.host.fd) }),
        ("an iommufd's device does not",     OK,   |l| { under(l); l.close(l.group); l.open_group(GROUP).map(drop) }),
        ("... and stays the iommufd's",      PERM, |l| { under(l); l.close(l.group); l.group = l.open_group(GROUP).unwrap(); l.put(l.group, l.container) }),
        ("... until it is closed",           OK,   |l| { let fd = under(l); l.close(l.group); l.close(fd); l.group = l.open_group(GROUP).unwrap(); l.put(l.group, l.container) }),
        ("one of two descriptors",           PERM, |l| { let fd = under(l); l.device(FIRST).unwrap(); l.close(fd); l.take(l.group).unwrap(); l.put(l.group, l.container) }),
    ];
    always("6.2-", start, rows);
    #[rustfmt::skip] // one order of calls, one line
    let rows: &[Row<Answer>] = &[
        ("its character device meanwhile",   INVAL, |l| { under(l); l.close(l.group); l.host.bind(0, l.host.fd).map(drop) }),
        ("that of its neighbour",            OK,    |l| { under(l); l.close(l.group); l.host.bind(1, l.host.fd).map(drop) }),
        ("... for another iommufd",          PERM,  |l| { under(l); l.close(l.group); let fd = l.open(Node::Iommu).unwrap(); l.host.bind(1, fd).map(drop) }),
    ];
    always("6.6-", start, rows);
}

/// A group brings an IOAS for the type1 calls of its iommufd, and its devices are attached to it.
#[test]
fn under_an_iommufd() {
    fn chosen(l: &mut Legacy) -> u32 {
        let mut cmd = iommu_vfio_ioas { op: IOMMU_VFIO_IOAS_GET, ..Default::default() };
        l.host.call(&mut cmd).map_or(0, |()| cmd.ioas_id)
    }
    fn choose(l: &mut Legacy, op: u16) {
        l.host.call(&mut iommu_vfio_ioas { ioas_id: IOAS, op, ..Default::default() }).unwrap();
    }
    #[rustfmt::skip] // one order of calls, one line
    let rows: &[Row<u32>] = &[
        ("no group",             0,        |l| chosen(l)),
        ("a group",              IOAS + 1, |l| { l.put(l.group, l.host.fd).unwrap(); chosen(l) }),
        ("one was chosen",       IOAS,     |l| { choose(l, IOMMU_VFIO_IOAS_SET); l.put(l.group, l.host.fd).unwrap(); chosen(l) }),
        ("a second group",       IOAS + 1, |l| { l.put(l.group, l.host.fd).unwrap(); let g = l.open_group(OTHER).unwrap(); l.put(g, l.host.fd).unwrap(); chosen(l) }),
        ("it outlives the group", IOAS + 1, |l| { l.put(l.group, l.host.fd).unwrap(); l.close(l.group); chosen(l) }),
        // the IOAS, the device, and its hwpt
        ("a device's objects",   DEVICE + 3, |l| { l.put(l.group, l.host.fd).unwrap(); l.device(FIRST).unwrap(); l.host.next_id() }),
        ("... with its end",     DEVICE + 1, |l| { l.put(l.group, l.host.fd).unwrap(); let fd = l.device(FIRST).unwrap(); l.close(fd); l.host.next_id() }),
    ];
    always("6.2-", start, rows);
    #[rustfmt::skip] // one order of calls, one line
    let rows: &[Row<Answer>] = &[
        ("none is left",         NODEV, |l| { choose(l, IOMMU_VFIO_IOAS_SET); l.put(l.group, l.host.fd).unwrap(); choose(l, IOMMU_VFIO_IOAS_CLEAR); l.device(FIRST).map(drop) }),
        ("... and nothing else", OK,    |l| { choose(l, IOMMU_VFIO_IOAS_SET); l.put(l.group, l.host.fd).unwrap(); choose(l, IOMMU_VFIO_IOAS_CLEAR); l.device(FIRST).unwrap_err(); assert_eq!(l.host.next_id(), DEVICE); choose(l, IOMMU_VFIO_IOAS_SET); l.device(FIRST).map(drop) }),
        ("type1's own calls",    OK,    |l| { l.put(l.group, l.host.fd).unwrap(); l.container = l.host.fd; l.device(FIRST).unwrap(); l.call(l.host.fd, VFIO_SET_IOMMU, V2).unwrap(); l.map(0x10000, 1).unwrap(); assert!(l.read(0, 0x10000).is_some()); OK }),
        ("not of another device", OK,   |l| { l.put(l.group, l.host.fd).unwrap(); l.container = l.host.fd; l.device(FIRST).unwrap(); l.map(0x10000, 1).unwrap(); assert!(l.read(1, 0x10000).is_none()); OK }),
    ];
    always("6.2-", start, rows);
    let flat = File::of("spr").set("iommu", "interrupt_remapping", "false").machine();
    let mut table = Table::default();
    table.each("not isolated", &[("6.2-", PERM)], |kernel| {
        let mut legacy = Legacy::new(&flat, kernel);
        legacy.put(legacy.group, legacy.host.fd).unwrap();
        legacy.device(FIRST).map(drop)
    });
    table.each("a card", &[("6.6-", BADFD)], |kernel| {
        let mut legacy = start(kernel);
        legacy.put(legacy.group, legacy.host.cards[2])
    });
}
