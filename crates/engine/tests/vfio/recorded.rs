//! What real kernels answered on an NVMe controller (`conformance/recorded`).

use std::path::PathBuf;
use std::sync::Arc;

use engine::{Bar, Engine, Model, Msix, Vectors};
use mem::SharedFile;
use profile::{Kernel, Machine};
use testkit::recorded::{Recording, play};

/// A device with the BAR and the interrupts of the recorded controller, and no registers.
#[derive(Debug)]
pub struct Controller(Arc<SharedFile>);

impl Controller {
    pub fn new() -> Arc<Self> {
        Arc::new(Self(Arc::new(SharedFile::anonymous("controller", 0x4000).unwrap())))
    }
}

impl Model for Controller {
    fn bar(&self, number: u32) -> Option<Bar> {
        (number == 0).then_some(Bar { size: 0x4000, wide: true, prefetchable: false })
    }

    fn memory(&self, bar: u32) -> Option<Arc<SharedFile>> {
        (bar == 0).then(|| Arc::clone(&self.0))
    }

    fn vectors(&self) -> Vectors {
        let msix = Msix { vectors: 65, table: (0, 0x2000), pending: (0, 0x3000) };
        Vectors { pin: true, msi: 0, msix: Some(msix) }
    }

    fn read(&self, _bar: u32, _offset: u64, to: &mut [u8]) {
        to.fill(0);
    }

    fn write(&self, _bar: u32, _offset: u64, _from: &[u8]) {}

    fn set_bus_master(&self, _on: bool) {}

    fn reset(&self) {}
}

/// The machine that was recorded, under a kernel.
pub fn q35(kernel: &str) -> Arc<Engine> {
    let engine = Engine::new(Machine::by_name("q35").unwrap(), Kernel::by_name(kernel).unwrap());
    assert!(engine.plug(0, Controller::new()));
    engine
}

pub fn recorded(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../conformance/recorded")).join(name)
}

#[test]
fn every_answer_is_as_recorded() {
    for (kernel, seeds) in [("7.3.4", 100), ("6.12.117", 50)] {
        let name = format!("vfio-linux-{kernel}-seeds-1-{seeds}.txt.gz");
        let recording = Recording::open(&recorded(&name)).unwrap();
        assert_eq!(recording.seeds(), seeds);
        let differences = recording.differences(&q35(kernel));
        for it in &differences {
            println!("{kernel} seed {}\n- {}\n+ {}", it.seed, it.lines.0, it.lines.1);
        }
        assert_eq!(differences, [], "Linux {kernel}");
    }
}

/// Another kernel is told from it.
#[test]
fn kernels_differ() {
    let recording = Recording::open(&recorded("vfio-linux-7.3.4-seeds-1-100.txt.gz")).unwrap();
    assert_ne!(recording.differences(&q35("6.12.117")), []);
}

/// No sequence that nobody recorded does harm, on any machine and kernel with a VFIO device.
#[test]
fn every_sequence_ends() {
    for machine in Machine::all() {
        for kernel in Kernel::all() {
            let engine = Engine::new(machine, kernel);
            let nodes = engine.device_nodes();
            if nodes.iter().any(|node| node.ends_with("vfio0")) {
                assert!(engine.plug(0, Controller::new()));
                for seed in 1000..1010 {
                    assert_eq!(play(&engine, seed).len(), 100, "{} {kernel}", machine.name);
                }
            }
        }
    }
}
