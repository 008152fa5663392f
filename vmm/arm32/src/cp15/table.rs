//! The table of 32-bit registers that MCR and MRC reach, apart from the debug registers.
//!
//! An encoding that is not in the table is UNDEFINED, except that unallocated identification
//! registers read as zero (ARM ARM DDI 0406C B3.17.1).

use super::{Cp15, CpReg, id};
use TlbScope::{All, Asid, Va};
use Who::{Barriers, Counters, Everyone, Kernel, Monitors, Nobody, PhysTimer, VirtTimer};

/// Who may perform an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Nobody: there is no such access.
    Nobody,
    /// PL1.
    Kernel,
    /// PL1 and PL0.
    Everyone,
    /// PL1, and PL0 if CNTKCTL lets it read either counter.
    Counters,
    /// PL1, and PL0 if CNTKCTL.PL0PTEN is set.
    PhysTimer,
    /// PL1, and PL0 if CNTKCTL.PL0VTEN is set.
    VirtTimer,
    /// PL1, and PL0 if PMUSERENR.EN is set.
    Monitors,
    /// Everyone, as long as SCTLR.CP15BEN is set.
    Barriers,
}

/// What a register is.
#[derive(Clone, Copy)]
pub enum Kind {
    /// A constant.
    Constant(u32),
    /// Plain storage: reads return it, writes change the bits of `writable`.
    Plain {
        /// The storage.
        slot: fn(&mut Cp15) -> &mut u32,
        /// Bits that software can change.
        writable: u32,
    },
    /// Needs code of its own.
    Special(Special),
    /// A generic timer register.
    Timer(TimerReg),
    /// A performance monitor register, by opc2 and (in bits 7:4) CRm.
    Pmu(u8),
    /// A write-only operation.
    Operation(Operation),
}

/// Registers with code of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Special {
    /// MPIDR.
    Mpidr,
    /// CCSIDR.
    Ccsidr,
    /// CPACR.
    Cpacr,
    /// TTBR0, low half.
    Ttbr0,
    /// TTBR1, low half.
    Ttbr1,
    /// TTBCR.
    Ttbcr,
    /// PAR, low half.
    Par,
    /// ISR.
    Isr,
    /// L2CTLR.
    L2ctlr,
}

/// Generic timer registers of 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimerReg {
    /// CNTFRQ.
    Frequency,
    /// CNTKCTL.
    KernelControl,
    /// CNTP_TVAL.
    PhysValue,
    /// CNTP_CTL.
    PhysControl,
    /// CNTV_TVAL.
    VirtValue,
    /// CNTV_CTL.
    VirtControl,
}

/// Which translations a TLB operation names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlbScope {
    /// All.
    All,
    /// By address (the ASID is ignored: dropping more is allowed).
    Va,
    /// By ASID.
    Asid,
}

/// Write-only operations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Data cache, branch predictor and barrier operations: nothing to do, for memory is always
    /// coherent.
    Nothing,
    /// CP15ISB.
    Isb,
    /// Invalidation of instruction caches, of all or of a line: nothing to do unless others write
    /// memory who do not say so. Then all is looked at that may have been written, of all cores.
    Fetch,
    /// TLB invalidation.
    Tlb {
        /// What is dropped.
        scope: TlbScope,
        /// Whether it reaches the other cores.
        shared: bool,
    },
    /// Address translation into PAR.
    Translate {
        /// For a write, not a read.
        write: bool,
        /// At PL1, not PL0.
        privileged: bool,
    },
}

/// One register or operation.
pub struct Register {
    /// The name in the architecture.
    pub name: &'static str,
    /// Its encoding.
    pub reg: CpReg,
    /// Who may read it.
    pub read: Who,
    /// Who may write it.
    pub write: Who,
    /// What it is.
    pub kind: Kind,
}

/// CRn, opc1, CRm and opc2: the order of the architecture's summary tables.
type Encoding = [u8; 4];

