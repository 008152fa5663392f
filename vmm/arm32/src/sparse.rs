//! Tables that are emptied often, when few of their entries have been used.

/// As many entries are emptied one by one.
const FEW: usize = 512;

/// A table with a value that stands for an empty entry. Emptying it touches the entries that were
/// used, unless they are many.
#[derive(Clone, Debug)]
pub struct SparseTable<T> {
    entries: Box<[T]>,
    empty: T,
    /// Indices of the entries used since all were empty, up to [`FEW`] and one that says that there
    /// are more. Some may be empty again.
    used: Vec<u16>,
}

impl<T: Copy + PartialEq> SparseTable<T> {
    /// Creates a table of `len` entries that are all `empty`.
    ///
    /// # Panics
    /// If it has more than 65536 entries.
    pub fn new(len: usize, empty: T) -> Self {
        assert!(len <= 1 << 16, "the table's indices have 16 bits");
        Self {
            entries: vec![empty; len].into(),
            empty,
            used: Vec::new(),
        }
    }

    /// Returns whether it has no entries at all.
    #[inline]
    pub fn has_no_entries(&self) -> bool {
        self.entries.is_empty()
    }

    /// Returns entry `index`; none beyond the table.
    #[inline]
    pub fn get(&self, index: usize) -> Option<&T> {
        self.entries.get(index)
    }

    /// Returns all entries.
    #[inline]
    pub fn entries(&self) -> &[T] {
        &self.entries
    }

    /// Makes `value` entry `index`.
    #[inline]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "`new` bounds the number of entries"
    )]
    pub fn set(&mut self, index: usize, value: T) {
        let entry = &mut self.entries[index];
        if *entry == self.empty && self.used.len() <= FEW {
            self.used.push(index as u16);
        }
        *entry = value;
    }

    /// Empties entry `index`.
    #[inline]
    pub fn empty(&mut self, index: usize) {
        self.entries[index] = self.empty;
    }

    /// Empties all entries.
    pub fn clear(&mut self) {
        if self.used.len() <= FEW {
            for index in &self.used {
                self.entries[usize::from(*index)] = self.empty;
            }
        } else {
            self.entries.fill(self.empty);
        }
        self.used.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clearing_leaves_nothing_however_much_there_was() {
        let mut table = SparseTable::new(4096, 0_u32);
        for used in [0, 1, FEW - 1, FEW, FEW + 1, 4096] {
            for turn in 1..4 {
                // Some are set more than once, and some are empty again.
                for index in 0..used {
                    table.set(index * 7 % 4096, turn);
                }
                for index in (0..used).step_by(5) {
                    table.empty(index * 7 % 4096);
                }
            }
            let set = table.entries().iter().filter(|value| **value != 0).count();
            assert_eq!(set, used - used.div_ceil(5));
            table.clear();
            assert!(table.entries().iter().all(|value| *value == 0), "{used}");
        }
    }
}
