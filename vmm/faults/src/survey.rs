//! Which points a run comes to, in order: where they are, and which of them each rule is about.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::engine::Point;
use super::spec::FaultPoint;

/// Most stretches of one rule. Points behind them are counted, and it is not known where they are.
const MAX_STRETCHES: usize = 1 << 16;

/// A place at which hardware can go wrong: a kind of point of a device, and there a register, or a
/// function of the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    /// What kind of point, and of which device.
    #[serde(flatten)]
    pub point: Point,
    /// The register or function; empty where there is none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub part: String,
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Point { place, device } = &self.point;
        write!(f, "{place}")?;
        if !device.is_empty() {
            write!(f, " of {device}")?;
        }
        if !self.part.is_empty() {
            write!(f, " ({})", self.part)?;
        }
        Ok(())
    }
}

/// A place that a run came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reached {
    /// Which.
    #[serde(flatten)]
    pub site: Site,
    /// How often.
    pub points: u64,
}

/// Points of a rule that follow each other at one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stretch {
    /// Which of the places.
    pub site: usize,
    /// How many points.
    pub points: u64,
}

/// The points that a run came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// The places, in the order in which the run first came to them.
    pub sites: Vec<Reached>,
    /// For each rule the points that it was about, in order.
    pub rules: Vec<Vec<Stretch>>,
}

impl Survey {
    /// Creates the survey of a run that has not begun, with so many rules.
    pub(crate) fn new(rules: usize) -> Self {
        Self {
            sites: Vec::new(),
            rules: vec![Vec::new(); rules],
        }
    }

    /// Counts a point, and returns the number of its place.
    pub(crate) fn arrive(&mut self, place: FaultPoint, device: &str, part: &str) -> usize {
        let here = |reached: &Reached| {
            let Site { point, part: other } = &reached.site;
            point.place == place && point.device == device && other == part
        };
        let site = self.sites.iter().position(here).unwrap_or_else(|| {
            let device = device.to_owned();
            self.sites.push(Reached {
                site: Site {
                    point: Point { place, device },
                    part: part.to_owned(),
                },
                points: 0,
            });
            self.sites.len() - 1
        });
        self.sites[site].points += 1;
        site
    }

    /// Notes that the point which was counted last, at this place, is one of a rule's.
    pub(crate) fn note(&mut self, rule: usize, site: usize) {
        let Some(stretches) = self.rules.get_mut(rule) else {
            return;
        };
        let room = stretches.len() < MAX_STRETCHES;
        match stretches.last_mut() {
            Some(last) if last.site == site => last.points += 1,
            _ if room => stretches.push(Stretch { site, points: 1 }),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Injection;
    use crate::testing::rules;

    const PLAN: &str = "[[fault]]\nwhere = \"register-read\"\nwhat = \"value\"\nvalue = 1\nwhen = { nth = 9 }\n\
        [[fault]]\nwhere = \"register-read\"\nwhat = \"flip\"\nregister = \"B\"\nwhen = { nth = 9 }\n";

    #[test]
    fn points_are_told_with_their_places_in_the_order_of_the_run() {
        let injection = Injection::new();
        injection.survey(&rules(PLAN), 1);
        for register in ["A", "A", "B", "A", "B"] {
            assert_eq!(injection.register_read("mmu", register, 7), None);
        }
        let survey = injection.account().survey.expect("it was asked for");
        let sites = survey.sites.iter();
        let sites: Vec<_> = sites.map(|r| (r.site.to_string(), r.points)).collect();
        let (a, b) = ("register-read of mmu (A)", "register-read of mmu (B)");
        assert_eq!(sites, [(a.to_owned(), 3), (b.to_owned(), 2)]);
        let stretches = |rule: usize| {
            let stretches = survey.rules[rule].iter();
            stretches.map(|s| (s.site, s.points)).collect::<Vec<_>>()
        };
        assert_eq!(stretches(0), [(0, 2), (1, 1), (0, 1), (1, 1)]);
        assert_eq!(stretches(1), [(1, 2)]);
        injection.arm(&rules(PLAN), 1);
        assert_eq!(injection.account().survey, None);
    }

    #[test]
    fn what_is_known_of_one_rule_is_bounded() {
        let mut survey = Survey::new(1);
        for turn in 0..MAX_STRETCHES + 9 {
            let part = if turn % 2 == 0 { "A" } else { "B" };
            let site = survey.arrive(FaultPoint::RegisterRead, "mmu", part);
            survey.note(0, site);
        }
        assert_eq!(survey.rules[0].len(), MAX_STRETCHES);
        let points: u64 = survey.sites.iter().map(|reached| reached.points).sum();
        assert_eq!(points, MAX_STRETCHES as u64 + 9);
    }
}
