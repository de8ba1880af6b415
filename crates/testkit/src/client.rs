//! A program that is not there.

use std::collections::BTreeMap;
use std::sync::Arc;

use engine::{Caller, Engine, File, Node, Refusal};
use mem::{AddressSpace, PAGE_SIZE, SharedFile};
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
    /// How many descriptors it may have.
    pub descriptor_limit: usize,
    /// How many allocations succeed before one fails; none lets all succeed.
    pub fail_after: Option<u32>,
}

impl Client {
    /// A program with the pages for its arguments and nothing else.
    pub fn new() -> Self {
        let memory = FakeMemory::new();
        memory.map(ARGUMENTS, 2, true);
        let space: Arc<dyn AddressSpace> = Arc::clone(&memory) as _;
        Self { memory, space, files: BTreeMap::new(), descriptor_limit: 64, fail_after: None }
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
        let fd = (3..).find(|fd| !self.files.contains_key(fd)).ok_or(Errno::EMFILE)?;
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
        Err(if self.files.contains_key(&fd) { Errno::EINVAL } else { Errno::EBADF })
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
