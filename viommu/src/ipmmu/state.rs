//! The state of an IPMMU, to be saved and restored: register contents, and nothing that follows
//! from them.

use serde::{Deserialize, Serialize};

/// Everything that an [`Ipmmu`](super::Ipmmu) knows. Its configuration and the translation cache
/// are not part of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IpmmuState {
    /// [`IpmmuState::VERSION`].
    pub version: u32,
    /// One for each instance, in the order of the configuration.
    pub instances: Vec<InstanceState>,
}

impl IpmmuState {
    /// The version that this crate writes and reads.
    pub const VERSION: u32 = 1;
}

/// One instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InstanceState {
    /// Its contexts.
    pub contexts: Vec<ContextState>,
    /// Its uTLBs.
    pub utlbs: Vec<UtlbState>,
    /// Accesses so far to what is not modelled.
    pub unimplemented: u64,
}

/// Registers of a context. See [`spec`](super::spec).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContextState {
    /// IMCTR, with FLUSH set while a flush is under way.
    pub imctr: u32,
    /// IMCAAR.
    pub imcaar: u32,
    /// IMTTBCR.
    pub imttbcr: u32,
    /// IMBUSCR.
    pub imbuscr: u32,
    /// IMTTLBR0.
    pub imttlbr0: u32,
    /// IMTTUBR0.
    pub imttubr0: u32,
    /// IMTTLBR1.
    pub imttlbr1: u32,
    /// IMTTUBR1.
    pub imttubr1: u32,
    /// IMSTR.
    pub imstr: u32,
    /// IMMAIR0.
    pub immair0: u32,
    /// IMMAIR1.
    pub immair1: u32,
    /// IMEAR, or IMELAR.
    pub imelar: u32,
    /// IMEUAR.
    pub imeuar: u32,
}

/// Registers of a uTLB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UtlbState {
    /// IMUCTR, with FLUSH set while a flush is under way.
    pub imuctr: u32,
    /// IMUASID.
    pub imuasid: u32,
}

/// Why a saved state does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// Written by another version.
    #[error("the saved IPMMU state has version {0}, but this build reads version \
        {expected}", expected = IpmmuState::VERSION)]
    Version(u32),
    /// Another number of instances, contexts or uTLBs.
    #[error("the saved IPMMU state is of {found} {what}, but this IPMMU has {expected}")]
    Shape {
        /// Of what.
        what: &'static str,
        /// How many the state has.
        found: usize,
        /// How many there are.
        expected: usize,
    },
}
