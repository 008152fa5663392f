//! The record of a campaign on disk, a line a run, so that nothing is lost whatever ends the
//! program.
//!
//! Each line is a JSON object whose last member, `chain`, is the SHA-256 of the `chain` of the line
//! before (in binary; that of the journal's name before the first line) and of the line's own bytes
//! before that member. A line that was edited, dropped, added or moved breaks the chain there. What
//! was cut off at the end of a line cannot be told from a run that was killed, and whoever makes
//! the whole chain anew is not found out by it: repeating runs finds that out.

pub(crate) mod header;

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::Serialize;
use vmm_files::atomic_file::reason;
use vmm_files::input;

pub use header::{Header, Part};

use header::{VERSION, difference};

use super::chain::{Chain, MAGIC};
use super::run::{Record, seed_of};

/// The largest journal that is read, in bytes: some millions of runs.
const MAX_BYTES: u64 = 4 << 30;

/// The reason for which there is no journal.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The host.
    #[error("cannot {what} the journal {}: {}", path.display(), reason(source))]
    Io {
        /// Read, write or make.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is one, and it was not asked to be continued.
    #[error("the journal {} has a campaign in it: go on with it by --resume, or name another", .0.display())]
    Exists(PathBuf),
    /// It is of something else.
    #[error("cannot go on with {}: it is {what}", path.display())]
    Other {
        /// The file.
        path: PathBuf,
        /// Of what.
        what: String,
    },
    /// Another campaign writes it.
    #[error("the journal {} is in use by another campaign: wait for its end, or name another", .0.display())]
    Busy(PathBuf),
    /// A line is not what was written there.
    #[error("cannot go on with {}: {damage}; keep the lines before it (head -n {}), or begin a new journal",
            path.display(), damage.line - 1)]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where and how.
        damage: Damage,
    },
}

/// A whole line of a journal that is not what was written there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} {what}")]
pub struct Damage {
    /// Its number, from 1.
    pub line: usize,
    /// How.
    pub what: &'static str,
}

/// The contents of the whole lines of a journal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Contents {
    /// Its first line; `None` if that is not whole, or not one of a journal.
    pub header: Option<Header>,
    /// The runs.
    pub records: BTreeMap<u64, Record>,
    /// How many bytes are whole lines.
    pub good: usize,
    /// What the next line's chain begins with.
    chain: Chain,
}

/// The first line of a journal, and its runs by number.
pub(super) type HeaderAndRuns = (Header, BTreeMap<u64, Record>);

/// A journal that is being written.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    chain: Chain,
}

impl Journal {
    /// Begins a journal at `path`; there must be none, or an empty file.
    ///
    /// # Errors
    /// There is one, or the host refuses.
    pub fn create(path: &Path, header: &Header) -> Result<Self, JournalError> {
        let fail = |source| JournalError::Io {
            what: "make",
            path: path.into(),
            source,
        };
        let mut options = OpenOptions::new();
        // An empty file that is there already will do.
        let file = options.create(true).append(true).open(path).map_err(fail)?;
        if file.metadata().map_err(fail)?.len() > 0 {
            return Err(JournalError::Exists(path.into()));
        }
        lock(&file, path)?;
        let mut journal = Self {
            path: path.into(),
            file,
            chain: Chain::default(),
        };
        journal.line(header)?;
        Ok(journal)
    }

