//! Cores of a 64-bit guest that stand still: copies of those that KVM runs, with what observers
//! want of them. They never run here, and so nothing depends on the host.

pub(super) mod state;
#[cfg(test)]
mod tests;
mod walk;

use std::collections::BTreeMap;
use std::sync::Arc;

use arm32::Power;
use vm_memory::{Bytes, GuestAddress};

use super::observe::NoMemory;
pub use state::{Aarch64State, Pstate};
use vmm_devices::ram::GuestRam;

/// Bytes of the smallest page.
const PAGE: u64 = 0x1000;

/// One core and what observers want of it.
#[derive(Debug)]
struct Member {
    state: Aarch64State,
    power: Power,
    step: bool,
    held: bool,
}

/// All cores of a machine, on its memory.
#[derive(Debug)]
pub struct Aarch64Cores {
    ram: Arc<GuestRam>,
    members: Vec<Member>,
    current: usize,
    /// Breakpoints, and by how many observers.
    breakpoints: BTreeMap<u64, usize>,
}

impl Aarch64Cores {
    /// Creates `cpus` cores that are off, on `ram`.
    pub fn new(cpus: usize, ram: Arc<GuestRam>) -> Self {
        let member = || Member {
            state: Aarch64State::default(),
            power: Power::Off,
            step: false,
            held: false,
        };
        Self {
            ram,
            members: (0..cpus).map(|_| member()).collect(),
            current: 0,
            breakpoints: BTreeMap::new(),
        }
    }

    /// Returns the number of cores.
    #[expect(clippy::len_without_is_empty, reason = "no machine is without cores")]
    pub const fn len(&self) -> usize {
        self.members.len()
    }

    /// Returns the core of which observers are told.
    pub const fn current(&self) -> usize {
        self.current
    }

    /// Sets of which core observers are told.
    pub const fn set_current(&mut self, core: usize) {
        if core < self.members.len() {
            self.current = core;
        }
    }

    /// Returns the state of core `core`; off when there is no such core.
    pub fn power(&self, core: usize) -> Power {
        self.members.get(core).map_or(Power::Off, |m| m.power)
    }

    /// Sets the state of core `core`.
    pub fn set_power(&mut self, core: usize, power: Power) {
        if let Some(member) = self.members.get_mut(core) {
            member.power = power;
        }
    }

    /// Returns the registers of core `core`.
    ///
    /// # Panics
    /// When there is no such core.
    pub fn state(&self, core: usize) -> &Aarch64State {
        &self.members[core].state
    }

    /// Returns the registers of core `core`, to change.
    ///
    /// # Panics
    /// When there is no such core.
    pub fn state_mut(&mut self, core: usize) -> &mut Aarch64State {
        &mut self.members[core].state
    }

    /// Returns core `core`, to look at and to change.
    pub fn core(&mut self, core: usize) -> Option<Aarch64Core<'_>> {
        (core < self.members.len()).then_some(Aarch64Core {
            cluster: self,
            index: core,
        })
    }

    /// Makes the run stop before any core executes the instruction at `va`. What is inserted twice
    /// must be removed twice.
    pub fn insert_breakpoint(&mut self, va: u64) {
        // Instructions of A64 are aligned to words, so no core ever comes to another address.
        *self.breakpoints.entry(va & !3).or_default() += 1;
    }

    /// Removes a breakpoint; `false` when there is none at `va`.
    pub fn remove_breakpoint(&mut self, va: u64) -> bool {
        let va = va & !3;
        let Some(count) = self.breakpoints.get_mut(&va) else {
            return false;
        };
        *count -= 1;
        if *count == 0 {
            self.breakpoints.remove(&va);
        }
        true
    }

    /// Returns the addresses of all breakpoints, lowest first.
    pub fn breakpoints(&self) -> impl Iterator<Item = u64> {
        self.breakpoints.keys().copied()
    }

    /// Sets whether the run stops after each instruction of core `core`.
    pub fn set_step(&mut self, core: usize, on: bool) {
        if let Some(member) = self.members.get_mut(core) {
            member.step = on;
        }
    }

    /// Returns whether that is wanted.
    pub fn is_stepped(&self, core: usize) -> bool {
        self.members.get(core).is_some_and(|member| member.step)
    }

    /// Sets whether core `core` is held, and does not run.
    pub fn set_held(&mut self, core: usize, on: bool) {
        if let Some(member) = self.members.get_mut(core) {
            member.held = on;
        }
    }

    /// Returns whether that is wanted.
    pub fn is_held(&self, core: usize) -> bool {
        self.members.get(core).is_some_and(|member| member.held)
    }

    /// Translates `va` for core `core`; to itself while the core maps nothing, `None` where nothing
    /// is mapped.
    pub fn translate(&self, core: usize, va: u64) -> Option<u64> {
        walk::translate(&self.members.get(core)?.state, &self.ram, va)
    }
}

