//! A run of the lab as the demo shows it: its verdict, what each side saw, and the decisive events.

use vmm::lab::{self, Case, Judged};
use vmm::timeline::{Mark, Observation, Report, Run};
use vmm::{GuestKernel, KernelChoice};

use super::show::{self, line};
use crate::cli::{UserError, install, text};

/// Most decisive events that are shown of a run; the report has all.
const SHOWN_EVENTS: usize = 8;

/// Obtains the kernel that a case runs on.
pub fn kernel(case: &Case) -> Result<GuestKernel, UserError> {
    let image = &case.machine.image;
    GuestKernel::obtain(image, &KernelChoice::OfImage, &mut install::terminal())
        .map_err(|why| UserError::new(why.to_string()))
}

/// Runs a case and says what it comes to.
pub fn judge(case: &Case, kernel: &GuestKernel) -> Result<Judged, UserError> {
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
pub fn table(report: &Report) {
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
pub fn events(run: &Run) {
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

/// Prints the kernel of the runs, which all have the same, and what probes did to it in each.
pub fn changes(report: &Report) {
    for run in &report.runs {
        let what = match run.changes.len() {
            0 => "nothing was changed in the guest".to_owned(),
            1 => "one value was changed in the guest's memory".to_owned(),
            n => format!("{n} values were changed in the guest's memory (the report lists each)"),
        };
        line(&format!("    {:<13} {what}", run.name));
    }
    if let Some(run) = report.runs.first() {
        let machine = &run.machine;
        line(&format!("    {:<13} {}", "kernel", machine.kernel));
        line(&format!("    {:<13} {}", "SHA-256", machine.sha256));
    }
    line("");
}
