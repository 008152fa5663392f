//! Frames between the network device and the thread of the network.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::event::{EventfdFlags, eventfd};

use crate::peer::Notify;

/// The most frames that wait in either direction.
const MAX_FRAMES: usize = 512;

#[derive(Default)]
struct Frames {
    to_host: VecDeque<Vec<u8>>,
    to_guest: VecDeque<Vec<u8>>,
    /// Whether the thread waits for the guest to take frames.
    full: bool,
    /// Calls the device when there are frames for the guest.
    notify: Option<Notify>,
}

/// Two bounded queues, and what wakes who reads them.
pub(super) struct Link {
    frames: Mutex<Frames>,
    /// Wakes the thread.
    event: OwnedFd,
    stopped: AtomicBool,
}

impl Link {
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            frames: Mutex::default(),
            event: eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?,
            stopped: AtomicBool::new(false),
        })
    }

    fn frames(&self) -> MutexGuard<'_, Frames> {
        // Poisoned only by a panic that its own thread has reported.
        self.frames.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake(&self) {
        // A counter that overflows means that the thread is woken already.
        let _ = rustix::io::write(&self.event, &1_u64.to_ne_bytes());
    }

    /// Sends a frame of the guest's. It is lost if the thread has too many to look at.
    pub fn send(&self, frame: &[u8]) {
        let mut frames = self.frames();
        if frames.to_host.len() < MAX_FRAMES {
            frames.to_host.push_back(frame.to_vec());
        }
        drop(frames);
        self.wake();
    }

    /// Returns the next frame for the guest.
    pub fn receive(&self) -> Option<Vec<u8>> {
        let mut frames = self.frames();
        let frame = frames.to_guest.pop_front();
        let wakes = frames.full && frames.to_guest.len() <= MAX_FRAMES / 2;
        if wakes {
            frames.full = false;
        }
        drop(frames);
        if wakes {
            self.wake();
        }
        frame
    }

    pub fn set_notify(&self, notify: Notify) {
        self.frames().notify = Some(notify);
    }

    /// Returns what wakes the thread: it is readable then.
    pub const fn event(&self) -> &OwnedFd {
        &self.event
    }

    /// Makes it wait for the next time.
    pub fn woken(&self) {
        // It is only there to end a wait: what came is looked for in any case.
        let _ = rustix::io::read(&self.event, &mut [0; 8]);
    }

    /// Takes the next frame of the guest's, on the thread.
    pub fn taken(&self) -> Option<Vec<u8>> {
        self.frames().to_host.pop_front()
    }

    /// Returns whether there is room for a frame for the guest; the thread is woken when there is.
    pub fn has_room(&self) -> bool {
        let mut frames = self.frames();
        let room = frames.to_guest.len() < MAX_FRAMES;
        frames.full |= !room;
        room
    }

    /// Has frames wait for the guest, as far as there is room, and tells the device.
    pub fn give(&self, given: impl Iterator<Item = Vec<u8>>) {
        let mut frames = self.frames();
        let before = frames.to_guest.len();
        for frame in given {
            if frames.to_guest.len() < MAX_FRAMES {
                frames.to_guest.push_back(frame);
            }
        }
        if frames.to_guest.len() > before
            && let Some(notify) = &frames.notify
        {
            notify();
        }
    }

    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Release);
        self.wake();
    }

    pub fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }
}
