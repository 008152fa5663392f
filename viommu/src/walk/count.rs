//! Counts what page tables map, for tests and reports.

use super::{Level, Regime, TableReader, walk};
use crate::fault::Access;

/// Log2 of the bytes of the smallest region (sizes of regions have three bits): one begins at no
/// other address.
const SMALLEST_REGION: u8 = 25;

/// Returns log2 of the bytes that are not mapped around an IOVA whose walk ends at `level`: the
/// descriptor at fault decides for everything that its entry covers.
pub(crate) const fn hole_bits(level: u8) -> u8 {
    match level {
        3 => Level::Third.shift(),
        2 => Level::Second.shift(),
        // An entry of the first level may be a hole, and so may all that is in neither region.
        _ => SMALLEST_REGION,
    }
}

/// Counts the pages and blocks that `regime` maps in the 32-bit space: at most one walk for each
/// page, and one for each larger block or part of a hole.
// Each turn skips what one descriptor, or its absence, decides.
pub(crate) fn count(tables: &impl TableReader, regime: &Regime) -> u64 {
    let mut count = 0;
    // 64 bits, so that it can go past the last IOVA.
    let mut iova = 0;
    while iova <= u64::from(u32::MAX) {
        let size_log2 = match walk(tables, regime, iova, Access::Read) {
            Ok(walked) => {
                count += 1;
                walked.size_log2
            }
            Err(fault) => hole_bits(fault.level),
        };
        let size = 1_u64 << size_log2;
        iova = (iova & !(size - 1)) + size;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::walk::{ExternalAbort, Region};

    /// First-level table at 0x1000: a block of 1 GiB, then a table at 0x2000 with a block of 2 MiB
    /// and a table at 0x3000 with two pages, then nothing, then a table where no memory is.
    struct Tables;

    impl TableReader for Tables {
        fn read_descriptor(&self, address: u64) -> Result<u64, ExternalAbort> {
            let entries = [
                (0x1000, 0x8000_0000 | 0x461),
                (0x1008, 0x2003),
                (0x1018, 0x9000_0003),
                (0x2010, 0x8000_0000 | 0x461),
                (0x2ff8, 0x3003),
                (0x3000, 0x8000_0000 | 0x463),
                (0x3ff8, 0x8000_0000 | 0x463),
            ];
            let entry = entries.iter().find(|(at, _)| *at == address);
            match address {
                0x1000..0x4000 => Ok(entry.map_or(0, |(_, descriptor)| *descriptor)),
                _ => Err(ExternalAbort),
            }
        }
    }

    #[test]
    fn each_page_and_block_counts_once() {
        let regime = Regime::new(Region::new(0x1000, 0, Level::First));
        assert_eq!(count(&Tables, &regime), 4);
    }

    /// Regions are of 32 MiB or more, of which an entry of the first level covers many.
    #[test]
    fn no_region_is_skipped_with_a_hole_before_it() {
        // Only the top 32 MiB: the 16 entries of the table at 0x2000, of which one is a block of 2
        // MiB.
        let regime = Regime {
            ttbr1: Some(Region::new(0x2000, 7, Level::Second)),
            ..Regime::new(Region::new(0x1000, 7, Level::First))
        };
        assert_eq!(count(&Tables, &regime), 1);
    }
}
