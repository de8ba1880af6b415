//! The messages of a call connection.
//!
//! Everything that comes from the program is a claim. A [`Request`] that is not understood makes the
//! supervisor close the connection.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// First word of a [`Hello`].
pub const MAGIC: u64 = u64::from_le_bytes(*b"softiomm");
/// Changes with the layout or the meaning of anything in this crate.
pub const VERSION: u32 = 6;
/// The most that one store carries, in bytes.
pub const STORE: usize = 64;

/// Opens a connection: whose memory do the pointers of its calls mean.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Hello {
    /// [`MAGIC`]
    pub magic: u64,
    /// Random number of this program image, never 0: new after `fork` and after `exec`.
    pub image: u64,
    /// [`VERSION`]
    pub version: u32,
    /// 0
    pub reserved: u32,
}

impl Hello {
    /// The greeting of a program image.
    pub const fn new(image: u64) -> Self {
        Self { magic: MAGIC, image, version: VERSION, reserved: 0 }
    }

    /// Whether the other side speaks as we do.
    pub const fn is_valid(&self) -> bool {
        self.magic == MAGIC && self.version == VERSION && self.reserved == 0 && self.image != 0
    }
}

/// One call, as sent.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Request {
    operation: u32,
    /// The calling thread, as `gettid(2)` says.
    pub tid: u32,
    /// `SO_COOKIE` of the descriptor of the call, 0 when the call has none.
    pub cookie: u64,
    /// The descriptor of the call in the program, -1 when it has none.
    pub fd: i32,
    /// A number that the shim keeps free for a new descriptor, -1 when it has none.
    pub reserved: i32,
    arguments: [u64; 4],
    /// What is stored; zeros behind it.
    data: [u8; STORE],
}

/// Bytes of one store to a device's memory: from 1 to [`STORE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    bytes: [u8; STORE],
    length: u8,
}

impl Stored {
    /// These bytes; none when they are too many, or none at all.
    pub fn new(from: &[u8]) -> Option<Self> {
        let mut bytes = [0; STORE];
        bytes.get_mut(..from.len()).filter(|to| !to.is_empty())?.copy_from_slice(from);
        Some(Self { bytes, length: from.len() as u8 })
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.length.into()).unwrap_or_default()
    }
}

/// Which thread's `fail-nth`, or which process's `status`: numbers as in the name under `/proc`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Task {
    /// The process; none for the caller's own.
    pub pid: Option<u32>,
    /// The thread; none for the one whose number is the process's.
    pub tid: Option<u32>,
}

/// Files that the supervisor makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Node {
    /// `/dev/iommu`
    Iommu,
    /// `/dev/vfio/vfio`
    VfioContainer,
    /// `/dev/vfio/N`
    VfioGroup(u32),
    /// `/dev/vfio/devices/vfioN`
    VfioDevice(u32),
    /// `fail-nth` of a thread, see `Documentation/fault-injection/`
    FailNth(Task),
    /// `/proc/PID/status` with what softiommu has pinned
    Status(Task),
    /// `sriov_numvfs` of a PCI function, to be written: segment, bus, device and function in 16, 8, 5 and 3
    /// bits.
    VirtualFunctions(u32),
}

impl Node {
    /// A device node in the answer to [`Operation::Identify`]; none of a file of `/proc` or `/sys`.
    pub const fn value(self) -> Option<i64> {
        Some(match self {
            Self::Iommu => 0,
            Self::VfioContainer => 1,
            Self::VfioGroup(number) => 2 << 32 | number as i64,
            Self::VfioDevice(number) => 3 << 32 | number as i64,
            Self::FailNth(_) | Self::Status(_) | Self::VirtualFunctions(_) => return None,
        })
    }

    /// The device node of such an answer.
    pub const fn of_value(value: i64) -> Option<Self> {
        let number = value as u32;
        Some(match value >> 32 {
            0 if number == 0 => Self::Iommu,
            0 if number == 1 => Self::VfioContainer,
            2 => Self::VfioGroup(number),
            3 => Self::VfioDevice(number),
            _ => return None,
        })
    }
}

