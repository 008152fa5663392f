//! The instructions of the SIMD and floating-point registers.

use super::*;

use Vector::{V0, V1, V2, V3, V4, V5, V6, V7};

const VECTORS: [Vector; 8] = [V0, V1, V2, V3, V4, V5, V6, V7];

/// Different registers in the three places.
fn triples() -> impl Iterator<Item = (Vector, Vector, Vector)> {
    (0..8).map(|n| (VECTORS[n], VECTORS[(n + 1) % 8], VECTORS[(n + 2) % 8]))
}

/// A register with its lanes.
fn lanes(v: Vector, q: bool, size: u8) -> String {
    let count = (8 << u8::from(q)) >> size;
    let letter = ['b', 'h', 's', 'd'][usize::from(size)];
    format!("v{}.{count}{letter}", v as u8)
}

/// A register as a number.
fn scalar(v: Vector, double: bool) -> String {
    format!("{}{}", if double { 'd' } else { 's' }, v as u8)
}

/// The mnemonic of the unsigned form.
fn unsigned(mnemonic: &str) -> String {
    match mnemonic {
        "cmgt" => "cmhi".into(),
        "cmge" => "cmhs".into(),
        signed => signed.replacen('s', "u", 1),
    }
}

#[test]
fn loads_and_stores() {
    let mut check = Check::default();
    for t in VECTORS {
        for base in registers() {
            let (index, _) = others(base);
            for (bytes, letter) in [(4u8, 's'), (8, 'd'), (16, 'q')] {
                let t_name = format!("{letter}{}", t as u8);
                let far = 0xfff * u32::from(bytes);
                let base_name = double(base);
                for (load, mnemonic) in [(true, "ldr"), (false, "str")] {
                    let text = format!("{mnemonic} {t_name}, [{base_name}]");
                    let at = Mem::Base(base, 0);
                    check.add(text, |a| a.vector_access(load, bytes, t, at));
                    let text = format!("{mnemonic} {t_name}, [{base_name}, #{far:#x}]");
                    let at = Mem::Base(base, far);
                    check.add(text, |a| a.vector_access(load, bytes, t, at));
                    let index_name = word(index);
                    let text = format!("{mnemonic} {t_name}, [{base_name}, {index_name}, uxtw]");
                    let at = Mem::Sum(base, index);
                    check.add(text, |a| a.vector_access(load, bytes, t, at));
                }
            }
        }
    }
    check.run();
}

#[test]
fn structures() {
    let mut check = Check::default();
    for base in registers() {
        for elements in 2..=4u8 {
            for size in 0..3 {
                let all = VECTORS[..usize::from(elements)].iter();
                let names: Vec<_> = all.map(|v| lanes(*v, false, size)).collect();
                let operands = format!("{{{}}}, [{}]", names.join(", "), double(base));
                for (load, mnemonic) in [(true, "ld"), (false, "st")] {
                    check.add(format!("{mnemonic}{elements} {operands}"), |a| {
                        a.structures(load, elements, size, base);
                    });
                }
            }
        }
    }
    check.run();
}

