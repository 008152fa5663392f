//! The record of a campaign on disk, a line a run, so that nothing is lost whatever ends the program.
//!
//! Each line is a JSON object whose last member, `chain`, is the SHA-256 of the `chain` of the line before (in binary; that of the
//! journal's name before the first line) and of the line's own bytes before that member. A line that was edited, dropped, added
//! or moved breaks the chain there. What was cut off at the end of a line cannot be told from a run that was killed, and
//! whoever makes the whole chain anew is not found out by it: repeating runs finds that out.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::chain::Chain;
use super::run::{Record, seed_of};
use crate::input;

/// The version of the format.
const VERSION: u32 = 2;
/// What a journal calls itself.
pub(super) const MAGIC: &str = "viommu-inject";
/// The largest journal that is read, in bytes: some millions of runs.
const MAX_BYTES: u64 = 4 << 30;

/// What a campaign is: one that differs in any of this is another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// What is written: `viommu-inject`.
    pub journal: String,
    /// The version of the format.
    pub version: u32,
    /// The plan's name or file.
    pub plan: String,
    /// SHA-256 of what the plan says.
    pub plan_sha256: String,
    /// SHA-256 of the kernel.
    pub kernel_sha256: String,
    /// The campaign's seed.
    pub seed: u64,
    /// Whether every point is walked.
    pub systematic: bool,
}

impl Header {
    /// What this version writes.
    pub fn new(plan: &str, plan_sha256: String, kernel_sha256: String, seed: u64) -> Self {
        Self {
            journal: MAGIC.into(),
            version: VERSION,
            plan: plan.into(),
            plan_sha256,
            kernel_sha256,
            seed,
            systematic: false,
        }
    }
}

/// Why there is no journal.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The host.
    #[error("cannot {what} the journal {}: {source}", path.display())]
    Io {
        /// Read, write or make.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// There is one, and nobody said to go on with it.
    #[error("the journal {} has a campaign in it: go on with it by --resume, or name another", .0.display())]
    Exists(PathBuf),
    /// It is of something else.
    #[error("cannot resume from {}: it is {what}", path.display())]
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
    #[error("cannot resume from {}: {damage}; keep the lines before it (head -n {}), or begin a new journal",
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

/// What of a journal's bytes is whole.
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

    /// Goes on with the journal at `path`, or begins it if there is none: and the runs that are in it. A last line that was
    /// not written to its end is taken away.
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
        let file = options.read(true).append(true).open(path);
        let mut file = match file {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok((Self::create(path, header)?, BTreeMap::new()));
            }
            file => file.map_err(fail)?,
        };
        lock(&file, path)?;
        let (text, contents) = read(&mut file, path)?;
        let Contents {
            header: found,
            records,
            good,
            chain,
        } = contents;
        match found {
            Some(found) if found == *header => {}
            // Killed before its first line was written.
            None if !text.contains(&b'\n') => {
                file.set_len(0).map_err(fail)?;
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
        file.set_len(good as u64).map_err(fail)?;
        file.seek(SeekFrom::End(0)).map_err(fail)?;
        let journal = Self {
            path: path.into(),
            file,
            chain,
        };
        Ok((journal, records))
    }

    /// Checks what can be checked of a journal that shall begin at `path`, or go on there if `resume`, before the kernel of
    /// its campaign is known: nothing is written.
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
        if !metadata.is_file() || metadata.len() == 0 {
            return Ok(());
        }
        if !resume {
            return Err(JournalError::Exists(path.into()));
        }
        let (text, Contents { header: found, .. }) = read(&mut file, path)?;
        let kernel = found.as_ref().map(|found| found.kernel_sha256.clone());
        let wanted = Header {
            kernel_sha256: kernel.unwrap_or_default(),
            ..header.clone()
        };
        match found {
            Some(found) if found == wanted => Ok(()),
            // Killed before its first line was written.
            None if !text.contains(&b'\n') => Ok(()),
            found => Err(JournalError::Other {
                path: path.into(),
                what: difference(found.as_ref(), &wanted),
            }),
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
        self.chain = chain;
        Ok(())
    }
}

