//! Scatter gather lists (B 4.1.2).
//!
//! A descriptor is data, a bit bucket, or leads to a segment: more descriptors in memory, the last of which may
//! lead on. The descriptors are as long as the data, neither shorter nor longer.

use zerocopy::{FromBytes, IntoBytes};

use super::spec::sgl::{BIT_BUCKET, DATA, LAST_SEGMENT, SEGMENT};
use super::spec::{SglDescriptor, Status};
use super::transfer::{Direction, Pieces, Port};

/// Descriptors of one list, at most.
const DESCRIPTORS: u32 = 16 << 10;

/// Descriptors that are read at once.
const READ_AT_ONCE: u32 = 128;

/// Finds where so many bytes of data are, by a command's data pointer.
pub(super) fn locate(
    port: &Port,
    pointer: [u64; 2],
    length: u64,
    direction: Direction,
    to: &mut Pieces,
) -> Result<(), Status> {
    let first = SglDescriptor::read_from_bytes(pointer.as_bytes()).unwrap_or_default();
    let mut walk = Walk { length, direction, to, budget: DESCRIPTORS };
    let mut next = leads_on(&first).then_some(first);
    if next.is_none() {
        walk.take(&first)?;
    }
    while let Some(segment) = next {
        next = walk.segment(port, &segment)?;
    }
    match walk.to.length < length {
        true => Err(Status::DATA_SGL_LENGTH_INVALID),
        false => Ok(()),
    }
}

fn leads_on(descriptor: &SglDescriptor) -> bool {
    matches!(descriptor.kind, SEGMENT | LAST_SEGMENT)
}

/// A list under way.
struct Walk<'w> {
    /// Bytes of the data.
    length: u64,
    direction: Direction,
    to: &'w mut Pieces,
    /// How many descriptors it may still have: those of no length would have no end.
    budget: u32,
}

impl Walk<'_> {
    /// Takes a descriptor that does not lead on.
    fn take(&mut self, descriptor: &SglDescriptor) -> Result<(), Status> {
        let bytes = u64::from(descriptor.length);
        let at = match (descriptor.kind, self.direction) {
            (DATA, _) => Some(descriptor.address),
            (BIT_BUCKET, Direction::ToHost) => None,
            // what comes from the host comes from no bucket
            (BIT_BUCKET, Direction::FromHost) => return Ok(()),
            _ => return Err(Status::SGL_DESCRIPTOR_TYPE_INVALID),
        };
        if bytes > self.length - self.to.length {
            return Err(Status::DATA_SGL_LENGTH_INVALID);
        }
        self.to.push(at, bytes);
        Ok(())
    }

    /// Takes the descriptors of a segment; the one that leads on, if there is one.
    fn segment(
        &mut self,
        port: &Port,
        segment: &SglDescriptor,
    ) -> Result<Option<SglDescriptor>, Status> {
        if segment.length == 0 || !segment.length.is_multiple_of(16) {
            return Err(Status::INVALID_SGL_SEGMENT);
        }
        let count = segment.length / 16;
        let left = self.budget.checked_sub(count);
        self.budget = left.ok_or(Status::INVALID_NUMBER_OF_SGL_DESCRIPTORS)?;
        let mut done = 0;
        while done < count {
            let mut list = [SglDescriptor::default(); READ_AT_ONCE as usize];
            let list = &mut list[..READ_AT_ONCE.min(count - done) as usize];
            let from = segment.address.saturating_add(16 * u64::from(done));
            port.burst(|burst| burst.read(from, list.as_mut_bytes()))?;
            for descriptor in list {
                done += 1;
                match leads_on(descriptor) {
                    false => self.take(descriptor)?,
                    true if segment.kind == LAST_SEGMENT => {
                        return Err(Status::INVALID_SGL_SEGMENT);
                    }
                    true if done < count => {
                        return Err(Status::INVALID_NUMBER_OF_SGL_DESCRIPTORS);
                    }
                    true => return Ok(Some(*descriptor)),
                }
            }
        }
        Ok(None)
    }
}
