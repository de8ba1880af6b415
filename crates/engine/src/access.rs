//! The access object: how a driver without DMA uses an IOAS.

use std::collections::BTreeMap;

use crate::Refusal;
use crate::ioas::Ioas;
use crate::ioas::access::PinnedRange;
use crate::objects::ObjectId;
use crate::state::State;
use crate::task::Task;

/// An access to an IOAS.
#[derive(Debug)]
pub(crate) struct Access {
    /// The IOAS and the access's place in its list.
    pub ioas: Option<(ObjectId, u32)>,
    /// Alignment that it demands of the IOAS, in bytes.
    pub alignment: u64,
    /// What it holds, by item number (the mock device's items; 0 for a hardware queue).
    pub items: BTreeMap<u32, PinnedRange>,
    pub next_item: u32,
    /// Of a hardware queue: it is not told of unmaps, and what it holds cannot be unmapped.
    pub internal: bool,
}

impl Access {
    pub fn new(alignment: u64, internal: bool) -> Self {
        Self { ioas: None, alignment, items: BTreeMap::new(), next_item: 0, internal }
    }
}

impl State {
    /// Connects an access to another IOAS or to none (`iommufd_access_change_ioas`).
    pub fn access_change_ioas(
        &mut self,
        task: &mut Task<'_>,
        access: ObjectId,
        new: Option<ObjectId>,
    ) -> Result<(), Refusal> {
        let it = self.objects.at::<Access>(access);
        let (old, alignment) = (it.ioas, it.alignment);
        if old.map(|(ioas, _)| ioas) == new {
            return Ok(());
        }
        let connected = match new {
            Some(ioas) => {
                let place =
                    self.objects.at_mut::<Ioas>(ioas).add_access(task, access, alignment)?;
                self.objects.hold(ioas);
                Some((ioas, place))
            }
            None => None,
        };
        if let Some((ioas, place)) = old {
            self.access_drop_items(access, 0, u64::MAX);
            self.objects.at_mut::<Ioas>(ioas).remove_access(place);
            self.objects.put(ioas);
        }
        self.objects.at_mut::<Access>(access).ioas = connected;
        Ok(())
    }

    /// Disconnects an access from its IOAS; cannot fail.
    pub fn access_disconnect(&mut self, access: ObjectId) {
        self.access_drop_items(access, 0, u64::MAX);
        if let Some((ioas, place)) = self.objects.at_mut::<Access>(access).ioas.take() {
            self.objects.at_mut::<Ioas>(ioas).remove_access(place);
            self.objects.put(ioas);
        }
    }

    /// Lets go of all that meets a range: what a driver must do when it is told of an unmap.
    pub fn access_drop_items(&mut self, access: ObjectId, start: u64, last: u64) {
        let it = self.objects.at_mut::<Access>(access);
        let Some((ioas, _)) = it.ioas else { return };
        let gone: Vec<_> = it.items.extract_if(.., |_, range| range.meets(start, last)).collect();
        let ioas = self.objects.at_mut::<Ioas>(ioas);
        gone.iter().for_each(|(_, range)| ioas.access_unpin(range));
    }
}

impl State {
    /// Lets go of one item; nothing where there is none.
    pub fn access_drop_item(&mut self, access: ObjectId, item: u32) -> bool {
        let it = self.objects.at_mut::<Access>(access);
        let (Some((ioas, _)), Some(range)) = (it.ioas, it.items.remove(&item)) else {
            return false;
        };
        self.objects.at_mut::<Ioas>(ioas).access_unpin(&range);
        true
    }
}
