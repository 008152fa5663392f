//! Records what drivers ask of a virtio-iommu.

use std::sync::Arc;

use viommu::virtio::spec::{Status, attach_flag};
use viommu::virtio::{Exchange, Request};
use vmm_devices::virtio::iommu::DriverEvent;
use vmm_machine::VirtioEvent;

use super::recorder::Recorder;
use super::spec::{Address, Burst, Kind, Lane};

/// Records what the driver of a virtio-iommu does, by meaning: mappings in the lane of their
/// domain, all else where it belongs. What follows from it for translations is told by the
/// translation path.
#[derive(Clone, Debug)]
pub struct DriverRecorder {
    recorder: Arc<Recorder>,
}

impl DriverRecorder {
    /// Creates a recorder that records to `recorder`; lanes get the names of the instances.
    pub fn new(recorder: Arc<Recorder>) -> Self {
        Self { recorder }
    }

    /// Records `event`, which happened at `instance`.
    pub fn event(&self, instance: &str, event: &VirtioEvent<'_>) {
        let unit = || Lane::Unit {
            unit: instance.to_owned(),
        };
        match event {
            VirtioEvent::Request(exchange) => self.request(instance, exchange),
            VirtioEvent::Driver(DriverEvent::Features(bits)) => {
                self.note(unit(), "features", format!("features {bits:#x} accepted"));
            }
            VirtioEvent::Driver(DriverEvent::Bypass(on)) => {
                let what = if *on { "pass" } else { "are blocked" };
                self.note(unit(), "bypass", format!("unattached endpoints {what}"));
            }
            VirtioEvent::Driver(DriverEvent::Reset) => {
                self.note(unit(), "reset", "everything detached".to_owned());
            }
            // What a notification has the device do is told by its requests.
            VirtioEvent::Driver(DriverEvent::Notified) => {}
        }
    }

    fn request(&self, instance: &str, exchange: &Exchange<'_>) {
        let fine = exchange.status == Some(Status::Ok);
        let (id, kind): (u32, Box<dyn FnOnce(u64) -> Kind>) = match exchange.request {
            Some(Request::Map {
                domain,
                first,
                last,
                address,
                ..
            }) if fine => {
                let kind = move |at| Kind::Mapped {
                    burst: Burst::one(at, first, bytes(first, last)),
                    physical: Address(address),
                };
                (domain, Box::new(kind))
            }
            Some(Request::Unmap {
                domain,
                first,
                last,
            }) if fine => {
                let kind = move |at| Kind::Unmapped {
                    burst: Burst::one(at, first, bytes(first, last)),
                };
                (domain, Box::new(kind))
            }
            _ => return self.single(instance, exchange),
        };
        let lane = self.recorder.lane(domain_lane(instance, id));
        self.recorder.record_with(lane, None, kind);
    }

    /// Records a request that is an event of its own: attachments, and whatever was refused.
    fn single(&self, instance: &str, exchange: &Exchange<'_>) {
        let unit = instance.to_owned();
        let endpoint = |utlb| Lane::Utlb {
            unit: instance.to_owned(),
            utlb,
            virtio: true,
        };
        let domain = |id| domain_lane(instance, id);
        let (lane, request, mut meaning) = match exchange.request {
            Some(Request::Attach {
                domain,
                endpoint: id,
                flags,
                ..
            }) => {
                let bypass = if flags & attach_flag::BYPASS != 0 {
                    " (bypass)"
                } else {
                    ""
                };
                let meaning = format!("endpoint {id} to domain {domain}{bypass}");
                (endpoint(id), "ATTACH", meaning)
            }
            Some(Request::Detach {
                domain,
                endpoint: id,
            }) => {
                let meaning = format!("endpoint {id} from domain {domain}");
                (endpoint(id), "DETACH", meaning)
            }
            Some(Request::Probe { endpoint: id }) => {
                // The device fills the rest of the list with zeros, and 0 is the type of no
                // property.
                let list = exchange.properties.iter().any(|byte| *byte != 0);
                let what = if list { "some" } else { "none" };
                let meaning = format!("properties of endpoint {id}: {what}");
                (endpoint(id), "PROBE", meaning)
            }
            Some(Request::Map {
                domain: id,
                first,
                last,
                ..
            }) => (domain(id), "MAP", format!("IOVA {first:#x} to {last:#x}")),
            Some(Request::Unmap {
                domain: id,
                first,
                last,
            }) => (domain(id), "UNMAP", format!("IOVA {first:#x} to {last:#x}")),
            // It could not be decoded, so that neither endpoint nor domain is known.
            None => (Lane::Unit { unit }, "request", "makes no sense".to_owned()),
            // Of a later version of the library.
            Some(other) => (Lane::Unit { unit }, "request", format!("{other:?}")),
        };
        match exchange.status {
            Some(Status::Ok) => {}
            Some(status) => meaning.push_str(&format!(": refused with {}", status.name())),
            None => meaning.push_str(": not answered"),
        }
        // A guest may name any endpoint and domain: that must not use up the lanes.
        let lane = if exchange.status == Some(Status::Ok) {
            lane
        } else {
            Lane::Unit {
                unit: instance.to_owned(),
            }
        };
        self.note(lane, request, meaning);
    }

