//! Looking on: breakpoints, watchpoints, single steps, and a core's registers and memory while the
//! cluster stands still.
//!
//! A run in which an observer stops and looks, and changes nothing, is the same run to the last
//! instruction, and at the same time: stops lie between instructions and take no time. What is not
//! observed costs nothing.

use std::collections::BTreeMap;

use super::{Cluster, Member, Power};
use crate::mem;
use crate::mmu;
use crate::state::CpuState;
use crate::watch::{RamWatch, Watchpoint};

/// What observers want to see. Two observers may want the same.
#[derive(Default)]
pub(super) struct Observed {
    /// Breakpoints, and by how many observers.
    breakpoints: BTreeMap<u32, usize>,
    pub(super) watchpoints: Vec<Watchpoint>,
}

impl Cluster {
    /// Stops the run with [`Stop::Breakpoint`](super::Stop::Breakpoint) before any core executes an
    /// instruction at virtual address `va`, in whatever address space; bit 0, which marks addresses
    /// of T32 code, does not matter. What is inserted twice must be removed twice.
    ///
    /// The instruction that follows a stop is always executed, unless R15 was moved; and where R15
    /// is moved from breakpoint to breakpoint, some 64 of them end in an instruction executed, too.
    pub fn insert_breakpoint(&mut self, va: u32) {
        let va = va & !1;
        let count = self.observed.breakpoints.entry(va).or_default();
        *count += 1;
        if *count == 1 {
            self.members
                .iter_mut()
                .for_each(|m| m.core.set_breakpoint(va, true));
        }
    }

    /// Removes a breakpoint; `false` when there is none at `va`.
    pub fn remove_breakpoint(&mut self, va: u32) -> bool {
        let va = va & !1;
        let Some(count) = self.observed.breakpoints.get_mut(&va) else {
            return false;
        };
        *count -= 1;
        if *count == 0 {
            self.observed.breakpoints.remove(&va);
            self.members
                .iter_mut()
                .for_each(|m| m.core.set_breakpoint(va, false));
        }
        true
    }

    /// Returns the addresses of all breakpoints, lowest first.
    pub fn breakpoints(&self) -> impl Iterator<Item = u32> {
        self.observed.breakpoints.keys().copied()
    }

    /// Stops the run with [`Stop::Watchpoint`](super::Stop::Watchpoint) before any core makes an
    /// access that `watchpoint` is about, in whatever address space; at most once an instruction.
    /// Instruction fetches, accesses by devices and table walks are not watched. What is inserted
    /// twice must be removed twice.
    pub fn insert_watchpoint(&mut self, watchpoint: Watchpoint) {
        self.observed.watchpoints.push(watchpoint);
        self.watch();
    }

    /// Removes a watchpoint; `false` when there is no such.
    pub fn remove_watchpoint(&mut self, watchpoint: Watchpoint) -> bool {
        let list = &mut self.observed.watchpoints;
        let Some(index) = list.iter().position(|w| *w == watchpoint) else {
            return false;
        };
        list.remove(index);
        self.watch();
        true
    }

    /// Stops the run with [`Stop::WatchedRam`](super::Stop::WatchedRam) before any core makes an
    /// access to these bytes of the page of RAM at physical address `pa`, by whatever virtual
    /// address, in place of those that were watched there before; `false` when no RAM is there.
    /// What is true of watchpoints is true of these; an access that is watched as both stops for
    /// the watchpoint only.
    pub fn watch_ram(&mut self, pa: u64, ranges: &[RamWatch]) -> bool {
        let Some(page) = self.bus.ram(pa) else {
            return false;
        };
        for member in &mut self.members {
            member.core.cpu.watch_ram(page.number, ranges);
        }
        true
    }

    pub(super) fn watch(&mut self) {
        for member in &mut self.members {
            member.core.cpu.set_watchpoints(&self.observed.watchpoints);
        }
    }

    /// Stops the run with [`Stop::Step`](super::Stop::Step) after each instruction of core `core`.
    /// An interrupt that is due before the instruction is taken, and the instruction is then the
    /// handler's first.
    pub fn set_step(&mut self, core: usize, on: bool) {
        if let Some(member) = self.members.get_mut(core) {
            member.step = on;
        }
    }

    /// Gives core `core` no turns while `on`. This, unlike all else here, is a different run.
    pub fn set_held(&mut self, core: usize, on: bool) {
        if let Some(member) = self.members.get_mut(core) {
            member.held = on;
        }
    }

    /// Returns whether a core is given no turns: then one that could run may be all that the others
    /// wait for.
    pub fn any_held(&self) -> bool {
        self.members.iter().any(|member| member.held)
    }

    /// Returns what core `core` is doing; off when there is no such core.
    pub fn power(&self, core: usize) -> Power {
        self.members.get(core).map_or(Power::Off, |m| m.power)
    }

