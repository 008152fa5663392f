//! Loads and stores, as descriptions: which bytes at which offsets belong to which lanes.
//!
//! The core computes `base + start`, checks `align`, and goes through [`Access::transfers`] one by
//! one; the base register is written last, by `writeback`.

use arm32_isa::{FpMultiple, Insn, fields};

use super::lanes::{Lane, with_lane, with_narrow_lane};
use crate::FpRegs;

/// What happens to the base register after the access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writeback {
    /// It stays.
    None,
    /// This many bytes are added.
    Bytes(i32),
    /// The value of this core register is added.
    Register(u8),
}

/// One access to memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// The first doubleword register.
    pub register: u8,
    /// How many registers take the value: more than one only for VLD1 to all lanes.
    pub registers: u8,
    /// The lane, in units of `size`; all of them if `None`.
    pub lane: Option<u8>,
    /// Bytes accessed: 1, 2, 4 or 8.
    pub size: u8,
    /// Offset in bytes from the lowest address.
    pub offset: u8,
}

/// A load or store of VFP or Advanced SIMD.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// Whether it loads.
    pub is_load: bool,
    /// The base register; 15 means the PC, aligned to words.
    pub base: u8,
    /// Lowest address accessed less the base register.
    pub start: i32,
    /// What happens to the base register.
    pub writeback: Writeback,
    /// What the lowest address must be a multiple of, in bytes, whatever SCTLR.A says.
    pub align: u8,
    /// The size in bytes of one access, to whose multiples SCTLR.A holds the address.
    pub element: u8,
    /// Number of bytes, at most 128.
    pub bytes: u8,
    layout: Layout,
}

/// In which order lanes lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// Words of consecutive single registers; `double` if they are taken two at a time.
    Words { first: u8, double: bool },
    /// Structures of `elements` lanes from registers `step` apart, then from the next registers.
    Structures {
        first: u8,
        elements: u8,
        step: u8,
        size: u8,
    },
    /// One structure in one lane.
    Lane {
        first: u8,
        step: u8,
        size: u8,
        lane: u8,
    },
    /// One structure in all lanes.
    All {
        first: u8,
        elements: u8,
        registers: u8,
        step: u8,
        size: u8,
    },
}

/// Returns the description of `insn`, `None` if it is no load or store of the bank.
#[must_use]
pub fn access(insn: &Insn) -> Option<Access> {
    match *insn {
        Insn::Vldr {
            load,
            double,
            add,
            rn,
            vd,
            imm,
        } => {
            let start = if add { i32::from(imm) } else { -i32::from(imm) };
            Some(words(load, double, rn, vd, 1, start, Writeback::None))
        }
        Insn::Vldm {
            load,
            double,
            mode,
            rn,
            vd,
            regs,
            words: moved,
        } => {
            // FLDMX and FSTMX have an odd count: the base moves by a word more than is transferred.
            let moved = 4 * i32::from(moved);
            let (start, writeback) = match mode {
                FpMultiple::Ia => (0, Writeback::None),
                FpMultiple::IaWriteback => (0, Writeback::Bytes(moved)),
                FpMultiple::DbWriteback => (-moved, Writeback::Bytes(-moved)),
            };
            Some(words(load, double, rn, vd, regs, start, writeback))
        }
        _ => structures(insn),
    }
}

/// Returns the description of an access to `bytes` bytes from R`base` on, with elements of 2^`size`
/// bytes.
fn structure(
    (is_load, base, rm): (bool, u8, u8),
    (align, size, bytes): (u8, u8, u8),
    layout: Layout,
) -> Option<Access> {
    // R15 and R13 stand for no write-back, and for one by the size of the transfer.
    let writeback = match rm {
        15 => Writeback::None,
        13 => Writeback::Bytes(i32::from(bytes)),
        rm => Writeback::Register(rm),
    };
    Some(Access {
        is_load,
        base,
        start: 0,
        writeback,
        align,
        element: 1 << size,
        bytes,
        layout,
    })
}

