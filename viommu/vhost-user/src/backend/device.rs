//! What a device is: the traits of `vhost-user-backend` 0.24, with another memory.

use std::io::Result;
use std::sync::{Arc, Mutex, RwLock};

use vhost::vhost_user::VhostUserProtocolFeatures;
use vhost_user_backend::VringT;
use viommu::DmaSpace;
use vmm_sys_util::epoll::EventSet;

use super::VringEpollHandler;
use crate::sync::recover;

/// A device that several threads may call at once.
pub trait VhostUserBackend: Send + Sync {
    /// How queues are shared among threads: `VringRwLock<DmaSpace>` or `VringMutex<DmaSpace>`.
    type Vring: VringT<DmaSpace> + Clone + Send + Sync + 'static;

    /// Returns the number of queues.
    fn num_queues(&self) -> usize;

    /// Returns the largest size of a queue: a power of two.
    fn max_queue_size(&self) -> usize;

    /// Returns the features of virtio that are offered; the daemon adds those of vhost-user and
    /// `VIRTIO_F_ACCESS_PLATFORM`.
    fn features(&self) -> u64;

    /// Sets the features that the driver accepted.
    fn acked_features(&self, features: u64) {
        let _ = features;
    }

    /// Returns features of the protocol that the device has itself: only
    /// [`CONFIG`](VhostUserProtocolFeatures::CONFIG) is asked for, and the daemon adds its own.
    fn protocol_features(&self) -> VhostUserProtocolFeatures {
        VhostUserProtocolFeatures::empty()
    }

    /// Resets the device; its queues are disabled.
    fn reset_device(&self) {}

    /// Sets whether `VIRTIO_RING_F_EVENT_IDX` was accepted.
    fn set_event_idx(&self, enabled: bool);

    /// Returns `size` bytes of the configuration space; another number is a refusal.
    fn get_config(&self, offset: u32, size: u32) -> Vec<u8> {
        let _ = (offset, size);
        Vec::new()
    }

    /// Writes to the configuration space.
    ///
    /// # Errors
    /// If there is nothing to be written there.
    fn set_config(&self, offset: u32, buf: &[u8]) -> Result<()> {
        let _ = (offset, buf);
        Ok(())
    }

    /// Gives the device the memory that it sees, once for each front end. What is mapped there
    /// changes without another call.
    ///
    /// # Errors
    /// If the device cannot take it: then the front end is not served.
    fn update_memory(&self, memory: DmaSpace) -> Result<()>;

    /// Returns which queues each thread serves: one thread for each mask of queues. A queue in no
    /// mask is served by none.
    fn queues_per_thread(&self) -> Vec<u64> {
        vec![u64::MAX]
    }

    /// Gives the device its threads, in which it may have other events handled.
    fn set_threads(&self, threads: &[Arc<VringEpollHandler>]) {
        let _ = threads;
    }

    /// Stops work on a queue that goes on outside of `handle_event`: when it returns, nothing is
    /// done with the queue's buffers any more.
    ///
    /// # Errors
    /// If that cannot be had.
    fn stop_vring(&self, queue_index: u32) -> Result<()> {
        let _ = queue_index;
        Ok(())
    }

    /// Handles an event of thread `thread_id`: of the queue with this position among `vrings`,
    /// which are the thread's, or one that was registered by the device.
    ///
    /// # Errors
    /// They are logged, and end nothing.
    fn handle_event(
        &self,
        device_event: u16,
        evset: EventSet,
        vrings: &[Self::Vring],
        thread_id: usize,
    ) -> Result<()>;
}

/// A device without locks of its own; a `Mutex` or an `RwLock` around it is a
/// [`VhostUserBackend`].
pub trait VhostUserBackendMut: Send + Sync {
    /// How queues are shared among threads: `VringRwLock<DmaSpace>` or `VringMutex<DmaSpace>`.
    type Vring: VringT<DmaSpace> + Clone + Send + Sync + 'static;

    /// Returns the number of queues.
    fn num_queues(&self) -> usize;

    /// Returns the largest size of a queue: a power of two.
    fn max_queue_size(&self) -> usize;

    /// Returns the features of virtio that are offered; the daemon adds those of vhost-user and
    /// `VIRTIO_F_ACCESS_PLATFORM`.
    fn features(&self) -> u64;

    /// Sets the features that the driver accepted.
    fn acked_features(&mut self, features: u64) {
        let _ = features;
    }