    /// Returns the core whose turn it is.
    pub const fn current(&self) -> usize {
        self.turn
    }

    /// Returns whether a stop follows each instruction of core `core`.
    pub fn is_stepped(&self, core: usize) -> bool {
        self.members.get(core).is_some_and(|member| member.step)
    }

    /// Returns whether core `core` is given no turns.
    pub fn is_held(&self, core: usize) -> bool {
        self.members.get(core).is_some_and(|member| member.held)
    }

    /// Says what core `core` is doing, where it is only a copy of one that runs elsewhere.
    pub fn set_power(&mut self, core: usize, power: Power) {
        if let Some(member) = self.members.get_mut(core) {
            member.power = power;
        }
    }

    /// Says whose turn it is, where cores are only copies.
    pub fn set_current(&mut self, core: usize) {
        if core < self.members.len() {
            self.turn = core;
        }
    }

    /// Translates as [`CoreView::translate`] does, for core `core`; `None` also when there is no
    /// such core.
    pub fn translate(&self, core: usize, va: u32) -> Option<u64> {
        mmu::look(&self.members.get(core)?.core.cpu.s.cp15, &*self.bus, va)
    }

    /// Returns core `core`, to look at and to change.
    pub fn core(&mut self, core: usize) -> Option<CoreView<'_>> {
        (core < self.members.len()).then_some(CoreView {
            cluster: self,
            index: core,
        })
    }
}

/// No memory at this virtual address, or what is there is no RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no memory at virtual address {va:#010x}")]
pub struct NoMemory {
    /// The first address without.
    pub va: u32,
}

/// The general registers and the CPSR of a core.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoreRegisters {
    /// R0 to R15 of the current mode; R15 is the address of the next instruction.
    pub r: [u32; 16],
    /// CPSR.
    pub cpsr: u32,
}

/// One core of a cluster that stands still.
pub struct CoreView<'a> {
    cluster: &'a mut Cluster,
    index: usize,
}

