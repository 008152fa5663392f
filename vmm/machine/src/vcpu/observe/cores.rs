//! What observers see of cores, whatever their width and whoever runs them.

use arm32::{Cluster, CoreView, Power, RamWatch};
use vmm_base::Width;

use super::super::aarch64::{Aarch64Core, Aarch64Cores};

/// No memory at this virtual address, or what is there is no RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no memory at virtual address {va:#010x}")]
pub struct NoMemory {
    /// The first address without.
    pub va: u64,
}

impl From<arm32::NoMemory> for NoMemory {
    fn from(arm32::NoMemory { va }: arm32::NoMemory) -> Self {
        Self { va: va.into() }
    }
}

/// The cores of a machine that stands still.
pub enum Cores<'a> {
    /// Of 32 bits: emulated ones, or copies of those that KVM runs.
    Aarch32(&'a mut Cluster),
    /// Of 64 bits: copies of those that KVM runs.
    Aarch64(&'a mut Aarch64Cores),
}

/// One of them.
pub enum Core<'a> {
    /// Of 32 bits.
    Aarch32(CoreView<'a>),
    /// Of 64 bits.
    Aarch64(Aarch64Core<'a>),
}

/// Does the same with cores of both widths.
macro_rules! both {
    ($cores:expr, $bound:ident => $what:expr) => {
        match $cores {
            Self::Aarch32($bound) => $what,
            Self::Aarch64($bound) => $what,
        }
    };
}

impl Cores<'_> {
    /// Returns the width of their registers.
    pub const fn width(&self) -> Width {
        match self {
            Self::Aarch32(_) => Width::Bits32,
            Self::Aarch64(_) => Width::Bits64,
        }
    }

    /// Returns the number of cores.
    #[expect(clippy::len_without_is_empty, reason = "no machine is without cores")]
    pub fn len(&self) -> usize {
        both!(self, cores => cores.len())
    }

    /// Returns the one whose turn it is, or that stopped.
    pub fn current(&self) -> usize {
        both!(self, cores => cores.current())
    }

    /// Returns the state of core `core`; off when there is no such core.
    pub fn power(&self, core: usize) -> Power {
        both!(self, cores => cores.power(core))
    }

    /// Returns core `core`.
    pub fn core(&mut self, core: usize) -> Option<Core<'_>> {
        match self {
            Self::Aarch32(cluster) => cluster.core(core).map(Core::Aarch32),
            Self::Aarch64(cluster) => cluster.core(core).map(Core::Aarch64),
        }
    }

    /// Stops the run before any core executes the instruction at virtual address `va`. What is
    /// inserted twice must be removed twice. Where there can be no instruction, nothing happens.
    pub fn insert_breakpoint(&mut self, va: u64) {
        match (self, u32::try_from(va)) {
            (Self::Aarch32(cluster), Ok(va)) => cluster.insert_breakpoint(va),
            // A 32-bit core never comes to such an address.
            (Self::Aarch32(_), Err(_)) => {}
            (Self::Aarch64(cluster), _) => cluster.insert_breakpoint(va),
        }
    }

    /// Removes a breakpoint; `false` when there is none at `va`.
    pub fn remove_breakpoint(&mut self, va: u64) -> bool {
        match (self, u32::try_from(va)) {
            (Self::Aarch32(cluster), Ok(va)) => cluster.remove_breakpoint(va),
            (Self::Aarch32(_), Err(_)) => false,
            (Self::Aarch64(cluster), _) => cluster.remove_breakpoint(va),
        }
    }

    /// Stops the run before any core makes an access to these bytes of the page of RAM at physical
    /// address `pa`, in place of those that were watched there before; `false` when no RAM is
    /// there, or cores of this width cannot watch it.
    pub fn watch_ram(&mut self, pa: u64, ranges: &[RamWatch]) -> bool {
        match self {
            Self::Aarch32(cluster) => cluster.watch_ram(pa, ranges),
            Self::Aarch64(_) => false,
        }
    }

    /// Stops the run after each instruction of core `core`.
    pub fn set_step(&mut self, core: usize, on: bool) {
        both!(self, cores => cores.set_step(core, on));
    }

    /// Gives core `core` no turns while `on`.
    pub fn set_held(&mut self, core: usize, on: bool) {
        both!(self, cores => cores.set_held(core, on));
    }
}

