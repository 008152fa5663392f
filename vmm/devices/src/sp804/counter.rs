//! One of the two timers: a counter whose value follows from the time, so that nothing counts.

use serde::{Deserialize, Serialize};

use super::spec::{control, offset};

/// A timer, as plain data. Times are in ticks of its input clock since power-on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counter {
    /// The value that was loaded last.
    pub load: u32,
    /// Control.
    pub control: u32,
    /// What the counter showed at `since`; what it shows while it stands still.
    pub start: u32,
    /// The tick from which on it counts.
    pub since: u64,
    /// Whether it has come to zero in one-shot mode, and stands still.
    pub over: bool,
    /// Whether it has come to zero since the interrupt was cleared.
    pub raised: bool,
}

impl Default for Counter {
    fn default() -> Self {
        Self {
            load: 0,
            control: control::AT_RESET,
            // DDI 0271D 3.3.2.
            start: u32::MAX,
            since: 0,
            over: false,
            raised: false,
        }
    }
}

impl Counter {
    /// Returns whether it can have these values at tick `now`.
    pub fn is_valid(&self, now: u64) -> bool {
        self.control & !control::MASK == 0 && self.since <= now
    }

    fn is(&self, bits: u32) -> bool {
        self.control & bits != 0
    }

    fn counts(&self) -> bool {
        self.is(control::ENABLE) && !self.over
    }

    /// Returns the bits that it has.
    fn mask(&self) -> u32 {
        if self.is(control::SIZE_32) {
            u32::MAX
        } else {
            0xffff
        }
    }

    /// Returns how many ticks one step takes.
    fn step(&self) -> u64 {
        match self.control >> control::PRESCALE_SHIFT & 3 {
            0 => 1,
            1 => 16,
            _ => 256,
        }
    }

    /// Returns the tick at which it comes to zero, if it counts.
    pub fn zero_at(&self) -> Option<u64> {
        let left = u64::from(self.start & self.mask()) * self.step();
        // Saturating: a time that a clock never shows is never due.
        self.counts().then(|| self.since.saturating_add(left))
    }

    /// Returns the tick at which its interrupt rises, if it is to.
    pub fn alarm_at(&self) -> Option<u64> {
        self.zero_at()
            .filter(|_| self.is(control::INTERRUPT) && !self.raised)
    }

    /// Returns whether its interrupt is let through.
    pub fn interrupts(&self) -> bool {
        self.raised && self.is(control::INTERRUPT)
    }

    /// Does what has happened up to tick `now`: the counter may have come to zero, many times.
    pub fn settle(&mut self, now: u64) {
        let Some(zero) = self.zero_at().filter(|zero| *zero <= now) else {
            return;
        };
        self.raised = true;
        if self.is(control::ONE_SHOT) {
            (self.start, self.since, self.over) = (0, now, true);
            return;
        }
        self.start = if self.is(control::PERIODIC) {
            self.load & self.mask()
        } else {
            self.mask()
        };
        // It begins anew one step after zero, and a period has one step more than its value.
        let (begin, period) = (
            zero.saturating_add(self.step()),
            (u64::from(self.start) + 1) * self.step(),
        );
        // All periods at once: a guest that looks once a day must not keep us busy.
        let periods = now.saturating_sub(begin) / period;
        self.since = begin.saturating_add(periods * period);
        // At zero once more, for the rest of its step: what happened then has been told above.
        if self.zero_at().is_some_and(|zero| zero <= now) {
            self.since = self.since.saturating_add(period);
        }
    }

    /// Returns what it shows at tick `now`, up to which it is settled.
    pub fn value(&self, now: u64) -> u32 {
        if !self.counts() {
            return self.start & self.mask();
        }
        // Before a period begins it is at zero.
        let Some(ticks) = now.checked_sub(self.since) else {
            return 0;
        };
        // No more steps than to zero: it is settled.
        let steps = u32::try_from(ticks / self.step()).unwrap_or(u32::MAX);
        (self.start & self.mask()).saturating_sub(steps)
    }

    /// Has it count from `start` on.
    fn begin(&mut self, start: u32, now: u64) {
        (self.start, self.since, self.over) = (start, now, false);
    }

    /// Reads the register at `at` at tick `now`, up to which it is settled.
    pub fn read(&self, at: u64, now: u64) -> u32 {
        match at {
            offset::LOAD | offset::BG_LOAD => self.load,
            offset::VALUE => self.value(now),
            offset::CONTROL => self.control,
            offset::RIS => self.raised.into(),
            offset::MIS => self.interrupts().into(),
            _ => 0,
        }
    }

    /// Writes the register at `at` at tick `now`, up to which it is settled.
    pub fn write(&mut self, at: u64, value: u32, now: u64) {
        match at {
            offset::LOAD => {
                self.load = value;
                self.begin(value, now);
            }
            offset::BG_LOAD => {
                self.load = value;
                // At zero, the value with which it begins anew is taken at the end of the step.
                if self.since > now && self.is(control::PERIODIC) {
                    self.start = value & self.mask();
                }
            }
            offset::CONTROL => {
                // What it shows stays, whatever becomes of size, prescaler or enable.
                let over = self.over && value & control::ONE_SHOT != 0;
                let shown = self.value(now);
                // Bits above the size stay as long as nothing was counted: Linux loads 32 bits
                // before it says that there are so many.
                let unchanged = shown == self.start & self.mask();
                let start = if unchanged { self.start } else { shown };
                self.control = value & control::MASK;
                self.begin(start, now);
                self.over = over;
            }
            offset::INT_CLR => self.raised = false,
            _ => {}
        }
    }
}
