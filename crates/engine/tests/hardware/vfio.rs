//! VFIO character devices (`drivers/vfio/device_cdev.c`, `drivers/vfio/iommufd.c`).
//!
//! | module | holds |
//! |---|---|
//! | [`life`] | groups and their owners, IDs, what a close leaves |
//! | this one | arguments of the three calls, and the order in which they are judged |

mod life;

use std::sync::Arc;

use engine::{Caller, Cpus, Engine, Entry, Node};
use mem::{Accounts, AddressSpace, Extent, Fault, MmId, PAGE_SIZE, SharedFile};
use profile::machine::Container;
use profile::{Kernel, Machine};
use uapi::Errno;
use uapi::iommufd::*;
use uapi::vfio::*;

use crate::file::File;
use crate::host::{DEVICE, Host, IOAS, MEMORY, NOBODY, UNMAPPED};
use crate::table::{Answer, ByKernel, Calls, OK, Table};

const INVAL: Answer = Err(Errno::EINVAL);
const EFAULT: Answer = Err(Errno::EFAULT);
const NOENT: Answer = Err(Errno::ENOENT);
const PERM: Answer = Err(Errno::EPERM);
const BUSY: Answer = Err(Errno::EBUSY);
const BADF: Answer = Err(Errno::EBADF);
const BADFD: Answer = Err(Errno::EBADFD);

fn spr() -> File {
    File::of("spr")
}

/// The words of an argument, at an address; what it answers, and the words after it.
fn words(host: &mut Host, card: i32, cmd: u32, at: u64, list: &[u32]) -> (Answer, Vec<u32>) {
    let bytes: Vec<u8> = list.iter().flat_map(|word| word.to_ne_bytes()).collect();
    let room = (MEMORY + 16 * PAGE_SIZE).saturating_sub(at).min(bytes.len() as u64) as usize;
    host.client.memory.write(at, &bytes[..room]).unwrap();
    let result = host.client.ioctl(card, cmd, at);
    let mut bytes = vec![0; room];
    host.client.memory.read(at, &mut bytes).unwrap();
    let list = bytes.chunks_exact(4).map(|word| u32::from_ne_bytes(word.try_into().unwrap()));
    (result.map(drop).map_err(|refusal| refusal.errno()), list.collect())
}

/// An address from which `count` bytes can be read, and no more.
fn room_for(count: u64) -> u64 {
    MEMORY + 16 * PAGE_SIZE - count
}

