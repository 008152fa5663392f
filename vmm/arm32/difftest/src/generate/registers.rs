//! The core registers that instructions without addresses name.

use arm32_isa::Insn;

/// The core registers of a multiply, media, transfer or status instruction; `None` for other instructions.
pub fn named(insn: &Insn) -> Option<Vec<u8>> {
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
        | Insn::Usad8 { rd, rn, rm } => vec![rd, rn, rm],
        Insn::Mla { rd, rn, rm, ra, .. }
        | Insn::Mls { rd, rn, rm, ra }
        | Insn::SmlaXy { rd, rn, rm, ra, .. }
        | Insn::SmlaW { rd, rn, rm, ra, .. }
        | Insn::Smlad { rd, rn, rm, ra, .. }
        | Insn::Smmla { rd, rn, rm, ra, .. }
        | Insn::Smmls { rd, rn, rm, ra, .. }
        | Insn::Usada8 { rd, rn, rm, ra } => vec![rd, rn, rm, ra],
        Insn::Umaal { rdlo, rdhi, rn, rm }
        | Insn::MulLong {
            rdlo, rdhi, rn, rm, ..
        }
        | Insn::SmlalXy {
            rdlo, rdhi, rn, rm, ..
        }
        | Insn::Smlald {
            rdlo, rdhi, rn, rm, ..
        } => vec![rdlo, rdhi, rn, rm],
        Insn::Extend { rd, rm, .. } | Insn::Rev { rd, rm, .. } | Insn::Clz { rd, rm } => {
            vec![rd, rm]
        }
        Insn::Bfi { rd, rn, .. }
        | Insn::Bfx { rd, rn, .. }
        | Insn::Sat { rd, rn, .. }
        | Insn::Sat16 { rd, rn, .. } => {
            vec![rd, rn]
        }
        Insn::Bfc { rd, .. } | Insn::Movw { rd, .. } | Insn::Movt { rd, .. } => vec![rd],
        Insn::DpRsr { rd, rn, rm, rs, .. } => vec![rd, rn, rm, rs],
        Insn::VmovCore { rt, .. }
        | Insn::VmovToLane { rt, .. }
        | Insn::VmovFromLane { rt, .. }
        | Insn::VdupCore { rt, .. } => {
            vec![rt]
        }
        Insn::VmovCore2 { rt, rt2, .. } | Insn::VmovCoreD { rt, rt2, .. } => vec![rt, rt2],
        _ => return None,
    })
}

/// The two destinations of an instruction that has two: they must differ.
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
