//! Micro-operations of a block to code.

use super::asm::{Alu, Asm, Cc, Fixup, Mem, Rm, Width};
use super::conditions::Known;
use super::frame::{self, LEFT, SECOND, WORK};
use super::{access, bits};
use crate::block::Block;
use crate::exec::Op;
use crate::ir::{Mop, Value, drop_dead_flags, lower};
use crate::jit::context::Left;
use crate::tlb::TAG_BYTES;

/// Where the routines are that all code shares, from the start of the code area.
#[derive(Clone, Copy, Debug, Default)]
pub struct Routines {
    /// Called by the core.
    pub enter: usize,
    /// Saves registers and returns EAX to the core.
    pub exit: usize,
    /// Runs the handler of the operation in RAX of a block of ECX instructions; returns if it said to go on.
    pub call: usize,
    /// Branches to EAX, whose bit 0 selects the instruction set.
    pub exchange: usize,
    /// Branches to EAX in the same instruction set.
    pub branch: usize,
}

/// An exit of a block: a branch that leads to its stub until it is linked.
#[derive(Clone, Copy, Debug)]
pub struct Site {
    /// The branch.
    pub jump: Fixup,
    /// Its stub.
    pub stub: usize,
    /// Eight bytes with the tag of the page that it leads to, if that is another page.
    pub guard: Option<usize>,
}

/// What is out of the way: an operation left to its handler.
struct Slow {
    from: Vec<Fixup>,
    op: *const Op,
    back: usize,
}

/// A block on its way to code.
pub struct Emitter<'a> {
    pub asm: &'a mut Asm,
    /// Where the code will be, from the start of the code area.
    start: usize,
    routines: &'a Routines,
    block: &'a Block,
    id: u32,
    /// What the host's flags say of the guest's, if anything.
    pub host: Option<Known>,
    slow: Vec<Slow>,
    sites: [Option<Site>; 2],
}

/// Writes the code of block `id`, which will be at `start` of the code area; returns its exits.
pub fn emit(
    asm: &mut Asm,
    start: usize,
    routines: &Routines,
    id: u32,
    block: &Block,
) -> [Option<Site>; 2] {
    let mut emitter = Emitter {
        asm,
        start,
        routines,
        block,
        id,
        host: None,
        slow: Vec::new(),
        sites: [None; 2],
    };
    emitter.block();
    emitter.sites
}

fn lowered(block: &Block) -> (Vec<Mop>, Vec<usize>) {
    let (mut all, mut counts) = (Vec::new(), Vec::new());
    for op in &block.ops {
        let start = all.len();
        lower(op, &mut all);
        if !all[start..].iter().all(is_emitted) {
            all.truncate(start);
            all.push(Mop::Call);
        }
        counts.push(all.len() - start);
    }
    drop_dead_flags(&mut all);
    (all, counts)
}

/// Returns whether there is code for `mop`. What there is none for is rare.
fn is_emitted(mop: &Mop) -> bool {
    let constant = |v: &Value| matches!(v, Value::Imm(_));
    match mop {
        // A carry that depends on the amount is rare.
        Mop::Shift {
            x, amount, carry, ..
        } => !constant(x) && (constant(amount) || !carry),
        Mop::Multiply { x, y, .. } | Mop::MultiplyLong { x, y, .. } => !constant(x) && !constant(y),
        Mop::Extend { x, .. } | Mop::Extract { x, .. } => !constant(x),
        Mop::Reverse { kind, x, .. } => *kind != arm32_isa::RevOp::Rbit && !constant(x),
        Mop::LeadingZeros { x, .. } => bits::counts_zeros() && !constant(x),
        Mop::SkipUnlessZero { x, .. } => !constant(x),
        _ => true,
    }
}

