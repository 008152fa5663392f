//! Breakpoint instructions in the guest's memory, in the place of its own.

use std::collections::{BTreeMap, BTreeSet};

use super::code;
use vmm_devices::ram::GuestRam;

/// One that was written.
#[derive(Clone, Copy, Debug)]
struct Trap {
    pa: u64,
    /// The bytes that are written.
    bytes: &'static [u8],
    /// The bytes that were there.
    own: [u8; 4],
}

/// All of them, by virtual address.
#[derive(Debug, Default)]
pub(super) struct Traps {
    planted: BTreeMap<u64, Trap>,
    /// What was there when each was planted for the first time.
    first: BTreeMap<u64, [u8; 4]>,
}

impl Traps {
    /// Returns whether there is at `pa` what was there when the one at `va` was planted for the
    /// first time, or that is now. Otherwise the guest has patched its code, or freed the memory
    /// and keeps something else there.
    pub fn is_as_first(&mut self, ram: &GuestRam, va: u64, pa: u64, len: usize) -> bool {
        let mut now = [0; 4];
        code::read(ram, pa, &mut now[..len]).is_some()
            && *self.first.entry(va).or_insert(now) == now
    }

    /// Forgets what was at those that are not `wanted` any more.
    pub fn retain(&mut self, wanted: &BTreeSet<u64>) {
        self.first.retain(|va, _| wanted.contains(va));
    }

    /// Writes one; `false` when there is no RAM.
    pub fn plant(&mut self, ram: &GuestRam, va: u64, pa: u64, bytes: &'static [u8]) -> bool {
        let mut own = [0; 4];
        let planted =
            code::read(ram, pa, &mut own[..bytes.len()]).and_then(|()| code::write(ram, pa, bytes));
        if planted.is_some() {
            self.planted.insert(va, Trap { pa, bytes, own });
        }
        planted.is_some()
    }

    /// Returns the virtual address of the one at physical address `pa`.
    pub fn at(&self, pa: u64) -> Option<u64> {
        let mut all = self.planted.iter();
        all.find_map(|(va, trap)| (trap.pa == pa).then_some(*va))
    }

    /// Takes one away. Where the guest has changed its code meanwhile, its change stays.
    pub fn lift(&mut self, ram: &GuestRam, va: u64) {
        let Some(Trap { pa, bytes, own }) = self.planted.remove(&va) else {
            return;
        };
        let mut now = [0; 4];
        let now = &mut now[..bytes.len()];
        // Where the guest has written meanwhile, what it wrote stays.
        if code::read(ram, pa, now).is_some() && now == bytes {
            // It was RAM when it was planted.
            let _ = code::write(ram, pa, &own[..bytes.len()]);
        }
    }

    /// Takes all away.
    pub fn lift_all(&mut self, ram: &GuestRam) {
        let all: Vec<u64> = self.planted.keys().copied().collect();
        all.into_iter().for_each(|va| self.lift(ram, va));
    }
}

#[cfg(test)]
mod tests {
    use vm_memory::GuestAddress;

    use super::*;

    const RAM: u64 = 1 << 30;
    const TRAP: [u8; 4] = [0, 0, 0x20, 0xd4];

    #[test]
    fn memory_that_was_freed_is_told_from_the_code_that_was_there() {
        let ram = GuestRam::from_ranges(&[(GuestAddress(RAM), 0x1000)]).unwrap();
        let (va, pa) = (0xffff_8000, RAM + 8);
        let mut traps = Traps::default();
        code::write(&ram, pa, &[1, 2, 3, 4]).unwrap();
        for _ in 0..2 {
            assert!(traps.is_as_first(&ram, va, pa, 4));
            assert!(traps.plant(&ram, va, pa, &TRAP));
            traps.lift(&ram, va);
        }
        // A page of a program now.
        code::write(&ram, pa, &[5, 6, 7, 8]).unwrap();
        assert!(!traps.is_as_first(&ram, va, pa, 4));
        // A breakpoint that is set anew is about what is there now.
        traps.retain(&BTreeSet::new());
        assert!(traps.is_as_first(&ram, va, pa, 4));
        // There is no RAM.
        assert!(!traps.is_as_first(&ram, va, RAM - 4, 4));
    }
}
