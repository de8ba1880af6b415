//! A program that is not there.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use engine::{Caller, Engine, File, Node, Refusal, Told, Trigger, Watched};
use mem::{AddressSpace, PAGE_SIZE, SharedFile};
use parking_lot::Mutex;
use profile::{Kernel, Machine};
use uapi::{Command, Errno};

use crate::FakeMemory;

/// Where [`Client`] puts arguments: two pages, so that one can lie across their border.
const ARGUMENTS: u64 = 0x10_0000;

/// A program: its memory, its descriptors, and the failures that a test wants.
#[derive(Debug)]
pub struct Client {
    /// Its memory.
    pub memory: Arc<FakeMemory>,
    space: Arc<dyn AddressSpace>,
    files: BTreeMap<i32, File>,
    counters: BTreeMap<i32, Arc<Counter>>,
    /// Descriptors of files that are neither ours nor eventfds nor memory.
    others: BTreeSet<i32>,
    /// How many descriptors it may have.
    pub descriptor_limit: usize,
    /// How many allocations succeed before one fails; none lets all succeed.
    pub fail_after: Option<u32>,
}

/// An eventfd that is not there.
#[derive(Debug, Default)]
struct Counter {
    count: AtomicU64,
    /// Who takes what the program raises.
    taker: Mutex<Taker>,
}

/// Called by the program itself, where an eventfd has a thread.
#[derive(Default)]
struct Taker(Option<Told>);

impl fmt::Debug for Taker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "somebody" } else { "nobody" })
    }
}

impl Trigger for Counter {
    fn raise(&self) {
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    fn watch(self: Arc<Self>, told: Told) -> Option<Watched> {
        struct Guard(Arc<Counter>);
        impl Drop for Guard {
            fn drop(&mut self) {
                *self.0.taker.lock() = Taker(None);
            }
        }
        *self.taker.lock() = Taker(Some(told));
        Some(Box::new(Guard(self)))
    }
}

impl Client {
    /// A program with the pages for its arguments and nothing else.
    pub fn new() -> Self {
        let memory = FakeMemory::new();
        memory.map(ARGUMENTS, 2, true);
        let space: Arc<dyn AddressSpace> = Arc::clone(&memory) as _;
        Self {
            memory,
            space,
            files: BTreeMap::new(),
            counters: BTreeMap::new(),
            // standard input, output and error
            others: BTreeSet::from([0, 1, 2]),
            descriptor_limit: 64,
            fail_after: None,
        }
    }

    /// Another thread of the program: the same memory, and the files that are open now.
    pub fn thread(&self) -> Self {
        Self {
            memory: Arc::clone(&self.memory),
            space: Arc::clone(&self.space),
            files: self.files.clone(),
            counters: self.counters.clone(),
            others: self.others.clone(),
            ..Self::new()
        }
    }

    /// Opens `/dev/iommu` of a machine of its own.
    ///
    /// # Panics
    ///
    /// When the machine is not there, or refuses.
    pub fn open(&mut self, machine: &str) -> i32 {
        let machine = Machine::by_name(machine).expect("a known machine");
        self.open_on(&Engine::new(machine, Kernel::newest()))
    }

    /// Opens `/dev/iommu` of a machine.
    ///
    /// # Panics
    ///
    /// When it refuses.
    pub fn open_on(&mut self, engine: &Arc<Engine>) -> i32 {
        let file = engine.open(self, Node::Iommu).expect("an open /dev/iommu");
        self.install(file).expect("a free descriptor")
    }

    /// Closes a descriptor.
    pub fn close(&mut self, fd: i32) {
        self.files.remove(&fd);
        self.counters.remove(&fd);
        self.others.remove(&fd);
    }

    /// `eventfd(2)`: a descriptor of a counter at 0.
    ///
    /// # Panics
    ///
    /// When all numbers are taken.
    pub fn new_eventfd(&mut self) -> i32 {
        let fd = self.free_descriptor().expect("a free descriptor");
        self.counters.insert(fd, Arc::default());
        fd
    }

    /// `read(2)` of an eventfd: what was counted since the last.
    ///
    /// # Panics
    ///
    /// When it is none.
    pub fn events(&self, fd: i32) -> u64 {
        self.counters[&fd].count.swap(0, Ordering::Relaxed)
    }

    /// `write(2)` of 1 to an eventfd.
    ///
    /// # Panics
    ///
    /// When it is none.
    pub fn raise(&self, fd: i32) {
        let counter = &self.counters[&fd];
        match &counter.taker.lock().0 {
            Some(told) => told(),
            None => counter.raise(),
        }
    }

