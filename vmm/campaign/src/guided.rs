//! Guided campaigns: which points have faults next follows from the code that runs before reached.
//!
//! Runs are chosen generation by generation. All of a generation are chosen before the first of
//! them runs, from what the generations before have reached, so that neither how many run at once
//! nor the order in which they end makes another campaign. Nor does it matter who makes them: a
//! shard makes its own runs of a generation, and needs what the others made of those before.

use std::collections::{BTreeMap, BTreeSet};
use std::num::{NonZeroU64, NonZeroUsize};
use std::sync::atomic::{AtomicBool, Ordering};

use rand_core::{RngCore, SeedableRng};
use rand_xoshiro::Xoshiro256PlusPlus;

use super::campaign::{Each, Prepared};
use super::run::{Record, seed_of};
use super::walk::{FaultAt, Walk};
use vmm_base::Shard;

/// Runs of a generation unless it is said.
pub const GENERATION: NonZeroU64 = NonZeroU64::new(32).unwrap();
/// Most faults of one run.
const MAX_FAULTS: usize = 4;
/// How far a point is moved at most.
const NEAR: u64 = 8;
/// How often something that was not tried yet is looked for.
const ATTEMPTS: usize = 8;

/// A guided campaign, or a shard of one.
#[derive(Clone, Copy, Debug)]
pub struct Guided<'o> {
    /// The campaign's seed.
    pub seed: u64,
    /// How many runs all shards have together.
    pub runs: u64,
    /// Runs of a generation.
    pub generation: NonZeroU64,
    /// Whose runs are made.
    pub shard: Shard,
    /// What is known of the runs of other shards.
    pub others: &'o BTreeMap<u64, Record>,
}

/// Runs of other shards, without which a shard cannot choose its next generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Awaited {
    /// The generation that they are of, from 1.
    pub generation: u64,
    /// Of how many.
    pub generations: u64,
    /// How many runs of it are not known.
    pub runs: u64,
    /// The first of them.
    pub first: u64,
}

/// What a shard came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuidedRuns {
    /// The runs that it made, now and before.
    pub done: BTreeMap<u64, Record>,
    /// Why these are not all of its runs, unless it was stopped.
    pub awaited: Option<Awaited>,
}

/// Chooses points.
struct Guide {
    seed: u64,
    /// Runs of a generation.
    generation: u64,
    /// How many points there are.
    points: u64,
    /// Blocks that were reached.
    reached: BTreeSet<usize>,
    /// Points of the runs that reached a block first, in order.
    good: Vec<Vec<u64>>,
    /// Points of all runs.
    tried: BTreeSet<Vec<u64>>,
}

/// Returns a number below `end`, which is not 0.
fn below(random: &mut Xoshiro256PlusPlus, end: u64) -> u64 {
    random.next_u64() % end.max(1)
}

impl Guide {
    fn new(walk: &Walk, seed: u64, generation: NonZeroU64) -> Self {
        Self {
            seed,
            generation: generation.get(),
            points: walk.points(),
            reached: BTreeSet::new(),
            good: Vec::new(),
            tried: BTreeSet::new(),
        }
    }

    /// Chooses the points of a run, in order.
    fn choose(&mut self, run: u64) -> Vec<u64> {
        // The run has this seed too, for other choices.
        let mut random = Xoshiro256PlusPlus::seed_from_u64(!seed_of(self.seed, run));
        let mut chosen = self.attempt(run, &mut random);
        for _ in 1..ATTEMPTS {
            if !self.tried.contains(&chosen) {
                break;
            }
            chosen = self.attempt(self.generation, &mut random);
        }
        self.tried.insert(chosen.clone());
        chosen
    }

    fn attempt(&self, run: u64, random: &mut Xoshiro256PlusPlus) -> Vec<u64> {
        if run < self.generation {
            // The first generation is spread over all points.
            let at = u128::from(run) * u128::from(self.points) / u128::from(self.generation);
            return vec![u64::try_from(at).unwrap_or_default()];
        }
        let any = below(random, self.points);
        // Now and then something else than what was good before.
        if self.good.is_empty() || below(random, 4) == 0 {
            return vec![any];
        }
        // Of two, the one that was found later: it reached what others had not.
        let good = self.good.len() as u64;
        let parent = below(random, good).max(below(random, good));
        let parent = usize::try_from(parent)
            .ok()
            .and_then(|index| self.good.get(index));
        let mut points = parent.cloned().unwrap_or_default();
        let which = below(random, points.len() as u64);
        let which = usize::try_from(which).unwrap_or_default();
        let near = points.get(which).map_or(any, |point| {
            let step = 1 + below(random, NEAR);
            let moved = match below(random, 2) {
                0 => point.saturating_add(step),
                _ => point.saturating_sub(step),
            };
            moved.min(self.points.saturating_sub(1))
        });
        match (below(random, 4), points.get_mut(which)) {
            (0, Some(point)) => *point = near,
            (1, Some(point)) => *point = any,
            (2, _) => points.push(near),
            _ => points.push(any),
        }
        points.sort_unstable();
        points.dedup();
        while points.len() > MAX_FAULTS {
            let which = below(random, points.len() as u64);
            points.remove(usize::try_from(which).unwrap_or_default());
        }
        points
    }

