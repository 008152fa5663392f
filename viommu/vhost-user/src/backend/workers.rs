//! The threads that serve queues.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};

use vhost_user_backend::VringT;
use viommu::DmaSpace;
use virtio_queue::QueueT;
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::VhostUserBackend;
use crate::sync::lock;

/// Events that are taken in one go.
const EVENTS: usize = 32;

/// The events of one thread of a device.
pub struct VringEpollHandler {
    epoll: Epoll,
    /// The event that ends the thread; lower numbers are queues.
    exit: u64,
    exit_event: EventFd,
}

impl std::fmt::Debug for VringEpollHandler {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VringEpollHandler").finish_non_exhaustive()
    }
}

impl VringEpollHandler {
    fn new(queues: usize) -> io::Result<Self> {
        let epoll = Epoll::new()?;
        let exit = queues as u64;
        let exit_event = EventFd::new(EFD_CLOEXEC | EFD_NONBLOCK)?;
        let event = EpollEvent::new(EventSet::IN, exit);
        epoll.ctl(ControlOperation::Add, exit_event.as_raw_fd(), event)?;
        Ok(Self {
            epoll,
            exit,
            exit_event,
        })
    }

    /// Has `handle_event` called with `data` when `fd` is ready. `data` is larger than the number
    /// of queues, and at most 65535.
    ///
    /// # Errors
    /// If `data` is another, or the descriptor cannot be waited for.
    pub fn register_listener(&self, fd: RawFd, events: EventSet, data: u64) -> io::Result<()> {
        if data <= self.exit || data > u64::from(u16::MAX) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        self.add(fd, events, data)
    }

    /// Undoes [`register_listener`](Self::register_listener).
    ///
    /// # Errors
    /// If the descriptor is not waited for.
    pub fn unregister_listener(&self, fd: RawFd, events: EventSet, data: u64) -> io::Result<()> {
        let event = EpollEvent::new(events, data);
        self.epoll.ctl(ControlOperation::Delete, fd, event)
    }

    /// Has a queue's kick not waited for any more.
    pub(super) fn forget(&self, waited: &AtomicI32) {
        let fd = waited.swap(NO_KICK, Ordering::AcqRel);
        if fd != NO_KICK {
            // It is waited for, and open: it is closed only after this.
            let _ = self.unregister_listener(fd, EventSet::empty(), 0);
        }
    }

    pub(super) fn add(&self, fd: RawFd, events: EventSet, data: u64) -> io::Result<()> {
        let event = EpollEvent::new(events, data);
        self.epoll.ctl(ControlOperation::Add, fd, event)
    }
}

/// A queue, as its thread has it.
#[derive(Clone, Debug)]
pub(super) struct Served<V> {
    pub vring: V,
    /// It was started, and its place in the used ring is not known yet: it is in the guest's
    /// memory, which may have to be asked for.
    pub is_fresh: Arc<AtomicBool>,
    /// The descriptor by which its kick is waited for, or [`NO_KICK`].
    pub waited: Arc<AtomicI32>,
}

/// In the place of a descriptor: the kick is not waited for.
pub(super) const NO_KICK: RawFd = -1;

impl<V: VringT<DmaSpace>> Served<V> {
    /// Finds out where the used ring goes on; returns whether that is known.
    fn begin(&self) -> bool {
        if !self.is_fresh.load(Ordering::Acquire) {
            return true;
        }
        match self.vring.queue_used_idx() {
            Ok(index) => self.vring.set_queue_next_used(index),
            Err(error) => {
                tracing::warn!("the used ring of a queue is out of reach: {error}");
                return false;
            }
        }
        self.is_fresh.store(false, Ordering::Release);
        true
    }
}

/// A thread that serves queues.
pub(super) struct Worker {
    pub handler: Arc<VringEpollHandler>,
    work: Arc<Work>,
    thread: Option<JoinHandle<()>>,
}

