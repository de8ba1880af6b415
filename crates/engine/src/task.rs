//! The caller and its failures to come, as the inner parts of a call see them.

use std::sync::Arc;

use mem::{AddressSpace, PinBoard};
use profile::{Kernel, Quirk};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::physical::Physical;
use crate::vfio::mmio::Bars;
use crate::{Caller, Refusal};

/// What every part of a call may need: the caller, and the machine's memory.
pub(crate) struct Task<'a> {
    pub caller: &'a mut dyn Caller,
    pub pins: &'a Arc<PinBoard>,
    pub physical: &'a Arc<Physical>,
    pub bars: &'a Bars,
    pub kernel: &'static Kernel,
}

impl Task<'_> {
    /// The caller's memory.
    pub fn memory(&self) -> &Arc<dyn AddressSpace> {
        self.caller.memory()
    }

    /// Whether the kernel has a quirk.
    pub fn has(&self, quirk: Quirk) -> bool {
        self.kernel.has(quirk)
    }

    /// Stands where Linux allocates: `ENOMEM` when a test makes this allocation fail.
    pub fn allocate(&mut self) -> Result<(), Refusal> {
        if self.caller.inject_failure() { Err(Refusal::NoMemory) } else { Ok(()) }
    }

    /// Stands where Linux asks `iommufd_should_fail()`.
    pub fn should_fail(&mut self) -> bool {
        self.caller.inject_failure()
    }

    /// `copy_from_user` of one value.
    pub fn load<T: FromBytes>(&self, va: u64, what: &'static str) -> Result<T, Refusal> {
        let mut bytes = vec![0; size_of::<T>()];
        self.memory().read(va, &mut bytes).map_err(Refusal::bad(what))?;
        T::read_from_bytes(&bytes).map_err(|_| Refusal::BadAddress { what })
    }

    /// `copy_to_user` of one value.
    pub fn store<T: IntoBytes + Immutable>(
        &self,
        va: u64,
        value: &T,
        what: &'static str,
    ) -> Result<(), Refusal> {
        self.memory().write(va, value.as_bytes()).map_err(Refusal::bad(what))
    }
}

/// A struct of the caller whose size is the caller's (`lib/usercopy.c`: `copy_struct_from_user`):
/// missing bytes are zero, bytes beyond the `known` first ones of `T` must be zero.
pub(crate) fn load_struct<T: FromBytes + IntoBytes + Immutable>(
    memory: &dyn AddressSpace,
    va: u64,
    size: usize,
    known: usize,
    what: &'static str,
) -> Result<T, Refusal> {
    if size > known {
        let tail_at = va.checked_add(known as u64).ok_or(Refusal::BadAddress { what })?;
        if !is_zero(memory, tail_at, size - known, what)? {
            return Err(Refusal::UnknownTail { what, known });
        }
    }
    let mut bytes = vec![0; size_of::<T>()];
    let given = size.min(known);
    memory.read(va, &mut bytes[..given]).map_err(Refusal::bad(what))?;
    T::read_from_bytes(&bytes).map_err(|_| Refusal::BadAddress { what })
}

/// The first `given` bytes of an argument of VFIO, the rest 0, after a look at its first number: `argsz` must reach
/// `min`.
pub(crate) fn load_argument<T: FromBytes + IntoBytes + Immutable>(
    memory: &dyn AddressSpace,
    va: u64,
    given: usize,
    min: usize,
) -> Result<T, Refusal> {
    let it: T = load_struct(memory, va, given, given, "argument")?;
    let argsz = u32::read_from_prefix(it.as_bytes()).map_or(0, |(argsz, _)| argsz);
    if (argsz as usize) < min && given > 4 {
        return Err(Refusal::TooShort { size: argsz, min });
    }
    Ok(it)
}

