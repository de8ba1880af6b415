//! PASIDs of the host: one space, of which each process has a set with a quota (`drivers/vfio/vfio_pasid.c`
//! of v7, `drivers/iommu/ioasid.c`).
//!
//! A process has its set as long as it has a nesting container with a group.

use std::collections::BTreeMap;
use std::sync::Arc;

use mem::MmId;
use parking_lot::Mutex;

use super::nesting::Table;
use crate::Refusal;

/// How many PASIDs the host has (`PASID_MAX`, `include/linux/intel-svm.h`).
pub(crate) const PASIDS: u32 = 1 << 20;

/// How many of them VT-d's driver keeps for processes of the host (`PID_MAX_DEFAULT`).
const HOSTS: u32 = 0x8000;

/// How many a process may have (`pasid_quota`, a parameter of the module `vfio_pasid`).
const QUOTA: u32 = 1000;

/// The tables that are bound to the PASIDs of a process, in whichever of its containers. Locked before a
/// container's context (`pasid_lock` of `vfio_mm`).
pub(crate) type Bound = Mutex<BTreeMap<u32, Vec<Table>>>;

/// The PASIDs that are taken, and whose they are.
#[derive(Debug, Default)]
pub(crate) struct Pasids {
    owners: BTreeMap<u32, MmId>,
    sets: BTreeMap<MmId, Set>,
}

/// What a process has.
#[derive(Debug, Default)]
struct Set {
    containers: u32,
    bound: Arc<Bound>,
}

impl Pasids {
    /// A process gets a container more (`vfio_mm_get_from_task`, `ioasid_alloc_set`); what all of them bind.
    pub fn join(&mut self, process: MmId) -> Result<Arc<Bound>, Refusal> {
        let reserved = HOSTS + self.sets.len() as u32 * QUOTA;
        if !self.sets.contains_key(&process) && PASIDS - reserved < QUOTA {
            return Err(Refusal::NoIdentifier { what: "quota of PASIDs" });
        }
        let set = self.sets.entry(process).or_default();
        set.containers += 1;
        Ok(Arc::clone(&set.bound))
    }

    /// And one less; with the last, its PASIDs are given back.
    pub fn leave(&mut self, process: MmId) {
        if let Some(set) = self.sets.get_mut(&process) {
            set.containers -= 1;
            if set.containers == 0 {
                self.sets.remove(&process);
                self.owners.retain(|_, owner| *owner != process);
            }
        }
    }

    /// Takes the first free PASID of a range (`ioasid_alloc`).
    pub fn take(&mut self, process: MmId, min: u32, max: u32) -> Result<u32, Refusal> {
        if self.owners.values().filter(|owner| **owner == process).count() as u32 >= QUOTA {
            return Err(Refusal::NoIdentifier { what: "PASID of the process's quota" });
        }
        let mut free = Some(min);
        for taken in self.owners.range(min..=max).map(|(pasid, _)| *pasid) {
            if free != Some(taken) {
                break;
            }
            free = taken.checked_add(1).filter(|next| *next <= max);
        }
        let pasid = free.ok_or(Refusal::NoIdentifier { what: "PASID in the range" })?;
        self.owners.insert(pasid, process);
        Ok(pasid)
    }

    /// The PASIDs of a process in a range.
    pub fn of(&self, process: MmId, min: u32, max: u32) -> Vec<u32> {
        let owned = self.owners.range(min..=max).filter(|(_, owner)| **owner == process);
        owned.map(|(pasid, _)| *pasid).collect()
    }

    /// Gives a PASID back.
    pub fn give_back(&mut self, pasid: u32) {
        self.owners.remove(&pasid);
    }

    /// Whether a PASID is a process's (`ioasid_find`).
    pub fn check(&self, process: MmId, pasid: u32) -> Result<(), Refusal> {
        match self.owners.get(&pasid) {
            Some(owner) if *owner == process => Ok(()),
            Some(_) => Err(Refusal::Denied { why: "the PASID is another process's" }),
            None => Err(Refusal::NotFound { what: "PASID", value: pasid.into() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uapi::Errno;

    #[test]
    fn one_space_for_all_and_a_quota_for_each() {
        let mut pasids = Pasids::default();
        let [mine, other] = [MmId::next(), MmId::next()];
        for process in [mine, mine, other] {
            pasids.join(process).unwrap();
        }
        let errno = |result: Result<u32, Refusal>| result.map_err(|refusal| refusal.errno());
        #[rustfmt::skip] // one range, one line
        let cases = [
            (mine,  (1, 10),              Ok(1)),
            (other, (1, 10),              Ok(2)),
            (mine,  (1, 2),               Err(Errno::ENOSPC)),
            (mine,  (5, 5),               Ok(5)),
            (mine,  (5, 5),               Err(Errno::ENOSPC)),
            (mine,  (0, 10),              Ok(0)),
            (mine,  (4, 6),               Ok(4)),
            (mine,  (4, 6),               Ok(6)),
            (other, (u32::MAX, u32::MAX), Ok(u32::MAX)),
            (other, (u32::MAX, u32::MAX), Err(Errno::ENOSPC)),
        ];
        for (process, (min, max), expected) in cases {
            assert_eq!(errno(pasids.take(process, min, max)), expected, "{min}..={max}");
        }
        assert_eq!(pasids.of(mine, 1, 5), [1, 4, 5]);
        let owns = |pasids: &Pasids, pasid| pasids.check(mine, pasid).map_err(|it| it.errno());
        assert_eq!(owns(&pasids, 1), Ok(()));
        assert_eq!(owns(&pasids, 2), Err(Errno::EACCES));
        assert_eq!(owns(&pasids, 3), Err(Errno::ENOENT));
        pasids.leave(mine);
        assert_eq!(owns(&pasids, 1), Ok(()), "it has a second container");
        pasids.leave(mine);
        assert_eq!(owns(&pasids, 1), Err(Errno::ENOENT));
        for _ in 2..QUOTA {
            pasids.take(other, 1, PASIDS - 1).unwrap();
        }
        assert_eq!(errno(pasids.take(other, 1, PASIDS - 1)), Err(Errno::ENOSPC));
        pasids.give_back(2);
        assert_eq!(errno(pasids.take(other, 1, PASIDS - 1)), Ok(2));
    }

    #[test]
    fn quotas_end_with_the_space() {
        let mut pasids = Pasids::default();
        for _ in 0..1015 {
            pasids.join(MmId::next()).unwrap();
        }
        let refused = pasids.join(MmId::next()).map_err(|refusal| refusal.errno());
        assert_eq!(refused.map(drop), Err(Errno::ENOSPC));
    }
}
