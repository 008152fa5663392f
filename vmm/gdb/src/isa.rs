//! What a session needs to know of an instruction set.

use gdbstub::arch;

use super::registers::{Id, RegisterSet, Values};

/// An instruction set: how wide its addresses are and which registers it has. Nothing comes of a core of another one.
pub(super) trait Isa:
    RegisterSet
    + arch::Arch<
        Usize = <Self as RegisterSet>::Address,
        Registers = Values<Self>,
        RegId = Id<Self>,
        BreakpointKind = usize,
    > + Send
{
}
