//! An interrupt line on which faults are injected.

use std::sync::{Arc, Mutex, PoisonError};

use vmm_base::Interrupt;

use super::delayed_action::DelayedAction;
use super::engine::Injection;
use super::spec::InterruptFault;

/// The line of one device, between the device and the interrupt controller.
pub struct FaultyLine {
    line: Arc<dyn Interrupt>,
    injection: Arc<Injection>,
    device: String,
    state: Mutex<Levels>,
}

#[derive(Clone, Copy, Default)]
struct Levels {
    /// What the device says.
    wanted: bool,
    /// What a fault says instead.
    forced: Option<bool>,
    /// What the controller sees.
    shown: bool,
}

impl FaultyLine {
    /// Creates the line of `device`, with the faults of `injection`.
    pub fn new(line: Arc<dyn Interrupt>, injection: &Arc<Injection>, device: &str) -> Self {
        Self {
            line,
            injection: Arc::clone(injection),
            device: device.into(),
            state: Mutex::default(),
        }
    }

    /// Changes the levels and brings the controller's to what it should be.
    fn change(&self, change: impl FnOnce(&mut Levels)) {
        let mut levels = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock, so that the line gets the levels in the order in which they change.
        change(&mut levels);
        levels.shown = levels.forced.unwrap_or(levels.wanted);
        // Also where it seems to be so already: a machine that goes on from a snapshot has lines
        // that were set before.
        self.line.set(levels.shown);
    }

    /// Gives the line this level, whatever the device says, until it is released.
    pub fn force(&self, level: bool) {
        self.change(|levels| levels.forced = Some(level));
    }

    /// Gives the line the level that the device says.
    pub fn release(&self) {
        self.change(|levels| levels.forced = None);
    }

    fn alarm(&self, delay_ns: u64, level: Option<bool>) {
        let device = self.device.clone();
        let alarm = match level {
            Some(level) => DelayedAction::Line { device, level },
            None => DelayedAction::Release { device },
        };
        self.injection.later(delay_ns, alarm);
    }

    /// Returns whether the controller gets to see that the device raises its interrupt.
    fn raises(&self) -> bool {
        let action = self.injection.at(&self.device, 1, |_| String::new());
        let Some(action) = action else {
            return true;
        };
        match action.fault {
            InterruptFault::Lost {} => return false,
            InterruptFault::Late { delay } => {
                self.alarm(delay.0.max(1), None);
                return false;
            }
            InterruptFault::Repeated { count, delay } => {
                // With no delay at all a rise and its end would be due at the same time.
                let delay = delay.0.max(1);
                for turn in 0..u64::from(u32::from(count)) {
                    // Low for one delay and high for the next, so that the controller sees each
                    // rise by itself.
                    let begin = (2 * turn + 1).saturating_mul(delay);
                    self.alarm(begin, Some(true));
                    self.alarm(begin.saturating_add(delay), None);
                }
            }
            InterruptFault::Spurious { delay } => {
                let delay = delay.0.max(1);
                self.alarm(delay, Some(true));
                self.alarm(delay.saturating_mul(2), None);
            }
        }
        true
    }
}

impl Interrupt for FaultyLine {
    fn set(&self, level: bool) {
        // The lock is not held while the plan is asked, which takes locks of its own.
        let rises = {
            let levels = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            // By what the controller sees: after a rise that was lost the device's next one is a
            // new point.
            level && !levels.shown
        };
        if rises && !self.raises() {
            // The device believes that it did.
            let mut levels = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            levels.wanted = true;
            return;
        }
        self.change(|levels| levels.wanted = level);
    }
}
