//! SYS-DMAC, the DMA controller of R-Car Gen2: fifteen channels, each a bus master of its own.
//!
//! What is transferred takes time of the machine's clock, burst by burst: a guest sees transfers
//! under way, and whoever takes a mapping away meanwhile has the rest refused. A burst is a page at
//! most, and lies within one page at either end.
//!
//! Not modelled: requests of peripherals (a transfer for one waits for good), the controller's own
//! memory of descriptors (which gives an address error), priorities.

mod channel;
mod spec;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use serde::{Deserialize, Serialize};
use vm_device::DeviceMmio;
use vm_device::bus::{MmioAddress, MmioAddressOffset};
use vm_memory::{Bytes, GuestAddress};
use vmm_base::{Clock, Interrupt};

use crate::alarm::Alarm;
use crate::ram::DmaSpace;

pub use channel::Channel;
pub use spec::{CHANNEL_STRIDE, CHANNELS, COMMON_BYTES};

use channel::{BURST_BYTES, Burst, Next};
use spec::{DESCRIPTOR_BYTES, Step, chcr, common, or};

/// The time that a byte takes, in nanoseconds: 250 MB/s, about what 4 bytes in four cycles of the
/// bus clock give (260 MHz, drivers/clk/renesas/r8a7791-cpg-mssr.c, ZS). There is no public figure.
const NS_PER_BYTE: u64 = 4;
/// The least time that a burst takes, or a descriptor's being read, in nanoseconds.
const LEAST_NS: u64 = 100;
/// Bytes of what a burst is read to.
const BUFFER: usize = 4096;
/// The most nanoseconds that a step takes.
const LONGEST_NS: u64 = BURST_BYTES * NS_PER_BYTE;
const _: () = assert!(LONGEST_NS >= LEAST_NS);
const _: () = assert!(BUFFER as u64 == BURST_BYTES);
/// Most bursts at once: between two calls whoever runs the machine looks at requests to stop.
const BURSTS: usize = 64;

/// The registers, as plain data.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DmacState {
    /// Operation.
    pub or: u16,
    /// Security of channels.
    pub sec: u32,
    /// Security of descriptor memory.
    pub dpsec: u32,
    /// The channels that there are.
    pub channels: Vec<Channel>,
}

/// A saved state that no controller can have, or one of another number of channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the saved DMA controller has registers that this one cannot have")]
pub struct WrongDmac;

/// A line, and the level that it was driven to.
struct Line {
    line: Arc<dyn Interrupt>,
    level: bool,
}

impl Line {
    fn new(line: Arc<dyn Interrupt>) -> Self {
        Self { line, level: false }
    }

    /// A controller is told of changes only.
    fn set(&mut self, level: bool) {
        if level != self.level {
            self.level = level;
            self.line.set(level);
        }
    }
}

struct Inner {
    state: DmacState,
    /// Of each channel: memory as it sees it, and its line.
    ports: Vec<(DmaSpace, Line)>,
    error: Line,
}

/// A DMA controller. Channels are added in their order, and no more than [`CHANNELS`].
pub struct Dmac {
    clock: Arc<dyn Clock>,
    /// Called when something is due earlier than it was.
    announce: Box<dyn Fn() + Send + Sync>,
    inner: Mutex<Inner>,
}

impl Dmac {
    /// Creates a controller at reset, without channels. `error` is its line for address errors.
    pub fn new(
        clock: Arc<dyn Clock>,
        error: Arc<dyn Interrupt>,
        announce: Box<dyn Fn() + Send + Sync>,
    ) -> Self {
        Self {
            clock,
            announce,
            inner: Mutex::new(Inner {
                state: DmacState::default(),
                ports: Vec::new(),
                error: Line::new(error),
            }),
        }
    }

    /// Adds the next channel, which sees memory as `space`.
    pub fn add_channel(&self, space: DmaSpace, line: Arc<dyn Interrupt>) {
        let mut inner = self.inner();
        inner.state.channels.push(Channel::default());
        inner.ports.push((space, Line::new(line)));
    }

    /// Returns the state to be saved.
    pub fn save(&self) -> DmacState {
        self.inner().state.clone()
    }

