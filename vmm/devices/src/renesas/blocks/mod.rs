//! The blocks that the SoC is controlled by: clocks, resets, power, pins. Their registers are kept,
//! and what a driver waits for happens at once; nothing is switched off by them.

mod spec;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Mutex, MutexGuard};

use serde::{Deserialize, Serialize};
use vm_device::DeviceMmio;
use vm_device::bus::{MmioAddress, MmioAddressOffset};

use crate::words;

use spec::{apmu, counter, cpg, irqc, pfc, prr, rst, sysc};

/// Which block it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Clock pulse generator and module standby (CPG/MSSR).
    Clocks,
    /// Reset (RST).
    Reset,
    /// Power domains (SYSC).
    PowerDomains,
    /// Power of cores (APMU).
    CorePower,
    /// The product register (PRR).
    Product,
    /// Functions of pins (PFC).
    Pins,
    /// The counter of the cores' timers, as a boot loader leaves it.
    Counter,
    /// External interrupts (IRQC), of which none is ever asked for.
    ExternalInterrupts,
}

impl Kind {
    /// Returns how many bytes of registers it has: a multiple of 4.
    #[must_use]
    pub const fn bytes(self) -> usize {
        match self {
            Self::Clocks => cpg::BYTES,
            Self::Reset => rst::BYTES,
            Self::PowerDomains => sysc::BYTES,
            Self::CorePower => apmu::BYTES,
            Self::Product => prr::BYTES,
            Self::Pins => pfc::BYTES,
            Self::Counter => counter::BYTES,
            Self::ExternalInterrupts => irqc::BYTES,
        }
    }

    /// Returns what registers hold at the start; all others hold zero.
    const fn at_start(self) -> &'static [(u64, u32)] {
        match self {
            Self::Clocks => &[
                (cpg::PLL0CR, cpg::PLL0CR_AT_START),
                (cpg::SDCKCR, cpg::SDCKCR_AT_START),
                (cpg::ADSPCKCR, cpg::ADSPCKCR_AT_START),
            ],
            Self::Reset => &[(rst::MODEMR, rst::MODE)],
            Self::PowerDomains => &[(sysc::SYSCSR, sysc::READY)],
            Self::Product => &[(0, prr::R8A7791_ES3)],
            Self::Counter => &[(counter::CNTCR, 1), (counter::CNTFID0, counter::HERTZ)],
            Self::ExternalInterrupts => &[(irqc::MONITOR, irqc::QUIET)],
            Self::CorePower | Self::Pins => &[],
        }
    }

    /// Returns whether the register at `offset` ignores writes.
    fn is_read_only(self, offset: u64) -> bool {
        match self {
            Self::Clocks => cpg::STOP_AND_STATUS.iter().any(|(_, at)| *at == offset),
            Self::Reset => offset == rst::MODEMR,
            Self::PowerDomains => {
                let status = |(base, ..): &(u64, u32, u32)| base + sysc::PWRSR == offset;
                offset == sysc::SYSCSR
                    || offset == sysc::SYSCISR
                    || sysc::DOMAINS.iter().any(status)
            }
            Self::CorePower => offset == apmu::PSTR,
            Self::Product => true,
            Self::ExternalInterrupts => offset == irqc::MONITOR,
            Self::Pins | Self::Counter => false,
        }
    }
}

/// The registers, as plain data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlockState {
    /// The words from offset 0 on.
    pub words: Vec<u32>,
}

/// A block.
pub struct Block {
    kind: Kind,
    state: Mutex<BlockState>,
}