/// One core of a cluster.
pub struct Aarch64Core<'a> {
    cluster: &'a mut Aarch64Cores,
    index: usize,
}

impl Aarch64Core<'_> {
    /// Returns its index.
    pub const fn index(&self) -> usize {
        self.index
    }

    /// Returns its registers.
    pub fn state(&self) -> &Aarch64State {
        self.cluster.state(self.index)
    }

    /// Returns its registers, to change.
    pub fn state_mut(&mut self) -> &mut Aarch64State {
        self.cluster.state_mut(self.index)
    }

    /// Returns, at the first instruction of a function, its argument `n`, from 0, where each takes
    /// one register or one slot of the stack (AAPCS64 6.8.2).
    ///
    /// # Errors
    /// [`NoMemory`] when it should lie on the stack and there is none.
    pub fn argument(&self, n: u8) -> Result<u64, NoMemory> {
        let s = self.state();
        let Some(slot) = n.checked_sub(8) else {
            return Ok(s.reg(n));
        };
        // The function has not moved the stack pointer yet: the
        // caller put the ninth argument there.
        let mut bytes = [0; 8];
        self.read(s.sp().wrapping_add(8 * u64::from(slot)), &mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// Translates as [`Aarch64Cores::translate`] does.
    pub fn translate(&self, va: u64) -> Option<u64> {
        self.cluster.translate(self.index, va)
    }

    /// Reads memory by virtual address, whatever the permissions.
    ///
    /// # Errors
    /// [`NoMemory`] with the first address that has none; `bytes` is filled up to there.
    pub fn read(&self, va: u64, bytes: &mut [u8]) -> Result<(), NoMemory> {
        for (at, chunk) in pages(va, bytes.len()) {
            let pa = self.translate(at).ok_or(NoMemory { va: at })?;
            // Neighbouring pages may lie anywhere in RAM, so each is looked up by itself.
            self.read_phys(pa, &mut bytes[chunk])
                .ok_or(NoMemory { va: at })?;
        }
        Ok(())
    }

    /// Writes memory by virtual address, whatever the permissions; all of it or none.
    ///
    /// # Errors
    /// [`NoMemory`] with the first address that has none.
    pub fn write(&mut self, va: u64, bytes: &[u8]) -> Result<(), NoMemory> {
        // All or nothing: every page is looked up before the first byte is written.
        let mut places = Vec::new();
        for (at, chunk) in pages(va, bytes.len()) {
            let pa = self.translate(at).ok_or(NoMemory { va: at })?;
            // To read is the way to learn whether all of it is RAM, without changing any.
            self.read_phys(pa, &mut vec![0; chunk.len()])
                .ok_or(NoMemory { va: at })?;
            places.push((pa, chunk));
        }
        for (pa, chunk) in places {
            // Does not fail: the same bytes were just read.
            self.write_phys(pa, &bytes[chunk]);
        }
        Ok(())
    }

    /// Reads RAM by physical address; `None` when some of it is no RAM.
    pub fn read_phys(&self, pa: u64, bytes: &mut [u8]) -> Option<()> {
        self.cluster.ram.read_slice(bytes, GuestAddress(pa)).ok()
    }

    /// Writes RAM by physical address; `None` when some of it is no RAM.
    pub fn write_phys(&mut self, pa: u64, bytes: &[u8]) -> Option<()> {
        self.cluster.ram.write_slice(bytes, GuestAddress(pa)).ok()
    }
}

/// Returns the parts of `len` bytes from `va`, each in one page: their addresses, and which bytes
/// they are. Addresses wrap.
fn pages(va: u64, len: usize) -> impl Iterator<Item = (u64, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = va.wrapping_add(done as u64);
        #[expect(clippy::cast_possible_truncation, reason = "a page is small")]
        let part = ((PAGE - at % PAGE) as usize).min(len - done);
        let chunk = done..done + part;
        done += part;
        (part > 0).then_some((at, chunk))
    })
}