/// Where a transfer takes its bytes from, or puts them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Buffer {
    /// One buffer of this length.
    Plain {
        /// Its address.
        va: u64,
        /// Its bytes.
        count: u64,
    },
    /// An array of `struct iovec`.
    Vector {
        /// Its address.
        va: u64,
        /// Its elements.
        count: u64,
    },
}

/// What a [`Request`] asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// `open(2)`; the answer brings the descriptor.
    Open(Node),
    /// `ioctl(2)`
    Ioctl {
        /// The whole number.
        cmd: u32,
        /// The third argument, usually an address.
        arg: u64,
    },
    /// `read(2)`, `readv(2)`, or `pread(2)` with a position.
    Read {
        /// Where to.
        buffer: Buffer,
        /// Of `pread`.
        at: Option<u64>,
    },
    /// `write(2)`, `writev(2)`, or `pwrite(2)` with a position.
    Write {
        /// Where from.
        buffer: Buffer,
        /// Of `pwrite`.
        at: Option<u64>,
    },
    /// `mmap(2)`; the answer brings the object to map, [`Answer::extra`] is the offset in it, and
    /// [`Answer::value`] is [`TRAPPED`] where the program may only read it and its stores go by
    /// [`Operation::Store`].
    Mmap {
        /// Offset of the call in bytes.
        offset: u64,
        /// Length of the call in bytes.
        length: u64,
        /// `PROT_` bits.
        prot: u32,
        /// `MAP_` bits.
        flags: u32,
    },
    /// The attached descriptor is memory that the program shares.
    Register,
    /// `KVM_SET_DEVICE_ATTR`: the descriptor is to be a file of KVM's VFIO device, or is to be one no
    /// more.
    KvmFile,
    /// `fstat(2)`: which device node the descriptor was opened by. [`Answer::value`] says it
    /// ([`Node::of_value`]); refused where it was by none.
    Identify,
    /// A store to what is mapped. Refused, it is a signal `SIGBUS`.
    Store {
        /// Where in the file: the offset of the mapping and the distance from its start.
        at: u64,
        /// What.
        bytes: Stored,
    },
    /// A command of [`STORE`] bytes (`ENQCMD`) to what is mapped. [`Answer::value`] is 1 when it was
    /// accepted, 0 when it is to be made again.
    Enqueue {
        /// As of [`Operation::Store`].
        at: u64,
        /// What.
        command: [u8; STORE],
    },
}

/// [`Answer::value`] of a mapping whose stores are trapped.
pub const TRAPPED: i64 = 1;

const NONE: u64 = u64::MAX;

fn task(pid: u64, tid: u64) -> Option<Task> {
    let number = |n: u64| match n {
        NONE => Some(None),
        n => u32::try_from(n).ok().map(Some),
    };
    Some(Task { pid: number(pid)?, tid: number(tid)? })
}

fn buffer(va: u64, count: u64, kind: u64) -> Option<Buffer> {
    match kind {
        0 => Some(Buffer::Plain { va, count }),
        1 => Some(Buffer::Vector { va, count }),
        _ => None,
    }
}

impl Request {
    /// A request on a descriptor, or on none.
    pub fn new(operation: Operation, tid: u32, descriptor: Option<(i32, u64)>) -> Self {
        let data = match operation {
            Operation::Store { bytes, .. } => bytes.bytes,
            Operation::Enqueue { command, .. } => command,
            _ => [0; STORE],
        };
        let (operation, arguments) = operation.encode();
        let (fd, cookie) = descriptor.unwrap_or((-1, 0));
        Self { operation, tid, cookie, fd, reserved: -1, arguments, data }
    }

