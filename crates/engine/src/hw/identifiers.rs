//! Identifiers of domains, of which hardware has few: domain IDs, ASIDs, VMIDs.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

/// Numbers to give out.
#[derive(Debug)]
pub(crate) struct Pool {
    size: usize,
    given: Mutex<usize>,
}

impl Pool {
    pub fn new(size: usize) -> Self {
        Self { size, given: Mutex::new(0) }
    }

    /// One of the numbers; none when all are given out.
    pub fn take(self: &Arc<Self>) -> Option<Identifier> {
        let mut given = self.given.lock();
        if *given >= self.size {
            return None;
        }
        *given += 1;
        Some(Identifier(Arc::clone(self)))
    }
}

/// An identifier that was given out; it goes back when it is dropped.
#[derive(Debug)]
pub(crate) struct Identifier(Arc<Pool>);

impl Drop for Identifier {
    fn drop(&mut self) {
        *self.0.given.lock() -= 1;
    }
}

/// Identifiers of the domains that devices are attached to, by the numbers of their hwpts.
#[derive(Debug)]
pub(crate) struct InUse {
    size: usize,
    /// How many attachments each has.
    users: Mutex<BTreeMap<u64, usize>>,
}

impl InUse {
    pub fn new(size: usize) -> Self {
        Self { size, users: Mutex::default() }
    }

    /// Moves an attachment from one domain to another; false, with nothing changed, when the other would
    /// need an identifier and there is none. `first` says whether the one is given up before.
    pub fn change(&self, from: Option<u64>, to: Option<u64>, first: bool) -> bool {
        let mut users = self.users.lock();
        if let Some(to) = to {
            let given_up = from.is_some_and(|from| first && users.get(&from) == Some(&1));
            let used = users.len() - usize::from(given_up);
            if !users.contains_key(&to) && used >= self.size {
                return false;
            }
            *users.entry(to).or_default() += 1;
        }
        if let Some(from) = from
            && let Some(count) = users.get_mut(&from)
        {
            *count -= 1;
            if *count == 0 {
                users.remove(&from);
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_runs_out_and_refills() {
        let pool = Arc::new(Pool::new(2));
        let (one, two) = (pool.take(), pool.take());
        assert!(one.is_some() && two.is_some() && pool.take().is_none());
        drop(one);
        assert!(pool.take().is_some());
    }

    #[test]
    fn attachments_share_an_identifier() {
        #[rustfmt::skip] // one change, one line
        let changes = [
            (None,    Some(1), true,  true),
            (None,    Some(1), true,  true),
            (None,    Some(2), true,  true),
            (None,    Some(3), true,  false), // both are in use
            (Some(2), Some(3), false, false), // and the one is given up too late
            (Some(2), Some(3), true,  true),
            (Some(1), Some(4), true,  false), // the other attachment still has it
            (Some(1), None,    true,  true),
            (Some(1), Some(4), true,  true),
        ];
        let in_use = InUse::new(2);
        for (step, (from, to, first, done)) in changes.into_iter().enumerate() {
            assert_eq!(in_use.change(from, to, first), done, "step {step}");
        }
    }
}
