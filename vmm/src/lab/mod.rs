//! The lifecycle lab: what a kernel does to a device's DMA when a probe is deferred or fails, or a driver is taken away.
//!
//! A scenario file ([`spec`]) describes a machine, what happens to it, and a row of expectations; [`load`] makes
//! [`Case`]s of it, [`run()`] boots one, [`judge`] says what was seen from the hypervisor's side and from the guest's,
//! and [`report()`] puts runs side by side. Kernels are not changed: a behaviour is a set of probes that act on the
//! running guest ([`behaviour`]). `docs/lab.md` is the guide.

pub mod behaviour;
mod decisive;
mod evidence;
mod findings;
mod guest;
pub mod judge;
pub mod junit;
mod kernel;
pub mod load;
mod mappings;
pub mod report;
pub mod run;
pub mod signs;
pub mod spec;
#[cfg(test)]
mod tests;

pub use behaviour::Behaviours;
pub(crate) use guest::noise;
pub use judge::Judgement;
pub use kernel::{Kernel, KernelChoice};
pub use load::{Case, Lab, LabError};
pub use report::{compare, report};
pub use run::{Host, Judged, Undecided, check, run, run_on};
pub use spec::{Health, Scenario};
