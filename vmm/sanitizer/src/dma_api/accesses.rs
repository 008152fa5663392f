//! Accesses of devices, held against what the guest's kernel has given them.

use std::sync::{Arc, Mutex};

use viommu::Event;
use vm_memory::Permissions;
use vmm_machine::{IommuEvent, IommuInfo};
use vmm_timeline::Direction as Access;

use super::lock;
use super::owners::Range;
use super::pages::PageState;
use super::shadow::{GuestDevice, Mapping, Past, Verdict};
use super::stack::Made;
use super::tracker::{Tracker, described};
use crate::Kind;
use crate::report::{History, Report};
use crate::sanitizer::{LastMapping, Origins, Outside, Part};

/// An access of a device.
#[derive(Clone, Copy, Debug)]
struct DeviceAccess<'a> {
    /// The device, by its name on the board.
    device: &'a str,
    /// The time, in nanoseconds since power-on.
    at_ns: u64,
    /// The first address, as the device uses it.
    first: u64,
    /// The number of bytes; not 0.
    bytes: u64,
    write: bool,
    /// Whether the device uses physical addresses: it stands behind no IOMMU.
    direct: bool,
}

impl DeviceAccess<'_> {
    /// Returns the beginning of a sentence about it.
    fn described(&self) -> String {
        let verb = if self.write { "writes" } else { "reads" };
        let Self {
            device,
            bytes,
            first,
            ..
        } = self;
        format!("{device} {verb} {bytes} bytes at {first:#x}")
    }

    /// Returns a report about it.
    fn report(&self, kind: Kind, at: u64, rest: &str, history: History) -> Report {
        let direction = match self.write {
            true => Access::Write,
            false => Access::Read,
        };
        let text = format!("{}, {rest}", self.described());
        Report::new(kind, self.at_ns, self.device, at, text)
            .with_access(direction)
            .with_history(history)
    }
}

/// Sees the accesses of devices.
pub struct Accesses(pub Arc<Mutex<Tracker>>);

impl Part for Accesses {
    fn event(&mut self, iommu: &IommuInfo, at_ns: u64, event: &IommuEvent<'_>, _: &Outside<'_>) {
        let IommuEvent::Path(event) = event else {
            return;
        };
        if let Event::Dma {
            iova,
            length,
            access,
            ..
        } = **event
            && let Some(device) = iommu.source(event)
        {
            self.see(device, at_ns, (iova, length as u64), access, false);
        }
    }

    fn direct(&mut self, device: &str, at_ns: u64, place: (u64, u64), access: Permissions) {
        self.see(device, at_ns, place, access, true);
    }

    fn end(&mut self, at_ns: u64, _: &Outside<'_>) {
        lock(&self.0).end(at_ns);
    }
}

impl Origins for Accesses {
    fn last_mapping(&self, device: &str, iova: u64) -> LastMapping {
        let tracker = lock(&self.0);
        let Some(device) = tracker.device(device) else {
            return LastMapping::default();
        };
        let live = tracker.shadow.at(device, iova);
        let past = tracker.shadow.past(device, iova);
        match (live, past) {
            (Some(mapping), _) => LastMapping {
                history: tracker.history(Some(mapping), None),
                is_over: false,
            },
            (None, Some(past)) => LastMapping {
                history: tracker.history(Some(&past.mapping), Some(&past.ended)),
                // 32-bit ARM kernels have no lazy invalidation: `arm_iommu_unmap_page` and the like
                // (arch/arm/mm/dma-mapping.c) invalidate before they return.
                is_over: past.is_over,
            },
            (None, None) => LastMapping::default(),
        }
    }
}

impl Accesses {
    fn see(
        &self,
        device: &str,
        at_ns: u64,
        (first, bytes): (u64, u64),
        access: Permissions,
        direct: bool,
    ) {
        if bytes == 0 {
            return;
        }
        let tracker = lock(&self.0);
        for (permission, write) in [(Permissions::Read, false), (Permissions::Write, true)] {
            if access as u8 & permission as u8 != 0 {
                let access = DeviceAccess {
                    device,
                    at_ns,
                    first,
                    bytes,
                    write,
                    direct,
                };
                judge(&tracker, &access);
            }
        }
    }
}

