//! One run: a machine comes to the beginning of its scenario, faults begin, and what becomes of it
//! is told.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use rand_core::{RngCore, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use vmm_faults::spec::Rule;
use vmm_faults::{Account, FaultRecord, Injection};
use vmm_machine::{Limits, Machine};
use vmm_sanitizer::Findings;

use super::classify::{Evidence, Lines, Outcome, Verdict, classify, statuses};
use super::code::CodeMap;
use super::conditions::Conditions;
use super::error::CampaignError;
use super::functions::Functions;
use super::mistakes::Mistakes;
use super::scenario::{DISK_BYTES, Scenario};
use super::start::{Start, Started, Viewer};
use super::summary;
use super::walk::FaultAt;
use vmm_timeline::recording::Recording;

/// Faults that are kept of a run.
const MAX_TOLD: usize = 16;

/// The task of a run.
#[derive(Clone, Debug)]
pub struct Task {
    /// Its number, from 0.
    pub run: u64,
    /// Its seed.
    pub seed: u64,
    /// The rules that strike in it.
    pub rules: Vec<Rule>,
    /// Where the run has chosen points: which rule of the plan, and at which of its points.
    pub point: Option<FaultAt>,
    /// In a run with several points: the others.
    pub more: Vec<FaultAt>,
    /// Whether the run is to find out where points are.
    pub survey: bool,
}

impl Task {
    /// Returns which rule of the plan a rule of this run is.
    fn rule(&self, number: usize) -> usize {
        let mut points = self.point.iter().chain(&self.more);
        points.nth(number).map_or(number, |(rule, _)| *rule)
    }
}

/// The record of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its number.
    pub run: u64,
    /// Its seed.
    pub seed: u64,
    /// Where the run has chosen points: which rule of the plan, from 0, and at which of its
    /// points, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub point: Option<FaultAt>,
    /// In a run with several points: the others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub more: Vec<FaultAt>,
    /// The verdict.
    pub verdict: Verdict,
    /// How many faults there were.
    pub faults: u64,
    /// The first of them.
    pub told: Vec<FaultRecord>,
    /// Guest time from the beginning of the scenario to the end, in nanoseconds.
    pub guest_ns: u64,
    /// Instructions in that time.
    pub instructions: u64,
    /// The blocks of code that it reached, of those that the scenario does not reach without
    /// faults.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub blocks: BTreeSet<usize>,
    /// The mistakes with DMA that a sanitizer has found, if one looked on.
    #[serde(default, skip_serializing_if = "Mistakes::is_empty")]
    pub mistakes: Mistakes,
    /// The SHA-256 of all that repeats: two runs that differ in anything have two.
    pub digest: String,
    /// What tables say of it, if what that was taken from is not kept.
    #[serde(skip)]
    pub(super) headline: Option<String>,
}

impl Record {
    /// Returns the points that were chosen for it.
    pub fn points(&self) -> Vec<FaultAt> {
        self.point.iter().chain(&self.more).copied().collect()
    }

    /// Gives up what sums and tables do not need.
    pub(super) fn trim(&mut self) {
        self.headline = Some(self.headline());
        let Verdict { said, stack, .. } = &mut self.verdict;
        (*said, *stack, self.told) = (Vec::new(), Vec::new(), Vec::new());
        self.mistakes.reports = Vec::new();
    }

    /// Returns why it ended as it did, for a table.
    pub(super) fn headline(&self) -> String {
        let kept = self.headline.clone();
        kept.unwrap_or_else(|| summary::headline(&self.verdict))
    }

