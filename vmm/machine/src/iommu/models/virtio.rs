//! The machine's virtio-iommus: made, watched and summed up.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use viommu::virtio::spec::Status;
use viommu::virtio::{DomainNames, Exchange, Observers, Request, RequestObserver, VirtioIommu};
use viommu::{Attachment, DmaListener, EndpointId, Event, Fault, Observer, Scope, StaleHit};
use vmm_devices::ram::{DmaSpace, GuestRam};
use vmm_devices::virtio::deferred_work::DeferredWork;
use vmm_devices::virtio::iommu::{DriverEvent, DriverObserver, Iommu};

use super::super::tally::Tally;
use super::super::{IommuInfo, IommuSummary, RequestCounts, VirtioEvent, VirtioIommuSummary};
use super::{
    Face, IommuContext, IommuDevice, IommuWindows, Listening, MadeIommus, Model, UnitState,
    WrongIommu, registers,
};
use crate::config::{ConfigError, IommuModel, Port};
use crate::entry::{Entry, IommuPart, Role};
use crate::error::Error;

/// Size in bytes of a virtio-mmio transport: its registers and room for a configuration (virtio
/// 1.2, 4.2.2).
const WINDOW: u64 = 0x200;

/// The model virtio-iommu.
pub(super) struct Virtio;

impl Model for Virtio {
    fn model(&self) -> IommuModel {
        IommuModel::Virtio
    }

    fn place(&self, instances: &[(usize, String)], windows: &IommuWindows) -> Vec<Entry> {
        windows.each(self.model(), instances, WINDOW)
    }

    /// Returns what Linux matches it by (bindings/virtio/mmio.yaml).
    fn compatible(&self) -> &'static [&'static str] {
        &["virtio,mmio"]
    }

    fn make(&self, entries: &[&Entry], context: &IommuContext<'_>) -> MadeIommus {
        registers::each(entries, |entry, index| {
            VirtioUnit::new(entry, index, context)
        })
    }
}

/// A virtio-iommu.
struct VirtioUnit {
    index: usize,
    iommu: Arc<Mutex<VirtioIommu<GuestRam>>>,
    watch: Arc<Watch>,
    deferred_work: Arc<DeferredWork>,
    /// Whether indirect descriptors are offered.
    indirect: bool,
}

impl VirtioUnit {
    /// Creates IOMMU `index` of the configuration, which is `entry` on the board, out of reset.
    fn new(entry: &Entry, index: usize, context: &IommuContext<'_>) -> Result<Self, Error> {
        let config = context.config;
        let mut description = config.virtio_iommu(index)?;
        description.faults = (context.faults)(entry);
        description.cache = context.cache();
        let ids: Vec<u32> = description.endpoints.iter().map(|e| e.id).collect();
        // Numbers may have gaps: each up to the highest has counters, used or not.
        let count = ids.iter().max().map_or(0, |last| *last as usize + 1);
        let info = IommuInfo {
            name: entry.name.clone(),
            model: IommuModel::Virtio,
            contexts_of: entry.name.clone(),
            masters: context.masters_of(entry, count),
            sources: context.sources.to_vec(),
        };
        let tally = Tally::new(info, Arc::clone(context.clock), context.sink.cloned());
        // The device gets its observers when it is made, so that the names of its domains, which it
        // has, reach this one only afterwards.
        let watch = Arc::new(Watch {
            tally,
            ids,
            names: OnceLock::new(),
            counts: Counts::default(),
        });
        let deferred_work = Arc::clone(context.deferred_work);
        let waiting = Arc::clone(&deferred_work);
        let iommu = VirtioIommu::new(
            Arc::clone(context.ram),
            description,
            // Called in the middle of another device's access: the report is delivered later, by
            // whoever does deferred work.
            Box::new(move || waiting.announce()),
            Observers {
                requests: Some(watch.clone()),
                translation: Some(watch.clone()),
            },
        );
        let iommu = iommu.map_err(|why| ConfigError::VirtioIommu {
            name: entry.name.clone(),
            why: why.to_string().into(),
        })?;
        // It was empty: nobody else sets it.
        let _ = watch.names.set(iommu.domain_names());
        Ok(Self {
            index,
            iommu: Arc::new(Mutex::new(iommu)),
            watch,
            deferred_work,
            // The index counts the IOMMUs that are there: in a valid configuration `none` stands
            // alone, so that it is the same in this list.
            indirect: config.iommus[index]
                .virtio
                .as_ref()
                .is_none_or(|options| options.indirect),
        })
    }
}

