//! A matrix: cases on several kernels. And parts of one, run on machines of their own, which
//! together are what one machine would have.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use vmm_base::Shard;
use vmm_machine::GuestKernel;
use vmm_sanitizer::Options;

use super::host::Host;
use super::load::Case;
use super::mistakes::Sanitized;
use super::releases::Layout;
use super::run::Judged;
use super::spec::Health;
use super::undecided::Undecided;

/// The version of the format of a part.
const VERSION: u32 = 1;

/// What a matrix has of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Seen {
    /// It was judged.
    Judged {
        /// The health of the guest.
        health: Health,
        /// The signs that were seen.
        signs: Vec<String>,
        /// What is not as expected; nothing if all is.
        problems: Vec<String>,
        /// What a sanitizer says, in lines, if one looked on.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        mistakes: Vec<String>,
        /// Whether the verdict is the expected one, by whatever signs.
        verdict: bool,
        /// Instructions that the guest retired.
        instructions: u64,
    },
    /// It was not: why.
    Undecided(String),
}

impl Seen {
    /// Returns what a matrix has of a run that ended so.
    pub fn new(verdict: &Result<Judged, Undecided>) -> Self {
        match verdict {
            Ok(judged) => {
                let judgement = &judged.judgement;
                let sanitized = judged.sanitized.as_ref();
                Self::Judged {
                    health: judgement.health,
                    signs: judgement.signs.iter().cloned().collect(),
                    problems: judgement.problems.clone(),
                    mistakes: sanitized.map(Sanitized::lines).unwrap_or_default(),
                    verdict: judgement.health == judged.case.expect.verdict,
                    instructions: judged.instructions,
                }
            }
            Err(why) => Self::Undecided(why.to_string()),
        }
    }

    /// Returns whether everything is as expected.
    pub const fn is_expected(&self) -> bool {
        matches!(self, Self::Judged { problems, .. } if problems.is_empty())
    }

    /// Returns whether the verdict is the expected one. The signs that lead to it differ from
    /// kernel to kernel.
    pub const fn has_verdict(&self) -> bool {
        matches!(self, Self::Judged { verdict: true, .. })
    }
}

/// A matrix: each of its cases on each of its kernels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Matrix {
    /// The names of the cases.
    pub cases: Vec<String>,
    /// SHA-256 of what the cases are, and of what executes them.
    cases_sha256: String,
    /// The kernels.
    pub columns: Vec<Column>,
    /// The table by release, if it is to be one.
    pub releases: Option<Layout>,
}

/// The kernels of one column of a matrix.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Column {
    /// What it is called.
    pub name: String,
    /// For each image of the cases the SHA-256 of the kernel that takes the place of its own.
    kernels: BTreeMap<String, String>,
}

impl Column {
    /// Creates a column with this name, of these kernels by image.
    pub fn new(name: String, kernels: &BTreeMap<String, GuestKernel>) -> Self {
        let kernels = kernels.iter();
        let kernels = kernels.map(|(image, kernel)| (image.clone(), kernel.sha256.clone()));
        Self {
            name,
            kernels: kernels.collect(),
        }
    }
}

impl Matrix {
    /// Creates the matrix of `cases`, executed by `host` and looked at for these mistakes, and
    /// `columns`.
    pub fn new(
        host: Host,
        cases: &[Case],
        columns: Vec<Column>,
        sanitize: Option<&Options>,
    ) -> Self {
        // All that a case is, in one text: nobody reads it.
        let text = format!("{host:?} {cases:?} {sanitize:?}");
        Self {
            cases: cases.iter().map(|case| case.name.clone()).collect(),
            cases_sha256: format!("{:x}", Sha256::digest(text)),
            columns,
            releases: None,
        }
    }

    /// Returns how many runs it has. They are numbered column by column.
    pub fn runs(&self) -> u64 {
        (self.cases.len() as u64).saturating_mul(self.columns.len() as u64)
    }

    /// Returns the name of the case of a run.
    fn case(&self, run: u64) -> &str {
        // Not empty, or there would be no run.
        let case = run.checked_rem(self.cases.len() as u64);
        let case = case.and_then(|case| self.cases.get(usize::try_from(case).ok()?));
        case.map_or("", String::as_str)
    }