    /// Returns in words how `again`, the same run done once more, differs. What
    /// [`RetentionPolicy`](super::campaign::RetentionPolicy) has taken from this record is not
    /// looked at.
    pub fn difference(&self, again: &Self) -> Option<String> {
        let Self {
            run,
            seed,
            point,
            more,
            verdict,
            faults,
            told,
            guest_ns,
            instructions,
            blocks,
            mistakes,
            digest,
            headline: _,
        } = self;
        let points = (point, more) != (&again.point, &again.more);
        let differs = |what: &str, then: &dyn Display, now: &dyn Display| {
            let (then, now) = (then.to_string(), now.to_string());
            (then != now).then(|| format!("{what} was {then} and is {now}"))
        };
        let Verdict {
            outcome,
            why,
            said,
            stack,
        } = verdict;
        // All three empty may mean trimmed: then only the digest, which covers them, is compared.
        let whole = !(said.is_empty() && stack.is_empty() && told.is_empty());
        let details = (said, stack, told, mistakes)
            != (
                &again.verdict.said,
                &again.verdict.stack,
                &again.told,
                &again.mistakes,
            );
        differs("the number", run, &again.run)
            .or_else(|| differs("the outcome", outcome, &again.verdict.outcome))
            .or_else(|| differs("the reason", why, &again.verdict.why))
            .or_else(|| differs("the number of faults", faults, &again.faults))
            .or_else(|| {
                differs(
                    "the number of instructions",
                    instructions,
                    &again.instructions,
                )
            })
            .or_else(|| differs("the guest's time in ns", guest_ns, &again.guest_ns))
            .or_else(|| differs("the seed", seed, &again.seed))
            .or_else(|| {
                differs(
                    "the number of mistakes with DMA",
                    &mistakes.sum(),
                    &again.mistakes.sum(),
                )
            })
            .or_else(|| differs("the digest", digest, &again.digest))
            .or_else(|| {
                (*blocks != again.blocks).then(|| "the code that it reached was another".to_owned())
            })
            .or_else(|| points.then(|| "the point was another".to_owned()))
            .or_else(|| (whole && details).then(|| "what was said or done was other".to_owned()))
    }
}

/// Returns the seed of run `run` of a campaign with `seed`.
pub fn seed_of(seed: u64, run: u64) -> u64 {
    // An odd constant brings the seeds of neighbouring runs apart; the generator mixes them.
    let mixed = seed.wrapping_add(run.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    Xoshiro256PlusPlus::seed_from_u64(mixed).next_u64()
}

/// The parts that all runs of a campaign have in common.
pub struct Runner<'r> {
    /// Where they come from.
    pub start: &'r dyn Start,
    /// What the guest does.
    pub scenario: &'r Scenario,
    /// Where the functions are that the plan names.
    pub functions: Functions,
    /// The functions that it waits for under conditions.
    pub(super) conditions: Conditions,
    /// What the kernel says without faults.
    pub usual: Lines,
    /// The code that is looked at, if any.
    pub code: Option<CodeMap>,
}

/// A run that is over.
pub struct Done {
    /// The record.
    pub record: Record,
    /// What happened to the plan.
    pub account: Account,
    /// Its console, from the beginning of the scenario on.
    pub console: String,
    /// The machine, unless it failed.
    pub machine: Option<Machine>,
}

/// The machine of a run that was not run yet.
pub struct Debuggee {
    started: Started,
    /// The limits of its run.
    pub limits: Limits,
}

impl Debuggee {
    /// Returns the machine.
    pub fn machine(&mut self) -> &mut Machine {
        &mut self.started.machine
    }
}

