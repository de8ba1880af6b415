//! `IOMMU_TEST_CMD`: the kernel's own test operations (`drivers/iommu/iommufd/selftest.c`).

mod access;
mod check;
mod mock;

use uapi::selftest::*;

use crate::Refusal;
use crate::call::{Call, Handler};

type TestCall<'a> = Call<'a, iommu_test_cmd>;

pub(crate) struct Test;

impl Handler for Test {
    type Cmd = iommu_test_cmd;

    #[rustfmt::skip] // one operation, one line
    fn run(call: &mut TestCall<'_>) -> Result<(), Refusal> {
        let generation = call.task.kernel.generation();
        let since = OPERATIONS.iter().find(|(op, _)| *op == call.cmd.op).map(|(_, since)| *since);
        if since.is_none_or(|since| generation < since) {
            return Err(Refusal::Unsupported { field: "op", value: call.cmd.op.into() });
        }
        match call.cmd.op {
            IOMMU_TEST_OP_ADD_RESERVED         => mock::add_reserved(call),
            IOMMU_TEST_OP_MOCK_DOMAIN          => mock::mock_domain(call, 0),
            IOMMU_TEST_OP_MOCK_DOMAIN_FLAGS    => {
                let flags = call.cmd.args_as::<iommu_test_mock_domain_flags>().dev_flags;
                mock::mock_domain(call, flags)
            }
            IOMMU_TEST_OP_MOCK_DOMAIN_REPLACE  => mock::replace(call),
            IOMMU_TEST_OP_MD_CHECK_MAP         => check::map(call),
            IOMMU_TEST_OP_MD_CHECK_REFS        => check::refs(call),
            IOMMU_TEST_OP_MD_CHECK_IOTLB       => check::iotlb(call),
            IOMMU_TEST_OP_DEV_CHECK_CACHE      => check::cache(call),
            IOMMU_TEST_OP_CREATE_ACCESS        => access::create(call),
            IOMMU_TEST_OP_ACCESS_REPLACE_IOAS  => access::replace_ioas(call),
            IOMMU_TEST_OP_ACCESS_PAGES         => access::pages(call),
            IOMMU_TEST_OP_ACCESS_RW            => access::rw(call),
            IOMMU_TEST_OP_DESTROY_ACCESS_PAGES => access::destroy_pages(call),
            IOMMU_TEST_OP_SET_TEMP_MEMORY_LIMIT => memory_limit(call),
            IOMMU_TEST_OP_DIRTY                => check::dirty(call),
            IOMMU_TEST_OP_TRIGGER_IOPF         => mock::trigger_iopf(call),
            IOMMU_TEST_OP_TRIGGER_VEVENT       => mock::trigger_vevent(call),
            IOMMU_TEST_OP_PASID_ATTACH         => mock::pasid_attach(call),
            IOMMU_TEST_OP_PASID_REPLACE        => mock::pasid_replace(call),
            IOMMU_TEST_OP_PASID_DETACH         => mock::pasid_detach(call),
            IOMMU_TEST_OP_PASID_CHECK_HWPT     => check::pasid_hwpt(call),
            IOMMU_TEST_OP_DMABUF_GET           => mock::dmabuf_get(call),
            IOMMU_TEST_OP_DMABUF_REVOKE        => mock::dmabuf_revoke(call),
            other => Err(Refusal::Unsupported { field: "op", value: other.into() }),
        }
    }
}

/// Linux limits the batches in which it pins; there are none here, so only the check remains.
fn memory_limit(call: &mut TestCall<'_>) -> Result<(), Refusal> {
    let limit = call.cmd.args_as::<iommu_test_memory_limit>().limit;
    if limit < 12 {
        let rule = "shorter than one element of a batch";
        return Err(Refusal::Invalid { field: "limit", value: limit.into(), rule });
    }
    Ok(())
}