    /// Continues the journal at `path`, or begins it if there is none, and returns it with the runs
    /// that are in it. A last line that was not written to its end is taken away.
    ///
    /// # Errors
    /// It is of another campaign or was changed, or the host refuses.
    pub fn resume(
        path: &Path,
        header: &Header,
    ) -> Result<(Self, BTreeMap<u64, Record>), JournalError> {
        let fail = |source| JournalError::Io {
            what: "read",
            path: path.into(),
            source,
        };
        let mut options = OpenOptions::new();
        // Not made here if it is missing: a new journal begins with its header.
        let file = options.read(true).append(true).open(path);
        let mut file = match file {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok((Self::create(path, header)?, BTreeMap::new()));
            }
            file => file.map_err(fail)?,
        };
        // Locked before it is read: another campaign may be in the midst of a line.
        lock(&file, path)?;
        let (text, contents) = read(&mut file, path)?;
        let Contents {
            header: found,
            records,
            good,
            chain,
        } = contents;
        match found {
            Some(found) if found.is_same_campaign(header) => {}
            // Killed before its first line was written.
            None if !text.contains(&b'\n') => {
                file.set_len(0).map_err(fail)?;
                // With its lock, which `create` needs.
                drop(file);
                return Ok((Self::create(path, header)?, BTreeMap::new()));
            }
            found => {
                let what = difference(found.as_ref(), header);
                return Err(JournalError::Other {
                    path: path.into(),
                    what,
                });
            }
        }
        // A line that was cut short by a kill is dropped: its run is made again.
        file.set_len(good as u64).map_err(fail)?;
        file.seek(SeekFrom::End(0)).map_err(fail)?;
        let journal = Self {
            path: path.into(),
            file,
            chain,
        };
        Ok((journal, records))
    }

    /// Checks what can be checked of a journal that shall begin at `path`, or go on there if
    /// `resume`, before the kernel of its campaign is known: nothing is written.
    ///
    /// # Errors
    /// Those that [`create`](Self::create) and [`resume`](Self::resume) would have.
    pub fn check(path: &Path, header: &Header, resume: bool) -> Result<(), JournalError> {
        let fail = |source| JournalError::Io {
            what: "read",
            path: path.into(),
            source,
        };
        let mut file = match input::open_stream(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            file => file.map_err(fail)?,
        };
        let metadata = file.metadata().map_err(fail)?;
        if metadata.file_type().is_fifo() {
            let why = "it is a pipe, and a journal is read again: name a file";
            return Err(fail(io::Error::new(io::ErrorKind::InvalidInput, why)));
        }
        if !metadata.is_file() || metadata.len() == 0 {
            return Ok(());
        }
        if !resume {
            return Err(JournalError::Exists(path.into()));
        }
        let (text, Contents { header: found, .. }) = read(&mut file, path)?;
        // The kernel is not known yet, so that any is the right one.
        let mut wanted = header.clone();
        if let Some(found) = &found {
            wanted.kernel_sha256.clone_from(&found.kernel_sha256);
            // Nor are the points to walk, and how many there are.
            wanted.walk.clone_from(&found.walk);
            wanted.code.clone_from(&found.code);
            if let (true, Some(part), Some(found)) =
                (wanted.systematic, &mut wanted.part, found.part)
            {
                part.runs = found.runs;
            }
        }
        match found {
            Some(found) if found.is_same_campaign(&wanted) => Ok(()),
            // Killed before its first line was written.
            None if !text.contains(&b'\n') => Ok(()),
            found => Err(JournalError::Other {
                path: path.into(),
                what: difference(found.as_ref(), &wanted),
            }),
        }
    }

    /// Reads the journal at `path`, which another program may be writing: what of it is whole.
    ///
    /// # Errors
    /// It cannot be read, or was changed, or is none that this version reads.
    pub(super) fn contents(path: &Path) -> Result<HeaderAndRuns, JournalError> {
        let contents = open(path).and_then(|mut file| read(&mut file, path))?.1;
        known(contents, path)
    }

    /// Reads the journal at `path` as [`contents`](Self::contents) does; `None` if there is none
    /// yet, or not even its first line.
    ///
    /// # Errors
    /// Those of [`contents`](Self::contents) if there is one.
    pub(super) fn contents_so_far(path: &Path) -> Result<Option<HeaderAndRuns>, JournalError> {
        let mut file = match open(path) {
            Err(JournalError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(None);
            }
            file => file?,
        };
        match read(&mut file, path)? {
            (text, _) if !text.contains(&b'\n') => Ok(None),
            (_, contents) => known(contents, path).map(Some),
        }
    }

    /// Adds a run. What does not fit on the disk is taken back, so that the journal stays whole.
    ///
    /// # Errors
    /// The host refuses; the runs before are kept.
    pub fn add(&mut self, record: &Record) -> Result<(), JournalError> {
        self.line(record)
    }

    fn line(&mut self, value: &impl Serialize) -> Result<(), JournalError> {
        let fail = |source: io::Error| JournalError::Io {
            what: "write",
            path: self.path.clone(),
            source,
        };
        let mut line = serde_json::to_vec(value).map_err(|error| fail(error.into()))?;
        let chain = self.chain.close(&mut line);
        let before = self.file.metadata().map_err(fail)?.len();
        self.file.write_all(&line).map_err(|error| {
            // Best effort: a torn line is tolerated too.
            let _ = self.file.set_len(before);
            fail(error)
        })?;
        // Only now: if the line was taken back, the next one continues from the line before.
        self.chain = chain;
        Ok(())
    }
}

