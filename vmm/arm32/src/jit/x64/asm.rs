//! An encoder of the x86-64 instructions that are emitted (Intel SDM, volume 2: 2.1 for the format,
//! 2.2.1 for REX).
//!
//! It is our own because it is a tenth of the time that a translation takes; the general ones are
//! most of it. Tests compare each form, for all registers, with a disassembler.

mod operands;
mod vector;

pub use operands::{Alu, Cc, Extend, Gpr, Mem, Rm, ShiftOp, Width};
pub use vector::{CompareSingles, Fused, Packed, PackedShift, Scalar, Shuffle, Singles, Xmm};

/// Where a branch says how far it goes: four bytes, to be filled in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fixup(usize);

impl Fixup {
    /// Returns where the four bytes are.
    pub const fn at(self) -> usize {
        self.0
    }
}

/// Code as it is written.
#[derive(Debug, Default)]
pub struct Asm {
    bytes: Vec<u8>,
}

/// How an instruction with two operands is encoded.
struct Form<'o> {
    prefix: Option<u8>,
    opcode: &'o [u8],
    width: Width,
    /// Both operands are bytes: registers 4 to 7 are those of RSP to RDI only with REX.
    bytes: bool,
}

impl<'o> Form<'o> {
    const fn new(opcode: &'o [u8], width: Width) -> Self {
        Self {
            prefix: None,
            opcode,
            width,
            bytes: false,
        }
    }
}

impl Asm {
    /// Returns the position of what is written next.
    pub fn here(&self) -> usize {
        self.bytes.len()
    }

    /// Returns what was written.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Forgets what was written.
    pub fn clear(&mut self) {
        self.bytes.clear();
    }

    fn byte(&mut self, byte: u8) {
        self.bytes.push(byte);
    }

    fn word(&mut self, word: u32) {
        self.bytes.extend(word.to_le_bytes());
    }

    /// Writes an instruction of `form` with `reg` (a register's number, or an opcode extension) and
    /// `rm`.
    fn modrm(&mut self, form: &Form<'_>, reg: u8, rm: Rm) {
        // Before REX, which must be next to the opcode.
        if let Some(prefix) = form.prefix {
            self.byte(prefix);
        }
        let (base, index) = match rm {
            Rm::Reg(r) | Rm::Mem(Mem::Base(r, _)) => (r.high(), 0),
            Rm::Mem(Mem::Sum(base, index, _)) => (base.high(), index.high()),
        };
        let wide = u8::from(form.width == Width::Quad);
        let rex = 0x40 | wide << 3 | (reg >> 3) << 2 | index << 1 | base;
        let needs_rex = |number: u8| (4..8).contains(&number);
        let named =
            form.bytes && (needs_rex(reg) || matches!(rm, Rm::Reg(r) if needs_rex(r as u8)));
        if rex != 0x40 || named {
            self.byte(rex);
        }
        self.bytes.extend(form.opcode);
        self.operand(reg & 7, rm);
    }

    fn operand(&mut self, reg: u8, rm: Rm) {
        let reg = reg << 3;
        match rm {
            Rm::Reg(r) => self.byte(0xc0 | reg | r.low()),
            Rm::Mem(Mem::Base(base, disp)) => {
                let small = i8::try_from(disp);
                // Without a displacement, RBP and R13 would mean something else: all have one.
                let mode = if small.is_ok() { 0x40 } else { 0x80 };
                self.byte(mode | reg | base.low());
                if base.low() == 4 {
                    // No index; R12 and RSP need the byte that would name one.
                    self.byte(0x24);
                }
                match small {
                    Ok(disp) => self.byte(disp.cast_unsigned()),
                    Err(_) => self.word(disp.cast_unsigned()),
                }
            }
            Rm::Mem(Mem::Sum(base, index, disp)) => {
                debug_assert_ne!(index, Gpr::Rsp, "it cannot be an index");
                // With a displacement, also of 0, for the sake of RBP and R13.
                self.byte(0x44 | reg);
                self.byte(index.low() << 3 | base.low());
                self.byte(disp.cast_unsigned());
            }
        }
    }

    /// MOV `d`, `s`.
    pub fn load(&mut self, width: Width, d: Gpr, s: Rm) {
        self.modrm(&Form::new(&[0x8b], width), d as u8, s);
    }

    /// MOV `d`, `s` of 4 or 8 bytes.
    pub fn store(&mut self, width: Width, d: Mem, s: Gpr) {
        self.modrm(&Form::new(&[0x89], width), s as u8, Rm::Mem(d));
    }

    /// MOV `d`, `s` of 2 bytes.
    pub fn store16(&mut self, d: Mem, s: Gpr) {
        let form = Form {
            prefix: Some(0x66),
            ..Form::new(&[0x89], Width::Long)
        };
        self.modrm(&form, s as u8, Rm::Mem(d));
    }

    /// MOV `d`, `s` of one byte.
    pub fn store8(&mut self, d: Mem, s: Gpr) {
        let form = Form {
            bytes: true,
            ..Form::new(&[0x88], Width::Long)
        };
        self.modrm(&form, s as u8, Rm::Mem(d));
    }

