//! Looking behind the user API: what a domain shows, who holds a page, what a register says.

use mem::PAGE_SIZE;
use profile::Quirk;
use uapi::selftest::*;

use super::TestCall;
use super::mock::device_of;
use crate::Refusal;
use crate::call::{Answer, device_id};
use crate::device::Device;
use crate::hw::{DeviceState, Nested};
use crate::hwpt::{NestedHwpt, PagingHwpt};
use crate::ioas::Ioas;
use crate::objects::ObjectId;
use crate::pages::user_page;
use crate::state::State;

/// The most pages that one operation marks dirty.
const DIRTY_MAX: u64 = (16 << 20) * 8;

fn unequal(field: &'static str, value: u64) -> Refusal {
    Refusal::Invalid { field, value, rule: "is not what the test expects" }
}

/// The IOAS of a paging hwpt and the place of its domain there.
fn domain(state: &State, hwpt: u32) -> Result<(ObjectId, usize), Refusal> {
    let ioas = state.objects.get::<PagingHwpt>(hwpt)?.ioas;
    let domains = &state.objects.at::<Ioas>(ioas).domains;
    let place = domains.iter().position(|domain| domain.hwpt == ObjectId(hwpt));
    place.map(|place| (ioas, place)).ok_or(unequal("id", hwpt.into()))
}

/// Every page shown at an IOVA must be the page at an address (`iommufd_test_md_check_pa`).
pub(super) fn map(call: &mut TestCall<'_>) -> Result<(), Refusal> {
    let args: iommu_test_check_map = call.cmd.args_as();
    let aligned = |step| {
        let aligned = (args.iova | args.length | args.uptr).is_multiple_of(step);
        let fits = args.uptr.checked_add(args.length).is_some();
        if aligned && fits { Ok(()) } else { Err(unequal("uptr", args.uptr)) }
    };
    if !call.task.has(Quirk::MockGenericPt) {
        aligned(MOCK_PAGE_SIZE)?;
    }
    let state = call.context.state.lock();
    let (ioas, domain) = domain(&state, call.cmd.id)?;
    let ioas = state.objects.at::<Ioas>(ioas);
    let step = ioas.domains[domain].granule();
    aligned(step)?;
    for at in (0..args.length).step_by(step as usize) {
        let page = user_page(&call.task, args.uptr + at)?;
        let wanted = (page, (args.uptr + at) % PAGE_SIZE);
        let iova = args.iova.wrapping_add(at);
        if ioas.translate(iova) != Some(wanted) {
            return Err(unequal("iova", iova));
        }
    }
    Ok(())
}

/// Every page must be held by so many (`iommufd_test_md_check_refs`).
pub(super) fn refs(call: &mut TestCall<'_>) -> Result<(), Refusal> {
    let args: iommu_test_check_refs = call.cmd.args_as();
    let aligned = (args.length | args.uptr).is_multiple_of(PAGE_SIZE);
    if !aligned || args.uptr.checked_add(args.length).is_none() {
        return Err(unequal("uptr", args.uptr));
    }
    for at in (0..args.length).step_by(PAGE_SIZE as usize) {
        let page = user_page(&call.task, args.uptr + at)?;
        if call.task.pins.count(page) != args.refs as usize {
            return Err(Refusal::Hardware { why: "another number of pins than the test expects" });
        }
    }
    Ok(())
}

pub(super) fn iotlb(call: &mut TestCall<'_>) -> Result<(), Refusal> {
    let args: iommu_test_check_iotlb = call.cmd.args_as();
    let state = call.context.state.lock();
    let Nested::Selftest(nested) = &state.objects.get::<NestedHwpt>(call.cmd.id)?.domain else {
        return Err(no_mock(call.cmd.id));
    };
    if nested.iotlb.get(args.id as usize) != Some(&args.iotlb) {
        return Err(unequal("iotlb", args.iotlb.into()));
    }
    Ok(())
}

pub(super) fn cache(call: &mut TestCall<'_>) -> Result<(), Refusal> {
    let args: iommu_test_check_dev_cache = call.cmd.args_as();
    let state = call.context.state.lock();
    let device = device_id(&state, call.cmd.id)?;
    let DeviceState::Selftest(mock) = &state.objects.at::<Device>(device).hw_state else {
        return Err(no_mock(call.cmd.id));
    };
    if mock.cache.get(args.id as usize) != Some(&args.cache) {
        return Err(unequal("cache", args.cache.into()));
    }
    Ok(())
}

fn no_mock(id: u32) -> Refusal {
    Refusal::Invalid { field: "id", value: id.into(), rule: "not of the mock device" }
}

pub(super) fn pasid_hwpt(call: &mut TestCall<'_>) -> Result<(), Refusal> {
    let args: iommu_test_pasid_check = call.cmd.args_as();
    let state = call.context.state.lock();
    let device = device_of(&state, call.cmd.id)?;
    let attached = state.objects.at::<Device>(device).attached.get(&args.pasid);
    let attached = attached.map(|attachment| attachment.hwpt);
    if args.hwpt_id != 0 {
        state.objects.find(args.hwpt_id)?;
        let id = ObjectId(args.hwpt_id);
        state.hwpt(id).ok_or(Refusal::WrongKind { wanted: "hwpt", id })?;
    }
    let wanted = (args.hwpt_id != 0).then_some(ObjectId(args.hwpt_id));
    if attached != wanted {
        return Err(unequal("hwpt_id", args.hwpt_id.into()));
    }
    Ok(())
}

/// Marks table entries dirty as a device's writes do (`iommufd_test_dirty`).
pub(super) fn dirty(call: &mut TestCall<'_>) -> Result<(), Refusal> {
    let mut args: iommu_test_dirty = call.cmd.args_as();
    let refuse = |field, value| Err(unequal(field, value));
    if args.page_size == 0 || !args.iova.is_multiple_of(args.page_size) {
        return refuse("page_size", args.page_size);
    }
    if args.length == 0 || !args.length.is_multiple_of(args.page_size) || args.uptr == 0 {
        return refuse("length", args.length);
    }
    let count = args.length / args.page_size;
    if count > DIRTY_MAX && call.task.has(Quirk::MockDirtyLimit) {
        return Err(Refusal::Overflow { field: "length", value: args.length });
    }
    let mut state = call.context.state.lock();
    let (ioas, domain) = domain(&state, call.cmd.id)?;
    let ioas = state.objects.at_mut::<Ioas>(ioas);
    if !ioas.domains[domain].dirty_tracking {
        return refuse("id", call.cmd.id.into());
    }
    call.task.allocate()?;
    let mut bits = vec![0_u8; count.div_ceil(8) as usize];
    call.task.memory().read(args.uptr, &mut bits).map_err(Refusal::bad("uptr"))?;
    let marked = (0..count).filter(|at| bits[*at as usize / 8] & (1 << (at % 8)) != 0);
    args.out_nr_dirty = 0;
    let generic = call.task.has(Quirk::MockGenericPt);
    for at in marked {
        let iova = args.iova.wrapping_add(at * args.page_size);
        // before generic_pt the entry was looked up by the number of the caller's page
        let iova = if generic { iova } else { iova / args.page_size * MOCK_PAGE_SIZE };
        if generic || ioas.area_at(iova).is_some() {
            ioas.mark_dirty(domain, iova);
            args.out_nr_dirty += 1;
        }
    }
    call.cmd.set_args(&args);
    call.answer = Answer::Whole;
    Ok(())
}
