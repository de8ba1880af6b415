//! What the controller says of itself and of its namespaces (B 5.15, N 4.1.5).

use super::spec::*;
use super::storage::Namespace;
use super::{Controller, IDENTITY};

/// Bytes of every data structure.
const SIZE: usize = 4096;

/// Model number, of 40 characters.
const MODEL: &str = "softiommu NVMe controller";

/// Kelvin: where it is too warm (WCTEMP), and far too warm (CCTEMP).
pub(super) const WARNING_TEMPERATURE: u16 = 343;
const CRITICAL_TEMPERATURE: u16 = 373;

/// log2 of the bytes of a block, by the number of the format.
pub(super) const FORMATS: [u32; 2] = [9, 12];

/// One identifier of a namespace is told: EUI-64 (NIDT 1). The command set is told, too (NIDT 4).
const NIDT_EUI64: u8 = 1;
const NIDT_COMMAND_SET: u8 = 4;

/// Firmware revision: the release's.
pub(super) fn firmware() -> [u8; 8] {
    padded(env!("CARGO_PKG_VERSION"))
}

/// ASCII, with spaces at the end (B 1.4.2).
fn padded<const N: usize>(text: &str) -> [u8; N] {
    let mut bytes = [b' '; N];
    let kept = text.bytes().map(|it| if it.is_ascii_graphic() || it == b' ' { it } else { b'?' });
    bytes.iter_mut().zip(kept).for_each(|(to, from)| *to = from);
    bytes
}

/// A data structure under way.
struct Page(Vec<u8>);

impl Page {
    fn new() -> Self {
        Self(vec![0; SIZE])
    }

    fn put<const N: usize>(&mut self, at: usize, bytes: [u8; N]) -> &mut Self {
        self.0[at..at + N].copy_from_slice(&bytes);
        self
    }
}

impl Controller {
    /// The data structure that a command asks for.
    pub fn identify(&self, command: &Command) -> Result<Vec<u8>, Status> {
        let nsid = command.nsid;
        let command_set = (command.cdw11 >> 24) as u8;
        let of_nvm = match command_set {
            0 => Ok(()),
            _ => Err(Status::INVALID_FIELD),
        };
        match command.cdw10 as u8 {
            cns::NAMESPACE => Ok(self.identify_namespace(self.namespace(nsid)?)),
            cns::CONTROLLER => Ok(self.identify_controller()),
            cns::ACTIVE_NAMESPACES => self.active_namespaces(nsid),
            cns::ACTIVE_NAMESPACES_OF_COMMAND_SET => {
                of_nvm?;
                self.active_namespaces(nsid)
            }
            cns::NAMESPACE_DESCRIPTORS => {
                self.namespace(nsid)?;
                let mut page = Page::new();
                page.put(0, [NIDT_EUI64, 8, 0, 0]).put(4, self.eui64(nsid));
                page.put(12, [NIDT_COMMAND_SET, 1, 0, 0]);
                Ok(page.0)
            }
            cns::NAMESPACE_OF_COMMAND_SET => {
                of_nvm?;
                self.namespace(nsid)?;
                Ok(Page::new().0)
            }
            cns::CONTROLLER_OF_COMMAND_SET => {
                of_nvm?;
                let mut page = Page::new();
                // Verify is limited (VSL), Write Zeroes is not (WZSL)
                page.put(0, [TRANSFER_SHIFT]);
                Ok(page.0)
            }
            cns::NAMESPACE_OF_ANY_COMMAND_SET => {
                self.namespace(nsid)?;
                let mut page = Page::new();
                // NSTAT: ready
                page.put(14, [1]);
                Ok(page.0)
            }
            cns::COMMAND_SETS => {
                let mut page = Page::new();
                // combination 0: the NVM command set
                page.put(0, 1u64.to_le_bytes());
                Ok(page.0)
            }
            _ => Err(Status::INVALID_FIELD),
        }
    }

