//! Each form, for all registers and the constants at the edges, as a disassembler reads it.

use capstone::arch::arm64::ArchMode;
use capstone::prelude::*;

use super::*;

mod vector;

const WIDTHS: [Width; 2] = [Width::Word, Width::Double];

const SUMS: [(Sum, &str, &str); 4] = [
    (Sum::Add, "add", "adc"),
    (Sum::AddSet, "adds", "adcs"),
    (Sum::Sub, "sub", "sbc"),
    (Sum::SubSet, "subs", "sbcs"),
];

fn registers() -> impl Iterator<Item = Gpr> {
    (0..31).map(Gpr::x)
}

/// Two more registers; those of all registers are all registers.
fn others(r: Gpr) -> (Gpr, Gpr) {
    let n = u8::try_from(r.number()).unwrap();
    (Gpr::x((61 - n) % 31), Gpr::x((n + 7) % 31))
}

fn name(r: Gpr, width: Width) -> String {
    let letter = if width == Width::Word { 'w' } else { 'x' };
    match r.number() {
        31 => format!("{letter}zr"),
        n => format!("{letter}{n}"),
    }
}

fn word(r: Gpr) -> String {
    name(r, Width::Word)
}

fn double(r: Gpr) -> String {
    name(r, Width::Double)
}

/// A constant as the disassembler writes it.
fn constant(value: u32) -> String {
    match value {
        0..=9 => format!("#{value}"),
        _ => format!("#{value:#x}"),
    }
}

/// What was encoded, and what it should read as.
#[derive(Default)]
struct Check(Vec<(String, Vec<u8>)>);

impl Check {
    fn add(&mut self, text: impl Into<String>, write: impl FnOnce(&mut Asm)) {
        let mut asm = Asm::default();
        write(&mut asm);
        self.0.push((text.into(), asm.bytes));
    }

    /// Disassembles all; what is written as several instructions is read with semicolons between
    /// them.
    fn run(self) {
        let reader = Capstone::new().arm64().mode(ArchMode::Arm).build().unwrap();
        assert!(!self.0.is_empty());
        for (text, bytes) in self.0 {
            let read = reader.disasm_all(&bytes, 0x1000).unwrap();
            let found: Vec<_> = read
                .iter()
                .map(|one| {
                    let (mnemonic, operands) = (one.mnemonic().unwrap(), one.op_str().unwrap());
                    format!("{mnemonic} {operands}").trim_end().to_owned()
                })
                .collect();
            assert_eq!(found.join("; "), text, "{bytes:02x?}");
            assert_eq!(read.len() * 4, bytes.len(), "{text}");
        }
    }
}

#[test]
fn moves() {
    let mut check = Check::default();
    for d in registers() {
        for m in registers() {
            for width in WIDTHS {
                let text = format!("mov {}, {}", name(d, width), name(m, width));
                check.add(text, |a| a.copy(width, d, m));
            }
            check.add(format!("mvn {}, {}", word(d), word(m)), |a| a.not(d, m));
        }
        let (w, x) = (word(d), double(d));
        for (value, text) in [
            (0, format!("mov {w}, #0")),
            (0xffff, format!("mov {w}, #0xffff")),
            (0x1_0000, format!("mov {w}, #0x10000")),
            (0xffff_0000, format!("mov {w}, #-0x10000")),
            (0xffff_fffe, format!("mov {w}, #-2")),
            (u32::MAX, format!("mov {w}, #-1")),
            (0x1234_ffff, format!("mov {w}, #0x1234ffff")),
            (
                0x1234_5678,
                format!("mov {w}, #0x5678; movk {w}, #0x1234, lsl #16"),
            ),
        ] {
            check.add(text, |a| a.set(d, value));
        }
        for (value, text) in [
            (0, format!("mov {x}, #0")),
            (0x7_0000, format!("mov {x}, #0x70000")),
            (
                0xffff_0000_0000_0008,
                format!("mov {x}, #8; movk {x}, #0xffff, lsl #48"),
            ),
            (
                0x7fff_1234_5678,
                format!("mov {x}, #0x5678; movk {x}, #0x1234, lsl #16; movk {x}, #0x7fff, lsl #32"),
            ),
        ] {
            check.add(text, |a| a.set64(d, value));
        }
        check.add(format!("movk {w}, #0xffff, lsl #16"), |a| {
            a.set_high(d, 0xffff);
        });
    }
    check.run();
}