    /// MOV `d`, `value` of 4 bytes.
    pub fn store_imm(&mut self, d: Mem, value: u32) {
        self.modrm(&Form::new(&[0xc7], Width::Long), 0, Rm::Mem(d));
        self.word(value);
    }

    /// MOV `d`, `value` of one byte.
    pub fn store_imm8(&mut self, d: Mem, value: u8) {
        self.modrm(&Form::new(&[0xc6], Width::Long), 0, Rm::Mem(d));
        self.byte(value);
    }

    /// MOV `d`, `value`.
    pub fn set(&mut self, d: Gpr, value: u32) {
        self.short(0xb8, d);
        self.word(value);
    }

    /// MOV `d`, `value` of 8 bytes.
    pub fn set64(&mut self, d: Gpr, value: u64) {
        self.byte(0x48 | d.high());
        self.byte(0xb8 | d.low());
        self.bytes.extend(value.to_le_bytes());
    }

    /// Writes an instruction whose opcode holds its register.
    fn short(&mut self, opcode: u8, r: Gpr) {
        if r.high() != 0 {
            self.byte(0x41);
        }
        self.byte(opcode | r.low());
    }

    /// LEA `d`, `s`.
    pub fn lea(&mut self, width: Width, d: Gpr, s: Mem) {
        self.modrm(&Form::new(&[0x8d], width), d as u8, Rm::Mem(s));
    }

    /// `op` `d`, `s`.
    pub fn alu(&mut self, width: Width, op: Alu, d: Gpr, s: Rm) {
        self.modrm(&Form::new(&[op as u8 * 8 + 3], width), d as u8, s);
    }

    /// `op` `d`, `s` in memory.
    pub fn alu_to(&mut self, width: Width, op: Alu, d: Mem, s: Gpr) {
        self.modrm(&Form::new(&[op as u8 * 8 + 1], width), s as u8, Rm::Mem(d));
    }

    /// `op` `d`, `value`.
    pub fn alu_imm(&mut self, width: Width, op: Alu, d: Rm, value: i32) {
        match i8::try_from(value) {
            // A byte, extended by its sign.
            Ok(byte) => {
                self.modrm(&Form::new(&[0x83], width), op as u8, d);
                self.byte(byte.cast_unsigned());
            }
            Err(_) => {
                self.modrm(&Form::new(&[0x81], width), op as u8, d);
                self.word(value.cast_unsigned());
            }
        }
    }

    /// CMP of a byte in memory with `value`.
    pub fn compare8(&mut self, d: Mem, value: u8) {
        self.modrm(&Form::new(&[0x80], Width::Long), 7, Rm::Mem(d));
        self.byte(value);
    }

    /// TEST `d`, `s`.
    pub fn test(&mut self, d: Gpr, s: Gpr) {
        self.modrm(&Form::new(&[0x85], Width::Long), s as u8, Rm::Reg(d));
    }

    /// TEST `d`, `value`.
    pub fn test_imm(&mut self, d: Gpr, value: u32) {
        self.modrm(&Form::new(&[0xf7], Width::Long), 0, Rm::Reg(d));
        self.word(value);
    }

    /// `op` `d`, `amount`.
    pub fn shift(&mut self, width: Width, op: ShiftOp, d: Gpr, amount: u8) {
        self.modrm(&Form::new(&[0xc1], width), op as u8, Rm::Reg(d));
        self.byte(amount);
    }

    /// RORX `d`, `s`, `amount`, of 4 bytes, which hosts with BMI2 have. No flag changes.
    pub fn rotate_to(&mut self, d: Gpr, s: Gpr, amount: u8) {
        // The prefix that stands for 0xf2 0x0f 0x3a, with the upper bits of both numbers inverted.
        let high = (d as u8 >> 3) << 7 | s.high() << 5;
        self.bytes.extend([0xc4, 0xe3 ^ high, 0x7b, 0xf0]);
        self.operand(d as u8 & 7, Rm::Reg(s));
        self.byte(amount);
    }

    /// `op` `d`, CL.
    pub fn shift_cl(&mut self, width: Width, op: ShiftOp, d: Gpr) {
        self.modrm(&Form::new(&[0xd3], width), op as u8, Rm::Reg(d));
    }

    /// NOT `d`.
    pub fn not(&mut self, d: Gpr) {
        self.modrm(&Form::new(&[0xf7], Width::Long), 2, Rm::Reg(d));
    }

    /// IMUL `d`, `s`.
    pub fn multiply(&mut self, width: Width, d: Gpr, s: Rm) {
        self.modrm(&Form::new(&[0x0f, 0xaf], width), d as u8, s);
    }

    /// CQO, or CDQ: RDX becomes the sign of RAX.
    pub fn sign_to_rdx(&mut self, width: Width) {
        if width == Width::Quad {
            self.byte(0x48);
        }
        self.byte(0x99);
    }

    /// IDIV or DIV of RDX:RAX by `s`.
    pub fn divide(&mut self, width: Width, signed: bool, s: Gpr) {
        let op = if signed { 7 } else { 6 };
        self.modrm(&Form::new(&[0xf7], width), op, Rm::Reg(s));
    }

