//! The registers, and what stores to them do.

use super::spec;
use crate::fields::Field;
use crate::registers::Registers;

/// A ring of descriptors.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ring {
    pub base: u64,
    length: u32,
    head: u32,
    tail: u32,
    pub buffers: u32,
    control: u32,
}

/// What a store makes the device do, beside holding it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Effect {
    /// The device is to be reset, but for what a fault left.
    pub reset: bool,
    /// There may be work.
    pub work: bool,
}

#[derive(Debug)]
pub(super) struct State {
    /// What is under way belongs to it.
    pub epoch: u64,
    /// A fault stopped the rings.
    pub stuck: bool,
    pub receive: Ring,
    pub transmit: Ring,
    pub rctl: u32,
    pub tctl: u32,
    ctrl: u32,
    ctrl_ext: u32,
    gcr: u32,
    mdic: u32,
    phy: [u16; 32],
    gpie: u32,
    auto_clear: u32,
    auto_mask: u32,
    causes: u32,
    mask: u32,
    pub ivar: u32,
    /// Interrupts that are to be raised, a bit each.
    pub raised: u32,
}

const ALL_VECTORS: u32 = (1 << spec::VECTORS) - 1;

impl Ring {
    fn count(&self) -> u32 {
        self.length / spec::DESCRIPTOR_SIZE as u32
    }

    pub fn is_enabled(&self) -> bool {
        self.control & spec::QUEUE_ENABLE != 0
    }

    /// Where the next descriptor is; none where all are made, or where head or tail is off the ring.
    pub fn next(&self) -> Option<u64> {
        let inside = self.head < self.count() && self.tail < self.count();
        let has = self.is_enabled() && inside && self.head != self.tail;
        has.then(|| self.base.wrapping_add(u64::from(self.head) * spec::DESCRIPTOR_SIZE as u64))
    }

    /// The next descriptor is made.
    pub fn advance(&mut self) {
        self.head = (self.head + 1) % self.count().max(1);
    }

    fn show(&self, at: u64, registers: &Registers) {
        registers.store64(at + spec::BASE, self.base);
        for (offset, value) in [
            (spec::LENGTH, self.length),
            (spec::SRRCTL, self.buffers),
            (spec::HEAD, self.head),
            (spec::TAIL, self.tail),
            (spec::CONTROL, self.control),
        ] {
            registers.store32(at + offset, value);
        }
    }

    /// Takes a store to a ring; whether it was a doorbell.
    fn write(&mut self, at: u64, offset: u64, from: &[u8]) -> bool {
        if let Some(part) = Field::new(at + spec::BASE, 8).part(offset, from) {
            self.base = part.over(self.base) & !0x7f;
        }
        let mut rings = false;
        for (register, field, mask) in [
            (spec::LENGTH, &mut self.length, 0xf_ff80),
            (spec::SRRCTL, &mut self.buffers, u32::MAX),
            (spec::HEAD, &mut self.head, 0xffff),
            (spec::TAIL, &mut self.tail, 0xffff),
            (spec::CONTROL, &mut self.control, u32::MAX),
        ] {
            if let Some(part) = Field::new(at + register, 4).part(offset, from) {
                *field = part.over((*field).into()) as u32 & mask;
                rings |= matches!(register, spec::TAIL | spec::CONTROL);
            }
        }
        rings
    }
}

impl State {
    /// As it is first.
    pub fn new(epoch: u64) -> Self {
        Self {
            epoch,
            stuck: false,
            receive: Ring::default(),
            transmit: Ring::default(),
            rctl: 0,
            tctl: 0,
            ctrl: 0,
            ctrl_ext: 0,
            gcr: 0,
            mdic: spec::MDIC_READY,
            phy: [0; 32],
            gpie: 0,
            auto_clear: 0,
            auto_mask: 0,
            causes: 0,
            mask: 0,
            ivar: 0,
            raised: 0,
        }
    }

    /// Whether what is transmitted comes back (82576 3.5.6).
    pub fn loops(&self) -> bool {
        let in_phy = self.phy[spec::PHY_BMCR] & spec::PHY_LOOPBACK != 0;
        in_phy || self.rctl & spec::RCTL_LBM_MAC != 0
    }

    /// Where the next descriptor to transmit is.
    pub fn next(&self) -> Option<u64> {
        let next = self.transmit.next()?;
        (self.tctl & spec::TCTL_EN != 0 && !self.stuck).then_some(next)
    }

    /// Bytes of a buffer (82576 7.1.3.1).
    pub fn buffer_size(&self) -> usize {
        match self.receive.buffers & spec::SRRCTL_KIB {
            0 => 2048 >> (self.rctl >> spec::RCTL_BSIZE_SHIFT & 3),
            size => size as usize * 1024,
        }
    }

