//! Fault plans under the unmodified kernel: each kind of outcome, and that runs repeat.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use guest_images::{Cache, Terminal};
use vmm::campaign::campaign::Prepared;
use vmm::campaign::run::Record;
use vmm::campaign::scenario::Scenario;
use vmm::campaign::start::{Boot, Forked, Start};
use vmm::campaign::{Outcome, plan};
use vmm::faults::spec::ScenarioName;
use vmm::introspect::types::vmlinux::{TypesFrom, Vmlinux};
use vmm::sanitizer::Kind;
use vmm::{GuestKernel, KernelChoice};

pub fn kernel(image: &str) -> GuestKernel {
    match GuestKernel::obtain(image, &KernelChoice::OfImage, &mut Terminal::plain()) {
        Ok(kernel) => kernel,
        Err(error) => panic!("there is no kernel: {error}"),
    }
}

fn forked(name: ScenarioName) -> Forked {
    let scenario = Scenario::new(name);
    let kernel = kernel(name.image());
    let boot = Boot {
        kernel: &kernel,
        scenario: &scenario,
        sanitize: None,
    };
    Forked::new(boot).expect("the guest should come to its scenario")
}

/// Returns the snapshot that most tests go on from.
pub fn copying() -> &'static Forked {
    static COPYING: OnceLock<Forked> = OnceLock::new();
    COPYING.get_or_init(|| forked(ScenarioName::Copy))
}

/// Returns one whose guest has its disk taken away and given back.
fn rebinding() -> &'static Forked {
    static REBINDING: OnceLock<Forked> = OnceLock::new();
    REBINDING.get_or_init(|| forked(ScenarioName::Rebind))
}

/// Makes `runs` runs of the plan in `text`.
fn campaign(text: &str, start: &dyn Start, runs: u64) -> Vec<Record> {
    let plan = plan::parse("test", text).expect("a plan");
    let scenario = Scenario::new(plan.scenario);
    let prepared = Prepared::new(&plan, &scenario, start).expect("a sound scenario");
    (0..runs)
        .map(|run| prepared.runner.run(&prepared.task(1, run), None).record)
        .collect()
}

/// Returns one run of the scenario `copy` with this fault.
fn copy_with(fault: &str) -> Record {
    campaign(
        &format!("title = \"t\"\n[[fault]]\n{fault}\n"),
        copying(),
        1,
    )
    .remove(0)
}

fn assert_outcome(record: &Record, outcome: Outcome, words: &str) {
    let verdict = &record.verdict;
    assert_eq!(verdict.outcome, outcome, "{record:#?}");
    let said = verdict.said.iter().chain([&verdict.why]);
    assert!(
        said.into_iter().any(|text| text.contains(words)),
        "{record:#?}"
    );
    assert!(record.faults > 0, "{record:#?}");
}

#[test]
fn without_faults_every_run_is_unaffected_and_the_same() {
    let records = campaign("title = \"t\"", copying(), 3);
    for record in &records {
        assert_eq!(record.verdict.outcome, Outcome::Unaffected, "{record:#?}");
        assert_eq!(record.faults, 0);
        assert_eq!(record.digest, records[0].digest);
    }
}

#[test]
fn a_plan_that_changes_data_is_always_found_out() {
    let plan = plan::SHIPPED.iter().find(|(name, _)| *name == "corruption");
    for record in campaign(plan.expect("it is shipped").1, copying(), 12) {
        assert_outcome(&record, Outcome::SilentCorruption, "1 bytes of part 1");
    }
}

#[test]
fn a_request_that_the_iommu_keeps_from_the_device_is_reported_and_taken_for_done() {
    let record = copy_with(
        "where = \"translation\"\nwhat = \"translation\"\nwhen = { probe = \"virtblk_done\", nth = 8 }",
    );
    // The descriptors cannot be read, so that the device cannot write a status either: what is
    // there says OK.
    assert_outcome(
        &record,
        Outcome::SilentCorruption,
        "Unhandled fault: status 0x",
    );
}

#[test]
fn a_flush_that_sticks_is_reported_and_the_guest_recovers() {
    let record = copy_with("where = \"flush\"\nwhat = \"stuck\"");
    assert_outcome(&record, Outcome::Recovered, "TLB sync timed out");
    let record = copy_with("where = \"flush\"\nwhat = \"late\"\ncount = 50");
    assert_eq!(record.verdict.outcome, Outcome::Unaffected, "{record:#?}");
    assert_eq!(record.faults, 1, "the guest waits for what is late");
}

