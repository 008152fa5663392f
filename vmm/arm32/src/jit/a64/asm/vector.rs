//! Instructions of the SIMD and floating-point registers (ARM ARM DDI 0487, C4.1 for the groups,
//! C7.2 for each). Operations have their words without registers and sizes.

mod codes;

use super::{Asm, Gpr, Mem, Width};
pub use codes::{
    Bits, Different, Fused, Lanes, One, Scalar, ScalarOne, Shift, Singles, SinglesOne, Zero,
};

/// A SIMD and floating-point register, by its number. Functions need not leave these as they were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Vector {
    /// V0.
    V0 = 0,
    /// V1.
    V1 = 1,
    /// V2.
    V2 = 2,
    /// V3.
    V3 = 3,
    /// V4.
    V4 = 4,
    /// V5.
    V5 = 5,
    /// V6.
    V6 = 6,
    /// V7.
    V7 = 7,
}

impl Vector {
    const fn number(self) -> u32 {
        self as u32
    }
}
impl Asm {
    /// Writes an instruction with vectors `d`, `n` and `m`.
    fn three(&mut self, word: u32, d: Vector, n: Vector, m: Vector) {
        self.two(word | m.number() << 16, d, n);
    }

    fn two(&mut self, word: u32, d: Vector, n: Vector) {
        self.word(word | n.number() << 5 | d.number());
    }

    /// LDR or STR of 4, 8 or 16 bytes at a register plus a constant, a multiple of the size.
    pub fn vector_access(&mut self, load: bool, bytes: u8, t: Vector, at: Mem) {
        // Size, in bits 31:30, and bit 23, which says that it is 16 bytes.
        let (size, wide) = match bytes {
            4 => (2, 0),
            8 => (3, 0),
            _ => (0, 1),
        };
        let word = size << 30 | wide << 23 | u32::from(load) << 22;
        let (word, base) = match at {
            Mem::Base(base, offset) => {
                let scaled = offset / u32::from(bytes);
                debug_assert!(scaled * u32::from(bytes) == offset && scaled < 0x1000);
                (0x3d00_0000 | word | scaled << 10, base)
            }
            Mem::Sum(base, index) => (0x3c20_4800 | word | index.number() << 16, base),
        };
        self.word(word | base.number() << 5 | t.number());
    }

    /// LD2, LD3, LD4 or the store: V0 and the next ones, of 8 bytes each, as the elements of
    /// structures.
    pub fn structures(&mut self, load: bool, elements: u8, size: u8, at: Gpr) {
        let op = match elements {
            2 => 0x8000,
            3 => 0x4000,
            _ => 0,
        };
        let word = 0x0c00_0000 | u32::from(load) << 22 | op | u32::from(size) << 10;
        self.word(word | at.number() << 5 | Vector::V0.number());
    }

    /// An operation on lanes of 2^`size` bytes, perhaps unsigned ones, of all 16 bytes (`q`) or of
    /// the low 8.
    pub fn lanes(
        &mut self,
        op: Lanes,
        (q, unsigned, size): (bool, bool, u8),
        d: Vector,
        n: Vector,
        m: Vector,
    ) {
        let word = op as u32 | u32::from(q) << 30 | u32::from(unsigned) << 29;
        self.three(word | u32::from(size) << 22, d, n, m);
    }

    /// An operation on all 128 bits.
    pub fn bits(&mut self, op: Bits, d: Vector, n: Vector, m: Vector) {
        self.three(op as u32 | 1 << 30, d, n, m);
    }

    /// An operation whose narrow lanes are of 2^`size` bytes, the low ones of their registers.
    pub fn different(
        &mut self,
        op: Different,
        (unsigned, size): (bool, u8),
        d: Vector,
        n: Vector,
        m: Vector,
    ) {
        let word = op as u32 | u32::from(unsigned) << 29 | u32::from(size) << 22;
        self.three(word, d, n, m);
    }

    /// An operation on lanes of 2^`size` bytes, all 16 bytes but for those that narrow.
    pub fn one(&mut self, op: One, (unsigned, size): (bool, u8), d: Vector, n: Vector) {
        let wide = u32::from(!op.narrows()) << 30;
        let word = op as u32 | wide | u32::from(unsigned) << 29 | u32::from(size) << 22;
        self.two(word, d, n);
    }

    /// An operation on four single-precision numbers.
    pub fn singles(&mut self, op: Singles, d: Vector, n: Vector, m: Vector) {
        self.three(op as u32, d, n, m);
    }

    /// An operation on the four lanes of one vector.
    pub fn singles_one(&mut self, op: SinglesOne, d: Vector, n: Vector) {
        self.two(op as u32, d, n);
    }

    /// UMAXV: the largest of four words.
    pub fn largest(&mut self, d: Vector, n: Vector) {
        self.two(0x6eb0_a800, d, n);
    }

    /// Compares all lanes with zero.
    pub fn against_zero(&mut self, op: Zero, size: u8, d: Vector, n: Vector) {
        self.two(op as u32 | 1 << 30 | u32::from(size) << 22, d, n);
    }

