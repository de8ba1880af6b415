//! Where a command's data is in memory, and its way there (B 4.1).
//!
//! | PSDT | data pointer | here |
//! |---|---|---|
//! | 0 | PRP entries: pages, or a list of pages, whose last entry may lead to the next list | [`Port::prps`] |
//! | 1, 2 | an SGL: data, bit buckets, segments | [`super::sgl`] |
//!
//! Both are read before any data is moved. What a host writes there may lead anywhere; it is followed no
//! longer than the data is.

use std::sync::Arc;

use engine::{Burst, DmaFault};
use zerocopy::IntoBytes;

use super::spec::{Command, Status, TRANSFER_MAX};
use super::{Shared, sgl};
use crate::worker::Halt;

/// The most that is moved in one burst.
const BURST: usize = 64 << 10;

/// Entries of a list that are read at once: as many as the longest transfer needs.
const READ_AT_ONCE: usize = 128;

/// The controller's way to memory, until it is reset.
#[derive(Debug)]
pub(super) struct Port {
    pub shared: Arc<Shared>,
    pub epoch: u64,
    /// Bytes of a memory page.
    pub page: u64,
}

/// Which way data goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Direction {
    ToHost,
    FromHost,
}

/// A part of the data, of at most [`BURST`] bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Piece {
    /// None in a bit bucket.
    at: Option<u64>,
    length: usize,
}

/// Where a command's data is, in its order.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    list: Vec<Piece>,
    /// Bytes of all.
    pub length: u64,
}

impl Pieces {
    fn clear(&mut self) {
        self.list.clear();
        self.length = 0;
    }

    /// Adds a part, after the others.
    pub fn push(&mut self, at: Option<u64>, length: u64) {
        self.length += length;
        let (mut at, mut left) = (at, length as usize);
        while left > 0 {
            let length = left.min(BURST);
            self.list.push(Piece { at, length });
            // past the last address there is nothing
            at = at.map(|at| at.saturating_add(length as u64));
            left -= length;
        }
    }

    /// In groups that are moved in one burst each.
    fn bursts(&self) -> impl Iterator<Item = &[Piece]> {
        let mut rest = &self.list[..];
        std::iter::from_fn(move || {
            let mut bytes = 0;
            let fits = |piece: &&Piece| {
                bytes += piece.length;
                bytes <= BURST
            };
            let count = rest.iter().take_while(fits).count();
            let (group, after) = rest.split_at(count);
            rest = after;
            (count > 0).then_some(group)
        })
    }
}

impl Port {
    /// Reaches memory, for data of a command.
    pub fn burst<R>(
        &self,
        act: impl FnMut(&mut Burst<'_>) -> Result<R, DmaFault>,
    ) -> Result<R, Status> {
        self.shared.worker.burst(self.epoch, None, act).map_err(|halt| match halt {
            // nobody is told
            Halt::Reset => Status::ABORT_REQUESTED,
            Halt::NoBusMaster | Halt::Fault(_) | Halt::NotGranted => Status::DATA_TRANSFER_ERROR,
        })
    }

    /// Finds where so many bytes of a command's data are.
    pub fn locate(
        &self,
        command: &Command,
        length: u64,
        direction: Direction,
        pieces: &mut Pieces,
    ) -> Result<(), Status> {
        pieces.clear();
        if length > TRANSFER_MAX {
            return Err(Status::INVALID_FIELD);
        }
        match command.pointer_kind() {
            _ if length == 0 => Ok(()),
            0 => self.prps(command.dptr, length, pieces),
            1 | 2 => sgl::locate(self, command.dptr, length, direction, pieces),
            _ => Err(Status::INVALID_FIELD),
        }
    }

    /// Physical region pages (B 4.1.1).
    fn prps(&self, [first, second]: [u64; 2], length: u64, to: &mut Pieces) -> Result<(), Status> {
        let aligned = |at: u64, to: u64| match at.is_multiple_of(to) {
            true => Ok(at),
            false => Err(Status::PRP_OFFSET_INVALID),
        };
        let page = self.page;
        to.push(Some(aligned(first, 4)?), length.min(page - first % page));
        let mut left = length - to.length;
        if left == 0 {
            return Ok(());
        }
        if left <= page {
            to.push(Some(aligned(second, page)?), left);
            return Ok(());
        }
        let mut list = aligned(second, 8)?;
        while left > 0 {
            // the last entry in a page leads to the next list, when more is needed than fits
            let (needed, slots) = (left.div_ceil(page), (page - list % page) / 8);
            let leads_on = needed > slots;
            let count = if leads_on { slots } else { needed } as usize;
            let mut entries = [0u64; READ_AT_ONCE];
            let entries = &mut entries[..count.min(READ_AT_ONCE)];
            self.burst(|burst| burst.read(list, entries.as_mut_bytes()))?;
            // a page of 4 KiB holds more entries than the longest transfer needs: none is cut off
            let (pages, next) = match leads_on {
                true => entries.split_at(entries.len() - 1),
                false => (&entries[..], &[][..]),
            };
            for entry in pages {
                let length = left.min(page);
                to.push(Some(aligned(*entry, page)?), length);
                left -= length;
            }
            if let [next] = next {
                list = aligned(*next, page)?;
            }
        }
        Ok(())
    }

    /// Reads data from memory. The buffer is as long as the pieces are.
    pub fn gather(&self, pieces: &Pieces, to: &mut [u8]) -> Result<(), Status> {
        let mut done = 0;
        for group in pieces.bursts() {
            let start = done;
            done = self.burst(|burst| {
                let mut done = start;
                for piece in group {
                    let part = &mut to[done..done + piece.length];
                    match piece.at {
                        Some(at) => burst.read(at, part)?,
                        None => part.fill(0),
                    }
                    done += piece.length;
                }
                Ok(done)
            })?;
        }
        Ok(())
    }

    /// Writes data to memory. The buffer is as long as the pieces are.
    pub fn scatter(&self, pieces: &Pieces, from: &[u8]) -> Result<(), Status> {
        let mut done = 0;
        for group in pieces.bursts() {
            let start = done;
            done = self.burst(|burst| {
                let mut done = start;
                for piece in group {
                    if let Some(at) = piece.at {
                        burst.write(at, &from[done..done + piece.length])?;
                    }
                    done += piece.length;
                }
                Ok(done)
            })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_moved_in_bursts_of_bounded_length() {
        let mut pieces = Pieces::default();
        for (at, length) in [(0x1000, 0x1000), (0x10_0000, 0x3_0000), (0, 0), (u64::MAX, 0x2_0000)]
        {
            pieces.push(Some(at), length);
        }
        let moved: Vec<_> =
            pieces.bursts().map(|it| it.iter().map(|it| it.length).sum::<usize>()).collect();
        assert_eq!(moved, [0x1000, 0x1_0000, 0x1_0000, 0x1_0000, 0x1_0000, 0x1_0000]);
        assert_eq!(pieces.length, 0x5_1000);
        let second = pieces.list[2];
        assert_eq!(second, Piece { at: Some(0x11_0000), length: 0x1_0000 });
    }
}
