//! Each form, for all registers, as a disassembler reads it.

mod vectors;

use capstone::arch::x86::{ArchMode, ArchSyntax};
use capstone::prelude::*;

use super::*;

const MEMORY: [Mem; 4] = [
    Mem::Base(Gpr::Rbx, 0x10),
    Mem::Base(Gpr::Rbp, -0x80),
    Mem::Base(Gpr::R12, 0x1234),
    Mem::Base(Gpr::R13, 0),
];

const WIDTHS: [(Width, &str); 2] = [(Width::Long, "dword ptr "), (Width::Quad, "qword ptr ")];

fn name(r: Gpr, width: Width) -> String {
    let old = ["ax", "cx", "dx", "bx", "sp", "bp", "si", "di"];
    match (old.get(r as usize), width) {
        (Some(name), Width::Long) => format!("e{name}"),
        (Some(name), Width::Quad) => format!("r{name}"),
        (None, Width::Long) => format!("r{}d", r as u8),
        (None, Width::Quad) => format!("r{}", r as u8),
    }
}

fn name8(r: Gpr) -> String {
    let old = ["al", "cl", "dl", "bl", "spl", "bpl", "sil", "dil"];
    old.get(r as usize)
        .map_or_else(|| format!("r{}b", r as u8), |name| (*name).to_owned())
}

fn name16(r: Gpr) -> String {
    let long = name(r, Width::Long);
    match long.strip_prefix('e') {
        Some(name) => name.to_owned(),
        None => long.replace('d', "w"),
    }
}

fn memory(m: Mem, size: &str) -> String {
    let at = match m {
        Mem::Base(base, 0) => name(base, Width::Quad),
        Mem::Base(base, disp) => {
            let sign = if disp < 0 { '-' } else { '+' };
            format!(
                "{} {sign} {:#x}",
                name(base, Width::Quad),
                disp.unsigned_abs()
            )
        }
        Mem::Sum(base, index, disp) => {
            let sum = format!("{} + {}", name(base, Width::Quad), name(index, Width::Quad));
            match disp {
                0 => sum,
                disp => format!("{sum} + {disp:#x}"),
            }
        }
    };
    format!("{size}[{at}]")
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

    fn run(self) {
        let reader = Capstone::new()
            .x86()
            .mode(ArchMode::Mode64)
            .syntax(ArchSyntax::Intel)
            .build()
            .unwrap();
        assert!(!self.0.is_empty());
        for (text, bytes) in self.0 {
            let read = reader.disasm_all(&bytes, 0).unwrap();
            let [one] = read.as_ref() else {
                panic!("{text}: {bytes:02x?} is not one instruction");
            };
            let (mnemonic, operands) = (one.mnemonic().unwrap(), one.op_str().unwrap());
            let found = format!("{mnemonic} {operands}");
            assert_eq!(found.trim_end(), text, "{bytes:02x?}");
            assert_eq!(one.len(), bytes.len(), "{text}");
        }
    }
}

#[test]
fn moves() {
    let mut check = Check::default();
    for r in Gpr::ALL {
        for (width, size) in WIDTHS {
            let d = name(r, width);
            for s in Gpr::ALL {
                check.add(format!("mov {d}, {}", name(s, width)), |a| {
                    a.load(width, r, Rm::Reg(s));
                });
            }
            for m in MEMORY {
                let (at, plain) = (memory(m, size), memory(m, ""));
                check.add(format!("mov {d}, {at}"), |a| a.load(width, r, Rm::Mem(m)));
                check.add(format!("mov {at}, {d}"), |a| a.store(width, m, r));
                check.add(format!("lea {d}, {plain}"), |a| a.lea(width, r, m));
            }
        }
        for m in MEMORY {
            let at = memory(m, "word ptr ");
            check.add(format!("mov {at}, {}", name16(r)), |a| a.store16(m, r));
            let at = memory(m, "byte ptr ");
            check.add(format!("mov {at}, {}", name8(r)), |a| a.store8(m, r));
        }
        let (d, wide) = (name(r, Width::Long), name(r, Width::Quad));
        check.add(format!("mov {d}, 0x12345678"), |a| a.set(r, 0x1234_5678));
        check.add(format!("movabs {wide}, 0x123456789abcdef0"), |a| {
            a.set64(r, 0x1234_5678_9abc_def0);
        });
        for index in Gpr::ALL.into_iter().filter(|index| *index != Gpr::Rsp) {
            for disp in [0, 0x10] {
                let at = Mem::Sum(r, index, disp);
                let text = format!("mov eax, {}", memory(at, "dword ptr "));
                check.add(text, |a| a.load(Width::Long, Gpr::Rax, Rm::Mem(at)));
            }
        }
    }
    for m in MEMORY {
        let at = memory(m, "dword ptr ");
        check.add(format!("mov {at}, 0x12345"), |a| a.store_imm(m, 0x12345));
        let at = memory(m, "byte ptr ");
        check.add(format!("mov {at}, 1"), |a| a.store_imm8(m, 1));
    }
    check.run();
}

