//! Loads and stores to micro-operations.

use arm32_isa::{Index, Insn, MemOp};

use super::operands::{alu, copy, reg, shifted};
use super::{AluOp, Dest, Mop, Value};
use crate::exec::Op;
use crate::exec::multiple::span;

/// The temporary that holds the address after the access.
const MOVED: u8 = 0;
/// The temporary of a register offset.
const OFFSET: u8 = 1;
/// The temporary of a value on its way to R15.
const TARGET: u8 = 2;

/// Adds the operations of a load or store of core registers at the current privilege.
pub fn lower(op: &Op, out: &mut Vec<Mop>) -> Option<()> {
    match op.insn {
        Insn::LdStImm {
            op: mem,
            rt,
            rn,
            index,
            add,
            unpriv: false,
            imm,
        } => {
            let offset = Value::Imm(if add { imm } else { imm.wrapping_neg() });
            single(op, mem, rt, rn, index, AluOp::Add, |_| offset, out)
        }
        Insn::LdStReg {
            op: mem,
            rt,
            rn,
            index,
            add,
            unpriv: false,
            rm,
            shift,
            amount,
        } => {
            // The offset is worked out after the access then, when it is gone.
            if index == Index::Post && mem.is_load() && (rt == rm || rt == 15) {
                return None;
            }
            let way = if add { AluOp::Add } else { AluOp::Sub };
            let amount = Value::Imm(amount.into());
            let offset = |out: &mut Vec<Mop>| {
                let x = reg(op, rm);
                shifted(x, shift, amount, false, Dest::Temp(OFFSET), out)
            };
            single(op, mem, rt, rn, index, way, offset, out)
        }
        Insn::LdrdStrdImm { .. } | Insn::LdrdStrdReg { .. } => pair(op, out),
        Insn::Ldm { .. } | Insn::Stm { .. } => many(op, out),
        _ => None,
    }
}

#[expect(
    clippy::too_many_arguments,
    reason = "an instruction has as many parts"
)]
fn single(
    op: &Op,
    mem: MemOp,
    rt: u8,
    rn: u8,
    index: Index,
    way: AluOp,
    offset: impl FnOnce(&mut Vec<Mop>) -> Value,
    out: &mut Vec<Mop>,
) -> Option<()> {
    let writes_back = index != Index::Offset;
    // A base that is R15 and written back is UNPREDICTABLE.
    if rn == 15 && writes_back {
        return None;
    }
    let base = match rn {
        // Literals count from the aligned PC.
        15 => Value::Imm(op.pc_read() & !3),
        rn => Value::Reg(rn),
    };
    if index == Index::Post {
        access(op, mem, rt, base, out);
        // If a load goes to its own base (UNPREDICTABLE), the loaded value stays.
        if !(mem.is_load() && rt == rn) {
            let offset = offset(out);
            if offset != Value::Imm(0) {
                out.push(alu(way, Dest::Reg(rn), base, offset));
            }
        }
    } else {
        let moved = match (base, way, offset(out)) {
            (Value::Imm(base), AluOp::Add, Value::Imm(offset)) => {
                Value::Imm(base.wrapping_add(offset))
            }
            (base, _, Value::Imm(0)) => base,
            (base, way, offset) => {
                out.push(alu(way, Dest::Temp(MOVED), base, offset));
                Value::Temp(MOVED)
            }
        };
        access(op, mem, rt, moved, out);
        if writes_back && moved != base && !(mem.is_load() && rt == rn) {
            out.push(copy(Dest::Reg(rn), moved));
        }
    }
    if mem.is_load() && rt == 15 {
        out.push(Mop::Jump {
            to: Value::Temp(TARGET),
            exchange: true,
        });
    }
    Some(())
}

fn access(op: &Op, mem: MemOp, rt: u8, at: Value, out: &mut Vec<Mop>) {
    let size = mem.size();
    out.push(if mem.is_load() {
        Mop::Load {
            d: if rt == 15 {
                Dest::Temp(TARGET)
            } else {
                Dest::Reg(rt)
            },
            at,
            size,
            sign: matches!(mem, MemOp::Ldrsb | MemOp::Ldrsh),
        }
    } else {
        Mop::Store {
            x: reg(op, rt),
            at,
            size,
        }
    });
}

