//! The file names that the supervisor serves.
//!
//! A name is looked at as text, after `.`, `..` and double slashes: symbolic links are not followed,
//! since none of these files exists where we are needed.

use crate::message::{Node, Task};

/// Longest name, in bytes, that is looked at: all of ours are shorter.
pub const MAX: usize = 256;

/// A name made absolute and plain.
#[derive(Clone, Copy, Debug)]
pub struct Plain {
    bytes: [u8; MAX],
    len: usize,
}

/// Whether this could be a name of ours, whatever it is relative to. Cheap, for every name that a
/// program opens. Names below a folder of the run lead there by themselves.
pub fn is_candidate(path: &[u8]) -> bool {
    // a group, from the folder that it is in
    if number(path).is_some() {
        return true;
    }
    path.split(|&b| b == b'/').any(|name| {
        matches!(name, b"iommu" | b"vfio" | b"devices" | b"fail-nth" | b"status")
            || matches!(name, b"osrelease" | b"version")
            || matches!(name, b"vfio-dev" | b"vfio-pci" | b"iommu_groups" | b"iommu_group")
            || matches!(name, b"iommufd" | b"vfio_iommu_type1" | b"vfio_pci")
            || name.strip_prefix(b"vfio").is_some_and(|rest| number(rest).is_some())
    })
}

/// Whether this may lead out of the folder that it is relative to.
pub fn climbs(path: &[u8]) -> bool {
    path.split(|&b| b == b'/').any(|name| name == b"..")
}

impl Plain {
    /// Makes `path` absolute by `base`, which is ignored when `path` starts with a slash; none when
    /// it is too long.
    pub fn new(base: &[u8], path: &[u8]) -> Option<Self> {
        let mut plain = Self { bytes: [0; MAX], len: 0 };
        if path.first() != Some(&b'/') {
            plain.push(base)?;
        }
        plain.push(path)?;
        Some(plain)
    }

    fn push(&mut self, path: &[u8]) -> Option<()> {
        for name in path.split(|&b| b == b'/') {
            match name {
                b"" | b"." => {}
                b".." => {
                    let parent = self.as_bytes().iter().rposition(|&b| b == b'/');
                    self.len = parent.unwrap_or(0);
                }
                name => {
                    let end = self.len + 1 + name.len();
                    let room = self.bytes.get_mut(self.len..end)?;
                    let (slash, rest) = room.split_first_mut()?;
                    *slash = b'/';
                    rest.copy_from_slice(name);
                    self.len = end;
                }
            }
        }
        Some(())
    }

    /// The name: absolute, and empty for the root.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    /// The file of ours with this name.
    pub fn node(&self) -> Option<Node> {
        match self.as_bytes() {
            b"/dev/iommu" => Some(Node::Iommu),
            b"/dev/vfio/vfio" => Some(Node::VfioContainer),
            path => match path.strip_prefix(b"/dev/vfio/") {
                Some(name) => match name.strip_prefix(b"devices/vfio") {
                    Some(rest) => number(rest).map(Node::VfioDevice),
                    None => number(name).map(Node::VfioGroup),
                },
                None => in_proc(path.strip_prefix(b"/proc/")?),
            },
        }
    }
}

/// `PID/status`, `PID/fail-nth` and the same below `PID/task/TID`.
fn in_proc(path: &[u8]) -> Option<Node> {
    let mut names = path.split(|&b| b == b'/');
    let pid = match names.next()? {
        b"self" => None,
        b"thread-self" => return None,
        name => Some(number(name)?),
    };
    let mut task = Task { pid, tid: None };
    let mut name = names.next()?;
    if name == b"task" {
        task.tid = Some(number(names.next()?)?);
        name = names.next()?;
    }
    match (name, names.next()) {
        (b"status", None) => Some(Node::Status(task)),
        (b"fail-nth", None) => Some(Node::FailNth(task)),
        _ => None,
    }
}

