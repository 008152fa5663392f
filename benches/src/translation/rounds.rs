//! Fair measurement on a host that has other work to do: contenders take turns in short rounds, and
//! the lower quartile counts.

use std::time::{Duration, Instant};

use super::peers::Peer;
use crate::statistics::lower_quartile;

/// Measures so many operations; what it does between them to make them possible is not counted.
pub type Timer<'w> = Box<dyn FnMut(u64) -> Duration + 'w>;

/// One side of a case.
pub struct Contender<'w> {
    /// Who it is.
    pub peer: Peer,
    /// Measures it.
    pub time: Timer<'w>,
}

/// The same work, done by several.
pub struct Case<'w> {
    /// What is measured.
    pub name: &'static str,
    /// Who does it.
    pub contenders: Vec<Contender<'w>>,
    /// The fewest operations of a turn.
    pub least: u64,
}

impl<'w> Case<'w> {
    /// Creates a case without contenders.
    pub fn new(name: &'static str) -> Self {
        Self {
            name,
            contenders: Vec::new(),
            least: 1,
        }
    }

    /// Sets the least number of operations in a turn, however long they take: where a turn itself
    /// takes time to begin.
    #[must_use]
    pub fn at_least(self, least: u64) -> Self {
        Self { least, ..self }
    }

    /// Adds a contender.
    #[must_use]
    pub fn with(mut self, peer: Peer, time: impl FnMut(u64) -> Duration + 'w) -> Self {
        let time = Box::new(time);
        self.contenders.push(Contender { peer, time });
        self
    }
}

/// How long to measure.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// Rounds.
    pub rounds: u32,
    /// Time that a contender has in one of them.
    pub turn: Duration,
    /// When the rounds have taken so long, only a least number of rounds is made.
    pub patience: Duration,
}

/// Rounds that are made however long they take.
const LEAST_ROUNDS: u32 = 9;
/// Tries at finding out how many operations make a turn.
const TRIES: u32 = 5;
/// One part in so many of a turn comes before it, unmeasured: another contender has been at the
/// host's caches.
const WARM_UP: u64 = 4;

/// Measures the cases against each other; nanoseconds for each case and each of its contenders.
pub fn measure(cases: &mut [Case<'_>], effort: Effort) -> Vec<Vec<f64>> {
    let mut turns: Vec<(usize, usize, u64)> = Vec::new();
    for (at, case) in cases.iter_mut().enumerate() {
        for (side, contender) in case.contenders.iter_mut().enumerate() {
            turns.push((
                at,
                side,
                operations(&mut contender.time, effort.turn, case.least),
            ));
        }
    }
    let mut samples: Vec<Vec<Vec<f64>>> = cases
        .iter()
        .map(|case| vec![Vec::new(); case.contenders.len()])
        .collect();
    let start = Instant::now();
    for round in 0..effort.rounds {
        if round >= LEAST_ROUNDS && start.elapsed() > effort.patience {
            break;
        }
        // Whoever went first goes last.
        turns.rotate_left(1);
        for (case, side, count) in &turns {
            let time = &mut cases[*case].contenders[*side].time;
            // What others' turns have thrown out of the processor's caches comes back, untimed.
            let _ = time(count / WARM_UP);
            let taken = time(*count).as_nanos() as f64;
            samples[*case][*side].push(taken / *count as f64);
        }
    }
    samples
        .iter()
        .map(|sides| {
            sides
                .iter()
                .map(|values| lower_quartile(values).unwrap_or(f64::NAN))
                .collect()
        })
        .collect()
}

/// Returns about how many operations take a turn, with everything around them.
///
/// The fastest of some tries counts: one that was interrupted would make all turns too short to
/// mean anything.
fn operations(time: &mut Timer<'_>, turn: Duration, least: u64) -> u64 {
    let mut count = least;
    loop {
        let taken = (0..TRIES)
            .map(|_| {
                let start = Instant::now();
                let _ = time(count);
                start.elapsed()
            })
            .min()
            .unwrap_or_default();
        // From a quarter of a turn on the time is long enough to be scaled up.
        if taken * 4 >= turn {
            let scaled = turn.as_nanos() * u128::from(count) / taken.as_nanos().max(1);
            return u64::try_from(scaled).unwrap_or(count).max(least);
        }
        count *= 2;
    }
}

/// Returns the time that reading the clock twice takes: to be left out where a single operation is
/// measured.
pub fn clock_overhead() -> Duration {
    let mut least = Duration::MAX;
    for _ in 0..1000 {
        let start = Instant::now();
        least = least.min(start.elapsed());
    }
    least
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_are_of_single_operations_and_in_order() {
        let costs = |each: u64| {
            move |count| {
                std::thread::sleep(Duration::from_micros(count));
                Duration::from_nanos(each * count)
            }
        };
        let mut cases = [
            Case::new("a")
                .with(Peer::Viommu, costs(10))
                .with(Peer::Mmap, costs(20)),
            Case::new("b").with(Peer::VmMemory, costs(30)),
        ];
        let effort = Effort {
            rounds: 3,
            turn: Duration::from_micros(500),
            patience: Duration::from_secs(1),
        };
        assert_eq!(measure(&mut cases, effort), [vec![10.0, 20.0], vec![30.0]]);
    }
}