const fn entry(name: &'static str, at: Encoding, read: Who, write: Who, kind: Kind) -> Register {
    Register {
        name,
        reg: CpReg::p15(at),
        read,
        write,
        kind,
    }
}

/// Returns the entry of a constant that PL1 reads.
const fn id(name: &'static str, at: Encoding, value: u32) -> Register {
    entry(name, at, Kernel, Nobody, Kind::Constant(value))
}

/// Returns the entry of plain storage for PL1.
const fn rw(
    name: &'static str,
    at: Encoding,
    writable: u32,
    slot: fn(&mut Cp15) -> &mut u32,
) -> Register {
    let kind = Kind::Plain { slot, writable };
    entry(name, at, Kernel, Kernel, kind)
}

/// Returns the entry of a register that reads as zero and ignores writes.
const fn raz(name: &'static str, at: Encoding) -> Register {
    entry(name, at, Kernel, Kernel, Kind::Constant(0))
}

const fn special(name: &'static str, at: Encoding, write: Who, which: Special) -> Register {
    entry(name, at, Kernel, write, Kind::Special(which))
}

/// Returns the entry of an operation of PL1.
const fn op(name: &'static str, at: Encoding, operation: Operation) -> Register {
    let kind = Kind::Operation(operation);
    entry(name, at, Nobody, Kernel, kind)
}

const fn barrier(name: &'static str, at: Encoding, operation: Operation) -> Register {
    let kind = Kind::Operation(operation);
    entry(name, at, Nobody, Barriers, kind)
}

const fn tlb(name: &'static str, crm: u8, opc2: u8, scope: TlbScope) -> Register {
    // CRm 3 is the Inner Shareable form of an operation: it reaches the other cores.
    let shared = crm == 3;
    op(name, [8, 0, crm, opc2], Operation::Tlb { scope, shared })
}

const fn ats(name: &'static str, opc2: u8) -> Register {
    // The low bits of opc2 select the access and the privilege level.
    let (write, privileged) = (opc2 & 1 != 0, opc2 < 2);
    op(
        name,
        [7, 0, 8, opc2],
        Operation::Translate { write, privileged },
    )
}

const fn timer(
    name: &'static str,
    crm: u8,
    opc2: u8,
    read: Who,
    write: Who,
    t: TimerReg,
) -> Register {
    entry(name, [14, 0, crm, opc2], read, write, Kind::Timer(t))
}

const fn pmu(name: &'static str, crm: u8, opc2: u8, read: Who, write: Who) -> Register {
    entry(
        name,
        [9, 0, crm, opc2],
        read,
        write,
        Kind::Pmu(crm << 4 | opc2),
    )
}

/// Returns the same register on coprocessor 14.
const fn on_14(mut register: Register) -> Register {
    register.reg.coproc = 14;
    register
}

const NOTHING: Operation = Operation::Nothing;

