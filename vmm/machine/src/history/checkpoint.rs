//! A machine at one moment of its own run, to be put back in its place.

use std::io;
use std::sync::Arc;

use arm32::Cluster;
use arm32::cpu::Stops;
use crc32fast::Hasher;
use vmm_devices::disk::storage::{Changes, Storage};

use super::kept::Position;
use super::pages::{Held, Pages};
use crate::saved::{MachineState, Processor};
use crate::vcpu::{Pace, ReplayPlace, Timing};
use crate::{Error, Machine};

/// See the module.
pub(super) struct Checkpoint {
    /// Instructions retired by all cores.
    pub instructions: u64,
    /// Those retired by each.
    pub cores: Vec<u64>,
    state: MachineState,
    pages: Pages,
    /// What the overlays of disks hold; `None` for a disk that is only read.
    disks: Vec<Option<Arc<Changes>>>,
    /// What a replay compares the console's output by.
    digest: Hasher,
    replay: Option<ReplayPlace>,
}

impl Position for Arc<Checkpoint> {
    fn position(&self) -> u64 {
        self.instructions
    }
}

fn host(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Host {
        what: "go back in the machine's run",
        source: source.into(),
    }
}

impl Checkpoint {
    /// Captures `machine`, which stands still. Pages of RAM that are as in `before` are shared with
    /// it.
    ///
    /// # Errors
    /// The host does not tell what of RAM is in use.
    pub fn of(machine: &mut Machine, before: Option<&Self>, held: &Held) -> Result<Self, Error> {
        let mut state = machine.state().map_err(host)?;
        let mut cores = Vec::new();
        if let Processor::Emulated { cores: cluster, .. } = &mut state.processor {
            for member in &mut cluster.members {
                cores.push(member.cpu.retired);
                // What observers were told of here they are told of again.
                member.stops = Stops {
                    touched: member.stops.touched,
                    ..Stops::default()
                };
            }
        }
        let nothing = Pages::default();
        let before = before.map_or(&nothing, |checkpoint| &checkpoint.pages);
        let pages = Pages::capture(&machine.memory(), before, held).map_err(host)?;
        let mut disks = Vec::new();
        machine.each_disk(|_, disk| disks.push(disk.storage.changes()));
        Ok(Self {
            instructions: machine.instructions(),
            cores,
            state,
            pages,
            disks,
            digest: machine.context.uart.digest_state(),
            replay: match &machine.context.pace {
                Pace::Replay(replay) => Some(replay.place()),
                Pace::Free | Pace::Record(..) => None,
            },
        })
    }

    /// Makes `machine`, which it was captured of, what it was then.
    ///
    /// # Errors
    /// The host does not tell what of RAM is in use, or not all that was typed since is known any
    /// more.
    pub fn put_back(&self, machine: &mut Machine) -> Result<(), Error> {
        if !machine.context.gate.remembers_all() {
            return Err(host(io::Error::other(
                "more was typed than is remembered, so that it cannot be typed again",
            )));
        }
        let known = &mut machine.context.passage.known;
        *known = (*known).max(machine.context.vcpus.retired());
        self.pages.put_back(&machine.memory()).map_err(host)?;
        // Before devices are restored, some of which look at the time.
        if let Timing::Virtual(clock) = &machine.context.timing {
            clock.set(self.state.time.now_ns, self.state.time.skipped_ns);
        }
        // Restoring only adds to what is due.
        machine.context.schedule.forget();
        machine.context.deferred_work.forget();
        let (typed, before) = (machine.context.gate.save(), machine.before);
        machine.restore(&self.state, Cluster::go_back)?;
        machine.before = before;
        // A recording gives its input again itself.
        let typed = typed.back_to(&self.state.input, self.replay.is_none());
        machine.context.gate.restore(&typed);
        machine.context.uart.set_digest(self.digest.clone());
        if let (Pace::Replay(replay), Some(place)) = (&mut machine.context.pace, self.replay) {
            replay.go_back(place);
        }
        let mut disks = self.disks.iter();
        machine.each_disk(|_, disk| {
            if let Some(Some(changes)) = disks.next() {
                let file = Arc::clone(disk.storage.file());
                disk.storage = Storage::overlay(file, Arc::clone(changes));
            }
        });
        Ok(())
    }
}
