//! The long-descriptor format, LPAE (ARM ARM DDI 0406C B3.6).

use super::permissions::Rights;
use super::{Fault, FaultKind, PA_MASK, Translation, Walk, Walked, attributes};
use crate::cp15::{Cp15, ttbcr};

/// What table descriptors on the way took away from everything below them (B3.6.1, attributes of
/// table descriptors).
#[derive(Clone, Copy, Default)]
struct Inherited {
    /// APTable\[0\]: no PL0 access.
    no_user: bool,
    /// APTable\[1\]: read-only.
    read_only: bool,
    xn: bool,
    pxn: bool,
}

impl Inherited {
    fn below(self, table: u64) -> Self {
        Self {
            no_user: self.no_user || table & (1 << 61) != 0,
            read_only: self.read_only || table & (1 << 62) != 0,
            xn: self.xn || table & (1 << 60) != 0,
            pxn: self.pxn || table & (1 << 59) != 0,
        }
    }
}

pub(super) fn walk(cp15: &Cp15, walk: &Walk<'_>) -> Result<Walked, Fault> {
    let va = walk.va;
    let (ttbr, tsz) = region(cp15, va).ok_or_else(|| walk.fault(FaultKind::Translation, 1, 0))?;
    // A region of up to 1 GiB needs no first level.
    let start = if tsz >= 2 { 2u8 } else { 1 };
    // Entries of the first table, as a power of two: what is left of the address above the level's
    // own offset.
    let entries_log2 = 32 - tsz - shift(start);
    let mut table = ttbr & PA_MASK & !((8u64 << entries_log2) - 1);
    let mut index = (va >> shift(start)) & ((1 << entries_log2) - 1);
    let mut inherited = Inherited::default();
    let mut level = start;
    loop {
        let d = walk.double(table | u64::from(index) << 3, level)?;
        match (d & 3, level) {
            (3, 3) | (1, 1 | 2) => return leaf(cp15, walk, d, level, inherited),
            (3, _) => {
                inherited = inherited.below(d);
                table = d & PA_MASK & !0xfff;
                level += 1;
                index = (va >> shift(level)) & 0x1ff;
            }
            // Invalid, or what would be a block at level 3, which is reserved.
            _ => return Err(walk.fault(FaultKind::Translation, level, 0)),
        }
    }
}

/// Returns the lowest address bit that indexes a table of `level` (1 to 3).
const fn shift(level: u8) -> u32 {
    match level {
        1 => 30,
        2 => 21,
        _ => 12,
    }
}

/// Returns the base register and the size field that cover `va`; `None` when neither does or its
/// walks are disabled (B3.6.4).
fn region(cp15: &Cp15, va: u32) -> Option<(u64, u32)> {
    let t0sz = cp15.ttbcr & 7;
    let t1sz = cp15.ttbcr >> 16 & 7;
    let top = |bits: u32, ones: bool| {
        // In 64 bits, as the shift may be by 32.
        let prefix = u64::from(va) >> (32 - bits);
        prefix == if ones { (1 << bits) - 1 } else { 0 }
    };
    let in_0 = top(t0sz, false);
    let in_1 = if t1sz == 0 { !in_0 } else { top(t1sz, true) };
    if in_1 {
        (cp15.ttbcr & ttbcr::EPD1 == 0).then_some((cp15.ttbr1, t1sz))
    } else if in_0 {
        (cp15.ttbcr & ttbcr::EPD0 == 0).then_some((cp15.ttbr0, t0sz))
    } else {
        None
    }
}

/// Translates by a block or page descriptor. The contiguous hint is ignored, as it may be.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a page has less than 64 address bits, and the fields of attributes are masked"
)]
fn leaf(
    cp15: &Cp15,
    walk: &Walk<'_>,
    d: u64,
    level: u8,
    inherited: Inherited,
) -> Result<Walked, Fault> {
    if d & (1 << 10) == 0 && !walk.look {
        return Err(walk.fault(FaultKind::AccessFlag, level, 0));
    }
    let mut ap21 = (d >> 6 & 3) as u32;
    if inherited.no_user {
        ap21 &= !1;
    }
    if inherited.read_only {
        ap21 |= 2;
    }
    let xn = d & (1 << 54) != 0 || inherited.xn;
    let pxn = d & (1 << 53) != 0 || inherited.pxn;
    let (user, privileged) = Rights::from_ap21(ap21, xn, pxn).perms(cp15.sctlr);
    let size_log2 = shift(level);
    let offset = u64::from(walk.va) & ((1 << size_log2) - 1);
    Ok(Walked {
        translation: Translation {
            pa: (d & PA_MASK) >> size_log2 << size_log2 | offset,
            size_log2: size_log2 as u8,
            domain: None,
            global: d & (1 << 11) == 0,
            attributes: attributes::long(cp15, (d >> 2) as u32, (d >> 8) as u32),
            user,
            privileged,
        },
        level,
        no_access: false,
    })
}

#[cfg(test)]
mod tests;
