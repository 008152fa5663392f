//! What differs between generations.

use super::spec::{NON_SECURE_ALIAS, Sl0};

/// What a generation of the IPMMU has: `struct ipmmu_features` of drivers/iommu/ipmmu-vmsa.c, as
/// far as hardware goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Features {
    /// For people.
    pub name: &'static str,
    /// The device tree's `compatible`.
    pub compatible: &'static str,
    /// Bytes of the register window of one instance.
    pub window: u64,
    /// Where the modelled bank of registers begins in it.
    pub bank: u64,
    /// Contexts of one instance.
    pub contexts: usize,
    /// uTLBs that one instance can have.
    pub utlbs: usize,
    /// Whether instances are a root, whose contexts translate, and leaves, whose uTLBs use the
    /// root's contexts.
    pub leaves: bool,
    /// How IMTTBCR names the first level.
    pub sl0: Sl0,
    /// Whether contexts have IMBUSCR.
    pub imbuscr: bool,
    /// Whether contexts have IMEUAR.
    pub imeuar: bool,
}

/// R-Car Gen2 (H2, M2 and kin). Of the four contexts the Linux driver uses the first.
pub const GEN2: Features = Features {
    name: "R-Car Gen2",
    compatible: "renesas,ipmmu-vmsa",
    window: 0x1000,
    bank: NON_SECURE_ALIAS,
    contexts: 4,
    utlbs: 32,
    leaves: false,
    sl0: Sl0::OneBit,
    imbuscr: true,
    imeuar: false,
};

/// R-Car Gen3, as r8a7795 (H3). The Linux driver leaves the first context alone and uses the seven
/// others.
pub const GEN3: Features = Features {
    name: "R-Car Gen3",
    compatible: "renesas,ipmmu-r8a7795",
    window: 0x1000,
    bank: 0,
    contexts: 8,
    utlbs: 48,
    leaves: true,
    sl0: Sl0::TwoBit,
    imbuscr: false,
    imeuar: true,
};
