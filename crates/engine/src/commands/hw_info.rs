//! `IOMMU_GET_HW_INFO` (`iommufd_get_hw_info`, `drivers/iommu/iommufd/device.c`).

use profile::{Kernel, Quirk};
use uapi::iommufd::{
    IOMMU_HW_CAP_DIRTY_TRACKING, IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED, IOMMU_HW_CAP_PCI_PASID_EXEC,
    IOMMU_HW_CAP_PCI_PASID_PRIV, IOMMU_HW_INFO_FLAG_INPUT_TYPE, IOMMU_HW_INFO_TYPE_DEFAULT,
    iommu_hw_info,
};

use super::general::unused;
use crate::Refusal;
use crate::call::{Answer, Call, Handler};
use crate::device::Device;
use crate::task::Task;

pub(crate) struct GetHwInfo;

impl Handler for GetHwInfo {
    type Cmd = iommu_hw_info;

    fn run(call: &mut Call<'_, iommu_hw_info>) -> Result<(), Refusal> {
        let (cmd, kernel) = (&mut call.cmd, call.task.kernel);
        let takes_type = kernel.has(Quirk::HwInfoInputType);
        let flags = if takes_type { IOMMU_HW_INFO_FLAG_INPUT_TYPE } else { 0 };
        unused("flags", (cmd.flags & !flags).into())?;
        let tells_pasid = kernel.has(Quirk::HwInfoPasid);
        if !tells_pasid {
            unused("__reserved", cmd.out_max_pasid_log2.into())?;
        }
        for byte in cmd.__reserved {
            unused("__reserved", byte.into())?;
        }
        let typed = cmd.flags & IOMMU_HW_INFO_FLAG_INPUT_TYPE != 0;
        let wanted = if typed { cmd.in_data_type() } else { IOMMU_HW_INFO_TYPE_DEFAULT };
        let state = call.context.state.lock();
        let device = state.objects.get::<Device>(cmd.dev_id)?;
        let info = device.hw.hw_info(&device.hw_state, wanted)?;
        call.task.allocate()?;
        copy_padded(&call.task, &info.data, cmd.data_uptr, cmd.data_len)?;
        cmd.data_len = info.data.len() as u32;
        cmd.out_data_type = info.kind;
        cmd.out_capabilities = info.capabilities & capabilities(kernel);
        cmd.out_max_pasid_log2 = if tells_pasid { info.max_pasid_log2 } else { 0 };
        call.answer = Answer::Whole;
        Ok(())
    }
}

/// The capabilities that a kernel tells.
fn capabilities(kernel: &Kernel) -> u64 {
    let pasid = IOMMU_HW_CAP_PCI_PASID_EXEC | IOMMU_HW_CAP_PCI_PASID_PRIV;
    let later =
        [(Quirk::HwInfoPasid, pasid), (Quirk::HwInfoAts, IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED)];
    let known = later.iter().filter(|(quirk, _)| kernel.has(*quirk));
    known.fold(IOMMU_HW_CAP_DIRTY_TRACKING, |all, (_, some)| all | some)
}

/// Copies data to a buffer of another length, cut or filled with zeros.
fn copy_padded(task: &Task<'_>, data: &[u8], va: u64, length: u32) -> Result<(), Refusal> {
    const ZEROS: [u8; 4096] = [0; 4096];
    let bad = Refusal::bad("data_uptr");
    let given = data.len().min(length as usize);
    task.memory().write(va, &data[..given]).map_err(&bad)?;
    let mut done = given as u64;
    while done < u64::from(length) {
        let chunk = (u64::from(length) - done).min(ZEROS.len() as u64);
        let at = va.wrapping_add(done);
        task.memory().write(at, &ZEROS[..chunk as usize]).map_err(&bad)?;
        done += chunk;
    }
    Ok(())
}
