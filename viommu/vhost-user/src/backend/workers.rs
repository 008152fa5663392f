//! The threads that serve queues.

use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use vhost_user_backend::VringT;
use viommu::DmaSpace;
use virtio_queue::QueueT;
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

use super::VhostUserBackend;

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
}

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
    /// Held while an event is handled.
    work: Arc<Mutex<()>>,
    thread: Option<JoinHandle<()>>,
}

fn lock(work: &Mutex<()>) -> MutexGuard<'_, ()> {
    // A device that panicked has ended its thread.
    work.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Worker {
    /// Starts thread `number` of `backend`.
    pub fn start<T: VhostUserBackend + 'static>(
        backend: &Arc<T>,
        number: usize,
        served: Vec<Served<T::Vring>>,
    ) -> io::Result<Self> {
        let handler = Arc::new(VringEpollHandler::new(backend.num_queues())?);
        let work = Arc::new(Mutex::new(()));
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
        drop(lock(&self.work));
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
    work: Arc<Mutex<()>>,
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
        let work = lock(&self.work);
        let queue = usize::try_from(data)
            .ok()
            .and_then(|data| self.served.get(data));
        if queue.is_some_and(|queue| !Self::take_kick(queue)) {
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
    fn take_kick(queue: &Served<T::Vring>) -> bool {
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
                false
            }
        }
    }
}
