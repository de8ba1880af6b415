//! Fields of the registers by which IOMMUs say what they can do.
//!
//! The same table serves the hardware models, which decide by a field, and a verdict, which names the
//! field that would have to be set.

/// A field of a register: bits `low..=high`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// As the manual spells it, with its register: `ECAP.NEST`.
    pub name: &'static str,
    /// The lowest bit.
    pub low: u32,
    /// The highest bit.
    pub high: u32,
}

impl Field {
    const fn bit(name: &'static str, at: u32) -> Self {
        Self { name, low: at, high: at }
    }

    const fn bits(name: &'static str, low: u32, high: u32) -> Self {
        Self { name, low, high }
    }

    /// The value of the field in its register.
    pub const fn of(self, register: u64) -> u64 {
        (register >> self.low) & (u64::MAX >> (63 - (self.high - self.low)))
    }

    /// Whether the field is not 0.
    pub const fn is_set(self, register: u64) -> bool {
        self.of(register) != 0
    }

    /// All its bits, set, in their place.
    pub const fn mask(self) -> u64 {
        (u64::MAX >> (63 - (self.high - self.low))) << self.low
    }

    /// The register, as its name begins.
    pub fn register(&self) -> &'static str {
        self.name.split_once('.').map_or(self.name, |(register, _)| register)
    }
}

/// Intel VT-d 11.4.2 and 11.4.3.
pub mod vtd {
    use super::Field;

    /// Bits of domain ID, less 4, halved.
    pub const ND: Field = Field::bits("CAP.ND", 0, 2);
    /// Supported adjusted guest address widths: 39, 48, 57 bits.
    pub const SAGAW: Field = Field::bits("CAP.SAGAW", 8, 12);
    /// Maximum guest address width, less 1.
    pub const MGAW: Field = Field::bits("CAP.MGAW", 16, 21);
    /// Second-stage large pages: 2 MiB, 1 GiB.
    pub const SSLPS: Field = Field::bits("CAP.SSLPS", 34, 37);
    /// First-stage 1 GiB pages.
    pub const FS1GP: Field = Field::bit("CAP.FS1GP", 56);
    /// First-stage five-level paging.
    pub const FS5LP: Field = Field::bit("CAP.FS5LP", 60);

    /// Coherent page walks, without scalable mode.
    pub const C: Field = Field::bit("ECAP.C", 0);
    /// Device TLBs.
    pub const DT: Field = Field::bit("ECAP.DT", 2);
    /// Interrupt remapping.
    pub const IR: Field = Field::bit("ECAP.IR", 3);
    /// Pass-through.
    pub const PT: Field = Field::bit("ECAP.PT", 6);
    /// Snoop control.
    pub const SC: Field = Field::bit("ECAP.SC", 7);
    /// Nested translation.
    pub const NEST: Field = Field::bit("ECAP.NEST", 26);
    /// Page requests.
    pub const PRS: Field = Field::bit("ECAP.PRS", 29);
    /// Execute requests.
    pub const ERS: Field = Field::bit("ECAP.ERS", 30);
    /// Supervisor requests.
    pub const SRS: Field = Field::bit("ECAP.SRS", 31);
    /// Extended accessed flag.
    pub const EAFS: Field = Field::bit("ECAP.EAFS", 34);
    /// PASID size, less 1.
    pub const PSS: Field = Field::bits("ECAP.PSS", 35, 39);
    /// PASIDs.
    pub const PASID: Field = Field::bit("ECAP.PASID", 40);
    /// Page request draining.
    pub const PDS: Field = Field::bit("ECAP.PDS", 42);
    /// Scalable mode.
    pub const SMTS: Field = Field::bit("ECAP.SMTS", 43);
    /// Second-stage accessed and dirty flags.
    pub const SSADS: Field = Field::bit("ECAP.SSADS", 45);
    /// Second stage.
    pub const SSTS: Field = Field::bit("ECAP.SSTS", 46);
    /// First stage.
    pub const FSTS: Field = Field::bit("ECAP.FSTS", 47);
    /// Coherent page walks in scalable mode.
    pub const SMPWCS: Field = Field::bit("ECAP.SMPWCS", 48);

    /// Every field.
    pub const ALL: &[Field] = &[
        ND, SAGAW, MGAW, SSLPS, FS1GP, FS5LP, C, DT, IR, PT, SC, NEST, PRS, ERS, SRS, EAFS, PSS,
        PASID, PDS, SMTS, SSADS, SSTS, FSTS, SMPWCS,
    ];
}

/// Arm SMMUv3 6.3.
pub mod smmuv3 {
    use super::Field;

