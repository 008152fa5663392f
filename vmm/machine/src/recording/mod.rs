//! Recordings: all that reached a guest from outside, in a file from which the same run can be had
//! again.
//!
//! In sections as [`sections`](super::sections) has them, all of them JSON: one header, any number
//! of lists of turns, one ending.

mod faults;
#[cfg(test)]
mod tests;

use std::io::{self, BufReader, Read, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};
use vmm_base::HostClock;
use vmm_devices::uart::ConsoleSink;
use vmm_files::input;

use super::config::{Config, TimeMode};
use super::error::Error;
use super::iommu::IommuSink;
use super::saved::NotEmulated;
use super::sections::read::json;
use super::sections::{Form, ReadError, Reader, Writer};
use super::snapshot::{Fork, Snapshot};
use super::sources::{Moved, Role, Source};
use super::{Accel, Machine, Reason};
pub use faults::RunFaults;

use crate::vcpu::{Ending, Pace, Replay, RunSlice, check};

/// Recordings.
static FORM: Form = Form {
    magic: b"viommu recorded\n",
    version: 3,
    name: "recording",
    limit: |kind| (1..=3).contains(&kind).then_some(MAX_SECTION),
};
const HEADER: u32 = 1;
const TURNS: u32 = 2;
const ENDING: u32 = 3;
/// Bytes of a section at most: more than [`LIST`] turns that each have as much input as can wait.
const MAX_SECTION: u32 = 64 << 20;
/// Turns that are written at once.
const LIST: usize = 4096;
/// Bytes of input after which they are written at once.
const LIST_INPUT: usize = 1 << 20;

/// This program.
const PRODUCER: &str = concat!("vmm ", env!("CARGO_PKG_VERSION"));

fn begin(source: io::Error) -> Error {
    Error::Host {
        what: "begin the recording or its replay",
        source: Box::new(source),
    }
}

/// The facts of a recording.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RecordingHeader {
    /// The program that wrote it.
    pub producer: String,
    /// What the machine was made from; paths are absolute.
    pub config: Config,
    /// What the real-time clock showed at power-on.
    pub epoch: u32,
    /// The files that the machine was made from: kernel, initial file system if any, disks. None
    /// for a run that went on from a snapshot, which says itself what it needs.
    pub files: Vec<Source>,
    /// Where the run began, if not at power-on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snapshot: Option<SnapshotStart>,
    /// What goes wrong in the run, if it has faults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub faults: Option<RunFaults>,
}

/// The snapshot that a recorded run went on from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotStart {
    /// Its file.
    pub file: Source,
    /// The seed that the run was given in place of the snapshot's, if any.
    pub seed: Option<u64>,
}

/// Writes what happens to a machine. What cannot be written does not stop the run:
/// [`Recorder::finish`] tells.
pub struct Recorder<W>(Arc<Mutex<Sheet<W>>>);

struct Sheet<W> {
    /// `None` once something could not be written.
    out: Option<Writer<W>>,
    failure: Option<io::Error>,
    turns: Vec<RunSlice>,
    input: usize,
}

impl<W: Write> Sheet<W> {
    fn log(&mut self, turn: &RunSlice) {
        // After a failure nothing is kept: turns would pile up for the rest of the run.
        if self.out.is_some() {
            self.input += turn.input.len();
            self.turns.push(turn.clone());
            if self.turns.len() >= LIST || self.input >= LIST_INPUT {
                self.flush();
            }
        }
    }

    fn flush(&mut self) {
        let turns = std::mem::take(&mut self.turns);
        self.input = 0;
        if !turns.is_empty() {
            self.put(TURNS, &turns);
        }
    }

    fn put(&mut self, kind: u32, value: &impl Serialize) {
        let Some(out) = &mut self.out else {
            return;
        };
        let text = serde_json::to_vec(value).map_err(io::Error::from);
        if let Err(error) = text.and_then(|text| out.add(kind, &[&text])) {
            // The run goes on; `finish` tells.
            self.failure = Some(error);
            self.out = None;
        }
    }
}

