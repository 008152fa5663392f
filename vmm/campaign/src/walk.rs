//! A walk of every point of a scenario: a run for each point of each fault of a plan, as the
//! kernel's `fail-nth` makes one for each call, and then, if asked for, a run for each two of them.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use vmm_faults::spec::{Nth, Plan, Rule, When};
use vmm_faults::{Account, Reached, Site, Stretch};

/// A point of a walk: which fault of the plan, from 0, and which of its points, from 1.
pub type FaultAt = (usize, u64);

/// The points that a scenario comes to without faults.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Walk {
    /// The places that it comes to, whatever the plan.
    pub sites: Vec<Reached>,
    /// The faults of the plan, each with its points.
    pub faults: Vec<Walked>,
}

/// A fault of the plan, with its points.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Walked {
    /// What happens, in words.
    pub what: String,
    /// Its points, in order.
    pub stretches: Vec<Stretch>,
}

impl Walked {
    /// Returns how many points it has.
    pub fn points(&self) -> u64 {
        let points = self.stretches.iter().map(|stretch| stretch.points);
        points.fold(0, u64::saturating_add)
    }
}

impl Walk {
    /// Creates the walk of `plan` from the account of a run without faults, which was a survey.
    pub(super) fn new(plan: &Plan, account: Account) -> Self {
        let survey = account.survey.unwrap_or_default();
        let faults = plan.fault.iter().zip(survey.rules);
        let faults = faults.map(|(rule, stretches)| Walked {
            what: what(rule),
            stretches,
        });
        Self {
            sites: survey.sites,
            faults: faults.collect(),
        }
    }

    /// Returns how many points it has: each point counts for each fault that is about it.
    pub fn points(&self) -> u64 {
        let points = self.faults.iter().map(Walked::points);
        points.fold(0, u64::saturating_add)
    }

    /// Returns how many points the scenario comes to, whatever the plan.
    pub fn reached(&self) -> u64 {
        let points = self.sites.iter().map(|reached| reached.points);
        points.fold(0, u64::saturating_add)
    }

    /// Returns how many runs it has, with `pairs` also of each two of its points.
    pub fn runs(&self, pairs: bool) -> u64 {
        let points = self.points();
        if !pairs {
            return points;
        }
        // One of `points` and the number below it is even.
        let both = u128::from(points) * u128::from(points.saturating_sub(1)) / 2;
        let both = u64::try_from(both).unwrap_or(u64::MAX);
        points.saturating_add(both)
    }

    /// Returns the points of a run; `None` if there is no such run.
    ///
    /// All single points come first, in the order of the plan, so that their runs have the same
    /// numbers with pairs and without. Pairs follow, those of neighbours first: a campaign of fewer
    /// runs has each point in about as many pairs as any other.
    pub fn run(&self, run: u64, pairs: bool) -> Option<(FaultAt, Option<FaultAt>)> {
        let points = self.points();
        let Some(mut left) = run.checked_sub(points) else {
            return Some((self.point(run)?, None));
        };
        if !pairs {
            return None;
        }
        for distance in 1..points {
            let count = points - distance;
            if left < count {
                let first = self.point(left)?;
                return Some((first, Some(self.point(left + distance)?)));
            }
            left -= count;
        }
        None
    }

    /// Returns the point with this number, from 0.
    pub(super) fn point(&self, number: u64) -> Option<FaultAt> {
        let mut left = number;
        for (fault, walked) in self.faults.iter().enumerate() {
            let count = walked.points();
            if left < count {
                return Some((fault, left + 1));
            }
            left -= count;
        }
        None
    }

    /// Returns the number of the place of a point.
    pub(super) fn place(&self, (fault, nth): FaultAt) -> Option<usize> {
        let mut left = nth.checked_sub(1)?;
        for stretch in &self.faults.get(fault)?.stretches {
            if left < stretch.points {
                return Some(stretch.site);
            }
            left -= stretch.points;
        }
        None
    }

    /// Returns a point in words. A journal may name one that is not there.
    pub(super) fn words(&self, at: FaultAt) -> String {
        let site = self.place(at).and_then(|site| self.sites.get(site));
        let site = site.map_or_else(|| "?".to_owned(), |reached| reached.site.to_string());
        let what = self.faults.get(at.0).map_or("?", |walked| &walked.what);
        format!("{site}, point {}: {what}", at.1)
    }

    /// Returns the places which no fault of the plan is about.
    pub(super) fn elsewhere(&self) -> impl Iterator<Item = &Reached> {
        let stretches = self.faults.iter().flat_map(|walked| &walked.stretches);
        let about: std::collections::BTreeSet<usize> = stretches.map(|s| s.site).collect();
        let sites = self.sites.iter().enumerate();
        sites.filter_map(move |(number, reached)| (!about.contains(&number)).then_some(reached))
    }

