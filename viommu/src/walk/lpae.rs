//! The walk of the long-descriptor format (ARM ARM DDI 0406C, B3.6 and B3.7).

use vm_memory::Permissions;

use super::spec::{
    CONCATENATED_BITS, CONTIGUOUS_BITS, DescriptorType, INDEX_BITS, LeafDescriptor, Level, Regime,
    Region, Security, TableDescriptor, WalkFault, Walked,
};
use crate::fault::{Access, FaultReason};
use crate::model::Mapping;

/// Descriptors that one walk reads at most: one a level.
pub const MAX_READS: u32 = 3;

/// Where translation tables are read from.
pub trait TableReader {
    /// Reads the 64-bit descriptor at a physical address, which is a multiple of 8, in one piece.
    ///
    /// # Errors
    ///
    /// [`ExternalAbort`] if no memory answers there.
    fn read_descriptor(&self, address: u64) -> Result<u64, ExternalAbort>;

    /// Reads the 32-bit descriptor at a physical address, which is a multiple of 4, in one piece:
    /// for formats that have short ones.
    ///
    /// # Errors
    ///
    /// [`ExternalAbort`] if no memory answers there.
    fn read_short_descriptor(&self, address: u64) -> Result<u32, ExternalAbort> {
        // Little-endian: the lower address is the low half.
        let shift = (address & 4) * 8;
        let both = self.read_descriptor(address & !7)?;
        #[expect(clippy::cast_possible_truncation, reason = "it is one of two halves")]
        let half = (both >> shift) as u32;
        Ok(half)
    }
}

/// Nothing answered where a descriptor was to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no memory answers at the address of a page-table descriptor")]
pub struct ExternalAbort;

/// What table descriptors on the way took away from everything below them (B3.7.1, B3.6.3).
#[derive(Clone, Copy, Default)]
struct Inherited {
    no_user: bool,
    read_only: bool,
    xn: bool,
    pxn: bool,
    ns: bool,
}

impl Inherited {
    fn below(self, table: TableDescriptor) -> Self {
        Self {
            no_user: self.no_user || table.ap_table_no_user(),
            read_only: self.read_only || table.ap_table_read_only(),
            xn: self.xn || table.xn_table(),
            pxn: self.pxn || table.pxn_table(),
            ns: self.ns || table.ns_table(),
        }
    }
}

/// Translates `iova` for `access`.
///
/// The answer tells both permissions, not only the one asked for, and the naturally aligned range
/// around `iova` that it holds for. The walk makes at most [`MAX_READS`] reads.
///
/// The contiguous hint is believed if the entry itself could be one of such 16, that is, if the
/// table has 16 entries and the output address is as far into a range of that size as the IOVA is;
/// otherwise it is ignored. The other entries are not read: the architecture obliges software to
/// write them alike (B3.6.2), and what it gets otherwise is its own, still checked, output address.
///
/// # Errors
///
/// [`WalkFault`] for the first fault that the architecture's order of checks finds; for one
/// descriptor that order is external abort, translation or format, address size, security, access
/// flag, permission.
pub fn walk<T: TableReader + ?Sized>(
    tables: &T,
    regime: &Regime,
    iova: u64,
    access: Access,
) -> Result<Walked, WalkFault> {
    let (region, region_bits) =
        region_of(regime, iova).ok_or(fault(FaultReason::Translation, Level::First))?;
    let mut level = region.start;
    let mut index_bits =
        first_index_bits(level, region_bits).ok_or(fault(FaultReason::Translation, level))?;
    // Level 0, as the register is at fault: no descriptor was read.
    if beyond(region.base, regime.output_bits) {
        return Err(WalkFault {
            reason: FaultReason::AddressSize,
            level: 0,
        });
    }
    // Bits below the size of the table are ignored: the table is aligned to it.
    let mut table = region.base & !((8 << index_bits) - 1);
    let mut inherited = Inherited::default();
    // At most three rounds: each goes to the next level, and the third has none.
    loop {
        let index = iova >> level.shift() & ((1 << index_bits) - 1);
        // The table is aligned to its size, so the index cannot carry into its address.
        let descriptor = tables
            .read_descriptor(table | index << 3)
            .map_err(|ExternalAbort| fault(FaultReason::WalkAbort, level))?;
        // Both layouts have the type in bits 1:0, so either may be used to look at it.
        let kind = LeafDescriptor::from_bits(descriptor).kind();
        match (kind, level.next()) {
            (DescriptorType::Invalid, _) => return Err(fault(FaultReason::Translation, level)),
            (DescriptorType::Block, None) => return Err(fault(FaultReason::Format, level)),
            (DescriptorType::Block, Some(_)) | (DescriptorType::TableOrPage, None) => {
                let leaf = Leaf {
                    descriptor: LeafDescriptor::from_bits(descriptor),
                    level,
                    index_bits,
                    inherited,
                };
                return leaf.translate(regime, iova, access);
            }
            (DescriptorType::TableOrPage, Some(next)) => {
                let descriptor = TableDescriptor::from_bits(descriptor);
                table = next_table(regime, descriptor, level)?;
                inherited = inherited.below(descriptor);
                level = next;
                // Only the first table can be shorter, or several put together.
                index_bits = INDEX_BITS;
            }
        }
    }
}

