//! The short-descriptor format (ARM ARM DDI 0406C B3.5).

use super::permissions::Rights;
use super::{Fault, FaultKind, Perms, Translation, Walk, Walked, attributes};
use crate::cp15::{Cp15, sctlr, ttbcr};

/// A leaf: a supersection, section, large page or small page, its fields in common places.
struct Leaf {
    base: u64,
    size_log2: u8,
    level: u8,
    domain: u8,
    /// AP, three bits.
    ap: u32,
    tex: u32,
    /// C and B.
    cb: u32,
    shared: bool,
    not_global: bool,
    xn: bool,
    pxn: bool,
}

pub(super) fn walk(cp15: &Cp15, walk: &Walk<'_>) -> Result<Walked, Fault> {
    let first = walk.word(first_level(cp15, walk)?, 1, 0)?;
    let leaf = match first & 3 {
        0 => return Err(walk.fault(FaultKind::Translation, 1, 0)),
        1 => second_level(walk, first)?,
        // Bit 18 tells a supersection from a section.
        _ if first & (1 << 18) != 0 => supersection(first),
        _ => section(first),
    };
    // AFE makes the lowest bit of AP the access flag.
    if cp15.sctlr & sctlr::AFE != 0 && leaf.ap & 1 == 0 && !walk.look {
        return Err(walk.fault(FaultKind::AccessFlag, leaf.level, leaf.domain));
    }
    Ok(apply(cp15, walk.va, &leaf))
}

/// Returns the address of the first-level descriptor (B3.5.4 and B3.5.5).
fn first_level(cp15: &Cp15, walk: &Walk<'_>) -> Result<u64, Fault> {
    let n = cp15.ttbcr & ttbcr::N;
    let va = u64::from(walk.va);
    // The top N bits of the address; N is at most 7.
    let low = va >> (32 - n) == 0;
    let (ttbr, disable, n) = if low {
        (cp15.ttbr0, ttbcr::PD0, n)
    } else {
        (cp15.ttbr1, ttbcr::PD1, 0)
    };
    if cp15.ttbcr & disable != 0 {
        return Err(walk.fault(FaultKind::Translation, 1, 0));
    }
    let base = ttbr & 0xffff_ffff & !((1u64 << (14 - n)) - 1);
    Ok(base | va >> 20 << 2)
}

fn section(d: u32) -> Leaf {
    Leaf {
        base: u64::from(d & 0xfff0_0000),
        size_log2: 20,
        level: 1,
        domain: (d >> 5 & 15) as u8,
        ap: ap(d >> 10, d >> 15),
        tex: d >> 12 & 7,
        cb: d >> 2 & 3,
        shared: d & (1 << 16) != 0,
        not_global: d & (1 << 17) != 0,
        xn: d & (1 << 4) != 0,
        pxn: d & 1 != 0,
    }
}

/// Returns the leaf of a supersection: 16 MiB in domain 0, with PA bits 35 to 32 in bits 23:20 and
/// bits 39 to 36 in bits 8:5.
fn supersection(d: u32) -> Leaf {
    let high = u64::from(d >> 20 & 15) << 32 | u64::from(d >> 5 & 15) << 36;
    Leaf {
        base: u64::from(d & 0xff00_0000) | high,
        size_log2: 24,
        domain: 0,
        ..section(d)
    }
}

fn second_level(walk: &Walk<'_>, first: u32) -> Result<Leaf, Fault> {
    let domain = (first >> 5 & 15) as u8;
    let table = u64::from(first & 0xffff_fc00);
    let d = walk.word(table | u64::from(walk.va >> 12 & 0xff) << 2, 2, domain)?;
    let common = Leaf {
        base: u64::from(d & 0xffff_f000),
        size_log2: 12,
        level: 2,
        domain,
        ap: ap(d >> 4, d >> 9),
        tex: d >> 6 & 7,
        cb: d >> 2 & 3,
        shared: d & (1 << 10) != 0,
        not_global: d & (1 << 11) != 0,
        xn: d & 1 != 0,
        pxn: first & (1 << 2) != 0,
    };
    match d & 3 {
        0 => Err(walk.fault(FaultKind::Translation, 2, domain)),
        1 => Ok(Leaf {
            base: u64::from(d & 0xffff_0000),
            size_log2: 16,
            tex: d >> 12 & 7,
            xn: d & (1 << 15) != 0,
            ..common
        }),
        _ => Ok(common),
    }
}

const fn ap(low: u32, high: u32) -> u32 {
    (low & 3) | (high & 1) << 2
}

/// Applies domain and permission bits under the current DACR and SCTLR.
fn apply(cp15: &Cp15, va: u32, leaf: &Leaf) -> Walked {
    let rights = if cp15.sctlr & sctlr::AFE != 0 {
        Rights::from_ap21(leaf.ap >> 1, leaf.xn, leaf.pxn)
    } else {
        Rights::from_ap(leaf.ap, leaf.xn, leaf.pxn)
    };
    // B3.12.3: 1 is client, 3 is manager; the reserved value 2 allows nothing, as 0.
    let (no_access, (user, privileged)) = match cp15.dacr >> (2 * leaf.domain) & 3 {
        1 => (false, rights.perms(cp15.sctlr)),
        3 => (false, (Perms::ALL, Perms::ALL)),
        _ => (true, (Perms::NONE, Perms::NONE)),
    };
    let offset = va & ((1 << leaf.size_log2) - 1);
    Walked {
        translation: Translation {
            pa: leaf.base | u64::from(offset),
            size_log2: leaf.size_log2,
            domain: Some(leaf.domain),
            global: !leaf.not_global,
            attributes: attributes::short(cp15, leaf.tex, leaf.cb, leaf.shared),
            user,
            privileged,
        },
        level: leaf.level,
        no_access,
    }
}

#[cfg(test)]
mod tests;
