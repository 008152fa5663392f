//! One channel: its registers, and the next piece of a transfer.

use serde::{Deserialize, Serialize};

use super::spec::{
    DESCRIPTOR_BYTES, DIPT_SHIFT, HIGH_MASK, Mode, Step, TCR_MASK, channel, chcr, chcrb, dpbase,
};

/// Most bytes that a burst moves: a page, the least that an IOMMU tells apart.
pub const BURST_BYTES: u64 = 4096;
/// Bytes of a page: a burst lies within one at either end, so that it is translated as a whole.
const PAGE: u64 = 4096;

/// The registers, as plain data.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Channel {
    /// Source address.
    pub sar: u64,
    /// Destination address.
    pub dar: u64,
    /// Units left.
    pub tcr: u32,
    /// Control.
    pub chcr: u32,
    /// Control of descriptors.
    pub chcrb: u32,
    /// The peripheral that requests transfers.
    pub rs: u16,
    /// Buffers.
    pub bufcr: u32,
    /// Where descriptors are: the address, and in its lowest bit whether that is in memory.
    pub dpbase: u64,
    /// The stage that interrupts at its end.
    pub dpcr: u32,
    /// Whether a descriptor was read whose units are not all transferred.
    pub staged: bool,
    /// When the next burst is done, in nanoseconds since power-on; `None` while none is to come.
    pub due_ns: Option<u64>,
}

/// What a channel does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing: it is not enabled, or waits for a peripheral.
    Nothing,
    /// An address error.
    Error,
    /// Reads the descriptor at this address.
    Fetch(u64),
    /// Moves units.
    Move(Burst),
}

/// Units that are moved at once. Addresses are those of the first byte in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Burst {
    /// Where the units are read: all of them, or the one that is read again and again.
    pub from: u64,
    /// Where they are written.
    pub to: u64,
    /// Number of units.
    pub units: u32,
    /// Bytes of a unit.
    pub unit: u64,
    /// How the source address changes.
    pub source: Step,
    /// How the destination address changes.
    pub destination: Step,
}

impl Burst {
    /// Returns how many bytes are moved.
    pub fn bytes(&self) -> u64 {
        u64::from(self.units) * self.unit
    }
}

impl Channel {
    /// Returns whether the registers can have these values.
    pub fn is_valid(&self) -> bool {
        let Self {
            sar,
            dar,
            tcr,
            chcr: _,
            chcrb,
            rs: _,
            bufcr: _,
            dpbase,
            dpcr: _,
            staged: _,
            due_ns: _,
        } = self;
        let address = |address: u64| address >> 40 == 0;
        let base = u64::from(dpbase::ADDRESS | dpbase::SEL) | u64::from(HIGH_MASK) << 32;
        address(*sar)
            && address(*dar)
            && tcr & !TCR_MASK == 0
            && chcrb & chcrb::DRST == 0
            && dpbase & !base == 0
    }

    /// Reads the register at `offset`.
    #[expect(clippy::cast_possible_truncation, reason = "registers show the halves")]
    pub fn read(&self, offset: u64) -> u32 {
        match offset {
            channel::SAR => self.sar as u32,
            channel::DAR => self.dar as u32,
            // Between bursts nothing is in the buffers: as much is written as was read.
            channel::TCR | channel::TCRB => self.tcr,
            channel::CHCR => self.chcr,
            channel::FIXSAR => (self.sar >> 32) as u32,
            channel::FIXDAR => (self.dar >> 32) as u32,
            channel::CHCRB => self.chcrb,
            channel::RS => u32::from(self.rs),
            channel::BUFCR => self.bufcr,
            channel::DPBASE => self.dpbase as u32,
            channel::DPCR => self.dpcr,
            channel::FIXDPBASE => (self.dpbase >> 32) as u32,
            _ => 0,
        }
    }

    /// Writes the register at `offset`.
    pub fn write(&mut self, offset: u64, value: u32) {
        let low = |register: u64, value: u32| register & !0xffff_ffff | u64::from(value);
        let high = |register: u64| register & 0xffff_ffff | u64::from(value & HIGH_MASK) << 32;
        match offset {
            channel::SAR => self.sar = low(self.sar, value),
            channel::DAR => self.dar = low(self.dar, value),
            channel::TCR => self.tcr = value & TCR_MASK,
            channel::CHCR => {
                // Events are set by the channel alone.
                let events = self.chcr & value & chcr::EVENTS;
                self.chcr = value & !chcr::EVENTS | events;
            }
            channel::FIXSAR => self.sar = high(self.sar),
            channel::FIXDAR => self.dar = high(self.dar),
            channel::CHCRB => {
                self.chcrb = value & !(chcrb::DRST | chcrb::DPTR) | self.chcrb & chcrb::DPTR;
                if value & chcrb::DRST != 0 {
                    self.chcrb &= !chcrb::DPTR;
                    self.staged = false;
                }
            }
            #[expect(clippy::cast_possible_truncation, reason = "it has 16 bits")]
            channel::RS => self.rs = value as u16,
            channel::BUFCR => self.bufcr = value,
            channel::DPBASE => {
                self.dpbase = low(self.dpbase, value & (dpbase::ADDRESS | dpbase::SEL));
            }
            channel::DPCR => self.dpcr = value,
            channel::FIXDPBASE => self.dpbase = high(self.dpbase),
            _ => {}
        }
    }

    /// Returns whether its interrupt line is high.
    pub fn interrupts(&self) -> bool {
        let both = |event, enable| self.chcr & event != 0 && self.chcr & enable != 0;
        both(chcr::TE, chcr::IE) || both(chcr::DSE, chcr::DSIE) || both(chcr::CAE, chcr::CAIE)
    }

