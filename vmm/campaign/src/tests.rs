//! Each kind of fault of devices and lines, at its point; those of IOMMUs are tested in the
//! library.

use std::sync::{Arc, Mutex};

use vmm_base::Interrupt;
use vmm_faults::spec::{FaultPoint, QueueFault};
use vmm_faults::testing::{armed, rules};
use vmm_faults::{FaultAction, FaultyLine, Injection, Stretch};

use super::campaign::RetentionPolicy;
use super::classify::{Outcome, Verdict};
use super::journal::Header;
use super::run::Record;
use super::{FaultAt, Pairs, Point, Reached, Site, Summary, Walk, Walked};

#[derive(Default)]
struct Seen(Mutex<Vec<bool>>);

impl Interrupt for Seen {
    fn set(&self, level: bool) {
        self.0.lock().unwrap().push(level);
    }
}

fn watched(what: &str) -> (FaultyLine, Arc<Seen>, Arc<Injection>) {
    let injection = armed(&format!("where = \"interrupt\"\n{what}"));
    let seen = Arc::new(Seen::default());
    let line = FaultyLine::new(seen.clone(), &injection, "disk0");
    (line, seen, injection)
}

fn levels(seen: &Seen) -> Vec<bool> {
    seen.0.lock().unwrap().clone()
}

#[test]
fn a_lost_interrupt_is_not_seen_until_it_is_raised_again() {
    let (line, seen, injection) = watched("what = \"lost\"");
    line.set(true);
    assert!(levels(&seen).is_empty());
    line.set(true);
    assert_eq!(levels(&seen), [true]);
    line.set(false);
    assert_eq!(levels(&seen), [true, false]);
    assert_eq!(injection.account().faults, 1);
}

#[test]
fn a_late_interrupt_comes_with_its_alarm() {
    let (line, seen, injection) = watched("what = \"late\"\ndelay = \"5us\"");
    line.set(true);
    assert_eq!(
        (levels(&seen), injection.next_alarm()),
        (vec![], Some(5_000))
    );
    line.release();
    assert_eq!(levels(&seen), [true]);
}

#[test]
fn repeated_and_spurious_interrupts_set_alarms() {
    let (line, seen, injection) = watched("what = \"repeated\"\ncount = 2\ndelay = \"1us\"");
    line.set(true);
    line.set(false);
    assert_eq!(levels(&seen), [true, false], "the one that there is");
    assert_eq!(injection.next_alarm(), Some(1_000));
    line.force(true);
    line.release();
    assert_eq!(levels(&seen), [true, false, true, false]);
    let (line, _, injection) = watched("what = \"spurious\"\ndelay = \"2us\"");
    line.set(true);
    assert_eq!(injection.next_alarm(), Some(2_000));
}

#[test]
fn rules_are_about_their_points_only_and_none_before_the_scenario() {
    let text = "[[fault]]\nwhere = \"queue\"\nwhat = \"lost\"\ndevice = \"disk1\"\n[[fault]]\nwhere \
        = \"queue\"\nwhat = \"reset\"\nwhen = { nth = 2 }\n";
    let injection = Injection::new();
    let at = |device: &str| {
        let action = injection.at(device, 1, |_: &FaultAction<QueueFault>| String::new());
        action.map(|action| action.fault.to_string())
    };
    assert_eq!(at("disk1"), None);
    assert!(injection.account().points.is_empty());
    injection.arm(&rules(text), 1);
    assert_eq!(at("disk0"), None);
    assert_eq!(
        at("disk1").as_deref(),
        Some("lost"),
        "the first rule that strikes"
    );
    assert_eq!(at("disk1"), None);
    let account = injection.account();
    assert_eq!((account.seen, account.faults), (vec![2, 3], 1));
    assert_eq!(account.told[0].text, "queue of disk1: lost");
}

fn record(run: u64, outcome: Outcome, why: &str) -> Record {
    Record {
        run,
        seed: run,
        point: None,
        more: Vec::new(),
        verdict: Verdict {
            outcome,
            why: why.into(),
            said: vec!["a <b>".into()],
            stack: Vec::new(),
        },
        faults: run,
        told: Vec::new(),
        guest_ns: 1_000_000,
        instructions: 1,
        blocks: Default::default(),
        mistakes: Default::default(),
        digest: String::new(),
        headline: None,
    }
}

fn header() -> Header {
    let mut header = Header::new("p", "a".into(), "b".into(), 7);
    header.title = "t".into();
    header
}