#[rustfmt::skip]
const TABLE: &[Register] = &[
    // c0: identification.
    id("MIDR", [0, 0, 0, 0], id::MIDR),
    id("CTR", [0, 0, 0, 1], id::CTR),
    id("TCMTR", [0, 0, 0, 2], 0),
    id("TLBTR", [0, 0, 0, 3], 0),
    id("MIDR", [0, 0, 0, 4], id::MIDR),
    special("MPIDR", [0, 0, 0, 5], Nobody, Special::Mpidr),
    id("REVIDR", [0, 0, 0, 6], id::REVIDR),
    id("MIDR", [0, 0, 0, 7], id::MIDR),
    id("ID_PFR0", [0, 0, 1, 0], id::PFR0),
    id("ID_PFR1", [0, 0, 1, 1], id::PFR1),
    id("ID_DFR0", [0, 0, 1, 2], id::DFR0),
    id("ID_AFR0", [0, 0, 1, 3], 0),
    id("ID_MMFR0", [0, 0, 1, 4], id::MMFR0),
    id("ID_MMFR1", [0, 0, 1, 5], id::MMFR1),
    id("ID_MMFR2", [0, 0, 1, 6], id::MMFR2),
    id("ID_MMFR3", [0, 0, 1, 7], id::MMFR3),
    id("ID_ISAR0", [0, 0, 2, 0], id::ISAR0),
    id("ID_ISAR1", [0, 0, 2, 1], id::ISAR1),
    id("ID_ISAR2", [0, 0, 2, 2], id::ISAR2),
    id("ID_ISAR3", [0, 0, 2, 3], id::ISAR3),
    id("ID_ISAR4", [0, 0, 2, 4], id::ISAR4),
    id("ID_ISAR5", [0, 0, 2, 5], 0),
    special("CCSIDR", [0, 1, 0, 0], Nobody, Special::Ccsidr),
    id("CLIDR", [0, 1, 0, 1], id::CLIDR),
    id("AIDR", [0, 1, 0, 7], 0),
    rw("CSSELR", [0, 2, 0, 0], 0xf, |c| &mut c.csselr),
    // c1: system control.
    rw("SCTLR", [1, 0, 0, 0], super::sctlr::WRITABLE, |c| &mut c.sctlr),
    rw("ACTLR", [1, 0, 0, 1], u32::MAX, |c| &mut c.actlr),
    special("CPACR", [1, 0, 0, 2], Kernel, Special::Cpacr),
    // Coprocessors 10 and 11 are open to the non-secure world, and so is ACTLR.SMP.
    id("NSACR", [1, 0, 1, 2], 0x0004_0c00),
    // c2, c3: translation tables and domains.
    special("TTBR0", [2, 0, 0, 0], Kernel, Special::Ttbr0),
    special("TTBR1", [2, 0, 0, 1], Kernel, Special::Ttbr1),
    special("TTBCR", [2, 0, 0, 2], Kernel, Special::Ttbcr),
    rw("DACR", [3, 0, 0, 0], u32::MAX, |c| &mut c.dacr),
    // c5, c6: faults.
    rw("DFSR", [5, 0, 0, 0], 0x3eff, |c| &mut c.dfsr),
    rw("IFSR", [5, 0, 0, 1], 0x163f, |c| &mut c.ifsr),
    rw("ADFSR", [5, 0, 1, 0], u32::MAX, |c| &mut c.adfsr),
    rw("AIFSR", [5, 0, 1, 1], u32::MAX, |c| &mut c.aifsr),
    rw("DFAR", [6, 0, 0, 0], u32::MAX, |c| &mut c.dfar),
    rw("IFAR", [6, 0, 0, 2], u32::MAX, |c| &mut c.ifar),
    // c7: caches, branch predictors, barriers, address translation. Maintenance by address of a
    // page that is not mapped takes no fault: there is no cache to look it up in.
    op("NOP (was WFI)", [7, 0, 0, 4], NOTHING),
    op("ICIALLUIS", [7, 0, 1, 0], Operation::Fetch),
    op("BPIALLIS", [7, 0, 1, 6], NOTHING),
    special("PAR", [7, 0, 4, 0], Kernel, Special::Par),
    op("ICIALLU", [7, 0, 5, 0], Operation::Fetch),
    op("ICIMVAU", [7, 0, 5, 1], Operation::Fetch),
    barrier("CP15ISB", [7, 0, 5, 4], Operation::Isb),
    op("BPIALL", [7, 0, 5, 6], NOTHING),
    op("BPIMVA", [7, 0, 5, 7], NOTHING),
    op("DCIMVAC", [7, 0, 6, 1], NOTHING),
    op("DCISW", [7, 0, 6, 2], NOTHING),
    ats("ATS1CPR", 0),
    ats("ATS1CPW", 1),
    ats("ATS1CUR", 2),
    ats("ATS1CUW", 3),
    op("DCCMVAC", [7, 0, 10, 1], NOTHING),
    op("DCCSW", [7, 0, 10, 2], NOTHING),
    barrier("CP15DSB", [7, 0, 10, 4], NOTHING),
    barrier("CP15DMB", [7, 0, 10, 5], NOTHING),
    op("DCCMVAU", [7, 0, 11, 1], NOTHING),
    op("NOP (was prefetch)", [7, 0, 13, 1], NOTHING),
    op("DCCIMVAC", [7, 0, 14, 1], NOTHING),
    op("DCCISW", [7, 0, 14, 2], NOTHING),
    // c8: TLB.
    tlb("TLBIALLIS", 3, 0, All),
    tlb("TLBIMVAIS", 3, 1, Va),
    tlb("TLBIASIDIS", 3, 2, Asid),
    tlb("TLBIMVAAIS", 3, 3, Va),
    tlb("ITLBIALL", 5, 0, All),
    tlb("ITLBIMVA", 5, 1, Va),
    tlb("ITLBIASID", 5, 2, Asid),
    tlb("DTLBIALL", 6, 0, All),
    tlb("DTLBIMVA", 6, 1, Va),
    tlb("DTLBIASID", 6, 2, Asid),
    tlb("TLBIALL", 7, 0, All),
    tlb("TLBIMVA", 7, 1, Va),
    tlb("TLBIASID", 7, 2, Asid),
    tlb("TLBIMVAA", 7, 3, Va),
    // c9: performance monitors and the L2 cache.
    pmu("PMCR", 12, 0, Monitors, Monitors),
    pmu("PMCNTENSET", 12, 1, Monitors, Monitors),
    pmu("PMCNTENCLR", 12, 2, Monitors, Monitors),
    pmu("PMOVSR", 12, 3, Monitors, Monitors),
    pmu("PMSWINC", 12, 4, Nobody, Monitors),
    pmu("PMSELR", 12, 5, Monitors, Monitors),
    pmu("PMCEID0", 12, 6, Monitors, Nobody),
    pmu("PMCEID1", 12, 7, Monitors, Nobody),
    pmu("PMCCNTR", 13, 0, Monitors, Monitors),
    pmu("PMXEVTYPER", 13, 1, Monitors, Monitors),
    pmu("PMXEVCNTR", 13, 2, Monitors, Monitors),
    pmu("PMUSERENR", 14, 0, Everyone, Kernel),
    pmu("PMINTENSET", 14, 1, Kernel, Kernel),
    pmu("PMINTENCLR", 14, 2, Kernel, Kernel),
    pmu("PMOVSSET", 14, 3, Monitors, Monitors),
    special("L2CTLR", [9, 1, 0, 2], Kernel, Special::L2ctlr),
    rw("L2ECTLR", [9, 1, 0, 3], 0x6000_0000, |c| &mut c.l2ectlr),
    // c10: memory attributes. MAIR0 and MAIR1 are PRRR and NMRR under TTBCR.EAE.
    rw("PRRR", [10, 0, 2, 0], u32::MAX, |c| &mut c.prrr_mair0),
    rw("NMRR", [10, 0, 2, 1], u32::MAX, |c| &mut c.nmrr_mair1),
    rw("AMAIR0", [10, 0, 3, 0], u32::MAX, |c| &mut c.amair0),
    rw("AMAIR1", [10, 0, 3, 1], u32::MAX, |c| &mut c.amair1),
    // c12, c13: vectors, context and thread registers.
    rw("VBAR", [12, 0, 0, 0], 0xffff_ffe0, |c| &mut c.vbar),
    special("ISR", [12, 0, 1, 0], Nobody, Special::Isr),
    raz("FCSEIDR", [13, 0, 0, 0]),
    rw("CONTEXTIDR", [13, 0, 0, 1], u32::MAX, |c| &mut c.contextidr),
    entry("TPIDRURW", [13, 0, 0, 2], Everyone, Everyone,
        Kind::Plain { slot: |c| &mut c.tpidrurw, writable: u32::MAX }),
    entry("TPIDRURO", [13, 0, 0, 3], Everyone, Kernel,
        Kind::Plain { slot: |c| &mut c.tpidruro, writable: u32::MAX }),
    rw("TPIDRPRW", [13, 0, 0, 4], u32::MAX, |c| &mut c.tpidrprw),
    // c14: generic timer.
    timer("CNTFRQ", 0, 0, Counters, Nobody, TimerReg::Frequency),
    timer("CNTKCTL", 1, 0, Kernel, Kernel, TimerReg::KernelControl),
    timer("CNTP_TVAL", 2, 0, PhysTimer, PhysTimer, TimerReg::PhysValue),
    timer("CNTP_CTL", 2, 1, PhysTimer, PhysTimer, TimerReg::PhysControl),
    timer("CNTV_TVAL", 3, 0, VirtTimer, VirtTimer, TimerReg::VirtValue),
    timer("CNTV_CTL", 3, 1, VirtTimer, VirtTimer, TimerReg::VirtControl),
    // c15: implementation defined.
    rw("L2ACTLR", [15, 1, 0, 0], u32::MAX, |c| &mut c.l2actlr),
    raz("L2PFR", [15, 1, 0, 3]),
    rw("ACTLR2", [15, 1, 0, 4], u32::MAX, |c| &mut c.actlr2),
    // The GIC of a generic machine is found by its device tree, not here.
    id("CBAR", [15, 4, 0, 0], 0),
    // Coprocessor 14: ThumbEE and Jazelle.
    on_14(rw("TEECR", [0, 6, 0, 0], 1, |c| &mut c.teecr)),
    on_14(rw("TEEHBR", [1, 6, 0, 0], 0xffff_fffc, |c| &mut c.teehbr)),
    on_14(entry("JIDR", [0, 7, 0, 0], Everyone, Nobody, Kind::Constant(0))),
    on_14(raz("JOSCR", [1, 7, 0, 0])),
    on_14(raz("JMCR", [2, 7, 0, 0])),
];

