//! Loads and stores of the structures of Advanced SIMD, of what is in one page of memory.

use arm32_isa::Insn;

use super::access::{load_of, store_of};
use super::asm::{Asm, Gpr, Mem, Sum, Vector, Width};
use super::bank;
use super::frame::{self, SCRATCH};
use crate::ir::bank::Structures;

/// Consecutive registers, as many as structures have elements.
const ELEMENTS: [Vector; 4] = [Vector::V0, Vector::V1, Vector::V2, Vector::V3];

/// Writes the loads and stores, at the host address in `at`, which changes.
pub fn emit(a: &mut Asm, moved: &Structures, at: Gpr) {
    match moved.insn {
        Insn::NeonMulti {
            elements: elements @ 2..=4,
            regs,
            step,
            size,
            vd,
            ..
        } => {
            for block in 0..regs / elements {
                if block > 0 {
                    let distance = 8 * u32::from(elements);
                    a.sum_imm(Width::Double, Sum::Add, at, at, distance);
                }
                let places = (0..elements).map(|n| 8 * ((vd + block + n * step) & 31));
                let registers = ELEMENTS.into_iter().zip(places);
                if moved.store {
                    registers.for_each(|(v, place)| bank::load(a, 8, v, place));
                    a.structures(false, elements, size, at);
                } else {
                    a.structures(true, elements, size, at);
                    registers.for_each(|(v, place)| bank::store(a, 8, v, place));
                }
            }
        }
        _ => one_by_one(a, moved, at),
    }
}

/// Moves element after element: those of a lane, or of all lanes.
fn one_by_one(a: &mut Asm, moved: &Structures, at: Gpr) {
    let [_, value, _] = SCRATCH;
    for element in moved.elements() {
        let there = Mem::Base(at, element.offset.into());
        let register = 8 * (element.register & 31);
        let (load, store) = (load_of(element.size, false), store_of(element.size));
        match element.lane {
            Some(lane) => {
                let here = frame::bank(register + lane * element.size);
                let (from, to) = if moved.store {
                    (here, there)
                } else {
                    (there, here)
                };
                a.access(load, value, from);
                a.access(store, value, to);
            }
            None => {
                a.access(load, value, there);
                // 2^0, 2^1 or 2^2 bytes.
                a.duplicate(element.size / 2, Vector::V0, value);
                for n in 0..element.registers {
                    bank::store(a, 8, Vector::V0, register + 8 * n);
                }
            }
        }
    }
}
