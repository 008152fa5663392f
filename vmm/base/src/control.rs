//! Requests to end or to interrupt a run, from the console's sink and from other threads.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use crate::{Pins, Reason, Waker};

/// Collects requests to a run and makes the cores notice them.
#[derive(Debug)]
pub struct Control {
    stop: AtomicBool,
    console: AtomicBool,
    interrupt: AtomicBool,
    recheck: AtomicBool,
    off: AtomicBool,
    reset: AtomicBool,
    late: AtomicBool,
    pins: OnceLock<Vec<Arc<Pins>>>,
    waker: Arc<Waker>,
}

impl Control {
    /// Creates a control that knows no cores yet.
    pub fn new(waker: Arc<Waker>) -> Self {
        Self {
            stop: AtomicBool::new(false),
            console: AtomicBool::new(false),
            interrupt: AtomicBool::new(false),
            recheck: AtomicBool::new(false),
            off: AtomicBool::new(false),
            reset: AtomicBool::new(false),
            late: AtomicBool::new(false),
            pins: OnceLock::new(),
            waker,
        }
    }

    /// Connects the cores, once.
    pub fn connect(&self, pins: Vec<Arc<Pins>>) {
        // A second time is ignored: the cores are what they are.
        let _ = self.pins.set(pins);
    }

    /// Ends the run with [`Reason::Stopped`].
    pub fn stop(&self) {
        self.request(&self.stop);
    }

    /// Ends the run with [`Reason::ConsoleStop`].
    pub fn console_stop(&self) {
        self.request(&self.console);
    }

    /// Ends the run with [`Reason::PowerOff`]: the guest asked a device for it.
    pub fn power_off(&self) {
        self.request(&self.off);
    }

    /// Ends the run with [`Reason::Reset`]: the guest asked a device for it.
    pub fn reset(&self) {
        self.request(&self.reset);
    }

    /// Has observers called, and the run go on.
    pub fn interrupt(&self) {
        self.request(&self.interrupt);
    }

    /// Has the run loop look at once when something is due next.
    pub fn recheck(&self) {
        self.request(&self.recheck);
    }

    /// Has the cores leave their loops for the run loop to look at its limits, one of which is
    /// reached.
    pub fn look(&self) {
        self.request(&self.late);
    }

    /// Returns whether a limit is reached: whoever waits for another process waits no longer.
    pub fn is_late(&self) -> bool {
        self.late.load(Ordering::Acquire)
    }

    /// Begins a run, whose limits are not reached.
    pub fn begin(&self) {
        self.late.store(false, Ordering::Release);
    }

    /// Takes a pending request to look when something is due.
    pub fn take_recheck(&self) -> bool {
        self.recheck.swap(false, Ordering::AcqRel)
    }

    fn request(&self, flag: &AtomicBool) {
        // The flag comes before the cores' stop bits: a core that sees its bit must find the
        // request, too.
        flag.store(true, Ordering::Release);
        self.leave();
    }

    fn leave(&self) {
        // Any of the cores may be the one that runs; at the others the bit costs one return to the
        // run loop.
        self.pins
            .get()
            .into_iter()
            .flatten()
            .for_each(|pins| pins.request_stop());
        // With every core asleep nobody looks at a stop bit, so that the run loop itself is woken.
        self.waker.wake();
    }

    /// Returns what wakes the run loop.
    pub fn waker(&self) -> Arc<Waker> {
        Arc::clone(&self.waker)
    }

    /// Takes a pending request to call observers.
    pub fn take_interrupt(&self) -> bool {
        self.interrupt.swap(false, Ordering::AcqRel)
    }

    /// Returns whether a request to call observers is pending.
    pub fn interrupt_pending(&self) -> bool {
        self.interrupt.load(Ordering::Acquire)
    }

    /// Takes a pending request of the console's to end.
    pub fn take_console_stop(&self) -> bool {
        self.console.swap(false, Ordering::AcqRel)
    }

    /// Returns whether a request to end is pending.
    pub fn pending(&self) -> bool {
        self.endings()
            .iter()
            .any(|(flag, _)| flag.load(Ordering::Acquire))
    }

    /// Takes a pending request to end. Of several the guest's own is taken first, then the
    /// console's, and the others stay pending.
    pub fn take(&self) -> Option<Reason> {
        let mut endings = self.endings().into_iter();
        let taken = endings.find(|(flag, _)| flag.swap(false, Ordering::AcqRel));
        taken.map(|(_, reason)| reason)
    }

    /// Returns the requests to end, in the order in which they are taken.
    fn endings(&self) -> [(&AtomicBool, Reason); 4] {
        [
            (&self.off, Reason::PowerOff),
            (&self.reset, Reason::Reset),
            (&self.console, Reason::ConsoleStop),
            (&self.stop, Reason::Stopped),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_guests_own_end_comes_before_all_others() {
        let control = Control::new(Arc::default());
        assert!(!control.pending());
        control.stop();
        control.console_stop();
        control.reset();
        control.power_off();
        for reason in [
            Reason::PowerOff,
            Reason::Reset,
            Reason::ConsoleStop,
            Reason::Stopped,
        ] {
            assert!(control.pending());
            assert_eq!(control.take(), Some(reason));
        }
        assert!(!control.pending());
        assert_eq!(control.take(), None);
    }
}
