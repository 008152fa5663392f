//! Status registers, domains and events.

use super::super::{SystemMop, TEMPS};
use super::{put, value};
use crate::cpu::Cpu;
use crate::exec::system::CPSR_READABLE;

/// Runs one operation; `None` if it is left to the handler, and then nothing was done.
pub fn run(cpu: &mut Cpu, temps: &mut [u32; TEMPS], mop: SystemMop) -> Option<()> {
    let kernel = cpu.s.psr.mode.privileged();
    let quiet = !cpu.pins.any();
    match mop {
        SystemMop::ReadStatus { d } => {
            let read = cpu.s.cpsr() & CPSR_READABLE;
            put(cpu, temps, d, read);
        }
        SystemMop::SetMasks { abort, irq, fiq } if kernel && quiet => {
            let psr = &mut cpu.s.psr;
            psr.abort_masked = abort.unwrap_or(psr.abort_masked);
            psr.irq_masked = irq.unwrap_or(psr.irq_masked);
            psr.fiq_masked = fiq.unwrap_or(psr.fiq_masked);
        }
        SystemMop::WriteMasks { x } if kernel && quiet => {
            let x = value(cpu, temps, x);
            let psr = &mut cpu.s.psr;
            if x & 0x1f != psr.mode as u32 {
                return None;
            }
            (psr.irq_masked, psr.fiq_masked) = (x & 1 << 7 != 0, x & 1 << 6 != 0);
        }
        SystemMop::ReadDomains { d } if kernel => {
            let read = cpu.s.cp15.dacr;
            put(cpu, temps, d, read);
        }
        // Another value may go to another set of the TLB, of which the handler knows more.
        SystemMop::WriteDomains { x } if kernel && value(cpu, temps, x) == cpu.s.cp15.dacr => {}
        SystemMop::SignalEvent if cpu.is_alone() && quiet => cpu.s.event = true,
        _ => return None,
    }
    Some(())
}
