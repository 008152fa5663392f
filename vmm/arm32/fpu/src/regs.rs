//! The register bank shared by VFP and Advanced SIMD (ARM ARM DDI 0406C A2.6.1).

use serde::{Deserialize, Serialize};

use crate::fpscr;
use crate::soft::Env;

/// The 32 doubleword registers and the FPSCR.
///
/// S0-S31 are the halves of D0-D15; Q0-Q15 are pairs of doublewords. Register numbers are taken
/// modulo the size of their bank, so that no number can be out of range.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FpRegs {
    /// D0-D31.
    pub d: [u64; 32],
    /// The FPSCR; only the bits of [`fpscr::WRITABLE`] are ever set.
    pub fpscr: u32,
}

impl FpRegs {
    /// Returns doubleword register `n`.
    #[inline]
    #[must_use]
    pub fn d(&self, n: u8) -> u64 {
        self.d[usize::from(n) & 31]
    }

    /// Writes doubleword register `n`.
    #[inline]
    pub fn set_d(&mut self, n: u8, value: u64) {
        self.d[usize::from(n) & 31] = value;
    }

    /// Returns singleword register `n`.
    #[inline]
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "one half of a doubleword")]
    pub fn s(&self, n: u8) -> u32 {
        // D16 to D31 have no single-precision halves: the number wraps within D0 to D15.
        (self.d(n >> 1 & 15) >> (32 * (n & 1))) as u32
    }

    /// Writes singleword register `n`.
    #[inline]
    pub fn set_s(&mut self, n: u8, value: u32) {
        let shift = 32 * (n & 1);
        let rest = self.d(n >> 1 & 15) & !(0xffff_ffff << shift);
        self.set_d(n >> 1 & 15, rest | u64::from(value) << shift);
    }

    /// Returns the quadword register whose lower half is doubleword register `n` (rounded down to
    /// even).
    #[inline]
    #[must_use]
    pub fn q(&self, n: u8) -> u128 {
        u128::from(self.d(n & 30)) | u128::from(self.d(n | 1)) << 64
    }

    /// Writes the quadword register whose lower half is doubleword register `n` (rounded down to
    /// even).
    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "one half of a quadword")]
    pub fn set_q(&mut self, n: u8, value: u128) {
        self.set_d(n & 30, value as u64);
        self.set_d(n | 1, (value >> 64) as u64);
    }

    /// Writes the FPSCR as VMSR does: bits that do not exist stay zero.
    #[inline]
    pub fn write_fpscr(&mut self, value: u32) {
        self.fpscr = value & fpscr::WRITABLE;
    }

    /// Returns the condition flags, at their places in the FPSCR and the APSR: what
    /// `VMRS APSR_nzcv, FPSCR` moves.
    #[inline]
    #[must_use]
    pub fn nzcv(&self) -> u32 {
        self.fpscr & fpscr::NZCV
    }

    /// Runs `operation` with what `env` makes of the FPSCR and keeps the flags it raises:
    /// [`Env::vfp`] for what VFP instructions obey, [`Env::standard`] for the standard value, which
    /// Advanced SIMD does.
    #[inline]
    pub(crate) fn with_env<T>(
        &mut self,
        env: impl FnOnce(u32) -> Env,
        operation: impl FnOnce(&mut Self, &mut Env) -> T,
    ) -> T {
        let mut env = env(self.fpscr);
        let result = operation(self, &mut env);
        // The flags are cumulative: only a write of the FPSCR clears them. The standard value
        // replaces only the control bits: its flags go to the real FPSCR, too.
        self.fpscr |= env.flags;
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn single_registers_are_halves_of_the_lower_doublewords() {
        let mut regs = FpRegs::default();
        regs.set_s(0, 0x1111_1111);
        regs.set_s(1, 0x2222_2222);
        regs.set_s(31, 0x3333_3333);
        assert_eq!(regs.d(0), 0x2222_2222_1111_1111);
        assert_eq!(regs.d(15), 0x3333_3333_0000_0000);
        assert_eq!(
            (regs.s(0), regs.s(1), regs.s(31)),
            (0x1111_1111, 0x2222_2222, 0x3333_3333)
        );
    }

    #[test]
    fn quad_registers_are_pairs() {
        let mut regs = FpRegs::default();
        regs.set_q(30, 0x1234_u128 << 64 | 0x5678);
        assert_eq!((regs.d(30), regs.d(31)), (0x5678, 0x1234));
        assert_eq!(regs.q(31), 0x1234_u128 << 64 | 0x5678);
    }

    #[test]
    fn short_vector_and_trap_bits_do_not_exist() {
        let mut regs = FpRegs::default();
        regs.write_fpscr(u32::MAX);
        assert_eq!(regs.fpscr, 0xffc0_009f);
    }
}