/// `VFIO_DEVICE_BIND_IOMMUFD`: `argsz`, `flags`, `iommufd`, `out_devid`, the address of a token.
#[test]
fn bind_arguments() {
    const TOOBIG: Answer = Err(Errno::E2BIG);
    /// A placeholder for the descriptor of the iommufd.
    const FD: u32 = u32::MAX - 1;
    const TOKEN: u32 = MEMORY as u32;
    const NOWHERE: u32 = UNMAPPED as u32;
    const ALL: u64 = 64;
    let same = |answer| [("6.6-", answer)];
    let since = |before, after| [("6.6-6.15", before), ("6.17-", after)];
    #[rustfmt::skip] // one argument, one line
    let rows: &[(&str, u64, &[u32], ByKernel<'_, Answer>)] = &[
        ("good",                          ALL, &[16, 0, FD, 0],                 &same(OK)),
        ("out_devid in",                  ALL, &[16, 0, FD, 77],                &same(OK)),
        ("with room for a token",         ALL, &[24, 0, FD, 0, 0, 0],           &same(OK)),
        ("no size",                       ALL, &[0, 0, FD, 0],                  &same(INVAL)),
        ("a byte short",                  ALL, &[15, 0, FD, 0],                 &same(INVAL)),
        ("longer, with zeros",            ALL, &[32, 0, FD, 0, 0, 0, 0, 0],     &same(OK)),
        ("longer, with more",             ALL, &[32, 0, FD, 0, 0, 0, 0, 1],     &since(OK, TOOBIG)),
        ("... then descriptor",           ALL, &[32, 0, !0, 0, 0, 0, 0, 1],     &since(INVAL, TOOBIG)),
        ("... then flags",                ALL, &[32, 2, FD, 0, 0, 0, 0, 1],     &since(INVAL, TOOBIG)),
        ("unknown flag",                  ALL, &[16, 2, FD, 0],                 &same(INVAL)),
        ("every flag",                    ALL, &[16, !0, FD, 0],                &same(INVAL)),
        ("flag, then descriptor",         ALL, &[16, 2, 999, 0],                &same(INVAL)),
        ("negative descriptor",           ALL, &[16, 0, !0, 0],                 &same(INVAL)),
        ("descriptor that is not open",   ALL, &[16, 0, 999, 0],                &same(BADF)),
        ("a token that is not asked for", ALL, &[24, 0, FD, 0, TOKEN, 0],       &[("6.6-6.15", OK), ("6.17", TOOBIG), ("6.18-", OK)]),
        ("a token",                       ALL, &[24, 1, FD, 0, TOKEN, 0],       &[("6.6-6.15", INVAL), ("6.17", TOOBIG), ("6.18-", INVAL)]),
        ("... then descriptor",           ALL, &[24, 1, 999, 0, TOKEN, 0],      &[("6.6-6.15", INVAL), ("6.17", TOOBIG), ("6.18-", INVAL)]),
        ("a token nowhere",               ALL, &[24, 1, FD, 0, NOWHERE, 0],     &[("6.6-6.15", INVAL), ("6.17", TOOBIG), ("6.18-", EFAULT)]),
        ("... then descriptor",           ALL, &[24, 1, 999, 0, NOWHERE, 0],    &[("6.6-6.15", INVAL), ("6.17", TOOBIG), ("6.18-", EFAULT)]),
        ("a token, no room for it",       ALL, &[16, 1, FD, 0],                 &since(INVAL, EFAULT)),
        ("no token",                      ALL, &[24, 1, FD, 0, 0, 0],           &since(INVAL, EFAULT)),
        ("12 bytes of 16",                12,  &[16, 0, FD],                    &same(EFAULT)),
        ("8 bytes, and says so",          8,   &[8, 0],                         &since(EFAULT, INVAL)),
        ("16 bytes of 24",                16,  &[24, 0, FD, 0],                 &since(OK, EFAULT)),
        ("3 bytes",                       3,   &[16],                           &same(EFAULT)),
    ];
    let machine = spr().machine();
    let mut table = Table::default();
    for (what, room, list, expected) in rows {
        table.each(what, expected, |kernel| {
            let mut host = Host::unbound(&machine, kernel);
            let fd = host.fd as u32;
            let list: Vec<_> = list.iter().map(|it| if *it == FD { fd } else { *it }).collect();
            let card = host.cards[0];
            let cmd = VFIO_DEVICE_BIND_IOMMUFD;
            let (answer, after) = words(&mut host, card, cmd, room_for(*room), &list);
            let id = host.next_id();
            assert_eq!(id, DEVICE + u32::from(answer.is_ok()), "it left something");
            if answer.is_ok() {
                assert_eq!(after[3], DEVICE);
            } else {
                assert_eq!(&list[..after.len()], &after[..], "something was written");
                assert_eq!(host.bind(0, host.fd), Ok(DEVICE), "it can be bound still");
            }
            answer
        });
    }
    table.each("nothing", &[("6.6-", EFAULT)], |kernel| {
        let mut host = Host::unbound(&machine, kernel);
        let result = host.client.ioctl(host.cards[0], VFIO_DEVICE_BIND_IOMMUFD, UNMAPPED);
        result.map(drop).map_err(|refusal| refusal.errno())
    });
    // an answer that cannot be written undoes the binding
    table.each("out_devid nowhere", &[("6.6-", EFAULT)], |kernel| {
        let mut host = Host::unbound(&machine, kernel);
        let memory = Arc::clone(&host.client.memory);
        memory.map(MEMORY + PAGE_SIZE, 1, false);
        let fd = host.fd as u32;
        let head: Vec<u8> = [16, 0, fd].iter().flat_map(|word: &u32| word.to_ne_bytes()).collect();
        let at = MEMORY + PAGE_SIZE - 12;
        memory.write(at, &head).unwrap();
        let result = host.client.ioctl(host.cards[0], VFIO_DEVICE_BIND_IOMMUFD, at);
        assert_eq!(host.next_id(), DEVICE);
        assert_eq!(host.bind(0, host.fd), Ok(DEVICE), "it can be bound still");
        result.map(drop).map_err(|refusal| refusal.errno())
    });
}

/// Which descriptors are an iommufd, and what is judged first.
#[test]
fn bind_order() {
    let flat = spr().set("iommu", "interrupt_remapping", "false").machine();
    let spr = spr().machine();
    let fault_fd = |host: &mut Host| {
        let mut cmd = iommu_fault_alloc::default();
        host.call(&mut cmd).unwrap();
        cmd.out_fault_fd as i32
    };
    let other = |host: &mut Host| {
        let engine = Arc::clone(&host.engine);
        host.client.open_on(&engine)
    };
    type Calls<'c> = &'c dyn Fn(&mut Host) -> Answer;
    #[rustfmt::skip] // one order of calls, one line
    let rows: &[(&str, ByKernel<'_, Answer>, Calls<'_>)] = &[
        ("iommufd",                           &[("6.6-", OK)],     &|h| h.bind(0, h.fd).map(drop)),
        ("itself",                            &[("6.6-", BADFD)],  &|h| h.bind(0, h.cards[0]).map(drop)),
        ("a fault queue",                     &[("6.11-", BADFD)], &|h| { let fd = fault_fd(h); h.bind(0, fd).map(drop) }),
        ("the type1 container",               &[("6.6-", BADFD)],  &|h| { let file = h.engine.open(&mut h.client, Node::VfioContainer).unwrap(); let fd = h.client.install(file).unwrap(); h.bind(0, fd).map(drop) }),
        ("twice",                             &[("6.6-", INVAL)],  &|h| { h.bind(0, h.fd).unwrap(); h.bind(0, h.fd).map(drop) }),
        ("twice, then descriptor",            &[("6.6-", INVAL)],  &|h| { h.bind(0, h.fd).unwrap(); h.bind(0, 999).map(drop) }),
        ("twice, another iommufd",            &[("6.6-", INVAL)],  &|h| { h.bind(0, h.fd).unwrap(); let fd = other(h); h.bind(0, fd).map(drop) }),
        ("bound through another",             &[("6.6-", INVAL)],  &|h| { h.bind(0, h.fd).unwrap(); let card = h.open_card(0).unwrap(); h.bind_card(card, h.fd).map(drop) }),
        ("... and another iommufd",           &[("6.6-", INVAL)],  &|h| { h.bind(0, h.fd).unwrap(); let card = h.open_card(0).unwrap(); let fd = other(h); h.bind_card(card, fd).map(drop) }),
        ("... then descriptor, not open",     &[("6.6-", BADF)],   &|h| { h.bind(0, h.fd).unwrap(); let card = h.open_card(0).unwrap(); h.bind_card(card, 999).map(drop) }),
        ("... then descriptor, no iommufd",   &[("6.6-", BADFD)],  &|h| { h.bind(0, h.fd).unwrap(); let card = h.open_card(0).unwrap(); h.bind_card(card, card).map(drop) }),
        ("through another that failed",       &[("6.6-", OK)],     &|h| { let card = h.open_card(0).unwrap(); h.bind_card(card, 999).unwrap_err(); h.bind(0, h.fd).map(drop) }),
    ];
    let mut table = Table::default();
    for (what, expected, calls) in rows {
        table.each(what, expected, |kernel| calls(&mut Host::unbound(&spr, kernel)));
    }
    // where an iommufd is behind the container's node
    let mut compat = spr.clone();
    compat.vfio_container = Container::Iommufd;
    table.each("the container's node", &[("6.6-", OK)], |kernel| {
        let mut h = Host::unbound(&compat, kernel);
        let file = h.engine.open(&mut h.client, Node::VfioContainer).unwrap();
        let fd = h.client.install(file).unwrap();
        h.bind(0, fd).map(drop)
    });
    // interrupt messages that reach more than the device's own interrupts
    #[rustfmt::skip] // one order of calls, one line
    let rows: &[(&str, Answer, Calls<'_>)] = &[
        ("not isolated",                      PERM,  &|h| h.bind(0, h.fd).map(drop)),
        ("not isolated, then descriptor",     BADF,  &|h| h.bind(0, 999).map(drop)),
        ("not isolated, again",               PERM,  &|h| { h.bind(0, h.fd).unwrap_err(); h.bind(0, h.fd).map(drop) }),
        ("... and leaves nothing",            OK,    &|h| { h.bind(0, h.fd).unwrap_err(); assert_eq!(h.next_id(), DEVICE); OK }),
    ];
    for (what, answer, calls) in rows {
        table.each(what, &[("6.6-", *answer)], |kernel| calls(&mut Host::unbound(&flat, kernel)));
    }
    for name in ["icx", "grace", "genoa", "riscv"] {
        let flat = File::of(name).set("iommu", "interrupt_remapping", "false").machine();
        table.each(&format!("{name}, not isolated"), &[("6.13-", PERM)], |kernel| {
            let mut host = Host::unbound(&flat, kernel);
            host.bind(0, host.fd).map(drop)
        });
    }
}

/// A kernel without `CONFIG_VFIO_DEVICE_CDEV`.
fn nodeless() -> Machine {
    let mut machine = spr().machine();
    machine.vfio_device_cdev = false;
    machine
}

/// A machine, or a unit, whose devices VFIO does not offer.
#[test]
fn devices_that_are_not_there() {
    let grace = File::of("grace").set("iommu", "coherent", "false").machine();
    let mut table = Table::default();
    table.each("no IOMMU", &[("6.2-", 0)], |kernel| {
        Host::unbound(&File::of("none").machine(), kernel).cards.len()
    });
    table.each("walks that are not coherent", &[("6.2-", 0)], |kernel| {
        Host::unbound(&grace, kernel).cards.len()
    });
    table.each("VT-d", &[("6.2", 0), ("6.6-", 1)], |kernel| {
        Host::unbound(&spr().machine(), kernel).cards.len()
    });
    table.each("VT-d, without device nodes", &[("6.2-", 0)], |kernel| {
        Host::unbound(&nodeless(), kernel).cards.len()
    });
}

/// A device that is with VFIO is in `/sys` also where it has no node.
#[test]
fn devices_without_nodes() {
    let told = |machine: &Machine, kernel| {
        let engine = Engine::new(machine, kernel);
        let tree = engine.sysfs(&Cpus::new("0"));
        let text = |file: &str| {
            let folder = "devices/pci0000:6a/0000:6a:01.0/vfio-dev/vfio0";
            match tree.get(&format!("{folder}/{file}")) {
                Some(Entry::Text(text)) => Some(text.clone()),
                _ => None,
            }
        };
        assert!(tree.contains_key("class/vfio-dev/vfio0"));
        (text("dev"), text("uevent"), engine.device_nodes().len())
    };
    // iommu, vfio/vfio, and the group's
    let without = (None, Some(String::new()), 3);
    let uevent = "MAJOR=511\nMINOR=0\nDEVNAME=vfio/devices/vfio0\n";
    let with = (Some("511:0\n".to_owned()), Some(uevent.to_owned()), 4);
    let mut table = Table::default();
    let expected = [("6.2", without.clone()), ("6.6-", with)];
    table.each("with nodes", &expected, |kernel| told(&spr().machine(), kernel));
    table.each("without", &[("6.2-", without)], |kernel| told(&nodeless(), kernel));
}

/// Modules tell what the machine lets programs do.
#[test]
fn parameters_of_modules() {
    let flat = File::of("spr").set("iommu", "interrupt_remapping", "false").machine();
    let mut risky = flat.clone();
    risky.unsafe_interrupts = true;
    let sriov = File::of("spr").set("device", "total_vfs", "2").machine();
    #[rustfmt::skip] // one parameter, one line
    let rows = [
        ("iommufd/parameters/allow_unsafe_interrupts",          &flat,  "N\n"),
        ("iommufd/parameters/allow_unsafe_interrupts",          &risky, "Y\n"),
        ("vfio_iommu_type1/parameters/allow_unsafe_interrupts", &flat,  "N\n"),
        ("vfio_iommu_type1/parameters/allow_unsafe_interrupts", &risky, "Y\n"),
        ("vfio_pci/parameters/enable_sriov",                    &flat,  "N\n"),
        ("vfio_pci/parameters/enable_sriov",                    &sriov, "Y\n"),
    ];
    for (file, machine, expected) in rows {
        let tree = Engine::new(machine, Kernel::newest()).sysfs(&Cpus::new("0"));
        let text = Entry::Text(expected.to_owned());
        assert_eq!(tree.get(&format!("module/{file}")), Some(&text), "{file}");
    }
}

/// Nothing but binding can be done before it.
#[test]
fn before_binding() {
    let mut table = Table::default();
    for cmd in [VFIO_DEVICE_ATTACH_IOMMUFD_PT, VFIO_DEVICE_DETACH_IOMMUFD_PT, 0x3b6b, 0, !0] {
        for arg in [MEMORY, UNMAPPED] {
            let what = format!("ioctl {cmd:#x} of {arg:#x}");
            table.each(&what, &[("6.6-", INVAL)], |kernel| {
                let mut host = Host::unbound(&spr().machine(), kernel);
                let result = host.client.ioctl(host.cards[0], cmd, arg);
                result.map(drop).map_err(|refusal| refusal.errno())
            });
        }
    }
    // and, through another descriptor, not after it either
    table.each("attach elsewhere", &[("6.6-", INVAL)], |kernel| {
        let mut host = Host::new(&spr().machine(), kernel);
        host.cards[0] = host.open_card(0).unwrap();
        host.attach(IOAS).map(drop)
    });
    table.each("unknown, bound", &[("6.6-", Err(Errno::ENOTTY))], |kernel| {
        let mut host = Host::new(&spr().machine(), kernel);
        let result = host.client.ioctl(host.cards[0], 0x3bff, UNMAPPED);
        result.map(drop).map_err(|refusal| refusal.errno())
    });
}

/// `VFIO_DEVICE_ATTACH_IOMMUFD_PT`: `argsz`, `flags`, `pt_id`, `pasid`.
#[test]
fn attach_arguments() {
    const ALL: u64 = 64;
    let same = |answer| [("6.6-", answer)];
    let since = |before, after| [("6.6-6.14", before), ("6.15-", after)];
    #[rustfmt::skip] // one argument, one line
    let rows: &[(&str, u64, &[u32], ByKernel<'_, Answer>)] = &[
        ("good",                      ALL, &[12, 0, IOAS, 7],      &same(OK)),
        ("good, 16 bytes",            ALL, &[16, 0, IOAS, 7],      &same(OK)),
        ("any size",                  ALL, &[4000, 0, IOAS, 7],    &same(OK)),
        ("any size, little room",     12,  &[4000, 0, IOAS],       &same(OK)),
        ("a byte short",              ALL, &[11, 0, IOAS, 7],      &same(INVAL)),
        ("short, then pt",            ALL, &[0, 0, NOBODY, 7],     &same(INVAL)),
        ("unknown flag, then pt",     ALL, &[12, 2, NOBODY, 7],    &same(INVAL)),
        ("unknown flag and PASID",    ALL, &[16, 3, IOAS, 7],      &same(INVAL)),
        ("PASID, no room for it",     ALL, &[12, 1, NOBODY, 7],    &same(INVAL)),
        ("PASID, 15 bytes",           ALL, &[15, 1, NOBODY, 7],    &same(INVAL)),
        ("PASID, then pt",            ALL, &[16, 1, NOBODY, 7],    &since(INVAL, NOENT)),
        ("PASID nowhere",             12,  &[16, 1, IOAS],         &since(INVAL, EFAULT)),
        ("8 bytes",                   8,   &[12, 0],               &same(EFAULT)),
        ("8 bytes, and says so",      8,   &[8, 0],                &same(EFAULT)),
        ("pt",                        ALL, &[12, 0, NOBODY, 7],    &same(NOENT)),
        ("no pt",                     ALL, &[12, 0, 0, 7],         &same(NOENT)),
        ("a device as pt",            ALL, &[12, 0, DEVICE, 7],    &same(INVAL)),
    ];
    let machine = spr().machine();
    let mut table = Table::default();
    for (what, room, list, expected) in rows {
        table.row(what, &machine, expected, |host| {
            let card = host.cards[0];
            let cmd = VFIO_DEVICE_ATTACH_IOMMUFD_PT;
            let (answer, after) = words(host, card, cmd, room_for(*room), list);
            let mut wanted = list[..after.len()].to_vec();
            if answer.is_ok() {
                wanted[2] = DEVICE + 1;
            }
            assert_eq!(after, wanted);
            answer
        });
    }
}

/// `VFIO_DEVICE_DETACH_IOMMUFD_PT`: `argsz`, `flags`, `pasid`. What is not attached is detached.
#[test]
fn detach_arguments() {
    const ALL: u64 = 64;
    let same = |answer| [("6.6-", answer)];
    let since = |before, after| [("6.6-6.14", before), ("6.15-", after)];
    #[rustfmt::skip] // one argument, one line
    let rows: &[(&str, u64, &[u32], ByKernel<'_, Answer>)] = &[
        ("good",                      ALL, &[8, 0, 7],             &same(OK)),
        ("good, 12 bytes",            ALL, &[12, 0, 7],            &same(OK)),
        ("any size, little room",     8,   &[4000, 0],             &same(OK)),
        ("a byte short",              ALL, &[7, 0, 7],             &same(INVAL)),
        ("unknown flag",              ALL, &[8, 2, 7],             &same(INVAL)),
        ("PASID, no room for it",     ALL, &[8, 1, 7],             &same(INVAL)),
        ("PASID",                     ALL, &[12, 1, 7],            &since(INVAL, OK)),
        ("PASID nowhere",             8,   &[12, 1],               &since(INVAL, EFAULT)),
        ("4 bytes",                   4,   &[8],                   &same(EFAULT)),
    ];
    let machine = spr().machine();
    let mut table = Table::default();
    for (what, room, list, expected) in rows {
        for attached in [false, true] {
            table.row(&format!("{what}, attached {attached}"), &machine, expected, |host| {
                if attached {
                    host.attach(IOAS).unwrap();
                }
                let card = host.cards[0];
                let cmd = VFIO_DEVICE_DETACH_IOMMUFD_PT;
                words(host, card, cmd, room_for(*room), list).0
            });
        }
    }
}

/// Memory of the program that can only be read.
#[derive(Debug)]
struct ReadOnly(Arc<dyn AddressSpace>);

impl AddressSpace for ReadOnly {
    fn id(&self) -> MmId {
        self.0.id()
    }

    fn alive(&self) -> bool {
        self.0.alive()
    }

    fn read(&self, va: u64, to: &mut [u8]) -> Result<(), Fault> {
        self.0.read(va, to)
    }

    fn write(&self, _: u64, _: &[u8]) -> Result<(), Fault> {
        Err(Fault)
    }

    fn pin(self: Arc<Self>, va: u64, pages: u64, writable: bool) -> Result<Vec<Extent>, Fault> {
        Arc::clone(&self.0).pin(va, pages, writable)
    }

    fn accounts(&self) -> &Accounts {
        self.0.accounts()
    }
}

/// A program with such memory.
struct Reader(Arc<dyn AddressSpace>);

impl Caller for Reader {
    fn memory(&self) -> &Arc<dyn AddressSpace> {
        &self.0
    }

    fn install(&mut self, _: engine::File) -> Result<i32, Errno> {
        Err(Errno::EMFILE)
    }

    fn uninstall(&mut self, _: i32) {}

    fn file(&mut self, _: i32) -> Option<engine::File> {
        None
    }

    fn shared_file(&mut self, _: i32) -> Result<Arc<SharedFile>, Errno> {
        Err(Errno::EBADF)
    }

    fn eventfd(&mut self, _: i32) -> Result<Arc<dyn engine::Trigger>, Errno> {
        Err(Errno::EBADF)
    }

    fn is_mapped(&mut self, _: &SharedFile) -> bool {
        false
    }

    fn inject_failure(&mut self) -> bool {
        false
    }
}

/// An attach whose answer cannot be written detaches the device, also when it was a PASID that was
/// attached, which then stays (`vfio_df_ioctl_attach_pt`).
#[test]
fn attach_answer_nowhere() {
    const PA: u32 = IOMMU_HWPT_ALLOC_PASID;
    fn attach(host: &mut Host, list: [u32; 4]) {
        let bytes: Vec<u8> = list.iter().flat_map(|word| word.to_ne_bytes()).collect();
        host.client.memory.write(MEMORY, &bytes).unwrap();
        let mut reader = Reader(Arc::new(ReadOnly(Arc::clone(host.client.memory()))));
        let card = host.client.open_file(host.cards[0]);
        let result = card.ioctl(&mut reader, VFIO_DEVICE_ATTACH_IOMMUFD_PT, MEMORY);
        assert_eq!(result.map_err(|refusal| refusal.errno()), Err(Errno::EFAULT));
    }
    #[rustfmt::skip] // one order of calls, one line
    let rows: &[(&str, ByKernel<'_, Answer>, Calls<Answer>)] = &[
        ("attach",               &[("6.6-", OK)],    |h| { let a = h.hwpt(0).unwrap(); attach(h, [12, 0, a, 0]); h.destroy(a) }),
        ("attach of an IOAS",    &[("6.6-", OK)],    |h| { attach(h, [12, 0, IOAS, 0]); assert_eq!(h.next_id(), DEVICE + 1); h.destroy(IOAS) }),
        ("replace, the new",     &[("6.6-", OK)],    |h| { let a = h.hwpt(0).unwrap(); let b = h.hwpt(0).unwrap(); h.attach(a).unwrap(); attach(h, [12, 0, b, 0]); h.destroy(b) }),
        ("replace, the old",     &[("6.6-", OK)],    |h| { let a = h.hwpt(0).unwrap(); let b = h.hwpt(0).unwrap(); h.attach(a).unwrap(); attach(h, [12, 0, b, 0]); h.destroy(a) }),
        ("PASID, it stays",      &[("6.15-", BUSY)], |h| { let a = h.hwpt(PA).unwrap(); attach(h, [16, 1, a, 7]); h.destroy(a) }),
        ("PASID, device leaves", &[("6.15-", OK)],   |h| { let a = h.hwpt(PA).unwrap(); let b = h.hwpt(PA).unwrap(); h.attach(a).unwrap(); attach(h, [16, 1, b, 7]); h.destroy(a) }),
        ("PASID, and detach",    &[("6.15-", OK)],   |h| { let a = h.hwpt(PA).unwrap(); attach(h, [16, 1, a, 7]); h.detach_pasid(7).unwrap(); h.destroy(a) }),
    ];
    let mut table = Table::default();
    for (what, expected, calls) in rows {
        table.row(what, &spr().machine(), expected, calls);
    }
}
