//! The core registers that instructions without addresses name.

use arm32_isa::Insn;

/// Returns the two destinations of an instruction that has two: they must differ.
pub fn destinations(insn: &Insn) -> Option<(u8, u8)> {
    Some(match *insn {
        Insn::Umaal { rdlo, rdhi, .. }
        | Insn::MulLong { rdlo, rdhi, .. }
        | Insn::SmlalXy { rdlo, rdhi, .. }
        | Insn::Smlald { rdlo, rdhi, .. } => (rdlo, rdhi),
        Insn::VmovCore2 {
            to_core: true,
            rt,
            rt2,
            ..
        }
        | Insn::VmovCoreD {
            to_core: true,
            rt,
            rt2,
            ..
        } => (rt, rt2),
        _ => return None,
    })
}