/// Returns the address that a table descriptor leads to, if it may be followed.
fn next_table(
    regime: &Regime,
    descriptor: TableDescriptor,
    level: Level,
) -> Result<u64, WalkFault> {
    let address = descriptor.frame() << 12;
    if beyond(address, regime.output_bits) {
        return Err(fault(FaultReason::AddressSize, level));
    }
    if regime.security == Security::NonSecureRequired && !descriptor.ns_table() {
        return Err(fault(FaultReason::Secure, level));
    }
    Ok(address)
}

/// A block or page, and how the walk came to it.
struct Leaf {
    descriptor: LeafDescriptor,
    level: Level,
    /// Address bits that the table it stands in looks up.
    index_bits: u8,
    inherited: Inherited,
}

impl Leaf {
    fn translate(&self, regime: &Regime, iova: u64, access: Access) -> Result<Walked, WalkFault> {
        let d = self.descriptor;
        let shift = self.level.shift();
        // The order of the checks decides which of several faults the guest is told of.
        if beyond(d.frame() << 12, regime.output_bits) {
            return Err(fault(FaultReason::AddressSize, self.level));
        }
        if regime.security == Security::NonSecureRequired && !d.ns() {
            return Err(fault(FaultReason::Secure, self.level));
        }
        if regime.access_flag_faults && !d.access_flag() {
            return Err(fault(FaultReason::AccessFlag, self.level));
        }
        // B3.7.1: AP[1] and AP[2], less what APTable took away.
        let read = regime.privileged || (d.ap_user() && !self.inherited.no_user);
        let write = read && !d.ap_read_only() && !self.inherited.read_only;
        let permitted = match access {
            Access::Read => read,
            Access::Write => write,
        };
        if !permitted {
            return Err(fault(FaultReason::Permission, self.level));
        }
        let offset = iova & ((1 << shift) - 1);
        // The address bits below the block's size are ignored.
        let output = d.frame() << 12 >> shift << shift | offset;
        let contiguous = self.contiguous(iova, output);
        let full = if contiguous {
            shift + CONTIGUOUS_BITS
        } else {
            shift
        };
        let size_log2 = clip(regime, iova, full);
        Ok(Walked {
            output,
            size_log2,
            level: self.level,
            read,
            write,
            xn: d.xn() || self.inherited.xn,
            pxn: d.pxn() || self.inherited.pxn,
            attr_index: d.attr_index(),
            shareability: d.shareability(),
            // A Non-secure regime reaches only Non-secure memory, whatever the bits say.
            ns: regime.security != Security::Secure || d.ns() || self.inherited.ns,
            global: !d.not_global(),
            // Cut at the other region's border, the range is not that of the hint any more.
            contiguous: contiguous && size_log2 == full,
        })
    }

    /// Returns whether the contiguous hint is set and can be true.
    fn contiguous(&self, iova: u64, output: u64) -> bool {
        let within = (1 << (self.level.shift() + CONTIGUOUS_BITS)) - 1;
        // A hint that is plainly wrong must not make one entry answer for its neighbours.
        self.descriptor.contiguous()
            && self.index_bits >= CONTIGUOUS_BITS
            && iova & within == output & within
    }
}