#[test]
fn operations_on_lanes() {
    let mut check = Check::default();
    for (d, n, m) in triples() {
        for (op, mnemonic) in Lanes::ALL {
            // Products that are doubled are of no bytes.
            let doubled = matches!(op, Lanes::DoubledHigh | Lanes::DoubledHighRounded);
            for (q, size) in [(false, u8::from(doubled)), (false, 1), (true, 2)] {
                let names = [d, n, m].map(|v| lanes(v, q, size)).join(", ");
                check.add(format!("{mnemonic} {names}"), |a| {
                    a.lanes(*op, (q, false, size), d, n, m);
                });
                if op.has_unsigned() {
                    check.add(format!("{} {names}", unsigned(mnemonic)), |a| {
                        a.lanes(*op, (q, true, size), d, n, m);
                    });
                }
            }
        }
        for (op, mnemonic) in Bits::ALL {
            let names = [d, n, m].map(|v| lanes(v, true, 0)).join(", ");
            check.add(format!("{mnemonic} {names}"), |a| a.bits(*op, d, n, m));
        }
        for (q, count) in [(false, 7), (true, 15)] {
            let names = [d, n, m].map(|v| lanes(v, q, 0)).join(", ");
            check.add(format!("ext {names}, {}", constant(count.into())), |a| {
                a.extract_bytes(q, count, d, n, m);
            });
        }
        for (extension, mnemonic) in [(false, "tbl"), (true, "tbx")] {
            let (d_name, m_name) = (lanes(d, false, 0), lanes(m, false, 0));
            let one = lanes(n, true, 0);
            check.add(format!("{mnemonic} {d_name}, {{{one}}}, {m_name}"), |a| {
                a.look_up(extension, false, d, n, m);
            });
            let next = lanes(VECTORS[(n as usize + 1) % 8], true, 0);
            if n != V7 {
                let table = format!("{{{one}, {next}}}");
                check.add(format!("{mnemonic} {d_name}, {table}, {m_name}"), |a| {
                    a.look_up(extension, true, d, n, m);
                });
            }
        }
        for (op, mnemonic) in One::ALL {
            let size = u8::from(!matches!(op, One::Reverse16 | One::Ones | One::Not));
            let (from, to) = (lanes(n, true, size), lanes(d, true, size));
            let names = match op {
                One::AddPairsLong | One::AddPairsLongTo => {
                    format!("{}, {from}", lanes(d, true, size + 1))
                }
                _ if op.narrows() => {
                    format!("{}, {}", lanes(d, false, size), lanes(n, true, size + 1))
                }
                _ => format!("{to}, {from}"),
            };
            check.add(format!("{mnemonic} {names}"), |a| {
                a.one(*op, (false, size), d, n);
            });
        }
        let names = format!("{}, {}", lanes(d, false, 0), lanes(n, true, 1));
        check.add(format!("uqxtn {names}"), |a| {
            a.one(One::LimitedNarrow, (true, 0), d, n);
        });
        let names = format!("{}, {}", lanes(d, true, 1), lanes(n, true, 0));
        check.add(format!("uaddlp {names}"), |a| {
            a.one(One::AddPairsLong, (true, 0), d, n);
        });
        for (op, mnemonic) in Zero::ALL {
            let names = [d, n].map(|v| lanes(v, true, 2)).join(", ");
            check.add(format!("{mnemonic} {names}, #0"), |a| {
                a.against_zero(*op, 2, d, n);
            });
        }
    }
    check.run();
}

#[test]
fn operations_between_lengths() {
    let mut check = Check::default();
    for (d, n, m) in triples() {
        for (op, mnemonic) in Different::ALL {
            let doubled = matches!(
                op,
                Different::DoubledAddLong | Different::DoubledSubLong | Different::DoubledLong
            );
            for size in u8::from(doubled)..3 {
                let (narrow, wide) = (|v| lanes(v, false, size), |v| lanes(v, true, size + 1));
                let names = match op {
                    Different::AddWide | Different::SubWide => [wide(d), wide(n), narrow(m)],
                    Different::AddHigh
                    | Different::AddHighRounded
                    | Different::SubHigh
                    | Different::SubHighRounded => [narrow(d), wide(n), wide(m)],
                    _ => [wide(d), narrow(n), narrow(m)],
                }
                .join(", ");
                check.add(format!("{mnemonic} {names}"), |a| {
                    a.different(*op, (false, size), d, n, m);
                });
            }
        }
        let names = [lanes(d, true, 2), lanes(n, false, 1), lanes(m, false, 1)].join(", ");
        check.add(format!("umlal {names}"), |a| {
            a.different(Different::MultiplyAddLong, (true, 1), d, n, m);
        });
    }
    check.run();
}

#[test]
fn shifts_by_constants() {
    let mut check = Check::default();
    for (d, n, _) in triples() {
        for (op, mnemonic) in Shift::ALL {
            for size in 0..4u8 {
                let (d_name, n_name) = match op {
                    _ if op.narrows() && size < 3 => {
                        (lanes(d, false, size), lanes(n, true, size + 1))
                    }
                    Shift::LeftLong if size < 3 => {
                        (lanes(d, true, size + 1), lanes(n, false, size))
                    }
                    _ if op.narrows() || *op == Shift::LeftLong => continue,
                    _ => (lanes(d, true, size), lanes(n, true, size)),
                };
                let width = 8u8 << size;
                let amounts = if op.is_left() {
                    [1, width - 1]
                } else {
                    [1, width]
                };
                for by in amounts {
                    let names = format!("{d_name}, {n_name}, {}", constant(by.into()));
                    check.add(format!("{mnemonic} {names}"), |a| {
                        a.shift_lanes(*op, (false, size), by, d, n);
                    });
                    if op.has_unsigned() {
                        check.add(format!("{} {names}", unsigned(mnemonic)), |a| {
                            a.shift_lanes(*op, (true, size), by, d, n);
                        });
                    }
                }
            }
        }
    }
    check.run();
}

