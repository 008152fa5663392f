//! An AHCI controller with one port and a disk behind it.
//!
//! | there is | |
//! |---|---|
//! | READ and WRITE DMA (EXT), FUA, FPDMA QUEUED, SECTOR(S) (EXT); VERIFY | up to 65536 sectors |
//! | FLUSH CACHE (EXT) | what was flushed survives |
//! | IDENTIFY DEVICE, READ LOG EXT (10h), CHECK POWER MODE | |
//! | SET FEATURES, STANDBY and IDLE IMMEDIATE | accepted, and change nothing |
//! | port multipliers, ATAPI, TRIM, power management of the link, enclosures, hot-plug | not there |
//!
//! What a driver sees when memory is out of reach: a command list, table or region ends all
//! commands with a host bus fatal error (HBFS), more data than regions with an overflow (OFS), and
//! both stop the port until its driver starts it anew.

mod engine;
mod identify;
mod received;
mod saved;
pub mod spec;
mod task;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use vm_device::MutDeviceMmio;
use vm_device::bus::{MmioAddress, MmioAddressOffset};
use vmm_base::Interrupt;

use crate::disk::{Counters, Disk, Flight};
use crate::ram::DmaSpace;
use crate::virtio::budget::{Budget, TURN_BYTES};
use crate::virtio::schedule::{GoesOn, Schedule};
use crate::virtio::waits::Waiting;
use crate::words;
pub use saved::{AhciState, Begun, PortRegisters, Work};
use spec::*;
pub use task::Protocol;

/// The controller.
pub struct Ahci {
    enabled: bool,
    pending: bool,
    port: PortRegisters,
    begun: Option<Begun>,
    failed: Option<(u8, u8)>,
    deferred_ns: Option<u64>,
    disk: Option<Disk>,
    serial: String,
    dma: DmaSpace,
    line: Arc<dyn Interrupt>,
    /// The level of the interrupt line.
    level: bool,
    counters: Arc<Counters>,
    /// Who decides how much is done at a time, and when the rest.
    schedule: Option<Arc<Schedule>>,
    /// Whom to tell of flushes; without, they are waited for.
    waiting: Option<Waiting>,
    /// The flush that is under way.
    flight: Option<Flight>,
}

impl Ahci {
    /// Creates a controller at reset with `disk` at its port, if there is one, which calls itself
    /// `serial` (at most 20 bytes are shown).
    pub fn new(disk: Option<Disk>, serial: &str, dma: DmaSpace, line: Arc<dyn Interrupt>) -> Self {
        Self {
            enabled: false,
            pending: false,
            port: PortRegisters::at_reset(disk.is_some()),
            begun: None,
            failed: None,
            deferred_ns: None,
            disk,
            serial: serial.to_owned(),
            dma,
            line,
            level: false,
            counters: Arc::default(),
            schedule: None,
            waiting: None,
            flight: None,
        }
    }

    /// Has `schedule` decide how much is done at a time, and when the rest.
    pub fn set_schedule(&mut self, schedule: Arc<Schedule>) {
        self.waiting = Some(Waiting::new(schedule.waits()));
        self.schedule = Some(schedule);
    }

    /// Returns the counters of what the disk did, to be looked at while it works.
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// Returns its disk.
    pub fn disk(&self) -> Option<&Disk> {
        self.disk.as_ref()
    }

    /// Returns its disk, to be changed between two runs.
    pub fn disk_mut(&mut self) -> Option<&mut Disk> {
        self.disk.as_mut()
    }

    /// Returns the state to be saved. A flush that is under way begins anew where it is restored.
    pub fn save(&self) -> AhciState {
        AhciState {
            enabled: self.enabled,
            pending: self.pending,
            port: self.port.clone(),
            begun: self.begun.clone(),
            failed: self.failed,
            deferred_ns: self.deferred_ns,
            summary: self.counters.summary(),
        }
    }

