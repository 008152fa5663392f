//! The register file of a 16550A, apart from where its bytes come from and go to.
//!
//! Both lines are infinitely fast. What is written is sent at once, so the transmitter is always
//! empty. And what is going to arrive does so when the guest looks for it, as far as there is room:
//! a character time-out, which a real part signals when four character times pass without a new
//! byte, is signalled as soon as fewer bytes than the trigger level are left. That needs no clock,
//! happens at the same instruction in every run, and leaves no state in which bytes wait and no
//! interrupt says so. And a driver that clears the receiver while it starts clears nothing that it
//! has not seen.

pub(super) mod spec;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::port::RegisterFile;
use spec::*;

/// Registers are `1 << REG_SHIFT` bytes apart.
pub const REG_SHIFT: u32 = 0;
/// Input clock in hertz: the usual 1.8432 MHz, which divides to every standard rate.
pub const CLOCK_HZ: u32 = 1_843_200;
/// Registers of a 16550A.
const REGISTERS: u64 = 8;
/// Reads of offset::LSR with an empty receiver, one after the other, that show that a guest polls
/// for input.
const POLLS: u8 = 64;

/// The registers, as plain data.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registers {
    /// Interrupt enable.
    pub ier: u8,
    /// FIFO control, as far as it is kept.
    pub fcr: u8,
    /// Line control.
    pub lcr: u8,
    /// Modem control.
    pub mcr: u8,
    /// Scratch.
    pub scr: u8,
    /// Divisor latch: low byte, high byte.
    pub divisor: [u8; 2],
    /// Whether a byte was lost since offset::LSR was read.
    pub overrun: bool,
    /// Whether the transmitter's becoming empty has not been told yet.
    pub emptied: bool,
    /// Lines of the modem that changed since offset::MSR was read.
    pub changes: u8,
    /// Received bytes, the oldest first.
    pub received: VecDeque<u8>,
    /// Looks at an empty receiver since anything else was accessed, up to 64.
    pub polls: u8,
}

/// Returns the register at `offset`. The window on the bus is a page, most of which is empty.
fn register(offset: u64) -> Option<u8> {
    u8::try_from(offset >> REG_SHIFT)
        .ok()
        .filter(|register| u64::from(*register) < REGISTERS)
}

impl RegisterFile for Registers {
    type Word = u8;

    fn to_bus(_offset: u64, word: u8, data: &mut [u8]) {
        // Registers are a byte wide: of a wider access only the first byte means anything.
        data.fill(0);
        if let Some(first) = data.first_mut() {
            *first = word;
        }
    }

    fn from_bus(_offset: u64, data: &[u8]) -> Option<u8> {
        data.first().copied()
    }

    fn are_valid(&self) -> bool {
        let Self {
            ier,
            fcr,
            lcr: _,
            mcr,
            scr: _,
            divisor: _,
            overrun: _,
            emptied: _,
            changes,
            received,
            polls,
        } = self;
        // Writes never set bits that do not exist, and a guest would read them.
        let bits = ier & !ier::MASK | fcr & !fcr::KEPT | mcr & !mcr::MASK | changes & !msr::CHANGES;
        // FCR keeps nothing while the FIFOs are off.
        let off = fcr & fcr::ENABLE == 0 && *fcr != 0;
        bits == 0 && !off && received.len() <= self.capacity() && *polls <= POLLS
    }

    fn interrupts(&self) -> bool {
        self.cause() != iir::NONE
    }

    fn room(&self, offset: u64) -> usize {
        let Some(register) = register(offset) else {
            return 0;
        };
        let shows = matches!(register, offset::DATA | offset::IIR_FCR | offset::LSR);
        if shows && self.listens() {
            self.capacity() - self.received.len()
        } else {
            0
        }
    }

    fn interrupts_for_more(&self) -> bool {
        self.ier & ier::RECEIVED != 0 && self.listens()
    }

    fn receive(&mut self, byte: u8) {
        // One that finds no room is lost: the new one in FIFO mode, otherwise the one before.
        if self.received.len() < self.capacity() {
            self.received.push_back(byte);
            return;
        }
        self.overrun = true;
        if !self.has_fifos() {
            self.received = [byte].into();
        }
    }

    fn read(&mut self, offset: u64) -> u8 {
        register(offset).map_or(0, |register| self.read_register(register))
    }

    fn write(&mut self, offset: u64, word: u8) -> Option<u8> {
        self.write_register(register(offset)?, word)
    }
}

impl Registers {
    /// Returns whether the receiver takes bytes from the line.
    ///
    /// It does not in loop-back. And nobody types before somebody listens: a driver
    /// clears the receiver several times before it uses it, and what a script has typed ahead would
    /// be lost. So the line is quiet until the guest wants interrupts for received data, or polls
    /// for it.
    fn listens(&self) -> bool {
        let wants = self.ier & ier::RECEIVED != 0 || self.polls >= POLLS;
        wants && self.mcr & mcr::LOOP == 0
    }

