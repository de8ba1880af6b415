//! Which generation of the user API a kernel has, by its answers.
//!
//! Version numbers lie: distributions bring newer calls to older kernels, and take none away. So each
//! probe asks something that the generations answer differently, on a fresh `/dev/iommu` and with IDs
//! that no object has, so that nothing is changed. What a generation would answer follows from the same
//! tables that the engine answers by: sizes of commands, and quirks.
//!
//! Generations that answer every probe alike are told apart by `uname` as far as it fits.

use std::io;

use profile::{Kernel, Quirk};
use uapi::command::{_IO, IOMMUFD_TYPE};
use uapi::iommufd::*;
use uapi::vfio::{VFIO_IOMMU_UNMAP_DMA, vfio_iommu_type1_dma_unmap};
use uapi::{COMMANDS, Command, CommandFacts, Errno, Generation};

use crate::file::OpenFile;
use crate::probe::CannotAsk;
use crate::session::{Failed, size};
use crate::system::System;

/// The kernel of a system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fingerprint {
    /// The generations that answer as it does, oldest first; at least one.
    pub candidates: Vec<Generation>,
    /// Whether they answer exactly so. Else they are those that come nearest.
    pub exact: bool,
}

impl Fingerprint {
    /// The generation to take: the one that `release` names, where it is a candidate, else the oldest.
    pub fn generation(&self, release: Option<&str>) -> Generation {
        let named = release.and_then(generation_of);
        let oldest = self.candidates.first().copied().unwrap_or(Generation::NEWEST);
        named.filter(|named| self.candidates.contains(named)).unwrap_or(oldest)
    }
}

/// The generation of a release as `uname -r` names it: `6.12.8-amd64`.
fn generation_of(release: &str) -> Option<Generation> {
    let mut parts = release.split(|c: char| !c.is_ascii_digit());
    let mut number = || parts.next()?.parse().ok();
    Generation::of_release(number()?, number()?)
}

type Ask = dyn Fn(&OpenFile) -> io::Result<bool>;

/// A question, and what a kernel answers.
struct Probe {
    /// Whether the answer is the newer one.
    ask: Box<Ask>,
    expect: Box<dyn Fn(&Kernel) -> bool>,
}

/// Asks a system; fails when `/dev/iommu` cannot be opened, or memory or descriptors run out.
pub fn fingerprint(system: &System) -> Result<Fingerprint, CannotAsk> {
    let file = system.open_iommu().map_err(CannotAsk::no_iommufd)?;
    let probes = probes();
    let answers: io::Result<Vec<bool>> = probes.iter().map(|probe| (probe.ask)(&file)).collect();
    let answers = answers.map_err(|error| Failed::new("asking which kernel it is", &error))?;
    let differing = |kernel: &Kernel| {
        let wrong = |(probe, answer): &(&Probe, &bool)| (probe.expect)(kernel) != **answer;
        probes.iter().zip(&answers).filter(wrong).count()
    };
    let scored: Vec<_> =
        Kernel::all().iter().map(|kernel| (differing(kernel), kernel.generation())).collect();
    let least = scored.iter().map(|(count, _)| *count).min().unwrap_or(0);
    let nearest = scored.iter().filter(|(count, _)| *count == least).map(|(_, it)| *it);
    Ok(Fingerprint { candidates: nearest.collect(), exact: least == 0 })
}

fn probes() -> Vec<Probe> {
    let commands =
        COMMANDS.iter().filter(|command| command.nr != uapi::selftest::IOMMU_TEST_CMD as u8);
    let mut probes: Vec<_> = commands.clone().map(exists).collect();
    probes.extend(commands.flat_map(has_grown));
    probes.extend(quirks());
    probes
}

/// Whether a command is there: with size 0 it is `EINVAL`, else `ENOTTY`.
fn exists(command: &'static CommandFacts) -> Probe {
    Probe {
        ask: Box::new(|file| Ok(call(file, command.nr, &mut [0; 64])? != Some(Errno::ENOTTY))),
        expect: Box::new(|kernel| size_in(command, kernel).is_some()),
    }
}

