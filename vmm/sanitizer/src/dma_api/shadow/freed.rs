//! Memory that is freed while devices have it.

use super::{Device, Entry, GuestDevice, Mapping, Range, Shadow};

impl<C> Mapping<C> {
    /// Returns which bytes of memory are behind it, if that is known.
    pub fn memory(&self) -> Option<Range> {
        let first = self.buffer?;
        let last = first.checked_add(self.bytes.checked_sub(1)?)?;
        Some(Range { first, last })
    }

    /// Returns the first address, as the device uses it, that leads to one of these bytes.
    pub fn address_of(&self, bytes: Range) -> Option<u64> {
        let memory = self.memory()?;
        let first = memory.and(bytes)?.first;
        self.first.checked_add(first - memory.first)
    }
}

impl<C> Device<C> {
    /// Returns the keys of mappings that may have one of these bytes, by where their memory begins.
    fn with_memory(&self, bytes: Range) -> impl Iterator<Item = (u64, u64)> {
        let from = bytes.first.saturating_sub(self.longest);
        let near = self.buffers.range((from, 0)..=(bytes.last, u64::MAX));
        near.map(|(&(_, serial), &first)| (first, serial))
    }
}

/// Returns whether a mapping counts: one that a driver has left behind was told of.
fn counts<C>(entry: &Entry<C>, bytes: Range) -> bool {
    let freed = entry.mapping.freed.as_ref();
    let is_new = freed.is_none_or(|(freed, _)| freed.and(bytes) != Some(bytes));
    !entry.left && is_new && entry.mapping.address_of(bytes).is_some()
}

impl<C: Clone> Shadow<C> {
    /// Returns whether a device has one of these bytes of memory.
    pub fn has_memory(&self, bytes: Range) -> bool {
        self.devices.values().any(|known| {
            let entries = known
                .with_memory(bytes)
                .filter_map(|key| known.live.get(&key));
            entries.into_iter().any(|entry| counts(entry, bytes))
        })
    }

    /// Takes note that `by` has freed these bytes of memory, and returns the mappings, of those for
    /// which `is_it` holds, that have some of them, unless others of their bytes were freed before.
    pub fn free(
        &mut self,
        bytes: Range,
        by: &C,
        is_it: impl Fn(&Mapping<C>) -> bool,
    ) -> Vec<(GuestDevice, Mapping<C>)> {
        let mut found = Vec::new();
        for (&device, known) in &mut self.devices {
            for key in known.with_memory(bytes).collect::<Vec<_>>() {
                let Some(entry) = known.live.get_mut(&key) else {
                    continue;
                };
                if !counts(entry, bytes) || !is_it(&entry.mapping) {
                    continue;
                }
                match &mut entry.mapping.freed {
                    // What lies elsewhere is left out: larger mappings are freed page by page.
                    Some((freed, _)) => *freed = freed.with(bytes),
                    none => {
                        *none = Some((bytes, by.clone()));
                        found.push((device, entry.mapping.clone()));
                    }
                }
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::{Direction, MappingKind};
    use super::*;

    fn mapping(first: u64, bytes: u64, buffer: Option<u64>) -> Mapping<u32> {
        Mapping {
            first,
            bytes,
            direction: Direction::ToDevice,
            kind: MappingKind::Streaming,
            buffer,
            in_use: true,
            owned: None,
            freed: None,
            made: 0,
        }
    }

    const fn range(first: u64, last: u64) -> Range {
        Range { first, last }
    }

    #[test]
    fn a_mapping_is_found_by_what_is_freed_of_it_once() {
        let mut shadow = Shadow::default();
        let device = GuestDevice(1);
        shadow.map(device, mapping(0x1010, 0x20, Some(0x8010)));
        for bytes in [range(0x8000, 0x800f), range(0x8030, 0x8fff)] {
            assert!(!shadow.has_memory(bytes));
            assert_eq!(shadow.free(bytes, &1, |_| true), []);
        }
        let bytes = range(0x8018, 0x8fff);
        assert!(shadow.has_memory(bytes));
        assert_eq!(shadow.free(bytes, &2, |_| false), []);
        let found = shadow.free(bytes, &3, |_| true);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].1.freed, Some((bytes, 3)));
        assert_eq!(found[0].1.address_of(bytes), Some(0x1018));
        assert_eq!(shadow.at(device, 0x1010).unwrap().freed, Some((bytes, 3)));
        assert!(!shadow.has_memory(range(0x8020, 0x8020)));
        // More of it is no more news.
        assert_eq!(shadow.free(range(0x8000, 0x8017), &4, |_| true), []);
        let all = Some((range(0x8000, 0x8fff), 3));
        assert_eq!(shadow.at(device, 0x1010).unwrap().freed, all);
        assert!(!shadow.has_memory(range(0x8010, 0x8010)));
        // What a driver has left behind was told of.
        shadow.map(device, mapping(0x2000, 1, Some(0x9000)));
        shadow.unbind(device);
        assert!(!shadow.has_memory(range(0x9000, 0x9fff)));
    }

    proptest! {
        /// Held against a look at each mapping.
        #[test]
        fn all_that_have_the_memory_are_found(
            mappings in prop::collection::vec(
                (0..3u64, 0..64u64, 0..12u64, prop::option::of(prop_oneof![0..64u64, Just(u64::MAX)])),
                0..20,
            ),
            first in 0..64u64,
            bytes in 0..16u64,
        ) {
            let mut shadow = Shadow::default();
            let freed = range(first, first + bytes);
            let mut expected = Vec::new();
            for &(device, first, bytes, buffer) in &mappings {
                shadow.map(GuestDevice(device), mapping(first, bytes, buffer));
                let has = |buffer: &u64| {
                    (0..bytes).any(|n| {
                        let byte = buffer.checked_add(n);
                        byte.is_some_and(|byte| (freed.first..=freed.last).contains(&byte))
                    })
                };
                if buffer.as_ref().is_some_and(has) {
                    expected.push((device, first, bytes, buffer));
                }
            }
            expected.sort_unstable();
            prop_assert_eq!(shadow.has_memory(freed), !expected.is_empty());
            let found = shadow.free(freed, &1, |_| true);
            let mut found: Vec<_> = found
                .iter()
                .map(|(device, m)| (device.0, m.first, m.bytes, m.buffer))
                .collect();
            found.sort_unstable();
            prop_assert_eq!(found, expected);
            prop_assert!(!shadow.has_memory(freed));
        }
    }
}