    /// What is asked for; none when it is nonsense.
    pub fn operation(&self) -> Option<Operation> {
        let [a, b, c, d] = self.arguments;
        let at = (d != NONE).then_some(d);
        Some(match self.operation {
            1 => Operation::Open(match a {
                0 => Node::Iommu,
                1 => Node::VfioContainer,
                2 => Node::FailNth(task(b, c)?),
                3 => Node::Status(task(b, c)?),
                4 => Node::VfioDevice(u32::try_from(b).ok()?),
                5 => Node::VfioGroup(u32::try_from(b).ok()?),
                6 => Node::VirtualFunctions(u32::try_from(b).ok()?),
                _ => return None,
            }),
            2 => Operation::Ioctl { cmd: u32::try_from(a).ok()?, arg: b },
            3 => Operation::Read { buffer: buffer(a, b, c)?, at },
            4 => Operation::Write { buffer: buffer(a, b, c)?, at },
            5 => Operation::Mmap {
                offset: a,
                length: b,
                prot: u32::try_from(c).ok()?,
                flags: u32::try_from(d).ok()?,
            },
            6 => Operation::Register,
            9 => Operation::KvmFile,
            10 => Operation::Identify,
            7 => {
                let bytes = self.data.get(..usize::try_from(b).ok()?)?;
                Operation::Store { at: a, bytes: Stored::new(bytes)? }
            }
            8 => Operation::Enqueue { at: a, command: self.data },
            _ => return None,
        })
    }
}

impl Operation {
    fn encode(self) -> (u32, [u64; 4]) {
        let number = |n: Option<u32>| n.map_or(NONE, u64::from);
        match self {
            Self::Open(Node::Iommu) => (1, [0; 4]),
            Self::Open(Node::VfioContainer) => (1, [1, 0, 0, 0]),
            Self::Open(Node::VfioDevice(number)) => (1, [4, number.into(), 0, 0]),
            Self::Open(Node::VfioGroup(number)) => (1, [5, number.into(), 0, 0]),
            Self::Open(Node::FailNth(t)) => (1, [2, number(t.pid), number(t.tid), 0]),
            Self::Open(Node::Status(t)) => (1, [3, number(t.pid), number(t.tid), 0]),
            Self::Open(Node::VirtualFunctions(address)) => (1, [6, address.into(), 0, 0]),
            Self::Ioctl { cmd, arg } => (2, [cmd.into(), arg, 0, 0]),
            Self::Read { buffer, at } => (3, buffer.encode(at)),
            Self::Write { buffer, at } => (4, buffer.encode(at)),
            Self::Mmap { offset, length, prot, flags } => {
                (5, [offset, length, prot.into(), flags.into()])
            }
            Self::Register => (6, [0; 4]),
            Self::KvmFile => (9, [0; 4]),
            Self::Identify => (10, [0; 4]),
            Self::Store { at, bytes } => (7, [at, bytes.length.into(), 0, 0]),
            Self::Enqueue { at, .. } => (8, [at, 0, 0, 0]),
        }
    }
}

impl Buffer {
    fn encode(self, at: Option<u64>) -> [u64; 4] {
        let at = at.unwrap_or(NONE);
        match self {
            Self::Plain { va, count } => [va, count, 0, at],
            Self::Vector { va, count } => [va, count, 1, at],
        }
    }
}

/// How a call ended, as sent. A descriptor may come with it.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Answer {
    verdict: u32,
    errno: i32,
    /// What the call returns.
    pub value: i64,
    /// [`Operation::Mmap`]: the offset to map at.
    pub extra: u64,
}

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It returns [`Answer::value`].
    Done,
    /// It fails with this error number.
    Refused(i32),
    /// The descriptor or the name is none of ours: ask the operating system.
    NotOurs,
}

impl Answer {
    /// The call returns `value`.
    pub const fn done(value: i64) -> Self {
        Self { verdict: 0, errno: 0, value, extra: 0 }
    }

    /// The call fails.
    pub const fn refused(errno: i32) -> Self {
        Self { verdict: 1, errno, value: -1, extra: 0 }
    }

    /// The call is none of ours.
    pub const fn not_ours() -> Self {
        Self { verdict: 2, errno: 0, value: -1, extra: 0 }
    }

