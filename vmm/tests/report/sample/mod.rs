//! A made-up pair of runs that tells the story of the lifecycle bug: two DMA controllers share a
//! micro-TLB, the probe of the second is deferred, and without the guard in `arch_teardown_dma_ops`
//! the first loses its translation.
//!
//! The order of events is that of Linux 6.1 with IPMMU_VMSA; times and counts are invented.

mod story;

use vmm::timeline::{
    Address, ChangedLocation, Decisive, Device, EventId, Finding, GuestChange, Kind, Lane, Machine,
    Mark, Observation, Report, Route, Run, Timeline, Verdict, VerdictKind,
};

const US: u64 = 1_000;
const MS: u64 = 1_000_000;
const IPMMU: &str = "e6280000.iommu";
const A: &str = "e6700000.dma-controller";
const B: &str = "e6720000.dma-controller";
/// When the second controller's probe is deferred.
const DEFERRED: u64 = 812 * MS + 340 * US;
/// When it is probed again.
const AGAIN: u64 = 1_431 * MS;
const END: u64 = 2_100 * MS;

/// The report; `extra` adds about as many events that mean nothing.
pub fn report(extra: u64) -> Report {
    let mut report = Report::new(
        "A deferred probe behind a shared micro-TLB: with the guard of 2017, and without it",
        Verdict::new(
            VerdictKind::Expected,
            "Without the guard, the deferred probe of B disabled uTLB 3, which A shares: A went on sending IOVAs, \
             which reached the bus untranslated. With the guard, every access of A was translated to the end.",
        ),
    );
    report.runs = [false, true]
        .map(|broken| describe(broken, story::record(broken, extra)))
        .into();
    report
}

fn describe(broken: bool, timeline: Timeline) -> Run {
    let changes = if broken {
        changes(&timeline)
    } else {
        Vec::new()
    };
    Run {
        name: if broken { "guard absent" } else { "stock" }.to_owned(),
        behaviour: if broken {
            "The early return of arch_teardown_dma_ops is taken away: as before the fix of 2017."
        } else {
            "The unmodified kernel: arch_teardown_dma_ops returns at once for a third-party mapping."
        }
        .to_owned(),
        health: if broken { Mark::Bad } else { Mark::Ok },
        verdict: Verdict::new(
            VerdictKind::Expected,
            if broken {
                "uTLB 3 died while A used it; 64 KiB at a time, A's IOVAs reached the bus untranslated."
            } else {
                "uTLB 3 stayed enabled from the first attach to the end; all DMA was translated."
            },
        ),
        machine: machine(),
        changes,
        findings: findings(broken),
        decisive: decisive(broken, &timeline),
        timeline,
    }
}

fn machine() -> Machine {
    let device = |name: &str, role: &str, description: &str| Device {
        name: name.to_owned(),
        role: Some(role.to_owned()),
        description: description.to_owned(),
        utlb: Some((IPMMU.to_owned(), 3)),
    };
    Machine {
        kernel: "ipmmu (Debian linux-source-6.1 6.1.192-2, zImage)".to_owned(),
        sha256: "9b1f0c3a5d7e8f60718293a4b5c6d7e8f90123456789abcdef0123456789abcd".to_owned(),
        version: Some("6.1.192-lab".to_owned()),
        command_line: "console=ttyS0 fw_devlink=off deferred_probe_timeout=30 dmatest.run=1"
            .to_owned(),
        seed: 1,
        cpus: 1,
        memory: 512 << 20,
        devices: vec![
            device(A, "A", "an R-Car SYS-DMAC that is bound and busy"),
            device(
                B,
                "B",
                "an R-Car SYS-DMAC whose probe is deferred until its clock appears",
            ),
        ],
    }
}

fn find(timeline: &Timeline, from: u64, wanted: impl Fn(&Lane, &Kind) -> bool) -> EventId {
    timeline
        .find(from, wanted)
        .expect("the sample tells the whole story")
}

fn teardown(timeline: &Timeline) -> EventId {
    find(
        timeline,
        0,
        |_, kind| matches!(kind, Kind::Probe { function, .. } if function == "arch_teardown_dma_ops"),
    )
}

fn changes(timeline: &Timeline) -> Vec<GuestChange> {
    vec![GuestChange {
        at: DEFERRED,
        event: Some(teardown(timeline)),
        behaviour: "guard-absent".to_owned(),
        place: ChangedLocation::Memory {
            address: Address(0xc1d4_2990),
            width: 1,
        },
        meaning: format!("dev->archdata.dma_ops_setup of {B}"),
        old: Address(0),
        new: Address(1),
    }]
}

