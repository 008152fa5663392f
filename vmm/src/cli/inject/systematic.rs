//! `--systematic`: a walk of every point of a scenario.

use std::str::FromStr;

use serde::Deserialize;
use vmm::TextError;
use vmm::campaign::campaign::MAX_RUNS;
use vmm::campaign::{FaultAt, Walk};

use crate::cli::{UserError, text};

/// What is walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Systematic {
    /// Every point of each fault of the plan.
    Points,
    /// And then every two of them.
    Pairs,
}

impl Systematic {
    /// Returns how many runs a walk has, of which `asked` were asked for, and tells it.
    ///
    /// # Errors
    /// There are too many, and nobody asked for less.
    pub fn runs(self, walk: &Walk, asked: Option<u64>) -> Result<u64, UserError> {
        let (points, all) = (walk.points(), walk.runs(self == Self::Pairs));
        if all > MAX_RUNS && asked.is_none() {
            return Err(UserError::new(format!(
                "{points} points are {all} runs{}, which are too many: say how many by --runs, {MAX_RUNS} at most",
                self.with_pairs()
            )));
        }
        let runs = all.min(asked.unwrap_or(MAX_RUNS));
        let some = if runs < all {
            format!(" {runs} of")
        } else {
            String::new()
        };
        text::tell(&format!(
            "the scenario comes to {} points, of which the plan's faults have {points}:{some} {all} runs{}",
            walk.reached(),
            self.with_pairs()
        ));
        Ok(runs)
    }

    const fn with_pairs(self) -> &'static str {
        match self {
            Self::Points => "",
            Self::Pairs => " with those of pairs",
        }
    }
}

/// Returns that there is no run of this number, in a walk or with points that were named.
pub fn no_run(mode: Option<Systematic>, walk: &Walk, number: u64) -> UserError {
    // A campaign that is no walk has no end.
    let Some(mode) = mode else {
        return UserError::new(format!(
            "--points names a fault that the plan does not have: it has {}",
            walk.faults.len()
        ));
    };
    UserError::new(match walk.runs(mode == Systematic::Pairs) {
        0 => format!(
            "there is no run {number}: the scenario comes to no point of the plan; leave --systematic out"
        ),
        runs => format!(
            "there is no run {number}: every point is {runs} runs{}, so use a number from 0 to {}",
            mode.with_pairs(),
            runs - 1
        ),
    })
}

/// A point as a user names it: `FAULT:N`, both from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PointName(FaultAt);

impl PointName {
    /// Returns the points that are named; `None` if none is.
    pub fn all(names: &[Self]) -> Option<Vec<FaultAt>> {
        let points = names.iter().map(|Self(point)| *point);
        (!names.is_empty()).then(|| points.collect())
    }
}

impl FromStr for PointName {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let numbers = text.split_once(':').and_then(|(fault, nth)| {
            let fault: usize = fault.parse().ok()?;
            Some((fault.checked_sub(1)?, nth.parse::<u64>().ok()?))
        });
        match numbers {
            Some((fault, nth @ 1..)) => Ok(Self((fault, nth))),
            _ => Err(
                "use FAULT:N, the number of a fault of the plan and of its point, such as 1:3"
                    .into(),
            ),
        }
    }
}
