//! Missing invalidations: hits of translations that the page tables no longer have.
//!
//! A hit that differs from the tables is no mistake by itself: a kernel changes its tables first
//! and invalidates then, and a device may access in between. It is one
//!
//! - if the tables lead elsewhere by then. The kernel has mapped something else at the address, and
//!   an invalidation belongs between two mappings (Arm ARM DDI 0487, "Using break-before-make when
//!   updating translation table entries");
//! - if the kernel's own call that unmapped the address has returned, where the kernel invalidates
//!   before that ([`LastMapping::is_over`](crate::LastMapping::is_over));
//! - if no invalidation comes in [`PATIENCE_NS`] of the guest's time.

use std::collections::BTreeMap;

use viommu::{Event, FaultReason, StaleHit};
use vmm_machine::{IommuEvent, IommuInfo};
use vmm_timeline::Direction;

use super::{device, did};
use crate::sanitizer::{Outside, Part};
use crate::{History, Kind, PAGE_BITS, Report};

/// How long an invalidation is waited for, in nanoseconds of guest time. Kernels that defer
/// invalidations do so for 10 ms (Linux 6.1, drivers/iommu/dma-iommu.c, `IOVA_FQ_TIMEOUT`), and a
/// tick or two until the timer is served.
pub(super) const PATIENCE_NS: u64 = 100_000_000;

/// Most hits whose invalidation is waited for; others are not.
const MAX_PENDING: usize = 4096;

/// The IOMMU whose contexts they are, the context, and the page.
type Key = (String, u32, u64);

/// The hits whose invalidation is waited for: the first of each page.
#[derive(Clone, Default)]
pub(super) struct StaleHits {
    pending: BTreeMap<Key, Pending>,
}

#[derive(Clone)]
struct Pending {
    at_ns: u64,
    device: String,
    hit: StaleHit,
}

impl Part for StaleHits {
    fn event(
        &mut self,
        iommu: &IommuInfo,
        at_ns: u64,
        event: &IommuEvent<'_>,
        outside: &Outside<'_>,
    ) {
        self.expire(at_ns, outside);
        let key = |domain: viommu::DomainId, iova: u64| {
            let contexts = iommu.contexts_of.clone();
            (contexts, domain.0, iova >> PAGE_BITS)
        };
        match event {
            IommuEvent::Path(event @ Event::StaleHit(hit)) => {
                let key = key(hit.domain, hit.iova);
                let device = device(iommu, event, hit.endpoint.0);
                let pending = Pending {
                    at_ns,
                    device,
                    hit: *hit,
                };
                self.hit(key, pending, outside);
            }
            IommuEvent::Path(Event::StaleEnded { domain, iova, .. }) => {
                self.pending.remove(&key(*domain, *iova));
            }
            _ => {}
        }
    }

    fn fork(&self) -> Option<Box<dyn Part>> {
        Some(Box::new(self.clone()))
    }

    fn end(&mut self, at_ns: u64, outside: &Outside<'_>) {
        // Those that are younger may have been invalidated had the run gone on.
        self.expire(at_ns, outside);
    }
}

impl StaleHits {
    fn hit(&mut self, key: Key, pending: Pending, outside: &Outside<'_>) {
        let last = outside.last_mapping(&pending.device, pending.hit.iova);
        let why = match pending.hit.now {
            Ok(now) => format!("though the page tables lead to {now:#x} by now"),
            Err(_) if last.is_over => "though the call that unmapped it has returned".into(),
            Err(_) => {
                if self.pending.len() < MAX_PENDING || self.pending.contains_key(&key) {
                    self.pending.entry(key).or_insert(pending);
                }
                return;
            }
        };
        outside.reports.add(pending.report(&why, last.history));
    }

    /// Reports the hits for which no invalidation came.
    fn expire(&mut self, now_ns: u64, outside: &Outside<'_>) {
        self.pending.retain(|_, pending| {
            if now_ns.saturating_sub(pending.at_ns) < PATIENCE_NS {
                return true;
            }
            let ms = PATIENCE_NS / 1_000_000;
            let what = match pending.hit.now.map_err(|miss| miss.reason) {
                Err(FaultReason::Permission) => "allow",
                _ => "have",
            };
            let why = format!("which the page tables no longer {what}, for {ms} ms and longer");
            let last = outside.last_mapping(&pending.device, pending.hit.iova);
            outside.reports.add(pending.report(&why, last.history));
            false
        });
    }
}

impl Pending {
    /// Returns the report that the hit was a mistake, and why.
    fn report(&self, why: &str, history: History) -> Report {
        let Self { at_ns, device, hit } = self;
        let text = format!(
            "{device} {} IOVA {:#x} through a translation to {:#x} that was not invalidated, {why}",
            did(hit.access),
            hit.iova,
            hit.address
        );
        Report::new(Kind::MissingInvalidation, *at_ns, device, hit.iova, text)
            .with_physical(Some(hit.address))
            .with_access(Direction::from(hit.access))
            .with_history(history)
    }
}
