//! Micro-operations of a block to code.

use super::asm::{Access, Asm, Cond, Fixup, Mem, Sum, Width};
use super::frame::{self, LEFT, SCRATCH, SECOND, THIRD, WORK};
use super::values::Emitter;
use super::{access, bank, bits, exclusive, system};
use crate::exec::Op;
use crate::host_code::CodeExit;
use crate::ir::{FlagSet, Mop, MultiplyLong, Value};
use crate::jit::emit::Target;
use crate::tlb::TAG_BYTES;

impl Target for Asm {
    type Fixup = Fixup;
    type Known = FlagSet;
    /// Conditional branches reach a mebibyte.
    const REACHES_ALL: bool = false;

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
        clippy::cast_possible_wrap,
        reason = "positions are within a code area of megabytes"
    )]
    fn bind_from(&mut self, start: usize, fixup: Fixup, to: usize) {
        let from = start + fixup.at();
        self.set_distance(fixup, to as i64 - from as i64);
    }

    fn is_emitted(mop: &Mop) -> bool {
        let constant = |v: &Value| matches!(v, Value::Imm(_));
        match mop {
            Mop::Shift { x, .. } => !constant(x),
            Mop::Multiply { x, y, .. }
            | Mop::MultiplyLong(MultiplyLong { x, y, .. })
            | Mop::Divide { x, y, .. } => !constant(x) && !constant(y),
            Mop::Extend { x, .. }
            | Mop::Extract { x, .. }
            | Mop::Reverse { x, .. }
            | Mop::LeadingZeros { x, .. }
            | Mop::SkipUnlessZero { x, .. } => !constant(x),
            Mop::Bank(mop) => bank::is_emitted(mop),
            _ => true,
        }
    }

    fn take(e: &mut Emitter<'_>, count: u32) -> Fixup {
        // Blocks are of far fewer instructions than there is room for.
        e.asm.sum_imm(Width::Double, Sum::SubSet, LEFT, LEFT, count);
        e.asm.jump_if(Cond::MI)
    }

    fn give_back(e: &mut Emitter<'_>, count: u32) {
        e.asm.sum_imm(Width::Double, Sum::Add, LEFT, LEFT, count);
    }

    fn unless(e: &mut Emitter<'_>, cond: u8) -> Vec<Fixup> {
        e.unless(cond)
    }

    /// Conditional branches lead no farther than a megabyte away.
    fn exit_if(_e: &mut Emitter<'_>, _cond: u8) -> Option<Fixup> {
        None
    }

    fn select(e: &mut Emitter<'_>, cond: u8, d: u8, y: Value) -> bool {
        e.select(cond, d, y)
    }

    fn unless_zero(e: &mut Emitter<'_>, x: Value, zero: bool) -> Fixup {
        let r = e.in_register(x, WORK);
        e.asm.jump_if_zero(r, !zero)
    }

    fn mop(e: &mut Emitter<'_>, mop: Mop, host: Option<FlagSet>, slow: &mut Vec<Fixup>) {
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
            Mop::Bank(mop) => bank::emit(e, mop, slow),
            Mop::System(mop) => system::emit(e, mop, slow),
            Mop::SetCarry { to } => store(e, Access::STORE, to, frame::C),
            Mop::LoadExclusive { .. } | Mop::StoreExclusive { .. } => exclusive::emit(e, mop, slow),
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
        e.asm.jump_if(Cond::EQ)
    }

    fn call(e: &mut Emitter<'_>, op: *const Op, count: u32) {
        e.asm.set64(SECOND, op.expose_provenance() as u64);
        e.asm.set(THIRD, count);
        let fixup = e.asm.call_near();
        e.bind_to(fixup, e.routines.call);
    }

    fn load_target(e: &mut Emitter<'_>, to: Value) {
        e.load(WORK, to);
    }

    fn guard(e: &mut Emitter<'_>, va: u32) -> (Fixup, Fixup) {
        let [wanted, tag, _] = SCRATCH;
        let (shift, mask) = TAG_BYTES;
        let quad = e.asm.load_here(wanted);
        e.asm.access(Access::LOAD64, tag, frame::CONTEXT_TAGS);
        let place = Mem::Base(tag, va >> shift & mask);
        e.asm.access(Access::LOAD64, tag, place);
        e.asm.compare(Width::Double, wanted, tag);
        (quad, e.asm.jump_if(Cond::NE))
    }

    fn note_exit(e: &mut Emitter<'_>, slot: usize) {
        store(e, Access::STORE, e.id, frame::CONTEXT_BLOCK);
        store(e, Access::STORE, slot != 0, frame::CONTEXT_SLOT);
    }

    fn leave_at(e: &mut Emitter<'_>, va: u32, it: u8, why: CodeExit) {
        store(e, Access::STORE, va, frame::PC);
        store(e, Access::STORE8, it, frame::IT);
        e.asm.set(WORK, why as u32);
        e.leave_to(e.routines.exit);
    }
}

/// Stores a constant.
fn store(e: &mut Emitter<'_>, access: Access, value: impl Into<u32>, at: Mem) {
    let [scratch, ..] = SCRATCH;
    let value = e.in_register(Value::Imm(value.into()), scratch);
    e.asm.access(access, value, at);
}
