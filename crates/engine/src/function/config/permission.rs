//! Which bits of a capability are only shown, and which may be written (`init_pci_cap_basic_perm` and the
//! others of its kind).

use super::Cap;

/// The bits of a byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bits {
    /// Not the hardware's.
    pub shown: u8,
    /// May be written.
    pub written: u8,
}

const fn bits(shown: u8, written: u8) -> Bits {
    Bits { shown, written }
}

/// Whether the capability can be written at all; else what is written is not even read
/// (`perm_bits.writefn`).
pub(super) fn is_writable(cap: Cap) -> bool {
    !matches!(cap, Cap::Msix | Cap::Extended)
}

/// The bits of a byte, by its offset in the capability.
#[rustfmt::skip] // one field, one line
pub(super) fn of(cap: Cap, offset: usize) -> Bits {
    match (cap, offset) {
        // vendor and device, command without and with INTx disable, the list of capabilities
        (Cap::Header, 0x00..=0x03)            => bits(0xff, 0),
        (Cap::Header, 0x04)                   => bits(0, 0xff),
        (Cap::Header, 0x05)                   => bits(0x04, 0xff),
        (Cap::Header, 0x06)                   => bits(0x10, 0),
        // cache line, latency timer, self test
        (Cap::Header, 0x0c | 0x0d | 0x0f)     => bits(0, 0xff),
        // BARs, ROM
        (Cap::Header, 0x10..=0x27)            => bits(0xff, 0xff),
        (Cap::Header, 0x30..=0x33)            => bits(0xff, 0xff),
        // first capability, interrupt line and pin
        (Cap::Header, 0x34)                   => bits(0xff, 0),
        (Cap::Header, 0x3c)                   => bits(0xff, 0xff),
        (Cap::Header, 0x3d)                   => bits(0xff, 0),
        (Cap::Header, _)                      => bits(0, 0),
        // headers of the list
        (Cap::Extended, 0..=3)                => bits(0xff, 0),
        (Cap::Extended, _)                    => bits(0, 0),
        (_, 0 | 1)                            => bits(0xff, 0),
        (Cap::Msix, _)                        => bits(0, 0),
        // PME: supported by none, status, enable; the state is changed by the driver
        (Cap::Power, 3)                       => bits(0xf8, 0),
        (Cap::Power, 4)                       => bits(0, 0xfc),
        (Cap::Power, 5)                       => bits(0x81, 0x7e),
        (Cap::Power, 6 | 7)                   => bits(0, 0xff),
        (Cap::Power, _)                       => bits(0, 0),
        // control, address, data
        (Cap::Msi, 2)                         => bits(0xff, 0xff),
        (Cap::Msi, 4..=13)                    => bits(0xff, 0xff),
        (Cap::Msi, _)                         => bits(0, 0),
        // device control: size of payloads, size of reads, function reset; no phantom functions
        (Cap::Express, 8)                     => bits(0xe0, 0xff),
        (Cap::Express, 9)                     => bits(0xf0, 0xfd),
        // device control 2: no ARI
        (Cap::Express, 0x28)                  => bits(0, 0xdf),
        (Cap::Express, 0x29)                  => bits(0, 0xff),
        (Cap::Express, _)                     => bits(0, 0),
    }
}

/// The bits of a byte that the hardware keeps.
#[rustfmt::skip] // one field, one line
pub(super) fn implemented(cap: Cap, offset: usize) -> u8 {
    match (cap, offset) {
        // I/O space, memory space, bus master, parity errors; system errors
        (Cap::Header, 0x04)  => 0x47,
        (Cap::Header, 0x05)  => 0x01,
        (Cap::Header, 0x0c)  => 0xff,
        // reports of errors, relaxed ordering; no snoop, tags
        (Cap::Express, 8)    => 0x1f,
        (Cap::Express, 9)    => 0x09,
        // blocking of prefixes
        (Cap::Express, 0x29) => 0x80,
        _                    => 0,
    }
}