fn lock<W>(sheet: &Mutex<Sheet<W>>) -> MutexGuard<'_, Sheet<W>> {
    sheet.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<W: Write + 'static> Recorder<W> {
    /// Creates a machine as [`MachineBuilder`](super::MachineBuilder) makes it, with `faults` if
    /// there are any, and who records what happens to it in `out`.
    ///
    /// In host time its devices work on the thread that runs it.
    ///
    /// # Errors
    /// A sentence for the user.
    pub fn start(
        config: &Config,
        console: Box<dyn ConsoleSink>,
        sink: Option<Arc<dyn IommuSink>>,
        faults: Option<RunFaults>,
        out: W,
    ) -> Result<(Machine, Self), Error> {
        config.validate()?;
        if config.accel == Accel::Kvm {
            return Err(begin(io::Error::other(NotEmulated)));
        }
        // Read once: where the configuration says `now`, the replay must see the same date.
        let epoch = config.epoch_now();
        let config = config.absolute().map_err(begin)?.with_folders()?;
        let header = RecordingHeader {
            producer: PRODUCER.into(),
            epoch,
            // A file that cannot be read is reported when the machine is made.
            // Hashed here, before the guest can write to a disk.
            files: config.sources(),
            snapshot: None,
            faults,
            config,
        };
        let machine = RunFaults::machine(header.faults.as_ref(), |injection| {
            let machine = Machine::builder(&header.config, console).iommu_sink(sink);
            machine.injection(injection).recorded(epoch).build()
        })?;
        Self::of(machine, &header, HostClock::new(), out)
    }

    /// Creates a machine that goes on from `snapshot`, which was read from `file`, with `faults` if
    /// there are any, and who records what happens to it in `out`.
    ///
    /// In host time its devices work on the thread that runs it.
    ///
    /// # Errors
    /// A sentence for the user.
    pub fn resume(
        snapshot: &Snapshot,
        file: Source,
        fork: Fork,
        faults: Option<RunFaults>,
        out: W,
    ) -> Result<(Machine, Self), Error> {
        if !snapshot.is_emulated() {
            return Err(begin(io::Error::other(NotEmulated)));
        }
        let config = snapshot.config().absolute().map_err(begin)?;
        let header = RecordingHeader {
            producer: PRODUCER.into(),
            epoch: snapshot.epoch(),
            files: Vec::new(),
            snapshot: Some(SnapshotStart {
                file,
                seed: fork.seed,
            }),
            faults,
            config,
        };
        let faults = header.faults.as_ref();
        let machine = RunFaults::machine(faults, |injection| snapshot.paced(fork, injection))?;
        let clock = HostClock::starting_at(snapshot.guest_ns());
        Self::of(machine, &header, clock, out)
    }

    /// Begins the recording of `machine`, with `clock` as its time in host time.
    fn of(
        mut machine: Machine,
        header: &RecordingHeader,
        clock: HostClock,
        out: W,
    ) -> Result<(Machine, Self), Error> {
        let mut sheet = Sheet {
            out: Some(Writer::new(&FORM, out).map_err(begin)?),
            failure: None,
            turns: Vec::new(),
            input: 0,
        };
        // What fails here is told by `finish`, as with all that follows.
        sheet.put(HEADER, header);
        let sheet = Arc::new(Mutex::new(sheet));
        let log = Arc::clone(&sheet);
        // Only the host's time has to be written down: virtual time follows from the instructions.
        let host = (header.config.time == TimeMode::Host).then_some(clock);
        machine.context.pace = Pace::Record(host, Box::new(move |turn| lock(&log).log(turn)));
        Ok((machine, Self(sheet)))
    }

    /// Ends the recording of `machine` where that stands now.
    ///
    /// # Errors
    /// Not all of it could be written.
    pub fn finish(self, machine: &mut Machine) -> io::Result<W> {
        // The machine may go on after this, unrecorded.
        machine.context.pace = Pace::Free;
        let ending = Ending {
            reason: machine.last.unwrap_or(Reason::Stopped),
            turn: machine.turn(),
        };
        let mut sheet = lock(&self.0);
        // Turns that still wait come before the ending: behind it the reader takes nothing.
        sheet.flush();
        sheet.put(ENDING, &ending);
        match (sheet.out.take(), sheet.failure.take()) {
            (Some(out), None) => out.finish(),
            (_, Some(error)) => Err(error),
            (None, None) => Err(io::Error::other("it was ended before")),
        }
    }
}

impl Machine {
    /// Returns the state of the run now.
    fn turn(&mut self) -> RunSlice {
        RunSlice {
            instructions: self.context.vcpus.retired(),
            now_ns: self.context.timing.clock().now_ns(),
            check: check(self.context.vcpus.cluster(), self.context.uart.digest()),
            input: Vec::new(),
        }
    }
}

/// A recording, read.
#[derive(Clone)]
pub struct Recording {
    header: RecordingHeader,
    /// Where the run began, once that was read.
    snapshot: Option<Snapshot>,
    turns: Vec<RunSlice>,
    ending: Ending,
}

