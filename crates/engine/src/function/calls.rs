//! Calls on a function: arguments and answers (`drivers/vfio/vfio_main.c`,
//! `drivers/vfio/pci/vfio_pci_core.c`).

use uapi::vfio::*;
use zerocopy::IntoBytes;

use super::Function;
use crate::Refusal;
use crate::task::{Task, load_argument};

impl Function {
    /// `vfio_pci_core_ioctl`, and what `vfio_device_fops_unl_ioctl` does itself.
    pub fn ioctl(&self, task: &mut Task<'_>, cmd: u32, arg: u64) -> Result<i64, Refusal> {
        match cmd {
            VFIO_DEVICE_GET_INFO => self.info(task, arg).map(|()| 0),
            VFIO_DEVICE_GET_REGION_INFO => self.region_info(task, arg).map(|()| 0),
            VFIO_DEVICE_GET_IRQ_INFO => self.irq_info(task, arg).map(|()| 0),
            VFIO_DEVICE_RESET => {
                self.reset();
                Ok(0)
            }
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
            num_regions: VFIO_PCI_NUM_REGIONS,
            num_irqs: VFIO_PCI_NUM_IRQS,
            ..Default::default()
        };
        let told = &info.as_bytes()[..size_of_val(&info).min(asked.argsz as usize)];
        task.memory().write(arg, told).map_err(Refusal::bad("argument"))
    }

    /// `vfio_get_region_info`
    fn region_info(&self, task: &Task<'_>, arg: u64) -> Result<(), Refusal> {
        const WHOLE: usize = size_of::<vfio_region_info>();
        let mut info: vfio_region_info = load_argument(&**task.memory(), arg, WHOLE, WHOLE)?;
        (info.flags, info.size, info.offset) = self.region(info.index)?;
        task.store(arg, &info, "argument")
    }

    /// `vfio_pci_ioctl_get_irq_info`
    fn irq_info(&self, task: &Task<'_>, arg: u64) -> Result<(), Refusal> {
        const WHOLE: usize = size_of::<vfio_irq_info>();
        let mut info: vfio_irq_info = load_argument(&**task.memory(), arg, WHOLE, WHOLE)?;
        (info.flags, info.count) = interrupt_info(info.index)?;
        task.store(arg, &info, "argument")
    }
}

/// Flags and number of a kind of interrupts.
fn interrupt_info(index: u32) -> Result<(u32, u32), Refusal> {
    let flags = match index {
        VFIO_PCI_INTX_IRQ_INDEX => VFIO_IRQ_INFO_MASKABLE | VFIO_IRQ_INFO_AUTOMASKED,
        1..VFIO_PCI_NUM_IRQS => VFIO_IRQ_INFO_NORESIZE,
        _ => {
            let rule = "no such kind of interrupt";
            return Err(Refusal::Invalid { field: "index", value: index.into(), rule });
        }
    };
    Ok((flags | VFIO_IRQ_INFO_EVENTFD, 0))
}