#[test]
fn a_campaign_is_summed_up_and_every_outcome_can_be_repeated() {
    let records = [
        record(0, Outcome::Unaffected, ""),
        record(1, Outcome::Hang, "at 0x10"),
        record(2, Outcome::Hang, "at 0x20"),
        record(3, Outcome::VmmError, "<bug>"),
    ];
    let summary = Summary::new(&header(), records.iter());
    assert_eq!((summary.runs, summary.faults, summary.faultless), (4, 6, 1));
    assert_eq!(summary.count(Outcome::Hang), 2);
    let table = summary.table();
    assert!(table.contains("2 x at 0x10"), "{table}");
    assert!(
        table.contains("vmm inject p --seed 7 --run 1 --timeline"),
        "{table}"
    );
    assert!(
        table.contains("vmm inject p --seed 7 --run 1 --gdb 1234"),
        "{table}"
    );
    let mut page = Vec::new();
    super::write_html(&summary, records.iter(), &mut page).unwrap();
    let page = String::from_utf8(page).unwrap();
    assert!(
        page.contains("&#60;bug&#62;") && !page.contains("<bug>"),
        "{page}"
    );
    let mut xml = Vec::new();
    super::write_junit(&summary, &[Outcome::Hang], records.iter(), &mut xml).unwrap();
    let xml = String::from_utf8(xml).unwrap();
    assert!(
        xml.contains("tests=\"4\" failures=\"2\" errors=\"1\""),
        "{xml}"
    );
}

#[test]
fn crashes_are_told_apart_by_their_place_and_surprises_by_their_words() {
    let crash = |run: u64, place: &str| {
        let mut record = record(
            run,
            Outcome::Crash,
            &format!("Unable to handle address {run}"),
        );
        record.verdict.stack = vec!["[a] *pgd=0".into(), format!("PC is at {place}+0xc/0x160")];
        record
    };
    let mut surprise = record(
        9,
        Outcome::Recovered,
        "------------[ cut here ]------------",
    );
    surprise.verdict.said = vec![surprise.verdict.why.clone(), "WARNING: CPU: 0 at f".into()];
    let records = [crash(1, "f"), crash(2, "g"), crash(3, "f"), surprise];
    let summary = Summary::new(&header(), records.iter());
    let told = |group: usize| {
        let reasons = summary.groups[group].reasons.iter();
        reasons
            .map(|reason| (&*reason.why, reason.runs))
            .collect::<Vec<_>>()
    };
    assert_eq!(told(0), [("WARNING: CPU: 0 at f", 1)]);
    let f = "PC is at f+0xc/0x160: Unable to handle address 1";
    let g = "PC is at g+0xc/0x160: Unable to handle address 2";
    assert_eq!(told(1), [(f, 2), (g, 1)]);
}

#[test]
fn what_is_kept_of_runs_that_end_alike_is_bounded() {
    let mut retention = RetentionPolicy::default();
    let mut kept = |outcome, runs: &mut dyn Iterator<Item = u64>| {
        runs.filter(|run| {
            let mut record = record(*run, outcome, "why");
            retention.trim(&mut record);
            assert_eq!((record.run, &*record.verdict.why), (*run, "why"));
            !record.verdict.said.is_empty()
        })
        .count()
    };
    for outcome in Outcome::ALL {
        assert_eq!(kept(outcome, &mut (10..5_010)), 2_000, "{outcome}");
        assert_eq!(kept(outcome, &mut (5_010..9_000)), 0, "{outcome}");
        // One that ends late and stands before those is shown in the place of one of them.
        assert_eq!(kept(outcome, &mut (0..10)), 10, "{outcome}");
    }
}

#[test]
fn what_tables_say_of_a_run_does_not_depend_on_what_is_kept_of_it() {
    let mut crash = record(1, Outcome::Crash, "Unable to handle address 1");
    crash.verdict.stack = vec!["PC is at f+0xc/0x160".into()];
    let whole = Summary::new(&header(), std::iter::once(&crash));
    crash.trim();
    assert!(crash.verdict.stack.is_empty());
    assert_eq!(Summary::new(&header(), std::iter::once(&crash)), whole);
}

