//! The SP804 dual timer (Arm DDI 0271D): two counters that count down, with one interrupt for both.
//!
//! The time that a counter shows is the machine's. The test registers (TimerITCR, TimerITOP) are
//! not there.

mod counter;
mod spec;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard};

use serde::{Deserialize, Serialize};
use vm_device::DeviceMmio;
use vm_device::bus::{MmioAddress, MmioAddressOffset};
use vmm_base::{Clock, Interrupt};

use crate::alarm::Alarm;
use crate::words;
pub use counter::Counter;
use spec::{ID, IDS, STRIDE};

const NS: u128 = 1_000_000_000;

/// The state of both timers, as plain data.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DualTimerState {
    /// The timers.
    pub timers: [Counter; 2],
}

struct Inner {
    state: DualTimerState,
    /// The level of the interrupt line.
    level: bool,
}

/// Two timers with one clock.
pub struct DualTimer {
    clock: Arc<dyn Clock>,
    /// The frequency of their input clock.
    hz: u32,
    line: Arc<dyn Interrupt>,
    /// Called when a timer is set, for the run loop to wait no longer than that.
    set: Box<dyn Fn() + Send + Sync>,
    inner: Mutex<Inner>,
}

impl DualTimer {
    /// Creates timers at reset, whose input clock has `hz` hertz. `set` is called when
    /// [`next_alarm`](Alarm::next_alarm) may have changed.
    pub fn new(
        clock: Arc<dyn Clock>,
        hz: u32,
        line: Arc<dyn Interrupt>,
        set: Box<dyn Fn() + Send + Sync>,
    ) -> Self {
        Self {
            clock,
            hz,
            line,
            set,
            inner: Mutex::new(Inner {
                state: DualTimerState::default(),
                level: false,
            }),
        }
    }

    /// Returns the tick of the input clock that the machine's clock is in now.
    fn now(&self) -> u64 {
        let ticks = u128::from(self.clock.now_ns()) * u128::from(self.hz) / NS;
        u64::try_from(ticks).unwrap_or(u64::MAX)
    }

    /// Returns the first nanosecond of a tick.
    fn ns(&self, tick: u64) -> u64 {
        let ns = (u128::from(tick) * NS).div_ceil(u128::from(self.hz.max(1)));
        u64::try_from(ns).unwrap_or(u64::MAX)
    }

    /// Returns the state to be saved.
    pub fn save(&self) -> DualTimerState {
        let mut inner = self.inner();
        // What is due already is part of the state, whether or not anybody has called `tick` since.
        self.settle(&mut inner, self.now());
        inner.state.clone()
    }

    /// Takes over a saved state, of a machine whose clock shows what this one's does, and returns
    /// whether it could: timers cannot have begun in the future.
    pub fn restore(&self, saved: &DualTimerState) -> bool {
        let now = self.now();
        let DualTimerState { timers } = saved;
        // One that has come to zero begins anew a step later, which takes 256 ticks at most.
        if !timers.iter().all(|t| t.is_valid(now.saturating_add(256))) {
            return false;
        }
        let mut inner = self.inner();
        inner.state = saved.clone();
        self.settle(&mut inner, now);
        true
    }

    /// Reads the register at `offset`.
    pub fn read(&self, offset: u64) -> u32 {
        let now = self.now();
        let mut inner = self.inner();
        // Before the read, so that what is due by now shows, however late `tick` is.
        self.settle(&mut inner, now);
        match place(offset) {
            Some((timer, at)) => inner.state.timers[timer].read(at, now),
            // An offset below the first of them wraps to an index far beyond the last.
            None => usize::try_from(offset.wrapping_sub(ID) / 4)
                .ok()
                .and_then(|index| IDS.get(index))
                .map_or(0, |id| u32::from(*id)),
        }
    }

    /// Writes the register at `offset`; others ignore it.
    pub fn write(&self, offset: u64, value: u32) {
        let Some((timer, at)) = place(offset) else {
            return;
        };
        let now = self.now();
        let mut inner = self.inner();
        // By the old values, first: the write must not move what is due already.
        self.settle(&mut inner, now);
        inner.state.timers[timer].write(at, value, now);
        // By the new values: a counter that begins at zero is there at once.
        self.settle(&mut inner, now);
        // `set` may ask for the next alarm, which takes the lock.
        drop(inner);
        (self.set)();
    }

    fn settle(&self, inner: &mut Inner, now: u64) {
        inner.state.timers.iter_mut().for_each(|t| t.settle(now));
        let level = inner.state.timers.iter().any(Counter::interrupts);
        // Called at every access, but the controller is told of changes only.
        if level != inner.level {
            inner.level = level;
            self.line.set(level);
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // Poisoned only by a panic that its own thread has reported; another one here would hide
        // it.
        self.inner.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// Returns the timer whose register is at `offset`, and which of its registers that is.
fn place(offset: u64) -> Option<(usize, u64)> {
    let timer = usize::try_from(offset / STRIDE).ok()?;
    (timer < 2).then_some((timer, offset % STRIDE))
}

impl Alarm for DualTimer {
    fn next_alarm(&self) -> Option<u64> {
        let inner = self.inner();
        let timers = inner.state.timers.iter();
        let next = timers.filter_map(Counter::alarm_at).min()?;
        Some(self.ns(next))
    }

    fn tick(&self) {
        self.settle(&mut self.inner(), self.now());
    }
}

impl DeviceMmio for DualTimer {
    fn mmio_read(&self, _base: MmioAddress, offset: MmioAddressOffset, data: &mut [u8]) {
        words::read(offset, data, |offset| self.read(offset));
    }

    fn mmio_write(&self, _base: MmioAddress, offset: MmioAddressOffset, data: &[u8]) {
        // The bus of a PrimeCell peripheral carries words only.
        if let Some(word) = words::written(offset, data) {
            self.write(offset, word);
        }
    }
}
