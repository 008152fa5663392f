//! Fault campaigns: many runs that follow a plan of faults, each classified and repeatable.
//!
//! A [`Plan`](spec::Plan) says what goes wrong where and when. An [`Injection`] is a plan at work
//! in one machine: every point at which hardware can go wrong asks it. A machine made without one
//! has no such points and pays nothing. `docs/inject.md` is the guide.

#![deny(missing_docs)]

pub mod campaign;
mod chain;
mod classify;
mod conditions;
mod error;
mod functions;
mod html;
pub mod journal;
mod junit;
pub mod merge;
pub mod run;
pub mod scenario;
mod shard;
pub mod start;
mod summary;
#[cfg(test)]
mod tests;

pub use classify::{Outcome, Verdict};
pub use error::CampaignError;
pub use functions::Functions;
pub use html::write as write_html;
pub use junit::write as write_junit;
pub use shard::Shard;
pub use summary::Summary;
pub use vmm_faults::{Account, FaultRecord, Injection, Point, plan, spec};