/// The work of a thread.
#[derive(Default)]
struct Work {
    /// Held while an event is handled.
    event: Mutex<()>,
    /// How many wait until it is not. They go first: a thread with events without an end would
    /// have the lock again before they wake up.
    waiting: AtomicUsize,
}

impl Work {
    fn lock(&self) -> MutexGuard<'_, ()> {
        // A device that panicked has ended its thread.
        lock(&self.event)
    }

    /// Begins to handle an event.
    fn begin(&self) -> MutexGuard<'_, ()> {
        while self.waiting.load(Ordering::Acquire) > 0 {
            thread::yield_now();
        }
        self.lock()
    }

    fn wait_idle(&self) {
        self.waiting.fetch_add(1, Ordering::AcqRel);
        drop(self.lock());
        self.waiting.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Worker {
    /// Starts thread `number` of `backend`.
    pub fn start<T: VhostUserBackend + 'static>(
        backend: &Arc<T>,
        number: usize,
        served: Vec<Served<T::Vring>>,
    ) -> io::Result<Self> {
        let handler = Arc::new(VringEpollHandler::new(backend.num_queues())?);
        let work = Arc::<Work>::default();
        let serving = Serving {
            backend: Arc::clone(backend),
            handler: Arc::clone(&handler),
            vrings: served.iter().map(|one| one.vring.clone()).collect(),
            served,
            work: Arc::clone(&work),
            number,
        };
        let thread = thread::Builder::new().name(format!("vring worker {number}"));
        let thread = thread.spawn(move || serving.run())?;
        Ok(Self {
            handler,
            work,
            thread: Some(thread),
        })
    }

    /// Waits until the event that is being handled, if there is one, is.
    pub fn wait_idle(&self) {
        self.work.wait_idle();
    }
}

/// Ends the thread, and waits for it.
impl Drop for Worker {
    fn drop(&mut self) {
        // It fails only if the counter is full, and then the event is there.
        let _ = self.handler.exit_event.write(1);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("a thread of the device panicked");
        }
    }
}

/// What a thread has.
struct Serving<T: VhostUserBackend> {
    backend: Arc<T>,
    handler: Arc<VringEpollHandler>,
    vrings: Vec<T::Vring>,
    served: Vec<Served<T::Vring>>,
    work: Arc<Work>,
    number: usize,
}

impl<T: VhostUserBackend> Serving<T> {
    fn run(&self) {
        let mut events = [EpollEvent::default(); EVENTS];
        loop {
            let count = match self.handler.epoll.wait(-1, &mut events) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    tracing::error!("a thread of the device cannot wait for events: {error}");
                    return;
                }
            };
            for event in &events[..count] {
                if event.data() == self.handler.exit {
                    return;
                }
                self.handle(event.data(), event.event_set());
            }
        }
    }

    fn handle(&self, data: u64, events: EventSet) {
        let work = self.work.begin();
        let queue = usize::try_from(data)
            .ok()
            .and_then(|data| self.served.get(data));
        if queue.is_some_and(|queue| !self.take_kick(queue)) {
            return;
        }
        let Ok(event) = u16::try_from(data) else {
            return;
        };
        let vrings = &self.vrings;
        if let Err(error) = self
            .backend
            .handle_event(event, events, vrings, self.number)
        {
            tracing::warn!("the device fails at event {event}: {error}");
        }
        drop(work);
    }

    /// Takes a queue's kick; returns whether there is work.
    fn take_kick(&self, queue: &Served<T::Vring>) -> bool {
        {
            // Looked at first: the kick of a queue that is not enabled stays where it is.
            let state = queue.vring.get_ref();
            if !state.is_enabled() || !state.get_queue().ready() {
                return false;
            }
        }
        match queue.vring.read_kick() {
            Ok(_) => queue.begin(),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => false,
            Err(error) => {
                tracing::warn!("a queue's kick cannot be read: {error}");
                queue.vring.set_queue_ready(false);
                // It would be there again at once, and for ever.
                self.handler.forget(&queue.waited);
                false
            }
        }
    }
}
