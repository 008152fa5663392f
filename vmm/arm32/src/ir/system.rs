//! System registers, status registers and hints.

use arm32_isa::{HintOp, Insn};

use super::operands::{dest, reg};
use super::{Dest, Mop, ThreadRegister, Value};
use crate::exec::Op;

/// What kernels do often with status registers, domains and events. Whatever else is asked for, and
/// whatever a program may not do, is left to the handler.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SystemMop {
    /// `d` = CPSR as MRS shows it.
    ReadStatus {
        /// The result, R0 to R14.
        d: Dest,
    },
    /// Masks exceptions, or no longer, as CPS does. Those that are `None` stay.
    SetMasks {
        /// Asynchronous aborts.
        abort: Option<bool>,
        /// IRQs.
        irq: Option<bool>,
        /// FIQs.
        fiq: Option<bool>,
    },
    /// I and F become bits 7 and 6 of `x`, if bits 4 to 0 are the present mode: MSR of the lowest
    /// byte of CPSR.
    WriteMasks {
        /// The byte.
        x: Value,
    },
    /// `d` = DACR.
    ReadDomains {
        /// The result, R0 to R14.
        d: Dest,
    },
    /// DACR = `x`, if the software TLB knows the set of that.
    WriteDomains {
        /// What it becomes.
        x: Value,
    },
    /// SEV where there is one core.
    SignalEvent,
}

/// Adds the operations of system instructions.
pub fn lower(op: &Op, out: &mut Vec<Mop>) -> Option<()> {
    coprocessor(op, out).or_else(|| status(op, out))
}

/// Status registers and hints.
fn status(op: &Op, out: &mut Vec<Mop>) -> Option<()> {
    out.push(Mop::System(match op.insn {
        Insn::Mrs { rd, spsr: false } => SystemMop::ReadStatus { d: dest(rd)? },
        Insn::MsrReg {
            spsr: false,
            mask: 1,
            rn,
        } if rn != 15 => SystemMop::WriteMasks { x: reg(op, rn) },
        Insn::Cps {
            enable,
            flags,
            change_mode: false,
            ..
        } => {
            let of = |bit: u8| (flags & bit != 0).then_some(!enable);
            SystemMop::SetMasks {
                abort: of(4),
                irq: of(2),
                fiq: of(1),
            }
        }
        Insn::Hint {
            op: HintOp::Sev, ..
        } => SystemMop::SignalEvent,
        _ => return None,
    }));
    Some(())
}

/// Returns whether a kernel's write of this register of c7 does nothing: it maintains data caches
/// or branch predictors, of which there are none (ARM ARM DDI 0406C B4.2.1). Those of instructions
/// are left to their handler: after them the core sees what another process wrote.
const fn maintains_caches(crm: u8, opc2: u8) -> bool {
    matches!(
        (crm, opc2),
        (1, 6) | (5, 6 | 7) | (6 | 10 | 14, 1 | 2) | (11, 1)
    )
}

/// System registers that are read often, and writes that do nothing.
fn coprocessor(op: &Op, out: &mut Vec<Mop>) -> Option<()> {
    out.push(match op.insn {
        Insn::Mrc {
            cp: 15,
            opc1: 0,
            rt,
            crn: 13,
            crm: 0,
            opc2,
        } => Mop::ReadThread {
            d: dest(rt)?,
            register: match opc2 {
                2 => ThreadRegister::User,
                3 => ThreadRegister::UserReadOnly,
                4 => ThreadRegister::Kernel,
                _ => return None,
            },
        },
        Insn::Mcr {
            cp: 15,
            opc1: 0,
            crn: 7,
            crm,
            opc2,
            ..
        } if maintains_caches(crm, opc2) => Mop::ReadThread {
            // Only a program may not do either.
            d: Dest::None,
            register: ThreadRegister::Kernel,
        },
        // CNTPCT and CNTVCT: the virtual offset is 0.
        Insn::Mrrc {
            cp: 15,
            opc1: 0 | 1,
            rt,
            rt2,
            crm: 14,
        } if rt != 15 && rt2 != 15 => Mop::ReadCounter {
            low: rt,
            high: rt2,
            idx: op.idx,
        },
        // DACR, by which kernels open and close the memory of programs.
        Insn::Mrc {
            cp: 15,
            opc1: 0,
            rt,
            crn: 3,
            crm: 0,
            opc2: 0,
        } => Mop::System(SystemMop::ReadDomains { d: dest(rt)? }),
        Insn::Mcr {
            cp: 15,
            opc1: 0,
            rt,
            crn: 3,
            crm: 0,
            opc2: 0,
        } if rt != 15 => Mop::System(SystemMop::WriteDomains { x: reg(op, rt) }),
        _ => return None,
    });
    Some(())
}