#[test]
fn sums() {
    let mut check = Check::default();
    for (op, mnemonic, with_carry) in SUMS {
        for d in registers() {
            let (n, m) = others(d);
            for width in WIDTHS {
                let [to, first, second] = [d, n, m].map(|r| name(r, width));
                for value in [1, 0xfff, 0x1000, 0xff_f000] {
                    let addend = addend(value).unwrap();
                    let shown = match value {
                        0x1000.. => format!("{}, lsl #12", constant(value >> 12)),
                        value => constant(value),
                    };
                    check.add(format!("{mnemonic} {to}, {first}, {shown}"), |a| {
                        a.sum_imm(width, op, d, n, addend);
                    });
                }
                let text = format!("{mnemonic} {to}, {first}, {second}");
                check.add(&text, |a| a.sum(width, op, d, n, m));
                for left in [1, 5, 31] {
                    check.add(format!("{text}, lsl #{left}"), |a| {
                        a.sum_shifted(width, op, d, n, m, left);
                    });
                }
                if op == Sum::Add {
                    let text = format!("cmp {first}, {second}");
                    check.add(text, |a| a.compare(width, n, m));
                    let text = format!("cmp {first}, #0xfff");
                    check.add(text, |a| a.compare_imm(width, n, 0xfff));
                }
            }
            let text = format!("{with_carry} {}, {}, {}", word(d), word(n), word(m));
            check.add(text, |a| a.sum_carry(op, d, n, m));
            let text = format!("cmp {}, {}, lsr #31", word(d), word(m));
            check.add(text, |a| a.compare_shifted(d, m, 31));
        }
    }
    for (distance, text) in [(0x20, "add x29, sp, #0x20"), (0, "mov x29, sp")] {
        check.add(text, |a| {
            a.sum_imm(Width::Double, Sum::Add, Gpr::x(29), Gpr::SP, distance);
        });
    }
    for value in [0x1001, 0x100_0000, u32::MAX] {
        assert_eq!(addend(value), None);
    }
    check.run();
}

#[test]
fn logic() {
    let ops = [
        (Logic::And, "and", "bic"),
        (Logic::Or, "orr", "orn"),
        (Logic::Xor, "eor", "eon"),
        (Logic::AndSet, "ands", "bics"),
    ];
    let mut check = Check::default();
    for (op, mnemonic, inverse) in ops {
        for d in registers() {
            let (n, m) = others(d);
            let [to, first, second] = [d, n, m].map(word);
            check.add(format!("{mnemonic} {to}, {first}, {second}"), |a| {
                a.logic(op, d, n, m, false);
            });
            check.add(format!("{inverse} {to}, {first}, {second}"), |a| {
                a.logic(op, d, n, m, true);
            });
            for value in [1, 0xff, 0xffff_f003, 0x7fff_ffff, 0x8000_0000, !1] {
                let mask = mask(value).unwrap();
                check.add(format!("{mnemonic} {to}, {first}, {value:#x}"), |a| {
                    a.logic_imm(op, d, n, mask);
                });
            }
            let [to, first, second] = [d, n, m].map(double);
            check.add(format!("orr {to}, {first}, {second}, lsl #32"), |a| {
                a.join(d, n, m);
            });
        }
    }
    for (_, bytes) in &mut check.0 {
        assert_eq!(bytes.len(), 4);
    }
    for (text, _) in &mut check.0 {
        // As the disassembler writes constants.
        if let Some((before, value)) = text.clone().rsplit_once("0x") {
            let value = u32::from_str_radix(value, 16).unwrap();
            *text = format!("{before}{}", constant(value));
        }
    }
    check.run();
    for value in [0, u32::MAX, 0x5555_5555, 0xff00_ff00, 5] {
        assert_eq!(mask(value), None, "{value:#x}");
    }
}

/// Every run of ones, read back.
#[test]
fn masks() {
    let mut check = Check::default();
    for (length, start) in (1..32u32).flat_map(|l| (0..32).map(move |s| (l, s))) {
        let value = (u32::MAX >> (32 - length)).rotate_left(start);
        check.add(format!("eor w1, w2, {}", constant(value)), |a| {
            a.logic_imm(Logic::Xor, Gpr::x(1), Gpr::x(2), mask(value).unwrap());
        });
    }
    check.run();
}