/// Returns the region that `iova` is in and log2 of the bytes that its first table covers; `None`
/// if it is in none or walks of it are disabled (B3.6.4).
fn region_of(regime: &Regime, iova: u64) -> Option<(Region, u8)> {
    let (region, bits) = side_of(regime, iova)?;
    (!region.disabled).then_some((region, bits))
}

/// Does what [`region_of`] does, for disabled regions too.
fn side_of(regime: &Regime, iova: u64) -> Option<(Region, u8)> {
    if beyond(iova, regime.input_bits) {
        return None;
    }
    // A region of less than a page is none.
    let bits = |region: Region| {
        let bits = regime.input_bits.checked_sub(region.size_offset);
        bits.filter(|&bits| bits >= Level::Third.shift())
    };
    let bits_0 = bits(regime.ttbr0);
    let in_0 = bits_0.is_some_and(|bits| !beyond(iova, bits));
    if let Some(upper) = regime.ttbr1 {
        let bits_1 = bits(upper)?;
        // With T1SZ = 0 the upper region has no size of its own: it is what the lower one leaves.
        let in_1 = if upper.size_offset == 0 {
            !in_0
        } else {
            // The top T1SZ bits are ones if adding the region's size carries out of the input.
            beyond(
                iova.wrapping_add(1u64.checked_shl(bits_1.into())?),
                regime.input_bits,
            )
        };
        // The upper region goes first: with T0SZ = 0 the lower one is all that the upper is not.
        if in_1 {
            return Some((upper, bits_1));
        }
    }
    in_0.then_some((regime.ttbr0, bits_0?))
}

/// Returns the address bits that a first table of `level` looks up if it covers 2^`region_bits`
/// bytes; `None` if no such table can be: it would have less than one entry or more than 16 times
/// the usual. (The architecture has a translation fault for a first level and size that do not fit
/// each other, in stage 2, B3.6.6.)
fn first_index_bits(level: Level, region_bits: u8) -> Option<u8> {
    region_bits
        .checked_sub(level.shift())
        .filter(|&bits| bits <= INDEX_BITS + CONCATENATED_BITS)
}

/// Returns the largest range around `iova`, of `size_log2` or a size below it that entries can
/// have, in which all IOVAs belong to one region: a block of one region may cover IOVAs that the
/// other region takes (T0SZ = 0 with T1SZ = 7, say).
fn clip(regime: &Regime, iova: u64, size_log2: u8) -> u8 {
    if regime.ttbr1.is_none() {
        return size_log2;
    }
    let in_upper = |iova| side_of(regime, iova).map(|(region, _)| Some(region) == regime.ttbr1);
    // Both ends tell: from below come the lower region, perhaps a hole, and the upper region.
    let one_region = |size: u8| {
        let within = (1 << size) - 1;
        in_upper(iova & !within) == in_upper(iova | within)
    };
    // The sizes of blocks, with and without the contiguous hint; a page is the last resort.
    [34, 30, 25, 21, 16]
        .into_iter()
        .filter(|&size| size <= size_log2)
        .find(|&size| one_region(size))
        .unwrap_or(Level::Third.shift())
}

/// Returns whether `address` needs more than `bits` bits.
fn beyond(address: u64, bits: u8) -> bool {
    // `checked_shr` has no answer for 64 and more, where no bit would be left.
    address.checked_shr(bits.into()).unwrap_or(0) != 0
}

const fn fault(reason: FaultReason, level: Level) -> WalkFault {
    WalkFault {
        reason,
        level: level.number(),
    }
}

impl Walked {
    /// Returns all that holds around `iova`, which was walked for.
    pub fn mapping(&self, iova: u64) -> Mapping {
        mapping(iova, self.output, self.size_log2, self.write)
    }
}

/// Returns all that holds around `iova`, which leads to `output` in a range of `size_log2`, which
/// may be read.
pub(super) fn mapping(iova: u64, output: u64, size_log2: u8, write: bool) -> Mapping {
    // At most 34 bits: 16 blocks of 1 GiB.
    let within = (1u64 << size_log2) - 1;
    Mapping {
        first: iova & !within,
        last: iova | within,
        address: output & !within,
        // What may be written may also be read: AP has no encoding for writes alone.
        permissions: if write {
            Permissions::ReadWrite
        } else {
            Permissions::Read
        },
    }
}
