//! Parts of many runs, each made on a machine of its own.

use std::fmt;
use std::str::FromStr;

use super::text_error::TextError;
use serde::{Deserialize, Serialize};

/// Most shards.
const MAX_SHARDS: u64 = 1_000_000;

/// A shard of many runs, `K/N`: from the K-th on, every N-th.
///
/// Runs that take long often are neighbours (a walk of every point goes from one fault of the plan
/// to the next), so that shards which alternate take about as long as each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Shard {
    number: u64,
    of: u64,
}

impl Default for Shard {
    /// Returns the one shard that is all runs.
    fn default() -> Self {
        Self { number: 1, of: 1 }
    }
}

impl Shard {
    /// Returns how many shards there are.
    pub const fn of(self) -> u64 {
        self.of
    }

    /// Returns those of `runs` runs that are this shard's.
    pub fn runs(self, runs: u64) -> impl Iterator<Item = u64> {
        let step = usize::try_from(self.of).unwrap_or(usize::MAX);
        (self.number - 1..runs).step_by(step)
    }

    /// Returns which shard of the same division has a run.
    pub const fn sibling(self, run: u64) -> Self {
        Self {
            number: run % self.of + 1,
            ..self
        }
    }

    /// Returns the first number that is not among `runs`, which are in ascending order.
    pub fn first_missing<'r>(runs: impl Iterator<Item = &'r u64>) -> u64 {
        let there = (0..).zip(runs).take_while(|(number, run)| number == *run);
        there.last().map_or(0, |(number, _)| number + 1)
    }

    /// Returns whether a run is this shard's.
    pub const fn has(self, run: u64) -> bool {
        run % self.of == self.number - 1
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

impl From<Shard> for String {
    fn from(shard: Shard) -> Self {
        shard.to_string()
    }
}

impl FromStr for Shard {
    type Err = TextError;

    fn from_str(text: &str) -> Result<Self, TextError> {
        let numbers = text.split_once('/').and_then(|(number, of)| {
            // `parse` would take a sign.
            let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
            let both = digits(number) && digits(of);
            both.then_some((number.parse::<u64>().ok()?, of.parse::<u64>().ok()?))
        });
        match numbers {
            Some((number, of)) if of > MAX_SHARDS => Err(TextError::from(format!(
                "{number}/{of}: use {MAX_SHARDS} shards at most"
            ))),
            Some((number, of)) if (1..=of).contains(&number) => Ok(Self { number, of }),
            Some((_, 0)) => Err("use K/N with an N of 1 or more, such as 1/4".into()),
            Some((number, of)) => Err(TextError::from(format!(
                "there is no shard {number} of {of}: use a number from 1 to {of}"
            ))),
            None => Err("use K/N, the number of the shard and of how many, such as 1/4".into()),
        }
    }
}

impl TryFrom<String> for Shard {
    type Error = TextError;

    fn try_from(text: String) -> Result<Self, TextError> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_shard_is_told_in_a_sentence() {
        for (text, words) in [
            ("1", "use K/N"),
            ("", "use K/N"),
            ("/", "use K/N"),
            ("+1/2", "use K/N"),
            ("1/2/3", "use K/N"),
            ("99999999999999999999/3", "use K/N"),
            ("0/3", "there is no shard 0 of 3: use a number from 1 to 3"),
            ("4/3", "there is no shard 4 of 3: use a number from 1 to 3"),
            ("1/0", "use K/N with an N of 1 or more"),
            ("1/1000001", "use 1000000 shards at most"),
        ] {
            let error = text.parse::<Shard>().unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn what_is_missing_is_found() {
        for (runs, wanted) in [(&[][..], 0), (&[0, 1, 2], 3), (&[0, 2], 1), (&[1], 0)] {
            assert_eq!(Shard::first_missing(runs.iter()), wanted, "{runs:?}");
        }
    }

    proptest! {
        #[test]
        fn every_run_is_of_one_shard(of in 1_u64..40, runs in 0_u64..300) {
            let mut seen = vec![0; usize::try_from(runs).unwrap()];
            for number in 1..=of {
                let shard: Shard = format!("{number}/{of}").parse().unwrap();
                prop_assert_eq!(shard.to_string().parse::<Shard>().unwrap(), shard);
                for run in shard.runs(runs) {
                    prop_assert!(shard.has(run));
                    seen[usize::try_from(run).unwrap()] += 1;
                }
                let others = (0..runs).filter(|run| shard.has(*run)).count();
                prop_assert_eq!(others, shard.runs(runs).count());
            }
            prop_assert!(seen.iter().all(|times| *times == 1));
        }
    }
}
