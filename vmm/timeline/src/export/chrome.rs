//! The trace event format of Chrome, as the Perfetto UI reads it.
//!
//! The format is described in "Trace Event Format" of the Catapult project; where the Perfetto
//! importer (`src/trace_processor/importers/json` in its source) asks for more, that is done too:
//! slices of one thread nest or do not touch, thread numbers are unique in the whole trace, flows
//! begin and end at slices of at least 1 ns.
//!
//! A run is a process, a lane a thread, or several where its events overlap; states have threads of
//! their own. Times are microseconds with three decimals, thus exact nanoseconds.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde_json::{Map, Value, json};

use super::describe::{details, lane_type, state, summary};
use crate::{Event, Kind, Lane, LaneId, Report, Route, Run, visible};

/// Writes `report` as one trace.
///
/// # Errors
/// `out` cannot be written.
pub fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let mut trace = Trace {
        out,
        first: true,
        next_thread: 1,
    };
    let header = json!({
        "title": visible(&report.title),
        "verdict": visible(&report.verdict.sentence),
    });
    // Written event by event: as one JSON value a trace would be in memory as a whole.
    write!(
        trace.out,
        "{{\"displayTimeUnit\":\"ns\",\"otherData\":{header},\"traceEvents\":["
    )?;
    for (run, process) in report.runs.iter().zip(1_u32..) {
        trace.run(run, process)?;
    }
    writeln!(trace.out, "\n]}}")
}

struct Trace<'a> {
    out: &'a mut dyn Write,
    first: bool,
    /// Perfetto wants numbers of threads to differ across processes.
    next_thread: u32,
}

/// A thread of the trace: its number and when its last slice ends.
#[derive(Clone, Copy)]
struct Row {
    thread: u32,
    busy_until: u64,
}

