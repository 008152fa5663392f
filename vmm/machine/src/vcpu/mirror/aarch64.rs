//! Cores of a 64-bit guest, as copies that never run.

use arm32::Power;

use super::super::aarch64::state::EL1H;
use super::super::aarch64::{Aarch64Cores, Aarch64State, Pstate};
use super::super::observe::Cores;
use super::{CoreRequest, Masked, Mirror, RegisterValues, spec};

/// BRK, with a number that Linux uses for nothing (arch/arm64/include/asm/brk-imm.h).
const TRAP: [u8; 4] = (0xd420_0000_u32 | IMMEDIATE << 5).to_le_bytes();
const IMMEDIATE: u32 = 0xf1de;
/// SCTLR_EL1.M: the memory management unit is on.
const SCTLR_M: u64 = 1;
/// SCTLR_EL1.SPAN: an exception does not set PSTATE.PAN.
const SCTLR_SPAN: u64 = 1 << 23;
/// SCTLR_EL1.DSSBS: PSTATE.SSBS after an exception.
const SCTLR_DSSBS: u64 = 1 << 44;
/// Exception classes of breakpoint instructions in AArch64 and AArch32, and ESR_EL1.IL: it has 32
/// bits (Arm ARM DDI 0487 D19.2.37).
const EC_BRK: u64 = 0x3c << 26;
const EC_BKPT: u64 = 0x38 << 26;
const ESR_IL: u64 = 1 << 25;
/// From one exception vector to the next one, and all of them (D1.3.2).
const VECTOR: u64 = 0x80;
const VECTORS: u64 = 0x800;

/// A system register in the state of a copy.
struct System {
    id: u64,
    get: fn(&Aarch64State) -> u64,
    set: fn(&mut Aarch64State, u64),
}

macro_rules! system {
    ($($id:ident: $field:ident;)*) => {
        [$(System {
            id: spec::$id,
            get: |s| s.$field,
            set: |s, value| s.$field = value,
        }),*]
    };
}

/// Those of 64 bits.
const SYSTEM: [System; 20] = system! {
    SP_EL0: sp_el0;
    SP_EL1: sp_el1;
    PC: pc;
    ELR_EL1: elr;
    SPSR_EL1: spsr;
    SCTLR: sctlr;
    CPACR: cpacr;
    TTBR0: ttbr0;
    TTBR1: ttbr1;
    TCR: tcr;
    ESR: esr;
    FAR: far;
    PAR: par;
    MAIR: mair;
    VBAR: vbar;
    CONTEXTIDR: contextidr;
    TPIDR_EL1: tpidr_el1;
    TPIDR_EL0: tpidr_el0;
    TPIDRRO_EL0: tpidrro_el0;
    CNTKCTL: cntkctl;
};

