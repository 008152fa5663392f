//! Saturating, parallel, packing, extending and bit-field instructions. Operands are read from the
//! instruction.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "lanes are cut out of registers, and registers are read as signed and as unsigned"
)]

use arm32_isa::{ExtendOp, Insn, ParKind, ParOp, QOp, RevOp};

use crate::cpu::{Cpu, Flow};
use crate::exec::{Handler, Op, dp, fields};

/// Returns the handler of `insn`, if it is one of this module's.
pub const fn handler(insn: &Insn) -> Option<Handler> {
    Some(match insn {
        Insn::SatAddSub { .. } => sat_add_sub,
        Insn::ParAddSub { .. } => par_add_sub,
        Insn::Pkh { .. } => pkh,
        Insn::Extend { .. } => extend,
        Insn::ExtendAdd { .. } => extend_add,
        Insn::Bfc { .. } => bfc,
        Insn::Bfi { .. } => bfi,
        Insn::Bfx { .. } => bfx,
        Insn::Rev { .. } => rev,
        Insn::Clz { .. } => clz,
        Insn::Sel { .. } => sel,
        Insn::Usad8 { .. } => usad8,
        Insn::Usada8 { .. } => usada8,
        Insn::Sat { .. } => sat,
        Insn::Sat16 { .. } => sat16,
        _ => return None,
    })
}

/// Clamps to 32 bits, signed; sets Q when it had to.
fn clamp_q(cpu: &mut Cpu, value: i64) -> i32 {
    let clamped = value.clamp(i32::MIN.into(), i32::MAX.into());
    if clamped != value {
        cpu.s.psr.q = true;
    }
    clamped as i32
}

fn sat_add_sub(cpu: &mut Cpu, op: &Op) -> Flow {
    fields!(cpu, op => SatAddSub { op: kind, rd, rm, rn });
    let (m, n) = (i64::from(cpu.reg(rm) as i32), i64::from(cpu.reg(rn) as i32));
    let second = match kind {
        QOp::Qadd | QOp::Qsub => n,
        // The doubling saturates, and sets Q, by itself.
        QOp::Qdadd | QOp::Qdsub => clamp_q(cpu, 2 * n).into(),
    };
    let value = match kind {
        QOp::Qadd | QOp::Qdadd => m + second,
        QOp::Qsub | QOp::Qdsub => m - second,
    };
    let value = clamp_q(cpu, value);
    cpu.set_reg(rd, value as u32);
    Flow::Next
}

/// Computes one lane of a parallel instruction; returns the result and its GE bit.
fn lane(kind: ParKind, x: i32, y: i32, subtract: bool, bits: u32) -> (i32, bool) {
    // Lanes have 16 bits at most: this cannot overflow.
    let wide = if subtract { x - y } else { x + y };
    let (low, high) = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1);
    match kind {
        ParKind::Signed => (wide, wide >= 0),
        ParKind::SignedSat => (wide.clamp(low, high), false),
        ParKind::SignedHalf | ParKind::UnsignedHalf => (wide >> 1, false),
        ParKind::Unsigned => (
            wide,
            if subtract {
                wide >= 0
            } else {
                wide >= 1 << bits
            },
        ),
        ParKind::UnsignedSat => (wide.clamp(0, (1 << bits) - 1), false),
    }
}

