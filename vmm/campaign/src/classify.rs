//! The outcome of a run, and the evidence for it.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};
use vmm_machine::Reason;

use super::scenario::LOST;

/// The outcome of a run, from best to worst.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Everything was done, rightly, and the kernel said nothing that it does not say without
    /// faults.
    Unaffected,
    /// Somebody was told of an error, what was told to be right is right, and the device works.
    Recovered,
    /// The device does not work any more, and the guest goes on.
    DeviceLost,
    /// Data that a program was told is right is wrong.
    SilentCorruption,
    /// The guest did not come to an end.
    Hang,
    /// The kernel crashed.
    Crash,
    /// The machine failed: a bug of ours.
    VmmError,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Unaffected,
        Self::Recovered,
        Self::DeviceLost,
        Self::SilentCorruption,
        Self::Hang,
        Self::Crash,
        Self::VmmError,
    ];

    /// Returns whether the guest did not recover.
    pub fn is_failure(self) -> bool {
        self > Self::Recovered
    }

    /// Returns its name, in words.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Unaffected => "unaffected",
            Self::Recovered => "reported and recovered",
            Self::DeviceLost => "device lost",
            Self::SilentCorruption => "silent corruption",
            Self::Hang => "hang",
            Self::Crash => "guest oops or panic",
            Self::VmmError => "VMM error",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The verdict on a run, with its reasons.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// What.
    pub outcome: Outcome,
    /// Why, in one line.
    pub why: String,
    /// What the kernel said that it does not say without faults.
    pub said: Vec<String>,
    /// The kernel's last words, if it crashed.
    pub stack: Vec<String>,
}

/// The evidence of a run.
pub struct Evidence<'e> {
    /// Why it ended.
    pub reason: Reason,
    /// The console from the beginning of the scenario on.
    pub console: &'e str,
    /// How many commands the guest should have run.
    pub commands: usize,
    /// The kernel's lines in a run without faults.
    pub usual: &'e Lines,
    /// What is wrong with the data.
    pub wrong: &'e [String],
}

/// The kernel's lines, without their times, and how often each was said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lines(BTreeMap<String, usize>);

/// Most lines that are kept of what a kernel said.
const MAX_LINES: usize = 48;
/// Most lines that are kept of a kernel's last words: registers, which take some thirty, and then
/// the stack.
const MAX_STACK: usize = 96;

/// Words that only a kernel in trouble says, and that end its run here, as it runs with
/// `oops=panic`.
const CRASHES: [&str; 6] = [
    "Internal error: ",
    "Kernel panic - not syncing",
    "Unable to handle kernel ",
    "Unhandled fault: ",
    "kernel BUG at ",
    "Oops: ",
];

/// What ARM's kernel says before it says what is wrong.
const CUT: &str = "8<--- cut here ---";

/// Returns a line of the kernel, without its time; none if it is not one.
fn message(line: &str) -> Option<&str> {
    // printk pads the seconds with blanks on the left.
    let rest = line.strip_prefix('[')?.trim_start();
    let (time, text) = rest.split_once("] ")?;
    let digits = |c: char| c.is_ascii_digit() || c == '.';
    time.chars().all(digits).then_some(text.trim_end())
}

/// Returns the same with numbers that differ from run to run made alike.
fn key(text: &str) -> String {
    let mut key = String::new();
    for c in text.chars() {
        let c = if c.is_ascii_digit() { '#' } else { c };
        if c != '#' || !key.ends_with('#') {
            key.push(c);
        }
    }
    key
}

impl Lines {
    /// Returns the kernel's lines in `console`.
    pub fn of(console: &str) -> Self {
        let mut lines = BTreeMap::new();
        for text in console.lines().filter_map(message) {
            *lines.entry(key(text)).or_default() += 1;
        }
        Self(lines)
    }

    /// Returns the lines of `console` that are not among these, in order.
    fn unusual(&self, console: &str) -> Vec<String> {
        let mut usual = self.0.clone();
        let mut said = Vec::new();
        for text in console.lines().filter_map(message) {
            match usual.get_mut(&key(text)) {
                // A line that is usual once is unusual the second time.
                Some(left @ 1..) => *left -= 1,
                _ if said.len() < MAX_LINES => said.push(text.to_owned()),
                _ => {}
            }
        }
        said
    }
}

/// Returns how each command ended, in order, as far as they did.
pub fn statuses(console: &str) -> Vec<u8> {
    let mut statuses = Vec::new();
    for line in console.lines() {
        // The kernel may have said something in the same line before.
        let Some((_, rest)) = line.split_once("guest: command ") else {
            continue;
        };
        // Only the next number counts, whatever else looks like such a line.
        if let Some((number, status)) = rest.split_once(" exited with ")
            && number.parse() == Ok(statuses.len() + 1)
            && let Ok(status) = status.trim_end().parse()
        {
            statuses.push(status);
        }
    }
    statuses
}

