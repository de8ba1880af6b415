//! `VFIO_DEVICE_GET_IRQ_INFO` and `VFIO_DEVICE_SET_IRQS` (`drivers/vfio/pci/vfio_pci_intrs.c`).
//!
//! | index | action | data |
//! |---|---|---|
//! | pin | mask, unmask | none, a byte; an eventfd unmasks it whenever the program raises that |
//! | pin, MSI, MSI-X | trigger | eventfds turn it on; none and a byte raise it, as the device would; none of them turns it off |
//! | error, request, fault | trigger | an eventfd waits; none and a byte tell it |

use std::sync::Arc;

use profile::Quirk;
use uapi::Errno;
use uapi::vfio::*;

use super::Function;
use super::nested::FAULT_IRQ;
use crate::interrupts::{Kind, Messages, State};
use crate::task::{Task, load_argument};
use crate::{Refusal, Trigger};

/// What comes with a set: nothing, or something for each interrupt.
enum Data {
    None,
    Bool(Vec<bool>),
    Eventfd(Vec<i32>),
}

fn invalid(field: &'static str, value: u32, rule: &'static str) -> Refusal {
    Refusal::Invalid { field, value: value.into(), rule }
}

const OTHER_KIND: Refusal = Refusal::Unfit { rule: "interrupts of another kind are on, or none" };

impl Function {
    /// `vfio_pci_ioctl_get_irq_info`
    pub(super) fn irq_info(&self, task: &Task<'_>, arg: u64) -> Result<(), Refusal> {
        const WHOLE: usize = size_of::<vfio_irq_info>();
        let mut info: vfio_irq_info = load_argument(&**task.memory(), arg, WHOLE, WHOLE)?;
        let told = match info.index {
            VFIO_PCI_INTX_IRQ_INDEX => VFIO_IRQ_INFO_MASKABLE | VFIO_IRQ_INFO_AUTOMASKED,
            VFIO_PCI_MSIX_IRQ_INDEX if self.platform.dynamic_msix => 0,
            VFIO_PCI_ERR_IRQ_INDEX if !self.tells_errors(task) => {
                return Err(invalid("index", info.index, "the device is not PCI Express"));
            }
            VFIO_PCI_MSI_IRQ_INDEX..VFIO_PCI_NUM_IRQS => VFIO_IRQ_INFO_NORESIZE,
            FAULT_IRQ if self.irq_kinds() > FAULT_IRQ => {
                return self.fault_irq_info(task, arg, info);
            }
            _ => return Err(invalid("index", info.index, "no such kind of interrupt")),
        };
        info.flags = VFIO_IRQ_INFO_EVENTFD | told;
        info.count = self.irq_count(task, info.index);
        task.store(arg, &info, "argument")
    }

    /// `vfio_pci_get_irq_count`
    fn irq_count(&self, task: &Task<'_>, index: u32) -> u32 {
        let vectors = self.vectors();
        match index {
            VFIO_PCI_INTX_IRQ_INDEX => vectors.pin.into(),
            VFIO_PCI_MSI_IRQ_INDEX => vectors.msi.into(),
            VFIO_PCI_MSIX_IRQ_INDEX => vectors.msix.map_or(0, |msix| msix.vectors.into()),
            VFIO_PCI_ERR_IRQ_INDEX => self.tells_errors(task).into(),
            VFIO_PCI_REQ_IRQ_INDEX | FAULT_IRQ => 1,
            _ => 0,
        }
    }

    fn tells_errors(&self, task: &Task<'_>) -> bool {
        self.facts.express.is_some() || task.has(Quirk::VfioErrorsOfAny)
    }

    /// `vfio_pci_ioctl_set_irqs`
    pub(super) fn set_irqs(&self, task: &mut Task<'_>, arg: u64) -> Result<i64, Refusal> {
        const HEAD: usize = size_of::<vfio_irq_set>();
        let set: vfio_irq_set = load_argument(&**task.memory(), arg, HEAD, 0)?;
        let data = self.irq_data(task, arg, &set)?;
        let mut change = Change { function: self, task, set, data, told: Vec::new() };
        let mut done = Ok(0);
        self.interrupts.change(|irqs| {
            done = change.run(irqs);
            change.told
        });
        self.interrupts.settle();
        done
    }

