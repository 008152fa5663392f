//! The record of a campaign on disk, a line a run, so that nothing is lost whatever ends the program.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::run::Record;
use crate::atomic_file::reason;

/// The version of the format.
const VERSION: u32 = 1;
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
            journal: "viommu-inject".into(),
            version: VERSION,
            plan: plan.into(),
            plan_sha256,
            kernel_sha256,
            seed,
            systematic: false,
        }
    }

    /// Whether both are of one campaign. A plan is what it says: its file may have another name or place now.
    fn is_same_campaign(&self, other: &Self) -> bool {
        let plan = self.plan.clone();
        *self
            == Self {
                plan,
                ..other.clone()
            }
    }
}

/// Why there is no journal.
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
}

/// A journal that is being written.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
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
        let mut journal = Self {
            path: path.into(),
            file,
        };
        journal.line(header)?;
        Ok(journal)
    }

    /// Goes on with the journal at `path`, or begins it if there is none: and the runs that are in it. A last line that was
    /// not written to its end is taken away.
    ///
    /// # Errors
    /// It is of another campaign, or the host refuses.
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
        let mut text = Vec::new();
        let mut limited = (&mut file).take(MAX_BYTES);
        limited.read_to_end(&mut text).map_err(fail)?;
        let (found, records, good) = parse(&text);
        match found {
            Some(found) if found.is_same_campaign(header) => {}
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
        };
        Ok((journal, records))
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
        line.push(b'\n');
        let before = self.file.metadata().map_err(fail)?.len();
        self.file.write_all(&line).map_err(|error| {
            // Best effort: a torn line is tolerated too.
            let _ = self.file.set_len(before);
            fail(error)
        })
    }
}

/// The header, the runs, and how many bytes of `text` are whole lines that make sense.
pub fn parse(text: &[u8]) -> (Option<Header>, BTreeMap<u64, Record>, usize) {
    let mut lines = text.split_inclusive(|byte| *byte == b'\n');
    let whole = |line: &&[u8]| line.ends_with(b"\n");
    let mut good = 0;
    let mut records = BTreeMap::new();
    let first = lines.next().filter(whole);
    let header = first.and_then(|line| serde_json::from_slice(line).ok());
    if header.is_none() {
        return (None, records, 0);
    }
    good += first.map_or(0, <[u8]>::len);
    for line in lines.filter(whole) {
        let Ok(record) = serde_json::from_slice::<Record>(line) else {
            break;
        };
        good += line.len();
        records.insert(record.run, record);
    }
    (header, records, good)
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
            seed: run * 3,
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
        other.plan = "the same plan elsewhere".into();
        assert_eq!(Journal::resume(&path, &other).unwrap().1.len(), 1);
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
    fn a_full_disk_is_told() {
        let mut journal = Journal {
            path: "/dev/full".into(),
            file: OpenOptions::new().append(true).open("/dev/full").unwrap(),
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
            let (_, _, good) = parse(&bytes);
            prop_assert!(good <= bytes.len());
        }
    }
}
