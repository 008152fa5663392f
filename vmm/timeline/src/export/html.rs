//! A page that shows a report in any browser, without a network.
//!
//! The page is a template; its style and its scripts are files of their own beside it. The report
//! is put in as JSON that cannot end its element; the script shows every text of it as text. A
//! policy in the page forbids all requests.

use std::io::{self, Write};

use askama::Template;
use serde::Serialize;

use super::describe::{Tone, bytes, details, lane_type, outcome, place, seconds, state, summary};
use super::text;
use crate::{Category, Finding, Lane, Mark, Report, Run, State, VerdictKind, visible};

const STYLE: &str = include_str!("html/style.css");
const TIME: &str = include_str!("html/time.js");
const TIMELINE: &str = include_str!("html/timeline.js");
const SCRIPT: &str = include_str!("html/script.js");

/// The page, with what stands in its places.
#[derive(Template)]
#[template(path = "page.html")]
struct Document<'r> {
    title: &'r str,
    plain: &'r str,
    data: &'r Page,
    style: &'static str,
    time: &'static str,
    timeline: &'static str,
    script: &'static str,
}

/// Writes `report` as one HTML page.
///
/// # Errors
/// `out` cannot be written.
pub fn write(report: &Report, out: &mut dyn Write) -> io::Result<()> {
    let mut plain = Vec::new();
    // Shown by browsers that run no scripts.
    text::write(report, &mut plain)?;
    let data = Page::of(report);
    let document = Document {
        title: &data.title,
        plain: &String::from_utf8_lossy(&plain),
        data: &data,
        style: STYLE,
        time: TIME,
        timeline: TIMELINE,
        script: SCRIPT,
    };
    document.write_into(out)
}

/// The data that the script gets: words are chosen here, once for all formats; the script only lays
/// out.
#[derive(Serialize)]
struct Page {
    title: String,
    outcome: VerdictKind,
    outcome_word: &'static str,
    sentence: String,
    categories: Vec<&'static str>,
    subjects: Vec<String>,
    runs: Vec<PageRun>,
}