impl Core<'_> {
    /// Returns the width of its registers.
    pub const fn width(&self) -> Width {
        match self {
            Self::Aarch32(_) => Width::Bits32,
            Self::Aarch64(_) => Width::Bits64,
        }
    }

    /// Returns its index.
    pub const fn index(&self) -> usize {
        both!(self, core => core.index())
    }

    /// Returns the address of the next instruction.
    pub fn pc(&self) -> u64 {
        match self {
            Self::Aarch32(core) => core.pc().into(),
            Self::Aarch64(core) => core.state().pc,
        }
    }

    /// Returns general register `n`: of R0 to R15, modulo 16; or X0 to X30, and the stack pointer
    /// for all above.
    pub fn reg(&self, n: u8) -> u64 {
        match self {
            Self::Aarch32(core) => core.reg(n).into(),
            Self::Aarch64(core) => core.state().reg(n),
        }
    }

    /// Writes register `n`, numbered as for [`Core::reg`]. One of 32 bits takes the low half.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "one of 32 bits takes the low half"
    )]
    pub fn set_reg(&mut self, n: u8, value: u64) {
        match self {
            Self::Aarch32(core) => core.set_reg(n, value as u32),
            Self::Aarch64(core) => core.state_mut().set_reg(n, value),
        }
    }

    /// Continues at `target`; for 32 bits its bit 0 says whether that is T32 code, outside any IT
    /// block.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "one of 32 bits takes the low half"
    )]
    pub fn branch(&mut self, target: u64) {
        match self {
            Self::Aarch32(core) => core.branch(target as u32),
            Self::Aarch64(core) => core.state_mut().pc = target,
        }
    }

    /// Makes the core return at once from the function at whose first instruction it is, with
    /// `value` if it shall return one (in R0 or X0, to LR or X30: AAPCS, AAPCS64).
    pub fn return_at_once(&mut self, value: Option<u64>) {
        if let Some(value) = value {
            self.set_reg(0, value);
        }
        // At its first instruction a function has not moved its return address yet.
        let link = match self {
            Self::Aarch32(_) => 14,
            Self::Aarch64(_) => 30,
        };
        self.branch(self.reg(link));
    }

    /// Returns, at the first instruction of a function, its argument `n`, from 0, where each takes
    /// one register or one slot of the stack (AAPCS 5.5; AAPCS64 6.8.2).
    ///
    /// # Errors
    /// [`NoMemory`] when it should lie on the stack and there is none.
    pub fn argument(&self, n: u8) -> Result<u64, NoMemory> {
        match self {
            Self::Aarch32(core) => Ok(core.argument(n)?.into()),
            Self::Aarch64(core) => core.argument(n),
        }
    }

    /// Returns the physical address of `va` in the core's present address space, whatever its
    /// permissions; `None` when nothing is mapped. Nothing notices.
    pub fn translate(&self, va: u64) -> Option<u64> {
        match self {
            Self::Aarch32(core) => core.translate(u32::try_from(va).ok()?),
            Self::Aarch64(core) => core.translate(va),
        }
    }

    /// Reads memory by virtual address, whatever the permissions. Nothing notices; devices are not
    /// read. Of cores of 32 bits addresses wrap.
    ///
    /// # Errors
    /// [`NoMemory`] with the first address that has none; `bytes` is filled up to there.
    pub fn read(&self, va: u64, bytes: &mut [u8]) -> Result<(), NoMemory> {
        match self {
            Self::Aarch32(core) => {
                let va = u32::try_from(va).map_err(|_| NoMemory { va })?;
                Ok(core.read(va, bytes)?)
            }
            Self::Aarch64(core) => core.read(va, bytes),
        }
    }

    /// Writes memory by virtual address, whatever the permissions; all of it or none. Code that is
    /// changed so runs as changed on all cores.
    ///
    /// # Errors
    /// [`NoMemory`] with the first address that has no writable RAM.
    pub fn write(&mut self, va: u64, bytes: &[u8]) -> Result<(), NoMemory> {
        match self {
            Self::Aarch32(core) => {
                let va = u32::try_from(va).map_err(|_| NoMemory { va })?;
                Ok(core.write(va, bytes)?)
            }
            Self::Aarch64(core) => core.write(va, bytes),
        }
    }

    /// Reads RAM by physical address; `None` when some of it is no RAM.
    pub fn read_phys(&self, pa: u64, bytes: &mut [u8]) -> Option<()> {
        both!(self, core => core.read_phys(pa, bytes))
    }

    /// Writes RAM by physical address; `None` when some of it is no RAM. Code that is changed so
    /// runs as changed on all cores.
    pub fn write_phys(&mut self, pa: u64, bytes: &[u8]) -> Option<()> {
        both!(self, core => core.write_phys(pa, bytes))
    }
}
