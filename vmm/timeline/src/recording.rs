//! A timeline of a whole machine: what happens at its IOMMUs, the DMA of its devices, their
//! interrupts, the console, and what probes see.
//!
//! A [`Recording`] is made before its machine, which gets its [`sink`](Recording::sink) and
//! [`console`](Recording::console), and connected to it before the first run. A machine without one
//! knows nothing of it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use viommu::{Attachment, DomainId, EndpointId};
use vmm_devices::uart::{ConsoleSink, Flow};
use vmm_machine::board::Entry;
use vmm_machine::{BothSinks, IommuEvent, IommuInfo, IommuSink, Machine};

use crate::registers;
use crate::{
    Address, Argument, ChangedLocation, DriverRecorder, Event, GuestChange, Kind, Lane, LaneId,
    Limits, Point, Recorder, Timeline, UnitObserver, Value, visible,
};
use vmm_introspect::probe::{Change, Hit, Probe, Written};
use vmm_introspect::types::value::Value as Seen;

/// Records what one machine does.
pub struct Recording {
    recorder: Arc<Recorder>,
    machine: Arc<OnceLock<Connected>>,
}

/// The facts that are known once the machine is assembled.
struct Connected {
    clock: Arc<dyn vmm_base::Clock>,
    /// The lane of each of the board's devices.
    lanes: Vec<LaneId>,
    /// The devices' names here, by their names on the board.
    names: BTreeMap<String, String>,
}

impl Default for Recording {
    fn default() -> Self {
        Self::new()
    }
}

impl Recording {
    /// Creates a recording that has nothing in it.
    pub fn new() -> Self {
        let machine: Arc<OnceLock<Connected>> = Arc::default();
        let clock = Arc::clone(&machine);
        // The recording is made before its machine, and nothing happens before that: the time is 0.
        let now = move || clock.get().map_or(0, |machine| machine.clock.now_ns());
        Self {
            recorder: Arc::new(Recorder::new(Limits::default(), now)),
            machine,
        }
    }

    /// Returns the sink that the machine is to be given, so that it tells of its IOMMUs.
    pub fn sink(&self) -> Arc<dyn IommuSink> {
        Arc::new(MachineSink {
            recorder: Arc::clone(&self.recorder),
            machine: Arc::clone(&self.machine),
            requests: DriverRecorder::new(Arc::clone(&self.recorder)),
            units: Mutex::default(),
        })
    }

    /// Returns the sink as [`sink`](Self::sink) does, with another one told of everything as well.
    pub fn sink_before(&self, next: Option<Arc<dyn IommuSink>>) -> Arc<dyn IommuSink> {
        match next {
            None => self.sink(),
            Some(next) => Arc::new(BothSinks(self.sink(), next)),
        }
    }

    /// Returns a console that is recorded on its way to `inner`.
    pub fn console(&self, inner: Box<dyn ConsoleSink>) -> Box<dyn ConsoleSink> {
        Box::new(Tee(Arc::clone(&self.recorder), inner))
    }

    /// Takes the time from `machine` from now on, and calls its devices by `name`. To be called
    /// before the first run.
    pub fn connect(&self, machine: &Machine, name: impl Fn(&Entry) -> String) {
        let devices = &machine.board().devices;
        let names = devices
            .iter()
            .map(|entry| (entry.name.clone(), name(entry)));
        let names: BTreeMap<String, String> = names.collect();
        let lane = |entry: &Entry| match entry.master {
            true => self.device_lane(&names[&entry.name]),
            // Devices that are no bus masters have no lane.
            false => LaneId(u16::MAX),
        };
        let lanes = devices.iter().map(lane).collect();
        // A recording belongs to one machine: a second one is not listened to.
        let _ = self.machine.set(Connected {
            clock: machine.clock(),
            lanes,
            names,
        });
    }

    fn device_lane(&self, name: &str) -> LaneId {
        self.recorder.lane(Lane::Device { name: name.into() })
    }

    /// Records what a probe saw and did.
    pub fn hit(&self, probe: &Probe, hit: &Hit) {
        let lane = self.recorder.lane(Lane::Probes);
        let arguments = hit.values.iter().map(|(name, value)| Argument {
            name: name.clone(),
            value: match value {
                Ok(value) => shown(value),
                Err(error) => Value::Unreadable(error.to_string()),
            },
        });
        let site = &probe.site;
        let point = match (site.at_return, site.offset) {
            (true, _) => Point::Return,
            (false, 0) => Point::Entry,
            (false, offset) => Point::Offset(offset),
        };
        let kind = Kind::Probe {
            function: site.symbol.clone(),
            point,
            arguments: arguments.collect(),
            caller: (!hit.caller.is_empty()).then(|| hit.caller.clone()),
            actions: hit.actions.clone(),
        };
        self.recorder
            .record(lane, u8::try_from(hit.core).ok(), kind);
    }

    /// Records that a driver was bound to the device that is called `name` here, or taken from it.
    pub fn binding(&self, name: &str, driver: Option<String>) {
        let lane = self.device_lane(name);
        self.recorder.record(lane, None, Kind::Binding { driver });
    }

