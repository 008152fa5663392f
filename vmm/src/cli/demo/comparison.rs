//! The headline: the teardown bug of 2017 beside its fix, on one unmodified kernel.

use std::path::Path;

use vmm::GuestKernel;
use vmm::lab::{self, Lab};
use vmm::timeline::export;
use vmm_machine::MAX_CPUS;

use super::show::{self, line, paragraph};
use super::verdict;
use crate::cli::UserError;
use crate::cli::sandbox::{self, Policy};

/// The fix, and its absence: B's probe is deferred, and A shares B's micro-TLB.
const CASES: [&str; 2] = [
    "deferral.shared.stock.off",
    "deferral.shared.guard-absent.off",
];
/// The report's name.
pub const REPORT: &str = "demo";

/// Runs both cases, shows what they come to, and writes the report to `directory`. Returns whether
/// both were as expected.
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
    // Each of `CASES` is the full name of a scenario, so that there are two cases.
    let kernel = verdict::kernel(&cases[0])?;
    enter_sandbox(&kernel, directory)?;
    let mut judged = Vec::new();
    for case in &cases {
        show::command(&format!("vmm lab run {}", case.name));
        judged.push(verdict::judge(case, &kernel)?);
    }
    // The one whose guest a probe changes: it must repeat with that, too.
    let again = verdict::judge(&cases[1], &kernel)?;
    line("");
    let report = lab::compare(&judged[0], &judged[1]);
    verdict::table(&report);
    report.runs.iter().for_each(verdict::events);
    verdict::changes(&report);
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