impl Emitter<'_> {
    fn block(&mut self) {
        let count = self.count();
        let immediate = count.cast_signed();
        self.asm
            .alu_imm(Width::Quad, Alu::Sub, Rm::Reg(LEFT), immediate);
        let budget = self.asm.jump_if(Cc::S);
        let (mops, counts) = lowered(self.block);
        let mut rest = &mops[..];
        let mut ended = false;
        for (op, count) in self.block.ops.iter().zip(counts) {
            let (these, others) = rest.split_at(count);
            rest = others;
            ended = self.op(op, these);
        }
        if !ended {
            self.leave_by(0, self.block.end, self.block.end_it);
        }
        self.out_of_the_way();
        self.asm.bind_here(budget);
        self.asm
            .alu_imm(Width::Quad, Alu::Add, Rm::Reg(LEFT), immediate);
        let key = self.block.key;
        self.asm.store_imm(frame::PC, key.va);
        self.asm.store_imm8(frame::IT, key.state.to_le_bytes()[1]);
        self.asm.set(WORK, Left::Budget as u32);
        self.leave_to(self.routines.exit);
    }

    fn count(&self) -> u32 {
        u32::try_from(self.block.ops.len()).unwrap_or(u32::MAX)
    }

    /// Branches to the routine at `to` of the code area.
    fn leave_to(&mut self, to: usize) {
        let fixup = self.asm.jump();
        self.bind_to(fixup, to);
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        reason = "positions are within a code area of megabytes"
    )]
    fn bind_to(&mut self, fixup: Fixup, to: usize) {
        let from = self.start + fixup.at() + 4;
        self.asm
            .set_distance(fixup, (to as i64 - from as i64) as i32);
    }

    /// Writes the operations of one instruction; returns whether they end the block whatever happens.
    fn op(&mut self, op: &Op, mops: &[Mop]) -> bool {
        let (mut slow, mut joins) = (Vec::new(), Vec::<(usize, Vec<Fixup>)>::new());
        let mut skipped_to = 0;
        let mut ends = false;
        for (index, mop) in mops.iter().enumerate() {
            self.join(&mut joins, index);
            ends = matches!(mop, Mop::Goto { .. } | Mop::Jump { .. }) && index >= skipped_to;
            match *mop {
                Mop::SkipUnless { cond, count } => {
                    let fixups = self.unless(cond);
                    skipped_to = index + 1 + usize::from(count);
                    joins.push((skipped_to, fixups));
                }
                Mop::SkipUnlessZero { x, zero, count } => {
                    self.host = None;
                    let r = self.in_register(x, WORK);
                    self.asm.test(r, r);
                    let fixup = self.asm.jump_if(if zero { Cc::Ne } else { Cc::E });
                    skipped_to = index + 1 + usize::from(count);
                    joins.push((skipped_to, vec![fixup]));
                }
                Mop::Call => {
                    self.host = None;
                    self.call(op);
                }
                Mop::Jump { .. } | Mop::Goto { .. } => {
                    // Those behind it, if it is conditional, have been counted and are not executed.
                    let behind = self.count() - 1 - u32::from(op.idx);
                    if behind > 0 {
                        let behind = behind.cast_signed();
                        self.asm
                            .alu_imm(Width::Quad, Alu::Add, Rm::Reg(LEFT), behind);
                    }
                    self.mop(*mop, &mut slow);
                }
                mop => self.mop(mop, &mut slow),
            }
        }
        self.join(&mut joins, mops.len());
        if !slow.is_empty() {
            self.host = None;
            self.slow.push(Slow {
                from: slow,
                op,
                back: self.asm.here(),
            });
        }
        ends
    }

    /// Binds the branches that lead here.
    fn join(&mut self, joins: &mut Vec<(usize, Vec<Fixup>)>, index: usize) {
        joins.retain_mut(|(to, fixups)| {
            if *to == index {
                for fixup in fixups.drain(..) {
                    self.asm.bind_here(fixup);
                }
                self.host = None;
            }
            *to != index
        });
    }

    fn mop(&mut self, mop: Mop, slow: &mut Vec<Fixup>) {
        let host = self.host.take();
        match mop {
            Mop::Alu { op, d, x, y, set } => self.alu(op, (d, x, y), set, host),
            Mop::Shift {
                kind,
                d,
                x,
                amount: Value::Imm(amount),
                carry,
            } => self.shift(kind, d, x, amount, carry),
            Mop::Shift {
                kind, d, x, amount, ..
            } => self.shift_by(kind, d, x, amount),
            Mop::SetCarry { to } => self.asm.store_imm8(frame::C, to.into()),
            Mop::Goto { va } => self.leave_by(1, va, 0),
            Mop::Jump { to, exchange } => {
                self.load(WORK, to);
                let routine = if exchange {
                    self.routines.exchange
                } else {
                    self.routines.branch
                };
                self.leave_to(routine);
            }
            Mop::Load { .. } | Mop::Store { .. } | Mop::LoadList { .. } | Mop::StoreList { .. } => {
                access::emit(self, mop, slow);
            }
            _ => bits::emit(self, mop),
        }
    }

    /// Runs the handler of `op`.
    fn call(&mut self, op: *const Op) {
        self.asm.set64(WORK, op.expose_provenance() as u64);
        self.asm.set(SECOND, self.count());
        let fixup = self.asm.call_near();
        self.bind_to(fixup, self.routines.call);
    }

    /// Ends the block by exit `slot`, to `va` with IT state `it`.
    fn leave_by(&mut self, slot: usize, va: u32, it: u8) {
        let other_page = va >> 12 != self.block.key.va >> 12;
        let guard = other_page.then(|| {
            let (shift, mask) = TAG_BYTES;
            let tag = Mem::Base(WORK, (va >> shift & mask).cast_signed());
            self.asm
                .load(Width::Quad, WORK, Rm::Mem(frame::CONTEXT_TAGS));
            self.asm.load(Width::Quad, WORK, Rm::Mem(tag));
            let quad = self.asm.compare_here(WORK);
            (quad, self.asm.jump_if(Cc::Ne))
        });
        let jump = self.asm.jump();
        let stub = self.asm.here();
        self.asm.bind(jump, stub);
        self.asm.store_imm(frame::PC, va);
        self.asm.store_imm8(frame::IT, it);
        self.asm.store_imm(frame::CONTEXT_BLOCK, self.id);
        self.asm
            .store_imm(frame::CONTEXT_SLOT, u32::from(slot != 0));
        self.asm.set(WORK, Left::Link as u32);
        self.leave_to(self.routines.exit);
        let guard = guard.map(|(quad, stale)| {
            self.asm.bind(stale, stub);
            let at = self.asm.quad();
            self.asm.bind(quad, at);
            at
        });
        self.sites[slot] = Some(Site { jump, stub, guard });
    }

    fn out_of_the_way(&mut self) {
        for Slow { from, op, back } in std::mem::take(&mut self.slow) {
            for fixup in from {
                self.asm.bind_here(fixup);
            }
            self.call(op);
            let fixup = self.asm.jump();
            self.asm.bind(fixup, back);
        }
    }
}
