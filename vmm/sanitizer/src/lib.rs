//! What a guest does wrong with DMA, found from outside on an unmodified kernel.
//!
//! A [`Sanitizer`] is made before its machine, which gets its [`sink`](Sanitizer::sink). What is
//! found is collected as [`Report`]s, like ones counted. Which kinds there are, and what each of
//! them says, is in `docs/sanitizer.md`.
//!
//! - `iommu/` has the checks that IOMMUs alone allow;
//! - checks that need the guest's kernel are told of by its own calls, and know who mapped what
//!   ([`Origins`]).

#![deny(missing_docs)]

mod dma_api;
mod iommu;
mod kind;
mod options;
mod report;
mod reports;
mod sanitizer;

pub use dma_api::{AttachError, DmaApi};
pub use kind::Kind;
pub use options::{Options, OptionsError};
pub use report::{Call, History, MAX_FRAMES, MAX_TEXT, Report};
pub use reports::{Findings, MAX_REPORTS, Reports, Tell, counted};
pub use sanitizer::{LastMapping, Origins, Sanitizer};

/// Bits of an address within a page of 4 KiB.
const PAGE_BITS: u32 = 12;
