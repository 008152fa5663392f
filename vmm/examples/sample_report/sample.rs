//! A made-up pair of runs that tells the story of the lifecycle bug: two DMA controllers share a micro-TLB, the probe
//! of the second is deferred, and without the guard in `arch_teardown_dma_ops` the first loses its translation.
//!
//! The order of events is that of Linux 6.1 with IPMMU_VMSA; times and counts are invented.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use vmm::observe::timeline::{
    Address, Argument, Burst, Decisive, Device, Direction, EventId, Finding, GuestChange, Kind, Lane,
    LaneId, Limits, Machine, Mark, Observation, Outcome, Place, Point, Recorder, Report, Route, Run,
    Timeline, Value, Verdict,
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
            Outcome::Expected,
            "Without the guard, the deferred probe of B disabled uTLB 3, which A shares: A went on sending IOVAs, \
             which reached the bus untranslated. With the guard, every access of A was translated to the end.",
        ),
    );
    report.runs = vec![run(false, extra), run(true, extra)];
    report
}

/// One run being recorded.
struct Story {
    clock: Arc<AtomicU64>,
    recorder: Recorder,
    broken: bool,
    extra: u64,
}

fn run(broken: bool, extra: u64) -> Run {
    let clock = Arc::new(AtomicU64::new(0));
    let time = Arc::clone(&clock);
    let story = Story {
        clock,
        recorder: Recorder::new(Limits::default(), move || time.load(Ordering::Relaxed)),
        broken,
        extra,
    };
    story.boot();
    story.first_probe();
    story.transfers(420 * MS, DEFERRED, Route::Context { context: 0 });
    story.deferral();
    let rest = if broken { Route::Stray } else { Route::Context { context: 0 } };
    story.transfers(DEFERRED + 900 * US, AGAIN, rest);
    story.second_probe();
    story.transfers(AGAIN + 4 * MS, END, rest);
    story.noise();
    story.clock.store(END, Ordering::Relaxed);
    describe(broken, story.recorder.timeline())
}

impl Story {
    fn at(&self, ns: u64) {
        self.clock.store(ns, Ordering::Relaxed);
    }

    fn utlb(&self) -> LaneId {
        self.recorder.lane(Lane::Utlb {
            unit: IPMMU.to_owned(),
            utlb: 3,
        })
    }

    fn device(&self, name: &str) -> LaneId {
        self.recorder.lane(Lane::Device {
            name: name.to_owned(),
        })
    }

    fn register(&self, ns: u64, lane: LaneId, register: &str, value: u64, meaning: &str) {
        self.at(ns);
        let kind = Kind::Register {
            register: register.to_owned(),
            value: Address(value),
            meaning: meaning.to_owned(),
        };
        self.recorder.record(lane, Some(0), kind);
    }

    fn attach(&self, ns: u64, to: Route) {
        self.at(ns);
        self.recorder
            .record(self.utlb(), Some(0), Kind::Attachment { to });
    }

    fn bind(&self, ns: u64, device: &str, driver: Option<&str>) {
        self.at(ns);
        let driver = driver.map(str::to_owned);
        self.recorder
            .record(self.device(device), Some(0), Kind::Binding { driver });
    }

    fn probe(&self, ns: u64, function: &str, arguments: &[(&str, Value)], action: Option<&str>) {
        self.at(ns);
        let kind = Kind::Probe {
            function: function.to_owned(),
            point: Point::Entry,
            arguments: arguments
                .iter()
                .map(|(name, value)| Argument {
                    name: (*name).to_owned(),
                    value: value.clone(),
                })
                .collect(),
            caller: Some("really_probe+0x1d0".to_owned()),
            actions: action.map(str::to_owned).into_iter().collect(),
        };
        let lane = self.recorder.lane(Lane::Probes);
        self.recorder.record(lane, Some(0), kind);
    }

    fn console(&self, ns: u64, line: &str) {
        self.at(ns);
        self.recorder.console(format!("{line}\r\n").as_bytes());
    }

    fn boot(&self) {
        let unit = self.recorder.lane(Lane::Unit {
            unit: IPMMU.to_owned(),
        });
        self.console(3 * MS, "Booting Linux on physical CPU 0x0");
        self.console(12 * MS, "Linux version 6.1.0-lab (gcc 12.2.0) #1 SMP");
        for context in 0..4_u64 {
            let name = format!("IMCTR({context})");
            let ns = 310 * MS + context * 3 * US;
            self.register(ns, unit, &name, 0, "context reset");
        }
        self.console(311 * MS, "ipmmu-vmsa e6280000.iommu: registered IPMMU-VMSA without TLB flush");
    }

