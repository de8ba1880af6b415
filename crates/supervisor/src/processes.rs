//! What `/proc` says about the processes of a run.

use std::collections::{HashMap, HashSet};
use std::fs;

use mem::ObjectKey;
use rustix::process::Pid;

/// The fields of `/proc/PID/stat` that matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stat {
    state: u8,
    /// Parent's number, 0 for none.
    pub parent: i32,
    flags: u64,
}

impl Stat {
    /// Of a process; none when there is none.
    pub(crate) fn of(pid: i32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// `PID (name) state parent group session tty tpgid flags ...`
    fn parse(text: &str) -> Option<Self> {
        let (_, rest) = text.rsplit_once(')')?;
        let mut fields = rest.split_ascii_whitespace();
        let state = *fields.next()?.as_bytes().first()?;
        let parent = fields.next()?.parse().ok()?;
        let flags = fields.nth(4)?.parse().ok()?;
        Some(Self { state, parent, flags })
    }

    /// Whether it is on its way out (`PF_EXITING`), or dead and not reaped.
    pub(crate) fn is_dying(self) -> bool {
        const PF_EXITING: u64 = 4;
        matches!(self.state, b'Z' | b'X') || self.flags & PF_EXITING != 0
    }
}

/// Whether `pid` has `ancestor` above it.
pub(crate) fn is_descendant(mut pid: i32, ancestor: i32) -> bool {
    for _ in 0..1024 {
        match Stat::of(pid) {
            Some(stat) if stat.parent == ancestor => return true,
            Some(stat) if stat.parent > 1 => pid = stat.parent,
            _ => return false,
        }
    }
    false
}

/// Every process below `ancestor`, dead and not reaped ones included.
pub(crate) fn descendants(ancestor: i32) -> Vec<Pid> {
    let numbers = fs::read_dir("/proc").into_iter().flatten();
    let parents: HashMap<i32, i32> = numbers
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, Stat::of(pid)?.parent)))
        .collect();
    let is_below = |mut pid: i32| {
        for _ in 0..1024 {
            match parents.get(&pid) {
                Some(&parent) if parent == ancestor => return true,
                Some(&parent) => pid = parent,
                None => return false,
            }
        }
        false
    };
    parents.keys().filter(|&&pid| is_below(pid)).filter_map(|&pid| Pid::from_raw(pid)).collect()
}

/// Every object that a process below `ancestor` maps; none when one of them cannot be looked at.
pub(crate) fn mapped_objects(ancestor: i32) -> Option<HashSet<ObjectKey>> {
    let mut objects = HashSet::new();
    for pid in descendants(ancestor) {
        match mem::process::mapped_objects(pid) {
            Ok(mapped) => objects.extend(mapped),
            // Gone meanwhile: it maps nothing.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
            Err(_) => return None,
        }
    }
    Some(objects)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stat_of_a_nasty_name() {
        let stat = Stat::parse("12 (a) Z 1 (b) S 7 2 3 4 5 4194564 9").unwrap();
        assert_eq!(stat, Stat { state: b'S', parent: 7, flags: 4_194_564 });
        assert!(stat.is_dying());
        assert_eq!(Stat::parse("12 (a"), None);
    }

    #[test]
    fn a_child_is_a_descendant() {
        let us = std::process::id() as i32;
        let mut child = std::process::Command::new("sleep").arg("9").spawn().unwrap();
        let pid = child.id() as i32;
        assert!(is_descendant(pid, us));
        assert!(!is_descendant(us, pid));
        assert!(descendants(us).contains(&Pid::from_raw(pid).unwrap()));
        assert!(!mapped_objects(us).unwrap().is_empty());
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!is_descendant(pid, us));
    }
}
