//! The register file of a 16550A, apart from where its bytes come from and go to.
//!
//! Both lines are infinitely fast. What is written is sent at once, so the transmitter is always
//! empty. And what is going to arrive does so when the guest looks for it, as far as there is room:
//! a character time-out, which a real part signals when four character times pass without a new
//! byte, is signalled as soon as fewer bytes than the trigger level are left. That needs no clock,
//! happens at the same instruction in every run, and leaves no state in which bytes wait and no
//! interrupt says so. And a driver that clears the receiver while it starts clears nothing that it
//! has not seen.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::spec::*;

/// Reads of LSR with an empty receiver, one after the other, that show that a guest polls for input.
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
    /// Whether a byte was lost since LSR was read.
    pub overrun: bool,
    /// Whether the transmitter's becoming empty has not been told yet.
    pub emptied: bool,
    /// Lines of the modem that changed since MSR was read.
    pub changes: u8,
    /// Received bytes, the oldest first.
    pub received: VecDeque<u8>,
    /// Looks at an empty receiver since anything else was accessed, up to 64.
    pub polls: u8,
}

impl Registers {
    /// Returns whether the registers can have these values.
    pub fn are_valid(&self) -> bool {
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
        let bits = ier & !IER_MASK | fcr & !FCR_KEPT | mcr & !MCR_MASK | changes & !MSR_CHANGES;
        // FCR keeps nothing while the FIFOs are off.
        let off = fcr & FCR_ENABLE == 0 && *fcr != 0;
        bits == 0 && !off && received.len() <= self.capacity() && *polls <= POLLS
    }

    /// Returns whether the interrupt output is high for what has happened.
    pub fn interrupts(&self) -> bool {
        self.cause() != IIR_NONE
    }

    /// Returns how many bytes the receiver takes from the line when the guest reads `register`; none if that register
    /// does not show them.
    pub fn room(&self, register: u8) -> usize {
        let shows = matches!(register, DATA | IIR_FCR | LSR);
        if shows && self.listens() {
            self.capacity() - self.received.len()
        } else {
            0
        }
    }

    /// Returns whether the interrupt output is high for a byte that is on the line.
    pub fn interrupts_for_more(&self) -> bool {
        self.ier & IER_RECEIVED != 0 && self.listens()
    }

    /// Returns whether the receiver takes bytes from the line.
    ///
    /// It does not in loop-back. And nobody types before somebody listens: a driver
    /// clears the receiver several times before it uses it, and what a script has typed ahead would
    /// be lost. So the line is quiet until the guest wants interrupts for received data, or polls
    /// for it.
    fn listens(&self) -> bool {
        let wants = self.ier & IER_RECEIVED != 0 || self.polls >= POLLS;
        wants && self.mcr & MCR_LOOP == 0
    }

    /// Receives a byte. One that finds no room is lost: the new one in FIFO mode, otherwise the one before.
    pub fn receive(&mut self, byte: u8) {
        if self.received.len() < self.capacity() {
            self.received.push_back(byte);
            return;
        }
        self.overrun = true;
        if !self.has_fifos() {
            self.received = [byte].into();
        }
    }

    /// Reads a register.
    pub fn read(&mut self, register: u8) -> u8 {
        // Any access ends a series of polls; only another read of LSR, below, continues it.
        let polls = std::mem::take(&mut self.polls);
        match (register, self.lcr & LCR_DLAB != 0) {
            (DATA | IER, true) => self.divisor[usize::from(register)],
            (DATA, false) => self.received.pop_front().unwrap_or(0),
            (IER, false) => self.ier,
            (IIR_FCR, _) => self.identify(),
            (LCR, _) => self.lcr,
            (MCR, _) => self.mcr,
            (LSR, _) => {
                if self.received.is_empty() {
                    self.polls = polls.saturating_add(1).min(POLLS);
                }
                self.line_status()
            }
            // Clears the change bits, and with them the interrupt that they cause.
            (MSR, _) => self.modem() | std::mem::take(&mut self.changes),
            (SCR, _) => self.scr,
            _ => 0,
        }
    }