    /// The checks that come before any look at the device (`vfio_set_irqs_validate_and_prepare`).
    fn irq_data(&self, task: &Task<'_>, arg: u64, set: &vfio_irq_set) -> Result<Data, Refusal> {
        const HEAD: usize = size_of::<vfio_irq_set>();
        let vfio_irq_set { argsz, flags, index, start, count } = *set;
        if (argsz as usize) < HEAD {
            return Err(Refusal::TooShort { size: argsz, min: HEAD });
        }
        if index >= self.irq_kinds() {
            return Err(invalid("index", index, "no such kind of interrupt"));
        }
        if flags & !(VFIO_IRQ_SET_DATA_TYPE_MASK | VFIO_IRQ_SET_ACTION_TYPE_MASK) != 0 {
            return Err(invalid("flags", flags, "unknown flags"));
        }
        let there = self.irq_count(task, index);
        if start >= there || start.checked_add(count).is_none_or(|end| end > there) {
            return Err(invalid("start", start, "beyond the interrupts of this kind"));
        }
        let size = match flags & VFIO_IRQ_SET_DATA_TYPE_MASK {
            VFIO_IRQ_SET_DATA_NONE => return Ok(Data::None),
            VFIO_IRQ_SET_DATA_BOOL => size_of::<u8>(),
            VFIO_IRQ_SET_DATA_EVENTFD => size_of::<i32>(),
            _ => return Err(invalid("flags", flags, "must have one kind of data")),
        };
        // as many as there are interrupts at most
        let mut bytes = vec![0; count as usize * size];
        if (argsz as usize) < HEAD + bytes.len() {
            return Err(Refusal::TooShort { size: argsz, min: HEAD + bytes.len() });
        }
        let at = arg.wrapping_add(HEAD as u64);
        task.memory().read(at, &mut bytes).map_err(Refusal::bad("data"))?;
        Ok(match size {
            1 => Data::Bool(bytes.iter().map(|byte| *byte != 0).collect()),
            _ => Data::Eventfd(bytes.chunks_exact(4).map(descriptor).collect()),
        })
    }
}

