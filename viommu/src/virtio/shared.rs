//! What the device half and bus masters share: the model, as the translation path sees it.

use std::sync::{Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use vm_memory::Permissions;

use super::config::ReportsWaiting;
use super::domains::Domains;
use super::events::{FaultReport, Reports};
use crate::fault::{DomainId, Fault, Requester};
use crate::inject::Injected;
use crate::model::{Extent, Mapping, Miss, Model};

/// What is shared.
///
/// Bus masters take these locks while they are pinned. So nobody accesses guest memory, calls out
/// or waits for anything while holding one.
pub(super) struct Shared {
    domains: RwLock<Domains>,
    reports: Mutex<Reports>,
    waiting: Box<dyn ReportsWaiting>,
    /// The injector and its buffer, if faults can be injected.
    pub injected: Option<Injected>,
}

impl Shared {
    pub fn new(
        domains: Domains,
        waiting: Box<dyn ReportsWaiting>,
        injected: Option<Injected>,
    ) -> Self {
        Self {
            domains: RwLock::new(domains),
            reports: Mutex::default(),
            waiting,
            injected,
        }
    }

    pub fn domains(&self) -> RwLockReadGuard<'_, Domains> {
        // Poisoned only by a panic that its own thread has reported; another one here would hide
        // it.
        self.domains.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn domains_mut(&self) -> RwLockWriteGuard<'_, Domains> {
        // As in `domains`.
        self.domains.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn reports(&self) -> MutexGuard<'_, Reports> {
        // As in `domains`.
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Model for Shared {
    fn translate(
        &self,
        requester: Requester,
        domain: DomainId,
        iova: u64,
        wanted: Permissions,
    ) -> Result<Mapping, Miss> {
        let truth = || {
            self.domains()
                .translate(requester.endpoint, domain, iova, wanted)
        };
        match &self.injected {
            None => truth(),
            Some(injected) => injected.translate(requester, domain, iova, wanted, truth),
        }
    }

    /// A driver maps and unmaps by requests, which invalidate themselves: a hit is stale only while
    /// one is being executed on another thread.
    fn look(
        &self,
        requester: Requester,
        domain: DomainId,
        iova: u64,
        wanted: Permissions,
    ) -> Option<Result<Mapping, Miss>> {
        let endpoint = requester.endpoint;
        Some(self.domains().translate(endpoint, domain, iova, wanted))
    }

    fn extent(&self, domain: DomainId, iova: u64) -> Option<Extent> {
        Some(self.domains().extent(domain, iova))
    }

    fn number(&self, domain: DomainId) -> Option<u32> {
        self.domains().number(domain)
    }

    fn fault(&self, fault: &Fault) {
        let position = fault.endpoint.0 as usize;
        // The lock is given back at once. Of an endpoint that was removed nobody is told.
        let id = self.domains().endpoints.get(position).map(|e| e.id);
        let Some(id) = id else {
            return;
        };
        let report = FaultReport::new(fault, id);
        let loses = |injected: &Injected| injected.injector.loses_report(&report);
        if self.injected.as_ref().is_some_and(loses) {
            self.reports().lose();
            return;
        }
        // The lock is given back before the transport is told: it may serve the queue from another
        // thread at once.
        let waits = self.reports().push(report);
        if waits {
            self.waiting.reports_waiting();
        }
    }
}