    /// What the driver writes to have a device translated (drivers/iommu/ipmmu-vmsa.c).
    fn attach_sequence(&self, mut ns: u64, first: bool) {
        let context = self.recorder.lane(Lane::Context {
            unit: IPMMU.to_owned(),
            context: 0,
        });
        let setup: [(&str, u64, &str); 6] = [
            ("IMTTLBR0(0)", 0x81a3_8000, "table base, low word"),
            ("IMTTUBR0(0)", 0, "table base, high word"),
            ("IMTTBCR(0)", 0x8000_3510, "long descriptors, write-back, inner shareable"),
            ("IMMAIR0(0)", 0xf404_ff44, "memory attributes"),
            ("IMSTR(0)", 0, "status cleared"),
            ("IMCTR(0)", 7, "enabled, flushed, interrupts on"),
        ];
        for (register, value, meaning) in setup.iter().filter(|_| first) {
            self.register(ns, context, register, *value, meaning);
            ns += 2 * US;
        }
        self.register(ns, self.utlb(), "IMUASID(3)", 0, "no address space number");
        self.register(ns + US, self.utlb(), "IMUCTR(3)", 3, "uTLB 3 enabled on context 0, flushed");
        self.attach(ns + US, Route::Context { context: 0 });
    }

    fn first_probe(&self) {
        let name = [("dev.name", Value::Text(A.to_owned()))];
        self.probe(402 * MS, "of_iommu_configure", &name, None);
        self.attach_sequence(402 * MS + 80 * US, true);
        self.bind(404 * MS, A, Some("rcar-dmac"));
        self.console(405 * MS, "dmatest: Started 1 threads using dma0chan0");
    }

    /// A's transfers, one of 64 KiB each 8 ms: reads, writes, and an interrupt.
    fn transfers(&self, from: u64, until: u64, route: Route) {
        let mut ns = from;
        let mut number = 0_u64;
        while ns + 400 * US < until {
            let (source, target) = (0x4000_0000 + (number % 8) * 0x2_0000, 0x4080_0000 + (number % 8) * 0x2_0000);
            self.transfer(ns, A, (source, target), route, number < 8);
            number += 1;
            ns += 8 * MS;
        }
    }

    fn transfer(&self, ns: u64, name: &str, buffers: (u64, u64), route: Route, new: bool) {
        let device = self.device(name);
        let context = self.recorder.lane(Lane::Context {
            unit: IPMMU.to_owned(),
            context: 0,
        });
        for page in 0..16_u64 {
            let now = ns + page * 12 * US;
            self.at(now);
            for (base, direction) in [(buffers.0, Direction::Read), (buffers.1, Direction::Write)] {
                let iova = base + page * 0x1000;
                if new && route == (Route::Context { context: 0 }) {
                    let burst = Burst::one(now, iova, 0x1000);
                    let physical = Address(0x8200_0000 + (iova & 0xff_ffff));
                    self.recorder
                        .record(context, None, Kind::Filled { burst, physical });
                }
                let burst = Burst::one(now, iova, 0x1000);
                let kind = Kind::Dma {
                    burst,
                    direction,
                    route,
                };
                self.recorder.record(device, None, kind);
                let no_memory = iova < 0x8000_0000;
                if route == Route::Stray && no_memory {
                    let kind = Kind::BusError {
                        burst: Burst::one(now, iova, 0),
                        direction,
                        physical: Address(iova),
                    };
                    self.recorder.record(device, None, kind);
                }
            }
        }
        self.at(ns + 220 * US);
        let line = if name == A { 229 } else { 252 };
        self.recorder.interrupt(line, name, true);
        self.at(ns + 231 * US);
        self.recorder.interrupt(line, name, false);
    }

    fn deferral(&self) {
        let name = ("dev.name", Value::Text(B.to_owned()));
        self.probe(DEFERRED - 500 * US, "of_iommu_configure", std::slice::from_ref(&name), None);
        self.attach_sequence(DEFERRED - 420 * US, false);
        self.console(DEFERRED - 100 * US, "rcar-dmac e6720000.dma-controller: probe deferred: clock not ready");
        let ops = ("dev.dma_ops", Value::Pointer(Address(0xc0a1_3f20), Some("iommu_ops".to_owned())));
        let setup = ("dev.archdata.dma_ops_setup", Value::Number(0));
        self.probe(
            DEFERRED,
            "arch_teardown_dma_ops",
            &[name, setup, ops],
            self.broken.then_some("dev.archdata.dma_ops_setup: 0 -> 1"),
        );
        if self.broken {
            self.register(DEFERRED + 40 * US, self.utlb(), "IMUCTR(3)", 0, "uTLB 3 disabled");
            self.attach(DEFERRED + 40 * US, Route::Stray);
            for number in 0..6 {
                let ns = DEFERRED + 3 * MS + number * 80 * MS;
                self.console(ns, "rcar-dmac e6700000.dma-controller: Channel Address Error happen on dma0chan0");
                self.console(ns + MS, "dmatest: dma0chan0-copy0: result #52: 'test timed out' with src_off=0x0 len=0x10000 (0)");
            }
        }
    }

