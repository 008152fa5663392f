//! Breaking things on purpose: fault plans, and campaigns of runs that follow them.
//!
//! A [`Plan`](spec::Plan) says what goes wrong where and when. An [`Injection`] is a plan at work in one machine: every
//! point at which hardware can go wrong asks it. A machine made without one has no such points and pays nothing.
//! `docs/inject.md` is the guide.

mod alarm;
pub mod campaign;
mod chain;
mod classify;
pub(crate) mod device;
mod engine;
mod functions;
mod html;
pub(crate) mod iommu;
#[cfg(test)]
mod iommu_tests;
pub mod journal;
mod junit;
pub(crate) mod line;
pub mod plan;
mod register;
mod rule;
pub mod run;
pub mod scenario;
pub mod spec;
pub mod start;
mod summary;
pub(crate) mod targets;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) use alarm::Alarm;
pub use classify::{Outcome, Verdict};
pub use engine::{Account, Injection, Point, Told};
pub use functions::Functions;
pub use html::write as write_html;
pub use junit::write as write_junit;
pub use summary::Summary;
