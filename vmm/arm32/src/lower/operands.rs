//! Which registers an instruction names, where the handler reads them without regard to R15.

use arm32_isa::Insn;

/// Whether R15 is among the register operands of an instruction for which that is UNPREDICTABLE.
///
/// Inside a block R15 is not kept up to date. These instructions read it as the others do, so that what they do
/// does not depend on where the block began; what they write to it is lost.
pub fn name_pc(insn: &Insn) -> bool {
    general(insn)
        .or_else(|| accumulating(insn))
        .or_else(|| transfers(insn))
        .is_some_and(|regs| regs.contains(&15))
}

/// Instructions with a destination and up to two operands.
fn general(insn: &Insn) -> Option<[u8; 4]> {
    Some(match *insn {
        Insn::Mul { rd, rn, rm, .. }
        | Insn::Div { rd, rn, rm, .. }
        | Insn::SmulXy { rd, rn, rm, .. }
        | Insn::SmulW { rd, rn, rm, .. }
        | Insn::Smuad { rd, rn, rm, .. }
        | Insn::Smmul { rd, rn, rm, .. }
        | Insn::SatAddSub { rd, rn, rm, .. }
        | Insn::ParAddSub { rd, rn, rm, .. }
        | Insn::Pkh { rd, rn, rm, .. }
        | Insn::ExtendAdd { rd, rn, rm, .. }
        | Insn::Sel { rd, rn, rm }
        | Insn::Usad8 { rd, rn, rm } => [rd, rn, rm, 0],
        Insn::Extend { rd, rm, .. } | Insn::Rev { rd, rm, .. } | Insn::Clz { rd, rm } => {
            [rd, rm, 0, 0]
        }
        Insn::Bfi { rd, rn, .. }
        | Insn::Bfx { rd, rn, .. }
        | Insn::Sat { rd, rn, .. }
        | Insn::Sat16 { rd, rn, .. } => [rd, rn, 0, 0],
        Insn::Bfc { rd, .. } | Insn::Movt { rd, .. } => [rd, 0, 0, 0],
        _ => return None,
    })
}

/// Instructions with four registers.
fn accumulating(insn: &Insn) -> Option<[u8; 4]> {
    Some(match *insn {
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
        _ => return None,
    })
}

/// Loads, stores and moves to coprocessors and status registers.
fn transfers(insn: &Insn) -> Option<[u8; 4]> {
    Some(match *insn {
        Insn::LdrdStrdReg {
            rt, rt2, rn, rm, ..
        } => [rt, rt2, rn, rm],
        Insn::LdrdStrdImm { rt, rt2, rn, .. }
        | Insn::Ldrex { rt, rt2, rn, .. }
        | Insn::Swp { rt, rt2, rn, .. } => [rt, rt2, rn, 0],
        Insn::Strex {
            rd, rt, rt2, rn, ..
        } => [rd, rt, rt2, rn],
        Insn::Ldm { rn, .. } | Insn::Stm { rn, .. } | Insn::Rfe { rn, .. } => [rn, 0, 0, 0],
        Insn::NeonMulti { rn, rm: _, .. }
        | Insn::NeonLane { rn, rm: _, .. }
        | Insn::NeonAll { rn, rm: _, .. } => [rn, 0, 0, 0],
        Insn::MsrReg { rn, .. } | Insn::MsrBanked { rn, .. } => [rn, 0, 0, 0],
        Insn::Mcrr { rt, rt2, .. }
        | Insn::VmovCore2 { rt, rt2, .. }
        | Insn::VmovCoreD { rt, rt2, .. } => [rt, rt2, 0, 0],
        Insn::Vmsr { rt, .. }
        | Insn::VmovCore { rt, .. }
        | Insn::VmovToLane { rt, .. }
        | Insn::VdupCore { rt, .. } => [rt, 0, 0, 0],
        Insn::Tbb { rn, rm, .. } => [rn, rm, 0, 0],
        _ => return None,
    })
}
