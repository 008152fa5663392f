//! Runs with faults that are recorded do the same again: each fault of each shipped plan, in
//! virtual time and in the host's.

use std::any::Any;
use std::collections::BTreeSet;
use std::io::BufWriter;
use std::path::Path;

use tempfile::NamedTempFile;
use vmm::campaign::scenario::{self, Scenario};
use vmm::campaign::single;
use vmm::devices::uart::Capture;
use vmm::faults::plan::{self, SHIPPED};
use vmm::faults::spec::{FaultPoint, Nth, Plan, ScenarioName, When};
use vmm::faults::{Account, Injection};
use vmm::introspect::types::vmlinux::TypesFrom;
use vmm::machine::{Fork, Moved, Recorder, Recording, RunFaults, Snapshot, Source};
use vmm::{ConsoleSink, Flow, Limits, Machine, Reason, TimeMode};

use crate::inject::kernel;

/// Guest time after which a run is over, whatever the guest does, in nanoseconds. Each attempt at a
/// fault takes twice as long as the one before: in host time a busy host comes to little.
const RUN_NS: u64 = 400_000_000;
/// Attempts at a fault, each with another seed of its plan.
const ATTEMPTS: u64 = 6;

/// Stops the machine where its scenario begins.
struct Ready(Vec<u8>);

impl ConsoleSink for Ready {
    fn write(&mut self, bytes: &[u8]) -> Flow {
        const WORDS: &[u8] = b"guest: ready\r\n";
        self.0.extend_from_slice(bytes);
        // Whatever comes before it in the same piece.
        let last = self.0.len().saturating_sub(bytes.len() + WORDS.len());
        let is_ready = self.0[last..]
            .windows(WORDS.len())
            .any(|text| text == WORDS);
        if is_ready { Flow::Stop } else { Flow::Continue }
    }
}

/// A guest at the beginning of its scenario, saved to a file.
struct Saved {
    snapshot: Snapshot,
    file: NamedTempFile,
    _disk: Box<dyn Any>,
}

fn saved(name: ScenarioName, time: TimeMode) -> Saved {
    let disk = scenario::disk().expect("a disk");
    let mut config = Scenario::new(name).config(&kernel(name.image()), disk.path());
    config.time = time;
    // So that a replay may have the disk as well while the snapshot has it.
    config.disks[0].overlay = true;
    let injection = Injection::new();
    let machine = Machine::builder(&config, Box::new(Ready(Vec::new())));
    let mut machine = machine.injection(&injection).build().expect("a machine");
    let reason = machine.run(Limits::default()).reason;
    assert_eq!(reason, Reason::ConsoleStop, "{name:?} in {time:?}");
    let snapshot = machine.into_snapshot().expect("a snapshot");
    let file = NamedTempFile::new().expect("a file");
    snapshot
        .write(&mut BufWriter::new(file.as_file()))
        .expect("room for it");
    Saved {
        snapshot,
        file,
        _disk: Box::new(disk),
    }
}

/// What is compared of a run: why it ended, its console, its faults, its time and instructions.
type Seen = (Reason, Vec<u8>, Account, u64, u64);

fn run(machine: &mut Machine, faults: &RunFaults, console: &Capture, limits: Limits) -> Seen {
    single::watch_functions(&faults.plan, &TypesFrom::Kernel, machine).expect("its functions");
    let reason = machine.run(limits).reason;
    let account = machine.faults().expect("a plan");
    (
        reason,
        console.bytes(),
        account,
        machine.guest_ns(),
        machine.instructions(),
    )
}

/// Records a run with `faults` and replays it; its faults.
fn recorded(saved: &Saved, faults: &RunFaults, run_ns: u64) -> Account {
    let source = Source::of(saved.file.path()).expect("a file");
    let console = Capture::default();
    let fork = Fork::new(Box::new(console.clone()));
    let started = Recorder::resume(
        &saved.snapshot,
        source,
        fork,
        Some(faults.clone()),
        Vec::new(),
    );
    let (mut machine, recorder) = started.expect("a recording");
    let limits = Limits {
        guest_ns: Some(saved.snapshot.guest_ns() + run_ns),
        ..Limits::default()
    };
    let first = run(&mut machine, faults, &console, limits);
    let file = recorder.finish(&mut machine).expect("memory is not full");
    drop(machine);
    let mut recording = Recording::read(&*file).expect("a recording");
    assert_eq!(recording.header().faults.as_ref(), Some(faults));
    recording.find_files(&Moved::default()).expect("its files");
    let console = Capture::default();
    let machine = recording.machine(Box::new(console.clone()), None);
    let mut machine = machine.expect("a machine");
    let again = run(&mut machine, faults, &console, Limits::default());
    assert_eq!(machine.divergence(), None, "{faults:?}");
    assert!(
        again == first,
        "{faults:?}: {:?} and {:?}",
        again.2,
        first.2
    );
    first.2
}

