//! Each kind of fault of an IOMMU, from a plan's words to what the library is told. What comes of
//! it is tested there.

use viommu::inject::{DescriptorFault, DescriptorRead, Flush, FlushFault, Injector, Translation};
use viommu::virtio::{FaultReport, Request, spec::Status};
use viommu::{Access, DomainId, EndpointId, FaultReason, Requester};

use super::super::delayed_action::DelayedAction;
use super::super::engine::Injection;
use super::super::iommu::IommuPoints;
use super::super::testing::{armed, rules};

fn points(place: &str, keys: &str) -> IommuPoints {
    IommuPoints::new(
        &armed(&format!("where = \"{place}\"\nwhat = {keys}")),
        "iommu",
    )
}

/// A bus master that nobody named.
const NOBODY: Requester = Requester {
    endpoint: EndpointId(0),
    source: None,
};

const ACCESS: Translation = Translation {
    requester: NOBODY,
    domain: DomainId(0),
    iova: 0x1000,
    access: Access::Read,
};

#[test]
fn translations_are_refused_for_every_reason() {
    for (what, reason) in [
        ("translation", FaultReason::Translation),
        ("permission", FaultReason::Permission),
        ("access-flag", FaultReason::AccessFlag),
        ("format", FaultReason::Format),
        ("secure", FaultReason::Secure),
        ("abort", FaultReason::WalkAbort),
        ("multi-hit", FaultReason::MultipleHits),
    ] {
        let points = points("translation", &format!("\"{what}\""));
        let refused = points.translation(&ACCESS).map(|miss| miss.reason);
        assert_eq!(refused, Some(reason));
        assert_eq!(points.translation(&ACCESS), None, "once");
    }
}

#[test]
fn a_status_is_shown_later_and_the_access_goes_on() {
    let injection = armed("where = \"translation\"\nwhat = \"status\"\nvalue = 0x3717");
    let points = IommuPoints::new(&injection, "iommu");
    assert_eq!(points.translation(&ACCESS), None);
    let status = DelayedAction::Status {
        device: String::new(),
        status: 0x3717,
    };
    assert_eq!(injection.all_alarms(), [status]);
}

#[test]
fn descriptors_are_flipped_or_not_there() {
    let read = |value| DescriptorRead {
        requester: NOBODY,
        address: 0x4000_0000,
        value,
        bits: 64,
    };
    let told = |keys: &str, value| points("page-table", keys).descriptor(&read(value));
    let flip = "\"flip\"\nmask = 6";
    assert_eq!(told(flip, Some(3)), Some(DescriptorFault::Value(5)));
    assert_eq!(told(flip, None), Some(DescriptorFault::Abort));
    assert_eq!(told("\"abort\"", Some(3)), Some(DescriptorFault::Abort));
    // One bit, which the seed chooses.
    let Some(DescriptorFault::Value(value)) = told("\"flip\"", Some(0)) else {
        panic!("nothing was flipped");
    };
    assert_eq!(value.count_ones(), 1);
    // One that a short descriptor has.
    let short = DescriptorRead {
        bits: 32,
        ..read(Some(0))
    };
    let flips = points("page-table", "\"flip\"\nwhen = { every = 1 }");
    for _ in 0..100 {
        let fault = flips.descriptor(&short);
        assert!(
            matches!(fault, Some(DescriptorFault::Value(1..=0xffff_ffff))),
            "{fault:?}"
        );
    }
}

#[test]
fn flushes_are_late_stuck_or_ignored() {
    for (keys, fault) in [
        ("\"late\"\ncount = 5", FlushFault::Late(5)),
        ("\"stuck\"", FlushFault::Stuck),
        ("\"ignored\"", FlushFault::Ignored),
    ] {
        let flush = Flush {
            instance: "ipmmu0",
            context: 0,
        };
        assert_eq!(points("flush", keys).flush(&flush), Some(fault));
    }
}

#[test]
fn requests_are_refused_with_every_status_and_reports_lost() {
    for status in 0..=8 {
        let points = points("request", &format!("\"value\"\nvalue = {status}"));
        let told = points.request(&Request::Probe { endpoint: 1 });
        assert_eq!(told, Status::from_repr(status));
        assert!(told.is_some());
    }
    let report = FaultReport {
        reason: 0,
        flags: 0,
        endpoint: 1,
        address: 0x1000,
    };
    let points = points("report", "\"lost\"");
    assert!(points.loses_report(&report));
    assert!(!points.loses_report(&report), "once");
}

#[test]
fn a_plan_can_aim_at_one_of_several_iommus() {
    let injection = armed("where = \"request\"\nwhat = \"value\"\nvalue = 2\ndevice = \"viommu1\"");
    let [first, second] = ["viommu0", "viommu1"].map(|name| IommuPoints::new(&injection, name));
    let probe = Request::Probe { endpoint: 1 };
    assert_eq!(first.request(&probe), None);
    assert_eq!(second.request(&probe), Status::from_repr(2));
    let told = injection.account().told;
    assert!(
        told[0].text.starts_with("request of viommu1: value"),
        "{told:?}"
    );
}

/// A rule draws its numbers also where another one strikes first: what it does elsewhere stays the
/// same.
#[test]
fn rules_do_not_disturb_one_another() {
    let values = |first_at: &str| {
        let rules = rules(&format!(
            "[[fault]]\nwhere = \"page-table\"\nwhat = \"abort\"\nwhen = {{ nth = {first_at} }}\n\
             [[fault]]\nwhere = \"page-table\"\nwhat = \"flip\"\nwhen = {{ every = 1 }}\n"
        ));
        let injection = Injection::new();
        injection.arm(&rules, 5);
        let points = IommuPoints::new(&injection, "ipmmu0");
        let read = DescriptorRead {
            requester: NOBODY,
            address: 0x4000_0000,
            value: Some(0),
            bits: 64,
        };
        (0..20)
            .map(|_| points.descriptor(&read))
            .collect::<Vec<_>>()
    };
    let (alone, disturbed) = (values("1000"), values("3"));
    assert_eq!(disturbed[2], Some(DescriptorFault::Abort));
    assert_ne!(alone[2], disturbed[2]);
    assert_eq!(alone[..2], disturbed[..2]);
    assert_eq!(alone[3..], disturbed[3..]);
}