    /// How the call ended.
    pub const fn verdict(&self) -> Verdict {
        match self.verdict {
            0 => Verdict::Done,
            1 => Verdict::Refused(self.errno),
            _ => Verdict::NotOurs,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_survives_the_wire() {
        let task = Task { pid: None, tid: Some(7) };
        let plain = Buffer::Plain { va: u64::MAX, count: u64::MAX };
        let vector = Buffer::Vector { va: 1, count: 2 };
        let operations = [
            Operation::Open(Node::Iommu),
            Operation::Open(Node::VfioContainer),
            Operation::Open(Node::VfioDevice(u32::MAX)),
            Operation::Open(Node::VfioGroup(u32::MAX)),
            Operation::Open(Node::FailNth(task)),
            Operation::Open(Node::Status(Task { pid: Some(u32::MAX), tid: None })),
            Operation::Open(Node::VirtualFunctions(u32::MAX)),
            Operation::Ioctl { cmd: 0x3b81, arg: u64::MAX },
            Operation::Read { buffer: plain, at: None },
            Operation::Read { buffer: vector, at: Some(0) },
            Operation::Write { buffer: plain, at: Some(9) },
            Operation::Write { buffer: vector, at: None },
            Operation::Mmap { offset: 1, length: 2, prot: u32::MAX, flags: u32::MAX },
            Operation::Register,
            Operation::KvmFile,
            Operation::Identify,
            Operation::Store { at: u64::MAX, bytes: Stored::new(&[7]).unwrap() },
            Operation::Store { at: 0, bytes: Stored::new(&[0xff; STORE]).unwrap() },
            Operation::Enqueue { at: 64, command: core::array::from_fn(|index| index as u8) },
        ];
        for operation in operations {
            let sent = Request::new(operation, 5, Some((3, 99)));
            let got = Request::read_from_bytes(sent.as_bytes()).unwrap();
            assert_eq!(got.operation(), Some(operation));
            assert_eq!((got.fd, got.cookie, got.tid, got.reserved), (3, 99, 5, -1));
        }
    }

    #[test]
    fn device_nodes_survive_as_values() {
        let nodes = [Node::Iommu, Node::VfioContainer].into_iter();
        let numbered = [0, 1, u32::MAX].into_iter();
        let numbered = numbered.flat_map(|it| [Node::VfioGroup(it), Node::VfioDevice(it)]);
        for node in nodes.chain(numbered) {
            assert_eq!(node.value().and_then(Node::of_value), Some(node));
        }
        assert_eq!(Node::VirtualFunctions(0).value(), None);
        for value in [-1, 2, 1 << 32, 4 << 32, i64::MIN] {
            assert_eq!(Node::of_value(value), None, "{value}");
        }
    }

    #[test]
    fn nonsense_is_none() {
        for operation in [0, 11, u32::MAX] {
            let mut request = Request::new(Operation::Register, 0, None);
            request.operation = operation;
            assert_eq!(request.operation(), None);
        }
        let mut request = Request::new(Operation::Open(Node::Iommu), 0, None);
        request.arguments[0] = 7;
        assert_eq!(request.operation(), None);
        let mut request = Request::new(Operation::Ioctl { cmd: 0, arg: 0 }, 0, None);
        request.arguments[0] = 1 << 32;
        assert_eq!(request.operation(), None);
        for length in [0, 65, 1 << 32, u64::MAX] {
            let bytes = Stored::new(&[1]).unwrap();
            let mut request = Request::new(Operation::Store { at: 0, bytes }, 0, None);
            request.arguments[1] = length;
            assert_eq!(request.operation(), None, "{length}");
        }
    }

    #[test]
    fn a_store_has_one_byte_at_least_and_a_line_at_most() {
        let line = [3; STORE + 1];
        for (length, is_one) in [(0, false), (1, true), (STORE, true), (STORE + 1, false)] {
            let stored = Stored::new(&line[..length]);
            assert_eq!(stored.map(|it| it.bytes().len()), is_one.then_some(length));
        }
    }
}
