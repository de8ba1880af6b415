//! Why a call is refused.
//!
//! Every refusal has a reason for people, and the errno follows from it. There is no way from a
//! bare number to a refusal, so no number can enter the engine without its reason.

use mem::Fault;
use thiserror::Error;
use uapi::Errno;

use crate::objects::ObjectId;

/// A refused call, with the values that made it so.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The ioctl number is not a command of this kernel on this file.
    #[error("ioctl {cmd:#x} is not known here")]
    UnknownCommand {
        /// The number that was asked.
        cmd: u32,
    },
    /// The device has no such thing.
    #[error("the device has no {what} {value:#x}")]
    NotOffered {
        /// What kind of thing.
        what: &'static str,
        /// Which.
        value: u64,
    },
    /// A pointer of the caller leads to no usable memory.
    #[error("{what} is not usable memory")]
    BadAddress {
        /// Which pointer.
        what: &'static str,
    },
    /// The pages of a mapping cannot be pinned.
    #[error("the memory behind the mapping is not there, not permitted, or its owner is gone")]
    NotPinnable,
    /// The struct is shorter than its first version.
    #[error("size {size} is below the minimum {min}")]
    TooShort {
        /// The caller's size in bytes.
        size: u32,
        /// The smallest accepted, in bytes.
        min: usize,
    },
    /// Bytes beyond the struct that this kernel knows are not zero.
    #[error("{what} has non-zero bytes beyond the {known} that this kernel knows")]
    UnknownTail {
        /// Which struct.
        what: &'static str,
        /// How many bytes are known.
        known: usize,
    },
    /// More of something than the kernel takes at once.
    #[error("{count} {what} are more than {most}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many.
        count: u32,
        /// The most.
        most: u32,
    },
    /// A value that this kernel or this machine does not know.
    #[error("{field} {value:#x} is not supported")]
    Unsupported {
        /// The field.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// A value that is understood, and wrong.
    #[error("{field} {value:#x}: {rule}")]
    Invalid {
        /// The field.
        field: &'static str,
        /// Its value.
        value: u64,
        /// What it must be.
        rule: &'static str,
    },
    /// The page table and the device do not go together.
    #[error("the page table does not fit the device: {rule}")]
    Unfit {
        /// Why.
        rule: &'static str,
    },
    /// A mapping that can only be read, and a page table that holds none.
    #[error(
        "the mapping at IOVA {iova:#x} can only be read; nesting parents of this IOMMU hold no such mapping"
    )]
    ReadOnly {
        /// The first byte.
        iova: u64,
    },
    /// Another context has the device's IOMMU group.
    #[error("IOMMU group {group} belongs to another context")]
    Owned {
        /// The group.
        group: u32,
    },
    /// The device's interrupt messages could reach others.
    #[error("the device's interrupts are not isolated: interrupt remapping is off")]
    NotIsolated,
    /// A VFIO device before it is bound.
    #[error("the device is not bound to an iommufd")]
    NotBound,
    /// A number is too large for the table that would hold it.
    #[error("{field} {value:#x} is beyond what can be attached")]
    NoNumber {
        /// The field.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// The hardware's identifiers are all in use.
    #[error("no {what} is free")]
    NoIdentifier {
        /// Which kind.
        what: &'static str,
    },
    /// Start plus length leaves the address space.
    #[error("{field} {value:#x} reaches beyond the address space")]
    Overflow {
        /// The field.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// No object of the wanted kind has this ID.
    #[error("no {kind} has ID {id}")]
    NoSuchObject {
        /// The kind that was wanted.
        kind: &'static str,
        /// The ID.
        id: ObjectId,
    },
    /// The object has the wrong kind, where Linux says so.
    #[error("object {id} is no {wanted}")]
    WrongKind {
        /// The kind that was wanted.
        wanted: &'static str,
        /// The ID.
        id: ObjectId,
    },
    /// The object is in use.
    #[error("object {id} is in use by {users} others")]
    InUse {
        /// The ID.
        id: ObjectId,
        /// Its users beside the table itself.
        users: u32,
    },
    /// Something else holds what the call wants.
    #[error("{what} is busy: {why}")]
    Busy {
        /// What.
        what: &'static str,
        /// Who holds it.
        why: &'static str,
    },
    /// It exists already.
    #[error("{what} {value:#x} exists already")]
    Exists {
        /// What.
        what: &'static str,
        /// Which.
        value: u64,
    },
    /// An IOVA range meets a mapping.
    #[error("IOVA {start:#x}..={last:#x} is already mapped")]
    Mapped {
        /// First byte that was asked.
        start: u64,
        /// Last byte that was asked.
        last: u64,
    },
    /// Nothing is there, or only a part of it.
    #[error("{what} {value:#x}: nothing there, or only a part")]
    NotFound {
        /// What.
        what: &'static str,
        /// Where.
        value: u64,
    },
    /// An IOVA range meets a reserved, allowed or mapped one.
    #[error("IOVA {start:#x}..={last:#x} meets a range that is reserved, allowed or mapped")]
    RangeInUse {
        /// First byte.
        start: u64,
        /// Last byte.
        last: u64,
    },
    /// No free IOVA range is long enough.
    #[error("no free IOVA range of {length:#x} bytes")]
    NoSpace {
        /// The wanted length in bytes.
        length: u64,
    },
    /// The caller's array is too short; the needed length was written back.
    #[error("the array holds {given} of {needed} entries")]
    ArrayTooShort {
        /// Entries the caller has room for.
        given: u32,
        /// Entries there are.
        needed: u32,
    },
    /// The mapping does not permit this access.
    #[error("the mapping at IOVA {iova:#x} does not permit this access")]
    NotPermitted {
        /// Where.
        iova: u64,
    },
    /// The caller may not, whatever it asks for.
    #[error("not allowed: {why}")]
    Denied {
        /// Why.
        why: &'static str,
    },
    /// There is no such device, or it was taken away.
    #[error("{what}")]
    NoDevice {
        /// What is missing.
        what: &'static str,
    },
    /// The hardware model refuses.
    #[error("the hardware refuses: {why}")]
    Hardware {
        /// Why.
        why: &'static str,
    },
    /// The pages at an IOVA are not the ones at an address (mock device only).
    #[error("the pages are others than those at the address")]
    OtherPages,
    /// A descriptor of the wrong kind.
    #[error("descriptor {fd} is no {wanted}")]
    WrongFile {
        /// The descriptor number.
        fd: i32,
        /// What was wanted.
        wanted: &'static str,
    },
    /// A descriptor that is not open.
    #[error("descriptor {fd} is not open")]
    NotOpen {
        /// The descriptor number.
        fd: i32,
    },
    /// The caller's descriptor table has no room.
    #[error("no descriptor could be given to the caller: {errno}")]
    NoDescriptor {
        /// What the caller's table said.
        errno: Errno,
    },
    /// No memory, or memory that a test made fail.
    #[error("out of memory")]
    NoMemory,
    /// More memory than Linux allocates in one piece.
    #[error("{field} {value:#x} takes more memory than the kernel gives in one piece")]
    TooLarge {
        /// The field.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// Reads and writes of this file come in whole records from its start.
    #[error("{count} bytes are no whole number of {record}-byte records")]
    NoWholeRecords {
        /// The caller's count in bytes.
        count: u64,
        /// Size of a record in bytes.
        record: usize,
    },
    /// The file has no such operation.
    #[error("this file has no {operation}")]
    NoOperation {
        /// The system call.
        operation: &'static str,
    },
    /// No `mmap` region has this offset and length.
    #[error("no region to map at offset {offset:#x}")]
    NoRegion {
        /// The offset in bytes.
        offset: u64,
    },
    /// A virtual function, or a physical one whose virtual ones are in use, wants the right token.
    #[error("the token of the physical function is {what}")]
    Token {
        /// Missing or wrong.
        what: &'static str,
    },
    /// An argument of the API of 2020.
    #[error(transparent)]
    Argument(#[from] profile::y2020::BadArgument),
    /// Executable mappings are refused.
    #[error("the region cannot be mapped executable")]
    NotExecutable,
    /// A sum of sizes does not fit.
    #[error("{field} {value:#x} is out of range")]
    OutOfRange {
        /// The field.
        field: &'static str,
        /// Its value.
        value: u64,
    },
}

impl Refusal {
    /// The errno that the caller sees.
    #[rustfmt::skip] // one reason, one line
    pub fn errno(&self) -> Errno {
        match self {
            Self::UnknownCommand { .. } | Self::NotOffered { .. } => Errno::ENOTTY,
            Self::BadAddress { .. } | Self::NotPinnable    => Errno::EFAULT,
            Self::TooShort { .. } | Self::Invalid { .. }
                | Self::Unfit { .. } | Self::ReadOnly { .. } | Self::NotBound | Self::WrongKind { .. }                   => Errno::EINVAL,
            Self::UnknownTail { .. } | Self::TooMany { .. } => Errno::E2BIG,
            Self::Unsupported { .. }                       => Errno::EOPNOTSUPP,
            Self::Overflow { .. }                          => Errno::EOVERFLOW,
            Self::NoSuchObject { .. } | Self::NotFound { .. } => Errno::ENOENT,
            Self::InUse { .. } | Self::Busy { .. }         => Errno::EBUSY,
            Self::Exists { .. } | Self::Mapped { .. }      => Errno::EEXIST,
            Self::RangeInUse { .. }                        => Errno::EADDRINUSE,
            Self::NoSpace { .. } | Self::NoNumber { .. }
                | Self::NoIdentifier { .. }                => Errno::ENOSPC,
            Self::ArrayTooShort { .. }                     => Errno::EMSGSIZE,
            Self::NotPermitted { .. } | Self::NotExecutable | Self::Owned { .. }
                | Self::NotIsolated                        => Errno::EPERM,
            Self::NoDevice { .. } | Self::NoOperation { operation: "mmap" } => Errno::ENODEV,
            Self::NoOperation { .. }                       => Errno::EINVAL,
            Self::Denied { .. }                            => Errno::EACCES,
            Self::Hardware { .. }                          => Errno::EIO,
            Self::OtherPages                               => Errno::EBADE,
            Self::WrongFile { .. }                         => Errno::EBADFD,
            Self::NotOpen { .. }                           => Errno::EBADF,
            Self::NoDescriptor { errno }                   => *errno,
            Self::NoMemory | Self::TooLarge { .. }         => Errno::ENOMEM,
            Self::NoWholeRecords { .. }                    => Errno::ESPIPE,
            Self::NoRegion { .. }                          => Errno::ENXIO,
            Self::OutOfRange { .. }                        => Errno::ERANGE,
            Self::Token { .. }                             => Errno::EACCES,
            Self::Argument(bad)                            => bad.errno(),
        }
    }

    /// `EFAULT` for one pointer of the call, for use with `map_err`.
    pub(crate) fn bad(what: &'static str) -> impl Fn(Fault) -> Self {
        move |_| Self::BadAddress { what }
    }
}
