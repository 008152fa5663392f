//! A recorder against what it should keep.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;
use viommu::{Attachment, DomainId, EndpointId, Observer};
use vm_memory::Permissions;

use super::*;

const CONTEXT: Route = Route::Context { context: 0 };

/// Returns a recorder and its clock.
fn recorder(limits: Limits) -> (Arc<AtomicU64>, Arc<Recorder>) {
    let clock = Arc::new(AtomicU64::new(0));
    let time = Arc::clone(&clock);
    let recorder = Recorder::new(limits, move || time.load(Ordering::Relaxed));
    (clock, Arc::new(recorder))
}

fn device(name: &str) -> Lane {
    Lane::Device {
        name: name.to_owned(),
    }
}

fn dma(at: u64, iova: u64, bytes: u64, direction: Direction, route: Route) -> Kind {
    Kind::Dma {
        burst: Burst::one(at, iova, bytes),
        direction,
        route,
    }
}

fn probe(function: &str) -> Kind {
    Kind::Probe {
        function: function.to_owned(),
        point: Point::Entry,
        arguments: Vec::new(),
        caller: None,
        actions: Vec::new(),
    }
}

#[test]
fn a_large_transfer_is_few_events() {
    let (clock, recorder) = recorder(Limits::default());
    let lane = recorder.lane(device("a"));
    for page in 0..16_384_u64 {
        clock.store(page * 1_000, Ordering::Relaxed);
        recorder.record_with(lane, None, |at| {
            dma(at, page << 12, 4096, Direction::Write, CONTEXT)
        });
    }
    let timeline = recorder.timeline();
    assert!(timeline.events.len() <= 4, "{}", timeline.events.len());
    let bursts: Vec<&Burst> = timeline
        .events
        .iter()
        .filter_map(|e| e.kind.burst())
        .collect();
    assert_eq!(bursts.iter().map(|b| b.count).sum::<u64>(), 16_384);
    assert_eq!(bursts.iter().map(|b| b.bytes).sum::<u64>(), 64 << 20);
    assert_eq!(bursts[0].lowest, Address(0));
    assert_eq!(bursts.last().unwrap().highest, Address((64 << 20) - 1));
}

#[test]
fn a_burst_ends_with_its_direction_its_route_a_pause_and_an_explanation() {
    let (clock, recorder) = recorder(Limits::default());
    let lane = recorder.lane(device("a"));
    let probes = recorder.lane(Lane::Probes);
    let put = |at: u64, direction, route| {
        clock.store(at, Ordering::Relaxed);
        recorder.record(lane, None, dma(at, 0x1000, 4, direction, route));
    };
    put(0, Direction::Read, CONTEXT);
    put(10, Direction::Write, CONTEXT);
    put(20, Direction::Read, CONTEXT); // Joins the first.
    put(30, Direction::Read, Route::Stray);
    put(400_000, Direction::Read, CONTEXT);
    recorder.record(probes, Some(1), probe("f"));
    put(400_010, Direction::Read, CONTEXT);
    let timeline = recorder.timeline();
    let counts: Vec<u64> = timeline
        .events
        .iter()
        .filter_map(|event| event.kind.burst())
        .map(|burst| burst.count)
        .collect();
    assert_eq!(counts, [2, 1, 1, 1, 1]);
}

#[test]
fn lanes_are_ordered_by_name_and_events_by_time() {
    let (clock, recorder) = recorder(Limits::default());
    let console = recorder.lane(Lane::Console);
    let late = recorder.lane(device("b"));
    let early = recorder.lane(device("a"));
    clock.store(50, Ordering::Relaxed);
    recorder.record(late, None, Kind::Binding { driver: None });
    recorder.record_event(Event {
        at: 10,
        core: None,
        lane: early,
        kind: Kind::Binding {
            driver: Some("x".to_owned()),
        },
    });
    recorder.record(console, None, Kind::Console { text: "y".into() });
    let timeline = recorder.timeline();
    assert_eq!(timeline.lanes, [device("a"), device("b"), Lane::Console]);
    let order: Vec<(u64, u16)> = timeline.events.iter().map(|e| (e.at, e.lane.0)).collect();
    assert_eq!(order, [(10, 0), (50, 1), (50, 2)]);
    assert_eq!(timeline.end, 50);
}