#[test]
fn arithmetic() {
    let ops = [
        (Alu::Add, "add"),
        (Alu::Or, "or"),
        (Alu::Adc, "adc"),
        (Alu::Sbb, "sbb"),
        (Alu::And, "and"),
        (Alu::Sub, "sub"),
        (Alu::Xor, "xor"),
        (Alu::Cmp, "cmp"),
    ];
    let mut check = Check::default();
    for (op, mnemonic) in ops {
        for (width, size) in WIDTHS {
            for r in Gpr::ALL {
                let d = name(r, width);
                for s in [Gpr::Rcx, Gpr::R14] {
                    check.add(format!("{mnemonic} {d}, {}", name(s, width)), |a| {
                        a.alu(width, op, r, Rm::Reg(s));
                    });
                }
                for m in MEMORY {
                    let at = memory(m, size);
                    check.add(format!("{mnemonic} {d}, {at}"), |a| {
                        a.alu(width, op, r, Rm::Mem(m));
                    });
                    check.add(format!("{mnemonic} {at}, {d}"), |a| {
                        a.alu_to(width, op, m, r);
                    });
                }
                for value in [0x7f, 0x12345] {
                    check.add(format!("{mnemonic} {d}, {value:#x}"), |a| {
                        a.alu_imm(width, op, Rm::Reg(r), value);
                    });
                }
            }
            for m in MEMORY {
                let at = memory(m, size);
                check.add(format!("{mnemonic} {at}, 0x12345"), |a| {
                    a.alu_imm(width, op, Rm::Mem(m), 0x12345);
                });
            }
        }
    }
    for m in MEMORY {
        let at = memory(m, "byte ptr ");
        check.add(format!("cmp {at}, 1"), |a| a.compare8(m, 1));
    }
    check.run();
}

#[test]
fn shifts_and_products() {
    let shifts = [
        (ShiftOp::Ror, "ror"),
        (ShiftOp::Rcr, "rcr"),
        (ShiftOp::Shl, "shl"),
        (ShiftOp::Shr, "shr"),
        (ShiftOp::Sar, "sar"),
    ];
    let mut check = Check::default();
    for r in Gpr::ALL {
        for (width, _) in WIDTHS {
            let d = name(r, width);
            for (op, mnemonic) in shifts {
                check.add(format!("{mnemonic} {d}, 5"), |a| a.shift(width, op, r, 5));
                check.add(format!("{mnemonic} {d}, cl"), |a| a.shift_cl(width, op, r));
            }
            check.add(format!("div {d}"), |a| a.divide(width, false, r));
            check.add(format!("idiv {d}"), |a| a.divide(width, true, r));
            for s in Gpr::ALL {
                check.add(format!("imul {d}, {}", name(s, width)), |a| {
                    a.multiply(width, r, Rm::Reg(s));
                });
            }
        }
    }
    check.run();
}

