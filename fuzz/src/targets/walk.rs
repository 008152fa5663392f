//! Page-table walks of any regime, over guest memory full of anything.

#![expect(clippy::cast_possible_truncation, reason = "memory is small")]

use std::cell::Cell;

use arbitrary::{Arbitrary, Result, Unstructured};
use viommu::Access;
use viommu::walk::{
    ExternalAbort, GuestTables, Level, MAX_READS, MAX_SHORT_READS, Regime, Region, Security,
    ShortRegime, TableReader, walk, walk_short,
};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

/// Sixteen pages of RAM.
const RAM: u64 = 0x4000_0000;
const RAM_SIZE: u64 = 0x1_0000;

struct Counted<'a> {
    tables: GuestTables<'a, GuestMemoryMmap<()>>,
    reads: Cell<u32>,
}

impl TableReader for Counted<'_> {
    fn read_descriptor(&self, address: u64) -> std::result::Result<u64, ExternalAbort> {
        self.reads.set(self.reads.get() + 1);
        self.tables.read_descriptor(address)
    }

    fn read_short_descriptor(&self, address: u64) -> std::result::Result<u32, ExternalAbort> {
        self.reads.set(self.reads.get() + 1);
        self.tables.read_short_descriptor(address)
    }
}

/// Returns the like regime of the format with short descriptors.
fn short(regime: &Regime) -> ShortRegime {
    let upper = regime.ttbr1.unwrap_or(regime.ttbr0);
    ShortRegime {
        ttbr0: regime.ttbr0.base as u32,
        ttbr1: upper.base as u32,
        n: regime.ttbr0.size_offset,
        lower_disabled: regime.ttbr0.disabled,
        upper_disabled: upper.disabled,
        access_flag: regime.access_flag_faults,
        privileged: regime.privileged,
    }
}

/// Walks short descriptors, of which there are two a word.
fn walk_the_short_format(tables: &Counted<'_>, regime: &ShortRegime, iova: u64, access: Access) {
    tables.reads.set(0);
    let answer = walk_short(tables, regime, iova, access);
    assert!(tables.reads.get() <= MAX_SHORT_READS);
    let Ok(walked) = answer else { return };
    assert!(walked.read && (access == Access::Read || walked.write));
    assert!(iova <= u64::from(u32::MAX) && walked.output < 1 << 40 && walked.attr_index < 8);
    let within = (1u64 << walked.size_log2) - 1;
    assert_eq!(iova & within, walked.output & within);
    // Of the others 16 entries, of which one was read, are obliged to be alike.
    if matches!(walked.size_log2, 12 | 20) {
        for end in [iova & !within, iova | within] {
            let there = walk_short(tables, regime, end, access).expect("it is of the same range");
            assert_eq!(there.output & !within, walked.output & !within);
        }
    }
}

fn region(u: &mut Unstructured<'_>) -> Result<Region> {
    let near = RAM + u64::from(u16::arbitrary(u)?);
    let base = if u.ratio(7, 8)? { near } else { u.arbitrary()? };
    let start = *u.choose(&[Level::First, Level::Second, Level::Third])?;
    let size_offset = if u.ratio(7, 8)? {
        u.int_in_range(0..=8)?
    } else {
        u.arbitrary()?
    };
    Ok(Region {
        disabled: u.ratio(1, 16)?,
        ..Region::new(base, size_offset, start)
    })
}

fn regime(u: &mut Unstructured<'_>) -> Result<Regime> {
    Ok(Regime {
        input_bits: *u.choose(&[32, 40, 0, 12, 63, 64, 255])?,
        output_bits: *u.choose(&[40, 32, 48, 0, 64, 255])?,
        ttbr0: region(u)?,
        ttbr1: if u.arbitrary()? {
            Some(region(u)?)
        } else {
            None
        },
        access_flag_faults: u.arbitrary()?,
        security: *u.choose(&[
            Security::Secure,
            Security::NonSecure,
            Security::NonSecureRequired,
        ])?,
        privileged: u.arbitrary()?,
    })
}

fn run(u: &mut Unstructured<'_>) -> Result<()> {
    let ram = GuestMemoryMmap::<()>::from_ranges(&[(GuestAddress(RAM), RAM_SIZE as usize)])
        .expect("sixteen pages can be had");
    let regime = regime(u)?;
    let iovas = [
        u.arbitrary::<u64>()?,
        u64::from(u.arbitrary::<u32>()?),
        u.arbitrary::<u16>()?.into(),
    ];
    let mut at = 0u64;
    while !u.is_empty() && at < RAM_SIZE {
        let word = u64::arbitrary(u)?;
        // Most words lead to where tables are.
        let word = if word & 0xf0 == 0 {
            word
        } else {
            word & !0xffff_ffff_0000 | RAM
        };
        // Each is written several times over, to fill the memory from little input.
        for copy in 0..8 {
            let place = (at.wrapping_mul(17).wrapping_add(copy * 0x2008) % RAM_SIZE) & !7;
            ram.write_obj(word.to_le(), GuestAddress(RAM + place))
                .expect("it is in RAM");
        }
        at += 8;
    }
    let counted = Counted {
        tables: GuestTables(&ram),
        reads: Cell::default(),
    };
    for iova in iovas {
        for access in [Access::Read, Access::Write] {
            walk_the_short_format(&counted, &short(&regime), iova, access);
            counted.reads.set(0);
            let answer = walk(&counted, &regime, iova, access);
            assert!(counted.reads.get() <= MAX_READS);
            let Ok(walked) = answer else { continue };
            assert!(walked.read && (access == Access::Read || walked.write));
            let within = (1u64 << walked.size_log2) - 1;
            assert_eq!(iova & 0xfff, walked.output & 0xfff);
            if walked.contiguous {
                assert_eq!(iova & within, walked.output & within);
                continue;
            }
            // The ends of the range are translated as its middle is.
            for end in [iova & !within, iova | within] {
                let there = walk(&counted, &regime, end, access).expect("it is of the same range");
                assert_eq!(
                    there.output.wrapping_sub(walked.output),
                    end.wrapping_sub(iova)
                );
                assert_eq!(there.size_log2, walked.size_log2);
            }
        }
    }
    Ok(())
}

/// Runs one input.
pub fn fuzz(data: &[u8]) {
    // Too little input is no test.
    let _ = run(&mut Unstructured::new(data));
}
