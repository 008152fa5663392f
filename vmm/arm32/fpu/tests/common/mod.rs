//! What the tests of execution share.

use arm32_fpu::exec::execute;
use arm32_fpu::{FpRegs, fpscr};
use arm32_isa::Insn;

/// A generator of words, good enough for tests.
pub struct Lcg(pub u64);

impl Lcg {
    pub fn next(&mut self) -> u32 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 32) as u32
    }
}

pub fn registers(seed: u64) -> FpRegs {
    let mut random = Lcg(seed);
    let mut regs = FpRegs::default();
    for number in 0..32 {
        regs.set_d(
            number,
            u64::from(random.next()) << 32 | u64::from(random.next()),
        );
    }
    regs.write_fpscr(random.next());
    regs
}

/// The registers that [`run`] uses.
pub const D: u8 = 1;
/// First operand.
pub const N: u8 = 2;
/// Second operand.
pub const M: u8 = 3;

/// Runs an instruction on D1 to D3; gives D1 and whether it saturated.
pub fn run(insn: &Insn, d: u64, n: u64, m: u64) -> (u64, bool) {
    let mut regs = FpRegs::default();
    (
        regs.d[usize::from(D)],
        regs.d[usize::from(N)],
        regs.d[usize::from(M)],
    ) = (d, n, m);
    assert!(execute(&mut regs, insn));
    (regs.d(D), regs.fpscr & fpscr::QC != 0)
}