impl Recording {
    /// Reads a recording.
    ///
    /// # Errors
    /// A sentence that goes on where one about the file has begun.
    pub fn read(input: impl Read) -> Result<Self, ReadError> {
        let mut sections = Reader::new(&FORM, input)?;
        let header: RecordingHeader = json(&sections.expect(HEADER)?, "header")?;
        if let Err(error) = header.config.validate() {
            return Err(ReadError::Impossible(error.to_string()));
        }
        if let Some(Err(error)) = header.faults.as_ref().map(RunFaults::check) {
            return Err(ReadError::Impossible(error.to_string()));
        }
        let mut turns: Vec<RunSlice> = Vec::new();
        let mut ending: Option<Ending> = None;
        while let Some((kind, contents)) = sections.section()? {
            match kind {
                TURNS if ending.is_none() => {
                    turns.append(&mut json(&contents, "list of turns")?);
                }
                ENDING if ending.is_none() => ending = Some(json(&contents, "ending")?),
                _ => {
                    return Err(ReadError::damaged(
                        "its parts are in no order that they can be in",
                    ));
                }
            }
        }
        let ending = ending.ok_or_else(|| ReadError::damaged("it has no ending"))?;
        // A replay waits for the instruction of each turn, and would never come to one that is
        // over.
        let moments = turns.iter().chain([&ending.turn]);
        let moments = moments.map(|turn| (turn.instructions, turn.now_ns));
        if !moments.is_sorted() {
            return Err(ReadError::damaged("its turns are in no order"));
        }
        Ok(Self {
            header,
            snapshot: None,
            turns,
            ending,
        })
    }

    /// Returns the header of the recording.
    pub fn header(&self) -> &RecordingHeader {
        &self.header
    }

    /// Returns the guest time at which the run began, in nanoseconds since power-on.
    pub fn start_ns(&self) -> u64 {
        self.snapshot.as_ref().map_or(0, Snapshot::guest_ns)
    }

    /// Returns why the recorded run ended.
    pub fn reason(&self) -> Reason {
        self.ending.reason
    }

    /// Finds the files that the machine was made from: where they were, where `moved` says, or, for
    /// parts of a guest image, in this user's image cache. They must be what they were. A snapshot
    /// that the run went on from is read.
    ///
    /// # Errors
    /// The first one that is not there, or another one.
    pub fn find_files(&mut self, moved: &Moved) -> Result<(), ReadError> {
        let RecordingHeader {
            config,
            files,
            snapshot,
            ..
        } = &mut self.header;
        moved.check(config)?;
        if let Some(start) = snapshot {
            start.file.path = moved.find(Role::Snapshot, &start.file)?;
            let mut disks = moved.clone();
            for (number, disk) in config.disks.iter().enumerate() {
                // A disk that nobody moved is where the recording says, which need not be where the
                // snapshot does.
                let place = disks.disks.entry(number);
                place.or_insert_with(|| disk.path.clone());
            }
            let file = input::open_file(&start.file.path)?;
            let read = Snapshot::read_moved(BufReader::with_capacity(1 << 20, file), &disks)?;
            // What runs is the snapshot's machine, so its configuration counts,
            // and not the copy in the header.
            *config = read.config().clone();
            self.snapshot = Some(read);
            return Ok(());
        }
        if moved.snapshot.is_some() {
            return Err(ReadError::NoFile(Role::Snapshot));
        }
        // Each file of the machine has its entry, or one would be
        // opened without a look at its hash.
        let named = config.files().map(|(_, path)| path);
        if !named.eq(files.iter().map(|file| file.path.as_path())) {
            return Err(ReadError::Impossible(
                "its files are not those of its machine".into(),
            ));
        }
        for ((role, path), file) in config.files_mut().zip(files) {
            file.path = moved.find(role, file)?;
            path.clone_from(&file.path);
        }
        Ok(())
    }

    /// Returns the machine where the run began, to be run as it was. Its disks' files are left as
    /// they are.
    ///
    /// # Errors
    /// A sentence for the user; a snapshot that the run went on from must have been found
    /// ([`Recording::find_files`]).
    pub fn machine(
        &self,
        console: Box<dyn ConsoleSink>,
        sink: Option<Arc<dyn IommuSink>>,
    ) -> Result<Machine, Error> {
        let RecordingHeader {
            config,
            epoch,
            faults,
            ..
        } = &self.header;
        let faults = faults.as_ref();
        let mut machine = match (&self.header.snapshot, &self.snapshot) {
            (Some(start), Some(snapshot)) if snapshot.is_emulated() => {
                let fork = Fork {
                    console,
                    iommu_sink: sink,
                    seed: start.seed,
                };
                RunFaults::machine(faults, |injection| snapshot.paced(fork, injection))?
            }
            (Some(_), Some(_)) => return Err(begin(io::Error::other(NotEmulated))),
            // Nobody has called `find_files`, which reads it.
            (Some(_), None) => return Err(begin(io::ErrorKind::NotFound.into())),
            (None, _) => {
                let mut config = config.clone();
                for disk in &mut config.disks {
                    // A replay leaves the files as they are.
                    disk.overlay = !disk.read_only;
                }
                RunFaults::machine(faults, |injection| {
                    let machine = Machine::builder(&config, console).iommu_sink(sink);
                    machine.injection(injection).recorded(*epoch).build()
                })?
            }
        };
        let host = config.time == TimeMode::Host;
        let replay = Replay::new(self.turns.clone(), self.ending.clone(), host);
        machine.context.pace = Pace::Replay(replay);
        Ok(machine)
    }
}
