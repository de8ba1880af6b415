//! `IOMMU_DESTROY`, `IOMMU_OPTION`, `IOMMU_VFIO_IOAS`.

use std::mem::offset_of;

use uapi::iommufd::{
    IOMMU_OPTION_HUGE_PAGES, IOMMU_OPTION_OP_GET, IOMMU_OPTION_OP_SET, IOMMU_OPTION_RLIMIT_MODE,
    IOMMU_VFIO_IOAS_CLEAR, IOMMU_VFIO_IOAS_GET, IOMMU_VFIO_IOAS_SET, iommu_destroy, iommu_option,
    iommu_vfio_ioas,
};

use crate::Refusal;
use crate::call::{Answer, Call, Handler};
use crate::ioas::Ioas;
use crate::objects::ObjectId;
use crate::pages::AccountMode;

pub(crate) struct Destroy;

impl Handler for Destroy {
    type Cmd = iommu_destroy;

    fn run(call: &mut Call<'_, iommu_destroy>) -> Result<(), Refusal> {
        call.context.state.lock().remove(call.task.caller, call.cmd.id)
    }
}

pub(crate) struct SetOption;

impl Handler for SetOption {
    type Cmd = iommu_option;

    fn run(call: &mut Call<'_, iommu_option>) -> Result<(), Refusal> {
        unused("__reserved", call.cmd.__reserved.into())?;
        match call.cmd.option_id {
            IOMMU_OPTION_RLIMIT_MODE => rlimit_mode(call)?,
            IOMMU_OPTION_HUGE_PAGES => huge_pages(call)?,
            other => {
                return Err(Refusal::Unsupported { field: "option_id", value: other.into() });
            }
        }
        call.answer = Answer::From(offset_of!(iommu_option, val64));
        Ok(())
    }
}

/// `iommufd_option_rlimit_mode`. Linux wants `CAP_SYS_RESOURCE` to set it; here everybody has it.
fn rlimit_mode(call: &mut Call<'_, iommu_option>) -> Result<(), Refusal> {
    let cmd = &mut call.cmd;
    unused("object_id", cmd.object_id.into())?;
    let mut state = call.context.state.lock();
    match cmd.op {
        IOMMU_OPTION_OP_GET => cmd.val64 = (state.account == AccountMode::Mm).into(),
        IOMMU_OPTION_OP_SET => {
            if !state.objects.is_empty() {
                return Err(Refusal::Busy { what: "the context", why: "it has objects" });
            }
            state.account = match cmd.val64 {
                0 => AccountMode::User,
                1 => AccountMode::Mm,
                value => {
                    let rule = "must be 0 or 1";
                    return Err(Refusal::Invalid { field: "val64", value, rule });
                }
            };
        }
        other => return Err(Refusal::Unsupported { field: "op", value: other.into() }),
    }
    Ok(())
}

/// `iommufd_ioas_option_huge_pages`
fn huge_pages(call: &mut Call<'_, iommu_option>) -> Result<(), Refusal> {
    let cmd = &mut call.cmd;
    let mut state = call.context.state.lock();
    let ioas = state.objects.get_mut::<Ioas>(cmd.object_id)?;
    match (cmd.op, cmd.val64) {
        (IOMMU_OPTION_OP_GET, _) => {
            cmd.val64 = ioas.large_pages.into();
            Ok(())
        }
        (IOMMU_OPTION_OP_SET, 0) => ioas.set_large_pages(false),
        (IOMMU_OPTION_OP_SET, 1) => ioas.set_large_pages(true),
        (IOMMU_OPTION_OP_SET, value) => {
            Err(Refusal::Invalid { field: "val64", value, rule: "must be 0 or 1" })
        }
        (other, _) => Err(Refusal::Unsupported { field: "op", value: other.into() }),
    }
}

pub(crate) struct VfioIoas;

impl Handler for VfioIoas {
    type Cmd = iommu_vfio_ioas;

    fn run(call: &mut Call<'_, iommu_vfio_ioas>) -> Result<(), Refusal> {
        unused("__reserved", call.cmd.__reserved.into())?;
        let mut state = call.context.state.lock();
        match call.cmd.op {
            IOMMU_VFIO_IOAS_GET => {
                call.cmd.ioas_id = state.compat_ioas()?.0;
                call.answer = Answer::Whole;
            }
            IOMMU_VFIO_IOAS_SET => {
                state.objects.get::<Ioas>(call.cmd.ioas_id)?;
                state.vfio_ioas = Some(ObjectId(call.cmd.ioas_id));
            }
            IOMMU_VFIO_IOAS_CLEAR => state.vfio_ioas = None,
            other => return Err(Refusal::Unsupported { field: "op", value: other.into() }),
        }
        Ok(())
    }
}

/// A field that must be 0 because nothing is known that it could mean.
pub(super) fn unused(field: &'static str, value: u64) -> Result<(), Refusal> {
    if value == 0 { Ok(()) } else { Err(Refusal::Unsupported { field, value }) }
}