impl IommuDevice for VirtioUnit {
    fn face(&self, role: Role) -> Option<Face> {
        let own = Role::Iommu(IommuModel::Virtio, IommuPart::Instance(self.index));
        if role != own {
            return None;
        }
        let (iommu, deferred_work) = (Arc::clone(&self.iommu), Arc::clone(&self.deferred_work));
        let observer = self.watch.clone();
        let front = Iommu::new(iommu, deferred_work, observer, self.indirect);
        Some(Face::Transport(Box::new(front)))
    }

    fn space(&self, port: Port) -> Option<DmaSpace> {
        if port.iommu != self.index {
            return None;
        }
        // Poisoned only by a panic that its own thread has reported; another one here would hide
        // it.
        let iommu = self.iommu.lock().unwrap_or_else(PoisonError::into_inner);
        iommu.space(port.utlb)
    }

    fn listen(&self, port: Port, listener: &mut Option<Box<dyn DmaListener>>) -> Listening {
        let listener = listener.take_if(|_| port.iommu == self.index)?;
        let mut iommu = self.iommu.lock().unwrap_or_else(PoisonError::into_inner);
        Some(iommu.add_listener(port.utlb, listener).map_err(Into::into))
    }

    fn save(&self) -> UnitState {
        let iommu = self.iommu.lock().unwrap_or_else(PoisonError::into_inner);
        UnitState::Virtio {
            cache: iommu.unit().save_cache(),
            tally: self.watch.tally.save(),
            counts: self.watch.counts.summary(),
        }
    }

    fn restore(&self, saved: &UnitState) -> Result<(), WrongIommu> {
        let UnitState::Virtio {
            cache,
            tally,
            counts,
        } = saved
        else {
            return Err(WrongIommu::Model);
        };
        let iommu = self.iommu.lock().unwrap_or_else(PoisonError::into_inner);
        iommu.unit().restore_cache(cache)?;
        // Last: restoring the slot has invalidated everything, which was counted as a flush.
        self.watch.tally.restore(tally);
        self.watch.counts.restore(counts);
        Ok(())
    }

    fn summaries(&self) -> Vec<IommuSummary> {
        let iommu = self.iommu.lock().unwrap_or_else(PoisonError::into_inner);
        let counters = iommu.unit().counters();
        let reports = iommu.report_counters();
        vec![IommuSummary {
            model: IommuModel::Virtio.name().into(),
            hits: counters.hits,
            misses: counters.misses,
            evictions: counters.evictions,
            mappings: iommu.mappings() as u64,
            virtio: Some(VirtioIommuSummary {
                domains: iommu.domains().len() as u64,
                reports: reports.delivered,
                reports_waiting: iommu.waiting_reports() as u64,
                reports_lost: reports.lost,
                ..self.watch.counts.summary()
            }),
            ..self.watch.tally.summary()
        }]
    }
}

/// Sees all that happens at one virtio-iommu, and gives it the numbers that its driver uses.
struct Watch {
    tally: Tally,
    /// The driver's numbers of endpoints, in the order of the translation path.
    ids: Vec<u32>,
    names: OnceLock<DomainNames>,
    counts: Counts,
}

#[derive(Default)]
struct Counts {
    notifications: AtomicU64,
    attach: AtomicU64,
    detach: AtomicU64,
    map: AtomicU64,
    unmap: AtomicU64,
    probe: AtomicU64,
    refused: AtomicU64,
    resets: AtomicU64,
}