/// The file of a PCI function that takes the number of its virtual functions, by a name that ends with the
/// function's folder and its own: `/..../0000:6a:01.0/sriov_numvfs`.
pub fn virtual_functions(path: &[u8]) -> Option<Node> {
    let folder = path.strip_suffix(b"/sriov_numvfs")?;
    let name = folder.rsplit(|&b| b == b'/').next()?;
    let field = |from: usize, length: usize| {
        let digits = core::str::from_utf8(name.get(from..from + length)?).ok()?;
        let plain = digits.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        plain.then(|| u32::from_str_radix(digits, 16).ok())?
    };
    let (segment, bus, device, function) =
        (field(0, 4)?, field(5, 2)?, field(8, 2)?, field(11, 1)?);
    let separators = [name.get(4)?, name.get(7)?, name.get(10)?] == [&b':', &b':', &b'.'];
    let plain = name.len() == 12 && separators && device < 32 && function < 8;
    plain.then_some(Node::VirtualFunctions(segment << 16 | bus << 8 | device << 3 | function))
}

fn number(name: &[u8]) -> Option<u32> {
    let text = core::str::from_utf8(name).ok()?;
    let canonical = !text.starts_with('0') || text == "0";
    (canonical && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
}

/// Files that a run has instead of the system's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tree {
    /// `/sys/kernel/debug`, in [`crate::DEBUG_TREE`].
    Debug,
    /// PCI devices, IOMMUs and VFIO below `/sys`, in [`crate::SYS_TREE`].
    Sys,
    /// Device nodes of VFIO and iommufd below `/dev`, in [`crate::DEV_TREE`].
    Dev,
    /// Files below `/proc` that tell the kernel's release, in [`crate::PROC_TREE`].
    Proc,
}

impl Tree {
    /// Whether nothing in it takes a write yet.
    pub const fn is_fixed(self) -> bool {
        matches!(self, Self::Sys | Self::Proc)
    }
}

impl Plain {
    /// The tree that stands for a name, and what follows the tree's own name: empty, or with a slash
    /// first. The machine has what is there and nothing else, whatever the host has.
    pub fn tree(&self) -> Option<(Tree, &[u8])> {
        if let Some(path) = self.as_bytes().strip_prefix(b"/dev") {
            let is_ours = is_within(path, b"/vfio") || path == b"/iommu";
            return is_ours.then_some((Tree::Dev, path));
        }
        if let Some(path) = self.as_bytes().strip_prefix(b"/proc") {
            return PROC_FILES.contains(&path).then_some((Tree::Proc, path));
        }
        let path = self.as_bytes().strip_prefix(b"/sys")?;
        // what the host tells of its IOMMUs is not so of the machine's, which tell nothing
        if is_within(path, b"/kernel/debug/iommu") {
            return Some((Tree::Sys, path));
        }
        if is_within(path, b"/kernel/debug") {
            return Some((Tree::Debug, path.get(b"/kernel/debug".len()..)?));
        }
        let ours = SYS_FOLDERS.iter().any(|folder| is_within(path, folder))
            || SYS_PREFIXES.iter().any(|prefix| path.starts_with(prefix))
            || path.split(|&b| b == b'/').any(|name| DEVICE_LINKS.contains(&name));
        ours.then_some((Tree::Sys, path))
    }
}

fn is_within(path: &[u8], folder: &[u8]) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| matches!(rest.first(), None | Some(b'/')))
}

/// Files below `/proc` that tell the kernel's release.
const PROC_FILES: &[&[u8]] = &[b"/sys/kernel/osrelease", b"/version"];

/// Folders below `/sys` that are the machine's.
const SYS_FOLDERS: &[&[u8]] = &[
    b"/bus/pci/devices",
    b"/bus/pci/drivers/vfio-pci",
    b"/class/iommu",
    b"/class/vfio",
    b"/class/vfio-dev",
    b"/kernel/iommu_groups",
    b"/module/iommufd",
    b"/module/vfio",
    b"/module/vfio_iommu_type1",
    b"/module/vfio_pci",
    b"/devices/virtual/iommu",
    b"/devices/virtual/vfio",
];

/// How the names of further folders begin.
const SYS_PREFIXES: &[&[u8]] = &[b"/devices/pci", b"/devices/platform/arm-smmu-v3"];