/// Whether a command is as large as once it was: a byte that is not known must be 0, else `E2BIG`.
fn has_grown(command: &'static CommandFacts) -> impl Iterator<Item = Probe> {
    command.sizes.iter().skip(1).map(move |&(_, size)| Probe {
        ask: Box::new(move |file| {
            let mut bytes = [0; 64];
            bytes[0] = size as u8;
            bytes[size - 1] = 1;
            Ok(call(file, command.nr, &mut bytes)? != Some(Errno::E2BIG))
        }),
        // a command that is not there is no smaller one
        expect: Box::new(move |kernel| size_in(command, kernel).is_none_or(|known| known >= size)),
    })
}

fn size_in(command: &CommandFacts, kernel: &Kernel) -> Option<usize> {
    let known = command.sizes.iter().rfind(|(since, _)| *since <= kernel.generation());
    known.map(|(_, size)| *size)
}

/// A command as bytes; none when it is done, which no probe here is meant to be.
fn call(file: &OpenFile, nr: u8, bytes: &mut [u8; 64]) -> io::Result<Option<Errno>> {
    refused(file.ioctl(_IO(IOMMUFD_TYPE, nr), bytes))
}

fn refused(result: io::Result<i32>) -> io::Result<Option<Errno>> {
    match result {
        Ok(_) => Ok(None),
        Err(error) => match error.raw_os_error().and_then(Errno::from_code) {
            Some(errno) => Ok(Some(errno)),
            None => Err(error),
        },
    }
}

/// Answers that changed without a new size. ID 0 is never an object.
fn quirks() -> Vec<Probe> {
    fn probe<C: Command>(quirk: Quirk, newer: Errno, cmd: C) -> Probe {
        Probe {
            ask: Box::new(move |file| Ok(refused(file.call(&mut { cmd }))? == Some(newer))),
            expect: Box::new(move |kernel| {
                C::size_in(kernel.generation()).is_some() && kernel.has(quirk)
            }),
        }
    }
    const TOO_MANY: u32 = (1 << 19) + 1;
    vec![
        probe(
            Quirk::HwptDataNeedsLength,
            Errno::EINVAL,
            iommu_hwpt_alloc { size: 40, data_type: IOMMU_HWPT_DATA_VTD_S1, ..Default::default() },
        ),
        probe(
            Quirk::HwInfoPasid,
            Errno::ENOENT,
            iommu_hw_info { size: 32, out_max_pasid_log2: 1, ..Default::default() },
        ),
        probe(
            Quirk::HwInfoInputType,
            Errno::ENOENT,
            iommu_hw_info { size: 32, flags: IOMMU_HW_INFO_FLAG_INPUT_TYPE, ..Default::default() },
        ),
        probe(
            Quirk::InvalidateLimits,
            Errno::EINVAL,
            iommu_hwpt_invalidate {
                size: size::<iommu_hwpt_invalidate>(),
                data_uptr: 1,
                entry_len: 16,
                entry_num: TOO_MANY,
                ..Default::default()
            },
        ),
        probe(
            Quirk::VeventqDepthLimit,
            Errno::EINVAL,
            iommu_veventq_alloc {
                size: size::<iommu_veventq_alloc>(),
                r#type: IOMMU_VEVENTQ_TYPE_ARM_SMMUV3,
                veventq_depth: TOO_MANY,
                ..Default::default()
            },
        ),
        Probe { ask: Box::new(wrong_kind), expect: Box::new(expects_wrong_kind) },
        Probe {
            ask: Box::new(unmap_of_nothing),
            expect: Box::new(|kernel| kernel.has(Quirk::UnmapDmaOfNothing)),
        },
        Probe { ask: Box::new(bad_answer), expect: Box::new(expects_bad_answer) },
    ]
}

/// Whether invalidating on an IOAS is `EINVAL`; before, it is no object at all.
fn wrong_kind(file: &OpenFile) -> io::Result<bool> {
    let mut ioas = iommu_ioas_alloc { size: size::<iommu_ioas_alloc>(), ..Default::default() };
    file.call(&mut ioas)?;
    let mut cmd = iommu_hwpt_invalidate {
        size: size::<iommu_hwpt_invalidate>(),
        hwpt_id: ioas.out_ioas_id,
        ..Default::default()
    };
    let answer = refused(file.call(&mut cmd));
    destroy(file, ioas.out_ioas_id)?;
    Ok(answer? == Some(Errno::EINVAL))
}

