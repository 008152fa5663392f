//! Page-table formats, as pure functions:
//! `(tables, regime, iova, access) -> Result<Walked, WalkFault>`.
//!
//! [`walk`] is of ARMv7's long descriptors, [`walk_short`] of its short ones,
//! [`walk_vmsa64`](vmsa64::walk_vmsa64) of AArch64's.
//!
//! Nothing here has state, knows a device or caches anything. [`walk`] reads at most one descriptor
//! a level through a [`TableReader`], whatever the tables hold, and answers for the whole range
//! that the translation holds for.
//!
//! ```
//! use viommu::walk::{Level, Regime, Region, Security, TableReader, ExternalAbort, walk};
//! use viommu::Access;
//!
//! /// One first-level table at 0x1000 whose entry 1 maps a block of 1 GiB, read and write.
//! struct OneBlock;
//!
//! impl TableReader for OneBlock {
//!     fn read_descriptor(&self, address: u64) -> Result<u64, ExternalAbort> {
//!         match address {
//!             0x1008 => Ok(0x8000_0000 | 0x461),
//!             0x1000..0x1020 => Ok(0),
//!             _ => Err(ExternalAbort),
//!         }
//!     }
//! }
//!
//! let regime = Regime::new(Region::new(0x1000, 0, Level::First));
//! let walked = walk(&OneBlock, &regime, 0x4000_1234, Access::Write)?;
//! assert_eq!((walked.output, walked.size_log2), (0x8000_1234, 30));
//! assert!(walk(&OneBlock, &regime, 0x8000_0000, Access::Read).is_err());
//! # assert_eq!(regime.security, Security::Secure);
//! # Ok::<(), viommu::walk::WalkFault>(())
//! ```

#[cfg(any(feature = "ipmmu", feature = "smmu-v2"))]
mod count;
mod guest;
mod lpae;
pub mod short;
pub mod spec;
pub mod vmsa64;

#[cfg(test)]
mod tests;

#[cfg(any(feature = "ipmmu", feature = "smmu-v2"))]
pub(crate) use count::{count, hole_bits};
pub use guest::GuestTables;
pub use lpae::{ExternalAbort, MAX_READS, TableReader, walk};
pub use short::{MAX_SHORT_READS, ShortRegime, ShortWalked, walk_short};
#[cfg(feature = "smmu-v2")]
pub(crate) use short::{count_short, short_hole_bits};
pub use spec::{Level, Regime, Region, Security, Shareability, WalkFault, Walked};