fn par_add_sub(cpu: &mut Cpu, op: &Op) -> Flow {
    fields!(cpu, op => ParAddSub { op: par, kind, rd, rn, rm });
    let (n, m) = (cpu.reg(rn), cpu.reg(rm));
    let bits = if matches!(par, ParOp::Add8 | ParOp::Sub8) {
        8
    } else {
        16
    };
    let lanes = 32 / bits;
    let signed = matches!(
        kind,
        ParKind::Signed | ParKind::SignedSat | ParKind::SignedHalf
    );
    let pick = |word: u32, i: u32| {
        let raw = word << (32 - bits * (i + 1));
        if signed {
            (raw as i32) >> (32 - bits)
        } else {
            (raw >> (32 - bits)) as i32
        }
    };
    let exchange = matches!(par, ParOp::Asx | ParOp::Sax);
    let (mut value, mut ge) = (0, 0);
    for i in 0..lanes {
        let subtract = match par {
            ParOp::Sub8 | ParOp::Sub16 => true,
            ParOp::Add8 | ParOp::Add16 => false,
            ParOp::Asx => i == 0,
            ParOp::Sax => i == 1,
        };
        let other = if exchange { 1 - i } else { i };
        let (result, flag) = lane(kind, pick(n, i), pick(m, other), subtract, bits);
        value |= ((result as u32) & (u32::MAX >> (32 - bits))) << (bits * i);
        if flag {
            ge |= (if bits == 8 { 1 } else { 3 }) << (i * bits / 8);
        }
    }
    // Saturating and halving forms leave GE alone.
    if matches!(kind, ParKind::Signed | ParKind::Unsigned) {
        cpu.s.psr.ge = ge;
    }
    cpu.set_reg(rd, value);
    Flow::Next
}

fn pkh(cpu: &mut Cpu, op: &Op) -> Flow {
    fields!(cpu, op => Pkh { tb, rd, rn, rm, amount });
    let (n, m) = (cpu.reg(rn), cpu.reg(rm));
    let value = if tb {
        // ASR #32 gives the same as ASR #31.
        let shifted = (m as i32) >> u32::from(amount).min(31);
        (n & 0xffff_0000) | (shifted as u32 & 0xffff)
    } else {
        ((m << (amount & 31)) & 0xffff_0000) | (n & 0xffff)
    };
    cpu.set_reg(rd, value);
    Flow::Next
}

fn extended(kind: ExtendOp, value: u32) -> u32 {
    match kind {
        ExtendOp::Sxtb => value as i8 as u32,
        ExtendOp::Sxth => value as i16 as u32,
        ExtendOp::Uxtb => value & 0xff,
        ExtendOp::Uxth => value & 0xffff,
        ExtendOp::Uxtb16 => value & 0x00ff_00ff,
        ExtendOp::Sxtb16 => (value as i8 as u32 & 0xffff) | ((value >> 16) as i8 as u32) << 16,
    }
}

fn extend(cpu: &mut Cpu, op: &Op) -> Flow {
    fields!(cpu, op => Extend { op: kind, rd, rm, rotate });
    let value = extended(kind, cpu.reg(rm).rotate_right(rotate.into()));
    cpu.set_reg(rd, value);
    Flow::Next
}

fn extend_add(cpu: &mut Cpu, op: &Op) -> Flow {
    fields!(cpu, op => ExtendAdd { op: kind, rd, rn, rm, rotate });
    let (n, value) = (
        cpu.reg(rn),
        extended(kind, cpu.reg(rm).rotate_right(rotate.into())),
    );
    let sum = match kind {
        ExtendOp::Sxtb16 | ExtendOp::Uxtb16 => {
            // Two sums of 16 bits, with no carry from one to the other.
            let high = (n & 0xffff_0000).wrapping_add(value & 0xffff_0000);
            high | (n.wrapping_add(value) & 0xffff)
        }
        _ => n.wrapping_add(value),
    };
    cpu.set_reg(rd, sum);
    Flow::Next
}

/// Returns `width` ones; `width` is 1 to 32.
fn mask(width: u8) -> u32 {
    u32::MAX >> (32 - u32::from(width).clamp(1, 32))
}

fn bfc(cpu: &mut Cpu, op: &Op) -> Flow {
    fields!(cpu, op => Bfc { rd, lsb, width });
    let value = cpu.reg(rd) & !(mask(width) << (lsb & 31));
    cpu.set_reg(rd, value);
    Flow::Next
}

fn bfi(cpu: &mut Cpu, op: &Op) -> Flow {
    fields!(cpu, op => Bfi { rd, rn, lsb, width });
    let mask = mask(width);
    let lsb = lsb & 31;
    let value = (cpu.reg(rd) & !(mask << lsb)) | (cpu.reg(rn) & mask) << lsb;
    cpu.set_reg(rd, value);
    Flow::Next
}