/// The bytes of the journal in `file`, and what is in them.
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

/// Keeps other campaigns from writing `file` as long as it is open. A file that cannot be locked is written all the same.
fn lock(file: &File, path: &Path) -> Result<(), JournalError> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Err(rustix::io::Errno::WOULDBLOCK) => Err(JournalError::Busy(path.into())),
        _ => Ok(()),
    }
}

/// What of `text` is whole. A last line without an end is not, and is left out.
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
    contents.header = Some(header);
    contents.good = first.len();
    for (number, line) in lines.filter(|_| known) {
        let damage = |what| Damage { line: number, what };
        let (chain, body) = contents.chain.open(line).ok_or(changed(number))?;
        let record: Record = serde_json::from_slice(&[body, b"}"].concat())
            .map_err(|_| damage("is not a run as this version writes it"))?;
        if record.seed != seed_of(seed, record.run) {
            return Err(damage("has a run whose seed is none of this campaign's"));
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

/// In which way a journal is not that of this campaign.
fn difference(found: Option<&Header>, wanted: &Header) -> String {
    match found {
        None => "no journal of a campaign".into(),
        Some(found) if found.journal != wanted.journal => "no journal of a campaign".into(),
        Some(found) if found.version != wanted.version => format!(
            "of version {}, and this build reads version {VERSION}",
            found.version
        ),
        Some(found) if found.seed != wanted.seed => {
            format!("of seed {}, and not {}", found.seed, wanted.seed)
        }
        Some(found) if found.systematic != wanted.systematic => {
            "of another mode: --systematic must be given both times, or neither".into()
        }
        Some(found) if found.kernel_sha256 != wanted.kernel_sha256 => "of another kernel".into(),
        Some(found) => format!("of another plan, {}, or the plan was changed", found.plan),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::classify::{Outcome, Verdict};
    use super::*;

    fn header(seed: u64) -> Header {
        Header::new("p", "a".into(), "b".into(), seed)
    }

    fn record(run: u64) -> Record {
        Record {
            run,
            seed: seed_of(1, run),
            point: None,
            verdict: Verdict {
                outcome: Outcome::Unaffected,
                why: String::new(),
                said: Vec::new(),
                stack: Vec::new(),
            },
            faults: 0,
            told: Vec::new(),
            guest_ns: 1,
            instructions: 2,
            digest: "c".into(),
        }
    }

    fn written(runs: u64) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("journal");
        let mut journal = Journal::create(&path, &header(1)).unwrap();
        (0..runs).for_each(|run| journal.add(&record(run)).unwrap());
        (directory, path)
    }

    #[test]
    fn what_was_written_is_there_again_and_a_torn_line_is_not() {
        let (_directory, path) = written(3);
        let whole = std::fs::read(&path).unwrap();
        let lengths: Vec<usize> = whole
            .split_inclusive(|b| *b == b'\n')
            .map(<[u8]>::len)
            .collect();
        for cut in 0..whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let lines = lengths
                .iter()
                .scan(0, |sum, len| {
                    *sum += len;
                    Some(*sum)
                })
                .filter(|end| *end <= cut)
                .count();
            let (mut journal, records) = Journal::resume(&path, &header(1)).unwrap();
            assert_eq!(records.len(), lines.saturating_sub(1), "cut at {cut}");
            journal.add(&record(9)).unwrap();
            drop(journal);
            let (_, again) = Journal::resume(&path, &header(1)).unwrap();
            assert_eq!(again.len(), records.len() + 1, "cut at {cut}");
            assert_eq!(again[&9], record(9));
        }
    }

    #[test]
    fn another_campaign_is_refused_in_a_sentence() {
        let (_directory, path) = written(1);
        assert!(matches!(
            Journal::create(&path, &header(1)),
            Err(JournalError::Exists(_))
        ));
        let error = Journal::resume(&path, &header(2)).unwrap_err().to_string();
        assert!(error.contains("of seed 1, and not 2"), "{error}");
        let mut other = header(1);
        other.plan_sha256 = "z".into();
        let error = Journal::resume(&path, &other).unwrap_err().to_string();
        assert!(error.contains("another plan"), "{error}");
        std::fs::write(&path, "{}\n").unwrap();
        let error = Journal::resume(&path, &header(1)).unwrap_err().to_string();
        assert!(error.contains("no journal"), "{error}");
        assert_eq!(
            std::fs::read(&path).unwrap(),
            b"{}\n",
            "nothing of the user's is touched"
        );
    }

    #[test]
    fn an_edited_outcome_is_refused_with_its_line_and_what_is_before_it_can_be_kept() {
        let (_directory, path) = written(3);
        let text = std::fs::read_to_string(&path).unwrap();
        let edited = text.replacen("unaffected", "hang", 2);
        std::fs::write(&path, &edited).unwrap();
        let error = Journal::resume(&path, &header(1)).unwrap_err().to_string();
        assert!(error.contains(": line 2 is not what was written"), "{error}");
        assert!(error.contains("head -n 1"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), edited);
        let kept: String = edited.split_inclusive('\n').take(1).collect();
        std::fs::write(&path, kept).unwrap();
        assert!(Journal::resume(&path, &header(1)).unwrap().1.is_empty());
    }

    #[test]
    fn older_versions_and_journals_in_use_are_told() {
        let (_directory, path) = written(1);
        let journal = Journal::resume(&path, &header(1)).unwrap().0;
        let error = Journal::resume(&path, &header(1)).unwrap_err().to_string();
        assert!(error.contains("in use by another campaign"), "{error}");
        drop(journal);
        let mut old = header(1);
        old.version = 1;
        let line = serde_json::to_string(&old).unwrap() + "\n{}\n";
        std::fs::write(&path, line).unwrap();
        let error = Journal::resume(&path, &header(1)).unwrap_err().to_string();
        assert!(error.contains("of version 1, and this build reads version 2"), "{error}");
    }

    #[test]
    fn a_full_disk_is_told() {
        let mut journal = Journal {
            path: "/dev/full".into(),
            file: OpenOptions::new().append(true).open("/dev/full").unwrap(),
            chain: Chain::default(),
        };
        let error = journal.add(&record(1)).unwrap_err().to_string();
        assert!(
            error.starts_with("cannot write the journal /dev/full"),
            "{error}"
        );
    }

    proptest! {
        #[test]
        fn any_bytes_are_read(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            if let Ok(Contents { good, .. }) = parse(&bytes) {
                prop_assert!(good <= bytes.len());
            }
        }

        #[test]
        fn no_byte_of_a_whole_line_can_be_changed(at in any::<prop::sample::Index>(), byte: u8) {
            let (_directory, path) = written(4);
            let whole = std::fs::read(&path).unwrap();
            let mut bytes = whole.clone();
            let at = at.index(bytes.len() - 1);
            prop_assume!(bytes[at] != byte);
            bytes[at] = byte;
            let untouched = parse(&whole).unwrap();
            // A first line that is none is no journal; any other change is found.
            let found = parse(&bytes);
            let none = found.as_ref().is_ok_and(|found| found.header.as_ref() != untouched.header.as_ref());
            prop_assert!(found.is_err() || none, "{at}: {byte:#x}");
        }

        #[test]
        fn lines_that_were_dropped_doubled_or_swapped_are_found(from in 1_usize..5, to in 1_usize..5, kind in 0..3) {
            let (_directory, path) = written(5);
            let text = std::fs::read_to_string(&path).unwrap();
            let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
            match kind {
                0 => drop(lines.remove(from)),
                1 => lines.insert(from, lines[to]),
                _ => lines.swap(from, to),
            }
            prop_assume!(lines.concat() != text);
            let damage = parse(lines.concat().as_bytes()).unwrap_err();
            let first = (0..).zip(text.split_inclusive('\n')).find(|(at, line)| lines.get(*at) != Some(line));
            prop_assert_eq!(Some(damage.line), first.map(|(at, _)| at + 1));
        }
    }
}
