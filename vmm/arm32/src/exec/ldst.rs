//! Loads and stores of one register or of two.
//!
//! Fields: `a` = Rt, `b` = Rn, `c` = Rm, `d` = shift amount, `imm` = signed offset. Big-endian data
//! (CPSR.E), unprivileged forms and R15 as a destination go through the general handlers at the
//! end.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "at most a word was loaded, and sign extension reads bytes and halfwords as signed"
)]

use arm32_isa::{Index, Insn, MemOp};

use crate::cpu::{Cpu, Flow};
use crate::exec::{Handler, Op, dp, fields};

/// Forms of the offset (values of the const parameter `OFFSET`).
pub mod offset {
    /// The signed immediate `imm`.
    pub const IMM: u8 = 0;
    /// Rm shifted left by `d`, added.
    pub const ADD: u8 = 1;
    /// Rm shifted left by `d`, subtracted.
    pub const SUB: u8 = 2;
    /// `imm` is the whole address (a literal).
    pub const ABSOLUTE: u8 = 3;
    /// Any other shift; read from the instruction.
    pub const GENERAL: u8 = 4;
}

const STR: u8 = MemOp::Str as u8;
const STRB: u8 = MemOp::Strb as u8;
const STRH: u8 = MemOp::Strh as u8;
const LDR: u8 = MemOp::Ldr as u8;
const LDRB: u8 = MemOp::Ldrb as u8;
const LDRH: u8 = MemOp::Ldrh as u8;
const LDRSB: u8 = MemOp::Ldrsb as u8;
const LDRSH: u8 = MemOp::Ldrsh as u8;

const OFFSET: u8 = Index::Offset as u8;
const PRE: u8 = Index::Pre as u8;
const POST: u8 = Index::Post as u8;

/// Executes one load or store.
fn ldst<const OP: u8, const FORM: u8, const INDEX: u8>(cpu: &mut Cpu, op: &Op) -> Flow {
    let base = if FORM == offset::ABSOLUTE {
        0
    } else {
        cpu.reg(op.b)
    };
    let moved = match FORM {
        offset::IMM => base.wrapping_add(op.imm),
        offset::ABSOLUTE => op.imm,
        offset::ADD => base.wrapping_add(cpu.reg(op.c) << (op.d & 31)),
        offset::SUB => base.wrapping_sub(cpu.reg(op.c) << (op.d & 31)),
        _ => general_offset(cpu, op, base),
    };
    let at = if INDEX == POST { base } else { moved };
    // Before the base is written back: an access that faults leaves it as it was.
    let flow = match transfer::<OP>(cpu, op, at) {
        Ok((Some(value), flow)) => {
            if INDEX != OFFSET {
                cpu.set_reg(op.b, moved);
            }
            // Last: if both are one register (UNPREDICTABLE), the loaded value stays.
            cpu.set_reg(op.a, value);
            return flow;
        }
        Ok((None, flow)) => flow,
        Err(flow) => return flow,
    };
    if INDEX != OFFSET {
        cpu.set_reg(op.b, moved);
    }
    flow
}

/// Makes the access itself; returns the loaded and extended value, or nothing for a store.
#[inline(always)]
fn transfer<const OP: u8>(cpu: &mut Cpu, op: &Op, at: u32) -> Result<(Option<u32>, Flow), Flow> {
    let loaded = match OP {
        STR => return Ok((None, cpu.store::<4>(at, cpu.reg(op.a), op)?)),
        STRH => return Ok((None, cpu.store::<2>(at, cpu.reg(op.a), op)?)),
        STRB => return Ok((None, cpu.store::<1>(at, cpu.reg(op.a), op)?)),
        LDR => cpu.load::<4>(at, op)?,
        LDRH | LDRSH => cpu.load::<2>(at, op)?,
        _ => cpu.load::<1>(at, op)?,
    };
    let (value, flow) = loaded;
    let value = match OP {
        LDRSH => value as i16 as u32,
        LDRSB => value as i8 as u32,
        _ => value,
    };
    Ok((Some(value), flow))
}

/// Returns `base` moved by a register offset with any shift, as the instruction says.
fn general_offset(cpu: &Cpu, op: &Op, base: u32) -> u32 {
    let Insn::LdStReg {
        rm,
        shift,
        amount,
        add,
        ..
    } = op.insn
    else {
        return base;
    };
    let (value, _) = dp::shift_c(shift, cpu.reg(rm), u32::from(amount), cpu.s.flags.c);
    moved_by(base, value, add)
}

/// Returns `base` plus or minus `offset`.
pub const fn moved_by(base: u32, offset: u32, add: bool) -> u32 {
    if add {
        base.wrapping_add(offset)
    } else {
        base.wrapping_sub(offset)
    }
}

macro_rules! by_memop {
    ($op:expr, $form:expr, $index:expr) => {
        match $op {
            MemOp::Str => ldst::<STR, { $form }, { $index }>,
            MemOp::Strb => ldst::<STRB, { $form }, { $index }>,
            MemOp::Strh => ldst::<STRH, { $form }, { $index }>,
            MemOp::Ldr => ldst::<LDR, { $form }, { $index }>,
            MemOp::Ldrb => ldst::<LDRB, { $form }, { $index }>,
            MemOp::Ldrh => ldst::<LDRH, { $form }, { $index }>,
            MemOp::Ldrsb => ldst::<LDRSB, { $form }, { $index }>,
            MemOp::Ldrsh => ldst::<LDRSH, { $form }, { $index }>,
        }
    };
}

macro_rules! by_index {
    ($op:expr, $form:expr, $index:expr) => {
        match $index {
            Index::Offset => by_memop!($op, $form, OFFSET),
            Index::Pre => by_memop!($op, $form, PRE),
            Index::Post => by_memop!($op, $form, POST),
        }
    };
}

