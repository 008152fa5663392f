//! Instructions to micro-operations.

use arm32_isa::{DpOp, ExtendOp, HintOp, ImmCarry, Insn, LongOp, ParKind, ParOp};

use super::operands::{alu, copy, dest, reg, shifted};
use super::{AluOp, Dest, FlagSet, Mop, MultiplyLong, Value};
use super::{bank, exclusive, memory, system};
use crate::exec::Op;

/// Adds the micro-operations of `op`, which is not part of big-endian code.
pub fn lower(op: &Op, out: &mut Vec<Mop>) {
    let start = out.len();
    let conditional = op.cond < 14;
    if conditional {
        // How many is known when they are there.
        out.push(Mop::Nop);
    }
    let done = integer(op, out)
        .or_else(|| simple(op, out))
        .or_else(|| memory::lower(op, out))
        .or_else(|| exclusive::lower(op, out))
        .or_else(|| bank::lower(op, out))
        .or_else(|| branch(op, out));
    if done.is_none() {
        out.truncate(start);
        out.push(Mop::Call);
    } else if conditional {
        match u8::try_from(out.len() - start - 1) {
            Ok(0) | Err(_) => out.truncate(start),
            Ok(count) => {
                out[start] = Mop::SkipUnless {
                    cond: op.cond,
                    count,
                };
            }
        }
    }
}

fn is_logical(kind: DpOp) -> bool {
    use DpOp::{And, Bic, Eor, Mov, Mvn, Orn, Orr, Teq, Tst};
    matches!(kind, And | Tst | Eor | Teq | Orr | Bic | Orn | Mov | Mvn)
}

/// Data processing.
fn integer(op: &Op, out: &mut Vec<Mop>) -> Option<()> {
    let (kind, s, rd, rn) = match op.insn {
        Insn::DpImm {
            op: kind,
            s,
            rd,
            rn,
            ..
        }
        | Insn::DpReg {
            op: kind,
            s,
            rd,
            rn,
            ..
        }
        | Insn::DpRsr {
            op: kind,
            s,
            rd,
            rn,
            ..
        } => (kind, s || kind.is_compare(), rd, rn),
        _ => return None,
    };
    if rd == 15 && s && !kind.is_compare() {
        // A return from an exception.
        return None;
    }
    if matches!(op.insn, Insn::DpRsr { rs: 15, .. }) {
        // UNPREDICTABLE, and no amount as the others are.
        return None;
    }
    let y = second_operand(op, s && is_logical(kind), out);
    let x = reg(op, rn);
    let d = match (kind.is_compare(), rd) {
        (true, _) => Dest::None,
        (false, 15) => Dest::Temp(0),
        (false, rd) => Dest::Reg(rd),
    };
    let set = match (s, is_logical(kind)) {
        (false, _) => FlagSet::NONE,
        (true, true) => FlagSet::NZ,
        (true, false) => FlagSet::ALL,
    };
    let (alu, x, y) = match kind {
        DpOp::And | DpOp::Tst => (AluOp::And, x, y),
        DpOp::Eor | DpOp::Teq => (AluOp::Xor, x, y),
        DpOp::Sub | DpOp::Cmp => (AluOp::Sub, x, y),
        DpOp::Rsb => (AluOp::Sub, y, x),
        DpOp::Add | DpOp::Cmn => (AluOp::Add, x, y),
        DpOp::Adc => (AluOp::AddCarry, x, y),
        DpOp::Sbc => (AluOp::SubCarry, x, y),
        DpOp::Rsc => (AluOp::SubCarry, y, x),
        DpOp::Orr => (AluOp::Or, x, y),
        DpOp::Mov => (AluOp::Move, Value::Imm(0), y),
        DpOp::Bic => (AluOp::AndNot, x, y),
        DpOp::Mvn => (AluOp::Not, Value::Imm(0), y),
        DpOp::Orn => (AluOp::OrNot, x, y),
    };
    out.push(Mop::Alu {
        op: alu,
        d,
        x,
        y,
        set,
    });
    if d == Dest::Temp(0) {
        // As `ALUWritePC()`: interworking in A32, a simple branch in T32.
        out.push(Mop::Jump {
            to: Value::Temp(0),
            exchange: !op.thumb,
        });
    }
    Some(())
}

