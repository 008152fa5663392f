//! Commands: fetched, executed in pieces, and answered.

use vm_memory::{Bytes, GuestAddress, GuestMemoryError};
use vmm_base::{Limiter, warn_guest};

use super::Ahci;
use super::identify::identify;
use super::saved::{Begun, Work};
use super::spec::*;
use super::task::{Protocol, Sectors, Task, TaskFile};
use crate::disk::{Disk, Flight, SECTOR, count};
use crate::virtio::PIECE;
use crate::virtio::budget::{Budget, MIN_COST};

/// The cost of a flush, in bytes, beside the time for which the port waits.
const FLUSH_COST: u64 = 1 << 20;

/// The reason for which a command does not come to its end.
enum Failure {
    /// The device reports these bits of its error register.
    Device(u8),
    /// The controller stops with this interrupt.
    Port(u32),
}

/// Memory that is out of reach, or a file of the host's.
fn failure(error: GuestMemoryError) -> Failure {
    match error {
        GuestMemoryError::IOError(error) => file_failed(&error),
        error => {
            warn_guest!("AHCI: {error}");
            Failure::Port(interrupt::BUS)
        }
    }
}

fn file_failed(error: &std::io::Error) -> Failure {
    static LIMITER: Limiter = Limiter::new();
    // A disk that fails may fail every command, and would fill the log.
    if let Some(times) = LIMITER.admit() {
        tracing::error!(
            times,
            "the file of a disk: {error}; the guest gets an I/O error"
        );
    }
    Failure::Device(error::UNCORRECTABLE)
}

/// A command as it was fetched.
#[derive(Clone, Copy)]
struct Command {
    slot: u32,
    /// Address of the descriptor of its first region of memory.
    table: u64,
    /// Number of its regions.
    regions: u32,
    task_file: TaskFile,
}

impl Ahci {
    /// Returns whether a command is under way, or waits to be.
    pub(super) fn has_work(&self) -> bool {
        self.begun.is_some() || self.runs() && self.port.ci != 0
    }

    fn runs(&self) -> bool {
        let port = &self.port;
        port.cmd & cmd::START != 0 && !port.halted && port.ssts == LINK_UP
    }

    /// Goes on with commands until there are none left, `budget` is spent or the host has something
    /// to do.
    pub(super) fn work(&mut self, budget: &mut Budget) {
        while self.has_work() && !budget.is_spent() {
            match self.begun.take() {
                None => {
                    let slot = self.port.ci.trailing_zeros();
                    // What it costs to look at a command.
                    budget.spend(MIN_COST);
                    self.begin(slot);
                }
                Some(mut begun) => {
                    let (slot, queued) =
                        (u32::from(begun.slot), begun.protocol == Protocol::Queued);
                    match self.advance(&mut begun, budget) {
                        Ok(true) => self.end(&begun),
                        Ok(false) => {
                            self.begun = Some(begun);
                            // More of the budget would not help a flush.
                            return;
                        }
                        Err(failure) => self.end_badly(slot, queued, &failure),
                    }
                }
            }
        }
    }

    fn end_badly(&mut self, slot: u32, queued: bool, failure: &Failure) {
        count(&self.counters.errors, 1);
        match failure {
            Failure::Device(error) => self.fail(slot, queued, *error),
            Failure::Port(cause) => self.halt(*cause),
        }
    }

    /// Begins the command in `slot`, and ends it if it leaves no work.
    fn begin(&mut self, slot: u32) {
        let command = match self.fetch(slot) {
            Ok(Some(command)) => command,
            // Control only.
            Ok(None) => return,
            Err(failure) => return self.end_badly(slot, false, &failure),
        };
        count(&self.counters.requests, 1);
        let task = command.task_file.task();
        let queued = matches!(
            task,
            Ok(Task::Move {
                protocol: Protocol::Queued,
                ..
            })
        );
        let begun = task.map_err(Failure::Device);
        if let Err(failure) = begun.and_then(|task| self.execute(&command, task)) {
            self.end_badly(slot, queued, &failure);
        }
    }