    /// Reads a register.
    fn read_register(&mut self, register: u8) -> u8 {
        // Any access ends a series of polls; only another read of offset::LSR, below, continues it.
        let polls = std::mem::take(&mut self.polls);
        match (register, self.lcr & lcr::DLAB != 0) {
            (offset::DATA | offset::IER, true) => self.divisor[usize::from(register)],
            (offset::DATA, false) => self.received.pop_front().unwrap_or(0),
            (offset::IER, false) => self.ier,
            (offset::IIR_FCR, _) => self.identify(),
            (offset::LCR, _) => self.lcr,
            (offset::MCR, _) => self.mcr,
            (offset::LSR, _) => {
                if self.received.is_empty() {
                    self.polls = polls.saturating_add(1).min(POLLS);
                }
                self.line_status()
            }
            // Clears the change bits, and with them the interrupt that they cause.
            (offset::MSR, _) => self.modem() | std::mem::take(&mut self.changes),
            (offset::SCR, _) => self.scr,
            _ => 0,
        }
    }

    /// Writes a register. Returns the byte that is sent, if one is.
    fn write_register(&mut self, register: u8, value: u8) -> Option<u8> {
        self.polls = 0;
        match (register, self.lcr & lcr::DLAB != 0) {
            (offset::DATA | offset::IER, true) => self.divisor[usize::from(register)] = value,
            (offset::DATA, false) => {
                // The transmitter is infinitely fast: it is empty again, and can say so, as soon as
                // it is written.
                self.emptied = true;
                if self.mcr & mcr::LOOP == 0 {
                    return Some(value);
                }
                // In loop-back nothing leaves: the transmitter feeds the receiver.
                self.receive(value);
            }
            (offset::IER, false) => {
                let enabled = value & !self.ier;
                self.ier = value & ier::MASK;
                // The transmitter is empty, and says so to whoever begins to ask.
                self.emptied |= enabled & ier::EMPTY != 0;
            }
            (offset::IIR_FCR, _) => self.control_fifos(value),
            (offset::LCR, _) => self.lcr = value,
            (offset::MCR, _) => {
                let before = self.modem();
                self.mcr = value & mcr::MASK;
                let after = self.modem();
                // The ring indicator's change bit is set by its trailing edge only.
                let changed = (before ^ after) & !msr::RI | before & !after & msr::RI;
                self.changes |= changed >> msr::CHANGE_SHIFT;
            }
            (offset::SCR, _) => self.scr = value,
            // offset::LSR and offset::MSR are read-only.
            _ => {}
        }
        None
    }

    fn has_fifos(&self) -> bool {
        self.fcr & fcr::ENABLE != 0
    }

    fn capacity(&self) -> usize {
        if self.has_fifos() { FIFO } else { 1 }
    }

    fn trigger(&self) -> usize {
        if self.has_fifos() {
            TRIGGERS[usize::from(self.fcr >> fcr::TRIGGER_SHIFT)]
        } else {
            1
        }
    }

    /// Returns the cause of highest priority that is enabled.
    fn cause(&self) -> u8 {
        let wants = |bit| self.ier & bit != 0;
        // The order is that of table IV of the data sheet.
        if wants(ier::LINE) && self.overrun {
            iir::LINE
        } else if wants(ier::RECEIVED) && self.received.len() >= self.trigger() {
            iir::RECEIVED
        } else if wants(ier::RECEIVED) && !self.received.is_empty() {
            iir::TIMEOUT
        } else if wants(ier::EMPTY) && self.emptied {
            iir::EMPTY
        } else if wants(ier::MODEM) && self.changes != 0 {
            iir::MODEM
        } else {
            iir::NONE
        }
    }

    /// Reads IIR, which clears the interrupt of an empty transmitter if it shows that one, and no
    /// other.
    fn identify(&mut self) -> u8 {
        let cause = self.cause();
        if cause == iir::EMPTY {
            self.emptied = false;
        }
        cause | if self.has_fifos() { iir::FIFO } else { 0 }
    }

    fn line_status(&mut self) -> u8 {
        let mut status = lsr::IDLE;
        if !self.received.is_empty() {
            status |= lsr::DATA;
        }
        // This read ends the interrupt of an overrun, as the data sheet has it.
        if std::mem::take(&mut self.overrun) {
            status |= lsr::OVERRUN;
        }
        status
    }

    fn control_fifos(&mut self, value: u8) {
        let enable = value & fcr::ENABLE != 0;
        // A change of mode empties both FIFOs.
        // 0x3: a reset of the receiver counts only in a write that has the FIFOs enabled.
        if enable != self.has_fifos() || value & (fcr::ENABLE | fcr::RESET_RECEIVER) == 0x3 {
            self.received.clear();
        }
        self.fcr = if enable { value & fcr::KEPT } else { 0 };
    }

    /// Returns the lines of the modem: the far end's, or in loop-back our own.
    fn modem(&self) -> u8 {
        if self.mcr & mcr::LOOP == 0 {
            return FAR_END;
        }
        let pairs = [
            (mcr::RTS, msr::CTS),
            (mcr::DTR, msr::DSR),
            (mcr::OUT1, msr::RI),
            (mcr::OUT2, msr::DCD),
        ];
        let driven = pairs.iter().filter(|(from, _)| self.mcr & from != 0);
        driven.fold(0, |lines, (_, to)| lines | to)
    }
}
