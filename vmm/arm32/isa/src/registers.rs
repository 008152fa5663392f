//! Which core registers an instruction names.

use crate::Insn;

/// Returns the core registers of an instruction of multiplication, of the media group, or that
/// moves between register banks, where R15 is UNPREDICTABLE (or, for a shift by a register, too);
/// the last one is repeated to make four. `None` for other instructions.
pub fn core_registers(insn: &Insn) -> Option<[u8; 4]> {
    Some(match *insn {
        Insn::Mul { rd, rn, rm, .. }
        | Insn::SmulXy { rd, rn, rm, .. }
        | Insn::SmulW { rd, rn, rm, .. }
        | Insn::Smuad { rd, rn, rm, .. }
        | Insn::Smmul { rd, rn, rm, .. }
        | Insn::Div { rd, rn, rm, .. }
        | Insn::SatAddSub { rd, rm, rn, .. }
        | Insn::ParAddSub { rd, rn, rm, .. }
        | Insn::Pkh { rd, rn, rm, .. }
        | Insn::ExtendAdd { rd, rn, rm, .. }
        | Insn::Sel { rd, rn, rm }
        | Insn::Usad8 { rd, rn, rm } => [rd, rn, rm, rm],
        Insn::Mla { rd, rn, rm, ra, .. }
        | Insn::Mls { rd, rn, rm, ra }
        | Insn::SmlaXy { rd, rn, rm, ra, .. }
        | Insn::SmlaW { rd, rn, rm, ra, .. }
        | Insn::Smlad { rd, rn, rm, ra, .. }
        | Insn::Smmla { rd, rn, rm, ra, .. }
        | Insn::Smmls { rd, rn, rm, ra, .. }
        | Insn::Usada8 { rd, rn, rm, ra } => [rd, rn, rm, ra],
        Insn::Umaal { rdlo, rdhi, rn, rm }
        | Insn::MulLong {
            rdlo, rdhi, rn, rm, ..
        }
        | Insn::SmlalXy {
            rdlo, rdhi, rn, rm, ..
        }
        | Insn::Smlald {
            rdlo, rdhi, rn, rm, ..
        } => [rdlo, rdhi, rn, rm],
        Insn::Extend { rd, rm, .. } | Insn::Rev { rd, rm, .. } | Insn::Clz { rd, rm } => {
            [rd, rm, rm, rm]
        }
        Insn::Bfi { rd, rn, .. }
        | Insn::Bfx { rd, rn, .. }
        | Insn::Sat { rd, rn, .. }
        | Insn::Sat16 { rd, rn, .. } => [rd, rn, rn, rn],
        Insn::Bfc { rd, .. } | Insn::Movw { rd, .. } | Insn::Movt { rd, .. } => [rd, rd, rd, rd],
        Insn::DpRsr { rd, rn, rm, rs, .. } => [rd, rn, rm, rs],
        Insn::VmovCore { rt, .. }
        | Insn::VmovToLane { rt, .. }
        | Insn::VmovFromLane { rt, .. }
        | Insn::VdupCore { rt, .. } => [rt, rt, rt, rt],
        Insn::VmovCore2 { rt, rt2, .. } | Insn::VmovCoreD { rt, rt2, .. } => [rt, rt2, rt2, rt2],
        _ => return None,
    })
}
