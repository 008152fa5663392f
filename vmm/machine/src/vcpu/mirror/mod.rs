//! What observers see of cores that the host's processor runs: a copy of their registers, taken
//! while they stand still, and brought back where it was changed.
//!
//! Nothing here calls KVM: registers come and go by KVM's numbers for them (`spec`).

pub mod aarch32;
pub mod aarch64;
pub mod spec;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use arm32::Power;

use super::observe::Cores;

/// Registers by their numbers. Values are as wide as the widest.
pub type RegisterValues = BTreeMap<u64, u128>;

/// The wishes of an observer for one core.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CoreRequest {
    /// To hear of the end of its next instruction.
    pub step: bool,
    /// That it does not run.
    pub held: bool,
}

/// Copies of all cores.
pub trait Mirror: Send {
    /// Returns the cores, for observers.
    fn shown(&mut self) -> Cores<'_>;

    /// Returns the registers that [`Mirror::load`] wants.
    fn wanted(&self) -> Vec<u64>;

    /// Takes over what core `core` is.
    fn load(&mut self, core: usize, registers: &RegisterValues, power: Power);

    /// Returns the registers that core `core` has now: those of [`Mirror::wanted`].
    fn store(&self, core: usize) -> RegisterValues;

    /// Sets the core of which observers are told.
    fn set_current(&mut self, core: usize);

    /// Returns the addresses of all breakpoints.
    fn breakpoints(&self) -> Vec<u64>;

    /// Returns the registers that core `core` shall have.
    fn request(&self, core: usize) -> CoreRequest;

    /// Returns the address of the next instruction of core `core`.
    fn pc(&self, core: usize) -> u64;

    /// Returns whether core `core` maps addresses.
    fn maps(&self, core: usize) -> bool;

    /// Translates virtual address `va` for core `core`; `None` where nothing is mapped, and while
    /// it maps nothing.
    fn locate(&self, core: usize, va: u64) -> Option<u64>;

    /// Returns the bytes to write to `va` so that a core that executes what is there stops, for a
    /// core such as `core`.
    fn trap(&self, core: usize, va: u64) -> &'static [u8];

    /// Returns whether `code`, at the program counter of core `core`, is a guest's own breakpoint
    /// instruction.
    fn is_trap(&self, core: usize, code: [u8; 4]) -> bool;

    /// Makes core `core` take the exception that its own breakpoint instruction at the program
    /// counter makes.
    fn take_own_trap(&mut self, core: usize, code: [u8; 4]);

    /// Masks interrupts on core `core` for the instruction `code`, so that no handler runs before
    /// it; returns what [`Mirror::unmask`] is to be told. `None` where the instruction looks at the
    /// mask or changes it.
    fn mask(&mut self, core: usize, code: [u8; 4]) -> Option<Masked>;

    /// Takes that back, also where the instruction made an exception, which has saved the mask.
    fn unmask(&mut self, core: usize, masked: Masked);
}

/// The program status before interrupts were masked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Masked(pub u64);
