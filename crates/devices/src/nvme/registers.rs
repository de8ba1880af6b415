//! Registers: what the host reads, and what its writes do (B 3.1.3, 3.5, 3.6).
//!
//! They are in memory that programs map, and hold at any time what a read gives. A write that is narrower than
//! a register changes those of its bytes; one that is wider is several.

use std::io;
use std::sync::Arc;

use mem::SharedFile;

use super::doorbells::{Desk, Start};
use super::spec::*;
use crate::registers::Registers;
use crate::worker::Worker;

/// The registers below the doorbells.
#[derive(Debug)]
pub(super) struct Properties {
    bar: Registers,
}

impl Properties {
    pub fn new() -> io::Result<Self> {
        let properties = Self { bar: Registers::new("nvme", BAR_SIZE)? };
        properties.reset();
        Ok(properties)
    }

    pub fn memory(&self) -> Arc<SharedFile> {
        self.bar.memory()
    }

    pub fn read(&self, offset: u64, to: &mut [u8]) {
        self.bar.read(offset, to);
    }

    /// As after a reset of the function.
    fn reset(&self) {
        self.bar.store64(CAP, CAP_VALUE);
        self.bar.store32(VS, VS_VALUE);
        for register in [CC, CSTS, AQA] {
            self.bar.store32(register, 0);
        }
        self.bar.store64(ASQ, 0);
        self.bar.store64(ACQ, 0);
        self.show_mask(0);
    }

    /// Ends what the controller does, and brings all registers back.
    pub fn reset_function(&self, worker: &Worker<Desk>) {
        worker.reset();
        worker.tell(Desk::reset);
        self.reset();
    }

    /// Takes a write of bytes that lie below the doorbells, in one register.
    pub fn write(&self, offset: u64, from: &[u8], worker: &Worker<Desk>) {
        let register = offset & !3;
        let within = (offset % 4) as usize;
        // of what is set or cleared by ones, bytes that are not written have none
        let by_ones = matches!(register, INTMS | INTMC | CSTS | NSSR);
        let old = if by_ones { 0 } else { self.bar.load32(register) };
        let mut bytes = old.to_le_bytes();
        bytes[within..within + from.len()].copy_from_slice(from);
        self.set(register, u32::from_le_bytes(bytes), worker);
    }

    fn set(&self, register: u64, value: u32, worker: &Worker<Desk>) {
        const ASQ_HIGH: u64 = ASQ + 4;
        const ACQ_HIGH: u64 = ACQ + 4;
        match register {
            INTMS => self.show_mask(worker.tell(|desk| desk.mask(value))),
            INTMC => self.show_mask(worker.tell(|desk| desk.unmask(value))),
            CC => self.configure(value & CC_BITS, worker),
            CSTS => self.change_status(value & CSTS_SUBSYSTEM_RESET, 0),
            NSSR if value == NSSR_VALUE => {
                self.reset_function(worker);
                self.change_status(0, CSTS_SUBSYSTEM_RESET);
            }
            AQA => self.bar.store32(AQA, value & AQA_BITS),
            // queues begin on a page of 4 KiB
            ASQ | ACQ => self.bar.store32(register, value & !0xfff),
            ASQ_HIGH | ACQ_HIGH => self.bar.store32(register, value),
            _ => {}
        }
    }

    fn show_mask(&self, masked: u32) {
        self.bar.store32(INTMS, masked);
        self.bar.store32(INTMC, masked);
    }

    fn change_status(&self, clear: u32, set: u32) {
        self.bar.store32(CSTS, self.bar.load32(CSTS) & !clear | set);
    }

    fn configure(&self, cc: u32, worker: &Worker<Desk>) {
        let old = self.bar.load32(CC);
        self.bar.store32(CC, cc);
        match (old & CC_ENABLE != 0, cc & CC_ENABLE != 0) {
            (false, true) => self.enable(cc, worker),
            (true, false) => {
                worker.reset();
                worker.tell(Desk::disable);
                self.change_status(CSTS_READY | CSTS_FATAL | CSTS_SHUTDOWN, 0);
            }
            _ => {}
        }
        if cc_shutdown(old) == 0 && cc_shutdown(cc) != 0 {
            self.change_status(CSTS_SHUTDOWN, CSTS_SHUTTING_DOWN);
            let epoch = worker.epoch();
            worker.tell(|desk| desk.shut_down(epoch));
        } else if cc_shutdown(old) != 0 && cc_shutdown(cc) == 0 {
            self.change_status(CSTS_SHUTDOWN, 0);
        }
    }

    fn enable(&self, cc: u32, worker: &Worker<Desk>) {
        let aqa = self.bar.load32(AQA);
        let start = Start {
            epoch: worker.epoch(),
            cc,
            submission: (self.bar.load64(ASQ), aqa_submission(aqa)),
            completion: (self.bar.load64(ACQ), aqa_completion(aqa)),
        };
        if is_sound(&start) {
            worker.tell(|desk| desk.enable(start));
            self.change_status(0, CSTS_READY);
        } else {
            self.change_status(0, CSTS_FATAL);
        }
    }

    /// The controller cannot go on, and the host cannot be told by a completion.
    pub fn fail(&self, epoch: u64, worker: &Worker<Desk>) {
        if worker.epoch() == epoch {
            self.change_status(0, CSTS_FATAL);
        }
    }

    /// A shutdown is complete.
    pub fn end_shutdown(&self, epoch: u64, worker: &Worker<Desk>) {
        let asked = cc_shutdown(self.bar.load32(CC)) != 0;
        if asked && worker.epoch() == epoch {
            self.change_status(CSTS_SHUTDOWN, CSTS_SHUT_DOWN);
        }
    }
}

/// Whether a controller can be enabled so.
fn is_sound(start: &Start) -> bool {
    let Start { cc, submission, completion, .. } = *start;
    let page_shift = cc_page_shift(cc);
    let starts_page = |at: u64| at.trailing_zeros() >= page_shift;
    page_shift <= PAGE_SHIFT_MAX
        && matches!(cc_command_sets(cc), CC_CSS_NVM | CC_CSS_ALL)
        && cc_arbitration(cc) == 0
        && submission.1 >= 2
        && completion.1 >= 2
        && starts_page(submission.0)
        && starts_page(completion.0)
}
