//! Pages of which stores are told, and take the slow path: those that hold predecoded code, and
//! those of restored memory that nobody has written yet.

use super::{ENTRIES, INVALID, SETS, TOLD, Tlb};

impl Tlb {
    /// Has stores to RAM page `number` take the slow path from now on: it holds predecoded code.
    #[cold]
    pub fn tag_code(&mut self, number: u32) {
        self.tag_code_if(|found| found == number);
    }

    /// Does the same for all of `numbers`, which are in order.
    pub fn tag_all_code(&mut self, numbers: &[u32]) {
        let holds = |found| numbers.binary_search(&found).is_ok();
        self.tag_code_if(holds);
    }

    #[inline(always)]
    fn tag_code_if(&mut self, holds: impl Fn(u32) -> bool) {
        // Most sets are unused most of the time, and new code is found often.
        for set in (0..SETS).filter(|set| self.keys[*set].is_some()) {
            let slots = set * ENTRIES..(set + 1) * ENTRIES;
            let numbered = self.entries[slots.clone()].iter_mut();
            let writable = numbered
                .zip(&self.numbers[slots])
                .filter(|(entry, _)| entry.write != INVALID);
            for (entry, _) in writable.filter(|(_, found)| holds(found.in_ram())) {
                entry.write |= TOLD;
            }
        }
    }

    /// Has stores to the page of `va` take the fast path from now on: nobody needs to know of them.
    pub fn untag_told(&mut self, va: u32) {
        let entry = &mut self.entries[self.slot(va)];
        if entry.write & 0xffff_f000 == va & 0xffff_f000 && entry.write != INVALID {
            entry.write &= !TOLD;
        }
    }
}