impl Runner<'_> {
    /// Runs `task`. A failure of the machine, a panic even, is an outcome like any other.
    pub fn run(&self, task: &Task, recording: Option<&Arc<Recording>>) -> Done {
        let injection = Injection::new();
        // What is used after a panic is the injection's account, which is changed under a lock.
        let attempt = catch_unwind(AssertUnwindSafe(|| {
            self.attempt(task, &injection, recording.into())
        }));
        let why = match attempt {
            Ok(Ok(done)) => return done,
            Ok(Err(error)) => error.to_string(),
            Err(panic) => {
                // The payload of `panic!` is a `String` if its message was formatted, and else a
                // `&str`.
                let text = panic
                    .downcast_ref::<String>()
                    .map(String::as_str)
                    .or_else(|| panic.downcast_ref::<&str>().copied());
                format!("it panicked: {}", text.unwrap_or("nobody knows why"))
            }
        };
        let account = injection.account();
        let verdict = Verdict {
            outcome: Outcome::VmmError,
            why,
            said: Vec::new(),
            stack: Vec::new(),
        };
        let seen = Seen::default();
        let record = record(task, verdict, &account, (0, 0), "", seen);
        Done {
            record,
            account,
            console: String::new(),
            machine: None,
        }
    }

    /// Returns the machine of `task` at the beginning of its scenario, with its faults before it,
    /// for who runs it otherwise: in it happens what happens in [`run`](Self::run).
    ///
    /// # Errors
    /// It does not come there, or the viewer cannot see it.
    pub fn debuggee(&self, task: &Task, viewer: Viewer<'_>) -> Result<Debuggee, CampaignError> {
        let started = self.begin(task, &Injection::new(), viewer)?;
        let limits = self.limits(&started.machine);
        Ok(Debuggee { started, limits })
    }

    /// Returns the limits of a run from here on.
    fn limits(&self, machine: &Machine) -> Limits {
        Limits {
            // Limits count from power-on, and so do the machine's numbers.
            guest_ns: Some(machine.guest_ns() + self.scenario.watchdog_ns),
            instructions: Some(machine.instructions() + self.scenario.watchdog_instructions),
            ..Limits::default()
        }
    }

    /// Has faults begin in a machine at the beginning of its scenario.
    fn begin(
        &self,
        task: &Task,
        injection: &Arc<Injection>,
        viewer: Viewer<'_>,
    ) -> Result<Started, CampaignError> {
        let mut started = self.start.start(injection, viewer)?;
        // Armed where the scenario begins: points and probes before it are not counted.
        match task.survey {
            true => injection.survey(&task.rules, task.seed),
            false => injection.arm(&task.rules, task.seed),
        }
        // First, as a rule may wait for the very call that it has fail.
        self.conditions.watch(&mut started.machine, injection)?;
        self.functions.watch(&mut started.machine, injection);
        Ok(started)
    }

    fn attempt(
        &self,
        task: &Task,
        injection: &Arc<Injection>,
        viewer: Viewer<'_>,
    ) -> Result<Done, CampaignError> {
        let Started {
            mut machine,
            console,
            skip,
            // Bound to a name, so that the file is there until its contents have been read.
            disk: _disk,
            watch,
        } = self.begin(task, injection, viewer)?;
        // Not by a summary, which counts what IOMMUs have mapped.
        let (guest_ns, instructions) = (machine.guest_ns(), machine.instructions());
        let code = self.code.as_ref();
        let reached = code.map(|code| code.watch(&mut machine));
        let exit = machine.run(self.limits(&machine));
        let spent = (
            machine.guest_ns() - guest_ns,
            machine.instructions() - instructions,
        );
        let bytes = console.bytes();
        let console = String::from_utf8_lossy(bytes.get(skip..).unwrap_or(&[])).replace('\r', "");
        let mut disk = vec![0; DISK_BYTES];
        machine
            .read_disk(0, 0, &mut disk)
            .map_err(CampaignError::ReadDisk)?;
        let wrong = self.scenario.verify(&disk, &statuses(&console));
        let verdict = classify(&Evidence {
            reason: exit.reason,
            console: &console,
            commands: self.scenario.commands.len(),
            usual: &self.usual,
            wrong: &wrong,
        });
        let account = injection.account();
        let seen = Seen {
            blocks: reached.map(|reached| reached.take()).unwrap_or_default(),
            findings: watch.map(|watch| watch.finish(machine.guest_ns())),
        };
        Ok(Done {
            record: record(task, verdict, &account, spent, &console, seen),
            account,
            console,
            machine: Some(machine),
        })
    }
}

/// What is looked at in a run on request.
#[derive(Default)]
struct Seen {
    blocks: BTreeSet<usize>,
    findings: Option<Findings>,
}

fn record(
    task: &Task,
    verdict: Verdict,
    account: &Account,
    (guest_ns, instructions): (u64, u64),
    console: &str,
    Seen { blocks, findings }: Seen,
) -> Record {
    // Journals keep the digest, and `--recheck` compares it with that of later builds: what goes
    // into it must stay the same.
    let mut digest = Sha256::new();
    digest.update(console);
    let told = &account.told;
    digest.update(format!(
        "{verdict:?} {guest_ns} {instructions} {} {told:?} {:?}",
        account.faults, account.points
    ));
    if let Some(findings) = &findings {
        digest.update(format!("{findings:?}"));
    }
    Record {
        run: task.run,
        seed: task.seed,
        point: task.point,
        more: task.more.clone(),
        verdict,
        faults: account.faults,
        told: told
            .iter()
            .take(MAX_TOLD)
            .map(|told| FaultRecord {
                // By its number in the plan, also where the run has some of its rules only.
                rule: task.rule(told.rule),
                ..told.clone()
            })
            .collect(),
        guest_ns,
        instructions,
        blocks,
        mistakes: findings.map_or_else(Mistakes::default, |found| {
            Mistakes::of(&found, task, account)
        }),
        digest: format!("{:x}", digest.finalize()),
        headline: None,
    }
}

#[cfg(test)]
mod tests;
