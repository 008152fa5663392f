//! The program that runs cases under QEMU: for each, it loads the whole state from the input block,
//! jumps into the case's code, stores the whole state into the output block, and at the end writes
//! all results to its standard output.
//!
//! Signals end a case: the handler notes signal and context in the output block and has the kernel
//! return to the save routine, which then sees the registers as they were at the fault.

use crate::asm::{Asm, Cond};
use crate::layout::{self, Input, Output, RUNTIME, RUNTIME_ORIGIN, SLOTS, VARIABLES};

/// Variables, in the page after the code.
mod var {
    use super::VARIABLES;
    /// Where R0 rests while the save routine needs a register.
    pub const R0: u32 = VARIABLES;
    /// Input block of the present case.
    pub const IN: u32 = VARIABLES + 4;
    /// End of the input blocks.
    pub const IN_END: u32 = VARIABLES + 8;
    /// Output block of the present case.
    pub const OUT: u32 = VARIABLES + 12;
    /// Where the case starts.
    pub const ENTRY: u32 = VARIABLES + 16;
    /// Address of the save routine.
    pub const SAVE: u32 = VARIABLES + 20;
    /// The bits of the CPSR with which the save routine may start.
    pub const MASK: u32 = VARIABLES + 24;
    /// `struct sigaltstack`.
    pub const STACK: u32 = VARIABLES + 32;
    /// `struct sigaction` as the kernel wants it: handler, flags, restorer, 64 bits of mask.
    pub const ACTION: u32 = VARIABLES + 48;
    /// Their end.
    pub const END: u32 = VARIABLES + 72;
}

/// The signals that end a case.
pub mod signal {
    /// Undefined instruction.
    pub const ILL: u32 = 4;
    /// Breakpoint.
    pub const TRAP: u32 = 5;
    /// Alignment.
    pub const BUS: u32 = 7;
    /// Translation and permission.
    pub const SEGV: u32 = 11;
}

/// Linux system calls, EABI.
mod sys {
    pub const EXIT_GROUP: u32 = 248;
    pub const RT_SIGACTION: u32 = 174;
    pub const SIGALTSTACK: u32 = 186;
    pub const WRITE: u32 = 4;
}

const SA_SIGINFO: u32 = 4;
const SA_NODEFER: u32 = 0x4000_0000;
const SA_ONSTACK: u32 = 0x0800_0000;
/// Offsets in `ucontext_t`: PC and CPSR (`uc_mcontext.arm_pc`, `.arm_cpsr`).
const UC_PC: u32 = 92;
const UC_CPSR: u32 = 96;
/// Offset of `si_addr` in `siginfo_t`.
const SI_ADDR: u32 = 12;
/// All but T, IT and E.
const CPSR_MASK: u32 = !(1 << 5 | 0x0600_fc00 | 1 << 9);

/// The run-time, and where cases end.
#[derive(Clone, Debug)]
pub struct Runtime {
    /// Code, from [`RUNTIME`] + [`RUNTIME_ORIGIN`] on.
    pub code: Vec<u32>,
    /// Initial values of the variables, from [`VARIABLES`] on.
    pub variables: Vec<u32>,
    /// First instruction.
    pub start: u32,
    /// Where A32 code ends a case.
    pub save_a32: u32,
    /// Where T32 code ends a case.
    pub save_t32: u32,
}

impl Runtime {
    /// Assembles it.
    pub fn new() -> Self {
        let mut asm = Asm::new(RUNTIME + RUNTIME_ORIGIN);
        let start = asm.here();
        let (next, done) = (asm.label(), asm.label());
        set_up(&mut asm);
        asm.place(next);
        load(&mut asm, done);
        let save_t32 = asm.here();
        // BX PC; NOP: goes on in A32 at the next word.
        asm.word(0xbf00_4778);
        let save_a32 = asm.here();
        save(&mut asm);
        asm.branch(Cond::Al, next);
        let handler = asm.here();
        handle(&mut asm);
        asm.place(done);
        write_results(&mut asm);
        Self {
            code: asm.finish(),
            variables: variables(save_a32, handler),
            start,
            save_a32,
            save_t32,
        }
    }
}

impl Default for Runtime {
    fn default() -> Self {
        Self::new()
    }
}

fn variables(save: u32, handler: u32) -> Vec<u32> {
    let mut words = vec![0; ((var::END - VARIABLES) / 4) as usize];
    let mut set = |address: u32, value| words[((address - VARIABLES) / 4) as usize] = value;
    set(var::IN, layout::input(0));
    set(var::IN_END, layout::input(SLOTS));
    set(var::OUT, layout::output(0));
    set(var::SAVE, save);
    set(var::MASK, CPSR_MASK);
    // Cases put anything into SP, so that signals need a stack of their own.
    set(var::STACK, layout::SIGNAL_STACK);
    set(var::STACK + 8, layout::SIGNAL_STACK_SIZE);
    set(var::ACTION, handler);
    set(var::ACTION + 4, SA_SIGINFO | SA_NODEFER | SA_ONSTACK);
    words
}

fn set_up(asm: &mut Asm) {
    asm.mov(0, var::STACK);
    asm.mov(1, 0);
    asm.syscall(sys::SIGALTSTACK);
    for signal in [signal::ILL, signal::TRAP, signal::BUS, signal::SEGV] {
        asm.mov(0, signal);
        asm.mov(1, var::ACTION);
        asm.mov(2, 0);
        // The kernel refuses any other size of the signal set.
        asm.mov(3, 8);
        asm.syscall(sys::RT_SIGACTION);
    }
}

