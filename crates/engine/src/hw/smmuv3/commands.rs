//! Commands that a guest gives through its virtual SMMU (SMMUv3 4).

use profile::Quirk;
use profile::registers::smmuv3::*;

use super::Smmuv3;
use crate::Refusal;
use crate::hw::ApplyToDevice;

const CMDQ_OP_CFGI_CD: u64 = 0x05;
const CMDQ_OP_CFGI_CD_ALL: u64 = 0x06;
const CMDQ_OP_TLBI_NH_ALL: u64 = 0x10;
const CMDQ_OP_TLBI_NH_ASID: u64 = 0x11;
const CMDQ_OP_TLBI_NH_VA: u64 = 0x12;
const CMDQ_OP_TLBI_NH_VAA: u64 = 0x13;
const CMDQ_OP_TLBI_NSNH_ALL: u64 = 0x30;
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
const LEAF: u64 = 1;
const TTL: u64 = 3 << 8;
const TG: u64 = 3 << 10;
const ADDRESS: u64 = !0xfff;
const SIZE: u64 = 0x3f;

impl Smmuv3 {
    /// `arm_vsmmu_convert_user_cmd`, since 7.3 after `arm_vsmmu_validate_user_cmd`.
    pub(super) fn check_command(
        &self,
        cmd: [u64; 2],
        apply: &mut ApplyToDevice<'_>,
    ) -> Result<(), Refusal> {
        let refuse = |why| Err(Refusal::Hardware { why });
        if self.has(Quirk::SmmuChecksCommands) && !self.is_well_formed(cmd) {
            return refuse("the command has a field that must be 0");
        }
        match cmd[0] & OPCODE {
            CMDQ_OP_TLBI_NSNH_ALL
            | CMDQ_OP_TLBI_NH_ALL
            | CMDQ_OP_TLBI_NH_ASID
            | CMDQ_OP_TLBI_NH_VA
            | CMDQ_OP_TLBI_NH_VAA => Ok(()),
            CMDQ_OP_ATC_INV | CMDQ_OP_CFGI_CD | CMDQ_OP_CFGI_CD_ALL => {
                if apply((cmd[0] & SID) >> 32, &mut |_| ()) {
                    Ok(())
                } else {
                    refuse("no vDEVICE has the command's stream ID")
                }
            }
            _ => refuse("the command is not one that a guest may give"),
        }
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
