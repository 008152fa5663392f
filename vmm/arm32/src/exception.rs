//! Taking an exception and returning from it (ARM ARM DDI 0406C B1.8 and B1.9).

use crate::cp15::{sctlr, ttbcr};
use crate::mmu::{Fault, fsr};
use crate::state::{CpuState, Mode};

/// An exception to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exception {
    /// Undefined Instruction; `r[15]` is the address of the instruction.
    Undefined,
    /// Supervisor Call; `r[15]` is the address of the *next* instruction.
    Svc,
    /// Prefetch Abort (also BKPT); `r[15]` is the address of the instruction.
    PrefetchAbort(Fault),
    /// Data Abort; `r[15]` is the address of the instruction.
    DataAbort(Fault),
    /// Interrupt; `r[15]` is the address of the *next* instruction.
    Irq,
    /// Fast interrupt; `r[15]` is the address of the *next* instruction.
    Fiq,
}

/// What differs from exception to exception.
struct Entry {
    mode: Mode,
    /// Offset of the vector.
    vector: u32,
    /// What is added to `r[15]` for the link register in A32 and in T32 state.
    link: [u32; 2],
    /// CPSR.A is set.
    mask_abort: bool,
}

impl Exception {
    const fn entry(self) -> Entry {
        let (mode, vector, link, mask_abort) = match self {
            Self::Undefined => (Mode::Und, 0x04, [4, 2], false),
            Self::Svc => (Mode::Svc, 0x08, [0, 0], false),
            Self::PrefetchAbort(_) => (Mode::Abt, 0x0c, [4, 4], true),
            Self::DataAbort(_) => (Mode::Abt, 0x10, [8, 8], true),
            Self::Irq => (Mode::Irq, 0x18, [4, 4], true),
            Self::Fiq => (Mode::Fiq, 0x1c, [4, 4], true),
        };
        Entry {
            mode,
            vector,
            link,
            mask_abort,
        }
    }
}

/// Takes exception `e`: sets the fault registers, the banked LR and SPSR and the new CPSR, and leaves the address of
/// the vector in `r[15]`. See [`Exception`] for what `r[15]` must hold before.
///
/// The exclusive monitor is left as it is: a handler that returns to a load/store-exclusive sequence decides.
pub fn enter(state: &mut CpuState, e: Exception) {
    record_fault(state, e);
    let entry = e.entry();
    let cpsr = state.cpsr();
    let link = state.r[15].wrapping_add(entry.link[usize::from(state.psr.thumb)]);
    state.switch_mode(entry.mode);
    state.set_spsr(cpsr);
    state.r[14] = link;

    let control = state.cp15.sctlr;
    state.psr.irq_masked = true;
    state.psr.fiq_masked |= matches!(e, Exception::Fiq);
    state.psr.abort_masked |= entry.mask_abort;
    state.psr.thumb = control & sctlr::TE != 0;
    state.psr.big_endian = control & sctlr::EE != 0;
    state.psr.it = 0;
    let base = if control & sctlr::V != 0 {
        0xffff_0000
    } else {
        state.cp15.vbar
    };
    state.r[15] = base.wrapping_add(entry.vector);
}

/// Writes DFSR and DFAR, or IFSR and IFAR (B3.13). A debug event leaves the address registers as they are
/// (UNKNOWN in the architecture; our choice).
fn record_fault(state: &mut CpuState, e: Exception) {
    let long = state.cp15.ttbcr & ttbcr::EAE != 0;
    match e {
        Exception::PrefetchAbort(fault) => {
            state.cp15.ifsr = fsr::instruction(&fault, long);
            if fsr::has_address(&fault) {
                state.cp15.ifar = fault.va;
            } else {
                state.debug.note_breakpoint_instruction();
            }
        }
        Exception::DataAbort(fault) => {
            state.cp15.dfsr = fsr::data(&fault, long);
            if fsr::has_address(&fault) {
                state.cp15.dfar = fault.va;
            }
        }
        _ => {}
    }
}

/// Returns from an exception (`SUBS PC, LR`, `RFE`, `LDM ^` with PC): makes `cpsr` the CPSR and continues at `pc`.
///
/// Choices for what the architecture leaves open: a mode that does not exist on this core leaves the
/// mode as it is; the low bits of `pc` that do not fit the instruction set are dropped; the J bit is ignored
/// (there is no Jazelle or ThumbEE state); the exclusive monitor is cleared, as later architectures
/// require and this one allows (a store-exclusive may always fail).
pub fn return_to(state: &mut CpuState, pc: u32, cpsr: u32) {
    state.set_cpsr(cpsr);
    state.r[15] = if state.psr.thumb { pc & !1 } else { pc & !3 };
    state.monitor.open = false;
}
