//! Statuses of completions (B 3.3.3.2.1).

/// How a command ended: status code, bits 7:0; status code type, bits 10:8; more information in the error log,
/// bit 13; do not retry, bit 14.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status(u16);

const GENERIC: u16 = 0;
const SPECIFIC: u16 = 1;
const MEDIA: u16 = 2;
const MORE: u16 = 1 << 13;
const DO_NOT_RETRY: u16 = 1 << 14;

/// The same command fails again.
const fn lasting(kind: u16, code: u16) -> Status {
    Status(kind << 8 | code | DO_NOT_RETRY)
}

/// The same command may succeed another time.
const fn passing(kind: u16, code: u16) -> Status {
    Status(kind << 8 | code)
}

#[rustfmt::skip] // one status, one line
#[expect(missing_docs, reason = "names of the specification")]
impl Status {
    pub const SUCCESS: Self = passing(GENERIC, 0x00);
    pub const INVALID_OPCODE: Self = lasting(GENERIC, 0x01);
    pub const INVALID_FIELD: Self = lasting(GENERIC, 0x02);
    pub const DATA_TRANSFER_ERROR: Self = passing(GENERIC, 0x04);
    pub const INTERNAL_ERROR: Self = passing(GENERIC, 0x06);
    pub const ABORT_REQUESTED: Self = passing(GENERIC, 0x07);
    pub const INVALID_NAMESPACE: Self = lasting(GENERIC, 0x0b);
    pub const COMMAND_SEQUENCE_ERROR: Self = lasting(GENERIC, 0x0c);
    pub const INVALID_SGL_SEGMENT: Self = lasting(GENERIC, 0x0d);
    pub const INVALID_NUMBER_OF_SGL_DESCRIPTORS: Self = lasting(GENERIC, 0x0e);
    pub const DATA_SGL_LENGTH_INVALID: Self = lasting(GENERIC, 0x0f);
    pub const SGL_DESCRIPTOR_TYPE_INVALID: Self = lasting(GENERIC, 0x11);
    pub const PRP_OFFSET_INVALID: Self = lasting(GENERIC, 0x13);
    pub const LBA_OUT_OF_RANGE: Self = lasting(GENERIC, 0x80);

    pub const COMPLETION_QUEUE_INVALID: Self = lasting(SPECIFIC, 0x00);
    pub const INVALID_QUEUE_IDENTIFIER: Self = lasting(SPECIFIC, 0x01);
    pub const INVALID_QUEUE_SIZE: Self = lasting(SPECIFIC, 0x02);
    pub const EVENT_REQUEST_LIMIT: Self = lasting(SPECIFIC, 0x05);
    pub const INVALID_INTERRUPT_VECTOR: Self = lasting(SPECIFIC, 0x08);
    pub const INVALID_LOG_PAGE: Self = lasting(SPECIFIC, 0x09);
    pub const INVALID_FORMAT: Self = lasting(SPECIFIC, 0x0a);
    pub const INVALID_QUEUE_DELETION: Self = lasting(SPECIFIC, 0x0c);
    pub const FEATURE_NOT_SAVEABLE: Self = lasting(SPECIFIC, 0x0d);
    pub const FEATURE_NOT_OF_NAMESPACE: Self = lasting(SPECIFIC, 0x0f);

    pub const WRITE_FAULT: Self = passing(MEDIA, 0x80);
    pub const UNRECOVERED_READ: Self = passing(MEDIA, 0x81);
    pub const COMPARE_FAILURE: Self = lasting(MEDIA, 0x85);
}

impl Status {
    /// Status code type and status code.
    pub fn code(self) -> (u8, u8) {
        ((self.0 >> 8 & 7) as u8, self.0 as u8)
    }

    /// The field of a completion, without its phase tag.
    pub(in crate::nvme) fn field(self) -> u16 {
        self.0 << 1
    }

    /// With a word that the error log has more.
    pub(in crate::nvme) fn with_more(self) -> Self {
        Self(self.0 | MORE)
    }

    /// Of the field of a completion, whatever its phase tag.
    pub fn from_field(field: u16) -> Self {
        Self(field >> 1)
    }

    /// Whether the same command is expected to fail again.
    pub fn is_lasting(self) -> bool {
        self.0 & DO_NOT_RETRY != 0
    }
}
