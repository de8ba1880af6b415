//! Accesses: reading, writing and pinning an IOAS as a driver without DMA does.

use std::sync::Arc;

use mem::PAGE_SIZE;
use uapi::selftest::*;

use super::TestCall;
use crate::access::Access;
use crate::call::{Answer, Undo};
use crate::context::Context;
use crate::file::{AccessFile, Kind};
use crate::ioas::Ioas;
use crate::objects::ObjectId;
use crate::pages::{Copy, user_page};
use crate::state::State;
use crate::task::Task;
use crate::{File, Refusal};

/// The most bytes that one operation touches.
const MAX_BYTES: u64 = 16 << 20;

pub(super) fn create(call: &mut TestCall<'_>) -> Result<(), Refusal> {
    let args: iommu_test_create_access = call.cmd.args_as();
    let unknown = args.flags & !MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES;
    if unknown != 0 {
        return Err(Refusal::Unsupported { field: "flags", value: unknown.into() });
    }
    call.task.allocate()?;
    let pins = args.flags & MOCK_FLAGS_ACCESS_CREATE_NEEDS_PIN_PAGES != 0;
    let context = Arc::clone(call.context);
    let object = {
        let mut state = context.state.lock();
        call.task.allocate()?;
        let access = state.objects.add(Access::new(if pins { PAGE_SIZE } else { 1 }, false));
        state.objects.hold(access);
        let attached = attach(&mut state, &mut call.task, access, call.cmd.id);
        attached.inspect_err(|_| state.destroy(access))?;
        state.objects.handle(access)
    };
    call.publish_on_success(object.id);
    let file = File::new(Kind::Access(AccessFile { context, object }));
    call.install(file, |cmd, fd| {
        let mut args: iommu_test_create_access = cmd.args_as();
        args.out_access_fd = fd.cast_unsigned();
        cmd.set_args(&args);
        None
    });
    call.answer = Answer::Whole;
    Ok(())
}

/// `iommufd_access_change_ioas_id`
fn attach(
    state: &mut State,
    task: &mut Task<'_>,
    access: ObjectId,
    ioas: u32,
) -> Result<(), Refusal> {
    state.objects.get::<Ioas>(ioas)?;
    state.access_change_ioas(task, access, Some(ObjectId(ioas)))
}

/// An access file of the caller.
fn access_file(call: &mut TestCall<'_>) -> Result<File, Refusal> {
    let fd = call.cmd.id.cast_signed();
    let file = call.task.caller.file(fd);
    let file = file.filter(|file| matches!(&*file.0, Kind::Access(_)));
    file.ok_or(Refusal::WrongFile { fd, wanted: "access" })
}

/// The context and the object of an access file.
fn parts(file: &File) -> Result<(&Arc<Context>, ObjectId), Refusal> {
    match &*file.0 {
        Kind::Access(file) => Ok((&file.context, file.object.id)),
        _ => Err(Refusal::WrongFile { fd: -1, wanted: "access" }),
    }
}

/// The IOAS that an access is connected to.
fn ioas_of(state: &State, access: ObjectId) -> Result<ObjectId, Refusal> {
    let connected = state.objects.at::<Access>(access).ioas;
    connected.map(|(ioas, _)| ioas).ok_or(Refusal::NotFound { what: "IOAS of access", value: 0 })
}

pub(super) fn replace_ioas(call: &mut TestCall<'_>) -> Result<(), Refusal> {
    let ioas = call.cmd.args_as::<iommu_test_access_replace_ioas>().ioas_id;
    let file = access_file(call)?;
    let (context, access) = parts(&file)?;
    let mut state = context.state.lock();
    ioas_of(&state, access)?;
    attach(&mut state, &mut call.task, access, ioas)
}

fn checked(length: u64, flags: u32, known: u32) -> Result<(), Refusal> {
    if length > MAX_BYTES {
        return Err(Refusal::NoMemory);
    }
    if flags & !known != 0 {
        return Err(Refusal::Unsupported { field: "flags", value: flags.into() });
    }
    Ok(())
}

