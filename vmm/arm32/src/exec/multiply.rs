//! Multiplies and divides. Operands are read from the instruction.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "products are cut into words, and registers are read as signed and as unsigned"
)]

use arm32_isa::{Insn, LongOp};

use crate::cpu::{Cpu, Flow};
use crate::exec::{Handler, Op, fields};

/// Returns the handler of `insn`, if it is one of this module's.
pub const fn handler(insn: &Insn) -> Option<Handler> {
    Some(match insn {
        Insn::Mul { .. } => mul,
        Insn::Mla { .. } => mla,
        Insn::Mls { .. } => mls,
        Insn::Umaal { .. } => umaal,
        Insn::MulLong { .. } => mul_long,
        Insn::SmulXy { .. } => smul_xy,
        Insn::SmlaXy { .. } => smla_xy,
        Insn::SmulW { .. } => smul_w,
        Insn::SmlaW { .. } => smla_w,
        Insn::SmlalXy { .. } => smlal_xy,
        Insn::Smuad { .. } => smuad,
        Insn::Smlad { .. } => smlad,
        Insn::Smlald { .. } => smlald,
        Insn::Smmul { .. } => smmul,
        Insn::Smmla { .. } => smmla,
        Insn::Smmls { .. } => smmls,
        Insn::Div { .. } => div,
        _ => return None,
    })
}

/// Writes `rd` and, with `s`, N and Z; C and V stay (their values are as before in ARMv5 and
/// later).
fn result(cpu: &mut Cpu, rd: u8, s: bool, value: u32) -> Flow {
    if s {
        cpu.s.flags.n = value;
        cpu.s.flags.z = value;
    }
    cpu.set_reg(rd, value);
    Flow::Next
}

/// Writes a 64-bit result.
fn result64(cpu: &mut Cpu, rdlo: u8, rdhi: u8, value: u64) -> Flow {
    cpu.set_reg(rdlo, value as u32);
    cpu.set_reg(rdhi, (value >> 32) as u32);
    Flow::Next
}

fn pair(cpu: &Cpu, rdlo: u8, rdhi: u8) -> u64 {
    u64::from(cpu.reg(rdhi)) << 32 | u64::from(cpu.reg(rdlo))
}

/// Returns the upper or lower half of `value`, signed.
fn half(value: u32, high: bool) -> i64 {
    i64::from(if high {
        (value >> 16) as i16
    } else {
        value as i16
    })
}

/// Writes `sum`, cut to 32 bits, to `rd`; sets Q when it does not fit.
fn accumulate_q(cpu: &mut Cpu, rd: u8, sum: i64) -> Flow {
    if i64::from(sum as i32) != sum {
        cpu.s.psr.q = true;
    }
    cpu.set_reg(rd, sum as u32);
    Flow::Next
}

fn mul(cpu: &mut Cpu, op: &Op) -> Flow {
    fields!(cpu, op => Mul { s, rd, rn, rm });
    let value = cpu.reg(rn).wrapping_mul(cpu.reg(rm));
    result(cpu, rd, s, value)
}

fn mla(cpu: &mut Cpu, op: &Op) -> Flow {
    fields!(cpu, op => Mla { s, rd, rn, rm, ra });
    let value = cpu
        .reg(rn)
        .wrapping_mul(cpu.reg(rm))
        .wrapping_add(cpu.reg(ra));
    result(cpu, rd, s, value)
}

fn mls(cpu: &mut Cpu, op: &Op) -> Flow {
    fields!(cpu, op => Mls { rd, rn, rm, ra });
    let value = cpu
        .reg(ra)
        .wrapping_sub(cpu.reg(rn).wrapping_mul(cpu.reg(rm)));
    result(cpu, rd, false, value)
}

fn umaal(cpu: &mut Cpu, op: &Op) -> Flow {
    fields!(cpu, op => Umaal { rdlo, rdhi, rn, rm });
    let product = u64::from(cpu.reg(rn)) * u64::from(cpu.reg(rm));
    // Cannot overflow: (2^32 - 1)^2 + 2 * (2^32 - 1) is 2^64 - 1.
    let value = product + u64::from(cpu.reg(rdhi)) + u64::from(cpu.reg(rdlo));
    result64(cpu, rdlo, rdhi, value)
}

fn mul_long(cpu: &mut Cpu, op: &Op) -> Flow {
    fields!(cpu, op => MulLong { op: kind, s, rdlo, rdhi, rn, rm });
    let (n, m) = (cpu.reg(rn), cpu.reg(rm));
    let product = match kind {
        LongOp::Umull | LongOp::Umlal => u64::from(n) * u64::from(m),
        LongOp::Smull | LongOp::Smlal => (i64::from(n as i32) * i64::from(m as i32)) as u64,
    };
    let value = match kind {
        LongOp::Umull | LongOp::Smull => product,
        LongOp::Umlal | LongOp::Smlal => product.wrapping_add(pair(cpu, rdlo, rdhi)),
    };
    if s {
        cpu.s.flags.n = (value >> 32) as u32;
        cpu.s.flags.z = u32::from(value != 0);
    }
    result64(cpu, rdlo, rdhi, value)
}

fn smul_xy(cpu: &mut Cpu, op: &Op) -> Flow {
    fields!(cpu, op => SmulXy { rd, rn, rm, n_high, m_high });
    let value = half(cpu.reg(rn), n_high) * half(cpu.reg(rm), m_high);
    result(cpu, rd, false, value as u32)
}