impl Counts {
    fn summary(&self) -> VirtioIommuSummary {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        VirtioIommuSummary {
            notifications: get(&self.notifications),
            requests: RequestCounts {
                attach: get(&self.attach),
                detach: get(&self.detach),
                map: get(&self.map),
                unmap: get(&self.unmap),
                probe: get(&self.probe),
            },
            refused: get(&self.refused),
            resets: get(&self.resets),
            ..VirtioIommuSummary::default()
        }
    }

    /// Takes over other counts.
    fn restore(&self, saved: &VirtioIommuSummary) {
        let set = |counter: &AtomicU64, value| counter.store(value, Ordering::Relaxed);
        let RequestCounts {
            attach,
            detach,
            map,
            unmap,
            probe,
        } = saved.requests;
        set(&self.notifications, saved.notifications);
        set(&self.attach, attach);
        set(&self.detach, detach);
        set(&self.map, map);
        set(&self.unmap, unmap);
        set(&self.probe, probe);
        set(&self.refused, saved.refused);
        set(&self.resets, saved.resets);
    }

    /// Returns the counter of a request's outcome.
    fn of(&self, exchange: &Exchange<'_>) -> &AtomicU64 {
        match (exchange.request, exchange.status) {
            (Some(Request::Attach { .. }), Some(Status::Ok)) => &self.attach,
            (Some(Request::Detach { .. }), Some(Status::Ok)) => &self.detach,
            (Some(Request::Map { .. }), Some(Status::Ok)) => &self.map,
            (Some(Request::Unmap { .. }), Some(Status::Ok)) => &self.unmap,
            (Some(Request::Probe { .. }), Some(Status::Ok)) => &self.probe,
            _ => &self.refused,
        }
    }
}

impl RequestObserver for Watch {
    fn executed(&self, exchange: &Exchange<'_>) {
        self.counts.of(exchange).fetch_add(1, Ordering::Relaxed);
        self.tally.virtio(&VirtioEvent::Request(exchange));
    }
}

impl DriverObserver for Watch {
    fn event(&self, event: DriverEvent) {
        let counter = match event {
            DriverEvent::Notified => Some(&self.counts.notifications),
            DriverEvent::Reset => Some(&self.counts.resets),
            _ => None,
        };
        if let Some(counter) = counter {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        self.tally.virtio(&VirtioEvent::Driver(event));
    }
}

impl Watch {
    /// Returns `event` with the driver's numbers; none if it concerns a domain that is gone.
    fn renumbered(&self, mut event: Event) -> Option<Event> {
        let id = |endpoint: &mut EndpointId| {
            endpoint.0 = *self.ids.get(endpoint.0 as usize)?;
            Some(())
        };
        // They are set once the device is made; nothing happens before.
        let names = self.names.get()?;
        let number = |domain: viommu::DomainId| names.number(domain).map(viommu::DomainId);
        match &mut event {
            Event::Attached { endpoint, to } => {
                id(endpoint)?;
                if let Attachment::Domain(domain) = to {
                    *domain = number(*domain)?;
                }
            }
            Event::Filled {
                endpoint, domain, ..
            } => {
                id(endpoint)?;
                *domain = number(*domain)?;
            }
            Event::Fault(Fault {
                endpoint, domain, ..
            }) => {
                id(endpoint)?;
                // Told even if the domain is gone: the access was refused all the same.
                *domain = domain.and_then(number);
            }
            Event::BusError { endpoint, .. } | Event::Dma { endpoint, .. } => id(endpoint)?,
            Event::StaleHit(StaleHit {
                endpoint, domain, ..
            })
            | Event::StaleEnded {
                endpoint, domain, ..
            } => {
                id(endpoint)?;
                *domain = number(*domain)?;
            }
            Event::Invalidated(Scope::Domain(domain) | Scope::Range(domain, ..)) => {
                *domain = number(*domain)?;
            }
            _ => {}
        }
        Some(event)
    }
}

impl Observer for Watch {
    fn event(&self, event: &Event) {
        if let Some(event) = self.renumbered(*event) {
            self.tally.path(&event);
        }
    }

    fn wants_dma(&self) -> bool {
        self.tally.wants_dma()
    }
}