/// The IOVA that the caller means, which a fuzzer gives as a number of an area.
fn real_iova(state: &State, access: ObjectId, iova: u64, flags: u32) -> u64 {
    if flags & MOCK_FLAGS_ACCESS_SYZ == 0 {
        return iova;
    }
    match ioas_of(state, access) {
        Ok(ioas) => state.objects.at::<Ioas>(ioas).nth_area(iova),
        Err(_) => 0,
    }
}

/// Pins a range, and compares its pages with those at an address (`iommufd_test_access_pages`).
pub(super) fn pages(call: &mut TestCall<'_>) -> Result<(), Refusal> {
    let mut args: iommu_test_access_pages = call.cmd.args_as();
    checked(args.length, args.flags, MOCK_FLAGS_ACCESS_WRITE | MOCK_FLAGS_ACCESS_SYZ)?;
    let file = access_file(call)?;
    let (context, access) = parts(&file)?;
    let mut state = context.state.lock();
    if state.objects.at::<Access>(access).alignment != PAGE_SIZE {
        return Err(Refusal::Unsupported { field: "access", value: access.0.into() });
    }
    let iova = real_iova(&state, access, args.iova, args.flags);
    call.task.allocate()?;
    crate::ioas::map::last_byte("iova", iova, args.length)?;
    let ioas_id = ioas_of(&state, access)?;
    let ioas = state.objects.at_mut::<Ioas>(ioas_id);
    let write = args.flags & MOCK_FLAGS_ACCESS_WRITE != 0;
    let range = ioas.access_pin(&mut call.task, iova, args.length, write, false)?;
    if args.uptr != 0 {
        let start = args.uptr.wrapping_sub(iova % PAGE_SIZE);
        for (index, (page, _)) in (0..).zip(ioas.access_pages(&range)) {
            let at = start.wrapping_add(index * PAGE_SIZE);
            let compared = user_page(&call.task, at)
                .and_then(|there| if there == page { Ok(()) } else { Err(Refusal::OtherPages) });
            compared.inspect_err(|_| ioas.access_unpin(&range))?;
        }
    }
    let it = state.objects.at_mut::<Access>(access);
    let item = it.next_item;
    it.next_item += 1;
    it.items.insert(item, range);
    args.out_access_pages_id = item;
    call.cmd.set_args(&args);
    if Arc::ptr_eq(context, call.context) {
        call.undo_on_failure(Undo::AccessItem { access, item });
    }
    call.answer = Answer::Whole;
    Ok(())
}

pub(super) fn destroy_pages(call: &mut TestCall<'_>) -> Result<(), Refusal> {
    let item = call.cmd.args_as::<iommu_test_destroy_access_pages>().access_pages_id;
    let file = access_file(call)?;
    let (context, access) = parts(&file)?;
    if context.state.lock().access_drop_item(access, item) {
        Ok(())
    } else {
        Err(Refusal::NotFound { what: "item", value: item.into() })
    }
}

/// Copies between a range and an address (`iommufd_test_access_rw`).
pub(super) fn rw(call: &mut TestCall<'_>) -> Result<(), Refusal> {
    let args: iommu_test_access_rw = call.cmd.args_as();
    let known = MOCK_ACCESS_RW_WRITE | MOCK_ACCESS_RW_SLOW_PATH | MOCK_FLAGS_ACCESS_SYZ;
    checked(args.length, args.flags, known)?;
    let file = access_file(call)?;
    let (context, access) = parts(&file)?;
    let write = args.flags & MOCK_ACCESS_RW_WRITE != 0;
    let slow = args.flags & MOCK_ACCESS_RW_SLOW_PATH != 0;
    call.task.allocate()?;
    let mut buffer = vec![0; args.length as usize];
    if write {
        call.task.memory().read(args.uptr, &mut buffer).map_err(Refusal::bad("uptr"))?;
    }
    let state = context.state.lock();
    let iova = real_iova(&state, access, args.iova, args.flags);
    crate::ioas::map::last_byte("iova", iova, args.length)?;
    let ioas = state.objects.at::<Ioas>(ioas_of(&state, access)?);
    let copy = if write { Copy::Write(&buffer) } else { Copy::Read(&mut buffer) };
    ioas.access_rw(&mut call.task, iova, copy, slow)?;
    if !write {
        call.task.memory().write(args.uptr, &buffer).map_err(Refusal::bad("uptr"))?;
    }
    Ok(())
}
