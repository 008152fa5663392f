//! Counts what happens at IOMMUs and passes it on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};
use viommu::ipmmu::{IpmmuEvent, IpmmuObserver};
use viommu::virtio::spec::Status;
use viommu::virtio::{Exchange, Request};
use viommu::{
    DomainId, Effect, EndpointId, Event, Fault, Observer, RegisterEvent, Scope, StaleHit,
};
use vmm_base::Clock;

use super::{IommuEvent, IommuInfo, IommuSink, IommuSummary, UtlbSummary, VirtioEvent};

#[derive(Debug, Default)]
struct Utlb {
    attaches: AtomicU64,
    detaches: AtomicU64,
    faults: AtomicU64,
    bus_errors: AtomicU64,
}

/// The counts of a tally, as plain data.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TallyState {
    flushes: u64,
    fills: u64,
    /// For each micro-TLB: attaches, detaches, faults, bus errors.
    utlbs: Vec<[u64; 4]>,
}

/// Counts the events of one IOMMU and hands them to the sink.
pub(in super::super) struct Tally {
    info: IommuInfo,
    utlbs: Vec<Utlb>,
    flushes: AtomicU64,
    fills: AtomicU64,
    clock: Arc<dyn Clock>,
    sink: Option<Arc<dyn IommuSink>>,
}

impl Tally {
    /// Creates the tally of an IOMMU at which nothing has happened yet.
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

    /// Returns the counts so far, without those that only the cache knows.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "an IOMMU has few micro-TLBs"
    )]
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
        // Most micro-TLBs of an IOMMU have no device, and are left out.
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

    /// Returns the counts, to be saved.
    pub fn save(&self) -> TallyState {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counts = |utlb: &Utlb| {
            [
                get(&utlb.attaches),
                get(&utlb.detaches),
                get(&utlb.faults),
                get(&utlb.bus_errors),
            ]
        };
        TallyState {
            flushes: get(&self.flushes),
            fills: get(&self.fills),
            utlbs: self.utlbs.iter().map(counts).collect(),
        }
    }

    /// Takes over other counts.
    pub fn restore(&self, saved: &TallyState) {
        let TallyState {
            flushes,
            fills,
            utlbs,
        } = saved;
        let set = |counter: &AtomicU64, value| counter.store(value, Ordering::Relaxed);
        set(&self.flushes, *flushes);
        set(&self.fills, *fills);
        // A damaged state may have more or fewer: counts without a counterpart are ignored.
        for (mine, [attaches, detaches, faults, bus_errors]) in self.utlbs.iter().zip(utlbs) {
            set(&mine.attaches, *attaches);
            set(&mine.detaches, *detaches);
            set(&mine.faults, *faults);
            set(&mine.bus_errors, *bus_errors);
        }
    }

    /// Takes note of what happened to the registers.
    pub fn registers(&self, event: &dyn RegisterEvent) {
        match event.effect() {
            Some(Effect::Attached { port }) => self.count(port, |utlb| &utlb.attaches),
            Some(Effect::Detached { port }) => self.count(port, |utlb| &utlb.detaches),
            Some(Effect::Flushed) => {
                self.flushes.fetch_add(1, Ordering::Relaxed);
            }
            None => {}
        }
        self.tell(IommuEvent::Registers(event));
    }

    /// Takes note of what the driver of a virtio-iommu did.
    pub fn virtio(&self, event: &VirtioEvent<'_>) {
        // Only what was carried out: a request that is refused attaches nothing.
        if let VirtioEvent::Request(Exchange {
            request: Some(request),
            status: Some(Status::Ok),
            ..
        }) = event
        {
            match *request {
                Request::Attach { endpoint, .. } => {
                    self.count(endpoint as usize, |utlb| &utlb.attaches);
                }
                Request::Detach { endpoint, .. } => {
                    self.count(endpoint as usize, |utlb| &utlb.detaches);
                }
                _ => {}
            }
        }
        self.tell(IommuEvent::Virtio(event));
    }

    /// Takes note of an event of the translation path.
    pub fn path(&self, event: &Event) {
        let utlb = |endpoint: EndpointId| endpoint.0 as usize;
        match event {
            Event::Filled { .. } => {
                self.fills.fetch_add(1, Ordering::Relaxed);
            }
            // Where there are registers, the guest asks for it by them, which is counted.
            Event::Invalidated(_) if self.info.model.facts().virtio => {
                self.flushes.fetch_add(1, Ordering::Relaxed);
            }
            Event::Fault(fault) => self.count(utlb(fault.endpoint), |utlb| &utlb.faults),
            Event::BusError { endpoint, .. } => {
                self.count(utlb(*endpoint), |utlb| &utlb.bus_errors);
            }
            _ => {}
        }
        self.tell(IommuEvent::Path(event));
    }

    fn count(&self, utlb: usize, counter: impl Fn(&Utlb) -> &AtomicU64) {
        // The number may be a driver's: one without a counter is ignored.
        if let Some(utlb) = self.utlbs.get(utlb) {
            counter(utlb).fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Returns whether the sink wants to know of single accesses.
    pub fn wants_dma(&self) -> bool {
        self.sink.as_ref().is_some_and(|sink| sink.wants_dma())
    }

    fn tell(&self, event: IommuEvent<'_>) {
        if let Some(sink) = &self.sink {
            // The clock is read here only, so that a machine that nobody watches does not pay for
            // it.
            sink.event(&self.info, self.clock.now_ns(), &event);
        }
    }
}

/// The tallies of an IPMMU's instances: finds out to which of them an event belongs.
pub(super) struct Tallies(Vec<Arc<Tally>>);

impl Tallies {
    /// Creates the tally of these instances, in the order of the IPMMU's configuration.
    pub fn new(instances: Vec<Arc<Tally>>) -> Self {
        Self(instances)
    }

    /// Returns the instance of an endpoint, and the micro-TLB: endpoints are micro-TLBs, those of
    /// the first instance first.
    fn locate(&self, EndpointId(endpoint): EndpointId) -> Option<(&Tally, EndpointId)> {
        let mut utlb = endpoint;
        for tally in &self.0 {
            // As many as an IPMMU has.
            #[expect(
                clippy::cast_possible_truncation,
                reason = "an IPMMU has few micro-TLBs"
            )]
            let count = tally.utlbs.len() as u32;
            if utlb < count {
                return Some((tally, EndpointId(utlb)));
            }
            // Endpoints are numbered through all instances.
            utlb -= count;
        }
        None
    }
}

