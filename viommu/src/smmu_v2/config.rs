//! How an SMMU is put together, and what it is connected to.

use super::spec::{BANKS, GROUPS, Id0, Id1, Id2, SIZE_40, STREAM_ID_BITS, half_pages, window};
use crate::inject::Faults;
use crate::unit::CacheConfig;

/// An SMMU.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SmmuV2Config {
    /// Its name, for injected faults.
    pub name: String,
    /// The streams that bus masters can have: their IDs are below this. At most 2 to the power of
    /// [`STREAM_ID_BITS`].
    pub streams: u32,
    /// Stream mapping groups. A number outside [`GROUPS`] is taken for the nearest in it.
    pub groups: u32,
    /// Context banks. A number outside [`BANKS`] is taken for the nearest in it.
    pub banks: u32,
    /// Whether there are short descriptors besides long ones.
    pub short_descriptors: bool,
    /// The translation cache. There is none where faults can be injected.
    pub cache: CacheConfig,
    /// Faults that are injected.
    pub faults: Faults,
}

impl SmmuV2Config {
    /// Creates the configuration of an SMMU with 32 streams, 16 groups, 8 context banks and both
    /// formats, without faults.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            streams: 32,
            groups: *GROUPS.start(),
            banks: *BANKS.start(),
            short_descriptors: true,
            cache: CacheConfig::default(),
            faults: Faults::NONE,
        }
    }

    /// Sets the translation cache.
    #[must_use]
    pub fn with_cache(self, cache: CacheConfig) -> Self {
        Self { cache, ..self }
    }

    /// Sets the faults that are injected.
    #[cfg(feature = "inject")]
    #[must_use]
    pub fn with_faults(self, faults: Faults) -> Self {
        Self { faults, ..self }
    }

    /// Sets how many streams bus masters can have.
    #[must_use]
    pub fn with_streams(self, streams: u32) -> Self {
        Self { streams, ..self }
    }

    /// Sets the numbers of stream mapping groups and of context banks.
    #[must_use]
    pub fn with_groups_and_banks(self, groups: u32, banks: u32) -> Self {
        Self {
            groups,
            banks,
            ..self
        }
    }

    /// Sets whether there are short descriptors.
    #[must_use]
    pub fn with_short_descriptors(self, short_descriptors: bool) -> Self {
        Self {
            short_descriptors,
            ..self
        }
    }

    /// Returns the bytes of its window of registers.
    pub fn window(&self) -> u64 {
        window(self.shape().banks)
    }

    pub(super) fn shape(&self) -> Shape {
        Shape {
            streams: self.streams.min(1 << STREAM_ID_BITS),
            groups: self.groups.clamp(*GROUPS.start(), *GROUPS.end()),
            banks: self.banks.clamp(*BANKS.start(), *BANKS.end()),
            short_descriptors: self.short_descriptors,
        }
    }
}

/// How many there are of what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) streams: u32,
    pub(super) groups: u32,
    pub(super) banks: u32,
    pub(super) short_descriptors: bool,
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "there are at most 128 of each"
)]
impl Shape {
    /// Returns ID0.
    pub(super) const fn id0(self) -> Id0 {
        Id0::new()
            .with_numsmrg(self.groups as u8)
            .with_numsidb(STREAM_ID_BITS)
            // One for each bank, as the driver demands (6.1, `arm_smmu_device_probe`).
            .with_numirpt(self.banks as u8)
            .with_no_aarch32_short(!self.short_descriptors)
            .with_sms(true)
            .with_s1ts(true)
    }

    /// Returns ID1.
    pub(super) const fn id1(self) -> Id1 {
        let pages = half_pages(self.banks);
        Id1::new()
            .with_numcb(self.banks as u8)
            .with_numpagendxb((pages.trailing_zeros() - 1) as u8)
    }

    /// Returns ID2.
    pub(super) const fn id2(self) -> Id2 {
        let _ = self;
        Id2::new().with_ias(SIZE_40).with_oas(SIZE_40)
    }
}
