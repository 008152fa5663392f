//! What `--trace` prints: one line an event on stderr, in a form that stays.

use std::fmt::Write as _;
use std::io::Write as _;

use viommu::virtio::Request;
use viommu::virtio::spec::{Status, attach_flag};
use viommu::{EndpointId, Event, RegisterEvent};
use vmm::{IommuEvent, IommuInfo, IommuSink, VirtioEvent};
use vmm_base::Seconds;
use vmm_devices::virtio::iommu::DriverEvent;
use vmm_machine::board::Board;

use super::patience::Stderr;

/// Prints what happens at IOMMUs.
#[derive(Debug)]
pub struct IommuTrace;

impl IommuSink for IommuTrace {
    fn event(&self, iommu: &IommuInfo, at_ns: u64, event: &IommuEvent<'_>) {
        if let Some(line) = line(iommu, at_ns, event) {
            // A stderr that went away is no reason to stop.
            let _ = Stderr.write_all(format!("{line}\n").as_bytes());
        }
    }
}

/// Says which devices are at which ports.
pub fn ports(board: &Board) {
    for entry in &board.devices {
        if let Some(port) = entry.iommu {
            let name = board.iommu_name(port.iommu).unwrap_or_default();
            let what = board.port_word(port.iommu).to_ascii_lowercase();
            let (number, device) = (port.utlb, &entry.name);
            let _ = writeln!(
                std::io::stderr(),
                "iommu 0.000000000 {name} port {what}={number} device={device}"
            );
        }
    }
}

/// Returns `iommu SECONDS NAME EVENT KEY=VALUE...`, or nothing for events that are not traced.
pub fn line(iommu: &IommuInfo, at_ns: u64, event: &IommuEvent<'_>) -> Option<String> {
    let words = match event {
        IommuEvent::Registers(event) => register(iommu, *event),
        IommuEvent::Virtio(event) => virtio(iommu, event)?,
        IommuEvent::Path(event) => access(iommu, event)?,
    };
    Some(format!("iommu {} {} {words}", Seconds(at_ns), iommu.name))
}

/// Describes what happened to the registers, by meaning.
fn register(iommu: &IommuInfo, event: &dyn RegisterEvent) -> String {
    let words = event.trace();
    let mut text = words.name.to_owned();
    if let Some(utlb) = words.port {
        let _ = write!(text, " {}", port(iommu, utlb));
    }
    for (key, value) in words.fields {
        let _ = write!(text, " {key}={value}");
    }
    text
}

/// Describes what the driver of a virtio-iommu did: its requests, with their status unless that is
/// OK.
fn virtio(iommu: &IommuInfo, event: &VirtioEvent<'_>) -> Option<String> {
    let exchange = match event {
        VirtioEvent::Driver(DriverEvent::Features(bits)) => {
            return Some(format!("features bits={bits:#x}"));
        }
        VirtioEvent::Driver(DriverEvent::Bypass(value)) => {
            return Some(format!("bypass value={value}"));
        }
        VirtioEvent::Driver(DriverEvent::Reset) => return Some("reset".into()),
        // The requests that follow a notification are printed.
        VirtioEvent::Driver(DriverEvent::Notified) => return None,
        VirtioEvent::Request(exchange) => exchange,
    };
    let mut words = match exchange.request {
        None => format!("malformed bytes={}", exchange.readable.len()),
        Some(request) => virtio_request(iommu, &request),
    };
    match exchange.status {
        Some(Status::Ok) => {}
        Some(status) => {
            let _ = write!(words, " status={}", status.name());
        }
        None => words.push_str(" status=none"),
    }
    Some(words)
}

fn virtio_request(iommu: &IommuInfo, request: &Request) -> String {
    let endpoint = |endpoint: u32| port(iommu, endpoint as usize);
    match *request {
        Request::Attach {
            domain,
            endpoint: number,
            flags,
            ..
        } => {
            let bypass = if flags & attach_flag::BYPASS != 0 {
                " bypass"
            } else {
                ""
            };
            format!("attach {} domain={domain}{bypass}", endpoint(number))
        }
        Request::Detach {
            domain,
            endpoint: number,
        } => format!("detach {} domain={domain}", endpoint(number)),
        Request::Map {
            domain,
            first,
            last,
            address,
            flags,
        } => format!(
            "map domain={domain} iova={first:#x}..={last:#x} address={address:#x} flags={flags:#x}"
        ),
        Request::Unmap {
            domain,
            first,
            last,
        } => format!("unmap domain={domain} iova={first:#x}..={last:#x}"),
        Request::Probe { endpoint: number } => format!("probe {}", endpoint(number)),
        // Of a later version of the library.
        ref other => format!("other what={:?}", format!("{other:?}")),
    }
}

