//! The queues of a device, as its front end sets them up.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use vhost::vhost_user::message::VhostUserVringAddr;
use vhost_user_backend::VringT;
use viommu::DmaSpace;
use virtio_queue::QueueT;
use vmm_sys_util::epoll::EventSet;

use super::VhostUserBackend;
use super::workers::{NO_KICK, Served, VringEpollHandler, Worker};

/// A queue.
struct Ring<V> {
    served: Served<V>,
    /// The thread that serves it, and its number there.
    worker: Option<(usize, u64)>,
    /// The kick, as it is waited for: descriptors of one's own, so that nobody closes them.
    kick: Option<File>,
    is_waited_for: bool,
}

/// The queues of a device, and the threads that serve them.
pub(super) struct Rings<T: VhostUserBackend> {
    backend: Arc<T>,
    rings: Vec<Ring<T::Vring>>,
    workers: Vec<Worker>,
    max_size: u16,
}

/// Why a request about a queue is refused.
type Refusal = &'static str;

const NO_QUEUE: Refusal = "there is no such queue";

impl<T: VhostUserBackend + 'static> Rings<T> {
    /// Creates the queues, and starts the threads.
    pub fn new(backend: &Arc<T>, memory: &DmaSpace) -> io::Result<Self> {
        let size = backend.max_queue_size();
        let max_size = u16::try_from(size).map_err(io::Error::other)?;
        let masks = backend.queues_per_thread();
        let mut rings = Vec::new();
        for index in 0..backend.num_queues() {
            let vring = T::Vring::new(memory.clone(), max_size).map_err(io::Error::other)?;
            let serves = |mask: &u64| index < 64 && mask >> index & 1 == 1;
            let worker = masks.iter().position(serves).map(|thread| {
                let before = masks[thread] & ((1 << index) - 1);
                (thread, u64::from(before.count_ones()))
            });
            rings.push(Ring {
                served: Served {
                    vring,
                    is_fresh: Arc::new(AtomicBool::new(true)),
                    waited: Arc::new(AtomicI32::new(NO_KICK)),
                },
                worker,
                kick: None,
                is_waited_for: false,
            });
        }
        let mut workers = Vec::new();
        for (number, mask) in masks.iter().enumerate() {
            let of_mask = rings.iter().take(64).enumerate();
            let of_mask = of_mask.filter(|(index, _)| mask >> index & 1 == 1);
            let served = of_mask.map(|(_, ring): (usize, &Ring<T::Vring>)| ring.served.clone());
            workers.push(Worker::start(backend, number, served.collect())?);
        }
        let handlers: Vec<_> = workers.iter().map(|one| Arc::clone(&one.handler)).collect();
        backend.set_threads(&handlers);
        Ok(Self {
            backend: Arc::clone(backend),
            rings,
            workers,
            max_size,
        })
    }

    fn ring(&mut self, index: u32) -> Result<&mut Ring<T::Vring>, Refusal> {
        let index = usize::try_from(index).map_err(|_| NO_QUEUE)?;
        self.rings.get_mut(index).ok_or(NO_QUEUE)
    }

    /// Returns a queue that is not running.
    fn stopped(&mut self, index: u32) -> Result<&T::Vring, Refusal> {
        let ring = self.ring(index)?;
        match ring.is_waited_for {
            true => Err("the queue is running"),
            false => Ok(&ring.served.vring),
        }
    }

    pub fn set_size(&mut self, index: u32, size: u32) -> Result<(), Refusal> {
        let max = self.max_size;
        let size = u16::try_from(size).ok().filter(|size| *size <= max);
        let size = size.filter(|size| size.is_power_of_two());
        let size = size.ok_or("a queue cannot have that size")?;
        self.stopped(index)?.set_queue_size(size);
        Ok(())
    }

    pub fn set_addresses(&mut self, body: &VhostUserVringAddr) -> Result<(), Refusal> {
        let (descriptors, available, used) = (body.descriptor, body.available, body.used);
        let vring = self.stopped(body.index)?;
        let set = vring.set_queue_info(descriptors, available, used);
        set.map_err(|_| "a queue cannot have these addresses")
    }

    pub fn set_next(&mut self, index: u32, next: u32) -> Result<(), Refusal> {
        let next = u16::try_from(next).map_err(|_| "a queue has no such place")?;
        self.stopped(index)?.set_queue_next_avail(next);
        Ok(())
    }

    /// Sets the kick, which starts the queue.
    pub fn set_kick(&mut self, index: u32, fd: Option<OwnedFd>) -> Result<(), Refusal> {
        let fd = fd.ok_or("a queue without a kick would have to be polled")?;
        let kick = non_blocking(fd)?;
        let waited = kick
            .try_clone()
            .map_err(|_| "there are no more file descriptors")?;
        self.forget_kick(index)?;
        let ring = self.ring(index)?;
        ring.kick = Some(waited);
        ring.served.is_fresh.store(true, Ordering::Release);
        ring.served.vring.set_kick(Some(kick));
        ring.served.vring.set_queue_ready(true);
        self.wait_for_kick(index)
    }

    pub fn set_call(&mut self, index: u32, fd: Option<OwnedFd>) -> Result<(), Refusal> {
        let call = fd.map(non_blocking).transpose()?;
        self.ring(index)?.served.vring.set_call(call);
        Ok(())
    }

    pub fn set_err(&mut self, index: u32, fd: Option<OwnedFd>) -> Result<(), Refusal> {
        let err = fd.map(non_blocking).transpose()?;
        self.ring(index)?.served.vring.set_err(err);
        Ok(())
    }

    /// Enables or disables a queue; of one that is disabled, no event is being handled any more.
    pub fn enable(&mut self, index: u32, enabled: bool) -> Result<(), Refusal> {
        self.ring(index)?.served.vring.set_enabled(enabled);
        match enabled {
            true => self.wait_for_kick(index),
            false => self.forget_kick(index),
        }
    }

    /// Stops a queue; returns the index of the next available descriptor.
    pub fn stop(&mut self, index: u32) -> Result<u16, Refusal> {
        self.ring(index)?.served.vring.set_queue_ready(false);
        self.forget_kick(index)?;
        let stopped = self.backend.stop_vring(index);
        stopped.map_err(|_| "the device cannot stop the queue")?;
        let ring = self.ring(index)?;
        ring.kick = None;
        let vring = &ring.served.vring;
        vring.set_kick(None);
        vring.set_call(None);
        Ok(vring.queue_next_avail())
    }

    /// Calls `what` for each queue.
    pub fn for_each(
        &mut self,
        mut what: impl FnMut(&mut Self, u32) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let count = u32::try_from(self.rings.len()).unwrap_or(u32::MAX);
        (0..count).try_for_each(|index| what(self, index))
    }

    pub fn set_event_idx(&mut self, enabled: bool) {
        for ring in &self.rings {
            ring.served.vring.set_queue_event_idx(enabled);
        }
        self.backend.set_event_idx(enabled);
    }

    fn thread(&self, index: u32) -> Option<(&Worker, u64)> {
        let ring = self.rings.get(usize::try_from(index).ok()?)?;
        let (thread, number) = ring.worker?;
        Some((self.workers.get(thread)?, number))
    }

    /// Has a queue served if it is enabled and started.
    fn wait_for_kick(&mut self, index: u32) -> Result<(), Refusal> {
        let thread = self.thread(index);
        let thread = thread.map(|(worker, number)| (Arc::clone(&worker.handler), number));
        let ring = self.ring(index)?;
        let state = ring.served.vring.get_ref();
        let runs = state.is_enabled() && state.get_queue().ready();
        drop(state);
        let (Some((handler, number)), Some(kick)) = (thread, &ring.kick) else {
            return Ok(());
        };
        if runs && !ring.is_waited_for {
            // Before it is waited for: the thread may find at once that it is of no use.
            ring.served
                .waited
                .store(kick.as_raw_fd(), Ordering::Release);
            ring.is_waited_for = true;
            if let Err(refused) = wait_for(&handler, kick, number) {
                ring.served.waited.store(NO_KICK, Ordering::Release);
                ring.is_waited_for = false;
                return Err(refused);
            }
        }
        Ok(())
    }

    /// Has a queue not served any more; when this returns, none of its events is being handled.
    fn forget_kick(&mut self, index: u32) -> Result<(), Refusal> {
        let handler = self
            .thread(index)
            .map(|(worker, _)| Arc::clone(&worker.handler));
        let ring = self.ring(index)?;
        ring.is_waited_for = false;
        if let Some(handler) = handler {
            handler.forget(&ring.served.waited);
        }
        if let Some((worker, _)) = self.thread(index) {
            worker.wait_idle();
        }
        Ok(())
    }
}

fn wait_for(handler: &VringEpollHandler, kick: &File, number: u64) -> Result<(), Refusal> {
    let added = handler.add(kick.as_raw_fd(), EventSet::IN, number);
    added.map_err(|_| "a queue's kick cannot be waited for")
}

/// Has a descriptor of the front end never block a thread of the device.
fn non_blocking(fd: OwnedFd) -> Result<File, Refusal> {
    let flags = fcntl_getfl(&fd);
    let set = flags.and_then(|flags| fcntl_setfl(&fd, flags | OFlags::NONBLOCK));
    set.map_err(|_| "a file descriptor is of no use")?;
    Ok(File::from(fd))
}