#[test]
fn fields_and_shifts() {
    let shifts = [
        (ShiftOp::Left, "lsl"),
        (ShiftOp::Right, "lsr"),
        (ShiftOp::Arithmetic, "asr"),
        (ShiftOp::Rotate, "ror"),
    ];
    let fields = [
        (Field::Unsigned, 4, 10, "ubfx {}, {}, #4, #0xa"),
        (Field::Unsigned, 12, 20, "lsr {}, {}, #0xc"),
        (Field::Unsigned, 0, 8, "uxtb {}, {}"),
        (Field::Unsigned, 0, 16, "uxth {}, {}"),
        (Field::Unsigned, 0, 1, "ubfx {}, {}, #0, #1"),
        (Field::Unsigned, 31, 1, "lsr {}, {}, #0x1f"),
        (Field::Signed, 1, 30, "sbfx {}, {}, #1, #0x1e"),
        (Field::Signed, 31, 1, "asr {}, {}, #0x1f"),
        (Field::Signed, 0, 8, "sxtb {}, {}"),
        (Field::Signed, 0, 16, "sxth {}, {}"),
    ];
    let mut check = Check::default();
    for d in registers() {
        let (n, m) = others(d);
        let [to, first, second] = [d, n, m].map(word);
        for (op, mnemonic) in shifts {
            for width in WIDTHS {
                let names = [d, n, m].map(|r| name(r, width)).join(", ");
                check.add(format!("{mnemonic} {names}"), |a| {
                    a.shift(width, op, d, n, m);
                });
            }
        }
        for (field, lowest, width, text) in fields {
            let text = text.replacen("{}", &to, 1).replacen("{}", &first, 1);
            check.add(text, |a| a.extract(field, d, n, lowest, width));
        }
        for by in [1, 31] {
            check.add(format!("lsl {to}, {first}, {}", constant(by)), |a| {
                a.left(d, n, by);
            });
            let text = if n == m {
                format!("ror {to}, {first}, {}", constant(by))
            } else {
                format!("extr {to}, {first}, {second}, {}", constant(by))
            };
            check.add(text, |a| a.extract_pair(d, n, m, by));
        }
        for (lowest, width) in [(0, 1), (0, 31), (16, 16), (31, 1)] {
            let (l, w) = (constant(lowest), constant(width));
            let text = if lowest == 0 {
                format!("bfxil {to}, {first}, {l}, {w}")
            } else {
                format!("bfi {to}, {first}, {l}, {w}")
            };
            check.add(text, |a| a.insert(d, n, lowest, width));
        }
        let text = format!("lsr {}, {}, #0x20", double(d), double(n));
        check.add(text, |a| a.high_word(d, n));
    }
    check.run();
}

#[test]
fn products_and_selections() {
    let unary = [
        (Unary::ReverseBits, "rbit"),
        (Unary::ReverseHalves, "rev16"),
        (Unary::ReverseWord, "rev"),
        (Unary::LeadingZeros, "clz"),
    ];
    let mut check = Check::default();
    for d in registers() {
        let (n, m) = others(d);
        let [to, first, second] = [d, n, m].map(word);
        for (op, mnemonic) in unary {
            check.add(format!("{mnemonic} {to}, {first}"), |a| a.unary(op, d, n));
        }
        check.add(format!("mul {to}, {first}, {second}"), |a| {
            a.multiply(d, n, m);
        });
        for (signed, letter) in [(true, 's'), (false, 'u')] {
            let text = format!("{letter}div {to}, {first}, {second}");
            check.add(text, |a| a.divide(signed, d, n, m));
            let text = format!("{letter}mull {}, {first}, {second}", double(d));
            check.add(text, |a| a.multiply_add(signed, d, n, m, Gpr::ZERO));
            let text = format!(
                "{letter}maddl {}, {first}, {second}, {}",
                double(d),
                double(n)
            );
            check.add(text, |a| a.multiply_add(signed, d, n, m, n));
        }
        for (cond, mnemonic) in [(Cond::LO, "lo"), (Cond::LS, "ls")] {
            let text = format!("csel {to}, {first}, {second}, {mnemonic}");
            check.add(text, |a| a.select(d, n, m, cond));
        }
        for (cond, mnemonic) in [(Cond::CS, "hs"), (Cond::VS, "vs"), (Cond::NE, "ne")] {
            check.add(format!("cset {to}, {mnemonic}"), |a| a.set_if(d, cond));
        }
    }
    check.run();
}

