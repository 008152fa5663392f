//! Watchpoints: ranges of virtual addresses whose accesses stop a core, for an observer, or make a
//! debug event, for the guest; and ranges of RAM, whose accesses stop a core by whatever virtual
//! address they are made.
//!
//! A watched page misses the fast path of the software TLB and keeps its entry all the same, so
//! that a run that is watched translates when, and only when, a run that is not would. Where
//! nothing is watched, nothing is checked.

mod access;
mod ram;

use std::collections::BTreeMap;

use crate::mmu::Access;
pub use ram::{RamHit, RamWatch};

/// Which accesses a watchpoint is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum WatchKind {
    /// Loads.
    Read,
    /// Stores.
    Write,
    /// Both.
    Access,
}

impl WatchKind {
    /// Returns whether it is about `access`.
    const fn covers(self, access: Access) -> bool {
        match access {
            Access::Read => !matches!(self, Self::Write),
            Access::Write => !matches!(self, Self::Read),
            Access::Execute => false,
        }
    }
}

/// A range of virtual addresses to watch, in every address space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Watchpoint {
    /// The first address.
    pub start: u32,
    /// The last address; the range is empty when it is less than `start`.
    pub last: u32,
    /// Which accesses.
    pub kind: WatchKind,
}

impl Watchpoint {
    /// Watches `len` bytes from `start`, or up to the end of the address space.
    pub const fn new(start: u32, len: u32, kind: WatchKind) -> Self {
        let last = match len {
            0 => {
                // An empty range, which no last address after `start` can say.
                return Self {
                    start: 1,
                    last: 0,
                    kind,
                };
            }
            _ => start.saturating_add(len - 1),
        };
        Self { start, last, kind }
    }

    /// Returns whether it is about some byte of `first..=last` accessed by `access`.
    const fn meets(&self, first: u32, last: u32, access: Access) -> bool {
        self.kind.covers(access) && self.start <= last && first <= self.last
    }
}

/// A watched access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WatchHit {
    /// What it met.
    pub watchpoint: Watchpoint,
    /// The first accessed address that is watched.
    pub va: u32,
    /// Whether it is a store.
    pub write: bool,
    /// The instruction was executed: an access to a device that it made before this one cannot be
    /// taken back. Otherwise it is about to be.
    pub done: bool,
}

/// The watchpoints of a core.
#[derive(Clone, Debug, Default)]
pub(crate) struct Watches {
    /// Those of observers.
    observed: Vec<Watchpoint>,
    /// The addresses that the guest's watchpoints are about.
    guest: Vec<Watchpoint>,
    /// The ranges of RAM that observers watch, by the number of the page; never none of a page.
    ram: BTreeMap<u32, Box<[RamWatch]>>,
    /// There are some.
    any: bool,
}

impl Watches {
    /// Makes observers watch exactly these.
    pub fn set(&mut self, watchpoints: &[Watchpoint]) {
        self.observed = watchpoints.to_vec();
        self.count();
    }

    /// Makes the guest watch exactly these; returns whether that is a change.
    pub fn set_guest(&mut self, watchpoints: &[Watchpoint]) -> bool {
        let changed = self.guest != watchpoints;
        self.guest = watchpoints.to_vec();
        self.count();
        changed
    }

    fn count(&mut self) {
        self.any = !(self.observed.is_empty() && self.guest.is_empty() && self.ram.is_empty());
    }

    /// Returns whether nothing is watched.
    #[inline(always)]
    pub fn is_empty(&self) -> bool {
        !self.any
    }

    /// Returns whether `access` to the page of `va`, which has this number in RAM, may be watched.
    pub fn page(&self, va: u32, number: u32, access: Access) -> bool {
        let all = self.observed.iter().chain(&self.guest);
        first(all, va & !0xfff, va | 0xfff, access).is_some()
            || self.ram_watched(number, (0, 0xfff), access)
    }
}

/// Returns the first watchpoint of `all` about some byte of `first..=last`.
fn first<'a>(
    all: impl IntoIterator<Item = &'a Watchpoint>,
    first: u32,
    last: u32,
    access: Access,
) -> Option<Watchpoint> {
    all.into_iter()
        .find(|watch| watch.meets(first, last, access))
        .copied()
}
