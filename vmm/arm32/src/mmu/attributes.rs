//! Memory attributes: TEX, C and B, TEX remap, and MAIR (ARM ARM DDI 0406C B3.8).

use super::{Attributes, MemoryType, Shareability};
use crate::cp15::{Cp15, sctlr};

/// Strongly-ordered memory.
pub(super) const STRONGLY_ORDERED: Attributes = Attributes {
    memory: MemoryType::StronglyOrdered,
    mair: 0x00,
    shareability: Shareability::Outer,
};

const fn device(shareability: Shareability) -> Attributes {
    Attributes {
        memory: MemoryType::Device,
        mair: 0x04,
        shareability,
    }
}

/// Returns one half of a MAIR byte for the two-bit cacheability code of short descriptors and NMRR:
/// non-cacheable, write-back write-allocate, write-through, write-back without write-allocate.
const fn cacheability(code: u32) -> u8 {
    match code & 3 {
        0 => 0x4,
        1 => 0xf,
        2 => 0xa,
        _ => 0xe,
    }
}

const fn normal(outer: u32, inner: u32, shareability: Shareability) -> Attributes {
    Attributes {
        memory: MemoryType::Normal,
        mair: cacheability(outer) << 4 | cacheability(inner),
        shareability,
    }
}

/// Returns the attributes of a short descriptor with the given TEX (3 bits), C and B (as two bits)
/// and S.
pub(super) fn short(cp15: &Cp15, tex: u32, cb: u32, s: bool) -> Attributes {
    if cp15.sctlr & sctlr::TRE != 0 {
        remapped(cp15, (tex & 1) << 2 | cb, s)
    } else {
        plain(tex, cb, s)
    }
}

/// Returns the attributes of table B3-10. Reserved encodings are strongly-ordered.
fn plain(tex: u32, cb: u32, s: bool) -> Attributes {
    let share = if s {
        Shareability::Outer
    } else {
        Shareability::Non
    };
    match (tex & 7, cb & 3) {
        (0, 1) => device(Shareability::Outer),
        (2, 0) => device(Shareability::Non),
        (0, code @ (2 | 3)) => normal(code, code, share),
        (1, 0) => normal(0, 0, share),
        (1, 3) => normal(1, 1, share),
        // With the top bit of TEX set, its others are the outer cacheability, C and B the inner
        // one.
        (4.., inner) => normal(tex & 3, inner, share),
        _ => STRONGLY_ORDERED,
    }
}

/// Returns the attributes with TEX remap: region `n` of PRRR and NMRR (B3.8.3). The reserved type
/// is strongly-ordered.
fn remapped(cp15: &Cp15, n: u32, s: bool) -> Attributes {
    let (prrr, nmrr) = (cp15.prrr_mair0, cp15.nmrr_mair1);
    // DS0 and DS1 are bits 16 and 17, NS0 and NS1 are bits 18 and 19.
    let shared = |first: u32| prrr >> (first + u32::from(s)) & 1 != 0;
    let share = |on: bool| match (on, prrr >> (24 + n) & 1 != 0) {
        (false, _) => Shareability::Non,
        (true, false) => Shareability::Outer,
        (true, true) => Shareability::Inner,
    };
    match prrr >> (2 * n) & 3 {
        1 => device(share(shared(16))),
        2 => normal(nmrr >> (2 * n + 16), nmrr >> (2 * n), share(shared(18))),
        _ => STRONGLY_ORDERED,
    }
}

/// Returns the attributes of a long descriptor with the given AttrIndx (3 bits) and SH (2 bits).
/// MAIR encodings that are UNPREDICTABLE are Device memory, the reserved SH value is outer
/// shareable.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a MAIR has an attribute in each byte"
)]
pub(super) fn long(cp15: &Cp15, index: u32, sh: u32) -> Attributes {
    let mairs = u64::from(cp15.nmrr_mair1) << 32 | u64::from(cp15.prrr_mair0);
    let mair = (mairs >> (8 * (index & 7))) as u8;
    match mair {
        0x00 => STRONGLY_ORDERED,
        0x01..=0x0f => device(Shareability::Outer),
        _ => Attributes {
            memory: MemoryType::Normal,
            mair,
            shareability: match sh & 3 {
                0 => Shareability::Non,
                3 => Shareability::Inner,
                _ => Shareability::Outer,
            },
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_tex_c_b() {
        let cp15 = Cp15::default();
        let of = |tex, cb| {
            let a = short(&cp15, tex, cb, true);
            (a.memory, a.mair)
        };
        assert_eq!(of(0, 0), (MemoryType::StronglyOrdered, 0));
        assert_eq!(of(0, 1), (MemoryType::Device, 4));
        assert_eq!(of(0, 2), (MemoryType::Normal, 0xaa));
        assert_eq!(of(0, 3), (MemoryType::Normal, 0xee));
        assert_eq!(of(1, 0), (MemoryType::Normal, 0x44));
        assert_eq!(of(1, 1), (MemoryType::StronglyOrdered, 0));
        assert_eq!(of(1, 3), (MemoryType::Normal, 0xff));
        assert_eq!(of(2, 0), (MemoryType::Device, 4));
        assert_eq!(of(0b101, 0b10), (MemoryType::Normal, 0xfa));
        assert_eq!(
            short(&cp15, 1, 3, false).shareability,
            Shareability::Non,
            "S clear"
        );
    }

    #[test]
    fn tex_remap_as_linux_sets_it_up() {
        // The values of arch/arm: region 1 bufferable, 3 write-back, 4 device, 7 write-allocate.
        let cp15 = Cp15 {
            sctlr: sctlr::TRE,
            prrr_mair0: 0xff0a_81a8,
            nmrr_mair1: 0x40e0_40e0,
            ..Cp15::default()
        };
        let of = |tex, cb, s| short(&cp15, tex, cb, s);
        assert_eq!(of(0, 0, false).memory, MemoryType::StronglyOrdered);
        assert_eq!(of(0, 1, false).mair, 0x44);
        assert_eq!(of(0, 2, false).mair, 0xaa);
        assert_eq!(of(0, 3, false).mair, 0xee);
        assert_eq!(of(1, 0, false).memory, MemoryType::Device);
        assert_eq!(of(1, 3, true).mair, 0xff);
        assert_eq!(of(1, 3, true).shareability, Shareability::Inner);
        assert_eq!(of(1, 3, false).shareability, Shareability::Non);
        // TEX[2:1] belong to the operating system.
        assert_eq!(of(0b110, 0, false), of(0, 0, false));
    }

    #[test]
    fn mair_bytes() {
        let cp15 = Cp15 {
            prrr_mair0: 0xff44_0400,
            nmrr_mair1: 0x0000_07bb,
            ..Cp15::default()
        };
        assert_eq!(long(&cp15, 0, 3), STRONGLY_ORDERED);
        assert_eq!(long(&cp15, 1, 0), device(Shareability::Outer));
        assert_eq!(long(&cp15, 2, 2).shareability, Shareability::Outer);
        let normal = long(&cp15, 3, 3);
        assert_eq!(
            (normal.mair, normal.shareability),
            (0xff, Shareability::Inner)
        );
        assert_eq!(long(&cp15, 4, 0).mair, 0xbb);
        assert_eq!(long(&cp15, 5, 0), device(Shareability::Outer));
    }
}