    /// Takes over a saved state, and returns whether it could; if not nothing changes.
    pub fn restore(&mut self, saved: &AhciState) -> bool {
        if !saved.is_possible(self.disk.as_ref()) {
            return false;
        }
        let AhciState {
            enabled,
            pending,
            port,
            begun,
            failed,
            deferred_ns,
            summary,
        } = saved;
        (self.enabled, self.pending) = (*enabled, *pending);
        self.port = port.clone();
        self.begun.clone_from(begun);
        self.failed = *failed;
        self.flight = None;
        self.counters.restore(*summary);
        // Whoever has work goes on by itself, whatever the state says.
        self.deferred_ns = None;
        if self.has_work() {
            self.defer(deferred_ns.unwrap_or(0));
        }
        self.settle();
        true
    }

    /// Returns the register at `offset`; others read as zero.
    pub fn read(&self, offset: u64) -> u32 {
        let port = &self.port;
        let Some(at) = place(offset) else {
            return match offset {
                host::CAP => CAPABILITIES,
                host::GHC => ghc::ENABLED | (u32::from(self.enabled) * ghc::INTERRUPTS),
                host::IS => self.pending.into(),
                host::PI => 1,
                host::VS => VERSION,
                _ => 0,
            };
        };
        match at {
            port::CLB => port.clb,
            port::FB => port.fb,
            port::IS => self.interrupts(),
            port::IE => port.ie,
            port::CMD => self.command(),
            port::TFD => port.tfd,
            port::SIG => port.sig,
            port::SSTS => port.ssts,
            port::SCTL => port.sctl,
            port::SERR => port.serr,
            port::SACT => port.sact,
            port::CI => port.ci,
            _ => 0,
        }
    }

    /// Returns the port's interrupt status, with what follows from the errors of the link.
    fn interrupts(&self) -> u32 {
        let exchanged = self.port.serr & EXCHANGED != 0;
        self.port.is | (u32::from(exchanged) * interrupt::CONNECT)
    }

    fn command(&self) -> u32 {
        let set = |bit: u32, shown: u32| if self.port.cmd & bit != 0 { shown } else { 0 };
        // Both engines stop and start at once.
        let shown = set(cmd::START, cmd::RUNS) | set(cmd::RECEIVE, cmd::RECEIVES);
        self.port.cmd | cmd::ALWAYS | shown
    }

    /// Writes the register at `offset`; others ignore it.
    pub fn write(&mut self, offset: u64, value: u32) {
        match place(offset) {
            None => match offset {
                host::GHC if value & ghc::RESET != 0 => self.reset(),
                host::GHC => self.enabled = value & ghc::INTERRUPTS != 0,
                host::IS => self.pending &= value & 1 == 0,
                _ => {}
            },
            Some(at) => self.write_port(at, value),
        }
        self.settle();
    }

    fn write_port(&mut self, at: u64, value: u32) {
        let port = &mut self.port;
        match at {
            port::CLB => port.clb = value & !0x3ff,
            port::FB => port.fb = value & !0xff,
            port::IS => port.is &= !value,
            port::IE => port.ie = value & interrupt::MASK,
            port::CMD => self.control(value),
            port::SCTL => {
                let before = std::mem::replace(&mut port.sctl, value & SCTL_MASK) & DETECTION;
                self.control_link(before, value & DETECTION);
            }
            port::SERR => port.serr &= !value,
            // Neither can be cleared so, and both only mean something while the port runs.
            port::SACT if port.cmd & cmd::START != 0 => port.sact |= value,
            port::CI if port.cmd & cmd::START != 0 => {
                port.ci |= value;
                self.serve();
            }
            _ => {}
        }
    }

    /// Resets the controller.
    fn reset(&mut self) {
        self.stop();
        (self.enabled, self.pending, self.failed) = (false, false, None);
        self.port = PortRegisters::at_reset(self.disk.is_some());
    }