    /// Returns a place by its number.
    pub(super) fn site(&self, number: usize) -> Option<&Site> {
        self.sites.get(number).map(|reached| &reached.site)
    }
}

/// Returns the rule that strikes at one point of its own and nowhere else.
pub(super) fn only_at(rule: &Rule, nth: u64) -> Rule {
    let nth = Some(Nth {
        first: nth,
        last: nth,
    });
    Rule {
        when: When {
            nth,
            ..When::default()
        },
        ..rule.clone()
    }
}

/// Returns what a rule has happen, with its numbers, as in the plan.
fn what(rule: &Rule) -> String {
    // What a plan says is made of these types, so that they are values.
    let Ok(Value::Object(mut keys)) = serde_json::to_value(&rule.fault) else {
        return String::new();
    };
    let what = keys.remove("what");
    // They are told with the place.
    for key in ["where", "register", "function"] {
        keys.remove(key);
    }
    let mut text = what
        .and_then(|what| what.as_str().map(str::to_owned))
        .unwrap_or_default();
    let numbers: Vec<String> = keys
        .iter()
        .map(|(key, value)| format!("{key} {}", bare(value)))
        .collect();
    if !numbers.is_empty() {
        text.push_str(&format!(" ({})", numbers.join(", ")));
    }
    text
}

/// Returns a value without the quotes of JSON.
fn bare(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use vmm_faults::testing::rules;

    use super::*;

    /// A walk of faults with so many points in each of their stretches.
    fn walk(faults: &[&[u64]]) -> Walk {
        let stretches = |points: &[u64]| {
            let numbered = points.iter().enumerate();
            numbered
                .map(|(site, points)| Stretch {
                    site,
                    points: *points,
                })
                .collect()
        };
        let faults = faults.iter().map(|points| Walked {
            what: "lost".into(),
            stretches: stretches(points),
        });
        Walk {
            sites: Vec::new(),
            faults: faults.collect(),
        }
    }

    proptest! {
        #[test]
        fn every_point_and_every_pair_has_one_run(
            faults in prop::collection::vec(prop::collection::vec(0_u64..6, 0..4), 0..4),
        ) {
            let faults: Vec<&[u64]> = faults.iter().map(Vec::as_slice).collect();
            let walk = walk(&faults);
            let points: BTreeSet<FaultAt> = (0..).zip(&faults).flat_map(|(fault, points)| {
                (1..=points.iter().sum()).map(move |nth| (fault, nth))
            }).collect();
            let singles: Vec<_> = (0..walk.runs(false)).map(|run| walk.run(run, false).unwrap()).collect();
            prop_assert!(singles.iter().all(|(_, second)| second.is_none()));
            prop_assert!(singles.iter().map(|(first, _)| *first).eq(points.iter().copied()), "the order of the plan");
            prop_assert_eq!(walk.run(walk.runs(false), false), None);
            let all: Vec<_> = (0..walk.runs(true)).map(|run| walk.run(run, true).unwrap()).collect();
            prop_assert_eq!(&all[..singles.len()], &singles[..]);
            let pairs: BTreeSet<(FaultAt, FaultAt)> =
                all.iter().filter_map(|(first, second)| Some((*first, (*second)?))).collect();
            let count = points.len() * points.len().saturating_sub(1) / 2;
            prop_assert_eq!(pairs.len(), count);
            prop_assert_eq!(all.len(), singles.len() + count);
            prop_assert!(pairs.iter().all(|(first, second)| first < second && points.contains(second)));
            prop_assert_eq!(walk.run(walk.runs(true), true), None);
        }
    }

    #[test]
    fn numbers_beyond_all_runs_are_no_runs() {
        let walk = walk(&[&[u64::MAX, 3], &[u64::MAX]]);
        assert_eq!(walk.runs(true), u64::MAX);
        assert_eq!(walk.run(7, true), Some(((0, 8), None)));
        assert_eq!(walk.place((1, 0)), None);
        assert_eq!(walk.place((9, 1)), None);
        assert_eq!(walk.words((9, 1)), "?, point 1: ?");
    }

    #[test]
    fn a_fault_is_told_with_its_numbers() {
        for (fault, words) in [
            (
                "where = \"flush\"\nwhat = \"late\"\ncount = 3",
                "late (count 3)",
            ),
            ("where = \"interrupt\"\nwhat = \"lost\"", "lost"),
            (
                "where = \"function\"\nwhat = \"error\"\nfunction = \"f\"\nvalue = -5",
                "error (value -5)",
            ),
            (
                "where = \"register-read\"\nwhat = \"flip\"\nregister = \"IMSTR\"",
                "flip",
            ),
        ] {
            assert_eq!(what(&rules(&format!("[[fault]]\n{fault}\n"))[0]), words);
        }
    }
}
