//! The object table: IDs, users, reservations, tombstones.
//!
//! Linux keeps the objects of one `/dev/iommu` in an xarray (`drivers/iommu/iommufd/main.c`). What
//! a program can see of it:
//!
//! - a new object has the lowest free ID from 1;
//! - an ID is reserved while its object is being made, and nobody finds it before it is published;
//! - an object with more than one user cannot be destroyed; one user is the table itself;
//! - a vDEVICE that dies with its device leaves a tombstone: its ID is not used again.

use std::collections::BTreeSet;
use std::fmt;

use crate::Refusal;
use crate::access::Access;
use crate::device::Device;
use crate::events::{FaultObject, VeventqObject};
use crate::hw::selftest::MockHolder;
use crate::hwpt::{NestedHwpt, PagingHwpt};
use crate::ioas::Ioas;
use crate::viommu::{HwQueue, Vdevice, Viommu};

/// The ID of an object; 0 is never one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId(pub u32);

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// An object of which one may outlive the other: its ID, and which of those that had this ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Handle {
    pub id: ObjectId,
    serial: u64,
}

macro_rules! objects {
    ($($variant:ident($type:ty) = $name:literal,)+) => {
        /// An object of the user API.
        #[derive(Debug)]
        pub(crate) enum Object {
            $($variant($type),)+
        }

        impl Object {
            /// What people call it.
            pub fn kind(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => $name,)+
                }
            }
        }

        $(impl Kind for $type {
            const NAME: &'static str = $name;

            fn of(object: &Object) -> Option<&Self> {
                match object {
                    Object::$variant(it) => Some(it),
                    _ => None,
                }
            }

            fn of_mut(object: &mut Object) -> Option<&mut Self> {
                match object {
                    Object::$variant(it) => Some(it),
                    _ => None,
                }
            }
        }

        impl From<$type> for Object {
            fn from(it: $type) -> Self {
                Self::$variant(it)
            }
        })+
    };
}

objects! {
    Access(Access) = "access",
    Device(Device) = "device",
    Fault(FaultObject) = "fault queue",
    HwQueue(HwQueue) = "hardware queue",
    Ioas(Ioas) = "IOAS",
    Nested(NestedHwpt) = "nested hwpt",
    Paging(PagingHwpt) = "paging hwpt",
    Selftest(MockHolder) = "mock device",
    Vdevice(Vdevice) = "vDEVICE",
    Veventq(VeventqObject) = "vEVENTQ",
    Viommu(Viommu) = "vIOMMU",
}

/// A type of object.
pub(crate) trait Kind: Sized {
    /// What people call it.
    const NAME: &'static str;
    fn of(object: &Object) -> Option<&Self>;
    fn of_mut(object: &mut Object) -> Option<&mut Self>;
}

#[derive(Debug)]
struct Slot {
    /// Tells the object from others that had or will have the same ID.
    serial: u64,
    users: u32,
    published: bool,
    /// None while the object is being made, and in a tombstone.
    object: Option<Object>,
}

/// The objects of one context.
#[derive(Debug, Default)]
pub(crate) struct ObjectTable {
    /// Index 0 is ID 1.
    slots: Vec<Option<Slot>>,
    free: BTreeSet<usize>,
    next_serial: u64,
}

impl ObjectTable {
    /// Takes the lowest free ID. Give it back with [`ObjectTable::take`].
    pub fn reserve(&mut self) -> ObjectId {
        self.next_serial += 1;
        let serial = self.next_serial;
        let slot = Some(Slot { serial, users: 1, published: false, object: None });
        let index = match self.free.pop_first() {
            Some(index) => {
                self.slots[index] = slot;
                index
            }
            None => {
                self.slots.push(slot);
                self.slots.len() - 1
            }
        };
        ObjectId(index as u32 + 1)
    }

    /// Puts the object into its reserved ID, still unpublished.
    pub fn fill(&mut self, id: ObjectId, object: impl Into<Object>) {
        if let Some(slot) = self.slot_mut(id) {
            slot.object = Some(object.into());
        }
    }

    /// Reserves an ID and fills it.
    pub fn add(&mut self, object: impl Into<Object>) -> ObjectId {
        let id = self.reserve();
        self.fill(id, object);
        id
    }

    /// Lets callers find the object.
    pub fn publish(&mut self, id: ObjectId) {
        if let Some(slot) = self.slot_mut(id) {
            slot.published = true;
        }
    }

