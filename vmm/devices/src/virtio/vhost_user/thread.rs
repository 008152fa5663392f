//! The thread of a device that is another process: its interrupts, its end, and its return.

use std::io;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Shared, VhostUserHandle};
use crate::virtio::VirtioMmio;
use crate::virtio::deferred_work::DeferredWork;

/// How often a process that is not there is looked for.
const AGAIN: Duration = Duration::from_millis(200);
/// How often it is looked whether an acknowledgement is late.
const LATE: Duration = Duration::from_secs(1);

/// The thread of one device; ends when dropped.
pub struct VhostUserThread {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl VhostUserThread {
    /// Starts the thread of the device in `slot`, which also does the `deferred_work` that its
    /// acknowledgements make possible. None if the device there is no other process.
    ///
    /// # Errors
    /// The host has no threads left.
    pub fn start(
        slot: &Arc<Mutex<VirtioMmio>>,
        deferred_work: &Arc<DeferredWork>,
    ) -> io::Result<Option<Self>> {
        let handle = {
            let mut slot = slot.lock().unwrap_or_else(PoisonError::into_inner);
            slot.device_mut()
                .as_vhost_user()
                .map(|device| device.shared())
        };
        let Some(VhostUserHandle(shared)) = handle else {
            return Ok(None);
        };
        let served = Served {
            shared: Arc::clone(&shared),
            slot: Arc::clone(slot),
            deferred_work: Arc::clone(deferred_work),
        };
        let thread = vmm_base::thread::spawn("vhost-user", move || served.run())?;
        Ok(Some(Self {
            shared,
            thread: Some(thread),
        }))
    }
}

impl Drop for VhostUserThread {
    fn drop(&mut self) {
        // Before the event, after which the thread looks at it.
        self.shared.stop.over.store(true, Ordering::Release);
        self.shared.wake.tell();
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been reported by itself, and a drop cannot return it.
            let _ = thread.join();
        }
    }
}

struct Served {
    shared: Arc<Shared>,
    slot: Arc<Mutex<VirtioMmio>>,
    deferred_work: Arc<DeferredWork>,
}

impl Served {
    fn run(&self) {
        let over = || self.shared.stop.over.load(Ordering::Acquire);
        let mut tried = Instant::now();
        while !over() {
            let connected = self.shared.frontend().is_some();
            if !connected {
                self.end_connection();
                if tried.elapsed() >= AGAIN {
                    self.connect_again();
                    tried = Instant::now();
                }
            }
            self.wait();
            self.take_in();
        }
    }

    /// Waits until there is something to do.
    fn wait(&self) {
        let shared = &*self.shared;
        let frontend = shared.frontend();
        let events = shared.calls.iter().chain([&*shared.notice, &*shared.wake]);
        let mut fds: Vec<PollFd<'_>> = events
            .map(|event| PollFd::from_borrowed_fd(event.as_fd(), PollFlags::IN))
            .collect();
        if let Some((frontend, _)) = &frontend {
            let wanted = match frontend.is_flushed() {
                true => PollFlags::IN,
                false => PollFlags::IN | PollFlags::OUT,
            };
            fds.push(PollFd::from_borrowed_fd(frontend.socket(), wanted));
        }
        // With a process there is something that tells of all news but that there is none.
        let time = match frontend {
            Some(_) if shared.translated => Timespec::try_from(LATE).ok(),
            Some(_) => None,
            None => Timespec::try_from(AGAIN).ok(),
        };
        // An error of the wait shows in what is looked at next.
        let _ = poll(&mut fds, time.as_ref());
    }

    /// Takes in all that there is.
    fn take_in(&self) {
        let shared = &*self.shared;
        let _ = shared.wake.take();
        if let Some((frontend, _)) = shared.frontend() {
            let before = frontend.unacknowledged();
            // Whether it has ended is looked at next.
            frontend.is_alive();
            if frontend.unacknowledged() < before {
                // Requests of an IOMMU's driver may have waited for it.
                self.deferred_work.run();
            }
        }
        // All are read, whether or not one is enough.
        let called = shared.calls.iter().filter(|call| call.take()).count();
        if called > 0 {
            self.slot().buffers_used();
        }
        if shared.notice.take() {
            self.read_config();
        }
    }

    /// Reads the configuration space, which has changed.
    fn read_config(&self) {
        let Some((frontend, _)) = self.shared.frontend() else {
            return;
        };
        let mut config = self.shared.description.config.clone();
        // No lock is held: the process may take its time.
        if self.shared.description.asks.is_some() && frontend.read_config(0, &mut config).is_ok() {
            self.shared.patch(&mut config);
            self.slot().change_config(|device| {
                if let Some(device) = device.as_vhost_user() {
                    device.config = config;
                }
            });
        }
    }

    /// Notes that the connection has ended, if there was one.
    fn end_connection(&self) {
        if self.shared.connection().is_none() {
            return;
        }
        let path = self.shared.description.socket.display();
        tracing::warn!("the process of the vhost-user device {path} has gone");
        let mut slot = self.slot();
        let lost = slot
            .device_mut()
            .as_vhost_user()
            .is_some_and(|device| device.process_gone());
        if lost {
            slot.ask_for_reset();
        }
        drop(slot);
        // Whoever waited for an acknowledgement of it goes on.
        self.deferred_work.run();
    }

    /// Looks whether the process is there again.
    fn connect_again(&self) {
        // No lock is held while the process is asked.
        let (connection, _) = match self.shared.connect() {
            Ok(found) => found,
            Err(why) => {
                tracing::debug!("vhost-user: {why}");
                return;
            }
        };
        let mut slot = self.slot();
        let Some(device) = slot.device_mut().as_vhost_user() else {
            return;
        };
        let path = self.shared.description.socket.display();
        // The driver may have accepted all of it.
        let missing = device.features & !self.shared.features_of(&connection.offer);
        if missing != 0 {
            tracing::warn!("the vhost-user device {path} is back without features {missing:#x}");
            return;
        }
        tracing::warn!("the process of the vhost-user device {path} is back");
        self.shared.install(connection);
        device.process_come();
    }

    fn slot(&self) -> std::sync::MutexGuard<'_, VirtioMmio> {
        // Poisoned only by a panic that its own thread has reported.
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
