//! Operations on the registers of VFP and Advanced SIMD.

use super::{host, put, value};
use crate::cpu::Cpu;
use crate::exec::access::{read_cached, write_cached};
use crate::ir::bank::{Structures, Transfer};
use crate::ir::{BankMop, Dest, TEMPS};
use crate::mmu::Access;
use crate::state::Flags;
use crate::state::fp_enables::{ASEDIS, EN, FULL};

/// Does as the fast path does; `None` if it does not answer, and then nothing was done.
pub(super) fn run(cpu: &mut Cpu, temps: &mut [u32; TEMPS], mop: BankMop) -> Option<()> {
    match mop {
        BankMop::Need { .. } => {
            let cpacr = cpu.s.cp15.cpacr;
            let sure = cpacr & (ASEDIS | FULL) == FULL && cpu.s.fpexc & EN != 0;
            sure.then_some(())?;
        }
        BankMop::Load(moved) => transfer(cpu, temps, moved, Access::Read)?,
        BankMop::Store(moved) => transfer(cpu, temps, moved, Access::Write)?,
        BankMop::Structures(moved) => structures(cpu, temps, moved)?,
        BankMop::Read {
            d,
            place,
            size,
            sign,
        } => {
            let bits = 8 * u32::from(size);
            let bytes = (0..size).rev().map(|n| get(cpu, place + n));
            let read = bytes.fold(0, |read: u32, byte| read << 8 | u32::from(byte));
            let up = 32 - bits;
            let read = if sign {
                ((read << up).cast_signed() >> up).cast_unsigned()
            } else {
                read
            };
            put(cpu, temps, d, read);
        }
        BankMop::Write { place, x, size } => {
            let x = value(cpu, temps, x);
            for (place, byte) in (place..).zip(x.to_le_bytes().into_iter().take(size.into())) {
                set(cpu, place, byte);
            }
        }
        BankMop::Duplicate { place, q, size, x } => {
            let x = value(cpu, temps, x).to_le_bytes();
            for n in 0..if q { 16 } else { 8 } {
                set(cpu, place + n, x[usize::from(n % (1 << size))]);
            }
        }
        BankMop::ReadStatus { d } => put(cpu, temps, d, cpu.s.fp.fpscr),
        BankMop::Flags => cpu.s.flags = Flags::from_bits(cpu.s.fp.fpscr),
        // Stated in `arm32-fpu` alone: what host code makes of it is compared as a whole.
        BankMop::Execute(insn) => {
            arm32_fpu::exec::execute(&mut cpu.s.fp, &insn).then_some(())?;
        }
    }
    Some(())
}

fn structures(cpu: &mut Cpu, temps: &mut [u32; TEMPS], moved: Structures) -> Option<()> {
    let at = value(cpu, temps, moved.at);
    in_page(at, moved.bytes, moved.align)?;
    let access = if moved.store {
        Access::Write
    } else {
        Access::Read
    };
    for element in moved.elements() {
        let (at, size) = (at + u32::from(element.offset), element.size.into());
        let host = host(cpu, at, size, access)?;
        if moved.store {
            write_cached(host, size, element.store(&cpu.s.fp));
        } else {
            element.load(&mut cpu.s.fp, read_cached(host, size));
        }
    }
    put(cpu, temps, Dest::Temp(0), at);
    Some(())
}

/// Returns whether the fast path may access `bytes` bytes at `at`.
fn in_page(at: u32, bytes: u8, align: u8) -> Option<()> {
    let last = at.wrapping_add(u32::from(bytes) - 1);
    (at >> 12 == last >> 12 && at.is_multiple_of(align.into())).then_some(())
}

fn transfer(
    cpu: &mut Cpu,
    temps: &mut [u32; TEMPS],
    moved: Transfer,
    access: Access,
) -> Option<()> {
    let at = value(cpu, temps, moved.at);
    in_page(at, moved.bytes, moved.align)?;
    for n in 0..moved.bytes {
        let host = host(cpu, at + u32::from(n), 1, access)?;
        let place = moved.place + n;
        if access == Access::Read {
            set(cpu, place, read_cached(host, 1).to_le_bytes()[0]);
        } else {
            write_cached(host, 1, get(cpu, place).into());
        }
    }
    put(cpu, temps, Dest::Temp(0), at);
    Some(())
}

fn get(cpu: &Cpu, place: u8) -> u8 {
    cpu.s.fp.d(place / 8).to_le_bytes()[usize::from(place % 8)]
}

fn set(cpu: &mut Cpu, place: u8, byte: u8) {
    let mut bytes = cpu.s.fp.d(place / 8).to_le_bytes();
    bytes[usize::from(place % 8)] = byte;
    cpu.s.fp.set_d(place / 8, u64::from_le_bytes(bytes));
}