/// What a device's folder has if it is behind an IOMMU or with VFIO. Devices of the host are neither,
/// by whatever class they are found.
const DEVICE_LINKS: &[&[u8]] = &[b"iommu", b"iommu_group", b"vfio-dev"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let fail = |pid, tid| Some(Node::FailNth(Task { pid, tid }));
        let status = |pid, tid| Some(Node::Status(Task { pid, tid }));
        #[rustfmt::skip] // one name, one line
        let cases: &[(&str, &str, Option<Node>)] = &[
            ("/",          "/dev/iommu",                Some(Node::Iommu)),
            ("/",          "//dev/./iommu",             Some(Node::Iommu)),
            ("/",          "/dev/shm/../iommu",         Some(Node::Iommu)),
            ("/",          "/../dev/iommu",             Some(Node::Iommu)),
            ("/dev",       "iommu",                     Some(Node::Iommu)),
            ("/dev/vfio",  "../iommu",                  Some(Node::Iommu)),
            ("/dev/",      "vfio/vfio",                 Some(Node::VfioContainer)),
            ("/",          "/dev/vfio/vfio",            Some(Node::VfioContainer)),
            ("/tmp",       "/dev/vfio",                 None),
            ("/tmp",       "iommu",                     None),
            ("/",          "/dev/vfio/devices/vfio7",   Some(Node::VfioDevice(7))),
            ("/dev/vfio",  "devices/vfio0",             Some(Node::VfioDevice(0))),
            ("/",          "/dev/vfio/devices/vfio07",  None),
            ("/",          "/dev/vfio/devices/vfio",    None),
            ("/",          "/dev/vfio/26",              Some(Node::VfioGroup(26))),
            ("/dev",       "vfio/0",                    Some(Node::VfioGroup(0))),
            ("/dev/vfio",  "26",                        Some(Node::VfioGroup(26))),
            ("/",          "/dev/vfio/026",             None),
            ("/",          "/dev/vfio/26/x",            None),
            ("/",          "/dev/vfio/noiommu-0",       None),
            ("/",          "/dev/iommu/x",              None),
            ("/",          "/dev/iommux",               None),
            ("/",          "/proc/self/task/12/fail-nth", fail(None, Some(12))),
            ("/",          "/proc/7/fail-nth",          fail(Some(7), None)),
            ("/",          "/proc/7/status",            status(Some(7), None)),
            ("/",          "/proc/self/status",         status(None, None)),
            ("/proc",      "self/status",               status(None, None)),
            ("/",          "/proc/+7/status",           None),
            ("/",          "/proc/99999999999/status",  None),
            ("/",          "/proc/7/task/status",       None),
            ("/",          "/proc/status",              None),
            ("/",          "/proc/7/net/status",        None),
            ("/",          "",                          None),
        ];
        for (base, path, node) in cases {
            let plain = Plain::new(base.as_bytes(), path.as_bytes()).unwrap();
            assert_eq!(plain.node(), *node, "{base} {path}");
            assert!(node.is_none() || is_candidate(path.as_bytes()), "{path}");
        }
    }

    #[test]
    fn candidates() {
        #[rustfmt::skip] // one name, one line
        let cases = [
            ("class/iommu",              true,  false),
            ("vfio/devices/..",          true,  true),
            ("pci/devices/0000:6a:01.0", true,  false),
            ("../net",                   false, true),
            ("..",                       false, true),
            ("..a/b..",                  false, false),
            ("net",                      false, false),
            ("26",                       true,  false),
            ("26/stat",                  false, false),
            ("vfiox/iommux",             false, false),
            ("",                         false, false),
        ];
        for (path, candidate, climber) in cases {
            assert_eq!(is_candidate(path.as_bytes()), candidate, "{path}");
            assert_eq!(climbs(path.as_bytes()), climber, "{path}");
        }
        // by the last part of its name, each is found from the folder that it is in
        for name in SYS_FOLDERS.iter().chain(DEVICE_LINKS).chain(PROC_FILES) {
            let last = name.rsplit(|&b| b == b'/').next().unwrap();
            assert!(is_candidate(last), "{name:?}");
        }
    }

    #[test]
    fn numbers_of_virtual_functions() {
        #[rustfmt::skip] // one name, one line
        let cases: &[(&str, Option<u32>)] = &[
            ("/sys/bus/pci/devices/0000:6a:01.0/sriov_numvfs",  Some(0x6a08)),
            ("/run/x/sys/devices/pci0001:ff/0001:ff:1f.7/sriov_numvfs", Some(0x1_ffff)),
            ("0000:6a:01.0/sriov_numvfs",                       Some(0x6a08)),
            ("/sys/bus/pci/devices/0000:6a:01.0/sriov_totalvfs", None),
            ("/sys/bus/pci/devices/0000:6a:20.0/sriov_numvfs",  None),
            ("/sys/bus/pci/devices/0000:6a:01.8/sriov_numvfs",  None),
            ("/sys/bus/pci/devices/0000:6A:01.0/sriov_numvfs",  None),
            ("/sys/bus/pci/devices/+000:6a:01.0/sriov_numvfs",  None),
            ("/sys/bus/pci/devices/0000.6a:01.0/sriov_numvfs",  None),
            ("/sys/bus/pci/devices/0000:6a:01.00/sriov_numvfs", None),
            ("/sriov_numvfs",                                   None),
        ];
        for (path, address) in cases {
            let expected = address.map(Node::VirtualFunctions);
            assert_eq!(virtual_functions(path.as_bytes()), expected, "{path}");
        }
    }

    #[test]
    fn too_long_is_none() {
        assert!(Plain::new(b"/", &[b'a'; MAX]).is_none());
        assert!(Plain::new(&[b'a'; MAX + 9], b"/dev/iommu").is_some());
    }

    #[test]
    fn trees() {
        #[rustfmt::skip] // one name, one line
        let cases: &[(&str, Option<(Tree, &str)>)] = &[
            ("/sys/kernel/debug",              Some((Tree::Debug, ""))),
            ("/sys/kernel/debug/a",            Some((Tree::Debug, "/a"))),
            ("/sys/kernel/debugger",           None),
            ("/sys/kernel/debug/iommu/intel",  Some((Tree::Sys, "/kernel/debug/iommu/intel"))),
            ("/sys/bus/pci/devices",           Some((Tree::Sys, "/bus/pci/devices"))),
            ("/sys//bus/pci/devices/a/../b",   Some((Tree::Sys, "/bus/pci/devices/b"))),
            ("/sys/bus/pci/devicesx",          None),
            ("/sys/devices/pci0000:6a/x",      Some((Tree::Sys, "/devices/pci0000:6a/x"))),
            ("/sys/devices/system/cpu",        None),
            ("/sys/class/net",                 None),
            ("/sys",                           None),
            ("/sys/class/vfio/26",             Some((Tree::Sys, "/class/vfio/26"))),
            ("/sys/class/vfio-dev",            Some((Tree::Sys, "/class/vfio-dev"))),
            ("/sys/class/net/e0/device/iommu_group", Some((Tree::Sys, "/class/net/e0/device/iommu_group"))),
            ("/sys/class/net/e0/device/iommu/cap", Some((Tree::Sys, "/class/net/e0/device/iommu/cap"))),
            ("/sys/module/vfio_pci",           Some((Tree::Sys, "/module/vfio_pci"))),
            ("/sys/module/vfio_fsl_mc",        None),
            ("/dev/iommu",                     Some((Tree::Dev, "/iommu"))),
            ("/dev/vfio",                      Some((Tree::Dev, "/vfio"))),
            ("/dev/vfio/devices/",             Some((Tree::Dev, "/vfio/devices"))),
            ("/dev/vfio/26",                   Some((Tree::Dev, "/vfio/26"))),
            ("/dev/vfiox",                     None),
            ("/dev",                           None),
            ("/proc/version",                  Some((Tree::Proc, "/version"))),
            ("/proc/sys/kernel/osrelease",     Some((Tree::Proc, "/sys/kernel/osrelease"))),
            ("/proc/sys/kernel/version",       None),
            ("/proc",                          None),
        ];
        for (path, expected) in cases {
            let plain = Plain::new(b"/", path.as_bytes()).unwrap();
            let found =
                plain.tree().map(|(tree, rest)| (tree, core::str::from_utf8(rest).unwrap()));
            assert_eq!(found, *expected, "{path}");
        }
    }
}
