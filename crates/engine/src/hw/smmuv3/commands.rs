//! Commands that a guest gives through its virtual SMMU (SMMUv3 4).

use std::ops::RangeInclusive;
use std::sync::Arc;

use profile::Quirk;
use profile::registers::smmuv3::*;

use super::Smmuv3;
use super::dma::space_of;
use crate::Refusal;
use crate::dma::{Caches, Requester, Tag};
use crate::hw::{ApplyToDevice, Users};

pub(super) const CMDQ_OP_CFGI_CD: u64 = 0x05;
pub(super) const CMDQ_OP_CFGI_CD_ALL: u64 = 0x06;
const CMDQ_OP_TLBI_NH_ALL: u64 = 0x10;
pub(super) const CMDQ_OP_TLBI_NH_ASID: u64 = 0x11;
pub(super) const CMDQ_OP_TLBI_NH_VA: u64 = 0x12;
const CMDQ_OP_TLBI_NH_VAA: u64 = 0x13;
pub(super) const CMDQ_OP_TLBI_NSNH_ALL: u64 = 0x30;
const CMDQ_OP_ATC_INV: u64 = 0x40;

const OPCODE: u64 = 0xff;
const SSV: u64 = 1 << 11;
const GLOBAL: u64 = 1 << 9;
const SSID: u64 = 0xf_ffff << 12;
const SID: u64 = 0xffff_ffff << 32;
const VMID: u64 = 0xffff << 32;
const ASID: u64 = 0xffff << 48;
const ASID8: u64 = 0xff << 48;
const NUM: u64 = 0x1f << 12;
const SCALE: u64 = 0x1f << 20;
/// Part of `SCALE` where there are 52-bit addresses.
const SCALE_TOP: u64 = 1 << 25;
pub(super) const LEAF: u64 = 1;
const TTL: u64 = 3 << 8;
const TG: u64 = 3 << 10;
pub(super) const ADDRESS: u64 = !0xfff;
const SIZE: u64 = 0x3f;

/// A command that was accepted.
#[derive(Debug)]
pub(super) struct Command {
    words: [u64; 2],
    /// The device that it names; it may be gone.
    device: Option<Arc<Requester>>,
}

impl Command {
    fn each_port(&self, act: impl FnMut(&mut Caches)) {
        if let Some(device) = &self.device {
            device.each_port(act);
        }
    }
}

impl Smmuv3 {
    /// `arm_vsmmu_convert_user_cmd`, since 7.3 after `arm_vsmmu_validate_user_cmd`.
    pub(super) fn convert(
        &self,
        cmd: [u64; 2],
        apply: &mut ApplyToDevice<'_>,
    ) -> Result<Command, Refusal> {
        let refuse = |why| Err(Refusal::Hardware { why });
        if self.has(Quirk::SmmuChecksCommands) && !self.is_well_formed(cmd) {
            return refuse("the command has a field that must be 0");
        }
        match cmd[0] & OPCODE {
            CMDQ_OP_TLBI_NSNH_ALL
            | CMDQ_OP_TLBI_NH_ALL
            | CMDQ_OP_TLBI_NH_ASID
            | CMDQ_OP_TLBI_NH_VA
            | CMDQ_OP_TLBI_NH_VAA => Ok(Command { words: cmd, device: None }),
            CMDQ_OP_ATC_INV | CMDQ_OP_CFGI_CD | CMDQ_OP_CFGI_CD_ALL => {
                let mut device = None;
                if apply((cmd[0] & SID) >> 32, &mut |_, it| device = Some(Arc::clone(it))) {
                    Ok(Command { words: cmd, device })
                } else {
                    refuse("no vDEVICE has the command's stream ID")
                }
            }
            _ => refuse("the command is not one that a guest may give"),
        }
    }