    fn second_probe(&self) {
        let name = [("dev.name", Value::Text(B.to_owned()))];
        self.probe(AGAIN, "of_iommu_configure", &name, None);
        if self.broken {
            self.console(AGAIN + 200 * US, "ipmmu-vmsa e6280000.iommu: Unable to initialize IPMMU context");
            self.console(
                AGAIN + 400 * US,
                "e6720000.dma-controller: Failed to attached device e6720000.dma-controller to IOMMU_mapping",
            );
        }
        self.bind(AGAIN + 900 * US, B, Some("rcar-dmac"));
        self.console(AGAIN + MS, "dmatest: Started 1 threads using dma1chan0");
        for number in 0..40_u64 {
            let ns = AGAIN + 6 * MS + number * 16 * MS;
            if self.broken {
                // No dma_ops: physical addresses, which happen to be right.
                self.transfer(ns, B, (0x8400_0000, 0x8410_0000), Route::Stray, false);
            } else {
                let route = Route::Context { context: 0 };
                self.transfer(ns, B, (0x4100_0000, 0x4110_0000), route, number < 1);
            }
        }
        self.console(END - 20 * MS, "dmatest: dma1chan0-copy0: summary 40 tests, 0 failures");
    }

    /// Timer interrupts and chatter.
    fn noise(&self) {
        let step = END / (self.extra + 1);
        for number in 0..self.extra {
            self.at(number * step);
            if number % 10 == 0 {
                self.recorder.console(format!("chatter {number}\n").as_bytes());
            } else {
                self.recorder.interrupt(27 + (number % 8) as u32 * 100, "timer", true);
                self.at(number * step + 2 * US);
                self.recorder.interrupt(27 + (number % 8) as u32 * 100, "timer", false);
            }
        }
    }
}

fn describe(broken: bool, timeline: Timeline) -> Run {
    let changes = if broken { changes(&timeline) } else { Vec::new() };
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
            Outcome::Expected,
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
        command_line: "console=ttyS0 fw_devlink=off deferred_probe_timeout=30 dmatest.run=1".to_owned(),
        seed: 1,
        cpus: 1,
        memory: 512 << 20,
        devices: vec![
            device(A, "A", "an R-Car SYS-DMAC that is bound and busy"),
            device(B, "B", "an R-Car SYS-DMAC whose probe is deferred until its clock appears"),
        ],
    }
}

fn find(timeline: &Timeline, from: u64, wanted: impl Fn(&Lane, &Kind) -> bool) -> EventId {
    timeline
        .find(from, wanted)
        .expect("the sample tells the whole story")
}

fn teardown(timeline: &Timeline) -> EventId {
    find(timeline, 0, |_, kind| {
        matches!(kind, Kind::Probe { function, .. } if function == "arch_teardown_dma_ops")
    })
}

fn changes(timeline: &Timeline) -> Vec<GuestChange> {
    vec![GuestChange {
        at: DEFERRED,
        event: Some(teardown(timeline)),
        behaviour: "guard-absent".to_owned(),
        place: Place::Memory {
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
        matches!(kind, Kind::Attachment { to: Route::Context { .. } })
    });
    let mut list = vec![
        one(enabled, Mark::Ok, "A is attached: uTLB 3 translates through context 0."),
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
        let message = find(timeline, AGAIN, |_, kind| {
            matches!(kind, Kind::Console { text } if text.contains("Failed to attached"))
        });
        list.push(one(died, Mark::Bad, "uTLB 3 is disabled, and never enabled again."));
        list.push(one(a_dma, Mark::Bad, "A still sends IOVAs; they reach the bus untranslated."));
        list.push(one(error, Mark::Bad, "No memory is there: A's transfers fail."));
        list.push(one(message, Mark::Bad, "B's second attach fails; B runs on without an IOMMU."));
    } else {
        let b_dma = find(timeline, AGAIN, |lane, kind| {
            is_b(lane) && matches!(kind, Kind::Dma { .. })
        });
        list.push(one(a_dma, Mark::Ok, "A's DMA goes on through context 0."));
        list.push(one(b_dma, Mark::Ok, "B, probed again, is translated as well."));
    }
    list
}

fn findings(broken: bool) -> Vec<Finding> {
    let good: [(&str, &str, &str); 5] = [
        ("uTLB 3", "enabled on context 0 from 0.402 s to the end", "no message"),
        ("A's DMA", "all accesses translated", "dmatest: no failures"),
        ("B's DMA", "all accesses translated after the second probe", "dmatest: 40 tests, 0 failures"),
        ("stray accesses", "none", "no bus errors reported"),
        ("use after free", "none", "no oops"),
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
        ("stray accesses", Mark::Bad, "5 088 by A, all bus errors; 1 280 by B", Mark::None, "sees none of it"),
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
            .map(|(subject, host, guest)| row(subject, (Mark::Ok, host), (Mark::Ok, guest)))
            .collect()
    }
}