impl Trace<'_> {
    fn run(&mut self, run: &Run, process: u32) -> io::Result<()> {
        self.metadata(
            process,
            None,
            "process_name",
            "name",
            json!(visible(&run.name)),
        )?;
        let labels = visible(&run.verdict.sentence);
        self.metadata(process, None, "process_labels", "labels", json!(labels))?;
        self.metadata(
            process,
            None,
            "process_sort_index",
            "sort_index",
            json!(process),
        )?;
        let decisive = self.events(run, process)?;
        self.flows(run, process, &decisive)?;
        self.counters(run, process)
    }

    /// Writes states and events, lane by lane, and returns the thread of each decisive event.
    fn events(&mut self, run: &Run, process: u32) -> io::Result<BTreeMap<u32, u32>> {
        let timeline = &run.timeline;
        let mut by_lane: BTreeMap<LaneId, Vec<usize>> = BTreeMap::new();
        for (index, event) in timeline.events.iter().enumerate() {
            by_lane.entry(event.lane).or_default().push(index);
        }
        let mut threads = BTreeMap::new();
        // In the order of lanes, as the numbers of threads are also the order in which they are
        // shown.
        for (lane, number) in timeline.lanes.iter().zip(0_u16..) {
            let id = LaneId(number);
            let mut states = timeline
                .intervals
                .iter()
                .filter(|interval| interval.lane == id)
                .peekable();
            if states.peek().is_some() {
                let thread = self.thread(process, &format!("{lane}: state"))?;
                for interval in states {
                    self.slice(
                        process,
                        thread,
                        lane_type(lane),
                        &state(&interval.state),
                        (interval.from, interval.until, Map::new()),
                    )?;
                }
            }
            let mut rows: Vec<Row> = Vec::new();
            for index in by_lane.remove(&id).unwrap_or_default() {
                let event = &timeline.events[index];
                let span = (event.at, event.until(timeline.end));
                let row = self.row(&mut rows, process, lane, span)?;
                let index = u32::try_from(index).unwrap_or(u32::MAX);
                // By index, as many events may be alike.
                let mark = run.decisive.iter().find(|item| item.event.0 == index);
                if mark.is_some() {
                    threads.insert(index, row);
                }
                let meaning = mark.map(|mark| mark.meaning.as_str());
                self.event(process, row, event, span.1, meaning)?;
            }
        }
        Ok(threads)
    }

    /// Returns the first thread of a lane that is idle at the beginning of `span`, or a new one.
    fn row(
        &mut self,
        rows: &mut Vec<Row>,
        process: u32,
        lane: &Lane,
        span: (u64, u64),
    ) -> io::Result<u32> {
        // A slice of no length still takes a nanosecond.
        let until = span.1.max(span.0.saturating_add(1));
        // Events come in the order of their beginnings, so that a row is free once its last one
        // ended.
        if let Some(row) = rows.iter_mut().find(|row| row.busy_until <= span.0) {
            row.busy_until = until;
            return Ok(row.thread);
        }
        let name = match rows.len() {
            0 => lane.to_string(),
            more => format!("{lane} ({})", more + 1),
        };
        let thread = self.thread(process, &name)?;
        rows.push(Row {
            thread,
            busy_until: until,
        });
        Ok(thread)
    }

    fn thread(&mut self, process: u32, name: &str) -> io::Result<u32> {
        let thread = self.next_thread;
        self.next_thread += 1;
        self.metadata(
            process,
            Some(thread),
            "thread_name",
            "name",
            json!(visible(name)),
        )?;
        self.metadata(
            process,
            Some(thread),
            "thread_sort_index",
            "sort_index",
            json!(thread),
        )?;
        Ok(thread)
    }

    fn event(
        &mut self,
        process: u32,
        thread: u32,
        event: &Event,
        until: u64,
        decisive: Option<&str>,
    ) -> io::Result<()> {
        let category = event.kind.category().plural();
        let name = visible(&summary(event));
        let mut args: Map<String, Value> = Map::new();
        for (name, value) in details(event) {
            args.insert(visible(&name), json!(visible(&value)));
        }
        if let Some(meaning) = decisive {
            args.insert("why it matters".to_owned(), json!(visible(meaning)));
        }
        // A flow begins and ends at slices, so that a decisive event is one, however short.
        if until > event.at || decisive.is_some() {
            return self.slice(process, thread, category, &name, (event.at, until, args));
        }
        self.put(json!({
            "ph": "i", "s": "t", "pid": process, "tid": thread, "ts": micros(event.at),
            "cat": category, "name": name, "args": args,
        }))
    }

    fn slice(
        &mut self,
        process: u32,
        thread: u32,
        category: &str,
        name: &str,
        what: (u64, u64, Map<String, Value>),
    ) -> io::Result<()> {
        let (from, until, args) = what;
        self.put(json!({
            "ph": "X", "pid": process, "tid": thread, "ts": micros(from),
            // A flow cannot be bound to a slice of no length.
            "dur": micros(until.saturating_sub(from).max(1)),
            "cat": category, "name": visible(name), "args": args,
        }))
    }

    /// Writes arrows from each decisive event to the next: the story.
    fn flows(&mut self, run: &Run, process: u32, threads: &BTreeMap<u32, u32>) -> io::Result<()> {
        let mut stations: Vec<(u64, u32)> = run
            .decisive
            .iter()
            .filter_map(|item| {
                Some((
                    run.timeline.event(item.event)?.at,
                    *threads.get(&item.event.0)?,
                ))
            })
            .collect();
        // Decisive events tell a story in any order; arrows go forward in time, and once to each.
        stations.sort_unstable();
        stations.dedup();
        for (pair, number) in stations.windows(2).zip(1_u64..) {
            // Numbers of flows are unique in the trace, across runs.
            let id = (u64::from(process) << 32) | number;
            for (station, phase) in [(pair[0], "s"), (pair[1], "f")] {
                let mut event = json!({
                    "ph": phase, "id": id, "pid": process, "tid": station.1, "ts": micros(station.0),
                    "cat": "story", "name": "then",
                });
                // An arrow ends at the slice that encloses its time, not at the next one, which is
                // the default ("bp").
                if phase == "f" {
                    event["bp"] = json!("e");
                }
                self.put(event)?;
            }
        }
        Ok(())
    }

    /// Writes the bytes that each bus master moved so far, by the way that they took.
    fn counters(&mut self, run: &Run, process: u32) -> io::Result<()> {
        let mut totals: BTreeMap<LaneId, [u64; 2]> = BTreeMap::new();
        for event in &run.timeline.events {
            let Kind::Dma { burst, route, .. } = &event.kind else {
                continue;
            };
            // A counter shows the sum up to each burst, so that totals are carried along.
            let total = totals.entry(event.lane).or_default();
            let stray = usize::from(*route == Route::Stray);
            total[stray] = total[stray].saturating_add(burst.bytes);
            let lane = run
                .timeline
                .lane(event.lane)
                .map_or_else(String::new, ToString::to_string);
            self.put(json!({
                "ph": "C", "pid": process, "ts": micros(burst.until.max(event.at)),
                "name": visible(&format!("{lane} bytes")),
                "args": {"in order": total[0], "stray": total[1]},
            }))?;
        }
        Ok(())
    }

    fn metadata(
        &mut self,
        process: u32,
        thread: Option<u32>,
        name: &str,
        key: &str,
        value: Value,
    ) -> io::Result<()> {
        let mut event = json!({"ph": "M", "pid": process, "name": name, "args": {}});
        event["args"][key] = value;
        if let Some(thread) = thread {
            event["tid"] = json!(thread);
        }
        self.put(event)
    }

    fn put(&mut self, event: Value) -> io::Result<()> {
        let comma = if std::mem::take(&mut self.first) {
            ""
        } else {
            ","
        };
        write!(self.out, "{comma}\n{event}")
    }
}

/// Returns nanoseconds as microseconds. A float keeps all three decimals for a hundred days, longer
/// than any run.
fn micros(ns: u64) -> Value {
    // Parsed from its decimals, a float is also written with them: its shortest form is exact.
    let text = format!("{}.{:03}", ns / 1000, ns % 1000);
    serde_json::from_str(&text).unwrap_or(Value::Null)
}
