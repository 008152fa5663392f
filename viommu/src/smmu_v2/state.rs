//! The state of an SMMU, to be saved and restored: register contents, and nothing that follows from
//! them.

use serde::{Deserialize, Serialize};

use super::config::Shape;
use super::spec::{Cr0, GFSR_FAULTS, Smr};

/// Everything that an [`SmmuV2`](super::SmmuV2) knows. Its configuration and the translation cache
/// are not part of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SmmuV2State {
    /// [`SmmuV2State::VERSION`].
    pub version: u32,
    /// sCR0.
    pub cr0: u32,
    /// sGFSR.
    pub gfsr: u32,
    /// sGFAR.
    pub gfar: u64,
    /// sGFSYNR0.
    pub gfsynr0: u32,
    /// sGFSYNR1.
    pub gfsynr1: u32,
    /// Whether sTLBGSTATUS shows that invalidations are under way.
    pub syncing: bool,
    /// The stream mapping groups.
    pub groups: Vec<GroupState>,
    /// The context banks.
    pub banks: Vec<BankState>,
    /// Accesses so far to what is not modelled.
    pub unimplemented: u64,
}

/// Registers of a stream mapping group. See [`spec`](super::spec).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupState {
    /// SMR.
    pub smr: u32,
    /// S2CR.
    pub s2cr: u32,
}

/// Registers of a context bank. See [`spec`](super::spec).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BankState {
    /// CBAR.
    pub cbar: u32,
    /// CBFRSYNRA.
    pub cbfrsynra: u32,
    /// SCTLR.
    pub sctlr: u32,
    /// TCR.
    pub tcr: u32,
    /// TCR2.
    pub tcr2: u32,
    /// TTBR0.
    pub ttbr0: u64,
    /// TTBR1.
    pub ttbr1: u64,
    /// CONTEXTIDR.
    pub contextidr: u32,
    /// MAIR0.
    pub mair0: u32,
    /// MAIR1.
    pub mair1: u32,
    /// PAR.
    pub par: u64,
    /// FSR.
    pub fsr: u32,
    /// FAR.
    pub far: u64,
    /// FSYNR0.
    pub fsynr0: u32,
    /// Whether TLBSTATUS shows that invalidations are under way.
    pub syncing: bool,
    /// Log2 of the largest block that was translated since all translations of the bank were last
    /// invalidated; 0 for none. See
    /// [`TranslationUnit::invalidate_range`](crate::TranslationUnit::invalidate_range).
    pub largest: u8,
}

impl SmmuV2State {
    /// The version that this crate writes and reads.
    pub const VERSION: u32 = 1;

    /// Returns the registers out of reset: all are zero, which is a choice, but for sCR0.CLIENTPD.
    pub(super) fn reset(shape: Shape) -> Self {
        Self {
            version: Self::VERSION,
            cr0: Cr0::new().with_clientpd(true).into_bits(),
            gfsr: 0,
            gfar: 0,
            gfsynr0: 0,
            gfsynr1: 0,
            syncing: false,
            groups: vec![GroupState::default(); shape.groups as usize],
            banks: vec![BankState::default(); shape.banks as usize],
            unimplemented: 0,
        }
    }

    pub(super) const fn cr0(&self) -> Cr0 {
        Cr0::from_bits(self.cr0)
    }

    /// Returns what the registers of an SMMU of this shape can hold of a saved state: a snapshot is
    /// a file, and may have bits set that no register has.
    ///
    /// # Errors
    /// If the state is of another version or of another shape.
    pub(super) fn sane(&self, shape: Shape) -> Result<Self, RestoreError> {
        let Self {
            version,
            cr0,
            gfsr,
            gfar,
            gfsynr0,
            gfsynr1,
            syncing,
            groups,
            banks,
            unimplemented,
        } = self;
        if *version != Self::VERSION {
            return Err(RestoreError::Version(*version));
        }
        let expected = [
            ("stream mapping groups", groups.len(), shape.groups),
            ("context banks", banks.len(), shape.banks),
        ];
        for (what, found, expected) in expected {
            if found != expected as usize {
                return Err(RestoreError::Shape {
                    what,
                    found,
                    expected: expected as usize,
                });
            }
        }
        let groups = groups.iter().map(|group| GroupState {
            smr: group.smr & smr_mask(),
            ..*group
        });
        Ok(Self {
            version: *version,
            cr0: cr0 & cr0_mask(),
            gfsr: gfsr & GFSR_FAULTS,
            gfar: *gfar,
            gfsynr0: gfsynr0 & super::spec::Gfsynr0::new().with_wnr(true).into_bits(),
            gfsynr1: gfsynr1 & 0xffff,
            syncing: *syncing,
            groups: groups.collect(),
            banks: banks.iter().map(BankState::sane).collect(),
            unimplemented: *unimplemented,
        })
    }
}

/// Returns the bits that sCR0 has.
pub(super) const fn cr0_mask() -> u32 {
    !Cr0::new()
        .with_exidenable(true)
        .with_vmid16en(true)
        .into_bits()
}

/// Returns the bits that an SMR has.
pub(super) const fn smr_mask() -> u32 {
    Smr::new()
        .with_id(0x7fff)
        .with_mask(0x7fff)
        .with_valid(true)
        .into_bits()
}

/// Why a saved state does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// Written by another version.
    #[error("the saved SMMUv2 state has version {0}, but this build reads version \
        {expected}", expected = SmmuV2State::VERSION)]
    Version(u32),
    /// Another number of groups or context banks.
    #[error("the saved SMMUv2 state is of {found} {what}, but this SMMU has {expected}")]
    Shape {
        /// Of what.
        what: &'static str,
        /// How many the state has.
        found: usize,
        /// How many there are.
        expected: usize,
    },
}