    fn note(&self, lane: Lane, register: &str, meaning: String) {
        let kind = Kind::Register {
            register: register.to_owned(),
            value: None,
            meaning,
        };
        self.recorder.record(self.recorder.lane(lane), None, kind);
    }
}

/// Returns the lane in which is shown what happens to domain `id` of the instance. Returns how many
/// bytes a range has. One of 2^64 bytes has more than 64 bits can hold: it saturates. One that ends
/// before it begins has none: an injected fault may say that such a request was carried out.
fn bytes(first: u64, last: u64) -> u64 {
    let but_one = last.checked_sub(first);
    but_one.map_or(0, |bytes| bytes.saturating_add(1))
}

fn domain_lane(instance: &str, id: u32) -> Lane {
    Lane::Context {
        unit: instance.to_owned(),
        context: id,
        virtio: true,
    }
}

#[cfg(test)]
mod tests {
    use super::super::Limits;
    use super::*;

    #[test]
    fn a_range_may_be_everything_or_end_before_it_begins() {
        let ranges = [(0, 0), (5, 9), (0, u64::MAX), (9, 5)];
        assert_eq!(
            ranges.map(|(first, last)| bytes(first, last)),
            [1, 5, u64::MAX, 0]
        );
    }

    #[test]
    fn requests_are_told_where_they_belong() {
        let recorder = Arc::new(Recorder::new(Limits::default(), || 7));
        let driver = DriverRecorder::new(Arc::clone(&recorder));
        let tell = |request, status| {
            let exchange = Exchange {
                readable: &[],
                writable: 4,
                request: Some(request),
                properties: &[],
                status: Some(status),
                written: 4,
            };
            driver.event("v", &VirtioEvent::Request(&exchange));
        };
        let attach = |endpoint| Request::Attach {
            domain: 1,
            endpoint,
            flags: 0,
            reserved: 0,
        };
        let map = |first: u64| Request::Map {
            domain: 1,
            first,
            last: first + 0xfff,
            address: 0x8000,
            flags: 3,
        };
        tell(attach(3), Status::Ok);
        tell(map(0), Status::Ok);
        tell(map(0x1000), Status::Ok);
        tell(map(0x1000), Status::Inval);
        tell(attach(9), Status::NoEnt);
        driver.event("v", &VirtioEvent::Driver(DriverEvent::Reset));
        let timeline = recorder.timeline();
        let seen: Vec<String> = timeline
            .events
            .iter()
            .map(|event| {
                let lane = timeline.lane(event.lane).unwrap();
                match &event.kind {
                    Kind::Register {
                        register, meaning, ..
                    } => format!("{lane}: {register} {meaning}"),
                    Kind::Mapped { burst, .. } => format!("{lane}: {} mapped", burst.count),
                    other => panic!("{other:?}"),
                }
            })
            .collect();
        let wanted = [
            "v endpoint 3: ATTACH endpoint 3 to domain 1",
            "v domain 1: 2 mapped",
            "v: MAP IOVA 0x1000 to 0x1fff: refused with INVAL",
            "v: ATTACH endpoint 9 to domain 1: refused with NOENT",
            "v: reset everything detached",
        ];
        assert_eq!(seen, wanted);
    }
}
