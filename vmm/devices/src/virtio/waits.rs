//! Queues that wait for the host, which does something for them on a thread of its own.
//!
//! In virtual time the guest's clock stands still meanwhile, and the run can be ended all the same.
//! In host time the cores go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use vmm_base::Waker;

use super::kick::Kick;

/// The number of a machine's queues that wait.
#[derive(Debug, Default)]
pub struct Waits {
    count: AtomicU64,
    waker: Option<Arc<Waker>>,
}

impl Waits {
    /// Creates a count of no waiting queues; `waker` is woken when one can go on.
    pub fn new(waker: Arc<Waker>) -> Self {
        Self {
            count: AtomicU64::new(0),
            waker: Some(waker),
        }
    }

    /// Returns whether any queue waits.
    pub fn any(&self) -> bool {
        self.count.load(Ordering::Acquire) != 0
    }
}

/// Tells of a device's queues that wait.
#[derive(Clone)]
pub struct Waiting {
    waits: Arc<Waits>,
    /// The kicks with which a thread that serves the queues goes on, if one does.
    kicks: Option<Arc<[Kick]>>,
}

impl Waiting {
    /// Creates the means for a device whose queues the run loop serves again when they can go on.
    pub fn new(waits: Arc<Waits>) -> Self {
        Self { waits, kicks: None }
    }

    /// Creates the means for a device whose queues a thread serves, which takes `kicks`, one for
    /// each queue.
    pub fn kicking(waits: Arc<Waits>, kicks: Arc<[Kick]>) -> Self {
        Self {
            waits,
            kicks: Some(kicks),
        }
    }

    /// Has queue `index` served by the thread that serves the queues, if one does, though its
    /// driver has not notified of it.
    pub fn notify(&self, index: usize) {
        if let Some(kick) = self.kicks.as_ref().and_then(|kicks| kicks.get(index)) {
            kick.send();
        }
    }

    /// Counts queue `index` as waiting until the result is dropped, on whatever thread.
    pub fn begin(&self, index: usize) -> Wait {
        // Before the work is handed to anybody: it may be over, and the count taken back, at once.
        self.waits.count.fetch_add(1, Ordering::AcqRel);
        Wait {
            waiting: self.clone(),
            index,
        }
    }
}

/// A queue that waits.
pub struct Wait {
    waiting: Waiting,
    index: usize,
}

impl Drop for Wait {
    fn drop(&mut self) {
        let Waiting { waits, kicks } = &self.waiting;
        if let Some(kick) = kicks.as_ref().and_then(|kicks| kicks.get(self.index)) {
            kick.send();
        }
        // Only now: whoever sees nothing waiting must see the kick.
        waits.count.fetch_sub(1, Ordering::AcqRel);
        // After the count: the run loop looks at that when it wakes.
        if let Some(waker) = &waits.waker {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::kick::Pending;
    use super::*;

    #[test]
    fn a_queue_waits_until_its_wait_is_dropped() {
        let waker = Arc::<Waker>::default();
        let waits = Arc::new(Waits::new(Arc::clone(&waker)));
        let wait = Waiting::new(Arc::clone(&waits)).begin(0);
        let ticket = waker.ticket();
        assert!(waits.any());
        drop(wait);
        assert!(!waits.any());
        assert_ne!(waker.ticket(), ticket);
    }

    #[test]
    fn a_thread_that_serves_the_queue_is_kicked() {
        let (waits, pending) = (Arc::<Waits>::default(), Pending::default());
        let kicks: Arc<[Kick]> = (0..2)
            .map(|_| Kick::new(Arc::clone(&pending)).unwrap())
            .collect();
        let waiting = Waiting::kicking(Arc::clone(&waits), Arc::clone(&kicks));
        drop(waiting.begin(1));
        assert_eq!(pending.load(Ordering::Acquire), 1);
        assert!(kicks[0].take().is_none());
        assert!(kicks[1].take().is_some());
        assert!(!waits.any());
    }
}
