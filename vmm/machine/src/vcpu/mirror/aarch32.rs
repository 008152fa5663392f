//! Cores of a 32-bit guest, as cores of the emulated machine that never run.

#![expect(
    clippy::cast_possible_truncation,
    reason = "KVM tells of 32-bit registers as of the low halves of wider ones"
)]

use arm32::exception::{self, Exception};
use arm32::mmu::Fault;
use arm32::state::{CpuState, Flags, Mode, Psr, bank};
use arm32::{Cluster, Power};

use super::super::observe::Cores;
use super::{CoreRequest, Masked, Mirror, RegisterValues, spec};

/// BKPT in A32 (`e1200070`), and its lower half in T32: whoever comes there in either state stops.
const TRAP: [u8; 4] = 0xe120_be70_u32.to_le_bytes();
/// CPSR.I and CPSR.F.
const MASKS: u64 = 0xc0;
/// SCTLR.M: the memory management unit is on.
const SCTLR_M: u32 = 1;
/// FPSCR bits that AArch64 has in FPSR: flags and cumulative exceptions.
const FPSR_BITS: u32 = 0xf800_009f;

/// General-purpose registers that are those of a mode, as AArch64 numbers them (Arm ARM DDI 0487
/// G1.12).
const BANKED: [(u64, u8, Mode); 22] = [
    (8, 8, Mode::Usr),
    (9, 9, Mode::Usr),
    (10, 10, Mode::Usr),
    (11, 11, Mode::Usr),
    (12, 12, Mode::Usr),
    (13, 13, Mode::Usr),
    (14, 14, Mode::Usr),
    (16, 14, Mode::Irq),
    (17, 13, Mode::Irq),
    (18, 14, Mode::Svc),
    (19, 13, Mode::Svc),
    (20, 14, Mode::Abt),
    (21, 13, Mode::Abt),
    (22, 14, Mode::Und),
    (23, 13, Mode::Und),
    (24, 8, Mode::Fiq),
    (25, 9, Mode::Fiq),
    (26, 10, Mode::Fiq),
    (27, 11, Mode::Fiq),
    (28, 12, Mode::Fiq),
    (29, 13, Mode::Fiq),
    (30, 14, Mode::Fiq),
];

/// The modes of KVM's saved program states, in its order.
const SAVED: [Mode; 5] = [Mode::Svc, Mode::Abt, Mode::Und, Mode::Irq, Mode::Fiq];

/// A system register in the state of an emulated core.
struct System {
    id: u64,
    get: fn(&CpuState) -> u64,
    set: fn(&mut CpuState, u64),
}

macro_rules! system {
    ($($id:ident: $($field:ident).+ as $kind:ty;)*) => {
        [$(System {
            id: spec::$id,
            get: |s| u64::from(s.$($field).+),
            set: |s, value| s.$($field).+ = value as $kind,
        }),*]
    };
}

/// Those of one field. KVM keeps more in some, which [`Aarch32`] leaves as it is.
const SYSTEM: [System; 16] = system! {
    SCTLR: cp15.sctlr as u32;
    CPACR: cp15.cpacr as u32;
    TTBR0: cp15.ttbr0 as u64;
    TTBR1: cp15.ttbr1 as u64;
    TCR: cp15.ttbcr as u32;
    ESR: cp15.dfsr as u32;
    PAR: cp15.par as u64;
    VBAR: cp15.vbar as u32;
    CONTEXTIDR: cp15.contextidr as u32;
    TPIDR_EL1: cp15.tpidrprw as u32;
    TPIDR_EL0: cp15.tpidrurw as u32;
    TPIDRRO_EL0: cp15.tpidruro as u32;
    CNTKCTL: timer.kernel_control as u32;
    DACR32: cp15.dacr as u32;
    IFSR32: cp15.ifsr as u32;
    FPEXC32: fpexc as u32;
};

/// Copies of 32-bit cores.
pub struct Aarch32 {
    /// The cores, for observers.
    pub cluster: Cluster,
}

impl Aarch32 {
    fn state(&self, core: usize) -> &CpuState {
        self.cluster.state(core)
    }
}

