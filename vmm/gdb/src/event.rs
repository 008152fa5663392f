//! What the session's thread hears of, from all sides.

use std::net::TcpStream;

use gdbstub::common::Signal;
use gdbstub::stub::MultiThreadStopReason;
use gdbstub::target::ext::base::reverse_exec::ReplayLogPosition;
use vmm_base::Reason;
use vmm_machine::vcpu::{Arrival, Stop};

use super::breakpoints::watch_kind;
use super::target::tid;

/// Why the machine is halted.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cause {
    /// It was asked to.
    Interrupt,
    /// The debugger wanted this stop.
    Stop(Stop),
    /// It has arrived there in its history.
    Arrival(Arrival),
}

/// The events that the session's thread receives.
pub(super) enum Event {
    /// Someone connected.
    Connected(TcpStream),
    /// Bytes from the connection of this number.
    Bytes(u64, Vec<u8>),
    /// That connection is gone.
    Closed(u64),
    /// The machine is halted.
    Stopped {
        cause: Cause,
        /// The core whose turn it is.
        current: usize,
    },
    /// The run is over.
    Ended(Reason),
}

impl Cause {
    /// Returns it in the protocol's terms; it was the turn of core `current`.
    pub fn reason<A: From<u32>>(self, current: usize) -> MultiThreadStopReason<A> {
        let log = |pos| MultiThreadStopReason::ReplayLog {
            tid: Some(tid(current)),
            pos,
        };
        let stop = match self {
            Self::Arrival(Arrival::Begin) => return log(ReplayLogPosition::Begin),
            Self::Arrival(Arrival::End) => return log(ReplayLogPosition::End),
            Self::Stop(stop) | Self::Arrival(Arrival::Stop(stop)) => Some(stop),
            Self::Interrupt => None,
        };
        match stop {
            Some(Stop::Breakpoint { core, .. }) => MultiThreadStopReason::SwBreak(tid(core)),
            Some(Stop::Watchpoint { core, hit }) => MultiThreadStopReason::Watch {
                tid: tid(core),
                kind: watch_kind(hit.watchpoint.kind),
                addr: hit.va.into(),
            },
            Some(Stop::Step { core }) => MultiThreadStopReason::SignalWithThread {
                tid: tid(core),
                signal: Signal::SIGTRAP,
            },
            _ => MultiThreadStopReason::SignalWithThread {
                tid: tid(current),
                signal: Signal::SIGINT,
            },
        }
    }
}