    /// Returns whether it may transfer.
    pub fn is_enabled(&self) -> bool {
        self.chcr & (chcr::DE | chcr::TE | chcr::CAE) == chcr::DE
    }

    /// Returns what it does next.
    pub fn next(&self) -> Next {
        let requested = self.chcr >> chcr::RS_SHIFT & 0xf == chcr::RS_AUTO;
        // No peripheral is connected: a transfer for one waits for its first request.
        if !self.is_enabled() || !requested {
            return Next::Nothing;
        }
        if self.mode() != Mode::Registers && !self.staged {
            return match self.dpbase & u64::from(dpbase::SEL) {
                // The controller's own memory of descriptors is not modelled.
                0 => Next::Error,
                sel => {
                    let index = u64::from(self.chcrb >> chcrb::DPTR_SHIFT & 0xff);
                    Next::Fetch((self.dpbase & !sel) + index * DESCRIPTOR_BYTES as u64)
                }
            };
        }
        self.burst().map_or(Next::Error, Next::Move)
    }

    /// Returns the units that it moves at once, unless the registers make no sense.
    fn burst(&self) -> Option<Burst> {
        let unit = self.unit()?;
        let source = step(self.chcr >> chcr::SM_SHIFT)?;
        let destination = step(self.chcr >> chcr::DM_SHIFT)?;
        if !self.sar.is_multiple_of(unit) || !self.dar.is_multiple_of(unit) {
            return None;
        }
        let room = |address: u64, step| match step {
            Step::Fixed => BURST_BYTES,
            Step::Up => PAGE - address % PAGE,
            Step::Down => address % PAGE + unit,
        };
        let bytes = room(self.sar, source).min(room(self.dar, destination));
        let left = match self.tcr {
            0 => 1 << 24,
            units => u64::from(units),
        };
        // Not 0: addresses are multiples of the unit, which divides a page.
        let units = u32::try_from(left.min(bytes / unit)).ok()?;
        let first = |address: u64, step| match step {
            Step::Down => address.checked_sub(u64::from(units - 1) * unit),
            _ => Some(address),
        };
        Some(Burst {
            from: first(self.sar, source)?,
            to: first(self.dar, destination)?,
            units,
            unit,
            source,
            destination,
        })
    }

    /// Takes over the descriptor that was read.
    pub fn staged(&mut self, descriptor: &[u8; DESCRIPTOR_BYTES]) {
        let word = |index: usize| {
            let bytes = descriptor.iter().skip(4 * index).take(4).rev();
            bytes.fold(0, |word, byte| word << 8 | u32::from(*byte))
        };
        if self.chcr & chcr::RPT_SAR != 0 {
            self.write(channel::SAR, word(0));
        }
        if self.chcr & chcr::RPT_DAR != 0 {
            self.write(channel::DAR, word(1));
        }
        if self.chcr & chcr::RPT_TCR != 0 {
            self.write(channel::TCR, word(2));
        }
        let next = (self.chcrb >> chcrb::DPTR_SHIFT & 0xff) + 1;
        // The pointer is already at the next one while a descriptor is worked on, and at the first
        // for the last (`rcar_dmac_chan_get_residue`).
        let next = if next > self.chcrb >> chcrb::DCNT_SHIFT {
            0
        } else {
            next
        };
        self.chcrb = self.chcrb & !chcrb::DPTR | next << chcrb::DPTR_SHIFT;
        self.staged = true;
    }

    /// Takes a burst for done.
    pub fn moved(&mut self, burst: &Burst) {
        let bytes = burst.bytes();
        let stepped = |address: u64, step| {
            let address = match step {
                Step::Fixed => address,
                Step::Up => address.wrapping_add(bytes),
                Step::Down => address.wrapping_sub(bytes),
            };
            address & ((1 << 40) - 1)
        };
        self.sar = stepped(self.sar, burst.source);
        self.dar = stepped(self.dar, burst.destination);
        // Of 2^24 units, which are written as 0, as many are left as the subtraction says.
        self.tcr = self.tcr.wrapping_sub(burst.units) & TCR_MASK;
        if self.tcr == 0 {
            self.ended();
        }
    }

    /// Takes what its registers, or a descriptor, said for done.
    fn ended(&mut self) {
        let next = self.chcrb >> chcrb::DPTR_SHIFT & 0xff;
        self.staged = false;
        match self.mode() {
            Mode::Registers => self.chcr |= chcr::TE,
            mode => {
                if self.dpcr >> DIPT_SHIFT == next {
                    self.chcr |= chcr::DSE;
                }
                if mode == Mode::Once && next == 0 {
                    self.chcr |= chcr::TE;
                }
            }
        }
    }

    fn mode(&self) -> Mode {
        match self.chcr >> chcr::DPM_SHIFT & 3 {
            0 => Mode::Registers,
            1 => Mode::Once,
            _ => Mode::Repeated,
        }
    }

    /// Returns the bytes of a unit, unless the value is reserved.
    fn unit(&self) -> Option<u64> {
        match (self.chcr >> 20 & 3, self.chcr >> 3 & 3) {
            (0, 0) => Some(1),
            (0, 1) => Some(2),
            (0, 2) => Some(4),
            (0, 3) => Some(16),
            (1, 0) => Some(32),
            (1, 1) => Some(64),
            (1, 3) => Some(8),
            _ => None,
        }
    }
}

/// Returns what the lowest two bits say of an address, unless the value is reserved.
fn step(bits: u32) -> Option<Step> {
    match bits & 3 {
        0 => Some(Step::Fixed),
        1 => Some(Step::Up),
        2 => Some(Step::Down),
        _ => None,
    }
}
