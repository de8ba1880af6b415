//! The calls of 2020: which of two that have a number a container takes, and their arguments at the end of memory.

use engine::Engine;
use testkit::Client;
use uapi::y2020::bind::*;
use uapi::y2020::transport::*;
use uapi::y2020::v5_10::iommu_pasid_table_config;
use zerocopy::IntoBytes;

use super::*;
use crate::host::UNMAPPED;

const NESTING: u64 = VFIO_TYPE1_NESTING_IOMMU as u64;
const OK: Answer = Ok(());
const OPNOTSUPP: Answer = Err(Errno::EOPNOTSUPP);

/// 18 and 19, of which each post had its own.
const SET: u32 = VFIO_IOMMU_SET_PASID_TABLE;
const FORGET: u32 = VFIO_IOMMU_CACHE_INVALIDATE;

/// A table that is taken, behind its head.
fn table(flags: u32) -> Vec<u8> {
    let version = PASID_TABLE_SMMUV3_CFG_VERSION_1;
    let config = iommu_pasid_table_config {
        argsz: 32,
        version: PASID_TABLE_CFG_VERSION_1,
        base_ptr: 0x1000,
        format: IOMMU_PASID_FORMAT_SMMUV3,
        config: IOMMU_PASID_CONFIG_TRANSLATE,
        vendor_data: iommu_pasid_smmuv3 { version, ..Default::default() },
        ..Default::default()
    };
    [[40, flags].as_bytes(), config.as_bytes()].concat()
}

/// Forgets all translations of a guest.
fn forget() -> Vec<u8> {
    [[24_u32, 0].as_bytes(), &[16, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]].concat()
}

/// A request for a PASID.
fn pasid() -> Vec<u8> {
    [16_u32, VFIO_IOMMU_FLAG_ALLOC_PASID, 1, 9].as_bytes().to_vec()
}

/// What it is, machine, kernel, kind of container, number, argument, answer.
type Row = (&'static str, &'static str, &'static str, u64, u32, Vec<u8>, Answer);

/// A program with a container of a kind, which has the machine's device. Before Linux 6.2 there is nothing else.
struct Program {
    client: Client,
    container: i32,
}

impl Program {
    fn new(machine: &str, kernel: &str, kind: u64) -> Self {
        let machine = Machine::by_name(machine).unwrap();
        let engine = Engine::new(machine, Kernel::by_name(kernel).unwrap());
        let mut client = Client::new();
        let mut open = |node| {
            let file = engine.open(&mut client, node).unwrap();
            client.install(file).unwrap()
        };
        let container = open(Node::VfioContainer);
        let group = open(Node::VfioGroup(machine.devices[0].group));
        let at = client.scratch(&container.to_ne_bytes());
        client.ioctl(group, VFIO_GROUP_SET_CONTAINER, at).unwrap();
        client.ioctl(container, VFIO_SET_IOMMU, kind).unwrap();
        Self { client, container }
    }

    fn call(&mut self, number: u32, at: u64) -> Answer {
        let told = self.client.ioctl(self.container, number, at);
        told.map(drop).map_err(|refusal| refusal.errno())
    }
}

#[test]
fn one_number_and_two_calls() {
    #[rustfmt::skip] // one call, one line
    let rows: &[Row] = &[
        ("a table",                    "grace", "2020", NESTING, SET,    table(1), OK),
        ("no table",                   "grace", "2020", NESTING, SET,    table(2), OK),
        ("an invalidation",            "grace", "2020", NESTING, FORGET, forget(), OK),
        ("a PASID is another's call",  "grace", "2020", NESTING, SET,    pasid(),  INVAL),
        ("a PASID",                    "spr",   "2020", NESTING, SET,    pasid(),  OK),
        ("a table is another's call",  "spr",   "2020", NESTING, SET,    table(2), INVAL),
        ("one stage: a table",         "grace", "2020", V2,      SET,    table(1), INVAL),
        ("... no table",               "grace", "2020", V2,      SET,    table(2), OK),
        ("... neither",                "grace", "2020", V2,      SET,    table(3), INVAL),
        ("... an invalidation",        "grace", "2020", V2,      FORGET, forget(), INVAL),
        ("... a PASID",                "spr",   "2020", V2,      SET,    pasid(),  OPNOTSUPP),
        ("a release",                  "grace", "7.3",  V2,      SET,    table(1), NOTTY),
    ];
    for (name, machine, kernel, kind, number, argument, expected) in rows {
        let mut program = Program::new(machine, kernel, *kind);
        let at = program.client.scratch(argument);
        assert_eq!(program.call(*number, at), *expected, "{name}");
    }
}

/// The page behind the arguments is not there.
#[test]
fn arguments_at_the_end_of_memory() {
    let mut program = Program::new("grace", "2020", NESTING);
    let unset = [8_u32, VFIO_PASID_TABLE_FLAG_UNSET].as_bytes().to_vec();
    #[rustfmt::skip] // one argument, one line
    let rows: &[(&str, u32, Vec<u8>, usize, Answer)] = &[
        ("all of a table",             SET,    table(1), 40, OK),
        ("a byte less",                SET,    table(1), 39, EFAULT),
        ("the head",                   SET,    table(1), 8,  EFAULT),
        ("a part of the head",         SET,    table(1), 7,  EFAULT),
        ("the head, of no table",      SET,    unset,    8,  OK),
        ("all of an invalidation",     FORGET, forget(), 24, OK),
        ("a byte less",                FORGET, forget(), 23, EFAULT),
    ];
    let page = program.client.scratch(&[]);
    for (name, number, argument, there, expected) in rows {
        let at = page + PAGE - *there as u64;
        program.client.memory.write(at, &argument[..*there]).unwrap();
        assert_eq!(program.call(*number, at), *expected, "{name}, {number:#x}");
    }
    assert_eq!(program.call(SET, UNMAPPED), EFAULT);
}
