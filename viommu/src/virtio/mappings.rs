//! The mappings of one domain.

use vm_memory::Permissions;

use super::spec::map_flag;
use super::tree::Tree;
use crate::model::{Extent, Mapping};

/// One mapping, without its first IOVA.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Entry {
    /// Last IOVA.
    pub last: u64,
    /// The guest physical address that the first IOVA leads to.
    pub address: u64,
    /// [`map_flag`].
    pub flags: u32,
}

impl Entry {
    /// Returns the mapping from this first IOVA on.
    pub fn mapping(&self, first: u64) -> Mapping {
        Mapping {
            first,
            last: self.last,
            address: self.address,
            permissions: self.permissions(),
        }
    }

    fn permissions(&self) -> Permissions {
        match (
            self.flags & map_flag::READ != 0,
            self.flags & map_flag::WRITE != 0,
        ) {
            (true, true) => Permissions::ReadWrite,
            (true, false) => Permissions::Read,
            (false, true) => Permissions::Write,
            // A valid request: the range is taken, and nobody may access it.
            (false, false) => Permissions::No,
        }
    }
}

/// A range would cut a mapping in two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Splits;

/// Mappings that a range covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Covered {
    /// The range.
    first: u64,
    last: u64,
    /// First and last IOVA of the mappings.
    pub hull: (u64, u64),
    /// Whether it is one mapping.
    one: bool,
}

/// Mappings that do not overlap, by first IOVA. Ranges are inclusive: the whole of 64 bits can be
/// said.
///
/// A look-up, an insertion and a removal take logarithmic time.
#[derive(Clone, Debug, Default)]
pub(super) struct Mappings(Tree<Entry>);

impl Mappings {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = (u64, &Entry)> {
        self.0.iter()
    }

    /// Returns the mapping that contains `iova`.
    pub fn find(&self, iova: u64) -> Option<Mapping> {
        let (first, entry) = self.0.floor(iova)?;
        (entry.last >= iova).then(|| entry.mapping(first))
    }

    /// Returns the mapping that contains `iova`, or the hole up to the next one.
    pub fn extent(&self, iova: u64) -> Extent {
        if let Some(mapping) = self.find(iova) {
            return Extent::Mapped(mapping);
        }
        let next = self.0.ceiling(iova);
        Extent::Hole {
            // The next one begins behind `iova`, which is in none.
            last: next.map_or(u64::MAX, |(first, _)| first - 1),
        }
    }

    /// Returns whether anything in `first..=last` is mapped.
    // The last mapping that begins by `last` is the only one that can reach into the range without
    // beginning in it.
    pub fn overlaps(&self, first: u64, last: u64) -> bool {
        self.0
            .floor(last)
            .is_some_and(|(_, entry)| entry.last >= first)
    }

    /// Adds a mapping, which must not overlap any.
    pub fn insert(&mut self, first: u64, entry: Entry) {
        self.0.insert(first, entry);
    }

    /// Returns the mappings in `first..=last`, if there are any.
    ///
    /// # Errors
    /// If a mapping is partly in the range.
    pub fn covered(&self, first: u64, last: u64) -> Result<Option<Covered>, Splits> {
        // Of mappings that do not overlap, only the first and the last one that the range meets can
        // stick out.
        let Some((last_first, last_entry)) = self.0.floor(last) else {
            return Ok(None);
        };
        let last_last = last_entry.last;
        // It ends before the range begins, and so do all those before it.
        if last_last < first {
            return Ok(None);
        }
        if last_last > last || last_first < first {
            return Err(Splits);
        }
        let before = last_first.checked_sub(1).and_then(|at| self.0.floor(at));
        let covered = |begin, one| Covered {
            first,
            last,
            hull: (begin, last_last),
            one,
        };
        if before.is_none_or(|(_, entry)| entry.last < first) {
            // One mapping: by far the most frequent.
            return Ok(Some(covered(last_first, true)));
        }
        let sticks_out = self
            .0
            .floor(first)
            .is_some_and(|(begin, entry)| begin < first && entry.last >= first);
        if sticks_out {
            return Err(Splits);
        }
        let begin = self.0.ceiling(first);
        Ok(begin.map(|(begin, _)| covered(begin, false)))
    }

    /// Removes mappings, in time proportional to their number; returns how many, and they
    /// themselves if there were so many that freeing them is better done elsewhere.
    pub fn remove(&mut self, covered: &Covered) -> (usize, Self) {
        let Covered {
            first, last, hull, ..
        } = *covered;
        if covered.one {
            return (self.0.remove(hull.0, hull.0), Self::default());
        }
        let before = first.checked_sub(1).and_then(|at| self.0.floor(at));
        let after = last.checked_add(1).and_then(|at| self.0.ceiling(at));
        // All that there is: the tree is handed over whole, to be freed where no lock is held.
        if before.is_none() && after.is_none() {
            (self.len(), std::mem::take(self))
        } else {
            (self.0.remove(first, last), Self::default())
        }
    }
}