fn bfx(cpu: &mut Cpu, op: &Op) -> Flow {
    fields!(cpu, op => Bfx { signed, rd, rn, lsb, width });
    let (lsb, width) = (u32::from(lsb) & 31, u32::from(width).clamp(1, 32));
    // A field that goes beyond bit 31 is UNPREDICTABLE.
    let top = cpu.reg(rn) << 32u32.saturating_sub(lsb + width);
    let value = if signed {
        ((top as i32) >> (32 - width)) as u32
    } else {
        top >> (32 - width)
    };
    cpu.set_reg(rd, value);
    Flow::Next
}

fn rev(cpu: &mut Cpu, op: &Op) -> Flow {
    fields!(cpu, op => Rev { op: kind, rd, rm });
    let m = cpu.reg(rm);
    let value = match kind {
        RevOp::Rev => m.swap_bytes(),
        // Swapping all bytes also swaps the halves, which are put back.
        RevOp::Rev16 => m.swap_bytes().rotate_right(16),
        RevOp::Revsh => (m as u16).swap_bytes() as i16 as u32,
        RevOp::Rbit => m.reverse_bits(),
    };
    cpu.set_reg(rd, value);
    Flow::Next
}

fn clz(cpu: &mut Cpu, op: &Op) -> Flow {
    fields!(cpu, op => Clz { rd, rm });
    let value = cpu.reg(rm).leading_zeros();
    cpu.set_reg(rd, value);
    Flow::Next
}

fn sel(cpu: &mut Cpu, op: &Op) -> Flow {
    fields!(cpu, op => Sel { rd, rn, rm });
    let mask = (0..4)
        .filter(|i| cpu.s.psr.ge >> i & 1 != 0)
        .fold(0, |m, i| m | 0xffu32 << (8 * i));
    let value = (cpu.reg(rn) & mask) | (cpu.reg(rm) & !mask);
    cpu.set_reg(rd, value);
    Flow::Next
}

fn sum_of_differences(n: u32, m: u32) -> u32 {
    n.to_le_bytes()
        .into_iter()
        .zip(m.to_le_bytes())
        .map(|(a, b)| u32::from(a.abs_diff(b)))
        .sum()
}

fn usad8(cpu: &mut Cpu, op: &Op) -> Flow {
    fields!(cpu, op => Usad8 { rd, rn, rm });
    let value = sum_of_differences(cpu.reg(rn), cpu.reg(rm));
    cpu.set_reg(rd, value);
    Flow::Next
}

fn usada8(cpu: &mut Cpu, op: &Op) -> Flow {
    fields!(cpu, op => Usada8 { rd, rn, rm, ra });
    let value = sum_of_differences(cpu.reg(rn), cpu.reg(rm)).wrapping_add(cpu.reg(ra));
    cpu.set_reg(rd, value);
    Flow::Next
}

/// Saturates to `bits` bits: 1 to 32 when signed, 0 to 31 when not. Sets Q when it changed the
/// value.
fn saturate(cpu: &mut Cpu, value: i32, unsigned: bool, bits: u8) -> u32 {
    let value = i64::from(value);
    let clamped = if unsigned {
        value.clamp(0, (1i64 << bits.min(31)) - 1)
    } else {
        let limit = 1i64 << (bits.clamp(1, 32) - 1);
        value.clamp(-limit, limit - 1)
    };
    if clamped != value {
        cpu.s.psr.q = true;
    }
    clamped as u32
}

fn sat(cpu: &mut Cpu, op: &Op) -> Flow {
    fields!(cpu, op => Sat { unsigned, rd, bits, rn, shift, amount });
    let (value, _) = dp::shift_c(shift, cpu.reg(rn), amount.into(), 0);
    let value = saturate(cpu, value as i32, unsigned, bits);
    cpu.set_reg(rd, value);
    Flow::Next
}

fn sat16(cpu: &mut Cpu, op: &Op) -> Flow {
    fields!(cpu, op => Sat16 { unsigned, rd, bits, rn });
    let n = cpu.reg(rn);
    let low = saturate(cpu, (n as i16).into(), unsigned, bits);
    let high = saturate(cpu, ((n >> 16) as i16).into(), unsigned, bits);
    cpu.set_reg(rd, high << 16 | low & 0xffff);
    Flow::Next
}
