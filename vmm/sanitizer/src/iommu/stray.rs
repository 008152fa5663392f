//! Stray addresses: accesses that were meant to be translated and are not.
//!
//! A port that lets accesses through untranslated is nothing unusual: it does so before its driver
//! first uses it, and for devices that the kernel trusts. It is a mistake if the port has
//! translated before, and the address is one that its device used through it then, or leads to
//! where no memory is.

use std::collections::{BTreeMap, BTreeSet};

use viommu::{Access, Attachment, Event};
use vmm_machine::{IommuEvent, IommuInfo};
use vmm_timeline::Direction;

use super::{device, did};
use crate::sanitizer::{Outside, Part};
use crate::{Kind, PAGE_BITS, Report};

/// Most pages that are remembered of one port: others are not recognised.
const MAX_PAGES: usize = 1 << 16;

/// The ports of all IOMMUs, by IOMMU and number.
#[derive(Clone, Default)]
pub(super) struct StrayAccesses {
    ports: BTreeMap<(String, u32), Port>,
}

/// A port.
#[derive(Clone, Default)]
struct Port {
    way: Way,
    /// The pages that were accessed when it last translated.
    pages: BTreeSet<u64>,
}

/// What becomes of accesses through a port.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Way {
    /// They are not translated, and never were.
    #[default]
    Untranslated,
    Translated,
    /// They are not translated, but were before.
    NoLonger,
    Blocked,
}

impl Port {
    fn attach(&mut self, to: Attachment) {
        self.way = match (to, self.way) {
            (Attachment::Domain(_), Way::Translated) => return,
            (Attachment::Domain(_), _) => {
                // Addresses of another time tell nothing.
                self.pages.clear();
                Way::Translated
            }
            (Attachment::Bypass, Way::Untranslated) => Way::Untranslated,
            (Attachment::Bypass, _) => Way::NoLonger,
            // An access is refused there. The device may be let through afterwards.
            (Attachment::Blocked, Way::Untranslated) => Way::Untranslated,
            (Attachment::Blocked, _) => Way::Blocked,
        };
    }

    fn accessed(&mut self, iova: u64, length: usize) {
        let last = iova.saturating_add(length.saturating_sub(1) as u64);
        for page in iova >> PAGE_BITS..=last >> PAGE_BITS {
            if self.pages.len() >= MAX_PAGES {
                return;
            }
            self.pages.insert(page);
        }
    }

    fn knows(&self, iova: u64) -> bool {
        self.pages.contains(&(iova >> PAGE_BITS))
    }
}

impl Part for StrayAccesses {
    fn event(
        &mut self,
        iommu: &IommuInfo,
        at_ns: u64,
        event: &IommuEvent<'_>,
        outside: &Outside<'_>,
    ) {
        let IommuEvent::Path(event) = event else {
            return;
        };
        match **event {
            Event::Attached { endpoint, to } => self.port(iommu, endpoint.0).attach(to),
            Event::Dma {
                endpoint,
                iova,
                length,
                access,
                ..
            } => {
                let port = self.port(iommu, endpoint.0);
                match port.way {
                    Way::Translated => port.accessed(iova, length),
                    Way::NoLonger if port.knows(iova) => {
                        let why = "though it used this address when its port translated";
                        let access = Access::of(access);
                        let report = report(iommu, (event, endpoint.0), at_ns, (iova, access), why);
                        let last = outside.last_mapping(&report.device, iova);
                        outside.reports.add(report.with_history(last.history));
                    }
                    _ => {}
                }
            }
            Event::BusError {
                endpoint,
                iova,
                access,
                ..
            } => {
                let port = self.port(iommu, endpoint.0);
                // Else it is reported already.
                if port.way == Way::NoLonger && !port.knows(iova) {
                    let why = "where no memory is; its port translated before";
                    let report = report(iommu, (event, endpoint.0), at_ns, (iova, access), why);
                    outside.reports.add(report);
                }
            }
            _ => {}
        }
    }

    fn fork(&self) -> Option<Box<dyn Part>> {
        Some(Box::new(self.clone()))
    }
}

impl StrayAccesses {
    fn port(&mut self, iommu: &IommuInfo, port: u32) -> &mut Port {
        let key = (iommu.name.clone(), port);
        self.ports.entry(key).or_default()
    }
}

/// Returns the report that a device at a port made an access untranslated, and why that is a
/// mistake.
fn report(
    iommu: &IommuInfo,
    (event, port): (&Event, u32),
    at_ns: u64,
    (iova, access): (u64, Access),
    why: &str,
) -> Report {
    let device = device(iommu, event, port);
    let (word, name) = (iommu.model.facts().port_word, &iommu.name);
    let text = format!(
        "{device} {} {iova:#x} untranslated through {word} {port} of {name}, {why}",
        did(access)
    );
    Report::new(Kind::StrayAddress, at_ns, &device, iova, text)
        .with_physical(Some(iova))
        .with_access(Direction::from(access))
}
