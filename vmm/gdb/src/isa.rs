//! What a session needs to know of an instruction set.

use gdbstub::arch;
use vmm_machine::vcpu::Core;

/// An instruction set: how wide its addresses are and which registers it has. Nothing comes of a core of another one.
pub(super) trait Isa:
    arch::Arch<
        Usize = <Self as Isa>::Address,
        Registers = <Self as Isa>::All,
        RegId = <Self as Isa>::One,
        BreakpointKind = usize,
    > + Send
    + 'static
{
    /// A virtual address.
    type Address: Into<u64> + From<u32> + TryInto<u32> + Copy + Send;
    /// The registers that are sent all at once; the others are asked for one by one.
    type All: arch::Registers<ProgramCounter = Self::Address> + Send;
    /// The name of one register.
    type One: arch::RegId + Copy + Send;

    /// Reads all that are sent at once.
    fn read_all(core: &Core<'_>) -> Option<Self::All>;

    /// Writes them to `core`.
    fn write_all(core: &mut Core<'_>, registers: &Self::All) -> Option<()>;

    /// Reads one register, little-endian.
    fn read(core: &Core<'_>, register: Self::One) -> Option<Vec<u8>>;

    /// Writes one register; `None` when it cannot be, or `bytes` is not its size.
    fn write(core: &mut Core<'_>, register: Self::One, bytes: &[u8]) -> Option<()>;
}