    /// Returns in which way another matrix is not this one; `None` if it is. What kernels are
    /// called does not count, as they may have other places on other machines.
    fn difference(&self, other: &Self) -> Option<&'static str> {
        let kernels = |matrix: &Self| {
            let columns = matrix.columns.iter();
            columns
                .map(|column| column.kernels.clone())
                .collect::<Vec<_>>()
        };
        if (&self.cases, &self.cases_sha256) != (&other.cases, &other.cases_sha256) {
            Some("its cases are others")
        } else if kernels(self) != kernels(other) {
            Some("its kernels are others")
        } else if self.releases != other.releases {
            Some("its table is another")
        } else {
            None
        }
    }
}

/// A part of a matrix that was run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// The version of the format.
    version: u32,
    /// What the whole is.
    pub matrix: Matrix,
    /// Which part of it.
    pub shard: Shard,
    /// Its runs.
    pub runs: BTreeMap<u64, Seen>,
}

impl Part {
    /// Creates a part that has these runs.
    pub const fn new(matrix: Matrix, shard: Shard, runs: BTreeMap<u64, Seen>) -> Self {
        Self {
            version: VERSION,
            matrix,
            shard,
            runs,
        }
    }
}

/// The reason for which parts are not one matrix. Parts are named by what comes with them, such as
/// their files.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum MergeError {
    /// There is none.
    #[error("there is no part")]
    Nothing,
    /// One is of a version that is not read.
    #[error("cannot use {0}: it is of version {1}, and this build reads version {VERSION}")]
    Version(String, u32),
    /// One has a table that cannot be of its cases.
    #[error("cannot use {0}: its table is not one of its cases")]
    Table(String),
    /// They are of two matrices.
    #[error("{part} is not of the matrix of {first}: {what}")]
    Other {
        /// A part.
        part: String,
        /// The first one.
        first: String,
        /// In which way.
        what: String,
    },
    /// A part has a run that cannot be in it.
    #[error("cannot use {0}: it has run {1}, which is not of its shard")]
    Damaged(String, u64),
    /// They have a run in common that was not the same.
    #[error(
        "{first} and {part} have two results of {case}: one of them was changed, or it is a bug of ours"
    )]
    Differ {
        /// A part.
        first: String,
        /// The other.
        part: String,
        /// Which case.
        case: String,
    },
    /// Runs are missing.
    #[error(
        "{missing} of {runs} runs are missing, the first is of shard {shard}: name its results too, or run it by \
         --shard {shard}"
    )]
    Incomplete {
        /// How many.
        missing: u64,
        /// Of how many.
        runs: u64,
        /// Whose the first is.
        shard: Shard,
    },
}

