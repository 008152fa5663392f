//! What happens at the machine's IOMMUs, counted and passed on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arm32::Clock;
use serde::{Deserialize, Serialize};
use viommu::{Attachment, EndpointId, Event, Observer};

/// Sees what happens at the machine's IOMMUs, as it happens.
///
/// Called on the thread that caused the event: a core's, or in host time also that of the devices. It must not call
/// the machine.
pub trait IommuSink: Send + Sync {
    /// `event` has happened at `iommu`.
    fn event(&self, iommu: &IommuInfo, at_ns: u64, event: &Event);
}

/// An IOMMU, as a sink sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IommuInfo {
    /// Its name.
    pub name: String,
    /// For each micro-TLB, the names of the devices behind it.
    pub masters: Vec<Vec<String>>,
}

/// What happened at one IOMMU.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IommuSummary {
    /// Its name.
    pub name: String,
    /// Its model, as on the command line.
    pub model: String,
    /// Invalidations of a context or of everything.
    pub flushes: u64,
    /// Translations that were asked of the page tables and found.
    pub fills: u64,
    /// Translations that the cache had.
    pub hits: u64,
    /// Translations that it did not have.
    pub misses: u64,
    /// Translations that it forgot for want of room.
    pub evictions: u64,
    /// Mappings that the guest's page tables hold now, in all contexts that are enabled: pages and blocks.
    pub mappings: u64,
    /// Micro-TLBs with a device, and those that something happened to.
    pub utlbs: Vec<UtlbSummary>,
}

/// What happened at one micro-TLB.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UtlbSummary {
    /// Its number.
    pub utlb: u32,
    /// The devices behind it.
    pub devices: Vec<String>,
    /// Times that it was attached to a context.
    pub attaches: u64,
    /// Times that it was disabled.
    pub detaches: u64,
    /// Accesses that were refused.
    pub faults: u64,
    /// Accesses that led, translated or not, to where no memory is.
    pub bus_errors: u64,
}

#[derive(Debug, Default)]
struct Utlb {
    attaches: AtomicU64,
    detaches: AtomicU64,
    faults: AtomicU64,
    bus_errors: AtomicU64,
}

/// Counts the events of one IOMMU and hands them to the sink.
pub(super) struct Tally {
    info: IommuInfo,
    utlbs: Vec<Utlb>,
    flushes: AtomicU64,
    fills: AtomicU64,
    clock: Arc<dyn Clock>,
    sink: Option<Arc<dyn IommuSink>>,
}

impl Tally {
    /// Nothing has happened at the IOMMU yet.
    pub fn new(info: IommuInfo, clock: Arc<dyn Clock>, sink: Option<Arc<dyn IommuSink>>) -> Self {
        Self {
            utlbs: info.masters.iter().map(|_| Utlb::default()).collect(),
            info,
            flushes: AtomicU64::new(0),
            fills: AtomicU64::new(0),
            clock,
            sink,
        }
    }

    /// The counts so far, without those that only the cache knows.
    pub fn summary(&self) -> IommuSummary {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let utlbs = self.utlbs.iter().zip(&self.info.masters).enumerate();
        let utlbs = utlbs.map(|(utlb, (counts, devices))| UtlbSummary {
            // As many as an IOMMU has.
            utlb: utlb as u32,
            devices: devices.clone(),
            attaches: get(&counts.attaches),
            detaches: get(&counts.detaches),
            faults: get(&counts.faults),
            bus_errors: get(&counts.bus_errors),
        });
        let quiet = |utlb: &UtlbSummary| {
            *utlb
                == UtlbSummary {
                    utlb: utlb.utlb,
                    ..UtlbSummary::default()
                }
        };
        IommuSummary {
            name: self.info.name.clone(),
            flushes: get(&self.flushes),
            fills: get(&self.fills),
            utlbs: utlbs.filter(|utlb| !quiet(utlb)).collect(),
            ..IommuSummary::default()
        }
    }

    fn count(&self, endpoint: EndpointId, counter: impl Fn(&Utlb) -> &AtomicU64) {
        if let Some(utlb) = self.utlbs.get(endpoint.0 as usize) {
            counter(utlb).fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Observer for Tally {
    fn event(&self, event: &Event) {
        match event {
            Event::Attached {
                endpoint,
                to: Attachment::Domain(_),
            } => self.count(*endpoint, |utlb| &utlb.attaches),
            Event::Attached { endpoint, .. } => self.count(*endpoint, |utlb| &utlb.detaches),
            Event::Invalidated(_) => {
                self.flushes.fetch_add(1, Ordering::Relaxed);
            }
            Event::Filled { .. } => {
                self.fills.fetch_add(1, Ordering::Relaxed);
            }
            Event::Fault(fault) => self.count(fault.endpoint, |utlb| &utlb.faults),
            Event::BusError { endpoint, .. } => self.count(*endpoint, |utlb| &utlb.bus_errors),
            _ => {}
        }
        if let Some(sink) = &self.sink {
            sink.event(&self.info, self.clock.now_ns(), event);
        }
    }
}
