//! How the run loop's turns are recorded, and gone through again.
//!
//! Everything that comes from outside reaches the guest at the beginning of a turn, and nowhere
//! else: the time of the host, where the guest's clock is that, and what is typed. A recording is
//! the list of turns: after how many instructions each began, at what time, and with what input. In
//! between, a machine that is recorded is a machine in virtual time, whose devices do their work at
//! once; so the list is all that it takes to run the same again.

use arm32::Cluster;
use crc32fast::Hasher;
use serde::{Deserialize, Serialize};
use vmm_base::{HostClock, Reason};

/// The beginning of a turn.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunSlice {
    /// Instructions retired by all cores.
    #[serde(rename = "i")]
    pub instructions: u64,
    /// Guest time, in nanoseconds since power-on.
    #[serde(rename = "t")]
    pub now_ns: u64,
    /// A hash of the state of the cores and of the console's output.
    #[serde(rename = "c")]
    pub check: u32,
    /// Console input that passed its gate.
    #[serde(rename = "in", default, skip_serializing_if = "Vec::is_empty")]
    pub input: Vec<u8>,
}

/// The end of a recording.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// Why the run ended.
    pub reason: Reason,
    /// When; there is no input.
    pub turn: RunSlice,
}

/// The point at which a run differs from its recording.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{what} at instruction {instructions}, {now_ns} ns after power-on; the last turn that agrees began at \
        instruction {agreed}"
)]
pub struct Divergence {
    /// What differs.
    pub what: String,
    /// The number of instructions there.
    pub instructions: u64,
    /// Guest time there.
    pub now_ns: u64,
    /// The number of instructions up to which both are the same.
    pub agreed: u64,
}

/// Takes turns that are recorded.
pub type Log = Box<dyn FnMut(&RunSlice)>;

/// The way in which turns begin.
#[derive(Default)]
pub enum Pace {
    /// As they come.
    #[default]
    Free,
    /// As they come, and each is written down; in host time the guest's clock follows this one.
    Record(Option<HostClock>, Log),
    /// As they were.
    Replay(Replay),
}

/// A recording that is gone through again.
pub struct Replay {
    turns: Vec<RunSlice>,
    /// The number of turns that have begun.
    begun: usize,
    ending: Ending,
    /// Whether the guest's clock was the host's.
    pub host: bool,
    agreed: u64,
    divergence: Option<Divergence>,
}

/// A place in a recording that is gone through again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplayPlace {
    begun: usize,
    agreed: u64,
}

impl Replay {
    /// Creates a replay of `turns`; `host` if the guest's clock was the host's.
    pub fn new(turns: Vec<RunSlice>, ending: Ending, host: bool) -> Self {
        Self {
            turns,
            begun: 0,
            ending,
            host,
            agreed: 0,
            divergence: None,
        }
    }

    /// Returns when the next turn begins, or the recording ends.
    pub fn next(&self) -> &RunSlice {
        self.turns.get(self.begun).unwrap_or(&self.ending.turn)
    }

    /// Returns why the recorded run ended, if all its turns are over.
    pub fn ending(&self) -> Option<Reason> {
        (self.begun >= self.turns.len()).then_some(self.ending.reason)
    }

    /// Returns where in the recording it is.
    pub fn place(&self) -> ReplayPlace {
        ReplayPlace {
            begun: self.begun,
            agreed: self.agreed,
        }
    }

    /// Goes back to where it was, with a machine that is as it was then.
    pub fn go_back(&mut self, to: ReplayPlace) {
        let ReplayPlace { begun, agreed } = to;
        (self.begun, self.agreed) = (begun, agreed);
        self.divergence = None;
    }

    /// Begins the next turn, where `found` is how the machine is; its input.
    ///
    /// # Errors
    /// [`Reason::Diverged`] when it is not as it was.
    pub fn begin(&mut self, found: &RunSlice) -> Result<Vec<u8>, Reason> {
        self.compare(found)?;
        let input = self.turns.get(self.begun).map(|turn| turn.input.clone());
        self.agreed = found.instructions;
        self.begun += 1;
        Ok(input.unwrap_or_default())
    }

