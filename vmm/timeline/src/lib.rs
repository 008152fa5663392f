//! What was observed in one run, in virtual time, as plain data.
//!
//! A [`Recorder`] collects events from several sources while a machine runs; [`Recorder::timeline`]
//! makes a [`Timeline`] of them: events in the order of virtual time, in [`Lane`]s, and the
//! [`Interval`]s of states that follow from them. A [`Report`] adds what it all means. Nothing here
//! needs a machine, and everything can be saved as JSON and read back. A
//! [`Recording`](recording::Recording) feeds a recorder from a machine, [`export`] writes reports.

#![deny(missing_docs)]

mod burst;
pub mod export;
pub mod junit;
mod limits;
mod methods;
mod recorder;
pub mod recording;
mod registers;
mod report;
mod requests;
mod spec;
mod states;
mod text;
mod unit;

#[cfg(test)]
mod tests;

pub use limits::Limits;
pub use recorder::Recorder;
pub use report::{
    ChangedLocation, Decisive, Device, Finding, GuestChange, Machine, Mark, Observation, Report,
    Run, Verdict, VerdictKind,
};
pub use requests::DriverRecorder;
pub use spec::{
    Address, Argument, Burst, Category, Direction, Dropped, Event, EventId, Interval, Kind, Lane,
    LaneId, Point, Route, State, Timeline, Value,
};
pub use text::{from_guest, visible};
pub use unit::UnitObserver;
