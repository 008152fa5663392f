//! Lowering of data processing.

use arm32_isa::{DpOp, ImmCarry, Insn};

use super::{Choice, Pc, reads};
use crate::exec::{Op, dp, system};

/// Returns the choice for a data-processing instruction.
pub fn choose(op: &mut Op) -> Option<Choice> {
    Some(match op.insn {
        Insn::DpImm {
            op: kind,
            s,
            rd,
            rn,
            imm,
            carry,
        } => {
            (op.a, op.b, op.imm) = (rd, rn, imm);
            op.d = match carry {
                ImmCarry::Clear => 0,
                ImmCarry::Set => 1,
                ImmCarry::Keep => dp::KEEP,
            };
            with_destination(op, kind, dp::form::IMM, s, &[rn])
        }
        Insn::DpReg {
            op: kind,
            s,
            rd,
            rn,
            rm,
            shift,
            amount,
        } => {
            (op.a, op.b, op.c, op.imm) = (rd, rn, rm, amount.into());
            with_destination(op, kind, dp::immediate_form(shift, amount), s, &[rn, rm])
        }
        Insn::DpRsr {
            op: kind,
            s,
            rd,
            rn,
            rm,
            shift,
            rs,
        } => {
            (op.a, op.b, op.c, op.d) = (rd, rn, rm, rs);
            with_destination(op, kind, dp::register_form(shift), s, &[rn, rm, rs])
        }
        Insn::Adr { rd, offset } => {
            op.a = rd;
            // Worked out now: a block is for one address.
            op.imm = (op.pc_read() & !3).wrapping_add_signed(offset);
            Choice::with_pc(
                dp::constant,
                if rd == 15 { Pc::Written } else { Pc::Unused },
            )
        }
        Insn::Movw { rd, imm } => {
            (op.a, op.imm) = (rd, imm.into());
            Choice::simple(dp::constant)
        }
        Insn::Movt { rd, imm } => {
            (op.a, op.imm) = (rd, imm.into());
            Choice::simple(dp::movt)
        }
        _ => return None,
    })
}

/// Returns the choice for an ALU operation, by what its destination is.
fn with_destination(op: &Op, kind: DpOp, form: u8, s: bool, sources: &[u8]) -> Choice {
    let f = dp::handler(kind, form, s);
    if op.a == 15 && !kind.is_compare() {
        if s {
            return Choice::ending(system::alu_exception_return);
        }
        return Choice::with_pc(f, Pc::Written);
    }
    Choice::with_pc(f, reads(sources))
}
