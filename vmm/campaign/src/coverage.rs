//! What a walk of every point has covered.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::Serialize;
use vmm_faults::{Reached, Site};

use super::classify::Outcome;
use super::run::Record;
use super::walk::{FaultAt, Walk};

/// Most places that a table names which the plan is not about.
const MAX_ELSEWHERE: usize = 24;

/// What a walk of every point has covered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Coverage {
    /// How many points, of all kinds, the scenario comes to without faults.
    pub reached: u64,
    /// How many points the plan's faults have: each counts for each fault that is about it.
    pub points: u64,
    /// At how many of these a fault happened in a run of its own.
    pub injected: u64,
    /// Runs with two faults, if they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pairs: Option<Pairs>,
    /// How many different outcomes there were.
    pub outcomes: usize,
    /// Each fault of the plan, at each place.
    pub faults: Vec<Line>,
    /// Places which no fault of the plan is about.
    pub elsewhere: Vec<Reached>,
}

/// Runs with two faults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Pairs {
    /// How many pairs of points there are.
    pub of: u64,
    /// How many had their run.
    pub runs: u64,
    /// In how many of these both faults happened. After the first the guest may not come to the
    /// second's point any more; and two faults may be about the same point, where the first one
    /// happens.
    pub both: u64,
}

/// A fault of the plan at one place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Which fault, from 1.
    pub fault: usize,
    /// What happens.
    pub what: String,
    /// Where; `None` if the scenario comes to no point of this fault.
    pub site: Option<Site>,
    /// How many points.
    pub points: u64,
    /// At how many of these it happened in a run of its own.
    pub injected: u64,
    /// How those runs ended.
    pub outcomes: BTreeMap<Outcome, u64>,
}

/// Sums up what a walk has covered, run by run.
pub(super) struct Covering {
    coverage: Coverage,
    /// For each fault of the plan its stretches: their last points, and their lines.
    ends: Vec<Vec<(u64, usize)>>,
    /// Points at which a fault happened in a run of its own.
    injected: BTreeSet<FaultAt>,
    outcomes: BTreeSet<Outcome>,
}

impl Covering {
    /// Begins without runs of `walk`, which has `pairs` or not.
    pub fn new(walk: &Walk, pairs: bool) -> Self {
        let mut lines = Vec::new();
        let mut ends = Vec::new();
        for (fault, walked) in walk.faults.iter().enumerate() {
            let line = |site: Option<Site>| Line {
                fault: fault + 1,
                what: walked.what.clone(),
                site,
                points: 0,
                injected: 0,
                outcomes: BTreeMap::new(),
            };
            if walked.stretches.is_empty() {
                lines.push(line(None));
            }
            let mut places: BTreeMap<usize, usize> = BTreeMap::new();
            let mut end = 0_u64;
            let stretches = walked.stretches.iter().map(|stretch| {
                let number = *places.entry(stretch.site).or_insert_with(|| {
                    lines.push(line(walk.site(stretch.site).cloned()));
                    lines.len() - 1
                });
                let points = &mut lines[number].points;
                *points = points.saturating_add(stretch.points);
                end = end.saturating_add(stretch.points);
                (end, number)
            });
            ends.push(stretches.collect());
        }
        let pairs = pairs.then(|| Pairs {
            of: walk.runs(true).saturating_sub(walk.points()),
            ..Pairs::default()
        });
        let coverage = Coverage {
            reached: walk.reached(),
            points: walk.points(),
            injected: 0,
            pairs,
            outcomes: 0,
            faults: lines,
            elsewhere: walk.elsewhere().cloned().collect(),
        };
        Self {
            coverage,
            ends,
            injected: BTreeSet::new(),
            outcomes: BTreeSet::new(),
        }
    }

    /// Adds a run.
    pub fn add(&mut self, record: &Record) {
        let outcome = record.verdict.outcome;
        self.outcomes.insert(outcome);
        if !record.more.is_empty() {
            if let Some(pairs) = &mut self.coverage.pairs {
                pairs.runs += 1;
                pairs.both += u64::from(record.faults > 1);
            }
            return;
        }
        // What a journal says need not be of this walk.
        let Some(point) = record.point else {
            return;
        };
        let Some(line) = self.line(point) else {
            return;
        };
        let line = &mut self.coverage.faults[line];
        *line.outcomes.entry(outcome).or_default() += 1;
        // Once, also if a point was chosen again.
        let injected = u64::from(record.faults > 0 && self.injected.insert(point));
        line.injected += injected;
        self.coverage.injected += injected;
    }

    /// Returns the line of a point.
    fn line(&self, (fault, nth): FaultAt) -> Option<usize> {
        let ends = self.ends.get(fault)?;
        let stretch = ends.partition_point(|(end, _)| *end < nth);
        ends.get(stretch).map(|(_, line)| *line)
    }

    /// Returns what the runs have covered.
    pub fn end(self) -> Coverage {
        Coverage {
            outcomes: self.outcomes.len(),
            ..self.coverage
        }
    }
}

impl Coverage {
    /// Returns the sentences above the table.
    pub fn sentences(&self) -> Vec<String> {
        let Self {
            reached,
            points,
            injected,
            outcomes,
            ..
        } = self;
        let mut sentences = vec![format!(
            "{reached} points reached, of which the plan's faults have {points}; {injected} of these injected; \
             different outcomes: {outcomes}"
        )];
        if let Some(Pairs { of, runs, both }) = self.pairs {
            sentences.push(format!(
                "{runs} of {of} pairs of points run, in {both} of which both faults happened"
            ));
        }
        sentences
    }

    /// Returns the names of places which no fault of the plan is about.
    pub fn elsewhere(&self) -> String {
        let named = self.elsewhere.iter().take(MAX_ELSEWHERE);
        let mut names: Vec<String> = named
            .map(|Reached { site, points }| format!("{site} {points}"))
            .collect();
        let more = self.elsewhere.len().saturating_sub(MAX_ELSEWHERE);
        if more > 0 {
            names.push(format!("{more} more places"));
        }
        names.join(", ")
    }

    /// Returns it as a table for a person.
    pub(super) fn table(&self) -> String {
        let mut text = String::from("\nCoverage: ");
        let _ = writeln!(text, "{}", self.sentences().join("\n          "));
        for line in &self.faults {
            let _ = writeln!(
                text,
                "  {:>3} {:44} {:>6} of {:<6} {}",
                line.fault,
                line.place(),
                line.injected,
                line.points,
                line.endings()
            );
        }
        if !self.elsewhere.is_empty() {
            let _ = writeln!(text, "      no fault of the plan: {}", self.elsewhere());
        }
        text
    }
}

impl Line {
    /// Returns where, and what.
    pub fn place(&self) -> String {
        match &self.site {
            Some(site) => format!("{site}: {}", self.what),
            None => format!("no point: {}", self.what),
        }
    }

    /// Returns how runs ended, in words.
    pub fn endings(&self) -> String {
        let endings = self.outcomes.iter();
        let endings: Vec<String> = endings
            .map(|(outcome, runs)| format!("{outcome} {runs}"))
            .collect();
        endings.join(", ")
    }
}
