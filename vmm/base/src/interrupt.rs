//! Interrupt lines, as devices see them.

/// One interrupt input of the controller, as a device sees it. All lines of this machine are
/// level-sensitive.
pub trait Interrupt: Send + Sync {
    /// Drives a level-sensitive line.
    fn set(&self, level: bool);
}

/// Interrupt lines for tests of devices.
#[cfg(feature = "testing")]
pub mod testing {
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::Interrupt;

    /// A level-sensitive line that is driven when its level changes, and only then.
    #[derive(Debug, Default)]
    pub struct LevelLine(AtomicBool);

    impl LevelLine {
        /// Returns whether the level is high.
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
}
