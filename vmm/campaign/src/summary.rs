//! A campaign in numbers.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;
use vmm_files::shell::quoted;
use vmm_sanitizer::Kind;

use super::classify::{Outcome, Verdict};
use super::code::{CodeCoverage, Covered};
use super::coverage::{Coverage, Covering};
use super::journal::Header;
use super::run::Record;
use super::walk::Walk;

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

/// Mistakes with DMA of one kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MistakeLine {
    /// How many.
    pub count: u64,
    /// How many runs had one.
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
    /// Whether then every two points were, too.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub pairs: bool,
    /// The mistakes with DMA that were looked for, as `--sanitize` takes them, if any were.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sanitize: Option<String>,
    /// Those that were found, by kind.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub mistakes: BTreeMap<Kind, MistakeLine>,
    /// Where the kernel's types come from, if from a file or the name of an image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vmlinux: Option<String>,
    /// Runs.
    pub runs: u64,
    /// Runs in which no fault happened.
    pub faultless: u64,
    /// Faults in all runs.
    pub faults: u64,
    /// Outcomes that occurred, from best to worst.
    pub groups: Vec<Group>,
    /// What a walk of every point has covered.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coverage: Option<Coverage>,
    /// Which code of the kernel was reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<CodeCoverage>,
    /// Runs with a mistake, by outcome.
    #[serde(skip)]
    mistaken: BTreeMap<Outcome, u64>,
    /// The points of the scenario, of a campaign that chooses among them.
    #[serde(skip)]
    walk: Option<Walk>,
    /// Of a guided campaign: the points of each run, as `--points` takes them.
    #[serde(skip)]
    guided: BTreeMap<u64, String>,
}

impl Summary {
    /// Sums up `records`, which are runs of a campaign with this header.
    pub fn new<'r>(header: &Header, records: impl Iterator<Item = &'r Record>) -> Self {
        let mut summary = Self {
            plan: header.plan.clone(),
            title: header.title.clone(),
            seed: header.seed,
            systematic: header.systematic,
            pairs: header.pairs,
            sanitize: header.sanitize.clone(),
            mistakes: BTreeMap::new(),
            vmlinux: header.vmlinux.clone(),
            runs: 0,
            faultless: 0,
            faults: 0,
            groups: Vec::new(),
            coverage: None,
            code: None,
            mistaken: BTreeMap::new(),
            walk: header.walk.clone(),
            guided: BTreeMap::new(),
        };
        let walk = header.walk.as_ref();
        let mut covering = walk.map(|walk| Covering::new(walk, header.pairs));
        let mut covered = header.code.as_ref().map(Covered::new);
        let mut groups: BTreeMap<Outcome, (u64, BTreeMap<String, Reason>)> = BTreeMap::new();
        for record in records {
            summary.runs += 1;
            if header.guided {
                let points = record.points().into_iter();
                let points = points.map(|(fault, nth)| format!("{}:{nth}", fault + 1));
                let points: Vec<String> = points.collect();
                summary.guided.insert(record.run, points.join(","));
            }
            covering
                .iter_mut()
                .for_each(|covering| covering.add(record));
            covered.iter_mut().for_each(|covered| covered.add(record));
            // A journal may say anything.
            summary.faults = summary.faults.saturating_add(record.faults);
            summary.faultless += u64::from(record.faults == 0);
            summary.add_mistakes(record);
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
        summary.coverage = covering.map(Covering::end);
        summary.code = covered.map(|covered| covered.end());
        summary
    }

    fn add_mistakes(&mut self, record: &Record) {
        if !record.mistakes.is_empty() {
            *self.mistaken.entry(record.verdict.outcome).or_default() += 1;
        }
        for (kind, count) in &record.mistakes.counts {
            // Records come in the order of runs, so that the first is the example.
            let line = self.mistakes.entry(*kind).or_insert(MistakeLine {
                count: 0,
                runs: 0,
                example: record.run,
            });
            line.count = line.count.saturating_add(*count);
            line.runs += 1;
        }
    }

    /// Returns how many runs fail where these outcomes are denied. One with a mistake with DMA
    /// always does, and a bug of ours is none of them.
    pub fn failures(&self, denied: &[Outcome]) -> u64 {
        let outcomes = self.groups.iter().map(|group| group.outcome);
        let outcomes = outcomes.filter(|outcome| *outcome != Outcome::VmmError);
        let failed = |outcome| match denied.contains(&outcome) {
            true => self.count(outcome),
            false => self.mistaken.get(&outcome).copied().unwrap_or(0),
        };
        outcomes.map(failed).sum()
    }

    /// Returns how many runs ended so.
    pub fn count(&self, outcome: Outcome) -> u64 {
        let group = self.groups.iter().find(|group| group.outcome == outcome);
        group.map_or(0, |group| group.runs)
    }

    /// Returns the command that repeats run `run`.
    pub fn command(&self, run: u64) -> String {
        let sanitize = self.sanitize.as_ref();
        let sanitize = sanitize.map(|options| format!(" --sanitize {options}"));
        let again = self.again(run, &sanitize.unwrap_or_default());
        format!("{again} --timeline run-{run}.html")
    }

    /// Returns the command that has a debugger stop in run `run`, a moment before its first fault.
    pub fn debug_command(&self, run: u64) -> String {
        // A sanitizer and a debugger do not go together.
        format!("{} --gdb 1234", self.again(run, ""))
    }

    fn again(&self, run: u64, sanitize: &str) -> String {
        let Self { plan, seed, .. } = self;
        let plan = quoted(plan);
        let mode = match (self.guided.get(&run), self.systematic, self.pairs) {
            (Some(points), ..) => format!(" --points {points}"),
            (None, true, true) => " --systematic pairs".into(),
            (None, true, false) => " --systematic".into(),
            (None, false, _) => String::new(),
        };
        let vmlinux = self.vmlinux.as_deref();
        let vmlinux =
            vmlinux.map_or_else(String::new, |file| format!(" --vmlinux {}", quoted(file)));
        format!("vmm inject {plan}{mode}{sanitize}{vmlinux} --seed {seed} --run {run}")
    }

    /// Returns where faults were injected in a run of a walk, and which, in words.
    pub(super) fn points(&self, record: &Record) -> Option<String> {
        let walk = self.walk.as_ref()?;
        let points = record.points().into_iter();
        let words: Vec<String> = points.map(|point| walk.words(point)).collect();
        (!words.is_empty()).then(|| words.join("; "))
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
                if group.outcome.is_failure() {
                    let _ = writeln!(text, "           {}", self.debug_command(reason.example));
                }
            }
        }
        if let Some(options) = &self.sanitize {
            let found = match self.mistakes.is_empty() {
                true => " none",
                false => "",
            };
            let _ = writeln!(text, "\nmistakes with DMA (--sanitize {options}):{found}");
        }
        for (kind, line) in &self.mistakes {
            let MistakeLine {
                count,
                runs,
                example,
            } = line;
            let command = self.command(*example);
            let _ = writeln!(
                text,
                "  {count:>6} x {kind}, in {runs} runs\n           {command}"
            );
        }
        if let Some(coverage) = &self.coverage {
            text.push_str(&coverage.table());
        }
        if let Some(code) = &self.code {
            text.push_str(&code.table());
        }
        text
    }
}
