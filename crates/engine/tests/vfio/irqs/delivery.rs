//! What a device raises, and who is told of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use engine::{Interrupts, Trigger};

use super::*;

/// What a device raises.
#[test]
fn messages() {
    for (kind, last) in [(MSI, 3), (MSIX, 7)] {
        let mut waiter = Waiter::new();
        waiter.irqs.raise(1);
        waiter.set(EVENT | TRIGGER, kind, 0, &[A, B]).unwrap();
        assert_eq!(waiter.counted(), [0, 0], "nothing was on");
        waiter.irqs.raise(0);
        waiter.irqs.raise(1);
        waiter.irqs.raise(1);
        assert_eq!(waiter.counted(), [1, 2]);
        // without bus mastering nothing is sent
        waiter.bench.store(CONFIG + 4, &[3]);
        waiter.irqs.raise(0);
        assert_eq!(waiter.counted(), [0, 0]);
        waiter.bench.store(CONFIG + 4, &[7]);
        assert_eq!(waiter.counted(), [u64::from(kind == MSIX), 0], "it waits by MSI-X only");
        // nobody waits, and numbers that are none
        waiter.irqs.raise(last);
        waiter.irqs.raise(u32::MAX);
        assert_eq!(waiter.counted(), [0, 0]);
        waiter.set(NONE | TRIGGER, kind, 0, &[]).unwrap();
        waiter.irqs.raise(0);
        assert_eq!(waiter.counted(), [0, 0]);
    }
}

/// A message that nobody waits for waits itself (PCI 7.7.2, pending bits).
#[test]
fn pending_bits() {
    let pending = |waiter: &mut Waiter| waiter.bench.load(0x3000, 8)[0];
    let mut waiter = Waiter::new();
    waiter.set(EVENT | TRIGGER, MSIX, 0, &[A]).unwrap();
    waiter.irqs.raise(3);
    waiter.irqs.raise(3);
    assert_eq!(pending(&mut waiter), 8);
    waiter.set(EVENT | TRIGGER, MSIX, 3, &[B]).unwrap();
    assert_eq!((pending(&mut waiter), waiter.counted()), (0, [0, 1]));
    waiter.irqs.raise(5);
    waiter.bench.host.client.ioctl(waiter.bench.host.cards[0], VFIO_DEVICE_RESET, 0).unwrap();
    assert_eq!(pending(&mut waiter), 0, "a reset");
    waiter.irqs.raise(0);
    assert_eq!(waiter.counted(), [1, 0], "what is on stays on");
    waiter.irqs.raise(5);
    waiter.set(NONE | TRIGGER, MSIX, 0, &[]).unwrap();
    assert_eq!(pending(&mut waiter), 0, "it is off");
}

/// The pin masks itself, and tells again while it is asserted (`vfio_intx_handler`).
#[test]
fn pin() {
    let status = |waiter: &mut Waiter| waiter.bench.load(CONFIG + 6, 1)[0] & 8 != 0;
    let mut waiter = Waiter::new();
    waiter.irqs.raise(5);
    assert!(status(&mut waiter), "asserted, with nobody there");
    waiter.set(EVENT | TRIGGER, PIN, 0, &[A]).unwrap();
    assert_eq!(waiter.counted(), [1, 0], "it was asserted");
    waiter.irqs.raise(6);
    assert_eq!(waiter.counted(), [0, 0], "masked");
    waiter.set(NONE | UNMASK, PIN, 0, &[1]).unwrap();
    assert_eq!(waiter.counted(), [1, 0], "still asserted");
    waiter.irqs.lower(5);
    waiter.set(BOOL | UNMASK, PIN, 0, &[1]).unwrap();
    assert_eq!(waiter.counted(), [1, 0], "by the other");
    waiter.irqs.lower(6);
    assert!(!status(&mut waiter));
    waiter.set(NONE | UNMASK, PIN, 0, &[1]).unwrap();
    assert_eq!(waiter.counted(), [0, 0]);
    waiter.irqs.raise(5);
    assert_eq!(waiter.counted(), [1, 0], "unmasked");

    // masked by the program
    waiter.irqs.lower(5);
    waiter.set(NONE | UNMASK, PIN, 0, &[1]).unwrap();
    waiter.set(BOOL | MASK, PIN, 0, &[0]).unwrap();
    waiter.irqs.raise(5);
    assert_eq!(waiter.counted(), [1, 0]);
    waiter.irqs.lower(5);
    waiter.set(NONE | UNMASK, PIN, 0, &[1]).unwrap();
    waiter.set(NONE | MASK, PIN, 0, &[1]).unwrap();
    waiter.irqs.raise(5);
    assert_eq!(waiter.counted(), [0, 0]);
    waiter.set(BOOL | UNMASK, PIN, 0, &[0]).unwrap();
    assert_eq!(waiter.counted(), [0, 0]);
    waiter.set(NONE | UNMASK, PIN, 0, &[1]).unwrap();
    assert_eq!(waiter.counted(), [1, 0]);

    // off in the command register
    waiter.bench.store(CONFIG + 5, &[4]);
    waiter.set(NONE | UNMASK, PIN, 0, &[1]).unwrap();
    waiter.set(NONE | TRIGGER, PIN, 0, &[1]).unwrap();
    assert_eq!(waiter.counted(), [0, 0]);
    waiter.bench.store(CONFIG + 5, &[0]);
    assert_eq!(waiter.counted(), [1, 0]);

    // a reset takes the assertion away
    waiter.bench.host.client.ioctl(waiter.bench.host.cards[0], VFIO_DEVICE_RESET, 0).unwrap();
    waiter.set(NONE | UNMASK, PIN, 0, &[1]).unwrap();
    assert_eq!((status(&mut waiter), waiter.counted()), (false, [0, 0]));
}