    /// B figure 275.
    fn identify_controller(&self) -> Vec<u8> {
        let mut page = Page::new();
        let count = self.namespaces.len() as u32;
        let serial: [u8; 20] = padded(&self.serial);
        let model: [u8; 40] = padded(MODEL);
        page.put(0, IDENTITY.vendor.to_le_bytes()).put(2, IDENTITY.subsystem.0.to_le_bytes());
        page.put(4, serial).put(24, model).put(64, firmware());
        // RAB: bursts of 64; IEEE: QEMU's
        page.put(72, [6]).put(73, [0x00, 0x54, 0x52]);
        page.put(77, [TRANSFER_SHIFT]);
        page.put(80, VS_VALUE.to_le_bytes());
        // CNTRLTYPE: I/O
        page.put(111, [1]);
        // OACS: Format NVM
        page.put(256, (1u16 << 1).to_le_bytes());
        // ACL; AERL; FRMW: one slot, which cannot be written; LPA: effects, offsets
        page.put(258, [3, EVENT_REQUESTS as u8 - 1, 1 << 1 | 1, 1 << 1 | 1 << 2]);
        page.put(262, [super::logs::ERRORS as u8 - 1]);
        page.put(266, WARNING_TEMPERATURE.to_le_bytes())
            .put(268, CRITICAL_TEMPERATURE.to_le_bytes());
        // SQES, CQES: 64 and 16 bytes, at least and at most
        page.put(512, [0x66, 0x44]);
        page.put(516, count.to_le_bytes());
        // ONCS: Compare, Dataset Management, Write Zeroes, Select, Timestamp, Verify
        let optional: u16 = 1 | 1 << 2 | 1 << 3 | 1 << 4 | 1 << 6 | 1 << 7;
        page.put(520, optional.to_le_bytes());
        // VWC: present, Flush takes all namespaces
        page.put(525, [0b111]);
        // SGLS: of any alignment, bit buckets, metadata by SGL
        page.put(536, (1u32 | 1 << 16 | 1 << 19).to_le_bytes());
        // SUBNQN, of the form for what has no other name (B 4.5)
        let (vendor, subsystem) = (IDENTITY.vendor, IDENTITY.subsystem.0);
        let name = format!("nqn.2014.08.org.nvmexpress:{vendor:04x}{subsystem:04x}");
        page.0[768..768 + name.len()].copy_from_slice(name.as_bytes());
        page.put(768 + name.len(), serial).put(788 + name.len(), model);
        // power state 0: 25 W; in and out of it within 16 us and 4 us
        page.put(2048, 0x9c4u16.to_le_bytes());
        page.put(2052, 16u32.to_le_bytes()).put(2056, 4u32.to_le_bytes());
        page.0
    }

    /// N figure 97.
    fn identify_namespace(&self, namespace: &Namespace) -> Vec<u8> {
        let mut page = Page::new();
        for at in [0, 8, 16] {
            page.put(at, namespace.blocks().to_le_bytes());
        }
        let format = FORMATS.iter().position(|it| *it == namespace.shift).unwrap_or(0);
        page.put(25, [FORMATS.len() as u8 - 1, format as u8]);
        // DLFEAT: deallocated blocks read as zeros, Write Zeroes can deallocate
        page.put(33, [1 | 1 << 3]);
        let index = self.namespaces.iter().position(|it| it.first == namespace.first);
        page.put(120, self.eui64(index.unwrap_or(0) as u32 + 1));
        for (number, shift) in FORMATS.iter().enumerate() {
            page.put(130 + 4 * number, [*shift as u8]);
        }
        page.0
    }

    fn active_namespaces(&self, after: u32) -> Result<Vec<u8>, Status> {
        if after >= NSID_ALL - 1 {
            return Err(Status::INVALID_NAMESPACE);
        }
        let mut page = Page::new();
        let last = self.namespaces.len() as u32;
        for (index, nsid) in (after + 1..=last).take(SIZE / 4).enumerate() {
            page.put(4 * index, nsid.to_le_bytes());
        }
        Ok(page.0)
    }

    /// Different for each namespace, of each serial number: FNV-1a below QEMU's OUI.
    fn eui64(&self, nsid: u32) -> [u8; 8] {
        let seed = 0x811c_9dc5u32;
        let bytes = self.serial.bytes().chain(nsid.to_le_bytes());
        let hash = bytes.fold(seed, |hash, it| (hash ^ u32::from(it)).wrapping_mul(0x0100_0193));
        let [a, b, c, d] = hash.to_be_bytes();
        [0x52, 0x54, 0x00, nsid as u8, a, b, c, d]
    }
}
