//! How operands look. Templates of the tables call these.

use crate::types::*;
use std::fmt;

/// How a field prints in a template's `{field}`.
pub(crate) trait Operand {
    /// Writes it.
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result;
}

const REGISTERS: [&str; 16] = [
    "r0", "r1", "r2", "r3", "r4", "r5", "r6", "r7", "r8", "r9", "r10", "r11", "r12", "sp", "lr",
    "pc",
];

/// Returns the name of a core register.
pub(super) fn reg(number: u8) -> &'static str {
    REGISTERS[usize::from(number & 15)]
}

/// A byte is a core register number; other bytes are printed with `{field:n}`.
impl Operand for u8 {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(reg(*self))
    }
}

/// A flag prints as the `s` of flag-setting mnemonics.
impl Operand for bool {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if *self { "s" } else { "" })
    }
}

impl Operand for u16 {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        number(f, *self)
    }
}

impl Operand for u32 {
    fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        number(f, *self)
    }
}

macro_rules! named_operands {
    ($($ty:ty),+ $(,)?) => {
        $(impl Operand for $ty {
            fn write(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.name())
            }
        })+
    };
}
named_operands!(
    DpOp, Shift, LongOp, QOp, ParKind, ParOp, ExtendOp, RevOp, MemOp, ExSize, PreloadOp, HintOp,
    BarrierOp,
);

/// Writes a number: decimal below ten, else hexadecimal.
pub(super) fn number(f: &mut fmt::Formatter<'_>, value: impl Into<u64>) -> fmt::Result {
    let value = value.into();
    if value < 10 {
        write!(f, "{value}")
    } else {
        write!(f, "{value:#x}")
    }
}

/// Text made by a closure.
struct Text<F>(F);

fn text<F: Fn(&mut fmt::Formatter<'_>) -> fmt::Result>(write: F) -> Text<F> {
    Text(write)
}

impl<F: Fn(&mut fmt::Formatter<'_>) -> fmt::Result> fmt::Display for Text<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (self.0)(f)
    }
}

/// Returns `r1, lsl #2`, or `r1` if nothing is shifted.
pub(super) fn shifted(rm: u8, shift: Shift, amount: u8) -> impl fmt::Display {
    text(move |f| {
        f.write_str(reg(rm))?;
        match (shift, amount) {
            (Shift::Lsl, 0) => Ok(()),
            // Always by one, which the syntax leaves out.
            (Shift::Rrx, _) => f.write_str(", rrx"),
            (shift, amount) => {
                write!(f, ", {} #", shift.name())?;
                number(f, amount)
            }
        }
    })
}

/// Returns `, ror #8`, or nothing.
pub(super) fn rotation(rotate: u8) -> impl fmt::Display {
    text(move |f| {
        if rotate == 0 {
            return Ok(());
        }
        f.write_str(", ror #")?;
        number(f, rotate)
    })
}

/// Returns the mnemonic of an extension that adds: `sxtah` for `sxth`.
pub(super) fn extend_add(op: ExtendOp) -> &'static str {
    match op {
        ExtendOp::Sxtb16 => "sxtab16",
        ExtendOp::Sxtb => "sxtab",
        ExtendOp::Sxth => "sxtah",
        ExtendOp::Uxtb16 => "uxtab16",
        ExtendOp::Uxtb => "uxtab",
        ExtendOp::Uxth => "uxtah",
    }
}

/// Returns a register list.
pub(super) fn reglist(list: u16) -> impl fmt::Display {
    text(move |f| {
        let mut separator = "{";
        for register in (0..16u8).filter(|r| list >> r & 1 != 0) {
            write!(f, "{separator}{}", reg(register))?;
            separator = ", ";
        }
        f.write_str("}")
    })
}

/// Returns the suffix of a block transfer: nothing for the default, increment after.
pub(super) fn block(increment: bool, before: bool) -> &'static str {
    match (increment, before) {
        (true, false) => "",
        (true, true) => "ib",
        (false, false) => "da",
        (false, true) => "db",
    }
}

/// Returns the suffix as [`block`] does, for instructions that always write it.
pub(super) fn block_full(increment: bool, before: bool) -> &'static str {
    match block(increment, before) {
        "" => "ia",
        suffix => suffix,
    }
}

