//! One `/dev/iommu` that is open: Linux's `iommufd_ctx`.

use std::sync::Arc;

use mem::PAGE_SIZE;
use parking_lot::Mutex;
use profile::Quirk;

use crate::file::Mapping;
use crate::objects::Handle;
use crate::pages::AccountMode;
use crate::state::State;
use crate::task::Task;
use crate::{Caller, Engine, Refusal};

/// An open `/dev/iommu`. Every file that hangs on it (fault queues, accesses) keeps it alive, and
/// its objects end with it.
#[derive(Debug)]
pub(crate) struct Context {
    pub engine: Arc<Engine>,
    /// All calls on one context are handled one after the other. Nothing waits for the program
    /// while it is locked.
    pub state: Mutex<State>,
}

impl Context {
    pub fn new(engine: Arc<Engine>, account: AccountMode) -> Self {
        Self { engine, state: Mutex::new(State::new(account)) }
    }

    /// A call of `caller`, as the inner parts see it.
    pub fn task<'a>(&'a self, caller: &'a mut dyn Caller) -> Task<'a> {
        self.engine.task(caller)
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
    ) -> Result<Mapping, Refusal> {
        if !self.engine.kernel.has(Quirk::Mmap) {
            return Err(Refusal::NoOperation { operation: "mmap" });
        }
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
        Ok(Mapping { object: Arc::clone(&region.file), offset: 0, trapped: false })
    }
}