impl CoreView<'_> {
    fn member(&mut self) -> &mut Member {
        &mut self.cluster.members[self.index]
    }

    /// Returns the index of the core.
    pub const fn index(&self) -> usize {
        self.index
    }

    /// Returns the whole state.
    pub fn state(&self) -> &CpuState {
        &self.cluster.members[self.index].core.cpu.s
    }

    /// Returns the whole state, to change: what was cached of the old one is dropped.
    pub fn state_mut(&mut self) -> &mut CpuState {
        self.cluster.state_mut(self.index)
    }

    /// Returns R0 to R15 and CPSR.
    pub fn registers(&self) -> CoreRegisters {
        let s = self.state();
        CoreRegisters {
            r: s.r,
            cpsr: s.cpsr(),
        }
    }

    /// Returns register `n`, modulo 16.
    pub fn reg(&self, n: u8) -> u32 {
        self.state().r[usize::from(n & 15)]
    }

    /// Writes register `n`, modulo 16. R15 drops the low bits that the instruction set has no use
    /// for.
    pub fn set_reg(&mut self, n: u8, value: u32) {
        let s = &mut self.member().core.cpu.s;
        match n & 15 {
            15 => s.set_pc(value),
            n => s.r[usize::from(n)] = value,
        }
    }

    /// Returns the address of the next instruction.
    pub fn pc(&self) -> u32 {
        self.reg(15)
    }

    /// Returns CPSR.
    pub fn cpsr(&self) -> u32 {
        self.state().cpsr()
    }

    /// Writes the whole CPSR; a mode that does not exist leaves the mode as it is. R15 drops the
    /// low bits that the instruction set has no use for.
    pub fn set_cpsr(&mut self, value: u32) {
        let core = &mut self.member().core;
        // Before the mode changes: counters may tell PL0 and PL1 apart.
        core.cpu.leave_privilege_level(core.cpu.s.retired);
        core.cpu.s.set_cpsr(value);
        core.cpu.s.set_pc(core.cpu.s.r[15]);
        core.cpu.select_tlb();
        core.look_again();
    }

    /// Makes the core go on at `target`, whose bit 0 says whether that is T32 code, outside any IT
    /// block.
    pub fn branch(&mut self, target: u32) {
        let s = &mut self.member().core.cpu.s;
        s.psr.thumb = target & 1 != 0;
        s.psr.it = 0;
        s.set_pc(target);
        self.member().core.look_again();
    }

    /// Returns at once from the function at whose first instruction the core stands, with `value`
    /// if it is to return one (AAPCS: R0, to LR).
    pub fn return_at_once(&mut self, value: Option<u32>) {
        if let Some(value) = value {
            self.set_reg(0, value);
        }
        self.branch(self.reg(14));
    }

    /// Returns argument `n`, from 0, of the function at whose first instruction the core stands,
    /// where each takes one word (AAPCS 5.5).
    ///
    /// # Errors
    /// [`NoMemory`] when it should lie on the stack and there is none.
    pub fn argument(&self, n: u8) -> Result<u32, NoMemory> {
        match n {
            0..=3 => Ok(self.reg(n)),
            _ => self.read_u32(self.reg(13).wrapping_add(4 * u32::from(n - 4))),
        }
    }

    /// Returns TTBR0, all 64 bits of it.
    pub fn ttbr0(&self) -> u64 {
        self.state().cp15.ttbr0
    }

    /// Returns TTBR1.
    pub fn ttbr1(&self) -> u64 {
        self.state().cp15.ttbr1
    }

    /// Returns TTBCR.
    pub fn ttbcr(&self) -> u32 {
        self.state().cp15.ttbcr
    }

    /// Returns DACR.
    pub fn dacr(&self) -> u32 {
        self.state().cp15.dacr
    }

    /// Returns the physical address of `va` in the core's present address space, whatever its
    /// permissions; `None` when nothing is mapped. Nothing notices: no register, no access flag, no
    /// cached translation, no device.
    pub fn translate(&self, va: u32) -> Option<u64> {
        self.cluster.translate(self.index, va)
    }

    /// Reads memory by virtual address, whatever the permissions. As [`CoreView::translate`],
    /// nothing notices; devices are not read.
    ///
    /// # Errors
    /// [`NoMemory`] with the first address that has none; `bytes` is filled up to there.
    pub fn read(&self, va: u32, bytes: &mut [u8]) -> Result<(), NoMemory> {
        for (at, chunk) in pages(va, bytes.len()) {
            let pa = self.translate(at).ok_or(NoMemory { va: at })?;
            self.read_phys(pa, &mut bytes[chunk])
                .ok_or(NoMemory { va: at })?;
        }
        Ok(())
    }

    /// Returns the little-endian word at `va`, as [`CoreView::read`] reads it.
    ///
    /// # Errors
    /// [`NoMemory`].
    pub fn read_u32(&self, va: u32) -> Result<u32, NoMemory> {
        let mut bytes = [0; 4];
        self.read(va, &mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    /// Writes memory by virtual address, whatever the permissions; all of it or none. Code that is
    /// changed so runs as changed on all cores.
    ///
    /// # Errors
    /// [`NoMemory`] with the first address that has no writable RAM.
    pub fn write(&mut self, va: u32, bytes: &[u8]) -> Result<(), NoMemory> {
        // All is checked before the first byte is written.
        let mut places = Vec::new();
        for (at, chunk) in pages(va, bytes.len()) {
            let pa = self.translate(at);
            let writable = pa
                .and_then(|pa| self.cluster.bus.ram(pa))
                .is_some_and(|page| page.writable);
            match pa {
                Some(pa) if writable => places.push((pa, chunk)),
                _ => return Err(NoMemory { va: at }),
            }
        }
        for (pa, chunk) in places {
            // Cannot fail: each part was found to be writable.
            self.write_phys(pa, &bytes[chunk]);
        }
        Ok(())
    }

    /// Writes a little-endian word at `va`, as [`CoreView::write`] does.
    ///
    /// # Errors
    /// [`NoMemory`].
    pub fn write_u32(&mut self, va: u32, value: u32) -> Result<(), NoMemory> {
        self.write(va, &value.to_le_bytes())
    }

    /// Reads RAM by physical address; `None` when some of it is no RAM.
    pub fn read_phys(&self, pa: u64, bytes: &mut [u8]) -> Option<()> {
        for (i, byte) in (0..).zip(bytes) {
            let at = pa.checked_add(i)?;
            let page = self.cluster.bus.ram(at)?;
            *byte = mem::read_page_byte(page, (at & 0xfff) as u32);
        }
        Some(())
    }

    /// Writes RAM by physical address; `None` when some of it is no writable RAM, and is left out.
    /// Code that is changed so runs as changed on all cores.
    pub fn write_phys(&mut self, pa: u64, bytes: &[u8]) -> Option<()> {
        let mut done = Some(());
        for (i, byte) in (0..).zip(bytes) {
            let wrote = pa.checked_add(i).and_then(|at| {
                let page = self.cluster.bus.ram(at)?;
                let offset = (at & 0xfff) as u32;
                mem::write_ram(&*self.cluster.bus, page, offset, 1, (*byte).into()).ok()
            });
            // What can be written is written, also after bytes that cannot.
            done = done.and(wrote.map(drop));
        }
        done
    }
}

/// Returns the parts of `len` bytes from `va`, each in one page: their addresses, and which bytes
/// they are. Addresses wrap.
#[expect(clippy::cast_possible_truncation, reason = "addresses wrap")]
fn pages(va: u32, len: usize) -> impl Iterator<Item = (u32, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let at = va.wrapping_add(done as u32);
        let part = (0x1000 - (at & 0xfff) as usize).min(len - done);
        let chunk = done..done + part;
        done += part;
        (part > 0).then_some((at, chunk))
    })
}
