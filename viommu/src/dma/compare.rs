//! A hit compared with the model's mappings.

use vm_memory::Permissions;

use super::port::{Port, reach};
use crate::attachment::Attachment;
use crate::event::Event;
use crate::fault::{Access, DomainId};
use crate::hit_check::{Checked, StaleHit};
use crate::host::{Map, RegionExtent};

impl<M> Port<M> {
    /// Tells the observer if the model's mappings of `domain` no longer lead `iova` to `used`,
    /// which was cached, or which the model answered after `before`. The handle is pinned.
    pub(super) fn compare(
        &self,
        (checked, map): (&Checked, &Map<M>),
        before: Option<u64>,
        domain: DomainId,
        iova: u64,
        wanted: Permissions,
        used: &RegionExtent,
    ) {
        let (unit, requester) = (&self.unit, self.requester());
        let Some(now) = unit.model.look(requester, domain, iova, wanted) else {
            return;
        };
        let now = now.and_then(|mapping| {
            let (before, _) = reach(&mapping, iova, wanted)?;
            // Does not overflow: `reach` has checked it.
            Ok(mapping.address + before)
        });
        let Some(address) = map.address(used).filter(|address| now != Ok(*address)) else {
            return;
        };
        let hit = StaleHit {
            endpoint: requester.endpoint,
            source: requester.source,
            domain,
            iova,
            access: Access::of(wanted),
            address,
            now,
        };
        // On another thread it may have been invalidated, or the endpoint detached, before the
        // mappings were looked at: then this access has only begun before. An invalidation is not
        // complete as long as the handle is pinned, so that nothing has taken its place yet.
        let is_used = || {
            let cached = checked.lookup(map, domain, iova, wanted as u8);
            let again =
                |again: RegionExtent| (again.region, again.offset) == (used.region, used.offset);
            unit.attachment(self.endpoint) == Attachment::Domain(domain)
                && (before.is_some() || cached.is_some_and(again))
        };
        checked.note(&hit, before, is_used, || unit.emit(&Event::StaleHit(hit)));
    }
}