fn decisive(broken: bool, timeline: &Timeline) -> Vec<Decisive> {
    let is_a = |lane: &Lane| matches!(lane, Lane::Device { name } if name == A);
    let is_b = |lane: &Lane| matches!(lane, Lane::Device { name } if name == B);
    let one = |event: EventId, mark: Mark, meaning: &str| Decisive {
        event,
        mark,
        meaning: meaning.to_owned(),
    };
    let enabled = find(timeline, 0, |_, kind| {
        matches!(
            kind,
            Kind::Attachment {
                to: Route::Context { .. }
            }
        )
    });
    let mut list = vec![
        one(
            enabled,
            Mark::Ok,
            "A is attached: uTLB 3 translates through context 0.",
        ),
        one(
            teardown(timeline),
            if broken { Mark::Bad } else { Mark::Ok },
            if broken {
                "B's probe is deferred; without the guard its teardown goes on to detach."
            } else {
                "B's probe is deferred; the guard returns at once, nothing is torn down."
            },
        ),
    ];
    let a_dma = find(timeline, DEFERRED + 100 * US, |lane, kind| {
        is_a(lane) && matches!(kind, Kind::Dma { .. })
    });
    if broken {
        let died = find(timeline, DEFERRED, |_, kind| {
            matches!(kind, Kind::Attachment { to: Route::Stray })
        });
        let error = find(timeline, DEFERRED, |lane, kind| {
            is_a(lane) && matches!(kind, Kind::BusError { .. })
        });
        let message = find(
            timeline,
            AGAIN,
            |_, kind| matches!(kind, Kind::Console { text } if text.contains("Failed to attached")),
        );
        list.push(one(
            died,
            Mark::Bad,
            "uTLB 3 is disabled, and never enabled again.",
        ));
        list.push(one(
            a_dma,
            Mark::Bad,
            "A still sends IOVAs; they reach the bus untranslated.",
        ));
        list.push(one(
            error,
            Mark::Bad,
            "No memory is there: A's transfers fail.",
        ));
        list.push(one(
            message,
            Mark::Bad,
            "B's second attach fails; B runs on without an IOMMU.",
        ));
    } else {
        let b_dma = find(timeline, AGAIN, |lane, kind| {
            is_b(lane) && matches!(kind, Kind::Dma { .. })
        });
        list.push(one(a_dma, Mark::Ok, "A's DMA goes on through context 0."));
        list.push(one(
            b_dma,
            Mark::Ok,
            "B, probed again, is translated as well.",
        ));
    }
    list
}

fn findings(broken: bool) -> Vec<Finding> {
    // Of each: what it is about, what the hypervisor sees, and what the guest says.
    let good = [
        "uTLB 3 | enabled on context 0 from 0.402 s to the end | no message",
        "A's DMA | all accesses translated | dmatest: no failures",
        "B's DMA | all accesses translated after the second probe | dmatest: 40 tests, 0 failures",
        "stray accesses | none | no bus errors reported",
        "use after free | none | no oops",
    ];
    let bad: [(&str, Mark, &str, Mark, &str); 5] = [
        (
            "uTLB 3",
            Mark::Bad,
            "disabled at 0.812 s by the teardown of B; never enabled again",
            Mark::Bad,
            "\"Unable to initialize IPMMU context\", \"Failed to attached device ... to IOMMU_mapping\"",
        ),
        (
            "A's DMA",
            Mark::Bad,
            "from 0.813 s on every IOVA reached the bus untranslated",
            Mark::Bad,
            "\"Channel Address Error\", dmatest: 'test timed out'",
        ),
        (
            "B's DMA",
            Mark::Bad,
            "physical addresses through a disabled uTLB",
            Mark::Ok,
            "dmatest: 40 tests, 0 failures (by luck)",
        ),
        (
            "stray accesses",
            Mark::Bad,
            "5 088 by A, all bus errors; 1 280 by B",
            Mark::None,
            "sees none of it",
        ),
        ("use after free", Mark::Ok, "none", Mark::Ok, "no oops"),
    ];
    let row = |subject: &str, host: (Mark, &str), guest: (Mark, &str)| Finding {
        subject: subject.to_owned(),
        hypervisor: Observation::new(host.0, host.1),
        guest: Observation::new(guest.0, guest.1),
    };
    if broken {
        bad.iter()
            .map(|(subject, mark, host, guest_mark, guest)| {
                row(subject, (*mark, host), (*guest_mark, guest))
            })
            .collect()
    } else {
        good.iter()
            .map(|line| {
                let [subject, host, guest] = [0, 1, 2].map(|n| line.split(" | ").nth(n).unwrap());
                row(subject, (Mark::Ok, host), (Mark::Ok, guest))
            })
            .collect()
    }
}