    /// Fetches the command in `slot`; none if it has control only, which is done.
    fn fetch(&mut self, slot: u32) -> Result<Option<Command>, Failure> {
        let at = u64::from(self.port.clb) + u64::from(slot) * HEADER_BYTES;
        let mut header = [0; 16];
        let mut bytes = [0; FIS_BYTES];
        let pin = self.dma.pin();
        pin.read_slice(&mut header, GuestAddress(at))
            .map_err(failure)?;
        let word = |at: usize| {
            u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        let (first, table) = (word(0), u64::from(word(8) & !0x7f));
        // What a FIS is too short for is zero.
        let length = ((first & header::FIS_WORDS) as usize * 4).min(FIS_BYTES);
        pin.read_slice(&mut bytes[..length], GuestAddress(table))
            .map_err(failure)?;
        drop(pin);
        let task_file = TaskFile::parse(&bytes).ok_or(Failure::Device(error::ABORTED))?;
        if !task_file.has_command {
            self.port.ci &= !(1 << slot);
            if task_file.control & fis::RESET != 0 {
                self.port.resets = true;
                self.port.tfd = u32::from(status::BUSY);
            } else if self.port.resets {
                self.port.greet();
                self.receive_signature();
            }
            return Ok(None);
        }
        Ok(Some(Command {
            slot,
            table: table + REGIONS,
            regions: first >> header::REGIONS_SHIFT,
            task_file,
        }))
    }

    /// Has `command` do what it asks for, or begin to.
    fn execute(&mut self, command: &Command, task: Task) -> Result<(), Failure> {
        match task {
            Task::Move {
                sectors,
                write,
                protocol,
            } => {
                if protocol == Protocol::Queued && command.task_file.tag() != command.slot {
                    return Err(Failure::Device(error::ABORTED));
                }
                let work = if write { Work::Write } else { Work::Read };
                let disk = self.disk.as_ref();
                if write && disk.is_some_and(|disk| disk.read_only) {
                    return Err(Failure::Device(error::ABORTED));
                }
                let (offset, left) = locate(disk, sectors)?;
                self.set_begun(command, (work, protocol), (offset, left));
            }
            Task::Flush => {
                count(&self.counters.flushes, 1);
                self.set_begun(command, (Work::Flush, Protocol::Dma), (0, 0));
            }
            Task::Verify(sectors) => {
                locate(self.disk.as_ref(), sectors)?;
                self.end_with_registers(command.slot, 0);
            }
            Task::Identify => {
                let sectors = self.disk.as_ref().map_or(0, |disk| disk.sectors);
                let data = identify(sectors, &self.serial);
                self.answer(command, &data)?;
            }
            Task::ReadLog { log } => {
                let data = self.log(log).ok_or(Failure::Device(error::ABORTED))?;
                self.answer(command, &data)?;
            }
            // 0xff: active.
            Task::PowerMode => self.end_with_registers(command.slot, 0xff),
            Task::Nothing => self.end_with_registers(command.slot, 0),
        }
        Ok(())
    }

    #[expect(clippy::cast_possible_truncation, reason = "there are 32 slots")]
    fn set_begun(
        &mut self,
        command: &Command,
        (work, protocol): (Work, Protocol),
        (offset, left): (u64, u64),
    ) {
        self.begun = Some(Begun {
            slot: command.slot as u8,
            work,
            protocol,
            table: command.table,
            regions: command.regions,
            region: 0,
            within: 0,
            offset,
            left,
            done: 0,
        });
    }

    /// Returns the page of a log, if there is such a log.
    fn log(&self, log: u8) -> Option<[u8; 512]> {
        let mut data = [0; 512];
        match log {
            // The version, and of each log its number of pages.
            DIRECTORY_LOG => {
                data[0] = 1;
                data[2 * usize::from(QUEUED_ERROR_LOG)] = 1;
            }
            QUEUED_ERROR_LOG => {
                // Bit 7: no queued command has failed.
                let (tag, error) = self.failed.unwrap_or((0x80, 0));
                let status = status::GOOD | if error != 0 { status::ERROR } else { 0 };
                (data[0], data[2], data[3]) = (tag, status, error);
                let sum = data.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
                data[511] = sum.wrapping_neg();
            }
            _ => return None,
        }
        Some(data)
    }

    /// Answers `command` with `data`.
    fn answer(&mut self, command: &Command, data: &[u8]) -> Result<(), Failure> {
        let (mut region, mut left) = (0, data);
        while !left.is_empty() {
            let (at, length) = self.region(command.table, command.regions, region)?;
            let (now, later) = left.split_at(left.len().min(length as usize));
            self.dma.pin().write_slice(now, at).map_err(failure)?;
            (region, left) = (region + 1, later);
        }
        self.set_count(command.slot, data.len() as u64)?;
        self.end_with_pio(command.slot, data.len() as u64);
        Ok(())
    }

    /// Returns address and length of a region of a command's memory.
    fn region(
        &self,
        table: u64,
        regions: u32,
        region: u32,
    ) -> Result<(GuestAddress, u32), Failure> {
        if region >= regions {
            return Err(Failure::Port(interrupt::OVERFLOW));
        }
        let at = GuestAddress(table + u64::from(region) * REGION_BYTES);
        let mut bytes = [0; 16];
        self.dma.pin().read_slice(&mut bytes, at).map_err(failure)?;
        let word = |at: usize| {
            u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
        };
        // The upper half of the address is reserved where addresses have 32 bits.
        let length = (word(12) & REGION_LENGTH) + 1;
        Ok((GuestAddress(word(0).into()), length))
    }

    /// Tells in the header of the command in `slot` how many bytes were moved.
    fn set_count(&self, slot: u32, bytes: u64) -> Result<(), Failure> {
        let at = u64::from(self.port.clb) + u64::from(slot) * HEADER_BYTES + 4;
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX).to_le_bytes();
        let pin = self.dma.pin();
        pin.write_slice(&bytes, GuestAddress(at)).map_err(failure)
    }

