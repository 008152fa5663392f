//! What a back end is told of its endpoint's mappings.

use std::sync::{Arc, Mutex, PoisonError};

use viommu::{Attachment, DmaListener, DmaSpace, Mapping, Refusal, StableHostMemory};
use vm_memory::{GuestAddressSpace, Permissions};

use super::Frontend;
use super::link::{Held, Link};
use super::rings::MemoryRegion;
use viommu_vhost_user::wire::IotlbMessage;

/// The most mappings of a batch that are told before anybody asks for them; of more, the device
/// finds the rest out by its misses.
const MAX_TOLD: usize = 4096;

/// The connection that a device has at present, if it has one: a back end may go, and come again
/// with another.
#[derive(Clone)]
pub struct Current {
    link: Arc<Mutex<Option<Arc<Link>>>>,
    /// Called when there is more to be sent than the socket takes: whoever polls it has to send the
    /// rest.
    unsent: Arc<dyn Fn() + Send + Sync>,
}

impl Current {
    /// Creates a device without a connection. `unsent` is called, under any lock, when there is
    /// more to be sent than a socket takes: [`Frontend::receive`] sends the rest when it takes
    /// more.
    pub fn new(unsent: impl Fn() + Send + Sync + 'static) -> Self {
        Self {
            link: Arc::default(),
            unsent: Arc::new(unsent),
        }
    }

    /// Has listeners tell this back end from now on, which knows no translation yet, or none.
    pub fn set(&self, frontend: Option<&Frontend>) {
        let link = frontend.map(|frontend| Arc::clone(&frontend.link));
        *self.link.lock().unwrap_or_else(PoisonError::into_inner) = link;
    }

    fn get(&self) -> Option<Arc<Link>> {
        let link = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        link.clone()
    }
}

/// Follows an endpoint, and tells the back end that there is at the time.
///
/// All is collected, and sent when a batch of changes is complete ([`DmaListener::commit`]): by
/// then the IOMMU has made the changes, so that no miss is answered by what was before.
pub struct Listener<M: StableHostMemory> {
    current: Current,
    space: DmaSpace<M>,
    memory: Vec<MemoryRegion>,
    /// What is to be told, in this order.
    batch: Vec<IotlbMessage>,
    /// Mappings among it.
    told: usize,
    /// Whether any of it takes something away.
    takes_away: bool,
}

impl<M: StableHostMemory> Listener<M> {
    /// Creates a listener for an endpoint that sees `space`, of the guest's `memory`.
    pub const fn new(current: Current, space: DmaSpace<M>, memory: Vec<MemoryRegion>) -> Self {
        Self {
            current,
            space,
            memory,
            batch: Vec::new(),
            told: 0,
            takes_away: false,
        }
    }

    fn forget(&mut self, first: u64, last: u64) {
        self.takes_away = true;
        // The size of the whole address space does not fit: it goes in two halves.
        match (last - first).checked_add(1) {
            Some(size) => self.batch.push(IotlbMessage::invalidate(first, size)),
            None => self.batch.extend(whole()),
        }
    }
}

/// Returns invalidations of everything.
fn whole() -> [IotlbMessage; 2] {
    const HALF: u64 = 1 << 63;
    [0, HALF].map(|first| IotlbMessage::invalidate(first, HALF))
}

impl<M: StableHostMemory + Send + Sync + 'static> DmaListener for Listener<M> {
    fn attach(&mut self, _: Attachment) -> Result<(), Refusal> {
        // What is collected is of the attachment before. Nothing is told of the new one: misses are
        // answered by what there is then.
        self.batch.clear();
        self.told = 0;
        self.forget(0, u64::MAX);
        Ok(())
    }

    fn map(&mut self, mapping: &Mapping) -> Result<(), Refusal> {
        self.told += 1;
        if self.told <= MAX_TOLD {
            self.batch.extend(updates(mapping, &self.memory));
        }
        Ok(())
    }

    fn unmap(&mut self, first: u64, last: u64) {
        self.forget(first, last);
    }

    fn invalidate(&mut self, first: u64, last: u64) {
        self.forget(first, last);
    }

    fn commit(&mut self) {
        let batch = std::mem::take(&mut self.batch);
        self.told = 0;
        let takes_away = std::mem::take(&mut self.takes_away);
        let Some(link) = self.current.get().filter(|_| !batch.is_empty()) else {
            return;
        };
        // Of an address space that is pinned no grace period ends that begins after this: the guest
        // is not told that the invalidation is over before the back end says so.
        let held = takes_away.then(|| {
            let held: Held = self.space.memory();
            held
        });
        // A connection that has ended has nobody to be told; the error is found by who has it.
        if link.post(&batch, held.as_ref()).is_ok_and(|all| !all) {
            (self.current.unsent)();
        }
    }

    fn is_settled(&mut self) -> bool {
        // Without the other thread's help, for who polls.
        self.current.get().is_none_or(|link| {
            // If it has ended, nothing is unacknowledged any more.
            let _ = link.receive();
            link.unacknowledged() == 0
        })
    }
}

/// Returns updates for the parts of a mapping that lead to memory.
fn updates(mapping: &Mapping, memory: &[MemoryRegion]) -> Vec<IotlbMessage> {
    let Mapping {
        first,
        last,
        address,
        permissions,
    } = *mapping;
    if permissions == Permissions::No {
        return Vec::new();
    }
    // A mapping that would go on beyond the last address ends there.
    let end = address.saturating_add(last - first);
    let parts = memory.iter().filter_map(|region| {
        let from = region.address.max(address);
        let to = region
            .address
            .saturating_add(region.size.checked_sub(1)?)
            .min(end);
        let size = to.checked_sub(from)?.checked_add(1)?;
        Some(IotlbMessage::update(
            first + (from - address),
            size,
            from,
            permissions,
        ))
    });
    parts.collect()
}