    /// Writes a register. Returns the byte that is sent, if one is.
    pub fn write(&mut self, register: u8, value: u8) -> Option<u8> {
        self.polls = 0;
        match (register, self.lcr & LCR_DLAB != 0) {
            (DATA | IER, true) => self.divisor[usize::from(register)] = value,
            (DATA, false) => {
                // The transmitter is infinitely fast: it is empty again, and can say so, as soon as it is written.
                self.emptied = true;
                if self.mcr & MCR_LOOP == 0 {
                    return Some(value);
                }
                // In loop-back nothing leaves: the transmitter feeds the receiver.
                self.receive(value);
            }
            (IER, false) => {
                let enabled = value & !self.ier;
                self.ier = value & IER_MASK;
                // The transmitter is empty, and says so to whoever begins to ask.
                self.emptied |= enabled & IER_EMPTY != 0;
            }
            (IIR_FCR, _) => self.control_fifos(value),
            (LCR, _) => self.lcr = value,
            (MCR, _) => {
                let before = self.modem();
                self.mcr = value & MCR_MASK;
                let after = self.modem();
                // The ring indicator's change bit is set by its trailing edge only.
                let changed = (before ^ after) & !MSR_RI | before & !after & MSR_RI;
                self.changes |= changed >> MSR_CHANGE_SHIFT;
            }
            (SCR, _) => self.scr = value,
            // LSR and MSR are read-only.
            _ => {}
        }
        None
    }

    fn has_fifos(&self) -> bool {
        self.fcr & FCR_ENABLE != 0
    }

    fn capacity(&self) -> usize {
        if self.has_fifos() { FIFO } else { 1 }
    }

    fn trigger(&self) -> usize {
        if self.has_fifos() {
            TRIGGERS[usize::from(self.fcr >> FCR_TRIGGER_SHIFT)]
        } else {
            1
        }
    }

    /// Returns the cause of highest priority that is enabled.
    fn cause(&self) -> u8 {
        let wants = |bit| self.ier & bit != 0;
        // The order is that of table IV of the data sheet.
        if wants(IER_LINE) && self.overrun {
            IIR_LINE
        } else if wants(IER_RECEIVED) && self.received.len() >= self.trigger() {
            IIR_RECEIVED
        } else if wants(IER_RECEIVED) && !self.received.is_empty() {
            IIR_TIMEOUT
        } else if wants(IER_EMPTY) && self.emptied {
            IIR_EMPTY
        } else if wants(IER_MODEM) && self.changes != 0 {
            IIR_MODEM
        } else {
            IIR_NONE
        }
    }

    /// Reads IIR, which clears the interrupt of an empty transmitter if it shows that one, and no other.
    fn identify(&mut self) -> u8 {
        let cause = self.cause();
        if cause == IIR_EMPTY {
            self.emptied = false;
        }
        cause | if self.has_fifos() { IIR_FIFO } else { 0 }
    }

    fn line_status(&mut self) -> u8 {
        let mut status = LSR_IDLE;
        if !self.received.is_empty() {
            status |= LSR_DATA;
        }
        // This read ends the interrupt of an overrun, as the data sheet has it.
        if std::mem::take(&mut self.overrun) {
            status |= LSR_OVERRUN;
        }
        status
    }

    fn control_fifos(&mut self, value: u8) {
        let enable = value & FCR_ENABLE != 0;
        // A change of mode empties both FIFOs.
        // 0x3: a reset of the receiver counts only in a write that has the FIFOs enabled.
        if enable != self.has_fifos() || value & (FCR_ENABLE | FCR_RESET_RECEIVER) == 0x3 {
            self.received.clear();
        }
        self.fcr = if enable { value & FCR_KEPT } else { 0 };
    }

    /// Returns the lines of the modem: the far end's, or in loop-back our own.
    fn modem(&self) -> u8 {
        if self.mcr & MCR_LOOP == 0 {
            return FAR_END;
        }
        let pairs = [
            (MCR_RTS, MSR_CTS),
            (MCR_DTR, MSR_DSR),
            (MCR_OUT1, MSR_RI),
            (MCR_OUT2, MSR_DCD),
        ];
        let driven = pairs.iter().filter(|(from, _)| self.mcr & from != 0);
        driven.fold(0, |lines, (_, to)| lines | to)
    }
}
