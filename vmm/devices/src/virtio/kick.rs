//! Notifications of queues that a thread serves.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

/// Notifications that were sent and not yet served, of all devices.
pub type Pending = Arc<AtomicU64>;

/// The notifications of one queue, on their way to the thread that serves it.
///
/// The host's kernel may write to the event, too, and counts nothing. So how many of those that
/// come at once were counted is known for each queue by itself: one that was not counted takes no
/// other's count away.
#[derive(Debug)]
pub struct Kick {
    event: EventFd,
    /// Those of this queue that are counted in `pending` and were not taken yet.
    counted: Arc<AtomicU64>,
    pending: Pending,
}

impl Kick {
    /// Creates one that counts in `pending`.
    ///
    /// # Errors
    /// The host has no file descriptors left.
    pub fn new(pending: Pending) -> io::Result<Self> {
        Ok(Self {
            event: EventFd::new(EFD_NONBLOCK)?,
            counted: Arc::default(),
            pending,
        })
    }

    /// Returns another handle to the same.
    ///
    /// # Errors
    /// The host has no file descriptors left.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self {
            event: self.event.try_clone()?,
            counted: Arc::clone(&self.counted),
            pending: Arc::clone(&self.pending),
        })
    }

    /// Returns the event: readable while there is something to be taken. What the host's kernel
    /// writes to it is served, but not counted before it is taken.
    pub fn event(&self) -> &EventFd {
        &self.event
    }

    /// Sends one.
    pub fn send(&self) {
        // Counted before it is sent: whoever sees nothing pending must have nothing to wait for. In
        // this order, so that no more is ever taken off `pending` than was added.
        self.pending.fetch_add(1, Ordering::AcqRel);
        self.counted.fetch_add(1, Ordering::AcqRel);
        // A counter that overflows means that one is on its way, and this one is taken with it.
        let _ = self.event.write(1);
    }

    /// Takes all that were sent, to be served now; `None` when there is none. They are pending
    /// until the result is dropped.
    pub fn take(&self) -> Option<KicksInService<'_>> {
        // Counted before the event is read: those that the host's kernel sent are not counted until
        // now, and must not be neither there to be read nor pending.
        self.pending.fetch_add(1, Ordering::AcqRel);
        let mut taken = KicksInService {
            pending: &self.pending,
            count: 1,
        };
        self.event.read().ok()?;
        // One may be among them that is counted and not sent yet. What it tells of is there
        // already, so that who serves these serves it, too.
        taken.count += self.counted.swap(0, Ordering::AcqRel);
        Some(taken)
    }
}

/// Notifications that are being served.
#[derive(Debug)]
#[must_use]
pub struct KicksInService<'a> {
    pending: &'a Pending,
    count: u64,
}

impl Drop for KicksInService<'_> {
    fn drop(&mut self) {
        self.pending.fetch_sub(self.count, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_hosts_kernel_sends_takes_no_other_queues_count_away() {
        let pending = Pending::default();
        let count = || pending.load(Ordering::Acquire);
        let kick = || Kick::new(Arc::clone(&pending)).unwrap();
        let (counted, uncounted) = (kick(), kick());
        counted.send();
        uncounted.event().write(3).unwrap();
        assert_eq!(count(), 1);
        let taken = uncounted.take().unwrap();
        assert_eq!(count(), 2);
        drop(taken);
        assert_eq!(count(), 1);
        // Of one queue, some may be counted and some not.
        counted.event().write(1).unwrap();
        counted.try_clone().unwrap().send();
        let taken = counted.take().unwrap();
        assert_eq!(count(), 3);
        drop(taken);
        assert_eq!(count(), 0);
        for kick in [counted, uncounted] {
            assert!(kick.take().is_none());
        }
        assert_eq!(count(), 0);
    }

    #[test]
    fn one_that_finds_the_counter_full_is_taken_with_those_before() {
        let kick = Kick::new(Pending::default()).unwrap();
        kick.event().write(u64::MAX - 1).unwrap();
        kick.send();
        assert_eq!(kick.pending.load(Ordering::Acquire), 1);
        drop(kick.take());
        assert_eq!(kick.pending.load(Ordering::Acquire), 0);
    }
}
