//! The one path of every command (`drivers/iommu/iommufd/main.c`, `iommufd_fops_ioctl`).
//!
//! What is the same for all is done here once, in the kernel's order: which command, how large, the
//! tail, copying in, then the handler, then new descriptors, copying out, and publishing what was
//! made. A handler only says what its own command does.

use std::sync::Arc;

use profile::Kernel;
use uapi::command::_IO;
use uapi::command::{IOMMUFD_CMD_BASE, IOMMUFD_TYPE};
use uapi::{Command, Generation};

use crate::commands;
use crate::context::Context;
use crate::device::Device;
use crate::objects::ObjectId;
use crate::task::{Task, load_struct};
use crate::{Caller, File, Refusal};

/// A command and what it does.
pub(crate) trait Handler {
    /// The argument, with the command's number and sizes.
    type Cmd: Command;

    /// Whether the answer is copied out although the call is refused.
    const ANSWERS_REFUSED: bool = false;

    fn run(call: &mut Call<'_, Self::Cmd>) -> Result<(), Refusal>;
}

/// How much of the argument is copied out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Nothing,
    Whole,
    /// The bytes from this offset to the end.
    From(usize),
}

/// What must be undone when the answer cannot be delivered.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Undo {
    Object(ObjectId),
    Pasid { device: ObjectId, pasid: u32 },
    AccessItem { access: ObjectId, item: u32 },
}

/// A call under way.
pub(crate) struct Call<'a, C> {
    pub cmd: C,
    pub task: Task<'a>,
    pub context: &'a Arc<Context>,
    pub answer: Answer,
    /// What the system call returns.
    pub result: i64,
    undo: Vec<Undo>,
    install: Option<Install<C>>,
}

/// A file for the caller, and where its descriptor goes.
struct Install<C> {
    file: File,
    tell: fn(&mut C, i32) -> Option<i64>,
}

impl<C> Call<'_, C> {
    /// The object shall be published when the call succeeds, and ended when not.
    pub fn publish_on_success(&mut self, id: ObjectId) {
        self.undo.push(Undo::Object(id));
    }

    /// Adds something to undo when the answer cannot be delivered.
    pub fn undo_on_failure(&mut self, undo: Undo) {
        self.undo.push(undo);
    }

    /// Gives the caller a descriptor when the rest is done. `tell` writes its number into the
    /// command, or returns it as the result of the call.
    pub fn install(&mut self, file: File, tell: fn(&mut C, i32) -> Option<i64>) {
        self.install = Some(Install { file, tell });
    }
}

/// A command with its argument.
type Run = fn(&Arc<Context>, &mut dyn Caller, Argument) -> Result<i64, Refusal>;

/// Where the argument is, how large the caller says it is, and how large this kernel knows it.
#[derive(Clone, Copy, Debug)]
struct Argument {
    va: u64,
    size: u32,
    known: usize,
}

impl Argument {
    /// How many bytes the caller gets back at most.
    fn answered(&self) -> usize {
        self.known.min(self.size as usize)
    }
}

/// An entry of the table of commands.
pub(crate) struct Entry {
    pub nr: u8,
    ioctl: u32,
    min_size_in: fn(Generation) -> usize,
    size_in: fn(Generation) -> Option<usize>,
    run: Run,
}

impl Entry {
    pub const fn of<H: Handler>() -> Self {
        Self {
            nr: H::Cmd::NR,
            ioctl: _IO(IOMMUFD_TYPE, H::Cmd::NR),
            min_size_in: H::Cmd::min_size_in,
            size_in: H::Cmd::size_in,
            run: execute::<H>,
        }
    }

    /// The size of the argument that a kernel knows, if it knows the command.
    pub fn size_in(&self, kernel: &Kernel) -> Option<usize> {
        (self.size_in)(kernel.generation())
    }
}

