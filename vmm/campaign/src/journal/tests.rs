//! What was written is there again, and what was changed is found.

use proptest::prelude::*;

use super::*;
use crate::classify::{Outcome, Verdict};

fn header(seed: u64) -> Header {
    Header::new("p", "a".into(), "b".into(), seed)
}

fn record(run: u64) -> Record {
    Record {
        run,
        seed: seed_of(1, run),
        point: None,
        more: Vec::new(),
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
        blocks: Default::default(),
        mistakes: Default::default(),
        digest: "c".into(),
        headline: None,
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
fn an_edited_outcome_is_refused_with_its_line_and_what_is_before_it_can_be_kept() {
    let (_directory, path) = written(3);
    let text = std::fs::read_to_string(&path).unwrap();
    let edited = text.replacen("unaffected", "hang", 2);
    std::fs::write(&path, &edited).unwrap();
    let error = Journal::resume(&path, &header(1)).unwrap_err().to_string();
    assert!(
        error.contains(": line 2 is not what was written"),
        "{error}"
    );
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
    assert!(
        error.contains(&format!(
            "of version 1, and this build reads version {VERSION}"
        )),
        "{error}"
    );
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