    /// Removes the object and frees its ID.
    pub fn take(&mut self, id: ObjectId) -> Option<Object> {
        let index = index(id)?;
        let slot = self.slots.get_mut(index)?.take()?;
        self.free.insert(index);
        slot.object
    }

    /// Removes the object and keeps its ID out of use until the context is closed.
    pub fn bury(&mut self, id: ObjectId) -> Option<Object> {
        let slot = self.slot_mut(id)?;
        slot.published = false;
        slot.object.take()
    }

    /// Whether there is neither an object nor a reservation nor a tombstone.
    pub fn is_empty(&self) -> bool {
        self.slots.iter().all(Option::is_none)
    }

    /// The published object with this ID, for an ID that came from a caller.
    pub fn find(&self, id: u32) -> Result<&Object, Refusal> {
        let id = ObjectId(id);
        self.slot(id)
            .filter(|slot| slot.published)
            .and_then(|slot| slot.object.as_ref())
            .ok_or(Refusal::NoSuchObject { kind: "object", id })
    }

    /// The published object of type `T` with this ID, for an ID that came from a caller.
    pub fn get<T: Kind>(&self, id: u32) -> Result<&T, Refusal> {
        let missing = Refusal::NoSuchObject { kind: T::NAME, id: ObjectId(id) };
        self.find(id).ok().and_then(T::of).ok_or(missing)
    }

    /// Like [`ObjectTable::get`], to change it.
    pub fn get_mut<T: Kind>(&mut self, id: u32) -> Result<&mut T, Refusal> {
        self.get::<T>(id)?;
        Ok(self.at_mut(ObjectId(id)))
    }

    /// The object with an ID that a user of it holds, published or not.
    ///
    /// # Panics
    ///
    /// When the ID is stale. A user count keeps that from happening.
    pub fn at<T: Kind>(&self, id: ObjectId) -> &T {
        self.slot(id)
            .and_then(|slot| slot.object.as_ref())
            .and_then(T::of)
            .expect("a user keeps its object alive")
    }

    /// Like [`ObjectTable::at`], to change it.
    pub fn at_mut<T: Kind>(&mut self, id: ObjectId) -> &mut T {
        self.slot_mut(id)
            .and_then(|slot| slot.object.as_mut())
            .and_then(T::of_mut)
            .expect("a user keeps its object alive")
    }

    /// The object, published or not, whatever its kind.
    pub fn peek(&self, id: ObjectId) -> Option<&Object> {
        self.slot(id)?.object.as_ref()
    }

    /// Like [`ObjectTable::peek`], to change it.
    pub fn peek_mut(&mut self, id: ObjectId) -> Option<&mut Object> {
        self.slot_mut(id)?.object.as_mut()
    }

    /// One more user.
    pub fn hold(&mut self, id: ObjectId) {
        if let Some(slot) = self.slot_mut(id) {
            slot.users += 1;
        }
    }

    /// One user less.
    pub fn put(&mut self, id: ObjectId) {
        if let Some(slot) = self.slot_mut(id) {
            debug_assert!(slot.users > 0);
            slot.users -= 1;
        }
    }

    /// The handle of an object, for a file that may outlive it.
    pub fn handle(&self, id: ObjectId) -> Handle {
        Handle { id, serial: self.slot(id).map_or(0, |slot| slot.serial) }
    }

    /// Whether the object of a handle is still there.
    pub fn is_alive(&self, handle: Handle) -> bool {
        self.slot(handle.id).is_some_and(|slot| slot.serial == handle.serial)
    }

    /// How many users the object has, the table included.
    pub fn users(&self, id: ObjectId) -> u32 {
        self.slot(id).map_or(0, |slot| slot.users)
    }

    /// All published objects by rising ID.
    pub fn iter(&self) -> impl Iterator<Item = (ObjectId, &Object)> {
        self.slots.iter().enumerate().filter_map(|(index, slot)| {
            let slot = slot.as_ref().filter(|slot| slot.published)?;
            Some((ObjectId(index as u32 + 1), slot.object.as_ref()?))
        })
    }

    fn slot(&self, id: ObjectId) -> Option<&Slot> {
        self.slots.get(index(id)?)?.as_ref()
    }

    fn slot_mut(&mut self, id: ObjectId) -> Option<&mut Slot> {
        self.slots.get_mut(index(id)?)?.as_mut()
    }
}

fn index(id: ObjectId) -> Option<usize> {
    Some(id.0.checked_sub(1)? as usize)
}
