//! The trace, checked against the rules of the trace event format and of the importer of Perfetto.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use vmm::timeline::export;

use crate::sample;

/// An exact time in nanoseconds, from microseconds with three decimals.
fn ns(value: &Value) -> u64 {
    let text = value.to_string();
    let (whole, part) = text.split_once('.').unwrap_or((&text, "0"));
    let part = format!("{part:0<3}");
    assert_eq!(part.len(), 3, "a time finer than a nanosecond: {text}");
    whole.parse::<u64>().unwrap() * 1_000 + part.parse::<u64>().unwrap()
}

fn trace(extra: u64) -> Vec<Value> {
    let mut out = Vec::new();
    export::chrome::write(&sample::report(extra), &mut out).unwrap();
    let trace: Value = serde_json::from_slice(&out).unwrap();
    assert_eq!(trace["displayTimeUnit"], "ns");
    assert!(
        trace["otherData"]["verdict"]
            .as_str()
            .unwrap()
            .contains("uTLB 3")
    );
    trace["traceEvents"].as_array().unwrap().clone()
}

#[test]
fn every_event_is_well_formed() {
    let events = trace(500);
    let mut phases = BTreeMap::new();
    for event in &events {
        let phase = event["ph"].as_str().unwrap();
        *phases.entry(phase.to_owned()).or_insert(0) += 1;
        assert!(event["pid"].as_u64().unwrap() > 0, "{event}");
        assert!(!event["name"].as_str().unwrap().is_empty());
        if phase != "M" {
            ns(&event["ts"]);
        }
        if matches!(phase, "X" | "i" | "s" | "f") {
            assert!(event["tid"].as_u64().unwrap() > 0, "{event}");
            assert!(event["cat"].is_string());
        }
        match phase {
            "X" => assert!(ns(&event["dur"]) > 0),
            "i" => assert_eq!(event["s"], "t"),
            "C" => assert!(
                event["args"]
                    .as_object()
                    .unwrap()
                    .values()
                    .all(Value::is_u64)
            ),
            "f" => assert_eq!(event["bp"], "e"),
            "M" | "s" => {}
            other => panic!("the phase '{other}' is not used here"),
        }
    }
    for phase in ["X", "i", "C", "s", "f", "M"] {
        assert!(phases.contains_key(phase), "no {phase} in {phases:?}");
    }
}

#[test]
fn slices_of_a_thread_do_not_overlap_and_threads_have_unique_names_and_numbers() {
    let events = trace(2_000);
    let mut slices: BTreeMap<(u64, u64), Vec<(u64, u64)>> = BTreeMap::new();
    let mut names = BTreeMap::new();
    for event in &events {
        let thread = (
            event["pid"].as_u64().unwrap(),
            event["tid"].as_u64().unwrap_or(0),
        );
        if event["ph"] == "X" {
            let start = ns(&event["ts"]);
            slices
                .entry(thread)
                .or_default()
                .push((start, start + ns(&event["dur"])));
        }
        if event["name"] == "thread_name" {
            let name = event["args"]["name"].as_str().unwrap().to_owned();
            assert!(names.insert(thread, name).is_none());
        }
    }
    let numbers: BTreeSet<u64> = names.keys().map(|(_, thread)| *thread).collect();
    assert_eq!(
        numbers.len(),
        names.len(),
        "a thread number is used in two processes"
    );
    let distinct: BTreeSet<(u64, &String)> = names.iter().map(|(id, name)| (id.0, name)).collect();
    assert_eq!(distinct.len(), names.len());
    for (thread, mut spans) in slices {
        assert!(names.contains_key(&thread), "a thread without a name");
        spans.sort_unstable();
        for pair in spans.windows(2) {
            assert!(
                pair[0].1 <= pair[1].0,
                "{} overlap in {}",
                pair[1].0,
                names[&thread]
            );
        }
    }
}

#[test]
fn flows_join_the_decisive_events_in_order() {
    let events = trace(0);
    let starts: BTreeSet<(u64, u64, u64)> = events
        .iter()
        .filter(|event| event["ph"] == "X")
        .map(|event| {
            (
                event["pid"].as_u64().unwrap(),
                event["tid"].as_u64().unwrap(),
                ns(&event["ts"]),
            )
        })
        .collect();
    let mut flows: BTreeMap<u64, Vec<(&str, u64)>> = BTreeMap::new();
    for event in events
        .iter()
        .filter(|event| event["ph"] == "s" || event["ph"] == "f")
    {
        let at = ns(&event["ts"]);
        let station = (
            event["pid"].as_u64().unwrap(),
            event["tid"].as_u64().unwrap(),
            at,
        );
        assert!(
            starts.contains(&station),
            "a flow that no slice begins with: {event}"
        );
        let phase = event["ph"].as_str().unwrap();
        flows
            .entry(event["id"].as_u64().unwrap())
            .or_default()
            .push((phase, at));
    }
    let report = sample::report(0);
    let expected: usize = report.runs.iter().map(|run| run.decisive.len() - 1).sum();
    assert_eq!(flows.len(), expected);
    for stations in flows.values() {
        assert_eq!(
            (stations[0].0, stations[1].0, stations.len()),
            ("s", "f", 2)
        );
        assert!(stations[0].1 <= stations[1].1);
    }
}

#[test]
fn a_run_is_a_process_and_a_lane_a_thread() {
    let events = trace(0);
    let name = |event: &Value| event["args"]["name"].as_str().map(str::to_owned);
    let of = |what: &str| -> Vec<String> {
        events
            .iter()
            .filter(|event| event["name"] == what)
            .filter_map(name)
            .collect()
    };
    assert_eq!(of("process_name"), ["stock", "guard absent"]);
    let threads = of("thread_name");
    for lane in [
        "guest functions",
        "e6280000.iommu uTLB 3: state",
        "e6700000.dma-controller",
        "e6720000.dma-controller",
        "e6280000.iommu context 0",
        "interrupts",
        "console",
    ] {
        assert_eq!(
            threads.iter().filter(|name| *name == lane).count(),
            2,
            "{lane}"
        );
    }
    let dead = events.iter().any(|event| {
        event["ph"] == "X" && event["name"] == "DISABLED: passes untranslated" && event["pid"] == 2
    });
    assert!(dead);
}
