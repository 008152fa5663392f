//! What a back end is told of its endpoint's mappings.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use viommu::vm_memory::{GuestAddressSpace, Permissions};
use viommu::{Attachment, DmaListener, DmaSpace, Mapping, Refusal, StableHostMemory};

use super::Frontend;
use super::link::{Link, SharedPin};
use super::mappings::{Change, Mappings};
use crate::sync::lock;
use crate::wire::IotlbMessage;

/// The most mappings of a batch, or of a back end that comes, that are told before anybody asks for
/// them; of more, the device finds the rest out by its misses.
const MAX_TOLD: usize = 4096;

/// The back end that a device has at present, if it has one: it may go, and come again with another
/// connection. Of one device, with one [`Listener`].
#[derive(Clone)]
pub struct CurrentBackend {
    followed: Arc<Mutex<Followed>>,
    /// Called when there is more to be sent than the socket takes: whoever polls it has to send the
    /// rest.
    unsent: Arc<dyn Fn() + Send + Sync>,
}

/// What one that comes is to be told, and who is told.
#[derive(Default)]
struct Followed {
    link: Option<Arc<Link>>,
    mappings: Mappings,
}

impl fmt::Debug for CurrentBackend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CurrentBackend").finish_non_exhaustive()
    }
}

impl CurrentBackend {
    /// Creates a device without a back end. `unsent` is called, under any lock, when there is
    /// more to be sent than a socket takes: [`Frontend::receive`] sends the rest when it takes
    /// more.
    pub fn new(unsent: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            followed: Arc::default(),
            unsent: Arc::new(unsent),
        }
    }

    /// Has the listener tell this back end from now on, or none. It is told first what the
    /// listener knows of mappings; so it may be set again after its memory has changed.
    ///
    /// It is to be [set up](Frontend::set_up) before: it can be told only of memory that it knows.
    pub fn set(&self, frontend: Option<&Frontend>) {
        let mut followed = self.lock();
        followed.link = frontend.map(|frontend| Arc::clone(&frontend.link));
        let Some(link) = &followed.link else {
            return;
        };
        let memory = link.memory();
        let changes = followed.mappings.changes().take(MAX_TOLD);
        let batch: Vec<_> = changes
            .flat_map(|change| change.messages(&memory))
            .collect();
        // Under the lock: what the listener takes away meanwhile is posted after this.
        self.post(link, &batch, None);
    }

    fn lock(&self) -> MutexGuard<'_, Followed> {
        lock(&self.followed)
    }

    fn link(&self) -> Option<Arc<Link>> {
        self.lock().link.clone()
    }

    fn post(&self, link: &Link, batch: &[IotlbMessage], pin: Option<&SharedPin>) {
        // A connection that has ended has nobody to be told; the error is found by who has it.
        if link.post(batch, pin).is_ok_and(|all| !all) {
            (self.unsent)();
        }
    }
}

/// Follows an endpoint, and tells the back end that there is at the time.
///
/// All is collected, and sent when a batch of changes is complete ([`DmaListener::commit`]): by
/// then the IOMMU has made the changes, so that no miss is answered by what was before. No call
/// waits for the back end.
pub struct Listener<M: StableHostMemory> {
    backend: CurrentBackend,
    space: DmaSpace<M>,
    /// What is to be told, in this order.
    batch: Vec<Change>,
    /// Mappings among it.
    told: usize,
    /// Whether any of it takes something away.
    takes_away: bool,
}

impl<M: StableHostMemory> fmt::Debug for Listener<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Listener")
            .field("batch", &self.batch)
            .finish_non_exhaustive()
    }
}

impl<M: StableHostMemory> Listener<M> {
    /// Creates the listener of an endpoint that sees `space`.
    pub const fn new(backend: CurrentBackend, space: DmaSpace<M>) -> Self {
        Self {
            backend,
            space,
            batch: Vec::new(),
            told: 0,
            takes_away: false,
        }
    }

    fn forget(&mut self, first: u64, last: u64) {
        self.takes_away = true;
        self.batch.push(Change::Forget(first, last));
    }
}

impl<M: StableHostMemory + Send + Sync + 'static> DmaListener for Listener<M> {
    fn attach(&mut self, to: Attachment) -> Result<(), Refusal> {
        self.backend.lock().mappings.attach(to);
        // What is collected is of the attachment before.
        self.batch.clear();
        self.told = 0;
        self.forget(0, u64::MAX);
        if matches!(to, Attachment::Bypass) {
            self.batch.push(Change::Bypass);
        }
        Ok(())
    }

    fn map(&mut self, mapping: &Mapping) -> Result<(), Refusal> {
        if mapping.permissions == Permissions::No {
            return Ok(());
        }
        self.backend.lock().mappings.map(*mapping);
        self.told += 1;
        if self.told <= MAX_TOLD {
            self.batch.push(Change::Map(*mapping));
        }
        Ok(())
    }

    fn unmap(&mut self, first: u64, last: u64) {
        self.backend.lock().mappings.unmap(first, last);
        self.forget(first, last);
    }

    fn invalidate(&mut self, first: u64, last: u64) {
        self.forget(first, last);
    }

    fn commit(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        self.told = 0;
        let takes_away = std::mem::take(&mut self.takes_away);
        let Some(link) = self.backend.link().filter(|_| !batch.is_empty()) else {
            return;
        };
        let memory = link.memory();
        let batch: Vec<_> = batch
            .iter()
            .flat_map(|change| change.messages(&memory))
            .collect();
        // Of an address space that is pinned no grace period ends that begins after this: the guest
        // is not told that the invalidation is over before the back end says so.
        let pin = takes_away.then(|| {
            let pin: SharedPin = self.space.memory();
            pin
        });
        self.backend.post(&link, &batch, pin.as_ref());
    }

    fn is_settled(&mut self) -> bool {
        // Without the other thread's help, for who polls; and so that who polls comes to an end.
        self.backend
            .link()
            .is_none_or(|link| !link.is_alive() || link.unacknowledged() == 0)
    }
}
