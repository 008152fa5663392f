//! What a coprocessor access is, and what it asks of the core: types only.

use crate::bus::Bus;

/// A coprocessor register, as MCR and MRC name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpReg {
    /// 14 (debug, ThumbEE, Jazelle) or 15 (system control).
    pub coproc: u8,
    /// 0 to 7.
    pub opc1: u8,
    /// 0 to 15.
    pub crn: u8,
    /// 0 to 15.
    pub crm: u8,
    /// 0 to 7.
    pub opc2: u8,
}

impl CpReg {
    /// Names a debug register, by CRn, CRm and opc2.
    pub const fn p14([crn, crm, opc2]: [u8; 3]) -> Self {
        Self {
            coproc: 14,
            opc1: 0,
            crn,
            crm,
            opc2,
        }
    }

    /// Names a system control register, by CRn, opc1, CRm and opc2: the order of the architecture's
    /// summary tables.
    pub const fn p15([crn, opc1, crm, opc2]: [u8; 4]) -> Self {
        Self {
            coproc: 15,
            opc1,
            crn,
            crm,
            opc2,
        }
    }
}

/// A 64-bit coprocessor register, as MCRR and MRRC name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpReg64 {
    /// 14 or 15.
    pub coproc: u8,
    /// 0 to 15.
    pub opc1: u8,
    /// 0 to 15.
    pub crm: u8,
}

/// What a system register may depend on besides the state of the core.
#[derive(Clone, Copy)]
pub struct Env<'a> {
    /// Physical memory, for address translation operations.
    pub bus: &'a dyn Bus,
    /// The system counter now (ticks of [`crate::timer::FREQUENCY_HZ`]).
    pub count: u64,
    /// Cycles since reset: instructions retired by this core, those of the current block included.
    pub cycles: u64,
    /// Cores in the cluster (1 to 4).
    pub cpu_count: u8,
    /// The IRQ input.
    pub irq: bool,
    /// The FIQ input.
    pub fiq: bool,
}

impl<'a> Env<'a> {
    /// Describes a core that is alone, has just been reset and has no interrupt.
    pub const fn at_reset(bus: &'a dyn Bus) -> Self {
        Self {
            bus,
            count: 0,
            cycles: 0,
            cpu_count: 1,
            irq: false,
            fiq: false,
        }
    }
}

/// The access is UNDEFINED: there is no such register, or not at this privilege level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the coprocessor access is undefined")]
pub struct Undefined;

/// Translations to drop, from least to most. Dropping more than asked is always allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TlbFlush {
    /// Nothing.
    #[default]
    None,
    /// The page or section that holds this address, in every address space.
    Va(u32),
    /// What belongs to one address space (nG set); spaces are not told apart.
    NonGlobal,
    /// Everything.
    All,
}

/// What the core loop must do after a write. The writing core's own share is spelled out in the
/// flags; `broadcast` is for the *others*.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// Translations this core must drop.
    pub tlb: TlbFlush,
    /// Translations the other cores must drop.
    pub broadcast: Option<TlbFlush>,
    /// The address space identifier changed: non-global translations are stale.
    pub asid: bool,
    /// TTBR0, TTBR1 or the walk-disable bits of TTBCR changed. The architecture lets translations
    /// live on until TLB maintenance or a change of `asid`.
    pub tables: bool,
    /// DACR changed: cached permissions of other DACR values do not hold.
    pub dacr: bool,
    /// What decides how descriptors are read changed (SCTLR.{M,AFE,TRE,WXN,UWXN,EE}, the rest of
    /// TTBCR, PRRR/MAIR0, NMRR/MAIR1): everything cached is stale.
    pub regime: bool,
    /// What instructions mean changed (SCTLR.{A,SW,CP15BEN}, CPACR): end the block and look again.
    pub execution: bool,
    /// Context synchronisation (CP15ISB): end the block.
    pub sync: bool,
    /// Instruction caches were invalidated: see what others have written who do not say so.
    pub fetch: bool,
    /// A timer register changed: re-evaluate lines and deadlines.
    pub timer: bool,
    /// A debug register changed: look anew at what makes debug events.
    pub debug: bool,
    /// A performance monitor register changed: re-evaluate the overflow line.
    pub pmu: bool,
}

impl Effects {
    /// Nothing is to be done.
    pub const NONE: Self = Self {
        tlb: TlbFlush::None,
        broadcast: None,
        asid: false,
        tables: false,
        dacr: false,
        regime: false,
        execution: false,
        sync: false,
        fetch: false,
        timer: false,
        debug: false,
        pmu: false,
    };
}
