//! Records what one translation unit reports.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use viommu::{Access, Attachment, DomainId, EndpointId, Event, Fault, Mapping, Observer, Scope};

use super::recorder::Recorder;
use super::spec::{Address, Burst, Direction, Kind, Lane, LaneId, Route};

/// An observer of a [`viommu::TranslationUnit`] that records what it sees.
#[derive(Debug)]
pub struct UnitObserver {
    recorder: Arc<Recorder>,
    /// Whose contexts they are: the first instance's name.
    unit: String,
    /// The instances and their first endpoints, in order.
    instances: Vec<(String, u32)>,
    lane: LaneId,
    dma: bool,
    ports: BTreeMap<u32, Vec<LaneId>>,
    /// Whether it is a virtio-iommu's.
    virtio: bool,
    state: Mutex<PortStates>,
}

#[derive(Debug, Default)]
struct PortStates {
    ports: BTreeMap<u32, PortState>,
    contexts: BTreeMap<u32, LaneId>,
}

#[derive(Clone, Copy, Debug)]
struct PortState {
    lane: LaneId,
    route: Route,
    ever_translated: bool,
}

impl UnitObserver {
    /// Creates an observer of the unit behind `instances`, each with its name and its number of
    /// endpoints, in the order of their endpoints; contexts are those of the first. `masters` are
    /// the bus masters: instance, endpoint within it, and name in the device tree. `dma` tells
    /// whether to record single accesses too; `virtio`, whether it is a virtio-iommu's.
    pub fn new(
        recorder: Arc<Recorder>,
        instances: &[(&str, u32)],
        masters: &[(&str, u32, &str)],
        dma: bool,
        virtio: bool,
    ) -> Self {
        let mut firsts = Vec::new();
        let mut next = 0_u32;
        for (name, endpoints) in instances {
            firsts.push(((*name).to_owned(), next));
            next = next.saturating_add(*endpoints);
        }
        let mut ports: BTreeMap<u32, Vec<LaneId>> = BTreeMap::new();
        for (instance, endpoint, name) in masters {
            let lane = recorder.lane(Lane::Device {
                name: (*name).to_owned(),
            });
            if let Some((_, first)) = firsts.iter().find(|(name, _)| name == instance) {
                let endpoint = first.saturating_add(*endpoint);
                // Several bus masters may share a micro-TLB.
                ports.entry(endpoint).or_default().push(lane);
            }
        }
        let unit = firsts.first().map_or("iommu", |(name, _)| name).to_owned();
        let observer = Self {
            lane: recorder.lane(Lane::Unit { unit: unit.clone() }),
            unit,
            instances: firsts,
            recorder,
            dma,
            ports,
            virtio,
            state: Mutex::default(),
        };
        for endpoint in observer.ports.keys() {
            // A micro-TLB that is never enabled is to be seen as well.
            observer.port(EndpointId(*endpoint));
        }
        observer
    }

    /// Returns the instance and the micro-TLB in it that `endpoint` is.
    fn place(&self, endpoint: EndpointId) -> (String, u32) {
        // Instances are in the order of their first endpoints, so that the last one that begins at
        // or before it has it.
        let after = self
            .instances
            .partition_point(|(_, first)| *first <= endpoint.0);
        match after.checked_sub(1).and_then(|at| self.instances.get(at)) {
            Some((name, first)) => (name.clone(), endpoint.0 - first),
            None => ("iommu".to_owned(), endpoint.0),
        }
    }

    /// Returns what is known of `endpoint`.
    fn port(&self, endpoint: EndpointId) -> PortState {
        self.with_port(endpoint, |port| *port)
    }

