//! Commands of the NVM command set (N 3).

use zerocopy::{FromZeros, IntoBytes};

use super::Controller;
use super::spec::*;
use super::storage::Namespace;
use super::transfer::{Direction, Port};

impl Controller {
    /// Carries a command out. Without a write cache, what is written is there to stay.
    pub fn io(&mut self, port: &Port, has_cache: bool, command: &Command) -> Result<(), Status> {
        if command.opcode == io::FLUSH && command.nsid == NSID_ALL {
            return self.flush(command);
        }
        let namespace = *self.namespace(command.nsid)?;
        let is_stable = !has_cache || command.cdw12 & io::FUA != 0;
        match command.opcode {
            io::FLUSH => self.flush(command),
            io::READ => self.read(port, namespace, command),
            io::WRITE => self.write(port, namespace, command, is_stable),
            io::COMPARE => self.compare(port, namespace, command),
            io::WRITE_ZEROES => self.write_zeroes(namespace, command, is_stable),
            io::DATASET_MANAGEMENT => self.manage(port, namespace, command),
            io::VERIFY => self.verify(namespace, command),
            _ => Err(Status::INVALID_OPCODE),
        }
    }

    fn flush(&self, command: &Command) -> Result<(), Status> {
        check_flags(command)?;
        self.sync(true)
    }

    fn sync(&self, wanted: bool) -> Result<(), Status> {
        match wanted {
            true => self.storage.sync().map_err(|_| Status::WRITE_FAULT),
            false => Ok(()),
        }
    }

    /// The bytes of a transfer in the storage. `buffer` and `pieces` are as long then.
    fn transfer(
        &mut self,
        port: &Port,
        namespace: Namespace,
        command: &Command,
        direction: Direction,
    ) -> Result<u64, Status> {
        let (at, length) = span(namespace, command, true)?;
        port.locate(command, length, direction, &mut self.pieces)?;
        self.buffer.resize(length as usize, 0);
        Ok(at)
    }

    fn read(&mut self, port: &Port, of: Namespace, command: &Command) -> Result<(), Status> {
        let at = self.transfer(port, of, command, Direction::ToHost)?;
        self.storage.read(at, &mut self.buffer).map_err(|_| Status::UNRECOVERED_READ)?;
        port.scatter(&self.pieces, &self.buffer)?;
        self.health.reads += 1;
        self.health.bytes_read += self.buffer.len() as u128;
        Ok(())
    }

    fn write(
        &mut self,
        port: &Port,
        to: Namespace,
        command: &Command,
        is_stable: bool,
    ) -> Result<(), Status> {
        let at = self.transfer(port, to, command, Direction::FromHost)?;
        port.gather(&self.pieces, &mut self.buffer)?;
        self.storage.write(at, &self.buffer).map_err(|_| Status::WRITE_FAULT)?;
        self.health.writes += 1;
        self.health.bytes_written += self.buffer.len() as u128;
        self.sync(is_stable)
    }

    fn compare(&mut self, port: &Port, with: Namespace, command: &Command) -> Result<(), Status> {
        let at = self.transfer(port, with, command, Direction::FromHost)?;
        port.gather(&self.pieces, &mut self.buffer)?;
        let mut stored = vec![0; self.buffer.len()];
        self.storage.read(at, &mut stored).map_err(|_| Status::UNRECOVERED_READ)?;
        self.health.reads += 1;
        match stored == self.buffer {
            true => Ok(()),
            false => Err(Status::COMPARE_FAILURE),
        }
    }

    fn verify(&mut self, of: Namespace, command: &Command) -> Result<(), Status> {
        let (at, length) = span(of, command, true)?;
        self.buffer.resize(length as usize, 0);
        self.storage.read(at, &mut self.buffer).map_err(|_| Status::UNRECOVERED_READ)
    }

    /// It moves no data, so it may be longer than transfers.
    fn write_zeroes(
        &self,
        to: Namespace,
        command: &Command,
        is_stable: bool,
    ) -> Result<(), Status> {
        let (at, length) = span(to, command, false)?;
        self.storage.clear(at, length).map_err(|_| Status::WRITE_FAULT)?;
        self.sync(is_stable)
    }

    /// Dataset Management: of its hints only deallocation has an effect, if the file system makes holes.
    fn manage(&self, port: &Port, of: Namespace, command: &Command) -> Result<(), Status> {
        check_flags(command)?;
        let count = (command.cdw10 & 0xff) as usize + 1;
        let mut ranges = [BlockRange::new_zeroed(); 256];
        let ranges = &mut ranges[..count];
        let mut pieces = super::transfer::Pieces::default();
        let bytes = ranges.as_mut_bytes();
        port.locate(command, bytes.len() as u64, Direction::FromHost, &mut pieces)?;
        port.gather(&pieces, bytes)?;
        if command.cdw11 & io::DEALLOCATE == 0 {
            return Ok(());
        }
        for range in ranges {
            let place = of.place(range.first, range.blocks.into());
            let (at, length) = place.ok_or(Status::LBA_OUT_OF_RANGE)?;
            if length > 0 {
                // it is a hint
                let _ = self.storage.deallocate(at, length);
            }
        }
        Ok(())
    }
}

fn check_flags(command: &Command) -> Result<(), Status> {
    match command.is_fused() || command.pointer_kind() == 3 {
        true => Err(Status::INVALID_FIELD),
        false => Ok(()),
    }
}

/// Where the blocks of a command are in the storage, and their bytes; at most what a transfer may have, if that
/// counts.
fn span(namespace: Namespace, command: &Command, is_limited: bool) -> Result<(u64, u64), Status> {
    check_flags(command)?;
    let blocks = command.blocks();
    if is_limited && blocks << namespace.shift > TRANSFER_MAX {
        return Err(Status::INVALID_FIELD);
    }
    namespace.place(command.first_block(), blocks).ok_or(Status::LBA_OUT_OF_RANGE)
}
