//! Load-exclusive, store-exclusive and SWP.
//!
//! Cores take turns on one thread, so an exclusive sequence is broken only by another core's turn,
//! which closes the monitor, or by a device. A store-exclusive succeeds when the monitor is open
//! for its address and memory still holds what was loaded; a device's store of the same value in
//! between goes unseen.

use arm32_isa::ExSize;

use crate::cp15::sctlr;
use crate::cpu::{Cpu, Flow};
use crate::exec::access::read_cached;
use crate::exec::ldst::merge;
use crate::exec::{Op, fields};
use crate::mmu::Access;
use crate::state::Monitor;
use crate::tlb::Hit;

const fn bytes(size: ExSize) -> u32 {
    match size {
        ExSize::Byte => 1,
        ExSize::Half => 2,
        ExSize::Word => 4,
        ExSize::Double => 8,
    }
}

/// Executes LDREX, LDREXB, LDREXH and LDREXD.
#[expect(
    clippy::cast_possible_truncation,
    reason = "an access has at most 8 bytes"
)]
pub fn ldrex(cpu: &mut Cpu, op: &Op) -> Flow {
    fields!(cpu, op => Ldrex { size, rt, rt2, rn, imm });
    let (va, size) = (cpu.reg(rn).wrapping_add(imm), bytes(size));
    let (value, flow, pa) = match load_exclusive(cpu, op, va, size) {
        Ok(loaded) => loaded,
        Err(flow) => return flow,
    };
    // After the load: one that faults leaves the monitor as it was.
    cpu.s.monitor = Monitor {
        open: true,
        pa,
        size: size as u8,
        value,
    };
    let (first, second) = cpu.split(value, size);
    cpu.set_reg(rt, first);
    if size == 8 {
        cpu.set_reg(rt2, second);
    }
    flow
}

/// Returns the page of `va` and the physical address, if it is cached. Tags change neither what an
/// exclusive sees nor how it is translated: they depend on observers, and on which code is
/// predecoded.
fn cached(cpu: &Cpu, va: u32, size: u32, access: Access) -> Option<(Hit, u64)> {
    let page = cpu.cached(va, size, access)?;
    Some((page, cpu.physical(page.host.addr().get())?))
}

/// Returns the value at `va`, how to go on, and the physical address.
fn load_exclusive(cpu: &mut Cpu, op: &Op, va: u32, size: u32) -> Result<(u64, Flow, u64), Flow> {
    let privileged = cpu.s.psr.mode.privileged();
    if let Some((page, pa)) = cached(cpu, va, size, Access::Read) {
        let mut flow = Flow::Next;
        if page.watched {
            flow = cpu.watch(va, size, Access::Read, privileged, op.idx)?;
        }
        return Ok((read_cached(page.host, size), flow, pa));
    }
    let (value, flow) = cpu.load_general(va, size, privileged, true, op.idx)?;
    let t = cpu.probe(va, Access::Read, privileged)?;
    Ok((value, flow, t.pa))
}

/// Executes STREX, STREXB, STREXH and STREXD.
pub fn strex(cpu: &mut Cpu, op: &Op) -> Flow {
    fields!(cpu, op => Strex { size, rd, rt, rt2, rn, imm });
    let (va, size) = (cpu.reg(rn).wrapping_add(imm), bytes(size));
    let value = cpu.join(cpu.reg(rt), cpu.reg(rt2), size);
    match store_exclusive(cpu, op, va, size, value) {
        Ok((stored, flow)) => {
            cpu.set_reg(rd, u32::from(!stored));
            flow
        }
        Err(flow) => flow,
    }
}

fn store_exclusive(
    cpu: &mut Cpu,
    op: &Op,
    va: u32,
    size: u32,
    value: u64,
) -> Result<(bool, Flow), Flow> {
    let privileged = cpu.s.psr.mode.privileged();
    let cached = cached(cpu, va, size, Access::Write);
    let pa = match cached {
        Some((_, pa)) => pa,
        None => {
            cpu.check_alignment(va, size, true, Access::Write)?;
            cpu.probe(va, Access::Write, privileged)?.pa
        }
    };
    let monitor = cpu.s.monitor;
    if !monitor.open || monitor.pa != pa || u32::from(monitor.size) != size {
        cpu.s.monitor = Monitor::default();
        return Ok((false, Flow::Next));
    }
    // While the monitor stands: after a stop the instruction is tried again.
    let flow = cpu.watch(va, size, Access::Write, privileged, op.idx)?;
    cpu.s.monitor = Monitor::default();
    // Stores by other cores and devices since then show only in the value.
    if let Some((page, _)) = cached {
        if read_cached(page.host, size) != monitor.value {
            return Ok((false, flow));
        }
        let written = cpu.store_cached(page, va, size, value);
        return Ok((true, merge(flow, written)));
    }
    if cpu.load_unwatched(va, size, privileged, op.idx)? != monitor.value {
        return Ok((false, flow));
    }
    let stored = cpu.store_general(va, size, value, privileged, true, op.idx)?;
    Ok((true, merge(flow, stored)))
}

/// Executes CLREX.
pub fn clrex(cpu: &mut Cpu, _op: &Op) -> Flow {
    cpu.s.monitor.open = false;
    Flow::Next
}

/// Executes SWP and SWPB, when SCTLR.SW enables them.
#[expect(clippy::cast_possible_truncation, reason = "SWP swaps at most a word")]
pub fn swp(cpu: &mut Cpu, op: &Op) -> Flow {
    fields!(cpu, op => Swp { byte, rt, rt2, rn });
    if cpu.s.cp15.sctlr & sctlr::SW == 0 {
        return cpu.undefined();
    }
    let (va, size) = (cpu.reg(rn), if byte { 1 } else { 4 });
    let privileged = cpu.s.psr.mode.privileged();
    let value = cpu.in_memory_order(cpu.reg(rt2).into(), size);
    let swapped = cpu.load_general(va, size, privileged, true, op.idx);
    let swapped = swapped.and_then(|old| {
        Ok((
            old.0,
            cpu.store_general(va, size, value, privileged, true, op.idx)?,
        ))
    });
    match swapped {
        Ok((old, flow)) => {
            let old = cpu.in_memory_order(old, size) as u32;
            cpu.set_reg(rt, old);
            flow
        }
        Err(flow) => flow,
    }
}

impl Cpu {
    /// Splits memory bytes into registers: two words for a doubleword, each in the current
    /// endianness.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "what is not a doubleword has at most 4 bytes"
    )]
    fn split(&self, value: u64, size: u32) -> (u32, u32) {
        if size == 8 {
            let word = |v: u64| self.in_memory_order(v & 0xffff_ffff, 4) as u32;
            return (word(value), word(value >> 32));
        }
        (self.in_memory_order(value, size) as u32, 0)
    }

    /// Joins registers into memory bytes: the reverse of [`Cpu::split`].
    fn join(&self, first: u32, second: u32, size: u32) -> u64 {
        if size == 8 {
            return self.in_memory_order(first.into(), 4)
                | self.in_memory_order(second.into(), 4) << 32;
        }
        self.in_memory_order(first.into(), size)
    }
}