#[test]
fn accesses() {
    let accesses = [
        (Access::STORE8, "strb", Width::Word, 1),
        (Access::STORE16, "strh", Width::Word, 2),
        (Access::STORE, "str", Width::Word, 4),
        (Access::STORE64, "str", Width::Double, 8),
        (Access::LOAD8, "ldrb", Width::Word, 1),
        (Access::LOAD16, "ldrh", Width::Word, 2),
        (Access::LOAD, "ldr", Width::Word, 4),
        (Access::LOAD64, "ldr", Width::Double, 8),
        (Access::LOAD_SIGNED8, "ldrsb", Width::Word, 1),
        (Access::LOAD_SIGNED16, "ldrsh", Width::Word, 2),
    ];
    let mut check = Check::default();
    for t in registers().chain([Gpr::ZERO]) {
        let (n, m) = others(t);
        for (access, mnemonic, width, size) in accesses {
            let (t_name, base) = (name(t, width), double(n));
            for offset in [0, size, 0xfff * size] {
                let at = match offset {
                    0 => format!("[{base}]"),
                    offset => format!("[{base}, {}]", constant(offset)),
                };
                check.add(format!("{mnemonic} {t_name}, {at}"), |a| {
                    a.access(access, t, Mem::Base(n, offset));
                });
            }
            let text = format!("{mnemonic} {t_name}, [{base}, {}, uxtw]", word(m));
            check.add(text, |a| a.access(access, t, Mem::Sum(n, m)));
        }
    }
    for first in registers() {
        let pair = (first, others(first).0);
        if pair.0 == pair.1 {
            continue;
        }
        for (width, size) in WIDTHS.into_iter().zip([4, 8]) {
            for (load, mnemonic) in [(false, "stp"), (true, "ldp")] {
                let text = format!(
                    "{mnemonic} {}, {}",
                    name(pair.0, width),
                    name(pair.1, width)
                );
                let mut add = |at: &str, pair_at| {
                    check.add(format!("{text}, {at}"), |a| {
                        a.pair(width, load, pair, pair_at)
                    });
                };
                let (sp, low, high) = (Gpr::SP, -64 * size, 63 * size);
                add("[sp]", Pair::At(sp, 0));
                add(&format!("[sp, #{high:#x}]"), Pair::At(sp, high));
                add(&format!("[sp, #-{:#x}]!", -low), Pair::Before(sp, low));
                add(&format!("[sp], #{high:#x}"), Pair::After(sp, high));
            }
        }
    }
    check.run();
}

#[test]
fn branches() {
    let conditions = [
        "eq", "ne", "hs", "lo", "mi", "pl", "vs", "vc", "hi", "ls", "ge", "lt", "gt", "le",
    ];
    let mut check = Check::default();
    for (number, condition) in (0..).zip(conditions) {
        // Furthest, and nearest.
        for (to, text) in [(0xf_fffc, "0x100ffc"), (0, "0x1000")] {
            check.add(format!("b.{condition} #{text}"), |a| {
                let fixup = a.jump_if(Cond::new(number));
                a.bind(fixup, to);
            });
        }
        let inverse = Cond::new(number).inverse();
        check.add(
            format!("b.{} #0x1004", conditions[inverse.number() as usize]),
            |a| {
                let fixup = a.jump_if(inverse);
                a.bind_here(fixup);
            },
        );
    }
    for t in registers() {
        for (zero, mnemonic) in [(true, "cbz"), (false, "cbnz")] {
            check.add(format!("{mnemonic} {}, #0x1010", word(t)), |a| {
                let fixup = a.jump_if_zero(t, zero);
                a.bind(fixup, 0x10);
            });
        }
        check.add(format!("ldr {}, #0x1028", double(t)), |a| {
            let fixup = a.load_here(t);
            a.bind(fixup, 0x28);
        });
        check.add(format!("br {}", double(t)), |a| a.jump_to(t));
        check.add(format!("blr {}", double(t)), |a| a.call(t));
    }
    for (distance, text) in [(0x7ff_fffc, "0x8000ffc"), (-0x1000, "0")] {
        check.add(format!("b #{text}"), |a| {
            let fixup = a.jump();
            assert_eq!(fixup.at(), 0);
            a.set_distance(fixup, distance);
        });
        check.add(format!("bl #{text}"), |a| {
            let fixup = a.call_near();
            a.set_distance(fixup, distance);
        });
        check.add(format!("b #{text}"), |a| a.word(branch(distance)));
    }
    check.add("b #0x1000", |a| {
        let fixup = a.jump();
        // What was filled in is filled in anew.
        a.bind(fixup, 0x100);
        a.bind(fixup, 0);
    });
    check.add("ret", Asm::ret);
    check.run();
}

#[test]
fn doublewords_of_code_are_aligned() {
    let mut asm = Asm::default();
    asm.ret();
    assert_eq!(asm.quad(), 8);
    assert_eq!(asm.quad(), 16);
    assert_eq!(asm.bytes()[4..], [0; 20]);
    asm.clear();
    assert_eq!(asm.here(), 0);
}
