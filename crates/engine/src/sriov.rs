//! Virtual functions of SR-IOV: how many a physical one has at the moment, and where they are
//! (`drivers/pci/iov.c`, `drivers/vfio/pci/vfio_pci_core.c`).
//!
//! The machine has them from its start, as functions that nobody sees; `sriov_numvfs` lets them be seen. They
//! come to VFIO by themselves, as those of a physical function that is with VFIO do.
//!
//! *What it doesn't do*: take virtual functions away while a program has one, where Linux asks for it back
//! and waits.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;
use profile::Machine;
use profile::machine::{Bdf, Device};

use crate::function::{Function, Token};
use crate::{Engine, Refusal};

/// From the address of the physical function to that of the first virtual one.
pub(crate) const OFFSET: u16 = 1;
/// From one virtual function to the next.
pub(crate) const STRIDE: u16 = 1;

/// The address of a virtual function (`pci_iov_virtfn_bus`, `pci_iov_virtfn_devfn`); none beyond the last bus.
pub(crate) fn virtual_address(physical: Bdf, number: u16) -> Option<Bdf> {
    let Bdf { segment, bus, device, function } = physical;
    let own = u16::from(bus) << 8 | u16::from(device) << 3 | u16::from(function);
    let rid = own.checked_add(OFFSET)?.checked_add(number.checked_mul(STRIDE)?)?;
    let [bus, rest] = rid.to_be_bytes();
    Some(Bdf { segment, bus, device: rest >> 3, function: rest & 7 })
}

/// The virtual functions of a machine: whose they are, and how many each physical one has at the moment.
#[derive(Debug, Default)]
pub(crate) struct Sriov {
    /// By address: the physical function's, and the number there.
    owners: BTreeMap<Bdf, (Bdf, u16)>,
    /// Locked after a group and the owners, before a context.
    counts: Mutex<Counts>,
}

/// How many virtual functions each physical one has.
type Counts = BTreeMap<Bdf, u16>;

impl Sriov {
    /// Gives a machine all the virtual functions that it may have, each in a group of its own. None takes the
    /// place of another device.
    pub fn of(machine: &mut Machine) -> Self {
        let last = machine.devices.iter().map(|device| device.group).max();
        let mut groups = last.map_or(0, |last| last.saturating_add(1))..;
        let mut taken: BTreeSet<_> = machine.devices.iter().map(|it| it.address).collect();
        let (mut owners, mut counts, mut new) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        for physical in machine.devices.iter().filter(|device| device.total_vfs > 0) {
            counts.insert(physical.address, 0);
            for number in 0..physical.total_vfs {
                let address = virtual_address(physical.address, number);
                let address = address.filter(|address| taken.insert(*address));
                let (Some(address), Some(group)) = (address, groups.next()) else { break };
                owners.insert(address, (physical.address, number));
                let device = physical.clone();
                let virtual_function = true;
                new.push(Device { address, group, total_vfs: 0, virtual_function, ..device });
            }
        }
        machine.devices.append(&mut new);
        Self { owners, counts: Mutex::new(counts) }
    }

    /// The physical function of a virtual one.
    fn physical(&self, address: Bdf) -> Option<Bdf> {
        self.owners.get(&address).map(|(physical, _)| *physical)
    }

    /// Whether there is a function while physical ones have so many virtual ones.
    fn is_among(&self, counts: &Counts, address: Bdf) -> bool {
        let Some((physical, number)) = self.owners.get(&address) else { return true };
        counts.get(physical).is_some_and(|count| number < count)
    }
}

impl Engine {
    /// Whether a function can be seen: a virtual one only while its physical one has it.
    pub(crate) fn is_present(&self, address: Bdf) -> bool {
        self.sriov.is_among(&self.sriov.counts.lock(), address)
    }

