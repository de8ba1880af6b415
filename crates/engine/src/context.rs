//! One `/dev/iommu` that is open: Linux's `iommufd_ctx`.

use std::sync::Arc;

use mem::{PAGE_SIZE, PinBoard, SharedFile};
use parking_lot::Mutex;

use crate::Refusal;
use crate::machine::Machine;
use crate::objects::Handle;
use crate::pages::AccountMode;
use crate::state::State;

/// An open `/dev/iommu`. Every file that hangs on it (fault queues, accesses) keeps it alive, and
/// its objects end with it.
#[derive(Debug)]
pub(crate) struct Context {
    pub machine: &'static Machine,
    pub pins: Arc<PinBoard>,
    /// All calls on one context are handled one after the other. Nothing waits for the program
    /// while it is locked.
    pub state: Mutex<State>,
}

impl Context {
    pub fn new(machine: &'static Machine, pins: Arc<PinBoard>, account: AccountMode) -> Self {
        Self { machine, pins, state: Mutex::new(State::new(account)) }
    }

    /// One user less of an object, if it is still there.
    pub fn put(&self, object: Handle) {
        let mut state = self.state.lock();
        if state.objects.is_alive(object) {
            state.objects.put(object.id);
        }
    }

    /// `mmap(2)` (`iommufd_fops_mmap`).
    pub fn mmap(
        &self,
        offset: u64,
        length: u64,
        shared: bool,
        exec: bool,
    ) -> Result<(Arc<SharedFile>, u64), Refusal> {
        if !length.is_multiple_of(PAGE_SIZE) {
            let rule = "no whole number of pages";
            return Err(Refusal::Invalid { field: "length", value: length, rule });
        }
        if !shared {
            return Err(Refusal::Invalid { field: "flags", value: 0, rule: "must be MAP_SHARED" });
        }
        if exec {
            return Err(Refusal::NotExecutable);
        }
        let state = self.state.lock();
        let region = state.regions.get(offset, length).ok_or(Refusal::NoRegion { offset })?;
        Ok((Arc::clone(&region.file), 0))
    }
}