impl Mirror for Aarch32 {
    fn shown(&mut self) -> Cores<'_> {
        Cores::Aarch32(&mut self.cluster)
    }

    fn wanted(&self) -> Vec<u64> {
        let core = (0..31).map(spec::x).chain([spec::PC, spec::PSTATE]);
        let saved = (0..5).map(spec::spsr);
        let system = SYSTEM.iter().map(|register| register.id);
        let pairs = [spec::FAR, spec::MAIR, spec::FPSR, spec::FPCR];
        // D0 to D31 are the halves of the first sixteen; AArch32 does not reach the others.
        let vectors = (0..16).map(spec::v);
        core.chain(saved)
            .chain(system)
            .chain(pairs)
            .chain(vectors)
            .collect()
    }

    fn load(&mut self, core: usize, registers: &RegisterValues, power: Power) {
        let get = |id| registers.get(&id).copied().unwrap_or_default();
        let word = |id| get(id) as u32;
        let s = self.cluster.state_mut(core);
        // KVM sets it to step a core: it is not the guest's.
        let cpsr = word(spec::PSTATE) & !(spec::SINGLE_STEP as u32);
        s.psr = Psr::from_bits(cpsr, s.psr.mode);
        s.flags = Flags::from_bits(cpsr);
        // R0 to R7 are the same in all modes.
        for (n, r) in (0..8).zip(&mut s.r) {
            *r = word(spec::x(n));
        }
        // After the status: those of the mode that it names go to `r`, the others to their banks.
        for (from, n, mode) in BANKED {
            s.set_reg_of_mode(n, mode, word(spec::x(from)));
        }
        s.r[15] = word(spec::PC);
        for (n, mode) in (0..).zip(SAVED) {
            s.banked.spsr[bank(mode)] = word(spec::spsr(n));
        }
        for register in &SYSTEM {
            (register.set)(s, get(register.id) as u64);
        }
        let (far, mair) = (get(spec::FAR) as u64, get(spec::MAIR) as u64);
        // FAR_EL1 and MAIR_EL1 hold two registers of AArch32 each, the first in the lower half (Arm
        // ARM DDI 0487).
        (s.cp15.dfar, s.cp15.ifar) = (far as u32, (far >> 32) as u32);
        (s.cp15.prrr_mair0, s.cp15.nmrr_mair1) = (mair as u32, (mair >> 32) as u32);
        for (n, pair) in (0..).zip(s.fp.d.chunks_exact_mut(2)) {
            let value = get(spec::v(n));
            // D registers are the halves of V registers.
            (pair[0], pair[1]) = (value as u64, (value >> 64) as u64);
        }
        s.fp.fpscr = word(spec::FPSR) & FPSR_BITS | word(spec::FPCR) & !FPSR_BITS;
        self.cluster.set_power(core, power);
    }

    fn store(&self, core: usize) -> RegisterValues {
        let s = self.state(core);
        let mut registers = RegisterValues::new();
        let mut set = |id, value: u64| registers.insert(id, value.into());
        set(spec::PSTATE, s.cpsr().into());
        set(spec::PC, s.r[15].into());
        for (n, r) in (0..8).zip(s.r) {
            set(spec::x(n), r.into());
        }
        for (to, n, mode) in BANKED {
            set(spec::x(to), s.reg_of_mode(n, mode).into());
        }
        for (n, mode) in (0..).zip(SAVED) {
            set(spec::spsr(n), s.banked.spsr[bank(mode)].into());
        }
        for register in &SYSTEM {
            set(register.id, (register.get)(s));
        }
        let pair = |low: u32, high: u32| u64::from(high) << 32 | u64::from(low);
        set(spec::FAR, pair(s.cp15.dfar, s.cp15.ifar));
        set(spec::MAIR, pair(s.cp15.prrr_mair0, s.cp15.nmrr_mair1));
        set(spec::FPSR, (s.fp.fpscr & FPSR_BITS).into());
        set(spec::FPCR, (s.fp.fpscr & !FPSR_BITS).into());
        for (n, pair) in (0..).zip(s.fp.d.chunks_exact(2)) {
            let value = u128::from(pair[1]) << 64 | u128::from(pair[0]);
            registers.insert(spec::v(n), value);
        }
        registers
    }

    fn set_current(&mut self, core: usize) {
        self.cluster.set_current(core);
    }

    fn breakpoints(&self) -> Vec<u64> {
        self.cluster.breakpoints().map(u64::from).collect()
    }

    fn request(&self, core: usize) -> CoreRequest {
        CoreRequest {
            step: self.cluster.is_stepped(core),
            held: self.cluster.is_held(core),
        }
    }

    fn pc(&self, core: usize) -> u64 {
        self.state(core).r[15].into()
    }

    fn maps(&self, core: usize) -> bool {
        self.state(core).cp15.sctlr & SCTLR_M != 0
    }

    fn locate(&self, core: usize, va: u64) -> Option<u64> {
        let va = u32::try_from(va).ok()?;
        let maps = self.maps(core);
        maps.then(|| self.cluster.translate(core, va)).flatten()
    }

    fn trap(&self, core: usize, va: u64) -> &'static [u8] {
        // Two bytes are an instruction of T32; of A32 there is none at an odd half.
        if !va.is_multiple_of(4) || self.state(core).psr.thumb {
            &TRAP[..2]
        } else {
            &TRAP
        }
    }

    fn is_trap(&self, core: usize, code: [u8; 4]) -> bool {
        let code = u32::from_le_bytes(code);
        // Any number in it: which one a guest uses is its own business.
        match self.state(core).psr.thumb {
            true => code & 0xff00 == 0xbe00,
            false => code & 0x0ff0_00f0 == 0x0120_0070,
        }
    }

    fn take_own_trap(&mut self, core: usize, _code: [u8; 4]) {
        let s = self.cluster.state_mut(core);
        // By the emulated processor's own code. It changes registers only,
        // which go back to KVM from here.
        let fault = Fault::breakpoint(s.r[15]);
        exception::enter(s, Exception::PrefetchAbort(fault));
    }

    fn mask(&mut self, core: usize, code: [u8; 4]) -> Option<Masked> {
        let s = self.cluster.state_mut(core);
        // An instruction that reads or changes the masks must find the guest's own.
        if concerns_status(u32::from_le_bytes(code), s.psr.thumb) {
            return None;
        }
        let before = s.cpsr();
        (s.psr.irq_masked, s.psr.fiq_masked) = (true, true);
        Some(Masked(before.into()))
    }

    fn unmask(&mut self, core: usize, Masked(before): Masked) {
        let s = self.cluster.state_mut(core);
        let mask = |now: u32| now & !(MASKS as u32) | (before & MASKS) as u32;
        let mode = Mode::from_bits(before as u32);
        // `mask` took no instruction that changes the mode, so another one comes from an exception.
        if mode == Some(s.psr.mode) {
            s.psr = Psr::from_bits(mask(s.cpsr()), s.psr.mode);
        } else {
            // It made an exception: what comes back from it shall not be masked.
            s.set_spsr(mask(s.spsr()));
        }
    }
}

/// Returns whether an instruction reads, writes or restores the program status as a whole, or may:
/// MRS, MSR, CPS, RFE, SRS, and returns from exceptions (Arm ARM DDI 0406C A8.8, B9.3).
const fn concerns_status(code: u32, thumb: bool) -> bool {
    if thumb {
        // Rather too many: one that is not masked may only see an interrupt first. CPS; all of 32
        // bits from 0xf000 on, for MRS, MSR and SUBS to PC; those from 0xe800 on, for RFE and SRS.
        let first = code & 0xffff;
        return first & 0xff00 == 0xb600 || first & 0xf000 == 0xf000 || first & 0xf800 == 0xe800;
    }
    let unconditional = code >> 28 == 0xf;
    // In this order: MRS; MSR, whose pattern BX and BLX fit, too; CPS; RFE and SRS; data processing
    // to PC that restores the status; LDM that does.
    code & 0x0fbf_0fff == 0x010f_0000
        || code & 0x0db0_f000 == 0x0120_f000
        || unconditional && code & 0x0ff1_0020 == 0x0100_0000
        || unconditional && code & 0x0e00_0000 == 0x0800_0000
        || code & 0x0c10_f000 == 0x0010_f000
        || code & 0x0e50_8000 == 0x0850_8000
}
