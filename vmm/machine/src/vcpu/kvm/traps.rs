//! Breakpoint instructions in the guest's memory, in the place of its own.

use std::collections::BTreeMap;

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
pub(super) struct Traps(BTreeMap<u64, Trap>);

impl Traps {
    /// Writes one; `false` when there is no RAM.
    pub fn plant(&mut self, ram: &GuestRam, va: u64, pa: u64, bytes: &'static [u8]) -> bool {
        let mut own = [0; 4];
        let planted =
            code::read(ram, pa, &mut own[..bytes.len()]).and_then(|()| code::write(ram, pa, bytes));
        if planted.is_some() {
            self.0.insert(va, Trap { pa, bytes, own });
        }
        planted.is_some()
    }

    /// Returns the virtual address of the one at physical address `pa`.
    pub fn at(&self, pa: u64) -> Option<u64> {
        let mut all = self.0.iter();
        all.find_map(|(va, trap)| (trap.pa == pa).then_some(*va))
    }

    /// Takes one away. Where the guest has changed its code meanwhile, its change stays.
    pub fn lift(&mut self, ram: &GuestRam, va: u64) {
        let Some(Trap { pa, bytes, own }) = self.0.remove(&va) else {
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
        let all: Vec<u64> = self.0.keys().copied().collect();
        all.into_iter().for_each(|va| self.lift(ram, va));
    }
}
