//! Permutations, extraction and table look-up (ARM ARM A8.8: VTRN, VUZP, VZIP, VSWP, VEXT, VTBL).

use arm32_isa::NeonPermuteOp as Op;

use super::lanes::{Lane, with_narrow_lane};
use super::misc::{Vectors, reverse};
use super::{read, write};
use crate::FpRegs;

/// Permutes two registers, both of which change. One register twice is UNKNOWN in the manual: here
/// two copies are permuted and the first result stays, but VTRN.32 exchanges its words.
pub(super) fn execute(regs: &mut FpRegs, op: Op, v: Vectors) {
    let (d, m) = (read(regs, v.q, v.vd), read(regs, v.q, v.vm));
    let (new_d, new_m) = match op {
        Op::Vswp => (m, d),
        Op::Vtrn if v.vd == v.vm && v.size == 2 => (reverse::<u32>(d, 64), reverse::<u32>(d, 64)),
        Op::Vtrn => with_narrow_lane!(v.size, true, L => transpose::<L>(d, m)),
        Op::Vuzp => with_narrow_lane!(v.size, true, L => unzip::<L>(v.q, d, m)),
        Op::Vzip => with_narrow_lane!(v.size, true, L => zip::<L>(v.q, d, m)),
    };
    // In this order: with one register named twice, the first result stays.
    write(regs, v.q, v.vm, new_m);
    write(regs, v.q, v.vd, new_d);
}

fn transpose<L: Lane>(d: u128, m: u128) -> (u128, u128) {
    let (mut d, mut m) = (L::load(d), L::load(m));
    let pairs = d
        .as_mut()
        .chunks_exact_mut(2)
        .zip(m.as_mut().chunks_exact_mut(2));
    for (x, y) in pairs {
        // The off-diagonal elements of the matrix whose rows are `x` and `y`.
        std::mem::swap(&mut x[1], &mut y[0]);
    }
    (L::store(d), L::store(m))
}

/// Returns the number of lanes in one register.
fn count<L: Lane>(q: bool) -> usize {
    (if q { 128 } else { 64 } / L::BITS) as usize
}

/// De-interleaves two registers: even lanes of both go to the first, odd ones to the second.
fn unzip<L: Lane>(q: bool, d: u128, m: u128) -> (u128, u128) {
    let count = count::<L>(q);
    let (d, m) = (L::load(d), L::load(m));
    let (mut even, mut odd) = (L::load(0), L::load(0));
    // Without the empty upper half of doublewords, which would come between the two.
    let source = d.as_ref()[..count].iter().chain(&m.as_ref()[..count]);
    for (index, lane) in source.enumerate() {
        let target = if index % 2 == 0 { &mut even } else { &mut odd };
        target.as_mut()[index / 2] = *lane;
    }
    (L::store(even), L::store(odd))
}

/// Interleaves two registers: the lanes of both alternate, low half first.
fn zip<L: Lane>(q: bool, d: u128, m: u128) -> (u128, u128) {
    let count = count::<L>(q);
    let (d, m) = (L::load(d), L::load(m));
    let (mut low, mut high) = (L::load(0), L::load(0));
    for index in 0..2 * count {
        let source = if index % 2 == 0 { &d } else { &m };
        let target = if index < count { &mut low } else { &mut high };
        target.as_mut()[index % count] = source.as_ref()[index / 2];
    }
    (L::store(low), L::store(high))
}

/// Executes VEXT: bytes from place `from` of the second register above the first.
pub(super) fn extract(regs: &mut FpRegs, q: bool, (vd, vn, vm): (u8, u8, u8), from: u8) {
    let (n, m) = (read(regs, q, vn), read(regs, q, vm));
    let shift = 8 * u32::from(from & 15);
    let result = match (q, shift) {
        // Apart, since a shift by the whole width overflows.
        (_, 0) => n,
        (true, _) => (n >> shift) | (m << (128 - shift)),
        (false, _) => (n | (m << 64)) >> shift,
    };
    write(regs, q, vd, result);
}

/// Executes VTBL and VTBX: bytes of `count` registers from `vn` on, chosen by the bytes of `vm`.
#[expect(clippy::cast_possible_truncation, reason = "one of four registers")]
pub(super) fn look_up(regs: &mut FpRegs, extension: bool, count: u8, (vd, vn, vm): (u8, u8, u8)) {
    // A copy: the destination may be one of the registers that are looked up in.
    let mut table = [0; 32];
    // Always four registers, whose numbers may wrap; those beyond `count` are cut off below.
    for (index, chunk) in table.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        *chunk = regs.d(vn.wrapping_add(index as u8)).to_le_bytes();
    }
    let table = &table[..usize::from(count.min(4)) * 8];
    let mut bytes = if extension { regs.d(vd) } else { 0 }.to_le_bytes();
    for (byte, index) in bytes.iter_mut().zip(regs.d(vm).to_le_bytes()) {
        // An index beyond the table leaves the byte: zero for VTBL, the old one for VTBX.
        if let Some(entry) = table.get(usize::from(index)) {
            *byte = *entry;
        }
    }
    regs.set_d(vd, u64::from_le_bytes(bytes));
}
