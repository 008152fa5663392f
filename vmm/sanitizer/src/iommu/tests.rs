//! What is a mistake, and what is not.

use std::sync::Arc;

use viommu::{
    Access, Attachment, DomainId, EndpointId, Event, FaultReason, HitCheck, Miss, SourceId,
    StaleHit,
};
use vm_memory::Permissions;
use vmm_machine::{IommuEvent, IommuInfo, IommuModel, IommuSink};

use super::stale::PATIENCE_NS;
use crate::{Call, History, Kind, LastMapping, Origins, Report, Sanitizer};

const MS: u64 = 1_000_000;
const DOMAIN: DomainId = DomainId(0);
const PORT: EndpointId = EndpointId(0);

struct Rig {
    sanitizer: Arc<Sanitizer>,
    sink: Arc<dyn IommuSink>,
    iommu: IommuInfo,
}

impl Rig {
    fn new(options: &str) -> Self {
        let sanitizer = Sanitizer::new(options.parse().unwrap(), Box::new(|_| {}));
        Self {
            sink: sanitizer.sink(),
            sanitizer,
            iommu: IommuInfo {
                name: "ipmmu0".into(),
                contexts_of: "ipmmu0".into(),
                model: IommuModel::Ipmmu,
                masters: vec![vec!["disk0".into(), "rng".into()], Vec::new()],
                sources: vec!["disk0".into(), "rng".into()],
            },
        }
    }

    fn at(&self, at_ns: u64, event: &Event) {
        self.sink
            .event(&self.iommu, at_ns, &IommuEvent::Path(event));
    }

    fn hit(&self, at_ns: u64, iova: u64, now: Result<u64, FaultReason>) {
        let hit = StaleHit {
            endpoint: PORT,
            source: Some(SourceId(0)),
            domain: DOMAIN,
            iova,
            access: Access::Write,
            address: 0xc000_0000,
            now: now.map_err(Miss::new),
        };
        self.at(at_ns, &Event::StaleHit(hit));
    }

    fn ended(&self, at_ns: u64, iova: u64) {
        let event = Event::StaleEnded {
            endpoint: PORT,
            domain: DOMAIN,
            iova,
        };
        self.at(at_ns, &event);
    }

    fn access(&self, iova: u64) {
        let event = Event::Dma {
            endpoint: PORT,
            source: Some(SourceId(1)),
            iova,
            length: 16,
            access: Permissions::Read,
        };
        self.at(5, &event);
    }

    fn bus_error(&self, iova: u64) {
        let event = Event::BusError {
            endpoint: PORT,
            source: None,
            iova,
            address: iova,
            access: Access::Read,
        };
        self.at(5, &event);
    }

    fn attach(&self, to: Attachment) {
        let endpoint = PORT;
        self.at(1, &Event::Attached { endpoint, to });
    }

    fn reports(&self, end_ns: u64) -> Vec<Report> {
        self.sanitizer.finish(end_ns).reports
    }

    fn texts(&self, end_ns: u64) -> Vec<String> {
        let reports = self.reports(end_ns);
        reports.into_iter().map(|report| report.text).collect()
    }
}

const GONE: Result<u64, FaultReason> = Err(FaultReason::Translation);

#[test]
fn tables_that_lead_elsewhere_are_enough() {
    let rig = Rig::new("dma");
    rig.hit(7, 0x1010, Ok(0xc000_5000));
    let [report] = &rig.reports(8)[..] else {
        panic!("one report");
    };
    assert_eq!(
        report.text,
        "disk0 wrote IOVA 0x1010 through a translation to 0xc0000000 that was not invalidated, though \
         the page tables lead to 0xc0005000 by now"
    );
    assert_eq!((report.kind, report.at), (Kind::MissingInvalidation, 7));
}

#[test]
fn an_invalidation_is_waited_for() {
    let rig = Rig::new("dma");
    // In time: a kernel writes its tables first.
    rig.hit(0, 0x1010, GONE);
    rig.hit(1, 0x1020, GONE);
    rig.ended(PATIENCE_NS - 1, 0x1000);
    assert_eq!(rig.texts(10 * PATIENCE_NS), [""; 0]);
    // Of another page; then the run ends too early to say anything.
    let begun = 10 * PATIENCE_NS;
    rig.hit(begun, 0x1010, GONE);
    rig.ended(begun + 1, 0x2000);
    assert_eq!(rig.texts(begun + PATIENCE_NS - 1), [""; 0]);
    // Too late. The next event says how late it is.
    rig.hit(begun + PATIENCE_NS, 0x9000, GONE);
    assert_eq!(
        rig.texts(begun + PATIENCE_NS),
        [
            "disk0 wrote IOVA 0x1010 through a translation to 0xc0000000 that was not invalidated, which \
          the page tables no longer have, for 100 ms and longer"
        ]
    );
    rig.ended(begun + PATIENCE_NS + MS, 0x9000);
    assert_eq!(rig.texts(u64::MAX).len(), 1);
}

