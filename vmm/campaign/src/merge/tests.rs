//! What shards wrote is merged as if one machine had written it, and what is not all of one
//! campaign is refused.

use proptest::prelude::*;

use super::*;
use crate::classify::{Outcome, Verdict};
use crate::run::seed_of;
use crate::{Summary, write_html, write_junit};

fn header(part: Option<Part>) -> Header {
    let mut header = Header::new("plan", "a".into(), "b".into(), 1);
    header.title = "a title".into();
    header.part = part;
    header
}

/// A run whose outcome and reason follow from its number. Most have the last of all outcomes.
fn record(run: u64) -> Record {
    let last = Outcome::ALL.len() as u64 - 1;
    let outcome = Outcome::ALL[usize::try_from((seed_of(9, run) % 40).min(last)).unwrap()];
    Record {
        run,
        seed: seed_of(1, run),
        point: None,
        more: Vec::new(),
        verdict: Verdict {
            outcome,
            why: format!(
                "reason {}",
                "abcxyz".chars().nth((run % 6) as usize).unwrap()
            ),
            said: vec![format!("line of {run}")],
            stack: Vec::new(),
        },
        faults: run % 3,
        told: Vec::new(),
        guest_ns: run,
        instructions: 2,
        blocks: Default::default(),
        mistakes: Default::default(),
        digest: format!("{run}"),
        headline: None,
    }
}

struct Place {
    directory: tempfile::TempDir,
    runs: u64,
}

impl Place {
    fn new(runs: u64) -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { directory, runs }
    }

    /// Writes a journal of these runs.
    fn journal(&self, name: &str, shard: Option<&str>, runs: impl Iterator<Item = u64>) -> PathBuf {
        let path = self.directory.path().join(name);
        let part = shard.map(|shard| Part {
            shard: shard.parse().unwrap(),
            runs: self.runs,
        });
        let mut journal = Journal::create(&path, &header(part)).unwrap();
        runs.for_each(|run| journal.add(&record(run)).unwrap());
        path
    }

    /// Writes the journals of `of` shards, each with all its runs, in an order of its own.
    fn shards(&self, of: u64, backwards: bool) -> Vec<PathBuf> {
        let mut paths: Vec<PathBuf> = (1..=of)
            .map(|number| {
                let shard = format!("{number}/{of}");
                let mut runs: Vec<u64> = shard.parse::<Shard>().unwrap().runs(self.runs).collect();
                if backwards {
                    runs.reverse();
                }
                self.journal(&number.to_string(), Some(&shard), runs.into_iter())
            })
            .collect();
        if backwards {
            paths.reverse();
        }
        paths
    }
}

/// All that is written of a campaign.
fn outputs(merged: &Merged) -> (String, Vec<u8>, Vec<u8>) {
    let records = || merged.records.values();
    let header = &merged.header;
    let summary = Summary::new(header, records());
    let (mut page, mut junit) = (Vec::new(), Vec::new());
    write_html(&summary, records(), &mut page).unwrap();
    write_junit(&summary, &[Outcome::Hang], records(), &mut junit).unwrap();
    (summary.table(), page, junit)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_division_gives_what_one_machine_gives(runs in 1_u64..80, of in 1_u64..9, backwards: bool, trim: bool) {
        let place = Place::new(runs);
        let whole = merge(&[place.journal("whole", None, 0..runs)], false).unwrap();
        prop_assert_eq!(whole.records.len() as u64, runs);
        let merged = merge(&place.shards(of, backwards), trim).unwrap();
        prop_assert_eq!(&merged.header, &whole.header);
        prop_assert_eq!(outputs(&merged), outputs(&whole));
        prop_assert_eq!(&merged.records, &whole.records);
    }
}

#[test]
fn what_is_given_up_of_many_runs_changes_no_output() {
    let place = Place::new(9_000);
    let whole = merge(&[place.journal("whole", None, 0..9_000)], false).unwrap();
    for (of, backwards) in [(1, true), (3, false)] {
        let place = Place::new(9_000);
        let merged = merge(&place.shards(of, backwards), true).unwrap();
        assert!(merged.records != whole.records, "nothing was given up");
        assert!(outputs(&merged) == outputs(&whole), "{of} shards");
    }
}

#[test]
fn a_shard_that_was_run_again_counts_once_and_two_results_of_a_run_are_told() {
    let place = Place::new(9);
    let mut paths = place.shards(3, false);
    let dead = place.journal("dead", Some("2/3"), [1, 7].into_iter());
    paths.push(dead);
    assert_eq!(merge(&paths, false).unwrap().records.len(), 9);
    let path = place.directory.path().join("other");
    let part = Part {
        shard: "2/3".parse().unwrap(),
        runs: 9,
    };
    let mut journal = Journal::create(&path, &header(Some(part))).unwrap();
    let other = Record {
        digest: "another".into(),
        ..record(4)
    };
    journal.add(&other).unwrap();
    paths.push(path);
    let error = merge(&paths, true).unwrap_err().to_string();
    let words = "two results of run 4, the digest was 4 and is another: ";
    assert!(error.contains(words), "{error}");
    assert!(
        error.contains("/2 and "),
        "the first journal that has it: {error}"
    );
}

