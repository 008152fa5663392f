//! Wakes the run loop when every core sleeps.

use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// A counter of wake-ups that the run loop can wait on without losing one.
#[derive(Debug, Default)]
pub struct Waker {
    count: Mutex<u64>,
    changed: Condvar,
}

impl Waker {
    /// Wakes the run loop, now or at its next wait.
    pub fn wake(&self) {
        // Counted under the lock before the notification: a waiter that looked at the count earlier
        // is waiting by now, and is woken.
        *self.count() += 1;
        self.changed.notify_all();
    }

    /// Counts a wake-up without ending a wait: only who looks at the ticket notices.
    pub fn note(&self) {
        *self.count() += 1;
    }

    /// Returns the number of wake-ups so far. Whoever takes it before looking for work, and waits
    /// with it after, loses none.
    pub fn ticket(&self) -> u64 {
        *self.count()
    }

    /// Waits until there was a wake-up after `ticket`, at most `timeout` (`None`: as long as it
    /// takes).
    pub fn wait(&self, ticket: u64, timeout: Option<Duration>) {
        // The count decides, as a condition variable may also wake for no reason.
        let asleep = |count: &mut u64| *count == ticket;
        match timeout {
            Some(timeout) => drop(
                self.changed
                    .wait_timeout_while(self.count(), timeout, asleep),
            ),
            None => drop(self.changed.wait_while(self.count(), asleep)),
        }
    }

    fn count(&self) -> MutexGuard<'_, u64> {
        // The count is right even if a thread panicked while it held the lock: it is changed by one
        // addition.
        self.count.lock().unwrap_or_else(|e| e.into_inner())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_wake_up_before_the_wait_is_not_lost() {
        let waker = Waker::default();
        let ticket = waker.ticket();
        waker.wake();
        waker.wait(ticket, None);
        let ticket = waker.ticket();
        waker.note();
        waker.wait(ticket, None);
    }

    #[test]
    fn another_thread_wakes_and_a_timeout_ends() {
        let waker = Arc::new(Waker::default());
        let ticket = waker.ticket();
        let other = Arc::clone(&waker);
        let thread = std::thread::spawn(move || other.wake());
        waker.wait(ticket, None);
        thread.join().unwrap();
        let start = Instant::now();
        waker.wait(waker.ticket(), Some(Duration::from_millis(5)));
        assert!(start.elapsed() >= Duration::from_millis(5));
    }
}
