//! The walk of the short-descriptor format (ARM ARM DDI 0406C, B3.5 and B3.7).

pub mod spec;
#[cfg(test)]
mod tests;

pub use spec::{ShortRegime, ShortWalked};

use spec::{
    Ap, FIRST_TABLE_BITS, Kind, LARGE_PAGE_BITS, Page, SECOND_TABLE_BITS, SECTION_BITS,
    SMALL_PAGE_BITS, SUPERSECTION_BITS, Section,
};

use super::lpae::{ExternalAbort, TableReader, mapping};
use super::spec::WalkFault;
use crate::fault::{Access, FaultReason};
use crate::model::Mapping;

/// Descriptors that one walk reads at most: one a level.
pub const MAX_SHORT_READS: u32 = 2;

/// A section, supersection, large page or small page.
struct Leaf {
    /// Physical address of its first byte.
    base: u64,
    size_log2: u8,
    /// The level of its descriptor.
    level: u8,
    ap: Ap,
    attr_index: u8,
}

/// Translates `iova` for `access`.
///
/// The answer tells both permissions, not only the one asked for, and the naturally aligned range
/// around `iova` that it holds for. Of supersections and large pages one of the 16 entries is read:
/// the architecture obliges software to write them alike (B3.5.1). Domains are ignored, as there is
/// no register that says what they may do: an IOMMU has none.
///
/// # Errors
/// The first fault: of the entry of level 1, then of level 2; an external abort before a
/// translation fault, and that before those of the access flag and of permissions.
pub fn walk_short<T: TableReader + ?Sized>(
    tables: &T,
    regime: &ShortRegime,
    iova: u64,
    access: Access,
) -> Result<ShortWalked, WalkFault> {
    let iova = u32::try_from(iova).map_err(|_| fault(FaultReason::Translation, 1))?;
    let first = read(tables, first_entry(regime, iova)?, 1)?;
    let leaf = match Kind::of(first) {
        Kind::Invalid => return Err(fault(FaultReason::Translation, 1)),
        Kind::TableOrLargePage => second_level(tables, first, iova)?,
        Kind::SectionOrSmallPage => section(Section::from_bits(first)),
    };
    leaf.translate(regime, iova, access)
}

/// Returns log2 of the bytes that are not mapped around an IOVA whose walk ends at `level`: the
/// descriptor at fault decides for everything that its entry covers.
#[cfg(feature = "smmu-v2")]
pub(crate) const fn short_hole_bits(level: u8) -> u8 {
    match level {
        2 => SMALL_PAGE_BITS,
        _ => SECTION_BITS,
    }
}

/// Counts the sections and pages that `regime` maps; supersections and large pages count once.
#[cfg(feature = "smmu-v2")]
pub(crate) fn count_short(tables: &impl TableReader, regime: &ShortRegime) -> u64 {
    let (mut count, mut iova) = (0, 0_u64);
    while iova <= u64::from(u32::MAX) {
        let size_log2 = match walk_short(tables, regime, iova, Access::Read) {
            Ok(walked) => {
                count += 1;
                walked.size_log2
            }
            Err(fault) => short_hole_bits(fault.level),
        };
        let size = 1 << size_log2;
        iova = (iova & !(size - 1)) + size;
    }
    count
}

/// Returns the address of the entry of level 1 (B3.5.4, B3.5.5).
fn first_entry(regime: &ShortRegime, iova: u32) -> Result<u64, WalkFault> {
    let n = regime.n & 7;
    let is_lower = u64::from(iova) >> (32 - n) == 0;
    let (ttbr, disabled, bits) = if is_lower {
        (regime.ttbr0, regime.lower_disabled, FIRST_TABLE_BITS - n)
    } else {
        // It has entries for the lower region, too, which are not used.
        (regime.ttbr1, regime.upper_disabled, FIRST_TABLE_BITS)
    };
    if disabled {
        return Err(fault(FaultReason::Translation, 1));
    }
    // The table is aligned to its size, so the index cannot carry into its address.
    Ok(u64::from(
        ttbr & !((1 << bits) - 1) | iova >> SECTION_BITS << 2,
    ))
}

