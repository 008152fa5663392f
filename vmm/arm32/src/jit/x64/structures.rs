//! Loads and stores of the structures of Advanced SIMD: of what is in one page of memory, at the
//! host address in RDX. RAX stays the address.

use arm32_isa::Insn;

use super::access::{load_to, store};
use super::asm::{Asm, Mem, Packed, Width, Xmm};
use super::bank::duplicate;
use super::frame::{self, SECOND, THIRD};
use super::vector::lanes::has;
use super::vector::resize::{narrow, narrow_high};
use crate::ir::bank::Structures;

use Xmm::{X0, X1, X2, X3, X4};

/// Writes the loads and stores.
pub fn emit(a: &mut Asm, moved: &Structures) {
    match moved.insn {
        Insn::NeonMulti {
            elements: elements @ (2 | 4),
            regs,
            step,
            size,
            vd,
            ..
        } => {
            for block in 0..regs / elements {
                let at = 8 * i32::from(elements * block);
                let places: Vec<Mem> = (0..elements)
                    .map(|n| frame::bank(8 * ((vd + block + n * step) & 31)))
                    .collect();
                match (moved.store, places[..].try_into(), places[..].try_into()) {
                    (false, Ok(two), _) => load_two(a, size, at, two),
                    (true, Ok(two), _) => store_two(a, size, at, two),
                    (false, _, Ok(four)) => load_four(a, size, at, four),
                    (true, _, Ok(four)) => store_four(a, size, at, four),
                    _ => {}
                }
            }
        }
        Insn::NeonMulti {
            elements: 3,
            step,
            size,
            vd,
            ..
        } if has(Packed::ShuffleBytes) => {
            let places = [0, 1, 2].map(|n| frame::bank(8 * ((vd + n * step) & 31)));
            if moved.store {
                store_three(a, size, places);
            } else {
                load_three(a, size, places);
            }
        }
        _ => one_by_one(a, moved),
    }
}

/// Moves element after element: those of a lane, of all lanes, and of structures of three where the
/// host cannot choose bytes.
fn one_by_one(a: &mut Asm, moved: &Structures) {
    for element in moved.elements() {
        let there = Mem::Base(THIRD, element.offset.into());
        let register = 8 * (element.register & 31);
        match element.lane {
            Some(lane) => {
                let here = frame::bank(register + lane * element.size);
                let (from, to) = if moved.store {
                    (here, there)
                } else {
                    (there, here)
                };
                load_to(a, SECOND, from, element.size, false);
                store(a, to, SECOND, element.size);
            }
            None => {
                load_to(a, SECOND, there, element.size, false);
                a.set_vector(Width::Long, X0, SECOND);
                // 2^0, 2^1 or 2^2 bytes.
                duplicate(a, element.size / 2);
                for n in 0..element.registers {
                    a.store_vector(8, frame::bank(register + 8 * n), X0);
                }
            }
        }
    }
}

/// Returns what interleaves the low lanes of two vectors, and what the high ones.
const fn interleave(size: u8) -> (Packed, Packed) {
    match size {
        0 => (Packed::UnpackLow8, Packed::UnpackHigh8),
        1 => (Packed::UnpackLow16, Packed::UnpackHigh16),
        _ => (Packed::UnpackLow32, Packed::UnpackHigh32),
    }
}

fn load_two(a: &mut Asm, size: u8, at: i32, to: [Mem; 2]) {
    a.load_vector(16, X0, Mem::Base(THIRD, at));
    a.copy_vector(X1, X0);
    narrow(a, size, X0, X0);
    narrow_high(a, size, X1, X1);
    a.store_vector(8, to[0], X0);
    a.store_vector(8, to[1], X1);
}

fn store_two(a: &mut Asm, size: u8, at: i32, from: [Mem; 2]) {
    a.load_vector(8, X0, from[0]);
    a.load_vector(8, X1, from[1]);
    a.packed(interleave(size).0, X0, X1);
    a.store_vector(16, Mem::Base(THIRD, at), X0);
}