    /// Compares with what is recorded of this moment.
    ///
    /// # Errors
    /// [`Reason::Diverged`] when that is something else.
    pub fn compare(&mut self, found: &RunSlice) -> Result<(), Reason> {
        let next = self.next();
        // In this order: another number of instructions makes time and registers differ, too.
        let what = if next.instructions != found.instructions {
            format!(
                "the recording goes on to instruction {} where the guest stops",
                next.instructions
            )
        } else if next.now_ns != found.now_ns {
            format!("the recorded time, {} ns, is another one", next.now_ns)
        } else if next.check != found.check {
            "registers of the cores or what the console showed differ".to_owned()
        } else {
            return Ok(());
        };
        Err(self.diverged(what, found))
    }

    /// Notes a difference, the first one only.
    pub fn diverged(&mut self, what: String, found: &RunSlice) -> Reason {
        // Later ones follow from the first.
        self.divergence.get_or_insert(Divergence {
            what,
            instructions: found.instructions,
            now_ns: found.now_ns,
            agreed: self.agreed,
        });
        Reason::Diverged
    }

    /// Returns the first difference, if there was one.
    pub fn divergence(&self) -> Option<&Divergence> {
        self.divergence.as_ref()
    }
}

/// Returns a hash of the state of the cores and of what the `console` has shown, in 32 bits.
pub fn check(cluster: Option<&mut Cluster>, console: u32) -> u32 {
    // No memory, which would take longer than a slice: what differs
    // there soon differs in a register.
    let mut crc = Hasher::new();
    crc.update(&console.to_le_bytes());
    if let Some(cluster) = cluster {
        for core in 0..cluster.len() {
            let state = cluster.state(core);
            state.r.iter().for_each(|r| crc.update(&r.to_le_bytes()));
            crc.update(&state.cpsr().to_le_bytes());
            crc.update(&state.retired.to_le_bytes());
        }
    }
    crc.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(instructions: u64, now_ns: u64, check: u32) -> RunSlice {
        RunSlice {
            instructions,
            now_ns,
            check,
            input: vec![b'x'],
        }
    }

    #[test]
    fn the_first_difference_is_kept_with_what_agreed() {
        let ending = Ending {
            reason: Reason::PowerOff,
            turn: turn(30, 31, 5),
        };
        let mut replay = Replay::new(
            vec![turn(0, 0, 1), turn(10, 12, 2), turn(20, 21, 3)],
            ending,
            true,
        );
        assert_eq!(replay.begin(&turn(0, 0, 1)), Ok(vec![b'x']));
        let place = replay.place();
        assert_eq!(replay.begin(&turn(10, 12, 2)), Ok(vec![b'x']));
        assert_eq!((replay.next().instructions, replay.ending()), (20, None));
        assert_eq!(replay.begin(&turn(20, 21, 9)), Err(Reason::Diverged));
        assert_eq!(replay.begin(&turn(19, 21, 3)), Err(Reason::Diverged));
        let divergence = replay.divergence().unwrap();
        assert_eq!((divergence.instructions, divergence.agreed), (20, 10));
        assert!(divergence.to_string().contains("registers"), "{divergence}");
        replay.go_back(place);
        assert_eq!(
            (replay.next().instructions, replay.divergence()),
            (10, None)
        );
        replay.begin(&turn(10, 12, 2)).unwrap();
        replay.begin(&turn(20, 21, 3)).unwrap();
        assert_eq!(replay.ending(), Some(Reason::PowerOff));
        assert_eq!(replay.compare(&turn(30, 32, 5)), Err(Reason::Diverged));
        assert_eq!(replay.compare(&turn(30, 31, 5)), Ok(()));
    }
}