/// Reports what is wrong with an access.
fn judge(tracker: &Tracker, access: &DeviceAccess<'_>) {
    // A device whose driver does without the DMA API is none that anything is known of.
    let Some(device) = tracker.device(access.device) else {
        return;
    };
    let last = access.first.saturating_add(access.bytes - 1);
    let range = (access.first, last);
    let mapped = |mapping| tracker.history(mapping, None);
    let (kind, at, rest, history) = match tracker.shadow.judge(device, range, access.write) {
        Verdict::Unknown => return,
        Verdict::Fine => return judge_pages(tracker, device, access),
        Verdict::Direction(mapping) => (
            Kind::Direction,
            access.first,
            format!("against the direction of {}", described(mapping)),
            mapped(Some(mapping)),
        ),
        Verdict::Unbound(mapping) => (
            Kind::ActiveAfterRemove,
            access.first,
            "after its driver was unbound".to_owned(),
            mapped(mapping),
        ),
        Verdict::Outside {
            at,
            neighbour,
            past,
        } => {
            let from = match at == access.first {
                true => String::new(),
                false => format!("from {at:#x} on "),
            };
            let (rest, history) = outside(tracker, neighbour, past);
            (Kind::OutsideMapping, at, format!("{from}{rest}"), history)
        }
    };
    let report = access.report(kind, at, &rest, history);
    tracker.report(report.with_physical(physical(tracker, device, access, at)));
}

/// Returns the physical address that the device's address `at` leads to, or led to last.
fn physical(
    tracker: &Tracker,
    device: GuestDevice,
    access: &DeviceAccess<'_>,
    at: u64,
) -> Option<u64> {
    if access.direct {
        return Some(at);
    }
    let shadow = &tracker.shadow;
    let past = || Some(&shadow.past(device, at)?.mapping);
    // A page is mapped as a whole, whatever part of it was asked for.
    let mapping = shadow.at(device, at).or_else(|| shadow.near(device, at));
    tracker.physical(mapping.or_else(past)?, at)
}

/// Reports an access, which is one that the device may make, to pages that are free.
fn judge_pages(tracker: &Tracker, device: GuestDevice, access: &DeviceAccess<'_>) {
    let last = access.first.saturating_add(access.bytes - 1);
    let mut at = access.first;
    // By mappings, of which an access may touch several.
    while let Some(mapping) = tracker.shadow.at(device, at) {
        let end = mapping.last().min(last);
        let offset = at - mapping.first;
        let first = mapping.buffer.and_then(|first| first.checked_add(offset));
        let is_free =
            mapping.in_use && matches!(tracker.memory_use(first, end - at + 1), PageState::Free(_));
        let bytes = first.map(|first| Range {
            first,
            last: first.saturating_add(end - at),
        });
        let is_freed = bytes
            .zip(mapping.freed.as_ref())
            .is_some_and(|(bytes, (freed, _))| freed.and(bytes).is_some());
        if is_free || is_freed {
            let what = match is_free {
                true => "is free by the kernel's records",
                // Somebody else may have it by now.
                false => "was freed",
            };
            let rest = format!("which {what}, and mapped as {}", described(mapping));
            let history = tracker.history(Some(mapping), None);
            let report = access.report(Kind::FreedPage, at, &rest, history);
            tracker.report(report.with_physical(physical(tracker, device, access, at)));
        }
        match end.checked_add(1) {
            Some(next) if next <= last => at = next,
            _ => return,
        }
    }
}

/// Returns what is near to bytes that are in no mapping, in words, and who mapped and unmapped it.
fn outside(
    tracker: &Tracker,
    neighbour: Option<&Mapping<Made>>,
    past: Option<&Past<Made>>,
) -> (String, History) {
    match (past, neighbour) {
        (Some(past), _) => {
            let history = tracker.history(Some(&past.mapping), Some(&past.ended));
            (
                format!("after {} were unmapped", described(&past.mapping)),
                history,
            )
        }
        (None, Some(near)) => {
            let history = tracker.history(Some(near), None);
            (
                format!("outside of {} in the same page", described(near)),
                history,
            )
        }
        (None, None) => (
            "where nothing is mapped for it".to_owned(),
            History::default(),
        ),
    }
}
