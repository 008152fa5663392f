//! Load-exclusive and store-exclusive to micro-operations.

use arm32_isa::{ExSize, Insn};

use super::operands::{alu, dest, reg};
use super::{AluOp, Dest, Mop, Value};
use crate::exec::Op;

/// Adds the operations of LDREX and STREX of at most a word.
pub fn lower(op: &Op, out: &mut Vec<Mop>) -> Option<()> {
    match op.insn {
        Insn::Ldrex {
            size, rt, rn, imm, ..
        } => {
            let (d, size) = (dest(rt)?, bytes(size)?);
            let at = address(rn, imm, out)?;
            out.push(Mop::LoadExclusive { d, at, size });
        }
        Insn::Strex {
            size,
            rd,
            rt,
            rn,
            imm,
            ..
        } => {
            let (d, size) = (dest(rd)?, bytes(size)?);
            // R15 is UNPREDICTABLE.
            dest(rt)?;
            let at = address(rn, imm, out)?;
            let x = reg(op, rt);
            out.push(Mop::StoreExclusive { d, x, at, size });
        }
        _ => return None,
    }
    Some(())
}

/// Doublewords are rare.
const fn bytes(size: ExSize) -> Option<u8> {
    match size {
        ExSize::Byte => Some(1),
        ExSize::Half => Some(2),
        ExSize::Word => Some(4),
        ExSize::Double => None,
    }
}

fn address(rn: u8, imm: u32, out: &mut Vec<Mop>) -> Option<Value> {
    dest(rn)?;
    let base = Value::Reg(rn);
    if imm == 0 {
        return Some(base);
    }
    let d = Dest::Temp(0);
    out.push(alu(AluOp::Add, d, base, Value::Imm(imm)));
    Some(Value::Temp(0))
}