    /// Stage 2.
    pub const S2P: Field = Field::bit("IDR0.S2P", 0);
    /// Stage 1.
    pub const S1P: Field = Field::bit("IDR0.S1P", 1);
    /// Translation table formats.
    pub const TTF: Field = Field::bits("IDR0.TTF", 2, 3);
    /// Hardware updates of access and dirty flags.
    pub const HTTU: Field = Field::bits("IDR0.HTTU", 6, 7);
    /// ATS.
    pub const ATS: Field = Field::bit("IDR0.ATS", 10);
    /// 16-bit ASIDs.
    pub const ASID16: Field = Field::bit("IDR0.ASID16", 12);
    /// 16-bit VMIDs.
    pub const VMID16: Field = Field::bit("IDR0.VMID16", 18);
    /// Tables of context descriptors in two levels.
    pub const CD2L: Field = Field::bit("IDR0.CD2L", 19);
    /// Endianness of tables: 0: both, 2: little, 3: big.
    pub const TTENDIAN: Field = Field::bits("IDR0.TTENDIAN", 21, 22);
    /// 0: stalls and terminates, 1: terminates, 2: stalls.
    pub const STALL_MODEL: Field = Field::bits("IDR0.STALL_MODEL", 24, 25);
    /// A transaction that is terminated is always aborted; never does it read as 0.
    pub const TERM_MODEL: Field = Field::bit("IDR0.TERM_MODEL", 26);
    /// Bits of substream ID.
    pub const SSIDSIZE: Field = Field::bits("IDR1.SSIDSIZE", 6, 10);
    /// Commands that the queue holds, as a power of two.
    pub const CMDQS: Field = Field::bits("IDR1.CMDQS", 21, 25);
    /// Preset bases of tables and queues are offsets.
    pub const REL: Field = Field::bit("IDR1.REL", 28);
    /// The bases of queues are preset.
    pub const QUEUES_PRESET: Field = Field::bit("IDR1.QUEUES_PRESET", 29);
    /// The bases of tables are preset.
    pub const TABLES_PRESET: Field = Field::bit("IDR1.TABLES_PRESET", 30);
    /// Table entries can be kept from taking rights away.
    pub const HAD: Field = Field::bit("IDR3.HAD", 2);
    /// Stage 2 forces write-back.
    pub const FWB: Field = Field::bit("IDR3.FWB", 8);
    /// Small tables: input addresses of as few as 16 bits.
    pub const STT: Field = Field::bit("IDR3.STT", 9);
    /// Range invalidation.
    pub const RIL: Field = Field::bit("IDR3.RIL", 10);
    /// Halves of an address space can be kept from unprivileged transactions.
    pub const E0PD: Field = Field::bit("IDR3.E0PD", 13);
    /// Output address size: 32, 36, 40, 42, 44, 48, 52 bits.
    pub const OAS: Field = Field::bits("IDR5.OAS", 0, 2);
    /// 4 KiB granule.
    pub const GRAN4K: Field = Field::bit("IDR5.GRAN4K", 4);
    /// 16 KiB granule.
    pub const GRAN16K: Field = Field::bit("IDR5.GRAN16K", 5);
    /// 64 KiB granule.
    pub const GRAN64K: Field = Field::bit("IDR5.GRAN64K", 6);
    /// 52-bit addresses with the 4 and 16 KiB granules.
    pub const DS: Field = Field::bit("IDR5.DS", 7);
    /// Virtual addresses of 52 bits.
    pub const VAX: Field = Field::bits("IDR5.VAX", 10, 11);

    /// Every field.
    pub const ALL: &[Field] = &[
        S2P,
        S1P,
        TTF,
        HTTU,
        ATS,
        ASID16,
        VMID16,
        CD2L,
        TTENDIAN,
        STALL_MODEL,
        TERM_MODEL,
        SSIDSIZE,
        CMDQS,
        REL,
        QUEUES_PRESET,
        TABLES_PRESET,
        HAD,
        FWB,
        STT,
        RIL,
        E0PD,
        OAS,
        GRAN4K,
        GRAN16K,
        GRAN64K,
        DS,
        VAX,
    ];

    /// Which of `SMMU_IDR0` to `SMMU_IDR5` a field is in.
    pub fn index(field: Field) -> usize {
        usize::from(field.name.as_bytes()[3] - b'0')
    }
}

/// AMD IOMMU 3.4, MMIO offsets 30h and 1A0h.
pub mod amd {
    use super::Field;

