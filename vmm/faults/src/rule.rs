//! When a rule of a plan strikes.

use rand_core::{RngCore, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::spec::Rule;

/// A rule at work.
#[derive(Clone, Debug)]
pub struct Active {
    /// What it is.
    pub rule: Rule,
    random: Xoshiro256PlusPlus,
    /// The number of the point, where the plan or the seed chose one.
    nth: Option<u64>,
    most: u32,
    /// Points so far that it was about.
    seen: u64,
    /// How often it struck.
    struck: u32,
    /// Whether the guest has come to the function that is waited for.
    open: bool,
}

impl Active {
    /// Creates a rule that has its choices made by `seed`.
    pub fn new(rule: &Rule, seed: u64) -> Self {
        let mut random = Xoshiro256PlusPlus::seed_from_u64(seed);
        let when = &rule.when;
        let repeats = when.every.is_some() || when.probability.is_some();
        let once = when.nth.is_none() && !repeats;
        let nth = when.nth.map(|nth| {
            // Cannot underflow: a range whose last number is below its first is no `Nth`.
            let span = (nth.last - nth.first).saturating_add(1);
            nth.first + random.next_u64() % span
        });
        // With a time or a function to wait for, each point from then on.
        let nth = nth.or((once && when.probe.is_none()).then_some(1));
        Self {
            nth,
            most: when.times.unwrap_or(if repeats { u32::MAX } else { 1 }),
            open: when.probe.is_none(),
            rule: rule.clone(),
            random,
            seen: 0,
            struck: 0,
        }
    }

    /// Notes that the guest has come to the function that the rule waits for.
    pub fn reached(&mut self) {
        self.open = true;
    }

    /// Counts one of the rule's points, reached `since` nanoseconds after the scenario began, and
    /// returns whether it strikes.
    pub fn strikes(&mut self, since: u64) -> bool {
        let when = &self.rule.when;
        // Points before that are not even counted: `nth` and `every` count from then on.
        if !self.open || when.at.is_some_and(|at| since < at.0) {
            return false;
        }
        self.seen += 1;
        let probability = when.probability;
        let strikes = match (self.nth, when.every) {
            (Some(nth), _) => self.seen == nth,
            (_, Some(every)) => self.seen.is_multiple_of(every),
            _ => probability.is_none_or(|p| self.fraction() < p),
        };
        if !strikes || self.struck >= self.most {
            return false;
        }
        self.struck += 1;
        // The next strike waits for the function again.
        self.open = self.rule.when.probe.is_none();
        true
    }

    /// Returns the number of points so far that it was about.
    pub const fn seen(&self) -> u64 {
        self.seen
    }

    /// Returns a number from 0 to below 1.
    fn fraction(&mut self) -> f64 {
        // As many bits as there are in the fraction of an f64.
        (self.random.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Returns one of `bits` bits, at least 1, that the seed chooses.
    pub fn bit(&mut self, bits: u32) -> u64 {
        // There are at most 64 bits, so that the shift cannot overflow.
        1 << (self.random.next_u64() % u64::from(bits))
    }

    /// Returns a number that the seed chooses.
    pub fn number(&mut self) -> u64 {
        self.random.next_u64()
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan;
    use super::*;

    fn active(when: &str, seed: u64) -> Active {
        let text = format!(
            "title = \"t\"\n[[fault]]\nwhere = \"disk\"\nwhat = \"flip\"\nwhen = {{ {when} }}\n"
        );
        Active::new(&plan::parse("p", &text).unwrap().fault[0], seed)
    }

    fn struck(active: &mut Active, points: u64) -> Vec<u64> {
        (1..=points)
            .filter(|point| active.strikes(point * 1_000))
            .collect()
    }

    #[test]
    fn points_are_counted() {
        assert_eq!(struck(&mut active("", 1), 9), [1]);
        assert_eq!(struck(&mut active("nth = 4", 1), 9), [4]);
        assert_eq!(struck(&mut active("every = 3", 1), 9), [3, 6, 9]);
        assert_eq!(struck(&mut active("every = 3, times = 2", 1), 99), [3, 6]);
        assert_eq!(struck(&mut active("at = \"5us\"", 1), 9), [5]);
        assert_eq!(struck(&mut active("at = \"5us\", nth = 2", 1), 9), [6]);
        assert!(struck(&mut active("probability = 0.0", 1), 999).is_empty());
        assert_eq!(
            struck(&mut active("probability = 1.0, times = 2", 1), 9),
            [1, 2]
        );
    }

    #[test]
    fn a_seed_chooses_and_repeats() {
        let nth = |seed| struck(&mut active("nth = \"3..40\"", seed), 50);
        assert_eq!(nth(7), nth(7));
        let all: std::collections::BTreeSet<u64> = (0..400).flat_map(nth).collect();
        assert_eq!((all.first(), all.last()), (Some(&3), Some(&40)));
        let often = |seed| struck(&mut active("probability = 0.25", seed), 4_000).len();
        assert_eq!(often(3), often(3));
        assert!((900..1_100).contains(&often(3)), "{}", often(3));
    }

    #[test]
    fn a_function_is_waited_for_each_time() {
        let mut rule = active("probe = \"f\", times = 2", 1);
        assert!(struck(&mut rule, 5).is_empty());
        rule.reached();
        assert_eq!(struck(&mut rule, 5), [1]);
        rule.reached();
        rule.reached();
        assert_eq!(struck(&mut rule, 5), [1]);
        rule.reached();
        assert!(struck(&mut rule, 5).is_empty(), "twice at most");
    }
}