    /// The causes that an entry of [`spec::IVAR0`] names come.
    pub fn cause(&mut self, entry: u32) {
        let entry = (self.ivar >> (8 * entry)) as u8;
        if entry & spec::IVAR_VALID != 0 {
            self.add_causes(1 << (entry & 0x1f));
        }
    }

    /// Causes come: new ones that are not masked raise interrupts.
    fn add_causes(&mut self, causes: u32) {
        let new = causes & ALL_VECTORS & !self.causes;
        self.causes |= new;
        self.raise(new & self.mask);
    }

    fn raise(&mut self, causes: u32) {
        if self.gpie & spec::GPIE_MSIX_MODE == 0 {
            return;
        }
        self.raised |= causes;
        self.causes &= !(causes & self.auto_clear);
        if self.gpie & spec::GPIE_EIAME != 0 {
            self.mask &= !(causes & self.auto_mask);
        }
    }

    /// Shows the registers to programs.
    pub fn show(&self, registers: &Registers) {
        let link = if self.ctrl & spec::CTRL_SLU != 0 { spec::STATUS_LU } else { 0 };
        for (offset, value) in [
            (spec::CTRL, self.ctrl),
            (spec::STATUS, spec::STATUS_FAST | link),
            (spec::EECD, spec::EECD_READ),
            (spec::CTRL_EXT, self.ctrl_ext),
            (spec::MDIC, self.mdic),
            (spec::RCTL, self.rctl),
            (spec::TCTL, self.tctl),
            (spec::GPIE, self.gpie),
            (spec::EIMS, self.mask),
            (spec::EIAC, self.auto_clear),
            (spec::EIAM, self.auto_mask),
            (spec::EICR, self.causes),
            (spec::IVAR0, self.ivar),
            (spec::GCR, self.gcr),
        ] {
            registers.store32(offset, value);
        }
        self.receive.show(spec::RX, registers);
        self.transmit.show(spec::TX, registers);
    }

    /// Takes a store, register by register.
    pub fn write(&mut self, offset: u64, from: &[u8]) -> Effect {
        let mut effect = Effect::default();
        let part = |register| Field::new(register, 4).part(offset, from);
        for (register, field) in [
            (spec::CTRL, &mut self.ctrl),
            (spec::CTRL_EXT, &mut self.ctrl_ext),
            (spec::RCTL, &mut self.rctl),
            (spec::TCTL, &mut self.tctl),
            (spec::GPIE, &mut self.gpie),
            (spec::EIAC, &mut self.auto_clear),
            (spec::EIAM, &mut self.auto_mask),
            (spec::IVAR0, &mut self.ivar),
            (spec::GCR, &mut self.gcr),
        ] {
            if let Some(part) = part(register) {
                *field = part.over((*field).into()) as u32;
                effect.work |= register == spec::TCTL;
            }
        }
        if self.ctrl & spec::CTRL_RST != 0 {
            let stuck = self.stuck;
            *self = Self { stuck, ..Self::new(self.epoch) };
            return Effect { reset: true, work: false };
        }
        if let Some(part) = part(spec::MDIC) {
            self.access_phy(part.over(self.mdic.into()) as u32);
        }
        if let Some(part) = part(spec::EICS) {
            self.add_causes(part.value as u32);
        }
        if let Some(part) = part(spec::EIMS) {
            let new = part.value as u32 & ALL_VECTORS & !self.mask;
            self.mask |= new;
            self.raise(new & self.causes);
        }
        if let Some(part) = part(spec::EIMC) {
            self.mask &= !(part.value as u32);
        }
        if let Some(part) = part(spec::EICR) {
            self.causes &= !(part.value as u32);
        }
        self.receive.write(spec::RX, offset, from);
        effect.work |= self.transmit.write(spec::TX, offset, from);
        effect
    }

    fn access_phy(&mut self, mdic: u32) {
        let register = (mdic >> spec::MDIC_REG_SHIFT & 0x1f) as usize;
        let rest = mdic & !(spec::MDIC_READY | spec::MDIC_ERROR);
        let there = mdic >> spec::MDIC_PHY_SHIFT & 0x1f == spec::MDIC_PHY;
        self.mdic = spec::MDIC_READY
            | match mdic & (spec::MDIC_OP_READ | spec::MDIC_OP_WRITE) {
                spec::MDIC_OP_WRITE if there => {
                    self.phy[register] = mdic as u16;
                    rest
                }
                spec::MDIC_OP_READ if there => rest & !0xffff | u32::from(self.phy[register]),
                _ => rest | spec::MDIC_ERROR,
            };
    }
}