impl Mirror for Aarch64Cores {
    fn wanted(&self) -> Vec<u64> {
        let core = (0..31).map(spec::x).chain([spec::PSTATE]);
        let system = SYSTEM.iter().map(|register| register.id);
        let floats = (0..32).map(spec::v).chain([spec::FPSR, spec::FPCR]);
        core.chain(system).chain(floats).collect()
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "each register is told of with no more bits than it has"
    )]
    fn load(&mut self, core: usize, registers: &RegisterValues, power: Power) {
        let get = |id| registers.get(&id).copied().unwrap_or_default();
        let s = self.state_mut(core);
        for (n, x) in (0..).zip(&mut s.x) {
            *x = get(spec::x(n)) as u64;
        }
        // KVM sets SS to step a core: it is not the guest's.
        s.pstate = Pstate::from(get(spec::PSTATE) as u64).with_single_step(false);
        for register in &SYSTEM {
            (register.set)(s, get(register.id) as u64);
        }
        for (n, v) in (0..).zip(&mut s.v) {
            *v = get(spec::v(n));
        }
        (s.fpsr, s.fpcr) = (get(spec::FPSR) as u32, get(spec::FPCR) as u32);
        self.set_power(core, power);
    }

    fn store(&self, core: usize) -> RegisterValues {
        let s = self.state(core);
        let mut registers: RegisterValues = (0..).map(spec::x).zip(s.x.map(u128::from)).collect();
        registers.insert(spec::PSTATE, u64::from(s.pstate).into());
        for register in &SYSTEM {
            registers.insert(register.id, (register.get)(s).into());
        }
        registers.extend((0..).map(spec::v).zip(s.v));
        registers.extend([(spec::FPSR, s.fpsr.into()), (spec::FPCR, s.fpcr.into())]);
        registers
    }

    fn shown(&mut self) -> Cores<'_> {
        Cores::Aarch64(self)
    }

    fn set_current(&mut self, core: usize) {
        Self::set_current(self, core);
    }

    fn breakpoints(&self) -> Vec<u64> {
        Self::breakpoints(self).collect()
    }

    fn request(&self, core: usize) -> CoreRequest {
        CoreRequest {
            step: self.is_stepped(core),
            held: self.is_held(core),
        }
    }

    fn pc(&self, core: usize) -> u64 {
        self.state(core).pc
    }

    fn maps(&self, core: usize) -> bool {
        self.state(core).sctlr & SCTLR_M != 0
    }

    fn locate(&self, core: usize, va: u64) -> Option<u64> {
        let maps = self.maps(core);
        maps.then(|| self.translate(core, va)).flatten()
    }

    fn trap(&self, _core: usize, _va: u64) -> &'static [u8] {
        &TRAP
    }

    fn is_trap(&self, core: usize, code: [u8; 4]) -> bool {
        let code = u32::from_le_bytes(code);
        match (
            self.state(core).pstate.aarch32(),
            self.state(core).pstate.thumb(),
        ) {
            // Any number in it: Linux uses several (arch/arm64/include/asm/brk-imm.h).
            (false, _) => code & 0xffe0_001f == 0xd420_0000,
            (true, false) => code & 0x0ff0_00f0 == 0x0120_0070,
            (true, true) => code & 0xff00 == 0xbe00,
        }
    }

    /// Takes an exception as AArch64.TakeException does (Arm ARM DDI 0487, shared/exceptions), to
    /// EL1.
    fn take_own_trap(&mut self, core: usize, code: [u8; 4]) {
        let s = self.state_mut(core);
        let code = u32::from_le_bytes(code);
        let number = |high: u32, low: u32| u64::from(code >> 4 & high | code & low);
        // BKPT of T32 has 16 bits, so that its IL is clear.
        s.esr = match (s.pstate.aarch32(), s.pstate.thumb()) {
            (false, _) => EC_BRK | ESR_IL | u64::from(code >> 5 & 0xffff),
            (true, false) => EC_BKPT | ESR_IL | number(0xfff0, 0xf),
            (true, true) => EC_BKPT | number(0, 0xff),
        };
        // By where it comes from: this level with SP_EL1, with SP_EL0, a program in AArch64, one in
        // AArch32.
        let vector = match (s.in_kernel(), s.pstate.aarch32()) {
            (true, _) if s.pstate.mode() == EL1H => 4,
            (true, _) => 0,
            (false, false) => 8,
            (false, true) => 12,
        };
        (s.elr, s.spsr) = (s.pc, s.pstate.into());
        // VBAR_EL1[10:0] are reserved, whatever a guest has written there.
        s.pc = s.vbar & !(VECTORS - 1) | (vector * VECTOR);
        // A status of AArch32 has other bits: only the flags mean the same.
        let before = match s.pstate.aarch32() {
            true => Pstate::new().with_flags(s.pstate.flags()),
            false => s.pstate,
        };
        s.pstate = before
            .with_mode(EL1H)
            .with_debug_masked(true)
            .with_abort_masked(true)
            .with_irq_masked(true)
            .with_fiq_masked(true)
            .with_branch_type(0)
            .with_ssbs(s.sctlr & SCTLR_DSSBS != 0)
            .with_illegal(false)
            .with_pan(before.pan() || s.sctlr & SCTLR_SPAN == 0)
            .with_uao(false);
    }

    fn mask(&mut self, core: usize, code: [u8; 4]) -> Option<Masked> {
        let s = self.state_mut(core);
        let aarch32 = s.pstate.aarch32();
        // A program in AArch32 cannot mask interrupts, nor see whether they are.
        if !aarch32 && concerns_masks(u32::from_le_bytes(code)) {
            return None;
        }
        let before = s.pstate;
        s.pstate = before.with_irq_masked(true).with_fiq_masked(true);
        Some(Masked(before.into()))
    }

    fn unmask(&mut self, core: usize, Masked(before): Masked) {
        let s = self.state_mut(core);
        let before = Pstate::from(before);
        let mask = |now: Pstate| {
            let irq = now.with_irq_masked(before.irq_masked());
            irq.with_fiq_masked(before.fiq_masked())
        };
        // Wraps: below the vectors it is far too large.
        let offset = s.pc.wrapping_sub(s.vbar & !(VECTORS - 1));
        if s.in_kernel() && offset < VECTORS && offset.is_multiple_of(VECTOR) {
            // It made an exception: what comes back from it shall not be masked.
            s.spsr = mask(Pstate::from(s.spsr)).into();
        } else {
            s.pstate = mask(s.pstate);
        }
    }
}

/// Returns whether an instruction of AArch64 reads, writes or restores the masks: MRS and MSR of
/// DAIF, DAIFSet, DAIFClr, and ERET with or without authentication (Arm ARM DDI 0487 C6.2).
const fn concerns_masks(code: u32) -> bool {
    // In this order: MRS and MSR of DAIF, which differ in bit 21; DAIFSet and
    // DAIFClr; ERET; ERETAA and ERETAB.
    code & 0xffdf_ffe0 == 0xd51b_4220
        || code & 0xffff_f0df == 0xd503_40df
        || code == 0xd69f_03e0
        || code | 0x400 == 0xd69f_0fff
}

#[cfg(test)]
mod tests;
