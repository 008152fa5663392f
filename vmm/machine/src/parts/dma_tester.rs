//! The DMA tester, a bus master with several ports.

use std::sync::{Arc, OnceLock, Weak};

use viommu::virtio::Request;
use viommu::virtio::spec::Status;
use viommu::{Event, Scope, SourceId};
use vm_fdt::FdtWriter;
use vmm_devices::dma_tester::DmaTester;
use vmm_devices::dma_tester::script::{Happened, Trigger};

use super::{Part, Placed};
use crate::config::{Config, DmaTesterConfig, Port};
use crate::entry::{Entry, Irq};
use crate::error::Error;
use crate::iommu::{IommuEvent, IommuInfo, IommuSink, VirtioEvent};
use crate::layout::Range;
use crate::wiring::Wiring;

/// Returns the DMA tester of `config` at `window`, if it has one.
pub(crate) fn tester(config: &Config, window: Range, irq: Irq) -> Option<Placed> {
    let ports = config.requesters()?;
    let mut entry = Entry::new(DmaTesterConfig::NAME, "dma-tester", &[window], irq);
    entry.master = true;
    let mut distinct: Vec<Port> = Vec::new();
    for port in ports.iter().flatten() {
        if !distinct.contains(port) {
            distinct.push(*port);
        }
    }
    let mut distinct = distinct.into_iter();
    entry.iommu = distinct.next();
    entry.other_ports = distinct.collect();
    Some(Placed::new(entry, Tester { ports }))
}

#[derive(Debug)]
struct Tester {
    /// Where each requester stands.
    ports: Vec<Option<Port>>,
}

impl Part for Tester {
    fn describe(&self, _entry: &Entry, node: &mut FdtWriter) -> Result<(), vm_fdt::Error> {
        // A name of this project's own, which no driver of Linux's knows.
        node.property_string("compatible", "viommu,dma-tester")
    }

    fn make(&self, entry: &Entry, source: SourceId, wiring: &mut Wiring<'_>) -> Result<(), Error> {
        let ports = self.ports.iter();
        let spaces = ports.map(|port| wiring.space_at(entry, *port, source).0);
        let script = wiring.config().dma_tester.as_ref();
        let script = script.map(|tester| tester.script.clone());
        let tester = Arc::new(DmaTester::new(
            &entry.name,
            spaces.collect(),
            wiring.line(entry)?,
            (wiring.schedule(), wiring.control()),
            script.unwrap_or_default(),
        ));
        if let Some(events) = wiring.script_events() {
            events.connect(&tester);
        }
        wiring.devices.dma_tester = Some(Arc::clone(&tester));
        wiring.attach(entry, 0, tester)
    }
}

/// Tells a DMA tester what its script waits for.
#[derive(Default)]
pub(crate) struct ScriptEvents(OnceLock<Weak<DmaTester>>);

impl ScriptEvents {
    /// Returns what tells the DMA tester of `config`, if its script waits for anything.
    pub fn of(config: &Config) -> Option<Arc<Self>> {
        let script = &config.dma_tester.as_ref()?.script;
        script
            .iter()
            .any(|step| step.on.is_some())
            .then(Arc::default)
    }

    /// Sets the device, once it is made.
    fn connect(&self, tester: &Arc<DmaTester>) {
        // A machine has one.
        let _ = self.0.set(Arc::downgrade(tester));
    }
}

impl IommuSink for ScriptEvents {
    fn event(&self, iommu: &IommuInfo, _at_ns: u64, event: &IommuEvent<'_>) {
        let Some(tester) = self.0.get().and_then(Weak::upgrade) else {
            return;
        };
        let (what, address) = match event {
            IommuEvent::Path(Event::Filled { mapping, .. }) => (Trigger::Fill, Some(mapping.first)),
            IommuEvent::Path(Event::Fault(fault)) => (Trigger::Fault, Some(fault.iova)),
            IommuEvent::Path(Event::Invalidated(scope)) => {
                let first = match scope {
                    Scope::Range(_, first, _) => Some(*first),
                    Scope::All | Scope::Domain(_) => None,
                };
                (Trigger::Flush, first)
            }
            IommuEvent::Virtio(VirtioEvent::Request(exchange))
                if exchange.status == Some(Status::Ok) =>
            {
                match exchange.request {
                    Some(Request::Map { first, .. }) => (Trigger::Map, Some(first)),
                    Some(Request::Unmap { first, .. }) => (Trigger::Unmap, Some(first)),
                    _ => return,
                }
            }
            _ => return,
        };
        let device = match event {
            IommuEvent::Path(event) => iommu.source(event),
            _ => None,
        };
        tester.tell(&Happened {
            what,
            device,
            address,
        });
    }
}
