//! The lifecycle lab: what a kernel does to a device's DMA when a probe is deferred or fails, or a
//! driver is taken away.
//!
//! A scenario file ([`spec`]) describes a machine, what happens to it, and a row of expectations;
//! [`load`] makes [`Case`]s of it, [`run()`] boots one, [`judge`] says what was seen from the
//! hypervisor's side and from the guest's, and [`report()`] puts runs side by side. Kernels are not
//! changed: a behaviour is a set of probes that act on the running guest ([`behaviour`]).
//! `docs/lab.md` is the guide.

#![deny(missing_docs)]

pub mod behaviour;
mod decisive;
mod error;
mod evidence;
mod findings;
mod guest;
mod hits;
mod host;
pub mod judge;
pub mod junit;
pub mod load;
mod mappings;
pub mod matrix;
mod mistakes;
mod ops;
pub mod releases;
pub mod report;
pub mod run;
pub mod signs;
pub mod spec;
#[cfg(test)]
mod tests;
mod undecided;

pub use behaviour::Behaviours;
pub use error::LabError;
pub use host::Host;
pub use judge::Judgement;
pub use load::{Case, Lab};
pub use mistakes::Sanitized;
pub use report::{compare, report};
pub use run::{Debuggee, Instruments, Judged, check, debuggee, is_debuggable, run, run_on};
pub use spec::{Health, Scenario};
pub use undecided::Undecided;