/// Returns the description of a load or store of structures of Advanced SIMD.
fn structures(insn: &Insn) -> Option<Access> {
    fields!(*insn => NeonMulti | NeonLane | NeonAll { elements, step, size, align, rn, vd: first, rm, .. } else {
        return None;
    });
    let (is_load, bytes, layout) = match *insn {
        Insn::NeonMulti { load, regs, .. } => {
            let layout = Layout::Structures {
                first,
                elements,
                step,
                size,
            };
            (load, regs * 8, layout)
        }
        Insn::NeonLane { load, lane, .. } => {
            let layout = Layout::Lane {
                first,
                step,
                size,
                lane,
            };
            (load, elements << size, layout)
        }
        Insn::NeonAll { regs, .. } => {
            let layout = Layout::All {
                first,
                elements,
                // Only VLD1 writes one element to two registers; others have one for each.
                registers: if elements == 1 { regs } else { 1 },
                step,
                size,
            };
            (true, elements << size, layout)
        }
        _ => return None,
    };
    structure((is_load, rn, rm), (align, size, bytes), layout)
}

/// Returns the description of VLDR, VLDM or their stores: always words, always word-aligned.
fn words(
    is_load: bool,
    double: bool,
    base: u8,
    vd: u8,
    regs: u8,
    start: i32,
    writeback: Writeback,
) -> Access {
    // More registers than can be moved at once are UNPREDICTABLE.
    let (first, bytes) = if double {
        (2 * (vd & 31), regs.min(16) * 8)
    } else {
        (vd & 31, regs.min(32) * 4)
    };
    let layout = Layout::Words { first, double };
    Access {
        is_load,
        base,
        start,
        writeback,
        align: 4,
        element: 4,
        bytes,
        layout,
    }
}

impl Access {
    /// Returns the single accesses in order of rising addresses. In big-endian data order the words
    /// of a doubleword that VLDR and VLDM move are swapped.
    pub fn transfers(&self, big_endian: bool) -> impl Iterator<Item = Transfer> + use<> {
        let access = *self;
        // At most 128 bytes, so that `u8` holds every index and offset.
        (0..self.bytes / self.element).map(move |index| access.transfer(index, big_endian))
    }

    fn transfer(&self, index: u8, big_endian: bool) -> Transfer {
        let offset = index * self.element;
        let one = |register, lane, size: u8| Transfer {
            register,
            registers: 1,
            lane: Some(lane),
            size: 1 << size,
            offset,
        };
        match self.layout {
            Layout::Words { first, double } => {
                let word = first + index;
                // In big-endian order the more significant word of a doubleword comes first.
                one(word / 2, (word & 1) ^ u8::from(double && big_endian), 2)
            }
            Layout::Structures {
                first,
                elements,
                step,
                size,
            } => {
                let lanes = 8 >> size;
                let (structure, element) = (index / elements, index % elements);
                // VLD1 of several registers, VLD2 of four: the next block follows the first.
                let (block, lane) = (structure / lanes, structure % lanes);
                one(first + block + element * step, lane, size)
            }
            Layout::Lane {
                first,
                step,
                size,
                lane,
            } => one(first + index * step, lane, size),
            Layout::All {
                first,
                registers,
                step,
                size,
                ..
            } => Transfer {
                registers,
                lane: None,
                ..one(first + index * step, 0, size)
            },
        }
    }
}

