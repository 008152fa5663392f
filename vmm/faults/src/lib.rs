//! Faults that are put into a machine: what a plan says, and what is asked at every point at which
//! hardware can go wrong.
//!
//! A [`Plan`](spec::Plan) says what goes wrong where and when. An [`Injection`] is a plan at work
//! in one machine: devices ask it through [`DeviceFaults`], interrupt lines are [`FaultyLine`]s,
//! IOMMUs ask through [`IommuPoints`]. What devices are to do later it keeps as [`DelayedAction`]s,
//! which the machine carries out. A machine made without one has no such points and pays nothing.

mod delayed_action;
mod device;
mod engine;
mod iommu;
mod line;
pub mod plan;
mod point;
mod register;
mod rule;
pub mod spec;
mod survey;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use delayed_action::DelayedAction;
pub use device::{ChangedSegment, DeviceFaults, MAX_LATER};
pub use engine::{Account, FaultAction, FaultRecord, Injection, Point};
pub use iommu::IommuPoints;
pub use line::FaultyLine;
pub use point::PointFault;
pub use survey::{Reached, Site, Stretch, Survey};