    /// What the SMMU does on a command (4.3, 4.4, 4.5).
    pub(super) fn execute(&self, users: &Users, command: &Command) {
        let [first, second] = command.words;
        let asid = space_of((first >> 48) as u16);
        let leaf_only = second & LEAF != 0;
        let address = second & ADDRESS;
        let of_guest = |tag: &Tag| tag.domain == users.domain;
        let of_asid = |tag: &Tag| of_guest(tag) && tag.space == asid;
        match first & OPCODE {
            CMDQ_OP_TLBI_NSNH_ALL | CMDQ_OP_TLBI_NH_ALL => users.forget(&of_guest, None, false),
            CMDQ_OP_TLBI_NH_ASID => users.forget(&of_asid, None, false),
            CMDQ_OP_TLBI_NH_VA => {
                users.forget(&of_asid, Some(&self.range(first, second)), leaf_only)
            }
            CMDQ_OP_TLBI_NH_VAA => {
                users.forget(&of_guest, Some(&self.range(first, second)), leaf_only);
            }
            CMDQ_OP_CFGI_CD | CMDQ_OP_CFGI_CD_ALL => {
                let ssid = ((first & SSID) >> 12) as u32;
                let all = first & OPCODE == CMDQ_OP_CFGI_CD_ALL;
                // requests without a substream may use the descriptor of 0
                let concerns = |pasid: Option<u32>| all || pasid.unwrap_or(0) == ssid;
                command.each_port(|caches| caches.forget_contexts(&concerns));
            }
            CMDQ_OP_ATC_INV => {
                let ssid = (first & SSV != 0).then_some(((first & SSID) >> 12) as u32);
                let concerns = |pasid: Option<u32>| first & GLOBAL != 0 || pasid == ssid;
                let mask = 1u64.checked_shl(12 + (second & SIZE) as u32).unwrap_or(0);
                let mask = mask.wrapping_sub(1);
                let range = address & !mask..=address | mask;
                command.each_port(|caches| caches.forget_atc(&concerns, Some(&range)));
            }
            _ => {}
        }
    }

    /// What an invalidation by address means: a page, or so many (4.4.1.1).
    fn range(&self, first: u64, second: u64) -> RangeInclusive<u64> {
        let start = second & ADDRESS;
        let granule = (second & TG) >> 10;
        if !self.is_set(RIL) || granule == 0 {
            return start..=start | 0xfff;
        }
        let order = 10 + 2 * granule as u32;
        let scale = ((first & (SCALE | SCALE_TOP)) >> 20) as u32;
        let pages = ((first & NUM) >> 12) + 1;
        let bytes = pages.checked_shl(scale + order).unwrap_or(0);
        start..=start.saturating_add(bytes.wrapping_sub(1))
    }

    /// The fields that 7.3 permits in each command.
    fn is_well_formed(&self, cmd: [u64; 2]) -> bool {
        let substreams = self.is_set(SSIDSIZE);
        let ssid = if substreams { SSID } else { 0 };
        let asid = if self.is_set(ASID16) { ASID } else { ASID8 };
        let scale = if self.is_set(DS) { SCALE | SCALE_TOP } else { SCALE };
        let ranges = self.is_set(RIL);
        let (range0, range1) = if ranges { (NUM | scale, TTL | TG) } else { (0, 0) };
        let (word0, word1) = match cmd[0] & OPCODE {
            CMDQ_OP_TLBI_NSNH_ALL => (0, 0),
            CMDQ_OP_TLBI_NH_ALL => (VMID, 0),
            CMDQ_OP_TLBI_NH_ASID => (VMID | asid, 0),
            CMDQ_OP_TLBI_NH_VA => (VMID | asid | range0, LEAF | ADDRESS | range1),
            CMDQ_OP_TLBI_NH_VAA => (VMID | range0, LEAF | ADDRESS | range1),
            CMDQ_OP_ATC_INV if !self.is_set(ATS) => return false,
            CMDQ_OP_ATC_INV => {
                let pasid = if substreams { SSV | SSID | GLOBAL } else { 0 };
                (SID | pasid, ADDRESS | SIZE)
            }
            CMDQ_OP_CFGI_CD => (SID | ssid, LEAF),
            CMDQ_OP_CFGI_CD_ALL => (SID, 0),
            // which command it is, is judged next
            _ => return true,
        };
        if cmd[0] & !(word0 | OPCODE) != 0 || cmd[1] & !word1 != 0 {
            return false;
        }
        match cmd[0] & OPCODE {
            CMDQ_OP_ATC_INV => cmd[1] & SIZE <= 52,
            CMDQ_OP_TLBI_NH_VA | CMDQ_OP_TLBI_NH_VAA => !ranges || self.is_range(cmd),
            _ => true,
        }
    }

    /// Whether the range of a range invalidation is one (SMMUv3 4.4.1.1).
    fn is_range(&self, cmd: [u64; 2]) -> bool {
        let length = cmd[0] & (NUM | SCALE | SCALE_TOP);
        let (level, granule) = (cmd[1] & TTL, cmd[1] & TG);
        match (granule >> 10, level >> 8) {
            (0, level) => length == 0 && level == 0,
            (2, 1) if !self.is_set(DS) => false,
            (_, level) => length != 0 || level != 0,
        }
    }
}