    /// Takes over a saved state and drives the lines as it says.
    ///
    /// # Errors
    /// No controller with as many channels can be in such a state; then nothing changes.
    pub fn restore(&self, saved: &DmacState) -> Result<(), WrongDmac> {
        let DmacState {
            or,
            sec: _,
            dpsec: _,
            channels,
        } = saved;
        let mut inner = self.inner();
        let valid = or & !(or::DME | or::AE | or::PRI) == 0
            && channels.len() == inner.ports.len()
            && channels.iter().all(Channel::is_valid);
        if !valid {
            return Err(WrongDmac);
        }
        inner.state = saved.clone();
        // Whether something is due is a consequence of the registers, and when it is at the latest.
        let now = self.clock.now_ns();
        inner.plan(now);
        // Not by what it does next: a driver may have made that shorter after it was planned.
        let latest = now.saturating_add(LONGEST_NS);
        for channel in &mut inner.state.channels {
            channel.due_ns = channel.due_ns.map(|at| at.min(latest));
        }
        inner.settle();
        Ok(())
    }

    /// Reads a register that all channels share.
    pub fn read(&self, offset: u64) -> u32 {
        let inner = self.inner();
        match offset {
            common::ISTA => {
                let channels = inner.state.channels.iter().enumerate();
                let requests = channels.filter(|(_, channel)| channel.interrupts());
                requests.fold(0, |all, (index, _)| all | 1 << index)
            }
            common::SEC => inner.state.sec,
            common::OR => u32::from(inner.state.or),
            common::DPSEC => inner.state.dpsec,
            _ => 0,
        }
    }

    /// Writes a register that all channels share.
    pub fn write(&self, offset: u64, value: u32) {
        let mut inner = self.inner();
        match offset {
            common::SEC => inner.state.sec = value,
            #[expect(clippy::cast_possible_truncation, reason = "it has 16 bits")]
            common::OR => {
                let error = inner.state.or & value as u16 & or::AE;
                inner.state.or = value as u16 & (or::DME | or::PRI) | error;
            }
            common::CHCLR => {
                for (index, channel) in inner.state.channels.iter_mut().enumerate() {
                    if value >> index & 1 != 0 {
                        *channel = Channel::default();
                    }
                }
            }
            common::DPSEC => inner.state.dpsec = value,
            _ => {}
        }
        self.changed(inner);
    }

    /// Reads a register of a channel.
    pub fn read_channel(&self, index: usize, offset: u64) -> u32 {
        let inner = self.inner();
        let channel = inner.state.channels.get(index);
        channel.map_or(0, |channel| channel.read(offset))
    }

    /// Writes a register of a channel.
    pub fn write_channel(&self, index: usize, offset: u64, value: u32) {
        let mut inner = self.inner();
        if let Some(channel) = inner.state.channels.get_mut(index) {
            channel.write(offset, value);
        }
        self.changed(inner);
    }

    /// Follows a write.
    fn changed(&self, mut inner: MutexGuard<'_, Inner>) {
        let before = inner.next_event();
        inner.plan(self.clock.now_ns());
        inner.settle();
        let after = inner.next_event();
        drop(inner);
        // The slice under way may end only after this is due.
        if after.is_some() && after != before {
            (self.announce)();
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Poisoned only by a panic that its own thread has reported; another one here would hide
        // it.
        self.inner.lock().unwrap_or_else(|e| e.into_inner())
    }
}

impl Inner {
    fn next_event(&self) -> Option<u64> {
        let channels = self.state.channels.iter();
        channels.filter_map(|channel| channel.due_ns).min()
    }

    /// Returns the channel whose burst is the first of those that are due: the lower of two at
    /// once.
    fn first_due(&self, now: u64) -> Option<usize> {
        let channels = self.state.channels.iter().enumerate();
        let due = channels.filter_map(|(index, channel)| Some((channel.due_ns?, index)));
        due.filter(|(at, _)| *at <= now)
            .min()
            .map(|(_, index)| index)
    }

    /// Plans when each channel goes on, as its registers say; what is planned already stays.
    fn plan(&mut self, now: u64) {
        let open = self.state.or & (or::DME | or::AE) == or::DME;
        for channel in &mut self.state.channels {
            let next = if open { channel.next() } else { Next::Nothing };
            channel.due_ns = match (next, channel.due_ns) {
                (Next::Nothing, _) => None,
                (_, Some(at)) => Some(at),
                (_, None) => Some(now.saturating_add(cost(next))),
            };
        }
    }

    /// Has a channel go on by one step, and plans the next.
    fn advance(&mut self, index: usize, now: u64) {
        let Self { state, ports, .. } = self;
        let Some((channel, (space, _))) = state.channels.get_mut(index).zip(ports.get(index))
        else {
            return;
        };
        let done = match channel.next() {
            Next::Nothing => true,
            Next::Error => false,
            Next::Fetch(at) => {
                let mut descriptor = [0; DESCRIPTOR_BYTES];
                let read = space.read_slice(&mut descriptor, GuestAddress(at)).is_ok();
                if read {
                    channel.staged(&descriptor);
                }
                read
            }
            Next::Move(burst) => {
                let moved = carry_out(&burst, space);
                if moved {
                    channel.moved(&burst);
                }
                moved
            }
        };
        if !done {
            channel.chcr |= chcr::CAE;
            // Where nobody asked to be told of the channel alone, the controller stops.
            if channel.chcr & chcr::CAIE == 0 {
                state.or |= or::AE;
            }
        }
        // The next step follows at once: a run loop that comes late does not slow a transfer down.
        let due = channel.due_ns.take().unwrap_or(now);
        self.plan(due);
        self.settle();
    }

