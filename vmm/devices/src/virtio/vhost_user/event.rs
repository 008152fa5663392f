//! Events that another process and this one tell each other by.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{EventfdFlags, eventfd};

/// An event. `vmm-sys-util` has one, too, which cannot be lent to a message.
#[derive(Debug)]
pub(super) struct Event(OwnedFd);

impl Event {
    /// Creates one that nobody has told yet.
    ///
    /// # Errors
    /// The host has no file descriptors left.
    pub fn new() -> io::Result<Self> {
        Ok(Self(eventfd(
            0,
            EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC,
        )?))
    }

    /// Tells it.
    pub fn tell(&self) {
        // A counter that is full means that it is told already.
        let _ = rustix::io::write(&self.0, &1u64.to_ne_bytes());
    }

    /// Returns whether it was told since the last time.
    pub fn take(&self) -> bool {
        rustix::io::read(&self.0, &mut [0; 8]).is_ok()
    }
}

impl AsFd for Event {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
