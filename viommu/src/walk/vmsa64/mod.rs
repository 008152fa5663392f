//! The walk of the VMSAv8-64 format, stage 1: the tables of arm64 kernels, which SMMUv3 and arm64
//! processors read.
//!
//! Granules of 4, 16 and 64 KiB, addresses of up to 52 bits (FEAT_LPA, FEAT_LVA, FEAT_LPA2), and
//! 64-bit descriptors. Not here: stage 2, 128-bit descriptors (FEAT_D128), indirect permissions
//! (FEAT_S1PIE), and hardware's updates of descriptors (TCR_EL1.HA and HD); the walk only reads.
//! Descriptors are little-endian; for big-endian tables (SCTLR_EL1.EE) have the [`TableReader`]
//! swap the bytes.
//!
//! ```
//! use viommu::walk::vmsa64::{Granule, Half, Operation, Vmsa64Access, Vmsa64Regime, walk_vmsa64};
//! use viommu::walk::{ExternalAbort, TableReader};
//!
//! /// One table of level 1 at 0x1000 whose entry 1 maps a block of 1 GiB, read and write.
//! struct OneBlock;
//!
//! impl TableReader for OneBlock {
//!     fn read_descriptor(&self, address: u64) -> Result<u64, ExternalAbort> {
//!         match address {
//!             0x1008 => Ok(0x8000_0000 | 0x441),
//!             0x1000..0x2000 => Ok(0),
//!             _ => Err(ExternalAbort),
//!         }
//!     }
//! }
//!
//! let lower = Half::new(0x1000, 64 - 39, Granule::Size4K);
//! let regime = Vmsa64Regime::builder().lower(lower).build()?;
//! let write = Vmsa64Access::new(Operation::Write);
//! let walked = walk_vmsa64(&OneBlock, &regime, 0x4000_1234, write)?;
//! assert_eq!((walked.output, walked.size_log2), (0x8000_1234, 30));
//! let fault = walk_vmsa64(&OneBlock, &regime, 0x8000_0000, write).unwrap_err();
//! assert_eq!(fault.to_string(), "translation fault at level 1");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod regime;
pub mod spec;
#[cfg(test)]
mod tests;

use vm_memory::Permissions;

pub use regime::{Half, RegimeError, Vmsa64Builder, Vmsa64Regime};
pub use spec::{AddressSize, Granule, Operation, TcrEl1, Vmsa64Access, Vmsa64Fault, Vmsa64Walked};

use super::lpae::{ExternalAbort, TableReader};
use crate::fault::FaultReason;
use crate::model::Mapping;
use regime::{AddressLayout, Side};
use spec::{LAST_LEVEL, LeafDescriptor, TableDescriptor};

/// Descriptors that one walk reads at most: one a level, from -1 on.
pub const MAX_VMSA64_READS: u32 = 5;

/// What table descriptors on the way took away from everything below them (D8.4, "Hierarchical
/// control of translation table access permissions").
#[derive(Clone, Copy, Default)]
struct Inherited {
    no_user: bool,
    read_only: bool,
    uxn: bool,
    pxn: bool,
    ns: bool,
}

impl Inherited {
    fn below(self, table: TableDescriptor, hierarchical_disabled: bool) -> Self {
        let on = !hierarchical_disabled;
        Self {
            no_user: self.no_user || (on && table.ap_table_no_user()),
            read_only: self.read_only || (on && table.ap_table_read_only()),
            uxn: self.uxn || (on && table.uxn_table()),
            pxn: self.pxn || (on && table.pxn_table()),
            // Which memory it is, is no permission: HPD leaves it alone.
            ns: self.ns || table.ns_table(),
        }
    }
}

