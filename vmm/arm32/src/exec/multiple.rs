//! Loads and stores of two and of many registers, and the stack instructions of exceptions.
//!
//! Registers are written only after every access has succeeded, so that an aborted instruction can
//! be repeated.

use arm32_isa::{Index, Insn};

use crate::cpu::{Cpu, Flow};
use crate::exception;
use crate::exec::ldst::{merge, moved_by};
use crate::exec::{Op, fields};
use crate::state::{Mode, bank};

/// Executes LDRD and STRD.
pub fn double(cpu: &mut Cpu, op: &Op) -> Flow {
    fields!(cpu, op => LdrdStrdImm | LdrdStrdReg { load, rt, rt2, rn, index, add, .. });
    let base = cpu.base(op, rn);
    let offset = match op.insn {
        Insn::LdrdStrdImm { imm, .. } => imm,
        Insn::LdrdStrdReg { rm, .. } => cpu.reg(rm),
        _ => 0,
    };
    let moved = moved_by(base, offset, add);
    let at = if index == Index::Post { base } else { moved };
    let flow = if load {
        load_pair(
            cpu,
            op,
            at,
            rt,
            rt2,
            (index != Index::Offset).then_some((rn, moved)),
        )
    } else {
        store_pair(cpu, op, at, rt, rt2)
    };
    match flow {
        Ok(flow) => {
            if !load && index != Index::Offset {
                cpu.set_reg(rn, moved);
            }
            flow
        }
        Err(flow) => flow,
    }
}

fn load_pair(
    cpu: &mut Cpu,
    op: &Op,
    at: u32,
    rt: u8,
    rt2: u8,
    writeback: Option<(u8, u32)>,
) -> Result<Flow, Flow> {
    // Both words before any register: an abort leaves the registers as they were.
    let (first, a) = cpu.load_aligned_word(at, op)?;
    let (second, b) = cpu.load_aligned_word(at.wrapping_add(4), op)?;
    if let Some((rn, value)) = writeback {
        cpu.set_reg(rn, value);
    }
    cpu.set_reg(rt, first);
    cpu.set_reg(rt2, second);
    Ok(merge(a, b))
}

fn store_pair(cpu: &mut Cpu, op: &Op, at: u32, rt: u8, rt2: u8) -> Result<Flow, Flow> {
    // If the second word faults, the first is stored, and the guest's handler has the instruction
    // run anew.
    let a = cpu.store_aligned_word(at, cpu.reg(rt), op)?;
    let b = cpu.store_aligned_word(at.wrapping_add(4), cpu.reg(rt2), op)?;
    Ok(merge(a, b))
}

/// Returns the lowest address of a transfer of `count` words, and the base after it.
pub(crate) fn span(base: u32, count: u32, increment: bool, before: bool) -> (u32, u32) {
    let bytes = 4 * count;
    match (increment, before) {
        (true, false) => (base, base.wrapping_add(bytes)),
        (true, true) => (base.wrapping_add(4), base.wrapping_add(bytes)),
        (false, true) => (base.wrapping_sub(bytes), base.wrapping_sub(bytes)),
        (false, false) => (
            base.wrapping_sub(bytes).wrapping_add(4),
            base.wrapping_sub(bytes),
        ),
    }
}

impl Cpu {
    /// Loads `values.len()` words from `at`, which must be aligned.
    fn load_words(&mut self, at: u32, values: &mut [u32], op: &Op) -> Result<Flow, Flow> {
        let mut flow = Flow::Next;
        for (i, value) in (0u32..).zip(values.iter_mut()) {
            let loaded = self.load_aligned_word(at.wrapping_add(4 * i), op)?;
            *value = loaded.0;
            flow = merge(flow, loaded.1);
        }
        Ok(flow)
    }

    /// Stores words from `at`, which must be aligned.
    fn store_words(&mut self, at: u32, values: &[u32], op: &Op) -> Result<Flow, Flow> {
        let mut flow = Flow::Next;
        for (i, value) in (0u32..).zip(values) {
            flow = merge(
                flow,
                self.store_aligned_word(at.wrapping_add(4 * i), *value, op)?,
            );
        }
        Ok(flow)
    }
}

/// Returns the registers of a list, lowest first.
#[expect(clippy::cast_possible_truncation, reason = "one of 16 registers")]
fn registers(list: u16) -> impl Iterator<Item = u8> {
    let mut left = list;
    std::iter::from_fn(move || {
        if left == 0 {
            return None;
        }
        let n = left.trailing_zeros() as u8;
        left &= left - 1;
        Some(n)
    })
}