fn smla_xy(cpu: &mut Cpu, op: &Op) -> Flow {
    fields!(cpu, op => SmlaXy { rd, rn, rm, ra, n_high, m_high });
    let product = half(cpu.reg(rn), n_high) * half(cpu.reg(rm), m_high);
    let sum = product + i64::from(cpu.reg(ra) as i32);
    accumulate_q(cpu, rd, sum)
}

fn smul_w(cpu: &mut Cpu, op: &Op) -> Flow {
    fields!(cpu, op => SmulW { rd, rn, rm, m_high });
    let value = (i64::from(cpu.reg(rn) as i32) * half(cpu.reg(rm), m_high)) >> 16;
    result(cpu, rd, false, value as u32)
}

fn smla_w(cpu: &mut Cpu, op: &Op) -> Flow {
    fields!(cpu, op => SmlaW { rd, rn, rm, ra, m_high });
    let product = (i64::from(cpu.reg(rn) as i32) * half(cpu.reg(rm), m_high)) >> 16;
    let sum = product + i64::from(cpu.reg(ra) as i32);
    accumulate_q(cpu, rd, sum)
}

fn smlal_xy(cpu: &mut Cpu, op: &Op) -> Flow {
    fields!(cpu, op => SmlalXy { rdlo, rdhi, rn, rm, n_high, m_high });
    let product = half(cpu.reg(rn), n_high) * half(cpu.reg(rm), m_high);
    let value = pair(cpu, rdlo, rdhi).wrapping_add(product as u64);
    result64(cpu, rdlo, rdhi, value)
}

/// Returns the sum or difference of the products of halves.
fn dual(cpu: &Cpu, rn: u8, rm: u8, sub: bool, swap: bool) -> i64 {
    let n = cpu.reg(rn);
    let m = if swap {
        cpu.reg(rm).rotate_right(16)
    } else {
        cpu.reg(rm)
    };
    let (low, high) = (
        half(n, false) * half(m, false),
        half(n, true) * half(m, true),
    );
    // The sum needs 33 bits; in 64 an overflow still shows.
    if sub { low - high } else { low + high }
}

fn smuad(cpu: &mut Cpu, op: &Op) -> Flow {
    fields!(cpu, op => Smuad { rd, rn, rm, sub, swap });
    let value = dual(cpu, rn, rm, sub, swap);
    accumulate_q(cpu, rd, value)
}

fn smlad(cpu: &mut Cpu, op: &Op) -> Flow {
    fields!(cpu, op => Smlad { rd, rn, rm, ra, sub, swap });
    let sum = dual(cpu, rn, rm, sub, swap) + i64::from(cpu.reg(ra) as i32);
    accumulate_q(cpu, rd, sum)
}

fn smlald(cpu: &mut Cpu, op: &Op) -> Flow {
    fields!(cpu, op => Smlald { rdlo, rdhi, rn, rm, sub, swap });
    let value = pair(cpu, rdlo, rdhi).wrapping_add(dual(cpu, rn, rm, sub, swap) as u64);
    result64(cpu, rdlo, rdhi, value)
}

/// Returns the upper word of `acc:0 ± n * m`, rounded if asked.
fn most_significant(acc: u32, product: i64, subtract: bool, round: bool) -> u32 {
    // The accumulator is the upper word.
    let acc = i64::from(acc as i32) << 32;
    let sum = if subtract {
        acc.wrapping_sub(product)
    } else {
        acc.wrapping_add(product)
    };
    (sum.wrapping_add(if round { 0x8000_0000 } else { 0 }) >> 32) as u32
}

fn signed_product(cpu: &Cpu, rn: u8, rm: u8) -> i64 {
    i64::from(cpu.reg(rn) as i32) * i64::from(cpu.reg(rm) as i32)
}

fn smmul(cpu: &mut Cpu, op: &Op) -> Flow {
    fields!(cpu, op => Smmul { rd, rn, rm, round });
    let value = most_significant(0, signed_product(cpu, rn, rm), false, round);
    result(cpu, rd, false, value)
}

fn smmla(cpu: &mut Cpu, op: &Op) -> Flow {
    fields!(cpu, op => Smmla { rd, rn, rm, ra, round });
    let value = most_significant(cpu.reg(ra), signed_product(cpu, rn, rm), false, round);
    result(cpu, rd, false, value)
}

fn smmls(cpu: &mut Cpu, op: &Op) -> Flow {
    fields!(cpu, op => Smmls { rd, rn, rm, ra, round });
    let value = most_significant(cpu.reg(ra), signed_product(cpu, rn, rm), true, round);
    result(cpu, rd, false, value)
}

fn div(cpu: &mut Cpu, op: &Op) -> Flow {
    fields!(cpu, op => Div { unsigned, rd, rn, rm });
    let (n, m) = (cpu.reg(rn), cpu.reg(rm));
    // Division by zero gives 0, which ARMv7-A does not trap; the least number by -1 wraps.
    let value = match (m, unsigned) {
        (0, _) => 0,
        (_, true) => n / m,
        (_, false) => (n as i32).wrapping_div(m as i32) as u32,
    };
    result(cpu, rd, false, value)
}