/// Returns the handler of `op` with an offset of form `form`.
pub fn handler(op: MemOp, form: u8, index: Index) -> Handler {
    match form {
        offset::IMM => by_index!(op, offset::IMM, index),
        offset::ADD => by_index!(op, offset::ADD, index),
        offset::SUB => by_index!(op, offset::SUB, index),
        offset::ABSOLUTE => by_memop!(op, offset::ABSOLUTE, OFFSET),
        _ => by_index!(op, offset::GENERAL, index),
    }
}

/// Executes any single load or store: unprivileged, big-endian, or into R15. Reads everything from
/// the instruction.
pub fn general(cpu: &mut Cpu, op: &Op) -> Flow {
    fields!(cpu, op => LdStImm | LdStReg { op: mem, rt, rn, index, unpriv, .. });
    let base = cpu.base(op, rn);
    let moved = match op.insn {
        Insn::LdStImm { imm, add, .. } => moved_by(base, imm, add),
        _ => {
            // Rm may be R15, which is not kept up to date inside a block.
            cpu.s.r[15] = op.pc_read();
            general_offset(cpu, op, base)
        }
    };
    let at = if index == Index::Post { base } else { moved };
    let privileged = cpu.s.psr.mode.privileged() && !unpriv;
    let loaded = match cpu.access_general(mem, rt, at, privileged, op) {
        Ok(loaded) => loaded,
        Err(flow) => return flow,
    };
    if index != Index::Offset {
        cpu.set_reg(rn, moved);
    }
    match loaded {
        (Some(value), _) if rt == 15 => cpu.branch_exchange(value),
        (Some(value), flow) => {
            cpu.set_reg(rt, value);
            flow
        }
        (None, flow) => flow,
    }
}

impl Cpu {
    /// Returns what the base register `rn` of a load or store holds.
    pub(crate) fn base(&self, op: &Op, rn: u8) -> u32 {
        if rn == 15 {
            // Literals count from the aligned PC.
            op.pc_read() & !3
        } else {
            self.reg(rn)
        }
    }

    /// Makes one access of any kind at any privilege, in the current endianness.
    ///
    /// At the current one it asks the TLB first, as all handlers do whose instructions host code
    /// may make in their place: a guest sees which was asked where its tables have changed since.
    fn access_general(
        &mut self,
        mem: MemOp,
        rt: u8,
        at: u32,
        privileged: bool,
        op: &Op,
    ) -> Result<(Option<u32>, Flow), Flow> {
        let size = u32::from(mem.size());
        let current = privileged == self.s.psr.mode.privileged();
        if !mem.is_load() {
            let value = if rt == 15 { op.pc_read() } else { self.reg(rt) };
            let flow = if current {
                self.store_element(at, size, value.into(), op)?
            } else {
                let value = self.in_memory_order(value.into(), size);
                self.store_general(at, size, value, privileged, false, op.idx)?
            };
            return Ok((None, flow));
        }
        let (value, flow) = if current {
            self.load_element(at, size, op)?
        } else {
            let (value, flow) = self.load_general(at, size, privileged, false, op.idx)?;
            (self.in_memory_order(value, size), flow)
        };
        let value = value as u32;
        Ok((
            Some(match mem {
                MemOp::Ldrsb => value as i8 as u32,
                MemOp::Ldrsh => value as i16 as u32,
                _ => value,
            }),
            flow,
        ))
    }

    /// Returns `value`, which has `size` bytes, with its bytes swapped when data is big-endian.
    pub fn in_memory_order(&self, value: u64, size: u32) -> u64 {
        if self.s.psr.big_endian {
            // Swapped in 64 bits, so that the bytes end up at the top.
            value.swap_bytes() >> (64 - 8 * size)
        } else {
            value
        }
    }

    /// Loads a word in the current endianness, at the current privilege.
    ///
    /// # Errors
    /// As [`Cpu::load_general`].
    pub fn load_word(&mut self, at: u32, op: &Op) -> Result<(u32, Flow), Flow> {
        let (value, flow) = self.load::<4>(at, op)?;
        Ok((self.in_memory_order(value.into(), 4) as u32, flow))
    }

    /// Stores a word in the current endianness, at the current privilege.
    ///
    /// # Errors
    /// As [`Cpu::store_general`].
    pub fn store_word(&mut self, at: u32, value: u32, op: &Op) -> Result<Flow, Flow> {
        let value = self.in_memory_order(value.into(), 4) as u32;
        self.store::<4>(at, value, op)
    }

    /// Loads a word that must be aligned, as LDM and LDRD want it.
    ///
    /// # Errors
    /// As [`Cpu::load_general`].
    pub fn load_aligned_word(&mut self, at: u32, op: &Op) -> Result<(u32, Flow), Flow> {
        if at & 3 != 0 {
            // Always faults: the value is never used.
            let privileged = self.s.psr.mode.privileged();
            return self
                .load_general(at, 4, privileged, true, op.idx)
                .map(|(v, f)| (v as u32, f));
        }
        self.load_word(at, op)
    }

    /// Stores a word that must be aligned, as STM and STRD want it.
    ///
    /// # Errors
    /// As [`Cpu::store_general`].
    pub fn store_aligned_word(&mut self, at: u32, value: u32, op: &Op) -> Result<Flow, Flow> {
        if at & 3 != 0 {
            let privileged = self.s.psr.mode.privileged();
            return self.store_general(at, 4, value.into(), privileged, true, op.idx);
        }
        self.store_word(at, value, op)
    }
}

/// Returns the flow of an instruction that made several accesses: [`Flow::End`] when any asks for
/// it.
pub fn merge(a: Flow, b: Flow) -> Flow {
    if a == Flow::Next { b } else { a }
}