/// LDRD and STRD: two words, one by one, as their handler accesses them.
fn pair(op: &Op, out: &mut Vec<Mop>) -> Option<()> {
    let (Insn::LdrdStrdImm {
        load,
        rt,
        rt2,
        rn,
        index,
        add,
        ..
    }
    | Insn::LdrdStrdReg {
        load,
        rt,
        rt2,
        rn,
        index,
        add,
        ..
    }) = op.insn
    else {
        return None;
    };
    let offset = match op.insn {
        Insn::LdrdStrdImm { imm, .. } => Value::Imm(imm),
        Insn::LdrdStrdReg { rm, .. } => reg(op, rm),
        _ => return None,
    };
    let loaded = |n: u8| load && (n == rt || n == rt2);
    let writes_back = index != Index::Offset;
    // Lists go upwards. One register twice, and R15 but as the base of a literal, are
    // UNPREDICTABLE.
    let upwards = rt < rt2;
    if rt == rt2 || rt == 15 || rt2 == 15 || (rn == 15 && writes_back) {
        return None;
    }
    // The base and the offset are wanted after the access then, when one of them is gone.
    let late = matches!(offset, Value::Reg(rm) if loaded(rm)) || loaded(rn);
    if writes_back && late {
        return None;
    }
    let base = match rn {
        15 => Value::Imm(op.pc_read() & !3),
        rn => Value::Reg(rn),
    };
    let way = if add { AluOp::Add } else { AluOp::Sub };
    let at = match (index, offset) {
        (Index::Post, _) | (_, Value::Imm(0)) => base,
        _ => {
            out.push(alu(way, Dest::Temp(MOVED), base, offset));
            Value::Temp(MOVED)
        }
    };
    let list = 1 << rt | 1 << rt2;
    out.push(match (load, upwards) {
        (true, _) => Mop::LoadList { list, at },
        (false, true) => Mop::StoreList { list, at },
        (false, false) => Mop::StorePair {
            first: rt,
            second: rt2,
            at,
        },
    });
    if load && !upwards {
        // They change places, without a temporary.
        for (d, y) in [(rt, rt2), (rt2, rt), (rt, rt2)] {
            let (d, x, y) = (Dest::Reg(d), Value::Reg(d), Value::Reg(y));
            out.push(alu(AluOp::Xor, d, x, y));
        }
    }
    if writes_back {
        out.push(alu(way, Dest::Reg(rn), base, offset));
    }
    Some(())
}

/// LDM and STM of the current mode's registers.
fn many(op: &Op, out: &mut Vec<Mop>) -> Option<()> {
    let (Insn::Ldm {
        rn,
        list,
        increment,
        before,
        wback,
        user: false,
    }
    | Insn::Stm {
        rn,
        list,
        increment,
        before,
        wback,
        user: false,
    }) = op.insn
    else {
        return None;
    };
    let load = matches!(op.insn, Insn::Ldm { .. });
    let pc = list & 0x8000 != 0;
    // No list, R15 as a base, and R15 stored, are rare or UNPREDICTABLE.
    if list == 0 || rn == 15 || (!load && pc) {
        return None;
    }
    let (first, moved) = span(0, list.count_ones(), increment, before);
    let base = Value::Reg(rn);
    let at = if first == 0 {
        base
    } else {
        let d = Dest::Temp(OFFSET);
        out.push(alu(AluOp::Add, d, base, Value::Imm(first)));
        Value::Temp(OFFSET)
    };
    let written_back = alu(AluOp::Add, Dest::Reg(rn), base, Value::Imm(moved));
    if !load {
        out.push(Mop::StoreList { list, at });
        if wback {
            out.push(written_back);
        }
        return Some(());
    }
    out.push(Mop::LoadList { list, at });
    // The loaded value wins over the base.
    if wback && list & 1 << rn == 0 {
        out.push(written_back);
    }
    if pc {
        out.push(Mop::Jump {
            to: Value::Temp(0),
            exchange: true,
        });
    }
    Some(())
}
