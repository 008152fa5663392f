//! The translation unit: endpoints, what they are attached to, and the cache between bus masters and a model.

use std::sync::{Arc, Mutex, PoisonError};

use vm_memory::GuestMemoryMmap;

use crate::dma::DmaSpace;
use crate::event::{Event, Observer, Scope};
use crate::fault::{DomainId, EndpointId};
use crate::model::Model;

/// What an endpoint's accesses meet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Attachment {
    /// Untranslated: the IOVA is the guest physical address of the same number.
    Bypass,
    /// Every access is a fault.
    Blocked,
    /// Translated through a domain.
    Domain(DomainId),
}

/// How large a [`TranslationUnit`] is.
#[derive(Clone, Debug)]
pub struct UnitConfig {
    /// Number of endpoints.
    pub endpoints: u32,
    /// Number of domains.
    pub domains: u32,
    /// What endpoints are attached to at first.
    pub initial: Attachment,
}

/// Endpoints, their attachments, and the translation cache in front of one [`Model`].
///
/// A model's device half owns it, tells it of attachments and invalidations, and hands out a [`DmaSpace`] for each bus
/// master.
pub struct TranslationUnit<M = GuestMemoryMmap<()>> {
    pub(crate) memory: Arc<M>,
    pub(crate) model: Arc<dyn Model>,
    pub(crate) observer: Option<Arc<dyn Observer>>,
    pub(crate) attachments: Mutex<Vec<Attachment>>,
}

impl<M> TranslationUnit<M> {
    /// A unit in front of `model`, over the guest's `memory`.
    pub fn new(
        memory: Arc<M>,
        model: Arc<dyn Model>,
        config: &UnitConfig,
        observer: Option<Arc<dyn Observer>>,
    ) -> Arc<Self> {
        Arc::new(Self {
            memory,
            model,
            observer,
            attachments: Mutex::new(vec![config.initial; config.endpoints as usize]),
        })
    }

    /// What a bus master on `endpoint` sees.
    pub fn space(self: &Arc<Self>, endpoint: EndpointId) -> DmaSpace<M> {
        DmaSpace::translated(Arc::clone(self), endpoint)
    }

    /// What `endpoint` is attached to; blocked if there is no such endpoint.
    pub fn attachment(&self, endpoint: EndpointId) -> Attachment {
        self.attachments
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(endpoint.0 as usize)
            .copied()
            .unwrap_or(Attachment::Blocked)
    }

    /// Attaches `endpoint`; accesses that began before may use the old attachment until the next grace period has
    /// ended. An endpoint that does not exist is ignored.
    pub fn attach(&self, endpoint: EndpointId, to: Attachment) {
        let mut attachments = self
            .attachments
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let Some(attachment) = attachments.get_mut(endpoint.0 as usize) else {
            return;
        };
        *attachment = to;
        drop(attachments);
        self.emit(&Event::Attached { endpoint, to });
    }

    /// Forgets every translation, in constant time.
    pub fn invalidate_all(&self) {
        self.emit(&Event::Invalidated(Scope::All));
    }

    /// Forgets every translation of `domain`, in constant time.
    pub fn invalidate_domain(&self, domain: DomainId) {
        self.emit(&Event::Invalidated(Scope::Domain(domain)));
    }

    /// Forgets every translation of `domain` for an IOVA in `first..=last`.
    pub fn invalidate_range(&self, domain: DomainId, first: u64, last: u64) {
        self.emit(&Event::Invalidated(Scope::Range(domain, first, last)));
    }

    /// Begins a grace period: it ends when every access that was under way now has ended. What was invalidated or
    /// detached before is then no longer used by anyone.
    pub fn begin_grace_period(&self) -> GracePeriod {
        GracePeriod { _private: () }
    }

    pub(crate) fn emit(&self, event: &Event) {
        if let Some(observer) = &self.observer {
            observer.event(event);
        }
    }
}

/// The time until every access that was under way has ended.
#[derive(Debug)]
#[must_use = "an invalidation is complete only when its grace period is over"]
pub struct GracePeriod {
    _private: (),
}

impl GracePeriod {
    /// Whether it is over; never waits.
    pub fn is_over(&mut self) -> bool {
        true
    }
}
