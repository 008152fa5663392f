//! Runs that fail, and records that were edited.

use super::*;
use vmm_faults::spec::ScenarioName;

/// Fails before there is a machine.
struct Broken {
    panics: bool,
}

impl Start for Broken {
    fn start(&self, _: &Arc<Injection>, _: Viewer<'_>) -> Result<Started, CampaignError> {
        assert!(!self.panics, "a bug");
        Err(CampaignError::Unwell("no memory".into()))
    }
}

#[test]
fn a_machine_that_fails_is_an_outcome() {
    let scenario = Scenario::new(ScenarioName::Plain);
    for (panics, words) in [
        (false, "without faults: no memory"),
        (true, "it panicked: a bug"),
    ] {
        let runner = Runner {
            start: &Broken { panics },
            scenario: &scenario,
            functions: Functions::default(),
            conditions: Conditions::default(),
            usual: Lines::default(),
            code: None,
        };
        let task = Task {
            run: 3,
            seed: 4,
            rules: Vec::new(),
            point: None,
            more: Vec::new(),
            survey: false,
        };
        let Record { run, verdict, .. } = runner.run(&task, None).record;
        assert_eq!((run, verdict.outcome), (3, Outcome::VmmError));
        assert!(verdict.why.ends_with(words), "{}", verdict.why);
    }
}

#[test]
fn whatever_of_a_record_is_edited_is_a_difference() {
    let record = Record {
        run: 3,
        seed: 4,
        point: Some((0, 1)),
        more: vec![(0, 2)],
        verdict: Verdict {
            outcome: Outcome::Recovered,
            why: "an error was told".into(),
            said: vec!["I/O error".into()],
            stack: Vec::new(),
        },
        faults: 1,
        told: Vec::new(),
        guest_ns: 5,
        instructions: 6,
        blocks: BTreeSet::new(),
        mistakes: Mistakes {
            counts: [(vmm_sanitizer::Kind::Leak, 2)].into(),
            reports: Vec::new(),
        },
        digest: "ab".into(),
        headline: None,
    };
    assert_eq!(record.difference(&record), None);
    type Edit = fn(&mut Record);
    let edits: [(Edit, &str); 11] = [
        (|r| r.verdict.outcome = Outcome::Hang, "the outcome was "),
        (|r| r.verdict.why.clear(), "the reason was"),
        (|r| r.faults = 0, "the number of faults was 0 and is 1"),
        (
            |r| r.instructions = 0,
            "the number of instructions was 0 and is 6",
        ),
        (|r| r.guest_ns = 0, "the guest's time in ns was 0 and is 5"),
        (|r| r.digest = "cd".into(), "the digest was cd and is ab"),
        (|r| r.point = None, "the point was another"),
        (|r| r.more.clear(), "the point was another"),
        (|r| r.blocks.extend([3]), "the code that it reached"),
        (
            |r| r.mistakes.counts.clear(),
            "the number of mistakes with DMA was ",
        ),
        (|r| r.verdict.said[0].push('!'), "what was said"),
    ];
    for (edit, words) in edits {
        let mut edited = record.clone();
        edit(&mut edited);
        let what = edited.difference(&record).expect(words);
        assert!(what.starts_with(words), "{what}");
    }
    let mut trimmed = record.clone();
    trimmed.verdict.said.clear();
    assert_eq!(
        trimmed.difference(&record),
        None,
        "nothing is left to compare"
    );
}

#[test]
fn each_run_has_its_own_seed() {
    let seeds: BTreeSet<u64> = (0..1_000).map(|run| seed_of(7, run)).collect();
    assert_eq!(seeds.len(), 1_000);
    assert_eq!(seed_of(7, 3), seed_of(7, 3));
    assert_ne!(seed_of(7, 3), seed_of(8, 3));
}