impl Block {
    /// Creates a block as a boot loader leaves it.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        let mut state = BlockState {
            words: vec![0; kind.bytes() / 4],
        };
        for (offset, value) in kind.at_start() {
            put(&mut state.words, *offset, *value);
        }
        Self {
            kind,
            state: Mutex::new(state),
        }
    }

    /// Returns the state to be saved.
    pub fn save(&self) -> BlockState {
        self.state().clone()
    }

    /// Takes over a saved state, and returns whether it could: it has to have as many words as
    /// there are. A block never acts on what it holds, so that they may be any.
    pub fn restore(&self, saved: &BlockState) -> bool {
        if saved.words.len() != self.kind.bytes() / 4 {
            return false;
        }
        *self.state() = saved.clone();
        true
    }

    /// Reads the register at `offset`; others read as zero.
    pub fn read(&self, offset: u64) -> u32 {
        get(&self.state().words, offset)
    }

    /// Writes the register at `offset`; others ignore it.
    pub fn write(&self, offset: u64, value: u32) {
        let mut state = self.state();
        let words = &mut state.words;
        if self.kind.is_read_only(offset) {
            return;
        }
        match self.kind {
            Kind::Clocks => write_clocks(words, offset, value),
            Kind::PowerDomains => write_power_domains(words, offset, value),
            // A core that a write wakes is awake when the write returns, and one that is not there
            // never is.
            Kind::CorePower if offset == apmu::WUPCR => {}
            _ => put(words, offset, value),
        }
    }

    fn state(&self) -> MutexGuard<'_, BlockState> {
        // Poisoned only by a panic that its own thread has reported; another one here would hide
        // it.
        self.state.lock().unwrap_or_else(|e| e.into_inner())
    }
}

fn get(words: &[u32], offset: u64) -> u32 {
    let index = usize::try_from(offset / 4).unwrap_or(usize::MAX);
    words.get(index).copied().unwrap_or_default()
}

fn put(words: &mut [u32], offset: u64, value: u32) {
    let index = usize::try_from(offset / 4).unwrap_or(usize::MAX);
    if let Some(word) = words.get_mut(index) {
        *word = value;
    }
}

fn write_clocks(words: &mut [u32], offset: u64, value: u32) {
    if let Some(index) = cpg::RESET_CLEAR.iter().position(|at| *at == offset) {
        let reset = cpg::RESET[index];
        put(words, reset, get(words, reset) & !value);
        return;
    }
    let value = match offset {
        cpg::FRQCRB => value & !cpg::KICK,
        _ => value,
    };
    put(words, offset, value);
    let mut pairs = cpg::STOP_AND_STATUS.iter();
    if let Some((_, status)) = pairs.find(|(stop, _)| *stop == offset) {
        put(words, *status, value);
    }
}

fn write_power_domains(words: &mut [u32], offset: u64, value: u32) {
    if offset == sysc::SYSCISCR {
        let done = get(words, sysc::SYSCISR) & !value;
        put(words, sysc::SYSCISR, done);
        return;
    }
    for (base, bit, done) in sysc::DOMAINS {
        if value >> bit & 1 == 0 {
            continue;
        }
        let off = get(words, base + sysc::PWRSR);
        let off = match offset.checked_sub(base) {
            Some(sysc::PWROFFCR) => off | 1 << bit,
            Some(sysc::PWRONCR) => off & !(1 << bit),
            _ => continue,
        };
        put(words, base + sysc::PWRSR, off);
        let finished = get(words, sysc::SYSCISR) | 1 << done;
        put(words, sysc::SYSCISR, finished);
    }
    let is_request = |(base, ..): &(u64, u32, u32)| {
        [sysc::PWROFFCR, sysc::PWRONCR].contains(&offset.wrapping_sub(*base))
    };
    // Requests are gone when they are done.
    if !sysc::DOMAINS.iter().any(is_request) {
        put(words, offset, value);
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Block").field("kind", &self.kind).finish()
    }
}

impl DeviceMmio for Block {
    fn mmio_read(&self, _base: MmioAddress, offset: MmioAddressOffset, data: &mut [u8]) {
        words::read(offset, data, |offset| self.read(offset));
    }

    fn mmio_write(&self, _base: MmioAddress, offset: MmioAddressOffset, data: &[u8]) {
        // Linux writes words only, and nothing says what a narrower write would do.
        if let Some(word) = words::written(offset, data) {
            self.write(offset, word);
        }
    }
}