    /// A program gets a function ([`Function::enable`]), and does something before: it is not taken away
    /// meanwhile. Refused where it was, while the program had its files open.
    pub(crate) fn enable<T>(
        &self,
        function: &Function,
        before: impl FnOnce() -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let counts = self.sriov.counts.lock();
        if !self.sriov.is_among(&counts, function.facts.address) {
            return Err(Refusal::NoDevice { what: "the virtual function was taken away" });
        }
        let done = before()?;
        function.enable();
        Ok(done)
    }

    /// How many virtual functions a physical one has; none where it cannot have any.
    pub fn virtual_functions(&self, physical: Bdf) -> Option<u16> {
        self.sriov.counts.lock().get(&physical).copied()
    }

    /// Gives a physical function its virtual ones, or takes them away (`sriov_numvfs_store`).
    pub fn set_virtual_functions(&self, physical: Bdf, number: u16) -> Result<(), Refusal> {
        let mut counts = self.sriov.counts.lock();
        let mut devices = self.machine.devices.iter();
        let device = devices.find(|device| device.address == physical);
        let (Some(count), Some(device)) = (counts.get_mut(&physical), device) else {
            return Err(Refusal::NotFound { what: "physical function", value: 0 });
        };
        if number > device.total_vfs {
            return Err(Refusal::OutOfRange { field: "sriov_numvfs", value: number.into() });
        }
        let busy = |why| Err(Refusal::Busy { what: "SR-IOV", why });
        if number == *count {
            return Ok(());
        }
        if number > 0 && *count > 0 {
            return busy("there are virtual functions already");
        }
        if number == 0 && self.has_user_of_virtual(physical) {
            return busy("a program has a virtual function");
        }
        *count = number;
        Ok(())
    }

    /// Whether a program has a virtual function of a physical one.
    fn has_user_of_virtual(&self, physical: Bdf) -> bool {
        let of = |function: &Function| self.sriov.physical(function.facts.address);
        self.functions.iter().any(|it| it.is_held() && of(it) == Some(physical))
    }

