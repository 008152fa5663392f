//! Interrupt lines for tests of devices.

use std::sync::atomic::{AtomicBool, Ordering};

use super::Interrupt;

/// A level-sensitive line that is driven when its level changes, and only then.
#[derive(Debug, Default)]
pub struct LevelLine(AtomicBool);

impl LevelLine {
    /// Its level.
    pub fn is_high(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Interrupt for LevelLine {
    fn set(&self, level: bool) {
        let before = self.0.swap(level, Ordering::Relaxed);
        assert_ne!(before, level, "the line is driven when it changes");
    }
}
