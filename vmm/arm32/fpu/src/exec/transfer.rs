//! Moves between core registers and the bank (ARM ARM A7.8, A7.9).
//!
//! The core passes the values of its registers and writes back what it gets. VMRS and VMSR of the
//! FPSCR are [`FpRegs::fpscr`], [`FpRegs::nzcv`] and [`FpRegs::write_fpscr`]; the other system
//! registers and the enables (CPACR, FPEXC) are the core's.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "registers are cut up into lanes and words, some of them signed"
)]

use super::misc::splat;
use super::write;
use crate::FpRegs;

/// Returns a lane of doubleword `number` as an unsigned number.
fn lane(regs: &FpRegs, number: u8, size: u8, lane: u8) -> u32 {
    let bits = lane_bits(size);
    // Decoding gives lanes of the doubleword; the mask keeps any other from shifting too far.
    let value = regs.d(number) >> ((u32::from(lane) * bits) & 63);
    value as u32 & u32::MAX >> (32 - bits)
}

fn lane_bits(size: u8) -> u32 {
    8 << size.min(2)
}

/// Moves a lane to a core register (VMOV): sizes 0 to 2, extended to 32 bits.
#[must_use]
pub fn from_lane(regs: &FpRegs, number: u8, size: u8, index: u8, unsigned: bool) -> u32 {
    let value = lane(regs, number, size, index);
    let unused = 32 - lane_bits(size);
    if unsigned {
        value
    } else {
        ((value << unused) as i32 >> unused) as u32
    }
}

/// Moves a core register to a lane (VMOV): sizes 0 to 2.
pub fn to_lane(regs: &mut FpRegs, number: u8, size: u8, index: u8, value: u32) {
    let bits = lane_bits(size);
    let shift = (u32::from(index) * bits) & 63;
    let mask = u64::from(u32::MAX >> (32 - bits)) << shift;
    let rest = regs.d(number) & !mask;
    regs.set_d(number, rest | (u64::from(value) << shift & mask));
}

/// Duplicates a core register to all lanes (VDUP): sizes 0 to 2.
pub fn duplicate(regs: &mut FpRegs, q: bool, number: u8, size: u8, value: u32) {
    write(regs, q, number, splat(value.into(), size, 0));
}

/// Moves a doubleword to two core registers (VMOV): low word first.
#[must_use]
pub fn from_double(regs: &FpRegs, number: u8) -> [u32; 2] {
    let value = regs.d(number);
    [value as u32, (value >> 32) as u32]
}

/// Moves two core registers to a doubleword (VMOV): low word first.
pub fn to_double(regs: &mut FpRegs, number: u8, [low, high]: [u32; 2]) {
    regs.set_d(number, u64::from(low) | u64::from(high) << 32);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lanes_are_extended_and_inserted() {
        let mut regs = FpRegs::default();
        regs.set_d(20, 0x8877_6655_4433_2211);
        assert_eq!(from_lane(&regs, 20, 0, 7, false), 0xffff_ff88);
        assert_eq!(from_lane(&regs, 20, 0, 7, true), 0x88);
        assert_eq!(from_lane(&regs, 20, 1, 3, false), 0xffff_8877);
        assert_eq!(from_lane(&regs, 20, 2, 1, false), 0x8877_6655);
        to_lane(&mut regs, 20, 1, 2, 0xaaaa_bbbb);
        assert_eq!(regs.d(20), 0x8877_bbbb_4433_2211);
        to_lane(&mut regs, 20, 2, 1, 0x1234_5678);
        assert_eq!(regs.d(20), 0x1234_5678_4433_2211);
        duplicate(&mut regs, true, 2, 1, 0xaaaa_bbbb);
        assert_eq!(regs.q(2), 0xbbbb_bbbb_bbbb_bbbb_bbbb_bbbb_bbbb_bbbb);
    }

    #[test]
    fn pairs_move_low_word_first() {
        let mut regs = FpRegs::default();
        to_double(&mut regs, 31, [1, 2]);
        assert_eq!(regs.d(31), 0x2_0000_0001);
        assert_eq!(from_double(&regs, 31), [1, 2]);
    }
}
