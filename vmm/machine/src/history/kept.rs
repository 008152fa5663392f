//! Which checkpoints are kept: many of what was not long ago, and fewer the older they are.

/// The most checkpoints: each takes some memory besides the pages that it alone holds.
const MOST: usize = 200;

/// Something at a position in a run.
pub(super) trait Position {
    /// Returns the number of instructions before it.
    fn position(&self) -> u64;
}

/// Checkpoints in the order of their positions, of which each has one.
#[derive(Debug)]
pub(super) struct Kept<T>(Vec<T>);

impl<T: Position> Kept<T> {
    /// Creates a list with the place from which on there is history.
    pub fn new(first: T) -> Self {
        Self(vec![first])
    }

    /// Returns the first.
    pub fn first(&self) -> Option<&T> {
        self.0.first()
    }

    /// Returns all of them.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter()
    }

    /// Returns how many there are before the first one for which `is_before` does not hold. It must
    /// hold for none after that.
    pub fn count(&self, is_before: impl Fn(&T) -> bool) -> usize {
        self.0.partition_point(is_before)
    }

    /// Returns checkpoint `index`.
    pub fn get(&self, index: usize) -> Option<&T> {
        self.0.get(index)
    }

    /// Returns the last one at `position` or before.
    pub fn last_at(&self, position: u64) -> Option<&T> {
        self.get(
            self.count(|one| one.position() <= position)
                .checked_sub(1)?,
        )
    }

    /// Adds a checkpoint, unless there is one at its position.
    pub fn add(&mut self, one: T) {
        let position = one.position();
        let index = self.count(|known| known.position() < position);
        let known = self.0.get(index);
        if known.is_none_or(|known| known.position() != position) {
            self.0.insert(index, one);
        }
    }

    /// Drops checkpoints until there are not too many and `fits` says that the rest fits. `now` is
    /// where the run stands. The last one stays in any case.
    pub fn thin(&mut self, now: u64, fits: impl Fn() -> bool) {
        while self.0.len() > 1 && (self.0.len() > MOST || !fits()) {
            // Without anything between two, history has to begin later.
            let dropped = self.dispensable(now).unwrap_or(0);
            self.0.remove(dropped);
        }
    }

    /// Returns the one, neither first nor last, whose loss matters least: where what would have to
    /// be run again without it is short for how long ago that is.
    fn dispensable(&self, now: u64) -> Option<usize> {
        let position = |index: usize| self.0[index].position();
        let cost = |index: &usize| {
            let gap = position(index + 1) - position(index - 1);
            let age = now.abs_diff(position(*index)).max(1);
            // As a fraction of two integers, to be compared without rounding.
            (u128::from(gap), u128::from(age))
        };
        let inner = 1..self.0.len().saturating_sub(1);
        inner.min_by(|one, other| {
            let ((gap, age), (other_gap, other_age)) = (cost(one), cost(other));
            (gap * other_age).cmp(&(other_gap * age))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Position for u64 {
        fn position(&self) -> u64 {
            *self
        }
    }

    #[test]
    fn positions_are_found_and_taken_once() {
        let mut kept = Kept::new(0u64);
        for position in [50, 10, 30, 10, 0] {
            kept.add(position);
        }
        assert_eq!(kept.0, [0, 10, 30, 50]);
        assert_eq!(kept.last_at(9), Some(&0));
        assert_eq!(kept.last_at(10), Some(&10));
        assert_eq!(
            (kept.count(|at| *at < 30), kept.get(2), kept.first()),
            (2, Some(&30), Some(&0))
        );
        assert_eq!(Kept::new(5u64).last_at(4), None);
    }

    #[test]
    fn what_is_old_becomes_sparse_and_the_first_stays() {
        let mut kept = Kept::new(0u64);
        for now in 1..=100_000u64 {
            kept.add(now);
            kept.thin(now, || true);
        }
        assert_eq!(
            (kept.0.len(), kept.0[0], kept.0[MOST - 1]),
            (MOST, 0, 100_000)
        );
        let gap = |at: u64| {
            let index = kept.count(|one| *one <= at);
            kept.0[index] - kept.0[index - 1]
        };
        assert!(gap(99_990) < gap(90_000) && gap(90_000) < gap(10_000));
        // What has to be run again is at most a small part of how long ago it is.
        let far = kept
            .0
            .windows(2)
            .filter(|pair| (pair[1] - pair[0]) * 8 > 100_000 - pair[0] + 8);
        assert_eq!(far.count(), 0);
    }

    #[test]
    fn without_room_history_begins_later() {
        let mut kept = Kept::new(0u64);
        kept.add(10);
        kept.add(20);
        kept.thin(20, || false);
        assert_eq!(kept.0, [20]);
    }
}
