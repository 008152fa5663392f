//! A campaign in numbers.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::classify::{Outcome, Verdict};
use super::run::Record;

/// Longest reason that stands in a table.
const MAX_WHY: usize = 128;
/// Most reasons of one outcome that are told.
const MAX_REASONS: usize = 12;

/// Runs with one outcome.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Group {
    /// The outcome.
    pub outcome: Outcome,
    /// How many.
    pub runs: u64,
    /// Reasons, the commonest first: how often, and the first run that had it.
    pub reasons: Vec<Reason>,
}

/// Why runs ended as they did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reason {
    /// In words; numbers in it are those of the example.
    pub why: String,
    /// How many runs.
    pub runs: u64,
    /// The number of the first of them.
    pub example: u64,
}

/// What the kernel says before it says what it was surprised by.
const CUT: &str = "------------[ cut here ]";

/// Returns why a run ended as it did, for a table: of a crash also where, as one address is like
/// another, and of a surprise what it was.
pub(super) fn headline(verdict: &Verdict) -> String {
    let Verdict {
        why, said, stack, ..
    } = verdict;
    if let Some(place) = stack.iter().find(|line| line.starts_with("PC is at ")) {
        return format!("{place}: {why}");
    }
    let cut = why.starts_with(CUT);
    let next = said.iter().skip_while(|line| !line.starts_with(CUT)).nth(1);
    next.filter(|_| cut).unwrap_or(why).clone()
}

/// A campaign in numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    /// The plan's name or file.
    pub plan: String,
    /// The plan's title.
    pub title: String,
    /// The campaign's seed.
    pub seed: u64,
    /// Whether every point was walked.
    pub systematic: bool,
    /// Runs.
    pub runs: u64,
    /// Runs in which no fault happened.
    pub faultless: u64,
    /// Faults in all runs.
    pub faults: u64,
    /// Outcomes that occurred, from best to worst.
    pub groups: Vec<Group>,
}

impl Summary {
    /// Sums `records` up.
    pub fn new<'r>(
        plan: &str,
        title: &str,
        seed: u64,
        systematic: bool,
        records: impl Iterator<Item = &'r Record>,
    ) -> Self {
        let mut summary = Self {
            plan: plan.into(),
            title: title.into(),
            seed,
            systematic,
            runs: 0,
            faultless: 0,
            faults: 0,
            groups: Vec::new(),
        };
        let mut groups: BTreeMap<Outcome, (u64, BTreeMap<String, Reason>)> = BTreeMap::new();
        for record in records {
            summary.runs += 1;
            summary.faults += record.faults;
            summary.faultless += u64::from(record.faults == 0);
            let (runs, reasons) = groups.entry(record.verdict.outcome).or_default();
            *runs += 1;
            // By characters: the guest may say any, and a cut within one would panic.
            let why: String = record.headline().chars().take(MAX_WHY).collect();
            // Addresses and counts differ from run to run; what is left tells reasons apart.
            let alike = why.replace(|c: char| c.is_ascii_hexdigit(), "");
            // Records come in the order of runs, so that the first with a reason is its example.
            let reason = reasons.entry(alike).or_insert(Reason {
                why,
                runs: 0,
                example: record.run,
            });
            reason.runs += 1;
        }
        summary.groups = groups
            .into_iter()
            .map(|(outcome, (runs, reasons))| {
                let mut reasons: Vec<Reason> = reasons.into_values().collect();
                // The most frequent first.
                reasons.sort_by_key(|reason| (u64::MAX - reason.runs, reason.example));
                reasons.truncate(MAX_REASONS);
                Group {
                    outcome,
                    runs,
                    reasons,
                }
            })
            .collect();
        summary
    }

    /// Returns how many runs ended so.
    pub fn count(&self, outcome: Outcome) -> u64 {
        let group = self.groups.iter().find(|group| group.outcome == outcome);
        group.map_or(0, |group| group.runs)
    }

    /// Returns the command that repeats run `run`.
    pub fn command(&self, run: u64) -> String {
        let Self { plan, seed, .. } = self;
        let mode = if self.systematic { " --systematic" } else { "" };
        format!("vmm inject {plan}{mode} --seed {seed} --run {run} --timeline run-{run}.html")
    }

    /// Returns the summary as a table for a person.
    pub fn table(&self) -> String {
        let Self {
            plan, seed, runs, ..
        } = self;
        let mut text = format!(
            "{plan}, seed {seed}: {runs} runs, {} faults, {} runs without any\n\n",
            self.faults, self.faultless
        );
        for group in &self.groups {
            let share = 100.0 * group.runs as f64 / (*runs).max(1) as f64;
            let _ = writeln!(
                text,
                "{:24} {:>8} {share:>6.1} %",
                group.outcome.name(),
                group.runs
            );
        }
        for group in &self.groups {
            if group.outcome == Outcome::Unaffected {
                continue;
            }
            let _ = writeln!(text, "\n{}:", group.outcome);
            for reason in &group.reasons {
                let _ = writeln!(
                    text,
                    "  {:>6} x {}\n           {}",
                    reason.runs,
                    reason.why,
                    self.command(reason.example)
                );
            }
        }
        text
    }
}
