//! Taking an exception and returning from it (ARM ARM DDI 0406C B1.8 and B1.9).

use crate::cp15::{sctlr, ttbcr};
use crate::mmu::{Fault, FaultKind, fsr};
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

/// Takes exception `e`: sets the fault registers, the banked LR and SPSR and the new CPSR, and
/// leaves the address of the vector in `r[15]`. See [`Exception`] for what `r[15]` must hold
/// before.
///
/// The exclusive monitor is left as it is: a handler that returns to a load/store-exclusive
/// sequence decides.
pub fn enter(state: &mut CpuState, e: Exception) {
    // First: DBGWFAR is worked out from R15 and T as they are at the instruction.
    record_fault(state, e);
    let entry = e.entry();
    let cpsr = state.cpsr();
    let link = state.r[15].wrapping_add(entry.link[usize::from(state.psr.thumb)]);
    // After CPSR and the link address are taken, which are those of the old mode.
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

/// Writes DFSR and DFAR, or IFSR and IFAR (B3.13), and for a debug event DBGDSCR.MOE. A Prefetch
/// Abort for a debug event leaves IFAR as it is (UNKNOWN in the architecture; our choice).
fn record_fault(state: &mut CpuState, e: Exception) {
    let long = state.cp15.ttbcr & ttbcr::EAE != 0;
    match e {
        Exception::PrefetchAbort(fault) => {
            state.cp15.ifsr = fsr::instruction(&fault, long);
            if fsr::has_address(&fault) {
                state.cp15.ifar = fault.va;
            }
            note_debug_event(state, fault);
        }
        Exception::DataAbort(fault) => {
            state.cp15.dfsr = fsr::data(&fault, long);
            if fsr::has_address(&fault) {
                state.cp15.dfar = fault.va;
            }
            note_debug_event(state, fault);
        }
        _ => {}
    }
}

fn note_debug_event(state: &mut CpuState, fault: Fault) {
    if let FaultKind::Debug(event) = fault.kind {
        let (pc, thumb) = (state.r[15], state.psr.thumb);
        state.debug.note_event(event, pc, thumb);
    }
}

/// Returns from an exception (`SUBS PC, LR`, `RFE`, `LDM ^` with PC): makes `cpsr` the CPSR and
/// continues at `pc`.
///
/// Choices for what the architecture leaves open: a mode that does not exist on this core leaves
/// the mode as it is; the low bits of `pc` that do not fit the instruction set are dropped; the J
/// bit is ignored (there is no Jazelle or ThumbEE state); the exclusive monitor is cleared, as
/// later architectures require and this one allows (a store-exclusive may always fail).
pub fn return_to(state: &mut CpuState, pc: u32, cpsr: u32) {
    state.set_cpsr(cpsr);
    state.set_pc(pc);
    state.monitor.open = false;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mmu::Access;
    use crate::state::Psr;

    const PC: u32 = 0x8000_1000;
    /// User mode, N and C set, Q set, GE = 0b1010, nothing masked.
    const CPSR: u32 = 0xa80a_0010;

    /// Returns a core in the middle of a user program.
    fn running(thumb: bool) -> CpuState {
        let mut s = CpuState::reset(0);
        s.cp15.vbar = 0x4000_0020;
        s.set_cpsr(if thumb { CPSR | 1 << 5 } else { CPSR });
        s.r[15] = PC;
        s.r[14] = 0x1111;
        s
    }

    fn fault(kind: FaultKind, level: u8, access: Access) -> Fault {
        Fault {
            kind,
            level,
            domain: 5,
            va: 0xdead_beec,
            access,
        }
    }

    fn data_abort() -> Exception {
        Exception::DataAbort(fault(FaultKind::Permission, 2, Access::Write))
    }

    fn prefetch_abort() -> Exception {
        Exception::PrefetchAbort(fault(FaultKind::Translation, 1, Access::Execute))
    }

    #[test]
    fn each_exception_has_its_mode_link_vector_and_masks() {
        // Mode, offset, LR - r15 in A32 and T32, and the A, I and F bits.
        for (e, mode, offset, arm, thumb, masks) in [
            (Exception::Undefined, Mode::Und, 0x04, 4, 2, 0x080),
            (Exception::Svc, Mode::Svc, 0x08, 0, 0, 0x080),
            (prefetch_abort(), Mode::Abt, 0x0c, 4, 4, 0x180),
            (data_abort(), Mode::Abt, 0x10, 8, 8, 0x180),
            (Exception::Irq, Mode::Irq, 0x18, 4, 4, 0x180),
            (Exception::Fiq, Mode::Fiq, 0x1c, 4, 4, 0x1c0),
        ] {
            for (t32, link) in [(false, arm), (true, thumb)] {
                let mut s = running(t32);
                let before = s.cpsr();
                enter(&mut s, e);
                assert_eq!(s.psr.mode, mode, "{e:?}");
                assert_eq!(s.r[14], PC + link, "{e:?}");
                assert_eq!(s.spsr(), before, "{e:?}");
                assert_eq!(s.r[15], 0x4000_0020 + offset, "{e:?}");
                assert_eq!(s.cpsr() & 0x1c0, masks, "{e:?}");
                assert!(!s.psr.thumb && !s.psr.big_endian && s.psr.it == 0);
                // Flags, Q and GE pass through.
                assert_eq!(s.cpsr() & 0xf80f_0000, CPSR & 0xf80f_0000);
                assert_eq!(s.reg_of_mode(14, Mode::Usr), 0x1111);
            }
        }
    }

    #[test]
    fn sctlr_decides_where_and_how_handlers_run() {
        let mut s = running(false);
        s.psr.it = 0x1c;
        s.cp15.sctlr |= sctlr::V | sctlr::TE | sctlr::EE;
        enter(&mut s, Exception::Irq);
        assert_eq!(s.r[15], 0xffff_0018);
        assert!(s.psr.thumb && s.psr.big_endian);
        assert_eq!(s.psr.it, 0);
        assert_eq!(Psr::from_bits(s.spsr(), Mode::Usr).it, 0x1c);
    }

    #[test]
    fn masks_that_were_set_stay_set() {
        let mut s = running(false);
        (s.psr.fiq_masked, s.psr.abort_masked) = (true, true);
        enter(&mut s, Exception::Svc);
        assert_eq!(s.cpsr() & 0x1c0, 0x1c0);
    }

    /// Returns DFSR and DFAR after a Data Abort.
    fn on_data_abort(s: &mut CpuState) -> (u32, u32) {
        enter(s, data_abort());
        (s.cp15.dfsr, s.cp15.dfar)
    }

    /// Returns IFSR and IFAR after a Prefetch Abort.
    fn on_prefetch_abort(s: &mut CpuState) -> (u32, u32) {
        enter(s, prefetch_abort());
        (s.cp15.ifsr, s.cp15.ifar)
    }

    #[test]
    fn fault_registers_in_the_short_format() {
        let mut s = running(false);
        // WnR, domain 5, FS = 0b01111.
        assert_eq!(on_data_abort(&mut s), (0x85f, 0xdead_beec));
        assert_eq!((s.cp15.ifsr, s.cp15.ifar), (0, 0));
        assert_eq!(on_prefetch_abort(&mut s), (0x005, 0xdead_beec));
    }

    #[test]
    fn fault_registers_in_the_long_format() {
        let mut s = running(false);
        s.cp15.ttbcr = ttbcr::EAE;
        // WnR, LPAE, STATUS = 0b001110.
        assert_eq!(on_data_abort(&mut s), (0xa0e, 0xdead_beec));
        assert_eq!(on_prefetch_abort(&mut s), (0x205, 0xdead_beec));
    }

    #[test]
    fn bkpt_is_a_debug_event_without_an_address() {
        let mut s = running(true);
        s.cp15.ifar = 0x77;
        enter(&mut s, Exception::PrefetchAbort(Fault::breakpoint(PC)));
        assert_eq!((s.cp15.ifsr, s.cp15.ifar), (0x002, 0x77));
        assert_eq!(s.r[14], PC + 4);
        let mut s = running(false);
        s.cp15.ttbcr = ttbcr::EAE;
        enter(&mut s, Exception::PrefetchAbort(Fault::breakpoint(PC)));
        assert_eq!(s.cp15.ifsr, 0x222);
    }

    #[test]
    fn entry_and_return_are_inverse() {
        for thumb in [false, true] {
            let mut s = running(thumb);
            s.psr.it = if thumb { 0x8c } else { 0 };
            let before = s.clone();
            enter(&mut s, Exception::Irq);
            s.monitor.open = true;
            let (pc, cpsr) = (s.r[14] - 4, s.spsr());
            return_to(&mut s, pc, cpsr);
            assert_eq!((s.r, s.cpsr()), (before.r, before.cpsr()));
            assert!(!s.monitor.open);
        }
    }

    #[test]
    fn a_return_drops_address_bits_and_modes_that_do_not_exist() {
        let mut s = CpuState::reset(0);
        return_to(&mut s, 0x1003, 0x1d6); // Monitor mode
        assert_eq!((s.psr.mode, s.r[15]), (Mode::Svc, 0x1000));
        return_to(&mut s, 0x1003, 0x1f3); // T32
        assert_eq!(s.r[15], 0x1002);
    }
}