/// Returns the second operand; with `carry`, C becomes the shifter's carry-out. Uses temporary 1.
fn second_operand(op: &Op, carry: bool, out: &mut Vec<Mop>) -> Value {
    let (rm, kind, amount) = match op.insn {
        Insn::DpImm {
            imm, carry: how, ..
        } => {
            if carry && how != ImmCarry::Keep {
                out.push(Mop::SetCarry {
                    to: how == ImmCarry::Set,
                });
            }
            return Value::Imm(imm);
        }
        Insn::DpReg {
            rm, shift, amount, ..
        } => (rm, shift, Value::Imm(amount.into())),
        Insn::DpRsr { rm, shift, rs, .. } => (rm, shift, reg(op, rs)),
        _ => return Value::Imm(0),
    };
    shifted(reg(op, rm), kind, amount, carry, Dest::Temp(1), out)
}

/// What takes an operation or two, and touches neither memory nor R15.
fn simple(op: &Op, out: &mut Vec<Mop>) -> Option<()> {
    match op.insn {
        Insn::It { .. }
        | Insn::Barrier { .. }
        | Insn::PreloadImm { .. }
        | Insn::PreloadReg { .. }
        | Insn::Hint {
            op: HintOp::Nop, ..
        } => {}
        Insn::Adr { rd, offset } => {
            let value = (op.pc_read() & !3).wrapping_add_signed(offset);
            out.push(copy(dest(rd)?, Value::Imm(value)));
        }
        Insn::Movw { rd, imm } => out.push(copy(dest(rd)?, Value::Imm(imm.into()))),
        Insn::Movt { rd, imm } => out.push(Mop::Insert {
            reg: (rd != 15).then_some(rd)?,
            x: Value::Imm(imm.into()),
            lsb: 16,
            width: 16,
        }),
        Insn::Extend {
            op: kind,
            rd,
            rm,
            rotate,
        } => out.push(extend(kind, dest(rd)?, reg(op, rm), rotate)?),
        Insn::ExtendAdd {
            op: kind,
            rd,
            rn,
            rm,
            rotate,
        } => {
            out.push(extend(kind, Dest::Temp(0), reg(op, rm), rotate)?);
            out.push(alu(AluOp::Add, dest(rd)?, reg(op, rn), Value::Temp(0)));
        }
        Insn::Bfc { rd, lsb, width } => out.push(insert(rd, Value::Imm(0), lsb, width)?),
        Insn::Bfi { rd, rn, lsb, width } => out.push(insert(rd, reg(op, rn), lsb, width)?),
        Insn::Bfx {
            signed,
            rd,
            rn,
            lsb,
            width,
        } => out.push(Mop::Extract {
            d: dest(rd)?,
            x: reg(op, rn),
            lsb,
            width: in_word(lsb, width)?,
            signed,
        }),
        Insn::Rev { op: kind, rd, rm } => out.push(Mop::Reverse {
            kind,
            d: dest(rd)?,
            x: reg(op, rm),
        }),
        Insn::Clz { rd, rm } => out.push(Mop::LeadingZeros {
            d: dest(rd)?,
            x: reg(op, rm),
        }),
        // What libraries compare and search strings by.
        Insn::ParAddSub {
            op: kind @ (ParOp::Add8 | ParOp::Sub8),
            kind: ParKind::Unsigned,
            rd,
            rn,
            rm,
        } => out.push(Mop::AddBytes {
            d: dest(rd)?,
            x: reg(op, rn),
            y: reg(op, rm),
            subtract: kind == ParOp::Sub8,
        }),
        Insn::Sel { rd, rn, rm } => out.push(Mop::SelectBytes {
            d: dest(rd)?,
            x: reg(op, rn),
            y: reg(op, rm),
        }),
        _ => return multiply(op, out).or_else(|| system::lower(op, out)),
    }
    Some(())
}

/// Returns `width` if so many bits from `lsb` on are in a word; fields that are not are
/// UNPREDICTABLE.
fn in_word(lsb: u8, width: u8) -> Option<u8> {
    (width > 0 && lsb + width <= 32).then_some(width)
}

fn insert(rd: u8, x: Value, lsb: u8, width: u8) -> Option<Mop> {
    Some(Mop::Insert {
        reg: (rd != 15).then_some(rd)?,
        x,
        lsb,
        width: in_word(lsb, width)?,
    })
}