fn open(path: &Path) -> Result<File, JournalError> {
    input::open_stream(path).map_err(|source| JournalError::Io {
        what: "read",
        path: path.into(),
        source,
    })
}

/// Returns what is in a journal that this version reads.
fn known(contents: Contents, path: &Path) -> Result<HeaderAndRuns, JournalError> {
    match contents.header {
        Some(header) if header.journal == MAGIC && header.version == VERSION => {
            Ok((header, contents.records))
        }
        found => Err(JournalError::Other {
            path: path.into(),
            what: difference(
                found.as_ref(),
                &Header::new("", String::new(), String::new(), 0),
            ),
        }),
    }
}

/// Returns the bytes of the journal in `file`, and what is in them.
fn read(file: &mut File, path: &Path) -> Result<(Vec<u8>, Contents), JournalError> {
    let mut text = Vec::new();
    let read = file.take(MAX_BYTES).read_to_end(&mut text);
    read.map_err(|source| JournalError::Io {
        what: "read",
        path: path.into(),
        source,
    })?;
    match parse(&text) {
        Ok(contents) => Ok((text, contents)),
        Err(damage) => Err(JournalError::Damaged {
            path: path.into(),
            damage,
        }),
    }
}

/// Keeps other campaigns from writing `file` as long as it is open. A file that cannot be locked is
/// written all the same.
fn lock(file: &File, path: &Path) -> Result<(), JournalError> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Err(rustix::io::Errno::WOULDBLOCK) => Err(JournalError::Busy(path.into())),
        _ => Ok(()),
    }
}

/// Parses what of `text` is whole. A last line without an end is not, and is left out.
///
/// # Errors
/// The first whole line that is not what was written there.
pub fn parse(text: &[u8]) -> Result<Contents, Damage> {
    let mut contents = Contents::default();
    let mut lines = (1..)
        .zip(text.split_inclusive(|byte| *byte == b'\n'))
        .filter(|(_, line)| line.ends_with(b"\n"));
    let Some((_, first)) = lines.next() else {
        return Ok(contents);
    };
    let Ok(header) = serde_json::from_slice::<Header>(first) else {
        return Ok(contents);
    };
    // Of other versions no more is known than that they are others.
    if header.journal == MAGIC && header.version == VERSION {
        let (chain, _) = contents.chain.open(first).ok_or(changed(1))?;
        contents.chain = chain;
    }
    let (known, seed) = (header.version == VERSION, header.seed);
    let part = header.part;
    contents.header = Some(header);
    contents.good = first.len();
    for (number, line) in lines.filter(|_| known) {
        let damage = |what| Damage { line: number, what };
        let (chain, body) = contents.chain.open(line).ok_or(changed(number))?;
        let record: Record = serde_json::from_slice(&[body, b"}"].concat())
            .map_err(|_| damage("is not a run as this version writes it"))?;
        // Seeds follow from numbers, so that a line of another campaign is found out by its seed.
        if record.seed != seed_of(seed, record.run) {
            return Err(damage("has a run whose seed is none of this campaign's"));
        }
        if part.is_some_and(|Part { shard, runs }| !shard.has(record.run) || record.run >= runs) {
            return Err(damage("has a run that is not of this journal's shard"));
        }
        if contents.records.insert(record.run, record).is_some() {
            return Err(damage("has a run that a line before it has"));
        }
        contents.good += line.len();
        contents.chain = chain;
    }
    Ok(contents)
}

const fn changed(line: usize) -> Damage {
    let what = "is not what was written there: it was edited, or lines before it were dropped, added or moved";
    Damage { line, what }
}

#[cfg(test)]
mod tests;
