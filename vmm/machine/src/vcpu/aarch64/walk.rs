//! Where a virtual address lies, by the tables of a guest's stage 1 (Arm ARM DDI 0487 D8.2,
//! "Address translation"). Only looks: permissions, access flags and memory types do not matter,
//! and nothing is cached.

use vm_memory::{Bytes, GuestAddress};

use super::Aarch64State;
use vmm_devices::ram::GuestRam;

/// SCTLR_EL1.M: the memory management unit is on.
const SCTLR_M: u64 = 1;
/// Which half of the address space an address is of, when the bits above are not part of it.
const HALF: u32 = 55;
/// Addresses in table base registers and descriptors, without those above 2^48, where no RAM of
/// ours lies.
const ADDRESS: u64 = 0x0000_ffff_ffff_f000;

/// One half of the address space, as TCR_EL1 has it.
struct Half {
    table: u64,
    /// Bits of an address that tables translate.
    bits: u32,
    /// Bits of an address within a page.
    granule: u32,
    /// The top byte of an address does not matter.
    tagged: bool,
    /// Tables are not looked at.
    disabled: bool,
}

impl Half {
    /// Returns the lower half, or the upper one.
    fn of(state: &Aarch64State, upper: bool) -> Self {
        let tcr = state.tcr;
        let bit = |n: u32| tcr >> n & 1 != 0;
        // TG0 and TG1 encode the granule differently (Arm ARM DDI 0487, TCR_EL1).
        let granule = match (upper, tcr >> if upper { 30 } else { 14 } & 3) {
            (false, 1) | (true, 3) => 16,
            (false, 2) | (true, 1) => 14,
            _ => 12,
        };
        let size = tcr >> if upper { 16 } else { 0 } & 0x3f;
        Self {
            table: if upper { state.ttbr1 } else { state.ttbr0 },
            // Larger spaces than the architecture has, and smaller ones, are treated as its largest
            // and smallest.
            bits: 64 - size.clamp(12, 48) as u32,
            granule,
            tagged: bit(if upper { 38 } else { 37 }),
            disabled: bit(if upper { 23 } else { 7 }),
        }
    }

    /// Returns whether `va` is of this half, and not between both.
    const fn covers(&self, va: u64, upper: bool) -> bool {
        // With TBI the uppermost byte is no part of the address (Arm ARM DDI 0487, TCR_EL1).
        let top = if self.tagged { 56 } else { 64 };
        // The bits that must be all ones, or all zeros.
        let rest = (va << (64 - top)) >> (64 - top) >> self.bits;
        rest == if upper {
            (1 << (top - self.bits)) - 1
        } else {
            0
        }
    }
}

/// Returns the physical address of `va`; the same while the core maps nothing.
pub fn translate(state: &Aarch64State, ram: &GuestRam, va: u64) -> Option<u64> {
    if state.sctlr & SCTLR_M == 0 {
        return Some(va);
    }
    let upper = va >> HALF & 1 != 0;
    let half = Half::of(state, upper);
    if half.disabled || !half.covers(va, upper) {
        return None;
    }
    let stride = half.granule - 3;
    // Levels that are left, as many as it takes.
    let mut left = (half.bits - half.granule).div_ceil(stride).max(1);
    let entries = |left: u32| (half.bits - half.granule - stride * (left - 1)).min(stride);
    // A table is aligned to its size, and to 64 bytes at least; bit 0 of its register is CnP, not
    // address (Arm ARM DDI 0487, TTBR0_EL1).
    let aligned = !((8 << entries(left)) - 1_u64).max(0x3f);
    let mut table = half.table & 0x0000_ffff_ffff_fffe & aligned;
    loop {
        let shift = half.granule + stride * (left - 1);
        let index = va >> shift & ((1 << entries(left)) - 1);
        let descriptor: u64 = ram.read_obj(GuestAddress(table + 8 * index)).ok()?;
        // Bit 1 tells tables from blocks, and must be set at the last level (Arm ARM DDI 0487,
        // VMSAv8-64 descriptors).
        let is_table = descriptor & 2 != 0;
        if descriptor & 1 == 0 || left == 1 && !is_table {
            return None;
        }
        let below = (1_u64 << shift) - 1;
        if left == 1 || !is_table {
            return Some(descriptor & ADDRESS & !below | va & below);
        }
        table = descriptor & ADDRESS & !((1 << half.granule) - 1);
        left -= 1;
    }
}