fn extend(kind: ExtendOp, d: Dest, x: Value, rotate: u8) -> Option<Mop> {
    use ExtendOp::{Sxtb, Sxth, Uxtb, Uxth};
    // Those of two halfwords are rare.
    matches!(kind, Sxtb | Sxth | Uxtb | Uxth).then_some(Mop::Extend { kind, d, x, rotate })
}

fn multiply(op: &Op, out: &mut Vec<Mop>) -> Option<()> {
    let product = |d, rn, rm| Mop::Multiply {
        d,
        x: reg(op, rn),
        y: reg(op, rm),
    };
    let flags = |s| if s { FlagSet::NZ } else { FlagSet::NONE };
    match op.insn {
        Insn::Mul { s, rd, rn, rm } => {
            out.push(product(Dest::Temp(0), rn, rm));
            out.push(Mop::Alu {
                op: AluOp::Move,
                d: dest(rd)?,
                x: Value::Imm(0),
                y: Value::Temp(0),
                set: flags(s),
            });
        }
        Insn::Mla { s, rd, rn, rm, ra } => {
            out.push(product(Dest::Temp(0), rn, rm));
            out.push(Mop::Alu {
                op: AluOp::Add,
                d: dest(rd)?,
                x: reg(op, ra),
                y: Value::Temp(0),
                set: flags(s),
            });
        }
        Insn::Mls { rd, rn, rm, ra } => {
            out.push(product(Dest::Temp(0), rn, rm));
            out.push(alu(AluOp::Sub, dest(rd)?, reg(op, ra), Value::Temp(0)));
        }
        Insn::Div {
            unsigned,
            rd,
            rn,
            rm,
        } => out.push(Mop::Divide {
            d: dest(rd)?,
            x: reg(op, rn),
            y: reg(op, rm),
            signed: !unsigned,
        }),
        Insn::MulLong {
            op: kind,
            s,
            rdlo,
            rdhi,
            rn,
            rm,
        } => {
            // One register for both words is UNPREDICTABLE.
            if rdlo == 15 || rdhi == 15 || rdlo == rdhi {
                return None;
            }
            out.push(Mop::MultiplyLong(MultiplyLong {
                low: rdlo,
                high: rdhi,
                x: reg(op, rn),
                y: reg(op, rm),
                signed: matches!(kind, LongOp::Smull | LongOp::Smlal),
                add: matches!(kind, LongOp::Umlal | LongOp::Smlal),
                set: flags(s),
            }));
        }
        _ => return None,
    }
    Some(())
}

fn branch(op: &Op, out: &mut Vec<Mop>) -> Option<()> {
    let pc = op.pc_read();
    let link = copy(Dest::Reg(14), Value::Imm(op.next() | u32::from(op.thumb)));
    match op.insn {
        Insn::B { offset } => out.push(Mop::Goto {
            va: pc.wrapping_add_signed(offset),
        }),
        Insn::Bl {
            offset,
            exchange: false,
        } => {
            out.push(link);
            out.push(Mop::Goto {
                va: pc.wrapping_add_signed(offset),
            });
        }
        Insn::Bl { exchange: true, .. } => {
            out.push(link);
            // To the other instruction set; the handler's operand is the target.
            out.push(Mop::Jump {
                to: Value::Imm(op.imm | u32::from(!op.thumb)),
                exchange: true,
            });
        }
        Insn::Bx { rm } | Insn::Bxj { rm } => out.push(Mop::Jump {
            to: reg(op, rm),
            exchange: true,
        }),
        Insn::BlxReg { rm } => {
            // Read first: Rm may be LR.
            out.push(copy(Dest::Temp(0), reg(op, rm)));
            out.push(link);
            out.push(Mop::Jump {
                to: Value::Temp(0),
                exchange: true,
            });
        }
        Insn::Cbz {
            nonzero,
            rn,
            offset,
        } => {
            out.push(Mop::SkipUnlessZero {
                x: reg(op, rn),
                zero: !nonzero,
                count: 1,
            });
            out.push(Mop::Goto {
                va: pc.wrapping_add_signed(offset),
            });
        }
        _ => return None,
    }
    Some(())
}