#[test]
fn a_stock_kernel_reports_what_its_smmu_does() {
    let start = forked(ScenarioName::SmmuV2);
    let run = |fault: &str| {
        let plan = format!("title = \"t\"\nscenario = \"smmuv2\"\n[[fault]]\n{fault}\n");
        campaign(&plan, &start, 1).remove(0)
    };
    let record = run("where = \"flush\"\nwhat = \"stuck\"");
    assert_outcome(&record, Outcome::Recovered, "TLB sync timed out");
    let record = run("where = \"translation\"\nwhat = \"permission\"\nwhen = { nth = 4 }");
    // The device cannot read the request, so that it cannot write a status either: what is there
    // says OK.
    let words = "Unhandled context fault: fsr=0x208";
    assert_outcome(&record, Outcome::SilentCorruption, words);
}

#[test]
fn a_disk_that_fails_is_reported_and_one_that_does_half_is_not() {
    let record = copy_with("where = \"disk\"\nwhat = \"io-error\"");
    assert_outcome(&record, Outcome::Recovered, "I/O error");
    let record = copy_with("where = \"disk\"\nwhat = \"short\"");
    assert_outcome(&record, Outcome::SilentCorruption, "part 1 of the disk");
}

#[test]
fn a_device_that_stops_or_is_not_heard_is_waited_for_until_the_watchdog_comes() {
    for fault in [
        "where = \"interrupt\"\nwhat = \"lost\"\ndevice = \"disk0\"\nwhen = { every = 1 }",
        "where = \"queue\"\nwhat = \"lost\"\nwhen = { every = 1 }",
        "where = \"queue\"\nwhat = \"needs-reset\"",
    ] {
        assert_outcome(&copy_with(fault), Outcome::Hang, "in command 1 of 1");
    }
}

#[test]
fn accesses_after_a_request_is_over_meet_the_iommu() {
    let record =
        copy_with("where = \"disk\"\nwhat = \"again\"\ndelay = \"200us\"\nwhen = { every = 1 }");
    assert_outcome(&record, Outcome::Recovered, "Unhandled fault: status 0x");
    let record = copy_with("where = \"disk\"\nwhat = \"late-data\"\ndelay = \"100us\"");
    assert_outcome(
        &record,
        Outcome::SilentCorruption,
        "Unhandled fault: status 0x",
    );
}

#[test]
fn a_function_of_the_kernel_fails() {
    let text = |value: i32, when: &str| {
        format!(
            "title = \"t\"\nscenario = \"rebind\"\n[[fault]]\nwhere = \"function\"\nwhat = \"error\"\n\
             function = \"virtio_mmio_probe\"\nvalue = {value}\nwhen = {{ {when} }}\n"
        )
    };
    // Deferred twice, and bound the third time.
    let deferred = campaign(&text(-517, "every = 1, times = 2"), rebinding(), 1).remove(0);
    assert_eq!(deferred.faults, 2, "{deferred:#?}");
    assert_ne!(
        deferred.verdict.outcome,
        Outcome::DeviceLost,
        "{deferred:#?}"
    );
    let failed = campaign(&text(-19, "every = 1"), rebinding(), 1).remove(0);
    assert_outcome(&failed, Outcome::DeviceLost, "does not work any more");
}

/// Compares three runs of a plan, each from a snapshot, after a reboot, and from the snapshot
/// again.
fn each_run_is_that_after_a_reboot(text: &str, start: &Forked) {
    let plan = plan::parse("test", text).expect("a plan");
    let scenario = Scenario::new(plan.scenario);
    let kernel = kernel(plan.scenario.image());
    let boot = Boot {
        kernel: &kernel,
        scenario: &scenario,
        sanitize: None,
    };
    let booted = Prepared::new(&plan, &scenario, &boot).expect("a sound scenario");
    let forked = Prepared::new(&plan, &scenario, start).expect("a sound scenario");
    assert_eq!(booted.walk, forked.walk);
    for run in 0..3 {
        let task = forked.task(1, run);
        let record = forked.runner.run(&task, None).record;
        assert!(record.faults > 0);
        assert_eq!(record, booted.runner.run(&task, None).record);
        assert_eq!(record, forked.runner.run(&task, None).record);
    }
}