/// What an unallocated identification register is.
static RESERVED_ID: Register = id("(reserved)", [0, 0, 0, 0], 0);

/// Index + 1 into [`TABLE`] by [`key`].
static INDEX: [u8; 1 << 15] = index();

const fn key(reg: CpReg) -> usize {
    let coproc = (reg.coproc & 1) as usize;
    let (crn, opc1) = ((reg.crn & 15) as usize, (reg.opc1 & 7) as usize);
    let (crm, opc2) = ((reg.crm & 15) as usize, (reg.opc2 & 7) as usize);
    coproc << 14 | crn << 10 | opc1 << 7 | crm << 3 | opc2
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the table has fewer than 255 rows"
)]
const fn index() -> [u8; 1 << 15] {
    assert!(TABLE.len() < 255);
    let mut index = [0; 1 << 15];
    let mut i = 0;
    while i < TABLE.len() {
        let at = key(TABLE[i].reg);
        assert!(index[at] == 0, "two registers share an encoding");
        index[at] = i as u8 + 1;
        i += 1;
    }
    index
}

/// Returns all registers of the table.
pub const fn registers() -> &'static [Register] {
    TABLE
}

/// Returns the register with this encoding, if there is one.
pub fn find(reg: CpReg) -> Option<&'static Register> {
    if !matches!(reg.coproc, 14 | 15) {
        return None;
    }
    match INDEX[key(reg)] {
        0 if reg.coproc == 15 && reg.crn == 0 && reg.opc1 == 0 && (1..8).contains(&reg.crm) => {
            Some(&RESERVED_ID)
        }
        0 => None,
        i => TABLE.get(usize::from(i) - 1),
    }
}
