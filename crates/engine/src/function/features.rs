//! `VFIO_DEVICE_FEATURE`, and calls that no device here serves (`drivers/vfio/vfio_main.c`,
//! `drivers/vfio/pci/vfio_pci_core.c`).
//!
//! | feature | here |
//! |---|---|
//! | token of an SR-IOV device | physical functions take one |
//! | low power | entered and left; the device sleeps at once and wakes at the next call |
//! | DMA logging | by devices that have a log ([`super::logging`]) |
//! | migration, bus master, dma-buf | none, as vfio-pci without a driver of the device's own |
//!
//! *What it doesn't do*: reset a bus, or store to a BAR when an eventfd is raised: there is no bus that could
//! be reset alone, and no room for such stores.

use std::sync::Arc;

use profile::Quirk;
use uapi::vfio::*;

use super::irqs::eventfd;
use super::{Function, Opener};
use crate::task::{Task, load_argument};
use crate::{Refusal, Trigger};

/// Whether the program lets the device sleep (`pm_runtime_engaged`).
#[derive(Debug, Default)]
pub(super) enum Sleep {
    #[default]
    No,
    /// It may, and somebody may be told when it wakes.
    Yes(Option<Arc<dyn Trigger>>),
}

/// What is asked of a feature.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    /// Where its data are, and how many bytes.
    pub at: u64,
    size: usize,
    flags: u32,
}

pub(super) const GET: u32 = VFIO_DEVICE_FEATURE_GET;
pub(super) const SET: u32 = VFIO_DEVICE_FEATURE_SET;
const PROBE: u32 = VFIO_DEVICE_FEATURE_PROBE;

fn invalid(flags: u32, rule: &'static str) -> Refusal {
    Refusal::Invalid { field: "flags", value: flags.into(), rule }
}

impl Asked {
    /// Whether the operation is to be done, and not only asked for (`vfio_check_feature`).
    pub fn check(self, offered: u32, least: usize) -> Result<bool, Refusal> {
        let operations = self.flags & (GET | SET);
        if operations & !offered != 0 {
            return Err(invalid(self.flags, "the feature has no such operation"));
        }
        if self.flags & PROBE != 0 {
            return Ok(false);
        }
        if operations == 0 {
            return Err(invalid(self.flags, "no operation"));
        }
        if self.size < least {
            return Err(Refusal::TooShort { size: self.size as u32, min: least });
        }
        Ok(true)
    }
}

impl Function {
    /// `vfio_ioctl_device_feature`
    pub(super) fn feature(&self, task: &mut Task<'_>, arg: u64) -> Result<(), Refusal> {
        const HEAD: usize = size_of::<vfio_device_feature>();
        let vfio_device_feature { argsz, flags } =
            load_argument(&**task.memory(), arg, HEAD, HEAD)?;
        if flags & !(VFIO_DEVICE_FEATURE_MASK | GET | SET | PROBE) != 0 {
            return Err(invalid(flags, "unknown flags"));
        }
        if flags & PROBE == 0 && flags & GET != 0 && flags & SET != 0 {
            return Err(invalid(flags, "get and set together"));
        }
        let (at, size) = (arg.wrapping_add(HEAD as u64), argsz as usize - HEAD);
        let asked = Asked { at, size, flags };
        let sleeps = task.has(Quirk::VfioLowPower);
        match flags & VFIO_DEVICE_FEATURE_MASK {
            VFIO_DEVICE_FEATURE_PCI_VF_TOKEN if self.facts.total_vfs > 0 => {
                self.take_token(task, asked)
            }
            feature @ (VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY
            | VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP
            | VFIO_DEVICE_FEATURE_LOW_POWER_EXIT)
                if !sleeps =>
            {
                Err(Refusal::NotOffered { what: "feature", value: feature.into() })
            }
            VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY => self.enter_low_power(asked),
            VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP => {
                self.enter_low_power_with_wakeup(task, asked)
            }
            VFIO_DEVICE_FEATURE_LOW_POWER_EXIT => self.exit_low_power(asked),
            VFIO_DEVICE_FEATURE_DMA_LOGGING_START => self.start_logging(task, asked),
            VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP => self.stop_logging(asked),
            VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT => self.report_log(task, asked),
            feature
                if feature == VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2
                    && task.has(Quirk::VfioPrecopyInfo) =>
            {
                Err(invalid(flags, "the device has no migration"))
            }
            feature => Err(Refusal::NotOffered { what: "feature", value: feature.into() }),
        }
    }

    /// `vfio_pci_core_feature_token`
    fn take_token(&self, task: &Task<'_>, asked: Asked) -> Result<(), Refusal> {
        let mut token = [0; 16];
        if asked.check(SET, token.len())? {
            task.memory().read(asked.at, &mut token).map_err(Refusal::bad("token"))?;
            self.set_token(token);
        }
        Ok(())
    }

    /// `vfio_pci_core_pm_entry`
    fn enter_low_power(&self, asked: Asked) -> Result<(), Refusal> {
        if asked.check(SET, 0)? { self.sleep(None) } else { Ok(()) }
    }

