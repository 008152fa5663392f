//! Merging journals of a campaign that ran in shards: the result is that of one machine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use vmm_base::Shard;

use super::campaign::RetentionPolicy;
use super::journal::{Header, Journal, JournalError, Part, header};
use super::run::Record;

/// The whole of a campaign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merged {
    /// What it is; it has no part.
    pub header: Header,
    /// All its runs.
    pub records: BTreeMap<u64, Record>,
}

/// The reason for which journals are not one campaign.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// One cannot be read, or was changed.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// They are of two.
    #[error("{} is not of the campaign of {}: it is {what}", path.display(), first.display())]
    Other {
        /// One journal.
        path: PathBuf,
        /// The first one.
        first: PathBuf,
        /// Of what it is.
        what: String,
    },
    /// They have a run in common that was not the same.
    #[error(
        "{} and {} have two results of run {run}, {what}: one of them was changed, or it is a bug of ours; \
         `vmm inject PLAN --run {run}` tells which", first.display(), second.display()
    )]
    Differ {
        /// One journal.
        first: PathBuf,
        /// The other.
        second: PathBuf,
        /// Which run.
        run: u64,
        /// In what.
        what: String,
    },
    /// Runs are missing.
    #[error("{missing} of {runs} runs are missing, the first is run {run}{}", advice(*.shard, .journal.as_deref()))]
    Incomplete {
        /// How many.
        missing: u64,
        /// Of how many.
        runs: u64,
        /// The first of them.
        run: u64,
        /// Whose it is.
        shard: Option<Shard>,
        /// The journal of that shard, if it is among those given.
        journal: Option<PathBuf>,
    },
}

fn advice(shard: Option<Shard>, journal: Option<&Path>) -> String {
    match (shard, journal) {
        (Some(shard), Some(journal)) => format!(
            " of shard {shard}: go on with {} by --shard {shard} --resume",
            journal.display()
        ),
        (Some(shard), None) => {
            format!(" of shard {shard}: name its journal too, or run it by --shard {shard}")
        }
        (None, _) => ": go on with the journal by --resume".into(),
    }
}

/// A journal among others.
struct Given<'p> {
    path: &'p Path,
    part: Option<Part>,
}

/// Merges journals, in any order. A run that is in several, as after a shard that was run again,
/// counts once. With `retention`, of runs that tables and pages do not show only that is kept which
/// sums need.
///
/// # Errors
/// They are not all of one campaign, or not all of it.
pub fn merge(paths: &[PathBuf], retention: bool) -> Result<Merged, MergeError> {
    let mut all: Option<Merged> = None;
    let mut given: Vec<Given<'_>> = Vec::new();
    // Which of them a run came from, for a sentence.
    let mut from: BTreeMap<u64, usize> = BTreeMap::new();
    for path in paths {
        let (header, records) = Journal::contents(path)?;
        let merged = all.get_or_insert_with(|| Merged {
            header: header.of_all(),
            records: BTreeMap::new(),
        });
        check(&header, merged, path, given.first())?;
        // One for each journal, as they come in no order of runs: what is left is bounded by how
        // many journals there are.
        let mut policy = retention.then(RetentionPolicy::default);
        for (run, mut record) in records {
            let earlier = merged.records.get(&run);
            if let Some(what) = earlier.and_then(|earlier| earlier.difference(&record)) {
                let first = given[from[&run]].path;
                return Err(MergeError::Differ {
                    first: first.into(),
                    second: path.clone(),
                    run,
                    what,
                });
            }
            policy
                .iter_mut()
                .for_each(|policy| policy.trim(&mut record));
            from.entry(run).or_insert(given.len());
            merged.records.entry(run).or_insert(record);
        }
        given.push(Given {
            path,
            part: header.part,
        });
    }
    let merged = all.unwrap_or_else(|| Merged {
        header: Header::new("", String::new(), String::new(), 0),
        records: BTreeMap::new(),
    });
    complete(&merged, &given)?;
    Ok(merged)
}

/// Returns the runs that other shards of a campaign have made so far: those in these journals,
/// which may still be written, or not be there yet. `own` and `header` are this shard's journal and
/// what begins it; its own runs are left out. Of a run that is kept which guides a campaign.
///
/// # Errors
/// One is of another campaign or cannot be read, or two have a run in common that was not the same.
pub fn others(
    paths: &[PathBuf],
    own: &Path,
    header: &Header,
) -> Result<BTreeMap<u64, Record>, MergeError> {
    let mut merged = Merged {
        header: header.of_all(),
        records: BTreeMap::new(),
    };
    let own = Given {
        path: own,
        part: header.part,
    };
    let is_own = |run: u64| header.part.is_some_and(|part| part.shard.has(run));
    let mut from: BTreeMap<u64, &Path> = BTreeMap::new();
    for path in paths {
        let Some((other, records)) = Journal::contents_so_far(path)? else {
            continue;
        };
        check(&other, &mut merged, path, Some(&own))?;
        for (run, mut record) in records.into_iter().filter(|(run, _)| !is_own(*run)) {
            let earlier = merged.records.get(&run);
            if let Some(what) = earlier.and_then(|earlier| earlier.difference(&record)) {
                return Err(MergeError::Differ {
                    first: from[&run].into(),
                    second: path.clone(),
                    run,
                    what,
                });
            }
            record.trim();
            from.entry(run).or_insert(path);
            merged.records.entry(run).or_insert(record);
        }
    }
    Ok(merged.records)
}

/// Checks that a journal is of the campaign of those before it, and a part as they are.
fn check(
    header: &Header,
    merged: &mut Merged,
    path: &Path,
    first: Option<&Given<'_>>,
) -> Result<(), MergeError> {
    let other = |what| MergeError::Other {
        path: path.into(),
        first: first.map_or(path, |first| first.path).into(),
        what,
    };
    if let Some(what) = header.of_all().difference(&merged.header) {
        return Err(other(what));
    }
    let division = |part: Part| (part.shard.of(), part.runs);
    match first {
        Some(first) if first.part.map(division) != header.part.map(division) => {
            Err(other(format!(
                "{}, and the other is {}",
                header::part(header.part),
                header::part(first.part)
            )))
        }
        _ => Ok(()),
    }
}

/// Checks that all runs are there.
fn complete(merged: &Merged, given: &[Given<'_>]) -> Result<(), MergeError> {
    let part = given.first().and_then(|first| first.part);
    let last = merged.records.last_key_value();
    // A journal of a whole campaign does not say how many runs were to be: it may go on.
    let runs = part.map_or(last.map_or(0, |(run, _)| run.saturating_add(1)), |part| {
        part.runs
    });
    let there = merged.records.len() as u64;
    if there == runs {
        return Ok(());
    }
    // Numbers are all below `runs`: of shards the reader of journals has seen to it.
    let run = Shard::first_missing(merged.records.keys());
    let shard = part.map(|part| part.shard.sibling(run));
    let owner = given
        .iter()
        .find(|one| shard.is_some() && one.part.map(|part| part.shard) == shard);
    Err(MergeError::Incomplete {
        missing: runs - there,
        runs,
        run,
        shard,
        journal: owner.map(|owner| owner.path.into()),
    })
}

#[cfg(test)]
mod tests;