/// Loads the state of the next case and jumps to it.
fn load(asm: &mut Asm, done: crate::asm::Label) {
    asm.ldr_at(0, var::IN);
    asm.ldr_at(1, var::IN_END);
    asm.cmp(0, 1);
    asm.branch(Cond::Eq, done);
    asm.ldr(1, 0, Input::ENTRY);
    asm.str_at(1, var::ENTRY);
    // What takes a core register comes first: from the LDM on, all of them are the case's.
    asm.add(1, 0, Input::D);
    asm.word(0xecb1_0b20); // VLDMIA r1!, {d0-d15}
    asm.word(0xecf1_0b20); // VLDMIA r1!, {d16-d31}
    asm.ldr(1, 0, Input::FPSCR);
    asm.word(0xeee1_1a10); // VMSR FPSCR, r1
    asm.ldr(1, 0, Input::CPSR);
    asm.word(0xe12c_f001); // MSR APSR_nzcvqg, r1
    // A reservation of the case before must not let a store-exclusive succeed.
    asm.word(0xf57f_f01f); // CLREX
    asm.word(0xe890_7fff); // LDM r0, {r0-r14}
    // No register is free for the address; bit 0 selects the instruction set.
    asm.ldr_at(15, var::ENTRY);
}

/// Stores the state into the output block and moves on to the next.
fn save(asm: &mut Asm) {
    // The case may have left big-endian data, which would swap the bytes of all stores below.
    asm.word(0xf101_0000); // SETEND LE
    // By the PC, since every register holds a result.
    asm.str_at(0, var::R0);
    asm.ldr_at(0, var::OUT);
    for r in 1..15 {
        asm.str(r, 0, Output::R + 4 * r);
    }
    asm.ldr_at(1, var::R0);
    asm.str(1, 0, Output::R);
    // No instruction before this one changes flags.
    asm.word(0xe10f_1000); // MRS r1, CPSR
    asm.str(1, 0, Output::CPSR);
    asm.word(0xeef1_1a10); // VMRS r1, FPSCR
    asm.str(1, 0, Output::FPSCR);
    asm.add(1, 0, Output::D);
    // Twice, since one VSTM moves 16 doublewords at most.
    asm.word(0xeca1_0b20); // VSTMIA r1!, {d0-d15}
    asm.word(0xece1_0b20); // VSTMIA r1!, {d16-d31}
    asm.add(0, 0, Output::STRIDE);
    asm.str_at(0, var::OUT);
    asm.ldr_at(0, var::IN);
    asm.add(0, 0, Input::STRIDE);
    asm.str_at(0, var::IN);
}

/// Assembles the signal handler: R0 = signal, R1 = siginfo, R2 = ucontext.
fn handle(asm: &mut Asm) {
    asm.ldr_at(3, var::OUT);
    asm.str(0, 3, Output::SIGNAL);
    asm.ldr(12, 1, SI_ADDR);
    asm.str(12, 3, Output::FAULT);
    asm.ldr(12, 2, UC_PC);
    asm.str(12, 3, Output::PC);
    asm.ldr(12, 2, UC_CPSR);
    asm.str(12, 3, Output::SIGNAL_CPSR);
    // The save routine is A32 code outside any IT block, with little-endian data.
    asm.ldr_at(1, var::MASK);
    asm.word(0xe00c_c001); // AND r12, r12, r1
    asm.str(12, 2, UC_CPSR);
    asm.ldr_at(1, var::SAVE);
    asm.str(1, 2, UC_PC);
    // To the code that calls `rt_sigreturn`, which restores the registers and this PC.
    asm.word(0xe12f_ff1e); // BX lr
}

/// Writes the results and exits, with status 1 when they could not be written.
fn write_results(asm: &mut Asm) {
    let (more, failed) = (asm.label(), asm.label());
    asm.mov(4, layout::OUTPUT);
    asm.mov(5, layout::RESULTS_END);
    // A pipe may take less than all; the rest goes with the next call.
    asm.place(more);
    asm.mov(0, 1);
    asm.word(0xe1a0_1004); // MOV r1, r4
    asm.word(0xe045_2004); // SUB r2, r5, r4
    asm.syscall(sys::WRITE);
    asm.word(0xe350_0000); // CMP r0, #0
    // Negative is an error, and zero would repeat for ever.
    asm.branch(Cond::Le, failed);
    asm.word(0xe084_4000); // ADD r4, r4, r0
    asm.cmp(4, 5);
    asm.branch(Cond::Ne, more);
    asm.mov(0, 0);
    asm.syscall(sys::EXIT_GROUP);
    asm.place(failed);
    asm.mov(0, 1);
    asm.syscall(sys::EXIT_GROUP);
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "the runtime is small")]
mod tests {
    use super::*;
    use arm32_isa::{Insn, decode_a32};

    #[test]
    fn every_word_is_an_instruction_and_fits_the_page() {
        let runtime = Runtime::new();
        assert!(RUNTIME_ORIGIN as usize + 4 * runtime.code.len() <= 0x1000);
        for (i, word) in runtime.code.iter().enumerate() {
            let address = RUNTIME + RUNTIME_ORIGIN + 4 * i as u32;
            // That word is two T32 instructions.
            if address != runtime.save_t32 {
                assert_ne!(
                    decode_a32(*word).insn,
                    Insn::Undefined {},
                    "{word:#x} at {address:#x}"
                );
            }
        }
    }
}