/// Classifies a run by its evidence.
pub fn classify(evidence: &Evidence<'_>) -> Verdict {
    let Evidence {
        reason,
        console,
        commands,
        usual,
        wrong,
    } = *evidence;
    let said = usual.unusual(console);
    let statuses = statuses(console);
    let crash = console
        .lines()
        .position(|line| message(line).is_some_and(crashes));
    let stack: Vec<String> = crash.map_or_else(Vec::new, |first| {
        let lines = console.lines().skip(first).filter_map(message);
        lines.take(MAX_STACK).map(str::to_owned).collect()
    });
    let failed = statuses.iter().position(|status| *status != 0);
    let headline = stack
        .iter()
        .find(|line| !line.starts_with(CUT))
        .or(stack.first());
    // From the worst on: a crash explains lost devices and hangs, and not the other way.
    let (outcome, why) = if let Some(first) = headline {
        (Outcome::Crash, first.clone())
    } else if reason == Reason::Reset {
        // With `panic=-1` a panic resets the machine, even if its words were lost on the way.
        let why = "it asked for a reset".to_owned();
        (Outcome::Crash, why)
    } else if let Some(wrong) = wrong.first() {
        (Outcome::SilentCorruption, wrong.clone())
    } else if !matches!(reason, Reason::PowerOff | Reason::ConsoleStop) {
        let why = format!(
            "it {} in command {} of {commands}",
            reason.sentence(),
            // Also after its last command a guest may hang.
            (statuses.len() + 1).min(commands)
        );
        (Outcome::Hang, why)
    } else if statuses.len() < commands || statuses.last() == Some(&LOST) {
        let why = "the device does not work any more".to_owned();
        (Outcome::DeviceLost, why)
    } else if let Some(failed) = failed {
        let why = format!("command {} failed, and the device works", failed + 1);
        (Outcome::Recovered, why)
    } else if let Some(first) = said.first() {
        (Outcome::Recovered, first.clone())
    } else {
        (Outcome::Unaffected, String::new())
    };
    Verdict {
        outcome,
        why,
        said,
        stack,
    }
}

fn crashes(text: &str) -> bool {
    // Of the processor, that is, and not of an IOMMU, whose driver names the device first.
    CRASHES.iter().any(|words| text.starts_with(words)) || text.starts_with(CUT)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "[    1.5] usual 12\nguest: command 1 exited with 0\nguest: command 2 exited with \
        0\nguest: powering off\n[    1.6] reboot: Power down\n";

    fn of(reason: Reason, console: &str, wrong: &[String]) -> Verdict {
        classify(&Evidence {
            reason,
            console,
            commands: 2,
            usual: &Lines::of(GOOD),
            wrong,
        })
    }

    #[test]
    fn each_outcome_is_told() {
        let off = |console: &str| of(Reason::PowerOff, console, &[]).outcome;
        assert_eq!(off(GOOD), Outcome::Unaffected);
        assert_eq!(
            off(&GOOD.replace("usual 12", "usual 345")),
            Outcome::Unaffected
        );
        let told = GOOD.replace(
            "guest: command 2",
            "[    1.55] ipmmu-vmsa: Unhandled fault\nguest: command 2",
        );
        assert_eq!(off(&told), Outcome::Recovered);
        assert_eq!(
            off(&GOOD.replace("1 exited with 0", "1 exited with 1")),
            Outcome::Recovered
        );
        assert_eq!(
            off(&GOOD.replace("2 exited with 0", "2 exited with 99")),
            Outcome::DeviceLost
        );
        let wrong = ["one byte".to_owned()];
        assert_eq!(
            of(Reason::ConsoleStop, GOOD, &wrong).outcome,
            Outcome::SilentCorruption
        );
        for reason in [Reason::Timeout, Reason::InstructionLimit, Reason::GuestDead] {
            let verdict = of(reason, "guest: command 1 exited with 0\n", &[]);
            assert_eq!(verdict.outcome, Outcome::Hang);
            assert!(verdict.why.contains("in command 2 of 2"), "{}", verdict.why);
        }
    }

    #[test]
    fn a_crash_has_its_stack() {
        let console = "[    2.1] usual 1\n[    2.2] Internal error: Oops: 5 [#1] SMP ARM\n[    2.2] PC is \
            at f+0x10/0x20\nnoise\n[    2.3] Kernel panic - not syncing: Fatal exception\n";
        let verdict = of(Reason::Reset, console, &["x".into()]);
        assert_eq!(verdict.outcome, Outcome::Crash);
        assert_eq!(verdict.stack.len(), 3, "{:?}", verdict.stack);
        assert_eq!(verdict.stack[1], "PC is at f+0x10/0x20");
        assert_eq!(of(Reason::Reset, GOOD, &[]).outcome, Outcome::Crash);
        let iommu = "[    2.2] ipmmu-vmsa 9800000.iommu: Unhandled fault: status 0x1 iova 0x2\n";
        assert!(of(Reason::PowerOff, iommu, &[]).stack.is_empty());
    }

    #[test]
    fn what_a_kernel_says_is_bounded_and_nonsense_is_no_message() {
        let console: String = (0..500)
            .map(|n| format!("[    1.0] {}\n", "x".repeat(n)))
            .collect();
        assert_eq!(of(Reason::PowerOff, &console, &[]).said.len(), MAX_LINES);
        for line in ["[a] b", "[1.0]", "x [1.0] y", "", "[1.0 y"] {
            assert_eq!(message(line), None, "{line:?}");
        }
    }
}
