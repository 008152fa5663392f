//! Programs, from the decoder's tables.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "code is short, instructions are cut into halfwords, and offsets are put into them"
)]

use std::sync::LazyLock;

use arbitrary::Arbitrary;
use arm32::cp15;
use arm32_isa::{Class, ENCODINGS, Encoding, Set};

use super::image::Image;
use crate::targets::rest::Rest;

use super::setting::{CODE, CODE_SIZE, FIRST, Pointer};

/// A program: what it does, over and over.
#[derive(Arbitrary, Debug)]
pub struct Program(Rest<Step>);

/// A part of a program.
#[derive(Arbitrary, Debug)]
enum Step {
    /// An instruction of the table, with its free bits.
    Encoding(u16, u32, Shape),
    /// One that accesses memory.
    Memory(u16, u32, Shape),
    /// One of VFP or Advanced SIMD.
    Vector(u16, u32, Shape),
    /// A register gets a value.
    Set(u8, Pointer),
    /// A system register of the table is read, or written from a register.
    System(u8, u8, bool),
    /// One of 64 bits is.
    System64(u8, u8, bool),
    /// A system register gets a value: the registers are those of the next step, if it is one.
    Control(u8, u32),
    /// Any word.
    Word(u32),
}

/// How free bits are bent, so that most instructions do something useful and leave the pointers as
/// they are.
#[derive(Arbitrary, Clone, Copy, Debug)]
struct Shape {
    /// Keep the condition that the bits have.
    conditional: bool,
    /// Keep the registers that the bits have.
    any: bool,
    /// The base register, counted from the first one that points to memory.
    base: u8,
}

/// Encodings of a set, by class.
struct Table {
    all: Vec<&'static Encoding>,
    memory: Vec<&'static Encoding>,
    vector: Vec<&'static Encoding>,
}

static TABLES: LazyLock<[Table; 2]> = LazyLock::new(|| {
    [&[Set::A32][..], &[Set::T32, Set::T16]].map(|sets| {
        let of = |class: Class| {
            let fits = |e: &&Encoding| sets.contains(&e.set) && e.class.intersects(class);
            ENCODINGS.iter().filter(fits).collect()
        };
        Table {
            all: of(Class::all()),
            memory: of(Class::MEMORY | Class::MULTIPLE | Class::EXCLUSIVE | Class::UNPRIVILEGED),
            vector: of(Class::FP | Class::SIMD),
        }
    })
});

/// Halfwords of code.
struct Code {
    thumb: bool,
    halves: Vec<u16>,
}

impl Code {
    /// Adds a 32-bit instruction, as tables write it.
    fn wide(&mut self, word: u32) {
        let (high, low) = ((word >> 16) as u16, word as u16);
        self.halves
            .extend(if self.thumb { [high, low] } else { [low, high] });
    }