#[test]
fn the_command_of_a_run_has_all_that_the_run_depends_on() {
    let mut header = Header::new("my plan.toml", "a".into(), "b".into(), 7);
    header.vmlinux = Some("/tmp/it's/vmlinux".into());
    let command = |header: &Header| Summary::new(header, std::iter::empty()).command(3);
    assert_eq!(
        command(&header),
        "vmm inject 'my plan.toml' --vmlinux '/tmp/it'\\''s/vmlinux' --seed 7 --run 3 --timeline run-3.html"
    );
    (header.plan, header.vmlinux) = ("flush".into(), Some("debian-armmp-6.12".into()));
    let gdb = Summary::new(&header, std::iter::empty()).debug_command(3);
    assert_eq!(
        gdb,
        "vmm inject flush --vmlinux debian-armmp-6.12 --seed 7 --run 3 --gdb 1234"
    );
    header.systematic = true;
    assert_eq!(
        command(&header),
        "vmm inject flush --systematic --vmlinux debian-armmp-6.12 --seed 7 --run 3 --timeline run-3.html"
    );
    (header.pairs, header.vmlinux) = (true, None);
    assert_eq!(
        command(&header),
        "vmm inject flush --systematic pairs --seed 7 --run 3 --timeline run-3.html"
    );
}

/// A walk of two faults: a register that is read twice, elsewhere once, and a flush that never
/// comes.
fn walk() -> Walk {
    let site = |place: FaultPoint, part: &str, points: u64| Reached {
        site: Site {
            point: Point {
                place,
                device: "ipmmu0".into(),
            },
            part: part.into(),
        },
        points,
    };
    let stretches = vec![
        Stretch { site: 0, points: 2 },
        Stretch { site: 1, points: 1 },
    ];
    Walk {
        sites: vec![
            site(FaultPoint::RegisterRead, "IMSTR", 2),
            site(FaultPoint::RegisterRead, "IMCTR", 1),
            site(FaultPoint::RegisterWrite, "IMCTR", 4),
        ],
        faults: vec![
            Walked {
                what: "flip <b>".into(),
                stretches,
            },
            Walked {
                what: "stuck".into(),
                stretches: Vec::new(),
            },
        ],
    }
}

#[test]
fn a_walk_says_what_it_covered() {
    let mut header = header();
    (header.systematic, header.pairs, header.walk) = (true, true, Some(walk()));
    let at = |run: u64, outcome, faults: u64, point, second: Option<FaultAt>| {
        let mut record = record(run, outcome, "why");
        (record.faults, record.point) = (faults, Some(point));
        record.more.extend(second);
        record
    };
    let records = [
        at(0, Outcome::Hang, 1, (0, 1), None),
        at(1, Outcome::Recovered, 1, (0, 2), None),
        // As if the guest had not come there this time.
        at(2, Outcome::Unaffected, 0, (0, 3), None),
        at(3, Outcome::Hang, 2, (0, 1), Some((0, 2))),
        at(4, Outcome::Hang, 1, (0, 2), Some((0, 3))),
        // A journal may say anything.
        at(5, Outcome::Hang, 1, (7, 9), None),
    ];
    let summary = Summary::new(&header, records.iter());
    let coverage = summary.coverage.as_ref().expect("a walk");
    assert_eq!((coverage.reached, coverage.points), (7, 3));
    assert_eq!((coverage.injected, coverage.outcomes), (2, 3));
    let pairs = Pairs {
        of: 3,
        runs: 2,
        both: 1,
    };
    assert_eq!(coverage.pairs, Some(pairs));
    let table = summary.table();
    for words in [
        "7 points reached, of which the plan's faults have 3; 2 of these injected; different outcomes: 3",
        "2 of 3 pairs of points run, in 1 of which both faults happened",
        "1 register-read of ipmmu0 (IMSTR): flip <b>         2 of 2      reported and recovered 1, hang 1",
        "1 register-read of ipmmu0 (IMCTR): flip <b>         0 of 1      unaffected 1",
        "2 no point: stuck                                   0 of 0",
        "no fault of the plan: register-write of ipmmu0 (IMCTR) 4",
    ] {
        assert!(table.contains(words), "{words}: {table}");
    }
    let mut page = Vec::new();
    super::write_html(&summary, records.iter(), &mut page).unwrap();
    let page = String::from_utf8(page).unwrap();
    assert!(page.contains("IMSTR): flip &#60;b&#62;"), "{page}");
    let mut xml = Vec::new();
    super::write_junit(&summary, &[], records.iter(), &mut xml).unwrap();
    let xml = String::from_utf8(xml).unwrap();
    for words in [
        "<property name=\"points-injected\" value=\"2\"/>",
        "<property name=\"pairs-run\" value=\"2\"/>",
        "name=\"run 4: register-read of ipmmu0 (IMSTR), point 2: flip &lt;b&gt;; register-read of \
            ipmmu0 (IMCTR), point 3",
    ] {
        assert!(xml.contains(words), "{words}: {xml}");
    }
}
