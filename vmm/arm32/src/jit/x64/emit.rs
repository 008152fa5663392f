//! Micro-operations of a block to code.

use super::asm::{Alu, Asm, Cc, Fixup, Mem, Rm, Width};
use super::conditions::Known;
use super::frame::{self, LEFT, SECOND, WORK};
use super::values::Emitter;
use super::{access, bank, bits, exclusive, system};
use crate::exec::Op;
use crate::host_code::CodeExit;
use crate::ir::{Mop, MultiplyLong, Value};
use crate::jit::emit::Target;
use crate::tlb::TAG_BYTES;

impl Target for Asm {
    type Fixup = Fixup;
    type Known = Known;
    /// Branches have 32 bits for distances.
    const REACHES_ALL: bool = true;

    fn here(&self) -> usize {
        self.here()
    }

    fn jump(&mut self) -> Fixup {
        self.jump()
    }

    fn quad(&mut self) -> usize {
        self.quad()
    }

    fn place(fixup: Fixup) -> usize {
        fixup.at()
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        reason = "positions are within a code area of megabytes"
    )]
    fn bind_from(&mut self, start: usize, fixup: Fixup, to: usize) {
        let from = start + fixup.at() + 4;
        self.set_distance(fixup, (to as i64 - from as i64) as i32);
    }

    fn is_emitted(mop: &Mop) -> bool {
        let constant = |v: &Value| matches!(v, Value::Imm(_));
        match mop {
            Mop::Shift { x, .. } => !constant(x),
            Mop::Multiply { x, y, .. }
            | Mop::AddBytes { x, y, .. }
            | Mop::SelectBytes { x, y, .. }
            | Mop::MultiplyLong(MultiplyLong { x, y, .. })
            | Mop::Divide { x, y, .. } => !constant(x) && !constant(y),
            Mop::Extend { x, .. } | Mop::Extract { x, .. } => !constant(x),
            Mop::Reverse { kind, x, .. } => *kind != arm32_isa::RevOp::Rbit && !constant(x),
            Mop::LeadingZeros { x, .. } => bits::counts_zeros() && !constant(x),
            Mop::SkipUnlessZero { x, .. } => !constant(x),
            Mop::Bank(mop) => bank::is_emitted(mop),
            _ => true,
        }
    }

    fn take(e: &mut Emitter<'_>, count: u32) -> Fixup {
        e.asm
            .alu_imm(Width::Quad, Alu::Sub, Rm::Reg(LEFT), count.cast_signed());
        e.asm.jump_if(Cc::S)
    }

    fn give_back(e: &mut Emitter<'_>, count: u32) {
        e.asm
            .alu_imm(Width::Quad, Alu::Add, Rm::Reg(LEFT), count.cast_signed());
    }

    fn unless(e: &mut Emitter<'_>, cond: u8) -> Vec<Fixup> {
        e.unless(cond)
    }

    fn exit_if(e: &mut Emitter<'_>, cond: u8) -> Option<Fixup> {
        e.exit_if(cond)
    }

    fn select(e: &mut Emitter<'_>, cond: u8, d: u8, y: Value) -> bool {
        e.select(cond, d, y)
    }

    fn unless_zero(e: &mut Emitter<'_>, x: Value, zero: bool) -> Fixup {
        let r = e.in_register(x, WORK);
        e.asm.test(r, r);
        e.asm.jump_if(if zero { Cc::Ne } else { Cc::E })
    }

    fn mop(e: &mut Emitter<'_>, mop: Mop, host: Option<Known>, slow: &mut Vec<Fixup>) {
        match mop {
            Mop::Alu { op, d, x, y, set } => e.alu(op, (d, x, y), set, host),
            Mop::Shift {
                kind,
                d,
                x,
                amount: Value::Imm(amount),
                carry,
            } => e.shift(kind, d, x, amount, carry),
            Mop::Shift {
                kind,
                d,
                x,
                amount,
                carry,
            } => e.shift_by(kind, d, x, amount, carry),
            Mop::SetCarry { to } => e.asm.store_imm8(frame::C, to.into()),
            Mop::LoadExclusive { .. } | Mop::StoreExclusive { .. } => exclusive::emit(e, mop, slow),
            Mop::Bank(mop) => bank::emit(e, mop, slow),
            Mop::System(mop) => system::emit(e, mop, slow),
            Mop::ReadThread { .. }
            | Mop::ReadCounter { .. }
            | Mop::Load { .. }
            | Mop::Store { .. }
            | Mop::LoadList { .. }
            | Mop::StoreList { .. }
            | Mop::StorePair { .. } => access::emit(e, mop, slow),
            _ => bits::emit(e, mop),
        }
    }

    fn ask_misaligned(e: &mut Emitter<'_>, routine: usize) -> Fixup {
        let fixup = e.asm.call_near();
        e.bind_to(fixup, routine);
        e.asm.jump_if(Cc::E)
    }

    fn call(e: &mut Emitter<'_>, op: *const Op, count: u32) {
        e.asm.set64(WORK, op.expose_provenance() as u64);
        e.asm.set(SECOND, count);
        let fixup = e.asm.call_near();
        e.bind_to(fixup, e.routines.call);
    }

    fn load_target(e: &mut Emitter<'_>, to: Value) {
        e.load(WORK, to);
    }

    fn guard(e: &mut Emitter<'_>, va: u32) -> (Fixup, Fixup) {
        let (shift, mask) = TAG_BYTES;
        let tag = Mem::Base(WORK, (va >> shift & mask).cast_signed());
        e.asm.load(Width::Quad, WORK, Rm::Mem(frame::CONTEXT_TAGS));
        e.asm.load(Width::Quad, WORK, Rm::Mem(tag));
        let quad = e.asm.compare_here(WORK);
        (quad, e.asm.jump_if(Cc::Ne))
    }

    fn note_exit(e: &mut Emitter<'_>, slot: usize) {
        e.asm.store_imm(frame::CONTEXT_BLOCK, e.id);
        e.asm.store_imm(frame::CONTEXT_SLOT, u32::from(slot != 0));
    }

    fn leave_at(e: &mut Emitter<'_>, va: u32, it: u8, why: CodeExit) {
        e.asm.store_imm(frame::PC, va);
        e.asm.store_imm8(frame::IT, it);
        e.asm.set(WORK, why as u32);
        e.leave_to(e.routines.exit);
    }
}