#[derive(Serialize)]
struct PageRun {
    name: String,
    behaviour: String,
    health: Mark,
    outcome: VerdictKind,
    outcome_word: &'static str,
    sentence: String,
    findings: Vec<Option<Finding>>,
    decisive: Vec<PageDecisive>,
    changes: Vec<Vec<String>>,
    machine: Vec<(String, String)>,
    end: u64,
    lanes: Vec<PageLane>,
    /// at, until, lane, category, tone, core (-1 for none), text, details: an array is half as long
    /// as an object.
    events: Vec<PageEvent>,
    /// lane, from, until, class, text
    states: Vec<(u16, u64, u64, &'static str, String)>,
    dropped: Vec<(&'static str, u64)>,
}

type PageEvent = (u64, u64, u16, usize, u8, i16, String, Vec<(String, String)>);

#[derive(Serialize)]
struct PageDecisive {
    event: u32,
    mark: Mark,
    meaning: String,
}

#[derive(Serialize)]
struct PageLane {
    label: String,
    r#type: &'static str,
    /// The part that a device plays, a letter or so.
    role: Option<String>,
}

impl Page {
    fn of(report: &Report) -> Self {
        let subjects = report.subjects();
        Self {
            title: visible(&report.title),
            outcome: report.verdict.outcome,
            outcome_word: outcome(report.verdict.outcome),
            sentence: visible(&report.verdict.sentence),
            categories: Category::ALL.map(Category::plural).to_vec(),
            runs: report
                .runs
                .iter()
                .map(|run| PageRun::of(run, &subjects))
                .collect(),
            subjects: subjects.into_iter().map(visible).collect(),
        }
    }
}

impl PageRun {
    fn of(run: &Run, subjects: &[&str]) -> Self {
        let timeline = &run.timeline;
        // One place for each subject, also where this run has nothing: rows are compared across
        // runs.
        let mut findings: Vec<Option<Finding>> = subjects
            .iter()
            .map(|subject| run.finding(subject).cloned())
            .collect();
        // Texts of the guest may hold characters that hide or reorder others.
        for finding in findings.iter_mut().flatten() {
            for text in [
                &mut finding.subject,
                &mut finding.hypervisor.text,
                &mut finding.guest.text,
            ] {
                *text = visible(text);
            }
        }
        Self {
            name: visible(&run.name),
            behaviour: visible(&run.behaviour),
            health: run.health,
            outcome: run.verdict.outcome,
            outcome_word: outcome(run.verdict.outcome),
            sentence: visible(&run.verdict.sentence),
            findings,
            decisive: run
                .decisive
                .iter()
                // The script uses the numbers as indices without a check.
                .filter(|item| timeline.event(item.event).is_some())
                .map(|item| PageDecisive {
                    event: item.event.0,
                    mark: item.mark,
                    meaning: visible(&item.meaning),
                })
                .collect(),
            changes: changes(run),
            machine: machine(run),
            end: timeline.end,
            lanes: timeline
                .lanes
                .iter()
                .map(|lane| PageLane::of(lane, run))
                .collect(),
            events: events(run),
            states: timeline
                .intervals
                .iter()
                .map(|interval| {
                    (
                        interval.lane.0,
                        interval.from,
                        interval.until,
                        state_class(&interval.state),
                        visible(&state(&interval.state)),
                    )
                })
                .collect(),
            dropped: timeline
                .dropped
                .iter()
                .map(|dropped| (dropped.category.plural(), dropped.count))
                .collect(),
        }
    }
}

impl PageLane {
    fn of(lane: &Lane, run: &Run) -> Self {
        let device = run
            .machine
            .devices
            .iter()
            .find(|device| matches!(lane, Lane::Device { name } if *name == device.name));
        Self {
            label: visible(&lane.to_string()),
            r#type: lane_type(lane),
            role: device
                .and_then(|device| device.role.as_deref())
                .map(visible),
        }
    }
}

fn events(run: &Run) -> Vec<PageEvent> {
    run.timeline
        .events
        .iter()
        .map(|event| {
            let category = event.kind.category();
            // The script gets an index into the page's `categories`, which are in this order.
            let category = Category::ALL
                .iter()
                .position(|other| *other == category)
                .unwrap_or(0);
            let tone = match Tone::of(&event.kind) {
                Tone::Plain => 0,
                Tone::Good => 1,
                Tone::Bad => 2,
            };
            let details = details(event)
                .into_iter()
                .map(|(name, value)| (visible(&name), visible(&value)))
                .collect();
            (
                event.at,
                event.until(run.timeline.end),
                event.lane.0,
                category,
                tone,
                event.core.map_or(-1, i16::from),
                visible(&summary(event)),
                details,
            )
        })
        .collect()
}

fn state_class(state: &State) -> &'static str {
    match state {
        State::Enabled { .. } => "on",
        State::Disabled { lost: true } => "lost",
        State::Disabled { lost: false } => "off",
        State::Blocked => "blocked",
        State::Bound { .. } => "bound",
        State::Unbound => "unbound",
    }
}

fn changes(run: &Run) -> Vec<Vec<String>> {
    run.changes
        .iter()
        .map(|change| {
            vec![
                seconds(change.at),
                visible(&change.behaviour),
                visible(&change.meaning),
                visible(&place(&change.place)),
                format!("{} → {}", change.old, change.new),
                change
                    .event
                    .map_or_else(String::new, |event| event.0.to_string()),
            ]
        })
        .collect()
}

fn machine(run: &Run) -> Vec<(String, String)> {
    let machine = &run.machine;
    let mut list: Vec<(String, String)> = Vec::new();
    let mut add = |name: &str, value: &str| list.push((name.to_owned(), visible(value)));
    add("kernel image", &machine.kernel);
    add("SHA-256", &machine.sha256);
    if let Some(version) = &machine.version {
        add("version", version);
    }
    add("command line", &machine.command_line);
    add("seed", &machine.seed.to_string());
    add("cores", &machine.cpus.to_string());
    add("memory", &bytes(machine.memory));
    for device in &machine.devices {
        let port = device.utlb.as_ref().map_or_else(
            || "no IOMMU".to_owned(),
            |(unit, utlb)| format!("{unit} uTLB {utlb}"),
        );
        add(
            "device",
            &format!("{} ({port}): {}", device.name, device.summary()),
        );
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Verdict;

    const PAGE: &str = include_str!("html/page.html");

    #[test]
    fn nothing_ends_the_data_or_the_title() {
        let evil = "</script></title><script>alert(1)</script><!-- {{script}} \u{2028}";
        let report = Report::new(evil, Verdict::new(VerdictKind::Undecided, evil));
        let mut page = Vec::new();
        write(&report, &mut page).unwrap();
        let page = String::from_utf8(page).unwrap();
        assert_eq!(
            page.matches("</script>").count(),
            PAGE.matches("</script>").count()
        );
        assert_eq!(page.matches("</title>").count(), 1);
        assert!(!page.contains("<script>alert"));
        assert_eq!(
            page.matches("alert(1)").count(),
            5,
            "shown as text wherever it belongs"
        );
    }

    #[test]
    fn the_page_asks_for_nothing() {
        for part in [PAGE, STYLE, TIME, TIMELINE, SCRIPT] {
            for word in [
                "http://",
                "https://",
                "@import",
                "url(",
                "src=",
                "fetch(",
                "innerHTML",
            ] {
                assert!(!part.contains(word), "{word}");
            }
        }
        assert!(PAGE.contains("default-src 'none'"));
    }
}
