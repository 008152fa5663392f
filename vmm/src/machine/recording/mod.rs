//! Recordings: all that reached a guest from outside, in a file from which the same run can be had again.
//!
//! In sections as [`sections`](super::sections) has them, all of them JSON: one header, any number of lists of turns, one
//! ending.

#[cfg(test)]
mod tests;

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::assemble::{Around, assemble};
use super::config::{Config, TimeMode};
use super::error::Error;
use super::iommu::IommuSink;
use super::saved::NotEmulated;
use super::sections::read::json;
use super::sections::{Form, ReadError, Reader, Writer};
use super::{Accel, Machine, Reason};
use crate::clock::HostClock;
use crate::devices::uart::ConsoleSink;
use crate::vcpu::{Ending, Pace, Replay, Turn, Waker, check};

/// Recordings.
static FORM: Form = Form {
    magic: b"viommu recorded\n",
    version: 1,
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

/// What a recording is of.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RecordingHeader {
    /// The program that wrote it.
    pub producer: String,
    /// What the machine was made from; paths are absolute.
    pub config: Config,
    /// What the real-time clock showed at power-on.
    pub epoch: u32,
    /// The files that the machine was made from: kernel, initial file system if any, disks.
    pub files: Vec<Source>,
}

/// A file that a machine was made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Where it is.
    pub path: PathBuf,
    /// SHA-256 of what it held at first, in hexadecimal digits.
    pub sha256: String,
}

impl Source {
    fn of(path: &Path) -> io::Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            sha256: guest_images::hash_file(path).map_err(io::Error::other)?,
        })
    }
}

/// The files that a machine is made from.
fn sources(config: &Config) -> impl Iterator<Item = &Path> {
    let disks = config.disks.iter().map(|disk| disk.path.as_path());
    let initrd = config.initrd.as_deref();
    std::iter::once(config.kernel.as_path())
        .chain(initrd)
        .chain(disks)
}

fn absolute(config: &Config) -> io::Result<Config> {
    let mut config = config.clone();
    let disks = config.disks.iter_mut().map(|disk| &mut disk.path);
    let initrd = config.initrd.as_mut();
    for path in std::iter::once(&mut config.kernel)
        .chain(initrd)
        .chain(disks)
    {
        *path = std::path::absolute(&*path)?;
    }
    Ok(config)
}

/// Writes what happens to a machine. What cannot be written does not stop the run: [`Recorder::finish`] tells.
pub struct Recorder<W>(Arc<Mutex<Sheet<W>>>);

struct Sheet<W> {
    /// `None` once something could not be written.
    out: Option<Writer<W>>,
    failure: Option<io::Error>,
    turns: Vec<Turn>,
    input: usize,
}

impl<W: Write> Sheet<W> {
    fn log(&mut self, turn: &Turn) {
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
            self.failure = Some(error);
            self.out = None;
        }
    }
}