/// Returns where byte `n` of element `element` of eight bytes lies in structures of three.
const fn place_in_three(size: u8, element: u8, n: u8) -> u8 {
    let (structure, byte) = (n >> size, n & ((1 << size) - 1));
    ((3 * structure + element) << size) + byte
}

/// Has XMM2 be eight bytes of XMM0 and XMM1: `from` says of each in which of them it is, and where.
fn choose(a: &mut Asm, from: impl Fn(u8) -> (bool, u8)) {
    /// Of bytes of the other vector.
    const NONE: u8 = 0x80;
    for (second, source, chosen) in [(false, X0, X2), (true, X1, X4)] {
        let bytes = std::array::from_fn(|n| {
            #[expect(clippy::cast_possible_truncation, reason = "it is below 8")]
            let (other, place) = from(n as u8);
            if other == second { place } else { NONE }
        });
        a.copy_vector(chosen, source);
        a.set64(SECOND, u64::from_le_bytes(bytes));
        a.set_vector(Width::Quad, X3, SECOND);
        a.packed(Packed::ShuffleBytes, chosen, X3);
    }
    a.packed(Packed::Or, X2, X4);
}

fn load_three(a: &mut Asm, size: u8, to: [Mem; 3]) {
    // 24 bytes, of which the middle ones are in both.
    a.load_vector(16, X0, Mem::Base(THIRD, 0));
    a.load_vector(16, X1, Mem::Base(THIRD, 8));
    for (to, element) in to.into_iter().zip(0..) {
        choose(a, |n| match place_in_three(size, element, n) {
            place @ 16.. => (true, place - 8),
            place => (false, place),
        });
        a.store_vector(8, to, X2);
    }
}

fn store_three(a: &mut Asm, size: u8, from: [Mem; 3]) {
    a.load_vector(8, X0, from[0]);
    a.load_vector(8, X1, from[1]);
    a.packed(Packed::UnpackLow64, X0, X1);
    a.load_vector(8, X1, from[2]);
    // Which byte of which element goes to each place.
    let all = (0..3).flat_map(|element| (0..8).map(move |n| (element, n)));
    let source = |place| {
        all.clone()
            .find(|(e, n)| place_in_three(size, *e, *n) == place)
    };
    for part in [0, 8, 16] {
        choose(a, |n| match source(part + n) {
            Some((2, n)) => (true, n),
            Some((element, n)) => (false, 8 * element + n),
            None => (false, 0),
        });
        a.store_vector(8, Mem::Base(THIRD, part.into()), X2);
    }
}

fn load_four(a: &mut Asm, size: u8, at: i32, to: [Mem; 4]) {
    a.load_vector(16, X0, Mem::Base(THIRD, at));
    a.load_vector(16, X1, Mem::Base(THIRD, at + 16));
    a.copy_vector(X2, X0);
    a.copy_vector(X3, X1);
    // The first and third elements, and the second and fourth ones.
    narrow(a, size, X0, X1);
    narrow_high(a, size, X2, X3);
    a.copy_vector(X1, X0);
    a.copy_vector(X3, X2);
    narrow(a, size, X0, X0);
    narrow_high(a, size, X1, X1);
    narrow(a, size, X2, X2);
    narrow_high(a, size, X3, X3);
    for (to, x) in to.into_iter().zip([X0, X2, X1, X3]) {
        a.store_vector(8, to, x);
    }
}

fn store_four(a: &mut Asm, size: u8, at: i32, from: [Mem; 4]) {
    let (low, high) = interleave(size);
    for (x, from) in [X0, X1, X2, X3].into_iter().zip(from) {
        a.load_vector(8, x, from);
    }
    a.packed(low, X0, X2);
    a.packed(low, X1, X3);
    a.copy_vector(X4, X0);
    a.packed(low, X0, X1);
    a.packed(high, X4, X1);
    a.store_vector(16, Mem::Base(THIRD, at), X0);
    a.store_vector(16, Mem::Base(THIRD, at + 16), X4);
}
