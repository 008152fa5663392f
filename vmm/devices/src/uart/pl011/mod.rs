//! The register file of a PL011 (Arm DDI 0183G), as a boot loader leaves it: enabled.
//!
//! What the 16550A's does so that input needs no clock, this one does as well: bytes arrive when
//! the guest looks for them, the time-out of the receiver is over as soon as one has, and nobody
//! types before somebody listens. There are no errors of the line, and no breaks.

pub(super) mod spec;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::port::RegisterFile;
use crate::words;
use spec::*;

/// Reads of the flags with an empty receiver, one after the other, that show that a guest polls for
/// input.
const POLLS: u8 = 64;

/// The registers, as plain data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registers {
    /// Divisor of the low-power clock.
    pub ilpr: u32,
    /// Integer part of the baud-rate divisor.
    pub ibrd: u32,
    /// Fractional part of the baud-rate divisor.
    pub fbrd: u32,
    /// Line control.
    pub lcr_h: u32,
    /// Control.
    pub cr: u32,
    /// Trigger levels.
    pub ifls: u32,
    /// Interrupt mask.
    pub imsc: u32,
    /// Interrupts before the mask.
    pub ris: u32,
    /// DMA control.
    pub dmacr: u32,
    /// Whether a byte was lost since the errors were cleared.
    pub overrun: bool,
    /// Received bytes, the oldest first, each with whether one was lost before it.
    pub received: VecDeque<(u8, bool)>,
    /// Whether a byte was lost since the last one of those.
    pub lost: bool,
    /// Looks at an empty receiver since anything else was accessed, up to 64.
    pub polls: u8,
}

impl Default for Registers {
    fn default() -> Self {
        Self {
            ilpr: 0,
            ibrd: 0,
            fbrd: 0,
            lcr_h: 0,
            // 0x300 at reset: a boot loader that has shown something has enabled the UART.
            cr: cr::UARTEN | cr::TXE | cr::RXE,
            ifls: IFLS_AT_RESET,
            imsc: 0,
            ris: 0,
            dmacr: 0,
            overrun: false,
            received: VecDeque::new(),
            lost: false,
            polls: 0,
        }
    }
}

impl RegisterFile for Registers {
    type Word = u32;

    fn to_bus(offset: u64, word: u32, data: &mut [u8]) {
        words::read(offset, data, |_| word);
    }

    fn from_bus(offset: u64, data: &[u8]) -> Option<u32> {
        // The peripheral bus has no byte strobes, and Linux writes half-words: what is narrower
        // than a word is one with zeros above.
        let mut bytes = [0; 4];
        bytes.get_mut(..data.len())?.copy_from_slice(data);
        (offset & 3 == 0).then_some(u32::from_le_bytes(bytes))
    }

    fn are_valid(&self) -> bool {
        let Self {
            ilpr,
            ibrd,
            fbrd,
            lcr_h,
            cr,
            ifls,
            imsc,
            ris,
            dmacr,
            overrun: _,
            received,
            lost: _,
            polls,
        } = self;
        let masks = [
            (ilpr, ILPR_MASK),
            (ibrd, IBRD_MASK),
            (fbrd, FBRD_MASK),
            (lcr_h, lcr_h::MASK),
            (cr, cr::MASK),
            (ifls, IFLS_MASK),
            (imsc, interrupt::MASK),
            (ris, interrupt::POSSIBLE),
            (dmacr, DMACR_MASK),
        ];
        // Writes never set bits that do not exist, and a guest would read them.
        masks.iter().all(|(value, mask)| *value & !mask == 0)
            && received.len() <= self.capacity()
            && *polls <= POLLS
    }

    fn interrupts(&self) -> bool {
        self.ris & self.imsc != 0
    }

    fn room(&self, offset: u64) -> usize {
        let shows = matches!(
            offset & !3,
            offset::DR | offset::FR | offset::RIS | offset::MIS
        );
        if shows && self.listens() {
            self.capacity() - self.received.len()
        } else {
            0
        }
    }

    fn interrupts_for_more(&self) -> bool {
        // Not for one that finds no room: nothing that the driver could look at would show it.
        self.wants_input() && self.listens() && self.received.len() < self.capacity()
    }

    fn receive(&mut self, byte: u8) {
        if self.received.len() >= self.capacity() {
            // What is in the FIFO stays; the byte is lost.
            self.overrun = true;
            self.lost = true;
            self.ris |= interrupt::OE;
            return;
        }
        self.received
            .push_back((byte, std::mem::take(&mut self.lost)));
        if self.received.len() >= self.trigger() {
            self.ris |= interrupt::RX;
        }
        // Nothing more is under way: what waits on the line comes when it is looked for.
        self.ris |= interrupt::RT;
    }