    /// MOVSXD `d`, `s`.
    pub fn sign_extend32(&mut self, d: Gpr, s: Rm) {
        self.modrm(&Form::new(&[0x63], Width::Quad), d as u8, s);
    }

    /// MOVZX or MOVSX `d`, `s`.
    pub fn extend(&mut self, kind: Extend, d: Gpr, s: Rm) {
        let opcode = [0x0f, kind as u8];
        let of_byte = matches!(kind, Extend::Zero8 | Extend::Sign8);
        // Only the source is a byte; REX is harmless where the destination alone would not need it.
        let form = Form {
            bytes: of_byte && matches!(s, Rm::Reg(_)),
            ..Form::new(&opcode, Width::Long)
        };
        self.modrm(&form, d as u8, s);
    }

    /// BSWAP `d`.
    pub fn swap_bytes(&mut self, d: Gpr) {
        if d.high() != 0 {
            self.byte(0x41);
        }
        self.byte(0x0f);
        self.byte(0xc8 | d.low());
    }

    /// LZCNT `d`, `s`.
    pub fn leading_zeros(&mut self, d: Gpr, s: Gpr) {
        let form = Form {
            prefix: Some(0xf3),
            ..Form::new(&[0x0f, 0xbd], Width::Long)
        };
        self.modrm(&form, d as u8, Rm::Reg(s));
    }

    /// SETcc of a byte in memory.
    pub fn set_if(&mut self, cc: Cc, d: Mem) {
        let opcode = [0x0f, 0x90 | cc as u8];
        self.modrm(&Form::new(&opcode, Width::Long), 0, Rm::Mem(d));
    }

    /// CMOVcc `d`, `s`.
    pub fn load_if(&mut self, cc: Cc, d: Gpr, s: Rm) {
        let opcode = [0x0f, 0x40 | cc as u8];
        self.modrm(&Form::new(&opcode, Width::Long), d as u8, s);
    }

    /// BT of bit `bit` of `d`: CF becomes that bit.
    pub fn bit_test(&mut self, d: Rm, bit: u8) {
        self.modrm(&Form::new(&[0x0f, 0xba], Width::Long), 4, d);
        self.byte(bit);
    }

    /// CMC.
    pub fn complement_carry(&mut self) {
        self.byte(0xf5);
    }

    /// PUSH `r`.
    pub fn push(&mut self, r: Gpr) {
        self.short(0x50, r);
    }

    /// POP `r`.
    pub fn pop(&mut self, r: Gpr) {
        self.short(0x58, r);
    }

    /// RET.
    pub fn ret(&mut self) {
        self.byte(0xc3);
    }

    /// CALL of the address in `to`.
    pub fn call(&mut self, to: Rm) {
        self.modrm(&Form::new(&[0xff], Width::Long), 2, to);
    }

    /// JMP to the address in `to`.
    pub fn jump_to(&mut self, to: Rm) {
        self.modrm(&Form::new(&[0xff], Width::Long), 4, to);
    }

    /// JMP, to be filled in.
    pub fn jump(&mut self) -> Fixup {
        self.byte(0xe9);
        self.distance()
    }

    /// Jcc, to be filled in.
    pub fn jump_if(&mut self, cc: Cc) -> Fixup {
        self.byte(0x0f);
        self.byte(0x80 | cc as u8);
        self.distance()
    }

    /// CMP `r` with 8 bytes of the code, to be filled in.
    pub fn compare_here(&mut self, r: Gpr) -> Fixup {
        self.byte(0x48 | r.high() << 2);
        self.byte(0x3b);
        // Relative to the end of the instruction.
        self.byte(r.low() << 3 | 5);
        self.distance()
    }

    /// Writes 8 bytes of zeros at a multiple of 8; returns their position.
    pub fn quad(&mut self) -> usize {
        let at = self.bytes.len().next_multiple_of(8);
        self.bytes.resize(at + 8, 0);
        at
    }

    /// CALL, to be filled in.
    pub fn call_near(&mut self) -> Fixup {
        self.byte(0xe8);
        self.distance()
    }

    fn distance(&mut self) -> Fixup {
        let fixup = Fixup(self.here());
        self.word(0);
        fixup
    }

    /// Has the branch of `fixup` go to position `to`.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_possible_wrap,
        reason = "positions are within a code area of megabytes"
    )]
    pub fn bind(&mut self, fixup: Fixup, to: usize) {
        let Fixup(at) = fixup;
        // Counted from the end of the branch, which is that of its four bytes.
        let distance = (to as i64 - (at as i64 + 4)) as i32;
        self.bytes[at..at + 4].copy_from_slice(&distance.to_le_bytes());
    }

    /// Has the branch of `fixup` go `distance` bytes from its end.
    pub fn set_distance(&mut self, fixup: Fixup, distance: i32) {
        let Fixup(at) = fixup;
        self.bytes[at..at + 4].copy_from_slice(&distance.to_le_bytes());
    }

    /// Has the branch of `fixup` go to what is written next.
    pub fn bind_here(&mut self, fixup: Fixup) {
        self.bind(fixup, self.here());
    }
}

#[cfg(test)]
mod tests;