    /// Returns features of the protocol that the device has itself: only
    /// [`CONFIG`](VhostUserProtocolFeatures::CONFIG) is asked for, and the daemon adds its own.
    fn protocol_features(&self) -> VhostUserProtocolFeatures {
        VhostUserProtocolFeatures::empty()
    }

    /// Resets the device; its queues are disabled.
    fn reset_device(&mut self) {}

    /// Sets whether `VIRTIO_RING_F_EVENT_IDX` was accepted.
    fn set_event_idx(&mut self, enabled: bool);

    /// Returns `size` bytes of the configuration space; another number is a refusal.
    fn get_config(&self, offset: u32, size: u32) -> Vec<u8> {
        let _ = (offset, size);
        Vec::new()
    }

    /// Writes to the configuration space.
    ///
    /// # Errors
    /// If there is nothing to be written there.
    fn set_config(&mut self, offset: u32, buf: &[u8]) -> Result<()> {
        let _ = (offset, buf);
        Ok(())
    }

    /// Gives the device the memory that it sees, once for each front end. What is mapped there
    /// changes without another call.
    ///
    /// # Errors
    /// If the device cannot take it: then the front end is not served.
    fn update_memory(&mut self, memory: DmaSpace) -> Result<()>;

    /// Returns which queues each thread serves: one thread for each mask of queues. A queue in no
    /// mask is served by none.
    fn queues_per_thread(&self) -> Vec<u64> {
        vec![u64::MAX]
    }

    /// Gives the device its threads, in which it may have other events handled.
    fn set_threads(&mut self, threads: &[Arc<VringEpollHandler>]) {
        let _ = threads;
    }

    /// Stops work on a queue that goes on outside of `handle_event`: when it returns, nothing is
    /// done with the queue's buffers any more.
    ///
    /// # Errors
    /// If that cannot be had.
    fn stop_vring(&mut self, queue_index: u32) -> Result<()> {
        let _ = queue_index;
        Ok(())
    }

    /// Handles an event of thread `thread_id`: of the queue with this position among `vrings`,
    /// which are the thread's, or one that was registered by the device.
    ///
    /// # Errors
    /// They are logged, and end nothing.
    fn handle_event(
        &mut self,
        device_event: u16,
        evset: EventSet,
        vrings: &[Self::Vring],
        thread_id: usize,
    ) -> Result<()>;
}

/// Has a lock around a device be a device.
macro_rules! locked {
    ($lock:ident, $read:ident, $write:ident) => {
        impl<T: VhostUserBackendMut> VhostUserBackend for $lock<T> {
            type Vring = T::Vring;

            fn num_queues(&self) -> usize {
                recover(self.$read()).num_queues()
            }

            fn max_queue_size(&self) -> usize {
                recover(self.$read()).max_queue_size()
            }

            fn features(&self) -> u64 {
                recover(self.$read()).features()
            }

            fn acked_features(&self, features: u64) {
                recover(self.$write()).acked_features(features)
            }

            fn protocol_features(&self) -> VhostUserProtocolFeatures {
                recover(self.$read()).protocol_features()
            }

            fn reset_device(&self) {
                recover(self.$write()).reset_device()
            }

            fn set_event_idx(&self, enabled: bool) {
                recover(self.$write()).set_event_idx(enabled)
            }

            fn get_config(&self, offset: u32, size: u32) -> Vec<u8> {
                recover(self.$read()).get_config(offset, size)
            }

            fn set_config(&self, offset: u32, buf: &[u8]) -> Result<()> {
                recover(self.$write()).set_config(offset, buf)
            }

            fn update_memory(&self, memory: DmaSpace) -> Result<()> {
                recover(self.$write()).update_memory(memory)
            }

            fn queues_per_thread(&self) -> Vec<u64> {
                recover(self.$read()).queues_per_thread()
            }

            fn set_threads(&self, threads: &[Arc<VringEpollHandler>]) {
                recover(self.$write()).set_threads(threads)
            }

            fn stop_vring(&self, queue_index: u32) -> Result<()> {
                recover(self.$write()).stop_vring(queue_index)
            }

            fn handle_event(
                &self,
                device_event: u16,
                evset: EventSet,
                vrings: &[Self::Vring],
                thread_id: usize,
            ) -> Result<()> {
                recover(self.$write()).handle_event(device_event, evset, vrings, thread_id)
            }
        }
    };
}

locked!(Mutex, lock, lock);
locked!(RwLock, read, write);