#[cfg(test)]
#[expect(
    clippy::cast_possible_truncation,
    reason = "the tests choose small numbers"
)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(last: u64) -> Entry {
        Entry {
            last,
            address: 0,
            flags: map_flag::READ,
        }
    }

    fn with(ranges: &[(u64, u64)]) -> Mappings {
        let mut mappings = Mappings::default();
        for &(first, last) in ranges {
            assert!(!mappings.overlaps(first, last));
            mappings.insert(first, entry(last));
        }
        mappings
    }

    fn ranges(mappings: &Mappings) -> Vec<(u64, u64)> {
        mappings.iter().map(|(first, e)| (first, e.last)).collect()
    }

    /// The seven examples of the specification (5.13.6.6).
    #[test]
    fn unmap_examples_of_the_specification() {
        let cases: [(&[_], _, Option<usize>); 7] = [
            (&[], (0, 4), Some(0)),
            (&[(0, 9)], (0, 9), Some(1)),
            (&[(0, 4), (5, 9)], (0, 9), Some(2)),
            (&[(0, 9)], (0, 4), None),
            (&[(0, 4), (5, 9)], (0, 4), Some(1)),
            (&[(0, 4)], (0, 9), Some(1)),
            (&[(0, 4), (10, 14)], (0, 14), Some(2)),
        ];
        for (number, (mapped, (first, last), removed)) in (1..).zip(cases) {
            let mut mappings = with(mapped);
            let result = remove(&mut mappings, first, last).map(|r| r.0).ok();
            assert_eq!(result, removed, "example {number}");
            assert_eq!(mappings.len(), mapped.len() - removed.unwrap_or(0));
        }
    }

    #[test]
    fn the_edges_of_64_bits_are_exact() {
        let mut whole = with(&[(0, u64::MAX)]);
        assert!(whole.overlaps(0, 0) && whole.overlaps(u64::MAX, u64::MAX));
        assert_eq!(whole.find(u64::MAX).unwrap().last, u64::MAX);
        assert_eq!(remove(&mut whole, 1, u64::MAX).err(), Some(Splits));
        assert_eq!(remove(&mut whole, 0, u64::MAX - 1).err(), Some(Splits));
        let removed = remove(&mut whole, 0, u64::MAX).unwrap();
        assert_eq!(removed, (1, Some((0, u64::MAX))));
        let mut top = with(&[(u64::MAX, u64::MAX), (u64::MAX - 2, u64::MAX - 1)]);
        assert_eq!(remove(&mut top, u64::MAX, u64::MAX).unwrap().0, 1);
        assert_eq!(ranges(&top), [(u64::MAX - 2, u64::MAX - 1)]);
        assert!(top.find(u64::MAX).is_none());
    }

    /// How many mappings were removed, and from where to where.
    type Removed = (usize, Option<(u64, u64)>);

    fn remove(mappings: &mut Mappings, first: u64, last: u64) -> Result<Removed, Splits> {
        Ok(match mappings.covered(first, last)? {
            None => (0, None),
            Some(covered) => (mappings.remove(&covered).0, Some(covered.hull)),
        })
    }

    proptest! {
        /// Against a plain table of 64 addresses, each with the number of the mapping it belongs
        /// to.
        #[test]
        fn as_a_plain_table(steps in prop::collection::vec((any::<bool>(), 0u64..64, 0u64..64), 1..60)) {
            let mut mappings = Mappings::default();
            let mut plain = [None::<u64>; 64];
            for (map, a, b) in steps {
                let (first, last) = (a.min(b), a.max(b));
                let range = first as usize..=last as usize;
                if map {
                    let taken = plain[range.clone()].iter().any(Option::is_some);
                    prop_assert_eq!(mappings.overlaps(first, last), taken);
                    if !taken {
                        mappings.insert(first, entry(last));
                        plain[range].fill(Some(first));
                    }
                } else {
                    let cut = plain.iter().enumerate().any(|(at, owner)| {
                        owner.is_some() && !range.contains(&at) && plain[range.clone()].contains(owner)
                    });
                    let before = mappings.clone();
                    match remove(&mut mappings, first, last) {
                        Err(Splits) => {
                            prop_assert!(cut);
                            prop_assert!(mappings.iter().eq(before.iter()));
                        }
                        Ok((count, hull)) => {
                            prop_assert!(!cut);
                            let owners: std::collections::BTreeSet<_> =
                                plain[range.clone()].iter().flatten().collect();
                            prop_assert_eq!(count, owners.len());
                            let some = |at: Option<usize>| at.map(|at| at as u64 + first);
                            let begin = some(plain[range.clone()].iter().position(Option::is_some));
                            let end = some(plain[range.clone()].iter().rposition(Option::is_some));
                            prop_assert_eq!(hull, begin.zip(end));
                            plain[range].fill(None);
                        }
                    }
                }
                for (iova, owner) in (0..).zip(plain) {
                    prop_assert_eq!(mappings.find(iova).map(|m| m.first), owner);
                }
            }
        }
    }
}
