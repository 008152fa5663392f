//! Branches.

use crate::cpu::{Cpu, Flow};
use crate::exec::{Handler, Op};

/// Executes B: `imm` = target.
pub fn b(cpu: &mut Cpu, op: &Op) -> Flow {
    cpu.s.r[15] = op.imm;
    Flow::Taken
}

/// Executes B with condition `CC`: `imm` = target.
fn b_cond<const CC: u8>(cpu: &mut Cpu, op: &Op) -> Flow {
    if !cpu.s.flags.holds(CC) {
        return Flow::Next;
    }
    cpu.s.r[15] = op.imm;
    Flow::Taken
}

/// Executes BL: `imm` = target.
pub fn bl(cpu: &mut Cpu, op: &Op) -> Flow {
    // Bit 0 tells the return to which instruction set it leads.
    cpu.s.r[14] = op.next() | u32::from(op.thumb);
    cpu.s.r[15] = op.imm;
    Flow::Taken
}

/// Executes BLX (immediate), to the other instruction set.
pub fn bl_exchange(cpu: &mut Cpu, op: &Op) -> Flow {
    cpu.s.r[14] = op.next() | u32::from(op.thumb);
    cpu.s.psr.thumb = !op.thumb;
    cpu.s.r[15] = op.imm;
    Flow::Jump
}

/// Executes BX: `c` = Rm.
pub fn bx(cpu: &mut Cpu, op: &Op) -> Flow {
    let target = cpu.reg(op.c);
    cpu.branch_exchange(target)
}

/// Executes BLX (register): `c` = Rm.
pub fn blx(cpu: &mut Cpu, op: &Op) -> Flow {
    // Read first: Rm may be LR.
    let target = cpu.reg(op.c);
    cpu.s.r[14] = op.next() | u32::from(op.thumb);
    cpu.branch_exchange(target)
}

/// Executes CBZ: `b` = Rn, `imm` = target.
pub fn cbz(cpu: &mut Cpu, op: &Op) -> Flow {
    if cpu.reg(op.b) != 0 {
        return Flow::Next;
    }
    cpu.s.r[15] = op.imm;
    Flow::Taken
}

/// Executes CBNZ.
pub fn cbnz(cpu: &mut Cpu, op: &Op) -> Flow {
    if cpu.reg(op.b) == 0 {
        return Flow::Next;
    }
    cpu.s.r[15] = op.imm;
    Flow::Taken
}

/// Executes TBB: `b` = Rn, `c` = Rm, R15 readable.
pub fn tbb(cpu: &mut Cpu, op: &Op) -> Flow {
    let at = cpu.reg(op.b).wrapping_add(cpu.reg(op.c));
    match cpu.load::<1>(at, op) {
        // A jump leaves the block anyway, so how to go on after a device access does not matter.
        Ok((offset, _)) => table_branch(cpu, op, offset),
        Err(flow) => flow,
    }
}

/// Executes TBH.
#[expect(
    clippy::cast_possible_truncation,
    reason = "2 bytes stay 2 bytes in either order"
)]
pub fn tbh(cpu: &mut Cpu, op: &Op) -> Flow {
    let at = cpu.reg(op.b).wrapping_add(cpu.reg(op.c) << 1);
    match cpu.load::<2>(at, op) {
        Ok((offset, _)) => {
            let offset = cpu.in_memory_order(offset.into(), 2) as u32;
            table_branch(cpu, op, offset)
        }
        Err(flow) => flow,
    }
}

fn table_branch(cpu: &mut Cpu, op: &Op, offset: u32) -> Flow {
    cpu.s.r[15] = op.pc_read().wrapping_add(offset << 1);
    Flow::Jump
}

impl Cpu {
    /// Branches as `BXWritePC()` does: bit 0 of `target` selects the instruction set. An A32 target
    /// that is not a multiple of four is UNPREDICTABLE; the low bits are dropped.
    #[inline]
    pub fn branch_exchange(&mut self, target: u32) -> Flow {
        if target & 1 != 0 {
            self.s.psr.thumb = true;
            self.s.r[15] = target & !1;
        } else {
            self.s.psr.thumb = false;
            self.s.r[15] = target & !3;
        }
        Flow::Jump
    }

    /// Branches as `ALUWritePC()` does: interworking in A32, a simple branch in T32.
    pub fn alu_write_pc(&mut self, target: u32) -> Flow {
        if self.s.psr.thumb {
            self.s.r[15] = target & !1;
            Flow::Jump
        } else {
            self.branch_exchange(target)
        }
    }
}

/// Returns the handler of a conditional direct branch.
pub fn conditional(cond: u8) -> Handler {
    match cond {
        0 => b_cond::<0>,
        1 => b_cond::<1>,
        2 => b_cond::<2>,
        3 => b_cond::<3>,
        4 => b_cond::<4>,
        5 => b_cond::<5>,
        6 => b_cond::<6>,
        7 => b_cond::<7>,
        8 => b_cond::<8>,
        9 => b_cond::<9>,
        10 => b_cond::<10>,
        11 => b_cond::<11>,
        12 => b_cond::<12>,
        13 => b_cond::<13>,
        _ => b,
    }
}