    /// `vfio_pci_core_pm_entry_with_wakeup`
    fn enter_low_power_with_wakeup(
        &self,
        task: &mut Task<'_>,
        asked: Asked,
    ) -> Result<(), Refusal> {
        const SIZE: usize = size_of::<vfio_device_low_power_entry_with_wakeup>();
        if !asked.check(SET, SIZE)? {
            return Ok(());
        }
        let entry: vfio_device_low_power_entry_with_wakeup = task.load(asked.at, "data")?;
        let fd = entry.wakeup_eventfd;
        if fd < 0 {
            let (value, rule) = (fd.cast_unsigned().into(), "must not be negative");
            return Err(Refusal::Invalid { field: "wakeup_eventfd", value, rule });
        }
        let trigger = eventfd(task, fd)?;
        self.sleep(Some(trigger))
    }

    /// `vfio_pci_runtime_pm_entry`
    fn sleep(&self, trigger: Option<Arc<dyn Trigger>>) -> Result<(), Refusal> {
        let mut sleep = self.sleep.lock();
        if let Sleep::Yes(_) = *sleep {
            return Err(Refusal::Unfit { rule: "the device may sleep already" });
        }
        *sleep = Sleep::Yes(trigger);
        Ok(())
    }

    /// `vfio_pci_core_pm_exit`
    fn exit_low_power(&self, asked: Asked) -> Result<(), Refusal> {
        if asked.check(SET, 0)? {
            *self.sleep.lock() = Sleep::No;
        }
        Ok(())
    }

    /// Something reaches the device: one that sleeps with somebody to tell wakes for good
    /// (`vfio_pci_core_runtime_resume`).
    pub(super) fn rouse(&self) {
        let mut sleep = self.sleep.lock();
        if let Sleep::Yes(trigger) = &mut *sleep
            && let Some(trigger) = trigger.take()
        {
            *sleep = Sleep::No;
            drop(sleep);
            trigger.raise();
        }
    }

    /// Whether the program lets the device sleep: what it has mapped is not there meanwhile.
    pub(super) fn may_sleep(&self) -> bool {
        matches!(*self.sleep.lock(), Sleep::Yes(_))
    }

    /// `vfio_pci_ioctl_get_pci_hot_reset_info`
    pub(super) fn hot_reset_info(&self, task: &Task<'_>, arg: u64) -> Result<(), Refusal> {
        const HEAD: usize = size_of::<vfio_pci_hot_reset_info>();
        let _: vfio_pci_hot_reset_info = load_argument(&**task.memory(), arg, HEAD, HEAD)?;
        Err(NO_BUS_RESET)
    }

    /// `vfio_pci_ioctl_pci_hot_reset`
    pub(super) fn hot_reset(
        &self,
        task: &Task<'_>,
        opener: Opener,
        arg: u64,
    ) -> Result<(), Refusal> {
        const HEAD: usize = size_of::<vfio_pci_hot_reset>();
        let reset: vfio_pci_hot_reset = load_argument(&**task.memory(), arg, HEAD, HEAD)?;
        if reset.flags != 0 {
            return Err(invalid(reset.flags, "unknown flags"));
        }
        // a kernel without character devices looks at the bus first
        let names_groups = reset.count != 0;
        if task.has(Quirk::VfioCdev) && names_groups != (opener == Opener::Group) {
            let rule = "groups are named by who opened the device through one, and only then";
            let value = reset.count.into();
            return Err(Refusal::Invalid { field: "count", value, rule });
        }
        Err(NO_BUS_RESET)
    }

    /// `vfio_pci_ioctl_ioeventfd`
    pub(super) fn ioeventfd(&self, task: &Task<'_>, arg: u64) -> Result<(), Refusal> {
        const MIN: usize = std::mem::offset_of!(vfio_device_ioeventfd, reserved);
        let asked: vfio_device_ioeventfd = load_argument(&**task.memory(), arg, MIN, MIN)?;
        let width = asked.flags & VFIO_DEVICE_IOEVENTFD_SIZE_MASK;
        if asked.flags != width || width.count_ones() != 1 {
            return Err(invalid(asked.flags, "must be one width"));
        }
        if asked.fd < -1 {
            let (value, rule) = (asked.fd.cast_unsigned().into(), "no descriptor");
            return Err(Refusal::Invalid { field: "fd", value, rule });
        }
        if !self.is_whole_store(asked.offset, width.into()) {
            let rule = "no registers of a BAR, or the table of MSI-X";
            return Err(Refusal::Invalid { field: "offset", value: asked.offset, rule });
        }
        match asked.fd {
            -1 => Err(Refusal::NoDevice { what: "there is no such store" }),
            // as when all are taken
            _ => Err(Refusal::NoIdentifier { what: "store on an eventfd" }),
        }
    }
}

const NO_BUS_RESET: Refusal = Refusal::NoDevice { what: "neither slot nor bus can be reset" };