#[test]
fn floods_leave_room_for_explanations_and_are_counted() {
    let limits = Limits {
        events: 20,
        bulk: 10,
        lanes: 2,
        ..Limits::default()
    };
    let (clock, recorder) = recorder(limits);
    let lane = recorder.lane(device("a"));
    for number in 0..100_u64 {
        let now = number * 1_000_000_000;
        clock.store(now, Ordering::Relaxed);
        recorder.record(lane, None, dma(now, 0, 1, Direction::Read, Route::Stray));
    }
    let probes = recorder.lane(Lane::Probes);
    for _ in 0..15 {
        recorder.record(probes, None, probe("f"));
    }
    let beyond = recorder.lane(Lane::Console);
    recorder.record(beyond, None, Kind::Console { text: "x".into() });
    let timeline = recorder.timeline();
    assert_eq!(timeline.events.len(), 20);
    assert_eq!(timeline.lanes.len(), 2);
    let dropped: Vec<(Category, u64)> = timeline
        .dropped
        .iter()
        .map(|d| (d.category, d.count))
        .collect();
    assert_eq!(
        dropped,
        [
            (Category::Probe, 5),
            (Category::Dma, 90),
            (Category::Console, 1)
        ]
    );
}

#[test]
fn console_bytes_become_safe_lines() {
    let (clock, recorder) = recorder(Limits::default());
    clock.store(5, Ordering::Relaxed);
    recorder.console(b"one\r\ntw");
    clock.store(9, Ordering::Relaxed);
    recorder.console(b"o\x1b[2J\n\n\nthree");
    recorder.console(&[b'x'; 5_000]);
    let timeline = recorder.timeline();
    let lines: Vec<(u64, String)> = timeline
        .events
        .iter()
        .map(|event| match &event.kind {
            Kind::Console { text } => (event.at, text.clone()),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(lines[0], (5, "one".to_owned()));
    assert_eq!(lines[1], (5, "two\\u{1b}[2J".to_owned()));
    assert!(lines[2].1.starts_with("threexxx") && lines[2].1.chars().count() <= 513);
    assert_eq!(lines.len(), 3);
}

#[test]
fn interrupts_that_recur_soon_are_one_event() {
    let (clock, recorder) = recorder(Limits::default());
    for (at, active) in [
        (0, true),
        (10, false),
        (20, true),
        (20, true),
        (30, false),
        (30, false),
    ] {
        clock.store(at, Ordering::Relaxed);
        recorder.interrupt(40, "a", active);
    }
    clock.store(500_000_000, Ordering::Relaxed);
    recorder.interrupt(40, "a", true);
    recorder.interrupt(41, "b", false);
    let timeline = recorder.timeline();
    let seen: Vec<(u64, u64, Option<u64>)> = timeline
        .events
        .iter()
        .map(|event| match event.kind {
            Kind::Interrupt { pulses, until, .. } => (event.at, pulses, until),
            _ => panic!("{event:?}"),
        })
        .collect();
    assert_eq!(seen, [(0, 2, Some(30)), (500_000_000, 1, None)]);
}

#[test]
fn a_unit_s_events_tell_who_reached_what() {
    let (clock, recorder) = recorder(Limits::default());
    let instances = [("iommu", 4), ("other", 4)];
    let masters = [("iommu", 3, "a"), ("iommu", 3, "b"), ("other", 1, "c")];
    let observer = UnitObserver::new(Arc::clone(&recorder), &instances, &masters, true, false);
    assert!(observer.wants_dma());
    let access = |endpoint: u32, master| {
        let event = viommu::Event::Dma {
            endpoint: EndpointId(endpoint),
            source: None,
            iova: 0x4000_0000,
            length: 64,
            access: Permissions::Read,
        };
        observer.record(&event, master);
    };
    let attach = |endpoint: u32, to| {
        let endpoint = EndpointId(endpoint);
        observer.event(&viommu::Event::Attached { endpoint, to });
    };
    access(5, None);
    clock.store(100, Ordering::Relaxed);
    attach(3, Attachment::Domain(DomainId(0)));
    let a = Some(recorder.lane(device("a")));
    access(3, a);
    attach(3, Attachment::Bypass);
    access(3, a);
    clock.store(200, Ordering::Relaxed);
    access(3, None);
    let timeline = recorder.timeline();
    let seen: Vec<(String, Route)> = timeline
        .events
        .iter()
        .filter_map(|event| match event.kind {
            Kind::Dma { route, .. } => Some((timeline.lane(event.lane)?.to_string(), route)),
            _ => None,
        })
        .collect();
    let expected = [
        ("c", Route::Untranslated),
        ("a", CONTEXT),
        ("a", Route::Stray),
        ("iommu uTLB 3", Route::Stray),
    ];
    assert_eq!(seen, expected.map(|(lane, route)| (lane.to_owned(), route)));
    let states: Vec<(String, u64, u64, State)> = timeline
        .intervals
        .iter()
        .map(|i| {
            (
                timeline.lane(i.lane).unwrap().to_string(),
                i.from,
                i.until,
                i.state.clone(),
            )
        })
        .collect();
    assert_eq!(
        states,
        [
            (
                "iommu uTLB 3".to_owned(),
                0,
                100,
                State::Disabled { lost: false }
            ),
            (
                "iommu uTLB 3".to_owned(),
                100,
                200,
                State::Disabled { lost: true }
            ),
            (
                "other uTLB 1".to_owned(),
                0,
                200,
                State::Disabled { lost: false }
            ),
        ]
    );
}

#[test]
fn a_timeline_survives_json() {
    let (_, recorder) = recorder(Limits::default());
    let lane = recorder.lane(device("a"));
    let burst = Burst::one(0, u64::MAX, 8);
    for kind in [
        dma(0, 0x4000_0000, 64, Direction::Read, CONTEXT),
        Kind::Filled {
            burst,
            physical: Address(u64::MAX),
        },
        Kind::Fault {
            burst,
            direction: Direction::Write,
            reason: "translation fault".to_owned(),
            level: Some(2),
        },
        Kind::Invalidated {
            burst,
            range: Some((Address(0), Address(u64::MAX))),
        },
        Kind::Attachment { to: Route::Blocked },
        Kind::Mistake {
            mistake: "leak".to_owned(),
            text: "a kept it".to_owned(),
        },
        Kind::Verdict {
            ok: false,
            text: "x".to_owned(),
        },
        Kind::Probe {
            function: "f".to_owned(),
            point: Point::Offset(8),
            arguments: vec![Argument {
                name: "p".to_owned(),
                value: Value::Pointer(Address(0xc000_0000), Some("s".to_owned())),
            }],
            caller: Some("g+0x4".to_owned()),
            actions: vec!["r0: 0x1 -> 0x0".to_owned()],
        },
    ] {
        recorder.record(lane, Some(1), kind);
    }
    let timeline = recorder.timeline();
    let json = serde_json::to_string(&timeline).unwrap();
    assert!(json.contains("\"0xffffffffffffffff\""));
    assert_eq!(serde_json::from_str::<Timeline>(&json).unwrap(), timeline);
    assert!(serde_json::from_str::<Address>("\"12\"").is_err());
}

proptest! {
    /// Whatever is recorded: nothing is lost without being counted, order and bounds hold.
    #[test]
    fn counts_and_order_hold(
        steps in proptest::collection::vec((0_u64..200_000, 0_u8..6, 0_u8..2, any::<bool>()), 0..300)
    ) {
        let limits = Limits { events: 60, bulk: 40, ..Limits::default() };
        let (clock, recorder) = recorder(limits);
        let lanes = [recorder.lane(device("a")), recorder.lane(device("b"))];
        let (mut now, mut accesses, mut probes) = (0, 0, 0);
        for (wait, what, lane, write) in steps {
            now += wait;
            clock.store(now, Ordering::Relaxed);
            let direction = if write { Direction::Write } else { Direction::Read };
            let lane = lanes[usize::from(lane)];
            if what == 0 {
                probes += 1;
                recorder.record(lane, None, probe("f"));
            } else {
                accesses += 1;
                let route = if what == 1 { Route::Stray } else { CONTEXT };
                recorder.record(lane, None, dma(now, now, 1, direction, route));
            }
        }
        let timeline = recorder.timeline();
        prop_assert!(timeline.events.len() <= 60);
        prop_assert!(timeline.events.is_sorted_by_key(|event| event.at));
        let kept: u64 = timeline.events.iter().filter_map(|e| e.kind.burst()).map(|b| b.count).sum();
        let count = |category| timeline.dropped.iter().find(|d| d.category == category).map_or(0, |d| d.count);
        prop_assert_eq!(kept + count(Category::Dma), accesses);
        let shown = timeline.events.iter().filter(|e| matches!(e.kind, Kind::Probe { .. })).count() as u64;
        prop_assert_eq!(shown + count(Category::Probe), probes);
        for event in &timeline.events {
            if let Some(burst) = event.kind.burst() {
                prop_assert!(burst.lowest <= burst.first && burst.first <= burst.highest);
                prop_assert!(burst.until - event.at <= limits.burst_ns);
            }
        }
        prop_assert_eq!(recorder.timeline(), timeline);
    }
}