/// Translates `iova` for `access`.
///
/// The answer tells all permissions of the access's privilege, not only the one asked for, and the
/// naturally aligned range around `iova` that it holds for. The walk makes at most
/// [`MAX_VMSA64_READS`] reads.
///
/// The contiguous hint is reported and otherwise ignored: each block or page answers for itself.
/// Where all entries of a contiguous range agree, as the architecture obliges software to have them
/// (D8.7, "Use of the Contiguous bit"), that gives the same translations; where they do not, the
/// architecture permits it.
///
/// # Errors
/// [`Vmsa64Fault`] for the first fault in the order of `AArch64.S1Walk`: for one descriptor an
/// external abort, then translation, address size, access flag, permission.
pub fn walk_vmsa64<T: TableReader + ?Sized>(
    tables: &T,
    regime: &Vmsa64Regime,
    iova: u64,
    access: Vmsa64Access,
) -> Result<Vmsa64Walked, Vmsa64Fault> {
    // Level 0 where no descriptor was read, also where the first level is another.
    let side = side_of(regime, iova).ok_or(fault(FaultReason::Translation, 0))?;
    if side.is_beyond(side.base) {
        return Err(fault(FaultReason::AddressSize, 0));
    }
    let granule = side.half.granule;
    let (mut table, mut index_bits) = (side.base, side.index_bits);
    let mut inherited = Inherited::default();
    for level in side.start..=LAST_LEVEL {
        let index = iova >> granule.shift(level) & ((1 << index_bits) - 1);
        // The table is aligned to its size, so the index cannot carry into its address.
        let bits = tables
            .read_descriptor(table | index << 3)
            .map_err(|ExternalAbort| fault(FaultReason::WalkAbort, level))?;
        let descriptor = LeafDescriptor::from_bits(bits);
        let is_table = descriptor.table_or_page() && level < LAST_LEVEL;
        let is_leaf = match level {
            LAST_LEVEL => descriptor.table_or_page(),
            _ => !descriptor.table_or_page() && side.has_blocks(level),
        };
        if !descriptor.valid() || !(is_table || is_leaf) {
            return Err(fault(FaultReason::Translation, level));
        }
        // A table is as large as a page, and aligned to its size.
        let size = if is_table {
            granule.bits()
        } else {
            granule.shift(level)
        };
        let address = side.address(bits, size);
        if side.is_beyond(address) {
            return Err(fault(FaultReason::AddressSize, level));
        }
        if is_leaf {
            let leaf = Leaf {
                descriptor,
                level,
                output: address | iova & ((1 << size) - 1),
                inherited,
            };
            return leaf.translate(regime, &side, access);
        }
        table = address;
        let hierarchical_disabled = side.half.hierarchical_disabled;
        inherited = inherited.below(TableDescriptor::from_bits(bits), hierarchical_disabled);
        // Only the first table can be shorter.
        index_bits = granule.stride();
    }
    // The last level has no tables, so it never goes on from there.
    Err(fault(FaultReason::Translation, LAST_LEVEL))
}

/// Returns the half that `iova` is in, if walks of it are enabled (`AArch64.GetVARange`,
/// `AArch64.VAIsOutOfRange`).
fn side_of(regime: &Vmsa64Regime, iova: u64) -> Option<Side> {
    // With one privilege level bit 55 selects nothing.
    let is_upper = !regime.one_privilege_level && iova >> 55 & 1 == 1;
    let side = if is_upper { regime.upper } else { regime.lower }?;
    // What is checked: all from the input size on, or up to bit 55.
    let ignored = if side.half.top_byte_ignored { 8 } else { 0 };
    let checked = if is_upper { !iova } else { iova } << ignored >> ignored;
    (checked >> side.input_bits == 0).then_some(side)
}

impl Side {
    /// Returns whether a block at `level` can be (`AArch64.BlockDescSupported`).
    fn has_blocks(&self, level: i8) -> bool {
        let is_large = self.layout != AddressLayout::Bits48;
        match (self.half.granule, level) {
            (_, 2) | (Granule::Size4K, 1) => true,
            (Granule::Size4K, 0) | (Granule::Size16K | Granule::Size64K, 1) => is_large,
            _ => false,
        }
    }