impl Transfer {
    /// Writes the value read to its lane or lanes.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a size is a power of two below 16, and a doubleword has the low half of all lanes"
    )]
    pub fn load(&self, regs: &mut FpRegs, value: u64) {
        let Some(lane) = self.lane else {
            let size = self.size.trailing_zeros() as u8;
            let all = with_lane!(size, true, L => L::splat(<L as Lane>::truncate(value.into())));
            for register in 0..self.registers {
                regs.set_d(self.register.wrapping_add(register), all as u64);
            }
            return;
        };
        let (shift, mask) = self.field(lane);
        let rest = regs.d(self.register) & !(mask << shift);
        regs.set_d(self.register, rest | ((value & mask) << shift));
    }

    /// Returns the value to be written, zero-extended.
    #[must_use]
    pub fn store(&self, regs: &FpRegs) -> u64 {
        let (shift, mask) = self.field(self.lane.unwrap_or(0));
        (regs.d(self.register) >> shift) & mask
    }

    /// Returns where the lane is in its doubleword.
    fn field(&self, lane: u8) -> (u32, u64) {
        let bits = u32::from(self.size.min(8)) * 8;
        // Decoding gives lanes of the doubleword; the mask keeps any other from shifting too far.
        ((u32::from(lane) * bits) & 63, u64::MAX >> (64 - bits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered() -> Vec<u8> {
        (0..128).collect()
    }

    /// Does all transfers of a load from `bytes`.
    fn load(access: Access, regs: &mut FpRegs, bytes: &[u8], big_endian: bool) {
        for transfer in access.transfers(big_endian) {
            let (at, size) = (usize::from(transfer.offset), usize::from(transfer.size));
            let mut value = [0; 8];
            value[..size].copy_from_slice(&bytes[at..at + size]);
            if big_endian {
                value[..size].reverse();
            }
            transfer.load(regs, u64::from_le_bytes(value));
        }
    }

    /// Does all transfers of a store to `bytes`.
    fn store(access: Access, regs: &FpRegs, bytes: &mut [u8], big_endian: bool) {
        for transfer in access.transfers(big_endian) {
            let (at, size) = (usize::from(transfer.offset), usize::from(transfer.size));
            let mut value = transfer.store(regs).to_le_bytes();
            if big_endian {
                value[..size].reverse();
            }
            bytes[at..at + size].copy_from_slice(&value[..size]);
        }
    }

    #[test]
    fn multiple_structures_are_deinterleaved() {
        // vld3.16 {d4, d6, d8}, [r1]!
        let insn = Insn::NeonMulti {
            load: true,
            elements: 3,
            regs: 3,
            step: 2,
            size: 1,
            align: 1,
            rn: 1,
            vd: 4,
            rm: 13,
        };
        let access = access(&insn).expect("a load");
        assert_eq!((access.bytes, access.writeback), (24, Writeback::Bytes(24)));
        let mut regs = FpRegs::default();
        load(access, &mut regs, &numbered(), false);
        assert_eq!(regs.d(4), 0x1312_0d0c_0706_0100);
        assert_eq!(regs.d(6), 0x1514_0f0e_0908_0302);
        assert_eq!(regs.d(8), 0x1716_1110_0b0a_0504);
        let mut bytes = [0; 24];
        store(access, &regs, &mut bytes, false);
        assert_eq!(bytes[..], numbered()[..24]);
    }

    #[test]
    fn two_pairs_of_registers_follow_each_other() {
        // vld2.32 {d0, d1, d2, d3}, [r0]
        let insn = Insn::NeonMulti {
            load: true,
            elements: 2,
            regs: 4,
            step: 2,
            size: 2,
            align: 1,
            rn: 0,
            vd: 0,
            rm: 15,
        };
        let mut regs = FpRegs::default();
        load(
            access(&insn).expect("a load"),
            &mut regs,
            &numbered(),
            false,
        );
        assert_eq!(regs.d(0), 0x0b0a_0908_0302_0100);
        assert_eq!(regs.d(2), 0x0f0e_0d0c_0706_0504);
        assert_eq!(regs.d(1), 0x1b1a_1918_1312_1110);
    }

    #[test]
    fn lanes_and_all_lanes() {
        let lane = Insn::NeonLane {
            load: true,
            elements: 2,
            step: 1,
            size: 0,
            lane: 3,
            align: 1,
            rn: 0,
            vd: 30,
            rm: 2,
        };
        let mut regs = FpRegs::default();
        let described = access(&lane).expect("a load");
        assert_eq!(described.writeback, Writeback::Register(2));
        load(described, &mut regs, &[0xaa, 0xbb], false);
        assert_eq!((regs.d(30), regs.d(31)), (0xaa00_0000, 0xbb00_0000));
        let all = Insn::NeonAll {
            elements: 1,
            regs: 2,
            step: 1,
            size: 1,
            align: 1,
            rn: 0,
            vd: 0,
            rm: 15,
        };
        load(
            access(&all).expect("a load"),
            &mut regs,
            &[0x12, 0x34],
            true,
        );
        assert_eq!(
            (regs.d(0), regs.d(1)),
            (0x1234_1234_1234_1234, 0x1234_1234_1234_1234)
        );
    }

    #[test]
    fn multiple_registers_go_down_before_and_up_after() {
        let push = Insn::Vldm {
            load: false,
            double: true,
            mode: FpMultiple::DbWriteback,
            rn: 13,
            vd: 8,
            regs: 2,
            words: 4,
        };
        let mut regs = FpRegs::default();
        regs.set_d(8, 0x0706_0504_0302_0100);
        regs.set_d(9, 0x0f0e_0d0c_0b0a_0908);
        let described = access(&push).expect("a store");
        assert_eq!(
            (described.start, described.writeback),
            (-16, Writeback::Bytes(-16))
        );
        let mut bytes = [0; 16];
        store(described, &regs, &mut bytes, false);
        assert_eq!(bytes[..], numbered()[..16]);
        // In big-endian order the most significant byte comes first.
        store(described, &regs, &mut bytes, true);
        assert_eq!(bytes[..8], [7, 6, 5, 4, 3, 2, 1, 0]);
    }
}
