//! What a cluster *is*: plain data, to be saved and restored between two runs.
//!
//! A restored cluster goes on as the saved one would have, to the instruction. For that it also
//! holds the translations that the cores have cached, of fetches too: a guest that changed its page
//! tables and has not yet said so may still see the old ones. Predecoded code is not part of it; it
//! is made again from memory, and never differs from it. What observers set is theirs to set again.

use serde::{Deserialize, Serialize};

use super::{Cluster, Member, Power, TURN};
use crate::bus::Bus;
use crate::core::Code;
use crate::cpu::Stops;
use crate::state::CpuState;
use crate::tlb::TlbState;

/// Most instructions that a saved core may have retired: enough for a century, and sums of it do
/// not overflow.
pub const MAX_RETIRED: u64 = 1 << 60;

/// The state of a whole cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClusterState {
    /// [`ClusterState::VERSION`].
    pub version: u32,
    /// Whose turn it is.
    pub turn: usize,
    /// How many instructions of the turn are left.
    pub left: u64,
    /// One for each core.
    pub members: Vec<MemberState>,
}

impl ClusterState {
    /// The version that this crate writes and reads.
    pub const VERSION: u32 = 4;
}

/// One core and what the cluster knows of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MemberState {
    /// The core.
    pub cpu: CpuState,
    /// What it is doing.
    pub power: Power,
    /// Output levels as last told to the machine: physical timer, virtual timer, PMU.
    pub outputs: [bool; 3],
    /// How often it waited.
    pub waits: u64,
    /// Timer count at which the event stream ends a WFE.
    pub event_at: Option<u64>,
    /// What was reported to observers of the instruction at which it stands.
    pub stops: Stops,
    /// Translations that it has cached.
    pub tlb: TlbState,
}

/// Why a saved state does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// Written by another version.
    #[error("the saved state of the cores has version {0}, but this build reads version \
        {expected}", expected = ClusterState::VERSION)]
    Version(u32),
    /// Another number of cores.
    #[error("the saved state is of {found} cores, but there are {expected}")]
    Cores {
        /// How many the state has.
        found: usize,
        /// How many there are.
        expected: usize,
    },
    /// A value that no core can have.
    #[error("the saved state of core {core} is none that a core can have: {what}")]
    Impossible {
        /// Which core.
        core: usize,
        /// What is wrong.
        what: &'static str,
    },
}

impl Cluster {
    /// Returns the state, to be saved.
    pub fn save(&self) -> ClusterState {
        ClusterState {
            version: ClusterState::VERSION,
            turn: self.turn,
            left: self.left,
            members: self.members.iter().map(|m| m.save(&*self.bus)).collect(),
        }
    }

    /// Restores a saved state. Breakpoints, watchpoints and steps stay as they are. The levels of
    /// input pins are not part of it: whoever drives them shall do so again.
    ///
    /// # Errors
    /// If the state is of another version, of another number of cores, or of cores that cannot be;
    /// then nothing changes.
    pub fn restore(&mut self, saved: &ClusterState) -> Result<(), RestoreError> {
        // It is made again from memory, which may be any other.
        self.members.iter_mut().for_each(|m| m.core.forget_code());
        self.go_back(saved)
    }

    /// Restores a saved state as [`restore`](Self::restore) does, in a cluster that keeps its
    /// predecoded code. Whoever has changed its memory to that of the state has said so
    /// ([`CodePages`](vmm_base::CodePages)).
    ///
    /// # Errors
    /// As those of [`restore`](Self::restore).
    pub fn go_back(&mut self, saved: &ClusterState) -> Result<(), RestoreError> {
        let ClusterState {
            version,
            turn,
            left,
            members,
        } = saved;
        if *version != ClusterState::VERSION {
            return Err(RestoreError::Version(*version));
        }
        let (found, expected) = (members.len(), self.members.len());
        if found != expected {
            return Err(RestoreError::Cores { found, expected });
        }
        for (core, member) in members.iter().enumerate() {
            let what = member.wrong();
            what.map_or(Ok(()), |what| Err(RestoreError::Impossible { core, what }))?;
        }
        if *turn >= expected || *left > TURN {
            return Err(RestoreError::Impossible {
                core: *turn,
                what: "its turn",
            });
        }
        // All checks are done: nothing fails from here on.
        (self.turn, self.left) = (*turn, *left);
        for (mine, saved) in self.members.iter_mut().zip(members) {
            mine.restore(saved, &*self.bus);
        }
        Ok(())
    }
}

/// The predecoded code of all cores of a cluster.
pub struct ClusterCode(Vec<Code>);

impl ClusterCode {
    /// Returns the same once more, for another cluster that runs at the same time. Both go on by
    /// themselves: blocks are linked by what is written to their code, and dropped where memory is
    /// overwritten.
    #[must_use]
    pub fn copy(&self) -> Self {
        Self(self.0.iter().map(Code::copy).collect())
    }
}

impl Cluster {
    /// Hands over the predecoded code of a cluster that is not needed any more.
    pub fn take_code(&mut self) -> ClusterCode {
        ClusterCode(
            self.members
                .iter_mut()
                .map(|m| m.core.take_code())
                .collect(),
        )
    }

    /// Takes over the predecoded code of another cluster, as far as the bus has the same memory,
    /// wherever that is in the host. That saves the time to make it, and changes nothing else.
    pub fn give_code(&mut self, ClusterCode(code): ClusterCode) {
        for (member, code) in self.members.iter_mut().zip(code) {
            member.core.give_code(code);
        }
    }
}

impl Member {
    fn save(&self, bus: &dyn Bus) -> MemberState {
        let Self {
            core,
            power,
            outputs,
            waits,
            event_at,
            step: _,
            held: _,
        } = self;
        MemberState {
            cpu: core.cpu.s.clone(),
            power: *power,
            outputs: *outputs,
            waits: *waits,
            event_at: *event_at,
            stops: core.cpu.stops,
            tlb: core.cpu.tlb.save(bus),
        }
    }

    fn restore(&mut self, saved: &MemberState, bus: &dyn Bus) {
        let MemberState {
            cpu: state,
            power,
            outputs,
            waits,
            event_at,
            stops,
            tlb,
        } = saved;
        (self.power, self.outputs) = (*power, *outputs);
        (self.waits, self.event_at) = (*waits, *event_at);
        self.core.look_again();
        let cpu = &mut self.core.cpu;
        cpu.s = state.clone();
        // The clock, whose state is restored elsewhere, has been told of these.
        cpu.clocked = state.retired;
        cpu.stops = *stops;
        cpu.tlb.restore(tlb, bus);
        cpu.select_tlb();
        cpu.debug_changed();
    }
}

impl MemberState {
    /// Returns what is wrong with the state, if no core can have it.
    fn wrong(&self) -> Option<&'static str> {
        let state = &self.cpu;
        let unit = if state.psr.thumb { 2 } else { 4 };
        if state.retired > MAX_RETIRED {
            Some("it has retired more instructions than anyone can wait for")
        } else if !state.r[15].is_multiple_of(unit) {
            Some("its program counter is not aligned")
        } else if !state.flags.is_possible() {
            Some("its condition flags")
        } else if !self.tlb.is_possible() {
            Some("its translations")
        } else if !state.debug.is_possible() {
            Some("its debug registers")
        } else if !state.pmu.is_possible(state.retired) {
            Some("its performance monitors")
        } else {
            None
        }
    }
}