impl IpmmuObserver for Tallies {
    fn event(&self, instance: &str, event: &IpmmuEvent) {
        if let Some(tally) = self.0.iter().find(|tally| tally.info.name == instance) {
            tally.registers(event);
            // The unit that the instances share says of no invalidation which of them it concerns.
            if let IpmmuEvent::ContextFlush { context } = event
                && let Ok(domain) = u32::try_from(*context)
            {
                tally.path(&Event::Invalidated(Scope::Domain(DomainId(domain))));
            }
        }
    }
}

impl Observer for Tallies {
    fn event(&self, event: &Event) {
        let mut event = *event;
        let endpoint = match &mut event {
            Event::Attached { endpoint, .. }
            | Event::Filled { endpoint, .. }
            | Event::Fault(Fault { endpoint, .. })
            | Event::BusError { endpoint, .. }
            | Event::Dma { endpoint, .. }
            | Event::StaleHit(StaleHit { endpoint, .. })
            | Event::StaleEnded { endpoint, .. } => endpoint,
            // What concerns no endpoint is told by the registers.
            _ => return,
        };
        if let Some((tally, utlb)) = self.locate(*endpoint) {
            *endpoint = utlb;
            tally.path(&event);
        }
    }

    fn wants_dma(&self) -> bool {
        self.0.iter().any(|tally| tally.wants_dma())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use vmm_base::VirtualClock;

    use super::*;
    use crate::config::IommuModel;

    /// A sink that keeps the events as text.
    #[derive(Default)]
    struct Log(Mutex<Vec<String>>);

    impl IommuSink for Log {
        fn event(&self, iommu: &IommuInfo, _at_ns: u64, event: &IommuEvent<'_>) {
            let text = format!("{} {event:?}", iommu.name);
            self.0.lock().unwrap().push(text);
        }
    }

    #[test]
    fn a_flush_of_a_context_is_counted_once_and_seen_as_an_invalidation() {
        let log = Arc::new(Log::default());
        let tally = |name: &str| {
            let info = IommuInfo {
                name: name.into(),
                contexts_of: name.into(),
                model: IommuModel::Ipmmu,
                masters: vec![vec!["disk0".into()], Vec::new()],
                sources: vec!["disk0".into()],
            };
            let clock = Arc::new(VirtualClock::default());
            Arc::new(Tally::new(info, clock, Some(log.clone())))
        };
        let (first, second) = (tally("ipmmu0"), tally("ipmmu1"));
        let tallies = Tallies::new(vec![first.clone(), second.clone()]);
        let event = |event| IpmmuObserver::event(&tallies, "ipmmu1", &event);
        event(IpmmuEvent::UtlbEnabled {
            utlb: 0,
            context: 1,
        });
        event(IpmmuEvent::ContextFlush { context: 1 });
        event(IpmmuEvent::UtlbDisabled { utlb: 0 });
        assert_eq!(first.summary(), tally("ipmmu0").summary());
        let summary = second.summary();
        assert_eq!(summary.flushes, 1);
        assert_eq!(
            (summary.utlbs[0].attaches, summary.utlbs[0].detaches),
            (1, 1)
        );
        let expected = [
            "ipmmu1 Registers(UtlbEnabled { utlb: 0, context: 1 })",
            "ipmmu1 Registers(ContextFlush { context: 1 })",
            "ipmmu1 Path(Invalidated(Domain(DomainId(1))))",
            "ipmmu1 Registers(UtlbDisabled { utlb: 0 })",
        ];
        assert_eq!(*log.0.lock().unwrap(), expected);
    }
}
