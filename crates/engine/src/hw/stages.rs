//! Two stages of translation: a guest's tables, in memory that the host's translate.
//!
//! Each may be absent. What a format is, and what is recorded of a [`Stop`], is the vendors'.
//!
//! *What it doesn't do*: contexts, by which a device finds its stages.

use pt::{
    Access, Dirties, Fault, Format, Nested, NestedFault, Reason, Root, TableMemory, Translation,
    walk,
};

/// Tables of a stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Stage<F> {
    pub format: F,
    pub root: Root,
}

/// Why a translation, or a word of a guest's, cannot be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// There is no memory at a physical address.
    NoMemory(u64),
    /// The guest's tables refuse.
    First(Reason),
    /// The host's tables refuse.
    Second(SecondStop),
}

/// What the host's tables refuse.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SecondStop {
    /// The address that was to be translated.
    pub address: u64,
    pub reason: Reason,
    pub purpose: Purpose,
}

/// For what the host's tables are walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// What the device asks for.
    Request,
    /// A word of the guest's, to read it.
    Load,
    /// A word of the guest's, to mark it.
    Mark,
}

/// Memory as a guest's tables address it.
pub(crate) enum GuestMemory<'m, F, M> {
    Physical(Physical<'m, M>),
    Translated(Nested<F, Physical<'m, M>>),
}

/// Physical memory, which tells where there is none.
pub(crate) struct Physical<'m, M>(pub &'m M);

/// A physical address at which there is no memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NoMemory(pub u64);

impl<F: Format + Copy> Stage<F> {
    /// Translates by tables whose memory is physical: the only stage there is, or the second.
    pub fn translate<M: TableMemory>(
        &self,
        address: u64,
        access: Access,
        memory: &M,
    ) -> Result<Translation, Stop> {
        let found = walk(&self.format, self.root, address, access, &Physical(memory));
        found.map_err(|fault| Stop::second(address, fault, Purpose::Request))
    }

    /// Translates by tables of a guest's.
    pub fn translate_in<G: Format, M: TableMemory>(
        &self,
        address: u64,
        access: Access,
        guest: &GuestMemory<'_, G, M>,
    ) -> Result<Translation, Stop> {
        walk(&self.format, self.root, address, access, guest).map_err(|fault| match fault {
            Fault::Refused { reason, .. } => Stop::First(reason),
            Fault::Contended { .. } => Stop::First(Reason::Unmarked),
            Fault::Load { error, .. } | Fault::Store { error, .. } | Fault::Target(error) => error,
        })
    }
}

impl Stop {
    fn second(address: u64, fault: Fault<NoMemory>, purpose: Purpose) -> Self {
        let second = |reason| Self::Second(SecondStop { address, reason, purpose });
        match fault {
            Fault::Refused { reason, .. } => second(reason),
            Fault::Contended { .. } => second(Reason::Unmarked),
            Fault::Load { error, .. } | Fault::Store { error, .. } | Fault::Target(error) => {
                Self::NoMemory(error.0)
            }
        }
    }
}

impl From<NestedFault<NoMemory>> for Stop {
    fn from(nested: NestedFault<NoMemory>) -> Self {
        let purpose = if nested.write { Purpose::Mark } else { Purpose::Load };
        Self::second(nested.address, nested.fault, purpose)
    }
}

impl<'m, F: Format + Copy, M: TableMemory> GuestMemory<'m, F, M> {
    /// The memory behind the host's tables; without such, memory itself.
    pub fn new(host: Option<Stage<F>>, memory: &'m M) -> Self {
        let memory = Physical(memory);
        match host {
            None => Self::Physical(memory),
            Some(Stage { format, root }) => Self::Translated(Nested::new(format, root, memory)),
        }
    }

    /// The same, where pages that are read may count as written.
    pub fn read_as(self, dirties: Dirties) -> Self {
        match self {
            Self::Translated(nested) => Self::Translated(nested.read_as(dirties)),
            physical => physical,
        }
    }
}

impl<F: Format, M: TableMemory> TableMemory for GuestMemory<'_, F, M> {
    type Error = Stop;

    fn load(&self, address: u64) -> Result<u64, Stop> {
        match self {
            Self::Physical(memory) => memory.load(address).map_err(|none| Stop::NoMemory(none.0)),
            Self::Translated(nested) => Ok(nested.load(address)?),
        }
    }

    fn swap(&self, address: u64, old: u64, new: u64) -> Result<bool, Stop> {
        match self {
            Self::Physical(memory) => {
                memory.swap(address, old, new).map_err(|none| Stop::NoMemory(none.0))
            }
            Self::Translated(nested) => Ok(nested.swap(address, old, new)?),
        }
    }
}

impl<M: TableMemory> TableMemory for Physical<'_, M> {
    type Error = NoMemory;

    fn load(&self, address: u64) -> Result<u64, NoMemory> {
        self.0.load(address).map_err(|_| NoMemory(address))
    }

    fn swap(&self, address: u64, old: u64, new: u64) -> Result<bool, NoMemory> {
        self.0.swap(address, old, new).map_err(|_| NoMemory(address))
    }
}