    /// Peripheral page requests.
    pub const PPR: Field = Field::bit("EFR.PPRSup", 1);
    /// Guest translation.
    pub const GT: Field = Field::bit("EFR.GTSup", 4);
    /// Host address translation levels: 4, 5, 6.
    pub const HATS: Field = Field::bits("EFR.HATS", 10, 11);
    /// Guest address translation levels: 4, 5, 6.
    pub const GATS: Field = Field::bits("EFR.GATS", 12, 13);
    /// Levels of GCR3 tables, less 1.
    pub const GLX: Field = Field::bits("EFR.GLXSup", 14, 15);
    /// Bits of PASID, less 1.
    pub const PASMAX: Field = Field::bits("EFR.PASmax", 32, 36);
    /// Guest I/O protection.
    pub const GIO: Field = Field::bit("EFR.GIoSup", 48);
    /// Enhanced peripheral page requests.
    pub const EPH: Field = Field::bit("EFR.EPHSup", 50);
    /// Host dirty flags.
    pub const HD: Field = Field::bit("EFR.HDSup", 52);
    /// Guest CR3 tables addressed through the host's.
    pub const GCR3TRP: Field = Field::bit("EFR2.GCR3TRPMode", 3);
    /// The hyper-transport range is ordinary memory.
    pub const HT_RANGE_IGNORE: Field = Field::bit("EFR2.HTRangeIgnore", 11);

    /// Every field.
    pub const ALL: &[Field] =
        &[PPR, GT, HATS, GATS, GLX, PASMAX, GIO, EPH, HD, GCR3TRP, HT_RANGE_IGNORE];
}

/// RISC-V IOMMU 5.3, `capabilities`.
pub mod riscv {
    use super::Field;

    /// 39-bit addresses.
    pub const SV39: Field = Field::bit("capabilities.Sv39", 9);
    /// 48-bit addresses.
    pub const SV48: Field = Field::bit("capabilities.Sv48", 10);
    /// 57-bit addresses.
    pub const SV57: Field = Field::bit("capabilities.Sv57", 11);

    /// Bits 60:59 of table entries are the program's.
    pub const SVRSW60T59B: Field = Field::bit("capabilities.Svrsw60t59b", 14);
    /// Memory types in table entries.
    pub const SVPBMT: Field = Field::bit("capabilities.Svpbmt", 15);
    /// A second stage of 41-bit addresses.
    pub const SV39X4: Field = Field::bit("capabilities.Sv39x4", 17);
    /// A second stage of 50-bit addresses.
    pub const SV48X4: Field = Field::bit("capabilities.Sv48x4", 18);
    /// A second stage of 59-bit addresses.
    pub const SV57X4: Field = Field::bit("capabilities.Sv57x4", 19);
    /// Page tables of MSI addresses; device contexts have 64 bytes.
    pub const MSI_FLAT: Field = Field::bit("capabilities.MSI_FLAT", 22);
    /// Table entries are marked by the IOMMU.
    pub const AMO_HWAD: Field = Field::bit("capabilities.AMO_HWAD", 24);
    /// Address translation services.
    pub const ATS: Field = Field::bit("capabilities.ATS", 25);
    /// ATS may tell guest-physical addresses.
    pub const T2GPA: Field = Field::bit("capabilities.T2GPA", 26);
    /// Big-endian tables.
    pub const END: Field = Field::bit("capabilities.END", 27);
    /// Process IDs of 8 bits.
    pub const PD8: Field = Field::bit("capabilities.PD8", 38);
    /// Process IDs of 17 bits.
    pub const PD17: Field = Field::bit("capabilities.PD17", 39);
    /// Process IDs of 20 bits.
    pub const PD20: Field = Field::bit("capabilities.PD20", 40);

    /// Every field.
    pub const ALL: &[Field] = &[
        SV39,
        SV48,
        SV57,
        SVRSW60T59B,
        SVPBMT,
        SV39X4,
        SV48X4,
        SV57X4,
        MSI_FLAT,
        AMO_HWAD,
        ATS,
        T2GPA,
        END,
        PD8,
        PD17,
        PD20,
    ];
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_a_register() {
        let ecap = 0x0003_ee9e_86f0_50df;
        assert_eq!((vtd::PSS.of(ecap), vtd::NEST.of(ecap)), (19, 1));
        assert!(!vtd::PASID.is_set(ecap) && vtd::SMTS.is_set(ecap));
        assert_eq!(Field::bits("R.ALL", 0, 63).of(u64::MAX), u64::MAX);
        assert_eq!(vtd::MGAW.of(0x19ed_008c_4078_0c66), 56);
        assert_eq!((smmuv3::index(smmuv3::OAS), smmuv3::OAS.register()), (5, "IDR5"));
    }
}
