//! `--sanitize`.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;

use vmm::introspect::types::vmlinux::TypesFrom;
use vmm::sanitizer::{DmaApi, Findings, Options, Report, Sanitizer, counted};
use vmm::timeline::recording::Recording;
use vmm::{IommuSink, Machine};
use vmm_base::Seconds;
use vmm_machine::BothSinks;

use super::CommandExit;
use super::patience::Stderr;
use super::report::Verdict;
use super::text;

/// Returns the sanitizer that `options` ask for: each report is printed on stderr, and an event of
/// `recording`.
pub fn sanitizer(
    options: Option<&Options>,
    recording: Option<&Arc<Recording>>,
) -> Option<Arc<Sanitizer>> {
    let recording = recording.map(Arc::clone);
    let tell = move |report: &Report| {
        // A stderr that went away is no reason to stop.
        let _ = Stderr.write_all(shown(report).as_bytes());
        if let Some(recording) = &recording {
            report.record(recording);
        }
    };
    Some(Sanitizer::new(options?.clone(), Box::new(tell)))
}

/// Has the sanitizer of `machine` follow the DMA API of its guest's kernel, of which these are the
/// types. Where that cannot be done a line says so, and the other kinds are looked for.
pub fn watch(
    sanitizer: Option<&Arc<Sanitizer>>,
    machine: &mut Machine,
    types: TypesFrom,
) -> Option<DmaApi> {
    match DmaApi::attach(sanitizer?, machine, types) {
        Ok(api) => Some(api),
        Err(why) => {
            text::complain(&not_watched(&why));
            None
        }
    }
}

/// Returns that kinds were not looked for, as a sentence.
pub fn not_watched(why: &dyn std::fmt::Display) -> String {
    format!("the sanitizer does not follow the kernel's DMA API: {why}")
}

/// Returns that the CPU's accesses to memory of so many mappings were not looked at, as a sentence.
pub fn beyond(mappings: u64) -> String {
    format!(
        "the sanitizer did not watch the CPU's accesses to {mappings} mappings: more was mapped at a \
         time than it watches"
    )
}

/// Returns the sink of a machine that has a sanitizer, if it has one, and perhaps another sink.
pub fn sink(
    sanitizer: Option<&Arc<Sanitizer>>,
    other: Option<Arc<dyn IommuSink>>,
) -> Option<Arc<dyn IommuSink>> {
    BothSinks::of(other, sanitizer.map(Sanitizer::sink))
}

/// Returns a report as it is printed: what happened, and below it who had to do with it.
fn shown(report: &Report) -> String {
    let mut text = String::new();
    for (number, line) in report.lines().iter().enumerate() {
        // Symbols are the guest's: none of them may look like another line, or move the cursor.
        let line = line.escape_debug();
        // Writing to a string cannot fail.
        let _ = match number {
            0 => writeln!(text, "sanitize {} {line}", Seconds(report.at)),
            _ => writeln!(text, "sanitize   {line}"),
        };
    }
    text
}

/// Returns `verdict` for a run in which there was something to be found.
pub fn judge(verdict: Verdict, findings: &Findings) -> Verdict {
    let ended = matches!(
        verdict.outcome,
        CommandExit::Success | CommandExit::GuestFailure | CommandExit::Timeout
    );
    if findings.is_empty() || !ended {
        return verdict;
    }
    Verdict {
        outcome: CommandExit::DmaMistakes,
        ..verdict
    }
}

/// Returns what was found, as a sentence.
pub fn summary(findings: &Findings) -> String {
    if findings.is_empty() {
        return "the sanitizer found no mistake".into();
    }
    let beyond = match findings.beyond {
        0 => String::new(),
        beyond => format!("; {beyond} of them are in no report"),
    };
    let reports = match findings.reports.len() {
        1 => "1 report".to_owned(),
        many => format!("{many} reports"),
    };
    format!(
        "the sanitizer found mistakes, in {reports}: {}{beyond}",
        counted(&findings.counts)
    )
}

#[cfg(test)]
mod tests {
    use vmm::sanitizer::{Call, History, Kind};

    use super::*;

    fn report() -> Report {
        let call = Call {
            at: 5,
            core: Some(1),
            stack: vec!["dma_map_page_attrs+0x10".into(), "f\u{1b}[2J".into()],
        };
        let history = History {
            mapped: Some(call),
            ..History::default()
        };
        let text = "disk0 read IOVA 0x1000".into();
        Report::new(Kind::Leak, 1_000_000_002, "disk0", 0x1000, text).with_history(history)
    }

    #[test]
    fn a_report_says_what_and_who() {
        assert_eq!(
            shown(&report()),
            "sanitize 1.000000002 leak: disk0 read IOVA 0x1000\n\
             sanitize   mapped at 0.000000005 s on core 1 by dma_map_page_attrs+0x10 < f\\u{1b}[2J\n"
        );
    }

    #[test]
    fn what_was_not_watched_is_said() {
        assert_eq!(
            beyond(12),
            "the sanitizer did not watch the CPU's accesses to 12 mappings: more was mapped at a time \
             than it watches"
        );
    }

    #[test]
    fn what_was_found_decides_unless_there_was_no_whole_run() {
        let judged = |outcome, findings: &Findings| {
            let sentence = "the guest powered off".into();
            judge(Verdict { outcome, sentence }, findings).outcome
        };
        let sanitizer = sanitizer(Some(&"dma".parse().unwrap()), None).unwrap();
        let none = sanitizer.finish(0);
        assert_eq!(judged(CommandExit::Success, &none), CommandExit::Success);
        assert_eq!(summary(&none), "the sanitizer found no mistake");
        sanitizer.reports().add(report());
        sanitizer.reports().add(report());
        let found = sanitizer.finish(0);
        for outcome in [
            CommandExit::Success,
            CommandExit::GuestFailure,
            CommandExit::Timeout,
        ] {
            assert_eq!(judged(outcome, &found), CommandExit::DmaMistakes);
        }
        for outcome in [CommandExit::Diverged, CommandExit::Signal(2)] {
            assert_eq!(judged(outcome, &found), outcome);
        }
        assert_eq!(
            summary(&found),
            "the sanitizer found mistakes, in 1 report: leak 2"
        );
    }
}