    /// Starts or stops the port.
    fn control(&mut self, value: u32) {
        let before = std::mem::replace(&mut self.port.cmd, value & cmd::KEPT);
        if value & cmd::OVERRIDE != 0 {
            self.port.tfd &= !u32::from(status::BUSY | status::REQUEST);
        }
        if before & cmd::START != 0 && value & cmd::START == 0 {
            self.stop();
            (self.port.ci, self.port.sact, self.port.halted) = (0, 0, false);
        }
        self.receive_signature();
    }

    /// Forgets the command that is under way.
    fn stop(&mut self) {
        self.begun = None;
        // The thread goes on to its end and finds nobody that asks for its result.
        self.flight = None;
        self.deferred_ns = None;
    }

    /// Resets the link while its driver says so, and brings it up when that is over.
    fn control_link(&mut self, before: u32, now: u32) {
        if now == before {
            return;
        }
        if now != 0 {
            self.stop();
            let port = &mut self.port;
            (port.tfd, port.sig, port.ssts) = (NO_DEVICE, NO_SIGNATURE, 0);
            port.greets = false;
        } else if self.disk.is_some() {
            self.port.link_up();
            self.receive_signature();
        }
    }

    /// Drives the interrupt line as the registers say.
    fn settle(&mut self) {
        self.pending |= self.interrupts() & self.port.ie != 0;
        let level = self.pending && self.enabled;
        // Called after every access, but the controller is told of changes only.
        if level != self.level {
            self.level = level;
            self.line.set(level);
        }
    }

    /// Returns what may be done now.
    fn budget(&self) -> Budget {
        let schedule = self.schedule.as_ref();
        schedule.map_or_else(|| Budget::of(TURN_BYTES), |schedule| schedule.budget())
    }

    /// Does what there is to do, as far as it may be done now.
    fn serve(&mut self) {
        let mut budget = self.budget();
        self.work(&mut budget);
        if let Some(schedule) = &self.schedule {
            schedule.charge(&budget);
        }
        if self.has_work() {
            let (flying, schedule) = (self.flight.is_some(), self.schedule.as_ref());
            let at = schedule.map_or(0, |schedule| schedule.later());
            // In virtual time the run loop does nothing else before the wait for the host is over.
            let now = schedule.map_or(0, |schedule| schedule.now());
            let first = flying && self.deferred_ns.is_none();
            self.defer(if first { now } else { at });
        }
    }

    /// Has what is left over go on at `at_ns`, or after the longest time that one may wait.
    fn defer(&mut self, at_ns: u64) {
        let Some(schedule) = &self.schedule else {
            self.deferred_ns = Some(0);
            return;
        };
        let at_ns = at_ns.min(schedule.later());
        self.deferred_ns = Some(at_ns);
        schedule.announce(at_ns);
    }
}

/// Returns which register of the port is at `offset`, if it is one of the port's.
fn place(offset: u64) -> Option<u64> {
    let at = offset.checked_sub(PORT)?;
    (at < PORT_BYTES).then_some(at)
}

impl GoesOn for Ahci {
    fn go_on(&mut self, now_ns: u64) -> bool {
        if self.deferred_ns.is_none_or(|at| at > now_ns) {
            return false;
        }
        // Kept while a flush is under way: that is what tells the first look from the others.
        if self.flight.is_none() {
            self.deferred_ns = None;
        }
        self.serve();
        if !self.has_work() {
            self.deferred_ns = None;
        }
        self.settle();
        true
    }

    fn due_ns(&self) -> Option<u64> {
        self.deferred_ns
    }
}

impl MutDeviceMmio for Ahci {
    fn mmio_read(&mut self, _base: MmioAddress, offset: MmioAddressOffset, data: &mut [u8]) {
        words::read(offset, data, |offset| self.read(offset));
    }

    fn mmio_write(&mut self, _base: MmioAddress, offset: MmioAddressOffset, data: &[u8]) {
        // Registers are accessed as words (AHCI 1.3.1, 3).
        if let Some(word) = words::written(offset, data) {
            self.write(offset, word);
        }
    }
}