fn descriptor(bytes: &[u8]) -> i32 {
    i32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

/// The eventfd behind a descriptor of the caller (`eventfd_ctx_fdget`).
pub(super) fn eventfd(task: &mut Task<'_>, fd: i32) -> Result<Arc<dyn Trigger>, Refusal> {
    task.caller.eventfd(fd).map_err(|errno| match errno {
        Errno::EBADF => Refusal::NotOpen { fd },
        _ => invalid("fd", fd.cast_unsigned(), "no eventfd"),
    })
}

/// A set under way.
struct Change<'a, 'b> {
    function: &'a Function,
    task: &'a mut Task<'b>,
    set: vfio_irq_set,
    data: Data,
    /// Who is told at its end.
    told: Vec<Arc<dyn Trigger>>,
}

type Done = Result<i64, Refusal>;

impl Change<'_, '_> {
    /// `vfio_pci_set_irqs_ioctl`
    fn run(&mut self, irqs: &mut State) -> Done {
        let (index, action) = (self.set.index, self.set.flags & VFIO_IRQ_SET_ACTION_TYPE_MASK);
        match (index, action) {
            (VFIO_PCI_INTX_IRQ_INDEX, VFIO_IRQ_SET_ACTION_MASK) => self.mask_pin(irqs),
            (VFIO_PCI_INTX_IRQ_INDEX, VFIO_IRQ_SET_ACTION_UNMASK) => self.unmask_pin(irqs),
            (VFIO_PCI_INTX_IRQ_INDEX, VFIO_IRQ_SET_ACTION_TRIGGER) => self.trigger_pin(irqs),
            (VFIO_PCI_MSI_IRQ_INDEX | VFIO_PCI_MSIX_IRQ_INDEX, VFIO_IRQ_SET_ACTION_TRIGGER) => {
                self.trigger_messages(irqs)
            }
            (VFIO_PCI_ERR_IRQ_INDEX, VFIO_IRQ_SET_ACTION_TRIGGER) => {
                self.trigger_single(&mut irqs.error)
            }
            (VFIO_PCI_REQ_IRQ_INDEX, VFIO_IRQ_SET_ACTION_TRIGGER) => {
                self.trigger_single(&mut irqs.request)
            }
            (FAULT_IRQ, VFIO_IRQ_SET_ACTION_TRIGGER) => self.trigger_single(&mut irqs.fault),
            _ => Err(Refusal::NotOffered { what: "action on interrupts", value: action.into() }),
        }
    }

    /// What asks for the only interrupt of its kind.
    fn is_for_pin(&self, state: &State) -> Result<(), Refusal> {
        match (&state.kind, self.set.start, self.set.count) {
            (Kind::Pin { .. }, 0, 1) => Ok(()),
            _ => Err(OTHER_KIND),
        }
    }

    /// Whether the data are none, or a byte that is not 0.
    fn asks(&self) -> bool {
        match &self.data {
            Data::None => true,
            Data::Bool(bytes) => bytes.first() == Some(&true),
            Data::Eventfd(_) => false,
        }
    }

    /// `vfio_pci_set_intx_mask`
    fn mask_pin(&self, state: &mut State) -> Done {
        self.is_for_pin(state)?;
        if let Data::Eventfd(_) = self.data {
            return Err(Refusal::NotOffered { what: "masking by eventfd", value: 0 });
        }
        if self.asks() {
            state.mask_pin();
        }
        Ok(0)
    }

    /// `vfio_pci_set_intx_unmask`
    fn unmask_pin(&mut self, state: &mut State) -> Done {
        self.is_for_pin(state)?;
        if let (Data::Eventfd(fds), Kind::Pin { unmask, .. }) = (&self.data, &mut state.kind) {
            let fd = fds[0];
            if fd < 0 {
                *unmask = None;
                return Ok(0);
            }
            // vfio_virqfd_enable
            let trigger = eventfd(self.task, fd)?;
            if unmask.is_some() {
                return Err(Refusal::Busy {
                    what: "the pin",
                    why: "an eventfd unmasks it already",
                });
            }
            let watched = trigger.watch(self.function.interrupts.unmasker());
            *unmask = Some(watched.ok_or(Refusal::NoMemory)?);
            return Ok(0);
        }
        if self.asks() {
            self.told.extend(state.unmask_pin());
        }
        Ok(0)
    }

    /// `vfio_pci_set_intx_trigger`
    fn trigger_pin(&mut self, state: &mut State) -> Done {
        let is_on = matches!(state.kind, Kind::Pin { .. });
        if let (true, 0, Data::None) = (is_on, self.set.count, &self.data) {
            state.turn_off();
            return Ok(0);
        }
        let is_free = is_on || matches!(state.kind, Kind::None);
        if !is_free || self.set.start != 0 || self.set.count != 1 {
            return Err(OTHER_KIND);
        }
        if let Data::Eventfd(fds) = &self.data {
            let fd = fds[0];
            let new = if fd < 0 { None } else { Some(eventfd(self.task, fd)?) };
            match &mut state.kind {
                Kind::Pin { trigger, .. } => *trigger = new,
                _ => self.told.extend(state.enable_pin(new)),
            }
            return Ok(0);
        }
        self.is_for_pin(state)?;
        if self.asks() {
            self.told.extend(state.pin_trigger());
        }
        Ok(0)
    }

    /// `vfio_pci_set_msi_trigger`
    fn trigger_messages(&mut self, state: &mut State) -> Done {
        let msix = self.set.index == VFIO_PCI_MSIX_IRQ_INDEX;
        let (is_on, is_free) = match &state.kind {
            Kind::None => (false, true),
            Kind::Pin { .. } => (false, false),
            Kind::Msi(_) => (!msix, !msix),
            Kind::Msix(_) => (msix, msix),
        };
        if let (true, 0, Data::None) = (is_on, self.set.count, &self.data) {
            state.turn_off();
            return Ok(0);
        }
        if !is_free {
            return Err(OTHER_KIND);
        }
        let vectors = self.set.start..self.set.start + self.set.count;
        if let Data::Eventfd(fds) = &mut self.data {
            let fds = std::mem::take(fds);
            if is_on {
                return self.connect_all(state, &fds);
            }
            let (wanted, given) = (vectors.end, self.function.allocate_vectors(msix, vectors.end)?);
            if given < wanted {
                // the kernel answers how many there would be
                return Ok(given.into());
            }
            let messages = Messages { allocated: given, ..Messages::default() };
            state.kind = if msix { Kind::Msix(messages) } else { Kind::Msi(messages) };
            return self.connect_all(state, &fds).inspect_err(|_| state.turn_off());
        }
        let (Kind::Msi(messages) | Kind::Msix(messages)) = &state.kind else {
            return Err(OTHER_KIND);
        };
        let asks = |at: u32| match &self.data {
            Data::Bool(bytes) => bytes[at as usize],
            _ => true,
        };
        for vector in vectors.clone().filter(|vector| asks(vector - vectors.start)) {
            self.told.extend(messages.waiting.get(&vector).cloned());
        }
        Ok(0)
    }

    /// Says who waits for each message; after a refusal nobody does (`vfio_msi_set_block`).
    fn connect_all(&mut self, state: &mut State, fds: &[i32]) -> Done {
        let first = self.set.start;
        for (vector, fd) in (first..).zip(fds) {
            if let Err(refusal) = self.connect(state, vector, *fd) {
                (first..=vector).for_each(|vector| _ = state.connect(vector, None));
                return Err(refusal);
            }
        }
        Ok(0)
    }

    /// `vfio_msi_set_vector_signal`
    fn connect(&mut self, state: &mut State, vector: u32, fd: i32) -> Result<(), Refusal> {
        let dynamic = self.function.platform.dynamic_msix;
        let is_allocated = match &state.kind {
            Kind::Msix(messages) => dynamic || vector < messages.allocated,
            Kind::Msi(messages) => vector < messages.allocated,
            Kind::None | Kind::Pin { .. } => false,
        };
        state.connect(vector, None);
        if fd < 0 {
            return Ok(());
        }
        if !is_allocated {
            return Err(invalid("start", vector, "more than were turned on"));
        }
        let trigger = eventfd(self.task, fd)?;
        self.told.extend(state.connect(vector, Some(trigger)));
        Ok(())
    }

    /// `vfio_pci_set_ctx_trigger_single`
    fn trigger_single(&mut self, waiting: &mut Option<Arc<dyn Trigger>>) -> Done {
        let (start, count) = (self.set.start, self.set.count);
        if start != 0 || count > 1 {
            return Err(invalid("count", count, "there is one of this kind"));
        }
        match &self.data {
            Data::None => match (waiting.clone(), count) {
                (None, _) => return Err(invalid("flags", self.set.flags, "nobody waits")),
                (_, 0) => *waiting = None,
                (trigger, _) => self.told.extend(trigger),
            },
            _ if count == 0 => return Err(invalid("count", count, "must be 1")),
            Data::Bool(_) if self.asks() => self.told.extend(waiting.clone()),
            Data::Bool(_) => {}
            Data::Eventfd(fds) => match fds[0] {
                -1 => *waiting = None,
                fd if fd < 0 => return Err(invalid("fd", fd.cast_unsigned(), "no descriptor")),
                fd => *waiting = Some(eventfd(self.task, fd)?),
            },
        }
        Ok(0)
    }
}

impl Function {
    /// How many vectors the system gives of those that are wanted (`pci_alloc_irq_vectors`).
    fn allocate_vectors(&self, msix: bool, wanted: u32) -> Result<u32, Refusal> {
        match wanted {
            0 => Err(Refusal::OutOfRange { field: "count", value: 0 }),
            // one message, where the interrupt controller remaps none (msi_capability_init)
            _ if !msix && !self.platform.multiple_msi => Ok(1),
            _ => Ok(wanted),
        }
    }
}
