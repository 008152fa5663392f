//! What the controller *is*, as plain data.

use serde::{Deserialize, Serialize};

use super::spec::*;
use super::task::Protocol;
use crate::disk::{Disk, DiskSummary, SECTOR};

/// The most bytes of one command: 65536 sectors.
const MAX_BYTES: u64 = 0x1_0000 * SECTOR;

/// The controller, its port and its disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AhciState {
    /// Whether interrupts are enabled.
    pub enabled: bool,
    /// Whether the port has an interrupt pending.
    pub pending: bool,
    /// The port's registers.
    pub port: PortRegisters,
    /// The command that is under way.
    pub begun: Option<Begun>,
    /// The queued command that has failed last, and its error.
    pub failed: Option<(u8, u8)>,
    /// When what is left over goes on, in nanoseconds since power-on.
    pub deferred_ns: Option<u64>,
    /// What the disk has done.
    pub summary: DiskSummary,
}

/// The registers of a port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PortRegisters {
    /// Address of the command list.
    pub clb: u32,
    /// Address of the area for received FISes.
    pub fb: u32,
    /// Interrupt status, without what follows from the errors of the link.
    pub is: u32,
    /// Interrupt enable.
    pub ie: u32,
    /// Command, as far as it is kept.
    pub cmd: u32,
    /// Task file.
    pub tfd: u32,
    /// Signature.
    pub sig: u32,
    /// State of the link.
    pub ssts: u32,
    /// Control of the link.
    pub sctl: u32,
    /// Errors of the link.
    pub serr: u32,
    /// Queued commands that are not over.
    pub sact: u32,
    /// Commands that are issued.
    pub ci: u32,
    /// Whether it has stopped at an error, until its driver starts it anew.
    pub halted: bool,
    /// Whether the disk's signature waits for somewhere to go.
    pub greets: bool,
    /// Whether a reset by a FIS is under way.
    pub resets: bool,
}

impl PortRegisters {
    /// Returns the registers at reset, with a device or without.
    pub(super) fn at_reset(device: bool) -> Self {
        let mut port = Self {
            clb: 0,
            fb: 0,
            is: 0,
            ie: 0,
            cmd: 0,
            tfd: NO_DEVICE,
            sig: NO_SIGNATURE,
            ssts: 0,
            sctl: 0,
            serr: 0,
            sact: 0,
            ci: 0,
            halted: false,
            greets: false,
            resets: false,
        };
        if device {
            port.link_up();
        }
        port
    }

    /// Brings the link up: the device says what it is.
    pub(super) fn link_up(&mut self) {
        self.ssts = LINK_UP;
        self.serr |= EXCHANGED;
        self.greet();
    }

    /// Has the device say what it is.
    pub(super) fn greet(&mut self) {
        // Error 1: the diagnostics have found nothing wrong (ACS-3, 7.9.4).
        self.tfd = 1 << 8 | u32::from(status::GOOD);
        self.sig = SIGNATURE;
        (self.greets, self.resets) = (true, false);
    }

    fn are_valid(&self, device: bool) -> bool {
        let Self {
            clb,
            fb,
            is,
            ie,
            cmd,
            tfd,
            sig: _,
            ssts,
            sctl,
            serr: _,
            sact: _,
            ci: _,
            halted: _,
            greets: _,
            resets: _,
        } = self;
        let bits = clb & 0x3ff
            | fb & 0xff
            | is & !interrupt::POSSIBLE
            | ie & !interrupt::MASK
            | cmd & !cmd::KEPT
            | tfd & !0xffff
            | sctl & !SCTL_MASK;
        bits == 0 && (*ssts == 0 || *ssts == LINK_UP && device)
    }
}

/// What a command does that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Work {
    /// Reads from the disk.
    Read,
    /// Writes to the disk.
    Write,
    /// Flushes it.
    Flush,
}

/// A command that is under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Begun {
    /// Its slot.
    pub slot: u8,
    /// What it does.
    pub work: Work,
    /// How its end is told.
    pub protocol: Protocol,
    /// Address of the descriptor of its first region of memory.
    pub table: u64,
    /// Number of its regions.
    pub regions: u32,
    /// The region that is next.
    pub region: u32,
    /// Bytes of that which are done.
    pub within: u32,
    /// Offset on the disk that is next, in bytes.
    pub offset: u64,
    /// Bytes that are left.
    pub left: u64,
    /// Bytes that are done.
    pub done: u64,
}

impl Begun {
    fn is_possible(&self, disk: &Disk) -> bool {
        let Self {
            slot,
            work,
            protocol: _,
            table,
            regions,
            region,
            within,
            offset,
            left,
            done,
        } = self;
        let size = disk.sectors * SECTOR;
        let inside = offset.checked_add(*left).is_some_and(|end| end <= size);
        let bounded = left.checked_add(*done).is_some_and(|all| all <= MAX_BYTES);
        u32::from(*slot) < SLOTS
            && (*work != Work::Write || !disk.read_only)
            && *table <= u64::from(u32::MAX)
            && *regions <= 0xffff
            && region <= regions
            && *within <= REGION_LENGTH
            && inside
            && bounded
    }
}

impl AhciState {
    /// Returns whether a controller with this disk can be in such a state.
    pub(super) fn is_possible(&self, disk: Option<&Disk>) -> bool {
        let Self {
            enabled: _,
            pending: _,
            port,
            begun,
            failed,
            deferred_ns: _,
            summary: _,
        } = self;
        let begun = match (begun, disk) {
            (None, _) => true,
            (Some(begun), Some(disk)) => begun.is_possible(disk),
            (Some(_), None) => false,
        };
        let failed = failed.is_none_or(|(tag, _)| u32::from(tag) < SLOTS);
        begun && failed && port.are_valid(disk.is_some())
    }
}
