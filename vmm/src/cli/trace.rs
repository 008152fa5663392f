//! What `--trace` prints: one line an event on stderr, in a form that stays.

use std::fmt::Write as _;
use std::io::Write as _;

use viommu::{Attachment, EndpointId, Event, Scope};
use vmm::{IommuInfo, IommuSink};

/// Prints what happens at IOMMUs.
#[derive(Debug)]
pub struct IommuTrace;

impl IommuSink for IommuTrace {
    fn event(&self, iommu: &IommuInfo, at_ns: u64, event: &Event) {
        if let Some(line) = line(iommu, at_ns, event) {
            // A stderr that went away is no reason to stop.
            let _ = writeln!(std::io::stderr(), "{line}");
        }
    }
}

/// `iommu SECONDS NAME EVENT KEY=VALUE...`, or nothing for events that are not traced.
fn line(iommu: &IommuInfo, at_ns: u64, event: &Event) -> Option<String> {
    let words = match event {
        Event::Attached { endpoint, to } => {
            let port = port(iommu, *endpoint);
            match to {
                Attachment::Domain(context) => format!("attach {port} context={}", context.0),
                Attachment::Bypass => format!("detach {port}"),
                Attachment::Blocked => format!("block {port}"),
            }
        }
        Event::Invalidated(scope) => match scope {
            Scope::All => "flush all".to_owned(),
            Scope::Domain(context) => format!("flush context={}", context.0),
            Scope::Range(context, first, last) => {
                format!("flush context={} iova={first:#x}..={last:#x}", context.0)
            }
        },
        Event::Fault(fault) => {
            let mut words = format!("fault {}", port(iommu, fault.endpoint));
            if let Some(context) = fault.domain {
                let _ = write!(words, " context={}", context.0);
            }
            let _ = write!(words, " iova={:#x} access={}", fault.iova, fault.access);
            if let Some(level) = fault.level {
                let _ = write!(words, " level={level}");
            }
            let _ = write!(words, " reason={:?}", fault.reason.to_string());
            words
        }
        Event::BusError {
            endpoint,
            iova,
            address,
            access,
        } => format!(
            "bus-error {} iova={iova:#x} address={address:#x} access={access}",
            port(iommu, *endpoint)
        ),
        _ => return None,
    };
    let (seconds, ns) = (at_ns / 1_000_000_000, at_ns % 1_000_000_000);
    Some(format!("iommu {seconds}.{ns:09} {} {words}", iommu.name))
}

fn port(iommu: &IommuInfo, endpoint: EndpointId) -> String {
    let masters = iommu.masters.get(endpoint.0 as usize);
    let masters = masters.map(|names| names.join("+")).unwrap_or_default();
    let masters = if masters.is_empty() {
        String::new()
    } else {
        format!(" device={masters}")
    };
    format!("utlb={}{masters}", endpoint.0)
}

#[cfg(test)]
mod tests {
    use viommu::{Access, DomainId, Fault, FaultReason};

    use super::*;

    #[test]
    fn each_event_is_one_line() {
        let iommu = IommuInfo {
            name: "ipmmu0".into(),
            masters: vec![vec!["disk0".into(), "rng".into()], Vec::new()],
        };
        let fault = Fault {
            endpoint: EndpointId(1),
            domain: Some(DomainId(0)),
            iova: 0x4000_1000,
            access: Access::Write,
            reason: FaultReason::Translation,
            level: Some(3),
        };
        let cases = [
            (
                Event::Attached {
                    endpoint: EndpointId(0),
                    to: Attachment::Domain(DomainId(0)),
                },
                "attach utlb=0 device=disk0+rng context=0",
            ),
            (
                Event::Attached {
                    endpoint: EndpointId(1),
                    to: Attachment::Bypass,
                },
                "detach utlb=1",
            ),
            (
                Event::Invalidated(Scope::Domain(DomainId(2))),
                "flush context=2",
            ),
            (
                Event::Fault(fault),
                "fault utlb=1 context=0 iova=0x40001000 access=write level=3 reason=\"translation fault\"",
            ),
            (
                Event::BusError {
                    endpoint: EndpointId(0),
                    iova: 0x10,
                    address: 0x20,
                    access: Access::Read,
                },
                "bus-error utlb=0 device=disk0+rng iova=0x10 address=0x20 access=read",
            ),
        ];
        for (event, words) in cases {
            let wanted = format!("iommu 1.000000005 ipmmu0 {words}");
            assert_eq!(line(&iommu, 1_000_000_005, &event), Some(wanted));
        }
    }
}
