//! Interrupts (`drivers/vfio/pci/vfio_pci_intrs.c`): what calls are answered; and [`delivery`].

mod delivery;

use engine::{Interrupts, Msix, Vectors};
use mem::AddressSpace;
use profile::{Kernel, Machine};
use uapi::Errno;
use uapi::vfio::*;

use crate::bench::*;
use testkit::host::{MEMORY, UNMAPPED};

const NONE: u32 = VFIO_IRQ_SET_DATA_NONE;
const BOOL: u32 = VFIO_IRQ_SET_DATA_BOOL;
const EVENT: u32 = VFIO_IRQ_SET_DATA_EVENTFD;
const MASK: u32 = VFIO_IRQ_SET_ACTION_MASK;
const UNMASK: u32 = VFIO_IRQ_SET_ACTION_UNMASK;
const TRIGGER: u32 = VFIO_IRQ_SET_ACTION_TRIGGER;
const PIN: u32 = VFIO_PCI_INTX_IRQ_INDEX;
const MSI: u32 = VFIO_PCI_MSI_IRQ_INDEX;
const MSIX: u32 = VFIO_PCI_MSIX_IRQ_INDEX;
const ERR: u32 = VFIO_PCI_ERR_IRQ_INDEX;
const REQ: u32 = VFIO_PCI_REQ_IRQ_INDEX;

const OK: Answer = Ok(0);
const INVAL: Answer = Err(Errno::EINVAL);
const BADF: Answer = Err(Errno::EBADF);
const BUSY: Answer = Err(Errno::EBUSY);
const NOTTY: Answer = Err(Errno::ENOTTY);
const FAULT: Answer = Err(Errno::EFAULT);
const RANGE: Answer = Err(Errno::ERANGE);

type Answer = Result<i64, Errno>;

const VECTORS: Vectors = Vectors {
    pin: true,
    msi: 4,
    msix: Some(Msix { vectors: 8, table: (0, 0x2000), pending: (0, 0x3000) }),
};

/// A program with eventfds.
struct Waiter {
    bench: Bench,
    events: [i32; 4],
    other: i32,
    irqs: Interrupts,
}

/// Stand for descriptors in calls.
const A: i32 = -10;
const B: i32 = -11;
const OTHER: i32 = -20;
const CLOSED: i32 = 999;

impl Waiter {
    fn on(machine: &str, kernel: &str) -> Self {
        Self::of(Bench::unbound_on(machine, kernel, VECTORS, false))
    }

    fn of(bench: Bench) -> Self {
        let mut bench = bench.bound();
        let events = std::array::from_fn(|_| bench.host.client.new_eventfd());
        let other = bench.host.client.new_other();
        let irqs = bench.host.engine.interrupts(0).unwrap();
        // the device may send messages
        bench.store(CONFIG + 4, &[7]);
        Self { bench, events, other, irqs }
    }

    fn new() -> Self {
        Self::on("spr", "7.3")
    }

    fn fd(&self, stand_in: i32) -> i32 {
        match stand_in {
            A => self.events[0],
            B => self.events[1],
            OTHER => self.other,
            fd => fd,
        }
    }

    /// `VFIO_DEVICE_SET_IRQS` with so many bytes said to be there, and data.
    fn set_bytes(&mut self, argsz: u32, head: [u32; 4], data: &[u8]) -> Answer {
        let mut bytes = argsz.to_ne_bytes().to_vec();
        head.iter().for_each(|word| bytes.extend(word.to_ne_bytes()));
        bytes.extend(data);
        self.bench.host.client.memory.write(MEMORY, &bytes).unwrap();
        let card = self.bench.host.cards[0];
        let done = self.bench.host.client.ioctl(card, VFIO_DEVICE_SET_IRQS, MEMORY);
        done.map_err(|refusal| refusal.errno())
    }