fn address(
    f: &mut fmt::Formatter<'_>,
    rn: u8,
    index: Index,
    offset: Option<&dyn fmt::Display>,
) -> fmt::Result {
    let base = reg(rn);
    match (index, offset) {
        (Index::Offset, None) => write!(f, "[{base}]"),
        (Index::Offset, Some(o)) => write!(f, "[{base}, {o}]"),
        (Index::Pre, Some(o)) => write!(f, "[{base}, {o}]!"),
        (Index::Pre, None) => write!(f, "[{base}]!"),
        (Index::Post, Some(o)) => write!(f, "[{base}], {o}"),
        (Index::Post, None) => write!(f, "[{base}]"),
    }
}

fn signed(add: bool, imm: u32) -> impl fmt::Display {
    text(move |f| {
        f.write_str(if add { "#" } else { "#-" })?;
        number(f, imm)
    })
}

/// Returns `[r1, #4]`, `[r1, #-4]!`, `[r1], #4`; a zero offset is left out only where nothing is
/// lost.
pub(super) fn addr_imm(rn: u8, index: Index, add: bool, imm: u32) -> impl fmt::Display {
    text(move |f| {
        // `#-0` (U = 0) is an encoding of its own, and must not print like `#0`.
        let plain = index == Index::Offset && add && imm == 0;
        let offset = signed(add, imm);
        address(
            f,
            rn,
            index,
            (!plain).then_some(&offset as &dyn fmt::Display),
        )
    })
}

/// Returns `[r1, -r2, lsl #2]` and its indexed forms.
pub(super) fn addr_reg(
    rn: u8,
    index: Index,
    add: bool,
    rm: u8,
    shift: Shift,
    amount: u8,
) -> impl fmt::Display {
    text(move |f| {
        let offset = text(move |f| {
            write!(
                f,
                "{}{}",
                if add { "" } else { "-" },
                shifted(rm, shift, amount)
            )
        });
        address(f, rn, index, Some(&offset))
    })
}

/// Returns the address of LDC and STC.
pub(super) fn addr_coproc(rn: u8, index: CoprocIndex, add: bool, imm: u16) -> impl fmt::Display {
    text(move |f| match index {
        CoprocIndex::Offset => write!(f, "{}", addr_imm(rn, Index::Offset, add, imm.into())),
        CoprocIndex::Pre => write!(f, "{}", addr_imm(rn, Index::Pre, add, imm.into())),
        CoprocIndex::Post => write!(f, "{}", addr_imm(rn, Index::Post, add, imm.into())),
        CoprocIndex::Unindexed => write!(f, "[{}], {{{imm}}}", reg(rn)),
    })
}

/// Returns an absolute branch target.
pub(super) fn target(pc: u32, t32: bool, offset: i32) -> impl fmt::Display {
    // The PC reads as two instructions ahead.
    let base = pc.wrapping_add(if t32 { 4 } else { 8 });
    text(move |f| write!(f, "#{:#x}", base.wrapping_add_signed(offset)))
}

/// Returns the target of a T32 BLX, which is relative to the aligned PC.
pub(super) fn target_aligned(pc: u32, offset: i32) -> impl fmt::Display {
    target(pc & !3, true, offset)
}

/// Returns the offset of ADR, from the aligned PC.
pub(super) fn rel(_pc: u32, _t32: bool, offset: i32) -> impl fmt::Display {
    signed(offset >= 0, offset.unsigned_abs())
}

/// Returns the `t` and `e` letters of IT.
pub(super) fn it_suffix(firstcond: u8, mask: u8) -> impl fmt::Display {
    text(move |f| {
        // The lowest one of the mask ends the block.
        let length = 3u32.saturating_sub(mask.trailing_zeros());
        for place in 0..length {
            // The mask has the lowest bit of each condition, in which "then" and "else" differ.
            let same = mask >> (3 - place) & 1 == firstcond & 1;
            f.write_str(if same { "t" } else { "e" })?;
        }
        Ok(())
    })
}

/// Returns a condition's name, `al` included.
pub(super) fn cond_name(cond: u8) -> &'static str {
    Cond::from_bits(cond.into()).name()
}