    /// Goes on with a command until it is over, `budget` is spent or it has to wait for the host.
    /// Returns whether it is over.
    fn advance(&mut self, begun: &mut Begun, budget: &mut Budget) -> Result<bool, Failure> {
        if begun.work == Work::Flush {
            return self.flush(budget);
        }
        let Some(disk) = &mut self.disk else {
            return Err(Failure::Device(error::ABORTED));
        };
        let seek = disk.storage.seek(begun.offset);
        seek.map_err(|error| file_failed(&error))?;
        while begun.left > 0 {
            if budget.is_spent() {
                return Ok(false);
            }
            let (at, length) = self.region(begun.table, begun.regions, begun.region)?;
            // Read anew for each piece, so that the guest may have made it shorter meanwhile.
            let rest = u64::from(length.saturating_sub(begun.within));
            let piece = rest.min(begun.left).min(u64::from(PIECE));
            if piece == 0 {
                (begun.region, begun.within) = (begun.region + 1, 0);
                budget.spend(MIN_COST);
                continue;
            }
            let at = GuestAddress(at.0 + u64::from(begun.within));
            self.move_piece(begun.work, at, piece)?;
            budget.spend(piece);
            begun.offset += piece;
            begun.left -= piece;
            begun.done += piece;
            #[expect(clippy::cast_possible_truncation, reason = "it is at most PIECE")]
            let within = begun.within + piece as u32;
            (begun.region, begun.within) = match within >= length {
                true => (begun.region + 1, 0),
                false => (begun.region, within),
            };
        }
        let counter = match begun.work {
            Work::Write => &self.counters.bytes_written,
            _ => &self.counters.bytes_read,
        };
        count(counter, begun.done);
        Ok(true)
    }

    /// Moves a piece between the disk, where it stands, and memory.
    fn move_piece(&mut self, work: Work, at: GuestAddress, bytes: u64) -> Result<(), Failure> {
        let Some(disk) = &mut self.disk else {
            return Err(Failure::Device(error::ABORTED));
        };
        #[expect(clippy::cast_possible_truncation, reason = "it is at most PIECE")]
        let bytes = bytes as usize;
        let (pin, storage) = (self.dma.pin(), &mut disk.storage);
        let moved = match work {
            Work::Write => pin.write_all_volatile_to(at, storage, bytes),
            _ => pin.read_exact_volatile_from(at, storage, bytes),
        };
        moved.map_err(failure)
    }

    /// Has what was written survive, and returns whether that is over. In a machine it never is at
    /// once, so that a run does not depend on the host's speed.
    fn flush(&mut self, budget: &mut Budget) -> Result<bool, Failure> {
        let file = self.disk.as_ref().and_then(|disk| disk.storage.to_sync());
        let result = match (&self.flight, file) {
            (Some(flight), _) => match flight.result() {
                Some(result) => result,
                None => return Ok(false),
            },
            // An overlay keeps nothing beyond the run, so there is nothing to flush.
            (None, None) => Ok(()),
            (None, Some(file)) => {
                let begin = |waiting| Flight::begin(std::sync::Arc::clone(file), waiting, 0);
                match self.waiting.as_ref().map(begin) {
                    Some(Ok(flight)) => {
                        self.flight = Some(flight);
                        return Ok(false);
                    }
                    // A host that has no thread to give: then the flush is waited for here, as it
                    // is outside of a machine.
                    Some(Err(_)) | None => file.sync_data(),
                }
            }
        };
        self.flight = None;
        result.map_err(|error| file_failed(&error))?;
        budget.spend(FLUSH_COST);
        Ok(true)
    }

    /// Ends a command whose work is done.
    fn end(&mut self, begun: &Begun) {
        let slot = u32::from(begun.slot);
        if let Err(failure) = self.set_count(slot, begun.done) {
            return self.end_badly(slot, false, &failure);
        }
        match (begun.protocol, begun.work) {
            (Protocol::Queued, _) => self.end_queued(slot),
            (Protocol::Pio, Work::Read) => self.end_with_pio(slot, begun.done),
            _ => self.end_with_registers(slot, 0),
        }
    }
}

/// Returns offset and length in bytes of a range of sectors, if the disk has all of them.
fn locate(disk: Option<&Disk>, sectors: Sectors) -> Result<(u64, u64), Failure> {
    let size = disk.map_or(0, |disk| disk.sectors);
    // An address of 48 bits: the sum does not overflow.
    if sectors.first + sectors.count > size {
        return Err(Failure::Device(error::NO_SECTOR));
    }
    Ok((sectors.first * SECTOR, sectors.count * SECTOR))
}
