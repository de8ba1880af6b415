//! Registers in the frame of a signal (`arch/x86/kernel/fpu/signal.c`, `include/uapi/asm/sigcontext.h`).
//!
//! The kernel puts them there, and takes them back when the handler returns. Vector registers are as `XSAVE`
//! writes them, in the standard format, whose offsets the processor tells (SDM volume 1, 13.4).

use core::arch::x86_64::__cpuid_count;
use core::ptr;
use core::sync::atomic::{AtomicU32, Ordering};

use emulate::{Cpu, Vector};

/// Where [`Cpu::general`] is in `gregs`, by the numbers of registers.
const GENERAL: [i32; 16] = [
    libc::REG_RAX,
    libc::REG_RCX,
    libc::REG_RDX,
    libc::REG_RBX,
    libc::REG_RSP,
    libc::REG_RBP,
    libc::REG_RSI,
    libc::REG_RDI,
    libc::REG_R8,
    libc::REG_R9,
    libc::REG_R10,
    libc::REG_R11,
    libc::REG_R12,
    libc::REG_R13,
    libc::REG_R14,
    libc::REG_R15,
];

/// Where the XMM registers are.
const XMM: usize = 160;
/// Where the kernel tells how much it wrote: first that it did, then how much (`struct _fpx_sw_bytes`).
const SOFTWARE: usize = 464;
const MAGIC: u32 = 0x4650_5853;
const XSTATE_SIZE: usize = SOFTWARE + 16;
/// Which components are not as they are first.
const IN_USE: usize = 512;

/// A component of the state, by its bit.
#[derive(Clone, Copy)]
enum Component {
    /// Upper halves of YMM0 to YMM15.
    Ymm = 2,
    /// Opmasks.
    Masks = 5,
    /// Upper halves of ZMM0 to ZMM15.
    Zmm = 6,
    /// ZMM16 to ZMM31.
    HighZmm = 7,
}

static OFFSETS: [AtomicU32; 8] = [const { AtomicU32::new(0) }; 8];

/// Asks the processor where components are. That may leave a virtual machine, so it is done once.
pub(super) fn prepare() {
    const STATE: u32 = 0xd;
    if __cpuid_count(0, 0).eax < STATE {
        return;
    }
    for component in [Component::Ymm, Component::Masks, Component::Zmm, Component::HighZmm] {
        let leaf = __cpuid_count(STATE, component as u32);
        OFFSETS[component as usize].store(leaf.ebx, Ordering::Relaxed);
    }
}

/// The frame of a signal.
#[derive(Clone, Copy)]
pub(super) struct Frame(pub *mut libc::ucontext_t);

impl Frame {
    fn register(self, register: i32) -> *mut i64 {
        // SAFETY: the kernel made the frame for the handler, and `gregs` has every `REG_`.
        unsafe { &raw mut (*self.0).uc_mcontext.gregs[register as usize] }
    }

    fn get(self, register: i32) -> u64 {
        // SAFETY: a place in the frame.
        unsafe { self.register(register).read() as u64 }
    }

    fn set(self, register: i32, value: u64) {
        // SAFETY: a place in the frame.
        unsafe { self.register(register).write(value as i64) };
    }

    /// Whether a page fault was one of a store.
    pub(super) fn is_store(self) -> bool {
        const WRITE: u64 = 1 << 1;
        self.get(libc::REG_ERR) & WRITE != 0
    }

    pub(super) fn cpu(self) -> Cpu {
        Cpu {
            general: GENERAL.map(|register| self.get(register)),
            rip: self.get(libc::REG_RIP),
            flags: self.get(libc::REG_EFL),
        }
    }

    pub(super) fn set_cpu(self, cpu: &Cpu) {
        for (register, value) in GENERAL.into_iter().zip(cpu.general) {
            self.set(register, value);
        }
        self.set(libc::REG_RIP, cpu.rip);
        self.set(libc::REG_EFL, cpu.flags);
    }

    /// The floating point state; null without.
    fn state(self) -> *mut u8 {
        // SAFETY: the kernel made the frame for the handler.
        unsafe { (*self.0).uc_mcontext.fpregs.cast() }
    }

    /// A number in the state at an offset that the caller knows to be in it.
    fn word<T: Copy>(self, offset: usize) -> T {
        // SAFETY: the caller vouches for the offset.
        unsafe { self.state().add(offset).cast::<T>().read_unaligned() }
    }

    /// `size` bytes of a component; none where it is not there.
    fn component(self, component: Component, at: usize, size: usize) -> Option<*mut u8> {
        if self.state().is_null() || self.word::<u32>(SOFTWARE) != MAGIC {
            return None;
        }
        let start = OFFSETS[component as usize].load(Ordering::Relaxed) as usize;
        let end = start + at + size;
        let is_there = start != 0 && end <= self.word::<u32>(XSTATE_SIZE) as usize;
        // SAFETY: within what the kernel wrote.
        is_there.then(|| unsafe { self.state().add(start + at) })
    }

    /// Reads bytes of a component, which are zeros where they are not there or as they are first.
    fn read(self, component: Component, at: usize, to: &mut [u8]) {
        let Some(from) = self.component(component, at, to.len()) else { return };
        if self.word::<u64>(IN_USE) >> component as u32 & 1 == 1 {
            // SAFETY: as many bytes are there.
            unsafe { ptr::copy_nonoverlapping(from, to.as_mut_ptr(), to.len()) };
        }
    }

    fn write(self, component: Component, at: usize, from: &[u8]) {
        let Some(to) = self.component(component, at, from.len()) else { return };
        let in_use = self.word::<u64>(IN_USE) | 1 << component as u32;
        // SAFETY: as many bytes are there, and the header is before them. What the component held before
        // was written by `XSAVE` or is zeros: the kernel clears what it does not save.
        unsafe {
            ptr::copy_nonoverlapping(from.as_ptr(), to, from.len());
            self.state().add(IN_USE).cast::<u64>().write_unaligned(in_use);
        }
    }

    pub(super) fn vector(self, number: usize) -> Vector {
        let mut vector = [0; 64];
        if number >= 16 {
            self.read(Component::HighZmm, (number - 16) * 64, &mut vector);
            return vector;
        }
        if !self.state().is_null() {
            // SAFETY: the state begins with 512 bytes as `FXSAVE` writes them.
            let from = unsafe { self.state().add(XMM + number * 16) };
            // SAFETY: a register there has 16 bytes.
            unsafe { ptr::copy_nonoverlapping(from, vector.as_mut_ptr(), 16) };
        }
        self.read(Component::Ymm, number * 16, &mut vector[16..32]);
        self.read(Component::Zmm, number * 32, &mut vector[32..]);
        vector
    }

    pub(super) fn set_vector(self, number: usize, vector: &Vector) {
        if number >= 16 {
            self.write(Component::HighZmm, (number - 16) * 64, vector);
            return;
        }
        if !self.state().is_null() {
            // SAFETY: the state begins with 512 bytes as `FXSAVE` writes them.
            let to = unsafe { self.state().add(XMM + number * 16) };
            // SAFETY: a register there has 16 bytes.
            unsafe { ptr::copy_nonoverlapping(vector.as_ptr(), to, 16) };
        }
        self.write(Component::Ymm, number * 16, &vector[16..32]);
        self.write(Component::Zmm, number * 32, &vector[32..]);
    }

    pub(super) fn mask(self, number: usize) -> u64 {
        let mut mask = [0; 8];
        self.read(Component::Masks, number * 8, &mut mask);
        u64::from_le_bytes(mask)
    }
}