/// `ioctl(2)` on a context.
pub(crate) fn ioctl(
    context: &Arc<Context>,
    caller: &mut dyn Caller,
    cmd: u32,
    arg: u64,
) -> Result<i64, Refusal> {
    let nr = cmd as u8;
    if nr < IOMMUFD_CMD_BASE || nr > commands::last_nr(context) {
        return commands::vfio_compat::ioctl(context, caller, cmd, arg);
    }
    let mut size = [0; 4];
    caller.memory().read(arg, &mut size).map_err(Refusal::bad("argument"))?;
    let size = u32::from_ne_bytes(size);
    let entry = commands::entry(context, nr).filter(|(entry, _)| entry.ioctl == cmd);
    let (entry, known) = entry.ok_or(Refusal::UnknownCommand { cmd })?;
    let min = (entry.min_size_in)(context.engine.kernel.generation());
    if (size as usize) < min {
        return Err(Refusal::TooShort { size, min });
    }
    (entry.run)(context, caller, Argument { va: arg, size, known })
}

fn execute<H: Handler>(
    context: &Arc<Context>,
    caller: &mut dyn Caller,
    argument: Argument,
) -> Result<i64, Refusal> {
    let Argument { va, size, known } = argument;
    let cmd = load_struct::<H::Cmd>(&**caller.memory(), va, size as usize, known, "argument")?;
    let mut call = Call {
        cmd,
        task: context.task(caller),
        context,
        answer: Answer::Nothing,
        result: 0,
        undo: Vec::new(),
        install: None,
    };
    let done = H::run(&mut call);
    let done = match done {
        Err(refusal) if H::ANSWERS_REFUSED => respond(&mut call, argument).and(Err(refusal)),
        Err(refusal) => Err(refusal),
        Ok(()) => deliver(&mut call, argument),
    };
    finish(&mut call, done.is_ok());
    done.map(|()| call.result)
}

/// Gives the caller its descriptor and its answer.
fn deliver<C: Command>(call: &mut Call<'_, C>, argument: Argument) -> Result<(), Refusal> {
    let Some(Install { file, tell }) = call.install.take() else {
        return respond(call, argument);
    };
    let installed = call.task.caller.install(file);
    let fd = installed.map_err(|errno| Refusal::NoDescriptor { errno })?;
    if let Some(result) = tell(&mut call.cmd, fd) {
        call.result = result;
    }
    respond(call, argument).inspect_err(|_| call.task.caller.uninstall(fd))
}

/// `iommufd_ucmd_respond`: the caller gets as much as it knows.
fn respond<C: Command>(call: &mut Call<'_, C>, argument: Argument) -> Result<(), Refusal> {
    let bytes = call.cmd.as_bytes();
    let (start, end) = match call.answer {
        Answer::Nothing => return Ok(()),
        Answer::Whole => (0, argument.answered()),
        Answer::From(start) => (start, argument.known),
    };
    let at = argument.va.wrapping_add(start as u64);
    call.task.memory().write(at, &bytes[start..end]).map_err(Refusal::bad("argument"))
}

/// Publishes what the call made, or undoes it.
fn finish<C>(call: &mut Call<'_, C>, succeeded: bool) {
    if call.undo.is_empty() {
        return;
    }
    let mut state = call.context.state.lock();
    for undo in call.undo.drain(..).rev() {
        match undo {
            Undo::Object(id) if succeeded => state.objects.publish(id),
            Undo::Object(id) => state.destroy(id),
            Undo::Pasid { device, pasid } if !succeeded => state.device_detach(device, pasid),
            Undo::AccessItem { access, item } if !succeeded => {
                state.access_drop_item(access, item);
            }
            Undo::Pasid { .. } | Undo::AccessItem { .. } => {}
        }
    }
}

/// The ID of a bound device that a caller named.
pub(crate) fn device_id(state: &crate::state::State, id: u32) -> Result<ObjectId, Refusal> {
    state.objects.get::<Device>(id).map(|_| ObjectId(id))
}
