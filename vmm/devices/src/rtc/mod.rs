//! The real-time clock: a PL031 (Arm DDI 0224C) whose time is the machine's.

mod spec;
#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard};

use serde::{Deserialize, Serialize};
use vm_device::DeviceMmio;
use vm_device::bus::{MmioAddress, MmioAddressOffset};

use crate::alarm::Alarm;
use spec::*;
use vmm_base::{Clock, Interrupt};

const NS: u64 = 1_000_000_000;

/// The state of the real-time clock, as plain data. It can have any of these values.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RtcState {
    /// The value of the counter at power-on, or what it would have been then, in seconds.
    pub epoch: u32,
    /// The value that was last loaded.
    pub load: u32,
    /// The match register.
    pub matching: u32,
    /// Whether the alarm raises the line.
    pub unmasked: bool,
    /// Whether the alarm has gone off and was not cleared.
    pub raised: bool,
    /// Whether the counter has still to come to the match register. It does so once for each write
    /// to that register or to the load register: not again 136 years later, when it has wrapped.
    pub armed: bool,
}

impl RtcState {
    /// Returns the counter at machine time `now_ns`. It wraps after 136 years, as the device's 32
    /// bits do.
    #[expect(clippy::cast_possible_truncation, reason = "the counter wraps")]
    fn counter(&self, now_ns: u64) -> u32 {
        self.epoch.wrapping_add((now_ns / NS) as u32)
    }

    /// Returns when the counter comes to the match register next, at or after `now_ns`.
    fn due(&self, now_ns: u64) -> u64 {
        // Wrapping as the counter does: a value that lies behind it comes only after its wrap.
        let left = self.matching.wrapping_sub(self.counter(now_ns));
        match left {
            0 => now_ns,
            // Saturating: a guest may have asked for an alarm after the end of the machine's time.
            _ => (now_ns / NS).saturating_add(left.into()).saturating_mul(NS),
        }
    }
}

struct Inner {
    state: RtcState,
    /// The time at which the alarm goes off, in nanoseconds of the machine's clock, while it is
    /// armed.
    due: u64,
    /// The level of the interrupt line.
    level: bool,
}

/// The real-time clock.
pub struct Rtc {
    clock: Arc<dyn Clock>,
    line: Arc<dyn Interrupt>,
    /// Called when an alarm is set, for the run loop to wait no longer than that.
    set: Box<dyn Fn() + Send + Sync>,
    inner: Mutex<Inner>,
}

impl Rtc {
    /// Creates a clock that shows `epoch` (seconds since 1970-01-01 00:00 UTC) at power-on. `set`
    /// is called when [`next_alarm`](Alarm::next_alarm) may have changed.
    pub fn new(
        clock: Arc<dyn Clock>,
        epoch: u32,
        line: Arc<dyn Interrupt>,
        set: Box<dyn Fn() + Send + Sync>,
    ) -> Self {
        let state = RtcState {
            epoch,
            ..RtcState::default()
        };
        Self {
            clock,
            line,
            set,
            inner: Mutex::new(Inner {
                state,
                // Means nothing yet: the alarm is not armed at power-on.
                due: 0,
                level: false,
            }),
        }
    }

    /// Returns the state to be saved.
    pub fn save(&self) -> RtcState {
        let mut inner = self.inner();
        // An alarm that is due already is part of the state, whether or not anybody has called
        // `tick` since.
        self.settle(&mut inner, self.clock.now_ns());
        inner.state.clone()
    }

    /// Takes over a saved state, of a machine whose clock shows what this one's does, and drives
    /// the line as it says.
    pub fn restore(&self, saved: &RtcState) {
        let mut inner = self.inner();
        let now_ns = self.clock.now_ns();
        inner.state = saved.clone();
        // Not saved, as it follows from the counter and the match register.
        inner.due = saved.due(now_ns);
        self.settle(&mut inner, now_ns);
    }

    /// Reads the register at `offset`.
    pub fn read(&self, offset: u64) -> u32 {
        let now_ns = self.clock.now_ns();
        let mut inner = self.inner();
        // Before the read, so that an alarm due by now shows, however late `tick` is.
        self.settle(&mut inner, now_ns);
        let state = &inner.state;
        match offset & !3 {
            RTCDR => state.counter(now_ns),
            RTCMR => state.matching,
            RTCLR => state.load,
            RTCCR => 1,
            RTCIMSC => state.unmasked.into(),
            RTCRIS => state.raised.into(),
            RTCMIS => (state.raised && state.unmasked).into(),
            // An offset below the first of them wraps to an index far beyond the last.
            register => usize::try_from(register.wrapping_sub(ID) / 4)
                .ok()
                .and_then(|index| IDS.get(index))
                .map_or(0, |id| u32::from(*id)),
        }
    }

    /// Writes the register at `offset`.
    #[expect(clippy::cast_possible_truncation, reason = "the counter wraps")]
    pub fn write(&self, offset: u64, value: u32) {
        let now_ns = self.clock.now_ns();
        let mut inner = self.inner();
        // By the old values, first: the write must not move an alarm that is due already.
        self.settle(&mut inner, now_ns);
        let state = &mut inner.state;
        match offset {
            RTCMR => state.matching = value,
            RTCLR => {
                state.load = value;
                // Only the difference to the machine's time is kept, so nothing has to count
                // seconds.
                state.epoch = value.wrapping_sub((now_ns / NS) as u32);
            }
            RTCIMSC => state.unmasked = value & 1 != 0,
            RTCICR => state.raised &= value & 1 == 0,
            // Read-only, or the control register: a counter that runs is stopped by a reset only.
            _ => return,
        }
        // Either changes how far the counter is from the match register.
        if matches!(offset, RTCMR | RTCLR) {
            state.armed = true;
            inner.due = inner.state.due(now_ns);
        }
        // By the new values: they may make the alarm due at once, or mask or clear it.
        self.settle(&mut inner, now_ns);
        let waits = inner.state.armed && inner.state.unmasked;
        // `set` may ask for the next alarm, which takes the lock.
        drop(inner);
        if waits {
            (self.set)();
        }
    }

    /// Raises the alarm if it is due at `now_ns`, and drives the line.
    fn settle(&self, inner: &mut Inner, now_ns: u64) {
        let due = inner.due;
        let state = &mut inner.state;
        if state.armed && now_ns >= due {
            state.armed = false;
            state.raised = true;
        }
        let level = state.raised && state.unmasked;
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

impl Alarm for Rtc {
    fn next_alarm(&self) -> Option<u64> {
        let inner = self.inner();
        (inner.state.armed && inner.state.unmasked).then_some(inner.due)
    }

    fn tick(&self) {
        self.settle(&mut self.inner(), self.clock.now_ns());
    }
}

impl DeviceMmio for Rtc {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the low two bits are what counts"
    )]
    fn mmio_read(&self, _base: MmioAddress, offset: MmioAddressOffset, data: &mut [u8]) {
        let word = self.read(offset).to_le_bytes();
        // A narrow read sees its part of the word; what goes beyond it reads as zero.
        for (i, byte) in data.iter_mut().enumerate() {
            *byte = word.get((offset as usize & 3) + i).copied().unwrap_or(0);
        }
    }

    fn mmio_write(&self, _base: MmioAddress, offset: MmioAddressOffset, data: &[u8]) {
        // The bus of a PrimeCell peripheral carries words only.
        if let Ok(word) = data.try_into().map(u32::from_le_bytes) {
            self.write(offset, word);
        }
    }
}
