//! Which registers an instruction names, where the handler reads them without regard to R15.

use arm32_isa::{Insn, core_registers};

/// Returns whether R15 is among the register operands of an instruction for which that is
/// UNPREDICTABLE.
///
/// Inside a block R15 is not kept up to date. These instructions read it as the others do, so that
/// what they do does not depend on where the block began; what they write to it is lost.
pub fn name_pc(insn: &Insn) -> bool {
    core_registers(insn)
        .or_else(|| transfers(insn))
        .is_some_and(|regs| regs.contains(&15))
}

/// Returns the core registers of a load, a store, or a move to a coprocessor or status register; 0
/// stands for none.
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
        Insn::Mcrr { rt, rt2, .. } => [rt, rt2, 0, 0],
        Insn::Vmsr { rt, .. } => [rt, 0, 0, 0],
        Insn::Tbb { rn, rm, .. } => [rn, rm, 0, 0],
        _ => return None,
    })
}
