//! Calls on a function: arguments and answers (`drivers/vfio/vfio_main.c`,
//! `drivers/vfio/pci/vfio_pci_core.c`).

use uapi::vfio::*;
use zerocopy::IntoBytes;

use super::{Function, Opener};
use crate::Refusal;
use crate::task::{Task, load_argument};

impl Function {
    /// `vfio_pci_core_ioctl`, and what `vfio_device_fops_unl_ioctl` does itself.
    pub fn ioctl(
        &self,
        task: &mut Task<'_>,
        opener: Opener,
        cmd: u32,
        arg: u64,
    ) -> Result<i64, Refusal> {
        // vfio_device_pm_runtime_get
        self.rouse();
        match cmd {
            VFIO_DEVICE_GET_INFO => self.info(task, arg).map(|()| 0),
            VFIO_DEVICE_GET_REGION_INFO => self.region_info(task, arg).map(|()| 0),
            VFIO_DEVICE_GET_IRQ_INFO => self.irq_info(task, arg).map(|()| 0),
            VFIO_DEVICE_SET_IRQS => self.set_irqs(task, arg),
            VFIO_DEVICE_RESET => {
                self.reset();
                Ok(0)
            }
            VFIO_DEVICE_FEATURE => self.feature(task, arg).map(|()| 0),
            VFIO_DEVICE_GET_PCI_HOT_RESET_INFO => self.hot_reset_info(task, arg).map(|()| 0),
            VFIO_DEVICE_PCI_HOT_RESET => self.hot_reset(task, opener, arg).map(|()| 0),
            VFIO_DEVICE_IOEVENTFD => self.ioeventfd(task, arg).map(|()| 0),
            _ => Err(Refusal::UnknownCommand { cmd }),
        }
    }

    /// `vfio_pci_ioctl_get_info`
    fn info(&self, task: &Task<'_>, arg: u64) -> Result<(), Refusal> {
        const MIN: usize = std::mem::offset_of!(vfio_device_info, cap_offset);
        let asked: vfio_device_info = load_argument(&**task.memory(), arg, MIN, MIN)?;
        let info = vfio_device_info {
            argsz: asked.argsz,
            flags: VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET,
            num_regions: self.region_count(),
            num_irqs: self.irq_kinds(),
            ..Default::default()
        };
        let told = &info.as_bytes()[..size_of_val(&info).min(asked.argsz as usize)];
        task.memory().write(arg, told).map_err(Refusal::bad("argument"))
    }

    /// `vfio_get_region_info`: what has capabilities tells how much room they take, and gives them where it
    /// is there.
    fn region_info(&self, task: &Task<'_>, arg: u64) -> Result<(), Refusal> {
        const WHOLE: usize = size_of::<vfio_region_info>();
        let mut info: vfio_region_info = load_argument(&**task.memory(), arg, WHOLE, WHOLE)?;
        let capabilities = self.region(&mut info)?;
        if !capabilities.is_empty() {
            let all = (WHOLE + capabilities.len()) as u32;
            info.flags |= VFIO_REGION_INFO_FLAG_CAPS;
            info.cap_offset = if info.argsz < all { 0 } else { WHOLE as u32 };
            if info.argsz < all {
                info.argsz = all;
            } else {
                let at = arg.wrapping_add(WHOLE as u64);
                task.memory().write(at, &capabilities).map_err(Refusal::bad("argument"))?;
            }
        }
        task.store(arg, &info, "argument")
    }
}