fn expects_wrong_kind(kernel: &Kernel) -> bool {
    let known = iommu_hwpt_invalidate::size_in(kernel.generation()).is_some();
    known && kernel.has(Quirk::InvalidateWrongKindEinval)
}

/// Whether the type1 call that unmaps a range of nothing succeeds.
fn unmap_of_nothing(file: &OpenFile) -> io::Result<bool> {
    let mut ioas = iommu_ioas_alloc { size: size::<iommu_ioas_alloc>(), ..Default::default() };
    file.call(&mut ioas)?;
    let mut choose = iommu_vfio_ioas {
        size: size::<iommu_vfio_ioas>(),
        ioas_id: ioas.out_ioas_id,
        op: IOMMU_VFIO_IOAS_SET,
        ..Default::default()
    };
    file.call(&mut choose)?;
    let argsz = size_of::<vfio_iommu_type1_dma_unmap>() as u32;
    let mut unmap = vfio_iommu_type1_dma_unmap { argsz, size: 0x1000, ..Default::default() };
    let answer = refused(file.ioctl(VFIO_IOMMU_UNMAP_DMA, &mut unmap));
    destroy(file, ioas.out_ioas_id)?;
    Ok(answer?.is_none())
}

/// Whether an answer to page faults from no memory is `EFAULT`; before, it counts as written.
fn bad_answer(file: &OpenFile) -> io::Result<bool> {
    let mut queue = iommu_fault_alloc { size: size::<iommu_fault_alloc>(), ..Default::default() };
    match file.call(&mut queue) {
        Err(error) if error.raw_os_error() == Some(Errno::ENOTTY.code()) => return Ok(false),
        made => made?,
    };
    let faults = file.receive(queue.out_fault_fd);
    let answer = faults.write_nowhere(8);
    drop(faults);
    destroy(file, queue.out_fault_id)?;
    match answer {
        Ok(_) => Ok(false),
        Err(error) => Ok(error.raw_os_error() == Some(Errno::EFAULT.code())),
    }
}

fn expects_bad_answer(kernel: &Kernel) -> bool {
    let known = iommu_fault_alloc::size_in(kernel.generation()).is_some();
    known && kernel.has(Quirk::FaultWriteEfault)
}

fn destroy(file: &OpenFile, id: u32) -> io::Result<()> {
    file.call(&mut iommu_destroy { size: size::<iommu_destroy>(), id }).map(drop)
}

#[cfg(test)]
mod tests {
    use profile::Machine;

    use super::*;

    #[test]
    fn every_generation_is_told_by_its_answers() {
        use Generation::*;
        // what no probe without a device can tell apart
        let alike: &[&[Generation]] = &[&[V6_13, V6_14], &[V6_18, V6_19, V7_0]];
        let machine = Machine::by_name("none").unwrap();
        for kernel in Kernel::all() {
            let found = fingerprint(&System::software(machine, kernel).unwrap()).unwrap();
            let own = kernel.generation();
            let expected = alike.iter().find(|group| group.contains(&own));
            let expected = expected.map_or(vec![own], |group| group.to_vec());
            assert_eq!((found.candidates, found.exact), (expected, true), "{kernel}");
        }
    }

    #[test]
    fn releases() {
        let told = Fingerprint {
            candidates: vec![Generation::V6_18, Generation::V6_19, Generation::V7_0],
            exact: true,
        };
        #[rustfmt::skip] // one release, one line
        let cases: &[(Option<&str>, Generation)] = &[
            (Some("6.19.6-amd64"),     Generation::V6_19),
            (Some("7.0.0+deb13-amd64"), Generation::V7_0),
            (Some("6.1.0-49-amd64"),   Generation::V6_18),
            (Some("nonsense"),         Generation::V6_18),
            (None,                     Generation::V6_18),
        ];
        for (release, expected) in cases {
            assert_eq!(told.generation(*release), *expected, "{release:?}");
        }
    }
}