/// An eventfd by which the program unmasks the pin (`vfio_virqfd_enable`).
#[test]
fn pin_unmasked_by_eventfd() {
    let mut waiter = Waiter::new();
    waiter.set(EVENT | TRIGGER, PIN, 0, &[A]).unwrap();
    waiter.set(EVENT | UNMASK, PIN, 0, &[B]).unwrap();
    let unmask = |waiter: &Waiter| waiter.bench.host.client.raise(waiter.events[1]);
    waiter.irqs.raise(0);
    waiter.irqs.raise(0);
    assert_eq!(waiter.counted(), [1, 0]);
    unmask(&waiter);
    assert_eq!(waiter.counted(), [1, 0], "still asserted, and what unmasks is taken");
    waiter.irqs.lower(0);
    unmask(&waiter);
    assert_eq!(waiter.counted(), [0, 0]);
    waiter.irqs.raise(0);
    assert_eq!(waiter.counted(), [1, 0]);
    // nobody takes it when the pin is off
    waiter.set(NONE | TRIGGER, PIN, 0, &[]).unwrap();
    unmask(&waiter);
    assert_eq!(waiter.counted(), [0, 1]);
}

/// A pin that is off in the command register when it is turned on.
#[test]
fn pin_that_is_off() {
    let mut waiter = Waiter::new();
    waiter.bench.store(CONFIG + 5, &[4]);
    waiter.irqs.raise(0);
    waiter.set(EVENT | TRIGGER, PIN, 0, &[A]).unwrap();
    assert_eq!(waiter.counted(), [0, 0]);
    waiter.bench.store(CONFIG + 5, &[0]);
    assert_eq!(waiter.counted(), [1, 0]);
}

/// Nobody is told after the program has given the device back.
#[test]
fn close() {
    for kind in [PIN, MSI, MSIX] {
        let mut waiter = Waiter::new();
        waiter.set(EVENT | TRIGGER, kind, 0, &[A]).unwrap();
        waiter.set(EVENT | TRIGGER, REQ, 0, &[B]).unwrap();
        waiter.bench.host.client.close(waiter.bench.host.cards[0]);
        waiter.irqs.raise(0);
        assert_eq!(waiter.counted(), [0, 0]);
        let card = waiter.bench.host.open_card(0).unwrap();
        waiter.bench.host.cards[0] = card;
        waiter.bench.host.bind_card(card, waiter.bench.host.fd).unwrap();
        assert_eq!(waiter.set(NONE | TRIGGER, kind, 0, &[1]), INVAL, "off");
        assert_eq!(waiter.set(NONE | TRIGGER, REQ, 0, &[1]), INVAL, "nobody waits");
    }
}

/// What configuration space shows of messages.
#[test]
fn shown() {
    let mut waiter = Waiter::new();
    waiter.set(EVENT | TRIGGER, MSIX, 0, &[A]).unwrap();
    assert_eq!(waiter.bench.load(CONFIG + 0x42, 2), [7, 0x80]);
    waiter.set(NONE | TRIGGER, MSIX, 0, &[]).unwrap();
    assert_eq!(waiter.bench.load(CONFIG + 0x42, 2), [7, 0]);
    // the program turns MSI on, of which two are there
    waiter.set(EVENT | TRIGGER, MSI, 0, &[A, B]).unwrap();
    waiter.bench.store(CONFIG + 0xc2, &[0x7f]);
    assert_eq!(waiter.bench.load(CONFIG + 0xc2, 2), [0x1f, 0]);
}

/// An eventfd that takes its time.
#[derive(Debug, Default)]
struct Slow {
    begun: AtomicBool,
    done: AtomicBool,
}

impl Trigger for Slow {
    fn raise(&self) {
        self.begun.store(true, Ordering::SeqCst);
        thread::sleep(Duration::from_millis(100));
        self.done.store(true, Ordering::SeqCst);
    }
}

/// Who waited before a call is told before it returns, or not at all (`free_irq`): a program that looks at
/// its old eventfd once more misses nothing.
#[test]
fn nobody_is_told_late() {
    #[rustfmt::skip] // one call, one line
    let rows: &[(&str, u32, &[i32])] = &[
        ("another waits",  EVENT | TRIGGER, &[B]),
        ("nobody waits",   EVENT | TRIGGER, &[-1]),
        ("all is off",     NONE | TRIGGER,  &[]),
    ];
    for (what, flags, data) in rows {
        let mut waiter = Waiter::new();
        waiter.set(EVENT | TRIGGER, MSIX, 0, &[A]).unwrap();
        let slow = Arc::new(Slow::default());
        waiter.irqs.connect(0, Some(Arc::clone(&slow) as _));
        let device = waiter.irqs.clone();
        let raises = thread::spawn(move || device.raise(0));
        while !slow.begun.load(Ordering::SeqCst) {
            thread::yield_now();
        }
        assert_eq!(waiter.set(*flags, MSIX, 0, data), OK, "{what}");
        assert!(slow.done.load(Ordering::SeqCst), "{what}");
        raises.join().unwrap();
    }
}

/// A device that is used without VFIO.
#[test]
fn alone() {
    let mut client = testkit::Client::new();
    let fd = client.new_eventfd();
    let trigger = engine::Caller::eventfd(&mut client, fd).unwrap();
    let irqs = Interrupts::default();
    irqs.raise(2);
    irqs.connect(2, Some(Arc::clone(&trigger)));
    irqs.clone().raise(2);
    assert_eq!(client.events(fd), 1);
    irqs.connect(2, None);
    irqs.raise(2);
    assert_eq!(client.events(fd), 0);
    irqs.connect(2, Some(trigger));
    assert_eq!(client.events(fd), 1, "it has waited");
}