    /// Whether a program may have a function with this token (`vfio_pci_validate_vf_token`). A physical
    /// function takes any while no virtual one is in use.
    pub(crate) fn match_token(&self, index: usize, token: Option<Token>) -> Result<(), Refusal> {
        let function = &self.functions[index];
        let address = function.facts.address;
        let of_physical = |holder: &Function| match token {
            None => Err(Refusal::Token { what: "missing" }),
            Some(token) if holder.has_token(&token) => Ok(()),
            Some(_) => Err(Refusal::Token { what: "another" }),
        };
        if let Some(physical) = self.sriov.physical(address) {
            let mut functions = self.functions.iter();
            // a virtual function of VFIO has its physical one there, too
            let holder = functions.find(|it| it.facts.address == physical);
            return of_physical(holder.unwrap_or(function));
        }
        match token {
            _ if self.virtual_functions(address).is_none() => match token {
                None => Ok(()),
                Some(_) => Err(Refusal::Unfit { rule: "the device takes no token" }),
            },
            _ if self.has_user_of_virtual(address) => of_physical(function),
            None => Ok(()),
            Some(token) => {
                function.set_token(token);
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uapi::Errno;

    use super::*;

    #[test]
    fn addresses() {
        #[rustfmt::skip] // one virtual function, one line
        let cases = [
            ("0000:6a:01.0", 0,     Some("0000:6a:01.1")),
            ("0000:6a:01.0", 7,     Some("0000:6a:02.0")),
            ("0000:6a:1f.7", 0,     Some("0000:6b:00.0")),
            ("0000:ff:1f.7", 0,     None),
            ("0000:00:00.0", 65535, None),
        ];
        for (physical, number, expected) in cases {
            let expected = expected.map(|it| it.parse::<Bdf>().unwrap());
            assert_eq!(virtual_address(physical.parse().unwrap(), number), expected, "{physical}");
        }
    }

    /// A machine with one physical function of so many virtual ones.
    fn machine(total_vfs: u16) -> Machine {
        let mut machine = Machine::by_name("spr").unwrap().clone();
        machine.devices[0].total_vfs = total_vfs;
        machine
    }

    #[test]
    fn virtual_functions_are_as_many_as_there_are_places() {
        let mut machine = machine(4);
        let physical = machine.devices[0].clone();
        // in the place of the second
        let address = virtual_address(physical.address, 1).unwrap();
        machine.devices.push(Device { address, group: 7, total_vfs: 0, ..physical });
        let sriov = Sriov::of(&mut machine);
        assert_eq!(sriov.owners.len(), 1);
        let groups: Vec<_> = machine.devices.iter().map(|device| device.group).collect();
        assert_eq!(groups, [0, 7, 8]);
    }

    #[test]
    fn how_many_there_are_is_told_and_changed() {
        let engine = Engine::new(&machine(3), profile::Kernel::newest());
        let physical = engine.machine().devices[0].address;
        let seen = || {
            let nodes = engine.device_nodes();
            nodes.iter().filter(|node| node.starts_with("vfio/devices/")).count() - 1
        };
        #[rustfmt::skip] // the calls in order, one a line: number, errno, how many there are then
        let calls = [
            (4, Err(Errno::ERANGE), 0),
            (0, Ok(()),             0),
            (2, Ok(()),             2),
            (2, Ok(()),             2),
            (3, Err(Errno::EBUSY),  2),
            (0, Ok(()),             0),
            (3, Ok(()),             3),
        ];
        for (number, expected, count) in calls {
            let done = engine.set_virtual_functions(physical, number);
            assert_eq!(done.map_err(|refusal| refusal.errno()), expected, "{number}");
            assert_eq!(engine.virtual_functions(physical), Some(count), "{number}");
            assert_eq!(seen(), usize::from(count), "{number}");
        }
        engine.functions[1].enable();
        let refused = engine.set_virtual_functions(physical, 0).unwrap_err();
        assert_eq!(refused.errno(), Errno::EBUSY);
        engine.functions[1].disable();
        assert_eq!(engine.set_virtual_functions(physical, 0), Ok(()));
        let other = virtual_address(physical, 0).unwrap();
        assert_eq!(engine.virtual_functions(other), None);
        let refused = engine.set_virtual_functions(other, 0).unwrap_err();
        assert_eq!(refused.errno(), Errno::ENOENT);
    }

    #[test]
    fn tokens() {
        let engine = Engine::new(&machine(1), profile::Kernel::newest());
        let (one, two) = (Some([1; 16]), Some([2; 16]));
        let (physical, virtual_one) = (0, 1);
        let in_use = |held| match held {
            true => engine.functions[virtual_one].enable(),
            false => engine.functions[virtual_one].disable(),
        };
        #[rustfmt::skip] // in order, one a line: the function, a token, whether the virtual one is in use, errno
        let calls = [
            // nobody knows the first token
            (virtual_one, None, false, Err(Errno::EACCES)),
            (virtual_one, one,  false, Err(Errno::EACCES)),
            (physical,    None, false, Ok(())),
            (virtual_one, one,  false, Err(Errno::EACCES)),
            (physical,    one,  false, Ok(())),
            (virtual_one, None, false, Err(Errno::EACCES)),
            (virtual_one, two,  false, Err(Errno::EACCES)),
            (virtual_one, one,  false, Ok(())),
            (physical,    two,  true,  Err(Errno::EACCES)),
            (physical,    None, true,  Err(Errno::EACCES)),
            (physical,    one,  true,  Ok(())),
            (physical,    two,  false, Ok(())),
            (virtual_one, one,  false, Err(Errno::EACCES)),
        ];
        for (number, (index, token, held, expected)) in calls.into_iter().enumerate() {
            in_use(held);
            let done = engine.match_token(index, token).map_err(|refusal| refusal.errno());
            assert_eq!(done, expected, "call {number}");
        }
        let others = Engine::new(&machine(0), profile::Kernel::newest());
        assert_eq!(others.match_token(0, None), Ok(()));
        assert_eq!(others.match_token(0, one).map_err(|it| it.errno()), Err(Errno::EINVAL));
    }
}