    /// A descriptor of some other file.
    ///
    /// # Panics
    ///
    /// When all numbers are taken.
    pub fn new_other(&mut self) -> i32 {
        let fd = self.free_descriptor().expect("a free descriptor");
        self.others.insert(fd);
        fd
    }

    fn has(&self, fd: i32) -> bool {
        self.files.contains_key(&fd) || self.counters.contains_key(&fd) || self.others.contains(&fd)
    }

    fn free_descriptor(&self) -> Option<i32> {
        (0..).find(|fd| !self.has(*fd))
    }

    /// The file behind a descriptor.
    ///
    /// # Panics
    ///
    /// When it is not open.
    pub fn open_file(&self, fd: i32) -> File {
        self.files[&fd].clone()
    }

    /// A command with its own size, and no tail.
    pub fn call<C: Command>(&mut self, fd: i32, cmd: &mut C) -> Result<i64, Errno> {
        self.call_with_tail(fd, cmd, &[]).map_err(|refusal| refusal.errno())
    }

    /// A command as its bytes are, followed by more. What is written back replaces `cmd`.
    pub fn call_with_tail<C: Command>(
        &mut self,
        fd: i32,
        cmd: &mut C,
        tail: &[u8],
    ) -> Result<i64, Refusal> {
        let at = ARGUMENTS;
        self.memory.write(at, cmd.as_bytes()).expect("argument pages");
        self.memory.write(at + size_of::<C>() as u64, tail).expect("argument pages");
        let result = self.ioctl(fd, C::IOCTL, at);
        let mut bytes = vec![0; size_of::<C>()];
        self.memory.read(at, &mut bytes).expect("argument pages");
        *cmd = C::read_from_bytes(&bytes).expect("as many bytes");
        result
    }

    /// `ioctl(2)`
    pub fn ioctl(&mut self, fd: i32, cmd: u32, arg: u64) -> Result<i64, Refusal> {
        self.open_file(fd).ioctl(self, cmd, arg)
    }

    /// `read(2)`: how many bytes.
    pub fn read(&mut self, fd: i32, va: u64, count: u64) -> Result<u64, Errno> {
        self.open_file(fd).read(self, va, count, None).map_err(|refusal| refusal.errno())
    }

    /// `write(2)`: how many bytes.
    pub fn write(&mut self, fd: i32, va: u64, count: u64) -> Result<u64, Errno> {
        self.open_file(fd).write(self, va, count, None).map_err(|refusal| refusal.errno())
    }

    /// A place for data of at most a page, apart from the arguments.
    pub fn scratch(&self, bytes: &[u8]) -> u64 {
        let at = ARGUMENTS + 16 * PAGE_SIZE;
        self.memory.map(at, 1, true);
        self.memory.write(at, bytes).expect("scratch page");
        at
    }
}

impl Default for Client {
    fn default() -> Self {
        Self::new()
    }
}

impl Caller for Client {
    fn memory(&self) -> &Arc<dyn AddressSpace> {
        &self.space
    }

    fn install(&mut self, file: File) -> Result<i32, Errno> {
        if self.files.len() >= self.descriptor_limit {
            return Err(Errno::EMFILE);
        }
        let fd = self.free_descriptor().ok_or(Errno::EMFILE)?;
        self.files.insert(fd, file);
        Ok(fd)
    }

    fn uninstall(&mut self, fd: i32) {
        self.files.remove(&fd);
    }

    fn file(&mut self, fd: i32) -> Option<File> {
        self.files.get(&fd).cloned()
    }

    fn shared_file(&mut self, fd: i32) -> Result<Arc<SharedFile>, Errno> {
        Err(if self.has(fd) { Errno::EINVAL } else { Errno::EBADF })
    }

    fn eventfd(&mut self, fd: i32) -> Result<Arc<dyn Trigger>, Errno> {
        match self.counters.get(&fd) {
            Some(counter) => Ok(Arc::clone(counter) as _),
            None if self.has(fd) => Err(Errno::EINVAL),
            None => Err(Errno::EBADF),
        }
    }

    fn is_mapped(&mut self, _: &SharedFile) -> bool {
        false
    }

    fn inject_failure(&mut self) -> bool {
        match &mut self.fail_after {
            None => false,
            Some(0) => true,
            Some(left) => {
                *left -= 1;
                false
            }
        }
    }
}
