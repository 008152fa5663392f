//! Runs that are done again: one, with all about it, or some of a campaign's.

use std::path::Path;
use std::sync::Arc;

use vmm::GuestKernel;
use vmm::campaign::Summary;
use vmm::campaign::campaign::{Difference, Prepared};
use vmm::campaign::run::{Record, Task};

use super::Args;
use crate::cli::probes::Timeline;
use crate::cli::stdout::print;
use crate::cli::{CommandExit, UserError, text};

/// Repeats one run and tells all about it.
pub fn repeat(
    args: &Args,
    prepared: &Prepared<'_>,
    task: &Task,
    kernel: &GuestKernel,
    timeline: Option<Timeline>,
) -> Result<CommandExit, UserError> {
    let recording = timeline.as_ref().map(|t| Arc::clone(t.recording()));
    let done = prepared.runner.run(task, recording.as_ref());
    print(&told(&done.record));
    if let (Some(timeline), Some(machine)) = (timeline, &done.machine) {
        let config = prepared.runner.scenario.config(kernel, Path::new("disk"));
        let image = prepared.plan.scenario.image();
        timeline.write(&config, Some(image), machine, Vec::new())?;
    }
    Ok(args.results.judge(std::iter::once(&done.record)))
}

/// Returns all about a run, in lines.
pub fn told(record: &Record) -> String {
    let verdict = &record.verdict;
    let mut out = format!(
        "run {}, seed {}: {}",
        record.run, record.seed, verdict.outcome
    );
    if !verdict.why.is_empty() {
        out.push_str(&format!(": {}", verdict.why));
    }
    out.push('\n');
    for told in &record.told {
        let at = text::seconds(told.at_ns);
        out.push_str(&format!(
            "  {at} {} (fault {} of the plan)\n",
            told.text,
            told.rule + 1
        ));
    }
    for line in verdict.said.iter().take(20) {
        out.push_str(&format!("  the kernel: {line}\n"));
    }
    for line in &verdict.stack {
        out.push_str(&format!("  {line}\n"));
    }
    for line in record.mistakes.lines() {
        out.push_str(&format!("  sanitize {line}\n"));
    }
    out.push_str(&format!("digest {}\n", record.digest));
    out
}

/// Returns what came of doing `count` runs again, of which `others` were not what they had been.
/// Some of them may have been `read` from a journal.
pub fn repeated(summary: &Summary, count: usize, others: &[Difference], read: bool) -> String {
    let mut text = format!("\n{count} runs were done again: ");
    let cause = if read {
        "the journal was changed, or it is a bug of ours"
    } else {
        "a bug of ours"
    };
    if others.is_empty() {
        text.push_str("each was what it had been\n");
    } else {
        text.push_str(&format!("{} were others: {cause}\n", others.len()));
    }
    for Difference { run, what } in others.iter().take(12) {
        text.push_str(&format!("  {}: {what}\n", summary.command(*run)));
    }
    text
}
