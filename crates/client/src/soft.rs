//! An engine in this process: a machine without a kernel, a socket or a preloaded object.
//!
//! The engine reaches the memory of this process as the supervisor reaches a program's, from outside:
//! a bad pointer is `EFAULT`.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::Arc;

use engine::{Caller, Engine, Entry, File, Node, Refusal, Tree, Trigger};
use mem::process::{Process, SharedObjects, is_pinnable_memory};
use mem::{AddressSpace, EventFd, ObjectKey, SharedFile};
use parking_lot::Mutex;
use profile::{Kernel, Machine};
use uapi::Errno;

/// The lowest number of a descriptor of ours; the kernel's are far below.
const FIRST: i32 = 1 << 24;

/// Links that are followed in one path.
const MAX_LINKS: usize = 40;

/// A machine in this process.
#[derive(Debug)]
pub(crate) struct Soft {
    engine: Arc<Engine>,
    sysfs: Tree,
    process: Arc<Process>,
    memory: Arc<dyn AddressSpace>,
    files: Mutex<BTreeMap<i32, File>>,
}

/// An open file of a machine in this process.
#[derive(Debug)]
pub struct Descriptor {
    soft: Arc<Soft>,
    number: i32,
}

/// A call of this process.
struct Here<'a>(&'a Soft);

impl Soft {
    pub fn new(machine: &Machine, kernel: &'static Kernel) -> io::Result<Arc<Self>> {
        Self::of(Engine::new(machine, kernel))
    }

    pub fn of(engine: Arc<Engine>) -> io::Result<Arc<Self>> {
        let process = Process::open(rustix::process::getpid(), Arc::new(Objects::default()))?;
        let process = Arc::new(process);
        Ok(Arc::new(Self {
            sysfs: engine.sysfs(),
            engine,
            memory: Arc::clone(&process) as _,
            process,
            files: Mutex::default(),
        }))
    }

    pub fn machine(&self) -> &Machine {
        self.engine.machine()
    }