/// Returns `cpsr_fc` and the like; flags alone are the application's APSR.
pub(super) fn psr_fields(spsr: bool, mask: u8) -> impl fmt::Display {
    text(move |f| {
        match (spsr, mask) {
            // The fields that User mode may write have names of the APSR in UAL.
            (false, 8) => return f.write_str("apsr_nzcvq"),
            (false, 4) => return f.write_str("apsr_g"),
            (false, 12) => return f.write_str("apsr_nzcvqg"),
            (true, 0) => return f.write_str("spsr"),
            (false, 0) => return f.write_str("cpsr"),
            (true, _) => f.write_str("spsr_")?,
            (false, _) => f.write_str("cpsr_")?,
        }
        for (bit, letter) in [(8, "f"), (4, "s"), (2, "x"), (1, "c")] {
            if mask & bit != 0 {
                f.write_str(letter)?;
            }
        }
        Ok(())
    })
}

/// Returns a banked register (DDI 0406C B9.2.3).
pub(super) fn banked(spsr: bool, sysm: u8) -> impl fmt::Display {
    text(move |f| {
        let name = match sysm {
            // An SPSR has the number of its mode's LR, that of Hyp mode the one of ELR_hyp.
            _ if spsr => {
                let mode = match sysm {
                    14 => "fiq",
                    16 => "irq",
                    18 => "svc",
                    20 => "abt",
                    22 => "und",
                    28 => "mon",
                    30 => "hyp",
                    _ => return write!(f, "spsr_?{sysm}"),
                };
                return write!(f, "spsr_{mode}");
            }
            0..=6 => return write!(f, "{}_usr", reg(sysm + 8)),
            8..=14 => return write!(f, "{}_fiq", reg(sysm)),
            16..=23 => {
                // LR and SP of each mode, LR at the even number.
                let mode = ["irq", "svc", "abt", "und"][usize::from((sysm - 16) / 2)];
                return write!(f, "{}_{mode}", reg(14 - (sysm & 1)));
            }
            28 => "lr_mon",
            29 => "sp_mon",
            30 => "elr_hyp",
            31 => "sp_hyp",
            _ => return write!(f, "?{sysm}"),
        };
        f.write_str(name)
    })
}

/// Returns the interrupt masks that CPS names.
pub(super) fn interrupts(flags: u8) -> impl fmt::Display {
    text(move |f| {
        if flags == 0 {
            return f.write_str("none");
        }
        for (bit, letter) in [(4, "a"), (2, "i"), (1, "f")] {
            if flags & bit != 0 {
                f.write_str(letter)?;
            }
        }
        Ok(())
    })
}

/// Returns CPS in all its forms.
pub(super) fn cps(enable: bool, flags: u8, change_mode: bool, mode: u8) -> impl fmt::Display {
    text(move |f| {
        f.write_str("cps")?;
        if flags != 0 {
            write!(
                f,
                "{} {}",
                if enable { "ie" } else { "id" },
                interrupts(flags)
            )?;
            if change_mode {
                f.write_str(",")?;
            }
        }
        if change_mode {
            f.write_str(" #")?;
            number(f, mode)?;
        }
        Ok(())
    })
}

/// Returns a hint with its condition and option.
pub(super) fn hint_name(op: HintOp, option: u8, cond: Cond) -> impl fmt::Display {
    text(move |f| {
        write!(f, "{}{}", op.name(), cond.suffix())?;
        match op {
            HintOp::Dbg => {
                f.write_str(" #")?;
                number(f, option)
            }
            _ => Ok(()),
        }
    })
}

/// Returns the option of DMB and DSB.
pub(super) fn barrier_option(option: u8) -> impl fmt::Display {
    // By option; those without a name are reserved.
    const NAMES: [&str; 16] = [
        "", "", "oshst", "osh", "", "", "nshst", "nsh", "", "", "ishst", "ish", "", "", "st", "sy",
    ];
    text(move |f| match NAMES[usize::from(option & 15)] {
        "" => {
            f.write_str("#")?;
            number(f, option)
        }
        name => f.write_str(name),
    })
}

/// Returns the option of ISB.
pub(super) fn isb_option(option: u8) -> impl fmt::Display {
    text(move |f| {
        if option == 15 {
            return f.write_str("sy");
        }
        f.write_str("#")?;
        number(f, option)
    })
}

/// Returns the destination of MRC: R15 means the flags.
pub(super) fn rt_or_flags(rt: u8) -> &'static str {
    if rt == 15 { "apsr_nzcv" } else { reg(rt) }
}
