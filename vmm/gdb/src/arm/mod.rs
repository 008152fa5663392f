//! ARMv7-A in the protocol's terms: register numbers, and the description of them that a debugger reads.

mod cp15;
mod registers;

use std::fmt::Write;
use std::num::NonZeroUsize;
use std::sync::LazyLock;

use gdbstub::arch;

use super::isa::Isa;
use registers::Registers;
use vmm_machine::vcpu::Core;

/// ARMv7-A, little-endian.
#[derive(Debug)]
pub(super) enum Arm {}

/// R0 to R15.
const CORE: usize = 16;
/// D0 to D31.
const DOUBLES: usize = 32;
const CPSR: usize = CORE;
const D0: usize = CPSR + 1;
const FPSCR: usize = D0 + DOUBLES;
const SYSTEM: usize = FPSCR + 1;

/// A register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Register {
    /// R0 to R15.
    Core(u8),
    Cpsr,
    /// D0 to D31.
    Double(u8),
    Fpscr,
    /// An index into [`cp15::REGISTERS`].
    System(usize),
}

impl Register {
    /// Its size in bytes.
    pub fn bytes(self) -> usize {
        match self {
            Self::Core(_) | Self::Cpsr | Self::Fpscr => 4,
            Self::Double(_) => 8,
            Self::System(n) => usize::from(cp15::REGISTERS[n].bits / 8),
        }
    }
}

impl arch::RegId for Register {
    #[expect(
        clippy::cast_possible_truncation,
        reason = "registers of each kind are few"
    )]
    fn from_raw_id(id: usize) -> Option<(Self, Option<NonZeroUsize>)> {
        let register = match id {
            0..CORE => Self::Core(id as u8),
            CPSR => Self::Cpsr,
            D0..FPSCR => Self::Double((id - D0) as u8),
            FPSCR => Self::Fpscr,
            _ if id - SYSTEM < cp15::REGISTERS.len() => Self::System(id - SYSTEM),
            _ => return None,
        };
        Some((register, NonZeroUsize::new(register.bytes())))
    }
}

impl arch::Arch for Arm {
    type Usize = u32;
    type Registers = Registers;
    type BreakpointKind = usize;
    type RegId = Register;

    fn target_description_xml() -> Option<&'static str> {
        Some(&DESCRIPTION)
    }
}

impl Isa for Arm {
    type Address = u32;
    type All = Registers;
    type One = Register;

    fn read_all(core: &Core<'_>) -> Option<Registers> {
        match core {
            Core::Aarch32(core) => Some(Registers::of(core)),
            Core::Aarch64(_) => None,
        }
    }

    fn write_all(core: &mut Core<'_>, registers: &Registers) -> Option<()> {
        match core {
            Core::Aarch32(core) => {
                registers.write(core);
                Some(())
            }
            Core::Aarch64(_) => None,
        }
    }

    fn read(core: &Core<'_>, register: Register) -> Option<Vec<u8>> {
        match core {
            Core::Aarch32(core) => Some(registers::read(core, register)),
            Core::Aarch64(_) => None,
        }
    }

    fn write(core: &mut Core<'_>, register: Register, bytes: &[u8]) -> Option<()> {
        match core {
            Core::Aarch32(core) => registers::write(core, register, bytes),
            Core::Aarch64(_) => None,
        }
    }
}

/// The description: registers in the order of their numbers, in the features that GDB knows and one of ours.
static DESCRIPTION: LazyLock<String> = LazyLock::new(describe);

fn describe() -> String {
    let mut xml = String::from(
        "<?xml version=\"1.0\"?>\n<!DOCTYPE target SYSTEM \"gdb-target.dtd\">\n<target version=\"1.0\">\n\
         <architecture>arm</architecture>\n<feature name=\"org.gnu.gdb.arm.core\">\n",
    );
    let reg = |xml: &mut String, name: &str, bits: u8, kind: &str| {
        // Writing to a string does not fail.
        let _ = writeln!(xml, "<reg name=\"{name}\" bitsize=\"{bits}\" {kind}/>");
    };
    for n in 0..13 {
        reg(&mut xml, &format!("r{n}"), 32, "type=\"uint32\"");
    }
    reg(&mut xml, "sp", 32, "type=\"data_ptr\"");
    reg(&mut xml, "lr", 32, "");
    reg(&mut xml, "pc", 32, "type=\"code_ptr\"");
    reg(&mut xml, "cpsr", 32, "");
    xml += "</feature>\n<feature name=\"org.gnu.gdb.arm.vfp\">\n";
    for n in 0..DOUBLES {
        reg(&mut xml, &format!("d{n}"), 64, "type=\"ieee_double\"");
    }
    reg(&mut xml, "fpscr", 32, "type=\"int\" group=\"float\"");
    xml += "</feature>\n<feature name=\"org.gnu.gdb.arm.neon\"></feature>\n<feature name=\"org.viommu.arm.system\">\n";
    for register in cp15::REGISTERS {
        let kind = format!("type=\"uint{}\" group=\"system\"", register.bits);
        reg(&mut xml, register.name, register.bits, &kind);
    }
    xml += "</feature>\n</target>\n";
    xml
}