    /// Learns which blocks a run with these points reached. Runs come in the order of their
    /// numbers.
    fn learn(&mut self, points: Vec<u64>, blocks: &BTreeSet<usize>) {
        let before = self.reached.len();
        self.reached.extend(blocks);
        if self.reached.len() > before {
            self.good.push(points);
        }
    }
}

impl Prepared<'_> {
    /// Runs what is to be run of a guided campaign, as [`Prepared::run`] runs tasks; of these
    /// `done` are done. Which code is looked at has been said by [`Prepared::watch_code`].
    ///
    /// A shard comes to the end of the first generation of which it does not know all runs, unless
    /// that is the last.
    ///
    /// # Errors
    /// Those of `each`; what is done by then has been told.
    pub fn run_guided<E: Send>(
        &self,
        guided: Guided<'_>,
        done: BTreeMap<u64, Record>,
        jobs: NonZeroUsize,
        stop: &AtomicBool,
        each: &mut Each<'_, E>,
    ) -> Result<GuidedRuns, E> {
        let Guided {
            seed,
            runs,
            generation,
            shard,
            others,
        } = guided;
        let mut guide = Guide::new(&self.walk, seed, generation);
        let mut done = done;
        let mut first = 0;
        while first < runs && guide.points > 0 && !stop.load(Ordering::Relaxed) {
            let numbers = first..runs.min(first.saturating_add(generation.get()));
            let chosen: BTreeMap<u64, Vec<u64>> = numbers
                .clone()
                .map(|run| (run, guide.choose(run)))
                .collect();
            let task = |run: u64| {
                let points = chosen
                    .get(&run)?
                    .iter()
                    .map(|point| self.walk.point(*point));
                self.task_at(seed, run, &points.collect::<Option<Vec<FaultAt>>>()?)
            };
            let own = numbers.clone().filter(|run| shard.has(*run));
            done = self.run(&task, own, done, jobs, stop, each)?;
            let unknown = |run: &u64| !shard.has(*run) && !others.contains_key(run);
            let missing = numbers.clone().filter(unknown).count() as u64;
            if missing > 0 && numbers.end < runs {
                let awaited = Awaited {
                    generation: first / generation + 1,
                    generations: runs.div_ceil(generation.get()),
                    runs: missing,
                    first: numbers.clone().find(unknown).unwrap_or(first),
                };
                let awaited = Some(awaited);
                return Ok(GuidedRuns { done, awaited });
            }
            for (run, points) in chosen {
                // Of its own one that is missing was stopped, and so is the campaign.
                if let Some(record) = done.get(&run).or_else(|| others.get(&run)) {
                    guide.learn(points, &record.blocks);
                }
            }
            first = numbers.end;
        }
        Ok(GuidedRuns {
            done,
            awaited: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guide(points: u64) -> Guide {
        Guide {
            points,
            ..Guide::new(&Walk::default(), 5, GENERATION)
        }
    }

    /// Blocks that these points reach: each sixteen of them one, and any two of the first and of
    /// the last quarter one more.
    fn blocks(points: &[u64]) -> BTreeSet<usize> {
        let mut blocks: BTreeSet<usize> = points
            .iter()
            .map(|point| usize::try_from(*point).unwrap() / 16)
            .collect();
        if blocks.contains(&0) && blocks.contains(&3) {
            blocks.insert(1_000);
        }
        blocks
    }

    fn campaign(runs: u64) -> (Guide, Vec<Vec<u64>>) {
        let mut guide = guide(64);
        let mut all = Vec::new();
        for first in (0..runs).step_by(32) {
            let chosen: Vec<_> = (first..first + 32).map(|run| guide.choose(run)).collect();
            for points in &chosen {
                guide.learn(points.clone(), &blocks(points));
            }
            all.extend(chosen);
        }
        (guide, all)
    }

    #[test]
    fn what_follows_from_seed_and_code_is_the_same_again_and_within_bounds() {
        let (guide, all) = campaign(640);
        assert_eq!(campaign(640).1, all);
        assert!(
            all[..32].iter().all(|points| points.len() == 1),
            "first single points"
        );
        let spread: BTreeSet<_> = all[..32].iter().collect();
        assert_eq!(spread.len(), 32);
        for points in &all {
            assert!((1..=MAX_FAULTS).contains(&points.len()) && points.is_sorted());
            assert!(points.iter().all(|point| *point < 64));
        }
        // Four in the first generation, and what only two faults reach.
        assert!(guide.reached.contains(&1_000), "{:?}", guide.good);
        assert!(guide.good.len() <= guide.reached.len());
    }

    #[test]
    fn few_points_are_no_trouble() {
        for points in [1, 2] {
            let mut guide = guide(points);
            for run in 0..200 {
                let chosen = guide.choose(run);
                assert!(chosen.iter().all(|point| *point < points), "{chosen:?}");
                guide.learn(chosen, &BTreeSet::from([usize::try_from(run).unwrap()]));
            }
        }
    }
}
