//! Handlers that wrap another: conditions, and R15 as an operand.

use crate::cpu::{Cpu, Flow};
use crate::exec::{Handler, Op};

/// Runs `inner` when condition `CC` holds.
fn cond<const CC: u8>(cpu: &mut Cpu, op: &Op) -> Flow {
    if cpu.s.flags.holds(CC) {
        (op.inner)(cpu, op)
    } else {
        Flow::Next
    }
}

/// Runs `inner` with R15 reading as the architecture says, and treats a write of R15 as
/// `ALUWritePC` does.
///
/// Condition 14 is none. Inside blocks R15 is not kept up to date, so an instruction that names it
/// as a register goes through here.
fn with_pc<const WRITES: bool>(cpu: &mut Cpu, op: &Op, cc: u8) -> Flow {
    if !cpu.s.flags.holds(cc) {
        return Flow::Next;
    }
    cpu.s.r[15] = op.pc_read();
    let flow = (op.inner)(cpu, op);
    // What was not done has written nothing.
    if WRITES && flow != Flow::Exception {
        let target = cpu.s.r[15];
        return cpu.alu_write_pc(target);
    }
    flow
}

macro_rules! pc_wrapper {
    ($name:ident, $writes:literal) => {
        fn $name<const CC: u8>(cpu: &mut Cpu, op: &Op) -> Flow {
            with_pc::<$writes>(cpu, op, CC)
        }
    };
}
pc_wrapper!(reads_pc, false);
pc_wrapper!(writes_pc, true);

macro_rules! by_cond {
    ($f:ident, $cc:expr) => {
        match $cc {
            0 => $f::<0>,
            1 => $f::<1>,
            2 => $f::<2>,
            3 => $f::<3>,
            4 => $f::<4>,
            5 => $f::<5>,
            6 => $f::<6>,
            7 => $f::<7>,
            8 => $f::<8>,
            9 => $f::<9>,
            10 => $f::<10>,
            11 => $f::<11>,
            12 => $f::<12>,
            13 => $f::<13>,
            _ => $f::<14>,
        }
    };
}

/// Returns the wrapper for condition `cond_code`.
pub fn conditional(cond_code: u8) -> Handler {
    by_cond!(cond, cond_code)
}

/// Returns the wrapper for an instruction that reads R15 as a register, under condition `cond_code`
/// (14: always).
pub fn reading_pc(cond_code: u8) -> Handler {
    by_cond!(reads_pc, cond_code)
}

/// Returns the wrapper for a data-processing instruction whose destination is R15.
pub fn writing_pc(cond_code: u8) -> Handler {
    by_cond!(writes_pc, cond_code)
}
