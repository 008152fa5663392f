//! Fault campaigns: many runs that follow a plan of faults, each classified and repeatable.
//!
//! A [`Plan`](spec::Plan) says what goes wrong where and when. An [`Injection`] is a plan at work
//! in one machine: every point at which hardware can go wrong asks it. A machine made without one
//! has no such points and pays nothing. `docs/inject.md` is the guide.

#![deny(missing_docs)]

mod blocks;
pub mod campaign;
mod chain;
mod classify;
mod code;
mod conditions;
mod coverage;
mod error;
mod functions;
pub mod guided;
mod html;
pub mod journal;
mod junit;
pub mod merge;
pub mod mistakes;
pub mod run;
pub mod scenario;
pub mod single;
pub mod start;
mod summary;
#[cfg(test)]
mod tests;
mod walk;

pub use classify::{Outcome, Verdict};
pub use code::{CodeCoverage, CodeFunction, CodeLine, CodeMap};
pub use coverage::{Coverage, Line, Pairs};
pub use error::CampaignError;
pub use functions::Functions;
pub use html::write as write_html;
pub use junit::write as write_junit;
pub use summary::Summary;
pub use vmm_base::Shard;
pub use vmm_faults::{Account, FaultRecord, Injection, Point, Reached, Site, plan, spec};
pub use walk::{FaultAt, Walk, Walked};
