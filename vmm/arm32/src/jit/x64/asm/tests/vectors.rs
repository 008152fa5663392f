//! The instructions of the XMM registers.

use super::*;

const VECTORS: [(Xmm, &str); 8] = [
    (Xmm::X0, "xmm0"),
    (Xmm::X1, "xmm1"),
    (Xmm::X2, "xmm2"),
    (Xmm::X3, "xmm3"),
    (Xmm::X4, "xmm4"),
    (Xmm::X5, "xmm5"),
    (Xmm::X6, "xmm6"),
    (Xmm::X7, "xmm7"),
];

fn pairs() -> impl Iterator<Item = ((Xmm, &'static str), (Xmm, &'static str))> {
    VECTORS
        .into_iter()
        .flat_map(|d| VECTORS.into_iter().map(move |s| (d, s)))
}

#[test]
fn moves_of_vectors() {
    let mut check = Check::default();
    let sizes = [
        (16, "movups", "xmmword ptr "),
        (8, "movq", "qword ptr "),
        (4, "movd", "dword ptr "),
    ];
    for (x, name_x) in VECTORS {
        for m in MEMORY {
            for (bytes, mnemonic, size) in sizes {
                let at = memory(m, size);
                check.add(format!("{mnemonic} {name_x}, {at}"), |a| {
                    a.load_vector(bytes, x, m);
                });
                check.add(format!("{mnemonic} {at}, {name_x}"), |a| {
                    a.store_vector(bytes, m, x);
                });
            }
        }
        for r in Gpr::ALL {
            check.add(
                format!("pmovmskb {}, {name_x}", name(r, Width::Long)),
                |a| {
                    a.high_bits(r, x);
                },
            );
            for (width, mnemonic) in [(Width::Long, "movd"), (Width::Quad, "movq")] {
                let r_name = name(r, width);
                check.add(format!("{mnemonic} {name_x}, {r_name}"), |a| {
                    a.set_vector(width, x, r);
                });
                check.add(format!("{mnemonic} {r_name}, {name_x}"), |a| {
                    a.get_vector(width, r, x);
                });
            }
        }
    }
    for ((d, d_name), (s, s_name)) in pairs() {
        check.add(format!("movdqa {d_name}, {s_name}"), |a| {
            a.copy_vector(d, s);
        });
    }
    check.run();
}

#[test]
fn lanes() {
    let mut check = Check::default();
    for ((d, d_name), (s, s_name)) in pairs() {
        for (op, mnemonic) in Packed::ALL {
            check.add(format!("{mnemonic} {d_name}, {s_name}"), |a| {
                a.packed(*op, d, s);
            });
        }
        for (op, mnemonic) in Singles::ALL {
            check.add(format!("{mnemonic} {d_name}, {s_name}"), |a| {
                a.singles(*op, d, s);
            });
        }
        for (op, mnemonic) in CompareSingles::ALL {
            check.add(format!("{mnemonic} {d_name}, {s_name}"), |a| {
                a.compare_singles(*op, d, s);
            });
        }
        check.add(format!("cvttps2dq {d_name}, {s_name}"), |a| {
            a.singles_to_words(d, s);
        });
        check.add(format!("cvtdq2ps {d_name}, {s_name}"), |a| {
            a.words_to_singles(d, s);
        });
        for (n, n_name) in VECTORS {
            for (op, mnemonic) in Fused::ALL {
                let names = format!("{d_name}, {n_name}, {s_name}");
                check.add(format!("{mnemonic}ps {names}"), |a| {
                    a.fused_singles(*op, d, n, s);
                });
                for (double, suffix) in [(true, "sd"), (false, "ss")] {
                    check.add(format!("{mnemonic}{suffix} {names}"), |a| {
                        a.fused(double, *op, d, n, s);
                    });
                }
            }
        }
        for (kind, mnemonic) in Shuffle::ALL {
            check.add(format!("{mnemonic} {d_name}, {s_name}, 0x1b"), |a| {
                a.shuffle(*kind, d, s, 0x1b);
            });
        }
        check.add(format!("shufps {d_name}, {s_name}, 0xdd"), |a| {
            a.shuffle_two(d, s, 0xdd);
        });
    }
    for (d, d_name) in VECTORS {
        for (op, mnemonic) in PackedShift::ALL {
            check.add(format!("{mnemonic} {d_name}, 5"), |a| {
                a.packed_shift(*op, d, 5);
            });
        }
    }
    check.run();
}

#[test]
fn scalars() {
    let mut check = Check::default();
    for (double, suffix) in [(true, "d"), (false, "s")] {
        for ((d, d_name), (s, s_name)) in pairs() {
            for (op, mnemonic) in Scalar::ALL {
                check.add(format!("{mnemonic}{suffix} {d_name}, {s_name}"), |a| {
                    a.scalar(double, *op, d, s);
                });
            }
            check.add(format!("ucomis{suffix} {d_name}, {s_name}"), |a| {
                a.compare_scalars(double, d, s);
            });
            let convert = if double { "cvtss2sd" } else { "cvtsd2ss" };
            check.add(format!("{convert} {d_name}, {s_name}"), |a| {
                a.convert_precision(double, d, s);
            });
        }
        for (x, x_name) in VECTORS {
            for r in Gpr::ALL {
                for (width, _) in WIDTHS {
                    let text = format!("cvtsi2s{suffix} {x_name}, {}", name(r, width));
                    check.add(text, |a| a.convert_from_integer(double, width, x, r));
                }
                let r_name = name(r, Width::Quad);
                check.add(format!("cvtts{suffix}2si {r_name}, {x_name}"), |a| {
                    a.convert_to_integer(double, false, r, x);
                });
                check.add(format!("cvts{suffix}2si {r_name}, {x_name}"), |a| {
                    a.convert_to_integer(double, true, r, x);
                });
            }
        }
    }
    for r in Gpr::ALL {
        let d = name(r, Width::Long);
        for (cc, condition) in [(Cc::B, "b"), (Cc::E, "e")] {
            check.add(format!("cmov{condition} {d}, r9d"), |a| {
                a.move_if(cc, r, Gpr::R9);
            });
        }
    }
    check.run();
}