    fn with_port<T>(&self, endpoint: EndpointId, then: impl FnOnce(&mut PortState) -> T) -> T {
        // Poisoned only by a panic that its own thread has reported: an entry is made whole or not
        // at all.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        then(state.ports.entry(endpoint.0).or_insert_with(|| {
            let (unit, utlb) = self.place(endpoint);
            PortState {
                lane: self.recorder.lane(Lane::Utlb {
                    unit,
                    utlb,
                    virtio: self.virtio,
                }),
                route: Route::Untranslated,
                ever_translated: false,
            }
        }))
    }

    fn context(&self, domain: DomainId) -> LaneId {
        // The recorder's lock is taken within this one, never the other way round.
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        *state.contexts.entry(domain.0).or_insert_with(|| {
            self.recorder.lane(Lane::Context {
                unit: self.unit.clone(),
                context: domain.0,
                virtio: self.virtio,
            })
        })
    }

    /// Returns the lane of an access whose bus master is not known: that of the only one on the
    /// port, or of the port.
    fn lane_of(&self, endpoint: EndpointId) -> LaneId {
        match self.ports.get(&endpoint.0).map(Vec::as_slice) {
            Some([only]) => *only,
            _ => self.port(endpoint).lane,
        }
    }

    fn attached(&self, endpoint: EndpointId, to: Attachment) {
        let (lane, to) = self.with_port(endpoint, |port| {
            // Untranslated after it had translated: such accesses are most likely meant for the
            // IOMMU.
            port.route = match to {
                Attachment::Bypass if port.ever_translated => Route::Stray,
                Attachment::Bypass => Route::Untranslated,
                Attachment::Blocked => Route::Blocked,
                Attachment::Domain(domain) => {
                    port.ever_translated = true;
                    Route::Context { context: domain.0 }
                }
            };
            // Copied out, so that the event is recorded without this lock.
            (port.lane, port.route)
        });
        self.recorder.record(lane, None, Kind::Attachment { to });
    }

    fn invalidated(&self, scope: &Scope) {
        let (lane, range) = match *scope {
            Scope::All => (self.lane, None),
            Scope::Domain(domain) => (self.context(domain), None),
            Scope::Range(domain, first, last) => {
                (self.context(domain), Some((Address(first), Address(last))))
            }
        };
        self.recorder
            .record_with(lane, None, |at| Kind::Invalidated {
                // It only counts: the addresses are those of `range`.
                burst: Burst::one(at, 0, 0),
                range,
            });
    }

    fn filled(&self, domain: DomainId, mapping: &Mapping) {
        // A mapping of all 2^64 addresses has one byte more than the number can hold.
        let bytes = mapping.last.saturating_sub(mapping.first).saturating_add(1);
        self.recorder
            .record_with(self.context(domain), None, |at| Kind::Filled {
                burst: Burst::one(at, mapping.first, bytes),
                physical: Address(mapping.address),
            });
    }

    fn fault(&self, fault: &Fault, lane: LaneId) {
        self.recorder.record_with(lane, None, |at| Kind::Fault {
            // A fault tells where the access failed, not how many bytes it had left.
            burst: Burst::one(at, fault.iova, 0),
            direction: fault.access.into(),
            reason: fault.reason.to_string(),
            level: fault.level,
        });
    }

    /// Records `event`. An access is in the lane of its bus master, a [`Lane::Device`], if the
    /// caller knows it by the event's [source](Event::source).
    pub fn record(&self, event: &Event, master: Option<LaneId>) {
        let lane = |endpoint: &EndpointId| master.unwrap_or_else(|| self.lane_of(*endpoint));
        match event {
            Event::Attached { endpoint, to } => self.attached(*endpoint, *to),
            Event::Invalidated(scope) => self.invalidated(scope),
            Event::Filled {
                domain, mapping, ..
            } => self.filled(*domain, mapping),
            Event::Fault(fault) => self.fault(fault, lane(&fault.endpoint)),
            Event::BusError {
                endpoint,
                iova,
                address,
                access,
                ..
            } => self
                .recorder
                .record_with(lane(endpoint), None, |at| Kind::BusError {
                    burst: Burst::one(at, *iova, 0),
                    direction: (*access).into(),
                    physical: Address(*address),
                }),
            Event::Dma {
                endpoint,
                iova,
                length,
                access,
                ..
            } => {
                // The event does not say where the port leads: its last attachment does.
                let route = self.port(*endpoint).route;
                self.recorder
                    .record_with(lane(endpoint), None, |at| Kind::Dma {
                        burst: Burst::one(at, *iova, *length as u64),
                        direction: Access::of(*access).into(),
                        route,
                    });
            }
            // Kinds that later versions of the library add.
            _ => {}
        }
    }
}

impl Observer for UnitObserver {
    fn event(&self, event: &Event) {
        self.record(event, None);
    }

    fn wants_dma(&self) -> bool {
        self.dma
    }
}

impl From<Access> for Direction {
    fn from(access: Access) -> Self {
        match access {
            Access::Read => Self::Read,
            Access::Write => Self::Write,
        }
    }
}
