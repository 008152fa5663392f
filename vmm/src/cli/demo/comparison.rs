//! The headline: the teardown bug of 2017 beside its fix, on one unmodified kernel.

use std::path::Path;

use vmm::lab::{self, Case, Judged, Lab};
use vmm::timeline::export;
use vmm::timeline::{Mark, Observation, Report, Run};
use vmm::{GuestKernel, KernelChoice};
use vmm_machine::MAX_CPUS;

use super::show::{self, line, paragraph};
use crate::cli::sandbox::{self, Policy};
use crate::cli::{UserError, install, text};

/// The fix, and its absence: B's probe is deferred, and A shares B's micro-TLB.
const CASES: [&str; 2] = [
    "deferral.shared.stock.off",
    "deferral.shared.guard-absent.off",
];
/// The report's name.
pub const REPORT: &str = "demo";
/// Most decisive events that are shown of a run; the report has all.
const SHOWN_EVENTS: usize = 6;

/// Runs both cases, shows what they come to, and writes the report to `directory`. Returns whether both were as
/// expected.
pub fn run(directory: &Path) -> Result<bool, UserError> {
    paragraph(&[
        "Two disks, A and B, share one micro-TLB of a Renesas IPMMU. A is in use. B's driver is probed, but \
            B's clock comes",
        "later, so the probe is deferred, and the kernel tears down the DMA setup of B. In May 2017 that \
            teardown took down",
        "mappings that it had not made. The fix is a guard in arch_teardown_dma_ops(). The kernel below has it; in the",
        "second run a probe of the hypervisor's defeats it, in memory, while the guest runs. Nothing else differs.",
        "",
    ]);
    let lab = Lab::shipped()?;
    let mut cases = Vec::new();
    for name in CASES {
        cases.extend(lab.select(name)?);
    }
    let kernel = GuestKernel::obtain(
        // Each of `CASES` is the full name of a scenario, so that there are two cases.
        &cases[0].machine.image,
        &KernelChoice::OfImage,
        &mut install::terminal(),
    )
    .map_err(|why| UserError::new(why.to_string()))?;
    enter_sandbox(&kernel, directory)?;
    let mut judged = Vec::new();
    for case in &cases {
        show::command(&format!("vmm lab run {}", case.name));
        judged.push(judge(case, &kernel)?);
    }
    // The one whose guest a probe changes: it must repeat with that, too.
    let again = judge(&cases[1], &kernel)?;
    line("");
    let report = lab::compare(&judged[0], &judged[1]);
    table(&report);
    report.runs.iter().for_each(events);
    changes(&report);
    if again.run.timeline != judged[1].run.timeline {
        return Err(UserError::new(
            "a second run without the guard had another timeline: this is a bug in vmm",
        ));
    }
    show::good(&format!(
        "A second run without the guard had the same timeline, to the nanosecond ({} events).",
        again.run.timeline.events.len()
    ));
    let written = export::write_all(directory, REPORT, &report)
        .map_err(|error| UserError::new(error.to_string()))?;
    line("");
    paragraph(&["The report, with the timeline of both runs, for a browser:"]);
    line(&format!("    {}", written.html.display()));
    Ok(judged.iter().all(|one| one.judgement.is_expected()))
}

/// Restricts this process to what the guests and the report take.
fn enter_sandbox(kernel: &GuestKernel, report: &Path) -> Result<(), UserError> {
    std::fs::create_dir_all(report).map_err(|error| {
        let name = report.display();
        UserError::new(format!("cannot make the report directory {name}: {error}"))
    })?;
    let mut policy = Policy::of_images()?;
    policy.read(&kernel.path);
    policy.directory(report);
    policy.enter()?;
    // One guest after the other.
    sandbox::filter(usize::from(MAX_CPUS))
}

/// Runs a case and says what it comes to.
fn judge(case: &Case, kernel: &GuestKernel) -> Result<Judged, UserError> {
    let judged =
        lab::run(case, kernel).map_err(|why| UserError::new(format!("{}: {why}", case.name)))?;
    let judgement = &judged.judgement;
    let account = format!(
        "{}: {}, {} instructions",
        case.behaviour_name,
        judgement.health,
        text::count(judged.instructions)
    );
    if judgement.is_expected() {
        show::good(&account);
    } else {
        show::bad(&account);
        for problem in &judgement.problems {
            line(&format!("     {problem}"));
        }
    }
    Ok(judged)
}

/// Prints what each side saw, run by run.
fn table(report: &Report) {
    for subject in report.subjects() {
        line(&show::strong(subject));
        for run in &report.runs {
            let Some(finding) = run.finding(subject) else {
                continue;
            };
            for (side, seen) in [
                ("seen from outside", &finding.hypervisor),
                ("the guest's side", &finding.guest),
            ] {
                if seen.mark != Mark::None {
                    cell(&run.name, side, seen);
                }
            }
        }
    }
    line("");
}

fn cell(run: &str, side: &str, seen: &Observation) {
    line(&format!(
        "    {run:<13} {side:<18} {} {}",
        show::mark(seen.mark),
        seen.text
    ));
}

/// Prints the decisive events of a run.
fn events(run: &Run) {
    line(&show::strong(&format!("{}, the decisive events", run.name)));
    for decisive in run.decisive.iter().take(SHOWN_EVENTS) {
        let at = run
            .timeline
            .event(decisive.event)
            .map_or(0, |event| event.at);
        line(&format!(
            "    {:12.6} s  {} {}",
            at as f64 / 1e9,
            show::mark(decisive.mark),
            decisive.meaning
        ));
    }
    line("");
}

/// Prints what the probes did to the guest.
fn changes(report: &Report) {
    for run in &report.runs {
        let machine = &run.machine;
        let what = match run.changes.len() {
            0 => "nothing was changed in the guest".to_owned(),
            1 => "one value was changed in the guest's memory".to_owned(),
            n => format!("{n} values were changed in the guest's memory (the report lists each)"),
        };
        line(&format!("    {:<13} {what}", run.name));
        // Both runs have the same kernel, which is named once.
        if run.name == report.runs[0].name {
            line(&format!("    {:<13} kernel {}", "both", machine.kernel));
            line(&format!("    {:<13} SHA-256 {}", "", machine.sha256));
        }
    }
    line("");
}