#[test]
fn bits_and_extensions() {
    let extensions = [
        (Extend::Zero8, "movzx", true),
        (Extend::Zero16, "movzx", false),
        (Extend::Sign8, "movsx", true),
        (Extend::Sign16, "movsx", false),
    ];
    let mut check = Check::default();
    for r in Gpr::ALL {
        let (d, wide) = (name(r, Width::Long), name(r, Width::Quad));
        for s in Gpr::ALL {
            let long = name(s, Width::Long);
            check.add(format!("movsxd {wide}, {long}"), |a| {
                a.sign_extend32(r, Rm::Reg(s));
            });
            check.add(format!("lzcnt {d}, {long}"), |a| a.leading_zeros(r, s));
            check.add(format!("rorx {d}, {long}, 8"), |a| a.rotate_to(r, s, 8));
            check.add(format!("test {d}, {long}"), |a| a.test(r, s));
            for (kind, mnemonic, byte) in extensions {
                let s_name = if byte { name8(s) } else { name16(s) };
                check.add(format!("{mnemonic} {d}, {s_name}"), |a| {
                    a.extend(kind, r, Rm::Reg(s));
                });
            }
        }
        for m in MEMORY {
            for (kind, mnemonic, byte) in extensions {
                let size = if byte { "byte ptr " } else { "word ptr " };
                check.add(format!("{mnemonic} {d}, {}", memory(m, size)), |a| {
                    a.extend(kind, r, Rm::Mem(m));
                });
            }
        }
        check.add(format!("not {d}"), |a| a.not(r));
        check.add(format!("bswap {d}"), |a| a.swap_bytes(r));
        check.add(format!("test {d}, 0x12345"), |a| a.test_imm(r, 0x12345));
        check.add(format!("bt {d}, 3"), |a| a.bit_test(Rm::Reg(r), 3));
    }
    check.run();
}

#[test]
fn conditions_and_branches() {
    let conditions = [
        (Cc::O, "o"),
        (Cc::No, "no"),
        (Cc::B, "b"),
        (Cc::Ae, "ae"),
        (Cc::E, "e"),
        (Cc::Ne, "ne"),
        (Cc::Be, "be"),
        (Cc::A, "a"),
        (Cc::S, "s"),
        (Cc::Ns, "ns"),
        (Cc::P, "p"),
        (Cc::L, "l"),
        (Cc::Ge, "ge"),
        (Cc::Le, "le"),
        (Cc::G, "g"),
    ];
    let mut check = Check::default();
    let name32 = |r| name(r, Width::Long);
    for (cc, name) in conditions {
        for m in MEMORY {
            let at = memory(m, "byte ptr ");
            check.add(format!("set{name} {at}"), |a| a.set_if(cc, m));
            let (to, from) = (name32(Gpr::R9), memory(m, "dword ptr "));
            check.add(format!("cmov{name} {to}, {from}"), |a| {
                a.load_if(cc, Gpr::R9, Rm::Mem(m));
            });
        }
        for d in Gpr::ALL {
            let text = format!("cmov{name} {}, ecx", name32(d));
            check.add(text, |a| a.load_if(cc, d, Rm::Reg(Gpr::Rcx)));
        }
        check.add(format!("j{name} 0x1006"), |a| {
            let fixup = a.jump_if(cc);
            a.bind(fixup, 0x1006);
        });
    }
    for r in Gpr::ALL {
        let text = format!("cmp {}, qword ptr [rip + 0x40]", name(r, Width::Quad));
        check.add(text, |a| {
            let fixup = a.compare_here(r);
            a.bind(fixup, 0x47);
        });
    }
    check.add("jmp 5", |a| {
        let fixup = a.jump();
        assert_eq!(fixup.at(), 1);
        a.bind_here(fixup);
    });
    check.add("jmp 0", |a| {
        let fixup = a.jump();
        a.bind(fixup, 0);
    });
    for m in MEMORY {
        let (long, quad) = (memory(m, "dword ptr "), memory(m, "qword ptr "));
        check.add(format!("bt {long}, 0"), |a| a.bit_test(Rm::Mem(m), 0));
        check.add(format!("jmp {quad}"), |a| a.jump_to(Rm::Mem(m)));
        check.add(format!("call {quad}"), |a| a.call(Rm::Mem(m)));
    }
    for r in Gpr::ALL {
        let wide = name(r, Width::Quad);
        check.add(format!("push {wide}"), |a| a.push(r));
        check.add(format!("pop {wide}"), |a| a.pop(r));
        check.add(format!("call {wide}"), |a| a.call(Rm::Reg(r)));
        check.add(format!("jmp {wide}"), |a| a.jump_to(Rm::Reg(r)));
    }
    check.add("ret", Asm::ret);
    check.add("cmc", Asm::complement_carry);
    check.add("cqo", |a| a.sign_to_rdx(Width::Quad));
    check.add("cdq", |a| a.sign_to_rdx(Width::Long));
    check.run();
}
