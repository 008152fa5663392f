//! From decoded instructions to operations: chooses the handler and lays out its operands.
//!
//! All that can be known before execution is decided here, once: addresses of literals and branch
//! targets, the form of operands, conditions, the IT state.

mod integer;
mod memory;
mod operands;

use arm32_isa::{Cond, Decoded, Insn, decode_a32, decode_t32};

use crate::exec::{Handler, Op, advance_it, branch, media, multiply, simd, system, wrap};

/// Where an instruction stands.
#[derive(Clone, Copy)]
pub struct InsnContext {
    /// Its address.
    pub pc: u32,
    /// Its position in the block.
    pub idx: u8,
    /// IT state before it.
    pub it: u8,
    /// It is T32.
    pub thumb: bool,
    /// Data accesses are big-endian.
    pub big_endian: bool,
}

impl InsnContext {
    /// Moves on past `op`, into IT state `it`.
    pub fn advance(&mut self, op: &Op, it: u8) {
        self.pc = op.next();
        self.idx += 1;
        self.it = it;
    }
}

/// An operation, and what it means for the block it is in.
pub struct Lowered {
    /// The operation.
    pub op: Op,
    /// IT state after it.
    pub it: u8,
    /// The block ends with it.
    pub ends: bool,
}

/// What an instruction asks of the wrappers around its handler.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pc {
    /// R15 is not named, or is dealt with by the handler.
    Unused,
    /// R15 is read as a register.
    Read,
    /// R15 is the destination of a data-processing instruction.
    Written,
}

/// The choice for one instruction.
struct Choice {
    f: Handler,
    pc: Pc,
    ends: bool,
    /// The handler looks at the condition itself.
    conditional: bool,
}

impl Choice {
    fn simple(f: Handler) -> Self {
        Self {
            f,
            pc: Pc::Unused,
            ends: false,
            conditional: false,
        }
    }

    fn ending(f: Handler) -> Self {
        Self {
            ends: true,
            ..Self::simple(f)
        }
    }

    fn with_pc(f: Handler, pc: Pc) -> Self {
        Self {
            pc,
            ..Self::simple(f)
        }
    }
}

/// Lowers the instruction `word` (A32, or T32 with the first halfword in the upper half) at
/// `place`.
#[expect(
    clippy::cast_possible_truncation,
    reason = "an instruction is two halfwords"
)]
pub fn lower(word: u32, place: InsnContext) -> Lowered {
    let in_it = place.it != 0;
    let decoded = if place.thumb {
        decode_t32((word >> 16) as u16, word as u16, in_it)
    } else {
        decode_a32(word)
    };
    let cond = condition(&decoded, place);
    let mut op = empty(&decoded, place);
    let choice = choose(&mut op, cond, place);
    op.f = choice.f;
    op.inner = choice.f;
    let cc = cond as u8;
    op.cond = cc;
    let pc = if choice.pc == Pc::Unused && operands::name_pc(&op.insn) {
        Pc::Read
    } else {
        choice.pc
    };
    match pc {
        Pc::Read => op.f = wrap::reading_pc(cc),
        Pc::Written => op.f = wrap::writing_pc(cc),
        Pc::Unused if cond != Cond::Al && !choice.conditional => op.f = wrap::conditional(cc),
        Pc::Unused => {}
    }
    let it = match decoded.insn {
        Insn::It { firstcond, mask } => firstcond << 4 | mask,
        _ => advance_it(place.it),
    };
    // What follows an unconditional computed branch is not reached from here.
    let ends = choice.ends || (choice.pc == Pc::Written && cond == Cond::Al);
    Lowered { op, it, ends }
}

/// Returns the condition under which the instruction executes.
fn condition(decoded: &Decoded, place: InsnContext) -> Cond {
    // BKPT is unconditional even inside an IT block.
    match decoded.insn {
        Insn::Bkpt { .. } | Insn::It { .. } => Cond::Al,
        _ if place.it != 0 => Cond::from_bits(u32::from(place.it >> 4)),
        _ => decoded.cond,
    }
}

fn empty(decoded: &Decoded, place: InsnContext) -> Op {
    Op {
        f: system::undefined,
        inner: system::undefined,
        imm: 0,
        pc: place.pc,
        a: 0,
        b: 0,
        c: 0,
        d: 0,
        idx: place.idx,
        len: decoded.len,
        it: place.it,
        cond: Cond::Al as u8,
        thumb: place.thumb,
        insn: decoded.insn,
    }
}

/// Chooses the handler and fills the operands of `op`.
fn choose(op: &mut Op, cond: Cond, place: InsnContext) -> Choice {
    if let Some(f) = multiply::handler(&op.insn).or(media::handler(&op.insn)) {
        return Choice::simple(f);
    }
    if let Some(choice) = integer::choose(op) {
        return choice;
    }
    if let Some(choice) = memory::choose(op, place) {
        return choice;
    }
    if let Some(choice) = branches(op, cond) {
        return choice;
    }
    if let Some(f) = simd::handler(&op.insn) {
        return Choice::simple(f);
    }
    // Last: it takes whatever no other has, as undefined.
    let (f, ends) = system::handler(&op.insn);
    if ends {
        Choice::ending(f)
    } else {
        Choice::simple(f)
    }
}

fn branches(op: &mut Op, cond: Cond) -> Option<Choice> {
    let pc = op.pc_read();
    Some(match op.insn {
        Insn::B { offset } => {
            op.imm = pc.wrapping_add_signed(offset);
            Choice {
                conditional: true,
                ..Choice::ending(branch::conditional(cond as u8))
            }
        }
        Insn::Bl {
            offset,
            exchange: false,
        } => {
            op.imm = pc.wrapping_add_signed(offset);
            Choice::ending(branch::bl)
        }
        Insn::Bl {
            offset,
            exchange: true,
        } => {
            // BLX counts from the aligned PC.
            op.imm = (pc & !3).wrapping_add_signed(offset);
            Choice::ending(branch::bl_exchange)
        }
        Insn::Bx { rm } | Insn::Bxj { rm } => {
            op.c = rm;
            Choice {
                ends: cond == Cond::Al,
                ..Choice::with_pc(branch::bx, reads(&[rm]))
            }
        }
        Insn::BlxReg { rm } => {
            op.c = rm;
            Choice {
                ends: cond == Cond::Al,
                ..Choice::with_pc(branch::blx, reads(&[rm]))
            }
        }
        Insn::Cbz {
            nonzero,
            rn,
            offset,
        } => {
            op.b = rn;
            op.imm = pc.wrapping_add_signed(offset);
            Choice::ending(if nonzero { branch::cbnz } else { branch::cbz })
        }
        Insn::Tbb { half, rn, rm } => {
            (op.b, op.c) = (rn, rm);
            let f = if half { branch::tbh } else { branch::tbb };
            Choice {
                ends: cond == Cond::Al,
                ..Choice::with_pc(f, reads(&[rn]))
            }
        }
        _ => return None,
    })
}

/// Returns whether R15 is among the registers an instruction reads.
fn reads(regs: &[u8]) -> Pc {
    if regs.contains(&15) {
        Pc::Read
    } else {
        Pc::Unused
    }
}