/// The kernel's function that maps gives the driver one address for two buffers. What was mapped
/// before the snapshot is known in runs that go on from it.
#[test]
fn mistakes_with_dma_are_the_same_from_a_snapshot_and_after_a_reboot() {
    let text = "title = \"t\"\n[[fault]]\nwhere = \"function\"\nwhat = \"error\"\n\
                function = \"dma_map_page_attrs\"\nvalue = 4096\nwhen = { every = 1 }\n";
    let plan = plan::parse("test", text).expect("a plan");
    let scenario = Scenario::new(plan.scenario);
    let kernel = kernel(plan.scenario.image());
    let options = "dma".parse().expect("options");
    let boot = Boot {
        kernel: &kernel,
        scenario: &scenario,
        sanitize: Some(&options),
    };
    let start = Forked::new(boot).expect("the guest should come to its scenario");
    let booted = Prepared::new(&plan, &scenario, &boot).expect("a sound scenario");
    let forked = Prepared::new(&plan, &scenario, &start).expect("a sound scenario");
    let task = forked.task(1, 0);
    let record = forked.runner.run(&task, None).record;
    assert!(record.faults > 0);
    let found = &record.mistakes;
    assert!(found.counts.contains_key(&Kind::DoubleMap), "{record:#?}");
    assert_eq!(record, booted.runner.run(&task, None).record);
    assert_eq!(record, forked.runner.run(&task, None).record);
    // Of the run without it nothing is said.
    let mut task = task;
    task.rules.clear();
    let healthy = forked.runner.run(&task, None).record;
    assert!(healthy.mistakes.is_empty(), "{healthy:#?}");
}

#[test]
fn a_run_from_a_snapshot_is_that_after_a_reboot() {
    each_run_is_that_after_a_reboot(
        "title = \"t\"\n[[fault]]\nwhere = \"translation\"\nwhat = \"permission\"\nwhen = { probability = 0.03 }\n\
         [[fault]]\nwhere = \"interrupt\"\nwhat = \"spurious\"\ndelay = \"9us\"\nwhen = { probability = 0.3 }\n",
        copying(),
    );
}

#[test]
fn a_disk_that_is_bound_anew_works_from_a_snapshot_as_after_a_reboot() {
    each_run_is_that_after_a_reboot(
        "title = \"t\"\nscenario = \"rebind\"\n\
         [[fault]]\nwhere = \"flush\"\nwhat = \"late\"\ncount = 9\nwhen = { probability = 0.3 }\n\
         [[fault]]\nwhere = \"function\"\nwhat = \"error\"\nfunction = \"virtio_mmio_probe\"\nvalue = -517\n\
         when = { every = 1, times = 2 }\n",
        rebinding(),
    );
}

#[test]
fn a_kernel_that_crashes_is_told_with_its_stack() {
    // The driver takes what the ring's code gives it for a request of its own.
    let record = copy_with(
        "where = \"function\"\nwhat = \"error\"\nfunction = \"virtqueue_get_buf\"\nvalue = 16",
    );
    assert_outcome(&record, Outcome::Crash, "Unable to handle kernel");
    let stack = record.verdict.stack.join("\n");
    for words in [
        "PC is at ",
        " from virtblk_done",
        "Kernel panic - not syncing",
    ] {
        assert!(stack.contains(words), "{stack}");
    }
}

#[test]
fn every_point_is_walked_once() {
    let text = "title = \"t\"\n[[fault]]\nwhere = \"disk\"\nwhat = \"io-error\"\n\
                [[fault]]\nwhere = \"flush\"\nwhat = \"stuck\"\nwhen = { probability = 0.0 }\n";
    let plan = plan::parse("test", text).expect("a plan");
    let scenario = Scenario::new(plan.scenario);
    let prepared = Prepared::new(&plan, &scenario, copying()).expect("a sound scenario");
    let runs = prepared.walk.runs(false);
    // Eight requests of the scenario, and as many flushes at least.
    let points: Vec<u64> = prepared
        .walk
        .faults
        .iter()
        .map(|fault| fault.points())
        .collect();
    assert_eq!(points[0], 8);
    assert!(points[1] >= 8, "{points:?}");
    let records = prepared
        .run(
            &|run| prepared.systematic_task(1, run, false),
            0..runs,
            BTreeMap::new(),
            NonZeroUsize::MIN,
            &AtomicBool::new(false),
            &mut |_: &mut Record| Ok::<(), ()>(()),
        )
        .expect("nobody objects");
    assert_eq!(records.len() as u64, runs);
    for record in records.values() {
        assert_eq!(record.faults, 1, "{record:#?}");
        assert_ne!(record.verdict.outcome, Outcome::VmmError, "{record:#?}");
    }
    assert!(prepared.systematic_task(1, runs, false).is_none());
    // Again, a third of them; and what is found if one had been another.
    let (task, stop) = (
        |run| prepared.systematic_task(1, run, false),
        AtomicBool::new(false),
    );
    let sample = NonZeroUsize::new(3).expect("three");
    let recheck = |done: &BTreeMap<u64, Record>| {
        prepared.recheck(&task, done, sample, NonZeroUsize::MIN, &stop)
    };
    assert_eq!(recheck(&records), (3, Vec::new()));
    // An outcome that was edited, with a digest that was not, is another run.
    let mut spoilt = records;
    spoilt
        .values_mut()
        .for_each(|record| record.verdict.outcome = Outcome::VmmError);
    let (count, others) = recheck(&spoilt);
    assert_eq!(count, others.len());
    assert_eq!(others[0].run, 0);
    assert!(others[0].what.starts_with("the outcome was "), "{others:?}");
}

