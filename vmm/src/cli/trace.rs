//! What `--trace` prints: one line an event on stderr, in a form that stays.

use std::fmt::Write as _;
use std::io::Write as _;

use viommu::ipmmu::IpmmuEvent;
use viommu::rockchip::RockchipEvent;
use viommu::virtio::Request;
use viommu::virtio::spec::{Status, attach_flag};
use viommu::{EndpointId, Event};
use vmm::{IommuEvent, IommuInfo, IommuSink, VirtioEvent};
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
fn line(iommu: &IommuInfo, at_ns: u64, event: &IommuEvent<'_>) -> Option<String> {
    let words = match event {
        IommuEvent::Ipmmu(event) => register(iommu, event),
        IommuEvent::Rockchip(event) => rockchip(event),
        IommuEvent::Virtio(event) => virtio(iommu, event)?,
        IommuEvent::Path(event) => access(iommu, event)?,
    };
    let (seconds, ns) = (at_ns / 1_000_000_000, at_ns % 1_000_000_000);
    Some(format!("iommu {seconds}.{ns:09} {} {words}", iommu.name))
}

/// Describes what the guest did to the registers, by meaning.
fn register(iommu: &IommuInfo, event: &IpmmuEvent) -> String {
    let utlb = |utlb| port(iommu, utlb);
    match *event {
        IpmmuEvent::UtlbEnabled { utlb: n, context } => {
            format!("attach {} context={context}", utlb(n))
        }
        IpmmuEvent::UtlbBlocked { utlb: n, ttsel } => format!("block {} ttsel={ttsel}", utlb(n)),
        IpmmuEvent::UtlbDisabled { utlb: n } => format!("detach {}", utlb(n)),
        IpmmuEvent::UtlbFlush { utlb: n } => format!("flush {}", utlb(n)),
        IpmmuEvent::Table { context, address } => {
            format!("table context={context} address={address:#x}")
        }
        IpmmuEvent::ContextEnabled { context } => format!("enable context={context}"),
        IpmmuEvent::ContextDisabled { context } => format!("disable context={context}"),
        IpmmuEvent::ContextFlush { context } => format!("flush context={context}"),
        IpmmuEvent::FlushComplete { context } => format!("flush-complete context={context}"),
        IpmmuEvent::FaultRecorded {
            context,
            status,
            iova,
        } => format!("report context={context} iova={iova:#x} status={status:#010x}"),
        IpmmuEvent::FaultLost {
            context: Some(context),
            iova,
        } => format!("report-lost context={context} iova={iova:#x}"),
        IpmmuEvent::FaultLost {
            context: None,
            iova,
        } => format!("report-lost iova={iova:#x}"),
        IpmmuEvent::FaultCleared { context } => format!("clear context={context}"),
        // The events may become more: a new one is shown rather than lost.
        _ => format!("other what={:?}", event.to_string()),
    }
}

/// Describes what the guest did to the registers of a Rockchip IOMMU, by meaning.
fn rockchip(event: &RockchipEvent) -> String {
    match *event {
        RockchipEvent::Directory { address } => format!("table address={address:#x}"),
        RockchipEvent::PagingEnabled => "enable".into(),
        RockchipEvent::PagingDisabled => "disable".into(),
        RockchipEvent::StallRequested => "stall".into(),
        RockchipEvent::Stalled => "stall-complete".into(),
        RockchipEvent::StallEnded => "stall-end".into(),
        RockchipEvent::ZapAll => "flush".into(),
        RockchipEvent::ZapLine { iova } => format!("flush iova={iova:#x}"),
        RockchipEvent::Reset => "reset".into(),
        RockchipEvent::PageFault { iova, access } => {
            format!("report iova={iova:#x} access={access}")
        }
        RockchipEvent::BusError { iova } => format!("report-bus-error iova={iova:#x}"),
        RockchipEvent::FaultLost { iova } => format!("report-lost iova={iova:#x}"),
        RockchipEvent::FaultDone => "report-done".into(),
        RockchipEvent::InterruptsCleared { interrupts } => {
            format!("clear interrupts={interrupts:#x}")
        }
        // The events may become more: a new one is shown rather than lost.
        _ => format!("other what={:?}", event.to_string()),
    }
}

/// Describes what the driver of a virtio-iommu did: its requests, with their status unless that is OK.
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
                IommuEvent::Ipmmu(&attach),
                "attach utlb=0 device=disk0+rng context=0",
            ),
            (IommuEvent::Ipmmu(&detach), "detach utlb=1"),
            (
                IommuEvent::Ipmmu(&recorded),
                "report context=0 iova=0x40001000 status=0x00003001",
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
