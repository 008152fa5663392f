//! Listeners: who programs hardware, or another process, to translate as a device is translated.
//!
//! A device that makes its accesses itself, through VFIO or vhost, does not come through a
//! [`DmaSpace`](crate::DmaSpace). What stands for its endpoint, a VFIO container, an I/O address
//! space of iommufd or the IOTLB of a vhost device, must be told of each change.

use std::sync::atomic::{AtomicBool, Ordering, fence};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::attachment::Attachment;
use crate::fault::{DomainId, EndpointId};
use crate::model::Mapping;

/// Why a listener does not take a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no room for it, such as for locked memory: the driver is told NOMEM.
    #[error("there is no room for it")]
    NoMemory,
    /// It cannot be done: the driver is told DEVERR.
    #[error("it cannot be done")]
    Device,
}

/// Follows what one endpoint meets.
///
/// It holds a set of mappings, which is empty at first, and a way: the endpoint is blocked at
/// first. All is told in the order in which it happens, before the change is made and before the
/// driver is answered, with no lock of the device held but that of the device itself. A listener
/// must not access the device that calls it, nor wait for one of its vCPUs or pins.
///
/// After any of the calls, its set is that of the device, or will be when [`commit`](Self::commit)
/// returns; so a listener may collect what cannot fail, and flush it there. What it cannot do it
/// has to refuse at once: a refused call must change nothing of its set.
///
/// A virtio-iommu tells all of it: see [`VirtioIommu::add_listener`]. Models whose mappings are
/// tables in guest memory cannot tell when a guest maps, as it may do so without a word to them:
/// see [`TranslationUnit::add_listener`] for what they tell.
///
/// [`VirtioIommu::add_listener`]: crate::virtio::VirtioIommu::add_listener
/// [`TranslationUnit::add_listener`]: crate::TranslationUnit::add_listener
pub trait DmaListener: Send + Sync {
    /// The endpoint is attached, detached or blocked: first all mappings are gone, then accesses go
    /// another way. With [`Attachment::Domain`] the domain's mappings follow, one call each; with
    /// [`Attachment::Bypass`] the endpoint meets all guest memory by its own addresses; with
    /// [`Attachment::Blocked`], which must not be refused, nothing.
    ///
    /// # Errors
    /// If it cannot be done. Then the listener is told to go back to what there was before.
    fn attach(&mut self, to: Attachment) -> Result<(), Refusal>;

    /// A range is mapped that does not overlap what is mapped. It leads to guest physical addresses
    /// at which there may be no memory: then accesses are to fail, or the listener refuses.
    ///
    /// # Errors
    /// If it cannot be done.
    fn map(&mut self, mapping: &Mapping) -> Result<(), Refusal>;

    /// All mappings in a range, first and last IOVA, are gone. None is cut in two; there may be
    /// gaps.
    fn unmap(&mut self, first: u64, last: u64);

    /// Whatever was learnt by asking for a translation in this range is to be forgotten. Only
    /// models with tables in guest memory tell this.
    fn invalidate(&mut self, first: u64, last: u64) {
        let _ = (first, last);
    }

    /// A batch of changes is complete: once for each batch of requests, before they are answered.
    /// When it returns and [`is_settled`](Self::is_settled), no access goes the old way any more.
    fn commit(&mut self) {}

    /// Returns whether everything that was committed has taken effect; polled, with the requests
    /// not answered, until it is so.
    fn is_settled(&mut self) -> bool {
        true
    }
}

/// A listener and its endpoint.
type Listening = (EndpointId, Box<dyn DmaListener>);

/// The listeners of a unit.
#[derive(Default)]
pub(crate) struct Listeners {
    all: Mutex<Vec<Listening>>,
    /// Whether there was ever one.
    any: AtomicBool,
}

impl Listeners {
    fn lock(&self) -> MutexGuard<'_, Vec<Listening>> {
        // Poisoned only by a panic that its own thread has reported; another one here would hide
        // it.
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds one, which is told what its endpoint is attached to.
    pub fn add(
        &self,
        endpoint: EndpointId,
        mut listener: Box<dyn DmaListener>,
        to: impl Fn() -> Attachment,
    ) {
        // Under the lock: a change that comes now is told after this.
        let mut all = self.lock();
        self.any.store(true, Ordering::SeqCst);
        // An invalidation that does not see it changed the mappings before: what the listener asks
        // for later is from after that.
        fence(Ordering::SeqCst);
        attach(&mut *listener, to());
        all.push((endpoint, listener));
    }

    /// Removes those of an endpoint.
    pub fn remove(&self, endpoint: EndpointId) -> Vec<Box<dyn DmaListener>> {
        let mut all = self.lock();
        let (gone, others) = std::mem::take(&mut *all)
            .into_iter()
            .partition::<Vec<_>, _>(|one| one.0 == endpoint);
        *all = others;
        gone.into_iter().map(|(_, listener)| listener).collect()
    }

    /// Tells those of `endpoint` what it is attached to.
    pub fn attached(&self, endpoint: EndpointId, to: Attachment) {
        for (of, listener) in &mut *self.lock() {
            if *of == endpoint {
                attach(&mut **listener, to);
            }
        }
    }

    /// Tells those whose endpoints are attached to `domain`, or to any if none is named, that a
    /// range was invalidated.
    pub fn invalidated(
        &self,
        domain: Option<DomainId>,
        (first, last): (u64, u64),
        attachment: impl Fn(EndpointId) -> Attachment,
    ) {
        // Guests unmap each buffer: without listeners, as nearly always, no lock is taken.
        if !self.any.load(Ordering::SeqCst) {
            return;
        }
        for (endpoint, listener) in &mut *self.lock() {
            let of = match attachment(*endpoint) {
                Attachment::Domain(of) => of,
                Attachment::Bypass | Attachment::Blocked => continue,
            };
            if domain.is_none_or(|domain| domain == of) {
                listener.invalidate(first, last);
                listener.commit();
            }
        }
    }
}

/// Tells a listener of an attachment that nobody can be told it refuses.
fn attach(listener: &mut dyn DmaListener, to: Attachment) {
    if listener.attach(to).is_err() {
        // Blocked is never refused.
        let _ = listener.attach(Attachment::Blocked);
    }
    listener.commit();
}

#[cfg(all(test, not(loom)))]
mod tests;