/// Does the loading half of LDM, and writes the base back; returns the words, PC's in the last
/// place if it is in the list.
fn load_list(cpu: &mut Cpu, op: &Op) -> Result<Loaded, Flow> {
    arm32_isa::fields!(op.insn => Ldm { rn, list, increment, before, wback, .. } else {
        return Err(cpu.undefined());
    });
    let count = list.count_ones();
    let (at, moved) = span(cpu.reg(rn), count, increment, before);
    let mut values = [0; 16];
    // All words before any register: an abort in the middle leaves the registers as they were.
    let flow = cpu.load_words(at, &mut values[..count as usize], op)?;
    if wback {
        cpu.set_reg(rn, moved);
    }
    let pc = (list & 0x8000 != 0).then(|| values[count as usize - 1]);
    Ok(Loaded {
        registers: list & 0x7fff,
        values,
        pc,
        flow,
    })
}

/// What LDM loaded.
struct Loaded {
    /// The list without PC.
    registers: u16,
    /// One word for each, lowest first.
    values: [u32; 16],
    /// The word for PC, if it is in the list.
    pc: Option<u32>,
    /// How to go on when it is not.
    flow: Flow,
}

/// Executes LDM without `^`.
pub fn ldm(cpu: &mut Cpu, op: &Op) -> Flow {
    let loaded = match load_list(cpu, op) {
        Ok(loaded) => loaded,
        Err(flow) => return flow,
    };
    for (n, value) in registers(loaded.registers).zip(loaded.values) {
        cpu.set_reg(n, value);
    }
    match loaded.pc {
        Some(target) => cpu.branch_exchange(target),
        None => loaded.flow,
    }
}

/// Executes LDM with `^`: loads user registers, or with PC in the list returns from an exception.
pub fn ldm_user(cpu: &mut Cpu, op: &Op) -> Flow {
    let mode = cpu.s.psr.mode;
    // UNPREDICTABLE in User and System mode, which have no SPSR; undefined here.
    if bank(mode) == 0 {
        return cpu.undefined();
    }
    let loaded = match load_list(cpu, op) {
        Ok(loaded) => loaded,
        Err(flow) => return flow,
    };
    let target_mode = if loaded.pc.is_some() { mode } else { Mode::Usr };
    for (n, value) in registers(loaded.registers).zip(loaded.values) {
        cpu.s.set_reg_of_mode(n, target_mode, value);
    }
    match loaded.pc {
        Some(target) => {
            let spsr = cpu.s.spsr();
            cpu.exception_return(op, target, spsr)
        }
        None => loaded.flow,
    }
}

/// Executes STM; with `^` it stores user registers.
pub fn stm(cpu: &mut Cpu, op: &Op) -> Flow {
    fields!(cpu, op => Stm { rn, list, increment, before, wback, user });
    if user && bank(cpu.s.psr.mode) == 0 {
        return cpu.undefined();
    }
    let count = list.count_ones();
    let (at, moved) = span(cpu.reg(rn), count, increment, before);
    let mut values = [0; 16];
    // Before the base is written back: in the list it is stored as it was.
    for (n, value) in registers(list).zip(values.iter_mut()) {
        *value = match n {
            15 => op.pc_read(),
            _ if user => cpu.s.reg_of_mode(n, Mode::Usr),
            _ => cpu.reg(n),
        };
    }
    match cpu.store_words(at, &values[..count as usize], op) {
        Ok(flow) => {
            if wback {
                cpu.set_reg(rn, moved);
            }
            flow
        }
        Err(flow) => flow,
    }
}

/// Executes SRS: stores LR and SPSR of this mode on the stack of another.
pub fn srs(cpu: &mut Cpu, op: &Op) -> Flow {
    fields!(cpu, op => Srs { mode, increment, before, wback });
    let Some(mode) = Mode::from_bits(mode.into()).filter(|_| bank(cpu.s.psr.mode) != 0) else {
        return cpu.undefined();
    };
    let (at, moved) = span(cpu.s.reg_of_mode(13, mode), 2, increment, before);
    let values = [cpu.reg(14), cpu.s.spsr()];
    match cpu.store_words(at, &values, op) {
        Ok(flow) => {
            if wback {
                cpu.s.set_reg_of_mode(13, mode, moved);
            }
            flow
        }
        Err(flow) => flow,
    }
}

/// Executes RFE: loads PC and CPSR from memory.
pub fn rfe(cpu: &mut Cpu, op: &Op) -> Flow {
    fields!(cpu, op => Rfe { rn, increment, before, wback });
    if !cpu.s.psr.mode.privileged() {
        return cpu.undefined();
    }
    let (at, moved) = span(cpu.reg(rn), 2, increment, before);
    let mut values = [0; 2];
    if let Err(flow) = cpu.load_words(at, &mut values, op) {
        return flow;
    }
    if wback {
        cpu.set_reg(rn, moved);
    }
    cpu.exception_return(op, values[0], values[1])
}

impl Cpu {
    /// Returns from an exception to `pc` with `cpsr`, by the instruction `op`.
    pub fn exception_return(&mut self, op: &Op, pc: u32, cpsr: u32) -> Flow {
        // This instruction itself counts at the old level.
        self.leave_privilege_level(self.s.retired + u64::from(op.idx) + 1);
        exception::return_to(&mut self.s, pc, cpsr);
        self.select_tlb();
        Flow::Return
    }
}
