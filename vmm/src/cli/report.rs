//! What is reported of a run when it is over.

use std::io::Write;

use serde::Serialize;
use vmm::sanitizer::Findings;
use vmm::{Reason, Summary};
use vmm_faults::{Account, FaultRecord};

use super::console::Watcher;
use super::signals::Cause;
use super::{CommandExit, text};

/// A run, judged.
#[derive(Debug)]
pub struct Verdict {
    /// The way in which it ended.
    pub outcome: CommandExit,
    /// The same as a sentence that begins with "the guest".
    pub sentence: String,
}

/// Judges a run that ended for `reason`, in which `commands` commands should have succeeded.
pub fn judge(reason: Reason, cause: Option<Cause>, watcher: &Watcher, commands: usize) -> Verdict {
    let mut seen = watcher.seen();
    let expected = seen.expect.as_mut().map(|expect| expect.finish());
    let ended = format!("the guest {}", reason.sentence());
    let verdict = |outcome, sentence: String| Verdict { outcome, sentence };
    if let (Reason::Stopped, Some(Cause::Signal(number))) = (reason, cause) {
        return verdict(
            CommandExit::Signal(number),
            format!("{ended} by signal {number}"),
        );
    }
    // What was expected counts first, whatever ended the run: it was there.
    match (expected, reason) {
        (Some(true), _) => {
            return verdict(
                CommandExit::Success,
                "the guest showed what was expected".into(),
            );
        }
        // Before the missing pattern: 124 says that more time might have shown it.
        (_, Reason::Timeout | Reason::WallTimeout | Reason::InstructionLimit) => {
            return verdict(CommandExit::Timeout, ended);
        }
        (Some(false), _) => {
            return verdict(
                CommandExit::GuestFailure,
                format!("{ended} without showing what was expected"),
            );
        }
        (None, Reason::Stopped) => return verdict(CommandExit::Success, ended),
        (None, _) => {}
    }
    match seen.commands.complaint(commands) {
        // A guest that died says more than the command that it left undone.
        _ if matches!(
            reason,
            Reason::Reset | Reason::GuestDead | Reason::HostFailure
        ) =>
        {
            verdict(CommandExit::GuestFailure, ended)
        }
        Some(complaint) => verdict(
            CommandExit::GuestFailure,
            format!("{ended}, but {complaint}"),
        ),
        None => verdict(CommandExit::Success, ended),
    }
}

/// Returns the summary line for a person.
pub fn line(verdict: &Verdict, summary: &Summary) -> String {
    // KVM's cores count no instructions.
    if summary.kvm {
        let time = text::seconds(summary.guest_ns);
        return format!("{} after {time}, run by KVM", verdict.sentence);
    }
    format!(
        "{} after {} instructions in {} of its time; that took {} here ({:.0} MIPS)",
        verdict.sentence,
        text::count(summary.instructions),
        text::seconds(summary.guest_ns),
        text::seconds(summary.wall_ns),
        summary.mips,
    )
}

/// The summary for a program.
#[derive(Debug, Serialize)]
struct Report<'a> {
    outcome: &'static str,
    exit_code: u8,
    sentence: &'a str,
    image: Option<&'a str>,
    guest_ready: bool,
    command_statuses: &'a [u8],
    #[serde(flatten)]
    summary: &'a Summary,
    /// What `--sanitize` found.
    #[serde(skip_serializing_if = "Option::is_none")]
    sanitizer: Option<&'a Findings>,
    #[serde(skip_serializing_if = "Option::is_none")]
    injected: Option<Injected<'a>>,
}

/// The faults of a run that had a fault plan.
#[derive(Debug, Serialize)]
struct Injected<'a> {
    faults: u64,
    /// The first of them.
    told: &'a [FaultRecord],
}

/// Writes the summary for a program as JSON.
pub fn write(
    to: &mut dyn Write,
    verdict: &Verdict,
    image: Option<&str>,
    watcher: &Watcher,
    summary: &Summary,
    (sanitizer, faults): (Option<&Findings>, Option<&Account>),
) -> std::io::Result<()> {
    let seen = watcher.seen();
    let report = Report {
        outcome: verdict.outcome.name(),
        exit_code: verdict.outcome.code(),
        sentence: &verdict.sentence,
        image,
        guest_ready: seen.commands.ready(),
        command_statuses: seen.commands.statuses(),
        summary,
        sanitizer,
        injected: faults.map(|account| Injected {
            faults: account.faults,
            told: &account.told,
        }),
    };
    serde_json::to_writer_pretty(&mut *to, &report)?;
    writeln!(to)?;
    to.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::console::Watched;
    use vmm::ConsoleSink;
    use vmm::inspect::Expect;

    fn judged(
        reason: Reason,
        cause: Option<Cause>,
        expect: Option<&str>,
        shown: &str,
        commands: usize,
    ) -> CommandExit {
        let (mut console, watcher) =
            Watched::new(None, expect.map(|pattern| Expect::new(pattern).unwrap()));
        console.write(shown.as_bytes());
        judge(reason, cause, &watcher, commands).outcome
    }

    #[test]
    fn every_end_has_its_outcome() {
        use CommandExit::{GuestFailure, Signal, Success, Timeout};
        let of = |reason| judged(reason, None, None, "", 0);
        assert_eq!(of(Reason::PowerOff), Success);
        assert_eq!(of(Reason::Stopped), Success);
        assert_eq!(of(Reason::Reset), GuestFailure);
        assert_eq!(of(Reason::GuestDead), GuestFailure);
        for reason in [
            Reason::Timeout,
            Reason::WallTimeout,
            Reason::InstructionLimit,
        ] {
            assert_eq!(of(reason), Timeout);
        }
        assert_eq!(
            judged(Reason::Stopped, Some(Cause::Signal(15)), None, "", 0),
            Signal(15)
        );
        assert_eq!(
            judged(Reason::Stopped, Some(Cause::Quit), None, "", 0),
            Success
        );
    }

    #[test]
    fn an_expectation_decides() {
        use CommandExit::{GuestFailure, Success, Timeout};
        let of = |reason, shown| judged(reason, None, Some("yes$"), shown, 1);
        assert_eq!(of(Reason::ConsoleStop, "yes\n"), Success);
        assert_eq!(of(Reason::PowerOff, "oh yes"), Success);
        assert_eq!(of(Reason::PowerOff, "no"), GuestFailure);
        assert_eq!(of(Reason::Stopped, "no"), GuestFailure);
        assert_eq!(of(Reason::Timeout, "no"), Timeout);
    }

    #[test]
    fn commands_must_succeed() {
        let of = |shown| judged(Reason::PowerOff, None, None, shown, 1);
        assert_eq!(of("guest: command 1 exited with 0\n"), CommandExit::Success);
        assert_eq!(
            of("guest: command 1 exited with 1\n"),
            CommandExit::GuestFailure
        );
        assert_eq!(of("guest: ready\n"), CommandExit::GuestFailure);
    }
}
