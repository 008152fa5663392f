//! AArch64 in the protocol's terms: register numbers, and the description of them that a debugger reads.

mod registers;
mod system;

use std::fmt::Write;
use std::num::NonZeroUsize;
use std::sync::LazyLock;

use gdbstub::arch;

use super::isa::Isa;
use registers::Registers;
use vmm_machine::vcpu::Core;

/// ARMv8-A in AArch64, little-endian.
#[derive(Debug)]
pub(super) enum Aarch64 {}

/// X0 to X30.
const GENERAL: usize = 31;
/// V0 to V31.
const VECTORS: usize = 32;
const SP: usize = GENERAL;
const PC: usize = SP + 1;
const CPSR: usize = PC + 1;
const V0: usize = CPSR + 1;
const FPSR: usize = V0 + VECTORS;
const FPCR: usize = FPSR + 1;
const SYSTEM: usize = FPCR + 1;

/// A register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Register {
    /// X0 to X30.
    General(u8),
    /// The stack pointer in use.
    Sp,
    Pc,
    /// PSTATE, which debuggers call by its old name.
    Cpsr,
    /// V0 to V31.
    Vector(u8),
    Fpsr,
    Fpcr,
    /// An index into [`system::REGISTERS`].
    System(usize),
}

impl Register {
    /// Its size in bytes.
    pub const fn bytes(self) -> usize {
        match self {
            Self::General(_) | Self::Sp | Self::Pc | Self::System(_) => 8,
            Self::Cpsr | Self::Fpsr | Self::Fpcr => 4,
            Self::Vector(_) => 16,
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
            0..GENERAL => Self::General(id as u8),
            SP => Self::Sp,
            PC => Self::Pc,
            CPSR => Self::Cpsr,
            V0..FPSR => Self::Vector((id - V0) as u8),
            FPSR => Self::Fpsr,
            FPCR => Self::Fpcr,
            _ if id - SYSTEM < system::REGISTERS.len() => Self::System(id - SYSTEM),
            _ => return None,
        };
        Some((register, NonZeroUsize::new(register.bytes())))
    }
}

impl arch::Arch for Aarch64 {
    type Usize = u64;
    type Registers = Registers;
    type BreakpointKind = usize;
    type RegId = Register;

    fn target_description_xml() -> Option<&'static str> {
        Some(&DESCRIPTION)
    }
}

impl Isa for Aarch64 {
    type Address = u64;
    type All = Registers;
    type One = Register;

    fn read_all(core: &Core<'_>) -> Option<Registers> {
        match core {
            Core::Aarch64(core) => Some(Registers::of(core.state())),
            Core::Aarch32(_) => None,
        }
    }

    fn write_all(core: &mut Core<'_>, registers: &Registers) -> Option<()> {
        match core {
            Core::Aarch64(core) => {
                registers.write(core.state_mut());
                Some(())
            }
            Core::Aarch32(_) => None,
        }
    }

    fn read(core: &Core<'_>, register: Register) -> Option<Vec<u8>> {
        match core {
            Core::Aarch64(core) => Some(registers::read(core.state(), register)),
            Core::Aarch32(_) => None,
        }
    }

    fn write(core: &mut Core<'_>, register: Register, bytes: &[u8]) -> Option<()> {
        match core {
            Core::Aarch64(core) => registers::write(core.state_mut(), register, bytes),
            Core::Aarch32(_) => None,
        }
    }
}

/// What a vector register holds, by element.
const VIEWS: [(&str, &str, usize); 6] = [
    ("d", "ieee_double", 2),
    ("s", "ieee_single", 4),
    ("u", "uint64", 2),
    ("w", "uint32", 4),
    ("h", "uint16", 8),
    ("b", "uint8", 16),
];

/// The description: registers in the order of their numbers, in the features that GDB knows and one of ours.
static DESCRIPTION: LazyLock<String> = LazyLock::new(describe);

fn describe() -> String {
    let mut xml = String::from(
        "<?xml version=\"1.0\"?>\n<!DOCTYPE target SYSTEM \"gdb-target.dtd\">\n<target version=\"1.0\">\n\
         <architecture>aarch64</architecture>\n<feature name=\"org.gnu.gdb.aarch64.core\">\n",
    );
    let reg = |xml: &mut String, name: &str, bits: usize, kind: &str| {
        // Writing to a string does not fail.
        let _ = writeln!(xml, "<reg name=\"{name}\" bitsize=\"{bits}\" {kind}/>");
    };
    for n in 0..GENERAL {
        reg(&mut xml, &format!("x{n}"), 64, "");
    }
    reg(&mut xml, "sp", 64, "type=\"data_ptr\"");
    reg(&mut xml, "pc", 64, "type=\"code_ptr\"");
    reg(&mut xml, "cpsr", 32, "");
    xml += "</feature>\n<feature name=\"org.gnu.gdb.aarch64.fpu\">\n";
    for (id, kind, count) in VIEWS {
        let _ = writeln!(
            xml,
            "<vector id=\"v{id}\" type=\"{kind}\" count=\"{count}\"/>"
        );
    }
    xml += "<union id=\"vector\">\n";
    for (id, ..) in VIEWS {
        let _ = writeln!(xml, "<field name=\"{id}\" type=\"v{id}\"/>");
    }
    xml += "</union>\n";
    for n in 0..VECTORS {
        reg(&mut xml, &format!("v{n}"), 128, "type=\"vector\"");
    }
    reg(&mut xml, "fpsr", 32, "type=\"int\" group=\"float\"");
    reg(&mut xml, "fpcr", 32, "type=\"int\" group=\"float\"");
    xml += "</feature>\n<feature name=\"org.viommu.aarch64.system\">\n";
    for register in &system::REGISTERS {
        reg(
            &mut xml,
            register.name,
            64,
            "type=\"uint64\" group=\"system\"",
        );
    }
    xml += "</feature>\n</target>\n";
    xml
}