/// Returns the page that the table of an entry of level 1 has for `iova`.
fn second_level<T: TableReader + ?Sized>(
    tables: &T,
    first: u32,
    iova: u32,
) -> Result<Leaf, WalkFault> {
    let table = first & !((1 << SECOND_TABLE_BITS) - 1);
    let index = iova >> SMALL_PAGE_BITS & 0xff;
    let descriptor = read(tables, u64::from(table | index << 2), 2)?;
    let page = Page::from_bits(descriptor);
    let small = page.base() << SMALL_PAGE_BITS;
    let (base, size_log2, tex) = match Kind::of(descriptor) {
        Kind::Invalid => return Err(fault(FaultReason::Translation, 2)),
        // TEX is where a small page has bits 14:12 of its address.
        Kind::TableOrLargePage => (
            small >> LARGE_PAGE_BITS << LARGE_PAGE_BITS,
            LARGE_PAGE_BITS,
            (page.base() & 7) as u8,
        ),
        Kind::SectionOrSmallPage => (small, SMALL_PAGE_BITS, page.tex()),
    };
    Ok(Leaf {
        base: base.into(),
        size_log2,
        level: 2,
        ap: Ap(u8::from(page.ap_high()) << 2 | page.ap_low()),
        attr_index: (tex & 1) << 2 | page.cb(),
    })
}

/// Returns the section or supersection of a descriptor.
fn section(section: Section) -> Leaf {
    let address = u64::from(section.base()) << SECTION_BITS;
    let (base, size_log2) = if section.is_super() {
        let middle = u64::from(section.base() & 0xf) << 32;
        let high = u64::from(section.domain()) << 36;
        let low = address >> SUPERSECTION_BITS << SUPERSECTION_BITS;
        (high | middle | low, SUPERSECTION_BITS)
    } else {
        (address, SECTION_BITS)
    };
    Leaf {
        base,
        size_log2,
        level: 1,
        ap: Ap(u8::from(section.ap_high()) << 2 | section.ap_low()),
        attr_index: (section.tex() & 1) << 2 | section.cb(),
    }
}

impl Leaf {
    fn translate(
        &self,
        regime: &ShortRegime,
        iova: u32,
        access: Access,
    ) -> Result<ShortWalked, WalkFault> {
        if regime.access_flag && self.ap.0 & 1 == 0 {
            return Err(fault(FaultReason::AccessFlag, self.level));
        }
        let (read, write) = self.ap.permissions(regime);
        let permitted = match access {
            Access::Read => read,
            Access::Write => write,
        };
        if !permitted {
            return Err(fault(FaultReason::Permission, self.level));
        }
        let within = (1 << self.size_log2) - 1;
        Ok(ShortWalked {
            output: self.base | u64::from(iova) & within,
            size_log2: self.size_log2,
            read,
            write,
            attr_index: self.attr_index,
        })
    }
}

impl ShortWalked {
    /// Returns all that holds around `iova`, which was walked for.
    pub fn mapping(&self, iova: u64) -> Mapping {
        mapping(iova, self.output, self.size_log2, self.write)
    }
}

impl Ap {
    /// Returns whether reads and writes are permitted (B3.7.1, tables B3-6 and B3-8).
    const fn permissions(self, regime: &ShortRegime) -> (bool, bool) {
        let privileged = regime.privileged;
        if regime.access_flag {
            let allowed = privileged || self.0 & 2 != 0;
            return (allowed, allowed && self.0 & 4 == 0);
        }
        match self.0 {
            1 => (privileged, privileged),
            2 => (true, privileged),
            3 => (true, true),
            5 => (privileged, false),
            // 0b110 is deprecated, and the same.
            6 | 7 => (true, false),
            // 0b000; and 0b100, which is reserved.
            _ => (false, false),
        }
    }
}

fn read<T: TableReader + ?Sized>(tables: &T, address: u64, level: u8) -> Result<u32, WalkFault> {
    tables
        .read_short_descriptor(address)
        .map_err(|ExternalAbort| fault(FaultReason::WalkAbort, level))
}

const fn fault(reason: FaultReason, level: u8) -> WalkFault {
    WalkFault { reason, level }
}