/// Merges parts, each with its name, in any order: the matrix, and what it has of each of its runs.
/// A run that is in several, as after a shard that was run again, counts once.
///
/// # Errors
/// They are not all of one matrix, or not all of it.
pub fn merge(parts: Vec<(String, Part)>) -> Result<(Matrix, Vec<Seen>), MergeError> {
    let mut whole: Option<(String, Matrix, Shard)> = None;
    // With the name of the part that a run came from, for a sentence.
    let mut all: BTreeMap<u64, (String, Seen)> = BTreeMap::new();
    for (name, part) in parts {
        if part.version != VERSION {
            return Err(MergeError::Version(name, part.version));
        }
        let releases = part.matrix.releases.as_ref();
        if releases.is_some_and(|layout| !layout.fits(part.matrix.cases.len())) {
            return Err(MergeError::Table(name));
        }
        let shard = part.shard;
        let (first, matrix, division) =
            &*whole.get_or_insert_with(|| (name.clone(), part.matrix.clone(), shard));
        let of_shards = || format!("it is shard {shard}, and the other is {division}");
        let what = matrix.difference(&part.matrix).map(str::to_owned);
        if let Some(what) = what.or((division.of() != shard.of()).then(of_shards)) {
            let first = first.clone();
            return Err(MergeError::Other {
                part: name,
                first,
                what,
            });
        }
        for (run, seen) in part.runs {
            if run >= matrix.runs() || !shard.has(run) {
                return Err(MergeError::Damaged(name, run));
            }
            let (from, earlier) = all
                .entry(run)
                .or_insert_with(|| (name.clone(), seen.clone()));
            if *earlier != seen {
                return Err(MergeError::Differ {
                    first: from.clone(),
                    part: name,
                    case: matrix.case(run).to_owned(),
                });
            }
        }
    }
    let (_, matrix, shard) = whole.ok_or(MergeError::Nothing)?;
    let there = all.len() as u64;
    if there < matrix.runs() {
        return Err(MergeError::Incomplete {
            missing: matrix.runs() - there,
            runs: matrix.runs(),
            shard: shard.sibling(Shard::first_missing(all.keys())),
        });
    }
    Ok((matrix, all.into_values().map(|(_, seen)| seen).collect()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::load::Lab;

    fn cases() -> Vec<Case> {
        Lab::shipped().unwrap().select("rockchip").unwrap()
    }

    fn layout() -> Layout {
        Layout::new(&cases())
    }

    fn matrix() -> Matrix {
        let cases = cases();
        let column = |name: &str| Column {
            name: name.into(),
            kernels: BTreeMap::from([("ipmmu".into(), name.into())]),
        };
        Matrix::new(Host::EMULATED, &cases, vec![column("a"), column("b")], None)
    }

    fn seen(run: u64) -> Seen {
        match run % 3 {
            0 => Seen::Undecided(format!("why {run}")),
            left => Seen::Judged {
                health: Health::Healthy,
                signs: vec![format!("sign-{run}")],
                problems: Vec::new(),
                mistakes: vec![format!("mistake-{run}")],
                verdict: left == 1,
                instructions: run,
            },
        }
    }

    fn part(matrix: &Matrix, shard: &str) -> (String, Part) {
        let shard: Shard = shard.parse().unwrap();
        let runs = shard.runs(matrix.runs()).map(|run| (run, seen(run)));
        let part = Part::new(matrix.clone(), shard, runs.collect());
        // As it would be read again.
        let text = serde_json::to_string(&part).unwrap();
        (shard.to_string(), serde_json::from_str(&text).unwrap())
    }

    proptest! {
        #[test]
        fn any_division_gives_what_one_machine_gives(of in 1_u64..9, backwards: bool, doubled: prop::sample::Index) {
            let matrix = matrix();
            let mut parts: Vec<_> = (1..=of).map(|k| part(&matrix, &format!("{k}/{of}"))).collect();
            parts.push(parts[doubled.index(parts.len())].clone());
            if backwards {
                parts.reverse();
            }
            let all: Vec<Seen> = (0..matrix.runs()).map(seen).collect();
            prop_assert_eq!(merge(parts).unwrap(), (matrix, all));
        }
    }

    #[test]
    fn what_is_not_one_matrix_is_told_in_a_sentence() {
        let matrix = matrix();
        assert!(matrix.runs() >= 4, "{matrix:?}");
        let told = |parts: &[(String, Part)]| merge(parts.to_vec()).unwrap_err().to_string();
        let (first, second) = (part(&matrix, "1/2"), part(&matrix, "2/2"));
        assert_eq!(merge(Vec::new()), Err(MergeError::Nothing));
        let all = matrix.runs();
        assert_eq!(
            told(std::slice::from_ref(&first)),
            format!(
                "{} of {all} runs are missing, the first is of shard 2/2: name its results too, or run it by \
                 --shard 2/2",
                all / 2
            )
        );
        type Change = fn(&mut Part);
        let changes: [(Change, &str); 8] = [
            (
                |part| part.version = 9,
                "cannot use 2/2: it is of version 9",
            ),
            (
                |part| part.matrix.cases_sha256.push('x'),
                "2/2 is not of the matrix of 1/2: its cases",
            ),
            (
                |part| part.matrix.columns.truncate(1),
                "its kernels are others",
            ),
            (
                |part| part.matrix.releases = Some(Layout::new(&[])),
                "its table is not one of its cases",
            ),
            (
                |part| part.matrix.releases = Some(layout()),
                "its table is another",
            ),
            (
                |part| part.shard = "2/3".parse().unwrap(),
                "it is shard 2/3, and the other is 1/2",
            ),
            (
                |part| drop(part.runs.insert(0, seen(0))),
                "it has run 0, which is not of its shard",
            ),
            (
                |part| drop(part.runs.insert(99_999, seen(1))),
                "it has run 99999",
            ),
        ];
        for (change, words) in changes {
            let (name, mut other) = second.clone();
            change(&mut other);
            let sentence = told(&[first.clone(), (name, other)]);
            assert!(sentence.contains(words), "{words}: {sentence}");
        }
        let (_, mut other) = second.clone();
        other.runs.insert(1, seen(2));
        let sentence = told(&[first, second, ("again".into(), other)]);
        assert!(
            sentence.starts_with("2/2 and again have two results of rockchip"),
            "{sentence}"
        );
    }

    #[test]
    fn other_names_of_kernels_are_the_same_matrix() {
        let matrix = matrix();
        let mut moved = matrix.clone();
        moved.columns[0].name = "/elsewhere/zImage".into();
        assert_eq!(matrix.difference(&moved), None);
    }
}