#[test]
fn a_virtio_iommu_refuses_requests() {
    let text = "title = \"t\"\nscenario = \"virtio\"\n[[fault]]\nwhere = \"request\"\nwhat = \"value\"\nvalue = 8\n";
    let record = campaign(text, &forked(ScenarioName::Virtio), 1).remove(0);
    assert_eq!(record.faults, 1, "{record:#?}");
    assert_ne!(record.verdict.outcome, Outcome::VmmError, "{record:#?}");
}

/// A rule waits for a call whose condition holds; the kernel's structures are those of its BTF, or
/// of its vmlinux.
#[test]
fn a_fault_waits_for_a_call_under_a_condition() {
    let plan = |condition: &str| {
        let text = format!(
            "title = \"t\"\nscenario = \"rebind\"\n[[fault]]\nwhere = \"disk\"\nwhat = \"io-error\"\n\
             when = {{ probe = \"arch_teardown_dma_ops if {condition}\" }}\n"
        );
        plan::parse("test", &text).expect("a plan")
    };
    let image = Cache::open().expect("a cache").debug_info("ipmmu");
    let vmlinux = image.expect("the image").expect("its vmlinux");
    let vmlinux = Vmlinux::parse(&std::fs::read(vmlinux).expect("a file")).expect("a vmlinux");
    let file = TypesFrom::File(Arc::new(vmlinux));
    // The IPMMU's driver has made the mapping, so that the flag is not set.
    for (condition, faults) in [
        ("dev.archdata.mapping", 1),
        ("dev.archdata.dma_ops_setup", 0),
        ("dev.archdata.mapping && dev.archdata.dma_ops_setup == 0", 1),
    ] {
        let plan = plan(condition);
        let scenario = Scenario::new(plan.scenario);
        let mut digests = Vec::new();
        for types in [&TypesFrom::Kernel, &file] {
            let prepared = Prepared::with_types(&plan, &scenario, rebinding(), types);
            let prepared = prepared.expect("a sound scenario");
            let record = prepared.runner.run(&prepared.task(1, 0), None).record;
            assert_eq!(record.faults, faults, "{condition}: {record:#?}");
            digests.push(record.digest);
        }
        assert_eq!(digests[0], digests[1], "{condition}");
    }
    let odd = plan("dev.archdata.nothing");
    let scenario = Scenario::new(odd.scenario);
    let refused = Prepared::new(&odd, &scenario, rebinding()).map(|_| ());
    let sentence = refused.expect_err("there is no such field").to_string();
    assert!(sentence.contains("does not fit this kernel"), "{sentence}");
}

/// What runs leave to those that come, memory and code, changes nothing but time: every shipped
/// plan is run with it, without it, and with as much of it as jobs find that run at the same time.
#[test]
fn what_other_runs_left_changes_no_run() {
    const RUNS: u64 = 4;
    for (name, text) in plan::SHIPPED {
        let plan = plan::parse(name, text).expect("a plan");
        let scenario = Scenario::new(plan.scenario);
        let start = forked(plan.scenario);
        let prepared = Prepared::new(&plan, &scenario, &start).expect("a sound scenario");
        let task = |run| prepared.task(1, run);
        let alone: Vec<Record> = (0..RUNS)
            .map(|run| {
                start.release();
                prepared.runner.run(&task(run), None).record
            })
            .collect();
        // The second time, blocks that ran often have become host code.
        for jobs in [1, 1, 3] {
            let records = prepared
                .run(
                    &|run| Some(task(run)),
                    0..RUNS,
                    BTreeMap::new(),
                    NonZeroUsize::new(jobs).expect("some"),
                    &AtomicBool::new(false),
                    &mut |_: &mut Record| Ok::<(), ()>(()),
                )
                .expect("nobody objects");
            for (record, alone) in records.values().zip(&alone) {
                assert_eq!(record, alone, "{name}, {jobs} jobs");
            }
            assert_eq!(records.len(), alone.len());
        }
    }
}
