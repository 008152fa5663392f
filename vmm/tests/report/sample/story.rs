//! The two runs, recorded event by event.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use vmm::timeline::{
    Address, Argument, Burst, Direction, Kind, Lane, LaneId, Limits, Point, Recorder, Route,
    Timeline, Value,
};

use super::{A, AGAIN, B, DEFERRED, END, IPMMU, MS, US};

/// Records one run.
pub fn record(broken: bool, extra: u64) -> Timeline {
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
    let rest = if broken {
        Route::Stray
    } else {
        Route::Context { context: 0 }
    };
    story.transfers(DEFERRED + 900 * US, AGAIN, rest);
    story.second_probe();
    story.transfers(AGAIN + 4 * MS, END, rest);
    story.noise();
    story.clock.store(END, Ordering::Relaxed);
    story.recorder.timeline()
}

/// One run being recorded.
struct Story {
    clock: Arc<AtomicU64>,
    recorder: Recorder,
    broken: bool,
    extra: u64,
}

impl Story {
    fn at(&self, ns: u64) {
        self.clock.store(ns, Ordering::Relaxed);
    }

    fn utlb(&self) -> LaneId {
        self.recorder.lane(Lane::Utlb {
            unit: IPMMU.to_owned(),
            utlb: 3,
            virtio: false,
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
            value: Some(Address(value)),
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
        self.console(
            311 * MS,
            "ipmmu-vmsa e6280000.iommu: registered IPMMU-VMSA without TLB flush",
        );
    }

    /// What the driver writes to have a device translated (drivers/iommu/ipmmu-vmsa.c).
    fn attach_sequence(&self, mut ns: u64, first: bool) {
        let context = self.recorder.lane(Lane::Context {
            unit: IPMMU.to_owned(),
            context: 0,
            virtio: false,
        });
        let setup: [(&str, u64, &str); 6] = [
            ("IMTTLBR0(0)", 0x81a3_8000, "table base, low word"),
            ("IMTTUBR0(0)", 0, "table base, high word"),
            (
                "IMTTBCR(0)",
                0x8000_3510,
                "long descriptors, write-back, inner shareable",
            ),
            ("IMMAIR0(0)", 0xf404_ff44, "memory attributes"),
            ("IMSTR(0)", 0, "status cleared"),
            ("IMCTR(0)", 7, "enabled, flushed, interrupts on"),
        ];
        for (register, value, meaning) in setup.iter().filter(|_| first) {
            self.register(ns, context, register, *value, meaning);
            ns += 2 * US;
        }
        self.register(ns, self.utlb(), "IMUASID(3)", 0, "no address space number");
        self.register(
            ns + US,
            self.utlb(),
            "IMUCTR(3)",
            3,
            "uTLB 3 enabled on context 0, flushed",
        );
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
            let (source, target) = (
                0x4000_0000 + (number % 8) * 0x2_0000,
                0x4080_0000 + (number % 8) * 0x2_0000,
            );
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
            virtio: false,
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
        self.probe(
            DEFERRED - 500 * US,
            "of_iommu_configure",
            std::slice::from_ref(&name),
            None,
        );
        self.attach_sequence(DEFERRED - 420 * US, false);
        self.console(
            DEFERRED - 100 * US,
            "rcar-dmac e6720000.dma-controller: probe deferred: clock not ready",
        );
        let ops = (
            "dev.dma_ops",
            Value::Pointer(Address(0xc0a1_3f20), Some("iommu_ops".to_owned())),
        );
        let setup = ("dev.archdata.dma_ops_setup", Value::Number(0));
        self.probe(
            DEFERRED,
            "arch_teardown_dma_ops",
            &[name, setup, ops],
            self.broken.then_some("dev.archdata.dma_ops_setup: 0 -> 1"),
        );
        if self.broken {
            self.register(
                DEFERRED + 40 * US,
                self.utlb(),
                "IMUCTR(3)",
                0,
                "uTLB 3 disabled",
            );
            self.attach(DEFERRED + 40 * US, Route::Stray);
            for number in 0..6 {
                let ns = DEFERRED + 3 * MS + number * 80 * MS;
                self.console(
                    ns,
                    "rcar-dmac e6700000.dma-controller: Channel Address Error happen on dma0chan0",
                );
                self.console(
                    ns + MS,
                    "dmatest: dma0chan0-copy0: result #52: 'test timed out' with \
                    src_off=0x0 len=0x10000 (0)",
                );
            }
        }
    }

    fn second_probe(&self) {
        let name = [("dev.name", Value::Text(B.to_owned()))];
        self.probe(AGAIN, "of_iommu_configure", &name, None);
        if self.broken {
            self.console(
                AGAIN + 200 * US,
                "ipmmu-vmsa e6280000.iommu: Unable to initialize IPMMU context",
            );
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
        self.console(
            END - 20 * MS,
            "dmatest: dma1chan0-copy0: summary 40 tests, 0 failures",
        );
    }

    /// Timer interrupts and chatter.
    fn noise(&self) {
        let step = END / (self.extra + 1);
        for number in 0..self.extra {
            self.at(number * step);
            if number % 10 == 0 {
                self.recorder
                    .console(format!("chatter {number}\n").as_bytes());
            } else {
                self.recorder
                    .interrupt(27 + (number % 8) as u32 * 100, "timer", true);
                self.at(number * step + 2 * US);
                self.recorder
                    .interrupt(27 + (number % 8) as u32 * 100, "timer", false);
            }
        }
    }
}