    fn encoding(&mut self, list: &[&'static Encoding], which: u16, bits: u32, shape: Shape) {
        let encoding = list[usize::from(which) % list.len()];
        let (fixed, value) = (
            encoding.mask | encoding.should_mask,
            encoding.value | encoding.should_value,
        );
        let mut word = bits;
        let mut put = |letter: char, value: &dyn Fn(u32) -> u32| {
            if let Some(field) = encoding.field(letter) {
                word = field.set(word, value(field.get(word)));
            }
        };
        if !shape.conditional && encoding.set == Set::A32 {
            put('c', &|_| 14);
        }
        if !shape.any {
            // R8 to R12 point to memory, R0 to R7 take results.
            if encoding
                .class
                .intersects(Class::MEMORY | Class::MULTIPLE | Class::EXCLUSIVE)
            {
                put('n', &|n| {
                    if n == 15 {
                        n
                    } else {
                        8 + u32::from(shape.base) % 6
                    }
                });
                put('m', &|m| if m == 15 { m } else { m & 7 });
            }
            for letter in ['d', 't'] {
                if !encoding.class.intersects(Class::FP | Class::SIMD) {
                    put(letter, &|d| d & 7);
                }
            }
        }
        let word = word & !fixed | value;
        if encoding.set == Set::T16 {
            self.halves.push(word as u16);
        } else {
            self.wide(word);
        }
    }

    /// Adds MOVW and MOVT.
    fn set(&mut self, register: u8, value: u32) {
        let register = u32::from(register);
        for (half, top) in [(value & 0xffff, 0), (value >> 16, 1)] {
            self.wide(if self.thumb {
                0xf240_0000
                    | top << 23
                    | half >> 12 << 16
                    | (half >> 11 & 1) << 26
                    | (half >> 8 & 7) << 12
                    | register << 8
                    | half & 0xff
            } else {
                0xe300_0000 | top << 22 | half >> 12 << 16 | register << 12 | half & 0xfff
            });
        }
    }

    fn system(&mut self, which: u8, register: u8, read: bool) {
        let registers = cp15::table::registers();
        let at = registers[usize::from(which) % registers.len()].reg;
        let word = [
            (at.opc1, 21),
            (at.crn, 16),
            (register % 13, 12),
            (at.coproc, 8),
            (at.opc2, 5),
            (at.crm, 0),
        ]
        .into_iter()
        .fold(0xee00_0010 | u32::from(read) << 20, |word, (field, at)| {
            word | u32::from(field) << at
        });
        self.wide(word);
    }

    fn step(&mut self, step: &Step) {
        let table = &TABLES[usize::from(self.thumb)];
        match step {
            Step::Encoding(which, bits, shape) => self.encoding(&table.all, *which, *bits, *shape),
            Step::Memory(which, bits, shape) => self.encoding(&table.memory, *which, *bits, *shape),
            Step::Vector(which, bits, shape) => self.encoding(&table.vector, *which, *bits, *shape),
            Step::Set(register, pointer) => self.set(register % 15, pointer.value()),
            Step::System(which, register, read) => self.system(*which, *register, *read),
            Step::Control(which, value) => {
                self.set(0, *value);
                self.system(*which, 0, false);
            }
            Step::System64(place, register, read) => {
                let (opc1, crm) = (
                    u32::from(place >> 4 & 7),
                    [2, 7, 14, 15, 9, 1][usize::from(place & 15) % 6],
                );
                let register = u32::from(register % 12);
                self.wide(
                    0xec40_0f00
                        | u32::from(*read) << 20
                        | (register + 1) << 16
                        | register << 12
                        | opc1 << 4
                        | crm,
                );
            }
            Step::Word(word) => self.wide(*word),
        }
    }
}

/// What handlers do: each returns behind the instruction that brought it about (A32, from the reset
/// vector on).
const VECTORS: [u32; 8] = [
    0xeafffffe,  // b .
    0xe1b0_f00e, // movs pc, lr
    0xe1b0_f00e, // movs pc, lr
    0xe1b0_f00e, // movs pc, lr
    0xe25e_f004, // subs pc, lr, #4
    0xe1a0_0000, // nop
    0xe25e_f004, // subs pc, lr, #4
    0xe25e_f004, // subs pc, lr, #4
];

impl Program {
    /// Writes the vectors and the program, again and again, to where code is. Returns how many
    /// words the program has, which is about as many instructions.
    pub fn place(&self, image: &mut Image, thumb: bool) -> u64 {
        image.words(CODE, &VECTORS);
        let mut code = Code {
            thumb,
            halves: Vec::new(),
        };
        let room = ((CODE_SIZE - FIRST) / 2) as usize - 4;
        for step in &self.0.0 {
            code.step(step);
            if code.halves.len() > room {
                break;
            }
        }
        code.halves.truncate(room);
        if !thumb {
            code.halves.truncate(code.halves.len() & !1);
        }
        // Back to the first instruction.
        if thumb {
            let back = -(code.halves.len() as i32 + 2);
            let offset = back as u32;
            // B.W, whose displacement reaches 16 MiB.
            let (sign, imm10, imm11) = (offset >> 23 & 1, offset >> 11 & 0x3ff, offset & 0x7ff);
            code.wide(0xf000_b800 | sign << 26 | imm10 << 16 | imm11);
        } else {
            let back = -(code.halves.len() as i32 / 2 + 2);
            code.wide(0xea00_0000 | back as u32 & 0xff_ffff);
        }
        image.halves(CODE + FIRST, &code.halves);
        code.halves.len() as u64 / 2
    }
}