    /// Drives the lines.
    fn settle(&mut self) {
        for (channel, (_, line)) in self.state.channels.iter().zip(&mut self.ports) {
            line.set(channel.interrupts());
        }
        self.error.set(self.state.or & or::AE != 0);
    }
}

/// Returns the time that a step takes, in nanoseconds.
fn cost(next: Next) -> u64 {
    match next {
        Next::Move(burst) => (burst.bytes() * NS_PER_BYTE).max(LEAST_NS),
        _ => LEAST_NS,
    }
}

/// Moves the units of a burst, and returns whether memory took part. All are read before the first
/// is written.
fn carry_out(burst: &Burst, space: &DmaSpace) -> bool {
    let mut buffer = [0; BUFFER];
    // Neither is truncated: a burst has `BURST_BYTES` at most.
    #[expect(clippy::cast_possible_truncation, reason = "see above")]
    let (all, unit) = (burst.bytes() as usize, burst.unit as usize);
    let Some(bytes) = buffer.get_mut(..all) else {
        return false;
    };
    let read = match burst.source {
        Step::Fixed => {
            let mut one = [0; 64];
            let one = &mut one[..unit];
            let read = space.read_slice(one, GuestAddress(burst.from)).is_ok();
            for place in bytes.chunks_exact_mut(unit) {
                place.copy_from_slice(one);
            }
            read
        }
        _ => space.read_slice(bytes, GuestAddress(burst.from)).is_ok(),
    };
    // Units go the other way round where one address grows and the other shrinks.
    if (burst.source == Step::Down) != (burst.destination == Step::Down) {
        bytes.reverse();
        bytes.chunks_exact_mut(unit).for_each(<[u8]>::reverse);
    }
    let written = match burst.destination {
        // The last unit is what stays.
        Step::Fixed => &bytes[all - unit..],
        _ => bytes,
    };
    read && space.write_slice(written, GuestAddress(burst.to)).is_ok()
}

impl Alarm for Dmac {
    fn next_alarm(&self) -> Option<u64> {
        self.inner().next_event()
    }

    fn tick(&self) {
        let now = self.clock.now_ns();
        let mut inner = self.inner();
        for _ in 0..BURSTS {
            let Some(index) = inner.first_due(now) else {
                break;
            };
            inner.advance(index, now);
        }
    }
}

impl fmt::Debug for Dmac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Dmac").field(&self.inner().state).finish()
    }
}

/// Reads the low bytes of a register.
fn show(value: u32, data: &mut [u8]) {
    data.fill(0);
    for (to, from) in data.iter_mut().zip(value.to_le_bytes()) {
        *to = from;
    }
}

/// Returns what an access of 16 or 32 bits writes to a register.
fn written(data: &[u8]) -> Option<u32> {
    let word = || {
        data.iter()
            .rev()
            .fold(0, |w, byte| w << 8 | u32::from(*byte))
    };
    matches!(data.len(), 2 | 4).then(word)
}

/// The registers that all channels share, on the bus.
pub struct CommonWindow(pub Arc<Dmac>);

impl DeviceMmio for CommonWindow {
    fn mmio_read(&self, _base: MmioAddress, offset: MmioAddressOffset, data: &mut [u8]) {
        show(self.0.read(offset), data);
    }

    fn mmio_write(&self, _base: MmioAddress, offset: MmioAddressOffset, data: &[u8]) {
        if let Some(value) = written(data) {
            self.0.write(offset, value);
        }
    }
}

/// The registers of a channel, by its number, on the bus.
pub struct ChannelWindow(pub Arc<Dmac>, pub usize);

impl DeviceMmio for ChannelWindow {
    fn mmio_read(&self, _base: MmioAddress, offset: MmioAddressOffset, data: &mut [u8]) {
        show(self.0.read_channel(self.1, offset), data);
    }

    fn mmio_write(&self, _base: MmioAddress, offset: MmioAddressOffset, data: &[u8]) {
        if let Some(value) = written(data) {
            self.0.write_channel(self.1, offset, value);
        }
    }
}