    /// Returns the address in a descriptor, aligned to 2^`size` bytes (`AArch64.LeafBase`,
    /// `AArch64.NextTableBase`).
    fn address(&self, descriptor: u64, size: u8) -> u64 {
        let low = (descriptor & 0xffff_ffff_ffff) >> size << size;
        low | match self.layout {
            AddressLayout::Bits48 => 0,
            AddressLayout::Lpa => (descriptor >> 12 & 0xf) << 48,
            AddressLayout::Lpa2 => (descriptor >> 8 & 3) << 50 | descriptor & 3 << 48,
        }
    }

    /// Returns whether an address is out of range (`AArch64.OAOutOfRange`).
    fn is_beyond(&self, address: u64) -> bool {
        address >> self.output_bits != 0
    }
}

/// A block or page, and how the walk came to it.
struct Leaf {
    descriptor: LeafDescriptor,
    level: i8,
    output: u64,
    inherited: Inherited,
}

impl Leaf {
    fn translate(
        &self,
        regime: &Vmsa64Regime,
        side: &Side,
        access: Vmsa64Access,
    ) -> Result<Vmsa64Walked, Vmsa64Fault> {
        let d = self.descriptor;
        if regime.access_flag_faults && !d.access_flag() {
            return Err(fault(FaultReason::AccessFlag, self.level));
        }
        let (read, write, execute) = self.permissions(regime, access.privileged);
        let permitted = match access.operation {
            Operation::Read => read,
            Operation::Write => write,
            Operation::Execute => execute,
        };
        if !permitted {
            return Err(fault(FaultReason::Permission, self.level));
        }
        Ok(Vmsa64Walked {
            output: self.output,
            size_log2: side.half.granule.shift(self.level),
            level: self.level,
            read,
            write,
            execute,
            attr_index: d.attr_index(),
            shareability: match side.layout {
                AddressLayout::Lpa2 => side.half.shareability,
                _ => d.shareability(),
            },
            // A Non-secure regime reaches only Non-secure memory, whatever the bits say.
            ns: !regime.secure || d.ns() || self.inherited.ns,
            global: !d.not_global(),
            contiguous: d.contiguous(),
            guarded: d.guarded(),
            dirty_bit_modifier: d.dirty_bit_modifier(),
        })
    }

    /// Returns whether reads, writes and instruction fetches are permitted (D8.4, "Stage 1 data
    /// accesses", "Stage 1 instruction execution"; `AArch64.S1DirectBasePermissions`).
    fn permissions(&self, regime: &Vmsa64Regime, privileged: bool) -> (bool, bool, bool) {
        let d = self.descriptor;
        let no_execute = d.uxn() || self.inherited.uxn;
        let writable = !d.ap_read_only() && !self.inherited.read_only;
        if regime.one_privilege_level {
            let execute = !(no_execute || (regime.wxn && writable));
            return (true, writable, execute);
        }
        let user = d.ap_user() && !self.inherited.no_user;
        let user_writable = user && writable;
        if !privileged {
            let execute = !(no_execute || (regime.wxn && user_writable));
            return (user, user_writable, execute);
        }
        let data = !(regime.pan && user);
        // What unprivileged software can write is never privileged code.
        let execute = !(d.pxn() || self.inherited.pxn || user_writable);
        let execute = execute && !(regime.wxn && writable);
        (data, data && writable, execute)
    }
}

impl Vmsa64Walked {
    /// Returns all that holds around `iova`, which was walked for.
    pub fn mapping(&self, iova: u64) -> Mapping {
        let within = (1u64 << self.size_log2) - 1;
        Mapping {
            first: iova & !within,
            last: iova | within,
            address: self.output & !within,
            permissions: match (self.read, self.write) {
                (true, true) => Permissions::ReadWrite,
                (true, false) => Permissions::Read,
                (false, true) => Permissions::Write,
                // Only instructions can be fetched.
                (false, false) => Permissions::No,
            },
        }
    }
}

const fn fault(reason: FaultReason, level: i8) -> Vmsa64Fault {
    Vmsa64Fault { reason, level }
}