    pub fn kernel(&self) -> &'static Kernel {
        self.engine.kernel()
    }

    pub fn open(self: &Arc<Self>, node: Node) -> io::Result<Descriptor> {
        let file = self.engine.open(&mut Here(self), node).map_err(failed)?;
        Ok(Descriptor { soft: Arc::clone(self), number: self.keep(file) })
    }

    fn keep(&self, file: File) -> i32 {
        let mut files = self.files.lock();
        let number = (FIRST..).find(|number| !files.contains_key(number)).unwrap_or(i32::MAX);
        files.insert(number, file);
        number
    }

    fn file(&self, number: i32) -> Option<File> {
        self.files.lock().get(&number).cloned()
    }

    fn forget(&self, number: i32) {
        // the last use of a file takes locks of the engine, so not under ours
        let file = self.files.lock().remove(&number);
        drop(file);
    }

    /// The text of a file below `/sys`.
    pub fn read(&self, path: &str) -> io::Result<String> {
        match self.sysfs.get(&self.resolve(path)?) {
            Some(Entry::Text(text)) => Ok(text.clone()),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// What a link below `/sys` leads to; only the folders that it is in are followed.
    pub fn link(&self, path: &str) -> io::Result<String> {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        match self.sysfs.get(&format!("{}/{name}", self.resolve(folder)?)) {
            Some(Entry::Link(to)) => Ok(to.clone()),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// The names in a folder below `/sys`.
    pub fn list(&self, path: &str) -> io::Result<Vec<String>> {
        let folder = format!("{}/", self.resolve(path)?);
        let inside = self.sysfs.range(folder.clone()..);
        let inside = inside.map_while(|(path, _)| path.strip_prefix(&folder));
        let mut names: Vec<_> =
            inside.map(|rest| rest.split('/').next().unwrap_or(rest).to_owned()).collect();
        names.dedup();
        let known = !names.is_empty() || self.sysfs.contains_key(folder.trim_end_matches('/'));
        if known { Ok(names) } else { Err(io::ErrorKind::NotFound.into()) }
    }

    /// Follows all links of a path.
    fn resolve(&self, path: &str) -> io::Result<String> {
        let mut left: Vec<String> = path.split('/').rev().map(str::to_owned).collect();
        let (mut done, mut links): (Vec<String>, usize) = (Vec::new(), 0);
        while let Some(name) = left.pop() {
            match name.as_str() {
                "" | "." => {}
                ".." => _ = done.pop(),
                _ => {
                    done.push(name);
                    if let Some(Entry::Link(to)) = self.sysfs.get(&done.join("/")) {
                        done.pop();
                        left.extend(to.split('/').rev().map(str::to_owned));
                        links += 1;
                    }
                }
            }
            if links > MAX_LINKS {
                return Err(io::Error::from_raw_os_error(libc::ELOOP));
            }
        }
        Ok(done.join("/"))
    }
}

impl Descriptor {
    pub fn number(&self) -> i32 {
        self.number
    }

    /// The file that a call on this one has just given the number.
    pub fn sibling(&self, number: i32) -> Self {
        Self { soft: Arc::clone(&self.soft), number }
    }

    pub fn ioctl(&self, number: u32, argument: u64) -> io::Result<i32> {
        let done = self.file()?.ioctl(&mut Here(&self.soft), number, argument);
        done.map(|result| result as i32).map_err(failed)
    }

    pub fn read(&self, va: u64, count: usize, at: Option<u64>) -> io::Result<usize> {
        let done = self.file()?.read(&mut Here(&self.soft), va, count as u64, at);
        done.map(|count| count as usize).map_err(failed)
    }

    pub fn write(&self, va: u64, count: usize, at: Option<u64>) -> io::Result<usize> {
        let done = self.file()?.write(&mut Here(&self.soft), va, count as u64, at);
        done.map(|count| count as usize).map_err(failed)
    }

    fn file(&self) -> io::Result<File> {
        self.soft.file(self.number).ok_or(io::Error::from_raw_os_error(libc::EBADF))
    }
}

impl Drop for Descriptor {
    fn drop(&mut self) {
        self.soft.forget(self.number);
    }
}

impl Caller for Here<'_> {
    fn memory(&self) -> &Arc<dyn AddressSpace> {
        &self.0.memory
    }

    fn install(&mut self, file: File) -> Result<i32, Errno> {
        Ok(self.0.keep(file))
    }

    fn uninstall(&mut self, number: i32) {
        self.0.forget(number);
    }

    fn file(&mut self, number: i32) -> Option<File> {
        self.0.file(number)
    }

    fn shared_file(&mut self, number: i32) -> Result<Arc<SharedFile>, Errno> {
        let fd = self.0.process.descriptor(number).map_err(|_| Errno::EBADF)?;
        if !is_pinnable_memory(&fd) {
            return Err(Errno::EINVAL);
        }
        SharedFile::new(fd).map(Arc::new).map_err(|_| Errno::EBADF)
    }

    fn eventfd(&mut self, number: i32) -> Result<Arc<dyn Trigger>, Errno> {
        let fd = self.0.process.descriptor(number).map_err(|_| Errno::EBADF)?;
        Ok(Arc::new(EventFd::new(fd).map_err(|_| Errno::EINVAL)?))
    }

    fn is_mapped(&mut self, file: &SharedFile) -> bool {
        let here = rustix::process::getpid();
        mem::process::mapped_objects(here).is_ok_and(|mapped| mapped.contains(&file.key()))
    }

    fn inject_failure(&mut self) -> bool {
        false
    }
}

/// Memory files of this process that were found once.
#[derive(Debug, Default)]
struct Objects(Mutex<HashMap<ObjectKey, Arc<SharedFile>>>);

impl SharedObjects for Objects {
    fn find(&self, key: ObjectKey, _writable: bool) -> Option<Arc<SharedFile>> {
        self.0.lock().get(&key).cloned()
    }

    fn add(&self, file: SharedFile) -> Arc<SharedFile> {
        let file = Arc::new(file);
        self.0.lock().insert(file.key(), Arc::clone(&file));
        file
    }
}

fn failed(refusal: Refusal) -> io::Error {
    io::Error::from_raw_os_error(refusal.errno().code())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_follow_links() {
        let machine = Machine::by_name("spr").unwrap();
        let soft = Soft::new(machine, Kernel::newest()).unwrap();
        let device = "bus/pci/devices/0000:6a:01.0";
        assert_eq!(soft.read(&format!("{device}/vendor")).unwrap(), "0x8086\n");
        assert_eq!(soft.read(&format!("{device}/iommu/intel-iommu/version")).unwrap(), "6:0\n");
        assert_eq!(soft.list(&format!("{device}/vfio-dev")).unwrap(), ["vfio0"]);
        assert_eq!(soft.list("class/iommu").unwrap(), ["dmar0"]);
        assert!(soft.list("class/net").is_err() && soft.read("class/iommu").is_err());
    }
}