fn lock<W>(sheet: &Mutex<Sheet<W>>) -> MutexGuard<'_, Sheet<W>> {
    sheet.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<W: Write + 'static> Recorder<W> {
    /// A machine as [`Machine::with_iommu_sink`] makes it, and who records what happens to it in `out`.
    ///
    /// In host time its devices work on the thread that runs it.
    ///
    /// # Errors
    /// A sentence for the user.
    pub fn start(
        config: &Config,
        console: Box<dyn ConsoleSink>,
        sink: Option<Arc<dyn IommuSink>>,
        out: W,
    ) -> Result<(Machine, Self), Error> {
        config.validate()?;
        let fail = |source| Error::Host {
            what: "begin the recording",
            source: Box::new(source),
        };
        if config.accel == Accel::Kvm {
            return Err(fail(io::Error::other(NotEmulated)));
        }
        let epoch = config.epoch_now();
        let header = RecordingHeader {
            producer: concat!("vmm ", env!("CARGO_PKG_VERSION")).into(),
            config: absolute(config).map_err(fail)?,
            epoch,
            files: sources(config)
                .filter_map(|path| Source::of(path).ok())
                .collect(),
        };
        let mut sheet = Sheet {
            out: Some(Writer::new(&FORM, out).map_err(fail)?),
            failure: None,
            turns: Vec::new(),
            input: 0,
        };
        // Whoever cannot read a file is told when the machine is made.
        let mut machine = Machine::paced(config, console, sink, epoch)?;
        sheet.put(HEADER, &header);
        let sheet = Arc::new(Mutex::new(sheet));
        let log = Arc::clone(&sheet);
        let host = (config.time == TimeMode::Host).then(HostClock::new);
        machine.pace = Pace::Record(host, Box::new(move |turn| lock(&log).log(turn)));
        Ok((machine, Self(sheet)))
    }

    /// Ends the recording of `machine` where that stands now.
    ///
    /// # Errors
    /// Not all of it could be written.
    pub fn finish(self, machine: &mut Machine) -> io::Result<W> {
        machine.pace = Pace::Free;
        let ending = Ending {
            reason: machine.last.unwrap_or(Reason::Stopped),
            turn: machine.turn(),
        };
        let mut sheet = lock(&self.0);
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
    /// A machine whose clock moves between slices of work only, and whose devices work on the thread that runs it.
    fn paced(
        config: &Config,
        console: Box<dyn ConsoleSink>,
        sink: Option<Arc<dyn IommuSink>>,
        epoch: u32,
    ) -> Result<Self, Error> {
        let waker = Arc::new(Waker::default());
        let config = Config {
            accel: Accel::Emulated,
            ..config.clone()
        };
        let around = Around {
            console,
            sink: sink.as_ref(),
            injection: None,
            waker: &waker,
        };
        let parts = assemble(&config, around, Some(epoch))?;
        Ok(Self::from_parts(config, parts, waker))
    }

    /// How it is now.
    fn turn(&mut self) -> Turn {
        Turn {
            instructions: self.vcpus.retired(),
            now_ns: self.timing.clock().now_ns(),
            check: check(self.vcpus.cluster(), self.uart.digest()),
            input: Vec::new(),
        }
    }
}

/// A recording, read.
#[derive(Clone, Debug)]
pub struct Recording {
    header: RecordingHeader,
    turns: Vec<Turn>,
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
        let mut turns: Vec<Turn> = Vec::new();
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
        let moments = turns.iter().chain([&ending.turn]);
        let moments = moments.map(|turn| (turn.instructions, turn.now_ns));
        if !moments.is_sorted() {
            return Err(ReadError::damaged("its turns are in no order"));
        }
        Ok(Self {
            header,
            turns,
            ending,
        })
    }

    /// What it is of.
    pub fn header(&self) -> &RecordingHeader {
        &self.header
    }

    /// Why the recorded run ended.
    pub fn reason(&self) -> Reason {
        self.ending.reason
    }

    /// Whether the files that the machine was made from are what they were.
    ///
    /// # Errors
    /// The first one that is not.
    pub fn check_files(&self) -> Result<(), ReadError> {
        let RecordingHeader { config, files, .. } = &self.header;
        if !sources(config).eq(files.iter().map(|file| file.path.as_path())) {
            return Err(ReadError::Impossible(
                "its files are not those of its machine".into(),
            ));
        }
        for file in files {
            let now = Source::of(&file.path).map_err(|why| ReadError::Needed {
                path: file.path.clone(),
                why: why.to_string(),
            })?;
            if now != *file {
                return Err(ReadError::Changed(file.path.clone()));
            }
        }
        Ok(())
    }

    /// The machine at power-on, to be run as it was. Its disks' files are left as they are.
    ///
    /// # Errors
    /// A sentence for the user.
    pub fn machine(
        &self,
        console: Box<dyn ConsoleSink>,
        sink: Option<Arc<dyn IommuSink>>,
    ) -> Result<Machine, Error> {
        let RecordingHeader { config, epoch, .. } = &self.header;
        let mut config = config.clone();
        for disk in &mut config.disks {
            disk.overlay = true;
        }
        let mut machine = Machine::paced(&config, console, sink, *epoch)?;
        let host = config.time == TimeMode::Host;
        let replay = Replay::new(self.turns.clone(), self.ending.clone(), host);
        machine.pace = Pace::Replay(replay);
        Ok(machine)
    }
}