    fn set(&mut self, flags: u32, index: u32, start: u32, data: &[i32]) -> Answer {
        let mut bytes = Vec::new();
        for it in data {
            match flags & VFIO_IRQ_SET_DATA_TYPE_MASK {
                EVENT => bytes.extend(self.fd(*it).to_ne_bytes()),
                BOOL => bytes.push(*it as u8),
                _ => {}
            }
        }
        let argsz = 20 + bytes.len() as u32;
        self.set_bytes(argsz, [flags, index, start, data.len() as u32], &bytes)
    }

    /// What the first two eventfds have counted since the last time.
    fn counted(&self) -> [u64; 2] {
        [0, 1].map(|at| self.bench.host.client.events(self.events[at]))
    }
}

/// The checks before any look at the device (`vfio_set_irqs_validate_and_prepare`).
#[test]
fn arguments() {
    type Row = (&'static str, u32, [u32; 4], usize, Answer);
    let on = EVENT | TRIGGER;
    #[rustfmt::skip] // one call, one line
    let rows: &[Row] = &[
        // what,              argsz,    flags, index, start, count,               bytes, answer
        ("one eventfd",       24,       [on, MSIX, 0, 1],                         4,     OK),
        ("more room",         99,       [on, MSIX, 0, 1],                         4,     OK),
        ("too short",         19,       [on, MSIX, 0, 1],                         4,     INVAL),
        ("data beyond",       23,       [on, MSIX, 0, 1],                         4,     INVAL),
        ("no such kind",      24,       [on, 5, 0, 1],                            4,     INVAL),
        ("unknown flag",      24,       [on | 1 << 6, MSIX, 0, 1],                4,     INVAL),
        ("too many",          24,       [on, MSIX, 0, 9],                         4,     INVAL),
        ("from beyond",       24,       [on, MSIX, 8, 0],                         4,     INVAL),
        ("over the end",      24,       [on, MSIX, 7, 2],                         4,     INVAL),
        ("wraps around",      24,       [on, MSIX, 1, u32::MAX],                  4,     INVAL),
        ("no data",           24,       [TRIGGER, MSIX, 0, 1],                    4,     INVAL),
        ("two data",          24,       [NONE | EVENT | TRIGGER, MSIX, 0, 1],     4,     INVAL),
        ("count before kind", 24,       [on, MSIX, 0, 1],                         4,     OK),
        ("no action",         24,       [EVENT, MSIX, 0, 1],                      4,     NOTTY),
        ("two actions",       24,       [on | MASK, MSIX, 0, 1],                  4,     NOTTY),
        ("masking messages",  24,       [EVENT | MASK, MSIX, 0, 1],               4,     NOTTY),
        ("unmasking errors",  20,       [NONE | UNMASK, ERR, 0, 1],               0,     NOTTY),
        ("masking requests",  20,       [NONE | MASK, REQ, 0, 1],                 0,     NOTTY),
        ("none at all",       20,       [on, MSIX, 0, 0],                         0,     RANGE),
    ];
    for (what, argsz, head, bytes, answer) in rows {
        let mut waiter = Waiter::new();
        let data = waiter.events[0].to_ne_bytes();
        assert_eq!(waiter.set_bytes(*argsz, *head, &data[..*bytes]), *answer, "{what}");
    }
    let mut waiter = Waiter::new();
    let card = waiter.bench.host.cards[0];
    let client = &mut waiter.bench.host.client;
    let done = client.ioctl(card, VFIO_DEVICE_SET_IRQS, UNMAPPED);
    assert_eq!(done.map_err(|refusal| refusal.errno()), FAULT);
    // the data end with memory
    let at = MEMORY + 16 * mem::PAGE_SIZE - 20;
    let head: Vec<u8> = [24, on, MSIX, 0, 1].iter().flat_map(|it: &u32| it.to_ne_bytes()).collect();
    client.memory.write(at, &head).unwrap();
    let done = client.ioctl(card, VFIO_DEVICE_SET_IRQS, at);
    assert_eq!(done.map_err(|refusal| refusal.errno()), FAULT);
}

/// Calls one after the other, and what is counted after each.
#[test]
fn sequences() {
    type Call = (u32, u32, u32, &'static [i32], Answer, [u64; 2]);
    #[rustfmt::skip] // one call, one line
    let rows: &[(&str, &[Call])] = &[
        ("MSI-X, loopback", &[
            (NONE | TRIGGER,  MSIX, 0, &[1],        INVAL, [0, 0]),
            (EVENT | TRIGGER, MSIX, 0, &[A, B],     OK,    [0, 0]),
            (NONE | TRIGGER,  MSIX, 0, &[1],        OK,    [1, 0]),
            (NONE | TRIGGER,  MSIX, 0, &[1, 1, 1],  OK,    [1, 1]),
            (BOOL | TRIGGER,  MSIX, 0, &[0, 1],     OK,    [0, 1]),
            (BOOL | TRIGGER,  MSIX, 1, &[2],        OK,    [0, 1]),
            (BOOL | TRIGGER,  MSIX, 0, &[],         OK,    [0, 0]),
            (NONE | TRIGGER,  MSIX, 0, &[],         OK,    [0, 0]),
            (NONE | TRIGGER,  MSIX, 0, &[1],        INVAL, [0, 0]),
            (NONE | TRIGGER,  MSIX, 0, &[],         INVAL, [0, 0]),
        ]),
        ("MSI-X, more later", &[
            (EVENT | TRIGGER, MSIX, 0, &[A],        OK,    [0, 0]),
            (EVENT | TRIGGER, MSIX, 7, &[B],        OK,    [0, 0]),
            (NONE | TRIGGER,  MSIX, 7, &[1],        OK,    [0, 1]),
            (EVENT | TRIGGER, MSIX, 7, &[-1],       OK,    [0, 0]),
            (NONE | TRIGGER,  MSIX, 7, &[1],        OK,    [0, 0]),
            (EVENT | TRIGGER, MSIX, 7, &[A],        OK,    [0, 0]),
            (NONE | TRIGGER,  MSIX, 7, &[1],        OK,    [1, 0]),
            (EVENT | TRIGGER, MSIX, 0, &[],         OK,    [0, 0]),
        ]),
        ("bad descriptors", &[
            (EVENT | TRIGGER, MSIX, 0, &[CLOSED],   BADF,  [0, 0]),
            (NONE | TRIGGER,  MSIX, 0, &[1],        INVAL, [0, 0]),
            (EVENT | TRIGGER, MSIX, 0, &[OTHER],    INVAL, [0, 0]),
            (EVENT | TRIGGER, MSIX, 0, &[-5],       OK,    [0, 0]),
            (EVENT | TRIGGER, MSIX, 0, &[A, B],     OK,    [0, 0]),
            // all of the call are gone
            (EVENT | TRIGGER, MSIX, 0, &[B, CLOSED], BADF, [0, 0]),
            (NONE | TRIGGER,  MSIX, 0, &[1, 1],     OK,    [0, 0]),
        ]),
        ("one kind at a time", &[
            (EVENT | TRIGGER, MSIX, 0, &[A],        OK,    [0, 0]),
            (EVENT | TRIGGER, MSI,  0, &[A],        INVAL, [0, 0]),
            (EVENT | TRIGGER, PIN,  0, &[A],        INVAL, [0, 0]),
            (NONE | TRIGGER,  MSI,  0, &[],         INVAL, [0, 0]),
            (NONE | TRIGGER,  PIN,  0, &[],         INVAL, [0, 0]),
            (NONE | TRIGGER,  MSIX, 0, &[],         OK,    [0, 0]),
            (EVENT | TRIGGER, MSI,  0, &[A, B],     OK,    [0, 0]),
            (NONE | TRIGGER,  MSI,  1, &[1],        OK,    [0, 1]),
            // no more than were turned on
            (EVENT | TRIGGER, MSI,  2, &[A],        INVAL, [0, 0]),
            (NONE | TRIGGER,  MSI,  0, &[1, 1],     OK,    [1, 1]),
            (NONE | TRIGGER,  MSI,  0, &[],         OK,    [0, 0]),
            (EVENT | TRIGGER, PIN,  0, &[A],        OK,    [0, 0]),
            (EVENT | TRIGGER, MSIX, 0, &[A],        INVAL, [0, 0]),
        ]),
        ("pin, loopback", &[
            (NONE | TRIGGER,  PIN,  0, &[1],        INVAL, [0, 0]),
            (NONE | MASK,     PIN,  0, &[1],        INVAL, [0, 0]),
            (NONE | UNMASK,   PIN,  0, &[1],        INVAL, [0, 0]),
            (EVENT | TRIGGER, PIN,  0, &[],         INVAL, [0, 0]),
            (EVENT | TRIGGER, PIN,  0, &[CLOSED],   BADF,  [0, 0]),
            (EVENT | TRIGGER, PIN,  0, &[OTHER],    INVAL, [0, 0]),
            (EVENT | TRIGGER, PIN,  0, &[A],        OK,    [0, 0]),
            (NONE | TRIGGER,  PIN,  0, &[1],        OK,    [1, 0]),
            (BOOL | TRIGGER,  PIN,  0, &[1],        OK,    [1, 0]),
            (BOOL | TRIGGER,  PIN,  0, &[0],        OK,    [0, 0]),
            (NONE | MASK,     PIN,  0, &[],         INVAL, [0, 0]),
            (EVENT | MASK,    PIN,  0, &[A],        NOTTY, [0, 0]),
            (EVENT | UNMASK,  PIN,  0, &[CLOSED],   BADF,  [0, 0]),
            (EVENT | UNMASK,  PIN,  0, &[OTHER],    INVAL, [0, 0]),
            (EVENT | UNMASK,  PIN,  0, &[-1],       OK,    [0, 0]),
            (EVENT | UNMASK,  PIN,  0, &[B],        OK,    [0, 0]),
            (EVENT | UNMASK,  PIN,  0, &[B],        BUSY,  [0, 0]),
            (EVENT | UNMASK,  PIN,  0, &[CLOSED],   BADF,  [0, 0]),
            (EVENT | UNMASK,  PIN,  0, &[-1],       OK,    [0, 0]),
            (EVENT | UNMASK,  PIN,  0, &[B],        OK,    [0, 0]),
            (EVENT | TRIGGER, PIN,  0, &[B],        OK,    [0, 0]),
            (NONE | TRIGGER,  PIN,  0, &[1],        OK,    [0, 1]),
            (EVENT | TRIGGER, PIN,  0, &[-1],       OK,    [0, 0]),
            (NONE | TRIGGER,  PIN,  0, &[1],        OK,    [0, 0]),
            (NONE | TRIGGER,  PIN,  0, &[],         OK,    [0, 0]),
            (NONE | TRIGGER,  PIN,  0, &[1],        INVAL, [0, 0]),
        ]),
        ("errors and requests", &[
            (NONE | TRIGGER,  ERR,  0, &[1],        INVAL, [0, 0]),
            (NONE | TRIGGER,  ERR,  0, &[],         INVAL, [0, 0]),
            (BOOL | TRIGGER,  ERR,  0, &[1],        OK,    [0, 0]),
            (BOOL | TRIGGER,  ERR,  0, &[],         INVAL, [0, 0]),
            (EVENT | TRIGGER, ERR,  0, &[],         INVAL, [0, 0]),
            (EVENT | TRIGGER, ERR,  0, &[-2],       INVAL, [0, 0]),
            (EVENT | TRIGGER, ERR,  0, &[CLOSED],   BADF,  [0, 0]),
            (EVENT | TRIGGER, ERR,  0, &[A],        OK,    [0, 0]),
            (EVENT | TRIGGER, REQ,  0, &[B],        OK,    [0, 0]),
            (NONE | TRIGGER,  ERR,  0, &[1],        OK,    [1, 0]),
            (BOOL | TRIGGER,  REQ,  0, &[1],        OK,    [0, 1]),
            (BOOL | TRIGGER,  REQ,  0, &[0],        OK,    [0, 0]),
            (EVENT | TRIGGER, REQ,  0, &[-1],       OK,    [0, 0]),
            (NONE | TRIGGER,  REQ,  0, &[1],        INVAL, [0, 0]),
            (NONE | TRIGGER,  ERR,  0, &[],         OK,    [0, 0]),
            (NONE | TRIGGER,  ERR,  0, &[1],        INVAL, [0, 0]),
        ]),
    ];
    for (what, calls) in rows {
        let mut waiter = Waiter::new();
        for (step, (flags, index, start, data, answer, counted)) in calls.iter().enumerate() {
            assert_eq!(waiter.set(*flags, *index, *start, data), *answer, "{what}, step {step}");
            assert_eq!(waiter.counted(), *counted, "{what}, step {step}");
        }
    }
}

/// What the system makes of messages: x86 without interrupt remapping has one by MSI, other systems turn no
/// more MSI-X on later.
#[test]
fn platforms() {
    type Row = (&'static str, u32, u32, &'static [i32], Answer, Answer);
    #[rustfmt::skip] // one machine, one line
    let rows: &[Row] = &[
        ("spr",   MSI,  VFIO_IRQ_INFO_NORESIZE, &[A, B, A], OK,    INVAL),
        ("q35",   MSI,  VFIO_IRQ_INFO_NORESIZE, &[A, B, A], Ok(1), INVAL),
        ("grace", MSI,  VFIO_IRQ_INFO_NORESIZE, &[A, B, A], OK,    INVAL),
        ("spr",   MSIX, 0,                      &[A, B, A], OK,    OK),
        ("q35",   MSIX, 0,                      &[A, B, A], OK,    OK),
        ("genoa", MSIX, 0,                      &[A, B, A], OK,    OK),
        ("grace", MSIX, VFIO_IRQ_INFO_NORESIZE, &[A, B, A], OK,    INVAL),
        ("riscv", MSIX, VFIO_IRQ_INFO_NORESIZE, &[A, B, A], OK,    INVAL),
    ];
    for (machine, kind, flag, fds, answer, more) in rows {
        let mut waiter = Waiter::on(machine, "7.3");
        let (done, info) = waiter.bench.call(VFIO_DEVICE_GET_IRQ_INFO, &[16, 0, *kind, 0], 16);
        let count = if *kind == MSI { 4 } else { 8 };
        let flags = VFIO_IRQ_INFO_EVENTFD | flag;
        assert_eq!((done, info), (Ok(()), vec![16, flags, *kind, count]), "{machine}");
        assert_eq!(waiter.set(EVENT | TRIGGER, *kind, 0, fds), *answer, "{machine}");
        if *answer == OK {
            assert_eq!(waiter.set(EVENT | TRIGGER, *kind, 3, &[A]), *more, "{machine}, more");
        }
    }
}

/// Errors of a function that is not PCI Express.
#[test]
fn errors_of_an_old_bus() {
    let mut machine = Machine::by_name("spr").unwrap().clone();
    machine.devices[0].express = None;
    for (kernel, info, set) in [("6.12", Err(Errno::EINVAL), INVAL), ("7.3", Ok(()), OK)] {
        let kernel = Kernel::by_name(kernel).unwrap();
        let mut waiter = Waiter::of(Bench::unbound_of(&machine, kernel, VECTORS, false));
        let (done, _) = waiter.bench.call(VFIO_DEVICE_GET_IRQ_INFO, &[16, 0, ERR, 0], 16);
        assert_eq!(done, info, "{kernel}");
        assert_eq!(waiter.set(EVENT | TRIGGER, ERR, 0, &[A]), set, "{kernel}");
    }
}
