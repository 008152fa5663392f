//! A small assembler: what the run-time and the set-up of operands need.

#![expect(
    clippy::cast_possible_truncation,
    reason = "programs are small, and an instruction is two halfwords"
)]

use std::collections::BTreeMap;

/// A place in the code, to branch to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Label(u32);

/// Conditions that the run-time uses.
#[derive(Clone, Copy, Debug)]
#[repr(u32)]
pub enum Cond {
    /// Equal.
    Eq = 0,
    /// Not equal.
    Ne = 1,
    /// Signed less than or equal.
    Le = 13,
    /// Always.
    Al = 14,
}

/// A32 code under construction.
#[derive(Debug)]
pub struct Asm {
    origin: u32,
    words: Vec<u32>,
    labels: BTreeMap<Label, u32>,
    branches: Vec<(usize, Label)>,
    next_label: u32,
}

impl Asm {
    /// Begins code to be placed at `origin`.
    pub fn new(origin: u32) -> Self {
        Self {
            origin,
            words: Vec::new(),
            labels: BTreeMap::new(),
            branches: Vec::new(),
            next_label: 0,
        }
    }

    /// Returns the address of the next instruction.
    pub fn here(&self) -> u32 {
        self.origin + 4 * self.words.len() as u32
    }

    /// Returns a label not yet placed.
    pub fn label(&mut self) -> Label {
        self.next_label += 1;
        Label(self.next_label)
    }

    /// Places `label` here.
    pub fn place(&mut self, label: Label) {
        self.labels.insert(label, self.here());
    }

    /// Appends a word as it is.
    pub fn word(&mut self, word: u32) {
        self.words.push(word);
    }

    /// Appends `LDR rt, [rn, #offset]`.
    pub fn ldr(&mut self, rt: u32, rn: u32, offset: u32) {
        self.word(0xe590_0000 | rn << 16 | rt << 12 | offset);
    }

    /// Appends `STR rt, [rn, #offset]`.
    pub fn str(&mut self, rt: u32, rn: u32, offset: u32) {
        self.word(0xe580_0000 | rn << 16 | rt << 12 | offset);
    }

    /// Appends `LDR rt, <address>`, PC-relative; the address lies ahead, within 4 KiB.
    pub fn ldr_at(&mut self, rt: u32, address: u32) {
        // The PC reads as the address of the instruction plus 8.
        self.ldr(rt, 15, address - self.here() - 8);
    }

    /// Appends `STR rt, <address>`, PC-relative.
    pub fn str_at(&mut self, rt: u32, address: u32) {
        self.str(rt, 15, address - self.here() - 8);
    }

    /// Appends `ADD rd, rn, #imm`, for immediates below 256 or multiples of 4 below 1024.
    pub fn add(&mut self, rd: u32, rn: u32, imm: u32) {
        // Beyond a byte, the rotation in the upper four bits (15) multiplies it by four.
        let encoded = if imm < 256 { imm } else { 0xf00 | imm >> 2 };
        self.word(0xe280_0000 | rn << 16 | rd << 12 | encoded);
    }

    /// Appends `MOV rd, #imm` by MOVW and MOVT.
    pub fn mov(&mut self, rd: u32, imm: u32) {
        let [low, high] = a32_mov32(rd, imm);
        self.word(low);
        self.word(high);
    }

    /// Appends `CMP rn, rm`.
    pub fn cmp(&mut self, rn: u32, rm: u32) {
        self.word(0xe150_0000 | rn << 16 | rm);
    }

    /// Appends `SVC #0` with the system call number in R7.
    pub fn syscall(&mut self, number: u32) {
        self.mov(7, number);
        self.word(0xef00_0000);
    }

    /// Appends `B<cond> label`.
    pub fn branch(&mut self, cond: Cond, label: Label) {
        self.branches.push((self.words.len(), label));
        self.word((cond as u32) << 28 | 0x0a00_0000);
    }

    /// Returns the code, with branches filled in.
    ///
    /// # Panics
    /// When a label that is branched to was not placed.
    pub fn finish(mut self) -> Vec<u32> {
        for (at, label) in self.branches {
            let from = self.origin + 4 * at as u32 + 8;
            // Wraps: a branch back has a negative offset.
            let offset = self.labels[&label].wrapping_sub(from);
            self.words[at] |= (offset >> 2) & 0x00ff_ffff;
        }
        self.words
    }
}

/// Returns A32 MOVW and MOVT that set `rd` to `value`.
pub const fn a32_mov32(rd: u32, value: u32) -> [u32; 2] {
    const fn half(opcode: u32, rd: u32, imm: u32) -> u32 {
        opcode | (imm >> 12) << 16 | rd << 12 | (imm & 0xfff)
    }
    [
        half(0xe300_0000, rd, value & 0xffff),
        half(0xe340_0000, rd, value >> 16),
    ]
}

/// Returns T32 MOVW and MOVT that set `rd` to `value`, first halfword in the upper half.
pub const fn t32_mov32(rd: u32, value: u32) -> [u32; 2] {
    const fn half(opcode: u32, rd: u32, imm: u32) -> u32 {
        let (imm4, i, imm3, imm8) = (imm >> 12, (imm >> 11) & 1, (imm >> 8) & 7, imm & 0xff);
        opcode | i << 26 | imm4 << 16 | imm3 << 12 | rd << 8 | imm8
    }
    [
        half(0xf240_0000, rd, value & 0xffff),
        half(0xf2c0_0000, rd, value >> 16),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use arm32_isa::{decode_a32, decode_t32};

    #[test]
    fn constants_are_set_as_the_decoder_understands_it() {
        let [low, high] = a32_mov32(5, 0x1234_5678);
        assert_eq!(decode_a32(low).asm(0).to_string(), "movw r5, #0x5678");
        assert_eq!(decode_a32(high).asm(0).to_string(), "movt r5, #0x1234");
        let [low, high] = t32_mov32(9, 0xfedc_ba98);
        let text = |w: u32| {
            decode_t32((w >> 16) as u16, w as u16, false)
                .asm(0)
                .to_string()
        };
        assert_eq!(
            (text(low), text(high)),
            ("movw r9, #0xba98".into(), "movt r9, #0xfedc".into())
        );
    }

    #[test]
    fn branches_reach_their_labels() {
        let mut asm = Asm::new(0x1000);
        let (back, ahead) = (asm.label(), asm.label());
        asm.place(back);
        asm.branch(Cond::Ne, ahead);
        asm.branch(Cond::Al, back);
        asm.place(ahead);
        asm.ldr_at(0, 0x1100);
        let text: Vec<String> = (0u32..)
            .zip(asm.finish())
            .map(|(i, w)| decode_a32(w).asm(0x1000 + 4 * i).to_string())
            .collect();
        assert!(
            text[0].contains("1008") && text[1].contains("1000"),
            "{text:?}"
        );
        assert_eq!(text[2], "ldr r0, [pc, #0xf0]");
    }
}