#[test]
fn what_is_missing_is_told_with_what_to_do() {
    let place = Place::new(9);
    let paths = place.shards(3, false);
    let error = |paths: &[PathBuf]| merge(paths, true).unwrap_err().to_string();
    assert_eq!(
        error(&paths[..2]),
        "3 of 9 runs are missing, the first is run 2 of shard 3/3: name its journal too, or run it by --shard 3/3"
    );
    let dead = place.journal("dead", Some("3/3"), [2, 8].into_iter());
    let told = error(&[paths[0].clone(), paths[1].clone(), dead.clone()]);
    assert_eq!(
        told,
        format!(
            "1 of 9 runs are missing, the first is run 5 of shard 3/3: go on with {} by --shard 3/3 --resume",
            dead.display()
        )
    );
    let whole = place.journal("whole", None, [0, 1, 3].into_iter());
    let told = error(std::slice::from_ref(&whole));
    assert!(
        told.starts_with("1 of 4 runs are missing, the first is run 2: go on"),
        "{told}"
    );
    let none = place.journal("none", Some("1/1"), std::iter::empty());
    let told = error(&[none]);
    assert!(
        told.starts_with("9 of 9 runs are missing, the first is run 0"),
        "{told}"
    );
    let told = error(&[paths[0].clone(), whole]);
    assert!(
        told.contains("it is the whole campaign, and the other is shard 1/3 of 9 runs"),
        "{told}"
    );
}

#[test]
fn other_campaigns_and_files_are_refused() {
    let place = Place::new(4);
    let first = place.journal("first", Some("1/2"), [0, 2].into_iter());
    let error = |path: &Path| {
        merge(&[first.clone(), path.into()], false)
            .unwrap_err()
            .to_string()
    };
    type Change = fn(&mut Header);
    let changed: [(Change, &str); 6] = [
        (|h| h.seed = 2, "it is of seed 2, and not 1"),
        (|h| h.plan_sha256.push('x'), "it is of another plan"),
        (|h| h.kernel_sha256.push('x'), "it is of another kernel"),
        (|h| h.systematic = true, "it is of another mode"),
        (|h| h.version = 1, "it is of version 1"),
        (
            |h| h.part.as_mut().unwrap().runs = 5,
            "it is shard 2/2 of 5 runs, and the other is shard 1/2 of 4 runs",
        ),
    ];
    for (number, (change, words)) in changed.into_iter().enumerate() {
        let path = place.directory.path().join(format!("other{number}"));
        let mut header = header(Some(Part {
            shard: "2/2".parse().unwrap(),
            runs: 4,
        }));
        change(&mut header);
        drop(Journal::create(&path, &header).unwrap());
        let told = error(&path);
        assert!(told.contains(words), "{told}");
    }
    let path = place.directory.path().join("none");
    std::fs::write(&path, "hello\n").unwrap();
    assert!(error(&path).contains("it is no journal of a campaign"));
    // A name or a place of the plan makes no other campaign.
    let path = place.directory.path().join("moved");
    let mut moved = header(Some(Part {
        shard: "2/2".parse().unwrap(),
        runs: 4,
    }));
    moved.plan = "elsewhere".into();
    let mut journal = Journal::create(&path, &moved).unwrap();
    for run in [1, 3] {
        journal.add(&record(run)).unwrap();
    }
    assert_eq!(merge(&[first, path], false).unwrap().header, header(None));
}

#[test]
fn a_run_that_is_not_of_its_shard_is_damage() {
    let place = Place::new(4);
    for runs in [vec![0, 1], vec![0, 4]] {
        let path = place.journal(&format!("{runs:?}"), Some("1/2"), runs.into_iter());
        let error = merge(&[path], false).unwrap_err().to_string();
        assert!(
            error.contains("line 3 has a run that is not of this journal's shard"),
            "{error}"
        );
    }
}

/// A shard that is guided reads what the others have so far, and its own journal may be among
/// theirs.
#[test]
fn of_other_shards_that_is_known_which_they_have_so_far() {
    let place = Place::new(10);
    let at = |name: &str| place.directory.path().join(name);
    let mut paths = place.shards(3, true);
    let own = paths[0].clone();
    paths.extend([at("missing"), at("begun")]);
    std::fs::write(at("begun"), "{\"journal\":\"viommu-in").unwrap();
    let part = |shard: &str| Part {
        shard: shard.parse().unwrap(),
        runs: place.runs,
    };
    let header = header(Some(part("1/3")));
    let known = others(&paths, &own, &header).unwrap();
    assert!(known.keys().eq(&[1, 2, 4, 5, 7, 8]), "{known:?}");
    assert!(known.values().all(|record| record.verdict.said.is_empty()));
    let fewer = place.journal("fewer", Some("2/3"), [4].into_iter());
    let known = others(&[fewer], &own, &header).unwrap();
    assert!(known.keys().eq(&[4]));
    for (shard, words) in [
        (Some("2/4"), "shard 2/4 of 10 runs"),
        (None, "the whole campaign"),
    ] {
        let other = place.journal("other", shard, [1].into_iter());
        let error = others(std::slice::from_ref(&other), &own, &header);
        let error = error.unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
        std::fs::remove_file(other).unwrap();
    }
}