#[test]
fn the_end_of_a_run_is_late_enough() {
    let rig = Rig::new("dma");
    rig.hit(0, 0x1010, Err(FaultReason::Permission));
    let [text] = &rig.texts(PATIENCE_NS)[..] else {
        panic!("one report");
    };
    assert!(
        text.contains("which the page tables no longer allow"),
        "{text}"
    );
}

/// A kernel that has unmapped what is below 0x2000, and promises that it is invalidated.
struct Unmapped;

impl Origins for Unmapped {
    fn last_mapping(&self, device: &str, iova: u64) -> LastMapping {
        assert_eq!(device, "disk0");
        let call = Call {
            at: 3,
            core: None,
            stack: vec!["dma_unmap_page_attrs".into()],
        };
        LastMapping {
            history: History {
                unmapped: Some(call),
                ..History::default()
            },
            is_over: iova < 0x2000,
        }
    }
}

#[test]
fn a_kernel_that_says_it_is_over_is_taken_at_its_word() {
    let rig = Rig::new("dma");
    rig.sanitizer.set_origins(Arc::new(Unmapped));
    rig.hit(7, 0x1010, GONE);
    rig.hit(7, 0x2010, GONE);
    let [report] = &rig.reports(8)[..] else {
        panic!("one report");
    };
    assert!(
        report
            .text
            .ends_with("though the call that unmapped it has returned")
    );
    let unmapped = report.history.unmapped.as_ref().unwrap();
    assert_eq!(unmapped.stack, ["dma_unmap_page_attrs"]);
}

#[test]
fn an_address_that_was_translated_before_is_stray() {
    let rig = Rig::new("dma");
    let bypass = Attachment::Bypass;
    // Before it ever translated.
    rig.access(0x4000);
    rig.attach(bypass);
    rig.access(0x4000);
    rig.bus_error(0x4000);
    rig.attach(Attachment::Domain(DOMAIN));
    rig.access(0x4000);
    rig.bus_error(0x5000);
    rig.attach(bypass);
    // One that it may use, and one that it cannot mean.
    rig.access(0xc000_0000);
    assert_eq!(rig.texts(9), [""; 0]);
    rig.access(0x4ff8);
    // Of the same access.
    rig.bus_error(0x4ff8);
    rig.bus_error(0x7000);
    assert_eq!(
        rig.texts(9),
        [
            "rng read 0x4ff8 untranslated through uTLB 0 of ipmmu0, though it used this address when \
             its port translated",
            "disk0+rng read 0x7000 untranslated through uTLB 0 of ipmmu0, where no memory is; its port \
             translated before",
        ]
    );
    assert_eq!(rig.sanitizer.finish(9).total(), 2);
    // With another driver the addresses are others.
    rig.attach(Attachment::Domain(DomainId(1)));
    rig.attach(bypass);
    rig.access(0x4000);
    assert_eq!(rig.sanitizer.finish(9).total(), 2);
}

#[test]
fn an_access_over_several_pages_uses_all_of_them() {
    let rig = Rig::new("dma=stray-address");
    rig.attach(Attachment::Domain(DOMAIN));
    let event = Event::Dma {
        endpoint: PORT,
        source: None,
        iova: u64::MAX - 0x1fff,
        length: usize::MAX,
        access: Permissions::Write,
    };
    rig.at(1, &event);
    rig.attach(Attachment::Bypass);
    rig.access(u64::MAX - 15);
    assert_eq!(rig.sanitizer.finish(9).total(), 1);
}

#[test]
fn only_what_is_wanted_costs() {
    let wants = |options| {
        let sink = Rig::new(options).sink;
        (sink.hit_check(), sink.wants_dma())
    };
    assert_eq!(wants("dma"), (HitCheck::On, true));
    assert_eq!(wants("dma=stale"), (HitCheck::KeepAll, true));
    assert_eq!(wants("dma=leak"), (HitCheck::Off, false));
    assert_eq!(wants("dma=leak,stale"), (HitCheck::KeepAll, false));
    assert_eq!(wants("dma=missing-invalidation"), (HitCheck::On, false));
    assert_eq!(wants("dma=stray-address"), (HitCheck::Off, true));
}
