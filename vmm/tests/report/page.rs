//! The page in a real browser: at two widths, in both colour schemes, with a hostile guest, with
//! many events.

use serde_json::Value;
use vmm::timeline::export;
use vmm::timeline::{Event, Kind, Lane, LaneId, Report};

use crate::browser::{View, check};
use crate::sample;

const WIDE: View = View {
    width: 1280,
    dark: false,
};

fn page(report: &Report) -> String {
    let mut out = Vec::new();
    export::html::write(report, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn span(seen: &Value, name: &str) -> (f64, f64) {
    let pair = &seen[name];
    (
        pair[0]
            .as_f64()
            .unwrap_or_else(|| panic!("no {name} in {seen}")),
        pair[1].as_f64().unwrap(),
    )
}

fn width(seen: &Value, name: &str) -> f64 {
    let (from, to) = span(seen, name);
    assert!(from < to, "{name}");
    to - from
}

fn number(seen: &Value, name: &str) -> f64 {
    seen[name]
        .as_f64()
        .unwrap_or_else(|| panic!("no {name} in {seen}"))
}

/// What holds for the sample however it is looked at.
fn assert_sound(seen: &Value) {
    assert_eq!(seen["watched"], serde_json::json!([]), "errors on the page");
    assert_eq!(
        seen["requests"],
        serde_json::json!([]),
        "the page asks for something"
    );
    assert_eq!(seen["fetched"], serde_json::json!(["/parent", "/page"]));
    assert_eq!(seen["ready"], "true");
    assert_eq!(number(seen, "elements"), 0.0);
    assert!(
        number(seen, "overflow") <= 0.0,
        "wider than the window: {}",
        seen["overflow"]
    );
    for pair in seen["contrasts"].as_array().unwrap() {
        let ratio = pair[1]
            .as_f64()
            .unwrap_or_else(|| panic!("nothing like {pair}"));
        assert!(
            ratio >= 4.5,
            "too little contrast (WCAG 2.1, 1.4.3): {pair}"
        );
    }
}

fn assert_shows_the_story(seen: &Value) {
    let verdict = seen["verdict"].as_str().unwrap();
    assert!(verdict.starts_with("As expected") && verdict.contains("uTLB 3, which A shares"));
    assert!(
        number(seen, "verdictBottom") < 900.0,
        "the verdict is not on the first screen"
    );
    assert_eq!(
        seen["heads"],
        serde_json::json!(["✓ stock", "✗ guard absent"])
    );
    let lanes: Vec<&str> = seen["lanes"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(Value::as_str)
        .collect();
    for lane in [
        "guest functions",
        "e6280000.iommu uTLB 3",
        "e6700000.dma-controller",
        "e6720000.dma-controller",
        "e6280000.iommu context 0",
        "console",
    ] {
        assert_eq!(
            lanes.iter().filter(|name| **name == lane).count(),
            2,
            "{lane} in {lanes:?}"
        );
    }
    assert!(
        number(seen, "strayPixels") > 30.0,
        "untranslated DMA cannot be seen"
    );
    assert!(
        number(seen, "dmaPixels") > 30.0,
        "translated DMA cannot be seen"
    );
}

fn assert_moves(seen: &Value) {
    let whole = width(seen, "whole");
    assert_eq!(span(seen, "whole"), (0.0, 2.1e9));
    assert!(
        width(seen, "wheeled") < width(seen, "view") * 0.9,
        "the wheel zooms in"
    );
    assert!(
        width(seen, "zoomedOut") > width(seen, "wheeled"),
        "the button zooms out"
    );
    assert!(width(seen, "keyed") < whole, "the key zooms in");
    assert!(
        span(seen, "panned").0 > span(seen, "keyed").0,
        "the arrow moves"
    );
    assert!(
        span(seen, "dragged").0 > span(seen, "panned").0,
        "dragging moves"
    );
    assert_eq!(
        span(seen, "decisive"),
        span(seen, "view"),
        "d shows what decided"
    );
    assert!(width(seen, "decisive") < whole);
}

fn assert_selects_and_filters(seen: &Value) {
    assert_eq!(number(seen, "decisiveButtons"), 6.0);
    let details = seen["details"].as_str().unwrap();
    assert!(
        details.contains("0.812380000 s") && details.contains("never enabled again"),
        "{details}"
    );
    let (from, to) = span(seen, "selectedView");
    let at = number(seen, "selectedAt");
    assert!(
        from < at && at < to && to - from < 1e8,
        "the event is not looked at closely"
    );
    assert_eq!(number(seen, "current"), 1.0);
    assert_eq!(number(seen, "next"), 1.0);
    assert!(
        number(seen, "filteredPixels") < number(seen, "restoredPixels") / 3.0,
        "{seen}"
    );
    assert!(number(seen, "filteredCount") < number(seen, "count"));
    assert_eq!(number(seen, "found"), 2.0, "one teardown in each run");
    assert!(
        number(seen, "rows") < 60.0,
        "the list keeps only what is in sight"
    );
    assert_eq!(
        seen["lastRow"].as_str().unwrap(),
        number(seen, "count").to_string()
    );
    assert!(
        seen["listSelected"]
            .as_str()
            .unwrap()
            .contains("Booting Linux")
    );
}

#[test]
fn works_wide_and_light() {
    let seen = check(&page(&sample::report(0)), WIDE);
    assert_sound(&seen);
    assert_shows_the_story(&seen);
    assert_moves(&seen);
    assert_selects_and_filters(&seen);
    assert!(number(&seen, "background") > 0.8, "light is light");
    assert!(
        number(&seen, "toggledBackground") < 0.05,
        "the button makes it dark"
    );
    assert!(
        number(&seen, "toggledStrayPixels") > 30.0,
        "the canvas follows"
    );
}

#[test]
fn works_narrow_and_dark() {
    let view = View {
        width: 400,
        dark: true,
    };
    let seen = check(&page(&sample::report(0)), view);
    assert_sound(&seen);
    assert_shows_the_story(&seen);
    assert_moves(&seen);
    assert_selects_and_filters(&seen);
    assert!(number(&seen, "background") < 0.05, "dark is dark");
    assert!(
        number(&seen, "toggledBackground") > 0.8,
        "the button makes it light"
    );
}

#[test]
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "it is a count"
)]
fn holds_twenty_thousand_events() {
    let report = sample::report(10_000);
    let events: usize = report
        .runs
        .iter()
        .map(|run| run.timeline.events.len())
        .sum();
    assert!(events >= 20_000, "{events}");
    let seen = check(&page(&report), WIDE);
    assert_sound(&seen);
    assert_shows_the_story(&seen);
    assert_moves(&seen);
    assert_eq!(number(&seen, "count") as usize, events);
}

#[test]
fn a_hostile_guest_gets_nothing_but_text() {
    let evil = "</script><script>owned=1</script><img src=x onerror=owned=1>{{data}}<!--\u{202e}";
    let mut report = sample::report(0);
    let run = &mut report.runs[1];
    run.name = evil.to_owned();
    run.findings[0].guest.text = evil.to_owned();
    run.decisive[0].meaning = evil.to_owned();
    run.machine.command_line = evil.to_owned();
    for event in &mut run.timeline.events {
        if let Kind::Console { text } = &mut event.kind {
            *text = evil.to_owned();
        }
    }
    run.timeline.lanes[1] = Lane::Unit {
        unit: evil.to_owned(),
    };
    run.timeline.events.push(Event {
        at: u64::MAX,
        core: Some(255),
        lane: LaneId(999),
        kind: Kind::Console {
            text: evil.to_owned(),
        },
    });
    report.title = evil.to_owned();
    let plain = check(&page(&sample::report(0)), WIDE);
    let seen = check(&page(&report), WIDE);
    assert_eq!(seen["watched"], serde_json::json!([]));
    assert_eq!(seen["requests"], serde_json::json!([]));
    assert_eq!(seen["owned"], Value::Null);
    assert_eq!(seen["elements"], plain["elements"]);
    assert_eq!(seen["scripts"], plain["scripts"]);
    let title = seen["title"].as_str().unwrap();
    assert!(
        title.starts_with("</script>") && title.ends_with("\\u{202e}"),
        "{title}"
    );
}

#[test]
fn an_empty_report_is_a_page_too() {
    use vmm::timeline::{Verdict, VerdictKind};
    let mut report = Report::new(
        "nothing",
        Verdict::new(VerdictKind::Undecided, "Nothing ran."),
    );
    assert_eq!(
        check(&page(&report), WIDE)["watched"],
        serde_json::json!([])
    );
    report.runs = sample::report(0).runs;
    for run in &mut report.runs {
        run.timeline = Default::default();
    }
    assert_eq!(
        check(&page(&report), WIDE)["watched"],
        serde_json::json!([])
    );
}

/// The checks above can fail: errors, requests and scripts that should not be are seen.
#[test]
fn the_watch_sees_errors_and_requests() {
    let good = page(&sample::report(0));
    let bad = |content: &str| {
        check(
            &good.replacen("<main>", &format!("{content}<main>"), 1),
            WIDE,
        )
    };
    let watched = |seen: &Value| seen["watched"].to_string();
    let seen = bad("<img src='http://elsewhere.test/x.png' alt=''>");
    assert!(
        watched(&seen).contains("refused: img-src http://elsewhere.test/x.png"),
        "{seen}"
    );
    assert!(number(&seen, "elements") > 0.0);
    let seen = bad("<script>owned = 1; console.error('oops')</script>");
    assert!(watched(&seen).contains("console.error: oops"), "{seen}");
    assert_eq!(seen["owned"], 1);
    assert!(watched(&bad("<script>throw new Error('broken')</script>")).contains("broken"));
}