#[test]
fn moves_of_lanes() {
    let mut check = Check::default();
    for (d, n, _) in triples() {
        for size in 0..3u8 {
            let last = (8 >> size) - 1;
            let letter = ['b', 'h', 's'][usize::from(size)];
            let text = format!(
                "dup {}, v{}.{letter}[{last}]",
                lanes(d, true, size),
                n as u8
            );
            check.add(text, |a| a.duplicate_lane(size, last, d, n));
        }
        for r in registers() {
            for size in 0..4u8 {
                let r_name = if size == 3 { double(r) } else { word(r) };
                check.add(format!("dup {}, {r_name}", lanes(d, true, size)), |a| {
                    a.duplicate(size, d, r);
                });
            }
            for lane in [0, 1] {
                let text = format!("mov {}, v{}.s[{lane}]", word(r), n as u8);
                check.add(text, |a| a.get_word(r, n, lane));
            }
            for width in WIDTHS {
                let d_name = scalar(d, width == Width::Double);
                check.add(format!("fmov {d_name}, {}", name(r, width)), |a| {
                    a.set_scalar(width, d, r);
                });
            }
        }
    }
    check.run();
}

#[test]
fn vectors_of_numbers() {
    let mut check = Check::default();
    for (d, n, m) in triples() {
        let [d_name, n_name, m_name] = [d, n, m].map(|v| lanes(v, true, 2));
        for (op, mnemonic) in Singles::ALL {
            check.add(format!("{mnemonic} {d_name}, {n_name}, {m_name}"), |a| {
                a.singles(*op, d, n, m);
            });
        }
        for (op, mnemonic) in SinglesOne::ALL {
            check.add(format!("{mnemonic} {d_name}, {n_name}"), |a| {
                a.singles_one(*op, d, n);
            });
        }
        check.add(format!("umaxv {}, {n_name}", scalar(d, false)), |a| {
            a.largest(d, n);
        });
    }
    check.run();
}

#[test]
fn arithmetic_of_numbers() {
    let mut check = Check::default();
    for (d, n, m) in triples() {
        for is_double in [false, true] {
            let [d_name, n_name, m_name] = [d, n, m].map(|v| scalar(v, is_double));
            for (op, mnemonic) in Scalar::ALL {
                check.add(format!("{mnemonic} {d_name}, {n_name}, {m_name}"), |a| {
                    a.scalar(is_double, *op, d, n, m);
                });
            }
            for (op, mnemonic) in Fused::ALL {
                let text = format!("{mnemonic} {d_name}, {n_name}, {m_name}, {d_name}");
                check.add(text, |a| a.fused(is_double, *op, d, (n, m), d));
            }
            for (op, mnemonic) in ScalarOne::ALL {
                check.add(format!("{mnemonic} {d_name}, {n_name}"), |a| {
                    a.scalar_one(is_double, *op, d, n);
                });
            }
            let other = scalar(n, !is_double);
            check.add(format!("fcvt {d_name}, {other}"), |a| {
                a.convert_precision(is_double, d, n);
            });
            check.add(format!("fcmp {n_name}, {m_name}"), |a| {
                a.compare_scalars(is_double, n, m);
            });
            check.add(format!("fcmp {n_name}, #0.0"), |a| {
                a.compare_zero(is_double, n)
            });
            for r in registers() {
                for (nearest, mnemonic) in [(true, "fcvtns"), (false, "fcvtzs")] {
                    check.add(format!("{mnemonic} {}, {n_name}", double(r)), |a| {
                        a.convert_to_integer(is_double, nearest, r, n);
                    });
                }
                for (is_unsigned, mnemonic) in [(false, "scvtf"), (true, "ucvtf")] {
                    check.add(format!("{mnemonic} {d_name}, {}", word(r)), |a| {
                        a.convert_from_integer(is_double, is_unsigned, d, r);
                    });
                }
            }
        }
    }
    for r in registers() {
        check.add(format!("mrs {}, nzcv", double(r)), |a| a.read_flags(r));
        check.add(format!("mrs {}, fpsr", double(r)), |a| a.read_status(r));
    }
    check.add("msr fpsr, xzr", Asm::clear_status);
    check.run();
}
