//! Invalidations: their requests, an array in the caller's memory, and whose caches they reach.
//!
//! A driver reads its requests one by one, each when it comes to it, or all before the first is handled.

use std::ops::RangeInclusive;
use std::sync::Arc;

use uapi::iommufd::iommu_hwpt_invalidate;
use zerocopy::{FromBytes, Immutable, IntoBytes};

use super::DeviceState;
use crate::Refusal;
use crate::dma::{Requester, Tag};
use crate::task::{Source, Task, UserData};

/// The most bytes that Linux allocates in one piece (`KMALLOC_MAX_SIZE`, with pages of 4 KiB and
/// `CONFIG_ARCH_FORCE_MAX_ORDER` as it comes).
const MOST_BYTES: usize = 4 << 20;

/// An array of requests (`struct iommu_user_data_array`).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Requests {
    pub kind: u32,
    /// Of the first; the engine itself has no more than one.
    pub source: Source,
    pub entry_len: u32,
    pub count: u32,
}

/// How many requests were handled before the first refusal.
pub(crate) type Handled = (u32, Result<(), Refusal>);

impl Requests {
    pub fn of(cmd: &iommu_hwpt_invalidate) -> Self {
        let iommu_hwpt_invalidate { data_type, data_uptr, entry_len, entry_num, .. } = *cmd;
        let source = Source::Caller(data_uptr);
        Self { kind: data_type, source, entry_len, count: entry_num }
    }

    pub fn wrong_kind(self) -> Refusal {
        let rule = "another type than the hardware's";
        Refusal::Invalid { field: "data_type", value: self.kind.into(), rule }
    }

    /// One request, as user data.
    pub fn at(self, index: u32) -> UserData {
        let offset = u64::from(self.entry_len) * u64::from(index);
        let source = match self.source {
            Source::Caller(va) => Source::Caller(va.wrapping_add(offset)),
            own @ Source::Engine(_) => own,
        };
        UserData { kind: self.kind, source, len: self.entry_len }
    }

    /// All requests, in one piece of the kernel's memory. Where there is none for them, they all count as
    /// handled.
    pub fn load_all<T>(self, task: &mut Task<'_>, kind: u32) -> Result<Vec<T>, Handled>
    where
        T: FromBytes + IntoBytes + Immutable,
    {
        let room = match size_of::<T>() * self.count as usize {
            0 => Ok(()),
            1..=MOST_BYTES => task.allocate(),
            _ => Err(Refusal::TooLarge { field: "entry_num", value: self.count.into() }),
        };
        room.map_err(|refusal| (self.count, Err(refusal)))?;
        self.copy_all(task, kind).map_err(|refusal| (0, Err(refusal)))
    }

    /// `iommu_copy_struct_from_full_user_array`
    fn copy_all<T>(self, task: &Task<'_>, kind: u32) -> Result<Vec<T>, Refusal>
    where
        T: FromBytes + IntoBytes + Immutable,
    {
        if self.kind != kind {
            return Err(self.wrong_kind());
        }
        if self.count == 0 {
            let rule = "no commands; this is no question whether the type is known";
            return Err(Refusal::Invalid { field: "entry_num", value: 0, rule });
        }
        let whole = size_of::<T>();
        match self.source {
            Source::Caller(va) if self.entry_len as usize == whole => {
                let mut all: Vec<T> = (0..self.count).map(|_| T::new_zeroed()).collect();
                let read = task.memory().read(va, all.as_mut_bytes());
                read.map_err(Refusal::bad("data_uptr")).map(|()| all)
            }
            _ => {
                let load = |index| {
                    let UserData { source, len, .. } = self.at(index);
                    source.load(task, len as usize, whole)
                };
                (0..self.count).map(load).collect()
            }
        }
    }
}

/// Whose caches an invalidation may reach.
#[derive(Debug)]
pub(crate) struct Users {
    /// What the hardware tags translations by.
    pub domain: u64,
    /// The devices that use the host's tables below.
    pub requesters: Vec<Arc<Requester>>,
}

impl Users {
    /// Makes all of them forget translations of some spaces, of pages of a range or of all.
    pub fn forget(
        &self,
        of: &dyn Fn(&Tag) -> bool,
        range: Option<&RangeInclusive<u64>>,
        leaf_only: bool,
    ) {
        for requester in &self.requesters {
            requester.each_port(|caches| caches.forget(of, range, leaf_only));
        }
    }
}

/// Does something to the device that a vIOMMU knows by a virtual ID; false when it knows none.
pub(crate) type ApplyToDevice<'a> =
    dyn FnMut(u64, &mut dyn FnMut(&mut DeviceState, &Arc<Requester>)) -> bool + 'a;