/// Returns the plan with a rule alone, at its first point. Reports need faults to report.
fn alone(plan: &Plan, rule: usize) -> (Plan, usize) {
    let mut fault = plan.fault[rule].clone();
    let nth = Nth { first: 1, last: 1 };
    fault.when = When {
        nth: Some(nth),
        ..When::default()
    };
    let mut alone = Plan {
        fault: vec![fault],
        ..plan.clone()
    };
    if place(plan, rule) == "report" {
        let refusals = plan.fault.iter().enumerate();
        let refusals = refusals.filter(|(index, _)| place(plan, *index) == "translation");
        alone.fault.extend(refusals.map(|(_, rule)| rule.clone()));
    }
    (alone, 0)
}

/// Returns the kind of point of a rule.
fn place(plan: &Plan, rule: usize) -> String {
    words(plan, rule).0
}

/// Returns `where` and `what` of a rule.
fn words(plan: &Plan, rule: usize) -> (String, String) {
    let fault = serde_json::to_value(&plan.fault[rule].fault).expect("a fault");
    let word = |key: &str| fault[key].as_str().expect("a word").to_owned();
    (word("where"), word("what"))
}

#[test]
fn each_fault_of_each_plan_is_recorded_and_happens_again() {
    let plans: Vec<(&str, Plan)> = SHIPPED
        .iter()
        .map(|(name, _)| (*name, plan::find(name).expect("a plan")))
        .collect();
    for time in [TimeMode::Virtual, TimeMode::Host] {
        let mut happened = BTreeSet::new();
        for scenario in ScenarioName::ALL {
            let of = || plans.iter().filter(|(_, plan)| plan.scenario == scenario);
            if of().all(|(_, plan)| plan.fault.is_empty()) {
                continue;
            }
            let saved = saved(scenario, time);
            for (name, plan) in of() {
                for rule in 0..plan.fault.len() {
                    let (alone, index) = alone(plan, rule);
                    // Where another fault has to come first, the plan as it is.
                    let struck = (0..ATTEMPTS).any(|attempt| {
                        [(&alone, index), (plan, rule)]
                            .into_iter()
                            .any(|(plan, index)| {
                                let plan = plan.clone();
                                let faults = RunFaults {
                                    plan,
                                    seed: attempt + 1,
                                };
                                let account = recorded(&saved, &faults, RUN_NS << attempt);
                                account.told.iter().any(|told| told.rule == index)
                            })
                    });
                    assert!(
                        struck,
                        "{name}: fault {} never happened in {time:?}",
                        rule + 1
                    );
                    happened.insert(words(plan, rule));
                }
            }
        }
        // Every kind is in a shipped plan, so this is all of them.
        let all = plans
            .iter()
            .flat_map(|(_, plan)| (0..plan.fault.len()).map(move |rule| words(plan, rule)));
        assert_eq!(happened, all.collect());
        let places: BTreeSet<&String> = happened.iter().map(|(place, _)| place).collect();
        assert!(places.contains(&FaultPoint::Function.to_string()) && places.len() == 12);
    }
}

#[test]
fn a_recording_with_a_plan_that_contradicts_itself_is_refused() {
    let saved = saved(ScenarioName::Plain, TimeMode::Virtual);
    let text = "title = \"t\"\n[[fault]]\nwhere = \"disk\"\nwhat = \"short\"\n";
    let mut plan = plan::parse("p", text).expect("a plan");
    plan.fault[0].device = Some("no name".into());
    let source = Source::of(Path::new(saved.file.path())).expect("a file");
    let fork = Fork::new(Box::new(Capture::default()));
    let faults = Some(RunFaults { plan, seed: 1 });
    let started = Recorder::resume(&saved.snapshot, source, fork, faults, Vec::new());
    let (mut machine, recorder) = started.expect("a recording");
    let file = recorder.finish(&mut machine).expect("memory is not full");
    let error = Recording::read(&*file)
        .map(|_| ())
        .expect_err("no plan")
        .to_string();
    assert!(error.contains("its fault plan: fault 1"), "{error}");
}
