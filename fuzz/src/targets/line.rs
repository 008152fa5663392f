//! An interrupt line that is driven when its level changes, and not else.

use std::sync::atomic::{AtomicBool, Ordering};

use vmm_base::Interrupt;

/// The level of a line, low at first.
#[derive(Debug, Default)]
pub struct Line(AtomicBool);

impl Line {
    /// Whether it is high.
    pub fn is_high(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Interrupt for Line {
    fn set(&self, level: bool) {
        let before = self.0.swap(level, Ordering::Relaxed);
        assert_ne!(before, level, "a line is driven when it changes");
    }
}
