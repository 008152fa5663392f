//! The register file of a SCIF, the UART of R-Car SoCs.
//!
//! What the 16550A's does so that input needs no clock, this one does as well: bytes arrive when
//! the guest looks for them, nothing more is under way as soon as one has, and nobody types before
//! somebody listens. Its flags of received data say what the FIFO holds, whatever a driver clears.
//! There are no errors of the line, no breaks, and no DMA requests.

pub(super) mod spec;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::port::RegisterFile;
use spec::*;

/// Reads of the status with an empty receiver, one after the other, that show that a guest polls
/// for input.
const POLLS: u8 = 64;

/// The registers, as plain data.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registers {
    /// Mode.
    pub smr: u16,
    /// Bit rate.
    pub brr: u8,
    /// Control.
    pub scscr: u16,
    /// FIFO control.
    pub scfcr: u16,
    /// Levels of the pins.
    pub sptr: u16,
    /// Divisor of the external clock.
    pub dl: u16,
    /// Which clock is used.
    pub cks: u16,
    /// Whether a byte was lost since that was cleared.
    pub overrun: bool,
    /// Received bytes, the oldest first.
    pub received: VecDeque<u8>,
    /// Looks at an empty receiver since anything else was accessed, up to 64.
    pub polls: u8,
}

impl RegisterFile for Registers {
    type Word = u16;

    fn to_bus(_offset: u64, word: u16, data: &mut [u8]) {
        data.fill(0);
        for (to, from) in data.iter_mut().zip(word.to_le_bytes()) {
            *to = from;
        }
    }

    fn from_bus(offset: u64, data: &[u8]) -> Option<u16> {
        // The peripheral bus is 16 bits wide: more is lost, and less is one with zeros above.
        let byte = |index: usize| data.get(index).copied().unwrap_or_default();
        (offset & 3 == 0).then(|| u16::from_le_bytes([byte(0), byte(1)]))
    }

    fn are_valid(&self) -> bool {
        let Self {
            smr: _,
            brr: _,
            scscr,
            scfcr,
            sptr: _,
            dl: _,
            cks: _,
            overrun: _,
            received,
            polls,
        } = self;
        let bits = scscr & !scr::MASK | scfcr & !fcr::MASK;
        // Writes never set bits that do not exist, and a guest would read them.
        bits == 0 && received.len() <= FIFO && *polls <= POLLS
    }

    fn interrupts(&self) -> bool {
        let received = self.scscr & scr::RIE != 0 && !self.received.is_empty();
        let lost = self.scscr & (scr::RIE | scr::REIE) != 0 && self.overrun;
        // The transmit FIFO is always empty.
        received || lost || self.scscr & scr::TIE != 0
    }

    fn room(&self, offset: u64) -> usize {
        let shows = matches!(offset, offset::FSR | offset::FRDR | offset::FDR);
        if shows && self.listens() {
            FIFO - self.received.len()
        } else {
            0
        }
    }

    fn interrupts_for_more(&self) -> bool {
        // Not for one that finds no room: nothing that the driver could look at would show it.
        self.scscr & scr::RIE != 0 && self.listens() && self.received.len() < FIFO
    }

    fn receive(&mut self, byte: u8) {
        if self.received.len() < FIFO {
            self.received.push_back(byte);
        } else {
            // What is in the FIFO stays; the byte is lost.
            self.overrun = true;
        }
    }

    fn read(&mut self, offset: u64) -> u16 {
        // Any access ends a series of polls; only another read of the status continues it.
        let polls = std::mem::take(&mut self.polls);
        match offset & !3 {
            offset::SMR => self.smr,
            offset::BRR => u16::from(self.brr),
            offset::SCR => self.scscr,
            offset::FSR => {
                if self.received.is_empty() {
                    self.polls = polls.saturating_add(1).min(POLLS);
                }
                self.status()
            }
            offset::FRDR => self.received.pop_front().map_or(0, u16::from),
            offset::FCR => self.scfcr,
            // Not truncated: there are 16 at most. The transmit FIFO's number, above, is 0.
            #[expect(clippy::cast_possible_truncation, reason = "see above")]
            offset::FDR => self.received.len() as u16,
            offset::SPTR => self.sptr,
            offset::LSR => u16::from(self.overrun) * lsr::ORER,
            offset::DL => self.dl,
            offset::CKS => self.cks,
            _ => 0,
        }
    }

    fn write(&mut self, offset: u64, word: u16) -> Option<u8> {
        self.polls = 0;
        let [low, _] = word.to_le_bytes();
        match offset {
            offset::SMR => self.smr = word,
            offset::BRR => self.brr = low,
            offset::SCR => self.scscr = word & scr::MASK,
            offset::FTDR => return self.transmit(low),
            offset::FCR => {
                self.scfcr = word & fcr::MASK;
                if word & fcr::RFRST != 0 {
                    self.received.clear();
                }
            }
            offset::SPTR => self.sptr = word,
            offset::LSR => self.overrun &= word & lsr::ORER != 0,
            offset::DL => self.dl = word,
            offset::CKS => self.cks = word,
            // What is cleared in the status is what is over already.
            _ => {}
        }
        None
    }
}

impl Registers {
    /// Returns whether the receiver takes bytes from the line: not in loop-back, not while it is
    /// off or kept empty, and not before somebody listens.
    fn listens(&self) -> bool {
        let on = self.scscr & scr::RE != 0 && self.scfcr & (fcr::RFRST | fcr::LOOP) == 0;
        on && (self.scscr & scr::RIE != 0 || self.polls >= POLLS)
    }

    /// Sends a byte, and returns it if it leaves.
    fn transmit(&mut self, byte: u8) -> Option<u8> {
        // What a transmitter holds that is off is never sent.
        if self.scscr & scr::TE == 0 {
            return None;
        }
        if self.scfcr & fcr::LOOP == 0 {
            return Some(byte);
        }
        // In loop-back nothing leaves: the transmitter feeds the receiver.
        if self.scscr & scr::RE != 0 && self.scfcr & fcr::RFRST == 0 {
            self.receive(byte);
        }
        None
    }

    fn status(&self) -> u16 {
        let trigger = TRIGGERS[usize::from(self.scfcr >> fcr::RTRG_SHIFT & 3)];
        let received = match self.received.len() {
            0 => 0,
            count if count >= trigger => fsr::RDF,
            _ => fsr::DR,
        };
        // The transmitter is infinitely fast.
        fsr::TEND | fsr::TDFE | received
    }
}