    fn read(&mut self, offset: u64) -> u32 {
        // Any access ends a series of polls; only another read of the flags continues it.
        let polls = std::mem::take(&mut self.polls);
        match offset & !3 {
            offset::DR => self.take(),
            offset::RSR_ECR => u32::from(self.overrun) * RSR_OVERRUN,
            offset::FR => {
                if self.received.is_empty() {
                    self.polls = polls.saturating_add(1).min(POLLS);
                }
                self.flags()
            }
            offset::ILPR => self.ilpr,
            offset::IBRD => self.ibrd,
            offset::FBRD => self.fbrd,
            offset::LCR_H => self.lcr_h,
            offset::CR => self.cr,
            offset::IFLS => self.ifls,
            offset::IMSC => self.imsc,
            offset::RIS => self.ris,
            offset::MIS => self.ris & self.imsc,
            offset::DMACR => self.dmacr,
            // An offset below the first of them wraps to an index far beyond the last.
            register => usize::try_from(register.wrapping_sub(offset::ID) / 4)
                .ok()
                .and_then(|index| IDS.get(index))
                .map_or(0, |id| u32::from(*id)),
        }
    }

    fn write(&mut self, offset: u64, word: u32) -> Option<u8> {
        self.polls = 0;
        match offset {
            offset::DR => return self.transmit(word.to_le_bytes()[0]),
            offset::RSR_ECR => self.overrun = false,
            offset::ILPR => self.ilpr = word & ILPR_MASK,
            offset::IBRD => self.ibrd = word & IBRD_MASK,
            offset::FBRD => self.fbrd = word & FBRD_MASK,
            offset::LCR_H => {
                // A change of mode empties both FIFOs (3.3.7: FEN clear makes them one-byte-deep
                // holding registers).
                if (word ^ self.lcr_h) & lcr_h::FEN != 0 {
                    self.received.clear();
                    self.ris &= !(interrupt::RX | interrupt::RT);
                }
                self.lcr_h = word & lcr_h::MASK;
            }
            offset::CR => {
                let before = self.modem();
                self.cr = word & cr::MASK;
                let pairs = [
                    (fr::RI, interrupt::RI),
                    (fr::CTS, interrupt::CTS),
                    (fr::DCD, interrupt::DCD),
                    (fr::DSR, interrupt::DSR),
                ];
                let changed = before ^ self.modem();
                let raised = pairs.iter().filter(|(line, _)| changed & line != 0);
                self.ris |= raised.fold(0, |bits, (_, bit)| bits | bit);
            }
            offset::IFLS => self.ifls = word & IFLS_MASK,
            offset::IMSC => self.imsc = word & interrupt::MASK,
            offset::ICR => self.ris &= !word,
            offset::DMACR => self.dmacr = word & DMACR_MASK,
            _ => {}
        }
        None
    }
}

impl Registers {
    fn capacity(&self) -> usize {
        if self.lcr_h & lcr_h::FEN != 0 {
            FIFO
        } else {
            1
        }
    }

    fn trigger(&self) -> usize {
        if self.lcr_h & lcr_h::FEN != 0 {
            // Of three bits: the table has eight.
            TRIGGERS[(self.ifls >> IFLS_RX_SHIFT & 7) as usize]
        } else {
            1
        }
    }

    /// Returns whether the driver wants to be interrupted for what is received.
    fn wants_input(&self) -> bool {
        self.imsc & (interrupt::RX | interrupt::RT) != 0
    }

    /// Returns whether the receiver takes bytes from the line: not in loop-back, not while it is
    /// off, and not before somebody listens.
    fn listens(&self) -> bool {
        let on = self.cr & (cr::UARTEN | cr::RXE) == cr::UARTEN | cr::RXE;
        on && self.cr & cr::LBE == 0 && (self.wants_input() || self.polls >= POLLS)
    }

    /// Takes a byte out of the receiver.
    fn take(&mut self) -> u32 {
        let Some((byte, lost)) = self.received.pop_front() else {
            return 0;
        };
        if self.received.len() < self.trigger() {
            self.ris &= !interrupt::RX;
        }
        if self.received.is_empty() {
            self.ris &= !interrupt::RT;
        }
        u32::from(byte) | if lost { DR_OVERRUN } else { 0 }
    }

    /// Sends a byte, and returns it if it leaves.
    fn transmit(&mut self, byte: u8) -> Option<u8> {
        // What a transmitter holds that is off is never sent.
        if self.cr & (cr::UARTEN | cr::TXE) != cr::UARTEN | cr::TXE {
            return None;
        }
        // Infinitely fast: its FIFO has gone above its trigger level, and has come down again.
        self.ris |= interrupt::TX;
        if self.cr & cr::LBE == 0 {
            return Some(byte);
        }
        // In loop-back nothing leaves: the transmitter feeds the receiver.
        if self.cr & cr::RXE != 0 {
            self.receive(byte);
        }
        None
    }

    fn flags(&self) -> u32 {
        let held = match self.received.len() {
            0 => fr::RXFE,
            held if held >= self.capacity() => fr::RXFF,
            _ => 0,
        };
        held | fr::TXFE | self.modem()
    }

    /// Returns the lines of the modem: the far end's, or in loop-back our own.
    fn modem(&self) -> u32 {
        if self.cr & cr::LBE == 0 {
            return FAR_END;
        }
        let pairs = [
            (cr::RTS, fr::CTS),
            (cr::DTR, fr::DSR),
            (cr::OUT1, fr::DCD),
            (cr::OUT2, fr::RI),
        ];
        let driven = pairs.iter().filter(|(from, _)| self.cr & from != 0);
        driven.fold(0, |lines, (_, to)| lines | to)
    }
}