    /// Shifts lanes of 2^`size` bytes: all, or the low ones into wider lanes, or all of twice the
    /// size into the low ones. `by`: 1 to their size to the right, less than their size to the
    /// left.
    pub fn shift_lanes(
        &mut self,
        op: Shift,
        (unsigned, size): (bool, u8),
        by: u8,
        d: Vector,
        n: Vector,
    ) {
        let width = 8u32 << size;
        let by = u32::from(by);
        let place = if op.is_left() {
            width + by
        } else {
            2 * width - by
        };
        let halves = op.narrows() || op == Shift::LeftLong;
        let wide = u32::from(!halves) << 30;
        let word = op as u32 | wide | u32::from(unsigned) << 29 | place << 16;
        self.two(word, d, n);
    }

    /// EXT: bytes of `n` and then `m`, from byte `from` on, 16 of them or 8.
    pub fn extract_bytes(&mut self, q: bool, from: u8, d: Vector, n: Vector, m: Vector) {
        let word = 0x2e00_0000 | u32::from(q) << 30 | u32::from(from) << 11;
        self.three(word, d, n, m);
    }

    /// TBL or, as an `extension`, TBX of eight bytes: in the table `n`, or in it and the next one.
    pub fn look_up(&mut self, extension: bool, two: bool, d: Vector, n: Vector, m: Vector) {
        let word = 0x0e00_0000 | u32::from(two) << 13 | u32::from(extension) << 12;
        self.three(word, d, n, m);
    }

    /// DUP of lane `lane` to all 16 bytes.
    pub fn duplicate_lane(&mut self, size: u8, lane: u8, d: Vector, n: Vector) {
        let place = (2 * u32::from(lane) + 1) << size;
        self.two(0x4e00_0400 | place << 16, d, n);
    }

    /// DUP of the low bytes of a general register to all 16 bytes.
    pub fn duplicate(&mut self, size: u8, d: Vector, n: Gpr) {
        let word = 0x4e00_0c00 | 1 << size << 16;
        self.word(word | n.number() << 5 | d.number());
    }

    /// UMOV of a word.
    pub fn get_word(&mut self, d: Gpr, n: Vector, lane: u8) {
        let place = (2 * u32::from(lane) + 1) << 2;
        self.word(0x0e00_3c00 | place << 16 | n.number() << 5 | d.number());
    }

    /// FMOV from a general register, a word or a doubleword.
    pub fn set_scalar(&mut self, width: Width, d: Vector, n: Gpr) {
        let word = match width {
            Width::Word => 0x1e27_0000,
            Width::Double => 0x9e67_0000,
        };
        self.word(word | n.number() << 5 | d.number());
    }

    /// Arithmetic of two numbers.
    pub fn scalar(&mut self, double: bool, op: Scalar, d: Vector, n: Vector, m: Vector) {
        self.three(op as u32 | u32::from(double) << 22, d, n, m);
    }

    /// Arithmetic of `n`, `m` and a third number `a`.
    pub fn fused(
        &mut self,
        double: bool,
        op: Fused,
        d: Vector,
        (n, m): (Vector, Vector),
        a: Vector,
    ) {
        let word = op as u32 | u32::from(double) << 22 | a.number() << 10;
        self.three(word, d, n, m);
    }

    /// An operation on one number.
    pub fn scalar_one(&mut self, double: bool, op: ScalarOne, d: Vector, n: Vector) {
        self.two(op as u32 | u32::from(double) << 22, d, n);
    }

    /// FCVT between the precisions.
    pub fn convert_precision(&mut self, to_double: bool, d: Vector, n: Vector) {
        let word = if to_double { 0x1e22_c000 } else { 0x1e62_4000 };
        self.two(word, d, n);
    }

    /// FCMP.
    pub fn compare_scalars(&mut self, double: bool, n: Vector, m: Vector) {
        let word = 0x1e20_2000 | u32::from(double) << 22 | m.number() << 16;
        self.word(word | n.number() << 5);
    }

    /// FCMP with zero.
    pub fn compare_zero(&mut self, double: bool, n: Vector) {
        self.word(0x1e20_2008 | u32::from(double) << 22 | n.number() << 5);
    }

    /// FCVTNS or FCVTZS: a number to 64 bits, rounded to nearest or towards zero.
    pub fn convert_to_integer(&mut self, double: bool, nearest: bool, d: Gpr, n: Vector) {
        let word = if nearest { 0x9e20_0000 } else { 0x9e38_0000 };
        let word = word | u32::from(double) << 22;
        self.word(word | n.number() << 5 | d.number());
    }

    /// SCVTF or UCVTF of a word.
    pub fn convert_from_integer(&mut self, double: bool, unsigned: bool, d: Vector, n: Gpr) {
        let word = 0x1e22_0000 | u32::from(unsigned) << 16 | u32::from(double) << 22;
        self.word(word | n.number() << 5 | d.number());
    }

    /// MSR of the FPSR, which becomes 0.
    pub fn clear_status(&mut self) {
        self.word(0xd51b_4420 | Gpr::ZERO.number());
    }

    /// MRS of the FPSR.
    pub fn read_status(&mut self, t: Gpr) {
        self.word(0xd53b_4420 | t.number());
    }

    /// MRS of the condition flags, to bits 31:28.
    pub fn read_flags(&mut self, t: Gpr) {
        self.word(0xd53b_4200 | t.number());
    }
}