    /// Records that the guest made a mistake with the DMA of the device of this name on the board,
    /// at this time in nanoseconds, which may be past.
    pub fn mistake(&self, device: &str, at: u64, mistake: &str, text: &str) {
        let machine = self.machine.get();
        let name = machine.and_then(|machine| machine.names.get(device));
        let lane = self.device_lane(name.map_or(device, String::as_str));
        let kind = Kind::Mistake {
            mistake: mistake.into(),
            text: visible(text),
        };
        self.recorder.record_event(Event {
            at,
            core: None,
            lane,
            kind,
        });
    }

    /// Returns what was recorded until now.
    pub fn timeline(&self) -> Timeline {
        self.recorder.timeline()
    }
}

/// Returns what `hit` changed, asked for by `behaviour`.
pub fn changes(probe: &Probe, hit: &Hit, behaviour: &str) -> Vec<GuestChange> {
    let change = |change: &Change| GuestChange {
        at: hit.at,
        event: None,
        behaviour: behaviour.to_owned(),
        place: match &change.place {
            Written::Register(name) => ChangedLocation::Register { name: name.clone() },
            Written::Memory(address, width) => ChangedLocation::Memory {
                address: Address(*address),
                width: *width,
            },
        },
        meaning: format!("{}, at {}", change.meaning, probe.site),
        old: Address(change.old),
        new: Address(change.new),
    };
    hit.changes.iter().map(change).collect()
}

/// Returns a probe's value as a timeline keeps it.
fn shown(value: &Seen) -> Value {
    match value {
        Seen::Pointer { address, location } => Value::Pointer(Address(*address), location.clone()),
        Seen::Text { text, .. } => Value::Text(visible(text)),
        Seen::Bool(_) | Seen::Unsigned(_) | Seen::Signed(_) => value
            .number()
            // `Value::Number` is signed: larger numbers are kept as text.
            .and_then(|number| i64::try_from(number).ok())
            .map_or_else(|| Value::Text(value.to_string()), Value::Number),
        _ => Value::Text(visible(&value.to_string())),
    }
}

/// A console that records lines on their way to another one.
struct Tee(Arc<Recorder>, Box<dyn ConsoleSink>);

impl ConsoleSink for Tee {
    fn write(&mut self, bytes: &[u8]) -> Flow {
        self.0.console(bytes);
        self.1.write(bytes)
    }

    fn flush(&mut self) {
        self.1.flush();
    }
}

/// Listens to the machine.
struct MachineSink {
    recorder: Arc<Recorder>,
    machine: Arc<OnceLock<Connected>>,
    requests: DriverRecorder,
    /// One observer for each IOMMU, by its name.
    units: Mutex<BTreeMap<String, Arc<UnitObserver>>>,
}

impl MachineSink {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "an IOMMU has few micro-TLBs"
    )]
    fn unit(&self, iommu: &IommuInfo) -> Arc<UnitObserver> {
        // An entry is added whole, so that the map is good after a panic, too.
        let mut units = self.units.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(unit) = units.get(&iommu.name) {
            return Arc::clone(unit);
        }
        // Not connected yet, devices are called as on the board.
        let machine = self.machine.get();
        let masters = iommu.masters.iter().enumerate();
        let masters = masters.flat_map(|(utlb, names)| {
            let called = |name| machine.and_then(|m| m.names.get(name)).unwrap_or(name);
            // Endpoints are numbered in 32 bits everywhere, so that the cast loses nothing.
            let named = move |name| (iommu.name.as_str(), utlb as u32, called(name).as_str());
            names.iter().map(named)
        });
        let masters: Vec<(&str, u32, &str)> = masters.collect();
        let endpoints = iommu.masters.len() as u32;
        let unit = Arc::new(UnitObserver::new(
            Arc::clone(&self.recorder),
            // The first instance names the contexts only: it has no endpoints of this unit.
            &[(&iommu.contexts_of, 0), (&iommu.name, endpoints)],
            &masters,
            true,
            iommu.model.facts().virtio,
        ));
        if !iommu.model.facts().described {
            // Nobody attaches a port of it: each leads through its window from the beginning.
            let to = Attachment::Domain(DomainId(0));
            for endpoint in (0..endpoints).map(EndpointId) {
                if !iommu.masters[endpoint.0 as usize].is_empty() {
                    unit.record(&viommu::Event::Attached { endpoint, to }, None);
                }
            }
        }
        units.insert(iommu.name.clone(), Arc::clone(&unit));
        unit
    }
}

impl IommuSink for MachineSink {
    fn event(&self, iommu: &IommuInfo, _at_ns: u64, event: &IommuEvent<'_>) {
        let unit = self.unit(iommu);
        match event {
            IommuEvent::Registers(event) => registers::record(&self.recorder, &iommu.name, *event),
            IommuEvent::Virtio(event) => self.requests.event(&iommu.name, event),
            IommuEvent::Path(event) => {
                let lanes = self.machine.get().map(|machine| &machine.lanes);
                let lane = event
                    .source()
                    .and_then(|source| lanes?.get(source.index()).copied());
                unit.record(event, lane);
            }
        }
    }

    fn interrupt(&self, device: &str, irq: u32, active: bool) {
        let machine = self.machine.get();
        let name = machine.and_then(|machine| machine.names.get(device));
        self.recorder
            .interrupt(irq, name.map_or(device, String::as_str), active);
    }

    fn wants_interrupts(&self) -> bool {
        true
    }

    fn wants_dma(&self) -> bool {
        true
    }
}
