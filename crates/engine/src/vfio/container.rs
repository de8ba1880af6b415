//! The container, `/dev/vfio/vfio` (`drivers/vfio/container.c`).
//!
//! It does nothing before it has a group, and then only takes a driver: what it maps is the driver's
//! business, [`super::type1`]. With its last group it loses the driver, and all that was mapped.
//!
//! *What it doesn't do*: no-IOMMU mode, which no machine here has on.

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::Mutex;
use uapi::vfio::*;

use super::type1::Type1;
use crate::task::Task;
use crate::{Caller, Engine, Refusal};

/// An open container, or one that still has groups.
#[derive(Debug)]
pub(crate) struct Container {
    engine: Arc<Engine>,
    /// Locked after a group, never before one.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    groups: BTreeSet<u32>,
    driver: Option<Type1>,
}

impl Container {
    pub fn new(engine: Arc<Engine>) -> Self {
        Self { engine, state: Mutex::default() }
    }

    /// `vfio_fops_unl_ioctl`
    pub fn ioctl(&self, caller: &mut dyn Caller, cmd: u32, arg: u64) -> Result<i64, Refusal> {
        let mut task = self.engine.task(caller);
        let mut state = self.state.lock();
        match cmd {
            VFIO_GET_API_VERSION => Ok(VFIO_API_VERSION.into()),
            VFIO_CHECK_EXTENSION => {
                Ok(Type1::offers(state.driver.as_ref(), &self.engine, arg).into())
            }
            VFIO_SET_IOMMU => self.set_iommu(&mut state, &mut task, arg).map(|()| 0),
            _ => match &mut state.driver {
                Some(driver) => driver.ioctl(&mut task, cmd, arg),
                None => Err(Refusal::Unfit { rule: "the container has no driver yet" }),
            },
        }
    }

    /// `vfio_ioctl_set_iommu`
    fn set_iommu(&self, state: &mut State, task: &mut Task<'_>, kind: u64) -> Result<(), Refusal> {
        if state.groups.is_empty() || state.driver.is_some() {
            return Err(Refusal::Unfit { rule: "the container has no group, or a driver already" });
        }
        if Type1::offers(None, &self.engine, kind) == 0 {
            return Err(Refusal::NoDevice { what: "no driver offers this" });
        }
        let mut driver = Type1::new(&self.engine, kind)?;
        let attached = state.groups.iter().try_for_each(|group| driver.attach(task, *group));
        if let Err(refusal) = attached {
            state.groups.iter().for_each(|group| driver.detach(*group));
            return Err(refusal);
        }
        state.driver = Some(driver);
        Ok(())
    }

    /// A group comes in (`vfio_container_attach_group`); it is the caller's.
    pub fn attach(&self, task: &mut Task<'_>, group: u32) -> Result<(), Refusal> {
        let mut state = self.state.lock();
        self.engine.owners.lock().claim_group(group)?;
        if let Some(driver) = &mut state.driver
            && let Err(refusal) = driver.attach(task, group)
        {
            self.engine.owners.lock().release_group(group);
            return Err(refusal);
        }
        state.groups.insert(group);
        Ok(())
    }

    /// A group leaves (`vfio_group_detach_container`).
    pub fn detach(&self, group: u32) {
        let mut state = self.state.lock();
        if let Some(driver) = &mut state.driver {
            driver.detach(group);
        }
        self.engine.owners.lock().release_group(group);
        state.groups.remove(&group);
        if state.groups.is_empty() {
            state.driver = None;
        }
    }

    /// Whether devices of its groups can be opened (`vfio_group_use_container`).
    pub fn has_driver(&self) -> bool {
        self.state.lock().driver.is_some()
    }

    /// For people: what is in it.
    pub fn describe(&self) -> String {
        match &self.state.lock().driver {
            Some(driver) => format!("VFIO container: {}", driver.describe()),
            None => "VFIO container: no driver".to_owned(),
        }
    }
}
