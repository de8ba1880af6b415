//! What each request of the shim means.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use engine::File;
use mem::process::Process;
use mem::{AddressSpace, SharedFile};
use parking_lot::Mutex;
use profile::machine::Bdf;
use rustix::fs::{Mode, OFlags};
use uapi::Errno;
use wire::message::{Answer, Buffer, Node, Operation, Request, TRAPPED, Task as Named};

use crate::caller::Remote;
use crate::failnth::{self, Thread};
use crate::files::Kind;
use crate::server::{Shared, answer, refused};
use crate::status;

/// The longest array of `struct iovec` (`UIO_MAXIOV`).
const IOV_MAX: u64 = 1024;
/// Where addresses of programs end that ask for no higher ones (`DEFAULT_MAP_WINDOW`).
const ADDRESSES: u64 = 1 << 47;

/// Another descriptor of a memory file, by which it cannot be written, nor mapped to be written.
fn read_only(object: &SharedFile) -> rustix::io::Result<OwnedFd> {
    let name = format!("/proc/self/fd/{}", object.as_fd().as_raw_fd());
    rustix::fs::open(name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

/// The answer to `fstat(2)`.
fn identity(node: Option<Node>) -> Answer {
    node.and_then(Node::value).map_or_else(Answer::not_ours, Answer::done)
}

/// Who calls.
pub(crate) struct Task<'a> {
    pub(crate) shared: &'a Shared,
    pub(crate) process: &'a Arc<Process>,
    pub(crate) space: &'a Arc<dyn AddressSpace>,
}

/// How a call ended, and the descriptor that goes with it.
type Reply = (Answer, Option<OwnedFd>);

impl Task<'_> {
    /// The answer to a request; none to nonsense.
    pub(crate) fn answer(&self, request: &Request, attached: Option<OwnedFd>) -> Option<Reply> {
        let operation = request.operation()?;
        let pid = self.process.pid().as_raw_nonzero().get().unsigned_abs();
        let thread = (pid, request.tid);
        let mut caller =
            Remote::new(self.shared, self.process, self.space, thread, request.reserved);
        match operation {
            Operation::Open(node) => return Some(self.open(&mut caller, node, pid)),
            Operation::Register => {
                if let Some(fd) = attached {
                    self.shared.objects.register(fd);
                }
                return Some((Answer::done(0), None));
            }
            _ => {}
        }
        let Some(file) = self.shared.files.get(request.cookie) else {
            return Some((Answer::not_ours(), None));
        };
        file.readiness.seen(self.process, request.fd);
        let answer = match &file.kind {
            Kind::Engine(_, node) if operation == Operation::Identify => identity(*node),
            Kind::Engine(engine, _) => self.on_engine(&mut caller, engine, operation),
            Kind::FailNth(thread, position) => self.on_fail_nth(*thread, position, operation),
            Kind::VirtualFunctions(physical, position) => {
                self.on_virtual_functions(*physical, position, operation)
            }
        };
        self.shared.files.settle();
        let accounts = self.space.accounts();
        if [&accounts.pinned_vm, &accounts.locked_vm]
            .iter()
            .any(|it| it.load(Ordering::Relaxed) > 0)
        {
            self.shared.page.set_charged();
        }
        Some((answer, caller.outgoing.take()))
    }

    fn open(&self, caller: &mut Remote<'_>, node: Node, pid: u32) -> Reply {
        let result = match node {
            Node::Iommu => self.open_engine(caller, node, engine::Node::Iommu),
            Node::VfioContainer => self.open_engine(caller, node, engine::Node::VfioContainer),
            Node::VfioGroup(it) => self.open_engine(caller, node, engine::Node::VfioGroup(it)),
            Node::VfioDevice(it) => self.open_engine(caller, node, engine::Node::VfioDevice(it)),
            Node::FailNth(named) => self.open_fail_nth(caller, named, pid),
            Node::Status(named) => return self.open_status(named, pid),
            Node::VirtualFunctions(address) => self.open_virtual_functions(caller, address),
        };
        match result {
            Ok(()) => (Answer::done(0), caller.outgoing.take()),
            Err(errno) => (refused(errno), None),
        }
    }

    fn open_engine(
        &self,
        caller: &mut Remote<'_>,
        name: Node,
        node: engine::Node,
    ) -> Result<(), Errno> {
        let file = self.shared.engine.open(caller, node).map_err(|refusal| refusal.errno())?;
        caller.send(Kind::Engine(file, Some(name))).map(drop)
    }

    fn open_fail_nth(&self, caller: &mut Remote<'_>, named: Named, pid: u32) -> Result<(), Errno> {
        let pid = named.pid.unwrap_or(pid);
        let thread = (pid, named.tid.unwrap_or(pid));
        if !self.shared.engine.machine().test_command || !failnth::exists(thread) {
            return Err(Errno::ENOENT);
        }
        caller.send(Kind::FailNth(thread, Default::default())).map(drop)
    }

    fn open_virtual_functions(&self, caller: &mut Remote<'_>, address: u32) -> Result<(), Errno> {
        let [bus, rest] = (address as u16).to_be_bytes();
        let segment = (address >> 16) as u16;
        let physical = Bdf { segment, bus, device: rest >> 3, function: rest & 7 };
        self.shared.engine.virtual_functions(physical).ok_or(Errno::ENOENT)?;
        caller.send(Kind::VirtualFunctions(physical, Mutex::default())).map(drop)
    }

    /// The charged copy of a process's `status`; the kernel's own where nobody is charged.
    fn open_status(&self, named: Named, pid: u32) -> Reply {
        let wanted = named.pid.unwrap_or(pid);
        let space = self.shared.space_of(wanted);
        let copy = space.and_then(|space| status::open(wanted, space.accounts()).ok());
        match copy {
            Some(copy) => (Answer::done(0), Some(copy)),
            None => (Answer::not_ours(), None),
        }
    }

    fn on_engine(&self, caller: &mut Remote<'_>, file: &File, operation: Operation) -> Answer {
        match operation {
            Operation::Ioctl { cmd, arg } => answer(file.ioctl(caller, cmd, arg)),
            Operation::Read { at: Some(_), .. } | Operation::Write { at: Some(_), .. }
                if !file.has_positions() =>
            {
                refused(Errno::ESPIPE)
            }
            Operation::Read { buffer, at } => self.each(buffer, at, |va, count, at| {
                answer(file.read(caller, va, count, at).map(u64::cast_signed))
            }),
            Operation::Write { buffer, at } => self.each(buffer, at, |va, count, at| {
                answer(file.write(caller, va, count, at).map(u64::cast_signed))
            }),
            Operation::Mmap { offset, length, prot, flags } => {
                self.mmap(caller, file, (offset, length), prot, flags)
            }
            // KVM notes that the file is one of its machine's, which nothing here depends on
            Operation::KvmFile if file.is_vfio() => Answer::done(0),
            Operation::KvmFile => refused(Errno::EINVAL),
            Operation::Store { at, bytes } => answer(file.store(at, bytes.bytes()).map(|()| 0)),
            Operation::Enqueue { at, command } => answer(file.enqueue(at, &command).map(i64::from)),
            Operation::Open(_) | Operation::Register | Operation::Identify => Answer::not_ours(),
        }
    }

    fn mmap(
        &self,
        caller: &mut Remote<'_>,
        file: &File,
        (offset, length): (u64, u64),
        prot: u32,
        flags: u32,
    ) -> Answer {
        let shared = flags & libc::MAP_TYPE.cast_unsigned() != libc::MAP_PRIVATE.cast_unsigned();
        let exec = prot & libc::PROT_EXEC.cast_unsigned() != 0;
        // do_mmap looks for room before the file is asked
        let length = length.checked_next_multiple_of(mem::PAGE_SIZE);
        let Some(length) = length.filter(|length| *length < ADDRESSES) else {
            return refused(Errno::ENOMEM);
        };
        let mapping = match file.mmap(offset, length, shared, exec) {
            Ok(mapping) => mapping,
            Err(refusal) => return refused(refusal.errno()),
        };
        let object = match mapping.trapped {
            true => read_only(&mapping.object),
            false => rustix::io::fcntl_dupfd_cloexec(&*mapping.object, 0),
        };
        match object {
            Ok(fd) => {
                caller.outgoing = Some(fd);
                let mut answer = Answer::done(if mapping.trapped { TRAPPED } else { 0 });
                answer.extra = mapping.offset;
                answer
            }
            Err(_) => refused(Errno::ENFILE),
        }
    }

    /// Makes a transfer of one buffer, or of each of an array until one is not filled. A position moves
    /// on with them.
    fn each(
        &self,
        buffer: Buffer,
        at: Option<u64>,
        mut transfer: impl FnMut(u64, u64, Option<u64>) -> Answer,
    ) -> Answer {
        let (va, count) = match buffer {
            Buffer::Plain { va, count } => return transfer(va, count, at),
            Buffer::Vector { va, count } => (va, count),
        };
        if count > IOV_MAX {
            return refused(Errno::EINVAL);
        }
        let mut bytes = vec![0; count as usize * 16];
        if self.space.read(va, &mut bytes).is_err() {
            return refused(Errno::EFAULT);
        }
        let mut total = 0_i64;
        for vector in bytes.chunks_exact(16) {
            let word = |at: usize| {
                let mut word = [0; 8];
                word.copy_from_slice(&vector[at..at + 8]);
                u64::from_ne_bytes(word)
            };
            let at = at.map(|at| at.saturating_add(total.cast_unsigned()));
            let done = transfer(word(0), word(8), at);
            match done.verdict() {
                wire::message::Verdict::Done => total += done.value,
                _ if total == 0 => return done,
                _ => break,
            }
            if done.value.cast_unsigned() < word(8) {
                break;
            }
        }
        Answer::done(total)
    }

    /// Reads the text of a file that has a position, from there or from `at`.
    fn read_text(
        &self,
        text: &str,
        position: &Mutex<u64>,
        (va, count): (u64, u64),
        at: Option<u64>,
    ) -> Answer {
        let mut position = position.lock();
        let start = (at.unwrap_or(*position) as usize).min(text.len());
        let end = text.len().min(start.saturating_add(count as usize));
        if self.space.write(va, &text.as_bytes()[start..end]).is_err() {
            return refused(Errno::EFAULT);
        }
        if at.is_none() {
            *position = end as u64;
        }
        Answer::done((end - start) as i64)
    }

    /// `sriov_numvfs_show` and `sriov_numvfs_store`, as a file of sysfs calls them: in one piece.
    fn on_virtual_functions(
        &self,
        physical: Bdf,
        position: &Mutex<u64>,
        operation: Operation,
    ) -> Answer {
        match operation {
            Operation::Read { buffer: Buffer::Plain { va, count }, at } => {
                let number = self.shared.engine.virtual_functions(physical).unwrap_or(0);
                self.read_text(&format!("{number}\n"), position, (va, count), at)
            }
            Operation::Write { buffer: Buffer::Plain { va, count }, at } => {
                let mut text = [0; 16];
                let length = (count as usize).min(text.len());
                if self.space.read(va, &mut text[..length]).is_err() {
                    return refused(Errno::EFAULT);
                }
                let number =
                    failnth::parse(&text[..length]).ok().and_then(|it| u16::try_from(it).ok());
                let Some(number) = number else { return refused(Errno::EINVAL) };
                if let Err(errno) = self.shared.set_virtual_functions(physical, number) {
                    return refused(errno);
                }
                if at.is_none() {
                    let mut position = position.lock();
                    *position = position.saturating_add(count);
                }
                Answer::done(count as i64)
            }
            Operation::Ioctl { .. } => refused(Errno::ENOTTY),
            _ => refused(Errno::EINVAL),
        }
    }

    fn on_fail_nth(&self, thread: Thread, position: &Mutex<u64>, operation: Operation) -> Answer {
        match operation {
            Operation::Read { buffer: Buffer::Plain { va, count }, at } => {
                let text = format!("{}\n", self.shared.failnth.left(thread));
                self.read_text(&text, position, (va, count), at)
            }
            Operation::Write { buffer: Buffer::Plain { va, count }, .. } => {
                let mut text = [0; 16];
                let length = (count as usize).min(text.len() - 1);
                if self.space.read(va, &mut text[..length]).is_err() {
                    return refused(Errno::EFAULT);
                }
                match failnth::parse(&text[..length]) {
                    Ok(left) => {
                        self.shared.failnth.set(thread, left);
                        Answer::done(count as i64)
                    }
                    Err(errno) => refused(errno),
                }
            }
            Operation::Ioctl { .. } => refused(Errno::ENOTTY),
            _ => refused(Errno::EINVAL),
        }
    }
}
