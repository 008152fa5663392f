//! What a session needs to know of an instruction set.

use gdbstub::arch;

use super::registers::{Id, RegisterSet, Values};

/// An instruction set: how wide its addresses are and which registers it has. Nothing comes of a
/// core of another one.
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

/// Declares an instruction set with addresses of a type and with the registers of a table.
macro_rules! declare_isa {
    ($(#[$doc:meta])* $name:ident, $address:ident, $table:ident) => {
        $(#[$doc])*
        #[derive(Debug)]
        pub(super) enum $name {}

        impl $crate::registers::RegisterSet for $name {
            type Address = $address;

            fn table() -> &'static $crate::registers::Table {
                &$table
            }

            fn address(pc: u128) -> $address {
                pc as $address
            }
        }

        impl gdbstub::arch::Arch for $name {
            type Usize = $address;
            type Registers = $crate::registers::Values<Self>;
            type BreakpointKind = usize;
            type RegId = $crate::registers::Id<Self>;

            fn target_description_xml() -> Option<&'static str> {
                Some($table.xml())
            }
        }

        impl $crate::isa::Isa for $name {}
    };
}
pub(super) use declare_isa;