/// Whether `length` bytes of the caller are all zero (`check_zeroed_user`). Stops at the first
/// that is not, so that a length of 4 GiB costs no more than the memory that is there.
fn is_zero(
    memory: &dyn AddressSpace,
    va: u64,
    length: usize,
    what: &'static str,
) -> Result<bool, Refusal> {
    let mut buffer = [0; 4096];
    let mut done = 0;
    while done < length {
        let at = va.checked_add(done as u64).ok_or(Refusal::BadAddress { what })?;
        let in_page = 4096 - (at % 4096) as usize;
        let chunk = &mut buffer[..in_page.min(length - done)];
        memory.read(at, chunk).map_err(Refusal::bad(what))?;
        if chunk.iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        done += chunk.len();
    }
    Ok(true)
}

/// Vendor data that a command points to (`struct iommu_user_data`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct UserData {
    pub kind: u32,
    pub source: Source,
    pub len: u32,
}

/// Where data for a driver are.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source {
    /// At an address of the caller's.
    Caller(u64),
    /// Here: the engine itself asks the driver, in the name of an older API.
    Engine([u64; 3]),
}

impl Source {
    /// A struct of the engine's, of up to 24 bytes.
    pub fn engine<T: IntoBytes + Immutable>(value: &T) -> Self {
        const { assert!(size_of::<T>() <= 24, "larger than what a source holds") };
        let mut words = [0; 3];
        words.as_mut_bytes()[..size_of::<T>()].copy_from_slice(value.as_bytes());
        Self::Engine(words)
    }

    /// A struct of so many bytes, of which this kernel knows the first `known`.
    pub fn load<T: FromBytes + IntoBytes + Immutable>(
        self,
        task: &Task<'_>,
        size: usize,
        known: usize,
    ) -> Result<T, Refusal> {
        match self {
            Self::Caller(va) => load_struct(&**task.memory(), va, size, known, "data_uptr"),
            Self::Engine(words) => T::read_from_prefix(words.as_bytes())
                .map(|(value, _)| value)
                .map_err(|_| Refusal::BadAddress { what: "data_uptr" }),
        }
    }
}

impl UserData {
    /// `iommu_copy_struct_from_user`: the kind must be `kind`, and the length between `min` and
    /// the size of `T`.
    pub fn load<T: FromBytes + IntoBytes + Immutable>(
        &self,
        task: &Task<'_>,
        kind: u32,
        min: usize,
    ) -> Result<T, Refusal> {
        self.load_known(task, kind, min, size_of::<T>())
    }

    /// [`UserData::load`], of a type of which this kernel knows the first `known` bytes.
    pub fn load_known<T: FromBytes + IntoBytes + Immutable>(
        &self,
        task: &Task<'_>,
        kind: u32,
        min: usize,
        known: usize,
    ) -> Result<T, Refusal> {
        self.check(kind, min, known)?;
        self.source.load(task, self.len as usize, known)
    }

    /// `iommu_copy_struct_to_user`.
    pub fn store<T: IntoBytes + Immutable>(
        &self,
        task: &Task<'_>,
        value: &T,
        kind: u32,
        min: usize,
    ) -> Result<(), Refusal> {
        self.check(kind, min, size_of::<T>())?;
        let bytes = &value.as_bytes()[..self.len as usize];
        match self.source {
            Source::Caller(va) => task.memory().write(va, bytes),
            Source::Engine(_) => Ok(()), // which asks for no answer
        }
        .map_err(Refusal::bad("data_uptr"))
    }

    fn check(&self, kind: u32, min: usize, known: usize) -> Result<(), Refusal> {
        if self.kind != kind {
            let rule = "another type than the hardware's";
            return Err(Refusal::Invalid { field: "data_type", value: self.kind.into(), rule });
        }
        if (self.len as usize) < min || self.len as usize > known {
            let rule = "not between the first and the newest size of the type";
            return Err(Refusal::Invalid { field: "data_len", value: self.len.into(), rule });
        }
        Ok(())
    }
}