/// Describes what happened to accesses; what happened to the cache only repeats what the guest did.
fn access(iommu: &IommuInfo, event: &Event) -> Option<String> {
    match event {
        Event::Fault(fault) => {
            let mut words = format!("fault {}", requester(iommu, event, fault.endpoint));
            if let Some(domain) = fault.domain {
                let word = iommu.model.facts().domain_word;
                let _ = write!(words, " {word}={}", domain.0);
            }
            let _ = write!(words, " iova={:#x} access={}", fault.iova, fault.access);
            if let Some(level) = fault.level {
                let _ = write!(words, " level={level}");
            }
            // In quotes: it is the one value that has spaces.
            let _ = write!(words, " reason={:?}", fault.reason.to_string());
            Some(words)
        }
        Event::BusError {
            endpoint,
            iova,
            address,
            access,
            ..
        } => Some(format!(
            "bus-error {} iova={iova:#x} address={address:#x} access={access}",
            requester(iommu, event, *endpoint)
        )),
        _ => None,
    }
}

/// Returns the port of an access, and the device that made it.
fn requester(iommu: &IommuInfo, event: &Event, endpoint: EndpointId) -> String {
    let utlb = endpoint.0 as usize;
    match iommu.source(event) {
        Some(device) => named(iommu, utlb, device),
        None => port(iommu, utlb),
    }
}

/// Returns a port, and all devices behind it.
fn port(iommu: &IommuInfo, utlb: usize) -> String {
    // The guest chooses the numbers in its requests: no device may have this one.
    let masters = iommu.masters.get(utlb);
    let masters = masters.map(|names| names.join("+")).unwrap_or_default();
    named(iommu, utlb, &masters)
}

fn named(iommu: &IommuInfo, utlb: usize, device: &str) -> String {
    let masters = if device.is_empty() {
        String::new()
    } else {
        format!(" device={device}")
    };
    let word = iommu.model.facts().port_word.to_ascii_lowercase();
    format!("{word}={utlb}{masters}")
}

#[cfg(test)]
mod tests {
    use viommu::ipmmu::IpmmuEvent;
    use viommu::rockchip::RockchipEvent;
    use viommu::{Access, DomainId, Fault, FaultReason, SourceId};

    use super::*;

    #[test]
    fn each_event_is_one_line() {
        let iommu = IommuInfo {
            name: "ipmmu0".into(),
            contexts_of: "ipmmu0".into(),
            model: vmm::IommuModel::Ipmmu,
            masters: vec![vec!["disk0".into(), "rng".into()], Vec::new()],
            sources: vec!["disk0".into(), "rng".into()],
        };
        let fault = Event::Fault(Fault {
            endpoint: EndpointId(1),
            source: None,
            domain: Some(DomainId(0)),
            iova: 0x4000_1000,
            access: Access::Write,
            reason: FaultReason::Translation,
            level: Some(3),
        });
        let bus_error = Event::BusError {
            endpoint: EndpointId(0),
            source: Some(SourceId(1)),
            iova: 0x10,
            address: 0x20,
            access: Access::Read,
        };
        let (attach, detach) = (
            IpmmuEvent::UtlbEnabled {
                utlb: 0,
                context: 0,
            },
            IpmmuEvent::UtlbDisabled { utlb: 1 },
        );
        let recorded = IpmmuEvent::FaultRecorded {
            context: 0,
            status: 0x3001,
            iova: 0x4000_1000,
        };
        let cases = [
            (
                IommuEvent::Registers(&attach),
                "attach utlb=0 device=disk0+rng context=0",
            ),
            (IommuEvent::Registers(&detach), "detach utlb=1"),
            (
                IommuEvent::Registers(&recorded),
                "report context=0 iova=0x40001000 status=0x00003001",
            ),
            (
                IommuEvent::Registers(&RockchipEvent::PagingEnabled),
                "enable",
            ),
            (
                IommuEvent::Registers(&RockchipEvent::ZapLine { iova: 0x1000 }),
                "flush iova=0x1000",
            ),
            (
                IommuEvent::Registers(&RockchipEvent::StatusShown { interrupts: 3 }),
                "other what=\"interrupts 0x3 shown without a cause\"",
            ),
            (
                IommuEvent::Path(&fault),
                "fault utlb=1 context=0 iova=0x40001000 access=write level=3 reason=\"translation fault\"",
            ),
            (
                IommuEvent::Path(&bus_error),
                "bus-error utlb=0 device=rng iova=0x10 address=0x20 access=read",
            ),
        ];
        for (event, words) in cases {
            let wanted = format!("iommu 1.000000005 ipmmu0 {words}");
            assert_eq!(line(&iommu, 1_000_000_005, &event), Some(wanted));
        }
    }
}
