//! Lowering of loads and stores.

use arm32_isa::{Index, Insn, MemOp, Shift, fields};

use super::{Choice, InsnContext, reads};
use crate::exec::ldst::{self, moved_by, offset};
use crate::exec::{Op, exclusive, multiple};

/// Returns the choice for a load or store of core registers.
pub fn choose(op: &mut Op, place: InsnContext) -> Option<Choice> {
    Some(match op.insn {
        Insn::LdStImm { .. } | Insn::LdStReg { .. } => return single(op, place),
        Insn::LdrdStrdImm { .. } => Choice::simple(multiple::double),
        Insn::LdrdStrdReg { .. } => Choice::simple(multiple::double),
        Insn::Ldm { list, user, .. } => Choice {
            ends: list & 0x8000 != 0,
            ..Choice::simple(if user {
                multiple::ldm_user
            } else {
                multiple::ldm
            })
        },
        Insn::Stm { .. } => Choice::simple(multiple::stm),
        Insn::Ldrex { .. } => Choice::simple(exclusive::ldrex),
        Insn::Strex { .. } => Choice::simple(exclusive::strex),
        Insn::Swp { .. } => Choice::simple(exclusive::swp),
        _ => return None,
    })
}

/// Returns the choice for a load or store of one register.
fn single(op: &mut Op, place: InsnContext) -> Option<Choice> {
    fields!(op.insn => LdStImm | LdStReg { op: mem, rt, rn, index, add, unpriv, .. } else { return None });
    // The fast handlers know only the current privilege level and little-endian data.
    if unpriv || place.big_endian || rt == 15 {
        return Some(general(mem, rt));
    }
    (op.a, op.b) = (rt, rn);
    Some(match op.insn {
        Insn::LdStImm { imm, .. } if rn == 15 => {
            op.imm = moved_by(op.pc_read() & !3, imm, add);
            Choice::simple(ldst::handler(mem, offset::ABSOLUTE, Index::Offset))
        }
        Insn::LdStImm { imm, .. } => {
            op.imm = if add { imm } else { imm.wrapping_neg() };
            Choice::simple(ldst::handler(mem, offset::IMM, index))
        }
        Insn::LdStReg {
            rm, shift, amount, ..
        } => {
            (op.c, op.d) = (rm, amount);
            let form = match (shift, add) {
                (Shift::Lsl, true) => offset::ADD,
                (Shift::Lsl, false) => offset::SUB,
                _ => offset::GENERAL,
            };
            Choice::with_pc(ldst::handler(mem, form, index), reads(&[rn, rm]))
        }
        _ => return None,
    })
}

/// Returns the general handler; a load of R15 ends the block.
fn general(mem: MemOp, rt: u8) -> Choice {
    Choice {
        ends: rt == 15 && mem.is_load(),
        ..Choice::simple(ldst::general)
    }
}
